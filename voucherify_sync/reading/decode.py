"""Decode lines: a Block in, a SegmentEvent an event out, and an invalid Outcome for each thing that is none.

Values come out unaltered; what cannot be read exactly is invalid. No line makes it raise.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct

from voucherify_sync.model import BadRecord, Block, Json, Outcome, Position, SegmentEvent, State
from voucherify_sync.reading.lenient import UnreadableError, decode_leniently, encode
from voucherify_sync.reading.lines import MAX_LINE
from voucherify_sync.reading.times import event_time

__all__ = ["decode", "event_time"]

Record = SegmentEvent | Outcome

_decode_json = msgspec.json.Decoder().decode

_WAREHOUSE_COLUMNS = ("received_at", "event_text", "uuid_ts")
_WAREHOUSE = "this looks like a row of a warehouse export, which is not the event as it was sent"
_NO_TYPE = "an event has a type: identify, track, page, ..."
_TOO_LONG = f"the line is longer than {MAX_LINE // 2**20} MiB"


class _Line(Struct, frozen=True):
    """What the records of one line have in common; the flags are those of SegmentEvent."""

    position: Position
    raw: bytes
    repaired: bool = False
    unsafe: bool = False


def decode(block: Block) -> Iterator[Record]:
    """Yield what the lines hold, in order: events, and invalid outcomes for what is none.

    A blank line is no record. An envelope or an array yields one record an item. An event with a line of its
    own keeps that line as its `raw`.
    """
    if block.truncated:
        yield _too_long(block)
        return
    for number, raw in enumerate(block.lines, block.first_line):
        line = _Line(Position(block.source, number), raw)
        try:
            value = _decode_json(raw)
        except (ValueError, RecursionError):
            if raw.strip():
                yield from _odd_line(line)
            continue
        if type(value) is dict and type(kind := value.get("type")) is str and kind.strip():
            yield _event(line, kind, value)
        else:
            yield from _records(line, value)


def _too_long(block: Block) -> Outcome:
    head = block.lines[0]
    detail = _TOO_LONG
    if head.lstrip().startswith(b"["):
        detail += "; if it is one array of events, put one on a line: jq -c '.[]'"
    return _invalid(_Line(Position(block.source, block.first_line), head), "too_long", detail)


def _odd_line(line: _Line) -> Iterator[Record]:
    """Yield the records of a line that the strict decoder refuses."""
    try:
        read = decode_leniently(line.raw)
    except UnreadableError as error:
        yield _invalid(line, error.reason, error.detail)
    else:
        yield from _records(_Line(line.position, line.raw, read.repaired, read.unsafe), read.value)


def _records(line: _Line, value: Any) -> Iterator[Record]:
    """Yield the records of a decoded line: one, or one an item of an array or an envelope (Segment's HTTP API)."""
    if isinstance(value, list):
        yield from _items(line, value, {})
    elif isinstance(value, dict) and isinstance(value.get("batch"), list) and not _has_type(value):
        yield from _items(line, value["batch"], value)
    else:
        yield _record(line, value)


def _items(line: _Line, items: list[Any], envelope: Json) -> Iterator[Record]:
    if not items:
        yield _invalid(line, "no_events", "the list of events is empty")
    for index, item in enumerate(items):
        position = Position(line.position.source, line.position.line, index)
        merged = _merged(item, envelope) if isinstance(item, dict) else item
        yield _re_encoded(line, position, merged)


def _merged(item: Json, envelope: Json) -> Json:
    """Return the item with the envelope's context and integrations under its own, as Segment merges them."""
    merged = dict(item)
    for key in ("context", "integrations"):
        common, own = envelope.get(key), item.get(key)
        if isinstance(common, dict) and (own is None or isinstance(own, dict)):
            merged[key] = {**common, **(own or {})}
    return merged


def _record(line: _Line, value: Any) -> Record:
    """Return the one record of a value: an event, bare or in the wrapper of RudderStack's archiver, or neither."""
    if not isinstance(value, dict):
        return _invalid(line, "not_an_object", "an event is a JSON object")
    if _has_type(value):
        return _event(line, value["type"], value)
    payload = value.get("payload")
    if isinstance(payload, dict) and _has_type(payload):
        event = {"messageId": value["messageId"], **payload} if "messageId" in value else payload
        return _re_encoded(line, line.position, event)
    looks_flat = any(column in value for column in _WAREHOUSE_COLUMNS)
    return _invalid(line, "no_type", _WAREHOUSE if looks_flat else _NO_TYPE, value)


def _re_encoded(line: _Line, position: Position, value: Any) -> Record:
    """Return the record of a value that is a part of its line: the value encoded is its `raw`."""
    try:
        raw = encode(value, unsafe=line.unsafe)
    except UnreadableError as error:
        return _invalid(_Line(position, line.raw), error.reason, error.detail)
    return _record(_Line(position, raw, line.repaired, line.unsafe), value)


def _has_type(value: Json) -> bool:
    kind = value.get("type")
    return isinstance(kind, str) and bool(kind.strip())


def _event(line: _Line, kind: str, fields: Json) -> SegmentEvent:
    name, message_id = _name(fields), _message_id(fields)
    return SegmentEvent(line.position, kind, name, message_id, fields, line.raw, line.repaired, line.unsafe)


def _invalid(line: _Line, reason: str, detail: str, fields: Json | None = None) -> Outcome:
    fields = fields or {}
    record = BadRecord(line.position, line.raw, None, _name(fields), _message_id(fields))
    return Outcome(record, State.INVALID, reason, detail)


def _name(fields: Json) -> str | None:
    name = fields.get("event")
    return name if isinstance(name, str) else None


def _message_id(fields: Json) -> str | None:
    value = fields.get("messageId")
    if isinstance(value, str):
        return value if value.strip() else None
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return str(value)
    return None
