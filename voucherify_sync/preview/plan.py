"""What requests cost: counts in; the calls, the time and the share of a billing cycle that they take, out.

Pure arithmetic: it reads nothing and asks nobody.

What a replay would cost: the walk of a dry run comes in, a Plan goes out. It makes no call.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from math import ceil
from typing import Final

import msgspec
from msgspec import Struct

from voucherify_sync.delivery.dry_run import DryRun, discard
from voucherify_sync.events import Json, Kind, Request
from voucherify_sync.mapping.fold import Fold
from voucherify_sync.mapping.stats import NameCounts
from voucherify_sync.outcomes import FAILED_BEFORE, Outcome, Snapshot, State
from voucherify_sync.report.run_report import BulkReport, RunReport
from voucherify_sync.run.bulk_run import BulkCustomers
from voucherify_sync.run.options import Mode, RunOptions
from voucherify_sync.run.run import Run
from voucherify_sync.settings import Rate
from voucherify_sync.state.deduplication import Rule
from voucherify_sync.state.ledger_reader import LedgerReader
from voucherify_sync.stop import Stop

POLLS_OF_A_REQUEST: Final = 4
"""By estimate, a bulk request is asked after so often until it is carried out: after 0.5, 1.5, 3.5 and 7.5 s."""


class Cost(Struct, frozen=True):
    """Calls by what they are for.

    Attributes:
        customers: that create or update customers, alone or in bulk.
        polls: that ask how a bulk request went; an estimate.
        events: that record custom events.
    """

    customers: int
    polls: int
    events: int

    @property
    def calls(self) -> int:
        """All of them."""
        return self.customers + self.polls + self.events


class Allowance(Struct, frozen=True):
    """What a plan of Voucherify allows.

    Attributes:
        name: of the plan.
        calls: so many a period; None where nobody knows.
        period_s: seconds of a period.
        cycle: calls in a billing cycle; None where there is no such limit, or nobody knows it.
    """

    name: str
    calls: int | None = None
    period_s: int = 60
    cycle: int | None = None

    def usable(self, reserve: float) -> int | None:
        """Return the calls a period that a reserve, such as 0.1, leaves to us; at least one."""
        if self.calls is None:
            return None
        return self.calls - min(int(self.calls * reserve), self.calls - 1)


PUBLIC_PLANS: Final = (
    Allowance("Sandbox project", 100, 3_600),
    Allowance("Business", 100, 60, 100_000),
    Allowance("Organization", 2_000, 60, 300_000),
)
"""As Voucherify publishes them; Enterprise is agreed one by one."""


class Fit(Struct, frozen=True):
    """How so many calls fit under one plan.

    Attributes:
        calls: to be made.
        duration_s: seconds that the limits make of it; None where no limit is known.
        cycle: calls in a billing cycle, or None.
    """

    calls: int
    duration_s: float | None
    cycle: int | None

    @property
    def share(self) -> float | None:
        """Part of one billing cycle: 0.5 is half of it, 2.0 is two of them."""
        return None if self.cycle is None else self.calls / self.cycle

    @property
    def over(self) -> int:
        """Calls that one billing cycle has no room for."""
        return 0 if self.cycle is None else max(self.calls - self.cycle, 0)

    @property
    def cycles(self) -> int:
        """Billing cycles that it takes."""
        return 1 if self.cycle is None else max(ceil(self.calls / self.cycle), 1)


def fit(calls: int, allowance: Allowance, reserve: float = 0.0, pace: Rate | None = None) -> Fit:
    """Tell how calls fit under a plan.

    Args:
        calls: to be made.
        allowance: what the plan allows.
        reserve: part of the limit that is left to others.
        pace: the user's own limit, beside that of the plan.
    """
    spans = []
    usable = allowance.usable(reserve)
    if usable is not None:  # a window's calls go out at once, then it is waited for the next
        spans.append(float(max(ceil(calls / usable) - 1, 0) * allowance.period_s))
    if pace is not None:  # a pace is kept evenly
        spans.append(max(calls - 1, 0) * pace.period_s / pace.calls)
    return Fit(calls, max(spans, default=None), allowance.cycle)


class Walked(Struct):
    """What the records of one walk are, and what they would become.

    Attributes:
        looks_up: custom events in doubt are looked up, and not sent.
        types_sent: records that would be sent, by type.
        names: track events, by name.
        names_sent: those that would be sent, by name.
        events: custom events that would be sent, by the name that they would have.
        updates_sent: updates of customers that would be sent, by themselves or in bulk.
        updates: customers that would be created or updated by a call each, if each update went by itself.
        alone: of those, the ones that no bulk request can carry.
        tracked: custom events that would be sent.
        look_ups: custom events in doubt that would be looked up, and not sent.
        refused: custom events that would not, because the customer is too large for a bulk request.
    """

    looks_up: bool = False
    types_sent: Counter[str] = msgspec.field(default_factory=Counter)
    names: NameCounts = msgspec.field(default_factory=NameCounts)
    names_sent: NameCounts = msgspec.field(default_factory=NameCounts)
    events: NameCounts = msgspec.field(default_factory=NameCounts)
    updates_sent: int = 0
    updates: int = 0
    alone: int = 0
    tracked: int = 0
    look_ups: int = 0
    refused: int = 0

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Look at how records end."""
        for outcome in outcomes:
            record, request = outcome.record, outcome.request
            is_planned = outcome.state is State.PLANNED
            if record.type == "track" and record.name is not None:
                self.names.add(record.name)
                if is_planned:
                    self.names_sent.add(record.name)
            if is_planned:
                self.types_sent[record.type or ""] += 1
            if request is not None and (is_planned or _only_in_bulk_unsent(outcome)):
                self._add(request, is_planned=is_planned)

    def _add(self, request: Request, *, is_planned: bool) -> None:
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
            self.events.add(request.name)

    def keep_unchanged(self, updates: int) -> None:
        """Take updates of customers out of what would be sent, as nothing about these is new."""
        self.types_sent["identify"] -= updates
        self.updates_sent -= updates


