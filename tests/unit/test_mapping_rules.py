"""The rules of the mapping, one by one, from an event to the bytes that are sent."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.segment_events import body_of, dropped_of, event_of, identify, outcome_of, request_of, track

from voucherify_sync.events import Batch, Event, Json, Kind, Request
from voucherify_sync.findings import (
    HALF_NAME,
    NAMED_BY_PROPERTIES,
    TRAITS_OF_ANOTHER,
    Example,
    FindingCount,
)
from voucherify_sync.mapping.filters import Selection
from voucherify_sync.mapping.mapper import Mapper
from voucherify_sync.outcomes import State
from voucherify_sync.run.pipeline import Pipeline
from voucherify_sync.settings.types import Identify, Personas, Rows, Settings, Track


def identify_rows(rows: Rows | None = None, **settings: Any) -> Settings:
    """Return settings whose identify part is this."""
    return Settings(identify=Identify(mapping=rows or {}, **settings))


def track_rows(rows: Rows | None = None, **settings: Any) -> Settings:
    """Return settings whose track part is this."""
    return Settings(track=Track(mapping=rows or {}, **settings))


# Rule 1: rows, wildcards, lists of destinations, constants


def test_rule_1_a_track_fills_every_part_of_a_request() -> None:
    """Destinations are event, customer, metadata, referral and loyalty."""
    settings = track_rows(
        {
            "properties.kind": ["event"],
            "properties.email": ["customer.email", "metadata.email"],
            "properties.*": ["metadata.*"],
            "timestamp": ["metadata.occurred_at"],
            "messageId": ["metadata.segment_message_id"],
            "properties.ref": ["referral.code"],
            "properties.by": ["referral.referrer_id"],
            "properties.card": ["loyalty.code"],
        },
        add={"metadata.replayed": True},
    )
    properties = {"kind": "Bought", "email": "a@example.com", "ref": "REF1", "by": "u2", "card": 77}
    event = track(properties, timestamp="2020-01-02T03:04:05Z", messageId="m1")
    assert body_of(event, settings) == {
        "event": "Bought",
        "customer": {"source_id": "u1", "email": "a@example.com"},
        "metadata": {
            **properties,
            "occurred_at": "2020-01-02T03:04:05Z",
            "segment_message_id": "m1",
            "replayed": True,
        },
        "referral": {"code": "REF1", "referrer_id": "u2"},
        "loyalty": {"code": "77"},
    }


def test_rule_1_an_object_row_keeps_the_event_s_own_id() -> None:
    """Segment's traits.id would hijack the customer; an explicit row may."""
    event = identify({"id": "cust_other", "source_id": "other", "email": "a@example.com"})
    merged = body_of(event, identify_rows({"traits": ["customer"]}))
    assert merged == {"source_id": "u1", "email": "a@example.com"}
    explicit = body_of(event, identify_rows({"traits.source_id": ["customer.source_id"]}))
    assert explicit == {"source_id": "other"}


def test_rule_1_an_identify_sends_its_customer_only() -> None:
    """Rows to event, metadata, referral and loyalty are of no use there."""
    settings = identify_rows({"traits.email": ["customer.email", "metadata.email"], "traits.n": ["event"]})
    assert body_of(identify({"email": "e", "n": "x"}), settings) == {"source_id": "u1", "email": "e"}


# Rule 2: one request an event


def test_rule_2_an_identify_is_one_customer_and_a_track_one_custom_event() -> None:
    """The kind decides how failures are read later."""
    customer = request_of(identify({"name": "Ann"}))
    assert (customer.kind, customer.payload) == (Kind.CUSTOMER, b'{"source_id":"u1","name":"Ann"}')
    event = request_of(track({}))
    assert (event.kind, event.payload) == (
        Kind.EVENT,
        b'{"event":"Order Completed","customer":{"source_id":"u1"}}',
    )


