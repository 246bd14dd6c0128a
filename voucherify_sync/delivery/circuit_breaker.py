"""Keeps requests back while Voucherify is in trouble: asked before a call, told after it how it went.

Three bad ends in a row of one kind of request open the breaker: nothing is sent, and one worker probes with a harmless
call. After a good probe the kind that had failed goes one at a time until one of it succeeds. An event sent into
trouble ends in doubt, so trials grow rare fast.

An outage is waited out for hours. A Voucherify that was never reached is no outage but a mistake in the settings or on
this machine: then the first end without a connection opens the breaker, and a few seconds of tries stop the run.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from math import inf

from voucherify_sync.errors import RunStopped, Unreachable
from voucherify_sync.events import Kind
from voucherify_sync.stop import Stop
from voucherify_sync.voucherify.answers import (
    Answer,
    NotSent,
    Reply,
    outage_in_words,
    trouble_of,
    unreachable_error,
)
from voucherify_sync.voucherify.limited_client import Probe
from voucherify_sync.voucherify.rate_limit import CallWait
from voucherify_sync.voucherify.retry_policy import PAUSES, Pauses, is_success

OUTAGE_S = 4 * 3600.0
"""How long an outage is waited out."""
SILENCE_S = 120.0
"""How long the very first answer is waited for, where connections are taken and nothing answers on them."""
UNREACHED_S = 10.0
"""How long the very first connection is tried for."""
_UNREACHED_PAUSE_S = 0.5
_BAD_IN_A_ROW = 3
_SLICE_S = 0.25
"""The longest wait without asking whether the run stops."""


class _Health:
    """How one kind of request has been doing."""

    def __init__(self) -> None:
        self.has_succeeded = False
        self.bad_in_a_row = 0
        self.in_flight = 0

    @property
    def is_free(self) -> bool:
        """Whether one more may go: one at a time until the first success, and again from the first bad end on."""
        return self.in_flight == 0 or (self.has_succeeded and self.bad_in_a_row == 0)


class CircuitBreaker:
    """One circuit breaker for all lanes and for bulk requests.

    Args:
        stop: told when an outage lasts 4 hours, and earlier where nothing has ever answered.
        ever_succeeded: a call has succeeded with this ledger before, so that the address is right, and what does not
            answer now is in an outage.
        unreached_s: seconds of tries until the run stops where no connection was ever made.
        pauses: before probes and trials.
        clock: monotonic seconds.
        wait: waits on a condition for a number of seconds at most.

    Attributes:
        is_open: everything waits.
        ever_answered: something has answered at least once in this run, whatever it said.
    """

    def __init__(
        self,
        stop: Stop,
        *,
        ever_succeeded: bool = False,
        unreached_s: float = UNREACHED_S,
        pauses: Pauses = PAUSES,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[threading.Condition, float], object] = threading.Condition.wait,
    ) -> None:
        self.is_open = False
        self.ever_answered = False
        self._stop = stop
        self._ever_succeeded = ever_succeeded
        self._unreached_s = unreached_s
        self._pauses = pauses
        self._clock = clock
        self._wait = wait
        self._changed = threading.Condition()
        self._health = {kind: _Health() for kind in Kind}
        self._suspect = Kind.EVENT
        self._is_probing = False
        self._due = 0.0
        self._first_at: float | None = None
        self._outage_since: float | None = None
        self._bad_probes = self._bad_trials = 0
        self._ever_connected = False
        self._bad_end: Answer | None = None
        self._ended_badly = False

    @property
    def trouble(self) -> str | None:
        """How the last call failed, in a few words; None if it did not. A good probe is no call in this sense."""
        return self._last_trouble if self._ended_badly else None

    @property
    def _last_trouble(self) -> str:
        return "" if self._bad_end is None else trouble_of(self._bad_end)

    @property
    def unreached(self) -> Unreachable | None:
        """The error of a run in which every call ended without a connection; None if one had one, or none ended."""
        if self._is_unreached and isinstance(self._bad_end, NotSent):
            return unreachable_error(self._bad_end)
        return None

    def waiting(self, host: str) -> CallWait | None:
        """Say until when everything waits for a host, for the display; the past while it is being tried."""
        if not self.is_open or self._bad_end is None:
            return None
        return CallWait(
            "outage", -inf if self._is_probing else self._due, outage_in_words(self._bad_end, host)
        )

    def enter(self, kind: Kind | None, probe: Probe) -> bool:
        """Wait until a request may go; `leave` must follow. False: not entered, the run is stopping.

        Args:
            kind: of the request. None: a call that creates nothing; it only waits for the breaker to close, and
                `leave` does not follow.
            probe: makes a harmless call, if it is this thread's turn. May block for a permit.
        """
        while not self._stop.requested:
            with self._changed:
                now = self._clock()
                if not self.is_open:
                    if kind is None:
                        return True
                    health = self._health[kind]
                    if health.is_free:
                        health.in_flight += 1
                        self._first_at = now if self._first_at is None else self._first_at
                        return True
                    self._wait(self._changed, _SLICE_S)
                    continue
                if self._has_lasted_too_long(now):
                    continue
                if self._is_probing or now < self._due:
                    self._wait(self._changed, min(max(self._due - now, 0.01), _SLICE_S))
                    continue
                self._is_probing = True
            self._probe_once(probe)
        return False

    def leave(self, kind: Kind, is_well: bool | None, answer: Answer | None = None) -> None:
        """Tell how a request ended.

        Args:
            kind: of the request.
            is_well: None: in a way that says nothing about Voucherify's health.
            answer: None: no call was made.
        """
        with self._changed:
            health = self._health[kind]
            health.in_flight -= 1
            if answer is not None:
                self._note(answer, is_well)
                self._ended_badly = is_well is False
            if is_well:
                health.has_succeeded, health.bad_in_a_row = True, 0
                if kind is self._suspect:
                    self.is_open = False
                    self._outage_since = None
                    self._bad_trials = 0
            elif is_well is False:
                health.bad_in_a_row += 1
                if not self.is_open and (health.bad_in_a_row >= _BAD_IN_A_ROW or self._is_unreached):
                    self._open(kind)
            self._changed.notify_all()

    def _open(self, kind: Kind) -> None:
        now = self._clock()
        if self._outage_since is None:
            self._outage_since = self._first_at if self._is_unreached else now
            self._due = now + self._probe_pause_s()
        else:  # the breaker was closed for a trial
            self._due = now + self._pauses.trial(kind).at(self._bad_trials)
            self._bad_trials += 1
        self._suspect = kind
        self.is_open = True

    def _note(self, answer: Answer, is_well: bool | None) -> None:
        if not isinstance(answer, NotSent):
            self._ever_connected = True
            if answer.status is not None:  # an answer that was cut off behind its status is one, too
                self.ever_answered = True
        if is_well is False:
            self._bad_end = answer

    @property
    def _is_unreached(self) -> bool:
        """Whether nothing shows that there is a Voucherify at this address: every call ended without a connection."""
        return not (self._ever_succeeded or self.ever_answered or self._ever_connected)

    @property
    def _timeout_s(self) -> float:
        if self._is_unreached:
            return self._unreached_s
        return OUTAGE_S if self._ever_succeeded or self.ever_answered else SILENCE_S

    def _has_lasted_too_long(self, now: float) -> bool:
        if self._outage_since is None or now - self._outage_since < self._timeout_s:
            return False
        if (unreached := self.unreached) is not None:
            self._stop.because(unreached)
        elif self._ever_succeeded or self.ever_answered:
            message = f"Voucherify has been out of order for 4 hours: {self._last_trouble}"
            self._stop.because(RunStopped(message, "Go on when it answers."))
        else:
            message = f"Voucherify has not answered once in 2 minutes: {self._last_trouble}"
            self._stop.because(RunStopped(message, "Check api.url, the network and the proxy."))
        return True

    def _probe_once(self, probe: Probe) -> None:
        is_alive = False
        try:
            answer = probe()
            if isinstance(answer, Reply):  # any answer will do that only a working API gives
                is_alive = is_success(answer) or (400 <= answer.status < 500 and answer.status != 408)
            if answer is not None:
                self._note(answer, is_alive)
        finally:
            with self._changed:
                self._is_probing = False
                if is_alive:
                    self.is_open = False
                    self._bad_probes = 0
                else:
                    self._due = self._clock() + self._probe_pause_s()
                    self._bad_probes += 1
                self._changed.notify_all()

    def _probe_pause_s(self) -> float:
        return _UNREACHED_PAUSE_S if self._is_unreached else self._pauses.probe.at(self._bad_probes)
