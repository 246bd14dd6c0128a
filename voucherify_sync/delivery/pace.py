"""Spaces calls evenly: at the rate that the user set, or at half the pace after a 429 that tells no limit."""

from __future__ import annotations

from collections import deque
from math import inf

from voucherify_sync.delivery.rate_headers import LONGEST_WAIT_S

_BURST_S = 0.05
"""Calls that are due within this time may go out at once; sleeping is no finer than that under load."""
_MEASURED_CALLS = 256
_MEASURED_S = 60.0
_FREE_INTERVAL_S = 1e-4
"""A pace of more calls than that holds no call back."""


class Pace:
    """Calls at even intervals.

    Args:
        interval_s: seconds from one call to the next.
    """

    def __init__(self, interval_s: float) -> None:
        self.interval_s = interval_s
        self._due = -inf

    def next_at(self) -> float:
        """Return when the next call may go out, in monotonic seconds."""
        return self._due - self.interval_s * int(_BURST_S / self.interval_s)

    def sent(self, now: float) -> None:
        """Count a call that goes out now."""
        self._due = max(self._due, now) + self.interval_s


class SlowDown:
    """Half the pace after a 429 without rate headers, doubled again with each window that passes without one.

    Such a 429 comes from a proxy, or from a limit that the API does not tell. How many calls it allows in which time is
    not known, and neither is guessed; what is known is how fast calls went and how long the server kept them out.

    **Pace** is calls per second as they went out before the 429: those of the last minute, 256 at most, up to the
    moment at which the 429 came. That is the pace that was too fast, bursts included. Where no call preceded the
    refused one there is no pace to halve: the call after the pause goes alone, and the next 429 measures.

    **Window** is the API's own, once its length is learnt. Where no limit was ever told, it is the wait that came with
    the 429, by Retry-After or by the backoff that grows while calls are refused: it is the server's only word on how
    long it takes until it accepts calls again. So the pace adapts to short and long windows alike. A window in which no
    call is due proves nothing, so it lasts for one call at least.

    All 429s to calls that went out before the pause are one piece of news, and so are those to the single calls that
    try again after it: the pace is halved once, until a call was accepted.
    """

    def __init__(self) -> None:
        self._sent: deque[float] = deque(maxlen=_MEASURED_CALLS)
        self._pace: Pace | None = None
        self._window_s = 0.0
        self._doubles_at = inf

    @property
    def interval_s(self) -> float | None:
        """Seconds from one call to the next at present; None while calls are not slowed down."""
        return None if self._pace is None else self._pace.interval_s

    def next_at(self, now: float) -> float:
        """Return when the next call may go out."""
        while self._pace is not None and now >= self._doubles_at:
            self._pace.interval_s /= 2
            self._doubles_at += self._window_s
            if self._pace.interval_s < _FREE_INTERVAL_S:
                self._pace = None
        return -inf if self._pace is None else self._pace.next_at()

    def sent(self, now: float) -> None:
        """Count a call that goes out now."""
        self._sent.append(now)
        if self._pace is not None:
            self._pace.sent(now)

    def refused(self, now: float, resume_at: float, period_s: float | None, *, is_first: bool) -> None:
        """Slow down after a 429.

        Args:
            now: when it came.
            resume_at: when the next call may go out.
            period_s: length of the API's window, if it is learnt.
            is_first: a call was accepted since the last 429, so this one is about the present pace.
        """
        if is_first:
            interval_s = 2 * max(self._measured_s(now), self.interval_s or 0.0)
            self._pace = Pace(min(interval_s, LONGEST_WAIT_S)) if interval_s else None
            self._sent.clear()
        self._window_s = max(period_s or resume_at - now, self.interval_s or 0.0)
        self._doubles_at = resume_at + self._window_s

    def _measured_s(self, now: float) -> float:
        """Return the mean seconds from one call to the next before the refused one; 0 if there was none."""
        recent = [sent_at for sent_at in self._sent if sent_at >= now - _MEASURED_S]
        return (now - recent[0]) / (len(recent) - 1) if len(recent) > 1 else 0.0
