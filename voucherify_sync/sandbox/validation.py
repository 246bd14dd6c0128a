"""Checks request bodies as the API's schemas describe them, and makes the error bodies that the API answers."""

from __future__ import annotations

import random
import re
from datetime import date, datetime
from http.client import responses
from typing import Any, Literal

from voucherify_sync.events import Json

TEXT_FIELDS = ("source_id", "name", "description", "email", "phone", "birthday", "birthdate")
ADDRESS_FIELDS = ("city", "state", "line_1", "line_2", "country", "postal_code")
MAX_EVENT_NAME = 300

KNOWN_ERRORS: dict[int, Json] = {
    401: {"code": 401, "message": "Unauthorized", "key": "unauthorized"},
    402: {
        "code": 402,
        "message": "Payment required",
        "details": "Your current plan does not include a feature required to perform this operation.",
        "key": "missing_required_feature",
    },
    403: {
        "code": 403,
        "message": "Missing permission",
        "details": "User does not have a required permission to perform this operation.",
        "key": "missing_required_permission",
    },
    429: {"code": 429, "message": "Too many requests hit the API too quickly."},
}
"""The error objects that are the same at every call."""

# Python names 413 otherwise from 3.13 on; the API keeps the old words.
_PHRASES = {**responses, 413: "Request Entity Too Large"}
_ADDRESS_TYPES: dict[str, type] = dict.fromkeys(ADDRESS_FIELDS, str)
_CUSTOMER_TYPES: dict[str, type] = {
    **dict.fromkeys(("id", *TEXT_FIELDS), str),
    **dict.fromkeys(("address", "metadata", "system_metadata"), dict),
}
_METADATA_TYPES: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("string", "image_url", "geopoint"), str),
    "number": (int, float),
    "boolean": bool,
    "object": dict,
}
_METADATA_READERS = {"date": date.fromisoformat, "datetime": datetime.fromisoformat}
_BIRTHDATE = re.compile(r"\d{4}-\d{2}-\d{2}(T.+)?", re.ASCII)

UnknownFields = Literal["ignore", "reject"]


class ApiRefusal(Exception):
    """The API refuses the request; nothing of it was processed.

    Attributes:
        status: HTTP status.
        body: the error object.
    """

    def __init__(self, status: int, body: Json) -> None:
        super().__init__(body.get("message"))
        self.status = status
        self.body = body


def make_request_id() -> str:
    """Make an id of the shape that the API shows in its errors."""
    return f"v-{random.getrandbits(72):018x}"


def framework_error(status: int, message: str) -> ApiRefusal:
    """Refuse as the framework in front of the API does: in another shape than the API's own."""
    phrase = _PHRASES.get(status, "Error")
    return ApiRefusal(status, {"statusCode": status, "error": phrase, "message": message})


def invalid(details: str, key: str = "invalid_payload", message: str = "Invalid payload") -> ApiRefusal:
    """Refuse a body, a query parameter or metadata that breaks a rule."""
    body = {"code": 400, "key": key, "message": message, "details": details, "request_id": make_request_id()}
    return ApiRefusal(400, body)


def not_found(kind: str, reference: str, status: int = 404) -> ApiRefusal:
    """Say that there is no such resource; the body says 404 even where the status does not."""
    body = {
        "code": 404,
        "key": "not_found",
        "message": "Resource not found",
        "details": f"Cannot find {kind} with id {reference}",
        "request_id": make_request_id(),
        "resource_id": reference,
        "resource_type": kind,
    }
    return ApiRefusal(status, body)


