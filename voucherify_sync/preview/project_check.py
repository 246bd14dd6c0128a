"""What only the Voucherify project itself can tell before a run: whether the keys work, and its metadata schema.

The metadata schema of customers, out of the API's answer. What it says in a way not known forbids nothing.

The customer mapping held against the project's metadata schema: what will be refused, and what stored as text.

One question to a Voucherify project: do the keys work, what are limit and schema? It changes nothing there.
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
from voucherify_sync.voucherify.answers import unreachable
from voucherify_sync.voucherify.client import Client, NoAnswer, NotSent, Reply
from voucherify_sync.voucherify.rate_limit import RateHeaders, read_rate_headers
from voucherify_sync.voucherify.retry_policy import halting, json_object

__all__ = [
    "CustomerSchema",
    "Definition",
    "Finding",
    "Fit",
    "Project",
    "Sort",
    "ask",
    "planned_findings",
    "sampled_findings",
]


_SHOWN: Final = 5
"""Allowed values that are named."""


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
        """What a value must be, such as ``a list of numbers``."""
        kind = _NAMES.get(self.type, f"of type {self.type}")
        demand = f"a list, each {kind}" if self.array else kind
        if self.allowed:
            demand += f", one of {', '.join(map(str, self.allowed[:_SHOWN]))}"
            demand += ", …" if len(self.allowed) > _SHOWN else ""
        return demand

    def takes(self, value: Any) -> bool:
        """Tell whether a value passes; a null always does, it erases the key."""
        if value is None:
            return True
        values = value if self.array and isinstance(value, list) else [value]
        if self.array and not isinstance(value, list):
            return False
        fits = _FITS.get(self.type, _is_anything)
        return all(fits(one) and (not self.allowed or one in self.allowed) for one in values)


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
    schema: Json = next(filter(_is_of_customers, listed), {})
    properties = schema.get("properties")
    definitions = {
        key: _definition(each)
        for key, each in (properties.items() if isinstance(properties, dict) else ())
        if isinstance(each, dict) and each.get("deleted") is not True
    }
    return CustomerSchema(definitions, schema.get("allow_defined_only") is True)


def _is_of_customers(schema: Any) -> bool:
    return isinstance(schema, dict) and schema.get("related_object") == "customer"


def _definition(given: Json) -> Definition:
    kind, allowed = given.get("type"), given.get("eq")
    return Definition(
        type=kind if isinstance(kind, str) else "any",
        array=given.get("array") is True,
        optional=given.get("optional") is not False,
        allowed=tuple(allowed) if isinstance(allowed, list) else (),
    )


def _is_anything(_value: Any) -> bool:
    return True


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _reads_as(parse: Callable[[str], Any]) -> Callable[[Any], bool]:
    def fits(value: Any) -> bool:
        try:
            parse(value if isinstance(value, str) else "")
        except ValueError:
            return False
        return True

    return fits


_FITS: Final[dict[str, Callable[[Any], bool]]] = {
    "string": _is_text,
    "image_url": _is_text,
    "geopoint": _is_text,
    "number": _is_number,
    "boolean": lambda value: isinstance(value, bool),
    "date": _reads_as(date.fromisoformat),
    "datetime": _reads_as(datetime.fromisoformat),
    "object": lambda value: isinstance(value, dict),
}
_NAMES: Final = {
    "string": "a text",
    "image_url": "a text, the URL of an image",
    "geopoint": "a text such as 52.5, 13.4",
    "number": "a number",
    "boolean": "true or false",
    "date": "a date, YYYY-MM-DD",
    "datetime": "a date and time, ISO 8601",
    "object": "an object",
    "any": "of any type",
}


MAX_FINDINGS: Final = 1_000
"""Keys that are told of, at most."""

_METADATA: Final = ("customer", "metadata")


class Sort(StrEnum):
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
        """Whether Voucherify refuses the request, whoever the customer is."""
        return self in (Sort.NOT_ALLOWED, Sort.MISFIT)


class Finding(Struct):
    """One key of the customers' metadata.

    Attributes:
        key: its name.
        sort: what is wrong.
        demand: what the project wants of its value; empty for a key that it does not define.
        count: requests that it concerns; 0 where none were looked at.
        where: the first of them, or the row or constant of the settings.
        value: of the first of them.
    """

    key: str
    sort: Sort
    demand: str = ""
    count: int = 0
    where: str = ""
    value: Any = None


class Fit(Struct):
    """How requests fit.

    Attributes:
        requests: with the customers that were looked at.
        findings: what does not fit, in the order in which it was met.
    """

    requests: int
    findings: list[Finding]


def planned_findings(settings: Settings, schema: CustomerSchema) -> list[Finding]:
    """Return what the rows and constants of the settings alone tell; values of events are not known to them."""
    found: dict[tuple[str, Sort], Finding] = {}
    for key, where in _mapped_keys(settings):
        sort = _sort_of_key(schema, key)
        if sort is not None:
            found.setdefault((key, sort), Finding(key, sort, where=where))
    for key, where, value in _constants(settings):
        for finding in _judged(schema, {key: value}):
            finding.where = where
            found.setdefault((key, finding.sort), finding)
    return list(found.values())


def sampled_findings(settings: Settings, schema: CustomerSchema, events: Iterable[Event]) -> Fit:
    """Return what the requests made of events tell."""
    found: dict[tuple[str, Sort], Finding] = {}
    fit = Fit(0, [])
    for request in _requests(settings, events):
        body = request.body
        customer = body if request.kind is Kind.CUSTOMER else body["customer"]
        fit.requests += 1
        metadata = customer.get("metadata") or {}
        for finding in (*_judged(schema, metadata), *_missing(schema, metadata)):
            place = (finding.key, finding.sort)
            if place not in found and len(found) < MAX_FINDINGS:
                finding.where = str(request.event.position)
                found[place] = finding
            if place in found:
                found[place].count += 1
    fit.findings = list(found.values())
    return fit


def _requests(settings: Settings, events: Iterable[Event]) -> Iterator[Request]:
    for decision in map(Pipeline(settings, Selection()).decide, events):
        if isinstance(decision, Request):
            yield decision


def _judged(schema: CustomerSchema, metadata: Json) -> Iterator[Finding]:
    for key, value in metadata.items():
        sort = _sort_of_key(schema, key)
        if sort is not None:
            yield Finding(key, sort, value=value)
        elif not (definition := schema.definitions[key]).takes(value):
            yield Finding(key, Sort.MISFIT, definition.demand, value=value)


def _missing(schema: CustomerSchema, metadata: Json) -> Iterator[Finding]:
    for key, definition in schema.definitions.items():
        if not definition.optional and metadata.get(key) is None:
            yield Finding(key, Sort.MISSING, definition.demand)


def _sort_of_key(schema: CustomerSchema, key: str) -> Sort | None:
    if key in schema.definitions:
        return None
    return Sort.NOT_ALLOWED if schema.defined_only else Sort.UNDEFINED


def _mapped_keys(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield each metadata key of customers that a row names, and the row."""
    for name, root in (("identify", "traits"), ("track", "properties")):
        section = getattr(settings, name)
        rows = effective_rows(root, section.mapping, extend_default=section.extend_default)
        for row in [] if section.disabled else rows:
            keys = row.destination.keys
            if keys[:2] == _METADATA and len(keys) > 2:
                yield str(keys[2]), f"{name}.mapping: {row.text}"


