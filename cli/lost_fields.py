"""Which fields are left out most often: a report in, lines with a name, a count and a reason out."""

from __future__ import annotations

from collections.abc import Iterator

from voucherify_sync.events import Json
from voucherify_sync.text import clean, counted

LostField = tuple[str, int, str]
"""A path, clean; how often; and why, or nothing where it stands for the rest."""


_REQUESTED = ("planned", "delivered", "failed", "in_doubt")


def lost_fields(report: Json, most: int, width: int) -> Iterator[LostField]:
    """Yield fields that no row maps and those of a wrong type, at most so many, and all others together.

    Where no request was made, as when all was sent before, nothing was left out of one.
    """
    if not any(report["outcomes"][state] for state in _REQUESTED):
        return
    mapping = report["mapping"]
    found: list[LostField] = []
    for part in ("identify", "track"):
        facts = mapping.get(part, {})
        found += [(path, count, "no row maps it") for path, count in facts.get("unmapped", {}).items()]
        for path, reasons in facts.get("dropped", {}).items():
            found += [(path, count, f"dropped: {reason}") for reason, count in reasons.items()]
    found.sort(key=lambda field: (-field[1], field[0]))
    for path, count, why in found[:most]:
        yield clean(path, width), count, why
    if len(found) > most:
        yield counted(len(found) - most, "more field"), sum(count for _, count, _ in found[most:]), ""
