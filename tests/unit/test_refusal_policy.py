"""A refusal of one record does not stop the project, and one of the project stops the run."""

from __future__ import annotations

from typing import Any

import pytest
from support.bulk_world import Customer, world
from support.sender_world import EVENT, GOOD, World, make_request

from voucherify_sync.errors import AccessRefused, WrongAddress
from voucherify_sync.outcomes import Accepted, NotProcessed, State
from voucherify_sync.voucherify.answers import Reply
from voucherify_sync.voucherify.limited_client import RefusalPolicy
from voucherify_sync.voucherify.retry_policy import Failed, Halt

LIST = Reply(200, {}, b'{"object":"list","customers":[]}')
FORBIDDEN = Reply(403, {}, b'{"key":"blocked_by_rule"}')
PATH = "/v1/events"
REFUSED = Failed("invalid_payload", "HTTP 400: no", 400)


STOP, BLOCKED, UNCLEAR = "stops the run", "fails the record", "is not known"


class Policy(RefusalPolicy):
    """A policy whose probe is answered by a list."""

    def __init__(self, *answers: Reply | None, **accepted: Any) -> None:
        super().__init__(Accepted(**accepted))
        self._answers = list(answers)

    def ruling(self, path: str = PATH, **options: Any) -> str:
        """Say what follows from a refusal."""
        refusal = Halt(AccessRefused("Voucherify forbids it"), NotProcessed.REFUSED)
        ruling = self.rule(path, refusal, lambda: self._answers.pop(0), **options)
        if isinstance(ruling, Failed):
            assert ruling.detail.startswith("Voucherify forbids it, and the next call was accepted")
            return BLOCKED
        return UNCLEAR if ruling is None else STOP


@pytest.mark.parametrize(
    ("probe", "ruling"),
    [
        pytest.param(LIST, BLOCKED, id="the project is well"),
        pytest.param(Reply(401, {}, b"{}"), STOP, id="the keys are refused"),
        pytest.param(Reply(403, {}, b"{}"), STOP, id="the permission is refused"),
        pytest.param(Reply(301, {}, b""), STOP, id="the address has moved"),
        pytest.param(Reply(200, {}, b"<html>"), UNCLEAR, id="a login page"),
        pytest.param(Reply(503, {}, b""), UNCLEAR, id="an outage"),
        pytest.param(Reply(429, {}, b""), UNCLEAR, id="throttled"),
        pytest.param(None, UNCLEAR, id="no answer"),
    ],
)
def test_the_probe_tells_what_is_refused(probe: Reply | None, ruling: str) -> None:
    """Where the endpoint has accepted something before, be it in an earlier run."""
    assert Policy(probe, endpoints=frozenset([PATH])).ruling() == ruling


def test_an_endpoint_that_never_accepted_anything_is_not_probed() -> None:
    """Another endpoint may have: a key can lack the permission for events alone."""
    assert Policy(endpoints=frozenset(["/v1/customers"])).ruling() == STOP


def test_five_blocked_records_in_a_row_stop_the_run() -> None:
    """One that is accepted or refused for itself between them begins the count again; so do not other endpoints."""
    refusals = Policy(*[LIST] * 99, endpoints=frozenset([PATH, "/v1/customers"]))
    for _ in range(3):
        assert [refusals.ruling() for _ in range(4)] == [BLOCKED] * 4
        refusals.succeeded(PATH)
    assert [refusals.ruling() for _ in range(4)] == [BLOCKED] * 4
    refusals.refused(PATH, REFUSED)
    assert [refusals.ruling() for _ in range(4)] == [BLOCKED] * 4
    refusals.succeeded("/v1/customers")
    assert refusals.ruling() == STOP


def test_requests_of_several_records_do_not_count_as_records() -> None:
    """They are split until one record is left."""
    refusals = Policy(*[LIST] * 99, endpoints=frozenset([PATH]))
    assert {refusals.ruling(is_one_record=False) for _ in range(9)} == {BLOCKED}


@pytest.mark.parametrize("status", [301, 401, 402, 403, 405, 406, 415])
def test_a_blocked_event_fails_and_the_run_goes_on(status: int) -> None:
    """With what was answered; its intent ends with its outcome."""
    world = World(GOOD[EVENT], Reply(status, {}, b'{"key":"blocked_by_rule"}'), LIST, GOOD[EVENT])
    outcomes = [world.run(make_request()) for _ in range(3)]
    assert [outcome.state for outcome in outcomes] == [State.DELIVERED, State.FAILED, State.DELIVERED]
    assert (outcomes[1].reason, outcomes[1].status) == ("blocked", status)
    assert outcomes[1].response == b'{"key":"blocked_by_rule"}'
    assert world.stop.error is None


