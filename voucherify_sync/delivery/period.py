"""Learns how long the API counts a call: the period of its limit, which it never sends.

A period is guessed, and a guess is put to the test by a call that goes out when it should find room again. The same
reasoning holds for windows that turn all at once and for windows that slide. Times are seconds on the monotonic clock.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from math import inf

from msgspec import Struct

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
