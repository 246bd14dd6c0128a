"""The straight way of ordinary events: a block in, their requests out, and what came of the other lines.

What is needed of an event is decoded, mapped and encoded. It knows no other event, so any process may do it.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import Any, Final

import msgspec
from msgspec import Struct

from voucherify_sync.mapping.compiled import Compiled
from voucherify_sync.mapping.filters import Filters, Selection
from voucherify_sync.mapping.payload import Mapping
from voucherify_sync.mapping.straight import Update
from voucherify_sync.model import Block, Position, SegmentEvent
from voucherify_sync.reading.decode import MAX_VALUES
from voucherify_sync.reading.lenient import MAX_INTEGER
from voucherify_sync.reading.times import event_time
from voucherify_sync.running.older_updates import moment_of
from voucherify_sync.settings import Settings

_DIGITS: Final = bytes.maketrans(b"123456789", b"000000000")

_encode = msgspec.json.Encoder().encode


# A NamedTuple would say more, and takes a tenth of the whole time to make.
Made = tuple[int, bytes, Any, Any, bytes, Update | None, str | None]
"""A request: where its event stands, from line 1 on; the line and its end; what was decoded of it; the body, and the
body encoded; the update of a customer, if it is one; the name that one gets from ``properties.name``, if one does."""


class Other(Struct, gc=False):
    """What came of a line that is no ordinary event.

    Attributes:
        line: 1-based, where it stands.
        raw: the line and its end, if it needs the Replay.
        truncated: as in Block.
        type: the event's, if a rule leaves it out.
        name: the event's, if a rule leaves it out.
        reason: as in Outcome, if a rule leaves it out.
    """

    line: int
    raw: bytes = b""
    truncated: bool = False
    type: str = ""
    name: str | None = None
    reason: str | None = None

    def as_block(self, source: str) -> Block:
        """Return the line, for the general decoder."""
        return Block(source, self.line, self.raw, self.truncated)


class Ordinary:
    """Makes the requests of ordinary events.

    Args:
        settings: their mapping and filters.
        selection: the filters of the command line.

    Attributes:
        mapping: whose rows fire.
        filters: whose names are met.
    """

    def __init__(self, settings: Settings, selection: Selection) -> None:
        self.filters = Filters(settings, selection, lambda event: event_time(event.fields))
        self.mapping = Mapping(settings)
        self._compiled = Compiled(self.mapping, settings, moment_of)

    def requests(self, block: Block, others: list[Other]) -> Iterator[Made]:
        """Yield the requests of a block, and note what else there is, blank lines excepted."""
        if block.truncated:
            others.append(Other(block.first_line, block.text, truncated=True))
            return
        decode, functions = self._compiled.decode, self._compiled.functions
        has_rules = self.filters.have_rules
        for line, raw in enumerate(BytesIO(block.text), block.first_line):
            try:
                if is_long := len(raw) > MAX_INTEGER:
                    _check_length(raw)
                event = decode(raw)
                if is_long or not raw.isascii():
                    _check_what_is_skipped(raw)
                type_ = event.type
                if has_rules or type_ not in functions:
                    reason = self._reason_to_skip(event, Position(block.source, line))
                    if reason is not None:
                        others.append(Other(line, type=type_, name=event.event, reason=reason))
                        continue
                body, update, renamed = functions[type_](event)
                payload = _encode(body)
            except (ValueError, KeyError, RecursionError):  # it is not ordinary
                if raw.strip():
                    others.append(Other(line, raw))
                continue
            yield line, raw, event, body, payload, update, renamed

    def _reason_to_skip(self, event: Any, position: Position) -> str | None:
        """Return why the filters leave an event out, or None; ValueError where they need more of it."""
        looked_at = ("userId", "anonymousId", "timestamp")
        fields = {name: getattr(event, name) for name in looked_at}
        if not event.type or (self.filters.have_period and moment_of(event.timestamp) is None):
            raise ValueError
        reason = self.filters.reason_to_skip(
            SegmentEvent(position, event.type, event.event, event.messageId, fields, b"")
        )
        if reason is None and self.filters.leave_out_customers:
            raise ValueError
        return reason


def _check_length(raw: bytes) -> None:
    """Raise ValueError for a line that may hold more values than the general decoder takes at once."""
    if len(raw) > MAX_VALUES:
        raise ValueError


def _check_what_is_skipped(raw: bytes) -> None:
    """Raise ValueError for what the general decoder might refuse, and this one does not see where it skips."""
    raw.decode()
    if len(raw) > MAX_INTEGER and b"0" * MAX_INTEGER in raw.translate(_DIGITS):
        raise ValueError