def test_an_unclear_refusal_is_tried_again() -> None:
    """The event was refused, so it may go again; until then its intent is taken back."""
    world = World(GOOD[EVENT], FORBIDDEN, Reply(503, {}, b""), GOOD[EVENT])
    assert [world.run(make_request()).state for _ in range(2)] == [State.DELIVERED] * 2
    assert world.log.count("withdraw") == 1


def test_an_unclear_refusal_is_not_tried_for_ever() -> None:
    """Ten attempts, as for any other trouble."""
    world = World(GOOD[EVENT], *[FORBIDDEN, Reply(503, {}, b"")] * 99)
    outcomes = [world.run(make_request()) for _ in range(2)]
    assert (outcomes[1].state, outcomes[1].reason) == (State.FAILED, "gave_up")
    assert world.log.count("POST /v1/events") == 1 + 10


@pytest.mark.parametrize(("status", "error"), [(403, AccessRefused), (415, WrongAddress)])
def test_the_fifth_blocked_record_is_not_decided(status: int, error: type) -> None:
    """It stays pending, as everything that was not sent."""
    world = World(GOOD[EVENT], *[Reply(status, {}, b"{}"), LIST] * 4, Reply(status, {}, b"{}"))
    states = [world.run(make_request()).state for _ in range(6)]
    assert states == [State.DELIVERED, *[State.FAILED] * 4, State.PENDING]
    assert isinstance(world.stop.error, error)


@pytest.mark.parametrize(
    ("accepted", "stops"),
    [(Accepted(), True), (Accepted(anything=True), True), (Accepted(by_settings=True), False)],
    ids=["a new ledger", "delivered with other settings", "delivered with these settings"],
)
def test_twenty_refusals_stop_a_run_by_which_nothing_was_ever_delivered(
    accepted: Accepted, stops: bool
) -> None:
    """The address or the mapping is wrong; once something was delivered, twenty bad records are twenty bad records."""
    refusals = RefusalPolicy(accepted)
    halts = [isinstance(refusals.refused(PATH, REFUSED), Halt) for _ in range(25)]
    assert halts == [False] * 19 + [stops] * 6


def test_retry_is_not_stopped_by_refusals() -> None:
    """That what failed is refused again says nothing about the rest."""
    refusals = RefusalPolicy(Accepted(), expects_refusals=True)
    assert {refusals.refused(PATH, REFUSED) for _ in range(99)} == {REFUSED}


def test_a_customer_who_is_blocked_is_found_in_a_bulk_request() -> None:
    """By halves; the others arrive."""
    people = [Customer(f"u{n}", b'{"source_id":"u%d"}' % n) for n in range(100)]
    with world() as here:
        call = here.client._client.call

        def guarded(method: str, path: str, payload: bytes | None = None, *more: Any) -> Reply:
            if payload is not None and b'"u77"' in payload:
                return FORBIDDEN
            return call(method, path, payload, *more)

        here.client._client.call = guarded  # type: ignore[method-assign]
        assert set(here.deliver(Customer("first", b'{"source_id":"first"}')).values()) == {None}
        results = here.deliver(*people)
        assert results.pop("u77") == "blocked"
        assert set(results.values()) == {None}
        assert here.stop.error is None


def test_bulk_requests_that_are_all_blocked_stop_the_run() -> None:
    """After five customers, and nobody is called refused for it who was not looked at alone."""
    people = [Customer(f"u{n}", b'{"source_id":"u%d"}' % n) for n in range(100)]
    with world() as here:
        assert set(here.deliver(Customer("first", b'{"source_id":"first"}')).values()) == {None}
        call = here.client._client.call

        def guarded(method: str, path: str, payload: bytes | None = None, *more: Any) -> Reply:
            return call(method, path, payload, *more) if payload is None else FORBIDDEN

        here.client._client.call = guarded  # type: ignore[method-assign]
        results = here.deliver(*people)
        assert set(results.values()) == {"blocked"}
        assert len(results) == 4
        assert isinstance(here.stop.error, AccessRefused)
