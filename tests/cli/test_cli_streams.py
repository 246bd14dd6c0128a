"""Standard streams that are closed, full or without a reader: no command ends with a traceback, and none sends less."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess

import pytest
from support.cli import Cli
from support.ledger_parts import make_ledger
from support.replays import assert_lawful, identify, report_of, settings_for, track

from voucherify_sync.sandbox.options import SandboxOptions
from voucherify_sync.sandbox.server import Sandbox

FULL = "/dev/full"

DATA = [
    pytest.param(words.split(), id=words)
    for words in (
        "--help",
        "--version",
        "replay --help",
        "check --show",
        "status --ledger my.ledger",
        "status --json --ledger my.ledger",
        "plan events.ndjson",
        "plan --json events.ndjson",
        "coverage events.ndjson",
        "coverage --json events.ndjson",
        "explain --limit 9 events.ndjson",
        "explain --json events.ndjson",
        "explain --curl events.ndjson",
        "init --schema",
        "init -",
        "replay --dry-run events.ndjson",
        "replay --dry-run --bulk events.ndjson",
    )
]
"""Commands that print data, all of which end with 0."""


@pytest.fixture
def cli(run_cli: Cli) -> Cli:
    """Return the command line in a folder with some events."""
    lines = [identify(number) + track(number) for number in range(200)]
    (run_cli.folder / "events.ndjson").write_text("".join(lines))
    make_ledger(run_cli.folder / "my.ledger", "https://api.voucherify.io", "app")
    return run_cli


def add_broken_line(cli: Cli) -> None:
    """Add a line that ends as invalid."""
    with (cli.folder / "events.ndjson").open("a") as events:
        events.write("broken\n")


@pytest.mark.parametrize("words", DATA)
def test_a_reader_of_stdout_that_has_gone_ends_a_command_quietly(cli: Cli, words: list[str]) -> None:
    """`| head` has seen enough."""
    ended = cli(*words, streams={1: "unread"})
    assert ended.code == 0
    assert "Traceback" not in ended.err
    assert "standard output" not in ended.err


@pytest.mark.parametrize("words", DATA)
def test_a_full_disk_under_stdout_is_said_and_ends_with_4(cli: Cli, words: list[str]) -> None:
    """What is missing in the file must not pass for the whole."""
    ended = cli(*words, streams={1: FULL})
    assert ended.code == 4
    assert "Error: cannot write to standard output: No space left on device.\nMake room" in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("words", DATA)
@pytest.mark.parametrize("kind", ["closed", "unread", FULL])
def test_a_lost_stderr_only_silences_a_command(cli: Cli, words: list[str], kind: str) -> None:
    """The data and the exit code are those of any other run."""
    expected, ended = cli(*words), cli(*words, streams={2: kind})
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == expected.out


@pytest.mark.parametrize("words", DATA)
def test_streams_that_are_closed_at_start_end_no_command(cli: Cli, words: list[str]) -> None:
    """`<&- >&- 2>&-`, as some schedulers start their jobs."""
    assert cli(*words, streams={0: "closed", 1: "closed"}).code == 0
    assert cli(*words, streams={0: "closed", 1: "closed", 2: "closed"}).code == 0


@pytest.mark.parametrize(
    "words", [["nosuch"], ["replay", "--nosuch"], ["replay", "nowhere.ndjson"]], ids=" ".join
)
@pytest.mark.parametrize("kind", ["closed", "unread", FULL])
def test_a_mistake_stays_one_where_it_cannot_be_said(cli: Cli, words: list[str], kind: str) -> None:
    """The exit code tells."""
    ended = cli(*words, streams={2: kind})
    assert (ended.code, ended.out, ended.err) == (2, "", "")


@pytest.mark.parametrize(("kind", "code"), [("unread", 0), (FULL, 4)])
def test_shell_completion_is_data_like_any_other(cli: Cli, kind: str, code: int) -> None:
    """Click prints it before a command begins."""
    ended = cli(env={"_VOUCHERIFY_SYNC_COMPLETE": "bash_source"}, streams={1: kind})
    assert ended.code == code
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("redirection", ["| true", ">&-", "2>&-", "<&- >&- 2>&-", f"2>{FULL}", f">{FULL}"])
@pytest.mark.parametrize("words", ["--version", "check --show", "explain events.ndjson"])
def test_a_shell_finds_it_so_too(cli: Cli, words: str, redirection: str) -> None:
    """The same in a fresh interpreter, which has its own mind about streams that are closed."""
    command = f"{cli.command()[0]} {words} {redirection}; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command], cwd=cli.folder, env=cli.env, capture_output=True, check=False
    )
    assert done.returncode == (4 if redirection == f">{FULL}" else 0)
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr


def test_no_file_takes_the_place_of_a_closed_stream(cli: Cli) -> None:
    """What is meant for stderr must not get into the file that was opened first."""
    words = [*cli.command("replay", "--sandbox", "-v", "--log-file", "log", "--report", "-", "events.ndjson")]
    add_broken_line(cli)
    done = subprocess.run(
        ["bash", "-c", '"$@" <&- >&- 2>&-', "bash", *words], cwd=cli.folder, env=cli.env, check=False
    )
    assert done.returncode == 3
    log = (cli.folder / "log").read_text()
    assert (len(log.splitlines()), log.count("invalid")) == (1, 1)


def test_a_reader_that_is_slow_gets_everything_from_a_stream_that_does_not_block(cli: Cli) -> None:
    """Another process that shares the pipe may have made it so."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with cli.start("replay", "--dry-run", "events.ndjson", stdout=writing, stderr=writing) as process:
        os.close(writing)
        with open(reading, "rb") as pipe:
            assert sum(line.startswith(b"{") for line in pipe) == 400
    assert process.returncode == 0


