"""A limiter of calls whose clock, callers and answers are set by hand."""

from __future__ import annotations

from typing import Any

from support.simulated_quota import try_acquire
from voucherify_sync.stop import Stop
from voucherify_sync.voucherify.rate_limit import Bucket, CallWait, Limiter, Permit


class Hand:
    """A limiter whose clock and callers are set by hand."""

    def __init__(self, **limiter: Any) -> None:
        self.now = 1000.0
        self.wall = 5_000_000.0
        self.stop = Stop()
        self.limiter = Limiter(stop=self.stop, clock=lambda: self.now, wall=lambda: self.wall, **limiter)
        self.permits: dict[object, Permit] = {}

    def send(self, who: object, bucket: Bucket = Bucket.API) -> bool:
        permit = try_acquire(self.limiter, bucket)
        if isinstance(permit, Permit):
            self.permits[who] = permit
        return isinstance(permit, Permit)

    def answer(self, who: object, status: int = 200, **headers: object) -> None:
        self.give(who, status, {name.replace("_", "-"): str(value) for name, value in headers.items()})

    def give(self, who: object, status: int, headers: dict[str, str]) -> None:
        self.limiter.answered(self.permits.pop(who), status, headers)

    def lose(self, who: object) -> None:
        self.limiter.unanswered(self.permits.pop(who))

    def told(self, who: object, remaining: int, limit: int = 100) -> None:
        self.answer(who, X_Rate_Limit_Limit=limit, X_Rate_Limit_Remaining=remaining)

    def burst(self, most: int = 1000) -> int:
        return sum(self.send(("burst", number)) for number in range(most))

    def wait(self, bucket: Bucket = Bucket.API) -> CallWait | None:
        got = try_acquire(self.limiter, bucket)
        if isinstance(got, CallWait):
            return got
        self.permits["asks"] = got
        return None

    def wait_s(self, bucket: Bucket = Bucket.API) -> float:
        waiting = self.wait(bucket)
        return 0.0 if waiting is None else waiting.until - self.now
