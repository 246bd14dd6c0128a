"""Filters of rows: each one on ordinary and awkward values, what is refused with its column, and laws."""

from __future__ import annotations

import itertools
import json
import math
import pickle
import time
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voucherify_sync.expressions.row_filters import (
    APPLY_FAILED,
    FILTERS,
    MAX_GROWN_TEXT,
    FilterError,
    parse_filters,
)
from voucherify_sync.paths import MISSING

FAILED = APPLY_FAILED
BIG = 10**400
NO_TEXTS: list[tuple[Any, Any]] = [
    (True, FAILED),
    (False, FAILED),
    ([], FAILED),
    (["a"], FAILED),
    ({}, FAILED),
]
"""What no text filter takes."""
NO_NUMBERS: list[tuple[Any, Any]] = [
    *((value, FAILED) for value in (True, False, [], [1], {}, "", " ", "x", "1,5", "0x10", "1_000")),
    *((value, FAILED) for value in ("+5", "05", ".5", "5.", "12abc", "1 000", "\uff11")),
    *((value, FAILED) for value in ("NaN", "Infinity", "-Infinity", "\u0661", "1 2", "--1", "1e", "1" * 5_000)),
    *((value, FAILED) for value in (math.nan, math.inf, -math.inf, BIG, -BIG, "1e999999", "-1e999999", "1e-999999")),
    *((value, FAILED) for value in ("1.8e308", 18 * 10**307, "-9e308", "179769313486231580" + "0" * 291)),
    *((value, FAILED) for value in ("1e99999999999999999999", 10**100_000, 10**309, "1" + "0" * 309)),
]  # fmt: skip
"""What arithmetic does not take."""

