"""A probe of a project finds what the sandbox does, whatever that is, and leaves nothing behind."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from random import Random
from typing import Any

import msgspec
import pytest

from voucherify_sync.errors import AccessRefused, RunStopped, Unreachable, WrongAddress
from voucherify_sync.exit_codes import ExitCode
from voucherify_sync.sandbox import Fault, FaultScript, Sandbox, SandboxOptions
from voucherify_sync.sandbox.options import describe_fields
from voucherify_sync.settings import Credentials, Secret, Settings
from voucherify_sync.stop import Stop
from voucherify_sync.voucherify import rate_limit
from voucherify_sync.voucherify.answers import NoAnswer, Reply
from voucherify_sync.voucherify.client import Client
from voucherify_sync.voucherify.probe import Probe
from voucherify_sync.voucherify.probe_findings import ASSUMPTIONS, ORDER_STEP, Finding, ProbeReport

ALL_HOLD = ("limit=1000/min", "bulk_limit=100/min")
"""With these limits the sandbox does what is assumed: all other switches are so by default."""


class HurriedClock:
    """A clock of both sides on which no wait takes time.

    Args:
        speed: how many times faster than time it goes beside that.
    """

    def __init__(self, speed: float = 1.0) -> None:
        self._began, self._speed, self._slept_s = time.monotonic(), speed, 0.0

    def monotonic(self) -> float:
        return (time.monotonic() - self._began) * self._speed + self._slept_s

    def wall(self) -> float:
        return 1_790_000_000.25 + self.monotonic()

    def wait(self, stop: Stop, seconds: float) -> bool:
        self._slept_s += seconds
        return stop.requested


class StoppingScript(FaultScript):
    """Requests a stop while a call is made, and spoils none."""

    def __init__(self, stop: Stop, at: int) -> None:
        super().__init__()
        self._stop, self._left = stop, at

    def choose(self, method: str, path: str) -> Fault | None:
        if not self._left:
            self._stop.by_signal(ExitCode.INTERRUPTED)
        self._left -= 1
        return None


@dataclass
class Probed:
    """A probe that is over."""

    probe: Probe
    report: ProbeReport
    sandbox: Sandbox

    def __getitem__(self, id_: str) -> Finding:
        return next(finding for finding in self.report.findings if finding.id == id_)

    @property
    def is_clean(self) -> bool:
        """Whether no customer is left, and the report says so."""
        return self.report.deleted.is_customer_gone is True and self.sandbox.store.customers == []


def probed(
    *switches: str,
    faults: FaultScript | Iterable[str] = (),
    stop: Stop | None = None,
    speed: float = 1.0,
    with_order: bool = True,
) -> Probed:
    """Probe a sandbox to the end."""
    clock, stop = HurriedClock(speed), stop or Stop()
    script = faults if isinstance(faults, FaultScript) else FaultScript(map(Fault.parse, faults))
    options = SandboxOptions.read({"app_id": "app", "token": "CANARY"}, switches)
    with Sandbox(options, script, clock=clock.wall) as sandbox:
        keys = Credentials("app", Secret("CANARY"), sandbox.url, None)
        with closing(Client(keys, workers=2, deadline_s=5)) as client:
            probe = Probe(
                client,
                keys,
                stop,
                with_order=with_order,
                wait=clock.wait,
                clock=clock.monotonic,
                wall=clock.wall,
            )
            probe.look()
            report = probe.run()
        assert "CANARY" not in json.dumps(msgspec.to_builtins(report))
        return Probed(probe, report, sandbox)


def test_a_project_as_assumed_differs_in_nothing() -> None:
    """Every finding is known, save how failed orders are told: none fails."""
    ended = probed(*ALL_HOLD)
    assert {each.id: each.holds for each in ended.report.findings if each.holds is not True} == {
        "order_failed_shape": None
    }
    assert not ended.report.differs
    assert ended.is_clean
    assert ended["period"].found == "a minute"
    assert (ended["limit"].found, ended["clock_offset_s"].found) == (1000, 0)


def test_a_probe_makes_no_call_but_those_that_it_counts() -> None:
    """Each of them concerns its own customer, its own order, or actions that it started itself."""
    ended = probed(*ALL_HOLD)
    answered = ended.sandbox.call_log.answered
    assert ended.report.calls == len(answered) <= 38 + 3
    bare = {
        ("GET", "/v1/customers"),
        ("POST", "/v1/customers"),
        ("POST", "/v1/events"),
        ("POST", "/v1/customers/bulk/async"),
        ("POST", "/v1/orders/import"),
    }
    own = ended.probe.source_id.lower()
    others = {
        (call.method, call.path)
        for call in answered
        if own not in call.path.lower() and not call.path.startswith("/v1/async-actions/aa_")
    }
    assert others == bare
    for request in ended.sandbox.call_log.processed:
        customer = request.body.get("customer", request.body)
        assert customer["source_id"] == ended.probe.source_id
        assert not {"email", "phone", "birthdate"} & customer.keys()
    assert ended.sandbox.store.event_count == 1


@pytest.mark.parametrize(
    ("switches", "id_", "found", "holds"),
    [
        ("metadata_update=replace", "metadata_update", "replace", False),
        ("address_update=replace", "address_update", "replace", False),
        ("nulls=ignore", "nulls", "ignore", False),
        ("nulls=reject", "nulls", "reject", False),
        ("unknown_fields=reject", "unknown_fields", "reject", False),
        ("source_id_blanks=trimmed", "source_id_blanks", "trimmed", False),
        ("source_id_case=insensitive", "source_id_case", "insensitive", False),
        ("undefined_metadata=keep", "undefined_metadata", "keep", False),
        ("undefined_events=reject", "undefined_events", "reject", False),
        ("activity_shape=flat", "activity_shape", "flat", True),
        ("activity_metadata=strings", "activity_metadata", "strings", False),
        ("activity_metadata=none", "activity_metadata", "none", False),
        ("activity_dates=ignore", "activity_dates", "ignore", False),
        ("read_lag_s=2", "read_lag_s", 2, True),
        ("read_lag_s=2", "activity", 2, True),
        ("bulk_bucket=ordinary", "bulk_bucket", "ordinary", False),
        ("poll_bucket=bulk", "poll_bucket", "bulk", False),
        ("bulk_bucket=ordinary poll_bucket=bulk", "bulk_bucket", "ordinary", False),
        ("bulk_bucket=ordinary poll_bucket=bulk", "poll_bucket", "bulk", False),
        ("bulk_metadata_update=replace", "bulk_metadata_update", "replace", False),
        ("metadata_update=replace", "bulk_metadata_update", "same", True),
        ("unknown_api_version=reject", "unknown_api_version", "reject", False),
        ("order_zero_amount=fail", "order_zero_amount", "fail", False),
        ("order_import_bucket=ordinary", "order_import_bucket", "ordinary", False),
        ("order_existing=fail", "order_existing", "fail", False),
        ("order_existing=double", "order_existing", "double", False),
        ("order_existing=fail order_failed_shape=list", "order_failed_shape", "list", True),
        ("order_existing=fail order_failed_shape=object", "order_failed_shape", "object", False),
        ("order_existing=fail order_failed_shape=unnamed", "order_failed_shape", "unnamed", False),
        ("orders_of_deleted_customer=delete", "orders_of_deleted_customer", "delete", False),
        ("limit=2000/h", "period", "an hour", True),
        ("clock_skew_s=120", "clock_offset_s", 120, True),
        ("async_delay_s=3", "bulk_bucket", "bulk", True),
    ],
)
def test_each_finding_equals_the_switch(switches: str, id_: str, found: Any, holds: bool) -> None:
    """Where it differs, the report says what that means; and the switch for it is the one that was set."""
    ended = probed(*ALL_HOLD, *switches.split())
    finding = ended[id_]
    got = round(finding.found) if isinstance(finding.found, float) else finding.found
    assert (got, finding.holds) == (found, holds), finding
    assert finding.holds or finding.meaning
    assert ended.is_clean
    name, _, value = switches.partition("=")
    if ASSUMPTIONS[id_].switch == name and value == found:
        assert ended.report.switches[name] == value


def test_findings_are_switches_of_the_sandbox() -> None:
    """The command that the report ends with is one that the sandbox takes."""
    known = {each.name for each in describe_fields(SandboxOptions)}
    assert {each.switch for each in ASSUMPTIONS.values()} - {""} <= known
    report = probed("limit=1000/min", "nulls=ignore", "order_existing=fail").report
    SandboxOptions.read({}, [f"{name}={value}" for name, value in report.switches.items()])


def test_a_server_without_rate_headers_leaves_the_limits_unknown() -> None:
    """That is a finding itself."""
    ended = probed()
    unknown = ("limit", "period", "bulk_bucket", "poll_bucket", "order_import_bucket")
    assert ended["rate_headers"].found == "none"
    assert {id_: ended[id_].found for id_ in unknown} == dict.fromkeys(unknown)


def test_an_event_that_never_shows_cannot_be_verified() -> None:
    """After six looks in a minute."""
    ended = probed(*ALL_HOLD, "read_lag_s=3600")
    assert ended["activity"].holds is None
    words = "unknown  activity: no row within 60 s; delivery.on_doubt: verify cannot confirm events here"
    assert ended["activity"].line() == words
    assert ended.is_clean


def test_a_project_that_takes_defined_metadata_only_is_probed_without_metadata() -> None:
    """The finding is told, and the rest goes on."""
    schema = json.dumps([{"related_object": "customer", "properties": {}, "allow_defined_only": True}])
    ended = probed(*ALL_HOLD, f"metadata_schemas={schema}")
    assert ended["metadata_allowed"].found == "reject"
    assert [ended[id_].holds for id_ in ("undefined_metadata", "metadata_update")] == [None, None]
    assert ended["address_update"].holds
    assert ended["nulls"].holds
    assert ended["order_existing"].holds
    assert ended.is_clean


STEPS = [
    ("GET /v1/customers", "limit"),
    ("POST /v1/customers", "metadata_update"),
    ("GET /v1/customers/voucherify-sync-probe-*", "source_id_case"),
    ("POST /v1/events", "undefined_events"),
    ("GET /v1/customers/*/activity", "activity"),
    ("POST /v1/customers/bulk/async", "bulk_bucket"),
    ("GET /v1/async-actions/*", "poll_bucket"),
    ("POST /v1/orders/import", "order_existing"),
    ("GET /v1/orders/*", "orders_of_deleted_customer"),
]


@pytest.mark.parametrize(
    "trouble", ["status 500", "drop", "cut-body", "throttle", "status 403", "wrong-shape"]
)
@pytest.mark.parametrize(("call", "id_"), STEPS, ids=lambda value: value.split()[-1])
def test_a_step_that_fails_leaves_its_finding_unknown_and_the_rest_goes_on(
    call: str, id_: str, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The customer is deleted whatever happens."""
    monkeypatch.setattr(rate_limit, "_SLICE_S", 0.001)
    if trouble == "throttle" and call == "GET /v1/customers":
        with pytest.raises(RunStopped):
            probed(*ALL_HOLD, faults=[f"{call} {trouble}"])
        return
    ended = probed(*ALL_HOLD, faults=[f"{call} {trouble}"], speed=1000.0)
    assert ended.is_clean
    if call == "POST /v1/customers" and trouble == "status 403":
        assert isinstance(ended.probe.error, AccessRefused)
        return
    assert ended.probe.error is None
    if call != "GET /v1/customers":
        # Which limit polls take is told by rate headers alone, whose window may begin anew as time runs so fast here.
        if (id_, trouble) != ("poll_bucket", "wrong-shape"):
            assert ended[id_].holds is None, ended[id_]
        assert trouble != "status 403" or "not permitted" in json.dumps(msgspec.to_builtins(ended.report))
    others = [each for each in ("undefined_events", "unknown_fields") if each != id_]
    assert any(ended[each].holds for each in others)


