"""The circuit breaker, on a clock that runs only while a call waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

import pytest
import requests_mock
from support.waiting import HANG_S, wait_until

from voucherify_sync.delivery.circuit_breaker import OUTAGE_S, SILENCE_S, UNREACHED_S, CircuitBreaker
from voucherify_sync.errors import RunStopped, Unreachable
from voucherify_sync.events import Kind
from voucherify_sync.exit_codes import ExitCode
from voucherify_sync.settings.types import Credentials, Secret
from voucherify_sync.stop import Stop
from voucherify_sync.voucherify.answers import Answer, NoAnswer, NotSent, Reply, outage_in_words
from voucherify_sync.voucherify.client import Client
from voucherify_sync.voucherify.limited_client import LimitedClient
from voucherify_sync.voucherify.rate_limit import Limiter

CUSTOMER, EVENT = Kind.CUSTOMER, Kind.EVENT
ALIVE = Reply(200, {}, b'{"object":"list"}')
BUSY = Reply(503, {}, b"")
REFUSED = NotSent("refused", "no connection to api.example.test could be made")
RESET = NoAnswer("reset", "the connection to api.example.test ended before an answer came")


class World:
    """A circuit breaker, its clock, and the server that it probes.

    Args:
        probes_well: whether a probe is answered well.
        bad: how calls and probes end that go badly.
        ever_answered: whether anything has answered in this run before.
        ever_succeeded: whether a call has succeeded with this ledger before.
        call_s: how long a call takes that goes badly.
    """

    def __init__(
        self,
        *,
        probes_well: bool = True,
        bad: Answer = BUSY,
        ever_answered: bool = True,
        ever_succeeded: bool = False,
        call_s: float = 0.0,
    ) -> None:
        self.now = 1000.0
        self.probes_well = probes_well
        self.bad = bad
        self.call_s = call_s
        self.probed: list[float] = []
        self.stop = Stop()
        self.breaker = CircuitBreaker(
            self.stop, ever_succeeded=ever_succeeded, clock=lambda: self.now, wait=self.wait
        )
        self.breaker.ever_answered = ever_answered

    def probe(self) -> Answer:
        """Answer a probe."""
        self.probed.append(self.now)
        if self.probes_well:
            return ALIVE
        self.now += self.call_s
        return self.bad

    def wait(self, condition: threading.Condition, seconds: float) -> None:
        """Let the time go by."""
        self.now += seconds

    def call(self, kind: Kind, well: bool | None) -> None:
        """Make a call that ends so."""
        assert self.enter(kind)
        self.now += self.call_s if well is False else 0.0
        self.breaker.leave(kind, well, self.bad if well is False else ALIVE)

    def enter(self, kind: Kind | None) -> bool:
        """Wait until a call may go."""
        return self.breaker.enter(kind, self.probe)

    def calls(self, kind: Kind, wells: Iterable[bool | None]) -> None:
        """Make calls, one after the other."""
        for well in wells:
            self.call(kind, well)


@pytest.mark.parametrize("kind", list(Kind))
def test_three_bad_ends_in_a_row_open_it(kind: Kind) -> None:
    """Two do not, and a good one in between begins the count again."""
    world = World()
    world.calls(kind, [False, False, True, False, None, False])
    assert not world.breaker.is_open
    world.call(kind, False)
    assert world.breaker.is_open


def test_customers_that_go_well_do_not_hide_that_events_fail() -> None:
    """Each kind is counted by itself: else every other event would end in doubt while customers succeed."""
    world = World()
    for _ in range(3):
        world.call(CUSTOMER, True)
        world.call(EVENT, False)
    assert world.breaker.is_open


@pytest.mark.parametrize("kind", list(Kind))
def test_while_it_is_open_nothing_goes_until_a_probe_is_good(kind: Kind) -> None:
    """Customers wait, too; probes grow rarer, to one a minute."""
    world = World(probes_well=False)
    world.calls(EVENT, [False] * 3)
    opened = world.now

    def recover(condition: threading.Condition, seconds: float) -> None:
        world.now += seconds
        world.probes_well = world.now >= opened + 300

    world.breaker._wait = recover
    assert world.enter(kind)
    assert world.now >= opened + 300
    pauses = [later - sooner for sooner, later in zip(world.probed, world.probed[1:], strict=False)]
    assert pauses == sorted(pauses)
    assert max(pauses) == pytest.approx(60.0)
    assert len(world.probed) < 12


def test_after_a_good_probe_one_success_closes_it() -> None:
    """Only the kind that failed can prove that it works again."""
    world = World()
    world.call(EVENT, True)
    world.calls(EVENT, [False] * 3)
    assert world.enter(EVENT)
    assert not world.breaker._health[EVENT].is_free
    world.breaker.leave(EVENT, True)
    assert world.breaker._health[EVENT].is_free
    assert world.breaker._outage_since is None


def test_trials_that_fail_grow_rare_fast() -> None:
    """Each trial of an event may end in doubt: a handful in an hour."""
    world = World()
    began, trials = world.now, 0
    while world.now < began + 3600:
        world.call(EVENT, False)
        trials += world.now < began + 3600
    assert 8 <= trials <= 10


def test_calls_go_one_at_a_time_before_the_first_success_and_after_a_bad_end() -> None:
    """However many workers there are, a server that fails from the start meets three calls, not one a worker."""
    world = World()
    breaker = world.breaker
    assert world.enter(EVENT)
    assert not breaker._health[EVENT].is_free
    assert breaker._health[CUSTOMER].is_free
    breaker.leave(EVENT, True)
    assert all(world.enter(EVENT) for _ in range(16))
    breaker.leave(EVENT, False)
    assert not breaker._health[EVENT].is_free


def test_what_was_in_flight_when_it_opened_does_not_count_twice() -> None:
    """Sixteen calls that fail together are one piece of news."""
    world = World()
    world.call(EVENT, True)
    assert all(world.enter(EVENT) for _ in range(16))
    for _ in range(16):
        world.breaker.leave(EVENT, False)
    opened, trials = world.now, 0
    while world.now < opened + 3600:
        world.call(EVENT, False)
        trials += world.now < opened + 3600
    assert trials <= 7


def test_an_outage_of_four_hours_stops_the_run() -> None:
    """The same command goes on later."""
    world = World(probes_well=False)
    world.calls(EVENT, [False] * 3)
    opened = world.now
    assert not world.enter(CUSTOMER)
    assert isinstance(world.stop.error, RunStopped)
    assert world.now - opened == pytest.approx(OUTAGE_S, abs=120)


def test_what_takes_connections_and_never_answers_is_not_waited_for_that_long() -> None:
    """It is hardly Voucherify; but a request may have arrived, so this is no mistake that leaves nothing behind."""
    world = World(probes_well=False, bad=RESET, ever_answered=False)
    world.calls(EVENT, [False] * 3)
    opened = world.now
    assert not world.enter(EVENT)
    assert world.now - opened == pytest.approx(SILENCE_S, abs=61)
    assert isinstance(world.stop.error, RunStopped)
    assert RESET.detail in str(world.stop.error)


NOT_SENT = [
    NotSent("dns", "the name api.example.test cannot be resolved"),
    REFUSED,
    NotSent("connect_timeout", "api.example.test did not take the connection in time"),
    NotSent("tls", "no secure connection to api.example.test could be made: certificate has expired"),
    NotSent("proxy", "the proxy squid.example.test did not connect us to api.example.test: HTTP 407"),
]


@pytest.mark.parametrize("bad", NOT_SENT, ids=lambda error: error.reason)
@pytest.mark.parametrize("kind", list(Kind))
def test_what_was_never_reached_stops_the_run_after_ten_seconds_of_tries(kind: Kind, bad: NotSent) -> None:
    """A mistake in the settings is no outage: exit 2, what was tried, and what to check."""
    world = World(probes_well=False, bad=bad, ever_answered=False, call_s=0.05)
    began = world.now
    world.call(kind, False)
    assert not world.enter(kind)
    assert world.now - began == pytest.approx(UNREACHED_S, abs=1)
    assert len(world.probed) > 10
    error = world.stop.error
    assert isinstance(error, Unreachable)
    assert error.exit_code == ExitCode.USAGE
    assert bad.detail in error.message
    assert ("HTTPS_PROXY" if bad.reason == "proxy" else "api.url") in error.remedy


def test_connections_that_time_out_are_tried_more_than_once() -> None:
    """Each takes five seconds; the ten begin with the first call, not with its end."""
    world = World(probes_well=False, bad=NOT_SENT[2], ever_answered=False, call_s=5.0)
    began = world.now
    world.call(EVENT, False)
    assert not world.enter(EVENT)
    assert len(world.probed) == 1
    assert world.now - began < UNREACHED_S + 6


@pytest.mark.parametrize("shown_by", ["an earlier run", "an answer", "a request that was sent"])
def test_what_was_reached_once_is_in_an_outage_when_it_is_not_any_more(shown_by: str) -> None:
    """Then the address is right, and waiting helps."""
    world = World(
        probes_well=False,
        bad=REFUSED,
        ever_answered=False,
        ever_succeeded=shown_by == "an earlier run",
    )
    if shown_by != "an earlier run":
        assert world.enter(CUSTOMER)
        world.breaker.leave(CUSTOMER, False, BUSY if shown_by == "an answer" else RESET)
    world.calls(EVENT, [False, False])
    assert not world.breaker.is_open
    world.call(EVENT, False)
    opened = world.now
    assert not world.enter(EVENT)
    patience_s = SILENCE_S if shown_by == "a request that was sent" else OUTAGE_S
    assert world.now - opened == pytest.approx(patience_s, abs=120)
    assert isinstance(world.stop.error, RunStopped)


def test_a_network_that_comes_up_within_the_ten_seconds_is_no_mistake() -> None:
    """The first good probe lets the calls go."""
    world = World(probes_well=False, bad=REFUSED, ever_answered=False)
    world.call(EVENT, False)
    assert world.breaker.is_open
    began = world.now

    def recover(condition: threading.Condition, seconds: float) -> None:
        world.now += seconds
        world.probes_well = world.now >= began + 7

    world.breaker._wait = recover
    world.call(EVENT, True)
    assert not world.stop.requested
    assert world.breaker.trouble is None


def test_a_probe_that_is_answered_badly_shows_that_something_answers() -> None:
    """A Voucherify behind a balancer that says 503 is in an outage."""
    world = World(probes_well=False, bad=REFUSED, ever_answered=False)
    world.call(EVENT, False)
    world.bad = BUSY
    began = world.now
    assert not world.enter(EVENT)
    assert world.now - began == pytest.approx(OUTAGE_S, abs=120)
    assert "HTTP 503" in str(world.stop.error)


@pytest.mark.parametrize(
    ("ends", "trouble"),
    [
        ([(ALIVE, True)], None),
        ([(REFUSED, False)], REFUSED.detail),
        ([(ALIVE, True), (RESET, False)], RESET.detail),
        ([(BUSY, False)], "HTTP 503"),
        ([(RESET, False), (ALIVE, True)], None),
        ([(RESET, False), (Reply(429, {}, b""), None)], None),
    ],
    ids=["well", "not sent", "well, then lost", "503", "lost, then well", "lost, then throttled"],
)
def test_the_trouble_is_that_of_the_last_call(
    ends: list[tuple[Answer, bool | None]], trouble: str | None
) -> None:
    """It is gone with the next answer that shows no trouble."""
    world = World()
    for answer, well in ends:
        assert world.enter(EVENT)
        world.breaker.leave(EVENT, well, answer)
    assert world.breaker.trouble == trouble


def test_trials_that_fail_are_one_outage() -> None:
    """Good probes alone do not begin the four hours again."""
    world = World()
    world.calls(EVENT, [False] * 3)
    opened = world.now
    while world.enter(EVENT):
        world.breaker.leave(EVENT, False)
    assert isinstance(world.stop.error, RunStopped)
    assert world.now - opened < OUTAGE_S + 1900


def test_a_stop_ends_the_wait() -> None:
    """Nobody waits for the end of an outage when the run stops."""
    world = World(probes_well=False)
    world.calls(EVENT, [False] * 3)
    world.stop.because(RunStopped("enough"))
    assert not world.enter(EVENT)
    assert not world.enter(None)


def test_it_says_until_when_everything_waits() -> None:
    """For the display."""
    world = World()
    assert world.breaker.waiting("api.example.com") is None
    assert world.enter(CUSTOMER)
    world.calls(EVENT, [False] * 3)
    world.breaker.leave(CUSTOMER, True, ALIVE)
    waiting = world.breaker.waiting("api.example.com")
    assert waiting is not None
    assert (waiting.reason, waiting.detail) == ("outage", "no reliable answer from Voucherify (HTTP 503)")
    assert waiting.until > world.now


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            NotSent("dns", "the name api.example.com cannot be resolved"),
            "cannot reach api.example.com (name not found)",
        ),
        (NotSent("refused"), "cannot reach api.example.com (no connection)"),
        (
            NoAnswer("timeout", "no answer within 60 s"),
            "no reliable answer from Voucherify (no answer within 60 s)",
        ),
    ],
    ids=["name", "connection", "answer"],
)
def test_an_outage_is_said_with_the_host_and_the_reason(answer: Answer, words: str) -> None:
    """In a few words, for a line of a display."""
    assert outage_in_words(answer, "api.example.com") == words


def test_one_worker_probes_while_the_others_wait() -> None:
    """An outage is met with one call at a time, from whatever number of threads."""
    stop, probes, probing, most = Stop(), [0], [0], [0]
    healthy = threading.Event()

    def probe() -> Answer:
        probes[0] += 1
        probing[0] += 1
        most[0] = max(most[0], probing[0])
        time.sleep(0.02)
        probing[0] -= 1
        return ALIVE if healthy.is_set() else BUSY

    breaker = CircuitBreaker(stop, clock=lambda: time.monotonic() * 50)
    for _ in range(3):
        breaker.enter(EVENT, probe)
        breaker.leave(EVENT, False, BUSY)

    def work() -> None:
        if breaker.enter(EVENT, probe):
            breaker.leave(EVENT, True)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    wait_until(lambda: probes[0] >= 3)
    assert all(thread.is_alive() for thread in threads)
    healthy.set()
    for thread in threads:
        thread.join(HANG_S)
    assert not any(thread.is_alive() for thread in threads)
    assert most == [1]


@pytest.mark.parametrize(
    ("status", "body", "well"),
    [
        (200, '{"object":"list"}', True),
        (401, "{}", True),
        (403, "{}", True),
        (429, "{}", True),
        (200, "<html></html>", False),
        (302, "", False),
        (408, "", False),
        (500, "{}", False),
        (503, "", False),
    ],
)
def test_the_probe_is_a_harmless_call_through_the_limiter(status: int, body: str, well: bool) -> None:
    """Any answer that only a working API gives is good; what it means for the run, the next real call will tell."""
    api = requests_mock.Adapter()
    api.register_uri("GET", "https://api.example.test/v1/customers?limit=1", status_code=status, text=body)
    client = Client(Credentials("key", Secret("token"), "https://api.example.test", None), adapter=api)
    stop = Stop()
    limiter = Limiter(stop=stop)
    now = [0.0]

    def wait(condition: threading.Condition, seconds: float) -> None:
        now[0] += seconds
        if limiter.calls:
            stop.because(RunStopped("enough"))

    breaker = CircuitBreaker(stop, clock=lambda: now[0], wait=wait)
    limited = LimitedClient(client, limiter, breaker, stop)
    breaker.ever_answered = True
    for _ in range(3):
        breaker.enter(EVENT, limited.probe)
        breaker.leave(EVENT, False, BUSY)
    assert breaker.enter(None, limited.probe) is well
    assert limiter.calls == 1
    client.close()


def test_no_probe_is_made_without_a_permit() -> None:
    """A run that stops asks nothing any more."""
    stop = Stop()
    stop.because(RunStopped("enough"))
    api = requests_mock.Adapter()
    client = Client(Credentials("key", Secret("token"), "https://api.example.test", None), adapter=api)
    assert LimitedClient(client, Limiter(stop=stop), CircuitBreaker(stop), stop).probe() is None
    assert api.call_count == 0
    client.close()
