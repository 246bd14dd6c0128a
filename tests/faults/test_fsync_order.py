"""What the kernel sees: no event leaves before its intent is on disk, and none is open while a lane waits for quota."""

from __future__ import annotations

import re
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest
from support.cli import Cli
from support.evidence import Record, judge, write_archive, write_settings
from support.ledger_parts import make_ledger
from support.waiting import wait_until

from voucherify_sync.sandbox import Sandbox, SandboxOptions

EVENTS = [Record("track", f"event-{number:04}", f"u-{number % 20}") for number in range(120)]
WORKERS = 4
CALLS = "trace=fdatasync,fsync,pwrite64,write,sendto,sendmsg,writev"
LINE = re.compile(
    r"(?P<thread>\d+) +(?:(?P<call>\w+)\((?P<rest>.*)|<\.\.\. (?P<resumed>\w+) resumed>(?P<end>.*))"
)


class Call(NamedTuple):
    """One system call: numbers of the lines in which it began and ended, and what it was about."""

    thread: str
    name: str
    text: str
    began: int
    ended: int


def read_trace(file: Path) -> list[Call]:
    """Read what strace wrote; calls that another thread interrupted are put together again."""
    open_calls: dict[str, tuple[str, str, int]] = {}
    calls: list[Call] = []
    for number, line in enumerate(file.read_text(errors="replace").splitlines()):
        found = LINE.match(line)
        if found is None:
            continue
        thread = found["thread"]
        if found["call"] and line.endswith("<unfinished ...>"):
            open_calls[thread] = (found["call"], found["rest"], number)
        elif found["call"]:
            calls.append(Call(thread, found["call"], found["rest"], number, number))
        elif thread in open_calls:
            name, text, began = open_calls.pop(thread)
            calls.append(Call(thread, name, text, began, number))
    return sorted(calls, key=lambda call: call.began)


def sends(calls: list[Call]) -> Iterator[tuple[str, Call]]:
    """Yield each event's messageId with the system call by which the first byte of its request left."""
    heads: dict[str, Call] = {}
    for call in calls:
        if call.name in {"sendto", "sendmsg", "write", "writev"} and "POST /v1/events" in call.text:
            heads[call.thread] = call
        found = re.search(r"event-\d{4}", call.text)
        if found and call.thread in heads and "socket" in call.text.split(",")[0]:
            yield found[0], heads.pop(call.thread)


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_each_event_leaves_after_its_intent_was_synced(run_cli: Cli, sandbox: Sandbox) -> None:
    """For each of them: the write that holds its intent, then a sync that begins and ends, then the first byte."""
    trace = run_cli.folder / "trace"
    archive = write_archive(run_cli.folder / "events.ndjson", EVENTS)
    settings = write_settings(run_cli.folder / "settings.yaml", sandbox, WORKERS)
    ledger = make_ledger(run_cli.folder / "x.ledger", sandbox.url, "app")
    replay = run_cli.command("replay", "--yes", "-c", settings, "--ledger", ledger, archive)
    strace = ["strace", "-f", "-y", "-s", "8192", "-e", CALLS, "-o", str(trace)]
    done = subprocess.run([*strace, *replay], env=run_cli.env, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    calls = read_trace(trace)
    on_ledger = [call for call in calls if "x.ledger-wal" in call.text.split(",")[0]]
    syncs = [call for call in on_ledger if call.name in {"fdatasync", "fsync"}]
    sent = dict(sends(calls))
    assert sent.keys() == {event.message_id for event in EVENTS}
    for message_id, send in sent.items():
        written = next(call for call in on_ledger if call.name == "pwrite64" and message_id in call.text)
        assert any(written.ended < sync.began and sync.ended < send.began for sync in syncs), message_id
    assert len(syncs) < 2 * len(EVENTS)
    assert judge(EVENTS, sandbox, ledger).broken == {}


def count_intents(ledger: Path) -> int:
    """Look into a ledger that a run writes to."""
    with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as connection:
        (count,) = connection.execute("SELECT count(*) FROM intents").fetchone()
        return int(count)


def test_no_intent_is_open_while_lanes_wait_for_quota(run_cli: Cli) -> None:
    """A run that is killed in a wait of an hour leaves nothing in doubt."""
    with Sandbox(SandboxOptions(keep=None, limit="10/h")) as sandbox:
        archive = write_archive(run_cli.folder / "events.ndjson", EVENTS[:25])
        settings = write_settings(run_cli.folder / "settings.yaml", sandbox, WORKERS)
        ledger = make_ledger(run_cli.folder / "x.ledger", sandbox.url, "app")
        replay = ("replay", "--yes", "-c", settings, "--ledger", ledger, archive)
        process = run_cli.start(*replay, "--progress", "json")
        assert process.stderr is not None
        assert any(b'"reason":"quota"' in line for line in process.stderr), "it never waited"
        wait_until(lambda: count_intents(ledger) == 0)
        process.kill()
        process.communicate()
        assert sandbox.call_log.calls < 10
        assert count_intents(ledger) == 0
        verdict = judge(EVENTS[:25], sandbox, ledger)
        assert verdict.interrupted + verdict.ambiguous == 0
