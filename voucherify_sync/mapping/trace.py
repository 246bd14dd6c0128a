"""Trace each value of an event to its place in the request.

What a row writes with a value is found out by letting the row put that value into an empty draft, and what of it was
sent is looked up in the request: how values get their types and places is not written here again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from enum import StrEnum
from itertools import chain
from typing import Any, Final

from msgspec import Struct, json, to_builtins

from voucherify_sync.events import ORDERS, SENT_TYPES, Event, Json
from voucherify_sync.expressions.row_filters import APPLY_FAILED
from voucherify_sync.expressions.set_entries import SetEntry
from voucherify_sync.field_types import (
    BLANK,
    DOES_NOT_FIT,
    NOT_A_DATE,
    NOT_AN_OBJECT,
    NOT_TEXT,
    present_text,
)
from voucherify_sync.fields import NAME, NAME_PARTS, WORKING_FIELDS, CustomerBody, CustomEvent
from voucherify_sync.mapping import drafts
from voucherify_sync.mapping.drafts import Draft, Put
from voucherify_sync.mapping.mapper import MappedRecord, Mapper, names_another, traits_in
from voucherify_sync.mapping.orders import ITEM_UNUSABLE, OrderBody, order_alone, unsent_keys
from voucherify_sync.mapping.rules import CONTEXT_TRAITS, VALUE, WHOSE_TRAITS, Leaf, MappingRow
from voucherify_sync.outcomes import Outcome
from voucherify_sync.paths import FIELDS_OF, MISSING, FieldPath, Keys, outside_lists, read
from voucherify_sync.text import text_of

NO_ROW: Final = "no_row"
NO_FIELD: Final = "no_field"
NULL: Final = "null"
EMPTY: Final = "empty"
OVERWRITTEN: Final = "overwritten"
NAME_GIVEN: Final = "name_given"
PARTLY: Final = "partly"
NOT_USED: Final = "not_used"
ITEMS_DECIDE: Final = "items_decide"
NOT_OF_ITEMS: Final = "not_of_items"
"""Why a value is not in the request, beside the reasons of dropped values; `WHY_NOT_MAPPED` has the words."""

_CONSTANT: Final = "constant of the settings"
"""What gives a value that is written in the settings."""

MAX_DEPTH: Final = 32
"""Keys of a path at most; an object that lies deeper counts as one value."""

ROOTS: Final[dict[str, tuple[Keys, ...]]] = {
    each.name: ((each.root,), CONTEXT_TRAITS) for each in SENT_TYPES.values()
}
"""Type of event -> the objects whose values are traced."""

_NAMES: Final = re.compile(r"(?<=')[^']+(?=')|(?<=\")[^\"]+(?=\")|[\w-]+")
"""Words and quoted names in a path or a template."""

_EMPTIES: Final = (NOT_TEXT, NOT_A_DATE)
"""Why a value is dropped that takes the place of an earlier one all the same: then nothing stands there."""

_SOURCE_ID: Final[Keys] = ("customer", "source_id")
_EVENT: Final[Keys] = ("event",)
_AMOUNT: Final[Keys] = ("amount",)
_ITEMS: Final[Keys] = ("items",)
_STATUS: Final[Keys] = ("status",)
_OCCURRED_AT: Final[Keys] = ("metadata", "occurred_at")


class ContextTraits(StrEnum):
    """What becomes of the traits in the context of an identify that has none of its own."""

    STAND_IN = "stand_in"
    """They are taken for the event's own."""
    OF_ANOTHER = "of_another"
    """They are not taken, because they name another user."""


class AppliedRow(Struct, frozen=True):
    """A row that found a value.

    Attributes:
        number: of the row, in the order in which rows are applied.
        row: as it is compiled.
        source: the keys at which the value lies; none for a value that `default` gave.
        value: as it came.
        result: None if it is sent, else why not; ``partly`` if not all that is inside.
    """

    number: int
    row: MappingRow
    source: Keys
    value: Any
    result: str | None


