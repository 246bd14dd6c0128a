"""What a planner makes of a block: plain values, so that they can pass between processes."""

from __future__ import annotations

from msgspec import Struct, field

from voucherify_sync.mapping.straight import Update
from voucherify_sync.mapping.tally import Counts
from voucherify_sync.running.ordinary import Other

About = tuple[str | None, str | None, bool]
"""What a request is about: the event's own name, the name of the custom event that is sent, if it is one, and whether
Voucherify's own id names the customer."""


class Counted(Struct, gc=False):
    """What was counted beside the requests.

    Attributes:
        fired: by type of event, how often each row found a value.
        lost: by type of event, values that no row took, of the records of the sample.
        sampled: of so many records one is in the sample.
        left: names of events that the settings do not allow.
        met: names of the settings that some event had.
    """

    fired: dict[str, list[int]]
    lost: dict[str, Counts]
    sampled: int
    left: Counts
    met: list[str]


class Planned(Struct, gc=False):
    """What was planned for some lines of one source, in their order; an entry of each list belongs to one request.

    Attributes:
        source: as in Position.
        keys: the first bytes of the events' record_key, so many as are compared.
        digests: of the payloads.
        types: of the events.
        lines: 1-based, where the events stand.
        updates: of customers, None for a request that updates none.
        renamed: names that customers get from ``properties.name``, None where none does.
        about: what they are about, if somebody wants to know.
        texts: the lines that tell the requests.
        others: what came of the other lines.
    """

    source: str
    keys: list[bytes] = field(default_factory=list)
    digests: list[int] = field(default_factory=list)
    types: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    updates: list[Update | None] = field(default_factory=list)
    renamed: list[str | None] = field(default_factory=list)
    about: list[About] = field(default_factory=list)
    texts: list[bytes] = field(default_factory=list)
    others: list[Other] = field(default_factory=list)
