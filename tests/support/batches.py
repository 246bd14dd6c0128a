"""An input of batches, and work on it that several processes can do."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from voucherify_sync.events import Batch
from voucherify_sync.run import options, workers
from voucherify_sync.run.workers import Work
from voucherify_sync.sources.discover import Source
from voucherify_sync.sources.reader import SourceFacts


class Lines:
    """An input of blocks."""

    def __init__(self, batches: Iterable[Batch]) -> None:
        self.facts: list[SourceFacts] = []
        self.bytes_total = options.MIN_SHARED_BYTES
        self._blocks = batches

    def __iter__(self) -> Iterator[Batch]:
        """Yield the blocks."""
        return iter(self._blocks)

    def parts(self, _max_file_bytes: int) -> Iterator[Batch | Source]:
        """Yield the blocks."""
        return iter(self._blocks)


def numbered(count: int) -> Iterator[Batch]:
    """Yield blocks, each of which is a task."""
    for number in range(count):
        yield Batch("a", number + 1, b"%d\n" % number + b" " * workers.TASK_BYTES)


def echo(suffix: str) -> Work:
    """Answer with the first lines, and the process that did it."""
    return lambda batches: (b"%b%b %d" % (batch.lines[0], suffix.encode(), os.getpid()) for batch in batches)
