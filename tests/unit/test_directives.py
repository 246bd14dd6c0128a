"""Directives: what each gives, what it refuses, and that no event changes, breaks or slips past them."""

from __future__ import annotations

import json
import math
import pickle
import re
import time
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from voucherify_sync.expressions import directives
from voucherify_sync.expressions.directives import (
    DIRECTIVES,
    VALUE_REFERENCE,
    Expression,
    Reading,
    compile_value,
    is_directive,
    value_schema,
)
from voucherify_sync.paths import MISSING, parse_source, read
from voucherify_sync.text import text_of

EVENT: dict[str, Any] = {
    "type": "track",
    "userId": "ann-7",
    "event": "Ticket Bought",
    "properties": {
        "seat": "B-12-c",
        "price": 27.5,
        "whole": 27.0,
        "rows": [3, 4],
        "mixed": ["x", None, ["y", True], {}],
        "paid": True,
        "late": False,
        "none": 0,
        "note": "",
        "gap": None,
        "a.b": "dotted",
        "my key": "blank inside",
        "venue": {"city": "Oslo", "hall": {"name": "Big", "floor": None}, "doors": [], "extra": {}},
        "guests": [{"n": "Bo", "age": 4}, {"n": "Cy"}, "walk-in", None],
        "number": "3",
        "yes": "true",
        "list": "[1, 2.50]",
    },
}


def path(text: str) -> dict[str, Any]:
    """Return a directive that reads a property."""
    return {"@path": f"$.properties.{text}"}


def compiled(value: Any) -> Expression:
    """Compile a value that has no mistake."""
    mistakes: list[Any] = []
    expression = compile_value(value, lambda *mistake: mistakes.append(mistake))
    assert mistakes == []
    return expression


def result(value: Any, event: Any = EVENT) -> Any:
    """Evaluate a value; that keys and branches are asked for must not change what it gives."""
    expression = compiled(value)
    found = expression.read(event, None)
    assert repr(expression.read(event, Reading())) == repr(found)
    return found


def mistakes_of(value: Any) -> list[tuple[Any, str]]:
    """Return the mistakes of a value; what is mistaken gives nothing, and does not raise."""
    noted: list[tuple[Any, str]] = []
    expression = compile_value(value, lambda keys, sentence: noted.append((keys, sentence)))
    expression.read(EVENT, Reading())
    return noted


def if_(**argument: Any) -> dict[str, Any]:
    """Return an `@if`."""
    return {"@if": argument}


def replace(pattern: str, value: Any, **more: Any) -> dict[str, Any]:
    """Return a `@replace`."""
    return {"@replace": {"pattern": pattern, "value": value, **more}}


def merge(direction: str, *objects: Any) -> dict[str, Any]:
    """Return a `@merge`."""
    return {"@merge": {"direction": direction, "objects": list(objects)}}


def flatten(value: Any, separator: str = ".", **more: Any) -> dict[str, Any]:
    """Return a `@flatten`."""
    return {"@flatten": {"value": value, "separator": separator, **more}}


def case(operator: str, value: Any) -> dict[str, Any]:
    """Return a `@case`."""
    return {"@case": {"operator": operator, "value": value}}


def coded(mode: str, value: Any) -> dict[str, Any]:
    """Return a `@json`."""
    return {"@json": {"mode": mode, "value": value}}


def transform(apply: Any, mapping: Any) -> dict[str, Any]:
    """Return a `@transform`."""
    return {"@transform": {"apply": apply, "mapping": mapping}}


