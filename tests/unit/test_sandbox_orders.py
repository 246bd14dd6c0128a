"""Orders in the sandbox: imported, found, refused; each undocumented behaviour both ways, and the faults."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.openapi import as_json_schema
from support.sandbox_client import BULK, CUSTOMERS, EVENTS, IMPORT, Reply, call, customer, event, order

from voucherify_sync.events import Kind
from voucherify_sync.sandbox import Fault, Sandbox, SandboxOptions
from voucherify_sync.sandbox.validation import ApiRefusal, check_order

ITEM = {"source_id": "tea", "related_object": "product", "quantity": 2, "price": 450}
STORED = {**ITEM, "product": {"name": "Tea", "price": 450, "override": True}}


@pytest.fixture(scope="module")
def strict() -> Iterator[Sandbox]:
    """Run a sandbox with all its defaults."""
    with Sandbox() as running:
        yield running


def action_of(sandbox: Sandbox, reply: Reply) -> Reply:
    """Return the answer to a call for the action that an import was answered with."""
    return call(sandbox, "GET", f"/v1/async-actions/{reply.body['async_action_id']}")


def imported(sandbox: Sandbox, *orders: dict[str, Any]) -> Any:
    """Import orders, and return the result of the action."""
    reply = call(sandbox, "POST", IMPORT, list(orders))
    assert reply.status == 200, reply.body
    return action_of(sandbox, reply).body["result"]


def held(sandbox: Sandbox, reference: str = "o1") -> Any:
    """Return an order as a read shows it."""
    return call(sandbox, "GET", f"/v1/orders/{reference}").body


def test_an_order_is_imported_with_its_customer_and_found_by_either_id() -> None:
    """The customer has its id alone; no event is made; the call log has the order as it came."""
    sent = order(status="PAID", items=[ITEM, {"price": 50, "quantity": 1}], metadata={"currency": "EUR"})
    with Sandbox() as sandbox:
        reply = call(sandbox, "POST", IMPORT, [sent])
        assert (reply.status, list(reply.body)) == (200, ["async_action_id"])
        action = action_of(sandbox, reply).body
        assert (action["type"], action["status"]) == ("ORDERS.IMPORT", "DONE")
        assert "operation_status" not in action
        assert action["result"] == {
            "message": "1 order(s) imported successfully, 0 failed.",
            "failed": [],
            "done_count": 1,
            "failed_count": 0,
        }
        shown = held(sandbox)
        assert held(sandbox, shown["id"]) == shown
        assert (shown["status"], shown["amount"], shown["metadata"]) == ("PAID", 950, {"currency": "EUR"})
        assert [each["amount"] for each in shown["items"]] == [900, 50]
        buyer = call(sandbox, "GET", f"{CUSTOMERS}/u1").body
        assert shown["customer_id"] == buyer["id"]
        assert {"name", "email", "updated_at"}.isdisjoint(buyer)
        assert call(sandbox, "GET", f"{CUSTOMERS}/u1/activity").body["data"] == []
        [done] = sandbox.call_log.processed
        assert (done.kind, done.source_id, done.name, done.event_id) == (Kind.ORDER, "u1", "o1", shown["id"])
        assert (done.is_bulk, done.body) == (True, sent)


def test_a_whole_customer_updates_the_one_that_is_known() -> None:
    """What the order says of it is stored, and the customer's required metadata is not missed."""
    schema = {"related_object": "customer", "properties": {"plan": {"type": "string", "optional": False}}}
    with Sandbox(SandboxOptions(metadata_schemas=(schema,))) as sandbox:
        assert imported(sandbox, order(), order("o2", referrer={"source_id": "u2"}))["done_count"] == 2
        imported(sandbox, order(customer=customer(name="Ann")))
        assert [each.name for each in sandbox.store.customers if each.source_id == "u1"] == ["Ann"]
        assert sandbox.counts()[0] == 2


def test_orders_without_a_source_id_are_new_each_time() -> None:
    """It may be null; there is nothing by which the order could be known."""
    with Sandbox() as sandbox:
        imported(sandbox, order(None), order(None))
        assert len(sandbox.store.orders) == 2


def with_item(**fields: Any) -> dict[str, Any]:
    """Return an order of one item."""
    return order(items=[fields])


