"""Make the page of settings and the default table from the types that the loader uses."""

from __future__ import annotations

from inspect import getdoc
from typing import Any, Final

from generating.markdown import code, fenced, marked, table
from generating.markdown import page as page_of
from voucherify_sync.fields import ADDRESS_FIELDS, CUSTOMER_TEXTS, ORDER_AMOUNTS, ORDER_STATUSES
from voucherify_sync.settings.template import plain, to_yaml
from voucherify_sync.settings.types import (
    DEFAULT_ROWS,
    ENTRIES,
    GROUP_ROWS,
    ORDER_ROWS,
    PAGE_ROWS,
    PERIODS_S,
    SECTIONS,
    Rate,
    Rows,
    Secret,
    Setting,
    TrackEntry,
    destinations_of,
    settings_of,
)

_INTRODUCTION: Final = """\
The settings file is YAML. `voucherify-sync init` writes one that names and explains every setting. The commands read
`./voucherify-sync.yaml`, or another file with `-c FILE`. Without a file the defaults apply.

- Any text may hold `${VARIABLE}` or `${VARIABLE:-default}`, read from the environment. `$$` is a dollar sign.
- The program reads `key` and `token` only when it makes a call. [Previews](../glossary.md#preview) need neither.
- The command line wins over the environment (see [commands](commands.md)), and the environment wins over the file.
- Unknown and repeated keys, anchors, aliases and tags are mistakes. `voucherify-sync check` shows all mistakes at once,
  and what is likely to be meant otherwise. `check --show` prints the effective settings.
- `tests:` holds [mapping tests](../how-to/ci-mapping-check.md)."""

_ENTRY_WORDS: Final = """\
An entry stands under the name of an event, or under a name with `*`, which matches any characters. An exact name wins
over a name with `*`. Of several names with `*`, the first one in the file counts. What an entry does not give is as in
`track`. An event without a name of its own goes by `track`, the name that is sent. Events without an entry are sent as
`track` says.

Its `mapping` and its `set` stand in place of those of `track`; its `add` stands beside that of `track`. `rename`
changes the name that is sent, not the name that other settings and options look at."""

_ENTRY_EXAMPLE: Final = """\
track:
  add: {metadata.replayed: true}
  events:
    Order Completed:
      mapping: {properties.order_id: metadata.order_id}
      extend_default: true
      add: {metadata.kind: order}
    Completed Order:
      rename: Order Completed
    "Product *":
      disabled: true"""

_ROWS: Final = """\
A [row](../glossary.md#row) is `source: destination`. A source may have a list of destinations. Rows apply in their
order. A row that does more with its value has keys:

| key | value | meaning |
|---|---|---|
| `to` | destination, or a list | where the value goes |
| `or` | source, or a list | further sources: the first one that is there and not null counts |
| `apply` | filters | what changes the value: see [filters](filters.md) |"""

_ROWS_EXAMPLE: Final = """\
identify:
  extend_default: true
  mapping:
    traits.plan: customer.metadata.plan
    traits.email: {to: customer.email, or: context.traits.email, apply: strip | downcase}
    traits.tier: {to: [customer.metadata.tier, customer.metadata.level], apply: "default: 'basic'"}"""

_MORE_THAN_ROWS: Final = """\
A value that is made of several values, or that depends on another one, is for `set`: see [directives](directives.md). A
`*` or a whole object as source can have no `apply`."""

_PATHS: Final = """\
- **Sources** name any value of the event, with dots: `traits.plan`, `timestamp`, `context.ip`. If a key itself has a
  dot, the whole key is tried first. `["odd key"]` and `[0]` are allowed, and so is a leading `$.`. `check` warns of a
  source that no event has, such as `trait.plan`.
- **An object** may be a source: `traits: customer.metadata` maps everything in it. A deeper row wins over it, and a
  later row wins over an earlier one. `traits.*: customer.metadata.*` maps every key; a `*` inside a name, as in
  `traits.a*`, stands for itself.
- **Destinations** are listed below. An object row or a `*` never fills `customer.id` or `customer.source_id`."""

