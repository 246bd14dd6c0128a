"""Field types: what a value becomes, and what is dropped."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.segment_events import body_of, dropped_of, identify, track
from support.settings_text import loaded

from voucherify_sync.events import Json, Request
from voucherify_sync.field_types import Dropped, date_of, present_text, reason_of_misfit
from voucherify_sync.mapping.mapper import Mapper
from voucherify_sync.outcomes import Outcome
from voucherify_sync.paths import holds_a_non_number, parse_destination
from voucherify_sync.settings.types import Identify, Settings, Track
from voucherify_sync.text import text_of


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param("00123", "00123", id="text"),
        pytest.param("", "", id="empty text"),
        pytest.param(" a ", " a ", id="never trimmed"),
        pytest.param(0, "0", id="zero"),
        pytest.param(2**70, "1180591620717411303424", id="an integer of any size"),
        pytest.param(12.0, "12", id="a whole float"),
        pytest.param(-0.0, "0", id="minus zero"),
        pytest.param(4.501, "4.501", id="a float"),
        pytest.param(1e21, "1000000000000000000000", id="no exponent, large"),
        pytest.param(1.5e-7, "0.00000015", id="no exponent, small"),
        pytest.param(1e23, "100000000000000000000000", id="as it was written, not as it is stored"),
        pytest.param(True, None, id="true"),
        pytest.param(False, None, id="false"),
        pytest.param(None, None, id="null"),
        pytest.param(["a"], None, id="list"),
        pytest.param({"a": 1}, None, id="object"),
        pytest.param(float("nan"), None, id="NaN"),
        pytest.param(float("inf"), None, id="Infinity"),
    ],
)
def test_a_text_field_holds_text_and_numbers(value: object, text: str | None) -> None:
    """Numbers become their exact decimal text; true, lists and objects are no text."""
    assert text_of(value) == text


@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False))
def test_the_text_of_a_number_is_that_number(number: float) -> None:
    """No digit is lost, and no exponent appears."""
    text = text_of(number)
    assert text is not None
    assert Decimal(text) == Decimal(json.dumps(number))
    assert "e" not in text.lower()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param("u1", "u1", id="text"),
        pytest.param(" u1 ", " u1 ", id="blanks around"),
        pytest.param(0, "0", id="zero"),
        pytest.param("", None, id="empty"),
        pytest.param(" \t\u00a0", None, id="blank"),
        pytest.param(True, None, id="true"),
        pytest.param(None, None, id="null"),
        pytest.param([1], None, id="list"),
    ],
)
def test_a_blank_text_is_not_present(value: object, text: str | None) -> None:
    """What a fallback stands in for: blank, null and what is no text."""
    assert present_text(value) == text


@pytest.mark.parametrize(
    ("birthdate", "sent"),
    [
        *(
            (text, "1990-05-01")
            for text in ("1990-05-01", " 1990-05-01 ", "19900501", "1990-05-01T23:59:00-08:00")
        ),
        *((text, "1990-05-01") for text in ("1990-05-01 00:00:00", "1990-05-01t10", "19900501T000000Z")),
        ("2024-02-29", "2024-02-29"),
        *(
            (text, None)
            for text in ("05/01/1990", "1990", "1990-5-1", "1990-02-30", "2023-02-29", "1990-13-01")
        ),
        *(
            (text, None)
            for text in ("0000-01-01", "1990-05-01Z", "1990-05-01T", "1 May 1990", "641520000000")
        ),
        *(
            (text, None)
            for text in ("\uff11\uff19\uff19\uff10-05-01", "1990-05-01x", "-1990-05-01", "n/a", "+019900501")
        ),
    ],
)
def test_a_birthdate_is_a_day_of_the_calendar_or_none(birthdate: str, sent: str | None) -> None:
    """Voucherify refuses the whole customer for any other text. The day is taken as it is written."""
    assert date_of(birthdate) == sent


@pytest.mark.parametrize(
    ("value", "found"),
    [
        pytest.param({"a": [1, 2.5, "NaN", None, True]}, False, id="none"),
        pytest.param(float("nan"), True, id="NaN"),
        pytest.param({"a": {"b": [0, float("-inf")]}}, True, id="deep inside"),
    ],
)
def test_a_number_that_json_cannot_carry_is_found(value: object, found: bool) -> None:
    """NaN, Infinity and what is out of range, at any depth."""
    assert holds_a_non_number(value) is found


@pytest.mark.parametrize(
    ("customer", "settled", "dropped"),
    [
        pytest.param({"phone": 48600}, {"phone": "48600"}, [], id="a number becomes text"),
        pytest.param({"phone": True}, {}, [("customer.phone", "not_text")], id="true is dropped"),
        pytest.param({"email": ["a@b"]}, {}, [("customer.email", "not_text")], id="a list is dropped"),
        pytest.param(
            {"name": {"first": "A"}}, {}, [("customer.name", "not_text")], id="an object is dropped"
        ),
        pytest.param(
            {"firstName": False}, {}, [("customer.firstName", "not_text")], id="so are working fields"
        ),
        pytest.param(
            {"description": ""}, {}, [("customer.description", "blank")], id="an empty text is absent"
        ),
        pytest.param({"phone": None}, {"phone": None}, [], id="a null that was let through stays"),
        pytest.param(
            {"address": {"postal_code": 90210, "city": None}},
            {"address": {"postal_code": "90210", "city": None}},
            [],
            id="address fields are text",
        ),
        pytest.param(
            {"address": {"city": True}},
            {},
            [("customer.address.city", "not_text")],
            id="empty address",
        ),
        pytest.param({"address": {}, "metadata": {}}, {}, [], id="empty objects are not sent"),
        pytest.param(
            {"metadata": {"a": None, "b": 1.0, "c": [True]}},
            {"metadata": {"a": None, "b": 1.0, "c": [True]}},
            [],
            id="metadata is left as it is",
        ),
        pytest.param(
            {"birthdate": "1990-02-03T04:05:06Z"}, {"birthdate": "1990-02-03"}, [], id="a datetime is cut"
        ),
        pytest.param(
            {"birthdate": "1990-02-03 04:05"}, {"birthdate": "1990-02-03"}, [], id="with a blank, too"
        ),
        pytest.param({"birthdate": "1990-02-03"}, {"birthdate": "1990-02-03"}, [], id="a date stays"),
        pytest.param(
            {"birthdate": "3 Feb 1990"},
            {},
            [("customer.birthdate", "not_a_date")],
            id="no date",
        ),
    ],
)
def test_a_customer_s_fields_are_settled(customer: Json, settled: Json, dropped: list[Dropped]) -> None:
    """Every field gets its type, or goes and is reported."""
    rows = {f"traits.{name}": [f"customer.{name}"] for name in customer}
    settings = Settings(identify=Identify(mapping=rows, nulls="clear"))
    event = identify(customer)
    assert body_of(event, settings) == {"source_id": "u1", **settled}
    assert dropped_of(event, settings) == dropped


@pytest.mark.parametrize(
    ("customer", "own_id", "settled", "known_by"),
    [
        pytest.param({"source_id": "u1"}, "u1", {"source_id": "u1"}, "u1", id="the event's own"),
        pytest.param({"source_id": "crm-7"}, "u1", {"source_id": "crm-7"}, "crm-7", id="a mapped one"),
        pytest.param({"source_id": " "}, "u1", {"source_id": "u1"}, "u1", id="a blank one gives way"),
        pytest.param({"source_id": None}, "u1", {"source_id": "u1"}, "u1", id="a null cannot erase it"),
        pytest.param({}, "u1", {"source_id": "u1"}, "u1", id="a dropped one gives way"),
        pytest.param(
            {"source_id": "u1", "id": "cust_1"}, "u1", {"source_id": "u1", "id": "cust_1"}, "cust_1", id="id"
        ),
        pytest.param({"id": "cust_1"}, None, {"id": "cust_1"}, "cust_1", id="only an id"),
        pytest.param({"id": None}, None, {}, None, id="a null id"),
        pytest.param({}, None, {}, None, id="no id at all"),
    ],
)
def test_a_customer_s_ids_are_settled(
    customer: Json, own_id: str | None, settled: Json, known_by: str | None
) -> None:
    """Voucherify knows a customer by `id` first, else by `source_id`, which is never blank."""
    rows = {f"traits.{name}": [f"customer.{name}"] for name in ("source_id", "id")}
    event = identify(customer, userId=own_id)
    made = Mapper(Settings(identify=Identify(mapping=rows, nulls="clear"))).request(event)
    if known_by is None:
        assert isinstance(made, Outcome)
        assert made.reason == "no_id"
    else:
        assert isinstance(made, Request)
        assert (made.body, made.source_id) == (settled, known_by)


@pytest.mark.parametrize(
    ("customer", "own", "name", "used"),
    [
        pytest.param({"name": "Ann"}, {"firstName": "Bob"}, "Ann", (), id="a name is kept"),
        pytest.param({"firstName": "Ann", "lastName": "Lee"}, {}, "Ann Lee", (), id="joined by one space"),
        pytest.param({"firstName": "Ann"}, {}, "Ann", (), id="first alone"),
        pytest.param({"lastName": "Lee"}, {}, "Lee", (), id="last alone"),
        pytest.param({"firstName": " Ann ", "lastName": "Lee"}, {}, "Ann Lee", (), id="blanks around"),
        pytest.param(
            {"firstName": "Ann"}, {"firstName": "Bob", "lastName": "Fox"}, "Ann Fox", ("lastName",), id="own"
        ),
        pytest.param(
            {}, {"firstName": "Bob", "lastName": 7}, "Bob 7", ("firstName", "lastName"), id="both own"
        ),
        pytest.param(
            {"firstName": " "}, {"firstName": "Bob"}, "Bob", ("firstName",), id="blank is undefined"
        ),
        pytest.param({"name": " ", "firstName": "Ann"}, {}, "Ann", (), id="a blank name is undefined"),
        pytest.param({"name": ""}, {}, "absent", (), id="and not sent"),
        pytest.param({"name": None}, {}, None, (), id="a null name erases"),
        pytest.param(
            {"name": None}, {"firstName": "Bob"}, "Bob", ("firstName",), id="unless there is another"
        ),
        pytest.param({}, {"firstName": True, "lastName": ["x"]}, "absent", (), id="no text is undefined"),
        pytest.param({}, {}, "absent", (), id="nothing"),
    ],
)
def test_a_name_is_made_of_first_and_last(
    customer: Json, own: Json, name: str | None, used: tuple[str, ...]
) -> None:
    """Mapped ones first, then the event's own; neither is sent, and those that serve are not lost."""
    rows = {f"traits.mapped.{name}": [f"customer.{name}"] for name in ("name", "firstName", "lastName")}
    mapper = Mapper(Settings(identify=Identify(mapping=rows, nulls="clear")))
    made = mapper.request(identify({"mapped": customer, **own}))
    assert isinstance(made, Request)
    body = made.body
    assert body.pop("name", "absent") == name
    assert body == {"source_id": "u1"}
    unmapped = mapper.stats.to_dict()["identify"]["unmapped"]
    assert unmapped.keys() == {f"traits.{key}" for key in own if key not in used}


