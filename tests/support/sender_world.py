"""A sender, the answers that it gets, and the order of what it does."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any

import msgspec

from voucherify_sync.delivery.circuit_breaker import CircuitBreaker
from voucherify_sync.delivery.lanes import PendingRequest
from voucherify_sync.delivery.sender import Sender
from voucherify_sync.events import Event, Json, Kind, Position, Request
from voucherify_sync.outcomes import NotProcessed, Outcome
from voucherify_sync.settings.types import Secret
from voucherify_sync.stop import Stop
from voucherify_sync.voucherify.answers import Reply
from voucherify_sync.voucherify.limited_client import LimitedClient
from voucherify_sync.voucherify.rate_limit import Bucket, Permit
from voucherify_sync.voucherify.retry_policy import RetryLater

CUSTOMER, EVENT = Kind.CUSTOMER, Kind.EVENT


CANARY = "canary-token-77aa"


GOOD = {CUSTOMER: Reply(200, {}, b'{"object":"customer"}'), EVENT: Reply(200, {}, b'{"object":"event"}')}


ALIVE = Reply(200, {}, b'{"object":"list"}')


NUMBERS = itertools.count(1)


def make_request(kind: Kind = EVENT, source_id: str = "u1", metadata: Any = None) -> Request:
    """Return a request of a record of its own."""
    number = next(NUMBERS)
    customer = {"source_id": source_id}
    body: Json = {"event": "Viewed", "customer": customer} if kind is EVENT else customer
    if kind is EVENT:
        body["metadata"] = {"n": number} if metadata is None else metadata
    record = Event(Position("a.ndjson", number), "track", "Viewed", f"m{number}", {}, b"{}")
    return Request(record, kind, source_id, msgspec.json.encode(body))


class World:
    """A sender, the answers that it gets, and the order of what it does. Time passes while something waits."""

    deadline_s = 60.0
    token = Secret(CANARY)

    def __init__(self, *answers: Any, **options: Any) -> None:
        self.now = 0.0
        self.log: list[str] = []
        self.recorded: list[Outcome] = []
        self.answers = list(answers)
        self.answer: Callable[[str, str], Any] = lambda method, path: self.answers.pop(0)
        self.permits = True
        self.stop = Stop()
        self.breaker = CircuitBreaker(self.stop, clock=lambda: self.now, wait=self._wait)
        self.breaker.ever_answered = True
        fakes: Any = self
        chances: Any = {"clock": lambda: self.now, "jitter": lambda: 0.5}
        client = LimitedClient(fakes, fakes, self.breaker, self.stop, **chances)
        self._harmless_call = client.probe
        self.probe_answer: Callable[[], Any] = lambda: ALIVE
        client.probe = self._probe  # type: ignore[method-assign]
        self.sender = Sender(client, self.stop, self, **options)

    def call(self, method: str, path: str, payload: bytes | None = None, *query: Any) -> Reply:
        """Answer a call."""
        self.log.append(f"{method} {path}")
        answer = self.answer(method, path)
        if isinstance(answer, Reply):
            return answer
        raise answer

    def server_now(self) -> float:
        """Return the server's time."""
        return self.now + 1e9

    def acquire(self, bucket: Bucket = Bucket.API) -> Permit | None:
        """Give a permit."""
        self.log.append("permit")
        return Permit(bucket, self.now) if self.permits else None

    def sent(self, permit: Permit) -> None:
        """Hear of a call that goes out, which the call itself logs."""

    def answered(self, permit: Permit, status: int, headers: object) -> None:
        """Hear of an answer."""
        self.log.append(f"answered {status}")

    def unanswered(self, permit: Permit) -> None:
        """Hear of a call without an answer."""
        self.log.append("unanswered")

    def unused(self, permit: Permit) -> None:
        """Take back a permit without a call."""
        self.log.append("unused")

    def intend(self, request: Request) -> None:
        """Keep an intent."""
        self.log.append("intend")

    def withdraw(self, request: Request, proof: NotProcessed) -> None:
        """Take it back."""
        self.log.append("withdraw")

    def accepted_at(self, endpoint: str) -> None:
        pass

    def record(self, outcome: Outcome) -> None:
        """Keep how it ended."""
        self.recorded.append(outcome)

    def run(self, what: Request | PendingRequest) -> Outcome:
        """Make attempts until the record is decided."""
        attempts = what if isinstance(what, PendingRequest) else PendingRequest(what)
        while True:
            result = self.once(attempts)
            if isinstance(result, Outcome):
                return result
            self.log.append(f"again {result.reason}")
            self.now += result.after_s

    def once(self, what: Request | PendingRequest) -> Outcome | RetryLater:
        """Make the next attempt."""
        attempts = what if isinstance(what, PendingRequest) else PendingRequest(what)
        attempts.number += 1
        return self.sender.attempt(attempts)

    def _probe(self) -> Any:
        if not self.breaker.is_open:
            return self._harmless_call()
        self.log.append("probe")
        return self.probe_answer()

    def _wait(self, condition: threading.Condition, seconds: float) -> None:
        self.now += seconds
