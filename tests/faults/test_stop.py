"""Replays that are stopped in order, in every way and mode: nothing is lost, nothing doubled, nothing out of order."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from stop_loop import MODES, Plan, run_archive
from support.waiting import HANG_S

PLAN = Plan(
    seed=7,
    mode="each",
    on_doubt="verify",
    records=240,
    customers=40,
    spread_s=0.4,
    rate="150/s",
    outage=(20, 28),
    most_stops=6,
    stop_s=HANG_S,
)

SHORT = replace(PLAN, records=100, outage=(10, 16), most_stops=2)


@pytest.mark.parametrize("on_doubt", ["verify", "hold"])
def test_orderly_stops_lose_nothing_and_double_nothing(on_doubt: str) -> None:
    """Up to six stops each; a custom event that waits at a stop for its lost answer is in doubt afterwards.

    All modes run at the same time, because they wait more than they compute.
    """
    with ThreadPoolExecutor(len(MODES)) as pool:
        found = dict(
            zip(
                MODES,
                pool.map(lambda mode: run_archive(replace(PLAN, mode=mode, on_doubt=on_doubt)), MODES),
                strict=True,
            )
        )
    for mode, figures in found.items():
        assert figures.broken == [], mode
        assert figures.stops.total() >= 3, mode
        assert figures.found["delivered"] > 0, mode


def test_the_loop_would_notice_a_doubled_event() -> None:
    """With `resend` events are sent again on a guess, and some had arrived."""
    figures = run_archive(replace(SHORT, on_doubt="resend"))
    assert figures.found["doubled"] > 0
    assert figures.broken == []


def test_the_loop_would_notice_an_event_that_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that lets go, at a stop, of what it sent."""
    monkeypatch.setenv("FORGETS_WHAT_IT_SENT", "1")
    broken = run_archive(SHORT).broken
    assert any(text.startswith("doubled") for text in broken)
    assert any("was sent, waited for" in text for text in broken)
