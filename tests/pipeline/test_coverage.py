"""Coverage counts what a mapping does to many events, as exactly as if each were traced by itself."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.random_actions import ActionsChance
from support.segment_events import event_of, identify, track
from support.settings_text import pasted

from voucherify_sync.api import CoverageOptions, CoverageReport, Mode, ReplayOptions, coverage, replay
from voucherify_sync.events import Batch, Event, Json
from voucherify_sync.mapping.filters import Selection
from voucherify_sync.outcomes import Outcome
from voucherify_sync.preview import coverage as coverage_module
from voucherify_sync.preview.coverage import (
    MAX_EXAMPLE,
    MAX_PATHS,
    Coverage,
    brief,
    share,
)
from voucherify_sync.preview.pasted_settings import pasted_yaml
from voucherify_sync.preview.suggestions import MAX_ROWS
from voucherify_sync.settings import Identify, Settings, Track, block_places, load, template
from voucherify_sync.settings.types import SAFE_TRACK_ROWS, Orders, Page, RowTarget, TrackEntry
from voucherify_sync.sources.decode import decode

HOSTILE = "'\"`$(id)\x1b[31m\u202e</script><script>\n\x9b2J\\"


def builtins_of(coverage: Coverage) -> Json:
    """Return the report as `coverage --json` prints it."""
    found: Json = coverage.report().to_dict()
    return found


def covered(events: Iterable[Event | Outcome], rules: Settings | None = None) -> dict[str, Any]:
    """Return what was counted of the events."""
    coverage = Coverage(rules or Settings())
    coverage.add(events)
    return builtins_of(coverage)


def paths_of(section: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the paths of a section by name."""
    return {path["path"]: path for path in section["paths"]}


def test_every_path_is_counted_with_types_and_destination() -> None:
    """Share of the events, types seen, where it goes or why it is lost, an example."""
    found = covered(
        [
            identify({"email": "a@b.c", "age": 41, "address": {"city": "Berlin"}}),
            identify({"age": "41", "x": None}),
        ]
    )
    paths = paths_of(found["identify"])
    assert paths["traits.email"] == {
        "path": "traits.email",
        "events": 1,
        "share": 0.5,
        "types": {"string": 1},
        "mapped": 1,
        "destinations": {"customer.email": 1},
        "lost": {},
        "example": '"a@b.c"',
        "example_at": paths["traits.age"]["example_at"],
    }
    assert paths["traits.age"]["types"] == {"number": 1, "string": 1}
    assert paths["traits.age"]["lost"] == {"no_row": 2}
    assert paths["traits.address.city"]["destinations"] == {"customer.address.city": 1}
    assert paths["traits.x"]["lost"] == {"null": 1}
    assert found["values"] == {"seen": 4, "mapped": 2, "share": 0.5}


def test_a_list_is_one_value() -> None:
    """What is inside of it has no path of its own."""
    found = covered([track({"products": [{"sku": "a"}, {"sku": "b"}]})])
    assert list(paths_of(found["track"])) == ["properties.products"]
    assert found["track"]["paths"][0]["types"] == {"array": 1}


@pytest.mark.parametrize(
    ("own", "unsent"),
    [
        pytest.param(
            Orders(disabled=False),
            {
                "properties.products[].category": 3,
                'properties.products[]["odd key"]': 1,
                "properties.products[].name": 1,
                "properties.products[].sku": 1,
            },
            id="default-table",
        ),
        pytest.param(
            Orders(
                disabled=False,
                set={
                    "metadata.category": {
                        "@arrayPath": ["$.properties.products", {"@path": "$.category"}],
                    },
                    "metadata.odd": {"@arrayPath": ["$.properties.products", {"@path": "$['odd key']"}]},
                },
            ),
            {"properties.products[].name": 1, "properties.products[].sku": 1},
            id="what-set-reads-is-sent",
        ),
        pytest.param(
            Orders(
                disabled=False,
                set={"items": {"@arrayPath": ["$.properties.products", {"id": {"@path": "$.sku"}}]}},
            ),
            {},
            id="items-of-set",
        ),
        pytest.param(Orders(disabled=False, products="none"), {}, id="no-items"),
        pytest.param(Orders(), {}, id="no-orders"),
    ],
)
def test_what_no_item_of_an_order_holds_is_counted_inside_of_its_products(
    own: Orders, unsent: dict[str, int]
) -> None:
    """Of each event, though events of one shape are traced once. It is no part of the share."""
    products: list[list[Any]] = [
        [{"product_id": "a", "sku": "s", "price": 1, "name": "A", "category": "c", "brand": None}],
        [{"sku": "s", "quantity": 2, "category": "c", "odd key": 1}, {"price": 3, "name": "B"}],
        [{"id": "a", "product": {"metadata": {"size": 1}}, "category": "c"}, {"brand": "unusable"}, "text"],
    ]
    found = covered([track({"order_id": "o", "products": each}) for each in products], Settings(orders=own))
    assert found.get("orders", found["track"])["unsent_of_products"] == unsent
    if unsent:  # a list of which one product is unusable is sent all the same
        assert found["values"]["share"] == 1


def test_traits_of_the_context_are_counted_with_the_type_of_their_event() -> None:
    """They lie in identify and track events alike."""
    found = covered(
        [track({"a": 1}, context={"traits": {"email": "x"}}), identify({}, context={"traits": {"b": 1}})]
    )
    assert set(paths_of(found["track"])) == {"properties.a", "context.traits.email"}
    assert set(paths_of(found["identify"])) == {"context.traits.b"}


