"""Counts the records of blocks on several processes: each block is examined by one of them, and counted here.

The result is that of one process.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import chain, groupby

import msgspec

from voucherify_sync.mapping.filters import Selection
from voucherify_sync.model import Block
from voucherify_sync.previewing.coverage.counting import Coverage
from voucherify_sync.previewing.coverage.examined import Examined
from voucherify_sync.previewing.coverage.examiner import Examiner
from voucherify_sync.reading.decode import decode
from voucherify_sync.running.crew import Crew, Work
from voucherify_sync.running.tasks import LONGEST_SHARED, blocks_of, tasks
from voucherify_sync.settings import Settings
from voucherify_sync.stop import Stop

_encode = msgspec.msgpack.Encoder().encode
_decode_examined = msgspec.msgpack.Decoder(Examined).decode


def count_shared(coverage: Coverage, blocks: Iterable[Block], jobs: int, stop: Stop) -> None:
    """Count the records of the blocks on `jobs` processes, until the run stops; this one takes the longest blocks."""
    crew = Crew(_examining, (coverage.settings, coverage.selection), jobs)
    for is_shared, group in groupby(blocks, lambda block: len(block.text) <= LONGEST_SHARED):
        if is_shared:
            for answer in crew.answers(tasks(group)):
                coverage.take(_decode_examined(answer))
                if stop.requested:
                    return
        else:
            for block in group:
                coverage.add_block(block, stop)


def _examining(settings: Settings, selection: Selection) -> Work:
    examiner = Examiner(settings, selection, os.getpid() << 32)
    return lambda parts: _encode(examiner.examine(chain.from_iterable(map(decode, blocks_of(parts)))))
