"""Counts what a mapping does to many events: path by path what reaches the requests, and what does not and why.

Events are mapped and traced, so that counts and findings are those of a replay. Both take long. Events of one shape,
which differ in nothing that decides where values go, are therefore mapped and traced once and counted by number; only
where a value may make a finding is each of them mapped. Whatever the events hold, memory stays flat: paths,
destinations and remembered shapes are bounded.

All is counted in the order of the input, by one process, even if several examine the events: which paths are kept, and
which value is the example of a path, does not depend on the number of processes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Hashable, Iterable, Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, Literal, Self

import msgspec
from msgspec import UNSET, Struct, field

from voucherify_sync.events import ORDERS, Batch, Event, Json, Request
from voucherify_sync.fields import MAX_EVENT_NAME, CustomEvent
from voucherify_sync.findings import HALF_NAME, FindingCount
from voucherify_sync.mapping.filters import Filters, FiltersMet, Selection
from voucherify_sync.mapping.mapper import MappedRecord, Mapper, is_remarkable
from voucherify_sync.mapping.rules import default_rows
from voucherify_sync.mapping.sections import Section
from voucherify_sync.mapping.stats import MAX_KEYS_OF_PART, MappingStats, NameCounts
from voucherify_sync.mapping.trace import (
    NOT_OF_ITEMS,
    Trace,
    filled_places,
    located,
    traced,
    unsent_values,
)
from voucherify_sync.outcomes import OTHER_TYPE, Outcome, State
from voucherify_sync.paths import FieldPath, Keys, path_of
from voucherify_sync.preview.suggestions import Proposal, Proposer, similar_paths
from voucherify_sync.run.options import Input
from voucherify_sync.run.pipeline import Pipeline
from voucherify_sync.settings import Identify, Settings, Track
from voucherify_sync.settings.types import DEFAULT_TABLES
from voucherify_sync.sources.decode import Record, portions, until_stopped
from voucherify_sync.stop import Stop
from voucherify_sync.text import by_count, clean

if TYPE_CHECKING:
    from voucherify_sync.run.workers import Work

OF_DEFAULT_TABLE: Final = frozenset(row.text for section in DEFAULT_TABLES for row in default_rows(section))
"""The rows of all default tables, as texts. `init` writes some into the settings, for events to come."""

MAX_PATHS: Final = 2_000
"""Paths that are counted each, by type of event; so are destinations."""

MAX_EXAMPLE: Final = 40
"""Characters of an example."""

JsonType = Literal["string", "number", "boolean", "null", "array", "object"]

_TYPES: Final[dict[type, JsonType]] = {
    str: "string",
    int: "number",
    float: "number",
    bool: "boolean",
    type(None): "null",
    list: "array",
    dict: "object",
}
_MAX_KEYS_LENGTH: Final = 200
_MAX_MORE: Final = 100_000
"""Paths that are counted beyond MAX_PATHS; this number means that there may be more."""
_MAX_REMEMBERED_BYTES: Final = 2 << 20
"""Of events whose effect is remembered; in memory that takes several times as much."""
_MAX_EVENT_BYTES: Final = 16 * 1024
"""The effect of a longer event is not remembered: a few of them would fill the memory."""
_MAX_DEPTH: Final = 16
_TELLING_PLACES: Final = (("customer", "source_id"), ("customer", "id"), ("event",))
"""Destinations of which the values may make a finding by what they say."""
_MAX_EXAMINED: Final = 20_000
"""Records in one message from a process."""


class ValueTotals(Struct, frozen=True):
    """Values of events, nulls not counted.

    Attributes:
        seen: values.
        mapped: of these, the ones that reach a request.
        share: the second in the first, from 0 to 1, rounded down.
    """

    seen: int
    mapped: int
    share: float

    @classmethod
    def of(cls, seen: int, mapped: int) -> Self:
        """Return the totals with their share."""
        return cls(seen, mapped, share(mapped, seen))


class PathCoverage(Struct, frozen=True):
    """One path of the events of a type.

    Attributes:
        path: as in a row of the settings.
        events: how many have it.
        share: part of the events that have it.
        types: JSON types of its values, each with how often.
        mapped: values that reach a request.
        destinations: where they stand in it, each with how often.
        lost: why values do not reach the request, each with how often.
        example: the text of the first value that says most.
        example_at: position of its event.
    """

    path: str
    events: int
    share: float
    types: dict[str, int]
    mapped: int
    destinations: dict[str, int]
    lost: dict[str, int]
    example: str
    example_at: str

    @property
    def seen(self) -> int:
        """Values; a null is none."""
        return self.events - self.types.get("null", 0)

    @property
    def unmapped_count(self) -> int:
        """Values that reach no request."""
        return self.seen - self.mapped


class DestinationCoverage(Struct, frozen=True):
    """One destination in the requests of a type.

    Attributes:
        path: as in a row of the settings.
        filled: requests in which something stands there.
        share: part of the requests.
        types: JSON types of what stands there, each with how often.
        refused: why a value could not be put there, each with how often.
        type_conflict: values were refused, or have several types; a metadata schema takes one type only.
    """

    path: str
    filled: int
    share: float
    types: dict[str, int]
    refused: dict[str, int]
    type_conflict: bool


class RowCoverage(Struct, frozen=True, rename={"matched": "fired"}):
    """One row of the mapping.

    Attributes:
        row: its text.
        default: it is one of the default table.
        matched: events in which it found a value; the JSON keeps the earlier name.
    """

    row: str
    default: bool
    matched: int


class IdleRow(Struct, frozen=True):
    """A row of the settings that matched nothing, or an entry of `set` that gave no value.

    Attributes:
        row: its text; of an entry ``set.`` and its destination.
        did_you_mean: paths that may be meant by its source.
    """

    row: str
    did_you_mean: list[str]


class SectionReport(Struct, frozen=True):
    """What was counted of the events of one type that become requests.

    Attributes:
        events: how many.
        values: of these.
        paths: the most frequent first.
        more_paths: paths that are counted in `values` only.
        destinations: the most frequent first.
        more_destinations: destinations that are not listed.
        rows: of the mapping, in their order.
        entries: those of `set`, by destination, with the number of events in which each gave a value.
        idle_rows: those of the settings that matched nothing, and entries of `set` that gave no value. What an entry of
            `track.events` takes over from track is listed there, if no event of either section had it.
        proposed_rows: source and destination of rows that would map what is missing most often.
        proposal: all that the settings lack: these rows with counts, those that a person should decide on, constants.
        unsent_of_products: paths inside of products that become items of orders, each with the number of values that no
            item holds; they are no part of `values`.
    """

    events: int
    values: ValueTotals
    paths: list[PathCoverage]
    more_paths: int
    destinations: list[DestinationCoverage]
    more_destinations: int
    rows: list[RowCoverage]
    entries: dict[str, int]
    idle_rows: list[IdleRow]
    proposed_rows: dict[str, str]
    proposal: Proposal
    unsent_of_products: dict[str, int]

    @property
    def unmapped_paths(self) -> list[PathCoverage]:
        """Paths of which values are not mapped, the one that leaves most first."""
        return sorted(
            (path for path in self.paths if path.unmapped_count), key=lambda path: -path.unmapped_count
        )


class CoverageEvents(Struct, frozen=True):
    """Records by what becomes of them.

    Attributes:
        read: records read.
        counted: events that would be sent.
        skipped: others, by reason.
        invalid: others, by reason.
        other_types: of the skipped, those whose type is none of Segment's, by type.
    """

    read: int
    counted: int
    skipped: dict[str, int]
    invalid: dict[str, int]
    other_types: dict[str, int]


class CoverageReport(Struct, frozen=True):
    """Which values of events reach Voucherify. Fields are only ever added.

    Attributes:
        events: records read and counted.
        values: of all events that are counted.
        sections: of the events by section of the settings: their type, or ``events.NAME``; fields of their own in JSON.
        notices: sentences on filters and selections that meet nothing in the input, or almost something.
        findings: what a person should know of the events, by [code](reasons.md#findings), as in the report.
    """

    events: CoverageEvents
    values: ValueTotals
    sections: dict[str, SectionReport]
    notices: list[str]
    findings: dict[str, FindingCount]

    def to_dict(self) -> Json:
        """Return the report as JSON values, the shape that `coverage --json` prints."""
        told: Json = msgspec.to_builtins(self)
        sections = told.pop("sections")
        notices = told.pop("notices")
        return {**told, **sections, "notices": notices}


class PathCounts(Struct):
    """Counts of one path of the events, or of one destination of the requests.

    Attributes:
        count: events that have the path, or requests in which the destination is filled.
        types: JSON types of the values there, each with how often.
        reasons: why values do not reach the request, or cannot stand at the destination, each with how often.
        mapped: values that reach the request; of a path only, as what follows.
        destinations: where they stand in it, each with how often.
        example: how much it says, by `weight_of`, and its text; the first of those that say most.
        example_at: position of its event.
    """

    count: int = 0
    types: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    mapped: int = 0
    destinations: dict[Keys, int] = field(default_factory=dict)
    example: tuple[int, str] = (-1, "")
    example_at: str = ""


class Effect(Struct, frozen=True, array_like=True, gc=False):
    """What one event adds to the counts. Keys that are too long to be kept are replaced by their hash.

    Attributes:
        section: of the settings, by which it was mapped.
        values: of the event: keys, type, destinations, why it is not mapped, and the example made of it.
        filled: destinations, each with the type of what stands there.
        refused: destinations, each with why a value could not be put there.
        rows: numbers of the rows that found a value.
        entries: destinations of the entries of `set` that gave a value.
        seen: values, nulls not counted.
        mapped: values that reach the request.
        position: of the event.
        has_profile: the request says something of a customer.
        telling: where the values lie that may make a finding in another event of this shape, with a text to be looked
            at; None if each event of the shape is to be mapped for its findings.
        products_at: keys of the products that become items of an order; they are no part of the shape.
    """

    section: str
    values: list[tuple[Keys | int, JsonType, tuple[Keys, ...], str | None, tuple[int, str]]]
    filled: list[tuple[Keys | int, JsonType]]
    refused: list[tuple[Keys | int, str]]
    rows: list[int]
    entries: list[str]
    seen: int
    mapped: int
    position: str
    has_profile: bool
    telling: tuple[Keys, ...] | None
    products_at: Keys | None


_Examined = tuple[
    int,
    list[tuple[Effect, int]],
    list[tuple[State, str, int]],
    NameCounts,
    NameCounts,
    FiltersMet,
    MappingStats,
]
"""What was found out about records.

Their number; effects, and states with reasons of records without a request, each with how often; types that are none of
Segment's; values of products that no item of an order holds, by path; what the filters met; and what the mapping did,
of which the findings are complete.
"""

_decode_examined = msgspec.msgpack.Decoder(_Examined).decode


class SectionCoverage:
    """What was seen of the events of one section of the settings that become requests.

    Args:
        section: which.

    Attributes:
        section: the same.
        events: how many.
        seen: values, nulls not counted.
        mapped: values that reach a request.
        rows: text of each mapping row, and whether it is one of the default table.
        matched_counts: how often each row found a value.
        counted_as: for each row as it is compiled, the number of the row as it is written.
        entries: how often each entry of `set` gave a value, by its destination.
        paths: counts by keys.
        more_paths: hashes of those beyond MAX_PATHS.
        destinations: counts by keys.
        more_destinations: hashes of those beyond MAX_PATHS.
        unsent_of_products: values that no item of an order holds, by path.
    """

    def __init__(self, section: Section) -> None:
        self.section = section
        self.events = self.seen = self.mapped = 0
        rows = [row for row in section.rules.rows if row.whole is None]
        self.rows = [(row.text, row.is_default) for row in rows]
        self.matched_counts = [0] * len(rows)
        self.counted_as = [rows.index(row.whole or row) for row in section.rules.rows]
        self.entries = {entry.destination.text: 0 for entry in section.rules.entries}
        self.paths: dict[Keys, PathCounts] = {}
        self.more_paths: set[int] = set()
        self.destinations: dict[Keys, PathCounts] = {}
        self.more_destinations: set[int] = set()
        self.unsent_of_products = NameCounts()

    def add(self, effect: Effect, times: int) -> None:
        """Count a number of events that have the same effect."""
        self.events += times
        self.seen += times * effect.seen
        self.mapped += times * effect.mapped
        for number in effect.rows:
            self.matched_counts[number] += times
        for entry in effect.entries:
            self.entries[entry] += times
        for keys, type_, destinations, reason, example in effect.values:
            counts = _counts_of(keys, self.paths, self.more_paths)
            counts.count += times
            _add(counts.types, type_, times)
            for destination in destinations:
                _add(counts.destinations, destination, times)
            if reason is not None:
                _add(counts.reasons, reason, times)
            elif type_ != "null":
                counts.mapped += times
            if counts.example[0] < example[0]:
                counts.example, counts.example_at = example, effect.position
        for keys, type_ in effect.filled:
            counts = _counts_of(keys, self.destinations, self.more_destinations)
            counts.count += times
            _add(counts.types, type_, times)
        for keys, reason in effect.refused:
            _add(_counts_of(keys, self.destinations, self.more_destinations).reasons, reason, times)

    def report(self, stop: Stop | None, sections: Iterable[SectionCoverage]) -> SectionReport:
        """Return the counts as they are shown; `sections` are all, since some take over rows of others."""
        settings = self.section.settings
        if isinstance(settings, Identify | Track) and self.section.name == self.section.type.name:
            proposer = Proposer(self.section.name, settings, self.paths, self.destinations, self.events)
            proposed = proposer.proposal(len(self.more_paths))
        else:  # rows are proposed where they help most
            proposed = Proposal([], {}, None, self.events, 0)
        return SectionReport(
            events=self.events,
            values=ValueTotals.of(self.seen, self.mapped),
            paths=[
                PathCoverage(
                    path=path_of(*keys),
                    events=counts.count,
                    share=share(counts.count, self.events),
                    types=by_count(counts.types),
                    mapped=counts.mapped,
                    destinations={path_of(*to): times for to, times in by_count(counts.destinations).items()},
                    lost=by_count(counts.reasons),
                    example=counts.example[1],
                    example_at=counts.example_at,
                )
                for keys, counts in _ordered(self.paths)
            ],
            more_paths=len(self.more_paths),
            destinations=[
                DestinationCoverage(
                    path=path_of(*keys),
                    filled=counts.count,
                    share=share(counts.count, self.events),
                    types=by_count(counts.types),
                    refused=by_count(counts.reasons),
                    type_conflict=bool(counts.reasons) or len(counts.types.keys() - {"null"}) > 1,
                )
                for keys, counts in _ordered(self.destinations)
            ],
            more_destinations=len(self.more_destinations),
            rows=[
                RowCoverage(text, is_default, times)
                for (text, is_default), times in zip(self.rows, self.matched_counts, strict=True)
            ],
            entries=self.entries,
            idle_rows=list(self._idle_rows(stop, list(sections))),
            proposed_rows=proposed.row_texts,
            proposal=proposed,
            unsent_of_products=self.unsent_of_products.to_dict(),
        )

    def _idle_rows(self, stop: Stop | None, sections: Sequence[SectionCoverage]) -> Iterator[IdleRow]:
        """Yield the rows and entries of `set` that found no value, each with paths that may be meant by its source.

        A row of the default table is no mistyped one: it may only mean values that do not arrive yet. Comparing takes
        long where there are many rows, so it ends with a stop.
        """
        by_frequency = sorted(self.paths.items(), key=lambda item: -item[1].count)
        seen = {path_of(*keys): keys for keys, _ in by_frequency}
        missing = {path_of(*keys): keys for keys, counts in by_frequency if counts.reasons}

        def meant(sources: Iterable[FieldPath], among: dict[str, Keys] = seen) -> list[str]:
            is_over = stop is not None and stop.requested
            unseen = () if is_over else [source.text for source in sources if source.text not in seen]
            return next(filter(None, (similar_paths(each, among) for each in unseen)), [])

        own = self.section.settings
        with_rows = [each for each in sections if each.section.settings.mapping is own.mapping]
        if with_rows[0] is self:
            matched = {
                text
                for each in with_rows
                for (text, _), times in zip(each.rows, each.matched_counts, strict=True)
                if times
            }
            for row in self.section.rules.rows:
                if row.whole is None and not row.is_default and row.text not in matched:
                    among = missing if row.text in OF_DEFAULT_TABLE else seen
                    yield IdleRow(row.text, meant(row.sources, among))
        with_entries = [each for each in sections if each.section.settings.set is own.set]
        if with_entries[0] is self:
            for entry in self.section.rules.entries:
                if not any(each.entries[entry.destination.text] for each in with_entries):
                    yield IdleRow(f"set.{entry.destination.text}", meant(entry.expression.sources))


class Coverage:
    """Counts what becomes of the values of events.

    Args:
        settings: whose filters and mapping decide.
        selection: what the command line picks.

    Attributes:
        decode: makes records of a batch.
        read: records.
        sections: what was seen, by type of event: ``identify`` and ``track``.
        ends: state and reason of the records of which no request is made, each with how often.
    """

    def __init__(self, settings: Settings, selection: Selection | None = None) -> None:
        self._arguments = settings, selection or Selection()
        self._pipeline = Pipeline(*self._arguments)
        self.decode = self._pipeline.decode
        compiled = self._pipeline.mapper.sections
        self.read = 0
        self.sections = {name: SectionCoverage(each) for name, each in compiled.by_name.items()}
        self.ends: dict[tuple[State, str], int] = {}
        self._other_types = NameCounts()
        self._tracing = Mapper(settings)  # apart: it maps only the first event of each shape
        self._stats = MappingStats.of(compiled)
        self._is_bulk = settings.delivery.customers == "bulk"
        self._filters = Filters(
            *self._arguments, lambda _event: None
        )  # it adds up what those of all processes met
        sources = chain.from_iterable(rules.sources() for rules in compiled.rules())
        indexes = [key for source in sources for key in source.keys if isinstance(key, int)]
        self._items = max(indexes, default=-1) + 1  # rows read no more items of a list
        self._effects: dict[Hashable, Effect] = {}
        self._remembered_bytes = 0

    def add_shared(self, source: Input, jobs: int, stop: Stop) -> None:
        """Count the records of an input on several processes, until the run stops."""
        from voucherify_sync.run import workers  # of no use to a small input, and slow to import

        for result in workers.results(source, jobs, stop, _examining, *self._arguments):
            self._take(_decode_examined(result))

    def add(self, records: Iterable[Record]) -> None:
        """Count records."""
        self._take(self._examine(records))

    def examined(self, blocks: Iterable[Batch], stop: Stop) -> Iterator[bytes]:
        """Yield what was found out about the records of blocks, for the process that counts them."""
        encode = msgspec.msgpack.Encoder().encode
        for records in portions(chain.from_iterable(map(self.decode, blocks)), _MAX_EXAMINED):
            yield encode(self._examine(until_stopped(records, stop)))
            if stop.requested:
                return

    def report(self, stop: Stop | None = None) -> CoverageReport:
        """Return all that was counted; a stop ends the search for rows that may be meant."""
        sections = self.sections
        ends: dict[State, dict[str, int]] = {State.SKIPPED: {}, State.INVALID: {}}
        for (state, reason), times in self.ends.items():
            ends[state if state is State.SKIPPED else State.INVALID][reason] = times
        totals = [(each.events, each.seen, each.mapped) for each in sections.values()]
        findings = dict(self._stats.findings)
        if self._is_bulk:
            findings.pop(HALF_NAME, None)  # the fold joins the halves
        counted, seen, mapped = map(sum, zip(*totals, strict=True))
        return CoverageReport(
            events=CoverageEvents(
                read=self.read,
                counted=counted,
                skipped=by_count(ends[State.SKIPPED]),
                invalid=by_count(ends[State.INVALID]),
                other_types=self._other_types.to_dict(),
            ),
            values=ValueTotals.of(seen, mapped),
            sections={name: section.report(stop, sections.values()) for name, section in sections.items()},
            notices=list(self._filters.notices(stop)),
            findings=findings,
        )

    def _take(self, examined: _Examined) -> None:
        read, effects, ends, other_types, unsent, met, stats = examined
        self._stats.merge(stats)
        self.read += read
        for effect, times in effects:
            self.sections[effect.section].add(effect, times)
        for state, reason, times in ends:
            _add(self.ends, (state, reason), times)
        self._other_types.merge(other_types)
        if ORDERS.name in self.sections:
            self.sections[ORDERS.name].unsent_of_products.merge(unsent)
        self._filters.merge(met)

    def _examine(self, records: Iterable[Record]) -> _Examined:
        """Find out the effects of records. This loop is where the time is spent."""
        pipeline, shape_of, known = self._pipeline, self._shape, self._effects
        times: dict[int, int] = {}
        effects: list[Effect] = []
        ends: dict[tuple[State, str], int] = {}
        other_types, unsent = NameCounts(most=MAX_KEYS_OF_PART), NameCounts(most=MAX_KEYS_OF_PART)
        read = 0
        for record in records:
            read += 1
            made: Effect | Outcome | None
            event = pipeline.admitted(record)
            if isinstance(event, Outcome):
                made = event
            else:
                shape = shape_of(event)
                made = known.get(shape)
                if made is None or _may_find(made, event):
                    decision = pipeline.request(event)  # counts what is found
                    made = decision if isinstance(decision, Outcome) else made or self._trace(decision, shape)
                elif made.has_profile:
                    pipeline.time_customer_update(event)
            if isinstance(made, Outcome):
                _add(ends, (made.state, made.reason or ""), 1)
                if made.reason == OTHER_TYPE:
                    other_types.add(made.record.type or "")
                continue
            if made.products_at is not None and isinstance(event, Event):
                self._count_unsent(event, made.products_at, unsent)
            if id(made) in times:
                times[id(made)] += 1
            else:
                times[id(made)] = 1
                effects.append(made)
        return (
            read,
            [(effect, times[id(effect)]) for effect in effects],
            [(*end, count) for end, count in ends.items()],
            other_types,
            unsent,
            self._pipeline.filters.cut_met(),
            self._pipeline.mapper.cut_stats(),
        )

    def _count_unsent(self, event: Event, products_at: Keys, unsent: NameCounts) -> None:
        """Count what the products of an order hold that no item takes: other events of the shape hold other values."""
        entries = self.sections[ORDERS.name].section.rules.entries
        for _, name in unsent_values(event.fields, products_at, entries):
            unsent.add(_path_in_list(products_at, name))

    def _trace(self, request: Request, shape: Hashable) -> Effect | Outcome:
        """Trace an event of a new shape, or of none, and remember the effect of the shape."""
        event = request.event
        self._tracing.cut_stats()  # those of events that were mapped for their shape
        made = traced(self._tracing, event)
        if isinstance(made, Outcome):
            return made
        mapped, trace = made
        values = [value for value in trace.values if value.reason != NOT_OF_ITEMS]  # a list is one value
        effect = Effect(
            trace.section,
            [
                (
                    _bounded(value.keys),
                    _TYPES[type(value.value)],
                    value.places,
                    value.reason,
                    (weight_of(value.value), brief(value.value)),
                )
                for value in values
            ],
            [(_bounded(keys), _TYPES[type(value)]) for keys, value in filled_places(mapped)],
            [(_bounded(tuple(path.split("."))), reason) for path, reason in mapped.draft.dropped],
            sorted({self.sections[trace.section].counted_as[applied.number] for applied in trace.rows}),
            [entry.destination for entry in trace.entries],
            seen=sum(value.value is not None for value in values),
            mapped=sum(value.value is not None and value.reason is None for value in values),
            position=str(event.position),
            has_profile=request.has_profile,
            telling=self._telling(mapped, trace),
            products_at=trace.products_at,
        )
        if shape is not None:
            self._remembered_bytes += len(event.raw)
            if self._remembered_bytes > _MAX_REMEMBERED_BYTES:
                self._effects.clear()
                self._remembered_bytes = len(event.raw)
            self._effects[shape] = effect
        return effect

    def _telling(self, mapped: MappedRecord, trace: Trace) -> tuple[Keys, ...] | None:
        """Return where the values lie that may make a finding in another event of this shape, as in Effect."""
        draft, found = mapped.draft, self._tracing.cut_stats()
        may_be_named_by_properties = (
            type(mapped.body) is CustomEvent
            and draft.customer.name is not UNSET
            and "name" in draft.traits_or_properties
        )
        are_made = any(place in trace.makers for place in _TELLING_PLACES)
        has_customer_rules = self._pipeline.filters.has_customer_rules
        if found.found or may_be_named_by_properties or are_made or has_customer_rules:
            return None
        return tuple([keys for place in _TELLING_PLACES for keys in trace.origins.get(place, ())])

    def _shape(self, event: Event) -> Hashable:
        """Return what decides the effect of an event; None for one that is not worth remembering.

        Only what the mapping needs of an event is decoded. Of most texts it matters only that they are there.
        """
        if event.unsafe or event.repaired or len(event.raw) > _MAX_EVENT_BYTES:
            return None
        deciding = self._tracing.deciding_values(event)
        try:
            return event.type, deciding, _shape_of(event.fields, self._items, 0)
        except RecursionError:
            return None


def _examining(settings: Settings, selection: Selection) -> Work:
    """Prepare what a process does."""
    return Coverage(settings, selection).examined


def _may_find(effect: Effect, event: Event) -> bool:
    """Tell whether an event of a known shape is to be mapped, since one of its values may make a finding."""
    return effect.telling is None or any(
        is_remarkable(located(event.fields, keys)) for keys in effect.telling
    )


_BLANK, _TEXT, _LONG, _NUMBER, _BOOLEAN, _NULL, _LIST, _SAYS_LITTLE = range(8)
_SHAPES: Final[dict[type, int]] = {
    int: _NUMBER,
    float: _NUMBER,
    bool: _BOOLEAN,
    type(None): _NULL,
    list: _LIST,
}


def _shape_of(value: Any, items: int, depth: int) -> Hashable:
    """Return what decides where a value goes: of an object its keys and the shapes of its values.

    Args:
        value: of an event.
        items: the first items of a list, which rows may read.
        depth: of the value.

    Raises:
        RecursionError: an object is nested too deeply to be worth it.
    """
    cls = type(value)
    if cls is str:
        if not value:
            return _SAYS_LITTLE  # as an example it gives way, even to white space
        if value.isspace():
            return _BLANK
        return _LONG if len(value) > MAX_EVENT_NAME else _TEXT
    if cls is dict:
        if depth == _MAX_DEPTH:
            raise RecursionError
        return (*value, *[_shape_of(inside, items, depth + 1) for inside in value.values()])
    if cls is list and items:
        return (_LIST, len(value) > 0, *[_shape_of(inside, items, depth + 1) for inside in value[:items]])
    shape = _SHAPES[cls]
    # As examples, 0 and the empty list give way to a value that says more.
    return shape if value or shape not in (_NUMBER, _LIST) else (shape, _SAYS_LITTLE)


@lru_cache(maxsize=1_024)
def _path_in_list(keys: Keys, name: str) -> str:
    """Return the path of a key of all items of a list, such as `properties.products[].category`."""
    above = path_of(*keys)
    return f"{above}[]{path_of(*keys, name).removeprefix(above)}"


def _bounded(keys: Keys) -> Keys | int:
    """Return keys that are short enough to be kept, or a hash that is the same in every process.

    Of a very long key the hash covers its length, beginning and end.
    """
    if sum([len(key) for key in keys if isinstance(key, str)]) <= _MAX_KEYS_LENGTH:
        return keys
    hashed = [(len(key), key[:100], key[-100:]) if isinstance(key, str) else key for key in keys]
    return int.from_bytes(blake2b(json.dumps(hashed).encode(), digest_size=8).digest(), "big")


def _counts_of(keys: Keys | int, known: dict[Keys, PathCounts], more: set[int]) -> PathCounts:
    """Return the counts of keys; where no more are kept, note that there are more, and return some that are not."""
    if not isinstance(keys, int):
        counts = known.get(keys)
        if counts is None and len(known) < MAX_PATHS:
            counts = known[keys] = PathCounts()
        if counts is not None:
            return counts
        keys = hash(keys)
    if len(more) < _MAX_MORE:
        more.add(keys)
    return PathCounts()


def _add(counts: dict[Any, int], name: Any, times: int) -> None:
    counts[name] = counts.get(name, 0) + times


def _ordered(counts: dict[Keys, PathCounts]) -> list[tuple[Keys, PathCounts]]:
    return sorted(counts.items(), key=lambda item: (-item[1].count, item[0]))


def weight_of(value: Any) -> int:
    """Tell how much a value says as an example: null nothing; 0, an empty text and an empty list little."""
    if value is None:
        return 0
    return 2 if value or value is False else 1


_ENCODER: Final = json.JSONEncoder(ensure_ascii=False)


def brief(value: Any) -> str:
    """Return the beginning of a value as JSON text, clean; a long value is not written out to be cut."""
    if isinstance(value, str):
        value = value[: MAX_EXAMPLE + 1]
    # `encode` is five times as fast, but it writes out a whole list.
    pieces = _ENCODER.iterencode(value) if isinstance(value, dict | list) else [_ENCODER.encode(value)]
    text = ""
    for piece in pieces:
        text += piece[: MAX_EXAMPLE + 2]
        if len(text) > MAX_EXAMPLE:
            break
    return clean(text, MAX_EXAMPLE)


def share(part: int, whole: int) -> float:
    """Return a share rounded down, so that 1 means all; 0 of nothing is 0, and a little is never 0."""
    return math.floor(10_000 * part / whole) / 10_000 or (0.0001 if part else 0.0) if whole else 0.0