TABLE: list[tuple[str, Any, Any]] = [
    ("a text is itself", "plain", "plain"),
    ("null is null", None, None),
    ("nothing in an object: left out", {"x": 1, "y": path("nope"), "z": None}, {"x": 1, "z": None}),
    ("nothing in a list: null", [path("nope"), {"@path": "userId"}], [None, "ann-7"]),
    ("notes of the editor are ignored", {"@path": "userId", "_metadata": {"x": 1}}, "ann-7"),
    ("path", path("seat"), "B-12-c"),
    ("path without dollar", {"@path": "properties.seat"}, "B-12-c"),
    ("path: missing", path("nope"), MISSING),
    ("path: null", path("gap"), None),
    ("path: below null", path("gap.x"), MISSING),
    ("path: below an empty text", path("note.x"), MISSING),
    ("path: below zero", path("none.x"), MISSING),
    ("path: index", path("rows[1]"), 4),
    ("path: behind the list", path("rows[2]"), MISSING),
    ("path: item of an index", path("guests[0].n"), "Bo"),
    ("path: quoted key", {"@path": "properties['my key']"}, "blank inside"),
    ("path: blank in a name", path("my key"), "blank inside"),
    ("path: a key with dots as a whole", path("a.b"), "dotted"),
    ("path: a text has no length", {"@path": "event.length"}, MISSING),
    ("path: four names", path("venue.hall.name"), "Big"),
    ("path: the event", {"@path": "$."}, EVENT),
    ("path: the event, empty text", {"@path": ""}, EVENT),
    ("path: computed", {"@path": {"@template": "properties.{{properties.number}}"}}, MISSING),
    ("path: computed of a constant", {"@path": {"@literal": "properties.seat"}}, "B-12-c"),
    ("path: computed, the event", {"@path": {"@literal": "$."}}, EVENT),
    ("path: computed of no text", {"@path": path("rows")}, MISSING),
    ("path: computed, no path", {"@path": {"@literal": "a..b"}}, MISSING),
    ("path: computed, a wildcard", {"@path": {"@literal": "properties.*"}}, MISSING),
    ("template", {"@template": "{{userId}}: {{{properties.seat}}}!"}, "ann-7: B-12-c!"),
    ("template: no braces", {"@template": "as it is"}, "as it is"),
    ("template: blanks and a dollar", {"@template": "{{ $.userId }}"}, "ann-7"),
    ("template: missing and null", {"@template": "<{{nope}}{{properties.gap}}>"}, "<>"),
    ("template: booleans", {"@template": "{{properties.paid}} {{properties.late}}"}, "true false"),
    ("template: 0, 27.5, 27.0", {"@template": "{{properties.none}} {{properties.price}} {{properties.whole}}"},
     "0 27.5 27"),
    ("template: list", {"@template": "{{properties.rows}}"}, "3,4"),
    ("template: list in a list", {"@template": "{{properties.mixed}}"}, "x,,y,true,[object Object]"),
    ("template: object", {"@template": "{{properties.venue}}"}, "[object Object]"),
    ("if exists", if_(exists=path("seat"), then="y", **{"else": "n"}), "y"),
    ("if exists: missing", if_(exists=path("nope"), then="y", **{"else": "n"}), "n"),
    ("if exists: null", if_(exists=path("gap"), then="y", **{"else": "n"}), "n"),
    ("if exists: an empty text does", if_(exists=path("note"), then="y", **{"else": "n"}), "y"),
    ("if: no then", if_(exists=path("seat"), **{"else": "n"}), MISSING),
    ("if: no else", if_(exists=path("nope"), then="y"), MISSING),
    ("if: a falsy then is kept", if_(exists=path("seat"), then=False), False),
    ("if: an else that a directive gives is kept", if_(exists=path("nope"), **{"else": path("late")}), False),
    *[(f"if: a falsy else, {falsy!r}", if_(exists=path("nope"), **{"else": falsy}), MISSING)
      for falsy in (False, 0, "", None)],
    *[(f"if blank: else for {blank!r}", if_(blank=blank, then="y", **{"else": "n"}), "n")
      for blank in (None, "", 0, 0.0, False, [], [None], [[]], path("nope"), path("none"))],
    *[(f"if blank: then for {filled!r}", if_(blank=filled, then="y", **{"else": "n"}), "y")
      for filled in ("0", "  ", 1, True, [0], {}, path("seat"))],
    ("case lower", case("lower", path("seat")), "b-12-c"),
    ("case upper", case("upper", path("seat")), "B-12-C"),
    ("case: no text", case("upper", path("price")), 27.5),
    ("case: null", case("upper", path("gap")), None),
    ("case: missing", case("upper", path("nope")), MISSING),
    ("replace", replace("-", path("seat"), replacement="/"), "B/12/c"),
    ("replace by nothing", replace("-", path("seat")), "B12c"),
    ("replace the first", replace("-", path("seat"), **{"global": False}), "B12-c"),
    ("replace in any case", replace("b", path("seat"), replacement="D", ignorecase=True), "D-12-c"),
    ("replace: case counts", replace("b", path("seat")), "B-12-c"),
    ("replace two", replace("B", path("seat"), replacement="D", pattern2="c", replacement2="e"), "D-12-e"),
    ("replace two, one after the other", replace("a", "a", replacement="b", pattern2="b", replacement2="c"), "c"),
    ("replace: an empty second is none", replace("-", "a-b", pattern2="", replacement2=""), "ab"),
    ("replace: plain search", replace(".", "a.b", replacement="-"), "a-b"),
    ("replace: plain replacement", replace("o", "foo", replacement=r"$&\1\n"), r"f$&\1\n$&\1\n"),
    (
        "replace in any case: letters beyond ASCII are none of ASCII",
        replace("is", "\u0130s I\u017f IS \u0131s", ignorecase=True),
        "\u0130s I\u017f  \u0131s",
    ),
    ("replace in any case beyond ASCII", replace("\u0130\u00e4", "\u0130\u00c4 i\u00c4", ignorecase=True), " i\u00c4"),
    ("replace: null options are absent", replace("-", "a-b", replacement=None, pattern2=None, ignorecase=None), "ab"),
    ("replace in a number", replace(".", path("price"), replacement=","), "27,5"),
    ("replace in a boolean", replace("false", path("late"), replacement="no"), "no"),
    *[(f"replace: {none} gives an empty text", replace("a", path(none)), "")
      for none in ("gap", "nope", "rows", "venue")],
    ("arrayPath without shape", {"@arrayPath": ["$.properties.rows"]}, [3, 4]),
    ("arrayPath with an empty shape", {"@arrayPath": ["$.properties.rows", {}]}, [3, 4]),
    ("arrayPath with a shape", {"@arrayPath": ["properties.guests", {"who": {"@path": "$.n"}, "in": 1}]},
     [{"who": "Bo", "in": 1}, {"who": "Cy", "in": 1}, {"in": 1}, {"in": 1}]),
    ("arrayPath: an item of a directive", {"@arrayPath": [path("rows"), {"@template": "row {{$.n}}"}]},
     ["row ", "row "]),
    ("arrayPath: nothing of an item", {"@arrayPath": [path("guests"), {"@path": "age"}]}, [4, None, None, None]),
    ("arrayPath: an item itself", {"@arrayPath": [path("rows"), {"@path": "$."}]}, [3, 4]),
    ("arrayPath: an object is one item", {"@arrayPath": [path("venue"), {"c": {"@path": "city"}}]}, [{"c": "Oslo"}]),
    ("arrayPath: a scalar", {"@arrayPath": ["userId", {"c": {"@path": "city"}}]}, "ann-7"),
    ("arrayPath: null", {"@arrayPath": [path("gap"), {"c": 1}]}, None),
    ("arrayPath: missing", {"@arrayPath": [path("nope"), {"c": 1}]}, MISSING),
    ("arrayPath in a shape",
     {"@arrayPath": [{"@path": "$."}, {"all": {"@arrayPath": ["properties.rows", {"v": {"@path": ""}}]}}]},
     [{"all": [{"v": 3}, {"v": 4}]}]),
    ("literal", {"@literal": True}, True),
    ("literal is resolved", {"@literal": {"x": path("seat")}}, {"x": "B-12-c"}),
    ("merge right", merge("right", {"city": "?", "x": 1}, path("venue.hall"), {"x": 2}),
     {"city": "?", "x": 2, "name": "Big", "floor": None}),
    ("merge left", merge("left", {"city": "?"}, path("venue")), {**EVENT["properties"]["venue"], "city": "?"}),
    ("merge: what is no object is passed over",
     merge("right", path("nope"), path("seat"), path("rows"), None, {"x": 1}),
     {"x": 1}),
    ("merge nothing", merge("left"), {}),
    ("transform", transform({"s": path("seat")}, {"x": {"@path": "$.s"}, "y": path("seat")}), {"x": "B-12-c"}),
    ("transform of nothing", transform(path("nope"), {"x": {"@path": "s"}}), {}),
    ("transform to nothing", transform(path("nope"), {"@path": ""}), MISSING),
    ("flatten", flatten(path("venue"), "_"), {"city": "Oslo", "hall_name": "Big", "hall_floor": None}),
    ("flatten lists", flatten({"a": path("guests")}),
     {"a.0.n": "Bo", "a.0.age": 4, "a.1.n": "Cy", "a.2": "walk-in", "a.3": None}),
    ("flatten: a list alone", flatten(path("rows")), {"0": 3, "1": 4}),
    ("flatten omits lists", flatten({"a": {"b": path("rows"), "c": []}}, omitArrays=True), {"a.b": [3, 4], "a.c": []}),
    ("flatten: a list that is omitted", flatten(path("rows"), omitArrays=True), {"": [3, 4]}),
    ("flatten: missing", flatten(path("nope")), {}),
    ("flatten: null", flatten(path("gap")), {"": None}),
    ("flatten: a scalar", flatten(path("seat")), {"": "B-12-c"}),
    ("json encode", coded("encode", path("venue")),
     '{"city":"Oslo","hall":{"name":"Big","floor":null},"doors":[],"extra":{}}'),
    ("json encode: numbers", coded("encode", [path("price"), path("whole"), 10**30]), f"[27.5,27,{10**30}]"),
    ("json encode: letters", coded("encode", "é"), '"é"'),
    ("json encode: null", coded("encode", path("gap")), "null"),
    ("json encode: missing", coded("encode", path("nope")), MISSING),
    ("json decode: number", coded("decode", path("number")), 3),
    ("json decode: boolean", coded("decode", path("yes")), True),
    ("json decode: list", coded("decode", path("list")), [1, 2.5]),
    ("json decode: no JSON", coded("decode", path("seat")), "B-12-c"),
    ("json decode: empty", coded("decode", path("note")), ""),
    ("json decode: no text", coded("decode", path("rows")), [3, 4]),
    ("json decode: missing", coded("decode", path("nope")), MISSING),
    ("excludeWhenNull: null", {"@excludeWhenNull": path("gap")}, MISSING),
    ("excludeWhenNull: missing", {"@excludeWhenNull": path("nope")}, MISSING),
    ("excludeWhenNull: a value", {"@excludeWhenNull": path("note")}, ""),
    ("excludeWhenNull: inside",
     {"@excludeWhenNull": {"a": path("gap"), "b": path("venue.hall"), "c": [None, {"d": None}]}},
     {"b": {"name": "Big"}, "c": [None, {"d": None}]}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "expected"), [pytest.param(value, expected, id=id_) for id_, value, expected in TABLE]
)
def test_a_value_is_resolved(value: Any, expected: Any) -> None:
    """Each row of the table of directives, and the event stays as it was."""
    before = repr(EVENT)
    found = result(value)
    assert (repr(found), type(found)) == (repr(expected), type(expected))
    assert repr(EVENT) == before


