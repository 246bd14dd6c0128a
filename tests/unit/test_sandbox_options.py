"""The switches of the sandbox: each undocumented behaviour, both ways, and the limits on the wire."""

from __future__ import annotations

import time
from typing import Any

import pytest
from support.sandbox_client import BULK, CUSTOMERS, EVENTS, IMPORT, KEYS, call, customer, event, order

from voucherify_sync.errors import UsageProblem
from voucherify_sync.sandbox import Fault, Sandbox, SandboxOptions


def updated(options: SandboxOptions, *updates: dict[str, Any]) -> Any:
    """Return a customer after some updates."""
    with Sandbox(options) as sandbox:
        return [call(sandbox, "POST", CUSTOMERS, customer(**fields)).body for fields in updates][-1]


@pytest.mark.parametrize(
    ("how", "metadata"), [("merge", {"a": "1", "b": "3", "c": "4"}), ("replace", {"b": "3", "c": "4"})]
)
def test_metadata_is_merged_or_replaced(how: Any, metadata: Any) -> None:
    """By key, or as a whole."""
    options = SandboxOptions(metadata_update=how)
    after = updated(options, {"metadata": {"a": "1", "b": "2"}}, {"metadata": {"b": "3", "c": "4"}})
    assert after["metadata"] == metadata


@pytest.mark.parametrize(
    ("how", "address"), [("merge", {"city": "A", "state": "C"}), ("replace", {"state": "C"})]
)
def test_an_address_is_merged_or_replaced(how: Any, address: Any) -> None:
    """By key, or as a whole."""
    after = updated(
        SandboxOptions(address_update=how), {"address": {"city": "A"}}, {"address": {"state": "C"}}
    )
    assert after["address"] == address


def test_undefined_events_are_accepted_or_refused() -> None:
    """By the exact name."""
    with Sandbox(SandboxOptions(undefined_events="reject", defined_events=("Order",))) as sandbox:
        statuses = [call(sandbox, "POST", EVENTS, event(name)).status for name in ("Order", "order", "Other")]
        assert statuses == [200, 404, 404]
        assert sandbox.counts()[:2] == (1, 1)


def test_a_bulk_request_may_have_a_cap() -> None:
    """too_many_customers, with the number."""
    with Sandbox(SandboxOptions(bulk_item_cap=2)) as sandbox:
        reply = call(sandbox, "POST", BULK, [customer(str(number)) for number in range(3)])
        assert reply.error == (400, "too_many_customers", "Specify at most 2 customers")
        assert set(reply.body) == {"code", "key", "message", "details", "request_id"}
        assert call(sandbox, "POST", BULK, [customer("1"), customer("2")]).status == 202


SCHEMA = {
    "related_object": "customer",
    "properties": {
        "age": {"type": "number"},
        "size": {"type": "string", "eq": ["S", "M"]},
        "tags": {"type": "string", "array": True},
        "born": {"type": "date"},
        "seen": {"type": "datetime"},
        "vip": {"type": "boolean"},
        "old": {"type": "number", "deleted": True},
    },
}


@pytest.mark.parametrize(
    ("metadata", "details"),
    [
        pytest.param({"age": "3"}, "age: must be a number (actual value is '3')", id="number"),
        pytest.param({"age": True}, "age: must be a number (actual value is 'True')", id="true is no number"),
        pytest.param({"vip": 1}, "vip: must be a boolean (actual value is '1')", id="boolean"),
        pytest.param(
            {"size": "L"},
            "size: must be a string, must be equal to one of S,M (actual value is 'L')",
            id="choice",
        ),
        pytest.param(
            {"tags": "x"},
            "tags: must be an array, and every element: must be a string (actual value is 'x')",
            id="array",
        ),
        pytest.param({"born": "1 May"}, "born: must be a date (actual value is '1 May')", id="date"),
        pytest.param({"seen": 5}, "seen: must be a datetime (actual value is '5')", id="datetime"),
    ],
)
@pytest.mark.parametrize("path", [CUSTOMERS, EVENTS])
def test_metadata_that_breaks_its_schema_is_refused(
    path: str, metadata: dict[str, Any], details: str
) -> None:
    """metadata_validation_failed; an event with such a customer is not recorded either."""
    body = customer(metadata=metadata)
    with Sandbox(SandboxOptions(metadata_schemas=(SCHEMA,))) as sandbox:
        reply = call(sandbox, "POST", path, body if path == CUSTOMERS else {"event": "E", "customer": body})
        assert (reply.status, reply.body["key"]) == (400, "metadata_validation_failed")
        assert reply.body["details"] == details
        assert sandbox.counts()[:2] == (0, 0)


