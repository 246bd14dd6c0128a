"""A stream that says it is a terminal, and what of its text is colour and what could do harm."""

from __future__ import annotations

import io
import re
import unicodedata

import pytest


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        """Say so."""
        return True


def terminal_of(monkeypatch: pytest.MonkeyPatch, columns: int) -> Terminal:
    """Return a terminal of so many columns, which knows colours."""
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm-256color")
    return Terminal()


def colourless(text: str) -> str:
    """Take away the sequences that only colour."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def is_harmless(text: str) -> bool:
    """Tell whether no character controls a terminal or the direction of writing."""
    bad = ("Cc", "Cf", "Cs", "Zl", "Zp")
    return all(sign == "\n" or unicodedata.category(sign) not in bad for sign in text)
