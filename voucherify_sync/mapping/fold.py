"""Fold many updates of each customer into one: for each field the latest value wins, whatever the order of reading.

Updates that do not fit into memory go to a temporary file without a name, which is gone however the process ends. They
are folded one of PARTITIONS groups of customers at a time.
"""

from __future__ import annotations

import os
import tempfile
from array import array
from binascii import crc32
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Any, BinaryIO, ClassVar, Final, Self

import msgspec
from msgspec import Raw, Struct

from voucherify_sync.errors import RunStopped
from voucherify_sync.events import Json
from voucherify_sync.fields import WORKING_FIELDS
from voucherify_sync.paths import FIELDS_OF, Keys

Version = tuple[int, int, str, int]
"""When an update was made: time and time as told, in microseconds since 1970, messageId, place in the input.

The later one wins.
"""

UNTIMED: Final = -(1 << 62)
"""Microseconds of an update whose event has no time: it is older than every update that has one."""

PARTITIONS: Final = 256
"""Groups of customers; while all updates fit into memory, the groups are folded together."""

MEMORY_BYTES: Final = 8 << 20
"""Updates that are kept in memory."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_ADDRESS: Final = tuple(FIELDS_OF["customer", "address"])
_FIELDS: Final = tuple(
    name for name in FIELDS_OF["customer",] if name != "source_id" and name not in WORKING_FIELDS
)
_ENCODER: Final = msgspec.json.Encoder()


class FoldedCustomer(Struct, frozen=True, gc=False):
    """A customer as all updates together leave it.

    Attributes:
        source_id: whose profile it is.
        payload: the fields as JSON, ``source_id`` among them: an item of a bulk request.
        updated_at: time of the latest update; None if none of them had one.
        identifies: those among the updates that were not sent before.
        groups: group events among them.
        source, message_id: None, as no single event made it.
    """

    source: ClassVar[str | None] = None
    message_id: ClassVar[str | None] = None

    source_id: str
    payload: bytes
    updated_at: datetime | None
    identifies: int = 0
    groups: int = 0


class News(IntEnum):
    """What of a customer update has not been sent before."""

    NONE = 0
    """Nothing: it takes part in the fold, and is no reason to send the customer."""
    EVENT = 1
    """The update: it comes with an event, or repeats another record of the input."""
    UPDATE = 2
    """The update, and the identify that ends with it."""
    GROUP = 3
    """The update, and the group event that ends with it."""


class CustomerUpdate(Struct, frozen=True, array_like=True, gc=False):
    """What one event says of a customer.

    Attributes:
        time, told_time, message_id, place: the version.
        news: what of it has not been sent before.
        customer: its fields, ``source_id`` among them.
    """

    time: int
    told_time: int
    message_id: str
    place: int
    news: int
    customer: dict[str, Any]


class Profile:
    """What the updates of one customer amount to so far.

    Attributes:
        has_news: one of the updates has not been sent before.
    """

    __slots__ = ("_fields", "_groups", "_identifies", "_objects", "_time", "has_news")

    def __init__(self) -> None:
        self.has_news = False
        self._identifies = self._groups = 0
        self._time = UNTIMED
        self._fields: dict[str, tuple[Version, Any]] = {}
        self._objects: dict[str, dict[str, tuple[Version, Any]]] = {"address": {}, "metadata": {}}

    def merge(self, update: CustomerUpdate) -> None:
        """Merge one update by its version, field by field; address and metadata by key."""
        version = (update.time, update.told_time, update.message_id, update.place)
        self.has_news = self.has_news or update.news > News.NONE
        self._identifies += update.news == News.UPDATE
        self._groups += update.news == News.GROUP
        self._time = max(self._time, update.time)
        customer = update.customer
        for name, known in self._objects.items():
            values = customer.get(name)
            if values is not None:
                del customer[name]
                _merge(known, values, version)
        _merge(self._fields, customer, version)

    def folded(self, source_id: str) -> FoldedCustomer:
        """Return what the updates amount to; the same for any order in which they were merged."""
        body: Json = {"source_id": source_id}
        halves = self._halves()
        for name in _FIELDS:
            whole = self._fields.get(name)  # of an object: the null that erased it
            if name == "name" and halves:
                body[name] = " ".join([half.strip() for _, half in halves])
                continue
            if name not in self._objects:
                if whole is not None:
                    body[name] = whole[1]
                continue
            values = {key: value for key, (_, value) in self._held(name)}
            if values and whole is not None and name == "address":
                values = {**dict.fromkeys(_ADDRESS), **values}  # the erased fields are sent as nulls
            if values or whole is not None:
                body[name] = values or None
        updated_at = None if self._time == UNTIMED else _EPOCH + self._time * _MICROSECOND
        return FoldedCustomer(source_id, _ENCODER.encode(body), updated_at, self._identifies, self._groups)

    def versions(self) -> dict[Keys, list[Version]]:
        """Return by which updates each field was given its value.

        A name that is made of two halves has two of them; an object that was erased has that of the null.
        """
        versions: dict[Keys, list[Version]] = {
            (name,): [version] for name, (version, _) in self._fields.items() if name in _FIELDS
        }
        if halves := self._halves():
            versions["name",] = [version for version, _ in halves]
        for name in self._objects:
            versions.update({(name, key): [version] for key, (version, _) in self._held(name)})
        return versions

    def _held(self, name: str) -> list[tuple[str, tuple[Version, Any]]]:
        """Return what an object holds by its keys: what was said later than the last null that erased all of it."""
        whole, keys = self._fields.get(name), self._objects[name]
        return [(key, keys[key]) for key in sorted(keys) if whole is None or keys[key][0] > whole[0]]

    def _halves(self) -> list[tuple[Version, str]]:
        """Return the halves that make the name: those said later than the last whole one; half a name replaces none."""
        whole = self._fields.get("name")
        halves = [self._fields[name] for name in WORKING_FIELDS if name in self._fields]
        if whole is not None:
            halves = [half for half in halves if half[0] > whole[0]]
        is_free = whole is None or whole[1] is None
        return halves if is_free or len(halves) == len(WORKING_FIELDS) else []


def _merge(known: dict[str, tuple[Version, Any]], values: Json, version: Version) -> None:
    for key, value in values.items():
        before = known.get(key)
        if before is None or before[0] < version:
            known[key] = (version, value)


def microseconds(time: datetime | None) -> int:
    """Return the time of a version; exact."""
    return UNTIMED if time is None else (time - _EPOCH) // _MICROSECOND


class Fold:
    """All updates of a run.

    Args:
        memory_bytes: updates that are kept in memory before they go to disk.

    Attributes:
        updates: taken so far.
    """

    def __init__(self, memory_bytes: int = MEMORY_BYTES) -> None:
        self.updates = 0
        self._memory_bytes = memory_bytes
        self._partitions = [bytearray() for _ in range(PARTITIONS)]
        self._bytes = 0
        self._file: BinaryIO | None = None
        self._layers: list[array[int]] = []
        self._decode_lines = msgspec.json.Decoder(CustomerUpdate).decode_lines

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(
        self,
        source_id: str,
        payload: bytes,
        time: int,
        told_time: int,
        message_id: str,
        news: News = News.UPDATE,
    ) -> None:
        """Take one update.

        Args:
            source_id: of the customer.
            payload: its fields as JSON, ``source_id`` among them.
            time: when it was made, as ``microseconds`` tells it.
            told_time: the same as the event tells it; decides between equal times.
            message_id: decides after that; then the order of the calls does.
            news: what of it has not been sent before.

        Raises:
            RunStopped: there is no room on disk.
        """
        partition = self._partitions[crc32(source_id.encode()) % PARTITIONS]
        before = len(partition)
        _ENCODER.encode_into(
            (time, told_time, message_id, self.updates, news, Raw(payload)), partition, before
        )
        partition += b"\n"
        self.updates += 1
        self._bytes += len(partition) - before
        if self._bytes > self._memory_bytes:
            self._spill()

    def customers(self) -> Iterator[FoldedCustomer]:
        """Yield each customer with a new update once; the same ones in the same order each time.

        While all updates fit into memory, they come in the order of their source_ids.
        """
        for source_id, profile in self.profiles():
            if profile.has_news:
                yield profile.folded(source_id)

    def profiles(self) -> Iterator[tuple[str, Profile]]:
        """Yield what the updates of each customer amount to, with its source_id, in the order of `customers`."""
        numbers = range(PARTITIONS)
        for group in [[number] for number in numbers] if self._layers else [numbers]:
            profiles: dict[str, Profile] = {}
            for number in group:
                for update in self._updates_of(number):
                    source_id = update.customer.pop("source_id")
                    profile = profiles.get(source_id)
                    if profile is None:
                        profile = profiles[source_id] = Profile()
                    profile.merge(update)
            yield from sorted(profiles.items())

    def close(self) -> None:
        """Give memory and disk back."""
        self._partitions = []
        if self._file is not None:
            self._file.close()

    def _updates_of(self, number: int) -> Iterator[CustomerUpdate]:
        """Yield the updates of one partition, those on disk first."""
        for offsets in self._layers:
            begin, end = offsets[number], offsets[number + 1]
            if begin < end and self._file is not None:
                yield from self._decode_lines(os.pread(self._file.fileno(), end - begin, begin))
        yield from self._decode_lines(self._partitions[number])

    def _spill(self) -> None:
        """Write what is in memory to the end of the file, partition by partition."""
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="voucherify-sync-", buffering=0)  # noqa: SIM115
            offsets = array("Q", [os.lseek(self._file.fileno(), 0, os.SEEK_END)])
            for partition in self._partitions:
                with memoryview(partition) as rest:
                    written = 0
                    while written < len(rest):
                        written += os.write(self._file.fileno(), rest[written:])
                offsets.append(offsets[-1] + len(partition))
                partition.clear()
        except OSError as error:
            raise RunStopped(
                f"cannot write a temporary file in {tempfile.gettempdir()}: {error.strerror or error}",
                "Make room there, or name another directory in TMPDIR, then run the same command again.",
            ) from error
        self._layers.append(offsets)
        self._bytes = 0
