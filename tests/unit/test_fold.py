"""Folding many updates of a customer into one."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from voucherify_sync.errors import RunStopped
from voucherify_sync.mapping.fold import CustomerFold, microseconds

BEGIN = datetime(2024, 3, 1, tzinfo=UTC)


class Update(Struct, frozen=True):
    """What a test gives to the fold."""

    customer: dict[str, Any]
    time: datetime | None = BEGIN
    message_id: str | None = None
    is_new: bool = True
    told: datetime | None = None


def at(seconds: float) -> datetime:
    """Return a moment."""
    return BEGIN + timedelta(seconds=seconds)


def add(folding: CustomerFold, update: Update) -> None:
    """Give an update to a fold."""
    folding.add(
        update.customer["source_id"],
        msgspec.json.encode(update.customer),
        microseconds(update.time),
        microseconds(update.told or update.time),
        update.message_id or "",
        "identify" if update.is_new else None,
    )


def fold(updates: Iterable[Update], memory: int = 1 << 20) -> list[dict[str, Any]]:
    """CustomerFold, and return the customers as JSON values."""
    with CustomerFold(memory) as folding:
        for update in updates:
            add(folding, update)
        return [json.loads(customer.payload) for customer in folding.customers()]


def one(*updates: Update) -> dict[str, Any]:
    """CustomerFold updates of the customer u1, who needs not be named, and return what they amount to."""
    named = [
        Update({"source_id": "u1", **u.customer}, u.time, u.message_id, u.is_new, u.told) for u in updates
    ]
    (customer,) = fold(named)
    assert customer.pop("source_id") == "u1"
    return customer


def test_the_later_word_on_a_field_wins_wherever_it_is_read() -> None:
    """By time, field by field; a field that only an old update has is kept."""
    late = Update({"name": "Late", "email": "late@example.com"}, at(9))
    early = Update({"name": "Early", "phone": "1"}, at(1))
    expected = {"name": "Late", "email": "late@example.com", "phone": "1"}
    assert one(late, early) == one(early, late) == expected


def test_address_and_metadata_are_folded_by_key() -> None:
    """Their keys are as fields; an object inside metadata is one value."""
    assert one(
        Update({"address": {"city": "Bonn", "country": "DE"}, "metadata": {"a": {"x": 1}, "b": 1}}, at(2)),
        Update({"address": {"city": "Köln", "line_1": "Ring 1"}, "metadata": {"a": {"y": 2}, "c": 3}}, at(1)),
    ) == {
        "address": {"city": "Bonn", "line_1": "Ring 1", "country": "DE"},
        "metadata": {"a": {"x": 1}, "b": 1, "c": 3},
    }


def test_updates_without_a_time_come_first() -> None:
    """Whoever tells no time is taken for older than whoever does, even than 1969."""
    before_the_epoch = Update({"name": "timed"}, datetime(1969, 1, 1, tzinfo=UTC))
    assert one(before_the_epoch, Update({"name": "untimed", "phone": "1"}, None)) == {
        "name": "timed",
        "phone": "1",
    }


def test_equal_times_are_decided_by_the_message_id_then_by_the_input_order() -> None:
    """So that the order of the files does not matter where messageIds differ."""
    first, second = Update({"name": "a"}, message_id="a"), Update({"name": "b"}, message_id="b")
    assert one(first, second) == one(second, first) == {"name": "b"}
    assert one(Update({"name": "x"}), Update({"name": "y"})) == {"name": "y"}


def test_equal_times_are_decided_by_the_time_as_told_first() -> None:
    """Two events whose wrong clock gave way to one receivedAt keep their order."""
    later = Update({"name": "later"}, message_id="a", told=at(9))
    earlier = Update({"name": "earlier"}, message_id="b", told=at(8))
    assert one(later, earlier) == one(earlier, later) == {"name": "later"}


def test_microseconds_count() -> None:
    """Times are compared exactly, also far from today."""
    far = datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    assert one(Update({"name": "b"}, far), Update({"name": "a"}, far - timedelta(microseconds=1))) == {
        "name": "b"
    }


def test_a_null_is_a_word_like_any_other() -> None:
    """It erases what is older and is overruled by what is newer."""
    null, value = Update({"email": None}, at(2)), {"email": "a@example.com"}
    assert one(null, Update(value, at(1))) == {"email": None}
    assert one(null, Update(value, at(3))) == value


def test_an_erased_address_keeps_what_came_later_only() -> None:
    """All that was in it before is erased, also what an earlier run has sent."""
    erased = Update({"address": None}, at(2))
    before = Update({"address": {"city": "Bonn", "state": "NRW"}}, at(1))
    after = Update({"address": {"city": "Köln"}}, at(3))
    assert one(erased, before) == {"address": None}
    rest = dict.fromkeys(("state", "line_1", "line_2", "country", "postal_code"))
    assert one(after, before, erased) == {"address": {"city": "Köln", **rest}}


def test_a_customer_without_fields_is_one_too() -> None:
    """An identify that says nothing still creates a customer."""
    assert fold([Update({"source_id": "u1"})]) == [{"source_id": "u1"}]


def test_only_customers_with_a_new_update_come_out_and_old_ones_take_part() -> None:
    """What was sent before is folded in, as the new update may be older than it."""
    old = Update({"source_id": "a", "name": "Sent", "phone": "1"}, at(5), is_new=False)
    new = Update({"source_id": "a", "name": "Late arrival", "email": "a@example.com"}, at(1))
    other = Update({"source_id": "b", "name": "B"}, is_new=False)
    assert fold([old, new, other]) == [
        {"source_id": "a", "name": "Sent", "email": "a@example.com", "phone": "1"}
    ]
    assert fold([old, other]) == []


def test_the_latest_time_is_told() -> None:
    """It is what the ledger remembers an update by."""
    with CustomerFold() as folding:
        add(folding, Update({"source_id": "a"}, at(7.25)))
        add(folding, Update({"source_id": "a"}, at(3)))
        add(folding, Update({"source_id": "b"}, None))
        assert [customer.updated_at for customer in folding.customers()] == [at(7.25), None]


def test_numbers_are_exact() -> None:
    """Integers of any size and floats come out as they came."""
    numbers = {"big": 2**80, "float": 0.1, "whole": 1.0, "small": -7}
    folded = one(Update({"metadata": numbers}))["metadata"]
    assert folded == numbers
    assert isinstance(folded["whole"], float)


def test_customers_in_memory_come_by_their_source_id() -> None:
    """As long as all fits into memory, people find them in an order that they know."""
    ids = ["b", "ä", "a", "10", "2"]
    assert [c["source_id"] for c in fold(Update({"source_id": each}) for each in ids)] == sorted(ids)


@pytest.mark.parametrize(
    ("updates", "name"),
    [
        pytest.param([{"firstName": "Ann"}, {"lastName": "Lee"}], "Ann Lee", id="two halves"),
        pytest.param([{"lastName": "Lee"}, {"firstName": "Ann"}], "Ann Lee", id="the last name first"),
        pytest.param([{"firstName": "Ann"}, {"firstName": "Eva"}], "Eva", id="the later half"),
        pytest.param(
            [{"name": "Ann Lee"}, {"firstName": "Ann"}], "Ann Lee", id="half a name replaces no whole one"
        ),
        pytest.param(
            [{"name": "A L"}, {"firstName": "Ann"}, {"lastName": "Lee"}], "Ann Lee", id="but both halves do"
        ),
        pytest.param(
            [{"firstName": "Ann"}, {"name": "A L"}, {"lastName": "Lee"}], "A L", id="if both are later"
        ),
        pytest.param([{"firstName": "Ann"}, {"name": None}], None, id="a null erases halves"),
        pytest.param([{"name": None}, {"firstName": "Ann"}], "Ann", id="a null is no whole name"),
    ],
)
@pytest.mark.parametrize("is_reversed", [False, True], ids=["in order", "reversed"])
def test_a_name_is_folded_by_its_halves(
    updates: list[dict[str, Any]], name: str | None, is_reversed: bool
) -> None:
    """Whatever the order of reading."""
    timed = [Update(update, at(second)) for second, update in enumerate(updates)]
    assert one(*(reversed(timed) if is_reversed else timed)) == {"name": name}


TEXTS = st.sampled_from(["a", "b", None])
FIELDS = st.fixed_dictionaries(
    {"source_id": st.sampled_from(["u1", "u2", "u3"])},
    optional={
        "name": TEXTS,
        "email": TEXTS,
        "address": st.none() | st.dictionaries(st.sampled_from(["city", "line_1"]), TEXTS, min_size=1),
        "metadata": st.dictionaries(st.sampled_from("xyz"), st.integers() | st.none(), min_size=1),
    },
)
TIMES = st.none() | st.integers(0, 3).map(at)


@given(
    st.lists(st.tuples(FIELDS, TIMES, st.integers(0, 99).map(str)), unique_by=lambda update: update[2]),
    st.randoms(use_true_random=False),
)
def test_any_order_of_reading_gives_the_same_customers(
    drawn: list[tuple[dict[str, Any], datetime | None, str]], rng: random.Random
) -> None:
    """With distinct messageIds; in memory or on disk."""
    updates = [Update(*each) for each in drawn]
    shuffled = rng.sample(updates, len(updates))
    folded = fold(updates)
    assert fold(shuffled) == folded
    assert sorted(fold(shuffled, memory=1), key=lambda c: c["source_id"]) == folded


@given(st.lists(st.tuples(FIELDS, TIMES, st.integers(0, 99).map(str)), unique_by=lambda update: update[2]))
def test_the_fold_equals_applying_the_updates_one_by_one_in_time_order(
    drawn: list[tuple[dict[str, Any], datetime | None, str]],
) -> None:
    """Whoever sent each update in that order would leave the same customers."""
    expected: dict[str, dict[str, Any]] = {}
    for fields, _, _ in sorted(drawn, key=lambda u: (u[1] is not None, u[1] or BEGIN, u[2])):
        _apply(expected.setdefault(fields["source_id"], {}), fields)
    folded: dict[str, dict[str, Any]] = {}
    for customer in fold([Update(*each) for each in drawn]):
        _apply(folded.setdefault(customer["source_id"], {}), customer)
    assert folded == expected


def _apply(stored: dict[str, Any], fields: dict[str, Any]) -> None:
    """Change a stored customer as Voucherify does: nulls clear, objects are merged by key."""
    for name, value in fields.items():
        if name in ("address", "metadata") and value is not None:
            merged = {**(stored.get(name) or {}), **value}
            if name == "address":
                merged = {key: inside for key, inside in merged.items() if inside is not None}
            stored[name] = merged or None
        else:
            stored[name] = value
        if stored[name] is None:
            del stored[name]


def test_the_same_customers_come_again_and_again() -> None:
    """They are read more than once, and the requests made of them must be the same."""
    with CustomerFold(memory_bytes=2_000) as folding:
        for number in range(500):
            add(folding, Update({"source_id": f"u{number % 50}", "name": str(number)}, at(number)))
        first = list(folding.customers())
        assert list(folding.customers()) == first
        assert len(first) == 50
        assert {json.loads(c.payload)["name"] for c in first} == {str(n) for n in range(450, 500)}


def test_what_goes_to_disk_has_no_name(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """So nobody else can open it, and nothing is left behind even after a kill."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with CustomerFold(memory_bytes=1) as folding:
        add(folding, Update({"source_id": "a"}, None))
        assert folding._layers
        assert list(tmp_path.iterdir()) == []


def test_a_full_disk_stops_the_run_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the directory and the way out."""

    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    with CustomerFold(memory_bytes=1) as folding:
        monkeypatch.setattr("voucherify_sync.mapping.fold.os.write", full)
        with pytest.raises(RunStopped, match="No space left on device") as stopped:
            add(folding, Update({"source_id": "a"}, None))
    assert "TMPDIR" in stopped.value.remedy
