"""Connections that keep the deadline of the call they serve, and prove how long its request has not been sent."""

from __future__ import annotations

import threading
import time
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


class _Watched:
    """A connection that tells its socket to the call it serves, and is not used again after a long idle time.

    A server closes idle connections; a request sent in that very moment is lost, and nobody knows whether it was read.
    """

    _last_used = 0.0
    _held: list[bytes] | None = None

    def _new_conn(self) -> Any:
        if current.watch is not None:
            current.watch.unsent = True
        sock = super()._new_conn()  # type: ignore[misc]
        if current.watch is not None:
            current.deadlines.hold(current.watch, sock)
        return sock

    def request(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is None:  # type: ignore[attr-defined]
            self.connect()  # type: ignore[attr-defined]
        self._last_used = time.monotonic()
        if current.watch is not None:
            if not current.watch.holds:
                current.deadlines.hold(current.watch, self.sock)  # type: ignore[attr-defined]
            if current.watch.expired:
                raise ConnectTimeoutError(self, "the connection took the whole time of the call")
            current.watch.unsent = False
        held: list[bytes] = []
        self._held = held
        try:
            super().request(*args, **kwargs)  # type: ignore[misc]
        finally:
            self._held = None
        self.sock.settimeout(None)  # type: ignore[attr-defined]  # it was for connecting; now the deadline counts
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
