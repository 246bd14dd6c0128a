"""The one retry policy: how a call ended and how often it was tried in, what follows out. No clock, no wait, no call.

The HTTP status decides, never the `code` in a body.

The pauses of the delivery that are a matter of policy: tests shorten them.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from voucherify_sync.errors import AccessRefused, RunStopped, VoucherifySyncError, WrongAddress
from voucherify_sync.events import Kind
from voucherify_sync.outcomes import NotProcessed
from voucherify_sync.voucherify.answers import Answer, NoAnswer, NotSent, Reply
from voucherify_sync.voucherify.rate_limit import read_rate_headers

DRAIN_S = 6.0
"""So long a stop waits for the calls in flight: with what follows, a run ends within 8 s of the first signal."""


MAX_ATTEMPTS = 10
MAX_TROUBLE_S = 15 * 60.0
THROTTLED = "throttled"
"""Reason of an Again after 429: nothing is wrong with the record, so it never counts as a failed attempt."""
GAVE_UP = "gave_up"
BLOCKED = "blocked"
"""Reason of a record whose call is refused like that of a stranger, while the project accepts others."""

ANSWER_TOO_LARGE = "answer_too_large"
"""Reason of a customer whose update was answered, again and again, with a success too long to be read."""
_LARGE_ANSWERS = 3
_TOO_LARGE = "too_large"
_BACKOFF_S = (0.5, 60.0)
_PLAIN_CODE = re.compile(r"[a-z0-9_]{1,64}")
_EXPECTED = {Kind.CUSTOMER: ("customer", "unconfirmed_customer"), Kind.EVENT: ("event",)}


class Again(Struct, frozen=True):
    """The attempt decided nothing.

    Attributes:
        after_s: seconds until the next.
        reason: our own code: ``throttled``, ``timeout``, ``http_502``...
        proof: why the attempt is surely not processed; None where that is not known.
    """

    after_s: float
    reason: str
    proof: NotProcessed | None = None

    @property
    def trouble_s(self) -> float:
        """Seconds of the pause that count against the record: not what the server asks for beyond our own pauses."""
        return 0.0 if self.reason == THROTTLED else min(self.after_s, _BACKOFF_S[1])


class Delivered(Struct, frozen=True):
    """Voucherify processed it."""

    status: int


class Failed(Struct, frozen=True):
    """Voucherify refused it, or we gave up."""

    reason: str
    detail: str
    status: int | None = None


class InDoubt(Struct, frozen=True):
    """It was sent, it must not be sent again, and nothing tells whether it was processed."""

    reason: str
    detail: str
    status: int | None = None


class Halt(Struct, frozen=True):
    """The answer concerns the run, not the record, which it proves not processed."""

    error: VoucherifySyncError
    proof: NotProcessed


Verdict = Delivered | Again | Failed | InDoubt | Halt


def judge(
    kind: Kind,
    answer: Answer,
    attempt: int,
    elapsed_s: float,
    random: Callable[[], float],
    *,
    is_good: Callable[[Reply], bool] | None = None,
) -> Verdict:
    """Say what follows from how a call ended.

    Args:
        kind: events are never sent again unless the answer proves that they were not processed.
        answer: how the call ended.
        attempt: 1-based; calls answered with 429 are not counted.
        elapsed_s: time spent on this record's calls and pauses, without waits for quota or for the end of an outage.
        random: returns a number in 0..1.
        is_good: tells the success that is expected; default: the object that a request of this kind is answered with.
    """
    if isinstance(answer, NotSent):
        pause_s = backoff_s(attempt, random)
        return _retry(
            answer.reason, answer.detail, None, attempt, elapsed_s, pause_s, NotProcessed.NOT_CONNECTED
        )
    if isinstance(answer, NoAnswer):
        is_success_too_large = answer.reason == _TOO_LARGE and 200 <= (answer.status or 0) < 300
        if is_success_too_large and kind is Kind.CUSTOMER and attempt >= _LARGE_ANSWERS:
            return Failed(
                ANSWER_TOO_LARGE, f"{answer.detail}; so were those of the calls before", answer.status
            )
        return _ambiguous(
            kind, answer.reason, answer.detail, answer.status, attempt, elapsed_s, backoff_s(attempt, random)
        )
    status = answer.status
    if is_good(answer) if is_good else is_success(answer, _EXPECTED[kind]):
        return Delivered(status)
    if error := halting(answer):
        return Halt(error, NotProcessed.THROTTLED if status == 429 else NotProcessed.REFUSED)
    asked_s = read_rate_headers(answer.headers).retry_after_s
    if status == 429:
        return Again(asked_s or backoff_s(attempt, random), THROTTLED, NotProcessed.THROTTLED)
    if 400 <= status < 500 and status != 408:
        return Failed(*_refusal(answer), status)
    pause_s = max(backoff_s(attempt, random), asked_s or 0.0)
    return _ambiguous(kind, *_oddity(answer), status, attempt, elapsed_s, pause_s)


def shows_health(verdict: Verdict) -> bool | None:
    """Say what a verdict tells about Voucherify: well, in trouble, or nothing."""
    match verdict:
        case Delivered():
            return True
        case Failed(reason):
            return reason != GAVE_UP
        case Again(reason=reason) if reason == THROTTLED:
            return None
        case Halt() | InDoubt(reason="too_large") | Again(reason="too_large"):
            return None
        case _:
            return False


def has_tries_left(attempt: int, elapsed_s: float) -> bool:
    """Tell whether a record may be tried again after so many attempts and so much time."""
    return attempt < MAX_ATTEMPTS and elapsed_s < MAX_TROUBLE_S


def backoff_s(attempt: int, random: Callable[[], float]) -> float:
    """Return a pause with full jitter: 0.5 s up to twice as much an attempt, 60 s at most."""
    low, high = _BACKOFF_S
    ceiling = min(high, low * 2.0 ** min(attempt, 16))
    return low + random() * (ceiling - low)


def is_success(reply: Reply, objects: tuple[str, ...]) -> bool:
    """Tell whether a reply is 2xx with a JSON object whose ``object`` is one of those expected.

    A status alone proves nothing: captive portals and proxies answer 200, too.
    """
    if not 200 <= reply.status < 300:
        return False
    body = json_object(reply.body)
    return body is not None and body.get("object") in objects


def json_object(body: bytes) -> dict[str, Any] | None:
    """Return a body as a JSON object, or None if it is none."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def halting(reply: Reply) -> VoucherifySyncError | None:
    """Return what stops the run, if the answer is of that sort."""
    status = reply.status
    if 300 <= status < 400:
        return WrongAddress(
            f"Voucherify's address redirects to {_redirect_host(reply)} (HTTP {status}); redirects are never followed",
            "Set api.url to the API's own address, such as https://api.voucherify.io or https://us1.api.voucherify.io.",
        )
    if status in _REFUSALS:
        message, remedy = _REFUSALS[status]
        return AccessRefused(f"{message} (HTTP {status}, {_refusal(reply)[0]})", remedy)
    if status in (405, 406, 415):
        return WrongAddress(
            f"What answers does not take our requests (HTTP {status}), so it is not the Voucherify API",
            "Check api.url and api.version.",
        )
    if status == 429 and read_rate_headers(reply.headers).type == "api_calls_cycle":
        return RunStopped(
            "The API calls of this billing cycle are used up",
            "Go on in the next cycle, or when the plan was raised.",
        )
    return None