class AppliedEntry(Struct, frozen=True):
    """An entry of `set` that gave a value.

    Attributes:
        destination: as it is written.
        name: of its outermost directive, such as ``@template``; None for a constant, a list or an object.
        value: what it gave.
        sources: the keys of the values of the event that it was made of.
        branches: of each ``@if``, which one was taken: ``then`` or ``else``.
        result: as in AppliedRow.
    """

    destination: str
    name: str | None
    value: Any
    sources: tuple[Keys, ...]
    branches: tuple[str, ...]
    result: str | None


class TracedValue(Struct, frozen=True):
    """A value of the traits or properties.

    Attributes:
        keys: where it lies in the event.
        value: as it came; a list is one value.
        places: the destinations at which it arrives.
        reason: why it arrives nowhere; None if it arrives.
        carried: the place in metadata that it has without a row; None if it has none.
    """

    keys: Keys
    value: Any
    places: tuple[Keys, ...]
    reason: str | None
    carried: Keys | None = None


class Fallback(Struct, frozen=True):
    """A destination that no row filled.

    Attributes:
        place: the destination.
        value: what is sent.
        sources: the keys of the event that it was made of; none for a constant of the settings.
    """

    place: Keys
    value: Any
    sources: tuple[Keys, ...] = ()


class Trace(Struct):
    """What happened to one event on its way to a request.

    Attributes:
        section: by which the event was mapped: its type, or ``events.`` and the name of an entry of `track.events`.
        rows: those that found a value, in the order in which they are applied.
        entries: those of `set` that gave a value, in their order.
        values: every value of the event's traits or properties, and of ``context.traits``. Of products that become
            items of an order also those that no item holds, the first of each name.
        fallbacks: what was filled by rule, since no row did.
        constants: what the settings add.
        makers: of each place whose value was made, not copied: the filters of its row, or the directive of `set` with
            the branches that it took.
        origins: of each place of the request that holds a value, the keys of the event that it was made of.
        givers: of each place, in words, what gave its value, or a part of it, without a value of the event: a row whose
            filter has a default, `set`, or a constant.
        context_traits: what becomes of traits in the context that could stand in for the event's own; else None.
        products_at: keys of the list of products that become items of an order as they are; None if there is none.
    """

    section: str
    rows: list[AppliedRow]
    entries: list[AppliedEntry]
    values: list[TracedValue]
    fallbacks: list[Fallback]
    constants: list[Fallback]
    origins: dict[Keys, tuple[Keys, ...]] = {}
    makers: dict[Keys, str] = {}
    givers: dict[Keys, tuple[str, ...]] = {}
    context_traits: ContextTraits | None = None
    products_at: Keys | None = None

    @property
    def carried(self) -> list[tuple[Keys, Keys]]:
        """Keys of values that no row reads and that are sent as metadata, each with its place there."""
        return [(value.keys, value.carried) for value in self.values if value.carried is not None]


def traced(mapper: Mapper, event: Event) -> tuple[MappedRecord, Trace] | Outcome:
    """Map an event and trace it; an outcome if no request is made of it."""
    mapped = mapper.mapped(event, traces=True)
    if isinstance(mapped, Outcome):
        return mapped
    trace = _Tracer(event, mapped).trace()
    told = traits_in(event.fields)
    if mapped.rules.root == CONTEXT_TRAITS:
        trace.context_traits = ContextTraits.STAND_IN
    elif (
        told
        and event.type == "identify"
        and mapped.section.context_rules is not None
        and not event.fields.get("traits")
    ):
        trace.context_traits = ContextTraits.OF_ANOTHER if names_another(told, event.fields) else None
    return mapped, trace


class _Write(Struct):
    """One value that goes to one destination.

    Attributes:
        row: the number of the row, in the order in which rows are applied; entries of `set` and constants come after
            them.
        sources: the keys of the values of the event that it was made of; none for a constant, or for what
            `default` gave.
        place: the destination.
        value: as it came.
        reason: why it leaves nothing in the request; None if it does.
    """

    row: int
    sources: tuple[Keys, ...]
    place: Keys
    value: Any
    reason: str | None = None


