"""What the sandbox refuses: field by field as the API's description has it, wherever a customer may stand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.openapi import as_json_schema
from support.sandbox_client import BULK, CUSTOMERS, EVENTS, call, customer, event

from voucherify_sync.sandbox import Sandbox, SandboxOptions
from voucherify_sync.sandbox.validation import ApiRefusal, check_customer, check_event

PLACES = ("post", "put", "event", "bulk")
TEXTS = ("name", "description", "email", "phone")
DATES = ("birthday", "birthdate")
PARTS = ("city", "state", "line_1", "line_2", "country", "postal_code")
NO_TEXTS = [5, 1.5, True, ["x"], {"x": "y"}]
NO_OBJECTS = ["x", "", 5, False, []]
DAYS = ["1990-05-01", "2024-02-29", "0001-01-01", "9999-12-31"]
NO_DAYS = [
    *(
        "",
        " ",
        "1990",
        "1990-5-1",
        "19900501",
        "1990-W18-2",
        "05/01/1990",
        "1 May 1990",
        "1990-05-01 ",
        " 1990-05-01",
    ),
    *("1990-02-29", "1990-00-10", "1990-13-01", "1990-04-31", "0000-01-01", "-1990-05-01", "1990-05-01\n"),
    *("1990-05-01T00:00:00Z", "1990-05-01 00:00", "\u0661\u0669\u0669\u0660-05-01", "1990\u201305\u201301"),
]


@pytest.fixture(scope="module")
def strict() -> Iterator[Sandbox]:
    """Run a sandbox with all its defaults, in which u1 is known."""
    with Sandbox() as running:
        call(running, "POST", CUSTOMERS, customer())
        yield running


def refusal(sandbox: Sandbox, place: str, fields: dict[str, Any]) -> str | None:
    """Return the details with which a place refuses the fields of a customer; None where it takes them."""
    named = {**customer(), **fields}
    before = len(sandbox.call_log.processed)
    if place == "bulk":
        reply = call(sandbox, "POST", BULK, [named])
        if reply.status == 202:
            action = call(sandbox, "GET", f"/v1/async-actions/{reply.body['async_action_id']}").body
            errors = action["result"]["errors"]
            assert [error["key"] for error in errors] == ["invalid_payload"] * len(errors)
            assert len(sandbox.call_log.processed) - before == 1 - len(errors)
            return errors[0]["details"] if errors else None
    else:
        method, path, body = {
            "post": ("POST", CUSTOMERS, named),
            "put": ("PUT", f"{CUSTOMERS}/u1", fields),
            "event": ("POST", EVENTS, {"event": "E", "customer": named}),
        }[place]
        reply = call(sandbox, method, path, body)
        if reply.status == 200:
            return None
    assert (reply.status, reply.body["key"], reply.body["message"]) == (
        400,
        "invalid_payload",
        "Invalid payload",
    )
    assert reply.body["request_id"].startswith("v-")
    assert len(sandbox.call_log.processed) == before
    return str(reply.body["details"])


@pytest.mark.parametrize("place", PLACES)
def test_each_text_of_a_customer_takes_any_text_and_nothing_else(strict: Sandbox, place: str) -> None:
    """No form is demanded of a mail address, a phone number or a country."""
    for name in TEXTS:
        for text in ("", " ", "x" * 10_000, "no mail", "ż\u202e"):
            assert refusal(strict, place, {name: text}) is None, (name, text)
        for value in NO_TEXTS:
            assert f"{name} should be string" in (refusal(strict, place, {name: value}) or ""), (name, value)


@pytest.mark.parametrize("place", PLACES)
def test_a_birthdate_is_a_day_of_the_calendar(strict: Sandbox, place: str) -> None:
    """Written YYYY-MM-DD; an empty text is none."""
    for name in DATES:
        for text in DAYS:
            assert refusal(strict, place, {name: text}) is None, (name, text)
        for text in NO_DAYS:
            assert f"{name} should match format 'date'" in (refusal(strict, place, {name: text}) or ""), text
        for value in NO_TEXTS:
            assert f"{name} should be string" in (refusal(strict, place, {name: value}) or ""), (name, value)


@pytest.mark.parametrize("place", PLACES)
def test_an_address_is_an_object_of_texts(strict: Sandbox, place: str) -> None:
    """Each part may be missing."""
    assert refusal(strict, place, {"address": {}}) is None
    assert refusal(strict, place, {"address": dict.fromkeys(PARTS, "")}) is None
    for value in NO_OBJECTS:
        assert "address must be object" in (refusal(strict, place, {"address": value}) or ""), value
    for part in PARTS:
        for value in NO_TEXTS:
            assert f"address.{part} should be string" in (
                refusal(strict, place, {"address": {part: value}}) or ""
            )


@pytest.mark.parametrize("place", PLACES)
def test_metadata_is_an_object_of_anything(strict: Sandbox, place: str) -> None:
    """Of any depth, where no schema says otherwise."""
    everything = {"a": 1, "b": [1, {"c": [[]]}], "d": {"e": {"f": None}}, "": "", "k" * 1000: False}
    assert refusal(strict, place, {"metadata": everything}) is None
    for value in NO_OBJECTS:
        assert "metadata must be object" in (refusal(strict, place, {"metadata": value}) or ""), value


@pytest.mark.parametrize("place", ["post", "event", "bulk"])
def test_a_source_id_is_a_text_that_is_not_empty(strict: Sandbox, place: str) -> None:
    """The schema would take an empty one."""
    for text in (" ", "0", "x" * 5000):
        assert refusal(strict, place, {"source_id": text}) is None
    for value in ("", *NO_TEXTS):
        assert "source_id" in (refusal(strict, place, {"source_id": value}) or ""), value


def test_a_bulk_request_knows_a_customer_by_source_id_alone() -> None:
    """An id in it is an unknown field, and so is any id in the body of an update by path."""
    with Sandbox() as sandbox:
        known = call(sandbox, "POST", CUSTOMERS, customer("u1")).body["id"]
        assert refusal(sandbox, "bulk", {"source_id": "u2", "id": known, "name": "Ben"}) is None
        assert (
            call(sandbox, "PUT", f"{CUSTOMERS}/u1", {"id": 5, "source_id": [], "name": "Ann"}).status == 200
        )
        assert {held.source_id: held.name for held in sandbox.store.customers} == {"u1": "Ann", "u2": "Ben"}
    with Sandbox(SandboxOptions(unknown_fields="reject")) as sandbox:
        call(sandbox, "POST", CUSTOMERS, customer("u1"))
        assert "id is not allowed" in (refusal(sandbox, "bulk", {"id": "cust_x"}) or "")
        assert "source_id is not allowed" in (refusal(sandbox, "put", {"source_id": "u1"}) or "")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        pytest.param(event(name="x" * 300), None, id="longest name"),
        pytest.param(event(name="🐢" * 300), None, id="characters, not bytes"),
        pytest.param(event(name="🐢" * 301), ".event should have 1 to 300 characters", id="too long"),
        pytest.param(event(name=""), ".event should have 1 to 300 characters", id="no name"),
        pytest.param({**event(), "event": None}, ".event should be string", id="null name"),
        pytest.param({**event(), "customer": None}, ".customer must be object", id="null customer"),
        pytest.param({"event": "E", "customer": {}}, None, id="customer of nobody"),
        pytest.param(event(metadata=None), ".metadata must be object", id="null metadata"),
        pytest.param(event(metadata={"a": None}), None, id="null in metadata"),
        pytest.param(event(referral=None), ".referral must be object", id="null referral"),
        pytest.param(event(referral={"code": None}), ".referral.code should be string", id="null code"),
        pytest.param(event(referral={"code": "c"}), None, id="referral"),
        pytest.param(event(referral={"code": "c", "referrer_id": "r"}), None, id="referral with referrer"),
        pytest.param(
            event(referral={"code": "c", "referrer_id": 5}),
            ".referral.referrer_id should be string",
            id="referrer",
        ),
        pytest.param(event(referral={"referrer_id": "r"}), "required property 'code'", id="referrer alone"),
        pytest.param(event(loyalty={"code": "c"}), None, id="loyalty"),
        pytest.param(event(loyalty={}), "required property 'code'", id="loyalty without code"),
        pytest.param(event(loyalty=None), ".loyalty must be object", id="null loyalty"),
        pytest.param(event(loyalty=["c"]), ".loyalty must be object", id="loyalty in a list"),
        pytest.param(event(created_at=5, timestamp="x"), None, id="unknown fields"),
    ],
)
def test_an_event_is_checked_field_by_field(strict: Sandbox, body: dict[str, Any], says: str | None) -> None:
    """Nothing of an event may be null but what lies within metadata and its customer."""
    status, _, details = call(strict, "POST", EVENTS, body).error
    assert status == (200 if says is None else 400)
    assert says is None or says in (details or "")


EACH_FIELD = [
    *({name: None} for name in (*TEXTS, *DATES, "address", "metadata")),
    *({"address": {part: None}} for part in PARTS),
    {"metadata": {"key": None}},
]
FULL = {
    **dict.fromkeys(TEXTS, "old"),
    **dict.fromkeys(DATES, "1990-05-01"),
    "address": dict.fromkeys(PARTS, "old"),
    "metadata": {"key": "old", "other": "1"},
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("fields", EACH_FIELD, ids=json.dumps)
@pytest.mark.parametrize("nulls", ["clear", "ignore", "reject"])
def test_a_null_clears_is_ignored_or_is_refused(nulls: Any, fields: dict[str, Any], place: str) -> None:
    """Every field of a customer, every part of the address, every key of the metadata, single and in bulk."""
    with Sandbox(SandboxOptions(nulls=nulls)) as sandbox:
        call(sandbox, "POST", CUSTOMERS, customer(**FULL))
        says = refusal(sandbox, place, fields)
        after = call(sandbox, "GET", f"{CUSTOMERS}/u1").body
    [(field, value)] = fields.items()
    if nulls == "reject":
        inside = next(iter(value), None) if value else None
        assert f".{field}.{inside}" if inside else f".{field}" in (says or "")
        assert FULL.items() <= after.items()
        return
    assert says is None
    if nulls == "ignore":
        assert FULL.items() <= after.items()
    elif field == "metadata":
        assert after["metadata"] == ({"key": None, "other": "1"} if value else {})
    elif field == "address":
        kept = {part: "old" for part in PARTS if part not in (value or {})}
        assert after["address"] == (kept if value else None)
    else:
        assert after.get(field) is None
    others = {name: old for name, old in FULL.items() if name != field}
    assert others.items() <= after.items()


@pytest.mark.parametrize("nulls", ["clear", "ignore"])
def test_a_null_id_counts_as_absent(nulls: Any) -> None:
    """It names nobody; as reject it is refused, and in a bulk request it is always."""
    with Sandbox(SandboxOptions(nulls=nulls)) as sandbox:
        assert call(sandbox, "POST", CUSTOMERS, {"id": None, "source_id": "u1"}).body["source_id"] == "u1"
        assert call(sandbox, "POST", BULK, [{"source_id": None}]).status == 400
    with Sandbox(SandboxOptions(nulls="reject")) as sandbox:
        assert call(sandbox, "POST", CUSTOMERS, {"source_id": None}).status == 400


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("path", [("odd",), ("address", "zip"), ("system_metadata",)], ids=".".join)
def test_an_unknown_field_is_ignored_or_refused(place: str, path: tuple[str, ...]) -> None:
    """Of the customer, and of the address."""
    fields: Any = "value"
    for name in reversed(path):
        fields = {name: fields}
    with Sandbox() as sandbox:
        call(sandbox, "POST", CUSTOMERS, customer())
        assert refusal(sandbox, place, fields) is None
        assert "value" not in json.dumps(call(sandbox, "GET", f"{CUSTOMERS}/u1").body)
    with Sandbox(SandboxOptions(unknown_fields="reject")) as sandbox:
        call(sandbox, "POST", CUSTOMERS, customer())
        assert f".{'.'.join(path)} is not allowed" in (refusal(sandbox, place, fields) or "")
        assert refusal(sandbox, place, {"metadata": {"odd": {"odd": 1}}}) is None


@pytest.mark.parametrize(
    "part", [{"timestamp": "x"}, {"referral": {"code": "c", "x": 1}}, {"loyalty": {"code": "c", "x": 1}}]
)
def test_an_unknown_field_of_an_event_is_ignored_or_refused(part: dict[str, Any]) -> None:
    """Of the event itself, of its referral and its loyalty."""
    with Sandbox() as sandbox:
        assert call(sandbox, "POST", EVENTS, event(**part)).status == 200
    with Sandbox(SandboxOptions(unknown_fields="reject")) as sandbox:
        assert "is not allowed" in (call(sandbox, "POST", EVENTS, event(**part)).error[2] or "")


@pytest.mark.parametrize(
    "deep", [{"a": {"b": {}}}, {"a": {"b": [{"c": 1}]}}, {"a": [{"b": {"c": 1}}]}], ids=json.dumps
)
def test_nested_metadata_may_be_refused(deep: dict[str, Any]) -> None:
    """An object inside a nested object; one level is always taken."""
    flat = {"a": {"b": 1}, "c": [{"d": "e"}], "f": [[1]]}
    with Sandbox(SandboxOptions(nested_metadata="reject")) as sandbox:
        for path, wrap in ((CUSTOMERS, customer), (EVENTS, event)):
            assert call(sandbox, "POST", path, wrap(metadata=flat)).status == 200
            assert "should NOT have an object inside" in (
                call(sandbox, "POST", path, wrap(metadata=deep)).error[2] or ""
            )


def test_an_invalid_customer_may_spoil_its_bulk_request() -> None:
    """By default it fails alone; else nobody of the request is updated."""
    items = [customer("a"), customer("b", email=5), customer("c")]
    with Sandbox() as sandbox:
        assert call(sandbox, "POST", BULK, items).status == 202
        assert [held.source_id for held in sandbox.store.customers] == ["a", "c"]
    with Sandbox(SandboxOptions(bulk_invalid="request")) as sandbox:
        assert call(sandbox, "POST", BULK, items).error == (
            400,
            "invalid_payload",
            "Property [1].email should be string,null",
        )
        assert sandbox.counts()[0] == 0


def test_metadata_may_be_bounded_by_its_schema() -> None:
    """Each bound of a definition, and the objects inside."""
    rules: dict[str, Any] = {
        "eq": {"type": "string", "eq": ["a", "b"]},
        "ne": {"type": "number", "ne": [1]},
        "lt": {"type": "number", "lt": 5},
        "lte": {"type": "number", "lte": 5},
        "gt": {"type": "number", "gt": 5},
        "gte": {"type": "number", "gte": 5},
        "minLength": {"type": "string", "minLength": 2},
        "maxLength": {"type": "string", "maxLength": 2},
        "exactLength": {"type": "string", "exactLength": 2},
        "object": {"type": "object", "objectType": "shop"},
    }
    shop = {"related_object": "shop", "properties": {"city": {"type": "string"}}}
    right = {"eq": "a", "ne": 2, "lt": 4, "lte": 5, "gt": 6, "gte": 5, "minLength": "ab", "maxLength": "ab"}
    wrong = {"eq": "c", "ne": 1, "lt": 5, "lte": 6, "gt": 5, "gte": 4, "minLength": "a", "maxLength": "abc"}
    right |= {"exactLength": "ab", "object": {"city": "A"}}
    wrong |= {"exactLength": "a", "object": {"city": 5}}
    schemas = ({"related_object": "customer", "properties": rules}, shop)
    with Sandbox(SandboxOptions(metadata_schemas=schemas)) as sandbox:
        assert call(sandbox, "POST", CUSTOMERS, customer(metadata=right)).status == 200
        for key, value in wrong.items():
            status, problem, details = call(sandbox, "POST", CUSTOMERS, customer(metadata={key: value})).error
            assert (status, problem) == (400, "metadata_validation_failed"), key
            assert (details or "").startswith(f"{key}: "), details
        deep = call(sandbox, "POST", CUSTOMERS, customer(metadata={"object": {"x": {}}})).error
        assert deep[2] == "object: a nested object cannot hold another object"


def values_of(*good: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Draw what fits a field, or anything else."""
    return st.one_of(
        *good, st.none(), st.booleans(), st.integers(), st.text(max_size=5), st.just([]), st.just({})
    )


