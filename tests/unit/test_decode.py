"""Decode: every line is events or one invalid record, with values unaltered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voucherify_sync.events import BadRecord, Batch, Event, Position
from voucherify_sync.outcomes import Outcome, State
from voucherify_sync.sources import json_text
from voucherify_sync.sources.decode import decode, decoder


def records(*lines: bytes, first_line: int = 1) -> list[Event | Outcome]:
    """Decode lines of a source f."""
    return list(decode(Batch.of("f", first_line, lines)))


def event(line: bytes) -> Event:
    """Decode a line that is one event."""
    (record,) = records(line)
    assert isinstance(record, Event)
    return record


def invalid(line: bytes) -> Outcome:
    """Decode a line that is one invalid record."""
    (outcome,) = records(line)
    assert isinstance(outcome, Outcome)
    assert isinstance(outcome.record, BadRecord)
    assert outcome.state is State.INVALID
    assert outcome.detail
    return outcome


def test_an_event_keeps_its_line_and_its_position() -> None:
    """`raw` is the very line, so that a dead letter holds the event as it came."""
    line = b' {"type":"track","event":"Order","messageId":"m1","n":1.0} '
    assert records(line, b"", b"  \t\r", line, first_line=7) == [
        Event(Position("f", number), "track", "Order", "m1", json.loads(line), line) for number in (7, 10)
    ]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("identify", "identify"), ("Track", "track"), (" track\t", "track"), ("\u00a0PAGE\u2003", "page"),
        ("Group", "group"), ("RECORD", "RECORD"), (" Unheard of ", "Unheard of"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("way", ["all", "needed"])
def test_a_type_is_compared_without_case_and_blanks_around_it(text: str, kind: str, way: str) -> None:
    """One of Segment's types has one spelling from here on; other types are told as they are written."""
    line = json.dumps({"type": text, "messageId": "m"}).encode()
    decode_way = decode if way == "all" else decoder({"type": None, "messageId": None})
    (record,) = decode_way(Batch.of("f", 1, [line]))
    assert isinstance(record, Event)
    assert (record.type, record.fields["type"]) == (kind, text)


@pytest.mark.parametrize("blank", ["", " ", "\t\n", "\u00a0", "\u2003\u3000", "\x1f\x85"], ids=ascii)
@pytest.mark.parametrize("way", ["all", "needed"])
def test_a_blank_type_is_no_type(blank: str, way: str) -> None:
    """All white space of Unicode counts as blank, whichever way the line is decoded."""
    line = json.dumps({"type": blank, "messageId": "m"}).encode()
    decode_way = decode if way == "all" else decoder({"type": None, "messageId": None})
    (record,) = decode_way(Batch.of("f", 1, [line]))
    assert isinstance(record, Outcome)
    assert record.reason == "no_type"


@pytest.mark.parametrize(
    ("message_id", "text"),
    [("m1", "m1"), (" m1", " m1"), ("", None), ("  ", None), (17, "17"), (0, "0"), (2**70, str(2**70)), (1.5, "1.5"),
     (True, None), (None, None), ([], None), ({}, None)],
)  # fmt: skip
def test_a_message_id_is_text_or_a_number(message_id: Any, text: str | None) -> None:
    """Anything else, and a blank one, is as none."""
    assert event(json.dumps({"type": "track", "messageId": message_id}).encode()).message_id == text