NO_INTEGERS = ["5", 1.0, 1.5, True, None, [1]]
REFUSED = [
    ("", {"source_id": "o1"}, "Payload must be array"),
    ("", [order()] * 2001, "Payload should NOT have more than 2000 items"),
    ("", ["o1"], "Property [0] must be object"),
    ("", [order(), {"source_id": "o1"}], "Property [1] should have required property 'customer'"),
    *(
        ("customer", order(customer=value), says)
        for value, says in [
            ({}, "[0].customer should have required property 'source_id'"),
            ({"id": "cust_1"}, "[0].customer should have required property 'source_id'"),
            ("u1", "[0].customer must be object"),
            (None, "[0].customer must be object"),
            (customer(email=5), "[0].customer.email should be string,null"),
            (customer(""), "[0].customer.source_id should NOT be shorter"),
        ]
    ),
    ("source_id", order(5), "[0].source_id should be string"),
    ("source_id", order(""), "[0].source_id should NOT be shorter"),
    *(("status", order(status=value), "[0].status should be equal to one of") for value in ("paid", "", "X")),
    ("status", order(status=None), "[0].status should be string"),
    *(("amount", order(amount=value), "[0].amount should be integer") for value in NO_INTEGERS),
    ("amount", order(amount=-1), "[0].amount cannot be lower than 0"),
    ("items", order(items={}), "[0].items must be array"),
    ("items", order(items=[{}] * 501), "[0].items should NOT have more than 500 items"),
    ("items", order(items=["tea"]), "[0].items[0] must be object"),
    *(("price", with_item(price=value), "[0].items[0].price should be integer") for value in NO_INTEGERS),
    ("price", with_item(price=-5), "[0].items[0].price cannot be lower than 0"),
    ("quantity", with_item(quantity=0), "[0].items[0].quantity cannot be lower than 1"),
    ("quantity", with_item(quantity=1.0), "[0].items[0].quantity should be integer"),
    ("quantity", with_item(initial_quantity=0), "[0].items[0].initial_quantity cannot be lower than 1"),
    ("kind", with_item(related_object="shop"), "[0].items[0].related_object should be equal to one of"),
    ("product", with_item(product="tea"), "[0].items[0].product must be object"),
    ("product", with_item(product={"override": 1}), "[0].items[0].product.override should be boolean"),
    ("product", with_item(product={"price": "1"}), "[0].items[0].product.price should be number"),
    ("product", with_item(product={"price": True}), "[0].items[0].product.price should be number"),
    ("metadata", order(metadata=[]), "[0].metadata must be object"),
]


@pytest.mark.parametrize(
    ("body", "says"),
    [pytest.param(body, says, id=f"{name or 'body'} {says}") for name, body, says in REFUSED],
)
def test_an_import_that_breaks_a_rule_is_refused_as_a_whole(strict: Sandbox, body: Any, says: str) -> None:
    """400 with the property; no action is started."""
    actions, is_order = len(strict.store.actions), isinstance(body, dict) and "customer" in body
    status, key, details = call(strict, "POST", IMPORT, [body] if is_order else body).error
    assert (status, key) == (400, "invalid_payload")
    assert says in (details or "")
    assert len(strict.store.actions) == actions


def test_an_import_may_have_2000_orders_of_500_items_but_not_more_than_10_mib(strict: Sandbox) -> None:
    """One byte more is 413, in the words of the framework."""
    assert imported(strict, *[order(f"many {number}") for number in range(2000)])["done_count"] == 2000
    assert imported(strict, order("long", items=[{"price": 1}] * 500))["done_count"] == 1
    largest = json.dumps([order("big", metadata={"pad": ""})])
    padded = largest.replace('"pad": ""', f'"pad": "{"x" * (10_485_760 - len(largest))}"').encode()
    assert call(strict, "POST", IMPORT, padded).status == 200
    assert call(strict, "POST", IMPORT, padded + b" ").status == 413


@pytest.mark.parametrize("place", ["order", "item", "product"])
def test_an_unknown_field_of_an_order_is_ignored_or_refused(place: str) -> None:
    """Of the order, its items and their products."""
    body = {
        "order": order(odd=1),
        "item": with_item(odd=1),
        "product": with_item(product={"odd": 1}),
    }[place]
    with Sandbox() as sandbox:
        assert imported(sandbox, body)["done_count"] == 1
        assert "odd" not in json.dumps(held(sandbox))
    with Sandbox(SandboxOptions(unknown_fields="reject")) as sandbox:
        assert "odd is not allowed" in (call(sandbox, "POST", IMPORT, [body]).error[2] or "")


