"""The flag that stops a run: every stage reads it, and any stage may set it, with the reason."""

from __future__ import annotations

import time

from voucherify_sync.errors import RunStopped, VoucherifySyncError
from voucherify_sync.exit_codes import ExitCode

_SLICE_S = 0.05
_SIGNALS = {
    ExitCode.INTERRUPTED: "Ctrl-C (SIGINT)",
    ExitCode.TERMINATED: "SIGTERM",
    ExitCode.HANGUP: "SIGHUP, as when a terminal is closed",
}


class Stop:
    """A request to stop the run, made once: the first cause stays.

    It has plain attributes and no lock: a signal handler that takes a lock could find it held by the very thread that
    it interrupts, and wait for ever.
    """

    def __init__(self) -> None:
        self.requested = False
        self.error: VoucherifySyncError | None = None
        self.signal_exit: ExitCode | None = None

    @property
    def reason(self) -> str | None:
        """Why the run stops and what to do, in sentences; None if nothing stops it."""
        if self.error is not None:
            return str(self.error)
        return None if self.signal_exit is None else f"{_SIGNALS[self.signal_exit]} ended it."

    @property
    def exit_code(self) -> ExitCode:
        """Exit code of a command that had not begun to send when it was stopped."""
        return self.signal_exit or (self.error.exit_code if self.error else ExitCode.INTERRUPTED)

    def because(self, error: VoucherifySyncError) -> None:
        """Stop for an error; a later error does not replace an earlier one."""
        if self.error is None:
            self.error = error
        self.requested = True

    def request(self, why: str = "the program that runs it asked for it") -> None:
        """Stop cleanly: what is in flight is waited for, the report is complete, and the same run goes on later."""
        self.because(RunStopped(f"stopped: {why}."))

    def by_signal(self, exit_code: ExitCode) -> None:
        """Stop for a signal; the exit code is 128 plus its number."""
        if self.signal_exit is None:
            self.signal_exit = exit_code
        self.requested = True

    def wait(self, timeout_s: float) -> bool:
        """Sleep until a stop is requested or the time is over; return whether it was requested."""
        end = time.monotonic() + timeout_s
        while not self.requested:
            left = end - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(left, _SLICE_S))
        return True
