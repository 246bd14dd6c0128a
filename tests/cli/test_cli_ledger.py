"""The ledger as users of the command line meet it: the wrong one, failed records, and what they can do about both."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.cli import Cli, Ended
from support.ledger_parts import make_ledger, run_beside
from support.replays import outcomes_of, settings_for, write_settings
from support.waiting import HANG_S, wait_until

from voucherify_sync.sandbox import Fault, Sandbox, SandboxOptions
from voucherify_sync.state.dead_letters import compress

TRACK = '{"type": "track", "userId": "u1", "event": "Paid", "messageId": "t1", "properties": {"total": 1}}\n'
DROPPED = "POST /v1/events drop after #1"
IDENTIFY = '{"type": "identify", "userId": "u1", "messageId": "i1", "traits": {"email": "a@example.com"}}\n'


class Project:
    """A project at a sandbox, with a key that is no sandbox's own, so that all rules hold."""

    def __init__(self, cli: Cli, sandbox: Sandbox) -> None:
        self.cli = cli
        self.sandbox = sandbox
        self.ledger = cli.folder / "x.ledger"
        self.write_settings()

    def write_settings(self, key: str = "key", more: str = "", url: str | None = None) -> None:
        """Write the settings."""
        mapping = "track: {mapping: {messageId: metadata.message_id, properties.total: metadata.total}}\n"
        file = self.cli.folder / "voucherify-sync.yaml"
        write_settings(file, url or self.sandbox.url, mapping + more, key=key)

    def __call__(self, command: str, *args: str | Path, stdin: str = TRACK) -> Ended:
        """Run a command that sends, on the ledger."""
        sources = ["-"] if command == "replay" else []
        words = [command, "--yes", "--ledger", self.ledger, "--report", "report.json", *args, *sources]
        ended = self.cli(*words, stdin=stdin)
        assert "Traceback" not in ended.err
        return ended

    def begin(self, stdin: str = TRACK) -> Ended:
        """Make the first run."""
        return self("replay", "--new-ledger", stdin=stdin)

    @property
    def outcomes(self) -> dict[str, int]:
        """What the last run came to."""
        return outcomes_of(self.cli)

    @property
    def status(self) -> dict[str, Any]:
        """What `status` tells."""
        found: dict[str, Any] = json.loads(self.cli("status", "--ledger", self.ledger, "--json").out)
        return found

    def sent(self) -> list[str]:
        """Return the messageIds of the custom events that arrived."""
        return [done.metadata["message_id"] for done in self.sandbox.call_log.processed if done.name]

    def files(self) -> dict[str, bytes]:
        """Return all files of the folder and of the state directory."""
        return {
            str(file): file.read_bytes()
            for file in self.cli.folder.rglob("*")
            if file.is_file() and not file.name.endswith(("-shm", ".lock"))
        }


@pytest.fixture
def project(run_cli: Cli, sandbox: Sandbox) -> Project:
    """Return a project that was sent nothing."""
    return Project(run_cli, sandbox)


@pytest.fixture
def flaky(run_cli: Cli, request: pytest.FixtureRequest) -> Iterator[Project]:
    """Return a project whose API has the faults that the test names."""
    with Sandbox(SandboxOptions(keep=None), [Fault.parse(text) for text in request.param]) as sandbox:
        yield Project(run_cli, sandbox)


def mistyped(project: Project) -> None:
    """Name another file."""
    project.ledger = project.cli.folder / "rihgt.ledger"


def unmounted(project: Project) -> None:
    """Lose the volume."""
    project.ledger.unlink()
    project.ledger.touch()


def another_key(project: Project) -> None:
    """Go from the test project to the live one with the ledger of the test project."""
    project.write_settings(key="live")


def another_host(project: Project) -> None:
    """Give the same machine another port."""
    project.write_settings(url="http://localhost:1")


def linked(project: Project) -> None:
    """Name a link to the ledger."""
    real = project.ledger.rename(project.cli.folder / "real.ledger")
    project.ledger.symlink_to(real)


