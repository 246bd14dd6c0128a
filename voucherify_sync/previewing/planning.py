"""What a replay would cost: the walk of a dry run comes in, a Plan goes out. It makes no call."""

from __future__ import annotations

from collections import Counter

import msgspec
from msgspec import Struct

from voucherify_sync.bookkeeping.history import Rule
from voucherify_sync.bookkeeping.ledger_reader import LedgerReader
from voucherify_sync.delivery.dry_link import DryLink, nowhere
from voucherify_sync.mapping.tally import Counts
from voucherify_sync.model import Json, Kind, Outcome, State
from voucherify_sync.previewing.costs import POLLS_OF_A_REQUEST, Allowance, Cost, Fit, fit
from voucherify_sync.running.customers_first import CustomersFirst, Tally, customers_first
from voucherify_sync.running.jobs import Jobs
from voucherify_sync.running.planned import About
from voucherify_sync.running.request import Input, Mode, RunRequest
from voucherify_sync.running.run import Run
from voucherify_sync.settings import Rate
from voucherify_sync.snapshot import Snapshot
from voucherify_sync.stop import Stop


class Walked(Struct):
    """What the records of one walk are, and what they would become.

    Attributes:
        types_sent: records that would be sent, by type.
        names: track events, by name.
        names_sent: those that would be sent, by name.
        events: custom events that would be sent, by the name that they would have.
        updates: customers that would be created or updated by a call each, if each update went by itself.
        alone: of those, the ones that no bulk request can carry.
        tracked: custom events that would be sent.
        refused: those that would not, because the customer is too large for a bulk request.
    """

    types_sent: Counter[str] = msgspec.field(default_factory=Counter)
    names: Counts = msgspec.field(default_factory=Counts)
    names_sent: Counts = msgspec.field(default_factory=Counts)
    events: Counts = msgspec.field(default_factory=Counts)
    updates: int = 0
    alone: int = 0
    tracked: int = 0
    refused: int = 0

    def add(self, outcome: Outcome) -> None:
        """Look at how one record ends."""
        record, operation = outcome.record, outcome.operation
        planned = outcome.state is State.PLANNED
        if record.type == "track" and record.name is not None:
            self.names.add(record.name)
            if planned:
                self.names_sent.add(record.name)
        if planned:
            self.types_sent[record.type or ""] += 1
        if operation is None or not (planned or _only_in_bulk_unsent(outcome)):
            return
        if operation.kind is Kind.CUSTOMER:
            self.updates += 1
            self.alone += "id" in operation.body
        elif planned:
            self.tracked += 1
            self.events.add(operation.body["event"])
        else:
            self.refused += 1

    def add_planned(self, type_: str, about: About, count: int) -> None:
        """Look at so many records at once that would be sent."""
        name, sent_as, is_by_id = about
        self.types_sent[type_] += count
        if type_ == "track" and name is not None:
            self.names.add(name, count)
            self.names_sent.add(name, count)
        if sent_as is None:
            self.updates += count
            self.alone += count * is_by_id
        else:
            self.tracked += count
            self.events.add(sent_as, count)


def _only_in_bulk_unsent(outcome: Outcome) -> bool:
    """Tell whether a call of its own would be made for the record if customers did not go in bulk."""
    return outcome.state is State.FAILED or (
        outcome.state is State.DUPLICATE and outcome.reason == "unchanged"
    )


class Plan(Struct, frozen=True):
    """What a replay would do, and what it would cost.

    Attributes:
        customers: how they would go: ``each`` or ``bulk``.
        report: of the dry run.
        walked: the records.
        folded: what came of the customers in bulk.
        ledger: where the ledger is that was read, if there is one.
    """

    customers: str
    report: Json
    walked: Walked
    folded: Tally
    ledger: str | None = None

    @property
    def each(self) -> Cost:
        """The cost if every customer update goes by itself."""
        return Cost(self.walked.updates, 0, self.walked.tracked + self.walked.refused)

    @property
    def bulk(self) -> Cost:
        """The cost if customers are folded and go in bulk."""
        requests = self.folded.requests
        return Cost(requests + self.walked.alone, requests * POLLS_OF_A_REQUEST, self.walked.tracked)

    @property
    def chosen(self) -> Cost:
        """The cost of what the settings say."""
        return self.bulk if self.customers == "bulk" else self.each


