"""Laws of the mapping that hold for any event and any settings."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from support.segment_events import event_of, identify, track

from voucherify_sync.events import Json, Kind, Request
from voucherify_sync.fields import CustomerBody, CustomEvent
from voucherify_sync.mapping.mapper import MappedRecord, Mapper
from voucherify_sync.outcomes import Outcome, State
from voucherify_sync.settings.types import Identify, Settings, Track

CUSTOMER_FIELDS = {
    "id",
    "source_id",
    "name",
    "description",
    "email",
    "phone",
    "birthdate",
    "address",
    "metadata",
}
ADDRESS_FIELDS = {"city", "state", "line_1", "line_2", "country", "postal_code"}
BODY_FIELDS = {"event", "customer", "metadata", "referral", "loyalty"}

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["", " ", "2020-01-01T00:00:00Z"])
)
KEYS = st.sampled_from(
    [
        *("name", "firstName", "first_name", "lastName", "email", "phone", "description", "metadata"),
        *("address", "city", "street", "postalCode", "address.city", "birthdate"),
        *("id", "source_id", "userId", "plan", "code", "referrer_id"),
    ]
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=10,
)
EVENTS: st.SearchStrategy[Json] = st.fixed_dictionaries(
    {"type": st.sampled_from(["identify", "track", "page"])},
    optional={
        "event": VALUES,
        "userId": VALUES,
        "anonymousId": VALUES,
        "traits": VALUES | st.dictionaries(KEYS, VALUES, max_size=8),
        "properties": VALUES | st.dictionaries(KEYS, VALUES, max_size=8),
        "context": st.fixed_dictionaries({"personas": st.dictionaries(st.just("computation_key"), VALUES)}),
        "traits.name": VALUES,
    },
)
DESTINATIONS = [
    "event",
    "customer",
    "customer.id",
    "customer.source_id",
    "customer.name",
    "customer.birthdate",
    "customer.address",
    "customer.address.city",
    "customer.metadata",
    "customer.metadata.x.y",
    "metadata",
    "metadata.x.y",
    "referral",
    "loyalty.code",
]
ROWS = st.dictionaries(
    st.sampled_from(
        [
            "traits",
            "properties",
            "traits.name",
            "properties.metadata",
            "userId",
            "traits.address.city",
            "x[0].y",
        ]
    ),
    st.lists(st.sampled_from(DESTINATIONS), min_size=1, max_size=3),
    max_size=4,
)
ALL_SETTINGS = st.builds(
    Settings,
    identify=st.builds(
        Identify,
        mapping=ROWS,
        extend_default=st.booleans(),
        unmapped_traits=st.sampled_from(["drop", "metadata"]),
        nulls=st.sampled_from(["omit", "clear"]),
        add=st.sampled_from([{}, {"customer.metadata": {"x": {"z": 1}}, "customer.phone": 5}]),
    ),
    track=st.builds(
        Track,
        mapping=ROWS,
        extend_default=st.booleans(),
        unmapped_properties=st.sampled_from(["drop", "metadata"]),
        add=st.sampled_from([{}, {"metadata.x": {"z": 1}, "customer.email": True}]),
    ),
)


def assert_customer_is_voucherify_s(customer: Json, *, nulls: bool) -> None:
    """Only Voucherify's fields, each of its type; known by an id that is not blank."""
    assert customer.keys() <= CUSTOMER_FIELDS
    empty = (type(None),) if nulls else ()
    for name, value in customer.items():
        if name == "address" and value is not None:
            assert value
            assert value.keys() <= ADDRESS_FIELDS
            assert all(isinstance(text, (str, *empty)) for text in value.values())
        elif name == "metadata":
            assert value or (nulls and value is None)
            assert isinstance(value, (dict, *empty))
        else:
            assert isinstance(value, (str, *empty))
    known_by = customer.get("id") or customer["source_id"]
    assert known_by.strip()


@settings(max_examples=400)
@given(EVENTS, ALL_SETTINGS)
def test_any_event_ends_in_a_request_that_voucherify_takes_or_in_an_outcome(
    fields: Json, chosen: Settings
) -> None:
    """Nothing is raised, the event is not changed, and the bytes are the body."""
    before = repr(fields)
    made = Mapper(chosen).request(event_of(fields, unsafe=True))
    assert repr(fields) == before
    if isinstance(made, Outcome):
        assert made.state in (State.SKIPPED, State.INVALID)
        assert made.reason
        return
    assert json.loads(made.payload) == made.body
    if made.kind is Kind.CUSTOMER:
        assert_customer_is_voucherify_s(made.body, nulls=chosen.identify.nulls == "clear")
        assert made.source_id in (made.body.get("id"), made.body.get("source_id"))
        return
    assert made.body.keys() <= BODY_FIELDS
    assert 1 <= len(made.body["event"]) <= 300
    assert_customer_is_voucherify_s(made.body["customer"], nulls=False)
    for part in ("referral", "loyalty"):
        assert part not in made.body or made.body[part]["code"].strip()


@settings(max_examples=100)
@given(st.lists(EVENTS, max_size=4))
def test_one_event_leaves_no_trace_in_the_next(events: list[Json]) -> None:
    """The compiled mapping keeps nothing of an event but counts."""
    one = Mapper(Settings())
    for fields in events:
        again = one.request(event_of(copy.deepcopy(fields), unsafe=True))
        fresh = Mapper(Settings()).request(event_of(copy.deepcopy(fields), unsafe=True))
        assert type(again) is type(fresh)
        if isinstance(again, Request) and isinstance(fresh, Request):
            assert again.payload == fresh.payload


def test_a_body_shares_no_object_with_its_event() -> None:
    """Who folds bodies into each other must not change events."""
    chosen = Settings(identify=Identify(unmapped_traits="metadata"))
    traits = {"metadata": {"a": {"b": 1}}, "company": {"size": {"min": 5}}}
    made = Mapper(chosen).request(identify(traits))
    assert isinstance(made, Request)
    made.body["metadata"]["a"]["b"] = made.body["metadata"]["company"]["size"]["min"] = 0
    assert traits == {"metadata": {"a": {"b": 1}}, "company": {"size": {"min": 5}}}


def test_the_customer_part_can_be_had_without_encoding() -> None:
    """What many updates of one customer are folded from."""
    mapping = Mapper(Settings())
    by_identify = mapping.mapped(identify({"email": "e"}))
    by_track = mapping.mapped(track({"email": "e"}))
    assert isinstance(by_identify, MappedRecord)
    assert isinstance(by_track, MappedRecord)
    assert by_identify.draft.customer == by_track.draft.customer == CustomerBody(source_id="u1", email="e")
    assert by_track.body == CustomEvent("Order Completed", by_track.draft.customer)
