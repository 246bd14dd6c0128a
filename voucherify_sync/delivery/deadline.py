"""Keeps a total time limit on calls, by shutting their sockets down: timeouts of sockets start anew with every byte.

One thread for all calls, asleep unless a call is about to be late. It never touches a socket that is not in a call.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time


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
    """Cuts calls that last longer than the one limit that holds for all of them."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
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
                left_s = oldest.due - time.monotonic() if oldest else None
                if oldest and left_s is not None and left_s <= 0:
                    del self._live[oldest]
                    oldest.cut()
                    continue
                self._idle = oldest is None
                self._changed.wait(left_s)
