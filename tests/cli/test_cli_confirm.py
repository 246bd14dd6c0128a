"""The question before a live run, on a terminal of its own: yes sends, no and Ctrl-C send nothing."""

from __future__ import annotations

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.cli import Cli
from support.question import EVENT, ask
from support.replays import write_settings

from voucherify_sync.sandbox.server import Sandbox


def answer(cli: Cli, sandbox: Sandbox, keys: bytes) -> tuple[int, str]:
    """Type the answer to the question; return exit code and screen."""
    return ask(cli, sandbox, lambda _, terminal: os.write(terminal, keys))


@pytest.mark.parametrize(
    ("keys", "code", "events"),
    [
        (b"y\n", 0, 1),
        (b" YES \n", 0, 1),
        (b"n\n", 130, 0),
        (b"\n", 130, 0),
        (b"yep\n", 130, 0),
        (b"\x03", 130, 0),
        (b"\x04", 130, 0),
    ],
    ids=repr,
)
def test_only_a_yes_sends(run_cli: Cli, sandbox: Sandbox, keys: bytes, code: int, events: int) -> None:
    """Custom events cannot be taken back: all but a yes is a no, and Ctrl-C and Ctrl-D are heard at once."""
    ended, screen = answer(run_cli, sandbox, keys)
    assert "1 custom event would go to" in screen
    assert ".ledger" in screen
    assert (ended, sandbox.counts()[1]) == (code, events), screen


@pytest.mark.parametrize(("keys", "code", "orders"), [(b"y\n", 0, 1), (b"n\n", 130, 0)], ids=repr)
def test_orders_are_asked_for_too(
    run_cli: Cli, sandbox: Sandbox, keys: bytes, code: int, orders: int
) -> None:
    """They cannot be deleted; the question says what they do not cause, and what they still can."""
    words = ["-c", "orders.yaml", "orders.ndjson"]
    write_settings(run_cli.folder / "orders.yaml", sandbox.url, "orders: {disabled: false}", key="app")
    properties = {"order_id": "o1", "total": 5}
    event = {
        "type": "track",
        "event": "Order Completed",
        "userId": "u",
        "messageId": "o",
        "properties": properties,
    }
    (run_cli.folder / "orders.ndjson").write_text(json.dumps(event) + "\n")
    ended, screen = ask(run_cli, sandbox, lambda _, terminal: os.write(terminal, keys), words)
    assert "1 order of 1 customer in 1 request would go to" in screen
    assert "Orders cannot be deleted by the API." in screen
    assert (ended, len(sandbox.store.orders)) == (code, orders), screen


def test_a_bar_on_a_terminal_leaves_it_as_it_was(run_cli: Cli, sandbox: Sandbox) -> None:
    """The cursor is never left hidden."""
    _, screen = answer(run_cli, sandbox, b"y\n")
    assert screen.count("\x1b[?25l") <= screen.count("\x1b[?25h")
    assert Path(run_cli.state).exists()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=str
)
def test_a_signal_leaves_the_question_at_once(
    run_cli: Cli, sandbox: Sandbox, number: signal.Signals, code: int
) -> None:
    """Nothing is sent, and the copy that --bulk has made of a pipe is not left behind."""
    temporary = run_cli.folder / "temporary"
    temporary.mkdir()
    run_cli.env["TMPDIR"] = str(temporary)
    os.mkfifo(run_cli.folder / "pipe")
    with ThreadPoolExecutor(1) as pool:
        pool.submit((run_cli.folder / "pipe").write_text, EVENT.replace('"m"', '"n"'))
        ended, screen = ask(run_cli, sandbox, lambda pid, _: os.kill(pid, number), ["--bulk", "pipe"])
    assert "2 custom events would go to" in screen
    assert (ended, sandbox.counts()[1]) == (code, 0), screen
    assert "Traceback" not in screen
    assert list(temporary.iterdir()) == []


def test_a_signal_that_was_ignored_at_start_is_ignored_at_the_question(
    run_cli: Cli, sandbox: Sandbox
) -> None:
    """The question of a command under `nohup` outlives the terminal that it was started from."""

    def hang_up_and_agree(pid: int, terminal: int) -> None:
        os.kill(pid, signal.SIGHUP)
        os.write(terminal, b"y\n")

    ended, screen = ask(run_cli, sandbox, hang_up_and_agree, ignore=signal.SIGHUP)
    assert (ended, sandbox.counts()[1]) == (0, 1), screen
