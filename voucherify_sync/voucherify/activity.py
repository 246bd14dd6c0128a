"""Decides about custom events whose answer was lost: looked up in the activity log, held, or counted as sent.

Nothing here sends an event again, and a look-up never says no: the log may lag, so an event that is absent now can
appear later.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import msgspec
from msgspec import Struct

from voucherify_sync.events import Json, Kind, Request
from voucherify_sync.outcomes import Outcome, State
from voucherify_sync.settings.types import OnDoubt
from voucherify_sync.voucherify.answers import Reply
from voucherify_sync.voucherify.limited_client import ApiCall, LimitedClient
from voucherify_sync.voucherify.retry_policy import PAUSES, InDoubt, RetryLater, json_object, stopping_error

_PAGES = 10
"""Of 100 events each, about two minutes of one customer: nobody makes more."""
_CLOCK_ERROR_S = 2.0
"""How far the server's time, known from whole seconds, may be off."""
CUSTOM_EVENT = "customer.custom_event"
"""The type of the entries of custom events."""
_THROTTLED_TRIES = 3
"""After that a look counts as one that did not find the event: its lane must not wait for ever."""


class Doubt(Struct):
    """A send whose answer was lost.

    Attributes:
        verdict: why it is in doubt.
        sent_at: epoch seconds of Voucherify's clock.
        claimed: equal sends before it, in the time in which it is looked for.
        looks: look-ups that did not find it.
    """

    verdict: InDoubt
    sent_at: float
    claimed: int = 0
    looks: int = 0

    def outcome(self, request: Request) -> Outcome:
        """Return the outcome of a doubt that could not be resolved."""
        why = self.verdict
        return Outcome(
            request.event, State.IN_DOUBT, why.reason, why.detail, request, why.status, why.response
        )


