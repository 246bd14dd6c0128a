"""Customers into bulk requests: as few as their bytes allow, none with the same customer twice if none is given twice.

The same customers in the same order give the same requests, byte for byte.

Bulk requests and the async actions that carry them out: a body in, and how it went for its customers out.

A body that was accepted before is asked after, not sent again. Nothing is told of a body whose action is not over.

Delivers customers in bulk: customers in, each with its fate out; as few requests as their bytes allow.

A request that is refused for its size is split. What a stop leaves undecided has no fate.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Final, Protocol
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
from voucherify_sync.voucherify.limited_client import ApiCall, Caller, Refusal
from voucherify_sync.voucherify.rate_limit import Bucket
from voucherify_sync.voucherify.retry_policy import BLOCKED, GAVE_UP, is_success, json_object

MAX_BYTES: Final = 10_485_760
"""Bytes that Voucherify takes in one bulk request."""
FEW_ITEMS: Final = 100
"""Customers that it took in one, at the time when it counted them."""

_OPEN: Final = 4
"""Requests filled side by side: what is too large for one may fit into another."""
_FULL: Final = 1.001
"""A request is full when so many times its size would be too much: with 10 KiB left of 10 MiB."""


class Item(Protocol):
    """A customer as it stands in a bulk request."""

    @property
    def source_id(self) -> str:
        """Whose profile it is."""

    @property
    def payload(self) -> bytes:
        """The customer as JSON."""


class Limits(Struct):
    """What a request may hold; lowered as refusals teach it.

    Attributes:
        max_bytes: of the whole body.
        max_items: customers; None sets no limit.
    """

    max_bytes: int = MAX_BYTES
    max_items: int | None = None

    def allow(self, chunk: Chunk) -> bool:
        """Tell whether a request may go; that of one customer cannot be made smaller."""
        return len(chunk.items) == 1 or not self._exceeded(chunk.size, len(chunk.items))

    def fits(self, chunk: Chunk, item: Item) -> bool:
        """Tell whether one more customer may be added."""
        return not self._exceeded(chunk.size_with(item), len(chunk.items) + 1)

    def is_full(self, chunk: Chunk) -> bool:
        """Tell whether waiting for a customer who fits in is not worth the memory."""
        return self._exceeded(int(chunk.size * _FULL), len(chunk.items) + 1)

    def _exceeded(self, size: int, items: int) -> bool:
        return size > self.max_bytes or (self.max_items is not None and items > self.max_items)


class Chunk:
    """The customers of one request.

    Attributes:
        items: in their order.
        size: bytes of the body.
    """

    def __init__(self, first: Item) -> None:
        self.items = [first]
        self.size = size_alone(first)

    def size_with(self, item: Item) -> int:
        """Return the bytes of the body if one more customer were in it."""
        return self.size + 1 + len(item.payload)

    def add(self, item: Item) -> None:
        """Add a customer."""
        self.size = self.size_with(item)
        self.items.append(item)

    def body(self) -> bytes:
        """Return the request as it is sent."""
        return b"[" + b",".join([item.payload for item in self.items]) + b"]"


def chunk_of(items: Sequence[Item]) -> Chunk:
    """Put customers, one at least, into one request."""
    chunk = Chunk(items[0])
    for item in items[1:]:
        chunk.add(item)
    return chunk


def size_alone(item: Item) -> int:
    """Return the bytes of a request of one customer."""
    return len(item.payload) + 2


def pack(items: Iterable[Item], limits: Limits) -> Iterator[Chunk]:
    """Put customers into requests: each into the first open one that has room.

    A customer that is larger than the limit has a request of its own. Limits that are lowered meanwhile hold for what
    is added from then on.
    """
    open_chunks: list[Chunk] = []
    for item in items:
        for chunk in open_chunks:
            if limits.fits(chunk, item):
                chunk.add(item)
                break
        else:
            full = [chunk for chunk in open_chunks if limits.is_full(chunk)]
            if not full and len(open_chunks) == _OPEN:
                full = [max(open_chunks, key=lambda chunk: chunk.size)]
            open_chunks = [chunk for chunk in open_chunks if chunk not in full]
            open_chunks.append(Chunk(item))
            yield from full
    yield from open_chunks


BULK_PATH: Final = "/v1/customers/bulk/async"
ACTION_FAILED: Final = "action_failed"
REFUSED: Final = "refused"

_ACTIONS_PATH: Final = "/v1/async-actions"
_PAUSE_S: Final = (0.5, 120.0)
"""Pause before a poll: the first and the longest; each is twice the one before."""
_PATIENCE_S: Final = 2 * 3600.0
_UNSEEN: Final = 4
"""An action that was just accepted may be unknown for so many polls: reads lag."""
_SENDS: Final = 2
_RESPONSE_BYTES: Final = 4096
_PLAIN_CODE: Final = re.compile(r"[a-z0-9_]{1,64}")

_encode = msgspec.json.Encoder().encode


class ActionLog(Protocol):
    """Remembers, durably, as which action a body was accepted."""

    def remember_action(self, body_hash: bytes, action_id: str) -> None:
        """Return when it is durable."""

    def action(self, body_hash: bytes) -> str | None:
        """Return the action of a body, or None."""


class Result(Struct, frozen=True):
    """How an action that is over went.

    Attributes:
        refused: by source_id of the customers that it names as refused, what it says of each.
        unnamed: refused customers that it does not name.
    """

    refused: dict[str, Json]
    unnamed: int = 0


class _Lost(Struct, frozen=True):
    """An action that failed, never ended or is unknown: its body may be sent again."""

    reason: str
    detail: str


_Ended = Result | Refusal | _Lost | None


class Actions:
    """Runs one bulk request at a time.

    Args:
        caller: makes the calls.
        log: what was accepted before.
        stop: ends the waits.
        patience_s: pauses before polls may add up to so much until an action is given up.

    Attributes:
        requests: bodies that were accepted.
        polls: how often an action was asked after.
        asks_at: monotonic seconds of the next poll, None while none is waited for.
    """

    def __init__(
        self, caller: Caller, log: ActionLog, stop: Stop, *, patience_s: float = _PATIENCE_S
    ) -> None:
        self.requests = 0
        self.polls = 0
        self.asks_at: float | None = None
        self._caller = caller
        self._log = log
        self._stop = stop
        self._patience_s = patience_s

    def run(self, body: bytes, items: Sequence[Item]) -> Result | Refusal | None:
        """Have a body of these customers carried out. What fails or never ends is sent once more: that is safe.

        None: the run is stopping. The log knows then whether the body was accepted.

        Raises:
            VoucherifySyncError: the log cannot be written.
        """
        body_hash = hash_of(body)
        action_id = self._log.action(body_hash)
        ended: _Ended = _Lost(REFUSED, "") if action_id is None else self._follow(action_id, unseen=0)
        for _ in range(_SENDS):
            if not isinstance(ended, _Lost):
                break
            posted = self._post(body, body_hash, items)
            if not isinstance(posted, str):
                return posted
            ended = self._follow(posted, unseen=_UNSEEN)
        return Refusal(ended.reason, ended.detail) if isinstance(ended, _Lost) else ended

    def _wait(self, pause_s: float) -> bool:
        self.asks_at = time.monotonic() + pause_s
        stopped = self._stop.wait(pause_s)
        self.asks_at = None
        return stopped

    def _post(self, body: bytes, body_hash: bytes, items: Sequence[Item]) -> str | Refusal | None:
        def sent() -> Iterator[Json]:
            return (msgspec.json.decode(item.payload) for item in items)

        request = ApiCall("POST", BULK_PATH, _is_accepted, body, Bucket.BULK, records=len(items), sent=sent)
        answer = self._caller.call(request)
        if not isinstance(answer, Reply):
            return answer
        action_id = str(_json(answer)["async_action_id"])
        self.requests += 1
        self._log.remember_action(body_hash, action_id)
        return action_id

    def _follow(self, action_id: str, unseen: int) -> _Ended:
        """Ask after an action until it is over. It may be unknown for the first `unseen` polls."""
        for poll, pause_s in enumerate(_pauses(self._patience_s)):
            if self._wait(pause_s):
                return None
            path = f"{_ACTIONS_PATH}/{quote(action_id, safe='')}"
            request = ApiCall("GET", path, _is_action, template=f"{_ACTIONS_PATH}/{{id}}")
            answer = self._caller.call(request)
            self.polls += 1
            if isinstance(answer, Refusal) and answer.status == 404:
                if poll >= unseen:
                    return _Lost("action_unknown", f"Voucherify does not know the action {action_id}")
            elif not isinstance(answer, Reply):
                return answer
            elif (ended := _read(_json(answer))) is not None:
                return ended
        return _Lost(GAVE_UP, f"the action {action_id} did not end in time")


def _pauses(patience_s: float) -> Iterator[float]:
    pause_s, longest_s = _PAUSE_S
    waited_s = 0.0
    while waited_s < patience_s:
        yield pause_s
        waited_s += pause_s
        pause_s = min(2 * pause_s, longest_s)


def _is_accepted(reply: Reply) -> bool:
    action_id = _json(reply).get("async_action_id")
    return 200 <= reply.status < 300 and isinstance(action_id, str) and bool(action_id)


def _is_action(reply: Reply) -> bool:
    return is_success(reply, ("async_action",)) and isinstance(_json(reply).get("status"), str)


def _json(reply: Reply) -> Json:
    return json_object(reply.body) or {}


def _read(action: Json) -> Result | _Lost | None:
    """Return how an action went, None if it is not over. DONE does not say that every customer was updated."""
    status, result = action["status"], action.get("result")
    if status == "DONE" and isinstance(result, dict):
        return _read_result(result)
    if status == "DONE" and action.get("operation_status") == "SUCCESS":
        return Result({})
    if status in ("DONE", "FAILED"):
        return _Lost(ACTION_FAILED, f"the action {action.get('id')} ended as {status} without a result")
    return None


def _read_result(result: Json) -> Result:
    errors = result.get("errors")
    listed = [error for error in errors if isinstance(error, dict)] if isinstance(errors, list) else []
    refused = {str(error["source_id"]): error for error in listed if error.get("source_id")}
    count = result.get("failed_count")
    count = max(count if isinstance(count, int) else 0, len(listed))
    return Result(refused, max(count - len(refused), 0))


def refusal_of(error: Json) -> Refusal:
    """Return what a report says of a customer; the key of the error is the reason."""
    key = error.get("key")
    reason = key if isinstance(key, str) and _PLAIN_CODE.fullmatch(key) else REFUSED
    said = [text for text in (error.get("message"), error.get("details")) if isinstance(text, str) and text]
    return Refusal(reason, " - ".join(said)[:500] or "no message", None, _encode(error)[:_RESPONSE_BYTES])


TOO_LARGE: Final = "too_large"
NOT_NAMED: Final = "not_named"
_TOO_MANY: Final = "too_many_customers"
_SPLITS: Final = 32
"""So many requests may be split to find the customers that a report counts as refused and does not name."""


class Fate(Struct, frozen=True):
    """How the update of one customer ended.

    Attributes:
        source_id: the customer's.
        refusal: why it failed, None if it was delivered.
    """

    source_id: str
    refusal: Refusal | None = None


class Deliverer(Protocol):
    """Takes customers and tells how each ended.

    Attributes:
        state: how those end that are not refused.
        bytes: of the bodies of all requests.
    """

    state: State
    bytes: int

    @property
    def requests(self) -> int:
        """Bulk requests made; in a dry run those that would be."""

    @property
    def polls(self) -> int:
        """Calls that asked how a request went."""

    def deliver(self, customers: Iterable[Item]) -> Iterator[Fate]:
        """Yield the fate of each customer, until the run is stopped. No customer may come twice."""
        ...


class DryBulk:
    """Writes the customers that would be sent, one JSON object a line, and sends nothing.

    Args:
        write: takes a line, with its line end.
        stop: looked at before every customer.
    """

    state = State.PLANNED
    polls = 0

    def __init__(self, write: Callable[[bytes], object], stop: Stop) -> None:
        self.requests = 0
        self.bytes = 0
        self._write = write
        self._stop = stop

    def deliver(self, customers: Iterable[Item]) -> Iterator[Fate]:
        """Write a line a customer: the path of the request that it would ride in, and what it would be there."""
        too_large: list[Fate] = []
        for chunk in pack(self._written(of_size(customers, too_large)), Limits()):
            self.requests += 1
            self.bytes += chunk.size
            yield from (Fate(item.source_id) for item in chunk.items)
        yield from too_large

    def _written(self, customers: Iterable[Item]) -> Iterator[Item]:
        for item in customers:
            if self._stop.requested:
                return
            line = {"method": "POST", "path": BULK_PATH, "body": Raw(item.payload)}
            self._write(_encode({**line, "source": None, "messageId": None}) + b"\n")
            yield item


class Bulk:
    """Delivers customers.

    Args:
        actions: carries requests out.
        token: never shown.
        stop: told of what stops the run.

    Attributes:
        limits: what a request may hold, as far as is known.
        state: how customers end that are not refused.
    """

    state = State.DELIVERED

    def __init__(self, actions: Actions, token: Secret, stop: Stop) -> None:
        self.limits = Limits()
        self.bytes = 0
        self._actions = actions
        self._token = token
        self._stop = stop
        self._splits = _SPLITS

    @property
    def requests(self) -> int:
        """Bulk requests that were accepted."""
        return self._actions.requests

    @property
    def polls(self) -> int:
        """Calls that asked how a request went."""
        return self._actions.polls

    def deliver(self, customers: Iterable[Item]) -> Iterator[Fate]:
        """Yield the fate of each customer, until the run is stopped. No customer may come twice."""
        too_large: list[Fate] = []
        for chunk in pack(of_size(customers, too_large), self.limits):
            self.bytes += chunk.size
            yield from self._deliver_chunk(chunk)
            if self._stop.requested:
                return
        yield from too_large

    def _deliver_chunk(self, chunk: Chunk) -> Iterator[Fate]:
        """Send a chunk, or the parts that it must be split into, in order."""
        waiting = [chunk]
        while waiting and not self._stop.requested:
            chunk = waiting.pop()
            if not self.limits.allow(chunk):
                waiting += reversed(list(pack(chunk.items, self.limits)))
                continue
            try:
                ended = self._actions.run(chunk.body(), chunk.items)
            except VoucherifySyncError as error:
                self._stop.because(error)
                return
            if isinstance(ended, Refusal):
                if self._halts(ended):
                    return
                if ended.reason == BLOCKED and len(chunk.items) > 1:
                    parts = yield from self._halves(
                        chunk.items, f"{ended.detail} (a request of several customers)"
                    )
                    waiting += reversed(parts)
                elif self._learns(ended, chunk):
                    waiting.append(chunk)
                else:
                    reason = TOO_LARGE if ended.status == 413 else ended.reason
                    refusal = Refusal(reason, ended.detail, ended.status, ended.response)
                    yield from (Fate(item.source_id, refusal) for item in chunk.items)
            elif ended is not None:
                rest = yield from self._settle(chunk, ended)
                waiting += reversed(rest)

    def _halts(self, refusal: Refusal) -> bool:
        """Stop the run where nobody takes bulk requests at all."""
        if refusal.status != 404:
            return False
        self._stop.because(
            WrongAddress(
                "What answers does not know bulk requests (HTTP 404)",
                "Check api.url and api.version, or send customers one by one: --each.",
            )
        )
        return True

    def _learns(self, refusal: Refusal, chunk: Chunk) -> bool:
        """Lower the limits after a refusal for size or number; False if that is not what it was for."""
        count = len(chunk.items)
        if count == 1:
            return False
        if refusal.reason == _TOO_MANY:
            self.limits.max_items = FEW_ITEMS if count > FEW_ITEMS else count // 2
        elif refusal.status == 413:
            self.limits.max_bytes = chunk.size // 2
        else:
            return False
        return True

    def _settle(self, chunk: Chunk, result: Result) -> Generator[Fate, None, list[Chunk]]:
        """Yield the fates that the report of an action tells; return what is to be sent again to learn of the rest.

        A report may count more refused customers than it names. Those named are then left out, and the others go
        again in halves; whoever may still be among the refused at the end counts as failed.
        """
        rest: list[Item] = []
        for item in chunk.items:
            error = result.refused.get(item.source_id)
            if error is not None:
                yield Fate(item.source_id, self._refusal(item, error))
            elif result.unnamed:
                rest.append(item)
            else:
                yield Fate(item.source_id)
        if not rest:
            return []
        detail = f"Voucherify refused {result.unnamed:,} of these {len(rest):,} customers without naming them"
        if result.unnamed < len(rest):
            return (yield from self._halves(rest, detail))
        yield from (Fate(item.source_id, Refusal(NOT_NAMED, detail)) for item in rest)
        return []

    def _halves(self, items: list[Item], detail: str) -> Generator[Fate, None, list[Chunk]]:
        """Return the halves of a request, to find who is refused in it; once too many were split, all fail."""
        if self._splits:
            self._splits -= 1
            middle = len(items) // 2
            return [chunk_of(items[:middle]), chunk_of(items[middle:])]
        yield from (Fate(item.source_id, Refusal(NOT_NAMED, detail)) for item in items)
        return []

    def _refusal(self, item: Item, error: Json) -> Refusal:
        """Return why a customer was refused, without what the report repeats of the customer."""
        said = hide(msgspec.json.encode(error), msgspec.json.decode(item.payload), self._token)
        return refusal_of(json_object(said) or {})


def of_size(customers: Iterable[Item], too_large: list[Fate]) -> Iterator[Item]:
    """Yield the customers that a request can hold, and note the fate of the others."""
    for item in customers:
        size = size_alone(item)
        if size <= MAX_BYTES:
            yield item
        else:
            detail = f"the customer's fields are {size:,} bytes and a request holds {MAX_BYTES:,}"
            too_large.append(Fate(item.source_id, Refusal(TOO_LARGE, detail)))
