"""Checks of request bodies, as the API's schemas describe them. What breaks a rule raises a Refusal."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any, Literal

from voucherify_sync.events import Json
from voucherify_sync.sandbox.refusals import invalid, invalid_metadata

TEXT_FIELDS = ("source_id", "name", "description", "email", "phone", "birthday", "birthdate")
ADDRESS_FIELDS = frozenset({"city", "state", "line_1", "line_2", "country", "postal_code"})
MAX_EVENT_NAME = 300

_TEXT = frozenset({"id", *TEXT_FIELDS})
_OBJECTS = frozenset({"metadata", "system_metadata"})
_BIRTHDATE = re.compile(r"\d{4}-\d{2}-\d{2}(T.+)?", re.ASCII)

Unknown = Literal["ignore", "reject"]


def check_customer(fields: object, at: str, unknown: Unknown) -> Json:
    """Check the fields of a customer and return them.

    Args:
        fields: what stands in the place of a customer.
        at: its place in the body, such as ``.customer``; empty for the body itself.
        unknown: what becomes of a field that customers do not have.
    """
    if not isinstance(fields, dict):
        raise invalid(f"Property {at} must be object" if at else "Payload must be object")
    for name, value in fields.items():
        _check_field(name, value, f"{at}.{name}", unknown)
    if fields.get("source_id") == "" or fields.get("id") == "":
        raise invalid(f"Property {at}.source_id should NOT be shorter than 1 characters")
    for name in ("birthday", "birthdate"):
        if fields.get(name) and not _BIRTHDATE.fullmatch(fields[name]):
            raise invalid(f"Property {at}.{name} should match format 'date'")
    return fields


def check_event(body: object, unknown: Unknown) -> Json:
    """Check the body of ``POST /v1/events`` and return it."""
    if not isinstance(body, dict):
        raise invalid("Payload must be object")
    for name in ("event", "customer"):
        if name not in body:
            raise invalid(f"Payload must have required property '{name}'")
    event = body["event"]
    if not isinstance(event, str):
        raise invalid("Property .event should be string")
    if not 1 <= len(event) <= MAX_EVENT_NAME:
        raise invalid(f"Property .event should have 1 to {MAX_EVENT_NAME} characters")
    check_customer(body["customer"], ".customer", unknown)
    if not isinstance(body.get("metadata", {}), dict):
        raise invalid("Property .metadata should be object")
    for name in ("referral", "loyalty"):
        _check_code(body.get(name), f".{name}")
    return body


def check_metadata(schemas: Mapping[str, Json], metadata: Json | None, *, creating: bool) -> None:
    """Hold a customer's metadata against the schema of customers, if there is one.

    Args:
        schemas: metadata schemas by their related object.
        metadata: what the request sends.
        creating: the customer is new, so that what is required must be there.
    """
    schema = schemas.get("customer")
    if schema is None or (metadata is None and not creating):
        return
    values = metadata or {}
    properties = {
        key: rule for key, rule in (schema.get("properties") or {}).items() if not rule.get("deleted")
    }
    problems = [
        f"{key}: {problem}"
        for key, rule in properties.items()
        if (problem := _breach(rule, key, values, creating))
    ]
    if schema.get("allow_defined_only"):
        problems += [f"{key}: is not defined" for key in values if key not in properties]
    if problems:
        raise invalid_metadata("; ".join(problems))


def _check_field(name: str, value: object, at: str, unknown: Unknown) -> None:
    if name in _TEXT:
        _check_text(value, at)
    elif name == "address":
        _check_address(value, at, unknown)
    elif name in _OBJECTS:
        if value is not None and not isinstance(value, dict):
            raise invalid(f"Property {at} should be object,null")
    elif unknown == "reject":
        raise invalid(f"Property {at} is not allowed")


def _check_text(value: object, at: str) -> None:
    if value is not None and not isinstance(value, str):
        raise invalid(f"Property {at} should be string,null")


def _check_address(value: object, at: str, unknown: Unknown) -> None:
    if value is None:
        return
    if not isinstance(value, dict):
        raise invalid(f"Property {at} should be object,null")
    for name, part in value.items():
        if name in ADDRESS_FIELDS:
            _check_text(part, f"{at}.{name}")
        elif unknown == "reject":
            raise invalid(f"Property {at}.{name} is not allowed")


def _check_code(value: object, at: str) -> None:
    if value is None:
        return
    if not isinstance(value, dict):
        raise invalid(f"Property {at} should be object")
    if "code" not in value:
        raise invalid(f"Property {at} should have required property 'code'")
    if not isinstance(value["code"], str):
        raise invalid(f"Property {at}.code should be string")


def _breach(rule: Json, key: str, values: Json, creating: bool) -> str | None:
    """Say how a metadata value breaks its definition, None if it does not."""
    value = values.get(key)
    if value is None:
        return "property is required" if creating and not rule.get("optional", True) else None
    kind = str(rule.get("type", "string"))
    fits = _TYPES.get(kind, _is_anything)
    demands, right = [f"must be a {kind}"], False
    if rule.get("array"):
        demands = ["must be an array, and every element: " + demands[0]]
        right = isinstance(value, list) and all(map(fits, value))
    else:
        right = fits(value)
    if allowed := rule.get("eq"):
        demands.append("must be equal to one of " + ",".join(map(str, allowed)))
        right = right and all(one in allowed for one in (value if isinstance(value, list) else [value]))
    return None if right else f"{', '.join(demands)} (actual value is '{value}')"


def _is_anything(_value: object) -> bool:
    return True


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _reads(parse: Callable[[str], Any]) -> Callable[[object], bool]:
    def fits(value: object) -> bool:
        try:
            parse(value if isinstance(value, str) else "")
        except ValueError:
            return False
        return True

    return fits


_TYPES: dict[str, Callable[[object], bool]] = {
    "string": lambda value: isinstance(value, str),
    "image_url": lambda value: isinstance(value, str),
    "geopoint": lambda value: isinstance(value, str),
    "number": _is_number,
    "boolean": lambda value: isinstance(value, bool),
    "date": _reads(date.fromisoformat),
    "datetime": _reads(datetime.fromisoformat),
    "object": lambda value: isinstance(value, dict),
}
