"""Finds what may be meant by a misspelt name: the name and those that there are in, the similar ones out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from itertools import islice
from typing import Final

MAX_CANDIDATES: Final = 200
"""Names that one is compared with, at most: the first of those that are given."""

MAX_LENGTH: Final = 60
"""Characters of a name that are compared, its last ones: the time of a comparison grows with their square."""


def similar(
    wanted: str, names: Iterable[str], *, fold: Callable[[str], str], most: int, cutoff: float
) -> list[str]:
    """Return names that are similar to the wanted one, the most similar first, in a fraction of a second.

    Args:
        wanted: the name that is not among them.
        names: what there is, the likeliest first; of those that are folded alike the first counts.
        fold: takes away what people write differently, such as upper case.
        most: how many are returned at most.
        cutoff: how similar they must be, from 0 to 1, as `difflib` measures it.
    """
    by_folded: dict[str, str] = {}
    for name in islice(names, MAX_CANDIDATES):
        by_folded.setdefault(fold(name)[-MAX_LENGTH:], name)
    near = get_close_matches(fold(wanted)[-MAX_LENGTH:], by_folded, n=most, cutoff=cutoff)
    return [by_folded[folded] for folded in near]
