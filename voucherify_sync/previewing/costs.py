"""What requests cost: counts in; the calls, the time and the share of a billing cycle that they take, out.

Pure arithmetic: it reads nothing and asks nobody.
"""

from __future__ import annotations

from math import ceil
from typing import Final

from msgspec import Struct

from voucherify_sync.settings import Rate

POLLS_OF_A_REQUEST: Final = 4
"""By estimate, a bulk request is asked after so often until it is carried out: after 0.5, 1.5, 3.5 and 7.5 s."""


class Cost(Struct, frozen=True):
    """Calls by what they are for.

    Attributes:
        customers: that create or update customers, alone or in bulk.
        polls: that ask how a bulk request went; an estimate.
        events: that record custom events.
    """

    customers: int
    polls: int
    events: int

    @property
    def calls(self) -> int:
        """All of them."""
        return self.customers + self.polls + self.events


class Allowance(Struct, frozen=True):
    """What a plan of Voucherify allows.

    Attributes:
        name: of the plan.
        calls: so many a period; None where nobody knows.
        period_s: seconds of a period.
        cycle: calls in a billing cycle; None where there is no such limit, or nobody knows it.
    """

    name: str
    calls: int | None = None
    period_s: int = 60
    cycle: int | None = None

    def usable(self, reserve: float) -> int | None:
        """Return the calls a period that a reserve, such as 0.1, leaves to us; at least one."""
        if self.calls is None:
            return None
        return self.calls - min(int(self.calls * reserve), self.calls - 1)


PUBLIC_PLANS: Final = (
    Allowance("Sandbox project", 100, 3_600),
    Allowance("Business", 100, 60, 100_000),
    Allowance("Organization", 2_000, 60, 300_000),
)
"""As Voucherify publishes them; Enterprise is agreed one by one."""


class Fit(Struct, frozen=True):
    """How so many calls fit under one plan.

    Attributes:
        calls: to be made.
        duration_s: seconds that the limits make of it; None where no limit is known.
        cycle: calls in a billing cycle, or None.
    """

    calls: int
    duration_s: float | None
    cycle: int | None

    @property
    def share(self) -> float | None:
        """Part of one billing cycle: 0.5 is half of it, 2.0 is two of them."""
        return None if self.cycle is None else self.calls / self.cycle

    @property
    def over(self) -> int:
        """Calls that one billing cycle has no room for."""
        return 0 if self.cycle is None else max(self.calls - self.cycle, 0)

    @property
    def cycles(self) -> int:
        """Billing cycles that it takes."""
        return 1 if self.cycle is None else max(ceil(self.calls / self.cycle), 1)


def fit(calls: int, allowance: Allowance, reserve: float = 0.0, pace: Rate | None = None) -> Fit:
    """Tell how calls fit under a plan.

    Args:
        calls: to be made.
        allowance: what the plan allows.
        reserve: part of the limit that is left to others.
        pace: the user's own limit, beside that of the plan.
    """
    spans = []
    usable = allowance.usable(reserve)
    if usable is not None:  # a window's calls go out at once, then it is waited for the next
        spans.append(float(max(ceil(calls / usable) - 1, 0) * allowance.period_s))
    if pace is not None:  # a pace is kept evenly
        spans.append(max(calls - 1, 0) * pace.period_s / pace.calls)
    return Fit(calls, max(spans, default=None), allowance.cycle)
