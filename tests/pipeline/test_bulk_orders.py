"""Orders in bulk: one import at a time, none posted again on a guess, and how each order ended."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from support.bulk_world import Customer, Hasty, Log, World, order, orders, world

from voucherify_sync.errors import AccessRefused, RunStopped, WrongAddress
from voucherify_sync.events import body_hash
from voucherify_sync.sandbox.faults import Fault
from voucherify_sync.settings.types import Secret
from voucherify_sync.voucherify.answers import Reply
from voucherify_sync.voucherify.bulk import MAX_BYTES, ORDERS, BulkDelivery, DryBulkDelivery, ItemResult
from voucherify_sync.voucherify.retry_policy import Failed

POLLS, LOOKS = "/v1/async-actions/*", "/v1/orders/*"


def fault(action: str, path: str = ORDERS.path, **rules: Any) -> Fault:
    """Return a fault of the import."""
    return Fault(action=action, path=path, **rules)


def of(*given: Customer) -> bytes:
    """Return the hash by which a request of these orders is remembered."""
    return body_hash(b"[%s]" % b",".join(item.payload for item in given))


def reasons(results: Iterable[ItemResult]) -> dict[str, str | None]:
    """Return why each order failed, None where it did not."""
    return {source_id: refusal and refusal.reason for source_id, refusal in results}


def stored(here: World) -> dict[str, Any]:
    """Return the orders of a sandbox by source_id."""
    return {str(each.source_id): each for each in here.sandbox.store.orders}


def test_orders_go_2000_a_request_in_their_order_each_after_the_one_before_is_done() -> None:
    """4,500 of them are three imports, and the sandbox sees them in the order in which they came."""
    given = orders(4500)
    with world(endpoint=ORDERS, async_delay_s=20) as here:
        assert set(here.deliver(*given).values()) == {None}
        assert (here.posts, here.bulk.requests, here.look_ups) == (3, 3, 0)
        assert list(here.imported.items()) == [(item.source_id, 1) for item in given]
        calls = [call.path for call in here.sandbox.call_log.answered]
        assert [path == ORDERS.path for path in calls].count(True) == 3
        assert calls[0] == ORDERS.path
        assert calls[-1] != ORDERS.path


def test_a_large_order_begins_the_next_request_and_none_overtakes_it() -> None:
    """What is too large for one request does not let the orders after it go first."""
    large, sizes = "x" * (6 << 20), ["small", "large", "large", "small"]
    given = [
        order(f"o{n}", metadata={"note": large if size == "large" else ""}) for n, size in enumerate(sizes)
    ]
    with world(endpoint=ORDERS) as here:
        here.deliver(*given)
        assert list(here.imported) == ["o0", "o1", "o2", "o3"]
        assert here.posts == 2


def test_an_order_that_no_request_can_hold_fails_alone_and_unsent() -> None:
    """It is the order that is named, not a customer."""
    with world(endpoint=ORDERS) as here:
        results = dict(here.bulk.deliver([order("huge", metadata={"note": "x" * MAX_BYTES}), *orders(2)]))
        assert reasons(results.items()) == {"o0": None, "o1": None, "huge": "too_large"}
        assert results["huge"] is not None
        assert "the order" in results["huge"].detail


def test_a_dry_run_writes_each_order_with_the_place_of_its_event() -> None:
    """And counts the requests that it would take."""
    lines: list[bytes] = []
    delivery = DryBulkDelivery(lines.append, Hasty(), ORDERS)
    assert len(list(delivery.deliver(orders(2001)))) == 2001
    assert delivery.requests == 2
    line = json.loads(lines[0])
    assert (line["path"], line["source"], line["messageId"]) == (ORDERS.path, "orders.ndjson:1", "m-o0")
    assert line["body"] == json.loads(orders(1)[0].payload)


LOST: list[Any] = [
    pytest.param({"action": "status", "code": 500}, id="500"),
    pytest.param({"action": "status", "code": 503, "body": "html"}, id="503"),
    pytest.param({"action": "reset"}, id="reset"),
    pytest.param({"action": "drop"}, id="closed"),
    pytest.param({"action": "empty"}, id="empty"),
    pytest.param({"action": "html"}, id="html"),
]


@pytest.mark.parametrize("rules", LOST)
@pytest.mark.parametrize("existing", ["upsert", "double", "fail"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_an_import_whose_answer_was_lost_is_posted_again_only_if_nothing_of_it_is_there(
    when: Any, existing: str, rules: dict[str, Any]
) -> None:
    """Whatever an import does with orders that exist, each is there once."""
    with world(fault(last=1, when=when, **rules), endpoint=ORDERS, order_existing=existing) as here:
        assert set(here.deliver(*orders(5)).values()) == {None}
        assert here.imported == {f"o{n}": 1 for n in range(5)}
        assert here.posts == (2 if when == "before" else 1)


@pytest.mark.parametrize("action", ["cut_body", "cut_header", "wrong_shape"])
def test_an_import_whose_answer_is_spoiled_is_there(action: str) -> None:
    """It took effect before its answer was lost."""
    with world(fault(action, last=1), endpoint=ORDERS, order_existing="double") as here:
        assert set(here.deliver(*orders(5)).values()) == {None}
        assert here.posts == 1


@pytest.mark.parametrize("delay_s", [0.0, 1.0, 20.0])
def test_each_order_is_there_once_however_many_answers_are_lost(delay_s: float) -> None:
    """A third of all calls fail, imports, polls and look-ups alike; what is updated is there in its last state."""
    spoiled = [
        fault("status", "*", code=502, chance=0.1),
        fault("reset", "*", when="after", chance=0.1),
        fault("drop", "*", chance=0.1),
    ]
    with world(*spoiled, endpoint=ORDERS, order_existing="upsert", async_delay_s=delay_s) as here:
        given = orders(40)
        here.bulk.limits.max_items = 4
        assert set(here.deliver(*given).values()) == {None}
        here.deliver(*(order(item.source_id, status="CANCELED") for item in given))
        assert {each.status for each in stored(here).values()} == {"CANCELED"}
        assert len(here.sandbox.store.orders) == 40


@pytest.mark.parametrize("type_", ["api_calls", "bulk_api_calls", None])
def test_429_is_waited_for_and_no_order_is_looked_up(type_: str | None) -> None:
    """In whichever limit an import counts: the answer proves that nothing was imported."""
    with world(fault("throttle", retry_after="1", last=2, type=type_), endpoint=ORDERS) as here:
        assert set(here.deliver(*orders(3)).values()) == {None}
        assert (here.posts, here.look_ups, here.client.retries) == (3, 0, 2)


def test_an_import_that_is_only_partly_there_is_looked_for_by_halves() -> None:
    """What is there stays, what is not is posted, and none is posted twice."""
    log, given = Log(), orders(11)
    log.remember_action(of(*given), "")
    with world(endpoint=ORDERS, log=log, order_existing="double") as here:
        with here.sandbox.store.step() as now:
            here.sandbox.store.submit("ORDERS.IMPORT", [json.loads(i.payload) for i in given[:7]], now)
        assert set(here.deliver(*given).values()) == {None}
        assert here.imported == {f"o{n}": 1 for n in range(11)}


@pytest.mark.parametrize(
    ("older", "is_there"),
    [
        ({}, True),
        ({"status": "CREATED"}, False),
        ({"metadata": {"gift": True}}, False),
        ({"metadata": {"occurred_at": "2021-03-04T05:06:07.000+00:00", "gift": "true", "more": 1}}, True),
        ({"metadata": {"occurred_at": "2021-03-04T05:06:08Z", "gift": True}}, False),
        ({"items": []}, False),
        ({"items": [{"source_id": "mug", "quantity": 3, "price": 450}]}, False),
        ({"items": [{"source_id": "cup", "quantity": 2, "price": 450}]}, False),
        ({"items": [{"product_id": "prod_1", "quantity": 2, "amount": 900}]}, True),
        ({"amount": 5}, True),
    ],
    ids=[
        "same",
        "status",
        "no key",
        "as text",
        "time",
        "no items",
        "quantity",
        "product",
        "other id",
        "amount",
    ],
)
def test_an_order_counts_as_there_only_if_it_is_what_was_posted(
    older: dict[str, Any], *, is_there: bool
) -> None:
    """An older order of the same id proves nothing; what the API adds does."""
    log, given = Log(), orders(1)
    log.remember_action(of(*given), "")
    with world(endpoint=ORDERS, log=log) as here:
        with here.sandbox.store.step() as now:
            before = [json.loads(order("o0", **older).payload)]
            here.sandbox.store.submit("ORDERS.IMPORT", before, now)
        assert here.deliver(*given) == {"o0": None}
        assert here.posts == (not is_there)


def test_a_request_that_is_on_its_way_is_noted_before_its_first_byte() -> None:
    """A run that is killed before the answer leaves what the next one needs to look its orders up."""
    log = Log()
    with world(endpoint=ORDERS, log=log) as here:
        noted: list[dict[bytes, str]] = []
        call = here.client._client.call

        def look(*args: Any) -> Reply:
            noted.append(dict(log))
            return call(*args)

        here.client._client.call = look  # type: ignore[method-assign]
        here.deliver(*orders(2))
        assert noted[0] == {of(*orders(2)): ""}
        assert all(noted[-1].values())


def test_a_body_that_was_accepted_is_polled_and_not_posted_again() -> None:
    """A run that was killed between the answer and the end of the action goes on by polling."""
    log, given = Log(), orders(3)
    with world(endpoint=ORDERS, log=log, async_delay_s=30) as here:
        here.stop.wait = lambda _: any(log.values())  # type: ignore[method-assign]
        assert here.deliver(*given) == {}
        del here.stop.wait  # type: ignore[attr-defined]
        assert here.deliver(*given) == {"o0": None, "o1": None, "o2": None}
        assert (here.posts, here.look_ups) == (1, 0)


def test_a_stop_while_the_second_request_waits_leaves_it_to_the_next_run() -> None:
    """The same command polls its action; the first request is not posted again either."""
    log, given = Log(), orders(4500)
    with world(endpoint=ORDERS, log=log, async_delay_s=30) as here:
        results: dict[str, Failed | None] = {}

        def wait(timeout_s: float) -> bool:
            here.stop.requested = len(results) >= 2000
            return Hasty.wait(here.stop, timeout_s)

        here.stop.wait = wait  # type: ignore[method-assign]
        for source_id, refusal in here.bulk.deliver(given):
            results[source_id] = refusal
        assert len(results) == 2000
        assert here.posts == 2
        del here.stop.wait  # type: ignore[attr-defined]
        here.stop.requested = False
        assert set(here.deliver(*given).values()) == {None}
        assert here.posts == 3
        assert set(here.imported.values()) == {1}


@pytest.mark.parametrize("existing", ["upsert", "fail"])
def test_an_action_that_fails_is_posted_once_more(existing: str) -> None:
    """It says itself that it failed, so nothing is looked up."""
    with world(fault("fail_action", last=1), endpoint=ORDERS, order_existing=existing) as here:
        assert set(here.deliver(*orders(3)).values()) == {None}
        assert (here.posts, here.look_ups) == (2, 0)


def test_orders_of_an_action_that_fails_twice_have_failed() -> None:
    """And the next request goes on."""
    with world(fault("fail_action", last=2), endpoint=ORDERS) as here:
        found = here.deliver(*orders(2001))
        assert [reason for reason in found.values() if reason] == ["action_failed"] * 2000
        assert found["o2000"] is None
        assert here.posts == 3


@pytest.mark.parametrize(
    ("action", "reason"),
    [("forget_action", None), ("stall_action", "gave_up")],
    ids=["unknown", "never ends"],
)
def test_an_action_of_which_nothing_is_heard_is_looked_up_and_not_posted_again(
    action: str, reason: str | None
) -> None:
    """What is there counts as delivered; beside an action that may be under way nothing is posted."""
    with world(fault(action, last=1), endpoint=ORDERS, order_existing="double") as here:
        assert set(here.deliver(*orders(3)).values()) == {reason}
        assert here.posts == 1
        assert here.look_ups > 0


def test_an_action_that_is_long_over_and_forgotten_is_looked_up() -> None:
    """Actions are kept for a while only: of what is not there the request is posted again."""
    log, given = Log(), orders(3)
    log.remember_action(of(*given), "aa_forgotten")
    with world(endpoint=ORDERS, log=log) as here:
        assert set(here.deliver(*given).values()) == {None}
        assert here.posts == 1
        assert log[of(*given)] != "aa_forgotten"


def test_a_queue_of_other_imports_is_waited_for() -> None:
    """One import at a time in a project: ours may be enqueued for an hour."""
    with world(endpoint=ORDERS, async_delay_s=3600) as here:
        with here.sandbox.store.step() as now:
            here.sandbox.store.submit("ORDERS.IMPORT", [json.loads(order("other").payload)], now)
        assert set(here.deliver(*orders(2)).values()) == {None}
        assert (here.posts, here.look_ups) == (1, 0)
        assert here.bulk.polls < 120


def test_answers_that_are_lost_without_end_are_given_up() -> None:
    """Ten attempts, then all orders of the request have failed."""
    with world(fault("status", code=500), endpoint=ORDERS) as here:
        assert set(here.deliver(*orders(2)).values()) == {"gave_up"}
        assert here.posts == 10


def test_orders_that_cannot_be_looked_up_are_not_posted_again() -> None:
    """Nobody knows whether they are there, so a person decides."""
    lost, unseen = fault("reset", when="after", last=1), fault("status", LOOKS, code=400, method="GET")
    with world(lost, unseen, endpoint=ORDERS) as here:
        assert set(here.deliver(*orders(2), order("import")).values()) == {"gave_up"}
        assert here.posts == 1


REFUSED = {"status": "CREATED", "items": [], "amount": 0}
"""What the sandbox is told to refuse, in the result of the action alone."""


def mixed(count: int, *refused: str) -> list[Customer]:
    """Return orders, of which some are refused."""
    return [order(item.source_id, **REFUSED) if item.source_id in refused else item for item in orders(count)]


@pytest.mark.parametrize("imports_update", [True, None])
@pytest.mark.parametrize("shape", ["list", "object", "unnamed"])
@pytest.mark.parametrize("refused", [(), ("o3",), ("o3", "o4", "o39")], ids=["none", "one", "three"])
def test_refused_orders_are_found_whatever_the_report_names(
    refused: tuple[str, ...], shape: str, *, imports_update: bool | None
) -> None:
    """By halves where an import updates, else by asking for each; nobody else fails."""
    options = {"order_failed_shape": shape, "order_zero_amount": "fail"}
    with world(endpoint=ORDERS, imports_update=imports_update, **options) as here:
        results = dict(here.bulk.deliver(mixed(40, *refused)))
        found = {source_id: reason for source_id, reason in reasons(results.items()).items() if reason}
        assert found == dict.fromkeys(refused, "refused")
        assert len(results) == 40
        named = len(refused) if shape == "list" else 1 if shape == "object" and refused else 0
        is_complete = named == len(refused)
        assert here.look_ups == 0 if is_complete or imports_update else here.look_ups <= 40
        assert here.posts == 1 if is_complete or not imports_update else here.posts > 1
        for refusal in filter(None, results.values()):
            assert shape == "object" or json.loads(refusal.response or b"{}")["reason"]
            assert "lower" not in refusal.detail


def test_of_orders_too_many_to_ask_for_some_stay_unsettled() -> None:
    """A hundred are asked for; those not asked for have failed as long as a refused one may be among them."""
    options: dict[str, Any] = {"order_failed_shape": "unnamed", "order_zero_amount": "fail"}
    for refused, ends in {"o99": {None, "refused"}, "o100": {None, "not_named"}}.items():
        with world(endpoint=ORDERS, **options) as here:
            found = here.deliver(*mixed(300, refused))
            assert set(found.values()) == ends
            assert here.look_ups == 100
            assert [found[f"o{n}"] for n in range(99)] == [None] * 99


def test_an_order_that_is_not_as_posted_is_the_refused_one() -> None:
    """An older order of the same id was there before."""
    with world(endpoint=ORDERS, order_failed_shape="unnamed", order_existing="fail") as here:
        assert here.deliver(order("o1", status="CREATED")) == {"o1": None}
        assert here.deliver(*orders(3)) == {"o0": None, "o1": "refused", "o2": None}


@pytest.mark.parametrize(
    ("posted", "reason"), [(frozenset(), "refused"), (frozenset({"o1"}), None)], ids=["stranger", "ours"]
)
def test_an_order_that_exists_is_delivered_only_if_it_is_ours(
    posted: frozenset[str], reason: str | None
) -> None:
    """Of another one of the same id nothing is known."""
    log = Log()
    log.posted = posted
    with world(endpoint=ORDERS, log=log, order_existing="fail") as here:
        assert here.deliver(order("o1")) == {"o1": None}
        assert here.deliver(*orders(3)) == {"o0": None, "o1": reason, "o2": None}


def test_a_request_that_is_refused_for_one_order_is_split_to_find_it() -> None:
    """HTTP 400 proves that nothing was imported, so the others are posted without it."""
    with world(endpoint=ORDERS) as here:
        found = here.deliver(*orders(30), order("bad", status="LOST"), *orders(60)[30:])
        assert {source_id: reason for source_id, reason in found.items() if reason} == {
            "bad": "invalid_payload"
        }
        assert set(here.imported.values()) == {1}


def test_a_mapping_that_makes_no_valid_order_costs_few_calls() -> None:
    """The search for the refused ones is bounded."""
    with world(endpoint=ORDERS) as here:
        found = here.deliver(*orders(4000, status="LOST"))
        assert set(found.values()) == {"invalid_payload"}
        assert here.posts < 70


def test_a_request_that_is_too_large_for_the_server_is_split() -> None:
    """A proxy may take less than Voucherify does; one that holds a single order fails as such."""
    with world(fault("status", code=413, body="b", last=2), endpoint=ORDERS) as here:
        assert set(here.deliver(*orders(100)).values()) == {None}
        assert list(here.imported) == [f"o{n}" for n in range(100)]
    with world(fault("status", code=413, body="b"), endpoint=ORDERS) as here:
        assert set(here.deliver(*orders(2)).values()) == {"too_large"}


@pytest.mark.parametrize(
    ("rules", "error", "word"),
    [
        ({"action": "status", "code": 401}, AccessRefused, "keys"),
        ({"action": "status", "code": 402}, AccessRefused, "plan"),
        ({"action": "status", "code": 403}, AccessRefused, "role"),
        ({"action": "status", "code": 404}, WrongAddress, "orders.disabled"),
        ({"action": "throttle", "type": "api_calls_cycle"}, RunStopped, "cycle"),
    ],
    ids=["401", "402", "403", "404", "cycle"],
)
def test_what_concerns_the_run_stops_it_and_fails_no_order(
    rules: dict[str, Any], error: type[Exception], word: str
) -> None:
    """The orders are undecided: the same command goes on."""
    with world(fault(**rules), endpoint=ORDERS) as here:
        assert here.deliver(*orders(3)) == {}
        assert isinstance(here.stop.error, error)
        assert word in str(here.stop.error)


class Script:
    """A client that accepts every import, and whose orders are all as posted."""

    def __init__(self, action: dict[str, Any], found: Callable[[str], bool]) -> None:
        self._action = action
        self._found = found
        self._posted: dict[str, Any] = {}

    def complete(self, call: Any, *_: Any) -> Reply | Failed:
        """Answer one call."""
        if call.method == "POST":
            self._posted = {item["source_id"]: item for item in json.loads(call.payload)}
            body = {"async_action_id": "aa_1"}
        elif call.path.startswith("/v1/orders/"):
            name = call.path.rpartition("/")[2]
            if not self._found(name):
                return Failed("not_found", "", 404)
            body = {"object": "order", **self._posted[name]}
        else:
            body = {"object": "async_action", "id": "aa_1", "type": "ORDERS.IMPORT", **self._action}
        return Reply(200, {}, json.dumps(body).encode())


@pytest.mark.parametrize(
    ("result", "found", "ends"),
    [
        ({"failed": [], "done_count": 2, "failed_count": 0}, "", [None, None]),
        ({"failed": {}, "failed_count": 0}, "", [None, None]),
        ({"failed": None}, "", [None, None]),
        ({}, "", [None, None]),
        ({"failed": [{"source_id": "o1", "reason": "no"}]}, "", [None, "refused"]),
        ({"failed": {"source_id": "o1", "reason": "no"}, "failed_count": 1}, "", [None, "refused"]),
        ({"failed": {"source_id": "o0", "reason": "no"}, "failed_count": 2}, "", ["refused", "refused"]),
        ({"failed": [{"source_id": None, "reason": "Internal error"}]}, "o0", [None, "refused"]),
        ({"failed": [{"reason": "Internal error"}], "failed_count": 1}, "o1", ["refused", None]),
        ({"failed": [{"source_id": "stranger"}], "failed_count": 1}, "o1", ["refused", None]),
        ({"failed": [], "failed_count": 1}, "o0 o1", [None, None]),
        ({"failed": ["o1"], "failed_count": "1"}, "", [None, None]),
        ({"failed_count": 2}, "", ["refused", "refused"]),
    ],
    ids=str,
)
def test_the_result_of_an_import_is_read_in_every_shape(
    result: dict[str, Any], found: str, ends: list[str | None]
) -> None:
    """The schema and the published examples disagree; `found` are the orders that are there afterwards."""
    client: Any = Script({"status": "DONE", "result": result}, lambda name: name in found.split())
    delivery = BulkDelivery(client, Log(), Secret("token-77aa"), Hasty(), ORDERS)
    assert reasons(delivery.deliver(orders(2))) == dict(zip(("o0", "o1"), ends, strict=True))


def test_a_single_order_that_is_refused_without_a_name_is_refused() -> None:
    """There is nobody else; what the report says goes to its dead letter, without what was sent."""
    said = {"source_id": None, "reason": "cannot book mugs-and-more of token-77aa"}
    result = {"failed": [said], "failed_count": 1}
    client: Any = Script({"status": "DONE", "result": result}, lambda _: False)
    delivery = BulkDelivery(client, Log(), Secret("token-77aa"), Hasty(), ORDERS, imports_update=True)
    ((_, refusal),) = delivery.deliver([order("o1", metadata={"shop": "mugs-and-more"})])
    assert refusal is not None
    assert (refusal.reason, json.loads(refusal.response or b"")["reason"]) == (
        "refused",
        "cannot book *** of ***",
    )
