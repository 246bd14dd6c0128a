"""`status` and `retry` as their users meet them, after runs against a sandbox that misbehaved."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator

import pytest
from support.cli import Cli
from support.replays import identify, report_of, track, write_settings
from support.waiting import wait_until

from voucherify_sync.sandbox.faults import Fault
from voucherify_sync.sandbox.options import SandboxOptions
from voucherify_sync.sandbox.server import Sandbox


@pytest.fixture
def flaky() -> Iterator[Sandbox]:
    """Run a sandbox that refuses the first customer and loses the answer to the first event."""
    faults = [
        Fault.parse("POST /v1/customers status 400 #1"),
        Fault.parse("POST /v1/events drop after #1"),
    ]
    with Sandbox(SandboxOptions(keep=None), faults) as server:
        yield server


def replay(
    cli: Cli,
    sandbox: Sandbox,
    *lines: str,
    command: tuple[str, ...] = ("replay", "-"),
    key: str = "sandbox-app",
) -> int:
    """Run a command on lines against the sandbox, one request at a time."""
    file = cli.folder / "voucherify-sync.yaml"
    write_settings(file, sandbox.url, "delivery: {workers: 1, on_doubt: hold}\n", key=key)
    ended = cli(*command, "--yes", "--report", "report.json", stdin="".join(lines))
    assert "Traceback" not in ended.err
    return ended.code


def test_status_tells_what_a_project_was_sent(run_cli: Cli, flaky: Sandbox) -> None:
    """Delivered, failed by reason, in doubt, the last run, the ledger."""
    lines = [identify(1), identify(2), track(1), track(2)]
    assert replay(run_cli, flaky, *lines) == 3
    status = json.loads(run_cli("status", "--json").out)
    assert status["delivered"] == {"customers": 1, "events": 1, "orders": 0}
    assert status["failed"]["total"] == 1
    assert status["in_doubt"] == 1
    assert status["last_run"]["exit_code"] == 3
    assert status["last_run"]["outcomes"]["delivered"] == 2
    said = run_cli("status")
    assert "in doubt" in said.out
    assert status["ledger"]["path"] in said.out


def test_status_shows_what_the_ledger_knows_of_a_run_that_was_ended_at_once(run_cli: Cli) -> None:
    """By a second Ctrl-C, as by a kill: it could not sum up, and only what was pending is not known."""
    with Sandbox(SandboxOptions(keep=None, latency_s=0.2)) as sandbox:
        write_settings(run_cli.folder / "voucherify-sync.yaml", sandbox.url, "delivery: {workers: 1}\n")
        (run_cli.folder / "a.ndjson").write_text("".join(identify(1, messageId=f"m-{n}") for n in range(200)))
        with run_cli.start("replay", "--yes", "a.ndjson") as run:
            wait_until(lambda: sandbox.counts()[2] >= 4)
            run.send_signal(signal.SIGINT)
            run.send_signal(signal.SIGTERM)
            assert run.wait(60) in (130, 143)
    status = json.loads(run_cli("status", "--json").out)
    (ended,) = status["runs"]
    assert ended["finished_at"] is None
    assert ended["outcomes"] == {"delivered": status["delivered"]["customers"]}
    assert ended["outcomes"]["delivered"] >= 2
    (row,) = (line for line in run_cli("status").out.splitlines() if ended["run_id"] in line)
    assert row.split()[2:6] == [str(ended["outcomes"]["delivered"]), "0", "0", "unknown"]
    assert "did not end" in row


def test_status_lists_the_events_in_doubt(run_cli: Cli, flaky: Sandbox) -> None:
    """As dead letters, with their events."""
    replay(run_cli, flaky, track(1), track(2))
    (doubt,) = run_cli("status", "--doubt").lines
    assert doubt["event"] == json.loads(track(1))
    assert doubt["source"] == "-:1"
    assert doubt["run"] == report_of(run_cli)["run_id"]


def test_retry_sends_what_failed_and_it_leaves_the_failed_state(run_cli: Cli, flaky: Sandbox) -> None:
    """By default it takes the dead letters of the last run; what is in doubt stays so."""
    assert replay(run_cli, flaky, identify(1), track(1), track(2)) == 3
    assert replay(run_cli, flaky, command=("retry",)) == 3
    assert report_of(run_cli)["outcomes"]["delivered"] == 1
    assert report_of(run_cli)["outcomes"]["in_doubt"] == 1
    status = json.loads(run_cli("status", "--json").out)
    assert status["failed"]["total"] == 0
    assert status["delivered"]["customers"] == 1
    events = [done.source_id for done in flaky.call_log.processed if str(done.kind) == "event"]
    assert sorted(events) == ["u-1", "u-2"]


def test_retry_holds_back_an_update_that_is_older_than_the_last_one(run_cli: Cli, flaky: Sandbox) -> None:
    """A customer must not go back in time."""
    old = identify(1, messageId="old", timestamp="2025-01-01T00:00:00Z", traits={"name": "Old"})
    new = identify(1, messageId="new", timestamp="2025-02-01T00:00:00Z", traits={"name": "New"})
    replay(run_cli, flaky, old, new)
    replay(run_cli, flaky, command=("retry",))
    assert report_of(run_cli)["reasons"]["skipped"]["superseded"]["count"] == 1
    assert [customer.name for customer in flaky.store.customers] == ["New"]


def test_retry_repairs_invalid_records_after_a_fix(run_cli: Cli, flaky: Sandbox) -> None:
    """Dead letters may be edited: an invalid line that was mended goes through."""
    replay(run_cli, flaky, "{broken\n", command=("replay", "--dead-letters", "dead.ndjson", "-"))
    letter = json.loads((run_cli.folder / "dead.ndjson").read_text())
    letter.pop("raw")
    mended = json.dumps({**letter, "event": json.loads(track(7))})
    (run_cli.folder / "mended.ndjson").write_text(mended + "\n")
    assert replay(run_cli, flaky, command=("retry", "mended.ndjson")) == 3
    assert [done.source_id for done in flaky.call_log.processed] == ["u-7"]


def test_nothing_to_retry_is_a_success(run_cli: Cli, sandbox: Sandbox) -> None:
    """There was no mistake: exit 0, and no run in the history."""
    assert replay(run_cli, sandbox, track(1)) == 0
    ended = run_cli("retry", "--yes")
    assert ended.code == 0
    assert "Nothing to retry" in ended.err
    assert len(json.loads(run_cli("status", "--json").out)["runs"]) == 1


def test_status_without_a_project_asks_which(run_cli: Cli) -> None:
    """Exit 2: the key says which project it is."""
    ended = run_cli("status")
    assert ended.code == 2
    assert "--ledger" in ended.err


def test_rotated_keys_stop_a_live_run(run_cli: Cli, sandbox: Sandbox) -> None:
    """A new key must not send everything again: exit 2, naming --ledger and --new-ledger."""
    assert replay(run_cli, sandbox, track(1), command=("replay", "--new-ledger", "-"), key="app") == 0
    settings = run_cli.folder / "voucherify-sync.yaml"
    settings.write_text(settings.read_text().replace("key: app", "key: rotated"))
    ended = run_cli("replay", "--yes", "-", stdin=track(1))
    assert ended.code == 2
    assert "--ledger" in ended.err
    assert "--new-ledger" in ended.err
    (ledger,) = (run_cli.state / "voucherify-sync").glob("*.ledger")
    again = ("replay", "--yes", "--ledger", ledger, "-")
    assert run_cli(*again, stdin=track(1)).code == 2
    assert run_cli(*again, "--same-project", stdin=track(1)).code == 0
    assert run_cli("replay", "--yes", "-", stdin=track(1)).code == 0
    assert len(sandbox.call_log.processed) == 1


def test_what_a_running_run_waits_for_is_in_flight_and_not_in_doubt(run_cli: Cli) -> None:
    """The run has not ended: an answer may come yet, and nothing is to be looked up."""
    with Sandbox(SandboxOptions(keep=None, latency_s=30.0)) as sandbox:
        write_settings(run_cli.folder / "voucherify-sync.yaml", sandbox.url, "delivery: {workers: 1}\n")
        (run_cli.folder / "a.ndjson").write_text(track(1))
        with run_cli.start("replay", "--yes", "a.ndjson") as run:
            wait_until(lambda: json.loads(run_cli("status", "--json").out or "{}").get("in_flight") == 1)
            status, shown = json.loads(run_cli("status", "--json").out), run_cli("status").out
            run.kill()
    assert (status["in_doubt"], status["in_doubt_reasons"], status["next"]) == (0, {}, [])
    assert status["runs"][0]["outcomes"].get("in_doubt", 0) == 0
    assert "the run ended while" not in shown
    assert "in flight" in shown
    status = json.loads(run_cli("status", "--json").out)
    assert (status["in_flight"], status["in_doubt"]) == (0, 1)
    assert status["in_doubt_reasons"] == {"interrupted": 1}
