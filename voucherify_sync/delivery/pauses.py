"""The pauses of the delivery that are a matter of policy: tests shorten them."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from voucherify_sync.model import Kind


class Growing(Struct, frozen=True):
    """A pause that grows each time.

    Attributes:
        first_s: seconds, the first time.
        longest_s: seconds at most.
        factor: how many times the one before each is.
    """

    first_s: float
    longest_s: float
    factor: float

    def at(self, times: int) -> float:
        """Return the seconds of the pause after so many before it."""
        return min(self.longest_s, self.first_s * self.factor ** min(times, 16))


class Pauses(Struct, frozen=True, kw_only=True):
    """How long the delivery waits where nobody asks it to.

    Attributes:
        settle_s: seconds before each look at the activity log, which may lag.
        probe: before a harmless call that asks whether Voucherify answers again.
        customer_trial: after a trial with a customer that failed: it costs nothing, and may fail for itself alone.
        event_trial: after one with an event, which ends in doubt when it is sent into trouble.
        spent_s: seconds at most before a retry for which the budget of retries has no more.
    """

    settle_s: tuple[float, ...] = (5.0, 60.0)
    probe: Growing = Growing(1.0, 60.0, 2.0)
    customer_trial: Growing = Growing(1.0, 300.0, 2.0)
    event_trial: Growing = Growing(15.0, 900.0, 4.0)
    spent_s: float = 60.0

    def trial(self, kind: Kind) -> Growing:
        """Return the pause after a trial that failed."""
        return self.customer_trial if kind is Kind.CUSTOMER else self.event_trial


PAUSES: Final = Pauses()
"""The usual ones."""