def test_metadata_that_fits_its_schema_or_has_none_is_taken() -> None:
    """Undefined keys pass, as text; so do removed definitions and null."""
    fitting = {
        "age": 1.5,
        "size": "S",
        "tags": ["x"],
        "born": "1990-01-01",
        "seen": "2026-01-01T10:00:00.000Z",
        "vip": None,
        "old": "x",
        "other": [1],
    }
    after = updated(SandboxOptions(metadata_schemas=(SCHEMA,)), {"metadata": fitting})
    assert after["metadata"] == {**fitting, "other": "[1]"}


def test_only_defined_metadata_may_be_allowed() -> None:
    """allow_defined_only refuses every other key."""
    schema = {**SCHEMA, "allow_defined_only": True}
    after = updated(SandboxOptions(metadata_schemas=(schema,)), {"metadata": {"age": 1, "other": 1}})
    assert (after["key"], after["details"]) == ("metadata_validation_failed", "other: is not defined")


def test_required_metadata_must_come_with_a_new_customer_only() -> None:
    """optional: false counts when a customer is created, by a track event, too."""
    schema = {"related_object": "customer", "properties": {"plan": {"type": "string", "optional": False}}}
    with Sandbox(SandboxOptions(metadata_schemas=(schema,))) as sandbox:
        assert call(sandbox, "POST", EVENTS, event()).body["details"].startswith("plan: property is required")
        assert call(sandbox, "POST", CUSTOMERS, customer(metadata={"plan": "pro"})).status == 200
        assert call(sandbox, "POST", EVENTS, event()).status == 200


@pytest.mark.parametrize(
    ("shape", "keys"), [("nested", ("data", "data", "event")), ("flat", ("data", "event"))]
)
def test_a_row_of_the_activity_has_one_of_two_shapes(shape: Any, keys: tuple[str, ...]) -> None:
    """The event lies under data.data, or under data."""
    with Sandbox(SandboxOptions(activity_shape=shape)) as sandbox:
        call(sandbox, "POST", EVENTS, event("E"))
        [row] = call(sandbox, "GET", f"{CUSTOMERS}/u1/activity").body["data"]
        for key in keys:
            row = row[key]
        assert row["type"] == "E"


@pytest.mark.parametrize(
    ("how", "metadata"), [("same", {"n": 1, "t": "x"}), ("strings", {"n": "1", "t": "x"}), ("none", {})]
)
def test_metadata_may_come_back_otherwise(how: Any, metadata: Any) -> None:
    """As sent, as strings, or not at all."""
    with Sandbox(SandboxOptions(activity_metadata=how)) as sandbox:
        call(sandbox, "POST", EVENTS, event(metadata={"n": 1, "t": "x"}))
        [row] = call(sandbox, "GET", f"{CUSTOMERS}/u1/activity").body["data"]
        assert row["data"]["data"]["event"]["metadata"] == metadata


def test_reads_may_lag_behind_writes() -> None:
    """New customers and events are seen only after a while."""
    now = [1_700_000_000.0]
    with Sandbox(SandboxOptions(read_lag_s=5), clock=lambda: now[0]) as sandbox:
        call(sandbox, "POST", EVENTS, event())
        assert call(sandbox, "GET", f"{CUSTOMERS}/u1").status == 404
        assert call(sandbox, "GET", CUSTOMERS).body["customers"] == []
        assert call(sandbox, "GET", f"{CUSTOMERS}/u1/activity").body["data"] == []
        now[0] += 5
        assert call(sandbox, "GET", f"{CUSTOMERS}/u1").status == 200
        assert len(call(sandbox, "GET", f"{CUSTOMERS}/u1/activity").body["data"]) == 1


def test_the_server_may_have_another_clock() -> None:
    """Date and the rate headers follow it."""
    with Sandbox(SandboxOptions(clock_skew_s=86_400, limit="100/min")) as sandbox:
        headers = call(sandbox, "GET", CUSTOMERS).headers
        assert int(headers["X-Rate-Limit-Retry"]) - time.time() > 86_000


def test_latency_delays_each_answer() -> None:
    """After the processing."""
    with Sandbox(SandboxOptions(latency_s=0.1)) as sandbox:
        begun = time.monotonic()
        call(sandbox, "POST", EVENTS, event())
        assert time.monotonic() - begun >= 0.1


