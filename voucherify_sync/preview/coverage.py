"""How much of many events a mapping carries: records in; paths, destinations, rows and advice out.

What is counted of paths and destinations: bounded in their number, whatever the events hold.

Finds out what a mapping does to events: records in, what each of them adds to the counts out.

Every event goes through the pipeline and is traced. Events that differ in nothing that decides where values go have one
effect, which is found out once. What is remembered is bounded.

What was seen of the events of one type: paths, destinations and rows, each with what is known of it.

Counts what a mapping does to many events: records in, path by path what is mapped and what is lost out.

What an examiner found out is counted in the order of the input: what finds room, and what is the example of a path,
is decided here alone, whoever examined the events. Memory does not grow with their number.

What to do about a mapping: counts in, rows that would keep what is lost and rows that find nothing out.

Names of events are data: a row is made of them only if the settings would take it.

Coverage as JSON values: what `--json` prints, and what a program reads. Additive only.
"""

from __future__ import annotations

import json
import math
from collections.abc import Hashable, Iterable, Iterator
from hashlib import blake2b
from itertools import chain, islice
from types import NoneType
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeVar

import msgspec
from msgspec import Struct, field

from voucherify_sync.events import Batch, Event, Json
from voucherify_sync.mapping.field_types import MAX_EVENT_NAME
from voucherify_sync.mapping.filters import Selection
from voucherify_sync.mapping.mapper import MappedRecord, Mapper
from voucherify_sync.mapping.trace import TracedValue, filled_places, traced
from voucherify_sync.outcomes import Outcome, State
from voucherify_sync.paths import CUSTOMER_TEXTS, Keys, PathError, check_row, parse_destination, parse_source
from voucherify_sync.run.options import Input
from voucherify_sync.run.pipeline import Pipeline
from voucherify_sync.settings import DEFAULT_ROWS, Settings, path_of
from voucherify_sync.settings.template import escaped, to_yaml
from voucherify_sync.sources.decode import Record, portions
from voucherify_sync.stop import Stop
from voucherify_sync.text import clean, similar

if TYPE_CHECKING:
    from voucherify_sync.run.workers import Work


__all__ = ["Coverage", "proposed_yaml", "to_dict"]


MAX_PATHS: Final = 2_000
"""Paths that are counted each, by type of event; so are destinations."""

MAX_EXAMPLE: Final = 40
"""Characters of an example."""

JsonType = Literal["string", "number", "boolean", "null", "array", "object"]

_MAX_KEYS_LENGTH: Final = 200
_MAX_NAMED: Final = 100_000
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False)
_TYPES: Final[dict[type, JsonType]] = {
    str: "string",
    int: "number",
    float: "number",
    bool: "boolean",
    type(None): "null",
    list: "array",
    dict: "object",
}


class Example(Struct, frozen=True, array_like=True, gc=False):
    """A value that stands for others.

    Attributes:
        weight: how much it says, as `weight_of` tells.
        text: JSON, clean and cut.
    """

    weight: int
    text: str

    @classmethod
    def of(cls, value: Any) -> Self:
        """Make an example of a value."""
        return cls(weight_of(value), brief(value))


class PathFacts(Struct):
    """What was seen at one path.

    Attributes:
        seen: events that have it.
        types: JSON types of its values, each with how often.
        mapped: values that arrive in the request.
        places: the destinations at which they arrive, each with how often.
        reasons: why values do not arrive, each with how often; null is no value, but is told here.
        example: the first of those that say most.
    """

    seen: int = 0
    types: dict[str, int] = field(default_factory=dict)
    mapped: int = 0
    places: dict[Keys, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    example: Example | None = None

    def show(self, example: Example) -> None:
        """Take an example, if none that says as much is there."""
        if self.example is None or self.example.weight < example.weight:
            self.example = example


class PlaceFacts(Struct):
    """What was seen at one destination.

    Attributes:
        filled: requests in which something stands there.
        types: JSON types of it, each with how often.
        refused: why values could not be put there, each with how often.
    """

    filled: int = 0
    types: dict[str, int] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)

    @property
    def conflicts(self) -> bool:
        """Whether values were refused, or are of several types, which a metadata schema will not take."""
        return bool(self.refused) or len(self.types.keys() - {"null"}) > 1


