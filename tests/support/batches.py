"""An input of batches, and work on it that several processes can do."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Iterator
from multiprocessing import connection
from typing import NoReturn

from voucherify_sync.events import Batch
from voucherify_sync.run import options, workers
from voucherify_sync.run.workers import Work
from voucherify_sync.sources.discover import Source
from voucherify_sync.sources.reader import SourceFacts
from voucherify_sync.stop import Stop


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
    return lambda batches, _stop: (
        b"%b%b %d" % (batch.lines[0], suffix.encode(), os.getpid()) for batch in batches
    )


def doomed(parent: int) -> Work:
    """Work in the first process only; the others die of it."""

    def work(batches: Iterable[Batch], _stop: Stop) -> Iterator[bytes]:
        for batch in batches:
            if os.getpid() != parent:
                os.kill(os.getpid(), signal.SIGKILL)
            yield batch.lines[0]

    return work


def mortal() -> Work:
    """Die of a certain line."""

    def work(batches: Iterable[Batch], _stop: Stop) -> Iterator[bytes]:
        for batch in batches:
            if batch.lines == [b"die"]:
                os.kill(os.getpid(), signal.SIGKILL)
            yield batch.lines[0]

    return work


def half_answered(parent: int) -> Work:
    """Die in the middle of handing an answer over, in one of the processes."""

    def work(batches: Iterable[Batch], _stop: Stop) -> Iterator[bytes]:
        for batch in batches:
            if os.getpid() != parent and batch.first_line == 5:
                connection.Connection._send.__defaults__ = (write_half,)  # type: ignore[attr-defined]
                yield b"x" * 100_000
            yield batch.lines[0]

    return work


def write_half(descriptor: int, data: bytes) -> NoReturn:
    """Write the beginning, and die."""
    os.write(descriptor, data[:1_000])
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def asleep() -> Work:
    """Never answer."""

    def work(batches: Iterable[Batch], _stop: Stop) -> Iterator[bytes]:
        for batch in batches:
            time.sleep(3600)
            yield batch.lines[0]

    return work
