"""`replay` as its users meet it: in a process of its own, on real input, against the sandbox."""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.cli import Cli
from support.replays import CANARY, assert_lawful, identify, report_of, settings_for, track, write_settings
from support.waiting import wait_until

from voucherify_sync.sandbox.faults import Fault
from voucherify_sync.sandbox.options import SandboxOptions
from voucherify_sync.sandbox.server import Sandbox


def of_project(cli: Cli, sandbox: Sandbox) -> Path:
    """Write settings whose key is that of a project, not one that a sandbox made."""
    return write_settings(cli.folder / "settings.yaml", sandbox.url, key="app-of-a-project")


def test_a_dry_run_prints_exactly_what_would_be_sent(run_cli: Cli) -> None:
    """One JSON object a line: method, path, body, where it came from and its messageId."""
    ended = run_cli("replay", "--dry-run", "-", stdin=identify(1) + track(2))
    assert ended.code == 0
    assert ended.lines == [
        {
            "method": "POST",
            "path": "/v1/customers",
            "body": {"source_id": "u-1", "email": "1@example.com"},
            "source": "-:1",
            "messageId": "i-1",
        },
        {
            "method": "POST",
            "path": "/v1/events",
            "body": {"event": "Order Completed", "customer": {"source_id": "u-2"}},
            "source": "-:2",
            "messageId": "t-2",
        },
    ]


def test_the_samples_replay_into_a_sandbox_without_settings(run_cli: Cli, samples: Path) -> None:
    """The first command of the README: no account, no settings, exit 0, and the sandbox says what it holds."""
    ended = run_cli("replay", "--sandbox", samples, "--report", "report.json")
    assert ended.code == 0
    assert ended.out == ""
    assert "The sandbox held" in ended.err
    report = report_of(run_cli)
    assert_lawful(report)
    assert report["events"]["read"] >= 60
    assert report["outcomes"]["delivered"] > 50


def test_a_live_run_delivers_each_customers_events_in_order(run_cli: Cli, sandbox: Sandbox) -> None:
    """What the API processed is what the dry run shows, in input order for each customer."""
    lines = "".join(
        identify(n) + track(n, messageId=f"t-{n}-{k}", properties={"metadata": {"k": k}})
        for k in range(5)
        for n in range(20)
    )
    ended = run_cli(
        "replay", "-c", settings_for(run_cli, sandbox), "--yes", "-", "--report", "report.json", stdin=lines
    )
    assert ended.code == 0, ended.err
    report = report_of(run_cli)
    assert report["outcomes"]["delivered"] == 120
    assert report["outcomes"]["duplicate"] == 80
    by_customer: dict[str, list[Any]] = {}
    for done in sandbox.call_log.processed:
        by_customer.setdefault(done.source_id, []).append(done)
    assert len(by_customer) == 20
    for done in by_customer.values():
        assert [str(step.kind) for step in done] == ["customer"] + ["event"] * 5


def test_where_nobody_can_be_asked_a_live_run_wants_yes(run_cli: Cli, sandbox: Sandbox) -> None:
    """Exit 2, naming --yes, and no call was made."""
    ended = run_cli("replay", "-c", of_project(run_cli, sandbox), "-", stdin=track(1))
    assert ended.code == 2
    assert "--yes" in ended.err
    assert sandbox.counts() == (0, 0, 0)


def test_a_wrong_key_stops_the_run_with_5(run_cli: Cli) -> None:
    """At most `workers` calls are made, nothing is marked failed, the token is shown nowhere."""
    with Sandbox(SandboxOptions(token="another")) as sandbox:
        lines = "".join(identify(n) for n in range(200))
        ended = run_cli(
            "replay",
            *(
                "-c",
                settings_for(run_cli, sandbox),
                "--workers",
                "4",
                "--yes",
                "--report",
                "report.json",
                "-",
            ),
            stdin=lines,
        )
        assert ended.code == 5
        assert sandbox.counts()[2] <= 4
    report = report_of(run_cli)
    assert_lawful(report)
    assert report["outcomes"]["failed"] == 0
    assert report["outcomes"]["pending"] > 0
    assert "api.token" in ended.err
    assert CANARY not in ended.err + ended.out + (run_cli.folder / "report.json").read_text()


