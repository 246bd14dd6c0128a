"""A live run on a terminal of its own, which stops at its question."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import time
from collections.abc import Callable, Sequence

from support.cli import Cli
from support.replays import write_settings
from voucherify_sync.sandbox.server import Sandbox

EVENT = json.dumps({"type": "track", "event": "Order Completed", "userId": "u", "messageId": "m"}) + "\n"


def ask(
    cli: Cli,
    sandbox: Sandbox,
    act: Callable[[int, int], object],
    words: Sequence[str] = (),
    ignore: int | None = None,
) -> tuple[int, str]:
    """Run a live replay on a terminal, and act at its question; return exit code and screen.

    Args:
        cli: the command line.
        sandbox: where it would send.
        act: called once with the process and its terminal.
        words: more words of the command.
        ignore: a signal that is ignored from the start.
    """
    (cli.folder / "events.ndjson").write_text(EVENT)
    settings = cli.folder / "voucherify-sync.yaml"
    write_settings(settings, sandbox.url, key="app")
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(cli.folder)
        if ignore is not None:
            signal.signal(ignore, signal.SIG_IGN)
        os.execvpe(cli.command()[0], [*cli.command("replay", *words, "events.ndjson")], cli.env)
    screen, asked, deadline = b"", False, time.monotonic() + 60
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
            act(pid, terminal)
    else:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    return os.waitstatus_to_exitcode(status), screen.decode()
