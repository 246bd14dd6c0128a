"""How records end: the eight states, the reasons with their sentences, and the outcome of one record.

Voucherify's own error keys are reasons, too, and are not in the table.
"""

from __future__ import annotations

from enum import Enum, StrEnum
from typing import Final

from msgspec import Struct

from voucherify_sync.events import BadRecord, Event, Request
from voucherify_sync.findings import ORDER_ID_REMEDY, ORDER_IDS_OF_MESSAGES
from voucherify_sync.text import clean, counted, span

_FIRST_ETA_S: Final = 1.0
FAILED_BEFORE: Final = "failed_before"
"""Reason of a record that failed in an earlier run, and is not tried again: it counts for nothing else."""
CUSTOMER_REFUSED: Final = "customer_refused"
"""Reason of an event that a run in bulk did not send, as the update of its customer had failed."""
UNCHANGED: Final = "unchanged"
"""Reason of an update whose customer an earlier run sent in bulk with the same values."""
REPLAY_ORDERS: Final = (
    "settings or order have changed since: run the replay again; an order whose request differs is sent"
)
"""Detail of a dead letter of an order that `retry` does not send."""
OTHER_TYPE: Final = "type_other"
"""Reason of a record of a type that is none of Segment's."""
_DOUBT: Final = "No action needed: the next run that reads it follows `delivery.on_doubt`."
_NOT_OURS: Final = "No action needed: only customers and custom events are sent."
_CAN_BE_SENT: Final = (
    "No action needed. Each would be {}: `disabled: false` in {} switches that on, "
    "and `plan` says what it costs."
)
_SELECTED: Final = "No action needed. Without the option it is sent."
_ONE_KEY: Final = "No action needed, unless it happened twice: then give each event its own messageId."
WHY_NOT_MAPPED: Final = {
    "no_row": "no row for it",
    "null": "null counts as absent",
    "no_field": "Voucherify has no such field",
    "not_text": "the field holds text only",
    "not_a_date": "it is no date of the calendar, such as 1990-05-01",
    "not_an_object": "an object belongs there",
    "no_code": "it has no code, and Voucherify refuses it without one",
    "blank": "it is blank",
    "blank_id": "a blank id does not count",
    "empty": "it is empty",
    "overwritten": "a later row or constant wins",
    "name_given": "the name has a value already",
    "partly": "only a part of it is sent",
    "not_used": "read by a row, set or a condition, and not sent",
    "items_decide": "the items have prices, and their sum is the amount",
    "not_of_items": "an item of an order has no field for it",
    "apply_failed": "a filter of the row does not take it",
    "not_a_number": "it is no amount",
    "not_a_status": "it is none of CREATED, PAID, CANCELED and FULFILLED",
    "not_a_list": "a list of items belongs there",
    "item_unusable": "an item without an id and without a price is not sent",
    "quantity_unusable": "it is no whole number of at least 1, so the quantity is 1",
}
"""Why a value of an event that is sent does not arrive: code -> words for people."""


class State(StrEnum):
    """Where a record ends. Every record read ends in exactly one of these."""

    __hash__ = str.__hash__

    DELIVERED = "delivered"
    """Voucherify accepted it, or its activity log confirms it."""
    PLANNED = "planned"
    """A dry run would send it."""
    SKIPPED = "skipped"
    """It is not meant for Voucherify: its type is not sent, it names no customer, the event excludes Voucherify, or a
    setting or an option leaves it out."""
    DUPLICATE = "duplicate"
    """It was delivered before, is repeated in the input, or was dismissed."""
    INVALID = "invalid"
    """No request can be made from it."""
    FAILED = "failed"
    """Voucherify refused it, or it was given up."""
    IN_DOUBT = "in_doubt"
    """It was sent, the answer is lost, and it is not known whether Voucherify processed it."""
    PENDING = "pending"
    """It was read, but not sent when the run stopped."""


_LABELS: Final = {State.PLANNED: "would be sent", State.DUPLICATE: "duplicates", State.IN_DOUBT: "in doubt"}


def label_of(state: str) -> str:
    """Return the label of a state in tables: `delivered`, `duplicates`, `in doubt`."""
    return _LABELS.get(State(state), state)


