"""JSON Schema of the settings file, for editors that complete and check: made by msgspec of the types.

Where a value is written in another way than its type says, such as a share as `10%`, the way of writing it is here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from voucherify_sync.events import Json
from voucherify_sync.expressions.directives import VALUE_REFERENCE, value_schema
from voucherify_sync.expressions.row_filters import FILTERS
from voucherify_sync.fields import MAX_EVENT_NAME, ORDER_STATUSES
from voucherify_sync.settings.conversion import TESTS
from voucherify_sync.settings.template import plain
from voucherify_sync.settings.types import (
    ENTRIES,
    KEEP,
    SECTIONS,
    Rate,
    Rows,
    Secret,
    Setting,
    TrackEntry,
    description_of,
    settings_of,
)

_TEXT: Final = {"type": ["string", "number", "boolean", "null"]}
"""What an editor takes a text without quotes for; the loader reads each of them as the text that it is."""

_SHARE: Final = {"type": "string", "pattern": "^[0-9]{1,2}(\\.[0-9]+)? ?%$"}
_STRING: Final = {"type": "string"}
_STRINGS: Final = {"anyOf": [_STRING, {"type": "array", "items": _STRING, "minItems": 1}]}
_ROWS: Final = {
    "anyOf": [
        _STRING,
        {"type": "array", "items": _STRING, "minItems": 1},
        {
            "type": "object",
            "additionalProperties": False,
            "required": ["to"],
            "properties": {
                "to": _STRINGS | {"description": "Destinations."},
                "or": _STRINGS
                | {"description": "Sources that are read next where this one holds nothing or null."},
                "apply": {
                    "type": "string",
                    "description": f"Filters, from left to right, such as `strip | downcase`: {', '.join(FILTERS)}.",
                },
            },
        },
    ]
}


_VALUES: Final[dict[Any, Json]] = {Rows: _ROWS, dict[str, str]: {"enum": [*ORDER_STATUSES, KEEP]}}
"""Type of a setting that holds pairs -> the schema of their values."""


def _written(setting: Setting) -> Json:
    """Return the schema of a value as it is written in the file; null stands for the default."""
    kind: Any = setting.type
    if setting.name == "rename":
        return _TEXT | {"pattern": r"^[^*]*[^*\s][^*]*$", "maxLength": MAX_EVENT_NAME}
    if kind in (str, Secret):
        return dict(_TEXT)
    if kind is float:
        number = {"type": "number", "minimum": 0, "exclusiveMaximum": 1}
        return {"anyOf": [_SHARE, number, {"type": "null"}]}
    if kind is Rate:
        return {"type": ["string", "null"], "pattern": "^[1-9][0-9]*/(s|min|h)$"}
    if kind == list[str]:
        return {"anyOf": [{"type": "array", "items": _TEXT}, _TEXT]}
    if kind in _VALUES:
        return {"type": ["object", "null"], "additionalProperties": _VALUES[kind]}
    if kind == dict[str, TrackEntry]:
        entry = _object(_properties(settings_of(ENTRIES)), description=description_of(TrackEntry))
        return {"type": ["object", "null"], "additionalProperties": entry | {"type": ["object", "null"]}}
    if setting.name == "set":
        return {"type": ["object", "null"], "additionalProperties": VALUE_REFERENCE}
    if setting.choices:
        return {"enum": [*setting.choices, None]}
    return setting.schema | {"type": [setting.schema["type"], "null"]}


_PARTS: Final[Json] = {
    "method": {"type": "string", "description": "Always POST.", "default": "POST"},
    "path": {"type": "string", "examples": ["/v1/customers", "/v1/events"]},
    "body": {"type": "object", "description": "The body of the request, as it would be sent."},
}


def _object(properties: Json, **more: Any) -> Json:
    return {"type": "object", "additionalProperties": False, "properties": properties, **more}


_TESTS: Final[Json] = {
    "description": "Mapping tests, run by `check`; they may also stand in *.test.yaml files beside this one.",
    "type": ["array", "null"],
    "items": _object(
        {
            "name": _TEXT | {"description": "Says what is tested."},
            "event": {
                "description": "The event, or FILE:LINE, where one is.",
                "anyOf": [{"type": "object"}, {"type": "string", "pattern": r":[1-9][0-9]*(\[[0-9]+\])?$"}],
            },
            "expect": {
                "description": "The request: method, path and body, exact; or below `contains` a part of it.",
                "anyOf": [
                    _object(_PARTS, required=list(_PARTS)),
                    _object({"contains": _object(_PARTS, minProperties=1)}, required=["contains"]),
                ],
            },
            "expect_skipped": {"type": "string", "description": "The reason why no request is made."},
        },
        required=["name", "event"],
        oneOf=[{"required": ["expect"]}, {"required": ["expect_skipped"]}],
    ),
}


def _properties(settings: Mapping[str, Setting]) -> Json:
    """Return the schemas of settings by name."""
    properties: Json = {}
    for name, setting in settings.items():
        described: Json = {
            key: setting.schema[key] for key in ("description", "examples") if key in setting.schema
        }
        if setting.default is not None:
            described["default"] = plain(setting.default)
        properties[name] = _written(setting) | described
    return properties


def json_schema() -> Json:
    """Return the schema (draft 2020-12). Everything may be null, which stands for the default."""
    sections: Json = {}
    for section, cls in SECTIONS.items():
        properties = _properties(settings_of(section))
        sections[section] = _object(properties, description=description_of(cls)) | {
            "type": ["object", "null"]
        }
    sections[TESTS] = _TESTS
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Settings of voucherify-sync",
        **_object(sections),
        "type": ["object", "null"],
        "$defs": {"value": value_schema()},
    }
