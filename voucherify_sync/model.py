"""The values that flow from a line of an archive to a booked outcome. Data only, no logic.

An event walks as Block -> SegmentEvent -> Operation -> Outcome; what leaves that walk early is an Outcome, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum, StrEnum
from io import BytesIO
from itertools import islice
from typing import Any, Final, Self

from msgspec import Struct
from msgspec.json import decode

Json = dict[str, Any]
"""A JSON object."""


class Position(Struct, frozen=True, gc=False, array_like=True):
    """Where a record stands in the input.

    Attributes:
        source: the file as the user named it, or ``-`` for stdin.
        line: 1-based line number after decompression; blank lines count.
        item: 0-based index inside an envelope or an array, None for a line that is one event.
    """

    source: str
    line: int
    item: int | None = None

    def __str__(self) -> str:
        if self.item is None:
            return f"{self.source}:{self.line}"
        return f"{self.source}:{self.line}[{self.item}]"


class Block(Struct, frozen=True):
    """Consecutive lines of one source.

    Attributes:
        source: as in Position.
        first_line: 1-based number of the first of the lines.
        text: the lines as they came, each with a line feed; blank ones are kept, so that numbers stay exact.
        truncated: the one line is only the head of a line that was too long to be read.
    """

    source: str
    first_line: int
    text: bytes
    truncated: bool = False

    @classmethod
    def of(cls, source: str, first_line: int, lines: Iterable[bytes], *, truncated: bool = False) -> Self:
        """Return a block of these lines, which have no line ends."""
        return cls(source, first_line, b"".join([line + b"\n" for line in lines]), truncated)

    @property
    def lines(self) -> list[bytes]:
        """The lines without line feeds and without one trailing CR each; they are cut anew each time."""
        lines = [line[:-1] for line in BytesIO(self.text)]  # twice as fast as split
        if b"\r" in self.text:
            lines = [line.removesuffix(b"\r") for line in lines]
        return lines

    def parted(self, count: int) -> tuple[Block, Block]:
        """Return a block of the first lines, so many at most, and one of the others; both may have none."""
        first = list(islice(BytesIO(self.text), max(0, count)))
        head = b"".join(first)
        return (
            Block(self.source, self.first_line, head, self.truncated),
            Block(self.source, self.first_line + len(first), self.text[len(head) :], self.truncated),
        )


class SegmentEvent(Struct, gc=False, array_like=True, tag_field="sort", tag=0):
    """One event of a Segment archive.

    Attributes:
        position: where it was read.
        type: ``identify``, ``track``, ``page``...: the event's own, lower-cased nowhere.
        name: the event's own ``event`` if that is a string, else None.
        message_id: ``messageId`` as text, None if it is absent, blank or neither string nor number.
        fields: what is decoded of it: the whole event, or all that the settings look at.
        raw: its bytes as they came: the line, or the item of an envelope, merged and encoded.
        repaired: invalid UTF-8 or lone surrogates were replaced by U+FFFD.
        unsafe: it holds NaN, Infinity or a number out of range somewhere; what is mapped must be checked.
        key: by which the ledger knows it, once that is known; that of a dead letter stays when it is edited.
        letter: key of the dead letter that it was read from.
    """

    position: Position
    type: str
    name: str | None
    message_id: str | None
    fields: Json
    raw: bytes
    repaired: bool = False
    unsafe: bool = False
    key: bytes | None = None
    letter: bytes | None = None


class BadRecord(Struct, frozen=True, gc=False, array_like=True, tag_field="sort", tag=1):
    """What was read as a record and is no event; it has the fields of SegmentEvent that bookkeeping looks at."""

    position: Position
    raw: bytes
    type: str | None = None
    name: str | None = None
    message_id: str | None = None


class Kind(StrEnum):
    """What a request does, which decides how its failures are read."""

    __hash__ = str.__hash__  # that of enumerations is not in C, and is asked for each record

    CUSTOMER = "customer"
    """Create or update a customer: safe to repeat."""
    EVENT = "event"
    """Record a custom event: never safe to repeat."""


class Dropped(Struct, frozen=True):
    """A value that a mapping row produced and that could not be sent.

    Attributes:
        path: destination path, such as ``customer.phone``.
        reason: our own code, such as ``not_text``.
    """

    path: str
    reason: str


class Operation(Struct, frozen=True, gc=False, array_like=True, tag_field="sort", tag=0):
    """One request to Voucherify, made of one event.

    Attributes:
        event: what it was made of.
        kind: customer or custom event.
        source_id: whose request it is: all requests of one customer are sent in input order.
        payload: the request body as JSON: the very bytes that are sent.
        name: of the custom event, as it is sent; None for a customer update.
        is_by_id: Voucherify's own ``id`` names the customer, so no bulk request can carry the update.
        has_profile: it says something of the customer, besides who it is.
        customer: the customer part as JSON, where it is folded; None if it is the payload, or if nobody folds it.
        doubtful_since: epoch seconds of this machine's clock when an earlier run sent it and got no answer, so that
            `delivery.on_doubt` decides what becomes of it; None for an operation that was not sent before.
    """

    event: SegmentEvent
    kind: Kind
    source_id: str
    payload: bytes
    name: str | None = None
    is_by_id: bool = False
    has_profile: bool = True
    customer: bytes | None = None
    doubtful_since: float | None = None

    @property
    def body(self) -> Json:
        """The request body, decoded."""
        body: Json = decode(self.payload)
        return body


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
        operation: the request, where one was made.
        status: HTTP status of the last answer, if there was one.
        response: body of the last answer when it was no success, at most 4 KiB.
    """

    record: SegmentEvent | BadRecord
    state: State
    reason: str | None = None
    detail: str | None = None
    operation: Operation | None = None
    status: int | None = None
    response: bytes | None = None


Decision = Operation | Outcome
"""What becomes of a record: the request that is to be sent, or how it ends without one."""
