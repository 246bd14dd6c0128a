"""The same command again, and again: what a project has been sent is not sent again, and a ledger is never misused."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import asdict
from support.cli import Cli, Ended
from support.evidence import (
    CANARY,
    EMAIL,
    Record,
    breaches_of_the_law,
    judge,
    refused_resends,
    write_archive,
    write_settings,
)
from support.ledger_parts import make_ledger
from support.replays import reasons_of, report_of
from support.waiting import wait_until

from voucherify_sync.sandbox import Fault, Sandbox, SandboxOptions
from voucherify_sync.state.ledger_db import MIGRATIONS, OpenMark

RECORDS = [Record(type_, f"{type_}-{n}", f"u-{n}") for type_ in ("identify", "track") for n in range(8)]
LINES = "".join(record.line for record in RECORDS)


class Project:
    """A sandbox, settings that lead to it, and a ledger; all runs write report.json."""

    def __init__(self, cli: Cli, sandbox: Sandbox) -> None:
        self.cli = cli
        self.sandbox = sandbox
        self.settings = write_settings(cli.folder / "settings.yaml", sandbox, 4)
        self.ledger = make_ledger(cli.folder / "x.ledger", sandbox.url, "app")

    def command(self, *arguments: str | Path) -> list[str | Path]:
        """Return the words of a live run."""
        return ["replay", "--yes", "-c", self.settings, "--ledger", self.ledger, *arguments]

    def replay(self, *arguments: str | Path, stdin: str = "") -> Ended:
        """Make a live run."""
        return self.cli(*self.command("--report", "report.json", *arguments), stdin=stdin)

    @property
    def report(self) -> dict[str, Any]:
        """The report of the last run that wrote one; its sums are right."""
        report = report_of(self.cli)
        assert breaches_of_the_law(report) == []
        return report

    @property
    def outcomes(self) -> dict[str, int]:
        """What the last run came to, without what it did not come to."""
        return {state: count for state, count in self.report["outcomes"].items() if count}

    def reasons(self, state: str) -> dict[str, int]:
        """Why records of the last run ended in a state."""
        return reasons_of(self.cli, state)

    def sent(self) -> list[str]:
        """Return the messageIds of what was processed, in order."""
        return [done.metadata["message_id"] for done in self.sandbox.call_log.processed]


@pytest.fixture
def project(run_cli: Cli, sandbox: Sandbox) -> Project:
    """Return a project that has been sent nothing yet."""
    return Project(run_cli, sandbox)


@pytest.fixture
def misbehaving(run_cli: Cli, request: pytest.FixtureRequest) -> Iterator[Project]:
    """Return a project whose API has the faults that the test names."""
    with Sandbox(SandboxOptions(keep=None), [Fault.parse(text) for text in request.param]) as sandbox:
        yield Project(run_cli, sandbox)


def test_a_pipe_that_comes_twice_is_sent_once(project: Project) -> None:
    """The second time all are duplicates, no call is made, and that is a success."""
    assert project.replay("-", stdin=LINES).code == 0
    calls = project.sandbox.counts()
    assert project.replay("-", stdin=LINES).code == 0
    assert project.outcomes == {"duplicate": len(RECORDS)}
    assert project.reasons("duplicate") == {"delivered": len(RECORDS)}
    assert project.sandbox.counts() == calls


def test_sources_may_be_renamed_and_cut_anew(project: Project) -> None:
    """Records are known by themselves, not by where they stand."""
    archive = write_archive(project.cli.folder / "a.ndjson", RECORDS[:10])
    assert project.replay(archive).code == 0
    renamed = write_archive(archive.rename(project.cli.folder / "b.ndjson"), reversed(RECORDS))
    assert project.replay(renamed).code == 0
    assert project.outcomes == {"duplicate": 10, "delivered": len(RECORDS) - 10}
    assert sorted(project.sent()) == sorted(record.message_id for record in RECORDS)


def test_what_was_delivered_stays_so_under_another_mapping(project: Project) -> None:
    """Other requests would come of it, but it was sent; the summary says that the mapping differs."""
    assert project.replay("-", stdin=LINES).code == 0
    text = project.settings.read_text().replace("extend_default: true", "extend_default: false")
    project.settings.write_text(text)
    ended = project.replay("-", stdin=LINES)
    assert ended.code == 0
    assert "mapping" in ended.err
    assert project.outcomes == {"duplicate": len(RECORDS)}
    assert len(project.sent()) == len(RECORDS)


@pytest.mark.parametrize("misbehaving", [["POST /v1/events status 400 #1"]], indirect=True)
def test_what_failed_is_sent_again_only_when_its_request_differs(misbehaving: Project) -> None:
    """The same request would fail again; after a change of the mapping it may not."""
    misbehaving.settings.write_text(misbehaving.settings.read_text().replace("workers: 4", "workers: 1"))
    assert misbehaving.replay("-", stdin=LINES).code == 3
    assert misbehaving.outcomes == {"delivered": len(RECORDS) - 1, "failed": 1}
    misbehaving.replay("-", stdin=LINES)
    assert misbehaving.reasons("duplicate") == {"delivered": len(RECORDS) - 1}
    assert misbehaving.reasons("failed") == {"failed_before": 1}
    text = misbehaving.settings.read_text().replace("track: {", "track: {add: {metadata.fixed: true}, ")
    misbehaving.settings.write_text(text)
    assert misbehaving.replay("-", stdin=LINES).code == 0
    assert misbehaving.outcomes == {"delivered": 1, "duplicate": len(RECORDS) - 1}
    assert judge(RECORDS, misbehaving.sandbox, misbehaving.ledger).broken == {}


@pytest.mark.parametrize("misbehaving", [["POST /v1/events drop after #1"]], indirect=True)
def test_an_event_in_doubt_is_sent_again_only_on_demand(misbehaving: Project) -> None:
    """Held it stays in doubt and is not sent, accepted it counts as delivered, re-sent it may be doubled."""
    event = Record("track", "t", "u").line
    assert misbehaving.replay("--on-doubt", "hold", "-", stdin=event).code == 3
    for _ in range(2):
        assert misbehaving.replay("--on-doubt", "hold", "-", stdin=event).code == 3
        assert misbehaving.outcomes == {"in_doubt": 1}
    assert misbehaving.sent() == ["t"]
    assert misbehaving.replay("--on-doubt", "resend", "-", stdin=event).code == 0
    assert misbehaving.outcomes == {"delivered": 1}
    assert misbehaving.sent() == ["t", "t"]
    assert misbehaving.replay("-", stdin=event).code == 0
    assert misbehaving.outcomes == {"duplicate": 1}


@pytest.mark.parametrize("misbehaving", [["POST /v1/events drop after #1"]], indirect=True)
@pytest.mark.parametrize("choice", ["verify", "accept"])
def test_a_doubt_of_an_earlier_run_is_settled_without_a_send(misbehaving: Project, choice: str) -> None:
    """When its record is read again it is looked up, or taken as sent."""
    event = Record("track", "t", "u").line
    assert misbehaving.replay("--on-doubt", "hold", "-", stdin=event).code == 3
    assert misbehaving.replay("--on-doubt", choice, "-", stdin=event).code == 0
    assert misbehaving.outcomes in ({"delivered": 1}, {"duplicate": 1})
    assert misbehaving.sent() == ["t"]
    assert misbehaving.replay("-", stdin=event).code == 0
    assert misbehaving.outcomes == {"duplicate": 1}


@pytest.mark.parametrize("way", ["--each", "--bulk"])
def test_each_version_of_an_identify_is_sent_once(project: Project, way: str) -> None:
    """Segment may deliver one messageId with other traits: an identify tells a state, and each one is a record."""
    event = {"type": "identify", "messageId": "m-1", "userId": "u", "timestamp": "2025-03-01T00:00:00Z"}
    versions = [{**event, "traits": {"email": email}} for email in ("a@example.com", "b@example.com")]
    archive = "".join(json.dumps(version) + "\n" for version in (*versions, versions[0]))
    assert project.replay(way, "-", stdin=archive).code == 0
    assert project.outcomes == {"delivered": 2, "duplicate": 1}
    assert project.replay(way, "-", stdin=archive).code == 0
    assert project.outcomes == {"duplicate": 3}


def test_equal_lines_without_a_message_id_are_one_record(project: Project) -> None:
    """So are two contents under one messageId: the first wins."""
    nameless = json.dumps({"type": "track", "userId": "u", "event": "A"}) + "\n"
    other = Record("track", "twice", "u-2").line
    assert project.replay("-", stdin=nameless * 3 + Record("track", "twice", "u-1").line + other).code == 0
    assert project.outcomes == {"delivered": 2, "duplicate": 3}
    assert [done.source_id for done in project.sandbox.call_log.processed].count("u-2") == 0


@pytest.mark.parametrize("second", ["status 400 #2", "drop after #2"], ids=["refused", "processed"])
def test_a_customer_waits_for_an_event_that_is_sent_again(run_cli: Cli, second: str) -> None:
    """Only a refusal lets the next event go: it leaves the first one in doubt, and a later run sends that after it."""
    faults = [Fault.parse("POST /v1/events drop before #1"), Fault.parse(f"POST /v1/events {second}")]
    records = [Record("track", f"m-{number}", "u-1") for number in range(3)]
    with Sandbox(SandboxOptions(keep=None), faults) as sandbox:
        project = Project(run_cli, sandbox)
        archive = write_archive(run_cli.folder / "a.ndjson", records)
        code = project.replay("--on-doubt", "resend", archive).code
        (doubt,) = run_cli("status", "--ledger", project.ledger, "--doubt").lines or [None]
        if doubt is not None:
            assert (doubt["event"]["messageId"], doubt["status"]) == ("m-0", 400)
            assert "sent again, it was refused: " in json.dumps(project.report["reasons"]["in_doubt"])
        assert project.replay("--on-doubt", "resend", archive).code == 0
        verdict = judge(records, sandbox, project.ledger)
        is_refused = "400" in second
        assert (code, doubt is not None) == ((3, True) if is_refused else (0, False))
        assert (verdict.lost, verdict.delivered, verdict.disordered) == (0, 3, is_refused)
        assert refused_resends(sandbox, project.ledger) == is_refused


def test_again_sends_what_was_delivered_before(project: Project) -> None:
    """Only on demand, and within that run each record once."""
    assert project.replay("-", stdin=LINES).code == 0
    assert project.replay("--again", "-", stdin=LINES * 2).code == 0
    assert project.outcomes == {"delivered": len(RECORDS), "duplicate": len(RECORDS)}
    assert len(project.sent()) == 2 * len(RECORDS)


def test_a_dry_run_reads_the_ledger_and_writes_nothing(project: Project) -> None:
    """It shows what would be sent now, and how much was sent before."""
    assert project.replay("-", stdin=LINES).code == 0
    before = project.ledger.read_bytes()
    ended = project.cli(
        *("replay", "--dry-run", "-c", project.settings, "--ledger", project.ledger, "-"),
        stdin=LINES + Record("track", "new", "u").line,
    )
    assert [line["messageId"] for line in ended.lines] == ["new"]
    assert str(len(RECORDS)) in ended.err
    assert project.ledger.read_bytes() == before


def test_of_two_runs_on_one_ledger_the_second_leaves_at_once(run_cli: Cli, sandbox: Sandbox) -> None:
    """Exit 4, naming the process and the machine that hold it; the first, which reads a pipe, is not disturbed."""
    project = Project(run_cli, sandbox)
    archive = write_archive(run_cli.folder / "a.ndjson", RECORDS)
    first = run_cli.start(*project.command("--report", "first.json", "-"), stdin=subprocess.PIPE)
    assert first.stdin is not None
    first.stdin.write(LINES.encode())
    first.stdin.flush()
    wait_until(lambda: sandbox.call_log.calls)
    second = run_cli(*project.command(archive))
    assert second.code == 4
    assert f"process {first.pid} on {socket.gethostname()}" in second.err
    assert first.poll() is None
    first.communicate(timeout=60)
    assert first.returncode == 0
    assert judge(RECORDS, sandbox, project.ledger).broken == {}


def no_database(project: Project) -> None:
    """Put something else in the ledger's place."""
    project.ledger.write_text("something else\n" * 100)


