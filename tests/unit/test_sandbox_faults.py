"""Faults: what each of them does on the wire, and what the call log has of it."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
from typing import Any

import pytest
from support.sandbox_client import BULK, CUSTOMERS, EVENTS, call, customer, event, exchange, raw
from support.waiting import wait_until

from voucherify_sync.sandbox import Fault, Sandbox, SandboxOptions
from voucherify_sync.sandbox.endpoints import HttpAnswer
from voucherify_sync.sandbox.faults import perform

BODY = b'{"event":"E","customer":{"source_id":"u1"}}'


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    "fault", ["drop", "reset", "hang seconds=0.05", "status 500", "html", "empty", "throttle"]
)
def test_the_call_log_has_what_was_processed_whatever_was_answered(fault: str, when: str) -> None:
    """`before`: the event is not there; `after`: it is."""
    with Sandbox(faults=[Fault.parse(f"{fault} {when}")]) as sandbox:
        with contextlib.suppress(ConnectionError):
            exchange(sandbox, raw("POST", EVENTS, BODY, "Connection: close"))
        happened = when == "after"
        assert [done.name for done in sandbox.call_log.processed] == (["E"] if happened else [])
        assert sandbox.counts() == (int(happened), int(happened), 1)
        [answered] = sandbox.call_log.answered
        assert (answered.fault, answered.is_processed) == (fault.split(maxsplit=1)[0], happened)


def test_drop_closes_without_a_byte() -> None:
    """The client sees the end of the connection."""
    with Sandbox(faults=[Fault.parse("drop")]) as sandbox:
        assert exchange(sandbox, raw("POST", EVENTS, BODY)) == b""


def test_reset_resets() -> None:
    """The client sees a reset, not an end."""
    with Sandbox(faults=[Fault.parse("reset")]) as sandbox, pytest.raises(ConnectionResetError):
        exchange(sandbox, raw("POST", EVENTS, BODY))


def test_hang_answers_nothing_until_the_client_leaves() -> None:
    """The server's thread ends with the client, or with the server."""
    with Sandbox(faults=[Fault.parse("hang")]) as sandbox:
        with pytest.raises(TimeoutError):
            exchange(sandbox, raw("POST", EVENTS, BODY), timeout_s=0.15)
        wait_until(lambda: not serving())


def serving() -> int:
    """Count the server's threads that serve a connection."""
    return sum(thread.name == "sandbox call" for thread in threading.enumerate())


def test_stopping_the_server_ends_what_hangs() -> None:
    """Nothing is left behind, and stopping does not wait for the client."""
    sandbox = Sandbox(faults=[Fault.parse("hang")]).start()
    with socket.create_connection(("127.0.0.1", sandbox.port)) as sock:
        sock.sendall(raw("POST", EVENTS, BODY))
        wait_until(lambda: sandbox.call_log.calls)
        sandbox.stop()
        assert not serving()


@pytest.mark.parametrize("when", ["before", "after"])
def test_delay_answers_late(when: str) -> None:
    """The answer is good; with `before` the processing is late, too."""
    with Sandbox(faults=[Fault.parse(f"delay {when} seconds=0.15")]) as sandbox:
        begun = time.time()
        assert call(sandbox, "POST", EVENTS, event()).status == 200
        ended = time.time()
        [done] = sandbox.call_log.processed
        assert (done.at - begun if when == "before" else ended - done.at) >= 0.15


@pytest.mark.parametrize("part", ["headers", "body"])
def test_drip_sends_byte_by_byte(part: str) -> None:
    """The whole answer comes, slowly."""
    with Sandbox(faults=[Fault.parse(f"drip part={part} interval_s=0.0002")]) as sandbox:
        reply = call(sandbox, "POST", EVENTS, event())
        assert (reply.status, reply.body["object"]) == (200, "event")


def test_cut_header_ends_within_the_headers() -> None:
    """No blank line comes."""
    with Sandbox(faults=[Fault.parse("cut_header")]) as sandbox:
        received = exchange(sandbox, raw("POST", EVENTS, BODY))
        assert received.startswith(b"HTTP/1.1 200")
        assert b"\r\n\r\n" not in received
        assert sandbox.counts() == (1, 1, 1)


def test_cut_body_ends_within_the_body() -> None:
    """The length says more than comes."""
    with Sandbox(faults=[Fault.parse("cut_body")]) as sandbox, pytest.raises(http.client.IncompleteRead):
        call(sandbox, "POST", EVENTS, event())


class SlowSocket(socket.socket):
    """A socket of a server that is interrupted after each send."""

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        """Send, and then do nothing for a while."""
        super().sendall(data, flags)
        time.sleep(0.05)


@pytest.mark.skipif(not hasattr(socket, "MSG_MORE"), reason="the system cannot hold a byte back")
@pytest.mark.parametrize("size", [1, 300_000], ids=["small", "large"])
def test_close_ends_the_connection_with_the_last_byte(size: int) -> None:
    """Who has the whole answer sees the end at once, so that nobody sends another call into the void."""
    answer = HttpAnswer(200, b"x" * size)
    expected = answer.head(0) + answer.body
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname(), timeout=60) as client,
    ):
        accepted, _ = listener.accept()
        with SlowSocket(fileno=accepted.detach()) as sock:
            arguments = (Fault("close"), sock, answer, 0.0, threading.Event())
            thread = threading.Thread(target=perform, args=arguments)
            thread.start()
            received = b""
            while len(received) < len(expected):
                received += client.recv(65_536)
            client.setblocking(False)
            assert client.recv(1) == b""
            thread.join()
    assert received == expected
    assert b"Connection: keep-alive" in received


