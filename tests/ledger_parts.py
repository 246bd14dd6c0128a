"""What the tests of the ledger share: operations, outcomes and a ledger in a folder of its own."""

from __future__ import annotations

from pathlib import Path

from voucherify_sync.bookkeeping.ledger import Ledger
from voucherify_sync.keys import record_key
from voucherify_sync.model import Kind, Operation, Outcome, Position, SegmentEvent, State
from voucherify_sync.stop import Stop

URL = "https://api.voucherify.io"


def operation(number: int, *, kind: Kind = Kind.EVENT, amount: int = 1) -> Operation:
    """Make the request of one record; another amount is another request of the same record."""
    type_ = "track" if kind is Kind.EVENT else "identify"
    event = SegmentEvent(
        Position("logs/a.gz", number), type_, "Order Completed", f"{type_}-{number}", {"type": type_}, b"{}"
    )
    return Operation(event, kind, f"user-{number}", {}, b'{"amount": %d}' % amount)


def outcome(request: Operation, state: State, reason: str | None = None) -> Outcome:
    """Tell how it ended."""
    return Outcome(request.event, state, reason, operation=request)


def key_of(request: Operation) -> bytes:
    """Return by what the ledger knows it."""
    return record_key(request.event)


def open_ledger(
    path: Path, *, stop: Stop | None = None, run_id: str = "run", now: float = 1_700_000_000.0
) -> Ledger:
    """Begin a run."""
    return Ledger.open(
        path,
        URL,
        "0123456789ab",
        run_id=run_id,
        settings_digest="digest",
        stop=stop or Stop(),
        clock=lambda: now,
    )
