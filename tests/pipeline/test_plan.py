"""What a replay would cost: the arithmetic in tables, and the walk on events whose cost one can count by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.segment_events import event_of, request_of

from voucherify_sync.mapping.filters import Selection
from voucherify_sync.outcomes import FAILED_BEFORE, Outcome, State
from voucherify_sync.preview.plan import PUBLIC_PLANS, Allowance, Cost, Plan, Planner, fit, to_dict
from voucherify_sync.run.options import Mode, RunOptions
from voucherify_sync.settings import Rate, Settings
from voucherify_sync.settings.types import Delivery, Identify, Orders, Track
from voucherify_sync.sources.discover import Source
from voucherify_sync.sources.reader import Reader
from voucherify_sync.state.deduplication import ResendPolicy
from voucherify_sync.state.ledger_reader import LedgerReader
from voucherify_sync.stop import Stop
from voucherify_sync.voucherify import bulk

SANDBOX, BUSINESS, ORGANIZATION = PUBLIC_PLANS
HOUR_S = 3_600.0


@pytest.mark.parametrize(
    ("calls", "allowance", "reserve", "expected_s"),
    [
        pytest.param(0, BUSINESS, 0.1, 0.0, id="nothing"),
        pytest.param(90, SANDBOX, 0.1, 0.0, id="one window goes out at once"),
        pytest.param(91, SANDBOX, 0.1, HOUR_S, id="one call more waits for the next window"),
        pytest.param(100, SANDBOX, 0.0, 0.0, id="without a reserve the whole limit is ours"),
        pytest.param(100_000, SANDBOX, 0.1, 1_111 * HOUR_S, id="an archive in a sandbox project"),
        pytest.param(100_000, BUSINESS, 0.0, 999 * 60.0, id="a whole cycle of Business"),
        pytest.param(5, Allowance("tiny", 1, 60), 0.9, 240.0, id="a reserve leaves at least one call"),
    ],
)
def test_calls_go_out_window_by_window(
    calls: int, allowance: Allowance, reserve: float, expected_s: float
) -> None:
    """The limiter bursts within a window, less the reserve, and waits for the next."""
    assert fit(calls, allowance, reserve)["duration_s"] == expected_s


@pytest.mark.parametrize(
    ("allowance", "expected_s"),
    [
        pytest.param(Allowance("unknown"), 1_999 * 3.0, id="only the pace is known"),
        pytest.param(BUSINESS, 1_999 * 3.0, id="the pace is slower than the plan"),
        pytest.param(SANDBOX, 22 * HOUR_S, id="the plan is slower than the pace"),
    ],
)
def test_the_slower_of_pace_and_plan_counts(allowance: Allowance, expected_s: float) -> None:
    """A rate of one's own is kept evenly, beside the limit of the plan."""
    assert fit(2_000, allowance, 0.1, Rate(20, 60))["duration_s"] == expected_s


def test_without_any_limit_no_time_is_told() -> None:
    """Nothing is guessed."""
    assert fit(10, Allowance("unknown"), 0.1)["duration_s"] is None


@pytest.mark.parametrize(
    ("calls", "share", "over", "cycles"),
    [
        pytest.param(0, 0.0, 0, 1, id="nothing"),
        pytest.param(50_000, 0.5, 0, 1, id="half"),
        pytest.param(100_000, 1.0, 0, 1, id="exactly"),
        pytest.param(100_001, 1.00001, 1, 2, id="one too many"),
        pytest.param(900_187, 9.00187, 800_187, 10, id="far too many"),
    ],
)
def test_a_cycle_has_room_or_not(calls: int, share: float, over: int, cycles: int) -> None:
    """What does not fit is told with by how much, and how many cycles it takes."""
    told = fit(calls, BUSINESS)
    assert (told["share_of_cycle"], told["calls_over"], told["cycles"]) == (share, over, cycles)


def test_a_plan_without_a_cycle_has_no_share() -> None:
    """A sandbox project's cycle is not published."""
    told = fit(10**9, SANDBOX)
    assert (told["share_of_cycle"], told["calls_over"], told["cycles"]) == (None, 0, 1)


def identify(user: str, day: int = 1, **traits: Any) -> dict[str, Any]:
    """Return an identify of a day in March 2024."""
    return {"type": "identify", "userId": user, "traits": traits, "timestamp": f"2024-03-{day:02d}T12:00:00Z"}


def track(user: str, name: str = "Order Completed", **properties: Any) -> dict[str, Any]:
    """Return a track."""
    return {"type": "track", "userId": user, "event": name, "properties": properties}


