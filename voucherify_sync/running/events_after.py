"""The courier of the second walk of a run in bulk: an update ends as its customer did, and events are sent.

It sends no customer, but those that no bulk request can carry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from voucherify_sync.model import Block, Kind, Operation, Outcome, State
from voucherify_sync.replay import Courier
from voucherify_sync.running.customers_first import CustomersFirst

CUSTOMER_REFUSED = "customer_refused"


class EventsAfter:
    """Gives the updates of customers their outcomes, and everything else to another courier.

    Args:
        first: knows how the customers ended.
        courier: sends what was not sent in bulk.
        record: remembers outcomes that are decided here.
    """

    def __init__(self, first: CustomersFirst, courier: Courier, record: Callable[[Outcome], object]) -> None:
        self._first = first
        self._courier = courier
        self._record = record
        self._decided: list[Outcome] = []

    def submit(self, operation: Operation) -> None:
        """Take one operation; may wait while too many are under way."""
        if operation.kind is Kind.CUSTOMER and "id" not in operation.body:
            self._decide(self._first.outcome(operation))
            return
        refused = self._first.refusal(operation.source_id)
        if refused is None or operation.doubtful_since is not None:
            self._courier.submit(operation)
            return
        detail = f"not sent, as its customer failed: {refused}"
        self._decide(Outcome(operation.event, State.FAILED, CUSTOMER_REFUSED, detail, operation))

    def finished(self) -> list[Outcome]:
        """Give what was decided since the last call, without waiting."""
        decided, self._decided = self._decided, []
        return decided + self._courier.finished()

    def drain(self, timeout_s: float | None = None) -> Iterator[Outcome]:
        """Give everything that is still open; after a stop wait at most so long for what is in flight."""
        yield from self.finished()
        yield from self._courier.drain(timeout_s)

    def _decide(self, outcome: Outcome) -> None:
        self._record(outcome)
        self._decided.append(outcome)


def no_more_than(lines: Mapping[str, int], blocks: Iterable[Block]) -> Iterator[Block]:
    """Yield blocks without the lines that were added to a source since it was read first.

    Args:
        lines: by the name of the source, so many it had then.
        blocks: as they are read now.
    """
    for block in blocks:
        known, _ = block.parted(lines.get(block.source, 0) - block.first_line + 1)
        if known.text:
            yield known
