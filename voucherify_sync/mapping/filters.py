"""Decide which events are skipped, by the rules of the settings and of the command line.

Most rules look at the event alone. Those on customers apply once the mapping has found the customer's id. What was
compared is counted: it shows what may be meant by a name, an id or a period that meets nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Final

from msgspec import Struct, field

from voucherify_sync.events import EVENT_TYPES, ORDERS, SENT_TYPES, Event
from voucherify_sync.expressions.conditions import Condition, parse_condition
from voucherify_sync.field_types import present_text
from voucherify_sync.mapping.name_lists import NameList, NamesMet
from voucherify_sync.mapping.rules import OUR_INTEGRATIONS
from voucherify_sync.mapping.sampling import SampleMet
from voucherify_sync.mapping.sections import NamedEvents, entry_section, name_of
from voucherify_sync.mapping.stats import MAX_KEYS_OF_PART, NameCounts
from voucherify_sync.outcomes import OTHER_TYPE
from voucherify_sync.paths import MISSING, FieldPath, read
from voucherify_sync.settings.types import ORDER_EVENTS, Settings
from voucherify_sync.stop import Stop
from voucherify_sync.text import clean, counted, listed, utc_text

_SKIPPED_TYPES: Final = {kind: f"type_{kind}" for kind in EVENT_TYPES} | {
    "identify": "identify_disabled",
    "track": "track_disabled",
}
"""Type of event -> the reason why its events are skipped where that is so by type."""


SetTime = Callable[[Event], None]
"""Finds out when an event happened, and sets its time."""


class Selection(Struct, frozen=True):
    """What the command line picks. Empty sets and None pick everything.

    Attributes:
        types: only events of these types.
        names: only track events of these names; a ``*`` matches any run of characters.
        users: only customers whose source_id would be one of these.
        exclude_ids: no customer whose source_id, or whose userId or anonymousId in the event, is one of these.
        since: only events of this time or later; events without a time are kept.
        until: only events before this time; events without a time are kept.
        where: only events for which this condition holds; None: all.
        sample: percentage of the customers that are kept, by their source_id; None: all.
        needs_times: leave out nothing by it, but set the time of each event, also of one that makes no request or says
            nothing of a customer.
    """

    types: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    users: frozenset[str] = frozenset()
    exclude_ids: frozenset[str] = frozenset()
    since: datetime | None = None
    until: datetime | None = None
    where: str | None = None
    sample: float | None = None
    needs_times: bool = False


def own_ids(event: Event) -> list[str]:
    """Return the userId and the anonymousId of an event, without those that cannot be used."""
    ids = [present_text(event.fields.get(key)) for key in ("userId", "anonymousId")]
    return [own_id for own_id in ids if own_id is not None]


class PeriodMet(Struct, array_like=True):
    """How the times of events fit the period that the command line picks, in the input or in a part of it.

    Attributes:
        seen: events that were compared with it.
        kept: of these, the ones inside of it or without a time.
        first: the earliest time.
        last: the latest time.
    """

    seen: int = 0
    kept: int = 0
    first: datetime | None = None
    last: datetime | None = None

    def add(self, time: datetime | None, *, is_kept: bool) -> None:
        """Note an event."""
        self.seen += 1
        self.kept += is_kept
        if time is not None:
            if self.first is None or time < self.first:
                self.first = time
            if self.last is None or time > self.last:
                self.last = time

    def merge(self, later: PeriodMet) -> None:
        """Add what was compared in a later part of the input."""
        self.seen += later.seen
        self.kept += later.kept
        if later.first is not None and later.last is not None:
            self.first = later.first if self.first is None else min(self.first, later.first)
            self.last = later.last if self.last is None else max(self.last, later.last)


class ConditionMet(Struct, array_like=True):
    """How events fit a condition, in the input or in a part of it.

    Attributes:
        seen: events that it was asked of.
        has_held: it held of one of them.
        found: indexes of its fields that one of the events had which it was asked of before it held.
    """

    seen: int = 0
    has_held: bool = False
    found: set[int] = field(default_factory=set)

    def merge(self, later: ConditionMet) -> None:
        """Add what came of it in a later part of the input."""
        self.seen += later.seen
        self.has_held |= later.has_held
        self.found |= later.found


class WatchedCondition:
    """A condition that notes what it is asked of, to tell one that never holds.

    Args:
        name: where it is given, such as --where or track.where.
        text: the condition.
        type_: of all events that it is asked of; None if it is asked of every event.

    Attributes:
        met: what came of it.
    """

    def __init__(self, name: str, text: str, type_: str | None = None) -> None:
        self.name = name
        self._type = type_
        self.condition = parse_condition(text)
        self.met = ConditionMet()

    def holds(self, fields: dict[Any, Any]) -> bool:
        """Tell whether it holds of an event's fields."""
        met, is_held = self.met, self.condition.holds(fields)
        met.seen += 1
        if is_held:
            met.has_held = True
        elif not met.has_held and len(met.found) < len(self.condition.sources):
            sources = enumerate(self.condition.sources)
            met.found |= {index for index, source in sources if read(fields, source) is not MISSING}
        return is_held

    def names(self) -> NameList:
        """Return the names of track events that it compares with; empty if it is asked of no track event."""
        is_of_tracks = self._type in (None, "track")
        return NameList(self.name, self.condition.event_names() if is_of_tracks else ())

    def notices(self) -> Iterator[str]:
        """Yield what a person should know of it: that it never held, which of its fields no event has, and slips."""
        if not self.met.seen:
            return
        for doubt in self.condition.doubts(self._type, has_never_held=not self.met.has_held):
            yield f"{self.name}: {doubt}{'' if doubt.endswith('?') else '.'}"
        if self.met.has_held:
            return
        sources = enumerate(self.condition.sources)
        absent = [source.text for index, source in sources if index not in self.met.found]
        why = f"; none of them has {listed(absent, clean, 5)}" if absent else ""
        yield f"{self.name}: the condition holds of none of {counted(self.met.seen, 'event')}{why}."


