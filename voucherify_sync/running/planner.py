"""What a dry run plans for the lines of a block: blocks in, requests out, and the lines that need the Replay.

An ordinary event goes straight down: what is needed of it is decoded, mapped and encoded. It knows no other event, so
any process may do it.
"""

from __future__ import annotations

from binascii import crc32
from typing import Any, Final

import msgspec
from msgspec import Struct

from voucherify_sync.delivery.endpoints import PATHS
from voucherify_sync.keys import named_key
from voucherify_sync.mapping.compiled import Compiled
from voucherify_sync.mapping.filters import Filters
from voucherify_sync.mapping.payload import Mapping
from voucherify_sync.mapping.straight import Update
from voucherify_sync.model import Block, Kind, Outcome, Position, SegmentEvent, State
from voucherify_sync.reading.decode import decode
from voucherify_sync.running.older_updates import moment_of
from voucherify_sync.settings import Settings

SAMPLED: Final = 64
"""Of so many ordinary records one is looked at for values that no row takes; it counts so many times."""

KINDS: Final = {"identify": Kind.CUSTOMER, "track": Kind.EVENT}
PIECES: Final = 4
"""Pieces of text that make a line of the output."""

_HEADS: Final = {
    type_: b'{"method":"POST","path":"%b","body":' % PATHS[kind].encode() for type_, kind in KINDS.items()
}
_MOST_DIGITS: Final = 4_300
"""Python reads no longer integer, which makes a record invalid, also where nobody needs the number."""
_DIGITS: Final = bytes.maketrans(b"123456789", b"000000000")

_encode = msgspec.json.Encoder().encode

Row = tuple[bytes, int, str, int, Update | None]
"""What is known of a request beside its text: key, checksum of the payload, type of the event, line, update in it."""


class Planned(Struct, gc=False):
    """What was planned for some lines of one source, in their order.

    Attributes:
        source: as in Position.
        rows: one for each request.
        texts: PIECES for each request.
        rest: what else came of lines: the number of rows before it, and the outcome or the line itself.
    """

    source: str
    rows: list[Row]
    texts: list[bytes]
    rest: list[tuple[int, Outcome | Block]]


class Planner:
    """Plans requests of ordinary events.

    Args:
        mapping: the general one; rows that fire are counted there.
        settings: whose mapping it is.
        filters: what is left out.

    Attributes:
        sample: counts what a sample of the ordinary events lost.
    """

    def __init__(self, mapping: Mapping, settings: Settings, filters: Filters) -> None:
        self._compiled = Compiled(mapping, settings, moment_of)
        self._filters = filters
        self._keys = {type_: named_key(type_) for type_ in KINDS}
        self._general = Mapping(settings)
        self.sample = self._general.tally

    def plan(self, block: Block) -> Planned:
        """Plan a block of whole lines. Its loop is where a dry run spends its time."""
        decode_line, functions, keys = self._compiled.decode, self._compiled.functions, self._keys
        has_rules, sampled = self._filters.have_rules, 256 // SAMPLED
        source, place = block.source, b',"source":%b:' % _encode(block.source)[:-1]
        planned = Planned(source, [], [], [])
        rows, texts, rest = planned.rows, planned.texts, planned.rest
        for line, raw in enumerate(block.lines, block.first_line):
            made = None
            try:
                event = decode_line(raw)
                if not raw.isascii():
                    raw.decode()
                type_, message_id = event.type, event.messageId
                if has_rules or event.integrations or type_ not in functions:
                    outcome = self._left_out(event, raw, Position(source, line))
                    if outcome is not None:
                        rest.append((len(rows), outcome))
                        continue
                if message_id and not message_id.isspace() and not _may_hold_an_endless_number(raw):
                    made = functions[type_](event, source, line)
                    if made is not None:
                        payload = _encode(made[0])
            except (ValueError, KeyError, RecursionError):
                made = None
            if made is None:
                if raw and not raw.isspace():
                    rest.append((len(rows), Block(source, line, [raw])))
                continue
            key = keys[type_](message_id)
            if key[-1] < sampled:
                self._look_at_all(Block(source, line, [raw]))
            rows.append((key, crc32(payload), type_, line, made[1]))
            texts += (_HEADS[type_], payload, place, b'%d","messageId":%b}\n' % (line, _encode(message_id)))
        return planned

    def _left_out(self, event: Any, raw: bytes, position: Position) -> Outcome | None:
        """Return the outcome of an event that the filters leave out; ValueError where they need more of it."""
        looked_at = ("integrations", "userId", "anonymousId", "timestamp")
        fields = {name: getattr(event, name) for name in looked_at}
        if not event.type or (self._filters.have_period and moment_of(event.timestamp) is None):
            raise ValueError
        record = SegmentEvent(position, event.type, event.event, event.messageId, fields, raw)
        reason = self._filters.reason_to_skip(record)
        if reason is not None:
            return Outcome(record, State.SKIPPED, reason)
        if self._filters.leave_out_customers:
            raise ValueError
        return None

    def _look_at_all(self, block: Block) -> None:
        """Count the values of an ordinary event that no row takes."""
        for record in decode(block):
            if isinstance(record, SegmentEvent):
                self._general.request(record)


def _may_hold_an_endless_number(raw: bytes) -> bool:
    return len(raw) > _MOST_DIGITS and b"0" * (_MOST_DIGITS + 1) in raw.translate(_DIGITS)