NO_DATA = "@literal does not help"
MISTAKES: list[tuple[str, Any, tuple[str | int, ...], str]] = [
    ("two directives", {"@path": "a", "@template": "b"}, ("@template",), "stands alone"),
    ("two directives, data", {"@path": "a", "@type": "b"}, ("@type",), NO_DATA),
    ("a key beside", {"x": {"b": 1, "@path": "a"}}, ("x", "b"), "'b' beside @path"),
    ("misspelt", {"@templte": "a"}, ("@templte",), "did you mean @template?"),
    ("other case", {"@arraypath": ["a"]}, ("@arraypath",), "did you mean @arrayPath?"),
    ("data", [{"@type": "Person"}], (0, "@type"), NO_DATA),
    ("liquid", {"@liquid": "{{ a }}"}, ("@liquid",), "Liquid is not read yet: @template, @case"),
    ("path: number", {"@path": 3}, ("@path",), "@path takes a text or a directive"),
    ("path: object", {"@path": {"a": 1}}, ("@path",), "@path takes a text or a directive"),
    ("path: no path", {"@path": "a..b"}, ("@path",), "empty name"),
    ("path: wildcard", {"@path": "traits.*"}, ("@path",), "'traits' is the object itself"),
    ("template: boolean", {"@template": False}, ("@template",), "@template takes a text; put it in quotes"),
    ("template: braces", {"@template": {"event": None}}, ("@template",), "@template takes a text; put it in quotes"),
    ("template: no path", {"@template": "x {{a[b]}}"}, ("@template",), "@template: 'a[b]' is no path"),
    ("template: blanks", {"@template": "x {{ }}"}, ("@template",), "names no field"),
    ("template: empty", {"@template": "a{{}}b"}, ("@template",), "one is not closed or empty"),
    (
        "template: a filter",
        {"@template": "{{event}} {{ properties.total | round: 2 }}"},
        ("@template",),
        "@template has no filters, such as round; a row with `apply` has",
    ),
    ("template: not closed", {"@template": "{{event}} {{name"}, ("@template",), "one is not closed or empty"),
    ("if: no condition", if_(then=1), ("@if",), "exists or blank is missing"),
    ("if: two conditions", if_(exists=1, blank=1, then=1), ("@if",), "not both"),
    ("if: misspelt", if_(exists=1, than=1), ("@if", "than"), "@if has no 'than'; did you mean then?"),
    ("if: a text", {"@if": "a"}, ("@if",), "@if takes an object with exists, blank, then, else"),
    ("if: a directive", {"@if": {"@path": "a"}}, ("@if",), "@if takes an object"),
    ("case: operator", case("title", "a"), ("@case", "operator"), "@case: operator is lower or upper"),
    ("case: no operator", {"@case": {"value": 1}}, ("@case",), "@case: operator is lower or upper"),
    ("case: unhashable operator", case([], "a"), ("@case", "operator"), "@case: operator is lower or upper"),
    ("case: no value", {"@case": {"operator": "lower"}}, ("@case",), "@case: value is missing"),
    ("replace: long", replace("12345678901", "a"), ("@replace", "pattern"), "@replace: pattern has 1 to 10 characters"),
    ("replace: empty", replace("", "a"), ("@replace", "pattern"), "1 to 10 characters"),
    ("replace: null", replace(None, "a"), ("@replace", "pattern"), "1 to 10 characters"),
    ("replace: none", {"@replace": {"value": "a"}}, ("@replace",), "@replace: pattern is missing"),
    ("replace: number", replace(1, "a"), ("@replace", "pattern"), "put it in quotes"),
    ("replace: long second", replace("a", "a", pattern2="x" * 11), ("@replace", "pattern2"), "at most 10"),
    ("replace: long replacement", replace("a", "a", replacement="x" * 11), ("@replace", "replacement"), "at most 10"),
    ("replace: second alone", replace("a", "a", replacement2="b"), ("@replace", "replacement2"), "needs pattern2"),
    ("replace: flag", replace("a", "a", ignorecase="yes"), ("@replace", "ignorecase"), "is true or false"),
    ("replace: misspelt", replace("a", "a", ignoreCase=True), ("@replace", "ignoreCase"), "did you mean ignorecase?"),
    ("arrayPath: text", {"@arrayPath": "a"}, ("@arrayPath",), "@arrayPath takes a list"),
    ("arrayPath: empty", {"@arrayPath": []}, ("@arrayPath",), "@arrayPath takes a list"),
    ("arrayPath: three", {"@arrayPath": ["a", {}, {}]}, ("@arrayPath",), "@arrayPath takes a list"),
    ("arrayPath: first", {"@arrayPath": [{"a": 1}]}, ("@arrayPath", 0), "a path or a directive"),
    ("arrayPath: no path", {"@arrayPath": ["a..b"]}, ("@arrayPath", 0), "@arrayPath: 'a..b' is no path"),
    ("arrayPath: shape", {"@arrayPath": ["a", "b"]}, ("@arrayPath", 1), "the shape is an object"),
    ("arrayPath: in the shape",
     {"@arrayPath": ["a", {"x": {"@path": 1}}]}, ("@arrayPath", 1, "x", "@path"), "takes a text"),
    ("literal: in it", {"@literal": {"@foo": 1}}, ("@literal", "@foo"), "@foo is no directive"),
    ("of SQL", {"@coalesce": []}, ("@coalesce",), "write @if with exists, then and else, or a row with `or`"),
    ("of JavaScript", {"@toUpperCase": "a"}, ("@toUpperCase",), "write @case with operator: upper"),
    ("of Liquid", {"@strip": "a"}, ("@strip",), "a row with `apply: strip` does that"),
    ("of jq", {"@from_json": "a"}, ("@from_json",), "write @json"),
    ("path: filter", {"@path": "name | upcase"}, ("@path",), "@path has no filters, such as upcase"),
    ("merge: direction", merge("up", {}), ("@merge", "direction"), "@merge: direction is right or left"),
    ("merge: objects", {"@merge": {"direction": "left", "objects": {}}}, ("@merge", "objects"), "objects is a list"),
    ("merge: in an object",
     merge("left", {"x": {"@path": 1}}), ("@merge", "objects", 0, "x", "@path"), "takes a text"),
    ("transform: no mapping", {"@transform": {"apply": 1}}, ("@transform",), "@transform: mapping is missing"),
    ("transform: in the mapping",
     transform({}, {"@pth": "a"}), ("@transform", "mapping", "@pth"), "did you mean @path?"),
    ("flatten: no separator", {"@flatten": {"value": {}}}, ("@flatten",), "@flatten: separator is missing"),
    ("flatten: separator", flatten({}, 1), ("@flatten", "separator"), "separator is a text"),
    ("flatten: flag", flatten({}, omitArrays=1), ("@flatten", "omitArrays"), "is true or false"),
    ("json: mode", coded("parse", "a"), ("@json", "mode"), "@json: mode is encode or decode"),
    ("json: list", {"@json": []}, ("@json",), "@json takes an object with value, mode"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "keys", "says"),
    [pytest.param(value, keys, says, id=id_) for id_, value, keys, says in MISTAKES],
)
def test_a_mistake_has_its_keys_and_a_sentence(value: Any, keys: tuple[str | int, ...], says: str) -> None:
    """One mistake, one note."""
    [(noted, sentence)] = mistakes_of(value)
    assert noted == keys
    assert says in sentence