@pytest.mark.parametrize(
    ("switches", "trouble", "is_named"),
    [
        ("", "status 400", False),
        ("", "status 401", False),
        ("", "status 403", False),
        ("", "status 422", False),
        ("", "throttle retry_after=3000", False),
        ("", "throttle retry_in_s=3000", False),
        ("order_zero_amount=fail", "", False),
        ("", "status 500", True),
        ("", "status 408", True),
        ("", "drop", True),
        ("", "html", True),
        ("", "", True),
    ],
)
def test_an_order_is_named_unless_it_is_proved_that_there_is_none(
    switches: str, trouble: str, is_named: bool
) -> None:
    """No call can delete it, so a person has to know of it."""
    faults = [f"POST /v1/orders/import {trouble}"] if trouble else ()
    ended = probed(*ALL_HOLD, *switches.split(), faults=faults)
    assert ended.report.deleted.order == (ended.probe.order_id if is_named else None)
    assert ended.is_clean


@pytest.mark.parametrize(
    ("call", "trouble", "id_", "said"),
    [
        ("POST /v1/events", "html", "undefined_events", "HTTP 200, but not as documented"),
        ("POST /v1/events", "empty", "undefined_events", "HTTP 200, but not as documented"),
        ("GET /v1/customers/*/activity", "html", "activity", "HTTP 200, but not as documented"),
        ("GET /v1/customers/*/activity", "html #2-", "activity_dates", "HTTP 200, but not as documented"),
        ("GET /v1/customers/voucherify-*", "html #8-", "unknown_api_version", "HTTP 200, but not as"),
        ("POST /v1/customers", "status 409", "metadata_allowed", "HTTP 409"),
        ("POST /v1/customers", "status 409 #1", "metadata_allowed", "HTTP 409"),
        ("POST /v1/customers", "status 413 #1", "metadata_allowed", "HTTP 413"),
    ],
)
def test_an_answer_that_shows_nothing_is_no_finding(call: str, trouble: str, id_: str, said: str) -> None:
    """A proxy answers 200, too; and a refusal can be for something else than what the step tries."""
    ended = probed(*ALL_HOLD, faults=[f"{call} {trouble}"], with_order=False)
    assert (ended[id_].found, said in ended[id_].meaning) == (None, True), ended[id_]
    assert ended.is_clean


