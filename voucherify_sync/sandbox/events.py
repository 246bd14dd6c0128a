"""Custom events as the sandbox stores them, and the rows of a customer's activity that show them."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import msgspec
from msgspec import Struct

from voucherify_sync.events import Json
from voucherify_sync.sandbox.customers import Customer
from voucherify_sync.sandbox.options import SandboxOptions
from voucherify_sync.sandbox.times import iso

CUSTOM_EVENT = "customer.custom_event"


class StoredEvent(Struct, frozen=True, gc=False):
    """One custom event that was recorded.

    Attributes:
        at: epoch seconds of its receipt, on the sandbox's clock.
        payload: the request body as it came.
    """

    id: str
    at: float
    name: str
    customer_id: str
    source_id: str | None
    payload: bytes

    @property
    def body(self) -> Json:
        """The request body, decoded."""
        body: Json = msgspec.json.decode(self.payload)
        return body

    @property
    def metadata(self) -> Json:
        """What the request sent as the event's metadata."""
        return self.body.get("metadata") or {}


class Events:
    """All events, or the newest `keep`, also by customer. Not thread-safe."""

    def __init__(self, keep: int | None) -> None:
        self._keep = keep
        self._all: deque[StoredEvent] = deque()
        self._by_customer: dict[str, deque[StoredEvent]] = {}
        self.count = 0

    def add(self, name: str, customer: Customer, payload: bytes, now: float) -> StoredEvent:
        """Record an event."""
        source_id = customer.source_id if isinstance(customer.source_id, str) else None
        event = StoredEvent(
            f"evcus_{random.getrandbits(72):018x}", now, name, customer.id, source_id, payload
        )
        self._all.append(event)
        self._by_customer.setdefault(customer.id, deque()).append(event)
        self.count += 1
        if self._keep is not None and len(self._all) > self._keep:
            self._forget_oldest()
        return event

    def _forget_oldest(self) -> None:
        oldest = self._all.popleft()
        of_customer = self._by_customer[oldest.customer_id]
        of_customer.popleft()
        if not of_customer:
            del self._by_customer[oldest.customer_id]

    def all(self) -> list[StoredEvent]:
        """Return what is kept, oldest first."""
        return list(self._all)

    def newest(self, limit: int) -> list[StoredEvent]:
        """Return the latest, newest first."""
        return list(islice(reversed(self._all), limit))

    def of(self, customer_id: str) -> list[StoredEvent]:
        """Return a customer's events, oldest first."""
        return list(self._by_customer.get(customer_id, ()))


class ActivityQuery(Struct, frozen=True):
    """Which rows of an activity are asked for."""

    limit: int = 10
    newest_first: bool = True
    after_id: str | None = None
    start: float = float("-inf")
    end: float = float("inf")
    custom_events: bool = True


def select(events: Iterable[StoredEvent], query: ActivityQuery) -> tuple[list[StoredEvent], bool]:
    """Return one page of a customer's events, given oldest first, and whether there is more."""
    found = [event for event in events if query.custom_events and query.start <= event.at <= query.end]
    if query.newest_first:
        found.reverse()
    if query.after_id is not None:
        found = list(_after(found, query.after_id))
    return found[: query.limit], len(found) > query.limit


def _after(events: Iterable[StoredEvent], event_id: str) -> Iterator[StoredEvent]:
    met = False
    for event in events:
        if met:
            yield event
        met = met or event.id == event_id


def row(event: StoredEvent, customer: Customer, options: SandboxOptions) -> Json:
    """Return the row of the activity that shows an event."""
    body = event.body
    referral, loyalty = body.get("referral"), body.get("loyalty")
    shown = {
        "id": event.id,
        "object": "event",
        "type": event.name,
        "customer": customer.brief(),
        "referral": referral,
        "loyalty": loyalty,
        "metadata": _returned(event.metadata, options),
        "created_at": iso(event.at),
    }
    data: Json = {"event": shown, "customer": customer.brief(), "referral": referral, "loyalty": loyalty}
    nested = options.activity_shape == "nested"
    return {
        "id": event.id,
        "type": CUSTOM_EVENT,
        "created_at": iso(event.at),
        "group_id": f"v-{event.id[-18:]}",
        "data": {"data": data, "event_source": {"channel": "API"}} if nested else data,
    }


def _returned(metadata: Json, options: SandboxOptions) -> Json:
    if options.activity_metadata == "same":
        return metadata
    if options.activity_metadata == "none":
        return {}
    return {key: _as_text(value) for key, value in metadata.items()}


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