@pytest.mark.parametrize(
    ("how", "done", "status", "count", "metadata"),
    [
        ("upsert", 1, "PAID", 1, {"a": "1", "b": "2"}),
        ("fail", 0, "CREATED", 1, {"a": "1"}),
        ("double", 1, "PAID", 2, {"b": "2"}),
    ],
)
def test_an_order_that_is_known_is_updated_refused_or_doubled(
    how: Any, done: int, status: str, count: int, metadata: Any
) -> None:
    """A doubled one hides the first from reads by source_id, but not from reads by id."""
    with Sandbox(SandboxOptions(order_existing=how)) as sandbox:
        imported(sandbox, order(metadata={"a": "1"}, items=[ITEM]))
        first = held(sandbox)
        result = imported(sandbox, order(status="PAID", metadata={"b": "2"}))
        assert (result["done_count"], result["failed_count"]) == (done, 1 - done)
        shown = held(sandbox)
        assert (shown["status"], shown["metadata"], len(sandbox.store.orders)) == (status, metadata, count)
        assert (shown["id"] == first["id"]) == (how != "double")
        assert len(shown.get("items", [])) == (0 if how == "double" else 1)
        assert held(sandbox, first["id"])["source_id"] == "o1"
        if how == "fail":
            assert result["failed"] == [
                {"source_id": "o1", "reason": "Order with source_id o1 already exists"}
            ]


FAILING = [
    ("order_amount_mismatch", order(amount=1, items=[ITEM]), order(amount=900, items=[ITEM])),
    ("order_zero_amount", order(amount=0), order(amount=1)),
    ("order_unknown_product", order(items=[ITEM]), order(items=[STORED])),
]


@pytest.mark.parametrize(("switch", "odd", "usual"), FAILING, ids=[row[0] for row in FAILING])
def test_an_odd_order_is_accepted_or_fails_alone(switch: str, odd: Any, usual: Any) -> None:
    """In the result of the action, and the others of the import are imported."""
    for how, done in (("accept", 3), ("fail", 2)):
        with Sandbox(SandboxOptions.read({}, [f"{switch}={how}"])) as sandbox:
            result = imported(
                sandbox, order("first"), {**odd, "source_id": "odd"}, {**usual, "source_id": "last"}
            )
            assert (result["done_count"], result["failed_count"]) == (done, 3 - done)
            assert [each["source_id"] for each in result["failed"]] == ["odd"] * (3 - done)
            assert call(sandbox, "GET", "/v1/orders/odd").status == (200 if how == "accept" else 404)
            assert call(sandbox, "GET", "/v1/orders/last").status == 200
            assert sandbox.call_log.refusal_count == (0 if how == "accept" else 2)


def test_a_product_that_an_import_stored_is_known_from_then_on() -> None:
    """With its price; a SKU is another thing than a product."""
    reference = {"source_id": "tea", "quantity": 3}
    with Sandbox(SandboxOptions(order_unknown_product="fail")) as sandbox:
        assert imported(sandbox, order(items=[reference]))["failed_count"] == 1
        imported(sandbox, order(items=[STORED]))
        assert imported(sandbox, order("o2", items=[reference]))["failed_count"] == 0
        assert held(sandbox, "o2")["amount"] == 1350
        assert (
            imported(sandbox, order("o3", items=[{**reference, "related_object": "sku"}]))["failed_count"]
            == 1
        )


