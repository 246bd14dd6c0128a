"""A server that answers every POST with success, as fast as Python allows, so that it is not what is measured.

    python benchmarks/responder.py [LATENCY_S]

One thread for all connections; it prints its address and runs until it is ended.
"""

from __future__ import annotations

import re
import selectors
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate

_HEAD_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: %d\r\nDate: %b\r\n"
    b"X-Rate-Limit-Limit: 1000000\r\nX-Rate-Limit-Remaining: 999999\r\nX-Rate-Limit-Retry: 0\r\n\r\n%b"
)


@contextmanager
def responder(latency_s: float = 0.0) -> Iterator[str]:
    """Run a responder in a process of its own; yield its address."""
    command = [sys.executable, __file__, str(latency_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def answer_to(request: bytes) -> bytes:
    """Return the success that a request hopes for."""
    kind = b"event" if request.startswith(b"POST /v1/events") else b"customer"
    body = b'{"object":"%b","id":"x"}' % kind
    return _ANSWER % (len(body), formatdate(usegmt=True).encode(), body)


def is_whole(request: bytes) -> bool:
    """Tell whether head and body have come."""
    end = request.find(_HEAD_END)
    if end < 0:
        return False
    length = _LENGTH.search(request, 0, end)
    return len(request) >= end + len(_HEAD_END) + (int(length[1]) if length else 0)


def serve(latency_s: float) -> None:
    """Answer each request so long after it came."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    selector = selectors.SelectSelector()  # epoll waits in whole milliseconds
    selector.register(listener, selectors.EVENT_READ)
    received: dict[socket.socket, bytes] = {}
    answers: deque[tuple[float, socket.socket, bytes]] = deque()
    while True:
        wait_s = max(answers[0][0] - time.monotonic(), 0.0) if answers else None
        for key, _ in selector.select(wait_s):
            sock = key.fileobj
            assert isinstance(sock, socket.socket)
            if sock is listener:
                accepted, _ = listener.accept()
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                received[accepted] = b""
                selector.register(accepted, selectors.EVENT_READ)
                continue
            data = sock.recv(1 << 18)
            if not data:
                selector.unregister(sock)
                sock.close()
                continue
            received[sock] += data
            if is_whole(received[sock]):
                answers.append((time.monotonic() + latency_s, sock, answer_to(received[sock])))
                received[sock] = b""
        while answers and answers[0][0] <= time.monotonic():
            _, sock, answer = answers.popleft()
            sock.sendall(answer)


if __name__ == "__main__":
    serve(float(sys.argv[1]) if len(sys.argv) > 1 else 0.0)
