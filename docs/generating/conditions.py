"""Make the page of conditions; every example is evaluated when the page is made, and every refusal is the parser's."""

from __future__ import annotations

from typing import Any, Final

from generating.markdown import code, fenced, json_code, table
from generating.markdown import page as page_of
from voucherify_sync.expressions.conditions import (
    OBJECT_FIELDS,
    TEXT_FIELDS,
    ConditionError,
    parse_condition,
)

_INTRODUCTION: Final = """\
A condition chooses events by what they hold. It is written as `where` in `identify`, `track`, `page`, `screen`,
`group` and in the entries of `track.events`, and as `--where` of `replay`, `plan`, `explain` and `coverage`. The
language is that of the triggers of Segment's Actions destinations, so a trigger can be pasted."""

_EXAMPLE: Final = """\
track:
  where: properties.total > 20 and (properties.currency = "EUR" or properties.currency = "CHF")
  events:
    Subscription Started:
      where: properties.plan != "trial\""""

_RULES: Final = """\
- All conditions that apply must hold: those of the section, of the entry and of the option.
- An event for which a condition of the settings does not hold is skipped with the [reason](reasons.md#skipped) `where`;
  for the option the reason is `not_selected`.
- A condition is asked of the event as it came, before `rename` and before the mapping.
- In a shell, put single quotes around the condition: `--where 'event = "Order Completed"'`. In YAML, a condition that
  begins with `!` or `"`, or that has `: ` or ` #` in it, needs quotes, too.
- A condition that held of no event is named in a warning, with the fields that no event has, and with the `match()`
  that is meant where a text after `=` has a `*`.
- `explain --where` shows the events for which a condition holds. `explain` also shows, for each event, whether the
  conditions of the settings hold, and what it has in the fields of one that does not."""

_FIELDS: Final = f"""\
- **Fields** are {", ".join(map(code, TEXT_FIELDS))}, and below {", ".join(map(code, OBJECT_FIELDS))}
  any key, with dots: `properties.plan.name`. Put quotes around a key with blanks: `properties."my key"`. Items of lists
  cannot be read.
- **Operators** are `=`, `!=`, `<`, `<=`, `>`, `>=`, then a value.
- **Values** are texts in double quotes (`\\"` is a quote in it), numbers, `true`, `false` and `null`.
- **Functions** are `contains(field, "…")`, `match(field, "start*")` and `match(field, "*end")`. A `!` before one
  negates it.
- **`and`, `or`**, with parentheses where both occur. Words, functions and fields are written in their own case only."""

_ROWS: Final[list[tuple[str, str, list[Any]]]] = [
    ('{} = "3"', "the field is that very text; case counts", ["3", 3]),
    ('{} = "gold"', "", ["gold", "Gold"]),
    ('{} != "gold"', "the field is anything else, also missing", ["silver", 1, None, ...]),
    ("{} = 3", "the field is that number", [3, 3.0, "3"]),
    ("{} != 3", "the field is another number", [4, "4", ...]),
    ("{} > 20", "the field is a number, and larger; `<`, `<=`, `>=` alike", [20.5, 20, "30", True, ...]),
    ("{} = null", "the field is null or missing", [None, ..., 0, ""]),
    ("{} != null", "the field is there and not null", [0, "", None, ...]),
    ("{} = true", "the field is that boolean; `= false` alike", [True, "true", 1]),
    ("{} = false", "a missing field is not false", [False, ...]),
    ('contains({}, "old")', "the field is a text with these characters in it", ["gold", "Old", ["old"]]),
    ('!contains({}, "old")', "the field is a text without them", ["silver", "gold", ..., 5]),
    ('match({}, "go*")', "the field is a text that begins like this", ["gold", "ago"]),
    ('match({}, "*ld")', "the field is a text that ends like this", ["gold", "golden"]),
    ('!match({}, "go*")', "the field is a text that does not begin like this", ["silver", "gold", ...]),
]
"""Condition of a field, when it holds, and values to try; `...` stands for an event without the field."""

_FIELD: Final = "properties.tier"

