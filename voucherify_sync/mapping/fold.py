"""Folds many updates of one customer into one: updates in, in whatever order, and each customer once out.

What does not fit into memory lies in a temporary file without a name, which is gone however the process ends.
Then one of PARTITIONS groups of customers is looked at in memory at a time.
"""

from __future__ import annotations

import os
import tempfile
from array import array
from binascii import crc32
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import BinaryIO, Final, Self

import msgspec
from msgspec import Raw

from voucherify_sync.errors import RunStopped
from voucherify_sync.mapping.folded import FoldedCustomer, News, Part, Profile

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
