"""Attempts requests on worker threads: those of one customer in input order, different customers at the same time.

Every request that is submitted gets exactly one outcome. Nothing here looks at what a request holds, and a customer
that waits for another attempt holds up no other within the look-ahead.
"""

from __future__ import annotations

import heapq
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import count

from voucherify_sync.errors import RunStopped
from voucherify_sync.events import Kind, Request
from voucherify_sync.outcomes import Outcome, State
from voucherify_sync.stop import Stop
from voucherify_sync.voucherify.activity import Doubt
from voucherify_sync.voucherify.retry_policy import DRAIN_S, Attempts, RetryLater

_SLICE_S = 0.1
"""The main thread sleeps no longer, so that signals and a stop are noticed."""
_JOIN_S = 1.0
"""How long `close` waits for all threads together."""
_FREED_PLACES = 64
"""Places made before the main thread is woken to fill them: waking it for each one would cost more."""


class PendingRequest(Attempts):
    """A request without an outcome. The lane of its customer holds it from `submit` to the outcome.

    One thread makes an attempt at a time. Another may call `undecided` when the run ends.

    Attributes:
        request: the request.
        number: of the attempt that is being made, 1 for the first; 0 before it.
        doubt: a send, of this run or of an earlier one, whose answer was lost.
        may_have_left: a custom event was sent, or is about to be, and no answer has told what became of it. Set before
            the first byte.
    """

    __slots__ = ("doubt", "may_have_left", "number", "request")

    def __init__(self, request: Request) -> None:
        super().__init__()
        self.request = request
        self.number = 0
        self.doubt: Doubt | None = None
        self.may_have_left = request.doubtful_since is not None

    def undecided(self, *, is_under_way: bool = False) -> Outcome:
        """Return the outcome where the run ends before an answer has decided it.

        Args:
            is_under_way: a worker is busy with an attempt and is not waited for any longer: it may send at any moment.
        """
        request = self.request
        if self.doubt is not None:
            return self.doubt.outcome(request)
        if self.may_have_left or (is_under_way and request.kind is Kind.EVENT):
            return Outcome(request.event, State.IN_DOUBT, "interrupted", request=request)
        return Outcome(request.event, State.PENDING, request=request)


class _Lane:
    """The undecided requests of one customer; the first one is under way when `is_running`."""

    __slots__ = ("is_running", "requests", "source_id")

    def __init__(self, source_id: str) -> None:
        self.source_id = source_id
        self.requests: deque[PendingRequest] = deque()
        self.is_running = False


