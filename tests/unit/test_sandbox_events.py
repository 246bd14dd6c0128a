"""Custom events in the sandbox: how they are answered, read back and logged."""

from __future__ import annotations

from typing import Any

import pytest
from support.sandbox_client import CUSTOMERS, EVENTS, call, customer, event

from voucherify_sync.events import Kind
from voucherify_sync.sandbox import Sandbox


@pytest.fixture
def sandbox() -> Any:
    """Run a sandbox with all its defaults."""
    with Sandbox() as running:
        yield running


def test_an_event_is_answered_with_its_customer(sandbox: Sandbox) -> None:
    """No id and no time of the event."""
    body = event("Signed Up", customer={"source_id": "u1", "name": "Ann"}, metadata={"n": 1})
    reply = call(sandbox, "POST", EVENTS, body)
    assert reply.status == 200
    answered = reply.body
    assert answered["customer"].pop("id").startswith("cust_")
    assert answered == {
        "object": "event",
        "type": "Signed Up",
        "customer": {"name": "Ann", "source_id": "u1", "metadata": {}, "object": "customer"},
        "referral": None,
        "loyalty": None,
        "metadata": {"n": 1},
    }


def test_an_event_creates_and_updates_its_customer(sandbox: Sandbox) -> None:
    """The customer part of an event is an upsert."""
    call(sandbox, "POST", EVENTS, {"event": "E", "customer": customer(name="Ann")})
    call(sandbox, "POST", EVENTS, {"event": "E", "customer": customer(name="Anna")})
    assert [held.name for held in sandbox.store.customers] == ["Anna"]
    assert sandbox.counts() == (1, 2, 2)


def test_the_same_event_twice_is_two_events(sandbox: Sandbox) -> None:
    """There is no idempotency."""
    for _ in range(2):
        call(sandbox, "POST", EVENTS, event(metadata={"segment_message_id": "m1"}))
    assert [recorded.metadata for recorded in sandbox.store.events] == [{"segment_message_id": "m1"}] * 2


def test_an_event_of_an_unknown_customer_id_is_400_with_404_in_its_body(sandbox: Sandbox) -> None:
    """Status and body disagree, as in the published description."""
    reply = call(sandbox, "POST", EVENTS, {"event": "E", "customer": {"id": "cust_x"}})
    assert (reply.status, reply.body["code"], reply.body["key"]) == (400, 404, "not_found")
    assert call(sandbox, "POST", CUSTOMERS, {"id": "cust_x"}).status == 404


def activity(sandbox: Sandbox, query: str = "") -> Any:
    """Ask for the activity of u1."""
    return call(sandbox, "GET", f"{CUSTOMERS}/u1/activity?{query}").body


def names(listed: Any) -> list[str]:
    """Return the names of the events of an activity."""
    return [row["data"]["data"]["event"]["type"] for row in listed["data"]]


def test_an_activity_is_read_by_pages(sandbox: Sandbox) -> None:
    """Newest first, or oldest; starting_after_id goes on; more_starting_after says from where."""
    for number in range(5):
        call(sandbox, "POST", EVENTS, event(f"E{number}", metadata={"n": number}))
    call(sandbox, "POST", EVENTS, event("other", "u2"))
    first = activity(sandbox, "limit=2&type=customer.custom_event")
    assert (names(first), first["has_more"]) == (["E4", "E3"], True)
    assert first["data"][0]["data"]["data"]["event"]["metadata"] == {"n": 4}
    rest = activity(sandbox, f"limit=3&starting_after_id={first['more_starting_after']}")
    assert (names(rest), rest["has_more"]) == (["E2", "E1", "E0"], False)
    assert names(activity(sandbox, "order=created_at&limit=1")) == ["E0"]
    assert names(activity(sandbox, "type=customer.created")) == []


def test_an_activity_is_bounded_by_times() -> None:
    """start_date and end_date, in ISO 8601; nonsense is refused."""
    now = [1_700_000_000.0]
    with Sandbox(clock=lambda: now[0]) as sandbox:
        for number in range(3):
            call(sandbox, "POST", EVENTS, event(f"E{number}"))
            now[0] += 60
        assert names(activity(sandbox, "start_date=2023-11-14T22:14:20Z")) == ["E2", "E1"]
        assert names(activity(sandbox, "end_date=2023-11-14T22:14:20%2B00:00")) == ["E1", "E0"]
        assert names(activity(sandbox, "start_date=2023-11-15")) == []
        assert activity(sandbox, "start_date=soon")["key"] == "invalid_query_params"


def test_the_call_log_keeps_the_order_and_the_very_bytes(sandbox: Sandbox) -> None:
    """What was processed, in order, beside what was answered."""
    call(sandbox, "POST", CUSTOMERS, b'{"source_id": "u1", "name": "A"}')
    call(sandbox, "POST", EVENTS, event("E", metadata={"m": 1}))
    call(sandbox, "POST", EVENTS, {"event": ""})
    first, second = sandbox.call_log.processed
    assert (first.kind, first.source_id, first.name) == (Kind.CUSTOMER, "u1", None)
    assert first.payload == b'{"source_id": "u1", "name": "A"}'
    assert (second.kind, second.name, second.metadata) == (Kind.EVENT, "E", {"m": 1})
    told = [(one.method, one.path, one.status, one.is_processed) for one in sandbox.call_log.answered]
    assert told == [("POST", CUSTOMERS, 200, True), ("POST", EVENTS, 200, True), ("POST", EVENTS, 400, False)]
