"""What one event says of an order: each row of the default table, each reason, each odd value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from support.settings_text import loaded

from voucherify_sync.events import Batch, Json, Kind, Request
from voucherify_sync.findings import FINDINGS, NO_ORDER_ID, ORDER_IDS_OF_MESSAGES
from voucherify_sync.mapping.filters import Selection
from voucherify_sync.mapping.orders import order_alone
from voucherify_sync.outcomes import State, find
from voucherify_sync.run.pipeline import Pipeline
from voucherify_sync.timestamps import parse_time

PRODUCTS = [
    {
        "product_id": "507f1f77bcf86cd799439011",
        "sku": "45790-32",
        "name": "Monopoly: 3rd Edition",
        "price": 19,
    },
    {
        "product_id": "505bd76785ebb509fc183733",
        "sku": "46493-32",
        "name": "Uno Card Game",
        "price": 3,
        "quantity": 2,
    },
]
LAMP = {"source_id": "lamp", "related_object": "product", "quantity": 1}


class Mapped:
    """What settings make of one event, and what they dropped of it."""

    def __init__(self, folder: Path, settings: str, event: Json, selection: Selection | None = None) -> None:
        self.pipeline = Pipeline(
            loaded(folder, f"orders:\n  disabled: false\n{settings}"), selection or Selection()
        )
        line = msgspec.json.encode({"type": "track", "messageId": "m", "userId": "u", **event})
        ((self.decision,),) = self.pipeline.batches(Batch.of("a", 1, [line]))

    @property
    def order(self) -> Json:
        """The order as this event alone makes it, but for its customer, its id and its status."""
        assert isinstance(self.decision, Request), self.decision.reason
        assert self.decision.kind is Kind.ORDER
        body = order_alone(self.decision.payload)
        assert body.pop("customer") == {"source_id": "u"}
        return {
            name: value
            for name, value in body.items()
            if (name, value) not in (("source_id", "o"), ("status", "PAID"))
        }

    @property
    def reason(self) -> str | None:
        """Why there is no request."""
        assert not isinstance(self.decision, Request), self.decision.body
        return self.decision.reason

    @property
    def is_order(self) -> bool:
        """It is one."""
        return isinstance(self.decision, Request) and self.decision.kind is Kind.ORDER

    @property
    def dropped(self) -> dict[str, dict[str, int]]:
        """What was dropped."""
        return self.pipeline.mapper.stats.sections["orders"].dropped


def of(**properties: Any) -> Json:
    """Return an event of the order o."""
    return {"event": "Order Completed", "properties": {"order_id": "o", **properties}}


def test_the_order_of_two_products_is_as_segment_documents_it(tmp_path: Path) -> None:
    """Items decide where they have prices; shipping, tax and discount are in no item."""
    properties = {
        "order_id": "50314b8e9bcf000000000000",
        "total": 27.5,
        "revenue": 25.0,
        "shipping": 3,
        "tax": 2,
        "discount": 2.5,
        "coupon": "hasbros",
        "currency": "USD",
        "products": [{**PRODUCTS[0], "quantity": 1}, PRODUCTS[1]],
    }
    event = {
        "event": "Order Completed",
        "userId": "u1",
        "timestamp": "2021-03-04T05:06:07Z",
        "properties": properties,
    }
    mapped = Mapped(tmp_path, "", event)
    assert isinstance(mapped.decision, Request)
    assert msgspec.json.encode(order_alone(mapped.decision.payload)).decode() == (
        '{"source_id":"50314b8e9bcf000000000000","status":"PAID","items":['
        '{"source_id":"507f1f77bcf86cd799439011","related_object":"product","quantity":1,"price":1900,'
        '"product":{"name":"Monopoly: 3rd Edition"}},'
        '{"source_id":"505bd76785ebb509fc183733","related_object":"product","quantity":2,"price":300,'
        '"product":{"name":"Uno Card Game"}}],"customer":{"source_id":"u1"},'
        '"metadata":{"coupon":"hasbros","currency":"USD","occurred_at":"2021-03-04T05:06:07Z"}}'
    )


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({"order_id": 50314}, {"source_id": "50314"}),
        ({"order_id": 50314.0}, {"source_id": "50314"}),
        ({"order_id": 0}, {"source_id": "0"}),
        ({"order_id": " x "}, {"source_id": " x "}),
        ({"order_id": None, "orderId": "p"}, {"source_id": "p"}),
        ({"total": 5, "revenue": 4}, {"amount": 500}),
        ({"revenue": "4.00"}, {"amount": 400}),
        ({"total": "27.505"}, {"amount": 2751}),
        ({"total": 27.505}, {"amount": 2751}),
        ({"total": "27.504999"}, {"amount": 2750}),
        ({"total": " 1e1 "}, {"amount": 1000}),
        ({"total": 0}, {"amount": 0}),
        ({"currency": "EUR", "coupon": None}, {"metadata": {"currency": "EUR"}}),
        ({"total": 5, "products": []}, {"amount": 500}),
        ({"total": 5, "products": [{"id": "lamp"}]}, {"amount": 500, "items": [LAMP]}),
        ({"total": 5, "products": [{"sku": "lamp", "price": 2}]}, {"items": [{**LAMP, "price": 200}]}),
        ({"products": {"sku": "lamp"}}, {"items": [LAMP]}),
        ({"products": [{"product_id": 7, "id": "x"}]}, {"items": [{**LAMP, "source_id": "7"}]}),
        ({"products": [{"product_id": " ", "id": "lamp", "sku": "x"}]}, {"items": [LAMP]}),
        ({"products": [{"price": "2.5", "quantity": "3"}]}, {"items": [{"quantity": 3, "price": 250}]}),
        ({"products": [{"id": "lamp", "quantity": 2.0}]}, {"items": [{**LAMP, "quantity": 2}]}),
        ({"products": [{"id": "lamp", "name": 7}]}, {"items": [{**LAMP, "product": {"name": "7"}}]}),
        ({"products": [{"id": "lamp", "amount": 0}]}, {"items": [{**LAMP, "amount": 0}]}),
    ],
    ids=str,
)
def test_each_value_goes_to_its_place(tmp_path: Path, properties: Json, expected: Json) -> None:
    """By the default table."""
    mapped = Mapped(tmp_path, "", of(**properties))
    assert (mapped.order, mapped.dropped) == (expected, {})


@pytest.mark.parametrize(
    ("properties", "expected", "dropped"),
    [
        ({"total": "free"}, {}, {"amount": {"not_a_number": 1}}),
        ({"total": True}, {}, {"amount": {"not_a_number": 1}}),
        ({"total": "1,50"}, {}, {"amount": {"not_a_number": 1}}),
        ({"total": 10**20}, {}, {"amount": {"not_a_number": 1}}),
        ({"products": "lamp"}, {}, {"items": {"not_a_list": 1}}),
        ({"products": ["lamp", {"name": "Lamp"}]}, {}, {"items": {"item_unusable": 2}}),
        (
            {"products": [{"id": "lamp", "quantity": 0}]},
            {"items": [LAMP]},
            {"items.quantity": {"quantity_unusable": 1}},
        ),
        (
            {"products": [{"id": "lamp", "quantity": 1.0001}]},
            {"items": [LAMP]},
            {"items.quantity": {"quantity_unusable": 1}},
        ),
        (
            {"products": [{"id": "lamp", "quantity": "two"}]},
            {"items": [LAMP]},
            {"items.quantity": {"quantity_unusable": 1}},
        ),
        (
            {"products": [{"id": "lamp", "price": "?"}]},
            {"items": [LAMP]},
            {"items.price": {"not_a_number": 1}},
        ),
    ],
    ids=str,
)
def test_what_cannot_be_sent_is_dropped_and_counted(
    tmp_path: Path, properties: Json, expected: Json, dropped: Json
) -> None:
    """The rest of the order goes on."""
    mapped = Mapped(tmp_path, "", of(**properties))
    assert (mapped.order, mapped.dropped) == (expected, dropped)


@pytest.mark.parametrize(
    ("properties", "reason"),
    [
        ({"order_id": None}, "no_order_id"),
        ({"order_id": " "}, "no_order_id"),
        ({"order_id": True}, "no_order_id"),
        ({"order_id": ["o"]}, "no_order_id"),
        ({"total": -1}, "negative_amount"),
        ({"revenue": "-0.01"}, "negative_amount"),
        ({"products": [{"id": "a", "price": -1}]}, "negative_amount"),
        ({"products": [{"id": str(n)} for n in range(501)]}, "too_many_items"),
    ],
    ids=lambda value: value if isinstance(value, str) else str(value)[:40],
)
def test_what_makes_no_order_says_why(tmp_path: Path, properties: Json, reason: str) -> None:
    """Skipped or invalid."""
    assert Mapped(tmp_path, "", of(**properties)).reason == reason


@pytest.mark.parametrize(
    ("ids", "order_id"),
    [
        ({"order_id": "o1", "orderId": "o2"}, "o1"),
        ({"orderId": 42}, "42"),
        ({"order_id": 0}, "0"),
        ({"order_id": ""}, "m"),
        ({"order_id": None}, "m"),
        ({}, "m"),
    ],
    ids=str,
)
def test_the_remedy_for_orders_without_id_keeps_each_id_that_is_there(
    tmp_path: Path, ids: Json, order_id: str
) -> None:
    """As it is pasted below `orders:`; both remedies name it, and the table that rows of orders replace."""
    event = {"event": "Order Completed", "properties": {"total": 1, **ids}}
    mapped = Mapped(tmp_path, f"  {ORDER_IDS_OF_MESSAGES}\n", event)
    assert mapped.order.get("source_id") == order_id
    skipped = find(State.SKIPPED, NO_ORDER_ID)
    assert skipped is not None
    for remedy in (skipped.remedy, FINDINGS[NO_ORDER_ID].remedy):
        assert ORDER_IDS_OF_MESSAGES in remedy
        assert "extend_default: true" in remedy


def test_five_hundred_items_are_taken_and_a_broken_id_is_not(tmp_path: Path) -> None:
    """Two orders with broken ids could become one."""
    items = Mapped(tmp_path, "", of(products=[{"id": str(n)} for n in range(500)] + [{}])).order["items"]
    assert len(items) == 500
    line = b'{"type":"track","userId":"u","event":"Order Completed","properties":{"order_id":"o\xff"}}'
    ((decision,),) = Pipeline(loaded(tmp_path, "orders: {disabled: false}"), Selection()).batches(
        Batch.of("a", 1, [line])
    )
    assert not isinstance(decision, Request)
    assert decision.reason == "broken_id"


def test_an_event_names_its_customer_by_the_rules_of_ids(tmp_path: Path) -> None:
    """One without any makes no order."""
    assert Mapped(tmp_path, "", {**of(), "userId": None}).reason == "no_id"
    mapped = Mapped(tmp_path, "", {**of(), "userId": " ", "anonymousId": 5})
    assert isinstance(mapped.decision, Request)
    assert (mapped.decision.source_id, mapped.decision.is_anonymous) == ("5", True)


@pytest.mark.parametrize(
    ("settings", "properties", "expected"),
    [
        ("minor_units: 1", {"total": "2.5"}, {"amount": 3}),
        ("minor_units: 1000", {"total": "2.0005"}, {"amount": 2001}),
        (
            "products: upsert",
            {"products": [{"id": "lamp", "price": 2, "name": "L"}]},
            {"items": [{**LAMP, "price": 200, "product": {"name": "L", "price": 200, "override": True}}]},
        ),
        (
            "products: upsert",
            {"products": [{"id": "lamp"}]},
            {"items": [{**LAMP, "product": {"override": True}}]},
        ),
        ("products: none", {"total": 9, "products": [{"id": "lamp", "price": 2}]}, {"amount": 900}),
        ("products: none", {"products": [{"id": "lamp", "price": 2, "quantity": 3}]}, {"amount": 600}),
        ("products: none", {"products": [{"id": str(n)} for n in range(501)]}, {}),
        (
            'set: {source_id: {"@path": $.messageId}}',
            {"order_id": None, "total": 1},
            {"source_id": "m", "amount": 100},
        ),
        (
            (
                "set: {items: {'@arrayPath': [$.properties.lines, "
                "{product_id: {'@path': $.code}, price: {'@path': $.cost}}]}}"
            ),
            {"lines": [{"code": "lamp", "cost": 2}]},
            {"items": [{**LAMP, "price": 200}]},
        ),
        ("add: {metadata.replayed: true}", {"total": 1}, {"amount": 100, "metadata": {"replayed": True}}),
        (
            "mapping: {properties.order_id: source_id, properties.revenue: amount}",
            {"revenue": 2, "total": 3, "coupon": "C"},
            {"amount": 200},
        ),
        (
            "mapping: {properties.order_id: source_id, properties.products: items, properties.paid: amount}",
            {"paid": 5, "products": [{"id": "lamp", "price": 2}]},
            {"amount": 500, "items": [{**LAMP, "price": 200}]},
        ),
        (
            "extend_default: true\n  mapping: {properties.shop: metadata.shop, properties.seller: referrer.source_id}",
            {"shop": "S", "seller": 3, "coupon": "C"},
            {"referrer": {"source_id": "3"}, "metadata": {"coupon": "C", "shop": "S"}},
        ),
        (
            "extend_default: true\n  mapping: {properties.off: discount_amount, properties.before: initial_amount}",
            {"off": "1.5", "before": 4},
            {"initial_amount": 400, "discount_amount": 150},
        ),
        (
            "extend_default: true\n  mapping: {properties.state: status}",
            {"state": " cancelled "},
            {"status": "CANCELED"},
        ),
        ("extend_default: true\n  mapping: {properties.state: status}", {"state": "shipped"}, {}),
    ],
    ids=lambda value: value[:50] if isinstance(value, str) else "",
)
def test_settings_change_what_is_made(
    tmp_path: Path, settings: str, properties: Json, expected: Json
) -> None:
    """Rows replace the table; `set` and `add` do not."""
    assert Mapped(tmp_path, f"  {settings}\n", of(**properties)).order == expected


@pytest.mark.parametrize(
    ("name", "events", "status"),
    [
        ("Completed Order", "", "PAID"),
        ("Order Updated", "", "CREATED"),
        ("Order Refunded", "", "CANCELED"),
        ("Order Cancelled", "", "CANCELED"),
        ("order completed", "", None),
        ("Order Canceled", "", None),
        ("Order Canceled", "{Order Cancel*: CANCELED}", "CANCELED"),
        ("Order Shipped", "{Order *: keep, Order Shipped: FULFILLED}", "FULFILLED"),
        ("Order Lost", "{Order *: keep, Order Shipped: FULFILLED}", "CREATED"),
        ("Order Completed", "{Purchase: PAID}", None),
    ],
)
def test_the_name_of_an_event_gives_the_status(
    tmp_path: Path, name: str, events: str, status: str | None
) -> None:
    """An exact name wins over a pattern; no other event is one of an order."""
    mapped = Mapped(tmp_path, f"  events: {events}\n" if events else "", {**of(), "event": name})
    assert mapped.is_order is (status is not None)
    assert isinstance(mapped.decision, Request)
    if status is not None:
        assert order_alone(mapped.decision.payload)["status"] == status


@pytest.mark.parametrize("kind", ["page", "screen", "identify"])
def test_only_track_events_are_orders(tmp_path: Path, kind: str) -> None:
    """Whatever the name of another one says."""
    event = {**of(), "type": kind, "name": "Order Completed", "traits": {"email": "a@example.com"}}
    assert not Mapped(tmp_path, "page: {disabled: false}\nscreen: {disabled: false}\n", event).is_order


@pytest.mark.parametrize(
    ("settings", "event", "selection", "reason"),
    [
        ("track: {disabled: true}", {}, {}, None),
        ("track: {events_filter: [Other]}", {}, {}, None),
        ("track: {events_exclude: [Order *]}", {}, {}, None),
        ("track: {events: {Order Completed: {disabled: true}}}", {}, {}, None),
        ("track: {events: {Order Completed: {rename: Bought}}}", {}, {}, None),
        ("track: {where: 'properties.total > 100'}", {}, {}, None),
        ("  where: 'properties.total > 100'", {}, {}, "where"),
        ("identity: {ignore_anonymous: true}", {"userId": None, "anonymousId": "a"}, {}, "anonymous"),
        ("", {"integrations": {"Voucherify": False}}, {}, "integration_off"),
        ("", {}, {"types": frozenset({"identify"})}, "not_selected"),
        ("", {}, {"names": frozenset({"Other"})}, "not_selected"),
        ("", {}, {"where": 'event = "Other"'}, "not_selected"),
        ("", {}, {"users": frozenset({"v"})}, "user_not_selected"),
        ("", {}, {"exclude_ids": frozenset({"u"})}, "excluded_id"),
        ("", {"timestamp": "2020-01-01T00:00:00Z"}, {"since": "2021"}, "out_of_period"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_rules_of_track_do_not_concern_orders_and_those_of_all_events_do(
    tmp_path: Path, settings: str, event: Json, selection: dict[str, Any], reason: str | None
) -> None:
    """Names are those of the events as they came."""
    if "since" in selection:
        selection = {"since": parse_time("2021-01-01T00:00:00Z")}
    mapped = Mapped(tmp_path, f"{settings}\n", {**of(total=5), **event}, Selection(**selection))
    assert mapped.is_order if reason is None else mapped.reason == reason


@pytest.mark.parametrize(
    ("times", "occurred_at"),
    [
        ({}, None),
        ({"timestamp": "soon"}, None),
        ({"timestamp": "2021-03-04T06:06:07.120+01:00"}, "2021-03-04T05:06:07.120Z"),
        ({"timestamp": "2021-03-04T05:06:07.123456Z"}, "2021-03-04T05:06:07.123456Z"),
        ({"originalTimestamp": "2021-03-04T05:06:07Z"}, "2021-03-04T05:06:07Z"),
        (
            {"timestamp": "2031-03-04T05:06:07.000Z", "receivedAt": "2021-03-04T05:06:07.000Z"},
            "2021-03-04T05:06:07Z",
        ),
    ],
    ids=str,
)
def test_the_time_is_that_of_the_event(tmp_path: Path, times: Json, occurred_at: str | None) -> None:
    """As far as it can be read; a wrong clock gives way. A row of one's own wins, as the table is replaced then."""
    metadata = Mapped(tmp_path, "", {**of(), **times}).order.get("metadata", {})
    assert metadata.get("occurred_at") == occurred_at
    own = "  mapping: {properties.order_id: source_id, properties.day: metadata.occurred_at}\n"
    assert Mapped(tmp_path, own, {**of(day="D"), **times}).order["metadata"] == {"occurred_at": "D"}


def test_items_of_an_envelope_are_orders_too(tmp_path: Path) -> None:
    """Each is a record of its own."""
    line = msgspec.json.encode(
        {"batch": [{"type": "track", "userId": "u", "messageId": str(n), **of()} for n in range(2)]}
    )
    (decisions,) = Pipeline(loaded(tmp_path, "orders: {disabled: false}"), Selection()).batches(
        Batch.of("a", 1, [line])
    )
    assert [isinstance(each, Request) and str(each.event.position) for each in decisions] == [
        "a:1[0]",
        "a:1[1]",
    ]
