"""Logs what the sandbox processed and what it answered: tests compare the report of a client with it."""

from __future__ import annotations

import threading
from collections import Counter, deque

import msgspec
from msgspec import Struct

from voucherify_sync.events import Json, Kind


class ProcessedRequest(Struct, frozen=True, gc=False):
    """One customer update, custom event or imported order that took effect.

    Attributes:
        customer_id: the customer's id at Voucherify; of an order its customer's, and so is `source_id`.
        source_id: the customer's, None if it has none.
        payload: the request body as it came; of a bulk request or an import, the item.
        at: epoch seconds on the sandbox's clock.
        name: the event's name, or the order's source_id; None for a customer.
        event_id: the event's or the order's id at Voucherify, empty for a customer.
        is_bulk: it came in a bulk request or an import.
    """

    kind: Kind
    customer_id: str
    source_id: str | None
    payload: bytes
    at: float
    name: str | None = None
    event_id: str = ""
    is_bulk: bool = False

    @property
    def body(self) -> Json:
        """The payload, decoded."""
        body: Json = msgspec.json.decode(self.payload)
        return body

    @property
    def metadata(self) -> Json:
        """The metadata that the request sent, of the event or else of the customer."""
        return self.body.get("metadata") or {}


class AnsweredCall(Struct, frozen=True, gc=False):
    """One API call and its answer.

    Attributes:
        path: as requested, without the query.
        status: HTTP status of the answer, complete or not; None if none was sent.
        fault: the misbehaviour that it met, by its action.
        is_processed: the call took effect, whatever was answered.
        at: epoch seconds on the sandbox's clock.
    """

    method: str
    path: str
    status: int | None
    fault: str | None
    is_processed: bool
    at: float


class Refusal(Struct, frozen=True, gc=False):
    """A call, or a customer or order of a bulk request, that was answered with an error.

    Attributes:
        request: method and path, or the customer or order.
        status: HTTP status; that of a customer or order in a bulk request is what it would have alone.
        details: what the answer says.
        at: epoch seconds on the sandbox's clock.
    """

    request: str
    status: int
    details: str
    at: float


class CallLog:
    """The log. Thread-safe; the newest `keep` entries of each kind are kept, and all are counted.

    Attributes:
        calls: number of API calls that were answered, or left without an answer by a fault.
        refusal_count: number of errors that were answered, but for what was throttled.
    """

    def __init__(self, keep: int | None) -> None:
        self.calls = 0
        self.refusal_count = 0
        self._lock = threading.Lock()
        self._processed: deque[ProcessedRequest] = deque(maxlen=keep)
        self._answered: deque[AnsweredCall] = deque(maxlen=keep)
        self._refusals: deque[Refusal] = deque(maxlen=keep)
        self._statuses: Counter[str] = Counter()

    @property
    def processed(self) -> list[ProcessedRequest]:
        """What took effect, in order."""
        with self._lock:
            return list(self._processed)

    @property
    def answered(self) -> list[AnsweredCall]:
        """The API calls, in the order of their answers."""
        with self._lock:
            return list(self._answered)

    @property
    def refusals(self) -> list[Refusal]:
        """The errors that were answered, in order."""
        with self._lock:
            return list(self._refusals)

    @property
    def statuses(self) -> dict[str, int]:
        """Number of answers by status; ``none`` counts the calls that got no answer."""
        with self._lock:
            return dict(self._statuses)

    def add_processed(self, request: ProcessedRequest) -> None:
        """Log what takes effect, while nothing else can."""
        with self._lock:
            self._processed.append(request)

    def add_answered(self, call: AnsweredCall) -> None:
        """Log how a call ended."""
        with self._lock:
            self.calls += 1
            self._statuses["none" if call.status is None else str(call.status)] += 1
            self._answered.append(call)

    def add_refusal(self, refusal: Refusal) -> None:
        """Log an error that was answered."""
        with self._lock:
            self.refusal_count += 1
            self._refusals.append(refusal)
