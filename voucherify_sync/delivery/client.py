"""One HTTP call to Voucherify: method, path and bytes in; Reply, NotSent or NoAnswer out. The only user of requests.

It never follows a redirect, never repeats a call, never reads .netrc, and sends the token to the base URL only.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections import Counter
from collections.abc import Mapping
from importlib import metadata
from typing import Any
from urllib.parse import urlencode, urlsplit

import requests
from requests.adapters import BaseAdapter, HTTPAdapter
from requests.structures import CaseInsensitiveDict
from urllib3.exceptions import HTTPError

from voucherify_sync.delivery.answer import NoAnswer, NotSent, Reply
from voucherify_sync.delivery.connection import POOLS, current
from voucherify_sync.delivery.deadline import Deadlines, Watch
from voucherify_sync.delivery.rate_headers import http_date
from voucherify_sync.delivery.trust import trusted_authorities
from voucherify_sync.delivery.unsent import is_timeout, not_sent
from voucherify_sync.errors import UsageProblem
from voucherify_sync.settings.types import Credentials
from voucherify_sync.stop import Stop

__all__ = ["Client", "NoAnswer", "NotSent", "Reply"]

_CHUNK = 1 << 16
_HEADER_VALUE = re.compile(r"[!-~]+")
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_NO_ANSWER = {
    "timeout": "{host} did not answer in time",
    "reset": "the connection to {host} ended before an answer came",
    "cut": "the answer of {host} ended too early, or could not be decoded",
    "too_large": "the answer of {host} was too large to be read",
}


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
        self.calls: Counter[str] = Counter()
        self.deadline_s = deadline_s
        self.token = credentials.token
        self._base = credentials.url
        address = urlsplit(credentials.url)
        self._host = address.netloc.rpartition("@")[2] or credentials.url
        self._timeout = (connect_s, None)  # the deadline does what a timeout of each read would do, and more
        self._max_response = max_response
        self._deadlines = Deadlines(deadline_s, stop)
        self._counting = threading.Lock()
        self._server_date: tuple[str | None, float] = (None, 0.0)
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
        endpoint: str | None = None,
    ) -> Reply:
        """Make one call.

        Args:
            method: HTTP method.
            path: such as ``/v1/events``; percent-encoded where needed.
            payload: JSON, sent as it is.
            params: of the query.
            endpoint: what `calls` counts it as, where the path holds an id.

        Raises:
            NotSent: proved not to have been sent.
            NoAnswer: sent, and not answered completely.
        """
        request = self._request(method, path, payload, params)
        with self._counting:
            self.calls[f"{method} {endpoint or path}"] += 1
        watch = self._deadlines.start()
        current.deadlines, current.watch = self._deadlines, watch
        try:
            reply = self._exchange(request)
        except (NoAnswer, requests.RequestException, HTTPError, OSError) as error:
            raise self._failure(error, watch) from None
        finally:
            current.watch = None
            self._deadlines.finish(watch)
        if (
            watch.expired
        ):  # what a socket yields that was shut down can look like the regular end of an answer
            raise self._no_answer("timeout", reply.status)
        return reply

    def server_now(self) -> float:
        """Return Voucherify's time in epoch seconds: from the last Date header, without one from the local clock."""
        text, heard = self._server_date
        date = http_date(text)
        return time.time() if date is None else date + time.monotonic() - heard

    def close(self) -> None:
        """Close the connections."""
        self._adapter.close()
        self._deadlines.close()

    def _request(
        self, method: str, path: str, payload: bytes | None, params: Mapping[str, str] | None
    ) -> requests.PreparedRequest:
        """Return what is sent. requests would prepare it, too, at the cost of half a call, and look into .netrc."""
        request = requests.PreparedRequest()
        request.method = method
        request.url = f"{self._base}{path}?{urlencode(params)}" if params else self._base + path
        request.headers = CaseInsensitiveDict(self._headers)
        if payload is not None:
            request.body = payload
            request.headers["Content-Type"] = "application/json"
            request.headers["Content-Length"] = str(len(payload))
        return request

    def _exchange(self, request: requests.PreparedRequest) -> Reply:
        response = self._adapter.send(
            request, stream=True, timeout=self._timeout, verify=self._verify, proxies=self._proxies
        )
        try:
            body = self._body(response)
        except (HTTPError, OSError):
            raise self._no_answer("cut", response.status_code) from None
        finally:
            response.close()  # a connection whose answer was read to its end is back in the pool by now
        ended = time.monotonic()
        if date := response.headers.get("Date"):
            self._server_date = (date, ended)
        return Reply(response.status_code, response.headers, body, ended)

    def _body(self, response: requests.Response) -> bytes:
        chunks: list[bytes] = []
        size = 0
        for chunk in response.raw.stream(_CHUNK, decode_content=True):
            size += len(chunk)
            if size > self._max_response:
                raise self._no_answer("too_large", response.status_code)
            chunks.append(chunk)
        framed = "Content-Length" in response.headers or "Transfer-Encoding" in response.headers
        if not size and not framed and 200 <= response.status_code < 300:
            # What requests makes of a header that was cut off.
            raise self._no_answer("cut", response.status_code)
        return b"".join(chunks)

    def _failure(self, error: Exception, watch: Watch) -> NotSent | NoAnswer:
        if watch.unsent:
            return not_sent(error, self._host, self._proxy)
        if watch.expired or is_timeout(error):
            return self._no_answer("timeout")
        return error if isinstance(error, NoAnswer) else self._no_answer("reset")

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
