"""Event names of the settings and of the command line: a name in, whether it is meant out.

Names that are left out are counted, to tell what may be meant by a wanted name that no event has.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Final

from msgspec import Struct

from voucherify_sync.mapping.tally import Counts

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
        globs = [".*".join(map(re.escape, name.split("*"))) for name in names if "*" in name]
        self._glob = re.compile("|".join(globs), re.DOTALL) if globs else None

    def __bool__(self) -> bool:
        return bool(self._exact) or self._glob is not None

    def matches(self, name: str) -> bool:
        """Tell whether the name is one of them."""
        return name in self._exact or (self._glob is not None and self._glob.fullmatch(name) is not None)


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

    def cut_left(self) -> Counts:
        """Return the counts of names that are not allowed, and begin anew."""
        left, self.left = self.left, Counts()
        return left

    def met(self) -> list[str]:
        """Return the wanted names that an event had."""
        return [name for name in self._wanted if name not in self._unmet and name not in self._unmet_globs]

    def merge(self, left: Counts, met: Iterable[str]) -> None:
        """Take over what others met."""
        self.left.merge(left)
        for name in met:
            self._unmet.pop(name, None)
            self._unmet_globs.pop(name, None)

    def near_misses(self) -> list[NearMiss]:
        """Return the wanted names that no event had so far."""
        by_folded = {name.casefold(): name for name in self.left.by_name}
        misses = []
        for wanted in (*self._unmet, *self._unmet_globs):
            near = get_close_matches(wanted.casefold().replace("*", ""), by_folded, n=3, cutoff=_CLOSE)
            misses.append(NearMiss(wanted, tuple(by_folded[folded] for folded in near)))
        return misses
