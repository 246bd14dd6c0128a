"""The end of the pipeline that folds customers: what was decided of records in, their customer updates into a Fold.

A run in bulk: first every customer is folded and delivered, then the events are sent, which only name them.

The first walk books no record: that is left to the second one, in which an update ends as its customer did.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from voucherify_sync.delivery.dry_run import DryRun
from voucherify_sync.errors import VoucherifySyncError
from voucherify_sync.events import BadRecord, Batch, Event, Kind, Position, Request, request_hash
from voucherify_sync.mapping.fold import Fold, FoldedCustomer, News, microseconds
from voucherify_sync.outcomes import FAILED_BEFORE, Decision, Outcome, State
from voucherify_sync.report.run_report import BulkReport
from voucherify_sync.sources.decode import event_time
from voucherify_sync.state.deduplication import NEVER, REPEATED, History, Rule
from voucherify_sync.state.ledger import Ledger
from voucherify_sync.state.ledger_reader import LastUpdate, LedgerReader
from voucherify_sync.stop import Stop
from voucherify_sync.voucherify.bulk import ActionLog, CustomerDelivery, CustomerResult

if TYPE_CHECKING:
    from voucherify_sync.delivery.sender import LiveDelivery

_GIVEN_UP = frozenset({FAILED_BEFORE, "dismissed"})
"""An update that is not tried again must not come with a later one of its customer."""


def fold_updates(fold: Fold, mapped: Iterable[Decision], decided: Iterable[Decision]) -> None:
    """Add the customer updates of records that a bulk request can carry.

    Args:
        fold: takes them.
        mapped: the records as the pipeline decided them.
        decided: the same, one for one, after de-duplication: what was sent before takes part in the fold, too.
    """
    for request, decision in zip(mapped, decided, strict=True):
        if not isinstance(request, Request) or request.is_by_id or not request.has_profile:
            continue
        if isinstance(decision, Request):
            news = News.UPDATE if request.kind is Kind.CUSTOMER else News.EVENT
        elif decision.reason in _GIVEN_UP:
            continue
        else:
            news = News.EVENT if decision.reason in REPEATED else News.NONE
        event = request.event
        fold.add(
            request.source_id,
            request.customer or request.payload,
            microseconds(event_time(event.fields)),
            event.message_id or "",
            news,
        )


CUSTOMER_REFUSED = "customer_refused"
_TYPES = frozenset({"identify", "track", "page", "screen", "group", "alias"})

UNCHANGED = CustomerResult("")
"""The result of all customers who are not sent, because the last thing that they were sent is the same."""

_PORTION = 500
"""Customers that the ledger is asked for at once."""


class BulkCustomers:
    """Folds the customer updates of the whole input, delivers them, and knows how each customer ended.

    Args:
        ledger: what customers were sent; one that can be written remembers what they are sent now.
        rule: what is sent although it was sent before.
        link: where requests go.
        stop: ends the walk early.

    Attributes:
        tally: what came of the customers so far.
        read: records read.
        unchanged_updates: identifies of the customers that are not sent, as nothing about them is new.
    """

    def __init__(self, ledger: LedgerReader, rule: Rule, link: LiveDelivery | DryRun, stop: Stop) -> None:
        self.tally = BulkReport()
        self.read = 0
        self.unchanged_updates = 0
        self._types: Counter[str | None] = Counter()
        self._history = History(ledger, rule)
        self._ledger = ledger
        self._again = rule.again_before > NEVER
        self._deliverer: CustomerDelivery = link.bulk(_action_log(ledger, again=self._again))
        self._stop = stop
        self._results: dict[str, CustomerResult] = {}

    def run(self, batches: Iterable[Sequence[Decision]]) -> None:
        """Fold and deliver the customers; a failure that prevents the second reading stops the run."""
        with Fold() as fold:
            try:
                for mapped in batches:
                    fold_updates(fold, mapped, self._history.decide(mapped))
                    self._count(mapped)
                    if self._stop.requested:
                        return
                self.deliver(fold)
                if not self._stop.requested:
                    self._remember(fold)
            except VoucherifySyncError as error:
                self._stop.because(error)

    def deliver(self, fold: Fold) -> None:
        """Deliver the folded customers."""
        self.tally.updates = fold.updates
        for result in self._deliverer.deliver(self._changed(fold)):
            if result.refusal is None:
                self.tally.delivered += 1
            else:
                self.tally.failed += 1
                self._results[result.source_id] = result
            self.tally.requests, self.tally.polls = self._deliverer.requests, self._deliverer.polls
            self.tally.bytes = self._deliverer.bytes

    def outcome(self, request: Request) -> Outcome:
        """Tell how the record of a customer update ended."""
        event, result = request.event, self._results.get(request.source_id)
        if result is None:
            return Outcome(event, self._deliverer.state, request=request)
        if result.refusal is None:
            return Outcome(event, State.DUPLICATE, "unchanged", request=request)
        why = result.refusal
        return Outcome(event, State.FAILED, why.reason, why.detail, request, why.status, why.response)

    def refusal(self, source_id: str) -> str | None:
        """Return why a customer failed, None if that is not so."""
        result = self._results.get(source_id)
        return result.refusal.reason if result is not None and result.refusal is not None else None

    def pending(self) -> Iterator[Outcome]:
        """Yield an outcome for each record read, where the run stopped before the second walk."""
        for type_, count in self._types.items():
            outcome = Outcome(BadRecord(Position("", 0), b"", type_), State.PENDING)
            yield from (outcome for _ in range(count))

    def _count(self, mapped: Sequence[Decision]) -> None:
        self.read += len(mapped)
        for decision in mapped:
            record = decision.event if isinstance(decision, Request) else decision.record
            type_ = record.type if isinstance(record, Event) else None
            self._types[type_ if type_ in _TYPES else None] += 1  # any text may stand there

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
                    self.unchanged_updates += customer.updates
                    self._results[customer.source_id] = UNCHANGED
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
            if customer.source_id not in self._results:
                update = LastUpdate(customer.updated_at, request_hash(customer.payload))
                self._ledger.remember_update(customer.source_id, update)
        self._ledger.forget_actions()
        self._ledger.flush()


class NoActionLog:
    """Remembers actions and reports every action as unknown."""

    def __init__(self, ledger: LedgerReader) -> None:
        self._ledger = ledger

    def remember_action(self, body_hash: bytes, action_id: str) -> None:
        """Leave it to the ledger, if there is one."""
        if isinstance(self._ledger, Ledger):
            self._ledger.remember_action(body_hash, action_id)

    def action(self, body_hash: bytes) -> str | None:
        """Know nothing."""
        return None


def _action_log(ledger: LedgerReader, *, again: bool) -> ActionLog:
    """Return what knows which requests were accepted: nothing without a ledger, or if all is to be sent again."""
    return ledger if isinstance(ledger, Ledger) and not again else NoActionLog(ledger)


class EventsAfter:
    """The delivery of the second walk: an update ends as its customer did, and events are sent.

    It sends no customer, but those that no bulk request can carry.

    Args:
        customers: know how they ended.
        link: sends what was not sent in bulk.
        record: remembers outcomes that are decided here.
    """

    def __init__(
        self, customers: BulkCustomers, link: LiveDelivery | DryRun, record: Callable[[Outcome], object]
    ) -> None:
        self._customers = customers
        self._link = link
        self._record = record

    def deliver(self, decisions: Iterable[Decision]) -> Iterator[list[Outcome]]:
        """Send the events among the decisions; yield outcomes as they come."""
        return self._link.deliver(map(self._decide, decisions))

    def drain(self) -> Iterator[Outcome]:
        """Yield the outcomes of all that is still under way."""
        return self._link.drain()

    def _decide(self, decision: Decision) -> Decision:
        if isinstance(decision, Outcome):
            return decision
        if decision.kind is Kind.CUSTOMER:
            return decision if decision.is_by_id else self._recorded(self._customers.outcome(decision))
        refused = self._customers.refusal(decision.source_id)
        if refused is None or decision.doubtful_since is not None:
            return decision
        detail = f"not sent, as its customer failed: {refused}"
        return self._recorded(Outcome(decision.event, State.FAILED, CUSTOMER_REFUSED, detail, decision))

    def _recorded(self, outcome: Outcome) -> Outcome:
        self._record(outcome)
        return outcome


def no_more_than(lines: Mapping[str, int], batches: Iterable[Batch]) -> Iterator[Batch]:
    """Yield blocks without the lines that were added to a source since it was read first.

    Args:
        lines: number of lines that each source had then, by its name.
        batches: as they are read now.
    """
    for batch in batches:
        known, _ = batch.parted(lines.get(batch.source, 0) - batch.first_line + 1)
        if known.text:
            yield known
