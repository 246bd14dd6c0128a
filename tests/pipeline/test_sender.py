"""One attempt after the other at a request: what is asked, in which order, and how the record ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.sender_world import ALIVE, CANARY, CUSTOMER, EVENT, GOOD, World, make_request

from voucherify_sync.delivery.circuit_breaker import CircuitBreaker
from voucherify_sync.delivery.dry_run import DryRun
from voucherify_sync.delivery.lanes import PendingRequest
from voucherify_sync.delivery.sender import Sender
from voucherify_sync.errors import AccessRefused, RunStopped, WrongAddress
from voucherify_sync.events import Kind, Request
from voucherify_sync.outcomes import Outcome, State
from voucherify_sync.sandbox.faults import Fault
from voucherify_sync.sandbox.options import SandboxOptions
from voucherify_sync.sandbox.server import Sandbox
from voucherify_sync.settings.types import Credentials, Secret
from voucherify_sync.stop import Stop
from voucherify_sync.voucherify.answers import NoAnswer, NotSent, Reply
from voucherify_sync.voucherify.client import Client
from voucherify_sync.voucherify.limited_client import LimitedClient
from voucherify_sync.voucherify.rate_limit import Limiter, Permit
from voucherify_sync.voucherify.retry_policy import Pauses, RetryLater


@pytest.mark.parametrize("kind", GOOD)
def test_how_an_operation_ended_is_kept_by_the_worker_itself(kind: Kind) -> None:
    """At once: what the worker does next may be the last thing that it does."""
    world = World(NotSent("refused"), GOOD[kind], Reply(400, {}, b"{}"), *[Reply(401, {}, b"{}")] * 2)
    for state in (State.DELIVERED, State.FAILED, State.PENDING):
        outcome = world.run(make_request(kind))
        assert outcome.state is state
        assert world.recorded[-1] is outcome
    assert len(world.recorded) == 3


def test_an_event_goes_by_permit_intent_call_answer() -> None:
    """The intent is durable before the first byte leaves, and none is open while a permit is waited for."""
    world = World(GOOD[EVENT])
    outcome = world.run(what := make_request())
    assert world.log == ["permit", "intend", "POST /v1/events", "answered 200"]
    assert (outcome.state, outcome.status, outcome.request, outcome.record) == (
        State.DELIVERED,
        200,
        what,
        what.event,
    )
    assert outcome.response is None


def test_a_customer_needs_no_intent() -> None:
    """Customers are safe to repeat."""
    world = World(GOOD[CUSTOMER])
    assert world.run(make_request(CUSTOMER)).state is State.DELIVERED
    assert world.log == ["permit", "POST /v1/customers", "answered 200"]


@pytest.mark.parametrize(
    ("answer", "heard", "reason"),
    [(Reply(429, {}, b""), "answered 429", "throttled"), (NotSent("refused"), "unanswered", "refused")],
    ids=["429", "refused"],
)
def test_an_intent_is_withdrawn_before_any_wait(answer: Any, heard: str, reason: str) -> None:
    """The answer proves that the event was not processed."""
    world = World(answer, GOOD[EVENT])
    assert world.run(make_request()).state is State.DELIVERED
    first = ["permit", "intend", "POST /v1/events", heard, "withdraw", f"again {reason}"]
    assert world.log[:6] == first
    assert world.log[6:] == ["permit", "intend", "POST /v1/events", "answered 200"]


def test_a_refusal_fails_the_record_with_what_was_answered() -> None:
    """The dead letter holds the first 4 KiB of the answer."""
    body = b'{"key":"invalid_payload","message":"' + b"x" * 5000 + b'"}'
    outcome = World(Reply(400, {}, body)).run(make_request())
    assert (outcome.state, outcome.reason, outcome.status) == (State.FAILED, "invalid_payload", 400)
    assert outcome.response == body[:4096]


@pytest.mark.parametrize("status", [301, 401, 402, 403, 405])
def test_what_concerns_the_run_stops_it_and_leaves_the_record_pending(status: int) -> None:
    """Nothing is marked failed, and no intent stays open."""
    world = World(Reply(status, {}, b"{}"))
    outcome = world.run(make_request())
    assert outcome.state is State.PENDING
    assert world.log[-1] == "withdraw"
    assert isinstance(world.stop.error, WrongAddress if status in (301, 405) else AccessRefused)
    assert world.run(make_request()).state is State.PENDING
    assert world.log.count("POST /v1/events") == 1


def test_without_a_permit_the_record_is_pending_and_nothing_was_intended() -> None:
    """The limiter says no when the run stops."""
    world = World()
    world.permits = False
    assert world.run(make_request()).state is State.PENDING
    assert world.log == ["permit"]
    world.permits = True
    world.answers = [GOOD[EVENT]]
    assert world.run(make_request()).state is State.DELIVERED


def test_a_journal_that_fails_stops_the_run_before_anything_is_sent() -> None:
    """Nothing is sent unrecorded."""
    world = World()

    def full(request: Request) -> None:
        raise RunStopped("the disk is full")

    world.intend = full  # type: ignore[method-assign]
    result = world.once(make_request())
    assert isinstance(result, Outcome)
    assert result.state is State.PENDING
    assert isinstance(world.stop.error, RunStopped)
    assert not any(line.startswith("POST") for line in world.log)


def test_twenty_refusals_and_nothing_else_mean_a_wrong_address() -> None:
    """The twentieth record stays pending, and the run stops before it marks the whole archive failed."""
    world = World(*[Reply(404, {}, b"{}")] * 20)
    states = [world.run(make_request()).state for _ in range(20)]
    assert states == [State.FAILED] * 19 + [State.PENDING]
    assert isinstance(world.stop.error, WrongAddress)
    assert "404" in str(world.stop.error)


def test_refusals_after_an_acceptance_are_the_records_own() -> None:
    """Bad records may come in any number once the API has taken one."""
    world = World(GOOD[EVENT], *[Reply(404, {}, b"{}")] * 30)
    states = [world.run(make_request()).state for _ in range(31)]
    assert states == [State.DELIVERED] + [State.FAILED] * 30
    assert not world.stop.requested


def test_ten_failures_give_a_record_up_and_429_is_none() -> None:
    """Waiting for quota is normal, however often and however long."""
    throttled, bad = Reply(429, {"Retry-After": "60"}, b""), Reply(502, {}, b"bad gateway")
    world = World(*[throttled, bad] * 10)
    outcome = world.run(make_request(CUSTOMER))
    assert (outcome.state, outcome.reason, outcome.status) == (State.FAILED, "gave_up", 502)
    assert outcome.response == b"bad gateway"
    assert not world.answers
    assert world.now < 20 * 60


def test_the_wait_that_the_server_asks_for_is_no_trouble_of_the_record() -> None:
    """Hours of maintenance must not use up the fifteen minutes."""
    maintenance = Reply(503, {"Retry-After": "7200"}, b"")
    world = World(*[maintenance] * 3, GOOD[CUSTOMER])
    assert world.run(make_request(CUSTOMER)).state is State.DELIVERED
    assert world.now >= 3 * 3600


def test_the_wait_for_a_permit_is_no_trouble_of_the_record() -> None:
    """A window of an hour must not use up the fifteen minutes."""
    world = World(Reply(502, {}, b""), GOOD[CUSTOMER])
    acquire = world.acquire

    def slow(*_: Any) -> Permit | None:
        world.now += 3600
        return acquire()

    world.acquire = slow  # type: ignore[method-assign]
    assert world.run(make_request(CUSTOMER)).state is State.DELIVERED


def test_an_empty_retry_budget_slows_retries_down() -> None:
    """It never fails a record."""
    world = World()
    world.answer = lambda method, path: Reply(502, {}, b"")
    pauses = []
    for _ in range(101):
        result = world.once(make_request(CUSTOMER))
        assert isinstance(result, RetryLater)
        pauses.append(result.after_s)
        world.breaker.enter(CUSTOMER, world._probe)
        world.breaker.leave(CUSTOMER, True)
    assert (pauses[0], pauses[99], pauses[100]) == (0.75, 0.75, 45.0)


def test_a_permit_is_given_back_when_the_breaker_opened_meanwhile() -> None:
    """No event goes into an outage that began while it waited for quota."""
    world = World(GOOD[EVENT])
    acquire = world.acquire

    def late(*_: Any) -> Permit | None:
        for _ in range(3):
            world.breaker.enter(CUSTOMER, world._probe)
            world.breaker.leave(CUSTOMER, False)
        world.acquire = acquire  # type: ignore[method-assign]
        return acquire()

    world.acquire = late  # type: ignore[method-assign]
    assert world.run(make_request()).state is State.DELIVERED
    assert world.log[:4] == ["permit", "unused", "probe", "permit"]


LOST = NoAnswer("reset", "the connection ended")


@pytest.mark.parametrize(
    "answer", [LOST, Reply(500, {}, b"oops"), Reply(200, {}, b"<html>")], ids=["lost", "500", "page"]
)
def test_hold_leaves_a_lost_event_in_doubt(answer: Any) -> None:
    """It is not sent again, and its intent stays until the outcome is recorded."""
    world = World(answer, on_doubt="hold")
    outcome = world.run(make_request())
    assert outcome.state is State.IN_DOUBT
    assert outcome.response == (answer.body if isinstance(answer, Reply) else None)
    assert "withdraw" not in world.log
    assert world.log.count("POST /v1/events") == 1


def test_accept_counts_a_lost_event_as_delivered() -> None:
    """The user asked for it; the reason says so."""
    outcome = World(LOST, on_doubt="accept").run(make_request())
    assert (outcome.state, outcome.reason) == (State.DELIVERED, "accepted")


def test_resend_sends_a_lost_event_again() -> None:
    """The user asked for it. The second answer proves of the second send only that it was not processed."""
    world = World(LOST, Reply(429, {}, b""), GOOD[EVENT], on_doubt="resend")
    assert world.run(make_request()).state is State.DELIVERED
    assert world.log.count("POST /v1/events") == 3
    assert world.log.count("intend") == 3
    assert world.log.count("withdraw") == 1


@pytest.mark.parametrize("last", [LOST, NotSent("dns")], ids=["lost", "not sent"])
def test_resend_that_gives_up_leaves_it_in_doubt(last: Any) -> None:
    """The first send may have arrived: that is no failure."""
    world = World(LOST, on_doubt="resend")
    world.answer = lambda method, path: world.answers.pop() if world.answers else last
    outcome = world.run(make_request())
    assert (outcome.state, outcome.reason) == (State.IN_DOUBT, "reset")
    assert world.log.count("POST /v1/events") == 10


def test_resend_that_is_stopped_leaves_it_in_doubt() -> None:
    """A record that may have arrived is never called pending."""
    world = World(LOST, on_doubt="resend")
    what = PendingRequest(make_request())
    assert isinstance(world.once(what), RetryLater)
    world.stop.because(RunStopped("enough"))
    assert world.run(what).state is State.IN_DOUBT


def log_page(*requests: Request) -> Reply:
    """Return a page of the activity log that holds these events."""
    rows = [
        {"data": {"data": {"event": {"type": "Viewed", "metadata": each.body["metadata"]}}}}
        for each in requests
    ]
    return Reply(200, {}, msgspec.json.encode({"data": rows, "has_more": False}))


@pytest.mark.parametrize("looks", [1, 2])
def test_verify_finds_a_lost_event_at_the_first_or_the_second_look(looks: int) -> None:
    """No worker waits meanwhile: each look is an attempt of its own."""
    what = make_request()
    world = World(LOST, *[log_page()] * (looks - 1), log_page(what))
    outcome = world.run(what)
    assert (outcome.state, outcome.reason) == (State.DELIVERED, "verified")
    assert world.log.count("POST /v1/events") == 1
    assert world.log.count("GET /v1/customers/u1/activity") == world.log.count("again verifying") == looks
    assert "withdraw" not in world.log


def test_verify_that_finds_nothing_twice_leaves_it_in_doubt() -> None:
    """Absence proves nothing: never sent again."""
    world = World(LOST, log_page(), log_page())
    outcome = world.run(make_request())
    assert (outcome.state, outcome.reason) == (State.IN_DOUBT, "reset")
    assert world.log.count("POST /v1/events") == 1
    assert world.now >= 65


def test_verify_asks_nothing_for_an_event_without_metadata() -> None:
    """Its name alone proves nothing."""
    world = World(LOST)
    assert world.run(make_request(metadata={})).state is State.IN_DOUBT
    assert not any("GET" in line for line in world.log)


def test_verify_needs_a_match_for_each_equal_send() -> None:
    """An equal event delivered shortly before accounts for one entry of the log."""
    first, second = make_request(metadata={"same": 1}), make_request(metadata={"same": 1})
    other = make_request(source_id="u2", metadata={"same": 1})
    world = World(GOOD[EVENT], LOST, log_page(first), log_page(first))
    assert world.run(first).state is State.DELIVERED
    assert world.run(second).state is State.IN_DOUBT
    world.answers = [LOST, log_page(other)]
    assert world.run(other).state is State.DELIVERED
    world.now += 1000
    world.answers = [LOST, log_page(first)]
    assert world.run(make_request(metadata={"same": 1})).state is State.DELIVERED


def test_a_look_up_that_is_pending_tells_that_the_event_was_sent() -> None:
    """Who stops the run meanwhile knows that the record is in doubt, and not pending."""
    world = World(LOST)
    what = PendingRequest(make_request())
    assert world.once(what) == RetryLater(5.0, "verifying")
    assert what.undecided().state is State.IN_DOUBT
    assert what.undecided().state is State.IN_DOUBT
    world.stop.because(RunStopped("enough"))
    assert world.run(what).state is State.IN_DOUBT


@pytest.mark.parametrize("on_doubt", ["hold", "verify"])
@pytest.mark.parametrize("customers", [False, True], ids=["events only", "customers between"])
def test_an_hour_of_500s_on_events_leaves_a_handful_in_doubt(on_doubt: Any, customers: bool) -> None:
    """Not one a call, even though the probe and the customers are answered well all the time."""
    world = World(on_doubt=on_doubt)
    answers = {"/v1/customers": GOOD[CUSTOMER], "/v1/events": Reply(500, {}, b"{}")}

    def answer(method: str, path: str) -> Reply:
        world.now += 0.1
        return answers.get(path, log_page())

    world.answer = answer
    ends: list[State] = []
    while world.now < 3600:
        if customers:
            assert world.run(make_request(CUSTOMER)).state is State.DELIVERED
        ends.append(world.run(make_request()).state)
    assert set(ends) == {State.IN_DOUBT}
    assert len(ends) <= 12


def test_a_network_that_is_down_fails_no_record() -> None:
    """What cannot be sent waits for the end of the outage instead of being given up one by one."""
    world = World()
    up_at = 3 * 3600

    def answer(method: str, path: str) -> Any:
        world.now += 0.01
        return GOOD[EVENT] if world.now > up_at else NotSent("dns")

    world.answer = answer
    world.probe_answer = lambda: ALIVE if world.now > up_at else NotSent("dns")
    assert {world.run(make_request()).state for _ in range(50)} == {State.DELIVERED}
    assert not world.stop.requested


ANSWERS = st.one_of(
    st.sampled_from([GOOD[EVENT], LOST, NotSent("dns"), NoAnswer("timeout"), log_page()]),
    st.builds(
        Reply, st.integers(100, 999), st.just({}), st.sampled_from([b"", b"{}", b'{"object":"event"}'])
    ),
)


@given(st.lists(ANSWERS, max_size=8), st.sampled_from(["verify", "hold", "accept"]))
def test_an_event_is_never_sent_again_after_an_answer_that_proves_nothing(
    answers: list[Any], on_doubt: Any
) -> None:
    """Whatever is answered, in whatever order: one outcome, and at most one send that may have arrived."""
    world = World(on_doubt=on_doubt)
    ambiguous: list[Any] = []

    def answer(method: str, path: str) -> Any:
        given = answers.pop(0) if answers else GOOD[EVENT]
        if path == "/v1/events":
            assert not ambiguous
            proof = isinstance(given, NotSent) or (isinstance(given, Reply) and 300 <= given.status < 500)
            if not proof or (isinstance(given, Reply) and given.status == 408):
                ambiguous.append(given)
        return given

    world.answer = answer
    outcome = world.run(make_request())
    open_intent = world.log.count("intend") > world.log.count("withdraw")
    assert outcome.state in (State.DELIVERED, State.FAILED, State.IN_DOUBT, State.PENDING)
    assert open_intent is (outcome.state is not State.PENDING)
    if outcome.state in (State.PENDING, State.FAILED):
        assert not ambiguous


@pytest.fixture
def real() -> Iterator[Callable[..., tuple[Sandbox, Sender]]]:
    """Yield a maker of a sandbox with faults, and a sender that sends to it."""
    opened: list[Any] = []

    def make(*faults: Fault, **options: Any) -> tuple[Sandbox, Sender]:
        sandbox = Sandbox(SandboxOptions(app_id="key", token=options.pop("token", CANARY)), faults).start()
        client = Client(Credentials("key", Secret(CANARY), sandbox.url, None), deadline_s=1.5)
        opened.extend([client.close, sandbox.stop])
        stop = Stop()
        limited = LimitedClient(client, Limiter(stop=stop), CircuitBreaker(stop), stop)
        return sandbox, Sender(limited, stop, pauses=Pauses(settle_s=(0.0, 0.0)), **options)

    yield make
    for close in opened:
        close()


def finish(sender: Sender, what: Request) -> Outcome:
    """Make attempts, without their pauses, until the record is decided."""
    attempts = PendingRequest(what)
    while True:
        attempts.number += 1
        result = sender.attempt(attempts)
        if isinstance(result, Outcome):
            return result


FAULTS = [
    "drop",
    "reset",
    "hang",
    "empty",
    "html",
    "status",
]


@pytest.mark.parametrize("action", FAULTS)
@pytest.mark.parametrize(("when", "state"), [("after", State.DELIVERED), ("before", State.IN_DOUBT)])
def test_against_a_server_that_loses_answers_the_outcome_is_what_was_processed(
    real: Any, action: str, when: Any, state: State
) -> None:
    """Processed: found and delivered. Not processed: in doubt, as absence proves nothing. Never sent twice."""
    sandbox, sender = real(Fault(action, path="/v1/events", when=when))
    outcome = finish(sender, make_request())
    assert outcome.state is state
    assert len(sandbox.call_log.processed) == (when == "after")
    assert sum(call.path == "/v1/events" for call in sandbox.call_log.answered) == 1
    assert CANARY not in repr(outcome)


def test_a_cycle_that_is_used_up_shows_at_a_look_up_too(real: Any) -> None:
    """The event is in doubt, and the run stops: to wait for the next cycle would take weeks."""
    lost = Fault("drop", path="/v1/events", when="after")
    sandbox, sender = real(lost, Fault("throttle", method="GET", type="api_calls_cycle"))
    assert finish(sender, make_request()).state is State.IN_DOUBT
    assert "billing cycle" in str(sender._stop.error)
    assert [call.method for call in sandbox.call_log.answered] == ["POST", "GET"]


@pytest.mark.parametrize(
    "action",
    [*FAULTS, "cut_header", "cut_body", "wrong_shape", "throttle"],
)
def test_a_customer_arrives_whatever_happens_to_the_first_answer(real: Any, action: str) -> None:
    """Customers are sent again."""
    sandbox, sender = real(Fault(action, path="/v1/customers", last=1, retry_after="1"))
    assert finish(sender, make_request(CUSTOMER)).state is State.DELIVERED
    assert sandbox.counts()[0] == 1


def test_a_wrong_key_shows_nowhere(real: Any) -> None:
    """Not in the outcome, and not in the error that stops the run."""
    _, sender = real(token="another")
    outcome = finish(sender, make_request())
    assert outcome.state is State.PENDING
    assert isinstance(sender._stop.error, AccessRefused)
    assert CANARY not in repr(outcome) + str(sender._stop.error)


def test_a_dry_run_writes_the_very_request_and_sends_nothing() -> None:
    """One JSON object a line; the body is embedded byte for byte."""
    lines: list[bytes] = []
    event, customer = make_request(), make_request(CUSTOMER)
    event = Request(event.event, EVENT, "u1", b'{"event":"x",  "metadata":{"big":123456789012345678901}}')
    (outcomes,) = DryRun(lines.append, Stop()).deliver([event, customer])
    assert [each.state for each in outcomes] == [State.PLANNED] * 2
    lines = b"".join(lines).splitlines(keepends=True)
    position = event.event.position
    assert lines[0] == (
        b'{"method":"POST","path":"/v1/events","body":'
        + event.payload
        + b',"source":"%s","messageId":"%s"}\n'
        % (str(position).encode(), event.event.message_id.encode() if event.event.message_id else b"")
    )
    assert msgspec.json.decode(lines[1])["path"] == "/v1/customers"
