"""The default table of Segment's classic Voucherify destination, one for traits and for properties. Data only.

Every setting, described once: name, type, default, help. Loader, template and schema follow from here.

The settings' own types -> a flat description of each setting, for loader, template and schema.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, auto
from functools import cache
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct, field, inspect

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
"""Source below `traits` or `properties` -> destination."""

IDENTIFY_ROWS: Final = {f"traits.{source}": destination for source, destination in DEFAULT_ROWS.items()}
"""What an identify event gives, unless the settings say otherwise."""

TRACK_ROWS: Final = {f"properties.{source}": destination for source, destination in DEFAULT_ROWS.items()}
"""What a track event gives, unless the settings say otherwise."""


Rows = dict[str, list[str]]
"""Source path in the event -> destination paths in the request, in the file's order; checked, not parsed."""

PERIODS_S = {"s": 1, "min": 60, "h": 3600}
"""Unit of a rate as it is written -> its seconds."""


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


class Api(Struct, frozen=True, forbid_unknown_fields=True):
    """Address and credentials of the Voucherify project. key and token are read only when a call is made."""

    key: Annotated[Secret, Meta(description="Application ID of the project, sent as X-App-Id.")] = Secret(
        "${VOUCHERIFY_API_KEY}"
    )
    token: Annotated[
        Secret,
        Meta(description="Secret Key of the project, sent as X-App-Token. Keep it in the environment."),
    ] = Secret("${VOUCHERIFY_API_TOKEN}")
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
            "https://as1.api.voucherify.io or a dedicated one. http:// only for a server on this machine."
        ),
    ] = "https://api.voucherify.io"
    version: Annotated[
        str, Meta(description="Value of the header X-Voucherify-API-Version; latest sends no such header.")
    ] = "latest"


class Identify(Struct, frozen=True, forbid_unknown_fields=True):
    """Identify events. Each one becomes a customer update."""

    disabled: Annotated[bool, Meta(description="Skip identify events.")] = False
    mapping: Annotated[
        Rows,
        Meta(
            description="Rows of source: destination. Without rows, the default table applies, which is shown here. "
            "With any row of your own, the default rows no longer apply; extend_default: true keeps them.",
            examples=[IDENTIFY_ROWS],
        ),
    ] = field(default_factory=dict)
    extend_default: Annotated[
        bool, Meta(description="Add the rows of mapping to the default table instead of replacing it.")
    ] = False
    add: Annotated[
        dict[str, Any],
        Meta(
            description="Constants, as destination: value. They are set last.",
            examples=[{"customer.metadata.imported_from": "segment"}],
        ),
    ] = field(default_factory=dict)
    unmapped_traits: Annotated[
        Literal["drop", "metadata"],
        Meta(description="Traits that are not mapped: drop them, or keep them in customer.metadata."),
    ] = "drop"
    nulls: Annotated[
        Literal["omit", "clear"],
        Meta(
            description="Traits that are null: leave the field as it is (omit), or erase it at Voucherify (clear)."
        ),
    ] = "omit"


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
    mapping: Annotated[
        Rows,
        Meta(
            description="Rows of source: destination. Without rows, the default table applies, which is shown here. "
            "With any row of your own, the default rows no longer apply; extend_default: true keeps them.",
            examples=[TRACK_ROWS],
        ),
    ] = field(default_factory=dict)
    extend_default: Annotated[
        bool, Meta(description="Add the rows of mapping to the default table instead of replacing it.")
    ] = False
    add: Annotated[
        dict[str, Any],
        Meta(
            description="Constants, as destination: value. They are set last. "
            "With one like this, earning rules can ignore the events of a replay.",
            examples=[{"metadata.replayed": True}],
        ),
    ] = field(default_factory=dict)
    unmapped_properties: Annotated[
        Literal["drop", "metadata"],
        Meta(description="Properties that are not mapped: drop them, or keep them in the event's metadata."),
    ] = "drop"


