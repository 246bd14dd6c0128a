"""The limits that a user sets to a run: so many errors, so much time. Beyond one, the run is asked to stop in order."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from msgspec import Struct

from voucherify_sync.errors import RunStopped
from voucherify_sync.model import FAILED_BEFORE, Outcome, State
from voucherify_sync.stop import Stop

SHARE_COUNTS_AFTER = 100
"""Records before a limit given as a share is looked at: one bad record of the first two is not half an archive."""


class ErrorLimit(Struct, frozen=True):
    """How many records may end invalid or failed before the run stops: a count, or a share of what was read."""

    count: int | None = None
    share: float | None = None


@contextmanager
def time_limit(seconds: float | None, stop: Stop) -> Iterator[None]:
    """Stop the run in order when its time is over."""
    if seconds is None:
        yield
        return
    error = RunStopped(f"{seconds:,.0f} s are over, as --max-duration asks.")
    timer = threading.Timer(seconds, stop.because, [error])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class ErrorWatch:
    """Stops the run when too many records end invalid or failed."""

    def __init__(self, limit: ErrorLimit, stop: Stop) -> None:
        self._limit = limit
        self._stop = stop
        self._seen = 0
        self._bad = 0

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Count records, and stop the run once the limit is passed."""
        for outcome in outcomes:
            self._add(outcome)

    def _add(self, outcome: Outcome) -> None:
        self._seen += 1
        if outcome.state not in {State.INVALID, State.FAILED} or outcome.reason == FAILED_BEFORE:
            return
        self._bad += 1
        limit = self._limit
        over = limit.count is not None and self._bad > limit.count
        if limit.share is not None and self._seen >= SHARE_COUNTS_AFTER:
            over = over or self._bad > limit.share * self._seen
        if over:
            share = f"{self._bad:,} of {self._seen:,} records"
            self._stop.because(
                RunStopped(
                    f"stopped: {share} were invalid or failed", "Look at the dead letters, then run it again."
                )
            )