@pytest.mark.parametrize(
    ("shape", "failed", "none_failed"),
    [
        ("list", [{"source_id": "a", "reason": "x"}, {"source_id": "b", "reason": "x"}], []),
        ("object", {"source_id": "a", "reason": "x"}, {}),
        ("unnamed", [{"source_id": None, "reason": "Internal error"}] * 2, []),
    ],
)
def test_failed_orders_are_shown_in_one_of_three_shapes(shape: Any, failed: Any, none_failed: Any) -> None:
    """The count is the same; what breaks a metadata schema fails."""
    schemas = tuple(
        {"related_object": name, "allow_defined_only": True} for name in ("order", "order_item", "product")
    )
    options = SandboxOptions(order_failed_shape=shape, metadata_schemas=schemas)
    with Sandbox(options) as sandbox:
        assert imported(sandbox, order())["failed"] == none_failed
        orders = [order("a", metadata={"odd": 1}), order("o"), order("b", items=[{"metadata": {"odd": 1}}])]
        result = imported(sandbox, *orders)
        assert (result["done_count"], result["failed_count"]) == (1, 2)
        assert json.loads(json.dumps(result["failed"]).replace("odd: is not defined", "x")) == failed
        assert imported(sandbox, with_item(product={"metadata": {"odd": 1}}))["failed_count"] == 1


def test_a_refused_order_changes_nothing() -> None:
    """Neither its customer nor its product is stored."""
    with Sandbox(SandboxOptions(order_amount_mismatch="fail", order_unknown_product="fail")) as sandbox:
        assert imported(sandbox, order(amount=1, items=[STORED]))["failed_count"] == 1
        assert sandbox.counts()[0] == 0
        assert imported(sandbox, order(items=[ITEM]))["failed_count"] == 1


def test_imports_and_bulk_requests_run_one_after_the_other() -> None:
    """Half of the delay enqueued, half in progress, and the next begins where the last one ends."""
    now = [1e9]
    with Sandbox(SandboxOptions(async_delay_s=10), clock=lambda: now[0]) as sandbox:
        replies = [
            call(sandbox, "POST", IMPORT, [order(status="CREATED")]),
            call(sandbox, "POST", BULK, [customer(name="Ann")]),
            call(sandbox, "POST", IMPORT, [order(status="PAID")]),
        ]
        seen = []
        for _ in range(7):
            seen.append([action_of(sandbox, reply).body["status"] for reply in replies])
            now[0] += 5
    waits, runs, done = "ENQUEUED", "IN_PROGRESS", "DONE"
    assert seen == [
        [waits, waits, waits],
        [runs, waits, waits],
        [done, waits, waits],
        [done, runs, waits],
        [done, done, waits],
        [done, done, runs],
        [done, done, done],
    ]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("fault", ["drop", "reset", "status 502", "html"])
def test_an_import_may_be_processed_whatever_was_answered(fault: str, when: str) -> None:
    """`before`: no order is there; `after`: it is."""
    with Sandbox(faults=[Fault.parse(f"POST {IMPORT} {fault} {when} #1")]) as sandbox:
        with contextlib.suppress(ConnectionError, HTTPException):
            call(sandbox, "POST", IMPORT, [order()])
        assert call(sandbox, "GET", "/v1/orders/o1").status == (200 if when == "after" else 404)
        assert len(sandbox.call_log.processed) == (when == "after")


@pytest.mark.parametrize(
    ("fault", "status", "is_there", "is_next_done"),
    [
        ("fail_action", "FAILED", False, True),
        ("stall_action", "IN_PROGRESS", False, False),
        ("forget_action", None, True, True),
    ],
)
@pytest.mark.parametrize("path", [IMPORT, BULK])
def test_an_action_may_fail_never_end_or_be_unknown(
    path: str, fault: str, status: str | None, is_there: bool, is_next_done: bool
) -> None:
    """Of an import and of a bulk request; those behind one that never ends wait for good."""
    body, found = ([order()], "/v1/orders/o1") if path == IMPORT else ([customer()], f"{CUSTOMERS}/u1")
    with Sandbox(faults=[Fault.parse(f"POST {path} {fault} #1")]) as sandbox:
        reply = call(sandbox, "POST", path, body)
        action = action_of(sandbox, reply)
        assert action.body.get("status") == status
        assert action.status == (404 if status is None else 200)
        assert call(sandbox, "GET", found).status == (200 if is_there else 404)
        other = order("o2") if path == IMPORT else customer("u2")
        following = action_of(sandbox, call(sandbox, "POST", path, [other])).body
        assert following["status"] == ("DONE" if is_next_done else "ENQUEUED")


