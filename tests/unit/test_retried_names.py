"""The halves of a name are joined over the records of a retry, and what a request holds besides is not touched."""

from __future__ import annotations

import msgspec
from support.evidence import Record, request_of

from voucherify_sync.events import Kind, Request
from voucherify_sync.run.retried_names import RetriedNames


def half(user: str, line: int, field: str, name: str, kind: str = "identify", **more: object) -> Request:
    """Make the request of a record that holds half a name."""
    request = request_of(Record(kind, f"m-{line}", user), line)
    customer = {"source_id": user, "name": name, **more}
    body = customer if request.kind is Kind.CUSTOMER else {**request.body, "customer": customer}
    folded = {key: value for key, value in customer.items() if key != "name"} | {field: name}
    encode = msgspec.json.encode
    return msgspec.structs.replace(request, payload=encode(body), customer=encode(folded))


def test_the_other_half_comes_from_an_earlier_record() -> None:
    """Of an identify or of a custom event; what is left with half a name is counted."""
    names = RetriedNames()
    assert names.join(half("u", 1, "firstName", "Ada")).body["name"] == "Ada"
    assert names.halves().count == 1
    joined = names.join(half("u", 2, "lastName", "Lovelace", "track"))
    assert joined.body["customer"]["name"] == "Ada Lovelace"
    assert names.halves().count == 0
    assert names.join(half("v", 3, "lastName", "Byron")).body["name"] == "Byron"
    assert [example.text for example in names.halves().examples] == ["Byron"]


def test_what_else_a_request_holds_stays_to_the_byte() -> None:
    """Such as integers of any size."""
    names = RetriedNames()
    names.join(half("u", 1, "firstName", "Ada"))
    request = half("u", 2, "lastName", "Lovelace")
    payload = b'{"source_id":"u","name":"Lovelace","metadata":{"n":123456789012345678901234567890,"x":1.50}}'
    joined = names.join(msgspec.structs.replace(request, payload=payload))
    assert joined.payload == payload.replace(b"Lovelace", b"Ada Lovelace")


def test_the_customers_seen_last_are_remembered() -> None:
    """However many there are: what was forgotten is told as half a name."""
    names = RetriedNames(limit=2)
    for line, user in enumerate("abac", start=1):
        names.join(half(user, line, "firstName", user.upper()))
    assert names.join(half("a", 8, "lastName", "Z")).body["name"] == "A Z"
    assert names.join(half("b", 9, "lastName", "Z")).body["name"] == "Z"
    assert names.halves().count == 3  # of b twice, and of c
