"""What all tests share: no sockets beyond loopback, the corpora if at hand, and the command line."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from forked_cli import forking_server

from voucherify_sync.sandbox.options import SandboxOptions
from voucherify_sync.sandbox.server import Sandbox

_NO_FILE = ("closed", "unread")

LOOPBACK = {"127.0.0.1", "::1", "localhost"}


@pytest.fixture(autouse=True)
def only_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every connection that would leave this machine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> Any:
        if isinstance(address, tuple) and address[0] not in LOOPBACK:
            raise AssertionError(f"a test tried to reach {address[0]}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(scope="session")
def corpora() -> Path:
    """Return the folder of public events with the oddities of the wild; skip the test where it is not at hand."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "corpora"
    if not folder.is_dir():
        pytest.skip("the corpora are not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def openapi() -> Path:
    """Return the published schema of the API; skip the test where it is not at hand."""
    file = Path(__file__).resolve().parents[2] / "shared" / "reference" / "voucherify-openapi.json"
    if not file.is_file():
        pytest.skip("the published schema is not beside this checkout")
    return file


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


class Cli:
    """The installed command, in a process, a home and a working directory of its own.

    Attributes:
        constants: of modules, to be set in what is run to its end: path -> value. Only for sizes, and for pauses that
            tests wait for.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        keep = {name: value for name, value in os.environ.items() if not name.startswith("VOUCHERIFY")}
        self.env = {**keep, "HOME": str(folder), "XDG_STATE_HOME": str(self.state), "COLUMNS": "100"}
        self.constants: dict[str, Any] = {}

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
            "streams": {
                number: str(self.folder / kind) if kind not in _NO_FILE else kind
                for number, kind in (streams or {}).items()
            },
        }
        data = stdin.encode() if isinstance(stdin, str) else stdin
        code, out, err = forking_server().run(request, data, timeout_s=120)
        return Ended(code, out.decode(), err.decode())


@pytest.fixture
def run_cli(tmp_path: Path) -> Cli:
    """Return the command line, to be called with its arguments."""
    return Cli(tmp_path)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """Run a stand-in for the API that keeps all that it processes."""
    with Sandbox(SandboxOptions(keep=None)) as server:
        yield server


@pytest.fixture(scope="session")
def samples() -> Path:
    """Return the folder of sample events."""
    return Path(__file__).resolve().parents[1] / "sample_events"
