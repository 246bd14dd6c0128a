"""One customer out of many updates: parts of updates in, in any order, and the update that they amount to out.

Each field is the latest word on it. What was said when is kept a field, so that no order of reading matters.

Folds many updates of one customer into one: updates in, in whatever order, and each customer once out.

What does not fit into memory lies in a temporary file without a name, which is gone however the process ends.
Then one of PARTITIONS groups of customers is looked at in memory at a time.
"""

from __future__ import annotations

import os
import tempfile
from array import array
from binascii import crc32
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from types import TracebackType
from typing import Any, BinaryIO, Final, Self

import msgspec
from msgspec import Raw, Struct

from voucherify_sync.errors import RunStopped
from voucherify_sync.events import Json
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


__all__ = ["Fold", "FoldedCustomer", "News"]

PARTITIONS: Final = 256
"""Groups of customers: as long as all updates lie in memory, they are looked at together."""
MEMORY: Final = 8 << 20
"""Bytes of updates that are kept in memory."""

_ENCODER: Final = msgspec.json.Encoder()


class Fold:
    """All updates of a run.

    Args:
        memory: bytes of updates that are kept in memory before they go to disk.

    Attributes:
        updates: taken so far.
    """

    def __init__(self, memory: int = MEMORY) -> None:
        self.updates = 0
        self._memory = memory
        self._shelves = [bytearray() for _ in range(PARTITIONS)]
        self._bytes = 0
        self._file: BinaryIO | None = None
        self._layers: list[array[int]] = []
        self._decode_lines = msgspec.json.Decoder(Part).decode_lines

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def add(
        self, source_id: str, payload: bytes, time: int, message_id: str, news: News = News.UPDATE
    ) -> None:
        """Take one update.

        Args:
            source_id: of the customer.
            payload: its fields as JSON, ``source_id`` among them.
            time: when it was made, as ``microseconds`` tells it.
            message_id: decides between equal times; then the order of the calls does.
            news: what of it has not been sent before.

        Raises:
            RunStopped: there is no room on disk.
        """
        shelf = self._shelves[crc32(source_id.encode()) % PARTITIONS]
        before = len(shelf)
        _ENCODER.encode_into((time, message_id, self.updates, news, Raw(payload)), shelf, before)
        shelf += b"\n"
        self.updates += 1
        self._bytes += len(shelf) - before
        if self._bytes > self._memory:
            self._put_away()

    def customers(self) -> Iterator[FoldedCustomer]:
        """Yield each customer with a new update once; the same ones in the same order each time.

        As long as all lies in memory that order is the source_id's.
        """
        numbers = range(PARTITIONS)
        for group in [[number] for number in numbers] if self._layers else [numbers]:
            profiles: dict[str, Profile] = {}
            for number in group:
                for part in self._parts(number):
                    source_id = part.customer.pop("source_id")
                    profile = profiles.get(source_id)
                    if profile is None:
                        profile = profiles[source_id] = Profile()
                    profile.add(part)
            for source_id in sorted(profiles):
                if profiles[source_id].has_news:
                    yield profiles[source_id].folded(source_id)

    def close(self) -> None:
        """Give memory and disk back."""
        self._shelves = []
        if self._file is not None:
            self._file.close()

    def _parts(self, number: int) -> Iterator[Part]:
        for lines in self._texts(number):
            yield from self._decode_lines(lines)

    def _texts(self, number: int) -> Iterable[bytes | bytearray]:
        """Yield what lies on one shelf, first what was put away first."""
        for offsets in self._layers:
            begin, end = offsets[number], offsets[number + 1]
            if begin < end and self._file is not None:
                yield os.pread(self._file.fileno(), end - begin, begin)
        yield self._shelves[number]

    def _put_away(self) -> None:
        """Write what is in memory to the end of the file, shelf by shelf."""
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="voucherify-sync-", buffering=0)  # noqa: SIM115
            offset = os.lseek(self._file.fileno(), 0, os.SEEK_END)
            offsets = array("Q", [offset])
            for shelf in self._shelves:
                _write_all(self._file.fileno(), shelf)
                offset += len(shelf)
                offsets.append(offset)
                shelf.clear()
        except OSError as error:
            raise RunStopped(
                f"cannot write a temporary file in {tempfile.gettempdir()}: {error.strerror or error}",
                "Make room there, or name another directory in TMPDIR, then run the same command again.",
            ) from error
        self._layers.append(offsets)
        self._bytes = 0


def _write_all(descriptor: int, data: bytearray) -> None:
    with memoryview(data) as view:
        written = 0
        while written < len(view):
            written += os.write(descriptor, view[written:])
