"""Replays that are killed at any moment: nothing is lost, nothing doubled, nothing out of order."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from kill_loop import Plan, run_loop
from support.evidence import Record, count_disordered


def test_twenty_kills_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    """SIGKILL at random times, about 15 % of the requests faulted; in doubt is at most one event a worker and kill."""
    figures = run_loop(Plan(kills=20, seed=3, spread_s=0.15, records=250, customers=50), tmp_path)
    assert figures.broken == []
    assert figures.kills >= 20
    assert figures.found["delivered"] > 0


def test_a_terminated_run_leaves_nothing_in_doubt_but_lost_answers(tmp_path: Path) -> None:
    """SIGTERM at random times: each run drains, reports, and keeps the law; the next one goes on."""
    plan = Plan(kills=5, seed=4, spread_s=0.2, records=200, customers=40, signal=signal.SIGTERM)
    figures = run_loop(plan, tmp_path)
    assert figures.broken == []
    assert figures.found["interrupted"] == 0


def test_the_loop_would_notice_a_doubled_event(tmp_path: Path) -> None:
    """With --on-doubt resend events are sent again on a guess, and some had arrived."""
    plan = Plan(kills=1, seed=5, spread_s=0.3, records=100, customers=40, on_doubt="resend")
    assert [text for text in run_loop(plan, tmp_path).broken if text.startswith("doubled")]


@pytest.mark.parametrize(
    ("processed", "disordered"),
    [("a1 b1 a2 a3", 0), ("a1 a2 a1 a3", 0), ("a1 a3", 0), ("a2 b1 a1 a3", 1), ("a3 a2 a1", 2)],
    ids=["in order", "repeated", "with a gap", "exchanged", "backwards"],
)
def test_the_evidence_tells_what_is_out_of_order(processed: str, disordered: int) -> None:
    """The first time counts, and only among those of one customer."""
    records = [Record("track", name, name[0]) for name in ("a1", "a2", "b1", "a3")]
    assert count_disordered(records, processed.split()) == disordered
