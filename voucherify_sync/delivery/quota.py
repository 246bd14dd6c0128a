"""Gives permits for calls, within the API's limits and the user's, and learns from every answer.

It never sends anything, and the local wall clock decides nothing as long as answers carry a Date.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from enum import StrEnum
from math import inf

from msgspec import Struct

from voucherify_sync.delivery.pace import Pace
from voucherify_sync.delivery.rate_headers import (
    LONGEST_WAIT_S,
    SHORTEST_WAIT_S,
    RateHeaders,
    ServerClock,
    read_rate_headers,
)
from voucherify_sync.delivery.window import Call, Waiting, Window
from voucherify_sync.errors import RunStopped
from voucherify_sync.settings.types import Rate
from voucherify_sync.stop import Stop

__all__ = ["Bucket", "Limit", "Limiter", "Waiting"]

_SLICE_S = 0.1
"""The longest sleep without asking whether the run stops."""


class Bucket(StrEnum):
    """Which of the API's limits a call counts against; the values are those of X-Rate-Limit-Type."""

    API = "api_calls"
    BULK = "bulk_api_calls"


class Limit(Struct, frozen=True):
    """What has been learnt about a limit of the API.

    Attributes:
        limit: calls a period.
        period_s: the period, None until it is learnt.
        remaining: calls left in the present window by the last word of the server; ours in flight may be among them.
    """

    limit: int
    period_s: float | None
    remaining: int


