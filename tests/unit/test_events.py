"""Records are told apart by messageId, and by content where there is none."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voucherify_sync.events import (
    Batch,
    Event,
    Json,
    Position,
    body_hash,
    earlier_keys,
    record_key,
    request_hash,
)
from voucherify_sync.sources.decode import decode

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


def event(
    fields: Json, *, type_: str = "track", message_id: str | None = None, line: int = 1, unsafe: bool = False
) -> Event:
    """Make an event of which only what a key is made of matters."""
    return Event(Position("a", line), type_, None, message_id, fields, b"", unsafe=unsafe)


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


@pytest.mark.parametrize(
    ("fields", "is_another"),
    [
        pytest.param({"traits": {"b": 2, "a": 1}}, False, id="the order of keys"),
        pytest.param(
            {"timestamp": "later", "context": {"ip": "x"}, "messageId": "m"}, False, id="the rest of it"
        ),
        pytest.param({"traits": {"a": 1, "b": 3}}, True, id="traits"),
        pytest.param({"userId": "v"}, True, id="whose it is"),
        pytest.param({"anonymousId": "x"}, True, id="the other id"),
        pytest.param({"context": {"traits": {"a": 1}}}, True, id="traits of the context"),
    ],
)
def test_an_identify_is_known_by_what_it_says_too(fields: Json, is_another: bool) -> None:
    """It tells a state: each version is a record of its own. An earlier version knew it by the first 16 bytes."""
    said = {"userId": "u", "traits": {"a": 1, "b": 2}}
    one = event(said, type_="identify", message_id="m")
    other = event({**said, **fields}, type_="identify", message_id="m")
    assert (record_key(one) != record_key(other)) is is_another
    assert len(record_key(one)) == 24
    assert earlier_keys(one) == earlier_keys(other) == [record_key(one)[:16]]


@pytest.mark.parametrize(
    ("line", "key"),
    [
        (b'{"type":"track","messageId":"ajs-1"}', "0ba729a05e8207e43533416fa2df883e"),
        (
            b'{"type":"identify","messageId":"ajs-1","userId":"u","traits":{"a":1}}',
            "50068552558d4d9be8b89e62a00ec520",
        ),
        (b'{"type":"track","messageId":12}', "09a73e68245f66002bab24d8e1ab49b5"),
        (b'{"type":"track","messageId":1.5}', "46a14dc368e43600d6ad57c6d9f3c844"),
        (b'{"type":"track","messageId":" a "}', "3bd620868ae12152e0707579c036ad34"),
        (b'{"type":"track","messageId":"\xc3\xa9\xe6\xbc\xa2"}', "1460d0b4a9dcce2b22be36a5b5b8a13c"),
        (b'{"type":"track","messageId":"","event":"A","b":1}', "c6ce80a25558ab64170a2641f22553db"),
        (b'{"b":1,"type":"track","event":"A"}', "26f841473741bb097feeb4e12bf7c791"),
        (b'{"type":"track","event":"A","n":[1,2.5,1e300,null,true]}', "d0dc700de149701e040a823278869fbd"),
        (b'{"type":"track","event":"A","n":NaN}', "3dd65b0b2018e6118e1f9ce15e507b18"),
        (b'{"type":"track","event":"A","s":"\\ud800"}', "dc53be9b115f68ac65ed8851d2c55ab3"),
        (
            b'{"type":"identify","userId":"u","traits":{"b":1,"a":{"d":1,"c":2}}}',
            "77d2aa10ac4da8d8b0abb97ea61a2c5a",
        ),
    ],
)
def test_keys_never_change(line: bytes, key: str) -> None:
    """Ledgers of all versions are full of them; what these lines say must never get another key."""
    (record,) = decode(Batch.of("a", 1, [line]))
    assert isinstance(record, Event)
    assert earlier_keys(record)[-1].hex() == key


@pytest.mark.parametrize("kind", ["Track", "TRACK", " track"])
def test_however_a_type_is_written_one_message_id_is_one_record(kind: str) -> None:
    """The type that is meant counts."""
    lines = [b'{"type":"%b","messageId":"ajs-1"}' % each for each in (b"track", kind.encode())]
    one, other = decode(Batch.of("a", 1, lines))
    assert isinstance(one, Event)
    assert isinstance(other, Event)
    assert record_key(one) == record_key(other)


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


def test_a_request_hash_is_8_bytes_of_what_a_request_says() -> None:
    """It tells whether the mapping makes another request of a record now; the order of keys is no difference."""
    one = request_hash(b'{"a":1,"b":{"c":[1,2],"d":null}}')
    assert len(one) == 8
    assert one == request_hash(b'{"b": {"d": null, "c": [1, 2]}, "a": 1}')
    assert one != request_hash(b'{"a":1,"b":{"c":[2,1],"d":null}}')
    assert body_hash(b"{}") != body_hash(b"{ }")
