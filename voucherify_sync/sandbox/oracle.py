"""What the sandbox did, beside what it said: the log that tests hold a client's report against."""

from __future__ import annotations

import threading
from collections import Counter, deque
from typing import Any

import msgspec
from msgspec import Struct

from voucherify_sync.events import Json, Kind


class Processed(Struct, frozen=True, gc=False):
    """One customer update or custom event that took effect.

    Attributes:
        number: 1-based, in the order of processing.
        source_id: the customer's, None if it has none.
        name: the event's name, None for a customer.
        payload: the request body as it came; of a bulk request, the item.
        at: epoch seconds on the sandbox's clock.
        bulk: it came in a bulk request.
    """

    number: int
    kind: Kind
    source_id: str | None
    name: str | None
    payload: bytes
    at: float
    bulk: bool = False

    @property
    def body(self) -> Json:
        """The payload, decoded."""
        body: Json = msgspec.json.decode(self.payload)
        return body

    @property
    def metadata(self) -> Any:
        """The event's metadata, or the customer's; None if it has none."""
        return self.body.get("metadata")


class Answered(Struct, frozen=True, gc=False):
    """One API call and what the client was told.

    Attributes:
        number: 1-based, in the order of answering.
        path: as requested, without the query.
        status: HTTP status of the answer, complete or not; None if none was sent.
        fault: the misbehaviour that it met, by its action.
        processed: the call took effect, whatever was answered.
        at: epoch seconds on the sandbox's clock.
    """

    number: int
    method: str
    path: str
    status: int | None
    fault: str | None
    processed: bool
    at: float


class Oracle:
    """The log. Thread-safe; the newest `keep` entries of each kind are kept, and all are counted."""

    def __init__(self, keep: int | None) -> None:
        self._lock = threading.Lock()
        self._processed: deque[Processed] = deque(maxlen=keep)
        self._answered: deque[Answered] = deque(maxlen=keep)
        self._numbers = Counter[str]()
        self._statuses = Counter[str]()

    @property
    def processed(self) -> list[Processed]:
        """What took effect, in order."""
        with self._lock:
            return list(self._processed)

    @property
    def answered(self) -> list[Answered]:
        """The API calls, in the order of their answers."""
        with self._lock:
            return list(self._answered)

    @property
    def calls(self) -> int:
        """How many API calls came."""
        return self._numbers["answered"]

    @property
    def statuses(self) -> dict[str, int]:
        """How many answers by status; ``none`` for those that got no answer."""
        with self._lock:
            return dict(self._statuses)

    def record_processed(
        self,
        kind: Kind,
        source_id: str | None,
        name: str | None,
        payload: bytes,
        at: float,
        *,
        bulk: bool = False,
    ) -> None:
        """Log what takes effect; called while nothing else can."""
        with self._lock:
            self._numbers["processed"] += 1
            number = self._numbers["processed"]
            self._processed.append(Processed(number, kind, source_id, name, payload, at, bulk))

    def record_answered(
        self,
        method: str,
        path: str,
        status: int | None,
        at: float,
        *,
        processed: bool,
        fault: str | None = None,
    ) -> None:
        """Log how a call ended."""
        with self._lock:
            self._numbers["answered"] += 1
            self._statuses["none" if status is None else str(status)] += 1
            number = self._numbers["answered"]
            self._answered.append(Answered(number, method, path, status, fault, processed, at))