def test_all_mistakes_are_noted_at_once_and_what_is_right_holds() -> None:
    """Also those inside a directive whose argument is wrong, too."""
    value = {
        "a": {"@foo": 1},
        "b": [case("title", {"@path": 1})],
        "c": path("seat"),
        "d": if_(exists={"@bar": 1}, els=1, then="y", **{"else": "n"}),
        "e": replace("", {"@path": 1}, replacement=1),
    }
    noted: list[Any] = []
    expression = compile_value(value, lambda keys, sentence: noted.append(keys))
    assert noted == [
        ("a", "@foo"),
        ("b", 0, "@case", "operator"),
        ("b", 0, "@case", "value", "@path"),
        ("d", "@if", "els"),
        ("d", "@if", "exists", "@bar"),
        ("e", "@replace", "pattern"),
        ("e", "@replace", "replacement"),
        ("e", "@replace", "value", "@path"),
    ]
    assert expression.read(EVENT, None) == {"b": [None], "c": "B-12-c", "d": "n", "e": ""}


def test_a_value_that_is_nested_without_end_is_a_mistake() -> None:
    """Long before the stack ends."""
    value: Any = 1
    for _ in range(5_000):
        value = {"@literal": value}
    [(keys, sentence)] = mistakes_of(value)
    assert (len(keys), sentence) == (directives.MAX_DEPTH + 1, "nested on more than 64 levels")


# ------------------------------------------------------------------------------------- what an expression tells


