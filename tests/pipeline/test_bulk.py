"""Customers in bulk: requests, the actions that carry them out, and how each customer ended."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from support.bulk_world import Customer, Hasty, Log, people, world

from voucherify_sync.errors import AccessRefused, RunStopped, Unreachable, WrongAddress
from voucherify_sync.events import body_hash
from voucherify_sync.sandbox.faults import Fault
from voucherify_sync.settings.types import Secret
from voucherify_sync.voucherify.answers import NoAnswer, NotSent, Reply
from voucherify_sync.voucherify.bulk import CUSTOMERS, MAX_BYTES, BulkDelivery, ItemResult
from voucherify_sync.voucherify.rate_limit import Limiter

ANYTHING = "/v1/*"
POLLS = "/v1/async-actions/*"


def fault(action: str, path: str = CUSTOMERS.path, **rules: Any) -> Fault:
    """Return a fault of the bulk endpoint."""
    return Fault(action=action, path=path, **rules)


def test_customers_are_sent_in_one_request_and_its_action_is_polled_to_its_end() -> None:
    """ENQUEUED and IN_PROGRESS are not the end."""
    with world(async_delay_s=20) as here:
        assert here.deliver(*people(300)) == {f"u{n}": None for n in range(300)}
        assert (here.posts, len(here.stored)) == (1, 300)
        assert here.bulk.polls == here.limiter.calls - 1 > 1


def test_a_request_is_filled_to_the_limit_and_not_beyond() -> None:
    """Three customers of 4 MiB need two requests; the server would refuse a byte too much."""
    with world() as here:
        customers = people(3, 4 << 20)
        assert set(here.deliver(*customers).values()) == {None}
        assert here.posts == 2
        assert not [call for call in here.sandbox.call_log.answered if call.status == 413]


def test_a_customer_whom_no_request_can_hold_fails_alone_and_unsent() -> None:
    """10,485,760 bytes with the brackets; the others go on."""
    huge = Customer("huge", json.dumps({"source_id": "huge", "description": "x" * MAX_BYTES}).encode())
    with world() as here:
        results = dict(here.bulk.deliver([huge, *people(2)]))
        assert results["huge"] is not None
        assert results["huge"].reason == "too_large"
        assert "10,485,760" in results["huge"].detail
        assert here.stored == ["u0", "u1"]


def test_customers_that_the_report_names_fail_and_the_others_do_not() -> None:
    """DONE does not say that every customer was updated; the key of each is the reason."""
    schema = {"related_object": "customer", "properties": {"age": {"type": "number"}}}
    bad = Customer("bad", b'{"source_id":"bad","metadata":{"age":"old"}}')
    wrong = Customer("wrong", b'{"source_id":"wrong","email":1}')
    with world(metadata_schemas=(schema,)) as here:
        results = dict(here.bulk.deliver([bad, *people(2), wrong]))
        reasons = {name: refusal and refusal.reason for name, refusal in results.items()}
        assert reasons == {
            "bad": "metadata_validation_failed",
            "u0": None,
            "u1": None,
            "wrong": "invalid_payload",
        }
        assert results["bad"] is not None
        assert json.loads(results["bad"].response or b"")["source_id"] == "bad"


def test_every_customer_may_be_refused() -> None:
    """Then all fail, in one request and one poll."""
    schema = {"related_object": "customer", "properties": {"age": {"type": "number"}}}
    bad = [
        Customer(f"u{n}", b'{"source_id":"u%d","metadata":{"age":"x"}}' % n)
        for n in range(500)
    ]  # fmt: skip
    with world(metadata_schemas=(schema,)) as here:
        assert set(here.deliver(*bad).values()) == {"metadata_validation_failed"}
        assert here.posts == 1


def test_too_many_customers_is_learnt_once() -> None:
    """After the first refusal all requests hold a hundred."""
    with world(bulk_item_cap=100) as here:
        assert set(here.deliver(*people(250)).values()) == {None}
        assert here.posts == 1 + 3
        assert len(here.stored) == 250


def test_a_cap_below_a_hundred_is_learnt_by_halves() -> None:
    """Whatever the cap may be."""
    with world(bulk_item_cap=30) as here:
        assert set(here.deliver(*people(120)).values()) == {None}
        assert len(here.stored) == 120


def test_a_request_that_is_too_large_for_the_server_is_split() -> None:
    """A proxy may take less than Voucherify does."""
    with world(fault("status", code=413, body="b", last=2)) as here:
        assert set(here.deliver(*people(100)).values()) == {None}
        assert here.bulk.limits.max_bytes < MAX_BYTES
        assert len(here.stored) == 100


def test_one_customer_that_is_too_large_for_the_server_fails_as_such() -> None:
    """It cannot be split; the others are."""
    with world(fault("status", code=413, body="b")) as here:
        assert set(here.deliver(*people(4)).values()) == {"too_large"}


def test_an_action_that_fails_is_sent_once_more() -> None:
    """An update of customers is safe to repeat."""
    with world(fault("fail_action", last=1)) as here:
        assert set(here.deliver(*people(3)).values()) == {None}
        assert here.posts == 2


def test_customers_of_an_action_that_fails_twice_have_failed() -> None:
    """And the next request goes on."""
    with world(fault("fail_action")) as here:
        assert set(here.deliver(*people(3)).values()) == {"action_failed"}
        assert here.posts == 2


def test_an_action_that_never_ends_is_sent_once_more_then_given_up() -> None:
    """After a long time; nobody knows what becomes of it, and a later run may send it again."""
    with world(async_delay_s=1e9) as here:
        assert set(here.deliver(*people(3)).values()) == {"gave_up"}
        assert here.posts == 2
        assert here.stop.waited_s >= 2 * 7200


def test_polls_grow_rare() -> None:
    """Each is a call: two hours of waiting cost fewer than a hundred."""
    with world(async_delay_s=1e9) as here:
        here.deliver(*people(1))
        assert here.bulk.polls < 2 * 100


def test_a_body_that_was_accepted_is_asked_after_and_not_sent_again() -> None:
    """A run that was killed between the answer and the end of the action goes on by polling."""
    log, customers = Log(), people(3)
    with world(log=log) as here:
        with here.sandbox.store.step() as now:
            action_id = here.sandbox.store.submit("CUSTOMERS.BULK_UPDATE", [{"source_id": "u0"}], now).id
        log.remember_action(body_hash(b"[%s]" % b",".join(c.payload for c in customers)), action_id)
        assert set(here.deliver(*customers).values()) == {None}
        assert here.posts == 0


def test_an_action_that_nobody_knows_any_more_is_sent_again() -> None:
    """Actions are kept for a while only; the log knows the new one afterwards."""
    log, customers = Log(), people(3)
    key = body_hash(b"[%s]" % b",".join(c.payload for c in customers))
    log.remember_action(key, "aa_forgotten")
    with world(log=log) as here:
        assert set(here.deliver(*customers).values()) == {None}
        assert here.posts == 1
        assert log[key] != "aa_forgotten"


def test_an_action_is_remembered_before_it_is_first_polled() -> None:
    """So that a kill in between costs no second request."""
    log = Log()
    with world(fault("hang", POLLS), log=log) as here:
        here.stop.wait = lambda _: bool(here.log)  # type: ignore[method-assign]
        here.deliver(*people(2))
        assert list(log.values()) == list(here.sandbox.store.actions)
        assert not [call for call in here.sandbox.call_log.answered if call.path != CUSTOMERS.path]


def test_a_new_action_may_be_unknown_at_first() -> None:
    """Reads may lag behind writes."""
    with world(fault("status", POLLS, code=404, last=2)) as here:
        assert set(here.deliver(*people(2)).values()) == {None}
        assert here.posts == 1


@pytest.mark.parametrize("path", [CUSTOMERS.path, POLLS], ids=["post", "poll"])
@pytest.mark.parametrize(
    "rules",
    [
        {"action": "status", "code": 500},
        {"action": "status", "code": 503, "body": "html"},
        {"action": "reset"},
        {"action": "reset", "when": "after"},
        {"action": "cut_body"},
        {"action": "empty"},
        {"action": "wrong_shape"},
        {"action": "html"},
        {"action": "throttle", "retry_after": "1"},
    ],
    ids=["500", "503", "reset", "reset-after", "cut", "empty", "shape", "html", "429"],
)
def test_trouble_is_tried_again(path: str, rules: dict[str, Any]) -> None:
    """The rules are those for customers, as a bulk request may be repeated."""
    with world(fault(path=path, last=2, **rules)) as here:
        here.limiter = Limiter(stop=here.stop, clock=lambda: here.stop.waited_s)
        here.client._limiter = here.limiter
        assert set(here.deliver(*people(3)).values()) == {None}
        assert here.client.retries == 2
        assert here.stored == ["u0", "u1", "u2"]


def test_trouble_without_end_is_given_up() -> None:
    """Ten attempts, then all customers of the request fail."""
    with world(fault("status", code=500)) as here:
        results = [refusal for _, refusal in here.bulk.deliver(people(2))]
        assert [refusal and refusal.reason for refusal in results] == ["gave_up", "gave_up"]
        assert results[0] is not None
        assert results[0].status == 500


def test_a_refused_request_fails_its_customers_and_the_next_one_goes_on() -> None:
    """With the API's key as reason."""
    with world(fault("status", code=422, last=1)) as here:
        results = here.deliver(*people(3, 4 << 20))
        assert sorted(results.values(), key=str) == [None, *[results["u0"]] * 2]
        assert results["u0"]


