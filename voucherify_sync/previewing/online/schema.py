"""The metadata schema of customers, out of the API's answer. What it says in a way not known forbids nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from typing import Any, Final

from msgspec import Struct

from voucherify_sync.model import Json

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
