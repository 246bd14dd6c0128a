"""An update that comes after a newer one is counted, within bounded memory."""

from __future__ import annotations

from typing import Any

import pytest
from support.segment_events import identify, request_of, track

from voucherify_sync.events import Event
from voucherify_sync.mapping.times import set_time
from voucherify_sync.outcomes import Outcome, State
from voucherify_sync.run.pipeline import OlderUpdates


def counted(*events: Event, book: OlderUpdates | None = None, state: State = State.PLANNED) -> int:
    """Return how many of the events are older than one before."""
    book = book or OlderUpdates()
    for event in events:
        request = request_of(event)
        set_time(event, lambda *_found: None)
        book.add([Outcome(event, state, request=request)])
    return book.count


def at(time: Any, **fields: Any) -> Event:
    """Return an identify of that time."""
    return identify({"email": "a@example.com"}, timestamp=time, **fields)


@pytest.mark.parametrize(
    ("times", "count"),
    [
        pytest.param(["2024-03-01T00:00:00.000Z", "2024-03-02T00:00:00.000Z"], 0, id="in order"),
        pytest.param(["2024-03-02T00:00:00.000Z", "2024-03-01T00:00:00.000Z"], 1, id="out of order"),
        pytest.param(["2024-03-01T00:00:00.000Z"] * 2, 0, id="at the same time"),
        pytest.param(["2024-03-03T00:00:00.000Z", "2024-03-01", "2024-03-02"], 2, id="against the newest"),
        pytest.param(["2024-03-01T10:00:00+02:00", "2024-03-01T09:00:00.000Z"], 0, id="offsets"),
        pytest.param(["2024-03-01T09:00:00.000Z", "2024-03-01T10:00:00+02:00"], 1, id="offsets, older"),
        pytest.param([1_709_300_000_000, "2024-03-01T00:00:00.000Z"], 1, id="epoch"),
        pytest.param(["2024-99-99T00:00:00.000Z", "2024-03-01"], 0, id="a time that is none"),
        pytest.param([None, "2024-03-01T00:00:00.000Z", None], 0, id="no time"),
        pytest.param(["Sat, 02 Mar 2024 00:00:00 GMT", "2024-03-01 00:00:00 UTC"], 1, id="other spellings"),
    ],
)
def test_updates_of_one_customer_are_compared_by_their_time(times: list[Any], count: int) -> None:
    """Any spelling of a time counts; what tells no time is left out of it."""
    assert counted(*map(at, times)) == count


def test_a_timestamp_that_only_looks_like_one_gives_way_to_the_next() -> None:
    """The first of the four fields that tells a time counts."""
    odd = at("2024-99-99T00:00:00.000Z", receivedAt="2024-03-02T00:00:00.000Z")
    assert counted(odd, at("2024-03-01T00:00:00.000Z")) == 1


def test_a_wrong_clock_makes_no_later_update_older() -> None:
    """Its time counts as receivedAt; between equal ones the time as it is told decides."""
    wrong = at("2031-01-01T00:00:00.000Z", receivedAt="2024-03-01T00:00:00.000Z")
    assert counted(wrong, at("2024-03-02T00:00:00.000Z")) == 0
    assert counted(wrong, at("2030-01-01T00:00:00.000Z", receivedAt="2024-03-01T00:00:00.000Z")) == 1


def test_customers_do_not_mix() -> None:
    """An older update of somebody else is in order."""
    assert counted(at("2024-03-02T00:00:00Z"), at("2024-03-01T00:00:00Z", userId="u2")) == 0


def test_only_what_says_something_of_the_customer_counts() -> None:
    """A track counts if it carries customer fields, since these overwrite the profile as well."""
    newer = at("2024-03-02T00:00:00Z")
    bare = track({}, timestamp="2024-03-01T00:00:00Z")
    telling = track({"email": "b@example.com"}, timestamp="2024-03-01T00:00:00Z")
    assert counted(newer, bare) == 0
    assert counted(newer, telling) == 1


def test_what_was_not_sent_does_not_count() -> None:
    """A duplicate or a failure overwrites nothing."""
    events = at("2024-03-02T00:00:00Z"), at("2024-03-01T00:00:00Z")
    assert counted(*events, state=State.DUPLICATE) == 0
    assert counted(*events, state=State.DELIVERED) == 1


def test_memory_is_bounded_and_it_says_so() -> None:
    """Beyond so many customers it looks only at those that it knows."""
    book = OlderUpdates(max_customers=1)
    assert counted(at("2024-03-02T00:00:00Z"), book=book) == 0
    assert (book.count, book.capped) == (0, False)
    late = [at(f"2024-03-0{day}T00:00:00Z", userId=user) for day, user in [(2, "u2"), (1, "u2"), (1, "u1")]]
    assert counted(*late, book=book) == 1
    assert (book.count, book.capped) == (1, True)
