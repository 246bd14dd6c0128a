"""Traces where each value of an event went: the log of the event's walk in, the way of its values into the request out.

What a row writes with a value is found out by letting the row put that value into an empty draft, and what of it was
sent is looked up in the request: how values get their types and places is not written here again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from msgspec import UNSET, Struct, to_builtins

from voucherify_sync.events import Event, Json
from voucherify_sync.mapping.drafts import Customer, CustomEvent, Draft, Put
from voucherify_sync.mapping.field_types import NOT_AN_OBJECT, NOT_TEXT, present_text, text_of
from voucherify_sync.mapping.mapper import MappedRecord, Mapper
from voucherify_sync.mapping.rules import Leaf, Row, Rules
from voucherify_sync.mapping.walk import WalkLog
from voucherify_sync.outcomes import Outcome
from voucherify_sync.paths import FIELDS_OF, MISSING, WORKING_FIELDS, Keys, keys_at

NO_ROW: Final = "no_row"
NO_FIELD: Final = "no_field"
NULL: Final = "null"
BLANK: Final = "blank"
EMPTY: Final = "empty"
OVERWRITTEN: Final = "overwritten"
NAME_GIVEN: Final = "name_given"
PARTLY: Final = "partly"

MAX_DEPTH: Final = 32
"""Keys of a path at most; an object that lies deeper counts as one value."""

ROOTS: Final[dict[str, tuple[Keys, ...]]] = {
    "identify": (("traits",), ("context", "traits")),
    "track": (("properties",), ("context", "traits")),
}
"""Type of event -> the objects whose values are traced."""

_NAME: Final[Keys] = ("customer", "name")
_SOURCE_ID: Final[Keys] = ("customer", "source_id")
_EVENT: Final[Keys] = ("event",)
_METADATA: Final[dict[str, Keys]] = {"identify": ("customer", "metadata"), "track": ("metadata",)}
_WORKING: Final = frozenset(("customer", field) for field in WORKING_FIELDS)


class AppliedRow(Struct, frozen=True):
    """A row that found a value.

    Attributes:
        number: of the row, in the order in which rows are applied.
        row: as it is compiled.
        source: the keys at which the value lies.
        value: as it came.
        result: None if it is sent, else why not; ``partly`` if not all that is inside.
    """

    number: int
    row: Row
    source: Keys
    value: Any
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


class Trace(Struct, frozen=True):
    """What happened to one event on its way to a request.

    Attributes:
        rows: those that found a value, in the order in which they are applied.
        values: every value of the event's traits or properties, and of ``context.traits``.
        fallbacks: what was filled by rule, since no row did.
        constants: what the settings add.
    """

    rows: list[AppliedRow]
    values: list[TracedValue]
    fallbacks: list[Fallback]
    constants: list[Fallback]

    @property
    def carried(self) -> list[tuple[Keys, Keys]]:
        """Keys of values that no row took and that metadata takes, each with where they stand there."""
        return [(value.keys, value.carried) for value in self.values if value.carried is not None]


def traced(mapper: Mapper, event: Event) -> tuple[MappedRecord, Trace] | Outcome:
    """Map an event and trace it; an outcome if no request is made of it."""
    log = WalkLog()
    request = mapper.mapped(event, log)
    if isinstance(request, Outcome):
        return request
    return request, _Tracing(mapper.rules[event.type], event, request, log).trace()


class _Write(Struct, frozen=True):
    """One value that goes to one destination.

    Attributes:
        row: the number of the row, in the order in which rows are applied; constants come after them.
        source: the keys of the value in the event; none for a constant.
        place: the destination.
        value: as it came.
        refused: why it is not even written; None if it is.
    """

    row: int
    source: Keys
    place: Keys
    value: Any
    refused: str | None = None


class _Tracing:
    """The trace of one event in the making."""

    def __init__(self, rules: Rules, event: Event, request: MappedRecord, log: WalkLog) -> None:
        self._rules = rules
        self._event = event
        self._log = log
        self._found = [(leaf.row, _keys_of(rules, event, leaf, value), value) for leaf, value in log.hits]
        body = to_builtins(request.body)
        self._parts: Json = {"customer": body} if type(request.body) is Customer else body
        self._dropped = {drop.path: drop.reason for drop in request.dropped if drop.reason != NOT_AN_OBJECT}
        self._writes = list(self._all_writes())
        self._overwritten = _overwritten(self._writes)
        self._name_is_given = any(
            write.place == _NAME and not (is_lost or write.refused) and present_text(write.value) is not None
            for write, is_lost in zip(self._writes, self._overwritten, strict=True)
        )
        self._reasons = list(map(self._reason, range(len(self._writes))))
        root = ROOTS[event.type][0]
        self._own_names: set[Keys] = {(*root, name) for name in log.own_names}

    def trace(self) -> Trace:
        """Tell all."""
        by_row: dict[int, list[str | None]] = {}
        for write, reason in zip(self._writes, self._reasons, strict=True):
            by_row.setdefault(write.row, []).append(reason)
        rules = self._rules
        return Trace(
            [
                AppliedRow(row, rules.rows[row], keys, value, _result(by_row.get(row, [])))
                for row, keys, value in self._found
            ],
            list(self._values()),
            list(self._fallbacks()),
            [
                Fallback(write.place, write.value)
                for write, reason in zip(self._writes, self._reasons, strict=True)
                if not write.source and reason is None
            ],
        )

    def _all_writes(self) -> Iterator[_Write]:
        """Yield what rows and constants write, value by value."""
        for (row, keys, value), (leaf, _) in zip(self._found, self._log.hits, strict=True):
            for own, inside in values_below(keys, value, with_empty=True):
                yield from _written(row, own, leaf.put, own[len(keys) :], inside, leaf.place)
        for number, (place, put, value) in enumerate(self._rules.constants, len(self._rules.rows)):
            for own, inside in values_below(place, value):
                yield from _written(number, (), put, own[len(place) :], inside, place)

    def _reason(self, number: int) -> str | None:
        """Return why a write left nothing in the request, or None if it did."""
        write = self._writes[number]
        if write.refused is not None:
            return write.refused
        if self._overwritten[number]:
            return OVERWRITTEN
        if write.place == _EVENT or write.place in _WORKING or write.place == _NAME:
            return self._reason_of_name(write)
        for length in range(len(write.place), 0, -1) if self._dropped else ():
            if reason := self._dropped.get(".".join(map(str, write.place[:length]))):
                return reason
        if located(self._parts, write.place) is MISSING:
            return NULL if write.value is None else EMPTY
        return None

    def _reason_of_name(self, write: _Write) -> str | None:
        if write.value is None:
            return None if located(self._parts, write.place) is None else NULL
        if present_text(write.value) is None:
            return NOT_TEXT if text_of(write.value) is None else BLANK
        return NAME_GIVEN if write.place in _WORKING and self._name_is_given else None

    def _values(self) -> Iterator[TracedValue]:
        by_source: dict[Keys, list[int]] = {}
        for number, write in enumerate(self._writes):
            by_source.setdefault(_outside_lists(write.source), []).append(number)
        metadata, carried_keys = _METADATA[self._event.type], set(self._log.carried)
        for root in ROOTS[self._event.type]:
            for keys, value in values_below(root, located(self._event.fields, root)):
                taken = by_source.get(keys, [])
                places = [
                    _NAME if self._writes[each].place in _WORKING else self._writes[each].place
                    for each in taken
                    if self._reasons[each] is None
                ]
                if keys in self._own_names:
                    places.append(_NAME)
                carried = None
                if len(root) == 1 and len(keys) > 1 and keys[1] in carried_keys:
                    places.append(carried := (*metadata, *keys[1:]))
                reason = NULL if value is None else self._reasons[taken[0]] if taken else NO_ROW
                yield TracedValue(
                    keys, value, tuple(dict.fromkeys(places)), None if places else reason, carried
                )

    def _fallbacks(self) -> Iterator[Fallback]:
        """Yield the rules that filled what no row did: id, name of the customer, name of the event."""
        event, arrived = self._event, {write.place for write in self._arrived()}
        source_id = located(self._parts, _SOURCE_ID)
        if source_id is not MISSING and _SOURCE_ID not in arrived:
            own_key = "userId" if present_text(event.fields.get("userId")) is not None else "anonymousId"
            yield Fallback(_SOURCE_ID, source_id, ((own_key,),))
        if event.type == "track" and _EVENT not in arrived:
            own_key = "event" if present_text(event.name) is not None else "type"
            yield Fallback(_EVENT, self._parts["event"], ((own_key,),))
        mapped = {write.place: write.source for write in self._arrived() if write.place in _WORKING}
        sources = [mapped.get(("customer", name)) or self._own_name(name) for name in WORKING_FIELDS]
        if any(sources):
            yield Fallback(_NAME, located(self._parts, _NAME), tuple(keys for keys in sources if keys))

    def _own_name(self, name: str) -> Keys | None:
        keys = (*ROOTS[self._event.type][0], name)
        return keys if keys in self._own_names else None

    def _arrived(self) -> Iterator[_Write]:
        for write, reason in zip(self._writes, self._reasons, strict=True):
            if reason is None:
                yield write


def _keys_of(rules: Rules, event: Event, leaf: Leaf, value: Any) -> Keys:
    """Return where a leaf found its value: at the row's source, or at the twin of that."""
    row = rules.rows[leaf.row]
    keys = keys_at(event.fields, row.source)
    if keys is None or (row.instead is not None and located(event.fields, keys) is not value):
        keys = (row.instead and keys_at(event.fields, row.instead)) or keys
    return keys or ()


