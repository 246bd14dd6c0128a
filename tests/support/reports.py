"""Reports of runs that never took place."""

from __future__ import annotations

from typing import Any

import msgspec

from voucherify_sync.outcomes import State
from voucherify_sync.report.run_report import RecordCounts, RunReport


def run_report(*, records: RecordCounts | None = None, **changes: Any) -> RunReport:
    """Return the report of a run.

    Args:
        records: what was counted of its records; nothing by default.
        changes: fields, as JSON values or typed.
    """
    records = records or RecordCounts()
    fields = {
        "version": "0.1.0",
        "run_id": "20250301-120000-ab12",
        "mode": "live",
        "status": "complete",
        "exit_code": 0,
        "started_at": "2025-03-01T12:00:00.000Z",
        "finished_at": "2025-03-01T12:00:15.250Z",
        "duration_s": 15.25,
        "input": {"sources": [], "lines": 0, "bytes": 0},
        "events": {"read": records.read, "by_type": records.by_type()},
        "outcomes": {str(state): count for state, count in records.counts().items()},
        "reasons": records.reasons(),
        "api": {"by_endpoint": records.by_endpoint()},
        "mapping": {"identify": {}, "track": {}},
        "findings": {},
        "notices": [],
        "timeline": None,
        "settings": {"digest": "4288c0b33aa9"},
        "stopped_by": None,
        "dead_letters": None,
        "older_updates": {"count": 0, "capped": False},
    }
    return msgspec.convert(msgspec.to_builtins(fields | changes), RunReport)


def outcomes(**counts: int) -> dict[str, int]:
    """Return records by state; those that are not named are 0."""
    return {str(state): counts.get(str(state), 0) for state in State}
