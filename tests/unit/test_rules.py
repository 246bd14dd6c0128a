"""The rows of a mapping: which value goes where, and which of two rows wins."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import to_builtins
from support.segment_events import event_of

from voucherify_sync.events import Json
from voucherify_sync.field_types import Dropped
from voucherify_sync.mapping.drafts import Draft
from voucherify_sync.mapping.rules import Rules, effective_rows
from voucherify_sync.mapping.walk import walk
from voucherify_sync.paths import PathError, parse_source, read

TRAITS: Json = {
    "name": "Ann Lee",
    "firstName": "Ann",
    "lastName": "Lee",
    "email": "ann@example.com",
    "description": "VIP",
    "phone": "+48 600",
    "metadata": {"plan": "pro"},
    "address": {
        "city": "Łódź",
        "state": "łódzkie",
        "street": "Piotrkowska 1",
        "country": "PL",
        "postalCode": "90-001",
    },
    "age": 7,
}
CUSTOMER: Json = {
    "name": "Ann Lee",
    "firstName": "Ann",
    "lastName": "Lee",
    "email": "ann@example.com",
    "description": "VIP",
    "phone": "+48 600",
    "metadata": {"plan": "pro"},
    "address": {
        "city": "Łódź",
        "state": "łódzkie",
        "line_1": "Piotrkowska 1",
        "country": "PL",
        "postal_code": "90-001",
    },
}

Rows = dict[str, str | list[str]]


def filled(
    fields: Json,
    mapping: Rows | None = None,
    *,
    root: str = "traits",
    add: Json | None = None,
    keep_nulls: bool = False,
    extend_default: bool = False,
) -> tuple[Json, list[Dropped]]:
    """Return the parts that rows and constants make of an event's fields, and what they report."""
    lists = {source: [to] if isinstance(to, str) else to for source, to in (mapping or {}).items()}
    kind = "identify" if root == "traits" else "track"
    rows = effective_rows(kind, lists, extend_default=extend_default)
    rules = Rules((root,), rows, [], add or {}, keep_nulls=keep_nulls)
    before = copy.deepcopy(fields)
    draft = draft_of(rules, fields)
    assert fields == before, "the event was changed"
    return parts_of(draft), draft.dropped


def draft_of(rules: Rules, fields: Json) -> Draft:
    """Return what the rules make of an event's fields."""
    given = fields.get(str(rules.root[0]))
    event = event_of({"type": "identify", **fields})
    return walk(rules, event, fields, None, given if isinstance(given, dict) else {})


def parts_of(draft: Draft) -> Json:
    """Return what is in a draft as the parts of a request."""
    customer = to_builtins(draft.customer)
    names = {"firstName": draft.first, "lastName": draft.last}
    customer |= {name: text for name, text in names.items() if text is not None}
    parts: Json = {"customer": customer, **draft.parts}
    return parts if draft.metadata is None else {**parts, "metadata": draft.metadata}


@pytest.mark.parametrize("root", ["traits", "properties"])
def test_the_default_table_is_the_seed_s(root: str) -> None:
    """Twelve rows, the same for traits and properties."""
    assert filled({root: TRAITS}, root=root) == ({"customer": CUSTOMER}, [])


def test_an_empty_mapping_is_the_default_table_and_any_row_replaces_it() -> None:
    """A given mapping replaces the default table unless `extend_default`."""
    own: Rows = {"traits.age": "customer.metadata.age"}
    assert filled({"traits": TRAITS}, {})[0]["customer"] == CUSTOMER
    assert filled({"traits": TRAITS}, own)[0]["customer"] == {"metadata": {"age": 7}}
    extended = filled({"traits": TRAITS}, own, extend_default=True)[0]["customer"]
    assert extended == {**CUSTOMER, "metadata": {"plan": "pro", "age": 7}}


@pytest.mark.parametrize(
    ("traits", "customer"),
    [
        pytest.param({"first_name": "Ann"}, {"firstName": "Ann"}, id="first_name"),
        pytest.param({"last_name": "Lee"}, {"lastName": "Lee"}, id="last_name"),
        pytest.param({"address": {"postal_code": "1"}}, {"address": {"postal_code": "1"}}, id="postal_code"),
        pytest.param({"firstName": "A", "first_name": "B"}, {"firstName": "A"}, id="camelCase first"),
        pytest.param({"firstName": None, "first_name": "B"}, {"firstName": "B"}, id="null is absent"),
        pytest.param({"firstName": " ", "first_name": "B"}, {"firstName": "B"}, id="a blank is absent"),
        pytest.param({"firstName": "", "first_name": None}, {}, id="neither says anything"),
        pytest.param({"firstName": True, "first_name": "B"}, {}, id="true is present"),
    ],
)
def test_the_default_table_takes_snake_case_where_camel_case_is_absent(traits: Json, customer: Json) -> None:
    """Segment lets reserved traits be written either way."""
    assert filled({"traits": traits})[0]["customer"] == customer


