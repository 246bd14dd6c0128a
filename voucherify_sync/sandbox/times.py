"""Times as the API writes and reads them."""

from __future__ import annotations

from datetime import UTC, datetime

from voucherify_sync.sandbox.refusals import invalid_query


def iso(at: float) -> str:
    """Write epoch seconds as the API does: UTC, milliseconds, Z."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def epoch(text: str, parameter: str) -> float:
    """Read an ISO 8601 date or time of a query parameter as epoch seconds; without a zone it is UTC."""
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        raise invalid_query(f"Parameter {parameter} should be an ISO 8601 date") from None
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()
