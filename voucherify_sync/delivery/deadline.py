"""Keeps a total time limit on calls, by shutting their sockets down: the timeout of a socket restarts with every byte.

When the run stops, all calls have the same short time left. One thread for all calls; it never touches a socket that
is not in a call.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time

from voucherify_sync.stop import Stop

DRAIN_S = 6.0
"""So long a stop waits for the calls in flight: with what follows, a run ends within 8 s of the first signal."""

_SLICE_S = 0.25
"""The longest sleep without asking whether the run stops, while a call is in flight."""


class Watch:
    """One call under a deadline.

    Attributes:
        due: monotonic seconds.
        expired: the call was cut.
        unsent: proved that no byte of the request was handed to a socket yet.
    """

    __slots__ = ("_fd", "due", "expired", "unsent")

    def __init__(self, due: float) -> None:
        self.due = due
        self.expired = False
        self.unsent = False
        self._fd: int | None = None

    @property
    def holds(self) -> bool:
        """Whether the call's socket is known."""
        return self._fd is not None

    def hold(self, sock: socket.socket) -> None:
        """Remember the socket of the call; a descriptor of our own outlives whatever TLS or HTTP does to the object."""
        self._fd = os.dup(sock.fileno())

    def cut(self) -> None:
        """Shut the socket down, so that whoever waits for it wakes up."""
        self.expired = True
        if self._fd is not None:
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(self._fd)) as sock:
                sock.shutdown(socket.SHUT_RDWR)

    def release(self) -> None:
        """Forget the socket."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


class Deadlines:
    """Cuts calls that last longer than the one limit that holds for all of them.

    Args:
        limit_s: seconds from the start of a call.
        stop: cuts the calls in flight DRAIN_S after a stop was requested, if that is earlier.
    """

    def __init__(self, limit_s: float, stop: Stop | None = None) -> None:
        self._limit_s = limit_s
        self._stop = stop
        self._last_moment: float | None = None  # for all calls, once the run stops
        self._changed = threading.Condition()
        self._live: dict[Watch, None] = {}  # in the order of their ends, as the limit is the same for all
        self._thread: threading.Thread | None = None
        self._idle = False
        self._closed = False

    def start(self) -> Watch:
        """Begin a call. The first one starts the thread."""
        watch = Watch(time.monotonic() + self._limit_s)
        with self._changed:
            self._live[watch] = None
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="deadlines", daemon=True)
                self._thread.start()
            elif self._idle:
                self._changed.notify()
        return watch

    def hold(self, watch: Watch, sock: socket.socket) -> None:
        """Tell the socket of a call; a call that is late already is cut at once."""
        with self._changed:
            watch.release()
            watch.hold(sock)
            if watch.expired:
                watch.cut()

    def finish(self, watch: Watch) -> None:
        """End a call."""
        with self._changed:
            self._live.pop(watch, None)
            watch.release()

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        with self._changed:
            while not self._closed:
                oldest = next(iter(self._live), None)
                if oldest is None:
                    self._idle = True
                    self._changed.wait()
                    self._idle = False
                    continue
                left_s = self._due(oldest) - time.monotonic()
                if left_s <= 0:
                    del self._live[oldest]
                    oldest.cut()
                else:
                    self._changed.wait(min(left_s, _SLICE_S))

    def _due(self, watch: Watch) -> float:
        if self._last_moment is None and self._stop is not None and self._stop.requested:
            self._last_moment = time.monotonic() + DRAIN_S
        return watch.due if self._last_moment is None else min(watch.due, self._last_moment)
