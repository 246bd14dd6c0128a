"""Tell when an event happened, and hold a wrong clock against `receivedAt`.

A field that holds no time of the calendar is passed over: the next one counts. What is quicker for the spelling of
Segment reads nothing that `parse_time` reads otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from voucherify_sync.events import Event
from voucherify_sync.findings import FUTURE_TIME, UNREAD_TIME, WRONG_CLOCK
from voucherify_sync.text import text_of
from voucherify_sync.timestamps import parse_time

TIME_FIELDS: Final = ("timestamp", "originalTimestamp", "receivedAt", "sentAt")
"""Of an event, those that may tell when it happened; the first of them that does counts."""

MAX_CLOCK_LEAD: Final = timedelta(minutes=1)
"""By how much a time may be later than the `receivedAt` of its event; beyond, the clock of the device is wrong."""

LATEST: Final = datetime.now(UTC) + timedelta(days=1)
"""A later time lies in the future. The day is for clocks and zones that are a little off, and for a long run."""

_LATEST_TEXT: Final = LATEST.strftime("%Y-%m-%dT%H:%M:%S.000Z")
_BY_CLOCK_OF_DEVICE: Final = TIME_FIELDS[:2]
_SEGMENT_LENGTH: Final = 24

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


def _shown(name: str, value: object) -> str:
    text = text_of(value)
    return name if text is None else f"{name}: {text}"
