"""When an event happened: an event in, an aware datetime in UTC or None out. Junk never raises."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from voucherify_sync.model import Json

TIME_FIELDS = ("timestamp", "originalTimestamp", "receivedAt", "sentAt")
"""Of an event, those that may tell when it happened; the first of them that does counts."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_MILLISECONDS = 100_000_000_000  # as seconds this is the year 5138, as milliseconds 1973
_DATE_DIGITS = 8  # 20240131 is a date, longer runs of digits are epoch times


def event_time(event: Json) -> datetime | None:
    """Return the event's time in UTC, from the first of Segment's four fields that holds one.

    ISO-8601 with or without offset (UTC then), dates alone, and epoch seconds or milliseconds are understood.
    """
    for field in TIME_FIELDS:
        value = event.get(field)
        if value is not None:
            time = _time(value)
            if time is not None:
                return time
    return None


def _time(value: object) -> datetime | None:
    try:
        if isinstance(value, str):
            return _from_text(value.strip())
        if isinstance(value, int | float) and not isinstance(value, bool):
            return _from_epoch(value)
    except (ValueError, OverflowError):
        pass
    return None


def _from_text(text: str) -> datetime:
    if text.isdecimal() and len(text) != _DATE_DIGITS:
        return _from_epoch(int(text))
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        return time.replace(tzinfo=UTC)
    return time.astimezone(UTC)


def _from_epoch(value: float) -> datetime:
    if abs(value) >= _FIRST_MILLISECONDS:
        return _EPOCH + timedelta(milliseconds=value)
    return _EPOCH + timedelta(seconds=value)
