"""A stream that says it is a terminal, and what it would show without its colours."""

from __future__ import annotations

import io
import re


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        """Say so."""
        return True


def colourless(text: str) -> str:
    """Take away the sequences that only colour."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)
