"""Sends requests to Voucherify: one attempt at a request, and the delivery that makes them in lanes.

An event is sent at most once: the intent to send it is durable between the permit and its first byte, it is taken back
only for a proof that it was not processed, and a send in doubt is never repeated unless the user chose `resend`.
A problem of one record raises nothing. An error that stops the run goes to `stop`, and the record stays undecided.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Protocol
from urllib.parse import urlsplit

import msgspec

from voucherify_sync.delivery.circuit_breaker import CircuitBreaker
from voucherify_sync.delivery.lanes import Lanes, PendingRequest
from voucherify_sync.errors import Unreachable, VoucherifySyncError
from voucherify_sync.events import PATHS, Kind, Request
from voucherify_sync.outcomes import (
    NOTHING_ACCEPTED,
    Accepted,
    Decision,
    NotProcessed,
    Outcome,
    State,
    Waiting,
)
from voucherify_sync.settings.types import Credentials, Delivery, OnDoubt
from voucherify_sync.stop import Stop
from voucherify_sync.text import counted, span
from voucherify_sync.voucherify.activity import Doubt, Doubts
from voucherify_sync.voucherify.answers import Reply, sent_of_customer
from voucherify_sync.voucherify.bulk import CUSTOMERS, ActionLog, BulkDelivery, Endpoint
from voucherify_sync.voucherify.client import Client
from voucherify_sync.voucherify.limited_client import ApiCall, LimitedClient, RefusalPolicy
from voucherify_sync.voucherify.rate_limit import CallWait, Limiter, RateWindow
from voucherify_sync.voucherify.retry_policy import (
    PAUSES,
    THROTTLED,
    Failed,
    Halt,
    InDoubt,
    Pauses,
    RetryBudget,
    RetryLater,
)

_BULK_DEADLINE_S = 180.0
"""For 10 MiB over a slow line; Voucherify's balancer cuts what takes longer."""
_MAX_BULK_RESPONSE_BYTES = 64 << 20
"""A report names every refused customer."""
_SHORT_S = 5.0
"""A wait that the user's own rate asks for is worth a word from then on."""
_SILENT_S = 2.0
"""From then on a call without an answer is trouble."""


class Journal(Protocol):
    """Keeps, durably, which events are about to be sent, and how every request ended. The ledger is one."""

    def intend(self, request: Request) -> None:
        """Return when the intent to send this event is durable."""

    def withdraw(self, request: Request, proof: NotProcessed) -> None:
        """Take the last intent back, for a proof that this send was not processed. Earlier sends stay noted."""

    def record(self, outcome: Outcome) -> None:
        """Keep how a request ended, not later than the next intent.

        The worker that knows it calls this before it takes up anything else, so that a run that is killed leaves as
        many events in doubt as it has workers, and not all those whose outcome was not collected yet.
        """

    def accepted_at(self, endpoint: str) -> None:
        """Keep that Voucherify accepted a call at an endpoint; may be called again and again."""


