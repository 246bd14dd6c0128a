"""Rate limits as the API counts and tells them: a call comes in, a verdict and the rate headers go out.

It knows nothing of requests; a call that is over the limit takes nothing from any window.
"""

from __future__ import annotations

import re
import threading
from collections import deque
from math import ceil
from typing import Literal, Protocol

from msgspec import Struct

from voucherify_sync.errors import UsageProblem

CYCLE_S = 30 * 86400.0
API_CALLS, BULK_API_CALLS, API_CALLS_CYCLE = "api_calls", "bulk_api_calls", "api_calls_cycle"

_LIMIT = re.compile(r"(\d+)/(\d+(?:\.\d+)?)?(s|sec|second|m|min|minute|h|hour)", re.ASCII)
_UNIT_S = {"s": 1, "m": 60, "h": 3600}

Header = tuple[str, str]


class Limit(Struct, frozen=True):
    """So many calls in so many seconds."""

    calls: int
    period_s: float

    def __str__(self) -> str:
        return f"{self.calls}/{self.period_s:g}s"

    @classmethod
    def parse(cls, text: str) -> Limit:
        """Read ``100/min``, ``2000/h`` or ``100/2s``.

        Raises:
            UsageProblem: the text is written otherwise, or allows no call at all.
        """
        match = _LIMIT.fullmatch(text.replace(" ", ""))
        if match is None or int(match[1]) == 0 or float(match[2] or 1) == 0:
            raise UsageProblem(
                f"not a limit: {text!r}", "Write calls and period, such as 100/min, 2000/h or 100/2s."
            )
        return cls(int(match[1]), float(match[2] or 1) * _UNIT_S[match[3][0]])


class Window(Protocol):
    """Counts the calls of one limit. Not thread-safe."""

    limit: Limit

    def left(self, now: float) -> int:
        """Tell how many calls may still come."""

    def take(self, now: float) -> None:
        """Count one call."""

    def next_at(self, now: float) -> float:
        """Tell when calls come free."""


class FixedWindow:
    """A window that begins with the first call after the last one ended."""

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        self._start = float("-inf")
        self._calls = 0

    def left(self, now: float) -> int:
        """Tell how many calls the window still allows."""
        used = self._calls if now < self._start + self.limit.period_s else 0
        return self.limit.calls - used

    def take(self, now: float) -> None:
        """Count one call, in a new window when the last one is over."""
        if now >= self._start + self.limit.period_s:
            self._start, self._calls = now, 0
        self._calls += 1

    def next_at(self, now: float) -> float:
        """Tell when the window ends."""
        end = self._start + self.limit.period_s
        return max(now, end)


class SlidingWindow:
    """The calls of the last `period_s` seconds."""

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        self._calls: deque[float] = deque()

    def left(self, now: float) -> int:
        """Tell how many calls more the last `period_s` seconds may hold."""
        while self._calls and self._calls[0] <= now - self.limit.period_s:
            self._calls.popleft()
        return self.limit.calls - len(self._calls)

    def take(self, now: float) -> None:
        """Count one call."""
        self._calls.append(now)

    def next_at(self, now: float) -> float:
        """Tell when the oldest call leaves the window."""
        return self._calls[0] + self.limit.period_s if self._calls else now


class Verdict(Struct, frozen=True):
    """What the limits say to one call.

    Attributes:
        exceeded: the limit that forbids it, as X-Rate-Limit-Type names it; None when it may pass.
        headers: what the answer tells about the limit.
    """

    exceeded: str | None
    headers: tuple[Header, ...]


class Limits:
    """All limits of one project. Thread-safe."""

    def __init__(
        self,
        limit: Limit | None,
        bulk_limit: Limit | None = None,
        cycle_limit: int | None = None,
        window: Literal["fixed", "sliding"] = "fixed",
    ) -> None:
        make = FixedWindow if window == "fixed" else SlidingWindow
        self._lock = threading.Lock()
        self._windows: dict[str, Window] = {}
        if limit is not None:
            self._windows[API_CALLS] = make(limit)
        if bulk_limit is not None:
            self._windows[BULK_API_CALLS] = make(bulk_limit)
        if cycle_limit is not None:
            self._windows[API_CALLS_CYCLE] = FixedWindow(Limit(cycle_limit, CYCLE_S))

    def take(self, bucket: str, now: float) -> Verdict:
        """Count one call of a bucket, unless a limit forbids it. Bulk calls do not count in the cycle."""
        if not self._windows:
            return Verdict(None, ())
        names = (bucket,) if bucket == BULK_API_CALLS else (API_CALLS_CYCLE, bucket)
        with self._lock:
            windows = [(name, self._windows[name]) for name in names if name in self._windows]
            for name, window in windows:
                if window.left(now) <= 0:
                    return Verdict(name, _exceeded(name, window, now))
            for _, window in windows:
                window.take(now)
            return Verdict(None, self._headers(bucket, now))

    def peek(self, bucket: str, now: float) -> tuple[Header, ...]:
        """Return the rate headers without counting a call."""
        with self._lock:
            return self._headers(bucket, now)

    def _headers(self, bucket: str, now: float) -> tuple[Header, ...]:
        window = self._windows.get(bucket)
        if window is None:
            return ()
        return (
            ("X-Rate-Limit-Limit", str(window.limit.calls)),
            ("X-Rate-Limit-Remaining", str(max(0, window.left(now)))),
            ("X-Rate-Limit-Retry", str(ceil(window.next_at(now)))),
        )


def _exceeded(name: str, window: Window, now: float) -> tuple[Header, ...]:
    retry_at = ceil(window.next_at(now))
    return (
        ("X-Rate-Limit-Limit", str(window.limit.calls)),
        ("X-Rate-Limit-Remaining", "0"),
        ("X-Rate-Limit-Retry", str(retry_at)),
        ("Retry-After", str(max(1, ceil(retry_at - now)))),
        ("X-Rate-Limit-Type", name),
    )
