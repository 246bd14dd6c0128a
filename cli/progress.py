"""Shows on stderr how a run goes on: as a bar, as lines or as JSON objects, from a thread of its own.

It never raises into the run, and leaves the terminal as it found it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, Self, TextIO

from voucherify_sync.text import clean, counted, size, span

if TYPE_CHECKING:  # help names the kinds of progress only
    from voucherify_sync.outcomes import Snapshot

KINDS = ("auto", "bar", "plain", "json", "none")

_LEAVE_WITHIN_S = 2.0
_MAX_BAR_WIDTH = 60
_OUTAGE = "an answer ("
"""How the circuit breaker's reason begins; what follows says how the last call failed."""
_WAITS = {
    "quota": "limit reached, next window",
    "throttled": "rate limited (HTTP 429)",
    "rate": "delivery.rate",
    "answer": "the first answer tells the limit",
}
"""Reason to wait -> words for it."""


Show = Callable[["Snapshot", float], None]
"""Shows where the run stands; takes a snapshot and the seconds since it began."""


@contextmanager
def plain_lines(stream: TextIO) -> Iterator[Show]:
    """Show a line now and then, for log files."""

    def show(snapshot: Snapshot, elapsed_s: float) -> None:
        stream.write(f"{span(elapsed_s)}: {'; '.join([_read(snapshot), *_details(snapshot)])}\n")
        stream.flush()

    yield show


@contextmanager
def json_objects(stream: TextIO) -> Iterator[Show]:
    """Show one JSON object a line, for programs."""

    def show(snapshot: Snapshot, elapsed_s: float) -> None:
        import msgspec

        fields: dict[str, Any] = {"elapsed_s": round(elapsed_s, 1), **msgspec.to_builtins(snapshot)}
        stream.write(msgspec.json.encode(fields).decode() + "\n")
        stream.flush()

    yield show


@contextmanager
def bar(stream: TextIO) -> Iterator[Show]:
    """Show a bar and a few lines, drawn again in place, on a terminal; they are gone when the summary comes."""
    from rich.live import Live
    from rich.progress_bar import ProgressBar
    from rich.table import Table as Grid
    from rich.text import Text

    from .render import console

    out = console(stream)
    with Live(console=out, auto_refresh=False, transient=True, redirect_stdout=False) as live:
        out.show_cursor(True)  # a kill -9 would leave a hidden one hidden

        def show(snapshot: Snapshot, elapsed_s: float) -> None:
            share, width = _share(snapshot), min(out.width, _MAX_BAR_WIDTH)
            drawing = Grid.grid()
            if share is None:
                drawing.add_row(ProgressBar(total=None, pulse=True, animation_time=elapsed_s, width=width))
            else:
                drawing.add_row(ProgressBar(total=1.0, completed=share, width=width))
            for line in (_read(snapshot), *_details(snapshot), f"{span(elapsed_s)} so far"):
                drawing.add_row(Text(line, overflow="ellipsis", no_wrap=True))
            live.update(drawing, refresh=True)

        yield show


class ProgressThread:
    """Shows snapshots from a thread of its own while the run goes on, as a context manager."""

    def __init__(
        self,
        display: Callable[[], AbstractContextManager[Show]],
        take: Callable[[], Snapshot],
        *,
        interval_s: float,
        shows_end: bool = False,
    ) -> None:
        """Prepare.

        Args:
            display: one of the displays above; opened in the thread that uses it.
            take: returns where the run stands; called from another thread than the run's.
            interval_s: seconds between two snapshots.
            shows_end: the last snapshot, when the run is over, is shown, too; else the summary tells it.
        """
        self._display = display
        self._take = take
        self._interval_s = interval_s
        self._shows_end = shows_end
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
            started = time.monotonic()
            with self._display() as show:
                while not self._over.wait(self._interval_s):
                    show(self._take(), time.monotonic() - started)
                if self._shows_end:
                    show(self._take(), time.monotonic() - started)


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
    display, interval_s = _DISPLAYS[kind]
    return ProgressThread(lambda: display(stream), take, interval_s=interval_s, shows_end=kind == "json")


def chosen(kind: str, stream: TextIO, *, data_on_terminal: bool) -> str:
    """Return what ``auto`` means here: a bar on a terminal that shows nothing else, plain lines elsewhere.

    Beside data on the same terminal it shows nothing: either would break the other's lines.
    """
    if kind != "auto":
        return kind
    try:
        is_terminal = stream.isatty()
    except ValueError:  # it is closed
        is_terminal = False
    if not is_terminal:
        return "plain"
    if data_on_terminal:
        return "none"
    return "plain" if os.environ.get("TERM") in ("dumb", "unknown") else "bar"


_DISPLAYS: dict[str, tuple[Callable[[TextIO], AbstractContextManager[Show]], float]] = {
    "bar": (bar, 0.2),
    "plain": (plain_lines, 10.0),
    "json": (json_objects, 1.0),
}
"""How each kind is shown, and the seconds between two snapshots."""


def _share(snapshot: Snapshot) -> float | None:
    """Return how much of the input has been read, 0 to 1; None where its size is not known."""
    return min(snapshot.bytes / snapshot.bytes_total, 1.0) if snapshot.bytes_total else None


def _read(snapshot: Snapshot) -> str:
    share = _share(snapshot)
    events = counted(snapshot.events, "event")
    if share is None or snapshot.bytes_total is None:
        return f"{events} read, {size(snapshot.bytes)}"
    return f"{events} read, {100 * share:.0f} % of {size(snapshot.bytes_total)}"


def _details(snapshot: Snapshot) -> list[str]:
    """Return what is worth saying beside it: outcomes, calls, what it waits for, how long to go."""
    from voucherify_sync.outcomes import ended

    details = [", ".join(ended(state, count) for state, count in snapshot.counts.items() if count)]
    if snapshot.calls:
        rate = "" if snapshot.calls_per_min is None else f", {snapshot.calls_per_min:,.0f} a minute"
        details.append(f"{counted(snapshot.calls, 'call')}{rate}, {snapshot.in_flight} in flight")
    if snapshot.waiting is not None:
        details.append(_wait(snapshot.waiting.reason, snapshot.waiting.seconds_left))
    if snapshot.eta_s is not None:
        details.append(f"about {span(snapshot.eta_s)} to go")
    return [detail for detail in details if detail]


def _wait(reason: str, seconds_left: float | None) -> str:
    """Return what the run waits for, as a sentence."""
    left = None if seconds_left is None else span(seconds_left)
    if reason in _WAITS:
        return f"waiting{f' {left}' if left else ''}: {_WAITS[reason]}"
    next_try = f", next try in {left}" if left else ""
    if reason == "bulk":
        next_poll = f", next poll in {left}" if left else ""
        return f"waiting for Voucherify to finish the bulk request{next_poll}"
    if reason.startswith(_OUTAGE):
        trouble = reason.removeprefix(_OUTAGE).removesuffix(")")
        return f"no reliable answer from Voucherify ({clean(trouble, 60)}){next_try}"
    return f"waiting for {clean(reason, 60)}{next_try}"
