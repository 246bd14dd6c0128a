"""A Segment event in, the request to Voucherify out: rows, fallbacks, field types and ids, in one walk of the event.

An event of which no request can be made comes out as an Outcome. Nothing is sent, and no event is changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from msgspec import UNSET, Struct

from voucherify_sync.events import Dropped, Event, Json, Kind, Request
from voucherify_sync.mapping.drafts import NO_ADDRESS, Customer, CustomEvent, Draft, copied
from voucherify_sync.mapping.field_types import (
    BLANK_ID,
    MAX_EVENT_NAME,
    MAX_NESTING,
    NOT_TEXT,
    present_text,
    settle_coded,
    text_of,
)
from voucherify_sync.mapping.filters import reason_of_type
from voucherify_sync.mapping.rules import Rules, settled_rows
from voucherify_sync.mapping.stats import MappingStats, SectionStats
from voucherify_sync.mapping.walk import WalkLog, walked
from voucherify_sync.outcomes import Outcome, State
from voucherify_sync.paths import WORKING_FIELDS, holds_a_non_number
from voucherify_sync.settings.types import Identify, Settings, Track

_IDENTIFIERS: Final = frozenset(
    {"email", "id", "userId", "user_id", "anonymousId", "anonymous_id", "source_id"}
)
"""Traits that come along with a computed one only to say whose it is."""
_OWN_NAMES: Final = frozenset(WORKING_FIELDS)
_NOT_FINITE: Final = "a value that is sent is NaN, Infinity or out of range, which JSON cannot carry"
_encode = msgspec.json.Encoder().encode

LeaveOut = Callable[[str], str | None]
"""Tells why no request is made to the customer of this source_id; None makes it."""


class MappedRecord(Struct, frozen=True, gc=False):
    """What is sent for one event, before it is encoded.

    Attributes:
        source_id: as in Request.
        customer: the customer part.
        body: the whole body, which holds ``customer`` or is the same.
        dropped: values left out of the body, with reasons.
    """

    source_id: str
    customer: Customer
    body: Customer | CustomEvent
    dropped: list[Dropped]


class Mapper:
    """The mapping of the settings, compiled once.

    Args:
        settings: whose rows are compiled.
        leave_out: asked once the customer is known, before anything is counted.
        folds: requests carry the customer parts of custom events, to be folded.
        refers: custom events only name their customers, which are sent before them: so an event of long ago cannot
            overwrite a newer profile.

    Attributes:
        stats: what it did so far.
        rules: by type of event.
        carries_all: by type of event, whether all that no row takes goes to metadata.
    """

    def __init__(
        self,
        settings: Settings,
        leave_out: LeaveOut | None = None,
        *,
        folds: bool = False,
        refers: bool = False,
    ) -> None:
        self._folds = folds
        self._refers = refers
        self.rules = {"identify": _identify_rules(settings.identify), "track": _track_rules(settings.track)}
        self.stats = MappingStats({kind: SectionStats(rules) for kind, rules in self.rules.items()})
        self.carries_all = {
            "identify": settings.identify.unmapped_traits == "metadata",
            "track": settings.track.unmapped_properties == "metadata",
        }
        self._leave_out = leave_out
        self._carries_personas = not settings.personas.disabled
        self._watches_names = any(
            row.default and row.destination.text == "customer.name" for row in self.rules["track"].rows
        )

    def request(self, event: Event) -> Request | Outcome:
        """Make the request of one event; never raises for what an event may hold."""
        try:
            request = self._map(event, None)
            return self._encoded(event, request) if type(request) is MappedRecord else request  # type: ignore[return-value]
        except RecursionError:
            return _too_deep(event)

    def encoded(self, event: Event, request: MappedRecord) -> Request | Outcome:
        """Return the request that sends a request, or the outcome of an event that cannot be sent."""
        try:
            return self._encoded(event, request)
        except RecursionError:
            return _too_deep(event)

    def _encoded(self, event: Event, request: MappedRecord) -> Request:
        customer, body, source_id = request.customer, request.body, request.source_id
        is_by_id = customer.id is not UNSET
        if type(body) is Customer:
            return Request(event, Kind.CUSTOMER, source_id, _encode(body), None, is_by_id)
        assert type(body) is CustomEvent  # noqa: S101  # there are two
        has_profile = customer != Customer(customer.source_id, customer.id)
        folded = _encode(customer) if self._folds and has_profile else None
        if self._refers and not is_by_id:
            body.customer = Customer(source_id)
        return Request(event, Kind.EVENT, source_id, _encode(body), body.event, is_by_id, has_profile, folded)

    def mapped(self, event: Event, log: WalkLog | None = None) -> MappedRecord | Outcome:
        """Make what ``request`` encodes; what the walk does is noted in a log, if there is one."""
        try:
            return self._map(event, log)
        except RecursionError:
            return _too_deep(event)

    def _map(self, event: Event, log: WalkLog | None) -> MappedRecord | Outcome:
        fields, rules = event.fields, self.rules.get(event.type)
        if rules is None:
            return Outcome(event, State.SKIPPED, reason_of_type(event.type))
        given = fields.get(rules.root)
        if type(given) is not dict:
            given = {}
        own_id = _own_id(fields)
        draft = walked(rules, event, own_id, given, log)
        unmapped = draft.unmapped
        if (unmapped and self.carries_all[event.type]) or _personas_of(event) is not None:
            unmapped = self._carry(event, draft, given, log)
        if event.unsafe and _not_finite(fields, draft):
            return Outcome(event, State.INVALID, "not_finite", _NOT_FINITE)
        source_id = _settle_ids(draft, own_id)
        if source_id is None:
            return Outcome(event, State.SKIPPED, "no_id")
        if self._leave_out is not None and (reason := self._leave_out(source_id)):
            return Outcome(event, State.SKIPPED, reason)
        name = _event_name(event, draft) if event.type == "track" else None
        if name is not None and len(name) > MAX_EVENT_NAME:
            return Outcome(event, State.INVALID, "event_name_too_long", _too_long(name))
        if name is not None:
            self._watch_name(event, draft.customer, given)
        used = _settle_customer(draft, given, log)
        body = draft.customer if name is None else _custom_event(name, draft)
        self.stats.sections[event.type].count(draft, unmapped, used, given)
        return MappedRecord(source_id, draft.customer, body, draft.dropped)

    def _carry(self, event: Event, draft: Draft, given: Json, log: WalkLog | None) -> tuple[str, ...]:
        """Carry to metadata what no row takes, where that is asked for; return what is not carried either."""
        unmapped = draft.unmapped
        if self.carries_all[event.type]:
            is_identify = event.type == "identify"
            unmapped = _carry(draft, given, unmapped, unmapped, log, of_customer=is_identify)
        if self._carries_personas and (personas := _personas_of(event)) is not None:
            unmapped = _carry_personas(draft, personas, given, unmapped, log)
        return unmapped

    def _watch_name(self, event: Event, customer: Customer, given: Json) -> None:
        """Notice a customer who gets the name of a product, a page or a campaign."""
        if not self._watches_names or customer.name is UNSET:
            return
        name = present_text(given.get("name"))
        if name is not None and customer.name == name:
            self.stats.renames.add(event.position, name)


def _identify_rules(settings: Identify) -> Rules:
    rows = settled_rows("traits", settings.mapping, extend_default=settings.extend_default)
    of_customers = [row for row in rows if row.destination.keys[0] == "customer"]
    return Rules("traits", of_customers, settings.add, keep_nulls=settings.nulls == "clear")


def _track_rules(settings: Track) -> Rules:
    rows = settled_rows("properties", settings.mapping, extend_default=settings.extend_default)
    return Rules("properties", rows, settings.add, keep_nulls=False)


def _carry(
    draft: Draft,
    given: Json,
    keys: Sequence[str],
    unmapped: tuple[str, ...],
    log: WalkLog | None,
    *,
    of_customer: bool,
) -> tuple[str, ...]:
    """Put values into a metadata object, where no row has put that key; return the keys that are still unmapped."""
    if not keys:
        return unmapped
    metadata = draft.free_object(of_customer=of_customer)
    for key in keys:
        if key not in metadata:
            metadata[key] = copied(given[key])
            if log is not None:
                log.carried.append(key)
    return tuple(key for key in unmapped if key not in keys)


def _personas_of(event: Event) -> Json | None:
    """Return what tells that an identify carries a computed trait or an audience, if it does."""
    if event.type != "identify":
        return None
    context = event.fields.get("context")
    personas = context.get("personas") if context and isinstance(context, dict) else None
    return personas if isinstance(personas, dict) else None


def _carry_personas(
    draft: Draft, personas: Json, given: Json, unmapped: tuple[str, ...], log: WalkLog | None
) -> tuple[str, ...]:
    """Carry a computed trait or an audience, which no table can know, to the customer's metadata."""
    keys = [key for key in unmapped if key not in _IDENTIFIERS]
    computed = personas.get("computation_key")
    if isinstance(computed, str) and given.get(computed) is not None:
        keys.append(computed)
    return _carry(draft, given, keys, unmapped, log, of_customer=True)