def test_a_limit_is_told_and_kept_on_the_wire() -> None:
    """429 is not processed, and has the API's body."""
    with Sandbox(SandboxOptions(limit="2/min")) as sandbox:
        replies = [call(sandbox, "POST", EVENTS, event()) for _ in range(3)]
        assert [reply.status for reply in replies] == [200, 200, 429]
        assert [reply.headers["X-Rate-Limit-Remaining"] for reply in replies] == ["1", "0", "0"]
        assert replies[2].body == {"code": 429, "message": "Too many requests hit the API too quickly."}
        assert replies[2].headers["X-Rate-Limit-Type"] == "api_calls"
        assert 1 <= int(replies[2].headers["Retry-After"]) <= 61
        assert "Retry-After" not in replies[1].headers
        assert sandbox.counts() == (1, 2, 3)


def test_errors_count_and_carry_the_rate_headers() -> None:
    """A refused body uses the limit, too."""
    with Sandbox(SandboxOptions(limit="5/min")) as sandbox:
        assert call(sandbox, "POST", EVENTS, {}).headers["X-Rate-Limit-Remaining"] == "4"


@pytest.mark.parametrize("carried", [True, False])
def test_an_unauthorized_answer_may_carry_the_rate_headers(carried: bool) -> None:
    """It takes nothing from the limit."""
    with Sandbox(SandboxOptions(limit="5/min", auth_error_rate_headers=carried)) as sandbox:
        refused = call(sandbox, "GET", CUSTOMERS, None, {})
        assert ("X-Rate-Limit-Limit" in refused.headers) == carried
        assert call(sandbox, "GET", CUSTOMERS).headers["X-Rate-Limit-Remaining"] == "4"


def test_bulk_and_cycle_limits_are_told_by_type() -> None:
    """bulk_api_calls and api_calls_cycle."""
    with Sandbox(SandboxOptions(bulk_limit="1/h", cycle_limit=1)) as sandbox:
        types = []
        for method, path, body in [("POST", BULK, [customer()])] * 2 + [("POST", EVENTS, event())] * 2:
            types.append(call(sandbox, method, path, body, KEYS).headers["X-Rate-Limit-Type"])
        assert types == [None, "bulk_api_calls", None, "api_calls_cycle"]


def test_a_limit_that_cannot_be_read_stops_the_start() -> None:
    """Before anything listens."""
    with pytest.raises(UsageProblem, match="not a limit: 'fast'"):
        Sandbox(SandboxOptions(limit="fast"))


def test_memory_is_bounded_and_counts_are_not() -> None:
    """The newest are kept; the rest is counted."""
    with Sandbox(SandboxOptions(keep=3)) as sandbox:
        for number in range(5):
            call(sandbox, "POST", EVENTS, event(f"E{number}", f"u{number % 2}"))
        assert [recorded.name for recorded in sandbox.store.events] == ["E2", "E3", "E4"]
        assert [done.name for done in sandbox.call_log.processed] == ["E2", "E3", "E4"]
        assert len(sandbox.call_log.answered) == 3
        assert sandbox.counts() == (2, 5, 5)
        assert len(call(sandbox, "GET", f"{CUSTOMERS}/u0/activity").body["data"]) == 2


@pytest.mark.parametrize(
    ("switches", "found"),
    [
        pytest.param([], [False, False], id="opaque and sensitive"),
        pytest.param(["source_id_blanks=trimmed"], [True, False], id="trimmed"),
        pytest.param(["source_id_case=insensitive"], [False, True], id="insensitive"),
    ],
)
def test_a_source_id_may_be_trimmed_or_known_in_any_case(switches: list[str], found: list[bool]) -> None:
    """In paths and in bodies alike; it is shown as it was first sent, but for the blanks."""
    with Sandbox(SandboxOptions.read({}, switches)) as sandbox:
        call(sandbox, "POST", CUSTOMERS, customer("Ann"))
        paths = (f"{CUSTOMERS}/%20Ann", f"{CUSTOMERS}/ANN")
        assert [call(sandbox, "GET", path).status == 200 for path in paths] == found
        for number, other in enumerate((" Ann", "ANN")):
            call(sandbox, "POST", EVENTS, event(source_id=other))
            assert sandbox.counts()[0] == 1 + found[: number + 1].count(False)
        blank = call(sandbox, "POST", CUSTOMERS, customer(" Ben ")).body["source_id"]
        assert blank == ("Ben" if "source_id_blanks=trimmed" in switches else " Ben ")


