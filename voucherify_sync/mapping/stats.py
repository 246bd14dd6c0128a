"""What the mapping did, counted exactly by path: rows that fired, values that no row takes, fields dropped.

Every map stops growing at a limit, and says so; whatever a name in an event may be, memory stays flat.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import add
from typing import Any, Final

from msgspec import Struct, field

from voucherify_sync.events import Json, Position
from voucherify_sync.mapping.drafts import Draft
from voucherify_sync.mapping.rules import Route, Rules

MAX_KEYS: Final = 1_000
MAX_KEY_LENGTH: Final = 200
OTHER: Final = "(other)"
"""The key under which a map counts what found no room in it."""


MAX_KEYS_OF_PART: Final = 100_000
"""Names of a part of the input: one that found no room there may be among those that are counted in the end."""


class Counts(Struct, array_like=True):
    """Counts by name, of so many names; what comes later is counted together.

    Attributes:
        by_name: in the order in which the names came.
        other: what found no room.
        most: names, at most.
    """

    by_name: dict[str, int] = field(default_factory=dict)
    other: int = 0
    most: int = MAX_KEYS

    def add(self, name: str, times: int = 1) -> None:
        """Count the name once more, or so many times; a very long name is cut."""
        counts = self.by_name
        if name in counts:
            counts[name] += times
        elif len(name) > MAX_KEY_LENGTH:
            self.add(name[: MAX_KEY_LENGTH - 1] + "…", times)
        elif len(counts) < self.most:
            counts[name] = times
        else:
            self.other += times

    def merge(self, other: Counts) -> None:
        """Count all that the other one counted."""
        for name, count in other.by_name.items():
            self.add(name, count)
        self.other += other.other

    def to_dict(self) -> dict[str, int]:
        """Return the counts, the largest first, and ``(other)`` last if some names found no room."""
        ordered = dict(sorted(self.by_name.items(), key=lambda item: (-item[1], item[0])))
        return {**ordered, OTHER: self.other} if self.other else ordered


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

    def merge(self, count: int, examples: list[tuple[str, str]]) -> None:
        """Count those of a part of the input."""
        self.count += count
        self.examples = (self.examples + examples)[: self.MAX_EXAMPLES]


class StatsPart(Struct, array_like=True):
    """What a mapping did to a part of the input, as plain values.

    Attributes:
        rows: by type of event, how often each row found a value.
        unmapped: by type of event, counts of values that no row took.
        dropped: by type of event, destination path, reason and count of values that could not be sent.
        renames: customers who got the name of something else, and examples of them.
    """

    rows: dict[str, list[int]]
    unmapped: dict[str, Counts]
    dropped: dict[str, list[tuple[str, str, int]]]
    renames: tuple[int, list[tuple[str, str]]]


class SectionStats:
    """What became of the events of one type.

    Most of it is told by the routes that objects took, which count themselves; it is gathered when it is asked for.

    Attributes:
        dropped: by destination path and reason, values that a row found and that could not be sent.
    """

    def __init__(self, rules: Rules) -> None:
        self.dropped: dict[tuple[str, str], int] = {}
        self._rules = rules
        self._fired = [0] * len(rules.rows)
        self._unmapped = Counts()
        self._taken: list[Route] = []  # in the order in which they were taken first, since they were gathered

    def count(self, draft: Draft, unmapped: tuple[str, ...], used: tuple[str, ...], given: Json) -> None:
        """Count what the walk of one event did.

        Args:
            draft: with what was found.
            unmapped: keys of the event's own object that no row took, and that were not carried to metadata.
            used: those of them that a fallback used.
            given: the event's own object.
        """
        is_all_remembered = True
        for route in draft.routes:
            if not route.times:
                self._taken.append(route)
                is_all_remembered = is_all_remembered and route.is_remembered
            route.times += 1
        for row in draft.found:
            self._fired[row] += 1
        for path in draft.unmapped_inside:
            self._unmapped.add(path)
        for drop in draft.dropped:
            what = (drop.path, drop.reason)
            self.dropped[what] = self.dropped.get(what, 0) + 1
        outermost = draft.outermost
        if outermost is None or outermost.unmapped is not unmapped or used or draft.unmapped is not unmapped:
            self._count_unmapped(draft, unmapped, used, given)
        if not is_all_remembered:  # nobody would take such a route again
            self._gather()

    def _count_unmapped(
        self, draft: Draft, unmapped: tuple[str, ...], used: tuple[str, ...], given: Json
    ) -> None:
        """Count the unmapped keys of the event's own object one by one, where its route does not tell them."""
        if draft.outermost is not None:
            draft.outermost.carried += 1
        for key in unmapped:
            if key not in used and given[key] is not None:
                self._unmapped.add(f"{self._rules.root}.{key}")

    def cut(self, most: int) -> tuple[list[int], Counts, list[tuple[str, str, int]]]:
        """Return what was counted since the last time: rows, unmapped values, and what was dropped.

        Args:
            most: names of unmapped values that are counted until the next time.
        """
        found = self.fired, self.unmapped, [(*what, times) for what, times in self.dropped.items()]
        self._fired, self._unmapped, self.dropped = [0] * len(self._fired), Counts(most=most), {}
        return found

    def merge(self, rows: list[int], unmapped: Counts, dropped: list[tuple[str, str, int]]) -> None:
        """Count what was counted of a part of the input."""
        self._fired = list(map(add, self._fired, rows))
        self._unmapped.merge(unmapped)
        for path, reason, times in dropped:
            self.dropped[path, reason] = self.dropped.get((path, reason), 0) + times

    @property
    def fired(self) -> list[int]:
        """How often each row found a value, in the order of the rules."""
        self._gather()
        return self._fired

    @property
    def unmapped(self) -> Counts:
        """Counts of values that were given and not sent, by path, such as ``traits.plan``."""
        self._gather()
        return self._unmapped

    def to_dict(self) -> dict[str, Any]:
        """Return the section of a report."""
        rows: dict[str, int] = {}
        for row, times in zip(self._rules.rows, self.fired, strict=True):
            rows[row.text] = rows.get(row.text, 0) + times
        dropped: dict[str, dict[str, int]] = {}
        for (path, reason), times in self.dropped.items():
            dropped.setdefault(path, {})[reason] = times
        return {"rows": rows, "unmapped": self.unmapped.to_dict(), "dropped": dropped}

    def _gather(self) -> None:
        """Add up what the routes have counted."""
        for route in self._taken:
            for _, leaf in route.leaves:
                self._fired[leaf.row] += route.times
            left = route.times - route.carried
            for key in route.unmapped if left else ():
                self._unmapped.add(route.prefix + key, left)
            route.times = route.carried = 0
        self._taken.clear()


class MappingStats:
    """What a mapping did to all events that it saw.

    Attributes:
        sections: by type of event.
        renames: customers who got the name of something else.
    """

    def __init__(self, sections: Mapping[str, SectionStats]) -> None:
        self.sections = dict(sections)
        self.renames = Renames()

    def cut(self) -> StatsPart:
        """Return what was counted since the last time; from now on there is room for the names of a part."""
        parts = {kind: section.cut(MAX_KEYS_OF_PART) for kind, section in self.sections.items()}
        renames, self.renames = self.renames, Renames()
        return StatsPart(
            {kind: rows for kind, (rows, _, _) in parts.items()},
            {kind: unmapped for kind, (_, unmapped, _) in parts.items()},
            {kind: dropped for kind, (_, _, dropped) in parts.items()},
            (renames.count, renames.examples),
        )

    def merge(self, part: StatsPart) -> None:
        """Count what was counted of a part of the input; the parts come in its order."""
        for kind, section in self.sections.items():
            section.merge(part.rows[kind], part.unmapped[kind], part.dropped[kind])
        self.renames.merge(*part.renames)

    def to_dict(self) -> dict[str, Any]:
        """Return the report's ``mapping``."""
        return {type_: section.to_dict() for type_, section in self.sections.items()}
