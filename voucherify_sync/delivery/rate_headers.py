"""Reads what the headers of an answer say about limits and waits, and keeps the server's clock.

The one place that reads Retry-After, the X-Rate-Limit headers and Date. What is missing or makes no sense is None;
nothing is raised.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache

from msgspec import Struct

LONGEST_WAIT_S = 3600.0
"""A server that asks for more gets one call after this time. No limit of the API has a longer period, save the billing
cycle, which stops the run."""
SHORTEST_WAIT_S = 1.0

_SLOWEST_ANSWER_S = 180.0
"""The longest deadline of a call: the Date of an answer is no older."""


class RateHeaders(Struct, frozen=True):
    """The rate-limit headers of one answer; None is a header that is missing or unreadable.

    Attributes:
        limit: X-Rate-Limit-Limit: calls in a period, at least 1. The period itself is never sent.
        remaining: X-Rate-Limit-Remaining: calls left in it.
        next_at: X-Rate-Limit-Retry: epoch seconds of the next allowed call; meaningful when nothing remains.
        retry_after_s: Retry-After, seconds or an HTTP date, as seconds between 1 and 3600.
        type: X-Rate-Limit-Type: which limit was hit, on a 429.
        date: Date, in epoch seconds.
    """

    limit: int | None = None
    remaining: int | None = None
    next_at: float | None = None
    retry_after_s: float | None = None
    type: str | None = None
    date: float | None = None

    @property
    def tells_limit(self) -> bool:
        """Whether there is any X-Rate-Limit header that can be read."""
        return any(value is not None for value in (self.limit, self.remaining, self.next_at, self.type))


def read_rate_headers(headers: Mapping[str, str]) -> RateHeaders:
    """Read what an answer says about limits, leniently."""
    low = {name.lower(): value for name, value in headers.items()}
    limit = _count(low.get("x-rate-limit-limit"))
    date = http_date(low.get("date"))
    return RateHeaders(
        limit=limit or None,
        remaining=_count(low.get("x-rate-limit-remaining")),
        next_at=_number(low.get("x-rate-limit-retry")),
        retry_after_s=_retry_after(low.get("retry-after"), date),
        type=low.get("x-rate-limit-type", "").strip().lower() or None,
        date=date,
    )


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _count(text: str | None) -> int | None:
    number = _number(text)
    return None if number is None or number < 0 else int(number)


@lru_cache(maxsize=16)  # most answers share their second with the one before
def http_date(text: str | None) -> float | None:
    """Read an HTTP date in epoch seconds. It is always in GMT, whether it says so or not (RFC 9110, 5.6.7)."""
    try:
        moment = parsedate_to_datetime(text or "")
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def _retry_after(text: str | None, date: float | None) -> float | None:
    """Read Retry-After: seconds, or a date that is held against the answer's own Date, never the local clock."""
    try:
        seconds = float(text or "")
    except ValueError:
        moment = http_date(text)
        if moment is None or date is None:
            return None
        seconds = moment - date
    return None if math.isnan(seconds) else min(max(seconds, SHORTEST_WAIT_S), LONGEST_WAIT_S)


class ServerClock:
    """The server's time on our monotonic clock, so that a wrong or stepping local clock changes no wait.

    A Date header is cut to whole seconds and was on its way for a while: it is never too late, and the largest
    distance seen is the nearest to the truth. A Date that is older than any answer can be is of a clock that was set
    back, or of another server behind the same name: then it counts, as what that answer says is by its own clock.
    """

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._ahead_s: float | None = None

    def saw(self, date: float | None, now: float) -> None:
        """Take in the Date of an answer that came at `now` on the monotonic clock."""
        if date is None:
            return
        ahead_s = date - now
        if self._ahead_s is None or not self._ahead_s - _SLOWEST_ANSWER_S <= ahead_s <= self._ahead_s:
            self._ahead_s = ahead_s

    def monotonic(self, epoch_s: float, now: float) -> float:
        """Tell when that server time is on the monotonic clock; without any Date, the local clock must do."""
        ahead_s = self._wall() - now if self._ahead_s is None else self._ahead_s
        return epoch_s - ahead_s
