"""What all endpoints of the sandbox share: errors, methods, types, keys; and the metadata schemas."""

from __future__ import annotations

from typing import Any

import pytest
from support.sandbox_client import BULK, CUSTOMERS, EVENTS, KEYS, call, customer, event

from voucherify_sync.sandbox import Sandbox, SandboxOptions


@pytest.fixture
def sandbox() -> Any:
    """Run a sandbox with all its defaults."""
    with Sandbox() as running:
        yield running


REFUSED = [
    pytest.param(EVENTS, {"customer": {}}, "Payload must have required property 'event'", id="no event"),
    pytest.param(EVENTS, {"event": "E"}, "Payload must have required property 'customer'", id="no customer"),
    pytest.param(EVENTS, {"event": "", "customer": {}}, "1 to 300", id="empty name"),
    pytest.param(EVENTS, {"event": "x" * 301, "customer": {}}, "1 to 300", id="long name"),
    pytest.param(EVENTS, {"event": 5, "customer": {}}, "Property .event should be string", id="name no text"),
    pytest.param(
        EVENTS, {"event": "E", "customer": "u1"}, "Property .customer must be object", id="customer no object"
    ),
    pytest.param(EVENTS, event(metadata=[]), "Property .metadata must be object", id="metadata no object"),
    pytest.param(
        EVENTS, event(referral={}), "Property .referral should have required property 'code'", id="referral"
    ),
    pytest.param(
        EVENTS, event(loyalty={"code": 1}), "Property .loyalty.code should be string", id="loyalty code"
    ),
    pytest.param(EVENTS, event(loyalty="x"), "Property .loyalty must be object", id="loyalty no object"),
    pytest.param(
        EVENTS,
        {"event": "E", "customer": {"phone": 1}},
        "Property .customer.phone should be string,null",
        id="customer field of an event",
    ),
    pytest.param(EVENTS, [], "Payload must be object", id="event in a list"),
    pytest.param(CUSTOMERS, [], "Payload must be object", id="customer in a list"),
    pytest.param(CUSTOMERS, {"source_id": 5}, "Property .source_id should be string,null", id="number as id"),
    pytest.param(CUSTOMERS, customer(""), "shorter than 1", id="empty id"),
    pytest.param(CUSTOMERS, customer(name=["x"]), "Property .name should be string,null", id="name no text"),
    pytest.param(
        CUSTOMERS, customer(metadata="x"), "Property .metadata must be object,null", id="metadata no object"
    ),
    pytest.param(
        CUSTOMERS, customer(address="x"), "Property .address must be object,null", id="address no object"
    ),
    pytest.param(
        CUSTOMERS,
        customer(address={"city": 1}),
        "Property .address.city should be string,null",
        id="city no text",
    ),
    pytest.param(CUSTOMERS, customer(birthdate="1 May"), "should match format 'date'", id="birthdate"),
    pytest.param(BULK, {"source_id": "u1"}, "Payload must be array", id="bulk no list"),
    pytest.param(
        BULK, [customer(), {"name": "x"}], "[1] should have required property 'source_id'", id="bulk no id"
    ),
    pytest.param(BULK, ["u1"], "[0] must be object", id="bulk of texts"),
]


@pytest.mark.parametrize(("path", "body", "says"), REFUSED)
def test_a_body_that_breaks_a_rule_is_invalid_payload(
    sandbox: Sandbox, path: str, body: Any, says: str
) -> None:
    """400, with the property; nothing is processed."""
    status, key, details = call(sandbox, "POST", path, body).error
    assert (status, key) == (400, "invalid_payload")
    assert says in details
    assert sandbox.counts() == (0, 0, 1)
    assert sandbox.call_log.processed == []


