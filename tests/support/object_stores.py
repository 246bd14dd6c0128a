"""A stand-in for S3, and a server that gives one object with the faults of a network."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from support.servers import serve
from voucherify_sync.sources.discover import Source
from voucherify_sync.sources.object_store import RemoteObject

ACCESS_KEY, SECRET_KEY = "CANARY-access-41d7", "CANARY-secret-9c2e"


def variables(endpoint: str) -> dict[str, str]:
    """Return the variables of a program that reaches a stand-in."""
    return {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": endpoint,
    }


class Bucket:
    """A bucket of a stand-in for S3.

    Attributes:
        name: of the bucket.
        endpoint: URL of the stand-in.
        client: of boto3.
    """

    def __init__(self, name: str, endpoint: str) -> None:
        import boto3

        self.name = name
        self.endpoint = endpoint
        keys = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET_KEY}
        self.client: Any = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", **keys)
        self.client.create_bucket(Bucket=name)

    def put(self, objects: Mapping[str, bytes], **more: str) -> None:
        """Write objects by their keys."""
        for key, body in objects.items():
            self.client.put_object(Bucket=self.name, Key=key, Body=body, **more)


@contextlib.contextmanager
def stand_in() -> Iterator[str]:
    """Run a stand-in for S3 in this process; yield its URL."""
    pytest.importorskip("obstore", reason="needs obstore")
    pytest.importorskip("boto3", reason="needs boto3")
    server = pytest.importorskip("moto.server", reason="needs moto").ThreadedMotoServer(
        "127.0.0.1", 0, verbose=False
    )
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


class ObjectServer:
    """Answers for one object, each time as a test says.

    Attributes:
        url: of the server.
        asked: the head of each request.
    """

    def __init__(self, data: bytes, e_tag: str | None, faults: Mapping[int, str | int]) -> None:
        self.url = ""
        self.asked: list[str] = []
        self._data = data
        self._e_tag = e_tag
        self._faults = faults

    def answer(self, connection: socket.socket) -> None:
        """Answer one request: with a status in place of the object, or cut after some bytes, where a fault says so."""
        asked = b""
        while not asked.endswith(b"\r\n\r\n"):
            piece = connection.recv(65_536)
            if not piece:
                return
            asked += piece
        head = asked.decode()
        self.asked.append(head)
        fault = self._faults.get(len(self.asked), self._faults.get(0))
        if isinstance(fault, str):
            status, _, body = fault.partition("\n")
            connection.sendall(self._head(status, len(body)) + body.encode())
            return
        span = re.search(r"(?i)range: bytes=(\d+)-", head)
        begin = int(span[1]) if span else 0
        size = len(self._data)
        status = f"206 Partial\r\nContent-Range: bytes {begin}-{size - 1}/{size}" if span else "200 OK"
        connection.sendall(self._head(status, size - begin) + self._data[begin:][:fault])

    def _head(self, status: str, length: int) -> bytes:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {length}", "Connection: close"]
        lines += [f"ETag: {self._e_tag}"] if self._e_tag else []
        lines += ["Last-Modified: Tue, 01 Dec 2020 00:00:00 GMT", "", ""]
        return "\r\n".join(lines).encode()


@contextlib.contextmanager
def object_server(
    data: bytes, faults: Mapping[int, str | int] | None = None, *, e_tag: str | None = '"one"'
) -> Iterator[ObjectServer]:
    """Serve one object at every path.

    Args:
        data: of the object.
        faults: number of the request, from 1, or 0 for all others -> the status with what stands below it, or the
            number of bytes after which the connection breaks.
        e_tag: of the object.
    """
    pytest.importorskip("obstore", reason="needs obstore")
    server = ObjectServer(data, e_tag, faults or {})
    with serve(server.answer) as address:
        server.url = f"http://{address}"
        yield server


def remote(url: str, size: int | None, e_tag: str | None = None) -> Source:
    """Return an object as a source."""
    return Source(url.partition("?")[0], None, size, remote=RemoteObject(url, size, e_tag))


Environment = Callable[[str], None]
"""Makes a stand-in that of the tests: gets its URL."""
