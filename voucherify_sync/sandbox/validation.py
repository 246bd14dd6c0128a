"""Checks request bodies as the API's schemas describe them, and makes the error bodies that the API answers."""

from __future__ import annotations

import operator
import random
import re
from collections.abc import Callable, Collection, Mapping
from datetime import date, datetime
from http import HTTPStatus
from numbers import Real
from typing import Any

from voucherify_sync.events import Json
from voucherify_sync.sandbox.options import SandboxOptions

TEXT_FIELDS = ("name", "description", "email", "phone", "birthday", "birthdate")
DATE_FIELDS = ("birthday", "birthdate")
ADDRESS_FIELDS = ("city", "state", "line_1", "line_2", "country", "postal_code")
ID_FIELDS, BULK_IDS = ("id", "source_id"), ("source_id",)
"""The ids that name a customer, in the body of a customer or an event and in a bulk request."""
API_VERSIONS = ("v2018-08-01", "v2017-04-20", "v2017-04-05")
MAX_EVENT_NAME = 300
MAX_ORDERS, MAX_ITEMS = 2000, 500
"""Most orders in one import, and most items in one order."""
ORDER_STATUSES = ("CREATED", "PAID", "CANCELED", "FULFILLED")

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
PHRASES = {**{status.value: status.phrase for status in HTTPStatus}, 413: "Request Entity Too Large"}
_WORDS: dict[type, str] = {
    str: "should be string",
    int: "should be integer",
    Real: "should be number",
    bool: "should be boolean",
    list: "must be array",
    dict: "must be object",
    object: "should NOT be null",
}
_CUSTOMER_TYPES: dict[str, type] = {**dict.fromkeys(TEXT_FIELDS, str), "address": dict, "metadata": dict}
_ADDRESS_TYPES: dict[str, type] = dict.fromkeys(ADDRESS_FIELDS, str)
_EVENT_TYPES: dict[str, type] = {
    "event": str,
    **dict.fromkeys(("customer", "metadata", "referral", "loyalty"), dict),
}
_REFERRAL_TYPES: dict[str, type] = {"code": str, "referrer_id": str}
_LOYALTY_TYPES: dict[str, type] = {"code": str}
_ORDER_TYPES: dict[str, type] = {
    **dict.fromkeys(("id", "source_id", "status", "referrer_id"), str),
    **dict.fromkeys(("amount", "initial_amount", "discount_amount"), int),
    **dict.fromkeys(("customer", "referrer", "metadata"), dict),
    "items": list,
}
_ITEM_TYPES: dict[str, type] = {
    **dict.fromkeys(("product_id", "sku_id", "related_object", "source_id"), str),
    **dict.fromkeys(("quantity", "initial_quantity", "discount_quantity"), int),
    **dict.fromkeys(("price", "amount", "initial_amount", "discount_amount"), int),
    **dict.fromkeys(("product", "sku", "metadata"), dict),
}
_PRODUCT_TYPES: dict[str, type] = {
    **dict.fromkeys(("id", "source_id", "name"), str),
    "price": Real,
    "metadata": dict,
    "override": bool,
}
_SKU_TYPES: dict[str, type] = {**_PRODUCT_TYPES, "sku": str}
_NULL_IN_ORDER = ("source_id", "referrer_id")
_CHOICES = {"status": ORDER_STATUSES, "related_object": ("product", "sku")}
_LOWEST = {"quantity": 1, "initial_quantity": 1, "price": 0, "amount": 0, "initial_amount": 0}
"""The bounds of an order and its items that the description has in words alone."""
_METADATA_TYPES: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("string", "image_url", "geopoint"), str),
    "number": (int, float),
    "boolean": bool,
    "object": dict,
}
_METADATA_READERS = {"date": date.fromisoformat, "datetime": datetime.fromisoformat}
_METADATA_BOUNDS: dict[str, tuple[str, type | tuple[type, ...], Callable[[Any, Any], bool]]] = {
    "eq": ("be equal to one of", object, lambda value, allowed: value in allowed),
    "ne": ("not be equal to any of", object, lambda value, refused: value not in refused),
    "lt": ("be less than", (int, float), operator.lt),
    "lte": ("be at most", (int, float), operator.le),
    "gt": ("be greater than", (int, float), operator.gt),
    "gte": ("be at least", (int, float), operator.ge),
    "minLength": ("have at least this number of characters:", str, lambda text, length: len(text) >= length),
    "maxLength": ("have at most this number of characters:", str, lambda text, length: len(text) <= length),
    "exactLength": ("have exactly this number of characters:", str, lambda text, length: len(text) == length),
}
"""What a definition of metadata may demand beside a type: its words, the values that it bounds, and the bound."""
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


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
    phrase = PHRASES.get(status, "Error")
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


