"""The tally: what the mapping did and what it lost, by path."""

from __future__ import annotations

import tracemalloc
from typing import Literal

import pytest
from support.segment_events import identify, track

from voucherify_sync.events import Event, Json
from voucherify_sync.mapping.mapper import Mapper
from voucherify_sync.mapping.stats import MAX_KEYS, OTHER, NameCounts
from voucherify_sync.settings.types import Identify, Rows, Settings, Track


def tally_of(*events: Event, settings: Settings | None = None) -> Json:
    """Return what the mapping did to the events."""
    mapping = Mapper(settings or Settings())
    for event in events:
        mapping.request(event)
    return mapping.stats.to_dict()


@pytest.mark.parametrize(
    ("traits", "lost"),
    [
        pytest.param({"email": "e", "name": "n"}, {}, id="all taken"),
        pytest.param(
            {"plan": "pro", "age": 0, "n": None}, ["traits.age", "traits.plan"], id="a null is no loss"
        ),
        pytest.param({"address": {"zip": "1", "city": "X"}}, ["traits.address.zip"], id="inside the address"),
        pytest.param({"address": "Main St 1"}, ["traits.address"], id="an address that is a text"),
        pytest.param({"address.city": "X"}, {}, id="a path that is one key"),
        pytest.param({"first_name": "A", "address": {"postal_code": "1"}}, {}, id="snake_case twins"),
        pytest.param({"metadata": {"any": {"thing": 1}}}, {}, id="inside metadata"),
        pytest.param({"company": {"name": "X"}}, ["traits.company"], id="an unmapped object"),
        pytest.param("text", ["traits"], id="traits that are no object"),
        pytest.param([], ["traits"], id="an empty list"),
        pytest.param(0, ["traits"], id="a zero"),
        pytest.param(
            {"firstName": "A", "first_name": "B"}, ["traits.first_name"], id="a twin beside its key"
        ),
        pytest.param({"firstName": ["A"], "first_name": "B"}, ["traits.first_name"], id="also of no text"),
        pytest.param({"firstName": " ", "first_name": "B"}, {}, id="a twin beside a blank"),
        pytest.param({"firstName": None, "first_name": "B"}, {}, id="a twin beside a null"),
        pytest.param(
            {"address": {"postalCode": "1", "postal_code": "2", "city": "X"}},
            ["traits.address.postal_code"],
            id="a twin inside the address",
        ),
        pytest.param(
            {"address.city": "X", "address": {"city": "Y", "state": "Z"}},
            ["traits.address.city"],
            id="a path that is one key beside the object",
        ),
        pytest.param(
            {"address.city": "X", "address": "Main St 1"}, ["traits.address"], id="the same beside a text"
        ),
    ],
)
def test_traits_that_no_row_takes_are_counted_by_path(traits: object, lost: list[str]) -> None:
    """Of the default table."""
    tally = tally_of(identify(traits), identify(traits))
    assert tally["identify"]["unmapped"] == dict.fromkeys(lost, 2)
    assert tally["track"]["unmapped"] == {}


@pytest.mark.parametrize(
    ("rows", "lost"),
    [
        pytest.param({"properties": ["metadata"]}, [], id="an object row takes all"),
        pytest.param(
            {"properties.items[1].sku": ["metadata.sku"], "properties[0]": ["metadata.first"]},
            [
                "properties.address",
                "properties.email",
                "properties.id",
                "properties.items",
                "properties.total",
            ],
            id="an item that is not there",
        ),
        pytest.param({"properties.*": ["metadata.*"]}, [], id="a wildcard takes all"),
        pytest.param(
            {"properties": ["customer"]},
            ["properties.address.zip", "properties.id", "properties.items", "properties.total"],
            id="an object row to the customer takes its fields",
        ),
        pytest.param(
            {"properties.address": ["customer.address"], "properties.total": ["metadata.total"]},
            ["properties.address.zip", "properties.email", "properties.id", "properties.items"],
            id="rows",
        ),
        pytest.param(
            {"properties.items[0].sku": ["metadata.sku"], "properties.address": ["metadata.address"]},
            ["properties.email", "properties.id", "properties.total"],
            id="a list of which an item is taken",
        ),
        pytest.param(
            {"properties.address.zip": ["metadata.zip"], "properties.address": ["customer.address"]},
            ["properties.email", "properties.id", "properties.items", "properties.total"],
            id="two rows into one object",
        ),
        pytest.param(
            {"properties.address": ["metadata.address"], "properties.address.zip": ["metadata.zip"]},
            ["properties.email", "properties.id", "properties.items", "properties.total"],
            id="a row into an object that is taken whole",
        ),
    ],
)
def test_what_rows_of_the_settings_leave_is_counted(rows: Rows, lost: list[str]) -> None:
    """Every row says what it takes."""
    properties = {
        "email": "e",
        "id": "5",
        "total": 9,
        "items": [{"sku": "A"}],
        "address": {"city": "X", "zip": "1"},
    }
    tally = tally_of(track(properties), settings=Settings(track=Track(mapping=rows)))
    assert list(tally["track"]["unmapped"]) == lost


@pytest.mark.parametrize(
    ("settings", "fields", "lost"),
    [
        pytest.param(Settings(), {}, ["traits.id", "traits.vip"], id="lost"),
        pytest.param(
            Settings(),
            {"context": {"personas": {"computation_key": "vip"}}},
            ["traits.id"],
            id="personas carry all but identifiers",
        ),
        pytest.param(
            Settings(identify=Identify(unmapped_traits="metadata")), {}, [], id="unmapped_traits carries all"
        ),
    ],
)
def test_what_is_carried_is_not_lost(settings: Settings, fields: Json, lost: list[str]) -> None:
    """Personas and `unmapped_traits: metadata` carry what no row takes."""
    event = identify({"vip": True, "id": "x"}, **fields)
    assert list(tally_of(event, settings=settings)["identify"]["unmapped"]) == lost