def ended(state: str, count: int) -> str:
    """Return how many records ended in a state: `1 duplicate`, `12 in doubt`."""
    return counted(count, "duplicate") if state == "duplicate" else f"{count:,} {label_of(state)}"


class NotProcessed(Enum):
    """Proofs that a custom event that was about to be sent, or was sent, is not processed.

    An intent is taken back for one of these and for nothing else.
    """

    NOT_SENT = "its intent could not be written, so it was not sent"
    NOT_CONNECTED = "no connection was made, so no byte of the request left"
    THROTTLED = "HTTP 429; that it is answered before anything is processed is an assumption"
    REFUSED = "HTTP 3xx or 4xx, but for 408 and 429: the API does not take the request"


class Accepted(Struct, frozen=True):
    """What Voucherify accepted before this run, as far as its ledger knows.

    Attributes:
        anything: something, ever.
        by_settings: something that these settings made.
        endpoints: paths at which it accepted something under these keys.
    """

    anything: bool = False
    by_settings: bool = False
    endpoints: frozenset[str] = frozenset()


NOTHING_ACCEPTED: Final = Accepted()


class Outcome(Struct, frozen=True, gc=False, array_like=True, tag_field="sort", tag=1):
    """How one record ended.

    Attributes:
        record: the event, or what was read in its place.
        state: one of the eight.
        reason: our own code, or the ``key`` of Voucherify's error; None where the state says it all.
        detail: a sentence for people; shown only cleaned, never counted by.
        request: the request, where one was made.
        status: HTTP status of the last answer, if there was one.
        response: body of the last answer when it was no success, at most 4 KiB.
    """

    record: Event | BadRecord
    state: State
    reason: str | None = None
    detail: str | None = None
    request: Request | None = None
    status: int | None = None
    response: bytes | None = None


Decision = Request | Outcome
"""What becomes of a record: the request that is to be sent, or how it ends without one."""


class Reason(Struct, frozen=True):
    """Why records end in a state.

    Attributes:
        state: the state.
        code: as in the report; ``http_*`` stands for every status.
        meaning: in words that follow "because".
        remedy: what to do about it; empty where nothing is to be done.
    """

    state: State
    code: str
    meaning: str
    remedy: str = ""

    @property
    def needs_action(self) -> bool:
        """Whether a person should do something about it."""
        return bool(self.remedy) and not self.remedy.startswith("No action needed")


