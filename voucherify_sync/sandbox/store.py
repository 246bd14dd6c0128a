"""What the sandbox holds: customers, custom events, orders and asynchronous actions, and how requests change them."""

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
from math import inf
from typing import Any, Literal

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
    check_order,
    invalid,
    make_request_id,
    not_found,
)
from voucherify_sync.text import utc_text

_PLAIN = re.compile(r"[A-Za-z][\w-]*", re.ASCII)
_REPORTS_KEPT_S = 7 * 86400.0
_ORDER_FIELDS = ("source_id", "status", "amount", "initial_amount", "discount_amount", "metadata")

# The sandbox has no redemptions, vouchers or campaigns, and sums no orders up, so these parts never change.
_SUMMARY = Raw(
    b'{"redemptions":{"total_redeemed":0,"total_failed":0,"total_succeeded":0,"total_rolled_back":0,'
    b'"total_rollback_failed":0,"total_rollback_succeeded":0,"gift":{"redeemed_amount":0,"amount_to_go":0},'
    b'"loyalty_card":{"redeemed_points":0,"points_to_go":0}},'
    b'"orders":{"total_amount":0,"total_count":0,"average_amount":0,"last_order_amount":0}}'
)
_LOYALTY = Raw(b'{"points":0,"referred_customers":0,"campaigns":{}}')
_REFERRALS = Raw(b'{"total":0,"campaigns":[]}')

Text = str | UnsetType
Number = int | UnsetType
ActionType = Literal["CUSTOMERS.BULK_UPDATE", "ORDERS.IMPORT"]
ActionFault = Literal["fail_action", "stall_action", "forget_action"]
"""What may go wrong with an asynchronous action."""


def iso(at: float) -> str:
    """Write epoch seconds as the API does: UTC, milliseconds, Z."""
    return utc_text(datetime.fromtimestamp(at, UTC))


