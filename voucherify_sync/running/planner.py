"""What a dry run plans for the lines of a block: blocks in, requests out, and the lines that need the Replay.

An ordinary event goes straight down: what is needed of it is decoded, mapped and encoded. It knows no other event, so
any process may do it.
"""

from __future__ import annotations

from binascii import crc32
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from voucherify_sync.delivery.endpoints import PATHS
from voucherify_sync.keys import named_key
from voucherify_sync.mapping.compiled import Compiled
from voucherify_sync.mapping.filters import Filters
from voucherify_sync.mapping.payload import Mapping
from voucherify_sync.mapping.straight import Update
from voucherify_sync.mapping.tally import Counts
from voucherify_sync.model import Block, Kind, Outcome, Position, SegmentEvent, State
from voucherify_sync.reading.decode import decode
from voucherify_sync.running.older_updates import moment_of
from voucherify_sync.settings import Settings

SAMPLED: Final = 64
"""Of so many ordinary records one is looked at for values that no row takes; it counts so many times."""

EXACT_LINES: Final = 1_000
"""Lines of the first source that the Replay walks, so that small archives are counted exactly."""

KINDS: Final = {"identify": Kind.CUSTOMER, "track": Kind.EVENT}

_HEADS: Final = {
    type_: b'{"method":"POST","path":"%b","body":' % PATHS[kind].encode() for type_, kind in KINDS.items()
}
_LINE: Final = b'%b%b%b%d","messageId":%b}\n'
_MOST_DIGITS: Final = 4_300
"""Python reads no longer integer, which makes a record invalid, also where nobody needs the number."""
_DIGITS: Final = bytes.maketrans(b"123456789", b"000000000")

_encode = msgspec.json.Encoder().encode


class Planned(Struct, gc=False):
    """What was planned for some lines of one source, in their order; an entry of each list belongs to one request.

    Attributes:
        source: as in Position.
        keys: record_key of the events.
        checksums: of the payloads.
        types: of the events.
        lines: 1-based, where the events stand.
        updates: of customers, None for a request that updates none.
        texts: the lines that tell the requests.
        rest: what else came of lines: the number of requests before it, and the outcome or the line itself.
    """

    source: str
    keys: list[bytes] = field(default_factory=list)
    checksums: list[int] = field(default_factory=list)
    types: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    updates: list[Update | None] = field(default_factory=list)
    texts: list[bytes] = field(default_factory=list)
    rest: list[tuple[int, Outcome | Block]] = field(default_factory=list)


class Planner:
    """Plans requests of ordinary events.

    Args:
        mapping: the general one; rows that fire are counted there.
        settings: whose mapping it is.
        filters: what is left out.

    """

    def __init__(self, mapping: Mapping, settings: Settings, filters: Filters) -> None:
        self._mapping = mapping
        self._filters = filters
        self._compiled = Compiled(mapping, settings, moment_of)
        self._keys = {type_: named_key(type_) for type_ in KINDS}
        self._sample = Mapping(settings)

    def plan_all(self, blocks: Iterable[Block]) -> Iterator[Planned | Block]:
        """Plan block by block, and tell the tally of the sample in the end."""
        first_source = None
        for block in blocks:
            first_source = first_source or block.source
            yield from self.planned(block, is_first=block.source == first_source)
        self._mapping.tally.add_sample(self.lost, SAMPLED)

    def planned(self, block: Block, *, is_first: bool) -> Iterator[Planned | Block]:
        """Plan a block. What is for the Replay as a whole comes back: the beginning, and a line that is too long.

        Args:
            block: any.
            is_first: it is one of the first source of all.
        """
        beginning = EXACT_LINES + 1 - block.first_line if is_first else 0
        if block.truncated or beginning >= len(block.lines):
            yield block
            return
        if beginning > 0:
            yield Block(block.source, block.first_line, block.lines[:beginning])
            block = Block(block.source, EXACT_LINES + 1, block.lines[beginning:])
        yield self.plan(block)

    @property
    def lost(self) -> dict[str, Counts]:
        """What the sample lost, by type of event and path."""
        tally = self._sample.tally
        return {"identify": tally.identify.unmapped, "track": tally.track.unmapped}

    def plan(self, block: Block) -> Planned:
        """Plan a block of whole lines. Its loop is where a dry run spends its time."""
        decode_line, functions, keys = self._compiled.decode, self._compiled.functions, self._keys
        has_rules, sampled = self._filters.have_rules, 256 // SAMPLED
        source, place = block.source, b',"source":%b:' % _encode(block.source)[:-1]
        planned = Planned(source)
        texts, rest = planned.texts, planned.rest
        for line, raw in enumerate(block.lines, block.first_line):
            try:
                event = decode_line(raw)
                if len(raw) > _MOST_DIGITS or not raw.isascii():
                    _check_what_is_skipped(raw)
                type_ = event.type
                if has_rules or event.integrations or type_ not in functions:
                    outcome = self._left_out(event, Position(source, line))
                    if outcome is not None:
                        rest.append((len(texts), outcome))
                        continue
                body, update = functions[type_](event, source, line)
                payload = _encode(body)
            except (ValueError, KeyError, RecursionError):  # it is not ordinary
                if raw.strip():
                    rest.append((len(texts), Block(source, line, [raw])))
                continue
            key = keys[type_](event.messageId)
            if key[-1] < sampled:
                self._look_at_all(Block(source, line, [raw]))
            planned.keys.append(key)
            planned.checksums.append(crc32(payload))
            planned.types.append(type_)
            planned.lines.append(line)
            planned.updates.append(update)
            message_id = _encode(event.messageId)
            texts.append(_LINE % (_HEADS[type_], payload, place, line, message_id))
        return planned

    def _left_out(self, event: Any, position: Position) -> Outcome | None:
        """Return the outcome of an event that the filters leave out; ValueError where they need more of it."""
        looked_at = ("integrations", "userId", "anonymousId", "timestamp")
        fields = {name: getattr(event, name) for name in looked_at}
        if not event.type or (self._filters.have_period and moment_of(event.timestamp) is None):
            raise ValueError
        record = SegmentEvent(position, event.type, event.event, event.messageId, fields, b"")
        reason = self._filters.reason_to_skip(record)
        if reason is not None:
            return Outcome(replace(record, fields={}), State.SKIPPED, reason)
        if self._filters.leave_out_customers:
            raise ValueError
        return None

    def _look_at_all(self, block: Block) -> None:
        """Count the values of an ordinary event that no row takes."""
        for record in decode(block):
            if isinstance(record, SegmentEvent):
                self._sample.request(record)


def _check_what_is_skipped(raw: bytes) -> None:
    """Raise ValueError for what the general decoder would not take, and the other does not see where it skips."""
    raw.decode()
    if len(raw) > _MOST_DIGITS and b"0" * (_MOST_DIGITS + 1) in raw.translate(_DIGITS):
        raise ValueError
