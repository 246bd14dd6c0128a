"""Gives permits for calls within the limits of the API and of the user, and learns from every answer.

The one place that reads Retry-After, the X-Rate-Limit headers and Date. What is missing or makes no sense is None;
nothing is raised. Times are seconds on the monotonic clock, unless they say otherwise.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import StrEnum
from functools import lru_cache
from math import ceil, inf

from msgspec import Struct

from voucherify_sync.errors import RunStopped
from voucherify_sync.settings.types import Rate
from voucherify_sync.stop import Stop
from voucherify_sync.text import counted

LONGEST_WAIT_S = 3600.0
"""A server that asks for more gets one call after this time. No limit of the API has a longer period, save the billing
cycle, which stops the run."""
SHORTEST_WAIT_S = 1.0

_SLOWEST_ANSWER_S = 180.0
"""The longest deadline of a call: the Date of an answer is no older."""

_BURST_S = 0.05
"""Calls that are due within this time may go out at once; sleeping is no finer than that under load."""
_MEASURED_CALLS = 256
_MEASURED_S = 60.0
_FREE_INTERVAL_S = 1e-4
"""A pace of more calls than that holds no call back."""
MINUTE_S, HOUR_S = 60.0, 3600.0
"""The windows that Voucherify documents."""
_LATE = 1.001
"""Clocks differ: a call just after the turn opens the window, one just before it is wasted or refused."""
_HEADER_ROUNDING_S = 2.0
"""X-Rate-Limit-Retry and Date are whole seconds: a moment computed from both may be this much too late."""
_LONGEST_BACKOFF_S = 60.0
_CALLS_HELD_BACK = 3
"""One for each test, and one for the first call of a run that follows in the same window and knows nothing of it."""
_TESTS = 2
"""Tests in a window before it is taken for an hour, once our own share is used up. A test that finds no room may have
come just after other clients had taken it, so one is not enough."""
_HITS_THAT_PROVE = 2
_MAX_ENDS = 100_000
_SLICE_S = 0.1
"""The longest sleep without asking whether the run stops."""


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


class Pace:
    """Calls at even intervals.

    Args:
        interval_s: seconds from one call to the next.
    """

    def __init__(self, interval_s: float) -> None:
        self.interval_s = interval_s
        self._due = -inf

    def next_at(self) -> float:
        """Return when the next call may go out, in monotonic seconds."""
        return self._due - self.interval_s * int(_BURST_S / self.interval_s)

    def sent(self, now: float) -> None:
        """Count a call that goes out now."""
        self._due = max(self._due, now) + self.interval_s


class SlowDown:
    """Half the pace after a 429 without rate headers, doubled again with each window that passes without one.

    Such a 429 comes from a proxy, or from a limit that the API does not tell. Which one is not guessed; what is known
    is how fast calls went before it (those of the last minute, bursts included) and how long the server kept them out.
    Without an earlier call there is no pace to halve.

    The window is the API's own, once its length is known, else the wait that came with the 429: it is the server's
    only word on how long it takes until it accepts calls again. A window in which no call is due proves nothing, so it
    lasts for one call at least. All 429s to calls that went out before the pause count once, and so do those to the
    single calls that try again after it.
    """

    def __init__(self) -> None:
        self._sent: deque[float] = deque(maxlen=_MEASURED_CALLS)
        self._pace: Pace | None = None
        self._window_s = 0.0
        self._doubles_at = inf

    @property
    def interval_s(self) -> float | None:
        """Seconds from one call to the next at present; None while calls are not slowed down."""
        return None if self._pace is None else self._pace.interval_s

    def next_at(self, now: float) -> float:
        """Return when the next call may go out."""
        while self._pace is not None and now >= self._doubles_at:
            self._pace.interval_s /= 2
            self._doubles_at += self._window_s
            if self._pace.interval_s < _FREE_INTERVAL_S:
                self._pace = None
        return -inf if self._pace is None else self._pace.next_at()

    def sent(self, now: float) -> None:
        """Count a call that goes out now."""
        self._sent.append(now)
        if self._pace is not None:
            self._pace.sent(now)

    def refused(self, now: float, resume_at: float, period_s: float | None, *, is_first: bool) -> None:
        """Slow down after a 429.

        Args:
            now: when it came.
            resume_at: when the next call may go out.
            period_s: length of the API's window, if it is known.
            is_first: a call was accepted since the last 429, so this one is about the present pace.
        """
        if is_first:
            recent = [sent_at for sent_at in self._sent if sent_at >= now - _MEASURED_S]
            measured_s = (now - recent[0]) / (len(recent) - 1) if len(recent) > 1 else 0.0
            interval_s = 2 * max(measured_s, self.interval_s or 0.0)
            self._pace = Pace(min(interval_s, LONGEST_WAIT_S)) if interval_s else None
            self._sent.clear()
        self._window_s = max(period_s or resume_at - now, self.interval_s or 0.0)
        self._doubles_at = resume_at + self._window_s


class Bucket(StrEnum):
    """Which of the API's limits a call counts against; the values are those of X-Rate-Limit-Type.

    No document tells in which of the two an import of orders counts. So it has a window of its own, which its answers
    fill with what either limit leaves, and a 429 to it holds it back with the calls of the limit that the 429 names.
    """

    API = "api_calls"
    BULK = "bulk_api_calls"
    IMPORT = "orders_import"


class CallWait(Struct, frozen=True):
    """Why a call has to wait.

    Attributes:
        reason: ``answer`` (to a call that must go alone), ``quota``, ``rate``, ``asked`` (by Voucherify), ``slowed``.
        until: monotonic seconds; infinite when it waits for an answer.
        detail: the limit, or the answer that asked.
    """

    reason: str
    until: float
    detail: str = ""


_FOR_AN_ANSWER = CallWait("answer", inf)


class Permit(Struct, frozen=True, eq=False):
    """Allows one call; given back when the call has ended.

    Attributes:
        bucket: what it counts against.
        sent_at: when the call goes out, as far as the limiter knows.
        is_due: nothing was left, and the window must have turned by now.
        tests: how many of our calls were older than a minute when this one went out to find out whether that brings
            room back; None for any other call.
    """

    bucket: Bucket
    sent_at: float
    is_due: bool = False
    tests: int | None = None


class RateWindow:
    """What one limit of the API leaves, as far as its answers tell.

    The first call goes alone, so that its answer tells the limit; so does the first call after a pause that the server
    asked for. Then calls go out while what remains, less what is under way, is more than the reserve. When that is
    spent, a single call goes out as soon as the window must have turned: at the time that the server named, or when
    the oldest of our calls is older than the window is long. By then a window that turns as a whole has turned, and
    one that slides has given at least that call back.

    **Minute or hour.** The API tells the limit and what remains, never the length. So it is taken for an hour until a
    call that goes out when a quarter of ours are older than a minute finds that room has come back. Two such calls in
    a row prove the minute: an hour cannot turn twice in a few minutes. A few calls of our own share are held back for
    these tests, so that the reserve stays free in either case. They are ordinary calls, so nothing is lost by them.

    It never counts on more than the server granted: an answer that is out of order, or says nothing, can lower the
    budget and not raise it.

    Args:
        reserve: share of the limit that is left to others.
        minute_s, hour_s: the two windows.

    Attributes:
        limit: calls a window, None until an answer reports it.
        remaining: calls left in the present window by the last word of the server; ours in flight may be among them.
        period_s: length of the window, None until it is known.
    """

    def __init__(self, reserve: float, minute_s: float = MINUTE_S, hour_s: float = HOUR_S) -> None:
        self.limit: int | None = None
        self.remaining: int | None = None
        self.period_s: float | None = None
        self.slow_down = SlowDown()
        self._reserve = reserve
        self._expected: tuple[int, float] | None = None
        self._minute_s, self._hour_s = minute_s, hour_s
        self._in_flight = 0
        self._alone = True
        self._heard_at = self._opened_at = self._missed_at = self._tested_at = -inf
        self._ends_at: float | None = None  # by the server's word
        self._paused_until = -inf
        self._paused_for = ""
        self._refusals = self._hits = self._tests_made = 0
        self._unaccounted_ends: deque[float] = (
            deque()
        )  # ends of calls that no word of what remains accounts for
        self._ends: deque[float] = deque(maxlen=_MAX_ENDS)  # ends of our calls that the API may still count

    def expect(self, limit: int, period_s: float) -> None:
        """Take a period for granted that a probe found, as soon as the server tells the limit that it found.

        A minute has to be proved by one test in place of two: a wrong one costs a call, not the share of others.
        """
        self._expected = limit, period_s

    def _take_limit(self, limit: int | None) -> None:
        if limit is None:
            return
        self.limit = limit
        expected, self._expected = self._expected, None
        if expected is not None and expected[0] == limit and self.period_s is None:
            self.period_s = expected[1]
            self._hits = _HITS_THAT_PROVE - 1 if self.period_s == self._minute_s else 0

    @property
    def usable(self) -> int | None:
        """Calls a window that the reserve leaves to us, at least one; None without a limit."""
        return None if self.limit is None else self.limit - self._kept

    @property
    def _kept(self) -> int:
        limit = self.limit or 1
        return min(int(limit * self._reserve), limit - 1)

    @property
    def _is_minute_proved(self) -> bool:
        return self._hits >= _HITS_THAT_PROVE

    @property
    def _left(self) -> float:
        """Calls that remain above the reserve."""
        if self.remaining is None:
            return inf
        return self.remaining - self._in_flight - len(self._unaccounted_ends) - self._kept

    @property
    def _held_back(self) -> int:
        # Without a reserve a call that comes too early is refused and takes nothing, so nothing is held back for it.
        has_tests = self._kept and not self._is_minute_proved
        return min(_CALLS_HELD_BACK, (self.usable or 0) // 2) if has_tests else 0

    @property
    def _is_spent(self) -> bool:
        return self._left <= self._held_back

    def next_wait(self, now: float) -> CallWait | None:
        """Tell what a call has to wait for; None when it may go out now."""
        if now < self._paused_until:
            return CallWait("asked", self._paused_until, self._paused_for)
        if self._alone and self._in_flight:
            return _FOR_AN_ANSWER
        next_at = self.slow_down.next_at(now)
        if now < next_at:
            return CallWait("slowed", next_at)
        if not self._is_spent:
            return None
        if self._in_flight:  # its answer brings a newer word
            return _FOR_AN_ANSWER
        chance_at, _ = self._next_chance(now)
        return CallWait("quota", chance_at, self._limit_in_words) if now < chance_at else None

    @property
    def _limit_in_words(self) -> str:
        period = {self._minute_s: "a minute", self._hour_s: "an hour"}.get(self.period_s or 0.0)
        return f"{counted(self.usable or 0, 'call')} {period or 'a minute or an hour'}"

    def eta_s(self, calls: float, now: float, calls_per_s: float) -> tuple[float, float]:
        """Estimate how long a number of calls takes from now on, by windows of a minute and of an hour."""
        if self.period_s is not None:
            return (self._seconds_for(calls, now, calls_per_s, self.period_s),) * 2
        by_minute = self._seconds_for(calls, now, calls_per_s, self._minute_s)
        return by_minute, self._seconds_for(calls, now, calls_per_s, self._hour_s)

    def _seconds_for(self, calls: float, now: float, calls_per_s: float, period_s: float) -> float:
        """Estimate how long a number of calls takes from now on by windows of this length.

        What is left of the window goes out at once, then that of the next ones, as soon as each is open.

        Args:
            calls: how many.
            now: the time.
            calls_per_s: how fast they go while nothing holds them back; may be infinite.
            period_s: length of a window.
        """
        pause_s = max(self._paused_until - now, 0.0)
        left = max(self._left - self._held_back, 0.0)
        if self.usable is None or calls <= left:
            return pause_s + calls / calls_per_s
        opens_at = self._ends_at or (self._ends[0] if self._ends else now) + period_s
        later = ceil(calls - left)
        windows = (later - 1) // self.usable
        return (
            max(pause_s + left / calls_per_s, opens_at - now)
            + windows * max(period_s, self.usable / calls_per_s)
            + (later - windows * self.usable) / calls_per_s
        )

    def _next_chance(self, now: float) -> tuple[float, bool]:
        """Return when a single call is worth sending although nothing is left, and whether it tests the minute."""
        # Where others took what came back, the next try is a little later.
        missed_at = self._missed_at if self._ends else self._heard_at
        due, is_test = missed_at + self._minute_s / 16, False
        if self._ends and self._is_minute_proved:
            due = max(due, self._ends[0] + self._minute_s * _LATE)
        elif self._ends:
            # Calls that are as old as this may be given back by an hour that slides; then they prove no minute.
            is_young = now < self._ends[0] + self._hour_s / 2
            has_own = not self._kept or len(self._ends) < (self.usable or 0)
            if is_young and has_own and (self._left > 0 or self._tests_made < _TESTS):
                is_test, since = True, max(self._ends[len(self._ends) // 4], self._tested_at)
                due = max(due, since + self._minute_s * _LATE)
            else:
                due = max(due, self._ends[0] + self._hour_s * _LATE)
        if self._ends_at is not None and not self._ends_at - _HEADER_ROUNDING_S <= due <= self._ends_at:
            return self._ends_at, False
        return due, is_test

    def send(self, bucket: Bucket, now: float) -> Permit:
        """Count a call that goes out now."""
        permit = Permit(bucket, now)
        if self._is_spent:
            _, is_test = self._next_chance(now)
            permit = Permit(bucket, now, not is_test, len(self._ends) // 4 if is_test else None)
            if is_test:
                self._tests_made, self._tested_at = self._tests_made + 1, now
            elif self._ends:
                self._ends.popleft()  # it has paid for this call
        self._in_flight += 1
        self.slow_down.sent(now)
        return permit

    def ended(self, now: float) -> None:
        """Count a call that is over, answered or not; `learn`, `learn_nothing` or `learn_of_refusal` must follow."""
        self._in_flight -= 1
        # The API counted it by now, and counts it for a window from now on at most.
        self._ends.append(now)

    def learn_nothing(self, permit: Permit, now: float) -> None:
        """Learn that a call brought no word of what remains: it counts as used until a later one does."""
        if self.remaining is None:
            return
        self._unaccounted_ends.append(now)
        if permit.is_due or permit.tests is not None:
            self._missed_at = now

    def learn(
        self, permit: Permit, now: float, limit: int | None, remaining: int | None, ends_at: float | None
    ) -> None:
        """Learn from an answer that is no 429.

        Args:
            permit: of the call that was answered.
            now: when.
            limit: calls in a window, if it says so.
            remaining: calls left, if it says so.
            ends_at: when the server allows the next call; it counts only where nothing remains.
        """
        if permit.sent_at >= self._paused_until:
            self._alone, self._refusals = False, 0
        self._take_limit(limit)
        if remaining is None and permit.is_due:
            # The window has turned, and the answer does not tell what remains: know as little as at the start.
            self._alone = True
            self.remaining = self._ends_at = None
            self._unaccounted_ends.clear()
        # An answer to a call that is older than the one that opened this window may speak of the last window.
        if remaining is None or permit.sent_at < self._opened_at:
            self.learn_nothing(permit, now)
            return
        self.limit = max(self.limit or 1, remaining) if limit is None else limit
        remaining = min(remaining, self.limit)
        before = self.remaining
        if before is None or (remaining >= before and permit.sent_at >= self._heard_at):
            self._take_rise(permit, now, remaining)
        elif remaining < before:
            self._take_remaining(permit, now, remaining)
            self._learn_of_miss(permit, now)
        if remaining == 0 and ends_at is not None and ends_at > now:
            self._ends_at = ends_at
            self._learn_from(ends_at, now)

    def _take_rise(self, permit: Permit, now: float, remaining: int) -> None:
        before, limit = self.remaining, self.limit or 1
        has_turned = (
            before is None or remaining - before > limit // 4 or remaining + self._in_flight >= limit - 1
        )
        # Under a sliding window others take some of what comes back, so half of what is expected is enough.
        if permit.tests is not None and (
            has_turned or remaining + 1 - (before or 0) >= max(2, permit.tests // 2)
        ):
            self._hits += 1
            self.period_s = self._minute_s
            self._tests_made, self._tested_at = 0, -inf
        if has_turned:
            self._opened_at = permit.sent_at
            self._tests_made, self._tested_at = 0, -inf
        self._take_remaining(permit, now, remaining)
        self._ends_at = None

    def _learn_of_miss(self, permit: Permit, now: float) -> None:
        """Learn that a call that should have found room found none."""
        if permit.is_due:
            self._missed_at = now
        elif permit.tests is not None:
            self._hits, self.period_s = 0, self._hour_s

    def _take_remaining(self, permit: Permit, now: float, remaining: int) -> None:
        """Take a word of what remains.

        It accounts for all calls that ended before its call went out. Of those under way meanwhile it accounts for each
        that has brought a word of its own: a lower one would have been taken in its place.
        """
        self.remaining, self._heard_at = remaining, now
        while self._unaccounted_ends and self._unaccounted_ends[0] <= permit.sent_at:
            self._unaccounted_ends.popleft()
        # How long answers take makes it uncertain which calls of a window ago the server still counted.
        since = max(self._opened_at, 2 * now - permit.sent_at - (self.period_s or inf))
        used = (self.limit or 1) - remaining + len(self._unaccounted_ends)
        while self._ends and (self._ends[0] < since or len(self._ends) > used):
            self._ends.popleft()

    def _learn_from(self, end: float, now: float) -> None:
        """Learn from a moment that the server named as the end of its window, unless it was cut to an hour."""
        if now + self._minute_s + _HEADER_ROUNDING_S < end < now + LONGEST_WAIT_S:
            self._hits, self.period_s = 0, self._hour_s

    def pause(self, until: float, answer: str) -> None:
        """Let nothing go out before `until`, as an answer asks, and then one call alone."""
        if until >= self._paused_until:
            self._paused_until, self._paused_for = until, answer
        self._alone = True

    def learn_of_refusal(
        self,
        permit: Permit | None,
        now: float,
        until: float | None,
        *,
        tells_limit: bool,
        limit: int | None = None,
    ) -> None:
        """Learn of a 429: nothing goes out before `until`, or a growing while where the server names no time.

        Args:
            permit: of the call that was refused; None if it counts under another limit, and this one is hit as well.
            now: when.
            until: when the server allows the next call, if it says so.
            tells_limit: the answer has rate headers, so it speaks of this window. Without them it may be about another
                limit: what remains stays as it was, and calls go on at half their pace.
            limit: calls in a window, if it says so.
        """
        is_first = not self._refusals and (permit is None or permit.sent_at >= self._paused_until)
        if now >= self._paused_until:
            self._refusals += 1
        resume_at = until
        if resume_at is None:
            resume_at = now + min(2.0 ** min(self._refusals - 1, 6), _LONGEST_BACKOFF_S)
        if tells_limit:
            if permit is not None:
                self.limit = limit or self.limit
                self._learn_of_miss(permit, now)
            if until is not None:
                self._learn_from(until, now)
            self.remaining, self._heard_at, self._ends_at = 0, now, resume_at
            self._unaccounted_ends.clear()
        else:
            if permit is not None:
                self.learn_nothing(permit, now)
            self.slow_down.refused(now, resume_at, self.period_s, is_first=is_first)
        self.pause(resume_at, "HTTP 429")


class Limiter:
    """Permits for calls, within the API's limits and the user's, shared by all threads.

    It sends nothing, and the local wall clock decides nothing as long as answers carry a Date.

    Attributes:
        calls: made, or about to be.
        throttled: answers that were a 429.
    """

    def __init__(
        self,
        *,
        stop: Stop,
        rate: Rate | None = None,
        reserve: float = 0.1,
        max_calls: int | None = None,
        minute_s: float = MINUTE_S,
        hour_s: float = HOUR_S,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.calls = 0
        self.throttled = 0
        self._stop = stop
        self._rate = Pace(rate.period_s / rate.calls) if rate else None
        self._rate_in_words = str(rate)
        self._max_calls = max_calls
        self._clock = clock
        self._wall = wall
        self._ahead_s: float | None = None  # how far the server's time is ahead of the monotonic clock
        self._windows = {bucket: RateWindow(reserve, minute_s, hour_s) for bucket in Bucket}
        self._out: dict[
            Permit, float
        ] = {}  # when the calls that have no answer yet were sent, the oldest first
        self._changed = threading.Condition(threading.Lock())
        self._sleepers = 0
        self._waiting: CallWait | None = None
        self._held_since: float | None = None
        self._held_s = 0.0
        # When the last calls ended, by a clock that stands still while limits hold calls back.
        self._ends: deque[float] = deque(maxlen=_MEASURED_CALLS)

    def acquire(self, bucket: Bucket = Bucket.API) -> Permit | None:
        """Block until one call may go out; None when the run is stopping.

        The permit must be given back to `answered`, `unanswered` or `unused`.
        """
        with self._changed:
            while not self._stop.requested:
                permit = self._try_acquire(bucket)
                if isinstance(permit, Permit):
                    return permit
                if not self._stop.requested:
                    self._waiting = permit
                    if self._held_since is None and permit.until < inf:
                        self._held_since = self._clock()
                    self._sleepers += 1
                    try:
                        self._changed.wait(min(max(permit.until - self._clock(), 0.0), _SLICE_S))
                    finally:
                        self._sleepers -= 1
        return None

    def sent(self, permit: Permit) -> None:
        """Count a call that goes out now: its answer is awaited."""
        with self._changed:
            self._out[permit] = self._clock()

    def answered(self, permit: Permit, status: int, headers: Mapping[str, str]) -> None:
        """Take in an answer of whatever status. A missing header says nothing; it is never taken for 0.

        Where the server asks for a wait, by a 429 or with a failure of its own (5xx), no call goes out until it is
        over, after an hour at most; then one call tries again.
        """
        said = read_rate_headers(headers)
        with self._changed:
            now = self._clock()
            if said.date is not None:
                # A Date is cut to whole seconds and was on its way for a while: it is never too late, and the largest
                # distance seen is the nearest to the truth. One that is older than any answer can be is of a clock that
                # was set back, or of another server behind the same name: what that answer says is by its own clock.
                ahead_s = said.date - now
                if self._ahead_s is None or not self._ahead_s - _SLOWEST_ANSWER_S <= ahead_s <= self._ahead_s:
                    self._ahead_s = ahead_s
            self._end(permit, now)
            next_at = self._allowed_at(said, now)
            if status == 429:
                self.throttled += 1
                until = None if next_at is None else max(next_at, now + SHORTEST_WAIT_S)
                # The bulk limit says nothing about ordinary calls; any other limit holds for all.
                is_bulk = said.type == Bucket.BULK
                buckets = (
                    {Bucket.BULK, permit.bucket} - {Bucket.API} if is_bulk else {Bucket.API, permit.bucket}
                )
                for bucket in buckets:
                    refused = permit if bucket == permit.bucket else None
                    self._windows[bucket].learn_of_refusal(
                        refused, now, until, tells_limit=said.tells_limit, limit=said.limit
                    )
            else:
                self._windows[permit.bucket].learn(permit, now, said.limit, said.remaining, next_at)
            if status >= 500 and said.retry_after_s is not None:
                for window in self._windows.values():  # it speaks of the server, not of a limit
                    window.pause(now + said.retry_after_s, f"HTTP {status}")
            self._changed.notify()

    def unanswered(self, permit: Permit) -> None:
        """Take in that a call ended without an answer: it counts as made until the next answer tells."""
        with self._changed:
            now = self._clock()
            self._end(permit, now)
            self._windows[permit.bucket].learn_nothing(permit, now)
            self._changed.notify()

    def unused(self, permit: Permit) -> None:
        """Take a permit back for which no call was made; the window counts it until the next answer tells."""
        self.unanswered(permit)
        with self._changed:
            self.calls -= 1

    def waiting(self) -> CallWait | None:
        """Tell what all calls are waiting for at present, None while they flow."""
        with self._changed:
            waiting = self._waiting if self._sleepers else None
            return None if waiting is None or waiting.until == inf else waiting

    def unanswered_s(self) -> float | None:
        """Tell for how many seconds the oldest call in flight has had no answer; None where none is in flight."""
        with self._changed:
            sent_at = next(iter(self._out.values()), None)
            return None if sent_at is None else self._clock() - sent_at

    @property
    def in_flight(self) -> int:
        """Calls that are sent and not answered yet."""
        return len(self._out)

    def server_now(self) -> float:
        """Return Voucherify's time in epoch seconds, by the Date of its answers; without any, by the local clock."""
        return self._wall() if self._ahead_s is None else self._clock() + self._ahead_s

    @property
    def window(self) -> RateWindow:
        """What is known of the limit of ordinary calls."""
        return self._windows[Bucket.API]

    def calls_per_s(self) -> float | None:
        """Tell how many calls a second are allowed in the long run, None while neither rate nor limit is known."""
        with self._changed:
            window = self._windows[Bucket.API]
            intervals_s = (self._rate.interval_s if self._rate else None, window.slow_down.interval_s)
            speeds = [1 / interval_s for interval_s in intervals_s if interval_s]
            if window.usable is not None and window.period_s:
                speeds.append(window.usable / window.period_s)
            return min(speeds, default=None)

    def eta_s(self, calls: float) -> tuple[float, float] | None:
        """Estimate how many seconds a number of calls takes from now on; None before the first answers.

        Returns:
            The time if the API's limit is by the minute, and if it is by the hour: the same where that is known, or
            where it makes no difference.
        """
        with self._changed:
            now, window = self._clock(), self._windows[Bucket.API]
            intervals_s = [self._rate.interval_s if self._rate else None, window.slow_down.interval_s]
            if len(self._ends) > 1:
                intervals_s.append((self._ends[-1] - self._ends[0]) / (len(self._ends) - 1))
            interval_s = max(filter(None, intervals_s), default=0.0)
            if not interval_s and window.limit is None:
                return None
            return window.eta_s(calls, now, 1 / interval_s if interval_s else inf)

    def _try_acquire(self, bucket: Bucket) -> Permit | CallWait:
        """Give a permit, or say what it waits for. Once all calls are made the run stops instead."""
        if self._max_calls is not None and self.calls >= self._max_calls:
            calls = f"{self.calls:,} call" if self.calls == 1 else f"{self.calls:,} calls"
            self._stop.because(RunStopped(f"{calls} made, as --max-calls asks."))
            return CallWait("stop", inf)
        now = self._clock()
        window = self._windows[bucket]
        if wait := window.next_wait(now):
            return wait
        if self._rate and now < self._rate.next_at():
            return CallWait("rate", self._rate.next_at(), self._rate_in_words)
        self.calls += 1
        permit = window.send(bucket, now)
        if self._held_since is not None:
            self._held_s += now - self._held_since
            self._held_since = None
        if self._rate:
            self._rate.sent(now)
        self._waiting = None
        self._changed.notify()
        return permit

    def _end(self, permit: Permit, now: float) -> None:
        self._out.pop(permit, None)
        self._ends.append(now - self._held_s)
        self._windows[permit.bucket].ended(now)

    def _allowed_at(self, said: RateHeaders, now: float) -> float | None:
        """Return when the server allows the next call, by whichever header; never more than an hour ahead."""
        if said.retry_after_s is not None:
            return now + said.retry_after_s
        if said.next_at is None:
            return None
        return now + min(said.next_at - self.server_now(), LONGEST_WAIT_S)