@pytest.mark.parametrize(
    ("name", "text"),
    [("Order", "Order"), ("", ""), (4711, "4711"), (12.0, "12"), (1e21, "1" + 21 * "0"), (None, None), (True, None),
     ([], None), ({}, None)],
)  # fmt: skip
def test_a_name_is_the_event_as_text(name: Any, text: str | None) -> None:
    """A number is its text, as in every text field. The fallback to the type is for the mapping to do."""
    line = json.dumps({"type": "track", "event": name, "messageId": "m"}).encode()
    (needed,) = decoder({"type": None, "messageId": None, "event": None})(Batch.of("f", 1, [line]))
    assert isinstance(needed, Event)
    assert event(line).name == needed.name == text


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        pytest.param(b"nope", "not_json", id="a word"),
        pytest.param(b'{"type":"track"', "not_json", id="a line cut off"),
        pytest.param(b'{"type":"track",}', "not_json", id="a comma too many"),
        pytest.param(b"{'type':'track'}", "not_json", id="single quotes"),
        pytest.param(b'{"type":"a\tb"}', "not_json", id="a bare tab"),
        pytest.param(b"\x1f\x8b\x08\x00", "not_json", id="binary"),
        pytest.param(b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "too_deep", id="objects too deep"),
        pytest.param(
            b'{"type":"track","a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "too_deep", id="lists too deep"
        ),
        pytest.param(b'{"type":"track","n":' + b"1" * 5000 + b"}", "number_too_long", id="5,000 digits"),
        pytest.param(b'"text"', "not_an_object", id="text"),
        pytest.param(b"17", "not_an_object", id="a number"),
        pytest.param(b"NaN", "not_an_object", id="not even a number"),
        pytest.param(b"null", "not_an_object", id="null"),
        pytest.param(b"[]", "no_events", id="an empty array"),
        pytest.param(b'{"batch":[]}', "no_events", id="an empty envelope"),
        pytest.param(
            b'{"batch":[],"x":[' + b"1," * 120_000 + b"1]}",
            "no_events",
            id="an empty envelope of a large line",
        ),
        pytest.param(b"{}", "no_type", id="no type"),
        pytest.param(b'{"type":""}', "no_type", id="empty type"),
        pytest.param(b'{"type":" "}', "no_type", id="blank type"),
        pytest.param(b'{"type":5}', "no_type", id="a number for a type"),
        pytest.param(b'{"type":null}', "no_type", id="null for a type"),
        pytest.param(b'{"batch":{}}', "no_type", id="a batch that is no list"),
        pytest.param(b'{"payload":{"a":1}}', "no_type", id="a payload that is no event"),
    ],
)
def test_a_line_that_is_no_event_is_one_invalid_record(line: bytes, reason: str) -> None:
    """The reason is our own code; the raw bytes are kept for the dead letter."""
    outcome = invalid(line)
    assert outcome.reason == reason
    assert outcome.record.raw == line
    assert outcome.record.position == Position("f", 1)


def test_a_broken_line_does_not_hide_its_neighbours() -> None:
    """The run goes on after a bad line."""
    found = records(b'{"type":"a"}', b"broken", b'{"type":"b"}')
    assert [type(record).__name__ for record in found] == ["Event", "Outcome", "Event"]


def test_an_invalid_record_tells_what_it_is_known_by() -> None:
    """Without a type it may still have an id and a name."""
    record = invalid(b'{"messageId":"m1","event":"Order"}').record
    assert (record.message_id, record.name, record.type) == ("m1", "Order", None)


@pytest.mark.parametrize("column", ["received_at", "event_text", "uuid_ts"])
def test_a_warehouse_row_is_named_as_such(column: str) -> None:
    """Exports of a warehouse are flat rows without a type, not raw events."""
    assert "warehouse" in str(invalid(json.dumps({"id": 1, column: "x"}).encode()).detail)


def test_a_truncated_line_is_too_long() -> None:
    """The reader keeps the head of an overlong line; it is one invalid record."""
    (outcome,) = decode(Batch.of("f", 3, [b'[{"type":"track"},'], truncated=True))
    assert isinstance(outcome, Outcome)
    assert (outcome.reason, outcome.record.position) == ("too_long", Position("f", 3))
    assert "jq -c '.[]'" in str(outcome.detail)


