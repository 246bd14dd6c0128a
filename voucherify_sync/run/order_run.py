"""Orders of a run: the order events of the whole input are folded by order and imported; each ends as its order did.

What an earlier run sent of an order takes part: the ledger keeps the last fold of each.
"""

from __future__ import annotations

import heapq
import tempfile
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import BinaryIO, Final, TypeVar

import msgspec
from msgspec.structs import replace

from voucherify_sync.errors import RunStopped
from voucherify_sync.events import Event, Request, record_key, request_hash
from voucherify_sync.findings import CUSTOMERS_DIFFER, REFUND_UNCLEAR, FindingCount
from voucherify_sync.mapping.fold import MEMORY_BYTES, Fold, Update, microseconds
from voucherify_sync.mapping.orders import PARTIAL_REFUND, FoldedOrder, OrderProfile, with_record
from voucherify_sync.outcomes import (
    CUSTOMER_REFUSED,
    FAILED_BEFORE,
    REPLAY_ORDERS,
    UNCHANGED,
    Decision,
    Outcome,
    State,
)
from voucherify_sync.report.run_report import BulkReport, OrdersReport
from voucherify_sync.state.deduplication import NEVER, REPEATED, ResendPolicy
from voucherify_sync.state.ledger import Ledger
from voucherify_sync.state.ledger_reader import LastOrder, LedgerReader
from voucherify_sync.stop import Stop
from voucherify_sync.voucherify.bulk import REFUSED, ItemDelivery
from voucherify_sync.voucherify.retry_policy import Failed

_LOOKUP_ORDERS: Final = 500
"""Orders that are looked up in the ledger at once."""
_SORTED_ORDERS: Final = 10_000
"""Orders that are sorted in memory."""
_LEFT_OUT: Final = REPEATED | {"dismissed"}
"""Reasons of records that take no part: of those with one key the first one is what happened."""
_encode = msgspec.json.Encoder().encode

Refusal = Callable[[str], Failed | None]
"""Tells why a customer could not be sent; None if it was."""


class OrderFold(Fold[OrderProfile]):
    """What the events of a run say of orders.

    Attributes:
        records: order events.
    """

    def __init__(self, memory_bytes: int = MEMORY_BYTES) -> None:
        super().__init__(OrderProfile, memory_bytes)
        self.records = 0

    def add_records(self, mapped: Iterable[Decision], decided: Iterable[Decision]) -> None:
        """Add order events.

        Args:
            mapped: the records as the pipeline decided them.
            decided: the same, one for one, after de-duplication: what was sent before takes part in the fold, too.
        """
        for request, decision in zip(mapped, decided, strict=True):
            if not isinstance(request, Request) or request.order_id is None:
                continue
            self.records += 1
            if isinstance(decision, Outcome) and decision.reason in _LEFT_OUT:
                continue
            event = request.event
            self.add(
                request.order_id,
                with_record(request.payload, record_key(event), str(event.position)),
                microseconds(event.time),
                microseconds(event.told_time),
                event.message_id or "",
                event.type if isinstance(decision, Request) else None,
                None if event.prepared is None else event.prepared.place,
            )

    def orders(
        self, ledger: LedgerReader, *, with_state: bool = True
    ) -> Iterator[tuple[FoldedOrder, LastOrder]]:
        """Yield each order with a new event, with what was sent of it last, in the order of the profiles."""
        news = ((order_id, profile) for order_id, profile in self.profiles() if profile.records)
        for order_id, profile, last in _with_last(news, ledger):
            if last.accepted is not None and last.accepted.state:
                profile.add_earlier(last.accepted.state)
            yield profile.folded(order_id, with_state=with_state), last


class _LatestLetter:
    """The latest dead letter of an order, which holds the order as it failed."""

    def __init__(self) -> None:
        self.count = 0
        self._latest: Update | None = None

    def merge(self, update: Update) -> None:
        """Take a letter; they come in the order in which they were written."""
        self.count += 1
        if self._latest is None or self._latest.place < update.place:
            self._latest = update

    def order(self, source_id: str, last: LastOrder) -> FoldedOrder:
        """Return the order as it failed, with the fold that the ledger knows of it."""
        latest = self._latest
        assert latest is not None  # noqa: S101  # there is one
        body = {"source_id": source_id, **latest.body}
        source = body.pop("at")
        del body["key"]
        payload, failed, accepted = _encode(body), last.failed, last.accepted
        known = failed if failed is not None and failed.hash == request_hash(payload) else accepted
        return FoldedOrder(
            source_id=source_id,
            payload=payload,
            customer_id=body.get("customer", {}).get("source_id", ""),
            updated_at=None,
            source=source,
            message_id=latest.message_id or None,
            first_place=latest.place,
            state=b"" if known is None else known.state,
            skipped=(),
            customers_differ=None,
            records=self.count,
        )


