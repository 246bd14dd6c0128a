"""Options that are given as text: types of events, lengths of time, times that count back from now."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voucherify_sync.run.options import parse_duration_s, parse_moment, parse_type

NOW = datetime(2025, 3, 31, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize("text", ["track", "Track", " TRACK "])
def test_a_type_is_read_as_that_of_an_event(text: str) -> None:
    """Neither case nor blanks around it matter."""
    assert parse_type(text) == "track"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("identfy", "'identfy' is no type of event; did you mean identify?"),
        ("tracks", "'tracks' is no type of event; did you mean track?"),
        (
            "Order Completed",
            "'Order Completed' is no type of event; write identify, track, page, screen or group",
        ),
        ("", "'' is no type of event; write identify, track, page, screen or group"),
        ("pages", "'pages' is no type of event; did you mean page?"),
        ("Alias", "alias events are not sent to Voucherify; write identify, track, page, screen or group"),
    ],
)
def test_a_type_that_selects_nothing_is_refused(text: str, said: str) -> None:
    """A slip gets a suggestion, and a type of Segment's that is not sent gets the reason."""
    with pytest.raises(ValueError) as raised:
        parse_type(text)
    assert str(raised.value) == said


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("0.05s", 0.05),
        ("30m", 1_800),
        ("30min", 1_800),
        ("8h", 28_800),
        ("1h30m", 5_400),
        ("1h 30min", 5_400),
        ("30d", 2_592_000),
        ("2w", 1_209_600),
    ],
)
def test_a_duration_is_read(text: str, seconds: float) -> None:
    """`m` is a minute, as in other command lines."""
    assert parse_duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "8", "h", "8 hours", "6mo", "1y", "6M", "-8h", "8h!", "h8"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    """A month has no fixed length, so it is no unit."""
    with pytest.raises(ValueError, match="is no duration; write 90s, 30min, 8h or 1h30m"):
        parse_duration_s(text)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("30d", datetime(2025, 3, 1, 12, 0, tzinfo=UTC)),
        ("12h", datetime(2025, 3, 31, 0, 0, tzinfo=UTC)),
        ("2w", datetime(2025, 3, 17, 12, 0, tzinfo=UTC)),
        ("90m", datetime(2025, 3, 31, 10, 30, tzinfo=UTC)),
        ("2025-03-01T12:00:00Z", datetime(2025, 3, 1, 12, 0, tzinfo=UTC)),
        ("2025-03-01T12:00:00+02:00", datetime(2025, 3, 1, 10, 0, tzinfo=UTC)),
        ("2025-03-01", datetime(2025, 3, 1, tzinfo=UTC)),
        ("2025-03-01 12:00:00 UTC", datetime(2025, 3, 1, 12, 0, tzinfo=UTC)),
        ("Sat, 01 Mar 2025 12:00:00 GMT", datetime(2025, 3, 1, 12, 0, tzinfo=UTC)),
        ("1740830400", datetime(2025, 3, 1, 12, 0, tzinfo=UTC)),
    ],
)
def test_a_moment_is_a_date_or_counts_back(text: str, moment: datetime) -> None:
    """From the time that is passed in."""
    assert parse_moment(text, NOW) == moment


@pytest.mark.parametrize(
    "text",
    [
        "yesterday",
        "30",
        "2025",
        "2025-02-30",
        "2025-03-01T24:00:00Z",
        "6mo",
        "30d ago",
        "999999999999d",
        "99999w" * 40,
    ],
)
def test_what_is_no_moment_is_refused(text: str) -> None:
    """The message shows both ways to write one; what is older than the calendar is none."""
    with pytest.raises(
        ValueError, match="is no time; write 2025-03-01, 2025-03-01T12:00:00Z, or 30d for 30 days ago"
    ):
        parse_moment(text, NOW)


@given(st.lists(st.tuples(st.integers(0, 99), st.sampled_from("smhdw")), min_size=1, max_size=5))
def test_the_parts_of_a_duration_add_up(parts: list[tuple[int, str]]) -> None:
    """And a moment lies as far back as the duration is long."""
    texts = [f"{number}{unit}" for number, unit in parts]
    total = sum(map(parse_duration_s, texts))
    assert parse_duration_s("".join(texts)) == total
    assert NOW - parse_moment("".join(texts), NOW) == timedelta(seconds=total)