def _written(row: int, source: Keys, put: Put, inside: Keys, value: Any, place: Keys) -> Iterator[_Write]:
    """Find out what a row writes with one value, by letting it put the value alone into an empty draft.

    Args:
        row: its number.
        source: where the value lies in the event.
        put: what the row does.
        inside: the keys of the value in what the row found.
        value: which.
        place: the row's destination.
    """
    alone = value
    for key in reversed(inside):
        alone = {key: alone}
    draft = Draft(Customer())
    put(draft, alone)
    own_place = (*place, *inside)
    if draft.dropped:
        drop = draft.dropped[0]
        dropped_at = tuple(drop.path.split("."))
        if drop.reason == NOT_TEXT:  # it takes the place of a text that an earlier row has put there
            taken = source[: len(source) - len(own_place) + len(dropped_at)]
            yield _Write(row, taken, dropped_at, located(alone, dropped_at[len(place) :]))
        if drop.reason == NOT_AN_OBJECT or dropped_at != own_place:
            yield _Write(row, source, dropped_at, value, drop.reason)
    elif own_place in _WORKING or _stands_at(draft, own_place):
        yield _Write(row, source, own_place, value)
    elif value is not None and value != {}:
        yield _Write(row, source, own_place, value, NO_FIELD)


def _stands_at(draft: Draft, place: Keys) -> bool:
    """Tell whether something stands at a destination in a draft."""
    part, *keys = place
    if place in FIELDS_OF and len(place) == 1:
        return False
    if part == "event":
        return draft.event is not None
    if part != "customer":
        return located({"metadata": draft.metadata, **draft.parts}, place) is not MISSING
    value = getattr(draft.customer, str(keys[0]), UNSET)
    inside = to_builtins(value) if keys[0] == "address" and value is not UNSET else value
    return value is not UNSET and located(inside, tuple(keys[1:])) is not MISSING


