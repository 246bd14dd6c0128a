"""Map a Segment event to the request to Voucherify: rows, fallbacks, field types and ids, in one walk of the event.

An event of which no request can be made becomes an Outcome. Nothing is sent, and no event is changed.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Final

import msgspec
from msgspec import UNSET, Struct

from voucherify_sync.events import ORDERS, Event, Json, Kind, Request
from voucherify_sync.field_types import (
    BLANK,
    BLANK_ID,
    MAX_NESTING,
    NOT_TEXT,
    TOO_LONG,
    date_of,
    normalize_coded,
    present_text,
)
from voucherify_sync.fields import MAX_EVENT_NAME, CustomerBody, CustomEvent
from voucherify_sync.findings import (
    EVENTS_OF_VOUCHERIFY,
    FROM_VOUCHERIFY,
    HALF_NAME,
    NAMED_BY_PROPERTIES,
    NAMED_BY_TYPE,
    NO_OBJECT,
    NO_ORDER_ID,
    TRAITS_OF_ANOTHER,
)
from voucherify_sync.mapping.drafts import NO_ADDRESS, Draft, copied
from voucherify_sync.mapping.filters import reason_of_type
from voucherify_sync.mapping.orders import OrderBody, order_alone, order_of, shape_of_order
from voucherify_sync.mapping.rules import (
    CONTEXT_TRAITS,
    WHOSE_TRAITS,
    Rules,
)
from voucherify_sync.mapping.sections import Section, Sections
from voucherify_sync.mapping.slips import ODD_STARTS, SPELLINGS, looks_like_a_slip
from voucherify_sync.mapping.stats import MAX_KEYS_OF_PART, MappingStats, SectionStats
from voucherify_sync.mapping.walk import find_unmapped_in_context, note_no_object, walk
from voucherify_sync.outcomes import Outcome, State
from voucherify_sync.paths import holds_a_non_number, read
from voucherify_sync.settings.types import Settings
from voucherify_sync.text import text_of

_IDENTIFIERS: Final = frozenset(
    {"email", "id", "userId", "user_id", "anonymousId", "anonymous_id", "source_id"}
)
"""Traits that come along with a computed one only to say whose it is."""
_NOT_FINITE: Final = "a value that is sent is NaN, Infinity or out of range, which JSON cannot carry"
_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
"""Stands in a text that is made of one that had to be repaired."""
_BROKEN_ID: Final = "the id that names its customer is broken text"
_encode = msgspec.json.Encoder().encode

LeaveOut = Callable[[str], str | None]
"""Tells why no request is made to the customer of this source_id; None makes it."""


class MappedRecord(Struct, frozen=True, gc=False):
    """What is sent for one event, before it is encoded.

    Attributes:
        section: by which it was mapped.
        rules: of the section.
        source_id: as in Request.
        body: the whole body, which holds the draft's customer or is it.
        draft: of what it was made, with the values left out of the body.
    """

    section: Section
    rules: Rules
    source_id: str
    body: CustomerBody | CustomEvent | OrderBody
    draft: Draft


class Mapper:
    """The mapping of the settings, compiled once.

    Args:
        settings: whose rows are compiled.
        leave_out: called once the customer is known, before anything is counted.
        folds: requests carry the customer parts of custom events, to be folded.
        refers: custom events only name their customers, which are sent before them: so an event of long ago cannot
            overwrite a newer profile.
        folds_orders: the body of an order is what one event says of it, to be folded; else it is the order that this
            event alone makes.

    Attributes:
        sections: compiled.
    """

    def __init__(
        self,
        settings: Settings,
        leave_out: LeaveOut | None = None,
        *,
        folds: bool = False,
        refers: bool = False,
        folds_orders: bool = False,
    ) -> None:
        self._folds = folds
        self._refers = refers
        self._folds_orders = folds_orders
        self.sections = Sections(settings)
        self._stats = MappingStats.of(self.sections)
        self._leave_out = leave_out
        self._carries_personas = not settings.personas.disabled
        self._orders = orders = settings.orders
        self._tells_time = not orders.mapping or bool(orders.extend_default)

    @property
    def stats(self) -> MappingStats:
        """What the mapping did so far, with what its routes have counted."""
        for section in self.sections.by_name.values():
            for rules in section.all_rules:
                self._stats.sections[section.name].add_counted(rules)
        return self._stats

    def find(self, code: str, position: object, text: str) -> None:
        """Count what a person should know of an event."""
        self._stats.find(code, position, text)

    def cut_stats(self) -> MappingStats:
        """Return the statistics since the last call, and begin those of the next part of the input."""
        stats, self._stats = self.stats, MappingStats.of(self.sections, MAX_KEYS_OF_PART)
        return stats

    def request(self, event: Event) -> Request | Outcome:
        """Make the request of one event; never raises for what an event may hold."""
        try:
            mapped = self._map(event, traces=False)
            return self._encoded(event, mapped) if type(mapped) is MappedRecord else mapped  # type: ignore[return-value]
        except RecursionError:
            return _too_deep(event)

    def mapped(self, event: Event, *, traces: bool = False) -> MappedRecord | Outcome:
        """Map an event without encoding the body; the draft keeps every match if it `traces`."""
        try:
            return self._map(event, traces)
        except RecursionError:
            return _too_deep(event)

    def encoded(self, event: Event, mapped: MappedRecord) -> Request | Outcome:
        """Return the request of an event, or its outcome where it cannot be sent."""
        try:
            return self._encoded(event, mapped)
        except RecursionError:
            return _too_deep(event)

    def deciding_values(self, event: Event) -> Hashable:
        """Return what decides where values go, beside the keys of an event, their types and which texts are blank.

        That is whether birthdates are dates, whose the traits of the context are, and which trait is computed. An order
        is mapped for it: which values are amounts, and which products make items, decides what it holds.
        """
        fields, section = event.fields, self.sections.of(event)
        assert section is not None  # noqa: S101  # a request was made of it
        if section.type is ORDERS:
            mapped = self.mapped(event)
            if type(mapped) is not MappedRecord:
                return section.name, mapped.reason  # type: ignore[union-attr]
            filled = shape_of_order(mapped.body)  # type: ignore[arg-type]
            return section.name, filled, tuple(mapped.draft.dropped), section.rules.shapes(fields)
        dates = [read(fields, source) for source in section.birthdates]
        traits = traits_in(fields)
        return (
            section.name,
            tuple([date_of(text_of(value) or "") is not None for value in dates]),
            traits is not None and names_another(traits, fields),
            _computed_trait(fields),
            section.rules.shapes(fields),
            section.context_rules.shapes(fields | {CONTEXT_TRAITS[1]: traits})
            if traits and section.context_rules
            else None,
        )

    def _encoded(self, event: Event, mapped: MappedRecord) -> Request:
        customer, body, source_id = mapped.draft.customer, mapped.body, mapped.source_id
        if type(body) is OrderBody:
            payload = _encode(body)
            return Request(
                event,
                Kind.ORDER,
                source_id,
                payload if self._folds_orders else _encode(order_alone(payload)),
                event.name,
                has_profile=False,
                is_anonymous=_is_anonymous(event.fields, source_id),
                order_id=body.source_id,
            )
        is_anonymous = source_id is not event.fields.get("userId") and _is_anonymous(event.fields, source_id)
        is_by_id = customer.id is not UNSET
        if type(body) is CustomerBody:
            payload = _encode(body)
            folded = _encode_for_fold(mapped.draft) if self._folds and mapped.draft.half_name else None
            return Request(
                event, Kind.CUSTOMER, source_id, payload, None, is_by_id, True, folded, is_anonymous
            )
        assert type(body) is CustomEvent  # noqa: S101  # there are two
        has_profile = customer != CustomerBody(customer.source_id, customer.id)
        folded = _encode_for_fold(mapped.draft) if self._folds and has_profile else None
        if self._refers and not is_by_id:
            body.customer = CustomerBody(source_id)
        return Request(
            event,
            Kind.EVENT,
            source_id,
            _encode(body),
            body.event,
            is_by_id,
            has_profile,
            folded,
            is_anonymous,
        )

    def _map(self, event: Event, traces: bool) -> MappedRecord | Outcome:
        section = self.sections.of(event)
        if section is None:
            return Outcome(event, State.SKIPPED, reason_of_type(event.type))
        fields = event.fields
        own_id = _own_id(fields)
        rules, draft = self._walked(section, event, own_id, traces)
        if section.type.name == "group" and not _says_something(draft, fields):
            return Outcome(event, State.SKIPPED, "no_group_id")
        if draft.unmapped or section.is_customer:
            self._carry_unmapped(section, event, draft)
        if event.unsafe and _is_not_finite(fields, draft):
            return Outcome(event, State.INVALID, "not_finite", _NOT_FINITE)
        source_id = _normalize_ids(draft, own_id)
        if source_id is None:
            return Outcome(event, State.SKIPPED, "no_id")
        if self._leave_out is not None and (reason := self._leave_out(source_id)):
            event.key = (
                None  # as of all that the filters leave out: what became of it does not matter to this run
            )
            return Outcome(event, State.SKIPPED, reason)
        if event.repaired and _is_broken(event, rules, draft.customer):
            return Outcome(event, State.INVALID, "broken_id", f"{_BROKEN_ID}: {source_id}")
        body = self._body(section, event, draft, source_id)
        if type(body) is Outcome:
            return body
        if draft.half_name is not None or source_id[0] in ODD_STARTS or source_id in SPELLINGS:
            self._find_in_customer(section, event, source_id, draft)
        self._count(section, rules, event, draft)
        return MappedRecord(section, rules, source_id, body, draft)  # type: ignore[arg-type]

    def _body(
        self, section: Section, event: Event, draft: Draft, source_id: str
    ) -> CustomerBody | CustomEvent | OrderBody | Outcome:
        if section.type is ORDERS:
            return self._order(event, draft, source_id)
        body = draft.customer if section.is_customer else self._custom_event(section, event, draft)
        if type(body) is not Outcome:
            _normalize_customer(draft, joins_own=section.joins_own_names)
        return body

    def _find_in_customer(self, section: Section, event: Event, source_id: str, draft: Draft) -> None:
        """Count half a name, and an id that looks like a slip."""
        if draft.half_name is not None and section.is_customer:
            self._stats.find(HALF_NAME, event.position, str(draft.customer.name))
        if looks_like_a_slip(source_id):
            self._stats.slips.add(event, source_id, draft.customer)

    def _walked(
        self, section: Section, event: Event, own_id: str | None, traces: bool
    ) -> tuple[Rules, Draft]:
        """Walk an event; return what its rows make of it, and their rules.

        RudderStack's libraries put the traits of an identify into its context. They stand in for missing traits, unless
        they name another person. Who they are of is no trait.
        """
        fields, rules, type_ = event.fields, section.rules, section.type
        if type_.name == "group":  # its id is an id: a number is its text, and what is none erases nothing
            group_id = present_text(fields.get("groupId"))
            fields = {key: value for key, value in fields.items() if key != "groupId"}
            fields |= {} if group_id is None else {"groupId": group_id}
        given = fields.get(type_.root)
        own = given if type(given) is dict else {}
        context: Any = fields.get(CONTEXT_TRAITS[0]) if rules.context_tree is not None else None
        told: Any = context.get(CONTEXT_TRAITS[1]) if type(context) is dict else None
        if told and not given and type(told) is dict and section.context_rules is not None:
            if names_another(told, fields):
                self._stats.find(TRAITS_OF_ANOTHER, event.position, str(text_of(told["userId"])))
            else:
                rules, own = section.context_rules, told
                if not WHOSE_TRAITS.isdisjoint(told):
                    own = {key: value for key, value in told.items() if key not in WHOSE_TRAITS}
                    fields = fields | {CONTEXT_TRAITS[0]: context | {CONTEXT_TRAITS[1]: own}}
        draft = walk(rules, event, fields, own_id, own, traces=traces)
        if told is not None and rules is section.rules:
            if type(told) is dict:
                find_unmapped_in_context(draft, rules, fields, told)
            else:
                note_no_object(draft, rules, fields, CONTEXT_TRAITS, told)
        if given is not None and type(given) is not dict:
            note_no_object(draft, rules, fields, section.rules.root, given)
        return rules, draft

    def _custom_event(self, section: Section, event: Event, draft: Draft) -> CustomEvent | Outcome:
        """Make the body of a custom event, of which the customer is yet to be normalized."""
        name = _event_name(section, event, draft)
        if name is None:
            name, own = event.type, event.fields.get("event")
            if section.type.name == "track":  # pages and screens have no name of an event
                self._stats.find(NAMED_BY_TYPE, event.position, "" if own is None else _brief(own))
        elif name in EVENTS_OF_VOUCHERIFY:
            self._stats.find(FROM_VOUCHERIFY, event.position, name)
        if len(name) > MAX_EVENT_NAME:
            detail = (
                f"the event's name has {len(name)} characters and Voucherify takes at most {MAX_EVENT_NAME}"
            )
            return Outcome(event, State.INVALID, TOO_LONG, detail)
        if section.watches_names and draft.customer.name is not UNSET:
            # properties.name is the name of a product, a page or a campaign.
            own_name = present_text(draft.traits_or_properties.get("name"))
            if own_name is not None and draft.customer.name == own_name:
                self._stats.find(NAMED_BY_PROPERTIES, event.position, own_name)
        body = CustomEvent(name, draft.customer)
        if draft.metadata:
            body.metadata = draft.metadata
        for part, content in draft.parts.items() if draft.parts else ():
            if normalize_coded(content, part, draft.dropped):
                setattr(body, part, content)
        return body

    def _order(self, event: Event, draft: Draft, source_id: str) -> OrderBody | Outcome:
        """Make what is folded of an order."""
        status = self._orders.events[self.sections.names.order(event) or ""]
        body = order_of(event, draft, self._orders, status, tells_time=self._tells_time)
        if type(body) is OrderBody:
            body.customer = {"source_id": source_id}
        elif type(body) is Outcome and body.reason == NO_ORDER_ID and self._orders.instead_of_events:
            self._stats.find(NO_ORDER_ID, event.position, event.name or "")
        return body

    def _carry_unmapped(self, section: Section, event: Event, draft: Draft) -> None:
        """Carry to metadata what no row reads, where the settings say so."""
        if draft.unmapped and section.carries_unmapped:
            _carry(draft, draft.unmapped, of_customer=section.is_customer)
        if section.type.name == "identify" and self._carries_personas:
            _carry_personas(event, draft)

    def _count(self, of: Section, rules: Rules, event: Event, draft: Draft) -> None:
        """Count what the mapping did with one event. Its routes count most of it themselves."""
        section = self._stats.sections[of.name]
        section.events += 1
        are_remembered = True
        for route in draft.routes:
            if not route.taken_count:
                rules.taken_routes.append(route)
                are_remembered = are_remembered and route.is_remembered
            route.taken_count += 1
        if draft.matched_rows or draft.filled or draft.dropped:
            section.add_found(draft)
            rules.count_filled(draft.filled)
        if draft.unmapped_inside or draft.no_objects:
            self._count_rest(section, event, draft)
        outermost = draft.outermost
        if outermost is None or outermost.unmapped is not draft.unmapped or draft.own_names:
            if outermost is not None:
                outermost.carried_count += 1
            values = draft.traits_or_properties
            left = [key for key in draft.unmapped if key not in draft.own_names and values[key] is not None]
            for key in left:
                section.unmapped.add(rules.tree.path_of(key))
        if not are_remembered:  # no later event takes such a route, so it is not kept for its counts
            section.add_counted(rules)

    def _count_rest(self, section: SectionStats, event: Event, draft: Draft) -> None:
        """Count what the keys at the root do not tell."""
        for path in draft.unmapped_inside:
            section.unmapped.add(path)
        if draft.no_objects:
            self._stats.find(NO_OBJECT, event.position, _brief(draft.no_objects[0]))


def _own_id(fields: Json) -> str | None:
    """Return the event's userId, else its anonymousId, as text; None if neither can be used."""
    user_id: str | None = fields.get("userId")
    if type(user_id) is str and user_id and not user_id.isspace():
        return user_id  # as for nearly every event
    return present_text(user_id) or present_text(fields.get("anonymousId"))


