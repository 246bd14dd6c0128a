"""How records end: the eight states, the reasons with their sentences, and the outcome of one record.

Voucherify's own error keys are reasons, too, and are not in the table.
"""

from __future__ import annotations

from enum import Enum, StrEnum
from typing import Final

from msgspec import Struct

from voucherify_sync.events import BadRecord, Event, Request


class State(StrEnum):
    """Where a record ends. Every record read ends in exactly one of these."""

    __hash__ = str.__hash__

    DELIVERED = "delivered"
    """Voucherify accepted it."""
    PLANNED = "planned"
    """A dry run would have sent it."""
    SKIPPED = "skipped"
    """A rule of the settings or of the command line leaves it out."""
    DUPLICATE = "duplicate"
    """It has been sent before."""
    INVALID = "invalid"
    """No request can be made of it."""
    FAILED = "failed"
    """Voucherify refused it, or we gave up."""
    IN_DOUBT = "in_doubt"
    """It was sent and no answer tells whether it arrived."""
    PENDING = "pending"
    """Read, and not decided when the run stopped."""


class NotProcessed(Enum):
    """Proofs that a custom event that was about to be sent, or was sent, is not processed.

    An intent is taken back for one of these and for nothing else.
    """

    NOT_SENT = "its intent could not be written, so it was not sent"
    NOT_CONNECTED = "no connection was made, so no byte of the request left"
    THROTTLED = "HTTP 429; that it is answered before anything is processed is an assumption"
    REFUSED = "HTTP 3xx or 4xx, but for 408 and 429: the API does not take the request"


FAILED_BEFORE: Final = "failed_before"
"""Reason of a record that failed in an earlier run, and is not tried again: it counts for nothing else."""


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


_DOUBT: Final = "Nothing at once: the next run that reads it does what `delivery.on_doubt` says."
_NOT_OURS: Final = "Nothing: customers and custom events are all that is sent."
_SELECTED: Final = "Nothing; without the option it is sent, too."
_ONE_KEY: Final = "Nothing, unless it happened twice: then each event needs a messageId of its own."

