"""Tells a refusal that concerns one record from one that concerns the whole project, and so ends the run.

One call that is safe to repeat, repeated until it is decided: a good reply, a refusal, or the end of the run.

The rules are those for customers. It never makes a call that must not be made twice.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from enum import Enum, auto
from math import inf
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from voucherify_sync.delivery.circuit_breaker import Circuit
from voucherify_sync.events import Json, Kind
from voucherify_sync.outcomes import NOTHING_ACCEPTED, Accepted, NotProcessed
from voucherify_sync.stop import Stop
from voucherify_sync.voucherify.answers import Answer, NoAnswer, NotSent, Reply, presentable
from voucherify_sync.voucherify.rate_limit import Bucket, Limiter
from voucherify_sync.voucherify.retry_policy import (
    DRAIN_S,
    THROTTLED,
    Again,
    Delivered,
    Failed,
    Halt,
    blocked,
    halting,
    json_object,
    judge,
    shows_health,
    unclear,
)

if TYPE_CHECKING:
    from voucherify_sync.voucherify.client import Client

_FIRST: Final = 20
"""So many refusals, and nothing else, mean that the address or the mapping is wrong."""
_BLOCKED_IN_A_ROW: Final = 5


class Ruling(Enum):
    """What follows from a 401, 402, 403, 405, 406, 415 or 3xx."""

    STOP = auto()
    """It concerns the project: the run ends, and the record is not decided."""
    BLOCKED = auto()
    """It concerns the record, which failed."""
    UNCLEAR = auto()
    """The probe was not answered: try again later."""


class RefusalPolicy:
    """Decides about refusals, for all workers.

    Args:
        probe: makes a harmless call and returns how it ended; None if the run is stopping.
        accepted: what Voucherify accepted before this run.
        accepted_at: told of each endpoint that accepts a call.
        expects_refusals: dead letters are sent: that the first of them are refused again says nothing.
    """

    def __init__(
        self,
        probe: Callable[[], Answer | None],
        accepted: Accepted = NOTHING_ACCEPTED,
        *,
        accepted_at: Callable[[str], object] = lambda _: None,
        expects_refusals: bool = False,
    ) -> None:
        self._probe = probe
        self._endpoints = set(accepted.endpoints)
        self._has_accepted = accepted.by_settings or expects_refusals
        self._accepted_at = accepted_at
        self._refused = 0
        self._blocked = Counter[str]()
        self._lock = threading.Lock()

    def succeeded(self, endpoint: str) -> None:
        """Note that a call to an endpoint succeeded."""
        self._has_accepted = True
        self._endpoints.add(endpoint)
        self._blocked.pop(endpoint, None)
        self._accepted_at(endpoint)

    def all_refused(self, endpoint: str) -> bool:
        """Count a record that was refused for itself; True after 20 of them, if nothing was ever accepted."""
        with self._lock:
            self._refused += 1
            self._blocked.pop(endpoint, None)
            return not self._has_accepted and self._refused >= _FIRST

    def rule(self, endpoint: str, *, is_one_record: bool = True) -> Ruling:
        """Decide about a refusal that is usual for a whole project; makes a harmless call where it may not be.

        Args:
            endpoint: where it was met.
            is_one_record: the call carried one record, so that five in a row are enough.
        """
        with self._lock:
            if endpoint not in self._endpoints:
                return Ruling.STOP
            if self._blocked[endpoint] + is_one_record >= _BLOCKED_IN_A_ROW:
                return Ruling.STOP
            answer = self._probe()
            if not isinstance(answer, Reply) or (halting(answer) is None and not _is_good(answer)):
                return Ruling.UNCLEAR
            if not _is_good(answer):
                return Ruling.STOP
            self._blocked[endpoint] += is_one_record
            return Ruling.BLOCKED


def harmless_call(client: Client, limiter: Limiter) -> Callable[[], Answer | None]:
    """Return the probe of policy and circuit: the cheapest call that creates nothing."""

    def call() -> Answer | None:
        if not limiter.acquire():
            return None
        try:
            reply = client.call("GET", "/v1/customers", params={"limit": "1"})
        except (NotSent, NoAnswer) as error:
            limiter.unanswered()
            return error
        limiter.answered(reply.status, reply.headers)
        return reply

    return call


def _is_good(reply: Reply) -> bool:
    return 200 <= reply.status < 300 and json_object(reply.body) is not None


_RESPONSE_BYTES = 4096
_SLICE_S = 0.1
"""The longest wait for an answer without asking whether the run stops."""


class ApiCall(Struct, frozen=True):
    """What is called.

    Attributes:
        method, path, payload: as the client takes them.
        is_good: tells whether a reply is the success that was hoped for.
        bucket: the limit that it counts against.
        template: of the path, where it holds an id.
        records: so many customers it carries; None for a call that carries none.
        sent: what must not show again in what is told of a refusal; asked for only then.
    """

    method: str
    path: str
    is_good: Callable[[Reply], bool]
    payload: bytes | None = None
    bucket: Bucket = Bucket.API
    template: str | None = None
    records: int | None = None
    sent: Callable[[], Iterable[Json]] = tuple

    @property
    def endpoint(self) -> str:
        """The path without ids."""
        return self.template or self.path


class Refusal(Struct, frozen=True):
    """Voucherify refused a call, or we gave up.

    Attributes:
        reason: our own code, or the ``key`` of the API's error.
        detail: a sentence for people; like the response it may repeat what was sent.
        status: HTTP status of the last answer, if there was one.
        response: its body, at most 4 KiB.
    """

    reason: str
    detail: str
    status: int | None = None
    response: bytes | None = None


class Caller:
    """Makes calls, one after the other.

    Args:
        client: makes them.
        limiter: gives a permit for each.
        circuit: keeps them back while Voucherify is in trouble.
        stop: ends the waits; told of what stops the run.
        refusals: tells what concerns the records of a call from what concerns the project.
        clock: monotonic seconds.
        jitter: returns a number in 0..1.

    Attributes:
        retries: calls that repeated an earlier one.
    """

    def __init__(
        self,
        client: Client,
        limiter: Limiter,
        circuit: Circuit,
        stop: Stop,
        refusals: RefusalPolicy | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.retries = 0
        self._client = client
        self._limiter = limiter
        self._circuit = circuit
        self._stop = stop
        self._refusals = refusals or RefusalPolicy(harmless_call(client, limiter))
        self._clock = clock
        self._jitter = jitter

    def call(self, request: ApiCall) -> Reply | Refusal | None:
        """Call until it is decided. None: the run is stopping, and nobody knows whether it was processed."""
        failures, trouble_s = 0, 0.0
        while self._permitted(request.bucket):
            began = self._clock()
            answer = self._call_once(request)
            trouble_s += self._clock() - began
            tries = failures + 1, trouble_s, self._jitter
            verdict = judge(Kind.CUSTOMER, answer, *tries, is_good=request.is_good)
            if not isinstance(verdict, Delivered):  # then what it says is shown
                answer = presentable(answer, request.sent(), self._client.token)
                verdict = judge(Kind.CUSTOMER, answer, *tries, is_good=request.is_good)
            well = shows_health(verdict)
            self._circuit.heard(answer, well)
            self._circuit.leave(Kind.CUSTOMER, well)
            match verdict:
                case Delivered() if isinstance(answer, Reply):
                    self._refusals.succeeded(request.endpoint)
                    return answer
                case Halt(error) if (ruling := self._ruling(request, verdict)) is Ruling.STOP:
                    self._stop.because(error)
                    return None
                case Halt(error) if ruling is Ruling.BLOCKED:
                    return _refusal(answer, blocked(error, answer))
                case Halt(error):
                    verdict = unclear(error, *tries)
            if isinstance(verdict, Failed):
                return _refusal(answer, verdict)
            if isinstance(verdict, Again):
                self.retries += 1
                failures += verdict.reason != THROTTLED
                trouble_s += verdict.trouble_s
                self._stop.wait(verdict.after_s)
        return None

    def _ruling(self, request: ApiCall, verdict: Halt) -> Ruling:
        if request.records is None or verdict.proof is not NotProcessed.REFUSED:
            return Ruling.STOP
        return self._refusals.rule(request.endpoint, is_one_record=request.records == 1)

    def _permitted(self, bucket: Bucket) -> bool:
        """Wait for circuit and limiter. False: the run is stopping."""
        while self._circuit.enter(Kind.CUSTOMER):
            permitted = self._limiter.acquire(bucket)
            if permitted and not self._circuit.is_open:
                return True
            self._circuit.leave(Kind.CUSTOMER, None)
            if not permitted:
                return False
            self._limiter.unused(bucket)  # the circuit opened while we waited for the permit
        return False

    def _call_once(self, request: ApiCall) -> Answer:
        answer = self._answer(request)
        if isinstance(answer, Reply):
            self._limiter.answered(answer.status, answer.headers, request.bucket)
        else:
            self._limiter.unanswered(request.bucket)
        return answer

    def _answer(self, request: ApiCall) -> Answer:
        """Make the call on a thread of its own, so that a stop waits neither for a name server nor for a slow line."""
        reply: Future[Reply] = Future()

        def call() -> None:
            try:
                endpoint = request.endpoint
                reply.set_result(
                    self._client.call(request.method, request.path, request.payload, endpoint=endpoint)
                )
            except BaseException as error:  # noqa: BLE001 - it is raised where the reply is waited for
                reply.set_exception(error)

        threading.Thread(target=call, name="call", daemon=True).start()
        last_moment = inf
        while True:
            try:
                return reply.result(_SLICE_S)
            except (NotSent, NoAnswer) as error:
                return error
            except TimeoutError:
                now = self._clock()
                if self._stop.requested:  # the call's own deadline comes first, where it can cut anything
                    last_moment = min(last_moment, now + DRAIN_S + _SLICE_S)
                if now >= last_moment:
                    return NoAnswer("timeout", "the run ended before the answer came")


def _refusal(answer: Answer, verdict: Failed) -> Refusal:
    response = answer.body[:_RESPONSE_BYTES] if isinstance(answer, Reply) else None
    return Refusal(verdict.reason, verdict.detail, verdict.status, response)
