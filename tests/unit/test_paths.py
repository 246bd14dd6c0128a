"""Paths: how they are written, what they read, where they may write."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voucherify_sync.paths import (
    MISSING,
    PathError,
    check_row,
    object_at,
    parse_destination,
    parse_source,
    read,
)


@pytest.mark.parametrize(
    ("text", "keys", "wildcard"),
    [
        pytest.param("timestamp", ("timestamp",), False, id="one name"),
        pytest.param("traits.address.city", ("traits", "address", "city"), False, id="dots"),
        pytest.param("traits.total billed", ("traits", "total billed"), False, id="a blank inside a name"),
        pytest.param('traits["odd.key"].x', ("traits", "odd.key", "x"), False, id="quoted"),
        pytest.param("traits['it\\'s']", ("traits", "it's"), False, id="single quotes and an escape"),
        pytest.param("traits.emails[0]", ("traits", "emails", 0), False, id="index"),
        pytest.param("properties.products[12].sku", ("properties", "products", 12, "sku"), False, id="below"),
        pytest.param("traits.*", ("traits",), True, id="wildcard"),
        pytest.param("traits.a*b", ("traits", "a*b"), False, id="a star inside a name"),
        pytest.param("$.properties.email", ("properties", "email"), False, id="dollar"),
        pytest.param("$.traits.*", ("traits",), True, id="dollar and wildcard"),
        pytest.param("$['properties']['a b']", ("properties", "a b"), False, id="dollar and brackets"),
        pytest.param('["$"].x', ("$", "x"), False, id="a key that is a dollar"),
        pytest.param("$traits.x", ("$traits", "x"), False, id="a key that begins with a dollar"),
        pytest.param("traits.$.x", ("traits", "$", "x"), False, id="a dollar inside"),
    ],
)
def test_a_source_path_is_taken_apart(text: str, keys: tuple[str | int, ...], wildcard: bool) -> None:
    """Dots, quoted keys, indexes and a final wildcard."""
    path = parse_source(text)
    assert (path.keys, path.wildcard, path.text) == (keys, wildcard, text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("", "names no field", id="empty"),
        pytest.param("  ", "names no field", id="blank"),
        pytest.param(".*", "names no field", id="only a wildcard"),
        pytest.param("$.", "names no field", id="only a dollar and a dot"),
        pytest.param("$..email", "empty name beside a dot", id="JSONPath's two dots"),
        pytest.param("traits..name", "empty name beside a dot", id="two dots"),
        pytest.param(".traits", "empty name beside a dot", id="a dot first"),
        pytest.param("traits.", "empty name beside a dot", id="a dot last"),
        pytest.param("traits.*.name", "only stand at the end", id="a wildcard inside"),
        pytest.param("*", "only stand at the end", id="a wildcard alone"),
        pytest.param("traits.**", "only stand at the end", id="two stars"),
        pytest.param("traits[name]", "in brackets goes", id="an unquoted key in brackets"),
        pytest.param("traits[-1]", "in brackets goes", id="a negative index"),
        pytest.param('traits["name', "in brackets goes", id="an open bracket"),
        pytest.param("traits[0]name", "after a bracket comes", id="no dot after a bracket"),
    ],
)
def test_a_text_that_is_no_path_is_refused_in_a_sentence(text: str, says: str) -> None:
    """The settings show the sentence with its place in the file."""
    with pytest.raises(PathError, match=says):
        parse_source(text)


@pytest.mark.parametrize(
    "text",
    [
        "event",
        "customer",
        "customer.*",
        "customer.source_id",
        "customer.firstName",
        "customer.address",
        "customer.address.line_2",
        "customer.metadata",
        "customer.metadata.*",
        "customer.metadata.plan.tier",
        'customer.metadata["odd.key"]',
        "metadata",
        "metadata.*",
        "metadata.occurred_at",
        "referral",
        "referral.code",
        "referral.referrer_id",
        "loyalty",
        "loyalty.code",
    ],
)
def test_a_destination_is_a_place_that_a_request_has(text: str) -> None:
    """Event, customer, metadata, referral and loyalty with the fields that Voucherify knows."""
    assert parse_destination(text).text == text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("costumer.name", "did you mean 'customer.name'", id="a part misspelt"),
        pytest.param("customer.e_mail", "did you mean 'customer.email'", id="a field misspelt"),
        pytest.param("customer.first_name", "did you mean 'customer.firstName'", id="snake_case"),
        pytest.param("customer.birthday", "did you mean 'customer.birthdate'", id="another word for it"),
        pytest.param("customer.surname", "did you mean 'customer.lastName'", id="a word of other tools"),
        pytest.param("customer.address.province", "'customer.address.state'", id="one of an address"),
        pytest.param("customer.adress.city", "did you mean 'customer.address.city'", id="kept below"),
        pytest.param(
            "customer.address.street", "did you mean 'customer.address.line_1'", id="Segment's word"
        ),
        pytest.param(
            "customer.address.postalCode", "did you mean 'customer.address.postal_code'", id="camel"
        ),
        pytest.param("customer.plan", "can go to 'customer.metadata.plan'", id="no such field"),
        pytest.param("customer.address.planet", "only city, state, line_1", id="no such address field"),
        pytest.param("loyalty.points", "only code", id="no such loyalty field"),
        pytest.param("properties", "only event, customer, metadata", id="a source"),
        pytest.param("customer.name.first", "customer.name is a text field", id="below a text"),
        pytest.param("event.name", "event is a text field", id="below the event's name"),
        pytest.param("event.*", "event is a text field", id="each key of a text"),
        pytest.param("customer.metadata[0]", "cannot be filled by", id="an index"),
    ],
)
def test_an_unknown_destination_is_refused_with_what_may_be_meant(text: str, says: str) -> None:
    """A typo must not lose data silently."""
    with pytest.raises(PathError, match=says):
        parse_destination(text)


def test_a_wildcard_needs_room_for_many_values() -> None:
    """`traits.*` goes to `….*` or to an object."""
    wildcard = parse_source("traits.*")
    check_row(wildcard, parse_destination("customer.metadata.*"))
    check_row(wildcard, parse_destination("customer"))
    with pytest.raises(PathError, match="holds only one"):
        check_row(wildcard, parse_destination("customer.email"))
    with pytest.raises(PathError, match=r"did you mean 'traits\.\*'"):
        check_row(parse_source("traits"), parse_destination("customer.metadata.*"))


EVENT: dict[str, Any] = {
    "type": "identify",
    "traits": {
        "email": "a@example.com",
        "age": None,
        "address": {"city": "Łódź", "geo.lat": 51.7},
        "address.country": "PL",
        "emails": ["first@example.com", {"at": "second@example.com"}],
        "a.b": {"c.d": 1},
    },
    "traits.flat": "yes",
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("type", "identify", id="top level"),
        pytest.param("traits.email", "a@example.com", id="nested"),
        pytest.param("traits.age", None, id="null is there"),
        pytest.param("traits.address.city", "Łódź", id="two levels down"),
        pytest.param("traits.flat", "yes", id="the whole path is one key"),
        pytest.param("traits.address.country", "PL", id="the rest is one key"),
        pytest.param("traits.address.geo.lat", 51.7, id="the rest is one key further down"),
        pytest.param('traits.address["geo.lat"]', 51.7, id="quoted"),
        pytest.param('traits["a.b"]["c.d"]', 1, id="quoted twice"),
        pytest.param("traits.emails[0]", "first@example.com", id="index"),
        pytest.param("traits.emails[1].at", "second@example.com", id="below an index"),
        pytest.param("traits.emails[2]", MISSING, id="index out of range"),
        pytest.param("traits.emails.at", MISSING, id="a name in a list"),
        pytest.param("traits.address[0]", MISSING, id="an index into an object"),
        pytest.param("traits.email.domain", MISSING, id="below a text"),
        pytest.param("traits.phone", MISSING, id="absent"),
        pytest.param("context.ip", MISSING, id="absent at the top"),
        pytest.param("traits.address.*", {"city": "Łódź", "geo.lat": 51.7}, id="wildcard"),
    ],
)
def test_a_value_is_read_by_its_path(text: str, value: object) -> None:
    """At each level the whole rest is tried as one key before it is split."""
    assert read(EVENT, parse_source(text)) == value


KEYS = st.lists(st.text("abc_ é", min_size=1, max_size=3), min_size=1, max_size=4)


@given(KEYS, st.integers())
def test_what_lies_at_keys_is_read_by_their_path(keys: list[str], value: int) -> None:
    """Quoted keys are taken as they are; and it is told by which keys a path was read."""
    path = parse_source("metadata" + "".join(f'["{key}"]' for key in keys))
    target: dict[str, Any] = {}
    object_at(target, ["metadata", *keys[:-1]])[keys[-1]] = value
    assert read(target, path) == value
    found: list[str | int] = []
    read(target, path, found)
    assert found == ["metadata", *keys]


@given(st.text(max_size=20))
def test_any_text_is_a_path_or_a_path_error(text: str) -> None:
    """No text of a settings file makes the parser fail in another way."""
    for parse in (parse_source, parse_destination):
        with suppress(PathError):
            assert parse(text).keys
