"""Shows on stderr how a run goes on: as a bar, as lines or as JSON objects, from a thread of its own.

It never raises into the run, and leaves the terminal as it found it, however the run ends.
"""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stderr, suppress
from typing import TYPE_CHECKING, Any, Self, TextIO

from voucherify_sync.text import counted, size, span

from .render import STATE_STYLES
from .signals import clearing_screen

if TYPE_CHECKING:  # help names the kinds of progress only
    from voucherify_sync.outcomes import Snapshot

KINDS = ("auto", "bar", "plain", "json", "none")

_LEAVE_WITHIN_S = 2.0
_CLEAR_WITHIN_S = 0.2
_MAX_WIDTH = 39
"""Columns. A window that gets narrower breaks longer lines before anything here can know it. Then nothing tells how
many rows are to be erased."""
_PERCENT_WIDTH = 6
"""Columns of ` 100 %`."""
_FIRST_LINE_S, _LONGEST_S = 10.0, 600.0
"""Seconds until the first plain line, and the longest pause between two: the log of a day is read by people."""


Show = Callable[["Snapshot", float], None]
"""Shows where the run stands; takes a snapshot and the seconds since it began."""


@contextmanager
def plain_lines(stream: TextIO) -> Iterator[Show]:
    """Show a line now and then, for log files: when a phase begins, and ever more rarely in between."""
    phase, due_s = None, _FIRST_LINE_S

    def show(snapshot: Snapshot, elapsed_s: float) -> None:
        nonlocal phase, due_s
        if phase is not None and snapshot.phase is phase and elapsed_s < due_s:
            return
        if snapshot.phase is not phase and elapsed_s < _FIRST_LINE_S:  # a short run has its summary
            return
        phase, due_s = snapshot.phase, elapsed_s + min(elapsed_s, _LONGEST_S)
        work, *more = (", ".join(text for text, _ in parts) for parts in _lines(snapshot))
        work = ", ".join(filter(None, (work, _percent(snapshot))))
        stream.write(f"{span(elapsed_s)}: {'; '.join([work, *more])}\n")
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
    """Show a bar and a few lines, drawn in place on a terminal; they are gone when the summary comes."""
    screen = _Screen(stream)
    above = _AboveBar(screen, stream)
    with redirect_stderr(above), clearing_screen(screen.clear):
        try:
            yield screen.draw
        finally:
            above.write("\n" if above.rest else "")
            screen.write(screen.clear())


