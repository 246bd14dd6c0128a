"""Runs that import orders: what is posted once, what a later run knows, and how each record ends."""

from __future__ import annotations

import io
import itertools
import json
import random
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support.cli import Cli
from support.replays import assert_lawful, outcomes_of, write_events, write_settings
from support.waiting import wait_until

from voucherify_sync.api import Mode, ReplayOptions, RetryOptions, RunReport, State, Stop, plan, replay, retry
from voucherify_sync.events import Json, Kind
from voucherify_sync.outcomes import Outcome
from voucherify_sync.run import bulk_run, options
from voucherify_sync.sandbox import Sandbox
from voucherify_sync.sandbox.faults import Fault
from voucherify_sync.sandbox.options import SandboxOptions
from voucherify_sync.state.dead_letters import LetterSelection
from voucherify_sync.state.ledger import Ledger, forget
from voucherify_sync.state.ledger_reader import LedgerReader
from voucherify_sync.voucherify import bulk

AGE = {"related_object": "customer", "properties": {"age": {"type": "number"}}}
ON = "orders: {disabled: false}\n"
BOTH = "orders: {disabled: false, instead_of_events: false}\n"


def completed(order: object, user: str = "u1", **properties: Any) -> Json:
    """Return the event of an order of one lamp."""
    lamp = {"product_id": "lamp", "quantity": 2, "price": 19}
    return of_order("Order Completed", order, user, products=[lamp], **properties)


def of_order(name: str, order: object, user: str = "u1", at: int = 1, **properties: Any) -> Json:
    """Return an event of an order."""
    return {
        "type": "track",
        "event": name,
        "messageId": f"{name}-{order}-{at}",
        "userId": user,
        "timestamp": f"2021-03-{at:02}T05:06:07Z",
        "properties": {"order_id": order, **properties},
    }