@pytest.mark.parametrize(
    ("row", "customer"),
    [
        pytest.param({"traits.firstName": "customer.firstName"}, {"firstName": "Ann"}, id="firstName"),
        pytest.param({"traits.lastName": "customer.lastName"}, {"lastName": "Lee"}, id="lastName"),
        pytest.param(
            {"traits.address.postalCode": "customer.address.postal_code"},
            {"address": {"postal_code": "1"}},
            id="postalCode",
        ),
        pytest.param(
            {"context.person.firstName": "customer.firstName"},
            {"firstName": "Ben"},
            id="anywhere in the event",
        ),
        pytest.param({"traits.firstName": "customer.name"}, {}, id="not to another field"),
    ],
)
def test_a_snake_case_twin_belongs_to_its_row_wherever_it_stands(row: Rows, customer: Json) -> None:
    """A default row that is written out does the same as in the default table."""
    fields: Json = {
        "traits": {"first_name": "Ann", "last_name": "Lee", "address": {"postal_code": "1"}},
        "context": {"person": {"first_name": "Ben"}},
    }
    assert filled(fields, row)[0]["customer"] == customer


@pytest.mark.parametrize(
    ("mapping", "customer"),
    [
        pytest.param(
            {"traits.a": "customer.name", "traits.b": "customer.name"}, {"name": "B"}, id="the later row wins"
        ),
        pytest.param(
            {"traits.b": "customer.name", "traits.a": "customer.name"}, {"name": "A"}, id="whichever it is"
        ),
        pytest.param(
            {"traits.a": "customer.name", "traits.none": "customer.name"},
            {"name": "A"},
            id="an absent value does not win",
        ),
        pytest.param(
            {"traits.a": "customer.name", "traits.null": "customer.name"},
            {"name": "A"},
            id="a null does not win",
        ),
        pytest.param(
            {"traits.a": "customer.name", "traits": "customer"},
            {"name": "A"},
            id="a deeper row wins over an object row that comes later",
        ),
        pytest.param(
            {"traits.meta.x": "customer.metadata.y", "traits.meta": "customer.metadata"},
            {"metadata": {"x": 1, "y": 1}},
            id="and over one into metadata",
        ),
        pytest.param(
            {"traits.a": ["customer.name", "customer.metadata.name"]},
            {"name": "A", "metadata": {"name": "A"}},
            id="one source to several destinations",
        ),
        pytest.param(
            {"timestamp": "customer.metadata.seen", "context.page.url": "customer.metadata.url"},
            {"metadata": {"seen": "2020", "url": "/x"}},
            id="sources anywhere in the event",
        ),
    ],
)
def test_rows_apply_in_order(mapping: Rows, customer: Json) -> None:
    """A deeper row wins over an object row, a later over an earlier."""
    fields: Json = {
        "timestamp": "2020",
        "context": {"page": {"url": "/x"}},
        "traits": {"name": "N", "a": "A", "b": "B", "null": None, "meta": {"x": 1, "y": 2}},
    }
    assert filled(fields, mapping)[0] == {"customer": customer}


def test_an_object_row_merges_what_the_place_knows() -> None:
    """`traits: customer` takes Voucherify's fields, deeply, and neither ids nor what is no field."""
    traits = {**TRAITS, "id": "cust_other", "source_id": "other"}
    parts, dropped = filled({"traits": traits}, {"traits": "customer"})
    assert parts == {"customer": CUSTOMER}
    assert dropped == []


@pytest.mark.parametrize(
    ("traits", "customer"),
    [
        pytest.param(
            {"birthdate": "1990-05-01", "address": {"line_2": "2nd floor"}},
            {"birthdate": "1990-05-01", "address": {"line_2": "2nd floor"}},
            id="fields without a default row",
        ),
        pytest.param(
            {"address": {"street": "A 1", "line_1": "B 2", "postalCode": "1", "postal_code": "2"}},
            {"address": {"line_1": "A 1", "postal_code": "1"}},
            id="the default row wins",
        ),
        pytest.param(
            {"address": {"street": None, "line_1": "B 2", "postalCode": " ", "postal_code": "2"}},
            {"address": {"line_1": "B 2", "postal_code": "2"}},
            id="where it finds nothing, the field's own name is read",
        ),
        pytest.param(
            {"first_name": "Ann", "last_name": "Lee"}, {"firstName": "Ann", "lastName": "Lee"}, id="twins"
        ),
    ],
)
@pytest.mark.parametrize("root", ["traits", "properties", "context"])
def test_an_object_row_to_the_customer_is_the_default_table_and_more(
    traits: Json, customer: Json, root: str
) -> None:
    """What no default row has filled is taken by the names of Voucherify's fields."""
    assert filled({root: traits}, {root: "customer"}, root=root)[0] == {"customer": customer}


