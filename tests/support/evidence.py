"""Holds what a ledger says against what the stand-in processed: an archive, a sandbox and a ledger in, the verdict out.

The archive is made so that each request carries the messageId of its event, so that the call log can tell them apart.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from voucherify_sync.events import Event, Json, Kind, Position, Request, record_key
from voucherify_sync.outcomes import State
from voucherify_sync.sandbox import Sandbox
from voucherify_sync.state.ledger_reader import LedgerReader

CANARY = "canary-51d2-token"
EMAIL = "planted.canary.51d2@example.com"
HARMLESS = frozenset({"throttle", "close", "delay"})
"""Faults of which the client learns whether the call was processed."""

SETTINGS = """
api: {{url: '{url}', key: app, token: '{token}'}}
identify: {{extend_default: true, mapping: {{messageId: customer.metadata.message_id}}}}
track: {{extend_default: true, mapping: {{messageId: metadata.message_id}}}}
delivery: {{workers: {workers}}}
"""


class Record(NamedTuple):
    """One event of the archive."""

    type: str
    message_id: str
    user: str

    @property
    def line(self) -> str:
        """It as a line of the archive."""
        return json.dumps(self.fields) + "\n"

    @property
    def fields(self) -> dict[str, Any]:
        """What it holds."""
        event: dict[str, Any] = {"type": self.type, "messageId": self.message_id, "userId": self.user}
        if self.type == "track":
            return {**event, "event": "Order Completed"}
        return {**event, "traits": {"email": EMAIL, "firstName": "Ada"}}

    @property
    def key(self) -> bytes:
        """By what the ledger knows it."""
        return record_key(Event(Position("-", 1), self.type, None, self.message_id, self.fields, b""))


def request_of(record: Record, line: int) -> Request:
    """Make the request of a record that stands on this line."""
    kind = Kind.EVENT if record.type == "track" else Kind.CUSTOMER
    customer: Json = {"source_id": record.user, "email": EMAIL}
    metadata = {"message_id": record.message_id}
    body: Json = (
        {"event": "Order Completed", "customer": customer, "metadata": metadata}
        if kind is Kind.EVENT
        else {**customer, "metadata": metadata}
    )
    event = Event(
        Position("a", line), record.type, None, record.message_id, record.fields, record.line.encode()
    )
    return Request(event, kind, record.user, msgspec.json.encode(body))


def make_records(count: int, customers: int, chance: random.Random) -> list[Record]:
    """Make an archive in which each customer's updates and events are mixed with those of all others."""
    return [
        Record(
            "identify" if chance.random() < 0.2 else "track",
            f"m-{number}",
            f"u-{chance.randrange(customers)}",
        )
        for number in range(count)
    ]


def write_archive(file: Path, records: Iterable[Record]) -> Path:
    """Write records as an archive."""
    file.write_text("".join(record.line for record in records))
    return file


def write_settings(file: Path, sandbox: Sandbox, workers: int) -> Path:
    """Write settings that lead to a sandbox and let each request carry its messageId."""
    file.write_text(SETTINGS.format(url=sandbox.url, token=CANARY, workers=workers))
    file.chmod(0o600)
    return file


class Verdict(NamedTuple):
    """What was found, in records; all but the last three must be 0.

    Attributes:
        lost: no state, or delivered by the ledger and never processed.
        doubled: custom events processed more than once.
        disordered: processed for the first time before one that stands earlier for the same customer.
        sent_though_failed: processed, and failed by the ledger.
        damaged: the ledger is not sound.
        interrupted: custom events in doubt because a run ended while they were under way.
        ambiguous: custom events in doubt because of their answer.
        delivered: by the ledger.
    """

    lost: int
    doubled: int
    disordered: int
    sent_though_failed: int
    damaged: int
    interrupted: int
    ambiguous: int
    delivered: int

    @property
    def broken(self) -> dict[str, int]:
        """What must not be."""
        return {name: value for name, value in list(self._asdict().items())[:5] if value}


def judge(records: Sequence[Record], sandbox: Sandbox, ledger: Path) -> Verdict:
    """Compare what the ledger says of each of these records with what the call log has."""
    ids = {record.message_id for record in records}
    all_processed = ((done.kind, done.metadata["message_id"]) for done in sandbox.call_log.processed)
    processed = [(kind, message_id) for kind, message_id in all_processed if message_id in ids]
    times = Counter(message_id for _, message_id in processed)
    events = Counter(message_id for kind, message_id in processed if kind is Kind.EVENT)
    with closing(LedgerReader(ledger)) as reader:
        known = reader.look_up([record.key for record in records])
        sound = reader._ask("PRAGMA integrity_check") == [("ok",)]
    states = {record.message_id: entry.state for record, entry in zip(records, known, strict=True) if entry}
    doubts = Counter(entry.reason for entry in known if entry and entry.state is State.IN_DOUBT)
    return Verdict(
        lost=sum(_is_lost(states.get(record.message_id), times[record.message_id]) for record in records),
        doubled=sum(count > 1 for count in events.values()),
        disordered=count_disordered(records, [message_id for _, message_id in processed]),
        sent_though_failed=sum(states.get(message_id) is State.FAILED for message_id in times),
        damaged=not sound,
        interrupted=doubts["interrupted"],
        ambiguous=doubts.total() - doubts["interrupted"],
        delivered=sum(state is State.DELIVERED for state in states.values()),
    )


def _is_lost(state: State | None, times: int) -> bool:
    return state is None or (state is State.DELIVERED and not times)


def count_disordered(records: Sequence[Record], processed: Iterable[str]) -> int:
    """Count what was processed for the first time after something that stands later for the same customer."""
    place = {record.message_id: (record.user, number) for number, record in enumerate(records)}
    furthest: dict[str, int] = {}
    disordered = 0
    for message_id in dict.fromkeys(processed):
        user, number = place[message_id]
        disordered += number < furthest.get(user, -1)
        furthest[user] = max(number, furthest.get(user, -1))
    return disordered


def ambiguous_answers(sandbox: Sandbox) -> int:
    """Count the custom events that met a fault that leaves open whether they were processed."""
    return sum(
        call.method == "POST"
        and call.path == "/v1/events"
        and call.fault is not None
        and call.fault not in HARMLESS
        for call in sandbox.call_log.answered
    )


def refused_resends(sandbox: Sandbox, ledger: Path) -> int:
    """Count the custom events that were refused when they were sent again after a lost answer.

    That leaves them in doubt. What follows them is sent, and if a later run sends them once more, they come after it.
    Each other refusal has left a failed record.
    """
    refusals = sum(call.path == "/v1/events" and call.status == 400 for call in sandbox.call_log.answered)
    with closing(LedgerReader(ledger)) as reader:
        return refusals - reader.counts().failed


def breaches_of_the_law(report: dict[str, Any]) -> list[str]:
    """Return what is wrong with the sums of a report."""
    read, outcomes = report["events"]["read"], report["outcomes"]
    total = sum(outcomes.values())
    return [] if read == total else [f"read {read}, but the outcomes add up to {total}: {outcomes}"]
