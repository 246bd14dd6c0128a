"""Finds out what a mapping does to events: records in, what each adds to the counts out, once for all of a kind.

The decisions are those of a replay: each new shape of event goes through its filters and its mapping. What is
remembered is bounded.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from itertools import count
from typing import Final, TypeVar

from voucherify_sync.mapping.filters import Filters, Selection
from voucherify_sync.mapping.payload import Mapping, Request
from voucherify_sync.mapping.tracing import Landed, Tracer
from voucherify_sync.mapping.writes import values_below
from voucherify_sync.model import Kind, Outcome, SegmentEvent, State
from voucherify_sync.paths import Keys
from voucherify_sync.previewing.coverage.examined import Effect, Ending, Examined, Value
from voucherify_sync.previewing.coverage.facts import Example, JsonType, fits, mark, type_of, weight_of
from voucherify_sync.previewing.coverage.shapes import Shaper
from voucherify_sync.reading.times import event_time
from voucherify_sync.settings import Settings

_What = TypeVar("_What")

_MAX_REMEMBERED: Final = 2 << 20
"""Bytes of events of which shape and effect are remembered; that takes several times as much."""


class Examiner:
    """Examines records.

    Args:
        settings: whose filters and mapping decide.
        selection: what the command line picks.
        first: of the numbers that it gives, above 0.

    Attributes:
        rows: of the mapping, by type of event, each with whether it is one of the default table.
    """

    def __init__(self, settings: Settings, selection: Selection, first: int = 1) -> None:
        self._filters = Filters(settings, selection, time_of=lambda event: event_time(event.fields))
        self._mapping = Mapping(settings, self._filters.reason_to_leave_out)
        self._tracer = Tracer(settings, self._mapping)
        self._shaper = Shaper(settings, self._mapping)
        tables = {kind: each.table for kind, each in self._mapping.translators.items()}
        self.rows = {kind: [(row.text, row.default) for row in table.rows] for kind, table in tables.items()}
        self._numbers: dict[Hashable, int] = {}
        self._shown: dict[str, dict[Keys, int]] = {kind: {} for kind in tables}
        self._remembered = 0
        self._new_numbers = count(first)

    def examine(self, records: Iterable[SegmentEvent | Outcome]) -> Examined:
        """Examine records, as ``decode`` yields them. Its loop is where the time is spent."""
        skip, shape_of, known = self._filters.reason_to_skip, self._shaper.shape, self._numbers
        found = Examined()
        times = found.times
        for record in records:
            if isinstance(record, Outcome):
                number = self._number_of_ending(Ending(record.state, record.reason or ""), found)
            elif (reason := skip(record)) is not None:
                number = self._number_of_ending(Ending(State.SKIPPED, reason), found)
            else:
                shape = shape_of(record)
                number = known.get(shape) or self._number_of_event(record, shape, found)
            times[number] = times.get(number, 0) + 1
        return found

    def _number_of_ending(self, ending: Ending, found: Examined) -> int:
        number = self._numbers.get(ending)
        if number is None:
            number = self._numbers[ending] = self._new_number(ending, found)
        return number

    def _number_of_event(self, event: SegmentEvent, shape: Hashable, found: Examined) -> int:
        """Look at an event of a new shape, or of none."""
        number = self._new_number(self._look_at(event), found)
        if shape is None:
            found.forgotten.append(number)
        else:
            self._numbers[shape] = number
        self._remembered += len(event.raw)
        if self._remembered > _MAX_REMEMBERED:
            self._forget(found)
        return number

    def _new_number(self, meaning: Effect | Ending, found: Examined) -> int:
        number = next(self._new_numbers)
        found.new[number] = meaning
        return number

    def _forget(self, found: Examined) -> None:
        found.forgotten.extend(self._numbers.values())
        self._numbers.clear()
        for shown in self._shown.values():
            shown.clear()
        self._remembered = 0

    def _look_at(self, event: SegmentEvent) -> Effect | Ending:
        """Find out what becomes of the values of an event, by the mapping itself."""
        table = self._mapping.translators[event.type].table
        before = list(table.fired)
        request = self._mapping.request(event)
        if isinstance(request, Outcome):
            return Ending(request.state, request.reason or "")
        landed = self._tracer.trace(event, request).values
        shown = self._shown[event.type]
        filled, too_long = _parted(_filled(request))
        refused, too_long_refused = _parted(_refused(request))
        return Effect(
            event.type,
            [value for each in landed if (value := _value(each, shown)) is not None],
            [mark(each.keys) for each in landed if each.keys not in shown],
            filled,
            refused,
            [*too_long, *too_long_refused],
            [number for number, times in enumerate(table.fired) if times > before[number]],
            seen=sum(each.value is not None for each in landed),
            mapped=sum(each.value is not None and each.reason is None for each in landed),
        )


def _value(landed: Landed, shown: dict[Keys, int]) -> Value | None:
    """Return what a value adds to its path, if that can be kept; `shown` is how much its examples say so far."""
    keys, value = landed.keys, landed.value
    said = shown.get(keys)
    if said is None and not fits(keys):
        return None
    example = None
    weight = weight_of(value)
    if said is None or said < weight:
        shown[keys] = weight
        example = Example.of(value)
    return Value(keys, type_of(value), landed.places, landed.reason, example)


def _parted(found: Iterable[tuple[Keys, _What]]) -> tuple[list[tuple[Keys, _What]], list[int]]:
    """Return what was found at destinations that are short enough to be kept, and a mark for each of the others."""
    short: list[tuple[Keys, _What]] = []
    marks: list[int] = []
    for each in found:
        if fits(each[0]):
            short.append(each)
        else:
            marks.append(mark(each[0]))
    return short, marks


def _filled(request: Request) -> Iterator[tuple[Keys, JsonType]]:
    keys: Keys = ("customer",) if request.kind is Kind.CUSTOMER else ()
    for place, value in values_below(keys, request.body):
        yield place, type_of(value)


def _refused(request: Request) -> Iterator[tuple[Keys, str]]:
    for drop in request.dropped:
        yield tuple(drop.path.split(".")), drop.reason