def test_events_that_are_not_sent_are_counted_by_reason_only() -> None:
    """Their values are nobody's loss."""
    (bad,) = decode(Batch.of("a", 1, [b"{oops"]))
    events = [event_of({"type": "page", "userId": "u"}), track({"a": 1}, userId=None), bad, track({"a": 1})]
    found = covered(events)
    assert found["events"] == {
        "read": 4,
        "counted": 1,
        "skipped": {"no_id": 1, "type_page": 1},
        "invalid": {"not_json": 1},
        "other_types": {},
    }
    assert found["values"]["seen"] == 1


def test_other_types_are_named() -> None:
    """What is inside of such records may be what their owner means."""
    kinds = ["RECORD", "STATE", "RECORD", "page"]
    found = covered([event_of({"type": kind}) for kind in kinds])
    assert found["events"]["other_types"] == {"RECORD": 2, "STATE": 1}


def test_a_selection_that_meets_nothing_is_told() -> None:
    """As by a replay."""
    coverage = Coverage(Settings(), Selection(names=frozenset({"Order Complete"})))
    coverage.add([track()])
    coverage.add([track(), identify()])
    assert coverage.report().notices == [
        '--event: none of the 2 track events read is named "Order Complete"; did you mean "Order Completed" (2)?'
    ]


def test_the_selection_picks_events() -> None:
    """By type and by name, as in a replay."""
    coverage = Coverage(Settings(), Selection(names=frozenset({"Order *"})))
    coverage.add([track({"a": 1}), track({"b": 1}, event="Signed Up"), identify({"c": 1})])
    found = builtins_of(coverage)
    assert list(paths_of(found["track"])) == ["properties.a"]
    assert found["events"]["skipped"] == {"not_selected": 2}


def test_destinations_tell_how_often_they_are_filled_and_what_was_refused() -> None:
    """A value of the wrong type, and metadata of two types, are conflicts."""
    rules = Settings(
        track=Track(mapping={"properties.a": ["metadata.a"], "properties.p": ["customer.phone"]})
    )
    found = covered([track({"a": 1, "p": ["1"]}), track({"a": "1", "p": "1"})], rules)
    places = {place["path"]: place for place in found["track"]["destinations"]}
    assert places["metadata.a"]["types"] == {"number": 1, "string": 1}
    assert places["metadata.a"]["type_conflict"]
    assert places["customer.phone"] == {
        "path": "customer.phone",
        "filled": 1,
        "share": 0.5,
        "types": {"string": 1},
        "refused": {"not_text": 1},
        "type_conflict": True,
    }
    assert not places["customer.source_id"]["type_conflict"]


@pytest.mark.parametrize(
    ("row", "meant"),
    [
        pytest.param("traits.loyaltyTier", ["traits.loyalty_tier"], id="other-case"),
        pytest.param("traits.loyalty_teir", ["traits.loyalty_tier"], id="typing-error"),
        pytest.param("properties.loyalty_tier", ["traits.loyalty_tier"], id="other-root"),
        pytest.param("traits.emial", ["traits.email"], id="and-not-another-key-of-the-root"),
        pytest.param("traits.birthday", [], id="nothing-near"),
    ],
)
def test_a_row_that_finds_nothing_is_told_with_what_may_be_meant(row: str, meant: list[str]) -> None:
    """The suggestions are paths that were seen."""
    rules = Settings(
        identify=Identify(mapping={row: ["customer.metadata.x"], "traits.email": ["customer.email"]})
    )
    found = covered([identify({"loyalty_tier": "bean", "email": "a@b.c", "id": "u"})], rules)
    assert found["identify"]["idle_rows"] == [{"row": f"{row}: customer.metadata.x", "did_you_mean": meant}]


def test_rows_of_the_default_table_are_never_idle() -> None:
    """Nobody wrote them."""
    assert covered([identify({})])["identify"]["idle_rows"] == []


def test_what_is_lost_most_often_gets_rows() -> None:
    """Traits go to the customer's metadata, properties to the event's; known fields to where they belong."""
    found = covered(
        [
            identify({"plan": "pro", "birthdate": "2000-01-01", "company": {"name": "KS"}, "odd key": 1}),
            track({"total": 1, "plan": None}, context={"traits": {"plan": "x"}}),
        ]
    )
    assert found["identify"]["proposed_rows"] == {
        "traits.birthdate": "customer.birthdate",
        "traits.company.name": "customer.metadata.company_name",
        'traits["odd key"]': 'customer.metadata["odd key"]',
        "traits.plan": "customer.metadata.plan",
    }
    assert found["track"]["proposed_rows"] == SAFE_TRACK_ROWS | {
        "messageId": "metadata.segment_message_id",
        "timestamp": "metadata.occurred_at",
        "context.traits.plan": "customer.metadata.plan",
        "properties.total": "metadata.total",
    }


NAMES = st.one_of(
    st.sampled_from([HOSTILE, "a.b", "", " ", "${HOME}", "yes", "x: y", "#", "name"]), st.text(max_size=8)
)


def rows_of(events: Iterable[Event | Outcome], rules: Settings | None = None) -> dict[str, str]:
    """Return the rows proposed for the only type of event that there is."""
    found = covered(events, rules)
    return {**found["identify"]["proposed_rows"], **found["track"]["proposed_rows"]}


