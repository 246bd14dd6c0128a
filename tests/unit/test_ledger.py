"""The ledger knows what was sent, what failed and what is in doubt, within a run and in the next."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import structs
from support.ledger_parts import key_of, make_request, open_ledger, outcome

from voucherify_sync.errors import UsageProblem
from voucherify_sync.events import Kind, Position, Request, request_hash
from voucherify_sync.outcomes import NotProcessed, Outcome, State
from voucherify_sync.state.ledger import Ledger
from voucherify_sync.state.ledger_reader import KnownRecord, LastUpdate, LedgerCounts, LedgerReader


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a place for a ledger; its directory does not exist yet."""
    return tmp_path / "state" / "x.ledger"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    """Begin a first run."""
    with open_ledger(path) as ledger:
        yield ledger


def known(ledger: LedgerReader, request: Request) -> KnownRecord | None:
    """Look up one record."""
    return ledger.look_up([key_of(request)])[0]


def test_a_new_ledger_knows_nothing(ledger: Ledger) -> None:
    """Keys that are unknown are None, in the place of their key."""
    assert ledger.look_up([b"\0" * 16, b"\1" * 16]) == [None, None]
    assert ledger.look_up([]) == []


def test_what_was_delivered_is_known_at_once_and_in_the_next_run(path: Path) -> None:
    """A look-up sees what was recorded just before, though it is not yet on disk."""
    event, customer = make_request(1), make_request(2, kind=Kind.CUSTOMER)
    with open_ledger(path) as ledger:
        ledger.intend(event)
        ledger.record(outcome(event, State.DELIVERED))
        ledger.record(outcome(customer, State.DELIVERED))
        assert known(ledger, event) == KnownRecord(State.DELIVERED, request_hash(event.payload), 1)
    with open_ledger(path) as ledger:
        assert ledger.run == 2
        assert known(ledger, event) == KnownRecord(State.DELIVERED, request_hash(event.payload), 1)
        assert known(ledger, customer) == KnownRecord(State.DELIVERED, request_hash(customer.payload), 1)
        assert ledger.counts() == LedgerCounts(
            delivered_customers=1, delivered_events=1, failed=0, in_doubt=0
        )


def test_an_intent_is_pending_until_it_is_withdrawn_or_settled(ledger: Ledger) -> None:
    """A withdrawn intent leaves nothing behind."""
    request = make_request(1)
    ledger.intend(request)
    assert known(ledger, request) == KnownRecord(State.PENDING, request_hash(request.payload), 1)
    ledger.withdraw(request, NotProcessed.THROTTLED)
    assert known(ledger, request) is None


def test_a_withdrawn_intent_leaves_what_was_known_before(ledger: Ledger) -> None:
    """What was delivered once stays delivered when sending it again is throttled."""
    request = make_request(1)
    ledger.record(outcome(request, State.DELIVERED))
    ledger.intend(make_request(1, amount=2))
    ledger.withdraw(make_request(1, amount=2), NotProcessed.NOT_CONNECTED)
    assert known(ledger, request) == KnownRecord(State.DELIVERED, request_hash(request.payload), 1)


def test_an_outcome_alone_takes_no_intent_back(path: Path) -> None:
    """Only a proof does: an event that was intended and called pending by mistake is in doubt."""
    request = make_request(1)
    with open_ledger(path) as ledger:
        ledger.intend(request)
        ledger.record(outcome(request, State.PENDING))
    with open_ledger(path) as ledger:
        assert [letter.reason for letter in ledger.dead_letters()] == ["interrupted"]


def test_an_intent_without_outcome_is_in_doubt_in_the_next_run(path: Path) -> None:
    """Whether it was sent cannot be known, so it is not sent again."""
    request = make_request(7)
    with open_ledger(path, run_id="first", now=1_700_000_000.5) as ledger:
        ledger.intend(request)
    with open_ledger(path, run_id="second") as ledger:
        assert known(ledger, request) == KnownRecord(
            State.IN_DOUBT, request_hash(request.payload), 1, "interrupted"
        )
        (letter,) = ledger.dead_letters()
        assert (letter.message_id, letter.type, letter.name) == ("track-7", "track", "Order Completed")
        assert (letter.source, letter.run, letter.source_id) == ("logs/a.gz:7", "first", "user-7")
        assert (letter.event, letter.key) == (request.event.raw, key_of(request))
        assert letter.sent_at == ledger.sent_at(key_of(request)) == 1_700_000_000.5


def test_what_is_no_unicode_is_kept_with_question_marks(ledger: Ledger) -> None:
    """One odd name of a file or an event must not end the run."""
    plain = make_request(1)
    event = structs.replace(
        plain.event, position=Position("logs/\udcff.gz", 1), name="caf\u00e9 \ud800", message_id="\ud800"
    )
    request = structs.replace(plain, event=event)
    ledger.intend(request)
    ledger.record(outcome(request, State.IN_DOUBT, "\ud800"))
    ledger.flush()
    (letter,) = ledger.dead_letters()
    assert (letter.source, letter.name, letter.message_id) == ("logs/?.gz:1", "caf\u00e9 ?", "?")


