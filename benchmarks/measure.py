"""Runs commands as whole processes, reads what the operating system booked for them, and keeps the results."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

_SET_CHILD_SUBREAPER = 36
"""Of Linux: processes whose parents end become children of this one, so that what they took can be asked for."""

RESULTS = Path(__file__).with_name("results")
"""What the scripts printed last, as JSON: docs and README quote from there."""

COMMAND = [str(Path(sys.executable).with_name("voucherify-sync"))]
"""The installed command of the environment that runs the benchmark."""


class Cost(NamedTuple):
    """What one process took.

    Attributes:
        cpu_s: user and system seconds of it and of all processes that it started, however far away.
        wall_s: seconds from start to end.
        peak_mb: largest resident memory of one of them, in MB of 1,000,000 bytes.
        exit_code: of the process.
        stderr: what it said.
    """

    cpu_s: float
    wall_s: float
    peak_mb: float
    exit_code: int
    stderr: str


def run(command: Sequence[str], *, stdin: Path | None = None, stdout: Path | None = None) -> Cost:
    """Run a command to its end; its output goes to a file or nowhere."""
    ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    begin = time.monotonic()
    with (
        open(stdin or os.devnull, "rb") as source,
        open(stdout or os.devnull, "wb") as sink,
        subprocess.Popen(command, stdin=source, stdout=sink, stderr=subprocess.PIPE) as process,
    ):
        assert process.stderr is not None
        said = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    wall_s = time.monotonic() - begin
    usages = [usage, *_usages_of_the_rest()]
    return Cost(
        cpu_s=sum(each.ru_utime + each.ru_stime for each in usages),
        wall_s=wall_s,
        peak_mb=max(each.ru_maxrss for each in usages) * 1024 / 1e6,
        exit_code=process.returncode,
        stderr=said.decode(errors="replace"),
    )


def _usages_of_the_rest() -> Iterator[resource.struct_rusage]:
    """Yield what the processes took that a command has left behind, once they have ended."""
    while True:
        try:
            yield os.wait3(0)[2]
        except ChildProcessError:
            return


def machine() -> str:
    """Name the machine and the interpreter."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    processor = next(iter(names), platform.processor())
    return f"{os.cpu_count()} cores of {processor}, {platform.system()}, Python {platform.python_version()}"


def version_of(*command: str) -> str:
    """Return the first line that a program says of its version."""
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    return (said.stdout or said.stderr).partition("\n")[0].strip()


def save(name: str, results: dict[str, Any]) -> None:
    """Keep what a script has measured."""
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps({"machine": machine(), **results}, indent=1)
    (RESULTS / f"{name}.json").write_text(f"{text}\n")
