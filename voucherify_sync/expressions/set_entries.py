"""Read the entries of `set`: destinations, each with a value that is compiled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from msgspec import Struct

from voucherify_sync.expressions.directives import Expression, compile_value, is_directive
from voucherify_sync.paths import (
    FIELDS_OF,
    FREE_OBJECTS,
    FieldPath,
    Keys,
    PathError,
    parse_destination,
    path_of,
)

HOLDERS: Final = frozenset((*FIELDS_OF, *FREE_OBJECTS))
"""Destinations that hold an object: below these `set` may name fields in braces as well as with dots."""

Note = Callable[[Keys, str], None]
"""Takes a mistake: the keys in `set` that lead to it, and what is wrong."""


class SetEntry(Struct, frozen=True, eq=False):
    """One value and its destination.

    Attributes:
        destination: where it goes.
        expression: makes it.
    """

    destination: FieldPath
    expression: Expression


def set_entries(given: dict[str, Any], note: Note | None = None) -> list[SetEntry]:
    """Return the entries of `set` in their order. `customer: {email: …}` is the same as `customer.email: …`.

    Args:
        given: as the settings hold it.
        note: takes every mistake; without it the settings were checked before.
    """
    entries = []
    for text, value in given.items():
        try:
            destination = _destination(text)
        except PathError as error:
            if note is not None:
                note((text,), str(error))
            continue
        for keys, place, inside in _flat((text,), destination, value, note or _ignore):
            expression = compile_value(inside, _below(keys, note or _ignore))
            entries.append(SetEntry(place, expression))
    return entries


def _destination(text: str) -> FieldPath:
    destination = parse_destination(text)
    if destination.wildcard:
        raise PathError(f"{text!r}: an entry of set fills one place; leave the '.*' out")
    return destination


def _flat(
    keys: Keys, destination: FieldPath, value: Any, note: Note
) -> Iterator[tuple[Keys, FieldPath, Any]]:
    """Yield the places that a value fills; fields in braces are places of their own."""
    if destination.keys not in HOLDERS or is_directive(value):
        yield keys, destination, value
        return
    if not isinstance(value, dict):
        if value is None:
            yield keys, destination, value
        else:
            note(keys, f"{destination.text} takes an object or a directive that gives one")
        return
    for key, inside in value.items():
        try:
            below = parse_destination(path_of(*destination.keys, key))
        except PathError as error:
            note((*keys, key), str(error))
        else:
            yield from _flat((*keys, key), below, inside, note)


def _below(keys: Keys, note: Note) -> Note:
    return lambda inside, message: note((*keys, *inside), message)


def _ignore(_keys: Keys, _message: str) -> None:
    """Leave a mistake out that was reported when the settings were read."""