def check_customer(
    fields: object, at: str, options: SandboxOptions, ids: Collection[str] = ID_FIELDS
) -> Json:
    """Check the fields of a customer, and return those that count.

    Fields that customers do not have are left out, and so are nulls that are ignored.

    Args:
        fields: what the body has in the place of a customer.
        at: its place in the body, such as ``.customer``; empty for the body itself.
        options: what happens to nulls, unknown fields and nested metadata.
        ids: the ids that a customer may be named by in this place.

    Raises:
        ApiRefusal: a field breaks a rule.
    """
    if not isinstance(fields, dict):
        raise invalid(f"Property {at} must be object" if at else "Payload must be object")
    customer = _check_fields(fields, dict.fromkeys(ids, str) | _CUSTOMER_TYPES, at, options, takes_null=True)
    for name in ids:
        if customer.get(name) == "":
            raise invalid(f"Property {at}.{name} should NOT be shorter than 1 characters")
    for name in DATE_FIELDS:
        if customer.get(name) is not None and not _is_date(customer[name]):
            raise invalid(f"Property {at}.{name} should match format 'date'")
    if customer.get("address"):
        customer["address"] = _check_fields(
            customer["address"], _ADDRESS_TYPES, f"{at}.address", options, takes_null=True
        )
    if customer.get("metadata"):
        types = dict.fromkeys(customer["metadata"], object)
        customer["metadata"] = _check_fields(
            customer["metadata"], types, f"{at}.metadata", options, takes_null=True
        )
        _check_nesting(customer["metadata"], f"{at}.metadata", options)
    return customer


def check_event(body: object, options: SandboxOptions) -> Json:
    """Check the body of ``POST /v1/events``, and return the fields that count.

    Raises:
        ApiRefusal: a field breaks a rule.
    """
    if not isinstance(body, dict):
        raise invalid("Payload must be object")
    for name in ("event", "customer"):
        if name not in body:
            raise invalid(f"Payload must have required property '{name}'")
    event = _check_fields(body, _EVENT_TYPES, "", options)
    if not 1 <= len(event["event"]) <= MAX_EVENT_NAME:
        raise invalid(f"Property .event should have 1 to {MAX_EVENT_NAME} characters")
    event["customer"] = check_customer(event["customer"], ".customer", options)
    for name, types in (("referral", _REFERRAL_TYPES), ("loyalty", _LOYALTY_TYPES)):
        if name in event:
            if "code" not in event[name]:
                raise invalid(f"Property .{name} should have required property 'code'")
            event[name] = _check_fields(event[name], types, f".{name}", options)
    _check_nesting(event.get("metadata", {}), ".metadata", options)
    return event


def check_order(fields: object, at: str, options: SandboxOptions) -> Json:
    """Check an order of an import, and return the fields that count.

    Args:
        fields: what the body has in the place of an order.
        at: its place in the body, such as ``[0]``.
        options: what happens to unknown fields, nested metadata, and nulls of the customer.

    Raises:
        ApiRefusal: a field breaks a rule.
    """
    if not isinstance(fields, dict):
        raise invalid(f"Property {at} must be object")
    given = {name: value for name, value in fields.items() if value is not None or name not in _NULL_IN_ORDER}
    order = _check_bounded(given, _ORDER_TYPES, at, options)
    if order.get("source_id") == "":
        raise invalid(f"Property {at}.source_id should NOT be shorter than 1 characters")
    if "customer" not in order:
        raise invalid(f"Property {at} should have required property 'customer'")
    for name in ("customer", "referrer"):
        if name in order:
            order[name] = check_customer(order[name], f"{at}.{name}", options)
    if not order["customer"].get("source_id"):
        raise invalid(f"Property {at}.customer should have required property 'source_id'")
    items = order.get("items", [])
    if len(items) > MAX_ITEMS:
        raise invalid(f"Property {at}.items should NOT have more than {MAX_ITEMS} items")
    if "items" in order:
        order["items"] = [_check_item(item, f"{at}.items[{n}]", options) for n, item in enumerate(items)]
    return order


def _check_item(fields: object, at: str, options: SandboxOptions) -> Json:
    """Check an item of an order, and return the fields that count."""
    if not isinstance(fields, dict):
        raise invalid(f"Property {at} must be object")
    item = _check_bounded(fields, _ITEM_TYPES, at, options)
    for name, types in (("product", _PRODUCT_TYPES), ("sku", _SKU_TYPES)):
        if name in item:
            item[name] = _check_bounded(item[name], types, f"{at}.{name}", options)
    return item


def _check_bounded(fields: Json, types: Mapping[str, type], at: str, options: SandboxOptions) -> Json:
    """Check the fields of an order or of a part of it, their choices and bounds, too."""
    kept = _check_fields(fields, types, at, options)
    for name, value in kept.items():
        if name in _CHOICES and value not in _CHOICES[name]:
            allowed = ", ".join(_CHOICES[name])
            raise invalid(f"Property {at}.{name} should be equal to one of the allowed values: {allowed}")
        if name in _LOWEST and value < _LOWEST[name]:
            raise invalid(f"Property {at}.{name} cannot be lower than {_LOWEST[name]}")
    _check_nesting(kept.get("metadata", {}), f"{at}.metadata", options)
    return kept