@pytest.mark.parametrize("kind", ["page", "screen", "group", "alias", "RECORD", "delete"])
def test_rule_2_other_types_make_no_request(kind: str) -> None:
    """Even when no filter has stopped them before."""
    assert outcome_of(event_of({"type": kind, "userId": "u1"})).state is State.SKIPPED


# Rule 3: fallbacks


@pytest.mark.parametrize(
    ("own", "mapped", "sent"),
    [
        pytest.param("Order Completed", None, "Order Completed", id="own"),
        pytest.param("Order Completed", "Bought", "Bought", id="mapped"),
        pytest.param("Order Completed", 7, "7", id="a mapped number"),
        pytest.param("Order Completed", " ", "Order Completed", id="a mapped blank"),
        pytest.param("Order Completed", True, "Order Completed", id="mapped and no text"),
        pytest.param(" Order ", None, " Order ", id="not trimmed"),
        pytest.param("", None, "track", id="empty"),
        pytest.param("  ", None, "track", id="blank"),
        pytest.param(None, None, "track", id="null"),
        pytest.param(7, None, "7", id="a number"),
        pytest.param([7], None, "track", id="no text"),
        pytest.param(True, None, "track", id="true"),
    ],
)
def test_rule_3_an_event_has_a_name(own: object, mapped: object, sent: str) -> None:
    """The mapped name, else the event's own, else its type."""
    settings = track_rows({"properties.n": ["event"]})
    assert body_of(track({"n": mapped}, event=own), settings)["event"] == sent


@pytest.mark.parametrize("rows", [{}, {"traits.email": ["customer.email"]}], ids=["default", "own rows"])
def test_rule_3_a_name_is_made_whatever_the_mapping(rows: Rows) -> None:
    """customer.name falls back to firstName and lastName, which are no fields of Voucherify."""
    event = identify({"firstName": "Ann", "lastName": "Lee"})
    assert body_of(event, identify_rows(rows)) == {"source_id": "u1", "name": "Ann Lee"}


def test_rule_3_a_track_takes_the_name_of_its_properties() -> None:
    """The event's own traits or properties are the last resort, by its type."""
    event = track({"firstName": "Ann"}, traits={"firstName": "Bob"})
    settings = track_rows({"timestamp": ["metadata.at"]})
    assert body_of(event, settings)["customer"] == {"source_id": "u1", "name": "Ann"}


def test_rule_3_a_name_that_is_no_text_is_dropped_before_its_fallback() -> None:
    """Field types are checked first."""
    event = identify({"name": {"first": "X"}, "firstName": True, "lastName": "Lee"})
    assert body_of(event) == {"source_id": "u1", "name": "Lee"}
    assert dropped_of(event) == [
        ("customer.name", "not_text"),
        ("customer.firstName", "not_text"),
    ]


# Rule 4: ids


@pytest.mark.parametrize(
    ("user_id", "anonymous_id", "source_id"),
    [
        pytest.param("u1", "a1", "u1", id="userId first"),
        pytest.param(None, "a1", "a1", id="anonymousId else"),
        pytest.param("", "a1", "a1", id="empty"),
        pytest.param("  ", "a1", "a1", id="blank"),
        pytest.param(" u1 ", None, " u1 ", id="never trimmed"),
        pytest.param(0, "a1", "0", id="zero counts"),
        pytest.param(2**64 + 1, None, "18446744073709551617", id="exact"),
        pytest.param(12.0, None, "12", id="whole"),
        pytest.param(True, "a1", "a1", id="true does not count"),
        pytest.param(["u1"], "a1", "a1", id="nor a list"),
        pytest.param({"id": "u1"}, "a1", "a1", id="nor an object"),
        pytest.param(None, 7, "7", id="a number as anonymousId"),
    ],
)
def test_rule_4_an_id_is_a_text_that_is_not_blank_or_a_number(
    user_id: object, anonymous_id: object, source_id: str
) -> None:
    """The lane is the customer's own."""
    request = request_of(track(userId=user_id, anonymousId=anonymous_id))
    assert request.source_id == source_id
    assert request.body["customer"] == {"source_id": source_id}


