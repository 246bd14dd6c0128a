"""Decode lines: a Block in, a SegmentEvent an event out, and an invalid Outcome for each thing that is none.

Values come out unaltered; what cannot be read exactly is invalid. No line makes it raise, and none fills the memory.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from math import isfinite
from typing import Any, Final, TypedDict

import msgspec
from msgspec import Struct

from voucherify_sync.model import BadRecord, Block, Json, Outcome, Position, SegmentEvent, State
from voucherify_sync.reading.lenient import MAX_INTEGER, Lenient, UnreadableError, decode_leniently, encode
from voucherify_sync.reading.lines import MAX_LINE
from voucherify_sync.reading.members import BrokenError, first_byte, has_more_values, items, members

__all__ = ["MAX_BATCH", "MAX_VALUES", "Decode", "Record", "decode", "decoder", "portions"]

Record = SegmentEvent | Outcome

Decode = Callable[[Block], Iterator[Record]]
"""Makes records of a block."""

MAX_VALUES: Final = 110_000
"""Values of an event, which are keys and items at any depth. Decoded, each of them may take 300 bytes."""

MAX_LINE_VALUES: Final = 1_000_000
"""Values of all events of a line. No line of MAX_LINE bytes that holds real events has so many."""

MAX_COMMON: Final = 64 * 1024
"""Bytes of what an envelope adds to each of its events, encoded; twice what Segment takes for a whole event."""

_MAX_MEMBERS: Final = 1_000
"""Members of an envelope; Segment's have five."""

_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_DIGITS: Final = bytes.maketrans(b"123456789", b"000000000")

MAX_BATCH: Final = 1_000
"""Records that are looked at together."""

MAX_BATCH_BYTES: Final = 1 << 20
"""Bytes of their text, about."""

_decode_json = msgspec.json.Decoder().decode

_COMMON = ("context", "integrations")
_WAREHOUSE_COLUMNS = ("received_at", "event_text", "uuid_ts")
_WAREHOUSE = "this looks like a row of a warehouse export, which is not the event as it was sent"
_NO_EVENTS = "the list of events is empty"
_NO_TYPE = "an event has a type: identify, track, page, ..."
_TOO_LONG = f"the line is longer than {MAX_LINE // 2**20} MiB"
_COMMON_TOO_LONG = f"context and integrations of the envelope are longer than {MAX_COMMON // 2**10} KiB"
_TOO_MANY = f"more than {MAX_VALUES:,} keys and items are in it"
_TOO_MANY_IN_LINE = f"more than {MAX_LINE_VALUES:,} keys and items are in the line"


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
        yield from _records_of(Position(block.source, number), raw)


def _records_of(position: Position, raw: bytes) -> Iterator[Record]:
    """Yield what one line holds."""
    line = _Line(position, raw)
    if len(raw) > MAX_VALUES and has_more_values(raw, MAX_VALUES):
        yield from _large_line(line)
        return
    try:
        value = _decode_json(raw)
    except (ValueError, RecursionError):
        if raw.strip():
            yield from _odd_line(line)
        return
    if type(value) is dict and type(kind := value.get("type")) is str and kind.strip():
        yield _event(line, kind, value)
    else:
        yield from _records(line, value)


def decoder(needs: Mapping[str, frozenset[str] | None]) -> Decode:
    """Return a ``decode`` that leaves out of the fields what nobody looks at, which takes half the time.

    An event is decoded as a whole where that could make a difference: if it is not read by the strict decoder, or has
    no messageId, so that all of it tells which event it is.

    Args:
        needs: the keys at the top of an event that are looked at, each with those inside it; None: all of them.
    """
    keys = {
        key: Any if inside is None else _object_with(dict.fromkeys(inside, Any)) | None
        for key, inside in needs.items()
    }
    decode_needed = msgspec.json.Decoder(_object_with(keys)).decode
    has_message_ids = True  # the events before had one: those of an archive are alike

    def decode_block(block: Block) -> Iterator[Record]:
        nonlocal has_message_ids
        if block.truncated:
            yield _too_long(block)
            return
        source = block.source
        for number, raw in enumerate(block.lines, block.first_line):
            try:
                if not has_message_ids or _may_be_odd(raw):
                    raise ValueError  # noqa: TRY301  # as if the decoder had seen it
                fields = decode_needed(raw)
                kind, message_id = fields["type"], fields["messageId"]
                if type(kind) is str and type(message_id) is str and kind.strip() and message_id.strip():
                    name = fields.get("event")
                    if type(name) is not str:
                        name = None
                    yield SegmentEvent(Position(source, number), kind, name, message_id, fields, raw)
                    continue
            except (ValueError, KeyError, RecursionError):
                pass
            for record in _records_of(Position(source, number), raw):
                has_message_ids = type(record) is Outcome or record.message_id is not None  # type: ignore[union-attr]
                yield record

    return decode_block


