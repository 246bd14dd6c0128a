"""Tells what a replay would send and cost. It reads the input as a dry run does, and makes no call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from math import ceil
from typing import Any, Final

import msgspec
from msgspec import Struct, field

from voucherify_sync.delivery.dry_run import DryRun, discard
from voucherify_sync.events import SENT_TYPES, Event, Json, Kind, Request
from voucherify_sync.mapping.filters import reason_of_type
from voucherify_sync.mapping.stats import NameCounts
from voucherify_sync.outcomes import FAILED_BEFORE, UNCHANGED, Outcome, State
from voucherify_sync.report.run_report import MAX_NAMES, BulkReport, OrdersReport, RunReport
from voucherify_sync.run.bulk_run import ActionsSince, BulkCustomers, FirstPass, Folds
from voucherify_sync.run.options import Mode, RunOptions
from voucherify_sync.run.run import Run
from voucherify_sync.settings import Rate
from voucherify_sync.settings.types import ORDER_EVENTS
from voucherify_sync.state.deduplication import ResendPolicy
from voucherify_sync.state.ledger_reader import LedgerReader
from voucherify_sync.state.private_files import utf8
from voucherify_sync.stop import Stop
from voucherify_sync.text import utc_text
from voucherify_sync.voucherify.bulk import ORDERS

MAX_ANONYMOUS: Final = 1_000_000
"""Customers named by an anonymousId that are counted one by one; of a larger number only that it is larger is known."""

POLLS_OF_A_REQUEST: Final = 4
"""Estimated polls of a bulk request until it is processed: after 0.5, 1.5, 3.5 and 7.5 s."""

POLLS_OF_AN_IMPORT: Final = 3
"""Estimated polls of an import of orders."""


class Cost(Struct, frozen=True):
    """Calls by what they are for.

    Attributes:
        customers: that create or update customers, alone or in bulk.
        polls: that ask how a bulk request or an import is going; an estimate.
        events: that record custom events.
        orders: imports of orders.
    """

    customers: int
    polls: int
    events: int
    orders: int = 0

    @property
    def calls(self) -> int:
        """All of them."""
        return self.customers + self.polls + self.events + self.orders

    def to_dict(self) -> Json:
        """Return the calls as JSON values."""
        return {**msgspec.to_builtins(self), "calls": self.calls}


class Allowance(Struct, frozen=True):
    """What a plan of Voucherify allows.

    Attributes:
        name: of the plan.
        calls: in a period; None where the limit is not known.
        period_s: seconds of a period.
        cycle: calls in a billing cycle; None where there is no such limit, or it is not known.
    """

    name: str
    calls: int | None = None
    period_s: int = 60
    cycle: int | None = None


PUBLIC_PLANS: Final = (
    Allowance("Sandbox project", 100, 3_600),
    Allowance("Business", 100, 60, 100_000),
    Allowance("Organization", 2_000, 60, 300_000),
)
"""As Voucherify publishes them; Enterprise is agreed one by one."""


def fit(calls: int, allowance: Allowance, reserve: float = 0.0, rate: Rate | None = None) -> Json:
    """Tell how a number of calls fits under a plan, as the JSON values that `to_dict` describes.

    Args:
        calls: to be made.
        allowance: what the plan allows.
        reserve: share of the limit that is left for others, such as 0.1; at least one call remains.
        rate: the user's own limit, beside that of the plan.
    """
    spans_s = []
    if allowance.calls is not None:  # the calls of a window go out at once, then the next one is waited for
        usable = allowance.calls - min(int(allowance.calls * reserve), allowance.calls - 1)
        spans_s.append(float(max(ceil(calls / usable) - 1, 0) * allowance.period_s))
    if rate is not None:  # a rate is kept evenly
        spans_s.append(max(calls - 1, 0) * rate.period_s / rate.calls)
    cycle = allowance.cycle
    calls_over = 0 if cycle is None else max(calls - cycle, 0)
    return {
        "calls": calls,
        "duration_s": max(spans_s, default=None),
        "share_of_cycle": None if cycle is None else calls / cycle,
        "fits": calls_over == 0,
        "calls_over": calls_over,
        "cycles": 1 if cycle is None else max(ceil(calls / cycle), 1),
    }


class Plan(Struct):
    """What a replay would do, and what it would cost. The numbers are of records that would be sent.

    Attributes:
        customers: how they would go: ``each`` or ``bulk``.
        looks_up: custom events in doubt are looked up, and not sent.
        ledger: path of the ledger that was read, if there is one.
        report: of the dry run.
        bulk_counts: what came of the customers in bulk.
        types_sent: records by type.
        names: track events by name, whether they would be sent or not.
        names_sent: track events by name.
        event_names: custom events by the name that they would have.
        updates_sent: updates of customers, by themselves or in bulk.
        updates: calls that customers would take, if each update went by itself.
        alone: of those, the ones that no bulk request can carry.
        tracked: custom events.
        look_ups: custom events in doubt that would be looked up, and not sent.
        refused: custom events that would not be sent, because the customer is too large for a bulk request.
        periods: by source, when the first and the last of its events happened.
        anonymous: hashes of the customers that are named by an anonymousId, at most MAX_ANONYMOUS.
        anonymous_records: records that would be sent to them.
        erased_fields: fields of customers that nulls would erase, their addresses and metadata by key.
        erased_customers: customers of which.
        sample: percentage of the customers that are looked at; None for all.
        orders: what came of the orders; None while they are off.
        order_customers: hashes of the customers of orders, at most MAX_ANONYMOUS.
        order_records: order events that would be sent: as orders, or while these are off as custom events.
    """

    customers: str
    looks_up: bool
    ledger: str | None
    report: RunReport
    bulk_counts: BulkReport = field(default_factory=BulkReport)
    types_sent: Counter[str] = field(default_factory=Counter)
    names: NameCounts = field(default_factory=NameCounts)
    names_sent: NameCounts = field(default_factory=NameCounts)
    event_names: NameCounts = field(default_factory=NameCounts)
    updates_sent: int = 0
    updates: int = 0
    alone: int = 0
    tracked: int = 0
    look_ups: int = 0
    refused: int = 0
    periods: dict[str, tuple[datetime, datetime]] = field(default_factory=dict)
    anonymous: set[int] = field(default_factory=set)
    anonymous_records: int = 0
    erased_fields: int = 0
    erased_customers: int = 0
    sample: float | None = None
    orders: OrdersReport | None = None
    order_customers: set[int] = field(default_factory=set)
    order_records: int = 0

    @property
    def switched_off(self) -> dict[str, int]:
        """Events of each type that could be sent and is disabled."""
        skipped = self.report.reasons[State.SKIPPED]
        counts = {kind: skipped.get(reason_of_type(kind)) for kind in SENT_TYPES}
        return {kind: reason.count for kind, reason in counts.items() if reason is not None}

    @property
    def period(self) -> tuple[datetime, datetime] | None:
        """When the first and the last event of the input happened; None if none tells its time."""
        if not self.periods:
            return None
        return min(first for first, _ in self.periods.values()), max(
            last for _, last in self.periods.values()
        )

    @property
    def each(self) -> Cost:
        """The cost if every customer update goes by itself."""
        imports = self._imports
        return Cost(self.updates, imports * POLLS_OF_AN_IMPORT, self.tracked + self.refused, imports)

    @property
    def _imports(self) -> int:
        return 0 if self.orders is None else self.orders.requests

    @property
    def bulk(self) -> Cost:
        """The cost if customers are folded and go in bulk."""
        requests, imports = self.bulk_counts.requests, self._imports
        polls = requests * POLLS_OF_A_REQUEST + imports * POLLS_OF_AN_IMPORT
        return Cost(requests + self.alone, polls, self.tracked, imports)

    @property
    def cost(self) -> Cost:
        """The cost of a run with these settings, without what a stop or a failure adds; a look-up is one call."""
        each = msgspec.structs.replace(self.each, customers=self.updates_sent, events=self.tracked)
        cost = self.bulk if self.customers == "bulk" else each
        return msgspec.structs.replace(cost, events=cost.events + self.look_ups)

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Count how records end."""
        for outcome in outcomes:
            record, request = outcome.record, outcome.request
            is_planned = outcome.state is State.PLANNED
            if type(record) is Event and record.time is not None:
                first, last = self.periods.get(record.position.source, (record.time, record.time))
                self.periods[record.position.source] = min(first, record.time), max(last, record.time)
            if record.type == "track" and record.name is not None:
                self.names.add(record.name)
                if is_planned:
                    self.names_sent.add(record.name)
            if is_planned:
                self.types_sent[record.type or ""] += 1
            if request is not None and (is_planned or _would_be_sent_alone(outcome)):
                self._add_request(request, is_planned=is_planned)

    def _add_request(self, request: Request, *, is_planned: bool) -> None:
        is_order = request.kind is Kind.ORDER
        if is_order or (self.orders is None and request.event.name in ORDER_EVENTS):
            self.order_records += is_planned
            if is_order and len(self.order_customers) < MAX_ANONYMOUS:
                self.order_customers.add(hash(request.source_id))
        if is_planned and request.is_anonymous:
            self.anonymous_records += 1
            if len(self.anonymous) < MAX_ANONYMOUS:
                self.anonymous.add(hash(request.source_id))
        if is_order:
            return
        if request.name is None:
            self.updates += 1
            self.updates_sent += is_planned
            self.alone += request.is_by_id
        elif not is_planned:
            self.refused += 1
        elif self.looks_up and request.doubtful_since is not None:
            self.look_ups += 1
        else:
            self.tracked += 1
            self.event_names.add(request.name)


