"""Settings that use `set`, rows with `or` and `apply`, conditions and entries by event name, and events for them."""

from __future__ import annotations

from typing import Any

from support.random_settings import OF_CUSTOMER, OF_EVENT, Chance
from support.segment_events import event_of
from voucherify_sync.events import SENT_TYPES, Event, Json
from voucherify_sync.paths import PathError, check_row, parse_destination, parse_source
from voucherify_sync.settings.types import (
    Group,
    Identify,
    Page,
    Personas,
    Rows,
    RowTarget,
    Screen,
    Settings,
    Track,
    TrackEntry,
)

KEYS = ("a", "b", "email", "name", "firstName", "address", "metadata", "a.b")
"""Few, so that paths of the settings meet values."""
FILTERS = (
    "strip",
    "downcase",
    "to_number",
    "to_text",
    "to_boolean",
    "append: '!'",
    "default: 'none'",
    "split: 'o'",
    "date: '%Y'",
    "plus: 1",
    "strip | upcase | default: 'x'",
)
NAMES = ("Order", "Order Done", "Cart Seen", "", " ", 5, None)
ENTRIES = ("Order", "Order *", "*Seen", "Nobody")


TEXTS = (
    "x",
    "Bob",
    "1990-05-01",
    "5",
    "0",
    "true",
    "null",
    '{"a": 1}',
    '{"b": [1]}',
    "[]",
    '"  "',
    "a,b",
    "  ",
)


