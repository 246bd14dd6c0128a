"""Decide which events are skipped, by the rules of the settings and of the command line.

Most rules look at the event alone. Those on customers apply once the mapping has found the customer's id. Names that
are not allowed are counted: they show what may be meant by a name of the settings that no event has.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Final

from msgspec import Struct

from voucherify_sync.events import EVENT_TYPES, SENT_TYPES, Event
from voucherify_sync.mapping.field_types import present_text
from voucherify_sync.mapping.rules import OUR_INTEGRATIONS
from voucherify_sync.mapping.stats import MAX_KEYS_OF_PART, NameCounts
from voucherify_sync.outcomes import OTHER_TYPE
from voucherify_sync.settings.types import Settings
from voucherify_sync.stop import Stop
from voucherify_sync.text import similar

_SIMILARITY: Final = 0.8
_OTHER_TYPES: Final = {kind: f"type_{kind}" for kind in EVENT_TYPES if kind not in SENT_TYPES}


def name_matcher(names: Iterable[str]) -> Callable[[str], bool]:
    """Return a test whether a name is one of these: case matters, and a ``*`` matches any run of characters."""
    names = list(names)
    exact = frozenset(name for name in names if "*" not in name)
    globs = "|".join(_glob_regex(name) for name in names if "*" in name)
    if not globs:
        return exact.__contains__
    matches = re.compile(globs, re.DOTALL).fullmatch
    return lambda name: name in exact or matches(name) is not None


def _glob_regex(glob: str) -> str:
    """Return a regular expression for a glob; the time of a match is linear in the length of the name.

    The first place of a part behind the one before it leaves most room for the others, so no other place is tried: an
    atomic group gives nothing back.
    """
    first, *middle, last = map(re.escape, glob.split("*"))
    return first + "".join(f"(?>.*?{part})" for part in middle) + f".*{last}"


class NameMatches:
    """Which of the names that the settings allow were met.

    Attributes:
        rejected: names that are not allowed, counted.
    """

    def __init__(self, allowed: Sequence[str]) -> None:
        self.rejected = NameCounts()
        self._allowed = allowed
        self._unmet = dict.fromkeys(name for name in allowed if "*" not in name)
        self._unmet_globs = {name: name_matcher([name]) for name in allowed if "*" in name}

    def accept(self, name: str) -> None:
        """Note an allowed name."""
        self._unmet.pop(name, None)
        if self._unmet_globs:
            met = [glob for glob, matches in self._unmet_globs.items() if matches(name)]
            for glob in met:
                del self._unmet_globs[glob]

    def pop_rejected(self) -> tuple[NameCounts, list[str]]:
        """Return the names that were rejected since the last time, and the allowed ones that were met so far."""
        rejected, self.rejected = self.rejected, NameCounts(most=MAX_KEYS_OF_PART)
        unmet = {*self._unmet, *self._unmet_globs}
        return rejected, [name for name in self._allowed if name not in unmet]

    def merge(self, rejected: NameCounts, met: Iterable[str]) -> None:
        """Add what was met in a part of the input."""
        self.rejected.merge(rejected)
        for name in met:
            self._unmet.pop(name, None)
            self._unmet_globs.pop(name, None)

    def near_misses(self, stop: Stop | None = None) -> dict[str, list[str]]:
        """Suggest what may be meant by names that no event had so far.

        Returns:
            Allowed name, as the settings have it -> similar names of events, the most similar first. No suggestions
            once the run stops: they take time.
        """
        names = sorted(self.rejected.by_name, key=lambda name: -self.rejected.by_name[name])
        misses: dict[str, list[str]] = {}
        for expected in (*self._unmet, *self._unmet_globs):
            near: list[str] = []
            if stop is None or not stop.requested:
                text = expected.replace("*", "")
                near = similar(text, names, fold=str.casefold, most=3, cutoff=_SIMILARITY)
            misses[expected] = near
        return misses


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
        names: the names of the track events, compared with those that the settings allow.
        has_customer_rules: `reason_to_skip_customer` must be asked, too.
        has_period: the time of every event that is not skipped is set.
    """

    def __init__(self, settings: Settings, selection: Selection, set_time: SetTime) -> None:
        self.names = NameMatches(settings.track.events_filter)
        self._settings = settings
        self._selection = selection
        self._set_time = set_time
        self._is_selected_name = name_matcher(selection.names)
        self._reason_of_type = {
            "identify": "identify_disabled" if settings.identify.disabled else None,
            "track": "track_disabled" if settings.track.disabled else None,
        }
        self._is_allowed = name_matcher(settings.track.events_filter)
        self._is_excluded = name_matcher(settings.track.events_exclude)
        self._has_name_rules = bool(settings.track.events_filter or settings.track.events_exclude)
        self.has_period = selection.since is not None or selection.until is not None
        self.has_customer_rules = bool(selection.users or selection.exclude_ids)
        self._has_more_rules = bool(
            settings.identity.ignore_anonymous
            or selection.types
            or selection.names
            or self._has_name_rules
            or self.has_period
            or selection.exclude_ids
        )

    def reason_to_skip(self, event: Event) -> str | None:
        """Return why an event is not mapped at all, or None."""
        kind = event.type
        if kind not in self._reason_of_type:
            return reason_of_type(kind)
        if reason := self._reason_of_type[kind]:
            return reason
        integrations = event.fields.get("integrations")
        if integrations and isinstance(integrations, dict):
            # `All` does not count: archives hold it for other reasons.
            values = [integrations.get(key) for key in OUR_INTEGRATIONS]
            if any(value is False for value in values):
                return "integration_off"
        return self._reason_of_rules(event) if self._has_more_rules else None

    def _reason_of_rules(self, event: Event) -> str | None:
        selection, is_track = self._selection, event.type == "track"
        if selection.types and event.type not in selection.types:
            return "not_selected"
        if selection.names and not (is_track and self._is_selected_name(name_of(event))):
            return "not_selected"
        if is_track and self._has_name_rules and (reason := self._reason_of_name(event)):
            return reason
        if self.has_period and not self._is_in_period(event):
            return "out_of_period"
        if selection.exclude_ids:
            ids = (present_text(event.fields.get(key)) for key in ("userId", "anonymousId"))
            if not selection.exclude_ids.isdisjoint(ids):
                return "excluded_id"
        if self._settings.identity.ignore_anonymous and present_text(event.fields.get("userId")) is None:
            return "anonymous"
        return None

    def _reason_of_name(self, event: Event) -> str | None:
        name = name_of(event)
        if self._settings.track.events_filter and not self._is_allowed(name):
            self.names.rejected.add(name)
            return "name_filtered"
        self.names.accept(name)
        return "name_excluded" if self._is_excluded(name) else None

    def _is_in_period(self, event: Event) -> bool:
        self._set_time(event)
        time = event.time
        since, until = self._selection.since, self._selection.until
        return time is None or ((since is None or time >= since) and (until is None or time < until))

    def reason_to_skip_customer(self, source_id: str) -> str | None:
        """Return why a request to this customer is not sent, or None."""
        selection = self._selection
        if selection.users and source_id not in selection.users:
            return "user_not_selected"
        return "excluded_id" if source_id in selection.exclude_ids else None


def reason_of_type(kind: str) -> str:
    """Return the code of the rule that skips events of a type that is not mapped."""
    return _OTHER_TYPES.get(kind, OTHER_TYPE)


def name_of(event: Event) -> str:
    """Return by which name an event is filtered: its own, else its type, as it would be sent."""
    return present_text(event.name) or event.type
