"""The way to nowhere, put together as the one to Voucherify is; it needs nothing of what makes calls."""

from __future__ import annotations

from collections.abc import Callable

from voucherify_sync.delivery.actions import ActionLog
from voucherify_sync.delivery.bulk import Deliverer, DryBulk
from voucherify_sync.delivery.direct import Direct
from voucherify_sync.delivery.dry_run import DryRunDestination
from voucherify_sync.snapshot import Waiting
from voucherify_sync.stop import Stop


def nowhere(_line: bytes) -> None:
    """Take a line that nobody wants to see."""


class DryLink:
    """Leads nowhere: every request is planned, and written as a line.

    Args:
        write: takes the lines, with their line ends.
        stop: looked at before every request.

    Attributes:
        write: as it was given.
    """

    calls = retries = throttled = 0
    calls_per_min = None
    limit = None

    def __init__(self, write: Callable[[bytes], object], stop: Stop) -> None:
        self.courier = Direct(DryRunDestination(write), stop)
        self.write = write
        self._stop = stop

    def bulk(self, _log: ActionLog) -> Deliverer:
        """Return what plans customers in bulk."""
        return DryBulk(self.write, self._stop)

    def trouble(self) -> str | None:
        """Say that there is none."""
        return None

    def waiting(self) -> Waiting | None:
        """Say that it never waits."""
        return None

    def eta_s(self, operations: float | None) -> float | None:
        """Say nothing: the input sets the pace, not a limit."""
        return None
