"""Decode JSON that the strict decoder refuses: a line in, its value with what was mended out, or UnreadableError.

Text that is no Unicode is mended with U+FFFD and told; numbers are never altered.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

import msgspec
from msgspec import Struct

MAX_INTEGER: Final = 4_300
"""Characters of an integer, its sign included: the strict decoder reads no longer one, whatever Python would do."""


_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")


class UnreadableError(Exception):
    """A line holds no JSON that can be read exactly.

    Attributes:
        reason: our own code: ``not_json``, ``too_deep`` or ``number_too_long``.
        detail: a sentence for people.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class Lenient(Struct, frozen=True):
    """What a line holds. The flags are those of SegmentEvent."""

    value: Any
    repaired: bool
    unsafe: bool


def decode_leniently(line: bytes) -> Lenient:
    """Decode one line, also with invalid UTF-8, lone surrogates, NaN, Infinity and floats out of range.

    Raises:
        UnreadableError: it is no JSON, or cannot be read exactly.
    """
    numbers = _Numbers()
    try:
        value = json.loads(
            line.decode("utf-8", "replace"),
            parse_int=_integer,
            parse_float=numbers.float,
            parse_constant=numbers.float,
        )
        mended = _mended(value) if b"\\u" in line else value
        repaired = mended != value or not _is_utf8(line)
    except json.JSONDecodeError as error:
        raise UnreadableError("not_json", f"{error.msg} at character {error.pos + 1}") from None
    except RecursionError:
        raise UnreadableError("too_deep", "objects or lists are nested too deep") from None
    except ValueError:
        raise UnreadableError(
            "number_too_long", "an integer has more digits than can be read exactly"
        ) from None
    return Lenient(mended, repaired, numbers.unsafe)


def encode(value: Any, *, unsafe: bool = False) -> bytes:
    """Encode a decoded value again; an unsafe one keeps NaN and Infinity, which the strict encoder makes null.

    Raises:
        UnreadableError: it is nested too deep.
    """
    try:
        if unsafe:
            return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
        return msgspec.json.encode(value)
    except RecursionError:
        raise UnreadableError("too_deep", "objects or lists are nested too deep") from None


def _integer(text: str) -> int:
    if len(text) > MAX_INTEGER:
        raise ValueError
    return int(text)


class _Numbers:
    """Reads numbers with a point or an exponent, and notes whether one of them is not finite."""

    def __init__(self) -> None:
        self.unsafe = False

    def float(self, text: str) -> float:
        number = float(text)
        if not -float("inf") < number < float("inf"):
            self.unsafe = True
        return number


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _mended(value: Any) -> Any:
    """Return the value with U+FFFD for every lone surrogate, in keys too."""
    if isinstance(value, str):
        return _LONE_SURROGATE.sub("\ufffd", value)  # the decoder has joined those that make a pair
    if isinstance(value, list):
        return [_mended(item) for item in value]
    if isinstance(value, dict):
        return {_mended(key): _mended(item) for key, item in value.items()}
    return value
