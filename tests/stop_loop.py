"""Stops replays in order, in all the ways there are, and holds the ledger against what was processed.

    python tests/stop_loop.py --stops 1000 --seed 1
    python tests/stop_loop.py --program /elsewhere/bin/voucherify-sync   # another version, with its own long pauses

A replay against a stand-in that misanswers 12 to 15 % of the requests is stopped and started again, until it ends by
itself; then the next archive follows, in another mode, until there were so many stops. Its pauses are shortened
(`stopped_replay`), and at each stop it says which custom events were without an answer and what they waited for: those
that the stand-in had processed are counted. Exit 1 if a promise was broken.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from math import inf
from pathlib import Path

from support.cli import environment, start_forked
from support.evidence import (
    Record,
    ambiguous_answers,
    breaches_of_the_law,
    judge,
    make_records,
    refused_resends,
    write_archive,
    write_settings,
)
from support.forked_cli import RunningCommand
from support.waiting import outlives

from voucherify_sync.outcomes import State
from voucherify_sync.sandbox import Fault, FaultScript, Sandbox, SandboxOptions
from voucherify_sync.state.ledger_reader import LedgerReader

FAULTS = (
    "POST /v1/events drop before 1%",
    "POST /v1/events drop after 3%",
    "POST /v1/events reset after 2%",
    "POST /v1/events status 502 after 2%",
    "POST /v1/events cut_body 2%",
    "POST /v1/events cut_header 1%",
    "POST /v1/events html after 1%",
    "POST /v1/events status 400 before 1%",
    "POST /v1/events throttle 1% retry_after=1",
    "POST /v1/customers* drop after 4%",
    "POST /v1/customers* reset after 2%",
    "POST /v1/customers* status 500 before 4%",
    "POST /v1/customers* cut_body 3%",
    "GET * drop before 6%",
    "GET * status 500 before 6%",
)
OUTAGE = "POST /v1/events drop after #{first}-{last}"
REFUSALS = {
    "401": Fault.parse("* * status 401"),
    "402": Fault.parse("* * status 402"),
    "403": Fault.parse("* * status 403"),
    "used-up cycle": Fault.parse("* * throttle type=api_calls_cycle"),
}
SIGNALS = {"SIGINT": signal.SIGINT, "SIGTERM": signal.SIGTERM, "SIGHUP": signal.SIGHUP}
CODES = {
    **{name: 128 + number for name, number in SIGNALS.items()},
    **dict.fromkeys(("401", "402", "403"), 5),
    **dict.fromkeys(("used-up cycle", "--max-duration", "--max-calls", "--max-errors", "full disk"), 4),
    "source": 2,
    "bug": 1,
}
"""Each way of stopping, and the exit code that belongs to it."""
MODES = ("each", "bulk", "stdin", "gz", "retry")
WORKERS = 8
MOST_RUNS = 200
"""An archive that takes more is not getting anywhere."""
_PATIENCE_S = 1_200
"""A run ends by then, also one of a program with long pauses."""
_NO_ARCHIVE = b"PK\x03\x04 this is no archive of events"


@dataclass(frozen=True)
class Plan:
    """What one archive is put through.

    Attributes:
        seed: of archive, faults and times.
        mode: how it is replayed.
        on_doubt: of all runs.
        records: in the archive.
        customers: in the archive.
        spread_s: a run is stopped so long after its first call at most.
        rate: the `--rate` of every run; None for none.
        outage: first and last of the custom events that meet an outage.
        program: another version, which takes its own pauses.
        most_stops: enough for this archive.
        stop_s: a stop may take so long.
    """

    seed: int
    mode: str
    on_doubt: str
    records: int = 500
    customers: int = 60
    spread_s: float = 1.5
    rate: str | None = None
    outage: tuple[int, int] | None = None
    program: Path | None = None
    most_stops: int = 1_000
    stop_s: float = 8.0


@dataclass
class Figures:
    """What was found, over all archives.

    Attributes:
        stops: by kind.
        met: stops that found a custom event processed, its answer lost and not looked up yet: by kind.
        waits: those custom events, by kind of stop and pause.
        slowest_s: from a signal to the end of the process, at most.
        found: by the names of `Verdict`.
        broken: promises.
    """

    archives: int = 0
    runs: int = 0
    calls: int = 0
    faulted: int = 0
    stops: Counter[str] = field(default_factory=Counter)
    met: Counter[str] = field(default_factory=Counter)
    waits: Counter[tuple[str, str]] = field(default_factory=Counter)
    slowest_s: float = 0.0
    found: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)

    def add(self, other: Figures) -> None:
        """Take in the figures of other archives."""
        for name in ("archives", "runs", "calls", "faulted"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("stops", "met", "waits", "found"):
            getattr(self, name).update(getattr(other, name))
        self.slowest_s = max(self.slowest_s, other.slowest_s)
        self.broken += other.broken

    def __str__(self) -> str:
        """Say it in one paragraph and two tables."""
        share = 100 * self.faulted / max(self.calls, 1)
        found = ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in self.found.items())
        said = (
            f"{self.stops.total():,} stops in {self.runs:,} runs over {self.archives:,} archives; "
            f"{self.calls:,} calls, {share:.1f} % of them faulted; {self.met.total():,} stops met a custom event that "
            f"was processed, its answer lost and not looked up yet. {found}. "
            f"Slowest stop {self.slowest_s:.1f} s. "
            f"{'; '.join(dict.fromkeys(self.broken)) or 'All promises kept.'}"
        )
        lines = [said]
        pauses = sorted({pause for _, pause in self.waits})
        head = ("stop", "stops", "met", *pauses)
        rows = [
            (kind, self.stops[kind], self.met[kind], *(self.waits[kind, pause] for pause in pauses))
            for kind in CODES
        ]
        for row in (head, *rows):
            lines.append("  ".join(f"{cell!s:>14}" for cell in row))
        return "\n".join(lines)


class SwitchedFaults(FaultScript):
    """Faults at random, or one that every call meets, while it is set."""

    refusal: Fault | None = None
    refused = 0

    def choose(self, method: str, path: str) -> Fault | None:
        """Return the fault that this call meets, if any."""
        if self.refusal is None:
            return super().choose(method, path)
        self.refused += 1
        return self.refusal


class Loop:
    """One archive, replayed and stopped until it is through.

    Args:
        folder: an empty one.
        plan: what is done.
    """

    def __init__(self, folder: Path, plan: Plan, sandbox: Sandbox, faults: SwitchedFaults) -> None:
        self.figures = Figures(archives=1)
        self._chance = random.Random(plan.seed)
        self._folder, self._plan, self._sandbox, self._faults = folder, plan, sandbox, faults
        self._records = make_records(plan.records, plan.customers, self._chance)
        self._by_id = {record.message_id: record for record in self._records}
        self._archive = write_archive(folder / "events.ndjson", self._records)
        if plan.mode == "gz":
            packed = folder / "events.ndjson.gz"
            packed.write_bytes(gzip.compress(self._archive.read_bytes()))
            self._archive = packed
        self._settings = write_settings(folder / "settings.yaml", sandbox, WORKERS)
        self._ledger = folder / "project.ledger"

    def run(self) -> Figures:
        """Replay until a run ends by itself."""
        while self._run_once():
            if self.figures.runs == MOST_RUNS:
                self._break(f"not through after {MOST_RUNS} runs")
                break
        self._judge()
        return self.figures

    def _break(self, promise: str) -> None:
        self.figures.broken.append(f"{promise} ({self._plan.mode}, seed {self._plan.seed})")

    def _run_once(self) -> bool:
        """Run once; tell whether there is more to do."""
        figures, chance = self.figures, self._chance
        figures.runs += 1
        command = chance.choice(["replay", "retry"]) if self._can_retry() else "replay"
        kinds = [kind for kind in CODES if self._can_stop_by(kind, command)]
        enough = figures.stops.total() >= self._plan.most_stops
        kind = None if enough else chance.choice(kinds)
        run = _Run(self._folder / str(figures.runs), self._command(command), kind)
        code, errors, took_s = self._carry_out(run)
        if kind is not None and code == CODES[kind]:
            figures.stops[kind] += 1
            if kind in SIGNALS:
                figures.slowest_s = max(figures.slowest_s, took_s)
                if took_s > self._plan.stop_s and self._plan.program is None:
                    self._break(f"{kind} took {took_s:.1f} s")
            self._look_at_notes(run, kind)
        elif kind in SIGNALS and code == -SIGNALS[kind] and run.report.exists():
            return True  # it came when the run was over, its report was written and only the process was left
        elif code not in (0, 3):
            self._break(f"a {command} that was to stop by {kind} ended with {code}: {errors}")
        if "Traceback" in errors and kind != "bug":
            self._break(errors)
        if run.report.exists() and run.report.stat().st_size:
            for breach in breaches_of_the_law(json.loads(run.report.read_text())):
                self._break(breach)
        return command == "retry" or code not in (0, 3)

    def _can_retry(self) -> bool:
        return self._plan.mode == "retry" and self._ledger.exists()

    def _can_stop_by(self, kind: str, command: str) -> bool:
        match kind:
            case "source":
                return command == "replay" and self._plan.mode == "each"
            case "bug":
                return self._plan.program is None
            case _:
                return True

    def _command(self, command: str) -> list[str]:
        words = ["--yes", "--on-doubt", self._plan.on_doubt, "-c", str(self._settings)]
        words += ["--ledger", str(self._ledger)]
        words += [] if self._ledger.exists() else ["--new-ledger"]
        if self._plan.rate is not None:
            words += ["--rate", self._plan.rate]
        if self._plan.mode == "bulk":
            words.append("--bulk")
        if command == "replay":
            words.append("-" if self._plan.mode == "stdin" else str(self._archive))
        return [command, *words]

    def _carry_out(self, run: _Run) -> tuple[int, str, float]:
        """Start a run, stop it, and wait for its end; return exit code, stderr, and the seconds that the stop took."""
        chance, plan = self._chance, self._plan
        bug_after, size = 0, None
        match run.kind:
            case "--max-duration":
                run.words += ["--max-duration", f"{chance.uniform(0.3, 0.3 + plan.spread_s):.2f}s"]
            case "--max-calls":
                run.words += ["--max-calls", str(chance.randint(5, 150))]
            case "--max-errors":
                run.words += ["--max-errors", str(chance.randint(1, 3))]
            case "bug":
                bug_after = chance.randint(1, 150)
            case "full disk":
                held = self._ledger.stat().st_size if self._ledger.exists() else 0
                size = held + chance.randint(100_000, 400_000)
            case "source":
                run.fifo = self._folder / f"{self.figures.runs}.fifo"
                os.mkfifo(run.fifo)
                run.words.append(str(run.fifo))
        process = self._start(run, bug_after, size)
        try:
            took_s = self._stop(process, run)
        finally:
            self._faults.refusal = None
        return process.wait(), run.errors.read_text(), took_s

    def _start(self, run: _Run, bug_after: int, size: int | None) -> RunningCommand | subprocess.Popen[bytes]:
        words = [*run.words, "--report", str(run.report)]
        stdin = self._archive if self._plan.mode == "stdin" else Path(os.devnull)
        if self._plan.program is None:
            script = Path(__file__).with_name("stopped_replay.py")
            words = [str(run.notes), str(bug_after), *words]
            return start_forked(words, self._folder, run.errors, stdin, script=str(script), file_size=size)
        with run.errors.open("wb") as stderr, stdin.open("rb") as source:
            return subprocess.Popen(
                [self._plan.program, *words],
                env=environment(self._folder, self._folder),
                stdin=source,
                stderr=stderr,
                preexec_fn=partial(_prepare, size),
            )

    def _stop(self, process: RunningCommand | subprocess.Popen[bytes], run: _Run) -> float:
        """Wait for the moment, do what stops the run, and wait for its end; return the seconds that took."""
        moment = self._chance.uniform(0, self._plan.spread_s)
        if run.kind in SIGNALS or run.kind in REFUSALS or run.kind == "source":
            calls = self._sandbox.call_log.calls
            while self._sandbox.call_log.calls == calls and outlives(process, 0.005):
                pass
            if outlives(process, moment):
                self._do(run, process)
        began = time.monotonic()
        process.wait(_PATIENCE_S)
        return time.monotonic() - began

    def _do(self, run: _Run, process: RunningCommand | subprocess.Popen[bytes]) -> None:
        if run.kind in SIGNALS:
            process.send_signal(SIGNALS[run.kind])
        elif run.kind in REFUSALS:
            self._faults.refusal = REFUSALS[run.kind]
        elif run.fifo is not None:
            descriptor = os.open(run.fifo, os.O_RDWR | os.O_NONBLOCK)
            os.write(descriptor, _NO_ARCHIVE)
            process.wait(_PATIENCE_S)
            os.close(descriptor)

    def _look_at_notes(self, run: _Run, kind: str) -> None:
        """Count what the stop met, and hold it against the ledger: what was processed is in doubt, or decided."""
        if not run.notes.exists():
            return
        waits: list[tuple[str, str]] = json.loads(run.notes.read_text())
        processed = {done.metadata["message_id"] for done in self._sandbox.call_log.processed}
        met = [(self._by_id[message_id], pause) for message_id, pause in waits if message_id in processed]
        if not met:
            return
        self.figures.met[kind] += 1
        self.figures.waits.update((kind, pause) for _, pause in met)
        with closing(LedgerReader(self._ledger)) as reader:
            known = reader.look_up([record.key for record, _ in met])
        for (record, pause), entry in zip(met, known, strict=True):
            if entry is None or entry.state not in (State.IN_DOUBT, State.DELIVERED, State.FAILED):
                state = entry and entry.state
                self._break(f"{record.message_id} was sent, waited for {pause}, and is {state} after {kind}")

    def _judge(self) -> None:
        figures, sandbox = self.figures, self._sandbox
        figures.calls += sandbox.call_log.calls - self._faults.refused
        figures.faulted += (
            sum(call.fault is not None for call in sandbox.call_log.answered) - self._faults.refused
        )
        records: list[Record] = self._records
        if self._plan.mode == "bulk":  # an update that is folded into a later one is never sent by itself
            records = [record for record in records if record.type == "track"]
        verdict = judge(records, sandbox, self._ledger)
        figures.found.update(verdict._asdict())
        overtaken, resends = 0.0, self._plan.on_doubt == "resend"
        if self._plan.mode == "retry":
            overtaken = inf  # what failed is sent after what came later
        elif resends:
            overtaken = refused_resends(sandbox, self._ledger)
        for name, count in verdict.broken.items():
            if not ((resends and name == "doubled") or (name == "disordered" and count <= overtaken)):
                self._break(f"{name}: {count}")
        if verdict.ambiguous > ambiguous_answers(sandbox):
            self._break(f"{verdict.ambiguous} in doubt by {ambiguous_answers(sandbox)} lost answers")


@dataclass
class _Run:
    folder: Path
    words: list[str]
    kind: str | None
    fifo: Path | None = None

    def __post_init__(self) -> None:
        self.folder.mkdir()
        self.errors = self.folder / "errors"
        self.report = self.folder / "report.json"
        self.notes = self.folder / "notes.json"


def _prepare(size: int | None) -> None:
    for number in SIGNALS.values():  # a loop in the background ignores some, and its children would
        signal.signal(number, signal.SIG_DFL)
    if size is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def run_archive(plan: Plan) -> Figures:
    """Put one archive through its stops."""
    chance = random.Random(plan.seed)
    texts = list(FAULTS)
    if plan.outage is not None:
        texts.insert(0, OUTAGE.format(first=plan.outage[0], last=plan.outage[1]))
    faults = SwitchedFaults(map(Fault.parse, texts), seed=chance.getrandbits(32))
    options = SandboxOptions(keep=None, latency_s=0.005)
    with tempfile.TemporaryDirectory() as folder, Sandbox(options, faults) as sandbox:
        return Loop(Path(folder), plan, sandbox, faults).run()


def plans(
    seed: int, program: Path | None = None, mode: str | None = None, on_doubt: str | None = None
) -> Callable[[int], Plan]:
    """Return what makes the plan of the n-th archive; without a mode or an `on_doubt` these take turns."""

    def plan(number: int) -> Plan:
        chance = random.Random(f"{seed}/{number}")
        modes = MODES[:4] if program else MODES
        first = chance.randint(20, 120)
        return Plan(
            seed=chance.getrandbits(32),
            mode=mode or modes[number % len(modes)],
            on_doubt=on_doubt or ("hold" if number % 4 == 3 else "verify"),
            rate=chance.choice([None, None, "60/s"]),
            outage=chance.choice([None, (first, first + 12)]),
            program=program,
        )

    return plan


def run_loop(
    stops: int, plan_of: Callable[[int], Plan], jobs: int, tell: Callable[[str], object] = lambda _: None
) -> Figures:
    """Go through archives until there were so many stops."""
    figures, number = Figures(), 0
    with ProcessPoolExecutor(jobs) as pool:
        while figures.stops.total() < stops:
            for result in pool.map(run_archive, [plan_of(number + each) for each in range(jobs)]):
                figures.add(result)
            number += jobs
            tell(str(figures))
    return figures


def main() -> int:
    """Run a loop and print its figures."""
    parser = argparse.ArgumentParser(description="Stop replays in order; nothing may be lost or doubled.")
    parser.add_argument("--stops", type=int, default=1_000, metavar="N")
    parser.add_argument("--seed", type=int, default=1, metavar="S")
    parser.add_argument("--jobs", type=int, default=3, metavar="N", help="archives at a time")
    parser.add_argument("--mode", choices=MODES, help="of all archives")
    parser.add_argument("--on-doubt", choices=["verify", "hold", "resend"], help="of all archives")
    parser.add_argument("--program", type=Path, metavar="FILE", help="another version of voucherify-sync")
    options = parser.parse_args()
    began = time.monotonic()
    tell = partial(print, flush=True)
    plan_of = plans(options.seed, options.program, options.mode, options.on_doubt)
    figures = run_loop(options.stops, plan_of, options.jobs, tell)
    print(f"{time.monotonic() - began:.0f} s.")
    return 1 if figures.broken else 0


if __name__ == "__main__":
    sys.exit(main())
