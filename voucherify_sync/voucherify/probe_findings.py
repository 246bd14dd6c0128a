"""What a probe finds out of a project: the assumptions of this program, and the findings with their meaning.

`ASSUMPTIONS` is the one table of them: the probe fills it, the command line shows it, and the documentation lists it.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from voucherify_sync.events import Json

OLD_VERSION: Final = "v2018-08-01"
"""A version of the API that is documented."""

STAYS_UNKNOWN: Final = (
    "how many customers a bulk request may hold: that would take 101 customers",
    "how large metadata may be, and how long a source_id",
    "whether a 429 always comes before the call is processed",
    "whether bulk calls count in the billing cycle: no header shows it",
    "which rules, distributions and webhooks react",
)
"""What no probe finds out."""


class Assumption(Struct, frozen=True):
    """What this program assumes of Voucherify, and what another finding means for a run.

    Attributes:
        id: of its finding.
        step: its number in `STEPS`.
        name: the finding in a few words.
        assumed: the words of the assumption.
        holds_for: the findings with which it holds; empty: any.
        meanings: finding -> what it means for a run, and which setting answers it; ``""``: where it stays unknown.
        switch: of the sandbox, which takes the finding as its value; empty for none.
        unit: of a number.
    """

    id: str
    step: int
    name: str
    assumed: str
    holds_for: tuple[str, ...] = ()
    meanings: dict[str, str] = {}
    switch: str = ""
    unit: str = ""

    def holds(self, found: str | float | None) -> bool | None:
        """Tell whether it holds with a finding; None where there is none."""
        if found is None:
            return None
        return not self.holds_for or found in self.holds_for


STEPS: Final[dict[int, str]] = {
    1: "`GET /v1/customers?limit=1`, before the question",
    2: "`POST /v1/customers` creates the customer; `GET` reads it",
    3: "`POST /v1/customers` with other metadata and a shorter address; `GET`",
    4: "`POST /v1/customers` with nulls; `GET`",
    5: "`POST /v1/customers` with fields that customers do not have",
    6: "`GET` of the id with a space before it, and of the id in upper case",
    7: "`POST /v1/events` with a name that the project does not define",
    8: "`GET` of the customer's activity, up to six times in a minute",
    9: "`POST /v1/customers/bulk/async` with the customer, two to four polls, `GET`",
    10: "`GET` of the customer with two values of `X-Voucherify-API-Version`",
    11: "with `--probe-order`: `POST /v1/orders/import` of one order, twice, with polls; `GET` of the order",
    12: "`DELETE` of the customer; `GET`",
}
"""What a probe calls, in this order."""
ORDER_STEP: Final = 11

_FOLD: Final = "use delivery.customers: bulk, which sends all that the input holds of a customer at once"
_EACH: Final = "use delivery.customers: each, or send the whole history in one run"
_DEFINE: Final = "define keys whose numbers have to stay numbers in the project's metadata schema"
_ID_ROWS: Final = "on a row to customer.source_id in identify.mapping, track.mapping and orders.mapping"
_WHOLE_ORDERS: Final = (
    "send the whole history of orders in one run, without --since and --until, and leave out with orders.where those "
    "that the project has already"
)
_BUCKET_MEANINGS: Final = {
    "ordinary": "each takes a call of the ordinary limit and of the billing cycle: expect a little more than the plan "
    "says",
    "bulk": "each takes one of the bulk calls: expect less of the ordinary limit to be used than the plan says",
    "": "the plan may be a few calls off",
}

ASSUMPTIONS: Final[dict[str, Assumption]] = {
    each.id: each
    for each in (
        Assumption(
            "rate_headers",
            1,
            "rate headers",
            "on every answer",
            ("on every answer",),
            {
                "on some answers": "calls without them count as made until the next answer tells",
                "none": "the limit is not known: set delivery.rate to stay within that of your plan",
            },
        ),
        Assumption(
            "limit",
            1,
            "limit",
            "told by the answers",
            (),
            unit="calls",
            meanings={"": "set delivery.rate to stay within the limit of your plan"},
        ),
        Assumption(
            "period",
            1,
            "period of the limit",
            "not told",
            (),
            {"": "a run takes it for an hour until calls prove the minute"},
        ),
        Assumption(
            "clock_offset_s",
            1,
            "clock of the server",
            "told by Date, so that any offset is right",
            (),
            unit="s",
            meanings={"": "times of events in doubt are taken from the clock of this machine"},
        ),
        Assumption(
            "read_lag_s",
            2,
            "time until a new customer can be read",
            "short, and nothing waits for it",
            (),
            {"": "nothing in a run reads a customer that it has just written"},
            unit="s",
        ),
        Assumption(
            "metadata_allowed",
            2,
            "metadata that the project does not define",
            "accept",
            ("accept",),
            {
                "reject": "the project allows defined metadata only: map no other keys, or define them; "
                "check --online SOURCE counts what would be refused",
                "": "check --online SOURCE compares the mapping with the metadata schema",
            },
        ),
        Assumption(
            "undefined_metadata",
            2,
            "numbers in undefined metadata",
            "text",
            ("text",),
            {
                "keep": "they stay numbers: nothing has to be done",
                "other": f"they come back changed: {_DEFINE}",
                "": _DEFINE,
            },
            "undefined_metadata",
        ),
        Assumption(
            "metadata_update",
            3,
            "metadata",
            "merge",
            ("merge",),
            {
                "replace": f"an update erases the metadata that it does not name: {_FOLD}",
                "": _FOLD,
            },
            "metadata_update",
        ),
        Assumption(
            "address_update",
            3,
            "address",
            "merge",
            ("merge",),
            {
                "replace": f"an update erases the parts of the address that it does not name: {_FOLD}",
                "": _FOLD,
            },
            "address_update",
        ),
        Assumption(
            "nulls",
            4,
            "nulls",
            "clear",
            ("clear",),
            {
                "ignore": "identify.nulls: clear will not erase anything",
                "reject": "an update with a null is refused: keep identify.nulls: omit",
                "mixed": "they erase some fields and leave others: identify.nulls: clear is not reliable here",
                "": "try identify.nulls: clear with one customer first",
            },
            "nulls",
        ),
        Assumption(
            "unknown_fields",
            5,
            "fields that customers do not have",
            "ignore",
            ("ignore",),
            {
                "reject": "an update with one is refused: map only to the destinations that check knows",
                "": "map only to the destinations that check knows",
            },
            "unknown_fields",
        ),
        Assumption(
            "source_id_blanks",
            6,
            "spaces around a source_id",
            "opaque",
            ("opaque",),
            {
                "trimmed": f"ids that differ only by spaces are one customer: trim them with apply: strip {_ID_ROWS}",
                "": f"trim ids that may have spaces around them with apply: strip {_ID_ROWS}",
            },
            "source_id_blanks",
        ),
        Assumption(
            "source_id_case",
            6,
            "upper and lower case of a source_id",
            "sensitive",
            ("sensitive",),
            {
                "insensitive": "ids that differ only by case are one customer, whose updates may arrive in any order: "
                f"write them in one case with apply: downcase {_ID_ROWS}",
                "": f"write ids whose case may differ in one case with apply: downcase {_ID_ROWS}",
            },
            "source_id_case",
        ),
        Assumption(
            "undefined_events",
            7,
            "custom events that the project does not define",
            "accept",
            ("accept",),
            {
                "reject": "define the names that plan lists in the project's event schema before a run, or leave "
                "them out with track.events_filter",
                "": "define the names that plan lists in the project's event schema before a run",
            },
            "undefined_events",
        ),
        Assumption(
            "activity",
            8,
            "activity",
            "within 60 s",
            (),
            {"": "delivery.on_doubt: verify cannot confirm events here"},
            "read_lag_s",
            "s",
        ),
        Assumption(
            "activity_shape",
            8,
            "place of the event in the activity",
            "nested or flat",
            ("nested", "flat"),
            {
                "other": "delivery.on_doubt: verify cannot confirm events here",
                "": "delivery.on_doubt: verify may not confirm events",
            },
            "activity_shape",
        ),
        Assumption(
            "activity_metadata",
            8,
            "metadata of the event in the activity",
            "same",
            ("same",),
            {
                "strings": "delivery.on_doubt: verify confirms only events whose metadata is all text",
                "none": "delivery.on_doubt: verify cannot confirm events here",
                "other": "delivery.on_doubt: verify cannot confirm events here",
                "": "delivery.on_doubt: verify may not confirm events",
            },
            "activity_metadata",
        ),
        Assumption(
            "activity_dates",
            8,
            "start_date of the activity",
            "filter",
            ("filter",),
            {
                "ignore": "a look-up reads more rows and takes more calls: events in doubt are confirmed all the same",
                "": "a look-up may take more calls",
            },
            "activity_dates",
        ),
        Assumption(
            "bulk_bucket", 9, "bulk calls count as", "bulk", ("bulk",), _BUCKET_MEANINGS, "bulk_bucket"
        ),
        Assumption(
            "poll_bucket", 9, "polls count as", "ordinary", ("ordinary",), _BUCKET_MEANINGS, "poll_bucket"
        ),
        Assumption(
            "bulk_metadata_update",
            9,
            "metadata in bulk",
            "as the single call does",
            ("same", "merge"),
            {
                "replace": f"a bulk request erases the metadata that it does not name: {_EACH}",
                "": _EACH,
            },
            "bulk_metadata_update",
        ),
        Assumption(
            "unknown_api_version",
            10,
            "X-Voucherify-API-Version of no version",
            "accept",
            ("accept",),
            {
                "reject": "an api.version that does not exist stops a run at its first call: check its spelling",
                "known refused": f"{OLD_VERSION} is refused, too: leave api.version out",
                "": "leave api.version out",
            },
            "unknown_api_version",
        ),
        Assumption(
            "order_zero_amount",
            ORDER_STEP,
            "an order of amount 0",
            "accept",
            ("accept",),
            {
                "fail": "leave orders of amount 0 out with orders.where",
                "": "it may fail: leave such orders out with orders.where",
            },
            "order_zero_amount",
        ),
        Assumption(
            "order_import_bucket",
            ORDER_STEP,
            "imports of orders count as",
            "bulk",
            ("bulk",),
            _BUCKET_MEANINGS,
            "order_import_bucket",
        ),
        Assumption(
            "order_existing",
            ORDER_STEP,
            "an order that exists and is imported again",
            "upsert",
            ("upsert",),
            {
                "fail": f"an import never changes an order: {_WHOLE_ORDERS}",
                "double": f"an import of an order that exists makes a second one, or changes nothing: {_WHOLE_ORDERS}",
                "": _WHOLE_ORDERS,
            },
            "order_existing",
        ),
        Assumption(
            "order_failed_shape",
            ORDER_STEP,
            "orders that failed are told as",
            "list",
            ("list",),
            {
                "object": "it is read all the same",
                "unnamed": "failed orders are not named: a run looks each one up, at a call an order",
                "": "no order failed: nothing has to be done",
            },
            "order_failed_shape",
        ),
        Assumption(
            "orders_of_deleted_customer",
            ORDER_STEP,
            "orders of a customer who is deleted",
            "keep",
            ("keep",),
            {
                "delete": "they are deleted with the customer; no run deletes customers",
                "": "no run deletes customers, so that nothing has to be done",
            },
            "orders_of_deleted_customer",
        ),
        Assumption(
            "deletion",
            12,
            "deletion of a customer",
            "works",
            ("works",),
            {
                "fails": "delete the customer by hand",
                "not permitted": "delete the customer by hand; no run deletes anything",
                "still readable": "it was accepted, and the customer can still be read: look at it in the dashboard",
                "": "look for the customer in the dashboard",
            },
        ),
    )
}
"""Finding -> what is assumed of it, in the order of the steps."""


class Finding(Struct, frozen=True):
    """What was found out of one assumption.

    Attributes:
        id: as in `ASSUMPTIONS`.
        assumed: what this program assumes.
        found: what holds in the project; None where it is not known.
        holds: whether the assumption holds; None where it is not known.
        evidence: statuses, rate headers and times of the calls that show it.
        meaning: what it means for a run, where it differs or is not known.
    """

    id: str
    assumed: str
    found: str | float | None
    holds: bool | None
    evidence: Json
    meaning: str

    def line(self) -> str:
        """Return it as one line for people."""
        assumption = ASSUMPTIONS[self.id]
        if self.found is None:
            return f"unknown  {assumption.name}: {self.meaning}"
        found = (
            self.found if isinstance(self.found, str) else f"{self.found:,.10g} {assumption.unit}".rstrip()
        )
        if self.holds:
            return f"ok       {assumption.name}: {found}" + (" (as assumed)" if assumption.holds_for else "")
        return f"differs  {assumption.name}: {found}; {self.meaning}"


class Deleted(Struct):
    """What a probe made, and whether it is gone again.

    Attributes:
        customer: its source_id.
        is_customer_gone: it was deleted, or was never made; None: it is not made yet.
        order: source_id of the order, which stays; None where none was made.
    """

    customer: str
    is_customer_gone: bool | None = None
    order: str | None = None


class ProbeReport(Struct):
    """What a probe found out.

    Attributes:
        version: of this program.
        url: of the API.
        app_id_prefix: the first characters of the Application ID.
        started_at: UTC.
        calls: made, the first one among them.
        deleted: what was made and deleted again.
        findings: in the order of the steps.
        switches: of the sandbox -> the values with which it behaves like this project.
        stays_unknown: what no probe finds out.
    """

    version: str
    url: str
    app_id_prefix: str
    started_at: str
    calls: int
    deleted: Deleted
    findings: list[Finding]
    switches: dict[str, str]
    stays_unknown: tuple[str, ...] = STAYS_UNKNOWN

    @property
    def differs(self) -> bool:
        """Whether an assumption does not hold."""
        return any(finding.holds is False for finding in self.findings)

    @property
    def found(self) -> dict[str, str | float | None]:
        """What was found, by the id of the finding."""
        return {finding.id: finding.found for finding in self.findings}
