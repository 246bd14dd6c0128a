"""Count what the mapping did, exactly and by path: rows that matched, values that are not mapped, fields dropped.

Every map stops growing at a limit and says so: whatever names events have, memory stays flat.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct, field

from voucherify_sync.events import Event
from voucherify_sync.fields import CustomerBody
from voucherify_sync.findings import SLIP_IDS, Example, FindingCount
from voucherify_sync.mapping.drafts import Draft
from voucherify_sync.mapping.rules import Rules
from voucherify_sync.text import by_count, text_of

if TYPE_CHECKING:
    from voucherify_sync.mapping.sections import Sections

MAX_KEYS: Final = 1_000
"""Names that are counted one by one: events may have any number of names."""

MAX_KEY_LENGTH: Final = 200
"""Characters of a name that are kept."""

OTHER: Final = "(other)"
"""The key under which a map counts all further names together."""

MANY_SLIPS: Final = 10
"""Events that make ids that look like a slip worth a warning, even if nothing shows that people share them."""

MAX_KEYS_OF_PART: Final = 100_000
"""Names of a part of the input: one that found no room there may be among those that are counted in the end."""


class NameCounts(Struct, array_like=True):
    """Counts by name, up to a number of names; later ones are counted together.

    Attributes:
        by_name: in the order in which the names came.
        other: what found no room.
        most: names, at most.
    """

    by_name: dict[str, int] = field(default_factory=dict)
    other: int = 0
    most: int = MAX_KEYS

    def add(self, name: str, times: int = 1) -> None:
        """Count the name `times` times; a very long name is cut."""
        counts = self.by_name
        if name in counts:
            counts[name] += times
        elif len(name) > MAX_KEY_LENGTH:
            self.add(name[: MAX_KEY_LENGTH - 1] + "…", times)
        elif len(counts) < self.most:
            counts[name] = times
        else:
            self.other += times

    def merge(self, other: NameCounts) -> None:
        """Count all that the other one counted."""
        for name, count in other.by_name.items():
            self.add(name, count)
        self.other += other.other

    def to_dict(self) -> dict[str, int]:
        """Return the counts, the largest first, and ``(other)`` last if some names found no room."""
        ordered = by_count(self.by_name)
        return {**ordered, OTHER: self.other} if self.other else ordered


class SectionStats(Struct, array_like=True):
    """What became of the events of one section of the settings.

    Attributes:
        events: of which a request could be made.
        rows: how often each row found a value, by its text; in the order of the rows.
        set: how often each entry of `set` gave a value, by its destination.
        unmapped: values that no row reads, by path, such as ``traits.plan``.
        dropped: by destination path and reason, values that a row found and that could not be sent.
    """

    rows: dict[str, int]
    unmapped: NameCounts
    set: dict[str, int] = {}
    dropped: dict[str, dict[str, int]] = {}
    events: int = 0

    def drop(self, path: str, reason: str, times: int = 1) -> None:
        """Count values that could not be sent."""
        reasons = self.dropped.setdefault(path, {})
        reasons[reason] = reasons.get(reason, 0) + times

    def add_found(self, draft: Draft) -> None:
        """Count the rows of a draft that no route counts, and the values that it dropped."""
        for row in draft.matched_rows:
            self.rows[row] += 1
        for path, reason in draft.dropped:
            self.drop(path, reason)

    def add_counted(self, rules: Rules) -> None:
        """Add what the routes and the entries of `set` have counted since the last time."""
        for number, entry in enumerate(rules.entries):
            self.set[entry.destination.text] += rules.filled_counts[number]
            rules.filled_counts[number] = 0
        for route in rules.taken_routes:
            for _, leaf in route.leaves:
                text = rules.row_texts[leaf.row]
                if text is not None:
                    self.rows[text] += route.taken_count
            times = route.taken_count - route.carried_count
            for path in route.unmapped_paths if times else ():
                self.unmapped.add(path, times)
            route.taken_count = route.carried_count = 0
        rules.taken_routes.clear()


class SlipIds(Struct, array_like=True):
    """Ids that look like a slip, of all events that were mapped, or of those of a part of the input.

    Attributes:
        counts: events by id.
        first: position of the first of them.
        people: the first mail, name and anonymousId of their events, where there is one.
        are_shared: another mail, name or anonymousId was seen.
    """

    counts: NameCounts = field(default_factory=NameCounts)
    first: str = ""
    people: dict[str, str] = field(default_factory=dict)
    are_shared: bool = False

    @classmethod
    def of(cls, most: int = MAX_KEYS) -> SlipIds:
        """Return counts of nothing yet, of at most `most` ids."""
        return cls(NameCounts(most=most))

    def add(self, event: Event, source_id: str, customer: CustomerBody) -> None:
        """Count an event of such an id, and look whose it is."""
        self.counts.add(source_id)
        self.first = self.first or str(event.position)
        own_id = text_of(event.fields.get("anonymousId"))
        people = {"email": customer.email, "name": customer.name, "anonymousId": own_id}
        self._see({kind: text for kind, text in people.items() if isinstance(text, str)})

    def merge(self, later: SlipIds) -> None:
        """Add what a later part of the input holds."""
        self.counts.merge(later.counts)
        self.first = self.first or later.first
        self.are_shared = self.are_shared or later.are_shared
        self._see(later.people)

    def _see(self, people: dict[str, str]) -> None:
        if not self.are_shared:
            self.are_shared = any(self.people.setdefault(kind, text) != text for kind, text in people.items())

    def finding(self) -> FindingCount | None:
        """Return what to warn of: nothing where one person may bear the only such id."""
        count = sum(self.counts.by_name.values()) + self.counts.other
        if not self.are_shared and count < MANY_SLIPS:
            return None
        return FindingCount(
            count, [Example(self.first, name, times) for name, times in by_count(self.counts.by_name).items()]
        )


class MappingStats(Struct, array_like=True):
    """What a mapping did to all events that it saw, or to those of a part of the input.

    Attributes:
        sections: by the name of the section.
        found: what a person should know of the events, by code, but for the ids.
        slips: ids that look like a slip.
    """

    sections: dict[str, SectionStats]
    found: dict[str, FindingCount] = field(default_factory=dict)
    slips: SlipIds = field(default_factory=SlipIds)

    @classmethod
    def of(cls, sections: Sections, most: int = MAX_KEYS) -> MappingStats:
        """Return statistics of nothing yet, of at most `most` names of unmapped values."""
        return cls(
            {
                name: SectionStats(
                    dict.fromkeys(filter(None, each.rules.row_texts), 0),
                    NameCounts(most=most),
                    {entry.destination.text: 0 for entry in each.rules.entries},
                )
                for name, each in sections.by_name.items()
            },
            slips=SlipIds.of(most),
        )

    def find(self, code: str, position: object, text: str = "") -> None:
        """Count a finding at a position; the text is what was found there."""
        self.found.setdefault(code, FindingCount()).add(position, text)

    @property
    def findings(self) -> dict[str, FindingCount]:
        """What a person should know of the events, by code."""
        slips = self.slips.finding()
        return self.found if slips is None else {**self.found, SLIP_IDS: slips}

    def merge(self, part: MappingStats) -> None:
        """Add the statistics of a part of the input; the parts come in its order."""
        for kind, section in self.sections.items():
            other = part.sections[kind]
            section.rows = {row: times + other.rows[row] for row, times in section.rows.items()}
            section.events += other.events
            section.set = {to: times + other.set[to] for to, times in section.set.items()}
            section.unmapped.merge(other.unmapped)
            for path, reasons in other.dropped.items():
                for reason, times in reasons.items():
                    section.drop(path, reason, times)
        for code, found in part.found.items():
            self.found.setdefault(code, FindingCount()).merge(found)
        self.slips.merge(part.slips)

    def to_dict(self) -> dict[str, Any]:
        """Return the report's ``mapping``."""
        return {
            name: {
                "events": each.events,
                "rows": each.rows,
                "set": each.set,
                "unmapped": each.unmapped.to_dict(),
                "dropped": each.dropped,
            }
            for name, each in self.sections.items()
        }