def _nulls_in(value: Any) -> int:
    """Return how many nulls a customer has, in its address and metadata, too."""
    if isinstance(value, dict):
        return sum(map(_nulls_in, value.values()))
    return value is None


def _would_be_sent_alone(outcome: Outcome) -> bool:
    """Tell whether a call of its own would be made for the record if customers did not go in bulk."""
    if outcome.state is State.FAILED:
        return outcome.reason != FAILED_BEFORE
    return outcome.state is State.DUPLICATE and outcome.reason == UNCHANGED


class Planner:
    """Reads the input once, as a dry run does, and folds the customers on the way.

    Args:
        options: what the user asked for.
        stop: ends the reading early.
        ledger: what was sent before.
        policy: what is sent although it was sent before.

    Attributes:
        run: the dry run.
    """

    def __init__(self, options: RunOptions, stop: Stop, ledger: LedgerReader, policy: ResendPolicy) -> None:
        selection = msgspec.structs.replace(options.selection, needs_times=True)
        self._options = msgspec.structs.replace(
            options, mode=Mode.DRY_RUN, dead_letters=None, selection=selection
        )
        self._stop = stop
        self._ledger = ledger
        self._policy = policy
        self._folds = Folds.new(of_letters=policy.retries_failed)
        self._begin(self._folds)

    def _begin(self, folds: Folds | None, first_pass: FirstPass | None = None) -> None:
        """Make an empty plan, and the run that fills it."""
        policy, path = self._policy, self._ledger.path
        customers = "each" if policy.retries_failed else self._options.settings.delivery.customers
        looks_up = policy.on_doubt == "verify"
        self.run = Run(
            self._options,
            self._stop,
            DryRun(discard, self._stop),
            self._ledger,
            policy,
            observer=self._count,
            folds=folds,
            first_pass=first_pass,
        )
        self._plan = Plan(customers, looks_up, None if path is None else str(path), self.run.report())
        if first_pass is not None and first_pass.orders is not None:
            self._plan.orders = first_pass.orders.tally
        self._plan.sample = self._options.selection.sample

    def _count(self, outcomes: Iterable[Outcome]) -> None:
        self._plan.add(outcomes)  # a second run has a plan of its own

    def plan(self) -> Plan:
        """Read, and return the plan; it is about what was read if that was stopped."""
        dry = DryRun(discard, self._stop)
        first_pass = FirstPass(self._options, self._ledger, self._policy, dry, self._stop)
        bulk, orders = first_pass.customers, first_pass.orders
        if bulk is None:
            bulk = BulkCustomers(self._ledger, self._policy, dry.bulk(ActionsSince(self._ledger)), self._stop)
        with self._folds:
            self.run.execute()
            if not self._stop.requested:
                bulk.deliver(self._folds.customers)
                self._count_erased()
                if orders is not None:
                    orders.deliver(self._folds.orders, first_pass.refusal)
        if orders is not None or (self._plan.customers == "bulk" and bulk.tally.failed):
            # Only the second pass tells what refused customers take with them, and which events change no order.
            self._begin(None, first_pass)
            self.run.execute()
        elif self._plan.customers == "bulk":
            for type_, unchanged in bulk.unchanged_updates.items():
                if SENT_TYPES[type_].kind is Kind.CUSTOMER:  # an event is sent all the same
                    self.run.sinks.report.move(type_, Kind.CUSTOMER, State.DUPLICATE, UNCHANGED, unchanged)
                    self._plan.types_sent[type_] -= unchanged
                    self._plan.updates_sent -= unchanged
        self._plan.bulk_counts = bulk.tally
        self._plan.report = self.run.report()
        return self._plan

    def _count_erased(self) -> None:
        """Count what nulls would erase; a computed trait that became null is one of its customer's metadata."""
        for customer in self._folds.customers.customers():
            if b"null" in customer.payload:
                nulls = _nulls_in(msgspec.json.decode(customer.payload))
                self._plan.erased_fields += nulls
                self._plan.erased_customers += nulls > 0