_REASONS: Final[dict[State, dict[str, tuple[str, ...]]]] = {
    State.DELIVERED: {
        "verified": ("its answer was lost, and Voucherify's activity log confirms it",),
        "accepted": ("its answer was lost, and `on_doubt: accept` counts it as delivered",),
    },
    State.SKIPPED: {
        "type_page": (
            "page.disabled is true: no page event is sent",
            _CAN_BE_SENT.format("a custom event", "page"),
        ),
        "type_screen": (
            "screen.disabled is true: no screen event is sent",
            _CAN_BE_SENT.format("a custom event", "screen"),
        ),
        "type_group": (
            "group.disabled is true: no group event is sent",
            _CAN_BE_SENT.format("a customer update", "group"),
        ),
        "type_alias": ("alias events are not sent to Voucherify", _NOT_OURS),
        OTHER_TYPE: ("only identify, track, page, screen and group events can be sent", _NOT_OURS),
        "identify_disabled": ("identify.disabled is set", "Set it to false to send customers."),
        "track_disabled": ("track.disabled is set", "Set it to false to send custom events."),
        "integration_off": (
            "the event's `integrations` say not to send it to Voucherify",
            "No action needed: the event itself excludes Voucherify.",
        ),
        "not_selected": ("--type, --event or --where selects other events", _SELECTED),
        "name_filtered": (
            "track.events_filter does not list its name",
            "Add the name to `track.events_filter`. Upper and lower case matter.",
        ),
        "name_excluded": (
            "track.events_exclude lists its name",
            "Remove the name from `track.events_exclude`.",
        ),
        "event_disabled": (
            "its entry in track.events is disabled",
            "Set `disabled: false` there to send it.",
        ),
        "where": (
            "the condition `where` of the settings does not hold",
            "No action needed if this is meant: `explain` shows the condition of an event.",
        ),
        "out_of_period": ("its time is outside --since and --until", _SELECTED),
        "excluded_id": ("--exclude-ids lists its customer", _SELECTED),
        "not_sampled": (
            "--sample leaves out its customer",
            "No action needed: the same command without --sample sends it.",
        ),
        "user_not_selected": ("--user selects other customers", _SELECTED),
        "anonymous": (
            "it has no userId, and identity.ignore_anonymous is set",
            "Unset `identity.ignore_anonymous` to send it under its anonymousId.",
        ),
        "no_id": (
            "it has neither a userId nor an anonymousId that can be used",
            "Map another field to `customer.source_id` if the event names its customer elsewhere.",
        ),
        "no_group_id": (
            "it has no groupId that can be used, and no row finds anything in it",
            "Map one of its traits in `group.mapping` if they say something of the customer.",
        ),
        "no_order_id": (
            "it names no order, so it cannot become one",
            f"{ORDER_ID_REMEDY} add under `orders:` `{ORDER_IDS_OF_MESSAGES}`; ids that are there stay.",
        ),
        "partial_refund": (
            "it takes back a part of its order only, so the order stays as it is",
            "No action needed: Voucherify has no status for an order that is refunded in part.",
        ),
        "refund_unclear": (
            "it may take back a part of its order only, and no event tells what that holds",
            "Replay the events of the order, too: in the same run, or before it.",
        ),
        "superseded": (
            "`retry` does not send a customer update older than the last one delivered",
            "No action needed: Voucherify has the newer values.",
        ),
    },
    State.DUPLICATE: {
        "delivered": ("an earlier run delivered it", "No action needed. `--again` sends it once more."),
        "repeated": ("it is repeated in the input with an identical request", _ONE_KEY),
        "repeated_differs": (
            "an earlier record of the input has its messageId and made another request; the first one wins",
            "Compare both: two different events have one messageId.",
        ),
        "equal_event": ("it has no messageId and equals an earlier record of the input", _ONE_KEY),
        "dismissed": (
            "it failed in an earlier run and was dismissed: by `forget`, or because a newer update was delivered",
            "No action needed. `--again` sends it once more.",
        ),
        "unchanged": (
            "an earlier run sent its customer or its order with just these values",
            "No action needed. `--again` sends it once more.",
        ),
        "delivered_as_order": (
            "an earlier run imported it as a part of its order, and this one would send it as a custom event",
            "No action needed. `--again` sends the custom event, too.",
        ),
    },
    State.INVALID: {
        "not_json": (
            "the line is not JSON",
            "Put one event on a line: `jq -c .` makes lines of pretty-printed JSON.",
        ),
        "batch_not_json": (
            "a batch of events is not JSON, so that none of its events is read",
            "Correct the JSON at this place: what is broken may be the batch, or one of its events.",
        ),
        "not_an_object": ("the line is JSON, but not an object", "Remove it from the input."),
        "no_type": (
            "it has no `type`, so it is no Segment event",
            "Use the raw events. Rows of a warehouse are not raw events.",
        ),
        "no_events": ("the envelope or array holds no events", "No action needed."),
        "too_long": (
            "it is longer than 10 MiB, or the context of its envelope than 64 KiB",
            "If it is an array of events, make lines of it: `jq -c '.[]'`.",
        ),
        "too_many_values": (
            "it is an event of more than 110,000 keys and items, or an array of more than 1,000,000",
            "Remove it from the input. If it is an array of events, make lines of it: `jq -c '.[]'`.",
        ),
        "too_deep": ("objects or lists are nested too deep to be read", "Fix the source."),
        "number_too_long": (
            "an integer has more digits than can be read exactly",
            "Write it as text in the source.",
        ),
        "not_finite": (
            "a value that would be sent is NaN, Infinity or out of range",
            "Remove the row that maps it, or fix the source.",
        ),
        "broken_id": (
            "the text of the id that names its customer or its order is broken: invalid UTF-8, or half of a character",
            (
                "Fix the encoding in the source, such as with `iconv -f latin1 -t utf-8`. "
                "It is not sent, since two customers or orders could become one."
            ),
        ),
        "event_name_too_long": (
            "its name is longer than the 300 characters that Voucherify takes",
            "Map a shorter text to `event`.",
        ),
        "negative_amount": (
            "an amount or a price of its order is below zero",
            "Leave such events out with `orders.where`, or correct the source.",
        ),
        "too_many_items": (
            "its order has more than the 500 items that Voucherify takes",
            "Set `orders.products: none` to send the amount without items.",
        ),
    },
    State.FAILED: {
        "failed_before": (
            "it failed in an earlier run, and its request is still the same",
            "Fix the cause, then run `voucherify-sync retry`. Or change the mapping, so that it makes another request.",
        ),
        "blocked": (
            (
                "its call was refused with 401, 402, 403, 405, 406, 415 or a redirect, "
                "and the project accepted the next one"
            ),
            "Check what is between this machine and Voucherify, such as a firewall. Then run `voucherify-sync retry`.",
        ),
        "gave_up": (
            "10 attempts or 15 minutes passed without an answer to rely on",
            "Run `voucherify-sync retry` when Voucherify or the network works again.",
        ),
        "answer_too_large": (
            "the status of the answer says that Voucherify took the update, but the answer is too large to be read",
            (
                "Check the customer in Voucherify: it holds more than 1 MiB. "
                "Dismiss the record with `voucherify-sync forget`."
            ),
        ),
        "http_*": (
            "Voucherify refused it with this status; the answer names no error code",
            "Read the answer in the dead letter: `voucherify-sync status --failed`.",
        ),
        CUSTOMER_REFUSED: (
            "its customer failed, so the event or its order was not sent",
            "Fix the cause of the failed customer, then run `voucherify-sync retry`.",
        ),
        "refused": (
            "Voucherify's report of a bulk request counts the customer or the order as failed, without a key",
            "Read the report in the dead letter: `voucherify-sync status --failed`.",
        ),
        "not_named": (
            "Voucherify refused a part of a bulk request, and its report does not name which customers or orders",
            "Run `voucherify-sync retry`: it sends customers one by one, and orders again.",
        ),
        "action_failed": (
            "Voucherify accepted a bulk request and then failed to process it, twice",
            "Run `voucherify-sync retry`. Customers also go one by one: the same command with `--each`.",
        ),
        "action_unknown": (
            "Voucherify accepted a bulk request and then no longer knew it, twice",
            "Run `voucherify-sync retry`. Customers also go one by one: the same command with `--each`.",
        ),
        "too_large": (
            "the customer or the order is larger than a bulk request may be, 10 MiB",
            "Map fewer values to metadata.",
        ),
    },
    State.IN_DOUBT: {
        "timeout": ("Voucherify did not answer within 60 s", _DOUBT),
        "reset": ("the connection ended before an answer came", _DOUBT),
        "cut": ("the answer ended too early", _DOUBT),
        "too_large": ("the answer was longer than 1 MiB", _DOUBT),
        "http_*": ("the answer has this status, which does not say whether it was processed", _DOUBT),
        "unexpected_answer": (
            "the answer is a success, but not one of Voucherify's API",
            "Look for a proxy or a login page between this machine and Voucherify. " + _DOUBT,
        ),
        "interrupted": ("the run ended while the request was in flight", _DOUBT),
    },
}
"""State -> code, in the order in which a record can meet them -> meaning, and remedy if there is one."""

