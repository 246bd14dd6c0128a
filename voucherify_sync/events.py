"""Define the values that the stages pass on: a Batch of lines becomes Events, and an Event becomes a Request.

Also compute the hashes by which records and requests are recognised. Nothing of an event can be read from a hash. The
first 16 bytes of a key never change from one version to the next, because ledgers are full of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from hashlib import blake2b
from io import BytesIO
from itertools import islice
from typing import Any, Final, Self

from msgspec import Struct, structs
from msgspec.json import Decoder, Encoder, decode

from voucherify_sync.paths import holds_a_non_number

Json = dict[str, Any]
"""A JSON object."""

EVENT_TYPES: Final = {kind: kind for kind in ("identify", "track", "page", "screen", "group", "alias")}
"""The types of Segment's events, each by itself."""
WAREHOUSE_COLUMNS: Final = frozenset({"received_at", "event_text", "uuid_ts"})
"""Columns that rows of a warehouse have, and events as they were sent have not."""

KEY_BYTES = 16
HASH_BYTES = 8
HASH_VERSION = 2
"""Of the rule by which requests are hashed. Hashes of two rules cannot be compared.

1 hashed the bytes of a request, 2 hashes what they say.
"""


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


class Batch(Struct, frozen=True):
    """Consecutive lines of one source.

    Attributes:
        source: as in Position.
        first_line: 1-based number of the first of the lines.
        text: the lines as they came, each with a line feed; blank ones are kept, so that numbers stay exact.
        truncated: the one line is only the head of a value that was too long to be read.
        first_item: index of the first record, where the batch is a part of a long line of several values.
        in_array: these values are items of an array, of which the brackets count for nothing.
    """

    source: str
    first_line: int
    text: bytes
    truncated: bool = False
    first_item: int | None = None
    in_array: bool = False

    @classmethod
    def of(cls, source: str, first_line: int, lines: Iterable[bytes], *, truncated: bool = False) -> Self:
        """Return a batch of these lines, which have no line ends."""
        return cls(source, first_line, b"".join([line + b"\n" for line in lines]), truncated)

    @property
    def lines(self) -> list[bytes]:
        """The lines without line feeds and without one trailing CR each; every access cuts them again."""
        lines = [line[:-1] for line in BytesIO(self.text)]  # twice as fast as split
        if b"\r" in self.text:
            lines = [line.removesuffix(b"\r") for line in lines]
        return lines

    def parted(self, count: int) -> tuple[Batch, Batch]:
        """Return a batch of the first `count` lines and a batch of the others; both may be empty."""
        first = list(islice(BytesIO(self.text), max(0, count)))
        head = b"".join(first)
        return (
            structs.replace(self, text=head),
            structs.replace(self, first_line=self.first_line + len(first), text=self.text[len(head) :]),
        )


def event_type(text: str) -> str:
    """Return the type that an event means: one of Segment's in its own spelling, any other one as it is written.

    Case and surrounding blanks do not count. A blank text gives an empty one.
    """
    stripped = text.strip()
    return EVENT_TYPES.get(stripped.lower(), stripped)


class Kind(StrEnum):
    """What a request does, which decides how its failures are read."""

    __hash__ = str.__hash__  # that of enumerations is not in C, and is asked for each record

    CUSTOMER = "customer"
    """Create or update a customer: safe to repeat."""
    EVENT = "event"
    """Record a custom event: never safe to repeat."""
    ORDER = "order"
    """Say something of an order of the past: all that is said of one is folded, and the order is imported."""


class PreparedRequest(Struct, frozen=True, gc=False, array_like=True):
    """The request of an event that was prepared.

    Attributes:
        place: in the archive, of what says something of an order: it is read in another order.
        kind, source_id and the others: as in Request.
    """

    kind: Kind
    source_id: str
    payload: bytes
    name: str | None
    is_by_id: bool
    has_profile: bool
    customer: bytes | None
    is_anonymous: bool
    order_id: str | None
    place: int


