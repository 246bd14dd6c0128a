"""Says how a call ended (Reply, NotSent or NoAnswer), and hides what must not be shown of an answer.

No text in them ever holds a key, a header or a password. What an answer repeats of its request is hidden before it is
shown, logged or kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from voucherify_sync.errors import Unreachable
from voucherify_sync.events import Request
from voucherify_sync.settings.types import Secret

HIDDEN = b"***"
_MAX_SEARCHED_BYTES = 64 << 10
"""Bytes of an answer that are looked at: an error that is longer is not the API's, and of it only little is kept."""
_MIN_HIDDEN_LENGTH = 4
"""Shorter texts, such as a country code, say little and are part of ordinary words."""
_CHECKS: Final = {
    "dns": "Check the host in api.url, and that this machine can resolve names.",
    "refused": "Check host and port in api.url, and the network. Where only a proxy leads out, set HTTPS_PROXY.",
    "connect_timeout": (
        "Check host and port in api.url, and the firewall. Where only a proxy leads out, set HTTPS_PROXY."
    ),
    "tls": (
        "Check the host in api.url and the clock of this machine. Where the network opens secure connections, set "
        "SSL_CERT_FILE to a file with its certificates."
    ),
    "proxy": (
        "Check HTTPS_PROXY: its address, user and password, and that it may connect to the host in api.url. To go "
        "without it, name that host in NO_PROXY."
    ),
}
"""Reason of a NotSent -> what to check."""
_NOT_SENT_IN_WORDS: Final = {
    "dns": "name not found",
    "refused": "no connection",
    "connect_timeout": "no connection in time",
    "tls": "no secure connection",
    "proxy": "no way through the proxy",
}
"""Reason of a NotSent -> a few words for it."""


class Reply(Struct, frozen=True):
    """A complete answer, whatever its status.

    Attributes:
        status: HTTP status.
        headers: case-insensitive.
        body: decoded if it came compressed; at most 1 MiB.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


class NotSent(Exception):
    """No byte of the request left this machine for Voucherify: proved, so it may be sent again.

    Attributes:
        reason: ``dns``, ``refused``, ``connect_timeout``, ``tls`` or ``proxy``.
        detail: a sentence for people.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(detail or reason)
        self.reason = reason
        self.detail = detail or reason


class NoAnswer(Exception):
    """The request, or a part of it, was sent and no complete answer came: it is not known whether it was processed.

    Attributes:
        reason: ``timeout``, ``reset``, ``cut`` or ``too_large``.
        detail: a sentence for people.
        status: of the answer that was begun, if one was.
    """

    def __init__(self, reason: str, detail: str = "", status: int | None = None) -> None:
        super().__init__(detail or reason)
        self.reason = reason
        self.detail = detail or reason
        self.status = status


Answer = Reply | NotSent | NoAnswer
"""The three ends of a call."""


def trouble_of(answer: Answer) -> str:
    """Say in a few words how a call ended that did not go well."""
    return f"HTTP {answer.status}" if isinstance(answer, Reply) else answer.detail


def outage_in_words(answer: Answer, host: str) -> str:
    """Say how a call to a host ended that shows an outage, for a line of a display."""
    if isinstance(answer, NotSent):
        return f"cannot reach {host} ({_NOT_SENT_IN_WORDS[answer.reason]})"
    return f"no reliable answer from Voucherify ({trouble_of(answer)})"


def presentable(reply: Reply, sent: Iterable[Any], token: Secret) -> Reply:
    """Return a reply without the token and without the texts in JSON values that were sent.

    Errors of the API, and the pages of proxies, like to quote what they are about: values of the customer, even the
    token. The body stays the JSON that it was. It is to be cut afterwards: a text that is cut in two is not found.
    """
    body = hide(reply.body[:_MAX_SEARCHED_BYTES], (), token)
    for value in sent if body else ():
        body = hide(body, value, token)
    return msgspec.structs.replace(reply, body=body)


def sent_of_customer(request: Request) -> list[Any]:
    """Return what was sent of the customer and as metadata. The event's own name is shown everywhere."""
    body = request.body
    return [[body.get("customer"), body.get("metadata")] if "customer" in body else body]


def hide(said: bytes, sent: Any, token: Secret) -> bytes:
    """Return what was said without the token and without the texts in a JSON value that was sent."""
    texts = {text for text in _texts(sent) if len(text) >= _MIN_HIDDEN_LENGTH}
    for text in sorted({token.reveal(), *texts}, key=len, reverse=True):
        for written in {text.encode(errors="replace"), json.dumps(text)[1:-1].encode()}:
            said = said.replace(written, HIDDEN)
    return said


def _texts(value: Any) -> Iterator[str]:
    """Yield all texts inside a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)


def unreachable_error(error: NotSent) -> Unreachable:
    """Return the error to stop with where nothing was ever reached."""
    return Unreachable(f"Voucherify cannot be reached: {error.detail}", _CHECKS[error.reason])
