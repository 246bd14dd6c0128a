"""Decode, filter and map records, each one by itself, and count customer updates that are out of order.

The pipeline knows no record but the one it maps, so any process may run it. De-duplication and delivery come after it,
in input order.

Sent one by one, a customer update that is older than one before it puts old values over newer ones. Memory is bounded:
only the first MAX_CUSTOMERS customers are looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import chain, islice, takewhile
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec.structs import replace

from voucherify_sync.events import BadRecord, Batch, Event, Kind, Request, order_key, record_key
from voucherify_sync.findings import BROKEN_TEXT, NO_ORDER
from voucherify_sync.mapping.filters import Filters, FiltersMet, Selection
from voucherify_sync.mapping.mapper import Mapper
from voucherify_sync.mapping.rules import projection_of
from voucherify_sync.mapping.stats import MappingStats
from voucherify_sync.mapping.times import TIME_FIELDS, set_time
from voucherify_sync.outcomes import FAILED_BEFORE, REPLAY_ORDERS, Decision, Outcome, State
from voucherify_sync.paths import FieldPath
from voucherify_sync.run.options import Input
from voucherify_sync.settings import Settings
from voucherify_sync.sources.decode import (
    MAX_BATCH_RECORDS,
    Decode,
    Record,
    decode,
    decoder,
    portions,
    until_stopped,
)
from voucherify_sync.stop import Stop

if TYPE_CHECKING:
    from voucherify_sync.run.workers import Work

MAX_CUSTOMERS: Final = 100_000
"""Customers whose newest update is remembered."""

MAX_ID_LENGTH: Final = 200
"""Characters of an id that is remembered; longer ones would fill the memory, and are not looked at."""

_SENT: Final = {State.PLANNED, State.DELIVERED}
_WORST_FIRST: Final = (
    State.FAILED,
    State.IN_DOUBT,
    State.PENDING,
    State.INVALID,
    State.DELIVERED,
    State.PLANNED,
    State.DUPLICATE,
    State.SKIPPED,
)
"""Of the two states of a record that is sent as an order and as a custom event the one that counts."""

_REASONS_OF_BOTH: Final = frozenset(
    {
        "integration_off",
        "not_selected",
        "out_of_period",
        "excluded_id",
        "user_not_selected",
        "not_sampled",
        "anonymous",
        "no_id",
    }
)
"""Reasons of events that are neither orders nor custom events."""
_MAX_BATCHES: Final = 16
"""Batches in a part, whose decisions are in memory together."""


class OlderUpdates:
    """Counts customer updates that are older than one sent before them for the same customer.

    Attributes:
        count: updates that were older than one before.
        capped: there were customers that it did not look at, so there may be more such updates.
    """

    def __init__(self, max_customers: int = MAX_CUSTOMERS) -> None:
        self.count = 0
        self.capped = False
        self._max_customers = max_customers
        self._newest: dict[str, tuple[datetime, datetime]] = {}

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Look at outcomes in their order; only what was sent, and says something of a customer, counts."""
        for outcome in outcomes:
            request = outcome.request
            if request is None or not request.has_profile or outcome.state not in _SENT:
                continue
            event = request.event
            if event.time is not None and event.told_time is not None:
                self.note(request.source_id, (event.time, event.told_time))

    def note(self, source_id: str, version: tuple[datetime, datetime]) -> None:
        """Look at one update of a customer: its time, and the same as its event tells it."""
        newest = self._newest
        before = newest.get(source_id)
        if before is None and (len(newest) >= self._max_customers or len(source_id) > MAX_ID_LENGTH):
            self.capped = True
        elif before is None or before <= version:
            newest[source_id] = version
        else:
            self.count += 1


MappedPart = tuple[list[list[Decision]], MappingStats, FiltersMet]
"""What a process made of a part of the input, as plain values.

What becomes of the records, of which no event has its text any more; what the mapping did; and what the filters met.
"""


_encode_part = msgspec.msgpack.Encoder().encode
_decode_part = msgspec.msgpack.Decoder(MappedPart).decode