@pytest.mark.parametrize(
    ("switch", "method", "path", "default"),
    [
        ("order_import_bucket", "POST", IMPORT, "bulk"),
        ("bulk_bucket", "POST", BULK, "bulk"),
        ("poll_bucket", "GET", "/v1/async-actions/aa_0", "ordinary"),
        ("poll_bucket", "GET", "/v1/async-actions", "ordinary"),
    ],
)
def test_a_call_counts_in_one_of_two_buckets(switch: str, method: str, path: str, default: str) -> None:
    """By its switch, and 429 names the one that is used up."""
    types = {"bulk": "bulk_api_calls", "ordinary": "api_calls"}
    body = [] if method == "POST" else None
    for bucket in ("bulk", "ordinary"):
        switches = [] if bucket == default else [f"{switch}={bucket}"]
        options = SandboxOptions.read({"limit": "3/h", "bulk_limit": "1/h"}, switches)
        with Sandbox(options) as sandbox:
            count = 1 if bucket == "bulk" else 3
            for left in reversed(range(count)):
                reply = call(sandbox, method, path, body)
                assert reply.headers["X-Rate-Limit-Remaining"] == str(left)
            refused = call(sandbox, method, path, body)
            assert (refused.status, refused.headers["X-Rate-Limit-Type"]) == (429, types[bucket])


@pytest.mark.parametrize("how", ["keep", "delete"])
def test_a_deleted_customer_is_gone_and_its_orders_may_be(how: Any) -> None:
    """204 without content, then 404 for whatever asks for the customer; the id may be used again."""
    with Sandbox(SandboxOptions(orders_of_deleted_customer=how)) as sandbox:
        imported(sandbox, order(), order("o2", customer=customer("u2")))
        call(sandbox, "POST", EVENTS, event())
        first = call(sandbox, "GET", f"{CUSTOMERS}/u1").body["id"]
        reply = call(sandbox, "DELETE", f"{CUSTOMERS}/u1")
        assert (reply.status, reply.text) == (204, b"")
        assert not {"Content-Length", "Content-Type"} & set(reply.headers)
        for reference in ("u1", first):
            for method, more in (("GET", ""), ("GET", "/activity"), ("DELETE", "")):
                assert call(sandbox, method, f"{CUSTOMERS}/{reference}{more}").error[:2] == (404, "not_found")
        assert call(sandbox, "GET", "/v1/orders/o1").status == (200 if how == "keep" else 404)
        assert call(sandbox, "GET", "/v1/orders/o2").status == 200
        assert call(sandbox, "POST", CUSTOMERS, customer()).body["id"] != first
        assert sandbox.call_log.answered[-2].is_processed is False
        assert sum(each.method == "DELETE" and each.is_processed for each in sandbox.call_log.answered) == 1


def test_reads_of_orders_may_lag_behind_imports() -> None:
    """As those of customers and events do."""
    now = [1_700_000_000.0]
    with Sandbox(SandboxOptions(read_lag_s=5), clock=lambda: now[0]) as sandbox:
        imported(sandbox, order())
        assert call(sandbox, "GET", "/v1/orders/o1").error[2] == "Cannot find order with id o1"
        now[0] += 5
        assert call(sandbox, "GET", "/v1/orders/o1").status == 200


def test_the_page_shows_orders_as_text() -> None:
    """With customer, status and amount, and no tag of what was sent; they are there as data, too."""
    evil = "<img src=x onerror=alert(1)>"
    with Sandbox() as sandbox:
        before = call(sandbox, "GET", "/", None, {}).text.decode()
        assert "Orders" not in before
        assert sandbox.describe_held() == "0 customers and 0 custom events"
        imported(sandbox, order(), order(evil, status="PAID", items=[ITEM], metadata={evil: evil}))
        page = call(sandbox, "GET", "/", None, {}).text.decode()
        assert evil not in page
        assert page.count("&lt;img") == 3
        assert "No custom events yet" in page
        assert "Nothing has arrived yet" not in page
        assert "PAID · amount 900 · 1 item · u1" in page
        assert "<b>2</b><span>orders</span>" in page
        shown = call(sandbox, "GET", "/state.json", None, {}).body["orders"]
        assert (shown["count"], shown["newest"][0]["source_id"]) == (2, evil)
        assert sandbox.describe_held() == "1 customer, 2 orders and 0 custom events"


