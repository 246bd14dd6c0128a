"""Makes one HTTP call to Voucherify within a deadline, and tells whether it left this machine. Only it uses requests.

It never follows a redirect, never repeats a call, never reads .netrc, and sends the token to the base URL only.

Two things are proved here that no library tells. A call is over within its deadline: the timeout of a socket restarts
with every byte, so a thread shuts sockets down that are late. And NotSent means that no byte of the request was handed
to a socket: connections note the moment before the first one. No text of a library is shown but OpenSSL's own reason,
and of a proxy its host alone.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from functools import partial
from importlib import metadata
from math import inf
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import requests
import urllib3
from requests.adapters import BaseAdapter, HTTPAdapter
from requests.structures import CaseInsensitiveDict
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NameResolutionError,
    NewConnectionError,
    ProxyError,
    SSLError,
)
from urllib3.exceptions import TimeoutError as Urllib3Timeout

from voucherify_sync.errors import UsageProblem
from voucherify_sync.settings.types import Credentials
from voucherify_sync.stop import Stop
from voucherify_sync.voucherify.answers import NoAnswer, NotSent, Reply
from voucherify_sync.voucherify.retry_policy import DRAIN_S

_TUNNEL_REFUSED = re.compile(r"Tunnel connection failed: (\d{3})")
_TUNNEL_REASONS = {"403": ", it forbids the connection", "407": ", it asks for a user and a password"}

_SLICE_S = 0.25
"""The longest sleep without asking whether the run stops, while a call is in flight."""
_IDLE_S = 30.0
"""A connection that was idle for longer is not used again: the server may be closing it."""
CA_VARIABLES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
"""The first that is set and not empty counts: what is said to Python's HTTP clients, to curl, and to all of OpenSSL."""
_CHUNK = 1 << 16
_HEADER_VALUE = re.compile(r"[!-~]+")
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_NO_ANSWER = {
    "timeout": "{host} did not answer in time",
    "reset": "the connection to {host} ended before an answer came",
    "cut": "the answer of {host} ended too early, or could not be decoded",
    "too_large": "the answer of {host} was too large to be read",
}


def not_sent(error: Exception, host: str, proxy: str) -> NotSent:
    """Return why no connection could be had.

    Args:
        error: what the transport raised.
        host: of the API.
        proxy: host of the proxy; empty where there is none.
    """
    causes = tuple(_causes(error))
    has_proxy_error = any(isinstance(cause, ProxyError) for cause in causes)
    has_tls_error = any(isinstance(cause, SSLError) for cause in causes)
    has_no_name = any(isinstance(cause, NameResolutionError) for cause in causes)
    # urllib3's error for a refused connection is a timeout, too, by descent.
    is_refused = any(isinstance(cause, NewConnectionError) for cause in causes)
    if has_tls_error and not has_proxy_error:
        return NotSent("tls", f"no secure connection to {host} could be made: {_tls_reason(causes)}")
    if proxy:
        said = (_TUNNEL_REFUSED.match(str(cause)) for cause in causes if isinstance(cause, OSError))
        if refusal := next(filter(None, said), None):
            why = f"HTTP {refusal[1]}{_TUNNEL_REASONS.get(refusal[1], '')}"
        elif any(isinstance(cause, ssl.SSLError) for cause in causes):
            why = f"no secure connection to it could be made, {_tls_reason(causes)}"
        elif has_no_name:
            why = "its name cannot be resolved"
        elif is_refused:
            why = "no connection to it could be made"
        else:
            why = "it did not answer in time" if is_timeout(error) else "it ended the connection"
        return NotSent("proxy", f"the proxy {proxy} did not connect us to {host}: {why}")
    if has_no_name:
        return NotSent("dns", f"the name {host} cannot be resolved")
    if is_timeout(error) and not is_refused:
        return NotSent("connect_timeout", f"{host} did not take the connection in time")
    return NotSent("refused", f"no connection to {host} could be made")


def is_timeout(error: Exception) -> bool:
    """Tell whether an error is a timeout, or was made of one."""
    return any(isinstance(cause, (TimeoutError, Urllib3Timeout)) for cause in _causes(error))


def _causes(error: object) -> Iterator[BaseException]:
    """Yield an error and all that was wrapped in it, as requests and urllib3 do it."""
    if isinstance(error, BaseException):
        yield error
        for inner in (getattr(error, "original_error", None), getattr(error, "reason", None), *error.args):
            yield from _causes(inner)


