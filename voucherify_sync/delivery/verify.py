"""Looks up whether a custom event arrived whose answer was lost: event and send time in; True, or None: not known.

It never says no: the activity log may lag, and an event that is absent now can appear later.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from voucherify_sync.delivery.answer import NoAnswer, NotSent, Reply
from voucherify_sync.delivery.quota import Limiter
from voucherify_sync.delivery.retry import halting, json_object
from voucherify_sync.model import Json, Operation

if TYPE_CHECKING:  # it needs requests, which is slow to import
    from voucherify_sync.delivery.client import Client

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

    def can_tell(self, operation: Operation) -> bool:
        """Tell whether a look-up could prove anything: an event without metadata of its own has only its name."""
        metadata = operation.body.get("metadata")
        # A path segment of dots would be resolved away before it is sent.
        return isinstance(metadata, dict) and bool(metadata) and operation.source_id not in (".", "..")

    def was_received(self, operation: Operation, sent_at: float, claimed: int = 0) -> bool | None:
        """Look once.

        Args:
            operation: the event that was sent.
            sent_at: when, in epoch seconds of Voucherify's clock.
            claimed: how many other sends of the same name and metadata for this customer fall into the same time; each
                accounts for one match.

        Returns:
            True: it is there. None: not known.

        Raises:
            RunStopped: the calls of the billing cycle are used up.
        """
        if not self.can_tell(operation):
            return None
        window = (sent_at - self.margin_s, sent_at + self.margin_s)
        matches = 0
        for row in self._rows(operation.source_id, window):
            matches += _is_match(row, operation.body, window)
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
