"""Counts the customer updates that are older than one before them: outcomes come in, in the order of each customer.

Sent one by one such an update puts old values over newer ones. Memory is bounded: it looks at so many customers.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from voucherify_sync.model import Json, Outcome, State
from voucherify_sync.reading.times import event_time

MAX_CUSTOMERS: Final = 100_000
MAX_ID_LENGTH: Final = 200
"""Characters of an id that is remembered; longer ones would fill the memory, and are not looked at."""

_SENT: Final = {State.PLANNED, State.DELIVERED}
_PLAIN: Final = len("2024-11-05T10:15:30.000Z")


class OlderUpdates:
    """A book of outcomes.

    Attributes:
        count: updates that were older than one before.
        capped: there were customers that it did not look at, so there may be more such updates.
    """

    def __init__(self, max_customers: int = MAX_CUSTOMERS) -> None:
        self.count = 0
        self.capped = False
        self._max_customers = max_customers
        self._newest: dict[str, str] = {}

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Look at outcomes in their order; only what was sent, and says something of a customer, counts."""
        newest, most = self._newest, self._max_customers
        for outcome in outcomes:
            operation = outcome.operation
            if operation is None or not operation.has_profile or outcome.state not in _SENT:
                continue
            source_id, time = operation.source_id, operation.event.fields.get("timestamp")
            if not _is_plain(time):
                time = _moment(operation.event.fields)
            if time is None:
                continue
            before = newest.get(source_id)
            if before is None and (len(newest) >= most or len(source_id) > MAX_ID_LENGTH):
                self.capped = True
            elif before is None or before <= time:
                newest[source_id] = time
            else:
                self.count += 1

    def to_dict(self) -> Json:
        """Return the part of a report."""
        return {"count": self.count, "capped": self.capped}


def _moment(event: Json) -> str | None:
    """Return an event's time as text that compares as the times do: in UTC, to the millisecond as Segment's own."""
    time = event_time(event)
    return None if time is None else f"{time.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def _is_plain(time: Any) -> bool:
    """Tell whether a timestamp is written as Segment does, in UTC, so that it compares as the times do."""
    if type(time) is not str or len(time) != _PLAIN or time[10] != "T" or time[-1] != "Z":
        return False
    try:
        datetime.fromisoformat(time)
    except ValueError:
        return False
    return True