class Overflow:
    """Counts the distinct paths that found no room, without keeping them."""

    def __init__(self) -> None:
        self._hashes: set[int] = set()

    def update(self, hashes: Iterable[int]) -> None:
        """Count each path once."""
        for each in hashes:
            if len(self._hashes) >= _MAX_NAMED:
                return
            self._hashes.add(each)

    @property
    def count(self) -> int:
        """How many there are; never more than 100,000, which then means at least so many."""
        return len(self._hashes)


def fits(keys: Keys) -> bool:
    """Tell whether a path is short enough to be kept."""
    return sum([len(key) for key in keys if isinstance(key, str)]) <= _MAX_KEYS_LENGTH


def mark(keys: Keys) -> int:
    """Return the hash of a path, the same in every process; of a long key its length, beginning and end tell."""
    told = [(len(key), key[:100], key[-100:]) if isinstance(key, str) else key for key in keys]
    return int.from_bytes(blake2b(json.dumps(told).encode(), digest_size=8).digest(), "big")


def type_of(value: Any) -> JsonType:
    """Return the JSON type of a value."""
    return _TYPES[type(value)]


def weight_of(value: Any) -> int:
    """Tell how much a value says as an example: null nothing; 0, an empty text and an empty list little."""
    if value is None:
        return 0
    return 2 if value or value is False else 1


def brief(value: Any) -> str:
    """Return the beginning of a value as JSON text, clean; a long value is not written out to be cut."""
    if isinstance(value, str):
        value = value[: MAX_EXAMPLE + 1]
    text = ""
    for piece in _pieces(value):
        text += piece[: MAX_EXAMPLE + 2]
        if len(text) > MAX_EXAMPLE:
            break
    return clean(text, MAX_EXAMPLE)


def _pieces(value: Any) -> Iterable[str]:
    if isinstance(value, dict | list):
        return _ENCODER.iterencode(value)
    return (_ENCODER.encode(value),)  # five times as fast


def share(part: int, whole: int) -> float:
    """Return a share rounded down, so that 1 means all; 0 of nothing is 0, and a little is never 0."""
    return math.floor(10_000 * part / whole) / 10_000 or (0.0001 if part else 0.0) if whole else 0.0


def add(counts: dict[Any, int], name: Any, times: int) -> None:
    """Count something so many times."""
    counts[name] = counts.get(name, 0) + times


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
        return {kind: [(row.text, row.is_default) for row in each.rows] for kind, each in rules.items()}

    def records(self, block: Batch) -> Iterator[Event | Outcome]:
        """Yield the records of a block, with what these settings need of them."""
        return self._pipeline.decode(block)

    def examine(self, records: Iterable[Event | Outcome]) -> Examined:
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

    def _look_at(self, event: Event, shape: Hashable) -> Effect | Outcome:
        """Look at an event of a new shape, or of none."""
        made = traced(self._pipeline.mapper, event)
        if isinstance(made, Outcome):
            return made
        mapped, trace = made
        filled, too_long = _parted((keys, type_of(value)) for keys, value in filled_places(mapped))
        refused, too_long_refused = _parted(_refused(mapped))
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


def _refused(mapped: MappedRecord) -> Iterator[tuple[Keys, str]]:
    for drop in mapped.draft.dropped:
        yield tuple(drop.path.split(".")), drop.reason


class _Shaper:
    """Tells which events have one effect.

    What is decoded of an event is all that decides, and of most of its texts only that they are there.
    """

    def __init__(self, mapper: Mapper) -> None:
        sources = [row.source for rules in mapper.rules.values() for row in rules.rows]
        indexes = [key for source in sources for key in source.keys if isinstance(key, int)]
        self._items = max(indexes, default=-1) + 1  # of a list, rows read no more

    def shape(self, event: Event) -> Hashable:
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


