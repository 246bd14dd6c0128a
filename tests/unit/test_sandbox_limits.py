"""The limits of the sandbox, on a clock of their own."""

from __future__ import annotations

import pytest

from voucherify_sync.errors import UsageProblem
from voucherify_sync.sandbox.limits import (
    API_CALLS,
    API_CALLS_CYCLE,
    BULK_API_CALLS,
    CYCLE_S,
    CallLimits,
    CallWindow,
)
from voucherify_sync.sandbox.options import SandboxOptions

NOW = 1_000_000.25


@pytest.mark.parametrize(
    ("text", "calls", "period_s"),
    [
        pytest.param("100/min", 100, 60, id="a minute"),
        pytest.param("2000/h", 2000, 3600, id="an hour"),
        pytest.param("5/s", 5, 1, id="a second"),
        pytest.param("100/2s", 100, 2, id="scaled"),
        pytest.param("1 / 0.5 s", 1, 0.5, id="blanks and fractions"),
        pytest.param("3/minute", 3, 60, id="long unit"),
    ],
)
def test_a_limit_is_calls_over_a_period(text: str, calls: int, period_s: float) -> None:
    """Periods may be scaled, so that tests need not wait a minute."""
    window = CallWindow.parse(text)
    assert (window.max_calls, window.period_s) == (calls, period_s)


@pytest.mark.parametrize("text", ["", "100", "100/", "0/min", "5/0s", "-1/s", "ten/min", "5/day", "1e3/s"])
def test_a_limit_written_otherwise_is_refused_with_an_example(text: str) -> None:
    """The message shows how it is written."""
    with pytest.raises(UsageProblem, match="100/min"):
        CallWindow.parse(text)


def told(limits: CallLimits, bucket: str, now: float) -> dict[str, str]:
    """Make a call and return its headers."""
    return dict(limits.take(bucket, now)[1])


def test_every_call_is_told_limit_remaining_and_the_end_of_the_window() -> None:
    """Limit, Remaining and Retry (epoch seconds, rounded up) come with every answer; Retry-After does not."""
    limits = CallLimits(SandboxOptions(limit="3/60s"))
    assert told(limits, API_CALLS, NOW) == {
        "X-Rate-Limit-Limit": "3",
        "X-Rate-Limit-Remaining": "2",
        "X-Rate-Limit-Retry": "1000061",
    }
    assert told(limits, API_CALLS, NOW + 30)["X-Rate-Limit-Retry"] == "1000061"


def test_a_call_over_the_limit_is_told_when_to_come_back() -> None:
    """Retry-After (seconds, at least 1) and the type come only when a limit is hit."""
    limits = CallLimits(SandboxOptions(limit="1/60s"))
    limits.take(API_CALLS, NOW)
    exceeded, headers = limits.take(API_CALLS, NOW + 10)
    assert exceeded == API_CALLS
    assert dict(headers) == {
        "X-Rate-Limit-Limit": "1",
        "X-Rate-Limit-Remaining": "0",
        "X-Rate-Limit-Retry": "1000061",
        "Retry-After": "51",
        "X-Rate-Limit-Type": "api_calls",
    }


def test_a_fixed_window_frees_all_its_calls_at_once() -> None:
    """It begins with the first call after the last window ended."""
    limits = CallLimits(SandboxOptions(limit="2/10s"))
    allowed = [limits.take(API_CALLS, NOW + after)[0] is None for after in (0, 9, 9.5, 10, 11, 12, 20)]
    assert allowed == [True, True, False, True, True, False, True]


def test_a_sliding_window_frees_one_call_after_the_other() -> None:
    """A call counts for exactly one period."""
    limits = CallLimits(SandboxOptions(limit="2/10s", window="sliding"))
    allowed = [limits.take(API_CALLS, NOW + after)[0] is None for after in (0, 9, 9.5, 10, 11, 19)]
    assert allowed == [True, True, False, True, False, True]


def test_a_rejected_call_takes_nothing() -> None:
    """A storm against a full window does not make it longer."""
    limits = CallLimits(SandboxOptions(limit="1/10s", window="sliding"))
    limits.take(API_CALLS, NOW)
    for after in range(1, 10):
        assert limits.take(API_CALLS, NOW + after)[0] == API_CALLS
    assert limits.take(API_CALLS, NOW + 10)[0] is None


def test_bulk_calls_have_a_bucket_of_their_own_and_no_cycle() -> None:
    """Bulk calls count by the bulk limit only."""
    limits = CallLimits(SandboxOptions(limit="1/60s", bulk_limit="2/3600s", cycle_limit=1))
    assert limits.take(API_CALLS, NOW)[0] is None
    assert limits.take(BULK_API_CALLS, NOW)[0] is None
    assert limits.take(BULK_API_CALLS, NOW)[0] is None
    assert limits.take(BULK_API_CALLS, NOW)[0] == BULK_API_CALLS


def test_a_used_up_cycle_blocks_to_its_end() -> None:
    """However many windows pass, the type is api_calls_cycle and Retry-After reaches to the end of the cycle."""
    limits = CallLimits(SandboxOptions(limit="10/60s", cycle_limit=2))
    for after in (0, 100):
        assert limits.take(API_CALLS, NOW + after)[0] is None
    exceeded, headers = limits.take(API_CALLS, NOW + 200)
    assert exceeded == API_CALLS_CYCLE
    assert int(dict(headers)["Retry-After"]) == pytest.approx(CYCLE_S - 200, abs=2)


def test_a_call_that_the_window_forbids_does_not_count_in_the_cycle() -> None:
    """Rejected calls take nothing from any limit."""
    limits = CallLimits(SandboxOptions(limit="1/10s", cycle_limit=2))
    verdicts = [limits.take(API_CALLS, NOW + after)[0] for after in (0, 1, 2, 10)]
    assert verdicts == [None, API_CALLS, API_CALLS, None]


def test_without_limits_nothing_is_told() -> None:
    """No limit, no header."""
    assert CallLimits(SandboxOptions()).take(API_CALLS, NOW) == (None, ())