@pytest.mark.parametrize(
    "number", ["18446744073709551617", "-9223372036854775809", "9" * 400, "1" * 4300, "-0.5", "1e3", "0"]
)
def test_numbers_are_unaltered(number: str) -> None:
    """Integers of any size are exact: as ids they must not be rounded."""
    read = event(b'{"type":"track","n":%s}' % number.encode())
    assert read.fields["n"] == json.loads(number)
    assert type(read.fields["n"]) is type(json.loads(number))
    assert not read.unsafe


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_a_number_out_of_range_marks_its_event_unsafe(number: str) -> None:
    """Such a value must not be sent as null: mapping checks what it maps of an unsafe event."""
    read = event(b'{"type":"track","n":%s}' % number.encode())
    assert read.unsafe
    assert not read.repaired
    assert str(read.fields["n"]) == str(float(number))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param(b"a\xffb", "a\ufffdb", id="invalid UTF-8"),
        pytest.param(b"\xf0\x9f\x98", "\ufffd", id="a character cut off"),
        pytest.param(rb"\ud83d", "\ufffd", id="half an emoji"),
        pytest.param(rb"x\udc00\ud83dy", "x\ufffd\ufffdy", id="halves in the wrong order"),
        pytest.param(rb"\ud83d\ude00\ud83d", "\U0001f600\ufffd", id="an emoji and a half"),
    ],
)
def test_what_is_no_unicode_is_mended_and_told(value: bytes, text: str) -> None:
    """Invalid UTF-8 and lone surrogates become U+FFFD, in values and keys, and are counted."""
    read = event(b'{"type":"track","v":["%s"],"%s":1}' % (value, value))
    assert read.fields == {"type": "track", "v": [text], text: 1}
    assert read.repaired
    assert not read.unsafe


def test_an_event_that_says_u_fffd_itself_is_not_mended() -> None:
    """Only what we replaced counts as repaired."""
    assert not event('{"type":"track","v":"\ufffd\\ud83d\\ude00","n":NaN}'.encode()).repaired


def test_of_duplicate_keys_the_last_wins() -> None:
    """As in JavaScript, in the strict and in the lenient decoder."""
    assert event(b'{"type":"a","type":"b"}').type == "b"
    assert event(b'{"type":"a","type":"b","n":NaN}').type == "b"


def test_an_envelope_yields_its_items_merged() -> None:
    """Context and integrations of the envelope lie under the item's own, key by key; nothing else is taken over."""
    line = json.dumps(
        {
            "batch": [
                {"type": "track", "messageId": "m0", "context": {"ip": "own", "own": 1}},
                {"type": "identify", "integrations": {"A": False}, "context": None},
                {"type": "page", "context": "odd"},
            ],
            "context": {"ip": "all", "library": {"name": "x"}},
            "integrations": {"A": True, "B": True},
            "sentAt": "2024-01-01",
            "writeKey": "w",
        }
    ).encode()
    found = records(line)
    assert [record.fields for record in found if isinstance(record, Event)] == [
        {
            "type": "track",
            "messageId": "m0",
            "context": {"ip": "own", "library": {"name": "x"}, "own": 1},
            "integrations": {"A": True, "B": True},
        },
        {
            "type": "identify",
            "integrations": {"A": False, "B": True},
            "context": {"ip": "all", "library": {"name": "x"}},
        },
        {"type": "page", "context": "odd", "integrations": {"A": True, "B": True}},
    ]
    for index, record in enumerate(found):
        assert isinstance(record, Event)
        assert record.position == Position("f", 1, index)
        assert msgspec.json.decode(record.raw) == record.fields


def test_the_items_of_an_array_are_records_each() -> None:
    """A bad item is one invalid record with its own bytes, and does not hide the others."""
    found = records(b'[{"type":"a"},5,{"b":1},[],{"type":"c","batch":[1]}]')
    assert [getattr(record, "reason", "fine") for record in found] == [
        "fine", "not_an_object", "no_type", "not_an_object", "fine"]  # fmt: skip
    places = [r.record if isinstance(r, Outcome) else r for r in found]
    assert [str(place.position) for place in places] == [f"f:1[{index}]" for index in range(5)]
    assert [place.raw for place in places][1:4] == [b"5", b'{"b":1}', b"[]"]


