"""Counts the customer updates that are older than one before them: outcomes come in, in the order of each customer.

Sent one by one such an update puts old values over newer ones. Memory is bounded: it looks at so many customers.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from voucherify_sync.model import Json, Kind, Outcome, State
from voucherify_sync.reading.times import event_time

MAX_CUSTOMERS: Final = 100_000

_SENT: Final = {State.PLANNED, State.DELIVERED}
_EARLIEST: Final = datetime.min.replace(tzinfo=UTC)
_PLAIN: Final = len("2024-11-05T10:15:30.000Z")


class OlderUpdates:
    """A book of outcomes.

    Attributes:
        count: updates that were older than one before.
        capped: there were more customers than it looks at, so there may be more such updates.
    """

    def __init__(self, max_customers: int = MAX_CUSTOMERS) -> None:
        self.count = 0
        self.capped = False
        self._max_customers = max_customers
        self._newest: dict[str, str | datetime] = {}

    def add(self, outcome: Outcome) -> None:
        """Look at one outcome; only what was sent, and says something of a customer, counts."""
        operation = outcome.operation
        if operation is None or outcome.state not in _SENT:
            return
        if operation.kind is Kind.EVENT and len(operation.body["customer"]) < 2:
            return
        time = moment(operation.event.fields)
        if time is not None:
            self.update(operation.source_id, time)

    def update(self, source_id: str, time: str | datetime) -> None:
        """Look at an update of a customer, of the time that `moment` returned."""
        newest = self._newest.get(source_id)
        if newest is None and len(self._newest) >= self._max_customers:
            self.capped = True
        elif newest is None or not _is_before(time, newest):
            self._newest[source_id] = time
        else:
            self.count += 1

    def to_dict(self) -> Json:
        """Return the part of a report."""
        return {"count": self.count, "capped": self.capped}


def moment(event: Json) -> str | datetime | None:
    """Return an event's time, as it stands there where that can be compared as text."""
    return moment_of(event.get("timestamp")) or event_time(event)


def moment_of(timestamp: object) -> str | datetime | None:
    """Return the time that a timestamp tells, if it does."""
    if type(timestamp) is str and len(timestamp) == _PLAIN and timestamp[10] == "T" and timestamp[-1] == "Z":
        return timestamp
    return event_time({"timestamp": timestamp})


def _is_before(time: str | datetime, other: str | datetime) -> bool:
    if type(time) is str and type(other) is str:
        return time < other
    return _parsed(time) < _parsed(other)


def _parsed(time: str | datetime) -> datetime:
    return time if isinstance(time, datetime) else event_time({"timestamp": time}) or _EARLIEST
