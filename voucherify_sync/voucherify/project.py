"""Ask a Voucherify project what only it can tell before a run: whether the keys work, its limit, its metadata schemas.

Nothing changes at the project.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from datetime import date, datetime
from typing import Any, Final

from msgspec import Struct

from voucherify_sync.errors import RunStopped, WrongAddress
from voucherify_sync.events import Json
from voucherify_sync.voucherify.answers import NoAnswer, NotSent, Reply, unreachable_error
from voucherify_sync.voucherify.client import Client
from voucherify_sync.voucherify.rate_limit import RateHeaders, read_rate_headers
from voucherify_sync.voucherify.retry_policy import is_success, json_object, stopping_error

_MAX_SHOWN: Final = 5
"""Allowed values that are named."""

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


_BOUNDS: Final[dict[str, tuple[str, type | tuple[type, ...], Callable[[Any, Any], bool]]]] = {
    "lt": ("below {}", (int, float), operator.lt),
    "lte": ("at most {}", (int, float), operator.le),
    "gt": ("above {}", (int, float), operator.gt),
    "gte": ("at least {}", (int, float), operator.ge),
    "minLength": ("of at least {} characters", str, lambda text, length: len(text) >= length),
    "maxLength": ("of at most {} characters", str, lambda text, length: len(text) <= length),
    "exactLength": ("of exactly {} characters", str, lambda text, length: len(text) == length),
}
"""Bound of a definition -> its words, the values that it bounds, and what tells whether one is within it."""


class Definition(Struct, frozen=True):
    """What a project says of one metadata key.

    Attributes:
        type: such as ``string``, ``number``, ``boolean``, ``date``, ``datetime``; one not known takes anything.
        array: a list of such.
        optional: a new customer or order may come without.
        allowed: the only values, if there are any.
        refused: values that it does not take.
        bounds: of numbers and of the length of texts, by their names in the API.
        nested: what is said of the keys of an object; None where nothing is.
    """

    type: str = "string"
    array: bool = False
    optional: bool = True
    allowed: tuple[Any, ...] = ()
    refused: tuple[Any, ...] = ()
    bounds: dict[str, float] = {}
    nested: MetadataSchema | None = None

    @property
    def demand(self) -> str:
        """What a value must be, such as ``a list, each a number``."""
        kind, _ = _TYPES.get(self.type, (f"of type {self.type}", None))
        demand = f"a list, each {kind}" if self.array else kind
        for words, values in (("one of", self.allowed), ("none of", self.refused)):
            if values:
                demand += f", {words} {', '.join(map(str, values[:_MAX_SHOWN]))}"
                demand += ", …" if len(values) > _MAX_SHOWN else ""
        return ", ".join([demand, *(_BOUNDS[name][0].format(f"{at:g}") for name, at in self.bounds.items())])

    def takes(self, value: Any) -> bool:
        """Tell whether a value passes, save what is inside its objects; a null always does, it erases the key."""
        if value is None:
            return True
        if self.array and not isinstance(value, list):
            return False
        _, fits = _TYPES.get(self.type, _TYPES["any"])
        return all(
            fits(one)
            and (not self.allowed or one in self.allowed)
            and one not in self.refused
            and self._is_within(one)
            for one in (value if self.array else [value])
        )

    def _is_within(self, value: Any) -> bool:
        return all(
            isinstance(value, bool)
            or not isinstance(value, _BOUNDS[name][1])
            or _BOUNDS[name][2](value, bound)
            for name, bound in self.bounds.items()
        )


class MetadataSchema(Struct, frozen=True):
    """What a project says of the metadata of customers or orders, or of an object in it.

    Attributes:
        definitions: by key.
        defined_only: a request with any other key is refused; else such a key is stored as text.
    """

    definitions: dict[str, Definition] = {}
    defined_only: bool = False


Schemas = dict[str, MetadataSchema]
"""Resource, such as ``customer`` or ``order`` -> its schema; without one it takes whatever comes."""


def read_schemas(answer: Json) -> Schemas | None:
    """Return the schemas of a project out of the list of all.

    Returns:
        None if the answer holds no list of schemas.
    """
    listed = next((answer[key] for key in ("schemas", "data") if isinstance(answer.get(key), list)), None)
    if listed is None:
        return None
    found: dict[str, Json] = {}
    for each in listed:
        if isinstance(each, dict) and isinstance(each.get("related_object"), str):
            found.setdefault(each["related_object"], each)
    # An object inside an object is refused wherever a schema defines it, so one level is all there is.
    flat = {name: _read_schema(each, {}) for name, each in found.items()}
    return {name: _read_schema(each, flat) for name, each in found.items()}


def _read_schema(schema: Json, nested: Schemas) -> MetadataSchema:
    properties = schema.get("properties")
    definitions = {
        key: _read_definition(each, nested)
        for key, each in (properties.items() if isinstance(properties, dict) else ())
        if isinstance(each, dict) and each.get("deleted") is not True
    }
    return MetadataSchema(definitions, schema.get("allow_defined_only") is True)


def _read_definition(said: Json, nested: Schemas) -> Definition:
    kind, allowed, refused = said.get("type"), said.get("eq"), said.get("ne")
    bounds = {name: said[name] for name in _BOUNDS if type(said.get(name)) in (int, float)}
    return Definition(
        type=kind if isinstance(kind, str) else "any",
        array=said.get("array") is True,
        optional=said.get("optional") is not False,
        allowed=tuple(allowed) if isinstance(allowed, list) else (),
        refused=tuple(refused) if isinstance(refused, list) else (),
        bounds=bounds,
        nested=nested.get(str(said.get("objectType"))),
    )


def ask(client: Client) -> tuple[RateHeaders, Schemas | None]:
    """Ask for the limit and the metadata schemas. A key that may not read schemas is tried on the customers.

    That makes two calls at most.

    Returns:
        The API's limit as its headers have it, and the schemas of the metadata; None if these keys may not
        read them.

    Raises:
        AccessRefused: the keys do not work.
        Unreachable: no connection can be had.
        WrongAddress: what answers is not the Voucherify API.
        RunStopped: no answer, trouble at the other end, or no call left.
    """
    reply = _call(client, "/v1/metadata-schemas")
    if reply.status in (403, 404):
        reply = _call(client, "/v1/customers", {"limit": "1"})
        raise_unless_ok(reply)
        return read_rate_headers(reply.headers), None
    raise_unless_ok(reply)
    return read_rate_headers(reply.headers), read_schemas(json_object(reply.body) or {})


def _call(client: Client, path: str, params: dict[str, str] | None = None) -> Reply:
    try:
        return client.call("GET", path, params=params)
    except NotSent as error:
        raise unreachable_error(error) from None
    except NoAnswer as error:
        raise RunStopped(f"Voucherify cannot be asked: {error.detail}", _AGAIN) from None


def raise_unless_ok(reply: Reply) -> None:
    """Raise what an answer to a list means that is none; see `ask`."""
    if error := stopping_error(reply):
        raise error
    status = reply.status
    if status == 429:
        raise RunStopped("Voucherify's limit is used up (HTTP 429)", _AGAIN)
    if status >= 500 or status == 408:
        raise RunStopped(f"Voucherify has trouble (HTTP {status})", _AGAIN)
    if not is_success(reply, ("list",)):
        raise WrongAddress(
            f"The server that answers (HTTP {status}) is not the Voucherify API",
            "Check api.url and api.version.",
        )
