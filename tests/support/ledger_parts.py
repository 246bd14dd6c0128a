"""What the tests of the ledger share: requests, outcomes and a ledger in a folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

from voucherify_sync.events import Event, Kind, Position, Request, record_key
from voucherify_sync.outcomes import Outcome, State
from voucherify_sync.state.ledger import Ledger, RunStart
from voucherify_sync.state.ledger_file import ProjectIdentity
from voucherify_sync.stop import Stop

URL = "https://api.voucherify.io"
IDENTITY = ProjectIdentity(URL, "0123456789ab")


def make_request(number: int, *, kind: Kind = Kind.EVENT, amount: int = 1) -> Request:
    """Make the request of one record; another amount is another request of the same record."""
    type_ = "track" if kind is Kind.EVENT else "identify"
    event = Event(
        Position("logs/a.gz", number), type_, "Order Completed", f"{type_}-{number}", {"type": type_}, b"{}"
    )
    return Request(event, kind, f"user-{number}", b'{"amount": %d}' % amount)


def outcome(request: Request, state: State, reason: str | None = None) -> Outcome:
    """Tell how it ended."""
    return Outcome(request.event, state, reason, request=request)


def key_of(request: Request) -> bytes:
    """Return by what the ledger knows it."""
    return record_key(request.event)


def open_ledger(
    path: Path,
    *,
    stop: Stop | None = None,
    run_id: str = "run",
    now: float = 1_700_000_000.0,
    identity: ProjectIdentity = IDENTITY,
    **said: bool,
) -> Ledger:
    """Begin a run; the ledger is made where there is none."""
    return Ledger.open(
        path,
        RunStart(run_id, "replay", "digest", identity),
        stop=stop or Stop(),
        clock=lambda: now,
        **{"is_new": not (path.exists() and path.stat().st_size), **said},
    )


def make_ledger(path: Path, url: str, app_id: str) -> Path:
    """Make a ledger of a project that was sent nothing yet."""
    open_ledger(path, identity=ProjectIdentity.of(url, app_id)).close()
    return path


def start_beside(code: str) -> subprocess.Popen[str]:
    """Start some code, which knows what this module knows, in a process of its own."""
    folders = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    return subprocess.Popen(
        [sys.executable, "-u", "-c", "from support.ledger_parts import *\n" + textwrap.dedent(code)],
        env={**os.environ, "PYTHONPATH": folders},
        stdout=subprocess.PIPE,
        text=True,
    )


def run_beside(code: str) -> int:
    """Run such code to its end; return how it ended."""
    with start_beside(code) as process:
        process.communicate()
    return process.returncode
