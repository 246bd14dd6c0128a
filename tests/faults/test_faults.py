"""Every way in which the API can fail, against whole runs: what they say is what the API did, and no secret shows."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support.cli import Cli
from support.evidence import CANARY, EMAIL, Record, breaches_of_the_law, judge, write_archive, write_settings
from support.ledger_parts import make_ledger

from voucherify_sync.sandbox import Fault, Sandbox, SandboxOptions

USERS = 6
RECORDS = [Record("identify", f"i-{user}", f"u-{user}") for user in range(USERS)] + [
    Record("track", f"t-{user}-{number}", f"u-{user}") for number in range(2) for user in range(USERS)
]
WORKERS = 3


class Row(NamedTuple):
    """One fault and how a run must end that meets it.

    Attributes:
        fault: in the short form; it strikes the second event, and the second customer unless it stops the run; one that
            ends in a number strikes that event.
        code: exit code of the run that meets it.
        outcomes: that must be in its report; others are 0, save delivered and pending.
        halts: it stops the run, and the same command goes on.
    """

    fault: str
    code: int
    outcomes: dict[str, int]
    halts: bool = False


LOST = Row("", 3, {"in_doubt": 1})
"""The event is sent once and in doubt; the customer is sent again."""
REFUSED = Row("", 3, {"failed": 2})
FINE = Row("", 0, {})


def halted(code: int) -> Row:
    """Return how a run ends that cannot go on: nothing failed, nothing in doubt."""
    return Row("", code, {}, halts=True)


FAULTS = [
    (LOST, "drop before; drop after; reset before; reset after; cut_header; cut_body; wrong_shape; huge"),
    (LOST, "html before; html after; empty before; empty after body=json"),
    (LOST, "status 408 before; status 408 after; status 500 before; status 500 after; status 504 after"),
    (
        LOST,
        "status 500 body=b; status 500 body=empty after; status 502 body=html; status 503 body=echo after",
    ),
    (REFUSED, "status 400; status 404; status 409; status 423"),
    (REFUSED, "status 400 body=echo; status 400 body=html; status 418 body=empty"),
    (FINE, "close; delay seconds=0.3; delay before seconds=0.3"),
    (FINE, "drip interval_s=0.001; drip part=headers interval_s=0.001"),
    (FINE, "throttle; throttle retry_after=1; throttle retry_after=soon; throttle retry_after=-5"),
    (FINE, "throttle retry_in_s=1; throttle retry_in_s=-86400"),
    (halted(2), "status 405 #1; status 415 #1; redirect 301 #1; redirect 307 #1"),
    (halted(4), "throttle type=api_calls_cycle"),
    (halted(5), "status 401 #1; status 401 body=echo #1; status 402 #1; status 403 #1"),
    (
        REFUSED,
        "redirect 301; status 401; status 401 body=echo; status 402; status 403; status 405; status 415",
    ),
]
TABLE = [row._replace(fault=fault) for row, faults in FAULTS for fault in faults.split("; ")]


class Trial(NamedTuple):
    """What a run and the one after it left."""

    reports: list[dict[str, Any]]
    codes: list[int]
    shown: str
    folder: Path
    sandbox: Sandbox


def strike(row: Row) -> list[Fault]:
    """Place the fault."""
    paths = ["/v1/events"] if row.halts else ["/v1/customers", "/v1/events"]
    number = "" if "#" in row.fault else " #2"
    return [Fault.parse(f"POST {path} {row.fault}{number}") for path in paths]


def make_trial(row: Row, folder: Path) -> Trial:
    """Run against the fault; where it stops the run, run the same command again."""
    cli = Cli(folder)
    reports, codes, shown = [], [], ""
    with Sandbox(SandboxOptions(keep=None), strike(row)) as sandbox:
        settings = write_settings(folder / "settings.yaml", sandbox, WORKERS)
        archive = write_archive(folder / "events.ndjson", RECORDS)
        ledger = make_ledger(folder / "x.ledger", sandbox.url, "app")
        for number in range(1 + row.halts):
            report = folder / f"{number}.json"
            ended = cli(
                *(
                    "replay",
                    "-v",
                    "--yes",
                    "--on-doubt",
                    "hold",
                    "-c",
                    settings,
                    "--ledger",
                    ledger,
                ),
                *("--report", report, "--log-file", folder / "log", archive),
            )
            reports.append(json.loads(report.read_text()) if report.exists() else {})
            codes.append(ended.code)
            shown += ended.out + ended.err
    return Trial(reports, codes, shown, folder, sandbox)


def test_a_run_says_what_the_api_did_and_no_secret(tmp_path_factory: pytest.TempPathFactory) -> None:
    """By each fault of the table. A few runs are made at a time: they wait more than they compute."""
    folders = [tmp_path_factory.mktemp("trial") for _ in TABLE]
    with ThreadPoolExecutor(6) as pool:
        trials = list(pool.map(make_trial, TABLE, folders))
    for row, trial in zip(TABLE, trials, strict=True):
        expect_what_the_api_did(row, trial)
        expect_no_secret(trial)


def expect_what_the_api_did(row: Row, trial: Trial) -> None:
    """Expect the exit code, the sums, and state by state the same as in the call log; the same command then goes on."""
    first, last = trial.reports[0], trial.reports[-1]
    assert trial.codes == [row.code, 0][: 1 + row.halts], (row, trial.shown)
    assert {name: first["outcomes"][name] for name in ("failed", "in_doubt", "invalid", "duplicate")} == {
        **dict.fromkeys(("failed", "in_doubt", "invalid", "duplicate"), 0),
        **row.outcomes,
    }, row
    assert (first["outcomes"]["pending"] > 0) is row.halts, row
    assert breaches_of_the_law(first) + breaches_of_the_law(last) == [], row
    assert last["events"]["read"] == len(RECORDS), row
    assert last["outcomes"]["pending"] == 0, row
    verdict = judge(RECORDS, trial.sandbox, trial.folder / "x.ledger")
    assert verdict.broken == {}, row
    assert verdict.interrupted + verdict.ambiguous == row.outcomes.get("in_doubt", 0), row
    assert verdict.delivered == len(RECORDS) - sum(row.outcomes.values()), row


def expect_no_secret(trial: Trial) -> None:
    """Expect the token nowhere, and an e-mail address in the archive and in dead letters only."""
    assert CANARY not in trial.shown
    assert EMAIL not in trial.shown
    files = {file for file in trial.folder.rglob("*") if file.is_file()}
    files -= {trial.folder / "settings.yaml", trial.folder / "events.ndjson"}
    assert {"0.json", "log", "x.ledger"} <= {file.name for file in files} | {"log"}
    assert not [file for file in files if CANARY.encode() in file.read_bytes()]
    assert not [f for f in files if EMAIL.encode() in f.read_bytes() and f.parent.name != "dead-letters"]
