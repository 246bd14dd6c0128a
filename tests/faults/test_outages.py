"""Connections that cannot be had, die, or never end: what was not sent is sent later, the rest is in doubt."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import pytest
from support.cli import Cli
from support.evidence import CANARY, EMAIL, Record, Verdict, judge, request_of, write_archive, write_settings
from support.ledger_parts import make_ledger, open_ledger
from support.waiting import HANG_S, wait_until

from voucherify_sync.delivery.circuit_breaker import CircuitBreaker
from voucherify_sync.delivery.lanes import Lanes
from voucherify_sync.delivery.sender import Sender
from voucherify_sync.outcomes import Outcome, State
from voucherify_sync.sandbox import Fault, Sandbox, SandboxOptions
from voucherify_sync.settings.types import Credentials, Secret
from voucherify_sync.stop import Stop
from voucherify_sync.voucherify.client import Client
from voucherify_sync.voucherify.limited_client import LimitedClient
from voucherify_sync.voucherify.rate_limit import Limiter
from voucherify_sync.voucherify.retry_policy import Pauses

RECORDS = [Record(type_, f"{type_}-{n}", f"u-{n}") for type_ in ("identify", "track") for n in range(5)]
DEADLINE_S = 1.0


def deliver(sandbox: Sandbox, path: Path, on_doubt: str) -> list[Outcome]:
    """Send all records as a run does, with a short deadline."""
    stop = Stop()
    client = Client(Credentials("app", Secret(CANARY), sandbox.url, None), deadline_s=DEADLINE_S)
    with open_ledger(path, stop=stop) as ledger:
        limited = LimitedClient(client, Limiter(stop=stop), CircuitBreaker(stop), stop, jitter=lambda: 0.0)
        sender = Sender(
            limited,
            stop,
            ledger,
            on_doubt,  # type: ignore[arg-type]
            pauses=Pauses(settle_s=(0.0, 0.1)),
        )
        lanes = Lanes(sender.attempt, 3, stop)
        for line, record in enumerate(RECORDS, start=1):
            lanes.submit(request_of(record, line))
        outcomes = list(lanes.drain())
    client.close()
    return outcomes


@pytest.mark.parametrize(
    ("fault", "on_doubt", "found"),
    [
        ("hang", "hold", False),
        ("hang", "verify", False),
        ("hang after", "verify", True),
        ("delay before seconds=1.5", "hold", False),
        ("delay seconds=1.5", "verify", True),
        ("drip interval_s=2", "hold", False),
        ("drip part=headers interval_s=2", "verify", True),
    ],
)
def test_an_answer_that_takes_too_long_is_given_up(
    tmp_path: Path, fault: str, on_doubt: str, found: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """At the deadline: the customer is sent again, the event is looked for or in doubt; nothing leaks into logs."""
    caplog.set_level(logging.DEBUG)
    faults = [Fault.parse(f"POST {path} {fault} #2") for path in ("/v1/customers", "/v1/events")]
    began = time.monotonic()
    with Sandbox(SandboxOptions(keep=None), faults) as sandbox:
        outcomes = deliver(sandbox, tmp_path / "x.ledger", on_doubt)
        took = time.monotonic() - began
        if "before seconds" in fault:  # what was given up is processed all the same
            wait_until(lambda: len(sandbox.call_log.processed) == len(RECORDS) + 1)
        verdict = judge(RECORDS, sandbox, tmp_path / "x.ledger")
    assert took < HANG_S
    assert verdict.broken == {}
    assert verdict.ambiguous + verdict.interrupted == (not found)
    states = [outcome.state for outcome in outcomes]
    assert states.count(State.DELIVERED) == len(RECORDS) - (not found)
    assert states.count(State.IN_DOUBT) == (not found)
    told = f"{outcomes} {caplog.text}".replace(RECORDS[0].line, "")
    assert CANARY not in told
    assert EMAIL not in caplog.text
    data = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert CANARY.encode() not in data
    assert EMAIL.encode() not in data


class Live:
    """A live run of the records through the command line."""

    def __init__(self, cli: Cli, sandbox: Sandbox) -> None:
        self.ledger = make_ledger(cli.folder / "x.ledger", sandbox.url, "app")
        archive = write_archive(cli.folder / "a.ndjson", RECORDS)
        settings = write_settings(cli.folder / "settings.yaml", sandbox, 3)
        self.words = ("replay", "--yes", "-c", settings, "--ledger", self.ledger, archive)

    def verdict(self, sandbox: Sandbox) -> Verdict:
        """Judge it."""
        return judge(RECORDS, sandbox, self.ledger)


def test_what_cannot_be_sent_waits_until_it_can(run_cli: Cli) -> None:
    """Nobody listens at first: that proves that nothing was sent, so that nothing is in doubt and all arrives."""
    with Sandbox() as once:
        port = once.port
    sandbox = Sandbox(SandboxOptions(keep=None, port=port))
    live = Live(run_cli, sandbox)
    process = run_cli.start(*live.words, "--progress", "json")
    assert process.stderr is not None
    assert any(b'"reason":"outage"' in line for line in process.stderr), "it never tried to connect"
    with sandbox:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        assert live.verdict(sandbox).broken == {}
        assert live.verdict(sandbox).delivered == len(RECORDS)


def test_connections_that_the_server_has_closed_meanwhile_are_not_used(run_cli: Cli) -> None:
    """A slow run finds each of its idle connections closed, and leaves nothing in doubt."""
    with Sandbox(SandboxOptions(keep=None, keep_alive_s=0.03)) as sandbox:
        live = Live(run_cli, sandbox)
        assert run_cli(*live.words, "--rate", "8/s").code == 0
        assert live.verdict(sandbox).broken == {}
        assert live.verdict(sandbox).delivered == len(RECORDS)


@pytest.mark.parametrize("skew_s", [-86_400.0, 86_400.0], ids=["behind", "ahead"])
def test_a_server_whose_clock_is_a_day_off_delays_nothing(run_cli: Cli, skew_s: float) -> None:
    """Waits for quota are measured against the server's own Date."""
    options = SandboxOptions(keep=None, limit="6/1s", clock_skew_s=skew_s)
    with Sandbox(options) as sandbox:
        live = Live(run_cli, sandbox)
        began = time.monotonic()
        assert run_cli(*live.words).code == 0
        assert time.monotonic() - began < HANG_S
        assert live.verdict(sandbox).delivered == len(RECORDS)
