"""Outputs that would spoil an input, or that cannot be written, are refused before the first call, without a trace."""

from __future__ import annotations

import html
import json
import os
import re
import select
import subprocess
from concurrent.futures import ThreadPoolExecutor
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from support.cli import Cli
from support.cli_modules import cli_module
from support.question import ask
from support.replays import identify, track, write_events

from voucherify_sync.errors import UsageProblem
from voucherify_sync.sandbox.server import Sandbox

OPTIONS = ["--report", "--dead-letters", "--log-file"]
COMMON = ["--yes", "-c", "settings.yaml", "--exclude-ids", "ids", "--ledger", "my.ledger"]

TESTS = "tests: [{name: a, event: 'events.ndjson:1', expect_skipped: no_id}]"
LETTER = json.dumps({"outcome": "failed", "source": "e:1", "event": json.loads(identify(7))}) + "\n"


@pytest.fixture
def cli(run_cli: Cli, sandbox: Sandbox) -> Cli:
    """Return the command line in a folder with files that must stay as they are."""
    folder = run_cli.folder
    (folder / "events.ndjson").write_text(identify(1) + track(2) + "broken\n")
    (folder / "archive").mkdir()
    (folder / "archive" / "part.ndjson").write_text(identify(3))
    (folder / "ids").write_text("u-9\n")
    (folder / "token").write_text("secret\n")
    (folder / "settings.yaml").write_text(f"api: {{url: '{sandbox.url}', key: app, token_file: token}}\n")
    (folder / "mapping.test.yaml").write_text(TESTS)
    (folder / "letters.ndjson").write_text(LETTER)
    (folder / "link").symlink_to("events.ndjson")
    (folder / "hard-link").hardlink_to(folder / "events.ndjson")
    (folder / "dangling").symlink_to("nothing")
    os.mkfifo(folder / "pipe")
    return run_cli


def picture(folder: Path) -> dict[str, Any]:
    """Return all that is in a folder: names, modes, inodes, times and contents."""
    found = {}
    for path in folder.rglob("*"):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() else None
        found[str(path.relative_to(folder))] = (
            status.st_mode,
            status.st_ino,
            content and status.st_mtime_ns,
            content,
        )
    return found


def assert_refused(cli: Cli, sandbox: Sandbox, *words: str, streams: dict[int, str] | None = None) -> str:
    """Run a command that is to be refused; return what it says."""
    before = picture(cli.folder)
    ended = cli(*words, streams=streams)
    assert ended.code == 2, ended.err
    assert ended.out == ""
    assert sandbox.counts()[2] == 0
    assert picture(cli.folder) == before
    return ended.err.replace(f"{cli.folder}/", "")


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize(
    ("target", "what"),
    [
        ("events.ndjson", "the source events.ndjson"),
        ("./archive/../events.ndjson", "the source events.ndjson"),
        ("link", "the source events.ndjson"),
        ("hard-link", "the source events.ndjson"),
        ("archive/part.ndjson", "the source archive/part.ndjson"),
        ("settings.yaml", "the settings file settings.yaml"),
        ("token", "api.token_file token"),
        ("ids", "--exclude-ids ids"),
        ("my.ledger-wal", "the ledger's my.ledger-wal"),
        ("my.ledger-shm", "the ledger's my.ledger-shm"),
        ("my.ledger.lock", "the ledger's my.ledger.lock"),
    ],
)
@pytest.mark.parametrize("there", [False, True], ids=["ledger-to-come", "ledger-there"])
def test_an_output_that_the_command_reads_or_keeps_is_refused(
    cli: Cli, sandbox: Sandbox, option: str, target: str, what: str, there: bool
) -> None:
    """By whatever name, through a link, or found in a folder."""
    if there:
        for name in ("my.ledger", "my.ledger-wal", "my.ledger-shm", "my.ledger.lock"):
            (cli.folder / name).touch()
    said = assert_refused(cli, sandbox, "replay", *COMMON, option, target, "events.ndjson", "archive")
    assert f"Error: {option} " in said
    assert f"is the same file as {what}.\nEach output needs a file of its own" in said


@pytest.mark.parametrize("option", OPTIONS)
def test_an_output_that_is_the_ledger_is_refused(cli: Cli, sandbox: Sandbox, option: str) -> None:
    """Whether it is there yet or not."""
    for _ in range(2):
        said = assert_refused(cli, sandbox, "replay", *COMMON, option, "my.ledger", "events.ndjson")
        assert f"the ledger my.ledger is the same file as {option} my.ledger." in said
        (cli.folder / "my.ledger").touch()


