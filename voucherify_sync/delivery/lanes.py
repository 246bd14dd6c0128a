"""Operations of one customer one after the other in input order, those of different customers at the same time.

Comes in: requests. Goes out: exactly one outcome for each. It never looks at what a request holds, and a customer
that waits for another attempt holds up nobody else within the look-ahead.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import count

from voucherify_sync.delivery.sender import Again, Attempts, Destination
from voucherify_sync.events import Request
from voucherify_sync.outcomes import Outcome
from voucherify_sync.stop import Stop
from voucherify_sync.voucherify.retry_policy import DRAIN_S

_SLICE_S = 0.1
"""The main thread sleeps no longer, so that signals and a stop are noticed."""
_JOIN_S = 1.0
_ROOM = 64
"""So many places are made before the main thread is woken to fill them: waking it for each one would cost more."""


class _Lane:
    """The undecided requests of one customer; the first one is under way when `running`."""

    __slots__ = ("jobs", "running", "source_id")

    def __init__(self, source_id: str) -> None:
        self.source_id = source_id
        self.jobs: deque[Attempts] = deque()
        self.running = False


class Lanes:
    """Worker threads behind a look-ahead. One thread submits and collects; any thread may ask for the counts.

    A lane is at one place at a time: ready, with a worker, or waiting for its next attempt.

    Attributes:
        in_flight: requests that workers are busy with.
        retries: attempts that decided nothing.
    """

    def __init__(
        self,
        destination: Destination,
        workers: int,
        stop: Stop,
        *,
        max_records: int = 10_000,
        max_bytes: int = 64 * 2**20,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.in_flight = 0
        self.retries = 0
        self._destination = destination
        self._stop = stop
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._clock = clock
        lock = threading.Lock()
        self._work = threading.Condition(lock)  # workers: a lane is ready
        self._alarm = threading.Condition(lock)  # the timer: a lane waits
        self._news = threading.Condition(lock)  # the main thread: there is room, or all is decided
        self._lanes: dict[str, _Lane] = {}
        self._ready: deque[_Lane] = deque()
        self._due: list[tuple[float, int, _Lane]] = []
        self._ticket = count()
        self._decided: list[Outcome] = []
        self._records = self._bytes = self._idle = 0
        self._blocked = self._closed = False
        self._bug: BaseException | None = None
        self._threads = [
            threading.Thread(target=target, name="delivery", daemon=True)
            for target in [self._timer] + [self._worker] * workers
        ]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Customers that wait for another attempt."""
        return len(self._due)

    @property
    def open(self) -> int:
        """Operations that are not decided yet."""
        return self._records

    def submit(self, request: Request) -> None:
        """Queue a request behind those of its customer; block while the look-ahead is full.

        When the run stops it returns at once, and the request comes back undecided.
        """
        size = len(request.payload)
        with self._news:
            self._await_room(size)
            if self._stop.requested or self._closed:
                self._decided.append(Attempts(request).undecided())
                return
            self._records += 1
            self._bytes += size
            lane = self._lanes.get(request.source_id)
            if lane is not None:
                lane.jobs.append(Attempts(request))
                return
            lane = self._lanes[request.source_id] = _Lane(request.source_id)
            lane.jobs.append(Attempts(request))
            self._make_ready(lane)

    def _await_room(self, size: int) -> None:
        self._blocked = True
        try:
            while not self._stop.requested and not self._closed and self._bug is None and self._is_full(size):
                self._news.wait(_SLICE_S)
        finally:
            self._blocked = False
        self._raise_bug()

    def _is_full(self, size: int) -> bool:
        return self._records >= self._max_records or (
            self._records > 0 and self._bytes + size > self._max_bytes
        )

    def blocked_on(self) -> str | None:
        """Tell which customer holds more than half of a look-ahead that is full, None while there is room."""
        with self._news:
            if not self._blocked or not self._lanes:
                return None
            lane = max(self._lanes.values(), key=lambda lane: len(lane.jobs))
            return lane.source_id if 2 * len(lane.jobs) > self._records else None

    def finished(self) -> list[Outcome]:
        """Return what was decided since it was last asked, without waiting; raise what a worker could not handle."""
        with self._news:
            self._raise_bug()
            decided, self._decided = self._decided, []
            return decided

    def drain(self, timeout_s: float | None = None) -> Iterator[Outcome]:
        """Yield outcomes until every request is decided. Nothing can be submitted afterwards.

        When the run stops, what is in flight has `timeout_s` (DRAIN_S) to end. What was sent and has no answer by then,
        and what waits for another look at whether it arrived, is in doubt; what was not sent is pending. Later answers
        count no more here.
        """
        limit_s = DRAIN_S if timeout_s is None else timeout_s
        deadline: float | None = None
        try:
            while True:
                if deadline is None and self._stop.requested:
                    deadline = self._clock() + limit_s
                over = self._await_end(deadline)
                yield from self.finished()
                if over:
                    break
            self._close()
            yield from self.finished()
        finally:
            self._close()

    def close(self) -> None:
        """End all threads; one that is inside a call that cannot be cut is left behind after a moment."""
        self._close()
        last_moment = time.monotonic() + _JOIN_S
        for thread in self._threads:
            thread.join(max(0.0, last_moment - time.monotonic()))

    def _await_end(self, deadline: float | None) -> bool:
        """Wait a little; tell whether there is nothing more to wait for."""
        with self._news:
            wait_s = _SLICE_S if deadline is None else min(_SLICE_S, deadline - self._clock())
            open_ = self._records if deadline is None else self.in_flight
            if open_ and not self._bug and wait_s > 0:
                self._news.wait(wait_s)
            if deadline is None:
                return not self._records and not self._stop.requested
            return not self.in_flight or self._clock() >= deadline

    def _close(self) -> None:
        """End all threads as soon as they can, and give every open request its outcome."""
        with self._news:
            self._closed = True
            for lane in self._lanes.values():
                for job in lane.jobs:
                    is_under_way = lane.running and job is lane.jobs[0]
                    self._decided.append(job.undecided(is_under_way=is_under_way))
            self._lanes.clear()
            self._ready.clear()
            self._due.clear()
            self._records = self._bytes = self.in_flight = 0
            self._work.notify_all()
            self._alarm.notify_all()

    def _raise_bug(self) -> None:
        if self._bug is not None:
            raise self._bug

    def _make_ready(self, lane: _Lane) -> None:
        self._ready.append(lane)
        if self._idle:
            self._work.notify()

    def _worker(self) -> None:
        lane: _Lane | None = None
        result: Outcome | Again | None = None
        while True:
            with self._work:
                if lane is not None and result is not None:
                    self._settle(lane, result)
                lane = self._next_lane()
                if lane is None:
                    return
                job = self._start(lane)
            try:
                result = self._destination.attempt(job)
            except BaseException as error:  # noqa: BLE001 - the main thread raises it
                self._report(error)
                return

    def _next_lane(self) -> _Lane | None:
        while not self._closed and not self._stop.requested and self._bug is None:
            if self._ready:
                return self._ready.popleft()
            self._idle += 1
            try:
                self._work.wait()
            finally:
                self._idle -= 1
        return None

    def _start(self, lane: _Lane) -> Attempts:
        job = lane.jobs[0]
        job.begin()
        lane.running = True
        self.in_flight += 1
        return job

    def _settle(self, lane: _Lane, result: Outcome | Again) -> None:
        if self._closed:
            return
        lane.running = False
        self.in_flight -= 1
        if isinstance(result, Again):
            self._wait_for_again(lane, result)
            return
        job = lane.jobs.popleft()
        self._decided.append(result)
        self._records -= 1
        self._bytes -= len(job.request.payload)
        if lane.jobs:
            self._make_ready(lane)
        else:
            del self._lanes[lane.source_id]
        self._tell_main()

    def _wait_for_again(self, lane: _Lane, again: Again) -> None:
        self.retries += 1
        due = (self._clock() + max(again.after_s, 0.0), next(self._ticket), lane)
        heapq.heappush(self._due, due)
        if self._due[0] is due:
            self._alarm.notify()
        if self._stop.requested and not self.in_flight:
            self._news.notify()

    def _tell_main(self) -> None:
        if self._stop.requested:
            wake = not self.in_flight
        elif self._blocked:
            wake = not self._ready or self._records <= self._max_records - _ROOM
        else:
            wake = not self._records
        if wake:
            self._news.notify()

    def _timer(self) -> None:
        """Bring lanes back whose time has come."""
        with self._alarm:
            while not self._closed and self._bug is None:
                now = self._clock()
                while self._due and self._due[0][0] <= now:
                    self._make_ready(heapq.heappop(self._due)[2])
                self._alarm.wait(self._due[0][0] - now if self._due else None)

    def _report(self, error: BaseException) -> None:
        with self._news:
            if self._bug is None:
                self._bug = error
            for waiters in (self._news, self._work, self._alarm):
                waiters.notify_all()