@pytest.mark.parametrize("make", [identify, track])
@pytest.mark.parametrize("user_id", [None, "", " ", True, [], {}])
def test_rule_4_without_an_id_it_is_skipped(make: Any, user_id: object) -> None:
    """No error: there is nobody to send it for."""
    outcome = outcome_of(make({"email": "e"}, userId=user_id))
    assert (outcome.state, outcome.reason) == (State.SKIPPED, "no_id")


def test_rule_4_a_mapped_id_decides_the_lane() -> None:
    """Voucherify takes the id before the source_id."""
    settings = identify_rows({"traits.v": ["customer.id"], "traits.crm": ["customer.source_id"]})
    request = request_of(identify({"v": "cust_1", "crm": 5}), settings)
    assert request.body == {"source_id": "5", "id": "cust_1"}
    assert request.source_id == "cust_1"


def test_rule_4_a_mapped_id_that_is_none_gives_way_to_the_event_s_own() -> None:
    """A blank or odd id is dropped and told."""
    settings = identify_rows({"traits.crm": ["customer.source_id"]})
    for value, reason in ((" ", "blank_id"), (True, "not_text")):
        event = identify({"crm": value})
        assert body_of(event, settings) == {"source_id": "u1"}
        assert dropped_of(event, settings) == [("customer.source_id", reason)]


# Rule 5: fields and their types


@pytest.mark.parametrize(
    ("traits", "customer", "dropped"),
    [
        pytest.param({"phone": 48600}, {"phone": "48600"}, [], id="number for a text"),
        pytest.param({"phone": 12.0}, {"phone": "12"}, [], id="whole float for a text"),
        pytest.param({"phone": False}, {}, [("customer.phone", "not_text")], id="false for a text"),
        pytest.param({"email": ["e"]}, {}, [("customer.email", "not_text")], id="list for a text"),
        pytest.param({"metadata": "x"}, {}, [("customer.metadata", "not_an_object")], id="metadata"),
        pytest.param({"metadata": {}}, {}, [], id="empty metadata"),
        pytest.param(
            {"address": {"postalCode": 90210, "city": {}}},
            {"address": {"postal_code": "90210"}},
            [("customer.address.city", "not_text")],
            id="address",
        ),
        pytest.param({"address": {"zip": "1"}}, {}, [], id="an address of which nothing is known"),
        pytest.param({"address": "Main St 1"}, {}, [], id="an address that is a text"),
        pytest.param({"age": 7, "description": "d"}, {"description": "d"}, [], id="an unmapped trait"),
    ],
)
def test_rule_5_only_voucherify_s_fields_are_sent(
    traits: Json, customer: Json, dropped: list[tuple[str, str]]
) -> None:
    """Each with its type."""
    event = identify(traits)
    assert body_of(event) == {"source_id": "u1", **customer}
    assert dropped_of(event) == [tuple(each) for each in dropped]


def test_rule_5_a_birthdate_is_a_date() -> None:
    """A datetime is cut to YYYY-MM-DD."""
    settings = identify_rows({"traits.birthday": ["customer.birthdate"]})
    assert body_of(identify({"birthday": "1990-02-03T00:00:00.000Z"}), settings)["birthdate"] == "1990-02-03"


