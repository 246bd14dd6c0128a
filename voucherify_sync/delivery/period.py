"""How long the API counts a call: the period of its limit, which it never sends.

Comes in: when calls went out, and whether an early one found room again. Goes out: when the next attempt at that is
worth its call. The same reasoning holds for windows that turn all at once and for windows that slide.
"""

from __future__ import annotations

from collections import deque
from math import inf

PERIODS_S = (0.25, 0.5, 1, 2, 3, 4, 5, 6, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600)
"""What a period may be. The documented ones are a minute and an hour; a period between two is taken as the longer."""

_LATE, _LATE_S = 1.001, 0.02
"""A call just after the turn opens the window; one just before it is wasted, or refused. So come a little late."""
_FULL_TEST = 3
_MISSES_OF_A_KNOWN_PERIOD = 3
_MISSES_WHILE_SLIDING = 12
"""Under a sliding window, what other clients take can hide what came back; so more misses are no refutation."""
_FORGIVEN_BY_A_HIT = 0.25
"""A window that turns as a whole refutes a guess by each miss, even if a late start lets the next call hit."""
_HITS_BEFORE_A_TRIAL = 100
_CALLS_KEPT = 100_000


class Period:
    """A guess that is raised by each miss, confirmed by a hit, and now and then tried one step shorter.

    Attributes:
        seconds: the period, once it proved right twice in a row; else None.
        known: the present guess proved right twice in a row.
    """

    def __init__(self) -> None:
        self.seconds: float | None = None
        self.known = False
        self._rung = 0
        self._hits = 0
        self._trial_after = _HITS_BEFORE_A_TRIAL
        self._proved: int | None = None  # the rung to return to when a trial fails
        self._misses = 0.0
        self._misses_allowed = _MISSES_OF_A_KNOWN_PERIOD
        self._missed_at = -inf
        self._calls: deque[float] = deque(maxlen=_CALLS_KEPT)

    def sent(self, now: float) -> None:
        """Note that a call went out; it counts against the limit from now on."""
        self._calls.append(now)
        if self.known:
            self._forget_until(now - 2 * PERIODS_S[self._rung])

    def chance(self) -> float:
        """Tell when enough of our calls should count no more for a single call to find that out.

        With a known period that is when the oldest one is past it. A guess is put to the test when a quarter of them
        are, so that what other clients do meanwhile cannot look like a refutation.
        """
        if not self._calls:
            return -inf
        tested = min(int(self._misses), _FULL_TEST) if self.known else _FULL_TEST
        index = len(self._calls) >> (5 - tested) if tested else 0
        guess = PERIODS_S[self._rung]
        return max(self._calls[index] + guess * _LATE + _LATE_S, self._missed_at + guess / 16)

    def missed(self, now: float) -> None:
        """Learn that a call at the chance found no room: the period is longer than the guess."""
        self._missed_at = now
        if self._proved is not None:
            self._guess(self._proved)
            self.known, self._proved = True, None
        elif self.known and self._misses < self._misses_allowed:
            self._misses += 1
        else:
            self._guess(min(self._rung + 1, len(PERIODS_S) - 1))

    def hit(self, *, slides: bool) -> None:
        """Learn that a call at the chance found room: little of it, if the window slides."""
        if slides:
            self._misses_allowed = _MISSES_WHILE_SLIDING
        forgiven = self._misses if slides else _FORGIVEN_BY_A_HIT
        self._misses = max(0.0, self._misses - forgiven)
        self._hits += 1
        if slides or self._hits >= 2:
            self.known, self._proved = True, None
            self.seconds = PERIODS_S[self._rung]
        if self._hits >= self._trial_after and self._rung:
            self._trial_after *= 2
            self._proved = self._rung
            self._guess(self._rung - 1)

    def is_at_least(self, end: float) -> None:
        """Learn that some call of ours still counts just before `end`."""
        rung = self._rung
        while self._calls and rung < len(PERIODS_S) - 1 and self._calls[0] + PERIODS_S[rung] < end:
            rung += 1
        if rung != self._rung:
            self._guess(rung)

    def turned(self, since: float) -> None:
        """Learn that no call from before `since` counts any more."""
        while self._calls and self._calls[0] < since:
            self._calls.popleft()

    def counted(self, used: int, now: float) -> None:
        """Learn that room came back while `used` calls, ours and others', still count."""
        while len(self._calls) > used:
            self._calls.popleft()
        self._forget_until(now - PERIODS_S[self._rung])

    def _guess(self, rung: int) -> None:
        self._rung = rung
        self.known = False
        self._hits, self._misses = 0, 0.0

    def _forget_until(self, moment: float) -> None:
        while len(self._calls) > 1 and self._calls[0] < moment:
            self._calls.popleft()