class Section:
    """What was seen of the events of one type that become requests.

    Attributes:
        events: how many.
        paths: by keys.
        more_paths: those that found no room.
        seen: values, nulls not counted.
        mapped: values that arrive in a request.
        places: by destination.
        more_places: those that found no room.
        rows: the rows of the mapping, each with how often it found a value.
    """

    def __init__(self, rows: list[tuple[str, bool]]) -> None:
        self.events = 0
        self.paths: dict[Keys, PathFacts] = {}
        self.more_paths = Overflow()
        self.seen = 0
        self.mapped = 0
        self.places: dict[Keys, PlaceFacts] = {}
        self.more_places = Overflow()
        self.rows = rows
        self.fired = [0] * len(rows)

    def add(self, effect: Effect, times: int) -> None:
        """Count so many events that have the same effect."""
        self.events += times
        self.seen += times * effect.seen
        self.mapped += times * effect.mapped
        for number in effect.rows:
            self.fired[number] += times
        for value in effect.values:
            self._add_value(value, times)
        for keys, type_ in effect.filled:
            if (place := self._place(keys)) is not None:
                place.filled += times
                add(place.types, type_, times)
        for keys, reason in effect.refused:
            if (place := self._place(keys)) is not None:
                add(place.refused, reason, times)
        self.more_paths.update(effect.long_paths)
        self.more_places.update(effect.long_places)

    def _add_value(self, value: Value, times: int) -> None:
        facts = self.paths.get(value.keys)
        if facts is None:
            if len(self.paths) >= MAX_PATHS:
                self.more_paths.update((hash(value.keys),))
                return
            facts = self.paths[value.keys] = PathFacts()
        facts.seen += times
        add(facts.types, value.type, times)
        for place in value.places:
            add(facts.places, place, times)
        if value.reason is not None:
            add(facts.reasons, value.reason, times)
        elif value.type != "null":
            facts.mapped += times
        facts.show(value.example)

    def _place(self, keys: Keys) -> PlaceFacts | None:
        """Return what is known of a destination; None if there is no room for it."""
        facts = self.places.get(keys)
        if facts is None:
            if len(self.places) >= MAX_PATHS:
                self.more_places.update((hash(keys),))
                return None
            facts = self.places[keys] = PlaceFacts()
        return facts


_MAX_EXAMINED: Final = 20_000
"""Records of which it is told together what was found out."""

_decode_examined = msgspec.msgpack.Decoder(Examined).decode


class Coverage:
    """Counts what becomes of the values of events.

    Args:
        settings: whose filters and mapping decide.
        selection: what the command line picks.

    Attributes:
        read: records.
        sections: what was seen, by type of event: ``identify`` and ``track``.
        ends: state and reason of the records of which no request is made, each with how often.
    """

    def __init__(self, settings: Settings, selection: Selection | None = None) -> None:
        self.settings = settings
        self.selection = selection or Selection()
        self.read = 0
        self._examiner = Examiner(settings, self.selection)
        self.sections = {kind: Section(rows) for kind, rows in self._examiner.rows.items()}
        self.ends: dict[tuple[State, str], int] = {}

    def add_block(self, block: Batch, stop: Stop, limit: int | None = None) -> None:
        """Count the records of a block, or its first `limit`, until the run stops."""
        for portion in portions(islice(self._examiner.records(block), limit)):
            if stop.requested:
                return
            self.add(portion)

    def add_shared(self, source: Input, jobs: int, stop: Stop) -> None:
        """Count the records of an input on several processes, until the run stops."""
        from voucherify_sync.run import workers  # of no use to a small input, and slow to import

        for result in workers.results(source, jobs, stop, _examining, self.settings, self.selection):
            self.take(_decode_examined(result))

    def add(self, records: Iterable[Record]) -> None:
        """Count records."""
        self.take(self._examiner.examine(records))

    def take(self, examined: Examined) -> None:
        """Count the next records, of which this was found out."""
        self.read += examined.read
        for effect, times in examined.effects:
            self.sections[effect.kind].add(effect, times)
        for state, reason, times in examined.ends:
            self.ends[state, reason] = self.ends.get((state, reason), 0) + times