WRONG = [
    (mistyped, "rihgt.ledger does not exist", True),
    (unmounted, "x.ledger does not exist", True),
    (another_key, "belongs to", True),
    (another_host, "belongs to", True),
    (linked, "is a symbolic link", False),
]


@pytest.mark.parametrize(
    ("change", "said", "is_seen_in_preview"), WRONG, ids=lambda value: getattr(value, "__name__", "")
)
def test_the_wrong_ledger_ends_a_run_before_its_first_call(
    project: Project, change: Callable[[Project], None], said: str, is_seen_in_preview: bool
) -> None:
    """Exit 2, whichever command would send; nothing is changed, and previews say the same as a notice."""
    assert project.begin().code == 0
    change(project)
    before, calls = project.files(), project.sandbox.call_log.calls
    for command, stdin in (("replay", TRACK), ("retry", "")):
        ended = project(command, stdin=stdin)
        assert (ended.code, project.sandbox.call_log.calls) == (2, calls)
        assert said in ended.err
    assert project.files() == before
    if is_seen_in_preview:
        for words in (("replay", "--dry-run", "-"), ("plan", "-")):
            ended = project.cli(*words, "--ledger", project.ledger, stdin=TRACK)
            assert ended.code == 0
            assert "Notice: " in ended.err
            assert said in ended.err


def test_another_spelling_of_the_host_is_the_same_project(project: Project) -> None:
    """Nothing is sent again."""
    assert project.begin().code == 0
    port = project.sandbox.port
    for url in (f"http://localhost:{port}", f"http://127.0.0.1:{port}/v1/", f"http://LOCALHOST:{port}/"):
        project.write_settings(url=url)
        assert project("replay").code == 0
        assert project.outcomes == {"duplicate": 1}
    assert project.sent() == ["t1"]


def test_a_relative_ledger_of_the_settings_is_where_the_settings_are(
    project: Project, tmp_path: Path
) -> None:
    """A cron job starts in another folder; a ledger that an earlier version put there is named."""
    project.write_settings(more="delivery: {ledger: state/x.ledger}\n")
    settings = project.cli.folder / "voucherify-sync.yaml"
    elsewhere = project.cli.folder / "elsewhere"
    elsewhere.mkdir()
    words = ("replay", "--yes", "-c", settings)
    assert project.cli(*words, "--new-ledger", "-", stdin=TRACK).code == 0
    ledger = project.cli.folder / "state" / "x.ledger"
    assert ledger.exists()
    shown = project.cli("check", "--show", "-c", settings).out
    assert f"# Ledger of live runs: {ledger}" in shown

    cli = Cli(elsewhere)
    assert cli(*words, "-", stdin=TRACK).code == 0
    assert project.sent() == ["t1"]

    (elsewhere / "state").mkdir()
    shutil.move(ledger, elsewhere / "state" / "x.ledger")
    ended = cli(*words, "-", stdin=TRACK)
    assert ended.code == 2
    assert f"mv {elsewhere}/state/x.ledger* {ledger.parent}/" in ended.err
    assert "--new-ledger" not in ended.err
    assert project.sent() == ["t1"]


def test_a_first_run_that_cannot_ask_must_be_told(project: Project) -> None:
    """Without a ledger that stays, each run of a container would send everything again; identifies may be sent."""
    words = ("replay", "--yes", "-")
    ended = project.cli(*words, stdin=TRACK)
    assert ended.code == 2
    assert "no ledger yet at" in ended.err
    assert not (project.cli.state / "voucherify-sync").exists()
    assert project.cli("replay", "--yes", "--type", "identify", "-", stdin=TRACK + IDENTIFY).code == 0
    assert project.cli(*words, stdin=TRACK).code == 0
    assert project.sent() == ["t1"]