def remarks_of(events: Iterable[Event | Outcome], kind: str = "identify") -> dict[str, str]:
    """Return the sources that a person should decide on, with the remark."""
    proposed = covered(events)[kind]["proposal"]["rows"]
    return {row["source"]: row["remark"] for row in proposed if row["remark"]}


def after_pasting(events: list[Event], file: Path, text: str | None) -> tuple[Json, Json]:
    """Return what is counted before and after the proposed rows are pasted into a file with this text."""
    if text is not None:
        file.write_text(text)
    coverage = Coverage(Settings() if text is None else load(file, environment={}))
    coverage.add(events)
    report = coverage.report()
    places = {} if text is None else block_places(file)
    block = pasted_yaml(
        {name: section.proposal for name, section in report.sections.items()}, places, file.name
    )
    file.write_text(pasted(text or "", block) or "{}\n")
    return builtins_of(coverage), covered(events, load(file, environment={}))


@settings(max_examples=100)
@given(names=st.lists(NAMES, max_size=6), extend=st.booleans())
def test_the_proposed_rows_are_settings_that_keep_the_values(
    tmp_path: Path, names: list[str], extend: bool
) -> None:
    """Pasted into a file they load, whatever the names are, and what they take is mapped then."""
    events = [identify(dict.fromkeys(names, 1)), track({name: {"in": 1} for name in names})]
    text = f"identify:\n  extend_default: {str(extend).lower()}\n"
    before, after = after_pasting(events, tmp_path / "s.yaml", text)
    for kind in ("identify", "track"):
        paths = paths_of(after[kind])
        assert all(
            paths[path]["mapped"] for path in before[kind]["proposed_rows"] if path in paths_of(before[kind])
        )


SHOP = [
    identify({"email": "a@b.c", "plan": "pro", "dob": "1990-05-01", "zip": "10115"}),
    identify({"plan": "free"}, context={"traits": {"email": "old@b.c"}}),
    track(
        {"name": "Kettle", "sku": "K-1", "total": 5, "products": [{"sku": "K-1"}], "odd key: #": 1},
        messageId="m",
    ),
]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(None, id="no-file"),
        pytest.param(template(), id="of-init"),
        pytest.param("api:\n  version: latest\n", id="no-section"),
        pytest.param("identify:\ntrack:\n", id="empty-sections"),
        pytest.param("track:\n    disabled: false\n", id="other-indentation"),
        pytest.param(
            "track:\n    mapping:\n        properties.sku: metadata.sku\n    extend_default: true\n"
            "identify:\n  mapping:\n      traits.email: customer.email\n",
            id="own-rows",
        ),
        pytest.param("track:\n  add:\n    metadata.source: archive\n  mapping:\n", id="own-constants"),
    ],
)
def test_what_is_printed_can_be_pasted_as_it_is(tmp_path: Path, text: str | None) -> None:
    """Each part below the line that it names: the file loads, all is mapped, and no customer is renamed."""
    before, after = after_pasting(SHOP, tmp_path / "s.yaml", text)
    assert before["values"]["share"] < 0.5
    assert after["values"]["share"] == 1
    assert not after["identify"]["proposed_rows"]
    assert not after["track"]["proposed_rows"]
    places = {place["path"] for place in after["track"]["destinations"]}
    assert "customer.name" not in places
    assert {"metadata.name", "metadata.segment_message_id", "metadata.replayed"} <= places
    mails = paths_of(after["identify"])
    assert mails["traits.email"]["destinations"] == {"customer.email": 1}
    assert mails["context.traits.email"]["destinations"] == {"customer.email": 1}


def test_a_row_of_ones_own_for_the_name_stays_as_it_is() -> None:
    """What maps it already gets no other row; only the default one goes."""
    own = Settings(track=Track(mapping={"properties": ["metadata"]}, extend_default=True))
    found = covered([track({"name": "Kettle", "email": "a@b.c"})], own)["track"]
    assert found["proposal"]["extend_default"] is False
    assert "properties.name" not in found["proposed_rows"]
    assert found["proposed_rows"]["properties.email"] == "customer.email"


def test_only_the_default_table_is_switched_off_where_all_its_rows_stand_there(tmp_path: Path) -> None:
    """A row of the default table applies even if the file writes out all others."""
    rows = "".join(f"    {source}: {to}\n" for source, to in SAFE_TRACK_ROWS.items())
    rows += "    properties.name: metadata.name\n    messageId: metadata.m\n    timestamp: metadata.t\n"
    text = f"track:\n  extend_default: true\n  mapping:\n{rows}"
    _, after = after_pasting([track({"name": "Kettle"})], tmp_path / "s.yaml", text)
    assert (tmp_path / "s.yaml").read_text() == text.replace("true", "false", 1)
    assert paths_of(after["track"])["properties.name"]["destinations"] == {"metadata.name": 1}


def test_of_two_sources_of_a_field_the_stronger_one_wins() -> None:
    """A later row wins, so the weaker source stands first: the context, then other names of the field."""
    events = [
        identify({"email": "a@b.c", "mail": "x@b.c"}, context={"traits": {"email": "old@b.c", "plan": "a"}}),
        identify({"email": "a@b.c", "plan": "b"}),
    ]
    assert list(rows_of(events).items()) == [
        ("context.traits.email", "customer.email"),
        ("traits.mail", "customer.email"),
        ("traits.email", "customer.email"),
        ("context.traits.plan", "customer.metadata.plan"),
        ("traits.plan", "customer.metadata.plan"),
    ]


