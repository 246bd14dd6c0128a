"""Operations decided one by one on the thread that submits them, and the outcomes of those that are never decided.

Comes in: operations. Goes out: exactly one outcome for each. It starts no threads and waits for nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from voucherify_sync.delivery.destination import Again, Attempt, Destination
from voucherify_sync.model import Operation, Outcome, State
from voucherify_sync.stop import Stop


class Direct:
    """What Lanes offers, without threads, for a destination that decides every operation at once."""

    in_flight = 0
    open = 0
    waiting = 0
    retries = 0

    def __init__(
        self, destination: Destination, stop: Stop, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._destination = destination
        self._stop = stop
        self._clock = clock
        self._decided: list[Outcome] = []

    def submit(self, operation: Operation) -> None:
        """Decide an operation here and now; it is pending when the run stops."""
        if self._stop.requested:
            self._decided.append(pending(operation))
            return
        result = self._destination.attempt(operation, Attempt(1, self._clock()))
        if isinstance(result, Again):
            raise TypeError("a destination without lanes has to decide at once")
        self._decided.append(result)

    def blocked_on(self) -> str | None:
        """Tell that no customer is ever waited for."""
        return None

    def finished(self) -> list[Outcome]:
        """Return what was decided since it was last asked."""
        decided, self._decided = self._decided, []
        return decided

    def drain(self, timeout_s: float | None = None) -> Iterator[Outcome]:
        """Yield what was decided and not yet returned."""
        yield from self.finished()


def pending(operation: Operation) -> Outcome:
    """Tell that the run stopped before an operation was decided."""
    return Outcome(operation.event, State.PENDING, operation=operation)


def interrupted(operation: Operation) -> Outcome:
    """Tell that a custom event was on its way when the run could wait no longer."""
    return Outcome(operation.event, State.IN_DOUBT, "interrupted", operation=operation)
