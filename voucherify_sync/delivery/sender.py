"""One request between `submit` and its outcome, and the only place that decides whether a stop leaves it in doubt.

What delivery asks of whoever remembers what it is about to send, and how that ended.

Where requests go: one attempt in, an Outcome or Again out. Voucherify's API, or the lines of a dry run.

Nothing that concerns one record is raised; what stops the run is told to `stop`, and the record stays undecided.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import msgspec

from voucherify_sync.delivery.circuit_breaker import Circuit
from voucherify_sync.errors import VoucherifySyncError, WrongAddress
from voucherify_sync.events import Kind, Request
from voucherify_sync.outcomes import NotProcessed, Outcome, State
from voucherify_sync.stop import Stop
from voucherify_sync.voucherify.activity import Doubt, Doubts, OnDoubt, Verifier, in_doubt
from voucherify_sync.voucherify.answers import (
    PATHS,
    Answer,
    NoAnswer,
    NotSent,
    Reply,
    presentable,
    sent_of_customer,
)
from voucherify_sync.voucherify.limited_client import RefusalPolicy, Ruling, harmless_call
from voucherify_sync.voucherify.rate_limit import Limiter
from voucherify_sync.voucherify.retry_policy import (
    BLOCKED,
    GAVE_UP,
    PAUSES,
    THROTTLED,
    Again,
    Delivered,
    Failed,
    Halt,
    InDoubt,
    Pauses,
    RetryBudget,
    Verdict,
    backoff_s,
    blocked,
    has_tries_left,
    judge,
    shows_health,
    unclear,
)

if TYPE_CHECKING:
    from voucherify_sync.voucherify.client import Client


class Attempts:
    """The attempts to send one request. The lane of its customer holds it from `submit` to the outcome.

    One thread makes an attempt at a time. Another may call `undecided` when the run ends.

    Attributes:
        request: the request.
        number: of the attempt that is being made, 1 for the first; 0 before it.
        failures: attempts that ended badly; those answered with 429 do not count.
        trouble_s: seconds that those took, pauses included.
        sent_at: monotonic seconds of the last send.
        doubt: a send, of this run or of an earlier one, whose answer was lost.
    """

    __slots__ = (
        "_may_have_left",
        "doubt",
        "failures",
        "number",
        "request",
        "sent_at",
        "trouble_s",
    )

    def __init__(self, request: Request) -> None:
        self.request = request
        self.number = 0
        self.failures = 0
        self.trouble_s = 0.0
        self.sent_at = 0.0
        self.doubt: Doubt | None = None
        self._may_have_left = request.doubtful_since is not None

    @property
    def may_be_processed(self) -> bool:
        """Whether a custom event was sent, and no answer has told what became of it."""
        return self._may_have_left or self.doubt is not None

    def begin(self) -> None:
        """Count an attempt that begins."""
        self.number += 1

    def send(self, now: float) -> None:
        """Note, before its first byte, that the request leaves now."""
        self.sent_at = now
        self._may_have_left = self.request.kind is Kind.EVENT

    def rule_out_last(self) -> None:
        """Take a proof that the last send was not processed; an earlier one, which is in doubt, still may be."""
        self._may_have_left = False

    def undecided(self, *, is_under_way: bool = False) -> Outcome:
        """Return the outcome where the run ends before an answer has decided it.

        Args:
            is_under_way: a worker is busy with an attempt and is not waited for any longer: it may send at any moment.
        """
        request = self.request
        if self.doubt is not None:
            return in_doubt(request, self.doubt)
        if self._may_have_left or (is_under_way and request.kind is Kind.EVENT):
            return Outcome(request.event, State.IN_DOUBT, "interrupted", request=request)
        return Outcome(request.event, State.PENDING, request=request)


class Journal(Protocol):
    """Keeps, durably, which events are about to be sent, and how every request ended."""

    def intend(self, request: Request) -> None:
        """Return when the intent to send this event is durable."""
        ...

    def withdraw(self, request: Request, proof: NotProcessed) -> None:
        """Take the last intent back, for a proof that this send was not processed. Earlier sends stay noted."""
        ...

    def record(self, outcome: Outcome) -> None:
        """Keep how a request ended, not later than the next intent.

        The worker that knows it tells it before it takes up anything else, so that a run that is killed leaves as many
        events in doubt as it has workers, and not all those that nobody has asked for yet.
        """
        ...

    def accepted_at(self, endpoint: str) -> None:
        """Keep that Voucherify accepted a call at an endpoint; may be told again and again."""
        ...


class NoJournal:
    """Keeps nothing."""

    def intend(self, request: Request) -> None:
        """Do nothing."""

    def withdraw(self, request: Request, proof: NotProcessed) -> None:
        """Do nothing."""

    def record(self, outcome: Outcome) -> None:
        """Do nothing."""

    def accepted_at(self, endpoint: str) -> None:
        """Do nothing."""


__all__ = ["Again", "ApiDestination", "Attempts", "Destination", "Journal", "NoJournal"]

_RESPONSE_BYTES = 4096


class Destination(Protocol):
    """Takes requests, from many threads at once."""

    def attempt(self, attempts: Attempts) -> Outcome | Again:
        """Make the next attempt. Never raises for what concerns one record."""
        ...


class ApiDestination:
    """Sends requests to Voucherify: circuit, permit, intent, call, judgement, in this order.

    Args:
        client: makes the calls.
        limiter: gives the permits and hears of every answer.
        stop: told of what stops the run.
        journal: where the intent to send an event is kept, and how each request ended.
        circuit: default: one that probes through client and limiter.
        refusals: default: one that probes through client and limiter, of a project that has accepted nothing yet.
        on_doubt: what becomes of an event whose answer was lost.
        pauses: before looks at the activity log and retries.
        clock: monotonic seconds.
        jitter: returns a number in 0..1.
    """

    def __init__(
        self,
        client: Client,
        limiter: Limiter,
        stop: Stop,
        *,
        journal: Journal | None = None,
        circuit: Circuit | None = None,
        refusals: RefusalPolicy | None = None,
        on_doubt: OnDoubt = "verify",
        pauses: Pauses = PAUSES,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        probe = harmless_call(client, limiter)
        self.circuit = circuit or Circuit(probe, stop)
        self._journal = journal or NoJournal()
        self._refusals = refusals or RefusalPolicy(probe, accepted_at=self._journal.accepted_at)
        self._client = client
        self._limiter = limiter
        self._stop = stop
        self._clock = clock
        self._jitter = jitter
        self._pauses = pauses
        self._doubts = Doubts(
            Verifier(client, limiter),
            self.circuit,
            on_doubt,
            settle_s=pauses.settle_s,
            clock=clock,
        )
        self._budget = RetryBudget()

    def attempt(self, attempts: Attempts) -> Outcome | Again:
        """Send once, or look once for what was sent before."""
        try:
            self._recall_doubt(attempts)
            if attempts.doubt is not None and self._doubts.on_doubt == "verify":
                result = self._doubts.look(attempts.request, attempts.doubt)
            else:
                result = self._send(attempts)
        except VoucherifySyncError as error:
            self._stop.because(error)
            result = attempts.undecided()
        if isinstance(result, Outcome):
            self._journal.record(result)
        return result

    def _recall_doubt(self, attempts: Attempts) -> None:
        """Take up the doubt that an earlier run left."""
        since = attempts.request.doubtful_since
        if since is not None and attempts.number == 1:
            ahead_s = self._client.server_now() - time.time()
            attempts.doubt = self._doubts.of_earlier_run(since + ahead_s)

    def _send(self, attempts: Attempts) -> Outcome | Again:
        request, kind = attempts.request, attempts.request.kind
        if not self._permitted(kind):
            return attempts.undecided()
        well: bool | None = None
        try:
            if kind is Kind.EVENT:
                self._intend(request)
            attempts.send(self._clock())
            answer = self._call(request)
            attempts.trouble_s += self._clock() - attempts.sent_at
            tries = (attempts.failures + 1, attempts.trouble_s, self._jitter)
            verdict = judge(kind, answer, *tries)
            if not isinstance(verdict, Delivered):  # then what it says is shown
                answer = presentable(answer, sent_of_customer(request), self._client.token)
                verdict = judge(kind, answer, *tries)
            well = shows_health(verdict)
            self.circuit.heard(answer, well)
        finally:
            self.circuit.leave(kind, well)
        return self._conclude(attempts, answer, verdict)

    def _intend(self, request: Request) -> None:
        try:
            self._journal.intend(request)
        except VoucherifySyncError:
            self._journal.withdraw(request, NotProcessed.NOT_SENT)
            raise

    def _permitted(self, kind: Kind) -> bool:
        """Wait for circuit and limiter. False: the run is stopping."""
        while self.circuit.enter(kind):
            permitted = self._limiter.acquire()
            if permitted and not self.circuit.is_open:
                return True
            self.circuit.leave(kind, None)
            if not permitted:
                return False
            self._limiter.unused()  # the circuit opened while we waited for the permit
        return False

    def _call(self, request: Request) -> Answer:
        try:
            reply = self._client.call("POST", PATHS[request.kind], request.payload)
        except (NotSent, NoAnswer) as error:
            self._limiter.unanswered()
            return error
        self._limiter.answered(reply.status, reply.headers)
        return reply

    def _conclude(self, attempts: Attempts, answer: Answer, verdict: Verdict) -> Outcome | Again:
        request = attempts.request
        match verdict:
            case Delivered(status):
                self._refusals.succeeded(PATHS[request.kind])
                self._budget.earn()
                self._doubts.count_send(request)
                return Outcome(request.event, State.DELIVERED, request=request, status=status)
            case Again():
                if verdict.proof is not None:
                    self._rule_out(attempts, verdict.proof)
                return self._again(attempts, verdict)
            case InDoubt():
                return self._doubtful(attempts, answer, verdict)
            case Failed():
                return self._failed(attempts, answer, verdict)
            case Halt():
                return self._refused(attempts, answer, verdict)

    def _again(self, attempts: Attempts, verdict: Again) -> Again:
        pause_s = verdict.after_s
        if verdict.reason != THROTTLED:
            attempts.failures += 1
            attempts.trouble_s += verdict.trouble_s
            if not self._budget.spend(verdict.reason):
                pause_s = max(pause_s, self._pauses.spent_s * (0.5 + self._jitter() / 2))
        return msgspec.structs.replace(verdict, after_s=pause_s)

    def _doubtful(self, attempts: Attempts, answer: Answer, verdict: InDoubt) -> Outcome | Again:
        request = attempts.request
        sent_at = self._client.server_now() - (self._clock() - attempts.sent_at)
        doubt = Doubt(verdict, _response(answer), sent_at, self._doubts.count_send(request))
        attempts.doubt = doubt
        number = attempts.failures + 1
        if self._doubts.on_doubt == "resend" and has_tries_left(number, attempts.trouble_s):
            return self._again(attempts, Again(backoff_s(number, self._jitter), verdict.reason))
        return self._doubts.decide(request, doubt)

    def _failed(self, attempts: Attempts, answer: Answer, verdict: Failed) -> Outcome:
        request = attempts.request
        if attempts.doubt is not None:  # that this send was not processed says nothing of the one before
            self._rule_out(attempts, NotProcessed.REFUSED)
            return in_doubt(request, attempts.doubt)
        is_refusal = verdict.reason not in (GAVE_UP, BLOCKED)
        if is_refusal and self._refusals.all_refused(PATHS[request.kind]):
            return self._halted(attempts, _all_refused(verdict), NotProcessed.REFUSED)
        return _failure(request, answer, verdict)

    def _refused(self, attempts: Attempts, answer: Answer, verdict: Halt) -> Outcome | Again:
        """Take in a refusal that usually concerns the project, and sometimes one record."""
        request = attempts.request
        ruling = Ruling.STOP
        if verdict.proof is NotProcessed.REFUSED:
            ruling = self._refusals.rule(PATHS[request.kind])
        match ruling:
            case Ruling.STOP:
                return self._halted(attempts, verdict.error, verdict.proof)
            case Ruling.BLOCKED:
                return self._failed(attempts, answer, blocked(verdict.error, answer))
            case Ruling.UNCLEAR:
                tries = attempts.failures + 1, attempts.trouble_s, self._jitter
                return self._conclude(attempts, answer, unclear(verdict.error, *tries))

    def _halted(self, attempts: Attempts, error: VoucherifySyncError, proof: NotProcessed) -> Outcome:
        self._stop.because(error)
        self._rule_out(attempts, proof)
        return attempts.undecided()

    def _rule_out(self, attempts: Attempts, proof: NotProcessed) -> None:
        """Take the intent of the last send back."""
        attempts.rule_out_last()
        if attempts.request.kind is Kind.EVENT:
            self._journal.withdraw(attempts.request, proof)


def _failure(request: Request, answer: Answer, verdict: Failed) -> Outcome:
    return Outcome(
        request.event,
        State.FAILED,
        reason=verdict.reason,
        detail=verdict.detail,
        request=request,
        status=verdict.status,
        response=_response(answer),
    )


def _all_refused(verdict: Failed) -> WrongAddress:
    return WrongAddress(
        f"The first requests were all refused, the last one as {verdict.reason} (HTTP {verdict.status})",
        "Check api.url and the mapping: `voucherify-sync explain` shows what is sent, the dead letters what came back.",
    )


def _response(answer: Answer) -> bytes | None:
    return answer.body[:_RESPONSE_BYTES] if isinstance(answer, Reply) else None
