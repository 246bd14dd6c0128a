"""What the rows of a mapping take of an event's traits or properties: rows in, a tree of keys out.

By it, what they leave can be carried or counted without looking at the rows again.
"""

from __future__ import annotations

from collections.abc import Sequence

from voucherify_sync.mapping.places import IDS
from voucherify_sync.mapping.rows import Row
from voucherify_sync.model import Json
from voucherify_sync.paths import FIELDS_OF, FieldPath, Keys

Taken = dict[str, "Taken | None"]
"""Keys of an object that rows take: None for the whole value, else which keys of it."""


def taken_of(root: str, rows: Sequence[Row]) -> Taken | None:
    """Return what the rows take of the object ``root`` of an event; None if they take whatever is there."""
    tree: Taken = {}
    for row in rows:
        for source in (row.source, row.instead):
            if source is None or source.keys[0] != root:
                continue
            inside = _taken_at(row.destination.keys)
            for keys in _spellings(source):
                if not keys:
                    if inside is None:
                        return None
                    _unite(tree, inside)
                else:
                    _take(tree, keys, inside)
    return tree


def lost_inside(path: str, value: Json, taken: Taken) -> list[str]:
    """Return the paths of values that no row takes, inside an object of which rows take some keys."""
    lost = []
    for key, inside in value.items():
        deeper = taken.get(key, {})
        if deeper is None or inside is None:
            continue
        if deeper and isinstance(inside, dict):
            lost += lost_inside(f"{path}.{key}", inside, deeper)
        else:
            lost.append(f"{path}.{key}")
    return lost


def _taken_at(destination: Keys) -> Taken | None:
    """Return which keys an object row takes to a destination; None where the whole value goes there."""
    known = FIELDS_OF.get(destination)
    if known is None:
        return None
    return {name: _taken_at((*destination, name)) for name in known if name not in IDS}


def _spellings(source: FieldPath) -> list[list[str]]:
    """Return how the keys below the first may lie in the event: split, or from some level on as one.

    A list is taken whole, whichever of its items is read.
    """
    spellings = []
    split: list[str] = []
    for step in source.steps[1:]:
        if isinstance(step.key, int):
            break
        if step.whole is not None:
            spellings.append([*split, step.whole])
        split.append(step.key)
    return [*spellings, split]


def _take(tree: Taken, keys: list[str], inside: Taken | None) -> None:
    for key in keys[:-1]:
        below = tree.setdefault(key, {})
        if below is None:
            return
        tree = below
    last = keys[-1]
    if inside is None:
        tree[last] = None
        return
    below = tree.setdefault(last, {})
    if below is not None:
        _unite(below, inside)


def _unite(tree: Taken, other: Taken) -> None:
    for key, inside in other.items():
        _take(tree, [key], inside)
