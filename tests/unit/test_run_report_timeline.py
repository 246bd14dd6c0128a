"""How many records arrived when: by time of the run, in memory that does not grow."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voucherify_sync.events import BadRecord, Position
from voucherify_sync.outcomes import Outcome, State
from voucherify_sync.report.run_report import Timeline

FIRST_WIDTH_S, MAX_BUCKETS = Timeline.FIRST_WIDTH_S, Timeline.MAX_BUCKETS
FULL_S = FIRST_WIDTH_S * MAX_BUCKETS
RECORD = BadRecord(Position("a.ndjson", 1), b"")


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def timeline_of(*moments: tuple[float, State]) -> dict[str, object]:
    """Book records that end at these seconds of a run."""
    clock = Clock()
    timeline = Timeline(clock)
    for at_s, state in moments:
        clock.now = 1_000.0 + at_s
        timeline.add([Outcome(RECORD, state)])
    found: dict[str, object] = msgspec.to_builtins(timeline.report())
    return found


def test_a_run_without_requests_has_an_empty_timeline() -> None:
    """The shape stays, whatever was counted."""
    assert timeline_of() == {"bucket_s": FIRST_WIDTH_S, "delivered": [], "failed": [], "in_doubt": []}


def test_records_are_counted_in_the_bucket_in_which_they_end() -> None:
    """All states have lists of one length, as long as something was counted."""
    found = timeline_of(
        (0.0, State.DELIVERED), (0.1, State.DELIVERED), (0.6, State.FAILED), (1.0, State.IN_DOUBT)
    )
    assert found["delivered"] == [2, 0, 0, 0, 0]
    assert found["failed"] == [0, 0, 1, 0, 0]
    assert found["in_doubt"] == [0, 0, 0, 0, 1]


@pytest.mark.parametrize(
    "state", [State.SKIPPED, State.DUPLICATE, State.INVALID, State.PLANNED, State.PENDING]
)
def test_what_was_not_sent_is_not_counted(state: State) -> None:
    """The timeline tells how requests ended."""
    assert timeline_of((0.0, state))["delivered"] == []


def test_a_longer_run_gets_wider_buckets() -> None:
    """When the buckets are used up, each two become one."""
    found = timeline_of(
        *((at * FIRST_WIDTH_S, State.DELIVERED) for at in range(MAX_BUCKETS)), (FULL_S, State.FAILED)
    )
    assert found["bucket_s"] == 2 * FIRST_WIDTH_S
    assert found["delivered"] == [2] * (MAX_BUCKETS // 2) + [0]
    assert found["failed"] == [0] * (MAX_BUCKETS // 2) + [1]


def test_a_pause_of_days_is_survived() -> None:
    """A bucket widens as often as it takes."""
    found = timeline_of((0.0, State.DELIVERED), (30 * 86_400.0, State.DELIVERED))
    delivered = found["delivered"]
    assert isinstance(delivered, list)
    assert len(delivered) <= MAX_BUCKETS
    assert delivered[0] == delivered[-1] == 1


@given(st.lists(st.tuples(st.floats(0, 1e7), st.sampled_from(State)), max_size=60))
def test_nothing_is_lost_and_nothing_grows(moments: list[tuple[float, State]]) -> None:
    """However long a run takes: every record is in one bucket, and there are at most MAX_BUCKETS."""
    found = timeline_of(*sorted(moments))
    for state in (State.DELIVERED, State.FAILED, State.IN_DOUBT):
        counts = found[str(state)]
        assert isinstance(counts, list)
        assert sum(counts) == sum(one is state for _, one in moments)
        assert len(counts) <= MAX_BUCKETS
