"""Segment events for the tests of the mapping, as the reading wing hands them on."""

from __future__ import annotations

import json
from typing import Any

from voucherify_sync.events import Event, Json, Position, Request, event_type
from voucherify_sync.field_types import Dropped
from voucherify_sync.mapping.mapper import MappedRecord, Mapper
from voucherify_sync.outcomes import Outcome
from voucherify_sync.settings.types import Settings
from voucherify_sync.text import text_of


def event_of(fields: Json, *, line: int = 1, unsafe: bool = False) -> Event:
    """Return the event that holds these fields."""
    message_id = fields.get("messageId")
    return Event(
        position=Position("events.ndjson", line),
        type=event_type(fields["type"]),
        name=text_of(fields.get("event")),
        message_id=message_id if isinstance(message_id, str) else None,
        fields=fields,
        raw=json.dumps(fields).encode(),
        unsafe=unsafe,
    )


def identify(traits: Any = None, **fields: Any) -> Event:
    """Return an identify of user u1."""
    return event_of({"type": "identify", "userId": "u1", "traits": traits, **fields})


def track(properties: Any = None, **fields: Any) -> Event:
    """Return an Order Completed of user u1."""
    return event_of(
        {"type": "track", "event": "Order Completed", "userId": "u1", "properties": properties, **fields}
    )


def request_of(event: Event, settings: Settings | None = None) -> Request:
    """Return the request that is made of an event; fails where none is."""
    made = Mapper(settings or Settings()).request(event)
    assert isinstance(made, Request), made
    return made


def body_of(event: Event, settings: Settings | None = None) -> Json:
    """Return the body that is sent for an event, decoded from its bytes."""
    body: Json = json.loads(request_of(event, settings).payload)
    return body


def dropped_of(event: Event, settings: Settings | None = None) -> list[Dropped]:
    """Return what is left out of the request of an event."""
    made = Mapper(settings or Settings()).mapped(event)
    assert isinstance(made, MappedRecord), made
    return made.draft.dropped


def outcome_of(event: Event, settings: Settings | None = None) -> Outcome:
    """Return how an event ends of which no request is made."""
    made = Mapper(settings or Settings()).request(event)
    assert isinstance(made, Outcome), made
    return made
