"""Prepares the standard streams, so that one that is closed or fails ends no command with a traceback.

A lost stderr only silences the command. A lost stdout ends it, in one of two ways that `main` turns into an exit code:
a reader that has seen enough (`| head`) is no mistake, a full disk is one. Neither changes what is sent and booked.
"""

from __future__ import annotations

import errno
import io
import os
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

from voucherify_sync.text import clean_lines

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_HANG = 4
_WORD = re.compile(r" *(?:[^ `]*`[^`]*`[^ `]*|voucherify-sync .*|[^ ]+)")
"""A word with the blanks before it. A command, in backquotes or to the end of its line, is one word."""

_READER_GONE = {errno.EPIPE, errno.ECONNRESET, errno.ESHUTDOWN}


class StdoutLost(Exception):
    """Data cannot be written to stdout. It is none of the errors that a run handles, so it goes straight up to `main`.

    Attributes:
        has_no_reader: stdout is a pipe, and its reader has gone.
        reason: the message of the operating system.
    """

    def __init__(self, error: OSError) -> None:
        self.has_no_reader = error.errno in _READER_GONE
        self.reason = error.strerror
        super().__init__(self.reason)


def prepare_streams() -> None:
    """Open the standard streams that are closed on /dev/null, and let none of them fail with an OSError from now on.

    Call it before any file is opened: a file that got the number of a closed stream would be given its text.

    From now on writing to `sys.stdout` raises StdoutLost at the first failure, and writing to `sys.stderr` never fails.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one
            os.set_inheritable(opened, True)
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - it is for the whole process
    sys.stdout = _text(sys.stdout, _Output(1, on_loss=_end_the_command))
    sys.stderr = _text(sys.stderr, _Output(2, on_loss=lambda _: None), line_buffering=True)


def silence_stderr() -> None:
    """Send stderr to /dev/null from now on."""
    descriptor = os.open(os.devnull, os.O_WRONLY)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def write_the_rest() -> None:
    """Flush the data that a failed command has left in the buffer of stdout; a second failure does not count."""
    with suppress(StdoutLost):
        sys.stdout.flush()


def tell(*sentences: str) -> None:
    """Write sentences on stderr, each on lines of its own; what they quote is escaped where it does not print.

    A terminal would break a long line within words, so that is done here.
    """
    columns = _columns(sys.stderr)
    for sentence in sentences:
        for line in clean_lines(sentence).split("\n"):
            further = len(line) - len(line.lstrip(" ")) + _HANG
            parts = broken_at_words(line, columns, " " * min(further, columns // 2)) if columns else [line]
            sys.stderr.write("\n".join(parts) + "\n")
    sys.stderr.flush()


def broken_at_words(line: str, columns: int, lead: str) -> list[str]:
    """Break a line that is too long between words, but not within a command, which may be copied.

    Args:
        line: of any length.
        columns: what fits. A longer word or command has a line of its own, for the terminal to break.
        lead: what each line but the first begins with.
    """
    parts = [""]
    for word in _WORD.findall(line) if len(line) > columns else [line]:
        if not parts[-1] or len(parts[-1]) + len(word) <= columns:
            parts[-1] += word
        else:
            parts.append(lead + word.lstrip(" "))
    return parts


def _columns(stream: TextIO) -> int:
    """Return the width of a terminal; 0 for what is none, or has no known one."""
    if not stream.isatty():
        return 0
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal():
        return int(given)
    try:
        return os.get_terminal_size(stream.fileno()).columns
    except OSError:  # a stream without a descriptor, too
        return 0


def arrow(stream: TextIO) -> str:
    """Return an arrow that the stream can show."""
    try:
        "→".encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return "->"
    return "→"


class _Output(io.FileIO):
    """A standard stream for writing, which reports its first failure and discards everything afterwards.

    Args:
        descriptor: 1 or 2.
        on_loss: called with the first error; it may raise.
    """

    def __init__(self, descriptor: int, on_loss: Callable[[OSError], None]) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._on_loss = on_loss
        self._is_lost = False

    def write(self, data: ReadableBuffer, /) -> int:
        """Write some of the data; return the number of bytes that were written or discarded."""
        if not self._is_lost:
            try:
                return self._write_some(data)
            except OSError as error:
                self._is_lost = True
                self._on_loss(error)
        return memoryview(data).nbytes

    def _write_some(self, data: ReadableBuffer) -> int:
        while (written := super().write(data)) is None:  # another process has made the stream non-blocking
            import select

            select.select([], [self], [])
        return written


def _text(before: TextIO | None, raw: _Output, *, line_buffering: bool = False) -> TextIO:
    """Return a text stream in the encoding of the one before; characters that it does not know become escapes."""
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=before.encoding if before else "utf-8",
        errors="backslashreplace",
        line_buffering=line_buffering or raw.isatty(),
    )


def _end_the_command(error: OSError) -> None:
    raise StdoutLost(error) from None
