"""Event names of the settings and of the command line: a name in, whether it is meant out.

Names that are left out are counted, to tell what may be meant by a wanted name that no event has.

Which events are left out: a Event in, the code of the rule that leaves it out, or None.

The rules are the settings' and the command line's. Of what the mapping made they see the customer's id only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Final

from msgspec import Struct

from voucherify_sync.events import Event
from voucherify_sync.mapping.field_types import present_text
from voucherify_sync.mapping.rules import OUR_INTEGRATIONS
from voucherify_sync.mapping.stats import MAX_KEYS_OF_PART, Counts
from voucherify_sync.settings.types import Settings
from voucherify_sync.stop import Stop
from voucherify_sync.text import similar

_CLOSE: Final = 0.8


class NearMiss(Struct, frozen=True):
    """A name of the settings that no event has.

    Attributes:
        wanted: the name as the settings have it.
        met: names of events that come near to it, the nearest first.
    """

    wanted: str
    met: tuple[str, ...]


class NamePattern:
    """Names as settings write them: exact and case-sensitive, and a ``*`` matches any run of characters."""

    def __init__(self, names: Iterable[str]) -> None:
        names = list(names)
        self._exact = frozenset(name for name in names if "*" not in name)
        self._globs = [name.split("*") for name in names if "*" in name]

    def __bool__(self) -> bool:
        return bool(self._exact or self._globs)

    def matches(self, name: str) -> bool:
        """Tell whether the name is one of them; the time grows with the length of the name, and no faster."""
        return name in self._exact or any(_consists_of(parts, name) for parts in self._globs)


def _consists_of(parts: Sequence[str], name: str) -> bool:
    """Tell whether a name is made of these parts, in their order, with any text between them.

    Each part is looked for behind the one before it, and its first place is the best one: it leaves most room for the
    others. So no place is tried twice, as a regular expression would do.
    """
    first, *middle, last = parts
    at, end = len(first), len(name) - len(last)
    if at > end or not (name.startswith(first) and name.endswith(last)):
        return False
    for part in middle:
        found = name.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True


class MetNames:
    """The names of events beside the names that the settings allow.

    Attributes:
        left: names that are not allowed, counted.
    """

    def __init__(self, wanted: Sequence[str]) -> None:
        self.left = Counts()
        self._wanted = wanted
        self._unmet = dict.fromkeys(name for name in wanted if "*" not in name)
        self._unmet_globs = {name: NamePattern([name]) for name in wanted if "*" in name}

    def take(self, name: str) -> None:
        """Note an allowed name."""
        self._unmet.pop(name, None)
        for wanted, pattern in list(self._unmet_globs.items()):
            if pattern.matches(name):
                del self._unmet_globs[wanted]

    def leave(self, name: str) -> None:
        """Count a name that is not allowed."""
        self.left.add(name)

    def cut(self) -> tuple[Counts, list[str]]:
        """Return the names that are not allowed, counted since the last time, and the wanted ones that were met."""
        left, self.left = self.left, Counts(most=MAX_KEYS_OF_PART)
        return left, [
            name for name in self._wanted if name not in self._unmet and name not in self._unmet_globs
        ]

    def merge(self, left: Counts, met: Iterable[str]) -> None:
        """Take over what was met in a part of the input."""
        self.left.merge(left)
        for name in met:
            self._unmet.pop(name, None)
            self._unmet_globs.pop(name, None)

    def near_misses(self, stop: Stop | None = None) -> list[NearMiss]:
        """Return the wanted names that no event had so far; once the run stops, without what comes near to them."""
        names = sorted(self.left.by_name, key=lambda name: -self.left.by_name[name])
        misses = []
        for wanted in (*self._unmet, *self._unmet_globs):
            is_over = stop is not None and stop.requested
            text = wanted.replace("*", "")
            near = [] if is_over else similar(text, names, fold=str.casefold, most=3, cutoff=_CLOSE)
            misses.append(NearMiss(wanted, tuple(near)))
        return misses


TimeOf = Callable[[Event], datetime | None]
"""Tells when an event happened, if it says so."""

_OTHER_TYPES: Final = {kind: f"type_{kind}" for kind in ("page", "screen", "group", "alias")}


class Selection(Struct, frozen=True):
    """What the command line picks. Empty sets and None pick everything.

    Attributes:
        types: only events of these types.
        names: only track events of these names; a ``*`` matches any run of characters.
        users: only customers whose source_id would be one of these.
        exclude_ids: nobody who is known by one of these, whichever of the event's ids it is.
        since: only events of this time or later; events without a time are kept.
        until: only events before this time; events without a time are kept.
    """

    types: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    users: frozenset[str] = frozenset()
    exclude_ids: frozenset[str] = frozenset()
    since: datetime | None = None
    until: datetime | None = None


class Filters:
    """The rules of the settings and of the command line.

    Attributes:
        names: the names of track events beside those that the settings allow.
        leaves_out_customers: a request may be left out for its customer.
    """

    def __init__(self, settings: Settings, selection: Selection, time_of: TimeOf) -> None:
        self.names = MetNames(settings.track.events_filter)
        self._settings = settings
        self._selection = selection
        self._time_of = time_of
        self._selected = NamePattern(selection.names)
        self._has_selection = bool(selection.types or selection.names)
        self._reason_of_type = {
            "identify": "identify_disabled" if settings.identify.disabled else None,
            "track": "track_disabled" if settings.track.disabled else None,
        }
        self._allowed = NamePattern(settings.track.events_filter)
        self._excluded = NamePattern(settings.track.events_exclude)
        self._has_name_rules = bool(self._allowed or self._excluded)
        self._has_period = selection.since is not None or selection.until is not None
        self.leaves_out_customers = bool(selection.users or selection.exclude_ids)
        self._has_more_rules = (
            settings.identity.ignore_anonymous
            or self._has_selection
            or self._has_name_rules
            or self._has_period
            or bool(selection.exclude_ids)
        )

    def reason_to_skip(self, event: Event) -> str | None:
        """Return why an event is not mapped at all, or None."""
        kind = event.type
        if kind not in self._reason_of_type:
            return reason_of_type(kind)
        if reason := self._reason_of_type[kind]:
            return reason
        integrations = event.fields.get("integrations")
        if integrations and _switched_off(integrations):
            return "integration_off"
        return self._reason_of_rules(event) if self._has_more_rules else None

    def _reason_of_rules(self, event: Event) -> str | None:
        is_track = event.type == "track"
        if self._has_selection and not self._is_selected(event):
            return "not_selected"
        if is_track and self._has_name_rules and (reason := self._reason_of_name(event)):
            return reason
        if self._has_period and not self._is_in_period(event):
            return "out_of_period"
        if self._selection.exclude_ids and self._is_excluded(event):
            return "excluded_id"
        if self._settings.identity.ignore_anonymous and present_text(event.fields.get("userId")) is None:
            return "anonymous"
        return None

    def reason_to_leave_out(self, source_id: str) -> str | None:
        """Return why a request to this customer is not sent, or None."""
        selection = self._selection
        if selection.users and source_id not in selection.users:
            return "user_not_selected"
        return "excluded_id" if source_id in selection.exclude_ids else None

    def near_misses(self, stop: Stop | None = None) -> list[NearMiss]:
        """Return the allowed names that no event had, and what may be meant instead; a stop ends the search."""
        return self.names.near_misses(stop)

    def _is_excluded(self, event: Event) -> bool:
        """Tell whether one of the event's own ids is excluded: such an event is not even looked at further."""
        ids = (present_text(event.fields.get(key)) for key in ("userId", "anonymousId"))
        return not self._selection.exclude_ids.isdisjoint(ids)

    def _is_selected(self, event: Event) -> bool:
        if self._selection.types and event.type not in self._selection.types:
            return False
        return not self._selected or (event.type == "track" and self._selected.matches(name_of(event)))

    def _reason_of_name(self, event: Event) -> str | None:
        name = name_of(event)
        if self._allowed and not self._allowed.matches(name):
            self.names.leave(name)
            return "name_filtered"
        self.names.take(name)
        return "name_excluded" if self._excluded.matches(name) else None

    def _is_in_period(self, event: Event) -> bool:
        time = self._time_of(event)
        if time is None:
            return True
        since, until = self._selection.since, self._selection.until
        return (since is None or time >= since) and (until is None or time < until)


def reason_of_type(kind: str) -> str:
    """Return the code of the rule that skips events of a type that is not mapped."""
    return _OTHER_TYPES.get(kind, "type_other")


def name_of(event: Event) -> str:
    """Return by which name an event is filtered: its own, else its type, as it would be sent."""
    return present_text(event.name) or event.type


def _switched_off(integrations: object) -> bool:
    """Tell whether the event was kept from Voucherify. ``All`` does not count: archives hold it for other reasons."""
    return isinstance(integrations, dict) and any(integrations.get(key) is False for key in OUR_INTEGRATIONS)