def _overwritten(writes: Sequence[_Write]) -> list[bool]:
    """Tell of each write whether a later row puts something in its place, above it or below it.

    Values of one row stand beside each other. Where a text lies, an object replaces it, even an empty one.
    """
    last_at: dict[Keys, int] = {}
    last_below: dict[Keys, int] = {}
    for write in writes:
        if write.refused is None:
            is_value = write.value != {}
            if is_value:
                last_at[write.place] = write.row
            for length in range(1, len(write.place) + (0 if is_value else 1)):
                last_below[write.place[:length]] = write.row
    return [write.refused is None and _is_replaced(write, last_at, last_below) for write in writes]


def _is_replaced(write: _Write, last_at: dict[Keys, int], last_below: dict[Keys, int]) -> bool:
    place = write.place
    if max(last_at.get(place, -1), last_below.get(place, -1)) > write.row:
        return True
    return any(last_at.get(place[:length], -1) > write.row for length in range(1, len(place)))


def _result(results: list[str | None]) -> str | None:
    """Return what became of a row by what became of its writes."""
    if not results:
        return EMPTY
    if None not in results:
        return next((result for result in results if result != NULL), NULL)
    return PARTLY if any(results) else None


def _outside_lists(keys: Keys) -> Keys:
    for depth, key in enumerate(keys[:MAX_DEPTH]):
        if isinstance(key, int):
            return keys[:depth]
    return keys[:MAX_DEPTH]


def filled_places(request: MappedRecord) -> Iterator[tuple[Keys, Any]]:
    """Yield every destination of a request at which something stands, and what."""
    root: Keys = () if isinstance(request.body, CustomEvent) else ("customer",)
    yield from values_below(root, to_builtins(request.body))


def located(value: Any, keys: Keys) -> Any:
    """Return what lies at keys of objects, or MISSING."""
    for key in keys:
        if not isinstance(value, dict) or key not in value:
            return MISSING
        value = value[key]
    return value


def values_below(keys: Keys, value: Any, *, with_empty: bool = False) -> Iterator[tuple[Keys, Any]]:
    """Yield every value below the keys with its own keys; a list is one value, an empty object holds none."""
    if isinstance(value, dict) and len(keys) < MAX_DEPTH and (value or not with_empty):
        for key, inside in value.items():
            yield from values_below((*keys, key), inside, with_empty=with_empty)
    elif value is not MISSING:
        yield keys, value
