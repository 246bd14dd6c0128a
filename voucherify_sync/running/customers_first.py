"""The first walk of a run in bulk: lines in, every customer folded and delivered, and how each of them ended out.

It books no record: that is left to the second walk, which sends the events and asks here for their customers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice

import msgspec
from msgspec import Struct

from voucherify_sync.bookkeeping.history import History, Memory
from voucherify_sync.bookkeeping.ledger import Ledger
from voucherify_sync.bookkeeping.ledger_reader import LastUpdate, LedgerReader
from voucherify_sync.delivery.actions import ActionLog
from voucherify_sync.delivery.bulk import Deliverer, Fate
from voucherify_sync.errors import VoucherifySyncError
from voucherify_sync.keys import request_hash
from voucherify_sync.mapping.by_reference import by_reference, rides_in_bulk
from voucherify_sync.mapping.filters import Filters
from voucherify_sync.mapping.fold import Fold, FoldedCustomer
from voucherify_sync.mapping.payload import Mapping, Request
from voucherify_sync.model import BadRecord, Block, Kind, Operation, Outcome, Position, SegmentEvent, State
from voucherify_sync.reading.decode import decode
from voucherify_sync.reading.times import event_time
from voucherify_sync.stop import Stop

UNCHANGED = Fate("")
"""The fate of all customers who are not sent, because the last thing that they were sent is the same."""

_TYPES = frozenset({"identify", "track", "page", "screen", "group", "alias"})
_PORTION = 500
"""Customers that the ledger is asked for at once."""
_encode = msgspec.json.Encoder().encode


class Tally(Struct):
    """What came of the customers.

    Attributes:
        updates: records that were folded.
        delivered: customers; in a dry run those that would be sent.
        failed: customers that were refused, or given up.
        unchanged: customers that were not sent, as nothing about them is new.
        requests: bulk requests made; in a dry run those that would be.
        polls: calls that asked how a request went.
        bytes: of all bodies.
    """

    updates: int = 0
    delivered: int = 0
    failed: int = 0
    unchanged: int = 0
    requests: int = 0
    polls: int = 0
    bytes: int = 0


class CustomersFirst:
    """Folds the customer updates of the whole input and delivers them.

    Args:
        filters, mapping, history: as of the walk that follows, but for this one alone: they count and remember.
        ledger: remembers what customers were sent, if it is one that can be written.
        deliverer: sends the customers.
        stop: ends the walk early.
        again: customers are sent although nothing about them has changed.

    Attributes:
        read: records read.
        tally: what came of the customers so far.
    """

    def __init__(
        self,
        filters: Filters,
        mapping: Mapping,
        history: History,
        ledger: LedgerReader,
        deliverer: Deliverer,
        stop: Stop,
        *,
        again: bool,
    ) -> None:
        self.read = 0
        self.tally = Tally()
        self._filters = filters
        self._mapping = mapping
        self._history = history
        self._ledger = ledger
        self._deliverer = deliverer
        self._stop = stop
        self._again = again
        self._types: Counter[str | None] = Counter()
        self._fates: dict[str, Fate] = {}

    def run(self, blocks: Iterable[Block], limit: int | None) -> None:
        """Walk the blocks, or their first `limit` records; what prevents the second walk is told to the stop."""
        with Fold() as fold:
            try:
                self._fold(blocks, limit, fold)
                if not self._stop.requested:
                    self._deliver(fold)
                if not self._stop.requested:
                    self._remember(fold)
            except VoucherifySyncError as error:
                self._stop.because(error)

    def outcome(self, operation: Operation) -> Outcome:
        """Tell how the record of a customer update ended."""
        event, fate = operation.event, self._fates.get(operation.source_id)
        if fate is None:
            return Outcome(event, self._deliverer.state, operation=operation)
        if fate.refusal is None:
            return Outcome(event, State.DUPLICATE, "unchanged", operation=operation)
        why = fate.refusal
        return Outcome(event, State.FAILED, why.reason, why.detail, operation, why.status, why.response)

    def refusal(self, source_id: str) -> str | None:
        """Return why a customer failed, None if that is not so."""
        fate = self._fates.get(source_id)
        return fate.refusal.reason if fate is not None and fate.refusal is not None else None

    def pending(self) -> Iterator[Outcome]:
        """Yield an outcome for each record read, where the run stopped before the second walk."""
        for type_, count in self._types.items():
            outcome = Outcome(BadRecord(Position("", 0), b"", type_), State.PENDING)
            yield from (outcome for _ in range(count))

    def _fold(self, blocks: Iterable[Block], limit: int | None, fold: Fold) -> None:
        for block in blocks:
            records = list(islice(decode(block), None if limit is None else limit - self.read))
            self.read += len(records)
            self._types.update(map(_known_type, records))
            updates = list(self._updates(records))
            memories = self._history.recall([event for event, _ in updates])
            for (event, request), memory in zip(updates, memories, strict=True):
                self._add(fold, event, request, memory)
            if self._stop.requested or self.read == limit:
                return

    def _updates(self, records: list[SegmentEvent | Outcome]) -> Iterator[tuple[SegmentEvent, Request]]:
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
        is_new = self._is_new(event, request, memory)
        try:
            fold.add(request.customer, event_time(event.fields), event.message_id, is_new=is_new)
        except RecursionError:  # an identify as deep as that is invalid in the second walk
            return
        self.tally.updates += 1

    def _is_new(self, event: SegmentEvent, request: Request, memory: Memory) -> bool:
        """Tell whether the second walk will take the record up, instead of finding that it was sent before."""
        known = memory.known
        if known is None:
            return True
        if self._history.judge(event, memory) is not None:
            return False
        if known.state is not State.FAILED:
            return True
        sent = by_reference(request)
        operation = Operation(event, sent.kind, sent.source_id, sent.body, _encode(sent.body))
        return isinstance(self._history.take_up(operation, memory), Operation)

    def _deliver(self, fold: Fold) -> None:
        for fate in self._deliverer.deliver(self._changed(fold)):
            if fate.refusal is None:
                self.tally.delivered += 1
            else:
                self.tally.failed += 1
                self._fates[fate.source_id] = fate
            self.tally.requests, self.tally.polls = self._deliverer.requests, self._deliverer.polls
            self.tally.bytes = self._deliverer.bytes

    def _changed(self, fold: Fold) -> Iterator[FoldedCustomer]:
        """Leave out the customers whose last update said the same."""
        if self._again:
            yield from fold.customers()
            return
        customers = fold.customers()
        while not self._stop.requested and (portion := list(islice(customers, _PORTION))):
            lasts = self._ledger.last_updates([customer.source_id for customer in portion])
            for customer, last in zip(portion, lasts, strict=True):
                if last is not None and last.hash == request_hash(customer.payload):
                    self.tally.unchanged += 1
                    self._fates[customer.source_id] = UNCHANGED
                else:
                    yield customer

    def _remember(self, fold: Fold) -> None:
        """Remember what customers were sent, once all of them are decided.

        Not earlier: a run that goes on after a kill must leave out the same customers as unchanged, to make up the
        same requests, which the ledger knows as accepted.
        """
        if not isinstance(self._ledger, Ledger):
            return
        for customer in fold.customers():
            if customer.source_id not in self._fates:
                update = LastUpdate(customer.updated_at, request_hash(customer.payload))
                self._ledger.remember_update(customer.source_id, update)
        self._ledger.forget_actions()
        self._ledger.flush()


def _known_type(record: SegmentEvent | Outcome) -> str | None:
    """Return a record's type if it is one of Segment's: any text may stand there, and memory must stay flat."""
    return record.type if isinstance(record, SegmentEvent) and record.type in _TYPES else None


class _Afresh:
    """Remembers actions and knows none."""

    def __init__(self, ledger: LedgerReader) -> None:
        self._ledger = ledger

    def remember_action(self, body_hash: bytes, action_id: str) -> None:
        """Leave it to the ledger, if there is one."""
        if isinstance(self._ledger, Ledger):
            self._ledger.remember_action(body_hash, action_id)

    def action(self, body_hash: bytes) -> str | None:
        """Know nothing."""
        return None


def action_log(ledger: LedgerReader, *, again: bool) -> ActionLog:
    """Return what knows which requests were accepted: nothing without a ledger, or if all is to be sent again."""
    return ledger if isinstance(ledger, Ledger) and not again else _Afresh(ledger)
