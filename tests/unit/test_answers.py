"""Answers that repeat their request show neither the token nor the customer."""

from __future__ import annotations

import json

import msgspec
import pytest

from voucherify_sync.events import Event, Json, Kind, Position, Request
from voucherify_sync.settings.types import Secret
from voucherify_sync.voucherify.answers import Reply, presentable, sent_of_customer

TOKEN = "c0ffee-c0ffee-c0ffee"
CUSTOMER: Json = {
    "source_id": "user-77",
    "email": "zoë@example.com",
    "address": {"country": "GB", "city": "Łódź"},
    "metadata": {"tags": ["vip-club", 12345]},
}


def make_request(kind: Kind) -> Request:
    """Make a request about the customer."""
    body: Json = {"event": "Order Completed", "customer": CUSTOMER, "metadata": {"note": "call me"}}
    body = body if kind is Kind.EVENT else CUSTOMER
    record = Event(Position("a.ndjson", 1), "track", None, "m-1", {}, b"{}")
    return Request(record, kind, "user-77", msgspec.json.encode(body))


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("ascii_only", [True, False])
def test_an_answer_that_quotes_its_request_is_hidden(kind: Kind, ascii_only: bool) -> None:
    """All texts of customer and metadata, and the token, however the JSON writes them; it stays JSON."""
    said = {
        "key": "not_found",
        "message": f"{TOKEN} of {json.dumps(CUSTOMER)}",
        "request": make_request(kind).body,
    }
    reply = Reply(400, {}, json.dumps(said, ensure_ascii=ascii_only).encode())
    shown = presentable(reply, sent_of_customer(make_request(kind)), Secret(TOKEN))
    text = json.dumps(json.loads(shown.body), ensure_ascii=False)
    assert not [part for part in (TOKEN, "user-77", "zoë@", "Łódź", "vip-club", "call me") if part in text]
    assert "not_found" in text
    assert ("Order Completed" in text) is (kind is Kind.EVENT)


def test_what_holds_nothing_of_the_request_stays_as_it_is() -> None:
    """Short texts are part of ordinary words."""
    body = b'{"code":400,"key":"invalid_payload","details":"GBP is no currency"}'
    reply = Reply(400, {}, body)
    shown = presentable(reply, sent_of_customer(make_request(Kind.EVENT)), Secret(TOKEN))
    assert shown.body == body