def _object_with(keys: dict[str, Any]) -> Any:
    """Return the type of an object of which only some keys are decoded."""
    return TypedDict("Needed", keys, total=False)  # type: ignore[operator]


def _may_be_odd(raw: bytes) -> bool:
    """Tell whether a line holds what the strict decoder refuses, and may not see where it skips.

    Raises:
        UnicodeDecodeError: it is no UTF-8.
    """
    if not raw.isascii():
        raw.decode()
    if b"\\" in raw and _SURROGATE.search(raw):
        return True
    length = len(raw)
    return length > MAX_INTEGER and (length > MAX_VALUES or b"0" * MAX_INTEGER in raw.translate(_DIGITS))


def portions(records: Iterable[Record], most: int = MAX_BATCH) -> Iterator[list[Record]]:
    """Yield records in lists of so many at most, and of about 1 MiB: all records of a line may be too many for one."""
    portion: list[Record] = []
    size = 0
    for record in records:
        portion.append(record)
        size += len(record.record.raw if type(record) is Outcome else record.raw)  # type: ignore[union-attr]
        if size >= MAX_BATCH_BYTES or len(portion) == most:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion


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


def _large_line(line: _Line) -> Iterator[Record]:
    """Yield the records of a line with too many values to be decoded at once: an array is decoded item by item."""
    opening = first_byte(line.raw)
    if opening not in (b"[", b"{"):
        yield from _odd_line(line)  # no decoder goes on after its first value, which is a scalar
    elif has_more_values(line.raw, MAX_LINE_VALUES):
        yield _invalid(line, "too_many_values", _TOO_MANY_IN_LINE)
    else:
        yield from _one_by_one(line)


def _one_by_one(line: _Line) -> Iterator[Record]:
    """Yield the records of a line, decoding one item after the other, each from its own bytes."""
    if first_byte(line.raw) == b"[":
        yield from _array_of_texts(line, line.raw, {})
    else:
        yield from _object_of_texts(line)


def _object_of_texts(line: _Line) -> Iterator[Record]:
    """Yield the records of an envelope of many events; any other object is one invalid record."""
    try:
        found = list(islice(members(line.raw), _MAX_MEMBERS + 1))
        texts = {_read(member.key).value: member.value for member in found}
        parts = {key: _read(texts[key]) for key in ("type", *_COMMON) if key in texts}
    except UnreadableError as error:
        yield _invalid(line, error.reason, error.detail)
        return
    envelope = {key: part.value for key, part in parts.items()}
    batch = texts.get("batch", b"")
    if batch.startswith(b"[") and not _has_type(envelope) and len(found) <= _MAX_MEMBERS:
        repaired = any(part.repaired for part in parts.values())
        unsafe = any(part.unsafe for part in parts.values())
        yield from _array_of_texts(_Line(line.position, line.raw, repaired, unsafe), batch, envelope)
    else:
        yield _invalid(line, "too_many_values", _TOO_MANY)


