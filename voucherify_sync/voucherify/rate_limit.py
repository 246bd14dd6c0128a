"""Reads what the headers of an answer say about limits and waits, and keeps the server's clock.

The one place that reads Retry-After, the X-Rate-Limit headers and Date. What is missing or makes no sense is None;
nothing is raised.

Spaces calls evenly: at the rate that the user set, or at half the pace after a 429 that tells no limit.

Learns how long the API counts a call: the period of its limit, which it never sends.

A period is guessed, and a guess is put to the test by a call that goes out when it should find room again. The same
reasoning holds for windows that turn all at once and for windows that slide. Times are seconds on the monotonic clock.

Tells whether one more call may go out under one limit of the API, by what its answers said.

It never counts on more than the server granted: an answer that is out of order, or says nothing, can lower the budget
and not raise it. Times are seconds on the monotonic clock.

Gives permits for calls, within the API's limits and the user's, and learns from every answer.

It never sends anything, and the local wall clock decides nothing as long as answers carry a Date.
"""

from __future__ import annotations

import math
import threading
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import StrEnum
from functools import lru_cache
from math import inf

from msgspec import Struct

from voucherify_sync.errors import RunStopped
from voucherify_sync.settings.types import Rate
from voucherify_sync.stop import Stop

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


_BURST_S = 0.05
"""Calls that are due within this time may go out at once; sleeping is no finer than that under load."""
_MEASURED_CALLS = 256
_MEASURED_S = 60.0
_FREE_INTERVAL_S = 1e-4
"""A pace of more calls than that holds no call back."""


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

    Such a 429 comes from a proxy, or from a limit that the API does not tell. How many calls it allows in which time is
    not known, and neither is guessed; what is known is how fast calls went and how long the server kept them out.

    **Pace** is calls per second as they went out before the 429: those of the last minute, 256 at most, up to the
    moment at which the 429 came. That is the pace that was too fast, bursts included. Where no call preceded the
    refused one there is no pace to halve: the call after the pause goes alone, and the next 429 measures.

    **Window** is the API's own, once its length is learnt. Where no limit was ever told, it is the wait that came with
    the 429, by Retry-After or by the backoff that grows while calls are refused: it is the server's only word on how
    long it takes until it accepts calls again. So the pace adapts to short and long windows alike. A window in which no
    call is due proves nothing, so it lasts for one call at least.

    All 429s to calls that went out before the pause are one piece of news, and so are those to the single calls that
    try again after it: the pace is halved once, until a call was accepted.
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
            period_s: length of the API's window, if it is learnt.
            is_first: a call was accepted since the last 429, so this one is about the present pace.
        """
        if is_first:
            interval_s = 2 * max(self._measured_s(now), self.interval_s or 0.0)
            self._pace = Pace(min(interval_s, LONGEST_WAIT_S)) if interval_s else None
            self._sent.clear()
        self._window_s = max(period_s or resume_at - now, self.interval_s or 0.0)
        self._doubles_at = resume_at + self._window_s

    def _measured_s(self, now: float) -> float:
        """Return the mean seconds from one call to the next before the refused one; 0 if there was none."""
        recent = [sent_at for sent_at in self._sent if sent_at >= now - _MEASURED_S]
        return (now - recent[0]) / (len(recent) - 1) if len(recent) > 1 else 0.0


PERIODS_S = (0.25, 0.5, 1, 2, 3, 4, 5, 6, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600)
"""What a period may be. A period between two is taken as the longer."""
_LAST = len(PERIODS_S) - 1
_DOCUMENTED = (PERIODS_S.index(60), _LAST)
"""Places of the periods that Voucherify documents, a minute and an hour: where one of them fits, it is taken."""
_COARSE = tuple(PERIODS_S.index(period_s) for period_s in (0.5, 2, 10, 30, 60, 120, 600, 3600))
"""Places of the guesses that are tried first: each test costs a call. Those between two follow where one fits."""

_LATE = 1.001
"""Clocks differ: a call just after the turn opens the window, one just before it is wasted or refused."""
_FULL_TEST = 3
_MISSES_OF_A_KNOWN_PERIOD = 3
_MISSES_WHILE_SLIDING = 12
"""Under a sliding window, what other clients take can hide what came back; so more misses are no refutation."""
_FORGIVEN_BY_A_HIT = 0.25
"""A window that turns as a whole refutes a guess by each miss, even if a late start lets the next call hit."""
_HITS_TO_TELL = 2
_HITS_TO_KNOW = 3
"""Two hits in a row can be luck: a window twice as long can turn just before the one test and just before the next."""
_HITS_BEFORE_A_TRIAL = 100
_CALLS_KEPT = 100_000


class PeriodTest(Struct, frozen=True):
    """What a call that goes out on a guess can prove.

    Attributes:
        guess: place of the longest period whose time has come; a miss refutes it, and all shorter ones.
        confirms: a hit confirms it. A call that went out later than planned proves too little for that.
        past: calls that are older than the planned guess, so that room for as many should have come back.
    """

    guess: int
    confirms: bool
    past: int


class Period:
    """A guess that is raised by each miss, confirmed by a hit, and now and then tried one step shorter.

    Attributes:
        seconds: the period, once it proved right twice in a row; else None.
        known: the present guess proved right three times in a row.
    """

    def __init__(self) -> None:
        self.seconds: float | None = None
        self.known = False
        self._guess = _COARSE[0]
        self._refuted = -1  # place of the longest period that a test has refuted
        self._fitted: int | None = None  # place of the shortest period that a test has fitted since
        self._hits = 0
        self._trial_after = _HITS_BEFORE_A_TRIAL
        self._proved: int | None = None  # the guess to return to when a trial of a shorter one fails
        self._misses = 0.0
        self._misses_allowed = _MISSES_OF_A_KNOWN_PERIOD
        self._missed_at = -inf
        self._ends: deque[float] = deque(maxlen=_CALLS_KEPT)

    @property
    def tests_ahead(self) -> int:
        """Tests that may miss before a period is proved; the longest needs none, as no limit exceeds it."""
        if self.known:
            return 0
        if self._proved is not None:
            return 1
        fine = 0 if self._fitted is None else self._fitted - self._refuted
        above = self._refuted if self._fitted is None else self._fitted
        return fine + sum(above < guess < _LAST for guess in _COARSE)

    def ended(self, now: float) -> None:
        """Note that a call ended. The API counted it by now, and counts it for a period from then on at most."""
        self._ends.append(now)
        if self.known:
            self._forget_until(now - 2 * PERIODS_S[self._guess])

    def counted(self, now: float) -> int:
        """Return how many of the calls that ended the API may still count, as far as is certain.

        Calls that the server's answers have shown to be forgotten are not among them, nor those that are older than
        a period that was proved.
        """
        return len(self._ends) - self._expired(now)

    def due(self, now: float, tests_left: float) -> float:
        """Return when a single call is worth sending.

        With a known period that is when the oldest call is past it. A guess is put to the test when a quarter of the
        calls are, so that what other clients do meanwhile cannot look like a refutation. Where no test is left, calls
        have to be past the proved period, or else past the longest, until our share has room for one.

        Args:
            now: the present.
            tests_left: calls of our share that may still be spent; below 0 where more were made than that.
        """
        if not self._ends:
            return -inf
        planned = self._planned(tests_left)
        due = -inf if planned is None else self._due(planned)
        if tests_left < 1:
            index = min(self._expired(now) + int(-tests_left), len(self._ends) - 1)
            due = max(due, self._ends[index] + PERIODS_S[self._certain] * _LATE)
        return due

    def test(self, now: float, tests_left: float) -> PeriodTest:
        """Return what a call that goes out now, at or after `due`, puts to the test."""
        planned = self._planned(tests_left)
        guess = self._guess if planned is None else planned
        if not self.known:
            while guess < _LAST and self._due(guess + 1) <= now:
                guess += 1
        return PeriodTest(guess, confirms=guess == planned, past=self._tested_index)

    def missed(self, test: PeriodTest, now: float) -> None:
        """Learn that a test found no room: the period is longer than the guess."""
        self._missed_at = now
        if self._proved is not None:
            self._return_to_proved()
        elif self.known and self._misses < self._misses_allowed:
            self._misses += 1
        else:
            self._refute(test.guess)

    def hit(self, test: PeriodTest, *, slides: bool) -> None:
        """Learn that a test found room: little of it, if the window slides."""
        if not test.confirms:
            return
        if test.guess == self._proved:
            self._return_to_proved()
        elif test.guess != self._guess:
            self._take(test.guess)
        if slides:
            self._misses_allowed = _MISSES_WHILE_SLIDING
        forgiven = self._misses if slides else _FORGIVEN_BY_A_HIT
        self._misses = max(0.0, self._misses - forgiven)
        self._hits += 1
        if slides or self._hits >= _HITS_TO_TELL:
            self.seconds = PERIODS_S[self._guess]
        if slides or self._hits >= _HITS_TO_KNOW:
            self.known, self._proved = True, None
        elif self._proved is None:
            self._fit(test.guess)
        if self._hits >= self._trial_after and self._guess:
            self._trial_after *= 2
            proved = self._guess
            self._take(proved - 1)
            self._proved = proved

    def untested(self, now: float) -> None:
        """Learn that a test brought no word of what remains; the next one comes a little later."""
        self._missed_at = now

    def is_at_least(self, end: float) -> None:
        """Learn that some call of ours still counts just before `end`."""
        shorter = self._guess - 1
        while self._ends and shorter < _LAST - 1 and self._ends[0] + PERIODS_S[shorter + 1] < end:
            shorter += 1
        if shorter >= self._guess:
            self._proved = None
            self._refute(shorter)

    def turned(self, since: float) -> None:
        """Learn that no call that ended before `since` counts any more."""
        while self._ends and self._ends[0] < since:
            self._ends.popleft()

    def at_most(self, used: int) -> None:
        """Learn that `used` calls of ours at most still count."""
        while len(self._ends) > used:
            self._ends.popleft()

    def slid(self, now: float) -> None:
        """Learn that room came back, without a turn of the whole window."""
        if self.known:
            self._forget_until(now - PERIODS_S[self._guess])

    def _planned(self, tests_left: float) -> int | None:
        """Return which guess the next test is about; None where no test is left.

        The last test is kept for a documented period: so a minute is found out, however few tests there are.
        """
        if self.known or tests_left > 1 or self._guess == _LAST:
            return self._guess
        if self._proved is not None:
            return self._guess if tests_left == 1 else self._proved
        if tests_left == 1:
            return next(guess for guess in _DOCUMENTED if guess >= self._guess)
        return None

    @property
    def _tested_index(self) -> int:
        tested = min(int(self._misses), _FULL_TEST) if self.known else _FULL_TEST
        return len(self._ends) >> (5 - tested) if tested else 0

    def _due(self, guess: int) -> float:
        period_s = PERIODS_S[guess]
        return max(self._ends[self._tested_index] + period_s * _LATE, self._missed_at + period_s / 16)

    @property
    def _certain(self) -> int:
        """Place of the shortest period that is certain not to be exceeded: the proved one, else the longest."""
        if self.known:
            return self._guess
        return _LAST if self._proved is None else self._proved

    def _expired(self, now: float) -> int:
        """Return how many calls the API certainly counts no more. Without a proof, its answers alone tell."""
        if not self.known and self._proved is None:
            return 0
        return bisect_right(self._ends, now - PERIODS_S[self._certain] * _LATE)

    def _refute(self, guess: int) -> None:
        """Go on with the next guess: through all that are left below one that fitted, else in coarse steps."""
        self._refuted = guess
        if self._fitted is not None and guess < self._fitted:
            self._take(guess + 1)
            return
        self._fitted = None
        self._take(next((coarse for coarse in _COARSE if coarse > guess), _LAST))

    def _fit(self, guess: int) -> None:
        """Note a guess that fitted; the shorter ones that were left out are tried next, unless it is documented."""
        self._fitted = guess
        if guess not in _DOCUMENTED and guess > self._refuted + 1:
            self._take(self._refuted + 1)

    def _return_to_proved(self) -> None:
        if self._proved is not None:
            self._take(self._proved)
            self.known, self._proved = True, None

    def _take(self, guess: int) -> None:
        self._guess = guess
        self.known = False
        self._hits, self._misses = 0, 0.0

    def _forget_until(self, moment: float) -> None:
        while len(self._ends) > 1 and self._ends[0] < moment:
            self._ends.popleft()


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