def test_a_new_ledger_does_not_bypass_the_one_there_is(project: Project) -> None:
    """Also not by another name."""
    project.ledger = make_ledger(
        project.cli.state / "voucherify-sync" / "any.ledger", project.sandbox.url, "key"
    )
    assert project("replay").code == 0
    for words in (["--new-ledger"], ["--new-ledger", "--ledger", "other.ledger"]):
        ended = project.cli("replay", "--yes", *words, "-", stdin=TRACK)
        assert ended.code == 2
        assert "already has a ledger" in ended.err
    assert project.sent() == ["t1"]
    assert not (project.cli.folder / "other.ledger").exists()


def test_rotated_keys_are_said_once(project: Project) -> None:
    """Afterwards both keys are known, and saying it again is a mistake."""
    assert project.begin().code == 0
    project.write_settings(key="rotated")
    assert project("replay", "--same-project").code == 0
    assert project("replay").code == 0
    ended = project("replay", "--same-project")
    assert ended.code == 2
    assert "not needed" in ended.err
    assert project.sent() == ["t1"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--again-since", "nothing"], "the ledger knows no run"),
        (["--again", "--again-since", "x"], "cannot be combined"),
        (["--new-ledger", "--same-project"], "cannot be combined"),
        (["--exclude-ids", "gone.txt"], "gone.txt"),
        (["--new-ledger"], "already has a ledger"),
        (["--sandbox"], "keeps no ledger"),
    ],
)
def test_a_refused_command_line_leaves_no_trace(project: Project, words: list[str], said: str) -> None:
    """No run in the ledger, no file."""
    assert project.begin().code == 0
    before = project.files()
    ended = project("replay", *words)
    assert ended.code == 2
    assert said in ended.err
    assert project.files() == before
    assert len(project.status["runs"]) == 1


def test_a_wrong_address_leaves_no_new_ledger(project: Project) -> None:
    """The project was never reached, so there is nothing to remember."""
    with Sandbox(faults=[Fault.parse("* * redirect 301")]) as moved:
        project.write_settings(url=moved.url)
        assert project.begin().code == 2
    assert not list(project.cli.folder.glob("x.ledger*"))


@pytest.mark.parametrize("flaky", [["POST /v1/events status 400 #1"]], indirect=True)
def test_a_failed_record_stays_failed_until_it_is_delivered(flaky: Project) -> None:
    """Exit 3 in every run that meets it, with the way out in the first line; `retry` needs no file."""
    assert flaky.begin().code == 3
    for _ in range(2):
        ended = flaky("replay")
        assert ended.code == 3
        assert flaky.outcomes == {"failed": 1}
        assert "1 failed earlier and were not tried again" in ended.err.splitlines()[0]
        assert "send them again" in ended.err
    assert flaky("retry").code == 0
    assert flaky("replay").code == 0
    assert flaky.sent() == ["t1"]
    assert flaky.status["failed"]["total"] == 0


@pytest.mark.parametrize("flaky", [["POST /v1/events status 400"]], indirect=True)
def test_retry_takes_what_it_is_told(flaky: Project) -> None:
    """By event, customer, reason and run; each narrows the choice."""
    lines = [
        {"type": "track", "userId": f"u{n}", "event": name, "messageId": f"{name}-{n}"}
        for n in range(2)
        for name in ("A", "B")
    ]
    flaky.begin("".join(json.dumps(line) + "\n" for line in lines))
    assert flaky.outcomes == {"failed": 4}
    run = flaky.status["last_run"]["run_id"]
    for words, count in (
        (["--event", "A"], 2),
        (["--user", "u1"], 2),
        (["--event", "A", "--user", "u1"], 1),
        (["--reason", "http_400", "--run", run], 4),
    ):
        found = flaky.cli("retry", "--dry-run", "--ledger", flaky.ledger, *words)
        assert len(found.lines) == count, words
    for words in (["--reason", "other"], ["--user", "u"]):
        ended = flaky("retry", *words)
        assert ended.code == 0
        assert "Nothing to retry" in ended.err
    unknown = flaky("retry", "--run", "other")
    assert (unknown.code, unknown.err.splitlines()[0]) == (2, "Error: the ledger knows no run 'other'")
    gone = flaky("retry", "gone.ndjson")
    assert (gone.code, gone.err.splitlines()[0]) == (2, "Error: gone.ndjson does not exist.")
    pipe = flaky.cli.folder / "pipe"
    os.mkfifo(pipe)
    asks = flaky.cli("retry", "--ledger", flaky.ledger, pipe)
    assert asks.code == 2
    assert "can be read only once" in asks.err
    for ledger in ([], ["--ledger", "typo.ledger"]):
        nowhere = flaky.cli("retry", "--dry-run", *ledger)
        assert nowhere.code == 2, nowhere.err