class Shop:
    """A sandbox, and a folder with an archive that is replayed to it."""

    def __init__(self, folder: Path, *faults: str) -> None:
        self.folder = folder
        options = SandboxOptions(keep=None, order_zero_amount="fail", metadata_schemas=(AGE,))
        self.sandbox = Sandbox(options, [Fault.parse(fault) for fault in faults])
        self.outcomes: list[Outcome] = []

    def replay(
        self, *events: Json, settings: str = ON, stop: Stop | None = None, **options: Any
    ) -> RunReport:
        """Replay events, or again those of the last replay, and check the law."""
        source = write_events(self.folder, *events) if events else self.folder / "events.ndjson"
        chosen: dict[str, Any] = {"new_ledger": not self.ledger.exists(), "ledger": self.ledger, **options}
        if chosen.get("mode", Mode.LIVE) is not Mode.LIVE:
            del chosen["new_ledger"]
        self.outcomes = []
        report = replay(
            ReplayOptions(source=source, config=self.config(settings), **{"mode": Mode.LIVE, **chosen}),
            stop=stop,
            watch=self.outcomes.extend,
        )
        assert_lawful({"events": {"read": report.events.read}, "outcomes": report.outcomes})
        states: dict[str, set[State]] = {}
        for outcome in self.outcomes:
            request = outcome.request
            if request is not None and request.order_id is not None and outcome.state is not State.SKIPPED:
                states.setdefault(request.order_id, set()).add(outcome.state)
        assert all(len(ends) == 1 for ends in states.values()), states
        return report

    def retry(self, file: Path | None = None, settings: str = ON) -> RunReport:
        """Send the dead letters again."""
        options = RetryOptions(config=self.config(settings), ledger=self.ledger, file=file, mode=Mode.LIVE)
        return retry(options)

    @property
    def ledger(self) -> Path:
        """The ledger of all runs."""
        return self.folder / "shop.ledger"

    def config(self, settings: str) -> Path:
        """Write the settings."""
        return write_settings(self.folder / "settings.yaml", self.sandbox.url, settings)

    @property
    def posts(self) -> int:
        """How many imports the sandbox was sent."""
        return sum(
            call.method == "POST" and call.path == "/v1/orders/import"
            for call in self.sandbox.call_log.answered
        )

    @property
    def imported(self) -> Counter[str]:
        """How often each order took effect."""
        return Counter(str(call.name) for call in self.sandbox.call_log.processed if call.kind is Kind.ORDER)

    @property
    def sent_events(self) -> Counter[str]:
        """Custom events by name."""
        return Counter(str(call.name) for call in self.sandbox.call_log.processed if call.kind is Kind.EVENT)

    def accept_free_orders(self) -> None:
        """Refuse orders of nothing no longer."""
        store = self.sandbox.store
        store._options = msgspec.structs.replace(store._options, order_zero_amount="accept")


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Shop]:
    """Return a shop whose waits are short; its parameters are faults."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    wait = Stop.wait
    monkeypatch.setattr(Stop, "wait", lambda self, timeout_s: wait(self, min(timeout_s, 0.005)))
    shop = Shop(tmp_path, *getattr(request, "param", ()))
    with shop.sandbox:
        yield shop


def counted(report: RunReport) -> dict[str, int]:
    """Return the states that records ended in, without those of none."""
    return {state: count for state, count in report.outcomes.items() if count}


def reasons(report: RunReport, state: State) -> dict[str, int]:
    """Return how often records ended so, by reason."""
    return {reason: found.count for reason, found in report.reasons[state].items()}


def test_many_orders_go_in_requests_of_two_thousand(shop: Shop) -> None:
    """In the order of their first events; the same archive again sends nothing."""
    events = [completed(number, f"u{number % 7}") for number in range(4500)]
    report = shop.replay(*events)
    assert counted(report) == {"delivered": 4500}
    assert (report.orders.requests, report.orders.orders, shop.posts) == (3, 4500, 3)  # type: ignore[union-attr]
    assert set(shop.imported.values()) == {1}
    assert counted(shop.replay()) == {"duplicate": 4500}
    assert shop.posts == 3


def free(order: object, **properties: Any) -> Json:
    """Return the event of an order of nothing, which the sandbox refuses."""
    return of_order("Order Completed", order, total=0, **properties)


def test_a_refused_order_fails_all_its_records_until_its_request_differs(shop: Shop) -> None:
    """The next run does not send it again; one that says more of it does."""
    update = of_order("Order Updated", "free", at=2, coupon="SPRING")
    report = shop.replay(free("free"), update, completed("good"))
    assert (counted(report), reasons(report, State.FAILED)) == ({"delivered": 1, "failed": 2}, {"refused": 2})
    again = shop.replay()
    assert (counted(again), reasons(again, State.FAILED)) == (
        {"duplicate": 1, "failed": 2},
        {"failed_before": 2},
    )
    assert shop.posts == 1
    shop.accept_free_orders()
    more = of_order("Order Updated", "free", at=3, coupon="SUMMER")
    assert counted(shop.replay(free("free"), update, more)) == {"delivered": 3}
    assert shop.posts == 2


@pytest.mark.parametrize("comes_from", ["ledger", "file"])
def test_a_retry_sends_the_whole_order_once(shop: Shop, comes_from: str) -> None:
    """Not what the letters alone say of it, and not a letter after the other."""
    file = shop.folder / "letters.ndjson"
    shop.replay(
        free("free", currency="EUR"), of_order("Order Updated", "free", at=2, coupon="X"), dead_letters=file
    )
    letters = [json.loads(line) for line in file.read_text().splitlines()]
    order = {
        "source_id": "free",
        "status": "PAID",
        "amount": 0,
        "customer": {"source_id": "u1"},
        "metadata": {"coupon": "X", "currency": "EUR", "occurred_at": "2021-03-01T05:06:07Z"},
    }
    assert [letter["order"] for letter in letters] == [order, order]
    shop.accept_free_orders()
    report = shop.retry(file if comes_from == "file" else None)
    assert counted(report) == {"delivered": 2}
    assert shop.imported == {"free": 1}
    assert counted(shop.retry()) == {}
    assert counted(shop.replay()) == {"duplicate": 2}
    later = shop.replay(
        of_order("Order Updated", "free", at=4, coupon="Y")
    )  # goes on from the fold of before
    assert counted(later) == {"delivered": 1}
    (held,) = shop.sandbox.store.orders
    assert held.metadata["currency"] == "EUR"


def test_a_retry_by_other_settings_sends_no_order(shop: Shop) -> None:
    """A replay makes the order anew, and sends it, as it differs."""
    shop.replay(free("free"))
    shop.accept_free_orders()
    other = "orders: {disabled: false, add: {metadata.replayed: true}}\n"
    for settings in (other, ""):
        report = shop.retry(settings=settings)
        assert reasons(report, State.FAILED) == {"failed_before": 1}
        assert "run the replay again" in (report.reasons[State.FAILED]["failed_before"].detail or "")
    assert shop.posts == 1
    assert not shop.sent_events
    assert counted(shop.replay(settings=other)) == {"delivered": 1}


def test_a_forgotten_order_is_not_sent_again_and_not_kept(shop: Shop) -> None:
    """Its records are dismissed, and nothing of it is left in the ledger."""
    shop.replay(free("free", coupon="canary-coupon"))
    assert forget(shop.ledger, LetterSelection()) == {State.FAILED: 1}
    report = shop.replay()
    assert reasons(report, State.DUPLICATE) == {"dismissed": 1}
    with LedgerReader(shop.ledger) as ledger:
        assert ledger.failed_order("free") is None


def test_nothing_of_the_orders_of_a_forgotten_customer_is_kept(shop: Shop) -> None:
    """Those that were delivered stay known by a hash, so that none is sent twice; other orders keep their folds."""
    shop.replay(
        completed("a", "erased"),
        completed("b", 'er"é'),
        {**free("free"), "userId": "erased"},
        completed("c", "u1"),
    )
    forget(shop.ledger, LetterSelection(users=frozenset({"erased", 'er"é'})))
    with LedgerReader(shop.ledger) as ledger:
        kept = {each: last.accepted for each, last in zip("abc", ledger.last_orders("abc"), strict=True)}
        assert ledger.failed_order("free") is None
    assert {each: bool(order and order.state) for each, order in kept.items()} == {"a": 0, "b": 0, "c": 1}
    assert counted(shop.replay()) == {"duplicate": 4}
    update = of_order("Order Updated", "a", "erased", at=2, products=[{"product_id": "lamp", "price": 1}])
    assert counted(shop.replay(update)) == {"delivered": 1}
    assert shop.imported == {"a": 2, "b": 1, "c": 1}


def test_an_order_that_says_nothing_new_is_unchanged_and_its_fold_goes_on(shop: Shop) -> None:
    """What a later run reads is still older than what this one has read."""
    shop.replay(completed("o", coupon="A"))
    assert reasons(shop.replay(of_order("Order Updated", "o", at=9, coupon="A")), State.DUPLICATE) == {
        "unchanged": 1
    }
    late = shop.replay(of_order("Order Updated", "o", at=5, coupon="B"))
    assert reasons(late, State.DUPLICATE) == {"unchanged": 1}
    assert shop.posts == 1


def test_events_and_orders_have_keys_of_their_own(shop: Shop) -> None:
    """What was sent as a custom event is imported as an order all the same; the other way round it is a duplicate."""
    assert counted(shop.replay(completed("o"), settings="")) == {"delivered": 1}
    planned = plan(
        ReplayOptions(source=shop.folder / "events.ndjson", config=shop.config(ON), ledger=str(shop.ledger))
    )
    assert planned.report.findings["sent_as_event"].count == 1
    first = shop.replay()
    assert (counted(first), first.findings["sent_as_event"].count) == ({"delivered": 1}, 1)
    assert (shop.sent_events, shop.imported) == ({"Order Completed": 1}, {"o": 1})
    assert "sent_as_event" not in shop.replay().findings
    report = shop.replay(completed("p"))
    off = shop.replay(settings="")
    assert (counted(report), reasons(off, State.DUPLICATE)) == ({"delivered": 1}, {"delivered_as_order": 1})
    assert counted(shop.replay(settings="", again=True)) == {"delivered": 1}


def test_again_that_is_stopped_goes_on_and_imports_nothing_a_third_time(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --again-since, as the summary says: the imports of the stopped run are known."""
    small_requests(monkeypatch, 2)
    assert counted(shop.replay(*[completed(number) for number in range(6)])) == {"delivered": 6}
    stopped = shop.replay(again=True, max_calls=1)
    assert stopped.outcomes["pending"]
    assert (stopped.orders.requests, stopped.api.calls) == (1, 1)  # type: ignore[union-attr]
    posts = [shop.posts]
    for _ in range(10):
        report = shop.replay(again_since=stopped.run_id, max_calls=2)
        posts.append(shop.posts)
        if not report.outcomes["pending"]:
            break
    assert posts[0] == 4
    assert posts[-1] == 6
    assert set(shop.imported.values()) == {2}


