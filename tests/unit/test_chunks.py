"""Customers into as few requests as their bytes allow."""

from __future__ import annotations

import json
import math

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from voucherify_sync.voucherify.bulk import MAX_BYTES, Chunk, Limits, chunk_of, pack, size_alone


class Customer(Struct, frozen=True):
    """A customer of so many bytes."""

    source_id: str
    payload: bytes


def customers(*sizes: int) -> list[Customer]:
    """Return customers whose payloads are of these sizes, 20 bytes at least."""
    return [
        Customer(str(number), f'{{"source_id":"{number}{"x" * (size - 16 - len(str(number)))}"}}'.encode())
        for number, size in enumerate(sizes)
    ]


def sizes_of(chunks: list[Chunk]) -> list[list[int]]:
    """Return the sizes of the customers in each request."""
    return [[len(item.payload) for item in chunk.items] for chunk in chunks]


SIZES = st.lists(st.integers(20, 120), max_size=60)


@given(SIZES, st.integers(30, 400), st.none() | st.integers(1, 9))
def test_every_customer_is_in_one_request_and_none_is_too_large(
    sizes: list[int], max_bytes: int, max_items: int | None
) -> None:
    """The size that is counted is that of the body as it is sent: brackets and commas included."""
    given_ = customers(*sizes)
    chunks = list(pack(given_, Limits(max_bytes, max_items)))
    for chunk in chunks:
        body = chunk.body()
        assert len(body) == chunk.size
        assert len(json.loads(body)) == len(chunk.items)
        assert len(chunk.items) == 1 or chunk.size <= max_bytes
        assert max_items is None or len(chunk.items) <= max_items
    assert sorted((item.source_id for chunk in chunks for item in chunk.items), key=int) == [
        item.source_id for item in given_
    ]
    again = list(pack(given_, Limits(max_bytes, max_items)))
    assert [chunk.body() for chunk in again] == [chunk.body() for chunk in chunks]


@given(st.lists(st.integers(20, 40), min_size=1, max_size=300))
def test_small_customers_fill_requests_to_the_brim(sizes: list[int]) -> None:
    """No request that is followed by another has room for one more of the largest customers."""
    limit = 1_000
    chunks = list(pack(customers(*sizes), Limits(limit)))
    assert all(limit - chunk.size <= 40 for chunk in chunks[:-1])
    assert len(chunks) <= math.ceil(sum(size + 1 for size in sizes) / (limit - 41))


def test_large_customers_are_combined() -> None:
    """What does not fit into the request begun last may fit into one before it."""
    assert sizes_of(list(pack(customers(600, 600, 390, 390), Limits(1_000)))) == [[600, 390], [600, 390]]


def test_a_request_is_full_to_the_last_byte() -> None:
    """10,485,760 bytes are allowed, one more is not."""
    half = (MAX_BYTES - 3) // 2
    fitting = customers(half, MAX_BYTES - 3 - half)
    (chunk,) = pack(fitting, Limits())
    assert len(chunk.body()) == chunk.size == MAX_BYTES
    assert len(list(pack(customers(half, MAX_BYTES - 2 - half), Limits()))) == 2
    assert size_alone(customers(100)[0]) == len(chunk_of(customers(100)).body())


def test_limits_that_are_lowered_on_the_way_hold_for_what_comes_later() -> None:
    """A refusal teaches while requests are still being made up."""
    limits = Limits(1_000)
    chunks = pack(iter(customers(*[100] * 60)), limits)
    next(chunks)
    limits.max_items = 2
    assert all(len(chunk.items) <= 2 for chunk in list(chunks)[4:])


def test_one_customer_alone_is_always_allowed() -> None:
    """It cannot be made smaller."""
    limits = Limits(max_bytes=50, max_items=1)
    assert limits.allow(chunk_of(customers(400)))
    assert not limits.allow(chunk_of(customers(20, 20)))
