"""The settings: each is described once, by the name, type, default and help of a field.

The loader, `check`, the file that `init` writes, the JSON Schema and the reference follow from these fields.
"""

from __future__ import annotations

from functools import cache
from types import NoneType
from typing import Annotated, Any, ClassVar, Final, Literal, get_args, get_type_hints

import msgspec
from msgspec import Meta, Struct, field, structs

from voucherify_sync.events import Json

DEFAULT_ROWS: Final = {
    "name": "customer.name",
    "firstName": "customer.firstName",
    "lastName": "customer.lastName",
    "email": "customer.email",
    "description": "customer.description",
    "phone": "customer.phone",
    "address.city": "customer.address.city",
    "address.state": "customer.address.state",
    "address.street": "customer.address.line_1",
    "address.country": "customer.address.country",
    "address.postalCode": "customer.address.postal_code",
    "metadata": "customer.metadata",
}
"""The default table, that of Segment's classic Voucherify destination: source below `traits` or `properties` ->
destination."""

IDENTIFY_ROWS: Final = {f"traits.{source}": destination for source, destination in DEFAULT_ROWS.items()}
"""The rows of identify events, unless the settings say otherwise."""

TRACK_ROWS: Final = {f"properties.{source}": destination for source, destination in DEFAULT_ROWS.items()}
"""The rows of track events, unless the settings say otherwise."""

OF_PRODUCTS: Final = {source: TRACK_ROWS[source] for source in ("properties.name", "properties.description")}
"""The rows that, in a shop, give customers the names and the descriptions of products."""

SAFE_TRACK_ROWS: Final = {
    source: destination for source, destination in TRACK_ROWS.items() if source not in OF_PRODUCTS
}
"""The rows of track events that a settings file should have."""

PAGE_ROWS: Final = {
    "context.traits.email": "customer.email",
    "properties.email": "customer.email",
    "properties.metadata": "metadata",
    "properties.referral.code": "referral.code",
    "properties.referral.referrer_id": "referral.referrer_id",
    "properties.loyalty.code": "loyalty.code",
}
"""The rows of page and screen events. None fills the customer's name: browsers put the page's title into
`properties.name`."""

GROUP_ROWS: Final = {"groupId": "customer.metadata.group_id"}
"""The rows of group events, whose traits hold the name and the mail of a company."""

REPLAY_ROWS: Final = {"messageId": "metadata.segment_message_id", "timestamp": "metadata.occurred_at"}
"""Rows that every replay of track events is better with: they find an event in doubt, and keep its time."""


class RowTarget(Struct, frozen=True):
    """What a row does with the value of its source, where that is more than putting it at a destination.

    Attributes:
        to: destinations.
        or_: sources that are read in this order where the row's own holds nothing or null.
        apply: filters, as they are written; None for none.
    """

    to: list[str]
    or_: list[str] = field(default_factory=list)
    apply: str | None = None


Rows = dict[str, list[str] | RowTarget]
"""Source path in the event -> destination paths in the request, in the file's order; checked, not parsed."""


def destinations_of(target: list[str] | RowTarget) -> list[str]:
    """Return the destinations of a row."""
    return target.to if isinstance(target, RowTarget) else target


def _rows(table: dict[str, str]) -> Rows:
    return {source: [destination] for source, destination in table.items()}


ORDER_ROWS: Final[Rows] = {
    "properties.order_id": RowTarget(["source_id"], ["properties.orderId"]),
    "properties.currency": ["metadata.currency"],
    "properties.coupon": ["metadata.coupon"],
    "properties.products": ["items"],
    "properties.total": RowTarget(["amount"], ["properties.revenue"]),
}
"""The rows of order events. With them the time of the order's first event goes to `metadata.occurred_at`.

The amount is sent only where no item has a price: Segment's total holds shipping and tax; Voucherify sums the items.
"""

DEFAULT_TABLES: Final[dict[str, Rows]] = {
    "identify": _rows(IDENTIFY_ROWS),
    "track": _rows(TRACK_ROWS),
    "page": _rows(PAGE_ROWS),
    "screen": _rows(PAGE_ROWS),
    "group": _rows(GROUP_ROWS),
    "orders": ORDER_ROWS,
}
"""Section -> the rows that apply where the settings have neither rows nor `set`; `orders.set` replaces none."""


