"""The installed command, run in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.forked_cli import RunningCommand, forking_server

_NO_FILE = ("closed", "unread")


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The JSON objects of its stdout."""
        return [json.loads(line) for line in self.out.splitlines()]


def environment(home: Path, state: Path) -> dict[str, str]:
    """Return the variables of a command that finds no settings of whoever runs the tests."""
    keep = {name: value for name, value in os.environ.items() if not name.startswith("VOUCHERIFY")}
    return {**keep, "HOME": str(home), "XDG_STATE_HOME": str(state)}


def start_forked(
    words: Sequence[str], folder: Path, errors: Path, stdin: Path = Path(os.devnull), **more: Any
) -> RunningCommand:
    """Start the command in a folder that is its home, too, and leave it running; its interpreter was started before.

    Args:
        words: its arguments.
        folder: of its files and its state.
        errors: takes its stderr; its stdout is that of the tests.
        stdin: its input.
        more: of the request (`ForkingServer.start`).
    """
    env = environment(folder, folder)
    request = {"words": words, "cwd": str(folder), "env": env, "constants": {}, "streams": {}, **more}
    written = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    return forking_server().start(request, [os.open(stdin, os.O_RDONLY), os.dup(1), written])


class Cli:
    """The installed command, in a process, a home and a working directory of its own.

    Attributes:
        constants: of modules, to be set in what is run to its end: path -> value. Only for sizes, and for pauses that
            tests wait for.
        before: statements of Python that change the process of what is run to its end.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.env = {**environment(folder, self.state), "COLUMNS": "100"}
        self.constants: dict[str, Any] = {}
        self.before = ""

    def command(self, *args: str | Path) -> list[str]:
        """Return the words that start it."""
        return [str(Path(sys.executable).with_name("voucherify-sync")), *map(str, args)]

    def start(self, *args: str | Path, **options: Any) -> subprocess.Popen[bytes]:
        """Start it and leave it running."""
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(self.command(*args), cwd=self.folder, env=self.env, **{**pipes, **options})

    def __call__(
        self,
        *args: str | Path,
        stdin: str | bytes = b"",
        env: Mapping[str, str] | None = None,
        streams: Mapping[int, str] | None = None,
    ) -> Ended:
        """Run it to its end; its interpreter has been started before, with the constants that a test sets.

        Args:
            args: its words.
            stdin: its input, through a pipe.
            env: variables beside those of all commands.
            streams: descriptor -> what stands there in place of a pipe: ``closed``, ``unread`` (a pipe whose reader
                has gone), or a path to read from or to add to.
        """
        request = {
            "words": list(map(str, args)),
            "cwd": str(self.folder),
            "env": {**self.env, **(env or {})},
            "constants": self.constants,
            "before": self.before,
            "streams": {
                number: str(self.folder / kind) if kind not in _NO_FILE else kind
                for number, kind in (streams or {}).items()
            },
        }
        data = stdin.encode() if isinstance(stdin, str) else stdin
        code, out, err = forking_server().run(request, data, timeout_s=120)
        return Ended(code, out.decode(), err.decode())