def unclear(
    error: VoucherifySyncError, attempt: int, elapsed_s: float, random: Callable[[], float]
) -> Again | Failed:
    """Decide about a record that was refused like a stranger's, where nobody could find out whether all are.

    The arguments are those of `judge`.
    """
    pause_s = backoff_s(attempt, random)
    return _retry(BLOCKED, error.message, None, attempt, elapsed_s, pause_s, NotProcessed.REFUSED)


def blocked(error: VoucherifySyncError, answer: Answer) -> Failed:
    """Return how a record ended whose call was refused like that of a stranger, while the project accepts others."""
    detail = f"{error.message}, and the next call was accepted: something on the way blocks this record"
    return Failed(BLOCKED, detail, answer.status if isinstance(answer, Reply) else None)


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
        "Give the key's role the permissions to create customers and custom events, and check its list of allowed IPs.",
    ),
}


class RetryBudget:
    """What all records together may spend on retries: an empty budget slows them down, and never fails one."""

    def __init__(self, tokens: int = 500) -> None:
        self._full = tokens
        self._tokens = tokens
        self._lock = threading.Lock()

    def earn(self) -> None:
        """Book a success."""
        with self._lock:
            self._tokens = min(self._full, self._tokens + 1)

    def spend(self, reason: str) -> bool:
        """Book a retry, and tell whether the budget allowed it: a timeout costs 10, any other 5."""
        cost = 10 if reason in ("timeout", "connect_timeout") else 5
        with self._lock:
            allowed = self._tokens >= cost
            self._tokens = max(0, self._tokens - cost)
        return allowed