def check_metadata(
    schemas: Mapping[str, Json], resource: str, metadata: Json | None, *, creating: bool
) -> None:
    """Compare metadata with the schema of the resource that it belongs to, if there is one.

    Args:
        schemas: the metadata schemas as the API lists them, by what they belong to.
        resource: such as ``customer`` or ``order``.
        metadata: what the request sends.
        creating: the customer or order is new, so that what is required must be there.

    Raises:
        ApiRefusal: the metadata breaks the schema.
    """
    schema = schemas.get(resource)
    if schema is None or (metadata is None and not creating):
        return
    if problems := _find_breaches(schema, metadata or {}, schemas, creating=creating):
        raise invalid("; ".join(problems), "metadata_validation_failed", "Metadata validation failed")


def _check_fields(
    fields: Json, types: Mapping[str, type], at: str, options: SandboxOptions, *, takes_null: bool = False
) -> Json:
    """Return the fields that have a type here; raise an ApiRefusal where one has another."""
    kept: Json = {}
    for name, value in fields.items():
        demanded = types.get(name)
        if demanded is None:
            if options.unknown_fields == "reject":
                raise invalid(f"Property {at}.{name} is not allowed")
        elif value is None and takes_null and options.nulls != "reject":
            if options.nulls == "clear":
                kept[name] = None
        elif value is None or not _is_of(value, demanded):
            or_null = ",null" if takes_null and options.nulls != "reject" else ""
            raise invalid(f"Property {at}.{name} {_WORDS[demanded]}{or_null}")
        else:
            kept[name] = value
    return kept


def _is_of(value: object, demanded: type) -> bool:
    """Tell whether a value has a type of JSON, in which true is no number."""
    return isinstance(value, demanded) and (demanded in (bool, object) or not isinstance(value, bool))


def _is_date(text: str) -> bool:
    """Tell whether a text is a day of the calendar, written YYYY-MM-DD."""
    try:
        return bool(_DATE.fullmatch(text) and date.fromisoformat(text))
    except ValueError:
        return False


def _check_nesting(metadata: Json, at: str, options: SandboxOptions) -> None:
    if options.nested_metadata == "reject":
        for name, value in metadata.items():
            items = value if isinstance(value, list) else [value]
            if any(isinstance(item, dict) and _has_object(item) for item in items):
                raise invalid(f"Property {at}.{name} should NOT have an object inside its object")


def _has_object(value: Json) -> bool:
    """Tell whether an object has another one in it, in a list or not."""
    inside = [item for one in value.values() for item in (one if isinstance(one, list) else [one])]
    return any(isinstance(item, dict) for item in inside)


def _find_breaches(schema: Json, values: Json, schemas: Mapping[str, Json], *, creating: bool) -> list[str]:
    """List how metadata, or an object in it, breaks its schema."""
    rules = {key: rule for key, rule in (schema.get("properties") or {}).items() if not rule.get("deleted")}
    breaches = {key: _find_breach(rule, values.get(key), schemas, creating) for key, rule in rules.items()}
    problems = [f"{key}: {breach}" for key, breach in breaches.items() if breach]
    if schema.get("allow_defined_only"):
        problems += [f"{key}: is not defined" for key in values if key not in rules]
    return problems


def _find_breach(rule: Json, value: Any, schemas: Mapping[str, Json], creating: bool) -> str | None:
    """Say how a metadata value breaks its definition, None if it does not."""
    if value is None:
        return "property is required" if creating and not rule.get("optional", True) else None
    kind = str(rule.get("type", "string"))
    bounds = {name: rule[name] for name in _METADATA_BOUNDS if rule.get(name) not in (None, [])}
    demands = [f"must be a {kind}"]
    for name, bound in bounds.items():
        shown = ",".join(map(str, bound)) if isinstance(bound, list) else bound
        demands.append(f"must {_METADATA_BOUNDS[name][0]} {shown}")
    words = ", ".join(demands)
    values = [value]
    if rule.get("array"):
        words = f"must be an array, and every element: {words}"
        values = value if isinstance(value, list) else [None]
    is_right = all(
        _fits(kind, one)
        and all(
            not isinstance(one, _METADATA_BOUNDS[name][1]) or _METADATA_BOUNDS[name][2](one, bound)
            for name, bound in bounds.items()
        )
        for one in values
    )
    if not is_right:
        return f"{words} (actual value is '{value}')"
    if kind != "object":
        return None
    if any(_has_object(one) for one in values):
        return "a nested object cannot hold another object"
    nested = schemas.get(str(rule.get("objectType")), {})
    problems = [each for one in values for each in _find_breaches(nested, one, {}, creating=creating)]
    return "; ".join(problems) or None


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
