"""Waits for what other threads and processes bring about, however busy the machine is."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from typing import TypeVar

from support.forked_cli import RunningCommand

HANG_S = 60.0
"""After so long a test gives up: only what hangs takes that long, and what must not be waited for takes longer."""


Found = TypeVar("Found")


def wait_until(look: Callable[[], Found]) -> Found:
    """Look until there is something, and return it; fail where it never comes to that."""
    end = time.monotonic() + HANG_S
    while not (found := look()):
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.005)
    return found


def outlives(process: RunningCommand | subprocess.Popen[bytes], seconds: float) -> bool:
    """Wait so long for the end of a process; tell whether it is still running."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return True
    return False
