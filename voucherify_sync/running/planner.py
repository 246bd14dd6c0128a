"""What a dry run plans for the lines of a block: a block in, requests out, and the lines that need the Replay."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from voucherify_sync.bookkeeping.seen import KEY, digest_of
from voucherify_sync.delivery.endpoints import PATHS
from voucherify_sync.keys import named_key
from voucherify_sync.mapping.filters import Selection
from voucherify_sync.mapping.payload import Mapping
from voucherify_sync.model import Block, Kind, SegmentEvent
from voucherify_sync.reading.decode import decode
from voucherify_sync.running.ordinary import Ordinary
from voucherify_sync.running.planned import About, Counted, Planned
from voucherify_sync.settings import Settings

SAMPLED: Final = 128
"""Of so many ordinary records one is looked at for values that no row takes; it counts so many times. Divides 256."""

KINDS: Final = {"identify": Kind.CUSTOMER, "track": Kind.EVENT}

_KEYS: Final = {type_: named_key(type_) for type_ in KINDS}
_HEADS: Final = {
    type_: b'{"method":"POST","path":"%b","body":' % PATHS[kind].encode() for type_, kind in KINDS.items()
}
_LINE: Final = b'%b%b%b%d","messageId":%b}\n'

_encode = msgspec.json.Encoder().encode


class BlockPlanner:
    """Plans requests of ordinary events.

    Args:
        settings: their mapping and filters.
        selection: the filters of the command line.
        tells_about: somebody wants to know what the requests are about.
    """

    def __init__(self, settings: Settings, selection: Selection, *, tells_about: bool) -> None:
        self._tells_about = tells_about
        self._ordinary = Ordinary(settings, selection)
        self._sample = Mapping(settings)

    def plan(self, block: Block) -> Planned:
        """Plan the lines of a block. Its loop is where a dry run spends its time."""
        sampled = 256 // SAMPLED
        place = b',"source":%b:' % _encode(block.source)[:-1]
        planned = Planned(block.source)
        for line, raw, event, body, payload, update, renamed in self._ordinary.requests(
            block, planned.others
        ):
            type_, message_id = event.type, event.messageId
            key = _KEYS[type_](message_id)[:KEY]
            if key[-1] < sampled:
                self._look_at_all(Block(block.source, line, raw))
            planned.keys.append(key)
            planned.digests.append(digest_of(payload))
            planned.types.append(type_)
            planned.lines.append(line)
            planned.updates.append(update)
            planned.renamed.append(renamed)
            if self._tells_about:
                planned.about.append(_about(event, body))
            planned.texts.append(_LINE % (_HEADS[type_], payload, place, line, _encode(message_id)))
        return planned

    def cut(self) -> Counted:
        """Return what was counted since the last time."""
        mapped, sampled = self._ordinary.mapping.tally.sections, self._sample.tally.sections
        names = self._ordinary.filters.names
        return Counted(
            {type_: section.cut_fired() for type_, section in mapped.items()},
            {type_: section.cut_unmapped() for type_, section in sampled.items()},
            SAMPLED,
            names.cut_left(),
            names.met(),
        )

    def _look_at_all(self, block: Block) -> None:
        """Count the values of an ordinary event that no row takes."""
        for record in decode(block):
            if isinstance(record, SegmentEvent):
                self._sample.request(record)


def _about(event: Any, body: Any) -> About:
    if event.type == "identify":
        return event.event, None, body.id is not None
    return event.event, body.event, body.customer.id is not None
