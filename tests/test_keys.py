"""Records are told apart by messageId, and by content where there is none."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voucherify_sync.keys import record_key, request_hash
from voucherify_sync.model import Json, Position, SegmentEvent

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


def event(
    fields: Json, *, type_: str = "track", message_id: str | None = None, line: int = 1, unsafe: bool = False
) -> SegmentEvent:
    """Make an event of which only what a key is made of matters."""
    return SegmentEvent(Position("a", line), type_, None, message_id, fields, b"", unsafe=unsafe)


def reordered(value: Any) -> Any:
    """Return the same JSON value with the keys of every object in reverse order."""
    if isinstance(value, dict):
        return {key: reordered(value[key]) for key in reversed(value)}
    return [reordered(item) for item in value] if isinstance(value, list) else value


def test_a_key_is_of_type_and_message_id() -> None:
    """Where it was read and what else it holds plays no part."""
    one = record_key(event({"a": 1}, message_id="m", line=1))
    assert one == record_key(event({"a": 2}, message_id="m", line=9))
    assert one != record_key(event({"a": 1}, message_id="m", type_="identify"))
    assert one != record_key(event({"a": 1}, message_id="n"))
    assert len(one) == 16


def test_type_and_message_id_do_not_run_together() -> None:
    """What ends the one never begins the other."""
    assert record_key(event({}, type_="a", message_id="bc")) != record_key(
        event({}, type_="ab", message_id="c")
    )


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_without_message_id_equal_events_are_one_record(fields: Json) -> None:
    """The order of keys, at any depth, makes no difference."""
    assert record_key(event(fields)) == record_key(event(reordered(fields), line=2))


@pytest.mark.parametrize(
    ("one", "other", "unsafe"),
    [
        pytest.param({"a": 1}, {"a": "1"}, False, id="number and text"),
        pytest.param({"a": None}, {}, False, id="null and absent"),
        pytest.param({"a": [1, 2]}, {"a": [2, 1]}, False, id="order of a list"),
        pytest.param({"a": 2**70}, {"a": 2**70 + 1}, False, id="integers over 64 bits"),
        pytest.param({"a": float("nan")}, {"a": None}, True, id="NaN and null"),
        pytest.param({"a": float("nan")}, {"a": float("inf")}, True, id="NaN and Infinity"),
        pytest.param({"a": "\ud800"}, {"a": "\ud801"}, False, id="lone surrogates"),
    ],
)
def test_without_message_id_different_events_are_two_records(one: Json, other: Json, unsafe: bool) -> None:
    """A key that two records shared would lose one of them."""
    assert record_key(event(one, unsafe=unsafe)) != record_key(event(other, unsafe=unsafe))


def test_a_message_id_with_a_lone_surrogate_has_a_key() -> None:
    """Nothing that JSON can hold is too odd to be known."""
    assert record_key(event({}, message_id="\ud800")) != record_key(event({}, message_id="\ud801"))


def test_a_request_hash_is_8_bytes_of_the_payload() -> None:
    """It tells whether the mapping makes another request of a record now."""
    assert len(request_hash(b"{}")) == 8
    assert request_hash(b"{}") == request_hash(b"{}") != request_hash(b"{ }")
