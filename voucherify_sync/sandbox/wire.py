"""HTTP/1.1 on a socket: requests are read from it, answers written to it. It knows no route and no rule."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
from email.utils import formatdate
from http import HTTPStatus
from urllib.parse import parse_qs, unquote

import msgspec
from msgspec import Struct

MAX_BODY = 10_485_760
_MAX_HEAD = 65_536
_MAX_DRAINED = 8 * MAX_BODY
_CHUNK = 262_144
_LENGTH = re.compile(r"\d{1,18}", re.ASCII)
JSON_TYPE = "application/json; charset=utf-8"


class HttpRequest(Struct, frozen=True):
    """One request as it came.

    Attributes:
        path: without the query, still percent-encoded.
        headers: names in lower case; of a repeated one the last.
        keep_alive: the client wants to go on with this connection.
    """

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes = b""
    keep_alive: bool = True

    @property
    def segments(self) -> list[str]:
        """The path, split at its slashes and then percent-decoded once."""
        return [unquote(part) for part in self.path.strip("/").split("/")]

    @property
    def parameters(self) -> dict[str, str]:
        """The query's parameters; of a repeated one the last."""
        return {name: values[-1] for name, values in parse_qs(self.query, keep_blank_values=True).items()}


class Answer(Struct, frozen=True):
    """One answer to send."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = JSON_TYPE

    def head(self, now: float, *, close: bool = False) -> bytes:
        """Encode status line and headers, with the blank line after them."""
        lines = [
            _STATUS_LINES.get(self.status) or f"HTTP/1.1 {self.status} ",
            f"Content-Type: {self.content_type}",
            f"Content-Length: {len(self.body)}",
            f"Date: {_date(int(now))}",
            *(f"{name}: {value}" for name, value in self.headers),
            "Connection: close\r\n\r\n" if close else "Connection: keep-alive\r\n\r\n",
        ]
        return "\r\n".join(lines).encode("latin-1", "replace")


class BadRequest(Exception):
    """What came is not a request that can be read; the connection ends after the answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Connection:
    """One client's connection. Used by one thread; only `abort` may be called from another."""

    def __init__(self, sock: socket.socket, idle_s: float) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # The kernel's own timeout costs no extra system call a read, unlike settimeout().
        seconds, rest = divmod(idle_s, 1)
        sock.setsockopt(
            socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", int(seconds), int(rest * 1e6))
        )
        self._sock = sock
        self._buffer = b""

    def read(self) -> HttpRequest | None:
        """Read the next request; None when the client has gone or was idle for too long.

        Raises:
            BadRequest: it cannot be read as a request.
        """
        end = self._fill_head()
        if end < 0:
            return None
        head, self._buffer = self._buffer[:end], self._buffer[end + 4 :]
        request = _parse_head(head)
        length = _body_length(request.headers)
        if not length:
            return request
        waits = request.headers.get("expect", "").lower() == "100-continue"
        if length > MAX_BODY:
            self._drain(0 if waits else length)
            raise BadRequest(413, f"Payload content length greater than maximum allowed: {MAX_BODY}")
        if waits:
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = self._take(length)
        return None if body is None else msgspec.structs.replace(request, body=body)

    def send(self, data: bytes) -> None:
        """Send all of it."""
        self._sock.sendall(data)

    def until_closed(self, timeout_s: float) -> bool:
        """Wait for the client to go away; tell whether it did. What it sends meanwhile is thrown away."""
        self._sock.settimeout(timeout_s)
        try:
            return not self._sock.recv(_CHUNK)
        except TimeoutError:
            return False
        except OSError:
            return True
        finally:
            self._sock.settimeout(None)

    def close(self) -> None:
        """Close in order; what was sent still arrives."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)
        self._sock.close()

    def reset(self) -> None:
        """Close with a TCP reset."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()

    def abort(self) -> None:
        """Wake the thread that reads or writes: both directions end now."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def _fill_head(self) -> int:
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > _MAX_HEAD:
                raise BadRequest(431, "Request Header Fields Too Large")
            more = self._receive()
            if not more:
                return -1
            self._buffer += more
        return end

    def _take(self, length: int) -> bytes | None:
        if len(self._buffer) < length:
            parts, have = [self._buffer], len(self._buffer)
            while have < length:
                more = self._receive()
                if not more:
                    return None
                parts.append(more)
                have += len(more)
            self._buffer = b"".join(parts)
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        return body

    def _drain(self, length: int) -> None:
        """Read a body that is refused, so that the client is not reset before it can read the answer."""
        left = min(length, _MAX_DRAINED) - len(self._buffer)
        while left > 0 and (more := self._receive()):
            left -= len(more)

    def _receive(self) -> bytes:
        try:
            return self._sock.recv(_CHUNK)
        except OSError:
            return b""


def _parse_head(head: bytes) -> HttpRequest:
    lines = head.decode("latin-1").lstrip("\r\n").split("\r\n")
    try:
        method, target, version = lines[0].split(" ")
    except ValueError:
        raise BadRequest(400, "Bad Request") from None
    if not version.startswith("HTTP/1."):
        raise BadRequest(505, "HTTP Version Not Supported")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon:
            raise BadRequest(400, "Bad Request")
        headers[name.lower()] = value.strip()
    path, _, query = target.partition("?")
    wish = headers.get("connection", "").lower()
    keep_alive = wish != "close" if version == "HTTP/1.1" else wish == "keep-alive"
    return HttpRequest(method, path, query, headers, b"", keep_alive)


def _body_length(headers: dict[str, str]) -> int:
    if "transfer-encoding" in headers:
        raise BadRequest(411, "Length Required")
    text = headers.get("content-length", "0")
    if not _LENGTH.fullmatch(text):
        raise BadRequest(400, "Bad Request")
    return int(text)


_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}" for status in HTTPStatus}

_last_date = (0, "")


def _date(second: int) -> str:
    """Format a Date header; the last one is kept, as most answers share their second with the one before."""
    global _last_date  # noqa: PLW0603
    known, text = _last_date
    if known != second:
        text = formatdate(second, usegmt=True)
        _last_date = (second, text)
    return text