class Pipeline:
    """Decodes, filters and maps.

    Args:
        settings: the mapping, and what is left out.
        selection: what the command line picks.
        folds, refers, folds_orders: as in Mapper.
        retries: the records are dead letters.
        decode: makes records of a batch; by default what these settings need of an event is decoded.

    Attributes:
        filters: with what they met.
        mapper: with the counts of what it did.
        decode: makes records of a batch.
    """

    def __init__(
        self,
        settings: Settings,
        selection: Selection,
        *,
        folds: bool = False,
        refers: bool = False,
        folds_orders: bool = False,
        retries: bool = False,
        decode: Decode | None = None,
    ) -> None:
        self._retries = retries
        self._sends_both = not (settings.orders.disabled or settings.orders.instead_of_events)
        self._arguments = settings, selection, folds, refers, folds_orders
        self._needs_times = selection.needs_times
        self.filters = Filters(settings, selection, self._time)
        leave_out = self.filters.reason_to_skip_customer if self.filters.has_customer_rules else None
        self.mapper = Mapper(settings, leave_out, folds=folds, refers=refers, folds_orders=folds_orders)
        self.decode = decode or decode_for(self)

    def sources(self) -> Iterator[FieldPath]:
        """Yield what filters and mapping read of an event, beside what every run does."""
        yield from self.filters.sources()
        for rules in self.mapper.sections.rules():
            yield from rules.sources()

    def batches(
        self,
        batch: Batch,
        stop: Stop | None = None,
        limit: int | None = None,
        size: int = MAX_BATCH_RECORDS,
    ) -> Iterator[list[Decision]]:
        """Yield the decisions on the records of a batch, or on its first `limit`, at most `size` at a time.

        Once the run stops no more records are mapped; the decisions on those that were mapped are yielded.
        """
        stop = stop or Stop()
        for records in portions(islice(self.decode(batch), limit), size):
            yield self._decisions(until_stopped(records, stop))
            if stop.requested:
                return

    def _decisions(self, records: Iterable[Record]) -> list[Decision]:
        """Return the decisions on records; one that is sent as an order and as a custom event has two in a row."""
        if self._retries:
            return list(map(self._decide_letter, records))
        if self._sends_both:
            return [decision for record in records for decision in self._decide_both(record)]
        return list(map(self.decide, records))

    def _decide_letter(self, record: Record) -> Decision:
        """Return the decision on a dead letter. Of an order only that is sent as which it failed.

        What the letters of an order say of it is not all that was ever said.
        """
        if type(record) is Event and record.order_body is not None:
            return _order_of_letter(record) or _not_sent(record)
        if type(record) is Event and self._sends_both and record.key is not None:
            record.as_event = True  # as which it failed
        decision = self.decide(record)
        is_order = isinstance(decision, Request) and decision.kind is Kind.ORDER
        return _not_sent(record) if is_order and type(record) is Event else decision

    def _decide_both(self, record: Record) -> list[Decision]:
        """Return the decision on the order of a record, and that on its custom event, which is a record of its own."""
        decision = self.decide(record)
        if type(record) is not Event or record.prepared is not None or not self.filters.is_order(record):
            return [decision]
        reason = decision.reason if isinstance(decision, Outcome) else None
        if reason in _REASONS_OF_BOTH:
            return [decision]
        of_event = self.decide(replace(record, key=None, as_event=True, is_counted=reason is None))
        if reason is not None:
            if reason != "where":
                self.mapper.find(NO_ORDER, record.position, reason)
            return [of_event]
        is_left_out = isinstance(of_event, Outcome) and of_event.state is State.SKIPPED
        return [decision] if is_left_out else [decision, of_event]

    def shared(self, source: Input, jobs: int, stop: Stop) -> Iterator[list[Decision]]:
        """Yield what several processes make of an input, in its order, until the run stops.

        Args:
            source: of the lines.
            jobs: number of processes.
            stop: looked at between parts of the input: what is counted of a part is yielded, too.
        """
        from voucherify_sync.run import workers  # of no use to most runs, and slow to import

        for result in workers.results(source, jobs, stop, _working, *self._arguments):
            batches, stats, met = _decode_part(result)
            self.mapper.stats.merge(stats)
            self.filters.merge(met)
            yield from batches

    def decide(self, record: Record) -> Decision:
        """Return the request of a record, or how it ends without one."""
        if type(record) is Event and record.prepared is not None:
            return Request.of_prepared(record, record.prepared)
        admitted = self.admitted(record)
        decision = self.request(admitted) if type(admitted) is Event else admitted
        if self._needs_times:
            event = decision.event if type(decision) is Request else decision.record  # type: ignore[union-attr]
            if type(event) is Event and event.time is None:
                set_time(event, _ignore)
        return decision  # type: ignore[return-value]

    def request(self, event: Event) -> Request | Outcome:
        """Return the request of an event that is admitted, or how it ends without one."""
        decision = self.mapper.request(event)
        if type(decision) is Request:
            if decision.has_profile:
                self.time_customer_update(event)
            if event.repaired:
                self.mapper.find(BROKEN_TEXT, event.position, event.repaired[0])
        return decision

    def time_customer_update(self, event: Event) -> None:
        """Set the time of an event that says something of a customer, unless the filters have done so."""
        if not self.filters.has_period:
            self._time(event)

    def _time(self, event: Event) -> None:
        if not event.as_event or event.time is None:  # else it was set for its order
            set_time(event, self.mapper.find)

    def admitted(self, record: Record) -> Record:
        """Return the event if it is to be mapped, with its key; else how the record ends.

        What the filters leave out has no key: an earlier run knows nothing of it.
        """
        if type(record) is not Event:
            return record
        reason = self.filters.reason_to_skip(record)
        if reason is not None:
            return Outcome(record, State.SKIPPED, reason)
        if self.filters.is_order(record):
            record.key = order_key(record)
            self.time_customer_update(record)  # when the first event of an order happened is sent
        else:
            record.key = record_key(record)
        return record