def test_what_a_killed_run_was_sending_is_in_every_list(project: Project) -> None:
    """A preview of `retry` counts it, so that the question before a resend does; status says why it is in doubt."""
    project.begin()
    made = TRACK.replace("t1", "t2").rstrip()
    run_beside(
        f"""
        import os
        from pathlib import Path
        from voucherify_sync.sources.decode import decode
        from voucherify_sync.events import Batch, Kind, Request
        from voucherify_sync.state.ledger_file import ProjectIdentity
        ledger = open_ledger(Path({str(project.ledger)!r}), identity=ProjectIdentity.of({project.sandbox.url!r}, "key"))
        event, = decode(Batch.of("x", 1, [{made.encode()!r}]))
        ledger.intend(Request(event, Kind.EVENT, "u1", b"{{}}"))
        os._exit(9)
        """
    )
    assert project.status["in_doubt_reasons"] == {"interrupted": 1}
    assert len(project.cli("status", "--doubt", "--ledger", project.ledger).lines) == 1
    found = project.cli("retry", "--dry-run", "--on-doubt", "resend", "--ledger", project.ledger)
    assert [line["messageId"] for line in found.lines] == ["t2"]


@pytest.mark.parametrize(
    ("flaky", "code"),
    [
        ([DROPPED, "POST /v1/events status 400 #2"], 3),
        ([DROPPED, "POST /v1/events throttle retry_after=100 #2"], 4),
        ([DROPPED, "POST /v1/events status 402 #2"], 5),
    ],
    ids=["refused", "throttled", "stopped"],
    indirect=["flaky"],
)
def test_a_resend_that_is_proved_not_processed_leaves_the_doubt_as_it_was(flaky: Project, code: int) -> None:
    """It says nothing of the send before: when that was, and why it is in doubt, stays; `retry` does not send it."""
    flaky("replay", "--new-ledger", "--on-doubt", "hold")
    before = json.loads(flaky.cli("status", "--doubt", "--ledger", flaky.ledger).out)
    ended = flaky("replay", "--on-doubt", "resend", "--max-duration", "2s")
    assert ended.code == code, ended.err
    after = json.loads(flaky.cli("status", "--doubt", "--ledger", flaky.ledger).out)
    assert {name: after[name] for name in ("key", "sent_at")} == {
        name: before[name] for name in ("key", "sent_at")
    }
    flaky("retry", "--on-doubt", "hold")
    assert flaky.sent() == ["t1"]


@pytest.mark.parametrize("flaky", [["POST /v1/events status 400 #1"]], indirect=True)
def test_an_edited_dead_letter_settles_its_record(flaky: Project) -> None:
    """Whatever of the event was changed, the messageId included."""
    flaky.begin()
    (letter,) = flaky.cli("status", "--failed", "--ledger", flaky.ledger).lines
    letter["event"] |= {"messageId": "t1-fixed"}
    (flaky.cli.folder / "letters.ndjson").write_text(json.dumps(letter) + "\n")
    assert flaky("retry", "letters.ndjson").code == 0
    assert flaky.sent() == ["t1-fixed"]
    assert flaky.status["failed"]["total"] == 0
    assert flaky("replay").code == 0
    assert flaky.sent() == ["t1-fixed"]


