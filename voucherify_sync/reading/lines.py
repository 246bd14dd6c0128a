"""Cut text into whole lines: pieces in, Blocks out. Numbers are exact; what is too long is never buffered."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO

from voucherify_sync.model import Block

MAX_LINE = 10 * 1024 * 1024
"""Bytes; a longer line is one invalid record."""

KEPT_OF_LONG = 64 * 1024
"""Bytes that are kept of a line that is too long."""

_BOM = b"\xef\xbb\xbf"


class Lines:
    """The lines of one source, split at line feeds only, without one trailing CR each and without a BOM.

    Attributes:
        count: lines handed out so far.
    """

    def __init__(self, source: str, *, max_line: int = MAX_LINE, kept_of_long: int = KEPT_OF_LONG) -> None:
        self.count = 0
        self._source = source
        self._max_line = max_line
        self._kept_of_long = kept_of_long
        self._open: list[bytes] = []  # pieces of the line whose end has not come yet
        self._length = 0  # of that line so far, in bytes
        self._at_start = True
        self._has_cr = False

    def feed(self, piece: bytes) -> Iterator[Block]:
        """Yield the lines that this piece completes; no piece may be longer than `max_line`."""
        if self._at_start:
            piece = self._without_bom(piece)
        self._has_cr = self._has_cr or b"\r" in piece
        end = piece.rfind(b"\n") + 1
        lines = [line[:-1] for line in BytesIO(piece[:end])]  # twice as fast as split
        rest = piece[end:]
        if lines and self._length:
            self._keep(lines[0])
            if self._length > self._max_line:
                yield self._truncated()
                del lines[0]
            else:
                lines[0] = self._joined()
        if lines:
            yield self._block(lines)
        if rest:
            self._keep(rest)

    def finish(self) -> Iterator[Block]:
        """Yield the last line, if the source did not end with a line end."""
        if self._length > self._max_line:
            yield self._truncated()
        elif self._length:
            yield self._block([self._joined()])

    @property
    def unfinished(self) -> int:
        """The length in bytes of the line whose end has not come yet."""
        return self._length

    def _without_bom(self, piece: bytes) -> bytes:
        """Take the BOM off, which may come in several pieces."""
        head = b"".join(self._open) + piece
        self._open, self._length = [], 0
        if len(head) < len(_BOM) and _BOM.startswith(head):
            return head
        self._at_start = False
        return head.removeprefix(_BOM)

    def _keep(self, piece: bytes) -> None:
        """Remember a piece of a line; of a line that gets too long only its head."""
        was_short = self._length <= self._max_line
        self._length += len(piece)
        if self._length <= self._max_line:
            self._open.append(piece)
        elif was_short:
            self._open = [b"".join([*self._open, piece])[: self._kept_of_long]]

    def _joined(self) -> bytes:
        line = b"".join(self._open)
        self._open, self._length = [], 0
        return line

    def _truncated(self) -> Block:
        self.count += 1
        return Block(self._source, self.count, [self._joined()], truncated=True)

    def _block(self, lines: list[bytes]) -> Block:
        first_line = self.count + 1
        self.count += len(lines)
        if self._has_cr:
            lines = [line.removesuffix(b"\r") for line in lines]
        return Block(self._source, first_line, lines)
