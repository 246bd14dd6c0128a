"""Public events with the oddities of the wild, mapped, and held against the published schema of the API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest
from support.openapi import as_json_schema

from voucherify_sync.events import Batch, Event, Kind, Request
from voucherify_sync.findings import NAMED_BY_PROPERTIES
from voucherify_sync.mapping.mapper import Mapper
from voucherify_sync.outcomes import Outcome
from voucherify_sync.settings.types import Identify, Settings, Track
from voucherify_sync.sources.decode import decode

SCHEMAS = {Kind.CUSTOMER: "CustomersCreateRequestBody", Kind.EVENT: "EventsCreateRequestBody"}

EVERYTHING = Settings(
    identify=Identify(extend_default=True, mapping={"traits": ["customer"]}, unmapped_traits="metadata"),
    track=Track(
        extend_default=True,
        mapping={
            "properties": ["metadata"],
            "timestamp": ["metadata.occurred_at"],
            "properties.coupon": ["referral.code"],
        },
        add={"metadata.replayed": True},
    ),
)


@pytest.fixture(scope="module")
def events(corpora: Path) -> list[Event]:
    """All events of the corpora, envelopes unpacked."""
    return list(_events(corpora))


def _events(corpora: Path) -> Iterator[Event]:
    for file in sorted(corpora.glob("*.ndjson")):
        for record in decode(Batch.of(file.name, 1, file.read_bytes().split(b"\n"))):
            if isinstance(record, Event):
                yield record


@pytest.fixture(scope="module")
def validators(openapi: Path) -> dict[Kind, jsonschema.Draft202012Validator]:
    """Return the published schema of each request body."""
    document = as_json_schema(json.loads(openapi.read_text()))
    return {
        kind: jsonschema.Draft202012Validator(
            {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        )
        for kind, name in SCHEMAS.items()
    }


@pytest.mark.parametrize("settings", [Settings(), EVERYTHING], ids=["default", "everything"])
def test_every_request_of_the_corpora_is_one_that_the_published_schema_accepts(
    settings: Settings,
    events: list[Event],
    validators: dict[Kind, jsonschema.Draft202012Validator],
) -> None:
    """No event breaks the mapping, and no request breaks the schema."""
    mapping = Mapper(settings)
    kinds = {Kind.CUSTOMER: 0, Kind.EVENT: 0}
    for event in events:
        made = mapping.request(event)
        if isinstance(made, Outcome):
            assert made.reason is not None
            continue
        kinds[made.kind] += 1
        body = json.loads(made.payload)
        problem = jsonschema.exceptions.best_match(validators[made.kind].iter_errors(body))
        assert problem is None, f"{event.position}: {problem}"
        customer = body if made.kind is Kind.CUSTOMER else body["customer"]
        assert customer["source_id"].strip()
    assert min(kinds.values()) > 50


def test_the_schema_tells_a_wrong_request(
    validators: dict[Kind, jsonschema.Draft202012Validator],
) -> None:
    """The test above can fail."""
    assert list(validators[Kind.EVENT].iter_errors({"event": "x"}))
    assert list(validators[Kind.EVENT].iter_errors({"event": "x" * 301, "customer": {}}))
    assert list(validators[Kind.CUSTOMER].iter_errors({"phone": 5}))


def test_the_corpora_s_oddities_are_told(events: list[Event]) -> None:
    """Every request is by an id of its event; what is lost is counted."""
    mapping = Mapper(Settings())
    made = [mapping.request(event) for event in events]
    requests = [request for request in made if isinstance(request, Request)]
    assert all(
        request.source_id
        in (str(request.event.fields.get("userId")), str(request.event.fields.get("anonymousId")))
        for request in requests
    )
    tally = mapping.stats.to_dict()
    assert tally["identify"]["unmapped"]
    assert tally["track"]["unmapped"]
    assert mapping.stats.findings[NAMED_BY_PROPERTIES].count > 0
