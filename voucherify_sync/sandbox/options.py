"""The options of the sandbox: where it listens, its limits, and behaviours of the API that no document settles."""

from __future__ import annotations

from collections.abc import Sequence
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct

from voucherify_sync.errors import UsageProblem
from voucherify_sync.text import did_you_mean, similar


class _MetadataDefinition(Struct):
    """What a schema may say of one key of the metadata; the API shows more."""

    type: Literal["string", "number", "boolean", "date", "datetime", "geopoint", "image_url", "object"] = (
        "string"
    )
    array: bool = False
    optional: bool = True
    deleted: bool = False
    objectType: str | None = None  # noqa: N815 - the API's name
    eq: list[Any] | None = None
    ne: list[Any] | None = None
    lt: float | None = None
    lte: float | None = None
    gt: float | None = None
    gte: float | None = None
    minLength: int | None = None  # noqa: N815
    maxLength: int | None = None  # noqa: N815
    exactLength: int | None = None  # noqa: N815


class _MetadataSchema(Struct):
    """What the sandbox reads of a metadata schema."""

    related_object: str
    properties: dict[str, _MetadataDefinition] = {}
    allow_defined_only: bool | None = None


class SandboxOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """How the stand-in behaves.

    The first sentence of a description stands in the help of the command line, all of it in the documentation. What
    a description calls undocumented is a choice, not a fact about Voucherify.
    """

    host: Annotated[str, Meta(description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="TCP port; 0 takes a free one.")] = 0
    app_id: Annotated[
        str | None,
        Meta(description="The only Application ID accepted. Without it any is accepted that is not empty."),
    ] = None
    token: Annotated[
        str | None,
        Meta(description="The only Secret Key accepted. Without it any is accepted that is not empty."),
    ] = None
    limit: Annotated[
        str | None,
        Meta(
            description="API calls allowed, such as 100/min, 2000/h or 100/2s. Without it nothing is limited, and no "
            "answer has rate headers."
        ),
    ] = None
    bulk_limit: Annotated[
        str | None,
        Meta(
            description="Bulk requests allowed, which are counted apart from other calls. See `bulk_bucket` and "
            "`order_import_bucket`."
        ),
    ] = None
    cycle_limit: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(
            description="API calls allowed in a billing cycle of 30 days. Bulk requests do not count. Calls over it "
            "are answered with 429 and X-Rate-Limit-Type: api_calls_cycle."
        ),
    ] = None
    window: Annotated[
        Literal["fixed", "sliding"],
        Meta(
            description="How a limit is counted (undocumented). A fixed window begins with its first call and frees "
            "all calls at its end; a sliding one frees each call a period after it came."
        ),
    ] = "fixed"
    bulk_bucket: Annotated[
        Literal["bulk", "ordinary"],
        Meta(description="Which limit a bulk request of customers counts in (undocumented)."),
    ] = "bulk"
    poll_bucket: Annotated[
        Literal["ordinary", "bulk"],
        Meta(description="Which limit a call for an asynchronous action counts in (undocumented)."),
    ] = "ordinary"
    auth_error_rate_headers: Annotated[
        bool, Meta(description="A 401 carries the rate headers, too (undocumented).")
    ] = True
    unknown_api_version: Annotated[
        Literal["accept", "reject"],
        Meta(
            description="A call whose X-Voucherify-API-Version is no version of the API (undocumented). `reject` "
            "answers 400."
        ),
    ] = "accept"
    latency_s: Annotated[
        float, Meta(ge=0, le=86_400, description="Seconds between processing a call and answering it.")
    ] = 0.0
    keep_alive_s: Annotated[
        float,
        Meta(
            ge=0,
            le=86_400,
            description="Seconds after which an idle connection is closed; 0 never closes it.",
        ),
    ] = 75.0
    clock_skew_s: Annotated[
        float, Meta(ge=-1e9, le=1e9, description="Seconds by which the clock runs ahead of this machine's.")
    ] = 0.0
    read_lag_s: Annotated[
        float,
        Meta(
            ge=0,
            le=86_400,
            description="Seconds until reads show a new customer, event or order (undocumented).",
        ),
    ] = 0.0
    nulls: Annotated[
        Literal["clear", "ignore", "reject"],
        Meta(
            description="What a null does to a field of a customer (undocumented). It holds for every field of the "
            "customer, for the parts of the address and for the keys of the customer's metadata, single and in "
            "bulk. `clear` empties the field: a text or a part of the address is gone, a key of the metadata stays "
            "with the value null. `ignore` leaves the field as it is. `reject` refuses the request. A null `id` or "
            "`source_id` counts as absent under `clear` and `ignore`. A null deeper in the metadata is a value. The "
            "published schemas disagree: the stricter one has null for the address alone, the other for every field."
        ),
    ] = "clear"
    unknown_fields: Annotated[
        Literal["ignore", "reject"],
        Meta(
            description="What a field does that the API does not have (undocumented). It holds for the fields of "
            "customers, addresses, events, `referral` and `loyalty`, never for metadata. `ignore` drops the field, "
            "`reject` refuses the request."
        ),
    ] = "ignore"
    source_id_blanks: Annotated[
        Literal["opaque", "trimmed"],
        Meta(
            description="Blanks around a customer's source_id (undocumented). `opaque` keeps them: another customer. "
            "`trimmed` drops them, in bodies and in paths."
        ),
    ] = "opaque"
    source_id_case: Annotated[
        Literal["sensitive", "insensitive"],
        Meta(
            description="Upper and lower case of a customer's source_id (undocumented). `insensitive` finds the "
            "customer by either, and shows the source_id as it was first sent."
        ),
    ] = "sensitive"
    metadata_update: Annotated[
        Literal["merge", "replace"],
        Meta(
            description="What new metadata does to the metadata of a customer or an order (undocumented). It is merged "
            "key by key, or replaces all of it."
        ),
    ] = "merge"
    bulk_metadata_update: Annotated[
        Literal["same", "merge", "replace"],
        Meta(
            description="What a bulk request does to a customer's metadata (undocumented). `same` goes by "
            "`metadata_update`."
        ),
    ] = "same"
    undefined_metadata: Annotated[
        Literal["text", "keep"],
        Meta(
            description="What becomes of metadata of customers and orders that no schema defines. The documents say "
            "that it is treated as text: `text` stores a number as its decimal text, and a list or an object as JSON "
            "(undocumented). `keep` stores each value as it is."
        ),
    ] = "text"
    address_update: Annotated[
        Literal["merge", "replace"],
        Meta(
            description="What new parts do to a customer's address (undocumented). They are merged, or replace it."
        ),
    ] = "merge"
    nested_metadata: Annotated[
        Literal["accept", "reject"],
        Meta(
            description="Metadata with an object inside a nested object (undocumented). `reject` refuses it in "
            "customers and events. The documents forbid it only for metadata that a schema defines, and there it "
            "is always refused."
        ),
    ] = "accept"
    undefined_events: Annotated[
        Literal["accept", "reject"],
        Meta(
            description="Events whose name is not in `defined_events` (undocumented). `reject` answers 404 not_found."
        ),
    ] = "accept"
    defined_events: Annotated[
        tuple[str, ...],
        Meta(
            description="Names of events that the project defines. It counts only with `undefined_events=reject`. "
            "Upper and lower case matter."
        ),
    ] = ()
    metadata_schemas: Annotated[
        tuple[dict[str, Any], ...],
        Meta(
            description="Metadata schemas, as the API lists them. That is, objects with `related_object`, `properties` "
            "and `allow_defined_only`. The customers' metadata is checked against the one of `customer`."
        ),
    ] = ()
    bulk_item_cap: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(
            description="Most customers in a bulk request (undocumented; 100 until about 2024). More are answered with "
            "400 too_many_customers.",
        ),
    ] = None
    bulk_invalid: Annotated[
        Literal["customer", "request"],
        Meta(
            description="What an invalid customer in a bulk request spoils (undocumented). `customer`: it fails alone, "
            "and the result of the asynchronous action names it. `request`: all of the request is refused with 400. A "
            "customer without a `source_id` always spoils the request, as the result could not name it."
        ),
    ] = "customer"
    async_delay_s: Annotated[
        float,
        Meta(ge=0, le=1e9, description="Seconds that a bulk request takes: half enqueued, half in progress."),
    ] = 0.0
    order_existing: Annotated[
        Literal["upsert", "fail", "double"],
        Meta(
            description="What an import does with an order whose source_id is known (undocumented). `upsert` updates "
            "the order: fields that are not sent stay, items are replaced, metadata goes by `metadata_update`. `fail` "
            "refuses it in the result of the asynchronous action. `double` makes another order, and reads by "
            "source_id show that one."
        ),
    ] = "upsert"
    order_amount_mismatch: Annotated[
        Literal["accept", "fail"],
        Meta(
            description="An order whose amount is not the sum of its items (undocumented). `accept` keeps the amount "
            "as it was sent, `fail` refuses the order in the result of the asynchronous action."
        ),
    ] = "accept"
    order_zero_amount: Annotated[
        Literal["accept", "fail"],
        Meta(
            description="An order whose amount is sent as 0 (undocumented). The description calls amounts positive. "
            "`fail` refuses the order in the result of the asynchronous action."
        ),
    ] = "accept"
    order_unknown_product: Annotated[
        Literal["accept", "fail"],
        Meta(
            description="An item that refers to a product or SKU which no import stored (undocumented). "
            "`override: true` in an item's `product` or `sku` stores it. `fail` refuses the order in the result of the "
            "asynchronous action."
        ),
    ] = "accept"
    orders_of_deleted_customer: Annotated[
        Literal["keep", "delete"],
        Meta(description="What becomes of the orders of a customer who is deleted (undocumented)."),
    ] = "keep"
    order_import_bucket: Annotated[
        Literal["bulk", "ordinary"],
        Meta(description="Which limit an import of orders counts in (undocumented). See `bulk_limit`."),
    ] = "bulk"
    order_failed_shape: Annotated[
        Literal["list", "object", "unnamed"],
        Meta(
            description="How the result of an import shows the orders that failed (undocumented). `list` names each, "
            "`object` only the first, in an object of its own, `unnamed` none: their source_id is null."
        ),
    ] = "list"
    activity_shape: Annotated[
        Literal["nested", "flat"],
        Meta(
            description="Where a row of a customer's activity holds the event (undocumented). `nested` is "
            "`data.data.event`, `flat` is `data.event`."
        ),
    ] = "nested"
    activity_dates: Annotated[
        Literal["filter", "ignore"],
        Meta(
            description="What `start_date` and `end_date` do in a query for a customer's activity (undocumented)."
        ),
    ] = "filter"
    activity_metadata: Annotated[
        Literal["same", "strings", "none"],
        Meta(
            description="How the activity shows an event's metadata (undocumented). As it was sent, with each value as "
            "text, or not at all."
        ),
    ] = "same"
    keep: Annotated[
        Annotated[int, Meta(ge=0)] | None,
        Meta(
            description="Events and calls kept in memory; older ones are only counted. Customers are all kept. `null` "
            "keeps everything.",
        ),
    ] = 100_000

    def __post_init__(self) -> None:
        """Check the metadata schemas, which are kept as they are.

        Raises:
            ValueError: one cannot be read.
        """
        msgspec.convert(self.metadata_schemas, tuple[_MetadataSchema, ...])

    @classmethod
    def read(cls, fields: dict[str, Any], switches: Sequence[str]) -> SandboxOptions:
        """Make options of some fields, and of switches, which win over them.

        Args:
            fields: values by name.
            switches: texts of the form NAME=VALUE; a list is written as JSON.

        Raises:
            UsageProblem: a switch is unknown, or does not take its value; the message says what it takes.
        """
        known = {described.name: described for described in describe_fields(cls)}
        for text in switches:
            name, _, value = text.partition("=")
            name = name.strip().replace("-", "_")
            if name not in known:
                near = similar(name, known, fold=str.lower, most=1, cutoff=0.6)
                problem = f"--switch {text}: there is no switch {name!r}{did_you_mean(near)}"
                raise UsageProblem(problem, f"Switches: {', '.join(known)}.")
            try:
                given = {name: msgspec.json.decode(value) if known[name].is_list else value}
                msgspec.convert(given, cls, strict=False)
            except (msgspec.ValidationError, msgspec.DecodeError):
                problem = f"--switch {text}: {value!r} is no value of {name}"
                raise UsageProblem(
                    problem, f"Write {name}={known[name].values}. {known[name].help}"
                ) from None
            fields = {**fields, **given}
        return msgspec.convert(fields, cls, strict=False)


