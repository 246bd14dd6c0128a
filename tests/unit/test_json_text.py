"""JSON text is cut into members without being decoded: what the decoder finds in it, at no cost in memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.poison_lines import LINES

from voucherify_sync.sources.json_text import BrokenError, first_byte, has_more_values, items, members

TEXTS = st.text('ab"\\[]{},: \n\u20ac', max_size=6)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
SPACES = st.sampled_from([None, 0, 3])


def counted(value: Any) -> int:
    """Return how many commas and opening brackets a value needs."""
    if not isinstance(value, list | dict):
        return 0
    inside = value.values() if isinstance(value, dict) else value
    return 1 + max(len(value) - 1, 0) + sum(map(counted, inside))


def taken(split: Callable[[bytes], Iterable[Any]], text: bytes) -> tuple[list[Any], BrokenError | None]:
    """Return the members that a text yields, and how it is broken, if it is."""
    found: list[Any] = []
    try:
        found.extend(split(text))
    except BrokenError as error:
        return found, error
    return found, None


@given(st.lists(VALUES, max_size=5), SPACES)
def test_the_items_of_an_array_are_those_that_the_decoder_finds(
    values: list[Any], indent: int | None
) -> None:
    """Whatever lies in them, brackets and quotes in texts included, and however they are spaced."""
    text = f" {json.dumps(values, indent=indent, ensure_ascii=False)}\r\n".encode()
    found = list(items(text))
    assert str([json.loads(item) for item in found]) == str(values)
    assert all(item == item.strip() for item in found)


@given(st.dictionaries(TEXTS, VALUES, max_size=5), SPACES)
def test_the_members_of_an_object_are_those_that_the_decoder_finds(
    values: dict[str, Any], indent: int | None
) -> None:
    """Each with its key as it is written."""
    text = f" {json.dumps(values, indent=indent, ensure_ascii=False)}\t".encode()
    found = [(json.loads(key), json.loads(value)) for key, value in members(text)]
    assert str(found) == str(list(values.items()))


def test_a_key_may_come_twice() -> None:
    """Which one counts is decided elsewhere."""
    assert [value for _, value in members(b'{"a":1,"a":2}')] == [b"1", b"2"]


@pytest.mark.parametrize(
    ("text", "before", "at"),
    [
        pytest.param(b"", [], 0, id="nothing"),
        pytest.param(b'{"a":1}', [], 0, id="an object"),
        pytest.param(b"[1,2", [b"1"], 3, id="no end"),
        pytest.param(b"[1,", [b"1"], 3, id="an end behind a comma"),
        pytest.param(b"[1,]", [b"1"], 3, id="a comma too many"),
        pytest.param(b"[1 2]", [], 1, id="no comma"),
        pytest.param(b"[1,,2]", [b"1"], 3, id="a comma alone"),
        pytest.param(b'[1,"a]', [b"1"], 3, id="a text without an end"),
        pytest.param(b'[1,{"a":[}', [b"1"], 3, id="an item without an end"),
        pytest.param(b"[1:2]", [], 1, id="a colon"),
        pytest.param(b"[1]x", [b"1"], 3, id="something behind it"),
    ],
)
def test_a_broken_array_yields_the_items_before(text: bytes, before: list[bytes], at: int) -> None:
    """The error tells where the array is broken."""
    found, broken = taken(items, text)
    assert broken is not None
    assert (found, broken.at) == (before, at)


@pytest.mark.parametrize(
    "text",
    [b"[1]", b"{", b'{"a"}', b'{"a":}', b'{"a":1,}', b'{"a":1', b"{1:2}", b'{"a" 1}', b'{"a":1}x', b"{,}"],
)
def test_what_is_no_object_is_broken(text: bytes) -> None:
    """A key without a value, a value without a key, a comma too many."""
    with pytest.raises(BrokenError):
        list(members(text))


def test_what_is_inside_of_an_item_is_not_looked_at() -> None:
    """The decoder finds out; brackets need not even be of one kind."""
    assert list(items(b"[{oops},[}]")) == [b"{oops}", b"[}"]


@given(VALUES, st.integers(0, 30), SPACES)
def test_values_are_counted_as_the_decoder_would_find_them(value: Any, most: int, indent: int | None) -> None:
    """Commas and brackets in texts do not count."""
    text = json.dumps(value, indent=indent, ensure_ascii=False).encode()
    assert has_more_values(text, most) is (counted(value) > most)


@given(st.binary(max_size=60) | st.text('[]{},:"\\ 1a', max_size=60).map(str.encode))
def test_no_text_raises_anything_else(text: bytes) -> None:
    """Whatever it is."""
    has_more_values(text, 2)
    first_byte(text)
    for split in (items, members):
        _, broken = taken(split, text)
        assert broken is None or 0 <= broken.at <= len(text)


@pytest.mark.parametrize("build", LINES.values(), ids=LINES.keys())
def test_texts_that_are_meant_to_take_long_do_not(build: Any) -> None:
    """None of the patterns backtracks: a text of 300,000 bytes would take for ever."""
    text = build(300_000)
    has_more_values(text, 300_000)
    for split in (items, members):
        taken(split, text)