def to_dict(plan: Plan, allowances: list[Allowance], reserve: float, rate: Rate | None) -> Json:
    """Return the plan as JSON values, the shape that `plan --json` prints; it only grows.

    Like a run's report it has `version, input, outcomes, reasons, mapping`, and besides:

    - `customers` (``each`` or ``bulk``: how they would go) and `ledger` (a path or null);
    - `events{read, by_type{T{read, would_be_sent}}, by_name{NAME{...}}}`, names being those of track events;
    - `period{first, last}` of all events, or null, and `periods{SOURCE{first, last}}`, at most 1,000;
    - `anonymous{customers, records}`: customers named by an anonymousId, and what they would be sent;
    - `erased{customers, fields}`: what nulls would erase; `findings` as in the report;
    - `switched_off{TYPE{records, plans[{name, calls, duration_s, share_of_cycle, fits, calls_over, cycles}]}}`: events
      of a type that is `disabled`, and what they would cost at most, one call each;
    - `sample` (the percentage of `--sample`, or null): then what would be sent is that of the sample;
    - `custom_events{NAME: count}`, as they would be recorded; `older_updates{count, capped}`;
    - `bulk{updates, delivered, failed, unchanged, requests, polls, bytes}`: customers, `polls` an estimate;
    - `orders{records, orders, customers, delivered, failed, unchanged, requests, polls, bytes, partial_refunds,
      items_dropped, customers_differ, no_order_id}`, `polls` an estimate, or null while orders are off, and
      `order_events{records, requests}`: order events that would be sent, and the imports that they would be at most;
    - `costs{each{customers, polls, events, orders, calls}, bulk{...}}`, in calls;
    - `reserve` (part of a limit), `rate` (such as ``90/min``, or null), and for every plan of Voucherify
      `plans[{name, limit, period_s, cycle, each{calls, duration_s, share_of_cycle, fits, calls_over, cycles},
      bulk{...}}]`, null being what is not known. A `share_of_cycle` of 0.5 is half a billing cycle, 2.0 is two.
    """
    report, costs = msgspec.to_builtins(plan.report), {"each": plan.each, "bulk": plan.bulk}
    names_sent = plan.names_sent.to_dict()
    types, names = report["events"]["by_type"].items(), plan.names.to_dict().items()
    return {
        "version": report["version"],
        "customers": plan.customers,
        "ledger": plan.ledger,
        "input": report["input"],
        "events": {
            "read": report["events"]["read"],
            "by_type": {type_: {"read": n, "would_be_sent": plan.types_sent[type_]} for type_, n in types},
            "by_name": {name: {"read": n, "would_be_sent": names_sent.get(name, 0)} for name, n in names},
        },
        "outcomes": report["outcomes"],
        "reasons": report["reasons"],
        "period": _period_to_dict(plan.period),
        "periods": {
            utf8(source): _period_to_dict(period) for source, period in list(plan.periods.items())[:MAX_NAMES]
        },
        "anonymous": {"customers": len(plan.anonymous), "records": plan.anonymous_records},
        "erased": {"customers": plan.erased_customers, "fields": plan.erased_fields},
        "switched_off": {
            type_: {
                "records": count,
                "plans": [{"name": each.name, **fit(count, each, reserve, rate)} for each in allowances],
            }
            for type_, count in plan.switched_off.items()
        },
        "sample": plan.sample,
        "custom_events": plan.event_names.to_dict(),
        "bulk": msgspec.to_builtins(plan.bulk_counts) | {"polls": plan.bulk.polls},
        "orders": plan.orders
        and {
            **msgspec.to_builtins(plan.orders),
            "customers": len(plan.order_customers),
            "polls": plan.orders.requests * POLLS_OF_AN_IMPORT,
            "no_order_id": report["reasons"]["skipped"].get("no_order_id", {}).get("count", 0),
        },
        "order_events": {
            "records": plan.order_records,
            "requests": ceil(plan.order_records / (ORDERS.max_items or 1)),
        },
        "older_updates": report["older_updates"],
        "costs": {way: cost.to_dict() for way, cost in costs.items()},
        "reserve": reserve,
        "rate": None if rate is None else str(rate),
        "plans": [
            {
                "name": allowance.name,
                "limit": allowance.calls,
                "period_s": None if allowance.calls is None else allowance.period_s,
                "cycle": allowance.cycle,
                **{way: fit(cost.calls, allowance, reserve, rate) for way, cost in costs.items()},
            }
            for allowance in allowances
        ],
        "mapping": report["mapping"],
        "findings": report["findings"],
    }


def _period_to_dict(period: tuple[datetime, datetime] | None) -> Json | None:
    return None if period is None else {"first": utc_text(period[0]), "last": utc_text(period[1])}
