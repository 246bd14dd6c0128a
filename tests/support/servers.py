"""Servers on this machine that answer as a test wants, and ports on which nobody listens."""

from __future__ import annotations

import contextlib
import functools
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from support.certificates import make_certificate


@contextlib.contextmanager
def serve(handle: Callable[[socket.socket], None]) -> Iterator[str]:
    """Let a function serve each connection, one after the other; yield host and port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, contextlib.suppress(OSError):
                    handle(connection)

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


@contextlib.contextmanager
def raw_server(answer: bytes, pause_s: float = 0.0, *, head: bytes = b"") -> Iterator[str]:
    """Answer every connection with a head at once, then with these bytes, `pause_s` after each of them, and close.

    Yields the URL.
    """
    done = threading.Event()

    def handle(connection: socket.socket) -> None:
        asked = connection.recv(65_536)
        while asked.startswith(b"POST") and not asked.endswith(b"}"):
            asked += connection.recv(65_536)
        connection.sendall(head)
        for byte in [answer] if not pause_s else [answer[i : i + 1] for i in range(len(answer))]:
            connection.sendall(byte)
            if done.wait(pause_s):
                break

    with serve(handle) as address:
        try:
            yield f"http://{address}"
        finally:
            done.set()


@contextlib.contextmanager
def tls_server(folder: Path, names: str, years: tuple[int, int]) -> Iterator[tuple[str, Path]]:
    """Take connections with a certificate of one's own; yield the URL, and the certificate's file."""
    certificate = make_certificate(folder, names, years)
    context = certificate.server_context()

    def handle(connection: socket.socket) -> None:
        connection.settimeout(20)
        with context.wrap_socket(connection, server_side=True) as secure:
            secure.recv(65_536)
            secure.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n" + b'{"object":"list"}')

    with serve(handle) as address:
        yield f"https://{address}", certificate.file


@functools.cache
def _held_port() -> socket.socket:
    """Return a socket that is bound and never listens: the system refuses each connection to its port."""
    held = socket.socket()
    held.bind(("127.0.0.1", 0))
    return held


def unused_port() -> int:
    """Return a port on which nobody listens, and nobody else can until these tests end.

    A port that was only free a moment ago becomes that of a sandbox of another process of the tests, which then
    gets the calls.
    """
    return int(_held_port().getsockname()[1])
