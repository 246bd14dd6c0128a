"""What is counted of paths and destinations: bounded in their number, whatever the events hold."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, Final, Literal, Self

from msgspec import Struct, field

from voucherify_sync.clean import clean
from voucherify_sync.paths import Keys

MAX_PATHS: Final = 2_000
"""Paths that are counted each, by type of event; so are destinations."""

MAX_EXAMPLE: Final = 40
"""Characters of an example."""

JsonType = Literal["string", "number", "boolean", "null", "array", "object"]

_MAX_KEYS_LENGTH: Final = 200
_MAX_NAMED: Final = 100_000
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False)
_TYPES: Final[dict[type, JsonType]] = {
    str: "string",
    int: "number",
    float: "number",
    bool: "boolean",
    type(None): "null",
    list: "array",
    dict: "object",
}


class Example(Struct, frozen=True, array_like=True, gc=False):
    """A value that stands for others.

    Attributes:
        weight: how much it says, as `weight_of` tells.
        text: JSON, clean and cut.
    """

    weight: int
    text: str

    @classmethod
    def of(cls, value: Any) -> Self:
        """Make an example of a value."""
        return cls(weight_of(value), brief(value))


class PathFacts(Struct):
    """What was seen at one path.

    Attributes:
        seen: events that have it.
        types: JSON types of its values, each with how often.
        mapped: values that arrive in the request.
        places: the destinations at which they arrive, each with how often.
        reasons: why values do not arrive, each with how often; null is no value, but is told here.
        example: the first of those that say most.
    """

    seen: int = 0
    types: dict[str, int] = field(default_factory=dict)
    mapped: int = 0
    places: dict[Keys, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    example: Example | None = None

    def show(self, example: Example) -> None:
        """Take an example, if none that says as much is there."""
        if self.example is None or self.example.weight < example.weight:
            self.example = example


class PlaceFacts(Struct):
    """What was seen at one destination.

    Attributes:
        filled: requests in which something stands there.
        types: JSON types of it, each with how often.
        refused: why values could not be put there, each with how often.
    """

    filled: int = 0
    types: dict[str, int] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)

    @property
    def conflicts(self) -> bool:
        """Whether values were refused, or are of several types, which a metadata schema will not take."""
        return bool(self.refused) or len(self.types.keys() - {"null"}) > 1


class Overflow:
    """Counts the distinct paths that found no room, without keeping them."""

    def __init__(self) -> None:
        self._hashes: set[int] = set()

    def update(self, hashes: Iterable[int]) -> None:
        """Count each path once."""
        for each in hashes:
            if len(self._hashes) >= _MAX_NAMED:
                return
            self._hashes.add(each)

    @property
    def count(self) -> int:
        """How many there are; never more than 100,000, which then means at least so many."""
        return len(self._hashes)


def fits(keys: Keys) -> bool:
    """Tell whether a path is short enough to be kept."""
    return sum([len(key) for key in keys if isinstance(key, str)]) <= _MAX_KEYS_LENGTH


def mark(keys: Keys) -> int:
    """Return the hash of a path, the same in every process; of a long key its length, beginning and end tell."""
    told = [(len(key), key[:100], key[-100:]) if isinstance(key, str) else key for key in keys]
    return int.from_bytes(blake2b(json.dumps(told).encode(), digest_size=8).digest(), "big")


def type_of(value: Any) -> JsonType:
    """Return the JSON type of a value."""
    return _TYPES[type(value)]


def weight_of(value: Any) -> int:
    """Tell how much a value says as an example: null nothing; 0, an empty text and an empty list little."""
    if value is None:
        return 0
    return 2 if value or value is False else 1


def brief(value: Any) -> str:
    """Return the beginning of a value as JSON text, clean; a long value is not written out to be cut."""
    if isinstance(value, str):
        value = value[: MAX_EXAMPLE + 1]
    text = ""
    for piece in _pieces(value):
        text += piece[: MAX_EXAMPLE + 2]
        if len(text) > MAX_EXAMPLE:
            break
    return clean(text, MAX_EXAMPLE)


def _pieces(value: Any) -> Iterable[str]:
    if isinstance(value, dict | list):
        return _ENCODER.iterencode(value)
    return (_ENCODER.encode(value),)  # five times as fast


def share(part: int, whole: int) -> float:
    """Return a share rounded down, so that 1 means all; 0 of nothing is 0, and a little is never 0."""
    return math.floor(10_000 * part / whole) / 10_000 or (0.0001 if part else 0.0) if whole else 0.0


def add(counts: dict[Any, int], name: Any, times: int) -> None:
    """Count something so many times."""
    counts[name] = counts.get(name, 0) + times
