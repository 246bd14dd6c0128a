"""Files that cannot be written after all: named, kept elsewhere, and no reason to send less or to end otherwise."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from support.cli import Cli
from support.cli_modules import cli_module
from support.replays import identify, settings_for, track
from support.waiting import wait_until

from voucherify_sync.errors import UsageProblem
from voucherify_sync.sandbox.options import SandboxOptions
from voucherify_sync.sandbox.server import Sandbox

FULL = "/dev/full"
BROKEN = "broken\n"


@pytest.fixture
def cli(run_cli: Cli, sandbox: Sandbox) -> Cli:
    """Return the command line in a folder with events of each kind, and settings that lead to the sandbox."""
    (run_cli.folder / "good.ndjson").write_text(identify(1) + identify(2))
    (run_cli.folder / "mixed.ndjson").write_text(identify(1) + BROKEN + identify(2) + BROKEN)
    (run_cli.folder / "full.html").symlink_to(FULL)
    settings_for(run_cli, sandbox).rename(run_cli.folder / "voucherify-sync.yaml")
    return run_cli


def kept(cli: Cli, folder: str) -> list[Path]:
    """Return what is kept in a folder of the state directory; all of it is private."""
    files = list((cli.state / "voucherify-sync" / folder).glob("*"))
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files)
    return files


@pytest.mark.parametrize(("events", "code"), [("good.ndjson", 0), ("mixed.ndjson", 3)])
@pytest.mark.parametrize(("target", "suffix"), [(FULL, ".json"), ("full.html", ".html"), ("-", ".json")])
def test_a_report_that_cannot_be_written_is_kept(
    cli: Cli, sandbox: Sandbox, events: str, code: int, target: str, suffix: str
) -> None:
    """The exit code is that of the records; where the report is, is said after the summary."""
    ended = cli("replay", "--yes", "--report", target, events, streams={1: FULL} if target == "-" else {})
    assert ended.code == code
    assert sandbox.counts()[0] == 2
    (file,) = kept(cli, "reports")
    assert file.suffix == suffix
    assert "2 delivered" in file.read_text() or json.loads(file.read_text())["outcomes"]["delivered"] == 2
    summary, warning = ended.err.index("Replayed"), ended.err.index("Warning: cannot write")
    assert summary < warning
    assert f"No space left on device. The report is kept in {file} instead." in ended.err


def test_each_report_is_written_or_kept_by_itself(cli: Cli) -> None:
    """One that fails does not hold up the next; --quiet hides neither."""
    ended = cli("replay", "--yes", "--quiet", "--report", FULL, "--report", "run.json", "good.ndjson")
    assert ended.code == 0
    assert json.loads((cli.folder / "run.json").read_text())["outcomes"]["delivered"] == 2
    assert ended.err.count("Warning: ") == ended.err.count("\n") == len(kept(cli, "reports")) == 1


def test_reports_are_named_after_the_summary(cli: Cli) -> None:
    """Once they are there."""
    ended = cli("replay", "--yes", "--report", "run.json", "--report", "run.html", "good.ndjson")
    assert re.search(r"Replayed 2 records.*\nReport: run\.json\nReport: run\.html\n$", ended.err, re.DOTALL)


def test_a_report_that_nobody_reads_to_its_end_is_no_failure(cli: Cli) -> None:
    """`--report - | head -1` has what it wants."""
    ended = cli("replay", "--yes", "--report", "-", "mixed.ndjson", streams={1: "unread"})
    assert ended.code == 3
    assert "cannot write" not in ended.err
    assert kept(cli, "reports") == []


def test_a_folder_that_is_gone_at_the_end_costs_nothing(run_cli: Cli) -> None:
    """It was there when it was tried."""
    folder = run_cli.folder / "reports"
    folder.mkdir()
    (run_cli.folder / "events.ndjson").write_text("".join(identify(number) for number in range(50)))
    with Sandbox(SandboxOptions(latency_s=0.02, keep=None)) as sandbox:
        words = ["replay", "-c", settings_for(run_cli, sandbox), "--yes", "--workers", "1"]
        process = run_cli.start(*words, "--report", "reports/run.json", "events.ndjson")
        wait_until(lambda: sandbox.counts()[2] > 0)
        shutil.rmtree(folder)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    (file,) = kept(run_cli, "reports")
    assert json.loads(file.read_text())["outcomes"]["delivered"] == 50
    assert str(file) in err.decode()


@pytest.mark.parametrize("state", ["/dev/full/state", "/proc/nowhere"])
def test_where_nothing_can_be_kept_it_is_said(cli: Cli, sandbox: Sandbox, state: str) -> None:
    """Still the records decide."""
    words = [
        "replay",
        "--yes",
        "--new-ledger",
        "--ledger",
        "my.ledger",
        "--report",
        FULL,
        "--log-file",
        FULL,
        "mixed.ndjson",
    ]
    ended = cli(*words, env={"XDG_STATE_HOME": state})
    assert ended.code == 3
    assert sandbox.counts()[0] == 2
    assert "The report could not be kept elsewhere: cannot write " in ended.err
    assert "It could not go on elsewhere: cannot write " in ended.err
    assert "2 lines of the log could not be kept." in ended.err


@pytest.mark.parametrize(("events", "code", "lines"), [("good.ndjson", 0, 0), ("mixed.ndjson", 3, 2)])
@pytest.mark.parametrize("mode", ["--yes", "--sandbox", "--dry-run"])
def test_a_log_that_is_full_goes_on_elsewhere(
    cli: Cli, events: str, code: int, lines: int, mode: str
) -> None:
    """Every line is somewhere."""
    ended = cli("replay", mode, "--log-file", FULL, events)
    assert ended.code == code
    assert "Traceback" not in ended.err
    files = kept(cli, "logs")
    assert sum(len(file.read_text().splitlines()) for file in files) == lines
    assert (f"No space left on device. The log goes on in {files[0] if files else ''}" in ended.err) == bool(
        lines
    )


def test_a_log_is_made_when_the_run_was(cli: Cli) -> None:
    """Also when there was nothing to note; but not by a command that was refused."""
    assert cli("replay", "--yes", "--log-file", "log", "good.ndjson").code == 0
    assert (cli.folder / "log").read_text() == ""
    (cli.folder / "voucherify-sync.yaml").write_text("api: {key: '${NO_SUCH_VARIABLE}'}\n")
    assert cli("replay", "--yes", "--log-file", "log-2", "good.ndjson").code == 2
    assert not (cli.folder / "log-2").exists()


@pytest.mark.parametrize("is_verbose", [False, True], ids=["log alone", "--verbose"])
def test_a_log_of_a_repeated_run_has_lines_of_what_needs_a_hand(cli: Cli, is_verbose: bool) -> None:
    """What was sent before is a sum, and a line each with --verbose only."""
    tracks = "".join(track(number) for number in range(1, 31))
    (cli.folder / "mixed.ndjson").write_text(
        identify(1) + BROKEN + tracks + '{"type": "page", "userId": "u"}\n'
    )
    more = ["--verbose"] if is_verbose else []
    for name in ("first", "again"):
        assert cli("replay", "--yes", "--log-file", name, *more, "mixed.ndjson").code == 3
    lines = [line.split("  ", 1)[1] for line in (cli.folder / "again").read_text().splitlines()]
    if is_verbose:
        assert len(lines) == 33
    else:
        assert lines[0].startswith("invalid  ")
        assert lines[1:] == ["duplicate  delivered  31 records", "skipped  type_page  1 record"]
        first = (cli.folder / "first").read_text()
        assert (first.count("invalid"), len(first.splitlines())) == (1, 2)


def test_dead_letters_that_cannot_be_written_do_not_stop_a_run_with_a_ledger(
    cli: Cli, sandbox: Sandbox
) -> None:
    """The summary says which file has not all of them."""
    ended = cli("replay", "--yes", "--dead-letters", FULL, "mixed.ndjson")
    assert ended.code == 3
    assert sandbox.counts()[0] == 2
    assert "No space left on device: 2 dead letters are not in it. The ledger knows" in ended.err


def test_a_reader_of_dead_letters_that_goes_does_not_stop_a_run_with_a_ledger(
    cli: Cli, sandbox: Sandbox
) -> None:
    """It was there when the pipe was tried."""
    os.mkfifo(cli.folder / "pipe")
    reader = os.open(cli.folder / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    process = cli.start("replay", "--yes", "--dead-letters", "pipe", "-", stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(identify(1).encode())
    process.stdin.flush()
    wait_until(lambda: sandbox.counts()[2] > 0)
    os.close(reader)
    _, err = process.communicate((BROKEN + identify(2) + BROKEN).encode(), timeout=60)
    assert process.returncode == 3
    assert sandbox.counts()[0] == 2
    assert b"2 dead letters are not in it" in err


def test_dead_letters_that_cannot_be_written_stop_a_run_without_a_ledger(cli: Cli) -> None:
    """They would be kept nowhere."""
    ended = cli("replay", "--sandbox", "--dead-letters", FULL, "mixed.ndjson")
    assert ended.code == 4
    assert "Stopped: cannot write /dev/full: No space left on device" in ended.err


def test_a_log_that_fills_up_loses_no_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line that was cut off is whole in the other file."""
    write, room = os.write, 20

    def limited(descriptor: int, data: bytes) -> int:
        nonlocal room
        if os.fstat(descriptor).st_ino != (tmp_path / "log").stat().st_ino:
            return write(descriptor, data)
        if room == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = write(descriptor, bytes(data)[:room])
        room -= written
        return written

    monkeypatch.setattr(os, "write", limited)
    log = cli_module("outputs").RecordLog(tmp_path / "log", lambda: tmp_path / "spare")
    for number in range(1, 5):
        log.add_line(f"line number {number}")
    said = log.finish()
    assert (tmp_path / "log").read_text() == "line number 1\nline n"
    assert (tmp_path / "spare").read_text() == "line number 2\nline number 3\nline number 4\n"
    assert (
        said
        == f"cannot write {tmp_path / 'log'}: No space left on device. The log goes on in {tmp_path / 'spare'}."
    )


def test_a_log_without_a_place_counts_its_lines(tmp_path: Path) -> None:
    """Nothing is raised into the run."""

    def nowhere() -> Path:
        raise UsageProblem("there is no state directory.", "Name one.")

    log = cli_module("outputs").RecordLog(tmp_path / "missing" / "log", nowhere)
    log.add_line("one")
    log.add_line("two")
    said = log.finish()
    assert said.endswith(
        "It could not go on elsewhere: there is no state directory. 2 lines of the log could not be kept."
    )


def test_a_log_whose_spare_file_is_full_counts_its_lines() -> None:
    """As without a place."""
    log = cli_module("outputs").RecordLog(Path(FULL), lambda: Path(FULL))
    log.add_line("one")
    log.add_line("two")
    assert log.finish() == (
        "cannot write /dev/full: No space left on device. The log goes on in /dev/full. "
        "That could not be written either: No space left on device. 2 lines of the log could not be kept."
    )
