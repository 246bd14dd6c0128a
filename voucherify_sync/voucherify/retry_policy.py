"""Decides what follows from how a call ended and how often it was tried: the one retry policy.

It reads no clock, waits for nothing and makes no call. The HTTP status decides, never the `code` in a body. The pauses
of the delivery that are a matter of policy stand here, too; how long all calls pause after a 429 is `rate_limit`'s.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from voucherify_sync.errors import AccessRefused, RunStopped, VoucherifySyncError, WrongAddress
from voucherify_sync.events import Json, Kind
from voucherify_sync.outcomes import NotProcessed
from voucherify_sync.voucherify.answers import Answer, NoAnswer, NotSent, Reply
from voucherify_sync.voucherify.rate_limit import read_rate_headers

DRAIN_S = 6.0
"""How long a stop waits for the calls in flight: with what follows, a run ends within 8 s of the first signal."""

MAX_ATTEMPTS = 10
MAX_TROUBLE_S = 15 * 60.0
THROTTLED = "throttled"
"""Reason of a RetryLater after 429: nothing is wrong with the record, so it never counts as a failed attempt."""
GAVE_UP = "gave_up"
BLOCKED = "blocked"
"""Reason of a record whose call is refused like that of a stranger, while the project accepts others."""
ANSWER_TOO_LARGE = "answer_too_large"
"""Reason of a customer whose update was answered, again and again, with a success too long to be read."""

_LARGE_ANSWERS = 3
"""An update that is answered this often with a success too large to be read fails: it would be so for ever."""
_MAX_RETRY_TOKENS = 500
"""A hundred failures in a row before retries slow down; see `RetryBudget.spend` for the price of each."""
_MIN_BACKOFF_S, _MAX_BACKOFF_S = 0.5, 60.0
MAX_RESPONSE_BYTES = 4096
_PLAIN_CODE = re.compile(r"[a-z0-9_]{1,64}")
_EXPECTED = {
    Kind.CUSTOMER: ("customer", "unconfirmed_customer"),
    Kind.EVENT: ("event",),
    Kind.ORDER: ("order",),
}

_REFUSALS = {
    401: (
        "Voucherify does not accept the keys",
        "Check api.key (Application ID) and api.token (Secret Key), and that api.url is the region of the project.",
    ),
    402: (
        "Voucherify asks for payment: the plan does not include what was asked for, or has ended",
        "Check the plan in Voucherify's billing settings, then run the same command again.",
    ),
    403: (
        "Voucherify forbids it to this key",
        "Give the key's role the permissions to create customers, orders and custom events, and check its allowed IPs.",
    ),
}


class RetryLater(Struct, frozen=True):
    """The attempt decided nothing.

    Attributes:
        after_s: seconds until the next.
        reason: our own code: ``throttled``, ``timeout``, ``http_502``...
        proof: why the attempt is surely not processed; None where that is not known.
    """

    after_s: float
    reason: str
    proof: NotProcessed | None = None


class Failed(Struct, frozen=True):
    """Voucherify refused it, or we gave up.

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


class InDoubt(Struct, frozen=True):
    """It was sent, it must not be sent again, and nothing tells whether it was processed. Attributes: as in Failed."""

    reason: str
    detail: str
    status: int | None = None
    response: bytes | None = None


class Halt(Struct, frozen=True):
    """The answer concerns the run, not the record, which it proves not processed."""

    error: VoucherifySyncError
    proof: NotProcessed
    status: int | None = None
    response: bytes | None = None


Verdict = Reply | RetryLater | Failed | InDoubt | Halt
"""What follows from how a call ended. A reply is the success that was expected: Voucherify processed the request."""


