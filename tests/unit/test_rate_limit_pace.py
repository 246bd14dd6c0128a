"""How fast calls go on after a 429 without rate headers: at half the pace, doubled with each window without another."""

from __future__ import annotations

from itertools import pairwise
from math import inf
from typing import Any

import pytest
from support.limits import Hand

from voucherify_sync.voucherify.rate_limit import Bucket


class Caller(Hand):
    """One worker that calls as soon as it may, and is answered after a hundredth of a second."""

    def __init__(self, **limiter: Any) -> None:
        super().__init__(**limiter)
        self.headers: dict[str, object] = {}

    def call(self, status: int = 200, bucket: Bucket = Bucket.API, **headers: object) -> float:
        """Wait until a call may go out, make it, and return when it went out."""
        while (waiting := self.wait(bucket)) is not None:
            assert waiting.until < inf
            self.now = max(waiting.until, self.now + 1e-6)
        sent_at = self.now
        self.now += 0.01
        self.answer("asks", status, **(headers if status == 429 else self.headers))
        return sent_at

    def calls_every(self, interval_s: float, count: int) -> None:
        """Make calls at a pace that the source of events sets."""
        for _ in range(count):
            began = self.call()
            self.now = began + interval_s

    def intervals_s(self, count: int) -> list[float]:
        """Make calls as fast as it goes; return the seconds between them."""
        return [later - sooner for sooner, later in pairwise([self.call() for _ in range(count + 1)])]


@pytest.fixture
def caller() -> Caller:
    """Return a worker at ten calls a second of an API that has never told a limit."""
    caller = Caller()
    caller.calls_every(0.1, 100)
    return caller


def test_calls_go_on_at_half_the_pace_after_the_wait(caller: Caller) -> None:
    """The wait is the server's; the first call after it goes alone."""
    began = caller.call(429, Retry_After=8)
    assert caller.call() - began == pytest.approx(8.01)
    assert caller.intervals_s(36) == [pytest.approx(0.2, rel=0.02)] * 36


def test_the_pace_doubles_with_each_window_without_a_429(caller: Caller) -> None:
    """Without a limit the window is the wait that the server asked for."""
    caller.call(429, Retry_After=8)
    resumed = caller.call()
    sent = [caller.call() for _ in range(4000)]

    def pace(since_s: float) -> int:
        return sum(resumed + since_s <= moment < resumed + since_s + 4 for moment in sent)

    assert [pace(since_s) for since_s in (2, 10, 18, 26)] == pytest.approx([20, 40, 80, 160], abs=2)


def test_another_429_halves_the_pace_again(caller: Caller) -> None:
    """Once for each that comes after a call was accepted."""
    for expected in (0.2, 0.4, 0.8):
        caller.call(429, Retry_After=30)
        caller.call()
        assert caller.intervals_s(10)[-1] == pytest.approx(expected, rel=0.05)
        assert caller.limiter.calls_per_s() == pytest.approx(1 / expected, rel=0.05)


def test_429s_in_a_row_are_one_piece_of_news(caller: Caller) -> None:
    """Calls that were under way, and single calls that try again too early, do not halve the pace further."""
    for who in "bcd":
        assert caller.send(who)
    for who in "bcd":
        caller.answer(who, 429, Retry_After=20)
    caller.call(429, Retry_After=20)
    caller.call()
    assert caller.intervals_s(10)[-1] == pytest.approx(0.2, rel=0.05)


def test_without_retry_after_the_backoff_is_the_wait_and_the_window(caller: Caller) -> None:
    """It grows while calls are refused: 1 s, 2 s, 4 s."""
    sent = [caller.call(429) for _ in range(3)]
    sent.append(caller.call())
    assert [later - sooner for sooner, later in pairwise(sent)] == pytest.approx([1.01, 2.01, 4.01])
    assert caller.intervals_s(16) == [pytest.approx(0.2, rel=0.02)] * 16


def test_a_window_lasts_for_one_call_at_least() -> None:
    """One in which none is due would prove nothing: at a call each 10 s the pace does not double within a second."""
    caller = Caller()
    caller.calls_every(10, 10)
    caller.call(429, Retry_After=1)
    assert caller.intervals_s(2) == pytest.approx([20, 10], rel=0.1)


def test_the_first_call_of_all_has_no_pace_to_halve() -> None:
    """The call after the wait goes alone; then calls go as they come."""
    caller = Caller()
    caller.call(429, Retry_After=5)
    caller.call()
    assert caller.intervals_s(1)[0] == pytest.approx(0.01, rel=0.02)


def test_the_window_is_that_of_the_api_where_it_is_learnt() -> None:
    """And what remains of it is not forgotten: the 429 did not speak of it."""
    caller = Caller()
    window = caller.limiter._windows[Bucket.API]
    caller.headers = {"X-Rate-Limit-Limit": 1000, "X-Rate-Limit-Remaining": 900}
    caller.calls_every(0.1, 50)
    window.period_s = 60.0
    caller.call(429, Retry_After=2)
    assert window.remaining == 900
    caller.call()
    assert caller.intervals_s(100)[-1] == pytest.approx(0.2, rel=0.05)


@pytest.mark.parametrize("header", ["Limit", "Remaining", "Retry", "Type"])
def test_a_429_with_a_rate_header_does_not_change_the_pace(caller: Caller, header: str) -> None:
    """It speaks of a window: calls wait for that, and go on as before."""
    caller.call(429, Retry_After=8, **{f"X-Rate-Limit-{header}": "api_calls" if header == "Type" else "1"})
    caller.call()
    caller.call()
    assert caller.intervals_s(2)[-1] == pytest.approx(0.01, rel=0.02)


def test_a_bulk_call_that_is_refused_without_headers_slows_both_down(caller: Caller) -> None:
    """Nobody knows which limit it was."""
    caller.calls_every(0.1, 20)
    caller.call(429, Bucket.BULK, Retry_After=8)
    assert caller.wait_s() == caller.wait_s(Bucket.BULK) == 8
    caller.call()
    assert caller.intervals_s(5)[-1] == pytest.approx(0.2, rel=0.05)