def other_program(project: Project) -> None:
    """Put a database of another program in the ledger's place."""
    project.ledger.unlink()
    with sqlite3.connect(project.ledger) as connection:
        connection.execute("CREATE TABLE notes (text)")
    connection.close()


def other_url(project: Project) -> None:
    """Take the ledger of another project."""
    with Sandbox() as other:
        settings = project.settings.read_text()
        project.settings.write_text(settings.replace(project.sandbox.url, other.url))
        project.ledger.unlink()
        make_ledger(project.ledger, other.url, "app")
        assert project.replay("-", stdin=LINES).code == 0
        project.settings.write_text(settings)


def newer(project: Project) -> None:
    """Let a later version have written it."""
    assert project.replay("-", stdin=Record("identify", "i", "u").line).code == 0
    with sqlite3.connect(project.ledger) as connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    connection.close()


def damaged(project: Project) -> None:
    """Spoil a page of the records after a run that did not end in order."""
    many = "".join(Record("identify", f"x-{n}", f"u-{n}").line for n in range(800))
    assert project.replay("-", stdin=many).code == 0
    connection = sqlite3.connect(project.ledger, isolation_level=None)
    mark = json.dumps(asdict(OpenMark("crashed", 0.0, project.ledger.stat().st_ino, 1, "here")))
    connection.execute("INSERT INTO header VALUES ('open', ?)", (mark,))
    (key,) = connection.execute("SELECT key FROM records ORDER BY key LIMIT 1").fetchone()
    connection.close()
    data = bytearray(project.ledger.read_bytes())
    page = data.index(key) // 4096
    data[page * 4096 : page * 4096 + 16] = b"\xff" * 16
    project.ledger.write_bytes(data)
    project.ledger.with_name("x.ledger-wal").touch()


