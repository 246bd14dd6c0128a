"""Tell when an event happened: read times as archives write them, and hold a wrong clock against `receivedAt`.

A time without an offset is UTC. What is no time of the calendar is not read: the next field counts. Text is read by one
grammar; what is quicker for the spelling of Segment reads nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from voucherify_sync.events import Event
from voucherify_sync.findings import FUTURE_TIME, UNREAD_TIME, WRONG_CLOCK
from voucherify_sync.text import text_of

TIME_FIELDS: Final = ("timestamp", "originalTimestamp", "receivedAt", "sentAt")
"""Of an event, those that may tell when it happened; the first of them that does counts."""

MAX_CLOCK_LEAD: Final = timedelta(minutes=1)
"""By how much a time may be later than the `receivedAt` of its event; beyond, the clock of the device is wrong."""

LATEST: Final = datetime.now(UTC) + timedelta(days=1)
"""A later time lies in the future. The day is for clocks and zones that are a little off, and for a long run."""

_LATEST_TEXT: Final = LATEST.strftime("%Y-%m-%dT%H:%M:%S.000Z")
_BY_CLOCK_OF_DEVICE: Final = TIME_FIELDS[:2]
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_MILLISECONDS: Final = 100_000_000_000  # as seconds this is the year 5138, as milliseconds 1973
_MAX_LENGTH: Final = 100
"""Characters of a time; the longest ones end with the name of a zone."""

# The spelling of Segment, 2024-11-05T10:15:30.000Z, and those near to it, which Python reads as they are meant.
_is_common = re.compile(
    r"\d{4}-\d\d-\d\d[T ](?:[01]\d|2[0-3]):\d\d:\d\d(?:\.\d+)?(?:Z|[-+]\d\d(?::?[0-5]\d)?)?", re.ASCII
).fullmatch
_SEGMENT_LENGTH: Final = 24
_ISO: Final = re.compile(
    r"""(?P<year>\d{4})
    (?: (?P<dash>-?) (?P<month>\d\d) (?P=dash) (?P<day>\d\d)
      | (?P<hyphen>-?) W (?P<week>\d\d) (?: (?P=hyphen) (?P<weekday>\d) )?
      | -? (?P<ordinal>\d{3}) )
    (?: [Tt ] (?P<hour>\d\d)
        (?: (?P<colon>:?) (?P<minute>\d\d) (?: (?P=colon) (?P<second>\d\d) (?: [.,] (?P<fraction>\d+) )? )? )?
        (?: [ ]? (?: Z | UTC | GMT
                   | (?P<sign>[-+\u2212]) (?P<hours>\d\d) (?: :? (?P<minutes>\d\d) )? (?: [ ](?:UTC|GMT) )? ) )?
        (?: \[ [^]]* \] )*  # the name of the zone, as in 2024-03-02T01:00+01:00[Europe/Paris]
    )?""",
    re.VERBOSE | re.IGNORECASE,
)
_COMPACT: Final = re.compile(r"(\d{8})(\d{6})?")
"""Digits that are a date, or a date and a time: as an epoch time they would lie before 1973 or after 2286."""
_NUMBER: Final = re.compile(r"[-+]?\d+(?:\.\d+)?")
_RFC_2822: Final = re.compile(
    r"""((?: (?:mon|tue|wed|thu|fri|sat|sun),?[ ]+ )?
    \d{1,2}[ ]+ (?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[ ]+ \d{4}[ ]+ \d\d:\d\d(?::\d\d)?
    (?: [ ]+ (?: [-+]\d{4} | Z | UTC? | GMT | [ECMP][SD]T ) )? )
    (?: [ ]* \( [^()]* \) )?""",
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)

Find = Callable[[str, object, str], None]
"""Counts a finding: its code, the position, and what was found there."""


def set_time(event: Event, find: Find) -> None:
    """Set when an event happened, and which time it tells; count what cannot be read, or is later than it can be.

    Null and a blank text are no time, and nothing to be told.

    Args:
        event: gets its `time` and `told_time`.
        find: called once at most for each of the three findings.
    """
    fields = event.fields
    received = fields.get("receivedAt")
    event.time = event.told_time = _usual_time(fields.get(TIME_FIELDS[0]), received)
    if event.time is not None:
        return
    time, unread, name = None, "", ""
    for name in TIME_FIELDS:
        value = fields.get(name)
        if value is None:
            continue
        time = parse_time(value)
        if time is not None:
            break
        if not unread and not (type(value) is str and not value.strip()):
            unread = _shown(name, value)
    if unread:
        find(UNREAD_TIME, event.position, unread)
    event.time = event.told_time = time
    if time is None:
        return
    received_at = parse_time(received) if received is not None and name in _BY_CLOCK_OF_DEVICE else None
    if received_at is not None and time > received_at and time - received_at > MAX_CLOCK_LEAD:
        find(WRONG_CLOCK, event.position, _shown(name, fields[name]))
        event.time = time = received_at
    if time > LATEST:
        find(FUTURE_TIME, event.position, _shown(name, fields[name]))


def _usual_time(told: Any, received: Any) -> datetime | None:
    """Return the time of an event as nearly all are: written by Segment, past, and received at that time or later.

    In one spelling and in UTC, texts compare as their times do.
    """
    if (
        type(told) is str
        and len(told) == _SEGMENT_LENGTH
        and told[7] == "-"
        and told[10] == "T"
        and told[13] == ":"
        and told[23] == "Z"
        and told[11:13] != "24"
        and told < _LATEST_TEXT
        and told.isascii()
        and (received is None or (type(received) is str and received >= told and _is_comparable(received)))
    ):
        try:
            return datetime.fromisoformat(told)
        except ValueError:
            pass
    return None


def _is_comparable(text: str) -> bool:
    """Tell whether a text, if it is a time at all, is one of UTC that begins with its date as Segment writes it."""
    return len(text) == _SEGMENT_LENGTH and text[7] == "-" and text[10] == "T" and text[23] == "Z"


def parse_time(value: object) -> datetime | None:
    """Return a time in UTC, None for what is none: a text, or a number of seconds or milliseconds since 1970.

    Microseconds and nanoseconds are not read: a number of as many digits may be anything.
    """
    try:
        if isinstance(value, str):
            if len(value) > _MAX_LENGTH:
                return None
            if _is_common(value):
                time = datetime.fromisoformat(value)
                return time if time.tzinfo is UTC else _utc(time)
            return _time_of_text(value.strip())
        if isinstance(value, int | float) and not isinstance(value, bool):
            return _time_of_number(value)
    except (ValueError, OverflowError):
        pass
    return None


def _utc(time: datetime) -> datetime:
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _time_of_text(text: str) -> datetime | None:
    if compact := _COMPACT.fullmatch(text):
        text = "T".join(filter(None, compact.groups()))
    elif _NUMBER.fullmatch(text):
        return _time_of_number(float(text) if "." in text else int(text))
    if iso := _ISO.fullmatch(text):
        return _time_of_iso(iso)
    if rfc := _RFC_2822.fullmatch(text):
        from email.utils import parsedate_to_datetime  # of no use to most runs, and slow to import

        return _utc(parsedate_to_datetime(rfc[1]))
    return None


def _time_of_iso(iso: re.Match[str]) -> datetime:
    """Return the time of a match; int reads the digits of every script. Raises ValueError and OverflowError."""
    year = int(iso["year"])
    if iso["month"]:
        day = date(year, int(iso["month"]), int(iso["day"]))
    elif iso["week"]:
        day = date.fromisocalendar(year, int(iso["week"]), int(iso["weekday"] or 1))
    else:
        day = date(year, 1, 1) + timedelta(days=int(iso["ordinal"]) - 1)
        if day.year != year:
            raise ValueError(f"the year {year} has no day {iso['ordinal']}")
    hour, minute, second = int(iso["hour"] or 0), int(iso["minute"] or 0), int(iso["second"] or 0)
    if hour > 23:  # Python reads 24:00 or does not, depending on its version
        raise ValueError("no day has an hour 24")
    microsecond = int(iso["fraction"][:6].ljust(6, "0")) if iso["fraction"] else 0
    time = datetime(day.year, day.month, day.day, hour, minute, second, microsecond, UTC)
    if not iso["sign"]:
        return time
    hours, minutes = int(iso["hours"]), int(iso["minutes"] or 0)
    if hours > 23 or minutes > 59:
        raise ValueError("an offset is less than a day")
    offset = timedelta(hours=hours, minutes=minutes)
    return time - offset if iso["sign"] == "+" else time + offset


def _time_of_number(value: float) -> datetime:
    is_milliseconds = abs(value) >= _FIRST_MILLISECONDS
    return _EPOCH + (timedelta(milliseconds=value) if is_milliseconds else timedelta(seconds=value))


def _shown(name: str, value: object) -> str:
    text = text_of(value)
    return name if text is None else f"{name}: {text}"
