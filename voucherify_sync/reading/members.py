"""Takes JSON text apart without decoding it: counts its values, and cuts arrays and objects into their members.

It needs no memory beside the text, whatever that holds. Members are not validated: that is left to the decoder.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import Final

from msgspec import Struct

from voucherify_sync.reading.lenient import UnreadableError

# Possessive repeats (`++`, `*+`) never backtrack, so each pattern is linear in the text, whatever that holds.
_TEXT: Final = rb'"(?:[^"\\]++|\\.)*+"'
_FLAT: Final = rb'(?:[^"\[\]{}]++|%b)*+' % _TEXT
_TO_A_SIGN: Final = re.compile(
    rb'(?:[^",\[{]++|"(?:[^"\\]++|\\.)*+(?:"|\\?\Z))*+(?:([,\[{])|\Z)',  # a text without an end goes on to the end
    re.DOTALL,
)
# It matches anywhere, so that a search never begins inside of a text.
_TO_A_BRACKET: Final = re.compile(rb'(?:[^"\[\]{}]++|%b|[\[{]%b[\]}])*+' % (_TEXT, _FLAT), re.DOTALL)
# Containers that hold no other container are skipped like texts, which spares most of the steps.
_SCALAR: Final = re.compile(rb'%b|[^ \t\r\n,:"\[\]{}]++' % _TEXT, re.DOTALL)
_BLANKS: Final = re.compile(rb"[ \t\r\n]*+")


class BrokenError(UnreadableError):
    """A text is no array, or no object, from some place on.

    Attributes:
        at: offset in bytes of the first member that cannot be read, or of what stands in its place.
    """

    def __init__(self, at: int) -> None:
        super().__init__("not_json", f"broken or cut off at byte {at + 1}")
        self.at = at


class Member(Struct, frozen=True, gc=False):
    """A member of an object, both parts as they are written."""

    key: bytes
    value: bytes


def has_more_values(text: bytes, most: int) -> bool:
    """Tell whether a JSON text holds more than `most` values, which are keys and items at any depth.

    What is counted are the commas and the opening brackets outside of texts.
    """
    if len(text) <= most:
        return False
    if text.count(b",") + text.count(b"[") + text.count(b"{") <= most:  # even with those inside of texts
        return False
    found = next(islice(_TO_A_SIGN.finditer(text), most, None), None)
    return found is not None and found[1] is not None


def first_byte(text: bytes) -> bytes:
    """Return the first byte that is not blank; nothing if there is none."""
    at = _after_blanks(text, 0)
    return text[at : at + 1]


def items(text: bytes) -> Iterator[bytes]:
    """Yield the items of the array that a text is, as they are written.

    Raises:
        BrokenError: the text is no array; the items before that place have been yielded.
    """
    for begin, end in _spans(text, b"[", b"]"):
        yield text[begin:end]


def members(text: bytes) -> Iterator[Member]:
    """Yield the members of the object that a text is, in their order; a key may come twice.

    Raises:
        BrokenError: the text is no object; the members before that place have been yielded.
    """
    for begin, end in _spans(text, b"{", b"}"):
        key_end = _end_of_value(text, begin)
        yield Member(text[begin:key_end], text[_after_blanks(text, _after_blanks(text, key_end) + 1) : end])


def _spans(text: bytes, opening: bytes, closing: bytes) -> Iterator[tuple[int, int]]:
    """Yield where each member of an array or an object begins and ends; of an object, from its key on."""
    at = _after_blanks(text, 0)
    if text[at : at + 1] != opening:
        raise BrokenError(at)
    at = _after_blanks(text, at + 1)
    is_over = text[at : at + 1] == closing
    while not is_over:
        begin, end = at, _end_of_value(text, at)
        if opening == b"{":
            at = _after_blanks(text, end)
            if text[begin : begin + 1] != b'"' or text[at : at + 1] != b":":
                raise BrokenError(begin)
            end = _end_of_value(text, _after_blanks(text, at + 1))
        at = _after_blanks(text, end)
        is_over = text[at : at + 1] == closing
        if not is_over and text[at : at + 1] != b",":
            raise BrokenError(begin)
        yield begin, end
        if not is_over:
            at = _after_blanks(text, at + 1)
    at = _after_blanks(text, at + 1)
    if at < len(text):
        raise BrokenError(at)


def _end_of_value(text: bytes, begin: int) -> int:
    """Return where the value that begins at an offset ends; brackets are counted, and not told apart."""
    if text[begin : begin + 1] not in (b"[", b"{"):
        scalar = _SCALAR.match(text, begin)
        if scalar is None:
            raise BrokenError(begin)
        return scalar.end()
    depth, at, skip = 1, begin + 1, _TO_A_BRACKET.match
    while depth:
        at = skip(text, at).end()  # type: ignore[union-attr]  # it matches anywhere
        match text[at : at + 1]:
            case b"[" | b"{":
                depth += 1
            case b"]" | b"}":
                depth -= 1
            case _:  # the text ends, or a text in it has no end
                raise BrokenError(begin)
        at += 1
    return at


def _after_blanks(text: bytes, at: int) -> int:
    return _BLANKS.match(text, at).end()  # type: ignore[union-attr]  # it matches anywhere
