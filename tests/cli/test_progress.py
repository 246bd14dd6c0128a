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

import msgspec
import pytest
from support.cli_modules import cli_module
from support.terminal import Terminal
from support.waiting import HANG_S, wait_until

from voucherify_sync.outcomes import Phase, Snapshot, State, Waiting

module = cli_module("progress")
bar, json_objects, plain_lines = module.bar, module.json_objects, module.plain_lines
ProgressThread, chosen, progress = module.ProgressThread, module.chosen, module.progress

HALF = Snapshot(
    events=1_500,
    bytes=1_550_000,
    bytes_total=3_100_000,
    counts={State.DELIVERED: 1_400, State.SKIPPED: 99, State.FAILED: 0, State.IN_DOUBT: 1},
    phase=Phase.EVENTS,
    share=1_402 / 7_010,
    calls=1_402,
    calls_total=7_010,
    calls_left=5_608,
    is_total_estimated=True,
    calls_per_min=95.2,
    in_flight=16,
    waiting=Waiting("quota", 41.0, "95 calls a minute"),
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
        wait_until(lambda: "so far" in visible(stream.getvalue()))
    return stream.getvalue()


def plain(*moments: tuple[Snapshot, float]) -> str:
    """Return the lines of snapshots, each with the seconds since the run began."""
    stream = io.StringIO()
    with plain_lines(stream) as show:
        for moment in moments:
            show(*moment)
    return stream.getvalue()


def test_a_plain_line_says_all_that_is_known() -> None:
    """One line for log files."""
    assert plain((HALF, 10.0)) == (
        "10 s: events: 1,402 of about 7,000 calls, 20 %; 1,400 delivered, 99 skipped, 1 in doubt; "
        "16 in flight, 95 calls a minute; about 2 h 10 min to go; waiting 41 s: rate limit, 95 calls a minute\n"
    )


@pytest.mark.parametrize(
    ("snapshot", "line"),
    [
        pytest.param(START, "10 s: reading: 0 events, 0 bytes", id="a pipe"),
        pytest.param(
            Snapshot(30, 1_000, 4_000, {State.PLANNED: 30}, share=0.25, eta_s=30.0),
            "10 s: reading: 30 events, 1.0 kB of 4.0 kB, 25 %; 30 would be sent; about 30 s to go",
            id="nothing is sent",
        ),
        pytest.param(
            Snapshot(
                30,
                1_000,
                1_000,
                {},
                Phase.CUSTOMERS,
                customers={State.DELIVERED: 9, State.FAILED: 1},
                calls=3,
            ),
            "10 s: customers: 3 calls; 9 delivered, 1 failed",
            id="customers in bulk, no total",
        ),
        pytest.param(
            Snapshot(
                30, 1_000, 1_000, {}, Phase.EVENTS, 0.9999, calls=10_020, calls_total=10_000, calls_left=1
            ),
            "10 s: events: 9,999 of 10,000 calls, 99 %",
            id="all but one is not 100 %",
        ),
        pytest.param(
            Snapshot(
                30, 1_000, 1_000, {}, Phase.EVENTS, 1.0, calls=5, calls_total=5, calls_left=0, eta_s=0.0
            ),
            "10 s: events: 5 of 5 calls, 100 %",
            id="all is done",
        ),
        pytest.param(
            Snapshot(
                1,
                1,
                1,
                {},
                Phase.EVENTS,
                0.5,
                calls=1,
                calls_total=2,
                calls_left=1,
                calls_per_min=1.5,
                eta_s=40.0,
                eta_hourly_s=2_400.0,
            ),
            "10 s: events: 1 of 2 calls, 50 %; 90 calls an hour; "
            "about 40 s to go, or 40 min if the limit is by the hour",
            id="a limit by the minute or by the hour",
        ),
    ],
)
def test_each_phase_says_what_is_known_of_it(snapshot: Snapshot, line: str) -> None:
    """No total for a pipe, no rate before there is one; 100 % only where all is done."""
    assert plain((snapshot, 10.0)) == f"{line}\n"


@pytest.mark.parametrize(
    ("waiting", "sentence"),
    [
        pytest.param(
            Waiting("quota", 41.0, "90 calls a minute"),
            "waiting 41 s: rate limit, 90 calls a minute",
            id="limit",
        ),
        pytest.param(
            Waiting("asked", 40.0, "HTTP 429"), "waiting 40 s: HTTP 429, Voucherify asks to wait", id="asked"
        ),
        pytest.param(Waiting("slowed", 8.2), "waiting 8 s: fewer calls after HTTP 429", id="slowed"),
        pytest.param(Waiting("rate", 36.0, "100/h"), "waiting 36 s: delivery.rate, 100/h", id="rate"),
        pytest.param(
            Waiting("bulk", 1.9),
            "waiting for Voucherify to finish the bulk request, next poll in 1.9 s",
            id="bulk",
        ),
        pytest.param(
            Waiting("outage", 7.0, "cannot reach api.example.com (name not found)"),
            "cannot reach api.example.com (name not found), next try in 7 s",
            id="outage",
        ),
        pytest.param(
            Waiting("outage", 0.0, "no reliable answer from Voucherify (HTTP 503)"),
            "no reliable answer from Voucherify (HTTP 503), trying now",
            id="probe",
        ),
        pytest.param(
            Waiting("customer", detail="u\x1b[2J"),
            "waiting for customer u\\x1b[2J, whose requests go one after the other",
            id="customer",
        ),
        pytest.param(
            Waiting("attempt", 12.0, "1 customer"), "waiting 12 s: next attempt for 1 customer", id="attempt"
        ),
        pytest.param(Waiting("answer", detail="4.0 s"), "waiting for an answer since 4.0 s", id="answer"),
    ],
)
def test_what_it_waits_for_is_a_sentence(waiting: Waiting, sentence: str) -> None:
    """Data in it is clean."""
    assert plain((msgspec.structs.replace(START, waiting=waiting), 10.0)).endswith(f"; {sentence}\n")


def test_plain_lines_grow_rare_and_a_new_phase_has_one_at_once() -> None:
    """The log of a run of days can be read; a run of seconds has its summary."""
    customers = msgspec.structs.replace(START, phase=Phase.CUSTOMERS)
    moments = [(START if second < 50 else customers, float(second)) for second in range(4_000)]
    seconds = [line.split(": ")[0] for line in plain(*moments).splitlines()]
    assert seconds == ["10 s", "20 s", "40 s", "50 s", "1 min 40 s", "3 min 20 s", "6 min 40 s"] + [
        f"{minutes} min 20 s" for minutes in (13, 23, 33, 43, 53)
    ] + ["1 h 3 min"]


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
    """It is drawn in place; at the end nothing of it is left, and the cursor is at the beginning of its first line."""
    text = shown(bar, Terminal())
    for line in (
        "events: 1,402 of about 7,000 calls",
        "20 %",
        "1,400 delivered, 99 skipped",
        "1 in doubt",
        "16 in flight, 95 calls a minute",
        "waiting 41 s: rate limit, 95 calls a",
        "about 2 h 10 min to go",
    ):
        assert line in visible(text)
    rows = visible(text).split("so far")[0].count("\n") + 1
    assert text.endswith("\r\x1b[2K" + "\x1b[1A\x1b[2K" * (rows - 1))


def test_the_cursor_is_never_hidden() -> None:
    """A kill -9 must leave a terminal that one can type on."""
    assert "\x1b[?25l" not in shown(bar, Terminal())


def test_a_bar_without_a_total_still_moves() -> None:
    """From stdin nobody knows how much is to come."""
    assert "reading: 0 events, 0 bytes" in visible(shown(bar, Terminal(), START))


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
        wait_until(lambda: "so far" in visible(stream.getvalue()))
        assert sys.stderr is not stream
        print("a warning [b]", file=sys.stderr)
        print("half a line", end="", file=sys.stderr)
    assert sys.stderr is stream
    assert "\x1b[2Ka warning [b]\n" in stream.getvalue()  # the bar is taken away first
    assert "\x1b[2Khalf a line\n" in stream.getvalue()


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
    monkeypatch.setattr(module, "_FIRST_LINE_S", 0.0)
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
    assert visible(stream.getvalue()).strip() == ""


def test_a_terminal_that_takes_nothing_does_not_hold_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-S stops a terminal, not a run."""
    monkeypatch.setattr(module, "_LEAVE_WITHIN_S", 0.05)
    monkeypatch.setattr(module, "_FIRST_LINE_S", 0.0)
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
