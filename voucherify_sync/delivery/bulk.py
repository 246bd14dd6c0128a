"""Delivers customers in bulk: customers in, each with its fate out; as few requests as their bytes allow.

A request that is refused for its size is split. What a stop leaves undecided has no fate.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Final, Protocol

import msgspec
from msgspec import Raw, Struct

from voucherify_sync.delivery.actions import BULK_PATH, Actions, Result, refusal_of
from voucherify_sync.delivery.calls import Refusal
from voucherify_sync.delivery.chunks import (
    FEW_ITEMS,
    MAX_BYTES,
    Chunk,
    Item,
    Limits,
    chunk_of,
    pack,
    size_alone,
)
from voucherify_sync.delivery.privacy import hide
from voucherify_sync.delivery.retry import BLOCKED, json_object
from voucherify_sync.errors import VoucherifySyncError, WrongAddress
from voucherify_sync.model import Json, State
from voucherify_sync.settings.types import Secret
from voucherify_sync.stop import Stop

TOO_LARGE: Final = "too_large"
NOT_NAMED: Final = "not_named"
_TOO_MANY: Final = "too_many_customers"
_SPLITS: Final = 32
"""So many requests may be split to find the customers that a report counts as refused and does not name."""

_encode = msgspec.json.Encoder().encode


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
