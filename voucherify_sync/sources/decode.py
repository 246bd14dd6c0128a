"""Decode lines to events, and to an invalid Outcome for each record that is no event.

The strict decoder reads nearly every line. What it refuses is cut into the values that stand one after the other on the
line, and each is decoded again, leniently: text that is no Unicode is repaired with U+FFFD, and the event knows which
of its texts that are. A number is never altered: if it cannot be read exactly, the record is invalid. No line makes
this module raise, and none fills the memory: a line with very many values is cut into its items as bytes, which are
decoded one by one.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice, takewhile
from math import isfinite
from typing import Any, Final, TypedDict

import msgspec
from msgspec import Struct

from voucherify_sync.events import (
    EVENT_TYPES,
    WAREHOUSE_COLUMNS,
    BadRecord,
    Batch,
    Event,
    Json,
    Position,
    event_type,
)
from voucherify_sync.outcomes import Outcome, State
from voucherify_sync.sources.json_text import (
    MAX_VALUE_BYTES,
    BrokenError,
    Values,
    after_separators,
    first_byte,
    has_more_values,
    items,
    members,
)
from voucherify_sync.stop import Stop
from voucherify_sync.text import counted, text_of

Record = Event | Outcome
"""An event, or how a record ends that is none."""

Decode = Callable[[Batch], Iterator[Record]]
"""Makes records of a batch."""

MAX_VALUES: Final = 110_000
"""Values of an event, which are keys and items at any depth. Decoded, each of them may take 300 bytes."""

MAX_LINE_VALUES: Final = 1_000_000
"""Values of all events of an array or envelope. None of MAX_VALUE_BYTES bytes that holds real events has more."""

MAX_COMMON_BYTES: Final = 64 * 1024
"""Bytes of what an envelope adds to each of its events, encoded; twice what Segment takes for a whole event."""

_MAX_MEMBERS: Final = 1_000
"""Members of an envelope; Segment's have five."""

MAX_INTEGER_LENGTH: Final = 4_300
"""Characters of an integer, its sign included: the strict decoder reads no longer one, whatever Python would do."""

_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_TYPE: Final = re.compile(rb'"type"[ \t\r\n]*+:[ \t\r\n]*+"(?i:%b)"' % "|".join(EVENT_TYPES).encode())
_BATCH: Final = re.compile(rb'"batch"[ \t\r\n]*+:[ \t\r\n]*+\[')
_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_MARKING: Final = "voucherify_sync.mark"


def _mark(error: UnicodeError) -> tuple[str, int]:
    """Return what stands for bytes that are no UTF-8 until the text is repaired, and where they end.

    It is a low surrogate, which begins no pair. It depends on the bytes, so that two keys do not become one.
    """
    assert isinstance(error, UnicodeDecodeError)  # noqa: S101  # only bytes are decoded so
    return chr(0xDC00 + int.from_bytes(error.object[error.start : error.end], "big") % 0x400), error.end


codecs.register_error(_MARKING, _mark)
_DIGITS: Final = bytes.maketrans(b"123456789", b"000000000")  # so that any long number is a run of zeros

MAX_BATCH_RECORDS: Final = 1_000
"""Records that the pipeline decides together."""

MAX_BATCH_BYTES: Final = 1 << 20
"""Bytes of their text, about."""

_RECORDS_A_LOOK: Final = 16
"""Records between two looks at whether the run stops."""

KEPT_VALUE_BYTES: Final = 64 * 1024
"""Bytes that are kept of a value that is too long."""

_decode_json = msgspec.json.Decoder().decode

_COMMON = ("context", "integrations")  # keys of an envelope that hold for each of its events
_WAREHOUSE = "this looks like a row of a warehouse export, which is not the event as it was sent"
_NO_EVENTS = "the list of events is empty"
_NO_TYPE = "an event has a type: identify, track, page, ..."
_TOO_DEEP = "objects or lists are nested too deep"
_TOO_LONG = f"it is longer than {MAX_VALUE_BYTES // 2**20} MiB"
_COMMON_TOO_LONG = f"context and integrations of the envelope are longer than {MAX_COMMON_BYTES // 2**10} KiB"
_TOO_MANY = f"more than {MAX_VALUES:,} keys and items are in it"
_TOO_MANY_IN_LINE = f"more than {MAX_LINE_VALUES:,} keys and items are in it"