class DescribedField(Struct, frozen=True):
    """A field of the options or of a fault, as the help and the documentation show it.

    Attributes:
        values: what it takes, such as ``clear|ignore|reject`` or ``SECONDS``.
        default: as it would be written, empty for none.
        description: all that is said of it.
        is_list: its value is written as JSON.
    """

    name: str
    values: str
    default: str
    description: str
    is_list: bool

    @property
    def help(self) -> str:
        """The first sentence of the description."""
        return self.description.partition(". ")[0].removesuffix(".") + "."


def describe_fields(struct: type[Struct]) -> list[DescribedField]:
    """Describe the fields of a struct that have a description, in their order."""
    hints = get_type_hints(struct, include_extras=True)
    defaults = dict(
        zip(reversed(struct.__struct_fields__), reversed(struct.__struct_defaults__), strict=False)
    )
    described = []
    for name, hint in hints.items():
        type_, *annotations = get_args(hint) if get_origin(hint) is Annotated else (hint,)
        meta = next((each for each in annotations if isinstance(each, Meta)), None)
        if meta is None or meta.description is None:
            continue
        default = defaults.get(name)
        shown = f"{default:g}" if isinstance(default, float) else str(default).lower()
        shown = "" if default in (None, ()) else shown
        is_list = get_origin(type_) is tuple
        described.append(DescribedField(name, _values(name, type_), shown, meta.description, is_list))
    return described


def _values(name: str, type_: Any) -> str:
    """Say what a field takes."""
    while get_origin(type_) in (Annotated, Union, UnionType):  # of a union the first, as the other is None
        type_ = get_args(type_)[0]
    if get_origin(type_) is Literal:
        return "|".join(get_args(type_))
    if get_origin(type_) is tuple:
        return "[TEXT,…]" if get_args(type_)[0] is str else "[OBJECT,…]"
    if name.endswith("_s"):
        return "SECONDS"
    if type_ is str and name.endswith("limit"):
        return "N/min"
    return {bool: "true|false", int: "N", float: "NUMBER", str: "TEXT"}[type_]