@pytest.mark.parametrize("target", ["events.ndjson", "link", "settings.yaml", "token", "ids"])
def test_a_ledger_that_the_command_reads_is_refused(cli: Cli, sandbox: Sandbox, target: str) -> None:
    """It is no ledger, and it is looked at without a change."""
    said = assert_refused(cli, sandbox, "replay", *COMMON, "--ledger", target, "events.ndjson")
    assert said.startswith((f"Error: {target} is no ledger", f"Error: the ledger {target} "))


@pytest.mark.parametrize("words", [["--dry-run"], ["--sandbox"]], ids=" ".join)
@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("target", ["events.ndjson", "my.ledger"])
def test_a_preview_is_refused_as_the_run_would_be(
    cli: Cli, sandbox: Sandbox, words: list[str], option: str, target: str
) -> None:
    """The ledger of the project is not theirs, and no less to be kept."""
    assert_refused(cli, sandbox, "replay", *words, *COMMON, option, target, "events.ndjson")


@pytest.mark.parametrize(("first", "second"), [("--report", "--report"), *permutations(OPTIONS, 2)])
@pytest.mark.parametrize("there", [False, True], ids=["new", "there"])
def test_two_outputs_that_are_one_file_are_refused(
    cli: Cli, sandbox: Sandbox, first: str, second: str, there: bool
) -> None:
    """A file that is not there yet is known by its folder and its name."""
    if there:
        (cli.folder / "same").touch()
    said = assert_refused(
        cli, sandbox, "replay", *COMMON, first, "same", second, "archive/../same", "events.ndjson"
    )
    assert "same is the same file as --" in said


def test_a_report_on_stdout_is_asked_for_once(cli: Cli, sandbox: Sandbox) -> None:
    """Two would be no JSON."""
    assert "--report - is given twice" in assert_refused(
        cli, sandbox, "replay", *COMMON, "--report", "-", "--report", "-", "events.ndjson"
    )


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("nowhere/x", "there is no folder nowhere"),
        ("events.ndjson/x", "events.ndjson is no folder"),
        ("pipe", "it is a pipe without a reader; start the reader first"),
        ("n" * 256, "File name too long"),
        ("/proc/no-such-file", "No such file or directory"),
    ],
)
def test_an_output_that_cannot_be_written_is_refused(
    cli: Cli, sandbox: Sandbox, option: str, target: str, why: str
) -> None:
    """Before the first call, not hours after it."""
    said = assert_refused(cli, sandbox, "replay", *COMMON, option, target, "events.ndjson")
    assert f"Error: {option} {target} cannot be written: {why}.\nName a file in a folder that exists" in said


@pytest.mark.parametrize("option", OPTIONS)
def test_a_folder_is_no_output(cli: Cli, sandbox: Sandbox, option: str) -> None:
    """Two checks can find it."""
    assert_refused(cli, sandbox, "replay", *COMMON, option, "archive", "events.ndjson")


@pytest.mark.parametrize("ledger", ["events.ndjson/my.ledger", "n" * 256])
def test_a_ledger_that_cannot_be_made_is_refused(cli: Cli, sandbox: Sandbox, ledger: str) -> None:
    """Its folders are made with it, but not where a file is in their place."""
    said = assert_refused(cli, sandbox, "replay", *COMMON, "--new-ledger", "--ledger", ledger, "archive")
    assert "cannot be written" in said or "File name too long" in said


def test_all_that_is_wrong_is_said_at_once(cli: Cli, sandbox: Sandbox) -> None:
    """One sentence for each output."""
    words = ["--report", "nowhere/a", "--log-file", "nowhere/b", "--dead-letters", "nowhere/c"]
    said = assert_refused(cli, sandbox, "replay", *COMMON, *words, "events.ndjson")
    assert said.count("there is no folder nowhere.") == 3


def test_it_is_said_before_the_question(run_cli: Cli, sandbox: Sandbox) -> None:
    """A yes that leads nowhere need not be given."""
    code, screen = ask(run_cli, sandbox, lambda *_: None, ["--report", "nowhere/x.json"])
    assert code == 2
    assert "no folder nowhere" in screen
    assert "Send them?" not in screen


