"""What was expected and what came out go in; where they differ comes out, path by path. Knows JSON values only."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from enum import Enum
from typing import Any, Final

from msgspec import Struct

_PLAIN_KEY: Final = re.compile(r"[^.\[\]\"'\s]+")


class Nothing(Enum):
    """The type of NOTHING, which is no JSON value."""

    NOTHING = "nothing"


NOTHING: Final = Nothing.NOTHING
"""Stands where there is no value at all; a null is None."""


class Difference(Struct, frozen=True):
    """One place at which something else came out than was expected.

    Attributes:
        path: such as ``body.customer.email``.
        expected: the value there, or NOTHING.
        got: the value there, or NOTHING.
    """

    path: str
    expected: Any
    got: Any


def differences(expected: Any, got: Any, *, partial: bool, path: str = "") -> Iterator[Difference]:
    """Yield where two JSON values differ, in the order of what is expected.

    Numbers are equal if they are so by value; true and false are no numbers. Lists are compared item by item.

    Args:
        expected: as the test has it.
        got: as the mapping made it.
        partial: an object may hold more than is expected, at any depth.
        path: where both stand.
    """
    if isinstance(expected, dict) and isinstance(got, dict):
        for key, value in expected.items():
            inner = _path(path, key)
            yield from differences(value, got.get(key, NOTHING), partial=partial, path=inner)
        if not partial:
            for key, value in got.items():
                if key not in expected:
                    yield Difference(_path(path, key), NOTHING, value)
    elif isinstance(expected, list) and isinstance(got, list):
        for index in range(max(len(expected), len(got))):
            one, other = (values[index] if index < len(values) else NOTHING for values in (expected, got))
            yield from differences(one, other, partial=partial, path=f"{path}[{index}]")
    elif not _equal(expected, got):
        yield Difference(path, expected, got)


def text_of(value: Any) -> str:
    """Return one side of a difference as text."""
    if value is NOTHING:
        return "nothing"
    try:
        return json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return "a value that is nested too deep to be shown"


def narrowed(value: Any, to: Any) -> Any:
    """Return what a partial expectation looks at: of objects only the keys that it names, as far as they are there."""
    if isinstance(value, dict) and isinstance(to, dict):
        return {key: narrowed(value[key], inside) for key, inside in to.items() if key in value}
    if isinstance(value, list) and isinstance(to, list) and len(value) == len(to):
        return [narrowed(*pair) for pair in zip(value, to, strict=True)]
    return value


def _equal(expected: Any, got: Any) -> bool:
    return isinstance(expected, bool) is isinstance(got, bool) and bool(expected == got)


def _path(path: str, key: str) -> str:
    if not _PLAIN_KEY.fullmatch(key):
        return f"{path}[{json.dumps(key, ensure_ascii=False)}]"
    return f"{path}.{key}" if path else key
