"""An explanation says what a replay would do, and why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support.segment_events import event_of, identify, track

from voucherify_sync.events import Batch, Event, Request
from voucherify_sync.mapping import trace
from voucherify_sync.mapping.filters import Selection
from voucherify_sync.mapping.mapper import Mapper
from voucherify_sync.outcomes import WHY_NOT_MAPPED, Outcome, State
from voucherify_sync.paths import path_of
from voucherify_sync.preview.explain import EventSearch, Explanation, OtherEvents, to_dict, to_json
from voucherify_sync.preview.explain import explained as explained_by
from voucherify_sync.run.pipeline import Pipeline
from voucherify_sync.settings import Identify, Settings, Track
from voucherify_sync.settings.types import Orders
from voucherify_sync.sources.decode import decode

HOSTILE = "'\"`$(id)\x1b[31m\u202e</script><script>\n\x00\x9b2J\\"


def explained(event: Event | Outcome, rules: Settings | None = None) -> Explanation:
    """Return the explanation of one record."""
    return explained_by(Pipeline(rules or Settings(), Selection()), event)


def as_json(event: Event | Outcome, rules: Settings | None = None) -> dict[str, Any]:
    """Return the explanation of one record as it is printed for programs."""
    found: dict[str, Any] = json.loads(msgspec.json.encode(to_dict(explained(event, rules))))
    return found


def test_the_request_is_the_one_that_a_replay_sends() -> None:
    """Not another one that is like it: the same bytes."""
    event = identify({"firstName": "Mia", "email": "a@b.c", "plan": "pro"})
    request = Mapper(Settings()).request(event)
    found = explained(event).request
    assert isinstance(request, Request)
    assert found is not None
    assert found.payload == request.payload


def test_every_event_of_the_corpora_gets_the_request_of_a_replay(corpora: Path) -> None:
    """Whatever an event holds, it is explained, and it keeps its request."""
    mapping, pipeline = Mapper(Settings()), Pipeline(Settings(), Selection())
    count = 0
    for file in sorted(corpora.glob("*.ndjson")):
        for record in decode(Batch.of(file.name, 1, file.read_bytes().split(b"\n"))):
            explanation = explained_by(pipeline, record)
            msgspec.json.encode(to_dict(explanation))
            if isinstance(record, Event) and explanation.request is not None:
                made = mapping.request(record)
                assert isinstance(made, Request)
                assert made.payload == explanation.request.payload
                count += 1
    assert count > 100


@pytest.mark.parametrize(
    ("event", "rules", "state", "reason"),
    [
        pytest.param(
            event_of({"type": "page", "userId": "u"}), Settings(), "skipped", "type_page", id="page"
        ),
        pytest.param(track(userId=None), Settings(), "skipped", "no_id", id="nobody"),
        pytest.param(
            track(),
            Settings(track=Track(events_filter=["Signed Up"])),
            "skipped",
            "name_filtered",
            id="filter",
        ),
        pytest.param(
            identify(),
            Settings(identify=Identify(disabled=True)),
            "skipped",
            "identify_disabled",
            id="disabled",
        ),
        pytest.param(track(event="x" * 301), Settings(), "invalid", "event_name_too_long", id="long-name"),
    ],
)
def test_what_is_not_sent_has_a_reason_in_words(
    event: Event, rules: Settings, state: str, reason: str
) -> None:
    """The code is the replay's, the words are for people."""
    found = explained(event, rules)
    assert (found.outcome.state, found.outcome.reason) == (state, reason)
    assert found.request is None
    assert " " in found.why


def test_a_line_that_is_no_event_is_explained_as_such() -> None:
    """The explanation of an invalid record is its own."""
    (record,) = decode(Batch.of("a.ndjson", 7, [b"{oops"]))
    found = explained(record)
    assert found.outcome.state is State.INVALID
    assert as_json(record)["source"] == "a.ndjson:7"
    assert as_json(record)["event"] is None


def test_the_json_tells_rows_fallbacks_constants_and_losses() -> None:
    """Each with its path as it is written in settings."""
    rules = Settings(
        track=Track(
            mapping={"properties.total": ["metadata.total"], "properties.phones": ["customer.phone"]},
            add={"metadata.replayed": True},
        )
    )
    found = as_json(track({"total": 1.5, "phones": ["1"], "odd key": 2}), rules)
    assert found["rows"] == [
        {
            "row": "properties.total: metadata.total",
            "default": False,
            "part_of": None,
            "source": "properties.total",
            "value": 1.5,
            "destination": "metadata.total",
            "not_sent": None,
        },
        {
            "row": "properties.phones: customer.phone",
            "default": False,
            "part_of": None,
            "source": "properties.phones",
            "value": ["1"],
            "destination": "customer.phone",
            "not_sent": "not_text",
        },
    ]
    assert found["fallbacks"][0] == {"destination": "customer.source_id", "value": "u1", "from": ["userId"]}
    assert found["constants"] == [{"destination": "metadata.replayed", "value": True}]
    assert [(lost["path"], lost["reason"]) for lost in found["lost"]] == [
        ("properties.phones", "not_text"),
        ('properties["odd key"]', "no_row"),
    ]
    assert found["request"] == {
        "method": "POST",
        "path": "/v1/events",
        "body": {
            "event": "Order Completed",
            "customer": {"source_id": "u1"},
            "metadata": {"total": 1.5, "replayed": True},
        },
    }


