"""Signals: in the first moments of a start, and where they were ignored before it."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest
from support.cli import Cli
from support.replays import assert_lawful, identify, report_of, settings_for
from support.waiting import wait_until

from voucherify_sync.sandbox.options import SandboxOptions
from voucherify_sync.sandbox.server import Sandbox

SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]

SLOW_IMPORT = """\
import sys, time
print("importing", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize(("number", "code"), SIGNALS, ids=str)
@pytest.mark.parametrize("module", ["click", "yaml"])
def test_a_signal_during_the_imports_ends_the_process_without_a_word(
    run_cli: Cli, tmp_path: Path, module: str, number: signal.Signals, code: int
) -> None:
    """Click comes before any command is known, yaml with the settings."""
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / f"{module}.py").write_text(SLOW_IMPORT)
    run_cli.env["PYTHONPATH"] = str(modules)
    with run_cli.start("check") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"importing\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (code, b"", b"")


@pytest.mark.parametrize(("number", "code"), SIGNALS, ids=str)
def test_a_signal_ends_a_command_that_only_looks_without_a_word(
    run_cli: Cli, number: signal.Signals, code: int
) -> None:
    """There is nothing to be brought to an end."""
    with run_cli.start("explain", "--limit", "9", "-", stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(identify(1).encode())
        process.stdin.flush()
        process.stdout.readline()
        process.send_signal(number)
        process.wait(timeout=60)
        assert process.stderr.read() == b""
    assert process.returncode == code


@pytest.mark.parametrize(("number", "_code"), SIGNALS, ids=str)
def test_a_signal_that_was_ignored_at_start_does_not_stop_a_run(
    run_cli: Cli, number: signal.Signals, _code: int
) -> None:
    """`nohup`, and the jobs that a shell runs in the background."""
    events = run_cli.folder / "events.ndjson"
    events.write_text("".join(identify(number) for number in range(60)))
    with Sandbox(SandboxOptions(latency_s=0.02, keep=None)) as sandbox:
        settings = settings_for(run_cli, sandbox)
        process = run_cli.start(
            *("replay", "-c", settings, "--yes", "--workers", "1", "--report", "report.json", events),
            stdout=subprocess.DEVNULL,
            preexec_fn=lambda: signal.signal(number, signal.SIG_IGN),
        )
        wait_until(lambda: sandbox.counts()[2] >= 5)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
        assert sandbox.counts()[0] == 60
    assert process.returncode == 0
    assert number.name.encode() not in err
    report = report_of(run_cli)
    assert_lawful(report)
    assert report["outcomes"]["delivered"] == 60


def test_only_the_other_signals_are_heard(run_cli: Cli) -> None:
    """What `nohup` ignores is SIGHUP; SIGTERM still stops the run."""
    events = run_cli.folder / "events.ndjson"
    events.write_text("".join(identify(number) for number in range(5_000)))
    with Sandbox(SandboxOptions(latency_s=0.02)) as sandbox:
        process = run_cli.start(
            *("replay", "-c", settings_for(run_cli, sandbox), "--yes", "--workers", "1", events),
            stdout=subprocess.DEVNULL,
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
        )
        wait_until(lambda: sandbox.counts()[2] >= 5)
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 143
    assert b"SIGTERM: " in err
    assert b"SIGHUP" not in err