def _not_finite(fields: Json, draft: Draft) -> bool:
    """Tell whether what is sent holds a number that JSON cannot carry; the event's id is sent, too."""
    sent = [value for _, value in draft.hits if not isinstance(value, dict)]
    return any(
        map(
            holds_a_non_number,
            (*sent, draft.metadata, draft.customer.metadata, draft.parts, fields.get("userId")),
        )
    )


def _own_id(fields: Json) -> str | None:
    own_id: str | None = fields.get("userId")
    if type(own_id) is str and own_id and not own_id.isspace():
        return own_id  # as for nearly every event
    own_id = present_text(own_id)
    return present_text(fields.get("anonymousId")) if own_id is None else own_id


def _settle_ids(draft: Draft, own_id: str | None) -> str | None:
    """Let the event's own id stand in for a source_id that is blank or null; a blank id goes.

    Returns by which id Voucherify will know the customer, the ``id`` before the ``source_id``; None if by none.
    """
    customer = draft.customer
    if customer.id is UNSET and customer.source_id is own_id:
        return own_id
    for name in ("id", "source_id"):
        value = getattr(customer, name)
        if value is not UNSET and (value is None or not value.strip()):
            setattr(customer, name, UNSET)
            if value is not None:
                draft.drop(("customer", name), BLANK_ID)
    if customer.source_id is UNSET and own_id is not None:
        customer.source_id = own_id
    return customer.id or customer.source_id or None


