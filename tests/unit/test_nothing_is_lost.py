"""Each value of an event is sent, or counted: as not mapped, as dropped, or as what another row overwrites."""

from __future__ import annotations

from typing import Any

import pytest
from support.random_settings import Chance
from support.segment_events import dropped_of, event_of

from voucherify_sync.field_types import BLANK, NOT_A_DATE, NOT_AN_OBJECT, NOT_TEXT
from voucherify_sync.mapping.mapper import Mapper
from voucherify_sync.mapping.trace import NO_FIELD, NO_ROW, OVERWRITTEN, traced
from voucherify_sync.outcomes import Outcome
from voucherify_sync.paths import Keys
from voucherify_sync.settings.types import Identify, Settings

_PATHS_ALIKE = "a.b", "address.city"
"""Keys with dots: their paths are those of other keys, too, as they are counted."""


def is_counted(keys: Keys, unmapped: dict[str, int]) -> bool:
    """Tell whether a value is counted as not mapped, alone or in an object."""
    return any(".".join(map(str, keys[:length])) in unmapped for length in range(1, len(keys) + 1))


@pytest.mark.parametrize("seed", range(6))
def test_each_value_arrives_or_is_counted(seed: int) -> None:
    """Whatever settings and events hold. The counts of a run and the trace of explain and coverage agree."""
    chance = Chance(10_000 + seed, all_keys=seed % 2 == 1)
    for _ in range(60 if chance.all_keys else 150):
        settings, event = chance.settings(), chance.event()
        if f"{'traits' if event.type == 'identify' else 'properties'}.email" in event.fields:
            continue  # a path of the event itself
        mapper = Mapper(settings)
        made = traced(mapper, event)
        if isinstance(made, Outcome):
            continue
        counts = mapper.stats.to_dict()[made[1].section]
        dropped = {reason for reasons in counts["dropped"].values() for reason in reasons}
        for value in made[1].values:
            is_of_context = event.type != "identify" and value.keys[0] == "context"
            if value.value is None or is_of_context or not set(value.keys).isdisjoint(_PATHS_ALIKE):
                continue
            case = value, counts, event.fields, settings
            if value.reason in (NO_ROW, NO_FIELD):
                assert is_counted(value.keys, counts["unmapped"]), case
            elif value.reason == NOT_AN_OBJECT:
                assert NOT_AN_OBJECT in dropped or is_counted(value.keys, counts["unmapped"]), case
            elif value.reason in (NOT_TEXT, NOT_A_DATE, BLANK):
                assert value.reason in dropped, case
            else:
                assert value.reason is not None or not is_counted(value.keys, counts["unmapped"]), case


@pytest.mark.parametrize(
    ("value", "reason"), [(True, NOT_TEXT), (["a"], NOT_TEXT), ("no date", NOT_A_DATE)], ids=repr
)
@pytest.mark.parametrize("is_constant", [True, False], ids=["a constant", "a later row"])
def test_a_value_that_could_not_be_sent_is_counted_whatever_takes_its_place(
    value: Any, reason: str, is_constant: bool
) -> None:
    """Explain gives the same reason; a value that could be sent is overwritten."""
    rows = {"traits.a": ["customer.birthdate" if reason == NOT_A_DATE else "customer.email"]}
    place = rows["traits.a"][0]
    own = Identify(
        mapping=rows if is_constant else rows | {"traits.b": [place]},
        add={place: "1990-05-01"} if is_constant else {},
    )
    for came, expected in ((value, reason), ("1980-01-01", OVERWRITTEN)):
        fields = {"type": "identify", "userId": "u", "traits": {"a": came, "b": "1990-05-01"}}
        made = traced(Mapper(Settings(identify=own)), event_of(fields))
        assert not isinstance(made, Outcome)
        assert made[1].values[0].reason == expected
        drops = [(place, reason)] if expected == reason else []
        assert dropped_of(event_of(fields), Settings(identify=own)) == drops


def test_a_value_whose_key_metadata_holds_already_is_counted() -> None:
    """Where what is not mapped goes to metadata, a row goes first."""
    own = Identify(mapping={"traits.a": ["customer.metadata.b"]}, unmapped_traits="metadata")
    mapper = Mapper(Settings(identify=own))
    mapper.request(event_of({"type": "identify", "userId": "u", "traits": {"a": 1, "b": 2, "c": 3}}))
    assert mapper.stats.to_dict()["identify"]["unmapped"] == {"traits.b": 1}
