"""The first pass of a run: customers in bulk and orders are folded and delivered, before the rest of the input is sent.

In a run in bulk the events only name their customers. The first pass over the input records no outcome: that is left to
the second one, in which a customer update ends as its customer did, and an order event as its order did.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from math import inf
from typing import TYPE_CHECKING, Self

from msgspec import Struct

from voucherify_sync.delivery.dry_run import DryRun
from voucherify_sync.errors import VoucherifySyncError
from voucherify_sync.events import (
    EVENT_TYPES,
    BadRecord,
    Batch,
    Event,
    Kind,
    Position,
    Request,
    request_hash,
)
from voucherify_sync.mapping.fold import CustomerFold, FoldedCustomer, microseconds
from voucherify_sync.outcomes import (
    CUSTOMER_REFUSED,
    FAILED_BEFORE,
    UNCHANGED,
    Decision,
    Outcome,
    Phase,
    State,
)
from voucherify_sync.report.run_report import BulkReport, OrdersReport
from voucherify_sync.run.options import RunOptions
from voucherify_sync.run.order_run import BulkOrders, LetterOrders, OrderFold, copy_counts
from voucherify_sync.run.pipeline import is_second, record_of
from voucherify_sync.state.deduplication import NEVER, REPEATED, Deduplicator, ResendPolicy
from voucherify_sync.state.ledger import Ledger
from voucherify_sync.state.ledger_reader import LastUpdate, LedgerReader
from voucherify_sync.stop import Stop
from voucherify_sync.voucherify.bulk import ORDERS, ItemDelivery
from voucherify_sync.voucherify.retry_policy import Failed

if TYPE_CHECKING:
    from voucherify_sync.delivery.sender import LiveDelivery

_LOOKUP_CUSTOMERS = 500
"""Customers that are looked up in the ledger at once."""
_LEFT_OUT = frozenset({FAILED_BEFORE, "dismissed"}) | REPEATED
"""Reasons of updates that take no part: one that is not tried again must not come with a later one of its customer, and
of the records with one key the first one is what happened."""


def fold_updates(fold: CustomerFold, mapped: Iterable[Decision], decided: Iterable[Decision]) -> None:
    """Add the customer updates of records that a bulk request can carry.

    Args:
        fold: takes them.
        mapped: the records as the pipeline decided them.
        decided: the same, one for one, after de-duplication: what was sent before takes part in the fold, too.
    """
    for request, decision in zip(mapped, decided, strict=True):
        if not isinstance(request, Request) or request.is_by_id or not request.has_profile:
            continue
        if isinstance(decision, Outcome) and decision.reason in _LEFT_OUT:
            continue
        event = request.event
        fold.add(
            request.source_id,
            request.customer or request.payload,
            microseconds(event.time),
            microseconds(event.told_time),
            event.message_id or "",
            event.type if isinstance(decision, Request) else None,
        )


class BulkCustomers:
    """Delivers the folded customers of the whole input, and knows how each customer ended.

    Args:
        ledger: what customers were sent; one that can be written remembers what they are sent now.
        policy: what is sent although it was sent before.
        delivery: of the folded customers.
        stop: ends the pass early.

    Attributes:
        tally: what came of the customers so far.
        unchanged_updates: new updates of the customers that are not sent, as nothing about them changes, by the type of
            their events.
    """

    def __init__(
        self, ledger: LedgerReader, policy: ResendPolicy, delivery: ItemDelivery, stop: Stop
    ) -> None:
        self.tally = BulkReport()
        self.unchanged_updates: Counter[str] = Counter()
        self._ledger = ledger
        self._again = policy.again_before > NEVER
        self._delivery = delivery
        self._stop = stop
        self._refusals: dict[str, Failed | None] = {}  # None: not sent, as nothing about the customer is new

    @property
    def calls(self) -> int:
        """Bulk requests that were accepted, and polls."""
        return self._delivery.requests + self._delivery.polls

    def refusal(self, source_id: str) -> Failed | None:
        """Tell why a customer could not be sent; None if it was, or needed not be."""
        return self._refusals.get(source_id)

    def deliver(self, fold: CustomerFold) -> None:
        """Deliver the folded customers."""
        self.tally.updates = fold.updates
        for source_id, refusal in self._delivery.deliver(self._changed(fold)):
            if refusal is None:
                self.tally.delivered += 1
            else:
                self.tally.failed += 1
                self._refusals[source_id] = refusal
            copy_counts(self.tally, self._delivery)
        copy_counts(self.tally, self._delivery)

    def decide(self, decision: Request) -> Decision:
        """Tell in the second pass how a customer update ended, or that an event is not sent since its customer failed.

        A request that is still to be sent is returned as it is: an event, or a customer that no bulk request can carry.
        """
        if decision.kind is Kind.CUSTOMER and decision.is_by_id:
            return decision
        event, refusal = decision.event, self._refusals.get(decision.source_id)
        if decision.kind is Kind.EVENT:
            if refusal is None or decision.doubtful_since is not None:
                return decision
            detail = f"not sent, as its customer failed: {refusal.reason}"
            outcome = Outcome(event, State.FAILED, CUSTOMER_REFUSED, detail, decision)
        elif refusal is not None:
            status, response = refusal.status, refusal.response
            outcome = Outcome(event, State.FAILED, refusal.reason, refusal.detail, decision, status, response)
        elif decision.source_id in self._refusals:
            return Outcome(event, State.DUPLICATE, UNCHANGED, request=decision)
        else:
            outcome = Outcome(event, self._delivery.state, request=decision)
        return outcome

    def _changed(self, fold: CustomerFold) -> Iterator[FoldedCustomer]:
        """Leave out the customers whose last update said the same."""
        if self._again:
            yield from fold.customers()
            return
        customers = fold.customers()
        while not self._stop.requested and (portion := list(islice(customers, _LOOKUP_CUSTOMERS))):
            lasts = self._ledger.last_updates([customer.source_id for customer in portion])
            for customer, last in zip(portion, lasts, strict=True):
                if last is not None and last.hash == request_hash(customer.payload):
                    self.tally.unchanged += 1
                    self.unchanged_updates.update(customer.news)
                    self._refusals[customer.source_id] = None
                else:
                    yield customer

    def remember(self, fold: CustomerFold) -> None:
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
            if customer.source_id not in self._refusals:
                update = LastUpdate(customer.updated_at, request_hash(customer.payload))
                self._ledger.remember_update(customer.source_id, update)


class Folds(Struct, frozen=True):
    """What one pass over the input folds."""

    customers: CustomerFold
    orders: OrderFold | LetterOrders

    @classmethod
    def new(cls, *, of_letters: bool = False) -> Self:
        """Return folds of nothing yet."""
        return cls(CustomerFold(), LetterOrders() if of_letters else OrderFold())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.customers.close()
        self.orders.close()


class FirstPass:
    """Reads the whole input, folds customers and orders, and delivers them: first the customers, then the orders.

    It records no outcome: the second pass does, in which each record ends as its customer or its order did.

    Args:
        options: of the run.
        ledger: what was sent before; one that can be written remembers what is sent now.
        policy: what is sent although it was sent before.
        delivery: of all that is sent.
        stop: ends the pass early.

    Attributes:
        customers: those of a run in bulk; None where they go one by one.
        orders: None while orders are off.
        read: records read.
        alone: requests that follow one by one.
        phase: what is going on.
    """

    def __init__(
        self,
        options: RunOptions,
        ledger: LedgerReader,
        policy: ResendPolicy,
        delivery: LiveDelivery | DryRun,
        stop: Stop,
    ) -> None:
        settings = options.settings
        # Not a method of this object: the two would keep each other alive, with their files, after the run.
        log = ActionsSince(ledger, policy.again_before)
        self.customers: BulkCustomers | None = None
        self.orders: BulkOrders | None = None
        self._retries = policy.retries_failed
        self._is_single = settings.orders.instead_of_events
        if settings.delivery.customers == "bulk" and not self._retries:
            self.customers = BulkCustomers(ledger, policy, delivery.bulk(log), stop)
        if not settings.orders.disabled:
            imports = delivery.bulk(log, ORDERS, imports_update=options.imports_update)
            self.orders = BulkOrders(ledger, policy, imports, stop)
        self.read = self.alone = 0
        self.phase = Phase.READING
        self._types: Counter[str | None] = Counter()
        self._deduplicator = Deduplicator(ledger, policy)
        self._ledger = ledger
        self._stop = stop

    @property
    def calls(self) -> int:
        """Requests that were accepted, and polls."""
        return sum(each.calls for each in (self.customers, self.orders) if each is not None)

    def run(self, batches: Iterable[Sequence[Decision]]) -> None:
        """Fold the first pass, and deliver what it makes. An error stops the run."""
        with Folds.new(of_letters=self._retries) as folds:
            try:
                for mapped in batches:
                    decided = self._deduplicator.decide(mapped)
                    if self.customers is not None:
                        fold_updates(folds.customers, mapped, decided)
                    if self.orders is not None:
                        folds.orders.add_records(mapped, decided)
                    self._count(mapped, decided)
                    if self._stop.requested:
                        return
                self._deliver(folds)
            except VoucherifySyncError as error:
                self._stop.because(error)

    def _deliver(self, folds: Folds) -> None:
        if self.customers is not None:
            self.phase = Phase.CUSTOMERS
            self.customers.deliver(folds.customers)
        if self.orders is not None and not self._stop.requested:
            self.phase = Phase.ORDERS
            self.orders.deliver(folds.orders, self.refusal)
        if self._stop.requested:
            return
        if self.customers is not None:
            self.customers.remember(folds.customers)
        if self.orders is not None:
            self.orders.remember(folds.orders)
        if isinstance(self._ledger, Ledger) and not self._stop.requested:
            self._ledger.forget_actions()
            self._ledger.flush()

    @property
    def tally(self) -> BulkReport | OrdersReport | None:
        """What came so far of what is being delivered; None while the input is read."""
        if self.phase is Phase.READING:
            return None
        phase = self.orders if self.phase is Phase.ORDERS else self.customers
        return None if phase is None else phase.tally

    def refusal(self, source_id: str) -> Failed | None:
        """Tell why a customer could not be sent; None if it was, or goes on its own."""
        return None if self.customers is None else self.customers.refusal(source_id)

    def decide(self, decision: Decision) -> Decision:
        """Tell in the second pass how a record ended; a request that is still to be sent is returned as it is."""
        if isinstance(decision, Outcome):
            return decision
        if decision.order_id is not None:
            assert self.orders is not None  # noqa: S101  # else no order is made
            decided: Decision = self.orders.decide(decision)
        elif self.customers is not None:
            decided = self.customers.decide(decision)
        else:
            return decision
        if isinstance(decided, Outcome):
            self._ledger.record(decided)
        return decided

    def pending(self) -> Iterator[Outcome]:
        """Yield an outcome for each record read, where the run stopped before the second pass."""
        for kind in self._types.elements():
            yield Outcome(BadRecord(Position("", 0), b"", kind), State.PENDING)

    def _count(self, mapped: Sequence[Decision], decided: Iterable[Decision]) -> None:
        self.read += len(mapped) if self._is_single else sum(not is_second(each) for each in mapped)
        goes_alone = self.customers is None
        self.alone += sum(
            type(each) is Request
            and each.order_id is None
            and (goes_alone or each.kind is Kind.EVENT or each.is_by_id)
            for each in decided
        )
        for decision in mapped:
            if not self._is_single and is_second(decision):
                continue
            record = record_of(decision)
            kind = record.type if isinstance(record, Event) else None
            self._types[kind if kind in EVENT_TYPES else None] += 1  # any text may stand there


class ActionsSince:
    """An ActionLog of a ledger, without the actions of runs whose deliveries are repeated.

    Args:
        ledger: one that is only read knows none.
        first_run: number of the first run whose actions count: what that one has sent is not sent a third time.
    """

    def __init__(self, ledger: LedgerReader, first_run: float = inf) -> None:
        self._ledger = ledger
        self._first_run = first_run

    def remember_action(self, body_hash: bytes, action_id: str) -> None:
        """Leave it to the ledger, if there is one that is written."""
        if isinstance(self._ledger, Ledger):
            self._ledger.remember_action(body_hash, action_id)

    def action(self, body_hash: bytes) -> str | None:
        """Return what the ledger knows of the first run or a later one."""
        if not isinstance(self._ledger, Ledger) or self._first_run == inf:
            return None
        return self._ledger.action(body_hash, int(self._first_run))

    def was_posted(self, source_id: str) -> bool:
        """Tell what the ledger knows: an order that was sent before is ours, whatever is sent again."""
        return isinstance(self._ledger, Ledger) and self._ledger.was_posted(source_id)


def without_added_lines(lines: Mapping[str, int], batches: Iterable[Batch]) -> Iterator[Batch]:
    """Yield batches without the lines that were added to a source since it was read first.

    Args:
        lines: number of lines by the name of the source, as it was then.
        batches: as they are read now.
    """
    for batch in batches:
        known, _ = batch.parted(lines.get(batch.source, 0) - batch.first_line + 1)
        if known.text:
            yield known
