"""Misbehaviour on request: which calls are misanswered, and how that looks on the client's connection."""

from __future__ import annotations

import contextlib
import random
import re
import shlex
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterable
from fnmatch import fnmatchcase
from math import inf
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta, Struct

from voucherify_sync.errors import UsageProblem
from voucherify_sync.events import Json
from voucherify_sync.sandbox.endpoints import HttpAnswer, HttpRequest
from voucherify_sync.sandbox.store import ActionFault
from voucherify_sync.sandbox.validation import (
    KNOWN_ERRORS,
    PHRASES,
    framework_error,
    make_request_id,
    not_found,
)

FAULT_FORM = "[METHOD] [PATH] ACTION [CODE] [before|after] [10%] [#3 | #3-5 | #3-] [NAME=VALUE]…"
"""The short form of a fault."""
_REMEDY = f"Write {FAULT_FORM}, such as 'POST /v1/events drop after 10%'."
_METHOD = re.compile(r"[A-Z]+|\*")
_RANGE = re.compile(r"#(\d+)(-(\d+)?)?", re.ASCII)
_CHANCE = re.compile(r"(\d+(?:\.\d+)?)%", re.ASCII)
_CODE = re.compile(r"\d{3}", re.ASCII)
_PAGE = (
    b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head>"
    b"<body><h1>Welcome to the guest network</h1><p>Please accept the terms.</p></body></html>\n"
)
_HUGE_START = b'{"object":"customer","padding":"'
_FOREVER_S = 7 * 86_400.0
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_MORE_FOLLOWS = getattr(socket, "MSG_MORE", 0)
"""Holds the end of a text back until more comes, or the end of the connection; 0 where the system cannot."""

Silence = Literal["drop", "reset", "hang"]
"""No answer."""
SpoiledAnswer = Literal["delay", "drip", "cut_header", "cut_body", "close", ActionFault]
"""The good answer, spoiled."""
MadeUpAnswer = Literal["status", "throttle", "redirect", "html", "empty", "wrong_shape", "huge"]
"""Another answer."""

ACTIONS: dict[Silence | SpoiledAnswer | MadeUpAnswer, str] = {
    "drop": "closes the connection without an answer",
    "reset": "resets the connection without an answer",
    "hang": "answers nothing until the client leaves, or for `seconds`",
    "delay": "gives the good answer late, after `seconds` (default: 1)",
    "drip": "gives the good answer byte by byte, one each `interval_s`",
    "cut_header": "ends the connection within the headers of the good answer",
    "cut_body": "ends the connection within the body of the good answer",
    "close": "gives the good answer, says keep-alive, and closes with the last byte",
    "fail_action": "accepts a bulk request or an import, and lets its asynchronous action fail",
    "stall_action": "accepts a bulk request or an import whose action never ends; those after it wait, too",
    "forget_action": "accepts a bulk request or an import and carries it out, but its action is unknown from then on",
    "status": "answers CODE (default: 500) with the API's error, or another `body`",
    "throttle": "answers 429 as if the limit were reached",
    "redirect": "answers CODE (default: 302) and leads to `location`",
    "html": "answers a web page, as the login page of a network does",
    "empty": "answers a success with nothing in it",
    "wrong_shape": "answers a success with JSON of another object",
    "huge": "answers a success of `size` bytes",
}
"""What a fault can do, in words that begin with a verb."""
_ONLY_AFTER = {"drip", "cut_header", "cut_body", "close", "wrong_shape", "huge", *get_args(ActionFault)}
_USUAL_CODE = {"status": 500, "redirect": 302, "throttle": 429}