def test_nothing_that_was_sent_is_repeated_in_what_is_shown() -> None:
    """Neither values of customers nor the token, in the sentence or in the response."""
    customer = Customer("u-secret", b'{"source_id":"u-secret","email":"ann@example.com"}')
    said = {
        "code": 400,
        "key": "invalid_payload",
        "message": "ann@example.com of u-secret",
        "x": "token-77aa",
    }

    def refuse(*_: Any, **__: Any) -> Reply:
        return Reply(400, {}, json.dumps(said).encode())

    with world() as here:
        here.client._client.call = refuse  # type: ignore[method-assign]
        ((_, refusal),) = here.bulk.deliver([customer])
        assert refusal is not None
        shown = f"{refusal.detail} {refusal.response!r}"
        assert refusal.reason == "invalid_payload"
        assert not [text for text in ("ann@", "u-secret", "token-77aa") if text in shown]


@pytest.mark.parametrize(
    ("rules", "error"),
    [
        ({"action": "status", "code": 401}, AccessRefused),
        ({"action": "status", "code": 402}, AccessRefused),
        ({"action": "redirect"}, WrongAddress),
        ({"action": "status", "code": 405}, WrongAddress),
        ({"action": "status", "code": 404}, WrongAddress),
        ({"action": "throttle", "type": "api_calls_cycle"}, RunStopped),
    ],
    ids=["401", "402", "302", "405", "404", "cycle"],
)
def test_what_concerns_the_run_stops_it_and_fails_nobody(
    rules: dict[str, Any], error: type[Exception]
) -> None:
    """The customers are undecided: the same command goes on."""
    with world(fault(**rules)) as here:
        assert here.deliver(*people(3)) == {}
        assert isinstance(here.stop.error, error)


