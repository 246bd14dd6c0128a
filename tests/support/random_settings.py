"""Settings and events in which everything meets everything."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from support.segment_events import event_of
from voucherify_sync.events import Event, Json
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

KEYS = (
    *(
        "a",
        "b",
        "email",
        "name",
        "firstName",
        "first_name",
        "lastName",
        "last_name",
        "address",
        "city",
        "street",
    ),
    *("postalCode", "postal_code", "country", "metadata", "id", "phone", "birthdate", "source_id", "code"),
    *("a.b", "address.city"),
)


VALUES = (None, "x", "", "  ", 5, 1.5, True, [1, {"a": 2}], "1990-05-01T10:00", "Bob", [], {})


OF_CUSTOMER = (
    *(
        "customer",
        "customer.name",
        "customer.email",
        "customer.phone",
        "customer.birthdate",
        "customer.address",
    ),
    *("customer.address.city", "customer.address.line_1", "customer.metadata", "customer.metadata.x"),
    *(
        "customer.metadata.x.y",
        "customer.firstName",
        "customer.lastName",
        "customer.source_id",
        "customer.id",
    ),
)


OF_EVENT = ("event", "metadata", "metadata.a", "metadata.a.b", "referral", "referral.code", "loyalty.code")


FILTERS = (
    *("strip", "downcase", "upcase | append: '!'", "default: 'none'", "to_text", "to_number", "to_boolean"),
    *("date: '%Y'", "times: 100 | round", "split: 'o' | first", "join: ', '"),
)

CONDITIONS = (
    'event = "Order"',
    "userId != null",
    'properties.a != "x"',
    'traits.a > 1 or contains(userId, "1")',
)


OBJECTS = ("customer", "customer.address", "customer.metadata", "metadata")


class Chance(random.Random):
    """Makes settings and events in which everything meets everything.

    Args:
        seed: of the sequence.
        all_keys: the settings have `set`, rows with `or` and `apply`, conditions, entries of `track.events`, and
            sections of pages, screens and groups; the events are of all these types.
    """

    def __init__(self, seed: int, *, all_keys: bool = False) -> None:
        super().__init__(seed)
        self.all_keys = all_keys

    def value(self, depth: int = 0) -> Any:
        """Make a value."""
        if depth < 3 and self.random() < 0.25:
            return {self.choice(KEYS): self.value(depth + 1) for _ in range(self.randint(0, 4))}
        return self.choice(VALUES)

    def event(self) -> Event:
        """Make an event."""
        types = ["identify", "track"] + (["page", "screen", "group"] if self.all_keys else [])
        fields: Json = {"type": self.choice(types), "messageId": "m"}
        root = "traits" if fields["type"] in ("identify", "group") else "properties"
        odd = {
            "userId": (0.8, lambda: self.choice(["u1", "u2", " ", 7, None])),
            "anonymousId": (0.3, lambda: self.choice(["an", ""])),
            "event": (0.6, lambda: self.choice(["Order", None, "", " ", 5])),
            root: (0.95, lambda: {self.choice(KEYS): self.value() for _ in range(self.randint(0, 7))}),
            "context": (0.3, self._context),
            f"{root}.email": (0.05, lambda: "dotted"),
        }
        if fields["type"] == "group":
            odd["groupId"] = (0.8, lambda: self.choice(["g", 42, "", None, True]))
        elif fields["type"] in ("page", "screen"):
            odd["name"] = (0.8, lambda: self.choice(["Home", "", 5]))
        fields |= {key: make() for key, (share, make) in odd.items() if self.random() < share}
        if self.random() < 0.05:
            fields[root] = self.value()
        return event_of(fields)

    def _context(self) -> Json:
        return {
            "personas": {"computation_key": self.choice(KEYS)},
            "traits": {"email": "c@example.com"},
            "page": {"url": "u"},
        }

    def source(self, root: str) -> str:
        """Make the path of a source; no wildcard."""
        one, other = self.choice(KEYS), self.choice(KEYS)
        below = (root, f"{root}.{one}", f"{root}.{one}.{other}", f"{root}.a[0]", f'{root}["a.b"]')
        beside = "messageId", "context.page.url", "context.traits.email"
        return self.choice((*below, *beside))

    def rows(self, root: str, places: tuple[str, ...]) -> Rows:
        """Make a mapping."""
        rows: dict[str, list[str] | RowTarget] = {}
        for _ in range(self.randint(0, 6)):
            source = self.choice([self.source(root)] * 3 + [f"{root}.*", f"{root}.address.*"])
            if source.endswith("*"):
                wild = [place for place in places if place in ("customer", "customer.metadata", "metadata")]
                place = f"{self.choice(wild)}.*"
            else:
                place = self.choice(places)
            target = rows.setdefault(source, [])
            if isinstance(target, list):
                target.append(place)
            if self.all_keys and not source.endswith("*") and self.random() < 0.4:
                rows[source] = self._target(root, place)
        return rows

    def _target(self, root: str, place: str) -> RowTarget:
        others = [self.source(root) for _ in range(self.randint(0, 2))]
        is_object = place in OBJECTS or root in (source.split("[")[0] for source in others)
        filters = None if is_object or self.random() < 0.3 else self.choice(FILTERS)
        return RowTarget([place], others, filters)

    def directive(self, root: str, depth: int = 0) -> Any:
        """Make a value of `set`."""
        if depth > 2 or self.random() < 0.4:
            return self.choice(
                [{"@path": f"$.{self.source(root)}"}, {"@path": self.source(root)}, self.value(2)]
            )

        def inside() -> Any:
            return self.directive(root, depth + 1)

        made: dict[str, Callable[[], Any]] = {
            "@template": lambda: f"{{{{{root}.{self.choice(KEYS)}}}}} of {{{{userId}}}}",
            "@if": lambda: {self.choice(["exists", "blank"]): inside(), "then": inside(), "else": inside()},
            "@case": lambda: {"operator": self.choice(["lower", "upper"]), "value": inside()},
            "@replace": lambda: {"pattern": "o", "replacement": "0", "value": inside()},
            "@arrayPath": lambda: [{"@path": f"{root}.a"}, {"v": {"@path": "a"}}],
            "@literal": inside,
            "@merge": lambda: {
                "objects": [inside(), {"@path": root}],
                "direction": self.choice(["left", "right"]),
            },
            "@transform": lambda: {"apply": {root: {"a": inside()}}, "mapping": {"@path": f"{root}.a"}},
            "@flatten": lambda: {"value": inside(), "separator": "."},
            "@json": lambda: {"mode": self.choice(["encode", "decode"]), "value": inside()},
            "@excludeWhenNull": inside,
            "@path": lambda: {"@template": root + ".{{userId}}"},
        }
        name = self.choice(sorted(made))
        return {name: made[name]()}

    def set(self, root: str, places: tuple[str, ...]) -> Json:
        """Make a `set`."""
        if not self.all_keys or self.random() < 0.4:
            return {}
        entries: Json = {}
        for place in self.sample(places, self.randint(1, 4)):
            if place in OBJECTS:
                entries[place] = self.choice(
                    [{"@path": root}, {"@merge": {"objects": [{"@path": root}], "direction": "left"}}, None]
                )
            else:
                entries[place] = self.directive(root)
        return entries

    def _where(self) -> str | None:
        return self.choice(CONDITIONS) if self.all_keys and self.random() < 0.15 else None

    def _entry(self) -> TrackEntry:
        places = OF_CUSTOMER + OF_EVENT
        return TrackEntry(
            disabled=self.random() < 0.2,
            rename=self.choice([None, "Renamed"]),
            where=self._where(),
            mapping=self.choice([None, self.rows("properties", places)]),
            extend_default=self.choice([None, True, False]),
            set=self.choice([None, self.set("properties", places)]),
            add=self.choice([{}, {"metadata.z": 2}]),
            unmapped_properties=self.choice([None, "drop", "metadata"]),
            name_from_parts=self.choice([None, True, False]),
        )

    def settings(self) -> Settings:
        """Make settings."""
        identify = Identify(
            where=self._where(),
            mapping=self.rows("traits", OF_CUSTOMER),
            extend_default=self.random() < 0.5,
            set=self.set("traits", OF_CUSTOMER),
            nulls=self.choice(["omit", "clear"]),
            unmapped_traits=self.choice(["drop", "drop", "metadata"]),
            add=self.choice([{}, {"customer.metadata.z": 1, "customer.email": None}]),
            name_from_parts=not self.all_keys or self.random() < 0.7,
        )
        track = Track(
            where=self._where(),
            events={name: self._entry() for name in ("Order", "*") if self.all_keys and self.random() < 0.4},
            mapping=self.rows("properties", OF_CUSTOMER + OF_EVENT),
            extend_default=self.random() < 0.5,
            set=self.set("properties", OF_CUSTOMER + OF_EVENT),
            unmapped_properties=self.choice(["drop", "drop", "metadata"]),
            add=self.choice([{}, {"metadata.z": {"q": 1}}]),
            name_from_parts=not self.all_keys or self.random() < 0.7,
        )
        personas = Personas(disabled=self.random() < 0.5)
        if not self.all_keys:
            return Settings(identify=identify, track=track, personas=personas)
        page = Page(
            disabled=False,
            where=self._where(),
            mapping=self.rows("properties", OF_CUSTOMER + OF_EVENT),
            set=self.set("properties", OF_CUSTOMER + OF_EVENT),
            unmapped_properties=self.choice(["drop", "metadata"]),
        )
        group = Group(
            disabled=False,
            mapping=self.rows("traits", OF_CUSTOMER),
            set=self.set("traits", OF_CUSTOMER),
            nulls=self.choice(["omit", "clear"]),
            unmapped_traits=self.choice(["drop", "metadata"]),
        )
        screen = Screen(disabled=False, extend_default=True, set=self.set("properties", OF_EVENT))
        return Settings(
            identify=identify, track=track, page=page, screen=screen, group=group, personas=personas
        )