TABLE: dict[str, list[tuple[Any, Any]]] = {
    "strip": [
        *((" a b\t\r\n", "a b"), ("", ""), ("  ", ""), ("\u00a0a\u2003", "a"), (" \U0001f600 ", "\U0001f600")),
        *((12, "12"), (27.0, "27"), (-0.0, "0"), (1e21, "1000000000000000000000"), (0.1, "0.1"), (BIG, str(BIG))),
        *((math.nan, FAILED), (math.inf, FAILED), (10**5_000, FAILED), *NO_TEXTS),
    ],
    "downcase": [("A\u00c9\u0130", "a\u00e9i\u0307"), ("\U00010400", "\U00010428"), ("", ""), (5, "5"), *NO_TEXTS],
    "upcase": [("a\u00df\u00e9", "ASS\u00c9"), ("\U00010428", "\U00010400"), ("", ""), (1.5, "1.5"), *NO_TEXTS],
    "capitalize": [
        ("hELLO World", "Hello world"),
        ("\u00e9A", "\u00c9a"), (" a", " a"), ("", ""), (7, "7"), *NO_TEXTS,
    ],
    "append: ' kg'": [("12", "12 kg"), (12, "12 kg"), ("", " kg"), ("\U0001f600", "\U0001f600 kg"), *NO_TEXTS],
    "append: 1.50": [("a", "a1.5"), (2, "21.5")],
    'append: "it\'s"': [("", "it's")],
    "append: '\\n|,:\"'": [("", '\\n|,:"')],
    "append: ''": [("a", "a")],
    "prepend: '+'": [("49", "+49"), (49, "+49"), ("", "+"), (-0.0, "+0"), *NO_TEXTS],
    "remove: '-'": [("0-1-2", "012"), (-12, "12"), ("", ""), ("abc", "abc"), *NO_TEXTS],
    "remove: 0": [("100", "1"), (100, "1")],
    "replace: '.', ','": [("1.5", "1,5"), (1.5, "1,5"), ("a..b", "a,,b"), ("", ""), *NO_TEXTS],
    "replace: '$&', '\\1$&'": [("a$&b", "a\\1$&b"), ("a", "a")],
    "replace: '\U0001f600', ''": [("a\U0001f600b", "ab")],
    "split: ','": [
        *(("a,b", ["a", "b"]), (",a,,b,,", ["", "a", "", "b"]), ("", []), (",", []), ("a", ["a"]), (1.5, ["1.5"])),
        *NO_TEXTS,
    ],
    "split: ''": [("a\U0001f600b", ["a", "\U0001f600", "b"]), ("", []), (12, ["1", "2"]), *NO_TEXTS],
    "split: ' '": [("  a  b\tc ", ["a", "b", "c"]), ("   ", []), ("", [])],
    "split: '.'": [("a.b", ["a", "b"])],
    "join": [(["a", "b"], "a b"), ([], ""), ("a", "a"), (12, "12"), ({}, FAILED), (True, FAILED)],
    "join: ', '": [
        *((["x", "y"], "x, y"), (["x"], "x"), ([1, 2.0, -0.0, 1.5], "1, 2, 0, 1.5")),
        *(([True, False, None], "true, false, "), ([["a", ["b"]], [], "c"], "a, b, c")),
        *((["\U0001f600", ""], "\U0001f600, "), ([{}], FAILED), ([math.nan], FAILED)),
    ],
    "first": [
        *((["a", "b"], "a"), ([[1], 2], [1]), ([None, 1], None), ([], MISSING), ([False], False)),
        *(("abc", FAILED), ("", FAILED), (12, FAILED), (True, FAILED), ({"a": 1}, FAILED)),
    ],
    "last": [
        *((["a", "b"], "b"), ([1, {"k": 1}], {"k": 1}), ([], MISSING)),
        *(("abc", FAILED), (1.5, FAILED), ({"a": 1}, FAILED)),
    ],
    "default: 'free'": [
        *((None, "free"), (MISSING, "free"), ("", "free"), (False, "free")),
        *((" ", " "), (0, 0), (0.0, 0.0), (True, True), ([], []), ({}, {}), ("pro", "pro"), (12, 12)),
    ],
    "default: 0": [(MISSING, 0), (5, 5)],
    "default: -1.50": [(None, -1.5)],
    "default: 2.0": [(None, 2)],
    "default: true": [(None, True), (False, True)],
    "default: false": [(None, False), ("", False)],
    "default: ''": [(None, ""), (False, "")],
    "date: '%Y-%m-%d'": [
        *(("2024-05-06T23:30:00-05:00", "2024-05-07"), ("2024-05-06", "2024-05-06")),
        *(("Mon, 06 May 2024 10:00:00 GMT", "2024-05-06"), (1_714_953_600, "2024-05-06")),
        *((1_714_953_600_000, "2024-05-06"), ("1714953600", "2024-05-06"), (0, "1970-01-01")),
        *((-0.0, "1970-01-01"), (99_999_999_999, "5138-11-16"), (100_000_000_000, "1973-03-03")),
        *(("0999-01-02", "0999-01-02"), ("0001-01-01", "0001-01-01"), ("soon", "soon"), ("", ""), (" ", " ")),
        *(("now", "now"), ("\U0001f600", "\U0001f600"), (True, True), ([], []), ({"a": 1}, {"a": 1})),
        *((1e300, 1e300), (BIG, BIG), ("2024-02-30", "2024-02-30")),
    ],
    "plus: 0.2": [(0.1, 0.3), (1, 1.2), ("0.1", 0.3), (" 1 ", 1.2), (-0.2, 0), (10**30, float(10**30)), *NO_NUMBERS],
    "plus: 1": [
        *((1, 2), (2**63 - 1, 2**63), (2**64, 2**64 + 1), (10**30, 10**30 + 1), (-1, 0), (-0.0, 1), (1.5, 2.5)),
        *((9_007_199_254_740_993, 9_007_199_254_740_994), (10**308, 10**308 + 1)),
    ],
    "plus: '1.5'": [(1, 2.5)],
    "minus: 2.5": [(10, 7.5), (2.5, 0), ("3", 0.5), *NO_NUMBERS],
    "times: 100": [
        *((1.15, 115), ("1.15", 115), (19.999, 1999.9), (-0.0, 0), (0, 0), (1e307, FAILED), (5e-324, 5e-322)),
        *NO_NUMBERS,
    ],
    "times: 1e300": [(1e300, FAILED), (1e-300, 1), (0, 0)],
    "times: 0.1": [(3, 0.3), (5e-324, FAILED), (10, 1)],
    "times: 0": [(1e308, 0), (-5, 0)],
    "divided_by: 100": [(1999, 19.99), (200, 2), (0, 0), ("50", 0.5), (10**30, 10**28), *NO_NUMBERS],
    "divided_by: 3": [(1, 0.3333333333333333), (2, 0.6666666666666666), (-9, -3)],
    "divided_by: 0.5": [(3, 6)],
    "round": [
        *((0.5, 1), (-0.5, -1), (1.5, 2), (2.5, 3), (2.4, 2), (-2.5, -3), (1e300, 10**300), (5e-324, 0)),
        *(("2.5", 3), (7, 7), (0.49999999999999994, 0), (-0.0, 0), (-0.4, 0), *NO_NUMBERS),
    ],
    "round: 2": [
        *((2.345, 2.35), (-2.345, -2.35), (1.005, 1.01), (2, 2), (2.0, 2), ("1.1", 1.1)),
        *((1e300, 10**300), (0.001, 0)),
    ],
    "round: 15": [(0.1, 0.1), (1 / 3, 0.333333333333333)],
    "to_number": [
        *(("12", 12), ("12.50", 12.5), ("-0", 0), ("1e3", 1000), ("1E-2", 0.01), ("27.0", 27)),
        *((" 12\n", 12), (5, 5), (27.0, 27)),
        *(("9007199254740993", 9007199254740993), ("-12", -12), ("1e308", 10**308)),
        *(("1e-330", FAILED), ("0e999999", 0), *NO_NUMBERS),
    ],
    "to_boolean": [
        *((True, True), (False, False), ("true", True), ("FALSE", False), ("True", True)),
        *((1, True), (0, False), (1.0, True), (-0.0, False)),
        *((value, FAILED) for value in ("yes", "", "1", "0", 2, -1, 0.5, [], {}, [True], math.nan, BIG, "\U0001f600")),
    ],
    "to_text": [
        *(("a", "a"), ("", ""), (12, "12"), (27.0, "27"), (27.5, "27.5"), (-0.0, "0")),
        *((True, "true"), (False, "false")),
        *(([1, "a", None], '[1,"a",null]'), ({"a": {"b": True}}, '{"a":{"b":true}}'), ([], "[]"), ({}, "{}")),
        *((["\U0001f600"], '["\U0001f600"]'), (math.nan, FAILED), ([math.inf], FAILED), (10**5_000, FAILED)),
    ],
    "strip | downcase": [(" A@Example.COM ", "a@example.com"), (12, "12"), (True, FAILED)],
    " strip|downcase  |upcase ": [(" a ", "A")],
    "strip | default: 'x' | upcase": [(MISSING, "X"), (None, "X"), ("  ", "X"), ("b ", "B"), (True, FAILED)],
    "to_number | default: 0": [("x", FAILED), (None, 0), ("", FAILED)],
    "split: ',' | first | strip": [(" a , b", "a"), ("", MISSING)],
    "first | default: 'none'": [([], "none"), ([None], "none")],
    "times: 100 | round": [(1.15, 115), (1.154, 115), ("19.999", 2000)],
    "divided_by: 3 | times: 3 | round: 2": [(10, 10)],
    "split: '-' | join: '/'": [("a-b", "a/b")],
}  # fmt: skip
CASES = [(filters, value, expected) for filters, rows in TABLE.items() for value, expected in rows]


