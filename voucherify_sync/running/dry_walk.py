"""The fast walk of a dry run: blocks in, lines of planned requests out, and the same books as by the Replay.

Ordinary events are planned by the block. Whatever is not ordinary is walked by the Replay, in its place, whose answer
is right by definition.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import compress

from voucherify_sync.bookkeeping.history import repeated
from voucherify_sync.bookkeeping.report import Report
from voucherify_sync.bookkeeping.seen import Seen
from voucherify_sync.model import Block, Outcome, Position, SegmentEvent, State
from voucherify_sync.reading.decode import decode
from voucherify_sync.replay import Replay
from voucherify_sync.running.older_updates import OlderUpdates
from voucherify_sync.running.planner import KINDS, Planned
from voucherify_sync.stop import Stop


class DryWalk:
    """One walk of all records of a dry run.

    Args:
        replay: takes what is not ordinary; it shares the other arguments.
        seen: the keys of the run.
        report: counts the outcomes.
        older: looks at the updates of customers.
        write: takes the lines.
        stop: looked at before every block.

    Attributes:
        read: records taken up so far, beside the Replay's.
    """

    def __init__(
        self,
        replay: Replay,
        *,
        seen: Seen,
        report: Report,
        older: OlderUpdates,
        write: Callable[[bytes], object],
        stop: Stop,
    ) -> None:
        self.read = 0
        self._replay = replay
        self._seen = seen
        self._report = report
        self._older = older
        self._write = write
        self._stop = stop

    def run(self, plans: Iterable[Planned | Block]) -> None:
        """Walk what was planned, in the order of the input; return when every record taken up is booked."""
        for planned in plans:
            if self._stop.requested:
                break
            if isinstance(planned, Block):
                self._replay.walk(list(decode(planned)))
            else:
                self._settle(planned)

    def _settle(self, planned: Planned) -> None:
        """Decide what becomes of the planned requests, and of what came between them, in their order."""
        done = 0
        for index, other in planned.rest:
            self._take_up(planned, slice(done, index))
            done = index
            if isinstance(other, Block):
                self._replay.walk(list(decode(other)))
            else:
                self._book(other)
        self._take_up(planned, slice(done, None))

    def _take_up(self, planned: Planned, part: slice) -> None:
        """Write requests, but those of records that were met before, which is rarely looked at one by one."""
        types, updates, texts = planned.types[part], planned.updates[part], planned.texts[part]
        if not self._seen.are_new(planned.keys[part], planned.checksums[part]):
            is_new = [self._is_new(planned, index) for index in range(*part.indices(len(planned.texts)))]
            types = list(compress(types, is_new))
            updates = list(compress(updates, is_new))
            texts = list(compress(texts, is_new))
        self._write(b"".join(texts))
        self.read += len(texts)
        for type_, kind in KINDS.items():
            if count := types.count(type_):
                self._report.add_planned(type_, kind, count)
        for update in updates:
            if update is not None:
                self._older.update(*update)

    def _is_new(self, planned: Planned, index: int) -> bool:
        """Tell whether a request is to be sent; if not, book that it is a duplicate."""
        is_equal = self._seen.meet(planned.keys[index], planned.checksums[index])
        if is_equal is not None:
            position = Position(planned.source, planned.lines[index])
            record = SegmentEvent(position, planned.types[index], None, "", {}, b"")
            self._book(Outcome(record, State.DUPLICATE, repeated("", is_equal=is_equal)))
        return is_equal is None

    def _book(self, outcome: Outcome) -> None:
        self.read += 1
        self._report.add(outcome)
