"""Who takes note of outcomes in a run: report, timeline, dead letters, ledger, and the limit on errors.

Outcomes come in, one after the other; a book that cannot be kept stops the run, since a record would be lost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from voucherify_sync.bookkeeping.deadletters import KEPT, DeadLetterFile
from voucherify_sync.bookkeeping.ledger import LastUpdate, Ledger
from voucherify_sync.bookkeeping.ledger_reader import LedgerReader
from voucherify_sync.bookkeeping.report import Report
from voucherify_sync.bookkeeping.timeline import Timeline
from voucherify_sync.errors import ExitCode, VoucherifySyncError
from voucherify_sync.keys import request_hash
from voucherify_sync.model import FAILED_BEFORE, Kind, Operation, Outcome, State
from voucherify_sync.reading.times import event_time
from voucherify_sync.running.limits import ErrorWatch
from voucherify_sync.running.older_updates import OlderUpdates
from voucherify_sync.running.request import Mode, RunRequest
from voucherify_sync.stop import Stop

Book = Callable[[Sequence[Outcome]], None]
"""Takes note of outcomes."""


class Books:
    """The books of one run.

    Args:
        request: what the run was asked.
        ledger: kept if it can be written, and closed at the end.
        stop: told of a book that cannot be kept, and of too many errors.
        in_bulk: customers are delivered and remembered by a walk of their own.
        watch: sees every outcome, too.

    Attributes:
        report: the counts.
        older: customer updates that came after a newer one; bulk has none.
        timeline: when outcomes came; None in a dry run.
        letters_error: why the file of dead letters could not be written; nothing is added to it from then on.
        letters_missing: number of dead letters that are not in it.
    """

    def __init__(
        self, request: RunRequest, ledger: LedgerReader, stop: Stop, *, in_bulk: bool, watch: Book | None
    ) -> None:
        self.report = Report()
        self.older = OlderUpdates()
        self.timeline = None if request.mode is Mode.DRY_RUN else Timeline()
        self._letters = DeadLetterFile(request.dead_letters, request.run_id) if request.dead_letters else None
        self.letters_error: VoucherifySyncError | None = None
        self.letters_missing = 0
        self._ledger = ledger if isinstance(ledger, Ledger) else None
        self._in_bulk = in_bulk
        self._stop = stop
        self._books = [book for book in self._choose(request, watch) if book is not None]

    def _choose(self, request: RunRequest, watch: Book | None) -> list[Book | None]:
        return [
            self.report.add,
            None if self._in_bulk else self.older.add,
            self.timeline.add if self.timeline else None,
            watch,
            self._keep if self._letters else None,
            self._record_all if self._ledger else None,
            ErrorWatch(request.max_errors, self._stop).add if request.max_errors else None,
        ]

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """Let every book take note of outcomes."""
        for book in self._books:
            book(outcomes)

    def _keep(self, outcomes: Sequence[Outcome]) -> None:
        """Write the dead letters to the file that the user named."""
        assert self._letters is not None  # noqa: S101  # chosen only then
        for outcome in outcomes:
            if outcome.reason == FAILED_BEFORE:
                continue
            if self.letters_error is None:
                try:
                    self._letters.add(outcome)
                except VoucherifySyncError as error:
                    self._lose_letters(error)
            if self.letters_error is not None and outcome.state in KEPT:
                self.letters_missing += 1

    def _lose_letters(self, error: VoucherifySyncError) -> None:
        """Go on without the file of dead letters if there is a ledger, which keeps them, too; else stop."""
        if self._ledger is None:
            self._stop.because(error)
        else:
            self.letters_error = error

    def _record_all(self, outcomes: Sequence[Outcome]) -> None:
        """Record what the journal of the delivery has not: what was decided without a call, or cut off by a stop."""
        for outcome in outcomes:
            self._record(outcome)

    def _record(self, outcome: Outcome) -> None:
        assert self._ledger is not None  # noqa: S101  # chosen only then
        operation, state = outcome.operation, outcome.state
        is_by_call = state is State.DELIVERED or (state is State.FAILED and outcome.reason != FAILED_BEFORE)
        if operation is None or not is_by_call:
            self._ledger.record(outcome)
        elif state is State.DELIVERED and operation.kind is Kind.CUSTOMER and not self._in_bulk:
            update = LastUpdate(event_time(operation.event.fields), request_hash(operation.payload))
            self._ledger.remember_update(operation.source_id, update)

    def is_superseded(self, operation: Operation) -> bool:
        """Tell whether the customer was sent an update that is newer than this one."""
        if operation.kind is not Kind.CUSTOMER or self._ledger is None:
            return False
        last, time = self._ledger.last_update(operation.source_id), event_time(operation.event.fields)
        return bool(last and last.updated_at and time and time < last.updated_at)

    @property
    def dead_letters(self) -> str | None:
        """Where the dead letters are, if there are any."""
        return str(self._letters.path) if self._letters is not None and self._letters.count else None

    def save(self) -> None:
        """Bring to disk all that was noted, before it is said how the run ended."""
        try:
            if self._letters is not None:
                self._letters.close()
        except VoucherifySyncError as error:
            self._lose_letters(error)
        try:
            if self._ledger is not None:
                self._ledger.flush()
        except VoucherifySyncError as error:
            self._stop.because(error)

    def close(self, exit_code: ExitCode, counts: Mapping[State, int]) -> None:
        """Note in the ledger how the run ended, and let the next run in."""
        if self._ledger is not None:
            self._ledger.end_run(exit_code, {str(state): count for state, count in counts.items()})
            self._ledger.close()
