"""The mistakes of a settings file with their places; they are raised all at once, in the file's order.

A message never quotes a value: one mistyped line is enough to put a secret where a name is expected.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from msgspec import Struct

from voucherify_sync.errors import SettingsError

MAX_SHOWN = 50
_NAME = re.compile(r"[A-Za-z_][A-Za-z_.\- ]{0,39}|<<")


class Mistake(ValueError):
    """A value that a setting cannot have; the text says what it takes instead."""


class Place(Struct, frozen=True, order=True):
    """Where something stands in the file, both numbers 1-based."""

    line: int
    column: int


class Problems:
    """The mistakes found so far.

    Attributes:
        file: the file's name as the user gave it.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self._found: list[tuple[Place, str]] = []

    def add(self, place: Place, path: str, message: str) -> None:
        """Note a mistake of the setting at `path`; an empty path means the file as such."""
        self._found.append((place, f"{path}: {message}" if path else message))

    @property
    def are_many(self) -> bool:
        """Tell whether more would not be shown anyway, so that no time need go into their wording."""
        return len(self._found) > MAX_SHOWN

    def lines(self) -> list[str]:
        """Return one line a mistake; beyond `MAX_SHOWN` only how many more there are."""
        ordered = sorted(self._found, key=lambda problem: problem[0])
        shown = [
            _clean(f"{self.file}:{place.line}:{place.column}: {text}") for place, text in ordered[:MAX_SHOWN]
        ]
        if len(ordered) > MAX_SHOWN:
            shown.append(f"{_clean(self.file)}: and {len(ordered) - MAX_SHOWN} mistakes more")
        return shown

    def raise_any(self) -> None:
        """Raise SettingsError if there is a mistake."""
        raise_all([self])


def raise_all(files: Iterable[Problems]) -> None:
    """Raise one SettingsError for the mistakes of all files, if there is one."""
    lines = [line for problems in files for line in problems.lines()]
    if lines:
        raise SettingsError(lines, "`voucherify-sync init` writes a settings file with every setting.")


def shown(key: str) -> str:
    """Return a key for a message if it looks like a name: whatever else stands there may be a secret."""
    return key if _NAME.fullmatch(key) else "…"


def _clean(text: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
