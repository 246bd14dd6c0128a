"""The destination of a dry run: what would be sent comes in, one JSON line for each goes out, and no call is made."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from msgspec import Raw

from voucherify_sync.delivery.attempts import Attempts
from voucherify_sync.delivery.destination import Again
from voucherify_sync.delivery.endpoints import PATHS
from voucherify_sync.model import Json, Outcome, State


class DryRunDestination:
    """Writes what would be sent, one JSON object a line, and sends nothing.

    Args:
        write: takes a line, with its line end.
    """

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._encode = msgspec.json.Encoder().encode

    def attempt(self, attempts: Attempts) -> Outcome | Again:
        """Write the request; its body is the very bytes that would be sent."""
        operation, event = attempts.operation, attempts.operation.event
        line: Json = {
            "method": "POST",
            "path": PATHS[operation.kind],
            "body": Raw(operation.payload),
            "source": str(event.position),
            "messageId": event.message_id,
        }
        self._write(self._encode(line) + b"\n")
        return Outcome(event, State.PLANNED, operation=operation)
