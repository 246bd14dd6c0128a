"""The walk that folds customers: the straight way of ordinary events and the general one fold the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from dry_runs import block_of
from hypothesis import given
from hypothesis import settings as tuned
from hypothesis import strategies as st
from odd_events import ODD_LINES, SELECTIONS, SETTINGS, events

from voucherify_sync.bookkeeping.history import History, Rule
from voucherify_sync.bookkeeping.ledger_reader import LedgerReader
from voucherify_sync.mapping.filters import Filters, Selection
from voucherify_sync.mapping.fold import Fold
from voucherify_sync.mapping.payload import Mapping
from voucherify_sync.model import Json
from voucherify_sync.reading.times import event_time
from voucherify_sync.running.fold_walk import FoldWalk
from voucherify_sync.running.jobs import Jobs
from voucherify_sync.running.tasks import WORTH_IT
from voucherify_sync.settings.types import Settings
from voucherify_sync.stop import Stop

GENERALLY = 1_000_000
"""A limit, whatever its number, is kept by the general way only."""


def folded(
    lines: list[bytes], settings: Settings, selection: Selection, *, limit: int | None = None, jobs: int = 1
) -> dict[str, Any]:
    """Walk the lines; tell all that came of it."""
    filters = Filters(settings, selection, lambda event: event_time(event.fields))
    ledger = LedgerReader.empty()
    walk = FoldWalk(
        filters,
        Mapping(settings, filters.reason_to_leave_out),
        History(ledger, Rule()),
        ledger,
        Stop(),
    )
    with Fold() as fold:
        walk.run([block_of(lines)], limit, Jobs(jobs, settings, selection, WORTH_IT), fold)
        customers = list(fold.customers())
    ledger.close()
    return {"customers": customers, "read": walk.read, "types": walk.types, "updates": fold.updates}


def compare(lines: list[bytes], settings: Settings, selection: Selection | None = None) -> dict[str, Any]:
    """Walk both ways; fail on any difference."""
    selection = selection or Selection()
    told = folded(lines, settings, selection)
    assert told == folded(lines, settings, selection, limit=GENERALLY)
    return told


@pytest.mark.parametrize("name", SETTINGS)
@tuned(max_examples=25, deadline=None)
@given(st.lists(events(), min_size=1, max_size=6), st.sampled_from(sorted(SELECTIONS)))
def test_both_ways_fold_the_same(name: str, records: list[Json], selection: str) -> None:
    """Customers, their latest words and counts are equal for every input."""
    compare([json.dumps(record).encode() for record in records], SETTINGS[name], SELECTIONS[selection])


@pytest.mark.parametrize("line", ODD_LINES.values(), ids=ODD_LINES.keys())
def test_an_odd_line_folds_the_same_both_ways(line: bytes) -> None:
    """Between equal updates the order of the input decides, also where only one of them is ordinary."""
    event = {"type": "identify", "userId": "u", "messageId": "m", "timestamp": "2024-03-01T00:00:00.000Z"}
    before, after = (json.dumps({**event, "traits": {"email": email}}).encode() for email in ("a", "b"))
    compare([before, line, after, line], Settings())


@pytest.mark.parametrize("name", ["default", "rows", "extended"])
def test_the_public_events_fold_the_same_both_ways(corpora: Path, name: str) -> None:
    """The oddities of the wild."""
    for file in sorted(corpora.iterdir()):
        compare(file.read_bytes().split(b"\n"), SETTINGS[name])


@pytest.mark.parametrize("order", [1, -1], ids=["ordinary first", "ordinary last"])
def test_of_equal_stamps_the_later_line_wins(order: int) -> None:
    """A number for a phone is not ordinary; it is laid over or under what is, as the lines stand."""
    event = {"type": "identify", "userId": "u", "messageId": "m", "timestamp": "2024-03-01T00:00:00.000Z"}
    lines = [json.dumps({**event, "traits": {"phone": phone}}).encode() for phone in ("1", 2)][::order]
    (customer,) = compare(lines, Settings())["customers"]
    assert json.loads(customer.payload)["phone"] == ("2" if order == 1 else "1")


def test_several_processes_fold_the_same() -> None:
    """Whoever looks at the lines, they are folded in the order of the input."""
    lines = [
        json.dumps(
            {
                "type": "identify" if number % 3 else "page",
                "userId": f"u{number % 7}",
                "messageId": "m",
                "timestamp": "2024-03-01T00:00:00.000Z",
                "traits": {"email": f"{number}@example.com"},
            }
        ).encode()
        for number in range(500)
    ]
    told = folded(lines, Settings(), Selection(), jobs=2)
    assert told == folded(lines, Settings(), Selection())
    assert told["read"] == 500
