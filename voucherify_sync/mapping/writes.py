"""What rows write into a request: single values in their order in, which of them a later one replaces out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from voucherify_sync.mapping.fields import NOT_AN_OBJECT, NOT_TEXT
from voucherify_sync.mapping.places import IDS
from voucherify_sync.mapping.rows import Row
from voucherify_sync.paths import FIELDS_OF, FREE_OBJECTS, MISSING, Keys, parse_destination

NO_FIELD: Final = "no_field"

MAX_DEPTH: Final = 32
"""Keys of a path at most; an object that lies deeper counts as one value."""


class Write(Struct, frozen=True):
    """One value that goes to one destination.

    Attributes:
        row: the number of the row, in the order in which rows are applied.
        source: the keys of the value in the event; none for a constant.
        place: the destination.
        value: as it came.
        refused: why it is not even written; None if it is.
    """

    row: int
    source: Keys
    place: Keys
    value: Any
    refused: str | None = None


def overwritten(writes: Sequence[Write]) -> list[bool]:
    """Tell of each write whether a later row puts something in its place, above it or below it.

    Values of one row stand beside each other. Where a text lies, an object replaces it, even an empty one.
    """
    last_at: dict[Keys, int] = {}
    last_below: dict[Keys, int] = {}
    for write in writes:
        if write.refused is None:
            is_value = write.value != {}
            if is_value:
                last_at[write.place] = write.row
            for length in range(1, len(write.place) + (0 if is_value else 1)):
                last_below[write.place[:length]] = write.row
    return [write.refused is None and _is_replaced(write, last_at, last_below) for write in writes]


def _is_replaced(write: Write, last_at: dict[Keys, int], last_below: dict[Keys, int]) -> bool:
    place = write.place
    if max(last_at.get(place, -1), last_below.get(place, -1)) > write.row:
        return True
    return any(last_at.get(place[:length], -1) > write.row for length in range(1, len(place)))


def writes_of(number: int, row: Row, source: Keys, value: Any, *, keep_nulls: bool) -> Iterator[Write]:
    """Yield what a row writes where, value by value, in the way of ``places.writer``.

    Args:
        number: of the row, in the order in which rows are applied.
        row: which found the value.
        source: the keys at which it lies.
        value: what was found.
        keep_nulls: a null erases a field.
    """
    place = row.destination.keys
    if row.source.wildcard and isinstance(value, dict) and not keep_nulls:
        value = {key: inside for key, inside in value.items() if inside is not None}
    if row.source.wildcard and place not in FIELDS_OF and not isinstance(value, dict) and value is not None:
        yield Write(number, source, place, value, NOT_AN_OBJECT)
    else:
        yield from _writes(number, source, place, value, keep_nulls=keep_nulls)


def _writes(number: int, keys: Keys, place: Keys, value: Any, *, keep_nulls: bool) -> Iterator[Write]:
    if place in FIELDS_OF and isinstance(value, dict):
        for key, inside in value.items():
            below = (*place, key)
            if key not in FIELDS_OF[place] or key in IDS:
                yield from _refused(number, (*keys, key), below, inside, NO_FIELD)
            elif inside is not None or keep_nulls:
                yield from _writes(number, (*keys, key), below, inside, keep_nulls=keep_nulls)
    elif _is_text(place):
        yield Write(number, keys, place, value)
        if isinstance(value, dict):
            yield from _refused(number, keys, place, value, NOT_TEXT)
    elif (place in FIELDS_OF or place in FREE_OBJECTS) and not isinstance(value, dict) and value is not None:
        yield Write(number, keys, place, value, NOT_AN_OBJECT)
    else:
        for own, inside in values_below(keys, value, with_empty=True):
            yield Write(number, own, (*place, *own[len(keys) :]), inside)


def _is_text(place: Keys) -> bool:
    is_free = any(place[: len(free)] == free for free in FREE_OBJECTS)
    return place not in FIELDS_OF and not is_free


def _refused(number: int, keys: Keys, place: Keys, value: Any, reason: str) -> Iterator[Write]:
    for own, inside in values_below(keys, value):
        yield Write(number, own, place, inside, reason)


def constant_values(added: Mapping[str, Any], *, keep_nulls: bool) -> Iterator[tuple[Keys, Any]]:
    """Yield the values that the settings add, each with its destination."""
    for text, value in added.items():
        if value is not None or keep_nulls:
            yield from values_below(parse_destination(text).keys, value)


def located(value: Any, keys: Keys) -> Any:
    """Return what lies at keys of objects, or MISSING."""
    for key in keys:
        if not isinstance(value, dict) or key not in value:
            return MISSING
        value = value[key]
    return value


def values_below(keys: Keys, value: Any, *, with_empty: bool = False) -> Iterator[tuple[Keys, Any]]:
    """Yield every value below the keys with its own keys; a list is one value, an empty object holds none."""
    if isinstance(value, dict) and len(keys) < MAX_DEPTH and (value or not with_empty):
        for key, inside in value.items():
            yield from values_below((*keys, key), inside, with_empty=with_empty)
    elif value is not MISSING:
        yield keys, value
