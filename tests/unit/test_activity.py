"""Look-ups of events whose answer was lost, against the sandbox and against odd answers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import requests_mock

from voucherify_sync.delivery.circuit_breaker import CircuitBreaker
from voucherify_sync.errors import RunStopped
from voucherify_sync.events import Event, Json, Kind, Position, Request
from voucherify_sync.sandbox.options import SandboxOptions
from voucherify_sync.sandbox.server import Sandbox
from voucherify_sync.settings.types import Credentials, Secret
from voucherify_sync.stop import Stop
from voucherify_sync.voucherify.activity import Doubts
from voucherify_sync.voucherify.client import Client
from voucherify_sync.voucherify.limited_client import LimitedClient
from voucherify_sync.voucherify.rate_limit import Limiter

URL = "https://api.example.test"
MINE = {"order": 1, "tags": ["a"], "note": None}


def event(source_id: str = "u1", name: str = "Order Completed", metadata: Any = MINE) -> Request:
    """Return a custom event."""
    body: Json = {"event": name, "customer": {"source_id": source_id}}
    if metadata is not None:
        body["metadata"] = metadata
    record = Event(Position("a", 1), "track", name, "m1", {}, b"{}")
    return Request(record, Kind.EVENT, source_id, msgspec.json.encode(body))


def doubts_of(client: Client, stop: Stop | None = None) -> Doubts:
    """Return what looks events up."""
    stop = stop or Stop()
    return Doubts(LimitedClient(client, Limiter(stop=stop), CircuitBreaker(stop), stop), "verify")


@pytest.fixture
def api() -> requests_mock.Adapter:
    """Return an API whose answers are given by hand."""
    return requests_mock.Adapter()


@pytest.fixture
def doubts(api: requests_mock.Adapter) -> Iterator[Doubts]:
    """Yield a doubts that asks that API."""
    client = Client(Credentials("key", Secret("token"), URL, None), adapter=api)
    yield doubts_of(client)
    client.close()


def row(
    name: str = "Order Completed", metadata: Any = MINE, at: str = "2026-01-06T10:00:00.000Z", **more: Any
) -> Json:
    """Return an entry of the activity log, as the schema has it."""
    found = {"object": "event", "type": name, "metadata": metadata}
    return {
        "id": "evcus_1",
        "type": "customer.custom_event",
        "created_at": at,
        "data": {"data": {"event": found}},
        **more,
    }


SENT_AT = 1767693600.0
"""2026-01-06T10:00:00Z"""


def page(*rows: Any, **more: Any) -> Json:
    """Return a page of the activity log."""
    return {"object": "list", "data_ref": "data", "data": list(rows), "has_more": False, **more}


@pytest.mark.parametrize("shape", ["data.data.event", "data.event"])
def test_an_event_that_arrived_is_found(shape: Any) -> None:
    """Wherever the row holds it; an id with odd characters is percent-encoded once."""
    with Sandbox(SandboxOptions(activity_shape=shape)) as sandbox:
        client = Client(Credentials("key", Secret("token"), sandbox.url, None))
        doubts = doubts_of(client)
        sent = event("a/b c+%2F?ü@x.org")
        client.call("POST", "/v1/events", sent.payload)
        now = time.time()
        assert doubts.was_received(sent, now) is True
        assert doubts.was_received(event("a/b c+%2F?ü@x.org", metadata={"order": 2}), now) is False
        assert doubts.was_received(event("a/b c+%2F?ü@x.org", name="Other"), now) is False
        assert doubts.was_received(event("nobody"), now) is False
        assert doubts.was_received(sent, now - 3600) is False
        client.close()


def test_k_equal_sends_need_k_matches() -> None:
    """One entry of the log vouches for one event."""
    with Sandbox() as sandbox:
        client = Client(Credentials("key", Secret("token"), sandbox.url, None))
        doubts = doubts_of(client)
        for _ in range(2):
            client.call("POST", "/v1/events", event().payload)
        now = time.time()
        assert [doubts.was_received(event(), now, claimed) for claimed in (0, 1, 2)] == [True, True, False]
        client.close()


@pytest.mark.parametrize("metadata", [None, {}], ids=["none", "empty"])
def test_an_event_without_metadata_is_never_confirmed_by_its_name(
    api: requests_mock.Adapter, doubts: Doubts, metadata: Any
) -> None:
    """The name alone could be anybody's; no call is wasted on it."""
    assert doubts.was_received(event(metadata=metadata), SENT_AT) is False
    assert api.call_count == 0


