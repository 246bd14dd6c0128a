"""How much of a limit the limiter uses, and how little of it is refused: fixed and sliding windows, other clients."""

from __future__ import annotations

import threading
import time

import pytest
from support.simulated_quota import Api, SilentApi, World
from support.waiting import HANG_S, wait_until

from voucherify_sync.exit_codes import ExitCode
from voucherify_sync.stop import Stop
from voucherify_sync.voucherify.rate_limit import Limiter

LIMITS = [(100, 60.0, 20), (600, 60.0, 8), (2000, 60.0, 4), (100, 3600.0, 25)]


@pytest.mark.parametrize("sliding", [False, True], ids=["fixed window", "sliding window"])
@pytest.mark.parametrize("workers", [8, 32])
@pytest.mark.parametrize(("limit", "period_s", "windows"), LIMITS, ids=lambda v: str(v))
def test_what_the_reserve_leaves_is_used_and_nothing_is_throttled(
    limit: int, period_s: float, windows: int, workers: int, sliding: bool
) -> None:
    """At least 95 % of what the reserve leaves is used, without one 429, though the period is never told."""
    api = Api(limit, period_s, sliding, phase_s=0.3 * period_s)
    world = World(api, workers, latency_s=0.05)
    world.run(windows * period_s)
    assert api.accepted["we"] >= 0.95 * 0.9 * limit * windows
    assert api.refused["we"] == 0
    learnt = world.limiter.window
    assert (learnt.limit, learnt.period_s) == (limit, period_s)
    assert world.limiter.calls_per_s() == pytest.approx(0.9 * limit / period_s)


@pytest.mark.parametrize("sliding", [False, True], ids=["fixed window", "sliding window"])
@pytest.mark.parametrize("expected_s", [60.0, 3600.0])
@pytest.mark.parametrize(("limit", "period_s", "windows"), LIMITS[::3], ids=lambda v: str(v))
def test_a_period_that_a_probe_found_and_that_is_wrong_by_now_does_no_harm(
    limit: int, period_s: float, windows: int, expected_s: float, sliding: bool
) -> None:
    """As much is used, and the share of others is left to them: the calls of a window show what holds."""
    api = Api(limit, period_s, sliding, phase_s=0.3 * period_s)
    world = World(api, 8, latency_s=0.05)
    world.limiter.window.expect(limit, expected_s)
    world.run(windows * period_s)
    assert api.accepted["we"] >= 0.95 * 0.9 * limit * windows
    assert api.refused["we"] == 0
    assert api.most_of_ours() <= 0.9 * limit
    assert world.limiter.window.period_s == period_s


def test_without_a_reserve_the_whole_limit_is_used_and_nothing_is_throttled() -> None:
    """At Remaining 0 the server says when the window ends."""
    api = Api(600, 60.0, sliding=False, phase_s=20.0)
    World(api, 32, latency_s=0.05, reserve=0).run(600.0)
    assert api.accepted["we"] >= 0.99 * 600 * 10
    assert api.refused["we"] == 0


@pytest.mark.parametrize("sliding", [False, True], ids=["fixed window", "sliding window"])
@pytest.mark.parametrize("workers", [8, 32])
@pytest.mark.parametrize(("limit", "period_s", "windows"), LIMITS, ids=lambda v: str(v))
def test_another_client_that_eats_a_third_neither_starves_nor_throttles_us(
    limit: int, period_s: float, windows: int, workers: int, sliding: bool
) -> None:
    """What others use is seen in Remaining: together we use the limit, and hardly a call is refused."""
    api = Api(limit, period_s, sliding, phase_s=0.3 * period_s)
    world = World(api, workers, latency_s=0.05)
    world.others(limit / 3 / period_s)
    world.run(windows * period_s)
    assert api.accepted["we"] + api.accepted["they"] >= 0.95 * 0.9 * limit * windows
    assert api.accepted["we"] >= 0.95 * (0.9 - 1 / 3) * limit * windows
    assert api.refused["we"] <= max(5, 0.001 * api.accepted["we"])