def test_again_imports_what_was_imported(shop: Shop) -> None:
    """A refused order and an unchanged one alike."""
    shop.replay(completed("o"), free("free"))
    assert counted(shop.replay(again=True)) == {"delivered": 1, "failed": 1}
    assert shop.imported == {"o": 2}


def test_orders_of_a_refused_customer_fail_unsent_and_a_retry_sends_them(shop: Shop) -> None:
    """In bulk, where customers go first."""
    bad = {"type": "identify", "messageId": "i1", "userId": "u1", "traits": {"metadata": {"age": "forty"}}}
    bulk_settings = ON + "delivery: {customers: bulk}\n"
    report = shop.replay(bad, completed("o"), settings=bulk_settings)
    assert counted(report) == {"failed": 2}
    assert reasons(report, State.FAILED).get("customer_refused") == 1
    assert shop.posts == 0
    shop.retry(settings=bulk_settings)
    assert shop.imported == {"o": 1}


def test_a_partial_refund_changes_nothing_and_is_skipped(shop: Shop) -> None:
    """Each time it is read; of an order that nobody knows, a refund is unclear."""
    part = of_order("Order Refunded", "o", at=3, products=[{"product_id": "lamp", "quantity": 1}])
    unclear = of_order("Order Refunded", "unknown", at=3, total=5)
    for _ in range(2):
        report = shop.replay(completed("o"), part, unclear)
        assert reasons(report, State.SKIPPED) == {"partial_refund": 1, "refund_unclear": 1}
        assert report.orders is not None
        assert report.orders.orders == 1  # a refund alone makes none
    assert [order.status for order in shop.sandbox.store.orders] == ["PAID"]