REASONS: Final = tuple(
    Reason(state, code, *texts) for state, reasons in _REASONS.items() for code, texts in reasons.items()
)
"""Every code of ours, in the order in which a record can meet them."""


_BY_CODE: Final = {(reason.state, reason.code): reason for reason in REASONS}


def find(state: State, code: str) -> Reason | None:
    """Return the reason of a code, None for one of Voucherify's own keys."""
    status = f"{code[:5]}*" if code.startswith("http_") else code
    return _BY_CODE.get((state, status))


def words(state: State, code: str | None) -> str:
    """Return what a code means, or an empty string for one that is not ours."""
    reason = find(state, code) if code else None
    return reason.meaning if reason else ""


class Waiting(Struct, frozen=True):
    """What the run waits for.

    Attributes:
        reason: one of the codes of `_WAITS`.
        seconds_left: until it goes on, or tries again; None if that is not known.
        detail: of the reason: the limit, the trouble, or the customer.
    """

    reason: str
    seconds_left: float | None = None
    detail: str = ""

    @property
    def sentence(self) -> str:
        """Say it in words; what is quoted is clean."""
        seconds = self.seconds_left
        left = "" if seconds is None else f" {_countdown(seconds)}"
        try_in = "" if seconds is None else f", next try in{left}" if seconds else ", trying now"
        poll_in = f", next poll in{left}" if left else ""
        return _WAITS[self.reason].format(
            left=left, try_in=try_in, poll_in=poll_in, detail=clean(self.detail, 80)
        )


