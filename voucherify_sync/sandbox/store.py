"""What the sandbox holds: customers, custom events and asynchronous actions, and how requests change them."""

from __future__ import annotations

import json
import random
import re
import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType
from msgspec.structs import replace

from voucherify_sync.events import Json, Kind
from voucherify_sync.sandbox.call_log import CallLog, ProcessedRequest, Refusal
from voucherify_sync.sandbox.options import SandboxOptions
from voucherify_sync.sandbox.validation import (
    BULK_IDS,
    TEXT_FIELDS,
    ApiRefusal,
    check_customer,
    check_metadata,
    make_request_id,
    not_found,
)
from voucherify_sync.text import utc_text

_PLAIN = re.compile(r"[A-Za-z][\w-]*", re.ASCII)
_REPORTS_KEPT_S = 7 * 86400.0

# The sandbox has no redemptions, orders, vouchers or campaigns, so these parts of a customer never change.
_SUMMARY = Raw(
    b'{"redemptions":{"total_redeemed":0,"total_failed":0,"total_succeeded":0,"total_rolled_back":0,'
    b'"total_rollback_failed":0,"total_rollback_succeeded":0,"gift":{"redeemed_amount":0,"amount_to_go":0},'
    b'"loyalty_card":{"redeemed_points":0,"points_to_go":0}},'
    b'"orders":{"total_amount":0,"total_count":0,"average_amount":0,"last_order_amount":0}}'
)
_LOYALTY = Raw(b'{"points":0,"referred_customers":0,"campaigns":{}}')
_REFERRALS = Raw(b'{"total":0,"campaigns":[]}')

Text = str | UnsetType


def iso(at: float) -> str:
    """Write epoch seconds as the API does: UTC, milliseconds, Z."""
    return utc_text(datetime.fromtimestamp(at, UTC))


class StoredCustomer(Struct, frozen=True, kw_only=True):
    """One customer; encoded, it is the object that the API answers. Fields never set are not shown."""

    id: str
    source_id: Text = UNSET
    name: Text = UNSET
    description: Text = UNSET
    email: Text = UNSET
    phone: Text = UNSET
    birthday: Text = UNSET
    birthdate: Text = UNSET
    address: dict[str, str] | None = None
    summary: Raw = _SUMMARY
    loyalty: Raw = _LOYALTY
    referrals: Raw = _REFERRALS
    metadata: dict[str, Any] = {}
    system_metadata: dict[str, Any] = {}
    created_at: str
    updated_at: Text = UNSET
    object: str = "customer"

    def brief(self) -> Json:
        """Return the few fields that an event shows of its customer."""
        shown: Json = {"id": self.id, "object": "customer", "metadata": self.metadata}
        known = {"name": self.name, "email": self.email, "source_id": self.source_id}
        return shown | {name: value for name, value in known.items() if value is not UNSET}


class BulkAction(Struct):
    """One bulk request that waits in the queue, or has left it.

    Attributes:
        items: the customers that it updates; emptied once they are.
        created: epoch seconds; `starts` and `ends` likewise.
        will_fail: it will end as FAILED and update nobody.
        errors: one object per customer that was refused.
    """

    id: str
    items: list[Json]
    created: float
    starts: float
    ends: float
    will_fail: bool
    done_count: int = 0
    is_finished: bool = False
    errors: list[Json] = []

    def view(self, now: float, *, has_result: bool = True) -> Json:
        """Return the object that the API shows, with the result once there is one."""
        status = "IN_PROGRESS" if now >= self.starts else "ENQUEUED"
        if self.is_finished:
            status = "FAILED" if self.will_fail else "DONE"
        shown: Json = {
            "id": self.id,
            "type": "CUSTOMERS.BULK_UPDATE",
            "status": status,
            "created_at": iso(self.created),
            "updated_at": iso(min(now, self.ends)),
            "request_id": make_request_id(),
            "progress": 100 if self.is_finished else 0,
            "processing_time": round((self.ends - self.starts) * 1000),
            "object": "async_action",
        }
        if self.is_finished:
            shown["operation_status"] = "FAILED" if self.will_fail else "SUCCESS"
        if has_result and status == "DONE":
            shown["result"] = {
                "done_count": self.done_count,
                "failed_count": len(self.errors),
                "reports": [],
                "reports_available_till": iso(self.ends + _REPORTS_KEPT_S),
                "errors": self.errors,
            }
        return shown


