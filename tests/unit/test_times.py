"""Times: when an event happened, in UTC, from the first field that tells it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.segment_events import identify

from voucherify_sync import timestamps
from voucherify_sync.events import Event
from voucherify_sync.findings import FUTURE_TIME, UNREAD_TIME, WRONG_CLOCK
from voucherify_sync.mapping import times
from voucherify_sync.mapping.times import TIME_FIELDS, set_time
from voucherify_sync.timestamps import parse_time

NOON = datetime(2024, 2, 29, 12, tzinfo=UTC)
MIDNIGHT = NOON.replace(hour=0)


def in_digits(zero: str, text: str) -> str:
    """Return a text with the digits of another script, by its zero."""
    return "".join(chr(ord(zero) + int(char)) if char.isdecimal() else char for char in text)


def timed(**fields: Any) -> tuple[Event, list[tuple[str, str]]]:
    """Return an event with its time set, and the findings."""
    event, found = identify(**fields), []
    set_time(event, lambda code, _position, text: found.append((code, text)))
    return event, found


@pytest.mark.parametrize(
    ("value", "time"),
    [
        pytest.param("2024-02-29T12:00:00Z", NOON, id="Z"),
        pytest.param("2024-02-29T12:00:00.000Z", NOON, id="milliseconds"),
        pytest.param("2024-02-29T12:00:00.5Z", NOON.replace(microsecond=500_000), id="tenths"),
        pytest.param("2024-02-29T12:00:00,5Z", NOON.replace(microsecond=500_000), id="a comma"),
        pytest.param("2024-02-29T12:00:00.123456789Z", NOON.replace(microsecond=123_456), id="nanoseconds"),
        pytest.param("2024-02-29T17:30:00+05:30", NOON, id="offset"),
        pytest.param("2024-02-29T07:00:00-0500", NOON, id="offset without colon"),
        pytest.param("2024-02-29 07:00:00.000000-05", NOON, id="offset of hours, as of a database"),
        pytest.param("2024-02-29T07:00:00\u221205:00", NOON, id="a minus sign"),
        pytest.param("2024-02-29t12:00:00.000z", NOON, id="small letters"),
        pytest.param("2024-02-29T12:00:00", NOON, id="no offset is UTC"),
        pytest.param("2024-02-29T12:00Z", NOON, id="no seconds"),
        pytest.param("2024-02-29T12Z", NOON, id="an hour"),
        pytest.param("2024-02-29 12:00:00", NOON, id="a space for the T"),
        pytest.param("2024-02-29 12:00:00 UTC", NOON, id="UTC"),
        pytest.param("2024-02-29 12:00:00.000 gmt", NOON, id="GMT"),
        pytest.param("2024-02-29 14:00:00 +0200", NOON, id="a space before the offset"),
        pytest.param("2024-02-29 12:00:00 +0000 UTC", NOON, id="offset and zone"),
        pytest.param("2024-02-29T13:00:00+01:00[Europe/Paris]", NOON, id="the name of a zone"),
        pytest.param(" 2024-02-29T12:00:00Z\n", NOON, id="space around"),
        pytest.param("2024-02-29", MIDNIGHT, id="date"),
        pytest.param("20240229", MIDNIGHT, id="date without hyphens"),
        pytest.param("20240229T120000Z", NOON, id="basic format"),
        pytest.param("20240229T120000.5Z", NOON.replace(microsecond=500_000), id="basic format, tenths"),
        pytest.param("20240229120000", NOON, id="digits alone"),
        pytest.param("2024-060", MIDNIGHT, id="ordinal date"),
        pytest.param("2024-060T12:00:00Z", NOON, id="ordinal date and time"),
        pytest.param("2024-W09-4", MIDNIGHT, id="week date"),
        pytest.param("2024W094T12Z", NOON, id="week date, basic format"),
        pytest.param("2024-W09", NOON.replace(day=26, hour=0), id="week"),
        pytest.param(in_digits("\u0660", "2024-02-29T12:00:00.000Z"), NOON, id="Arabic digits"),
        pytest.param(in_digits("\u0966", "2024-02-29"), MIDNIGHT, id="Devanagari digits"),
        pytest.param(in_digits("\u0660", "1709208000"), NOON, id="epoch seconds in Arabic digits"),
        pytest.param("Thu, 29 Feb 2024 12:00:00 GMT", NOON, id="RFC 2822"),
        pytest.param("29 Feb 2024 13:00 +0100", NOON, id="RFC 2822, short"),
        pytest.param("Thu, 29 Feb 2024 07:00:00 EST", NOON, id="RFC 2822, old zone"),
        pytest.param("Thu, 29 Feb 2024 12:00:00 +0000 (UTC)", NOON, id="RFC 2822, comment"),
        pytest.param("Thu, 29 Feb 2024 12:00:00", NOON, id="RFC 2822, no zone"),
        pytest.param(1709208000, NOON, id="epoch seconds"),
        pytest.param(1709208000.5, NOON.replace(microsecond=500_000), id="epoch seconds with a fraction"),
        pytest.param(1709208000000, NOON, id="epoch milliseconds"),
        pytest.param("1709208000", NOON, id="epoch seconds as text"),
        pytest.param("1709208000.5", NOON.replace(microsecond=500_000), id="the same with a fraction"),
        pytest.param("1709208000000", NOON, id="epoch milliseconds as text"),
        pytest.param(-1, datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC), id="before the epoch"),
        pytest.param("-1", datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC), id="the same as text"),
    ],
)
def test_a_time_is_read_as_utc(value: Any, time: datetime) -> None:
    """ISO 8601, RFC 2822 and epoch numbers are understood; a time without offset is UTC."""
    found = parse_time(value)
    assert found == time
    assert found.tzinfo is UTC


NO_TIMES = [
    *("soon", "2015-2-02T00:30:08Z", "{{.TimeStamp}}", "2024-02", "2024-02-2912:00", "2024-0229", "12:00:00Z"),
    *("2024-02-30", "2024-02-30T00:00:00.000Z", "2024-13-01T00:00:00.000Z", "2024-00-01T00:00:00.000Z"),
    *("2024-02-29T24:00:00.000Z", "2024-02-29T24:00:00Z", "20240229T240000Z", "2024-02-29T12:60:00.000Z"),
    *("2024-02-29T12:00:60Z", "0000-01-01T00:00:00.000Z", "XXXX-XX-XXTXX:XX:XX.XXXZ", "2024-367T00Z", "2023-366"),
    *("2024-W54-1", "2024-W09-8", "2024-02-29T12:00:00+24:00", "2024-02-29T12:00:00+05:75", "2024-02-29-05:00"),
    *("0001-01-01T00:00:00+23:00", "2024-03-02T12:00:00.5 am+0400", "Thu, 30 Feb 2024 12:00:00 GMT", "20240230"),
    *("Thu, 29 Feb 2024 24:00:00 GMT", "Thu, 29 Feb 24 12:00:00 GMT", "29 Feb 2024", "29 Fev 2024 12:00:00"),
    *(True, [], {}, [1709208000], float("nan"), float("inf"), float("-inf"), 10**400, -(10**400), 1e300, 10**17),
    *(1_709_208_000_000_000, 1_709_208_000_000_000_000, "1709208000000000", "1" * 5_000, "1e9", "²²²", "NaN"),
    *("2024-02-29T12:00:00Z[" + "x" * 100, "\ufffd", "2024\ufffd02-29"),
]  # fmt: skip


@pytest.mark.parametrize("junk", NO_TIMES, ids=lambda junk: ascii(junk)[:40])
def test_junk_gives_way_to_the_next_field_and_is_told(junk: Any) -> None:
    """What is no time of the calendar is not read, whatever its shape: it counts as absent."""
    event, found = timed(timestamp=junk, receivedAt="2024-02-29T12:00:00Z")
    assert event.time == event.told_time == NOON
    assert [code for code, _ in found] == [UNREAD_TIME]
    assert found[0][1].startswith("timestamp")
    event, found = timed(timestamp=junk, sentAt=junk)
    assert (event.time, event.told_time, [code for code, _ in found]) == (None, None, [UNREAD_TIME])


@pytest.mark.parametrize("nothing", [None, "", " \n"], ids=repr)
def test_nothing_is_no_time_and_is_not_told(nothing: Any) -> None:
    """A blank text counts as absent, as everywhere."""
    event, found = timed(timestamp=nothing, receivedAt=nothing)
    assert (event.time, found) == (None, [])
    event, found = timed(timestamp=nothing, sentAt="2024-02-29T12:00:00Z")
    assert (event.time, found) == (NOON, [])


def test_the_fields_have_an_order() -> None:
    """Segment's timestamp is corrected for the clock of the device, so it comes first."""
    fields: dict[str, Any] = {}
    for year, name in zip(range(2004, 2000, -1), reversed(TIME_FIELDS), strict=True):
        fields[name] = f"{year}-01-01"
        assert timed(**fields)[0].time == datetime(year, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("fields", "is_wrong"),
    [
        pytest.param({"timestamp": "2031-01-01T00:00:00.000Z"}, True, id="timestamp"),
        pytest.param({"originalTimestamp": "Wed, 01 Jan 2031 00:00:00 GMT"}, True, id="originalTimestamp"),
        pytest.param({"timestamp": "2024-02-29T12:01:00.001Z"}, True, id="a minute and a bit"),
        pytest.param({"timestamp": "2024-02-29T12:01:00.000Z"}, False, id="a minute"),
        pytest.param({"timestamp": "2024-02-29T11:00:00.000Z"}, False, id="earlier"),
        pytest.param(
            {"sentAt": "2031-01-01T00:00:00.000Z"}, False, id="sentAt, which comes after receivedAt"
        ),
    ],
)
def test_no_event_happens_after_it_is_received(fields: dict[str, Any], is_wrong: bool) -> None:
    """A later time is that of a wrong clock: receivedAt counts, and the time as told is kept for the order."""
    event, found = timed(**fields, receivedAt="2024-02-29T12:00:00.000Z")
    assert [code for code, _ in found] == [WRONG_CLOCK] * is_wrong
    assert (event.time == NOON) is (is_wrong or "sentAt" in fields)
    if is_wrong:
        ((name, told),) = fields.items()
        assert event.told_time == parse_time(told)
        assert found[0][1] == f"{name}: {told}"
    else:
        assert event.told_time == event.time


