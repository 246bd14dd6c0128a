"""Whatever a command writes is for its owner only: 0600 in directories 0700, under any umask."""

from __future__ import annotations

import gzip
import stat
from pathlib import Path

import pytest
from support.cli import Cli
from support.replays import identify, settings_for, track

from voucherify_sync.sandbox.server import Sandbox

TESTS = """\
tests:
  - name: fails
    event: {type: identify, userId: u}
    expect_skipped: no_id
"""


def run(cli: Cli, umask: int, *words: str | Path) -> int:
    """Run a command under a umask; return its exit code."""
    cli.before = f"import os; os.umask({umask})"
    ended = cli(*words)
    assert "Traceback" not in ended.err
    return ended.code


def assert_private(folder: Path, before: set[Path]) -> int:
    """Check what is new in a folder; return how many files that are."""
    new = [path for path in folder.rglob("*") if path not in before]
    for path in new:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    return sum(path.is_file() for path in new)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777], ids=oct)
def test_everything_that_is_written_is_private(run_cli: Cli, sandbox: Sandbox, umask: int) -> None:
    """Reports, dead letters, log, ledger and its lock, settings, JUnit."""
    settings = settings_for(run_cli, sandbox)
    (run_cli.folder / "events.ndjson").write_text(identify(1) + track(2) + "broken\n")
    (run_cli.folder / "tests.yaml").write_text(TESTS)
    before = set(run_cli.folder.rglob("*"))
    outputs = ["--report", "r.json", "--report", "r.html", "--log-file", "log"]
    assert run(run_cli, umask, "replay", "-c", settings, "--yes", *outputs, "events.ndjson") == 3
    more = ["--new-ledger", "--ledger", "folder/my.ledger", "--dead-letters", "dead.ndjson", "--bulk"]
    settings.write_text(settings.read_text().replace("sandbox-app", "sandbox-other"))  # has no ledger yet
    assert run(run_cli, umask, "replay", "-c", settings, "--yes", *more, "events.ndjson") == 3
    assert run(run_cli, umask, "init", "new.yaml") == 0
    assert run(run_cli, umask, "check", "-c", "tests.yaml", "--junit", "junit.xml") == 3
    assert assert_private(run_cli.folder, before) >= 10


@pytest.mark.parametrize("umask", [0o000, 0o777], ids=oct)
def test_a_file_that_is_there_keeps_its_mode(run_cli: Cli, umask: int) -> None:
    """What the user has opened to others stays open to them."""
    (run_cli.folder / "events.ndjson").write_text(identify(1) + "broken\n")
    (run_cli.folder / "tests.yaml").write_text(TESTS)
    names = ["r.json", "r.html", "log", "dead.ndjson", "junit.xml", "tests.yaml"]
    for name in names:
        (run_cli.folder / name).touch()
        (run_cli.folder / name).chmod(0o644)
    outputs = [
        "--report",
        "r.json",
        "--report",
        "r.html",
        "--log-file",
        "log",
        "--dead-letters",
        "dead.ndjson",
    ]
    assert run(run_cli, umask, "replay", "--sandbox", *outputs, "events.ndjson") == 3
    assert run(run_cli, umask, "check", "-c", "tests.yaml", "--junit", "junit.xml", "--update") == 0
    for name in names:
        assert stat.S_IMODE((run_cli.folder / name).stat().st_mode) == 0o644, name
        assert (run_cli.folder / name).stat().st_size, name


@pytest.mark.parametrize(
    "words",
    [
        ["replay", "-n", "y" * 300],
        ["plan", "y" * 300],
        ["explain", "y" * 300],
        ["init", "--from", "y" * 300, "-"],
        ["retry", "y" * 300],
        ["coverage", "--against", "y" * 300, "a.ndjson"],
        ["replay", "-n", "-c", "y" * 300, "a.ndjson"],
        ["replay", "-n", "--max-duration", "99999999999h", "a.ndjson"],
    ],
    ids=lambda words: " ".join(words)[:30],
)
def test_a_word_that_is_longer_than_anything_is_a_usage_error(run_cli: Cli, words: list[str]) -> None:
    """Such as an event that was pasted in place of a file."""
    (run_cli.folder / "a.ndjson").write_text("{}\n")
    ended = run_cli(*words)
    assert ended.code == 2
    assert "Traceback" not in ended.err


def test_a_number_larger_than_any_archive_means_all(run_cli: Cli, samples: Path) -> None:
    """Python counts less far."""
    whole, limited = (run_cli("replay", "-n", *more, samples) for more in ([], ["--limit", str(1 << 63)]))
    assert (limited.code, limited.out) == (0, whole.out)


@pytest.mark.parametrize(("damage", "is_left_out"), [("flipped", True), ("cut", False)])
def test_a_preview_says_what_a_run_that_sends_makes_of_a_damaged_file(
    run_cli: Cli, damage: str, is_left_out: bool
) -> None:
    """What precedes a cut can be trusted; where a byte is wrong, nothing can."""
    text = "".join(track(number) for number in range(2_000))
    packed = bytearray(gzip.compress(text.encode()))
    if damage == "flipped":
        packed[-8] ^= 1  # of the checksum
    (run_cli.folder / "a.gz").write_bytes(packed if is_left_out else packed[: len(packed) // 2])
    planned, sent = run_cli("plan", "--brief", "a.gz"), run_cli("replay", "--sandbox", "a.gz")
    assert ("a run that sends leaves out the whole file" in planned.out) is is_left_out
    assert sent.err.startswith("No events were read.") is is_left_out
    assert ("; the whole file was left out" in sent.err) is is_left_out


def test_a_sandbox_run_that_stops_says_that_the_next_one_starts_over(run_cli: Cli) -> None:
    """What the sandbox held is gone: nothing remembers how far the run came."""
    lines = "".join(track(number) for number in range(20))
    ended = run_cli("replay", "--sandbox", "--max-calls", "3", "-", stdin=lines)
    assert ended.code == 4
    assert "remaining" not in ended.err
    assert "send it again from the start: what the sandbox held is gone" in ended.err


def test_a_blank_name_of_an_event_can_be_seen_in_a_plan(run_cli: Cli) -> None:
    """Numbers without a label would belong to nothing."""
    planned = run_cli("plan", "-", stdin=track(1, event=" ") + track(2))
    assert [line.split() for line in planned.out.splitlines() if "(blank name)" in line] == [
        ["(blank", "name)", "1", "1"]
    ]
