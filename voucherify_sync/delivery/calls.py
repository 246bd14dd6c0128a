"""One call that is safe to repeat, repeated until it is decided: a good reply, a refusal, or the end of the run.

The rules are those for customers. It never makes a call that must not be made twice.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec import Struct

from voucherify_sync.delivery.answer import Answer, NoAnswer, NotSent, Reply
from voucherify_sync.delivery.circuit import Circuit
from voucherify_sync.delivery.quota import Bucket, Limiter
from voucherify_sync.delivery.retry import (
    THROTTLED,
    Again,
    Delivered,
    Failed,
    Halt,
    judge,
    shows_health,
)
from voucherify_sync.model import Kind
from voucherify_sync.stop import Stop

if TYPE_CHECKING:  # it needs requests, which is slow to import
    from voucherify_sync.delivery.client import Client

_RESPONSE_BYTES = 4096


class Request(Struct, frozen=True):
    """What is called.

    Attributes:
        method, path, payload: as the client takes them.
        is_good: tells whether a reply is the success that was hoped for.
        bucket: the limit that it counts against.
        endpoint: what it is counted as, where the path holds an id.
    """

    method: str
    path: str
    is_good: Callable[[Reply], bool]
    payload: bytes | None = None
    bucket: Bucket = Bucket.API
    endpoint: str | None = None


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
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.retries = 0
        self._client = client
        self._limiter = limiter
        self._circuit = circuit
        self._stop = stop
        self._clock = clock
        self._jitter = jitter

    def call(self, request: Request) -> Reply | Refusal | None:
        """Call until it is decided. None: the run is stopping, and nobody knows whether it was processed."""
        failures, trouble_s = 0, 0.0
        while self._permitted(request.bucket):
            began = self._clock()
            answer = self._call_once(request)
            trouble_s += self._clock() - began
            verdict = judge(
                Kind.CUSTOMER, answer, failures + 1, trouble_s, self._jitter, is_good=request.is_good
            )
            well = shows_health(verdict)
            self._circuit.heard(answer, well)
            self._circuit.leave(Kind.CUSTOMER, well)
            match verdict:
                case Delivered() if isinstance(answer, Reply):
                    return answer
                case Failed(reason, detail, status):
                    response = answer.body[:_RESPONSE_BYTES] if isinstance(answer, Reply) else None
                    return Refusal(reason, detail, status, response)
                case Halt(error):
                    self._stop.because(error)
                case Again(pause_s, reason):
                    self.retries += 1
                    failures += reason != THROTTLED
                    trouble_s += verdict.trouble_s
                    self._stop.wait(pause_s)
        return None

    def _permitted(self, bucket: Bucket) -> bool:
        """Wait for circuit and limiter. False: the run is stopping."""
        if not self._circuit.enter(Kind.CUSTOMER):
            return False
        if self._limiter.acquire(bucket):
            return True
        self._circuit.leave(Kind.CUSTOMER, None)
        return False

    def _call_once(self, request: Request) -> Answer:
        try:
            reply = self._client.call(
                request.method, request.path, request.payload, endpoint=request.endpoint
            )
        except (NotSent, NoAnswer) as error:
            self._limiter.unanswered(request.bucket)
            return error
        self._limiter.answered(reply.status, reply.headers, request.bucket)
        return reply