def any_of(*good: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Draw what fits a field, or anything else."""
    return st.one_of(*good, st.sampled_from([None, True, 0, 5, -1, 1.5, "", "x", [], {}]))


TEXT, NUMBER = any_of(st.just("PAID")), any_of(st.integers(0, 9))
METADATA = any_of(st.just({"a": 1}))
PRODUCT = {"id": TEXT, "source_id": TEXT, "name": TEXT, "price": NUMBER, "override": any_of(st.booleans())}
SKU = {**PRODUCT, "sku": TEXT, "odd": TEXT}
ITEMS = {
    **dict.fromkeys(("product_id", "sku_id", "source_id"), TEXT),
    "related_object": any_of(st.sampled_from(["product", "sku"])),
    **dict.fromkeys(("quantity", "initial_quantity", "discount_quantity"), NUMBER),
    **dict.fromkeys(("price", "amount", "initial_amount", "discount_amount"), NUMBER),
    "product": any_of(st.fixed_dictionaries({}, optional=PRODUCT)),
    "sku": any_of(st.fixed_dictionaries({}, optional=SKU)),
    "metadata": METADATA,
    "odd": TEXT,
}
ORDERS = {
    **dict.fromkeys(("source_id", "status", "referrer_id"), TEXT),
    **dict.fromkeys(("amount", "initial_amount", "discount_amount"), NUMBER),
    "metadata": METADATA,
    "items": any_of(st.lists(any_of(st.fixed_dictionaries({}, optional=ITEMS)), max_size=2)),
    "referrer": any_of(st.just({"source_id": "u2"})),
    "odd": TEXT,
}
LOWEST = {"quantity": 1, "initial_quantity": 1, "price": 0, "amount": 0, "initial_amount": 0}


def is_stricter(body: dict[str, Any]) -> bool:
    """Tell whether the sandbox refuses an order beyond the schema: too low a number, or an empty source_id."""
    parts = [body, *(body["items"] if isinstance(body.get("items"), list) else [])]
    parts += [
        each[name]
        for each in parts[1:]
        if isinstance(each, dict)
        for name in ("product", "sku")
        if name in each
    ]
    named = [each for each in parts if isinstance(each, dict)]
    is_low = any(
        isinstance(each.get(name), int) and each[name] < lowest
        for each in named
        for name, lowest in LOWEST.items()
    )
    return is_low or body.get("source_id") == ""


@given(fields=st.fixed_dictionaries({}, optional=ORDERS))
def test_the_sandbox_refuses_what_the_published_schema_of_orders_refuses(openapi: Path, fields: Any) -> None:
    """And nothing else, but for a number that its words call too low, and an order that nobody made."""
    body = {**fields, "customer": {"source_id": "u1"}}
    schema = published(openapi)
    try:
        check_order(copy.deepcopy(body), "[0]", SandboxOptions())
        is_taken = True
    except ApiRefusal:
        is_taken = False
    assert is_taken == (schema.is_valid([body]) and not is_stricter(body))


def published(openapi: Path, name: str = "OrdersImportCreateRequestBody") -> Any:
    """Make a validator of a schema of the published description of orders; skip the test where it is not at hand."""
    file = openapi.with_name("voucherify-openapi-orders.json")
    if not file.is_file():
        pytest.skip("the published schema of orders is not beside this checkout")
    components = as_json_schema(json.loads(file.read_text()))["components"]
    schema = {"$ref": f"#/components/schemas/{name}", "components": components}
    return jsonschema.Draft4Validator(schema, format_checker=jsonschema.FormatChecker(["date"]))


@pytest.mark.parametrize("shape", ["list", "object", "unnamed"])
def test_what_is_answered_of_orders_fits_the_published_schema(openapi: Path, shape: Any) -> None:
    """The import, its action with the result, the order, and the order that is not there."""
    with Sandbox(SandboxOptions(order_failed_shape=shape, order_zero_amount="fail")) as sandbox:
        reply = call(
            sandbox, "POST", IMPORT, [order(items=[STORED], metadata={"a": 1}), order("o2", amount=0)]
        )
        answers = {
            "OrdersImportCreateResponseBody": reply.body,
            "AsyncActionGetResponseBody": action_of(sandbox, reply).body,
            "OrdersGetResponseBody": held(sandbox),
            "Error": held(sandbox, "o2"),
        }
    for name, answer in answers.items():
        assert [error.message for error in published(openapi, name).iter_errors(answer)] == [], name
