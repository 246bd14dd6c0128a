"""The geometry of the chart of a run: true heights, round marks, nothing outside of the frame."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voucherify_sync.report.html import HEIGHT, chart
from voucherify_sync.report.run_report import TimelineReport

EVENING = datetime(2025, 3, 1, 20, 12, 7, tzinfo=UTC)
COUNTS = st.integers(0, 10**7)


def drawn(
    bucket_s: float, delivered: list[int], failed: list[int] | None = None, duration_s: float | None = None
) -> dict[str, Any]:
    """Lay out a chart that must exist."""
    nothing = [0] * len(delivered)
    timeline = TimelineReport(bucket_s, delivered, failed or nothing, nothing)
    found = chart(timeline, EVENING, duration_s or bucket_s * len(delivered))
    assert found is not None
    return found


@pytest.mark.parametrize(
    "timeline",
    [
        pytest.param(None, id="a-dry-run"),
        pytest.param(TimelineReport(0.25, [], [], []), id="no-requests"),
        pytest.param(TimelineReport(0.25, [9], [0], [0]), id="too-short"),
        pytest.param(TimelineReport(1.0, [0] * 9, [0] * 9, [0] * 9), id="all-zero"),
    ],
)
def test_where_there_is_nothing_to_tell_there_is_no_chart(timeline: TimelineReport | None) -> None:
    """Three bars are no course of events."""
    assert chart(timeline, EVENING, 1.0) is None


def test_bars_stand_on_the_line_and_failures_hang_from_it() -> None:
    """Both have one scale; the tallest fills the frame."""
    found = drawn(1.0, [60, 30, 0, 60], [0, 0, 30, 0])
    assert found["base"] == pytest.approx(HEIGHT * 2 / 3)
    assert [
        (slot["bars"][0]["state"], slot["bars"][0]["y"], slot["bars"][0]["height"]) for slot in found["slots"]
    ] == [
        ("delivered", 0.0, 120.0),
        ("delivered", 60.0, 60.0),
        ("failed", 120.0, 60.0),
        ("delivered", 0.0, 120.0),
    ]


def test_a_single_failure_among_thousands_can_be_seen() -> None:
    """A bar of a fraction of a pixel would hide what matters most."""
    found = drawn(1.0, [5_000] * 10, [0, 0, 1, *[0] * 7])
    assert found["slots"][2]["bars"][1]["height"] >= 2


def test_the_end_of_a_run_is_no_slump() -> None:
    """The last bucket is divided by the time that it really had, and its bar is as narrow."""
    found = drawn(8.0, [80, 80, 80, 60], duration_s=30.0)
    assert len({slot["bars"][0]["height"] for slot in found["slots"]}) == 1
    assert found["slots"][3]["width"] < found["slots"][2]["width"]


@pytest.mark.parametrize(
    ("counts", "unit", "levels"),
    [
        pytest.param([250, 100, 0, 250], "a second", ["0", "100", "200"], id="fast"),
        pytest.param([1, 1, 1, 1], "a minute", ["0", "20", "40", "60"], id="slow"),
    ],
)
def test_levels_are_round_numbers(counts: list[int], unit: str, levels: list[str]) -> None:
    """Per second where that makes a number, per minute where it would be a fraction."""
    found = drawn(1.0, counts)
    assert (found["unit"], [level["label"] for level in found["levels"]]) == (unit, levels)


@pytest.mark.parametrize(
    ("duration_s", "labels"),
    [
        pytest.param(2.0, ["0 s", "0.5 s", "1 s", "1.5 s", "2 s"], id="seconds"),
        pytest.param(90.0, ["0:00", "0:15", "0:30", "0:45", "1:00", "1:15", "1:30"], id="a-minute"),
        pytest.param(4 * 3_600.0, ["21:00", "22:00", "23:00", "02 Mar"], id="over-midnight"),
        pytest.param(3 * 86_400.0, ["02 Mar", "12:00", "03 Mar", "12:00", "04 Mar", "12:00"], id="days"),
    ],
)
def test_times_are_round_too(duration_s: float, labels: list[str]) -> None:
    """A short run counts from its start, a long one goes by the clock, in UTC."""
    assert [time["label"] for time in drawn(duration_s / 8, [1] * 8)["times"]] == labels


def test_each_slot_says_when_and_how_many() -> None:
    """Who points at a bar reads numbers."""
    assert drawn(1.0, [1_204, 0, 0, 1], [3, 0, 0, 0])["slots"][0]["label"] == "0 s: 1,204 delivered, 3 failed"
    assert drawn(900.0, [7, 0, 0, 1])["slots"][0]["label"] == "01 Mar 20:12:07: 7 delivered"


def test_who_cannot_see_it_is_told_what_it_shows() -> None:
    """The summary has the totals and the peak."""
    assert drawn(1.0, [20, 40, 20, 20], [0, 5, 0, 0])["summary"] == (
        "100 delivered, 5 failed in 4.0 s; at most 40 delivered a second"
    )


@given(
    st.lists(st.tuples(COUNTS, COUNTS, COUNTS), min_size=4, max_size=120).filter(
        lambda rows: any(map(any, rows))
    ),
    st.sampled_from([0.25, 1.0, 64.0, 65_536.0]),
    st.floats(0.05, 1.0),
)
def test_nothing_is_drawn_outside_of_the_frame(
    rows: list[tuple[int, int, int]], width_s: float, last: float
) -> None:
    """Whatever the counts: within 100 percent across, and a few pixels of what must be seen at least."""
    delivered, failed, in_doubt = (list(column) for column in zip(*rows, strict=True))
    timeline = TimelineReport(width_s, delivered, failed, in_doubt)
    found = chart(timeline, EVENING, width_s * (len(rows) - 1 + last))
    assert found is not None
    for slot in found["slots"]:
        assert 0 <= slot["x"] <= slot["x"] + slot["width"] <= 100.01
        assert all(bar["y"] >= -0.2 and bar["y"] + bar["height"] <= HEIGHT + 4.2 for bar in slot["bars"])
    assert len(found["times"]) <= 8
    assert 1 <= len(found["levels"]) <= 8