class _Text(Struct, frozen=True):
    """Bytes of which records are made.

    Attributes:
        position, raw, unsafe: as in Event.
        is_marked: values that were decoded of it may hold lone surrogates, where its text is broken.
    """

    position: Position
    raw: bytes
    is_marked: bool = False
    unsafe: bool = False

    def at(self, index: int) -> Position:
        """Return the position of an item; those of an array go on from where the array stands on its line."""
        return Position(self.position.source, self.position.line, (self.position.item or 0) + index)


def decode(batch: Batch) -> Iterator[Record]:
    """Yield what the lines hold, in order: events, and invalid outcomes for what is none.

    A blank line is no record. An envelope or an array yields one record an item, and so do values that stand one after
    the other on a line. An event with a line of its own keeps that line as its `raw`.
    """
    if batch.truncated or batch.first_item is not None:
        yield from _records_of_part(batch)
        return
    for number, raw in enumerate(batch.lines, batch.first_line):
        yield from _records_of(_Text(Position(batch.source, number), raw))


def _records_of(text: _Text) -> Iterable[Record]:
    """Return what one line holds."""
    raw = text.raw
    if len(raw) > MAX_VALUES and has_more_values(raw, MAX_VALUES):
        return _values(text)
    try:
        value = _decode_json(raw)
    except (ValueError, RecursionError):
        return _values(text)
    return _records_of_value(text, value)


def _records_of_part(batch: Batch) -> Iterable[Record]:
    """Return what a part of a line holds: some of its values, or the head of one that is too long."""
    text = _Text(Position(batch.source, batch.first_line, batch.first_item), batch.text)
    return [_too_long(text)] if batch.truncated else _values(text, in_array=batch.in_array)


def _values(text: _Text, *, in_array: bool = False) -> Iterator[Record]:
    """Yield the records of values that stand one after the other, numbered as the items of one array.

    An event that is alone on its line has no number. A value that is broken is one invalid record.

    Args:
        text: that holds them.
        in_array: it begins in an array of which the items are read one by one.
    """
    count = 0
    values = Values(text.raw, in_array=in_array)
    for begin, end in values:
        is_alone = (
            text.position.item is None
            and not count
            and not values.in_array
            and after_separators(text.raw, end, len(text.raw)) == len(text.raw)
        )
        value = _Text(text.position if is_alone else text.at(count), text.raw[begin:end])
        records: Iterable[Record]
        try:
            records = _records_of_bytes(value)
        except UnreadableError as error:
            own_end = values.restart(begin, end) if error.reason == "not_json" else end
            if own_end is None:
                continue
            value = _Text(value.position if own_end == end else text.at(count), text.raw[begin:own_end])
            records = [_unreadable(value, error)]
        for record in records:
            yield record
            count += 1


def _records_of_bytes(text: _Text) -> Iterable[Record]:
    """Return what one value holds, which the strict decoder may refuse.

    Raises:
        UnreadableError: it is no JSON, or cannot be read exactly.
    """
    raw = text.raw
    if len(raw) > MAX_VALUE_BYTES:
        return [_too_long(_Text(text.position, raw[:KEPT_VALUE_BYTES]))]
    if len(raw) > MAX_VALUES and has_more_values(raw, MAX_VALUES) and first_byte(raw) in (b"[", b"{"):
        is_too_large = has_more_values(raw, MAX_LINE_VALUES)
        return [_invalid(text, "too_many_values", _TOO_MANY_IN_LINE)] if is_too_large else _one_by_one(text)
    text, value = _read(text)
    return _records_of_value(text, value)


def _records_of_value(text: _Text, value: Any) -> Iterable[Record]:
    """Return what a decoded value holds."""
    if isinstance(value, dict) and _has_type(value):
        return (_event(text, value),)
    if isinstance(value, list):
        return _items(text, value, {})
    if isinstance(value, dict) and isinstance(value.get("batch"), list):
        return _items(text, value["batch"], value)  # an envelope of Segment's HTTP API
    return (_record(text, value),)