class _Screen:
    """The lowest lines of a terminal, drawn again and again in place.

    Not rich's Live: that leaves pieces behind when a window gets narrower, and cannot be cleared from a signal handler.

    Args:
        stream: the terminal.
    """

    def __init__(self, stream: TextIO) -> None:
        from .render import console

        self._stream = stream
        self._console = console(stream)
        self._lock = threading.Lock()
        self._lines: list[str] = []
        self._widths: list[int] = []

    def draw(self, snapshot: Snapshot, elapsed_s: float) -> None:
        """Draw a bar and what is to be said, in place of what was drawn last."""
        columns, rows = self._size()
        drawn = self._render(snapshot, elapsed_s, min(columns - 1, _MAX_WIDTH))[: max(rows - 1, 1)]
        with self._lock:
            rows = self._rows(columns)
            start = f"\r\x1b[{rows - 1}A" if rows > 1 else "\r"
            self._lines, self._widths = [text for text, _ in drawn], [width for _, width in drawn]
            self._put(start + self._frame())

    def write(self, text: str) -> None:
        """Write whole lines above the bar."""
        with self._lock:
            self._put(f"{self._erase()}{text}{self._frame()}")

    def clear(self, *, for_good: bool = False) -> str:
        """Forget what is drawn; return what takes it off the screen. A signal handler may call it.

        Args:
            for_good: nothing must be drawn any more, as the process ends.
        """
        has_lock = self._lock.acquire(timeout=_CLEAR_WITHIN_S)
        try:
            erase = self._erase()
            self._lines, self._widths = [], []
            return erase
        finally:
            if has_lock and not for_good:
                self._lock.release()

    def _put(self, text: str) -> None:
        self._stream.write(text)  # at once: a signal may end the process between two writes
        self._stream.flush()

    def _frame(self) -> str:
        return "\n".join(f"{line}\x1b[K" for line in self._lines) + ("\x1b[J" if self._lines else "")

    def _erase(self) -> str:
        """Return what takes the frame away, line by line: tmux keeps a screen that is cleared as a whole."""
        rows = self._rows(self._size()[0])
        return "\r\x1b[2K" + "\x1b[1A\x1b[2K" * (rows - 1) if rows else ""

    def _rows(self, columns: int) -> int:
        """Return how many rows the frame takes."""
        if (
            "XTERM_VERSION" in os.environ
        ):  # other terminals break lines that are too long for a narrower window
            return len(self._widths)
        return sum(max(-(-width // columns), 1) for width in self._widths)

    def _size(self) -> tuple[int, int]:
        """Return the columns and rows of the terminal, as they are now."""
        try:
            columns, rows = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError):
            columns = rows = 0
        return columns or self._console.width, rows or self._console.height

    def _render(self, snapshot: Snapshot, elapsed_s: float, width: int) -> list[tuple[str, int]]:
        """Return lines for a terminal, and the columns that each takes."""
        from rich.cells import cell_len
        from rich.progress_bar import ProgressBar
        from rich.table import Table as Grid
        from rich.text import Text

        share, out = snapshot.share, self._console
        with out.capture() as captured:
            grid = Grid.grid(padding=(0, 1, 0, 0))
            grid.add_row(
                ProgressBar(
                    total=None if share is None else 1.0,
                    completed=share or 0.0,
                    width=width if share is None else max(width - _PERCENT_WIDTH, 1),
                    animation_time=elapsed_s,
                ),
                _percent(snapshot),
            )
            out.print(grid, width=width)
            for parts in [*_lines(snapshot), [(f"{span(elapsed_s)} so far", "")]]:
                row = Text()
                for part in parts:
                    text = Text(*part)
                    if row and row.cell_len + 2 + text.cell_len > width:
                        out.print(row, width=width)
                        row = Text()
                    row = Text(", ").join((row, text)) if row else text
                out.print(row, width=width)
        lines = [line.rstrip() for line in captured.get().splitlines()]
        return [(line, cell_len(Text.from_ansi(line).plain)) for line in lines]


class _AboveBar(io.TextIOBase):
    """Stands in for stderr while a bar is drawn: what is written appears above the bar, line by line.

    Args:
        screen: with the bar.
        stream: the terminal, which knows what else a stream is asked.

    Attributes:
        rest: the beginning of a line.
    """

    def __init__(self, screen: _Screen, stream: TextIO) -> None:
        self._screen = screen
        self._stream = stream
        self.rest = ""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """That of the terminal."""
        return self._stream.encoding

    def fileno(self) -> int:
        """Return the terminal's."""
        return self._stream.fileno()

    def isatty(self) -> bool:
        """Say that it is one."""
        return True

    def write(self, text: str, /) -> int:
        """Write the whole lines, and keep the rest until its end comes."""
        lines, end, self.rest = (self.rest + text).rpartition("\n")
        if end:
            self._screen.write(lines + end)
        return len(text)


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
    "plain": (plain_lines, 1.0),
    "json": (json_objects, 1.0),
}
"""How each kind is shown, and the seconds between two snapshots."""


def _percent(snapshot: Snapshot) -> str:
    """Return the share as `37 %`; it is cut, so that 100 % says that all is done."""
    return "" if snapshot.share is None else f"{int(100 * snapshot.share + 1e-9)} %"


def _lines(snapshot: Snapshot) -> Iterator[list[tuple[str, str]]]:
    """Yield lines of texts with their styles: the work, its outcomes, the calls, the time, and what it waits for."""
    from voucherify_sync.outcomes import Phase, ended

    if snapshot.phase is Phase.READING:
        total = snapshot.bytes_total
        done = [
            counted(snapshot.events, "event"),
            size(snapshot.bytes) + ("" if total is None else f" of {size(total)}"),
        ]
    elif snapshot.calls_total is None or snapshot.calls_left is None:
        done = [counted(snapshot.calls, "call")]
    else:
        made = snapshot.calls_total - snapshot.calls_left
        whole = counted(snapshot.calls_total, "call")
        if snapshot.is_total_estimated:  # two digits: more of them would promise too much
            whole = f"about {counted(max(int(float(f'{snapshot.calls_total:.2g}')), made), 'call')}"
        done = [f"{made:,} of {whole}"]
    done[0] = f"{snapshot.phase}: {done[0]}"
    yield [(text, "") for text in done]
    is_first_pass = snapshot.phase in (Phase.CUSTOMERS, Phase.ORDERS)
    outcomes = snapshot.customers if is_first_pass else snapshot.counts
    if counts := [(state, count) for state, count in outcomes.items() if count]:
        yield [(ended(state, count), STATE_STYLES.get(state, "")) for state, count in counts]
    calls = [f"{snapshot.in_flight:,} in flight"] if snapshot.in_flight else []
    if snapshot.calls_per_min is not None:
        per_min = snapshot.calls_per_min
        calls.append(
            f"{per_min:,.0f} calls a minute" if per_min >= 10 else f"{60 * per_min:,.0f} calls an hour"
        )
    if calls:
        yield [(text, "") for text in calls]
    if left := time_left(snapshot):
        yield [(text, "") for text in left]
    if snapshot.waiting is not None:
        yield [(snapshot.waiting.sentence, "cyan")]


def time_left(snapshot: Snapshot) -> list[str]:
    """Say how long it goes on; empty where that is not known."""
    if snapshot.eta_s is None or snapshot.share == 1:
        return []
    hourly = snapshot.eta_hourly_s
    other = [] if hourly is None else [f"or {span(hourly)} if the limit is by the hour"]
    return [f"about {span(snapshot.eta_s)} to go", *other]
