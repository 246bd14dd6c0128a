"""Keeps requests back while Voucherify is in trouble: asked before a call, told after it how it went.

Three bad ends in a row of one kind of request open the circuit: nothing is sent, and one worker probes with a harmless
call. After a good probe the kind that had failed goes one at a time until one of it succeeds. An event sent into
trouble ends in doubt, so trials grow rare fast.

An outage is waited out for hours. A Voucherify that was never reached is no outage but a mistake in the settings or on
this machine: then the first end without a connection opens the circuit, and a few seconds of tries stop the run.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from enum import Enum, auto

from voucherify_sync.errors import RunStopped, VoucherifySyncError
from voucherify_sync.events import Kind
from voucherify_sync.stop import Stop
from voucherify_sync.voucherify.answers import Answer, NotSent, Reply, trouble_of, unreachable
from voucherify_sync.voucherify.rate_limit import Waiting
from voucherify_sync.voucherify.retry_policy import PAUSES, Pauses, json_object

OUTAGE_S = 4 * 3600.0
"""How long an outage is waited out."""
SILENCE_S = 120.0
"""How long the very first answer is waited for, where connections are taken and nothing answers on them."""
UNREACHED_S = 10.0
"""How long the very first connection is tried for."""
_UNREACHED_PAUSE_S = 0.5
_BAD_IN_A_ROW = 3
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
        probe: makes a harmless call and returns how it ended; None if the run is stopping. May block for quota.
        stop: told when an outage lasts 4 hours, and earlier where nothing has ever answered.
        ever_succeeded: a call has succeeded with this ledger before, so that the address is right, and what does not
            answer now is in an outage.
        unreached_s: seconds of tries until the run stops where no connection was ever made.
        pauses: before probes and trials.
        clock: monotonic seconds.
        wait: waits on a condition for a number of seconds at most.

    Attributes:
        ever_answered: something has answered at least once in this run, whatever it said.
    """

    def __init__(
        self,
        probe: Callable[[], Answer | None],
        stop: Stop,
        *,
        ever_succeeded: bool = False,
        unreached_s: float = UNREACHED_S,
        pauses: Pauses = PAUSES,
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
        self._ever_succeeded = ever_succeeded
        self._unreached_s = unreached_s
        self._pauses = pauses
        self._first_at: float | None = None
        self._ever_connected = False
        self._bad_end: Answer | None = None
        self._ended_badly = False
        self.ever_answered = False

    @property
    def is_open(self) -> bool:
        """Whether everything waits."""
        return self._open

    @property
    def trouble(self) -> str | None:
        """How the last call failed, in a few words; None if it did not. A good probe is no call in this sense."""
        return self._last_trouble if self._ended_badly else None

    @property
    def _last_trouble(self) -> str:
        return "" if self._bad_end is None else trouble_of(self._bad_end)

    def waiting(self) -> Waiting | None:
        """Say until when everything waits, for the display."""
        return Waiting(f"an answer ({self._last_trouble})", self._due) if self._open else None

    def enter(self, kind: Kind) -> bool:
        """Wait until a request of this kind may go; `leave` must follow. False: not entered, the run is stopping."""
        return self._pass(kind)

    def await_closed(self) -> bool:
        """Wait until the circuit is not open, for calls that are harmless. False: the run is stopping."""
        return self._pass(None)

    def heard(self, answer: Answer, well: bool | None) -> None:
        """Take in how any call ended, and whether that was well; before `leave`, which may open the circuit for it."""
        self._note(answer, well)
        self._ended_badly = well is False

    def _note(self, answer: Answer, well: bool | None) -> None:
        self.ever_answered = self.ever_answered or _status(answer) is not None
        self._ever_connected = self._ever_connected or not isinstance(answer, NotSent)
        if well is False:
            self._bad_end = answer

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
            if self._first_at is None:
                self._first_at = now
            return _Step.GO
        self._wait(self._changed, _SLICE_S)
        return _Step.ASK_AGAIN

    def _step_while_open(self, now: float) -> _Step:
        if self._outage_since is not None and now - self._outage_since >= self._patience_s:
            self._stop.because(self._error())
        elif not self._probing and now >= self._due:
            self._probing = True
            return _Step.PROBE
        else:
            self._wait(self._changed, min(max(self._due - now, 0.01), _SLICE_S))
        return _Step.ASK_AGAIN

    @property
    def _is_unreached(self) -> bool:
        """Whether nothing shows that there is a Voucherify at this address: every call ended without a connection."""
        return not (self._ever_succeeded or self.ever_answered or self._ever_connected)

    @property
    def _patience_s(self) -> float:
        if self._is_unreached:
            return self._unreached_s
        return OUTAGE_S if self._ever_succeeded or self.ever_answered else SILENCE_S

    def _error(self) -> VoucherifySyncError:
        if self._is_unreached and isinstance(self._bad_end, NotSent):
            return unreachable(self._bad_end)
        if not (self._ever_succeeded or self.ever_answered):
            return RunStopped(
                f"Voucherify has not answered once in 2 minutes: {self._last_trouble}",
                "Check api.url, the network and the proxy.",
            )
        return RunStopped(
            f"Voucherify has been out of order for 4 hours: {self._last_trouble}",
            "Go on when it answers.",
        )

    def _probe_once(self) -> None:
        well = False
        try:
            answer = self._probe()
            if answer is not None:
                well = _is_alive(answer)
                self._note(answer, well)
        finally:
            with self._changed:
                self._probing = False
                if well:
                    self._open = False
                    self._bad_probes = 0
                else:
                    self._due = self._clock() + self._probe_pause_s()
                    self._bad_probes += 1
                self._changed.notify_all()

    def _probe_pause_s(self) -> float:
        return _UNREACHED_PAUSE_S if self._is_unreached else self._pauses.probe.at(self._bad_probes)

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
        if self._open or (health.bad < _BAD_IN_A_ROW and not self._is_unreached):
            return
        now = self._clock()
        if self._outage_since is None:
            self._outage_since = self._first_at if self._is_unreached else now
            self._due = now + self._probe_pause_s()
        else:
            self._due = now + self._pauses.trial(kind).at(self._bad_trials)
            self._bad_trials += 1
        self._suspect = kind
        self._open = True


def _status(answer: Answer) -> int | None:
    """Return the HTTP status of an answer, were it cut off behind it; None where there was none."""
    return None if isinstance(answer, NotSent) else answer.status


def _is_alive(answer: Answer) -> bool:
    """Tell whether a probe was good: any answer is that only a working API gives."""
    if not isinstance(answer, Reply):
        return False
    if 200 <= answer.status < 300:
        return json_object(answer.body) is not None
    return 400 <= answer.status < 500 and answer.status != 408