@pytest.mark.parametrize("part", ["referral", "loyalty"])
@pytest.mark.parametrize(
    ("content", "sent", "reasons"),
    [
        pytest.param({"code": "X"}, {"code": "X"}, [], id="text"),
        pytest.param({"code": 5, "more": 1}, {"code": "5"}, [], id="number"),
        pytest.param({"code": ["X"]}, None, ["not_text", "no_code"], id="list"),
        pytest.param({"code": ""}, None, ["no_code"], id="empty"),
        pytest.param({"points": 5}, None, [], id="nothing of it is known"),
    ],
)
def test_rule_5_a_referral_or_loyalty_needs_a_code(
    part: str, content: Json, sent: Json | None, reasons: list[str]
) -> None:
    """Without one Voucherify would refuse the whole event."""
    event, settings = track({"x": content}), track_rows({"properties.x": [part]})
    assert body_of(event, settings).get(part) == sent
    assert [reason for _, reason in dropped_of(event, settings)] == reasons


def test_rule_5_a_referrer_alone_is_dropped() -> None:
    """A referral without a code is dropped with a warning."""
    event, settings = track({"by": "u2"}), track_rows({"properties.by": ["referral.referrer_id"]})
    assert body_of(event, settings) == {"event": "Order Completed", "customer": {"source_id": "u1"}}
    assert dropped_of(event, settings) == [("referral", "no_code")]


def test_rule_5_an_event_s_name_has_300_characters_at_most() -> None:
    """Longer ones are invalid before any call."""
    assert body_of(track(event="é" * 300))["event"] == "é" * 300
    outcome = outcome_of(track(event="é" * 301))
    assert (outcome.state, outcome.reason) == (State.INVALID, "event_name_too_long")
    assert "301 characters" in str(outcome.detail)


# Rule 6: nulls


def test_rule_6_a_null_is_absent() -> None:
    """An old null must not wipe what is newer; deeper in metadata it is data."""
    event = identify(
        {"name": None, "email": None, "address": {"city": None}, "metadata": {"plan": None, "a": {"b": None}}}
    )
    assert body_of(event) == {"source_id": "u1", "metadata": {"a": {"b": None}}}


def test_rule_6_a_null_inside_a_merged_object_is_absent_as_well() -> None:
    """Of an object row to the customer each field is as if it had a row."""
    rows = {"traits": ["customer"], "context.traits": ["customer"]}
    event = identify(
        {"email": "e", "address": {"city": "X"}},
        context={"traits": {"email": None, "phone": None, "address": {"city": None}, "metadata": None}},
    )
    assert body_of(event, identify_rows(rows)) == {"source_id": "u1", "email": "e", "address": {"city": "X"}}


def test_rule_6_with_nulls_clear_an_identify_erases() -> None:
    """Fallbacks take a null for undefined; the id cannot be erased."""
    settings = identify_rows(
        {
            "traits.id": ["customer.source_id"],
            "traits.name": ["customer.name"],
            "traits.email": ["customer.email"],
            "traits.phone": ["customer.phone"],
            "traits.city": ["customer.address.city"],
        },
        nulls="clear",
    )
    traits = {"id": None, "name": None, "email": None, "city": None}
    assert body_of(identify(traits), settings) == {
        "source_id": "u1",
        "name": None,
        "email": None,
        "address": {"city": None},
    }
    named = body_of(identify({**traits, "firstName": "Ann"}), settings)
    assert named["name"] == "Ann"


def test_rule_6_a_track_never_erases() -> None:
    """`nulls` is a setting of identify alone."""
    settings = Settings(identify=Identify(nulls="clear"))
    assert body_of(track({"email": None}), settings)["customer"] == {"source_id": "u1"}


def test_rule_6_false_zero_and_empty_are_values() -> None:
    """Presence is never truth, but for a blank in a text field of the customer."""
    settings = identify_rows({"traits.*": ["customer.metadata.*"], "traits.e": ["customer.description"]})
    traits = {"f": False, "z": 0, "e": "", "l": [], "n": None}
    assert body_of(identify(traits), settings) == {
        "source_id": "u1",
        "metadata": {"f": False, "z": 0, "e": "", "l": []},
    }


# Rule 7: personas


def personas(traits: Json, key: object = "vip", **fields: Any) -> Event:
    """Return an identify as Segment's Engage sends it."""
    return identify(traits, context={"personas": {"computation_key": key}}, **fields)