@pytest.mark.parametrize(
    ("value", "name", "sources", "is_constant", "own"),
    [
        pytest.param("x", None, [], True, None, id="constant"),
        pytest.param([1, {"a": None}], None, [], True, None, id="constant list"),
        pytest.param({"@literal": 3}, "@literal", [], True, None, id="constant literal"),
        pytest.param({"@template": "x"}, "@template", [], True, None, id="constant template"),
        pytest.param({"@path": "a.b"}, "@path", ["a.b"], False, "a.b", id="path"),
        pytest.param({"@path": "$.a", "_metadata": 0}, "@path", ["$.a"], False, "$.a", id="path and notes"),
        pytest.param({"@literal": {"@path": "a"}}, "@literal", ["a"], False, None, id="path in a literal"),
        pytest.param({"x": {"@path": "a"}}, None, ["a"], False, None, id="object"),
        pytest.param({"@template": "{{a}} {{ $.b }} {{$.a}}"}, "@template", ["a", "$.b"], False, None, id="template"),
        pytest.param(if_(exists={"@path": "a"}, then="y"), "@if", ["a"], False, None, id="condition"),
        pytest.param({"@arrayPath": ["a", {"@path": "b"}]}, "@arrayPath", ["a"], False, None, id="shape"),
        pytest.param(transform({"@path": "a"}, {"@path": ""}), "@transform", ["a"], False, None, id="transform"),
        pytest.param(transform({"x": 1}, {"@path": {"@path": "x"}}), "@transform", [], True, None, id="closed"),
    ],
)  # fmt: skip
def test_an_expression_tells_what_it_reads(
    value: Any, name: str | None, sources: list[str], is_constant: bool, own: str | None
) -> None:
    """Of the event alone: what `@transform` and `@arrayPath` read inside is no place of it."""
    expression = compiled(value)
    assert (expression.name, [source.text for source in expression.sources]) == (name, sources)
    assert (expression.is_constant, expression.reads_whole_event) == (is_constant, False)
    assert (expression.path and expression.path.text) == own


@pytest.mark.parametrize(
    "value",
    [
        {"@path": ""},
        {"@path": "$."},
        {"x": {"@path": {"@path": "a"}}},
        {"@arrayPath": ["", {"a": 1}]},
        transform({"@path": "$."}, {}),
    ],
    ids=str,
)
def test_an_expression_may_read_anything(value: Any) -> None:
    """A path that is computed, or that is the event."""
    expression = compiled(value)
    assert (expression.reads_whole_event, expression.is_constant, expression.path) == (True, False, None)


SEAT, CITY = ("properties", "seat"), ("properties", "venue", "city")


@pytest.mark.parametrize(
    ("value", "keys", "branches"),
    [
        pytest.param("x", [], [], id="constant"),
        pytest.param(path("seat"), [SEAT], [], id="path"),
        pytest.param(path("a.b"), [("properties", "a.b")], [], id="a key with dots"),
        pytest.param(path("guests[1].n"), [("properties", "guests", 1, "n")], [], id="index"),
        pytest.param(path("nope"), [], [], id="missing"),
        pytest.param({"@path": ""}, [()], [], id="the event"),
        pytest.param({"@path": {"@template": "{{properties.seat}}x"}}, [], [], id="computed, missing"),
        pytest.param(transform({"a": 1}, {"@path": {"@literal": "a"}}), [], [], id="computed, of a constant"),
        pytest.param({"@path": if_(exists=path("seat"), then="userId")}, [("userId",)], ["then"], id="computed"),
        pytest.param({"@template": "{{userId}} {{properties.seat}}"}, [("userId",), SEAT], [], id="template"),
        pytest.param(if_(exists=path("seat"), then=path("venue.city")), [CITY], ["then"], id="then"),
        pytest.param(if_(exists=path("nope"), then=path("seat")), [], ["else"], id="no else"),
        pytest.param(
            if_(exists=if_(blank=path("seat"), then=1), then="x", **{"else": 2}), [], ["then", "then"], id="nested"
        ),
        pytest.param(replace("a", path("rows")), [], [], id="no text to replace in"),
        pytest.param(merge("right", path("seat"), {"x": path("venue.city")}), [CITY], [], id="merge"),
        pytest.param(
            {"@arrayPath": [path("guests"), {"n": if_(exists={"@path": "n"}, then={"@path": "n"})}]},
            [("properties", "guests")], ["then", "then", "else", "else"], id="shape",
        ),
        pytest.param(
            transform({"a": path("seat"), "b": path("venue.city")}, {"@path": "a"}), [SEAT, CITY], [], id="transform"
        ),
        pytest.param(transform({"a": path("seat")}, {"@path": "b"}), [], [], id="transform to nothing"),
        pytest.param({"@excludeWhenNull": path("gap")}, [], [], id="null that is left out"),
    ],
)  # fmt: skip
def test_a_reading_tells_which_keys_flowed_into_the_result(
    value: Any, keys: list[Any], branches: list[str]
) -> None:
    """A condition, and a path that is computed, only decide."""
    reading = Reading()
    compiled(value).read(EVENT, reading)
    assert (reading.keys, reading.branches) == (keys, branches)


def test_what_the_settings_write_out_is_made_for_each_event() -> None:
    """So that who gets it may add to it."""
    expression = compiled({"@literal": {"a": [1], "b": {}}})
    first = expression.read(EVENT, None)
    first["a"].append(2)
    first["b"]["c"] = 1
    assert expression.read(EVENT, None) == {"a": [1], "b": {}}


def test_an_expression_travels_to_other_processes() -> None:
    """As the value that it was compiled from; what is mistaken still gives nothing."""
    expression = compile_value({"a": path("seat"), "b": {"@foo": 1}}, lambda keys, sentence: None)
    arrived = pickle.loads(pickle.dumps(expression))
    assert arrived.read(EVENT, None) == {"a": "B-12-c"}
    assert arrived.sources == expression.sources
    assert arrived == expression
    assert hash(arrived) == hash(expression)
    assert compiled({"a": 1}) != compiled({"a": True})


@pytest.mark.parametrize(
    ("value", "told"), [({"@x": 1}, True), ({"x": 1}, False), ({}, False), (["@x"], False), ("@x", False)]
)
def test_an_object_with_an_at_is_a_directive(value: Any, told: bool) -> None:
    """Whether there is such a directive or not."""
    assert is_directive(value) is told


