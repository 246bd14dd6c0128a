"""Settings, selections and events of all sorts, to hold two ways through the same records together."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from voucherify_sync.events import Json
from voucherify_sync.mapping.filters import Selection
from voucherify_sync.settings.types import Identify, Identity, Personas, Settings, Track

SETTINGS = {
    "default": Settings(),
    "rows": Settings(
        identify=Identify(
            mapping={
                "userId": ["customer.source_id", "customer.metadata.user"],
                "traits.crm": ["customer.id"],
                "traits.email": ["customer.email"],
                "traits.phone": ["customer.phone", "customer.metadata.phone"],
                "context.email": ["customer.email"],
                "traits.born": ["customer.birthdate"],
                "traits.address.city": ["customer.address.city"],
                "traits.plan": ["customer.metadata.plan"],
                'traits["odd key"]': ["customer.metadata.odd"],
            },
            add={"customer.metadata.from": "segment", "customer.description": "replayed"},
        ),
        track=Track(
            mapping={
                "properties.title": ["event"],
                "properties.total": ["metadata.total"],
                "properties.order.id": ["metadata.order"],
                "properties.products[0].sku": ["metadata.sku"],
                "timestamp": ["metadata.occurred_at"],
                "messageId": ["metadata.id"],
                "properties.email": ["customer.email"],
                "context.traits.email": ["customer.email"],
                "properties.first": ["customer.firstName"],
            },
            add={"metadata.replayed": True},
        ),
    ),
    "extended": Settings(
        identify=Identify(mapping={"traits.plan": ["customer.metadata.plan"]}, extend_default=True),
        track=Track(
            mapping={
                "properties.plan": ["metadata.plan"],
                "properties.total": ["metadata.plan"],
                "properties.code": ["referral.code"],
                "properties.order": ["metadata.deep.order"],
            },
            extend_default=True,
        ),
    ),
    "object": Settings(
        identify=Identify(mapping={"traits": ["customer"], "traits.email": ["customer.email"]}),
        track=Track(mapping={"properties": ["metadata"], "traits.email": ["customer.email"]}),
    ),
    "wildcard": Settings(
        identify=Identify(mapping={"traits.*": ["customer.metadata.*"]}),
        track=Track(mapping={"context.page.*": ["metadata.*"], "properties.email": ["customer.email"]}),
    ),
    "spare": Settings(
        identify=Identify(unmapped_traits="metadata"), track=Track(unmapped_properties="metadata")
    ),
    "clear": Settings(
        identify=Identify(
            nulls="clear",
            mapping={"traits.email": ["customer.email"], "traits.plan": ["customer.metadata.plan"]},
        ),
    ),
    "clear default": Settings(identify=Identify(nulls="clear")),
    "no personas": Settings(personas=Personas(disabled=True)),
    "names": Settings(track=Track(events_filter=["Order Completed", "Cart *"], events_exclude=["Cart Seen"])),
    "anonymous": Settings(identity=Identity(ignore_anonymous=True), track=Track(disabled=True)),
    "constants": Settings(
        identify=Identify(add={"customer.name": "", "customer.source_id": "fixed"}),
        track=Track(
            mapping={"properties.total": ["metadata.total"]}, add={"metadata.total": 1, "event": "Named"}
        ),
    ),
    "number constant": Settings(identify=Identify(add={"customer.phone": 5})),
}

SELECTIONS = {
    "all": Selection(),
    "types": Selection(types=frozenset({"track"})),
    "names": Selection(names=frozenset({"Order*"})),
    "users": Selection(users=frozenset({"u1"})),
    "excluded": Selection(exclude_ids=frozenset({"u1"})),
    "period": Selection(since=datetime(2024, 6, 1, tzinfo=UTC)),
}

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 2**70),
    st.floats(allow_nan=False, width=32),
    st.sampled_from(["", " ", "a", "Ann", "1990-04-01T10:00:00Z", "x" * 301, "\u2028", "é", '"\\', "\x00"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["city", "postalCode", "id", "sku", "a.b"]), inner, max_size=3)
    ),
    max_leaves=5,
)
GIVEN = st.one_of(
    st.dictionaries(
        st.sampled_from(
            [
                *(
                    "name",
                    "firstName",
                    "lastName",
                    "first_name",
                    "email",
                    "phone",
                    "description",
                    "crm",
                    "born",
                ),
                *(
                    "plan",
                    "odd key",
                    "title",
                    "total",
                    "order",
                    "order.id",
                    "products",
                    "first",
                    "code",
                    "id",
                ),
                *("address", "address.city", "metadata", "unmapped"),
            ]
        ),
        VALUES,
        max_size=6,
    ),
    SCALARS,
)
IDS = st.sampled_from(["u1", "u2", " ", "", 7, 1.5, None, True])


@st.composite
def events(draw: st.DrawFn) -> Json:
    """Return something like an event; each of its keys may be missing or odd."""
    address = st.fixed_dictionaries({}, optional={"city": SCALARS, "postalCode": SCALARS, "a": VALUES})
    optional: dict[str, st.SearchStrategy[Any]] = {
        "event": st.sampled_from(
            ["Order Completed", "Cart Seen", "Cart Left", "", " ", "x" * 301, 5, 4.5, True, None]
        ),
        "userId": IDS,
        "anonymousId": IDS,
        "messageId": st.sampled_from(["m1", "m2", "m3", "m4", "é", '"', "", " ", 12, None]),
        "traits": GIVEN | st.fixed_dictionaries({"address": address}),
        "properties": GIVEN | st.fixed_dictionaries({"address": address, "name": SCALARS}),
        "timestamp": st.sampled_from(
            ["2024-03-01T00:00:00.000Z", "2024-07-01T00:00:00+02:00", "junk", 5, None]
        ),
        "sentAt": st.just("2024-08-01T00:00:00.000Z"),
        "integrations": st.sampled_from([{}, {"All": False}, {"Voucherify": False}, [], None, "x"]),
        "context": st.sampled_from(
            [
                {},
                {"personas": {"computation_key": "plan"}},
                {"personas": None},
                {"email": "c@example.com", "page": {"path": "/"}, "traits": {"email": "t@example.com"}},
                None,
                3,
            ]
        ),
        "traits.email": SCALARS,
        "properties.total": SCALARS,
        "batch": st.just([{"type": "track"}]),
        "other": VALUES,
    }
    kinds = ["identify", "track", "track", "page", "group", " Track", "RECORD", "", "\u2003", 5]
    return draw(st.fixed_dictionaries({"type": st.sampled_from(kinds)}, optional=optional))


ODD_LINES = {
    "blank": b"",
    "spaces": b"  \t",
    "not JSON": b"{oops",
    "two objects": b'{"type":"identify","userId":"u","messageId":"m"}{"type":"page"}',
    "an array": b'[{"type":"identify","userId":"u","messageId":"m"}]',
    "an envelope": b'{"batch":[{"type":"track","event":"E","userId":"u","messageId":"m"}]}',
    "RudderStack's wrapper": b'{"messageId":"m","payload":{"type":"identify","userId":"u"}}',
    "a key twice": b'{"type":"page","type":"identify","userId":"a","userId":"u","messageId":"m",'
    b'"traits":{"email":"x"},"traits":{"phone":"1"}}',
    "an escaped key": b'{"\\u0074ype":"identify","user\\u0049d":"u","messageId":"m","traits":{"ema\\u0069l":"x"}}',
    "bad UTF-8 where nobody looks": b'{"type":"identify","userId":"u","messageId":"m","other":"\xff"}',
    "bad UTF-8 that is sent": b'{"type":"identify","userId":"u","messageId":"m","traits":{"email":"\xff"}}',
    "a lone surrogate": b'{"type":"identify","userId":"u","messageId":"m","traits":{"email":"\\ud800"}}',
    "NaN where nobody looks": b'{"type":"identify","userId":"u","messageId":"m","other":NaN}',
    "NaN that is sent": b'{"type":"identify","userId":"u","messageId":"m","traits":{"email":NaN}}',
    "out of range": b'{"type":"identify","userId":"u","messageId":"m","other":1e999}',
    "an endless number": b'{"type":"identify","userId":"u","messageId":"m","other":' + b"9" * 4301 + b"}",
    "a long number": b'{"type":"identify","userId":"u","messageId":"m","other":' + b"9" * 4300 + b"}",
    "a null as a whole key": b'{"type":"identify","userId":"u","messageId":"m",'
    b'"traits":{"email":"x"},"traits.email":null}',
    "too deep": b'{"type":"identify","userId":"u","messageId":"m","other":'
    + b"[" * 20_000
    + b"]" * 20_000
    + b"}",
    "CR": b'{"type":"identify","userId":"u","messageId":"m"}\r',
    "a line separator": '{"type":"track","event":"a\u2028b","userId":"u","messageId":"m"}'.encode(),
    "no userId": b'{"type":"track","event":"E","messageId":"m"}',
    "no messageId": b'{"type":"track","event":"E","userId":"u"}',
    "an empty object": b"{}",
    "null": b"null",
}
