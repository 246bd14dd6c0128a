"""Does what a fault says, on the client's connection; out comes whether the connection lives on."""

from __future__ import annotations

import threading

import msgspec

from voucherify_sync.events import Json
from voucherify_sync.sandbox.faults import Action, Fault
from voucherify_sync.sandbox.refusals import framework_error, known_body
from voucherify_sync.sandbox.wire import Answer, Connection, HttpRequest

_PAGE = (
    b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head>"
    b"<body><h1>Welcome to the guest network</h1><p>Please accept the terms.</p></body></html>\n"
)
_HTML_TYPE = "text/html; charset=utf-8"
_CHUNK = b" " * 65_536


class Misbehaviour:
    """One misanswered call.

    Args:
        request: the call.
        answer: the good answer, when the call was processed; else an empty one.
        now: the server's clock, for Date and the rate headers.
        stopping: set when the server stops: whatever waits, ends.
    """

    def __init__(
        self,
        fault: Fault,
        connection: Connection,
        request: HttpRequest,
        answer: Answer | None,
        now: float,
        stopping: threading.Event,
    ) -> None:
        self._fault = fault
        self._connection = connection
        self._request = request
        self._answer = answer or Answer(503)
        self._now = now
        self._stopping = stopping

    @property
    def status(self) -> int | None:
        """HTTP status that the client is told, if it gets so far; None where no answer is sent."""
        action = self._fault.action
        if action in _SILENT:
            return None
        if action in _MADE_UP:
            return self._fault.status
        return self._answer.status

    def perform(self) -> bool:
        """Misbehave; tell whether the connection may serve another call."""
        performers = {
            Action.DROP: self._drop,
            Action.RESET: self._reset,
            Action.HANG: self._hang,
            Action.DELAY: self._send,
            Action.DRIP: self._drip,
            Action.CUT_HEADER: self._cut_header,
            Action.CUT_BODY: self._cut_body,
            Action.CLOSE: self._close,
            Action.HTML: self._html,
            Action.EMPTY: self._empty,
            Action.WRONG_SHAPE: self._wrong_shape,
            Action.HUGE: self._huge,
            Action.STATUS: self._status,
            Action.REDIRECT: self._redirect,
            Action.THROTTLE: self._throttle,
            Action.FAIL_ACTION: self._send,
        }
        return performers[self._fault.action]()

    def _drop(self) -> bool:
        self._connection.close()
        return False

    def _reset(self) -> bool:
        self._connection.reset()
        return False

    def _hang(self) -> bool:
        left = self._fault.seconds if self._fault.seconds is not None else float("inf")
        while left > 0 and not self._stopping.is_set() and not self._connection.until_closed(min(left, 0.05)):
            left -= 0.05
        return False

    def _send(self) -> bool:
        return self._say(self._answer)

    def _drip(self) -> bool:
        head, body = self._answer.head(self._now), self._answer.body
        if self._fault.part == "body":
            self._connection.send(head)
            return self._drop_by_drop(body)
        whole = self._drop_by_drop(head)
        self._connection.send(body)
        return whole

    def _drop_by_drop(self, data: bytes) -> bool:
        for index in range(len(data)):
            self._connection.send(data[index : index + 1])
            if self._stopping.wait(self._fault.interval_s):
                return False
        return True

    def _cut_header(self) -> bool:
        head = self._answer.head(self._now)
        self._connection.send(head[: len(head) // 2])
        return False

    def _cut_body(self) -> bool:
        body = self._answer.body
        self._connection.send(self._answer.head(self._now) + body[: len(body) // 2])
        return False

    def _close(self) -> bool:
        self._send()
        return False

    def _html(self) -> bool:
        return self._say(Answer(self._fault.status, _PAGE, content_type=_HTML_TYPE))

    def _empty(self) -> bool:
        return self._say(Answer(self._fault.status, b"{}" if self._fault.body == "json" else b""))

    def _wrong_shape(self) -> bool:
        return self._say(Answer(self._fault.status, b'{"object":"list","status":"ok"}'))

    def _huge(self) -> bool:
        start = b'{"object":"customer","padding":"'
        size = self._fault.size
        head = Answer(200).head(self._now).replace(b"Content-Length: 0", b"Content-Length: %d" % size)
        self._connection.send(head + start[:size])
        left = size - len(start)
        while left > 0 and not self._stopping.is_set():
            self._connection.send(_CHUNK[:left])
            left -= len(_CHUNK)
        return left <= 0

    def _status(self) -> bool:
        status = self._fault.status
        if self._fault.body == "html":
            return self._html()
        if self._fault.body == "empty":
            return self._say(Answer(status))
        if self._fault.body == "echo":
            return self._say(Answer(status, msgspec.json.encode(_echo(self._request, status))))
        body = _framework_body(status) if self._fault.body == "b" else known_body(status)
        return self._say(Answer(status, msgspec.json.encode(body)))

    def _redirect(self) -> bool:
        return self._say(Answer(self._fault.status, b"", (("Location", self._fault.location),)))

    def _throttle(self) -> bool:
        fault = self._fault
        retry_at = None if fault.retry_in_s is None else str(round(self._now + fault.retry_in_s))
        told = (
            ("X-Rate-Limit-Remaining", "0"),
            ("X-Rate-Limit-Retry", retry_at),
            ("Retry-After", fault.retry_after),
            ("X-Rate-Limit-Type", fault.type),
        )
        headers = tuple((name, value) for name, value in told if value is not None)
        return self._say(Answer(429, msgspec.json.encode(known_body(429)), headers))

    def _say(self, answer: Answer) -> bool:
        self._connection.send(answer.head(self._now) + answer.body)
        return True


def _framework_body(status: int) -> Json:
    message = "An internal server error occurred" if status >= 500 else "Request refused"
    return framework_error(status, message).body


def _echo(request: HttpRequest, status: int) -> Json:
    shown = f"{request.headers.get('x-app-token', '')} {request.body.decode('utf-8', 'replace')}"
    return {"details": shown, "code": status, "message": "Request refused"}


_SILENT = frozenset({Action.DROP, Action.RESET, Action.HANG})
_MADE_UP = frozenset(
    {
        Action.HTML,
        Action.EMPTY,
        Action.WRONG_SHAPE,
        Action.HUGE,
        Action.STATUS,
        Action.REDIRECT,
        Action.THROTTLE,
    }
)
