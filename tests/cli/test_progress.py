"""A display runs beside the run: it never disturbs it, and leaves the terminal as it found it."""

from __future__ import annotations

import io
import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from support.cli_modules import cli_module
from support.terminal import Terminal
from support.waiting import HANG_S, wait_until

from voucherify_sync.outcomes import Snapshot, State, Waiting

module = cli_module("progress")
bar, json_objects, plain_lines = module.bar, module.json_objects, module.plain_lines
ProgressThread, chosen, progress = module.ProgressThread, module.chosen, module.progress

HALF = Snapshot(
    events=1_500,
    bytes=1_550_000,
    bytes_total=3_100_000,
    counts={State.DELIVERED: 1_400, State.SKIPPED: 99, State.FAILED: 0, State.IN_DOUBT: 1},
    calls=1_402,
    calls_per_min=95.2,
    in_flight=16,
    waiting=Waiting("quota", 41.0),
    eta_s=7_800.0,
)
START = Snapshot(events=0, bytes=0, bytes_total=None, counts={})


class Broken(Terminal):
    """A terminal that has gone: every write fails."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error
        self.tries = 0

    def write(self, _: str) -> int:
        """Fail."""
        self.tries += 1
        raise self.error


@pytest.fixture(autouse=True)
def a_terminal_of_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let rich find the same terminal everywhere."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm-256color")


def visible(text: str) -> str:
    """Take away the sequences that steer a terminal."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def shown(view: Callable[[Any], Any], stream: io.StringIO, snapshot: Snapshot = HALF) -> str:
    """Return what one view makes of one snapshot."""
    with ProgressThread(lambda: view(stream), lambda: snapshot, interval_s=0.01):
        wait_until(lambda: "read" in visible(stream.getvalue()) or "events" in stream.getvalue())
    return stream.getvalue()


def test_a_plain_line_says_all_that_is_known() -> None:
    """One line for log files; data in it is clean."""
    stream = io.StringIO()
    with plain_lines(stream) as show:
        show(HALF, 10.0)
    assert stream.getvalue() == (
        "10 s: 1,500 events read, 50 % of 3.1 MB; 1,400 delivered, 99 skipped, 1 in doubt; "
        "1,402 calls, 95 a minute, 16 in flight; waiting 41 s: limit reached, next window; about 2 h 10 min to go\n"
    )


@pytest.mark.parametrize(
    ("waiting", "sentence"),
    [
        pytest.param(Waiting("throttled", 40.0), "waiting 40 s: rate limited (HTTP 429)", id="throttled"),
        pytest.param(Waiting("rate", None), "waiting: delivery.rate", id="rate"),
        pytest.param(
            Waiting("bulk", 1.9),
            "waiting for Voucherify to finish the bulk request, next poll in 1.9 s",
            id="bulk",
        ),
        pytest.param(
            Waiting("an answer (HTTP 503)", 7.0),
            "no reliable answer from Voucherify (HTTP 503), next try in 7.0 s",
            id="outage",
        ),
        pytest.param(Waiting("customer u\x1b[2J", None), "waiting for customer u\\x1b[2J", id="customer"),
    ],
)
def test_what_it_waits_for_is_a_sentence(waiting: Waiting, sentence: str) -> None:
    """Data in it is clean."""
    stream = io.StringIO()
    with plain_lines(stream) as show:
        show(Snapshot(events=0, bytes=0, bytes_total=None, counts={}, waiting=waiting), 10.0)
    assert stream.getvalue() == f"10 s: 0 events read, 0 bytes; {sentence}\n"


def test_what_is_not_known_is_not_said() -> None:
    """No total for stdin, no rate before there is one."""
    stream = io.StringIO()
    with plain_lines(stream) as show:
        show(START, 10.0)
    assert stream.getvalue() == "10 s: 0 events read, 0 bytes\n"


def test_json_lines_are_objects_and_the_last_one_is_the_end() -> None:
    """Programs read them a line at a time."""
    stream = io.StringIO()
    taken = iter(range(10_000))

    def take() -> Snapshot:
        return Snapshot(events=next(taken), bytes=0, bytes_total=None, counts={State.PLANNED: 1})

    with ProgressThread(lambda: json_objects(stream), take, interval_s=0.01, shows_end=True):
        wait_until(lambda: stream.getvalue().count("\n") > 1)
        before = stream.getvalue().count("\n")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["events"] for line in lines] == list(range(len(lines)))
    assert len(lines) > before
    assert lines[0]["counts"] == {"planned": 1}
    assert lines[-1]["elapsed_s"] >= lines[0]["elapsed_s"] >= 0


def test_plain_lines_come_after_the_first_interval_only() -> None:
    """A short run has its summary and no progress."""
    stream = io.StringIO()
    with progress("plain", lambda: HALF, stream):
        time.sleep(0.05)  # the first interval is 10 s
    assert stream.getvalue() == ""


def test_the_bar_shows_the_same_and_goes_away() -> None:
    """It is drawn in place; at the end the terminal is as before, with its cursor."""
    text = shown(bar, Terminal())
    for line in (
        "1,500 events read, 50 % of 3.1 MB",
        "1,400 delivered, 99 skipped, 1 in doubt",
        "1,402 calls, 95 a minute, 16 in flight",
        "waiting 41 s: limit reached, next window",
        "about 2 h 10 min to go",
    ):
        assert line in visible(text)
    assert text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l")
    assert text.rfind("\x1b[2K") > text.rfind("events read")


