"""Join the halves of names in a retry, which sends the updates of a customer one by one.

A bulk request that was refused held folded customers, with whole names. Its records come back as they were, and the
last of them may hold half a name: sent as it is, it would replace the other half.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from voucherify_sync.events import Kind, Position, Request
from voucherify_sync.fields import WORKING_FIELDS
from voucherify_sync.findings import FindingCount
from voucherify_sync.mapping.fold import Profile, Update, microseconds

MAX_CUSTOMERS: Final = 50_000
"""About 1 KB each."""
_NAMES = ("name", *WORKING_FIELDS)
_encode = msgspec.json.encode


class RetriedNames:
    """The names in the updates of one retry so far, folded for each customer.

    Args:
        limit: customers that are remembered, those seen last; memory stays flat. What is forgotten is as if it had not
            been in this retry: half a name of that customer is sent, and told.
    """

    def __init__(self, limit: int = MAX_CUSTOMERS) -> None:
        self._limit = limit
        self._halves: dict[str, tuple[Position, str]] = {}  # customers whose name is still half of one
        self._left = FindingCount()  # those among them that were forgotten
        self._profiles: dict[str, Profile] = {}

    def halves(self) -> FindingCount:
        """Count the customers that are left with half a name, by the identify that said it."""
        found = FindingCount(self._left.count, self._left.examples[:])
        for position, name in self._halves.values():
            found.add(position, name)
        return found

    def join(self, request: Request) -> Request:
        """Return a request that holds half a name with the name that its customer has by all updates so far."""
        if request.is_by_id or not request.has_profile:
            return request
        customer = msgspec.json.decode(request.customer or request.payload)
        names = {key: customer[key] for key in _NAMES if key in customer}
        if not names:
            return request
        event, profile = request.event, self._profiles.pop(request.source_id, None) or Profile()
        self._profiles[request.source_id] = profile  # the one seen last is the last to be forgotten
        if len(self._profiles) > self._limit:
            forgotten = next(iter(self._profiles))
            del self._profiles[forgotten]
            if forgotten in self._halves:
                self._left.add(*self._halves.pop(forgotten))
        version = (microseconds(event.time), microseconds(event.told_time), event.message_id or "")
        half = next((names[key] for key in WORKING_FIELDS if key in names), None)
        profile.merge(Update(*version, event.position.line, None, names))
        self._halves.pop(request.source_id, None)
        if half is None:
            return request
        folded: dict[str, str] = msgspec.json.decode(profile.folded(request.source_id).payload)
        name = folded["name"]
        if name == half and request.kind is Kind.CUSTOMER:
            self._halves[request.source_id] = event.position, name
        return replace(request, payload=_renamed(request, name))


def _renamed(request: Request, name: str) -> bytes:
    """Return the payload of a request with another name of its customer; all else stays as it is, to the byte."""
    body = msgspec.json.decode(request.payload, type=dict[str, Raw])
    if request.kind is Kind.CUSTOMER:
        return _encode({**body, "name": name})
    customer = msgspec.json.decode(body["customer"], type=dict[str, Raw])
    return _encode({**body, "customer": {**customer, "name": name}})
