"""What was seen of the events of one type: paths, destinations and rows, each with what is known of it."""

from __future__ import annotations

from voucherify_sync.paths import Keys
from voucherify_sync.previewing.coverage.facts import MAX_PATHS, Overflow, PathFacts, PlaceFacts, fits


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

    def path(self, keys: Keys) -> PathFacts | None:
        """Return what is known of a path; None if there is no room for it."""
        facts = self.paths.get(keys)
        if facts is None:
            if len(self.paths) >= MAX_PATHS or not fits(keys):
                self.more_paths.add(keys)
                return None
            facts = self.paths[keys] = PathFacts()
        return facts

    def place(self, keys: Keys) -> PlaceFacts | None:
        """Return what is known of a destination; None if there is no room for it."""
        facts = self.places.get(keys)
        if facts is None:
            if len(self.places) >= MAX_PATHS or not fits(keys):
                self.more_places.add(keys)
                return None
            facts = self.places[keys] = PlaceFacts()
        return facts