def test_an_invalid_record_is_kept_until_it_can_be_sent(project: Project) -> None:
    """By a fix of the mapping, with `retry` or in a replay, or by an edit; never as often as it is read."""
    event = '{"type": "track", "userId": "u1", "event": "Paid", "messageId": "t1", "properties": {"total": NaN}}\n'
    for _ in range(2):
        assert (project.begin if not project.ledger.exists() else lambda e: project("replay", stdin=e))(
            event
        ).code == 3
    assert project.status["invalid"] == 1
    assert project("retry").code == 3
    settings = project.cli.folder / "voucherify-sync.yaml"
    settings.write_text(settings.read_text().replace(", properties.total: metadata.total", ""))
    assert project("retry").code == 0
    assert project.sent() == ["t1"]
    assert project.status["invalid"] == 0


@pytest.mark.parametrize("flaky", [["POST /v1/events drop after #1"]], indirect=True)
def test_retry_looks_up_what_is_in_doubt(flaky: Project) -> None:
    """It is never sent, but with --on-doubt resend."""
    assert flaky("replay", "--new-ledger", "--on-doubt", "hold").code == 3
    assert flaky("retry", "--on-doubt", "hold").code == 3
    assert flaky("retry").code == 0
    assert flaky.sent() == ["t1"]
    assert flaky("retry").code == 0


@pytest.mark.parametrize(
    "flaky", [["POST /v1/events status 400 #1", "POST /v1/customers status 400 #1"]], indirect=True
)
def test_what_is_forgotten_is_dismissed_and_gone(flaky: Project) -> None:
    """Not sent again, not counted, and its bytes are overwritten."""
    raw = compress(TRACK.encode())
    assert flaky.begin(IDENTIFY + TRACK + "no json\n").code == 3
    assert raw in flaky.ledger.read_bytes()
    ended = flaky.cli("forget", "--ledger", flaky.ledger)
    assert ended.code == 2
    assert "--failed" in ended.err
    ended = flaky.cli("forget", "--failed", "--ledger", flaky.ledger)
    assert (ended.code, "--yes" in ended.err) == (2, True)
    assert flaky.cli("forget", "--failed", "--yes", "--ledger", flaky.ledger).code == 0
    assert flaky.status["failed"]["total"] == 0
    assert (flaky.status["dismissed"], flaky.status["invalid"]) == (2, 1)
    assert raw not in b"".join(flaky.files().values())
    assert flaky.cli("forget", "--invalid", "--yes", "--ledger", flaky.ledger).code == 0
    assert flaky("replay", stdin=IDENTIFY + TRACK).code == 0
    assert flaky.outcomes == {"duplicate": 2}
    assert flaky("retry").code == 0
    assert flaky("replay", "--again").code == 0
    assert flaky.sent() == ["t1"]


@pytest.mark.parametrize(
    "flaky", [["POST /v1/events status 400 #1", "POST /v1/events drop after #3"]], indirect=True
)
def test_a_person_is_forgotten_wherever_the_ledger_knows_them(flaky: Project) -> None:
    """By userId and by source_id; what is in doubt stays so without its event, and others stay as they are."""
    lines = [
        {"type": "track", "userId": user, "event": "Paid", "messageId": f"{user}-{n}"}
        for n, user in enumerate(["erased", "other", "erased"])
    ]
    stdin = "".join(json.dumps(line) + "\n" for line in lines)
    flaky("replay", "--new-ledger", "--workers", "1", "--on-doubt", "hold", stdin=stdin)
    assert flaky.outcomes == {"failed": 1, "in_doubt": 1, "delivered": 1}
    ended = flaky.cli("forget", "--user", "erased", "--yes", "--ledger", flaky.ledger)
    assert ended.code == 0
    assert "--exclude-ids" in ended.err
    (doubt,) = flaky.cli("status", "--doubt", "--ledger", flaky.ledger).lines
    assert (doubt["event"], doubt["messageId"]) == (None, None)
    assert b"erased" not in flaky.ledger.read_bytes()


