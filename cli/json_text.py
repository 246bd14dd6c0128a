"""JSON that can do nothing to a terminal: what does not print is written as `\\u` escapes, so the data stays the same.

Values or encoded JSON in; text out, on one line or as lines to be looked at.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, BinaryIO, Final

from .styled import Line

_ODD: Final = re.compile(r"[^\x20-\x7e]")
_MAX_SCALAR: Final = 160
_PIECE: Final = 1 << 16
_INDENT: Final = "  "

StyleOf = Callable[[tuple[str, ...]], str]
"""Gives the style of the line of a value, by its keys."""


def write_harmless(stream: BinaryIO, encoded: bytes) -> None:
    """Write encoded JSON as a line that does no harm, piece by piece: a copy of the whole may be very large."""
    with memoryview(encoded) as view:
        pieces = (view[at : at + _PIECE].tobytes() for at in range(0, len(view), _PIECE))
        stream.writelines(harmless(text).encode() for text in codecs.iterdecode(pieces, "utf-8"))
    stream.write(b"\n")
    stream.flush()


def harmless(encoded: str) -> str:
    """Return encoded JSON on one line with escapes for all that does not print; it decodes to the same."""
    return encoded if encoded.isprintable() else _ODD.sub(lambda sign: _escape(sign[0]), encoded)


def compact(value: Any, limit: int) -> str:
    """Return a value as harmless JSON text, cut where it gets too long."""
    if isinstance(value, str):
        value = value[: limit + 1]
    text = ""
    for piece in json.JSONEncoder(ensure_ascii=False).iterencode(value):
        text += harmless(piece[: limit + 2])
        if len(text) > limit:
            return text[: limit - 1] + "…"
    return text


def json_lines(value: Any, style_of: StyleOf, most: int) -> list[Line]:
    """Return a JSON value indented, at most so many lines; long texts are cut."""
    lines: list[Line] = []
    for line in _lines(value, (), "", [], style_of):
        if len(lines) == most:
            return [*lines, [("…", "dim")]]
        lines.append(line)
    return lines


def _lines(value: Any, keys: tuple[str, ...], lead: str, tail: Line, style_of: StyleOf) -> Iterator[Line]:
    """Yield the lines of a value; `lead` is its key, if it has one, and `tail` the comma behind it, if there is one.

    Each line is yielded before the next is made, so that of a value nested very deep only what is shown is looked at.
    """
    indent = _INDENT * len(keys)
    if not isinstance(value, dict | list) or not value:
        yield [(indent + lead + compact(value, _MAX_SCALAR), style_of(keys)), *tail]
        return
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    yield [(indent + lead + opening, style_of(keys))]
    inside: Iterator[tuple[str, Any, str]]
    if isinstance(value, dict):
        inside = ((key, each, f"{compact(key, _MAX_SCALAR)}: ") for key, each in value.items())
    else:
        inside = ((str(number), each, "") for number, each in enumerate(value))
    left = len(value)
    for key, each, start in inside:
        left -= 1
        yield from _lines(each, (*keys, key), start, [(",", "")] if left else [], style_of)
    yield [(indent + closing, style_of(keys)), *tail]


@lru_cache(maxsize=4_096)  # a text may hold millions of one sign
def _escape(sign: str) -> str:
    if sign.isprintable():
        return sign
    encoded = sign.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{encoded[at]:02x}{encoded[at + 1]:02x}" for at in range(0, len(encoded), 2))