@pytest.mark.parametrize(
    ("single", "bulk", "metadata"),
    [
        ("merge", "same", {"a": "1", "b": "2"}),
        ("replace", "same", {"b": "2"}),
        ("merge", "replace", {"b": "2"}),
        ("replace", "merge", {"a": "1", "b": "2"}),
    ],
)
def test_a_bulk_request_may_update_metadata_in_its_own_way(single: Any, bulk: Any, metadata: Any) -> None:
    """By default as the single call does."""
    with Sandbox(SandboxOptions(metadata_update=single, bulk_metadata_update=bulk)) as sandbox:
        call(sandbox, "POST", CUSTOMERS, customer(metadata={"a": "1"}))
        call(sandbox, "POST", BULK, [customer(metadata={"b": "2"})])
        assert call(sandbox, "GET", f"{CUSTOMERS}/u1").body["metadata"] == metadata


@pytest.mark.parametrize(
    ("how", "kept"),
    [
        ("keep", {"n": 1.5, "t": "x", "flag": True, "list": [1, "a"], "none": None, "defined": 5, "old": 1}),
        (
            "text",
            {"n": "1.5", "t": "x", "flag": "true", "list": '[1,"a"]', "none": None, "defined": 5, "old": "1"},
        ),
    ],
)
def test_metadata_that_no_schema_defines_is_kept_or_becomes_text(how: Any, kept: dict[str, Any]) -> None:
    """Of customers, single and in bulk, and of orders; a removed definition is none."""
    sent = {"n": 1.5, "t": "x", "flag": True, "list": [1, "a"], "none": None, "defined": 5, "old": 1}
    properties = {"defined": {"type": "number"}, "old": {"type": "number", "deleted": True}}
    schemas = tuple({"related_object": name, "properties": properties} for name in ("customer", "order"))
    with Sandbox(SandboxOptions(undefined_metadata=how, metadata_schemas=schemas)) as sandbox:
        assert call(sandbox, "POST", CUSTOMERS, customer(metadata=sent)).body["metadata"] == kept
        call(sandbox, "POST", BULK, [customer("u2", metadata=sent)])
        call(sandbox, "POST", IMPORT, [order(metadata=sent)])
        assert call(sandbox, "GET", f"{CUSTOMERS}/u2").body["metadata"] == kept
        assert call(sandbox, "GET", "/v1/orders/o1").body["metadata"] == kept


@pytest.mark.parametrize(("how", "count"), [("filter", 0), ("ignore", 1)])
def test_the_dates_of_an_activity_are_heeded_or_not(how: Any, count: int) -> None:
    """One that cannot be read is refused either way."""
    with Sandbox(SandboxOptions(activity_dates=how)) as sandbox:
        call(sandbox, "POST", EVENTS, event())
        path = f"{CUSTOMERS}/u1/activity"
        assert len(call(sandbox, "GET", f"{path}?start_date=2999-01-01").body["data"]) == count
        assert len(call(sandbox, "GET", f"{path}?end_date=1999-01-01").body["data"]) == count
        assert call(sandbox, "GET", f"{path}?start_date=soon").status == 400


@pytest.mark.parametrize(("how", "status"), [("accept", 200), ("reject", 400)])
def test_an_api_version_that_never_was_is_accepted_or_refused(how: Any, status: int) -> None:
    """Those that the API has had are taken, and so is none at all."""
    with Sandbox(SandboxOptions(unknown_api_version=how)) as sandbox:
        for version, answered in (("v2018-08-01", 200), ("v2017-04-05", 200), ("v1999-01-01", status)):
            headers = {**KEYS, "X-Voucherify-API-Version": version}
            assert call(sandbox, "GET", CUSTOMERS, None, headers).status == answered
        assert call(sandbox, "GET", CUSTOMERS).status == 200


def test_a_permission_may_be_missing_for_one_endpoint() -> None:
    """By a fault: 403 with the body of the API, and nothing happens there; other calls go on."""
    with Sandbox(faults=[Fault.parse("POST /v1/events status 403")]) as sandbox:
        refused = call(sandbox, "POST", EVENTS, event())
        assert (refused.status, refused.body["key"]) == (403, "missing_required_permission")
        assert call(sandbox, "POST", CUSTOMERS, customer()).status == 200
        assert sandbox.counts()[:2] == (1, 0)
