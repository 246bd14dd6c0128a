"""The short form of a fault, for a command line: a text comes in, a Fault goes out.

``[METHOD] [PATH] ACTION [CODE] [before|after] [10%] [#3 | #3-5 | #3-] [NAME=VALUE]…``: of the matching calls
each with a chance, or those with these numbers; names are Fault's fields.
"""

from __future__ import annotations

import re
import shlex
from typing import Any

import msgspec

from voucherify_sync.errors import UsageProblem
from voucherify_sync.sandbox.faults import Action, Fault

_REMEDY = (
    "Write [METHOD] [PATH] ACTION [CODE] [before|after] [10%] [#3-5] [name=value], such as "
    "'POST /v1/events drop after 10%'."
)
_METHOD = re.compile(r"[A-Z]+|\*")
_RANGE = re.compile(r"#(\d+)(-(\d+)?)?", re.ASCII)
_CHANCE = re.compile(r"(\d+(?:\.\d+)?)%", re.ASCII)
_NAMES = frozenset(Fault.__struct_fields__) - {"action", "method", "path", "when"}


def parse(text: str) -> Fault:
    """Read the short form of a fault.

    Raises:
        UsageProblem: it cannot be read; the message says where.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageProblem(f"not a fault: {text!r}: {error}", _REMEDY) from None
    fields: dict[str, Any] = {}
    for word in words:
        fields |= _read_word(text, word, fields)
    if "action" not in fields:
        raise UsageProblem(f"not a fault: {text!r}: no action in it", f"Actions: {', '.join(Action)}.")
    try:
        return msgspec.convert(fields, Fault, strict=False)
    except msgspec.ValidationError as error:
        raise UsageProblem(f"not a fault: {text!r}: {error}", _REMEDY) from None


def _read_word(text: str, word: str, known: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that one word sets, given those that the words before it set."""
    name = word.replace("-", "_")
    if "action" not in known:
        if name in Action.__members__.values():
            return {"action": name}
        if word.startswith("/"):
            return {"path": word}
        if _METHOD.fullmatch(word):
            return {"method": word}
        raise UsageProblem(f"not a fault: {text!r}: no action {word!r}", f"Actions: {', '.join(Action)}.")
    fields = _read_selector(word) or _read_value(word)
    if fields is None:
        raise UsageProblem(f"not a fault: {text!r}: {word!r} says nothing here", _REMEDY)
    return fields


def _read_selector(word: str) -> dict[str, Any] | None:
    if word in ("before", "after"):
        return {"when": word}
    if match := _CHANCE.fullmatch(word):
        return {"chance": float(match[1]) / 100}
    if match := _RANGE.fullmatch(word):
        first = int(match[1])
        return {"first": first, "last": (int(match[3]) if match[3] else None) if match[2] else first}
    return None


def _read_value(word: str) -> dict[str, Any] | None:
    if len(word) == 3 and word.isascii() and word.isdigit():
        return {"code": int(word)}
    name, equals, value = word.partition("=")
    name = name.replace("-", "_")
    return {name: value} if equals and name in _NAMES else None