def test_the_parts_of_a_name_are_no_whole_name() -> None:
    """Half a name in its field would cut the customer's name; a name of the context would win over the parts."""
    context = {"traits": {"name": "Old Name"}}
    rows = rows_of([track({"first_name": "Mia"}, context=context)])
    assert "properties.first_name" not in rows
    events = [identify({"firstName": "Mia", "lastName": "Muñoz"}, context=context)]
    assert remarks_of(events) == {
        "context.traits.name": "it would win over firstName and lastName of the event"
    }


def test_a_value_that_is_an_object_elsewhere_gets_no_row() -> None:
    """The row would take the object, too."""
    events = [identify({"address": ["Main St"]}), identify({"address": {"city": "Berlin", "floor": 3}})]
    assert rows_of(events) == {"traits.address.floor": "customer.metadata.address_floor"}


@pytest.mark.parametrize(
    ("traits", "row"),
    [
        pytest.param({"birthday": "1990-05-01"}, "traits.birthday: customer.birthdate", id="birthday"),
        pytest.param(
            {"date_of_birth": "1990-05-01"}, "traits.date_of_birth: customer.birthdate", id="of-birth"
        ),
        pytest.param({"DOB": "1990-05-01"}, "traits.DOB: customer.birthdate", id="dob"),
        pytest.param({"zip": 10115}, "traits.zip: customer.address.postal_code", id="zip"),
        pytest.param(
            {"address": {"zipCode": "1"}},
            "traits.address.zipCode: customer.address.postal_code",
            id="address",
        ),
        pytest.param(
            {"address": {"region": "BE"}}, "traits.address.region: customer.address.state", id="region"
        ),
        pytest.param({"state": "active"}, "traits.state: customer.metadata.state", id="state-of-what"),
        pytest.param({"phone_number": "1"}, "traits.phone_number: customer.phone", id="phone"),
        pytest.param({"surname": "Muñoz"}, "traits.surname: customer.lastName", id="surname"),
        pytest.param({"mobile": True}, "traits.mobile: customer.metadata.mobile", id="no-text"),
        pytest.param({"tags": ["a"]}, "traits.tags: customer.metadata.tags", id="list"),
    ],
)
def test_what_a_trait_means_gets_the_field(traits: Json, row: str) -> None:
    """By its name, and only if a text field can hold it."""
    assert [f"{source}: {to}" for source, to in rows_of([identify(traits)]).items()] == [row]


def test_rows_of_ones_own_that_leave_out_the_default_table_get_its_fields() -> None:
    """A name is no metadata of a customer; in a track event it may be a product's."""
    own = Settings(
        identify=Identify(mapping={"traits.plan": ["customer.metadata.plan"]}),
        track=Track(mapping={"properties.sku": ["metadata.sku"]}),
    )
    given = {"name": "Mia", "email": "a@b.c", "address": {"city": "Berlin"}}
    assert rows_of([identify(given)], own) == {
        "traits.name": "customer.name",
        "traits.email": "customer.email",
        "traits.address.city": "customer.address.city",
    }
    rows = rows_of([track(given)], own)
    assert (rows["properties.name"], rows["properties.email"]) == ("metadata.name", "customer.email")


@pytest.mark.parametrize(
    "key",
    ["id", "user_id", "password", "authToken", "SSN", "creditCardNumber", "credit card", "api-key", "cvv"],
)
def test_ids_and_secrets_are_never_proposed_without_a_remark(key: str) -> None:
    """They are comments: a person decides."""
    events = [identify({key: "1", "plan": "a"})]
    assert list(rows_of(events)) == ["traits.plan"]
    assert list(remarks_of(events).values()) in [
        ["it may be a secret"],
        ["an id: the customer has its own in source_id"],
    ]


def test_a_secret_is_told_by_any_key_above_it() -> None:
    """The number of a credit card is called `number`."""
    assert remarks_of([identify({"creditCard": {"number": "4111"}})]) == {
        "traits.creditCard.number": "it may be a secret"
    }


@pytest.mark.parametrize("key", ["order_id", "passenger", "opinion", "authored", "tokenised", "email_opt_in"])
def test_what_only_looks_like_a_secret_is_proposed(key: str) -> None:
    """Whole words count."""
    assert remarks_of([identify({key: "1"})]) == {}


def test_a_mail_address_is_no_metadata() -> None:
    """Whoever's it is."""
    assert remarks_of([track({"recipient": "friend@example.com", "handle": "@mia"})], "track") == {
        "properties.recipient": "a mail address, maybe of another person"
    }


def test_names_that_are_data_get_no_row_each() -> None:
    """Below an object they get a wildcard, beside others none: metadata is no place for a thousand keys."""
    many = {f"k{chr(97 + n)}": 1 for n in range(20)}
    numbered = {f"item_{n}": 1 for n in range(10)}
    found = covered(
        [identify({"attributes": many, "cart": numbered, **numbered, "line1": "a", "few": {"a": 1}})]
    )
    assert found["identify"]["proposed_rows"] == {
        "traits.line1": "customer.address.line_1",
        "traits.attributes.*": "customer.metadata.attributes.*",
        "traits.cart.*": "customer.metadata.cart.*",
        "traits.few.a": "customer.metadata.few_a",
    }
    assert found["identify"]["proposal"]["more"] == 10
    spans = {f"orders_last_{days}_days": 1 for days in (7, 30, 60, 90, 365)}
    assert len(rows_of([identify(spans)])) == 5


