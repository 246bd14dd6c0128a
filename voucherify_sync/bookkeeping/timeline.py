"""Outcomes come in as they are booked; how many arrived and how many did not, by time of the run, goes out.

Memory stays flat however long a run takes: when the buckets are used up, each two become one of twice the width.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from voucherify_sync.model import Json, Outcome, State

MAX_BUCKETS = 120
FIRST_WIDTH_S = 0.25
STATES = (State.DELIVERED, State.FAILED, State.IN_DOUBT)
"""What is counted: how requests ended. What no request was made for says nothing about time."""


class Timeline:
    """Counts by wall time of the run, from the moment that it is made.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started = clock()
        self._width_s = FIRST_WIDTH_S
        self._counts: dict[State, list[int]] = {state: [0] * MAX_BUCKETS for state in STATES}
        self._used = 0

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Count records, now."""
        counted = [outcome.state for outcome in outcomes if outcome.state in self._counts]
        if not counted:
            return
        elapsed_s = self._clock() - self._started
        while elapsed_s >= self._width_s * MAX_BUCKETS:
            self._double()
        bucket = int(elapsed_s / self._width_s)
        for state in counted:
            self._counts[state][bucket] += 1
        self._used = max(self._used, bucket + 1)

    def to_dict(self) -> Json:
        """Return the report's ``timeline``: counts by state for consecutive buckets of ``bucket_s`` seconds."""
        counts = {str(state): self._counts[state][: self._used] for state in STATES}
        return {"bucket_s": self._width_s, **counts}

    def _double(self) -> None:
        for counts in self._counts.values():
            pairs = [counts[at] + counts[at + 1] for at in range(0, MAX_BUCKETS, 2)]
            counts[:] = pairs + [0] * (MAX_BUCKETS - len(pairs))
        self._used = (self._used + 1) // 2
        self._width_s *= 2
