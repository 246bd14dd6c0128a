"""Make the page of the directives of `set` from their table; every example is evaluated when the page is made."""

from __future__ import annotations

from typing import Any, Final

from generating.markdown import code, fenced, json_code, table
from generating.markdown import page as page_of
from voucherify_sync.expressions.directives import (
    DIRECTIVES,
    MAX_COMPUTED_PATH,
    MAX_DECODED_VALUES,
    MAX_DEPTH,
    MAX_FLAT_CHARACTERS,
    MAX_LEVELS,
    compile_value,
)
from voucherify_sync.paths import MISSING

_INTRODUCTION: Final = """\
`set` fills places of a request with values that are worked out. It is written as `destination: value`, in `identify`,
`track`, `page`, `screen`, `group` and in the entries of `track.events`. A value is any JSON, which stands for itself,
or a directive: an object with one key that begins with `@`. The directives are those of Segment's Actions
destinations, so what you have there can be pasted."""

_EXAMPLE: Final = """\
track:
  extend_default: true
  set:
    event: {"@template": "{{event}} ({{properties.channel}})"}
    customer.email: {"@case": {operator: lower, value: {"@path": $.properties.email}}}
    metadata: {source: archive, total: {"@path": $.properties.total}}"""

_RULES: Final = """\
- **Order.** Rows come first, then `set`, then `add`. The later one wins. Where a value gives nothing, what the rows put
  there stays.
- **Default table.** With an entry of `set` and without rows, the default table no longer applies. `extend_default:
  true` keeps it.
- **Destinations** are those of rows: see [settings](settings.md#destinations). Objects may be written nested or with
  dots: `customer: {email: …}` is `customer.email: …`. The types of fields hold as for rows.
- **Lists and objects** are worked out item by item, at any depth. What gives nothing is left out of an object, and is
  null in a list.
- **Null** is the null of a row: left out, or sent with `nulls: clear`.
- **Paths** are those of rows, with or without `$.`: see [settings](settings.md#paths). A `.*` is for rows only.
- **Notes.** A key `_metadata` beside a directive is ignored: Segment's editor writes it.

When is a [row](settings.md#rows) enough? It is whenever one value goes to one place, also with a second source
(`or`) and [filters](filters.md) (`apply`). `set` is for a value that is made of several, or that depends on another.

Each example below is evaluated by the program when this page is made."""

Example = tuple[Any, dict[str, Any]]

_EMAIL: Final = {"@path": "$.properties.email"}
_ITEMS: Final = {"properties": {"items": [{"sku": "A", "qty": 2}, {"sku": "B"}]}}

