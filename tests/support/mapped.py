"""What settings, as they are written, make of events: bodies of requests, or the reasons why there are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from support.settings_text import loaded
from voucherify_sync.events import Batch, Json, Request
from voucherify_sync.mapping.filters import Selection
from voucherify_sync.run.pipeline import Pipeline


def ends_of(folder: Path, text: str, *events: Json, **selection: Any) -> list[Any]:
    """Return of each event the body of its request, or the reason why there is none.

    Args:
        folder: takes the settings file.
        text: of it.
        events: what the lines hold; user u sends them.
        selection: as on the command line.
    """
    pipeline = Pipeline(loaded(folder, text), Selection(**selection))
    lines = [
        json.dumps({"messageId": f"m-{number}", "userId": "u", **event}).encode()
        for number, event in enumerate(events)
    ]
    (decisions,) = pipeline.batches(Batch.of("events.ndjson", 1, lines))
    return [each.body if isinstance(each, Request) else each.reason for each in decisions]


def event_body(name: str, metadata_of_event: Any = None, /, **customer: Any) -> Json:
    """Return the body of a custom event of user u."""
    body = {"event": name, "customer": {"source_id": "u", **customer}}
    return body if metadata_of_event is None else {**body, "metadata": metadata_of_event}