def check_customer(fields: object, at: str, unknown: UnknownFields) -> Json:
    """Check the fields of a customer and return them.

    Args:
        fields: what the body has in the place of a customer.
        at: its place in the body, such as ``.customer``; empty for the body itself.
        unknown: what happens to a field that customers do not have.

    Raises:
        ApiRefusal: a field breaks a rule.
    """
    if not isinstance(fields, dict):
        raise invalid(f"Property {at} must be object" if at else "Payload must be object")
    _check_fields(fields, _CUSTOMER_TYPES, at, unknown)
    if fields.get("source_id") == "" or fields.get("id") == "":
        raise invalid(f"Property {at}.source_id should NOT be shorter than 1 characters")
    for name in ("birthday", "birthdate"):
        if fields.get(name) and not _BIRTHDATE.fullmatch(fields[name]):
            raise invalid(f"Property {at}.{name} should match format 'date'")
    return fields


def check_event(body: object, unknown: UnknownFields) -> Json:
    """Check the body of ``POST /v1/events`` and return it.

    Raises:
        ApiRefusal: a field breaks a rule.
    """
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


def check_metadata(schema: Json | None, metadata: Json | None, *, creating: bool) -> None:
    """Compare a customer's metadata with the schema of customers, if there is one.

    Args:
        schema: the metadata schema, as the API lists it.
        metadata: what the request sends.
        creating: the customer is new, so that what is required must be there.

    Raises:
        ApiRefusal: the metadata breaks the schema.
    """
    if schema is None or (metadata is None and not creating):
        return
    values = metadata or {}
    rules = {key: rule for key, rule in (schema.get("properties") or {}).items() if not rule.get("deleted")}
    breaches = {key: _find_breach(rule, values.get(key), creating) for key, rule in rules.items()}
    problems = [f"{key}: {breach}" for key, breach in breaches.items() if breach]
    if schema.get("allow_defined_only"):
        problems += [f"{key}: is not defined" for key in values if key not in rules]
    if problems:
        raise invalid("; ".join(problems), "metadata_validation_failed", "Metadata validation failed")


def _check_fields(fields: Json, types: dict[str, type], at: str, unknown: UnknownFields) -> None:
    for name, value in fields.items():
        if name not in types:
            if unknown == "reject":
                raise invalid(f"Property {at}.{name} is not allowed")
        elif value is not None and not isinstance(value, types[name]):
            demanded = "string" if types[name] is str else "object"
            raise invalid(f"Property {at}.{name} should be {demanded},null")
        elif name == "address" and value:
            _check_fields(fields[name], _ADDRESS_TYPES, f"{at}.address", unknown)


def _check_code(value: object, at: str) -> None:
    if value is None:
        return
    if not isinstance(value, dict):
        raise invalid(f"Property {at} should be object")
    if "code" not in value:
        raise invalid(f"Property {at} should have required property 'code'")
    if not isinstance(value["code"], str):
        raise invalid(f"Property {at}.code should be string")


def _find_breach(rule: Json, value: Any, creating: bool) -> str | None:
    """Say how a metadata value breaks its definition, None if it does not."""
    if value is None:
        return "property is required" if creating and not rule.get("optional", True) else None
    kind = str(rule.get("type", "string"))
    demands = f"must be a {kind}"
    if rule.get("array"):
        demands = f"must be an array, and every element: {demands}"
        is_right = isinstance(value, list) and all(_fits(kind, one) for one in value)
    else:
        is_right = _fits(kind, value)
    if allowed := rule.get("eq"):
        demands += f", must be equal to one of {','.join(map(str, allowed))}"
        is_right = is_right and all(one in allowed for one in (value if isinstance(value, list) else [value]))
    return None if is_right else f"{demands} (actual value is '{value}')"


def _fits(kind: str, value: Any) -> bool:
    """Tell whether a metadata value is of a type; a type that is not known takes anything."""
    if kind in _METADATA_READERS:
        try:
            _METADATA_READERS[kind](value)
        except (TypeError, ValueError):
            return False
    # In Python true is a number, in JSON it is not.
    is_odd = kind == "number" and isinstance(value, bool)
    return isinstance(value, _METADATA_TYPES.get(kind, object)) and not is_odd