@pytest.mark.parametrize("option", OPTIONS)
def test_what_is_no_file_may_be_an_output(cli: Cli, option: str) -> None:
    """Devices, which several outputs may share, and the pipes of a shell, which keep what they are given in order."""
    assert cli("replay", "--sandbox", option, "/dev/null", "--report", "/dev/null", "events.ndjson").code == 3
    command = f'"$@" {option} >(cat > kept) events.ndjson; echo $?; wait'
    words = cli.command("replay", "--sandbox")
    done = subprocess.run(
        ["bash", "-c", command, "bash", *words], cwd=cli.folder, env=cli.env, capture_output=True, check=False
    )
    assert done.stdout == b"3\n", done.stderr
    assert b"not_json" in (cli.folder / "kept").read_bytes()


@pytest.mark.parametrize("option", OPTIONS)
def test_a_named_pipe_with_a_reader_may_be_an_output(cli: Cli, option: str) -> None:
    """The reader that waited at the start gets what is written hours later; nothing tells it before that it is over."""
    descriptor = os.open(cli.folder / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(read_to_end, descriptor)
        assert cli("replay", "--sandbox", option, "pipe", "events.ndjson").code == 3
        assert b"not_json" in read.result(timeout=60)
    os.close(descriptor)


def read_to_end(descriptor: int) -> bytes:
    """Read a pipe from the moment that something is written to it until its writers have gone."""
    poll, text = select.poll(), b""
    poll.register(descriptor, select.POLLIN)
    while True:
        poll.poll()
        piece = os.read(descriptor, 65_536)
        if not piece:
            return text
        text += piece


REDIRECTED = [
    pytest.param(words.split(), id=words)
    for words in (
        "replay --dry-run -c settings.yaml",
        "replay --sandbox -c settings.yaml",
        "plan -c settings.yaml",
        "coverage -c settings.yaml",
        "explain -c settings.yaml",
        "init - --from",
    )
]


@pytest.mark.parametrize("words", REDIRECTED)
@pytest.mark.parametrize("stream", [1, 2])
@pytest.mark.parametrize(
    ("source", "target"),
    [("events.ndjson", "events.ndjson"), ("events.ndjson", "hard-link"), ("archive", "archive/part.ndjson")],
)
def test_a_stream_that_leads_into_a_source_is_refused(
    cli: Cli, sandbox: Sandbox, words: list[str], stream: int, source: str, target: str
) -> None:
    """`>> events.ndjson`: the command would read what it writes. Where stderr is it, nothing can be said."""
    said = assert_refused(cli, sandbox, *words, source, streams={stream: target})
    assert ("standard output is the same file as the source" in said) == (stream == 1)


def test_an_empty_file_that_the_shell_has_made_for_stderr_gets_the_sentence(cli: Cli) -> None:
    """`2> archive/errors.txt`: it is found in the folder, and there is nothing in it to be spoilt."""
    (cli.folder / "archive" / "errors.txt").touch()
    assert cli("replay", "--dry-run", "archive", streams={2: "archive/errors.txt"}).code == 2
    said = (cli.folder / "archive" / "errors.txt").read_text()
    assert said.startswith("Error: standard error is the same file as the source archive/errors.txt.")


@pytest.mark.parametrize("words", REDIRECTED)
def test_a_stream_that_leads_into_standard_input_is_refused(
    cli: Cli, sandbox: Sandbox, words: list[str]
) -> None:
    """`< events.ndjson >> events.ndjson`."""
    said = assert_refused(cli, sandbox, *words, "-", streams={0: "link", 1: "events.ndjson"})
    assert "standard output is the same file as standard input." in said


@pytest.mark.parametrize("option", OPTIONS)
def test_an_output_that_a_stream_leads_to_is_refused(cli: Cli, sandbox: Sandbox, option: str) -> None:
    """Each would write over the other."""
    (cli.folder / "out").touch()
    said = assert_refused(cli, sandbox, "replay", *COMMON, option, "out", "events.ndjson", streams={1: "out"})
    assert f"{option} out is the same file as standard output." in said
    said = assert_refused(
        cli, sandbox, "replay", *COMMON, option, "link", "archive", streams={0: "hard-link"}
    )
    assert f"{option} link is the same file as standard input." in said


def test_stdout_and_stderr_may_share_a_file(cli: Cli) -> None:
    """`> all.txt 2>&1`."""
    (cli.folder / "all.txt").touch()
    assert cli("replay", "--dry-run", "events.ndjson", streams={1: "all.txt", 2: "all.txt"}).code == 3
    assert "not_json" in (cli.folder / "all.txt").read_text()


@pytest.mark.parametrize(
    ("words", "stream"),
    [
        ("check -c settings.yaml", "settings.yaml"),
        ("check -c settings.yaml", "token"),
        ("check", "mapping.test.yaml"),
        ("check", "events.ndjson"),
        ("check --online -c settings.yaml archive", "archive/part.ndjson"),
        ("status -c settings.yaml --ledger my.ledger", "settings.yaml"),
        ("status -c settings.yaml --ledger my.ledger", "my.ledger"),
        ("retry -c settings.yaml --dry-run letters.ndjson", "letters.ndjson"),
        ("retry -c settings.yaml --yes letters.ndjson", "letters.ndjson"),
    ],
)
def test_no_other_command_writes_into_what_it_reads(
    cli: Cli, sandbox: Sandbox, words: str, stream: str
) -> None:
    """The shell appends to a file; the command must notice."""
    (cli.folder / "my.ledger").touch()
    assert "standard output is the same file as" in assert_refused(
        cli, sandbox, *words.split(), streams={1: stream}
    )


@pytest.mark.parametrize("option", OPTIONS)
def test_retry_does_not_feed_itself(cli: Cli, sandbox: Sandbox, option: str) -> None:
    """Dead letters that fail again would be added to the file that is read."""
    said = assert_refused(
        cli, sandbox, "retry", "--yes", "-c", "settings.yaml", option, "letters.ndjson", "letters.ndjson"
    )
    assert "is the same file as the dead letters letters.ndjson." in said


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("settings.yaml", "is the same file as the settings file"),
        ("token", "is the same file as api.token_file"),
        ("mapping.test.yaml", "is the same file as the mapping tests mapping.test.yaml"),
        ("link", "is the same file as the events events.ndjson"),
        ("nowhere/junit.xml", "there is no folder nowhere"),
        ("pipe", "it is a pipe without a reader"),
    ],
)
def test_a_junit_file_is_tried_before_the_tests_run(
    cli: Cli, sandbox: Sandbox, target: str, why: str
) -> None:
    """And before anything is said of the settings."""
    said = assert_refused(cli, sandbox, "check", "-c", "settings.yaml", "--junit", target)
    assert f"Error: --junit {target} " in said
    assert why in said