@pytest.mark.parametrize(
    "value", ["x", "", " ", "2000-02-30", "2000-02-29T10:00", 0, 20000229, True, [], {"a": "b"}]
)
@pytest.mark.parametrize(
    "place",
    [
        "event",
        "customer.name",
        "customer.firstName",
        "customer.birthdate",
        "customer.source_id",
        "customer.id",
        "customer.address.city",
        "customer.address",
        "customer.metadata",
        "metadata",
        "metadata.a",
        "referral.code",
    ],
)
def test_a_constant_is_refused_where_the_mapping_would_drop_it(place: str, value: Json) -> None:
    """The settings know it beforehand, so what they refuse is what a row drops, and nothing else."""
    settings = Settings(track=Track(mapping={"properties.v": [place]}))
    dropped = dropped_of(track({"v": value}), settings)
    expected = [reason for path, reason in dropped if path == place or place == "referral.code"]
    reason = reason_of_misfit(parse_destination(place).keys, value)
    assert (reason is not None) == bool(expected), (reason, dropped)
    if place != "referral.code":  # without it the whole referral goes
        assert expected == [reason] * bool(reason)


def test_constants_in_braces_are_the_same_as_with_dots(tmp_path: Path) -> None:
    """As in `set`."""
    text = (
        "track: {add: {customer: {name: A, address: {city: B}}, referral: {code: C}, metadata: {a: {b: 1}}}}"
    )
    assert body_of(track(), loaded(tmp_path, text)) == {
        "event": "Order Completed",
        "customer": {"source_id": "u1", "name": "A", "address": {"city": "B"}},
        "metadata": {"a": {"b": 1}},
        "referral": {"code": "C"},
    }
