"""The report of a run goes in; the whole run in one sentence comes out. Every report for people starts with it."""

from __future__ import annotations

from voucherify_sync.model import FAILED_BEFORE, Json
from voucherify_sync.words import counted

ENDINGS = {
    "delivered": "{} delivered",
    "planned": "{} would be sent",
    "skipped": "{} skipped by a rule",
    "duplicate": "{} not sent again",
    "invalid": "{} invalid",
    "failed": "{} failed",
    "in_doubt": "{} in doubt",
    "pending": "{} still to do",
}
"""State -> how so many records ended."""

_VERBS = {
    "live": "Replayed {}",
    "sandbox": "Replayed {} into the sandbox",
    "dry_run": "Dry run of {}",
}


def headline(report: Json) -> str:
    """Return the whole run in one sentence."""
    read = report["events"]["read"]
    if not read:
        return "No events were read."
    begun = _VERBS.get(report["mode"], "Read {}").format(counted(read, "event"))
    if report["status"] not in ("complete", "incomplete"):
        begun = f"Stopped after {counted(read, 'event')}"
    before = report["reasons"]["failed"].get(FAILED_BEFORE, {}).get("count", 0)
    counts = report["outcomes"] | {"failed": report["outcomes"]["failed"] - before}
    ended = [ENDINGS[state].format(f"{count:,}") for state, count in counts.items() if count]
    if not before:
        return f"{begun}: {', '.join(ended)}."
    ended.append(f"{before:,} failed earlier and were not tried again")
    return f"{begun}: {', '.join(ended)}: voucherify-sync retry"
