"""A Voucherify that was never reached: what each way of not getting there is called, and how the run ends."""

from __future__ import annotations

import contextlib
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.bulk_world import Log, people
from support.cli import Cli
from support.evidence import CANARY, Record, request_of, write_archive
from support.ledger_parts import open_ledger
from support.servers import raw_server, tls_server, unused_port

from voucherify_sync.delivery.circuit_breaker import OUTAGE_S, UNREACHED_S, CircuitBreaker
from voucherify_sync.delivery.lanes import Lanes
from voucherify_sync.delivery.sender import LiveDelivery, Sender
from voucherify_sync.errors import Unreachable
from voucherify_sync.exit_codes import ExitCode
from voucherify_sync.outcomes import Accepted, State
from voucherify_sync.settings.types import Credentials, Delivery, Secret
from voucherify_sync.state.ledger_file import ProjectIdentity
from voucherify_sync.stop import Stop
from voucherify_sync.voucherify.answers import NotSent
from voucherify_sync.voucherify.bulk import BulkDelivery
from voucherify_sync.voucherify.client import Client
from voucherify_sync.voucherify.limited_client import LimitedClient
from voucherify_sync.voucherify.rate_limit import Limiter

RECORDS = [Record(type_, f"{type_}-{n}", f"u-{n}") for type_ in ("identify", "track") for n in range(4)]
Way = Callable[[pytest.MonkeyPatch, Path], contextlib.AbstractContextManager[str]]


def certificate(
    names: str = "IP:127.0.0.1", years: tuple[int, int] = (2020, 2099), *, trusted: bool = True
) -> Way:
    """Return the way to a server with such a certificate."""

    @contextlib.contextmanager
    def way(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[str]:
        with tls_server(folder / "tls", names, years) as (url, file):
            if trusted:
                monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(file))
            yield url

    return way


