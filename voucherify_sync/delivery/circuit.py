"""Keeps requests back while Voucherify is in trouble: asked before a call, told after it how it went.

Three bad ends in a row of one kind of request open the circuit: nothing is sent, and one worker probes with a harmless
call. After a good probe the kind that had failed goes one at a time until one of it succeeds. An event sent into
trouble ends in doubt, so trials grow rare fast.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from enum import Enum, auto
from typing import TYPE_CHECKING

from voucherify_sync.delivery.answer import Reply
from voucherify_sync.delivery.quota import Limiter, Waiting
from voucherify_sync.delivery.refusals import harmless_call
from voucherify_sync.delivery.retry import json_object
from voucherify_sync.errors import RunStopped
from voucherify_sync.model import Kind
from voucherify_sync.stop import Stop

if TYPE_CHECKING:  # it needs requests, which is slow to import
    from voucherify_sync.delivery.client import Client

OUTAGE_S = 4 * 3600.0
"""So long an outage is waited out."""
SILENCE_S = 120.0
"""So long it is waited for the very first answer: what never answered is more likely a wrong address than an outage."""
_BAD_IN_A_ROW = 3
_PROBE_S = (1.0, 60.0, 2.0)
"""Pause before a probe: the first, the longest, and how many times the one before each is."""
_TRIAL_S = {Kind.CUSTOMER: (1.0, 300.0, 2.0), Kind.EVENT: (15.0, 900.0, 4.0)}
"""Pause after a trial that failed. A customer that fails costs nothing, and may fail for itself alone."""
_SLICE_S = 0.25


class _Step(Enum):
    GO = auto()
    PROBE = auto()
    ASK_AGAIN = auto()


class _Health:
    """How one kind of request has been doing."""

    def __init__(self) -> None:
        self.proven = False
        self.bad = 0
        self.in_flight = 0

    @property
    def free(self) -> bool:
        """Whether one more may go: one at a time until the first success, and again from the first bad end on."""
        return self.in_flight == 0 or (self.proven and self.bad == 0)


class Circuit:
    """One circuit for all lanes.

    Args:
        probe: makes a harmless call and tells whether Voucherify answers it; may block for quota.
        stop: told when an outage lasts 4 hours, or 2 minutes before anything has answered.
        clock: monotonic seconds.
        wait: waits on a condition for so many seconds at most.

    Attributes:
        trouble: a few words on the last bad end.
        ever_answered: something has answered at least once, whatever it said.
    """

    def __init__(
        self,
        probe: Callable[[], bool],
        stop: Stop,
        *,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[threading.Condition, float], object] = threading.Condition.wait,
    ) -> None:
        self._probe = probe
        self._stop = stop
        self._clock = clock
        self._wait = wait
        self._changed = threading.Condition()
        self._health = {kind: _Health() for kind in Kind}
        self._suspect = Kind.EVENT
        self._open = False
        self._probing = False
        self._due = 0.0
        self._outage_since: float | None = None
        self._bad_probes = 0
        self._bad_trials = 0
        self.trouble = ""
        self.ever_answered = False

    @property
    def is_open(self) -> bool:
        """Whether everything waits."""
        return self._open

    def waiting(self) -> Waiting | None:
        """Say until when everything waits, for the display."""
        return Waiting(f"an answer ({self.trouble})", self._due) if self._open else None

    def enter(self, kind: Kind) -> bool:
        """Wait until a request of this kind may go; `leave` must follow. False: not entered, the run is stopping."""
        return self._pass(kind)

    def await_closed(self) -> bool:
        """Wait until the circuit is not open, for calls that are harmless. False: the run is stopping."""
        return self._pass(None)

    def leave(self, kind: Kind, well: bool | None) -> None:
        """Tell how a request ended: well, badly, or (None) in a way that says nothing about Voucherify's health."""
        with self._changed:
            self._health[kind].in_flight -= 1
            if well:
                self._succeeded(kind)
            elif well is False:
                self._failed(kind)
            self._changed.notify_all()

    def _pass(self, kind: Kind | None) -> bool:
        while not self._stop.requested:
            with self._changed:
                step = self._step(kind)
            if step is _Step.GO:
                return True
            if step is _Step.PROBE:
                self._probe_once()
        return False

    def _step(self, kind: Kind | None) -> _Step:
        now = self._clock()
        if self._open:
            return self._step_while_open(now)
        if kind is None:
            return _Step.GO
        health = self._health[kind]
        if health.free:
            health.in_flight += 1
            return _Step.GO
        self._wait(self._changed, _SLICE_S)
        return _Step.ASK_AGAIN

    def _step_while_open(self, now: float) -> _Step:
        patience_s = OUTAGE_S if self.ever_answered else SILENCE_S
        if self._outage_since is not None and now - self._outage_since >= patience_s:
            self._stop.because(self._outage())
        elif not self._probing and now >= self._due:
            self._probing = True
            return _Step.PROBE
        else:
            self._wait(self._changed, min(max(self._due - now, 0.01), _SLICE_S))
        return _Step.ASK_AGAIN

    def _outage(self) -> RunStopped:
        if not self.ever_answered:
            return RunStopped(
                f"Voucherify has not answered once in 2 minutes: {self.trouble}",
                "Check api.url, the network and the proxy; then the same command goes on.",
            )
        return RunStopped(
            f"Voucherify has been out of order for 4 hours: {self.trouble}",
            "Run the same command again when it answers; it goes on from here.",
        )

    def _probe_once(self) -> None:
        well = False
        try:
            well = self._probe()
        finally:
            with self._changed:
                self._probing = False
                if well:
                    self._open = False
                    self._bad_probes = 0
                else:
                    self._due = self._clock() + _growing(_PROBE_S, self._bad_probes)
                    self._bad_probes += 1
                self._changed.notify_all()

    def _succeeded(self, kind: Kind) -> None:
        health = self._health[kind]
        health.proven, health.bad = True, 0
        if kind is self._suspect:
            self._open = False
            self._outage_since = None
            self._bad_trials = 0

    def _failed(self, kind: Kind) -> None:
        health = self._health[kind]
        health.bad += 1
        if self._open or health.bad < _BAD_IN_A_ROW:
            return
        now = self._clock()
        if self._outage_since is None:
            self._outage_since = now
            self._due = now + _PROBE_S[0]
        else:
            self._due = now + _growing(_TRIAL_S[kind], self._bad_trials)
            self._bad_trials += 1
        self._suspect = kind
        self._open = True


def api_probe(client: Client, limiter: Limiter) -> Callable[[], bool]:
    """Return the probe of the circuit. Any answer that only a working API gives is good."""
    call = harmless_call(client, limiter)

    def probe() -> bool:
        reply = call()
        return reply is not None and _is_alive(reply)

    return probe


def _is_alive(reply: Reply) -> bool:
    if 200 <= reply.status < 300:
        return json_object(reply.body) is not None
    return 400 <= reply.status < 500 and reply.status != 408


def _growing(pauses: tuple[float, float, float], times: int) -> float:
    first, longest, factor = pauses
    return min(longest, first * factor ** min(times, 16))