def record_of(decision: Decision) -> Event | BadRecord:
    """Return the record that a decision is on."""
    return decision.event if isinstance(decision, Request) else decision.record


def is_second(decision: Decision) -> bool:
    """Tell whether a decision is on the custom event that is sent beside an order: it is no record of its own."""
    record = record_of(decision)
    return isinstance(record, Event) and record.is_counted


def worse_of(one: Outcome, other: Outcome) -> Outcome:
    """Return the outcome that counts of a record that is sent as an order and as a custom event.

    Of two equal states that of the custom event does.
    """
    both = sorted((one, other), key=is_second, reverse=True)
    return min(both, key=lambda each: _WORST_FIRST.index(each.state))


def _order_of_letter(event: Event) -> Request | None:
    """Return the request of the order that a dead letter holds; None if it holds none that can be sent."""
    order = msgspec.json.decode(event.order_body or b"{}")
    order_id, customer = order.get("source_id"), order.get("customer")
    source_id = customer.get("source_id") if isinstance(customer, dict) else None
    if not (isinstance(order_id, str) and isinstance(source_id, str)):
        return None
    event.key = event.key or order_key(event)
    body = event.order_body or b""
    return Request(event, Kind.ORDER, source_id, body, event.name, has_profile=False, order_id=order_id)


def _not_sent(event: Event) -> Outcome:
    return Outcome(event, State.FAILED, FAILED_BEFORE, REPLAY_ORDERS)


def decode_for(*pipelines: Pipeline) -> Decode:
    """Return a ``decode`` that makes records with all that these pipelines look at."""
    if any(rules.reads_whole_events for each in pipelines for rules in each.mapper.sections.rules()):
        return decode
    sources = chain.from_iterable(each.sources() for each in pipelines)
    return decoder(projection_of(sources) | dict.fromkeys(TIME_FIELDS))


def _ignore(*_: object) -> None:
    """Count no finding: the times of what is not sent matter to nobody."""


def _working(settings: Settings, selection: Selection, folds: bool, refers: bool, folds_orders: bool) -> Work:
    """Prepare what a process does."""
    pipeline = Pipeline(settings, selection, folds=folds, refers=refers, folds_orders=folds_orders)

    def part(decided: list[list[Decision]]) -> bytes:
        return _encode_part((decided, pipeline.mapper.cut_stats(), pipeline.filters.cut_met()))

    def work(batches: Iterable[Batch], stop: Stop) -> Iterator[bytes]:
        decided: list[list[Decision]] = []
        for batch in takewhile(lambda _: not stop.requested, batches):
            for decisions in pipeline.batches(batch, stop):
                decided.append(list(map(_lean, decisions)))
                if len(decided) == _MAX_BATCHES:
                    yield part(decided)
                    decided = []
        yield part(decided)

    return work


def _lean(decision: Decision) -> Decision:
    """Strip a decision of what is not needed where nothing is sent, since it goes to another process; return it."""
    record = record_of(decision)
    if isinstance(record, Event):
        record.fields, record.raw, record.repaired = {}, b"", ()
        return decision
    bad = BadRecord(record.position, b"", record.type, record.name, record.message_id)
    assert isinstance(decision, Outcome)  # noqa: S101  # no request is made of a bad record
    return Outcome(bad, decision.state, decision.reason, decision.detail)