class _Tracer:
    """Traces one event."""

    def __init__(self, event: Event, mapped: MappedRecord) -> None:
        self._section, self._rules = mapped.section, mapped.rules
        self._event = event
        self._draft = mapped.draft
        self._found: list[tuple[Leaf, Keys, Any]] = []
        for leaf, value in sorted(mapped.draft.matches, key=lambda match: match[0].row):
            self._found.append((leaf, _keys_of(leaf, event.fields), value))
        self._parts: Json = _parts_of(mapped)
        self._root = mapped.rules.root
        self._given = dict(zip(mapped.draft.filled, mapped.draft.set_values, strict=True))
        self._objects_by_parts = {
            keys for leaf, keys, value in self._found if leaf.parts and type(value) is dict
        }
        read_beside = (*self._rules.taken, *self._section.asked)
        self._read_beside = {outside_lists(_keys_at(path, event.fields)) for path in read_beside}
        self._writes = list(self._all_writes())
        for write in self._writes:
            if write.place == (drafts.TOTAL,):
                write.place = _AMOUNT
        self._give_reasons()
        self._arrived = {write.place: write for write in self._writes if write.reason is None}

    def trace(self) -> Trace:
        """Return the trace."""
        by_row: dict[int, list[_Write]] = {}
        for write in self._writes:
            by_row.setdefault(write.row, []).append(write)
        rows = [
            AppliedRow(
                leaf.row,
                self._rules.rows[leaf.row],
                keys,
                self._refused(keys) if value is APPLY_FAILED else value,
                _result(
                    [
                        each.reason
                        for each in by_row.get(leaf.row, [])
                        if not each.sources or each.sources[0][: len(keys)] == keys
                    ]
                ),
            )
            for leaf, keys, value in self._found
        ]
        rules = self._rules
        entries = [
            AppliedEntry(
                rules.entries[number].destination.text,
                rules.entries[number].expression.name,
                value,
                tuple(map(self._moved, reading.keys)),
                tuple(reading.branches),
                _result([each.reason for each in by_row.get(len(rules.rows) + number, [])]),
            )
            for number, (value, reading) in self._given.items()
        ]
        constants = [
            Fallback(write.place, write.value)
            for write in self._writes
            if write.row >= len(rules.rows) + len(rules.entries) and write.reason is None
        ]
        trace = Trace(
            self._section.name, rows, entries, list(self._values()), list(self._fallbacks()), constants
        )
        makers: dict[Keys, list[str]] = {}
        givers: dict[Keys, list[str]] = {}
        for write in self._arrived.values():
            place = NAME if write.place in NAME_PARTS else write.place
            trace.origins[place] = (
                write.sources
            )  # of a name that is made of parts, those of its fallback follow
            if maker := self._maker_of(write.row):
                makers.setdefault(place, []).append(maker)
            if not write.sources:
                givers.setdefault(place, []).append(self._giver_of(write.row))
        items = self._arrived.get(_ITEMS)
        if self._section.type is ORDERS and items is not None and self._maker_of(items.row) is None:
            trace.products_at = items.sources[0]
            unsent: dict[str, TracedValue] = {}
            for number, name in unsent_values(self._event.fields, trace.products_at, self._rules.entries):
                keys = (*trace.products_at, number, name)
                value = located(self._event.fields, keys)
                unsent.setdefault(name, TracedValue(keys, value, (), NOT_OF_ITEMS))
            trace.values += unsent.values()
        trace.makers = {place: ", ".join(dict.fromkeys(each)) for place, each in makers.items()}
        trace.givers = {place: tuple(each) for place, each in givers.items()}
        trace.origins.update({place: (keys,) for keys, place in trace.carried})
        trace.origins.update({fallback.place: fallback.sources for fallback in trace.fallbacks})
        return trace

    def _giver_of(self, number: int) -> str:
        """Return in words what gives a value without one of the event."""
        if number < len(self._rules.rows):
            return f"row {self._rules.rows[number].source.text}"
        return _CONSTANT if self._maker_of(number) is None else "set"

    def _maker_of(self, number: int) -> str | None:
        """Return what makes the values of a row or of an entry of `set`; None where they are copied or constant."""
        rules = self._rules
        if number < len(rules.rows):
            filters = rules.rows[number].filters
            return None if filters is None else filters.text
        number -= len(rules.rows)
        if number >= len(rules.entries) or rules.entries[number].expression.path is not None:
            return None
        expression = rules.entries[number].expression
        if expression.name is not None:
            return ", ".join((expression.name, *self._given[number][1].branches))
        if expression.is_constant:
            return None
        return "in a list" if isinstance(expression.value, list) else "in an object"

    def _moved(self, keys: Keys) -> Keys:
        """Return where a directive has read: the traits of the context may stand in for the event's own."""
        is_moved = self._root == CONTEXT_TRAITS and keys[:1] == CONTEXT_TRAITS[1:]
        return (CONTEXT_TRAITS[0], *keys) if is_moved else keys

    def _all_writes(self) -> Iterator[_Write]:
        """Yield what rows, entries of `set` and constants write, value by value."""
        for leaf, keys, value in self._found:
            if value is APPLY_FAILED:
                yield _Write(leaf.row, self._values_at(keys), leaf.place, self._refused(keys), DOES_NOT_FIT)
            else:
                is_copied = bool(keys) and value is located(self._event.fields, keys)
                yield from _written_by(leaf, keys, value, None if is_copied else self._values_at(keys))
        for number, (value, reading) in self._given.items():
            yield from self._written_by_set(number, value, list(map(self._moved, reading.keys)))
        for number, (place, put, value) in enumerate(
            self._rules.constants, len(self._rules.rows) + len(self._rules.entries)
        ):
            for own, inside in values_below(place, value):
                yield from _written(number, (), put, own[len(place) :], inside, place)

    def _values_at(self, *places: Keys) -> tuple[Keys, ...]:
        """Return where the values lie that are told of one by one, of all that lies at places of the event."""
        fields = self._event.fields
        return tuple([own for keys in places if keys for own, _ in values_below(keys, located(fields, keys))])

    def _refused(self, keys: Keys) -> Any:
        """Return what the filters of a row do not take, as it came; null where they were given a default instead."""
        return located(self._event.fields, keys) if keys else None

    def _written_by_set(self, number: int, value: Any, read_keys: list[Keys]) -> Iterator[_Write]:
        """Yield what an entry of `set` writes. What is copied as it is has one source, all else has what was read."""
        entry = self._rules.entries[number]
        if entry.expression.path is not None and read_keys:
            yield from _written_by(entry.leaf, read_keys[0], value)
        else:
            yield from _written_by(entry.leaf, entry.leaf.place, value, self._values_at(*read_keys))

    def _give_reasons(self) -> None:
        """Tell of each write whether it left something in the request.

        A later row overwrites what it puts something in the place of, above it or below it; the values of one row stand
        beside each other. Where a text lies, an object replaces it, even an empty one.
        """
        last_at: dict[Keys, int] = {}
        last_at_or_below: dict[Keys, int] = {}
        written = [write for write in self._writes if write.reason is None or write.reason in _EMPTIES]
        for write in written:
            if write.value != {}:
                last_at[write.place] = write.row
            for prefix in _prefixes(write.place):
                last_at_or_below[prefix] = write.row
        for write in written:
            rows = [last_at_or_below[write.place]]
            rows += [last_at.get(prefix, -1) for prefix in _prefixes(write.place[:-1])]
            if write.reason is None and max(rows) > write.row:
                write.reason = OVERWRITTEN
        name_is_given = any(
            write.place == NAME and write.reason is None and present_text(write.value) is not None
            for write in written
        )
        has_items = self._section.type is ORDERS and _ITEMS[0] in self._parts
        dropped = {
            path: reason
            for path, reason in self._draft.dropped
            if not (has_items and reason == ITEM_UNUSABLE)
            and reason
            not in (NOT_AN_OBJECT, BLANK, DOES_NOT_FIT, *(_EMPTIES if path.startswith("customer.") else ()))
        }
        for write in written:
            if write.reason is None:
                write.reason = self._reason(write, name_is_given, dropped)

    def _reason(self, write: _Write, name_is_given: bool, dropped: dict[str, str]) -> str | None:
        """Return why the last write to a place left nothing in the request, or None if it did."""
        if write.place == _EVENT or write.place in NAME_PARTS or write.place == NAME:
            if write.value is None:
                return None if located(self._parts, write.place) is None else NULL
            if present_text(write.value) is None:
                return NOT_TEXT if text_of(write.value) is None else BLANK
            return NAME_GIVEN if write.place in NAME_PARTS and name_is_given else None
        for prefix in reversed(_prefixes(write.place)) if dropped else ():
            if reason := dropped.get(".".join(map(str, prefix))):
                return reason
        if located(self._parts, write.place) is MISSING:
            if write.place == _AMOUNT:
                return ITEMS_DECIDE
            return NULL if write.value is None else EMPTY
        return None

    def _writes_by_values(self) -> Iterator[_Write]:
        """Yield the writes as values of the event are told of them.

        Each value that an entry of `set` reads has a part in all that the entry makes, so an object counts as one: its
        fields times what was read would be too many.
        """
        made: dict[int, list[_Write]] = {}
        for write in self._writes:
            number = write.row - len(self._rules.rows)
            if number in self._given and self._rules.entries[number].expression.path is None:
                made.setdefault(number, []).append(write)
            else:
                yield write
        for number, writes in made.items():
            first = next((write for write in writes if write.reason is None), writes[0])
            place = first.place if len(writes) == 1 else self._rules.entries[number].leaf.place
            yield _Write(first.row, first.sources, place, first.value, first.reason)

    def _values(self) -> Iterator[TracedValue]:
        by_source: dict[Keys, list[_Write]] = {}
        for write in self._writes_by_values():
            for source in write.sources:
                by_source.setdefault(outside_lists(source[:MAX_DEPTH]), []).append(write)
        metadata: Keys = ("customer", "metadata") if self._section.is_customer else ("metadata",)
        carried_keys = set(self._draft.carried)
        for root in ROOTS[self._event.type]:
            for keys, value in values_below(root, located(self._event.fields, root)):
                if root == CONTEXT_TRAITS and len(keys) > len(root) and keys[len(root)] in WHOSE_TRAITS:
                    continue  # it tells whose they are
                writes = by_source.get(keys, [])
                places = [
                    NAME if write.place in NAME_PARTS else write.place
                    for write in writes
                    if write.reason is None
                ]
                if keys in map(self._own_name, self._draft.own_names):
                    places.append(NAME)
                carried = None
                below = keys[len(root) :]
                if root == self._root and below and below[0] in carried_keys:
                    places.append(carried := (*metadata, *below))
                if places:
                    reason = None
                elif value is None:
                    reason = NULL
                else:
                    reason = writes[0].reason if writes else self._why_no_row(keys, root)
                yield TracedValue(keys, value, tuple(dict.fromkeys(places)), reason, carried)

    def _why_no_row(self, keys: Keys, root: Keys) -> str:
        """Return why a value that nothing writes into the request is not there."""
        places = _prefixes(keys)
        if not self._objects_by_parts.isdisjoint(places):
            return NO_FIELD
        if not self._read_beside.isdisjoint(places):
            return NOT_USED
        if keys == root:
            return NOT_AN_OBJECT
        return NO_ROW if set(self._rules.object_places).isdisjoint(places) else NO_FIELD

    def _fallbacks(self) -> Iterator[Fallback]:
        """Yield the rules that filled what no row did: id, name of the customer, name of the event."""
        event = self._event
        source_id = located(self._parts, _SOURCE_ID)
        if source_id is not MISSING and _SOURCE_ID not in self._arrived:
            own_key = "userId" if present_text(event.fields.get("userId")) is not None else "anonymousId"
            yield Fallback(_SOURCE_ID, source_id, ((own_key,),))
        if self._section.type is ORDERS:
            yield from self._fallbacks_of_order()
        elif not self._section.is_customer and _EVENT not in self._arrived:
            own_key = "event" if present_text(event.name) is not None else "type"
            is_own = self._section.rename is None
            yield Fallback(_EVENT, self._parts["event"], ((own_key,),) if is_own else ())
        own_names = {name: self._own_name(name) for name in self._draft.own_names}
        parts: dict[str, tuple[Keys, ...]] = {name: (keys,) for name, keys in own_names.items()}
        parts |= {
            str(place[-1]): write.sources for place, write in self._arrived.items() if place in NAME_PARTS
        }
        if parts:
            sources = chain.from_iterable(parts[name] for name in WORKING_FIELDS if name in parts)
            yield Fallback(NAME, located(self._parts, NAME), tuple(sources))

    def _fallbacks_of_order(self) -> Iterator[Fallback]:
        """Yield what the name and the time of an event say of its order."""
        if _STATUS not in self._arrived:
            yield Fallback(_STATUS, self._parts["status"], (("event",),))
        occurred_at = located(self._parts, _OCCURRED_AT)
        if occurred_at is not MISSING and _OCCURRED_AT not in self._arrived:
            yield Fallback(_OCCURRED_AT, occurred_at, (("timestamp",),))

    def _own_name(self, name: str) -> Keys:
        return (*self._root, name)