def test_objects_inside_of_objects_wait_for_a_decision() -> None:
    """A metadata schema refuses them, and with them the whole request."""
    cart = {f"item_{n}": {"quantity": n} for n in range(10)}
    assert remarks_of([track({"cart": cart})], "track") == {
        "properties.cart.*": "objects inside of objects, which a metadata schema refuses"
    }


def test_many_and_rare_values_get_no_row() -> None:
    """The most frequent ones do, and the others are counted."""
    letters = [f"{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(MAX_ROWS + 7)]
    found = covered([identify(dict.fromkeys(letters, 1))])["identify"]["proposal"]
    assert (len(found["rows"]), found["more"]) == (MAX_ROWS, 7)
    rare = [identify({"often": 1})] * 2_000 + [identify({"rare": 1})]
    assert list(rows_of(rare)) == ["traits.often"]


def test_distinct_paths_are_bounded_and_said() -> None:
    """A trait name that is data (an id) must not fill the memory; its values still count in the share."""
    found = covered(identify({f"key {number}": 1, "email": "x"}) for number in range(MAX_PATHS + 500))
    section = found["identify"]
    assert len(section["paths"]) == MAX_PATHS
    assert section["more_paths"] == 501
    assert section["values"]["seen"] == 2 * (MAX_PATHS + 500)


def test_paths_find_room_in_the_order_of_the_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the first one is of an event that others are like, and the second of one that is counted by itself."""
    monkeypatch.setattr(coverage_module, "MAX_PATHS", 1)
    found = covered([identify({"first": 1}), identify({"second": "x" * (16 << 10)})])
    assert list(paths_of(found["identify"])) == ["traits.first"]


def test_one_event_with_very_many_traits_is_counted_at_once() -> None:
    """Thousands of names in one object."""
    found = covered([identify({f"k{number}": number for number in range(20_000)})])
    assert found["values"]["seen"] == 20_000
    assert found["identify"]["more_paths"] == 20_000 - MAX_PATHS


def test_very_long_names_find_no_room() -> None:
    """A path that fills screens is told by number only."""
    found = covered([identify({"x" * 5_000: 1})])
    assert found["identify"]["paths"] == []
    assert found["identify"]["more_paths"] == 1


def test_metadata_with_very_many_keys_is_bounded_too() -> None:
    """Destinations are bounded as paths are."""
    rules = Settings(identify=Identify(unmapped_traits="metadata"))
    found = covered([identify({f"k{number}": 1 for number in range(MAX_PATHS + 5)})], rules)
    assert len(found["identify"]["destinations"]) == MAX_PATHS
    assert found["identify"]["more_destinations"] == 6


VALUES = st.recursive(
    st.sampled_from(
        [
            None,
            True,
            False,
            0,
            0.0,
            1.5,
            "",
            " ",
            "text",
            "null",
            "Customer Rewarded",
            "x" * 301,
            [],
            ["a"],
            {},
        ]
    ),
    lambda inner: st.dictionaries(st.sampled_from(["email", "city", "firstName", "a.b"]), inner, max_size=3),
    max_leaves=5,
)
KEYS = st.sampled_from(
    ["email", "name", "firstName", "last_name", "phone", "address", "metadata", "x", "a.b", "id"]
)
EVENTS = st.lists(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["identify", "track"]), "given": st.dictionaries(KEYS, VALUES, max_size=4)},
        optional={
            "userId": st.sampled_from(["u1", "undefined", "", None, 7, 0]),
            "event": st.sampled_from(["Order Completed", "Customer Rewarded", "", "x" * 301, None]),
            "timestamp": st.sampled_from(["2024-01-01", "never", None, 5, ["x"]]),
            "context": st.fixed_dictionaries(
                {},
                optional={
                    "traits": st.dictionaries(KEYS, VALUES, max_size=2),
                    "personas": st.fixed_dictionaries({}, optional={"computation_key": KEYS}),
                    "traits.email": VALUES,
                },
            ),
            "traits.email": VALUES,
        },
    ),
    max_size=12,
)
RULES = st.sampled_from(
    [
        Settings(),
        Settings(
            identify=Identify(unmapped_traits="metadata", nulls="clear"),
            track=Track(unmapped_properties="metadata"),
        ),
        Settings(
            identify=Identify(
                mapping={
                    "traits": ["customer"],
                    "traits.id": ["customer.source_id"],
                    "context.traits.email": ["customer.email"],
                    "timestamp": ["customer.metadata.at"],
                },
                add={"customer.metadata.k": 1},
            ),
            track=Track(
                mapping={
                    "properties.x": ["event"],
                    "properties.name[0]": ["metadata.first"],
                    "properties.*": ["metadata.*"],
                    "timestamp": ["customer.birthdate"],
                    "properties.metadata": ["loyalty"],
                }
            ),
        ),
    ]
)


@settings(max_examples=60)
@given(events=EVENTS, rules=RULES)
def test_events_of_one_shape_counted_together_are_counted_right(
    events: list[dict[str, Any]], rules: Settings
) -> None:
    """What is counted by shapes equals what is counted event by event."""
    records = []
    for fields in events:
        root = "traits" if fields["type"] == "identify" else "properties"
        records.append(event_of({"anonymousId": "a", **fields, root: fields["given"]}))
    together, each = Coverage(rules), Coverage(rules)
    each._shape = lambda _event: None  # type: ignore[method-assign]
    together.add(records)
    each.add(records)
    assert together.report() == each.report()


PRODUCTS = st.fixed_dictionaries(
    {},
    optional={
        "product_id": st.sampled_from(["a", "", None, True]),
        "price": st.sampled_from([1, "2", "x", None, -1]),
        "quantity": st.sampled_from([1, 0, "x"]),
        "name": st.sampled_from(["n", ""]),
        "product": st.sampled_from([{"metadata": {"k": 1}}, 5]),
    },
)
ORDER_PROPERTIES = st.fixed_dictionaries(
    {},
    optional={
        "order_id": st.sampled_from(["o", 7, "", True]),
        "total": st.sampled_from([5, "6", "x", None, -1]),
        "state": st.sampled_from(["PAID", "odd"]),
        "products": st.lists(PRODUCTS, max_size=3) | st.just("x") | PRODUCTS,
    },
)
_ROWS_OF_ORDERS = {
    "properties.order_id": ["source_id"],
    "properties.total": ["amount"],
    "properties.state": ["status"],
}


@settings(max_examples=60)
@example(orders=[{"order_id": "o", "total": "x"}], own=Orders(disabled=False))
@given(
    orders=st.lists(ORDER_PROPERTIES, max_size=8),
    own=st.sampled_from(
        [
            Orders(disabled=False),
            Orders(disabled=False, products="none"),
            Orders(disabled=False, mapping=_ROWS_OF_ORDERS),
            Orders(disabled=False, set={"amount": {"@path": "$.properties.total"}}),
        ]
    ),
)
def test_orders_of_one_shape_counted_together_are_counted_right(orders: list[Json], own: Orders) -> None:
    """Which texts are amounts, and which products make items, decides what an order holds and if it is one."""
    records = [track({"order_id": "o", "total": "6"}), *map(track, orders)]
    together, each = Coverage(Settings(orders=own)), Coverage(Settings(orders=own))
    each._shape = lambda _event: None  # type: ignore[method-assign]
    together.add(records)
    each.add(records)
    assert together.report() == each.report()


def test_each_entry_has_a_section_and_what_it_takes_over_is_idle_only_if_no_event_has_it() -> None:
    """Rows and entries of `set` that gave nothing are listed once, by the section that has them."""
    rules = Settings(
        track=Track(
            mapping={"properties.total": ["metadata.total"], "properties.never": ["metadata.never"]},
            set={
                "metadata.code": {"@path": "$.properties.code"},
                "metadata.no": {"@path": "$.properties.cod"},
            },
            events={
                "Order *": TrackEntry(add={"metadata.kind": "order"}),
                "Refund": TrackEntry(set={"metadata": {"why": {"@path": "$.properties.why"}}}),
            },
        ),
        page=Page(disabled=False, set={"metadata.path": {"@path": "$.properties.path"}}),
    )
    events = [track({"total": 3, "code": "C"}), track({"why": "x"}, event="Refund"), track({}, event="Other")]
    found = covered(events, rules)
    assert {name: found[name]["events"] for name in ("track", "events.Order *", "events.Refund", "page")} == {
        "track": 1,
        "events.Order *": 1,
        "events.Refund": 1,
        "page": 0,
    }
    idle = {
        name: [row["row"] for row in found[name]["idle_rows"]] for name in found if "idle_rows" in found[name]
    }
    assert idle == {
        "identify": [],
        "track": ["properties.never: metadata.never", "set.metadata.no"],
        "events.Order *": [],
        "events.Refund": [],
        "page": ["set.metadata.path"],
    }
    assert found["events.Refund"]["entries"] == {"metadata.why": 1}


def test_a_row_with_filters_that_matched_nothing_has_the_paths_that_may_be_meant() -> None:
    """Its source is what stands before the braces."""
    row = RowTarget(["customer.email"], ["traits.mail"], "strip | downcase")
    found = covered(
        [identify({"e_mail": "a@b.c"})], Settings(identify=Identify(mapping={"traits.email": row}))
    )
    assert found["identify"]["idle_rows"] == [
        {
            "row": "traits.email: {to: customer.email, or: [traits.mail], apply: strip | downcase}",
            "did_you_mean": ["traits.e_mail"],
        }
    ]


@pytest.mark.parametrize(
    ("own", "mapped", "lost"),
    [
        pytest.param(
            {"set": {"metadata.t": {"@path": "$.properties.total"}}}, {"metadata.t": 1}, {}, id="set"
        ),
        pytest.param(
            {"set": {"metadata.t": {"@template": "{{properties.total}} EUR"}}},
            {"metadata.t": 1},
            {},
            id="template",
        ),
        pytest.param(
            {"mapping": {"properties.no": RowTarget(["metadata.t"], ["properties.total"])}},
            {"metadata.t": 1},
            {},
            id="or",
        ),
        pytest.param(
            {"mapping": {"properties.code": RowTarget(["metadata.t"], ["properties.total"])}},
            {},
            {"not_used": 1},
            id="or-that-is-not-needed",
        ),
        pytest.param({"where": "properties.total > 1"}, {}, {"not_used": 1}, id="where"),
        pytest.param(
            {"events": {"Order *": TrackEntry(where="properties.total > 1")}},
            {},
            {"not_used": 1},
            id="where-of-an-entry",
        ),
        pytest.param(
            {"where": "properties.total > 1", "unmapped_properties": "metadata"},
            {"metadata.total": 1},
            {},
            id="where-takes-nothing-away",
        ),
        pytest.param(
            {"events": {"Refund": TrackEntry(where="properties.total > 1")}},
            {},
            {"no_row": 1},
            id="where-of-another-entry",
        ),
    ],
)
def test_what_set_or_and_where_read_is_mapped_if_it_is_sent(
    own: Json, mapped: dict[str, int], lost: dict[str, int]
) -> None:
    """Else the reason says that it was read."""
    found = covered([track({"total": 3, "code": "C"})], Settings(track=Track(**own)))
    sections = [found[name] for name in found if name == "track" or name.startswith("events.")]
    (path,) = [paths_of(each)["properties.total"] for each in sections if each["events"]]
    assert (path["destinations"], path["lost"]) == (mapped, lost)


@pytest.mark.parametrize(
    ("own", "event", "rows", "add"),
    [
        pytest.param(
            Track(
                set={
                    "metadata": {"total": {"@path": "$.properties.total"}, "replayed": True},
                    "metadata.sid": {"@path": "$.messageId"},
                }
            ),
            {"total": 3, "code": "C"},
            {"timestamp": "metadata.occurred_at", "properties.code": "metadata.code"},
            {},
            id="what-a-directive-sends",
        ),
        pytest.param(
            Track(
                mapping={
                    "properties.no": RowTarget(["metadata.total"], ["properties.total"]),
                    "messageId": ["metadata.segment_message_id"],
                    "timestamp": ["metadata.occurred_at"],
                },
                add={"metadata.replayed": True},
            ),
            {"total": 3, "code": "C"},
            {"properties.code": "metadata.code"},
            {},
            id="what-or-sends",
        ),
        pytest.param(
            Track(
                set={"metadata.code": {"@path": "$.properties.none"}},
                mapping={"messageId": ["metadata.a"], "timestamp": ["metadata.b"]},
                add={"metadata.replayed": True},
            ),
            {"code": "C"},
            {},
            {},
            id="no-place-that-set-may-fill",
        ),
    ],
)
def test_nothing_is_proposed_that_set_sends(own: Track, event: Json, rows: dict[str, str], add: Json) -> None:
    """Nor a row to a place that an entry of `set` fills."""
    found = covered([track(event)], Settings(track=own))["track"]
    assert found["proposed_rows"] == rows
    assert found["proposal"]["add"] == add
    assert found["proposal"]["extend_default"] is None


def test_a_row_to_a_field_that_set_fills_is_left_to_a_person() -> None:
    """The entry would win over it."""
    own = Identify(set={"customer.email": {"@path": "$.traits.mail"}})
    found = covered([identify({"email": "a@b.c", "mail": "c@d.e"})], Settings(identify=own))
    assert found["identify"]["proposed_rows"] == {}
    assert [row["source"] for row in found["identify"]["proposal"]["rows"]] == ["traits.email"]


@pytest.mark.parametrize("seed", range(40))
def test_events_of_one_shape_are_counted_right_whatever_the_settings_make_of_them(seed: int) -> None:
    """What `set`, or, apply, conditions and entries read decides where values go: it is part of the shape."""
    chance = ActionsChance(seed)
    rules = chance.settings()
    records = [chance.event() for _ in range(20)]
    records += map(chance.alike, records * 2)
    together, each = Coverage(rules), Coverage(rules)
    each._shape = lambda _event: None  # type: ignore[method-assign]
    together.add(records)
    each.add(records)
    assert together.report() == each.report()


FILES = st.sampled_from(
    [
        "identify:\ntrack:\n",
        "identify:\n  mapping:\n    traits: customer\ntrack:\n  mapping:\n    properties: metadata\n",
        (
            "identify:\n  mapping:\n    traits.x: customer.metadata.x\n"
            "track:\n  extend_default: true\n  mapping:\n    properties.x: metadata.n\n    properties.*: metadata.*\n"
        ),
        (
            "identify:\n  extend_default: true\n  mapping:\n    context.traits.email: customer.email\n"
            "track:\n  mapping:\n    properties.address: metadata\n  add:\n    metadata.x: 1\n"
        ),
        "track:\n  unmapped_properties: metadata\nidentify:\n  unmapped_traits: metadata\n  nulls: clear\n",
    ]
)


@settings(max_examples=50)
@example(
    events=[{"type": "identify", "given": {"name": "A B", "firstName": "A"}}],
    text="identify:\n  mapping:\n    traits.x: customer.metadata.x\n",
)
@given(events=EVENTS, text=FILES)
def test_pasting_loses_nothing(tmp_path: Path, events: list[dict[str, Any]], text: str) -> None:
    """Whatever events hold and settings say: the file loads, each proposed row finds its value, and none is lost.

    But for `properties.name`, which may lose its place in the customer, and what a stronger source overwrites.
    """
    records = []
    for fields in events:
        root = "traits" if fields["type"] == "identify" else "properties"
        fields = {
            key: value for key, value in fields.items() if key != "traits.email"
        }  # it hides traits.email
        context = {"traits": fields.get("context", {}).get("traits")}
        records.append(event_of({"anonymousId": "a", **fields, root: fields["given"], "context": context}))
    before, after = after_pasting(records, tmp_path / "s.yaml", text)
    for kind in ("identify", "track"):
        then = paths_of(after[kind])
        for path, was in paths_of(before[kind]).items():
            now = then[path]
            overwritten = now["lost"].get("overwritten", 0) + now["lost"].get("name_given", 0)
            is_lost = now["mapped"] + overwritten < was["mapped"]
            is_part = path.endswith((".firstName", ".lastName"))  # a whole name wins over its parts
            has_name = any("customer.name" in each["destinations"] for each in then.values())
            assert not is_lost or path == "properties.name" or (is_part and has_name), (kind, path, was, now)
            if path in before[kind]["proposed_rows"]:
                assert "no_row" not in now["lost"], (kind, path, was, now)


def test_shapes_are_forgotten_and_counts_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory stays flat however many shapes there are."""
    monkeypatch.setattr(coverage_module, "_MAX_REMEMBERED_BYTES", 300)
    coverage = Coverage(Settings())
    for number in range(50):
        coverage.add([identify({f"k{number % 10}": 1})])
    assert len(coverage._effects) <= 5
    assert {path["events"] for path in builtins_of(coverage)["identify"]["paths"]} == {5}


def test_a_long_event_is_counted_by_itself() -> None:
    """Remembering it would cost as much as it is long."""
    event = identify({"a": "x" * (16 << 10)})
    coverage = Coverage(Settings())
    coverage.add([event, event])
    assert not coverage._effects
    assert builtins_of(coverage)["identify"]["paths"][0]["events"] == 2


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        pytest.param([None, 5], "5", id="null"),
        pytest.param(["", 0, [], 0.0, "a", "b"], '"a"', id="what-says-little"),
        pytest.param([0, "", None], "0", id="the-first-of-equals"),
        pytest.param([False, True, 7], "false", id="false-says-enough"),
        pytest.param([" ", "a"], '" "', id="white-space-does"),
    ],
)
def test_the_example_is_the_first_value_that_says_most(values: list[Any], shown: str) -> None:
    """Null says nothing; an empty text, an empty list and 0 say little."""
    found = covered([identify({"a": value}) for value in values])
    assert paths_of(found["identify"])["traits.a"]["example"] == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        pytest.param("a", '"a"', id="text"),
        pytest.param("x" * 1_000_000, '"' + "x" * 38 + "…", id="long-text"),
        pytest.param([1] * 1_000_000, "[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,…", id="long-list"),
        pytest.param("\u202egpj", '"\\u202egpj"', id="bidi"),
        pytest.param(float("nan"), "NaN", id="no-number"),
    ],
)
def test_an_example_is_clean_and_short(value: Any, shown: str) -> None:
    """Forty characters at most, and nothing that does something to a terminal."""
    assert brief(value) == shown
    assert len(shown) <= MAX_EXAMPLE


