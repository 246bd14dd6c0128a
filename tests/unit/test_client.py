"""One call to Voucherify: what goes out, and what each way of answering badly becomes."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import requests_mock
from support.servers import raw_server, serve, unused_port
from support.waiting import HANG_S

from voucherify_sync.errors import UsageProblem
from voucherify_sync.sandbox.faults import Fault
from voucherify_sync.sandbox.server import Sandbox
from voucherify_sync.settings.types import Credentials, Secret
from voucherify_sync.voucherify.answers import NoAnswer, NotSent
from voucherify_sync.voucherify.client import Client

CANARY = "canary-token-5f1d"
URL = "https://api.example.test"
EVENT = b'{"event":"Order Completed","customer":{"source_id":"u1"}}'


@pytest.fixture
def api() -> requests_mock.Adapter:
    """Return an API whose answers are given by hand."""
    return requests_mock.Adapter()


def credentials(url: str = URL, token: str = CANARY, version: str | None = None) -> Credentials:
    """Return credentials with the canary."""
    return Credentials("app-id", Secret(token), url, version)


def last_of(api: requests_mock.Adapter) -> Any:
    """Return the last request."""
    return api.last_request


@contextlib.contextmanager
def client_for(
    url: str = URL,
    deadline_s: float = 60.0,
    connect_s: float = 60.0,
    adapter: requests_mock.Adapter | None = None,
) -> Iterator[Client]:
    """Yield a client that is closed afterwards."""
    client = Client(credentials(url), workers=2, deadline_s=deadline_s, connect_s=connect_s, adapter=adapter)
    try:
        yield client
    finally:
        client.close()


def test_a_call_carries_the_keys_the_channel_and_the_very_bytes(api: requests_mock.Adapter) -> None:
    """X-App-Id, X-App-Token, JSON both ways, a name in the audit log; the payload is not encoded again."""
    with client_for(adapter=api) as client:
        api.register_uri(
            "POST", f"{URL}/v1/events", json={"object": "event"}, headers={"X-Rate-Limit-Remaining": "7"}
        )
        reply = client.call("POST", "/v1/events", EVENT)
        sent = last_of(api)
    assert (reply.status, reply.body, reply.headers["x-rate-limit-remaining"]) == (
        200,
        b'{"object": "event"}',
        "7",
    )
    assert sent.body == EVENT
    assert sent.headers["X-App-Id"] == "app-id"
    assert sent.headers["X-App-Token"] == CANARY
    assert sent.headers["Content-Type"] == sent.headers["Accept"] == "application/json"
    assert sent.headers["Content-Length"] == str(len(EVENT))
    assert sent.headers["User-Agent"].startswith("voucherify-sync/")
    assert sent.headers["X-Voucherify-Channel"] == sent.headers["User-Agent"]
    assert "X-Voucherify-API-Version" not in sent.headers


def test_the_version_header_is_sent_only_if_a_version_is_set(api: requests_mock.Adapter) -> None:
    """`latest` is no value that the API knows: it means no header."""
    api.register_uri("POST", f"{URL}/v1/events", json={})
    client = Client(credentials(version="v2018-08-01"), adapter=api)
    client.call("POST", "/v1/events", EVENT)
    assert last_of(api).headers["X-Voucherify-API-Version"] == "v2018-08-01"
    client.close()


def test_a_query_follows_the_path(api: requests_mock.Adapter) -> None:
    """As it is written in the documentation of the API."""
    with client_for(adapter=api) as client:
        api.register_uri("GET", requests_mock.ANY, json={})
        client.call("GET", "/v1/customers/b/activity", params={"limit": "1"})
        assert last_of(api).url == f"{URL}/v1/customers/b/activity?limit=1"


@pytest.mark.parametrize("bad", ["", "two words", "line\nbreak", "line\r\nX: 1", "käy", "\x00", "\u2010"])
@pytest.mark.parametrize("setting", ["api.key", "api.token", "api.version"])
def test_a_value_that_no_header_can_carry_is_refused_by_its_setting_and_never_shown(
    setting: str, bad: str
) -> None:
    """The HTTP libraries would show the value in their error."""
    values = {
        "api.key": "k",
        "api.token": CANARY,
        "api.version": "v1",
        setting: f"{CANARY}{bad}" if bad else "",
    }
    with pytest.raises(UsageProblem, match=setting) as caught:
        Client(Credentials(values["api.key"], Secret(values["api.token"]), URL, values["api.version"]))
    assert CANARY not in str(caught.value) + repr(caught.value)


def test_connections_are_kept_alive() -> None:
    """A new connection a call would cost a round trip each."""
    with Sandbox() as api, client_for(api.url) as client:
        for _ in range(3):
            assert client.call("POST", "/v1/events", EVENT).status == 200
        assert len(api._threads) == 1


def test_head_and_body_leave_in_one_piece() -> None:
    """Each piece would be a packet of its own, and wake the server for half a request."""
    pieces: list[bytes] = []

    def handle(connection: socket.socket) -> None:
        pieces.append(connection.recv(65_536))
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    with serve(handle) as address, client_for(f"http://{address}") as client:
        client.call("POST", "/v1/events", EVENT)
    assert pieces[0].startswith(b"POST /v1/events HTTP/1.1\r\n")
    assert pieces[0].endswith(b"\r\n\r\n" + EVENT)


def test_sending_may_take_longer_than_connecting() -> None:
    """Only the deadline counts once there is a connection: 10 MiB for a slow line are no sign of trouble."""
    body = b"[" + b" " * 10_000_000 + b"]"

    def handle(connection: socket.socket) -> None:
        time.sleep(0.4)
        asked = b""
        while not asked.endswith(b"]"):
            asked = connection.recv(1 << 20)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    with serve(handle) as address, client_for(f"http://{address}", connect_s=0.1) as client:
        assert client.call("POST", "/v1/customers/bulk/async", body).status == 200


def test_an_idle_connection_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """After 30 s the server may close it in the very moment in which a request leaves."""
    with Sandbox() as api, client_for(api.url) as client:
        client.call("POST", "/v1/events", EVENT)
        first = set(api._threads)
        monkeypatch.setattr("voucherify_sync.voucherify.client._IDLE_S", 0.0)
        client.call("POST", "/v1/events", EVENT)
        assert set(api._threads) - first


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_is_never_followed(code: int) -> None:
    """Following would carry the token to another host, and turn a POST into a GET that looks like success."""
    with Sandbox() as other:
        fault = Fault("redirect", code=code, location=f"{other.url}/v1/events")
        with Sandbox(faults=[fault]) as api, client_for(api.url) as client:
            assert client.call("POST", "/v1/events", EVENT).status == code
        assert other.call_log.calls == 0


def test_netrc_is_ignored(
    api: requests_mock.Adapter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library would send the password of ~/.netrc to the API's host."""
    netrc = tmp_path / "netrc"
    netrc.write_text(
        "machine 127.0.0.1 login me password hidden\nmachine api.example.test login me password hidden\n"
    )
    monkeypatch.setenv("NETRC", str(netrc))
    with client_for(adapter=api) as client:
        api.register_uri("GET", requests_mock.ANY, json={})
        client.call("GET", "/v1/customers")
        assert "Authorization" not in last_of(api).headers


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        pytest.param(Fault("drop"), "reset", id="closed before processing"),
        pytest.param(Fault("drop", when="after"), "reset", id="closed after processing"),
        pytest.param(Fault("reset", when="after"), "reset", id="reset"),
        pytest.param(Fault("cut_header"), "cut", id="cut header"),
        pytest.param(Fault("cut_body"), "cut", id="cut body"),
        pytest.param(Fault("empty"), None, id="empty but whole"),
        pytest.param(Fault("huge"), "too_large", id="over 1 MiB"),
        pytest.param(Fault("hang"), "timeout", id="hangs"),
        pytest.param(Fault("drip", interval_s=2), "timeout", id="body drips"),
        pytest.param(Fault("drip", interval_s=2, part="headers"), "timeout", id="header drips"),
    ],
)
def test_an_answer_that_is_not_whole_is_no_answer(fault: Fault, reason: str | None) -> None:
    """Only a complete answer is a Reply, and no way of answering holds a call beyond its deadline."""
    deadline_s = 0.4 if reason == "timeout" else 120
    with Sandbox(faults=[fault]) as api, client_for(api.url, deadline_s=deadline_s) as client:
        began = time.monotonic()
        if reason is None:
            assert client.call("POST", "/v1/events", EVENT).body == b""
        else:
            with pytest.raises(NoAnswer) as caught:
                client.call("POST", "/v1/events", EVENT)
            assert caught.value.reason == reason
            assert CANARY not in f"{caught.value!r} {caught.value} {caught.value.detail}"
        assert time.monotonic() - began < HANG_S


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Le", "cut", id="header cut within a name"),
        pytest.param(b"HTTP/1.1 200 OK\r\n", "cut", id="header cut after the status"),
        pytest.param(b"HTTP/1.1 2", "reset", id="status line cut"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", "cut", id="body shorter than announced"
        ),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{}", "cut", id="chunk cut"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", "cut", id="bad gzip"
        ),
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", "reset", id="another protocol"),
    ],
)
def test_a_connection_that_ends_too_early_is_no_answer(answer: bytes, reason: str) -> None:
    """The library alone reads a header that was cut as an empty success."""
    with raw_server(answer) as url, client_for(url) as client, pytest.raises(NoAnswer) as caught:
        client.call("POST", "/v1/events", EVENT)
    assert caught.value.reason == reason


