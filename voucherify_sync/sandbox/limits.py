"""Rate limits as the API counts and reports them. A call over a limit takes nothing from any window."""

from __future__ import annotations

import re
from collections import deque
from math import ceil
from typing import Self

from voucherify_sync.errors import UsageProblem
from voucherify_sync.sandbox.options import SandboxOptions

CYCLE_S = 30 * 86400.0
API_CALLS, BULK_API_CALLS, API_CALLS_CYCLE = "api_calls", "bulk_api_calls", "api_calls_cycle"

_LIMIT = re.compile(r"(\d+)/(\d+(?:\.\d+)?)?(s|sec|second|m|min|minute|h|hour)", re.ASCII)
_UNIT_S = {"s": 1, "m": 60, "h": 3600}

Headers = tuple[tuple[str, str], ...]


class CallWindow:
    """Counts the calls of one limit. Not thread-safe.

    A fixed window begins with the first call after the last one ended, and frees all its calls at once. A sliding
    window frees each call one period after it came.
    """

    def __init__(self, max_calls: int, period_s: float, *, is_sliding: bool = False) -> None:
        self.max_calls = max_calls
        self.period_s = period_s
        self._is_sliding = is_sliding
        self._called_at: deque[float] = deque()

    @classmethod
    def parse(cls, text: str, *, is_sliding: bool = False) -> Self:
        """Make a window of ``100/min``, ``2000/h`` or ``100/2s``.

        Raises:
            UsageProblem: the text is written otherwise, or allows no call at all.
        """
        match = _LIMIT.fullmatch(text.replace(" ", ""))
        if match is None or int(match[1]) == 0 or float(match[2] or 1) == 0:
            raise UsageProblem(
                f"not a limit: {text!r}", "Write calls and period, such as 100/min, 2000/h or 100/2s."
            )
        return cls(int(match[1]), float(match[2] or 1) * _UNIT_S[match[3][0]], is_sliding=is_sliding)

    def count_left(self, now: float) -> int:
        """Forget the calls that no longer count, and return how many calls may still come."""
        while self._called_at and self._called_at[0] <= now - self.period_s:
            if self._is_sliding:
                self._called_at.popleft()
            else:
                self._called_at.clear()
        return self.max_calls - len(self._called_at)

    def add(self, now: float) -> None:
        """Count one call."""
        self._called_at.append(now)

    def headers(self, now: float, exceeded: str | None = None) -> Headers:
        """Return what an answer says of the window; `exceeded` is the name of the limit that refused the call."""
        left = max(0, self.count_left(now))
        retry_at = ceil(self._called_at[0] + self.period_s if self._called_at else now)
        headers = (
            ("X-Rate-Limit-Limit", str(self.max_calls)),
            ("X-Rate-Limit-Remaining", str(left)),
            ("X-Rate-Limit-Retry", str(retry_at)),
        )
        if exceeded is None:
            return headers
        return *headers, ("Retry-After", str(max(1, ceil(retry_at - now)))), ("X-Rate-Limit-Type", exceeded)


class CallLimits:
    """All limits of one project."""

    def __init__(self, options: SandboxOptions) -> None:
        self._windows = {
            name: CallWindow.parse(text, is_sliding=options.window == "sliding")
            for name, text in ((API_CALLS, options.limit), (BULK_API_CALLS, options.bulk_limit))
            if text is not None
        }
        if options.cycle_limit is not None:
            self._windows[API_CALLS_CYCLE] = CallWindow(options.cycle_limit, CYCLE_S)

    def take(self, bucket: str, now: float) -> tuple[str | None, Headers]:
        """Count one call of a bucket, unless a limit forbids it. Bulk calls do not count in the cycle.

        Returns:
            The limit that forbids the call, as X-Rate-Limit-Type names it, and the rate headers of the answer.
        """
        names = (bucket,) if bucket == BULK_API_CALLS else (API_CALLS_CYCLE, bucket)
        windows = {name: self._windows[name] for name in names if name in self._windows}
        for name, window in windows.items():
            if window.count_left(now) <= 0:
                return name, window.headers(now, exceeded=name)
        for window in windows.values():
            window.add(now)
        return None, self.peek(bucket, now)

    def peek(self, bucket: str, now: float) -> Headers:
        """Return the rate headers without counting a call."""
        return self._windows[bucket].headers(now) if bucket in self._windows else ()