class Lanes:
    """Worker threads behind a look-ahead. One thread submits and collects; any thread may ask for the counts.

    A lane is at one place at a time: ready, with a worker, or waiting for its next attempt.

    Args:
        attempt: makes one attempt at a request, from many threads at once; never raises for what concerns one record.
        workers: threads that make attempts.
        stop: ends the run.
        max_records, max_bytes: of requests without an outcome.

    Attributes:
        submitted: requests taken in so far.
        in_flight: requests that workers are busy with.
        retries: attempts that followed one that decided nothing.
    """

    def __init__(
        self,
        attempt: Callable[[PendingRequest], Outcome | RetryLater],
        workers: int,
        stop: Stop,
        *,
        max_records: int = 10_000,
        max_bytes: int = 64 * 2**20,
    ) -> None:
        self.submitted = 0
        self.in_flight = 0
        self.retries = 0
        self._attempt = attempt
        self._stop = stop
        self._max_records = max_records
        self._max_bytes = max_bytes
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
        self._threads: list[threading.Thread] = []
        for target in [self._timer] + [self._worker] * workers:
            thread = threading.Thread(target=target, name="delivery", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                # The system allows no more threads. Fewer workers do the same work, and take longer.
                if len(self._threads) < 2:
                    self.close()
                    raise RunStopped(
                        "the system allows no more threads.", "Raise the limit of processes: `ulimit -u`."
                    ) from None
                break
            self._threads.append(thread)

    @property
    def waiting(self) -> int:
        """Customers that wait for another attempt."""
        return len(self._due)

    @property
    def open(self) -> int:
        """Requests that are not decided yet."""
        return self._records

    def submit(self, request: Request) -> None:
        """Queue a request behind those of its customer; block while the look-ahead is full.

        When the run stops it returns at once, and the request comes back undecided.
        """
        size = len(request.payload)
        with self._news:
            self._blocked = True
            try:
                while not (self._stop.requested or self._closed or self._bug) and (
                    self._records >= self._max_records
                    or (self._records and self._bytes + size > self._max_bytes)
                ):
                    self._news.wait(_SLICE_S)
            finally:
                self._blocked = False
            self._raise_bug()
            self.submitted += 1
            pending = PendingRequest(request)
            if self._stop.requested or self._closed:
                self._decided.append(pending.undecided())
                return
            self._records += 1
            self._bytes += size
            lane = self._lanes.get(request.source_id)
            if lane is None:
                lane = self._lanes[request.source_id] = _Lane(request.source_id)
                self._make_ready(lane)
            lane.requests.append(pending)

    def blocked_on(self) -> str | None:
        """Tell which customer holds more than half of a look-ahead that is full, None while there is room."""
        with self._news:
            if not self._blocked or not self._lanes:
                return None
            lane = max(self._lanes.values(), key=lambda lane: len(lane.requests))
            return lane.source_id if 2 * len(lane.requests) > self._records else None

    def next_attempt_at(self) -> float | None:
        """Return when the next attempt is due, where all requests wait for another one; None while any can go."""
        with self._news:
            return self._due[0][0] if self._due and not (self._ready or self.in_flight) else None

    def finished(self) -> list[Outcome]:
        """Return what was decided since it was last asked, without waiting; raise what a worker could not handle."""
        with self._news:
            self._raise_bug()
            decided, self._decided = self._decided, []
            return decided

    def drain(self, timeout_s: float = DRAIN_S) -> Iterator[Outcome]:
        """Yield outcomes until every request is decided. Nothing can be submitted afterwards.

        When the run stops, what is in flight has `timeout_s` to end. What was sent and has no answer by then,
        and what waits for another look at whether it arrived, is in doubt; what was not sent is pending. Later answers
        count no more here.
        """
        deadline = math.inf
        try:
            while True:
                if deadline == math.inf and self._stop.requested:
                    deadline = time.monotonic() + timeout_s
                is_stopping = deadline < math.inf
                with self._news:
                    wait_s = min(_SLICE_S, deadline - time.monotonic())
                    if (self.in_flight if is_stopping else self._records) and not self._bug and wait_s > 0:
                        self._news.wait(wait_s)
                    if is_stopping:
                        is_over = not self.in_flight or time.monotonic() >= deadline
                    else:
                        is_over = not self._records and not self._stop.requested
                yield from self.finished()
                if is_over:
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

    def _close(self) -> None:
        """End all threads as soon as they can, and give every open request its outcome."""
        with self._news:
            self._closed = True
            for lane in self._lanes.values():
                for pending in lane.requests:
                    is_under_way = lane.is_running and pending is lane.requests[0]
                    self._decided.append(pending.undecided(is_under_way=is_under_way))
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
        result: Outcome | RetryLater | None = None
        while True:
            with self._work:
                if lane is not None and result is not None:
                    self._settle(lane, result)
                lane = self._next_lane()
                if lane is None:
                    return
                pending = lane.requests[0]
                self.retries += pending.number > 0
                pending.number += 1
                lane.is_running = True
                self.in_flight += 1
            try:
                result = self._attempt(pending)
            except BaseException as error:  # noqa: BLE001 - the main thread raises it
                with self._news:
                    self._bug = self._bug or error
                    for waiters in (self._news, self._work, self._alarm):
                        waiters.notify_all()
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

    def _settle(self, lane: _Lane, result: Outcome | RetryLater) -> None:
        if self._closed:
            return
        lane.is_running = False
        self.in_flight -= 1
        if isinstance(result, RetryLater):
            due = (time.monotonic() + max(result.after_s, 0.0), next(self._ticket), lane)
            heapq.heappush(self._due, due)
            if self._due[0] is due:
                self._alarm.notify()
            if self._stop.requested and not self.in_flight:
                self._news.notify()
            return
        pending = lane.requests.popleft()
        self._decided.append(result)
        self._records -= 1
        self._bytes -= len(pending.request.payload)
        if lane.requests:
            self._make_ready(lane)
        else:
            del self._lanes[lane.source_id]
        if self._stop.requested:
            is_news = not self.in_flight
        elif self._blocked:
            is_news = not self._ready or self._records <= self._max_records - _FREED_PLACES
        else:
            is_news = not self._records
        if is_news:
            self._news.notify()

    def _timer(self) -> None:
        """Bring lanes back whose time has come."""
        with self._alarm:
            while not self._closed and self._bug is None:
                now = time.monotonic()
                while self._due and self._due[0][0] <= now:
                    self._make_ready(heapq.heappop(self._due)[2])
                self._alarm.wait(self._due[0][0] - now if self._due else None)