def odd_of(value: Any, random: Random) -> Any:
    """Return a JSON value with another one somewhere in it."""
    if isinstance(value, dict) and value and random.random() < 0.75:
        key = random.choice(list(value))
        return {**value, key: odd_of(value[key], random)}
    if isinstance(value, list) and value and random.random() < 0.75:
        return [odd_of(value[0], random), *value[1:]]
    return random.choice(
        [None, 0, -1, True, "", ".", "x" * 3000, [], [None], {}, {"a": 1}, [{}], {"data": [7]}]
    )


@pytest.mark.parametrize("seed", range(24))
def test_answers_of_any_shape_end_no_probe(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor do dates of any year."""
    make_call, random = Client.call, Random(seed)

    def call(client: Client, method: str, *words: Any) -> Reply:
        reply = make_call(client, method, *words)
        if (method, words[0]) == ("GET", "/v1/customers") or method == "DELETE":
            return reply
        headers = {**reply.headers}
        if seed % 4 == 0:
            headers["Date"] = random.choice(
                ["Fri, 31 Dec 9999 23:59:59 GMT", "Sat, 01 Jan 0001 00:00:00 GMT", "x"]
            )
        if random.random() < (seed + 1) / 32:
            body = odd_of(msgspec.json.decode(reply.body), random)
            return Reply(reply.status, headers, msgspec.json.encode(body))
        return Reply(reply.status, headers, reply.body)

    monkeypatch.setattr(Client, "call", call)
    assert probed(*ALL_HOLD).is_clean


@pytest.mark.parametrize("number", ["#1", "#2"])
def test_a_deletion_that_fails_is_tried_again(number: str) -> None:
    """Up to three times."""
    ended = probed(*ALL_HOLD, faults=[f"DELETE status 500 {number}", "DELETE drop #1"])
    assert ended.is_clean
    assert ended["deletion"].holds


@pytest.mark.parametrize(
    "trouble",
    [
        "status 500",
        "drop",
        "status 403",
        "html",
        "throttle retry_after=3000",
        "throttle retry_in_s=3000",
    ],
)
def test_a_customer_that_cannot_be_deleted_is_named(trouble: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody has to do it by hand."""
    monkeypatch.setattr(rate_limit, "_SLICE_S", 0.001)
    ended = probed(*ALL_HOLD, faults=[f"DELETE {trouble}"], speed=1000.0)
    assert ended.report.deleted.is_customer_gone is False
    assert ended["deletion"].found == ("not permitted" if "403" in trouble else "fails")
    assert [each.source_id for each in ended.sandbox.store.customers] == [ended.report.deleted.customer]


def test_a_customer_that_may_come_to_be_later_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call without an answer in time may be processed after the deletion."""
    make_call = Client.call

    def call(client: Client, method: str, path: str, *words: Any) -> Reply:
        if method == "POST":
            raise NoAnswer("timeout")
        return make_call(client, method, path, *words)

    monkeypatch.setattr(Client, "call", call)
    ended = probed(*ALL_HOLD)
    assert (ended.report.deleted.is_customer_gone, ended["deletion"].found) == (False, None)


def test_a_stop_during_any_call_ends_the_probe_and_deletes_the_customer() -> None:
    """After it only the customer is deleted and looked up."""
    calls = probed(*ALL_HOLD).report.calls
    for number in range(1, calls):
        stop = Stop()
        ended = probed(*ALL_HOLD, faults=StoppingScript(stop, number), stop=stop)
        assert ended.is_clean, number
        assert ended.probe.error is None
        answered = ended.sandbox.call_log.answered
        assert ended.report.calls == len(answered) <= number + 1 + 3
        is_imported = any(call.path == "/v1/orders/import" for call in answered)
        assert ended.report.deleted.order == (ended.probe.order_id if is_imported else None), number
        assert any(call.method == "DELETE" for call in answered)


def test_keys_that_stop_working_end_the_probe() -> None:
    """401 says nothing of a step."""
    ended = probed(*ALL_HOLD, faults=["POST /v1/events status 401"])
    assert isinstance(ended.probe.error, AccessRefused)
    assert ended.is_clean


def test_a_long_wait_that_the_server_asks_for_ends_the_probe() -> None:
    """Nobody waits an hour for a probe."""
    ended = probed(*ALL_HOLD, faults=["POST /v1/events throttle retry_after=3000"])
    assert isinstance(ended.probe.error, RunStopped)
    assert ended.is_clean


def test_too_few_calls_are_refused() -> None:
    """A probe that cannot delete what it made is not begun."""
    with pytest.raises(RunStopped, match="29 calls are left") as caught:
        probed("limit=30/min")
    assert caught.value.exit_code is ExitCode.STOPPED


@pytest.mark.parametrize("answer", ["status 404", "html", "redirect"])
def test_what_is_not_the_api_is_not_written_to(answer: str) -> None:
    """The first call tells."""
    with pytest.raises(WrongAddress):
        probed(*ALL_HOLD, faults=[f"GET /v1/customers {answer}"])


def test_an_echo_of_the_request_shows_nothing() -> None:
    """Text of the server gets nowhere: see the assertion in `probed`."""
    ended = probed(*ALL_HOLD, faults=["* status 400 body=echo #2-"], with_order=False)
    assert ended["deletion"].found == "fails"
    assert not any(ASSUMPTIONS[each.id].step == ORDER_STEP for each in ended.report.findings)


def test_a_project_that_cannot_be_reached_is_no_finding() -> None:
    """The address or the network is wrong."""
    with Sandbox() as sandbox:
        url = sandbox.url
    keys = Credentials("app", Secret("CANARY"), url, None)
    with closing(Client(keys, workers=1, deadline_s=5)) as client, pytest.raises(Unreachable):
        Probe(client, keys, Stop()).look()


ANSWERED = [
    "limit",
    "metadata_update",
    "address_update",
    "nulls",
    "source_id_blanks",
    "source_id_case",
    "activity",
    "activity_shape",
    "activity_metadata",
    "bulk_metadata_update",
    "unknown_api_version",
    "order_zero_amount",
    "order_existing",
]


@pytest.mark.parametrize("id_", ANSWERED)
def test_what_differs_names_the_setting_that_answers_it(id_: str) -> None:
    """By its full path, which the settings have."""
    settings = Settings()
    for meaning in ASSUMPTIONS[id_].meanings.values():
        paths = [path for path in re.findall(r"([a-z]+)\.([a-z_]+)", meaning) if hasattr(settings, path[0])]
        assert paths, meaning
        assert all(hasattr(getattr(settings, section), name) for section, name in paths), meaning


@pytest.mark.parametrize("number", [5, 31])
def test_a_limit_that_others_use_up_is_not_waited_for(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next calls would be made an hour later."""
    make_call, left = Client.call, iter(range(number, -100, -1))

    def call(client: Client, *words: Any) -> Reply:
        reply = make_call(client, *words)
        if next(left) > 0:
            return reply
        ends_at = (rate_limit.http_date(reply.headers["Date"]) or 0) + 3000
        spent = {"X-Rate-Limit-Remaining": "0", "X-Rate-Limit-Retry": str(ends_at)}
        return Reply(reply.status, {**reply.headers, **spent}, reply.body)

    monkeypatch.setattr(Client, "call", call)
    ended = probed(*ALL_HOLD)
    assert isinstance(ended.probe.error, RunStopped) is (number == 5)
    assert ended.is_clean
