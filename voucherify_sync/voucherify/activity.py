"""Looks up whether a custom event arrived whose answer was lost: event and send time in; True, or None: not known.

It never says no: the activity log may lag, and an event that is absent now can appear later.

Decides about custom events whose answer was lost: looked up, held, or counted as sent, as `on_doubt` says.

Nothing here sends an event again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

import msgspec
from msgspec import Struct

from voucherify_sync.delivery.circuit_breaker import Circuit
from voucherify_sync.events import Json, Kind, Request
from voucherify_sync.outcomes import Outcome, State
from voucherify_sync.voucherify.answers import NoAnswer, NotSent, Reply
from voucherify_sync.voucherify.rate_limit import Limiter
from voucherify_sync.voucherify.retry_policy import PAUSES, Again, InDoubt, halting, json_object

if TYPE_CHECKING:
    from voucherify_sync.voucherify.client import Client

_PAGES = 10
_CLOCK_S = 2.0
"""How far the server's time, known from whole seconds, may be off."""
_THROTTLED_TRIES = 3


class Verifier:
    """Asks for the activity of the event's customer.

    Args:
        client: makes the calls.
        limiter: is asked before each of them.

    Attributes:
        margin_s: an event is looked for from so long before its send time to so long after.
    """

    def __init__(self, client: Client, limiter: Limiter) -> None:
        self._client = client
        self._limiter = limiter
        self.margin_s = client.deadline_s + _CLOCK_S

    def can_tell(self, request: Request) -> bool:
        """Tell whether a look-up could prove anything: an event without metadata of its own has only its name."""
        metadata = request.body.get("metadata")
        # A path segment of dots would be resolved away before it is sent.
        return isinstance(metadata, dict) and bool(metadata) and request.source_id not in (".", "..")

    def was_received(self, request: Request, sent_at: float, claimed: int = 0) -> bool | None:
        """Look once.

        Args:
            request: the event that was sent.
            sent_at: when, in epoch seconds of Voucherify's clock.
            claimed: how many other sends of the same name and metadata for this customer fall into the same time; each
                accounts for one match.

        Returns:
            True: it is there. None: not known.

        Raises:
            RunStopped: the calls of the billing cycle are used up.
        """
        if not self.can_tell(request):
            return None
        window = (sent_at - self.margin_s, sent_at + self.margin_s)
        matches = 0
        for row in self._rows(request.source_id, window):
            matches += _is_match(row, request.body, window)
            if matches > claimed:
                return True
        return None

    def _rows(self, source_id: str, window: tuple[float, float]) -> Iterable[Json]:
        path = f"/v1/customers/{quote(source_id, safe='')}/activity"
        params = {
            "type": "customer.custom_event",
            "start_date": _iso(window[0]),
            "end_date": _iso(window[1] + 1),
            "limit": "100",
        }
        for _ in range(_PAGES):
            page = self._page(path, params)
            rows = [row for row in page.get("data") or () if isinstance(row, dict)]
            yield from rows
            after = page.get("more_starting_after") or (rows[-1].get("id") if rows else None)
            if page.get("has_more") is not True or not isinstance(after, str):
                return
            params["starting_after_id"] = after

    def _page(self, path: str, params: dict[str, str]) -> Json:
        """Return one page, or nothing if it cannot be had."""
        for _ in range(_THROTTLED_TRIES):
            reply = self._call(path, params)
            if reply is None:
                break
            if reply.status == 429:
                if error := halting(reply):  # the billing cycle is used up: to wait would be in vain
                    raise error
                continue  # the limiter knows, and lets nobody through before it is time
            body = json_object(reply.body) if reply.status == 200 else None
            if body is not None and isinstance(body.get("data"), list):
                return body
            break
        return {}

    def _call(self, path: str, params: dict[str, str]) -> Reply | None:
        if not self._limiter.acquire():
            return None
        try:
            reply = self._client.call("GET", path, params=params, endpoint="/v1/customers/{id}/activity")
        except (NotSent, NoAnswer):
            self._limiter.unanswered()
            return None
        self._limiter.answered(reply.status, reply.headers)
        return reply


def _is_match(row: Json, body: Json, window: tuple[float, float]) -> bool:
    """Compare an entry of the log with what was sent; where the entry lies in the row is not documented for certain."""
    created_at = _epoch(row.get("created_at"))
    if created_at is not None and not window[0] <= created_at <= window[1]:
        return False
    outer = _object(row.get("data"))
    inner = _object(outer.get("data")) or outer
    event = _object(inner.get("event")) or inner
    name = event.get("type") or event.get("event")
    return bool(name == body.get("event") and event.get("metadata") == body.get("metadata"))


