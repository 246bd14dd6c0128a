"""The server: one thread per connection reads requests, and sends what endpoints, faults and page answer.

It reads HTTP/1.1 itself: `http.server` parses headers as e-mail, which halves the calls per second, and it answers on
its own what the faults have to control.
"""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable
from io import BufferedReader
from typing import Self, get_args

from voucherify_sync.errors import UsageProblem
from voucherify_sync.sandbox.call_log import AnsweredCall, CallLog, Refusal
from voucherify_sync.sandbox.endpoints import ApiEndpoints, HttpAnswer, HttpRequest
from voucherify_sync.sandbox.faults import Fault, FaultScript, perform, spoil
from voucherify_sync.sandbox.options import SandboxOptions
from voucherify_sync.sandbox.page import answer_page
from voucherify_sync.sandbox.store import ActionFault, SandboxStore
from voucherify_sync.sandbox.validation import ApiRefusal, framework_error
from voucherify_sync.text import counted

_BACKLOG = 512
_STOP_S = 2.0
_MAX_HEAD_BYTES = 65_536
_MAX_BODY_BYTES = 10_485_760
_MAX_DRAINED_BYTES = 8 * _MAX_BODY_BYTES
_READ_BYTES = 65_536
_LENGTH = re.compile(r"\d{1,18}", re.ASCII)


class Sandbox:
    """A local stand-in for the Voucherify API, on threads of its own. Start it, use its url, stop it.

    Args:
        options: how it behaves.
        faults: when it misbehaves, in order; or a script with a seed, or one that chooses in its own way.
        clock: epoch seconds; `options.clock_skew_s` is added.

    Attributes:
        store: the customers, events and orders that it holds.
        call_log: what it processed and what it answered.
        port: the TCP port, once it has started.
    """

    def __init__(
        self,
        options: SandboxOptions | None = None,
        faults: FaultScript | Iterable[Fault] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.options = options or SandboxOptions()
        self._clock: Callable[[], float] = lambda: clock() + self.options.clock_skew_s
        self.call_log = CallLog(self.options.keep)
        self.store = SandboxStore(self.options, self.call_log, self._clock)
        self._endpoints = ApiEndpoints(self.options, self.store, self._clock())
        self._faults = faults if isinstance(faults, FaultScript) else FaultScript(faults)
        self._stopping = threading.Event()
        self._listener: socket.socket | None = None
        self._acceptor = threading.Thread(target=self._accept, name="sandbox", daemon=True)
        self._threads: dict[socket.socket, threading.Thread] = {}
        self._lock = threading.Lock()
        self.port = self.options.port

    @property
    def url(self) -> str:
        """Base URL, without a slash at its end. Of all addresses of this machine it has the loopback one."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.options.host, self.options.host)  # noqa: S104
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    def counts(self) -> tuple[int, int, int]:
        """Return the number of customers and events that it holds, and of API calls that it met."""
        return len(self.store.customers), self.store.event_count, self.call_log.calls

    def describe_held(self) -> str:
        """Return what it holds in words, such as `14 customers and 56 custom events`; orders only if there are any."""
        customers, events, _ = self.counts()
        orders = len(self.store.orders)
        middle = f", {counted(orders, 'order')}" if orders else ""
        return f"{counted(customers, 'customer')}{middle} and {counted(events, 'custom event')}"

    def start(self) -> Self:
        """Listen, and answer from now on.

        Raises:
            UsageProblem: the port is taken, or the address is none of this machine's.
        """
        family = socket.AF_INET6 if ":" in self.options.host else socket.AF_INET
        address = (self.options.host, self.options.port)
        try:
            self._listener = socket.create_server(address, family=family, backlog=_BACKLOG)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UsageProblem(
                f"cannot listen on {address[0]}:{address[1]}: {reason}",
                "Choose another --port, or 0 for a free one.",
            ) from None
        self.port = self._listener.getsockname()[1]
        self._acceptor.start()
        return self

    def stop(self) -> None:
        """Close all connections, cutting off what is being answered. Nothing changes after. May be repeated."""
        self._stopping.set()
        if self._listener is not None:
            # Closing alone would leave a thread inside accept() with the port still taken.
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            # From here on no connection is added to those that are closed now.
            self._acceptor.join(_STOP_S)
        with self._lock:
            serving = dict(self._threads)
        for sock in serving:
            # This wakes the thread that reads or writes.
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in serving.values():
            thread.join(_STOP_S)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def _accept(self) -> None:
        seconds, rest = divmod(self.options.keep_alive_s, 1)
        idle_s = struct.pack("ll", int(seconds), int(rest * 1e6))
        while self._listener is not None and not self._stopping.is_set():
            try:
                sock, _ = self._listener.accept()
                # Each answer is one send: nothing is gained by waiting for more to send.
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                # The kernel's own timeout costs no system call per read and write, unlike settimeout().
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, idle_s)
            except OSError:
                # The client has gone, or there are no descriptors left, or the server stops.
                self._stopping.wait(0.01)
                continue
            thread = threading.Thread(target=self._serve, args=(sock,), name="sandbox call", daemon=True)
            with self._lock:
                self._threads[sock] = thread
                thread.start()

    def _serve(self, sock: socket.socket) -> None:
        """Answer one client's calls, one after the other, until it leaves, errs or is idle for too long."""
        try:
            with contextlib.suppress(OSError), sock.makefile("rb") as reader:
                while not self._stopping.is_set() and self._serve_one(sock, reader):
                    pass
        finally:
            with self._lock:
                del self._threads[sock]
            # The client is to see the end before the reset that a close with unread bytes causes.
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_WR)
            sock.close()

    def _serve_one(self, sock: socket.socket, reader: BufferedReader) -> bool:
        """Answer one call; tell whether the connection may serve another."""
        try:
            request = _read_request(sock, reader)
        except ApiRefusal as refusal:
            answer = HttpAnswer.refuse(refusal)
            sock.sendall(answer.head(self._clock(), close=True) + answer.body)
            return False
        if request is None:
            return False
        if not request.path.startswith("/v1/"):
            answer = answer_page(request, self.options, self.store, self.call_log)
        elif fault := self._faults.choose(request.method, request.path):
            return self._misanswer(sock, request, fault) and request.keep_alive
        else:
            answer, is_processed = self._process(request)
            self._log(request, answer, is_processed=is_processed)
        sock.sendall(answer.head(self._clock(), close=not request.keep_alive) + answer.body)
        return request.keep_alive

    def _misanswer(self, sock: socket.socket, request: HttpRequest, fault: Fault) -> bool:
        """Answer an API call badly; tell whether the connection still lives."""
        if fault.when == "before" and self._stopping.wait(fault.delay_s):
            return False
        request.action_fault = next((each for each in get_args(ActionFault) if each == fault.action), None)
        good, is_processed = self._process(request) if fault.is_processed else (None, False)
        if fault.when != "before":
            self._stopping.wait(fault.delay_s)
        now = self._clock()
        answer = spoil(fault, request, good, now)
        self._log(request, answer, is_processed=is_processed, fault=fault.action)
        return perform(fault, sock, answer, now, self._stopping)

    def _process(self, request: HttpRequest) -> tuple[HttpAnswer, bool]:
        """Return the good answer of an API call, and whether the call took effect."""
        answer = self._endpoints.answer(request)
        if self.options.latency_s:
            self._stopping.wait(self.options.latency_s)
        return answer, request.method != "GET" and answer.status < 300

    def _log(
        self, request: HttpRequest, answer: HttpAnswer | None, *, is_processed: bool, fault: str | None = None
    ) -> None:
        now = self._clock()
        status = answer.status if answer else None
        call = AnsweredCall(request.method, request.path, status, fault, is_processed, now)
        self.call_log.add_answered(call)
        if answer and answer.status >= 400 and answer.status != 429:
            details = f"fault: {fault}" if fault else answer.error_text()
            refusal = Refusal(f"{request.method} {request.path}", answer.status, details, now)
            self.call_log.add_refusal(refusal)


