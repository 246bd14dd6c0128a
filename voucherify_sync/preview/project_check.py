"""Hold the customer mapping against a project's metadata schema: what would be refused, and what stored as text.

What the schema says in an unknown way forbids nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Any, Final

from msgspec import Struct

from voucherify_sync.events import Event, Json, Kind, Request
from voucherify_sync.mapping.filters import Selection
from voucherify_sync.mapping.sections import Section, Sections
from voucherify_sync.paths import MISSING, Keys, parse_destination
from voucherify_sync.run.pipeline import Pipeline
from voucherify_sync.settings import Settings
from voucherify_sync.voucherify.project import CustomerSchema

MAX_BREACHES: Final = 1_000
"""Keys that are told of, at most."""

_METADATA: Final = ("customer", "metadata")


class BreachKind(StrEnum):
    """What is wrong with a metadata key."""

    UNDEFINED = "undefined"
    """The project does not define it: it is stored as text."""
    NOT_ALLOWED = "not_allowed"
    """The project does not define it and takes defined keys only: the request is refused."""
    MISFIT = "misfit"
    """Its value is none that the project takes: the request is refused."""
    MISSING = "missing"
    """The project demands it: the request is refused if the customer is new."""

    @property
    def refused(self) -> bool:
        """Whether Voucherify refuses the request of any customer."""
        return self in (BreachKind.NOT_ALLOWED, BreachKind.MISFIT)


class SchemaBreach(Struct):
    """One key of the customers' metadata.

    Attributes:
        key: its name.
        kind: what is wrong.
        demand: what the project wants of its value; empty for a key that it does not define.
        count: requests that it concerns; 0 where none were looked at.
        where: the first of them, or the row or constant of the settings.
        value: of the first of them.
    """

    key: str
    kind: BreachKind
    demand: str = ""
    count: int = 0
    where: str = ""
    value: Any = None


def planned_breaches(settings: Settings, schema: CustomerSchema) -> list[SchemaBreach]:
    """Return what rows, `set` and constants of the settings alone tell; values of events are not known to them."""
    found: dict[tuple[str, BreachKind], SchemaBreach] = {}
    for section in Sections(settings).by_name.values():
        for where, keys, value in () if section.settings.disabled else _planned_places(section):
            if keys[:2] != _METADATA or len(keys) < 3 or value is None:
                continue
            key = str(keys[2])
            if value is MISSING or len(keys) > 3:
                kind = _kind_of_key(schema, key)
                breaches = [] if kind is None else [SchemaBreach(key, kind)]
            else:
                breaches = list(_misfits(schema, {key: value}))
            for breach in breaches:
                breach.where = where
                found.setdefault((breach.key, breach.kind), breach)
    return list(found.values())


def _planned_places(section: Section) -> Iterator[tuple[str, Keys, Any]]:
    """Yield what fills each place of a request, the place, and its value, which is MISSING if events decide on it."""
    path = section.name if section.name == section.type.name else f"track.{section.name}"
    for row in section.rules.rows:
        yield f"{path}.mapping: {row.text}", row.destination.keys, MISSING
    for entry in section.rules.entries:
        value = entry.expression.read({}, None) if entry.expression.is_constant else MISSING
        yield f"{path}.set: {entry.destination.text}", entry.destination.keys, value
    for text, value in section.settings.add.items():
        yield f"{path}.add: {text}", parse_destination(text).keys, value


def sampled_breaches(
    settings: Settings, schema: CustomerSchema, events: Iterable[Event]
) -> tuple[int, list[SchemaBreach]]:
    """Return the number of requests that are made of events, and what does not fit, in the order of the events."""
    pipeline = Pipeline(settings, Selection())
    found: dict[tuple[str, BreachKind], SchemaBreach] = {}
    count = 0
    for request in map(pipeline.decide, events):
        if not isinstance(request, Request):
            continue
        count += 1
        customer = request.body if request.kind is Kind.CUSTOMER else request.body["customer"]
        metadata = customer.get("metadata") or {}
        missing = (
            SchemaBreach(key, BreachKind.MISSING, definition.demand)
            for key, definition in schema.definitions.items()
            if not definition.optional and metadata.get(key) is None
        )
        for breach in (*_misfits(schema, metadata), *missing):
            place = (breach.key, breach.kind)
            if place not in found and len(found) < MAX_BREACHES:
                breach.where = str(request.event.position)
                found[place] = breach
            if place in found:
                found[place].count += 1
    return count, list(found.values())


def _misfits(schema: CustomerSchema, metadata: Json) -> Iterator[SchemaBreach]:
    """Yield the keys and values that the schema does not define or take."""
    for key, value in metadata.items():
        kind = _kind_of_key(schema, key)
        if kind is not None:
            yield SchemaBreach(key, kind, value=value)
        elif not (definition := schema.definitions[key]).takes(value):
            yield SchemaBreach(key, BreachKind.MISFIT, definition.demand, value=value)


def _kind_of_key(schema: CustomerSchema, key: str) -> BreachKind | None:
    if key in schema.definitions:
        return None
    return BreachKind.NOT_ALLOWED if schema.defined_only else BreachKind.UNDEFINED
