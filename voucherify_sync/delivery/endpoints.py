"""The paths of the API at which requests end, known without anything that makes calls."""

from __future__ import annotations

from voucherify_sync.model import Kind

PATHS = {Kind.CUSTOMER: "/v1/customers", Kind.EVENT: "/v1/events"}
"""What a request does -> where it is posted to."""