def _tls_reason(causes: tuple[BaseException, ...]) -> str:
    """Return OpenSSL's reason, such as ``certificate has expired``."""
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError) and cause.verify_message:
            message = cause.verify_message.rstrip(".")
            return message if message[1:2].isupper() else message[:1].lower() + message[1:]
        if isinstance(cause, ssl.SSLError) and cause.reason:
            return cause.reason.lower().replace("_", " ")
    return "the handshake failed"


class CallWatch:
    """One call under a deadline.

    Attributes:
        due: monotonic seconds.
        is_cut: the deadline has passed.
        is_unsent: proved that no byte of the request was handed to a socket yet.
    """

    __slots__ = ("_fd", "_lock", "due", "is_cut", "is_unsent")

    def __init__(self, due: float, lock: threading.Condition) -> None:
        self.due = due
        self.is_cut = self.is_unsent = False
        self._lock = lock
        self._fd: int | None = None

    @property
    def has_socket(self) -> bool:
        """Whether the call's socket is known."""
        return self._fd is not None

    def hold(self, sock: socket.socket) -> None:
        """Remember the socket of the call; one of a call that is late already is shut down at once."""
        with self._lock:
            self.release()
            # A descriptor of our own outlives whatever TLS or HTTP does to the object.
            self._fd = os.dup(sock.fileno())
            if self.is_cut:
                self.cut()

    def cut(self) -> None:
        """Shut the socket down, so that a thread that waits for it wakes up. The lock is held."""
        self.is_cut = True
        if self._fd is not None:
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(self._fd)) as sock:
                sock.shutdown(socket.SHUT_RDWR)

    def release(self) -> None:
        """Forget the socket. The lock is held."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


class Deadlines:
    """Cuts calls that last longer than the one limit that holds for all of them, with one thread.

    It never touches a socket that is not in a call.

    Args:
        limit_s: seconds from the start of a call.
        stop: cuts the calls in flight DRAIN_S after a stop was requested, if that is earlier.
    """

    def __init__(self, limit_s: float, stop: Stop | None = None) -> None:
        self._limit_s = limit_s
        self._stop = stop
        self._last_moment = inf  # for all calls, once the run stops
        self._changed = threading.Condition()
        self._watches: dict[
            CallWatch, None
        ] = {}  # in the order of their ends, as the limit is the same for all
        self._thread: threading.Thread | None = None
        self._is_idle = False
        self._is_closed = False

    def start(self) -> CallWatch:
        """Begin a call. The first one starts the thread."""
        watch = CallWatch(time.monotonic() + self._limit_s, self._changed)
        with self._changed:
            self._watches[watch] = None
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="deadlines", daemon=True)
                self._thread.start()
            elif self._is_idle:
                self._changed.notify()
        return watch

    def finish(self, watch: CallWatch) -> None:
        """End a call."""
        with self._changed:
            self._watches.pop(watch, None)
            watch.release()

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        with self._changed:
            while not self._is_closed:
                oldest = next(iter(self._watches), None)
                if oldest is None:
                    self._is_idle = True
                    self._changed.wait()
                    self._is_idle = False
                    continue
                now = time.monotonic()
                if self._last_moment == inf and self._stop is not None and self._stop.requested:
                    self._last_moment = now + DRAIN_S
                left_s = min(oldest.due, self._last_moment) - now
                if left_s <= 0:
                    del self._watches[oldest]
                    oldest.cut()
                else:
                    self._changed.wait(min(left_s, _SLICE_S))


class _Current(threading.local):
    """The call that this thread makes."""

    watch: CallWatch | None = None


current = _Current()


class _Response(http.client.HTTPResponse):
    """An answer that passes over every interim one, and gives its connection up where the server said more than it."""

    def __init__(self, connection: _WatchedConnection, *args: Any, **kwargs: Any) -> None:
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
        sock = self._connection.sock
        if not self.will_close and sock is not None:
            # Bytes after the answer: those that are buffered would be lost without a trace. The socket is left not
            # blocking; the next request sets that right, and there is no call in between.
            with contextlib.suppress(OSError, ValueError):  # nothing is there, or it was shut down
                sock.settimeout(0)
                if self.fp.peek(1):
                    self._connection.give_up()
        super()._close_conn()  # type: ignore[misc]


class _WatchedConnection:
    """A connection that tells its socket to the call it serves, and is not used again after a long idle time.

    A server closes idle connections. A request that is sent in that very moment is lost, and it is not known whether it
    was read.
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
            current.watch.is_unsent = True
        sock = super()._new_conn()  # type: ignore[misc]
        if current.watch is not None:
            current.watch.hold(sock)
        return sock

    def request(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is None:
            self.connect()  # type: ignore[attr-defined]
        self._last_used = time.monotonic()
        if current.watch is not None:
            if not current.watch.has_socket:
                current.watch.hold(self.sock)
            if current.watch.is_cut:
                raise ConnectTimeoutError(self, "the connection took the whole time of the call")
            current.watch.is_unsent = False
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


class _HTTPConnection(_WatchedConnection, HTTPConnection):
    pass


class _HTTPSConnection(_WatchedConnection, HTTPSConnection):
    pass


POOLS: dict[str, Any] = {
    "http": type("_HTTPPool", (urllib3.HTTPConnectionPool,), {"ConnectionCls": _HTTPConnection}),
    "https": type("_HTTPSPool", (urllib3.HTTPSConnectionPool,), {"ConnectionCls": _HTTPSConnection}),
}


def trusted_authorities(environment: Mapping[str, str]) -> str | bool:
    """Return what requests takes as `verify`: the path of a bundle, or True for its own.

    Raises:
        UsageProblem: the variable that counts names nothing that holds certificates; else every call would fail for it.
    """
    for variable in CA_VARIABLES:
        if path := environment.get(variable):
            # Only OpenSSL's own variable is by its definition a file; requests takes a folder of hashed names, too.
            if variable == "SSL_CERT_FILE" or not Path(path).is_dir():
                _check_bundle(variable, path)
            return path
    return True


def _check_bundle(variable: str, path: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cafile=path)
        problem = "" if context.cert_store_stats()["x509"] else "which holds no certificate"
    except FileNotFoundError:
        problem = "which is not there"
    except ssl.SSLError:
        problem = "which is no bundle of certificates in PEM form"
    except (OSError, ValueError) as error:
        problem = f"which cannot be read ({getattr(error, 'strerror', None) or 'no valid path'})"
    if problem:
        raise UsageProblem(
            f"{variable} names {path}, {problem}",
            f"Set {variable} to a file with the certificates of the authorities to trust, or unset it.",
        )


class _Adapter(HTTPAdapter):
    """requests' transport with our connections, for one address; it finds the pool of the address only once."""

    _pool: Any = None

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = POOLS

    def proxy_manager_for(self, proxy: Any, **proxy_kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **proxy_kwargs)
        if not proxy.lower().startswith("socks"):
            manager.pool_classes_by_scheme = POOLS
        return manager

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        if self._pool is None:
            self._pool = super().get_connection_with_tls_context(*args, **kwargs)
        return self._pool

    def build_response(self, req: Any, resp: Any) -> requests.Response:
        response = requests.Response()  # with what `Client` looks at: no cookies, no encoding of a text
        response.status_code, response.headers, response.raw = resp.status, resp.headers, resp
        return response


class Client:
    """Makes calls, from many threads at once, over connections that are kept alive.

    Args:
        credentials: who we are and where Voucherify is.
        workers: connections kept.
        deadline_s: total time of a call, from the connection to the last byte of the answer.
        connect_s: time for one address to take the connection.
        max_response: bytes of an answer at most.
        stop: once it is requested, calls are cut that have not ended in time.
        adapter: the transport, where it is not to be HTTP.

    Raises:
        UsageProblem: key, token or version cannot be sent in a header, or the environment's proxy or certificates
            cannot be used.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        workers: int = 16,
        deadline_s: float = 60.0,
        connect_s: float = 5.0,
        max_response: int = 1 << 20,
        stop: Stop | None = None,
        adapter: BaseAdapter | None = None,
    ) -> None:
        self.deadline_s = deadline_s
        self.token = credentials.token
        self._base = credentials.url
        address = urlsplit(credentials.url)
        self._host = address.netloc.rpartition("@")[2] or credentials.url
        self._timeout = (connect_s, None)  # the deadline does what a timeout of each read would do, and more
        self._max_response = max_response
        self._deadlines = Deadlines(deadline_s, stop)
        self._adapter = adapter or _Adapter(pool_connections=1, pool_maxsize=workers + 2, max_retries=0)
        self._headers = _headers(credentials)
        found = requests.Session().merge_environment_settings(credentials.url, {}, True, None, None)
        self._proxies = {} if address.hostname in _LOOPBACK else dict(found["proxies"] or {})
        self._verify = trusted_authorities(os.environ) if address.scheme == "https" else True
        self._proxy = _proxy_host(self._base, self._proxies)

    def call(
        self,
        method: str,
        path: str,
        payload: bytes | None = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Make one call.

        Args:
            method: HTTP method.
            path: such as ``/v1/events``; percent-encoded where needed.
            payload: JSON, sent as it is.
            params: of the query.
            headers: in place of those that every call carries.

        Raises:
            NotSent: proved not to have been sent.
            NoAnswer: sent, and not answered completely.
        """
        # requests would prepare it, too, at the cost of half a call, and look into .netrc.
        request = requests.PreparedRequest()
        request.method = method
        request.url = f"{self._base}{path}?{urlencode(params)}" if params else self._base + path
        request.headers = CaseInsensitiveDict({**self._headers, **(headers or {})})
        if payload is not None:
            request.body = payload
            request.headers["Content-Type"] = "application/json"
            request.headers["Content-Length"] = str(len(payload))
        watch = self._deadlines.start()
        current.watch = watch
        try:
            reply = self._exchange(request)
        except (NoAnswer, requests.RequestException, HTTPError, OSError) as error:
            if watch.is_unsent:
                raise not_sent(error, self._host, self._proxy) from None
            if watch.is_cut or is_timeout(error):
                raise self._no_answer("timeout") from None
            raise error if isinstance(error, NoAnswer) else self._no_answer("reset") from None
        finally:
            current.watch = None
            self._deadlines.finish(watch)
        # What a socket yields that was shut down can look like the regular end of an answer.
        if watch.is_cut:
            raise self._no_answer("timeout", reply.status)
        return reply

    def close(self) -> None:
        """Close the connections."""
        self._adapter.close()
        self._deadlines.close()

    def _exchange(self, request: requests.PreparedRequest) -> Reply:
        response = self._adapter.send(
            request, stream=True, timeout=self._timeout, verify=self._verify, proxies=self._proxies
        )
        chunks, size = [], 0
        try:
            for chunk in response.raw.stream(_CHUNK, decode_content=True):
                size += len(chunk)
                if size > self._max_response:
                    raise self._no_answer("too_large", response.status_code)
                chunks.append(chunk)
        except (HTTPError, OSError):
            raise self._no_answer("cut", response.status_code) from None
        finally:
            response.close()  # a connection whose answer was read to its end is back in the pool by now
        is_framed = "Content-Length" in response.headers or "Transfer-Encoding" in response.headers
        if not size and not is_framed and 200 <= response.status_code < 300 and response.status_code != 204:
            # What requests makes of a header that was cut off; 204 has neither a body nor a length.
            raise self._no_answer("cut", response.status_code)
        return Reply(response.status_code, response.headers, b"".join(chunks))

    def _no_answer(self, reason: str, status: int | None = None) -> NoAnswer:
        return NoAnswer(reason, _NO_ANSWER[reason].format(host=self._host), status)


def _headers(credentials: Credentials) -> dict[str, str]:
    """Return what every call carries; checked here, as the libraries would show a bad value in their errors."""
    agent = f"voucherify-sync/{metadata.version('voucherify-sync')}"
    headers = {
        "X-App-Id": _checked("api.key", credentials.app_id),
        "X-App-Token": _checked("api.token", credentials.token.reveal()),
        "X-Voucherify-Channel": agent,
        "User-Agent": agent,
        "Accept": "application/json",
        "Accept-Encoding": "identity",
    }
    if credentials.version is not None:
        headers["X-Voucherify-API-Version"] = _checked("api.version", credentials.version)
    return headers


def _checked(setting: str, value: str) -> str:
    if not _HEADER_VALUE.fullmatch(value):
        raise UsageProblem(
            f"{setting} is empty or holds a space, a line break or a character outside ASCII",
            f"Copy {setting} again from the Voucherify project settings, without quotes or spaces around it.",
        )
    return value


def _proxy_host(url: str, proxies: Mapping[str, str]) -> str:
    """Return the host of the proxy, without the user and password that its URL may hold."""
    proxy = requests.utils.select_proxy(url, dict(proxies))
    if not proxy:
        return ""
    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageProblem(
            "The proxy set in the environment is no http:// or https:// address",
            "Set HTTPS_PROXY to http://HOST:PORT, or name Voucherify's host in NO_PROXY.",
        )
    return parts.hostname