def test_init_tries_its_file_before_it_reads_the_sources(cli: Cli, sandbox: Sandbox) -> None:
    """They may be large."""
    said = assert_refused(cli, sandbox, "init", "--from", "events.ndjson", "nowhere/new.yaml")
    assert said.startswith("Error: nowhere/new.yaml cannot be written: there is no folder nowhere.")
    assert_refused(cli, sandbox, "init", "dangling")


def test_a_dash_is_standard_output_for_init(cli: Cli) -> None:
    """Data on stdout, and not a word more; the file is the one that would be written."""
    before = picture(cli.folder)
    ended = cli("init", "-")
    assert (ended.code, ended.err) == (0, "")
    assert picture(cli.folder) == before
    assert cli("init", "./-").code == 0
    assert (cli.folder / "-").read_text() == ended.out
    assert "events" in cli("init", "-", "--from", "-", stdin=track(1)).out


@pytest.mark.parametrize(
    "words",
    [
        "replay -c - events.ndjson",
        "replay --dead-letters - events.ndjson",
        "replay --log-file - events.ndjson",
        "replay --exclude-ids - events.ndjson",
        "replay --ledger - events.ndjson",
        "retry -",
        "plan -c - events.ndjson",
        "coverage -c - events.ndjson",
        "explain -c - events.ndjson",
        "check -c -",
        "check --junit -",
        "status -c -",
        "status --ledger -",
    ],
)
def test_a_dash_is_no_file_elsewhere(cli: Cli, sandbox: Sandbox, words: str) -> None:
    """Neither a stream nor a file called - is meant without a doubt."""
    assert "'-' is no file here; for a file of that name write ./-" in assert_refused(
        cli, sandbox, *words.split()
    )