def test_an_item_with_odd_values_keeps_them_in_its_raw() -> None:
    """The bytes of an item decode to the very same event: NaN is not made null, what was mended stays mended."""
    (record,) = records(b'{"batch":[{"type":"track","n":NaN,"big":18446744073709551617,"s":"\\ud83d"}]}')
    assert isinstance(record, Event)
    assert (record.unsafe, record.repaired) == (True, ("\ufffd",))
    again = event(record.raw)
    assert again.unsafe
    assert str(again.fields) == str(record.fields)


def test_an_event_that_names_a_batch_is_an_event() -> None:
    """A `batch` of its own does not make an event an envelope."""
    assert event(b'{"type":"track","batch":[{"type":"x"}]}').type == "track"


def test_the_wrapper_of_rudderstack_archives_is_taken_off() -> None:
    """Its lines are {"userId","payload":{event},"createdAt","messageId"}; the user is in the payload."""
    inner = {"type": "track", "userId": "u1"}
    outer = {"userId": "<<>>a<<>>u1", "payload": inner, "createdAt": "x", "messageId": "m1"}
    read = event(json.dumps(outer).encode())
    assert (read.fields, read.message_id) == ({**inner, "messageId": "m1"}, "m1")
    assert msgspec.json.decode(read.raw) == read.fields
    inner["messageId"] = "own"
    assert event(json.dumps(outer).encode()).message_id == "own"


ONE, TWO = b'{"type":"track","event":"One"}', b'{"type":"track","event":"Two"}'