def _brief(value: object) -> str:
    """Return how a value of the wrong type is shown as an example."""
    if isinstance(value, list | dict):
        return "[…]" if isinstance(value, list) else "{…}"
    return "true" if value is True else "false" if value is False else text_of(value) or str(value)


def _is_anonymous(fields: Json, source_id: str) -> bool:
    """Tell whether a customer is named by the event's anonymousId, since it has no userId."""
    return present_text(fields.get("userId")) is None and source_id == present_text(fields.get("anonymousId"))


def _carry(draft: Draft, keys: Sequence[str], *, of_customer: bool) -> None:
    """Put values into a metadata object, where no row has put that key."""
    metadata = draft.free_object(of_customer=of_customer)
    carried = [key for key in keys if key not in metadata]
    for key in carried:
        metadata[key] = copied(draft.traits_or_properties[key])
    draft.carried = (*draft.carried, *carried)
    draft.unmapped = tuple([key for key in draft.unmapped if key not in carried])


def _carry_personas(event: Event, draft: Draft) -> None:
    """Carry a computed trait or an audience, which no table can know, to the customer's metadata."""
    computed = _computed_trait(event.fields)
    if computed is None:
        return
    keys = [key for key in draft.unmapped if key not in _IDENTIFIERS]
    if computed not in keys and computed in draft.traits_or_properties:
        keys.append(computed)  # also as null: it takes the person out
    if keys:
        _carry(draft, keys, of_customer=True)