class SandboxStore:
    """The project. What changes it, or reads more than one thing of it, does so within a `step`.

    Attributes:
        app_id: an Application ID of this very start, so that no ledger of an earlier sandbox counts for it.
        actions: all asynchronous actions by id, oldest first.
        event_count: number of events recorded, those included that are no longer kept.
    """

    def __init__(self, options: SandboxOptions, call_log: CallLog, clock: Callable[[], float]) -> None:
        self.app_id = options.app_id or f"sandbox-{secrets.token_hex(4)}"
        self.actions: dict[str, BulkAction] = {}
        self.event_count = 0
        self._options = options
        self._call_log = call_log
        self._clock = clock
        # Reentrant, since a step may read the customers, which is a step, too.
        self._lock = threading.RLock()
        self._customers: dict[str, StoredCustomer] = {}
        self._id_of: dict[str, str] = {}
        self._events: deque[ProcessedRequest] = deque(maxlen=options.keep)
        self._queue: deque[BulkAction] = deque()
        self._schemas = {str(schema.get("related_object")): schema for schema in options.metadata_schemas}

    def api_settings(self, url: str) -> str:
        """Return a line of a settings file that sends to this sandbox at its URL.

        A token of the options may be a real one, so it is not shown: the line takes it from the environment.
        """
        app_id = self.app_id if _PLAIN.fullmatch(self.app_id) else json.dumps(self.app_id.replace("$", "$$"))
        token = "any" if self._options.token is None else '"${VOUCHERIFY_API_TOKEN}"'
        return f'api: {{url: "{url}", key: {app_id}, token: {token}}}'

    @contextmanager
    def step(self) -> Iterator[float]:
        """Keep all other threads out, and yield the time. Bulk requests whose time has come are carried out first.

        So nothing runs in the background: the first step after an action is due carries it out.
        """
        with self._lock:
            now = self._clock()
            while self._queue and self._queue[0].ends <= now:
                self._carry_out(self._queue.popleft())
            yield now

    @property
    def customers(self) -> list[StoredCustomer]:
        """All customers, oldest first."""
        with self.step():
            return list(self._customers.values())

    @property
    def events(self) -> list[ProcessedRequest]:
        """The events that are kept, oldest first."""
        with self.step():
            return list(self._events)

    def find_customer(self, reference: str) -> StoredCustomer:
        """Find a customer by id or source_id.

        Raises:
            ApiRefusal: there is none.
        """
        found = self._customers.get(self._id_of.get(reference, reference))
        if found is None:
            raise not_found("customer", reference)
        return found

    def is_visible(self, customer: StoredCustomer, now: float) -> bool:
        """Tell whether reads see a customer already."""
        lag_s = self._options.read_lag_s
        return lag_s == 0 or datetime.fromisoformat(customer.created_at).timestamp() <= now - lag_s

    def visible_events_of(self, customer: StoredCustomer, now: float) -> list[ProcessedRequest]:
        """Return a customer's events as reads see them, oldest first."""
        until = now - self._options.read_lag_s
        # All events are read: an activity is asked for only now and then, an index would be kept for each event.
        return [event for event in self._events if event.customer_id == customer.id and event.at <= until]

    def save_customer(
        self, fields: Json, payload: bytes, now: float, *, is_bulk: bool = False
    ) -> StoredCustomer:
        """Create or update a customer by its id or source_id."""
        customer = self._upsert(self._find_named(fields, 404), fields, now)
        source_id = customer.source_id or None
        request = ProcessedRequest(Kind.CUSTOMER, customer.id, source_id, payload, now, is_bulk=is_bulk)
        self._call_log.add_processed(request)
        return customer

    def record_event(self, body: Json, payload: bytes, now: float) -> StoredCustomer:
        """Record a custom event and create or update its customer."""
        name: str = body["event"]
        if self._options.undefined_events == "reject" and name not in self._options.defined_events:
            raise not_found("event schema", name)
        customer = self._upsert(self._find_named(body["customer"], 400), body["customer"], now)
        event_id = f"evcus_{random.getrandbits(72):018x}"
        source_id = customer.source_id or None
        event = ProcessedRequest(Kind.EVENT, customer.id, source_id, payload, now, name, event_id)
        self._events.append(event)
        self.event_count += 1
        self._call_log.add_processed(event)
        return customer

    def submit_bulk(self, items: list[Json], now: float, *, will_fail: bool) -> BulkAction:
        """Enqueue a bulk request; it runs after those before it."""
        half_s = self._options.async_delay_s / 2
        starts = max(now, self._queue[-1].ends if self._queue else now) + half_s
        action_id = f"aa_{random.getrandbits(72):018x}"
        action = BulkAction(action_id, items, now, starts, starts + half_s, will_fail)
        self.actions[action.id] = action
        self._queue.append(action)
        return action

    def _carry_out(self, action: BulkAction) -> None:
        for item in [] if action.will_fail else action.items:
            try:
                fields = check_customer(item, "", self._options, BULK_IDS)
                self.save_customer(fields, msgspec.json.encode(item), action.ends, is_bulk=True)
                action.done_count += 1
            except ApiRefusal as refusal:
                reported = {name: refusal.body.get(name) for name in ("message", "details", "key")}
                action.errors.append({**reported, "source_id": item["source_id"]})
                request = f"customer {item['source_id']} in bulk"
                self._call_log.add_refusal(
                    Refusal(request, refusal.status, str(reported["details"]), action.ends)
                )
        action.items = []
        action.is_finished = True

    def _find_named(self, fields: Json, unknown_id_status: int) -> StoredCustomer | None:
        """Find the customer that these fields name: by id, else by source_id; None if it is a new one."""
        customer_id, source_id = fields.get("id"), fields.get("source_id")
        if customer_id is None:
            return None if source_id is None else self._customers.get(self._id_of.get(source_id, ""))
        found = self._customers.get(customer_id)
        if found is None:
            raise not_found("customer", customer_id, unknown_id_status)
        return found

    def _upsert(self, known: StoredCustomer | None, fields: Json, now: float) -> StoredCustomer:
        """Store a customer as a request leaves it. What the request does not name stays, and so does the source_id."""
        check_metadata(self._schemas, fields.get("metadata"), creating=known is None)
        stamp: Json = {"updated_at": iso(now)}
        if known is None:
            customer_id, source_id = f"cust_{random.getrandbits(96):024x}", fields.get("source_id") or UNSET
            known, stamp = StoredCustomer(id=customer_id, source_id=source_id, created_at=iso(now)), {}
            if source_id:
                self._id_of[source_id] = customer_id
        customer = replace(known, **stamp, **self._changes(known, fields))
        self._customers[customer.id] = customer
        return customer

    def _changes(self, customer: StoredCustomer, fields: Json) -> Json:
        """Return what fields that were checked change; a null empties its field."""
        changes: Json = {
            name: UNSET if fields[name] is None else fields[name] for name in TEXT_FIELDS if name in fields
        }
        if "address" in fields:
            kept = customer.address if self._options.address_update == "merge" else None
            address = {} if fields["address"] is None else {**(kept or {}), **fields["address"]}
            changes["address"] = {name: part for name, part in address.items() if part is not None} or None
        if "metadata" in fields:
            kept = customer.metadata if self._options.metadata_update == "merge" else {}
            changes["metadata"] = {} if fields["metadata"] is None else {**kept, **fields["metadata"]}
        return changes
