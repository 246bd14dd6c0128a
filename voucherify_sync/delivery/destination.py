"""Where operations go: one attempt in, an Outcome or Again out. Voucherify's API, or the lines of a dry run.

Nothing that concerns one record is raised; what stops the run is told to `stop`, and the record stays pending.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from voucherify_sync.delivery.answer import Answer, NoAnswer, NotSent, Reply
from voucherify_sync.delivery.circuit import Circuit, api_probe
from voucherify_sync.delivery.doubt import SETTLE_S, Doubt, Doubts, OnDoubt, in_doubt
from voucherify_sync.delivery.endpoints import PATHS
from voucherify_sync.delivery.journal import Journal, NoJournal
from voucherify_sync.delivery.privacy import presentable
from voucherify_sync.delivery.quota import Limiter
from voucherify_sync.delivery.retry import (
    GAVE_UP,
    THROTTLED,
    Again,
    Delivered,
    Failed,
    Halt,
    InDoubt,
    RetryBudget,
    Verdict,
    backoff_s,
    has_tries_left,
    judge,
    shows_health,
)
from voucherify_sync.delivery.verify import Verifier
from voucherify_sync.errors import VoucherifySyncError, WrongAddress
from voucherify_sync.model import Kind, Operation, Outcome, Position, State
from voucherify_sync.stop import Stop

if TYPE_CHECKING:  # it needs requests, which is slow to import
    from voucherify_sync.delivery.client import Client

__all__ = ["Again", "ApiDestination", "Attempt", "Destination", "Journal", "NoJournal"]

_REFUSED_AT_START = 20
_BUDGET_PAUSE_S = 60.0
_RESPONSE_BYTES = 4096


class Attempt(Struct, frozen=True):
    """Which try of an operation this is.

    Attributes:
        number: 1-based.
        first_at: monotonic seconds of the first.
    """

    number: int
    first_at: float


class Destination(Protocol):
    """Takes operations, from many threads at once."""

    def attempt(self, operation: Operation, attempt: Attempt) -> Outcome | Again:
        """Try once. Never raises for what concerns one record."""
        ...


class _Progress:
    """What earlier attempts of one operation left behind."""

    __slots__ = ("doubt", "failures", "sent_at", "trouble_s")

    def __init__(self) -> None:
        self.failures = 0
        self.trouble_s = 0.0
        self.sent_at = 0.0
        self.doubt: Doubt | None = None


class ApiDestination:
    """Sends operations to Voucherify: circuit, permit, intent, call, judgement, in this order.

    Args:
        client: makes the calls.
        limiter: gives the permits and hears of every answer.
        stop: told of what stops the run.
        journal: where the intent to send an event is kept, and how each operation ended.
        circuit: default: one that probes through client and limiter.
        on_doubt: what becomes of an event whose answer was lost.
        settle_s: pauses before each look at the activity log.
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
        on_doubt: OnDoubt = "verify",
        settle_s: tuple[float, ...] = SETTLE_S,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.circuit = circuit or Circuit(api_probe(client, limiter), stop)
        self._client = client
        self._limiter = limiter
        self._stop = stop
        self._journal = journal or NoJournal()
        self._clock = clock
        self._jitter = jitter
        self._doubts = Doubts(
            Verifier(client, limiter),
            self.circuit,
            on_doubt,
            settle_s=settle_s,
            clock=clock,
        )
        self._budget = RetryBudget()
        self._progress: dict[Position, _Progress] = {}
        self._accepted_any = False
        self._refused_lock = threading.Lock()
        self._refused = 0

    def attempt(self, operation: Operation, attempt: Attempt) -> Outcome | Again:
        """Send once, or look once for what was sent before."""
        position = operation.event.position
        progress = (self._progress.pop(position, None) if attempt.number > 1 else None) or self._begin(
            operation
        )
        try:
            if progress.doubt is not None and (operation.doubtful_since or self._doubts.on_doubt == "verify"):
                result = self._doubts.look(operation, progress.doubt)
            else:
                result = self._send(operation, progress)
        except VoucherifySyncError as error:
            self._stop.because(error)
            result = _undecided(operation, progress)
        if isinstance(result, Again):
            self._progress[position] = progress
        else:
            self._journal.record(result)
        return result

    def _begin(self, operation: Operation) -> _Progress:
        progress = _Progress()
        if operation.doubtful_since is not None:
            ahead_s = self._client.server_now() - time.time()
            progress.doubt = self._doubts.of_earlier_run(operation.doubtful_since + ahead_s)
        return progress

    def _send(self, operation: Operation, progress: _Progress) -> Outcome | Again:
        kind = operation.kind
        if not self._permitted(kind):
            return _undecided(operation, progress)
        well: bool | None = None
        try:
            if kind is Kind.EVENT:
                self._journal.intend(operation)
            progress.sent_at = self._clock()
            answer = self._call(operation)
            progress.trouble_s += self._clock() - progress.sent_at
            tries = (progress.failures + 1, progress.trouble_s, self._jitter)
            verdict = judge(kind, answer, *tries)
            if not isinstance(verdict, Delivered):  # then what it says is shown
                answer = presentable(answer, operation, self._client.token)
                verdict = judge(kind, answer, *tries)
            well = shows_health(verdict)
            self.circuit.heard(answer, well)
        finally:
            self.circuit.leave(kind, well)
        return self._conclude(operation, progress, answer, verdict)

    def _permitted(self, kind: Kind) -> bool:
        """Wait for circuit and limiter. False: the run is stopping."""
        while self.circuit.enter(kind):
            permitted = self._limiter.acquire()
            if permitted and not self.circuit.is_open:
                return True
            self.circuit.leave(kind, None)
            if not permitted:
                return False
            self._limiter.unanswered()  # the circuit opened while we waited for the permit
        return False

    def _call(self, operation: Operation) -> Answer:
        try:
            reply = self._client.call("POST", PATHS[operation.kind], operation.payload)
        except (NotSent, NoAnswer) as error:
            self._limiter.unanswered()
            return error
        self._limiter.answered(reply.status, reply.headers)
        return reply

    def _conclude(
        self, operation: Operation, progress: _Progress, answer: Answer, verdict: Verdict
    ) -> Outcome | Again:
        match verdict:
            case Delivered(status):
                self._accepted_any = True
                self._budget.earn()
                self._doubts.count_send(operation)
                return Outcome(operation.event, State.DELIVERED, operation=operation, status=status)
            case Again():
                self._withdraw(operation, progress)
                return self._again(progress, verdict)
            case InDoubt():
                return self._doubtful(operation, progress, answer, verdict)
            case Failed():
                return self._failed(operation, progress, answer, verdict)
            case Halt(error):
                return self._halted(operation, progress, error)

    def _again(self, progress: _Progress, verdict: Again) -> Again:
        pause_s = verdict.after_s
        if verdict.reason != THROTTLED:
            progress.failures += 1
            progress.trouble_s += verdict.trouble_s
            if not self._budget.spend(verdict.reason):
                pause_s = max(pause_s, _BUDGET_PAUSE_S * (0.5 + self._jitter() / 2))
        return Again(pause_s, verdict.reason, sent=progress.doubt is not None)

    def _doubtful(
        self, operation: Operation, progress: _Progress, answer: Answer, verdict: InDoubt
    ) -> Outcome | Again:
        sent_at = self._client.server_now() - (self._clock() - progress.sent_at)
        doubt = Doubt(verdict, _response(answer), sent_at, self._doubts.count_send(operation))
        progress.doubt = doubt
        attempt = progress.failures + 1
        if self._doubts.on_doubt == "resend" and has_tries_left(attempt, progress.trouble_s):
            return self._again(progress, Again(backoff_s(attempt, self._jitter), verdict.reason))
        return self._doubts.decide(operation, doubt)

    def _failed(self, operation: Operation, progress: _Progress, answer: Answer, verdict: Failed) -> Outcome:
        if verdict.reason == GAVE_UP and progress.doubt is not None:
            return in_doubt(operation, progress.doubt)
        if verdict.reason != GAVE_UP and self._is_wrong_address():
            return self._halted(operation, progress, _all_refused(verdict))
        return Outcome(
            operation.event,
            State.FAILED,
            reason=verdict.reason,
            detail=verdict.detail,
            operation=operation,
            status=verdict.status,
            response=_response(answer),
        )

    def _is_wrong_address(self) -> bool:
        """Count a refusal; tell whether it is the last of so many that the run began with nothing else."""
        with self._refused_lock:
            self._refused += 1
            return not self._accepted_any and self._refused >= _REFUSED_AT_START

    def _halted(self, operation: Operation, progress: _Progress, error: VoucherifySyncError) -> Outcome:
        self._stop.because(error)
        self._withdraw(operation, progress)
        return _undecided(operation, progress)

    def _withdraw(self, operation: Operation, progress: _Progress) -> None:
        """Take the intent back, unless an earlier send may have been processed."""
        if operation.kind is Kind.EVENT and progress.doubt is None:
            self._journal.withdraw(operation)


def _undecided(operation: Operation, progress: _Progress) -> Outcome:
    """Return the outcome of a record that the run stopped on."""
    if progress.doubt is not None:
        return in_doubt(operation, progress.doubt)
    return Outcome(operation.event, State.PENDING, operation=operation)


def _all_refused(verdict: Failed) -> WrongAddress:
    return WrongAddress(
        f"The first {_REFUSED_AT_START} requests were all refused, lastly as {verdict.reason} (HTTP {verdict.status})",
        "Check api.url and the mapping: `voucherify-sync explain` shows what is sent, the dead letters what came back.",
    )


def _response(answer: Answer) -> bytes | None:
    return answer.body[:_RESPONSE_BYTES] if isinstance(answer, Reply) else None