EXAMPLES: Final[dict[str, list[Example]]] = {
    "@path": [
        (_EMAIL, {"properties": {"email": "ann@example.com"}}),
        ({"@path": "properties.items[1].sku"}, _ITEMS),
        ({"@path": "properties['first name']"}, {"properties": {"first name": "Ann"}}),
        (_EMAIL, {"properties": {}}),
        (_EMAIL, {"properties": {"email": None}}),
    ],
    "@template": [
        ({"@template": "Viewed {{name}} Page"}, {"name": "Home"}),
        ({"@template": "Viewed {{name}} Page"}, {}),
        (
            {"@template": "{{properties.total}} {{properties.currency}}"},
            {"properties": {"total": 27.0, "currency": "EUR"}},
        ),
        ({"@template": "{{properties.tags}}"}, {"properties": {"tags": ["a", "b"]}}),
    ],
    "@if": [
        (
            {"@if": {"exists": _EMAIL, "then": _EMAIL, "else": {"@path": "$.context.traits.email"}}},
            {"properties": {}, "context": {"traits": {"email": "ann@example.com"}}},
        ),
        ({"@if": {"exists": _EMAIL, "then": "known", "else": "unknown"}}, {"properties": {"email": ""}}),
        ({"@if": {"blank": _EMAIL, "then": "known", "else": "unknown"}}, {"properties": {"email": ""}}),
        ({"@if": {"exists": _EMAIL, "then": "known"}}, {"properties": {}}),
        ({"@if": {"exists": _EMAIL, "then": True, "else": False}}, {"properties": {}}),
    ],
    "@case": [
        (
            {"@case": {"operator": "lower", "value": _EMAIL}},
            {"properties": {"email": "Ann@Example.com"}},
        ),
        (
            {"@case": {"operator": "upper", "value": {"@path": "$.properties.size"}}},
            {"properties": {"size": 38}},
        ),
    ],
    "@replace": [
        (
            {"@replace": {"pattern": "-", "replacement": "", "value": {"@path": "$.traits.phone"}}},
            {"traits": {"phone": "0170-12-34"}},
        ),
        (
            {"@replace": {"pattern": "-", "replacement": "/", "global": False, "value": "0170-12-34"}},
            {},
        ),
        (
            {
                "@replace": {
                    "pattern": "eur",
                    "replacement": "€",
                    "pattern2": " ",
                    "replacement2": "",
                    "ignorecase": True,
                    "value": "12 EUR",
                }
            },
            {},
        ),
        ({"@replace": {"pattern": "-", "value": {"@path": "$.traits.phone"}}}, {"traits": {}}),
    ],
    "@arrayPath": [
        (
            {
                "@arrayPath": [
                    "$.properties.items",
                    {"id": {"@path": "$.sku"}, "quantity": {"@path": "$.qty"}},
                ]
            },
            _ITEMS,
        ),
        (
            {"@arrayPath": ["$.properties.items", {"id": {"@path": "$.sku"}}]},
            {"properties": {"items": {"sku": "A"}}},
        ),
        ({"@arrayPath": ["$.properties.items"]}, {"properties": {"items": ["A", "B"]}}),
    ],
    "@literal": [
        ({"@literal": True}, {}),
        ({"@literal": {"plan": {"@path": "$.traits.plan"}}}, {"traits": {"plan": "pro"}}),
    ],
    "@merge": [
        (
            {
                "@merge": {
                    "objects": [{"@path": "$.traits"}, {"@path": "$.context.traits"}],
                    "direction": direction,
                }
            },
            {"traits": {"plan": "pro", "city": "Oslo"}, "context": {"traits": {"plan": "free"}}},
        )
        for direction in ("right", "left")
    ],
    "@transform": [
        (
            {
                "@transform": {
                    "apply": {"@path": "$.properties.cart"},
                    "mapping": {"number": {"@path": "$.id"}, "first": {"@path": "$.items[0]"}},
                }
            },
            {"properties": {"cart": {"id": "C-7", "items": ["A", "B"]}}},
        ),
    ],
    "@flatten": [
        (
            {"@flatten": {"value": {"@path": "$.traits"}, "separator": "_"}},
            {"traits": {"plan": {"name": "pro", "seats": 3}, "tags": ["a", "b"], "none": {}}},
        ),
        (
            {"@flatten": {"value": {"@path": "$.traits"}, "separator": "_", "omitArrays": True}},
            {"traits": {"plan": {"name": "pro"}, "tags": ["a", "b"]}},
        ),
        ({"@flatten": {"value": {"@path": "$.traits"}, "separator": "_"}}, {}),
    ],
    "@json": [
        ({"@json": {"mode": "encode", "value": {"@path": "$.properties.items"}}}, _ITEMS),
        (
            {"@json": {"mode": "decode", "value": {"@path": "$.properties.extra"}}},
            {"properties": {"extra": '{"gift": true}'}},
        ),
        (
            {"@json": {"mode": "decode", "value": {"@path": "$.properties.extra"}}},
            {"properties": {"extra": "no JSON"}},
        ),
    ],
    "@excludeWhenNull": [
        ({"@excludeWhenNull": {"@path": "$.traits.address"}}, {"traits": {"address": None}}),
        (
            {"@excludeWhenNull": {"@path": "$.traits.address"}},
            {"traits": {"address": {"city": "Oslo", "state": None}}},
        ),
    ],
}
"""Directive -> values and the fields of events that they are evaluated with."""

_OTHERS: Final[list[Example]] = [
    ({"plan": {"@path": "$.traits.plan"}, "from": "archive"}, {"traits": {}}),
    ([{"@path": "$.traits.plan"}, "archive"], {"traits": {}}),
]

_DIFFERENCES: Final[list[tuple[Any, dict[str, Any], str]]] = [
    (
        {"@path": "$.properties.utm.source"},
        {"properties": {"utm.source": "mail"}},
        "A key with dots is tried as a whole first, as in a row. There the dots always part keys.",
    ),
    (
        {"@path": "$.properties.code.length"},
        {"properties": {"code": "AB12"}},
        "A path does not lead into a text. There it gives the length of the text.",
    ),
    (
        {"@path": "$.properties.user.email"},
        {"properties": {"user": 0}},
        "What lies below a null, a 0 or an empty text is nothing. There it is that null, 0 or text.",
    ),
    (
        {"@replace": {"pattern": "b", "replacement": "[$&]", "value": "abc"}},
        {},
        "A replacement is plain text. There `$&` stands for what was found.",
    ),
    (
        {"@merge": {"objects": ["ab", {"plan": "pro"}], "direction": "right"}},
        {},
        "A text or a list is passed over. There it adds a key for each of its characters or items.",
    ),
    (
        {"@template": "{{properties.number}}"},
        {"properties": {"number": 10**21}},
        "A number becomes its decimal text. There a large or a small one is written with an exponent.",
    ),
]
"""What Segment evaluates to another result: the value, the fields, and both sides in words."""

_SURPRISES: Final = """\
Three results surprise, and are those of Segment: `blank` in `@if` asks whether a value is *not* blank; an `else` that
is false, 0, an empty text or null gives nothing, while such a `then` is kept; and `@replace` gives an empty text
where there is no text, number or boolean. An empty text in a field of the customer counts as absent here, so it
erases nothing. A template with a missing value keeps the blanks around it: `Viewed Page` has two."""

