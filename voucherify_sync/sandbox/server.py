"""The server: sockets and threads around the API, the faults and the page. Start it, use its url, stop it."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from voucherify_sync.errors import UsageProblem
from voucherify_sync.sandbox.api import Api
from voucherify_sync.sandbox.faults import Action, Fault, FaultScript
from voucherify_sync.sandbox.limits import Limit, Limits
from voucherify_sync.sandbox.misbehaviour import Misbehaviour
from voucherify_sync.sandbox.options import SandboxOptions
from voucherify_sync.sandbox.oracle import Oracle
from voucherify_sync.sandbox.page import Page
from voucherify_sync.sandbox.refusals import framework_error
from voucherify_sync.sandbox.state import State
from voucherify_sync.sandbox.wire import Answer, BadRequest, Connection, HttpRequest

_BACKLOG = 512
_STOP_S = 2.0


class Sandbox:
    """A local stand-in for the Voucherify API, on threads of its own.

    Args:
        options: how it behaves.
        faults: when it misbehaves: Faults in order, or a script that others can look into.
        clock: epoch seconds; `options.clock_skew_s` is added.

    Attributes:
        state: the customers and events that it holds.
        oracle: what it processed and what it answered.
    """

    def __init__(
        self,
        options: SandboxOptions | None = None,
        faults: FaultScript | Iterable[Fault] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.options = options or SandboxOptions()
        self._clock = _skewed(clock, self.options.clock_skew_s)
        self.oracle = Oracle(self.options.keep)
        self.state = State(self.options, self.oracle, self._clock)
        limits = Limits(
            _limit(self.options.limit),
            _limit(self.options.bulk_limit),
            self.options.cycle_limit,
            self.options.window,
        )
        self._api = Api(self.options, self.state, limits, self._clock)
        self._page = Page(self.options, self.state, self.oracle)
        self._faults = faults if isinstance(faults, FaultScript) else FaultScript(faults)
        self._stopping = threading.Event()
        self._listener: socket.socket | None = None
        self._threads: dict[Connection, threading.Thread] = {}
        self._lock = threading.Lock()
        self.port = self.options.port

    @property
    def url(self) -> str:
        """Base URL, without a slash at its end."""
        host = f"[{self.options.host}]" if ":" in self.options.host else self.options.host
        return f"http://{host}:{self.port}"

    def counts(self) -> tuple[int, int, int]:
        """Return how many customers and events it holds and how many API calls it met."""
        return (*self.state.counts(), self.oracle.calls)

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
        threading.Thread(target=self._accept, args=(self._listener,), name="sandbox", daemon=True).start()
        return self

    def stop(self) -> None:
        """Close all connections, cutting off what is being answered. Nothing changes after. May be repeated."""
        self._stopping.set()
        if self._listener is not None:
            # Closing alone would leave a thread inside accept() with the port still taken.
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        with self._lock:
            serving = dict(self._threads)
        for connection in serving:
            connection.abort()
        for thread in serving.values():
            thread.join(_STOP_S)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _accept(self, listener: socket.socket) -> None:
        while not self._stopping.is_set():
            try:
                sock, _ = listener.accept()
                connection = Connection(sock, self.options.keep_alive_s)
            except OSError:
                # The client has gone, or there are no descriptors left, or the server stops: the loop tells.
                self._stopping.wait(0.01)
                continue
            thread = threading.Thread(
                target=self._serve, args=(connection,), name="sandbox call", daemon=True
            )
            with self._lock:
                self._threads[connection] = thread
                thread.start()

    def _serve(self, connection: Connection) -> None:
        """Answer one client's calls, one after the other."""
        try:
            with contextlib.suppress(OSError):
                while not self._stopping.is_set() and self._serve_one(connection):
                    pass
        finally:
            with self._lock:
                self._threads.pop(connection, None)
            connection.close()

    def _serve_one(self, connection: Connection) -> bool:
        """Answer one call; tell whether the connection may serve another."""
        try:
            request = connection.read()
        except BadRequest as bad:
            answer = framework_error(bad.status, bad.message).answer()
            connection.send(answer.head(self._clock(), close=True) + answer.body)
            return False
        if request is None:
            return False
        if not request.path.startswith("/v1/"):
            return self._send(connection, request, self._page.answer(request))
        fault = self._faults.strike(request.method, request.path)
        if fault is not None:
            return self._misbehave(connection, request, fault)
        answer = self._process(request)
        self._record(request, answer.status, processed=_took_effect(request, answer))
        return self._send(connection, request, answer)

    def _process(self, request: HttpRequest, *, dooms: bool = False) -> Answer:
        answer = self._api.answer(request, dooms=dooms)
        if self.options.latency_s:
            self._stopping.wait(self.options.latency_s)
        return answer

    def _misbehave(self, connection: Connection, request: HttpRequest, fault: Fault) -> bool:
        pause_s = _pause_s(fault)
        if fault.when == "before" and self._stopping.wait(pause_s):
            return False
        answer = self._process(request, dooms=fault.action is Action.FAIL_ACTION) if fault.processes else None
        if fault.when != "before":
            self._stopping.wait(pause_s)
        processed = answer is not None and _took_effect(request, answer)
        misbehaviour = Misbehaviour(fault, connection, request, answer, self._clock(), self._stopping)
        self._record(request, misbehaviour.status, processed=processed, fault=fault.action)
        return misbehaviour.perform() and request.keep_alive

    def _send(self, connection: Connection, request: HttpRequest, answer: Answer) -> bool:
        connection.send(answer.head(self._clock(), close=not request.keep_alive) + answer.body)
        return request.keep_alive

    def _record(
        self, request: HttpRequest, status: int | None, *, processed: bool, fault: str | None = None
    ) -> None:
        self.oracle.record_answered(
            request.method, request.path, status, self._clock(), processed=processed, fault=fault
        )


def _took_effect(request: HttpRequest, answer: Answer) -> bool:
    return request.method != "GET" and answer.status < 300


def _pause_s(fault: Fault) -> float:
    if fault.action is not Action.DELAY:
        return 0.0
    return 1.0 if fault.seconds is None else fault.seconds


def _skewed(clock: Callable[[], float], skew_s: float) -> Callable[[], float]:
    def ahead() -> float:
        return clock() + skew_s

    return ahead if skew_s else clock


def _limit(limit: str | Limit | None) -> Limit | None:
    return Limit.parse(limit) if isinstance(limit, str) else limit
