"""Folding the events of an order: laws that hold for all of them, and when a cancellation counts."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voucherify_sync.events import Event, Json, Kind, Position, Request
from voucherify_sync.field_types import amount_of
from voucherify_sync.mapping.orders import FoldedOrder
from voucherify_sync.run.order_run import OrderFold, by_first_event
from voucherify_sync.state.ledger_reader import KnownOrder, LastOrder, LedgerReader

BEGIN = datetime(2021, 3, 1, tzinfo=UTC)
A1, A2, B1 = ({"source_id": name, "quantity": count} for name, count in (("a", 1), ("a", 2), ("b", 1)))


def said(number: int, day: int | None = 1, *, order: str = "o", user: str = "u", **fields: Any) -> Request:
    """Return what the event m<number> says of an order."""
    time = None if day is None else BEGIN + timedelta(days=day)
    event = Event(Position("a", number), "track", "Order", f"m{number}", {}, b"", time=time, told_time=time)
    occurred = {} if time is None else {"occurred_at": time.isoformat()}
    body = {"source_id": order, "customer": {"source_id": user}, **occurred, **fields}
    return Request(event, Kind.ORDER, user, msgspec.json.encode(body), order_id=order)


class Knowing(LedgerReader):
    """A ledger that knows the folds of earlier orders."""

    has_orders = True  # type: ignore[assignment]

    def __init__(self, folded: Iterable[FoldedOrder] = ()) -> None:
        super().__init__()
        self.known = {order.source_id: LastOrder(KnownOrder(None, 1, order.state)) for order in folded}

    def last_orders(self, source_ids: Sequence[str]) -> list[LastOrder]:
        """Return what is known."""
        return [self.known.get(each, LastOrder()) for each in source_ids]


def folded(
    requests: Sequence[Request], earlier: Iterable[FoldedOrder] = (), memory: int = 1 << 20
) -> list[FoldedOrder]:
    """Fold requests on top of what is known."""
    with OrderFold(memory) as fold, Knowing(earlier) as ledger:
        fold.add_records(requests, requests)
        return sorted((order for order, _ in fold.orders(ledger)), key=lambda order: order.source_id)


def bodies(orders: Iterable[FoldedOrder]) -> list[Json]:
    """Return orders as they are sent."""
    return [msgspec.json.decode(order.payload or b"{}") for order in orders]


def one(*requests: Request) -> Json:
    """Return the one order, without its ids."""
    (body,) = bodies(folded(requests))
    return {name: value for name, value in body.items() if name not in ("source_id", "customer")}


amounts = st.integers(0, 999)
events = st.lists(
    st.fixed_dictionaries(
        {"day": st.none() | st.integers(1, 4), "order": st.sampled_from("op"), "user": st.sampled_from("uv")},
        optional={
            "status": st.sampled_from(["PAID", "FULFILLED", "CANCELED"]),
            "is_refund": st.booleans(),
            "amount": amounts,
            "total": amounts,
            "items": st.lists(st.sampled_from([A1, A2, B1]), min_size=1, max_size=3),
            "metadata": st.dictionaries(st.sampled_from("xyz"), st.integers(0, 9), max_size=2),
        },
    ),
    min_size=1,
    max_size=8,
).map(lambda drawn: [said(number, **fields) for number, fields in enumerate(drawn)])


@given(events, st.randoms(use_true_random=False))
def test_the_order_of_reading_does_not_matter(requests: list[Request], chance: random.Random) -> None:
    """Where messageIds differ; nor does it whether all of them fit into memory."""
    mixed = list(requests)
    chance.shuffle(mixed)
    assert bodies(folded(mixed, memory=200)) == bodies(folded(requests))
    skipped = [sorted(order.skipped) for order in folded(requests)]
    assert [sorted(order.skipped) for order in folded(mixed)] == skipped


@given(events, st.integers(0, 8), st.booleans())
def test_going_on_from_an_earlier_fold_equals_folding_all(
    requests: list[Request], count: int, reads_again: bool
) -> None:
    """Cancellations that did not count yet may do so later; what is read again changes nothing."""
    before = folded(requests[:count])
    later = requests if reads_again else requests[count:]
    names = {request.order_id for request in later}
    whole = [order for order in folded(requests) if order.source_id in names]
    assert bodies(folded(later, before)) == bodies(whole)


@given(st.lists(st.tuples(st.text("op", min_size=1, max_size=6), st.integers(1, 3)), min_size=1, max_size=30))
def test_orders_come_by_their_first_events_however_many_there_are(drawn: list[tuple[str, int]]) -> None:
    """Sorted in parts, which go to disk."""
    requests = [said(number, day, order=order) for number, (order, day) in enumerate(drawn)]
    expected = list(dict.fromkeys(order for order, _ in drawn))
    for most in (1, 2, 5, 100):
        with tempfile.TemporaryFile() as file:
            assert [order.source_id for order in by_first_event(folded(requests), file, most)] == expected


@given(st.decimals(0, 10**6, places=6), st.sampled_from([1, 100, 1000]), st.booleans())
def test_amounts_are_exact(amount: Decimal, minor_units: int, is_float: bool) -> None:
    """Half up, as numbers and as texts."""
    expected = int((amount * minor_units).to_integral_value(ROUND_HALF_UP))
    assert amount_of(float(amount) if is_float else f"{amount:f}", minor_units) == expected


def test_the_later_value_wins_and_untimed_ones_come_first() -> None:
    """Fields one by one, metadata by key, items as a whole; the time is that of the first event."""
    untimed = said(9, None, status="FULFILLED", amount=1, discount_amount=2, metadata={"x": 0})
    first = said(2, 1, status="PAID", amount=3, items=[A1, B1], metadata={"x": 1, "y": 1})
    last = said(1, 2, items=[A2], metadata={"x": 2})
    assert one(untimed, last, first) == {
        "status": "PAID",
        "amount": 3,
        "discount_amount": 2,
        "items": [A2],
        "metadata": {"occurred_at": "2021-03-02T00:00:00+00:00", "x": 2, "y": 1},
    }


def test_an_order_that_is_kept_only_has_the_status_of_before() -> None:
    """CREATED, where nothing is known of it."""
    before = folded([said(1, status="PAID")])
    assert one(said(2, 2))["status"] == "CREATED"
    assert bodies(folded([said(2, 2)], before))[0]["status"] == "PAID"
    assert one(said(1, 1, status="PAID"), said(2, 2))["status"] == "PAID"


ORDER = {"status": "PAID", "items": [A2, B1], "total": 500}


@pytest.mark.parametrize(
    ("order", "cancel", "reason"),
    [
        (ORDER, {"items": [A2, B1]}, None),
        (ORDER, {"items": [A1, A1, B1]}, None),
        (ORDER, {"items": [A2]}, "partial_refund"),
        (ORDER, {"items": [A1, B1]}, "partial_refund"),
        (ORDER, {"items": [A1, B1], "total": 500}, "partial_refund"),
        (ORDER, {"total": 499}, "partial_refund"),
        (ORDER, {"total": 500}, None),
        (ORDER, {}, None),
        ({"status": "PAID", "amount": 5}, {"amount": 4}, "partial_refund"),
        ({"status": "PAID"}, {"items": [A1], "is_refund": True}, "refund_unclear"),
        ({"status": "PAID"}, {"total": 5, "is_refund": True}, "refund_unclear"),
        ({"status": "PAID"}, {"items": [A1]}, None),
        ({"status": "PAID"}, {"is_refund": True}, None),
        (None, {"items": [A1], "is_refund": True}, "refund_unclear"),
        (None, {"items": [A1]}, None),
    ],
)
@pytest.mark.parametrize("comes", ["after", "before", "in the next run"])
def test_a_cancellation_of_less_than_the_order_changes_nothing(
    order: Json | None, cancel: Json, reason: str | None, comes: str
) -> None:
    """Wherever it is read."""
    requests = [] if order is None else [said(1, 1, **order)]
    ends = said(2, 2, status="CANCELED", **cancel)
    if comes == "in the next run":
        result = folded([ends], folded(requests) if requests else ())
    else:
        result = folded([*requests, ends] if comes == "after" else [ends, *requests])
    (found,) = result
    assert [why for _, why in found.skipped] == ([reason] if reason else [])
    assert bodies(result)[0].get("status") == (
        None if not found.payload else "PAID" if reason else "CANCELED"
    )


def test_of_two_customers_the_later_one_has_the_order() -> None:
    """The event that names another one is told; also one that an earlier run named."""
    first, second = said(1, 1, user="u"), said(2, 2, user="v")
    for (order,) in (folded([first, second]), folded([second, first]), folded([second], folded([first]))):
        assert (order.customer_id, order.customers_differ) == ("v", "a:2")
    assert folded([first])[0].customers_differ is None
