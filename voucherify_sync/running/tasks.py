"""What a process is given at once: blocks in, larger blocks out, as bytes and back again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from voucherify_sync.model import Block

WORTH_IT: Final = 16 << 20
"""Bytes of input for which it is worth while to start processes."""

TASK: Final = 1 << 20
"""Bytes of lines in a task, about."""

_encode = msgspec.msgpack.Encoder().encode

decode_task = msgspec.msgpack.Decoder(Block).decode
"""Return the block that was encoded."""


def is_worth_it(bytes_total: int | None) -> bool:
    """Tell whether so much input is worth the start of processes; None is that of a pipe, which is to flow."""
    return bytes_total is not None and bytes_total >= WORTH_IT


def tasks(blocks: Iterable[Block]) -> Iterator[bytes]:
    """Yield the blocks as tasks."""
    return map(_encode, large(blocks))


def large(blocks: Iterable[Block]) -> Iterator[Block]:
    """Join blocks that follow each other, to blocks of about TASK bytes."""
    joined: list[Block] = []
    size = 0
    for block in blocks:
        if joined and not (_follows(block, joined[0]) and size < TASK):
            yield _joined(joined)
            joined, size = [], 0
        joined.append(block)
        size += len(block.text)
    if joined:
        yield _joined(joined)


def _follows(block: Block, first: Block) -> bool:
    return block.source == first.source and not block.truncated and not first.truncated


def _joined(blocks: list[Block]) -> Block:
    return msgspec.structs.replace(blocks[0], text=b"".join([block.text for block in blocks]))
