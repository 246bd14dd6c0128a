"""What has been sent before is not sent again: the one rule that gives resume, de-duplication and idempotent pipes.

An event comes in, twice: before it is mapped with what the ledger knows of it, and after that with its request. Out
comes its outcome, if the rule decides it, or the operation to be sent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import msgspec
from msgspec import Struct

from voucherify_sync.bookkeeping.ledger_reader import Known, LedgerReader
from voucherify_sync.bookkeeping.seen import Seen, digest_of
from voucherify_sync.keys import record_key, request_hash
from voucherify_sync.model import FAILED_BEFORE, Operation, Outcome, SegmentEvent, State

NEVER = 0
"""Runs are numbered from 1: nothing was delivered before this one."""


class Rule(Struct, frozen=True):
    """What the user wants to have sent although it was sent before.

    Attributes:
        again_before: deliveries of runs numbered below this are repeated (``--again``).
        failed: what failed is tried again, whether its request changed or not (``retry``).
        on_doubt: what becomes of custom events that an earlier run left in doubt.
    """

    again_before: float = NEVER
    failed: bool = False
    on_doubt: Literal["verify", "hold", "resend", "accept"] = "hold"


class Memory(Struct, frozen=True):
    """What is remembered of one record.

    Attributes:
        key: its key in the ledger.
        known: what earlier runs left there, or None.
    """

    key: bytes
    known: Known | None


class History:
    """Applies the rule to the records of one run.

    Args:
        ledger: what earlier runs sent.
        rule: the user's exceptions.
        is_superseded: tells whether a customer has been sent something newer; asked before an operation is sent.

    Attributes:
        seen: the records of this run that were taken up.
    """

    def __init__(
        self,
        ledger: LedgerReader,
        rule: Rule,
        is_superseded: Callable[[Operation], bool] | None = None,
    ) -> None:
        self._is_superseded = is_superseded
        self._ledger = ledger
        self._rule = rule
        self.seen = Seen()

    def recall(self, events: Sequence[SegmentEvent]) -> list[Memory]:
        """Return what earlier runs left of each event; one look-up for all of them."""
        keys = [record_key(event) for event in events]
        this_run = self._ledger.run
        return [
            Memory(key, None if known is None or (this_run and known.run == this_run) else known)
            for key, known in zip(keys, self._ledger.look_up(keys), strict=True)
        ]

    def judge(self, event: SegmentEvent, memory: Memory) -> Outcome | None:
        """Return the outcome of an event that needs no request to be decided, before it is mapped."""
        known = memory.known
        if known is None or memory.key in self.seen:
            return None
        if known.run >= self._rule.again_before:
            if known.state is State.DELIVERED:
                return Outcome(event, State.DUPLICATE, "delivered")
            if known.state is State.DUPLICATE:
                return Outcome(event, State.DUPLICATE, "dismissed")
        if known.state is State.IN_DOUBT:
            if self._rule.on_doubt == "hold":
                return Outcome(event, State.IN_DOUBT, known.reason)
            if self._rule.on_doubt == "accept":
                return Outcome(event, State.DELIVERED, "accepted")
        return None

    def take_up(self, operation: Operation, memory: Memory) -> Operation | Outcome:
        """Return the operation that is to be sent, remembering it, or why it is not."""
        key, known, event = memory.key, memory.known, operation.event
        is_equal = self.seen.meet(key, digest_of(operation.payload))
        if is_equal is not None:
            return Outcome(event, State.DUPLICATE, repeated(event.message_id, is_equal=is_equal))
        if known is not None:
            if known.state is State.FAILED and not self._sends_failed(known, operation):
                return Outcome(event, State.FAILED, FAILED_BEFORE, operation=operation)
            if known.state is State.IN_DOUBT:
                return self._doubtful(operation, key)
        if self._is_superseded is not None and self._is_superseded(operation):
            return Outcome(event, State.SKIPPED, "superseded", operation=operation)
        return operation

    def _doubtful(self, operation: Operation, key: bytes) -> Operation:
        return msgspec.structs.replace(operation, doubtful_since=self._ledger.sent_at(key) or 0.0)

    def _sends_failed(self, known: Known, operation: Operation) -> bool:
        tries_again = self._rule.failed or self._rule.again_before > known.run
        return tries_again or known.hash not in (None, request_hash(operation.payload))


def repeated(message_id: str | None, *, is_equal: bool) -> str:
    """Name the reason of a record whose key was met before in this run; the first one wins."""
    if message_id is None:
        return "equal_event"
    return "repeated" if is_equal else "repeated_differs"
