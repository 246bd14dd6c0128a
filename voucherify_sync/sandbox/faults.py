"""Misbehaviour on request: a request comes in, at most one Fault comes out, which says how it is misanswered.

It only decides; `misbehaviour` does it.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterable
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from voucherify_sync.errors import UsageProblem


class Action(StrEnum):
    """What happens in place of a good answer."""

    DROP = "drop"
    """The connection is closed without an answer."""
    RESET = "reset"
    """The connection is reset without an answer."""
    HANG = "hang"
    """No answer comes."""
    DELAY = "delay"
    """The answer comes late; with ``before`` the processing, too."""
    DRIP = "drip"
    """The answer's headers or body come byte by byte."""
    CUT_HEADER = "cut_header"
    """The answer ends within its headers."""
    CUT_BODY = "cut_body"
    """The answer ends within its body."""
    CLOSE = "close"
    """A good answer that lets the client believe the connection lives, and a close right after it."""
    HTML = "html"
    """A web page, as a captive portal or a proxy sends it."""
    EMPTY = "empty"
    """A success with nothing in it."""
    WRONG_SHAPE = "wrong_shape"
    """A success with JSON that is not the object expected."""
    HUGE = "huge"
    """A success whose body does not end for many megabytes."""
    STATUS = "status"
    """A status of your choice."""
    REDIRECT = "redirect"
    """A redirect to another address."""
    THROTTLE = "throttle"
    """429, whatever the limits say."""
    FAIL_ACTION = "fail_action"
    """A good answer to a bulk request whose asynchronous action then fails."""


_ONLY_AFTER = frozenset(
    {
        Action.DRIP,
        Action.CUT_HEADER,
        Action.CUT_BODY,
        Action.CLOSE,
        Action.WRONG_SHAPE,
        Action.HUGE,
        Action.FAIL_ACTION,
    }
)
_USUAL_CODE = {Action.STATUS: 500, Action.REDIRECT: 302, Action.THROTTLE: 429}


class Fault(Struct, frozen=True, forbid_unknown_fields=True):
    """One rule of misbehaviour.

    Attributes:
        action: what happens.
        method: ``*`` or an HTTP method.
        path: pattern for the path as it is requested, with ``*`` for any characters.
        when: the call is misanswered ``before`` it is processed, so never is, or ``after``. Default: what is
            natural for the action: those that spoil a good answer come after, all others before.
        chance: of each matching call, 0 to 1.
        every: only each n-th matching call.
        first: only from the n-th matching call on, counted from 1.
        last: only up to the n-th matching call.
        code: HTTP status of status, redirect, html, empty and wrong_shape; 0 takes 500, 302 or 200.
        body: of status and empty: the API's error object (a), its framework's (b), a web page, nothing, or an error
            that shows the request with its keys, as a debugging proxy does (echo).
        location: where a redirect leads.
        retry_after: throttle's Retry-After, word for word; None sends no such header.
        retry_in_s: throttle's X-Rate-Limit-Retry lies so far ahead; None sends none.
        type: throttle's X-Rate-Limit-Type, such as ``api_calls_cycle``; None sends none.
        seconds: how long delay and hang take; None lets hang go on until the client leaves.
        interval_s: drip's pause between two bytes.
        part: what drips.
        size: bytes of a huge body.
    """

    action: Action
    method: str = "*"
    path: str = "*"
    when: Literal["before", "after"] | None = None
    chance: Annotated[float, Meta(ge=0, le=1)] = 1.0
    every: Annotated[int, Meta(ge=1)] = 1
    first: Annotated[int, Meta(ge=1)] = 1
    last: int | None = None
    code: int = 0
    body: Literal["a", "b", "html", "empty", "json", "echo"] = "a"
    location: str = "http://127.0.0.1:9/elsewhere"
    retry_after: str | None = None
    retry_in_s: float | None = None
    type: str | None = None
    seconds: Annotated[float, Meta(ge=0)] | None = None
    interval_s: Annotated[float, Meta(ge=0)] = 0.1
    part: Literal["headers", "body"] = "body"
    size: Annotated[int, Meta(ge=0)] = 8 * 1024 * 1024

    def __post_init__(self) -> None:
        if self.when == "before" and self.action in _ONLY_AFTER:
            raise ValueError(f"{self.action} spoils an answer, so it comes after processing")

    @property
    def processes(self) -> bool:
        """Tell whether the call takes effect."""
        return self.action in _ONLY_AFTER or self.action is Action.DELAY or self.when == "after"

    @property
    def status(self) -> int:
        """HTTP status of the answer that it makes up."""
        return self.code or _USUAL_CODE.get(self.action, 200)

    def matches(self, method: str, path: str) -> bool:
        """Tell whether it is about this call."""
        return self.method in ("*", method) and fnmatchcase(path, self.path)

    def strikes(self, number: int, draw: float) -> bool:
        """Tell whether it strikes its n-th matching call, given a random number below 1."""
        if number < self.first or (self.last is not None and number > self.last):
            return False
        return (number - self.first + 1) % self.every == 0 and draw < self.chance

    @classmethod
    def parse(cls, text: str) -> Fault:
        """Read the short form, such as ``POST /v1/events drop after 10%``; see `fault_text`.

        Raises:
            UsageProblem: it cannot be read; the message says where.
        """
        from voucherify_sync.sandbox.fault_text import parse

        return parse(text)


def load_faults(data: Any) -> list[Fault]:
    """Read faults from plain data: a list of objects with Fault's fields, or of texts in the short form.

    Raises:
        UsageProblem: one of them cannot be read.
    """
    items = data if isinstance(data, list) else [data]
    return [Fault.parse(item) if isinstance(item, str) else _convert(item) for item in items]


def _convert(item: Any) -> Fault:
    try:
        return msgspec.convert(item, Fault)
    except msgspec.ValidationError as error:
        raise UsageProblem(f"not a fault: {item!r}: {error}", f"Actions: {', '.join(Action)}.") from None


class FaultScript:
    """Faults in order: the first that strikes a call decides; each counts what matches it. Thread-safe."""

    def __init__(self, faults: Iterable[Fault] = (), seed: int = 0) -> None:
        self._faults = tuple(faults)
        self._numbers = [0] * len(self._faults)
        self._random = random.Random(seed)
        self._lock = threading.Lock()

    def strike(self, method: str, path: str) -> Fault | None:
        """Return the fault that this call meets, if any."""
        if not self._faults:
            return None
        struck: Fault | None = None
        with self._lock:
            for index, fault in enumerate(self._faults):
                if fault.matches(method, path):
                    self._numbers[index] += 1
                    if fault.strikes(self._numbers[index], self._random.random()) and struck is None:
                        struck = fault
        return struck
