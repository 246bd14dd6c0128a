"""What a process is given at once: blocks in, the parts of messages out, and blocks again where they arrive."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from voucherify_sync.model import Block

WORTH_IT: Final = 16 << 20
"""Bytes of input for which it is worth while to start processes."""

TASK: Final = 512 << 10
"""Bytes of lines in a task, about."""

LONGEST_SHARED: Final = 1 << 20
"""Bytes of a block that another process may look at; the records of a longer one may need too much memory at once."""

_MOST_BLOCKS: Final = 256
"""Blocks in a task: those of small files have a line or two."""

_Head = list[tuple[str, int, bool]]
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Head).decode


def is_worth_it(bytes_total: int | None) -> bool:
    """Tell whether so much input is worth the start of processes; None is that of a pipe, which is to flow."""
    return bytes_total is not None and bytes_total >= WORTH_IT


def tasks(blocks: Iterable[Block]) -> Iterator[list[bytes]]:
    """Yield tasks: all about some blocks but their texts, and each of the texts."""
    task: list[Block] = []
    size = 0
    for block in blocks:
        task.append(block)
        size += len(block.text)
        if size >= TASK or len(task) == _MOST_BLOCKS:
            yield _parts(task)
            task, size = [], 0
    if task:
        yield _parts(task)


def _parts(blocks: list[Block]) -> list[bytes]:
    head: _Head = [(block.source, block.first_line, block.truncated) for block in blocks]
    return [_encode(head), *(block.text for block in blocks)]


def blocks_of(parts: Iterator[bytes]) -> Iterator[Block]:
    """Yield the blocks of a task. Only one text after the other is asked for: fresh memory for all would cost more."""
    for source, first_line, truncated in _decode(next(parts)):
        yield Block(source, first_line, next(parts), truncated)