class Sender:
    """Makes attempts, from many threads at once.

    Args:
        client: makes the calls.
        stop: takes what stops the run.
        journal: where the intent to send an event is kept, and how each request ended; None keeps nothing.
        on_doubt: what becomes of an event whose answer was lost.
        pauses: before looks at the activity log and retries.
    """

    def __init__(
        self,
        client: LimitedClient,
        stop: Stop,
        journal: Journal | None = None,
        on_doubt: OnDoubt = "verify",
        *,
        pauses: Pauses = PAUSES,
    ) -> None:
        self.doubts = Doubts(client, on_doubt, settle_s=pauses.settle_s)
        self._client = client
        self._stop = stop
        self._journal = journal
        self._pauses = pauses
        self._budget = RetryBudget()

    def attempt(self, pending: PendingRequest) -> Outcome | RetryLater:
        """Send once, or look once for what was sent before."""
        try:
            if pending.number == 1:
                pending.doubt = self.doubts.of_earlier_run(pending.request)
            if pending.doubt is not None and self.doubts.on_doubt == "verify":
                result = self.doubts.look(pending.request, pending.doubt)
            else:
                result = self._send(pending)
        except VoucherifySyncError as error:
            self._stop.because(error)
            result = pending.undecided()
        if isinstance(result, Outcome) and self._journal is not None:
            self._journal.record(result)
        return result

    def _send(self, pending: PendingRequest) -> Outcome | RetryLater:
        request, kind = pending.request, pending.request.kind
        call = ApiCall(
            "POST", PATHS[kind], request.payload, kind, records=1, sent=partial(sent_of_customer, request)
        )
        verdict = self._client.attempt(call, pending, partial(self._prepare, pending))
        match verdict:
            case Reply():
                self._budget.earn()
                self.doubts.count_send(request)
                return Outcome(request.event, State.DELIVERED, request=request, status=verdict.status)
            case RetryLater():
                if verdict.proof is not None:
                    self._rule_out(pending, verdict.proof)
                return self._slowed(verdict)
            case InDoubt():
                sent_at = self._client.server_now() - (self._client.clock() - pending.sent_at)
                pending.doubt = Doubt(verdict, sent_at, self.doubts.count_send(request))
                if self.doubts.on_doubt == "resend" and pending.may_go_on:
                    retry = RetryLater(pending.backoff_s(self._client.jitter), verdict.reason)
                    pending.count(retry)
                    return self._slowed(retry)
                return self.doubts.decide(request, pending.doubt)
            case Failed(reason, detail, status, response):
                if pending.doubt is None:
                    return Outcome(request.event, State.FAILED, reason, detail, request, status, response)
                # That this send was not processed says nothing of the one before.
                self._rule_out(pending, NotProcessed.REFUSED)
                why = pending.doubt.verdict
                both = f"{why.detail}; sent again, it was refused: {detail}"
                pending.doubt.verdict = msgspec.structs.replace(
                    why, detail=both, status=status, response=response
                )
            case Halt():
                self._rule_out(pending, verdict.proof)
        return pending.undecided()

    def _prepare(self, pending: PendingRequest) -> None:
        """Make the intent durable, before the first byte of an event leaves."""
        request = pending.request
        if request.kind is not Kind.EVENT:
            return
        if self._journal is not None:
            try:
                self._journal.intend(request)
            except VoucherifySyncError:
                self._journal.withdraw(request, NotProcessed.NOT_SENT)
                raise
        pending.may_have_left = True

    def _rule_out(self, pending: PendingRequest, proof: NotProcessed) -> None:
        """Take the intent of the last send back; an earlier send, which is in doubt, may still be processed."""
        pending.may_have_left = False
        if pending.request.kind is Kind.EVENT and self._journal is not None:
            self._journal.withdraw(pending.request, proof)

    def _slowed(self, retry: RetryLater) -> RetryLater:
        """Return a retry with a longer pause, once all records together have used the budget of retries up."""
        if retry.reason == THROTTLED or self._budget.spend(retry.reason):
            return retry
        pause_s = max(retry.after_s, self._pauses.spent_s * (0.5 + self._client.jitter() / 2))
        return msgspec.structs.replace(retry, after_s=pause_s)


