"""voucherify-sync with short pauses, which notes at a stop which custom events had no answer and what they waited for.

    python tests/stopped_replay.py NOTES OUTCOMES replay ...

NOTES is the file of the notes: pairs of messageId and pause, as JSON. After so many OUTCOMES there is a bug; 0: none.
With FORGETS_WHAT_IT_SENT in the environment it breaks the promise that the loop is there to test.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from support.cli_modules import cli_module

from voucherify_sync.delivery import sender
from voucherify_sync.delivery.lanes import PendingRequest
from voucherify_sync.outcomes import NotProcessed, Outcome, State
from voucherify_sync.report.run_report import RecordCounts
from voucherify_sync.state.ledger import Ledger
from voucherify_sync.voucherify.retry_policy import GrowingPause, Pauses

SHORT = Pauses(
    settle_s=(0.3, 0.6),
    probe=GrowingPause(0.2, 1.0, 2.0),
    customer_trial=GrowingPause(0.1, 0.5, 2.0),
    event_trial=GrowingPause(0.4, 1.0, 2.0),
    spent_s=0.5,
)
_LOOK_S = 0.002


class WatchedDelivery(sender.LiveDelivery):
    """A delivery with short pauses that watches for the stop.

    Attributes:
        notes: where the notes are written to.
    """

    notes: Path

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options, pauses=SHORT)
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while not self._stop.requested:
            time.sleep(_LOOK_S)
        lanes = self._lanes
        with lanes._news:
            found = [
                (pending.request.event.message_id, self._pause(is_running=lane.is_running))
                for lane in lanes._lanes.values()
                for pending in list(lane.requests)[:1]
                if pending.doubt is not None
            ]
        self.notes.write_text(json.dumps(found))

    def _pause(self, *, is_running: bool) -> str:
        """Say what a custom event waits for whose answer was lost."""
        if is_running:
            if self._breaker.is_open:
                return "probe"
            return "call" if self._limiter.waiting() is None else "limiter"
        return "look-up" if self._sender.doubts.on_doubt == "verify" else "backoff"


def fail_after(outcomes: int) -> None:
    """Let the program have a bug that shows after so many outcomes."""
    add, numbers = RecordCounts.add, iter(range(outcomes))

    def broken(self: RecordCounts, outcomes: Iterable[Outcome]) -> None:
        for outcome in outcomes:
            if next(numbers, None) is None:
                raise RuntimeError("a bug")
            add(self, (outcome,))

    RecordCounts.add = broken  # type: ignore[method-assign]


def forget_what_was_sent() -> None:
    """Let every record without an outcome be pending at a stop, and take its intent back, whatever was sent of it."""

    def pending(self: PendingRequest, *, is_under_way: bool = False) -> Outcome:
        return Outcome(self.request.event, State.PENDING, request=self.request)

    record = Ledger.record

    def record_or_forget(self: Ledger, outcome: Outcome) -> None:
        if outcome.state is State.PENDING and outcome.request is not None:
            self.withdraw(outcome.request, NotProcessed.NOT_SENT)
        record(self, outcome)

    PendingRequest.undecided = pending  # type: ignore[method-assign]
    Ledger.record = record_or_forget  # type: ignore[method-assign]


def main(notes: str, outcomes: str, *words: str) -> None:
    """Run the command line."""
    WatchedDelivery.notes = Path(notes)
    sender.LiveDelivery = WatchedDelivery  # type: ignore[misc]
    if int(outcomes):
        fail_after(int(outcomes))
    if "FORGETS_WHAT_IT_SENT" in os.environ:
        forget_what_was_sent()
    cli_module("main").main(list(words))


if __name__ == "__main__":
    main(*sys.argv[1:])
