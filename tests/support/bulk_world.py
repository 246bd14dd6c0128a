"""A sandbox, and what sends customers to it in bulk; waits take no time."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from msgspec import Struct

from voucherify_sync.delivery.circuit_breaker import CircuitBreaker
from voucherify_sync.events import Kind
from voucherify_sync.sandbox.faults import Fault
from voucherify_sync.sandbox.options import SandboxOptions
from voucherify_sync.sandbox.server import Sandbox
from voucherify_sync.settings.types import Credentials, Secret
from voucherify_sync.stop import Stop
from voucherify_sync.voucherify.bulk import CUSTOMERS, BulkDelivery, Endpoint
from voucherify_sync.voucherify.client import Client
from voucherify_sync.voucherify.limited_client import LimitedClient
from voucherify_sync.voucherify.rate_limit import Limiter


class Customer(Struct, frozen=True):
    """A customer, or an order, to be sent."""

    source_id: str
    payload: bytes
    source: str | None = None
    message_id: str | None = None


class Hasty(Stop):
    """A stop whose waits take no time; what would have been waited is added up."""

    waited_s = 0.0

    def wait(self, timeout_s: float) -> bool:
        """Return at once."""
        self.waited_s += timeout_s
        return self.requested


class Log(dict[bytes, str]):
    """A log of actions in memory, and of the orders that were accepted before."""

    posted: frozenset[str] = frozenset()

    def remember_action(self, body_hash: bytes, action_id: str) -> None:
        """Keep an action."""
        self[body_hash] = action_id

    def action(self, body_hash: bytes) -> str | None:
        """Return an action."""
        return self.get(body_hash)

    def was_posted(self, source_id: str) -> bool:
        """Tell whether an order was accepted before."""
        return source_id in self.posted


class World:
    """A sandbox and what sends customers to it."""

    def __init__(
        self,
        sandbox: Sandbox,
        client: Client,
        stop: Hasty,
        log: Log,
        endpoint: Endpoint,
        imports_update: bool | None,
    ) -> None:
        self.sandbox = sandbox
        self.endpoint = endpoint
        self.log = log
        self.stop = stop
        self.limiter = Limiter(stop=stop, clock=lambda: stop.waited_s)
        breaker = CircuitBreaker(
            stop, clock=lambda: stop.waited_s, wait=lambda _, timeout_s: stop.wait(timeout_s)
        )
        self.client = LimitedClient(
            client, self.limiter, breaker, stop, leaves_calls=True, clock=lambda: stop.waited_s
        )
        token = Secret("token-77aa")
        self.bulk = BulkDelivery(self.client, log, token, stop, endpoint, imports_update=imports_update)

    def deliver(self, *customers: Customer) -> dict[str, str | None]:
        """Deliver, and return by source_id the reason why it failed, None where it did not."""
        results = list(self.bulk.deliver(customers))
        assert len(dict(results)) == len(results)
        return {source_id: refusal and refusal.reason for source_id, refusal in results}

    @property
    def posts(self) -> int:
        """How many bulk requests the sandbox saw."""
        return sum(call.path == self.endpoint.path for call in self.sandbox.call_log.answered)

    @property
    def stored(self) -> list[Any]:
        """The source_ids of the customers that the sandbox holds."""
        return sorted(str(customer.source_id) for customer in self.sandbox.store.customers)

    @property
    def imported(self) -> Counter[str]:
        """How often each order took effect, by source_id."""
        return Counter(str(call.name) for call in self.sandbox.call_log.processed if call.kind is Kind.ORDER)

    @property
    def look_ups(self) -> int:
        """How many orders were asked for."""
        return sum(
            call.method == "GET" and call.path.startswith("/v1/orders/")
            for call in self.sandbox.call_log.answered
        )


@contextmanager
def world(
    *faults: str | Fault,
    log: Log | None = None,
    endpoint: Endpoint = CUSTOMERS,
    imports_update: bool | None = None,
    **options: Any,
) -> Iterator[World]:
    """Run a sandbox with these faults and options."""
    parsed = [Fault.parse(fault) if isinstance(fault, str) else fault for fault in faults]
    stop = Hasty()
    clock = lambda: 1e9 + stop.waited_s  # noqa: E731
    with Sandbox(SandboxOptions(keep=None, **options), parsed, clock) as sandbox:
        client = Client(Credentials("app", Secret("token"), sandbox.url, None), deadline_s=5)
        try:
            yield World(sandbox, client, stop, Log() if log is None else log, endpoint, imports_update)
        finally:
            client.close()


def people(count: int, size: int = 0) -> list[Customer]:
    """Return customers u0, u1, ... of about `size` bytes."""
    return [
        Customer(f"u{n}", json.dumps({"source_id": f"u{n}", "description": "x" * size}).encode())
        for n in range(count)
    ]


def order(source_id: str, **fields: Any) -> Customer:
    """Return an order of one item, with these fields in place of the usual ones."""
    body = {
        "source_id": source_id,
        "status": "PAID",
        "items": [{"source_id": "mug", "related_object": "product", "quantity": 2, "price": 450}],
        "customer": {"source_id": "u1"},
        "metadata": {"occurred_at": "2021-03-04T05:06:07Z", "gift": True},
        **fields,
    }
    return Customer(source_id, json.dumps(body).encode(), "orders.ndjson:1", f"m-{source_id}")


def orders(count: int, **fields: Any) -> list[Customer]:
    """Return orders o0, o1, ..."""
    return [order(f"o{number}", **fields) for number in range(count)]