@pytest.mark.parametrize("value", [True, False, 450.0, 0, "true", {"tier": 1}, None])
def test_rule_7_a_computed_trait_becomes_customer_metadata(value: object) -> None:
    """False is sent as false, and a null as null: the customer has left the audience, or has no such trait any more."""
    assert body_of(personas({"vip": value})) == {"source_id": "u1", "metadata": {"vip": value}}


def test_rule_7_traits_that_no_row_took_come_along_but_no_identifiers() -> None:
    """E-mail and ids only say whose the trait is."""
    traits = {"vip": True, "other": 1, "email": "e@example.com", "id": "x", "userId": "y", "name": "Ann"}
    settings = identify_rows({"traits.name": ["customer.name"]})
    assert body_of(personas(traits), settings) == {
        "source_id": "u1",
        "name": "Ann",
        "metadata": {"vip": True, "other": 1},
    }


def test_rule_7_the_named_trait_is_carried_though_a_row_took_it() -> None:
    """The audience keeps its own key."""
    settings = identify_rows({"traits.vip": ["customer.description"]})
    assert body_of(personas({"vip": "yes"}), settings) == {
        "source_id": "u1",
        "description": "yes",
        "metadata": {"vip": "yes"},
    }


def test_rule_7_a_row_keeps_what_it_put_at_the_key() -> None:
    """What the user mapped is not overwritten."""
    settings = identify_rows({"traits.tier": ["customer.metadata.vip"]})
    assert body_of(personas({"vip": True, "tier": "gold"}), settings)["metadata"] == {"vip": "gold"}


@pytest.mark.parametrize(
    ("event", "settings"),
    [
        pytest.param(identify({"vip": True}), Settings(), id="no personas"),
        pytest.param(identify({"vip": True}, context=None), Settings(), id="no context"),
        pytest.param(identify({"vip": True}, context={"personas": "x"}), Settings(), id="odd personas"),
        pytest.param(
            personas({"vip": None}, key=None), Settings(), id="a null that is not the computed trait"
        ),
        pytest.param(personas({"vip": True}), Settings(personas=Personas(disabled=True)), id="disabled"),
    ],
)
def test_rule_7_else_nothing_is_carried(event: Event, settings: Settings) -> None:
    """Only an identify with context.personas carries traits that no row takes."""
    assert body_of(event, settings) == {"source_id": "u1"}


def test_rule_7_an_odd_key_does_no_harm() -> None:
    """A computation_key that is no text names no trait; what no row took is carried all the same."""
    assert body_of(personas({"vip": True}, key=["vip"]))["metadata"] == {"vip": True}


# Rule 3: the name of parts


@pytest.mark.parametrize(
    ("traits", "rows", "name"),
    [
        pytest.param({"firstName": "Ann", "lastName": "Lee"}, {}, "Ann Lee", id="the default table"),
        pytest.param({"firstName": "Ann"}, {"traits.plan": ["customer.metadata.plan"]}, None, id="no row"),
        pytest.param(
            {"firstName": "Ann", "lastName": "Lee"},
            {"traits.lastName": ["customer.lastName"]},
            "Lee",
            id="one row",
        ),
    ],
)
def test_rule_3_without_name_from_parts_only_rows_make_a_name(
    traits: Json, rows: Rows, name: str | None
) -> None:
    """The event's own first and last name are not looked at."""
    settings = identify_rows(rows, name_from_parts=False)
    assert body_of(identify(traits), settings).get("name") == name
    event = track({"firstName": "Ann"})
    assert (
        "name"
        not in body_of(event, track_rows({"properties.a": ["metadata.a"]}, name_from_parts=False))["customer"]
    )


