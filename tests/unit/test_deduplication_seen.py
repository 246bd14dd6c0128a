"""Tests of the keys of a run: what is new, what was met, in memory and on disk."""

from __future__ import annotations

import tracemalloc
from hashlib import blake2b

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voucherify_sync.state.deduplication import SEEN_KEY_BYTES, Seen, seen_key


def key_of(number: int) -> bytes:
    """Return what stands for a key such as record keys are."""
    return seen_key(blake2b(str(number).encode(), digest_size=16).digest())


def meet(seen: Seen, key: bytes, digest: int) -> bool | None:
    """Meet one key."""
    met = seen.add_many([key], [digest])
    return None if met is None else met[0]


def test_a_key_stands_for_its_messageid_and_its_content() -> None:
    """The key of an identify ends with a digest of its content; another one in either makes another record."""
    keys = [b"a" * 16, b"a" * 16 + b"x" * 8, b"a" * 16 + b"y" * 8, b"b" * 16 + b"x" * 8]
    assert len({seen_key(key) for key in keys}) == 4
    assert {len(seen_key(key)) for key in keys} == {SEEN_KEY_BYTES}


@pytest.mark.parametrize("limit", [1, 3, 10, 1_000])
def test_a_key_is_new_once_however_few_fit_into_memory(limit: int) -> None:
    """Met again, it tells whether it comes with the digest that it was first met with."""
    seen = Seen(limit)
    for number in range(20):
        assert meet(seen, key_of(number), number) is None
    for number in range(20):
        assert meet(seen, key_of(number), number) is True
        assert meet(seen, key_of(number), number + 1) is False


@settings(max_examples=30)  # each spill writes an index for all keys that could come
@given(
    st.lists(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3)), max_size=6), max_size=20),
    st.integers(1, 40),
)
def test_keys_by_the_block_are_met_like_keys_one_by_one(
    blocks: list[list[tuple[int, int]]], limit: int
) -> None:
    """A block of new keys, which most are, is told from the others at a glance."""
    by_block, one_by_one = Seen(limit), Seen(limit)
    for block in blocks:
        keys, digests = [key_of(number) for number, _ in block], [digest for _, digest in block]
        met = [meet(one_by_one, key, digest) for key, digest in zip(keys, digests, strict=True)]
        assert (by_block.add_many(keys, digests) or [None] * len(block)) == met


def test_keys_stay_in_memory_where_the_disk_takes_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is no reason to send anything twice."""
    monkeypatch.setattr("tempfile.tempdir", "/does/not/exist")
    seen = Seen(2)
    assert [meet(seen, key_of(number), 0) for number in (1, 2, 3, 4, 5, 1)] == [None] * 5 + [True]


def test_a_key_takes_at_most_100_bytes_and_spilled_ones_next_to_nothing() -> None:
    """Half a million keys in memory at most."""
    tracemalloc.start()
    seen = Seen(60_000)
    before = tracemalloc.get_traced_memory()[0]
    for number in range(59_999):
        meet(seen, key_of(number), number % 256)
    held = tracemalloc.get_traced_memory()[0] - before
    meet(seen, key_of(-1), 0)
    spilled = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert held / 59_999 < 100
    assert spilled < 20_000_000
