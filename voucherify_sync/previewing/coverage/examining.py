"""Finds out what a mapping does to events: records in, what each of them adds to the counts out.

Every event goes through the pipeline and is traced. Events that differ in nothing that decides where values go have one
effect, which is found out once. What is remembered is bounded.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from types import NoneType
from typing import Any, Final, TypeVar

from msgspec import Struct

from voucherify_sync.mapping.fields import MAX_EVENT_NAME
from voucherify_sync.mapping.filters import Selection
from voucherify_sync.mapping.mapper import Mapper, Request
from voucherify_sync.mapping.trace import TracedValue, filled_places, traced
from voucherify_sync.model import Block, Json, Outcome, SegmentEvent, State
from voucherify_sync.paths import Keys
from voucherify_sync.previewing.coverage.facts import Example, JsonType, fits, mark, type_of
from voucherify_sync.running.pipeline import Pipeline
from voucherify_sync.settings import Settings

_What = TypeVar("_What")

_MAX_REMEMBERED: Final = 2 << 20
"""Bytes of events of which the effect is remembered; that takes several times as much."""
_MAX_BYTES: Final = 16 * 1024
"""Of a longer event the effect is not remembered: a few of them would fill the memory."""
_MAX_DEPTH: Final = 16


class Value(Struct, frozen=True, array_like=True, gc=False):
    """What one value of an event adds to its path.

    Attributes:
        keys: the path.
        type: of the value.
        places: the destinations at which it arrives.
        reason: why it arrives nowhere; None if it arrives.
        example: made of it.
    """

    keys: Keys
    type: JsonType
    places: tuple[Keys, ...]
    reason: str | None
    example: Example


class Effect(Struct, frozen=True, array_like=True, gc=False):
    """What one event adds to the counts.

    Attributes:
        kind: type of the event.
        values: of the event, those with a path that is short enough to be kept.
        long_paths: a mark for each of the others.
        filled: destinations, each with the type of what stands there.
        refused: destinations, each with why a value could not be put there.
        long_places: a mark for each destination that is too long to be kept.
        rows: numbers of the rows that found a value.
        seen: values, nulls not counted.
        mapped: values that arrive.
    """

    kind: str
    values: list[Value]
    long_paths: list[int]
    filled: list[tuple[Keys, JsonType]]
    refused: list[tuple[Keys, str]]
    long_places: list[int]
    rows: list[int]
    seen: int
    mapped: int


class Examined(Struct, array_like=True, gc=False):
    """What was found out about some records.

    Attributes:
        read: how many.
        effects: of those that become requests, in the order in which they were met first, each with how many have it.
        ends: state and reason of the others, each with how many have it.
    """

    read: int
    effects: list[tuple[Effect, int]]
    ends: list[tuple[State, str, int]]


class Examiner:
    """Examines records.

    Args:
        settings: whose filters and mapping decide.
        selection: what the command line picks.
    """

    def __init__(self, settings: Settings, selection: Selection) -> None:
        self._pipeline = Pipeline(settings, selection)
        self._shape_of = _Shaper(self._pipeline.mapper).shape
        self._effects: dict[Hashable, Effect] = {}
        self._remembered = 0

    @property
    def rows(self) -> dict[str, list[tuple[str, bool]]]:
        """The rows of the mapping, by type of event, each with whether it is one of the default table."""
        rules = self._pipeline.mapper.rules
        return {kind: [(row.text, row.default) for row in each.rows] for kind, each in rules.items()}

    def records(self, block: Block) -> Iterator[SegmentEvent | Outcome]:
        """Yield the records of a block, with what these settings need of them."""
        return self._pipeline.decode(block)

    def examine(self, records: Iterable[SegmentEvent | Outcome]) -> Examined:
        """Examine records. Its loop is where the time is spent."""
        admitted, shape_of, known = self._pipeline.admitted, self._shape_of, self._effects
        times: dict[int, int] = {}
        effects: list[Effect] = []
        ends: dict[tuple[State, str], int] = {}
        read = 0
        for record in records:
            read += 1
            made: Effect | Outcome
            event = admitted(record)
            if isinstance(event, Outcome):
                made = event
            else:
                shape = shape_of(event)
                made = known.get(shape) or self._look_at(event, shape)
            if isinstance(made, Effect):
                number = id(made)
                if number in times:
                    times[number] += 1
                else:
                    times[number] = 1
                    effects.append(made)
            else:
                end = (made.state, made.reason or "")
                ends[end] = ends.get(end, 0) + 1
        return Examined(
            read,
            [(effect, times[id(effect)]) for effect in effects],
            [(*end, count) for end, count in ends.items()],
        )

    def _look_at(self, event: SegmentEvent, shape: Hashable) -> Effect | Outcome:
        """Look at an event of a new shape, or of none."""
        made = traced(self._pipeline.mapper, event)
        if isinstance(made, Outcome):
            return made
        request, trace = made
        filled, too_long = _parted((keys, type_of(value)) for keys, value in filled_places(request))
        refused, too_long_refused = _parted(_refused(request))
        effect = Effect(
            event.type,
            [_value(value) for value in trace.values if fits(value.keys)],
            [mark(value.keys) for value in trace.values if not fits(value.keys)],
            filled,
            refused,
            [*too_long, *too_long_refused],
            [applied.number for applied in trace.rows],
            seen=sum(value.value is not None for value in trace.values),
            mapped=sum(value.value is not None and value.reason is None for value in trace.values),
        )
        if shape is not None:
            self._remembered += len(event.raw)
            if self._remembered > _MAX_REMEMBERED:
                self._effects.clear()
                self._remembered = len(event.raw)
            self._effects[shape] = effect
        return effect


def _value(value: TracedValue) -> Value:
    return Value(value.keys, type_of(value.value), value.places, value.reason, Example.of(value.value))


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


def _refused(request: Request) -> Iterator[tuple[Keys, str]]:
    for drop in request.dropped:
        yield tuple(drop.path.split(".")), drop.reason


class _Shaper:
    """Tells which events have one effect.

    What is decoded of an event is all that decides, and of most of its texts only that they are there.
    """

    def __init__(self, mapper: Mapper) -> None:
        sources = [row.source for rules in mapper.rules.values() for row in rules.rows]
        indexes = [key for source in sources for key in source.keys if isinstance(key, int)]
        self._items = max(indexes, default=-1) + 1  # of a list, rows read no more

    def shape(self, event: SegmentEvent) -> Hashable:
        """Return the shape of an event; None for one that is not worth remembering."""
        if event.unsafe or len(event.raw) > _MAX_BYTES:
            return None
        try:
            return event.type, _computed(event.fields), self._kind(event.fields, 0)
        except _TooDeepError:
            return None

    def _kind(self, value: Any, depth: int) -> Hashable:
        """Return of a value what decides where it goes: of an object its keys and the kinds of its values."""
        cls = type(value)
        if cls is str:
            return _kind_of_text(value)
        if cls is dict:
            if depth == _MAX_DEPTH:
                raise _TooDeepError
            return (*value, *[self._kind(inside, depth + 1) for inside in value.values()])
        if cls is list and self._items:
            items = value[: self._items]
            return (_LIST, len(value) > 0, *[self._kind(inside, depth + 1) for inside in items])
        kind = _KINDS[cls]
        # As examples, 0 and the empty list give way to a value that says more.
        return kind if value or kind not in (_NUMBER, _LIST) else (kind, _SAYS_LITTLE)


_BLANK, _TEXT, _LONG, _NUMBER, _BOOLEAN, _NULL, _LIST, _SAYS_LITTLE = range(8)
_KINDS: Final[dict[type, int]] = {
    int: _NUMBER,
    float: _NUMBER,
    bool: _BOOLEAN,
    NoneType: _NULL,
    list: _LIST,
}


class _TooDeepError(Exception):
    """An object is nested too deeply for a shape."""


def _kind_of_text(text: str) -> int:
    if not text:
        return _SAYS_LITTLE  # as an example it gives way, even to white space
    if text.isspace():
        return _BLANK
    return _LONG if len(text) > MAX_EVENT_NAME else _TEXT


def _computed(fields: Json) -> str | None:
    """Return the name of the computed trait: which of the traits is carried depends on it."""
    context = fields.get("context")
    personas = context.get("personas") if isinstance(context, dict) else None
    key = personas.get("computation_key") if isinstance(personas, dict) else None
    return key if isinstance(key, str) else None