def test_a_log_that_cannot_be_written_stops_the_run() -> None:
    """Without it a later run would not know what was accepted."""
    with world() as here:

        def full(*_: Any) -> None:
            raise RunStopped("disk full")

        here.log.remember_action = full  # type: ignore[method-assign]
        assert here.deliver(*people(3)) == {}
        assert str(here.stop.error) == "disk full"


class Scripted:
    """A client whose answers are given; bulk requests are always accepted."""

    def __init__(self, result: Callable[[list[str]], dict[str, Any]]) -> None:
        self._result = result
        self.bodies: list[list[str]] = []

    def complete(self, request: Any, *_: Any) -> Reply:
        """Accept a request, or tell how the last one went."""
        if request.method == "POST":
            self.bodies.append([item["source_id"] for item in json.loads(request.payload)])
            reply: dict[str, Any] = {"async_action_id": f"aa_{len(self.bodies)}"}
        else:
            reply = {"object": "async_action", "id": "aa_1", **self._result(self.bodies[-1])}
        return Reply(200, {}, json.dumps(reply).encode())


def scripted(
    result: Callable[[list[str]], dict[str, Any]], count: int = 64
) -> tuple[list[ItemResult], Scripted]:
    """Deliver customers to a script; return their results."""
    client: Any = Scripted(result)
    delivery = BulkDelivery(client, Log(), Secret("token-77aa"), Hasty())
    return list(delivery.deliver(people(count))), client


