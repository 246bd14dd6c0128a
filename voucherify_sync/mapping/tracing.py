"""Where each value of an event went: an event and the request that was made of it in, the way of its values out.

The rows are those of the compiled mapping, and what arrived is looked up in the request itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from msgspec import Struct

from voucherify_sync.mapping.fields import present_text
from voucherify_sync.mapping.landing import EMPTY, NULL, Landing
from voucherify_sync.mapping.payload import Mapping, Request
from voucherify_sync.mapping.rows import Row
from voucherify_sync.mapping.writes import (
    MAX_DEPTH,
    Write,
    constant_values,
    located,
    values_below,
    writes_of,
)
from voucherify_sync.model import Json, Kind, SegmentEvent
from voucherify_sync.paths import MISSING, WORKING_FIELDS, FieldPath, Keys
from voucherify_sync.settings.types import Settings

NO_ROW: Final = "no_row"
PARTLY: Final = "partly"

ROOTS: Final[dict[str, tuple[Keys, ...]]] = {
    "identify": (("traits",), ("context", "traits")),
    "track": (("properties",), ("context", "traits")),
}
"""Type of event -> the objects whose values are looked after."""

_NAME: Final[Keys] = ("customer", "name")
_SOURCE_ID: Final[Keys] = ("customer", "source_id")
_EVENT: Final[Keys] = ("event",)
_SPARE: Final[dict[str, Keys]] = {"identify": ("customer", "metadata"), "track": ("metadata",)}
_WORKING: Final = frozenset(("customer", field) for field in WORKING_FIELDS)


class Fired(Struct, frozen=True):
    """A row that found a value.

    Attributes:
        row: as it is compiled.
        source: the keys at which the value lies.
        value: as it came.
        result: None if it is sent, else why not; ``partly`` if not all that is inside.
    """

    row: Row
    source: Keys
    value: Any
    result: str | None


class Landed(Struct, frozen=True):
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


class Filled(Struct, frozen=True):
    """A destination that no row filled.

    Attributes:
        place: the destination.
        value: what is sent.
        sources: the keys of the event that it was made of; none for a constant.
    """

    place: Keys
    value: Any
    sources: tuple[Keys, ...] = ()


class Trace(Struct, frozen=True):
    """What happened to one event on its way to a request.

    Attributes:
        fired: the rows that found a value, in the order in which they are applied.
        values: every value of the event's traits or properties, and of ``context.traits``.
        fallbacks: what was filled by rule, since no row did.
        constants: what the settings add.
    """

    fired: list[Fired]
    values: list[Landed]
    fallbacks: list[Filled]
    constants: list[Filled]

    @property
    def carried(self) -> list[tuple[Keys, Keys]]:
        """Keys of values that no row took and that metadata takes, each with where they stand there."""
        return [(landed.keys, landed.carried) for landed in self.values if landed.carried is not None]


class Tracer:
    """Traces events through one mapping.

    Args:
        settings: those of the mapping.
        mapping: whose rows are looked at.
    """

    def __init__(self, settings: Settings, mapping: Mapping) -> None:
        self._rows = {kind: each.table.rows for kind, each in mapping.translators.items()}
        self._keeps_nulls = {"identify": settings.identify.nulls == "clear", "track": False}
        added = {"identify": settings.identify.add, "track": settings.track.add}
        self._constants = {
            kind: list(constant_values(constants, keep_nulls=self._keeps_nulls[kind]))
            for kind, constants in added.items()
        }
        self._carries = {
            "identify": settings.identify.unmapped_traits == "metadata",
            "track": settings.track.unmapped_properties == "metadata",
        }
        self._carries_personas = not settings.personas.disabled

    def trace(self, event: SegmentEvent, request: Request) -> Trace:
        """Return the way of an event's values into its request."""
        kind = event.type
        found = list(_found(event.fields, self._rows[kind], keep_nulls=self._keeps_nulls[kind]))
        writes = [
            write
            for number, each in enumerate(found)
            for write in writes_of(number, *each, keep_nulls=self._keeps_nulls[kind])
        ]
        writes += [
            Write(number, (), place, value)
            for number, (place, value) in enumerate(self._constants[kind], len(found))
        ]
        parts = {"customer": request.body} if request.kind is Kind.CUSTOMER else request.body
        landing = Landing(parts, request, writes)
        results = list(map(landing.reason, range(len(writes))))
        own = landing.own_names(event, ROOTS[kind][0])
        values = list(self._values(event, landing, results, own))
        by_row: dict[int, list[str | None]] = {}
        for write, reason in zip(writes, results, strict=True):
            by_row.setdefault(write.row, []).append(reason)
        return Trace(
            [Fired(*each, _result(by_row.get(number, []))) for number, each in enumerate(found)],
            values,
            list(_fallbacks(event, landing, results, own)),
            [
                Filled(write.place, write.value)
                for write, reason in zip(writes, results, strict=True)
                if not write.source and reason is None
            ],
        )

    def _values(
        self, event: SegmentEvent, landing: Landing, results: list[str | None], own: dict[Keys, str]
    ) -> Iterator[Landed]:
        by_source: dict[Keys, list[int]] = {}
        for number, write in enumerate(landing.writes):
            by_source.setdefault(_outside_lists(write.source), []).append(number)
        carries = self._carries[event.type] or (self._carries_personas and _has_personas(event))
        for root in ROOTS[event.type]:
            spare = _SPARE[event.type] if carries and len(root) == 1 else None
            for keys, value in values_below(root, located(event.fields, root)):
                taken = by_source.get(keys, [])
                places = [landing.arrival(landing.writes[each]) for each in taken if results[each] is None]
                if keys in own:
                    places.append(_NAME)
                carried = None
                if spare is not None and keys[1:] and landing.was_carried(spare, keys[1:]):
                    places.append(carried := (*spare, *keys[1:]))
                reason = NULL if value is None else results[taken[0]] if taken else NO_ROW
                yield Landed(keys, value, tuple(dict.fromkeys(places)), None if places else reason, carried)