_WAITS: Final = {
    "quota": "waiting{left}: rate limit, {detail}",
    "rate": "waiting{left}: delivery.rate, {detail}",
    "asked": "waiting{left}: {detail}, Voucherify asks to wait",
    "slowed": "waiting{left}: fewer calls after HTTP 429",
    "outage": "{detail}{try_in}",
    "bulk": "waiting for Voucherify to finish the bulk request{poll_in}",
    "customer": "waiting for customer {detail}, whose requests go one after the other",
    "attempt": "waiting{left}: next attempt for {detail}",
    "answer": "waiting for an answer since {detail}",
}
"""Reason to wait -> the sentence."""


def _countdown(seconds: float) -> str:
    """Return a time that runs down in the unit in which one counts along."""
    return f"{seconds:.1f} s" if seconds < 1.95 else f"{seconds:.0f} s" if seconds < 9.5 else span(seconds)


class Phase(StrEnum):
    """The part of a run that is going on, in the order in which they come.

    Where customers do not go in bulk, their updates and the custom events are sent together, as EVENTS.
    """

    READING = "reading"
    CUSTOMERS = "customers"
    ORDERS = "orders"
    EVENTS = "events"


class Snapshot(Struct, frozen=True):
    """How a run stands at one moment.

    Attributes:
        events: records read in this phase.
        bytes: read so far in this phase (compressed size).
        bytes_total: of all sources; None if that is not known, as with stdin.
        counts: records by state.
        phase: what is going on.
        share: part of the work that is done, 0 to 1: of the calls, or of the input where nothing is sent. None while
            the whole is not known. 1 means that all is done.
        customers: customers sent in bulk by state; empty where they go one by one.
        calls: calls made, those that had to be repeated and probes among them.
        calls_total: calls that the work takes if none has to be repeated; None while that is not known.
        calls_left: of those, the ones to come.
        is_total_estimated: the last two are estimates.
        calls_per_min: what the limit sustains; None before it is known.
        in_flight: calls that are sent and not answered yet.
        waiting: what the next call waits for, or None.
        eta_s: seconds to go; None if that is not known.
        eta_hourly_s: the same if the API's limit is by the hour; None unless it may be either.
    """

    events: int
    bytes: int
    bytes_total: int | None
    counts: dict[State, int]
    phase: Phase = Phase.READING
    share: float | None = None
    customers: dict[State, int] = {}
    calls: int = 0
    calls_total: int | None = None
    calls_left: int | None = None
    is_total_estimated: bool = False
    calls_per_min: float | None = None
    in_flight: int = 0
    waiting: Waiting | None = None
    eta_s: float | None = None
    eta_hourly_s: float | None = None


def reading_share(bytes_read: int, bytes_total: int | None, records: int, limit: int | None) -> float | None:
    """Return how much of the input is read, 0 to 1, by its size or by a limit of records; None without either."""
    shares = [bytes_read / bytes_total] if bytes_total else []
    shares += [records / limit] if limit else []
    return min(max(shares), 1.0) if shares else None


def reading_eta_s(share: float | None, elapsed_s: float) -> float | None:
    """Estimate how long reading goes on at the pace so far; None before there is one."""
    return elapsed_s * (1 - share) / share if share and elapsed_s >= _FIRST_ETA_S else None
