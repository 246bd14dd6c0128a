"""The catalog of settings -> JSON Schema of the settings file, for editors that complete and check."""

from __future__ import annotations

from typing import Any

from voucherify_sync.events import Json
from voucherify_sync.settings.conversion import TESTS
from voucherify_sync.settings.template import plain
from voucherify_sync.settings.types import Form, Section, Setting, sections

_TEXTS = {"type": ["string", "number", "boolean", "null"]}
"""What an editor takes a text without quotes for; the loader reads each of them as the text that it is."""

_PARTS: Json = {
    "method": {"type": "string", "description": "Always POST.", "default": "POST"},
    "path": {"type": "string", "examples": ["/v1/customers", "/v1/events"]},
    "body": {"type": "object", "description": "The body of the request, as it would be sent."},
}
_EXPECT: Json = {
    "description": "The request: method, path and body, exact; or below `contains` a part of it.",
    "anyOf": [
        {
            "type": "object",
            "additionalProperties": False,
            "properties": _PARTS,
            "required": list(_PARTS),
        },
        {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "contains": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": _PARTS,
                    "minProperties": 1,
                }
            },
            "required": ["contains"],
        },
    ],
}
_TESTS: Json = {
    "description": "Mapping tests, run by `check`; they may also stand in *.test.yaml files beside this one.",
    "type": ["array", "null"],
    "items": {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "name": _TEXTS | {"description": "Says what is tested."},
            "event": {
                "description": "The event, or FILE:LINE, where one is.",
                "anyOf": [{"type": "object"}, {"type": "string", "pattern": r":[1-9][0-9]*(\[[0-9]+\])?$"}],
            },
            "expect": _EXPECT,
            "expect_skipped": {"type": "string", "description": "The reason why no request is made."},
        },
        "required": ["name", "event"],
        "oneOf": [{"required": ["expect"]}, {"required": ["expect_skipped"]}],
    },
}


def json_schema() -> Json:
    """Return the schema (draft 2020-12). Everything may be null, which stands for the default."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Settings of voucherify-sync",
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": {name: _section(section) for name, section in sections().items()} | {TESTS: _TESTS},
    }


def _section(section: Section) -> Json:
    return {
        "description": section.help,
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": {name: _setting(setting) for name, setting in section.settings.items()},
    }


def _setting(setting: Setting) -> Json:
    described: Json = {"description": setting.help}
    if setting.default is not None:
        described["default"] = plain(setting.default)
    if setting.example is not None:
        described["examples"] = [setting.example]
    return described | _value(setting)


def _value(setting: Setting) -> Json:
    bounds: dict[str, Any] = {"minimum": setting.at_least, "maximum": setting.at_most}
    match setting.form:
        case Form.FLAG:
            return {"type": ["boolean", "null"]}
        case Form.COUNT:
            return {"type": ["integer", "null"]} | {k: v for k, v in bounds.items() if v is not None}
        case Form.CHOICE:
            return {"enum": [*setting.choices, None]}
        case Form.SHARE:
            percent = {"type": "string", "pattern": "^[0-9]{1,2}(\\.[0-9]+)? ?%$"}
            return {
                "anyOf": [percent, {"type": "number", "minimum": 0, "exclusiveMaximum": 1}, {"type": "null"}]
            }
        case Form.RATE:
            return {"type": ["string", "null"], "pattern": "^[1-9][0-9]*/(s|min|h)$"}
        case Form.NAMES:
            return {"anyOf": [{"type": "array", "items": _TEXTS}, _TEXTS]}
        case Form.ROWS:
            one = {"type": "string"}
            rows = {"anyOf": [one, {"type": "array", "items": one, "minItems": 1}]}
            return {"type": ["object", "null"], "additionalProperties": rows}
        case Form.CONSTANTS:
            return {"type": ["object", "null"]}
        case Form.TEXT | Form.SECRET:
            return dict(_TEXTS)