def _read_request(sock: socket.socket, reader: BufferedReader) -> HttpRequest | None:
    """Read the next request; None when the client has gone or was idle for too long.

    Raises:
        ApiRefusal: it cannot be read as a request.
    """
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = reader.readline(_MAX_HEAD_BYTES)
        if not line:
            return None
        head += line
        if len(head) > _MAX_HEAD_BYTES:
            raise framework_error(431, "Request Header Fields Too Large")
    request = _parse_head(head.decode("latin-1").strip("\r\n"))
    if "transfer-encoding" in request.headers:
        raise framework_error(411, "Length Required")
    length_text = request.headers.get("content-length", "0")
    if not _LENGTH.fullmatch(length_text):
        raise framework_error(400, "Bad Request")
    length = int(length_text)
    waits = request.headers.get("expect", "").lower() == "100-continue"
    if length > _MAX_BODY_BYTES:
        # The refused body is read, so that the client is not reset before it can read the answer.
        left = 0 if waits else min(length, _MAX_DRAINED_BYTES)
        while left > 0 and (more := reader.read1(min(left, _READ_BYTES))):
            left -= len(more)
        raise framework_error(413, f"Payload content length greater than maximum allowed: {_MAX_BODY_BYTES}")
    if length and waits:
        sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.body = reader.read(length) or b""
    return request if len(request.body) == length else None


def _parse_head(head: str) -> HttpRequest:
    start, *lines = head.split("\r\n")
    try:
        method, target, version = start.split(" ")
    except ValueError:
        raise framework_error(400, "Bad Request") from None
    if not version.startswith("HTTP/1."):
        raise framework_error(505, "HTTP Version Not Supported")
    fields = [line.partition(":") for line in lines]
    if not all(colon for _, colon, _ in fields):
        raise framework_error(400, "Bad Request")
    headers = {name.lower(): value.strip() for name, _, value in fields}
    path, _, query = target.partition("?")
    wish = headers.get("connection", "").lower()
    keep_alive = wish != "close" if version == "HTTP/1.1" else wish == "keep-alive"
    return HttpRequest(method, path, query, headers, keep_alive=keep_alive)