class LetterOrders(Fold[_LatestLetter]):
    """The orders of dead letters, each as it failed: the letters alone do not hold all that was said of it.

    Attributes:
        records: letters of orders.
    """

    def __init__(self) -> None:
        super().__init__(_LatestLetter)
        self.records = 0

    def add_records(self, _mapped: Iterable[Decision], decided: Iterable[Decision]) -> None:
        """Add the dead letters that are to be sent."""
        for request in decided:
            if isinstance(request, Request) and request.order_id is not None:
                self.records += 1
                event = request.event
                payload = with_record(request.payload, b"", str(event.position))
                self.add(request.order_id, payload, 0, 0, event.message_id or "", event.type)

    def orders(
        self, ledger: LedgerReader, *, with_state: bool = True
    ) -> Iterator[tuple[FoldedOrder, LastOrder]]:
        """Yield each order once, as the latest letter holds it, with what was sent of it last."""
        for order_id, letter, last in _with_last(self.profiles(), ledger):
            order = letter.order(order_id, last)
            yield order if with_state else replace(order, state=b""), last


_Merged = TypeVar("_Merged")


def _with_last(
    profiles: Iterable[tuple[str, _Merged]], ledger: LedgerReader
) -> Iterator[tuple[str, _Merged, LastOrder]]:
    """Yield profiles of orders with what was sent of each last."""
    if not ledger.has_orders:
        nothing = LastOrder()
        yield from ((order_id, profile, nothing) for order_id, profile in profiles)
        return
    rest = iter(profiles)
    while portion := list(islice(rest, _LOOKUP_ORDERS)):
        lasts = ledger.last_orders([order_id for order_id, _ in portion])
        for (order_id, profile), last in zip(portion, lasts, strict=True):
            yield order_id, profile, last


class BulkOrders:
    """Folds the order events of the whole input, imports the orders, and knows how each order ended.

    Args:
        ledger: what was sent of orders before; one that can be written remembers what is sent now.
        policy: what is sent although it was sent before.
        delivery: of the folded orders.
        stop: ends the pass early.

    Attributes:
        tally: what came of the orders so far.
        findings: what a person should know of the orders so far, by code.
    """

    def __init__(
        self, ledger: LedgerReader, policy: ResendPolicy, delivery: ItemDelivery, stop: Stop
    ) -> None:
        self.tally = OrdersReport()
        self.findings: dict[str, FindingCount] = {}
        self._ledger = ledger
        self._again = policy.again_before > NEVER
        self._retries = policy.retries_failed
        self._remembering_run = ledger.remembering_run
        self._delivery = delivery
        self._stop = stop
        self._ended: dict[str, Failed | str] = {}  # a text: the reason of an order that is not sent
        self._bodies: dict[str, bytes] = {}  # of orders that failed, where no ledger keeps them
        self._skipped: dict[bytes, str] = {}

    @property
    def calls(self) -> int:
        """Imports that were accepted, and polls."""
        return self._delivery.requests + self._delivery.polls

    def deliver(self, fold: OrderFold | LetterOrders, refusal: Refusal) -> None:
        """Import the folded orders, in the order of their first events.

        Args:
            fold: of all events.
            refusal: why customers could not be sent before.

        Raises:
            RunStopped: there is no room on disk.
        """
        self.tally.records = fold.records
        with tempfile.TemporaryFile(prefix="voucherify-sync-") as file:
            sent = by_first_event(self._to_send(fold, refusal), file)
            for source_id, failed in self._delivery.deliver(sent):
                if failed is None:
                    self.tally.delivered += 1
                else:
                    self._fail(source_id, failed)
                copy_counts(self.tally, self._delivery)
            copy_counts(self.tally, self._delivery)

    def _to_send(self, fold: OrderFold | LetterOrders, refusal: Refusal) -> Iterator[FoldedOrder]:
        """Leave out orders of which nothing is new, that failed as they are, or whose customers were refused."""
        for order, last in fold.orders(self._ledger, with_state=False):  # many are in memory together
            if self._stop.requested:
                return
            self._count(order)
            if not order.payload:
                continue  # all its events are skipped, so they make no order
            self.tally.orders += 1
            if (reason := self._reason_to_leave_out(order, last)) is not None:
                self.tally.unchanged += reason == UNCHANGED
                self._ended[order.source_id] = reason
            elif (refused := refusal(order.customer_id)) is not None:
                detail = f"not sent, as its customer failed: {refused.reason}"
                self._fail(order.source_id, Failed(CUSTOMER_REFUSED, detail))
            else:
                yield order

    def _reason_to_leave_out(self, order: FoldedOrder, last: LastOrder) -> str | None:
        """Tell whether an earlier run has decided an order for good; None if it is to be sent.

        What a run remembered that was stopped or killed meanwhile goes again into the same request, byte for byte: the
        ledger knows that as accepted.
        """
        accepted, failed, hash_ = last.accepted, last.failed, request_hash(order.payload)
        if self._again:
            return None
        if accepted is not None and accepted.hash == hash_ and accepted.run <= self._remembering_run:
            return UNCHANGED
        if self._retries:  # what was accepted since may say more than what failed
            return FAILED_BEFORE if accepted is not None and failed is None else None
        is_known = failed is not None and failed.hash == hash_ and failed.run <= self._remembering_run
        return FAILED_BEFORE if is_known else None

    def _count(self, order: FoldedOrder) -> None:
        self.tally.partial_refunds += sum(reason == PARTIAL_REFUND for _, reason in order.skipped)
        if order.customers_differ is not None:
            self.tally.customers_differ += 1
            self._find(CUSTOMERS_DIFFER, order.customers_differ, order.source_id)
        self._skipped.update(order.skipped)

    def _find(self, code: str, position: object, order_id: str) -> None:
        self.findings.setdefault(code, FindingCount()).add(position, order_id)

    def _fail(self, source_id: str, failed: Failed) -> None:
        self.tally.failed += 1
        self._ended[source_id] = failed

    def decide(self, request: Request) -> Outcome:
        """Tell in the second pass how a record of an order ended."""
        event, order_id = request.event, request.order_id or ""
        ended = self._ended.get(order_id)
        if (reason := self._skipped.get(record_key(event))) is not None:
            if reason == REFUND_UNCLEAR:
                self._find(REFUND_UNCLEAR, event.position, request.order_id or "")
            return Outcome(event, State.SKIPPED, reason, request=request)
        if ended == UNCHANGED:
            return Outcome(event, State.DUPLICATE, UNCHANGED, request=request)
        if ended == FAILED_BEFORE and (self._retries or self._is_known_to_fail(event)):
            detail = REPLAY_ORDERS if self._retries else None
            return Outcome(event, State.FAILED, FAILED_BEFORE, detail, request)
        if ended is None:
            return Outcome(event, self._delivery.state, request=request)
        if isinstance(ended, str):
            ended = Failed(REFUSED, "an earlier run was told so, and ended before it came to this record")
        body = self._bodies.get(order_id) or self._ledger.failed_order(order_id)
        if body is not None:  # so that the dead letter holds the whole order
            request = replace(request, payload=body)
        return Outcome(event, State.FAILED, ended.reason, ended.detail, request, ended.status, ended.response)

    def _is_known_to_fail(self, event: Event) -> bool:
        (known,) = LedgerReader.look_up(self._ledger, [record_key(event)])
        return known is not None and known.state is State.FAILED

    def remember(self, fold: OrderFold | LetterOrders) -> None:
        """Remember what was sent of orders, once all of them are decided; see BulkCustomers."""
        ledger = self._ledger if isinstance(self._ledger, Ledger) else None
        if ledger is None and not self.tally.failed:
            return
        for order, _ in fold.orders(self._ledger):
            if self._stop.requested:
                return
            ended = self._ended.get(order.source_id)
            if not order.payload or ended == FAILED_BEFORE:
                continue
            if ledger is None:
                if isinstance(ended, Failed):
                    self._bodies[order.source_id] = order.payload
            elif ended is None:
                ledger.remember_order(order.source_id, order.payload, order.state)
            elif isinstance(ended, Failed):
                ledger.remember_refused_order(order.source_id, order.payload, order.state)
            else:
                ledger.remember_unchanged_order(order.source_id, order.state)