def test_the_cursor_is_never_left_hidden_while_the_bar_runs() -> None:
    """A kill -9 must leave a terminal that one can type on."""
    stream = Terminal()
    with ProgressThread(lambda: bar(stream), lambda: HALF, interval_s=0.01):
        wait_until(lambda: "events read" in visible(stream.getvalue()))
        text = stream.getvalue()
    assert text.index("\x1b[?25l") < text.index("\x1b[?25h") < text.index("events read")


def test_a_bar_without_a_total_still_moves() -> None:
    """From stdin nobody knows how much is to come."""
    assert "0 events read, 0 bytes" in visible(shown(bar, Terminal(), START))


@pytest.mark.parametrize("columns", [20, 40])
def test_a_bar_fits_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    """A line that wraps could not be drawn again in place."""
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = visible(shown(bar, Terminal())).replace("\r", "\n").splitlines()
    assert max(map(len, lines)) <= columns


def test_stderr_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the bar runs, what others write on stderr appears above it."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    with ProgressThread(lambda: bar(stream), lambda: HALF, interval_s=0.01):
        wait_until(lambda: "events read" in visible(stream.getvalue()))
        assert sys.stderr is not stream
        print("a warning [b]", file=sys.stderr)
    assert sys.stderr is stream
    assert "a warning [b]" in visible(stream.getvalue())


@pytest.mark.parametrize("view", [bar, plain_lines, json_objects])
@pytest.mark.parametrize(
    "error",
    [BrokenPipeError(32, "Broken pipe"), OSError(5, "Input/output error"), ValueError("closed")],
    ids=["pipe", "hang-up", "closed"],
)
def test_a_stream_that_fails_does_not_disturb_the_run(
    view: Callable[[Any], Any],
    error: Exception,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The run goes on unseen: no exception, no trace, stdout and stderr as they were."""
    stream = Broken(error)
    monkeypatch.setattr(sys, "stderr", stream)
    with ProgressThread(lambda: view(stream), lambda: HALF, interval_s=0.01):
        wait_until(lambda: stream.tries > 0)
        time.sleep(0.03)
    assert sys.stderr is stream
    os.write(1, b"data\n")
    assert capfd.readouterr() == ("data\n", "")


def test_a_snapshot_that_fails_ends_the_display_only() -> None:
    """A bug in the display costs the display, and the terminal is put in order."""
    stream = Terminal()

    def take() -> Snapshot:
        raise RuntimeError("a bug")

    display = ProgressThread(lambda: bar(stream), take, interval_s=0.01)
    with display:
        wait_until(lambda: not display._thread.is_alive())
    assert stream.getvalue().rfind("\x1b[?25h") > stream.getvalue().rfind("\x1b[?25l")


def test_a_terminal_that_takes_nothing_does_not_hold_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-S stops a terminal, not a run."""
    monkeypatch.setattr(module, "_LEAVE_WITHIN_S", 0.05)
    release, writing = threading.Event(), threading.Event()

    class Stuck(io.StringIO):
        def write(self, _: str) -> int:
            writing.set()
            release.wait(2 * HANG_S)
            return 0

    display = ProgressThread(lambda: plain_lines(Stuck()), lambda: HALF, interval_s=0.01)
    started = time.monotonic()
    with display:
        assert writing.wait(HANG_S)
    assert time.monotonic() - started < HANG_S
    release.set()
    wait_until(lambda: not display._thread.is_alive())


@pytest.mark.parametrize(
    ("kind", "stream", "term", "data_on_terminal", "expected"),
    [
        pytest.param("auto", Terminal(), "xterm", False, "bar", id="auto-on-a-terminal"),
        pytest.param("auto", Terminal(), "dumb", False, "plain", id="auto-on-a-dumb-terminal"),
        pytest.param("auto", io.StringIO(), "xterm", False, "plain", id="auto-in-a-log"),
        pytest.param("auto", io.StringIO(), "xterm", True, "plain", id="auto-in-a-log-beside-data"),
        pytest.param("auto", Terminal(), "xterm", True, "none", id="auto-beside-data"),
        pytest.param("plain", Terminal(), "xterm", False, "plain", id="plain"),
        pytest.param("bar", io.StringIO(), "xterm", True, "bar", id="bar"),
    ],
)
def test_the_kind_of_display_follows_the_stream(
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    stream: io.StringIO,
    term: str,
    data_on_terminal: bool,
    expected: str,
) -> None:
    """What the user names is taken; a bar of our choice needs a terminal of its own."""
    monkeypatch.setenv("TERM", term)
    assert chosen(kind, stream, data_on_terminal=data_on_terminal) == expected


def test_no_display_is_no_thread() -> None:
    """With `none` nothing is asked and nothing is shown."""
    stream = Terminal()
    before = threading.active_count()
    with progress("none", lambda: HALF, stream):
        assert threading.active_count() == before
    assert stream.getvalue() == ""


def test_a_closed_stream_shows_nothing_and_raises_nothing() -> None:
    """A daemon may have no stderr at all."""
    stream = io.StringIO()
    stream.close()
    with progress("auto", lambda: HALF, stream):
        pass