_GROUPS: Final[list[tuple[str, dict[str, Any]]]] = [
    ('type = "track" and event = "Signed Up"', {"type": "track", "event": "Signed Up"}),
    ('event = "A" or event = "B"', {"event": "B"}),
    ('event = "A" and (properties.n = 1 or properties.n = 2)', {"event": "A", "properties": {"n": 2}}),
    ('properties."my key" = "x"', {"properties": {"my key": "x"}}),
    ("properties.plan.seats >= 3", {"properties": {"plan": {"seats": 3}}}),
    ("properties.plan.seats >= 3", {"properties": {"plan.seats": 3}}),
    ('event = "say \\"hi\\""', {"event": 'say "hi"'}),
    ("userId != null", {"userId": None, "anonymousId": "a-1"}),
    ("anonymousId != null", {"userId": None, "anonymousId": "a-1"}),
]

_REFUSED: Final[list[tuple[str, str]]] = [
    (
        'event = "A" or event = "B" and userId != null',
        "Segment joins all of them with the word that stands last.",
    ),
    ("properties.vip != true", "Segment compares the text `true`, so the condition holds of each boolean."),
    ('event = "A"or event = "B"', "Segment does not see the word, and joins with `and`."),
    ('properties.total > "20"', "Segment compares with numbers only."),
    ('match(event, "Order*Completed")', "Segment takes a `*` for one at the start or the end only."),
    ('match(event, "Order")', "The same."),
    ("event = 'A'", "A text has double quotes."),
    ("properties.vip", "A field alone says nothing of its value."),
    ('messageId = "x"', "Conditions read some fields only."),
    ("length(event) > 3", "There is no such function here."),
    ('event in ("A", "B")', "There is no such word."),
    ('not event = "A"', "There is no such word."),
    ('!event = "A"', "`!` negates functions only."),
    ('properties.items[0] = "A"', "Items of lists cannot be read."),
    ('email = "ann@example.com"', "Conditions read some fields only."),
]

_REFUSED_WORDS: Final = """\
A condition that Segment itself reads otherwise than it looks, without a word, is refused here: a replay should not
send other events than you mean. So is what the language does not have. The message names the column, and what to
write:"""

_DIFFERENCES: Final = """\
## Differences from Segment

- `anonymousId` can be asked for here; a trigger cannot.
- The `)` of a function ends the function only. There it also ends the group around it.
- Below a `false`, a 0 or an empty text there is nothing. There the condition is asked of that value itself.
- A key with dots is tried as a whole first, as in rows."""


def page() -> str:
    """Return the page."""
    return page_of(
        "Conditions",
        "voucherify_sync/expressions/conditions.py",
        _INTRODUCTION,
        fenced(_EXAMPLE, "yaml"),
        _RULES,
        "## The language",
        _FIELDS,
        "## When a condition holds",
        "Each value was tried with its condition when this page was made.",
        table(("condition", "holds where", "holds of", "does not hold of"), map(_row, _ROWS)),
        table(
            ("condition", "event", "holds"),
            [
                (code(text), json_code(fields), "yes" if parse_condition(text).holds(fields) else "no")
                for text, fields in _GROUPS
            ],
        ),
        "## What is refused",
        _REFUSED_WORDS,
        table(("condition", "why", "message"), [(code(text), why, _mistake(text)) for text, why in _REFUSED]),
        _DIFFERENCES,
    )


def _row(row: tuple[str, str, list[Any]]) -> tuple[str, ...]:
    written, words, values = row
    condition = parse_condition(written.format(_FIELD))
    holding: list[str] = []
    others: list[str] = []
    for value in values:
        fields = {"properties": {} if value is ... else {"tier": value}}
        (holding if condition.holds(fields) else others).append(
            "missing" if value is ... else json_code(value)
        )
    return code(condition.text), words, ", ".join(holding), ", ".join(others)


def _mistake(text: str) -> str:
    try:
        parse_condition(text)
    except ConditionError as error:
        return code(f"column {error.column}: {error}")
    raise ValueError(f"{text} is not refused")