class Event(Struct, gc=False, array_like=True, tag_field="sort", tag=0):
    """One event of a Segment archive.

    Attributes:
        position: where it was read.
        type: ``identify``, ``track``, ``page``...: see `event_type`.
        name: the event's own ``event``, a number as its text; None if it is neither text nor number.
        message_id: ``messageId`` as text, None if it is absent, blank, repaired, or neither string nor number.
        fields: what is decoded of it: the whole event, or all that the settings look at.
        raw: its bytes as they came: the line, or the item of an envelope, merged and encoded.
        repaired: texts of `fields`, keys too, in which invalid UTF-8 or lone surrogates were replaced by U+FFFD.
        unsafe: it holds NaN, Infinity or a number out of range somewhere; what is mapped must be checked.
        key: by which the ledger knows it, once that is known; that of a dead letter stays when it is edited.
        letter: key of the dead letter that it was read from.
        former_message_id: a ``messageId`` that had to be repaired: earlier versions took it for one.
        time: when it happened, where anything depends on that; None if it has no time that can be read.
        told_time: the same as the event tells it: a wrong clock may have set it.
        order_body: the order as which it failed, of the dead letter that it was read from; empty where settings of
            other kinds made it.
        as_event: it is sent as a custom event, although its name is that of an order.
        is_counted: its record is sent as an order, too, and counts as one.
        prepared: its request, where that was made earlier; nothing else of the event is known then.
    """

    position: Position
    type: str
    name: str | None
    message_id: str | None
    fields: Json
    raw: bytes
    repaired: tuple[str, ...] = ()
    unsafe: bool = False
    key: bytes | None = None
    letter: bytes | None = None
    former_message_id: str | None = None
    time: datetime | None = None
    told_time: datetime | None = None
    order_body: bytes | None = None
    as_event: bool = False
    is_counted: bool = False
    prepared: PreparedRequest | None = None

    def is_repaired(self, text: object) -> bool:
        """Tell whether a text of the event is one of those that were repaired: itself, not one that equals it."""
        return any(text is each for each in self.repaired)


class BadRecord(Struct, frozen=True, gc=False, array_like=True, tag_field="sort", tag=1):
    """What was read as a record and is no event; it has the fields of Event that bookkeeping looks at."""

    position: Position
    raw: bytes
    type: str | None = None
    name: str | None = None
    message_id: str | None = None


PATHS: Final = {Kind.CUSTOMER: "/v1/customers", Kind.EVENT: "/v1/events", Kind.ORDER: "/v1/orders/import"}
"""What a request does -> where it is posted to."""


class EventType(Struct, frozen=True):
    """A type of Segment's events of which requests are made. Its section of the settings has its name.

    Attributes:
        name: as in the event's ``type``, but for `ORDERS`.
        root: key of the object in which its events hold their values.
        kind: of its requests.
    """

    name: str
    root: str
    kind: Kind


SENT_TYPES: Final = {
    each.name: each
    for each in (
        EventType("identify", "traits", Kind.CUSTOMER),
        EventType("track", "properties", Kind.EVENT),
        EventType("page", "properties", Kind.EVENT),
        EventType("screen", "properties", Kind.EVENT),
        EventType("group", "traits", Kind.CUSTOMER),
    )
}
"""By name, the types of which requests are made."""

ORDERS: Final = EventType("orders", "properties", Kind.ORDER)
"""The track events that are sent as orders: they have a section of the settings of their own."""

SECTION_TYPES: Final = {**SENT_TYPES, ORDERS.name: ORDERS}
"""By name, all sections of the settings with a mapping."""


class Request(Struct, frozen=True, gc=False, array_like=True, tag_field="sort", tag=0):
    """One request to Voucherify, made of one event.

    Attributes:
        event: what it was made of.
        kind: customer or custom event.
        source_id: whose request it is: all requests of one customer are sent in input order.
        payload: the request body as JSON: the very bytes that are sent.
        name: of the custom event, as it is sent; None for a customer update.
        is_by_id: Voucherify's own ``id`` names the customer, so no bulk request can carry the update.
        has_profile: it says something of the customer, besides who it is.
        customer: the customer part as JSON, where customers are folded; None if they are not, or if it is the payload.
        is_anonymous: the event's anonymousId names the customer, since it has no userId.
        order_id: of the order that it says something of; None for a customer or a custom event.
        doubtful_since: epoch seconds of this machine's clock when an earlier run sent it and got no answer, so that
            `delivery.on_doubt` decides what becomes of it; None for a request that was not sent before.
    """

    event: Event
    kind: Kind
    source_id: str
    payload: bytes
    name: str | None = None
    is_by_id: bool = False
    has_profile: bool = True
    customer: bytes | None = None
    is_anonymous: bool = False
    doubtful_since: float | None = None
    order_id: str | None = None

    @classmethod
    def of_prepared(cls, event: Event, prepared: PreparedRequest) -> Self:
        """Return the request of an event that was prepared."""
        return cls(
            event,
            prepared.kind,
            prepared.source_id,
            prepared.payload,
            prepared.name,
            prepared.is_by_id,
            prepared.has_profile,
            prepared.customer,
            prepared.is_anonymous,
            order_id=prepared.order_id,
        )

    @property
    def body(self) -> Json:
        """The request body, decoded."""
        body: Json = decode(self.payload)
        return body

    def without_profile(self) -> Request:
        """Return a custom event that only names its customer."""
        body = self.body
        ids = {name: body["customer"][name] for name in ("source_id", "id") if name in body["customer"]}
        payload = _encode({**body, "customer": ids})
        return structs.replace(self, payload=payload, has_profile=False, customer=None)