def test_an_object_row_to_the_address_reads_it_as_the_default_table_does() -> None:
    """The address of a list, too."""
    address = {"street": "A 1", "postalCode": "1", "line_2": "B", "zip": "no field"}
    expected = {"address": {"line_1": "A 1", "line_2": "B", "postal_code": "1"}}
    for mapping in ({"traits.home": "customer.address"}, {"traits.all[1]": "customer.address"}):
        fields = {"traits": {"home": address, "all": [{}, address]}}
        assert filled(fields, mapping)[0]["customer"] == expected


def test_a_wildcard_takes_each_key_by_its_own_name() -> None:
    """`traits.*: customer.*` is a row for each key; street is no name of a field."""
    fields: Json = {"traits": {"line_1": "A", "street": "B", "city": "C"}}
    assert filled(fields, {"traits.*": "customer.address.*"})[0]["customer"] == {
        "address": {"city": "C", "line_1": "A"}
    }


@pytest.mark.parametrize("nulls", [False, True], ids=["omit", "clear"])
@pytest.mark.parametrize(
    "value", ["", " ", "\t\n", "\u00a0"], ids=["empty", "space", "tab", "no-break space"]
)
def test_a_blank_text_counts_as_absent(value: str, nulls: bool) -> None:
    """Only a null erases a field; a blank neither erases it nor replaces what an earlier row has put there."""
    texts = ["name", "email", "description", "phone", "birthdate", "firstName", "lastName"]
    address = {"city": value, "line_1": value}
    rows: Rows = {"traits": "customer"}
    parts, dropped = filled(
        {"traits": {**dict.fromkeys(texts, value), "address": address}}, rows, keep_nulls=nulls
    )
    assert {key: inside for key, inside in parts["customer"].items() if inside} == {}
    assert {reason for _, reason in dropped} == {"blank"}
    later: Rows = {"traits.a": "customer.phone", "traits.b": "customer.phone"}
    assert filled({"traits": {"a": "1", "b": value}}, later, keep_nulls=nulls)[0]["customer"] == {
        "phone": "1"
    }


def test_only_an_explicit_row_fills_an_id() -> None:
    """Segment's own traits.id would hijack the customer."""
    fields: Json = {"traits": {"id": "77", "source_id": "88"}}
    assert filled(fields, {"traits.*": "customer.*"})[0] == {"customer": {}}
    explicit: Rows = {"traits.id": "customer.source_id", "traits.source_id": "customer.id"}
    assert filled(fields, explicit)[0] == {"customer": {"source_id": "77", "id": "88"}}


@pytest.mark.parametrize(
    ("mapping", "parts"),
    [
        pytest.param(
            {"properties": "metadata"}, {"metadata": {"a": 1, "o": {"p": 1, "n": None}}}, id="object"
        ),
        pytest.param(
            {"properties.*": "metadata.*"}, {"metadata": {"a": 1, "o": {"p": 1, "n": None}}}, id="wildcard"
        ),
        pytest.param(
            {"properties.*": "metadata"}, {"metadata": {"a": 1, "o": {"p": 1, "n": None}}}, id="to an object"
        ),
        pytest.param(
            {"properties.o": "metadata", "context": "metadata.o"},
            {"metadata": {"p": 1, "o": {"q": 2}}},
            id="side by side",
        ),
        pytest.param(
            {"properties": "metadata", "context": "metadata.o"},
            {"metadata": {"a": 1, "o": {"p": 1, "n": None, "q": 2}}},
            id="merged deeply",
        ),
        pytest.param({"r": "referral"}, {"referral": {"code": "X"}}, id="referral"),
    ],
)
def test_objects_go_where_any_key_may_stand(mapping: Rows, parts: Json) -> None:
    """A null at the first level of metadata does nothing, as at a row of its own; deeper ones are data."""
    fields: Json = {
        "properties": {"a": 1, "n": None, "o": {"p": 1, "n": None}},
        "context": {"q": 2},
        "r": {"code": "X", "more": 1},
    }
    result, dropped = filled(fields, mapping, root="properties")
    assert (result, dropped) == ({"customer": {}, **parts}, [])


