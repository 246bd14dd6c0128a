"""The bar on a pseudo-terminal: however a run ends, nothing of it is left on the screen."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.cli import Cli
from support.replays import settings_for
from support.waiting import HANG_S

from voucherify_sync.sandbox.options import SandboxOptions
from voucherify_sync.sandbox.server import Sandbox

ROWS = 24
EVENTS = "".join(
    json.dumps({"type": "track", "event": "Viewed", "userId": f"u{n}", "messageId": f"m{n}"}) + "\n"
    for n in range(400)
)


class Screen:
    """What a terminal shows after the bytes that it was sent; of the controls it knows those that the program uses."""

    def __init__(self) -> None:
        self.lines = [""]
        self.row = self.column = 0

    def feed(self, text: str) -> None:
        """Show more."""
        for token in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|[\r\n]|[^\r\n\x1b]+", text):
            self._obey(token)

    def _obey(self, token: str) -> None:
        line = self.lines[self.row]
        if token == "\r":
            self.column = 0
        elif token == "\n":
            self.row += 1
            self.lines += [""] * (self.row == len(self.lines))
        elif token.startswith("\x1b"):
            number = int(token[2:-1]) if token[2:-1].isdigit() else 1
            if token[-1] == "A":
                assert number <= self.row, "the bar is drawn over what was above it"
                self.row -= number
            elif token.endswith("2K"):
                self.lines[self.row] = ""
            elif token[-1] in "KJ":
                self.lines[self.row] = line[: self.column]
                if token[-1] == "J":
                    del self.lines[self.row + 1 :]
            else:
                assert token[-1] == "m", token
        else:
            self.lines[self.row] = (
                line.ljust(self.column)[: self.column] + token + line[self.column + len(token) :]
            )
            self.column += len(token)

    def text(self) -> str:
        """Return the lines that are not empty."""
        return "\n".join(line.rstrip() for line in self.lines if line.strip())


class Session:
    """The program on a pseudo-terminal of its own."""

    def __init__(self, cli: Cli, words: list[str], columns: int) -> None:
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            os.chdir(cli.folder)
            env = {
                name: value for name, value in cli.env.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")
            }
            os.execvpe(cli.command()[0], cli.command(*words), {**env, "TERM": "xterm-256color"})
        self.resize(columns)
        self.sent = ""
        self.screen = Screen()

    def resize(self, columns: int) -> None:
        """Give the window another width."""
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))

    def read_until(self, is_seen: Callable[[str], bool]) -> None:
        """Show what comes until the screen is as expected, or the program has ended."""
        deadline = time.monotonic() + HANG_S
        while not is_seen(self.screen.text()):
            assert time.monotonic() < deadline, self.sent
            if select.select([self._terminal], [], [], 0.1)[0]:
                try:
                    piece = os.read(self._terminal, 65_536).decode(errors="replace")
                except OSError:  # the other side is closed
                    return
                self.sent += piece
                self.screen.feed(piece)

    def end(self) -> int:
        """Read to the end; return the exit code."""
        self.read_until(lambda _: False)
        os.close(self._terminal)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.fixture
def start(run_cli: Cli, tmp_path: Path) -> Callable[..., Session]:
    """Return what begins a replay on a terminal."""
    (tmp_path / "events.ndjson").write_text(EVENTS)

    def begin(sandbox: Sandbox, *words: str, columns: int = 80) -> Session:
        settings = settings_for(run_cli, sandbox)
        given = ["replay", "-c", str(settings), "--yes", "--ledger", "a.ledger", "--new-ledger", *words]
        return Session(run_cli, [*given, "events.ndjson"], columns)

    return begin


def is_drawn(text: str) -> bool:
    """Tell whether a bar is on the screen that says of waiting for the limit."""
    return "waiting" in text and "so far" in text


def is_clean(text: str) -> bool:
    """Tell whether nothing of a bar is on the screen."""
    return not any(piece in text for piece in ("━", "so far", "to go", "waiting", " calls, "))


@pytest.mark.parametrize("columns", [30, 80])
def test_nothing_of_the_bar_is_left_when_a_run_ends(start: Callable[..., Session], columns: int) -> None:
    """And no line of it is longer than the terminal is wide."""
    with Sandbox(SandboxOptions(latency_s=0.05)) as sandbox:
        session = start(sandbox, "--max-calls", "200", columns=columns)
        session.read_until(lambda text: "so far" in text)
        assert max(len(line) for line in session.screen.text().splitlines()) < columns
        assert session.end() == 4
    assert "Stopped after" in session.screen.text()
    assert is_clean(session.screen.text()), session.screen.text()


def test_a_first_ctrl_c_shows_its_message_above_the_bar_and_leaves_nothing_of_it(
    start: Callable[..., Session],
) -> None:
    """The bar is drawn again below, and is gone at the end."""
    with Sandbox(SandboxOptions(limit="100/min")) as sandbox:
        session = start(sandbox)
        session.read_until(is_drawn)
        assert "rate limit, 90 calls" in " ".join(session.screen.text().split())
        os.kill(session.pid, signal.SIGINT)
        assert session.end() == 130
    assert session.screen.text().startswith("Stopping after the requests in flight.")
    assert is_clean(session.screen.text()), session.screen.text()


def test_a_second_ctrl_c_takes_the_bar_off_before_it_quits(start: Callable[..., Session]) -> None:
    """A call without an answer holds the end of the run up until then."""
    with Sandbox(SandboxOptions(latency_s=30.0)) as sandbox:
        session = start(sandbox)
        session.read_until(lambda text: "waiting for an answer" in text)
        os.kill(session.pid, signal.SIGINT)
        session.read_until(lambda text: "Press Ctrl-C again" in text and "so far" in text)
        os.kill(session.pid, signal.SIGINT)
        assert session.end() == 130
    assert session.screen.text().splitlines() == [
        "Stopping after the requests in flight. Press Ctrl-C again to quit now.",
        "Quit. The same command goes on, and looks up what was in flight.",
    ]


def test_a_window_of_another_width_leaves_nothing_of_the_bar(start: Callable[..., Session]) -> None:
    """From 40 columns on no line of the bar has to be broken."""
    with Sandbox(SandboxOptions(limit="100/min")) as sandbox:
        session = start(sandbox, columns=120)
        for columns in (80, 40, 100):
            session.read_until(is_drawn)
            session.resize(columns)
            seen = session.screen.text()
            session.read_until(lambda text, seen=seen: is_drawn(text) and text != seen)  # type: ignore[misc]
            assert session.screen.text().count("so far") == 1
            assert max(len(line) for line in session.screen.text().splitlines()) < 40
        os.kill(session.pid, signal.SIGTERM)
        assert session.end() == 143
    assert is_clean(session.screen.text()), session.screen.text()
