"""Orders of a run: the order events of the whole input are folded by order and imported; each ends as its order did.

What an earlier run sent of an order takes part: the ledger keeps the last fold of each.
"""

from __future__ import annotations

import heapq
import tempfile
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import BinaryIO, Final

import msgspec

from voucherify_sync.errors import RunStopped
from voucherify_sync.events import Request, record_key, request_hash
from voucherify_sync.mapping.fold import Fold, microseconds
from voucherify_sync.mapping.orders import PARTIAL_REFUND, FoldedOrder, OrderProfile, with_record
from voucherify_sync.outcomes import CUSTOMER_REFUSED, FAILED_BEFORE, UNCHANGED, Decision, Outcome, State
from voucherify_sync.report.run_report import OrdersReport
from voucherify_sync.state.deduplication import NEVER, REPEATED, ResendPolicy
from voucherify_sync.state.ledger import Ledger
from voucherify_sync.state.ledger_reader import LastOrder, LedgerReader
from voucherify_sync.stop import Stop
from voucherify_sync.voucherify.bulk import ItemDelivery
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

    def __init__(self) -> None:
        super().__init__(OrderProfile)
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
            )

    def orders(self, ledger: LedgerReader) -> Iterator[tuple[FoldedOrder, LastOrder | None]]:
        """Yield each order with a new event, with what was sent of it last, in the order of the profiles."""
        news = ((order_id, profile) for order_id, profile in self.profiles() if profile.records)
        while portion := list(islice(news, _LOOKUP_ORDERS)):
            lasts = ledger.last_orders([order_id for order_id, _ in portion])
            for (order_id, profile), last in zip(portion, lasts, strict=True):
                if last is not None and last.state:
                    profile.add_earlier(last.state)
                yield profile.folded(order_id), last


class BulkOrders:
    """Folds the order events of the whole input, imports the orders, and knows how each order ended.

    Args:
        ledger: what was sent of orders before; one that can be written remembers what is sent now.
        policy: what is sent although it was sent before.
        delivery: of the folded orders.
        stop: ends the pass early.

    Attributes:
        tally: what came of the orders so far.
    """

    def __init__(
        self, ledger: LedgerReader, policy: ResendPolicy, delivery: ItemDelivery, stop: Stop
    ) -> None:
        self.tally = OrdersReport()
        self._ledger = ledger
        self._again = policy.again_before > NEVER
        self._delivery = delivery
        self._stop = stop
        self._ended: dict[str, Failed | str] = {}  # a text: the reason of an order that is not sent
        self._skipped: dict[bytes, str] = {}

    @property
    def calls(self) -> int:
        """Imports that were accepted, and polls."""
        return self._delivery.requests + self._delivery.polls

    def deliver(self, fold: OrderFold, refusal: Refusal) -> None:
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
                self.tally.requests, self.tally.polls = self._delivery.requests, self._delivery.polls
                self.tally.bytes = self._delivery.bytes

    def _to_send(self, fold: OrderFold, refusal: Refusal) -> Iterator[FoldedOrder]:
        """Leave out orders of which nothing is new, that failed as they are, or whose customers were refused."""
        for order, last in fold.orders(self._ledger):
            if self._stop.requested:
                return
            self._count(order)
            hash_ = request_hash(order.payload) if order.payload else b""
            if not order.payload:
                continue  # all its events are skipped
            if last is not None and not self._again and last.hash == hash_:
                self.tally.unchanged += 1
                self._ended[order.source_id] = UNCHANGED
            elif last is not None and not self._again and last.failed_hash == hash_:
                self._ended[order.source_id] = FAILED_BEFORE
            elif (refused := refusal(order.customer_id)) is not None:
                detail = f"not sent, as its customer failed: {refused.reason}"
                self._fail(order.source_id, Failed(CUSTOMER_REFUSED, detail))
            else:
                yield order

    def _count(self, order: FoldedOrder) -> None:
        self.tally.orders += 1
        self.tally.partial_refunds += sum(reason == PARTIAL_REFUND for _, reason in order.skipped)
        self.tally.customers_differ += order.customers_differ is not None
        self._skipped.update(order.skipped)

    def _fail(self, source_id: str, failed: Failed) -> None:
        self.tally.failed += 1
        self._ended[source_id] = failed

    def decide(self, request: Request) -> Outcome:
        """Tell in the second pass how a record of an order ended."""
        event, ended = request.event, self._ended.get(request.order_id or "")
        if (reason := self._skipped.get(record_key(event))) is not None:
            return Outcome(event, State.SKIPPED, reason, request=request)
        if isinstance(ended, Failed):
            return Outcome(
                event, State.FAILED, ended.reason, ended.detail, request, ended.status, ended.response
            )
        if ended == UNCHANGED:
            return Outcome(event, State.DUPLICATE, UNCHANGED, request=request)
        if ended == FAILED_BEFORE:
            return Outcome(event, State.FAILED, FAILED_BEFORE, request=request)
        return Outcome(event, self._delivery.state, request=request)

    def remember(self, fold: OrderFold) -> None:
        """Remember what was sent of orders, once all of them are decided; see BulkCustomers."""
        if not isinstance(self._ledger, Ledger):
            return
        for order, _ in fold.orders(self._ledger):
            if self._stop.requested:
                return
            ended = self._ended.get(order.source_id)
            if not order.payload or isinstance(ended, str):
                continue
            hash_ = request_hash(order.payload)
            if ended is None:
                self._ledger.remember_order(order.source_id, LastOrder(hash_, order.state))
            elif ended.reason != CUSTOMER_REFUSED:
                self._ledger.remember_refused_order(order.source_id, hash_, order.payload)


def by_first_event(orders: Iterable[FoldedOrder], file: BinaryIO) -> Iterator[FoldedOrder]:
    """Yield orders by the place of their first events, however many there are.

    Args:
        orders: in any order.
        file: takes those that are not sorted in memory.

    Raises:
        RunStopped: there is no room on disk.
    """
    runs: list[tuple[int, int]] = []
    rest = iter(orders)
    while portion := sorted(islice(rest, _SORTED_ORDERS), key=_first_place):
        if not runs and len(portion) < _SORTED_ORDERS:
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
