"""Makes every call to Voucherify: circuit breaker, permit, call, and what follows from the answer, in this order.

Customers, events, bulk requests, polls, look-ups and probes all go this way, so one place tells limiter and breaker of
each answer, and one place judges it.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from math import inf
from typing import TYPE_CHECKING, Final, Protocol

from msgspec import Struct

from voucherify_sync.errors import VoucherifySyncError, WrongAddress
from voucherify_sync.events import Json, Kind
from voucherify_sync.outcomes import NOTHING_ACCEPTED, Accepted, NotProcessed
from voucherify_sync.stop import Stop
from voucherify_sync.voucherify.answers import Answer, NoAnswer, NotSent, Reply, presentable
from voucherify_sync.voucherify.rate_limit import Bucket, Limiter, Permit
from voucherify_sync.voucherify.retry_policy import (
    BLOCKED,
    DRAIN_S,
    GAVE_UP,
    Attempts,
    Failed,
    Halt,
    InDoubt,
    RetryLater,
    Verdict,
    is_success,
    judge,
    shows_health,
    stopping_error,
)

if TYPE_CHECKING:
    from voucherify_sync.voucherify.client import Client

_REFUSED_AT_FIRST: Final = 20
"""Refusals that, with nothing accepted, mean that the address or the mapping is wrong."""
_BLOCKED_IN_A_ROW: Final = 5
_SLICE_S = 0.1
"""The longest wait for an answer without asking whether the run stops."""

Probe = Callable[[], Answer | None]
"""Makes the cheapest call that creates nothing, and returns how it ended; None if the run is stopping."""


class HealthGate(Protocol):
    """Keeps calls back while Voucherify is in trouble: the circuit breaker."""

    @property
    def is_open(self) -> bool:
        """Whether everything waits."""
        ...

    def enter(self, kind: Kind | None, probe: Probe) -> bool:
        """Wait until a call may go, None: a harmless one. False: the run is stopping."""
        ...

    def leave(self, kind: Kind, is_well: bool | None, answer: Answer | None = None) -> None:
        """Tell how a call ended that was let in for a kind; None: in a way that says nothing of Voucherify."""
        ...


class ApiCall(Struct, frozen=True):
    """What is called.

    Attributes:
        method, path, payload, params: as the client takes them.
        kind: what is no customer is never sent again unless it is proved that it was not processed.
        is_good: tells whether a reply is the success that is expected; default: by the kind.
        bucket: the limit that it counts against.
        template: of the path, where it holds an id.
        records: how many customers or events it carries; None for a call that carries none.
        sent: what must not show in the message of a refusal; asked for only then.
        headers: in place of those that every call carries.
    """

    method: str
    path: str
    payload: bytes | None = None
    kind: Kind = Kind.CUSTOMER
    is_good: Callable[[Reply], bool] | None = None
    bucket: Bucket = Bucket.API
    template: str | None = None
    params: Mapping[str, str] | None = None
    records: int | None = None
    sent: Callable[[], Iterable[Json]] = tuple
    headers: Mapping[str, str] | None = None

    @property
    def endpoint(self) -> str:
        """The path without ids."""
        return self.template or self.path


_HARMLESS: Final = ApiCall("GET", "/v1/customers", params={"limit": "1"})


class RefusalPolicy:
    """Tells a refusal that concerns one record from one that concerns the whole project, for all threads.

    Args:
        accepted: what Voucherify accepted before this run.
        accepted_at: called with each endpoint that accepts a call.
        expects_refusals: dead letters are sent: that the first of them are refused again says nothing.
    """

    def __init__(
        self,
        accepted: Accepted = NOTHING_ACCEPTED,
        *,
        accepted_at: Callable[[str], object] | None = None,
        expects_refusals: bool = False,
    ) -> None:
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
        if self._accepted_at is not None:
            self._accepted_at(endpoint)

    def refused(self, endpoint: str, verdict: Failed) -> Failed | Halt:
        """Count a record that was refused for itself; after 20 of them, if nothing was ever accepted, the run stops."""
        with self._lock:
            self._refused += 1
            self._blocked.pop(endpoint, None)
            if self._has_accepted or self._refused < _REFUSED_AT_FIRST:
                return verdict
        error = WrongAddress(
            f"The first requests were all refused, the last one as {verdict.reason} (HTTP {verdict.status})",
            "Check api.url and the mapping: `voucherify-sync explain` shows what is sent, the dead letters what came "
            "back.",
        )
        return Halt(error, NotProcessed.REFUSED)

    def rule(
        self, endpoint: str, refusal: Halt, probe: Probe, *, is_one_record: bool = True
    ) -> Halt | Failed | None:
        """Decide about a refusal that is usual for a whole project; makes a harmless call where it may not be.

        Args:
            endpoint: where it was met.
            refusal: what it would be for the project.
            probe: makes the harmless call.
            is_one_record: the call carried one record, so that five in a row are enough.

        Returns:
            Halt: it concerns the project. Failed: it concerns the record. None: the probe was not answered, so it is
            not known.
        """
        with self._lock:
            if (
                endpoint not in self._endpoints
                or self._blocked[endpoint] + is_one_record >= _BLOCKED_IN_A_ROW
            ):
                return refusal
            answer = probe()
            if not isinstance(answer, Reply):
                return None
            if is_success(answer):
                self._blocked[endpoint] += is_one_record
                said = "and the next call was accepted: something on the way blocks this record"
                detail = f"{refusal.error.message}, {said}"
                return Failed(BLOCKED, detail, refusal.status, refusal.response)
            return refusal if stopping_error(answer) else None


class LimitedClient:
    """Makes calls, from many threads at once.

    Args:
        client: the HTTP client.
        limiter: gives a permit for each call.
        gate: keeps calls back while Voucherify is in trouble.
        stop: ends the waits; what stops the run is reported to it.
        refusals: default: those of a project that has accepted nothing yet.
        leaves_calls: a call that cannot be cut, such as a slow look-up of a name, is left behind when the run stops.
            The threads of the lanes are left behind themselves.
        clock, jitter: as the attributes.

    Attributes:
        retries: calls of `complete` that repeated an earlier one.
        deadline_s: total time of a call.
        clock: monotonic seconds.
        jitter: returns a number in 0..1.
    """

    def __init__(
        self,
        client: Client,
        limiter: Limiter,
        gate: HealthGate,
        stop: Stop,
        refusals: RefusalPolicy | None = None,
        *,
        leaves_calls: bool = False,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.retries = 0
        self.deadline_s = client.deadline_s
        self.clock = clock
        self.jitter = jitter
        self._client = client
        self._limiter = limiter
        self._gate = gate
        self._stop = stop
        self._refusals = refusals or RefusalPolicy()
        self._leaves_calls = leaves_calls

    def server_now(self) -> float:
        """Return Voucherify's time in epoch seconds."""
        return self._limiter.server_now()

    def probe(self) -> Answer | None:
        """Make the cheapest call that creates nothing. None: the run is stopping."""
        permit = self._limiter.acquire()
        return None if permit is None else self._send(_HARMLESS, permit)

    def read(self, call: ApiCall) -> Answer | None:
        """Make a call that creates nothing, whose failure shows nothing of Voucherify. None: the run is stopping."""
        permit = self._limiter.acquire(call.bucket) if self._gate.enter(None, self.probe) else None
        return None if permit is None else self._send(call, permit)

    def attempt(
        self, call: ApiCall, attempts: Attempts, before_send: Callable[[], None] | None = None
    ) -> Verdict | None:
        """Make one attempt at a call. None: the run is stopping, and nothing was sent.

        Args:
            call: what is called.
            attempts: those before; this one is added.
            before_send: called between the permit and the first byte.

        Raises:
            VoucherifySyncError: of `before_send`; nothing was sent.
        """
        permit = self._permit(call)
        if permit is None:
            return None
        is_well, answer = None, None
        try:
            if before_send is not None:
                try:
                    before_send()
                except VoucherifySyncError:
                    self._limiter.unused(permit)
                    raise
            attempts.sent_at = self.clock()
            answer = self._send(call, permit)
            attempts.trouble_s += self.clock() - attempts.sent_at

            def hide(reply: Reply) -> Reply:
                return presentable(reply, call.sent(), self._client.token)

            verdict = judge(call.kind, answer, attempts, self.jitter, call.is_good, hide)
            is_well = shows_health(verdict)
        finally:
            self._gate.leave(call.kind, is_well, answer)
        verdict = self._consider(call, verdict, attempts)
        if isinstance(verdict, Halt):
            self._stop.because(verdict.error)
        elif isinstance(verdict, RetryLater):
            attempts.count(verdict)
        return verdict

    def complete(
        self,
        call: ApiCall,
        attempts: Attempts | None = None,
        before_send: Callable[[], None] | None = None,
    ) -> Reply | Failed | InDoubt | None:
        """Call until it is decided. None: the run is stopping, and it is not known whether it was processed.

        Args:
            call: what is called; only one that must not be sent again ends in doubt.
            attempts: those before; default: none.
            before_send: as for `attempt`.

        Raises:
            VoucherifySyncError: of `before_send`.
        """
        attempts = attempts or Attempts()
        while isinstance(verdict := self.attempt(call, attempts, before_send), RetryLater):
            self.retries += 1
            self._stop.wait(verdict.after_s)
        return None if isinstance(verdict, Halt) else verdict

    def _permit(self, call: ApiCall) -> Permit | None:
        while self._gate.enter(call.kind, self.probe):
            permit = self._limiter.acquire(call.bucket)
            if permit is not None and not self._gate.is_open:
                return permit
            self._gate.leave(call.kind, None)
            if permit is None:
                return None
            self._limiter.unused(permit)  # the breaker opened while we waited for the permit
        return None

    def _consider(self, call: ApiCall, verdict: Verdict, attempts: Attempts) -> Verdict:
        """Take into account how other calls ended."""
        match verdict:
            case Reply():
                self._refusals.succeeded(call.endpoint)
            case Halt(error, NotProcessed.REFUSED) if call.records is not None:
                is_one_record = call.records == 1
                ruling = self._refusals.rule(call.endpoint, verdict, self.probe, is_one_record=is_one_record)
                if ruling is not None:
                    return ruling
                unclear = Failed(BLOCKED, error.message, verdict.status, verdict.response)
                return attempts.retry(unclear, attempts.backoff_s(self.jitter), NotProcessed.REFUSED)
            # A bulk request of one customer is no record in this sense: it is looked at after it was split.
            case Failed(reason) if reason != GAVE_UP and call.records == 1 and call.bucket is Bucket.API:
                return self._refusals.refused(call.endpoint, verdict)
        return verdict

    def _send(self, call: ApiCall, permit: Permit) -> Answer:
        """Make the call, and tell the limiter how it ended."""
        arguments: tuple[object, ...] = (call.method, call.path, call.payload, call.params)
        if call.headers is not None:
            arguments += (call.headers,)
        self._limiter.sent(permit)
        try:
            reply = self._wait_for(arguments) if self._leaves_calls else self._client.call(*arguments)  # type: ignore[arg-type]
        except (NotSent, NoAnswer) as error:
            self._limiter.unanswered(permit)
            return error
        self._limiter.answered(permit, reply.status, reply.headers)
        return reply

    def _wait_for(self, arguments: tuple[object, ...]) -> Reply:
        """Make the call on a thread of its own, so that a stop waits neither for a name server nor for a slow line."""
        reply: Future[Reply] = Future()

        def call() -> None:
            try:
                reply.set_result(self._client.call(*arguments))  # type: ignore[arg-type]
            except BaseException as error:  # noqa: BLE001 - it is raised where the reply is waited for
                reply.set_exception(error)

        threading.Thread(target=call, name="call", daemon=True).start()
        last_moment = inf
        while True:
            try:
                return reply.result(_SLICE_S)
            except TimeoutError:
                now = self.clock()
                if self._stop.requested:  # the call's own deadline comes first, where it can cut anything
                    last_moment = min(last_moment, now + DRAIN_S + _SLICE_S)
                if now >= last_moment:
                    raise NoAnswer("timeout", "the run ended before the answer came") from None
