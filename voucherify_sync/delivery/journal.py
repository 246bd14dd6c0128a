"""What delivery asks of whoever remembers what it is about to send, and how that ended."""

from __future__ import annotations

from typing import Protocol

from voucherify_sync.model import NotProcessed, Operation, Outcome


class Journal(Protocol):
    """Keeps, durably, which events are about to be sent, and how every operation ended."""

    def intend(self, operation: Operation) -> None:
        """Return when the intent to send this event is durable."""
        ...

    def withdraw(self, operation: Operation, proof: NotProcessed) -> None:
        """Take the last intent back, for a proof that this send was not processed. Earlier sends stay noted."""
        ...

    def record(self, outcome: Outcome) -> None:
        """Keep how an operation ended, not later than the next intent.

        The worker that knows it tells it before it takes up anything else, so that a run that is killed leaves as many
        events in doubt as it has workers, and not all those that nobody has asked for yet.
        """
        ...

    def accepted_at(self, endpoint: str) -> None:
        """Keep that Voucherify accepted a call at an endpoint; may be told again and again."""
        ...


class NoJournal:
    """Keeps nothing."""

    def intend(self, operation: Operation) -> None:
        """Do nothing."""

    def withdraw(self, operation: Operation, proof: NotProcessed) -> None:
        """Do nothing."""

    def record(self, outcome: Outcome) -> None:
        """Do nothing."""

    def accepted_at(self, endpoint: str) -> None:
        """Do nothing."""
