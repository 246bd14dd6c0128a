"""How a run stands at one moment: what the run tells, and what a display shows."""

from __future__ import annotations

from msgspec import Struct

from voucherify_sync.model import State


class Waiting(Struct, frozen=True):
    """What the run waits for, such as ``quota``, and for how many more seconds, if anybody knows."""

    reason: str
    seconds_left: float | None


class Snapshot(Struct, frozen=True):
    """How a run stands at one moment.

    Attributes:
        events: records read.
        bytes: read so far, as they lie on disk.
        bytes_total: of all sources; None where nobody knows, as with stdin.
        counts: records by state.
        calls: calls made.
        calls_per_min: what the limit sustains; None before it is known.
        in_flight: requests under way.
        waiting: what the next call waits for, or None.
        eta_s: seconds to go, by the API's limit; None where nobody knows.
    """

    events: int
    bytes: int
    bytes_total: int | None
    counts: dict[State, int]
    calls: int = 0
    calls_per_min: float | None = None
    in_flight: int = 0
    waiting: Waiting | None = None
    eta_s: float | None = None
