"""The one rule, line by line: what this project has been sent is not sent again."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from support.ledger_parts import make_request, open_ledger, outcome

from voucherify_sync.events import SENT_TYPES, Batch, Event, Kind, Request, earlier_keys, record_key
from voucherify_sync.outcomes import Outcome, State
from voucherify_sync.sources.decode import decode
from voucherify_sync.state.deduplication import Deduplicator, ResendPolicy
from voucherify_sync.state.ledger_reader import LedgerReader

AGAIN = ResendPolicy(again_before=float("inf"))
RETRY = ResendPolicy(retries_failed=True)


def decide(history: Deduplicator, *requests: Request) -> list[Outcome | Request]:
    """Apply the rule to requests as a run does."""
    return list(history.decide(requests))


def said(step: Outcome | Request) -> tuple[str, str | None]:
    """Return state and reason of a decision, or ``sent``."""
    return ("sent", None) if isinstance(step, Request) else (str(step.state), step.reason)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the ledger of a test is."""
    return tmp_path / "state" / "x.ledger"


def left(path: Path, state: State, number: int = 1, **changes: Any) -> None:
    """Let an earlier run leave a record in a state."""
    with open_ledger(path) as ledger:
        if state is State.IN_DOUBT:
            ledger.intend(make_request(number, **changes))
        ledger.record(outcome(make_request(number, **changes), state))


@pytest.mark.parametrize(
    ("state", "policy", "expected"),
    [
        (State.DELIVERED, ResendPolicy(), ("duplicate", "delivered")),
        (State.DELIVERED, AGAIN, ("sent", None)),
        (State.DELIVERED, RETRY, ("duplicate", "delivered")),
        (State.FAILED, ResendPolicy(), ("failed", "failed_before")),
        (State.FAILED, AGAIN, ("sent", None)),
        (State.FAILED, RETRY, ("sent", None)),
        (State.IN_DOUBT, ResendPolicy(on_doubt="resend"), ("sent", None)),
        (State.IN_DOUBT, ResendPolicy(on_doubt="accept"), ("delivered", "accepted")),
        (
            State.IN_DOUBT,
            ResendPolicy(again_before=float("inf"), on_doubt="accept"),
            ("delivered", "accepted"),
        ),
    ],
)
def test_the_rule(path: Path, state: State, policy: ResendPolicy, expected: tuple[str, str | None]) -> None:
    """Each line of the table: what the ledger knows, what the user wants, what happens."""
    left(path, state)
    with LedgerReader(path) as ledger:
        assert said(decide(Deduplicator(ledger, policy), make_request(1))[0]) == expected


def test_what_is_held_in_doubt_stays_in_doubt(path: Path) -> None:
    """Nothing is sent, and the reason is the one of then."""
    left(path, State.IN_DOUBT)
    with LedgerReader(path) as ledger:
        (step,) = decide(Deduplicator(ledger, ResendPolicy(on_doubt="hold")), make_request(1))
    assert isinstance(step, Outcome)
    assert step.state is State.IN_DOUBT


def test_what_is_to_be_verified_goes_on_with_the_time_it_was_sent(path: Path) -> None:
    """The delivery looks it up and does not send it."""
    left(path, State.IN_DOUBT)
    with LedgerReader(path) as ledger:
        (step,) = decide(Deduplicator(ledger, ResendPolicy(on_doubt="verify")), make_request(1))
        (letter,) = ledger.dead_letters()
    assert isinstance(step, Request)
    assert step.doubtful_since == letter.sent_at


def test_what_nobody_knows_is_sent_once(path: Path) -> None:
    """Within one run the first one wins; a different content under the same messageId is told apart."""
    with LedgerReader() as ledger:
        history = Deduplicator(ledger, ResendPolicy())
        assert [
            said(step) for step in decide(history, make_request(1), make_request(1), make_request(2))
        ] == [
            ("sent", None),
            ("duplicate", "repeated"),
            ("sent", None),
        ]


def test_one_message_id_with_two_contents_is_told_apart() -> None:
    """The first one wins, and the report names the difference."""
    with LedgerReader() as ledger:
        steps = decide(
            Deduplicator(ledger, ResendPolicy()), make_request(1, amount=1), make_request(1, amount=2)
        )
    assert [said(step) for step in steps] == [("sent", None), ("duplicate", "repeated_differs")]