class Fault(Struct, frozen=True, forbid_unknown_fields=True):
    """One rule of misbehaviour: which calls are misanswered, and what happens in place of a good answer."""

    action: Silence | SpoiledAnswer | MadeUpAnswer
    method: Annotated[str, Meta(description="HTTP method; `*` for any.")] = "*"
    path: Annotated[
        str, Meta(description="Path as it is requested; a `*` in it stands for any characters.")
    ] = "*"
    when: Annotated[
        Literal["before", "after"] | None,
        Meta(
            description="`before` or `after`: whether the call takes effect. Misanswered after that it does, "
            "misanswered before it never does. The default is `after` for `delay`, `drip`, `cut_header`, `cut_body`, "
            "`close`, `wrong_shape`, `huge` and the faults of actions, and `before` for the others. With "
            "`delay before` the call takes effect late."
        ),
    ] = None
    chance: Annotated[float, Meta(ge=0, le=1, description="Chance of each matching call, 0 to 1.")] = 1.0
    every: Annotated[int, Meta(ge=1, description="Only each N-th of the matching calls.")] = 1
    first: Annotated[int, Meta(ge=1, description="Only from the N-th matching call on, counted from 1.")] = 1
    last: Annotated[int | None, Meta(description="Only up to the N-th matching call.")] = None
    code: Annotated[
        int,
        Meta(
            description="HTTP status of `status`, `redirect`, `html`, `empty` and `wrong_shape`; 0 is the usual one."
        ),
    ] = 0
    body: Annotated[
        Literal["a", "b", "html", "empty", "json", "echo"],
        Meta(
            description="What `status` and `empty` send. The API's error object (`a`), that of its framework (`b`), a "
            "web page, nothing, an empty object (`json`), or the request with its keys, as a debugging proxy does "
            "(`echo`)."
        ),
    ] = "a"
    location: Annotated[str, Meta(description="Where `redirect` leads.")] = "http://127.0.0.1:9/elsewhere"
    retry_after: Annotated[
        str | None,
        Meta(description="Retry-After of `throttle`, word for word. Without it there is no such header."),
    ] = None
    retry_in_s: Annotated[
        float | None,
        Meta(description="X-Rate-Limit-Retry of `throttle`, from now. Without it there is no such header."),
    ] = None
    type: Annotated[
        str | None,
        Meta(
            description="X-Rate-Limit-Type of `throttle`, such as api_calls_cycle. Without it there is no such header."
        ),
    ] = None
    seconds: Annotated[
        Annotated[float, Meta(ge=0)] | None,
        Meta(description="Seconds that `delay` and `hang` take. By default `hang` has no end."),
    ] = None
    interval_s: Annotated[float, Meta(ge=0, description="Pause of `drip` between two bytes.")] = 0.1
    part: Annotated[Literal["headers", "body"], Meta(description="What `drip` sends byte by byte.")] = "body"
    size: Annotated[int, Meta(ge=0, description="Bytes of the body of `huge`.")] = 8 * 1024 * 1024

    def __post_init__(self) -> None:
        if self.when == "before" and self.action in _ONLY_AFTER:
            raise ValueError(f"{self.action} spoils an answer, so it comes after processing")

    @property
    def is_processed(self) -> bool:
        """Tell whether the call takes effect."""
        return self.action in _ONLY_AFTER or self.action == "delay" or self.when == "after"

    @property
    def delay_s(self) -> float:
        """Seconds to wait before the processing or after it."""
        if self.action != "delay":
            return 0.0
        return 1.0 if self.seconds is None else self.seconds

    @classmethod
    def parse(cls, text: str) -> Fault:
        """Read the short form of the command line, such as ``POST /v1/events drop after 10%``.

        It has the form of FAULT_FORM: of the matching calls each with a chance, or those with these numbers; names are
        this class's fields.

        Raises:
            UsageProblem: it cannot be read; the message says where.
        """
        actions = f"Actions: {', '.join(ACTIONS)}."
        try:
            words = shlex.split(text)
        except ValueError as error:
            raise UsageProblem(f"not a fault: {text!r}: {error}", _REMEDY) from None
        fields: dict[str, Any] = {}
        for word in words:
            has_action = "action" in fields
            read = _read_addition(word) if has_action else _read_call_or_action(word)
            if not read:
                problem = f"{word!r} says nothing here" if has_action else f"no action {word!r}"
                raise UsageProblem(f"not a fault: {text!r}: {problem}", _REMEDY if has_action else actions)
            fields |= read
        if "action" not in fields:
            raise UsageProblem(f"not a fault: {text!r}: no action in it", actions)
        try:
            return msgspec.convert(fields, cls, strict=False)
        except msgspec.ValidationError as error:
            raise UsageProblem(f"not a fault: {text!r}: {error}", _REMEDY) from None


_NAMES = frozenset(Fault.__struct_fields__) - {"action", "method", "path", "when"}


def _read_call_or_action(word: str) -> dict[str, Any]:
    """Return the field that a word sets up to the action; empty if it sets none."""
    if word.replace("-", "_") in ACTIONS:
        return {"action": word.replace("-", "_")}
    if word.startswith("/"):
        return {"path": word}
    return {"method": word} if _METHOD.fullmatch(word) else {}


def _read_addition(word: str) -> dict[str, Any]:
    """Return the fields that a word after the action sets; empty if it sets none."""
    if word in ("before", "after"):
        return {"when": word}
    if match := _CHANCE.fullmatch(word):
        return {"chance": float(match[1]) / 100}
    if match := _RANGE.fullmatch(word):
        first, dash, last = int(match[1]), match[2], match[3]
        return {"first": first, "last": (int(last) if last else None) if dash else first}
    if _CODE.fullmatch(word):
        return {"code": int(word)}
    name, equals, value = word.partition("=")
    name = name.replace("-", "_")
    return {name: value} if equals and name in _NAMES else {}