class Attempts:
    """How often and for how long one request has been tried.

    Attributes:
        failures: attempts that ended badly; those answered with 429 do not count.
        trouble_s: seconds that those took, pauses included; neither waits for a permit nor what the server asks for.
        sent_at: monotonic seconds of the last send.
    """

    __slots__ = ("failures", "sent_at", "trouble_s")

    def __init__(self, failures: int = 0, trouble_s: float = 0.0) -> None:
        self.failures = failures
        self.trouble_s = trouble_s
        self.sent_at = 0.0

    @property
    def may_go_on(self) -> bool:
        """Whether one more attempt follows the present one, should it end badly."""
        return self.failures + 1 < MAX_ATTEMPTS and self.trouble_s < MAX_TROUBLE_S

    def backoff_s(self, jitter: Callable[[], float]) -> float:
        """Return a pause with full jitter: 0.5 s up to twice as much an attempt, 60 s at most."""
        longest_s = min(_MAX_BACKOFF_S, _MIN_BACKOFF_S * 2.0 ** min(self.failures + 1, 16))
        return _MIN_BACKOFF_S + jitter() * (longest_s - _MIN_BACKOFF_S)

    def retry(self, failed: Failed, pause_s: float, proof: NotProcessed | None = None) -> RetryLater | Failed:
        """Return that it is tried again, or that it was given up after too many attempts or too much time."""
        if self.may_go_on:
            return RetryLater(pause_s, failed.reason, proof)
        detail = f"given up after {self.failures + 1} attempts; the last: {failed.detail}"
        return Failed(GAVE_UP, detail, failed.status, failed.response)

    def count(self, retry: RetryLater) -> None:
        """Count an attempt that is followed by another."""
        if retry.reason != THROTTLED:
            self.failures += 1
            self.trouble_s += min(retry.after_s, _MAX_BACKOFF_S)


def judge(
    kind: Kind,
    answer: Answer,
    attempts: Attempts,
    jitter: Callable[[], float],
    is_good: Callable[[Reply], bool] | None = None,
    hide: Callable[[Reply], Reply] = lambda reply: reply,
) -> Verdict:
    """Say what follows from how a call ended.

    Args:
        kind: what is no customer is never sent again unless the answer proves that it was not processed.
        answer: how the call ended.
        attempts: those before this one; their time includes that of this one.
        jitter: returns a number in 0..1.
        is_good: tells the success that is expected; default: the object that a request of this kind is answered with.
        hide: returns a reply without what must not be shown; called for all but a success.
    """
    if isinstance(answer, NotSent):
        failed = Failed(answer.reason, answer.detail)
        return attempts.retry(failed, attempts.backoff_s(jitter), NotProcessed.NOT_CONNECTED)
    if isinstance(answer, NoAnswer):
        status, asked_s = answer.status, None
        failed = Failed(answer.reason, answer.detail, status)
        is_success_too_large = answer.reason == "too_large" and 200 <= (status or 0) < 300
        if is_success_too_large and kind is Kind.CUSTOMER and attempts.failures + 1 >= _LARGE_ANSWERS:
            return Failed(ANSWER_TOO_LARGE, f"{answer.detail}; so were those of the calls before", status)
    else:
        status = answer.status
        if is_good(answer) if is_good else is_success(answer, _EXPECTED[kind]):
            return answer
        answer = hide(answer)
        response = answer.body[:MAX_RESPONSE_BYTES]
        if error := stopping_error(answer):
            proof = NotProcessed.THROTTLED if status == 429 else NotProcessed.REFUSED
            return Halt(error, proof, status, response)
        asked_s = read_rate_headers(answer.headers).retry_after_s
        if status == 429:
            return RetryLater(asked_s or attempts.backoff_s(jitter), THROTTLED, NotProcessed.THROTTLED)
        is_refusal = 400 <= status < 500 and status != 408
        if is_refusal:
            reason, said = read_error(json_object(answer.body) or {}, f"http_{status}")
            detail = f"HTTP {status}: {said}"
        else:
            reason, detail = _odd_answer(answer)
        failed = Failed(reason, detail, status, response)
        if is_refusal:
            return failed
    if kind is not Kind.CUSTOMER:
        return InDoubt(failed.reason, failed.detail, failed.status, failed.response)
    return attempts.retry(failed, max(attempts.backoff_s(jitter), asked_s or 0.0))


def shows_health(verdict: Verdict) -> bool | None:
    """Say what a verdict tells about Voucherify: well, in trouble, or nothing."""
    match verdict:
        case Reply():
            return True
        case RetryLater(reason=reason) if reason == THROTTLED:
            return None
        case Halt() | InDoubt(reason="too_large") | RetryLater(reason="too_large"):
            return None
        case InDoubt() | RetryLater():
            return False
        case Failed(reason):
            return reason != GAVE_UP


def is_success(reply: Reply, objects: tuple[str, ...] = ()) -> bool:
    """Tell whether a reply is 2xx with a JSON object, and whether its ``object`` is one of those expected, if any are.

    A status alone proves nothing: captive portals and proxies answer 200, too.
    """
    if not 200 <= reply.status < 300:
        return False
    body = json_object(reply.body)
    return body is not None and (not objects or body.get("object") in objects)