def as_text(value: Any) -> str:
    """Return a metadata value as it is when it is text, else as JSON."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


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


class StoredOrder(Struct, frozen=True, kw_only=True):
    """One order; encoded, it is the object that the API answers. Fields never set are not shown."""

    id: str
    source_id: Text = UNSET
    status: str = "CREATED"
    amount: Number = UNSET
    initial_amount: Number = UNSET
    discount_amount: Number = UNSET
    items: list[Json] = []
    metadata: dict[str, Any] = {}
    customer_id: str
    customer: Json
    referrer_id: str | None = None
    redemptions: dict[str, Any] = {}
    created_at: str
    updated_at: Text = UNSET
    object: str = "order"


class AsyncAction(Struct):
    """One bulk request or import that waits in the queue, or has left it.

    Attributes:
        items: the customers that it updates, or the orders that it imports; emptied once it has.
        created: epoch seconds; `starts` and `ends` likewise.
        will_fail: it will end as FAILED and change nothing.
        result: what the API shows of it once it is done.
    """

    id: str
    type: ActionType
    items: list[Json]
    created: float
    starts: float
    ends: float
    will_fail: bool
    is_finished: bool = False
    result: Json | None = None

    def view(self, now: float, *, has_result: bool = True) -> Json:
        """Return the object that the API shows, with the result once there is one."""
        status = "IN_PROGRESS" if now >= self.starts else "ENQUEUED"
        if self.is_finished:
            status = "FAILED" if self.will_fail else "DONE"
        shown: Json = {
            "id": self.id,
            "type": self.type,
            "status": status,
            "created_at": iso(self.created),
            "updated_at": iso(min(now, self.ends)),
            "request_id": make_request_id(),
            "progress": 100 if self.is_finished else 0,
            "processing_time": round((min(now, self.ends) - min(now, self.starts)) * 1000),
            "object": "async_action",
        }
        if self.is_finished and self.type == "CUSTOMERS.BULK_UPDATE":
            shown["operation_status"] = "FAILED" if self.will_fail else "SUCCESS"
        if has_result and self.result is not None:
            shown["result"] = self.result
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
        self.actions: dict[str, AsyncAction] = {}
        self.event_count = 0
        self._options = options
        self._call_log = call_log
        self._clock = clock
        # Reentrant, since a step may read the customers, which is a step, too.
        self._lock = threading.RLock()
        self._customers: dict[str, StoredCustomer] = {}
        self._id_of: dict[str, str] = {}
        self._events: deque[ProcessedRequest] = deque(maxlen=options.keep)
        self._orders: dict[str, StoredOrder] = {}
        self._order_id_of: dict[str, str] = {}
        self._products: dict[tuple[str, str | None], Json] = {}
        self._queue: deque[AsyncAction] = deque()
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

    @property
    def orders(self) -> list[StoredOrder]:
        """All orders, oldest first."""
        with self.step():
            return list(self._orders.values())

    def find_order(self, reference: str) -> StoredOrder:
        """Find an order by id or source_id.

        Raises:
            ApiRefusal: there is none.
        """
        found = self._orders.get(self._order_id_of.get(reference, reference))
        if found is None:
            raise not_found("order", reference)
        return found

    def find_customer(self, reference: str) -> StoredCustomer:
        """Find a customer by id or source_id.

        Raises:
            ApiRefusal: there is none.
        """
        found = self._customers.get(self._id_of.get(self._key(reference), reference))
        if found is None:
            raise not_found("customer", reference)
        return found

    def is_visible(self, stored: StoredCustomer | StoredOrder, now: float) -> bool:
        """Tell whether reads see a customer or an order already."""
        lag_s = self._options.read_lag_s
        return lag_s == 0 or datetime.fromisoformat(stored.created_at).timestamp() <= now - lag_s

    def visible_events_of(self, customer: StoredCustomer, now: float) -> list[ProcessedRequest]:
        """Return a customer's events as reads see them, oldest first."""
        until = now - self._options.read_lag_s
        # All events are read: an activity is asked for only now and then, an index would be kept for each event.
        return [event for event in self._events if event.customer_id == customer.id and event.at <= until]

    def save_customer(
        self, fields: Json, payload: bytes, now: float, *, is_bulk: bool = False
    ) -> StoredCustomer:
        """Create or update a customer by its id or source_id."""
        customer = self._upsert(self._find_named(fields, 404), fields, now, is_bulk=is_bulk)
        source_id = customer.source_id or None
        request = ProcessedRequest(Kind.CUSTOMER, customer.id, source_id, payload, now, is_bulk=is_bulk)
        self._call_log.add_processed(request)
        return customer

    def delete_customer(self, customer: StoredCustomer) -> None:
        """Delete a customer; whether its orders go, too, is an option."""
        del self._customers[customer.id]
        if customer.source_id:
            del self._id_of[self._key(customer.source_id)]
        if self._options.orders_of_deleted_customer == "delete":
            for order in [each for each in self._orders.values() if each.customer_id == customer.id]:
                del self._orders[order.id]

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

    def submit(
        self, kind: ActionType, items: list[Json], now: float, fault: ActionFault | None = None
    ) -> AsyncAction:
        """Enqueue a bulk request or an import; it runs after those before it."""
        half_s = self._options.async_delay_s / 2
        starts = max(now, self._queue[-1].ends if self._queue else now) + half_s
        ends = inf if fault == "stall_action" else starts + half_s
        action_id = f"aa_{random.getrandbits(72):018x}"
        action = AsyncAction(action_id, kind, items, now, starts, ends, fault == "fail_action")
        if fault != "forget_action":
            self.actions[action.id] = action
        self._queue.append(action)
        return action

    def _carry_out(self, action: AsyncAction) -> None:
        if not action.will_fail:
            is_import = action.type == "ORDERS.IMPORT"
            action.result = self._import_orders(action) if is_import else self._update_customers(action)
        action.items = []
        action.is_finished = True

    def _update_customers(self, action: AsyncAction) -> Json:
        """Update the customers of a bulk request, and return its result."""
        errors: list[Json] = []
        for item in action.items:
            try:
                fields = check_customer(item, "", self._options, BULK_IDS)
                self.save_customer(fields, msgspec.json.encode(item), action.ends, is_bulk=True)
            except ApiRefusal as refusal:
                reported = {name: refusal.body.get(name) for name in ("message", "details", "key")}
                errors.append({**reported, "source_id": item["source_id"]})
                self._log_refused(f"customer {item['source_id']} in bulk", refusal, action.ends)
        return {
            "done_count": len(action.items) - len(errors),
            "failed_count": len(errors),
            "reports": [],
            "reports_available_till": iso(action.ends + _REPORTS_KEPT_S),
            "errors": errors,
        }

    def _import_orders(self, action: AsyncAction) -> Json:
        """Import the orders of an import, and return its result."""
        failed: list[Json] = []
        for order in action.items:
            try:
                fields = check_order(order, "", self._options)
                self._save_order(fields, msgspec.json.encode(order), action.ends)
            except ApiRefusal as refusal:
                failed.append({"source_id": order.get("source_id"), "reason": refusal.body.get("details")})
                self._log_refused(f"order {order.get('source_id')} in an import", refusal, action.ends)
        done_count = len(action.items) - len(failed)
        shown: Any = failed
        if self._options.order_failed_shape == "object":
            shown = failed[0] if failed else {}
        elif self._options.order_failed_shape == "unnamed":
            shown = [{"source_id": None, "reason": "Internal error"} for _ in failed]
        return {
            "message": f"{done_count} order(s) imported successfully, {len(failed)} failed.",
            "failed": shown,
            "done_count": done_count,
            "failed_count": len(failed),
        }

    def _log_refused(self, request: str, refusal: ApiRefusal, at: float) -> None:
        self._call_log.add_refusal(Refusal(request, refusal.status, str(refusal.body.get("details")), at))

    def _save_order(self, fields: Json, payload: bytes, now: float) -> None:
        """Create or update an order of an import, and its customer if that is new.

        Raises:
            ApiRefusal: the order is refused, and neither it nor its products are stored.
        """
        known = self._find_known_order(fields)
        check_metadata(self._schemas, "order", fields.get("metadata"), creating=known is None)
        changes: Json = {name: fields[name] for name in _ORDER_FIELDS if name in fields}
        if "items" in fields:
            changes["items"] = [self._complete_item(item) for item in fields["items"]]
        self._check_amount(changes)
        if "metadata" in changes:
            kept = known.metadata if known and self._options.metadata_update == "merge" else {}
            changes["metadata"] = {**kept, **self._metadata("order", changes["metadata"])}
        customer = self._find_or_add(fields["customer"], now)
        changes |= {"customer_id": customer.id, "customer": {"id": customer.id, "object": "customer"}}
        if "referrer" in fields:
            changes["referrer_id"] = self._find_or_add(fields["referrer"], now).id
        for item in fields.get("items", []):
            for part in ("product", "sku"):
                if item.get(part, {}).get("override"):
                    self._products[part, item[part].get("source_id", item.get("source_id"))] = item[part]
        if known is None:
            order = StoredOrder(id=f"ord_{random.getrandbits(96):024x}", created_at=iso(now), **changes)
        else:
            order = replace(known, updated_at=iso(now), **changes)
        self._orders[order.id] = order
        if order.source_id:
            self._order_id_of[order.source_id] = order.id
        source_id = customer.source_id or None
        request = ProcessedRequest(
            Kind.ORDER, customer.id, source_id, payload, now, order.source_id or None, order.id, is_bulk=True
        )
        self._call_log.add_processed(request)

    def _find_known_order(self, fields: Json) -> StoredOrder | None:
        """Find the order that an import updates: by id, else by source_id; None if it makes a new one."""
        if "id" in fields:
            return self.find_order(fields["id"])
        known = self._orders.get(self._order_id_of.get(fields.get("source_id", ""), ""))
        if known is not None and self._options.order_existing == "fail":
            details = f"Order with source_id {fields['source_id']} already exists"
            error = {"code": 409, "key": "duplicate_found", "message": "Duplicate resource found"}
            raise ApiRefusal(409, {**error, "details": details})
        return known if self._options.order_existing == "upsert" else None

    def _complete_item(self, item: Json) -> Json:
        """Return an item as reads show it, with the price of a stored product and its amount.

        Raises:
            ApiRefusal: its metadata is refused, or its product is unknown.
        """
        part = item.get("related_object", "product")
        sent = item.get(part, {})
        check_metadata(self._schemas, "order_item", item.get("metadata"), creating=True)
        check_metadata(self._schemas, "product", item.get("product", {}).get("metadata"), creating=False)
        stored = self._products.get((part, item.get("source_id")))
        names = [item[name] for name in ("source_id", "product_id", "sku_id") if name in item]
        is_known = stored is not None or sent.get("override") or not names
        if not is_known and self._options.order_unknown_product == "fail":
            raise not_found(part, names[0])
        shown: Json = {"object": "order_item", "quantity": 1, **item}
        price = item.get("price", sent.get("price", (stored or {}).get("price")))
        if isinstance(price, int):
            shown |= {"price": price, "amount": item.get("amount", price * shown["quantity"])}
        return shown

    def _check_amount(self, changes: Json) -> None:
        """Set the amount of an order that was sent without one to the sum of its items.

        Raises:
            ApiRefusal: the amount is refused.
        """
        priced = [item["amount"] for item in changes.get("items", []) if "amount" in item]
        amount, total = changes.get("amount"), sum(priced)
        if amount == 0 and self._options.order_zero_amount == "fail":
            raise invalid("Property .amount cannot be lower than 1")
        if amount is None and priced:
            changes["amount"] = total
        elif priced and amount != total and self._options.order_amount_mismatch == "fail":
            raise invalid(f"Property .amount should be the sum of the items: {total}")

    def _find_or_add(self, fields: Json, now: float) -> StoredCustomer:
        """Return the customer or referrer of an order; a new one is added, and fields that are sent are stored."""
        known = self._find_named(fields, 400)
        if known is not None and not fields.keys() - {"id", "source_id"}:
            return known
        return self._upsert(known, fields, now, has_required=False)

    def _find_named(self, fields: Json, unknown_id_status: int) -> StoredCustomer | None:
        """Find the customer that these fields name: by id, else by source_id; None if it is a new one."""
        customer_id, source_id = fields.get("id"), fields.get("source_id")
        if customer_id is None:
            return (
                None if source_id is None else self._customers.get(self._id_of.get(self._key(source_id), ""))
            )
        found = self._customers.get(customer_id)
        if found is None:
            raise not_found("customer", customer_id, unknown_id_status)
        return found

    def _upsert(
        self,
        known: StoredCustomer | None,
        fields: Json,
        now: float,
        *,
        has_required: bool = True,
        is_bulk: bool = False,
    ) -> StoredCustomer:
        """Store a customer as a request leaves it. What the request does not name stays, and so does the source_id.

        Args:
            known: the customer as it is; None for a new one.
            fields: what the request sends, checked.
            now: epoch seconds.
            has_required: a new customer has to have the metadata that its schema requires.
            is_bulk: a bulk request does it.
        """
        is_complete = known is None and has_required
        check_metadata(self._schemas, "customer", fields.get("metadata"), creating=is_complete)
        stamp: Json = {"updated_at": iso(now)}
        if known is None:
            customer_id, source_id = f"cust_{random.getrandbits(96):024x}", fields.get("source_id") or UNSET
            if source_id:
                self._id_of[self._key(source_id)] = customer_id
                source_id = source_id.strip() if self._options.source_id_blanks == "trimmed" else source_id
            known, stamp = StoredCustomer(id=customer_id, source_id=source_id, created_at=iso(now)), {}
        customer = replace(known, **stamp, **self._changes(known, fields, is_bulk=is_bulk))
        self._customers[customer.id] = customer
        return customer

    def _key(self, source_id: str) -> str:
        """Return by what a source_id is found."""
        key = source_id.strip() if self._options.source_id_blanks == "trimmed" else source_id
        return key.casefold() if self._options.source_id_case == "insensitive" else key

    def _metadata(self, resource: str, metadata: Json) -> Json:
        """Return metadata as it is stored."""
        if self._options.undefined_metadata == "keep":
            return metadata
        rules = self._schemas.get(resource, {}).get("properties") or {}
        defined = {key for key, rule in rules.items() if not rule.get("deleted")}
        return {
            key: value if value is None or key in defined else as_text(value)
            for key, value in metadata.items()
        }

    def _changes(self, customer: StoredCustomer, fields: Json, *, is_bulk: bool) -> Json:
        """Return what fields that were checked change; a null empties its field."""
        changes: Json = {
            name: UNSET if fields[name] is None else fields[name] for name in TEXT_FIELDS if name in fields
        }
        if "address" in fields:
            kept = customer.address if self._options.address_update == "merge" else None
            address = {} if fields["address"] is None else {**(kept or {}), **fields["address"]}
            changes["address"] = {name: part for name, part in address.items() if part is not None} or None
        if "metadata" in fields:
            how, in_bulk = self._options.metadata_update, self._options.bulk_metadata_update
            kept = customer.metadata if (in_bulk if is_bulk and in_bulk != "same" else how) == "merge" else {}
            sent = fields["metadata"]
            changes["metadata"] = {} if sent is None else {**kept, **self._metadata("customer", sent)}
        return changes