@pytest.mark.parametrize("nulls", ["omit", "clear"])
def test_a_null_that_no_row_takes_is_no_loss(nulls: Literal["omit", "clear"]) -> None:
    """There was nothing to send."""
    settings = Settings(identify=Identify(nulls=nulls))
    tally = tally_of(identify({"plan": None, "age": 7}), settings=settings)
    assert tally["identify"]["unmapped"] == {"traits.age": 1}


def test_a_row_of_identify_to_a_part_of_events_takes_nothing() -> None:
    """An identify sends its customer only, so the trait is lost, and told so."""
    settings = Settings(identify=Identify(mapping={"traits.plan": ["metadata.plan"]}))
    assert tally_of(identify({"plan": "pro"}), settings=settings)["identify"]["unmapped"] == {
        "traits.plan": 1
    }


def test_what_made_a_name_is_not_lost() -> None:
    """The fallback of customer.name serves, though no row takes it."""
    settings = Settings(identify=Identify(mapping={"traits.email": ["customer.email"]}))
    tally = tally_of(identify({"firstName": "Ann", "lastName": None, "age": 7}), settings=settings)
    assert tally["identify"]["unmapped"] == {"traits.age": 1}


def test_fields_that_were_dropped_are_counted_by_path_and_reason() -> None:
    """What a row found and Voucherify cannot take."""
    tally = tally_of(
        identify({"email": True}),
        identify({"email": ["e"], "metadata": "x"}),
        track({"phone": {}, "metadata": 5}),
    )
    assert tally["identify"]["dropped"] == {
        "customer.email": {"not_text": 2},
        "customer.metadata": {"not_an_object": 1},
    }
    assert tally["track"]["dropped"] == {
        "customer.phone": {"not_text": 1},
        "customer.metadata": {"not_an_object": 1},
    }


def test_rows_are_counted_also_those_that_never_fired() -> None:
    """A row that never fires may be a typo."""
    settings = Settings(
        track=Track(
            mapping={"properties.total": ["metadata.total", "metadata.sum"], "properties.x": ["metadata.x"]}
        )
    )
    tally = tally_of(track({"total": 1}), track({"total": None}), identify({"name": "n"}), settings=settings)
    assert tally["track"]["rows"] == {
        "properties.x: metadata.x": 0,
        "properties.total: metadata.total": 1,
        "properties.total: metadata.sum": 1,
    }
    assert tally["identify"]["rows"]["traits.name: customer.name"] == 1


def test_events_that_make_no_request_lose_nothing() -> None:
    """Losses are of what is sent."""
    lost = {"total": 1, "address": {"zip": "1"}}
    tally = tally_of(track(lost, userId=None), track(lost, event="x" * 301))
    assert tally["track"]["unmapped"] == {}


def test_names_beyond_a_limit_are_counted_together() -> None:
    """A map stops growing, and says so."""
    counts = NameCounts()
    for number in range(MAX_KEYS + 5):
        counts.add(f"k{number}")
    counts.add("k7", 3)
    told = counts.to_dict()
    assert len(told) == MAX_KEYS + 1
    assert next(iter(told)) == "k7"
    assert (told["k7"], told[OTHER], list(told)[-1]) == (4, 5, OTHER)


def test_a_very_long_name_is_cut() -> None:
    """Memory stays flat whatever a key may be."""
    counts = NameCounts()
    counts.add("k" * 10_000)
    counts.add("k" * 20_000)
    (name,) = counts.to_dict()
    assert (len(name), counts.to_dict()[name]) == (200, 2)


def test_an_event_of_very_many_keys_is_counted_and_carried() -> None:
    """10,000 properties are allowed, and must not take seconds."""
    properties = {f"p{number}": number for number in range(10_000)}
    unmapped = tally_of(track(properties), track(properties))["track"]["unmapped"]
    assert (len(unmapped), unmapped[OTHER]) == (MAX_KEYS + 1, 2 * (10_000 - MAX_KEYS))
    carrying = Settings(track=Track(unmapped_properties="metadata"))
    assert tally_of(track(properties), settings=carrying)["track"]["unmapped"] == {}


def test_many_different_events_are_counted_right() -> None:
    """Events that share no keys do not make the tally forget."""
    mapping = Mapper(Settings())
    for number in range(2 * MAX_KEYS):
        mapping.request(track({"same": 1, f"own{number}": 1}))
    unmapped = mapping.stats.to_dict()["track"]["unmapped"]
    assert unmapped["properties.same"] == 2 * MAX_KEYS
    assert sum(unmapped.values()) == 4 * MAX_KEYS
    assert len(unmapped) == MAX_KEYS + 1


def test_what_is_remembered_of_keys_is_bounded() -> None:
    """Long keys, and keys that never come again, take no more memory than short ones that do."""
    tracemalloc.start()
    mapper = Mapper(Settings())
    for number in range(400):
        mapper.request(identify({f"{number}{'x' * 100_000}": 1}))
    for number in range(5_000):
        mapper.request(identify({f"k{number}": 1, "plan": 1}))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 30 << 20
    assert mapper.stats.to_dict()["identify"]["unmapped"]["traits.plan"] == 5_000