_encode = Encoder().encode
_encode_sorted = Encoder(order="sorted").encode
_decode = Decoder().decode


def record_key(event: Event) -> bytes:
    """Return the bytes by which an event is known in every run, whichever file it is read from.

    Segment names an event by its messageId. Events without one are known by their content: equal events are one
    record, whatever the order of their keys. That makes 16 bytes. An identify tells a state, and one messageId with
    another content is another record: 8 bytes of its content follow. Neither the mapping nor the version changes them.
    """
    if event.key is not None:
        return event.key
    if event.message_id is None:
        key = blake2b(_canonical(event.fields, event, event.unsafe), digest_size=KEY_BYTES).digest()
    else:
        key = _key_of_id(event.type, event.message_id)
    if event.type != "identify":
        return key
    state = _state(event.fields)
    unsafe = event.unsafe and holds_a_non_number(state)  # what else the event holds has no say
    return key + blake2b(_canonical(state, event, unsafe), digest_size=HASH_BYTES).digest()


def order_key(event: Event) -> bytes:
    """Return the bytes by which an event is known as one of an order: those of `record_key` are its custom event's."""
    if event.message_id is None:
        fields = event.fields | {"type": Kind.ORDER.value}
        return blake2b(_canonical(fields, event, event.unsafe), digest_size=KEY_BYTES).digest()
    return _key_of_id(Kind.ORDER.value, event.message_id)


def earlier_keys(event: Event) -> list[bytes]:
    """Return the keys by which earlier versions knew an event, that of the first version last.

    They took a messageId that had to be repaired for one, and the first one knew an identify without its content.
    """
    key = record_key(event)
    if event.former_message_id is None:
        return [key[:KEY_BYTES]]
    first = _key_of_id(event.type, event.former_message_id)
    return [first + key[KEY_BYTES:], first]


def _key_of_id(kind: str, message_id: str) -> bytes:
    digest = _hash_of(kind).copy()
    digest.update(message_id.encode() if message_id.isascii() else message_id.encode(errors="surrogatepass"))
    return digest.digest()


def _state(fields: Json) -> list[Any]:
    """Return what an identify says, and of whom."""
    context = fields.get("context")
    traits = context.get("traits") if isinstance(context, dict) else None
    return [fields.get("userId"), fields.get("anonymousId"), fields.get("traits"), traits]


@lru_cache(maxsize=64)  # types come from the input
def _hash_of(kind: str) -> blake2b:
    """Return the hash with which the keys of events of a type begin."""
    return blake2b(f"{kind}\0".encode(errors="surrogatepass"), digest_size=KEY_BYTES)


def request_hash(payload: bytes) -> bytes:
    """Return 8 bytes that differ when the request of a record differs, as after a change of the mapping.

    In which order the keys of its objects stand makes no difference.
    """
    return body_hash(_encode_sorted(_decode(payload)))


def body_hash(body: bytes) -> bytes:
    """Return 8 bytes that differ when the bytes of a body differ."""
    return blake2b(body, digest_size=HASH_BYTES).digest()


def _canonical(value: Any, event: Event, unsafe: bool) -> bytes:
    """Encode what an event holds with sorted keys. The text holds no NUL, so it equals no type and messageId."""
    try:
        if not unsafe:
            try:
                return _encode_sorted(value)
            except UnicodeEncodeError:
                pass
        # msgspec writes NaN and Infinity as null, which would make different events equal, and refuses lone surrogates.
        return json.dumps(value, sort_keys=True).encode()
    except RecursionError:  # it could be read, but is too deep to be written
        return event.raw