class ActionsChance(Chance):
    """Makes settings with everything that Segment's Actions can say, and events of all types."""

    def value(self, depth: int = 0) -> Any:
        """Make a value; texts say more here: one may be JSON, a number or a list."""
        value = super().value(depth)
        return self.choice(TEXTS) if type(value) is str and value else value

    def event(self) -> Event:
        """Make an event of any type that is sent."""
        kind = self.choice(list(SENT_TYPES))
        root = str(SENT_TYPES[kind].root)
        fields: Json = {"type": kind, "messageId": "m"}
        odd: dict[str, tuple[float, Any]] = {
            "userId": (0.9, lambda: self.choice(["u1", "u2", "u1", 7, None])),
            "anonymousId": (0.9, lambda: self.choice(["an", ""])),
            "groupId": (0.7, lambda: self.choice(["g", 42, "", None])),
            "event": (0.8, lambda: self.choice(NAMES)),
            "name": (0.4, lambda: self.choice(NAMES)),
            root: (0.95, lambda: {self.choice(KEYS): self.value() for _ in range(self.randint(2, 7))}),
            "context": (0.4, self._odd_context),
            f"{root}.email": (0.05, lambda: "dotted"),
        }
        fields |= {key: make() for key, (share, make) in odd.items() if self.random() < share}
        if self.random() < 0.05:
            fields[root] = self.value()
        return event_of(fields)

    def alike(self, event: Event) -> Event:
        """Make an event with the keys of this one, and other values of the same types."""
        kept = ("type", "event", "messageId", "userId", "anonymousId", "groupId")
        fields = {key: value if key in kept else self._other(value) for key, value in event.fields.items()}
        return event_of(fields)

    def _other(self, value: Any) -> Any:
        if type(value) is dict:
            return {key: self._other(inside) for key, inside in value.items()}
        if type(value) is str and value.strip():
            return self.choice([text for text in TEXTS if text.strip()])
        return self.choice([1, 0, 2.5, 27.0]) if type(value) in (int, float) else value

    def _odd_context(self) -> Json:
        traits = {self.choice(KEYS): self.value() for _ in range(self.randint(0, 3))}
        whose = {"userId": "u1"} if self.random() < 0.3 else {}
        return {"traits": traits | whose, "page": {"url": self.choice(["u", "", None])}}

    def path(self, root: str) -> str:
        """Make a path that may be there."""
        one, other = self.choice(KEYS), self.choice(KEYS)
        return self.choice(
            [
                *(
                    f"{root}.{one}",
                    f"{root}.{one}",
                    f"{root}.{one}.{other}",
                    f"{root}.a[0]",
                    f"{root}.b[1].a",
                ),
                *(root, f"context.traits.{one}", "context.page.url", "userId", "name", "event", "messageId"),
                f'{root}["a.b"]',
            ]
        )

    def directive(self, root: str, depth: int = 0) -> Any:
        """Make a value of `set`."""
        path = {"@path": f"$.{self.path(root)}"}
        if depth > 2:
            return path

        def inner() -> Any:
            return self.directive(root, depth + 1)

        return self.choice(
            [
                lambda: path,
                lambda: path,
                lambda: self.choice(["x", 5, True, None, "", ["a", path], {"a": inner(), "b": 1}]),
                lambda: {"@template": f"{{{{{self.path(root)}}}}} {{{{{self.path(root)}}}}}"},
                lambda: {"@template": f"{{{{{self.path(root)}}}}}"},
                lambda: {"@if": {self.choice(["exists", "blank"]): path, "then": inner(), "else": inner()}},
                lambda: {"@if": {"exists": path, "then": "yes"}},
                lambda: {"@case": {"operator": "lower", "value": inner()}},
                lambda: {"@replace": {"pattern": "o", "replacement": "0", "value": inner()}},
                lambda: {"@arrayPath": [self.path(root), {"n": {"@path": "a"}}]},
                lambda: {"@literal": inner()},
                lambda: {"@merge": {"objects": [path, {"k": inner()}], "direction": "right"}},
                lambda: {"@transform": {"apply": {"a": path}, "mapping": {"b": {"@path": "$.a"}}}},
                lambda: {"@flatten": {"value": path, "separator": "_"}},
                lambda: {"@json": {"mode": self.choice(["encode", "decode"]), "value": inner()}},
                lambda: {"@excludeWhenNull": {"a": inner(), "b": inner()}},
            ]
        )()

    def set_of(self, root: str, places: tuple[str, ...]) -> Json:
        """Make the entries of `set`: of two places that lie in each other only one."""
        chosen: list[str] = []
        for place in self.sample(places, self.choice([0, 2, 3, 4])):
            overlaps = [
                f"{each}.".startswith(f"{place}.") or f"{place}.".startswith(f"{each}.") for each in chosen
            ]
            if not any(overlaps):
                chosen.append(place)
        return {place: self.directive(root) for place in chosen}

    def computed_rows(self, root: str, places: tuple[str, ...]) -> Rows:
        """Make a mapping in which some rows have `or` or `apply`."""
        rows: Rows = dict(self.rows(root, places))
        for _ in range(self.randint(0, 3)):
            source, place = self.path(root), self.choice(places)
            others = [self.path(root) for _ in range(self.randint(0, 2))]
            applies = self.random() < 0.6 and "." in place
            try:
                check_row(parse_source(source), parse_destination(place))
            except PathError:
                continue
            rows[source] = RowTarget([place], others, self.choice(FILTERS) if applies else None)
        return rows

    def where(self, root: str) -> str | None:
        """Make a condition."""
        key = self.choice(["a", "b", "email", "name"])
        return self.choice(
            [
                *([None] * 6),
                f"{root}.{key} != null",
                f'{root}.{key} != "x"',
                f"{root}.{key} > 1",
                f'contains({root}.{key}, "o") or userId = "u1"',
            ]
        )

    def section(self, root: str, places: tuple[str, ...]) -> dict[str, Any]:
        """Make what all sections have."""
        return {
            "mapping": self.computed_rows(root, places),
            "extend_default": self.random() < 0.5,
            "set": self.set_of(root, places),
            "add": self.choice([{}, {}, {f"{self._metadata(places)}.z": 1}]),
            "where": self.where(root),
        }

    def _metadata(self, places: tuple[str, ...]) -> str:
        return "metadata" if "metadata" in places else "customer.metadata"

    def entry(self) -> TrackEntry:
        """Make an entry of `track.events`: each of its keys may be left out."""
        keys: dict[str, Any] = {
            **self.section("properties", OF_CUSTOMER + OF_EVENT),
            "rename": "Renamed",
            "unmapped_properties": "metadata",
            "disabled": self.random() < 0.1,
        }
        return TrackEntry(**{key: value for key, value in keys.items() if self.random() < 0.5})

    def settings(self) -> Settings:
        """Make settings."""
        of_customer = self.section("traits", OF_CUSTOMER)
        unmapped = ["drop", "drop", "metadata"]
        of_event = OF_CUSTOMER + OF_EVENT
        return Settings(
            identify=Identify(
                **of_customer,
                nulls=self.choice(["omit", "clear"]),
                unmapped_traits=self.choice(unmapped),
                context_traits=self.choice(["fallback", "ignore"]),
                name_from_parts=self.random() < 0.7,
            ),
            track=Track(
                **self.section("properties", of_event),
                unmapped_properties=self.choice(unmapped),
                events={name: self.entry() for name in self.sample(ENTRIES, self.randint(0, 3))},
            ),
            page=Page(
                **self.section("properties", of_event),
                disabled=False,
                unmapped_properties=self.choice(unmapped),
            ),
            screen=Screen(**self.section("properties", of_event), disabled=self.random() < 0.5),
            group=Group(
                **self.section("traits", OF_CUSTOMER),
                disabled=False,
                unmapped_traits=self.choice(unmapped),
                nulls=self.choice(["omit", "clear"]),
            ),
            personas=Personas(disabled=self.random() < 0.5),
        )
