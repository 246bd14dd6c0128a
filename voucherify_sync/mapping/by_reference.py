"""The mapping of a run that has sent the customers already: their events only name them.

So an event of long ago cannot overwrite a profile that is newer than it.
"""

from __future__ import annotations

from msgspec.structs import replace

from voucherify_sync.mapping.payload import Mapping, Request
from voucherify_sync.model import Kind, Outcome, SegmentEvent


class ReferringMapping(Mapping):
    """The mapping of the settings, but custom events carry no fields of their customer."""

    def request(self, event: SegmentEvent) -> Request | Outcome:
        """Make what ``operation`` encodes."""
        request = super().request(event)
        return request if isinstance(request, Outcome) else by_reference(request)


def by_reference(request: Request) -> Request:
    """Return a custom event that names its customer by source_id only; other requests as they are."""
    if request.kind is Kind.CUSTOMER or not rides_in_bulk(request):
        return request
    customer = {"source_id": request.source_id}
    return replace(request, customer=customer, body={**request.body, "customer": customer})


def rides_in_bulk(request: Request) -> bool:
    """Tell whether a bulk request can carry the customer: not one who is named by Voucherify's own id."""
    return "id" not in request.customer
