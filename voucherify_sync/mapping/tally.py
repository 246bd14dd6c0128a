"""What the mapping did, counted by path: rows that fired, values lost, fields dropped, customers renamed.

Every map stops growing at a limit, and says so; whatever a name in an event may be, memory stays flat.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import add
from typing import Any, Final

from msgspec import Struct, field

from voucherify_sync.model import Dropped, Position

MAX_KEYS: Final = 1_000
MAX_KEY_LENGTH: Final = 200
MAX_SHAPE: Final = 50
"""Keys that are remembered as a set, at most."""
MAX_SHAPE_LENGTH: Final = 2_000
"""Characters of all keys of such a set, at most."""

OTHER: Final = "(other)"
"""The key under which a map counts what found no room in it."""


class Counts(Struct):
    """Counts by name, of at most MAX_KEYS names; what comes later is counted together.

    Attributes:
        by_name: in the order in which the names came.
        other: what found no room.
    """

    by_name: dict[str, int] = field(default_factory=dict)
    other: int = 0

    def add(self, name: str, times: int = 1) -> None:
        """Count the name once more, or so many times; a very long name is cut."""
        counts = self.by_name
        if name in counts:
            counts[name] += times
        elif len(name) > MAX_KEY_LENGTH:
            self.add(name[: MAX_KEY_LENGTH - 1] + "…", times)
        elif len(counts) < MAX_KEYS:
            counts[name] = times
        else:
            self.other += times

    def merge(self, other: Counts, times: int = 1) -> None:
        """Count all that the other one counted, each so many times."""
        for name, count in other.by_name.items():
            self.add(name, times * count)
        self.other += times * other.other

    def to_dict(self) -> dict[str, int]:
        """Return the counts, the largest first, and ``(other)`` last if some names found no room."""
        ordered = dict(sorted(self.by_name.items(), key=lambda item: (-item[1], item[0])))
        return {**ordered, OTHER: self.other} if self.other else ordered


class Section:
    """What became of the events of one type.

    Attributes:
        fired: how often each row found a value, in the order of ``rows``; counted by the table itself.
        unmapped: paths of values that were given and not sent.
        dropped: by destination path and reason, values that a row found and that could not be sent.
    """

    def __init__(self, root: str, rows: Iterable[str], fired: list[int]) -> None:
        self._root = root
        self._rows = tuple(rows)
        self.fired = fired
        self._unmapped = Counts()
        self._shapes: dict[tuple[str, ...], int] = {}
        self.dropped: dict[tuple[str, str], int] = {}

    def add_fired(self, times: Iterable[int]) -> None:
        """Count how often each row found a value elsewhere."""
        self.fired[:] = map(add, self.fired, times)

    def cut_fired(self) -> list[int]:
        """Return how often each row found a value, and begin anew."""
        fired, self.fired[:] = self.fired[:], [0] * len(self.fired)
        return fired

    def cut_unmapped(self) -> Counts:
        """Return the counts by path, and begin anew."""
        unmapped, self._unmapped = self.unmapped, Counts()
        return unmapped

    def leave(self, keys: tuple[str, ...]) -> None:
        """Count keys of the traits or properties of one event that were not sent.

        Events of one name leave the same keys, so it is the set of them that is counted at first.
        """
        if len(keys) > MAX_SHAPE or sum(map(len, keys)) > MAX_SHAPE_LENGTH:
            self._count(keys, 1)
            return
        shapes = self._shapes
        shapes[keys] = shapes.get(keys, 0) + 1
        if len(shapes) > MAX_KEYS:
            self._spread()

    def leave_inside(self, path: str) -> None:
        """Count one value inside a trait or property that was not sent."""
        self._unmapped.add(path)

    def drop(self, dropped: Iterable[Dropped]) -> None:
        """Count fields that were left out."""
        for drop in dropped:
            key = (drop.path, drop.reason)
            self.dropped[key] = self.dropped.get(key, 0) + 1

    @property
    def unmapped(self) -> Counts:
        """Return the counts by path, such as ``traits.plan``."""
        self._spread()
        return self._unmapped

    def to_dict(self) -> dict[str, Any]:
        """Return the section of a report."""
        rows: dict[str, int] = {}
        for row, times in zip(self._rows, self.fired, strict=True):
            rows[row] = rows.get(row, 0) + times
        dropped: dict[str, dict[str, int]] = {}
        for (path, reason), times in self.dropped.items():
            dropped.setdefault(path, {})[reason] = times
        return {"rows": rows, "unmapped": self.unmapped.to_dict(), "dropped": dropped}

    def _spread(self) -> None:
        for keys, times in self._shapes.items():
            self._count(keys, times)
        self._shapes.clear()

    def _count(self, keys: Iterable[str], times: int) -> None:
        for key in keys:
            self._unmapped.add(f"{self._root}.{key}", times)


class Renames:
    """Customers who got their name from ``properties.name`` by the default table: in shop archives, a product's.

    Attributes:
        count: how many track events did so.
        examples: the first of them, each where it stands and the beginning of the name.
    """

    MAX_EXAMPLES: Final = 3

    def __init__(self) -> None:
        self.count = 0
        self.examples: list[tuple[str, str]] = []

    def add(self, position: Position, name: str) -> None:
        """Count one."""
        self.count += 1
        if len(self.examples) < self.MAX_EXAMPLES:
            self.examples.append((str(position), name[:MAX_KEY_LENGTH]))


class Tally:
    """What a mapping did to all events that it saw.

    Attributes:
        sections: by type of event.
        renames: customers who got the name of something else.
        sampled: of ordinary events every so manieth was looked at for lost values; None: each.
    """

    def __init__(self, identify: Section, track: Section) -> None:
        self.sections = {"identify": identify, "track": track}
        self.renames = Renames()
        self.sampled: int | None = None

    def add_sample(self, lost: Mapping[str, Counts], times: int) -> None:
        """Add what a sample of the events lost, by type of event and path, so many times."""
        self.sampled = times
        for type_, section in self.sections.items():
            section.unmapped.merge(lost[type_], times)

    def to_dict(self) -> dict[str, Any]:
        """Return the report's ``mapping``."""
        sections = {type_: section.to_dict() for type_, section in self.sections.items()}
        return sections if self.sampled is None else {**sections, "sampled": f"1/{self.sampled}"}