class Planner:
    """Walks the input twice: once as a dry run does, once to fold the customers.

    Args:
        request: what the user asked for; its input is opened twice.
        stop: ends the walks early.
        ledger: what was sent before.
        rule: what is sent although it was sent before.

    Attributes:
        run: the dry run.
    """

    def __init__(self, request: RunRequest, stop: Stop, ledger: LedgerReader, rule: Rule) -> None:
        self._request = msgspec.structs.replace(request, mode=Mode.DRY_RUN, dead_letters=None)
        self._stop = stop
        self._ledger = ledger
        self._rule = rule
        self._walked = Walked()
        self._link = DryLink(nowhere, stop)
        self._second: tuple[CustomersFirst, Input] | None = None
        self.run = Run(self._request, stop, self._link, ledger, rule, watch=self._walked)

    def plan(self) -> Plan:
        """Walk, and tell the plan; it holds for what was read if the walk was stopped."""
        self.run.execute()
        report = self.run.to_dict()
        in_bulk = report.get("bulk")
        folded = self._fold() if in_bulk is None else msgspec.convert(in_bulk, Tally)
        path = self._ledger.path
        customers = self._request.settings.delivery.customers
        return Plan(customers, report, self._walked, folded, None if path is None else str(path))

    def snapshot(self) -> Snapshot:
        """Tell how the walk stands."""
        snapshot = self.run.snapshot()
        if self._second is None:
            return snapshot
        first, source = self._second
        read = sum(facts.bytes for facts in list(source.facts))
        return Snapshot(first.read, read, source.bytes_total, snapshot.counts)

    def _fold(self) -> Tally:
        """Read once more, to fold the customers; nothing is booked."""
        if self._stop.requested:
            return Tally()
        request = self._request
        first = customers_first(request, self._ledger, self._rule, self._link, self._stop)
        source = request.open_input(self._stop)
        self._second = (first, source)
        jobs = Jobs(request.jobs, request.settings, request.selection, source.bytes_total)
        first.run(source, request.limit, jobs)
        return first.tally


def fits(plan: Plan, allowance: Allowance, reserve: float, pace: Rate | None) -> dict[str, Fit]:
    """Return how the calls fit under a plan of Voucherify, each way of sending customers by its name."""
    costs = {"each": plan.each, "bulk": plan.bulk}
    return {way: fit(cost.calls, allowance, reserve, pace) for way, cost in costs.items()}


def to_dict(plan: Plan, allowances: list[Allowance], reserve: float, pace: Rate | None) -> Json:
    """Return the plan as JSON values, the shape that `plan --json` prints; it only grows.

    Like a run's report it has `version, input, outcomes, reasons, mapping`, and besides:

    - `customers` (``each`` or ``bulk``: how they would go) and `ledger` (a path or null);
    - `events{read, by_type{T{read, would_be_sent}}, by_name{NAME{...}}}`, names being those of track events;
    - `custom_events{NAME: count}`, as they would be recorded; `older_updates{count, capped}`;
    - `bulk{updates, delivered, failed, unchanged, requests, polls, bytes}`: customers, `polls` an estimate;
    - `costs{each{customers, polls, events, calls}, bulk{...}}`, in calls;
    - `reserve` (part of a limit), `rate` (such as ``90/min``, or null), and for every plan of Voucherify
      `plans[{name, limit, period_s, cycle, each{calls, duration_s, share_of_cycle, fits, calls_over, cycles},
      bulk{...}}]`, null being what is not known.
    """
    report, walked = plan.report, plan.walked
    sent = walked.names_sent.to_dict()
    return {
        "version": report["version"],
        "customers": plan.customers,
        "ledger": plan.ledger,
        "input": report["input"],
        "events": {
            "read": report["events"]["read"],
            "by_type": {
                type_: {"read": count, "would_be_sent": walked.types_sent[type_]}
                for type_, count in report["events"]["by_type"].items()
            },
            "by_name": {
                name: {"read": count, "would_be_sent": sent.get(name, 0)}
                for name, count in walked.names.to_dict().items()
            },
        },
        "outcomes": report["outcomes"],
        "reasons": report["reasons"],
        "custom_events": walked.events.to_dict(),
        "bulk": msgspec.to_builtins(plan.folded) | {"polls": plan.bulk.polls},
        "older_updates": report["older_updates"],
        "costs": {"each": _cost(plan.each), "bulk": _cost(plan.bulk)},
        "reserve": reserve,
        "rate": None if pace is None else str(pace),
        "plans": [
            _allowed(allowance)
            | {way: _fit(each) for way, each in fits(plan, allowance, reserve, pace).items()}
            for allowance in allowances
        ],
        "mapping": report["mapping"],
    }


def _allowed(allowance: Allowance) -> Json:
    return {
        "name": allowance.name,
        "limit": allowance.calls,
        "period_s": None if allowance.calls is None else allowance.period_s,
        "cycle": allowance.cycle,
    }


def _cost(cost: Cost) -> Json:
    return {**msgspec.to_builtins(cost), "calls": cost.calls}


def _fit(each: Fit) -> Json:
    return {
        "calls": each.calls,
        "duration_s": each.duration_s,
        "share_of_cycle": each.share,
        "fits": each.over == 0,
        "calls_over": each.over,
        "cycles": each.cycles,
    }
