"""Parse the paths of the mapping, and read and write JSON objects by them.

A source path may name any place in an event, a destination path only a place that a Voucherify request has.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from functools import lru_cache
from math import isfinite
from typing import Any, Final

from msgspec import UNSET, Struct

from voucherify_sync.fields import (
    ADDRESS_ALIASES,
    ADDRESS_FIELDS,
    CUSTOMER_ALIASES,
    CUSTOMER_FIELDS,
    ORDER_VALUES,
)
from voucherify_sync.text import folded_key

_PLAIN_KEY: Final = re.compile(r"[^.\[\]\"'\\*\s]+")

Keys = tuple[str | int, ...]
"""Keys of objects, and 0-based indexes into lists."""

_PARTS: Final = ("event", "customer", "metadata", "referral", "loyalty")
FIELDS_OF: Final[dict[Keys, tuple[str, ...]]] = {
    ("customer",): CUSTOMER_FIELDS,
    ("customer", "address"): ADDRESS_FIELDS,
    ("referral",): ("code", "referrer_id"),
    ("loyalty",): ("code",),
}
"""The places that hold an object with known fields."""

FREE_OBJECTS: Final[tuple[Keys, ...]] = (("metadata",), ("customer", "metadata"))
"""The places where any key may stand, at any depth."""

HOLDERS: Final = frozenset((*FIELDS_OF, *FREE_OBJECTS, ("referrer",)))
"""Destinations that hold an object: below these `set` and `add` may name fields in braces as well as with dots."""

_ORDER_HOLDERS: Final = ("customer", "referrer")
_ORDER_PARTS: Final = (*ORDER_VALUES, *(f"{holder}.source_id" for holder in _ORDER_HOLDERS), "metadata")

_ALIASES: Final[dict[Keys, dict[str, str]]] = {
    ("customer",): CUSTOMER_ALIASES,
    ("customer", "address"): ADDRESS_ALIASES,
}
_TOKEN: Final = re.compile(
    r"""(?P<dot>\.?)(?P<name>[^.\[\]]+)|\[(?P<index>\d{1,9})\]|\[(?P<quoted>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')\]"""
)


_EVENT: Final = re.compile(r"\$(?=[.\[])\.?")
"""The `$.` of JSONPath, which stands for the event or the request itself."""


class PathError(ValueError):
    """A text that is no path, or a destination that no request has. The message is a sentence for people."""


MISSING: Final = UNSET
"""What `read` returns where a path leads to nothing: no JSON value. A null that is there is None."""


class PathStep(Struct, frozen=True):
    """One level of a path.

    Attributes:
        key: the key of an object, or the 0-based index into a list.
        dotted_key: this and all names that follow by dots, as one key, tried first; None for a single name.
        after: the number of the step that follows the dotted key.
    """

    key: str | int
    dotted_key: str | None
    after: int


class FieldPath(Struct, frozen=True):
    """A parsed path.

    Attributes:
        text: as it was written.
        keys: from the outside in, when nothing is read as one key.
        steps: the same, for reading.
        wildcard: it ended in ``.*``: not the object itself, but each of its keys.
    """

    text: str
    keys: Keys
    steps: tuple[PathStep, ...]
    wildcard: bool = False

    @property
    def holds_an_object(self) -> bool:
        """Tell whether a destination is a place where an object, not a text, belongs."""
        return self.keys in FIELDS_OF or is_in_free_object(self.keys)


def is_in_free_object(place: Keys) -> bool:
    """Tell whether a destination is an object where any key may stand, or lies in one."""
    return place[:1] in FREE_OBJECTS or place[:2] in FREE_OBJECTS


def holds_a_non_number(value: object) -> bool:
    """Tell whether NaN, Infinity or a number out of range lies anywhere in a JSON value."""
    if isinstance(value, float):
        return not isfinite(value)
    if isinstance(value, dict):
        return any(map(holds_a_non_number, value.values()))
    if isinstance(value, list):
        return any(map(holds_a_non_number, value))
    return False


@lru_cache(maxsize=1_024)  # each entry of track.events may have the rows of track
def parse_source(text: str) -> FieldPath:
    """Parse where in an event a value is: ``traits.address.city``, ``traits["odd key"]``, ``traits.*``.

    A leading ``$.`` is no part of the path.

    Raises:
        PathError: the text is no path.
    """
    wildcard = text.endswith(".*")
    body = (
        _EVENT.sub("", text.removesuffix(".*"), count=1) if text.startswith("$") else text.removesuffix(".*")
    )
    if not body.strip():
        raise PathError(f"{text!r} names no field")
    tokens = _tokens(text, body)
    steps = []
    for number, (key, is_name) in enumerate(tokens):
        end = number + 1
        if is_name:
            while end < len(tokens) and tokens[end][1]:
                end += 1
        names = [str(name) for name, _ in tokens[number:end]]
        steps.append(PathStep(key, ".".join(names) if len(names) > 1 else None, end))
    return FieldPath(text, tuple(key for key, _ in tokens), tuple(steps), wildcard)


def parse_destination(text: str) -> FieldPath:
    """Parse where in a request a value goes, such as ``customer.email`` or ``metadata.occurred_at``."""
    path = parse_source(text)
    _check_keys(path)
    if path.wildcard and not path.holds_an_object:
        raise PathError(
            f"{text!r}: {_shown(path.keys)} is a text field, so nothing goes below it; leave the '.*' out"
        )
    return path


def parse_order_destination(text: str) -> FieldPath:
    """Parse where in an order a value goes, such as ``amount``, ``customer.source_id`` or ``metadata.coupon``.

    ``customer`` and ``referrer`` alone, which hold nothing but that id, are paths, too: they hold `set` entries.
    """
    path = parse_source(text)
    part, *below = path.keys
    if any(isinstance(key, int) for key in path.keys):
        raise PathError(f"{text!r}: a list cannot be filled by [number]; set items to a list")
    if part == "metadata" or (part in _ORDER_HOLDERS and below in ([], ["source_id"]) and not path.wildcard):
        return path
    if part in ORDER_VALUES and not below and not path.wildcard:
        return path
    if part in _ORDER_HOLDERS:
        raise PathError(
            f"{text!r}: an order names its {part} by {part}.source_id only, and sends nothing else of it"
        )
    if part in ORDER_VALUES:
        raise PathError(f"{text!r}: {part} is one value, so nothing goes below it")
    by_folded = {folded_key(name): name for name in _ORDER_PARTS} | {
        "id": "source_id",
        "orderid": "source_id",
    }
    meant = get_close_matches(folded_key(str(part)), by_folded, n=1)
    told = f"{text!r}: an order has no {part!r}"
    if meant:
        raise PathError(f"{told}; did you mean {by_folded[meant[0]]!r}?")
    raise PathError(f"{told}, only {', '.join(_ORDER_PARTS)}; other values go to 'metadata.{part}'")


def destination_parser(section: str) -> Callable[[str], FieldPath]:
    """Return what parses destinations of a section of the settings."""
    return parse_order_destination if section == "orders" else parse_destination


def check_row(source: FieldPath, destination: FieldPath) -> None:
    """Raise PathError when one of the two is a wildcard and the other cannot take part in it."""
    if source.wildcard and not destination.holds_an_object:
        raise PathError(
            f"{source.text!r} stands for many values and {destination.text!r} holds only one; "
            "let the destination end in '.*', such as 'customer.metadata.*'"
        )
    if destination.wildcard and not source.wildcard:
        raise PathError(
            f"{destination.text!r} needs a source that ends in '.*', too; did you mean '{source.text}.*'?"
        )


def stars_in_names(text: str) -> bool:
    """Tell whether a name of a path holds a star, such as ``traits.a*``: it is a character of the key there."""
    names = (match["name"] for match in _TOKEN.finditer(text.removesuffix(".*")))
    return any("*" in name for name in names if name)


def read(value: object, path: FieldPath, keys: list[str | int] | None = None) -> object:
    """Return what lies at the path, or MISSING. Of a wildcard, the object whose keys it stands for.

    Args:
        value: a JSON value.
        path: where to look.
        keys: gets the keys on the way to the value; one of them may hold dots.
    """
    steps = path.steps
    number = 0
    while number < len(steps):
        step = steps[number]
        key = step.key
        number += 1
        if isinstance(value, dict):
            if step.dotted_key is not None and step.dotted_key in value:
                key = step.dotted_key
                number = step.after
            elif key not in value:
                return MISSING
            value = value[key]
        elif isinstance(value, list) and isinstance(key, int) and key < len(value):
            value = value[key]
        else:
            return MISSING
        if keys is not None:
            keys.append(key)
    return value


def outside_lists(keys: Keys) -> Keys:
    """Return the keys up to the first index: those of the list itself, where they lead into one."""
    return keys[: next((depth for depth, key in enumerate(keys) if isinstance(key, int)), len(keys))]


def object_at(target: dict[Any, Any], keys: Sequence[str | int]) -> dict[Any, Any]:
    """Return the object that lies at the keys of a destination, made where there is none."""
    for key in keys:
        below = target.get(key)
        if not isinstance(below, dict):
            below = target[key] = {}
        target = below
    return target


def _tokens(text: str, body: str) -> list[tuple[str | int, bool]]:
    """Split into keys, each with whether it is a plain name, which dots may join to its neighbours."""
    tokens: list[tuple[str | int, bool]] = []
    at = 0
    while at < len(body):
        match = _TOKEN.match(body, at)
        if match is None or (match["name"] and bool(match["dot"]) != bool(tokens)):
            raise PathError(f"{text!r} is no path: {_fault(body, at)}")
        if match["name"]:
            if not match["name"].strip("*"):
                raise PathError(f"{text!r}: a '*' may only stand at the end, as in 'traits.*'")
            tokens.append((match["name"], True))
        elif match["index"]:
            tokens.append((int(match["index"]), False))
        else:
            tokens.append((re.sub(r"\\(.)", r"\1", match["quoted"][1:-1]), False))
        at = match.end()
    return tokens


def _fault(body: str, at: int) -> str:
    if body[at] == ".":
        return "there is an empty name beside a dot"
    if body[at] in "[]":
        return 'in brackets goes a number or a quoted key, such as [0] or ["odd key"]'
    return "after a bracket comes a dot or another bracket"


def _check_keys(path: FieldPath) -> None:
    """Walk the keys through the places that a request has."""
    keys = path.keys
    if any(isinstance(key, int) for key in keys):
        raise PathError(f"{path.text!r}: a list cannot be filled by [number]; name a field")
    if keys[0] not in _PARTS:
        raise PathError(_unknown(path, (), _PARTS))
    for depth in range(1, len(keys)):
        place = keys[:depth]
        if place in FREE_OBJECTS:
            return
        if place not in FIELDS_OF:
            raise PathError(f"{path.text!r}: {_shown(place)} is a text field, so nothing goes below it")
        if keys[depth] not in FIELDS_OF[place]:
            raise PathError(_unknown(path, place, FIELDS_OF[place]))


def _unknown(path: FieldPath, place: Keys, known: tuple[str, ...]) -> str:
    """Say what is not known at the place, and what is likely meant."""
    wrong = str(path.keys[len(place)])
    if not place and wrong in CUSTOMER_FIELDS:
        return (
            f"{path.text!r}: a request has no {wrong!r}; did you mean {_shown(('customer', *path.keys))!r}?"
        )
    by_folded = {folded_key(name): name for name in known}
    folded = folded_key(wrong)
    meant = get_close_matches(folded_key(_ALIASES.get(place, {}).get(folded, folded)), by_folded, n=1)
    told = f"{path.text!r}: {_shown(place) or 'a request'} has no {wrong!r}"
    if meant:
        keys = (*place, by_folded[meant[0]])
        for key in path.keys[len(keys) :]:
            inside = {folded_key(name): name for name in FIELDS_OF.get(keys, ())}
            keys = (*keys, inside.get(folded_key(str(key)), key))
        return f"{told}; did you mean {_shown(keys)!r}?"
    if place == ("customer",):
        return f"{told}; what Voucherify has no field for can go to 'customer.metadata.{wrong}'"
    return f"{told}, only {', '.join(known)}"


def _shown(keys: Keys) -> str:
    return ".".join(str(key) for key in keys)


def row_parts(text: str) -> tuple[str, str]:
    """Return the source of a row as it is written, and what stands behind it."""
    if text.endswith("}"):
        source, _, keys = text.partition(": {to: ")
        return source, f"{{to: {keys}"
    source, _, destination = text.rpartition(": ")
    return source, destination


def path_of(*keys: str | int) -> str:
    """Return the path of keys; indexes stand in brackets, and odd names in brackets and quotes."""
    path = ""
    for key in keys:
        if isinstance(key, int):
            path += f"[{key}]"
        elif _PLAIN_KEY.fullmatch(key) and (
            path or key != "$"
        ):  # a path that begins with $ begins at the event
            path += f".{key}" if path else key
        else:
            quoted = key.replace("\\", "\\\\").replace('"', '\\"')
            path += f'["{quoted}"]'
    return path
