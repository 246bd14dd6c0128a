"""What all tests share: no sockets beyond loopback, the corpora if at hand, and the command line."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from support.cli import Cli

from voucherify_sync.sandbox.options import SandboxOptions
from voucherify_sync.sandbox.server import Sandbox

# Neither the time that an example takes nor the time to make one says anything: the machine may be busy.
# Fixtures of a function serve all examples of a property: they are folders that each example writes to again.
settings.register_profile(
    "voucherify-sync",
    deadline=None,
    max_examples=75,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("voucherify-sync")

# Six processes collect the tests and many more run the command line: none compiles again what another has compiled,
# also where the environment of a container says that nobody writes bytecode.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

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


@pytest.fixture(autouse=True)
def colours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a terminal have colours, whatever the one has that runs the tests."""
    monkeypatch.delenv("NO_COLOR", raising=False)


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