def test_a_share_of_one_means_all() -> None:
    """It is rounded down, so a gate of 100 % is not passed by 99.99 %; and a little is not nothing."""
    assert share(99_999, 100_000) < 1
    assert share(3, 3) == 1
    assert share(1, 1_000_000) > 0
    assert share(0, 0) == 0


def test_hostile_names_and_values_come_out_as_json(corpora: Path) -> None:
    """Whatever the corpora hold is counted; the result is JSON."""
    coverage = Coverage(Settings(identify=Identify(unmapped_traits="metadata")))
    coverage.add([identify({HOSTILE: HOSTILE})])
    for file in sorted(corpora.glob("*.ndjson")):
        coverage.add(decode(Batch.of(file.name, 1, file.read_bytes().split(b"\n"))))
    found = json.loads(json.dumps(builtins_of(coverage)))
    assert found["events"]["read"] > 500
    assert 0 < found["values"]["share"] < 1


@pytest.mark.parametrize("null", [{"traits": None}, {"context": {"traits": None}}], ids=["traits", "context"])
def test_a_null_in_place_of_an_object_is_told_from_nothing(null: dict[str, Any]) -> None:
    """Only what is there is counted, whichever of the two comes first."""
    event = {"type": "identify", "userId": "u"}
    for fields in ([{**event, **null}, event], [event, {**event, **null}]):
        (path,) = covered(map(event_of, fields))["identify"]["paths"]
        assert (path["events"], path["types"]) == (1, {"null": 1})