def _retry(
    reason: str,
    detail: str,
    status: int | None,
    attempt: int,
    elapsed_s: float,
    pause_s: float,
    proof: NotProcessed | None = None,
) -> Again | Failed:
    if not has_tries_left(attempt, elapsed_s):
        return Failed(GAVE_UP, f"given up after {attempt} attempts; the last: {detail}", status)
    return Again(pause_s, reason, proof)


def _ambiguous(
    kind: Kind, reason: str, detail: str, status: int | None, attempt: int, elapsed_s: float, pause_s: float
) -> Again | Failed | InDoubt:
    if kind is Kind.EVENT:
        return InDoubt(reason, detail, status)
    return _retry(reason, detail, status, attempt, elapsed_s, pause_s)


def _refusal(reply: Reply) -> tuple[str, str]:
    """Return (reason, detail) of a 4xx: the API's ``key`` if it is a plain code, and what it says for people."""
    body = json_object(reply.body) or {}
    key = body.get("key")
    reason = key if isinstance(key, str) and _PLAIN_CODE.fullmatch(key) else f"http_{reply.status}"
    said = [text for text in (body.get("message"), body.get("details")) if isinstance(text, str) and text]
    return reason, f"HTTP {reply.status}: {' - '.join(said)[:500] or 'no message'}"


def _oddity(reply: Reply) -> tuple[str, str]:
    """Return (reason, detail) of an answer that says nothing about the record."""
    start = reply.body[:80].decode("utf-8", "replace")
    detail = f"HTTP {reply.status}, {reply.headers.get('Content-Type', 'no content type')}: {start!r}"
    if 200 <= reply.status < 300:
        return "unexpected_answer", f"not an answer of the Voucherify API: {detail}"
    return f"http_{reply.status}", detail


def _redirect_host(reply: Reply) -> str:
    """Return the host of Location only: the rest of the URL may hold anything."""
    try:
        host = urlsplit(reply.headers.get("Location", "")).hostname
    except ValueError:
        host = None
    return host or "another path"


class Growing(Struct, frozen=True):
    """A pause that grows each time.

    Attributes:
        first_s: seconds, the first time.
        longest_s: seconds at most.
        factor: how many times the one before each is.
    """

    first_s: float
    longest_s: float
    factor: float

    def at(self, times: int) -> float:
        """Return the seconds of the pause after so many before it."""
        return min(self.longest_s, self.first_s * self.factor ** min(times, 16))


class Pauses(Struct, frozen=True, kw_only=True):
    """How long the delivery waits where nobody asks it to.

    Attributes:
        settle_s: seconds before each look at the activity log, which may lag.
        probe: before a harmless call that asks whether Voucherify answers again.
        customer_trial: after a trial with a customer that failed: it costs nothing, and may fail for itself alone.
        event_trial: after one with an event, which ends in doubt when it is sent into trouble.
        spent_s: seconds at most before a retry for which the budget of retries has no more.
    """

    settle_s: tuple[float, ...] = (5.0, 60.0)
    probe: Growing = Growing(1.0, 60.0, 2.0)
    customer_trial: Growing = Growing(1.0, 300.0, 2.0)
    event_trial: Growing = Growing(15.0, 900.0, 4.0)
    spent_s: float = 60.0

    def trial(self, kind: Kind) -> Growing:
        """Return the pause after a trial that failed."""
        return self.customer_trial if kind is Kind.CUSTOMER else self.event_trial


PAUSES: Final = Pauses()
"""The usual ones."""
