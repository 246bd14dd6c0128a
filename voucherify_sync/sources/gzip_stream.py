"""Decompress a gzip stream in pieces of bounded size, whatever it holds.

Of a damaged stream all text before the damage is yielded, and then DamageError is raised.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from isal import isal_zlib

MAGIC = b"\x1f\x8b"
"""How every gzip member begins."""

STEP_BYTES = 64 * 1024
"""Bytes of output a step: memory stays flat on a gzip bomb, and a damaged pipe loses less than this."""

_IsalError: type[Exception] = isal_zlib.error  # type: ignore[assignment]  # its stub declares an instance
_GZIP_FORMAT = 31  # wbits: 16 for the gzip frame, 15 for the largest window
_RESCUE_STEP = 4 * 1024


def is_gzip(head: bytes) -> bool:
    """Tell by its first two bytes whether a file is gzip; its name does not matter."""
    return head.startswith(MAGIC)


class DamageError(Exception):
    """A source cannot be read further; the message says where and why."""


class CorruptError(DamageError):
    """Bytes of a source are wrong, so that what was read before may be wrong, too."""


Reread = Callable[[int], Iterator[bytes]]
"""The compressed bytes once more, from a byte offset on."""


def first_bytes(head: bytes, limit: int) -> bytes:
    """Return up to `limit` bytes of the text that a compressed head begins with; empty if it is damaged."""
    try:
        return bytes(isal_zlib.decompressobj(wbits=_GZIP_FORMAT).decompress(head, limit))
    except _IsalError:
        return b""


class Gunzip:
    """The decompressed pieces of a gzip stream of any number of members.

    Padding by zeros after a member is tolerated, as gzip itself does.

    Args:
        pieces: the stream, from its first byte on.
        reread: for streams that can seek. isal drops the output of a step that fails and holds back the last
            symbols of a stream that is cut: zlib, which reads the member again, gets them out. Without `reread`
            up to STEP_BYTES bytes before a damage are lost.
    """

    def __init__(self, pieces: Iterable[bytes], reread: Reread | None = None) -> None:
        self._pieces = iter(pieces)
        self._reread = reread
        self._input = b""  # taken from the pieces, not yet decompressed
        self._taken = 0

    def __iter__(self) -> Iterator[bytes]:
        """Yield non-empty pieces; raise DamageError where the stream cannot be read further."""
        while self._at_member():
            yield from self._member()

    def _fetch(self) -> bool:
        for piece in self._pieces:
            self._taken += len(piece)
            self._input += piece
            return True
        return False

    def _offset(self) -> int:
        return self._taken - len(self._input)

    def _at_member(self) -> bool:
        """Tell whether another member begins here; False at the end of the stream."""
        while True:
            self._input = self._input.lstrip(b"\0")
            if len(self._input) >= len(MAGIC) or not self._fetch():
                break
        if not self._input or self._input.startswith(MAGIC):
            return bool(self._input)
        if MAGIC.startswith(self._input):
            raise DamageError(f"cut off at byte {self._taken}, at the start of a gzip member")
        raise DamageError(f"bytes that are not gzip follow the compressed data at byte {self._offset()}")

    def _member(self) -> Iterator[bytes]:
        start, produced = self._offset(), 0
        try:
            for text in self._steps():
                produced += len(text)
                yield text
        except _IsalError as error:
            yield from self._rescue(start, produced)
            raise CorruptError(
                f"wrong bytes near byte {self._offset()} of the compressed data ({error})"
            ) from error
        except EOFError:
            yield from self._rescue(start, produced)
            raise DamageError(f"cut off at byte {self._taken}, inside the compressed data") from None

    def _steps(self) -> Iterator[bytes]:
        """Yield the text of one member; what follows the member is left in the input."""
        member = isal_zlib.decompressobj(wbits=_GZIP_FORMAT)
        full = False  # the last step filled its output: there may be more without further input
        while not member.eof:
            if not (full or self._input or self._fetch()):
                raise EOFError
            text = member.decompress(self._input, STEP_BYTES)
            self._input = member.unused_data if member.eof else member.unconsumed_tail
            full = len(text) == STEP_BYTES
            if text:
                yield text

    def _rescue(self, start: int, produced: int) -> Iterator[bytes]:
        """Yield what zlib still gets out of the member at `start` beyond the `produced` bytes."""
        if self._reread is None:
            return
        for text in _by_zlib(self._reread(start)):
            new = text[max(0, produced) :]
            produced -= len(text)
            if new:
                yield new


def _by_zlib(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the text of one member up to the very byte that cannot be decompressed."""
    member = zlib.decompressobj(_GZIP_FORMAT)
    for piece in pieces:
        for start in range(0, len(piece), _RESCUE_STEP):
            step = piece[start : start + _RESCUE_STEP]
            before = member.copy()
            try:
                yield member.decompress(step)
            except zlib.error:
                with suppress(zlib.error):
                    for at in range(len(step)):
                        yield before.decompress(step[at : at + 1])
                return
            if member.eof:
                return