ORDER_EVENTS: Final = {
    "Order Completed": "PAID",
    "Completed Order": "PAID",
    "Order Updated": "keep",
    "Order Refunded": "CANCELED",
    "Order Cancelled": "CANCELED",
}
"""Names of the events that are orders, and the status that they give."""

KEEP: Final = "keep"
"""In the place of a status: the event leaves it as it is."""


OnDoubt = Literal["verify", "hold", "resend", "accept"]
"""What becomes of a custom event whose answer was lost: see the help of `delivery.on_doubt`."""

PERIODS_S: Final = {"s": 1, "min": 60, "h": 3600}
"""Unit of a rate as it is written -> its seconds."""

_MAPPING_HELP: Final = (
    "Rows of source: destination, or of source: {to: destination, or: other source, apply: filters}. Without rows, the "
    "default table applies, which is shown here. "
    "With any row of your own, the default rows no longer apply; extend_default: true keeps them."
)
_TRACK_MAPPING_HELP: Final = (
    "Rows, as in identify. Without rows, the default table applies: the rows to customer that are shown here, "
    "and properties.name: customer.name and properties.description: customer.description, which in a shop give "
    "customers the names and descriptions of products. "
    "With any row of your own, the default rows no longer apply; extend_default: true keeps them."
)


class Rate(Struct, frozen=True):
    """Number of calls in a period, such as 90/min.

    Attributes:
        calls: at least 1.
        period_s: seconds: 1, 60 or 3600.
    """

    calls: int
    period_s: int

    def __str__(self) -> str:
        unit = next(unit for unit, seconds in PERIODS_S.items() if seconds == self.period_s)
        return f"{self.calls}/{unit}"


class Secret:
    """A text that never shows itself: not in a repr, a message, a log or an f-string."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text, for the one place that sends it."""
        return self._text

    def __repr__(self) -> str:
        return "Secret('***')"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other.reveal() == self._text

    def __hash__(self) -> int:
        return hash(self._text)


_EXTEND_HELP: Final = (
    "true: the rows of mapping are added to the default table. false: they replace it. If it is not set, they replace "
    "it, and `check` and previews name the fields that are no longer filled."
)


_NameFromParts = Annotated[
    bool,
    Meta(
        description="Where customer.name is not filled, join firstName and lastName of the event, also without rows "
        "for them. false: only what rows or set put into customer.firstName and customer.lastName is joined."
    ),
]
_Set = Annotated[
    dict[str, Any],
    Meta(
        description="Values that are made of others, as destination: value, with Segment's mapping directives. They "
        "win over rows. With an entry and without rows, the default table no longer applies; extend_default: true "
        "keeps it."
    ),
]
_Add = Annotated[
    dict[str, Any],
    Meta(
        description="Constants, as destination: value. They are set last.",
        examples=[{"customer.metadata.imported_from": "segment"}],
    ),
]
_Where = Annotated[
    str | None,
    Meta(
        description="Send only events for which this condition holds. It is written as a trigger at Segment.",
    ),
]
_Nulls = Annotated[
    Literal["omit", "clear"],
    Meta(
        description="Traits that are null: leave the field as it is (omit), or erase it at Voucherify (clear)."
    ),
]
_UnmappedTraits = Annotated[
    Literal["drop", "metadata"],
    Meta(description="Traits that are not mapped: drop them, or keep them in customer.metadata."),
]
_UnmappedProperties = Annotated[
    Literal["drop", "metadata"],
    Meta(description="Properties that are not mapped: drop them, or keep them in the event's metadata."),
]
_AddToEvents = Annotated[
    dict[str, Any],
    Meta(
        description="Constants, as destination: value. They are set last. "
        "With one like this, earning rules can ignore the events of a replay.",
        examples=[{"metadata.replayed": True}],
    ),
]


