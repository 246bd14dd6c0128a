"""The command `sandbox`: what it says at its start leads on, and its help and its page name all that it can do."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.cli import Cli
from support.sandbox_client import call, event
from support.shell import run_in_shell

from voucherify_sync.sandbox.endpoints import ApiEndpoints
from voucherify_sync.sandbox.faults import ACTIONS, Fault
from voucherify_sync.sandbox.options import SandboxOptions, describe_fields
from voucherify_sync.sandbox.server import Sandbox

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "sandbox.md"


@contextmanager
def started(cli: Cli, *words: str) -> Iterator[str]:
    """Run the command, and yield what it says at its start."""
    process = cli.start("sandbox", "--port", "0", *words)
    assert process.stderr is not None
    said = b""
    try:
        while b"Ctrl-C" not in said:
            line = process.stderr.readline()
            assert line, said
            said += line
        yield said.decode()
    finally:
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=60)
    assert b"It held" in rest


def paste(cli: Cli, said: str) -> subprocess.CompletedProcess[str]:
    """Do what the start says: paste the command, with events in place of the samples."""
    [command] = re.findall(r"^  (echo .*)$", said, re.MULTILINE)
    command = command.replace(" sample_events", " events.ndjson")
    return run_in_shell(command, cli.folder, {**cli.env, "VOUCHERIFY_API_TOKEN": "CANARY"})


@pytest.fixture
def events(run_cli: Cli) -> None:
    """Write two events."""
    (run_cli.folder / "events.ndjson").write_text(
        '{"type":"identify","userId":"u1","messageId":"m1","traits":{"name":"Ann"}}\n'
        '{"type":"track","event":"E","userId":"u1","messageId":"m2"}\n'
    )


@pytest.mark.usefixtures("events")
@pytest.mark.parametrize(
    "words", [(), ("--switch", "app_id=it's$HOME", "--switch", "token=CANARY"), ("--switch", "host=0.0.0.0")]
)
def test_the_command_that_it_prints_sends_to_it(run_cli: Cli, words: tuple[str, ...]) -> None:
    """Pasted as it stands, and without a question."""
    with started(run_cli, *words) as said:
        done = paste(run_cli, said)
    assert done.returncode == 0, done.stderr
    assert "2 delivered" in done.stderr, done.stderr
    assert "CANARY" not in said


@pytest.mark.usefixtures("events")
def test_a_later_sandbox_begins_with_nothing(run_cli: Cli) -> None:
    """Each start has a key of its own, so that the ledger of the one before does not count; any other key is taken."""
    for number in range(2):
        with started(run_cli) as said:
            done = paste(run_cli, said)
            assert done.returncode == 0, done.stderr
            assert "2 delivered" in done.stderr, done.stderr
            settings = run_cli.folder / "own.yaml"
            line = re.findall(r"^(api: .*)$", said, re.MULTILINE)[0]
            settings.write_text(re.sub(r"sandbox-\w+", "my-own-key", line))
            options = ("--yes", "--new-ledger", "--ledger", run_cli.folder / f"{number}.ledger")
            assert run_cli("replay", "-c", settings, *options, "events.ndjson").code == 0


def test_the_help_names_every_switch_and_every_action(run_cli: Cli) -> None:
    """With its values, from where they are defined."""
    text = run_cli("sandbox", "--help").out
    for field in describe_fields(SandboxOptions):
        if field.name not in ("port", "limit", "latency_s"):
            assert f"  {field.name}={field.values}" in text
    for action in ACTIONS:
        assert f"  {action} " in text


def test_every_field_is_described() -> None:
    """So that help and page can name it."""
    assert [field.name for field in describe_fields(SandboxOptions)] == list(SandboxOptions.__struct_fields__)
    assert [field.name for field in describe_fields(Fault)] == list(Fault.__struct_fields__)[1:]
    assert all(Fault(action).action == action for action in ACTIONS)


def test_the_page_names_every_call_that_is_answered() -> None:
    """And no other."""
    named = {
        (method, re.sub(r"\b[A-Z]+$|\b[A-Z]+(?=/)", "*", path))
        for method, path in re.findall(
            r"`([A-Z]+) (/v1/[^`]*)`", PAGE.read_text().partition("## What it refuses")[0]
        )
    }
    with Sandbox() as sandbox:
        endpoints = ApiEndpoints(SandboxOptions(), sandbox.store, 0.0)
    routes = {
        (method, "/" + "/".join(route)) for route, methods in endpoints.routes.items() for method in methods
    }
    assert named == routes


@pytest.mark.parametrize(
    ("switch", "says"),
    [
        ("null=clear", "there is no switch 'null'; did you mean nulls?\n"),
        ("nulls", "'' is no value of nulls\nWrite nulls=clear|ignore|reject."),
        ("nulls=Clear", "'Clear' is no value of nulls"),
        ("latency_s=-1", "Write latency_s=SECONDS."),
        ("keep_alive_s=nan", "Write keep_alive_s=SECONDS."),
        ("bulk_item_cap=0", "Write bulk_item_cap=N."),
        ("auth_error_rate_headers=no", "Write auth_error_rate_headers=true|false."),
        ("defined_events=Order", "Write defined_events=[TEXT,…]."),
        ('metadata_schemas=[{"properties": {}}]', "Write metadata_schemas=[OBJECT,…]."),
        (
            'metadata_schemas=[{"related_object": "customer", "properties": []}]',
            "is no value of metadata_schemas",
        ),
        (
            'metadata_schemas=[{"related_object":"customer","properties":{"a":{"lt":"x"}}}]',
            "is no value of metadata_schemas",
        ),
        ("limit=fast", "not a limit: 'fast'"),
    ],
)
def test_a_switch_that_cannot_be_read_is_refused(run_cli: Cli, switch: str, says: str) -> None:
    """With what it takes."""
    ended = run_cli("sandbox", "--port", "0", "--switch", switch)
    assert ended.code == 2
    assert says in ended.err


@pytest.mark.parametrize(
    ("switch", "name", "value"),
    [
        ("nulls=reject", "nulls", "reject"),
        ("read-lag-s=1.5", "read_lag_s", 1.5),
        ("keep=null", "keep", None),
        ("auth_error_rate_headers=false", "auth_error_rate_headers", False),
        ("limit=5/min", "limit", "5/min"),
        ('defined_events=["a,b", "c"]', "defined_events", ("a,b", "c")),
        (
            'metadata_schemas=[{"related_object":"customer"}]',
            "metadata_schemas",
            ({"related_object": "customer"},),
        ),
    ],
)
def test_a_switch_sets_an_option(switch: str, name: str, value: Any) -> None:
    """Over what else is given."""
    assert getattr(SandboxOptions.read({"limit": "1/h"}, [switch]), name) == value


def test_the_events_that_a_switch_defines_are_accepted() -> None:
    """From the text of the switches to the answer."""
    options = SandboxOptions.read({}, ["undefined_events=reject", 'defined_events=["E"]'])
    with Sandbox(options) as sandbox:
        assert [call(sandbox, "POST", "/v1/events", event(name)).status for name in "EF"] == [200, 404]