def _object(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def _iso(epoch_s: float) -> str:
    return datetime.fromtimestamp(int(epoch_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _epoch(value: Any) -> float | None:
    if not isinstance(value, str):
        return None
    try:
        time = datetime.fromisoformat(value)
    except ValueError:
        return None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


OnDoubt = Literal["verify", "hold", "resend", "accept"]


class Doubt(Struct):
    """A send whose answer was lost.

    Attributes:
        verdict: why it is in doubt.
        response: what there was of an answer.
        sent_at: epoch seconds of Voucherify's clock.
        claimed: equal sends before it, in the time in which it is looked for.
        looks: so many were in vain.
    """

    verdict: InDoubt
    response: bytes | None
    sent_at: float
    claimed: int
    looks: int = 0


class Doubts:
    """What becomes of doubts.

    Args:
        verifier: looks events up.
        circuit: look-ups wait while it is open.
        on_doubt: the user's choice.
        settle_s: pauses before each look.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        verifier: Verifier,
        circuit: Circuit,
        on_doubt: OnDoubt,
        *,
        settle_s: tuple[float, ...] = PAUSES.settle_s,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.on_doubt = on_doubt
        self._verifier = verifier
        self._circuit = circuit
        self._settle_s = settle_s
        self._clock = clock
        self._sends = Sends(2 * verifier.margin_s)

    def count_send(self, request: Request) -> int:
        """Remember an event that may have been processed; return how many equal ones were sent shortly before it."""
        if self.on_doubt == "verify" and request.kind is Kind.EVENT and self._verifier.can_tell(request):
            return self._sends.add(request, self._clock())
        return 0

    def of_earlier_run(self, sent_at: float) -> Doubt:
        """Return the doubt of an event that an earlier run sent; one look is enough, the activity log has caught up."""
        verdict = InDoubt("interrupted", "an earlier run sent it and got no answer")
        return Doubt(verdict, None, sent_at, claimed=0, looks=len(self._settle_s) - 1)

    def decide(self, request: Request, doubt: Doubt) -> Outcome | Again:
        """Say what becomes of a doubt that has just arisen."""
        if self.on_doubt == "accept":
            return _delivered(request, doubt, "accepted")
        if self.on_doubt == "verify" and self._verifier.can_tell(request):
            return Again(self._settle_s[0], "verifying")
        return in_doubt(request, doubt)

    def look(self, request: Request, doubt: Doubt) -> Outcome | Again:
        """Look a doubtful event up, once."""
        if request.doubtful_since is not None and not _is_marked(request):
            return in_doubt(request, doubt)
        if not self._circuit.await_closed():
            return in_doubt(request, doubt)
        if self._verifier.was_received(request, doubt.sent_at, doubt.claimed):
            return _delivered(request, doubt, "verified")
        doubt.looks += 1
        if doubt.looks < len(self._settle_s):
            return Again(self._settle_s[doubt.looks], "verifying")
        return in_doubt(request, doubt)


def in_doubt(request: Request, doubt: Doubt) -> Outcome:
    """Return the outcome of a doubt that could not be resolved."""
    return Outcome(
        request.event,
        State.IN_DOUBT,
        reason=doubt.verdict.reason,
        detail=doubt.verdict.detail,
        request=request,
        status=doubt.verdict.status,
        response=doubt.response,
    )


def _delivered(request: Request, doubt: Doubt, reason: str) -> Outcome:
    status = doubt.verdict.status
    return Outcome(request.event, State.DELIVERED, reason=reason, request=request, status=status)


def _is_marked(request: Request) -> bool:
    """Tell whether an event's metadata holds its messageId: nobody counted the equal sends of earlier runs."""
    metadata = request.body.get("metadata")
    message_id = request.event.message_id
    return message_id is not None and isinstance(metadata, dict) and message_id in metadata.values()


class Sends:
    """Counts equal events sent of late, so that one entry of the activity log never vouches for two of them.

    Equal means: same customer, name and metadata. Kept for one to two periods; a count that is too high only leaves an
    event in doubt.
    """

    def __init__(self, period_s: float) -> None:
        self._period_s = period_s
        self._until = 0.0
        self._young: dict[int, int] = {}
        self._old: dict[int, int] = {}
        self._lock = threading.Lock()

    def add(self, request: Request, now: float) -> int:
        """Count a send that may have been processed; return how many equal ones there were before it."""
        key = hash(_identity(request))
        with self._lock:
            if now >= self._until:
                self._old = self._young if now < self._until + self._period_s else {}
                self._young = {}
                self._until = now + self._period_s
            before = self._young.get(key, 0) + self._old.get(key, 0)
            self._young[key] = self._young.get(key, 0) + 1
        return before


def _identity(request: Request) -> tuple[str, bytes]:
    body = request.body
    return request.source_id, msgspec.json.encode([body.get("event"), body.get("metadata")], order="sorted")