def decoder(projection: Mapping[str, frozenset[str] | None]) -> Decode:
    """Return a ``decode`` that decodes only the fields that a run looks at, which takes half the time.

    An event is decoded as a whole where that could make a difference: if it is not read by the strict decoder, or has
    no messageId, so that all of it tells which event it is.

    Args:
        projection: the keys at the top of an event that are looked at, each with those inside it; None: all of them.
    """
    # msgspec looks for a key behind the last one that it found: the usual keys of an archive stand in this order.
    keys = {
        key: Any if inside is None else _object_with(dict.fromkeys(inside, Any)) | None
        for key, inside in sorted(projection.items(), key=lambda item: ("." in item[0], item[0]))
    }
    decode_needed = msgspec.json.Decoder(_object_with(keys)).decode
    has_message_ids = True  # the events before had one: those of an archive are alike

    def decode_batch(batch: Batch) -> Iterator[Record]:
        nonlocal has_message_ids
        if batch.truncated or batch.first_item is not None:
            yield from _records_of_part(batch)
            return
        source = batch.source
        for number, raw in enumerate(batch.lines, batch.first_line):
            try:
                if not has_message_ids or _may_be_odd(raw):
                    raise ValueError  # noqa: TRY301  # as if the decoder had seen it
                fields = decode_needed(raw)
                kind, message_id = fields["type"], fields["messageId"]
                if (
                    type(kind) is str
                    and type(message_id) is str
                    and (kind := EVENT_TYPES.get(kind) or event_type(kind))
                    and message_id.strip()
                ):
                    name = fields.get("event")
                    if name is not None and type(name) is not str:
                        name = text_of(name)
                    yield Event(Position(source, number), kind, name, message_id, fields, raw)
                    continue
            except (ValueError, KeyError, RecursionError):
                pass
            for record in _records_of(_Text(Position(source, number), raw)):
                has_message_ids = type(record) is Outcome or record.message_id is not None  # type: ignore[union-attr]
                yield record

    return decode_batch


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
    return length > MAX_INTEGER_LENGTH and (
        length > MAX_VALUES or b"0" * MAX_INTEGER_LENGTH in raw.translate(_DIGITS)
    )


def portions(records: Iterable[Record], most: int = MAX_BATCH_RECORDS) -> Iterator[list[Record]]:
    """Yield lists of at most `most` records and about 1 MiB: one line may hold more than memory should."""
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


def until_stopped(records: Sequence[Record], stop: Stop) -> Iterator[Record]:
    """Yield records until the run stops, also where each of them takes long: it is looked at before every few."""
    firsts = takewhile(lambda _: not stop.requested, range(0, len(records), _RECORDS_A_LOOK))
    return chain.from_iterable(records[first : first + _RECORDS_A_LOOK] for first in firsts)


def _too_long(text: _Text) -> Outcome:
    """Return the record of a value of which only the head is kept."""
    detail = _TOO_LONG
    if text.raw.lstrip().startswith(b"["):
        detail += "; if it is one array of events, put one on a line: jq -c '.[]'"
    return _invalid(text, "too_long", detail)


def _read(text: _Text) -> tuple[_Text, Any]:
    """Decode a text; the flags that this adds are in the text that is returned.

    Raises:
        UnreadableError: it is no JSON, or cannot be read exactly.
    """
    try:
        return text, _decode_json(text.raw)
    except (ValueError, RecursionError):
        value, is_marked, unsafe = _decode_leniently(text.raw)
    return _Text(text.position, text.raw, text.is_marked or is_marked, text.unsafe or unsafe), value


def _read_part(text: _Text, raw: bytes) -> tuple[_Text, Any]:
    """Decode a part of a line.

    Raises:
        UnreadableError: it is no JSON, cannot be read exactly, or holds too many values to be decoded.
    """
    if has_more_values(raw, MAX_VALUES):
        raise UnreadableError("too_many_values", _TOO_MANY)
    return _read(_Text(text.position, raw, text.is_marked, text.unsafe))


def _one_by_one(text: _Text) -> Iterable[Record]:
    """Return the records of a line with too many values to be decoded at once: of an array, or of an envelope.

    Its items are decoded one after the other, each from its own bytes.
    """
    if first_byte(text.raw) == b"[":
        return _items_of_text(text, text.raw, {})
    envelope: Json = {}
    part = text
    try:
        found = list(islice(members(text.raw), _MAX_MEMBERS + 1))
        values = {_read_part(text, key)[1]: value for key, value in found}
        for key in ("type", *_COMMON):
            if key in values:
                part, envelope[key] = _read_part(part, values[key])
    except BrokenError as error:
        return [_broken_batch(text, str(error))]
    except UnreadableError as error:
        return [_invalid(text, error.reason, error.detail)]
    batch = values.get("batch", b"")
    if not batch.startswith(b"[") or _has_type(envelope) or len(found) > _MAX_MEMBERS:
        return [_invalid(text, "too_many_values", _TOO_MANY)]
    return _items_of_text(_Text(text.position, text.raw, part.is_marked, part.unsafe), batch, envelope)


