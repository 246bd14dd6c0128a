"""Event names of the settings and of the command line: a name in, whether it is meant out.

Names that are left out are counted, to tell what may be meant by a wanted name that no event has.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct

from voucherify_sync.mapping.stats import MAX_KEYS_OF_PART, Counts
from voucherify_sync.similar import similar
from voucherify_sync.stop import Stop

_CLOSE: Final = 0.8


class NearMiss(Struct, frozen=True):
    """A name of the settings that no event has.

    Attributes:
        wanted: the name as the settings have it.
        met: names of events that come near to it, the nearest first.
    """

    wanted: str
    met: tuple[str, ...]


class NamePattern:
    """Names as settings write them: exact and case-sensitive, and a ``*`` matches any run of characters."""

    def __init__(self, names: Iterable[str]) -> None:
        names = list(names)
        self._exact = frozenset(name for name in names if "*" not in name)
        self._globs = [name.split("*") for name in names if "*" in name]

    def __bool__(self) -> bool:
        return bool(self._exact or self._globs)

    def matches(self, name: str) -> bool:
        """Tell whether the name is one of them; the time grows with the length of the name, and no faster."""
        return name in self._exact or any(_consists_of(parts, name) for parts in self._globs)


def _consists_of(parts: Sequence[str], name: str) -> bool:
    """Tell whether a name is made of these parts, in their order, with any text between them.

    Each part is looked for behind the one before it, and its first place is the best one: it leaves most room for the
    others. So no place is tried twice, as a regular expression would do.
    """
    first, *middle, last = parts
    at, end = len(first), len(name) - len(last)
    if at > end or not (name.startswith(first) and name.endswith(last)):
        return False
    for part in middle:
        found = name.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True


class MetNames:
    """The names of events beside the names that the settings allow.

    Attributes:
        left: names that are not allowed, counted.
    """

    def __init__(self, wanted: Sequence[str]) -> None:
        self.left = Counts()
        self._wanted = wanted
        self._unmet = dict.fromkeys(name for name in wanted if "*" not in name)
        self._unmet_globs = {name: NamePattern([name]) for name in wanted if "*" in name}

    def take(self, name: str) -> None:
        """Note an allowed name."""
        self._unmet.pop(name, None)
        for wanted, pattern in list(self._unmet_globs.items()):
            if pattern.matches(name):
                del self._unmet_globs[wanted]

    def leave(self, name: str) -> None:
        """Count a name that is not allowed."""
        self.left.add(name)

    def cut(self) -> tuple[Counts, list[str]]:
        """Return the names that are not allowed, counted since the last time, and the wanted ones that were met."""
        left, self.left = self.left, Counts(most=MAX_KEYS_OF_PART)
        return left, [
            name for name in self._wanted if name not in self._unmet and name not in self._unmet_globs
        ]

    def merge(self, left: Counts, met: Iterable[str]) -> None:
        """Take over what was met in a part of the input."""
        self.left.merge(left)
        for name in met:
            self._unmet.pop(name, None)
            self._unmet_globs.pop(name, None)

    def near_misses(self, stop: Stop | None = None) -> list[NearMiss]:
        """Return the wanted names that no event had so far; once the run stops, without what comes near to them."""
        names = sorted(self.left.by_name, key=lambda name: -self.left.by_name[name])
        misses = []
        for wanted in (*self._unmet, *self._unmet_globs):
            is_over = stop is not None and stop.requested
            text = wanted.replace("*", "")
            near = [] if is_over else similar(text, names, fold=str.casefold, most=3, cutoff=_CLOSE)
            misses.append(NearMiss(wanted, tuple(near)))
        return misses
