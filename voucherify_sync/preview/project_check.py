"""Asks a Voucherify project what only it can tell before a run: whether the keys work, its limit, its metadata schema.

The customer mapping is held against the schema: what would be refused, and what stored as text. What the schema says in
an unknown way forbids nothing. Nothing changes at the project.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime
from enum import StrEnum
from typing import Any, Final

from msgspec import Struct

from voucherify_sync.errors import RunStopped, WrongAddress
from voucherify_sync.events import Event, Json, Kind, Request
from voucherify_sync.mapping.filters import Selection
from voucherify_sync.mapping.rules import effective_rows
from voucherify_sync.paths import parse_destination
from voucherify_sync.run.pipeline import Pipeline
from voucherify_sync.settings import Settings
from voucherify_sync.voucherify.answers import NoAnswer, NotSent, Reply, unreachable_error
from voucherify_sync.voucherify.client import Client
from voucherify_sync.voucherify.rate_limit import RateHeaders, read_rate_headers
from voucherify_sync.voucherify.retry_policy import is_success, json_object, stopping_error

MAX_FINDINGS: Final = 1_000
"""Keys that are told of, at most."""

_MAX_SHOWN: Final = 5
"""Allowed values that are named."""

_METADATA: Final = ("customer", "metadata")
_AGAIN: Final = "Nothing is known of the keys; run the same command again later."


def _is_read_by(parse: Callable[[str], Any]) -> Callable[[Any], bool]:
    def fits(value: Any) -> bool:
        try:
            parse(value if isinstance(value, str) else "")
        except ValueError:
            return False
        return True

    return fits


def _is_of(*types: type) -> Callable[[Any], bool]:
    return lambda value: type(value) in types


_TYPES: Final[dict[str, tuple[str, Callable[[Any], bool]]]] = {
    "string": ("a text", _is_of(str)),
    "image_url": ("a text, the URL of an image", _is_of(str)),
    "geopoint": ("a text such as 52.5, 13.4", _is_of(str)),
    "number": ("a number", _is_of(int, float)),
    "boolean": ("true or false", _is_of(bool)),
    "date": ("a date, YYYY-MM-DD", _is_read_by(date.fromisoformat)),
    "datetime": ("a date and time, ISO 8601", _is_read_by(datetime.fromisoformat)),
    "object": ("an object", _is_of(dict)),
    "any": ("of any type", lambda _: True),
}
"""Type of a metadata key -> its name in a sentence, and what tells whether a value has it."""


class Definition(Struct, frozen=True):
    """What a project says of one metadata key.

    Attributes:
        type: such as ``string``, ``number``, ``boolean``, ``date``, ``datetime``; one not known takes anything.
        array: a list of such.
        optional: a new customer may come without.
        allowed: the only values, if there are any.
    """

    type: str = "string"
    array: bool = False
    optional: bool = True
    allowed: tuple[Any, ...] = ()

    @property
    def demand(self) -> str:
        """What a value must be, such as ``a list, each a number``."""
        kind, _ = _TYPES.get(self.type, (f"of type {self.type}", None))
        demand = f"a list, each {kind}" if self.array else kind
        if self.allowed:
            demand += f", one of {', '.join(map(str, self.allowed[:_MAX_SHOWN]))}"
            demand += ", …" if len(self.allowed) > _MAX_SHOWN else ""
        return demand

    def takes(self, value: Any) -> bool:
        """Tell whether a value passes; a null always does, it erases the key."""
        if value is None:
            return True
        if self.array and not isinstance(value, list):
            return False
        _, fits = _TYPES.get(self.type, _TYPES["any"])
        return all(
            fits(one) and (not self.allowed or one in self.allowed)
            for one in (value if self.array else [value])
        )


class CustomerSchema(Struct, frozen=True):
    """What a project says of the metadata of customers.

    Attributes:
        definitions: by key.
        defined_only: a request with any other key is refused; else such a key is stored as text.
    """

    definitions: dict[str, Definition]
    defined_only: bool = False


def read_schema(answer: Json) -> CustomerSchema | None:
    """Return the schema of customers out of the list of all; a project without one takes whatever comes.

    Returns:
        None if the answer holds no list of schemas.
    """
    listed = next((answer[key] for key in ("schemas", "data") if isinstance(answer.get(key), list)), None)
    if listed is None:
        return None
    schemas = (each for each in listed if isinstance(each, dict) and each.get("related_object") == "customer")
    schema: Json = next(schemas, {})
    properties = schema.get("properties")
    definitions: dict[str, Definition] = {}
    for key, each in properties.items() if isinstance(properties, dict) else ():
        if isinstance(each, dict) and each.get("deleted") is not True:
            kind, allowed = each.get("type"), each.get("eq")
            definitions[key] = Definition(
                type=kind if isinstance(kind, str) else "any",
                array=each.get("array") is True,
                optional=each.get("optional") is not False,
                allowed=tuple(allowed) if isinstance(allowed, list) else (),
            )
    return CustomerSchema(definitions, schema.get("allow_defined_only") is True)


class FindingKind(StrEnum):
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
        return self in (FindingKind.NOT_ALLOWED, FindingKind.MISFIT)


class Finding(Struct):
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
    kind: FindingKind
    demand: str = ""
    count: int = 0
    where: str = ""
    value: Any = None


def planned_findings(settings: Settings, schema: CustomerSchema) -> list[Finding]:
    """Return what the rows and constants of the settings alone tell; values of events are not known to them."""
    found: dict[tuple[str, FindingKind], Finding] = {}
    for name, root in (("identify", "traits"), ("track", "properties")):
        section = getattr(settings, name)
        if section.disabled:
            continue
        for row in effective_rows(root, section.mapping, extend_default=section.extend_default):
            keys = row.destination.keys
            if keys[:2] == _METADATA and len(keys) > 2:
                kind = _kind_of_key(schema, str(keys[2]))
                if kind is not None:
                    finding = Finding(str(keys[2]), kind, where=f"{name}.mapping: {row.text}")
                    found.setdefault((finding.key, kind), finding)
        for text, value in section.add.items():
            keys = parse_destination(text).keys
            if keys[:2] == _METADATA and len(keys) == 3:
                for finding in _misfits(schema, {str(keys[2]): value}):
                    finding.where = f"{name}.add: {text}"
                    found.setdefault((finding.key, finding.kind), finding)
    return list(found.values())


def sampled_findings(
    settings: Settings, schema: CustomerSchema, events: Iterable[Event]
) -> tuple[int, list[Finding]]:
    """Return the number of requests that are made of events, and what does not fit, in the order of the events."""
    pipeline = Pipeline(settings, Selection())
    found: dict[tuple[str, FindingKind], Finding] = {}
    count = 0
    for request in map(pipeline.decide, events):
        if not isinstance(request, Request):
            continue
        count += 1
        customer = request.body if request.kind is Kind.CUSTOMER else request.body["customer"]
        metadata = customer.get("metadata") or {}
        missing = (
            Finding(key, FindingKind.MISSING, definition.demand)
            for key, definition in schema.definitions.items()
            if not definition.optional and metadata.get(key) is None
        )
        for finding in (*_misfits(schema, metadata), *missing):
            place = (finding.key, finding.kind)
            if place not in found and len(found) < MAX_FINDINGS:
                finding.where = str(request.event.position)
                found[place] = finding
            if place in found:
                found[place].count += 1
    return count, list(found.values())


def _misfits(schema: CustomerSchema, metadata: Json) -> Iterator[Finding]:
    """Yield the keys and values that the schema does not define or take."""
    for key, value in metadata.items():
        kind = _kind_of_key(schema, key)
        if kind is not None:
            yield Finding(key, kind, value=value)
        elif not (definition := schema.definitions[key]).takes(value):
            yield Finding(key, FindingKind.MISFIT, definition.demand, value=value)


def _kind_of_key(schema: CustomerSchema, key: str) -> FindingKind | None:
    if key in schema.definitions:
        return None
    return FindingKind.NOT_ALLOWED if schema.defined_only else FindingKind.UNDEFINED


def ask(client: Client) -> tuple[RateHeaders, CustomerSchema | None]:
    """Ask for the limit and the metadata schema. A key that may not read schemas is tried on the customers.

    That makes two calls at most.

    Returns:
        The API's limit as its headers have it, and the schema of the customers' metadata; None if these keys may not
        read it.

    Raises:
        AccessRefused: the keys do not work.
        Unreachable: no connection can be had.
        WrongAddress: what answers is not the Voucherify API.
        RunStopped: no answer, trouble at the other end, or no call left.
    """
    reply = _call(client, "/v1/metadata-schemas")
    if reply.status in (403, 404):
        reply = _call(client, "/v1/customers", {"limit": "1"})
        _raise_unless_ok(reply)
        return read_rate_headers(reply.headers), None
    _raise_unless_ok(reply)
    return read_rate_headers(reply.headers), read_schema(json_object(reply.body) or {})


def _call(client: Client, path: str, params: dict[str, str] | None = None) -> Reply:
    try:
        return client.call("GET", path, params=params)
    except NotSent as error:
        raise unreachable_error(error) from None
    except NoAnswer as error:
        raise RunStopped(f"Voucherify cannot be asked: {error.detail}", _AGAIN) from None


def _raise_unless_ok(reply: Reply) -> None:
    if error := stopping_error(reply):
        raise error
    status = reply.status
    if status == 429:
        raise RunStopped("Voucherify's limit is used up (HTTP 429)", _AGAIN)
    if status >= 500 or status == 408:
        raise RunStopped(f"Voucherify has trouble (HTTP {status})", _AGAIN)
    if not is_success(reply, ("list",)):
        raise WrongAddress(
            f"What answers (HTTP {status}) is not the Voucherify API", "Check api.url and api.version."
        )
