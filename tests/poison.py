"""Gives lines of 10 MiB that are meant to do harm to every command, and prints what it took and how fast it stops.

    python tests/poison.py [--program FILE] [--commands WORD ...] [--lines WORD ...]

For each line and command: the peak of resident memory, how long it ran, how it ended, and the time from SIGINT, sent
while it was running, to the end of the process. Exit 1 if a promise was broken.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from support.poison_lines import LINES, MOST

from voucherify_sync.sandbox import Sandbox

PEAK_MB = 200
STOP_S = 2.0
LONGEST_S = 20.0
"""A command that runs for so long gets its SIGINT then."""
_TOO_SHORT_S = 0.5  # it is through before there is something to stop

PROGRAM = Path(sys.executable).with_name("voucherify-sync")

SETTINGS = {
    "rows.yaml": """\
identify: {mapping: {traits: customer, traits.*: customer.metadata.*}}
track: {mapping: {properties: metadata, properties.email: customer.email, messageId: metadata.id}}
""",
    "spare.yaml": """\
identify: {unmapped_traits: metadata}
track: {unmapped_properties: metadata, events_filter: ['*e*e*', 'E']}
""",
    "live.yaml": """\
api: {url: URL, key: sandbox-poison, token: any}
identify: {mapping: {traits: customer, traits.*: customer.metadata.*}}
track: {mapping: {properties: metadata, properties.email: customer.email, messageId: metadata.id}}
delivery: {on_doubt: hold}
""",
    "tests.yaml": """\
identify: {mapping: {traits.*: customer.metadata.*}}
track: {mapping: {properties: metadata}}
tests: [{name: poison, event: FILE:1, expect: {method: GET, path: none, body: {a: 1}}}]
""",
}

_LEDGER = "--ledger x.ledger --new-ledger"
COMMANDS = {
    "dry run": "replay --dry-run {file}",
    "dry run, rows": "replay --dry-run --verbose -c rows.yaml {file}",
    "dry run, spare": "replay --dry-run --report r.html -c spare.yaml {file}",
    "dry run, bulk": "replay --dry-run --bulk -c rows.yaml {file}",
    "live": f"replay --yes {_LEDGER} -c live.yaml {{file}}",
    "live, bulk": f"replay --yes --bulk {_LEDGER} -c live.yaml {{file}}",
    "plan": "plan -c rows.yaml {file}",
    "explain": "explain -c rows.yaml {file}",
    "explain, JSON": "explain --json -c spare.yaml {file}",
    "explain, none": "explain --user nobody {file}",
    "coverage": "coverage {file}",
    "coverage, JSON": "coverage --json -c rows.yaml {file}",
    "check": "check --junit j.xml -c tests.yaml",
    "init": "init new.yaml --from {file}",
}

_WATCHED = """
import json, os, signal, subprocess, sys, threading, time
at, words = float(sys.argv[1]), sys.argv[2:]
signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell in the background has it ignored, by what it starts, too
begun, sent = time.monotonic(), []
def interrupt():
    sent.append(time.monotonic())
    process.send_signal(signal.SIGINT)
with open("err", "wb") as err:
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=err)
timer = threading.Timer(at, interrupt)
timer.daemon = True
timer.start()
_, status, usage = os.wait4(process.pid, 0)
ended = time.monotonic()
print(json.dumps([usage.ru_maxrss * 1024 / 1e6, ended - begun, os.waitstatus_to_exitcode(status),
                  ended - sent[0] if sent else None]))
"""
"""Runs a command and sends it SIGINT after some seconds. It is small, as a process begins with its parent's peak."""


@dataclass(frozen=True)
class Ended:
    """How one command ended.

    Attributes:
        peak_mb: of resident memory, in MB of 1,000,000 bytes.
        wall_s: from start to end.
        code: of the process; negative for a signal.
        stop_s: from SIGINT to the end; None if it ended before.
        said: its stderr.
    """

    peak_mb: float
    wall_s: float
    code: int
    stop_s: float | None
    said: str


def watched(words: Sequence[str], folder: Path, interrupt_after_s: float) -> Ended:
    """Run a command in a folder, which takes its files and its state."""
    env = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "XDG_STATE_HOME": str(folder), "COLUMNS": "100"}
    told = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _WATCHED, str(interrupt_after_s), *words],
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        check=True,
    )
    peak_mb, wall_s, code, stop_s = json.loads(told.stdout)
    return Ended(peak_mb, wall_s, code, stop_s, (folder / "err").read_text(errors="replace"))


def prepared(folder: Path, line: bytes, url: str) -> Path:
    """Write the line into a file, and settings beside it; return the file."""
    file = folder / "poison.ndjson"
    file.write_bytes(line + b"\n")
    for name, text in SETTINGS.items():
        (folder / name).write_text(text.replace("FILE", file.name).replace("URL", url))
    for made in ("new.yaml", "x.ledger", "x.ledger-wal", "x.ledger-shm"):
        (folder / made).unlink(missing_ok=True)
    return file


def words_of(command: str, program: Path, file: Path) -> list[str]:
    """Return the words that start one of the COMMANDS."""
    return [str(program), *COMMANDS[command].format(file=file.name).split()]


def attempt(command: str, program: Path, folder: Path, line: bytes, url: str) -> Ended:
    """Run a command once to its end, and if that takes some time, once more to stop it half way."""
    file = prepared(folder, line, url)
    whole = watched(words_of(command, program, file), folder, LONGEST_S)
    if whole.stop_s is not None or whole.wall_s < _TOO_SHORT_S:
        return whole
    prepared(folder, line, url)
    stopped = watched(words_of(command, program, file), folder, whole.wall_s / 2)
    return Ended(max(whole.peak_mb, stopped.peak_mb), whole.wall_s, whole.code, stopped.stop_s, whole.said)


def breaches(ended: Ended) -> Iterator[str]:
    """Yield the promises that a command broke."""
    if "Traceback" in ended.said or ended.code in (1, -9) or ended.code < -2:
        yield "RAISED"
    if ended.peak_mb > PEAK_MB:
        yield "MEMORY"
    if ended.stop_s is not None and ended.stop_s > STOP_S:
        yield "STOP"


def main() -> int:
    """Try all that is asked for and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--program", type=Path, default=PROGRAM, help="the installed command")
    parser.add_argument("--commands", nargs="*", default=[], help="only those whose name contains a word")
    parser.add_argument("--lines", nargs="*", default=[], help="only those whose name contains a word")
    asked = parser.parse_args()
    broken = False
    print(f"{'line':34} {'command':16} {'peak MB':>7} {'ran s':>6} {'code':>4} {'stop s':>6}")
    for name, build in LINES.items():
        if asked.lines and not any(word in name for word in asked.lines):
            continue
        line = build(MOST)
        for command in COMMANDS:
            if asked.commands and not any(word in command for word in asked.commands):
                continue
            with tempfile.TemporaryDirectory(prefix="poison-") as folder, Sandbox() as sandbox:
                ended = attempt(command, asked.program, Path(folder), line, sandbox.url)
            found = list(breaches(ended))
            broken = broken or bool(found)
            stop = "" if ended.stop_s is None else f"{ended.stop_s:.2f}"
            print(
                f"{name:34} {command:16} {ended.peak_mb:7.0f} {ended.wall_s:6.1f} {ended.code:4} {stop:>6}  "
                + " ".join(found),
                flush=True,
            )
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())
