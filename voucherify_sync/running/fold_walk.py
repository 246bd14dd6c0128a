"""The walk of an input that folds its customers: blocks in, their updates in a Fold out.

It books no record: that is left to the walk that sends the events.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice

import msgspec

from voucherify_sync.bookkeeping.history import History, Memory
from voucherify_sync.bookkeeping.ledger_reader import LedgerReader
from voucherify_sync.mapping.by_reference import by_reference, rides_in_bulk
from voucherify_sync.mapping.filters import Filters
from voucherify_sync.mapping.fold import Fold
from voucherify_sync.mapping.payload import Mapping, Request
from voucherify_sync.model import FAILED_BEFORE, Block, Kind, Operation, Outcome, SegmentEvent, State
from voucherify_sync.reading.decode import Record, decode, portions
from voucherify_sync.reading.times import event_time
from voucherify_sync.running.gathered import Gathered
from voucherify_sync.running.jobs import Jobs
from voucherify_sync.stop import Stop

_TYPES = frozenset({"identify", "track", "page", "screen", "group", "alias"})
_GIVEN_UP = frozenset({FAILED_BEFORE, "dismissed"})
_encode = msgspec.json.Encoder().encode


class FoldWalk:
    """One walk of all records.

    Args:
        filters, mapping, history: for this walk alone: they count and remember.
        ledger: what was sent before.
        stop: ends the walk early.

    Attributes:
        read: records read.
        types: of the records.
    """

    def __init__(
        self, filters: Filters, mapping: Mapping, history: History, ledger: LedgerReader, stop: Stop
    ) -> None:
        self.read = 0
        self.types: Counter[str | None] = Counter()
        self._filters = filters
        self._mapping = mapping
        self._history = history
        self._ledger = ledger
        self._stop = stop

    def run(self, blocks: Iterable[Block], limit: int | None, jobs: Jobs, fold: Fold) -> None:
        """Walk the blocks, or their first `limit` records."""
        if limit is None and self._ledger.is_empty:  # all is new, and nobody need ask for it
            for gathered in jobs.gather(blocks):
                if self._stop.requested:
                    return
                self._take(gathered, fold)
            return
        for block in blocks:
            self._walk(block, fold, None if limit is None else limit - self.read)
            if self._stop.requested or self.read == limit:
                return

    def _take(self, gathered: Gathered, fold: Fold) -> None:
        """Fold what was gathered, and what needs the general mapping, in the order of the input."""
        self.types.update(gathered.types)
        self.read += sum(gathered.types.values())
        done = 0
        for other in gathered.others:
            if other.reason is not None:
                self.types[_known(other.type)] += 1
                self.read += 1
                continue
            before = bisect_left(gathered.lines, other.line, done)
            self._take_part(gathered, slice(done, before), fold)
            done = before
            self._walk(other.as_block(gathered.source), fold)
        self._take_part(gathered, slice(done, None), fold)

    def _take_part(self, gathered: Gathered, part: slice, fold: Fold) -> None:
        columns = gathered.source_ids, gathered.payloads, gathered.times, gathered.message_ids
        for update in zip(*(column[part] for column in columns), strict=True):
            fold.add_encoded(*update)

    def _walk(self, block: Block, fold: Fold, limit: int | None = None) -> None:
        """Map the records of a block, or its first `limit`, in the general way."""
        for records in portions(islice(decode(block), limit)):
            if self._stop.requested:
                return
            self._walk_portion(records, fold)

    def _walk_portion(self, records: list[Record], fold: Fold) -> None:
        self.read += len(records)
        self.types.update(
            _known(record.type) if isinstance(record, SegmentEvent) else None for record in records
        )
        updates = list(self._updates(records))
        memories = self._history.recall([event for event, _ in updates])
        for (event, request), memory in zip(updates, memories, strict=True):
            self._add(fold, event, request, memory)

    def _updates(self, records: list[Record]) -> Iterator[tuple[SegmentEvent, Request]]:
        """Yield the records that say something of a customer."""
        for record in records:
            if isinstance(record, Outcome) or self._filters.reason_to_skip(record) is not None:
                continue
            request = self._mapping.request(record)
            if isinstance(request, Outcome) or not rides_in_bulk(request):
                continue
            if request.kind is Kind.CUSTOMER or len(request.customer) > 1:
                yield record, request

    def _add(self, fold: Fold, event: SegmentEvent, request: Request, memory: Memory) -> None:
        """Fold an update; one that failed, and is not tried again, must not come with a later one of its customer."""
        outcome = self._outcome(event, request, memory)
        if outcome is None or outcome.reason not in _GIVEN_UP:
            time = event_time(event.fields)
            fold.add(request.customer, time, event.message_id, is_new=outcome is None)

    def _outcome(self, event: SegmentEvent, request: Request, memory: Memory) -> Outcome | None:
        """Return how the second walk will find that the record ended before; None if it is to be sent."""
        known = memory.known
        if known is None:
            return None
        outcome = self._history.judge(event, memory)
        if outcome is not None or known.state is not State.FAILED:
            return outcome
        sent = by_reference(request)
        operation = Operation(event, sent.kind, sent.source_id, sent.body, _encode(sent.body))
        step = self._history.take_up(operation, memory)
        return step if isinstance(step, Outcome) else None


def _known(type_: str) -> str | None:
    """Return a type if it is one of Segment's: any text may stand there, and memory must stay flat."""
    return type_ if type_ in _TYPES else None