def test_two_customers_of_one_order_are_found(shop: Shop) -> None:
    """The later one has it."""
    report = shop.replay(completed("o"), of_order("Order Updated", "o", "u2", at=2))
    (example,) = report.findings["customers_differ"].examples
    assert (example.position.rpartition("/")[2], example.text) == ("events.ndjson:2", "o")


# A record as an order and as a custom event


def test_an_order_is_sent_as_a_custom_event_too(shop: Shop) -> None:
    """One record, one outcome; by the rules of track, and each has a key of its own."""
    events = [completed("o"), of_order("Order Updated", "o", at=2), {**completed("p"), "event": "Seen"}]
    report = shop.replay(*events, settings=BOTH + "track: {events_exclude: [Order Updated]}\n")
    assert counted(report) == {"delivered": 3}
    assert (shop.imported, shop.sent_events) == ({"o": 1}, {"Order Completed": 1, "Seen": 1})
    assert counted(shop.replay(settings=BOTH)) == {"delivered": 1, "duplicate": 2}
    assert shop.sent_events == {"Order Completed": 1, "Seen": 1, "Order Updated": 1}
    assert len(shop.outcomes) == 3


def test_the_worse_of_both_ends_counts(shop: Shop) -> None:
    """What failed alone is sent again by a retry."""
    report = shop.replay(free("free"), settings=BOTH)
    assert reasons(report, State.FAILED) == {"refused": 1}
    assert shop.sent_events == {"Order Completed": 1}
    shop.accept_free_orders()
    assert counted(shop.retry(settings=BOTH)) == {"delivered": 1}
    assert (shop.imported, shop.sent_events) == ({"free": 1}, {"Order Completed": 1})


@pytest.mark.parametrize("shop", [["POST /v1/events drop after #1"]], indirect=True)
@pytest.mark.parametrize(
    ("on_doubt", "ended", "sent"),
    [
        ("hold", {"in_doubt": 1}, 1),
        ("accept", {"delivered": 1}, 1),
        ("verify", {"delivered": 1}, 1),
        ("resend", {"delivered": 1}, 2),
    ],
)
def test_a_record_is_in_doubt_while_its_custom_event_is(
    shop: Shop, on_doubt: Any, ended: dict[str, int], sent: int
) -> None:
    """Its order has arrived, and is not imported again, whatever becomes of the event."""
    settings = (
        BOTH + "track: {mapping: {messageId: metadata.id}, extend_default: true}\n"
    )  # tells events apart
    report = shop.replay(completed("o"), completed("p"), settings=settings, on_doubt="hold", workers=1)
    assert counted(report) == {"delivered": 1, "in_doubt": 1}
    again = shop.replay(settings=settings, on_doubt=on_doubt)
    expected = Counter(ended) + Counter({"duplicate": 1})
    assert Counter(counted(again)) == expected
    assert shop.imported == {"o": 1, "p": 1}
    assert shop.sent_events == {"Order Completed": 1 + sent}
    last = counted(shop.replay(settings=settings, on_doubt="hold"))
    assert last == ({"duplicate": 1, "in_doubt": 1} if on_doubt == "hold" else {"duplicate": 2})