def _computed_trait(fields: Json) -> str | None:
    """Return the name of the trait that was computed; empty if only something was, None if nothing was."""
    context = fields.get("context")
    personas = context.get("personas") if context and isinstance(context, dict) else None
    if not isinstance(personas, dict):
        return None
    key = personas.get("computation_key")
    return key if isinstance(key, str) else ""


def _is_not_finite(fields: Json, draft: Draft) -> bool:
    """Tell whether what is sent holds a number that JSON cannot carry; the event's id is sent, too."""
    found = [value for _, value in draft.matches] + [value for value, _ in draft.set_values]
    sent = [value for value in found if not isinstance(value, dict)]
    sent += [draft.metadata, draft.customer.metadata, draft.parts, fields.get("userId")]
    return any(map(holds_a_non_number, sent))


def _normalize_ids(draft: Draft, own_id: str | None) -> str | None:
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


def _normalize_customer(draft: Draft, *, joins_own: bool) -> None:
    """Give a customer its name, and take out objects that hold nothing.

    A name is made of firstName and lastName, first the mapped ones, then the event's own if it `joins_own`. A null
    that nothing fills stays, to erase.
    """
    customer = draft.customer
    if customer.address is not UNSET and customer.address == NO_ADDRESS:
        customer.address = UNSET
    if customer.metadata is not UNSET and customer.metadata == {}:
        customer.metadata = UNSET
    if customer.name:
        return
    first, last = draft.first, draft.last
    if (first is None or last is None) and joins_own:
        values = draft.traits_or_properties
        if first is None and "firstName" in values and (first := present_text(values["firstName"])):
            draft.own_names = ("firstName",)
        if last is None and "lastName" in values and (last := present_text(values["lastName"])):
            draft.own_names = (*draft.own_names, "lastName")
    if first is not None and last is not None:
        customer.name = f"{first.strip()} {last.strip()}"
    elif first is not None:
        customer.name, draft.half_name = first.strip(), "firstName"
    elif last is not None:
        customer.name, draft.half_name = last.strip(), "lastName"