def _items_of_text(text: _Text, array: bytes, envelope: Json) -> Iterator[Record]:
    """Yield the records of an array, or of the batch of an envelope.

    From an item on that has no end, a batch is one record, and the items of an array are values one after the other.
    """
    if _adds_too_much(text, envelope):
        yield _invalid(text, "too_long", _COMMON_TOO_LONG)
        return
    index = -1
    try:
        for index, raw in enumerate(items(array)):
            try:
                part, value = _read_part(text, raw)
                record = _item(part, index, value, envelope)
            except UnreadableError as error:
                record = _invalid(_Text(text.at(index), raw), error.reason, error.detail)
            yield record
        if index < 0:
            yield _invalid(text, "no_events", _NO_EVENTS)
    except BrokenError as error:
        rest = _Text(text.at(index + 1), array[error.at :])
        if array is text.raw:
            yield from _values(rest, in_array=True)
        else:
            yield _broken_batch(rest, str(error))


def _items(text: _Text, values: list[Any], envelope: Json) -> Iterator[Record]:
    """Yield the records of a decoded array."""
    if not values:
        yield _invalid(text, "no_events", _NO_EVENTS)
    elif _adds_too_much(text, envelope):
        yield _invalid(text, "too_long", _COMMON_TOO_LONG)
        return
    for index, value in enumerate(values):
        try:
            yield _item(text, index, value, envelope)
        except UnreadableError:  # the bytes of an item that cannot be encoded are those that were read
            yield from islice(_one_by_one(text), index, None)
            return


def _item(text: _Text, index: int, value: Any, envelope: Json) -> Record:
    """Return the record of an item, which is encoded again, as an envelope adds to it.

    Where both have a key of context or integrations, the item's value wins over the envelope's, as at Segment.

    Raises:
        UnreadableError: it is nested too deep to be encoded.
    """
    if isinstance(value, dict):
        item, value = value, dict(value)
        for key in _COMMON:
            common, own = envelope.get(key), item.get(key)
            if isinstance(common, dict) and (own is None or isinstance(own, dict)):
                value[key] = {**common, **(own or {})}
    raw = encode(value, leniently=text.is_marked or text.unsafe)
    return _record(_Text(text.at(index), raw, text.is_marked, text.unsafe), value)


def _adds_too_much(text: _Text, envelope: Json) -> bool:
    """Tell whether an envelope makes each of its events so long that all of them would take hours to encode."""
    if len(text.raw) <= MAX_COMMON_BYTES:
        return False
    try:
        common = {key: envelope.get(key) for key in _COMMON}
        return len(encode(common, leniently=text.is_marked or text.unsafe)) > MAX_COMMON_BYTES
    except UnreadableError:  # no event can be encoded with it
        return False


def _record(text: _Text, value: Any) -> Record:
    """Return the one record of a value: an event, bare or in the wrapper of RudderStack's archiver, or neither."""
    if not isinstance(value, dict):
        return _invalid(text, "not_an_object", "an event is a JSON object")
    if _has_type(value):
        return _event(text, value)
    payload = value.get("payload")
    if isinstance(payload, dict) and _has_type(payload):
        event = {"messageId": value["messageId"], **payload} if "messageId" in value else payload
        try:
            raw = encode(event, leniently=text.is_marked or text.unsafe)
        except UnreadableError as error:
            return _invalid(text, error.reason, error.detail)
        return _event(_Text(text.position, raw, text.is_marked, text.unsafe), event)
    looks_flat = not WAREHOUSE_COLUMNS.isdisjoint(value)
    return _invalid(text, "no_type", _WAREHOUSE if looks_flat else _NO_TYPE, value)


def _has_type(value: Json) -> bool:
    kind = value.get("type")
    return isinstance(kind, str) and bool(event_type(kind))


def _event(text: _Text, fields: Json) -> Record:
    """Return an event, its texts repaired; a messageId that had to be repaired names no event."""
    repaired: list[str] = []
    if text.is_marked:
        try:
            fields = _repaired(fields, repaired)
        except RecursionError:
            return _invalid(text, "too_deep", _TOO_DEEP)
    kind, name, message_id = event_type(fields["type"]), text_of(fields.get("event")), _message_id(fields)
    event = Event(text.position, kind, name, message_id, fields, text.raw, tuple(repaired), text.unsafe)
    if repaired and event.is_repaired(message_id):
        event.message_id, event.former_message_id = None, message_id
    return event


def _unreadable(text: _Text, error: UnreadableError) -> Outcome:
    """Return the record of a value that is no JSON, or cannot be read exactly."""
    if error.reason == "not_json" and _BATCH.search(text.raw):
        return _broken_batch(text, error.detail)
    return _invalid(text, error.reason, error.detail)