class FaultScript:
    """Faults in order: the first that applies to a call decides; each counts what matches it. Thread-safe."""

    def __init__(self, faults: Iterable[Fault] = (), seed: int = 0) -> None:
        self._faults = tuple(faults)
        self._matched: Counter[int] = Counter()
        self._random = random.Random(seed)
        self._lock = threading.Lock()

    def choose(self, method: str, path: str) -> Fault | None:
        """Return the fault that this call meets, if any."""
        chosen = None
        with self._lock:
            for index, fault in enumerate(self._faults):
                if fault.method not in ("*", method) or not fnmatchcase(path, fault.path):
                    continue
                self._matched[index] += 1
                number, draw = self._matched[index], self._random.random()
                is_within = fault.first <= number <= (inf if fault.last is None else fault.last)
                is_turn = (number - fault.first + 1) % fault.every == 0
                if is_within and is_turn and draw < fault.chance and chosen is None:
                    chosen = fault
        return chosen


def spoil(fault: Fault, request: HttpRequest, answer: HttpAnswer | None, now: float) -> HttpAnswer | None:
    """Return the answer that the client gets in place of the good one, as far as `perform` sends it; None for none.

    Args:
        fault: what goes wrong.
        request: the call.
        answer: the good answer; None when the call was not processed.
        now: the server's clock.
    """
    action, status = fault.action, fault.code or _USUAL_CODE.get(fault.action, 200)
    if action in get_args(Silence):
        return None
    if action == "html" or (action == "status" and fault.body == "html"):
        return HttpAnswer(status, _PAGE, content_type="text/html; charset=utf-8")
    if action == "status":
        body = _error_object(fault.body, request, status)
        return HttpAnswer(status, b"" if fault.body == "empty" else msgspec.json.encode(body))
    if action == "throttle":
        retry_at = None if fault.retry_in_s is None else str(round(now + fault.retry_in_s))
        headers = (
            ("X-Rate-Limit-Remaining", "0"),
            ("X-Rate-Limit-Retry", retry_at),
            ("Retry-After", fault.retry_after),
            ("X-Rate-Limit-Type", fault.type),
        )
        given = tuple((name, value) for name, value in headers if value is not None)
        return HttpAnswer(429, msgspec.json.encode(KNOWN_ERRORS[429]), given)
    made_up = {
        "empty": HttpAnswer(status, b"{}" if fault.body == "json" else b""),
        "wrong_shape": HttpAnswer(status, b'{"object":"list","status":"ok"}'),
        "redirect": HttpAnswer(status, headers=(("Location", fault.location),)),
    }
    if action == "huge":
        return HttpAnswer(200, _HUGE_START.ljust(fault.size)[: fault.size])
    return made_up.get(action, answer)


def _error_object(kind: str, request: HttpRequest, status: int) -> Json:
    if kind == "echo":
        shown = f"{request.headers.get('x-app-token', '')} {request.body.decode('utf-8', 'replace')}"
        return {"details": shown, "code": status, "message": "Request refused"}
    if kind == "b":
        message = "An internal server error occurred" if status >= 500 else "Request refused"
        return framework_error(status, message).body
    if status == 404:
        return not_found("customer", "unknown").body
    message = PHRASES.get(status, "Error")
    return KNOWN_ERRORS.get(status) or {"code": status, "message": message, "request_id": make_request_id()}


def perform(
    fault: Fault, sock: socket.socket, answer: HttpAnswer | None, now: float, stopping: threading.Event
) -> bool:
    """Do on the client's connection what a fault says; tell whether the connection may serve another call.

    Args:
        fault: what goes wrong.
        sock: the connection.
        answer: what `spoil` made of the answer.
        now: the server's clock.
        stopping: set when the server stops; nothing waits any longer then.
    """
    action = fault.action
    if action == "hang":
        # The server shuts the connection down when it stops, so this ends then, too.
        sock.settimeout(_FOREVER_S if fault.seconds is None else fault.seconds)
        with contextlib.suppress(TimeoutError):
            while sock.recv(65_536):
                pass
    elif action == "reset":
        # A close that lingers for zero seconds sends a reset.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        sock.close()
    if answer is None:
        return False
    head, body = answer.head(now), answer.body
    if action == "drip":
        return _drip(fault, sock, head, body, stopping)
    if action == "close":
        # The end of the connection travels with the last byte, so that no client can have the whole answer and send
        # another request before it sees the end.
        answer_bytes = head + body
        sock.sendall(answer_bytes[:-1])
        sock.sendall(answer_bytes[-1:], _MORE_FOLLOWS)
        sock.shutdown(socket.SHUT_WR)
        return False
    cuts = {"cut_header": head[: len(head) // 2], "cut_body": head + body[: len(body) // 2]}
    sock.sendall(cuts.get(action, head + body))
    return action not in cuts


def _drip(fault: Fault, sock: socket.socket, head: bytes, body: bytes, stopping: threading.Event) -> bool:
    at_once, dripping, rest = (b"", head, body) if fault.part == "headers" else (head, body, b"")
    sock.sendall(at_once)
    for index in range(len(dripping)):
        sock.sendall(dripping[index : index + 1])
        if stopping.wait(fault.interval_s):
            return False
    sock.sendall(rest)
    return True
