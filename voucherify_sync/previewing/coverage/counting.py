"""Counts what a mapping does to many events: records in, path by path what is mapped and what is lost out.

What an examiner found out is counted in the order of the input: what finds room, and what is the example of a path,
is decided here alone, whoever examined the events. Memory does not grow with their number.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from voucherify_sync.mapping.filters import Selection
from voucherify_sync.model import Block, State
from voucherify_sync.previewing.coverage.examined import Effect, Ending, Examined
from voucherify_sync.previewing.coverage.examiner import Examiner
from voucherify_sync.previewing.coverage.section import Section
from voucherify_sync.reading.decode import Record, decode, portions
from voucherify_sync.running.tasks import LONGEST_SHARED
from voucherify_sync.settings import Settings
from voucherify_sync.stop import Stop


class Coverage:
    """Counts what becomes of the values of events.

    Args:
        settings: whose filters and mapping decide.
        selection: what the command line picks.

    Attributes:
        read: records.
    """

    def __init__(self, settings: Settings, selection: Selection | None = None) -> None:
        self.settings = settings
        self.selection = selection or Selection()
        self.read = 0
        self._examiner = Examiner(settings, self.selection)
        self._sections = {kind: Section(rows) for kind, rows in self._examiner.rows.items()}
        self._ends: dict[Ending, int] = {}
        self._known: dict[int, Effect | Ending] = {}
        self._waiting: dict[int, int] = {}

    @property
    def sections(self) -> dict[str, Section]:
        """What was seen, by type of event: ``identify`` and ``track``."""
        self._settle()
        return self._sections

    @property
    def ends(self) -> dict[tuple[State, str], int]:
        """State and reason of the records of which no request is made, each with how often."""
        self._settle()
        return {(ending.state, ending.reason): times for ending, times in self._ends.items()}

    def add_block(self, block: Block, stop: Stop, limit: int | None = None) -> None:
        """Count the records of a block, or its first `limit`, until the run stops."""
        records = islice(decode(block), limit)
        is_long = len(block.text) > LONGEST_SHARED
        for portion in (
            portions(records) if is_long else (records,)
        ):  # one by one they take less time than in lists
            if stop.requested:
                return
            self.add(portion)

    def add(self, records: Iterable[Record]) -> None:
        """Count records, as ``decode`` yields them."""
        self.take(self._examiner.examine(records))

    def take(self, examined: Examined) -> None:
        """Count the next records, of which this was found out.

        What is new is counted at once, so that paths find room in the order of the input; the rest can wait.
        """
        self.read += sum(examined.times.values())
        self._known.update(examined.new)
        for number, times in examined.times.items():
            if number in examined.new:
                self._count(number, times)
            else:
                self._waiting[number] = self._waiting.get(number, 0) + times
        for number in examined.forgotten:
            if times := self._waiting.pop(number, 0):
                self._count(number, times)
            del self._known[number]

    def _settle(self) -> None:
        """Count what waits."""
        for number, times in self._waiting.items():
            self._count(number, times)
        self._waiting.clear()

    def _count(self, number: int, times: int) -> None:
        known = self._known[number]
        if isinstance(known, Ending):
            self._ends[known] = self._ends.get(known, 0) + times
        else:
            self._sections[known.kind].add(known, times)
