"""The sandbox as a server: HTTP on the wire, many clients at once, start and stop."""

from __future__ import annotations

import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.sandbox_client import BULK, CUSTOMERS, EVENTS, call, customer, event, exchange, raw

from voucherify_sync.errors import UsageProblem
from voucherify_sync.sandbox import Sandbox, SandboxOptions

BODY = b'{"event":"E","customer":{"source_id":"u1"}}'
CLOSE = "Connection: close"


def statuses(received: bytes) -> list[int]:
    """Return the statuses of all answers in a stream."""
    return [int(part[:3]) for part in received.split(b"HTTP/1.1 ")[1:]]


def test_a_connection_serves_many_calls() -> None:
    """Keep-alive, also for requests that were sent ahead of the answers."""
    with Sandbox() as sandbox:
        received = exchange(sandbox, raw("POST", EVENTS, BODY) * 3 + raw("POST", EVENTS, BODY, CLOSE))
        assert statuses(received) == [200] * 4
        assert received.count(b"Connection: keep-alive") == 3
        assert sandbox.counts() == (1, 4, 4)


def test_a_request_may_come_in_pieces() -> None:
    """Byte by byte, headers and body."""
    with Sandbox() as sandbox, socket.create_connection(("127.0.0.1", sandbox.port), timeout=60) as sock:
        for byte in raw("POST", EVENTS, BODY, CLOSE):
            sock.sendall(bytes([byte]))
        assert sock.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_client_may_wait_for_100_continue() -> None:
    """The body is asked for, then answered."""
    with Sandbox() as sandbox, socket.create_connection(("127.0.0.1", sandbox.port), timeout=60) as sock:
        whole = raw("POST", EVENTS, BODY, "Expect: 100-continue", CLOSE)
        sock.sendall(whole[: -len(BODY)])
        assert sock.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(BODY)
        assert sock.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")


def test_http_1_0_closes_unless_it_asks_otherwise() -> None:
    """As the standard says."""
    old = raw("POST", EVENTS, BODY).replace(b"HTTP/1.1", b"HTTP/1.0")
    kept = raw("POST", EVENTS, BODY, "Connection: keep-alive").replace(b"HTTP/1.1", b"HTTP/1.0")
    with Sandbox() as sandbox:
        assert statuses(exchange(sandbox, kept + old)) == [200, 200]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        pytest.param(b"HELLO\r\n\r\n", 400, id="no request line"),
        pytest.param(b"GET / HTTP/2.0\r\n\r\n", 505, id="another version"),
        pytest.param(b"GET / HTTP/1.1\r\nHost\r\n\r\n", 400, id="header without a colon"),
        pytest.param(b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400, id="negative length"),
        pytest.param(
            b"POST / HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", 400, id="absurd length"
        ),
        pytest.param(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411, id="chunked"),
        pytest.param(b"GET / HTTP/1.1\r\nX: " + b"x" * 400_000, 431, id="endless headers"),
    ],
)
def test_what_is_no_request_is_refused_and_the_connection_ends(data: bytes, status: int) -> None:
    """The server goes on for others."""
    with Sandbox() as sandbox:
        try:
            received = exchange(sandbox, data)
        except ConnectionResetError:
            received = b"HTTP/1.1 431 "
        assert statuses(received) == [status]
        assert call(sandbox, "GET", CUSTOMERS).status == 200


def test_a_body_over_10_mib_is_413() -> None:
    """10485760 bytes are taken, one more is refused in the framework's shape."""
    with Sandbox() as sandbox:
        padded = json.dumps([customer(description="x")]).encode()
        largest = padded.replace(b'"x"', b'"' + b"x" * (10_485_760 - len(padded) + 1) + b'"')
        assert len(largest) == 10_485_760
        assert call(sandbox, "POST", BULK, largest).status == 202
        refused = call(sandbox, "POST", BULK, largest + b" ")
        assert (refused.status, refused.body) == (
            413,
            {
                "statusCode": 413,
                "error": "Request Entity Too Large",
                "message": "Payload content length greater than maximum allowed: 10485760",
            },
        )


def test_a_client_that_leaves_within_a_request_changes_nothing() -> None:
    """Half a body is no request."""
    with Sandbox() as sandbox:
        with socket.create_connection(("127.0.0.1", sandbox.port)) as sock:
            sock.sendall(raw("POST", EVENTS, BODY)[:-5])
        assert call(sandbox, "GET", CUSTOMERS).status == 200
        assert sandbox.counts() == (0, 0, 1)


def test_an_idle_connection_is_closed() -> None:
    """As servers do, after a time of the test's choice."""
    with (
        Sandbox(SandboxOptions(keep_alive_s=0.1)) as sandbox,
        socket.create_connection(("127.0.0.1", sandbox.port), timeout=60) as sock,
    ):
        assert sock.recv(1) == b""


def test_many_clients_at_once_lose_nothing() -> None:
    """Every call is one event, each customer exists once, the log's order is the order of processing."""
    workers, each = 16, 40

    def work(worker: int) -> bytes:
        calls = [raw("POST", EVENTS, json.dumps(event(f"E{n}", f"u{n % 5}")).encode()) for n in range(each)]
        return exchange(sandbox, b"".join(calls) + raw("GET", CUSTOMERS, b"", CLOSE))

    with Sandbox() as sandbox, ThreadPoolExecutor(workers) as pool:
        received = list(pool.map(work, range(workers)))
        assert all(statuses(one) == [200] * (each + 1) for one in received)
        assert sandbox.counts() == (5, workers * each, workers * (each + 1))
        assert len(sandbox.call_log.processed) == workers * each
        assert [done.name for done in sandbox.call_log.processed] == [
            held.name for held in sandbox.store.events
        ]


def test_a_limit_holds_against_many_clients() -> None:
    """Exactly as many calls pass as are allowed."""
    with Sandbox(SandboxOptions(limit="25/min"), clock=lambda: 1e9) as sandbox, ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: call(sandbox, "POST", EVENTS, event()).status, range(60)))
        assert found.count(200) == sandbox.counts()[1] == 25
        assert found.count(429) == 35


def test_the_url_names_the_port_it_got() -> None:
    """Port 0 takes a free one; it can be used at once."""
    with Sandbox() as sandbox:
        assert sandbox.url == f"http://127.0.0.1:{sandbox.port}"
        assert sandbox.port > 0
        assert call(sandbox, "GET", CUSTOMERS).status == 200


def test_a_taken_port_is_named() -> None:
    """With what to do about it."""
    with (
        Sandbox() as sandbox,
        pytest.raises(UsageProblem, match=f"127.0.0.1:{sandbox.port}: Address already in use"),
    ):
        Sandbox(SandboxOptions(port=sandbox.port)).start()


def test_a_stopped_server_is_gone_and_can_be_read() -> None:
    """Its port is free, its threads have ended, its log stays."""
    with Sandbox() as sandbox:
        with socket.create_connection(("127.0.0.1", sandbox.port), timeout=60) as idle:
            call(sandbox, "POST", EVENTS, event())
            sandbox.stop()
            assert idle.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            call(sandbox, "GET", CUSTOMERS)
        assert sandbox.counts() == (1, 1, 1)
    assert not [thread for thread in threading.enumerate() if thread.name == "sandbox call"]
    with Sandbox(SandboxOptions(port=sandbox.port)) as again:
        assert again.counts() == (0, 0, 0)