class Api(Struct, frozen=True, forbid_unknown_fields=True):
    """Address and credentials of the Voucherify project. key and token are read only when a call is made."""

    key: Annotated[Secret, Meta(description="Application ID of the project, sent as X-App-Id.")] = field(
        default_factory=lambda: Secret("${VOUCHERIFY_API_KEY}")
    )
    token: Annotated[
        Secret,
        Meta(description="Secret Key of the project, sent as X-App-Token. Keep it in the environment."),
    ] = field(default_factory=lambda: Secret("${VOUCHERIFY_API_TOKEN}"))
    token_file: Annotated[
        str | None,
        Meta(
            description="File whose first line is the Secret Key, instead of token.",
            examples=["/run/secrets/voucherify-token"],
        ),
    ] = None
    url: Annotated[
        str,
        Meta(
            description="Base URL: https://api.voucherify.io, https://us1.api.voucherify.io, "
            "https://as1.api.voucherify.io or a dedicated one; empty: the first. "
            "http:// only for a server on this machine."
        ),
    ] = "https://api.voucherify.io"
    version: Annotated[
        str,
        Meta(
            description="Value of the header X-Voucherify-API-Version; latest, or nothing, sends no such header."
        ),
    ] = "latest"


class Identify(Struct, frozen=True, forbid_unknown_fields=True):
    """Identify events. Each one becomes a customer update."""

    disabled: Annotated[bool, Meta(description="Skip identify events.")] = False
    where: Annotated[_Where, Meta(examples=['traits.plan = "premium"'])] = None
    mapping: Annotated[Rows, Meta(description=_MAPPING_HELP, examples=[IDENTIFY_ROWS])] = field(
        default_factory=dict
    )
    extend_default: Annotated[bool | None, Meta(description=_EXTEND_HELP, examples=[True])] = None
    set: Annotated[
        _Set,
        Meta(
            examples=[
                {"customer.email": {"@case": {"operator": "lower", "value": {"@path": "$.traits.email"}}}}
            ]
        ),
    ] = field(default_factory=dict)
    add: _Add = field(default_factory=dict)
    unmapped_traits: _UnmappedTraits = "drop"
    nulls: _Nulls = "omit"
    name_from_parts: _NameFromParts = True
    context_traits: Annotated[
        Literal["fallback", "ignore"],
        Meta(
            description="Where traits are missing or empty, use context.traits in their place (fallback), as events "
            "of RudderStack need it; or do not (ignore)."
        ),
    ] = "fallback"

    @property
    def unmapped(self) -> str:
        """What becomes of values that no row reads."""
        return self.unmapped_traits


class TrackEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of the track events of one name. What is not given here is as in track."""

    disabled: Annotated[bool, Meta(description="Skip these events.")] = False
    rename: Annotated[
        str | None,
        Meta(
            description="The name that is sent, unless a row, set or add fills event.",
            examples=["Order Completed"],
        ),
    ] = None
    where: Annotated[
        _Where,
        Meta(
            description="A condition beside that of track: both must hold.",
            examples=["properties.total > 20"],
        ),
    ] = None
    mapping: Annotated[Rows | None, Meta(description="Rows in place of those of track.")] = None
    extend_default: Annotated[bool | None, Meta(description=_EXTEND_HELP)] = None
    set: Annotated[dict[str, Any] | None, Meta(description="Values in place of those of track.set.")] = None
    add: Annotated[
        dict[str, Any], Meta(description="Constants beside those of track.add; they win over these.")
    ] = field(default_factory=dict)
    unmapped_properties: Annotated[Literal["drop", "metadata"] | None, Meta(description="As in track.")] = (
        None
    )
    name_from_parts: Annotated[bool | None, Meta(description="As in track.")] = None


class Track(Struct, frozen=True, forbid_unknown_fields=True):
    """Track events. Each one becomes a custom event of its customer."""

    disabled: Annotated[bool, Meta(description="Skip track events.")] = False
    events_filter: Annotated[
        list[str],
        Meta(
            description="Exact names of the events to send; a * matches any characters. Empty: send all events.",
            examples=[["Order Completed", "Subscription *"]],
        ),
    ] = field(default_factory=list)
    events_exclude: Annotated[
        list[str],
        Meta(description="Names of events not to send, in the same form.", examples=[["Product Viewed"]]),
    ] = field(default_factory=list)
    where: Annotated[_Where, Meta(examples=["properties.total > 20"])] = None
    events: Annotated[
        dict[str, TrackEntry],
        Meta(
            description="Settings for events of one name; a * matches any characters, and an exact name wins. Each may "
            "have disabled, rename, where, mapping, extend_default, set, add, unmapped_properties and "
            "name_from_parts. Events of other names are sent as track says.",
            examples=[
                {
                    "Order Completed": {"add": {"metadata.kind": "order"}},
                    "Order *": {"disabled": True},
                    "Completed Order": {"rename": "Order Completed"},
                }
            ],
        ),
    ] = field(default_factory=dict)
    mapping: Annotated[
        Rows,
        Meta(
            description=_TRACK_MAPPING_HELP,
            examples=[SAFE_TRACK_ROWS | REPLAY_ROWS],
        ),
    ] = field(default_factory=dict)
    extend_default: Annotated[bool | None, Meta(description=_EXTEND_HELP, examples=[False])] = None
    set: Annotated[
        _Set,
        Meta(examples=[{"event": {"@template": "{{event}} ({{properties.channel}})"}}]),
    ] = field(default_factory=dict)
    add: _AddToEvents = field(default_factory=dict)
    unmapped_properties: _UnmappedProperties = "drop"
    name_from_parts: _NameFromParts = True

    @property
    def unmapped(self) -> str:
        """What becomes of values that no row reads."""
        return self.unmapped_properties

    def for_entry(self, entry: TrackEntry) -> Track:
        """Return the settings of events for which there is an entry; its condition is asked beside the one here."""
        given = {
            name: value
            for name in ("mapping", "extend_default", "set", "unmapped_properties", "name_from_parts")
            if (value := getattr(entry, name)) is not None
        }
        return structs.replace(self, **given, add=self.add | entry.add)


class Page(Struct, frozen=True, forbid_unknown_fields=True):
    """Page events. Each one becomes a custom event of its customer. Websites make many: `plan` shows what they cost."""

    disabled: Annotated[bool, Meta(description="Skip page events; false sends them.")] = True
    where: Annotated[_Where, Meta(examples=['properties.path = "/pricing"'])] = None
    mapping: Annotated[Rows, Meta(description=_MAPPING_HELP, examples=[PAGE_ROWS])] = field(
        default_factory=dict
    )
    extend_default: Annotated[bool | None, Meta(description=_EXTEND_HELP, examples=[True])] = None
    set: Annotated[_Set, Meta(examples=[{"event": {"@template": "Viewed {{name}} Page"}}])] = field(
        default_factory=dict
    )
    add: _AddToEvents = field(default_factory=dict)
    unmapped_properties: _UnmappedProperties = "drop"

    @property
    def unmapped(self) -> str:
        """What becomes of values that no row reads."""
        return self.unmapped_properties


class Screen(Page, frozen=True, forbid_unknown_fields=True):
    """Screen events, the page events of an app. Each one becomes a custom event of its customer."""

    disabled: Annotated[bool, Meta(description="Skip screen events; false sends them.")] = True
    where: Annotated[_Where, Meta(examples=['name = "Checkout"'])] = None
    set: Annotated[_Set, Meta(examples=[{"event": {"@template": "Viewed {{name}} Screen"}}])] = field(
        default_factory=dict
    )


class Group(Struct, frozen=True, forbid_unknown_fields=True):
    """Group events. Each one becomes a customer update. Their traits are those of a company, not of the person."""

    disabled: Annotated[bool, Meta(description="Skip group events; false sends them.")] = True
    where: Annotated[_Where, Meta(examples=['traits.plan = "enterprise"'])] = None
    mapping: Annotated[Rows, Meta(description=_MAPPING_HELP, examples=[GROUP_ROWS])] = field(
        default_factory=dict
    )
    extend_default: Annotated[bool | None, Meta(description=_EXTEND_HELP, examples=[True])] = None
    set: Annotated[
        _Set, Meta(examples=[{"customer.metadata.company": {"@template": "{{traits.name}} ({{groupId}})"}}])
    ] = field(default_factory=dict)
    add: _Add = field(default_factory=dict)
    unmapped_traits: _UnmappedTraits = "drop"
    nulls: _Nulls = "omit"

    @property
    def unmapped(self) -> str:
        """What becomes of values that no row reads."""
        return self.unmapped_traits


class Orders(Struct, frozen=True, forbid_unknown_fields=True):
    """Track events that are orders of the past. All events of one order become one order; a call imports 2,000 of them.

    Voucherify runs no order events, webhooks, distributions or "order paid" earning rules for them. A customer who
    enters an active segment by them can still get messages or points. The API cannot delete orders.
    """

    disabled: Annotated[
        bool, Meta(description="Send these events as custom events, as track says; false imports orders.")
    ] = True
    events: Annotated[
        dict[str, str],
        Meta(
            description="Names of track events that are orders, and the status that they give: CREATED, PAID, "
            "CANCELED, FULFILLED, or keep to leave it as it is. A * in a name matches any characters, and an exact "
            "name wins. Given, it replaces these.",
            examples=[ORDER_EVENTS],
        ),
    ] = field(default_factory=lambda: dict(ORDER_EVENTS))
    instead_of_events: Annotated[
        bool, Meta(description="Do not send such an event as a custom event, too.")
    ] = True
    products: Annotated[
        Literal["reference", "upsert", "none"],
        Meta(
            description="Items refer to products of Voucherify by their ids (reference), also create or update these "
            "with name and price (upsert), or are not sent, only the amount (none)."
        ),
    ] = "reference"
    minor_units: Annotated[
        int,
        Meta(
            ge=1,
            description="Amounts and prices of the archive are multiplied by this: 100 for EUR and USD, 1 for JPY, "
            "1000 for KWD.",
        ),
    ] = 100
    where: Annotated[_Where, Meta(examples=['properties.test != "yes"'])] = None
    mapping: Annotated[
        Rows,
        Meta(
            description="Rows. Destinations are source_id, status, amount, initial_amount, discount_amount, items, "
            "customer.source_id, referrer.source_id and metadata. With any row of your own, the default rows no longer "
            "apply; extend_default: true keeps them.",
            examples=[{"properties.affiliation": "metadata.affiliation"}],
        ),
    ] = field(default_factory=dict)
    extend_default: Annotated[bool | None, Meta(description=_EXTEND_HELP, examples=[True])] = None
    set: Annotated[
        dict[str, Any],
        Meta(
            description="Values that are made of others, as in identify. Here they never replace the default table.",
            examples=[{"metadata.shop": {"@path": "$.context.app.name"}}],
        ),
    ] = field(default_factory=dict)
    add: Annotated[
        dict[str, Any],
        Meta(
            description="Constants, as destination: value. They are set last.",
            examples=[{"metadata.replayed": True}],
        ),
    ] = field(default_factory=dict)
    unmapped: ClassVar[str] = "drop"


SectionSettings = Identify | Track | Page | Screen | Group | Orders
"""Settings of events of one type, of one name, or of those that are orders."""


class Personas(Struct, frozen=True, forbid_unknown_fields=True):
    """Computed traits and audiences, which identify events bring along."""

    disabled: Annotated[
        bool, Meta(description="Do not copy them to customer.metadata.<computation_key>.")
    ] = False


class Identity(Struct, frozen=True, forbid_unknown_fields=True):
    """Ids of customers."""

    ignore_anonymous: Annotated[bool, Meta(description="Skip events without a userId.")] = False


class Delivery(Struct, frozen=True, forbid_unknown_fields=True):
    """How requests are sent."""

    customers: Annotated[
        Literal["each", "bulk"],
        Meta(
            description="Send each identify in a call of its own (each), or fold all by customer "
            "into bulk requests (bulk)."
        ),
    ] = "each"
    workers: Annotated[int, Meta(ge=1, le=256, description="Maximum number of requests in flight.")] = 16
    rate: Annotated[
        Rate | None,
        Meta(
            description="Highest rate of calls, per s, min or h; default: what the API's headers allow.",
            examples=["90/min"],
        ),
    ] = None
    reserve: Annotated[
        float, Meta(ge=0, lt=1, description="Share of the API's limit that is left for other clients.")
    ] = 0.10
    max_calls: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(
            description="Stop cleanly after this number of calls; default: no such limit.",
            examples=[5000],
        ),
    ] = None
    on_doubt: Annotated[
        OnDoubt,
        Meta(
            description="A custom event whose answer was lost: look it up (verify), leave it in doubt (hold), "
            "send it again (resend), or count it as delivered (accept)."
        ),
    ] = "verify"
    ledger: Annotated[
        str | None,
        Meta(
            description="Ledger: the file that remembers what was sent; default: one per URL and key "
            "in the state directory of the user.",
            examples=["voucherify-sync.ledger"],
        ),
    ] = None


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """The settings file."""

    api: Api = field(default_factory=Api)
    identify: Identify = field(default_factory=Identify)
    track: Track = field(default_factory=Track)
    page: Page = field(default_factory=Page)
    screen: Screen = field(default_factory=Screen)
    group: Group = field(default_factory=Group)
    orders: Orders = field(default_factory=Orders)
    personas: Personas = field(default_factory=Personas)
    identity: Identity = field(default_factory=Identity)
    delivery: Delivery = field(default_factory=Delivery)

    @property
    def has_first_pass(self) -> bool:
        """Whether customers or orders are folded, so that the input is read twice."""
        return self.delivery.customers == "bulk" or not self.orders.disabled


def description_of(section: type) -> str:
    """Return what a section of the settings is, in one line."""
    return " ".join((section.__doc__ or "").split())


class Credentials(Struct, frozen=True):
    """What a call needs, resolved.

    Attributes:
        app_id: sent as X-App-Id.
        token: sent as X-App-Token.
        url: base URL without a trailing slash and without /v1.
        version: the API version header's value, or None to send none.
    """

    app_id: str
    token: Secret
    url: str
    version: str | None


class Setting(Struct, frozen=True):
    """One setting.

    Attributes:
        section: the key it lies under.
        name: its own key.
        type: of its value, without annotations and without None, such as bool, Rate or Rows.
        default: as in the types; None where there is none.
        schema: JSON Schema of its value as msgspec makes it of the field.
    """

    section: str
    name: str
    type: Any
    default: Any
    schema: Json

    @property
    def path(self) -> str:
        """Its name in messages, such as track.events_filter."""
        return f"{self.section}.{self.name}"

    @property
    def help(self) -> str:
        """What it is for, in a sentence."""
        return str(self.schema["description"])

    @property
    def example(self) -> Any:
        """A value as it stands in the file, or None."""
        return next(iter(self.schema.get("examples", [])), None)

    @property
    def choices(self) -> tuple[str, ...]:
        """The only words that it takes, if there are any."""
        return tuple(self.schema.get("enum", ()))

    @property
    def bounds(self) -> tuple[int | None, int | None]:
        """The least and the largest number that it takes, each None where there is no such bound."""
        return self.schema.get("minimum"), self.schema.get("maximum")


SECTIONS: Final[dict[str, type[Struct]]] = get_type_hints(Settings)
"""The sections of the file: their types by name, in order. The docstring of a type is the help of its section."""


ENTRIES: Final = "track.events"
"""The setting that holds settings of its own, below the names of events."""


@cache
def settings_of(section: str) -> dict[str, Setting]:
    """Return the settings of a section, or those of an entry of `ENTRIES`, by name, in the order of the types."""
    cls = TrackEntry if section == ENTRIES else SECTIONS[section]
    defaults = cls()
    _, types = msgspec.json.schema_components([cls], schema_hook=lambda _: {"type": "string"})
    settings: dict[str, Setting] = {}
    for name, schema in types[cls.__name__]["properties"].items():
        for kind in schema.pop("anyOf", ()):  # the type, and the null that leaves a setting out
            schema.update(kind if kind != {"type": "null"} else {})
        schema.pop("default", None)  # it is not as it is written in a file
        hint = get_type_hints(cls)[name]
        if NoneType in get_args(hint):
            hint = next(kind for kind in get_args(hint) if kind is not NoneType)
        settings[name] = Setting(section, name, hint, getattr(defaults, name), schema)
    return settings


def all_settings() -> list[Setting]:
    """Return every setting, in the order of the types."""
    return [setting for section in SECTIONS for setting in settings_of(section).values()]
