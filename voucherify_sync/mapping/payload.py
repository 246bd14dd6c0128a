"""A Segment event in, the request to Voucherify out: the mapping with its fallbacks, field types and ids.

An event of which no request can be made comes out as an Outcome. Nothing is sent, and no event is changed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import Struct

from voucherify_sync.mapping.fields import (
    MAX_EVENT_NAME,
    MAX_NESTING,
    NOT_TEXT,
    holds_a_non_number,
    in_order,
    present_text,
    settle_coded,
    settle_customer,
    settle_ids,
    settle_name,
    text_of,
)
from voucherify_sync.mapping.filters import reason_of_type
from voucherify_sync.mapping.rows import settled_rows
from voucherify_sync.mapping.tally import Tally
from voucherify_sync.mapping.translator import Draft, Translator
from voucherify_sync.model import Dropped, Json, Kind, Operation, Outcome, SegmentEvent, State
from voucherify_sync.settings.types import Identify, Settings, Track

_IDENTIFIERS: Final = frozenset(
    {"email", "id", "userId", "user_id", "anonymousId", "anonymous_id", "source_id"}
)
"""Traits that come along with a computed one only to say whose it is."""
_CUSTOMER_METADATA: Final = ("customer", "metadata")
_NOT_FINITE: Final = "a value that is sent is NaN, Infinity or out of range, which JSON cannot carry"
_encode = msgspec.json.Encoder().encode


class Request(Struct, frozen=True, gc=False):
    """What is sent for one event, before it is encoded.

    Attributes:
        kind: as in Operation.
        source_id: as in Operation.
        customer: the customer part, with the fields of Voucherify and no other.
        body: the whole body, which holds ``customer`` or is the same.
        dropped: as in Operation.
    """

    kind: Kind
    source_id: str
    customer: Json
    body: Json
    dropped: list[Dropped]


LeaveOut = Callable[[SegmentEvent, str], str | None]
"""Tells why the request of an event, to the customer of this source_id, is not made; None makes it."""


class Mapping:
    """The mapping of the settings, compiled once.

    Args:
        settings: whose rows are compiled.
        leave_out: asked once the customer is known, before anything is counted.

    Attributes:
        tally: what it did so far.
        translators: type of event -> its compiled rows.
        watches_names: track events that rename customers by the default table are noted.
    """

    def __init__(self, settings: Settings, leave_out: LeaveOut | None = None) -> None:
        self._leave_out = leave_out
        self._identify = _identify_translator(settings.identify)
        self._track = _track_translator(settings.track)
        self._carries_personas = not settings.personas.disabled
        self.watches_names = any(
            row.default and row.destination.text == "customer.name" for row in self._track.table.rows
        )
        self.tally = Tally(self._identify.section, self._track.section)
        self.translators = {"identify": self._identify, "track": self._track}

    def operation(self, event: SegmentEvent) -> Operation | Outcome:
        """Make the request of one event; never raises for what an event may hold."""
        request = self.request(event)
        return request if isinstance(request, Outcome) else encoded(event, request)

    def request(self, event: SegmentEvent) -> Request | Outcome:
        """Make what ``operation`` encodes."""
        try:
            if event.type == "identify":
                return self._customer_request(event)
            if event.type == "track":
                return self._event_request(event)
        except RecursionError:
            return _too_deep(event)
        return Outcome(event, State.SKIPPED, reason_of_type(event.type))

    def _customer_request(self, event: SegmentEvent) -> Request | Outcome:
        draft = _draft(self._identify, event)
        if self._carries_personas:
            _carry_personas(self._identify, draft, event.fields)
        source_id = self._settle(event, draft)
        if isinstance(source_id, Outcome):
            return source_id
        self._identify.count(draft, settle_name(draft.parts["customer"], draft.given))
        customer = in_order(draft.parts["customer"])
        return Request(Kind.CUSTOMER, source_id, customer, customer, draft.dropped)

    def _event_request(self, event: SegmentEvent) -> Request | Outcome:
        draft = _draft(self._track, event)
        source_id = self._settle(event, draft)
        if isinstance(source_id, Outcome):
            return source_id
        name = _event_name(event, draft)
        if len(name) > MAX_EVENT_NAME:
            return Outcome(event, State.INVALID, "event_name_too_long", _too_long(name))
        if self.watches_names:
            self._watch_name(event, draft)
        used = settle_name(draft.parts["customer"], draft.given)
        customer = draft.parts["customer"] = in_order(draft.parts["customer"])
        body = _event_body(name, draft)
        self._track.count(draft, used)
        return Request(Kind.EVENT, source_id, customer, body, draft.dropped)

    def _settle(self, event: SegmentEvent, draft: Draft) -> str | Outcome:
        """Bring the customer of a draft into a form that can be sent; return whose it is, or why nothing is sent."""
        if event.unsafe and _not_finite(event.fields, draft):
            return Outcome(event, State.INVALID, "not_finite", _NOT_FINITE)
        customer: Json = draft.parts["customer"]
        settle_customer(customer, draft.dropped)
        source_id = settle_ids(customer, _own_id(event.fields), draft.dropped)
        if source_id is None:
            return Outcome(event, State.SKIPPED, "no_id")
        if self._leave_out is not None and (reason := self._leave_out(event, source_id)):
            return Outcome(event, State.SKIPPED, reason)
        return source_id

    def _watch_name(self, event: SegmentEvent, draft: Draft) -> None:
        """Notice a customer who gets the name of a product, a page or a campaign."""
        name = present_text(draft.given.get("name"))
        if name is not None and draft.parts["customer"].get("name") == name:
            self.tally.renames.add(event.position, name)


def encoded(event: SegmentEvent, request: Request) -> Operation | Outcome:
    """Return the operation that sends a request, or the outcome of an event that cannot be sent."""
    try:
        payload = _encode(request.body)
    except RecursionError:
        return _too_deep(event)
    return Operation(event, request.kind, request.source_id, request.body, payload, tuple(request.dropped))


def _draft(translator: Translator, event: SegmentEvent) -> Draft:
    own_id = _own_id(event.fields)
    return translator.draft(event.fields, {} if own_id is None else {"source_id": own_id})


def _identify_translator(settings: Identify) -> Translator:
    rows = settled_rows("traits", settings.mapping, extend_default=settings.extend_default)
    return Translator(
        "traits",
        [row for row in rows if row.destination.keys[0] == "customer"],
        settings.add,
        keep_nulls=settings.nulls == "clear",
        spare_place=_CUSTOMER_METADATA if settings.unmapped_traits == "metadata" else None,
    )


def _track_translator(settings: Track) -> Translator:
    return Translator(
        "properties",
        settled_rows("properties", settings.mapping, extend_default=settings.extend_default),
        settings.add,
        spare_place=("metadata",) if settings.unmapped_properties == "metadata" else None,
    )


def _carry_personas(translator: Translator, draft: Draft, fields: Json) -> None:
    """Carry a computed trait or an audience, which no table can know, to the customer's metadata."""
    context = fields.get("context")
    personas = context.get("personas") if isinstance(context, dict) else None
    if not isinstance(personas, dict):
        return
    keys = [key for key in draft.left if key not in _IDENTIFIERS]
    computed = personas.get("computation_key")
    if isinstance(computed, str) and draft.given.get(computed) is not None:
        keys.append(computed)
    translator.carry(draft, keys, _CUSTOMER_METADATA)