_LIMITS: Final = f"""\
The program never fails on a value. Where a directive would exceed one of these limits, or would make a text of NaN or
Infinity, it gives the value that it was given, or nothing where its path is too long:

- {MAX_LEVELS} levels of a value that is flattened, cleaned of nulls or made a text; {MAX_FLAT_CHARACTERS:,} characters
  of all keys of one `@flatten`; about {MAX_DECODED_VALUES:,} values in a text that `@json` decodes.
- {MAX_COMPUTED_PATH} characters of a path that another directive works out."""

_REFUSED: Final[list[Any]] = [
    {"@pth": "$.traits.plan"},
    {"@path": "$.traits.plan", "@case": {}},
    {"@path": "$.traits.plan", "fallback": "none"},
    {"@case": {"operator": "title", "value": "x"}},
    {"@replace": {"pattern": "", "value": "x"}},
    {"@template": 3},
    {"@path": "$.traits.*"},
]

_REFUSED_WORDS: Final = f"""\
`check` and every other command name all mistakes at once, each with its line and column, before anything is sent. A
value may be nested on {MAX_DEPTH} levels. Data that itself has a key with `@` cannot be written, and there is no way
around it."""

_LIQUID: Final[list[tuple[str, str]]] = [
    (
        "{{ properties.email | downcase | strip }}",
        "a row: `properties.email: {to: customer.email, apply: downcase | strip}`",
    ),
    (
        "{{ properties.total | times: 100 | round }}",
        'a row: `properties.total: {to: metadata.cents, apply: "times: 100 | round"}`',
    ),
    (
        '{{ timestamp | date: "%Y-%m-%d" }}',
        "a row: `timestamp: {to: metadata.day, apply: \"date: '%Y-%m-%d'\"}`",
    ),
    (
        '{{ name | default: "Home" }}',
        "a row: `name: {to: metadata.page, apply: \"default: 'Home'\"}`",
    ),
    ("Viewed {{ name }} Page", 'a value of `set`: `{"@template": "Viewed {{name}} Page"}`'),
    (
        "{% if properties.email %}A{% else %}B{% endif %}",
        'a value of `set`: `{"@if": {blank: {"@path": $.properties.email}, then: A, else: B}}`',
    ),
]
"""Template -> what does the same here; a test reads the second ones as settings."""

_NO_LIQUID: Final = """\
Loops and filters of a value that is made of several have no counterpart: change the events first, with
[jq](../how-to/jq-pipelines.md). [Filters](filters.md) lists what `apply` knows."""


def page() -> str:
    """Return the page."""
    missing = DIRECTIVES.keys() ^ EXAMPLES.keys()
    if missing:
        raise ValueError(f"directives without examples, or the other way round: {missing}")
    links = ", ".join(f"[`{name}`](#{name[1:].lower()})" for name in DIRECTIVES)
    return page_of(
        "Directives",
        "voucherify_sync/expressions/directives.py",
        _INTRODUCTION,
        fenced(_EXAMPLE, "yaml"),
        _RULES,
        f"The directives: {links}.",
        *[_directive(name) for name in DIRECTIVES],
        "## Lists and objects",
        _examples(_OTHERS),
        "## Differences from Segment",
        "These results differ from those of Segment's own evaluation, on purpose:",
        table(
            ("value", "event", "gives", "what differs"),
            [
                (json_code(value), json_code(fields), evaluated(value, fields), words)
                for value, fields, words in _DIFFERENCES
            ],
        ),
        _SURPRISES,
        _LIMITS,
        "## Liquid",
        "Liquid templates (`@liquid`) are refused. These do the same:",
        table(("in Liquid", "here"), [(code(template), words) for template, words in _LIQUID]),
        _NO_LIQUID,
        "## What is refused",
        _REFUSED_WORDS,
        table(("value", "message"), [(json_code(value), _mistakes(value)) for value in _REFUSED]),
    )


def _directive(name: str) -> str:
    directive = DIRECTIVES[name]
    return f"## {name}\n\n{directive.help}\n\nTakes {directive.argument}.\n\n{_examples(EXAMPLES[name])}"


def _examples(examples: list[Example]) -> str:
    return table(
        ("value", "event", "gives"),
        [(json_code(value), json_code(fields), evaluated(value, fields)) for value, fields in examples],
    )


def evaluated(value: Any, fields: dict[str, Any]) -> str:
    """Return what the program makes of a value and an event, as a cell. Raises ValueError if it is refused."""
    mistakes: list[str] = []
    expression = compile_value(value, lambda _keys, sentence: mistakes.append(sentence))
    if mistakes:
        raise ValueError(f"{value}: {mistakes}")
    result = expression.read(fields, None)
    return "nothing" if result is MISSING else json_code(result)


def _mistakes(value: Any) -> str:
    mistakes: list[str] = []
    compile_value(value, lambda _keys, sentence: mistakes.append(sentence))
    if not mistakes:
        raise ValueError(f"{value} is not refused")
    return code("; ".join(mistakes))