def is_same(one: Any, other: Any) -> bool:
    """Tell whether two values are equal and of one type, so that 1 is neither 1.0 nor true."""
    return type(one) is type(other) and one == other


@pytest.mark.parametrize(
    ("filters", "value", "expected"),
    CASES,
    ids=[f"{ascii(f)[:40]}-{number}" for number, (f, _, _) in enumerate(CASES)],
)
def test_a_filter_gives(filters: str, value: Any, expected: Any) -> None:
    """A row gets the value that its owner means, of the type that JSON keeps."""
    assert is_same(parse_filters(filters).apply(value), expected)


def test_every_filter_is_in_the_table() -> None:
    """A filter without a case is found."""
    used = {part.split(":")[0].strip() for filters in TABLE for part in filters.split("|")}
    assert set(FILTERS) <= used


@pytest.mark.parametrize("name", FILTERS)
def test_the_example_of_the_reference_holds(name: str) -> None:
    """The sentence of the reference page shows what the program does."""
    before, written, after = FILTERS[name].example
    assert is_same(parse_filters(written).apply(json.loads(before)), json.loads(after))
    assert FILTERS[name].sentence.endswith(f"{before} | {written} gives {after}.")


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("nothing", [None, MISSING])
def test_what_is_absent_passes_until_a_default(name: str, nothing: Any) -> None:
    """Null and a missing value are no failures."""
    written = FILTERS[name].example[1]
    assert is_same(parse_filters(written).apply(nothing), "free" if name == "default" else nothing)
    filters = parse_filters(f"{written} | default: 5")
    assert filters.apply(nothing) == ("free" if name == "default" else 5)
    assert filters.fills_absent
    assert parse_filters(written).fills_absent is (name == "default")
    assert filters.text == f"{written} | default: 5"


MOMENT = "2024-03-05T04:05:06.789Z"