def test_refused_records_become_dead_letters_as_they_came(run_cli: Cli, sandbox: Sandbox) -> None:
    """Exit 3; the file holds the very event, is private, and its events can be sent again."""
    line = identify(1)
    with Sandbox(faults=[Fault.parse("POST /v1/customers status 400")]) as refusing:
        settings = settings_for(run_cli, refusing)
        ended = run_cli(
            "replay",
            *("-c", settings, "--yes", "--dead-letters", "dead.ndjson", "-"),
            stdin=line + "not json\n" + "{broken\n",
        )
    assert ended.code == 3, ended.err
    letters = [json.loads(row) for row in (run_cli.folder / "dead.ndjson").read_text().splitlines()]
    assert sorted(letter["outcome"] for letter in letters) == ["failed", "invalid", "invalid"]
    assert [letter["event"] for letter in letters if "event" in letter] == [json.loads(line)]
    assert {letter["source"] for letter in letters} == {"-:1", "-:2", "-:3"}
    assert stat.S_IMODE((run_cli.folder / "dead.ndjson").stat().st_mode) == 0o600


def test_an_event_whose_answer_was_lost_is_in_doubt_and_sent_once(run_cli: Cli) -> None:
    """A custom event is never sent again on a guess; a customer update is repeated until it is answered."""
    faults = [Fault.parse("POST /v1/events drop after #1"), Fault.parse("POST /v1/customers drop after #1")]
    with Sandbox(SandboxOptions(keep=None), faults) as sandbox:
        ended = run_cli(
            "replay",
            *("-c", settings_for(run_cli, sandbox), "--yes", "--report", "report.json", "-"),
            stdin=identify(1) + track(1) + track(2),
        )
        processed = [(str(done.kind), done.source_id) for done in sandbox.call_log.processed]
    assert ended.code == 3
    report = report_of(run_cli)
    assert_lawful(report)
    assert report["outcomes"]["in_doubt"] == 1
    assert processed.count(("event", "u-1")) + processed.count(("event", "u-2")) == 2
    assert processed.count(("customer", "u-1")) == 2


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=str
)
def test_a_signal_ends_the_run_in_order(run_cli: Cli, number: signal.Signals, code: int) -> None:
    """What is under way ends, the summary and the command that goes on are shown."""
    with Sandbox(SandboxOptions(latency_s=0.05)) as sandbox:
        events = run_cli.folder / "events.ndjson"
        events.write_text("".join(identify(n) for n in range(5_000)))
        settings = settings_for(run_cli, sandbox)
        process = run_cli.start(
            "replay", "-c", settings, "--yes", "--workers", "4", "--report", "report.json", events
        )
        wait_until(lambda: sandbox.counts()[2] >= 20)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert b"Next:" in err
    report = report_of(run_cli)
    assert_lawful(report)
    assert report["outcomes"]["pending"] > 0
    assert report["outcomes"]["delivered"] == sandbox.counts()[0]


def test_a_closed_stdout_is_no_failure_of_a_dry_run(run_cli: Cli, samples: Path) -> None:
    """`| head` has seen enough: exit 0, no traceback."""
    events = run_cli.folder / "events.ndjson"
    events.write_text("".join(identify(n) for n in range(20_000)))
    with run_cli.start("replay", "--dry-run", events) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read().decode()
        assert process.wait(timeout=60) == 0
    assert said == ""