def test_rule_3_half_a_name_is_counted_and_folded_as_half_a_name() -> None:
    """The body that is sent one by one has it as the name; what is folded keeps it apart."""
    mapping = Mapper(Settings(), folds=True)
    request = mapping.request(identify({"lastName": " Lee ", "email": "e"}))
    assert isinstance(request, Request)
    assert request.body == {"source_id": "u1", "name": "Lee", "email": "e"}
    assert json.loads(request.customer or b"") == {"source_id": "u1", "email": "e", "lastName": "Lee"}
    assert mapping.stats.findings[HALF_NAME] == FindingCount(1, [Example("events.ndjson:1", "Lee")])
    whole = mapping.request(identify({"firstName": "Ann", "lastName": "Lee"}))
    assert isinstance(whole, Request)
    assert whole.customer is None
    assert mapping.stats.findings[HALF_NAME].count == 1


# Rule 12: traits in the context

OWN: Json = {"firstName": "A", "lastName": "B", "email": "a@example.com", "plan": "x"}
FROM_CONTEXT: Json = {"source_id": "u1", "name": "A B", "email": "a@example.com"}


@pytest.mark.parametrize("traits", [None, {}, "", []], ids=["null", "empty", "blank", "empty list"])
def test_rule_12_traits_of_the_context_stand_in_for_missing_ones(traits: object) -> None:
    """As a whole, read by the rows of traits; what no row reads is counted under the path that it has."""
    mapping = Mapper(Settings())
    made = mapping.request(identify(traits, context={"traits": OWN}))
    assert isinstance(made, Request)
    assert made.body == FROM_CONTEXT
    counts = mapping.stats.sections["identify"]
    lost = {} if traits is None or traits == {} else {"traits": 1}
    assert counts.unmapped.by_name == {"context.traits.plan": 1, **lost}
    assert counts.rows["traits.email: customer.email"] == 1


def test_rule_12_traits_of_the_event_itself_are_not_mixed_with_those_of_the_context() -> None:
    """Those of the context are counted as not mapped, but for rows that read them."""
    event = identify({"email": "own"}, context={"traits": OWN | {"phone": "1", "id": "x", "userId": "y"}})
    mapping = Mapper(identify_rows({"context.traits.phone": ["customer.phone"]}, extend_default=True))
    made = mapping.request(event)
    assert isinstance(made, Request)
    assert made.body == {"source_id": "u1", "email": "own", "phone": "1"}
    paths = [f"context.traits.{key}" for key in OWN]
    assert mapping.stats.sections["identify"].unmapped.by_name == dict.fromkeys(paths, 1)


@pytest.mark.parametrize("user_id", ["u1", None], ids=["the same", "none"])
def test_rule_12_who_they_are_of_is_no_trait(user_id: str | None) -> None:
    """Their ids never count as ids, and are not sent."""
    told = OWN | {"userId": user_id, "id": "7", "anonymousId": "8"}
    settings = identify_rows({"traits.id": ["customer.id"], "traits.*": ["customer.metadata.*"]})
    assert body_of(identify(context={"traits": told}), settings) == {
        "source_id": "u1",
        "name": "A B",
        "metadata": OWN,
    }


@pytest.mark.parametrize(
    "fields", [{}, {"userId": None, "anonymousId": "a1"}], ids=["another user", "nobody"]
)
def test_rule_12_traits_of_another_are_not_taken(fields: Json) -> None:
    """Two people must never become one."""
    mapping = Mapper(Settings())
    made = mapping.request(identify(context={"traits": OWN | {"userId": "u2"}}, **fields))
    assert isinstance(made, Request)
    assert list(made.body) == ["source_id"]
    assert mapping.stats.findings[TRAITS_OF_ANOTHER] == FindingCount(1, [Example("events.ndjson:1", "u2")])


def test_rule_12_can_be_switched_off() -> None:
    """And never holds for a track."""
    event = identify(context={"traits": OWN})
    assert body_of(event, identify_rows(context_traits="ignore")) == {"source_id": "u1"}
    assert body_of(track(context={"traits": OWN}))["customer"] == {"source_id": "u1"}


