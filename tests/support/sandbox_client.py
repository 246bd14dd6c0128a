"""A small client for tests of the sandbox: JSON over http.client, or bytes over a socket."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from typing import Any, NamedTuple

from voucherify_sync.sandbox import Sandbox

KEYS = {"X-App-Id": "app", "X-App-Token": "token"}
CUSTOMERS, EVENTS, BULK = "/v1/customers", "/v1/events", "/v1/customers/bulk/async"
IMPORT = "/v1/orders/import"


class Reply(NamedTuple):
    """One answer."""

    status: int
    headers: http.client.HTTPMessage
    text: bytes

    @property
    def body(self) -> Any:
        """The answer's JSON."""
        return json.loads(self.text)

    @property
    def error(self) -> tuple[int, str | None, str | None]:
        """Status, key and details of an error."""
        return self.status, self.body.get("key"), self.body.get("details")


def call(
    sandbox: Sandbox, method: str, path: str, body: Any = None, headers: Mapping[str, str] = KEYS
) -> Reply:
    """Make one call on a connection of its own; a body is sent as JSON, bytes as they are."""
    connection = http.client.HTTPConnection("127.0.0.1", sandbox.port, timeout=60)
    data = body if body is None or isinstance(body, bytes) else json.dumps(body)
    typed = {"Content-Type": "application/json"} if data is not None else {}
    try:
        connection.request(method, path, data, {**typed, **headers})
        answer = connection.getresponse()
        return Reply(answer.status, answer.headers, answer.read())
    finally:
        connection.close()


def exchange(sandbox: Sandbox, data: bytes, timeout_s: float = 60) -> bytes:
    """Send bytes and return all that comes until the server closes."""
    with socket.create_connection(("127.0.0.1", sandbox.port), timeout=timeout_s) as sock:
        sock.sendall(data)
        received = b""
        while more := sock.recv(65536):
            received += more
        return received


def raw(method: str, path: str, body: bytes = b"", *more: str) -> bytes:
    """Encode a request with keys."""
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "X-App-Id: app",
        "X-App-Token: token",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *more,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def customer(source_id: str = "u1", **fields: Any) -> dict[str, Any]:
    """Return the fields of a customer."""
    return {"source_id": source_id, **fields}


def event(name: str = "Order Completed", source_id: str = "u1", **parts: Any) -> dict[str, Any]:
    """Return the body of a custom event."""
    return {"event": name, "customer": {"source_id": source_id}, **parts}


def order(source_id: Any = "o1", **fields: Any) -> dict[str, Any]:
    """Return an order of an import."""
    return {"source_id": source_id, "customer": {"source_id": "u1"}, **fields}