def json_object(body: bytes) -> Json | None:
    """Return a body as a JSON object, or None if it is none."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def stopping_error(reply: Reply) -> VoucherifySyncError | None:
    """Return what stops the run, if the answer is of that sort."""
    status = reply.status
    if 300 <= status < 400:
        try:  # the rest of the URL may hold anything
            host = urlsplit(reply.headers.get("Location", "")).hostname
        except ValueError:
            host = None
        return WrongAddress(
            f"Voucherify's address redirects to {host or 'another path'} (HTTP {status}); redirects are never followed",
            "Set api.url to the API's own address, such as https://api.voucherify.io or https://us1.api.voucherify.io.",
        )
    if status in _REFUSALS:
        message, remedy = _REFUSALS[status]
        reason, _ = read_error(json_object(reply.body) or {}, f"http_{status}")
        return AccessRefused(f"{message} (HTTP {status}, {reason})", remedy)
    if status in (405, 406, 415):
        return WrongAddress(
            f"The server does not accept our requests (HTTP {status}), so it is not the Voucherify API",
            "Check api.url and api.version.",
        )
    if status == 429 and read_rate_headers(reply.headers).type == "api_calls_cycle":
        return RunStopped(
            "The API calls of this billing cycle are used up",
            "Run the same command in the next cycle, or after you raised the plan.",
        )
    return None


class RetryBudget:
    """What all records together may spend on retries: an empty budget slows them down, and never fails one."""

    def __init__(self) -> None:
        self._tokens = _MAX_RETRY_TOKENS
        self._lock = threading.Lock()

    def earn(self) -> None:
        """Count a success."""
        with self._lock:
            self._tokens = min(_MAX_RETRY_TOKENS, self._tokens + 1)

    def spend(self, reason: str) -> bool:
        """Count a retry, and tell whether the budget allowed it: a timeout costs 10, any other 5."""
        cost = 10 if reason in ("timeout", "connect_timeout") else 5
        with self._lock:
            allowed = self._tokens >= cost
            self._tokens = max(0, self._tokens - cost)
        return allowed


def read_error(error: Json, otherwise: str) -> tuple[str, str]:
    """Return (reason, what it says for people) of an error of the API: its ``key`` if that is a plain code.

    Args:
        error: the body of an answer, or what a report says of one customer.
        otherwise: the reason where there is no such key.
    """
    key = error.get("key")
    reason = key if isinstance(key, str) and _PLAIN_CODE.fullmatch(key) else otherwise
    said = [text for text in (error.get("message"), error.get("details")) if isinstance(text, str) and text]
    return reason, " - ".join(said)[:500] or "no message"


def _odd_answer(reply: Reply) -> tuple[str, str]:
    """Return (reason, detail) of an answer that says nothing about the record."""
    start = reply.body[:80].decode("utf-8", "replace")
    detail = f"HTTP {reply.status}, {reply.headers.get('Content-Type', 'no content type')}: {start!r}"
    if 200 <= reply.status < 300:
        return "unexpected_answer", f"not an answer of the Voucherify API: {detail}"
    return f"http_{reply.status}", detail


class GrowingPause(Struct, frozen=True):
    """A pause that grows each time, up to a limit.

    Attributes:
        first_s: seconds, the first time.
        longest_s: seconds at most.
        factor: how many times the one before each is.
    """

    first_s: float
    longest_s: float
    factor: float

    def at(self, times: int) -> float:
        """Return the seconds of the pause that follows this many others."""
        return min(self.longest_s, self.first_s * self.factor ** min(times, 16))


class Pauses(Struct, frozen=True, kw_only=True):
    """How long the delivery waits of its own accord.

    Attributes:
        settle_s: seconds before each look at the activity log, which may lag.
        probe: before a harmless call that asks whether Voucherify answers again.
        customer_trial: after a trial with a customer that failed: it costs nothing, and may fail for itself alone.
        event_trial: after one with an event, which ends in doubt when it is sent into trouble.
        spent_s: seconds at most before a retry for which the budget of retries has no more.
    """

    settle_s: tuple[float, ...] = (5.0, 60.0)
    probe: GrowingPause = GrowingPause(1.0, 60.0, 2.0)
    customer_trial: GrowingPause = GrowingPause(1.0, 300.0, 2.0)
    event_trial: GrowingPause = GrowingPause(15.0, 900.0, 4.0)
    spent_s: float = 60.0

    def trial(self, kind: Kind) -> GrowingPause:
        """Return the pause after a trial that failed."""
        return self.customer_trial if kind is Kind.CUSTOMER else self.event_trial


PAUSES: Final = Pauses()
"""The usual ones."""