TEXT = values_of(st.text(min_size=1, max_size=5))
DAY = values_of(st.dates().map(date.isoformat), st.sampled_from([*DAYS, *NO_DAYS]))
ADDRESS = values_of(st.dictionaries(st.sampled_from([*PARTS, "zip"]), TEXT, max_size=3))
METADATA = values_of(st.dictionaries(st.text(max_size=3), values_of(), max_size=3))
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(("id", "source_id", *TEXTS, "odd"), TEXT),
    **dict.fromkeys(DATES, DAY),
    "address": ADDRESS,
    "metadata": METADATA,
}
CODE = values_of(st.dictionaries(st.sampled_from(["code", "referrer_id", "odd"]), TEXT, max_size=3))


def bodies(fields: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    """Draw objects with some of the fields."""
    return values_of(st.fixed_dictionaries({}, optional=fields))


CUSTOMER_BODIES = bodies(FIELDS)
EVENT_BODIES = bodies(
    {
        "event": values_of(st.sampled_from(["", "E", "x" * 300, "🐢" * 301])),
        "customer": CUSTOMER_BODIES,
        "metadata": METADATA,
        "referral": CODE,
        "loyalty": CODE,
        "odd": TEXT,
    }
)


CREATE, UPDATE, RECORD = "CustomersCreateRequestBody", "CustomersUpdateRequestBody", "EventsCreateRequestBody"
"""Schemas of the three bodies that are checked: of a new customer, of an update by path, of a custom event."""
IDS = {CREATE: ("id", "source_id"), UPDATE: (), RECORD: ("id", "source_id")}


def is_taken(schema: str, body: Any, nulls: Any = "clear") -> bool:
    """Tell whether the sandbox takes a body."""
    try:
        if schema == RECORD:
            check_event(body, SandboxOptions(nulls=nulls))
        else:
            check_customer(body, "", SandboxOptions(nulls=nulls), ids=IDS[schema])
    except ApiRefusal:
        return False
    return True


def both(taken: list[Any], refused: list[Any]) -> list[tuple[Any, bool]]:
    """Return bodies with whether they are taken."""
    return [*((body, True) for body in taken), *((body, False) for body in refused)]


NO_BODIES = [None, [], "x", 5, True]
CUSTOMER_TABLE = both(
    [
        {},
        {"email": "", "odd": {"x": [None]}},
        {"birthdate": "2024-02-29", "birthday": "1990-05-01"},
        {"address": {"zip": 5, "city": ""}},
        {"metadata": {"": [{"a": {"b": 1}}]}},
    ],
    [
        *NO_BODIES,
        *({name: value} for name in TEXTS for value in NO_TEXTS),
        *({name: value} for name in DATES for value in [*NO_TEXTS, "", "2023-02-29", "1990-5-1"]),
        *({name: value} for name in ("address", "metadata") for value in NO_OBJECTS),
        *({"address": {part: value}} for part in PARTS for value in NO_TEXTS),
    ],
)
RECORD_TABLE = both(
    [
        {"event": "E", "customer": {}},
        {"event": "E" * 300, "customer": {"id": "c", "source_id": "s"}, "metadata": {}, "odd": None},
        {"event": "E", "customer": {}, "referral": {"code": "c"}, "loyalty": {"code": ""}},
    ],
    [
        *NO_BODIES,
        {},
        {"event": "E"},
        {"customer": {}},
        *({"event": name, "customer": {}} for name in ("", "E" * 301, None, *NO_TEXTS)),
        *({"event": "E", "customer": value} for value in (None, *NO_OBJECTS)),
        *({"event": "E", "customer": {name: value}} for name in IDS[RECORD] for value in NO_TEXTS),
        *(
            {"event": "E", "customer": {}, name: value}
            for name in ("metadata", "referral", "loyalty")
            for value in (None, *NO_OBJECTS)
        ),
        *(
            {"event": "E", "customer": {}, name: value}
            for name in ("referral", "loyalty")
            for value in ({}, {"code": None}, {"code": 5})
        ),
    ],
)
TABLE = [
    *((schema, *row) for schema in (CREATE, UPDATE) for row in CUSTOMER_TABLE),
    *((CREATE, {name: value}, False) for name in IDS[CREATE] for value in NO_TEXTS),
    (UPDATE, {"id": 5, "source_id": []}, True),
    *((RECORD, {"event": "E", "customer": body}, taken) for body, taken in CUSTOMER_TABLE),
    *((RECORD, *row) for row in RECORD_TABLE),
]


def test_each_body_is_taken_or_refused_as_the_api_documents() -> None:
    """The rules that are documented, body by body; an empty id and nulls have tests of their own."""
    assert [row for row in TABLE if is_taken(*row[:2]) != row[2]] == []


def test_the_table_says_what_the_published_schema_says(published: Any) -> None:
    """So that the table holds the sandbox where the schema is not at hand."""
    assert [row for row in TABLE if published(row[0]).is_valid(row[1]) != row[2]] == []


@pytest.fixture(scope="module")
def published(openapi: Path) -> Any:
    """Return what makes a validator of a published schema."""
    components = as_json_schema(json.loads(openapi.read_text()))["components"]

    def validator(name: str) -> Any:
        schema = {"$ref": f"#/components/schemas/{name}", "components": components}
        return jsonschema.Draft4Validator(schema, format_checker=jsonschema.FormatChecker(["date"]))

    return validator


def without_nulls(fields: Any) -> Any:
    """Return what is left of a customer's fields where a null is taken for every field."""
    if not isinstance(fields, dict):
        return fields
    left = {name: value for name, value in fields.items() if value is not None}
    if isinstance(left.get("address"), dict):
        left["address"] = {part: value for part, value in left["address"].items() if value is not None}
    return left


def has_null_that_only_the_schema_takes(fields: Any) -> bool:
    """Tell whether a customer has a null address, or a null in its metadata: nulls=reject refuses them, too."""
    metadata = fields.get("metadata") if isinstance(fields, dict) else None
    is_null = isinstance(fields, dict) and fields.get("address", 0) is None
    return is_null or (isinstance(metadata, dict) and None in metadata.values())


@pytest.mark.parametrize("nulls", ["clear", "ignore", "reject"])
@pytest.mark.parametrize("schema", IDS)
@given(data=st.data())
def test_the_sandbox_refuses_what_the_published_schema_refuses(
    published: Any, schema: str, nulls: Any, data: st.DataObject
) -> None:
    """And nothing else, but an empty id, which names nobody; and but for nulls, as their switch says."""
    is_event = schema == RECORD
    body = data.draw(EVENT_BODIES if is_event else CUSTOMER_BODIES)
    has_passed = is_taken(schema, body, nulls)
    fields = body.get("customer") if is_event and isinstance(body, dict) else body
    is_refused = isinstance(fields, dict) and any(fields.get(name) == "" for name in IDS[schema])
    if nulls == "reject":
        is_refused = is_refused or has_null_that_only_the_schema_takes(fields)
    elif not is_event:
        body = without_nulls(body)
    elif isinstance(body, dict) and "customer" in body:
        body = {**body, "customer": without_nulls(fields)}
    assert has_passed == (published(schema).is_valid(body) and not is_refused)