class Limiter:
    """Permits for calls, shared by all threads.

    An answer belongs to the call for which the same thread got its permit: that tells answers that are out of order.

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
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        caller: Callable[[], Hashable] = threading.get_ident,
    ) -> None:
        self.calls = 0
        self.throttled = 0
        self._stop = stop
        self._rate = Pace(rate.period_s / rate.calls) if rate else None
        self._max_calls = max_calls
        self._clock = clock
        self._caller = caller
        self._server = ServerClock(wall)
        self._windows = {bucket: Window(reserve) for bucket in Bucket}
        self._out: dict[tuple[Hashable, Bucket], deque[Call]] = {}
        self._changed = threading.Condition(threading.Lock())
        self._sleepers = 0
        self._waiting: Waiting | None = None

    def acquire(self, bucket: Bucket = Bucket.API) -> bool:
        """Block until one call may go out; False when the run is stopping.

        A permit must be given back by `answered`, `unanswered` or `unused`, on the same thread.
        """
        with self._changed:
            while not self._stop.requested:
                waiting = self._permit(bucket)
                if waiting is None:
                    return True
                if not self._stop.requested:
                    self._sleep(waiting)
        return False

    def answered(self, status: int, headers: Mapping[str, str], bucket: Bucket = Bucket.API) -> None:
        """Take in an answer of whatever status. A missing header says nothing; it is never taken for 0.

        Where the server asks for a wait, by a 429 or with a failure of its own (5xx), no call goes out until it is
        over, after an hour at most; then one call tries again.
        """
        said = read_rate_headers(headers)
        with self._changed:
            now = self._clock()
            self._server.saw(said.date, now)
            call = self._end(bucket, now)
            if status == 429:
                self._throttle(call, now, said, bucket)
            elif call is not None:
                ends_at = self._allowed_at(said, now)
                self._windows[bucket].told(call, now, said.limit, said.remaining, ends_at)
            if status >= 500 and said.retry_after_s is not None:
                for window in self._windows.values():  # it speaks of the server, not of a limit
                    window.pause(now + said.retry_after_s, f"Voucherify (HTTP {status})")
            self._changed.notify()

    def unanswered(self, bucket: Bucket = Bucket.API) -> None:
        """Take in that a call ended without an answer: it counts as made until the next answer tells."""
        with self._changed:
            now = self._clock()
            call = self._end(bucket, now)
            if call is not None:
                self._windows[bucket].untold(call, now)
            self._changed.notify()

    def unused(self, bucket: Bucket = Bucket.API) -> None:
        """Take a permit back for which no call was made; the window counts it until the next answer tells."""
        self.unanswered(bucket)
        with self._changed:
            self.calls -= 1

    def waiting(self) -> Waiting | None:
        """Tell what all calls are waiting for at present, None while they flow."""
        with self._changed:
            waiting = self._waiting if self._sleepers else None
            return None if waiting is None or waiting.until == inf else waiting

    def unanswered_s(self) -> float | None:
        """Tell for how many seconds the oldest call under way has had no answer; None where none is under way."""
        with self._changed:
            sent = [call.sent_at for calls in self._out.values() for call in calls]
            return self._clock() - min(sent) if sent else None

    @property
    def limit(self) -> Limit | None:
        """What has been learnt about the limit of ordinary calls."""
        with self._changed:
            window = self._windows[Bucket.API]
            if window.limit is None or window.remaining is None:
                return None
            return Limit(window.limit, window.period.seconds, window.remaining)

    def calls_per_s(self) -> float | None:
        """Tell how many calls a second are allowed in the long run, None while neither rate nor limit is known."""
        with self._changed:
            window = self._windows[Bucket.API]
            intervals_s = (self._rate.interval_s if self._rate else None, window.slow_down.interval_s)
            speeds = [1 / interval_s for interval_s in intervals_s if interval_s]
            if window.usable is not None and window.period.seconds:
                speeds.append(window.usable / window.period.seconds)
            return min(speeds, default=None)

    def _permit(self, bucket: Bucket) -> Waiting | None:
        """Give a permit and return None, or say what it waits for. Once all calls are made the run stops instead."""
        if self._max_calls is not None and self.calls >= self._max_calls:
            calls = f"{self.calls:,} call" if self.calls == 1 else f"{self.calls:,} calls"
            self._stop.because(RunStopped(f"{calls} made, as --max-calls asks."))
            return Waiting("stop", inf)
        now = self._clock()
        waiting = self._blocked(bucket, now)
        if waiting is None:
            self.calls += 1
            call = self._windows[bucket].send(now)
            self._out.setdefault((self._caller(), bucket), deque()).append(call)
            if self._rate:
                self._rate.sent(now)
            self._waiting = None
            self._changed.notify()
        return waiting

    def _blocked(self, bucket: Bucket, now: float) -> Waiting | None:
        waiting = self._windows[bucket].blocked(now)
        if waiting is None and self._rate and now < self._rate.next_at():
            return Waiting("rate", self._rate.next_at())
        return waiting

    def _sleep(self, waiting: Waiting) -> None:
        self._waiting = waiting
        self._sleepers += 1
        try:
            self._changed.wait(min(max(waiting.until - self._clock(), 0.0), _SLICE_S))
        finally:
            self._sleepers -= 1

    def _end(self, bucket: Bucket, now: float) -> Call | None:
        calls = self._out.get((self._caller(), bucket))
        if not calls:
            return None
        call = calls.popleft()
        self._windows[bucket].ended(call, now)
        return call

    def _allowed_at(self, said: RateHeaders, now: float) -> float | None:
        """Return when the server allows the next call, by whichever header; never more than an hour ahead."""
        if said.retry_after_s is not None:
            return now + said.retry_after_s
        if said.next_at is None:
            return None
        return min(self._server.monotonic(said.next_at, now), now + LONGEST_WAIT_S)

    def _throttle(self, call: Call | None, now: float, said: RateHeaders, bucket: Bucket) -> None:
        self.throttled += 1
        until = self._allowed_at(said, now)
        if until is not None:
            until = max(until, now + SHORTEST_WAIT_S)
        # The bulk limit says nothing about ordinary calls; any other limit holds for both.
        hit = {Bucket.BULK} if said.type == Bucket.BULK else {Bucket.API, bucket}
        for each in hit:
            refused = call if each == bucket else None
            self._windows[each].refused(refused, now, until, tells_limit=said.tells_limit)
