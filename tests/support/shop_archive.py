"""An archive of a shop as people have them: good values, and every odd one in the place of each."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

BIRTHDATES: list[Any] = [
    *("1990-05-01", "2000-02-29", "1985-12-31T23:59:59.000Z", "19850704", "1970-01-01 00:00", " 1990-05-01"),
    *(
        "05/01/1990",
        "1.5.1990",
        "May 1, 1990",
        "1990",
        "1990-02-30",
        "1990-13-01",
        "0000-00-00",
        "unknown",
        "",
        " ",
    ),
    *(None, 0, 19900501, 641520000, 641520000000, 1.5, True, [], ["1990-05-01"], {}, {"year": 1990}),
]
ODD: list[Any] = [
    *(None, "", " ", "\u00a0", 0, 7, -1, 1.5, 12.0, 1e300, 10**40, True, False),
    *(
        [],
        ["x"],
        {},
        {"a": {"b": {"c": [{"d": None}]}}},
        "ż" * 400,
        "\u0000",
        "half \ud83d",
        "[object Object]",
    ),
]
NAMES: list[Any] = ["Ann Example", "Ben", "Łucja Żak"]
CITIES: list[Any] = ["Łódź", "New York", "Berlin"]
EVENTS: list[Any] = ["Order Completed", "Product Viewed", "Signed Up"]


def shop_archive(count: int, seed: int = 0) -> Iterator[str]:
    """Yield lines: identify and track events of some hundred customers, one in five values odd."""
    chance = random.Random(seed)

    def value(*good: Any) -> Any:
        return chance.choice(ODD) if chance.random() < 0.2 else chance.choice(good)

    for number in range(count):
        event: dict[str, Any] = {
            "messageId": f"m{number}",
            "userId": value(*(f"u{chance.randrange(300)}" for _ in range(4))),
            "anonymousId": f"a{chance.randrange(300)}",
            "timestamp": value(f"2025-0{chance.randrange(1, 10)}-01T10:00:00.{number % 1000:03}Z"),
        }
        person = {
            "name": value(*NAMES),
            "firstName": value("Ann"),
            "lastName": value("Example"),
            "email": value("ann@example.com", "no mail"),
            "phone": value("+48 123", 48123),
            "description": value("likes shoes"),
            "birthday": chance.choice(BIRTHDATES),
            "birthdate": chance.choice(BIRTHDATES),
            "address": value(
                {"city": value(*CITIES), "postalCode": value("12345", 12345), "street": value("Main 1")}
            ),
            "plan": value("pro", "free"),
            "metadata": value({"vip": value(True), "tags": value(["a", "b"])}),
        }
        kept = {key: one for key, one in person.items() if chance.random() < 0.6}
        if chance.random() < 0.5:
            event |= {"type": "identify", "traits": value(kept, kept, kept)}
        else:
            order = {
                "total": value(9.5),
                "coupon": value("SAVE"),
                "referrer": value("u1"),
                "card": value("L-1"),
            }
            event |= {
                "type": "track",
                "event": value(*EVENTS),
                "properties": value(kept | order, kept | order),
            }
        yield json.dumps(event)


SHOP_SETTINGS = {
    "default": "",
    "nulls": "identify: {nulls: clear}\n",
    "every field": """\
identify:
  nulls: clear
  mapping:
    traits: customer
    traits.birthday: customer.birthdate
    traits.plan: [customer.metadata.plan, customer.description]
track:
  mapping:
    properties: metadata
    properties.birthdate: customer.birthdate
    properties.email: customer.email
    properties.address: customer.address
    properties.coupon: referral.code
    properties.referrer: referral.referrer_id
    properties.card: loyalty.code
""",
    "wildcards": """\
identify:
  extend_default: true
  mapping: {traits.*: customer.metadata.*, traits.birthdate: customer.birthdate, traits.address: customer.metadata}
  unmapped_traits: metadata
track:
  extend_default: true
  unmapped_properties: metadata
  mapping: {properties.name: event, properties.birthday: customer.birthdate, properties.plan: loyalty}
""",
}
"""Settings that send these values to every field of Voucherify."""