def _broken_batch(text: _Text, detail: str) -> Outcome:
    """Return the record of an envelope that is no JSON, or of its rest; it says how many events are lost with it.

    They are not read: nobody knows what the envelope would have added to them.
    """
    events = counted(len(_TYPE.findall(text.raw)), "event seems", "events seem")
    return _invalid(
        text, "batch_not_json", f"the batch is {detail}; {events} to be in it, and none of them is read"
    )


def _invalid(text: _Text, reason: str, detail: str, fields: Json | None = None) -> Outcome:
    fields = fields or {}
    shown: Json = {key: fields.get(key) for key in ("event", "messageId")}
    if text.is_marked:
        shown = {
            key: _repaired(value, []) if isinstance(value, str) else value for key, value in shown.items()
        }
    record = BadRecord(text.position, text.raw, None, text_of(shown.get("event")), _message_id(shown))
    return Outcome(record, State.INVALID, reason, detail)


def _message_id(fields: Json) -> str | None:
    """Return the messageId as text; a float has the shortest one that is read as the same number."""
    value = fields.get("messageId")
    if isinstance(value, str):
        return value if value.strip() else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return str(value) if isinstance(value, int) or isfinite(value) else None


class UnreadableError(Exception):
    """A line holds no JSON that can be read exactly.

    Attributes:
        reason: our own code: ``not_json``, ``too_deep`` or ``number_too_long``.
        detail: a sentence for people.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def _decode_leniently(line: bytes) -> tuple[Any, bool, bool]:
    """Decode JSON that the strict decoder refuses: invalid UTF-8, lone surrogates, NaN, Infinity, floats out of range.

    Returns:
        The value; whether it may hold lone surrogates, which stand for broken text; and whether it is unsafe, as an
        Event is.

    Raises:
        UnreadableError: it is no JSON, or cannot be read exactly.
    """
    is_unsafe = False

    def read_float(text: str) -> float:
        nonlocal is_unsafe
        number = float(text)
        is_unsafe = is_unsafe or not isfinite(number)
        return number

    is_marked = _SURROGATE.search(line) is not None
    try:
        text = line.decode()
    except UnicodeDecodeError:
        text, is_marked = line.decode(errors=_MARKING), True
    try:
        value = json.loads(text, parse_int=_integer, parse_float=read_float, parse_constant=read_float)
    except json.JSONDecodeError as error:
        is_cut = not text[error.pos :].strip()
        where = "cut off: it ends too early" if is_cut else f"broken at character {error.pos + 1}"
        raise UnreadableError("not_json", where) from None
    except RecursionError:
        raise UnreadableError("too_deep", _TOO_DEEP) from None
    except ValueError:
        raise UnreadableError(
            "number_too_long", "an integer has more digits than can be read exactly"
        ) from None
    return value, is_marked, is_unsafe


def encode(value: Any, *, leniently: bool = False) -> bytes:
    """Encode a decoded value again.

    Args:
        value: what was decoded.
        leniently: it may hold NaN and Infinity, which the strict encoder makes null, or lone surrogates, which it
            refuses. Both are written so that they are read as what they are.

    Raises:
        UnreadableError: it is nested too deep.
    """
    try:
        if leniently:
            text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
            # Not as they came: one of them and the next might be read as a pair.
            return _LONE_SURROGATE.sub(r"\\udfff", text).encode()
        return msgspec.json.encode(value)
    except RecursionError:
        raise UnreadableError("too_deep", _TOO_DEEP) from None


def _integer(text: str) -> int:
    if len(text) > MAX_INTEGER_LENGTH:
        raise ValueError
    return int(text)


def _repaired(value: Any, texts: list[str]) -> Any:
    """Return a value with U+FFFD for every lone surrogate, in keys too, and add the texts that had one.

    The decoder has joined those that make a pair.
    """
    if isinstance(value, str):
        if _LONE_SURROGATE.search(value) is None:
            return value
        text = _LONE_SURROGATE.sub("\ufffd", value)
        texts.append(text)
        return text
    if isinstance(value, list):
        items_: list[Any] = []
        for item in value:  # no comprehension, which would halve the depth that can be walked
            items_.append(_repaired(item, texts))  # noqa: PERF401
        return items_
    if isinstance(value, dict):
        members_: Json = {}
        for key, item in value.items():
            name = _repaired(key, texts)
            while name in members_:  # two keys must not become one
                name += "\ufffd"
            members_[name] = _repaired(item, texts)
        return members_
    return value