WINDOWS = {
    "opens with a call": (False, None),
    "turns at once": (False, 0.97),
    "turns early": (False, 0.8),
    "turns late": (False, 0.05),
    "slides": (True, 0.0),
}


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("reserve", [0.1, 0.3])
@pytest.mark.parametrize(
    ("limit", "period_s"), [(20, 60.0), (100, 60.0), (600, 60.0), (100, 3600.0), (1000, 3600.0)]
)
@pytest.mark.parametrize(
    ("workers", "latency_s", "lost", "bare"),
    [
        (1, 0.02, 0.0, 0.0),
        (8, 0.05, 0.0, 0.0),
        (32, 0.05, 0.0, 0.0),
        (8, 0.05, 0.1, 0.0),
        (8, 0.05, 0.0, 0.02),
    ],
    ids=["1 worker", "8 workers", "32 workers", "lost answers", "429s of a proxy"],
)
def test_the_reserve_stays_free_from_the_first_window_on(
    window: str,
    reserve: float,
    limit: int,
    period_s: float,
    workers: int,
    latency_s: float,
    lost: float,
    bare: float,
) -> None:
    """No window holds more calls of ours than the reserve leaves, though its length is never told."""
    sliding, phase = WINDOWS[window]
    api = Api(limit, period_s, sliding, None if phase is None else phase * period_s)
    World(api, workers, latency_s, lost=lost, bare=bare, reserve=reserve).run(7 * period_s)
    assert api.most_of_ours() <= limit - int(limit * reserve)
    assert api.refused["we"] == 0


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize(("limit", "period_s"), [(100, 60.0), (600, 60.0), (100, 3600.0)])
def test_the_reserve_stays_free_beside_another_client(window: str, limit: int, period_s: float) -> None:
    """What the other takes of the reserve is its own; we do not take from it to learn the period."""
    sliding, phase = WINDOWS[window]
    api = Api(limit, period_s, sliding, None if phase is None else phase * period_s)
    world = World(api, 16, latency_s=0.05)
    world.others(limit / 3 / period_s)
    world.run(8 * period_s)
    assert api.most_of_ours() <= 0.9 * limit


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize(("limit", "period_s"), [(100, 60.0), (600, 60.0), (100, 3600.0)])
@pytest.mark.parametrize("stopped_after_s", [1, 20])
def test_two_runs_in_one_window_leave_the_reserve_free(
    window: str, limit: int, period_s: float, stopped_after_s: int
) -> None:
    """The second one knows nothing of the first; what is used already counts as its own."""
    sliding, phase = WINDOWS[window]
    api = Api(limit, period_s, sliding, None if phase is None else phase * period_s)
    World(api, 16, latency_s=0.05).run(stopped_after_s)
    World(api, 16, latency_s=0.05, began_at=stopped_after_s + 0.5).run(4 * period_s)
    assert api.most_of_ours() <= 0.9 * limit


def test_all_that_the_reserve_leaves_is_used_once_the_period_is_known() -> None:
    """What is held back to learn the period is used, too, when it is known."""
    api = Api(100, 60.0, sliding=False, phase_s=21.0)
    World(api, 16, latency_s=0.05).run(2400.0)
    assert max(api.in_window.values()) == 90
    assert list(api.in_window.values()).count(90) > 30


@pytest.mark.parametrize("names_time", [False, True], ids=["without Retry-After", "with Retry-After"])
@pytest.mark.parametrize(
    ("limit", "period_s", "used"), [(10, 1.0, 0.5), (60, 60.0, 0.9), (2000, 60.0, 0.9), (100, 3600.0, 0.9)]
)
def test_an_api_that_tells_no_limit_is_used_nevertheless(
    limit: int, period_s: float, used: float, names_time: bool
) -> None:
    """The pace halves and doubles around what is allowed; no call waits for a window that nobody told of."""
    api = SilentApi(limit, period_s, 0.3 * period_s, names_time=names_time)
    World(api, 8, latency_s=0.05).run(max(20 * period_s, 600.0))
    accepted, refused = api.accepted["we"], api.refused["we"]
    assert accepted >= used * limit * max(20, 600 / period_s)
    # While it is refused it backs off to one call a minute, or comes back when it was told to.
    assert refused <= 0.1 * accepted + (0 if names_time else 70 * period_s / 60 + 100)


def test_a_limit_that_shrinks_in_mid_run_costs_no_refusals_to_speak_of() -> None:
    """The newest headers count, whatever was learnt before."""
    api = Api(1000, 60.0, sliding=False, phase_s=12.0)
    world = World(api, 32, latency_s=0.05)
    world.run(600.0)
    before = api.accepted["we"]
    api.limit = 200
    world.run(1200.0)
    assert 0.95 * 180 * 10 <= api.accepted["we"] - before <= 200 * 10 + 200
    assert api.refused["we"] <= 1


def test_threads_on_the_real_clock_use_the_limit_and_are_not_refused() -> None:
    """The simulation holds for real threads, too."""
    api, lock = Api(100, 0.5, sliding=False, phase_s=0.2), threading.Lock()
    stop = Stop()
    limiter = Limiter(stop=stop, minute_s=0.5, hour_s=30.0)
    start = time.monotonic()

    def work() -> None:
        while permit := limiter.acquire():
            time.sleep(0.005)
            with lock:
                status, headers = api.call("we", time.monotonic() - start)
            time.sleep(0.005)
            limiter.answered(permit, status, headers)

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    wait_until(lambda: api.accepted["we"] >= 200)
    stop.by_signal(ExitCode.INTERRUPTED)
    for thread in threads:
        thread.join(HANG_S)
    assert api.refused["we"] <= 1