def _constants(settings: Settings) -> Iterator[tuple[str, str, Any]]:
    """Yield each metadata key of customers that gets a constant, where that stands, and the value."""
    for name in ("identify", "track"):
        section = getattr(settings, name)
        for text, value in () if section.disabled else section.add.items():
            keys = parse_destination(text).keys
            if keys[:2] == _METADATA and len(keys) == 3:
                yield str(keys[2]), f"{name}.add: {text}", value


_AGAIN = "Nothing is known of the keys; run the same command again later."


class Project(Struct, frozen=True):
    """What a project told.

    Attributes:
        rate: the API's limit as its headers have it.
        schema: of the customers' metadata; None if these keys may not read it.
    """

    rate: RateHeaders
    schema: CustomerSchema | None


def ask(client: Client) -> Project:
    """Ask for the metadata schemas; a key that may not read them is tried on the customers, so two calls at most.

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
        return Project(read_rate_headers(reply.headers), None)
    _raise_unless_ok(reply)
    return Project(read_rate_headers(reply.headers), read_schema(json_object(reply.body) or {}))


def _call(client: Client, path: str, params: dict[str, str] | None = None) -> Reply:
    try:
        return client.call("GET", path, params=params)
    except NotSent as error:
        raise unreachable(error) from None
    except NoAnswer as error:
        raise RunStopped(f"Voucherify cannot be asked: {error.detail}", _AGAIN) from None


def _raise_unless_ok(reply: Reply) -> None:
    if error := halting(reply):
        raise error
    status = reply.status
    if status == 429:
        raise RunStopped("Voucherify's limit is used up (HTTP 429)", _AGAIN)
    if status >= 500 or status == 408:
        raise RunStopped(f"Voucherify has trouble (HTTP {status})", _AGAIN)
    body = json_object(reply.body)
    if not 200 <= status < 300 or body is None or body.get("object") != "list":
        raise WrongAddress(
            f"What answers (HTTP {status}) is not the Voucherify API", "Check api.url and api.version."
        )