@pytest.mark.parametrize(
    ("written", "moment", "expected"),
    [
        ("%Y %y %m %d %e %j", MOMENT, "2024 24 03 05  5 065"),
        ("%H:%M:%S.%L %I %p", MOMENT, "04:05:06.789 04 AM"),
        ("%F %T", MOMENT, "2024-03-05 04:05:06"),
        ("%a %A %b %B", MOMENT, "Tue Tuesday Mar March"),
        ("%u %w %G-W%V", MOMENT, "2 2 2024-W10"),
        ("%s %z %Z", MOMENT, "1709611506 +0000 UTC"),
        ("%-d/%-m/%-y %-H:%-M %-j %-I %-S %-e %-V", MOMENT, "5/3/24 4:5 65 4 6 5 10"),
        ("100%% of %Y", MOMENT, "100% of 2024"),
        ("%%Y%Y", MOMENT, "%Y2024"),
        ("%I %p %-H", "2024-03-05T00:00:00Z", "12 AM 0"),
        ("%I %p", "2024-03-05T12:00:00Z", "12 PM"),
        ("%w %u %a", "2024-03-03", "0 7 Sun"),
        ("%G-W%V", "2024-12-30", "2025-W01"),
        ("%Y %G %y %F", "0005-06-07", "0005 0005 05 0005-06-07"),
        ("%-y", "2000-01-01", "0"),
        ("%s", "1969-12-31T23:59:59.500Z", "-1"),
        ("%s", "0001-01-01", "-62135596800"),
        ("%Y \U0001f600", MOMENT, "2024 \U0001f600"),
    ],
)
def test_a_date_is_written(written: str, moment: str, expected: str) -> None:
    """By English names, in UTC, with years of four digits."""
    assert parse_filters(f'date: "{written}"').apply(moment) == expected


