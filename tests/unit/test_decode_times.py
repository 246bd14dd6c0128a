"""Times: an event's time in UTC, from the first field that holds one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voucherify_sync.sources.decode import event_time

NOON = datetime(2024, 2, 29, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "time"),
    [
        pytest.param("2024-02-29T12:00:00Z", NOON, id="Z"),
        pytest.param("2024-02-29T12:00:00.000Z", NOON, id="milliseconds"),
        pytest.param("2024-02-29T12:00:00.5Z", NOON.replace(microsecond=500_000), id="tenths"),
        pytest.param("2024-02-29T12:00:00.123456789Z", NOON.replace(microsecond=123_456), id="nanoseconds"),
        pytest.param("2024-02-29T17:30:00+05:30", NOON, id="offset"),
        pytest.param("2024-02-29T07:00:00-0500", NOON, id="offset without colon"),
        pytest.param("2024-02-29T12:00:00", NOON, id="no offset is UTC"),
        pytest.param("2024-02-29 12:00:00", NOON, id="a space for the T"),
        pytest.param(" 2024-02-29T12:00:00Z\n", NOON, id="space around"),
        pytest.param("2024-02-29", NOON.replace(hour=0), id="date"),
        pytest.param("20240229", NOON.replace(hour=0), id="date without hyphens"),
        pytest.param(1709208000, NOON, id="epoch seconds"),
        pytest.param(1709208000.5, NOON.replace(microsecond=500_000), id="epoch seconds with a fraction"),
        pytest.param(1709208000000, NOON, id="epoch milliseconds"),
        pytest.param("1709208000", NOON, id="epoch seconds as text"),
        pytest.param("1709208000000", NOON, id="epoch milliseconds as text"),
        pytest.param(-1, datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC), id="before the epoch"),
    ],
)
def test_a_time_is_read_as_utc(value: Any, time: datetime) -> None:
    """ISO-8601 and epoch numbers are understood; a time without offset is UTC."""
    found = event_time({"timestamp": value})
    assert found == time
    assert found.tzinfo is UTC


@pytest.mark.parametrize(
    "junk",
    ["", "soon", "2015-2-02T00:30:08Z", "{{.TimeStamp}}", True, None, [], {}, float("nan"), float("inf"), 10**400,
     10**17, "1" * 5000, "0001-01-01T00:00:00+23:00", "2024-02-30", "²²²"],
)  # fmt: skip
def test_junk_gives_way_to_the_next_field(junk: Any) -> None:
    """timestamp, else originalTimestamp, receivedAt, sentAt: the first one that is a time."""
    assert event_time({"timestamp": junk, "receivedAt": "2024-02-29T12:00:00Z"}) == NOON
    assert event_time({"timestamp": junk}) is None


def test_the_fields_have_an_order() -> None:
    """Segment's timestamp is corrected for clock skew, so it comes first."""
    names = ("sentAt", "receivedAt", "originalTimestamp", "timestamp")
    event: dict[str, Any] = {}
    for year, name in enumerate(names, 2001):
        event[name] = f"{year}-01-01"
        assert event_time(event) == datetime(year, 1, 1, tzinfo=UTC)


@given(st.text() | st.integers() | st.floats() | st.none() | st.datetimes().map(str))
def test_no_value_raises(value: Any) -> None:
    """Archives hold anything for a time; none of it stops a run."""
    event_time({"timestamp": value})