@pytest.mark.parametrize(
    ("line", "ends"),
    [
        pytest.param(ONE + TWO, ["f:1[0] track", "f:1[1] track"], id="nothing between"),
        pytest.param(b" %b \t%b " % (ONE, TWO), ["f:1[0] track", "f:1[1] track"], id="blanks between"),
        pytest.param(b"%b,%b," % (ONE, TWO), ["f:1[0] track", "f:1[1] track"], id="commas"),
        pytest.param(b"%b\r%b\r" % (ONE, TWO), ["f:1[0] track", "f:1[1] track"], id="carriage returns alone"),
        pytest.param(b"\x1e%b\x1e%b" % (ONE, TWO), ["f:1[0] track", "f:1[1] track"], id="record separators"),
        pytest.param(b"\xef\xbb\xbf%b\xef\xbb\xbf%b" % (ONE, TWO), ["f:1[0] track", "f:1[1] track"], id="BOMs"),
        pytest.param(b"\xef\xbb\xbf" + ONE, ["f:1 track"], id="a BOM at the start of a line"),
        pytest.param(ONE + b",", ["f:1 track"], id="a comma at the end of a line"),
        pytest.param(b"\x1e" + ONE, ["f:1 track"], id="a record separator at the start of a line"),
        pytest.param(b",", [], id="nothing but a comma"),
        pytest.param(b"\x1e\xef\xbb\xbf \r", [], id="nothing but marks"),
        pytest.param(
            b"[%b,%b]%b[%b]" % (ONE, TWO, ONE, TWO),
            ["f:1[0] track", "f:1[1] track", "f:1[2] track", "f:1[3] track"],
            id="arrays among them",
        ),
        pytest.param(
            b'{"batch":[%b,5]}%b' % (ONE, TWO),
            ["f:1[0] track", "f:1[1] not_an_object", "f:1[2] track"],
            id="an envelope among them",
        ),
        pytest.param(b"[] %b" % ONE, ["f:1[0] no_events", "f:1[1] track"], id="an empty array among them"),
        pytest.param(b'{"payload":%b}%b' % (ONE, TWO), ["f:1[0] track", "f:1[1] track"], id="a wrapper among them"),
        pytest.param(b'"x""y"%b' % ONE, ["f:1 not_json"], id="a text right before a text"),
        pytest.param(
            b'17 null "x" %b' % ONE,
            ["f:1[0] not_an_object", "f:1[1] not_an_object", "f:1[2] not_an_object", "f:1[3] track"],
            id="other values among them",
        ),
        pytest.param(b"%b{oops}%b" % (ONE, TWO), ["f:1[0] track", "f:1[1] not_json", "f:1[2] track"], id="broken"),
        pytest.param(b"{oops},%b" % TWO, ["f:1[0] not_json", "f:1[1] track"], id="a broken one before a comma"),
        pytest.param(
            b'%b{"type":"a%b' % (ONE, TWO), ["f:1[0] track", "f:1[1] not_json"], id="one without an end"
        ),
        pytest.param(
            b'{"a":"x}%b {"b":"y}%b' % (ONE, TWO),
            ["f:1[0] not_json", "f:1[1] track", "f:1[2] not_json", "f:1[3] track"],
            id="texts without an end, which hide what is between them",
        ),
        pytest.param(b"oops\r%b" % ONE, ["f:1[0] not_json", "f:1[1] track"], id="garbage before a carriage return"),
        pytest.param(b"oops\x1e%b" % ONE, ["f:1[0] not_json", "f:1[1] track"], id="garbage before a separator"),
        pytest.param(b"INFO sent %b" % ONE, ["f:1 not_json"], id="an event in the line of a log"),
        pytest.param(b"%b]}%b" % (ONE, TWO), ["f:1[0] track", "f:1[1] not_json", "f:1[2] track"], id="brackets"),
        pytest.param(
            b'{"type":"track","properties":{"items":[{"type":"track"},{"type":"track"}],oops}}',
            ["f:1 not_json"],
            id="the objects of a broken event are none",
        ),
        pytest.param(
            b'%b{"type":"track","text":"}{}{\\"type\\":\\"x\\"}"}' % ONE,
            ["f:1[0] track", "f:1[1] track"],
            id="JSON in a text",
        ),
        pytest.param(
            b'%b{"type":"track","n":%b}%b' % (ONE, b"1" * 5_000, TWO),
            ["f:1[0] track", "f:1[1] number_too_long", "f:1[2] track"],
            id="a number too long",
        ),
        pytest.param(
            b"%b[%b1]%b" % (ONE, b"1," * 120_000, TWO),
            ["f:1[0] track", *[f"f:1[{item}] not_an_object" for item in range(1, 120_002)], "f:1[120002] track"],
            id="a large array among them",
        ),
    ],
)  # fmt: skip
def test_values_that_stand_one_after_the_other_are_read_as_items_of_an_array(
    line: bytes, ends: list[str]
) -> None:
    """Whatever is between them; a broken one is one invalid record, and the others of the line are read."""
    for decoded in (decode, decoder({"type": None, "messageId": None, "event": None})):
        found = list(decoded(Batch.of("f", 1, [line])))
        places = [record.record if isinstance(record, Outcome) else record for record in found]
        told = [record.reason if isinstance(record, Outcome) else record.type for record in found]
        assert [f"{place.position} {end}" for place, end in zip(places, told, strict=True)] == ends


