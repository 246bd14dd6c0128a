"""Hold the mapping against a project's metadata schemas: what would be refused, and what stored as text.

What the schema says in an unknown way forbids nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Any, Final

from msgspec import Struct

from voucherify_sync.events import ORDERS, Event, Json, Kind, Request
from voucherify_sync.mapping.filters import Selection
from voucherify_sync.mapping.sections import Section, Sections
from voucherify_sync.paths import MISSING, Keys, destination_parser
from voucherify_sync.run.pipeline import Pipeline
from voucherify_sync.settings import Settings
from voucherify_sync.settings.types import Orders
from voucherify_sync.voucherify.project import Definition, MetadataSchema, Schemas

MAX_BREACHES: Final = 1_000
"""Keys that are told of, at most."""

CUSTOMER: Final = "customer"
ORDER: Final = "order"
_ANY: Final = MetadataSchema()


class BreachKind(StrEnum):
    """What is wrong with a metadata key."""

    UNDEFINED = "undefined"
    """The project does not define it: it is stored as text."""
    NOT_ALLOWED = "not_allowed"
    """The project does not define it and takes defined keys only: the request is refused."""
    MISFIT = "misfit"
    """Its value is none that the project takes: the request is refused."""
    MISSING = "missing"
    """The project demands it: the request is refused if the customer or the order is new."""
    NESTED = "nested"
    """It is an object inside an object: the request is refused."""

    @property
    def refused(self) -> bool:
        """Whether Voucherify refuses the request of any customer or order."""
        return self in (BreachKind.NOT_ALLOWED, BreachKind.MISFIT, BreachKind.NESTED)


class SchemaBreach(Struct):
    """One key of the metadata of customers or orders.

    Attributes:
        resource: ``customer`` or ``order``.
        keys: its name; of one inside an object that of the object, and its own.
        kind: what is wrong.
        demand: what the project wants of its value; empty for a key that it does not define.
        count: requests that it concerns; 0 where none were looked at.
        where: the first of them, or the row or constant of the settings.
        value: of the first of them.
    """

    resource: str
    keys: tuple[str, ...]
    kind: BreachKind
    demand: str = ""
    count: int = 0
    where: str = ""
    value: Any = None


_Place = tuple[str, tuple[str, ...], BreachKind]


def planned_breaches(settings: Settings, schemas: Schemas) -> list[SchemaBreach]:
    """Return what rows, `set` and constants of the settings alone tell; values of events are not known to them."""
    found: dict[_Place, SchemaBreach] = {}
    for section in Sections(settings).by_name.values():
        for where, keys, value in () if section.settings.disabled else _planned_places(section):
            resource, place = _metadata_place(section, keys)
            if not place or value is None:
                continue
            schema, key = schemas.get(resource, _ANY), str(place[0])
            if value is MISSING or len(place) > 1:
                kind = _kind_of_key(schema, key)
                breaches = [] if kind is None else [SchemaBreach(resource, (key,), kind)]
            else:
                breaches = list(_misfits(resource, schema, {key: value}))
            for breach in breaches:
                breach.where = where
                found.setdefault((resource, breach.keys, breach.kind), breach)
    return list(found.values())


def _metadata_place(section: Section, keys: Keys) -> tuple[str, Keys]:
    """Return whose metadata a destination fills, and the keys below it; none where it fills no checked metadata."""
    if keys[:2] == (CUSTOMER, "metadata"):
        return CUSTOMER, keys[2:]
    if section.type is ORDERS and keys[:1] == ("metadata",):
        return ORDER, keys[1:]
    return "", ()


def _planned_places(section: Section) -> Iterator[tuple[str, Keys, Any]]:
    """Yield what fills each place of a request, the place, and its value, which is MISSING if events decide on it."""
    path = section.name if section.name == section.type.name else f"track.{section.name}"
    for row in section.rules.rows:
        yield f"{path}.mapping: {row.text}", row.destination.keys, MISSING
    for entry in section.rules.entries:
        value = entry.expression.read({}, None) if entry.expression.is_constant else MISSING
        yield f"{path}.set: {entry.destination.text}", entry.destination.keys, value
    for text, value in section.settings.add.items():
        yield f"{path}.add: {text}", destination_parser(section.name)(text).keys, value
    if isinstance(section.settings, Orders) and (
        not section.settings.mapping or section.settings.extend_default
    ):
        yield "orders: the time of the order's first event", ("metadata", "occurred_at"), MISSING


def sampled_breaches(
    settings: Settings, schemas: Schemas, events: Iterable[Event]
) -> tuple[int, list[SchemaBreach]]:
    """Return the number of requests that are made of events, and what does not fit, in the order of the events."""
    pipeline = Pipeline(settings, Selection())
    found: dict[_Place, SchemaBreach] = {}
    count = 0
    for request in map(pipeline.decide, events):
        if not isinstance(request, Request):
            continue
        count += 1
        resource, metadata = _metadata_of(request)
        for breach in _breaches(resource, schemas.get(resource, _ANY), metadata):
            place = (resource, breach.keys, breach.kind)
            if place not in found and len(found) < MAX_BREACHES:
                breach.where = str(request.event.position)
                found[place] = breach
            if place in found:
                found[place].count += 1
    return count, list(found.values())


def _metadata_of(request: Request) -> tuple[str, Json]:
    """Return whose metadata a request holds that a schema is for, and the metadata."""
    body = request.body
    if request.kind is Kind.ORDER:
        return ORDER, body.get("metadata") or {}
    customer = body if request.kind is Kind.CUSTOMER else body["customer"]
    return CUSTOMER, customer.get("metadata") or {}


def _breaches(resource: str, schema: MetadataSchema, metadata: Json) -> Iterator[SchemaBreach]:
    """Yield the keys and values that the schema does not define or take, and the keys that it demands."""
    yield from _misfits(resource, schema, metadata)
    for key, definition in schema.definitions.items():
        if not definition.optional and metadata.get(key) is None:
            yield SchemaBreach(resource, (key,), BreachKind.MISSING, definition.demand)


def _misfits(resource: str, schema: MetadataSchema, metadata: Json) -> Iterator[SchemaBreach]:
    for key, value in metadata.items():
        kind = _kind_of_key(schema, key)
        if kind is not None:
            yield SchemaBreach(resource, (key,), kind, value=value)
        elif not (definition := schema.definitions[key]).takes(value):
            yield SchemaBreach(resource, (key,), BreachKind.MISFIT, definition.demand, value=value)
        elif definition.type == "object":
            yield from _misfits_inside(resource, key, definition, value)


def _misfits_inside(resource: str, key: str, definition: Definition, value: Any) -> Iterator[SchemaBreach]:
    """Yield what does not fit inside an object, or the objects of a list, each key once."""
    found: dict[tuple[tuple[str, ...], BreachKind], SchemaBreach] = {}
    for one in value if isinstance(value, list) else [value]:
        for inner, inside in one.items() if isinstance(one, dict) else ():
            items = inside if isinstance(inside, list) else [inside]
            if any(isinstance(item, dict) for item in items):
                breach = SchemaBreach(resource, (key, inner), BreachKind.NESTED, value=inside)
                found.setdefault((breach.keys, breach.kind), breach)
        for breach in _breaches(resource, definition.nested, one) if definition.nested and one else ():
            breach.keys = (key, *breach.keys)
            found.setdefault((breach.keys, breach.kind), breach)
    yield from found.values()


def _kind_of_key(schema: MetadataSchema, key: str) -> BreachKind | None:
    if key in schema.definitions:
        return None
    return BreachKind.NOT_ALLOWED if schema.defined_only else BreachKind.UNDEFINED
