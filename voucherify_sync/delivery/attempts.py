"""One request between `submit` and its outcome, and the only place that decides whether a stop leaves it in doubt."""

from __future__ import annotations

from voucherify_sync.delivery.doubt import Doubt, in_doubt
from voucherify_sync.model import Kind, Operation, Outcome, State


class Attempts:
    """The attempts to send one request. The lane of its customer holds it from `submit` to the outcome.

    One thread makes an attempt at a time. Another may call `undecided` when the run ends.

    Attributes:
        operation: the request.
        number: of the attempt that is being made, 1 for the first; 0 before it.
        failures: attempts that ended badly; those answered with 429 do not count.
        trouble_s: seconds that those took, pauses included.
        sent_at: monotonic seconds of the last send.
        doubt: a send, of this run or of an earlier one, whose answer was lost.
    """

    __slots__ = (
        "_may_have_left",
        "doubt",
        "failures",
        "number",
        "operation",
        "sent_at",
        "trouble_s",
    )

    def __init__(self, operation: Operation) -> None:
        self.operation = operation
        self.number = 0
        self.failures = 0
        self.trouble_s = 0.0
        self.sent_at = 0.0
        self.doubt: Doubt | None = None
        self._may_have_left = operation.doubtful_since is not None

    @property
    def may_be_processed(self) -> bool:
        """Whether a custom event was sent, and no answer has told what became of it."""
        return self._may_have_left or self.doubt is not None

    def begin(self) -> None:
        """Count an attempt that begins."""
        self.number += 1

    def send(self, now: float) -> None:
        """Note, before its first byte, that the request leaves now."""
        self.sent_at = now
        self._may_have_left = self.operation.kind is Kind.EVENT

    def rule_out_last(self) -> None:
        """Take a proof that the last send was not processed; an earlier one, which is in doubt, still may be."""
        self._may_have_left = False

    def undecided(self, *, is_under_way: bool = False) -> Outcome:
        """Return the outcome where the run ends before an answer has decided it.

        Args:
            is_under_way: a worker is busy with an attempt and is not waited for any longer: it may send at any moment.
        """
        operation = self.operation
        if self.doubt is not None:
            return in_doubt(operation, self.doubt)
        if self._may_have_left or (is_under_way and operation.kind is Kind.EVENT):
            return Outcome(operation.event, State.IN_DOUBT, "interrupted", operation=operation)
        return Outcome(operation.event, State.PENDING, operation=operation)
