"""Struct types that hold just what is needed of an event: paths of keys in, a type for the JSON decoder out.

A decoder of such a type skips everything else, which is most of an event; what it cannot take raises ValidationError.
"""

from __future__ import annotations

from enum import IntEnum
from keyword import iskeyword
from typing import Annotated, Any, Final

from msgspec import Meta, Struct, defstruct

from voucherify_sync.paths import Keys


class Taken(IntEnum):
    """Which values of a key are taken, the strictest last."""

    ANYTHING = 0
    """Any value; a null is as if it were not there."""
    TEXT = 1
    """Text; a null is as if it were not there."""
    GIVEN_TEXT = 2
    """Text, and no null."""
    NOTHING = 3
    """Only a null."""
    NEVER = 4
    """Not even a null: the key must not be there."""


_TYPES: Final[dict[Taken, Any]] = {
    Taken.ANYTHING: Any,
    Taken.TEXT: str | None,
    Taken.GIVEN_TEXT: str,
    Taken.NOTHING: None,
    Taken.NEVER: Annotated[str, Meta(min_length=1, max_length=0)],
}


class Needs:
    """What is needed of one JSON object. Of two askings for one value the stricter holds.

    Attributes:
        values: by key, which values are taken.
        objects: by key, what is needed of the object there.
        made: the type, once it is made.
    """

    def __init__(self) -> None:
        self.values: dict[str, Taken] = {}
        self.objects: dict[str, Needs] = {}
        self.made: type[Struct] | None = None

    def value(self, keys: Keys, taken: Taken) -> None:
        """Ask for the value at a path. A value is either taken as it is or looked into: asked for both, for neither."""
        *parents, last = map(str, keys)
        place = self
        for key in parents:
            if key in place.values:
                place.values[key] = Taken.NEVER
                return
            place = place.objects.setdefault(key, Needs())
        if place.objects.pop(last, None):
            taken = Taken.NEVER
        place.values[last] = max(taken, place.values.get(last, Taken.ANYTHING))

    def path(self, keys: Keys) -> list[str] | None:
        """Return the attributes that lead to a value from the outermost struct; None where nothing is taken."""
        place, attributes = self, []
        *parents, last = map(str, keys)
        for key in parents:
            if key not in place.objects:
                return None
            attributes.append(place.attribute(key))
            place = place.objects[key]
        if place.values.get(last, Taken.NEVER) > Taken.GIVEN_TEXT:
            return None
        return [*attributes, place.attribute(last)]

    def nothing_at(self, key: str) -> Struct | None:
        """Return the object at a key that has none of what is needed, once the type is made."""
        inner = self.objects.get(key)
        return inner.made() if inner is not None and inner.made is not None else None

    def struct(self) -> type[Struct]:
        """Make the type; an attribute is None where nothing is."""
        fields: list[tuple[str, Any, None]] = []
        names = {}
        for key in self._keys():
            inner = self.objects.get(key)
            attribute = self.attribute(key)
            fields.append(
                (attribute, _TYPES[self.values[key]] if inner is None else inner.struct() | None, None)
            )
            names[attribute] = key
        self.made = defstruct("Narrow", fields, rename=names, frozen=True, gc=False)
        return self.made

    def _keys(self) -> list[str]:
        """Return the keys in the order of Segment's own archives, in which they are found fastest."""
        return sorted({*self.values, *self.objects})

    def attribute(self, key: str) -> str:
        """Return the key itself where it can be the name of an attribute."""
        if key.isascii() and key.isidentifier() and not iskeyword(key) and not key.startswith(("_", "key_")):
            return key
        return f"key_{self._keys().index(key)}"