def test_in_doubt_is_kept_with_the_reason_and_the_time_of_the_send(ledger: Ledger) -> None:
    """What a later verification needs to look it up."""
    request = make_request(1)
    ledger.intend(request)
    ledger.record(outcome(request, State.IN_DOUBT, "timeout"))
    assert known(ledger, request) == KnownRecord(State.IN_DOUBT, request_hash(request.payload), 1, "timeout")
    (letter,) = ledger.dead_letters()
    assert (letter.reason, letter.sent_at) == ("timeout", 1_700_000_000.0)


def test_a_doubt_of_an_earlier_run_stays_as_it_is_when_it_is_met_again(path: Path) -> None:
    """A record that is held is booked as in doubt in every run, but it was sent in the first."""
    request = make_request(1)
    with open_ledger(path, run_id="first") as ledger:
        ledger.intend(request)
    with open_ledger(path, run_id="second", now=1_800_000_000.0) as ledger:
        ledger.record(outcome(request, State.IN_DOUBT, "held"))
        (letter,) = ledger.dead_letters()
    assert (letter.run, letter.reason, letter.sent_at) == ("first", "interrupted", 1_700_000_000.0)


def test_a_doubt_ends_when_it_is_verified(path: Path) -> None:
    """Delivered is all that remains of it."""
    request = make_request(1)
    with open_ledger(path) as ledger:
        ledger.intend(request)
    with open_ledger(path) as ledger:
        ledger.record(outcome(request, State.DELIVERED))
        assert known(ledger, request) == KnownRecord(State.DELIVERED, request_hash(request.payload), 2)
        assert list(ledger.dead_letters()) == []
        assert ledger.sent_at(key_of(request)) is None


def test_failed_is_kept_with_its_reason_until_it_is_delivered(ledger: Ledger) -> None:
    """The sums by reason follow."""
    for number in range(3):
        ledger.record(outcome(make_request(number), State.FAILED, "not_found"))
    ledger.record(outcome(make_request(3, kind=Kind.CUSTOMER), State.FAILED, "gave_up"))
    assert known(ledger, make_request(0)) == KnownRecord(
        State.FAILED, request_hash(make_request(0).payload), 1, "not_found"
    )
    assert ledger.reasons(State.FAILED) == {"not_found": 3, "gave_up": 1}
    ledger.record(outcome(make_request(0), State.DELIVERED))
    assert known(ledger, make_request(0)) == KnownRecord(
        State.DELIVERED, request_hash(make_request(0).payload), 1
    )
    assert ledger.reasons(State.FAILED) == {"not_found": 2, "gave_up": 1}
    assert ledger.counts() == LedgerCounts(delivered_customers=0, delivered_events=1, failed=3, in_doubt=0)


@pytest.mark.parametrize("state", [State.SKIPPED, State.PLANNED, State.DUPLICATE, State.PENDING])
def test_what_was_not_sent_leaves_no_trace(ledger: Ledger, state: State) -> None:
    """The next run decides about it as if it had never been read."""
    ledger.record(outcome(make_request(1), state))
    assert known(ledger, make_request(1)) is None
    assert ledger.is_empty


def test_a_record_of_a_bulk_request_is_kept_without_a_request(ledger: Ledger) -> None:
    """Its kind follows from its type."""
    request = make_request(1, kind=Kind.CUSTOMER)
    ledger.record(Outcome(request.event, State.DELIVERED))
    assert known(ledger, request) == KnownRecord(State.DELIVERED, bytes(8), 1)
    assert ledger.counts().delivered_customers == 1


def test_many_keys_are_looked_up_in_their_order(ledger: Ledger) -> None:
    """Known and unknown, also the same key twice, over the size of one query."""
    requests = [make_request(number) for number in range(1_300)]
    for request in requests[::2]:
        ledger.record(outcome(request, State.DELIVERED))
    keys = [key_of(request) for request in requests]
    answers = ledger.look_up([*keys, keys[0]])
    assert [answer is not None for answer in answers] == [n % 2 == 0 for n in range(1_300)] + [True]


