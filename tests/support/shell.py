"""A real shell, which finds the command line on its PATH."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from support.forked_cli import program_folder


def run_in_shell(
    command: str,
    cwd: Path,
    env: Mapping[str, str],
    stdin: bytes = b"",
    shell: Sequence[str] = ("sh", "-c"),
) -> subprocess.CompletedProcess[str]:
    """Run a command as a user pastes it, whatever its exit code; `voucherify-sync` in it is as quick as a fork."""
    path = os.pathsep.join([str(program_folder()), env["PATH"]])
    return subprocess.run(
        [*shell, command],
        cwd=cwd,
        env={**env, "PATH": path},
        input=stdin.decode(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