def _found(fields: Json, rows: Sequence[Row], *, keep_nulls: bool) -> Iterator[tuple[Row, Keys, Any]]:
    """Yield the rows that find a value, each with where it lies and the value, as a table reads it."""
    for row in rows:
        keys, value = _read(fields, row.source)
        if row.instead is not None and (value is MISSING or value is None):
            other_keys, other = _read(fields, row.instead)
            keys, value = (keys, value) if other is MISSING else (other_keys, other)
        if value is not MISSING and (value is not None or keep_nulls):
            yield row, keys, value


def _read(value: Any, path: FieldPath) -> tuple[Keys, Any]:
    """Read as `paths.read` does, and tell by which keys."""
    keys: list[str | int] = []
    number = 0
    while number < len(path.steps):
        step = path.steps[number]
        number += 1
        if isinstance(value, dict) and step.whole is not None and step.whole in value:
            key: str | int = step.whole
            number = step.after
        elif (isinstance(value, dict) and step.key in value) or (
            isinstance(value, list) and isinstance(step.key, int) and step.key < len(value)
        ):
            key = step.key
        else:
            return (), MISSING
        keys.append(key)
        value = value[key]
    return tuple(keys), value


def _outside_lists(keys: Keys) -> Keys:
    for depth, key in enumerate(keys[:MAX_DEPTH]):
        if isinstance(key, int):
            return keys[:depth]
    return keys[:MAX_DEPTH]


def _has_personas(event: SegmentEvent) -> bool:
    return event.type == "identify" and isinstance(located(event.fields, ("context", "personas")), dict)


def _result(results: list[str | None]) -> str | None:
    """Return what became of a row by what became of its writes."""
    if not results:
        return EMPTY
    if None not in results:
        return results[0]
    return PARTLY if any(results) else None


def _fallbacks(
    event: SegmentEvent, landing: Landing, results: list[str | None], own: dict[Keys, str]
) -> Iterator[Filled]:
    """Yield the rules that filled what no row did: id, name of the customer, name of the event."""
    arrived = {write.place for write, reason in zip(landing.writes, results, strict=True) if reason is None}
    source_id = located(landing.parts, _SOURCE_ID)
    if source_id is not MISSING and _SOURCE_ID not in arrived:
        own_key = "userId" if present_text(event.fields.get("userId")) is not None else "anonymousId"
        yield Filled(_SOURCE_ID, source_id, ((own_key,),))
    if event.type == "track" and _EVENT not in arrived:
        own_key = "event" if present_text(event.name) is not None else "type"
        yield Filled(_EVENT, landing.parts["event"], ((own_key,),))
    mapped = {
        write.place: write.source
        for write, reason in zip(landing.writes, results, strict=True)
        if reason is None and write.place in _WORKING
    }
    parts = [mapped.get(("customer", field)) or _own_of(own, field) for field in WORKING_FIELDS]
    if any(parts):
        name = located(landing.parts, _NAME)
        yield Filled(_NAME, name, tuple(keys for keys in parts if keys))


def _own_of(own: dict[Keys, str], field: str) -> Keys | None:
    return next((keys for keys in own if keys[-1] == field), None)