def test_a_receipt_that_cannot_be_read_or_is_the_last_moment_corrects_nothing() -> None:
    """And no arithmetic on it overflows."""
    for received in ("soon", None, "9999-12-31T23:59:59.999Z"):
        event, found = timed(timestamp="2024-02-29T12:00:00.000Z", receivedAt=received)
        assert (event.time, found) == (NOON, [])


ODD_TIMES = (
    st.text()
    | st.integers()
    | st.floats()
    | st.none()
    | st.booleans()
    | st.datetimes().map(str)
    | st.from_regex(timestamps._ISO, fullmatch=True)
    | st.from_regex(r"[0-9X]{4}-[0-9W]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}[.,+][0-9]{3}Z", fullmatch=True)
)


@given(ODD_TIMES)
def test_no_value_raises(value: Any) -> None:
    """Archives hold anything for a time; none of it stops a run."""
    event, _ = timed(timestamp=value, receivedAt=value)
    assert event.time is None or event.time.tzinfo is UTC


@given(
    ODD_TIMES.filter(lambda value: isinstance(value, str))
    | st.text("0123456789-:.,TWZ+ ", min_size=24, max_size=24)
)
def test_the_quick_way_of_reading_reads_what_the_grammar_reads(text: str) -> None:
    """A text of the length that Segment writes is no exception; a line feed at the end takes the slow way."""
    assert parse_time(text) == parse_time(text + "\n")


