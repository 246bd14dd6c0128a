"""Connections that keep the deadline of the call they serve, and prove how long its request has not been sent."""

from __future__ import annotations

import http.client
import threading
import time
from functools import partial
from math import inf
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError

from voucherify_sync.delivery.deadline import Deadlines, Watch

_IDLE_S = 30.0


class _Call(threading.local):
    """The call that this thread makes."""

    deadlines: Deadlines
    watch: Watch | None = None


current = _Call()


class _Response(http.client.HTTPResponse):
    """An answer that passes over every interim one, and gives its connection up where the server said more than it."""

    def __init__(self, connection: _Watched, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._connection = connection

    def _read_status(self) -> tuple[str, int, str]:
        # The standard library does so for 100 only and takes a 103 for the answer, so that the real one is read as
        # the answer to the next request. The deadline of the call ends a server that never comes to it.
        while True:
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if not 100 <= status < 200:
                return version, status, reason
            http.client.parse_headers(self.fp)

    def begin(self) -> None:
        super().begin()
        if self.msg.defects:  # where headers cannot be read, the end of the body cannot be trusted either
            self.will_close = True

    def _close_conn(self) -> None:
        if not self.will_close and self._has_more():
            self._connection.give_up()
        super()._close_conn()  # type: ignore[misc]

    def _has_more(self) -> bool:
        """Whether bytes came after the answer: those that are buffered would be lost without a trace.

        The socket is left not blocking; the next request sets that right, and there is no call in between.
        """
        sock = self._connection.sock
        if sock is None:
            return False
        try:
            sock.settimeout(0)
            return bool(self.fp.peek(1))
        except (OSError, ValueError):  # nothing is there, or it was shut down
            return False


class _Watched:
    """A connection that tells its socket to the call it serves, and is not used again after a long idle time.

    A server closes idle connections; a request sent in that very moment is lost, and nobody knows whether it was read.
    """

    sock: Any
    response_class: Any
    _last_used = 0.0
    _held: list[bytes] | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.response_class = partial(_Response, self)

    def give_up(self) -> None:
        """See to it that no other call uses the connection."""
        self._last_used = -inf

    def _new_conn(self) -> Any:
        if current.watch is not None:
            current.watch.unsent = True
        sock = super()._new_conn()  # type: ignore[misc]
        if current.watch is not None:
            current.deadlines.hold(current.watch, sock)
        return sock

    def request(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is None:
            self.connect()  # type: ignore[attr-defined]
        self._last_used = time.monotonic()
        if current.watch is not None:
            if not current.watch.holds:
                current.deadlines.hold(current.watch, self.sock)
            if current.watch.expired:
                raise ConnectTimeoutError(self, "the connection took the whole time of the call")
            current.watch.unsent = False
        held: list[bytes] = []
        self._held = held
        try:
            super().request(*args, **kwargs)  # type: ignore[misc]
        finally:
            self._held = None
        self.sock.settimeout(None)  # it was for connecting; now the deadline counts
        self.send(b"".join(held))

    def send(self, data: Any) -> None:
        """Hold the pieces of a request until it is whole: each one would be a packet, and wake the server."""
        if self._held is None:
            super().send(data)  # type: ignore[misc]
        else:
            self._held.append(data)

    @property
    def is_connected(self) -> bool:
        fresh = time.monotonic() - self._last_used < _IDLE_S
        return fresh and bool(super().is_connected)  # type: ignore[misc]


class _HTTPConnection(_Watched, HTTPConnection):
    pass


class _HTTPSConnection(_Watched, HTTPSConnection):
    pass


class _HTTPPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _HTTPConnection


class _HTTPSPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection


POOLS: dict[str, Any] = {"http": _HTTPPool, "https": _HTTPSPool}
