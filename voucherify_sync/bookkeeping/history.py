"""What has been sent before is not sent again: the one rule that gives resume, de-duplication and idempotent pipes.

What the pipeline decided of records comes in, in the order of the input; out comes the same with those that were sent
before, or stand in the input before, decided.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import msgspec
from msgspec import Struct

from voucherify_sync.bookkeeping.ledger_reader import Known, LedgerReader
from voucherify_sync.bookkeeping.seen import Seen, digest_of, seen_key
from voucherify_sync.keys import earlier_key, record_key, request_hash
from voucherify_sync.model import FAILED_BEFORE, Decision, Operation, Outcome, SegmentEvent, State

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


REPEATED = frozenset({"equal_event", "repeated", "repeated_differs"})
"""Reasons of records that stand in the input before."""


class History:
    """Applies the rule to the records of one run.

    Args:
        ledger: what earlier runs sent; an empty one is never asked.
        rule: the user's exceptions.
        is_superseded: tells whether a customer has been sent something newer; asked before an operation is sent.
    """

    def __init__(
        self,
        ledger: LedgerReader,
        rule: Rule,
        is_superseded: Callable[[Operation], bool] | None = None,
    ) -> None:
        self._is_superseded = is_superseded
        self._ledger = None if ledger.is_empty else ledger
        self._has_earlier_keys = ledger.has_earlier_keys
        self._rule = rule
        self._seen = Seen()

    def decide(self, decisions: Sequence[Decision]) -> Sequence[Decision]:
        """Return the decisions, one for one, after the rule has been applied."""
        if self._ledger is None and self._is_superseded is None:
            return self._without_repeated(decisions)
        return list(self._one_by_one(decisions))

    def _without_repeated(self, decisions: Sequence[Decision]) -> Sequence[Decision]:
        """Decide what nothing is known of but this run."""
        operations = [decision for decision in decisions if type(decision) is Operation]
        met = self._seen.meet_all(
            [seen_key(record_key(operation.event)) for operation in operations],
            [digest_of(operation.payload) for operation in operations],
        )
        if met is None:
            return decisions
        is_equal = iter(met)
        decided: list[Decision] = []
        for decision in decisions:
            if isinstance(decision, Operation) and (equal := next(is_equal)) is not None:
                decided.append(_repeated(decision, is_equal=equal))
            else:
                decided.append(decision)
        return decided

    def _one_by_one(self, decisions: Sequence[Decision]) -> Iterator[Decision]:
        """Decide with what earlier runs left of each record; one look-up for all of them."""
        keys = [_key_of(decision) for decision in decisions]
        known = self._look_up([key for key in keys if key is not None])
        for decision, key in zip(decisions, keys, strict=True):
            if key is None:
                yield decision
                continue
            own_key, earlier = seen_key(key), earlier_key(key)
            if key not in known and earlier in known:  # what an earlier version kept counts for every content
                key = earlier  # noqa: PLW2901
                _event_of(decision).key = key
            yield self._judge(decision, key, own_key, known.get(key))

    def _look_up(self, keys: list[bytes]) -> dict[bytes, Known]:
        if self._ledger is None:
            return {}
        this_run = self._ledger.run
        if self._has_earlier_keys:
            keys = [*keys, *(earlier_key(key) for key in keys if key != earlier_key(key))]
        return {
            key: known
            for key, known in zip(keys, self._ledger.look_up(keys), strict=True)
            if known is not None and not (this_run and known.run == this_run)
        }

    def _judge(self, decision: Decision, key: bytes, own_key: bytes, known: Known | None) -> Decision:
        """Decide one record, which an earlier run may know."""
        event = _event_of(decision)
        if known is not None and own_key not in self._seen:
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
        if isinstance(decision, Outcome):
            return decision
        return self._take_up(decision, key, own_key, known)

    def _take_up(self, operation: Operation, key: bytes, own_key: bytes, known: Known | None) -> Decision:
        """Return the operation that is to be sent, remembering it, or why it is not."""
        met = self._seen.meet_all([own_key], [digest_of(operation.payload)])
        if met is not None and met[0] is not None:
            return _repeated(operation, is_equal=met[0])
        event = operation.event
        if known is not None:
            if known.state is State.FAILED and not self._sends_failed(known, operation):
                return Outcome(event, State.FAILED, FAILED_BEFORE, operation=operation)
            if known.state is State.IN_DOUBT and self._ledger is not None:
                since = self._ledger.sent_at(key) or 0.0
                return msgspec.structs.replace(operation, doubtful_since=since)
        if self._is_superseded is not None and self._is_superseded(operation):
            return Outcome(event, State.SKIPPED, "superseded", operation=operation)
        return operation

    def _sends_failed(self, known: Known, operation: Operation) -> bool:
        tries_again = self._rule.failed or self._rule.again_before > known.run
        return tries_again or known.hash not in (None, request_hash(operation.payload))


def _event_of(decision: Decision) -> SegmentEvent:
    """Return the event of a record that has a key."""
    event = decision.event if isinstance(decision, Operation) else decision.record
    assert isinstance(event, SegmentEvent)  # noqa: S101  # only events have keys
    return event


def _key_of(decision: Decision) -> bytes | None:
    """Return the key of a record that came as far as the mapping; None for what was left out before."""
    if isinstance(decision, Operation):
        return record_key(decision.event)
    return decision.record.key if isinstance(decision.record, SegmentEvent) else None


def _repeated(operation: Operation, *, is_equal: bool) -> Outcome:
    """Return the outcome of a record whose key was met before in this run; the first one wins."""
    reason = "repeated" if is_equal else "repeated_differs"
    if operation.event.message_id is None:
        reason = "equal_event"
    return Outcome(operation.event, State.DUPLICATE, reason)