def test_html_is_a_page_with_status_200() -> None:
    """A captive portal; `html 502` is a proxy's page."""
    with Sandbox(faults=[Fault.parse("html #1"), Fault.parse("html 502")]) as sandbox:
        portal, proxy = (call(sandbox, "POST", EVENTS, event()) for _ in range(2))
        assert (portal.status, portal.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert portal.text.startswith(b"<!DOCTYPE html>")
        assert proxy.status == 502


@pytest.mark.parametrize(("fault", "text"), [("empty", b""), ("empty body=json", b"{}"), ("empty 202", b"")])
def test_empty_is_a_success_with_nothing_in_it(fault: str, text: bytes) -> None:
    """No body, or an empty object."""
    with Sandbox(faults=[Fault.parse(fault)]) as sandbox:
        reply = call(sandbox, "POST", EVENTS, event())
        assert (reply.status // 100, reply.text) == (2, text)


def test_wrong_shape_is_json_of_something_else() -> None:
    """2xx without the expected object; the call was processed."""
    with Sandbox(faults=[Fault.parse("wrong_shape")]) as sandbox:
        assert call(sandbox, "POST", EVENTS, event()).body["object"] == "list"
        assert sandbox.counts()[1] == 1


def test_huge_sends_as_much_as_it_says() -> None:
    """More than a client should read."""
    with Sandbox(faults=[Fault.parse("huge size=3000000")]) as sandbox:
        assert len(call(sandbox, "POST", EVENTS, event()).text) == 3_000_000


@pytest.mark.parametrize(
    ("fault", "status", "text"),
    [
        pytest.param("status", 500, b'"code":500', id="500 by default"),
        pytest.param("status 503 body=empty", 503, b"", id="nothing"),
        pytest.param("status 502 body=html", 502, b"<html>", id="a page"),
        pytest.param("status 500 body=b", 500, b'"statusCode":500', id="the framework's shape"),
        pytest.param("status 401", 401, b'"key":"unauthorized"', id="401 in the middle"),
        pytest.param("status 402", 402, b"missing_required_feature", id="402"),
        pytest.param("status 403", 403, b"missing_required_permission", id="403"),
        pytest.param("status 599", 599, b'"code":599', id="no such status"),
    ],
)
def test_status_answers_what_is_asked_for(fault: str, status: int, text: bytes) -> None:
    """Any code, with the API's body, its framework's, a page or nothing."""
    with Sandbox(faults=[Fault.parse(fault)]) as sandbox:
        reply = call(sandbox, "POST", EVENTS, event())
        assert reply.status == status
        assert text in reply.text


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirect_leads_elsewhere(code: int) -> None:
    """The location is of the test's choice."""
    with Sandbox(faults=[Fault.parse(f"redirect {code} location=http://127.0.0.1:1/other")]) as sandbox:
        reply = call(sandbox, "POST", EVENTS, event())
        assert (reply.status, reply.headers["Location"]) == (code, "http://127.0.0.1:1/other")
        assert sandbox.counts()[1] == 0


@pytest.mark.parametrize("text", ["0", "-5", "soon", "1e9", "Wed, 21 Oct 2099 07:28:00 GMT", ""])
def test_throttle_says_any_retry_after(text: str) -> None:
    """Word for word."""
    with Sandbox(faults=[Fault("throttle", retry_after=text, type="api_calls_cycle")]) as sandbox:
        reply = call(sandbox, "POST", EVENTS, event())
        assert (reply.status, reply.headers["Retry-After"]) == (429, text)
        assert reply.headers["X-Rate-Limit-Type"] == "api_calls_cycle"


def test_throttle_may_say_nothing_but_429() -> None:
    """No Retry-After, no type, no time."""
    with Sandbox(faults=[Fault("throttle")]) as sandbox:
        headers = call(sandbox, "POST", EVENTS, event()).headers
        assert headers["X-Rate-Limit-Remaining"] == "0"
        assert not {"Retry-After", "X-Rate-Limit-Type", "X-Rate-Limit-Retry"} & set(headers)


def test_fail_action_lets_a_bulk_request_fail_later() -> None:
    """It is accepted, ends as FAILED and updates nobody."""
    with Sandbox(faults=[Fault.parse("fail_action #1")]) as sandbox:
        ids = [call(sandbox, "POST", BULK, [customer(name)]).body["async_action_id"] for name in "ab"]
        shown = [call(sandbox, "GET", f"/v1/async-actions/{action_id}").body for action_id in ids]
        assert [action["status"] for action in shown] == ["FAILED", "DONE"]
        assert [held.source_id for held in sandbox.store.customers] == ["b"]


def test_a_fault_spoils_only_its_own_calls() -> None:
    """Others go on, on the same server."""
    with Sandbox(SandboxOptions(), [Fault.parse("POST /v1/events status 500 #2-3")]) as sandbox:
        statuses = [call(sandbox, "POST", EVENTS, event()).status for _ in range(4)]
        assert statuses == [200, 500, 500, 200]
        assert call(sandbox, "POST", CUSTOMERS, customer()).status == 200
        assert sandbox.call_log.statuses == {"200": 3, "500": 2}


def test_an_echo_shows_the_request_with_its_keys() -> None:
    """As a debugging proxy does: clients must not pass it on."""
    with Sandbox(faults=[Fault.parse("status 502 body=echo")]) as sandbox:
        reply = call(sandbox, "POST", CUSTOMERS, customer(email="someone@example.com"))
    assert reply.status == 502
    assert reply.body["details"].startswith("token {")
    assert "someone@example.com" in reply.body["details"]