@given(st.datetimes(timezones=st.just(UTC)).filter(lambda moment: moment.year > 1000))
def test_directives_are_those_of_python(moment: datetime) -> None:
    """From the year 1000 on, where platforms agree."""
    written = "%Y|%y|%m|%d|%j|%H|%I|%M|%S|%u|%w|%G|%V"
    expected = moment.strftime(written)
    assert parse_filters(f"date: '{written}'").apply(moment.isoformat()) == expected


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("", 1, "no filter is here"),
        (" \t", 1, "no filter is here"),
        ("downcse", 1, "no filter downcse; did you mean downcase?"),
        ("strip | lowercase", 9, "no filter lowercase; did you mean downcase?"),
        ("trim", 1, "did you mean strip?"),
        ("STRIP", 1, "did you mean strip?"),
        ("dividedBy: 2", 1, "did you mean divided_by?"),
        ("qqqq", 1, "there are strip, downcase"),
        ("x" * 100_000, 1, "there are strip"),
        ("strip |", 7, "after the last |"),
        ("strip | ", 7, "after the last |"),
        ("| strip", 1, "before this |"),
        ("strip || downcase", 8, "before this |"),
        ("strip | | downcase", 9, "before this |"),
        ("|", 1, "before this |"),
        ("append", 1, "append needs 1 argument, as in append: "),
        ("strip | append", 9, "append needs 1 argument"),
        ("append:", 8, "an argument is missing"),
        ("append: | strip", 9, "an argument is missing"),
        ("replace: 'a'", 1, "replace needs 2 arguments"),
        ("replace: 'a',", 14, "an argument is missing"),
        ("replace: , 'a'", 10, "an argument is missing"),
        ("append: 'a', 'b'", 14, "append takes 1 argument"),
        ("join: 'a', 'b'", 12, "join takes 1 argument"),
        ("strip: 1", 6, "strip takes no argument"),
        ("strip:", 6, "strip takes no argument"),
        ("strip 'a'", 7, "after strip comes a | or the end"),
        ("strip downcase", 7, "after strip comes a | or the end"),
        ("append 'a'", 8, "after append comes a colon"),
        ("append, 'a'", 7, "after append comes a colon"),
        ("replace: 'a' 'b'", 14, "after an argument comes a comma"),
        ("append: 'it's it'", 17, "not closed"),
        ("append: 'a'b", 12, "after an argument comes a comma"),
        ("append: 'a", 9, "not closed"),
        ("append: \"a'", 9, "not closed"),
        ("append: a", 9, "a text in quotes: 'a'"),
        ("append: traits.name", 9, "a text in quotes: 'traits.name'"),
        ("append: true", 9, "a text stands in quotes: 'true'"),
        ("append: \u2018a\u2019", 9, "write ' or \""),
        ("append: `a`", 9, "write ' or \""),
        ("default: 'x', allow_false: true", 15, "an argument has no name"),
        ("default: nil", 10, "in quotes: 'nil'"),
        ("default: a: 'x'", 10, "an argument has no name"),
        ("'strip'", 1, "begins with its name, not with strip"),
        ("5", 1, "begins with its name, not with 5"),
        (": 5", 1, "begins with its name"),
        ("strip()", 6, "( has no meaning here"),
        ("{{ x | strip }}", 1, "{ has no meaning here"),
        ("strip\x1b", 6, "\\x1b has no meaning here"),
        ("times: 1.2.3", 8, "no number begins here"),
        ("times: +1", 8, "no number begins here"),
        ("times: 007", 8, "no number of JSON"),
        ("times: 1e999999", 8, "out of range"),
        ("times: " + "9" * 5_000, 8, "out of range"),
        ("times: 'x'", 8, "x is no number"),
        ("times: true", 8, "true is no number"),
        ("plus: ''", 7, "is no number"),
        ("divided_by: 0", 13, "divided by 0"),
        ("divided_by: -0.0", 13, "divided by 0"),
        ("divided_by: '0'", 13, "divided by 0"),
        ("round: -1", 8, "from 0 to 15"),
        ("round: 16", 8, "from 0 to 15"),
        ("round: 10000000000", 8, "from 0 to 15"),
        ("round: 1.5", 8, "from 0 to 15"),
        ("round: true", 8, "from 0 to 15"),
        ("round: '2'", 8, "from 0 to 15"),
        ("remove: ''", 9, "an empty text"),
        ("replace: '', 'a'", 10, "an empty text"),
        ("date: '%Y-%Q'", 11, "no part of a date is %Q"),
        ("date: '%c'", 8, "no part of a date is %c"),
        ("date: '%Y%'", 10, "no part of a date is %"),
        ("date: '%Y%\x1b'", 10, "no part of a date is %\\x1b"),
        ("date: '%-B'", 8, "no part of a date is %-B"),
        ("date: '%-%'", 8, "no part of a date is %-%"),
        ("date: ''", 7, "no part of a date is in ''"),
        ("date: 'YYYY-MM-DD'", 7, "no part of a date is in 'YYYY-MM-DD'"),
        ("date: '%%'", 7, "no part of a date is in '%%'"),
        ("date: 5", 7, "a format stands in quotes"),
        ("append: '\ud83d'", 10, "half of a character"),
    ],
)  # fmt: skip
def test_a_mistake_is_refused_with_its_column(text: str, column: int, words: str) -> None:
    """The sentence says what to write, on one line."""
    with pytest.raises(FilterError) as refusal:
        parse_filters(text)
    assert (refusal.value.column, words in str(refusal.value)) == (column, True), str(refusal.value)
    assert str(refusal.value).isprintable()
    assert len(str(refusal.value)) < 300


def test_filters_travel_to_other_processes() -> None:
    """Settings are sent to each of them; equal texts are equal filters."""
    filters = parse_filters("strip | default: 'x'")
    received = pickle.loads(pickle.dumps(filters))
    assert received == filters
    assert hash(received) == hash(filters)
    assert received.apply(" a ") == "a"
    assert received.fills_absent
    assert filters != parse_filters("strip")
    assert pickle.loads(pickle.dumps(APPLY_FAILED)) is APPLY_FAILED


def test_names_of_other_languages_lead_to_one_filter_each() -> None:
    """A suggestion is never a name that is a filter itself, and never ambiguous."""
    others = list(itertools.chain.from_iterable(row_filter.also_called for row_filter in FILTERS.values()))
    assert len(set(others)) == len(others)
    assert not set(others) & set(FILTERS)


def test_a_text_does_not_grow_without_end() -> None:
    """Each replacement makes the text ten times as long; the seventh is not made."""
    grow = f"replace: 'a', '{'a' * 10}'"
    assert len(parse_filters(" | ".join([grow] * 6)).apply("a")) == MAX_GROWN_TEXT
    assert parse_filters(" | ".join([grow] * 40)).apply("a") is FAILED
    assert parse_filters("replace: 'a', 'b'").apply("a" * (MAX_GROWN_TEXT + 1)) == "b" * (MAX_GROWN_TEXT + 1)


