"""How long calls take is told by the limits, from the first answer on."""

from __future__ import annotations

import pytest
from support.limits import Hand

from voucherify_sync.settings.types import Rate
from voucherify_sync.voucherify.rate_limit import HOUR_S, MINUTE_S, Limiter


def eta(limiter: Limiter, calls: int) -> tuple[float, float]:
    """Return what is told of a number of calls."""
    told = limiter.eta_s(calls)
    assert told is not None
    return told


def test_nothing_is_told_before_the_first_answer() -> None:
    """There is neither a limit nor a pace."""
    hand = Hand()
    assert hand.limiter.eta_s(100) is None
    assert hand.send("first")
    assert hand.limiter.eta_s(100) is None


def test_a_first_answer_tells_the_time_by_the_minute_and_by_the_hour() -> None:
    """The API tells a limit without its period; ten of a hundred are left to others."""
    hand = Hand()
    assert hand.send("first")
    hand.told("first", remaining=99)
    windows = 10  # 86 calls go out in this one: three are held back to test whether it is a minute
    assert eta(hand.limiter, 86 + 90 * windows) == pytest.approx(
        (windows * MINUTE_S, windows * HOUR_S), rel=0.01
    )


def test_what_is_left_of_a_window_takes_no_wait() -> None:
    """By the minute or by the hour makes no difference then."""
    hand = Hand()
    assert hand.send("first")
    hand.told("first", remaining=99)
    assert eta(hand.limiter, 80) == (0.0, 0.0)


def test_a_spent_hour_is_waited_out_for_the_next_call() -> None:
    """With 100 calls an hour: 90 calls, then the rest of the hour, then 90 more."""
    hand = Hand(reserve=0.0)
    assert hand.send("first")
    hand.answer("first", status=429, X_Rate_Limit_Limit=100, X_Rate_Limit_Remaining=0, Retry_After=1800)
    hand.now += 300
    assert eta(hand.limiter, 1) == (1500.0, 1500.0)  # a wait of more than a minute shows an hour
    hand = Hand()
    assert hand.send("first")
    hand.told("first", remaining=99)
    assert eta(hand.limiter, 87 + 1)[1] == pytest.approx(HOUR_S)


def test_a_rate_of_the_user_is_kept_evenly() -> None:
    """It is known before any answer; the slower one of rate and limit counts."""
    hand = Hand(rate=Rate(30, 60))
    assert eta(hand.limiter, 60) == (120.0, 120.0)
    assert hand.send("first")
    hand.told("first", remaining=99)
    assert eta(hand.limiter, 600)[0] == pytest.approx(1200, rel=0.1)
    assert eta(hand.limiter, 600)[1] > 6 * HOUR_S


def test_without_a_limit_the_pace_tells() -> None:
    """The calls of the last while, one every 0.2 s."""
    hand = Hand()
    for number in range(50):
        assert hand.send(number)
        hand.now += 0.2
        hand.answer(number)
    assert eta(hand.limiter, 300) == pytest.approx((60.0, 60.0))


def test_a_pause_is_added_and_does_not_count_as_a_slow_pace() -> None:
    """The server asked for it once; it says nothing of the calls that follow."""
    hand = Hand()
    for number in range(50):
        assert hand.send(number)
        hand.now += 0.2
        hand.answer(number)
    assert hand.send("failing")
    hand.now += 0.2
    hand.answer("failing", status=503, Retry_After=30)
    assert eta(hand.limiter, 300) == pytest.approx((90.0, 90.0))
