"""What an examiner finds out about events: plain values, so that they can pass between processes."""

from __future__ import annotations

from msgspec import Struct, field

from voucherify_sync.model import State
from voucherify_sync.paths import Keys
from voucherify_sync.previewing.coverage.facts import Example, JsonType


class Value(Struct, frozen=True, array_like=True, gc=False):
    """What one value of an event adds to its path.

    Attributes:
        keys: the path.
        type: of the value.
        places: the destinations at which it arrives.
        reason: why it arrives nowhere; None if it arrives.
        example: made of it; None if one that says as much has been given for this path.
    """

    keys: Keys
    type: JsonType
    places: tuple[Keys, ...]
    reason: str | None
    example: Example | None


class Effect(Struct, frozen=True, array_like=True, tag=True):
    """What one event adds to the counts.

    Attributes:
        kind: type of the event.
        values: of the event, those with a path that is short enough to be kept.
        long_paths: a mark for each of the others.
        filled: destinations, each with the type of what stands there.
        refused: destinations, each with why a value could not be put there.
        long_places: a mark for each destination that is too long to be kept.
        fired: numbers of rows.
        seen: values, nulls not counted.
        mapped: values that arrive.
    """

    kind: str
    values: list[Value]
    long_paths: list[int]
    filled: list[tuple[Keys, JsonType]]
    refused: list[tuple[Keys, str]]
    long_places: list[int]
    fired: list[int]
    seen: int
    mapped: int


class Ending(Struct, frozen=True, array_like=True, tag=True):
    """Why no request is made of a record."""

    state: State
    reason: str


class Examined(Struct):
    """What was found out about some records.

    Records of which the same is to be said have one number; no two examiners of one input give the same number.

    Attributes:
        new: what numbers mean that are used for the first time.
        times: how many records have each number, in the order in which the first of them came.
        forgotten: numbers that will not be used again.
    """

    new: dict[int, Effect | Ending] = field(default_factory=dict)
    times: dict[int, int] = field(default_factory=dict)
    forgotten: list[int] = field(default_factory=list)