def _prefixes(place: Keys) -> list[Keys]:
    """Return a place and those above it, the outermost first."""
    return [place[:length] for length in range(1, len(place) + 1)]


def _keys_of(leaf: Leaf, fields: Json) -> Keys:
    """Return the keys at which a row found its value; none where `default` gave it."""
    found: Keys = ()
    for path in (leaf.path, *leaf.others):
        found = _keys_at(path, fields) or found
        if found and located(fields, found) is not None:
            break
    return found


def _keys_at(path: FieldPath, fields: Json) -> Keys:
    """Return the keys at which a path finds something, of which one may hold dots; none where there is nothing."""
    keys: list[str | int] = []
    return () if read(fields, path, keys) is MISSING else tuple(keys)


def _written_by(
    leaf: Leaf, keys: Keys, value: Any, sources: tuple[Keys, ...] | None = None
) -> Iterator[_Write]:
    """Yield what a row or an entry of `set` writes, value by value.

    Args:
        leaf: puts the value.
        keys: where it lies in the event; or its destination, if sources are given.
        value: which.
        sources: where the values lie that it was made of; None for one that is copied as it is.
    """
    if leaf.parts and type(value) is dict:
        fields = {VALUE.text: value}
        for part in leaf.parts:
            found_by, found = part.find(fields)
            if found is not MISSING and not (type(found) is dict and found_by.place in FIELDS_OF):
                own = (*keys, *_keys_of(found_by, fields)[1:])
                yield from _written_by(found_by, own, found, sources)
        return
    for own, inside in values_below(keys, value, with_empty=True):
        own_sources = (own,) if sources is None else sources
        yield from _written(leaf.row, own_sources, leaf.put, own[len(keys) :], inside, leaf.place)