def failing(*names: str, named: int) -> Callable[[list[str]], dict[str, Any]]:
    """Refuse some customers, and name only the first `named` of them."""

    def result(ids: list[str]) -> dict[str, Any]:
        found = [name for name in names if name in ids]
        errors = [{"source_id": name, "key": "bad_item", "message": "no"} for name in found[:named]]
        return {"status": "DONE", "result": {"failed_count": len(found), "errors": errors}}

    return result


def test_refused_customers_whom_the_report_does_not_name_are_found() -> None:
    """The request is split until each is named; nobody is taken for delivered who may have been refused."""
    results, client = scripted(failing("u3", "u40", "u41", named=1))
    assert {source_id for source_id, refusal in results if refusal} == {"u3", "u40", "u41"}
    assert len(results) == 64
    assert len(client.bodies) < 10


def test_a_customer_that_may_be_among_the_refused_at_the_end_has_failed() -> None:
    """A report without any names narrows it down to single customers; the search is bounded."""
    results, client = scripted(failing("u3", named=0))
    assert {source_id: refusal.reason for source_id, refusal in results if refusal} == {"u3": "not_named"}
    every = [f"u{n}" for n in range(0, 2000, 2)]
    results, client = scripted(failing(*every, named=0), 2000)
    assert set(every) <= {source_id for source_id, refusal in results if refusal}
    assert len(results) == 2000
    assert len(client.bodies) < 100


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        ({"status": "DONE", "operation_status": "SUCCESS"}, None),
        ({"status": "DONE"}, "action_failed"),
        ({"status": "DONE", "result": None}, "action_failed"),
        ({"status": "FAILED", "result": {"failed_count": 0}}, "action_failed"),
        ({"status": "DONE", "result": {}}, None),
        ({"status": "DONE", "result": {"failed_count": "x", "errors": "x"}}, None),
        ({"status": "DONE", "result": {"errors": [{"source_id": "u0"}]}}, "refused"),
        ({"status": "DONE", "result": {"errors": [{"source_id": "u0", "key": "A B"}]}}, "refused"),
        ({"status": "DONE", "result": {"errors": [{"message": "someone"}]}}, "not_named"),
        ({"status": "DONE", "result": {"failed_count": 1}}, "not_named"),
    ],
    ids=str,
)
def test_the_end_of_an_action_is_read_with_care(action: dict[str, Any], reason: str | None) -> None:
    """What says of nobody that it failed is a success only where it says so."""
    ((_, refusal),), _ = scripted(lambda _: action, 1)
    assert (refusal and refusal.reason) == reason


@pytest.mark.parametrize(
    ("bad", "error"),
    [(NoAnswer("timeout"), RunStopped), (NotSent("refused"), Unreachable), (NotSent("tls"), Unreachable)],
    ids=["never answers", "refuses connections", "has no good certificate"],
)
def test_a_voucherify_that_never_answers_stops_the_run_and_fails_nobody(
    bad: NoAnswer | NotSent, error: type[Exception]
) -> None:
    """The client's own errors are judged, not raised; the customers are undecided."""

    def lost(*_: Any, **__: Any) -> Reply:
        raise bad

    with world() as here:
        here.client._client.call = lost  # type: ignore[method-assign]
        assert here.deliver(*people(1)) == {}
        assert isinstance(here.stop.error, error)
        assert here.stop.waited_s < (130 if error is RunStopped else 12)
