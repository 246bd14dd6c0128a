"""What the first walk of a run in bulk takes from a block: a block in, updates of customers out, as plain values."""

from __future__ import annotations

import msgspec
from msgspec import Struct, field

from voucherify_sync.mapping.filters import Selection
from voucherify_sync.mapping.folded import microseconds
from voucherify_sync.model import Block
from voucherify_sync.reading.times import event_time
from voucherify_sync.running.ordinary import Ordinary, Other
from voucherify_sync.settings import Settings

_encode = msgspec.json.Encoder().encode


class Gathered(Struct, gc=False):
    """What was gathered from some lines of one source, in their order; an entry of each list belongs to one update.

    Attributes:
        source: as in Position.
        types: how many of the records are of each type, those of other lines excepted.
        lines: 1-based, where the events stand.
        source_ids: whose the updates are.
        payloads: the customers' fields as JSON.
        times: when the updates were made, in microseconds.
        message_ids: of their events.
        others: what came of the other lines.
    """

    source: str
    types: dict[str, int] = field(default_factory=dict)
    lines: list[int] = field(default_factory=list)
    source_ids: list[str] = field(default_factory=list)
    payloads: list[bytes] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    message_ids: list[str] = field(default_factory=list)
    others: list[Other] = field(default_factory=list)


class Gatherer:
    """Gathers the updates of ordinary events.

    Args:
        settings: their mapping and filters.
        selection: the filters of the command line.
    """

    def __init__(self, settings: Settings, selection: Selection) -> None:
        self._ordinary = Ordinary(settings, selection)

    def gather(self, block: Block) -> Gathered:
        """Gather from the lines of a block; customers whom no bulk request can carry are left out."""
        gathered = Gathered(block.source)
        for line, raw, event, body, payload, update, _ in self._ordinary.requests(block, gathered.others):
            type_ = event.type
            if update is not None:
                time = event_time({"timestamp": event.timestamp})
                if time is None:  # it only looks like a time
                    gathered.others.append(Other(line, raw))
                    continue
                customer = body if type_ == "identify" else body.customer
                if customer.id is None:
                    gathered.lines.append(line)
                    gathered.source_ids.append(customer.source_id)
                    gathered.payloads.append(payload if customer is body else _encode(customer))
                    gathered.times.append(microseconds(time))
                    gathered.message_ids.append(event.messageId)
            gathered.types[type_] = gathered.types.get(type_, 0) + 1
        return gathered
