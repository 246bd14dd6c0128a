"""The first walk of a run in bulk: lines in, every customer folded and delivered, and how each of them ended out.

It books no record: that is left to the second walk, which sends the events and asks here for their customers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

from msgspec import Struct

from voucherify_sync.bookkeeping.history import NEVER, History, Rule
from voucherify_sync.bookkeeping.ledger import Ledger
from voucherify_sync.bookkeeping.ledger_reader import LastUpdate, LedgerReader
from voucherify_sync.delivery.actions import ActionLog
from voucherify_sync.delivery.bulk import Deliverer, Fate
from voucherify_sync.delivery.dry_link import DryLink
from voucherify_sync.errors import VoucherifySyncError
from voucherify_sync.keys import request_hash
from voucherify_sync.mapping.filters import Filters
from voucherify_sync.mapping.fold import Fold, FoldedCustomer
from voucherify_sync.mapping.payload import Mapping
from voucherify_sync.model import BadRecord, Block, Operation, Outcome, Position, State
from voucherify_sync.reading.times import event_time
from voucherify_sync.running.fold_walk import FoldWalk
from voucherify_sync.running.jobs import Jobs
from voucherify_sync.running.request import RunRequest
from voucherify_sync.stop import Stop

if TYPE_CHECKING:  # it needs requests, which is slow to import
    from voucherify_sync.delivery.link import Link

UNCHANGED = Fate("")
"""The fate of all customers who are not sent, because the last thing that they were sent is the same."""

_PORTION = 500
"""Customers that the ledger is asked for at once."""


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
        walk: folds the customers of the input.
        ledger: remembers what customers were sent, if it is one that can be written.
        deliverer: sends the customers.
        stop: ends the walk early.
        again: customers are sent although nothing about them has changed.

    Attributes:
        tally: what came of the customers so far.
    """

    def __init__(
        self,
        walk: FoldWalk,
        ledger: LedgerReader,
        deliverer: Deliverer,
        stop: Stop,
        *,
        again: bool,
    ) -> None:
        self.tally = Tally()
        self._walk = walk
        self._ledger = ledger
        self._deliverer = deliverer
        self._stop = stop
        self._again = again
        self._fates: dict[str, Fate] = {}

    @property
    def read(self) -> int:
        """Records read."""
        return self._walk.read

    def run(self, blocks: Iterable[Block], limit: int | None, jobs: Jobs) -> None:
        """Walk the blocks, or their first `limit` records; what prevents the second walk is told to the stop."""
        with Fold() as fold:
            try:
                self._walk.run(blocks, limit, jobs, fold)
                self.tally.updates = fold.updates
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
        for type_, count in self._walk.types.items():
            outcome = Outcome(BadRecord(Position("", 0), b"", type_), State.PENDING)
            yield from (outcome for _ in range(count))

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
        same requests, which the ledger knows as accepted. A run that is stopped meanwhile forgets none of those: the
        next one sends the customers that are not remembered yet again, which does no harm.
        """
        if not isinstance(self._ledger, Ledger):
            return
        for customer in fold.customers():
            if self._stop.requested:
                return
            if customer.source_id not in self._fates:
                update = LastUpdate(customer.updated_at, request_hash(customer.payload))
                self._ledger.remember_update(customer.source_id, update)
        self._ledger.forget_actions()
        self._ledger.flush()


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


def customers_first(
    request: RunRequest, ledger: LedgerReader, rule: Rule, link: Link | DryLink, stop: Stop
) -> CustomersFirst:
    """Prepare the walk that sends the customers of a run in bulk; it counts and remembers for itself."""
    filters = Filters(request.settings, request.selection, lambda event: event_time(event.fields))
    mapping = Mapping(request.settings, filters.reason_to_leave_out)
    again = rule.again_before > NEVER
    return CustomersFirst(
        FoldWalk(filters, mapping, History(ledger, rule), ledger, stop),
        ledger,
        link.bulk(action_log(ledger, again=again)),
        stop,
        again=again,
    )