@given(st.datetimes(), st.timedeltas(timedelta(hours=-14), timedelta(hours=14)))
def test_every_spelling_of_a_moment_is_that_moment(moment: datetime, offset: timedelta) -> None:
    """With an offset in minutes, in the formats of ISO 8601."""
    minutes = int(offset.total_seconds() // 60)
    try:
        local = moment + timedelta(minutes=minutes)
    except OverflowError:
        return
    sign, (hours, rest) = "-" if minutes < 0 else "+", divmod(abs(minutes), 60)
    zone = f"{sign}{hours:02}:{rest:02}"
    clock, day = local.time().isoformat("microseconds"), date(local.year, local.month, local.day)
    year, week, weekday = day.isocalendar()
    days = [day.isoformat(), f"{day.year:04}-{day.timetuple().tm_yday:03}", f"{year:04}-W{week:02}-{weekday}"]
    for text in days if 1 <= year <= 9999 else days[:2]:
        assert parse_time(f"{text}T{clock}{zone}") == moment.replace(tzinfo=UTC)
        assert parse_time(f"{text} {clock.replace('.', ',')}000{zone.replace(':', '')}") == moment.replace(
            tzinfo=UTC
        )
        plain = f"{text}T{clock}{zone}".replace(":", "")
        basic = plain[:-5].replace("-", "") + plain[-5:]
        assert parse_time(basic) == moment.replace(tzinfo=UTC)


@pytest.mark.parametrize("ahead", [timedelta(hours=2), timedelta(days=3)], ids=["off", "future"])
@pytest.mark.parametrize("spelling", ["%Y-%m-%dT%H:%M:%S.000Z", "%Y-%m-%dT%H:%M:%S+00:00"])
@pytest.mark.parametrize("name", ["timestamp", "sentAt"])
def test_a_time_in_the_future_is_found_and_kept(ahead: timedelta, spelling: str, name: str) -> None:
    """By it, the event is the newest of its customer: only its owner knows what is right."""
    time = (times.LATEST - timedelta(days=1) + ahead).replace(microsecond=0)
    event, found = timed(**{name: time.strftime(spelling)})
    assert event.time == time
    assert [code for code, _ in found] == [FUTURE_TIME] * (ahead > timedelta(days=1))


def test_a_wrong_clock_that_is_corrected_is_not_in_the_future() -> None:
    """The receivedAt is past."""
    event, found = timed(timestamp="2999-01-01T00:00:00.000Z", receivedAt="2024-02-29T12:00:00.000Z")
    assert event.time == NOON
    assert [code for code, _ in found] == [WRONG_CLOCK]
