"""Bulk requests and the async actions that carry them out: a body in, and how it went for its customers out.

A body that was accepted before is asked after, not sent again. Nothing is told of a body whose action is not over.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from typing import Final, Protocol
from urllib.parse import quote

import msgspec
from msgspec import Struct

from voucherify_sync.delivery.answer import Reply
from voucherify_sync.delivery.calls import Caller, Refusal, Request
from voucherify_sync.delivery.chunks import Item
from voucherify_sync.delivery.quota import Bucket
from voucherify_sync.delivery.retry import GAVE_UP, is_success, json_object
from voucherify_sync.keys import body_hash as hash_of
from voucherify_sync.model import Json
from voucherify_sync.stop import Stop

BULK_PATH: Final = "/v1/customers/bulk/async"
ACTION_FAILED: Final = "action_failed"
REFUSED: Final = "refused"

_ACTIONS_PATH: Final = "/v1/async-actions"
_PAUSE_S: Final = (0.5, 120.0)
"""Pause before a poll: the first and the longest; each is twice the one before."""
_PATIENCE_S: Final = 2 * 3600.0
_UNSEEN: Final = 4
"""An action that was just accepted may be unknown for so many polls: reads lag."""
_SENDS: Final = 2
_RESPONSE_BYTES: Final = 4096
_PLAIN_CODE: Final = re.compile(r"[a-z0-9_]{1,64}")

_encode = msgspec.json.Encoder().encode


class ActionLog(Protocol):
    """Remembers, durably, as which action a body was accepted."""

    def remember_action(self, body_hash: bytes, action_id: str) -> None:
        """Return when it is durable."""

    def action(self, body_hash: bytes) -> str | None:
        """Return the action of a body, or None."""


class Result(Struct, frozen=True):
    """How an action that is over went.

    Attributes:
        refused: by source_id of the customers that it names as refused, what it says of each.
        unnamed: refused customers that it does not name.
    """

    refused: dict[str, Json]
    unnamed: int = 0


class _Lost(Struct, frozen=True):
    """An action that failed, never ended or is unknown: its body may be sent again."""

    reason: str
    detail: str


_Ended = Result | Refusal | _Lost | None


class Actions:
    """Runs one bulk request at a time.

    Args:
        caller: makes the calls.
        log: what was accepted before.
        stop: ends the waits.
        patience_s: pauses before polls may add up to so much until an action is given up.

    Attributes:
        requests: bodies that were accepted.
        polls: how often an action was asked after.
        asks_at: monotonic seconds of the next poll, None while none is waited for.
    """

    def __init__(
        self, caller: Caller, log: ActionLog, stop: Stop, *, patience_s: float = _PATIENCE_S
    ) -> None:
        self.requests = 0
        self.polls = 0
        self.asks_at: float | None = None
        self._caller = caller
        self._log = log
        self._stop = stop
        self._patience_s = patience_s

    def run(self, body: bytes, items: Sequence[Item]) -> Result | Refusal | None:
        """Have a body of these customers carried out. What fails or never ends is sent once more: that is safe.

        None: the run is stopping. The log knows then whether the body was accepted.

        Raises:
            VoucherifySyncError: the log cannot be written.
        """
        body_hash = hash_of(body)
        action_id = self._log.action(body_hash)
        ended: _Ended = _Lost(REFUSED, "") if action_id is None else self._follow(action_id, unseen=0)
        for _ in range(_SENDS):
            if not isinstance(ended, _Lost):
                break
            posted = self._post(body, body_hash, items)
            if not isinstance(posted, str):
                return posted
            ended = self._follow(posted, unseen=_UNSEEN)
        return Refusal(ended.reason, ended.detail) if isinstance(ended, _Lost) else ended

    def _wait(self, pause_s: float) -> bool:
        self.asks_at = time.monotonic() + pause_s
        stopped = self._stop.wait(pause_s)
        self.asks_at = None
        return stopped

    def _post(self, body: bytes, body_hash: bytes, items: Sequence[Item]) -> str | Refusal | None:
        def sent() -> Iterator[Json]:
            return (msgspec.json.decode(item.payload) for item in items)

        request = Request("POST", BULK_PATH, _is_accepted, body, Bucket.BULK, records=len(items), sent=sent)
        answer = self._caller.call(request)
        if not isinstance(answer, Reply):
            return answer
        action_id = str(_json(answer)["async_action_id"])
        self.requests += 1
        self._log.remember_action(body_hash, action_id)
        return action_id

    def _follow(self, action_id: str, unseen: int) -> _Ended:
        """Ask after an action until it is over. It may be unknown for the first `unseen` polls."""
        for poll, pause_s in enumerate(_pauses(self._patience_s)):
            if self._wait(pause_s):
                return None
            path = f"{_ACTIONS_PATH}/{quote(action_id, safe='')}"
            request = Request("GET", path, _is_action, template=f"{_ACTIONS_PATH}/{{id}}")
            answer = self._caller.call(request)
            self.polls += 1
            if isinstance(answer, Refusal) and answer.status == 404:
                if poll >= unseen:
                    return _Lost("action_unknown", f"Voucherify does not know the action {action_id}")
            elif not isinstance(answer, Reply):
                return answer
            elif (ended := _read(_json(answer))) is not None:
                return ended
        return _Lost(GAVE_UP, f"the action {action_id} did not end in time")


def _pauses(patience_s: float) -> Iterator[float]:
    pause_s, longest_s = _PAUSE_S
    waited_s = 0.0
    while waited_s < patience_s:
        yield pause_s
        waited_s += pause_s
        pause_s = min(2 * pause_s, longest_s)


def _is_accepted(reply: Reply) -> bool:
    action_id = _json(reply).get("async_action_id")
    return 200 <= reply.status < 300 and isinstance(action_id, str) and bool(action_id)


def _is_action(reply: Reply) -> bool:
    return is_success(reply, ("async_action",)) and isinstance(_json(reply).get("status"), str)


def _json(reply: Reply) -> Json:
    return json_object(reply.body) or {}


def _read(action: Json) -> Result | _Lost | None:
    """Return how an action went, None if it is not over. DONE does not say that every customer was updated."""
    status, result = action["status"], action.get("result")
    if status == "DONE" and isinstance(result, dict):
        return _read_result(result)
    if status == "DONE" and action.get("operation_status") == "SUCCESS":
        return Result({})
    if status in ("DONE", "FAILED"):
        return _Lost(ACTION_FAILED, f"the action {action.get('id')} ended as {status} without a result")
    return None


def _read_result(result: Json) -> Result:
    errors = result.get("errors")
    listed = [error for error in errors if isinstance(error, dict)] if isinstance(errors, list) else []
    refused = {str(error["source_id"]): error for error in listed if error.get("source_id")}
    count = result.get("failed_count")
    count = max(count if isinstance(count, int) else 0, len(listed))
    return Result(refused, max(count - len(refused), 0))


def refusal_of(error: Json) -> Refusal:
    """Return what a report says of a customer; the key of the error is the reason."""
    key = error.get("key")
    reason = key if isinstance(key, str) and _PLAIN_CODE.fullmatch(key) else REFUSED
    said = [text for text in (error.get("message"), error.get("details")) if isinstance(text, str) and text]
    return Refusal(reason, " - ".join(said)[:500] or "no message", None, _encode(error)[:_RESPONSE_BYTES])