def test_a_growing_pipe_flows_through_a_dry_run(run_cli: Cli) -> None:
    """`tail -f | replay --dry-run -`: a line that came in goes out without waiting for more."""
    with run_cli.start("replay", "--dry-run", "-", stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for number in range(3):
            process.stdin.write(identify(number).encode())
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["messageId"] == f"i-{number}"
        process.stdin.close()
        assert process.wait(timeout=60) == 0


def test_the_corpora_come_through_with_the_law_intact(run_cli: Cli, corpora: Path) -> None:
    """Whatever the wild holds, each record ends in one state, and the sandbox refuses nothing."""
    ended = run_cli("replay", "--sandbox", corpora, "--report", "report.json")
    report = report_of(run_cli)
    assert_lawful(report)
    assert ended.code in (0, 3)
    assert report["outcomes"]["failed"] == report["outcomes"]["in_doubt"] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.ndjson"], "nowhere.ndjson"),
        (["empty"], "empty"),
        (["--dry-run", "--sandbox", "-"], "--sandbox"),
        (["--dry-run", "--report", "-", "-"], "stdout"),
        (["--workers", "0", "-"], "--workers"),
        (["--rate", "fast", "-"], "--rate"),
        (["--since", "yesterday", "-"], "--since"),
        (["--type", "identfy", "-"], "did you mean identify?"),
        (["--type", "alias", "-"], "alias events are not sent"),
        (["--exclude-ids", "nowhere.txt", "-"], "nowhere.txt"),
        (["-c", "nowhere.yaml", "-"], "nowhere.yaml"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_done_is_told_with_2(run_cli: Cli, arguments: list[str], said: str) -> None:
    """Usage, settings and sources that cannot be used: exit 2, and the message names what is wrong."""
    (run_cli.folder / "empty").mkdir()
    dry = [] if "--sandbox" in arguments else ["--dry-run"]
    ended = run_cli("replay", *dry, *arguments, stdin=track(1))
    assert ended.code == 2
    assert said in ended.err
    assert "Traceback" not in ended.err


def test_a_mistake_in_the_environment_is_named_with_its_variable(run_cli: Cli) -> None:
    """Nothing of the kind stands on the command line."""
    ended = run_cli("replay", "-n", "-", env={"VOUCHERIFY_SYNC_REPLAY_SINCE": "soon"}, stdin=track(1))
    assert ended.code == 2
    assert "'--since' (variable VOUCHERIFY_SYNC_REPLAY_SINCE): 'soon' is no time" in ended.err


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("complet", "No such command 'complet'. Did you mean 'completion'?"),
        ("my logs", "'my logs' is no command; to see what it holds: voucherify-sync plan 'my logs'"),
    ],
)
def test_a_word_that_is_no_command_leads_on(run_cli: Cli, word: str, said: str) -> None:
    """A slip gets a suggestion, and a folder the command that reads it."""
    (run_cli.folder / "my logs").mkdir()
    ended = run_cli(word)
    assert ended.code == 2
    assert said in ended.err


def test_a_missing_key_is_named_before_any_call(run_cli: Cli) -> None:
    """Exit 2: the variables and where to find the keys."""
    ended = run_cli("replay", "--yes", "-", stdin=identify(1))
    assert ended.code == 2
    assert "VOUCHERIFY_API_KEY" in ended.err
    assert "VOUCHERIFY_API_TOKEN" in ended.err


def test_plain_http_is_refused_beyond_this_machine(run_cli: Cli) -> None:
    """Exit 2: the token would cross the network unencrypted."""
    (run_cli.folder / "voucherify-sync.yaml").write_text(
        "api: {url: 'http://api.example.com', key: a, token: b}\n"
    )
    ended = run_cli("replay", "--yes", "-", stdin=identify(1))
    assert ended.code == 2
    assert "https" in ended.err


def test_a_damaged_archive_gives_its_sound_lines_and_is_named(run_cli: Cli) -> None:
    """A .gz that is cut off: what precedes the cut is replayed, the other file, too; exit 3."""
    body = "".join(identify(n) for n in range(1_000)).encode()
    (run_cli.folder / "a.gz").write_bytes(gzip.compress(body)[:-2_000])
    (run_cli.folder / "b.ndjson").write_text(track(1))
    ended = run_cli("replay", "--sandbox", "a.gz", "b.ndjson", "--report", "report.json")
    assert ended.code == 3
    report = report_of(run_cli)
    assert_lawful(report)
    assert 0 < report["outcomes"]["delivered"] - 1 < 1_000
    assert [s["name"] for s in report["input"]["sources"] if s["damaged"]] == ["a.gz"]


