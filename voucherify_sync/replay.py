"""The pipeline: blocks of lines in, exactly one Outcome a record out.

An event walks straight down: decode -> filters -> history -> mapping -> courier -> books. Whatever leaves early
leaves as an Outcome and is booked like the rest. Nothing here knows files, HTTP or terminals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Protocol

from voucherify_sync.bookkeeping.history import History, Memory
from voucherify_sync.errors import VoucherifySyncError
from voucherify_sync.mapping.filters import Filters
from voucherify_sync.mapping.payload import Mapping
from voucherify_sync.model import Block, Operation, Outcome, SegmentEvent, State
from voucherify_sync.reading.decode import Record, decode, portions
from voucherify_sync.stop import Stop

Book = Callable[[Outcome], None]
"""Takes note of an outcome: the report, the dead letters, the ledger, a limit on errors."""


Decode = Callable[[Block], Iterator[SegmentEvent | Outcome]]
"""Makes records of a block."""


class Courier(Protocol):
    """Takes operations and gives back their outcomes, each once; keeps the order of one customer."""

    def submit(self, operation: Operation) -> None:
        """Take one operation; may wait while too many are under way."""
        ...

    def finished(self) -> list[Outcome]:
        """Give what was decided since the last call, without waiting."""
        ...

    def drain(self, timeout_s: float | None = None) -> Iterator[Outcome]:
        """Give everything that is still open; after a stop wait at most so long for what is in flight."""
        ...


class Replay:
    """One walk of all records from the blocks to the books.

    Args:
        filters: what the settings and the command line leave out.
        history: what has been sent before.
        mapping: event to request.
        courier: request to outcome.
        books: who takes note of outcomes, called in the thread of `run`.
        stop: looked at before every record.
        decode: block to records.

    Attributes:
        read: records taken up so far.
    """

    def __init__(
        self,
        *,
        filters: Filters,
        history: History,
        mapping: Mapping,
        courier: Courier,
        books: list[Book],
        stop: Stop,
        decode: Decode = decode,
    ) -> None:
        self._filters = filters
        self._history = history
        self._mapping = mapping
        self._courier = courier
        self._books = books
        self._stop = stop
        self._decode = decode
        self.read = 0

    def run(self, blocks: Iterable[Block], limit: int | None = None) -> None:
        """Replay the blocks, or their first `limit` records; return when every record taken up is booked.

        A ledger that fails is told to the stop.
        """
        try:
            for block in blocks:
                self.walk(block, None if limit is None else limit - self.read)
                if self._stop.requested or self.read == limit:
                    break
        except VoucherifySyncError as error:
            self._stop.because(error)
        self._book_all(self._courier.drain())

    def walk(self, block: Block, limit: int | None = None) -> None:
        """Take up the records of a block, or its first `limit`; the history is asked once for each portion of them.

        Those that a courier still has under way are not booked yet.
        """
        for records in portions(islice(self._decode(block), limit)):
            for step in self._decide(records):
                if isinstance(step, Operation):
                    self._courier.submit(step)
                    self._book_all(self._courier.finished())
                else:
                    self._book_all((step,))
            if self._stop.requested:
                return

    def _decide(self, records: list[Record]) -> Iterator[Operation | Outcome]:
        """Find out what becomes of each record: a request, or the outcome that it ends in without one."""
        sifted = [self._sift(record) for record in records]
        memories = iter(self._history.recall([step for step in sifted if isinstance(step, SegmentEvent)]))
        for step in sifted:
            if self._stop.requested:
                return
            decided = step if isinstance(step, Outcome) else self._request(step, next(memories))
            self.read += 1
            yield decided

    def _sift(self, record: Record) -> Record:
        if isinstance(record, Outcome):
            return record
        reason = self._filters.reason_to_skip(record)
        return record if reason is None else Outcome(record, State.SKIPPED, reason)

    def _request(self, event: SegmentEvent, memory: Memory) -> Operation | Outcome:
        known = self._history.judge(event, memory)
        if known is not None:
            return known
        step = self._mapping.operation(event)
        return step if isinstance(step, Outcome) else self._history.take_up(step, memory)

    def _book_all(self, outcomes: Iterable[Outcome]) -> None:
        for outcome in outcomes:
            for book in self._books:
                book(outcome)
