"""Whatever stops a run, its last words name the trouble if the last calls failed."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
from support.cli import Cli, Ended
from support.evidence import Record, write_archive, write_settings
from support.waiting import wait_until

from voucherify_sync.sandbox import Fault, Sandbox, SandboxOptions
from voucherify_sync.stop import Stop
from voucherify_sync.voucherify.rate_limit import Bucket, Limiter

RECORDS = [Record("identify", f"i-{n}", f"u-{n}") for n in range(40)]


class Row(NamedTuple):
    """How a run is stopped, and what it says of the last calls.

    Attributes:
        fault: that every call of a customer meets from the third on.
        options: of replay; a signal's name where the run is interrupted instead.
        code: exit code.
        trouble: the end of the last line; None where no trouble is to be named.
    """

    fault: str
    options: str
    code: int
    trouble: str | None


TABLE = [
    Row("status 503", "--max-calls 6", 4, "The last call failed: HTTP 503."),
    Row("drop", "--max-calls 6", 4, "ended before an answer came."),
    Row("drop", "--max-calls 6 --bulk", 4, "ended before an answer came."),
    Row("drop", "--max-duration 3s", 4, "ended before an answer came."),
    Row("drop", "SIGINT", 130, "ended before an answer came."),
    Row("drop", "SIGTERM", 143, "ended before an answer came."),
    Row("hang", "SIGINT", 130, " answer "),
    Row("hang", "--max-duration 3s", 4, " answer "),
    Row("throttle retry_after=60", "--max-duration 3s", 4, None),
    Row("delay seconds=0", "--max-calls 6", 4, None),
    Row("status 401", "--max-duration 1h", 5, None),
]


def stop_a_run(row: Row, folder: Path) -> Ended:
    """Make the run, and stop it."""
    cli = Cli(folder)
    faults = [Fault.parse(f"POST /v1/customers* {row.fault} #{'1-' if 'bulk' in row.options else '3-'}")]
    with Sandbox(SandboxOptions(), faults) as sandbox:
        settings = write_settings(folder / "settings.yaml", sandbox, 3)
        archive = write_archive(folder / "a.ndjson", RECORDS)
        words = ["replay", "--yes", "-c", settings, "--new-ledger", "--ledger", folder / "x.ledger", archive]
        if row.options not in signal.Signals.__members__:
            return cli(*words, *row.options.split())
        process = cli.start(*words)
        wait_until(lambda: sandbox.counts()[2] >= 5)
        process.send_signal(signal.Signals[row.options])
        out, err = process.communicate(timeout=60)
        return Ended(process.returncode, out.decode(), err.decode())


def test_a_run_that_stops_in_trouble_says_so(tmp_path_factory: pytest.TempPathFactory) -> None:
    """By a limit of the user's or a signal alike; what was answered is no trouble, be it throttled or refused.

    A few runs are made at a time: they wait more than they compute.
    """
    folders = [tmp_path_factory.mktemp("run") for _ in TABLE]
    with ThreadPoolExecutor(6) as pool:
        runs = list(pool.map(stop_a_run, TABLE, folders))
    for row, ended in zip(TABLE, runs, strict=True):
        said = [line for line in ended.err.splitlines() if "The last call failed" in line]
        assert ended.code == row.code, (row, ended.err)
        assert len(said) == (row.trouble is not None), (row, ended.err)
        assert row.trouble is None or row.trouble in said[0], row


def test_the_limiter_knows_how_long_the_oldest_call_has_had_no_answer() -> None:
    """Over both limits and all threads."""
    now = [100.0]
    limiter = Limiter(stop=Stop(), clock=lambda: now[0])
    assert limiter.unanswered_s() is None
    first, second = limiter.acquire(), limiter.acquire(Bucket.BULK)
    assert first
    assert second
    assert (limiter.unanswered_s(), limiter.in_flight) == (None, 0)  # a permit is no call yet
    limiter.sent(first)
    now[0] += 3
    limiter.sent(second)
    now[0] += 1
    assert (limiter.unanswered_s(), limiter.in_flight) == (4, 2)
    limiter.unanswered(first)
    assert (limiter.unanswered_s(), limiter.in_flight) == (1, 1)
