"""Make the page of the filters of `apply` from their table; every example is run when the page is made."""

from __future__ import annotations

import json
from typing import Any, Final

from generating.markdown import code, fenced, json_code, table
from generating.markdown import page as page_of
from voucherify_sync.expressions.row_filters import (
    APPLY_FAILED,
    DATE_PARTS,
    FILTERS,
    FilterError,
    parse_filters,
)
from voucherify_sync.paths import MISSING

_INTRODUCTION: Final = """\
`apply` of a [row](settings.md#rows) changes the value between its source and its destination. Filters stand from left
to right, with `|` between them. Arguments follow a colon, with commas between them; a text stands in quotes. Names and
syntax are those of Liquid."""

_EXAMPLE: Final = """\
identify:
  extend_default: true
  mapping:
    traits.email: {to: customer.email, apply: strip | downcase}
    traits.joined: {to: customer.metadata.joined, apply: "date: '%Y-%m-%d'"}"""

_QUOTES: Final = """\
YAML needs quotes around a text with `: ` in it, as in the last row. Each example below is run by the program when this
page is made."""

_VALUES: Final = """\
- **Text filters** work on texts. A number is made its decimal text first.
- **What does not fit** gives nothing, and is counted as dropped (`apply_failed`, see
  [reasons](reasons.md#values-that-are-not-mapped)): the other values of the event are sent.
- **Missing and null** pass every filter but `default`. A row with `default` matches also where its source is absent.
- **Arithmetic** is decimal and exact. Whole results are integers.
- A row that takes a whole object, or a `*`, can have no `apply`. Use [directives](directives.md) there."""

_ODD: Final[list[tuple[Any, str]]] = [
    (1234, "append: ' kg'"),
    (True, "upcase"),
    (["a"], "upcase"),
    ("1.15", "times: 100"),
    ("twelve", "plus: 1"),
    (7, "divided_by: 2"),
    (2.5, "round"),
    (-2.5, "round"),
    ([], "first"),
    ("", "default: 'none'"),
    (False, "default: true"),
    (0, "default: 1"),
    (MISSING, "default: 'none'"),
    (None, "upcase"),
    (1731398300956, "date: '%Y-%m-%d'"),
    ("2024-11-12T23:30:00-05:00", "date: '%F %T'"),
    ("last week", "date: '%Y'"),
    ("12 EUR", "to_number"),
    ("yes", "to_boolean"),
    ([1, "a"], "to_text"),
]
"""Values that one may wonder about, with filters."""

_DATES: Final = """\
`date` reads every spelling of a time that [`--since` reads in events](../how-it-works.md#time-of-an-event), and numbers
of seconds or milliseconds since 1970. It writes UTC, and English names. What is no time stays as it is. These parts of
2025-03-04T05:06:07.089Z can be written; a `-` after the `%`, as in `%-d`, drops the leading zero, and `%%` is the
sign:"""

_TIME: Final = "2025-03-04T05:06:07.089Z"
_REFUSED: Final = (
    "downcse",
    "strip downcase",
    "upcase: 1",
    "divided_by: 0",
    "append: kg",
    "date: '%Q'",
    "strip |",
)


def page() -> str:
    """Return the page."""
    return page_of(
        "Filters",
        "voucherify_sync/expressions/row_filters.py",
        _INTRODUCTION,
        fenced(_EXAMPLE, "yaml"),
        _QUOTES,
        table(("filter", "takes", "what it does", "example", "gives"), [_filter(name) for name in FILTERS]),
        "## Values",
        _VALUES,
        table(
            ("value", "filters", "gives"),
            [
                ("missing" if value is MISSING else json_code(value), code(written), _applied(value, written))
                for value, written in _ODD
            ],
        ),
        "## Dates",
        _DATES,
        table(
            ("part", "gives", "part", "gives"),
            _in_two(
                [
                    (code(f"%{part}"), code(str(parse_filters(f"date: '%{part}'").apply(_TIME))))
                    for part in DATE_PARTS
                ]
            ),
        ),
        "## What is refused",
        "A mistake in filters is found before anything is sent, with its line and column:",
        table(("filters", "message"), [(code(written), _mistake(written)) for written in _REFUSED]),
    )


def _filter(name: str) -> tuple[str, ...]:
    row_filter = FILTERS[name]
    before, written, after = row_filter.example
    shown = _applied(json.loads(before), written)
    if shown != json_code(json.loads(after)):
        raise ValueError(f"{name}: {before} | {written} gives {shown}, not {after}")
    takes = ", ".join(
        each.name
        if each.unless_given is MISSING
        else f"{each.name} ({json.dumps(each.unless_given)} if left out)"
        for each in row_filter.arguments
    )
    return code(name), takes, f"{row_filter.help}.", f"{code(before)} {code(written)}", shown


def _applied(value: Any, written: str) -> str:
    result = parse_filters(written).apply(value)
    if result is APPLY_FAILED:
        return "nothing: `apply_failed`"
    return "nothing" if result is MISSING else json_code(result)


def _mistake(written: str) -> str:
    try:
        parse_filters(written)
    except FilterError as error:
        return code(f"column {error.column}: {error}")
    raise ValueError(f"{written} is not refused")


def _in_two(rows: list[tuple[str, str]]) -> list[tuple[str, ...]]:
    """Return rows of two columns as rows of four."""
    half = -(-len(rows) // 2)
    return [left + right for left, right in zip(rows[:half], [*rows[half:], ("", "")], strict=False)]
