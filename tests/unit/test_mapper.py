"""One walk along the tree of the rules makes the requests that the rows make when they are read one by one."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from support.random_settings import Chance
from support.segment_events import event_of

from voucherify_sync.events import Event
from voucherify_sync.mapping.mapper import Mapper
from voucherify_sync.mapping.trace import traced
from voucherify_sync.outcomes import Outcome
from voucherify_sync.paths import PathError


def told(mapper: Mapper, event: Event) -> Any:
    """Return all that is told of an event."""
    made, tracing = mapper.request(event), traced(mapper, event)
    if isinstance(made, Outcome) or isinstance(tracing, Outcome):
        return isinstance(tracing, Outcome) and (made, tracing)
    request, trace = tracing
    payload = msgspec.json.encode(made.body, order="sorted")  # keys of metadata stand in the order of either
    dropped = sorted(request.draft.dropped)
    return payload, made.kind, made.source_id, made.name, made.has_profile, dropped, trace


@pytest.mark.parametrize("seed", range(12))
def test_one_walk_makes_what_the_rows_make_one_by_one(seed: int) -> None:
    """A key that is the dotted spelling of a path makes the tree give way to the rows; here no row reads that key."""
    chance = Chance(seed, all_keys=seed % 2 == 1)
    for _ in range(15 if chance.all_keys else 60):
        settings = chance.settings()
        try:
            by_tree, by_rows = Mapper(settings), Mapper(settings)
        except PathError:
            continue
        for rules in by_rows.sections.rules():
            rules.dotted_keys |= {"dotted"}
        for _ in range(25):
            event = chance.event()
            dotted = event_of({**event.fields, "dotted": None})
            expected = told(by_rows, dotted)
            assert strip(told(by_tree, event)) == strip(expected), (settings, event.fields)
        assert by_tree.stats.to_dict() == by_rows.stats.to_dict(), settings


def strip(value: Any) -> str:
    """Return values as text, without the event, which differs, and where functions lie in memory."""
    return re.sub(r"Event\(.*?prepared=None\)| at 0x\w+", "", repr(value))