@pytest.mark.parametrize("jobs", [1, 2])
def test_coverage_finds_what_a_dry_run_finds(tmp_path: Path, jobs: int) -> None:
    """Findings depend on values, so each event of a shape counts."""
    events: list[dict[str, object]] = []
    for number in range(30):
        slip, own_id = ("undefined", f"u{number}") if number % 2 else (f"v{number}", "null")
        events += [
            {"type": "track", "event": "Customer Rewarded", "userId": slip, "timestamp": "never"},
            {"type": "track", "event": " " * (number % 3), "userId": own_id, "properties": {"name": "Mug"}},
            {"type": "identify", "userId": f"w{number}", "traits": [{"firstName": "A"}, "x", 0][number % 3]},
        ]
    source = tmp_path / "events.ndjson"
    source.write_text(
        "".join(json.dumps(event | {"messageId": str(n)}) + "\n" for n, event in enumerate(events))
    )
    found = coverage(CoverageOptions(source=source, jobs=jobs))
    planned = replay(ReplayOptions(source=source, mode=Mode.DRY_RUN))
    assert isinstance(found, CoverageReport)
    assert len(found.findings) > 5
    assert found.findings == planned.findings


@pytest.mark.parametrize("field", ["name", "description"])
def test_proposed_rows_put_what_a_product_is_called_into_metadata(field: str) -> None:
    """The default table would give it to the customer."""
    found = covered([track({field: "Mug", "email": "a@example.com"})])
    assert found["track"]["proposed_rows"][f"properties.{field}"] == f"metadata.{field}"
