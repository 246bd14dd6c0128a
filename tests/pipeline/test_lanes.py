"""Lanes: order per customer, others in parallel, one outcome for each request whatever happens."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from support.waiting import HANG_S, wait_until

from voucherify_sync.delivery.lanes import Lanes, PendingRequest
from voucherify_sync.errors import RunStopped
from voucherify_sync.events import Event, Kind, Position, Request
from voucherify_sync.exit_codes import ExitCode
from voucherify_sync.outcomes import NotProcessed, Outcome, State
from voucherify_sync.stop import Stop
from voucherify_sync.voucherify.retry_policy import RetryLater

Answer = Callable[[Request, PendingRequest], "Outcome | RetryLater"]


def make_request(number: int, customer: str, kind: Kind = Kind.EVENT, size: int = 2) -> Request:
    """Make the request of line `number`."""
    event = Event(Position("f", number), "track", "Seen", f"m{number}", {}, b"{}")
    return Request(event, kind, customer, b"x" * size)


def delivered(request: Request, _: PendingRequest | None = None) -> Outcome:
    """Answer as Voucherify mostly does."""
    return Outcome(request.event, State.DELIVERED, request=request)


def line(outcome: Outcome) -> int:
    """Tell which request an outcome is of."""
    return outcome.record.position.line


class Scripted:
    """Makes attempts by a script, and keeps a log of them."""

    def __init__(self, answer: Answer = delivered) -> None:
        self.answer = answer
        self.log: list[tuple[str, int, int]] = []
        self.busy: Counter[str] = Counter()
        self.overlaps = 0
        self._lock = threading.Lock()

    def attempt(self, attempts: PendingRequest) -> Outcome | RetryLater:
        request = attempts.request
        customer = request.source_id
        with self._lock:
            self.log.append((customer, request.event.position.line, attempts.number))
            self.busy[customer] += 1
            self.overlaps += self.busy[customer] > 1
        try:
            return self.answer(request, attempts)
        finally:
            with self._lock:
                self.busy[customer] -= 1


@contextmanager
def gate() -> Iterator[threading.Event]:
    """Give an event that is set at the end, so that no worker is left hanging."""
    event = threading.Event()
    try:
        yield event
    finally:
        event.set()


def test_every_operation_gets_its_outcome() -> None:
    """None is lost, none comes twice."""
    lanes = Lanes(Scripted().attempt, 8, Stop())
    for number in range(1000):
        lanes.submit(make_request(number, f"u{number % 50}"))
    outcomes = lanes.finished() + list(lanes.drain())
    assert sorted(map(line, outcomes)) == list(range(1000))
    assert {outcome.state for outcome in outcomes} == {State.DELIVERED}
    assert lanes.in_flight == 0


def test_one_customer_is_served_in_input_order_and_never_twice_at_once() -> None:
    """At most one request in flight per customer."""

    def slow(request: Request, _: PendingRequest) -> Outcome:
        time.sleep(random.random() / 1000)
        return delivered(request)

    script = Scripted(slow)
    lanes = Lanes(script.attempt, 8, Stop())
    for number in range(300):
        lanes.submit(make_request(number, f"u{number % 3}"))
    list(lanes.drain())
    assert script.overlaps == 0
    for customer in ("u0", "u1", "u2"):
        lines = [number for name, number, _ in script.log if name == customer]
        assert lines == sorted(lines)
        assert len(lines) == 100


def test_an_attempt_that_a_stop_prevents_is_no_retry() -> None:
    """A retry is a call that was made."""
    stop = Stop()

    def answer(_request: Request, _attempt: PendingRequest) -> RetryLater:
        stop.because(RunStopped("enough"))
        return RetryLater(0.0, "throttled")

    lanes = Lanes(Scripted(answer).attempt, 1, stop)
    lanes.submit(make_request(0, "u"))
    assert len(list(lanes.drain())) == 1
    assert lanes.retries == 0


def test_a_customer_that_waits_for_a_retry_blocks_nobody_else() -> None:
    """Not even with a single worker."""
    served: set[str] = set()

    def answer(request: Request, attempt: PendingRequest) -> Outcome | RetryLater:
        if request.source_id == "slow" and (attempt.number < 3 or len(served) < 2):
            return RetryLater(0.05, "throttled")
        if request.source_id != "slow":
            served.add(request.source_id)
        return delivered(request)

    script = Scripted(answer)
    lanes = Lanes(script.attempt, 1, Stop())
    for number in range(4):
        lanes.submit(make_request(number, "slow" if number < 2 else f"u{number}"))
    outcomes = list(lanes.drain())
    assert [line(outcome) for outcome in outcomes] == [2, 3, 0, 1]
    assert lanes.retries == len(script.log) - 4
    for slow in (0, 1):
        attempts = [attempt for _, number, attempt in script.log if number == slow]
        assert attempts == list(range(1, len(attempts) + 1))
        assert len(attempts) >= 3


def test_an_earlier_retry_is_not_held_up_by_a_later_one() -> None:
    """What is due first goes first."""

    def answer(request: Request, attempt: PendingRequest) -> Outcome | RetryLater:
        if attempt.number > 1:
            return delivered(request)
        return RetryLater(3600 if request.source_id == "later" else 0.02, "throttled")

    stop = Stop()
    lanes = Lanes(Scripted(answer).attempt, 2, stop)
    lanes.submit(make_request(0, "later"))
    wait_until(lambda: lanes.waiting == 1)
    lanes.submit(make_request(1, "sooner"))
    outcomes: list[Outcome] = []

    def is_sooner_through() -> bool:
        outcomes.extend(lanes.finished())
        return bool(outcomes)

    wait_until(is_sooner_through)
    stop.by_signal(ExitCode.INTERRUPTED)
    outcomes += lanes.drain(0)
    assert {line(outcome): outcome.state for outcome in outcomes} == {0: State.PENDING, 1: State.DELIVERED}


def test_customers_are_served_in_parallel_on_all_workers() -> None:
    """As many calls are in flight as there are workers."""
    barrier = threading.Barrier(6)

    def meet(request: Request, _: PendingRequest) -> Outcome:
        barrier.wait(HANG_S)
        return delivered(request)

    lanes = Lanes(Scripted(meet).attempt, 6, Stop())
    for number in range(6):
        lanes.submit(make_request(number, f"u{number}"))
    assert len(list(lanes.drain())) == 6


@pytest.mark.parametrize(("records", "size", "fits"), [(5, 1000, 5), (100, 250, 2)], ids=["records", "bytes"])
def test_a_full_look_ahead_makes_the_submitter_wait_and_says_for_whom(
    records: int, size: int, fits: int
) -> None:
    """Memory stays bounded when one customer holds up the rest."""
    with gate() as go:

        def answer(request: Request, _: PendingRequest) -> Outcome:
            go.wait(HANG_S)
            return delivered(request)

        lanes = Lanes(Scripted(answer).attempt, 2, Stop(), max_records=records, max_bytes=size)
        for number in range(fits):
            lanes.submit(make_request(number, "held", size=100))
        assert lanes.blocked_on() is None
        thread = threading.Thread(target=lanes.submit, args=(make_request(99, "next", size=100),))
        thread.start()
        wait_until(lambda: lanes.blocked_on() == "held")
        assert thread.is_alive()
        go.set()
        thread.join(HANG_S)
    assert len(list(lanes.drain())) == fits + 1
    assert lanes.blocked_on() is None


def test_an_operation_larger_than_the_look_ahead_goes_alone() -> None:
    """It is not waited for room that cannot come."""
    lanes = Lanes(Scripted().attempt, 2, Stop(), max_bytes=10)
    for number in range(3):
        lanes.submit(make_request(number, "u", size=100))
    assert len(list(lanes.drain())) == 3


def test_a_stop_frees_a_submitter_that_waits_for_room() -> None:
    """The request comes back as pending."""
    stop = Stop()
    with gate() as go:

        def answer(request: Request, _: PendingRequest) -> Outcome:
            go.wait(HANG_S)
            return delivered(request)

        lanes = Lanes(Scripted(answer).attempt, 1, stop, max_records=1)
        lanes.submit(make_request(0, "u"))
        wait_until(lambda: lanes.in_flight == 1)

        def interrupt() -> None:
            wait_until(lambda: lanes.blocked_on() == "u")
            stop.by_signal(ExitCode.INTERRUPTED)

        thread = threading.Thread(target=interrupt)
        thread.start()
        lanes.submit(make_request(1, "v"))
        thread.join(HANG_S)
        assert [(line(o), o.state) for o in lanes.finished()] == [(1, State.PENDING)]
        go.set()
        assert [(line(o), o.state) for o in lanes.drain()] == [(0, State.DELIVERED)]


def test_a_stop_lets_what_is_in_flight_finish_and_starts_nothing_new() -> None:
    """What was not begun is pending."""
    stop = Stop()
    with gate() as go:

        def answer(request: Request, _: PendingRequest) -> Outcome:
            go.wait(HANG_S)
            return delivered(request)

        script = Scripted(answer)
        lanes = Lanes(script.attempt, 2, stop)
        for number in range(6):
            lanes.submit(make_request(number, f"u{number % 3}"))
        wait_until(lambda: lanes.in_flight == 2)
        stop.by_signal(ExitCode.INTERRUPTED)
        threading.Timer(0.05, go.set).start()
        states = {line(outcome): outcome.state for outcome in lanes.drain()}
    assert states == {0: State.DELIVERED, 1: State.DELIVERED} | dict.fromkeys(range(2, 6), State.PENDING)
    assert len(script.log) == 2


def test_what_is_still_in_flight_after_the_drain_is_in_doubt_if_it_is_an_event() -> None:
    """A customer update can be sent again, so it is pending; late answers count no more."""
    stop = Stop()
    with gate() as go:

        def answer(request: Request, _: PendingRequest) -> Outcome:
            go.wait(HANG_S)
            return delivered(request)

        script = Scripted(answer)
        lanes = Lanes(script.attempt, 2, stop)
        lanes.submit(make_request(0, "u", Kind.EVENT))
        lanes.submit(make_request(1, "v", Kind.CUSTOMER))
        lanes.submit(make_request(2, "u", Kind.EVENT))
        wait_until(lambda: lanes.in_flight == 2)
        stop.by_signal(ExitCode.INTERRUPTED)
        found = {line(outcome): (outcome.state, outcome.reason) for outcome in lanes.drain(0.1)}
        assert sum(script.busy.values()) == 2, "the drain ended before the attempts did"
        assert found == {
            0: (State.IN_DOUBT, "interrupted"),
            1: (State.PENDING, None),
            2: (State.PENDING, None),
        }
        go.set()
        wait_until(lambda: not sum(script.busy.values()))
        assert lanes.finished() == []
        assert list(lanes.drain()) == []


@pytest.mark.parametrize("stopped_by", ["a signal", "an error"])
@pytest.mark.parametrize(
    ("kind", "left", "proof", "state"),
    [
        pytest.param(Kind.EVENT, True, None, State.IN_DOUBT, id="an event whose answer was lost"),
        pytest.param(
            Kind.EVENT, True, NotProcessed.THROTTLED, State.PENDING, id="an event that was throttled"
        ),
        pytest.param(Kind.EVENT, False, None, State.PENDING, id="an event that never left"),
        pytest.param(Kind.CUSTOMER, True, None, State.PENDING, id="a customer update"),
    ],
)
def test_what_waits_at_a_stop_ends_by_what_was_sent(
    kind: Kind, left: bool, proof: NotProcessed | None, state: State, stopped_by: str
) -> None:
    """The lane knows of each request whether it may be processed, from before its first byte to its outcome."""

    def answer(_: Request, attempts: PendingRequest) -> RetryLater:
        if left:
            attempts.may_have_left = attempts.request.kind is Kind.EVENT
        if proof is not None:
            attempts.may_have_left = False
        return RetryLater(60, "waiting", proof)

    stop = Stop()
    lanes = Lanes(Scripted(answer).attempt, 2, stop)
    lanes.submit(make_request(0, "u", kind))
    lanes.submit(make_request(1, "u", kind))
    wait_until(lambda: lanes.waiting == 1)
    if stopped_by == "a signal":
        stop.by_signal(ExitCode.INTERRUPTED)
    else:
        stop.because(RunStopped("enough"))
    assert [outcome.state for outcome in lanes.drain()] == [state, State.PENDING]


def test_what_an_earlier_run_left_in_doubt_stays_so_at_a_stop() -> None:
    """Whether it was looked at in this run, waits for it, or was not yet begun."""
    stop = Stop()
    lanes = Lanes(Scripted(lambda *_: RetryLater(60, "verifying")).attempt, 1, stop)
    for number, customer in enumerate(["u", "u", "v"]):
        lanes.submit(replace(make_request(number, customer), doubtful_since=1.0))
    wait_until(lambda: lanes.waiting >= 1)
    stop.by_signal(ExitCode.INTERRUPTED)
    assert {outcome.state for outcome in lanes.drain()} == {State.IN_DOUBT}


def test_a_retry_that_waits_when_the_run_stops_is_pending() -> None:
    """Again means that nothing was decided, so nothing is in doubt; and the drain does not wait for it."""
    stop = Stop()
    lanes = Lanes(Scripted(lambda *_: RetryLater(3600, "throttled")).attempt, 2, stop)
    lanes.submit(make_request(0, "u"))
    wait_until(lambda: lanes.waiting == 1)
    stop.by_signal(ExitCode.INTERRUPTED)
    began = time.monotonic()
    assert [(outcome.state, outcome.reason) for outcome in lanes.drain()] == [(State.PENDING, None)]
    assert time.monotonic() - began < HANG_S


@pytest.mark.parametrize("where", ["submit", "finished", "drain"])
def test_a_bug_in_a_worker_surfaces_in_the_main_thread(where: str) -> None:
    """An exception that an attempt lets out is a bug, and never a silent loss."""

    def answer(request: Request, _: PendingRequest) -> Outcome:
        raise ZeroDivisionError(request.source_id)

    lanes = Lanes(Scripted(answer).attempt, 2, Stop(), max_records=1)
    lanes.submit(make_request(0, "u"))
    calls: dict[str, Callable[[], object]] = {
        "submit": lambda: lanes.submit(make_request(1, "v")),
        "finished": lambda: wait_until(lambda: bool(lanes.finished())),
        "drain": lambda: list(lanes.drain()),
    }
    with pytest.raises(ZeroDivisionError):
        calls[where]()


def test_threads_end_after_the_drain() -> None:
    """Nothing is left running."""
    before = set(threading.enumerate())
    lanes = Lanes(Scripted().attempt, 16, Stop())
    lanes.submit(make_request(0, "u"))
    list(lanes.drain())
    wait_until(lambda: before.issuperset(threading.enumerate()))


def test_finished_never_waits_and_returns_each_outcome_once() -> None:
    """The main thread records as it goes."""
    lanes = Lanes(Scripted().attempt, 2, Stop())
    assert lanes.finished() == []
    lanes.submit(make_request(0, "u"))
    found: list[Outcome] = []

    def come() -> bool:
        found.extend(lanes.finished())
        return bool(found)

    wait_until(come)
    assert list(map(line, found)) == [0]
    assert list(lanes.drain()) == []


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32),
    customers=st.integers(1, 12),
    workers=st.integers(1, 8),
    stop_after_s=st.one_of(st.none(), st.floats(0, 0.03)),
    look_ahead=st.integers(1, 60),
)
def test_exactly_one_outcome_in_order_whatever_happens(
    seed: int, customers: int, workers: int, stop_after_s: float | None, look_ahead: int
) -> None:
    """Delays, retries, failures and a stop at any time: the law of the lanes holds."""
    dice = random.Random(seed)
    total = 80

    def answer(request: Request, attempt: PendingRequest) -> Outcome | RetryLater:
        time.sleep(dice.choice([0, 0, 0, 0.0005, 0.003]))
        if dice.random() < 0.2 and attempt.number < 5:
            return RetryLater(dice.choice([0, 0.001, 0.004]), "throttled")
        state = State.FAILED if dice.random() < 0.2 else State.DELIVERED
        return Outcome(request.event, state, request=request)

    stop, script = Stop(), Scripted(answer)
    lanes = Lanes(script.attempt, workers, stop, max_records=look_ahead)
    if stop_after_s is not None:
        threading.Timer(stop_after_s, stop.by_signal, [ExitCode.TERMINATED]).start()
    outcomes: list[Outcome] = []
    for number in range(total):
        kind = dice.choice(list(Kind))
        lanes.submit(make_request(number, f"u{dice.randrange(customers)}", kind))
        outcomes += lanes.finished()
    outcomes += lanes.drain(dice.choice([0, 0.001, 1.0]))
    time.sleep(0.004)
    outcomes += lanes.finished()

    assert sorted(map(line, outcomes)) == list(range(total))
    assert script.overlaps == 0
    tried = {number for _, number, _ in script.log}
    for outcome in outcomes:
        settled = outcome.state in {State.DELIVERED, State.FAILED, State.IN_DOUBT}
        assert line(outcome) in tried or not settled
        assert stop.requested or outcome.state in {State.DELIVERED, State.FAILED}
    for name in {name for name, _, _ in script.log}:
        lines = [number for customer, number, _ in script.log if customer == name]
        assert lines == sorted(lines)
        decided = [line(o) for o in outcomes if o.request and o.request.source_id == name]
        assert decided == sorted(decided) or stop.requested