@pytest.mark.parametrize(
    ("destination", "path"),
    [
        pytest.param("customer", "customer", id="customer"),
        pytest.param("customer.address", "customer.address", id="address"),
        pytest.param("customer.metadata", "customer.metadata", id="customer metadata"),
        pytest.param("metadata", "metadata", id="event metadata"),
        pytest.param("referral", "referral", id="referral"),
    ],
)
@pytest.mark.parametrize("value", ["text", 5, True, [{"city": "X"}]], ids=["text", "number", "true", "list"])
def test_what_is_no_object_is_dropped_where_one_belongs(destination: str, path: str, value: object) -> None:
    """A non-object metadata or address is dropped with a counted warning."""
    parts, dropped = filled({"properties": {"x": value}}, {"properties.x": destination}, root="properties")
    assert parts == {"customer": {}}
    assert dropped == [(path, "not_an_object")]


@pytest.mark.parametrize(
    ("mapping", "customer"),
    [
        pytest.param({}, {"email": None, "address": {"city": None}, "metadata": None}, id="default table"),
        pytest.param(
            {"traits": "customer"},
            {"email": None, "address": {"city": None}, "metadata": None},
            id="object row",
        ),
        pytest.param(
            {"traits.*": "customer.metadata.*"},
            {"metadata": {"email": None, "address": {"city": None}, "metadata": None}},
            id="wildcard",
        ),
        pytest.param({"traits.gone": "customer.phone"}, {}, id="absent is not null"),
        pytest.param({"traits.email": "customer.address"}, {"address": None}, id="a whole object"),
        pytest.param({"traits.email": "customer"}, {}, id="never the whole customer"),
    ],
)
def test_a_kept_null_erases_its_field(mapping: Rows, customer: Json) -> None:
    """With nulls kept a null is a value; an absent key never is."""
    traits: Json = {"email": None, "address": {"city": None}, "metadata": None}
    assert filled({"traits": traits}, mapping, keep_nulls=True)[0]["customer"] == customer


def test_constants_come_last() -> None:
    """`add` wins over every row."""
    add = {"customer.description": "backfill", "customer.metadata.replayed": True, "customer.phone": None}
    customer = filled({"traits": TRAITS}, add=add)[0]["customer"]
    assert customer == {
        **CUSTOMER,
        "description": "backfill",
        "metadata": {"plan": "pro", "replayed": True},
    }


def test_an_object_constant_is_merged() -> None:
    """A constant behaves as the value of a row does, and is not shared between events."""
    rows = effective_rows("identify", {"traits.x": ["customer.metadata.x"]}, extend_default=False)
    rules = Rules(("traits",), rows, [], {"customer.metadata": {"deep": {"a": 1}}}, keep_nulls=False)
    first, second = (draft_of(rules, {"traits": {"x": 1}}).customer.metadata for _ in range(2))
    assert first == second == {"x": 1, "deep": {"a": 1}}
    assert isinstance(first, dict)
    first["deep"]["a"] = 2
    assert second == {"x": 1, "deep": {"a": 1}}


def test_a_row_that_cannot_be_is_refused_when_it_is_compiled() -> None:
    """A library user who skips the settings file gets the same sentence."""
    with pytest.raises(PathError, match=r"did you mean 'customer\.email'"):
        effective_rows("identify", {"traits.mail": ["customer.emial"]}, extend_default=False)


NAMES = st.sampled_from(["a", "b", "a.b", "b.a", "a.b.a"])
LEAVES: st.SearchStrategy[Any] = st.sampled_from([1, "x", None, True, [1]])
OBJECTS: st.SearchStrategy[Json] = st.recursive(
    st.dictionaries(NAMES, LEAVES, max_size=4),
    lambda inner: st.dictionaries(NAMES, LEAVES | inner, max_size=4),
    max_leaves=8,
)
SOURCES = st.lists(
    st.sampled_from(["a", "a.a", "a.b", "a.b.a", "b.a.b", 'a["a.b"]', "a.b[0]", "b"]), min_size=1, unique=True
)


@given(OBJECTS, SOURCES, st.booleans())
def test_rows_that_share_an_object_read_as_if_each_stood_alone(
    fields: Json, sources: list[str], keep_nulls: bool
) -> None:
    """The shortcut for rows beside each other gives what reading path by path gives."""
    rows: Rows = {source: f'customer.metadata["{i}"]' for i, source in enumerate(sources)}
    together, _ = filled(fields, rows, keep_nulls=keep_nulls)
    expected: Json = {}
    for i, source in enumerate(sources):
        value = read(fields, parse_source(source))
        if value is None and keep_nulls:
            expected[str(i)] = None
        elif isinstance(value, (int, str, list, dict)):
            expected[str(i)] = value
    assert together["customer"].get("metadata", {}) == expected