# ------------------------------------------------------------------------------------------------ hostile values


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("[" * 100_000, id="open brackets"),
        pytest.param("[" * 50_000 + "]" * 50_000, id="deep"),
        pytest.param("[" * 201 + "]" * 201, id="a level too deep"),
        pytest.param("[" + "0," * 110_001 + "0]", id="many items"),
        pytest.param("NaN", id="NaN"),
        pytest.param("[-Infinity]", id="Infinity"),
        pytest.param("1e999", id="out of range"),
        pytest.param("9" * 5_000, id="many digits"),
        pytest.param('"\\ud800"', id="lone surrogate, escaped"),
        pytest.param('"\ud800"', id="lone surrogate"),
        pytest.param('{"a": 1} x', id="text behind"),
        pytest.param("\ufeff1", id="byte order mark"),
        pytest.param("'a'", id="single quotes"),
    ],
)
def test_what_cannot_be_decoded_stays_text(text: str) -> None:
    """And nothing is raised."""
    assert result(coded("decode", {"@path": "t"}), {"t": text}) is text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[" * 200 + "]" * 200, None),
        ("1" * 400, int("1" * 400)),
        (' {"a": 1, "a": 2} ', {"a": 2}),
        ('"\\ud83d\\ude00"', "😀"),
        ("-0.0", -0.0),
    ],
    ids=["200 levels", "400 digits", "repeated keys", "surrogate pair", "negative zero"],
)
def test_odd_json_is_decoded(text: str, value: Any) -> None:
    """As the lines of events are."""
    found = result(coded("decode", {"@path": "t"}), {"t": text})
    assert repr(found) == repr(json.loads(text) if value is None else value)


ALL_OF_T = [
    {"@template": "x{{t}}"},
    replace("a", {"@path": "t"}, replacement="b"),
    if_(blank={"@path": "t"}, then={"@path": "t"}, **{"else": "blank"}),
    flatten({"@path": "t"}),
    coded("encode", {"@path": "t"}),
    {"@excludeWhenNull": {"@path": "t"}},
    merge("right", {"@path": "t"}, {"x": 1}),
    {"@arrayPath": ["t", {"@arrayPath": ["", {"@path": ""}]}]},
    transform({"@path": "t"}, {"@template": "{{t}}{{a}}"}),
    {"@path": {"@path": "t"}},
]


def nested(levels: int, *, lists: bool, inside: Any = None) -> Any:
    """Return a value below these levels of lists or objects."""
    value = inside
    for _ in range(levels):
        value = [value] if lists else {"a": value}
    return value


@pytest.mark.parametrize("lists", [True, False], ids=["lists", "objects"])
@pytest.mark.parametrize("value", ALL_OF_T, ids=str)
def test_a_deep_event_raises_nothing(value: Any, lists: bool) -> None:
    """A hundred times deeper than any decoder goes."""
    event = {"t": nested(100_000, lists=lists)}
    try:
        compiled(value).read(event, Reading())
    finally:
        while type(event) in (dict, list):  # take it apart: the end of a deep object is deep, too
            event = event.pop() if type(event) is list else event.popitem()[1]


@pytest.mark.parametrize("value", [{"@template": "x{{t}}"}, flatten({"@path": "t"}), coded("encode", {"@path": "t"})],
                         ids=["template", "flatten", "encode"])  # fmt: skip
def test_what_is_too_deep_for_a_text_or_a_flat_object_is_given_itself(value: Any) -> None:
    """So that the mapping says of it what it says of any deep value. A limit of levels holds for all callers."""
    fits = {"t": nested(200, lists=True, inside=1)}
    deeper = {"t": nested(201, lists=True, inside=1)}
    assert result(value, fits) != fits["t"]
    assert result(value, deeper) is deeper["t"]


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "value",
    [{"@template": "{{t}}"}, replace("a", {"@path": "t"}), coded("encode", {"@path": "t"})],
    ids=["template", "replace", "encode"],
)
def test_no_text_is_made_of_what_is_no_number(value: Any, number: float) -> None:
    """The mapping refuses the number itself, as it does where a row reads it; a text would hide it."""
    assert result(value, {"t": number}) is number


@pytest.mark.parametrize(
    "text", ["{" * 500_000, "{{a" * 200_000, "{{a" * 200_000 + "} }}"], ids=["braces", "open", "half"]
)
def test_a_template_with_braces_that_nothing_closes_is_refused_after_one_pass(text: str) -> None:
    """From each brace to the end of the text, it would take minutes."""
    began = time.process_time()
    assert "one is not closed" in mistakes_of({"@template": text})[0][1]
    assert time.process_time() - began < 5


@pytest.mark.parametrize(("length", "found"), [(200, 1), (201, MISSING)])
def test_a_path_that_is_computed_has_a_limited_length(length: int, found: Any) -> None:
    """An event may hold a text of megabytes where a path is expected."""
    text = "a" * length
    assert result({"@path": {"@path": "t"}}, {"t": text, text: 1}) == found


