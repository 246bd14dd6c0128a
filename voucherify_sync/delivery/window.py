"""Tells whether one more call may go out under one limit of the API, by what its answers said.

It never counts on more than the server granted: an answer that is out of order, or says nothing, can lower the budget
and not raise it. Times are seconds on the monotonic clock.
"""

from __future__ import annotations

from collections import deque
from math import inf

from msgspec import Struct

from voucherify_sync.delivery.pace import SlowDown
from voucherify_sync.delivery.period import Period, PeriodTest
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
        test: what its answer proves about the period, if it went out on a guess that the window has turned.
        is_due: the window must have turned when it went out: the server named the time, or no period is longer.
    """

    sent_at: float
    test: PeriodTest | None = None
    is_due: bool = False


class Window:
    """The budget under one limit of the API, as far as it is known.

    The first call goes alone, so that its answer teaches the limit; so does the first call after a pause that the
    server asked for. In between, calls go out while what remains, less what is under way, is more than the reserve.
    Then a single call goes out whenever the window should have turned.

    **The reserve.** Such a call finds nothing but the reserve if the window has not turned. So while the period is
    being learnt, calls of our own share are held back for these tests, and when they are spent the next call waits
    until the server's own word, or the longest period, says that the window has turned. What was used of the first
    window before this run counts as ours here: an earlier run may have used it. Without a reserve nothing is held back:
    when nothing remains the server says until when, and a call that comes too early is refused and takes nothing.
    """

    def __init__(self, reserve: float) -> None:
        self.in_flight = 0
        self.limit: int | None = None
        self.remaining: int | None = None
        self.period = Period()
        self.slow_down = SlowDown()
        self._reserve = reserve
        self._alone = True
        self._testing: Call | None = None
        self._told_at = -inf
        self._opened_at = -inf
        self._ends_at: float | None = None
        self._paused_until = -inf
        self._paused_for = ""
        self._refusals = 0
        self._used_before = 0
        self._untold: deque[float] = deque()  # ends of calls that no word of what remains accounts for

    @property
    def usable(self) -> int | None:
        """Calls a period that the reserve leaves to us, at least one; None without a limit."""
        return None if self.limit is None else self.limit - self._kept

    @property
    def _kept(self) -> int:
        limit = self.limit or 1
        return min(int(limit * self._reserve), limit - 1)

    @property
    def _held_back(self) -> int:
        """Calls of our share that are kept for tests of the period; at most half of it, where the limit is small."""
        return min(self.period.tests_ahead, (self.usable or 0) // 2) if self._kept else 0

    @property
    def _is_spent(self) -> bool:
        if self.remaining is None:
            return False
        return self.remaining - self.in_flight - len(self._untold) <= self._kept + self._held_back

    def blocked(self, now: float) -> Waiting | None:
        """Tell what a call has to wait for; None when it may go out now."""
        if now < self._paused_until:
            return Waiting(self._paused_for, self._paused_until)
        if self._alone and self.in_flight:
            return Waiting("answer", inf)
        next_at = self.slow_down.next_at(now)
        if now < next_at:
            return Waiting("throttled", next_at)
        if not self._is_spent:
            return None
        if self._testing is not None or self.in_flight >= (self.remaining or inf):
            return Waiting("answer", inf)
        chance = self._next_chance(now)
        return Waiting("quota", chance) if now < chance else None

    def _tests_left(self, now: float) -> float:
        """Return how many calls may be spent on tests: at most as many as our share has left in this window.

        Where only what was used before this run stands against it, one is left: others may have used that.
        """
        if not self._kept or self.usable is None:
            return inf
        own = self.period.counted(now) + self.in_flight
        if own >= self.usable:
            return self.usable - own
        return max(1, self.usable - own - self._used_before)

    def _next_chance(self, now: float) -> float:
        due = self.period.due(now, self._tests_left(now))
        if self._ends_at is None:
            return due
        earliest = self._ends_at - _COARSE_S
        return due if earliest <= due <= self._ends_at else self._ends_at

    def send(self, now: float) -> Call:
        """Count a call that goes out now."""
        call = Call(now)
        if self._is_spent:
            tests_left = self._tests_left(now)
            by_guess = self._next_chance(now) == self.period.due(now, tests_left)
            test = self.period.test(now, tests_left) if by_guess else None
            call = Call(now, test, is_due=test is None or tests_left < 1)
            self._testing = call
        self.in_flight += 1
        self.slow_down.sent(now)
        return call

    def ended(self, call: Call, now: float) -> None:
        """Count a call that is over, with an answer or without; `told`, `untold` or `refused` must follow."""
        self.in_flight -= 1
        self.period.ended(now)
        if call is self._testing:
            self._testing = None

    def untold(self, call: Call, now: float) -> None:
        """Learn that a call brought no word of what remains: it counts as used until a later one brings word."""
        if self.remaining is None:
            return
        self._untold.append(now)
        if call.test is not None:
            self.period.untested(now)

    def told(
        self, call: Call, now: float, limit: int | None, remaining: int | None, ends_at: float | None
    ) -> None:
        """Learn from an answer that is no 429.

        Args:
            call: that was answered.
            now: when.
            limit: calls in a period, if it says so.
            remaining: calls left, if it says so.
            ends_at: when the server allows the next call; it counts only where nothing remains.
        """
        if call.sent_at >= self._paused_until:
            self._alone, self._refusals = False, 0
        self.limit = limit or self.limit
        if remaining is None and call.is_due:
            self._forget()
        # An answer to a call that is older than the one that opened this window may speak of the last window.
        if remaining is None or call.sent_at < self._opened_at:
            self.untold(call, now)
            return
        self.limit = max(self.limit or 1, remaining) if limit is None else limit
        remaining = min(remaining, self.limit)
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
        turned = before is None or remaining - before > limit // 4 or remaining + self.in_flight >= limit - 1
        if call.test is not None:
            # Under a sliding window some room comes back at any time; a guess fits if the calls past it are gone.
            came_back = remaining + 1 - (before or 0)
            if turned or self.period.known or came_back >= max(2, call.test.past // 2):
                self.period.hit(call.test, slides=not turned)
            else:
                self.period.untested(now)
        if turned:
            self._opened_at = call.sent_at
            self.period.turned(call.sent_at)
        else:
            self.period.slid(now)
        self._heard(call, now, remaining)
        others = max(0, limit - remaining - self.period.counted(now))
        self._used_before = others if before is None else 0 if turned else min(self._used_before, others)
        self._ends_at = None

    def _fell(self, call: Call, now: float, remaining: int) -> None:
        self._heard(call, now, remaining)
        if call.test is not None:
            self.period.missed(call.test, now)

    def _heard(self, call: Call, now: float, remaining: int) -> None:
        """Take a word of what remains.

        It accounts for all calls that ended before its call went out. Of those under way meanwhile it accounts for each
        that has brought a word of its own: a lower one would have been taken in its place.
        """
        self.remaining, self._told_at = remaining, now
        while self._untold and self._untold[0] <= call.sent_at:
            self._untold.popleft()
        self.period.at_most((self.limit or 1) - remaining + len(self._untold))

    def _forget(self) -> None:
        """Know as little as at the start: the window has turned, and the answer did not tell what remains."""
        self._alone = True
        self.remaining = self._ends_at = None
        self._untold.clear()

    def _learn_from(self, end: float, now: float) -> None:
        """Learn from a moment that the server named as the end of its window, unless it was clamped."""
        if end < now + LONGEST_WAIT_S:
            self.period.is_at_least(end - _COARSE_S)

    def pause(self, until: float, reason: str) -> None:
        """Let nothing go out before `until`, and then one call alone."""
        if until >= self._paused_until:
            self._paused_until, self._paused_for = until, reason
        self._alone = True

    def refused(self, call: Call | None, now: float, until: float | None, *, tells_limit: bool) -> None:
        """Learn of a 429: nothing goes out before `until`, or a growing while where the server names no time.

        Args:
            call: that was refused; None if it counts under another limit, and this one is hit as well.
            now: when.
            until: when the server allows the next call, if it says so.
            tells_limit: the answer has rate headers, so it speaks of this window. Without them it may be about another
                limit: what remains stays as it was, and calls go on at half their pace.
        """
        is_first = not self._refusals and (call is None or call.sent_at >= self._paused_until)
        if now >= self._paused_until:
            self._refusals += 1
        resume_at = until
        if resume_at is None:
            resume_at = now + min(2.0 ** min(self._refusals - 1, 6), _LONGEST_BACKOFF_S)
        if tells_limit:
            if call is not None and call.test is not None:
                self.period.missed(call.test, now)
            if until is not None:
                self._learn_from(until, now)
            self.remaining, self._told_at, self._ends_at = 0, now, resume_at
            self._untold.clear()
        else:
            if call is not None:
                self.untold(call, now)
            self.slow_down.refused(now, resume_at, self.period.seconds, is_first=is_first)
        self.pause(resume_at, "throttled")