def copy_counts(tally: BulkReport | OrdersReport, delivery: ItemDelivery) -> None:
    """Bring the counts of requests up to date, while they are delivered and at the end."""
    tally.requests, tally.polls, tally.bytes = delivery.requests, delivery.polls, delivery.bytes


def by_first_event(
    orders: Iterable[FoldedOrder], file: BinaryIO, most: int = _SORTED_ORDERS
) -> Iterator[FoldedOrder]:
    """Yield orders by the place of their first events, however many there are.

    Args:
        orders: in any order.
        file: takes those that are not sorted in memory.
        most: orders that are sorted in memory.

    Raises:
        RunStopped: there is no room on disk.
    """
    runs: list[tuple[int, int]] = []
    rest = iter(orders)
    while portion := sorted(islice(rest, most), key=_first_place):
        if not runs and len(portion) < most:
            yield from portion
            return
        lines = b"".join([_encode(order) + b"\n" for order in portion])
        try:
            begin = file.seek(0, 2)
            file.write(lines)
        except OSError as error:
            raise RunStopped(
                f"cannot write a temporary file in {tempfile.gettempdir()}: {error.strerror or error}",
                "Make room there, or name another directory in TMPDIR, then run the same command again.",
            ) from error
        runs.append((begin, begin + len(lines)))
    file.flush()
    yield from heapq.merge(*(_read_run(file, *run) for run in runs), key=_first_place)


def _first_place(order: FoldedOrder) -> int:
    return order.first_place


def _read_run(file: BinaryIO, begin: int, end: int) -> Iterator[FoldedOrder]:
    """Yield the orders of a part of the file; several parts are read in turn."""
    decode = msgspec.json.Decoder(FoldedOrder).decode
    while begin < end:
        file.seek(begin)
        line = file.readline()
        begin += len(line)
        yield decode(line)
