"""Counts what a mapping does to many events: records in, path by path what is mapped and what is lost out.

The decisions are those of a replay: each new shape of event goes through its filters and its mapping. Memory
does not grow with the number of events.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any, Final

from msgspec import Struct

from voucherify_sync.mapping.filters import Filters, Selection
from voucherify_sync.mapping.payload import Mapping, Request
from voucherify_sync.mapping.tracing import Landed, Tracer
from voucherify_sync.mapping.writes import values_below
from voucherify_sync.model import Kind, Outcome, SegmentEvent, State
from voucherify_sync.paths import Keys
from voucherify_sync.previewing.coverage.facts import PathFacts, PlaceFacts, type_of
from voucherify_sync.previewing.coverage.section import Section
from voucherify_sync.previewing.coverage.shapes import Shaper
from voucherify_sync.reading.times import event_time
from voucherify_sync.settings import Settings

_MAX_SHAPES: Final = 2_000


class _Value(Struct, frozen=True):
    """What one value of an event adds to its path."""

    facts: PathFacts
    type: str
    places: tuple[Keys, ...]
    reason: str | None


class _Effect(Struct):
    """What one event adds to the counts, and how often it came.

    Attributes:
        section: where it is counted.
        values: of the event.
        filled: destinations, each with the type of what stands there.
        refused: destinations, each with why a value could not be put there.
        fired: numbers of rows.
        seen: values, nulls not counted.
        mapped: values that arrive.
        times: events of this shape.
    """

    section: Section
    values: list[_Value]
    filled: list[tuple[PlaceFacts, str]]
    refused: list[tuple[PlaceFacts, str]]
    fired: list[int]
    seen: int
    mapped: int
    times: int = 0

    def spread(self) -> None:
        """Add it to the counts, as often as it came."""
        times, section = self.times, self.section
        section.events += times
        section.seen += times * self.seen
        section.mapped += times * self.mapped
        for number in self.fired:
            section.fired[number] += times
        for value in self.values:
            facts = value.facts
            facts.seen += times
            _add(facts.types, value.type, times)
            for place in value.places:
                _add(facts.places, place, times)
            if value.reason is not None:
                _add(facts.reasons, value.reason, times)
            elif value.type != "null":
                facts.mapped += times
        for place_facts, type_name in self.filled:
            place_facts.filled += times
            _add(place_facts.types, type_name, times)
        for place_facts, reason in self.refused:
            _add(place_facts.refused, reason, times)
        self.times = 0


class _Ending(Struct):
    """A shape of events of which no request is made, and how often it came."""

    state: State
    reason: str
    times: int = 0


class Coverage:
    """Counts what becomes of the values of events.

    Args:
        settings: whose filters and mapping decide.
        selection: what the command line picks.

    Attributes:
        read: records.
        ends: state and reason of those of which no request is made, each with how often.
    """

    def __init__(self, settings: Settings, selection: Selection | None = None) -> None:
        self.settings = settings
        self.read = 0
        self.ends: dict[tuple[State, str], int] = {}
        self._filters = Filters(
            settings, selection or Selection(), time_of=lambda event: event_time(event.fields)
        )
        self._mapping = Mapping(settings, self._filters.reason_to_leave_out)
        self._tracer = Tracer(settings, self._mapping)
        self._shaper = Shaper(settings, self._mapping)
        self._sections = {
            kind: Section([(row.text, row.default) for row in each.table.rows])
            for kind, each in self._mapping.translators.items()
        }
        self._known: dict[Hashable, _Effect | _Ending] = {}

    @property
    def sections(self) -> dict[str, Section]:
        """What was seen, by type of event: ``identify`` and ``track``."""
        self._spread()
        return self._sections

    def add(self, record: SegmentEvent | Outcome) -> None:
        """Count one record, as ``decode`` yields it."""
        self.read += 1
        if isinstance(record, Outcome):
            _add(self.ends, (record.state, record.reason or ""), 1)
            return
        reason = self._filters.reason_to_skip(record)
        if reason is not None:
            _add(self.ends, (State.SKIPPED, reason), 1)
            return
        shape = self._shaper.shape(record)
        known = self._known.get(shape) if shape is not None else None
        if known is None:
            known = self._look_at(record)
            self._keep(shape, known)
        known.times += 1
        if shape is None:
            self._book(known)

    def _keep(self, shape: Hashable, known: _Effect | _Ending) -> None:
        if shape is None:
            return
        if len(self._known) >= _MAX_SHAPES:
            self._spread()
            self._known.clear()
        self._known[shape] = known

    def _spread(self) -> None:
        for known in self._known.values():
            self._book(known)

    def _book(self, known: _Effect | _Ending) -> None:
        if isinstance(known, _Effect):
            known.spread()
        elif known.times:
            _add(self.ends, (known.state, known.reason), known.times)
            known.times = 0

    def _look_at(self, event: SegmentEvent) -> _Effect | _Ending:
        """Find out what becomes of the values of an event, by the mapping itself."""
        section = self._sections[event.type]
        table = self._mapping.translators[event.type].table
        before = list(table.fired)
        request = self._mapping.request(event)
        if isinstance(request, Outcome):
            return _Ending(request.state, request.reason or "")
        fired = [number for number, times in enumerate(table.fired) if times > before[number]]
        trace = self._tracer.trace(event, request)
        return _Effect(
            section,
            list(_values(section, trace.values)),
            list(_filled(section, request)),
            list(_refused(section, request)),
            fired,
            seen=sum(landed.value is not None for landed in trace.values),
            mapped=sum(landed.value is not None and landed.reason is None for landed in trace.values),
        )


def _values(section: Section, values: list[Landed]) -> Iterator[_Value]:
    for landed in values:
        facts = section.path(landed.keys)
        if facts is not None:
            facts.show(landed.value)
            yield _Value(facts, type_of(landed.value), landed.places, landed.reason)


def _filled(section: Section, request: Request) -> Iterator[tuple[PlaceFacts, str]]:
    keys: Keys = ("customer",) if request.kind is Kind.CUSTOMER else ()
    for place, value in values_below(keys, request.body):
        facts = section.place(place)
        if facts is not None:
            yield facts, type_of(value)


def _refused(section: Section, request: Request) -> Iterator[tuple[PlaceFacts, str]]:
    for drop in request.dropped:
        facts = section.place(tuple(drop.path.split(".")))
        if facts is not None:
            yield facts, drop.reason


def _add(counts: dict[Any, int], name: Any, times: int) -> None:
    counts[name] = counts.get(name, 0) + times