REASONS: Final = (
    Reason(State.DELIVERED, "verified", "its answer was lost, and Voucherify's activity log holds it"),
    Reason(State.DELIVERED, "accepted", "its answer was lost, and `on_doubt: accept` counts it as delivered"),
    Reason(State.SKIPPED, "type_page", "page events are not sent to Voucherify", _NOT_OURS),
    Reason(State.SKIPPED, "type_screen", "screen events are not sent to Voucherify", _NOT_OURS),
    Reason(State.SKIPPED, "type_group", "group events are not sent to Voucherify", _NOT_OURS),
    Reason(State.SKIPPED, "type_alias", "alias events are not sent to Voucherify", _NOT_OURS),
    Reason(State.SKIPPED, "type_other", "only identify and track events are sent", _NOT_OURS),
    Reason(State.SKIPPED, "identify_disabled", "identify.disabled is set", "Unset it to send customers."),
    Reason(State.SKIPPED, "track_disabled", "track.disabled is set", "Unset it to send custom events."),
    Reason(
        State.SKIPPED,
        "integration_off",
        "the event's own integrations switch Voucherify off",
        "Nothing: whoever sent the event did not want it at Voucherify.",
    ),
    Reason(
        State.SKIPPED,
        "not_selected",
        "the command line selects other types or names of events",
        _SELECTED,
    ),
    Reason(
        State.SKIPPED,
        "name_filtered",
        "track.events_filter does not list its name",
        "Add the name to `track.events_filter`; names are compared with upper and lower case.",
    ),
    Reason(
        State.SKIPPED,
        "name_excluded",
        "track.events_exclude lists its name",
        "Take the name out of `track.events_exclude`.",
    ),
    Reason(State.SKIPPED, "out_of_period", "it lies outside --since and --until", _SELECTED),
    Reason(State.SKIPPED, "excluded_id", "--exclude-ids lists its customer", _SELECTED),
    Reason(State.SKIPPED, "user_not_selected", "--user selects other customers", _SELECTED),
    Reason(
        State.SKIPPED,
        "anonymous",
        "it has no userId, and identity.ignore_anonymous is set",
        "Unset `identity.ignore_anonymous` to send it under its anonymousId.",
    ),
    Reason(
        State.SKIPPED,
        "no_id",
        "it has neither a userId nor an anonymousId that can be used",
        "Map another field to `customer.source_id` if the event names its customer elsewhere.",
    ),
    Reason(
        State.SKIPPED,
        "superseded",
        "`retry` does not send a customer update older than the last one delivered",
        "Nothing: Voucherify has the newer values.",
    ),
    Reason(
        State.DUPLICATE,
        "delivered",
        "an earlier run delivered it",
        "Nothing; `--again` sends it once more.",
    ),
    Reason(
        State.DUPLICATE, "repeated", "it stands in the input more than once, with the same request", _ONE_KEY
    ),
    Reason(
        State.DUPLICATE,
        "repeated_differs",
        "an earlier record of the input has its messageId and made another request; the first one wins, and one such "
        "record in 256 is counted as `repeated`",
        "Look at both: something wrote two different events under one messageId.",
    ),
    Reason(
        State.DUPLICATE,
        "equal_event",
        "it has no messageId and equals an earlier record of the input",
        _ONE_KEY,
    ),
    Reason(
        State.DUPLICATE,
        "dismissed",
        "it failed in an earlier run and was dismissed: by `forget`, or because a newer update was delivered",
        "Nothing; `--again` sends it once more.",
    ),
    Reason(
        State.DUPLICATE,
        "unchanged",
        "its customer, folded, is what Voucherify was last sent in bulk",
        "Nothing; `--again` sends it once more.",
    ),
    Reason(
        State.INVALID,
        "not_json",
        "the line is no JSON",
        "Put one event on a line: `jq -c .` makes lines of pretty-printed JSON.",
    ),
    Reason(State.INVALID, "not_an_object", "the line is JSON, and no object", "Leave it out of the input."),
    Reason(
        State.INVALID,
        "no_type",
        "it has no `type`, so it is no Segment event",
        "Use the raw events; rows of a warehouse are not the events as they were sent.",
    ),
    Reason(State.INVALID, "no_events", "the envelope or array holds no events", "Nothing."),
    Reason(
        State.INVALID,
        "too_long",
        "the line is longer than 10 MiB, or the context of an envelope than 64 KiB",
        "If it is an array of events, make lines of it: `jq -c '.[]'`.",
    ),
    Reason(
        State.INVALID,
        "too_many_values",
        "it is an event of more than 110,000 keys and items, or a line of more than 1,000,000",
        "Leave it out of the input. If it is an array of events, make lines of it: `jq -c '.[]'`.",
    ),
    Reason(State.INVALID, "too_deep", "objects or lists are nested too deep to be read", "Mend the source."),
    Reason(
        State.INVALID,
        "number_too_long",
        "an integer has more digits than can be read exactly",
        "Make it a text in the source.",
    ),
    Reason(
        State.INVALID,
        "not_finite",
        "a value that would be sent is NaN, Infinity or out of range",
        "Leave out the row that maps it, or mend the source.",
    ),
    Reason(
        State.INVALID,
        "event_name_too_long",
        "its name is longer than the 300 characters that Voucherify takes",
        "Map a shorter text to `event`.",
    ),
    Reason(
        State.FAILED,
        "failed_before",
        "it failed in an earlier run, and its request is still the same",
        "Fix the cause, then run `voucherify-sync retry`; or change the mapping, which makes another request of it.",
    ),
    Reason(
        State.FAILED,
        "blocked",
        "its call was refused with 401, 402, 403, 405, 406, 415 or a redirect, and the project accepted the next one",
        "Look at what is between here and Voucherify, such as a firewall, then `retry`.",
    ),
    Reason(
        State.FAILED,
        "gave_up",
        "10 attempts or 15 minutes passed without an answer to rely on",
        "`retry`, when Voucherify or the network is well again.",
    ),
    Reason(
        State.FAILED,
        "answer_too_large",
        "Voucherify took the update, by the status of its answer, which was too large to be read",
        "Look at the customer in Voucherify: it holds more than 1 MiB. Give the record up with `forget`.",
    ),
    Reason(
        State.FAILED,
        "http_*",
        "Voucherify refused it with this status; the answer names no error code",
        "The dead letter holds the answer.",
    ),
    Reason(
        State.FAILED,
        "customer_refused",
        "its customer failed, so the event was not sent",
        "Mend what the customer failed for, then `retry`.",
    ),
    Reason(
        State.FAILED,
        "refused",
        "Voucherify's report of a bulk request lists the customer without a key",
        "The dead letter holds what the report says.",
    ),
    Reason(
        State.FAILED,
        "not_named",
        "a bulk request was refused in part, and its report does not name for whom",
        "`retry`: it sends customers one by one, so each gets an answer of its own.",
    ),
    Reason(
        State.FAILED,
        "action_failed",
        "Voucherify took a bulk request and then failed to carry it out, twice",
        "`retry`, or run again with `--each`.",
    ),
    Reason(
        State.FAILED,
        "action_unknown",
        "Voucherify took a bulk request and does not know of it any more, twice",
        "`retry`, or run again with `--each`.",
    ),
    Reason(
        State.FAILED,
        "too_large",
        "the customer is larger than the 10 MiB of a bulk request",
        "Map less of it to metadata.",
    ),
    Reason(State.IN_DOUBT, "timeout", "Voucherify did not answer within 60 s", _DOUBT),
    Reason(State.IN_DOUBT, "reset", "the connection ended before an answer came", _DOUBT),
    Reason(State.IN_DOUBT, "cut", "the answer ended too early", _DOUBT),
    Reason(State.IN_DOUBT, "too_large", "the answer was longer than 1 MiB", _DOUBT),
    Reason(
        State.IN_DOUBT,
        "http_*",
        "the answer has this status, which does not say whether it was processed",
        _DOUBT,
    ),
    Reason(
        State.IN_DOUBT,
        "unexpected_answer",
        "the answer is a success, and not one of Voucherify's API",
        "Look for a proxy or a login page between here and Voucherify. " + _DOUBT,
    ),
    Reason(State.IN_DOUBT, "interrupted", "the run ended while it was under way", _DOUBT),
)
"""Every code of ours, in the order in which a record can meet them."""