@pytest.mark.parametrize("source_id", [".", ".."])
def test_an_id_of_dots_cannot_be_asked_for(
    api: requests_mock.Adapter, doubts: Doubts, source_id: str
) -> None:
    """As a path segment it would lead to another address."""
    assert doubts.was_received(event(source_id), SENT_AT) is False
    assert api.call_count == 0


def test_it_asks_for_the_send_time_plus_and_minus_the_deadline(
    api: requests_mock.Adapter, doubts: Doubts
) -> None:
    """In Voucherify's time, with two seconds for what its clock may be off."""
    api.register_uri("GET", requests_mock.ANY, json=page(row()))
    assert doubts.was_received(event(), SENT_AT)
    asked: Any = api.last_request
    assert asked.path == "/v1/customers/u1/activity"
    assert asked.qs == {
        "type": ["customer.custom_event"],
        "start_date": ["2026-01-06t09:58:58z"],
        "end_date": ["2026-01-06t10:01:03z"],
        "limit": ["100"],
    }


@pytest.mark.parametrize(
    "body",
    [
        page(),
        page(row(at="2026-01-06T09:00:00Z")),
        page(row(at="2026-01-06T12:00:00")),
        page(row(metadata={"order": "1"})),
        page(row(metadata=None)),
        page(row(name="order completed")),
        page(None, 7, [], {}, {"data": None}, {"data": {"data": 1, "event": 2}}),
        {"data": {}},
        {"object": "list"},
        [],
    ],
    ids=[
        "none",
        "too early",
        "no zone",
        "as text",
        "no metadata",
        "name",
        "odd rows",
        "object",
        "no data",
        "array",
    ],
)
def test_what_does_not_match_is_not_known(api: requests_mock.Adapter, doubts: Doubts, body: Any) -> None:
    """Absence proves nothing, and an odd answer is no reason to fail."""
    api.register_uri("GET", requests_mock.ANY, json=body)
    assert doubts.was_received(event(), SENT_AT) is False


def test_all_pages_are_read(api: requests_mock.Adapter, doubts: Doubts) -> None:
    """By the cursor that the API gives, or the id of the last row."""
    other = row(name="Other", id="evcus_9")
    api.register_uri("GET", requests_mock.ANY, json=page(row()))
    api.register_uri(
        "GET", f"{URL}/v1/customers/u1/activity?starting_after_id=c2", json=page(other, has_more=True)
    )
    api.register_uri(
        "GET",
        f"{URL}/v1/customers/u1/activity?starting_after_id=evcus_9",
        json=page(row(name="Other"), row()),
    )
    first = page(other, has_more=True, more_starting_after="c2")
    api.register_uri(
        "GET", f"{URL}/v1/customers/u1/activity", [{"json": first}], additional_matcher=_is_first
    )
    assert doubts.was_received(event(), SENT_AT)
    assert api.call_count == 3


def _is_first(request: Any) -> bool:
    return "starting_after_id" not in request.qs


def test_a_log_without_end_is_left(api: requests_mock.Adapter, doubts: Doubts) -> None:
    """A cursor that leads nowhere costs ten calls, no more."""
    api.register_uri("GET", requests_mock.ANY, json=page(row(name="Other"), has_more=True))
    assert doubts.was_received(event(), SENT_AT) is False
    assert api.call_count == 10


@pytest.mark.parametrize("status", [401, 403, 404, 500, 302])
def test_a_look_up_that_is_refused_is_not_known(
    api: requests_mock.Adapter, doubts: Doubts, status: int
) -> None:
    """A key may send events and not read the activity."""
    api.register_uri("GET", requests_mock.ANY, status_code=status, json=page(row()))
    assert doubts.was_received(event(), SENT_AT) is False
    assert api.call_count == 1


def test_a_throttled_look_up_is_made_again_when_the_limiter_allows_it(
    api: requests_mock.Adapter, doubts: Doubts
) -> None:
    """429 says nothing about the event."""
    throttled = {"status_code": 429, "json": {}, "headers": {"Retry-After": "1"}}
    api.register_uri("GET", requests_mock.ANY, [throttled, {"json": page(row())}])
    began = time.monotonic()
    assert doubts.was_received(event(), SENT_AT) is True
    assert time.monotonic() - began >= 0.9


def test_no_look_up_is_made_when_the_run_stops() -> None:
    """It stays not known."""
    stop = Stop()
    stop.because(RunStopped("enough"))
    client = Client(Credentials("key", Secret("token"), URL, None), adapter=requests_mock.Adapter())
    assert doubts_of(client, stop).was_received(event(), SENT_AT) is False
    client.close()