GOOD = [b'{"type":"track","messageId":"%d"}' % number for number in range(4)]


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(b'{"type":"track" "userId":"u"}', id="no comma"),
        pytest.param(b'{"type":"track,"userId":"u"}', id="a text without an end"),
        pytest.param(b'{"type":"track","userId":"u"', id="an object without an end"),
        pytest.param(b'{"type":"track","userId":"u","n":[1,2}', id="a list without an end"),
        pytest.param(b"{'type':'track'}", id="single quotes"),
        pytest.param(
            b'{"type":"track","items":[{"type":"track"},{"type":"track"}] oops}', id="objects in it"
        ),
    ],
)
@pytest.mark.parametrize(
    ("begin", "end"),
    [(b"[", b"]"), (b"[ ", b" ] "), (b"", b""), (b"[", b"")],
    ids=["array", "blanks", "bare", "no end"],
)
@pytest.mark.parametrize("at", [0, 2, 4])
def test_a_broken_item_costs_itself_alone(broken: bytes, begin: bytes, end: bytes, at: int) -> None:
    """In an array and between commas, at any place; the position says which one it is."""
    line = begin + b", ".join([*GOOD[:at], broken, *GOOD[at:]]) + end
    found = records(line)
    read = [record.message_id for record in found if isinstance(record, Event)]
    assert read == [str(number) for number in range(4)]
    (lost,) = [record for record in found if isinstance(record, Outcome)]
    assert lost.reason == "not_json"
    assert lost.record.position == Position("f", 1, at)


@pytest.mark.parametrize(
    ("line", "count"),
    [
        pytest.param(b"[%b,,%b,]" % (GOOD[0], GOOD[1]), 2, id="commas too many"),
        pytest.param(b"[%b %b]" % (GOOD[0], GOOD[1]), 2, id="no commas"),
        pytest.param(b"[%b,undefined,%b]" % (GOOD[0], GOOD[1]), 2, id="a word"),
        pytest.param(b"[undefined,%b,%b]" % (GOOD[0], GOOD[1]), 2, id="a word at the beginning"),
        pytest.param(b"[%b},%b]" % (GOOD[0], GOOD[1]), 2, id="a bracket too many"),
        pytest.param(b"[%b,[%b]" % (GOOD[0], GOOD[1]), 2, id="no end"),
        pytest.param(b"[%b1,oops,%b]" % (b"{}," * 60_000, GOOD[0]), 1, id="a large array"),
    ],
)
def test_the_events_of_a_broken_array_are_read(line: bytes, count: int) -> None:
    """What is broken may be the array alone."""
    assert len([record for record in records(line) if isinstance(record, Event)]) == count


def test_many_objects_in_a_broken_one_are_passed_over_at_once() -> None:
    """To look for the beginning of a batch before each of them would take minutes."""
    (outcome,) = decode(Batch.of("f", 1, [b'{"a":x' + b',{"b":1}' * 200_000 + b"}"]))
    assert isinstance(outcome, Outcome)