def test_rule_12_a_dotted_key_of_the_context_is_read_as_one_of_traits_is() -> None:
    """The tree cannot tell which spelling counts, so the rows are read one by one."""
    event = identify(context={"traits": {"email": "inner", "name": "N"}, "traits.email": "outer"})
    assert body_of(event) == {"source_id": "u1", "name": "N", "email": "outer"}


# Traits and properties that no row takes


def test_unmapped_traits_can_go_to_the_customer_s_metadata() -> None:
    """`unmapped_traits: metadata` carries what no row takes, and no more."""
    settings = identify_rows({"traits.email": ["customer.email"]}, unmapped_traits="metadata")
    traits = {"email": "e", "plan": "pro", "n": None, "address": {"city": "X"}}
    assert body_of(identify(traits), settings) == {
        "source_id": "u1",
        "email": "e",
        "metadata": {"plan": "pro", "address": {"city": "X"}},
    }


def test_unmapped_properties_can_go_to_the_event_s_metadata() -> None:
    """`unmapped_properties: metadata` keeps the order's details beside the customer's fields."""
    settings = track_rows(unmapped_properties="metadata")
    assert body_of(track({"email": "e", "total": 9.5, "products": [{"sku": "A"}]}), settings) == {
        "event": "Order Completed",
        "customer": {"source_id": "u1", "email": "e"},
        "metadata": {"total": 9.5, "products": [{"sku": "A"}]},
    }


def test_an_object_row_leaves_what_the_customer_has_no_field_for() -> None:
    """`traits: customer` takes Voucherify's fields; the rest can be carried."""
    settings = identify_rows({"traits": ["customer"]}, unmapped_traits="metadata")
    assert body_of(identify({"email": "e", "plan": "pro"}), settings) == {
        "source_id": "u1",
        "email": "e",
        "metadata": {"plan": "pro"},
    }


def test_a_null_that_no_row_takes_erases_its_metadata_key() -> None:
    """With nulls: clear and unmapped_traits: metadata a trait that became null is erased, too."""
    settings = identify_rows(unmapped_traits="metadata", nulls="clear")
    assert body_of(identify({"plan": None}), settings) == {"source_id": "u1", "metadata": {"plan": None}}


# Rule 9: renames


def test_rule_9_a_default_row_that_names_customers_after_products_is_noticed() -> None:
    """Counted with the first three examples: where it stands, and the name."""
    mapping = Mapper(Settings())
    names = ["Monopoly", "Oreos", None, " ", "Game", "Fourth"]
    for line, name in enumerate(names, 1):
        mapping.request(event_of({"type": "track", "userId": "u", "properties": {"name": name}}, line=line))
    assert mapping.stats.findings[NAMED_BY_PROPERTIES] == FindingCount(
        4,
        [
            Example("events.ndjson:1", "Monopoly"),
            Example("events.ndjson:2", "Oreos"),
            Example("events.ndjson:5", "Game"),
        ],
    )


def test_rule_9_a_row_of_the_user_s_own_is_no_surprise() -> None:
    """Nor is a name of an identify."""
    mapping = Mapper(track_rows({"properties.name": ["customer.name"]}))
    mapping.request(track({"name": "Ann"}))
    mapping.request(identify({"name": "Ann"}))
    assert not mapping.stats.findings


# Rule 10: values arrive unaltered