def _examining(settings: Settings, selection: Selection) -> Work:
    """Prepare what a process does."""
    examiner = Examiner(settings, selection)
    encode = msgspec.msgpack.Encoder().encode

    def work(blocks: Iterable[Batch]) -> Iterator[bytes]:
        for records in portions(chain.from_iterable(map(examiner.records, blocks)), _MAX_EXAMINED):
            yield encode(examiner.examine(records))

    return work


MAX_ROWS: Final = 20
"""Rows that are proposed for one type of event, at most."""

_MAX_ROW_LENGTH: Final = 100
_NOT_TAKEN: Final = {"no_row", "no_field"}
_CLOSE: Final = 0.75


class Idle(Struct, frozen=True):
    """A row of the settings that found nothing.

    Attributes:
        row: as it stands in the settings.
        meant: paths that were seen and come near to its source, the nearest first.
    """

    row: str
    meant: tuple[str, ...]


def proposed_rows(section: Section) -> dict[str, str]:
    """Return rows for the most frequent values that no row takes: source to destination, best first.

    Where an event's own trait and one of its context have the same name, the own one gets the row.
    """
    filled = {path_of(*map(str, place)) for place in section.places}
    found: list[tuple[int, str, str]] = []
    for keys, facts in sorted(
        _lost(section), key=lambda item: (item[0][0] == "context", -item[1].seen, item[0])
    ):
        source = path_of(*map(str, keys))
        for destination in _destinations(keys):
            if destination not in filled and _can_be(source, destination):
                found.append((-facts.seen, source, destination))
                filled.add(destination)
                break
    return {source: destination for _, source, destination in sorted(found)[:MAX_ROWS]}


def proposed_yaml(rows_by_kind: dict[str, dict[str, str]], settings: Settings) -> str:
    """Return the rows as lines of a settings file; empty if there are none."""
    sections: dict[str, object] = {}
    for kind, rows in rows_by_kind.items():
        if rows:
            own = settings.identify if kind == "identify" else settings.track
            section: dict[str, object] = {} if own.mapping or own.extend_default else {"extend_default": True}
            sections[kind] = {**section, "mapping": {source: escaped(to) for source, to in rows.items()}}
    return to_yaml(sections) if sections else ""


def idle_rows(section: Section, stop: Stop | None = None) -> list[Idle]:
    """Return the rows of the settings that found no value, each with what may be meant by its source.

    Once the run stops, it is not looked for.
    """
    by_count = sorted(section.paths.items(), key=lambda item: -item[1].seen)
    seen = {path_of(*map(str, keys)): keys for keys, _ in by_count}
    idle = []
    for (row, is_default), times in zip(section.rows, section.fired, strict=True):
        if not is_default and not times:
            is_over = stop is not None and stop.requested
            idle.append(Idle(row, () if is_over else _meant(row.rpartition(": ")[0], seen)))
    return idle


def _meant(source: str, seen: dict[str, Keys]) -> tuple[str, ...]:
    near = similar(source, seen, fold=_folded, most=2, cutoff=_CLOSE)
    return tuple(near) or _same_ending(source, seen)


def _lost(section: Section) -> Iterator[tuple[Keys, PathFacts]]:
    for keys, facts in section.paths.items():
        if not facts.mapped and not _NOT_TAKEN.isdisjoint(facts.reasons):
            yield keys, facts


def _destinations(keys: Keys) -> Iterator[str]:
    """Yield where a value may go, the best place first."""
    names = [str(key) for key in keys if key not in ("traits", "context", "properties")] or [str(keys[-1])]
    if keys[0] == "properties":
        yield path_of("metadata", "_".join(names))
        yield path_of("metadata", *names)
        return
    name = ".".join(names)
    if name in CUSTOMER_TEXTS and name not in {"id", "source_id"}:
        yield f"customer.{name}"
    elif name in DEFAULT_ROWS and name != "metadata":
        yield DEFAULT_ROWS[name]
    yield path_of("customer", "metadata", "_".join(names))
    yield path_of("customer", "metadata", *names)


