"""Delivers customers or orders in bulk: as few requests as their bytes allow, each an action that is polled.

An accepted request is polled, not sent again. The same items in the same order give the same requests, byte for
byte, so that a later run finds the action again. A request that is refused for its size is split. What a stop leaves
undecided has no result.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, Final, Protocol
from urllib.parse import quote

import msgspec
from msgspec import Raw, Struct

from voucherify_sync.errors import VoucherifySyncError, WrongAddress
from voucherify_sync.events import Json
from voucherify_sync.events import body_hash as hash_of
from voucherify_sync.outcomes import State
from voucherify_sync.settings.types import Secret
from voucherify_sync.stop import Stop
from voucherify_sync.voucherify.answers import Reply, hide
from voucherify_sync.voucherify.limited_client import ApiCall, LimitedClient
from voucherify_sync.voucherify.rate_limit import Bucket
from voucherify_sync.voucherify.retry_policy import (
    BLOCKED,
    GAVE_UP,
    MAX_RESPONSE_BYTES,
    Failed,
    is_success,
    json_object,
    read_error,
)

MAX_BYTES: Final = 10_485_760
"""Bytes that Voucherify takes in one bulk request."""
FEW_ITEMS: Final = 100
"""Customers that it took in one, at the time when it counted them."""
ACTION_FAILED: Final = "action_failed"
REFUSED: Final = "refused"
TOO_LARGE: Final = "too_large"
NOT_NAMED: Final = "not_named"

_FULL_FACTOR: Final = 1.001
"""A request is full when this many times its size would be too much: with 10 KiB left of 10 MiB."""
_ACTIONS_PATH: Final = "/v1/async-actions"
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 120.0
"""Pauses before polls; each is twice the one before."""
_POLL_TIMEOUT_S: Final = 2 * 3600.0
"""Sum of the pauses before polls after which an action is given up."""
_UNKNOWN_POLLS: Final = 4
"""An action that was just accepted may be unknown for this many polls: reads lag."""
_SENDS: Final = 2
"""Times that a body is sent at most: an action that is lost twice is no accident."""
_MAX_BISECTS: Final = 32
"""Maximum number of requests to bisect to find customers that a report counts as refused and does not name."""

_encode = msgspec.json.Encoder().encode


class Item(Protocol):
    """A customer or an order as it stands in a bulk request."""

    @property
    def source_id(self) -> str:
        """Which one it is; a delivery has none twice."""

    @property
    def payload(self) -> bytes:
        """All of it as JSON."""

    @property
    def source(self) -> str | None:
        """Where its latest event stands, ``file:line``, for a dry run; None if it is not of one event."""

    @property
    def message_id(self) -> str | None:
        """The messageId of that event."""


class ActionResult(Struct, frozen=True):
    """How an action that is over went.

    Attributes:
        refused: by source_id of the items that it names as refused, what it says of each.
        unnamed: refused items that it does not name.
    """

    refused: dict[str, Json]
    unnamed: int = 0


def _read_customers(result: Json) -> ActionResult:
    """Read ``{failed_count, errors: [{source_id, key, message}]}``."""
    return _count_failures(result, result.get("errors"))


def _read_orders(result: Json) -> ActionResult:
    """Read ``{failed_count, failed: [{source_id, reason}]}``; the published schema also has one object in its place."""
    failed = result.get("failed")
    return _count_failures(result, [failed] if isinstance(failed, dict) else failed)


def _count_failures(result: Json, errors: Any) -> ActionResult:
    listed = [error for error in errors if isinstance(error, dict)] if isinstance(errors, list) else []
    refused = {str(error["source_id"]): error for error in listed if error.get("source_id")}
    count = result.get("failed_count")
    count = max(count if isinstance(count, int) else 0, len(listed))
    return ActionResult(refused, max(count - len(refused), 0))


class Endpoint(Struct, frozen=True):
    """What is delivered in bulk, and by which rules.

    Attributes:
        path: where the requests are posted to.
        one, many: what an item is called.
        read_result: reads the result of an action that is DONE.
        unknown_remedy: what to do where the server does not know the path.
        max_items: of a request; None sets no limit.
        open_requests: requests filled side by side: what is too large for one may fit into another. 1 keeps the order
            of the items.
        may_repeat: a body may be posted again whatever became of it before.
    """

    path: str
    one: str
    many: str
    read_result: Callable[[Json], ActionResult]
    unknown_remedy: str
    max_items: int | None = None
    open_requests: int = 1
    may_repeat: bool = False


CUSTOMERS: Final = Endpoint(
    "/v1/customers/bulk/async",
    "customer",
    "customers",
    _read_customers,
    "Check api.url and api.version, or send customers one by one: --each.",
    open_requests=4,
    may_repeat=True,
)
ORDERS: Final = Endpoint(
    "/v1/orders/import",
    "order",
    "orders",
    _read_orders,
    "Check api.url and api.version, or send order events as custom events: orders.disabled: true.",
    max_items=2000,
)


class BulkLimits(Struct):
    """What a request may hold; lowered as refusals teach it.

    Attributes:
        max_bytes: of the whole body.
        max_items: customers or orders; None sets no limit.
    """

    max_bytes: int = MAX_BYTES
    max_items: int | None = None

    def exceeded(self, size_bytes: float, items: int) -> bool:
        """Tell whether a request of this size would be too large."""
        return size_bytes > self.max_bytes or (self.max_items is not None and items > self.max_items)


class BulkRequest:
    """The items of one request.

    Attributes:
        items: in their order.
        size_bytes: of the body.
    """

    def __init__(self, items: Iterable[Item]) -> None:
        self.items: list[Item] = []
        self.size_bytes = 1
        for item in items:
            self.add(item)

    def add(self, item: Item) -> None:
        """Add an item: its JSON, and a comma or the last bracket."""
        self.items.append(item)
        self.size_bytes += len(item.payload) + 1

    def body(self) -> bytes:
        """Return the request as it is sent."""
        return b"[" + b",".join([item.payload for item in self.items]) + b"]"


def pack(
    items: Iterable[Item], limits: BulkLimits, open_requests: int = CUSTOMERS.open_requests
) -> Iterator[BulkRequest]:
    """Put items into requests: each into the first open one that has room.

    An item that is larger than the limit has a request of its own, and none is in a request twice if none is given
    twice. Limits that are lowered meanwhile hold for what is added from then on.
    """
    open_: list[BulkRequest] = []
    for item in items:
        for request in open_:
            if not limits.exceeded(request.size_bytes + 1 + len(item.payload), len(request.items) + 1):
                request.add(item)
                break
        else:
            full = [
                request
                for request in open_
                if limits.exceeded(int(request.size_bytes * _FULL_FACTOR), len(request.items) + 1)
            ]
            if not full and len(open_) == open_requests:
                full = [max(open_, key=lambda request: request.size_bytes)]
            open_ = [request for request in open_ if request not in full]
            open_.append(BulkRequest([item]))
            yield from full
    yield from open_


class ActionLog(Protocol):
    """Remembers, durably, as which action a body was accepted."""

    def remember_action(self, body_hash: bytes, action_id: str) -> None:
        """Return when it is durable."""

    def action(self, body_hash: bytes) -> str | None:
        """Return the action of a body, or None."""

    def was_posted(self, source_id: str) -> bool:
        """Tell whether an order was accepted before, so that one that exists already is ours."""


ItemResult = tuple[str, Failed | None]
"""The source_id of an item, and why it failed; None if it was delivered."""


class DryBulkDelivery:
    """Writes what would be sent in bulk, one item a line, and sends nothing.

    Args:
        write: takes a line, with its line end.
        stop: asked before every item.
        endpoint: what would be sent.

    Attributes:
        state: how items end that are not refused.
        requests: bulk requests that would be made.
        bytes: of the bodies of all requests.
    """

    state = State.PLANNED
    polls = 0

    def __init__(self, write: Callable[[bytes], object], stop: Stop, endpoint: Endpoint = CUSTOMERS) -> None:
        self.requests = 0
        self.bytes = 0
        self._write = write
        self._stop = stop
        self._endpoint = endpoint

    def deliver(self, items: Iterable[Item]) -> Iterator[ItemResult]:
        """Write a line an item: the path of the request that it would ride in, and what it would be there."""
        endpoint, too_large = self._endpoint, list[ItemResult]()
        written = self._written(_sendable(items, endpoint, too_large))
        for request in pack(written, BulkLimits(max_items=endpoint.max_items), endpoint.open_requests):
            self.requests += 1
            self.bytes += request.size_bytes
            yield from ((item.source_id, None) for item in request.items)
        yield from too_large

    def _written(self, items: Iterable[Item]) -> Iterator[Item]:
        for item in items:
            if self._stop.requested:
                return
            line = {"method": "POST", "path": self._endpoint.path, "body": Raw(item.payload)}
            self._write(_encode({**line, "source": item.source, "messageId": item.message_id}) + b"\n")
            yield item


class _LostAction(Failed, frozen=True):
    """An action that failed, never ended or is unknown: its body may be sent again."""


class BulkDelivery:
    """Delivers items, one bulk request at a time.

    Args:
        client: makes the calls.
        log: what was accepted before.
        token: never shown.
        stop: ends the waits; takes what stops the run.
        endpoint: what is delivered.
        imports_update: whether an import changes an order that exists; None: not known.

    Attributes:
        limits: what a request may hold, as far as is known.
        state: how items end that are not refused.
        requests: bulk requests that were accepted.
        polls: calls that asked how an action is going.
        polls_at: monotonic seconds of the next poll, None while none is waited for.
        bytes: of the bodies of all requests.
    """

    state = State.DELIVERED

    def __init__(
        self,
        client: LimitedClient,
        log: ActionLog,
        token: Secret,
        stop: Stop,
        endpoint: Endpoint = CUSTOMERS,
        *,
        imports_update: bool | None = None,
    ) -> None:
        self.limits = BulkLimits(max_items=endpoint.max_items)
        self.requests = self.polls = self.bytes = 0
        self.polls_at: float | None = None
        self._client = client
        self._log = log
        self._token = token
        self._stop = stop
        self._endpoint = endpoint
        self._imports_update = imports_update
        self._bisects_left = _MAX_BISECTS

    def deliver(self, items: Iterable[Item]) -> Iterator[ItemResult]:
        """Yield one result per item until the run is stopped. None may come twice."""
        endpoint, too_large = self._endpoint, list[ItemResult]()
        for packed in pack(_sendable(items, endpoint, too_large), self.limits, endpoint.open_requests):
            self.bytes += packed.size_bytes
            waiting = [packed]
            while waiting and not self._stop.requested:
                request = waiting.pop()
                count = len(request.items)
                if count > 1 and self.limits.exceeded(request.size_bytes, count):
                    parts = list(pack(request.items, self.limits, endpoint.open_requests))
                else:
                    parts = yield from self._deliver_one(request)
                waiting += reversed(parts)
            if self._stop.requested:
                return
        yield from too_large

    def _deliver_one(self, request: BulkRequest) -> Generator[ItemResult, None, list[BulkRequest]]:
        """Have a request carried out; yield results, and return what is to be sent in its place."""
        try:
            ended = self._run(request)
        except VoucherifySyncError as error:
            self._stop.because(error)
            return []
        if ended is None:
            return []
        if isinstance(ended, ActionResult):
            return (yield from self._report(request, ended))
        if ended.status == 404:
            self._stop.because(
                WrongAddress(
                    f"The server does not know bulk requests of {self._endpoint.many} (HTTP 404)",
                    self._endpoint.unknown_remedy,
                )
            )
            return []
        count = len(request.items)
        if count > 1:
            if ended.reason == BLOCKED:
                detail = f"{ended.detail} (a request of several {self._endpoint.many})"
                return (yield from self._bisect(request.items, detail))
            if ended.reason == "too_many_customers":
                self.limits.max_items = FEW_ITEMS if count > FEW_ITEMS else count // 2
                return [request]
            if ended.status == 413:
                self.limits.max_bytes = request.size_bytes // 2
                return [request]
        if ended.status == 413:
            ended = msgspec.structs.replace(ended, reason=TOO_LARGE)
        yield from ((item.source_id, ended) for item in request.items)
        return []

    def _run(self, request: BulkRequest) -> ActionResult | Failed | None:
        """Have a request carried out. What fails or never ends is sent once more: that is safe.

        None: the run is stopping. The log knows then whether the body was accepted.

        Raises:
            VoucherifySyncError: the log cannot be written.
        """
        body = request.body()
        call = ApiCall(
            "POST",
            self._endpoint.path,
            body,
            is_good=lambda reply: 200 <= reply.status < 300 and bool(_text(reply, "async_action_id")),
            bucket=Bucket.BULK,
            records=len(request.items),
            sent=lambda: (msgspec.json.decode(item.payload) for item in request.items),
        )
        action_id, unknown_polls = self._log.action(hash_of(body)), 0
        sends_left = _SENDS
        while True:
            if action_id is None:
                sends_left -= 1
                accepted = self._client.complete(call)
                if accepted is None or isinstance(accepted, Failed):
                    return accepted
                action_id, unknown_polls = _text(accepted, "async_action_id"), _UNKNOWN_POLLS
                self.requests += 1
                self._log.remember_action(hash_of(body), action_id)
            ended = self._follow(action_id, unknown_polls)
            if not isinstance(ended, _LostAction) or not sends_left:
                return ended
            action_id = None

    def _follow(self, action_id: str, unknown_polls: int) -> ActionResult | Failed | None:
        """Poll an action until it is over. It may be unknown for the first `unknown_polls`."""
        call = ApiCall(
            "GET",
            f"{_ACTIONS_PATH}/{quote(action_id, safe='')}",
            is_good=lambda reply: is_success(reply, ("async_action",)) and bool(_text(reply, "status")),
            template=f"{_ACTIONS_PATH}/{{id}}",
        )
        waited_s, pause_s, polls = 0.0, _FIRST_PAUSE_S, 0
        while waited_s < _POLL_TIMEOUT_S:
            self.polls_at = time.monotonic() + pause_s
            is_stopping = self._stop.wait(pause_s)
            self.polls_at = None
            if is_stopping:
                return None
            answer = self._client.complete(call)
            self.polls += 1
            if answer is None:
                return None
            if isinstance(answer, Failed):
                if answer.status != 404:
                    return answer
                if polls >= unknown_polls:
                    return _LostAction("action_unknown", f"Voucherify does not know the action {action_id}")
            elif (ended := _read_action(answer, self._endpoint.read_result)) is not None:
                return ended
            polls += 1
            waited_s += pause_s
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        return _LostAction(GAVE_UP, f"the action {action_id} did not end in time")

    def _report(
        self, request: BulkRequest, result: ActionResult
    ) -> Generator[ItemResult, None, list[BulkRequest]]:
        """Yield the results that the report of an action tells; return what is to be sent again to learn of the rest.

        A report may count more refused customers than it names. Those named are then left out, and the others go
        again in halves; a customer that may still be among the refused at the end counts as failed.
        """
        rest: list[Item] = []
        for item in request.items:
            error = result.refused.get(item.source_id)
            if error is not None:  # without what the report repeats of the customer
                said = json_object(hide(_encode(error), msgspec.json.decode(item.payload), self._token)) or {}
                reason, detail = read_error(said, REFUSED)
                refusal = Failed(reason, detail, None, _encode(said)[:MAX_RESPONSE_BYTES])
                yield item.source_id, refusal
            elif result.unnamed:
                rest.append(item)
            else:
                yield item.source_id, None
        of_these = f"of these {len(rest):,} {self._endpoint.many}"
        detail = f"Voucherify refused {result.unnamed:,} {of_these} without naming them"
        if result.unnamed < len(rest):
            return (yield from self._bisect(rest, detail))
        yield from ((item.source_id, Failed(NOT_NAMED, detail)) for item in rest)
        return []

    def _bisect(self, items: list[Item], detail: str) -> Generator[ItemResult, None, list[BulkRequest]]:
        """Return the halves of a request, to find who is refused in it; once too many were split, all fail."""
        if self._bisects_left:
            self._bisects_left -= 1
            middle = len(items) // 2
            return [BulkRequest(items[:middle]), BulkRequest(items[middle:])]
        yield from ((item.source_id, Failed(NOT_NAMED, detail)) for item in items)
        return []


def _sendable(items: Iterable[Item], endpoint: Endpoint, too_large: list[ItemResult]) -> Iterator[Item]:
    """Yield the items that a request can hold, and note the result of the others."""
    for item in items:
        size_bytes = len(item.payload) + 2
        if size_bytes <= MAX_BYTES:
            yield item
        else:
            detail = f"the {endpoint.one}'s fields are {size_bytes:,} bytes and a request holds {MAX_BYTES:,}"
            too_large.append((item.source_id, Failed(TOO_LARGE, detail)))


def _text(reply: Reply, key: str) -> str:
    """Return a text of a body; empty where it is not there."""
    value = (json_object(reply.body) or {}).get(key)
    return value if isinstance(value, str) else ""


def _read_action(
    reply: Reply, read_result: Callable[[Json], ActionResult]
) -> ActionResult | _LostAction | None:
    """Return how an action went, None if it is not over. DONE does not say that every item was accepted."""
    action = json_object(reply.body) or {}
    status, result = action["status"], action.get("result")
    if status == "DONE" and isinstance(result, dict):
        return read_result(result)
    if status == "DONE" and action.get("operation_status") == "SUCCESS":
        return ActionResult({})
    if status in ("DONE", "FAILED"):
        detail = f"the action {action.get('id')} ended as {status} without a result"
        return _LostAction(ACTION_FAILED, detail)
    return None


ItemDelivery = BulkDelivery | DryBulkDelivery
"""Takes items and yields how each ended."""