def test_rule_10_numbers_keep_every_digit() -> None:
    """Integers of any size, and floats as they are."""
    settings = track_rows({"properties": ["metadata"]})
    properties = {"big": 2**80 + 1, "small": -(2**63), "price": 19.99, "whole": 20.0}
    assert body_of(track(properties), settings)["metadata"] == properties
    assert b'"big":1208925819614629174706177' in request_of(track(properties), settings).payload


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_rule_10_what_json_cannot_carry_is_invalid_where_it_is_mapped(number: float) -> None:
    """It would be sent as null otherwise."""
    settings = track_rows({"properties.a": ["metadata.a"], "properties.email": ["customer.email"]})
    for properties in ({"a": number}, {"a": {"deep": [number]}}, {"email": number}):
        event = track(properties)
        event = event_of(event.fields, unsafe=True)
        outcome = outcome_of(event, settings)
        assert (outcome.state, outcome.reason) == (State.INVALID, "not_finite")
    harmless = event_of(track({"b": number}).fields, unsafe=True)
    assert body_of(harmless, settings)["customer"] == {"source_id": "u1"}


def test_rule_10_an_id_that_is_no_number_is_invalid() -> None:
    """The anonymous customer must not get what is meant for another."""
    event = event_of({"type": "identify", "userId": float("nan"), "anonymousId": "a"}, unsafe=True)
    assert outcome_of(event).reason == "not_finite"


def test_rule_10_a_carried_trait_is_checked_as_well() -> None:
    """Wherever a value goes, it must be one that JSON can carry."""
    event = event_of(personas({"vip": float("inf")}).fields, unsafe=True)
    assert outcome_of(event).reason == "not_finite"


def test_rule_10_an_event_nested_too_deep_is_invalid() -> None:
    """It never breaks the run."""
    deep: Json = {}
    for _ in range(5_000):
        deep = {"d": deep}
    outcome = Mapper(Settings()).request(
        Event(
            position=track().position,
            type="identify",
            name=None,
            message_id=None,
            fields={"type": "identify", "userId": "u", "traits": {"metadata": deep}},
            raw=b"",
        )
    )
    assert outcome.state is State.INVALID  # type: ignore[union-attr]
    assert outcome.reason == "too_deep"  # type: ignore[union-attr]


@pytest.mark.parametrize("nulls", ["omit", "clear"])
def test_an_empty_key_is_a_key_like_any_other(nulls: Any) -> None:
    """It is neither in the place of another key, nor is another one in its place."""
    settings = Settings(identify=Identify(nulls=nulls))
    body = body_of(identify({"": "x", "email": "a@example.com", "phone": None}), settings)
    assert body["email"] == "a@example.com"
    assert ("phone" in body) is (nulls == "clear")


def test_a_null_under_the_dotted_spelling_of_a_path_is_read_like_any_other() -> None:
    """A path is tried as one key first; what else the object holds makes no difference."""
    given = {"address.city": None, "address": {"city": "X"}}
    for more in ({}, {"address.state": "S"}, {"other": None}):
        address = body_of(track({**given, **more}))["customer"].get("address", {})
        assert "city" not in address


@pytest.mark.parametrize("personas", [{}, {"computation_class": "trait"}], ids=["empty", "other"])
def test_personas_that_name_no_trait_carry_all(personas: Json) -> None:
    """That there are any tells what the event is."""
    body = body_of(identify({"email": "e", "score": 5}, context={"personas": personas}))
    assert body["metadata"] == {"score": 5}


@pytest.mark.parametrize(
    "fields",
    [
        {"context": {"traits": {"name": "Ann"}, "traits.email": "a@example.com"}},
        {"context": {"traits": {"name": "Ann"}}, "context.traits.email": "a@example.com"},
    ],
    ids=["in the context", "at the top"],
)
def test_rule_12_what_the_rows_of_the_context_read_is_decoded(fields: Json) -> None:
    """Only what rows look at is decoded, and these look at more."""
    pipeline = Pipeline(Settings(), Selection())
    line = json.dumps({"type": "identify", "userId": "u1", "messageId": "m", **fields}).encode()
    ((made,),) = pipeline.batches(Batch.of("a", 1, [line]))
    assert isinstance(made, Request)
    assert made.body == {"source_id": "u1", "name": "Ann", "email": "a@example.com"}
