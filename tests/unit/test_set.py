"""The setting `set`: what the values of directives become in a request."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.mapped import ends_of, event_body
from support.settings_text import loaded

from voucherify_sync.errors import SettingsError
from voucherify_sync.events import Batch, Json, Request
from voucherify_sync.mapping.filters import Selection
from voucherify_sync.run.pipeline import Pipeline

ORDER: Json = {
    "type": "track",
    "event": "Paid",
    "properties": {
        "email": "Ann@Example.com",
        "kind": "card",
        "blank": " ",
        "nothing": None,
        "n": 7,
        "person": {
            "name": "Ann",
            "description": None,
            "id": "9",
            "source_id": "8",
            "address": {"street": "Lane 1", "odd": 1},
        },
        "box": {"a": 1, "b": None, "c": {"d": None}},
    },
}


def path(text: str) -> Json:
    """Return a directive."""
    return {"@path": f"$.properties.{text}"}


CASES: list[Any] = [
    pytest.param(
        {"event": {"@template": "{{event}} by {{properties.kind}}"}}, event_body("Paid by card"), id="event"
    ),
    pytest.param({"event": path("blank")}, event_body("Paid"), id="a blank event is none"),
    pytest.param({"event": path("absent")}, event_body("Paid"), id="an event of nothing is none"),
    pytest.param({"event": path("box")}, event_body("Paid"), id="an object is no event"),
    pytest.param(
        {"customer.email": {"@case": {"operator": "lower", "value": path("email")}}},
        event_body("Paid", email="ann@example.com"),
        id="a text of the customer",
    ),
    pytest.param({"customer.phone": path("n")}, event_body("Paid", phone="7"), id="a number becomes a text"),
    pytest.param(
        {"customer.phone": path("nothing")}, event_body("Paid"), id="a null of an event is left out"
    ),
    pytest.param({"customer.phone": path("blank")}, event_body("Paid"), id="a blank is dropped"),
    pytest.param({"customer.source_id": path("kind")}, event_body("Paid", source_id="card"), id="source_id"),
    pytest.param({"customer.source_id": path("blank")}, event_body("Paid"), id="a blank source_id is none"),
    pytest.param({"customer.id": path("kind")}, event_body("Paid", id="card"), id="id"),
    pytest.param(
        {"customer": path("person")},
        event_body("Paid", name="Ann", address={"line_1": "Lane 1"}),
        id="an object row that fills no ids",
    ),
    pytest.param(
        {"customer": {"@merge": {"objects": [path("person"), {"phone": "1"}], "direction": "right"}}},
        event_body("Paid", name="Ann", phone="1", address={"line_1": "Lane 1"}),
        id="an object that is made",
    ),
    pytest.param(
        {"customer.address": path("person.address")},
        event_body("Paid", address={"line_1": "Lane 1"}),
        id="an address is read by the rows of addresses",
    ),
    pytest.param({"metadata": path("box")}, event_body("Paid", {"a": 1, "c": {"d": None}}), id="metadata"),
    pytest.param(
        {"metadata": {"a": path("n"), "b": {"deep": path("kind")}, "c": path("absent")}},
        event_body("Paid", {"a": 7, "b": {"deep": "card"}}),
        id="metadata in braces",
    ),
    pytest.param(
        {"customer": {"metadata": {"k": path("n")}, "address": {"city": "Łódź"}}, "loyalty": {"code": "L"}},
        event_body("Paid", address={"city": "Łódź"}, metadata={"k": 7}) | {"loyalty": {"code": "L"}},
        id="braces at all levels",
    ),
    pytest.param(
        {"metadata.v": [path("absent"), path("n")]}, event_body("Paid", {"v": [None, 7]}), id="a list"
    ),
    pytest.param(
        {"metadata.v": {"a": path("absent"), "b": 1}}, event_body("Paid", {"v": {"b": 1}}), id="an object"
    ),
    pytest.param(
        {"metadata.v": {"@path": "$.properties.kind", "_metadata": {"label": "x"}}},
        event_body("Paid", {"v": "card"}),
        id="_metadata beside a directive is ignored",
    ),
]


@pytest.mark.parametrize(("entries", "body"), CASES)
def test_the_request(tmp_path: Path, entries: Json, body: Json) -> None:
    """Each value goes through the types of its place, as that of a row does."""
    assert ends_of(tmp_path, f"track: {{set: {json.dumps(entries)}}}", ORDER) == [body]


def test_entries_stand_in_place_of_the_default_table(tmp_path: Path) -> None:
    """Unless `extend_default`; constants alone leave it."""
    event = {"type": "track", "event": "E", "properties": {"email": "a@example.com"}}
    table, both = event_body("E", email="a@example.com"), event_body("E", {"r": 1}, email="a@example.com")
    assert ends_of(tmp_path, "track: {set: {metadata.r: 1}}", event) == [event_body("E", {"r": 1})]
    assert ends_of(tmp_path, "track: {set: {metadata.r: 1}, extend_default: true}", event) == [both]
    assert ends_of(tmp_path, "track: {add: {metadata.r: 1}}", event) == [both]
    assert ends_of(tmp_path, "track: {set: {}}", event) == [table]


@pytest.mark.parametrize(
    ("nulls", "customer"), [("omit", {}), ("clear", {"email": None, "metadata": {"a": None}})]
)
def test_nulls_erase_where_the_settings_say_so(tmp_path: Path, nulls: str, customer: Json) -> None:
    """A null of a directive is a null of a row."""
    entries = {"customer.email": {"@path": "traits.email"}, "customer.metadata": {"@path": "traits.more"}}
    text = f"identify: {{nulls: {nulls}, set: {json.dumps(entries)}}}"
    event = {"type": "identify", "traits": {"email": None, "more": {"a": None}}}
    assert ends_of(tmp_path, text, event) == [{"source_id": "u", **customer}]


IN_CONTEXT: Json = {
    "type": "identify",
    "context": {"traits": {"email": " A@EXAMPLE.COM", "plan": "pro", "age": 3}},
}


@pytest.mark.parametrize("source", ["traits.email", "$.traits.email", "context.traits.email"])
@pytest.mark.parametrize("unmapped", ["drop", "metadata"])
def test_traits_of_the_context_are_read_by_their_usual_path(
    tmp_path: Path, source: str, unmapped: str
) -> None:
    """What a directive reads there is taken, and not sent once more as metadata."""
    entries = {"customer.email": {"@case": {"operator": "lower", "value": {"@path": source}}}}
    text = f"identify: {{unmapped_traits: {unmapped}, set: {json.dumps(entries)}}}"
    rest = {"metadata": {"plan": "pro", "age": 3}} if unmapped == "metadata" else {}
    assert ends_of(tmp_path, text, IN_CONTEXT) == [{"source_id": "u", "email": " a@example.com", **rest}]


@pytest.mark.parametrize("unmapped", ["drop", "metadata"])
def test_rows_with_filters_read_the_traits_of_the_context(tmp_path: Path, unmapped: str) -> None:
    """Also by `or`."""
    text = (
        f"identify: {{unmapped_traits: {unmapped}, mapping: {{traits.mail: {{to: customer.email, "
        "or: [traits.email], apply: strip | downcase}}}"
    )
    rest = {"metadata": {"plan": "pro", "age": 3}} if unmapped == "metadata" else {}
    assert ends_of(tmp_path, text, IN_CONTEXT) == [{"source_id": "u", "email": "a@example.com", **rest}]


UNMAPPED: list[Any] = [
    pytest.param({"@path": "properties.list"}, {"a.b": 1, "a": {"b": 2}, "n": 3}, id="a list"),
    pytest.param({"@path": "properties.list[0]"}, {"a.b": 1, "a": {"b": 2}, "n": 3}, id="an item of a list"),
    pytest.param(
        {"@path": "properties.list[9]"},
        {"list": ["x", "y"], "a.b": 1, "a": {"b": 2}, "n": 3},
        id="an item that is not there",
    ),
    pytest.param(
        {"@path": "properties.n.deeper"},
        {"list": ["x", "y"], "a.b": 1, "a": {"b": 2}, "n": 3},
        id="below a number",
    ),
    pytest.param(
        {"@path": 'properties["a.b"]'}, {"list": ["x", "y"], "a": {"b": 2}, "n": 3}, id="a key with a dot"
    ),
    pytest.param({"@path": "properties.a.b"}, {"list": ["x", "y"], "n": 3}, id="two spellings"),
    pytest.param({"@path": "properties"}, {}, id="all"),
    pytest.param(
        {"@if": {"exists": {"@path": "properties.n"}, "then": 1}},
        {"list": ["x", "y"], "a.b": 1, "a": {"b": 2}},
        id="a condition",
    ),
]


@pytest.mark.parametrize(("directive", "carried"), UNMAPPED)
def test_what_a_directive_reads_is_not_sent_once_more(tmp_path: Path, directive: Json, carried: Json) -> None:
    """`unmapped_properties: metadata` carries the rest."""
    event = {
        "type": "track",
        "event": "E",
        "properties": {"list": ["x", "y"], "a.b": 1, "a": {"b": 2}, "n": 3},
    }
    text = (
        f"track: {{unmapped_properties: metadata, set: {{customer.metadata.made: {json.dumps(directive)}}}}}"
    )
    (body,) = ends_of(tmp_path, text, event)
    assert body.get("metadata", {}) == carried


def test_personas_come_along(tmp_path: Path) -> None:
    """The computed trait, and not what a directive has read."""
    event = {
        "type": "identify",
        "traits": {"spent": 5, "vip": True, "email": "a@example.com"},
        "context": {"personas": {"computation_key": "vip"}},
    }
    text = 'identify: {set: {customer.metadata.total: {"@path": traits.spent}}}'
    assert ends_of(tmp_path, text, event) == [{"source_id": "u", "metadata": {"total": 5, "vip": True}}]


@pytest.mark.parametrize(
    ("made", "is_broken"),
    [
        ({"@path": "properties.key"}, True),
        ({"@template": "k-{{properties.key}}"}, True),
        ({"@case": {"operator": "upper", "value": {"@path": "properties.key"}}}, True),
        ({"@path": "properties.other"}, False),
    ],
)
def test_an_id_that_is_made_of_broken_text_names_nobody(tmp_path: Path, made: Json, is_broken: bool) -> None:
    """Another customer might bear the repaired text."""
    text = f"track: {{set: {{customer.source_id: {json.dumps(made)}}}}}"
    line = b'{"type":"track","event":"E","userId":"u","properties":{"key":"a\\xff","other":"b\xef\xbf\xbd"}}'
    line = line.replace(b"\\xff", b"\xff")
    ((decision,),) = Pipeline(loaded(tmp_path, text), Selection()).batches(Batch.of("f", 1, [line]))
    if is_broken:
        assert not isinstance(decision, Request)
        assert decision.reason == "broken_id"


def test_a_made_value_of_metadata_that_is_called_id_names_nobody(tmp_path: Path) -> None:
    """A customer whose id holds a replacement character as it came stays the customer; another text is broken."""
    text = 'track: {set: {metadata.id: {"@path": properties.key}}}'
    line = b'{"type":"track","event":"E","userId":"u\xef\xbf\xbd","properties":{"key":"a\xff"}}'
    ((decision,),) = Pipeline(loaded(tmp_path, text), Selection()).batches(Batch.of("f", 1, [line]))
    assert isinstance(decision, Request)


@pytest.mark.parametrize(
    "directive",
    [
        {"@path": "properties.n"},
        {"v": {"@path": "properties.n"}},
        {"@template": "{{properties.n}}"},
        {"@json": {"mode": "encode", "value": {"@path": "properties"}}},
        {"@merge": {"objects": [{"@path": "properties"}], "direction": "left"}},
        {"@if": {"exists": True, "then": [{"@path": "properties.n"}]}},
    ],
)
@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e400"])
def test_a_number_that_json_cannot_carry_is_invalid_by_any_directive(
    tmp_path: Path, directive: Json, number: str
) -> None:
    """As by a row."""
    text = f"track: {{set: {{metadata.v: {json.dumps(directive)}}}}}"
    line = f'{{"type":"track","event":"E","userId":"u","properties":{{"n":{number}}}}}'.encode()
    ((decision,),) = Pipeline(loaded(tmp_path, text), Selection()).batches(Batch.of("f", 1, [line]))
    assert not isinstance(decision, Request)
    assert decision.reason == "not_finite"


@pytest.mark.parametrize("levels", [30, 2_000])
def test_a_value_that_is_nested_too_deep_is_invalid(tmp_path: Path, levels: int) -> None:
    """No directive ends a run."""
    text = 'track: {set: {metadata.v: {"@literal": {"@path": properties.n}}}}'
    nested = '{"a":' * levels + "1" + "}" * levels
    line = f'{{"type":"track","event":"E","userId":"u","properties":{{"n":{nested}}}}}'.encode()
    ((decision,),) = Pipeline(loaded(tmp_path, text), Selection()).batches(Batch.of("f", 1, [line]))
    assert isinstance(decision, Request) == (levels < 100)


MISTAKES: list[Any] = [
    pytest.param(
        "identify: {set: {metadata.plan: 1}}",
        ["1:18", "customer.metadata.plan"],
        id="metadata of an identify",
    ),
    pytest.param("group: {set: {event: x}}", ["1:15"], id="event of a group"),
    pytest.param("track: {set: {custmer.email: x}}", ["1:15", "customer"], id="an unknown place"),
    pytest.param("track: {set: {customer.nme: x}}", ["1:15", "customer.name"], id="an unknown field"),
    pytest.param(
        'track: {set: {event: {"@pth": x}, metadata.v: {"@case": {operator: title, value: x}}}}',
        ["@path", "lower or upper"],
        id="all at once",
    ),
    pytest.param(
        'track: {set: {custmer.email: {"@pth": x}, customer: {nme: {"@cse": x}}}}',
        ["1:15", "1:59", "did you mean @path?", "customer.name", "did you mean @case?"],
        id="in the value of a wrong destination",
    ),
    pytest.param('track: {set: {event: {"@liquid": x}}}', ["Liquid is not read yet"], id="Liquid"),
    pytest.param("track: {set: {metadata.*: 1}}", ["1:", "leave the '.*' out"], id="a wildcard"),
    pytest.param("track: {set: {metadata: 1}}", ["object"], id="metadata that is no object"),
]


@pytest.mark.parametrize(("text", "says"), MISTAKES)
def test_a_mistake_has_its_place(tmp_path: Path, text: str, says: list[str]) -> None:
    """File, line and column, and what is meant."""
    with pytest.raises(SettingsError) as caught:
        loaded(tmp_path, text)
    for each in says:
        assert each in str(caught.value)


@pytest.mark.parametrize("place", ["customer.phone", "event", "customer.source_id", "metadata.v"])
def test_a_number_that_json_cannot_carry_is_invalid_at_any_place(tmp_path: Path, place: str) -> None:
    """By `set` as by a row, also where a text belongs."""
    line = b'{"type":"track","event":"E","userId":"u","properties":{"n":NaN}}'
    for text in (
        f'track: {{set: {{{place}: {{"@path": properties.n}}}}}}',
        f"track: {{mapping: {{properties.n: {place}}}}}",
    ):
        ((decision,),) = Pipeline(loaded(tmp_path, text), Selection()).batches(Batch.of("f", 1, [line]))
        assert not isinstance(decision, Request)
        assert decision.reason == "not_finite"


@pytest.mark.parametrize(
    "directive",
    [
        {"@path": {"@template": "context.page.{{event}}"}},
        {"@transform": {"apply": {"@path": ""}, "mapping": {"@path": "context.page.E"}}},
    ],
)
def test_what_may_be_read_anywhere_is_decoded(tmp_path: Path, directive: Json) -> None:
    """A path that is computed, and the event itself."""
    event = {"type": "track", "event": "E", "context": {"page": {"E": 1}}}
    text = f"track: {{set: {{metadata.v: {json.dumps(directive)}}}}}"
    assert ends_of(tmp_path, text, event) == [event_body("E", {"v": 1})]