def test_selection_limits_what_is_sent(run_cli: Cli, tmp_path: Path) -> None:
    """--type, --event, --user, --exclude-ids, --since and --limit leave out by rule, and are counted."""
    (tmp_path / "gone.txt").write_text("u-3\n")
    lines = "".join(track(n, timestamp=f"2025-0{n}-01T00:00:00Z") for n in range(1, 7)) + identify(9)
    ended = run_cli(
        *("replay", "--dry-run", "--type", "track", "--since", "2025-02-01", "--until", "2025-06-01"),
        *("--exclude-ids", "gone.txt", "-"),
        stdin=lines,
    )
    assert [line["messageId"] for line in ended.lines] == ["t-2", "t-4", "t-5"]
    assert [
        line["messageId"] for line in run_cli("replay", "--dry-run", "--limit", "2", "-", stdin=lines).lines
    ] == [
        "t-1",
        "t-2",
    ]
    assert len(run_cli("replay", "--dry-run", "--user", "u-2", "-", stdin=lines).lines) == 1
    assert len(run_cli("replay", "--dry-run", "--event", "Nothing", "-", stdin=lines).lines) == 0


def test_times_may_count_back_from_now(run_cli: Cli) -> None:
    """Days and hours before the start; `-n` is `--dry-run`."""
    ago = {"an-hour": timedelta(hours=1), "a-week": timedelta(days=7), "a-year": timedelta(days=365)}
    now = datetime.now(UTC)
    lines = "".join(
        json.dumps(
            {"type": "track", "event": "E", "userId": "u", "messageId": name, "timestamp": f"{now - back}"}
        )
        + "\n"
        for name, back in ago.items()
    )
    for options, kept in (
        (["--since", "2w"], ["an-hour", "a-week"]),
        (["--since", "2w", "--until=12h"], ["a-week"]),
        (["--until", "30d"], ["a-year"]),
    ):
        assert [
            line["messageId"] for line in run_cli("replay", "-n", *options, "-", stdin=lines).lines
        ] == kept


def test_the_command_that_goes_on_has_the_same_period(run_cli: Cli) -> None:
    """Times that count back are fixed in it: it may be run days later. Others stay as they were written."""
    lines = "".join(track(number) for number in range(9))
    ended = run_cli("replay", "--sandbox", "--max-calls=2", "--until=1d", "--since", "900w", "-", stdin=lines)
    assert ended.code == 4
    found = re.search(r"replay --sandbox --max-calls=2 --until=(\S+)Z --since (\S+)Z -\n", ended.err)
    assert found is not None, ended.err
    until, since = map(datetime.fromisoformat, found.groups())
    assert abs(until - since - timedelta(weeks=900) + timedelta(days=1)) < timedelta(minutes=1)
    ended = run_cli("replay", "--sandbox", "--max-calls=2", "--since", "2001-01-01", "-", stdin=lines)
    assert "--since 2001-01-01 -" in ended.err


def test_max_errors_stops_the_run(run_cli: Cli) -> None:
    """Exit 4 once more records are bad than the user wants to see."""
    ended = run_cli(
        "replay", "--dry-run", "--max-errors", "5", "--report", "report.json", "-", stdin="broken\n" * 100
    )
    assert ended.code == 4
    assert report_of(run_cli)["outcomes"]["invalid"] == 6


def test_max_calls_stops_the_run(run_cli: Cli, sandbox: Sandbox) -> None:
    """Exit 4 after exactly so many calls; the rest is pending."""
    ended = run_cli(
        "replay",
        *("-c", settings_for(run_cli, sandbox), "--yes", "--max-calls", "7", "--report", "report.json", "-"),
        stdin="".join(identify(n) for n in range(50)),
    )
    assert ended.code == 4
    assert sandbox.counts()[2] == 7
    assert_lawful(report_of(run_cli))


def test_redirects_are_never_followed(run_cli: Cli, sandbox: Sandbox) -> None:
    """The token must not reach another host: exit 2, the other host gets no request."""
    fault = Fault.parse(f"POST /v1/customers redirect 307 location={sandbox.url}/v1/customers")
    with Sandbox(faults=[fault]) as moved:
        ended = run_cli("replay", "-c", settings_for(run_cli, moved), "--yes", "-", stdin=identify(1))
    assert ended.code == 2
    assert "api.url" in ended.err
    assert sandbox.counts() == (0, 0, 0)


