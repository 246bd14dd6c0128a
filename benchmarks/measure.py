"""Runs commands as whole processes and reads what the operating system booked for them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

COMMAND = [str(Path(sys.executable).with_name("voucherify-sync"))]
"""The installed command of the environment that runs the benchmark."""


class Cost(NamedTuple):
    """What one process took.

    Attributes:
        cpu_s: user and system seconds, children included.
        wall_s: seconds from start to end.
        peak_mb: largest resident memory, in MB of 1,000,000 bytes.
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
    return Cost(
        cpu_s=usage.ru_utime + usage.ru_stime,
        wall_s=time.monotonic() - begin,
        peak_mb=usage.ru_maxrss * 1024 / 1e6,
        exit_code=process.returncode,
        stderr=said.decode(errors="replace"),
    )
