"""What a script does in an hour: json.loads, the default mapping by hand, json.dumps. Lines in, lines out.

It knows nothing of odd types, ids, filters, duplicates or counts, and is right for the events of the benchmark only.
"""

from __future__ import annotations

import json
import sys
from typing import Any

ADDRESS = {
    "city": "city",
    "state": "state",
    "street": "line_1",
    "country": "country",
    "postalCode": "postal_code",
}


def request_of(event: dict[str, Any]) -> dict[str, Any]:
    """Return the body of the request for an event."""
    given = event.get("traits" if event["type"] == "identify" else "properties") or {}
    customer = {"source_id": event.get("userId") or event.get("anonymousId")}
    name = given.get("name") or " ".join(filter(None, (given.get("firstName"), given.get("lastName"))))
    if name:
        customer["name"] = name
    for field in ("email", "description", "phone"):
        if given.get(field):
            customer[field] = given[field]
    address = given.get("address") or {}
    place = {there: address[here] for here, there in ADDRESS.items() if address.get(here)}
    if place:
        customer["address"] = place
    if metadata := {key: value for key, value in (given.get("metadata") or {}).items() if value is not None}:
        customer["metadata"] = metadata
    if event["type"] == "identify":
        return customer
    return {"event": event["event"], "customer": customer}


def main() -> None:
    """Map line by line."""
    for line in sys.stdin:
        sys.stdout.write(json.dumps(request_of(json.loads(line)), ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