def headless(project: Project) -> None:
    """Lose what says whose ledger it is."""
    assert project.replay("-", stdin=Record("identify", "i", "u").line).code == 0
    with sqlite3.connect(project.ledger) as connection:
        connection.execute("DELETE FROM identities")
    connection.close()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (no_database, "is no ledger: it is no SQLite file"),
        (other_program, "is no ledger"),
        (other_url, "belongs to http://localhost:"),
        (newer, "newer voucherify-sync"),
        (damaged, "is damaged"),
        (headless, "is damaged"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_ledger_that_cannot_be_trusted_stops_the_run(project: Project, spoil: Any, said: str) -> None:
    """Exit 2: file and trouble are named, nothing is sent, the file stays as it is."""
    spoil(project)
    calls, before = project.sandbox.call_log.calls, project.ledger.read_bytes()
    ended = project.replay("-", stdin=LINES)
    assert ended.code == 2
    assert said in " ".join(ended.err.split())
    assert str(project.ledger) in ended.err.replace("\n", "")
    assert "Traceback" not in ended.err
    assert project.sandbox.call_log.calls == calls
    assert project.ledger.read_bytes() == before


@pytest.mark.parametrize(
    "place", ["/proc/x.ledger", "settings.yaml/x.ledger", "."], ids=["proc", "file", "folder"]
)
def test_a_ledger_that_cannot_be_made_stops_the_run(project: Project, place: str) -> None:
    """Exit 2, naming the option; nothing is sent."""
    project.ledger = project.cli.folder / place
    ended = project.replay("--new-ledger", "-", stdin=LINES)
    assert ended.code == 2, ended.err
    assert str(project.ledger) in ended.err
    assert project.sandbox.call_log.calls == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_read_only_stops_the_run(project: Project) -> None:
    """Exit 2; nothing is sent."""
    folder = project.cli.folder / "archive"
    folder.mkdir(mode=0o500)
    project.ledger = folder / "x.ledger"
    assert project.replay("--new-ledger", "-", stdin=LINES).code == 2
    assert project.sandbox.call_log.calls == 0


def test_a_ledger_holds_neither_token_nor_customer(project: Project) -> None:
    """It is 0600, and whoever reads it learns messageIds at most."""
    assert project.replay("-", stdin=LINES).code == 0
    data = project.ledger.read_bytes()
    assert project.ledger.stat().st_mode & 0o777 == 0o600
    assert CANARY.encode() not in data
    assert EMAIL.encode() not in data