def _own_id(fields: Json) -> str | None:
    own_id = present_text(fields.get("userId"))
    return present_text(fields.get("anonymousId")) if own_id is None else own_id


def _not_finite(fields: Json, draft: Draft) -> bool:
    """Tell whether what is sent holds a number that JSON cannot carry; the event's id is sent, too."""
    return holds_a_non_number(draft.parts) or holds_a_non_number(fields.get("userId"))


def _event_name(event: SegmentEvent, draft: Draft) -> str:
    """Return the mapped name, else the event's own, else its type."""
    mapped = draft.parts.get("event")
    name = present_text(mapped)
    if name is not None:
        return name
    if mapped is not None and text_of(mapped) is None:
        draft.dropped.append(Dropped("event", NOT_TEXT))
    return present_text(event.name) or event.type


def _event_body(name: str, draft: Draft) -> Json:
    parts = draft.parts
    body = {"event": name, "customer": parts["customer"]}
    if metadata := parts.get("metadata"):
        body["metadata"] = metadata
    for part in ("referral", "loyalty"):
        content = parts.get(part)
        if content and settle_coded(content, part, draft.dropped):
            body[part] = content
    return body


def _too_long(name: str) -> str:
    return f"the event's name has {len(name)} characters and Voucherify takes at most {MAX_EVENT_NAME}"


def _too_deep(event: SegmentEvent) -> Outcome:
    return Outcome(
        event, State.INVALID, "too_deep", f"a value that is mapped has more than {MAX_NESTING} levels"
    )