def _only_in_bulk_unsent(outcome: Outcome) -> bool:
    """Tell whether a call of its own would be made for the record if customers did not go in bulk."""
    if outcome.state is State.FAILED:
        return outcome.reason != FAILED_BEFORE
    return outcome.state is State.DUPLICATE and outcome.reason == "unchanged"


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
    report: RunReport
    walked: Walked
    folded: BulkReport
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
    """Walks the input once, as a dry run does, and folds the customers on the way.

    Args:
        options: what the user asked for.
        stop: ends the walk early.
        ledger: what was sent before.
        rule: what is sent although it was sent before.

    Attributes:
        run: the dry run.
    """

    def __init__(self, options: RunOptions, stop: Stop, ledger: LedgerReader, rule: Rule) -> None:
        self._options = msgspec.structs.replace(options, mode=Mode.DRY_RUN, dead_letters=None)
        self._stop = stop
        self._ledger = ledger
        self._rule = rule
        self._fold = Fold()
        self._walked = self._new_walk()
        self.run = self._new_run(self._fold)

    def _new_walk(self) -> Walked:
        return Walked(looks_up=self._rule.on_doubt == "verify")

    def _new_run(self, fold: Fold | None) -> Run:
        link = DryRun(discard, self._stop)
        return Run(
            self._options, self._stop, link, self._ledger, self._rule, watch=self._walked.add, fold=fold
        )

    def plan(self) -> Plan:
        """Walk, and tell the plan; it holds for what was read if the walk was stopped."""
        is_bulk = self._options.settings.delivery.customers == "bulk" and not self._rule.failed
        with self._fold:
            self.run.execute()
            link = DryRun(discard, self._stop)
            bulk = BulkCustomers(self._ledger, self._rule, link, self._stop)
            if not self._stop.requested:
                bulk.deliver(self._fold)
        folded = bulk.tally
        if is_bulk and folded.failed:  # only a walk like the run's own tells which events they take with them
            self._walked = self._new_walk()
            self.run = self._new_run(None)
            self.run.execute()
        elif is_bulk and bulk.unchanged_updates:
            self.run.books.report.move(
                "identify", Kind.CUSTOMER, State.DUPLICATE, "unchanged", bulk.unchanged_updates
            )
            self._walked.keep_unchanged(bulk.unchanged_updates)
        path = self._ledger.path
        customers = self._options.settings.delivery.customers
        return Plan(customers, self.run.report(), self._walked, folded, None if path is None else str(path))

    def snapshot(self) -> Snapshot:
        """Tell how the walk stands."""
        return self.run.snapshot()


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
    report, walked = msgspec.to_builtins(plan.report), plan.walked
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
