"""What the mapping did, counted exactly by path: rows that fired, values that no row takes, fields dropped.

Every map stops growing at a limit, and says so; whatever a name in an event may be, memory stays flat.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from voucherify_sync.mapping.rules import Route, Rules
from voucherify_sync.mapping.tally import Counts, Renames
from voucherify_sync.mapping.walk import Walk
from voucherify_sync.model import Json


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
        self._passing: list[Route] = []  # routes that nobody remembers, of the last event

    def count(self, walk: Walk, unmapped: tuple[str, ...], used: tuple[str, ...], given: Json) -> None:
        """Count what the walk of one event did.

        Args:
            walk: of the event.
            unmapped: keys of the event's own object that no row took, and that were not carried to metadata.
            used: those of them that a fallback used.
            given: the event's own object.
        """
        if self._passing:
            self._gather_passing()
        for route in walk.routes:
            route.times += 1
            route.left += 1
            if not route.is_remembered:
                self._passing.append(route)
        for row in walk.fired:
            self._fired[row] += 1
        for path in walk.lost_inside:
            self._unmapped.add(path)
        for drop in walk.draft.dropped:
            what = (drop.path, drop.reason)
            self.dropped[what] = self.dropped.get(what, 0) + 1
        self._count_unmapped(walk.outermost, unmapped, used, given)

    def _count_unmapped(
        self, route_of_all: Route | None, unmapped: tuple[str, ...], used: tuple[str, ...], given: Json
    ) -> None:
        if route_of_all is not None:
            if route_of_all.unmapped is unmapped and not used:
                return
            route_of_all.left -= 1
        for key in unmapped:
            if key not in used and given[key] is not None:
                self._unmapped.add(f"{self._rules.root}.{key}")

    @property
    def fired(self) -> list[int]:
        """How often each row found a value, in the order of the rules."""
        self._gather_all()
        return self._fired

    @property
    def unmapped(self) -> Counts:
        """Counts of values that were given and not sent, by path, such as ``traits.plan``."""
        self._gather_all()
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

    def _gather_passing(self) -> None:
        for route in self._passing:
            self._gather(route)
        self._passing.clear()

    def _gather_all(self) -> None:
        self._gather_passing()
        for node in self._rules.tree.nodes():
            for route in node.routes.values():
                self._gather(route)

    def _gather(self, route: Route) -> None:
        for _, leaf in route.leaves if route.times else ():
            self._fired[leaf.row] += route.times
        for path in route.paths if route.left else ():
            self._unmapped.add(path, route.left)
        route.times = route.left = 0


class MappingStats:
    """What a mapping did to all events that it saw.

    Attributes:
        sections: by type of event.
        renames: customers who got the name of something else.
    """

    def __init__(self, sections: Mapping[str, SectionStats]) -> None:
        self.sections = dict(sections)
        self.renames = Renames()

    def to_dict(self) -> dict[str, Any]:
        """Return the report's ``mapping``."""
        return {type_: section.to_dict() for type_, section in self.sections.items()}
