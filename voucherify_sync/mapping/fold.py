"""Fold many updates of each customer into one: for each field the latest value wins, whatever the order of reading.

Updates that do not fit into memory go to a temporary file without a name, which is gone however the process ends. They
are folded one of PARTITIONS groups of customers at a time.
"""

from __future__ import annotations

import os
import tempfile
from array import array
from binascii import crc32
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO, ClassVar, Final, Generic, Protocol, Self, TypeVar

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
        news: how many of the updates were not sent before, by the type of their events.
        source, message_id: None, as no single event made it.
    """

    source: ClassVar[str | None] = None
    message_id: ClassVar[str | None] = None

    source_id: str
    payload: bytes
    updated_at: datetime | None
    news: dict[str, int] = {}


class Update(Struct, frozen=True, array_like=True, gc=False):
    """What one event says of a customer, or of an order.

    Attributes:
        time, told_time, message_id, place: the version.
        news: type of the event; None if it was sent before: it takes part, and is no reason to send anything.
        body: its fields, ``source_id`` among them.
    """

    time: int
    told_time: int
    message_id: str
    place: int
    news: str | None
    body: dict[str, Any]

    @property
    def version(self) -> Version:
        """When it was made."""
        return self.time, self.told_time, self.message_id, self.place


class Profile:
    """What the updates of one customer amount to so far.

    Attributes:
        news: as in FoldedCustomer.
    """

    __slots__ = ("_fields", "_objects", "_time", "news")

    def __init__(self) -> None:
        self.news: dict[str, int] = {}
        self._time = UNTIMED
        self._fields: dict[str, tuple[Version, Any]] = {}
        self._objects: dict[str, dict[str, tuple[Version, Any]]] = {"address": {}, "metadata": {}}

    def merge(self, update: Update) -> None:
        """Merge one update by its version, field by field; address and metadata by key."""
        version = update.version
        if update.news is not None:
            self.news[update.news] = self.news.get(update.news, 0) + 1
        self._time = max(self._time, update.time)
        customer = update.body
        for name, known in self._objects.items():
            values = customer.get(name)
            if values is not None:
                del customer[name]
                merge_versions(known, values, version)
        merge_versions(self._fields, customer, version)

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
        return FoldedCustomer(source_id, _ENCODER.encode(body), time_of(self._time), self.news)

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


def merge_versions(known: dict[str, tuple[Version, Any]], values: Json, version: Version) -> None:
    """Take the values that are later than those that are known of their fields."""
    for key, value in values.items():
        before = known.get(key)
        if before is None or before[0] < version:
            known[key] = (version, value)


def microseconds(time: datetime | None) -> int:
    """Return the time of a version; exact."""
    return UNTIMED if time is None else (time - _EPOCH) // _MICROSECOND


def time_of(microseconds: int) -> datetime | None:
    """Return the time that a version tells; None for none."""
    return None if microseconds == UNTIMED else _EPOCH + microseconds * _MICROSECOND


class MergedUpdates(Protocol):
    """What the updates of one customer, or of one order, amount to so far."""

    def merge(self, update: Update) -> None:
        """Merge one update by its version."""


_Merged = TypeVar("_Merged", bound=MergedUpdates)


class Fold(Generic[_Merged]):
    """All updates of a run.

    Args:
        new_profile: makes what the updates of one customer, or of one order, are merged into.
        memory_bytes: updates that are kept in memory before they go to disk.

    Attributes:
        updates: taken so far.
    """

    def __init__(self, new_profile: Callable[[], _Merged], memory_bytes: int = MEMORY_BYTES) -> None:
        self.updates = 0
        self._new_profile = new_profile
        self._memory_bytes = memory_bytes
        self._partitions = [bytearray() for _ in range(PARTITIONS)]
        self._bytes = 0
        self._file: BinaryIO | None = None
        self._layers: list[array[int]] = []
        self._decode_lines = msgspec.json.Decoder(Update).decode_lines

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
        news: str | None,
        place: int | None = None,
    ) -> None:
        """Take one update.

        Args:
            source_id: of the customer.
            payload: its fields as JSON, ``source_id`` among them.
            time: when it was made, as ``microseconds`` tells it.
            told_time: the same as the event tells it; decides between equal times.
            message_id: decides after that; then the place does.
            news: type of the event; None if it was sent before.
            place: in the input; None: that of the calls.

        Raises:
            RunStopped: there is no room on disk.
        """
        partition = self._partitions[crc32(source_id.encode()) % PARTITIONS]
        before = len(partition)
        if place is None:
            place = self.updates
        _ENCODER.encode_into((time, told_time, message_id, place, news, Raw(payload)), partition, before)
        partition += b"\n"
        self.updates += 1
        self._bytes += len(partition) - before
        if self._bytes > self._memory_bytes:
            self._spill()

    def profiles(self) -> Iterator[tuple[str, _Merged]]:
        """Yield each source_id once, with what its updates amount to; the same in the same order each time.

        While all updates fit into memory, they come in the order of their source_ids.
        """
        numbers = range(PARTITIONS)
        for group in [[number] for number in numbers] if self._layers else [numbers]:
            profiles: dict[str, _Merged] = {}
            for number in group:
                for update in self._updates_of(number):
                    source_id = update.body.pop("source_id")
                    profile = profiles.get(source_id)
                    if profile is None:
                        profile = profiles[source_id] = self._new_profile()
                    profile.merge(update)
            yield from sorted(profiles.items())

    def close(self) -> None:
        """Give memory and disk back."""
        self._partitions = []
        if self._file is not None:
            self._file.close()

    def _updates_of(self, number: int) -> Iterator[Update]:
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


class CustomerFold(Fold[Profile]):
    """The customer updates of a run."""

    def __init__(self, memory_bytes: int = MEMORY_BYTES) -> None:
        super().__init__(Profile, memory_bytes)

    def customers(self) -> Iterator[FoldedCustomer]:
        """Yield each customer with a new update once, in the order of the profiles."""
        for source_id, profile in self.profiles():
            if profile.news:
                yield profile.folded(source_id)