def planned(
    folder: Path, *events: dict[str, Any], settings: Settings | None = None, limit: int | None = None
) -> Plan:
    """Plan the events."""
    lines = [json.dumps({"messageId": f"m{number}", **event}) + "\n" for number, event in enumerate(events)]
    file = folder / "events.ndjson"
    file.write_text("".join(lines))
    source = Source(str(file), file, file.stat().st_size)
    request = RunOptions(
        run_id="plan",
        mode=Mode.DRY_RUN,
        settings=settings or Settings(),
        open_input=lambda stop: Reader([source], stop),
        selection=Selection(),
        limit=limit,
    )
    with LedgerReader() as ledger:
        return Planner(request, Stop(), ledger, ResendPolicy()).plan()


MANY = (
    identify("u1", 2, email="new@example.com"),
    identify("u1", 1, email="old@example.com"),
    identify("u2", 1, email="two@example.com"),
    track("u1"),
    track("u3", email="three@example.com"),
    track("u3", "Signed Up"),
    {"type": "page", "userId": "u1"},
)


def test_the_period_of_an_input_is_that_of_all_its_events(tmp_path: Path) -> None:
    """Those that are skipped or say nothing of a customer count, too; those without a time do not."""
    plan = planned(
        tmp_path,
        identify("u1", 5),
        {"type": "page", "userId": "u1", "timestamp": "2024-03-09T00:00:00Z"},
        {**track("u1"), "timestamp": "2024-03-01T00:00:00Z"},
        track("u1"),
    )
    told = to_dict(plan, [], 0.1, None)
    assert told["period"] == {"first": "2024-03-01T00:00:00.000Z", "last": "2024-03-09T00:00:00.000Z"}
    assert told["periods"] == {str(tmp_path / "events.ndjson"): told["period"]}
    assert planned(tmp_path, track("u1")).period is None


def test_the_period_holds_all_events_where_a_customer_is_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the input is read twice, and the second plan counts as the first one does."""
    monkeypatch.setattr(bulk, "MAX_BYTES", 200)
    plan = planned(
        tmp_path,
        identify("u1", 5, description="x" * 300),
        {**track("u2"), "timestamp": "2024-03-01T00:00:00Z"},
        settings=Settings(delivery=Delivery(customers="bulk")),
    )
    assert plan.bulk_counts.failed == 1
    assert plan.period is not None
    assert [moment.day for moment in plan.period] == [1, 5]


def test_customers_with_an_anonymous_id_only_are_counted(tmp_path: Path) -> None:
    """By customers and by records; an event with a userId is no part of them, nor one that a row names."""
    anonymous = {"type": "track", "event": "Seen", "anonymousId": "a1", "properties": {}}
    plan = planned(
        tmp_path, anonymous, anonymous, {**anonymous, "anonymousId": "a2"}, {**anonymous, "userId": "u"}
    )
    assert to_dict(plan, [], 0.1, None)["anonymous"] == {"customers": 2, "records": 3}
    named = Settings(track=Track(mapping={"properties.mail": ["customer.source_id"]}))
    plan = planned(tmp_path, {**anonymous, "properties": {"mail": "m"}}, settings=named)
    assert plan.anonymous_records == 0


def test_fields_that_nulls_would_erase_are_counted_by_customer(tmp_path: Path) -> None:
    """As the fold leaves them: a later value takes a null back."""
    events = (
        identify("u1", 1, email=None, phone=None, address={"city": None}),
        identify("u1", 2, phone="1"),
        identify("u2", 1, email="e"),
    )
    plan = planned(tmp_path, *events, settings=Settings(identify=Identify(nulls="clear")))
    assert to_dict(plan, [], 0.1, None)["erased"] == {"customers": 1, "fields": 2}
    assert planned(tmp_path, *events).erased_fields == 0


@pytest.mark.parametrize("way", ["each", "bulk"])
def test_both_ways_of_sending_customers_are_counted_whichever_is_set(tmp_path: Path, way: Any) -> None:
    """Three updates are three calls; three customers, one of whom only a track knows, are one request and polls."""
    settings = Settings(delivery=Delivery(customers=way))
    plan = planned(tmp_path, *MANY, settings=settings)
    assert plan.each == Cost(customers=3, polls=0, events=3)
    assert plan.bulk == Cost(customers=1, polls=4, events=3)
    assert plan.bulk_counts.delivered == 3
    assert {"each": plan.each, "bulk": plan.bulk}[plan.customers].calls == (6 if way == "each" else 8)


def test_a_customer_that_no_bulk_request_can_carry_costs_a_call_in_bulk_too(tmp_path: Path) -> None:
    """Customers named by Voucherify's own id go one by one."""
    settings = Settings()
    settings.identify.mapping["traits.vid"] = ["customer.id"]
    settings.identify.mapping["traits.email"] = ["customer.email"]
    plan = planned(tmp_path, identify("u1", vid="cust_1"), identify("u2", email="b@x.io"), settings=settings)
    assert plan.each == Cost(2, 0, 0)
    assert plan.bulk == Cost(2, 4, 0)


