"""Remedies: the command that a message prints is pasted into a shell, and keeps the user's command and options."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess

import pytest
from support.cli import Cli, Ended
from support.shell import run_in_shell

pytestmark = pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")

EVENTS = [
    {"type": "track", "event": f"Order {number}", "userId": "u1", "messageId": f"m{number}"}
    for number in range(3)
]
PRETTY = "".join(json.dumps(event, indent=2) + "\n" for event in EVENTS).encode()
ARRAY = json.dumps(EVENTS, indent=2).encode()
SINGER = "".join(json.dumps({"type": "RECORD", "record": event}) + "\n" for event in EVENTS).encode()
JOBS = "".join(json.dumps({"id": 1, "payload": json.dumps(event)}) + "\n" for event in EVENTS).encode()
SNAKE = "".join(json.dumps(event) + "\n" for event in EVENTS).replace("userId", "user_id").encode()
NAME = "an 'odd' name.json"


def pasted(run_cli: Cli, ended: Ended, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
    """Run the command of a remedy as it stands, in a shell."""
    said = (ended.err + ended.out).splitlines()
    commands = [line for line in said if line.startswith("  ") and "| voucherify-sync " in line]
    assert len(commands) == 1, ended.err
    return run_in_shell(commands[0], run_cli.folder, run_cli.env, stdin)


def put(run_cli: Cli, data: bytes) -> None:
    """Write a file of events in a wrong format, and settings."""
    settings = "track: {extend_default: true, add: {metadata.kept: very-own}}"
    (run_cli.folder / "own settings.yaml").write_text(settings)
    (run_cli.folder / NAME).write_bytes(data)


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize(
    "data", [PRETTY, ARRAY, SINGER, JOBS, SNAKE], ids=["pretty", "array", "Singer", "jobs", "snake"]
)
def test_a_remedy_works_when_it_is_pasted(run_cli: Cli, data: bytes, packed: bool) -> None:
    """Whatever the format: all events arrive."""
    put(run_cli, gzip.compress(data) if packed else data)
    second = pasted(run_cli, run_cli("replay", "--dry-run", "-c", "own settings.yaml", NAME))
    assert second.stdout.count("very-own") == 3, second.stderr


@pytest.mark.parametrize("data", [PRETTY, SINGER], ids=["pretty", "Singer"])
@pytest.mark.parametrize(
    ("words", "sign"),
    [
        (["replay", "--sandbox", "-c", "own settings.yaml"], "3 custom events"),
        (["plan", "--each", "-c", "own settings.yaml"], "Order 2"),
        (["coverage", "--config=own settings.yaml"], "metadata.kept"),
        (["explain", "-c", "own settings.yaml", "--limit", "3"], "very-own"),
        (["init", "-", "--from"], "Order 2"),
    ],
    ids=["sandbox", "plan", "coverage", "explain", "init"],
)
def test_a_remedy_keeps_the_command_and_its_options(
    run_cli: Cli, words: list[str], sign: str, data: bytes
) -> None:
    """Whatever the command."""
    put(run_cli, data)
    second = pasted(run_cli, run_cli(*words, NAME))
    assert second.returncode == 0, second.stderr
    assert sign in second.stdout + second.stderr


def test_a_run_that_asks_is_given_a_file(run_cli: Cli) -> None:
    """On a pipe it could not ask, and would end with an error."""
    (run_cli.folder / NAME).write_bytes(PRETTY)
    ended = run_cli("replay", NAME)
    assert ended.code == 2
    assert ended.err.splitlines()[-1] == (
        "  jq -c . < 'an '\"'\"'odd'\"'\"' name.json' > converted-events.ndjson "
        "&& voucherify-sync replay converted-events.ndjson"
    )
    assert "| voucherify-sync replay --yes -" in run_cli("replay", "--yes", NAME).err


def test_a_remedy_for_a_pipe_goes_between(run_cli: Cli) -> None:
    """It reads what was piped before."""
    for data in (PRETTY, SINGER):
        ended = run_cli("replay", "--dry-run", "-", stdin=data)
        assert len(pasted(run_cli, ended, data).stdout.splitlines()) == 3


def test_a_remedy_names_one_file_of_several(run_cli: Cli) -> None:
    """In place of all sources, and of the list of files."""
    (run_cli.folder / "logs").mkdir()
    (run_cli.folder / "logs" / "a.json").write_bytes(PRETTY)
    (run_cli.folder / "logs" / "b.json").write_bytes(SNAKE)
    (run_cli.folder / "list").write_text("logs/b.json\n")
    ended = run_cli("plan", "logs", "--files-from", "list", "--user", "u1")
    commands = [line for line in (ended.err + ended.out).splitlines() if "| voucherify-sync" in line]
    assert commands[0].endswith("< logs/a.json | voucherify-sync plan --user u1 -")
    assert commands[1].endswith("< logs/b.json | voucherify-sync plan --user u1 -")


def test_names_of_files_come_from_a_pipe(run_cli: Cli) -> None:
    """As find prints them; the run cannot ask then."""
    for name in ("b", "a"):
        (run_cli.folder / name).write_text(json.dumps(EVENTS[0] | {"messageId": name}) + "\n")
    ended = run_cli("replay", "--dry-run", "--files-from", "-", stdin="b\na\n")
    assert [line["source"] for line in ended.lines] == ["b:1", "a:1"]
    assert run_cli("plan", "--files-from", "-", stdin="b\na\n").code == 0
    assert run_cli("coverage", "--files-from=-", stdin="b\na\n").code == 0
    assert run_cli("replay", "--dry-run", "--files-from", "-", "-", stdin="b\n").code == 2
    assert run_cli("replay", "--dry-run", "--files-from", "-", stdin="").code == 2
    asks = run_cli(
        "replay",
        "--files-from",
        "-",
        stdin="b\n",
        env={"VOUCHERIFY_API_KEY": "k", "VOUCHERIFY_API_TOKEN": "t"},
    )
    assert (asks.code, "--yes" in asks.err) == (2, True)


def test_a_list_is_no_output(run_cli: Cli) -> None:
    """A report would replace it."""
    (run_cli.folder / "a").write_text(json.dumps(EVENTS[0]) + "\n")
    (run_cli.folder / "list.json").write_text("a\n")
    ended = run_cli("replay", "--sandbox", "--files-from", "list.json", "--report", "list.json")
    assert ended.code == 2
    assert (run_cli.folder / "list.json").read_text() == "a\n"


def test_dead_letters_that_an_editor_has_spread_over_lines_are_told_so(run_cli: Cli) -> None:
    """Retry reads a file, so the remedy makes one."""
    (run_cli.folder / "letters.json").write_bytes(PRETTY)
    ended = run_cli("retry", "--dry-run", "letters.json")
    assert ended.code == 2
    assert "letters.json: this is pretty-printed JSON" in ended.err
    assert (
        "  jq -c . < letters.json > converted-events.ndjson && voucherify-sync retry --dry-run converted-events.ndjson"
    ) in ended.err.splitlines()
    (run_cli.folder / "events.ndjson").write_text(json.dumps(EVENTS[0]) + "\n")
    assert "events.ndjson:1: not a dead letter (`" in run_cli("retry", "--dry-run", "events.ndjson").err


def test_a_record_of_another_tool_that_is_no_event_is_said_to_be_none(run_cli: Cli) -> None:
    """The command takes it out, but what it takes out cannot be sent; and one warning says so, not two."""
    line = json.dumps({"type": "RECORD", "stream": "users", "record": {"id": 1, "email": "a@example.com"}})
    (run_cli.folder / "users.ndjson").write_text(line + "\n")
    planned = run_cli("plan", "--brief", "users.ndjson")
    assert planned.out.count("Warning: ") == 1
    assert "The record in it is no event." in planned.out
    mixed = run_cli(
        "plan", "--brief", "-", "users.ndjson", stdin=json.dumps({"type": "order", "userId": "u"})
    )
    assert mixed.out.count("Warning: ") == 2, "types of other sources are named all the same"