def test_environment_variables_stand_for_options(run_cli: Cli) -> None:
    """VOUCHERIFY_SYNC_<COMMAND>_<OPTION>, and the command line wins."""
    lines = identify(1) + identify(2) + identify(3)
    env = {"VOUCHERIFY_SYNC_REPLAY_LIMIT": "2"}
    assert len(run_cli("replay", "--dry-run", "-", stdin=lines, env=env).lines) == 2
    assert len(run_cli("replay", "--dry-run", "--limit", "1", "-", stdin=lines, env=env).lines) == 1


def test_a_sandbox_of_this_program_is_sent_to_without_a_question(run_cli: Cli, sandbox: Sandbox) -> None:
    """Nothing reaches a project, so nothing has to be undone."""
    ended = run_cli("replay", "-c", settings_for(run_cli, sandbox), "-", stdin=track(1))
    assert ended.code == 0
    assert sandbox.counts()[1] == 1


@pytest.mark.parametrize("name", ["API_URL", "REPLAY_WORKRS", "REPLAY_YES"])
def test_a_variable_that_is_no_option_is_told(run_cli: Cli, name: str) -> None:
    """Else a run would go to another address than its user thinks; what Kubernetes sets is none of ours."""
    env = {
        f"VOUCHERIFY_SYNC_{name}": "1",
        "VOUCHERIFY_SYNC_SERVICE_HOST": "x",
        "VOUCHERIFY_SYNC_REPLAY_LIMIT": "1",
    }
    ended = run_cli("replay", "-n", "-", stdin=identify(1) + identify(2), env=env)
    assert len(ended.lines) == 1
    assert re.findall(r"Warning: (\w+) is not read", ended.err) == [f"VOUCHERIFY_SYNC_{name}"]


def test_yes_is_never_taken_from_the_environment(run_cli: Cli, sandbox: Sandbox) -> None:
    """What cannot be undone is agreed to on the command line only."""
    env = {"VOUCHERIFY_SYNC_REPLAY_YES": "1"}
    ended = run_cli("replay", "-c", of_project(run_cli, sandbox), "-", stdin=track(1), env=env)
    assert ended.code == 2


def test_data_cannot_speak_to_the_terminal(run_cli: Cli) -> None:
    """Escape sequences in events are shown as escapes."""
    name = "\x1b]0;owned\x07[bold]x[/bold]\u202e"
    ended = run_cli("replay", "--dry-run", "-v", "-", stdin=track(1, event=name, userId=None) + "{\x1b[31m\n")
    assert "\x1b" not in ended.err
    assert "\u202e" not in ended.err
    assert "\x07" not in ended.err


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_under_the_report_is_told(run_cli: Cli) -> None:
    """No traceback: where, what, and the code of the records."""
    ended = run_cli("replay", "--dry-run", "--report", "/dev/full", "-", stdin=identify(1))
    assert ended.code == 0
    assert "Warning: cannot write /dev/full: " in ended.err
    assert "Traceback" not in ended.err


def test_options_of_several_values_are_not_taken_from_the_environment(run_cli: Cli) -> None:
    """A list has no one spelling in a variable."""
    lines = identify(1) + track(1)
    assert (
        len(
            run_cli(
                "replay", "--dry-run", "-", stdin=lines, env={"VOUCHERIFY_SYNC_REPLAY_TYPE": "track"}
            ).lines
        )
        == 2
    )


def test_several_processes_change_nothing_but_the_time(run_cli: Cli) -> None:
    """A large dry run is shared out; stdout and the report are the same."""
    run_cli.constants = {
        "voucherify_sync.run.options.MIN_SHARED_BYTES": 0,
        "voucherify_sync.run.workers.TASK_BYTES": 10_000,
    }
    archive = run_cli.folder / "large.ndjson"
    archive.write_text("".join(identify(number) + track(number) for number in range(1_000)) + identify(7))
    told = []
    for jobs in ("1", "2"):
        ended = run_cli("replay", "--dry-run", "--jobs", jobs, "--report", "report.json", archive)
        report = json.loads((run_cli.folder / "report.json").read_text())
        told.append((ended.code, ended.out, report["outcomes"], report["mapping"]))
    assert told[0] == told[1]
    assert (told[0][0], told[0][2]["planned"], told[0][2]["duplicate"]) == (0, 2_000, 1)