_TYPES: Final[list[tuple[Any, str]]] = [
    (str, "text"),
    (Secret, "text, never shown"),
    (bool, "`true` or `false`"),
    (float, "share, such as `10%`"),
    (Rate, "calls per " + ", ".join(f"`{unit}`" for unit in PERIODS_S)),
    (list[str], "list of names"),
    (Rows, "[rows](#rows) of `source: destination`"),
    (dict[str, Any], "`destination: value`"),
    (dict[str, str], "`name: status`"),
    (dict[str, TrackEntry], "`name: entry`, see [entries](#entries-of-trackevents)"),
]
_WORDS_BY_NAME: Final = {
    "where": "[condition](conditions.md)",
    "set": "`destination:` [value](directives.md)",
}
"""Name of a setting -> what it takes, where that is more than its type tells."""


def page() -> str:
    """Return the page."""
    return page_of(
        "Settings",
        "voucherify_sync/settings/",
        _INTRODUCTION,
        *[part for section in SECTIONS for part in _section(section)],
        f"## Rows\n\n{_ROWS}",
        fenced(_ROWS_EXAMPLE, "yaml"),
        _MORE_THAN_ROWS,
        f"## Paths\n\n{_PATHS}",
        _destinations(),
        _default_table(),
        _other_default_tables(),
    )


def _section(section: str) -> list[str]:
    """Return the parts about a section; the entries of `track.events` follow `track`."""
    parts = [f"## {section}", marked(getdoc(SECTIONS[section]) or ""), _table(section)]
    if section == "track":
        entries = [f"### Entries of {ENTRIES}", _ENTRY_WORDS, fenced(_ENTRY_EXAMPLE, "yaml"), _table(ENTRIES)]
        return parts + entries
    return parts


def _table(section: str) -> str:
    rows = [
        (code(setting.name), _value(setting), _default(setting), marked(setting.help))
        for setting in settings_of(section).values()
    ]
    return table(("setting", "value", "default", "meaning"), rows)


def _value(setting: Setting) -> str:
    if setting.choices:
        return ", ".join(map(code, setting.choices))
    if setting.type is int:
        least, most = setting.bounds
        return f"number, at least {least}" if most is None else f"number, {least} to {most}"
    if setting.name in _WORDS_BY_NAME:
        return _WORDS_BY_NAME[setting.name]
    # A list, so that a type without words ends the program here and not, as StopIteration, a loop around it.
    return [words for type_, words in _TYPES if type_ == setting.type][0]  # noqa: RUF015


def _default(setting: Setting) -> str:
    default = setting.default
    if setting.section == ENTRIES and default is None and setting.name not in ("rename", "where"):
        return "as in `track`"
    if setting.name == "mapping":
        return "the [default table](#the-default-table)"
    if default is None or default in ([], {}):
        return "none"
    if isinstance(default, dict):
        return "<br>".join(code(f"{name}: {value}") for name, value in default.items())
    if isinstance(default, Secret):
        return code(default.reveal())
    return code(to_yaml(plain(default)).removesuffix("\n...\n").strip())


