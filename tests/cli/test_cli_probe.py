"""`check --probe` on the command line: the question, the output, the exit codes, and the file beside the ledger."""

from __future__ import annotations

import json
import os
import pty
import signal
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.cli import Cli, Ended
from support.waiting import wait_until

from voucherify_sync.sandbox import Fault, Sandbox, SandboxOptions

AS_ASSUMED = ("limit=1000/min", "bulk_limit=100/min")
PAUSES = {
    f"voucherify_sync.voucherify.probe.{name}": value
    for name, value in {
        "_READ_PAUSES_S": (0.0, 0.01),
        "_LOOK_PAUSES_S": (0.0, 0.01),
        "_POLL_PAUSES_S": (0.0, 0.01),
        "_RETRY_PAUSES_S": (0.01, 0.01),
    }.items()
}


def sandbox_of(*switches: str, faults: tuple[str, ...] = ()) -> Sandbox:
    """Return a stand-in that knows its keys."""
    options = SandboxOptions.read({"app_id": "app-1", "token": "CANARY"}, switches)
    return Sandbox(options, [Fault.parse(text) for text in faults])


def write_settings(cli: Cli, sandbox: Sandbox, settings: str = "") -> None:
    """Write a settings file that leads to a stand-in, and set the keys."""
    (cli.folder / "voucherify-sync.yaml").write_text(f"api: {{url: '{sandbox.url}'}}\n{settings}")
    cli.env |= {"VOUCHERIFY_API_KEY": "app-1", "VOUCHERIFY_API_TOKEN": "CANARY"}
    cli.constants = PAUSES


def run(cli: Cli, sandbox: Sandbox, *words: str, settings: str = "") -> Ended:
    """Run `check` with good keys, and see that nothing shows the token."""
    write_settings(cli, sandbox, settings)
    ended = cli("check", *words)
    files = "".join(file.read_text() for file in cli.state.rglob("*.json"))
    assert "CANARY" not in ended.out + ended.err + files
    return ended


def kept(cli: Cli) -> list[Path]:
    """Return the files of findings."""
    return list(cli.state.rglob("*.probe.json"))


def test_findings_are_printed_kept_and_shown_by_status(run_cli: Cli) -> None:
    """One line a finding; what differs says what that means; the last line is a sandbox like the project."""
    with sandbox_of(*AS_ASSUMED, "nulls=ignore") as sandbox:
        ended = run(run_cli, sandbox, "--probe", "--yes")
        assert ended.code == 3
        lines = ended.out.splitlines()
        assert lines[0] == f"Findings of {sandbox.url} (Application ID app-…):"
        assert "  ok       metadata: merge (as assumed)" in lines
        assert "  differs  nulls: ignore; identify.nulls: clear will not erase anything" in lines
        assert "What no probe finds out:" in lines
        assert lines[-1] == "  voucherify-sync sandbox --switch nulls=ignore --switch limit=1000/min"
        assert "keys accepted" in ended.err  # --probe implies --online
        (file,) = kept(run_cli)
        assert f"Runs use the findings for 90 days: {file}" in lines
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert sandbox.store.customers == []
        (run_cli.folder / "e.ndjson").write_text(
            json.dumps({"type": "identify", "userId": "u", "messageId": "m"}) + "\n"
        )
        settings = "identify: {nulls: clear}\n"
        assert "`identify.nulls: clear` erases nothing" in run(run_cli, sandbox, settings=settings).err
        sent = run_cli("replay", "--yes", "--new-ledger", "e.ndjson")
        assert (sent.code, "`identify.nulls: clear` erases nothing" in sent.err) == (0, True)
        assert "differs: nulls ignore" in run_cli("status").out
        assert json.loads(run_cli("status", "--json").out)["probe"]["differing"] == ["nulls"]


def test_json_holds_all_that_was_found(run_cli: Cli) -> None:
    """It is all that stdout has; a project that does what is assumed ends in 0."""
    with sandbox_of(*AS_ASSUMED) as sandbox:
        ended = run(run_cli, sandbox, "--probe-order", "--yes", "--json")
        calls = sandbox.counts()[2]
    assert ended.code == 0
    probe = json.loads(ended.out)["probe"]
    names = ["version", "url", "app_id_prefix", "started_at", "calls", "deleted", "findings", "switches"]
    assert list(probe) == [*names, "stays_unknown"]
    assert probe["calls"] == calls - 1  # the last one is that of --online
    assert probe["app_id_prefix"] == "app-"
    assert probe["deleted"]["is_customer_gone"] is True
    assert probe["switches"]["order_existing"] == "upsert"
    finding: dict[str, Any] = next(each for each in probe["findings"] if each["id"] == "nulls")
    assert list(finding) == ["id", "assumed", "found", "holds", "evidence", "meaning"]
    assert (finding["assumed"], finding["found"], finding["holds"]) == ("clear", "clear", True)
    assert finding["evidence"]["calls"][0]["call"] == "POST /v1/customers"


