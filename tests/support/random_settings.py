"""Settings and events in which everything meets everything."""

from __future__ import annotations

import random
from typing import Any

from support.segment_events import event_of
from voucherify_sync.events import Event, Json
from voucherify_sync.settings.types import Identify, Personas, Settings, Track

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


class Chance(random.Random):
    """Makes settings and events in which everything meets everything."""

    def value(self, depth: int = 0) -> Any:
        """Make a value."""
        if depth < 3 and self.random() < 0.25:
            return {self.choice(KEYS): self.value(depth + 1) for _ in range(self.randint(0, 4))}
        return self.choice(VALUES)

    def event(self) -> Event:
        """Make an identify or a track event."""
        fields: Json = {"type": self.choice(["identify", "track"]), "messageId": "m"}
        root = "traits" if fields["type"] == "identify" else "properties"
        odd = {
            "userId": (0.8, lambda: self.choice(["u1", "u2", " ", 7, None])),
            "anonymousId": (0.3, lambda: self.choice(["an", ""])),
            "event": (0.6, lambda: self.choice(["Order", None, "", " ", 5])),
            root: (0.95, lambda: {self.choice(KEYS): self.value() for _ in range(self.randint(0, 7))}),
            "context": (0.3, self._context),
            f"{root}.email": (0.05, lambda: "dotted"),
        }
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

    def rows(self, root: str, places: tuple[str, ...]) -> dict[str, list[str]]:
        """Make a mapping."""
        rows: dict[str, list[str]] = {}
        for _ in range(self.randint(0, 6)):
            one, other = self.choice(KEYS), self.choice(KEYS)
            source = self.choice(
                [
                    *(root, f"{root}.{one}", f"{root}.{one}.{other}", f"{root}.*", f"{root}.address.*"),
                    *(
                        f"{root}.a[0]",
                        f'{root}["a.b"]',
                        "messageId",
                        "context.page.url",
                        "context.traits.email",
                    ),
                ]
            )
            wild = [place for place in places if place in ("customer", "customer.metadata", "metadata")]
            place = f"{self.choice(wild)}.*" if source.endswith("*") else self.choice(places)
            rows.setdefault(source, []).append(place)
        return rows

    def settings(self) -> Settings:
        """Make settings."""
        identify = Identify(
            mapping=self.rows("traits", OF_CUSTOMER),
            extend_default=self.random() < 0.5,
            nulls=self.choice(["omit", "clear"]),
            unmapped_traits=self.choice(["drop", "drop", "metadata"]),
            add=self.choice([{}, {"customer.metadata.z": 1, "customer.email": None}]),
        )
        track = Track(
            mapping=self.rows("properties", OF_CUSTOMER + OF_EVENT),
            extend_default=self.random() < 0.5,
            unmapped_properties=self.choice(["drop", "drop", "metadata"]),
            add=self.choice([{}, {"metadata.z": {"q": 1}}]),
        )
        return Settings(identify=identify, track=track, personas=Personas(disabled=self.random() < 0.5))
