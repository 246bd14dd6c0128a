"""Counts what a mapping does to many events: records in, path by path what is mapped and what is lost out.

What an examiner found out is counted in the order of the input: what finds room, and what is the example of a path,
is decided here alone, whoever examined the events. Memory does not grow with their number.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

import msgspec

from voucherify_sync.mapping.filters import Selection
from voucherify_sync.model import Block, State
from voucherify_sync.previewing.coverage.examining import Examined, Examiner
from voucherify_sync.previewing.coverage.section import Section
from voucherify_sync.reading.decode import Record, portions
from voucherify_sync.running.request import Input
from voucherify_sync.settings import Settings
from voucherify_sync.stop import Stop

if TYPE_CHECKING:
    from voucherify_sync.running.workers import Work

_MAX_EXAMINED: Final = 20_000
"""Records of which it is told together what was found out."""

_decode_examined = msgspec.msgpack.Decoder(Examined).decode


class Coverage:
    """Counts what becomes of the values of events.

    Args:
        settings: whose filters and mapping decide.
        selection: what the command line picks.

    Attributes:
        read: records.
        sections: what was seen, by type of event: ``identify`` and ``track``.
        ends: state and reason of the records of which no request is made, each with how often.
    """

    def __init__(self, settings: Settings, selection: Selection | None = None) -> None:
        self.settings = settings
        self.selection = selection or Selection()
        self.read = 0
        self._examiner = Examiner(settings, self.selection)
        self.sections = {kind: Section(rows) for kind, rows in self._examiner.rows.items()}
        self.ends: dict[tuple[State, str], int] = {}

    def add_block(self, block: Block, stop: Stop, limit: int | None = None) -> None:
        """Count the records of a block, or its first `limit`, until the run stops."""
        for portion in portions(islice(self._examiner.records(block), limit)):
            if stop.requested:
                return
            self.add(portion)

    def add_shared(self, source: Input, jobs: int, stop: Stop) -> None:
        """Count the records of an input on several processes, until the run stops."""
        from voucherify_sync.running import workers  # of no use to a small input, and slow to import

        for result in workers.results(source, jobs, stop, _examining, self.settings, self.selection):
            self.take(_decode_examined(result))

    def add(self, records: Iterable[Record]) -> None:
        """Count records."""
        self.take(self._examiner.examine(records))

    def take(self, examined: Examined) -> None:
        """Count the next records, of which this was found out."""
        self.read += examined.read
        for effect, times in examined.effects:
            self.sections[effect.kind].add(effect, times)
        for state, reason, times in examined.ends:
            self.ends[state, reason] = self.ends.get((state, reason), 0) + times


def _examining(settings: Settings, selection: Selection) -> Work:
    """Prepare what a process does."""
    examiner = Examiner(settings, selection)
    encode = msgspec.msgpack.Encoder().encode

    def work(blocks: Iterable[Block]) -> Iterator[bytes]:
        for records in portions(chain.from_iterable(map(examiner.records, blocks)), _MAX_EXAMINED):
            yield encode(examiner.examine(records))

    return work
