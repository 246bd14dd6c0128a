"""The fast walk of a dry run: blocks in, lines of planned requests out, and the same books as by the Replay.

Ordinary events are planned by the block. Whatever is not ordinary is walked by the Replay, in its place, whose answer
is right by definition.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, compress, takewhile
from typing import Final, Protocol

from voucherify_sync.bookkeeping.history import repeated
from voucherify_sync.bookkeeping.report import Report
from voucherify_sync.bookkeeping.seen import Seen
from voucherify_sync.mapping.filters import Filters
from voucherify_sync.mapping.tally import Tally
from voucherify_sync.model import Block, Outcome, Position, SegmentEvent, State
from voucherify_sync.replay import Replay
from voucherify_sync.running.jobs import PlanBlocks
from voucherify_sync.running.older_updates import OlderUpdates
from voucherify_sync.running.planned import About, Counted, Planned
from voucherify_sync.running.planner import KINDS
from voucherify_sync.stop import Stop

EXACT_LINES: Final = 1_000
"""Lines at the beginning that the Replay walks, so that small archives are counted exactly."""


class Watch(Protocol):
    """Wants to know of every record of a run."""

    def add(self, outcome: Outcome) -> None:
        """Take note of an outcome."""
        ...

    def add_planned(self, type_: str, about: About, count: int) -> None:
        """Take note of so many requests at once that a dry run would send, of events of this type."""
        ...


class DryWalk:
    """One walk of all records of a dry run.

    Args:
        replay: takes what is not ordinary; it shares the other arguments.
        seen: the keys of the run.
        report: counts the outcomes.
        older: looks at the updates of customers.
        tally: what the mapping did.
        filters: their names are counted.
        watch: wants to know of every record, too.
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
        tally: Tally,
        filters: Filters,
        watch: Watch | None,
        write: Callable[[bytes], object],
        stop: Stop,
    ) -> None:
        self.read = 0
        self._replay = replay
        self._seen = seen
        self._report = report
        self._older = older
        self._tally = tally
        self._filters = filters
        self._watch = watch
        self._write = write
        self._stop = stop

    def run(self, blocks: Iterable[Block], plan: PlanBlocks) -> None:
        """Walk the blocks, in their order; return when every record taken up is booked.

        A stop ends the input: what is planned by then is settled, so that all counts are of the same records.
        """
        blocks = takewhile(lambda _: not self._stop.requested, blocks)
        for planned in plan(chain(self._begin(blocks), blocks)):
            if isinstance(planned, Planned):
                self._settle(planned)
            else:
                self._count(planned)

    def _begin(self, blocks: Iterator[Block]) -> list[Block]:
        """Let the Replay walk the first lines; return what follows in the block in which they end."""
        left = EXACT_LINES
        while left and (block := next(blocks, None)):
            first, rest = block.parted(left)
            self._replay.walk(first)
            left -= rest.first_line - first.first_line
            if rest.text:
                return [rest]
        return []

    def _settle(self, planned: Planned) -> None:
        """Decide what becomes of the planned requests, and of what came between them.

        What the Replay walks has its place among the requests, since it may be one; what a rule leaves out is none.
        """
        done = 0
        for other in planned.others:
            if other.reason is not None:
                position = Position(planned.source, other.line)
                record = SegmentEvent(position, other.type, other.name, None, {}, b"")
                self._book(Outcome(record, State.SKIPPED, other.reason))
                continue
            before = bisect_left(planned.lines, other.line, done)
            self._take_up(planned, slice(done, before))
            done = before
            if not self._stop.requested:
                self._replay.walk(other.as_block(planned.source))
        self._take_up(planned, slice(done, None))

    def _take_up(self, planned: Planned, part: slice) -> None:
        """Write requests, but those of records that were met before, which is rarely looked at one by one."""
        types, updates, texts = planned.types[part], planned.updates[part], planned.texts[part]
        about = planned.about[part]
        self._watch_names(planned, part)
        met = self._seen.meet_all(planned.keys[part], planned.digests[part])
        if met is not None:
            is_new = [is_equal is None for is_equal in met]
            self._book_repeated(planned, part, met)
            types = list(compress(types, is_new))
            updates = list(compress(updates, is_new))
            about = list(compress(about, is_new))
            texts = list(compress(texts, is_new))
        self._write(b"".join(texts))
        self.read += len(texts)
        for type_, kind in KINDS.items():
            if count := types.count(type_):
                self._report.add_planned(type_, kind, count)
        self._older.update(filter(None, updates))
        if self._watch is not None:
            for (type_, what), count in Counter(zip(types, about, strict=True)).items():
                self._watch.add_planned(type_, what, count)

    def _watch_names(self, planned: Planned, part: slice) -> None:
        renamed = planned.renamed[part]
        if any(renamed):
            for line, name in zip(planned.lines[part], renamed, strict=True):
                if name is not None:
                    self._tally.renames.add(Position(planned.source, line), name)

    def _book_repeated(self, planned: Planned, part: slice, met: list[bool | None]) -> None:
        """Book the records that were met before, and whether their requests were equal."""
        for index, is_equal in zip(range(*part.indices(len(planned.lines))), met, strict=True):
            if is_equal is not None:
                position = Position(planned.source, planned.lines[index])
                name = planned.about[index][0] if planned.about else None
                record = SegmentEvent(position, planned.types[index], name, "", {}, b"")
                self._book(Outcome(record, State.DUPLICATE, repeated("", is_equal=is_equal)))

    def _book(self, outcome: Outcome) -> None:
        self.read += 1
        self._report.add(outcome)
        if self._watch is not None:
            self._watch.add(outcome)

    def _count(self, counted: Counted) -> None:
        for type_, section in self._tally.sections.items():
            section.add_fired(counted.fired[type_])
        if self.read:
            self._tally.add_sample(counted.lost, counted.sampled)
        self._filters.names.merge(counted.left, counted.met)
