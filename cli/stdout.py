"""Standard output where data goes: what its encoding or its reader cannot take does not end the command."""

from __future__ import annotations

import os
import sys
from typing import TextIO


def tolerant_stdout() -> TextIO:
    """Return stdout, which from now on shows an escape for what its encoding does not know."""
    stream = sys.stdout
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="backslashreplace")
    return stream


def arrow(stream: TextIO) -> str:
    """Return an arrow that the stream can show."""
    try:
        "→".encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return "->"
    return "→"


def leave_closed_stdout() -> None:
    """Let nobody complain, at exit, of a reader that has seen enough (`| head`)."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