def test_the_keys_of_a_flat_object_do_not_grow_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long key above many values is repeated for each of them."""
    monkeypatch.setattr(directives, "MAX_FLAT_CHARACTERS", 10_000)
    event = {"t": {"k" * 100: {str(number): number for number in range(200)}}}
    assert result(flatten({"@path": "t"}), event) is event["t"]


# ------------------------------------------------------------------------------------------------------- laws

KEYS = st.sampled_from(["a", "b", "c", "a.b", "b.c", "k 1", "0", "", "A"])
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3) | st.integers(),
    st.floats(),
    st.sampled_from(["", "a", "A-b", "a.b", "3", "true", "[1.0]", '{"a":null}', "NaN", " ", "$&", "ß"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(KEYS, inside, max_size=4),
    max_leaves=12,
)
EVENTS = st.dictionaries(KEYS, VALUES, max_size=6)
PATHS = st.sampled_from(
    ["a", "b", "$.c", "a.b", "$.a.b.c", "a.b.c.a", "b.c", "a[0]", "b[1].a", "a['k 1']", '["a.b"].c', "a['b'].c",
     "k 1", "a.0", "zz", "a.zz", "0"]
)  # fmt: skip
ANY_PATHS = PATHS | st.sampled_from(["", "$."])
PLACEHOLDER = re.compile(r"\{\{\{[^}]+\}\}\}|\{\{[^}]+\}\}")
TEMPLATES = st.lists(
    st.sampled_from(["x", " ", "{", "}", "}}"])
    | PATHS.map("{{{{ {} }}}}".format) | PATHS.map("{{{{{{{}}}}}}}".format),
    max_size=4,
).map("".join).filter(lambda text: "{{{{" not in text and "{{" not in PLACEHOLDER.sub("", text))  # fmt: skip


def _directives(inside: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return directives without a mistake whose parts are drawn from `inside`."""

    def of(name: str, required: dict[str, Any], **optional: Any) -> st.SearchStrategy[Any]:
        return st.fixed_dictionaries(required, optional=optional).map(lambda argument: {name: argument})

    directive = inside.map(lambda value: value if is_directive(value) else {"@literal": value})
    return st.one_of(
        st.lists(inside, max_size=3),
        st.dictionaries(KEYS, inside, max_size=3),
        directive.map(lambda value: {"@path": value}),
        of("@if", {"exists": inside}, then=inside, **{"else": inside}),
        of("@if", {"blank": inside}, then=inside, **{"else": inside}),
        of("@case", {"operator": st.sampled_from(["lower", "upper"]), "value": inside}),
        of(
            "@replace",
            {"pattern": st.sampled_from(["a", "-", ".", "1"]), "value": inside},
            replacement=st.sampled_from(["", "b", "\\1", "$&"]),
            pattern2=st.sampled_from(["b", "$"]) | st.none(),
            ignorecase=st.booleans(),
            **{"global": st.booleans()},
        ),
        st.tuples(ANY_PATHS | directive, st.dictionaries(KEYS, inside, max_size=2)).map(
            lambda pair: {"@arrayPath": list(pair)}
        ),
        inside.map(lambda value: {"@literal": value}),
        inside.map(lambda value: {"@excludeWhenNull": value}),
        of(
            "@merge",
            {"objects": st.lists(inside, max_size=3), "direction": st.sampled_from(["left", "right"])},
        ),
        of("@transform", {"apply": inside, "mapping": inside}),
        of(
            "@flatten",
            {"value": inside, "separator": st.sampled_from([".", "_", ""])},
            omitArrays=st.booleans(),
        ),
        of("@json", {"mode": st.sampled_from(["encode", "decode"]), "value": inside}),
    )


DIRECTIVE_VALUES = st.recursive(
    SCALARS | ANY_PATHS.map(lambda text: {"@path": text}) | TEMPLATES.map(lambda text: {"@template": text}),
    _directives,
    max_leaves=8,
)


class NoText(Exception):
    """A value has no text: it is the result."""


def plain_text(value: Any) -> str:
    """Return what JavaScript's String() gives."""
    if value is None or value is MISSING:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "[object Object]"
    if isinstance(value, list):
        return ",".join(plain_text(item) for item in value)
    text = text_of(value)
    if text is None:
        raise NoText
    return text


def plain_read(text: str, fields: Any) -> Any:
    """Read a path, or the value itself."""
    if text in ("", "$."):
        return fields
    try:
        return read(fields, parse_source(text))
    except ValueError:
        return MISSING


def plain_flat(value: Any, key: str, separator: str, opened: Any) -> dict[str, Any]:
    """Return an object without objects inside."""
    if not isinstance(value, opened):
        return {key: value}
    flat: dict[str, Any] = {}
    for name, inside in value.items() if isinstance(value, dict) else enumerate(value):
        flat |= plain_flat(inside, f"{key}{separator}{name}" if key else str(name), separator, opened)
    return flat


def plain_json(value: Any) -> Any:
    """Return a value with whole floats as integers."""
    if isinstance(value, list):
        return [plain_json(item) for item in value]
    if isinstance(value, dict):
        return {key: plain_json(inside) for key, inside in value.items()}
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


def without_nulls(value: Any) -> Any:
    """Return a value without the nulls in its objects."""
    if not isinstance(value, dict):
        return value
    return {key: without_nulls(inside) for key, inside in value.items() if inside is not None}