def proxy(answer: bytes) -> Way:
    """Return the way over a proxy that answers so."""

    @contextlib.contextmanager
    def way(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[str]:
        with raw_server(answer) as url:
            monkeypatch.setenv("HTTPS_PROXY", url.replace("http://", "http://me:hidden@"))
            yield "https://api.example.test"

    return way


@contextlib.contextmanager
def absent_proxy(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[str]:
    """Lead over a proxy on whose port nobody listens."""
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:hidden@127.0.0.1:{unused_port()}")
    yield "https://api.example.test"


@contextlib.contextmanager
def unknown_name(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[str]:
    """Lead to a name that cannot be resolved, without asking any name server."""

    def fail(*args: object, **kwargs: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    yield "https://api.example.test"


@contextlib.contextmanager
def closed_port(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[str]:
    """Lead to a port on which nobody listens."""
    yield f"http://127.0.0.1:{unused_port()}"


@contextlib.contextmanager
def silent_port(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[str]:
    """Lead to a port whose queue of connections is full, so that no more are taken."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def plain_http(monkeypatch: pytest.MonkeyPatch, folder: Path) -> contextlib.AbstractContextManager[str]:
    """Lead with https:// to a server that does not speak it."""

    @contextlib.contextmanager
    def way() -> Iterator[str]:
        with raw_server(b"HTTP/1.1 400 Bad Request\r\n\r\n") as url:
            yield url.replace("http:", "https:")

    return way()


PROXY = "the proxy 127.0.0.1 did not connect us to api.example.test: "
WAYS: list[tuple[Way, str, str, str]] = [
    (unknown_name, "dns", "the name api.example.test cannot be resolved", "api.url"),
    (closed_port, "refused", "no connection to 127.0.0.1:", "api.url"),
    (silent_port, "connect_timeout", "did not take the connection in time", "api.url"),
    (certificate(years=(2020, 2021)), "tls", "could be made: certificate has expired", "api.url"),
    (certificate(years=(2098, 2099)), "tls", "could be made: certificate is not yet valid", "clock"),
    (certificate(trusted=False), "tls", "could be made: self-signed certificate", "SSL_CERT_FILE"),
    (certificate("IP:127.0.0.2"), "tls", "could be made: IP address mismatch, certificate is not", "api.url"),
    (plain_http, "tls", "could be made: ", "api.url"),
    (proxy(b"HTTP/1.1 407 Proxy\r\n\r\n"), "proxy", f"{PROXY}HTTP 407, it asks for a user", "HTTPS_PROXY"),
    (proxy(b"HTTP/1.1 403 Forbidden\r\n\r\n"), "proxy", f"{PROXY}HTTP 403, it forbids", "HTTPS_PROXY"),
    (proxy(b"HTTP/1.1 502 Bad Gateway\r\n\r\n"), "proxy", f"{PROXY}HTTP 502", "HTTPS_PROXY"),
    (proxy(b""), "proxy", f"{PROXY}it ended the connection", "HTTPS_PROXY"),
    (absent_proxy, "proxy", f"{PROXY}no connection to it could be made", "HTTPS_PROXY"),
]
IDS = ["unknown name", "refused", "connect timeout", "expired", "not yet valid", "self-signed", "other address",
       "no TLS", "proxy 407", "proxy 403", "proxy 502", "proxy closes", "no proxy there"]  # fmt: skip


def client_to(url: str, way: Way) -> Client:
    """Return a client that gives up a port that takes no connection soon, and has patience with all others."""
    connect_s = 0.3 if way is silent_port else 20.0
    return Client(Credentials("app", Secret(CANARY), url, None), deadline_s=60, connect_s=connect_s)


@pytest.mark.parametrize(("way", "reason", "said", "check"), WAYS, ids=IDS)
def test_a_run_that_reaches_nothing_stops_as_a_mistake(
    way: Way, reason: str, said: str, check: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Exit 2 after some tries; nothing failed, nothing is in doubt, and no password shows."""
    with way(monkeypatch, tmp_path) as url:
        stop, client = Stop(), client_to(url, way)
        limited = LimitedClient(client, Limiter(stop=stop), CircuitBreaker(stop, unreached_s=0.7), stop)
        lanes = Lanes(Sender(limited, stop).attempt, 3, stop)
        for line, record in enumerate(RECORDS, start=1):
            lanes.submit(request_of(record, line))
        outcomes = list(lanes.drain())
        client.close()
    assert {outcome.state for outcome in outcomes} == {State.PENDING}
    assert isinstance(stop.error, Unreachable)
    assert stop.error.exit_code is ExitCode.USAGE
    assert said in stop.error.message
    assert check in stop.error.remedy
    assert "hidden" not in str(stop.error)
    assert "Error" not in str(stop.error)


@pytest.mark.parametrize(("way", "reason", "said", "check"), WAYS, ids=IDS)
def test_a_bulk_run_that_reaches_nothing_stops_likewise(
    way: Way, reason: str, said: str, check: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its calls go one after the other."""
    with way(monkeypatch, tmp_path) as url:
        stop, client = Stop(), client_to(url, way)
        breaker = CircuitBreaker(stop, unreached_s=0.7)
        limited = LimitedClient(client, Limiter(stop=stop), breaker, stop, leaves_calls=True)
        assert list(BulkDelivery(limited, Log(), Secret(CANARY), stop).deliver(people(2))) == []
        client.close()
    assert isinstance(stop.error, Unreachable)
    assert said in stop.error.message


@pytest.mark.parametrize(("way", "reason", "said", "check"), WAYS, ids=IDS)
def test_each_way_of_not_getting_there_has_its_reason(
    way: Way, reason: str, said: str, check: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A call that no connection could be had for was not sent: proved."""
    with way(monkeypatch, tmp_path) as url:
        client = client_to(url, way)
        with pytest.raises(NotSent) as caught:
            client.call("GET", "/v1/customers")
        client.close()
    assert caught.value.reason == reason
    assert said in caught.value.detail
    assert "hidden" not in caught.value.detail


@pytest.mark.parametrize(("ever_succeeded", "patience_s"), [(False, UNREACHED_S), (True, OUTAGE_S)])
def test_what_the_ledger_knows_decides_how_long_a_delivery_waits(
    ever_succeeded: bool, patience_s: float
) -> None:
    """A call that succeeded with this ledger before proves the address."""
    keys = Credentials("app", Secret(CANARY), "https://api.example.test", None)
    stop = Stop()
    delivery = LiveDelivery(keys, Delivery(), "hold", None, stop, Accepted(anything=ever_succeeded))
    assert delivery._breaker._timeout_s == patience_s
    list(delivery._lanes.drain(0))


ENDINGS = [
    ("--max-calls 2", 4, "2 calls made, as --max-calls asks"),
    ("--max-duration 2s", 4, "2 s have passed, as --max-duration asks"),
    ("SIGINT", 130, "Ctrl-C"),
    ("SIGTERM", 143, "SIGTERM"),
]


@pytest.mark.parametrize("mode", ["--each", "--bulk"])
@pytest.mark.parametrize("was_reached", [False, True], ids=["never reached", "reached before"])
def test_a_limit_does_not_hide_that_nothing_was_reached(
    tmp_path_factory: pytest.TempPathFactory, mode: str, was_reached: bool
) -> None:
    """The same command would not get further: exit 2. A signal keeps its code, and an outage that of the limit.

    All runs are made at the same time, because they wait more than they compute.
    """
    address = f"127.0.0.1:{unused_port()}"

    def stopped_run(folder: Path, ending: str) -> tuple[int, str, bool]:
        """Return the exit code of a run, its stderr, and whether there is a ledger then."""
        cli = Cli(folder)
        settings, ledger = cli.folder / "settings.yaml", cli.folder / "x.ledger"
        settings.write_text(f"api: {{key: app, token: {CANARY}, url: 'http://{address}'}}\n")
        archive = write_archive(cli.folder / "a.ndjson", RECORDS)
        if was_reached:
            with open_ledger(ledger, identity=ProjectIdentity.of(f"http://{address}", "app")) as known:
                known.accepted_at("/v1/customers")
        words = ["replay", "--yes", "-c", settings, "--ledger", ledger, mode, archive]
        words += [] if was_reached else ["--new-ledger"]
        if ending not in signal.Signals.__members__:
            ended = cli(*words, *ending.split())
            return ended.code, ended.err, ledger.exists()
        with cli.start(*words, "--progress", "json") as process:
            assert process.stderr is not None
            next(line for line in process.stderr if b"outage" in line)
            process.send_signal(signal.Signals[ending])
            err = process.communicate(timeout=60)[1].decode()
        return process.returncode, err, ledger.exists()

    folders = [tmp_path_factory.mktemp("run") for _ in ENDINGS]  # not by several threads at the same time
    with ThreadPoolExecutor(len(ENDINGS)) as pool:
        runs = list(pool.map(stopped_run, folders, [ending for ending, _, _ in ENDINGS]))
    for (ending, code, said), (ended_with, err, has_ledger) in zip(ENDINGS, runs, strict=True):
        is_mistake = not was_reached and ending.startswith("--max-")
        assert ended_with == (2 if is_mistake else code), err
        assert said in err
        assert f"no connection to {address} could be made" in " ".join(err.split())
        assert ("Voucherify cannot be reached" in err) == is_mistake, ending
        assert ("api.url" in err) == is_mistake, ending
        assert has_ledger != is_mistake, ending


def test_the_command_stops_with_exit_2_after_ten_seconds(run_cli: Cli) -> None:
    """It says where it tried to connect, and what to check; customers in bulk make no difference."""
    address = f"127.0.0.1:{unused_port()}"
    settings = f"api: {{key: app, token: {CANARY}, url: 'http://{address}'}}\n"
    (run_cli.folder / "settings.yaml").write_text(settings)
    archive = write_archive(run_cli.folder / "a.ndjson", RECORDS)
    words = ("replay", "--yes", "-c", "settings.yaml", archive)
    began = time.monotonic()
    with ThreadPoolExecutor() as pool:
        runs = [
            pool.submit(run_cli, *words, "--new-ledger", "--ledger", "x.ledger"),
            pool.submit(run_cli, *words, "--new-ledger", "--ledger", "y.ledger", "--bulk"),
        ]
    assert time.monotonic() - began >= 10
    for ended in (run.result() for run in runs):
        assert ended.code == 2, ended.err
        assert f"Stopped: Voucherify cannot be reached: no connection to {address} could be made" in ended.err
        assert "api.url" in ended.err
        assert CANARY not in ended.err
    assert not list(run_cli.folder.glob("*.ledger*")), "a project that was never reached needs no ledger"