@pytest.mark.parametrize(
    ("switches", "faults", "code", "said", "left"),
    [
        (("limit=39/min",), (), 4, "38 calls are left", 0),
        (AS_ASSUMED, ("status 401",), 5, "does not accept the keys", 0),
        (AS_ASSUMED, ("POST /v1/customers status 403",), 5, "forbids it to this key", 0),
        (AS_ASSUMED, ("DELETE status 500",), 3, "Delete it by hand", 1),
        (AS_ASSUMED, ("* status 400 body=echo #2-",), 2, "Delete it by hand", 0),  # --online is refused, too
    ],
    ids=["few calls", "keys", "permission", "not deleted", "echo"],
)
def test_what_goes_wrong_has_its_own_exit_code(
    run_cli: Cli, switches: tuple[str, ...], faults: tuple[str, ...], code: int, said: str, left: int
) -> None:
    """And nothing is left that is not named."""
    with sandbox_of(*switches, faults=faults) as sandbox:
        ended = run(run_cli, sandbox, "--probe", "--yes")
        customers = sandbox.store.customers
    assert (ended.code, said in ended.err) == (code, True), ended.err
    assert len(customers) == left
    assert all(str(each.source_id) in ended.err for each in customers)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--probe",), "there is no terminal to ask on"),
        (("--probe-order", "--json"), "there is no terminal to ask on"),
        (("--yes",), "--yes is for --probe"),
        (("--json",), "--json is for --probe"),
        (("--probe", "--yes", "--show", "--json"), "would both write to stdout"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_meant_makes_no_call(run_cli: Cli, words: tuple[str, ...], said: str) -> None:
    """Exit 2."""
    with sandbox_of() as sandbox:
        ended = run(run_cli, sandbox, *words)
        assert sandbox.counts()[2] == 0
    assert (ended.code, said in ended.err, ended.out) == (2, True, "")


def on_terminal(cli: Cli, act: Callable[[int, int], object]) -> tuple[int, str]:
    """Run `check --probe` on a terminal, and act at its question; return exit code and screen."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(cli.folder)
        os.execvpe(cli.command()[0], cli.command("check", "--probe"), cli.env)
    screen, is_asked, deadline = b"", False, time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # the other side is closed
            break
        screen += piece
        if not is_asked and b"Go on?" in screen:
            is_asked = True
            act(pid, terminal)
        if not piece:
            break
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    return os.waitstatus_to_exitcode(status), screen.decode()


@pytest.mark.parametrize(
    "act",
    [lambda _, terminal: os.write(terminal, b"n\n"), lambda pid, _: os.kill(pid, signal.SIGINT)],
    ids=["no", "Ctrl-C"],
)
def test_a_no_makes_no_call_but_the_first(run_cli: Cli, act: Callable[[int, int], object]) -> None:
    """The question names the project, the customer and what can react; nothing is kept."""
    with sandbox_of(*AS_ASSUMED) as sandbox:
        write_settings(run_cli, sandbox)
        code, screen = on_terminal(run_cli, act)
        assert [(call.method, call.path) for call in sandbox.call_log.answered] == [("GET", "/v1/customers")]
    assert code == 130
    words = " ".join(screen.split())
    assert f"This writes to the project of Application ID app-… at {sandbox.url}" in words
    assert "About 27 calls and 1 bulk call." in words
    assert "Rules, distributions, webhooks and segments of the project can react" in words
    assert kept(run_cli) == []


@pytest.mark.parametrize(
    ("number", "faults", "code"),
    [(signal.SIGINT, (), 130), (signal.SIGTERM, ("DELETE throttle retry_after=3000",), 3)],
    ids=["deleted", "named"],
)
def test_a_signal_leaves_no_customer_that_is_not_named(
    run_cli: Cli, number: signal.Signals, faults: tuple[str, ...], code: int
) -> None:
    """The call in flight is counted, and nothing is asked of the project afterwards."""
    with sandbox_of(*AS_ASSUMED, faults=("POST /v1/customers delay seconds=0.3", *faults)) as sandbox:
        write_settings(run_cli, sandbox)
        process = run_cli.start("check", "--probe", "--yes")
        wait_until(lambda: sandbox.store.customers)
        process.send_signal(number)
        out, err = (text.decode() for text in process.communicate(timeout=60))
        left = [str(each.source_id) for each in sandbox.store.customers]
        paths = [call.path for call in sandbox.call_log.answered]
    assert (process.returncode, len(left), "Traceback" in err) == (code, len(faults), False)
    assert all(each in err for each in left)
    assert f"\n{len(paths)} calls" in out
    assert "/v1/metadata-schemas" not in paths