def evaluate(value: Any, fields: Any) -> Any:  # noqa: C901 - one branch a row of the table
    """Resolve a value, slowly, as the table of directives says it."""
    if isinstance(value, list):
        return [None if (item := evaluate(each, fields)) is MISSING else item for each in value]
    if not isinstance(value, dict):
        return value
    if not is_directive(value):
        pairs = {key: evaluate(inside, fields) for key, inside in value.items()}
        return {key: inside for key, inside in pairs.items() if inside is not MISSING}
    [(name, argument)] = value.items()
    if name == "@path":
        text = argument if isinstance(argument, str) else evaluate(argument, fields)
        return plain_read(text, fields) if isinstance(text, str) else MISSING
    if name == "@template":
        filled = ""
        for number, part in enumerate(re.split(r"\{\{\{([^}]+)\}\}\}|\{\{([^}]+)\}\}", argument)):
            if number % 3 and part is not None:
                found = plain_read(part.strip(), fields)
                try:
                    filled += plain_text(found)
                except NoText:
                    return found
            elif part is not None:
                filled += part
        return filled
    if name == "@literal":
        return evaluate(argument, fields)
    if name == "@excludeWhenNull":
        found = evaluate(argument, fields)
        return MISSING if found is None else without_nulls(found)
    if name == "@arrayPath":
        first, shape = argument
        found = plain_read(first, fields) if isinstance(first, str) else evaluate(first, fields)
        if not shape or not isinstance(found, dict | list):
            return found
        items = [evaluate(shape, item) for item in (found if isinstance(found, list) else [found])]
        return [None if item is MISSING else item for item in items]
    if name == "@transform":
        return evaluate(argument["mapping"], evaluate(argument["apply"], fields))
    if name == "@merge":
        merged: dict[str, Any] = {}
        objects = [evaluate(item, fields) for item in argument["objects"]]
        for item in objects if argument["direction"] == "right" else reversed(objects):
            merged |= item if isinstance(item, dict) else {}
        return merged
    if name == "@if":
        found = evaluate(argument["exists" if "exists" in argument else "blank"], fields)
        is_null = found is None or found is MISSING
        if "blank" in argument and not is_null:
            try:
                is_null = found == 0 or (isinstance(found, str | list) and plain_text(found) == "")
            except NoText:
                is_null = False
        branch = "else" if is_null else "then"
        chosen = argument.get(branch, MISSING)
        if branch == "else" and any(chosen is falsy for falsy in (MISSING, None, False, "")):
            return MISSING
        if branch == "else" and isinstance(chosen, int | float) and chosen == 0:
            return MISSING
        return MISSING if chosen is MISSING else evaluate(chosen, fields)
    found = evaluate(argument["value"], fields)
    if name == "@case":
        change = str.lower if argument["operator"] == "lower" else str.upper
        return change(found) if isinstance(found, str) else found
    if name == "@replace":
        if not isinstance(found, str | bool | int | float):
            return ""
        try:
            text = plain_text(found)
        except NoText:
            return found
        for number in ("", "2"):
            if wanted := argument.get(f"pattern{number}"):
                flags = re.IGNORECASE if argument.get("ignorecase") else 0
                parts = re.split(
                    re.escape(wanted), text, maxsplit=0 if argument.get("global", True) else 1, flags=flags
                )
                text = argument.get(f"replacement{number}", "").join(parts)
        return text
    if name == "@flatten":
        opened = dict if argument.get("omitArrays") else dict | list
        return {} if found is MISSING else plain_flat(found, "", argument["separator"], opened)
    if argument["mode"] == "encode":
        if found is MISSING:
            return MISSING
        try:
            return json.dumps(plain_json(found), allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        except ValueError:
            return found
    try:
        return json.loads(found, parse_constant=int) if isinstance(found, str) else found
    except ValueError:
        return found


@given(DIRECTIVE_VALUES, EVENTS)
@example({"@merge": {"direction": "right", "objects": [{"@path": "a"}, {"x": 1}]}}, {"a": {"x": 0}})
@example({"@flatten": {"value": {"@path": "a"}, "separator": ""}}, {"a": [[1], {"": {"b": 2}}]})
def test_a_value_gives_what_the_table_says(value: Any, event: Any) -> None:
    """Nothing raises, the event stays as it was, and readings and sources tell the truth."""
    before, written = deepcopy(event), deepcopy(value)
    expression, reading = compiled(value), Reading()
    found = expression.read(event, None)
    assert repr(found) == repr(evaluate(value, event))
    assert repr(expression.read(event, reading)) == repr(found)
    assert (repr(event), repr(value)) == (repr(before), repr(written))

    places = set()
    for source in expression.sources:
        keys: list[str | int] = []
        if read(event, source, keys) is not MISSING:
            places.add(tuple(keys))
    assert expression.reads_whole_event or places.issuperset(reading.keys)
    if expression.is_constant:
        assert repr(expression.read({}, None)) == repr(found)
    if not expression.reads_whole_event:
        wanted = {key for path in expression.sources for key in (path.keys[0], path.steps[0].dotted_key)}
        part = {key: inside for key, inside in event.items() if key in wanted}
        assert repr(expression.read(part, None)) == repr(found)


@given(PATHS, VALUES)
def test_a_path_reads_what_a_row_reads(text: str, value: Any) -> None:
    """Whatever it is read from."""
    path = parse_source(text)
    expression, reading = compiled({"@path": text}), Reading()
    keys: list[str | int] = []
    found = read(value, path, keys)
    assert expression.path == path
    assert expression.read(value, None) is found
    assert expression.read(value, reading) is found
    assert reading.keys == ([] if found is MISSING else [tuple(keys)])


# ------------------------------------------------------------------------------------- the table, and Segment's own


@pytest.fixture(scope="module")
def schema() -> jsonschema.Draft202012Validator:
    """Return the schema of a value."""
    described = {**VALUE_REFERENCE, "$defs": {"value": value_schema()}}
    jsonschema.Draft202012Validator.check_schema(described)
    return jsonschema.Draft202012Validator(described)


def test_the_schema_takes_what_is_right(schema: jsonschema.Draft202012Validator) -> None:
    """Every value of the table of this file, but for options that are null, which editors need not offer."""
    refused = [id_ for id_, value, _ in TABLE if not schema.is_valid(value)]
    assert refused == ["replace: null options are absent"]


def test_the_schema_refuses_what_is_wrong(schema: jsonschema.Draft202012Validator) -> None:
    """It knows nothing of paths, which only the loader reads."""
    taken = [id_ for id_, value, _, _ in MISTAKES if schema.is_valid(value)]
    assert taken == [
        "path: no path", "path: wildcard", "template: no path", "template: blanks", "template: empty",
        "template: a filter", "template: not closed", "replace: second alone", "arrayPath: no path", "path: filter",
    ]  # fmt: skip


def test_every_directive_is_in_the_table() -> None:
    """With words for people."""
    assert {name for _, value, _ in TABLE if is_directive(value) for name in value} - {"_metadata"} == set(
        DIRECTIVES
    )
    for directive in DIRECTIVES.values():
        assert directive.help.endswith(".")
        assert directive.argument


RECORDED = Path(__file__).resolve().parents[3] / "shared" / "cases" / "segment" / "directive-outputs.ndjson"
DIFFERENT = {
    "path_strlen": "a text has no length",
    "template_dollar": "a leading $. inside braces is dropped",
    "replace_dollar": "$& is plain text",
    "merge_str": "a text is passed over",
}
"""Recorded case -> in what this differs from Segment, on purpose."""


def test_directives_give_what_segment_gives() -> None:
    """Outputs of Segment's own package, and what it refuses is refused."""
    if not RECORDED.is_file():
        pytest.skip("the recorded outputs are not beside this checkout")
    different = set()
    for line in RECORDED.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        if "err" in record["o"]:
            assert mistakes_of(record["m"]), record["k"]
        elif repr(result(record["m"], record["ev"])) != repr(record["o"]["ok"].get("v", MISSING)):
            different.add(record["k"])
    assert different == set(DIFFERENT)
