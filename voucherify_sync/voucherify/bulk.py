"""Delivers customers or orders in bulk: as few requests as their bytes allow, each an action that is polled.

An accepted request is polled, not sent again. The same items in the same order give the same requests, byte for
byte, so that a later run finds the action again. A request that is refused for its size is split. What a stop leaves
undecided has no result.

Customers may be sent again whatever became of them. Orders may not: where an answer was lost, the first and the last
order of the request are looked up, and what is there is not posted again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from functools import partial
from typing import Any, Final, Protocol
from urllib.parse import quote

import msgspec
from msgspec import Raw, Struct

from voucherify_sync.errors import VoucherifySyncError, WrongAddress
from voucherify_sync.events import Json, Kind
from voucherify_sync.events import body_hash as hash_of
from voucherify_sync.outcomes import State
from voucherify_sync.settings.types import Secret
from voucherify_sync.stop import Stop
from voucherify_sync.text import counted
from voucherify_sync.timestamps import parse_time
from voucherify_sync.voucherify.answers import Reply, hide
from voucherify_sync.voucherify.limited_client import ApiCall, LimitedClient
from voucherify_sync.voucherify.rate_limit import Bucket
from voucherify_sync.voucherify.retry_policy import (
    BLOCKED,
    GAVE_UP,
    MAX_RESPONSE_BYTES,
    PAUSES,
    Attempts,
    Failed,
    InDoubt,
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
_REFUSED_FOR_ONE: Final = frozenset({400, 409, 422})
"""Statuses by which a request may be refused for one of its items."""
_SENDS: Final = 2
"""Times that a body is sent at most: an action that is lost twice is no accident."""
_MAX_BISECTS: Final = 32
"""Maximum number of requests to bisect to find items that are refused and not named."""
_MAX_ASKED: Final = 100
"""Orders of a request that are looked up at most to find those that are refused and not named."""
_LOOK_PAUSES_S: Final = PAUSES.settle_s
"""Pauses before each look at the orders of a request whose answer was lost: an import may take its time."""
_CARRIED_OUT: Final = "carried out"
"""Stands in the log for an action that ended and refused nothing: a run that goes on has no need to ask."""
_SENT: Final = ""
"""Noted in place of an action: the request is sent, and has no answer yet."""
_NO_ORDER_PATHS: Final = frozenset({".", "..", "import"})
"""Ids of orders that cannot be looked up: the path would be another one."""

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
        count: refused items, named or not.
        unnamed: what it says of those that it does not name.
    """

    refused: dict[str, Json]
    count: int = 0
    unnamed: list[Json] = []


def _read_customers(result: Json) -> ActionResult:
    """Read ``{failed_count, errors: [{source_id, key, message}]}``."""
    return _count_failures(result, result.get("errors"))


def _read_orders(result: Json) -> ActionResult:
    """Read ``{failed_count, failed: [{source_id, reason}]}``; the published schema also has one object in its place."""
    failed = result.get("failed")
    return _count_failures(result, [failed] if isinstance(failed, dict) else failed)


def _count_failures(result: Json, errors: Any) -> ActionResult:
    listed = (
        [error for error in errors if isinstance(error, dict) and error] if isinstance(errors, list) else []
    )
    refused = {str(error["source_id"]): error for error in listed if error.get("source_id")}
    count = result.get("failed_count")
    count = max(count if isinstance(count, int) else 0, len(listed))
    return ActionResult(refused, count, [error for error in listed if not error.get("source_id")])


class Endpoint(Struct, frozen=True):
    """What is delivered in bulk, and by which rules.

    Attributes:
        path: where the requests are posted to.
        names: what one item is called, and what several are.
        bucket: the limit that the requests count against.
        read_result: reads the result of an action that is DONE.
        unknown_remedy: what to do where the server does not know the path.
        max_items: of a request; None sets no limit.
        open_requests: requests filled side by side: what is too large for one may fit into another. 1 keeps the order
            of the items.
        may_repeat: a body may be posted again whatever became of it before.
        splits_refused: a request that is refused as a whole may be so for one of its items, which is then looked for.
    """

    path: str
    names: tuple[str, str]
    bucket: Bucket
    read_result: Callable[[Json], ActionResult]
    unknown_remedy: str
    max_items: int | None = None
    open_requests: int = 1
    may_repeat: bool = False
    splits_refused: bool = False

    @property
    def many(self) -> str:
        """What several items are called."""
        return self.names[1]