def test_status_says_that_a_run_is_going_on(run_cli: Cli, project: Project) -> None:
    """And where; it does not disturb it."""
    process = run_cli.start(
        "replay", "--yes", "--ledger", project.ledger, "--new-ledger", "-", stdin=subprocess.PIPE
    )
    assert process.stdin is not None
    process.stdin.write(TRACK.encode())
    process.stdin.flush()
    wait_until(project.sent)
    assert f"process {process.pid} " in project.status["running"]
    assert project.status["next"] == [], "every command that writes would find the ledger held"
    process.communicate(timeout=HANG_S)
    assert process.returncode == 0
    assert project.status["running"] is None


def test_a_stop_is_over_within_eight_seconds(run_cli: Cli) -> None:
    """Docker kills after ten. Nothing answers: not the call in flight, and not the bulk request."""
    ways = [
        (option, way)
        for option in ("--each", "--bulk")
        for way in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    ]
    with Sandbox(SandboxOptions(keep=None), [Fault.parse("* * hang")]) as sandbox:
        Project(run_cli, sandbox)
        (run_cli.folder / "a.ndjson").write_text(IDENTIFY + TRACK)
        ledgers = [run_cli.folder / f"{option}{way}.ledger" for option, way in ways]
        words = ("replay", "--yes", "--new-ledger", "a.ndjson")
        runs = [
            run_cli.start(*words, option, "--ledger", ledger)
            for (option, _), ledger in zip(ways, ledgers, strict=True)
        ]
        wait_until(lambda: sandbox.call_log.calls >= len(ways) and all(file.exists() for file in ledgers))
        for run, (_, way) in zip(runs, ways, strict=True):
            run.send_signal(way)
        for run, (_, way) in zip(runs, ways, strict=True):
            _, errors = run.communicate(timeout=30)  # the end of the call itself would come after 60 s
            assert run.returncode == 128 + way, errors


def test_several_runs_in_one_process_leave_nothing_behind(project: Project) -> None:
    """No thread, no open file: a scheduler runs one after the other."""
    archive = project.cli.folder / "a.ndjson"
    archive.write_text(IDENTIFY + TRACK)
    words = ["replay", "--yes", "--quiet", "--ledger", str(project.ledger), "--again"]
    code = f"""
        import gc, os, threading
        from importlib.metadata import entry_points
        main = next(iter(entry_points(group="console_scripts", name="voucherify-sync"))).load()
        left = []

        def target(descriptor):
            try:
                return os.readlink(f"/proc/self/fd/{{descriptor}}")
            except OSError:  # the one by which the folder is read
                return ""

        for more in (["--new-ledger"], ["--each"], ["--bulk"], ["--each"]):
            try:
                main([*{words!r}, *more, {str(archive)!r}])
            except SystemExit as ended:
                assert not ended.code, ended.code
            gc.collect()  # what only waits for that is not left behind
            files = sorted(filter(None, map(target, os.listdir("/proc/self/fd"))))
            left.append((files, [thread.name for thread in threading.enumerate()]))
        assert left[1] == left[3], left
        assert {{tuple(threads) for _, threads in left}} == {{("MainThread",)}}, left
        """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=project.cli.folder,
        env=project.cli.env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert len(project.sent()) == 4


@pytest.mark.parametrize("option", [["--user", "u1"], ["--exclude-ids", "ids.txt"]], ids=["user", "excluded"])
def test_what_the_command_line_leaves_out_is_skipped_whatever_became_of_it(
    run_cli: Cli, sandbox: Sandbox, option: list[str]
) -> None:
    """Another customer's records are of no interest to a run for one, also where they were delivered."""
    (run_cli.folder / "ids.txt").write_text("u2\n")
    lines = "".join(
        f'{{"type": "track", "event": "E", "userId": "{user}", "messageId": "{user}"}}\n'
        for user in ("u1", "u2")
    )
    settings = settings_for(run_cli, sandbox)
    assert run_cli("replay", "-c", settings, "--yes", "-", stdin=lines).code == 0
    run_cli("replay", "-n", "-c", settings, "--report", "report.json", *option, "-", stdin=lines)
    assert outcomes_of(run_cli) == {"skipped": 1, "duplicate": 1}
