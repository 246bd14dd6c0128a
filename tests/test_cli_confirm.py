"""The question before a live run, on a terminal of its own: yes sends, no and Ctrl-C send nothing."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import time
from pathlib import Path

import pytest
from conftest import Cli

from voucherify_sync.sandbox.server import Sandbox

EVENT = json.dumps({"type": "track", "event": "Order Completed", "userId": "u", "messageId": "m"}) + "\n"


def answer(cli: Cli, sandbox: Sandbox, keys: bytes) -> tuple[int, str]:
    """Run a live replay on a terminal, type the answer to its question; return exit code and screen."""
    (cli.folder / "events.ndjson").write_text(EVENT)
    settings = cli.folder / "voucherify-sync.yaml"
    settings.write_text(f"api: {{url: '{sandbox.url}', key: app, token: secret}}\n")
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(cli.folder)
        os.execvpe(cli.command()[0], [*cli.command("replay", "events.ndjson")], cli.env)
    screen, asked, deadline = b"", False, time.monotonic() + 30
    while time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                piece = os.read(terminal, 4096)
            except OSError:  # the other side is closed
                break
            if not piece:
                break
            screen += piece
        if not asked and b"Send them?" in screen:
            asked = True
            time.sleep(0.2)  # input() does not hear what comes in the instant before it reads
            os.write(terminal, keys)
    else:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    return os.waitstatus_to_exitcode(status), screen.decode()


@pytest.mark.parametrize(
    ("keys", "code", "events"), [(b"y\n", 0, 1), (b"n\n", 0, 0), (b"\n", 0, 0), (b"\x03", 130, 0)], ids=repr
)
def test_only_a_yes_sends(run_cli: Cli, sandbox: Sandbox, keys: bytes, code: int, events: int) -> None:
    """Custom events cannot be taken back: enter alone is a no, and Ctrl-C is heard at once."""
    ended, screen = answer(run_cli, sandbox, keys)
    assert "1 custom event would go to" in screen
    assert ".ledger" in screen
    assert (ended, sandbox.counts()[1]) == (code, events), screen


def test_a_bar_on_a_terminal_leaves_it_as_it_was(run_cli: Cli, sandbox: Sandbox) -> None:
    """The cursor is never left hidden."""
    _, screen = answer(run_cli, sandbox, b"y\n")
    assert screen.count("\x1b[?25l") <= screen.count("\x1b[?25h")
    assert Path(run_cli.state).exists()