def _destinations() -> str:
    rows = [
        ("`event`", "text", "the name of a custom event, at most 300 characters; not in identify and group"),
        (", ".join(code(f"customer.{field}") for field in CUSTOMER_TEXTS), "text", "fields of the customer"),
        (
            "`customer.firstName`, `customer.lastName`",
            "text",
            "joined to `customer.name`, if nothing else fills it",
        ),
        (", ".join(code(f"customer.address.{field}") for field in ADDRESS_FIELDS), "text", "the address"),
        ("`customer.metadata.…`", "any", "metadata of the customer"),
        ("`metadata.…`", "any", "metadata of the event; not in identify and group"),
        (
            "`referral.code`, `referral.referrer_id`",
            "text",
            "not in identify and group; dropped without a code",
        ),
        ("`loyalty.code`", "text", "not in identify and group"),
        ("`source_id`", "text", "the id of the order; only in orders, as the next ones"),
        ("`status`", "text", f"one of {', '.join(map(code, ORDER_STATUSES))}; wins over `orders.events`"),
        (", ".join(map(code, ORDER_AMOUNTS)), "amount", "times `orders.minor_units`, exactly"),
        ("`items`", "list", "products as Segment has them, or items as Voucherify has them"),
        ("`customer.source_id`, `referrer.source_id`", "text", "all that orders take of a customer"),
    ]
    note = (
        "A number in a text field becomes its decimal text. `true`, a list or an object in a text field is dropped "
        "and counted, and so is a blank text in a field of the customer: it neither fills nor erases the field. A "
        "birthdate is a day of the calendar, written `YYYY-MM-DD`; a datetime is cut to its date, `YYYYMMDD` is read, "
        "and any other text is dropped and counted, because Voucherify would refuse the whole customer.\n\n"
        "At the first level of metadata a `null` counts as absent; deeper ones are sent. `identify.nulls: clear` sends "
        "it, to erase the key."
    )
    return f"## Destinations\n\n{table(('destination', 'type', 'meaning'), rows)}\n\n{note}"


def _default_table() -> str:
    rows = [
        (code(f"traits.{source}"), code(f"properties.{source}"), code(destination))
        for source, destination in DEFAULT_ROWS.items()
    ]
    note = (
        "The table applies if neither `mapping` nor `set` has an entry. `extend_default: true` keeps it beside them. "
        "The row `traits: customer` (or `properties: customer`) is the table in short; it also takes `birthdate` and "
        "whatever else has the name of a field of Voucherify, but never an id. A row to `customer.address` reads an "
        "address as the table does.\n\n"
        "Where `firstName`, `lastName` or `postalCode` is absent, null or blank, its row reads `first_name`, "
        "`last_name` or `postal_code`. This holds for rows of your own, too. Where both spellings hold a value, the "
        "second one is counted as not mapped.\n\n"
        "`properties.name` and `properties.description` are part of the table because they are part of that of "
        "Segment's classic destination: in a shop they hold the name and description of a product, so write your own "
        "rows for track events there, as `init` and `coverage` propose them, without these two."
    )
    return f"## The default table\n\n{note}\n\n{table(('identify', 'track', 'becomes'), rows)}"


def _other_default_tables() -> str:
    events = table(("page, screen", "becomes"), [(code(each), code(to)) for each, to in PAGE_ROWS.items()])
    groups = table(("group", "becomes"), [(code(each), code(to)) for each, to in GROUP_ROWS.items()])
    orders = table(
        ("orders", "becomes"),
        [
            (
                ", else ".join(map(code, [source, *getattr(target, "or_", ())])),
                code(destinations_of(target)[0]),
            )
            for source, target in ORDER_ROWS.items()
        ],
    )
    return (
        "**page and screen** fill no name of the customer: browsers put the title of the page into `properties.name`, "
        "so every visitor would be called after a page. Where both mail addresses are there, that of the properties "
        f"counts.\n\n{events}\n\n"
        "**group** keeps the id of the group and nothing else: the traits of a group are the name and the mail "
        "address of a company, not those of the person. Write rows for what you want to know of the company, such as "
        f"`traits.name: customer.metadata.company`.\n\n{groups}\n\n"
        "**orders** also keep the time of the first event of each order, as `metadata.occurred_at`. `properties.total` "
        "counts only where no item has a price: it holds shipping and tax, and Voucherify's amount is the sum of the "
        "items. A row of your own to `amount` is always sent. In each product, the first of `product_id`, `id` and "
        "`sku` names it; `quantity`, `price` and `name` are read, too. Rows of `orders.mapping` replace this table, "
        f"`orders.set` does not.\n\n{orders}"
    )