def _written(
    row: int, sources: tuple[Keys, ...], put: Put, inside: Keys, value: Any, place: Keys
) -> Iterator[_Write]:
    """Find out what a row writes with one value, by letting it put the value alone into an empty draft.

    Args:
        row: its number.
        sources: where the values lie in the event that it was made of.
        put: what the row does.
        inside: the keys of the value in what the row found.
        value: which.
        place: the row's destination.
    """
    alone = value
    for key in reversed(inside):
        alone = {key: alone}
    draft = Draft(CustomerBody())
    put(draft, alone)
    own_place = (*place, *inside)
    if draft.dropped:
        path, reason = draft.dropped[0]
        dropped_at = tuple(path.split("."))
        if reason in _EMPTIES:
            above = len(own_place) - len(dropped_at)
            taken = tuple([source[: len(source) - above] for source in sources])
            yield _Write(row, taken, dropped_at, located(alone, dropped_at[len(place) :]), reason)
        if reason in (NOT_AN_OBJECT, BLANK) or dropped_at != own_place:
            yield _Write(row, sources, dropped_at, value, reason)
    elif own_place in NAME_PARTS or _holds(draft, own_place):
        yield _Write(row, sources, own_place, value)
    elif value is not None and value != {}:
        yield _Write(row, sources, own_place, value, NO_FIELD)