WHY_LOST: Final = {
    "no_row": "no row takes it",
    "null": "null counts as absent",
    "no_field": "Voucherify has no such field",
    "not_text": "the field holds text only",
    "not_an_object": "an object belongs there",
    "no_code": "it has no code, without which it is refused",
    "blank": "it is blank",
    "blank_id": "a blank id is none",
    "empty": "there is nothing in it",
    "overwritten": "a later row or constant wins",
    "name_given": "the name is given",
    "partly": "a part of it is not sent",
}
"""Why a value of an event that is sent does not arrive: code -> words for people."""

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
    """What the run waits for, such as ``quota``, and for how many more seconds, if anybody knows."""

    reason: str
    seconds_left: float | None


class Snapshot(Struct, frozen=True):
    """How a run stands at one moment.

    Attributes:
        events: records read.
        bytes: read so far, as they lie on disk.
        bytes_total: of all sources; None where nobody knows, as with stdin.
        counts: records by state.
        calls: calls made.
        calls_per_min: what the limit sustains; None before it is known.
        in_flight: requests under way.
        waiting: what the next call waits for, or None.
        eta_s: seconds to go, by the API's limit; None where nobody knows.
    """

    events: int
    bytes: int
    bytes_total: int | None
    counts: dict[State, int]
    calls: int = 0
    calls_per_min: float | None = None
    in_flight: int = 0
    waiting: Waiting | None = None
    eta_s: float | None = None