def _array_of_texts(line: _Line, text: bytes, envelope: Json) -> Iterator[Record]:
    """Yield the records of an array; from an item on that is broken, so that it has no end, it is one record."""
    if _adds_too_much(line, envelope):
        yield _invalid(line, "too_long", _COMMON_TOO_LONG)
        return
    index = -1
    try:
        for index, item in enumerate(items(text)):
            yield _record_of_text(line, index, item, envelope)
        if index < 0:
            yield _invalid(line, "no_events", _NO_EVENTS)
    except BrokenError as error:
        rest = line if index < 0 else _Line(_at(line, index + 1), text[error.at :])
        yield _invalid(rest, error.reason, error.detail)


def _record_of_text(line: _Line, index: int, text: bytes, envelope: Json) -> Record:
    """Return the record of an item as it is written; the flags of the line are those of its envelope."""
    try:
        read = _read(text)
        flags = (line.repaired or read.repaired, line.unsafe or read.unsafe)
        return _item(_Line(line.position, text, *flags), index, read.value, envelope)
    except UnreadableError as error:
        return _invalid(_Line(_at(line, index), text), error.reason, error.detail)


def _read(text: bytes) -> Lenient:
    """Decode a part of a line.

    Raises:
        UnreadableError: it is no JSON, cannot be read exactly, or holds too many values to be decoded.
    """
    if has_more_values(text, MAX_VALUES):
        raise UnreadableError("too_many_values", _TOO_MANY)
    try:
        return Lenient(_decode_json(text), repaired=False, unsafe=False)
    except (ValueError, RecursionError):
        return decode_leniently(text)


def _records(line: _Line, value: Any) -> Iterator[Record]:
    """Yield the records of a decoded line: one, or one an item of an array or an envelope (Segment's HTTP API)."""
    if isinstance(value, list):
        yield from _items(line, value, {})
    elif isinstance(value, dict) and isinstance(value.get("batch"), list) and not _has_type(value):
        yield from _items(line, value["batch"], value)
    else:
        yield _record(line, value)


def _items(line: _Line, values: list[Any], envelope: Json) -> Iterator[Record]:
    if not values:
        yield _invalid(line, "no_events", _NO_EVENTS)
    elif _adds_too_much(line, envelope):
        yield _invalid(line, "too_long", _COMMON_TOO_LONG)
        return
    for index, value in enumerate(values):
        try:
            yield _item(line, index, value, envelope)
        except UnreadableError:  # the bytes of an item that cannot be encoded are those that were read
            yield from islice(_one_by_one(line), index, None)
            return


def _item(line: _Line, index: int, value: Any, envelope: Json) -> Record:
    """Return the record of an item, which is encoded anew, as an envelope adds to it.

    Raises:
        UnreadableError: it is nested too deep to be encoded.
    """
    merged = _merged(value, envelope) if isinstance(value, dict) else value
    return _record(
        _Line(_at(line, index), encode(merged, unsafe=line.unsafe), line.repaired, line.unsafe), merged
    )


def _at(line: _Line, index: int) -> Position:
    return Position(line.position.source, line.position.line, index)


def _adds_too_much(line: _Line, envelope: Json) -> bool:
    """Tell whether an envelope makes each of its events so long that all of them would take hours to encode."""
    if len(line.raw) <= MAX_COMMON:
        return False
    try:
        return len(encode({key: envelope.get(key) for key in _COMMON}, unsafe=line.unsafe)) > MAX_COMMON
    except UnreadableError:  # no event can be encoded with it
        return False


def _merged(item: Json, envelope: Json) -> Json:
    """Return the item with the envelope's context and integrations under its own, as Segment merges them."""
    merged = dict(item)
    for key in _COMMON:
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
        try:
            raw = encode(event, unsafe=line.unsafe)
        except UnreadableError as error:
            return _invalid(line, error.reason, error.detail)
        return _event(_Line(line.position, raw, line.repaired, line.unsafe), event["type"], event)
    looks_flat = any(column in value for column in _WAREHOUSE_COLUMNS)
    return _invalid(line, "no_type", _WAREHOUSE if looks_flat else _NO_TYPE, value)


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
    """Return the messageId as text; a float has the shortest one that is read as the same number."""
    value = fields.get("messageId")
    if isinstance(value, str):
        return value if value.strip() else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return str(value) if isinstance(value, int) or isfinite(value) else None