def test_the_deadline_holds_while_the_server_closes_the_connection_by_its_answer() -> None:
    """With `Connection: close` the socket leaves the connection object before the body is read."""
    head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
    with raw_server(b" " * 500, 0.5, head=head) as url, client_for(url, deadline_s=1.2) as client:
        began = time.monotonic()
        with pytest.raises(NoAnswer, match="in time"):
            client.call("POST", "/v1/events", EVENT)
        assert time.monotonic() - began < HANG_S


def test_a_late_call_harms_no_other() -> None:
    """One timer serves all calls: it cuts the late one, and calls go on beside and after it."""
    hang = Fault("hang", path="/v1/events")
    with Sandbox(faults=[hang]) as api, client_for(api.url, deadline_s=1.5) as client:
        ends: list[str] = []

        def late() -> None:
            with pytest.raises(NoAnswer):
                client.call("POST", "/v1/events", EVENT)
            ends.append("late")

        threads = [threading.Thread(target=late) for _ in range(2)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            assert client.call("GET", "/v1/customers").status == 200
        assert ends == ["late", "late"]
        assert client.call("GET", "/v1/customers").status == 200
        assert sum(thread.name == "deadlines" for thread in threading.enumerate()) == 1


def test_a_refused_connection_was_not_sent() -> None:
    """Nobody listens: proved not to have been sent."""
    with client_for(f"http://127.0.0.1:{unused_port()}") as client, pytest.raises(NotSent) as caught:
        client.call("POST", "/v1/events", EVENT)
    assert caught.value.reason == "refused"
    assert "127.0.0.1" in caught.value.detail
    assert CANARY not in repr(caught.value)


def test_an_unknown_name_was_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """No address, no connection."""

    def fail(*args: object, **kwargs: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with client_for("http://api.example.test") as client, pytest.raises(NotSent) as caught:
        client.call("POST", "/v1/events", EVENT)
    assert caught.value.reason == "dns"


def test_a_connection_that_is_not_taken_in_time_was_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connect timeout is far shorter than the deadline."""

    def stall(*args: object, **kwargs: object) -> None:
        raise TimeoutError("timed out")

    monkeypatch.setattr("urllib3.util.connection.create_connection", stall)
    with client_for("http://127.0.0.1:9") as client, pytest.raises(NotSent) as caught:
        client.call("POST", "/v1/events", EVENT)
    assert caught.value.reason == "connect_timeout"


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b""], ids=["plain text", "closed"])
def test_a_failed_tls_handshake_was_not_sent(answer: bytes) -> None:
    """No byte of the request leaves before the handshake is done."""
    with (
        raw_server(answer) as url,
        client_for(url.replace("http:", "https:")) as client,
        pytest.raises(NotSent) as caught,
    ):
        client.call("POST", "/v1/events", EVENT)
    assert caught.value.reason in ("tls", "refused")


def test_a_tls_handshake_that_drips_is_cut_by_the_deadline() -> None:
    """The deadline holds before TLS is up, too."""
    hello = b"\x16\x03\x03\x40\x00" + b"\x02" * 500
    with raw_server(hello, 0.5) as url, client_for(url.replace("http:", "https:"), 0.5, 5.0) as client:
        began = time.monotonic()
        with pytest.raises(NotSent):
            client.call("POST", "/v1/events", EVENT)
        assert time.monotonic() - began < HANG_S


def test_a_tls_error_after_the_request_left_is_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    """An SSLError while the answer is read says nothing about what the server did."""

    def broken(*args: object, **kwargs: object) -> None:
        raise ssl.SSLError("bad record mac")

    with Sandbox() as api, client_for(api.url) as client:
        monkeypatch.setattr("http.client.HTTPResponse.begin", broken)
        with pytest.raises(NoAnswer) as caught:
            client.call("POST", "/v1/events", EVENT)
        assert caught.value.reason == "reset"


def test_a_proxy_that_refuses_was_not_sent_and_only_its_host_is_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """HTTPS_PROXY is honoured; its password stays where it is."""
    with raw_server(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n") as url:
        monkeypatch.setenv("HTTPS_PROXY", url.replace("http://", "http://me:hidden@"))
        with client_for() as client, pytest.raises(NotSent) as caught:
            client.call("POST", "/v1/events", EVENT)
    assert caught.value.reason == "proxy"
    assert "127.0.0.1" in caught.value.detail
    assert "hidden" not in f"{caught.value!r} {caught.value.detail}"


def test_no_proxy_stands_between_us_and_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sandbox is reached directly, whatever the environment says about proxies."""
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{unused_port()}")
    with Sandbox() as api, client_for(api.url) as client:
        assert client.call("GET", "/v1/customers").status == 200


def test_gzip_that_nobody_asked_for_is_decoded_within_the_cap() -> None:
    """A small answer that unpacks to many megabytes is too large."""
    import gzip

    bomb = gzip.compress(b" " * 50_000_000)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
    with (
        raw_server(head % len(bomb) + bomb) as url,
        client_for(url) as client,
        pytest.raises(NoAnswer) as caught,
    ):
        client.call("GET", "/v1/customers")
    assert caught.value.reason == "too_large"
    small = gzip.compress(b'{"object":"event"}')
    with raw_server(head % len(small) + small) as url, client_for(url) as client:
        assert client.call("GET", "/v1/customers").body == b'{"object":"event"}'


@pytest.mark.parametrize("proxy", ["socks5://me:hidden@127.0.0.1:1080", "http://:8080", "ftp://127.0.0.1"])
def test_a_proxy_that_cannot_be_used_is_refused_before_any_call(
    proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over a SOCKS proxy nothing would prove that a request was not sent."""
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(UsageProblem, match="HTTPS_PROXY") as caught:
        Client(credentials())
    assert "hidden" not in str(caught.value)


def test_an_error_of_an_unknown_transport_is_no_proof() -> None:
    """Only our own connections prove that nothing was sent."""
    api = requests_mock.Adapter()
    api.register_uri("POST", requests_mock.ANY, exc=requests.ConnectionError)
    with client_for(adapter=api) as client, pytest.raises(NoAnswer):
        client.call("POST", "/v1/events", EVENT)