def test_deep_lists_neither_raise_nor_take_the_stack() -> None:
    """No value of an archive is nested as deep, but a value of Python may be."""
    deep: Any = ["a"]
    for _ in range(100_000):
        deep = [deep]
    assert parse_filters("join").apply(deep) == "a"
    assert parse_filters("to_text").apply(deep) is FAILED


def test_huge_numbers_fail_at_once() -> None:
    """Nobody waits for digits that no request could carry."""
    values = (10**1_000_000, "1e999999999", "9" * 5_000_000, "1e-999999999", BIG, math.nan)
    began = time.process_time()
    for filters in (
        "plus: 1",
        "times: 1e300",
        "divided_by: 3",
        "round: 15",
        "to_number",
        "minus: 1e-300 | round: 15",
    ):
        apply = parse_filters(filters).apply
        for value in values:
            assert apply(value) is FAILED
    assert time.process_time() - began < 1


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
NUMBERS = (
    st.integers() | st.floats() | st.sampled_from(["1e999", "0.1", "-0", BIG, "1e308", 5e-324, 1e308, -1e308])
)
JSON_VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
SOME_FILTERS = st.sampled_from(
    [
        *(row_filter.example[1] for row_filter in FILTERS.values()),
        *("split: ''", "split: ' '", "join: ''", "default: 0", "round: 15", "times: 1e300", "plus: -1e-300"),
        *("times: '123456789.123456789'", "divided_by: 7", "replace: 'a', 'aaaaaaaaaa'", "date: '%s'"),
        "date: '%-d %B %Y'",
    ]
)  # fmt: skip


@given(st.lists(SOME_FILTERS, min_size=1, max_size=5), JSON_VALUES | NUMBERS | st.just(MISSING))
def test_no_value_raises_and_every_result_is_json(filters: list[str], value: Any) -> None:
    """A result is a value of JSON, absent, or failed; NaN is only what came as NaN."""
    result = parse_filters(" | ".join(filters)).apply(value)
    if result is MISSING or result is FAILED:
        return
    encoded = msgspec.json.encode(result)
    if not repr(value).count("nan") + repr(value).count("inf"):
        assert is_same(msgspec.json.decode(encoded), result) or isinstance(result, dict | list)


@given(
    st.text(alphabet=st.sampled_from("strip downcase|:,'\"%0.-1e\U0001f600\n") | st.characters(), max_size=40)
)
def test_any_text_is_parsed_or_refused(text: str) -> None:
    """With a column inside the text, or just after it."""
    refusal = None
    try:
        filters = parse_filters(text)
    except FilterError as error:
        refusal = error
    if refusal is None:
        assert filters.text == text
    else:
        assert 1 <= refusal.column <= len(text) + 1
        assert str(refusal).isprintable()


@given(JSON_VALUES)
@pytest.mark.parametrize(
    "name", ["strip", "downcase", "capitalize", "round", "to_number", "to_boolean", "to_text"]
)
def test_twice_is_once(name: str, value: Any) -> None:
    """What is done cannot be done again, so the order of two copies of settings does not count."""
    assert is_same(parse_filters(f"{name} | {name}").apply(value), parse_filters(name).apply(value))


@given(st.integers(-(10**300), 10**300) | st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_the_same_after_it_was_a_text(number: float) -> None:
    """No digit is lost on the way; whole numbers are integers then."""
    result = parse_filters("to_text | to_number").apply(number)
    assert float(result) == float(number)
    assert is_same(result, number) or isinstance(number, float)


@given(st.integers(-(10**100), 10**100), st.integers(-(10**100), 10**100))
def test_sums_and_products_of_integers_are_exact(one: int, other: int) -> None:
    """Integers stay integers, of any size."""
    for name, expected in (("plus", one + other), ("minus", one - other), ("times", one * other)):
        assert is_same(parse_filters(f"{name}: {other}").apply(one), expected)


@given(st.decimals(-(10**9), 10**9, places=2))
def test_cents_are_exact(amount: Any) -> None:
    """Money is never off by a cent, whether it came as a number or as a text."""
    apply = parse_filters("times: 100").apply
    assert is_same(apply(str(amount)), int(amount.scaleb(2)))
    assert is_same(apply(float(amount)), int(amount.scaleb(2)))


@given(st.text(), st.text(min_size=1).filter(lambda text: "'" not in text and text != " "))
def test_what_is_split_is_joined_again(text: str, separator: str) -> None:
    """Save for separators at the end."""
    joined = parse_filters(f"split: '{separator}' | join: '{separator}'").apply(text)
    rest = text.removeprefix(joined)
    assert rest == separator * (len(rest) // len(separator))