def test_a_ledger_is_compared_and_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To close a second descriptor of a SQLite file would drop the locks of the first."""
    outputs = cli_module("outputs")
    ledger = tmp_path / "my.ledger"
    ledger.touch()
    opened = list[Path]()
    open_file = os.open

    def noticed(path: Any, *rest: Any, **more: Any) -> int:
        opened.append(Path(path))
        return open_file(path, *rest, **more)

    monkeypatch.setattr(os, "open", noticed)
    monkeypatch.setattr("builtins.open", noticed)
    result = outputs.FileWritten("--report x", tmp_path / "x", outputs.try_to_write_whole)
    same = outputs.FileWritten("--report my.ledger", ledger, outputs.try_to_write_whole)
    kept = outputs.FileWritten("the ledger", ledger, outputs._try_ledger)
    outputs.try_outputs([result, kept], [])
    outputs.try_outputs([result], [outputs.FileRead("the ledger", ledger)])
    for group in ([same, kept], [kept, same]):
        with pytest.raises(UsageProblem):
            outputs.try_outputs(group, [])
    assert tmp_path / "x" in opened
    assert ledger not in opened


@pytest.mark.parametrize("option", ["--log-file", "--dead-letters", "--report", "--ledger"])
def test_an_output_in_a_folder_that_is_read_is_refused(cli: Cli, sandbox: Sandbox, option: str) -> None:
    """The next run would read it with the events; a name that is not read there is fine."""
    (cli.folder / "logs").mkdir()
    (cli.folder / "logs" / "a.ndjson").write_text("{}\n")
    said = assert_refused(cli, sandbox, "replay", *COMMON, option, "logs/below.x", "logs")
    assert f"{option} logs/below.x is in the source logs" in said or "below.x is in the source logs" in said
    assert "Name a file elsewhere" in said


def test_the_report_says_what_was_picked_and_what_set_and_entries_did(run_cli: Cli) -> None:
    """In JSON by section, with the selection but for ids; on the page with the whole of each row."""
    (run_cli.folder / "s.yaml").write_text(
        "track:\n  mapping: {properties.a: {to: metadata.a, or: [properties.b], apply: \"append: '!'\"}}\n"
        "  events:\n    Order *: {set: {metadata.total: {'@path': $.properties.total}, metadata.no: {'@path': $.no}}}\n"
    )
    events = write_events(
        run_cli.folder,
        {
            "type": "track",
            "userId": "u-1112",
            "event": "Order Done",
            "messageId": "1",
            "properties": {"total": 3, "b": "x"},
        },
        {
            "type": "track",
            "userId": "u-1001",
            "event": "Order Done",
            "messageId": "2",
            "properties": {"total": 3},
        },
        {"type": "track", "userId": "u-1112", "event": "Other", "messageId": "3", "properties": {}},
        {
            "type": "track",
            "userId": "u-1002",
            "event": "Order Done",
            "messageId": "4",
            "properties": {"total": 3},
        },
    )
    picked = ["--sample", "5%", "--where", "properties.total > 2", "--user", "u-1112", "--user", "u-1001"]
    reports = ["--report", "r.json", "--report", "r.html"]
    assert run_cli("replay", "--dry-run", "-c", "s.yaml", *picked, *reports, events).code == 0
    report = json.loads((run_cli.folder / "r.json").read_text())
    assert report["selection"] == {
        "types": [],
        "events": [],
        "since": None,
        "until": None,
        "where": "properties.total > 2",
        "sample": 5,
    }
    skipped = {reason: found["count"] for reason, found in report["reasons"]["skipped"].items()}
    assert skipped == {"not_sampled": 1, "not_selected": 1, "user_not_selected": 1}
    row = "properties.a: {to: metadata.a, or: [properties.b], apply: \"append: '!'\"}"
    section = report["mapping"]["events.Order *"]
    assert (section["rows"], section["set"]) == ({row: 1}, {"metadata.total": 1, "metadata.no": 0})
    page = html.unescape((run_cli.folder / "r.html").read_text())
    text = re.sub(r"\s+", " ", re.sub(r"<wbr>|<[^>]+>", "", page))
    for words in (
        "Mapping of Order * (track.events)",
        "properties.a → {to: metadata.a, or: [properties.b], apply: \"append: '!'\"}",
        "set.metadata.total → metadata.total",
        "Never matched: set.metadata.no",
        "5 % of the customers",
        "properties.total > 2",
    ):
        assert words in text