@pytest.mark.parametrize("shop", [["POST /v1/events status 400 #1"]], indirect=True)
def test_a_refused_custom_event_is_retried_without_its_order(shop: Shop) -> None:
    """The record has failed, though its order has not."""
    report = shop.replay(completed("o"), settings=BOTH)
    assert counted(report) == {"failed": 1}
    assert shop.imported == {"o": 1}
    assert counted(shop.retry(settings=BOTH)) == {"delivered": 1}
    assert (shop.imported, shop.sent_events) == ({"o": 1}, {"Order Completed": 1})
    assert counted(shop.replay(settings=BOTH)) == {"duplicate": 1}


def test_what_makes_no_order_is_a_custom_event_alone(shop: Shop) -> None:
    """Counted as a finding, with the reason."""
    report = shop.replay(
        of_order("Order Completed", None), of_order("Order Completed", "x", total=-1), settings=BOTH
    )
    assert counted(report) == {"delivered": 2}
    limited = shop.replay(of_order("Order Completed", "y", total=5), completed("z"), settings=BOTH, limit=1)
    assert (limited.events.read, counted(limited)) == (1, {"delivered": 1})
    left_out = BOTH.replace("}", ", where: 'properties.total > 100'}")
    condition = shop.replay(of_order("Order Completed", "w", total=5), settings=left_out)
    assert (counted(condition), condition.findings) == ({"delivered": 1}, {})
    found = report.findings["no_order"]
    assert [example.text for example in found.examples] == ["no_order_id", "negative_amount"]
    assert shop.imported == {"y": 1}


def test_a_dry_run_says_what_both_would_be(shop: Shop, tmp_path: Path) -> None:
    """Orders first, then the events, and each record once in the counts."""
    output = io.BytesIO()
    source = write_events(tmp_path, completed("o"), {"type": "identify", "userId": "u2", "messageId": "i"})
    report = replay(ReplayOptions(source=source, config=shop.config(BOTH), mode=Mode.DRY_RUN), output=output)
    paths = [json.loads(line)["path"] for line in output.getvalue().splitlines()]
    assert paths == ["/v1/orders/import", "/v1/events", "/v1/customers"]
    assert counted(report) == {"planned": 2}


# Runs that are stopped, killed, or in trouble


def small_requests(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """Let a request hold few orders."""
    monkeypatch.setattr(bulk_run, "ORDERS", msgspec.structs.replace(bulk.ORDERS, max_items=most))


class Killed(BaseException):
    """Nothing of the run goes on."""


@pytest.mark.parametrize(
    "place",
    [(bulk.BulkDelivery, "_follow"), (Ledger, "remember_order"), (Ledger, "record")],
    ids=["polling", "remembering", "recording"],
)
@pytest.mark.parametrize("ending", ["stopped", "killed"])
@pytest.mark.parametrize("call", [1, 2, 5])
def test_a_run_that_ends_early_goes_on_and_posts_nothing_twice(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, place: tuple[Any, str], ending: str, call: int
) -> None:
    """While it polls, while it remembers the orders, or while it records the events."""
    small_requests(monkeypatch, 4)
    events = [completed(number) for number in range(7)] + [free("free"), {**completed("x"), "event": "Seen"}]
    stop, calls, (owner, name) = Stop(), itertools.count(1), place
    original = getattr(owner, name)

    def ends(*args: Any) -> Any:
        if next(calls) == call:
            if ending == "killed":
                raise Killed
            stop.request("")
        return original(*args)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, ends)
        if ending == "killed":
            if (name, call) != ("_follow", 5):
                with pytest.raises(Killed):
                    shop.replay(*events, stop=stop)
        else:
            report = shop.replay(*events, stop=stop)
            assert set(counted(report)) <= {"pending", "delivered", "failed"}
    report = shop.replay(*events)
    assert report.outcomes["failed"] == 1
    assert report.outcomes["delivered"] + report.outcomes["duplicate"] == 8
    assert shop.posts == 2
    assert shop.imported == {str(number): 1 for number in range(7)}
    assert shop.sent_events == {"Seen": 1}
    with LedgerReader(shop.ledger) as ledger:
        (letter,) = ledger.dead_letters()
    assert (letter.reason, json.loads(letter.order_body or b"")["source_id"]) == ("refused", "free")


