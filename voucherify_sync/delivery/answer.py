"""How one call can end: a Reply, NotSent or NoAnswer. No text in them ever holds a key, a header or a password."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct


class Reply(Struct, frozen=True):
    """A complete answer, whatever its status.

    Attributes:
        status: HTTP status.
        headers: case-insensitive.
        body: decoded if it came compressed; at most 1 MiB.
        ended: monotonic seconds at which its last byte was read.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    ended: float = 0.0


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
    """The request, or a part of it, was sent and no complete answer came: nobody knows whether it was processed.

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