class LiveDelivery:
    """Delivers requests to an API by client, limiter, circuit breaker and lanes, which it puts together.

    It also tells displays and reports what they show of the calls.

    Args:
        credentials: where the API is, and who we are there.
        settings: workers, rate, reserve, calls at most.
        on_doubt: what becomes of events whose answer is lost.
        journal: where intents and outcomes are kept; None for the sandbox, which needs none.
        stop: takes what stops the run.
        accepted: what Voucherify accepted before this run: then the address is right, and no answer is an outage.
        retries: dead letters are sent, of which many may be refused once more.
        pauses: how long it waits of its own accord.
        known_limit: calls in a period and its seconds, as a probe of the project found them.
    """

    def __init__(
        self,
        credentials: Credentials,
        settings: Delivery,
        on_doubt: OnDoubt,
        journal: Journal | None,
        stop: Stop,
        accepted: Accepted = NOTHING_ACCEPTED,
        *,
        retries: bool = False,
        pauses: Pauses = PAUSES,
        known_limit: tuple[int, float] | None = None,
    ) -> None:
        client = Client(credentials, workers=settings.workers, stop=stop)
        self._clients = [client]
        self._credentials = credentials
        self._host = urlsplit(credentials.url).hostname or ""
        self._stop = stop
        self._limiter = Limiter(
            stop=stop, rate=settings.rate, reserve=settings.reserve, max_calls=settings.max_calls
        )
        if known_limit is not None:
            self._limiter.window.expect(*known_limit)
        self._refusals = RefusalPolicy(
            accepted, accepted_at=journal.accepted_at if journal else None, expects_refusals=retries
        )
        self._breaker = CircuitBreaker(stop, ever_succeeded=accepted.anything, pauses=pauses)
        limited = LimitedClient(client, self._limiter, self._breaker, stop, self._refusals)
        self._sender = Sender(limited, stop, journal, on_doubt, pauses=pauses)
        self._lanes = Lanes(self._sender.attempt, settings.workers, stop)
        self._bulks: list[BulkDelivery] = []
        self._bulk_clients: list[LimitedClient] = []

    def bulk(
        self, log: ActionLog, endpoint: Endpoint = CUSTOMERS, *, imports_update: bool | None = None
    ) -> BulkDelivery:
        """Return what delivers customers or orders in bulk; its requests are larger, and so are the answers.

        Args:
            log: keeps what was accepted.
            endpoint: what is delivered.
            imports_update: whether an import changes an order that exists; None: not known.
        """
        client = Client(
            self._credentials,
            workers=1,
            deadline_s=_BULK_DEADLINE_S,
            max_response=_MAX_BULK_RESPONSE_BYTES,
            stop=self._stop,
        )
        self._clients.append(client)
        limited = LimitedClient(
            client, self._limiter, self._breaker, self._stop, self._refusals, leaves_calls=True
        )
        self._bulk_clients.append(limited)
        token, stop = self._credentials.token, self._stop
        bulk = BulkDelivery(limited, log, token, stop, endpoint, imports_update=imports_update)
        self._bulks.append(bulk)
        return bulk

    def deliver(self, decisions: Iterable[Decision]) -> Iterator[list[Outcome]]:
        """Send the requests among the decisions; yield outcomes as they come, those that are decided among them.

        It waits while the look-ahead is full. When the run stops, what was not sent is pending.
        """
        decided: list[Outcome] = []
        for decision in decisions:
            if type(decision) is Request:
                self._lanes.submit(decision)
                decided += self._lanes.finished()
                if decided:
                    yield decided
                    decided = []
            elif type(decision) is Outcome:
                decided.append(decision)
        if decided:
            yield decided

    def drain(self) -> Iterator[Outcome]:
        """Yield the outcomes of all that is still under way; after a stop it waits a few seconds for answers."""
        return self._lanes.drain()

    def close(self) -> None:
        """Close all connections and end all threads."""
        self._lanes.close()
        for client in self._clients:
            client.close()

    @property
    def in_flight(self) -> int:
        """Calls that are sent and not answered yet."""
        return self._limiter.in_flight

    @property
    def submitted(self) -> int:
        """Requests taken in by the lanes so far."""
        return self._lanes.submitted

    @property
    def open(self) -> int:
        """Requests that are not decided yet."""
        return self._lanes.open

    @property
    def calls(self) -> int:
        """Calls made so far."""
        return self._limiter.calls

    @property
    def limit(self) -> RateWindow:
        """What is known of the limit of ordinary calls."""
        return self._limiter.window

    @property
    def retries(self) -> int:
        """Calls that repeated an earlier one."""
        return self._lanes.retries + sum(client.retries for client in self._bulk_clients)

    @property
    def throttled(self) -> int:
        """Calls answered by 429."""
        return self._limiter.throttled

    @property
    def calls_per_min(self) -> float | None:
        """What the limits sustain, None before it is known."""
        per_s = self._limiter.calls_per_s()
        return None if per_s is None else per_s * 60

    def eta_s(self, calls: float) -> tuple[float, float] | None:
        """Estimate how many seconds a number of calls takes, by limits of a minute and of an hour.

        None where that is not known: before the first answers, and in an outage.
        """
        return None if self._breaker.is_open else self._limiter.eta_s(calls)

    def trouble(self) -> str | None:
        """Say how the last calls failed, in a few words; None where they were answered without trouble."""
        if trouble := self._breaker.trouble:
            return trouble
        silent_s = self._silent_s()
        return None if silent_s is None else f"no answer for {silent_s:.0f} s"

    @property
    def unreached(self) -> Unreachable | None:
        """The error of a run in which every call ended without a connection; None for every other run."""
        return self._breaker.unreached

    def waiting(self) -> Waiting | None:
        """Say what the next call waits for."""
        now = time.monotonic()
        wait = self._breaker.waiting(self._host) or self._limiter.waiting()
        polls_at = next((bulk.polls_at for bulk in self._bulks if bulk.polls_at is not None), None)
        if wait is None and polls_at is not None:
            wait = CallWait("bulk", polls_at)
        # A rate is a pace: that each call waits a little for the one before is no news.
        if wait is not None and not (wait.reason in ("rate", "slowed") and wait.until < now + _SHORT_S):
            return Waiting(wait.reason, max(0.0, wait.until - now), wait.detail)
        customer = self._lanes.blocked_on()
        if customer is not None:
            return Waiting("customer", detail=customer)
        next_attempt_at = self._lanes.next_attempt_at()
        if next_attempt_at is not None:
            customers = counted(self._lanes.waiting, "customer")
            return Waiting("attempt", max(0.0, next_attempt_at - now), customers)
        silent_s = self._silent_s()
        return None if silent_s is None else Waiting("answer", detail=span(silent_s))

    def _silent_s(self) -> float | None:
        """Return for how many seconds a call has had no answer, None until that is trouble."""
        silent_s = self._limiter.unanswered_s()
        return None if silent_s is None or silent_s < _SILENT_S else silent_s
