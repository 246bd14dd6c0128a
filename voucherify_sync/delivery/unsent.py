"""Says why a request did not leave, from what urllib3 and ssl raised: NotSent with a sentence that names the host.

No text of a library is shown but OpenSSL's own reason, and of a proxy its host alone.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator

from urllib3.exceptions import NameResolutionError, NewConnectionError, ProxyError, SSLError
from urllib3.exceptions import TimeoutError as Urllib3Timeout

from voucherify_sync.delivery.answer import NotSent

_TUNNEL_REFUSED = re.compile(r"Tunnel connection failed: (\d{3})")
_REFUSALS = {"403": "it forbids the connection", "407": "it asks for a user and a password"}


def not_sent(error: Exception, host: str, proxy: str) -> NotSent:
    """Return why no connection could be had.

    Args:
        error: what the transport raised.
        host: of the API.
        proxy: host of the proxy; empty where there is none.
    """
    causes = tuple(_causes(error))
    if any(isinstance(cause, SSLError) for cause in causes) and not _is_of_proxy(causes):
        return NotSent("tls", f"no secure connection to {host} could be made: {_tls_reason(causes)}")
    if proxy:
        return NotSent("proxy", f"the proxy {proxy} did not connect us to {host}: {_proxy_reason(causes)}")
    if any(isinstance(cause, NameResolutionError) for cause in causes):
        return NotSent("dns", f"the name {host} cannot be resolved")
    if is_timeout(error) and not _is_new_connection(causes):
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


def _is_of_proxy(causes: tuple[BaseException, ...]) -> bool:
    return any(isinstance(cause, ProxyError) for cause in causes)


def _is_new_connection(causes: tuple[BaseException, ...]) -> bool:
    """Tell whether a connection was refused: urllib3's error for that is a timeout, too, by descent."""
    return any(isinstance(cause, NewConnectionError) for cause in causes)


def _tls_reason(causes: tuple[BaseException, ...]) -> str:
    """Return OpenSSL's reason, such as ``certificate has expired``."""
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError) and cause.verify_message:
            message = cause.verify_message.rstrip(".")
            return message if message[1:2].isupper() else message[:1].lower() + message[1:]
        if isinstance(cause, ssl.SSLError) and cause.reason:
            return cause.reason.lower().replace("_", " ")
    return "the handshake failed"


def _proxy_reason(causes: tuple[BaseException, ...]) -> str:
    for cause in causes:
        if isinstance(cause, OSError) and (refused := _TUNNEL_REFUSED.match(str(cause))):
            status = refused[1]
            why = f", {_REFUSALS[status]}" if status in _REFUSALS else ""
            return f"HTTP {status}{why}"
    if any(isinstance(cause, ssl.SSLError) for cause in causes):
        return f"no secure connection to it could be made, {_tls_reason(causes)}"
    if any(isinstance(cause, NameResolutionError) for cause in causes):
        return "its name cannot be resolved"
    if _is_new_connection(causes):
        return "no connection to it could be made"
    if any(isinstance(cause, (TimeoutError, Urllib3Timeout)) for cause in causes):
        return "it did not answer in time"
    return "it ended the connection"
