"""Tests of the fast walk of a dry run: it tells the same as the Replay, whatever the settings and the lines."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from dry_runs import DryRun, block_of
from hypothesis import given
from hypothesis import settings as tuned
from hypothesis import strategies as st
from odd_events import ODD_LINES, SELECTIONS, SETTINGS, events

from voucherify_sync.errors import ExitCode
from voucherify_sync.mapping.filters import Selection
from voucherify_sync.model import Block, Json
from voucherify_sync.running import dry_walk, planner
from voucherify_sync.settings.types import Settings

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
from events import generate


@pytest.fixture(autouse=True)
def every_event_planned_and_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no line go to the Replay first, and let the sample of lost values be all of them, to compare them, too."""
    monkeypatch.setattr(dry_walk, "EXACT_LINES", 0)
    monkeypatch.setattr(planner, "SAMPLED", 1)


def compare(lines: list[bytes], settings: Settings, selection: Selection | None = None) -> DryRun:
    """Walk the lines both ways; fail on any difference, and return the fast run."""
    selection = selection or Selection()
    fast = DryRun(settings, selection)
    assert fast.fast([block_of(lines)]) == DryRun(settings, selection).generally(block_of(lines))
    return fast


@pytest.mark.parametrize("name", SETTINGS)
@tuned(max_examples=40, deadline=None)
@given(st.lists(events(), min_size=1, max_size=6), st.sampled_from(sorted(SELECTIONS)))
def test_both_walks_tell_the_same(name: str, records: list[Json], selection: str) -> None:
    """Lines, counts, reasons, examples, rows, losses, renames and older updates are equal for every input."""
    compare([json.dumps(record).encode() for record in records], SETTINGS[name], SELECTIONS[selection])


@pytest.mark.parametrize("line", ODD_LINES.values(), ids=ODD_LINES.keys())
def test_an_odd_line_ends_the_same_on_both_walks(line: bytes) -> None:
    """What is skipped by the fast decoder has no say in how a record ends."""
    ordinary = b'{"type":"track","event":"E","userId":"u","messageId":"n"}'
    compare([ordinary, line, line, ordinary], Settings())


@pytest.mark.parametrize("name", SETTINGS)
def test_the_public_events_end_the_same_on_both_walks(corpora: Path, name: str) -> None:
    """The oddities of the wild."""
    for file in sorted(corpora.iterdir()):
        compare(file.read_bytes().split(b"\n"), SETTINGS[name])


def test_the_events_of_the_benchmark_are_ordinary() -> None:
    """A seeded shop archive never needs the general walk, and its bodies are the same."""
    lines = [line.rstrip(b"\n") for line in generate(3_000)]
    assert compare(lines, Settings()).general == 0


@pytest.mark.parametrize(
    ("name", "kind"),
    [("object", "identify"), ("object", "track"), ("spare", "track"), ("number constant", "identify")],
)
def test_a_type_of_which_no_event_is_ordinary_is_walked_generally(name: str, kind: str) -> None:
    """Some rows need the whole event."""
    line = json.dumps(
        {"type": kind, "event": "E", "userId": "u", "messageId": "m", "traits": {}, "properties": {}}
    )
    assert compare([line.encode()], SETTINGS[name]).general == 1


def test_a_repeated_record_tells_whether_its_request_was_the_same() -> None:
    """The first one wins, also between the two walks."""
    event = {"type": "identify", "userId": "u", "messageId": "m", "traits": {"email": "x"}}
    odd = {**event, "traits": {"email": "x", "phone": 5}}
    lines = [json.dumps(record).encode() for record in (event, event, odd, {**event, "userId": "v"})]
    run = compare(lines, Settings())
    assert {key[2]: tally.count for key, tally in run.report._tallies.items()} == {
        None: 1,
        "repeated": 1,
        "repeated_differs": 2,
    }


def test_a_sample_counts_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost values of ordinary events are counted by one in so many, by their messageId, and the report says so."""
    monkeypatch.setattr(planner, "SAMPLED", 2)
    event = {"type": "track", "event": "E", "userId": "u", "properties": {"lost": 1}}
    lines = [json.dumps({**event, "messageId": f"m{number}"}).encode() for number in range(1_000)]
    run = DryRun(Settings(), Selection())
    counted = run.fast([block_of(lines)])["mapping"]["track"]["unmapped"]["properties.lost"]
    assert counted % 2 == 0
    assert counted == pytest.approx(1_000, rel=0.1)
    assert run.mapping.tally.to_dict()["sampled"] == "1/2"


def test_the_first_lines_are_walked_generally(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small archive is counted exactly."""
    monkeypatch.setattr(dry_walk, "EXACT_LINES", 3)
    lines = [line.rstrip(b"\n") for line in generate(5)]
    run = DryRun(Settings(), Selection())
    told = run.fast([Block.of("a.ndjson", 1, lines[:2]), Block.of("b.ndjson", 1, lines[2:])])
    assert run.general == 3
    assert told["read"] == 5
    assert run.mapping.tally.sampled == planner.SAMPLED


def test_where_all_lines_are_walked_generally_nothing_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    """All counts of a small archive are exact, and the report does not say otherwise."""
    monkeypatch.setattr(dry_walk, "EXACT_LINES", 5)
    run = DryRun(Settings(), Selection())
    run.fast([block_of([line.rstrip(b"\n") for line in generate(5)])])
    assert run.general == 5
    assert run.mapping.tally.sampled is None


def test_a_line_that_is_too_long_is_one_record() -> None:
    """Its head is not taken for the line."""
    block = Block.of(
        "events.ndjson", 5_000, [b'{"type":"identify","userId":"u","messageId":"m"}'], truncated=True
    )
    assert DryRun(Settings(), Selection()).fast([block]) == DryRun(Settings(), Selection()).generally(block)


@pytest.mark.parametrize("jobs", [1, 2])
def test_after_a_stop_all_counts_are_of_the_same_records(jobs: int) -> None:
    """What was planned by then is settled, and what was counted meanwhile is told."""
    run = DryRun(SETTINGS["names"], Selection())
    event = {
        "type": "track",
        "event": "Order Completed",
        "userId": "u",
        "properties": {"email": "a@example.com"},
        "timestamp": "2024-03-01T00:00:00.000Z",
    }

    def blocks() -> Iterator[Block]:
        for number in range(100):
            if number == 5:
                run.stop.by_signal(ExitCode.INTERRUPTED)
            yield block_of(
                [json.dumps({**event, "messageId": f"{number}.{line}"}).encode() for line in range(50)]
            )

    told = run.fast(blocks(), jobs)
    assert told["read"] == 250
    assert told["mapping"]["track"]["rows"]["properties.email: customer.email"] == 250
    assert [miss.wanted for miss in told["names"][1]] == ["Cart *"]
