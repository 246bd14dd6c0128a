"""One customer out of many updates: parts of updates in, in any order, and the update that they amount to out.

Each field is the latest word on it. What was said when is kept a field, so that no order of reading matters.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Any, Final

import msgspec
from msgspec import Struct

from voucherify_sync.model import Json
from voucherify_sync.paths import FIELDS_OF

Stamp = tuple[int, str, int]
"""When an update was made: microseconds since 1970, messageId, place in the input. The later one wins."""

UNTIMED: Final = -(1 << 62)
"""Microseconds of an update that tells no time: it comes before all that do."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_ADDRESS: Final = tuple(FIELDS_OF["customer", "address"])
_FIELDS: Final = tuple(name for name in FIELDS_OF["customer",] if name != "source_id")
_encode = msgspec.json.Encoder().encode


class FoldedCustomer(Struct, frozen=True, gc=False):
    """A customer as all updates together leave it.

    Attributes:
        source_id: whose profile it is.
        payload: the fields as JSON, ``source_id`` among them: an item of a bulk request.
        updated_at: time of the latest update; None if none of them had one.
        updates: identifies among the updates that were not sent before.
    """

    source_id: str
    payload: bytes
    updated_at: datetime | None
    updates: int = 0


class News(IntEnum):
    """What of a customer update has not been sent before."""

    NONE = 0
    """Nothing: it takes part in the fold, and is no reason to send the customer."""
    EVENT = 1
    """The update: it comes with an event, or repeats another record of the input."""
    UPDATE = 2
    """The update, and the record that ends with it."""


class Part(Struct, frozen=True, array_like=True, gc=False):
    """What one event says of a customer.

    Attributes:
        time, message_id, place: the stamp.
        news: what of it has not been sent before.
        customer: its fields, ``source_id`` among them.
    """

    time: int
    message_id: str
    place: int
    news: int
    customer: dict[str, Any]


class Profile:
    """A customer in the making.

    Attributes:
        has_news: one of its parts has not been sent before.
    """

    __slots__ = ("_address", "_fields", "_metadata", "_time", "_updates", "has_news")

    def __init__(self) -> None:
        self.has_news = False
        self._updates = 0
        self._time = UNTIMED
        self._fields: dict[str, tuple[Stamp, Any]] = {}
        self._address: dict[str, tuple[Stamp, Any]] = {}
        self._metadata: dict[str, tuple[Stamp, Any]] = {}

    def add(self, part: Part) -> None:
        """Lay one update over or under what is known, field by field; address and metadata by key."""
        stamp = (part.time, part.message_id, part.place)
        self.has_news = self.has_news or part.news > News.NONE
        self._updates += part.news == News.UPDATE
        self._time = max(self._time, part.time)
        for name, value in part.customer.items():
            if value is not None and name == "metadata":
                _lay(self._metadata, value, stamp)
            elif value is not None and name == "address":
                _lay(self._address, value, stamp)
            else:
                known = self._fields.get(name)
                if known is None or known[0] < stamp:
                    self._fields[name] = (stamp, value)

    def folded(self, source_id: str) -> FoldedCustomer:
        """Return what the updates amount to; the same for any order in which they were added."""
        body: Json = {"source_id": source_id}
        for name in _FIELDS:
            if name == "address":
                self._put(body, name, self._address, _ADDRESS)
            elif name == "metadata":
                self._put(body, name, self._metadata, ())
            elif name in self._fields:
                body[name] = self._fields[name][1]
        updated_at = None if self._time == UNTIMED else _EPOCH + self._time * _MICROSECOND
        return FoldedCustomer(source_id, _encode(body), updated_at, self._updates)

    def _put(
        self, body: Json, name: str, keys: dict[str, tuple[Stamp, Any]], all_keys: tuple[str, ...]
    ) -> None:
        """Put an object's keys; if the whole of it was erased in between, only those that came later."""
        erased = self._fields.get(name)
        if erased is None:
            values = {key: keys[key][1] for key in sorted(keys)}
        else:
            values = {key: keys[key][1] for key in sorted(keys) if keys[key][0] > erased[0]}
            if not values:
                body[name] = None
                return
            values = {**dict.fromkeys(all_keys), **values}
        if values:
            body[name] = values


def microseconds(time: datetime | None) -> int:
    """Return the time of a stamp; exact."""
    return UNTIMED if time is None else (time - _EPOCH) // _MICROSECOND


def _lay(known: dict[str, tuple[Stamp, Any]], given: Json, stamp: Stamp) -> None:
    for key, value in given.items():
        before = known.get(key)
        if before is None or before[0] < stamp:
            known[key] = (stamp, value)
