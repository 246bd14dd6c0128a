"""SIGINT, SIGTERM and SIGHUP stop a run in order; the second one ends the process at once."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from voucherify_sync.errors import ExitCode
from voucherify_sync.stop import Stop

EXIT_CODES = {
    signal.SIGINT: ExitCode.INTERRUPTED,
    signal.SIGTERM: ExitCode.TERMINATED,
    signal.SIGHUP: ExitCode.HANGUP,
}


@contextmanager
def stopping_in_order(stop: Stop) -> Iterator[None]:
    """Within this block a signal requests the stop instead of ending the process.

    The handler writes with `os.write`: buffered streams may be in the middle of a write when it runs.
    """

    def handle(number: int, _frame: FrameType | None) -> None:
        code = EXIT_CODES[signal.Signals(number)]
        if stop.signal_exit is not None:
            os._exit(code)
        stop.by_signal(code)
        name = signal.Signals(number).name
        say = f"\n{name}: finishing what is under way; once more to leave at once.\n"
        os.write(sys.stderr.fileno(), say.encode())

    before = {number: signal.signal(number, handle) for number in EXIT_CODES}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def interrupts_raise() -> Iterator[None]:
    """Within this block Ctrl-C raises KeyboardInterrupt, as for any question: nothing is under way that could end."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
