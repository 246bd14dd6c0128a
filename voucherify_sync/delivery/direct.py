"""Decides operations one by one on the thread that submits them; it starts no threads and waits for nothing."""

from __future__ import annotations

from collections.abc import Iterator

from voucherify_sync.delivery.attempts import Attempts
from voucherify_sync.delivery.destination import Again, Destination
from voucherify_sync.model import Operation, Outcome
from voucherify_sync.stop import Stop


class Direct:
    """What Lanes offers, without threads, for a destination that decides every operation at once."""

    in_flight = 0
    open = 0
    waiting = 0
    retries = 0

    def __init__(self, destination: Destination, stop: Stop) -> None:
        self._destination = destination
        self._stop = stop
        self._decided: list[Outcome] = []

    def submit(self, operation: Operation) -> None:
        """Decide an operation here and now; it is pending when the run stops."""
        attempts = Attempts(operation)
        if self._stop.requested:
            self._decided.append(attempts.undecided())
            return
        attempts.begin()
        result = self._destination.attempt(attempts)
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