def _holds(draft: Draft, place: Keys) -> bool:
    """Tell whether something stands at a destination in a draft."""
    if place in FIELDS_OF and len(place) == 1:
        return False
    parts = {"customer": to_builtins(draft.customer), "metadata": draft.metadata, **draft.parts}
    parts |= draft.parts.get(drafts.ORDER, {})
    if draft.event is not None:
        parts["event"] = draft.event
    return located(parts, place) is not MISSING


def _result(reasons: list[str | None]) -> str | None:
    """Return what became of a row by what became of its writes."""
    if not reasons:
        return EMPTY
    if None not in reasons:
        return next((reason for reason in reasons if reason != NULL), NULL)
    return PARTLY if any(reasons) else None


def filled_places(mapped: MappedRecord) -> Iterator[tuple[Keys, Any]]:
    """Yield every destination of a request at which something stands, and what."""
    for part, value in _parts_of(mapped).items():
        yield from values_below((part,), value)


def _parts_of(mapped: MappedRecord) -> Json:
    """Return a body by the destinations of its parts; an order as this event alone makes it."""
    if type(mapped.body) is OrderBody:
        return order_alone(json.encode(mapped.body))
    body: Json = to_builtins(mapped.body)
    return body if type(mapped.body) is CustomEvent else {"customer": body}