def _encode_for_fold(draft: Draft) -> bytes:
    """Encode a customer for the fold: half a name is no name until the fold knows the other half."""
    customer, half = draft.customer, draft.half_name
    if half is None:
        return _encode(customer)
    name, customer.name = customer.name, UNSET
    payload = _encode(customer)
    customer.name = name
    return b"%b,%b:%b}" % (payload[:-1], _encode(half), _encode(name))


def _event_name(section: Section, event: Event, draft: Draft) -> str | None:
    """Return the mapped name, else the one of the settings or the event's own; None if none can be used.

    Then the type is the name.
    """
    mapped, name = draft.event, section.rename or event.name
    if mapped is None and name and not name.isspace():
        return name  # as of nearly every event
    text = present_text(mapped)
    if text is None and mapped is not None:
        draft.drop(("event",), NOT_TEXT if text_of(mapped) is None else BLANK)
    return text or present_text(name)


def _is_broken(event: Event, rules: Rules, customer: CustomerBody) -> bool:
    """Tell whether an id of the customer is a text that had to be repaired, or is made of one."""
    ids = [each for each in (customer.id, customer.source_id) if type(each) is str]
    is_made_of_one = rules.makes_ids and any(_REPLACEMENT in each for each in ids)
    return is_made_of_one or any(map(event.is_repaired, ids))


