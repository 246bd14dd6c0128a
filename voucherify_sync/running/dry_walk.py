"""The fast walk of a dry run: blocks in, lines of planned requests out, and the same books as by the Replay.

Ordinary events are planned by the block. Whatever is not ordinary is walked by the Replay, in its place, whose answer
is right by definition.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from voucherify_sync.bookkeeping.history import repeated
from voucherify_sync.bookkeeping.report import Report
from voucherify_sync.bookkeeping.seen import Seen
from voucherify_sync.mapping.tally import Tally
from voucherify_sync.model import Block, Outcome, Position, SegmentEvent, State
from voucherify_sync.reading.decode import decode
from voucherify_sync.replay import Replay
from voucherify_sync.running.older_updates import OlderUpdates
from voucherify_sync.running.planner import KINDS, PIECES, SAMPLED, Planned, Planner, Row
from voucherify_sync.stop import Stop

EXACT_LINES: Final = 1_000
"""Lines of the first source that the Replay walks, so that small archives are counted exactly."""


class DryWalk:
    """One walk of all records of a dry run.

    Args:
        replay: takes what is not ordinary; it shares the other arguments.
        planner: takes what is ordinary.
        seen: the keys of the run.
        report: counts the outcomes.
        older: looks at the updates of customers.
        tally: what the mapping did.
        write: takes the lines.
        stop: looked at before every block.

    Attributes:
        read: records taken up so far, beside the Replay's.
    """

    def __init__(
        self,
        replay: Replay,
        planner: Planner,
        *,
        seen: Seen,
        report: Report,
        older: OlderUpdates,
        tally: Tally,
        write: Callable[[bytes], object],
        stop: Stop,
    ) -> None:
        self.read = 0
        self._replay = replay
        self._planner = planner
        self._seen = seen
        self._report = report
        self._older = older
        self._tally = tally
        self._write = write
        self._stop = stop

    def run(self, blocks: Iterable[Block]) -> None:
        """Walk the blocks; return when every record taken up is booked."""
        first_source = None
        for block in blocks:
            if self._stop.requested:
                break
            first_source = first_source or block.source
            is_beginning = block.source == first_source and block.first_line <= EXACT_LINES
            if is_beginning or block.truncated:
                self._replay.walk(list(decode(block)))
            else:
                self._settle(self._planner.plan(block))
        self._tally.add_sample(self._planner.sample, SAMPLED)

    def _settle(self, planned: Planned) -> None:
        """Decide what becomes of the planned requests, and of what came between them, in their order."""
        done = 0
        for index, other in planned.rest:
            self._take_up(planned, done, index)
            done = index
            if isinstance(other, Block):
                self._replay.walk(list(decode(other)))
            else:
                self._book(other)
        self._take_up(planned, done, len(planned.rows))

    def _take_up(self, planned: Planned, start: int, end: int) -> None:
        """Write requests, but those of records that were met before, which is rarely looked at one by one."""
        if start == end:
            return
        rows, texts = planned.rows[start:end], planned.texts[start * PIECES : end * PIECES]
        if not self._seen.are_new([row[0] for row in rows], [row[1] for row in rows]):
            fresh = [number for number, row in enumerate(rows) if self._is_new(planned.source, row)]
            rows, texts = [rows[number] for number in fresh], _pieces(texts, fresh)
        self._write(b"".join(texts))
        self.read += len(rows)
        types = [row[2] for row in rows]
        for type_, kind in KINDS.items():
            if count := types.count(type_):
                self._report.add_planned(type_, kind, count)
        update = self._older.update
        for row in rows:
            if row[4] is not None:
                update(*row[4])

    def _is_new(self, source: str, row: Row) -> bool:
        key, checksum, type_, line, _ = row
        is_equal = self._seen.meet(key, checksum)
        if is_equal is not None:
            record = SegmentEvent(Position(source, line), type_, None, "", {}, b"")
            self._book(Outcome(record, State.DUPLICATE, repeated("", is_equal=is_equal)))
        return is_equal is None

    def _book(self, outcome: Outcome) -> None:
        self.read += 1
        self._report.add(outcome)


def _pieces(texts: list[bytes], numbers: Iterable[int]) -> list[bytes]:
    return [piece for number in numbers for piece in texts[number * PIECES : (number + 1) * PIECES]]