@pytest.mark.parametrize("kind", ["closed", "unread", FULL])
@pytest.mark.parametrize("how", ["--progress=json", "--verbose", "--each"])
def test_a_live_run_sends_and_books_everything_without_its_streams(
    cli: Cli, sandbox: Sandbox, kind: str, how: str
) -> None:
    """Only the messages are lost."""
    add_broken_line(cli)
    settings = settings_for(cli, sandbox)
    words = ["replay", "-c", settings, "--yes", how, "--report", "report.json", "events.ndjson"]
    ended = cli(*words, streams={1: kind, 2: kind})
    assert ended.code == 3
    assert sandbox.counts()[:2] == (200, 200)
    report = report_of(cli)
    assert_lawful(report)
    assert report["outcomes"]["delivered"] == 400
    assert json.loads(cli("status", "-c", settings, "--json").out)["delivered"] == {
        "customers": 200,
        "events": 200,
        "orders": 0,
    }


def test_a_terminal_that_is_gone_does_not_disturb_a_run_that_ignores_the_hangup(run_cli: Cli) -> None:
    """`nohup voucherify-sync replay …` on a terminal that is closed: writing to it fails from then on."""
    events = run_cli.folder / "events.ndjson"
    events.write_text("".join(identify(number) for number in range(40)) + "broken\n")
    ours, theirs = pty.openpty()
    with Sandbox(SandboxOptions(latency_s=0.02, keep=None)) as sandbox:
        words = [
            "replay",
            "-c",
            settings_for(run_cli, sandbox),
            "--yes",
            "--workers=1",
            "--verbose",
            "--progress=bar",
        ]
        process = run_cli.start(
            *words,
            events,
            stdout=subprocess.DEVNULL,
            stderr=theirs,
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
        )
        os.close(theirs)
        while sandbox.counts()[2] < 5:
            os.read(ours, 4_096)
        os.close(ours)
        process.send_signal(signal.SIGHUP)
        assert process.wait(timeout=60) == 3
        assert sandbox.counts()[0] == 40


@pytest.mark.parametrize(
    "command", [["replay", "--dry-run"], ["plan"], ["coverage"], ["explain"], ["replay", "--sandbox"]]
)
def test_no_source_and_nothing_on_stdin_is_a_mistake(run_cli: Cli, command: list[str]) -> None:
    """As of a script whose variable is empty: success would hide it."""
    ended = run_cli(*command)
    assert ended.code == 2
    assert "No source of events is given, and standard input is empty.\nName files" in ended.err


@pytest.mark.parametrize("command", [["replay", "--dry-run"], ["plan"], ["coverage"], ["explain"]])
def test_an_empty_pipe_that_is_named_is_no_mistake(run_cli: Cli, command: list[str]) -> None:
    """The command before it may have chosen nothing; it is said."""
    ended = run_cli(*command, "-")
    assert ended.code == 0
    assert "standard input was empty" in ended.err + ended.out