class Doubts:
    """What becomes of doubts.

    Args:
        client: makes the calls.
        on_doubt: the user's choice.
        settle_s: pauses before each look.
    """

    def __init__(
        self,
        client: LimitedClient,
        on_doubt: OnDoubt,
        *,
        settle_s: tuple[float, ...] = PAUSES.settle_s,
    ) -> None:
        self.on_doubt = on_doubt
        self._client = client
        self._settle_s = settle_s
        self._margin_s = client.deadline_s + _CLOCK_ERROR_S
        # Equal events sent recently, so that one entry of the activity log never vouches for two of them. Kept for one
        # to two periods; a count that is too high only leaves an event in doubt.
        self._young: dict[int, int] = {}
        self._old: dict[int, int] = {}
        self._young_until = 0.0
        self._lock = threading.Lock()

    def count_send(self, request: Request) -> int:
        """Remember an event that may have been processed; return how many equal ones were sent shortly before it.

        Equal means: same customer, name and metadata.
        """
        if self.on_doubt != "verify" or request.kind is not Kind.EVENT or not _can_verify(request):
            return 0
        said = [request.body.get("event"), request.body.get("metadata")]
        key = hash((request.source_id, msgspec.json.encode(said, order="sorted")))
        now, period_s = self._client.clock(), 2 * self._margin_s
        with self._lock:
            if now >= self._young_until:
                self._old = self._young if now < self._young_until + period_s else {}
                self._young = {}
                self._young_until = now + period_s
            before = self._young.get(key, 0) + self._old.get(key, 0)
            self._young[key] = self._young.get(key, 0) + 1
        return before

    def of_earlier_run(self, request: Request) -> Doubt | None:
        """Return the doubt about an event that an earlier run sent; None if none did.

        One look is enough, as the activity log has caught up.
        """
        if request.doubtful_since is None:
            return None
        sent_at = request.doubtful_since + self._client.server_now() - time.time()
        verdict = InDoubt("interrupted", "an earlier run sent it and got no answer")
        return Doubt(verdict, sent_at, looks=len(self._settle_s) - 1)

    def decide(self, request: Request, doubt: Doubt) -> Outcome | RetryLater:
        """Say what becomes of a doubt that has just arisen."""
        if self.on_doubt == "accept":
            return _delivered(request, doubt, "accepted")
        if self.on_doubt == "verify" and _can_verify(request):
            return RetryLater(self._settle_s[0], "verifying")
        return doubt.outcome(request)

    def look(self, request: Request, doubt: Doubt) -> Outcome | RetryLater:
        """Look a doubtful event up, once.

        Raises:
            RunStopped: the calls of the billing cycle are used up.
        """
        if request.doubtful_since is not None:
            # The equal sends of earlier runs were not counted, so the event must carry what no other has.
            metadata, message_id = request.body.get("metadata"), request.event.message_id
            if message_id is None or not isinstance(metadata, dict) or message_id not in metadata.values():
                return doubt.outcome(request)
        if self.was_received(request, doubt.sent_at, doubt.claimed):
            return _delivered(request, doubt, "verified")
        doubt.looks += 1
        if doubt.looks < len(self._settle_s):
            return RetryLater(self._settle_s[doubt.looks], "verifying")
        return doubt.outcome(request)

    def was_received(self, request: Request, sent_at: float, claimed: int = 0) -> bool:
        """Ask for the activity of the event's customer. False: not known.

        Args:
            request: the event that was sent.
            sent_at: when, in epoch seconds of Voucherify's clock.
            claimed: how many other sends of the same name and metadata for this customer fall into the same time; each
                accounts for one match.

        Raises:
            RunStopped: the calls of the billing cycle are used up.
        """
        if not _can_verify(request):
            return False
        window = (sent_at - self._margin_s, sent_at + self._margin_s)
        matches = 0
        for row in self._rows(request.source_id, window):
            matches += _is_match(row, request.body, window)
            if matches > claimed:
                return True
        return False

    def _rows(self, source_id: str, window: tuple[float, float]) -> Iterable[Json]:
        start, end = (
            datetime.fromtimestamp(int(moment), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            for moment in (window[0], window[1] + 1)
        )
        params = {
            "type": CUSTOM_EVENT,
            "start_date": start,
            "end_date": end,
            "limit": "100",
        }
        path = activity_path(source_id)
        for _ in range(_PAGES):
            page = self._page(
                ApiCall("GET", path, template="/v1/customers/{id}/activity", params=params.copy())
            )
            rows = [row for row in page.get("data") or () if isinstance(row, dict)]
            yield from rows
            after = page.get("more_starting_after") or (rows[-1].get("id") if rows else None)
            if page.get("has_more") is not True or not isinstance(after, str):
                return
            params["starting_after_id"] = after

    def _page(self, call: ApiCall) -> Json:
        """Return one page, or nothing if it cannot be had."""
        for _ in range(_THROTTLED_TRIES):
            reply = self._client.read(call)
            if not isinstance(reply, Reply):
                break
            if reply.status != 429:
                body = json_object(reply.body) if reply.status == 200 else None
                return body if body is not None and isinstance(body.get("data"), list) else {}
            if error := stopping_error(reply):  # the billing cycle is used up: to wait would be in vain
                raise error
            # The limiter knows, and lets no call through before it is time.
        return {}


def activity_path(source_id: str) -> str:
    """Return where the activity of a customer is read."""
    return f"/v1/customers/{quote(source_id, safe='')}/activity"


def _can_verify(request: Request) -> bool:
    """Tell whether a look-up could prove anything: an event without metadata of its own has only its name."""
    metadata = request.body.get("metadata")
    # A path segment of dots would be resolved away before it is sent.
    return isinstance(metadata, dict) and bool(metadata) and request.source_id not in (".", "..")


def _is_match(row: Json, body: Json, window: tuple[float, float]) -> bool:
    """Compare an entry of the log with what was sent; its place in the row is not documented for certain."""
    try:
        time = datetime.fromisoformat(row["created_at"])
    except (KeyError, TypeError, ValueError):
        pass  # an entry without a readable time may be of any time that was asked for
    else:
        created_at = (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
        if not window[0] <= created_at <= window[1]:
            return False
    event = event_of(row)
    return bool(name_of(event) == body.get("event") and event.get("metadata") == body.get("metadata"))


def event_of(row: Json) -> Json:
    """Return the event of an entry of the log, wherever it stands in it; empty where there is none."""
    outer = _object(row.get("data"))
    inner = _object(outer.get("data")) or outer
    return _object(inner.get("event")) or inner


def name_of(event: Json) -> Any:
    """Return the name of an event of the log."""
    return event.get("type") or event.get("event")


def _object(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def _delivered(request: Request, doubt: Doubt, reason: str) -> Outcome:
    return Outcome(
        request.event, State.DELIVERED, reason=reason, request=request, status=doubt.verdict.status
    )
