"""Handles SIGINT, SIGTERM and SIGHUP: the process ends at once, a block is left, or a run stops cleanly.

A signal that was ignored when the process began stays ignored: `nohup` and the background jobs of a shell rely on it.
The exit code is 128 + the signal's number, as in a shell.
"""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager, suppress

TYPE_CHECKING = False  # typing is slow to import: see `main`
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from voucherify_sync.stop import Stop

    Handler = Callable[[int, FrameType | None], object]

_screens: list[Callable[..., str]] = []
"""Each forgets what is drawn on the terminal, with `for_good` for ever, and returns what takes it off."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def end_at_once() -> None:
    """Let a signal end the process at once from now on, without a message.

    An exception would not do: Python can swallow one that is raised during an import, or turn it into another one.
    """
    _handle(lambda number, _frame: os._exit(128 + number))


@contextmanager
def leaving() -> Iterator[None]:
    """Within this block a signal raises SystemExit: a question is left, and temporary files are removed."""

    def leave(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    with _handled_by(leave):
        yield


@contextmanager
def stopping_cleanly(stop: Stop, *, sends: bool = True, quits: str = "") -> Iterator[None]:
    """Within this block a signal requests the stop instead of ending the process; the second one ends it at once.

    Where nothing is sent, no requests in flight are waited for. `quits` is what the second one says.

    The handler writes with `os.write`: buffered streams may be in the middle of a write when it runs.
    """
    from voucherify_sync.exit_codes import ExitCode

    def handle(number: int, _frame: FrameType | None) -> None:
        is_second = stop.signal_exit is not None
        cleared = "".join(clear(for_good=is_second) for clear in _screens)
        after = " after the requests in flight" if sends else ""
        last = quits or (
            "Quit. The same command goes on, and looks up what was in flight.\n" if sends else "Quit.\n"
        )
        said = f"Stopping{after}. Press Ctrl-C again to quit now.\n"
        if number != signal.SIGINT:
            said = f"{signal.Signals(number).name}: stopping{after}. A second one quits now.\n"
        stop.by_signal(ExitCode(128 + number))
        cleared = cleared or ("\n" if os.isatty(2) else "")  # a terminal shows ^C where the cursor is
        with suppress(OSError):  # a terminal that is gone must not end the run
            os.write(2, (cleared + (last if is_second else said)).encode())
        if is_second:
            os._exit(128 + number)

    with _handled_by(handle):
        yield


@contextmanager
def clearing_screen(clear: Callable[..., str]) -> Iterator[None]:
    """Within this block a signal first takes off the terminal what is drawn there.

    Args:
        clear: forgets what is drawn, with `for_good` for ever, and returns what takes it off.
    """
    _screens.append(clear)
    try:
        yield
    finally:
        _screens.remove(clear)


@contextmanager
def _handled_by(handler: Handler) -> Iterator[None]:
    before = _handle(handler)
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def _handle(handler: Handler) -> dict[signal.Signals, Handler | int | None]:
    """Set the handler of all signals that are not ignored; return the handlers before."""
    heard = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in heard}
