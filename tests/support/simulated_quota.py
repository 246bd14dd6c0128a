"""A simulated API with one limit, and workers that call it through a limiter, on a clock of their own."""

from __future__ import annotations

import heapq
import math
import random
from collections import Counter, deque
from collections.abc import Callable
from email.utils import formatdate
from itertools import count
from typing import Any

from voucherify_sync.stop import Stop
from voucherify_sync.voucherify.rate_limit import Bucket, CallWait, Limiter, Permit

EPOCH = 1_700_000_000.37


def try_acquire(limiter: Limiter, bucket: Bucket = Bucket.API) -> Permit | CallWait:
    """Take a permit if there is one now; else tell what a call waits for."""
    with limiter._changed:
        return limiter._try_acquire(bucket)


class Api:
    """A server with one limit.

    Attributes:
        sliding: its window slides; else it turns as a whole.
        phase_s: how far the first window has come at the start; None: a window opens with a call.
        ours: when it took calls of ours.
    """

    def __init__(self, limit: int, period_s: float, sliding: bool, phase_s: float | None) -> None:
        self.limit, self.period_s, self.sliding, self.phase_s = limit, period_s, sliding, phase_s
        self.taken: deque[float] = deque()
        self.ours: list[float] = []
        self._ours_in_window: Counter[float] = Counter()
        self._opened_at = -math.inf
        self.accepted = {"we": 0, "they": 0}
        self.refused = {"we": 0, "they": 0}
        self.in_window: Counter[float] = Counter()

    def call(self, who: str, now: float) -> tuple[int, dict[str, str]]:
        self._turn(now)
        room = len(self.taken) < self.limit
        if room:
            self.taken.append(now)
            self.in_window[round(self._start(now), 3)] += 1
            if who == "we":
                self.ours.append(now)
                self._ours_in_window[self._start(now)] += 1
        (self.accepted if room else self.refused)[who] += 1
        left = self.limit - len(self.taken)
        headers = {
            "X-Rate-Limit-Limit": str(self.limit),
            "X-Rate-Limit-Remaining": str(left),
            "X-Rate-Limit-Retry": str(math.ceil(EPOCH + (now if left else self._next_at(now)))),
            "Date": formatdate(int(EPOCH + now), usegmt=True),
        }
        if room:
            return 200, headers
        after = str(max(1, math.ceil(self._next_at(now) - now)))
        return 429, headers | {"Retry-After": after, "X-Rate-Limit-Type": "api_calls"}

    def most_of_ours(self) -> int:
        """Return the most calls of ours in one of its windows."""
        if not self.sliding:
            return max(self._ours_in_window.values())
        most, first = 0, 0
        for last, now in enumerate(self.ours):
            while self.ours[first] <= now - self.period_s:
                first += 1
            most = max(most, last - first + 1)
        return most

    def _start(self, now: float) -> float:
        if self.sliding:
            return now - self.period_s
        if self.phase_s is None:
            if now >= self._opened_at + self.period_s:
                self._opened_at = now
            return self._opened_at
        return (now + self.phase_s) // self.period_s * self.period_s - self.phase_s

    def _turn(self, now: float) -> None:
        start = self._start(now)
        while self.taken and self.taken[0] < start:
            self.taken.popleft()

    def _next_at(self, now: float) -> float:
        return (self.taken[0] if self.sliding else self._start(now)) + self.period_s


class SilentApi(Api):
    """A server that tells no limit: it answers 429 without rate headers when it is exceeded.

    Args:
        names_time: with Retry-After.
    """

    def __init__(self, limit: int, period_s: float, phase_s: float, *, names_time: bool) -> None:
        super().__init__(limit, period_s, sliding=False, phase_s=phase_s)
        self._names_time = names_time

    def call(self, who: str, now: float) -> tuple[int, dict[str, str]]:
        status, headers = super().call(who, now)
        told = ("Retry-After",) if self._names_time else ()
        return status, {name: headers[name] for name in told if name in headers}


class World:
    """Workers, the network and a clock, as events in the order of their time.

    Args:
        began_at: when they begin, if others have called the API before.
        lost: share of calls whose answer is lost.
        bare: share of calls that a proxy answers with a 429 without any header.
    """

    def __init__(
        self,
        api: Api,
        workers: int,
        latency_s: float,
        seed: int = 7,
        *,
        began_at: float = 0.0,
        lost: float = 0.0,
        bare: float = 0.0,
        **limiter: Any,
    ) -> None:
        self.now = began_at
        self.api = api
        self.random = random.Random(seed)
        self.latency_s = latency_s
        self.lost, self.bare = lost, bare
        self.limiter = Limiter(stop=Stop(), clock=lambda: self.now, wall=lambda: 86_400.0, **limiter)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._number = count()
        self._idle_workers = workers
        self._wake_at = math.inf

    def at(self, when: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._number), what))

    def others(self, per_s: float) -> None:
        def call() -> None:
            self.api.call("they", self.now)
            self.at(self.now + self.random.expovariate(per_s), call)

        self.at(self.random.random() / per_s, call)

    def run(self, seconds: float) -> None:
        self._start_calls()
        while self._events and self._events[0][0] <= seconds:
            self.now, _, what = heapq.heappop(self._events)
            what()

    def _start_calls(self) -> None:
        while self._idle_workers:
            permit = try_acquire(self.limiter)
            if isinstance(permit, CallWait):
                self._wake(permit.until)
                return
            self._idle_workers -= 1
            self._send(permit)

    def _wake(self, until: float) -> None:
        def wake() -> None:
            self._wake_at = math.inf
            self._start_calls()

        if until < self._wake_at:
            self._wake_at = until
            self.at(until, wake)

    def _send(self, permit: Permit) -> None:
        def arrive() -> None:
            chance = self.random.random() if self.lost or self.bare else 1.0
            said = (429, {}) if chance < self.bare else self.api.call("we", self.now)
            is_lost = self.bare <= chance < self.bare + self.lost
            self.at(self.now + self._way(), lambda: end(None if is_lost else said))

        def end(said: tuple[int, dict[str, str]] | None) -> None:
            if said is None:
                self.limiter.unanswered(permit)
            else:
                self.limiter.answered(permit, *said)
            self._idle_workers += 1
            self._start_calls()

        self.at(self.now + self._way(), arrive)

    def _way(self) -> float:
        return self.latency_s / 2 * self.random.uniform(0.5, 1.5)