def _says_something(draft: Draft, fields: Json) -> bool:
    """Tell whether a group event names its group, or a row or an entry of `set` found something in it."""
    return (
        present_text(fields.get("groupId")) is not None
        or bool(draft.matched_rows or draft.filled)
        or any(route.leaves for route in draft.routes)
    )


def _too_deep(event: Event) -> Outcome:
    detail = f"a value that is mapped has more than {MAX_NESTING} levels"
    return Outcome(event, State.INVALID, "too_deep", detail)


def is_remarkable(value: object) -> bool:
    """Tell whether a value may make a finding where it is an id or the name of an event; a text alone may make none."""
    return type(value) is not str or value in EVENTS_OF_VOUCHERIFY or looks_like_a_slip(value)


def names_another(traits: Json, fields: Json) -> bool:
    """Tell whether the traits of a context say that they are those of another user than the event's."""
    user_id = present_text(traits.get("userId"))
    return user_id is not None and user_id != present_text(fields.get("userId"))


def traits_in(fields: Json) -> Json | None:
    """Return the traits of an event's context, if that holds an object of them."""
    context = fields.get(CONTEXT_TRAITS[0])
    traits = context.get(CONTEXT_TRAITS[1]) if context and type(context) is dict else None
    return traits if type(traits) is dict else None
