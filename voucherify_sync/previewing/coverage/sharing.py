"""Counts the records of blocks on several processes: each block is examined by one of them, and counted here.

The result is that of one process.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import chain

import msgspec

from voucherify_sync.mapping.filters import Selection
from voucherify_sync.model import Block
from voucherify_sync.previewing.coverage.counting import Coverage
from voucherify_sync.previewing.coverage.examined import Examined
from voucherify_sync.previewing.coverage.examiner import Examiner
from voucherify_sync.reading.decode import decode
from voucherify_sync.running.crew import Crew, Work
from voucherify_sync.running.tasks import blocks_of, tasks
from voucherify_sync.settings import Settings

_encode = msgspec.msgpack.Encoder().encode
_decode_examined = msgspec.msgpack.Decoder(Examined).decode


def count_shared(coverage: Coverage, blocks: Iterable[Block], jobs: int) -> None:
    """Count the records of the blocks by so many processes."""
    crew = Crew(_examining, (coverage.settings, coverage.selection), jobs)
    for answer in crew.answers(tasks(blocks)):
        coverage.take(_decode_examined(answer))


def _examining(settings: Settings, selection: Selection) -> Work:
    examiner = Examiner(settings, selection, os.getpid() << 32)
    return lambda parts: _encode(examiner.examine(chain.from_iterable(map(decode, blocks_of(parts)))))
