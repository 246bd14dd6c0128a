"""Decides about custom events whose answer was lost: looked up, held, or counted as sent, as `on_doubt` says.

Nothing here sends an event again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Literal

import msgspec
from msgspec import Struct

from voucherify_sync.delivery.circuit import Circuit
from voucherify_sync.delivery.pauses import PAUSES
from voucherify_sync.delivery.retry import Again, InDoubt
from voucherify_sync.delivery.verify import Verifier
from voucherify_sync.model import Kind, Operation, Outcome, State

OnDoubt = Literal["verify", "hold", "resend", "accept"]


class Doubt(Struct):
    """A send whose answer was lost.

    Attributes:
        verdict: why it is in doubt.
        response: what there was of an answer.
        sent_at: epoch seconds of Voucherify's clock.
        claimed: equal sends before it, in the time in which it is looked for.
        looks: so many were in vain.
    """

    verdict: InDoubt
    response: bytes | None
    sent_at: float
    claimed: int
    looks: int = 0


class Doubts:
    """What becomes of doubts.

    Args:
        verifier: looks events up.
        circuit: look-ups wait while it is open.
        on_doubt: the user's choice.
        settle_s: pauses before each look.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        verifier: Verifier,
        circuit: Circuit,
        on_doubt: OnDoubt,
        *,
        settle_s: tuple[float, ...] = PAUSES.settle_s,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.on_doubt = on_doubt
        self._verifier = verifier
        self._circuit = circuit
        self._settle_s = settle_s
        self._clock = clock
        self._sends = Sends(2 * verifier.margin_s)

    def count_send(self, operation: Operation) -> int:
        """Remember an event that may have been processed; return how many equal ones were sent shortly before it."""
        if self.on_doubt == "verify" and operation.kind is Kind.EVENT and self._verifier.can_tell(operation):
            return self._sends.add(operation, self._clock())
        return 0

    def of_earlier_run(self, sent_at: float) -> Doubt:
        """Return the doubt of an event that an earlier run sent; one look is enough, the activity log has caught up."""
        verdict = InDoubt("interrupted", "an earlier run sent it and got no answer")
        return Doubt(verdict, None, sent_at, claimed=0, looks=len(self._settle_s) - 1)

    def decide(self, operation: Operation, doubt: Doubt) -> Outcome | Again:
        """Say what becomes of a doubt that has just arisen."""
        if self.on_doubt == "accept":
            return _delivered(operation, doubt, "accepted")
        if self.on_doubt == "verify" and self._verifier.can_tell(operation):
            return Again(self._settle_s[0], "verifying")
        return in_doubt(operation, doubt)

    def look(self, operation: Operation, doubt: Doubt) -> Outcome | Again:
        """Look a doubtful event up, once."""
        if operation.doubtful_since is not None and not _is_marked(operation):
            return in_doubt(operation, doubt)
        if not self._circuit.await_closed():
            return in_doubt(operation, doubt)
        if self._verifier.was_received(operation, doubt.sent_at, doubt.claimed):
            return _delivered(operation, doubt, "verified")
        doubt.looks += 1
        if doubt.looks < len(self._settle_s):
            return Again(self._settle_s[doubt.looks], "verifying")
        return in_doubt(operation, doubt)


def in_doubt(operation: Operation, doubt: Doubt) -> Outcome:
    """Return the outcome of a doubt that could not be resolved."""
    return Outcome(
        operation.event,
        State.IN_DOUBT,
        reason=doubt.verdict.reason,
        detail=doubt.verdict.detail,
        operation=operation,
        status=doubt.verdict.status,
        response=doubt.response,
    )


def _delivered(operation: Operation, doubt: Doubt, reason: str) -> Outcome:
    status = doubt.verdict.status
    return Outcome(operation.event, State.DELIVERED, reason=reason, operation=operation, status=status)


def _is_marked(operation: Operation) -> bool:
    """Tell whether an event's metadata holds its messageId: nobody counted the equal sends of earlier runs."""
    metadata = operation.body.get("metadata")
    message_id = operation.event.message_id
    return message_id is not None and isinstance(metadata, dict) and message_id in metadata.values()


class Sends:
    """Counts equal events sent of late, so that one entry of the activity log never vouches for two of them.

    Equal means: same customer, name and metadata. Kept for one to two periods; a count that is too high only leaves an
    event in doubt.
    """

    def __init__(self, period_s: float) -> None:
        self._period_s = period_s
        self._until = 0.0
        self._young: dict[int, int] = {}
        self._old: dict[int, int] = {}
        self._lock = threading.Lock()

    def add(self, operation: Operation, now: float) -> int:
        """Count a send that may have been processed; return how many equal ones there were before it."""
        key = hash(_identity(operation))
        with self._lock:
            if now >= self._until:
                self._old = self._young if now < self._until + self._period_s else {}
                self._young = {}
                self._until = now + self._period_s
            before = self._young.get(key, 0) + self._old.get(key, 0)
            self._young[key] = self._young.get(key, 0) + 1
        return before


def _identity(operation: Operation) -> tuple[str, bytes]:
    body = operation.body
    return operation.source_id, msgspec.json.encode([body.get("event"), body.get("metadata")], order="sorted")