def test_what_metadata_takes_without_a_row_is_told() -> None:
    """By the setting, and by personas."""
    found = as_json(identify({"plan": "pro"}), Settings(identify=Identify(unmapped_traits="metadata")))
    assert found["carried"] == [{"source": "traits.plan", "destination": "customer.metadata.plan"}]
    assert not found["lost"]


def test_hostile_data_comes_out_as_it_is_in_json() -> None:
    """A value is data; the JSON decodes to the same."""
    found = as_json(track({HOSTILE: HOSTILE}, event=HOSTILE))
    assert found["name"] == HOSTILE
    assert found["lost"][0]["value"] == HOSTILE


def test_every_reason_of_a_trace_has_words() -> None:
    """No code is shown bare."""
    codes = {
        value
        for name, value in vars(trace).items()
        if name.isupper() and not name.startswith("_") and isinstance(value, str)
    }
    assert codes <= set(WHY_NOT_MAPPED)


@pytest.mark.parametrize(
    ("wanted", "picked"),
    [
        pytest.param({}, ["i", "t", "p"], id="all"),
        pytest.param({"names": ["Order *"]}, ["t"], id="name"),
        pytest.param({"message_ids": ["i"]}, ["i"], id="message-id"),
        pytest.param({"users": ["u1"]}, ["i", "t"], id="user"),
        pytest.param({"users": ["a1"]}, ["p"], id="anonymous"),
        pytest.param({"line": 2}, ["t"], id="line"),
    ],
)
def test_events_are_picked_by_what_they_say(wanted: dict[str, Any], picked: list[str]) -> None:
    """By name, customer, messageId or line; also those that would be skipped."""
    lines = [
        b'{"type": "identify", "userId": "u1", "messageId": "i"}',
        b'{"type": "track", "event": "Order Completed", "userId": "u1", "messageId": "t"}',
        b'{"type": "page", "anonymousId": "a1", "messageId": "p"}',
    ]
    search = EventSearch(Settings(), [Batch.of("e", 1, lines)], **wanted)
    assert [found.record.message_id for found in search] == picked


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        pytest.param(("traits", "a"), "traits.a", id="plain"),
        pytest.param(("traits", "a.b", "c"), 'traits["a.b"].c', id="quoted"),
        pytest.param(("traits", "l", 0, "x"), "traits.l[0].x", id="index"),
    ],
)
def test_keys_are_written_as_settings_write_them(keys: tuple[str | int, ...], text: str) -> None:
    """They can be pasted."""
    assert path_of(*keys) == text


def test_an_order_is_shown_as_its_event_alone_makes_it() -> None:
    """Each value of it says where it comes from, the status and the time too; a total beside prices is not sent."""
    properties = {"order_id": "o1", "total": 9, "products": [{"product_id": "p", "price": 2, "quantity": 3}]}
    event = msgspec.structs.replace(track(properties, event="Order Completed"))
    event.fields["timestamp"] = "2021-03-04T05:06:07Z"
    found = as_json(event, Settings(orders=Orders(disabled=False)))
    assert found["request"]["path"] == "/v1/orders/import"
    assert found["request"]["body"] == {
        "source_id": "o1",
        "status": "PAID",
        "items": [{"source_id": "p", "related_object": "product", "quantity": 3, "price": 200}],
        "customer": {"source_id": "u1"},
        "metadata": {"occurred_at": "2021-03-04T05:06:07Z"},
    }
    fallbacks = {each["destination"]: each["value"] for each in found["fallbacks"]}
    assert fallbacks["status"] == "PAID"
    assert fallbacks["metadata.occurred_at"] == "2021-03-04T05:06:07Z"
    assert {each["path"]: each["reason"] for each in found["lost"]} == {"properties.total": "items_decide"}


def test_an_order_tells_how_many_other_events_it_has() -> None:
    """Each key counts once; of a pipe nothing is known, as it cannot be read again."""
    names = ["Order Completed", "Order Updated", "Order Updated", "Seen"]
    events = [
        {
            "type": "track",
            "event": name,
            "messageId": f"m{number}",
            "userId": "u",
            "properties": {"order_id": "o"},
        }
        for number, name in enumerate(names)
    ]
    lines = [json.dumps(event).encode() for event in [*events, events[1]]]
    batches = [Batch.of("a", 1, lines)]
    settings = Settings(orders=Orders(disabled=False))
    first, *_, seen, _ = EventSearch(settings, batches, read_again=lambda: batches)
    assert first.others == OtherEvents(2, is_whole=True)
    assert seen.others is None
    assert json.loads(to_json(first))["other_events_of_order"] == {"count": 2, "is_whole": True}
    assert next(iter(EventSearch(settings, batches))).others is None
