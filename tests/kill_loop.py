"""Kills replays at random until their archives are through, and holds the ledger against what was processed.

    python tests/kill_loop.py --kills 1000 --seed 1

A replay against a stand-in that misanswers about 15 % of the requests is started, killed, and started again, until it
ends by itself; then the next archive follows, until there were so many kills. Exit 1 if a promise was broken.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from support.cli import start_forked
from support.evidence import (
    Verdict,
    ambiguous_answers,
    breaches_of_the_law,
    judge,
    make_records,
    write_archive,
    write_settings,
)
from support.forked_cli import RunningCommand
from support.ledger_parts import make_ledger
from support.waiting import outlives

from voucherify_sync.sandbox import Fault, FaultScript, Sandbox, SandboxOptions

FAULTS = (
    "POST /v1/events drop before 2%",
    "POST /v1/events drop after 2%",
    "POST /v1/events reset after 2%",
    "POST /v1/events status 500 before 2%",
    "POST /v1/events status 502 after 2%",
    "POST /v1/events cut_body 2%",
    "POST /v1/events cut_header 1%",
    "POST /v1/events html 1%",
    "POST /v1/events throttle 1% retry_after=1",
    "POST /v1/customers* drop before 3%",
    "POST /v1/customers* drop after 3%",
    "POST /v1/customers* reset after 3%",
    "POST /v1/customers* status 500 before 3%",
    "POST /v1/customers* cut_body 3%",
)
STARTING_S = 0.1
"""A run that makes no call for so long may be killed, too: one kill in five comes while it starts."""
WORKERS = 4
MOST_RUNS = 400
"""An archive that takes more is not getting anywhere."""


@dataclass(frozen=True)
class Plan:
    """What one loop does.

    Attributes:
        kills: at least so many.
        seed: of archives, faults and times.
        spread_s: a run lives so long at most after its first call.
        records: of each archive.
        customers: of each archive.
        signal: what ends a run.
        on_doubt: of all runs; resend doubles what had arrived, and accept loses what had not.
        bulk: customers go in bulk.
    """

    kills: int
    seed: int = 1
    spread_s: float = 1.5
    records: int = 3_000
    customers: int = 300
    signal: signal.Signals = signal.SIGKILL
    on_doubt: str = "hold"
    bulk: bool = False


@dataclass
class Figures:
    """What a loop found, over all archives."""

    kills: int = 0
    runs: int = 0
    archives: int = 0
    calls: int = 0
    faulted: int = 0
    records: int = 0
    found: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)

    def add(self, verdict: Verdict, sandbox: Sandbox, kills: int, interrupted_at_most: int) -> None:
        """Take in how one archive ended."""
        self.archives += 1
        self.kills += kills
        self.calls += sandbox.call_log.calls
        self.faulted += sum(call.fault is not None for call in sandbox.call_log.answered)
        self.found.update(verdict._asdict())
        self.broken += [f"{name}: {count}" for name, count in verdict.broken.items()]
        if verdict.interrupted > interrupted_at_most:
            self.broken.append(f"{verdict.interrupted} in doubt after {kills} kills")
        if verdict.ambiguous > ambiguous_answers(sandbox):
            self.broken.append(f"{verdict.ambiguous} in doubt by {ambiguous_answers(sandbox)} lost answers")

    def __str__(self) -> str:
        """Say it in one paragraph."""
        share = 100 * self.faulted / max(self.calls, 1)
        found = ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in self.found.items())
        return (
            f"{self.kills:,} kills in {self.runs:,} runs over {self.archives} archives of {self.records:,} records; "
            f"{self.calls:,} calls, {share:.1f} % of them faulted: {found}. "
            f"{'; '.join(self.broken) or 'All promises kept.'}"
        )


class Loop:
    """One archive, replayed and killed until it is through.

    Args:
        folder: an empty one.
        plan: what is done.
        chance: of everything but the faults.
    """

    def __init__(self, folder: Path, plan: Plan, chance: random.Random, sandbox: Sandbox) -> None:
        self.runs = 0
        self.kills = 0
        self.broken: list[str] = []
        self.records = make_records(plan.records, plan.customers, chance)
        self.ledger = make_ledger(folder / "project.ledger", sandbox.url, "app")
        self._folder = folder
        self._plan = plan
        self._chance = chance
        self._sandbox = sandbox
        self._archive = write_archive(folder / "events.ndjson", self.records)
        self._settings = write_settings(folder / "settings.yaml", sandbox, WORKERS)

    def run(self) -> None:
        """Replay until a run ends by itself."""
        while self._run_once():
            if self.runs == MOST_RUNS:
                self.broken.append(f"not through after {MOST_RUNS} runs")
                return

    def _run_once(self) -> bool:
        """Run once; tell whether it was ended."""
        self.runs += 1
        report, errors = self._folder / f"{self.runs}.json", self._folder / f"{self.runs}.err"
        calls = self._sandbox.call_log.calls
        process = start_forked(self._words(report), self._folder, errors)
        if self._await_moment(process):
            process.send_signal(self._plan.signal)
        code = process.wait(60)
        has_begun = report.exists() or self._sandbox.call_log.calls > calls
        self._check(code, report, errors.read_text(), has_begun=has_begun)
        killed = code in {-self._plan.signal, 128 + self._plan.signal}
        self.kills += killed
        return killed

    def _words(self, report: Path) -> list[str]:
        options = ["-c", self._settings, "--ledger", self.ledger, "--report", report]
        return [
            "replay",
            "--yes",
            "--on-doubt",
            self._plan.on_doubt,
            *(["--bulk"] if self._plan.bulk else []),
            *map(str, options),
            str(self._archive),
        ]

    def _await_moment(self, process: RunningCommand) -> bool:
        """Wait for the moment to end it; tell whether it is still running then."""
        if self._chance.random() < 0.2:
            return outlives(process, self._chance.uniform(0, STARTING_S))
        calls = self._sandbox.call_log.calls
        while self._sandbox.call_log.calls == calls:
            if not outlives(process, 0.005):
                return False
        return outlives(process, self._chance.uniform(0, self._plan.spread_s))

    def _check(self, code: int, report: Path, errors: str, *, has_begun: bool) -> None:
        if "Traceback" in errors:
            self.broken.append(f"run {self.runs}: {errors}")
        if code == -self._plan.signal or (code == 128 + self._plan.signal and not has_begun):
            return
        if code not in {0, 3, 128 + self._plan.signal}:
            self.broken.append(f"run {self.runs} ended with {code}: {errors}")
        else:
            self.broken += breaches_of_the_law(json.loads(report.read_text()))


def run_loop(plan: Plan, folder: Path, tell: Callable[[str], object] = lambda _: None) -> Figures:
    """Go through archives until there were so many kills."""
    chance = random.Random(plan.seed)
    figures = Figures(records=plan.records)
    while figures.kills < plan.kills:
        place = folder / str(figures.archives)
        place.mkdir()
        faults = FaultScript(map(Fault.parse, FAULTS), seed=chance.getrandbits(32))
        with Sandbox(SandboxOptions(keep=None, latency_s=0.005), faults) as sandbox:
            loop = Loop(place, plan, chance, sandbox)
            loop.run()
            # In bulk an update that is folded into a later one is never sent by itself.
            judged = [record for record in loop.records if record.type == "track" or not plan.bulk]
            verdict = judge(judged, sandbox, loop.ledger)
            lanes = WORKERS * loop.kills if plan.signal == signal.SIGKILL else 0
            figures.add(verdict, sandbox, loop.kills, lanes)
        figures.runs += loop.runs
        figures.broken += loop.broken
        tell(str(figures))
    return figures


def main() -> int:
    """Run a loop and print its figures."""
    parser = argparse.ArgumentParser(description="Kill replays at random; nothing may be lost or doubled.")
    parser.add_argument("--kills", type=int, default=1_000, metavar="N")
    parser.add_argument("--seed", type=int, default=1, metavar="S")
    parser.add_argument("--spread", type=float, default=1.5, metavar="SECONDS", help="longest life of a run")
    parser.add_argument("--records", type=int, default=3_000, metavar="N", help="of each archive")
    parser.add_argument("--term", action="store_true", help="SIGTERM instead of SIGKILL")
    parser.add_argument("--bulk", action="store_true", help="customers go in bulk")
    parser.add_argument("--on-doubt", choices=["verify", "hold", "resend"], default="hold")
    options = parser.parse_args()
    ending = signal.SIGTERM if options.term else signal.SIGKILL
    plan = Plan(
        options.kills,
        options.seed,
        options.spread,
        options.records,
        options.records // 10,
        ending,
        options.on_doubt,
        options.bulk,
    )
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        figures = run_loop(plan, Path(folder), print)
    print(f"{time.monotonic() - began:.0f} s.")
    return 1 if figures.broken else 0


if __name__ == "__main__":
    sys.exit(main())
