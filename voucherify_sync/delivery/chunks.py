"""Customers into bulk requests: as few as their bytes allow, none with the same customer twice if none is given twice.

The same customers in the same order give the same requests, byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Protocol

from msgspec import Struct

MAX_BYTES: Final = 10_485_760
"""Bytes that Voucherify takes in one bulk request."""
FEW_ITEMS: Final = 100
"""Customers that it took in one, at the time when it counted them."""

_OPEN: Final = 4
"""Requests filled side by side: what is too large for one may fit into another."""
_FULL: Final = 1.001
"""A request is full when so many times its size would be too much: with 10 KiB left of 10 MiB."""


class Item(Protocol):
    """A customer as it stands in a bulk request."""

    @property
    def source_id(self) -> str:
        """Whose profile it is."""

    @property
    def payload(self) -> bytes:
        """The customer as JSON."""


class Limits(Struct):
    """What a request may hold; lowered as refusals teach it.

    Attributes:
        max_bytes: of the whole body.
        max_items: customers; None sets no limit.
    """

    max_bytes: int = MAX_BYTES
    max_items: int | None = None

    def allow(self, chunk: Chunk) -> bool:
        """Tell whether a request may go; that of one customer cannot be made smaller."""
        return len(chunk.items) == 1 or not self._exceeded(chunk.size, len(chunk.items))

    def fits(self, chunk: Chunk, item: Item) -> bool:
        """Tell whether one more customer may be added."""
        return not self._exceeded(chunk.size_with(item), len(chunk.items) + 1)

    def is_full(self, chunk: Chunk) -> bool:
        """Tell whether waiting for a customer who fits in is not worth the memory."""
        return self._exceeded(int(chunk.size * _FULL), len(chunk.items) + 1)

    def _exceeded(self, size: int, items: int) -> bool:
        return size > self.max_bytes or (self.max_items is not None and items > self.max_items)


class Chunk:
    """The customers of one request.

    Attributes:
        items: in their order.
        size: bytes of the body.
    """

    def __init__(self, first: Item) -> None:
        self.items = [first]
        self.size = size_alone(first)

    def size_with(self, item: Item) -> int:
        """Return the bytes of the body if one more customer were in it."""
        return self.size + 1 + len(item.payload)

    def add(self, item: Item) -> None:
        """Add a customer."""
        self.size = self.size_with(item)
        self.items.append(item)

    def body(self) -> bytes:
        """Return the request as it is sent."""
        return b"[" + b",".join([item.payload for item in self.items]) + b"]"


def chunk_of(items: Sequence[Item]) -> Chunk:
    """Put customers, one at least, into one request."""
    chunk = Chunk(items[0])
    for item in items[1:]:
        chunk.add(item)
    return chunk


def size_alone(item: Item) -> int:
    """Return the bytes of a request of one customer."""
    return len(item.payload) + 2


def pack(items: Iterable[Item], limits: Limits) -> Iterator[Chunk]:
    """Put customers into requests: each into the first open one that has room.

    A customer that is larger than the limit has a request of its own. Limits that are lowered meanwhile hold for what
    is added from then on.
    """
    open_chunks: list[Chunk] = []
    for item in items:
        for chunk in open_chunks:
            if limits.fits(chunk, item):
                chunk.add(item)
                break
        else:
            full = [chunk for chunk in open_chunks if limits.is_full(chunk)]
            if not full and len(open_chunks) == _OPEN:
                full = [max(open_chunks, key=lambda chunk: chunk.size)]
            open_chunks = [chunk for chunk in open_chunks if chunk not in full]
            open_chunks.append(Chunk(item))
            yield from full
    yield from open_chunks
