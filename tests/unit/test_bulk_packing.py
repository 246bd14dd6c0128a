"""Customers into as few requests as their bytes allow."""

from __future__ import annotations

import json
import math

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from voucherify_sync.voucherify.bulk import MAX_BYTES, BulkLimits, BulkRequest, pack


class Customer(Struct, frozen=True):
    """A customer of a given number of bytes."""

    source_id: str
    payload: bytes
    source: str | None = None
    message_id: str | None = None


def customers(*sizes: int) -> list[Customer]:
    """Return customers whose payloads are of these sizes, 20 bytes at least."""
    return [
        Customer(str(number), f'{{"source_id":"{number}{"x" * (size - 16 - len(str(number)))}"}}'.encode())
        for number, size in enumerate(sizes)
    ]


def sizes_of(requests: list[BulkRequest]) -> list[list[int]]:
    """Return the sizes of the customers in each request."""
    return [[len(item.payload) for item in request.items] for request in requests]


SIZES = st.lists(st.integers(20, 120), max_size=60)


@given(SIZES, st.integers(30, 400), st.none() | st.integers(1, 9))
def test_every_customer_is_in_one_request_and_none_is_too_large(
    sizes: list[int], max_bytes: int, max_items: int | None
) -> None:
    """The size that is counted is that of the body as it is sent: brackets and commas included."""
    given_ = customers(*sizes)
    requests = list(pack(given_, BulkLimits(max_bytes, max_items)))
    for request in requests:
        body = request.body()
        assert len(body) == request.size_bytes
        assert len(json.loads(body)) == len(request.items)
        assert len(request.items) == 1 or request.size_bytes <= max_bytes
        assert max_items is None or len(request.items) <= max_items
    assert sorted((item.source_id for request in requests for item in request.items), key=int) == [
        item.source_id for item in given_
    ]
    again = list(pack(given_, BulkLimits(max_bytes, max_items)))
    assert [request.body() for request in again] == [request.body() for request in requests]


@given(st.lists(st.integers(20, 40), min_size=1, max_size=300))
def test_small_customers_fill_requests_to_the_brim(sizes: list[int]) -> None:
    """No request that is followed by another has room for one more of the largest customers."""
    limit = 1_000
    requests = list(pack(customers(*sizes), BulkLimits(limit)))
    assert all(limit - request.size_bytes <= 40 for request in requests[:-1])
    assert len(requests) <= math.ceil(sum(size + 1 for size in sizes) / (limit - 41))


def test_large_customers_are_combined() -> None:
    """What does not fit into the request begun last may fit into one before it."""
    assert sizes_of(list(pack(customers(600, 600, 390, 390), BulkLimits(1_000)))) == [[600, 390], [600, 390]]


def test_a_request_is_full_to_the_last_byte() -> None:
    """10,485,760 bytes are allowed, one more is not."""
    half = (MAX_BYTES - 3) // 2
    fitting = customers(half, MAX_BYTES - 3 - half)
    (request,) = pack(fitting, BulkLimits())
    assert len(request.body()) == request.size_bytes == MAX_BYTES
    assert len(list(pack(customers(half, MAX_BYTES - 2 - half), BulkLimits()))) == 2
    assert BulkRequest(customers(100)).size_bytes == len(BulkRequest(customers(100)).body())


def test_limits_that_are_lowered_on_the_way_hold_for_what_comes_later() -> None:
    """A refusal teaches while requests are still being made up."""
    limits = BulkLimits(1_000)
    requests = pack(iter(customers(*[100] * 60)), limits)
    next(requests)
    limits.max_items = 2
    assert all(len(request.items) <= 2 for request in list(requests)[4:])


def test_one_customer_alone_is_always_allowed() -> None:
    """It cannot be made smaller."""
    limits = BulkLimits(max_bytes=50, max_items=1)
    assert sizes_of(list(pack(customers(400, 20, 20), limits))) == [[400], [20], [20]]