CUSTOMERS: Final = Endpoint(
    "/v1/customers/bulk/async",
    ("customer", "customers"),
    Bucket.BULK,
    _read_customers,
    "Check api.url and api.version, or send customers one by one: --each.",
    open_requests=4,
    may_repeat=True,
)
ORDERS: Final = Endpoint(
    "/v1/orders/import",
    ("order", "orders"),
    Bucket.IMPORT,
    _read_orders,
    "Check api.url and api.version, or send order events as custom events: orders.disabled: true.",
    max_items=2000,
    splits_refused=True,
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
        was_posted: some of them may be there, as a request that held them was posted before.
        is_doubtful: as far as is known, some of that request are there and some are not.
    """

    def __init__(self, items: Iterable[Item], *, was_posted: bool = False, is_doubtful: bool = False) -> None:
        self.items: list[Item] = []
        self.size_bytes = 1
        self.was_posted = was_posted
        self.is_doubtful = is_doubtful
        for item in items:
            self.add(item)

    def add(self, item: Item) -> None:
        """Add an item: its JSON, and a comma or the last bracket."""
        self.items.append(item)
        self.size_bytes += len(item.payload) + 1

    def body(self) -> bytes:
        """Return the request as it is sent."""
        return b"[" + b",".join([item.payload for item in self.items]) + b"]"

    def halves(self, *, is_doubtful: bool = False) -> list[BulkRequest]:
        """Return two requests in place of this one."""
        middle = len(self.items) // 2
        return [
            BulkRequest(items, was_posted=self.was_posted, is_doubtful=is_doubtful)
            for items in (self.items[:middle], self.items[middle:])
        ]


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
        """Return when it is durable. An empty id: the body is about to be sent, and must not be sent twice.

        A text with a blank in it is no id: the action has ended well.
        """

    def action(self, body_hash: bytes) -> str | None:
        """Return what was remembered last of a body, or None."""

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
    """An action that failed, never ended or is unknown.

    Attributes:
        changed_nothing: it says so itself, so that its body may be sent again, whatever it holds.
    """

    changed_nothing: bool = False


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
        polls: calls that asked how an action is going, or whether an order is there.
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
                is_too_large = count > 1 and self.limits.exceeded(request.size_bytes, count)
                if is_too_large and not request.is_doubtful:
                    parts = list(pack(request.items, self.limits, endpoint.open_requests))
                    for part in parts:
                        part.was_posted = request.was_posted
                else:
                    parts = yield from self._deliver_one(request)
                waiting += reversed(parts)
            if self._stop.requested:
                return
        yield from too_large

    def _deliver_one(self, request: BulkRequest) -> Generator[ItemResult, None, list[BulkRequest]]:
        """Have a request carried out; yield results, and return what is to be sent in its place."""
        try:
            ended = self._run_once(request)
        except VoucherifySyncError as error:
            self._stop.because(error)
            return []
        if ended is None:
            return []
        if isinstance(ended, list):
            return ended
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
        if parts := self._split(request, ended):
            return parts
        if ended.status == 413:
            ended = msgspec.structs.replace(ended, reason=TOO_LARGE)
        elif ended.reason == BLOCKED and len(request.items) > 1:
            ended = Failed(NOT_NAMED, f"{ended.detail} (a request of several {self._endpoint.many})")
        yield from ((item.source_id, ended) for item in request.items)
        return []

    def _split(self, request: BulkRequest, refusal: Failed) -> list[BulkRequest]:
        """Return what is to be sent in place of a request that was refused; nothing where all of it has failed."""
        count = len(request.items)
        if count == 1:
            return []
        if refusal.reason == "too_many_customers":
            self.limits.max_items = FEW_ITEMS if count > FEW_ITEMS else count // 2
            return [request]
        if refusal.status == 413:
            self.limits.max_bytes = request.size_bytes // 2
            return [request]
        is_for_one = self._endpoint.splits_refused and refusal.status in _REFUSED_FOR_ONE
        return self._bisect(request) if refusal.reason == BLOCKED or is_for_one else []

    def _run_once(self, request: BulkRequest) -> ActionResult | Failed | list[BulkRequest] | None:
        """Have a request carried out as `_run` does, unless an earlier run has seen that it was."""
        key = hash_of(request.body())
        if self._log.action(key) == _CARRIED_OUT:
            return ActionResult({})
        ended = self._run(request)
        if isinstance(ended, ActionResult) and not ended.refused and not ended.count:
            self._log.remember_action(key, _CARRIED_OUT)
        return ended

    def _run(self, request: BulkRequest) -> ActionResult | Failed | list[BulkRequest] | None:
        """Have a request carried out. What fails or never ends is sent once more, where that is safe.

        Returns:
            A list: requests to be made in its place. None: the run is stopping; the log knows then whether the body was
            accepted, or sent without an answer.

        Raises:
            VoucherifySyncError: the log cannot be written.
        """
        action_id, unknown_polls = self._log.action(hash_of(request.body())), 0
        doubt: Failed | InDoubt | None = None
        if action_id == _SENT or (request.is_doubtful and action_id is None):
            doubt = Failed("interrupted", "it was sent before, and its answer was lost")
        sends_left, attempts = _SENDS, Attempts()
        while True:
            if doubt is not None:
                request.was_posted = True
                settled = self._settle(request, doubt, attempts, sends_left)
                if settled != []:
                    return settled
                doubt = None
            if not action_id:
                accepted = self._submit(request, attempts)
                if isinstance(accepted, InDoubt):
                    doubt = accepted
                    continue
                if not isinstance(accepted, str):
                    return accepted
                action_id, unknown_polls, sends_left = accepted, _UNKNOWN_POLLS, sends_left - 1
            ended = self._follow(action_id, unknown_polls)
            if not isinstance(ended, _LostAction):
                return ended
            doubt = None if self._endpoint.may_repeat or ended.changed_nothing else ended
            if doubt is None and not sends_left:
                return ended
            action_id, attempts, request.was_posted = None, Attempts(), True

    def _submit(self, request: BulkRequest, attempts: Attempts) -> str | Failed | InDoubt | None:
        """Post a request, and return its action, which is remembered. None: the run is stopping.

        That a request which must not be repeated is on its way is noted before its first byte leaves.
        """
        body, endpoint = request.body(), self._endpoint
        call = ApiCall(
            "POST",
            endpoint.path,
            body,
            Kind.CUSTOMER if endpoint.may_repeat else Kind.ORDER,
            is_good=lambda reply: 200 <= reply.status < 300 and bool(_text(reply, "async_action_id")),
            bucket=endpoint.bucket,
            records=len(request.items),
            sent=lambda: (msgspec.json.decode(item.payload) for item in request.items),
        )
        note = None if endpoint.may_repeat else partial(self._log.remember_action, hash_of(body), _SENT)
        accepted = self._client.complete(call, attempts, note)
        if not isinstance(accepted, Reply):
            return accepted
        self.requests += 1
        action_id = _text(accepted, "async_action_id")
        self._log.remember_action(hash_of(body), action_id)
        return action_id

    def _settle(
        self, request: BulkRequest, doubt: Failed | InDoubt, attempts: Attempts, sends_left: int
    ) -> ActionResult | Failed | list[BulkRequest] | None:
        """Find out by its first and its last order what became of a request whose answer was lost.

        Returns:
            As `_run`; an empty list where nothing of it is there, so that it is posted again.
        """
        failed = Failed(doubt.reason, doubt.detail, doubt.status, doubt.response)
        ends = [request.items[0], *request.items[1:][-1:]]
        there = 0
        for pause_s in (0.0,) if request.is_doubtful else _LOOK_PAUSES_S:
            if self._pause(pause_s):
                return None
            there = 0
            for item in ends:
                is_there = self._is_there(item)
                if isinstance(is_there, Failed):
                    detail = f"{doubt.detail}; its orders cannot be looked up: {is_there.detail}"
                    return Failed(GAVE_UP, detail, None, is_there.response)
                if is_there is None:
                    return None
                there += is_there
            if there == len(ends):
                return ActionResult({})
        if doubt.reason == GAVE_UP:  # its action may still be under way: nothing may be posted beside it
            return failed
        if there:
            return request.halves(is_doubtful=True)
        retry = attempts.retry(failed, 0.0) if sends_left else failed
        if isinstance(retry, Failed):
            return retry
        attempts.count(retry)
        return []

    def _is_there(self, item: Item) -> bool | Failed | None:
        """Tell whether Voucherify has an order as it was posted. None: the run is stopping."""
        if item.source_id in _NO_ORDER_PATHS:
            return Failed(NOT_NAMED, "an order of this id cannot be looked up, so its fate is not known")
        call = ApiCall(
            "GET",
            f"/v1/orders/{quote(item.source_id, safe='')}",
            is_good=lambda reply: is_success(reply, ("order",)),
            template="/v1/orders/{id}",
            sent=lambda: (msgspec.json.decode(item.payload),),
        )
        answer = self._read(call)
        if isinstance(answer, Reply):
            return _is_as_posted(msgspec.json.decode(item.payload), json_object(answer.body) or {})
        return False if answer is not None and answer.status == 404 else answer

    def _read(self, call: ApiCall) -> Reply | Failed | None:
        """Make a call that creates nothing. None: the run is stopping."""
        answer = self._client.complete(call)
        self.polls += 1
        assert not isinstance(answer, InDoubt)  # noqa: S101  # it is repeated instead
        return answer

    def _pause(self, pause_s: float) -> bool:
        """Wait before a call that asks; tell whether the run is stopping."""
        self.polls_at = time.monotonic() + pause_s
        is_stopping = self._stop.wait(pause_s)
        self.polls_at = None
        return is_stopping

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
            if self._pause(pause_s):
                return None
            answer = self._read(call)
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

        A report may count more refused items than it names. Those named are then left out, and the others go again in
        halves, or are looked up; one that may still be among the refused at the end counts as failed.
        """
        endpoint, named = self._endpoint, [item for item in request.items if item.source_id in result.refused]
        unnamed = max(result.count - len(named), 0)
        for item in named:
            error = result.refused[item.source_id]
            is_known = not endpoint.may_repeat and _says_it_exists(error)
            is_ours = is_known and (request.was_posted or self._log.was_posted(item.source_id))
            yield item.source_id, None if is_ours else self._refusal(item, error)
        rest = [item for item in request.items if item.source_id not in result.refused]
        detail = f"Voucherify refused {unnamed:,} of these {counted(len(rest), *endpoint.names)} without naming them"
        if not unnamed:
            yield from ((item.source_id, None) for item in rest)
        elif not (endpoint.may_repeat or self._imports_update):
            yield from self._ask(rest, unnamed, detail, result.unnamed)
        elif unnamed >= len(rest) and not endpoint.may_repeat:
            yield from ((item.source_id, self._refusal(item, *result.unnamed)) for item in rest)
        elif unnamed < len(rest) and (halves := self._bisect(BulkRequest(rest, was_posted=True))):
            return halves
        else:
            yield from ((item.source_id, Failed(NOT_NAMED, detail)) for item in rest)
        return []

    def _refusal(self, item: Item, *errors: Json) -> Failed:
        """Return the failure of an item that a report refuses, without what the report repeats of it.

        Args:
            item: what is refused.
            errors: what the report may say of it; it counts only where all are the same.
        """
        error = errors[0] if errors and all(each == errors[0] for each in errors) else {}
        said = json_object(hide(_encode(error), msgspec.json.decode(item.payload), self._token)) or {}
        response = _encode(said)[:MAX_RESPONSE_BYTES] if said else None
        if self._endpoint.may_repeat:
            return Failed(*read_error(said, REFUSED), None, response)
        return Failed(REFUSED, "Voucherify's report of the import counts the order as failed", None, response)

    def _ask(self, rest: list[Item], unnamed: int, detail: str, errors: list[Json]) -> Iterator[ItemResult]:
        """Look orders up, to find those that are refused and not named; yield nothing where the run stops.

        Args:
            rest: the orders that are not named.
            unnamed: how many of them are refused.
            detail: this as a sentence.
            errors: what the report says of orders that it does not name.
        """
        results: list[ItemResult] = []
        if self._pause(_LOOK_PAUSES_S[0]):
            return
        for item in rest[:_MAX_ASKED]:
            if not unnamed:
                break
            is_there = self._is_there(item)
            if is_there is None:
                return
            if is_there is False:
                unnamed -= 1
            failed = (
                Failed(NOT_NAMED, detail) if isinstance(is_there, Failed) else self._refusal(item, *errors)
            )
            results.append((item.source_id, None if is_there is True else failed))
        left = rest[len(results) :]
        for item in left:
            failed = self._refusal(item, *errors) if unnamed >= len(left) else Failed(NOT_NAMED, detail)
            results.append((item.source_id, failed if unnamed else None))
        yield from results

    def _bisect(self, request: BulkRequest) -> list[BulkRequest]:
        """Return the halves of a request, to find what is refused in it; nothing once too many were split."""
        if not self._bisects_left:
            return []
        self._bisects_left -= 1
        return request.halves()


def _sendable(items: Iterable[Item], endpoint: Endpoint, too_large: list[ItemResult]) -> Iterator[Item]:
    """Yield the items that a request can hold, and note the result of the others."""
    for item in items:
        size_bytes = len(item.payload) + 2
        if size_bytes <= MAX_BYTES:
            yield item
        else:
            detail = (
                f"the {endpoint.names[0]}'s fields are {size_bytes:,} bytes and a request holds {MAX_BYTES:,}"
            )
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
        return _LostAction(ACTION_FAILED, detail, changed_nothing=status == "FAILED")
    return None


def _says_it_exists(error: Json) -> bool:
    """Tell whether a report refuses an order because there is one of its id."""
    return any("already exist" in text.lower() for text in error.values() if isinstance(text, str))


def _is_as_posted(posted: Json, order: Json) -> bool:
    """Tell whether an order says what was posted: that there is an older one of its id proves nothing.

    What the API adds or computes does not count. It may show a value of metadata as text, and a time in another way.
    """
    metadata, items = order.get("metadata") or {}, order.get("items")
    pairs = [(value, metadata.get(key)) for key, value in (posted.get("metadata") or {}).items()]
    if "status" in posted:
        pairs.append((posted["status"], order.get("status")))
    if "items" not in posted and "amount" in posted:
        pairs.append((posted["amount"], order.get("amount")))
    if "items" in posted and isinstance(items, list):
        pairs.append((len(posted["items"]), len(items)))
        for ours, theirs in zip(posted["items"], items, strict=False):
            names = [name for name in ("source_id", "quantity") if name in ours and name in theirs]
            pairs += [(ours[name], theirs[name]) for name in names]
    return all(_is_same(ours, theirs) for ours, theirs in pairs)


def _is_same(ours: Any, theirs: Any) -> bool:
    if ours == theirs or not isinstance(theirs, str):
        return bool(ours == theirs)
    if not isinstance(ours, str):
        return _encode(ours).decode() == theirs
    time = parse_time(ours)
    return time is not None and time == parse_time(theirs)


ItemDelivery = BulkDelivery | DryBulkDelivery
"""Takes items and yields how each ended."""