def test_broken_objects_without_an_end_are_looked_through_a_few_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each hides where the next one ends, so the time would grow with the square of their number."""
    monkeypatch.setattr(json_text, "_MAX_TRIES", 50_000)
    open_ended = b',{"a":[' + b',{"type":"track","messageId":"m"}'
    assert len(list(decode(Batch.of("f", 1, [b'{"a":1}' + open_ended * 5])))) == 11
    assert len(list(decode(Batch.of("f", 1, [b'{"a":1}' + open_ended * 500])))) < 50


@pytest.mark.parametrize("filler", [b"", b'"x":[' + b"1," * 120_000 + b"1],"], ids=["small", "large"])
def test_a_broken_batch_says_how_many_events_are_lost(filler: bytes) -> None:
    """None of them is read alone: what the envelope adds to each may stand behind them."""
    items = b",".join([*GOOD[:2], b'{"type":"track" "userId":"u"}', *GOOD[2:]])
    for line in (
        b'{%b"batch":[%b],"integrations":{"All":false}}' % (filler, items),
        b'{%b"batch":[%b' % (filler, items),
    ):
        outcome = invalid(line)
        assert outcome.reason == "batch_not_json"
        assert "5 events seem to be in it, and none of them is read" in str(outcome.detail)


SEPARATORS = [b"\n", b"\r\n", b"\r", b"\x1e", b"\n\x1e", b",\n", b"", b" ", b"\t", b",", b"\n\xef\xbb\xbf"]
EVENTS = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["track", "identify"]),
        "properties": st.dictionaries(st.text(), st.text() | st.integers()),
    }
)


@given(events=st.lists(st.tuples(EVENTS, st.sampled_from(SEPARATORS))), in_array=st.booleans())
@settings(max_examples=150)
def test_events_are_read_whatever_stands_between_them(
    events: list[tuple[dict[str, Any], bytes]], in_array: bool
) -> None:
    """A sequence of events in any serialisation is read as these events, in their order."""
    text = b"".join(
        msgspec.json.encode([fields] if in_array else fields) + between for fields, between in events
    )
    found = records(*text.split(b"\n"))
    assert [record.fields for record in found if isinstance(record, Event)] == [
        fields for fields, _ in events
    ]
    assert len({str(record.position) for record in found if isinstance(record, Event)}) == len(events)


GARBAGE = [
    b"oops",
    b'{"a":"b',
    b"[1,",
    b"}",
    b"]",
    b'"',
    b"\\",
    b"\0",
    b"\xff",
    b"{}}",
    b"{[}",
    b"tru",
    b":",
    b'{"a" "b"}',
    b"'",
]


@given(st.lists(st.tuples(EVENTS, st.lists(st.sampled_from(GARBAGE)).map(b"".join)), min_size=1))
@settings(max_examples=150)
def test_garbage_between_events_hides_none(events: list[tuple[dict[str, Any], bytes]]) -> None:
    """If a line end, a carriage return or a record separator is behind it."""
    for end in (b"\n", b"\r", b"\x1e"):
        text = b"".join(msgspec.json.encode(fields) + end + garbage + end for fields, garbage in events)
        found = records(*text.split(b"\n"))
        read = [record.fields for record in found if isinstance(record, Event)]
        assert read == [fields for fields, _ in events]


@pytest.mark.parametrize(
    ("line", "detail"),
    [
        (b'{"type":"track"', "cut off: it ends too early"),
        (b'{"type":"track",}', "broken at character 17"),
        (b"{'type':'track'}", "broken at character 2"),
        (b"oops", "broken at character 1"),
    ],
)
def test_what_is_no_json_is_told_in_our_own_words(line: bytes, detail: str) -> None:
    """Those of the parser do not help, and change with it."""
    assert invalid(line).detail == detail


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=[]), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abtype"), inner, max_size=3),
    max_leaves=8,
)


@given(value=JSON_VALUES, kind=st.sampled_from(["track", None]), ascii_only=st.booleans())
@settings(max_examples=200)
def test_every_json_value_is_at_least_one_record(value: Any, kind: str | None, ascii_only: bool) -> None:
    """No value is passed over, none raises, and a clean event comes out as it went in."""
    fields = {"type": kind, "v": value}
    line = json.dumps(fields, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    (record,) = records(line)
    if kind is None:
        assert isinstance(record, Outcome)
    else:
        assert isinstance(record, Event)
        assert record.repaired or record.unsafe or record.fields == fields
    assert len(records(json.dumps(value).encode())) >= 1


@given(st.binary(max_size=100) | st.text('{}[]",:\\u\n0123aeE.-', max_size=40).map(str.encode))
@settings(max_examples=300)
def test_no_bytes_raise(line: bytes) -> None:
    """Whatever a line holds, it is records."""
    is_blank = not line.replace(b"\xef\xbb\xbf", b"").strip(b" \t\r\n\x0b\x0c,\x1e")
    assert len(records(line)) >= (0 if is_blank else 1)


def test_the_corpora_decode_to_events(corpora: Path) -> None:
    """Every line of the public events and envelopes is at least one record, and almost all are events."""
    for file in sorted(corpora.glob("*.ndjson")):
        lines = file.read_bytes().splitlines()
        found = [records(line) for line in lines]
        assert all(found)
        flat = [record for line in found for record in line]
        assert sum(isinstance(record, Event) for record in flat) >= 0.9 * len(flat)
