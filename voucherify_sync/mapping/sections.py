"""Compile the sections of the settings: how events of one type, or of one name, become requests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from msgspec import Struct

from voucherify_sync.events import ORDERS, SENT_TYPES, Event, EventType, Kind
from voucherify_sync.expressions.conditions import parse_condition
from voucherify_sync.expressions.set_entries import set_entries
from voucherify_sync.mapping.name_lists import name_matcher
from voucherify_sync.mapping.rules import Rules, effective_rows, in_context
from voucherify_sync.paths import FieldPath, destination_parser
from voucherify_sync.settings.types import Identify, SectionSettings, Settings, TrackEntry

_BIRTHDATE: Final = ("customer", "birthdate")
_ALWAYS: Final = ("identify", "track")
"""Types whose sections are in the report of every run."""
_MAX_NAMES: Final = 10_000
"""Names of events whose entry is remembered."""


def entry_section(name: str) -> str:
    """Return the name of the section of an entry of `track.events`."""
    return f"events.{name}"


def name_of(event: Event) -> str:
    """Return by which name an event is filtered, and its entry found: its own, else its type, as it would be sent."""
    name = event.name
    return name if name and not name.isspace() else event.type


class _Names:
    """Finds the name in a list that an event has: an exact one, else the first pattern that matches."""

    def __init__(self, names: Iterable[str]) -> None:
        self._exact = frozenset(name for name in names if "*" not in name)
        self._patterns = [(name, name_matcher([name])) for name in names if "*" in name]
        self._found: dict[str, str | None] = {}
        self._last: tuple[Event | None, str | None] = (None, None)  # several rules ask of one event

    def of(self, event: Event) -> str | None:
        """Return the name for a track event; None if there is none."""
        asked, name = self._last
        if asked is not event:
            name = self.find(name_of(event))
            self._last = event, name
        return name

    def find(self, name: str) -> str | None:
        """Return the name for events of a name; None if there is none."""
        if name in self._found:
            return self._found[name]
        found = self._find(name)
        if len(self._found) < _MAX_NAMES:
            self._found[name] = found
        return found

    def _find(self, name: str) -> str | None:
        if name in self._exact:
            return name
        return next((pattern for pattern, matches in self._patterns if matches(name)), None)


class NamedEvents:
    """Tells for which track events the settings say something of their own: those of orders, and single ones.

    Names are those of the events as they came, before any `rename`.
    """

    def __init__(self, settings: Settings) -> None:
        orders, entries = settings.orders, settings.track.events
        self._orders = None if orders.disabled else _Names(orders.events)
        self._entries = _Names(entries) if entries else None

    def order(self, event: Event) -> str | None:
        """Return the name under which `orders.events` has an event; None if it is sent as no part of an order."""
        if self._orders is None or event.as_event or event.type != "track":
            return None
        return self._orders.of(event)

    def entry(self, event: Event) -> str | None:
        """Return the name of the entry of `track.events` that holds for an event; None for none."""
        return None if self._entries is None or event.type != "track" else self._entries.of(event)

    def entry_of_name(self, name: str) -> str | None:
        """Return the name of the entry of `track.events` for events of a name; None for none."""
        return None if self._entries is None else self._entries.find(name)


class Section(Struct, frozen=True, eq=False):
    """How events of one type, or track events of one name, become requests.

    Attributes:
        name: in the report: that of the type, or ``events.`` and the name of an entry of `track.events`.
        type: of its events.
        is_customer: its requests are customer updates.
        settings: that hold for it; those of an entry with what it takes from track.
        rules: its rows, `set` and constants.
        context_rules: of an identify whose traits stand in its context; None where those are ignored.
        carries_unmapped: what no row reads goes to metadata.
        joins_own_names: a name is made of the event's own first and last name, too.
        rename: the name that is sent, unless the mapping fills it; None for the event's own.
        watches_names: a row of the default table fills the customer's name by a property.
        birthdates: where rows read the customer's birthdate.
        asked: what the conditions read that its events have met.
    """

    name: str
    type: EventType
    is_customer: bool
    settings: SectionSettings
    rules: Rules
    context_rules: Rules | None
    carries_unmapped: bool
    joins_own_names: bool
    rename: str | None
    watches_names: bool
    birthdates: tuple[FieldPath, ...]
    asked: tuple[FieldPath, ...]

    @property
    def all_rules(self) -> list[Rules]:
        """Its rules, and those for traits in the context."""
        return [self.rules] if self.context_rules is None else [self.rules, self.context_rules]


class Sections:
    """The compiled sections of the settings.

    Attributes:
        by_name: all of them, the types in their order, after track its entries, and last orders.
        names: which events are orders or have an entry.
    """

    def __init__(self, settings: Settings) -> None:
        self.by_name: dict[str, Section] = {}
        for type_ in SENT_TYPES.values():
            own = getattr(settings, type_.name)
            if own.disabled and type_.name not in _ALWAYS:
                continue  # its events are left out by type
            self.by_name[type_.name] = _compiled(type_.name, type_, own)
            for name, entry in own.events.items() if type_.name == "track" else ():
                section = entry_section(name)
                self.by_name[section] = _compiled(section, type_, own.for_entry(entry), entry)
        self.names = NamedEvents(settings)
        if not settings.orders.disabled:
            self.by_name[ORDERS.name] = _compiled(ORDERS.name, ORDERS, settings.orders)

    def of(self, event: Event) -> Section | None:
        """Return the section of an event; None for a type of which no requests are made."""
        if self.names.order(event) is not None:
            return self.by_name[ORDERS.name]
        entry = self.names.entry(event)
        return self.by_name.get(event.type if entry is None else entry_section(entry))

    def named(self, name: str) -> Section | None:
        """Return a section; for an entry that these settings do not have, the one of which its events are."""
        section, prefix = self.by_name.get(name), entry_section("")
        if section is None and name.startswith(prefix):
            entry = self.names.entry_of_name(name.removeprefix(prefix))
            section = self.by_name.get("track" if entry is None else entry_section(entry))
        return section

    def rules(self) -> Iterator[Rules]:
        """Yield all rules."""
        for section in self.by_name.values():
            yield from section.all_rules


def _compiled(
    name: str,
    type_: EventType,
    settings: SectionSettings,
    entry: TrackEntry | None = None,
) -> Section:
    replaces = bool(settings.set) and type_ is not ORDERS
    rows = effective_rows(
        type_.name, settings.mapping, extend_default=settings.extend_default, has_set=replaces
    )
    parse = destination_parser(type_.name)
    is_customer = type_.kind is Kind.CUSTOMER
    if is_customer:  # it has no use for rows that fill a custom event
        rows = [row for row in rows if row.destination.keys[0] == "customer"]
    entries = set_entries(settings.set, parse=parse)
    keep_nulls = getattr(settings, "nulls", "omit") == "clear"
    rules = Rules((type_.root,), rows, entries, settings.add, keep_nulls=keep_nulls, parse=parse)
    context_rules = None
    if isinstance(settings, Identify) and settings.context_traits == "fallback":
        context_rules = in_context(rows, entries, settings.add, keep_nulls=keep_nulls)
    compiled = [rules] if context_rules is None else [rules, context_rules]
    conditions = [settings.where, None if entry is None else entry.where]
    return Section(
        name=name,
        type=type_,
        is_customer=is_customer,
        settings=settings,
        rules=rules,
        context_rules=context_rules,
        carries_unmapped=settings.unmapped == "metadata",
        joins_own_names=getattr(settings, "name_from_parts", False),
        rename=None if entry is None else entry.rename,
        watches_names=type_.name == "track"
        and any(row.is_default and row.destination.text == "customer.name" for row in rows),
        birthdates=tuple(
            row.source for each in compiled for row in each.rows if row.destination.keys == _BIRTHDATE
        ),
        asked=tuple(source for text in conditions if text for source in parse_condition(text).sources),
    )