class Personas(Struct, frozen=True, forbid_unknown_fields=True):
    """Computed traits and audiences."""

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
        Meta(description="Stop cleanly after this number of calls; default: no such limit.", examples=[5000]),
    ] = None
    on_doubt: Annotated[
        Literal["verify", "hold", "resend", "accept"],
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
    personas: Personas = field(default_factory=Personas)
    identity: Identity = field(default_factory=Identity)
    delivery: Delivery = field(default_factory=Delivery)


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


class Form(Enum):
    """How the value of a setting is written."""

    TEXT = auto()
    SECRET = auto()
    FLAG = auto()
    COUNT = auto()
    SHARE = auto()
    RATE = auto()
    CHOICE = auto()
    NAMES = auto()
    ROWS = auto()
    CONSTANTS = auto()


class Setting(Struct, frozen=True):
    """One setting.

    Attributes:
        section: the key it lies under.
        name: its own key.
        form: how its value is written.
        help: what it is for, in a sentence.
        default: as in the types; None where there is nothing by default.
        example: a value as it stands in the file, or None.
        choices: the words of a CHOICE.
        at_least: lower bound of a number, or None.
        at_most: upper bound of a number, or None.
    """

    section: str
    name: str
    form: Form
    help: str
    default: Any
    example: Any = None
    choices: tuple[str, ...] = ()
    at_least: int | None = None
    at_most: int | None = None

    @property
    def path(self) -> str:
        """Its name in messages, such as track.events_filter."""
        return f"{self.section}.{self.name}"


class Section(Struct, frozen=True):
    """A group of settings.

    Attributes:
        name: its key.
        cls: its type.
        help: what it is for.
        settings: its settings by name, in the order of the types.
    """

    name: str
    cls: type[Struct]
    help: str
    settings: dict[str, Setting]


@cache
def sections() -> dict[str, Section]:
    """Return all sections by name, in the order of the types."""
    root = inspect.type_info(Settings)
    assert isinstance(root, inspect.StructType)  # noqa: S101  # a fact of our own types, for the type checker
    return {field.name: _section(field.name, field.type) for field in root.fields}


def all_settings() -> Iterator[Setting]:
    """Yield every setting, in the order of the types."""
    for section in sections().values():
        yield from section.settings.values()


def _section(name: str, kind: inspect.Type) -> Section:
    assert isinstance(kind, inspect.StructType)  # noqa: S101  # as above
    settings = {field.name: _setting(name, field) for field in kind.fields}
    return Section(name, kind.cls, (kind.cls.__doc__ or "").strip(), settings)


def _setting(section: str, field: inspect.Field) -> Setting:
    extra: dict[str, Any] = {}
    kind = _bare(field.type, extra)
    return Setting(
        section=section,
        name=field.name,
        form=_form(kind),
        help=extra["description"],
        default=field.default if field.default is not msgspec.NODEFAULT else None,
        example=next(iter(extra.get("examples", [])), None),
        choices=tuple(str(word) for word in getattr(kind, "values", ())),
        at_least=getattr(kind, "ge", None),
        at_most=getattr(kind, "le", None),
    )


def _bare(kind: inspect.Type, extra: dict[str, Any]) -> inspect.Type:
    """Take a type out of its annotations, which go into `extra`, and out of its `| None`."""
    if isinstance(kind, inspect.Metadata):
        extra.update(kind.extra_json_schema or {})
        return _bare(kind.type, extra)
    if isinstance(kind, inspect.UnionType):
        return _bare(next(each for each in kind.types if not isinstance(each, inspect.NoneType)), extra)
    return kind


def _form(kind: inspect.Type) -> Form:
    match kind:
        case inspect.CustomType(cls=cls) if cls is Secret:
            return Form.SECRET
        case inspect.StructType(cls=cls) if cls is Rate:
            return Form.RATE
        case inspect.DictType(value_type=inspect.AnyType()):
            return Form.CONSTANTS
    return _SIMPLE_FORMS[type(kind)]


_SIMPLE_FORMS: dict[type[inspect.Type], Form] = {
    inspect.StrType: Form.TEXT,
    inspect.BoolType: Form.FLAG,
    inspect.IntType: Form.COUNT,
    inspect.FloatType: Form.SHARE,
    inspect.LiteralType: Form.CHOICE,
    inspect.ListType: Form.NAMES,
    inspect.DictType: Form.ROWS,
}
