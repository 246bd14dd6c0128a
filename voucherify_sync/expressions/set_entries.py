"""Read the entries of `set` and `add`: destinations, each with a value, which `set` compiles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from msgspec import Struct

from voucherify_sync.expressions.directives import Expression, compile_value, is_directive
from voucherify_sync.paths import (
    FREE_OBJECTS,
    HOLDERS,
    FieldPath,
    Keys,
    PathError,
    parse_destination,
    path_of,
)

Parse = Callable[[str], FieldPath]
"""Parses a destination of a section; raises PathError."""
Note = Callable[[Keys, str], None]
"""Takes a mistake: the keys in `set` or `add` that lead to it, and what is wrong."""


class SetEntry(Struct, frozen=True, eq=False):
    """One value and its destination.

    Attributes:
        destination: where it goes.
        expression: makes it.
        keys: that lead to it in `set`.
    """

    destination: FieldPath
    expression: Expression
    keys: Keys


def set_entries(
    given: dict[str, Any], note: Note | None = None, parse: Parse = parse_destination
) -> list[SetEntry]:
    """Return the entries of `set` in their order. `customer: {email: …}` is the same as `customer.email: …`.

    Args:
        given: as the settings hold it.
        note: takes every mistake; without it the settings were checked before.
        parse: reads destinations of the section.
    """
    note = note or _ignore
    entries = []
    for keys, place, value in _places(given, note, parse, takes_directives=True):
        expression = compile_value(value, below(keys, note))
        if place is not None:
            entries.append(SetEntry(place, expression, keys))
    return entries


def constants(
    given: dict[str, Any], note: Note, parse: Parse = parse_destination
) -> Iterator[tuple[Keys, FieldPath, Any]]:
    """Yield the constants of `add`: the keys that lead to each, its destination, and the value.

    `customer: {email: …}` is the same as `customer.email: …`. What is a mistake is noted, and left out.
    """
    for keys, place, value in _places(given, note, parse, takes_directives=False):
        if place is not None:
            yield keys, place, value


def _places(
    given: dict[str, Any], note: Note, parse: Parse, *, takes_directives: bool
) -> Iterator[tuple[Keys, FieldPath | None, Any]]:
    """Yield the places that values fill; None stands for a place that no request has, which is noted."""
    for text, value in given.items():
        try:
            destination = _one_place(text, parse)
        except PathError as error:
            note((text,), str(error))
            yield (text,), None, value
        else:
            yield from _flat((text,), destination, value, note, parse, takes_directives)


def _one_place(text: str, parse: Parse) -> FieldPath:
    destination = parse(text)
    if destination.wildcard:
        raise PathError(f"{text!r}: a value fills one place here; leave the '.*' out")
    return destination


def _flat(
    keys: Keys, destination: FieldPath, value: Any, note: Note, parse: Parse, takes_directives: bool
) -> Iterator[tuple[Keys, FieldPath | None, Any]]:
    """Yield the places that a value fills; fields in braces are places of their own."""
    made = takes_directives and is_directive(value)
    if destination.keys not in HOLDERS or made or value is None:
        yield keys, destination, value
    elif not isinstance(value, dict):
        note(keys, f"{destination.text} takes an object{' or a directive that gives one' * takes_directives}")
    elif destination.keys in FREE_OBJECTS and not takes_directives:
        yield keys, destination, value
    else:
        for key, inside in value.items():
            try:
                place = parse(path_of(*destination.keys, key))
            except PathError as error:
                note((*keys, key), str(error))
                yield (*keys, key), None, inside
            else:
                yield from _flat((*keys, key), place, inside, note, parse, takes_directives)


def below(keys: Keys, note: Note) -> Note:
    """Return what takes the mistakes of a part, to which these keys lead."""
    return lambda inside, message: note((*keys, *inside), message)


def _ignore(_keys: Keys, _message: str) -> None:
    """Leave a mistake out that was reported when the settings were read."""
