"""What the sandbox holds: customers, events, asynchronous actions. Checked requests come in; thread-safe."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from itertools import islice

import msgspec

from voucherify_sync.events import Json, Kind
from voucherify_sync.sandbox import customers as shapes
from voucherify_sync.sandbox.actions import Action, Actions
from voucherify_sync.sandbox.customers import Customer
from voucherify_sync.sandbox.events import ActivityQuery, Events, StoredEvent, select
from voucherify_sync.sandbox.options import SandboxOptions
from voucherify_sync.sandbox.oracle import Oracle
from voucherify_sync.sandbox.refusals import Refusal, not_found
from voucherify_sync.sandbox.times import epoch
from voucherify_sync.sandbox.validation import check_customer, check_metadata


class State:
    """The project. Each method is one step: nothing else happens while it runs.

    Attributes:
        app_id: an Application ID of this very start, so that no ledger of an earlier sandbox counts for it.
    """

    def __init__(self, options: SandboxOptions, oracle: Oracle, clock: Callable[[], float]) -> None:
        self.app_id = options.app_id or f"sandbox-{secrets.token_hex(4)}"
        self._options = options
        self._oracle = oracle
        self._clock = clock
        self._lock = threading.Lock()
        self._customers: dict[str, Customer] = {}
        self._id_of: dict[str, str] = {}
        self._events = Events(options.keep)
        self._actions = Actions(options.async_delay_s)
        self._schemas = {str(schema.get("related_object")): schema for schema in options.metadata_schemas}

    @property
    def customers(self) -> list[Customer]:
        """All customers, oldest first."""
        with self._lock:
            self._settle(self._clock())
            return list(self._customers.values())

    @property
    def events(self) -> list[StoredEvent]:
        """The events that are kept, oldest first."""
        with self._lock:
            return self._events.all()

    def counts(self) -> tuple[int, int]:
        """Return how many customers and events there are."""
        with self._lock:
            self._settle(self._clock())
            return len(self._customers), self._events.count

    def newest(self, limit: int) -> tuple[list[Customer], list[StoredEvent]]:
        """Return the latest customers and events, newest first, whatever the read lag."""
        with self._lock:
            self._settle(self._clock())
            return list(islice(reversed(self._customers.values()), limit)), self._events.newest(limit)

    def save_customer(self, fields: Json, payload: bytes) -> Customer:
        """Create or update a customer by its id or source_id."""
        with self._lock:
            now = self._clock()
            self._settle(now)
            return self._upsert(fields, payload, now, bulk=False)

    def update_customer(self, reference: str, fields: Json, payload: bytes) -> Customer:
        """Update the customer with this id or source_id; never creates one."""
        with self._lock:
            now = self._clock()
            self._settle(now)
            current = self._require(reference)
            check_metadata(self._schemas, fields.get("metadata"), creating=False)
            return self._store(shapes.update(current, fields, now, self._options), payload, now, bulk=False)

    def record_event(self, body: Json, payload: bytes) -> tuple[StoredEvent, Customer]:
        """Record a custom event and create or update its customer."""
        with self._lock:
            now = self._clock()
            self._settle(now)
            name: str = body["event"]
            if self._options.undefined_events == "reject" and name not in self._options.defined_events:
                raise not_found("event schema", name)
            customer = self._merge(body["customer"], now, unknown_id_status=400)
            self._customers[customer.id] = customer
            event = self._events.add(name, customer, payload, now)
            self._oracle.record_processed(Kind.EVENT, event.source_id, name, payload, now)
            return event, customer

    def submit_bulk(self, items: list[Json], *, doomed: bool) -> Action:
        """Enqueue a bulk update."""
        with self._lock:
            now = self._clock()
            self._settle(now)
            return self._actions.submit(items, now, doomed=doomed)

    def action(self, action_id: str) -> Json:
        """Return an asynchronous action as the API shows it."""
        with self._lock:
            now = self._clock()
            self._settle(now)
            action = self._actions.get(action_id)
            if action is None:
                raise not_found("async_action", action_id)
            return action.view(now)

    def actions(self, limit: int) -> list[Json]:
        """Return the latest asynchronous actions, newest first, without their results."""
        with self._lock:
            now = self._clock()
            self._settle(now)
            return [action.view(now, result=False) for action in self._actions.newest(limit)]

    def customer(self, reference: str) -> Customer:
        """Find a customer by id or source_id, as a read sees it."""
        with self._lock:
            now = self._clock()
            self._settle(now)
            customer = self._require(reference)
            if not self._visible(customer, now):
                raise not_found("customer", reference)
            return customer

    def page(self, page: int, limit: int, *, newest_first: bool) -> tuple[list[Customer], int]:
        """Return one page of the customers, as a read sees them, and how many there are."""
        with self._lock:
            now = self._clock()
            self._settle(now)
            everyone = self._customers.values()
            ordered = reversed(everyone) if newest_first else iter(everyone)
            shown = (customer for customer in ordered if self._visible(customer, now))
            return list(islice(shown, (page - 1) * limit, page * limit)), len(everyone)

    def activity(self, reference: str, query: ActivityQuery) -> tuple[Customer, list[StoredEvent], bool]:
        """Return a customer, a page of its events as a read sees them, and whether there is more."""
        with self._lock:
            now = self._clock()
            customer = self._require(reference)
            seen = (
                event for event in self._events.of(customer.id) if event.at <= now - self._options.read_lag_s
            )
            return customer, *select(seen, query)

    def _visible(self, customer: Customer, now: float) -> bool:
        lag = self._options.read_lag_s
        return lag == 0 or epoch(customer.created_at, "created_at") <= now - lag

    def _require(self, reference: str) -> Customer:
        found = self._customers.get(self._id_of.get(reference, reference))
        if found is None:
            raise not_found("customer", reference)
        return found

    def _upsert(self, fields: Json, payload: bytes, now: float, *, bulk: bool) -> Customer:
        return self._store(self._merge(fields, now), payload, now, bulk=bulk)

    def _store(self, customer: Customer, payload: bytes, now: float, *, bulk: bool) -> Customer:
        self._customers[customer.id] = customer
        source_id = customer.source_id if isinstance(customer.source_id, str) else None
        self._oracle.record_processed(Kind.CUSTOMER, source_id, None, payload, now, bulk=bulk)
        return customer

    def _merge(self, fields: Json, now: float, unknown_id_status: int = 404) -> Customer:
        """Return the customer as these fields leave it; nothing but the index of a new source_id changes."""
        current = self._current(fields, unknown_id_status)
        check_metadata(self._schemas, fields.get("metadata"), creating=current is None)
        if current is not None:
            return shapes.update(current, fields, now, self._options)
        created = shapes.create(fields, now, self._options)
        if isinstance(created.source_id, str):
            self._id_of[created.source_id] = created.id
        return created

    def _current(self, fields: Json, unknown_id_status: int) -> Customer | None:
        """Find the customer that these fields name: by id, else by source_id."""
        customer_id = fields.get("id")
        if customer_id is not None:
            found = self._customers.get(customer_id)
            if found is None:
                raise not_found("customer", customer_id, unknown_id_status)
            return found
        source_id = fields.get("source_id")
        return None if source_id is None else self._customers.get(self._id_of.get(source_id, ""))

    def _settle(self, now: float) -> None:
        """Carry out the asynchronous actions whose time has come."""
        for action in self._actions.due(now):
            if not action.doomed:
                for item in action.items:
                    self._apply(item, action)
            action.items = []
            action.finished = True

    def _apply(self, item: Json, action: Action) -> None:
        try:
            fields = check_customer(item, "", self._options.unknown_fields)
            self._upsert(fields, msgspec.json.encode(item), action.ends, bulk=True)
            action.done += 1
        except Refusal as refusal:
            action.refuse(item["source_id"], refusal)
