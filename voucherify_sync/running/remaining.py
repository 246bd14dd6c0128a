"""How much of a run is still to be done: how far it got in its input comes in, an estimate of requests goes out."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from voucherify_sync.reading.source import SourceFacts


class Left(Struct, frozen=True):
    """What a run did not get to yet.

    Attributes:
        requests: an estimate.
        calls_per_min: what the API's limit sustains; None where it was not learnt.
    """

    requests: float
    calls_per_min: float | None


def records_left(
    facts: Sequence[SourceFacts], bytes_total: int | None, taken: int, limit: int | None
) -> float | None:
    """Estimate the records that were not taken up, from the lines and bytes of what was read.

    Args:
        facts: of the sources opened so far.
        bytes_total: of all sources; None where nobody knows.
        taken: records taken up.
        limit: records to take up at most.
    """
    read = sum(each.bytes for each in facts)
    if not bytes_total or not read or not taken:
        return None
    lines = sum(each.lines for each in facts)
    left = max(lines * bytes_total / read - taken, 0.0)
    return left if limit is None else min(left, limit - taken)
