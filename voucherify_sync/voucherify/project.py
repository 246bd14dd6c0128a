"""Ask a Voucherify project what only it can tell before a run: whether the keys work, its limit, its metadata schema.

Nothing changes at the project.
"""

from __future__ import annotations

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
            f"The server that answers (HTTP {status}) is not the Voucherify API",
            "Check api.url and api.version.",
        )