@pytest.mark.parametrize("data", [b"{", b"", b'{"a":NaN}', b"\xff", b'{"a":1}{"b":2}', b"[" * 5000])
def test_a_body_that_is_no_json_is_refused_by_the_framework(sandbox: Sandbox, data: bytes) -> None:
    """400 in the framework's own shape."""
    reply = call(sandbox, "POST", CUSTOMERS, data)
    assert reply.body == {
        "statusCode": 400,
        "error": "Bad Request",
        "message": "Invalid request payload JSON format",
    }


@pytest.mark.parametrize(
    ("method", "path", "details"),
    [
        ("PUT", CUSTOMERS, "PUT is not supported by this endpoint. Did you mean GET or POST?"),
        ("GET", EVENTS, "GET is not supported by this endpoint. Did you mean POST?"),
        (
            "POST",
            f"{CUSTOMERS}/u1",
            "POST is not supported by this endpoint. Did you mean GET or PUT or DELETE?",
        ),
    ],
)
def test_a_wrong_method_is_405(sandbox: Sandbox, method: str, path: str, details: str) -> None:
    """With the methods that there are."""
    reply = call(sandbox, method, path)
    assert (reply.status, reply.body["message"]) == (405, "HTTP Method Not Allowed")
    assert reply.body["details"] == details


@pytest.mark.parametrize("path", ["/v1/", "/v1/voucher", "/v1/customers/u1/orders", "/v1/events/1"])
def test_an_unknown_path_is_404(sandbox: Sandbox, path: str) -> None:
    """As are unknown actions and schemas."""
    assert call(sandbox, "GET", path).error[:2] == (404, "not_found")


@pytest.mark.parametrize(
    ("header", "value", "status"), [("Content-Type", "text/plain", 415), ("Accept", "text/html", 406)]
)
def test_only_json_is_spoken(sandbox: Sandbox, header: str, value: str, status: int) -> None:
    """Another type of body is 415, another wish 406."""
    assert call(sandbox, "POST", CUSTOMERS, customer(), {**KEYS, header: value}).status == status


def test_metadata_schemas_are_listed_and_found() -> None:
    """By the name of their resource, or by id."""
    schema = {"related_object": "customer", "properties": {"age": {"type": "number", "optional": True}}}
    with Sandbox(SandboxOptions(metadata_schemas=(schema,))) as sandbox:
        listed = call(sandbox, "GET", "/v1/metadata-schemas").body
        assert (listed["data_ref"], listed["total"]) == ("schemas", 1)
        [shown] = listed["schemas"]
        assert schema.items() <= shown.items()
        assert call(sandbox, "GET", "/v1/metadata-schemas/customer").body == shown
        missing = call(sandbox, "GET", "/v1/metadata-schemas/order")
        assert missing.error[2] == "Cannot find metadata schema with id order"


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="none"),
        pytest.param({"X-App-Id": "app"}, id="no token"),
        pytest.param({"X-App-Id": "app", "X-App-Token": ""}, id="empty token"),
        pytest.param({"X-App-Id": "app", "X-App-Token": "other"}, id="wrong token"),
        pytest.param({"X-App-Id": "other", "X-App-Token": "token"}, id="wrong id"),
    ],
)
def test_without_the_right_keys_nothing_is_done(headers: dict[str, str]) -> None:
    """401 with the API's body, for every path."""
    with Sandbox(SandboxOptions(app_id="app", token="token")) as sandbox:
        assert call(sandbox, "POST", EVENTS, event()).status == 200
        reply = call(sandbox, "POST", EVENTS, event(), headers)
        assert (reply.status, reply.body) == (
            401,
            {"code": 401, "message": "Unauthorized", "key": "unauthorized"},
        )
        assert call(sandbox, "GET", "/v1/nowhere", None, headers).status == 401
        assert sandbox.counts()[1] == 1


def test_any_keys_do_where_none_are_set(sandbox: Sandbox) -> None:
    """But there must be some."""
    assert call(sandbox, "GET", CUSTOMERS, None, {"x-app-id": "?", "X-APP-TOKEN": "?"}).status == 200
    assert call(sandbox, "GET", CUSTOMERS, None, {}).status == 401