def test_what_runs_between_forgets_no_import_of_a_run_that_was_stopped(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run over other events, and a retry."""
    shop.replay(free("free"))
    shop.accept_free_orders()
    stop = Stop()
    with monkeypatch.context() as patch:
        patch.setattr(bulk.BulkDelivery, "_follow", lambda *_: stop.request())
        assert counted(shop.replay(completed("a"), stop=stop)) == {"pending": 1}
    assert counted(shop.replay(completed("b"))) == {"delivered": 1}
    assert counted(shop.retry()) == {"delivered": 1}
    assert counted(shop.replay(completed("a"))) == {"delivered": 1}
    assert (shop.posts, shop.imported) == (4, {"a": 1, "b": 1, "free": 1})


def final_orders(events: Sequence[Json]) -> dict[str, Json]:
    """Fold orders by themselves: the last of each value, as these events are in the order of their times."""
    orders: dict[str, Json] = {}
    for event in events:
        properties = event["properties"]
        held = orders.setdefault(str(properties["order_id"]), {"status": "CREATED", "metadata": {}})
        held["metadata"].setdefault("occurred_at", event["timestamp"])
        if event["event"] == "Order Completed":
            held["status"] = "PAID"
        if "coupon" in properties:
            held["metadata"]["coupon"] = properties["coupon"]
    return orders


TROUBLE = (
    "POST /v1/orders/import drop after 15%",
    "POST /v1/orders/import status 500 15%",
    "GET /v1/async-actions/* status 503 30%",
    "GET /v1/orders/* drop 30%",
)


@pytest.mark.parametrize("shop", [TROUBLE], indirect=True, ids=["30 %"])
def test_in_trouble_each_order_is_imported_and_ends_as_it_should(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At least once; the records of what could not be sent fail, and a retry sends them."""
    small_requests(monkeypatch, 5)
    chance = random.Random(7)
    events = sorted(
        (
            of_order(
                chance.choice(["Order Completed", "Order Updated"]),
                f"o{chance.randrange(40)}",
                at=day,
                coupon=chance.choice("ABC"),
                n=number,
            )
            | {"messageId": f"m{number:03}"}
            for number, day in enumerate(chance.choices(range(1, 29), k=120))
        ),
        key=lambda event: (event["timestamp"], event["messageId"]),
    )
    report = shop.replay(*events)
    for _ in range(5):
        if set(counted(report)) == {"delivered"} or not report.outcomes["failed"]:
            break
        report = shop.retry()
    held = {str(order.source_id): order for order in shop.sandbox.store.orders}
    expected = final_orders(events)
    assert {
        name: {"status": order.status, "metadata": order.metadata} for name, order in held.items()
    } == expected
    assert set(shop.imported) == set(expected)


def test_a_run_that_is_killed_while_an_import_runs_polls_it_and_does_not_post_it_again(
    tmp_path: Path, run_cli: Cli
) -> None:
    """No process but this one could have seen what was answered."""
    with Sandbox(SandboxOptions(keep=None, async_delay_s=1)) as sandbox:
        events = write_events(run_cli.folder, completed("o"), {**completed("p"), "event": "Seen"})
        settings = write_settings(run_cli.folder / "settings.yaml", sandbox.url, ON)
        ledger = tmp_path / "a.ledger"
        words = ["replay", "-c", settings, "--yes", "--ledger", ledger, "--report", "report.json", events]
        with run_cli.start(*words, "--new-ledger") as run:
            wait_until(lambda: any(call.path == bulk.ORDERS.path for call in sandbox.call_log.answered))
            with closing(sqlite3.connect(ledger)) as connection:
                wait_until(lambda: connection.execute("SELECT 1 FROM actions WHERE action != ''").fetchone())
            run.kill()
        assert run_cli(*words).code == 0
        assert outcomes_of(run_cli) == {"delivered": 2}
        assert sum(call.path == bulk.ORDERS.path for call in sandbox.call_log.answered) == 1


def test_several_processes_make_the_same_orders(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Line for line, where an order and a custom event are made of one record, too."""
    monkeypatch.setattr(options, "MIN_SHARED_BYTES", 1)
    events = [
        of_order(name, number % 30, f"u{number % 7}", at=number % 28 + 1, coupon=str(number))
        | {"messageId": f"m{number}"}
        for number in range(300)
        for name in ("Order Completed", "Order Refunded", "Seen")
    ]
    source = write_events(shop.folder, *events)
    lines, outcomes = [], []
    for jobs in (1, 2):
        output = io.BytesIO()
        chosen = ReplayOptions(source=source, config=shop.config(BOTH), mode=Mode.DRY_RUN, jobs=jobs)
        report = replay(chosen, output=output)
        lines.append(output.getvalue())
        outcomes.append((report.outcomes, report.findings, report.orders))
    assert lines[0] == lines[1]
    assert outcomes[0] == outcomes[1]
