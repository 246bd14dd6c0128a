"""Rows with `to`, `or` and `apply`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.mapped import ends_of
from support.settings_text import loaded

from voucherify_sync.errors import SettingsError
from voucherify_sync.events import Batch, Event, Json
from voucherify_sync.field_types import DOES_NOT_FIT
from voucherify_sync.mapping.filters import Selection
from voucherify_sync.run.pipeline import Pipeline

CASES: list[Any] = [
    pytest.param(
        "{to: customer.firstName, or: [traits.firstName]}",
        {"first_name": "Ann"},
        {"name": "Ann"},
        id="the twin of a second source",
    ),
    pytest.param(
        "{to: customer.email, apply: strip | downcase}",
        {"v": " A@B.COM "},
        {"email": "a@b.com"},
        id="filters",
    ),
    pytest.param("{to: customer.email}", {"v": "a@b.com"}, {"email": "a@b.com"}, id="to alone"),
    pytest.param(
        "{to: [customer.email, customer.metadata.mail], apply: downcase}",
        {"v": "A"},
        {"email": "a", "metadata": {"mail": "a"}},
        id="two destinations",
    ),
    pytest.param("{to: customer.email, or: [traits.w]}", {"w": "a"}, {"email": "a"}, id="the second source"),
    pytest.param("{to: customer.email, or: traits.w}", {"w": "a"}, {"email": "a"}, id="or as a text"),
    pytest.param(
        "{to: customer.email, or: [traits.w]}",
        {"v": None, "w": "a"},
        {"email": "a"},
        id="null is passed over",
    ),
    pytest.param(
        "{to: customer.email, or: [traits.w]}",
        {"v": "b", "w": "a"},
        {"email": "b"},
        id="the first one counts",
    ),
    pytest.param(
        "{to: customer.metadata.v, or: [traits.w]}",
        {"v": "", "w": "a"},
        {"metadata": {"v": ""}},
        id="a blank is there",
    ),
    pytest.param(
        "{to: customer.metadata.v, or: [traits.w]}",
        {"v": False, "w": "a"},
        {"metadata": {"v": False}},
        id="false is there",
    ),
    pytest.param(
        "{to: customer.metadata.v, or: [traits.x, traits.w]}",
        {"w": 0},
        {"metadata": {"v": 0}},
        id="the third source",
    ),
    pytest.param("{to: customer.metadata.v, apply: upcase}", {}, {}, id="nothing"),
    pytest.param(
        "{to: customer.metadata.v, apply: \"default: 'free'\"}",
        {},
        {"metadata": {"v": "free"}},
        id="a default",
    ),
    pytest.param(
        "{to: customer.metadata.v, apply: \"default: 'free'\"}",
        {"v": False},
        {"metadata": {"v": "free"}},
        id="a default of false",
    ),
    pytest.param(
        '{to: customer.metadata.v, apply: "times: 100"}', {"v": 1.15}, {"metadata": {"v": 115}}, id="cents"
    ),
    pytest.param(
        '{to: customer.metadata.v, apply: "times: 100"}',
        {"v": "1.15"},
        {"metadata": {"v": 115}},
        id="cents of a text",
    ),
    pytest.param('{to: customer.metadata.v, apply: "times: 2"}', {"v": "two"}, {}, id="no number"),
    pytest.param(
        "{to: customer.metadata.v, apply: round}",
        {"v": -2.5},
        {"metadata": {"v": -3}},
        id="half away from zero",
    ),
    pytest.param(
        "{to: customer.metadata.v, apply: upcase}",
        {"v": 27.5},
        {"metadata": {"v": "27.5"}},
        id="a number as text",
    ),
    pytest.param("{to: customer.metadata.v, apply: upcase}", {"v": True}, {}, id="true is no text"),
    pytest.param("{to: customer.metadata.v, apply: upcase}", {"v": {"a": 1}}, {}, id="an object is no text"),
    pytest.param(
        "{to: customer.metadata.v, apply: \"date: '%d.%m.%Y'\"}",
        {"v": 1709251200},
        {"metadata": {"v": "01.03.2024"}},
        id="seconds",
    ),
    pytest.param(
        "{to: customer.metadata.v, apply: \"date: '%Y'\"}",
        {"v": 1709251200000},
        {"metadata": {"v": "2024"}},
        id="milliseconds",
    ),
    pytest.param(
        "{to: customer.metadata.v, apply: \"date: '%Y'\"}",
        {"v": "soon"},
        {"metadata": {"v": "soon"}},
        id="no date",
    ),
    pytest.param(
        "{to: customer.metadata.v, apply: \"split: ',' | last\"}",
        {"v": "a,b"},
        {"metadata": {"v": "b"}},
        id="lists",
    ),
    pytest.param(
        "{to: customer.metadata.v, apply: to_number}", {"v": "12"}, {"metadata": {"v": 12}}, id="to_number"
    ),
    pytest.param("{to: customer.metadata.v, apply: to_number}", {"v": "a"}, {}, id="to_number of words"),
    pytest.param(
        "{to: customer.metadata.v, apply: to_boolean}",
        {"v": "TRUE"},
        {"metadata": {"v": True}},
        id="to_boolean",
    ),
    pytest.param(
        "{to: customer.metadata.v, apply: to_text}",
        {"v": [1, {"a": None}]},
        {"metadata": {"v": '[1,{"a":null}]'}},
        id="to_text",
    ),
    pytest.param(
        "{to: customer.address, or: [traits.w]}",
        {"w": {"street": "Lane"}},
        {"address": {"line_1": "Lane"}},
        id="an object",
    ),
    pytest.param(
        "{to: customer.phone, apply: \"prepend: '+'\"}",
        {"v": 48},
        {"phone": "+48"},
        id="a field of the customer",
    ),
    pytest.param("{to: customer.source_id, apply: downcase}", {"v": "ABC"}, {"source_id": "abc"}, id="an id"),
]


@pytest.mark.parametrize(("target", "traits", "customer"), CASES)
def test_the_request(tmp_path: Path, target: str, traits: Json, customer: Json) -> None:
    """As the reference has it."""
    text = f"identify: {{mapping: {{traits.v: {target}}}}}"
    assert ends_of(tmp_path, text, {"type": "identify", "traits": traits}) == [{"source_id": "u", **customer}]


def test_what_a_filter_does_not_take_is_counted(tmp_path: Path) -> None:
    """With its path; the value of another row at the same place stays."""
    text = "identify: {mapping: {traits.w: customer.email, traits.v: {to: customer.email, apply: upcase}}}"
    pipeline = Pipeline(loaded(tmp_path, text), Selection())
    fields = {"type": "identify", "userId": "u", "traits": {"v": True, "w": "a"}}
    ((decision,),) = pipeline.batches(Batch.of("f", 1, [json.dumps(fields).encode()]))
    assert decision.body == {"source_id": "u", "email": "a"}  # type: ignore[union-attr]
    section = pipeline.mapper.stats.to_dict()["identify"]
    assert section["dropped"] == {"customer.email": {DOES_NOT_FIT: 1}}
    assert section["unmapped"] == {}


@pytest.mark.parametrize(("nulls", "customer"), [("omit", {}), ("clear", {"email": None})])
def test_a_null_erases_if_no_source_holds_a_value(tmp_path: Path, nulls: str, customer: Json) -> None:
    """As in any row."""
    text = f"identify: {{nulls: {nulls}, mapping: {{traits.v: {{to: customer.email, or: [traits.w], apply: strip}}}}}}"
    events = [
        {"type": "identify", "traits": traits}
        for traits in ({"v": None}, {"w": None}, {"v": None, "w": None})
    ]
    assert ends_of(tmp_path, text, *events) == [{"source_id": "u", **customer}] * 3
    assert ends_of(tmp_path, text, {"type": "identify", "traits": {}}) == [{"source_id": "u"}]


def test_what_or_reads_is_taken(tmp_path: Path) -> None:
    """All of its sources, also those that gave way."""
    text = "track: {unmapped_properties: metadata, mapping: {properties.v: {to: customer.email, or: [properties.w]}}}"
    event = {"type": "track", "event": "E", "properties": {"v": "a", "w": "b", "x": 1}}
    (body,) = ends_of(tmp_path, text, event)
    assert body == {"event": "E", "customer": {"source_id": "u", "email": "a"}, "metadata": {"x": 1}}


MISTAKES: list[Any] = [
    pytest.param("{to: customer.email, apply: downcse}", "downcase", id="an unknown filter"),
    pytest.param("{to: customer.email, aply: strip}", "apply", id="an unknown key"),
    pytest.param("{apply: strip}", "to", id="no destination"),
    pytest.param("{to: custmer.email}", "customer", id="an unknown destination"),
    pytest.param("{to: metadata.v}", "customer.metadata.v", id="metadata of an identify"),
    pytest.param("{to: customer.address, apply: strip}", "apply", id="an object row"),
    pytest.param("{to: customer.email, or: ['traits.*']}", "traits.*", id="a wildcard"),
]


@pytest.mark.parametrize(("target", "says"), MISTAKES)
def test_a_mistake_has_its_place(tmp_path: Path, target: str, says: str) -> None:
    """And what is meant."""
    with pytest.raises(SettingsError, match=r"s\.yaml:1:\d+: identify\.mapping") as caught:
        loaded(tmp_path, f"identify: {{mapping: {{traits.v: {target}}}}}")
    assert says in str(caught.value)


def test_a_wildcard_has_no_filters(tmp_path: Path) -> None:
    """It stands for many values."""
    with pytest.raises(SettingsError, match="apply"):
        loaded(tmp_path, "identify: {mapping: {traits.*: {to: customer.metadata.*, apply: strip}}}")


def test_an_event_is_never_changed(tmp_path: Path) -> None:
    """A filter makes a value of its own."""
    text = "identify: {mapping: {traits.v: {to: customer.metadata.v, or: [traits.w]}}, add: {customer.metadata.v.x: 1}}"
    pipeline = Pipeline(loaded(tmp_path, text), Selection())
    (record,) = pipeline.decode(
        Batch.of("f", 1, [b'{"type":"identify","userId":"u","traits":{"w":{"a":1}}}'])
    )
    assert isinstance(record, Event)
    pipeline.decide(record)
    assert record.fields["traits"] == {"w": {"a": 1}}
