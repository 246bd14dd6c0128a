"""Lines of another tool: they are recognised, and the command that is printed makes events of them."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voucherify_sync.events import Batch, Event
from voucherify_sync.sources.decode import decode
from voucherify_sync.sources.unsupported_formats import READ_AGAIN, recognise_line

TRACK = {"type": "track", "event": "Order", "userId": "u1", "messageId": "m1"}
SNAKE = {"type": "Track", "event": "Order", "user_id": "u1", "message_id": "m1", "sent_at": "2024-01-01"}
ROW = {"id": "m1", "event": "order", "event_text": "Order", "user_id": "u1", "received_at": "2024-01-01"}
TEXT = json.dumps(TRACK)

FOREIGN = [
    pytest.param({"type": "RECORD", "stream": "tracks", "record": TRACK}, "a Singer message", id="Singer"),
    pytest.param(
        {"type": "RECORD", "stream": "tracks", "record": SNAKE}, "a Singer message", id="snake in Singer"
    ),
    pytest.param(
        {"type": "RECORD", "stream": "tracks", "record": ROW}, "a Singer message", id="rows in Singer"
    ),
    pytest.param(
        {"type": "RECORD", "record": {"stream": "tracks", "data": TRACK, "emitted_at": 1}},
        "an Airbyte message",
        id="Airbyte",
    ),
    pytest.param(
        {"type": "RECORD", "record": {"stream": "tracks", "data": {"_airbyte_data": TEXT}, "emitted_at": 1}},
        "an Airbyte message",
        id="text in Airbyte",
    ),
    pytest.param({"job_id": 1, "event_payload": TRACK, "user_id": "x"}, "`event_payload`", id="a job"),
    pytest.param(
        {"job_id": 1, "event_payload": TEXT, "user_id": "x"}, "`event_payload`", id="a job with text"
    ),
    pytest.param(
        {"job_id": 1, "event_payload": {"batch": [TRACK]}}, "`event_payload`", id="a job with an envelope"
    ),
    pytest.param({"id": 1, "payload": TEXT}, "`payload`", id="a payload of text"),
    pytest.param({"id": 1, "the 'event'": TRACK}, "`the 'event'`", id="a key with quotes and blanks"),
    pytest.param({"id": 1, "type": "job", "body": SNAKE}, "`body`", id="a job that has a type"),
    pytest.param(SNAKE, "user_id", id="snake case"),
    pytest.param(
        {"type": "identify", "anonymous_id": "a1", "userId": None}, "anonymous_id", id="anonymous_id"
    ),
    pytest.param(ROW, "a row of a warehouse", id="a row of a track"),
    pytest.param(
        {"id": "u1", "email": "a@example.com", "received_at": "x"},
        "a row of a warehouse",
        id="a row of a user",
    ),
]


def test_a_request_is_no_event_and_nothing_takes_one_out_of_it() -> None:
    """A dry run has written it, or `prepare`, which keeps a record beside it."""
    request = {"method": "POST", "path": "/v1/events", "body": {}, "source": "a:1", "record": TRACK}
    known = recognise_line(json.dumps(request).encode())
    assert known is not None
    assert known.name.startswith("a request")
    assert "\n" not in known.remedy(None)


@pytest.mark.parametrize(("value", "name"), FOREIGN)
def test_the_printed_command_makes_events_of_lines_of_another_tool(value: dict[str, Any], name: str) -> None:
    """It is run as it stands: what it prints are events with an id."""
    line = json.dumps(value).encode()
    known = recognise_line(line)
    assert known is not None
    assert name in known.name
    if shutil.which("jq") is None:
        pytest.skip("jq is not installed")
    token = READ_AGAIN.set(lambda: "| cat")
    command = known.remedy(None).splitlines()[-1]
    READ_AGAIN.reset(token)
    ended = subprocess.run(["sh", "-c", command], input=line, capture_output=True, timeout=60, check=True)
    records = list(decode(Batch("f", 1, ended.stdout)))
    assert records
    for record in records:
        assert isinstance(record, Event)
        assert recognise_line(record.raw) is None
        assert record.fields.get("userId") or record.fields.get("anonymousId")
        if "identify" not in record.type and "email" not in value:
            assert (record.name, record.message_id) == ("Order", "m1")


@pytest.mark.parametrize(
    "value",
    [
        TRACK,
        {"type": "page", "user_id": "x", "userId": "u1"},
        {"type": "track", "event": "Order"},
        {"batch": [TRACK]},
        {"userId": "u1", "payload": TRACK},
        {"type": "SCHEMA", "stream": "s", "schema": {}},
        {"type": "STATE", "value": {}},
        {"type": "RECORD"},
        {"type": "anything"},
        {"a": 1},
        {},
        [],
        17,
    ],
)
def test_other_lines_are_let_pass(value: Any) -> None:
    """Events, what the decoder takes apart itself, and what no command makes events of."""
    assert recognise_line(json.dumps(value).encode()) is None


def test_the_first_of_several_values_tells_what_a_line_is() -> None:
    """Messages may stand one after the other on a line."""
    line = json.dumps({"type": "RECORD", "stream": "s", "record": TRACK}).encode()
    assert recognise_line(line + line) is not None
    assert recognise_line(b"\x1e" + line + b",") is not None


@given(st.binary(max_size=100) | st.text('{}[]",:\\ab', max_size=40).map(str.encode))
def test_no_line_raises(line: bytes) -> None:
    """Whatever it is."""
    recognise_line(line)
