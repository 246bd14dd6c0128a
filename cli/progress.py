"""Shows how a run goes on, on stderr, from a thread of its own: snapshots come in, a bar or lines go out.

It never raises into the run, and leaves the terminal as it found it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any, Protocol, Self, TextIO

import msgspec

from voucherify_sync.outcomes import Snapshot, State, Waiting
from voucherify_sync.text import clean, counted, size, span

KINDS = ("auto", "bar", "plain", "json", "none")

_LEAVE_WITHIN_S = 2.0
_WIDEST_BAR = 60
_STATES = {State.PLANNED: "would be sent", State.IN_DOUBT: "in doubt"}


class View(Protocol):
    """One way of showing snapshots.

    Attributes:
        shows_end: the last snapshot, when the run is over, is shown, too.
    """

    shows_end: bool

    def show(self, snapshot: Snapshot, elapsed_s: float) -> None:
        """Show where the run stands."""

    def close(self) -> None:
        """Put the terminal in order."""


class PlainLines:
    """A line now and then, for log files; the end is told by the summary."""

    shows_end = False

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def show(self, snapshot: Snapshot, elapsed_s: float) -> None:
        """Write one line."""
        self._stream.write(f"{span(elapsed_s)}: {'; '.join([_read(snapshot), *_details(snapshot)])}\n")
        self._stream.flush()

    def close(self) -> None:
        """Nothing is left open."""


class JsonLines:
    """One JSON object a line, for programs; the last one is the end."""

    shows_end = True

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def show(self, snapshot: Snapshot, elapsed_s: float) -> None:
        """Write one object."""
        fields: dict[str, Any] = {"elapsed_s": round(elapsed_s, 1), **msgspec.to_builtins(snapshot)}
        self._stream.write(msgspec.json.encode(fields).decode() + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Nothing is left open."""


class Bar:
    """A bar and a few lines that are drawn again in place, on a terminal; gone when the summary comes."""

    shows_end = False

    def __init__(self, stream: TextIO) -> None:
        from rich.live import Live

        from .console import console

        self._console = console(stream)
        self._live = Live(console=self._console, auto_refresh=False, transient=True, redirect_stdout=False)
        self._live.start()
        self._console.show_cursor(True)  # a kill -9 would leave a hidden one hidden

    def show(self, snapshot: Snapshot, elapsed_s: float) -> None:
        """Draw it again."""
        self._live.update(self._drawing(snapshot, elapsed_s), refresh=True)

    def close(self) -> None:
        """Take it away."""
        self._live.stop()

    def _drawing(self, snapshot: Snapshot, elapsed_s: float) -> Any:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        share = _share(snapshot)
        width = min(self._console.width, _WIDEST_BAR)
        drawing = Table.grid()
        if share is None:
            drawing.add_row(ProgressBar(total=None, pulse=True, animation_time=elapsed_s, width=width))
        else:
            drawing.add_row(ProgressBar(total=1.0, completed=share, width=width))
        for line in (_read(snapshot), *_details(snapshot), f"{span(elapsed_s)} so far"):
            drawing.add_row(Text(line, overflow="ellipsis", no_wrap=True))
        return drawing


class Progress:
    """A display that runs beside the run, as a context manager."""

    def __init__(
        self,
        make_view: Callable[[], View],
        take: Callable[[], Snapshot],
        *,
        interval_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare.

        Args:
            make_view: makes the view, in the thread that will use it.
            take: gives where the run stands; it is called from another thread than the run's.
            interval_s: seconds between two snapshots.
            clock: monotonic seconds.
        """
        self._make_view = make_view
        self._take = take
        self._interval_s = interval_s
        self._clock = clock
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(_LEAVE_WITHIN_S)  # a terminal that was stopped by Ctrl-S must not stop the run

    def _run(self) -> None:
        with suppress(Exception):  # a closed stderr, a strange terminal: the run goes on unseen
            started = self._clock()
            view = self._make_view()
            try:
                while not self._over.wait(self._interval_s):
                    view.show(self._take(), self._clock() - started)
                if view.shows_end:
                    view.show(self._take(), self._clock() - started)
            finally:
                view.close()


def progress(
    kind: str, take: Callable[[], Snapshot], stream: TextIO, *, data_on_terminal: bool = False
) -> AbstractContextManager[object]:
    """Return the display of one of the KINDS, to be used as a context manager around the run.

    Args:
        kind: one of the KINDS.
        take: gives where the run stands; called from a thread of the display's.
        stream: where to show it: stderr.
        data_on_terminal: data scrolls by on the same terminal.
    """
    kind = chosen(kind, stream, data_on_terminal=data_on_terminal)
    if kind == "none":
        return nullcontext()
    view, interval_s = _VIEWS[kind]
    return Progress(lambda: view(stream), take, interval_s=interval_s)


def chosen(kind: str, stream: TextIO, *, data_on_terminal: bool) -> str:
    """Return what ``auto`` means here: a bar on a terminal that shows nothing else, plain lines elsewhere.

    Beside data on the same terminal it shows nothing: either would break the other's lines.
    """
    if kind != "auto":
        return kind
    if not _is_terminal(stream):
        return "plain"
    if data_on_terminal:
        return "none"
    return "plain" if os.environ.get("TERM") in ("dumb", "unknown") else "bar"


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except ValueError:  # it is closed
        return False


_VIEWS: dict[str, tuple[Callable[[TextIO], View], float]] = {
    "bar": (Bar, 0.2),
    "plain": (PlainLines, 10.0),
    "json": (JsonLines, 1.0),
}
"""How each kind is shown, and the seconds between two looks."""


def _share(snapshot: Snapshot) -> float | None:
    """Return how much of the input has been read, 0 to 1; None where nobody knows."""
    return min(snapshot.bytes / snapshot.bytes_total, 1.0) if snapshot.bytes_total else None


def _read(snapshot: Snapshot) -> str:
    share = _share(snapshot)
    events = counted(snapshot.events, "event")
    if share is None or snapshot.bytes_total is None:
        return f"{events} read, {size(snapshot.bytes)}"
    return f"{events} read, {share:.0%} of {size(snapshot.bytes_total)}"


def _details(snapshot: Snapshot) -> list[str]:
    """Return what is worth saying beside it: outcomes, calls, what it waits for, how long to go."""
    outcomes = [f"{count:,} {_STATES.get(state, state)}" for state, count in snapshot.counts.items() if count]
    details = [", ".join(outcomes)]
    if snapshot.calls:
        rate = "" if snapshot.calls_per_min is None else f", {snapshot.calls_per_min:,.0f} a minute"
        details.append(f"{counted(snapshot.calls, 'call')}{rate}, {snapshot.in_flight} in flight")
    if snapshot.waiting is not None:
        details.append(_wait(snapshot.waiting))
    if snapshot.eta_s is not None:
        details.append(f"about {span(snapshot.eta_s)} to go")
    return [detail for detail in details if detail]


def _wait(waiting: Waiting) -> str:
    left = "" if waiting.seconds_left is None else f": {span(waiting.seconds_left)}"
    return f"waits for {clean(waiting.reason, 60)}{left}"
