"""Customers in the sandbox: created, updated, found and listed."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from support.sandbox_client import CUSTOMERS, EVENTS, call, customer, event

from voucherify_sync.sandbox import Sandbox

IDS = ["u1", "ann@example.com", "a/b", "a%2Fb", "50%", "żółw 🐢", "a b+c", "?x=1#y", "bulk", ".."]


@pytest.fixture
def sandbox() -> Any:
    """Run a sandbox with all its defaults."""
    with Sandbox() as running:
        yield running


def test_a_new_customer_is_answered_whole(sandbox: Sandbox) -> None:
    """200, never 201; updated_at is absent until the first update."""
    fields = customer(
        name="Ann",
        email="a@b.c",
        phone="1",
        birthdate="1990-05-01",
        address={"city": "Łódź"},
        metadata={"plan": "pro"},
    )
    reply = call(sandbox, "POST", CUSTOMERS, fields)
    assert reply.status == 200
    assert fields.items() <= reply.body.items()
    assert reply.body["object"] == "customer"
    assert reply.body["id"].startswith("cust_")
    assert len(reply.body["id"]) == 29
    assert {"summary", "loyalty", "referrals", "created_at", "system_metadata"} <= set(reply.body)
    assert "updated_at" not in reply.body
    assert reply.headers["Content-Type"].startswith("application/json")
    assert reply.headers["Date"].endswith("GMT")


def test_the_same_source_id_updates_the_customer(sandbox: Sandbox) -> None:
    """What the request does not name stays."""
    first = call(sandbox, "POST", CUSTOMERS, customer(name="Ann", email="a@b.c")).body
    second = call(sandbox, "POST", CUSTOMERS, customer(name="Anna")).body
    assert (second["id"], second["name"], second["email"]) == (first["id"], "Anna", "a@b.c")
    assert second["updated_at"] >= first["created_at"]
    assert sandbox.counts() == (1, 0, 2)


def test_an_id_wins_over_a_source_id_which_never_changes(sandbox: Sandbox) -> None:
    """With both, the source_id is ignored."""
    known = call(sandbox, "POST", CUSTOMERS, customer("u1")).body
    both = call(sandbox, "POST", CUSTOMERS, {"id": known["id"], "source_id": "u2", "name": "Ann"}).body
    assert (both["source_id"], both["name"]) == ("u1", "Ann")


def test_a_customer_without_source_id_is_new_each_time(sandbox: Sandbox) -> None:
    """Nothing is required, and every retry makes another customer."""
    for _ in range(2):
        assert call(sandbox, "POST", CUSTOMERS, {"name": "Ann"}).status == 200
    assert sandbox.counts()[0] == 2


@pytest.mark.parametrize("source_id", IDS)
def test_a_customer_is_found_by_its_percent_encoded_source_id(sandbox: Sandbox, source_id: str) -> None:
    """Decoded exactly once, whatever the id holds."""
    made = call(sandbox, "POST", CUSTOMERS, customer(source_id)).body
    path = f"{CUSTOMERS}/{quote(source_id, safe='')}"
    assert call(sandbox, "GET", path).body == made
    assert call(sandbox, "GET", f"{CUSTOMERS}/{made['id']}").body == made
    assert call(sandbox, "PUT", path, {"name": "Ann"}).body["name"] == "Ann"
    call(sandbox, "POST", EVENTS, event(source_id=source_id))
    assert len(call(sandbox, "GET", f"{path}/activity").body["data"]) == 1


def test_a_plus_in_a_path_is_a_plus(sandbox: Sandbox) -> None:
    """Only a query turns it into a blank."""
    call(sandbox, "POST", CUSTOMERS, customer("a+b"))
    assert call(sandbox, "GET", f"{CUSTOMERS}/a+b").status == 200


def test_put_never_creates(sandbox: Sandbox) -> None:
    """An unknown customer is 404."""
    assert call(sandbox, "PUT", f"{CUSTOMERS}/nobody", {"name": "x"}).error == (
        404,
        "not_found",
        "Cannot find customer with id nobody",
    )
    assert sandbox.counts()[0] == 0


def test_customers_are_listed_by_pages_newest_first(sandbox: Sandbox) -> None:
    """Limit 1 to 100, page 1 to 99."""
    for number in range(12):
        call(sandbox, "POST", CUSTOMERS, customer(f"u{number}"))
    listed = call(sandbox, "GET", f"{CUSTOMERS}?limit=5&page=3").body
    assert [one["source_id"] for one in listed["customers"]] == ["u1", "u0"]
    assert (listed["object"], listed["data_ref"], listed["total"], listed["has_more"]) == (
        "list",
        "customers",
        12,
        False,
    )
    oldest = call(sandbox, "GET", f"{CUSTOMERS}?order=created_at&limit=1").body
    assert (oldest["customers"][0]["source_id"], oldest["has_more"]) == ("u0", True)
    assert len(call(sandbox, "GET", CUSTOMERS).body["customers"]) == 10


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=ten", "page=100", "limit=" + "9" * 5000])
def test_a_query_out_of_range_is_refused(sandbox: Sandbox, query: str) -> None:
    """invalid_query_params, with the parameter's name."""
    status, key, details = call(sandbox, "GET", f"{CUSTOMERS}?{query}").error
    assert (status, key) == (400, "invalid_query_params")
    assert query.partition("=")[0] in details