def test_what_failed_is_sent_again_once_its_request_differs(path: Path) -> None:
    """A changed mapping is a reason to try again."""
    left(path, State.FAILED, amount=1)
    with LedgerReader(path) as ledger:
        assert said(decide(Deduplicator(ledger, ResendPolicy()), make_request(1, amount=2))[0]) == (
            "sent",
            None,
        )


def test_again_since_spares_what_a_later_run_delivered(path: Path) -> None:
    """A repetition that was interrupted goes on and repeats nothing twice."""
    left(path, State.DELIVERED, 1)
    left(path, State.DELIVERED, 2)
    with LedgerReader(path) as ledger:
        policy = ResendPolicy(again_before=2)
        steps = decide(Deduplicator(ledger, policy), make_request(1), make_request(2))
    assert [said(step) for step in steps] == [("sent", None), ("duplicate", "delivered")]


def test_what_this_run_delivered_is_a_repetition_within_it(path: Path) -> None:
    """The ledger of the run itself is no earlier run."""
    with open_ledger(path) as ledger:
        history = Deduplicator(ledger, AGAIN)
        decide(history, make_request(1))
        ledger.record(outcome(make_request(1), State.DELIVERED))
        assert said(decide(history, make_request(1))[0]) == ("duplicate", "repeated")


def test_a_superseded_update_is_held_back() -> None:
    """Something newer was sent to that customer: an event is sent, and only names the customer."""
    event = replace(
        make_request(2, kind=Kind.EVENT),
        payload=b'{"event":"E","customer":{"source_id":"u","email":"old"},"metadata":{"n":1}}',
    )
    with LedgerReader() as ledger:
        update, sent = decide(
            Deduplicator(ledger, RETRY, lambda _request: True), make_request(1, kind=Kind.CUSTOMER), event
        )
    assert said(update) == ("skipped", "superseded")
    assert isinstance(sent, Request)
    assert sent.body == {"event": "E", "customer": {"source_id": "u"}, "metadata": {"n": 1}}
    assert not sent.has_profile


@pytest.mark.parametrize("type_", ["identify", "track", "page", "group"])
def test_what_was_sent_under_a_repaired_message_id_counts(path: Path, type_: str) -> None:
    """An earlier version took it for one; this version knows such an event by its content, and sends it once."""
    line = b'{"type":"%s","userId":"u","event":"E","messageId":"m\xff"}' % type_.encode()
    (record,) = decode(Batch.of("a", 1, [line]))
    assert isinstance(record, Event)
    assert record.message_id is None
    request = Request(record, SENT_TYPES[type_].kind, "u", b"{}")
    old = replace(record, message_id="m\ufffd", repaired=())
    with open_ledger(path) as ledger:
        assert record_key(old) != record_key(record)
        ledger.record(outcome(replace(request, event=old), State.DELIVERED))
    with LedgerReader(path) as ledger:
        steps = decide(Deduplicator(ledger, ResendPolicy()), request)
    assert [said(step) for step in steps] == [("duplicate", "delivered")]


def test_what_an_earlier_version_sent_counts_for_every_content(path: Path) -> None:
    """It knew an identify by its messageId alone."""
    one, other = (make_request(1, kind=Kind.CUSTOMER, amount=amount) for amount in (1, 2))
    for content in (one, other):
        content.event.fields = {"traits": {"amount": content.payload.decode()}}
    assert record_key(one.event) != record_key(other.event)
    with open_ledger(path) as ledger:
        old = make_request(1, kind=Kind.CUSTOMER)
        old.event.key = earlier_keys(one.event)[-1]
        ledger.record(outcome(old, State.DELIVERED))
    with LedgerReader(path) as ledger:
        assert [said(step) for step in decide(Deduplicator(ledger, ResendPolicy()), one)] == [("sent", None)]
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE runs SET hash_version = 1")
    with LedgerReader(path) as ledger:
        steps = decide(Deduplicator(ledger, ResendPolicy()), one, other)
    assert [said(step) for step in steps] == [("duplicate", "delivered")] * 2
