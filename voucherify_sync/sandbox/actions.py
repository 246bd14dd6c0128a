"""Asynchronous actions: bulk requests wait in one queue, run one after the other, and tell how they went.

Nothing runs in the background: whoever asks first after an action is due carries it out.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from voucherify_sync.events import Json
from voucherify_sync.sandbox.refusals import Refusal, request_id
from voucherify_sync.sandbox.times import iso

BULK_UPDATE = "CUSTOMERS.BULK_UPDATE"
_REPORTS_KEPT_S = 7 * 86400.0


@dataclass(slots=True)
class Action:
    """One bulk request on its way.

    Attributes:
        items: the customers that it updates; emptied once they are.
        created: epoch seconds; `starts` and `ends` likewise.
        doomed: it will end as FAILED and update nobody.
        errors: one object a customer that was refused.
    """

    id: str
    items: list[Json]
    created: float
    starts: float
    ends: float
    doomed: bool
    done: int = 0
    finished: bool = False
    errors: list[Json] = field(default_factory=list)

    def refuse(self, source_id: str, refusal: Refusal) -> None:
        """Note a customer that cannot be updated."""
        body = refusal.body
        self.errors.append(
            {
                "message": body.get("message"),
                "details": body.get("details"),
                "key": body.get("key"),
                "source_id": source_id,
            }
        )

    def status(self, now: float) -> str:
        """Return ENQUEUED, IN_PROGRESS, DONE or FAILED."""
        if self.finished:
            return "FAILED" if self.doomed else "DONE"
        return "IN_PROGRESS" if now >= self.starts else "ENQUEUED"

    def view(self, now: float, *, result: bool = True) -> Json:
        """Return the object that the API shows, with the result once there is one."""
        status = self.status(now)
        shown: Json = {
            "id": self.id,
            "type": BULK_UPDATE,
            "status": status,
            "created_at": iso(self.created),
            "updated_at": iso(min(now, self.ends)),
            "request_id": request_id(),
            "progress": 100 if self.finished else 0,
            "processing_time": round((self.ends - self.starts) * 1000),
            "object": "async_action",
        }
        if self.finished:
            shown["operation_status"] = "FAILED" if self.doomed else "SUCCESS"
        if result and status == "DONE":
            shown["result"] = self._result()
        return shown

    def _result(self) -> Json:
        return {
            "done_count": self.done,
            "failed_count": len(self.errors),
            "reports": [],
            "reports_available_till": iso(self.ends + _REPORTS_KEPT_S),
            "errors": self.errors,
        }


class Actions:
    """The queue and what has left it. Not thread-safe."""

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        self._all: dict[str, Action] = {}
        self._waiting: list[Action] = []

    def submit(self, items: list[Json], now: float, *, doomed: bool) -> Action:
        """Enqueue a request; it runs after those before it."""
        before = self._waiting[-1].ends if self._waiting else now
        starts = max(now, before) + self._delay_s / 2
        ends = starts + self._delay_s / 2
        action = Action(f"aa_{random.getrandbits(72):018x}", items, now, starts, ends, doomed)
        self._all[action.id] = action
        self._waiting.append(action)
        return action

    def due(self, now: float) -> Iterator[Action]:
        """Take out the actions whose time has come, in order; the caller carries them out."""
        while self._waiting and self._waiting[0].ends <= now:
            yield self._waiting.pop(0)

    def get(self, action_id: str) -> Action | None:
        """Find an action."""
        return self._all.get(action_id)

    def newest(self, limit: int) -> list[Action]:
        """Return the latest, newest first."""
        return list(self._all.values())[: -limit - 1 : -1]