def test_events_are_told_by_type_and_name_with_what_would_be_sent(tmp_path: Path) -> None:
    """What a filter leaves out is read and not sent."""
    settings = Settings()
    settings.track.events_exclude.append("Signed Up")
    told = to_dict(planned(tmp_path, *MANY, settings=settings), list(PUBLIC_PLANS), 0.1, None)
    assert told["events"]["read"] == 7
    assert told["events"]["by_type"] == {
        "identify": {"read": 3, "would_be_sent": 3},
        "track": {"read": 3, "would_be_sent": 2},
        "page": {"read": 1, "would_be_sent": 0},
    }
    assert told["events"]["by_name"]["Signed Up"] == {"read": 1, "would_be_sent": 0}
    assert told["custom_events"] == {"Order Completed": 2}
    assert told["older_updates"] == {"count": 1, "capped": False}


def test_names_are_capped(tmp_path: Path) -> None:
    """An archive with a name for each event does not become a plan with a line for each."""
    told = to_dict(planned(tmp_path, *(track("u", f"Event {n}") for n in range(1_100))), [], 0.1, None)
    assert len(told["events"]["by_name"]) == 1_001
    assert told["events"]["by_name"]["(other)"] == {"read": 100, "would_be_sent": 100}
    assert sum(told["custom_events"].values()) == 1_100


def test_a_limit_holds_for_both_walks(tmp_path: Path) -> None:
    """The first two records are one customer."""
    plan = planned(tmp_path, *MANY, limit=2)
    assert (plan.each.customers, plan.bulk_counts.updates, plan.bulk_counts.delivered) == (2, 2, 1)


def test_nothing_costs_nothing(tmp_path: Path) -> None:
    """An empty file has a plan, too."""
    plan = planned(tmp_path)
    assert plan.each.calls == plan.bulk.calls == 0


@pytest.mark.parametrize("fields", [identify("u", email="e"), track("u")], ids=["update", "event"])
def test_what_failed_before_costs_nothing(tmp_path: Path, fields: dict[str, Any]) -> None:
    """No run sends it, whichever way customers go; what a bulk request cannot carry would cost a call of its own."""
    event = event_of(fields)
    request = request_of(event)
    before = planned(tmp_path)
    before.add([Outcome(event, State.FAILED, FAILED_BEFORE, request=request)])
    assert (before.updates, before.refused) == (0, 0)
    now = planned(tmp_path)
    now.add([Outcome(event, State.FAILED, "too_large", request=request)])
    assert now.updates + now.refused == 1


SHOP = (
    {
        **track("u1", order_id="a", products=[{"product_id": "p", "price": 2, "quantity": 3}]),
        "timestamp": "2024-03-01",
    },
    track("u1", "Order Updated", order_id="a", coupon="MAY"),
    track("u2", order_id="b", total=5),
    track("u2", total=5),
    track("u3", "Signed Up"),
)


def test_orders_are_planned_with_what_they_would_cost_as_custom_events(tmp_path: Path) -> None:
    """Two orders ride in one import; an event without an order id makes none."""
    plan = planned(tmp_path, *SHOP, settings=Settings(orders=Orders(disabled=False)))
    found = to_dict(plan, [BUSINESS], 0.1, None)
    orders = {
        name: found["orders"][name] for name in ("records", "orders", "customers", "requests", "no_order_id")
    }
    assert orders == {"records": 3, "orders": 2, "customers": 2, "requests": 1, "no_order_id": 1}
    assert found["order_events"] == {"records": 3, "requests": 1}
    assert found["costs"]["each"] == {"customers": 0, "polls": 3, "events": 1, "orders": 1, "calls": 5}
    assert plan.cost == plan.each


def test_what_picks_events_may_leave_orders_incomplete(tmp_path: Path) -> None:
    """An import may replace a fuller order; and one of an unknown customer makes that, unless customers go first."""
    orders = Settings(orders=Orders(disabled=False))
    (of_customers,) = planned(tmp_path, *SHOP, settings=orders).report.notices
    assert "--bulk sends the customers first" in of_customers
    incomplete, _ = planned(tmp_path, *SHOP, settings=orders, limit=2).report.notices
    assert incomplete.startswith("--limit: events that are left out")
    in_bulk = Settings(orders=Orders(disabled=False), delivery=Delivery(customers="bulk"))
    assert planned(tmp_path, *SHOP, settings=in_bulk).report.notices == []


def test_orders_that_are_off_are_custom_events_and_the_plan_says_what_on_would_cost(tmp_path: Path) -> None:
    """The imports are counted by the events, of which several may be of one order."""
    found = to_dict(planned(tmp_path, *SHOP), [BUSINESS], 0.1, None)
    assert found["orders"] is None
    assert found["order_events"] == {"records": 4, "requests": 1}
    assert found["costs"]["each"] == {"customers": 0, "polls": 0, "events": 5, "orders": 0, "calls": 5}