class FiltersMet(Struct, array_like=True):
    """What the filters met in a part of the input: for lists of names, conditions, period and sample.

    Of track events the names are counted, too, where a condition compares them.
    """

    names: list[NamesMet]
    track_names: NameCounts
    conditions: list[ConditionMet]
    period: PeriodMet
    sample: SampleMet


class Filters:
    """The rules of the settings and of the command line.

    Attributes:
        lists: the lists of names and ids that are given, with what was compared with them.
        period: the times that were compared with --since and --until.
        sample: the customers that were compared with --sample.
        has_customer_rules: `reason_to_skip_customer` must be asked, too.
        has_period: the time of every event that is not skipped is set.
    """

    def __init__(self, settings: Settings, selection: Selection, set_time: SetTime) -> None:
        self._settings = settings
        self._selection = selection
        self._set_time = set_time
        self._reason_of_type = {
            kind: reason_of_type(kind) if getattr(settings, kind).disabled else None for kind in SENT_TYPES
        }
        entries = settings.track.events
        self._names = NamedEvents(settings)
        self._disabled_entries = frozenset(name for name, entry in entries.items() if entry.disabled)
        self._selected_where = (
            None if selection.where is None else WatchedCondition("--where", selection.where)
        )
        self._conditions = _conditions(settings)
        self._asked = {
            (kind, entry): [
                self._conditions[section]
                for section in (kind, None if entry is None else entry_section(entry))
                if section in self._conditions
            ]
            for kind in SENT_TYPES
            for entry in (None, *(entries if kind == "track" else ()))
        }
        self._asked_of_orders = [self._conditions[ORDERS.name]] if ORDERS.name in self._conditions else []
        orders = settings.orders
        own_names = () if orders.disabled or orders.events == ORDER_EVENTS else orders.events
        self._with_orders = NameList("orders.events", own_names)
        self._watched = [*self._conditions.values()]
        if self._selected_where is not None:
            self._watched.append(self._selected_where)
        self._selected = NameList("--event", sorted(selection.names))
        self._allowed = NameList("track.events_filter", settings.track.events_filter)
        self._excluded = NameList("track.events_exclude", settings.track.events_exclude)
        self._users = NameList("--user", sorted(selection.users), are_ids=True)
        self._excluded_ids = NameList("--exclude-ids", sorted(selection.exclude_ids), are_ids=True)
        self._with_entries = NameList("track.events", entries)
        in_conditions = [watched.names() for watched in self._watched]
        self._compared = [names for names in (self._with_orders, *in_conditions) if names.is_given]
        self._track_names = NameCounts(most=MAX_KEYS_OF_PART)
        lists = (
            self._selected,
            self._allowed,
            self._excluded,
            self._with_entries,
            self._users,
            self._excluded_ids,
        )
        self.lists = [names for names in lists if names.is_given]
        self.period = PeriodMet()
        self.sample = SampleMet()
        self._has_name_rules = bool(
            selection.names or settings.track.events_filter or settings.track.events_exclude or entries
        )
        self.has_period = selection.since is not None or selection.until is not None
        self.has_customer_rules = bool(
            selection.users or selection.exclude_ids or selection.sample is not None
        )
        self._has_more_rules = bool(
            settings.identity.ignore_anonymous
            or selection.types
            or self._has_name_rules
            or self._conditions
            or self._selected_where is not None
            or self.has_period
            or selection.exclude_ids
        )

    def reason_to_skip(self, event: Event) -> str | None:
        """Return why an event is not mapped at all, or None.

        Names are compared first, whatever else skips the event, so that what is said of them is true of all events.
        """
        kind = event.type
        if kind not in self._reason_of_type:
            return reason_of_type(kind)
        if self._compared and kind == "track":
            self._track_names.add(name_of(event))
        is_order = self.is_order(event)
        reason_of_name = None
        if self._has_name_rules and kind == "track":
            reason_of_name = self._reason_of_name(event, is_order)
        if (reason := self._reason_of_type[kind]) and not is_order:
            return reason
        integrations = event.fields.get("integrations")
        if integrations and isinstance(integrations, dict):
            # `All` does not count: archives hold it for other reasons.
            values = [integrations.get(key) for key in OUR_INTEGRATIONS]
            if any(value is False for value in values):
                return "integration_off"
        return self._reason_of_rules(event, reason_of_name) if self._has_more_rules else None

    def is_order(self, event: Event) -> bool:
        """Tell whether an event is sent as a part of an order."""
        return self._names.order(event) is not None

    def _reason_of_name(self, event: Event, is_order: bool) -> str | None:
        """Compare the name of a track event with every list. The settings of track do not concern orders."""
        name, track = name_of(event), self._settings.track
        if self._with_entries.is_given:
            self._with_entries.sees(name)
        is_selected = not self._selection.names or self._selected.sees(name)
        is_allowed = not track.events_filter or self._allowed.sees(name)
        is_excluded = bool(track.events_exclude) and self._excluded.sees(name)
        if not is_selected:
            return "not_selected"
        if is_order:
            return None
        if not is_allowed:
            return "name_filtered"
        if is_excluded:
            return "name_excluded"
        if self._disabled_entries and self.entry_of(event) in self._disabled_entries:
            return "event_disabled"
        return None

    def entry_of(self, event: Event) -> str | None:
        """Return the name of the entry of `track.events` that applies to an event; None for none."""
        return self._names.entry(event)

    def _reason_of_rules(self, event: Event, reason: str | None) -> str | None:
        """Return why the rules leave an event out; `reason` is that of its name."""
        selection = self._selection
        if selection.types and event.type not in selection.types:
            return "not_selected"
        if reason:
            return reason
        if selection.names and event.type != "track":
            return "not_selected"
        if self._selected_where is not None and not self._selected_where.holds(event.fields):
            return "not_selected"
        if self._conditions and not self._meets_conditions(event):
            return "where"
        if self.has_period and not self._is_in_period(event):
            return "out_of_period"
        if selection.exclude_ids and any(map(self._excluded_ids.sees, own_ids(event))):
            return "excluded_id"
        if self._settings.identity.ignore_anonymous and present_text(event.fields.get("userId")) is None:
            return "anonymous"
        return None

    def _meets_conditions(self, event: Event) -> bool:
        for watched in self._asked_of(event):  # noqa: SIM110 - a generator costs as much as a term
            if not watched.holds(event.fields):
                return False
        return True

    def conditions(self, event: Event) -> list[Condition]:
        """Return the conditions of the settings that are asked of an event."""
        if event.type not in SENT_TYPES:
            return []
        return [watched.condition for watched in self._asked_of(event)]

    def _asked_of(self, event: Event) -> list[WatchedCondition]:
        if self.is_order(event):
            return self._asked_of_orders
        return self._asked[event.type, self._names.entry(event)]

    def sources(self) -> Iterator[FieldPath]:
        """Yield what conditions read."""
        for watched in self._watched:
            yield from watched.condition.sources

    def _is_in_period(self, event: Event) -> bool:
        self._set_time(event)
        time = event.time
        since, until = self._selection.since, self._selection.until
        is_kept = time is None or ((since is None or time >= since) and (until is None or time < until))
        self.period.add(time, is_kept=is_kept)
        return is_kept

    def reason_to_skip_customer(self, source_id: str) -> str | None:
        """Return why a request to this customer is not sent, or None."""
        if self._selection.users and not self._users.sees(source_id):
            return "user_not_selected"
        if self._excluded_ids.holds(source_id):
            self._excluded_ids.meets(source_id)
            return "excluded_id"
        percent = self._selection.sample
        return None if percent is None or self.sample.keeps(source_id, percent) else "not_sampled"

    def cut_met(self) -> FiltersMet:
        """Return what was met since the last call."""
        period, self.period = self.period, PeriodMet()
        sample, self.sample = self.sample, SampleMet(self.sample.has_kept)
        conditions = [watched.met for watched in self._watched]
        for watched in self._watched:
            watched.met = ConditionMet()
        track_names, self._track_names = self._track_names, NameCounts(most=MAX_KEYS_OF_PART)
        return FiltersMet([names.cut() for names in self.lists], track_names, conditions, period, sample)

    def merge(self, part: FiltersMet) -> None:
        """Add what was met in a part of the input; the parts come in its order."""
        for names, met in zip(self.lists, part.names, strict=True):
            names.met.merge(met)
        self._track_names.merge(part.track_names)
        for watched, of_part in zip(self._watched, part.conditions, strict=True):
            watched.met.merge(of_part)
        self.period.merge(part.period)
        self.sample.merge(part.sample)

    def notices(self, stop: Stop | None = None) -> Iterator[str]:
        """Yield what a person should know of the lists and the period: what met nothing, and what may be meant."""
        for kind in sorted(self._selection.types):
            if getattr(self._settings, kind).disabled:
                yield f"--type {kind}: {kind}.disabled is true, so no {kind} event is sent."
        for names in self._compared:
            names.sees_all(self._track_names)
        for names in (*self.lists, *self._compared):
            yield from names.notices(stop)
        if stop is not None and stop.requested:
            return  # the rest of the input may hold them
        if self._selection.names and not self._selected.met.seen:
            yield "--event: no track event was read."
        for watched in self._watched:
            yield from watched.notices()
        percent = self._selection.sample
        if percent is not None and (notice := self.sample.notice(percent)):
            yield notice
        period = self.period
        if period.seen and not period.kept and period.first is not None and period.last is not None:
            since, until = self._selection.since, self._selection.until
            given = " and ".join(
                name for name, time in (("--since", since), ("--until", until)) if time is not None
            )
            yield (
                f"{given}: none of {counted(period.seen, 'event')} is in that period: their times go from "
                f"{utc_text(period.first)} to {utc_text(period.last)}."
            )


def reason_of_type(kind: str) -> str:
    """Return the code of the rule that skips events of a type that is not mapped."""
    return _SKIPPED_TYPES.get(kind, OTHER_TYPE)


def _conditions(settings: Settings) -> dict[str, WatchedCondition]:
    """Return the conditions of the settings by the names of their sections."""
    given = [(kind, kind, kind, getattr(settings, kind).where) for kind in SENT_TYPES]
    if not settings.orders.disabled:
        given.append((ORDERS.name, ORDERS.name, "track", settings.orders.where))
    for name, entry in settings.track.events.items():
        given.append((entry_section(name), f"track.events.{clean(name, 60)}", "track", entry.where))
    return {
        section: WatchedCondition(f"{place}.where", text, type_)
        for section, place, type_, text in given
        if text
    }