def unsent_values(fields: Json, products_at: Keys, entries: Iterable[SetEntry]) -> Iterator[tuple[int, str]]:
    """Yield the number of a product and the name of each value of it that no item of the order holds.

    Args:
        fields: of the event.
        products_at: keys of the list of products.
        entries: those of `set`; what their shapes of `@arrayPath` may read of an item is not yielded.
    """
    read: set[str] | None = None
    for number, product in enumerate(located(fields, products_at)):
        for name in unsent_keys(product) if isinstance(product, dict) else ():
            if read is None:
                read = {name for entry in entries for name in _names(entry.expression.value)}
            if name not in read:
                yield number, name


def _names(value: Any, *, in_shape: bool = False) -> Iterator[str]:
    """Yield the names in all paths and templates below `@arrayPath`."""
    if isinstance(value, str):
        yield from _NAMES.findall(value) if in_shape else ()
    elif isinstance(value, dict):
        for key, inside in value.items():
            yield from _names(inside, in_shape=in_shape or key == "@arrayPath")
    elif isinstance(value, list):
        for inside in value:
            yield from _names(inside, in_shape=in_shape)


def located(value: Any, keys: Keys) -> Any:
    """Return what lies at keys of objects and indexes of lists, or MISSING."""
    for key in keys:
        if isinstance(value, list) and isinstance(key, int):
            value = value[key] if key < len(value) else MISSING
        else:
            value = value.get(key, MISSING) if isinstance(value, dict) else MISSING
    return value


def values_below(keys: Keys, value: Any, *, with_empty: bool = False) -> Iterator[tuple[Keys, Any]]:
    """Yield every value below the keys with its own keys; a list is one value, an empty object holds none."""
    if isinstance(value, dict) and len(keys) < MAX_DEPTH and (value or not with_empty):
        for key, inside in value.items():
            yield from values_below((*keys, key), inside, with_empty=with_empty)
    elif value is not MISSING:
        yield keys, value
