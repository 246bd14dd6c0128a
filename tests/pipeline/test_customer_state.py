"""The final state of one customer is that of a run in bulk, and each value names its event."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.cli import Cli
from support.replays import write_events

from voucherify_sync.api import CustomerState, FinalOptions, final_state
from voucherify_sync.errors import UsageProblem
from voucherify_sync.settings import Identify, Settings, Track


def state_of(folder: Path, *events: Any, settings: Settings | None = None) -> CustomerState:
    """Return the state of u1 after these events."""
    file = write_events(folder, *events)
    return final_state(FinalOptions(source=file, settings=settings or Settings(), customer="u1"))


def identify(number: int, time: str | None, **traits: Any) -> dict[str, Any]:
    """Return an identify of u1."""
    return {
        "type": "identify",
        "userId": "u1",
        "messageId": f"i{number}",
        "timestamp": time,
        "traits": traits,
    }


def track(number: int, time: str | None, name: str, **fields: Any) -> dict[str, Any]:
    """Return a track of u1."""
    event = {"type": "track", "userId": "u1", "messageId": f"t{number}", "timestamp": time, "event": name}
    return event | fields


def told(state: CustomerState) -> dict[str, tuple[Any, list[int]]]:
    """Return the fields with the lines that they came from."""
    return {
        each.path: (each.value, [int(origin.position.rpartition(":")[2]) for origin in each.origins])
        for each in state.fields
    }


def test_the_latest_value_of_each_field_wins_by_time(tmp_path: Path) -> None:
    """Whatever the order in the file; an event without a time is the oldest."""
    state = state_of(
        tmp_path,
        identify(1, "2025-03-02T00:00:00Z", email="new@b.c", address={"city": "Oslo"}),
        identify(
            2, "2025-03-01T00:00:00Z", email="old@b.c", phone="1", address={"city": "Rome", "country": "IT"}
        ),
        identify(3, None, phone="0", description="d"),
    )
    assert told(state) == {
        "email": ("new@b.c", [1]),
        "description": ("d", [3]),
        "phone": ("1", [2]),
        "address.city": ("Oslo", [1]),
        "address.country": ("IT", [2]),
    }
    assert state.updates == 3


def test_a_name_of_two_events_names_both(tmp_path: Path) -> None:
    """First and last name may come apart."""
    state = state_of(
        tmp_path, identify(1, "2025-03-01", firstName="Ann"), identify(2, "2025-03-02", lastName="Lee")
    )
    assert told(state) == {"name": ("Ann Lee", [1, 2])}


def test_an_erased_object_names_the_null(tmp_path: Path) -> None:
    """And so does each field of it that nothing filled later."""
    settings = Settings(identify=Identify(mapping={"traits": ["customer"]}, nulls="clear"))
    state = state_of(
        tmp_path,
        identify(1, "2025-03-01", address={"city": "Rome", "country": "IT"}),
        identify(2, "2025-03-02", address=None),
        identify(3, "2025-03-03", address={"city": "Oslo"}),
        settings=settings,
    )
    assert told(state)["address.city"] == ("Oslo", [3])
    assert told(state)["address.country"] == (None, [2])


def test_custom_events_are_counted_by_name_in_order(tmp_path: Path) -> None:
    """First and last by time; what is repeated in the input, or is of another customer, does not count."""
    late, early = track(1, "2025-03-02", "B"), track(2, "2025-03-01", "B")
    state = state_of(
        tmp_path, late, early, late, track(3, "2025-02-01", "A"), {**early, "userId": "u2", "messageId": "x"}
    )
    assert [(each.name, each.count) for each in state.events] == [("A", 1), ("B", 2)]
    b = state.events[1]
    assert [each.position.rpartition(":")[2] for each in (b.first, b.last)] == ["2", "1"]
    assert (state.repeated, state.read, state.updates) == (1, 5, 0)


def test_a_custom_event_says_something_of_its_customer_too(tmp_path: Path) -> None:
    """As in a run in bulk, where both are folded."""
    rules = Settings(track=Track(mapping={"properties.email": ["customer.email"]}))
    state = state_of(tmp_path, track(1, "2025-03-02", "B", properties={"email": "a@b.c"}), settings=rules)
    (found,) = state.fields
    assert (found.path, found.origins[0].type, found.origins[0].name) == ("email", "track", "B")


def test_an_update_by_the_id_of_voucherify_is_not_folded(tmp_path: Path) -> None:
    """A run in bulk sends it by itself."""
    rules = Settings(identify=Identify(mapping={"traits.vid": ["customer.id"]}, extend_default=True))
    file = write_events(tmp_path, identify(1, "2025-03-02", email="a@b.c", vid="cust_1"))
    state = final_state(FinalOptions(source=file, settings=rules, customer="cust_1"))
    assert (state.unfolded, state.fields, state.is_known) == (1, [], True)


def test_it_is_the_customer_of_a_run_in_bulk(run_cli: Cli, samples: Path) -> None:
    """Each customer of the sample events, field by field."""
    customers = [
        line["body"] if isinstance(line["body"], list) else [line["body"]]
        for line in run_cli("replay", "--dry-run", "--bulk", "-q", samples).lines
        if "customers" in line["path"]
    ]
    found = [customer for body in customers for customer in body]
    assert len(found) > 5
    for customer in found:
        state = final_state(
            FinalOptions(source=samples, settings=Settings(), customer=customer.pop("source_id"))
        )
        body: dict[str, Any] = {}
        for each in state.fields:
            name, _, key = each.path.partition(".")
            if key:
                body.setdefault(name, {})[key] = each.value
            else:
                body[name] = each.value
        assert body == customer


def test_a_customer_without_events_is_told_with_what_may_be_meant(samples: Path) -> None:
    """And a blank id is none."""
    state = final_state(FinalOptions(source=samples, settings=Settings(), customer="usr_10011"))
    assert not state.is_known
    assert any('did you mean "usr_1001"' in notice for notice in state.notices)
    with pytest.raises(UsageProblem):
        FinalOptions(source=samples, customer=" ")


def test_a_notice_names_the_option_and_leaves_ids_as_they_are(tmp_path: Path) -> None:
    """An id may look like an option."""
    file = tmp_path / "events.ndjson"
    file.write_text('{"type": "identify", "userId": "--user", "traits": {"email": "a@b.pl"}}\n')
    (notice,) = final_state(FinalOptions(source=file, settings=Settings(), customer="--User")).notices
    assert notice.startswith('--final: "--User" is the id of no event')
    assert notice.endswith('did you mean "--user" (1)?')


def test_several_processes_change_nothing(samples: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Times and places come from all of them."""
    options = [
        FinalOptions(source=samples, settings=Settings(), customer="usr_1001", jobs=jobs) for jobs in (1, 2)
    ]
    one = final_state(options[0])
    monkeypatch.setattr("voucherify_sync.run.options.MIN_SHARED_BYTES", 1)
    assert final_state(options[1]) == one
    assert all(each.first.time for each in one.events)