def test_workers_share_commits(ledger: Ledger) -> None:
    """Every intent of every worker is kept, and none waits for all the others to have a commit of their own."""

    def work(first: int) -> None:
        for number in range(first, first + 50):
            ledger.intend(make_request(number))
            ledger.record(outcome(make_request(number), State.DELIVERED))

    workers = [threading.Thread(target=work, args=(first,)) for first in range(0, 800, 50)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    ledger.flush()
    assert ledger.counts() == LedgerCounts(delivered_customers=0, delivered_events=800, failed=0, in_doubt=0)


def test_runs_are_kept_with_their_ends(path: Path) -> None:
    """The last run is the one before this one."""
    with open_ledger(path, run_id="first") as ledger:
        assert ledger.last_run() is None
        ledger.end_run(3, {"read": 2, "failed": 1})
    with open_ledger(path, run_id="second") as ledger:
        run = ledger.last_run()
        assert run is not None
        assert (run.number, run.name, run.exit_code, run.settings_digest) == (1, "first", 3, "digest")
        assert run.counts == {"read": 2, "failed": 1}
        assert run.ended_at == datetime.fromtimestamp(1_700_000_000, UTC)
        assert ledger.run_named("first") == run
        with pytest.raises(UsageProblem, match="knows no run"):
            ledger.run_named("other")
    with LedgerReader(path) as reader:
        last = reader.last_run()
        assert last is not None
        assert (last.name, last.ended_at, last.counts) == ("second", None, {})


def test_an_accepted_bulk_request_is_remembered(path: Path) -> None:
    """After a kill its action is polled, not posted again."""
    with open_ledger(path) as ledger:
        ledger.remember_action(b"12345678", "as_1")
    with open_ledger(path) as ledger:
        assert ledger.action(b"12345678") == "as_1"
        assert ledger.action(b"87654321") is None


def test_the_time_of_the_newest_update_and_what_was_sent_last_are_remembered(path: Path) -> None:
    """An older update that is sent later leaves its values at Voucherify, and the time of the newest one."""
    newest = datetime(2026, 2, 1, tzinfo=UTC)
    updates = [
        (LastUpdate(None, b"untimed."), None),
        (LastUpdate(newest, b"newest.."), newest),
        (LastUpdate(newest - timedelta(days=1), b"older..."), newest),
        (LastUpdate(None, b"untimed2"), newest),
    ]
    with open_ledger(path, now=newest.timestamp() + 1) as ledger:
        assert ledger.last_update("u") is None
        for update, time in updates:
            ledger.remember_update("u", update)
            assert ledger.last_update("u") == LastUpdate(time, update.hash)
        ledger.touch_customer("u")
        assert ledger.last_update("u") == LastUpdate(newest, None)
        ledger.touch_customer("nobody")
        assert ledger.last_update("nobody") is None


def test_an_update_is_not_later_than_the_run_that_sent_it(ledger: Ledger) -> None:
    """The clock of a phone may be years ahead; every later update of its customer would seem older."""
    ledger.remember_update("u", LastUpdate(datetime(2099, 1, 1, tzinfo=UTC), b"........"))
    last = ledger.last_update("u")
    assert last is not None
    assert last.updated_at == datetime.fromtimestamp(1_700_000_000.0, UTC)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["intend", "withdraw", "delivered", "failed", "in_doubt", "pending", "reopen"]),
        st.integers(0, 3),
        st.integers(1, 2),
    ),
    max_size=30,
)


class Model:
    """What a ledger should know, as two dictionaries."""

    def __init__(self) -> None:
        self.settled: dict[bytes, tuple[State, bytes, int]] = {}
        self.sends: dict[bytes, list[tuple[State, bytes, int]]] = {}
        self.run = 1

    @property
    def open(self) -> dict[bytes, tuple[State, bytes, int]]:
        """The last send of each record that nothing has decided."""
        return {key: sends[-1] for key, sends in self.sends.items() if sends}

    def apply(self, step: str, request: Request) -> None:
        key, hash_ = key_of(request), request_hash(request.payload)
        if step == "intend":
            self.sends.setdefault(key, []).append((State.PENDING, hash_, self.run))
        elif step == "withdraw":
            self.sends[key] = self.sends.get(key, [])[:-1]
        elif step == "pending":
            pass
        elif step == "reopen":
            for interrupted, (_, hash_, run) in self.open.items():
                self.settled[interrupted] = (State.IN_DOUBT, hash_, run)
            self.sends.clear()
            self.run += 1
        elif step != "in_doubt" or key in self.open:
            sent = self.open.get(key)
            self.sends.pop(key, None)
            hash_ = sent[1] if step == "in_doubt" and sent else hash_
            self.settled[key] = (State(step), hash_, self.run)


@settings(max_examples=40)
@given(STEPS)
@example([("intend", 1, 1), ("intend", 1, 1), ("withdraw", 1, 1), ("withdraw", 1, 1)])
@example([("intend", 1, 1), ("intend", 1, 2), ("withdraw", 1, 2), ("failed", 1, 2)])
@example([("intend", 1, 1), ("intend", 1, 2), ("withdraw", 1, 2), ("delivered", 1, 1), ("reopen", 0, 1)])
def test_whatever_happens_the_ledger_knows_what_two_dictionaries_know(
    steps: list[tuple[str, int, int]],
) -> None:
    """Intents, withdrawals, outcomes and new runs in any order."""
    with tempfile.TemporaryDirectory() as folder:
        path, model = Path(folder) / "x.ledger", Model()
        ledger = open_ledger(path)
        for step, number, amount in steps:
            request = make_request(number, amount=amount)
            if step == "reopen":
                ledger.close()
                ledger = open_ledger(path)
            elif step == "intend":
                ledger.intend(request)
            elif step == "withdraw":
                ledger.withdraw(request, NotProcessed.THROTTLED)
            else:
                ledger.record(outcome(request, State(step)))
            model.apply(step, request)
        keys = [key_of(make_request(number)) for number in range(4)]
        answers = [answer and (answer.state, answer.hash, answer.run) for answer in ledger.look_up(keys)]
        ledger.close()
        assert answers == [model.open.get(key) or model.settled.get(key) for key in keys]
