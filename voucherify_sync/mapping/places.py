"""The places of a request: a destination path in, a closure out that puts values there.

Objects are merged key by key and deeply; they are copied on the way, so that writing never changes the event.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from voucherify_sync.mapping.fields import CONTAINERS, MAX_NESTING, NOT_AN_OBJECT, is_nested_deeper
from voucherify_sync.model import Dropped, Json
from voucherify_sync.paths import (
    FIELDS_OF,
    FREE_OBJECTS,
    MISSING,
    FieldPath,
    object_at,
    parse_destination,
    write,
)

Writer = Callable[[Json, object, list[Dropped]], None]
"""Puts a value into the parts of a request, of which ``customer`` exists; reports what does not belong there."""

_Value = TypeVar("_Value")

IDS: Final = ("id", "source_id")
"""Filled by rows of their own only: Segment's ``traits.id`` would turn one customer into another."""


def writer(path: FieldPath, *, each_key: bool, keep_nulls: bool) -> Writer:
    """Compile the writing at a destination, by what belongs there.

    Args:
        path: the destination.
        each_key: the value stands for its keys, each as if it had a row of its own.
        keep_nulls: a null erases the field; else it is as if it were not there.
    """
    if path.keys in FIELDS_OF:
        return _known_fields(path, keep_nulls=keep_nulls)
    if path.keys in FREE_OBJECTS or each_key:
        return _free_object(path, skip_nulls=each_key and not keep_nulls)
    if path.holds_an_object:
        return _free_value(path)
    return _field(path)


def checked(value: _Value) -> _Value:
    """Return a value that goes where any value may stand, as it is.

    Raises:
        RecursionError: it is nested too deep to be sent, or to be walked through by what comes later.
    """
    if isinstance(value, CONTAINERS) and is_nested_deeper(value, MAX_NESTING):
        raise RecursionError
    return value


def merge(target: Json, value: Json) -> None:
    """Merge an object into another, key by key and deeply; what is taken over is copied."""
    for key, inside in value.items():
        if isinstance(inside, dict):
            merge(object_at(target, (key,)), inside)
        else:
            target[key] = inside


def own(value: object) -> object:
    """Return a value, checked, whose objects may be written into without changing the event."""
    checked(value)
    if not isinstance(value, dict):
        return value
    copy: Json = {}
    merge(copy, value)
    return copy


def _field(path: FieldPath) -> Writer:
    """Put a value where a text belongs; its type is settled later, when every row has had its turn."""
    *parents, name = path.keys
    if parents == ["customer"]:

        def put_in_customer(parts: dict[Any, Any], value: object, _: list[Dropped]) -> None:
            parts["customer"][name] = value

        return put_in_customer

    def put(parts: dict[Any, Any], value: object, _: list[Dropped]) -> None:
        object_at(parts, parents)[name] = value

    return put


def _known_fields(path: FieldPath, *, keep_nulls: bool) -> Writer:
    """Put an object where Voucherify knows the fields: each as if it had a row, the ids not at all."""
    place = ".".join(map(str, path.keys))
    inner = {
        name: writer(parse_destination(f"{place}.{name}"), each_key=False, keep_nulls=keep_nulls)
        for name in FIELDS_OF[path.keys]
        if name not in IDS
    }

    def put(parts: Json, value: object, dropped: list[Dropped]) -> None:
        if not isinstance(value, dict):
            _refuse(parts, path, value, dropped)
            return
        for name, put_inside in inner.items():
            inside = value.get(name, MISSING)
            if inside is not MISSING and (keep_nulls or inside is not None):
                put_inside(parts, inside, dropped)

    return put


def _free_object(path: FieldPath, *, skip_nulls: bool) -> Writer:
    """Put an object where any key may stand, as it is."""

    def put(parts: Json, value: object, dropped: list[Dropped]) -> None:
        if not isinstance(value, dict):
            _refuse(parts, path, value, dropped)
            return
        if skip_nulls:
            value = {key: inside for key, inside in value.items() if inside is not None}
        merge(object_at(parts, path.keys), checked(value))

    return put


def _free_value(path: FieldPath) -> Writer:
    """Put anything at a key of metadata; two objects are merged."""

    def put(parts: Json, value: object, _: list[Dropped]) -> None:
        if isinstance(value, dict):
            merge(object_at(parts, path.keys), checked(value))
        else:
            write(parts, path, checked(value))

    return put


def _refuse(parts: Json, path: FieldPath, value: object, dropped: list[Dropped]) -> None:
    """Take a null for what erases the object, and report what is no object."""
    if value is not None:
        dropped.append(Dropped(".".join(map(str, path.keys)), NOT_AN_OBJECT))
    elif len(path.keys) > 1:
        write(parts, path, None)
