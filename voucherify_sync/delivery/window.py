"""What one limit of the API still allows, by what its answers said. Times are on the monotonic clock.

Comes in: calls as they go out and end. Goes out: whether one more may go out now, or what it has to wait for.
It never counts on more than the server granted: answers that are out of order can lower the budget, not raise it.
"""

from __future__ import annotations

from math import inf

from msgspec import Struct

from voucherify_sync.delivery.period import Period
from voucherify_sync.delivery.rate_headers import LONGEST_WAIT_S

_COARSE_S = 2.0
"""X-Rate-Limit-Retry and Date are whole seconds: a moment computed from both may be this much too late."""
_LONGEST_BACKOFF_S = 60.0


class Waiting(Struct, frozen=True):
    """What a call waits for.

    Attributes:
        reason: ``answer`` (to a call that must go alone), ``quota``, ``rate``, ``throttled``, or who asked to wait.
        until: monotonic seconds; infinite when it waits for an answer.
    """

    reason: str
    until: float


class Call(Struct, frozen=True, eq=False):
    """A call that has gone out.

    Attributes:
        sent_at: when.
        tests_period: it went out on a guess that the window has turned; its answer confirms or refutes that.
    """

    sent_at: float
    tests_period: bool = False


class Window:
    """The budget under one limit of the API, as far as it is known.

    The first call goes alone, so that its answer teaches the limit; so does the first call after a pause that the
    server asked for. In between,
    calls go out while what remains, less what is in flight, is more than the reserve. Then a single call goes out
    whenever the window should have turned.
    """

    def __init__(self, reserve: float) -> None:
        self.in_flight = 0
        self.limit: int | None = None
        self.remaining: int | None = None
        self.period = Period()
        self._reserve = reserve
        self._alone = True
        self._testing: Call | None = None
        self._told_at = -inf
        self._opened_at = -inf
        self._ends_at: float | None = None
        self._paused_until = -inf
        self._paused_for = ""
        self._refusals = 0

    @property
    def usable(self) -> int | None:
        """Calls a period that the reserve leaves to us, at least one; None without a limit."""
        return None if self.limit is None else self.limit - self._kept

    @property
    def _kept(self) -> int:
        limit = self.limit or 1
        return min(int(limit * self._reserve), limit - 1)

    def blocked(self, now: float) -> Waiting | None:
        """Tell what a call has to wait for; None when it may go out now."""
        if now < self._paused_until:
            return Waiting(self._paused_for, self._paused_until)
        if self._alone:
            return Waiting("answer", inf) if self.in_flight else None
        if self.remaining is None or self.remaining - self.in_flight > self._kept:
            return None
        if self._testing is not None or self.in_flight >= self.remaining > 0:
            return Waiting("answer", inf)
        chance = self._next_chance()
        return Waiting("quota", chance) if now < chance else None

    def _next_chance(self) -> float:
        chance = self.period.chance()
        if self._ends_at is None:
            return chance
        earliest = self._ends_at - _COARSE_S
        return chance if earliest <= chance <= self._ends_at else self._ends_at

    def send(self, now: float) -> Call:
        """Count a call that goes out now."""
        spent = (
            not self._alone and self.remaining is not None and self.remaining - self.in_flight <= self._kept
        )
        call = Call(now, tests_period=spent and self._next_chance() == self.period.chance())
        if spent:
            self._testing = call
        self.in_flight += 1
        self.period.sent(now)
        return call

    def ended(self, call: Call) -> None:
        """Count a call that is over, with an answer or without."""
        self.in_flight -= 1
        if call is self._testing:
            self._testing = None

    def told(
        self, call: Call, now: float, limit: int | None, remaining: int | None, ends_at: float | None
    ) -> None:
        """Learn from an answer that is no 429; `ends_at` is when the server allows the next call."""
        if call.sent_at >= self._paused_until:
            self._alone = False
        self.limit = limit or self.limit
        # An answer to a call that is older than the one that opened this window may speak of the last window.
        if remaining is None or call.sent_at < self._opened_at:
            return
        self.limit = max(self.limit or 1, remaining) if limit is None else limit
        before = self.remaining
        if before is None or (remaining >= before and call.sent_at >= self._told_at):
            self._rose(call, now, remaining, before)
        elif remaining < before:
            self._fell(call, now, remaining)
        if remaining == 0 and ends_at is not None and ends_at > now:
            self._ends_at = ends_at
            self._learn_from(ends_at, now)

    def _rose(self, call: Call, now: float, remaining: int, before: int | None) -> None:
        limit = self.limit or 1
        turned = before is None or remaining - before > limit // 4
        if call.tests_period:
            self.period.hit(slides=not turned)
        if turned:
            self._opened_at = call.sent_at
            self.period.turned(call.sent_at)
        else:
            self.period.counted(max(limit - remaining, 1), now)
        self.remaining, self._told_at, self._ends_at, self._refusals = remaining, now, None, 0

    def _fell(self, call: Call, now: float, remaining: int) -> None:
        self.remaining, self._told_at = remaining, now
        if call.tests_period:
            self.period.missed(now)

    def refused(self, call: Call | None, now: float, until: float | None) -> None:
        """Learn of a 429: nothing goes out before `until`, or a growing while where the server names no time."""
        if call is not None and call.tests_period:
            self.period.missed(now)
        if now >= self._paused_until:
            self._refusals += 1
        if until is not None:
            self._learn_from(until, now)
        else:
            until = now + min(2.0 ** min(self._refusals - 1, 6), _LONGEST_BACKOFF_S)
        self.remaining, self._told_at, self._ends_at = 0, now, None
        self.pause(until, "throttled")

    def pause(self, until: float, reason: str) -> None:
        """Let nothing go out before `until`, and then one call alone."""
        if until >= self._paused_until:
            self._paused_until, self._paused_for = until, reason
        self._alone = True

    def _learn_from(self, end: float, now: float) -> None:
        """Learn from a moment that the server named as the end of its window, unless it was clamped."""
        if end < now + LONGEST_WAIT_S:
            self.period.is_at_least(end - _COARSE_S)
