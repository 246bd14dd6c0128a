"""Make orders of events: what one event says of an order, and the fold of all that is said of it.

Segment's events of one order are states of it, as identify events are of a customer: for each field the latest value
wins. Amounts are exact decimals until they become whole numbers of minor units.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from msgspec import UNSET, Struct, UnsetType

from voucherify_sync.events import Event, Json
from voucherify_sync.field_types import (
    NOT_A_LIST,
    NOT_A_NUMBER,
    NOT_A_STATUS,
    NOT_TEXT,
    amount_of,
    number_of,
    present_text,
)
from voucherify_sync.fields import MAX_ITEMS, ORDER_AMOUNTS, ORDER_STATUSES, OrderItem
from voucherify_sync.findings import NO_ORDER_ID, REFUND_UNCLEAR
from voucherify_sync.mapping.drafts import ORDER, TOTAL, Draft, copied
from voucherify_sync.mapping.fold import UNTIMED, Update, Version, merge_versions, time_of
from voucherify_sync.outcomes import Outcome, State
from voucherify_sync.settings.types import KEEP, Orders

CANCELED: Final = "CANCELED"
PARTIAL_REFUND: Final = "partial_refund"
ITEM_UNUSABLE: Final = "item_unusable"
QUANTITY_UNUSABLE: Final = "quantity_unusable"

_LIKE_STATUSES: Final = {"CANCELLED": CANCELED}
_ITEM_IDS: Final = ("source_id", "product_id", "id", "sku")
_FIELDS_OF_ITEMS: Final = {"quantity", "price", "amount"}
_FIELDS_OF_NAMED_ITEMS: Final = _FIELDS_OF_ITEMS | {"related_object", "name", "product"}
_LATEST_FIELDS: Final = ("status", *ORDER_AMOUNTS, TOTAL, "items", "omits_items", "referrer", "customer")
_MAX_QUANTITY: Final = 2**31
_EARLIER: Final = -1
"""Place in the input of what an earlier run has read: before all that this one reads."""
_ENCODER: Final = msgspec.json.Encoder()
_decode = msgspec.json.decode


class OrderBody(Struct, omit_defaults=True, gc=False):
    """What one event says of an order; of the fields that are sent, those stand in the order in which they are sent.

    Attributes:
        total: the amount, if no item has a price.
        occurred_at: when the event happened, as ISO 8601 in UTC.
        is_refund: it may take back a part of the order only.
        omits_items: they are not sent, only what they amount to.
    """

    source_id: str
    status: str | UnsetType = UNSET
    amount: int | UnsetType = UNSET
    initial_amount: int | UnsetType = UNSET
    discount_amount: int | UnsetType = UNSET
    items: list[OrderItem] | UnsetType = UNSET
    referrer: Json | UnsetType = UNSET
    customer: Json | UnsetType = UNSET
    metadata: Json | UnsetType = UNSET
    total: int | UnsetType = UNSET
    occurred_at: str | UnsetType = UNSET
    is_refund: bool = False
    omits_items: bool | UnsetType = UNSET


class _NegativeAmountError(Exception):
    """An amount is below zero. The message is a sentence."""


def order_of(
    event: Event, draft: Draft, settings: Orders, status: str, *, tells_time: bool
) -> OrderBody | Outcome:
    """Return what an event says of an order, but for its customer; or how the event ends without one.

    Args:
        event: which; its time is set.
        draft: what rows made of it.
        settings: how amounts and products are read.
        status: that the name of the event gives.
        tells_time: the default table holds, with its row for the time.
    """
    values: Json = draft.parts.get(ORDER, {})
    order_id = present_text(values.get("source_id"))
    if order_id is None:
        if values.get("source_id") is not None:
            draft.drop(("source_id",), NOT_TEXT)
        return Outcome(event, State.SKIPPED, NO_ORDER_ID)
    if event.repaired and event.is_repaired(order_id):
        return Outcome(event, State.INVALID, "broken_id", f"the id of its order is broken text: {order_id}")
    body, reads = OrderBody(order_id), _Reader(draft, settings)
    try:
        reads.add_amounts(body, values)
    except _NegativeAmountError as error:
        return Outcome(event, State.INVALID, "negative_amount", str(error))
    if body.items is not UNSET and body.omits_items is False and len(body.items) > MAX_ITEMS:
        detail = f"the order has {len(body.items):,} items and Voucherify takes at most {MAX_ITEMS}"
        return Outcome(event, State.INVALID, "too_many_items", detail)
    told = reads.status(values.get("status"))
    if (given := told or status) != KEEP:
        body.status = given
        body.is_refund = told is None and given == CANCELED and "cancel" not in (event.name or "").lower()
    if (referrer := present_text(draft.parts.get("referrer", {}).get("source_id"))) is not None:
        body.referrer = {"source_id": referrer}
    if draft.metadata:
        body.metadata = draft.metadata
    if tells_time and event.time is not None:
        body.occurred_at = _iso(event.time)
    return body


def _iso(time: datetime) -> str:
    digits = "microseconds" if time.microsecond % 1000 else "milliseconds" if time.microsecond else "seconds"
    return time.astimezone(UTC).isoformat(timespec=digits).replace("+00:00", "Z")


class _Reader:
    """Reads the values of one order; what cannot be sent is dropped, and counted by the draft."""

    def __init__(self, draft: Draft, settings: Orders) -> None:
        self._draft = draft
        self._settings = settings

    def add_amounts(self, body: OrderBody, values: Json) -> None:
        """Give an order its amounts and its items.

        Raises:
            _NegativeAmountError: one is below zero.
        """
        for name in (*ORDER_AMOUNTS, TOTAL):
            if values.get(name) is not None:
                place = "amount" if name == TOTAL else name
                setattr(body, name, self.amount((place,), values[name]))
        if values.get("items") is not None:
            body.items = self.items(values["items"])
            body.omits_items = self._settings.products == "none"

    def status(self, value: Any) -> str | None:
        """Return a status of Voucherify in its spelling, or None."""
        if value is None:
            return None
        text = value.strip().upper() if isinstance(value, str) else ""
        status = _LIKE_STATUSES.get(text, text)
        if status in ORDER_STATUSES:
            return status
        self._draft.drop(("status",), NOT_A_STATUS)
        return None

    def amount(self, place: tuple[str, ...], value: Any) -> int | UnsetType:
        """Return an amount in minor units.

        Raises:
            _NegativeAmountError: it is below zero.
        """
        amount = amount_of(value, self._settings.minor_units)
        if amount is None:
            self._draft.drop(place, NOT_A_NUMBER)
            return UNSET
        if amount < 0:
            raise _NegativeAmountError(
                f"{'.'.join(place)} is {value}, and no amount of an order is below zero"
            )
        return amount

    def items(self, value: Any) -> list[OrderItem] | UnsetType:
        """Return the items of an order, of products as Segment has them or of items as Voucherify has them."""
        if isinstance(value, dict):
            value = [value]
        if not isinstance(value, list):
            self._draft.drop(("items",), NOT_A_LIST)
            return UNSET
        items = [self._item(each) if isinstance(each, dict) else None for each in value]
        for each in items if self._settings.products != "none" else ():
            if each is None:
                self._draft.drop(("items",), ITEM_UNUSABLE)
        return [each for each in items if each is not None] or UNSET

    def _item(self, product: Json) -> OrderItem | None:
        """Return an item; None for one that names no product and has no price."""
        item = OrderItem()
        for key in _ITEM_IDS:
            if (given := product.get(key)) is not None and (source_id := present_text(given)) is not None:
                kind = product.get("related_object")
                item.source_id = source_id
                item.related_object = kind if kind in ("product", "sku") else "product"
                break
        item.quantity = self._quantity(product.get("quantity"))
        if product.get("price") is not None:
            item.price = self.amount(("items", "price"), product["price"])
        if product.get("amount") is not None:
            item.amount = self.amount(("items", "amount"), product["amount"])
        if item.source_id is UNSET:
            return None if item.price is UNSET and item.amount is UNSET else item
        item.product = self._product(item, product)
        return item

    def _product(self, item: OrderItem, product: Json) -> Json | UnsetType:
        """Return what an item says of its product."""
        name, told = present_text(product.get("name")), product.get("product")
        about: Json = {} if name is None else {"name": name}
        if told is None and self._settings.products != "upsert":
            return about or UNSET  # as in nearly every event
        if isinstance(told, dict):
            about |= {key: value for key, value in copied(told).items() if value is not None}
            if "price" in about:
                about["price"] = self.amount(("items", "product", "price"), about["price"])
        if self._settings.products == "upsert":
            about = {"name": name, "price": item.price, **about, "override": True}
            about = {key: value for key, value in about.items() if value is not None}
        return {key: value for key, value in about.items() if value is not UNSET} or UNSET

    def _quantity(self, value: Any) -> int:
        """Return a whole number of at least 1; 1 for what is none."""
        if type(value) is int and 1 <= value < _MAX_QUANTITY:
            return value
        quantity = number_of(value)
        if quantity is not None and 1 <= quantity < _MAX_QUANTITY and quantity == int(quantity):
            return int(quantity)
        if value is not None:
            self._draft.drop(("items", "quantity"), QUANTITY_UNUSABLE)
        return 1


def shape_of_order(body: OrderBody) -> tuple[bool, ...]:
    """Return which fields the order of one event has, and whether some or all of its items have prices."""
    fields = (body.status, body.amount, body.initial_amount, body.discount_amount, body.total, body.referrer)
    priced = [
        item.price is not UNSET or item.amount is not UNSET
        for item in ([] if body.items is UNSET else body.items)
    ]
    return (*[each is UNSET for each in fields], bool(priced), any(priced), all(priced))


def unsent_keys(product: Json) -> list[str]:
    """Return the keys of a product whose values no item holds; none of a product that makes no item."""
    named_by, sent = None, _FIELDS_OF_ITEMS
    for key in _ITEM_IDS:
        if product.get(key) is not None and present_text(product[key]) is not None:
            named_by, sent = key, _FIELDS_OF_NAMED_ITEMS
            break
    else:
        if product.get("price") is None and product.get("amount") is None:
            return []  # counted as ITEM_UNUSABLE
    return [
        key for key, value in product.items() if key not in sent and key != named_by and value is not None
    ]


class FoldedOrder(Struct, frozen=True, gc=False):
    """An order as all its events together leave it.

    Attributes:
        source_id: of the order.
        payload: as it is sent: an item of an import. Empty where all its events are skipped.
        customer_id: whose order it is.
        updated_at: time of its latest event; None if none of them had one.
        source: position of that event.
        message_id: of that event; None if it has none.
        first_place: place in the input of its first event.
        state: the fold, on which a later run goes on; empty where it is not asked for.
        skipped: keys of the records that change nothing about it, with the reason.
        customers_differ: position of an event that names another customer than an earlier one; None if there is none.
        records: of which it is made and that are new.
    """

    source_id: str
    payload: bytes
    customer_id: str
    updated_at: datetime | None
    source: str
    message_id: str | None
    first_place: int
    state: bytes
    skipped: tuple[tuple[bytes, str], ...]
    customers_differ: str | None
    records: int


class _State(Struct, omit_defaults=True):
    """What is known of an order: each value with the version that it is of, and apart from it all cancellations.

    Whether one of these counts is only known with all that the order holds.
    """

    fields: dict[str, tuple[Version, Any]] = {}
    metadata: dict[str, tuple[Version, Any]] = {}
    occurred_at: tuple[int, str] | None = None
    cancels: list[tuple[Version, Json]] = []


class OrderProfile:
    """What the events of one order amount to so far.

    Attributes:
        records: of which it is made and that have not been sent before.
    """

    __slots__ = ("_customers", "_first_place", "_latest", "_state", "records")

    def __init__(self) -> None:
        self.records = 0
        self._state = _State()
        self._latest: Update | None = None
        self._first_place: int | None = None
        self._customers: dict[str, tuple[Version, str]] = {}  # and where each was named first

    def merge(self, update: Update) -> None:
        """Merge what one event says, by its version; whether a cancellation counts is known in the end."""
        version, order, place = update.version, update.body, update.place
        if update.news is not None:
            self.records += 1
        if self._latest is None or self._latest.version < version:
            self._latest = update
        customer_id = order["customer"]["source_id"]
        known = self._customers.get(customer_id)
        if known is None or version < known[0]:
            self._customers[customer_id] = (version, order["at"])
        if self._first_place is None or place < self._first_place:
            self._first_place = place
        if order.get("status") == CANCELED:
            self._state.cancels.append((version, order))
        else:
            _merge(self._state, version, order)

    def add_earlier(self, state: bytes) -> None:
        """Go on from what an earlier run sent."""
        earlier = _decode_state(state)
        for known, told in (
            (self._state.fields, earlier.fields),
            (self._state.metadata, earlier.metadata),
        ):
            for name, (version, value) in told.items():
                merge_versions(known, {name: value}, version)
        if earlier.occurred_at is not None:
            _note_time(self._state, *earlier.occurred_at)
        self._state.cancels += earlier.cancels
        if "customer" in earlier.fields:
            version, customer = earlier.fields["customer"]
            self._customers.setdefault(customer["source_id"], (version, ""))

    def folded(self, source_id: str, *, with_state: bool = True) -> FoldedOrder:
        """Return the order; the same for any order in which its events were merged."""
        latest, first_place = self._latest, self._first_place
        assert latest is not None and first_place is not None  # noqa: S101, PT018  # it has an event
        held = self._state
        state = _State(dict(held.fields), dict(held.metadata), held.occurred_at) if held.cancels else held
        skipped = []
        for version, order in sorted(held.cancels, key=lambda each: each[0]):
            reason = _reason_to_ignore(order, held)
            if reason is None:
                _merge(state, version, order)
            elif "key" in order:
                skipped.append((bytes.fromhex(order["key"]), reason))
        values = {name: value for name, (_, value) in state.fields.items()}
        metadata = {name: value for name, (_, value) in sorted(state.metadata.items())}
        if state.occurred_at is not None:
            metadata.setdefault("occurred_at", state.occurred_at[1])
        total = values.pop(TOTAL, None)
        items = values.get("items") or []
        if values.pop("omits_items", False):
            values.pop("items", None)
            total = _sum_of(items) if total is None else total
        elif any("price" in item or "amount" in item for item in items):
            total = None
        if total is not None:
            values.setdefault("amount", total)
        body = {"source_id": source_id, "status": values.pop("status", "CREATED")}
        body |= {name: values[name] for name in _LATEST_FIELDS if name in values}
        if metadata:
            body["metadata"] = metadata
        customer = values.get("customer")
        return FoldedOrder(
            source_id,
            b"" if customer is None else _ENCODER.encode(body),
            (customer or latest.body["customer"])["source_id"],
            time_of(latest.time),
            latest.body["at"],
            latest.message_id or None,
            first_place,
            _encode_state(held) if with_state else b"",
            tuple(skipped),
            max(told for told in self._customers.values() if told[1])[1]
            if len(self._customers) > 1
            else None,
            self.records,
        )


def with_record(payload: bytes, key: bytes, position: str) -> bytes:
    """Return what is folded of an OrderBody: with the key of its record, and where that was read."""
    return b'%b,"key":"%b","at":%b}' % (payload[:-1], key.hex().encode(), _ENCODER.encode(position))


def order_alone(payload: bytes) -> Json:
    """Return the order as one event alone makes it, of an OrderBody; a refund alone counts for the whole order."""
    profile = OrderProfile()
    order: Json = _decode(with_record(payload, b"", "")) | {"is_refund": False}
    profile.merge(Update(0, 0, "", 0, "track", order))
    body: Json = _decode(profile.folded(order["source_id"]).payload)
    return body


_decode_state = msgspec.json.Decoder(_State).decode


def _encode_state(state: _State) -> bytes:
    """Return what an order is known by for a later run, for which all of it comes before what that one reads."""

    def earlier(values: dict[str, tuple[Version, Any]]) -> dict[str, tuple[Version, Any]]:
        return {name: ((*version[:3], _EARLIER), value) for name, (version, value) in values.items()}

    cancels: dict[bytes, tuple[Version, Json]] = {}  # one that was read again is the same
    for version, order in state.cancels:
        body = {name: value for name, value in order.items() if name not in ("key", "at")}
        cancel = ((*version[:3], _EARLIER), body)
        cancels[_ENCODER.encode(cancel)] = cancel
    kept = _State(earlier(state.fields), earlier(state.metadata), state.occurred_at, list(cancels.values()))
    return _ENCODER.encode(kept)


def _merge(state: _State, version: Version, order: Json) -> None:
    merge_versions(state.fields, {name: order[name] for name in _LATEST_FIELDS if name in order}, version)
    merge_versions(state.metadata, order.get("metadata", {}), version)
    if "occurred_at" in order and version[0] != UNTIMED:
        _note_time(state, version[0], order["occurred_at"])


def _note_time(state: _State, time: int, text: str) -> None:
    if state.occurred_at is None or (time, text) < state.occurred_at:
        state.occurred_at = (time, text)


def _reason_to_ignore(order: Json, held: _State) -> str | None:
    """Tell why a cancellation leaves its order as it is: it names less than the order holds; None if it cancels it.

    One that names nothing cancels all. Where nothing tells what the order holds, a refund is unclear.
    """
    items, total = order.get("items"), order.get("amount", order.get(TOTAL))
    if not items and total is None:
        return None
    held_items = (held.fields.get("items") or (None, None))[1]
    if items and held_items:
        return PARTIAL_REFUND if _names_less(items, held_items) else None
    held_total = next(
        (held.fields[name][1] for name in ("amount", TOTAL) if name in held.fields), _sum_of(held_items or [])
    )
    if total is not None and held_total is not None and not items:
        return PARTIAL_REFUND if total < held_total else None
    return REFUND_UNCLEAR if order.get("is_refund") else None


def _names_less(items: list[Json], held: list[Json]) -> bool:
    """Tell whether an item of the order is missing, or its quantity is smaller."""
    named = _quantities(items)
    return any(named.get(item, 0) < quantity for item, quantity in _quantities(held).items())


def _quantities(items: list[Json]) -> dict[Any, int]:
    """Return quantities by product; items without an id are told apart by their price."""
    quantities: dict[Any, int] = {}
    for item in items:
        key = item.get("source_id") or ("", item.get("price"), item.get("amount"))
        quantities[key] = quantities.get(key, 0) + item.get("quantity", 1)
    return quantities


def _sum_of(items: list[Json]) -> int | None:
    if not items or not all("price" in item or "amount" in item for item in items):
        return None
    amounts = [item.get("amount", item.get("price", 0) * item.get("quantity", 1)) for item in items]
    total: int = sum(amounts)
    return total