def _can_be(source: str, destination: str) -> bool:
    """Tell whether the settings would take a row, on one line of a file."""
    if max(len(source), len(destination)) > _MAX_ROW_LENGTH:
        return False
    try:
        check_row(parse_source(source), parse_destination(destination))
    except PathError:
        return False
    return True


def _folded(text: str) -> str:
    return text.lower().replace("_", "")


def _same_ending(source: str, seen: dict[str, Keys]) -> tuple[str, ...]:
    """Return paths that end in the same key somewhere else, such as in the context."""
    wanted = _folded(source.rpartition(".")[2])
    return tuple(text for text, keys in seen.items() if _folded(str(keys[-1])) == wanted)[:2]


def to_dict(coverage: Coverage, stop: Stop | None = None) -> Json:
    """Return all that was counted; lists are sorted, the most frequent first. A stop ends the search for advice."""
    sections = coverage.sections
    ends: dict[str, dict[str, int]] = {"skipped": {}, "invalid": {}}
    for (state, reason), times in coverage.ends.items():
        ends["skipped" if state is State.SKIPPED else "invalid"][reason] = times
    return {
        "events": {
            "read": coverage.read,
            "counted": sum(section.events for section in sections.values()),
            **{name: _by_count(counts) for name, counts in ends.items()},
        },
        "values": values_of(*sections.values()),
        **{kind: _section(section, stop) for kind, section in sections.items()},
    }


def values_of(*sections: Section) -> Json:
    """Return how many values were seen, how many are mapped, and the share, rounded down."""
    seen = sum(section.seen for section in sections)
    mapped = sum(section.mapped for section in sections)
    return {"seen": seen, "mapped": mapped, "share": share(mapped, seen)}


def _section(section: Section, stop: Stop | None) -> Json:
    return {
        "events": section.events,
        "values": values_of(section),
        "paths": [_path(section, keys, facts) for keys, facts in _sorted_paths(section)],
        "more_paths": section.more_paths.count,
        "destinations": [_place(section, keys, facts) for keys, facts in _sorted_places(section)],
        "more_destinations": section.more_places.count,
        "rows": [
            {"row": row, "default": is_default, "fired": times}
            for (row, is_default), times in zip(section.rows, section.fired, strict=True)
        ],
        "idle_rows": [
            {"row": idle.row, "did_you_mean": list(idle.meant)} for idle in idle_rows(section, stop)
        ],
        "proposed_rows": proposed_rows(section),
    }


def _path(section: Section, keys: Keys, facts: PathFacts) -> Json:
    return {
        "path": text_of(keys),
        "events": facts.seen,
        "share": share(facts.seen, section.events),
        "types": _by_count(facts.types),
        "mapped": facts.mapped,
        "destinations": {text_of(place): times for place, times in _by_count(facts.places).items()},
        "lost": _by_count(facts.reasons),
        "example": None if facts.example is None else facts.example.text,
    }


def _place(section: Section, keys: Keys, facts: PlaceFacts) -> Json:
    return {
        "path": text_of(keys),
        "filled": facts.filled,
        "share": share(facts.filled, section.events),
        "types": _by_count(facts.types),
        "refused": _by_count(facts.refused),
        "type_conflict": facts.conflicts,
    }


def text_of(keys: Keys) -> str:
    """Return a path as it is written in settings."""
    return path_of(*map(str, keys))


def _sorted_paths(section: Section) -> list[tuple[Keys, PathFacts]]:
    return sorted(section.paths.items(), key=lambda item: (-item[1].seen, item[0]))


def _sorted_places(section: Section) -> list[tuple[Keys, PlaceFacts]]:
    return sorted(section.places.items(), key=lambda item: (-item[1].filled, item[0]))


def _by_count(counts: dict[Any, int]) -> dict[Any, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
