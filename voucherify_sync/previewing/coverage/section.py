"""What was seen of the events of one type: paths, destinations and rows, each with what is known of it."""

from __future__ import annotations

from voucherify_sync.paths import Keys
from voucherify_sync.previewing.coverage.examining import Effect, Value
from voucherify_sync.previewing.coverage.facts import MAX_PATHS, Overflow, PathFacts, PlaceFacts, add


class Section:
    """What was seen of the events of one type that become requests.

    Attributes:
        events: how many.
        paths: by keys.
        more_paths: those that found no room.
        seen: values, nulls not counted.
        mapped: values that arrive in a request.
        places: by destination.
        more_places: those that found no room.
        rows: the rows of the mapping, each with how often it found a value.
    """

    def __init__(self, rows: list[tuple[str, bool]]) -> None:
        self.events = 0
        self.paths: dict[Keys, PathFacts] = {}
        self.more_paths = Overflow()
        self.seen = 0
        self.mapped = 0
        self.places: dict[Keys, PlaceFacts] = {}
        self.more_places = Overflow()
        self.rows = rows
        self.fired = [0] * len(rows)

    def add(self, effect: Effect, times: int) -> None:
        """Count so many events that have the same effect."""
        self.events += times
        self.seen += times * effect.seen
        self.mapped += times * effect.mapped
        for number in effect.rows:
            self.fired[number] += times
        for value in effect.values:
            self._add_value(value, times)
        for keys, type_ in effect.filled:
            if (place := self._place(keys)) is not None:
                place.filled += times
                add(place.types, type_, times)
        for keys, reason in effect.refused:
            if (place := self._place(keys)) is not None:
                add(place.refused, reason, times)
        self.more_paths.update(effect.long_paths)
        self.more_places.update(effect.long_places)

    def _add_value(self, value: Value, times: int) -> None:
        facts = self.paths.get(value.keys)
        if facts is None:
            if len(self.paths) >= MAX_PATHS:
                self.more_paths.update((hash(value.keys),))
                return
            facts = self.paths[value.keys] = PathFacts()
        facts.seen += times
        add(facts.types, value.type, times)
        for place in value.places:
            add(facts.places, place, times)
        if value.reason is not None:
            add(facts.reasons, value.reason, times)
        elif value.type != "null":
            facts.mapped += times
        facts.show(value.example)

    def _place(self, keys: Keys) -> PlaceFacts | None:
        """Return what is known of a destination; None if there is no room for it."""
        facts = self.places.get(keys)
        if facts is None:
            if len(self.places) >= MAX_PATHS:
                self.more_places.update((hash(keys),))
                return None
            facts = self.places[keys] = PlaceFacts()
        return facts
