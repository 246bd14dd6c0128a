"""Lines that no event archive should hold, and that none may end a run or fill the memory with.

Each builder takes a size in bytes and returns one line of about that size, without its line end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

MOST: Final = 10 * 1024 * 1024
"""Bytes of the longest line that is read as such."""

Builder = Callable[[int], bytes]


def _filled(size: int, start: bytes, unit: bytes, end: bytes) -> bytes:
    """Return start, as many units as there is room for, and end."""
    return start + unit * ((size - len(start) - len(end)) // len(unit)) + end


def _of(start: bytes, unit: bytes, end: bytes) -> Builder:
    return lambda size: _filled(size, start, unit, end)


def _listed(start: bytes, item: bytes, end: bytes) -> Builder:
    """Return a builder of an array of equal items between start and end."""
    return lambda size: _filled(size - len(item), start, item + b",", item + end)


def _keys(start: bytes, end: bytes) -> Builder:
    """Return a builder of an object of many short keys between start and end."""

    def build(size: int) -> bytes:
        keys = (size - len(start) - len(end)) // len(b'"0000000":0,')
        return start + b",".join(b'"%07d":0' % number for number in range(keys)) + end

    return build


def _nested(start: bytes, opening: bytes, middle: bytes, closing: bytes, end: bytes) -> Builder:
    def build(size: int) -> bytes:
        depth = (size - len(start) - len(end)) // len(opening + closing)
        return start + opening * depth + middle + closing * depth + end

    return build


_TRACK: Final = b'{"type":"track","event":"E","userId":"u","messageId":"m"'
_IDENTIFY: Final = b'{"type":"identify","userId":"u","messageId":"m"'
_EVENT: Final = b'{"type":"track","event":"E","userId":"u"}'

LINES: Final[dict[str, Builder]] = {
    "array of numbers": _listed(b"[", b"1", b"]"),
    "array of objects": _listed(b"[", b"{}", b"]"),
    "array of arrays": _listed(b"[", b"[]", b"]"),
    "array of events": _listed(b"[", _EVENT, b"]"),
    "array of texts": _listed(b"[", b'"ab"', b"]"),
    "array of one array": _listed(b"[[", b"{}", b"]]"),
    "array of two arrays": lambda size: b"[%b,%b]" % ((LINES["array of objects"](size // 2),) * 2),
    "array with NaN": _listed(b"[NaN,", b"{}", b"]"),
    "array with invalid UTF-8": _listed(b'["\xff",', b"{}", b"]"),
    "array cut off": _of(b"[", b"{},", b""),
    "array of blanks": _listed(b"[", b" \t{ }  ", b"]"),
    "envelope of objects": _listed(b'{"batch":[', b"{}", b"]}"),
    "envelope of events": _listed(b'{"batch":[', _EVENT, b'],"context":{"ip":"192.0.2.1"}}'),
    "envelope with a large context": lambda size: (
        _keys(b'{"context":{', b"},")(size // 2) + _listed(b'"batch":[', _EVENT, b"]}")(size // 2)
    ),
    "envelope with a long context": lambda size: (
        _of(b'{"context":{"a":"', b"x", b'"},')(size // 2) + _listed(b'"batch":[', _EVENT, b"]}")(size // 2)
    ),
    "envelope with NaN": _listed(b'{"batch":[{"a":NaN},', b"{}", b"]}"),
    "text": _of(b'"', b"x", b'"'),
    "text of escapes": _of(b'"', rb"\"", b'"'),
    "text without end": _of(b'"', rb"\"", b""),
    "text of lone surrogates": _of(b'"', rb"\ud800", b'"'),
    "object of keys": _keys(b"{", b"}"),
    "object cut off": _keys(b"{", b""),
    "event of keys": _keys(_TRACK + b",", b"}"),
    "properties of keys": _keys(_TRACK + b',"properties":{', b"}}"),
    "properties of objects": _listed(_TRACK + b',"properties":{"items":[', b'{"a":{}}', b"]}}"),
    "properties of numbers": _listed(_TRACK + b',"properties":{"items":[', b"1000.5", b"]}}"),
    "traits of keys": _keys(_IDENTIFY + b',"traits":{', b"}}"),
    "traits of keys, without messageId": _keys(b'{"type":"identify","userId":"u","traits":{', b"}}"),
    "context of keys": _keys(_IDENTIFY + b',"context":{"traits":{', b"}}}"),
    "property of text": _of(_TRACK + b',"properties":{"email":"', b"x", b'"}}'),
    "property of wide text": _of(_TRACK + b',"properties":{"email":"\xf0\x9f\x98\x80', b"x", b'"}}'),
    "property of mended text": _of(_TRACK + b',"properties":{"email":"\xf0\x9f\x98\x80\\ud800', b"x", b'"}}'),
    "property of invisible text": _of(_TRACK + b',"properties":{"email":"', b"\xe2\x80\x8b", b'"}}'),
    "key of text": _of(_TRACK + b',"properties":{"', b"x", b'":1}}'),
    "name of text": _of(b'{"type":"track","userId":"u","messageId":"m","event":"', b"x", b'"}'),
    "type of text": _of(b'{"userId":"u","messageId":"m","type":"', b"x", b'"}'),
    "userId of text": _of(b'{"type":"identify","messageId":"m","userId":"', b"x", b'"}'),
    "messageId of text": _of(b'{"type":"identify","userId":"u","messageId":"', b"x", b'"}'),
    "timestamp of digits": _of(_TRACK + b',"timestamp":"', b"1", b'"}'),
    "number of digits": _of(b"", b"9", b""),
    "messageId of digits": _of(b'{"type":"identify","userId":"u","messageId":', b"9", b"}"),
    "property of digits": _of(_TRACK + b',"properties":{"email":0.', b"9", b"}}"),
    "exponent of digits": _of(_TRACK + b',"properties":{"email":1e', b"9", b"}}"),
    "open lists": _of(b"", b"[", b""),
    "open objects": _of(b"", b'{"a":', b""),
    "deep lists": _nested(b"", b"[", b"", b"]", b""),
    "deep property": _nested(_TRACK + b',"properties":', b'{"a":', b"1", b"}", b"}"),
    "many deep lists": _listed(b"[", b"[" * 900 + b"]" * 900, b"]"),
    "blanks": _of(b"", b" ", b"."),
    "NULs": _of(b"", b"\0", b""),
    "no UTF-8": _of(b"", b"\xff", b""),
    "commas": _of(b"", b",", b""),
    "quotes": _of(b"", b'"', b""),
    "backslashes": _of(b'"', b"\\", b""),
}
"""Name -> what builds the line."""


def small_lines() -> Iterator[tuple[str, bytes]]:
    """Yield each line with its name, of 2,000 bytes."""
    return ((name, build(2_000)) for name, build in LINES.items())