def _settle_customer(draft: Draft, given: Json, log: WalkLog | None) -> tuple[str, ...]:
    """Give a customer its name, and take out objects that hold nothing; return the event's own keys that served."""
    customer = draft.customer
    if customer.address is not UNSET and customer.address == NO_ADDRESS:
        customer.address = UNSET
    if customer.metadata is not UNSET and customer.metadata == {}:
        customer.metadata = UNSET
    name = customer.name
    if name and not name.isspace():
        return ()
    if name is UNSET and draft.first is None and draft.last is None and _OWN_NAMES.isdisjoint(given):
        return ()
    used = _settle_name(draft, given)
    if log is not None:
        log.own_names = used
    return used


def _settle_name(draft: Draft, given: Json) -> tuple[str, ...]:
    """Make a name of firstName and lastName, first the mapped ones, then the event's own.

    A blank name goes; a null stays, to erase.
    """
    customer = draft.customer
    first, last = present_text(draft.first), present_text(draft.last)
    used: tuple[str, ...] = ()
    if first is None and (first := present_text(given.get("firstName"))):
        used = ("firstName",)
    if last is None and (last := present_text(given.get("lastName"))):
        used = (*used, "lastName")
    if first and last:
        customer.name = f"{first.strip()} {last.strip()}"
    elif first or last:
        customer.name = (first or last or "").strip()
    elif customer.name is not None:
        customer.name = UNSET
    return used


def _event_name(event: Event, draft: Draft) -> str:
    """Return the mapped name, else the event's own, else its type."""
    mapped, name = draft.event, event.name
    if mapped is None and name and not name.isspace():
        return name  # as of nearly every event
    name = present_text(mapped)
    if name is not None:
        return name
    if mapped is not None and text_of(mapped) is None:
        draft.drop(("event",), NOT_TEXT)
    return present_text(event.name) or event.type


def _custom_event(name: str, draft: Draft) -> CustomEvent:
    body = CustomEvent(name, draft.customer)
    if draft.metadata:
        body.metadata = draft.metadata
    for part, content in draft.parts.items() if draft.parts else ():
        if settle_coded(content, part, draft.dropped):
            setattr(body, part, content)
    return body


def _too_long(name: str) -> str:
    return f"the event's name has {len(name)} characters and Voucherify takes at most {MAX_EVENT_NAME}"


def _too_deep(event: Event) -> Outcome:
    return Outcome(
        event, State.INVALID, "too_deep", f"a value that is mapped has more than {MAX_NESTING} levels"
    )
