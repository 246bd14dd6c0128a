"""One run: reads, maps, de-duplicates, delivers and books what was asked, and tells all that can be said of it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, BinaryIO, Protocol

from msgspec import to_builtins

from voucherify_sync.bookkeeping.history import History, Rule
from voucherify_sync.bookkeeping.ledger_reader import LedgerReader
from voucherify_sync.bookkeeping.report import ApiFacts, RunFacts, exit_code
from voucherify_sync.delivery.dry_run import DryRun
from voucherify_sync.errors import ExitCode, SourceError, VoucherifySyncError
from voucherify_sync.mapping.fold import Fold
from voucherify_sync.mapping.names import NearMiss
from voucherify_sync.model import Block, Decision, Json, Operation, Outcome, State
from voucherify_sync.reading.decode import MAX_BATCH
from voucherify_sync.running.books import Book, Books
from voucherify_sync.running.bulk_run import BulkCustomers, EventsAfter, no_more_than
from voucherify_sync.running.folding import fold_updates
from voucherify_sync.running.limits import time_limit
from voucherify_sync.running.pipeline import Pipeline
from voucherify_sync.running.remaining import Left, records_left
from voucherify_sync.running.request import RunRequest, is_worth_processes
from voucherify_sync.settings import digest
from voucherify_sync.snapshot import Snapshot
from voucherify_sync.stop import Stop

if TYPE_CHECKING:  # it needs requests, which is slow to import
    from voucherify_sync.delivery.link import Link


class Delivery(Protocol):
    """Where requests go: the API, or nowhere in a dry run."""

    def deliver(self, decisions: Iterable[Decision]) -> Iterator[list[Outcome]]:
        """Deliver the requests among the decisions, in order; yield outcomes as they come, decided ones among them."""
        ...

    def drain(self) -> Iterator[Outcome]:
        """Yield the outcomes of all that is still under way."""
        ...


class Run:
    """One replay of the requested input.

    Args:
        request: what the user asked for.
        stop: the flag that ends it early.
        link: where the requests go.
        ledger: what was sent before; a Ledger is written, and closed when the run is over.
        rule: what is sent although it was sent before.
        output: flushed after each block, so that pipes flow.
        watch: sees every outcome, too.
        fold: takes the customers of the input along, for a plan; a run in bulk has a fold of its own.

    Attributes:
        books: what was booked so far.
        pipeline: with the counts of what the mapping did.
    """

    def __init__(
        self,
        request: RunRequest,
        stop: Stop,
        link: Link | DryRun,
        ledger: LedgerReader,
        rule: Rule,
        *,
        output: BinaryIO | None = None,
        watch: Book | None = None,
        fold: Fold | None = None,
    ) -> None:
        self._request = request
        self._stop = stop
        self._link = link
        self._ledger = ledger
        self._output = output
        self._fold = fold
        self._input = request.open_input(stop)
        self._is_bulk = request.settings.delivery.customers == "bulk" and not rule.failed
        is_first_walk_due = self._is_bulk and fold is None
        self._first = BulkCustomers(ledger, rule, link, stop) if is_first_walk_due else None
        self._lines_at_first: dict[str, int] | None = None
        self.books = Books(request, ledger, stop, in_bulk=self._is_bulk, watch=watch)
        self.pipeline = self._new_pipeline()
        self._history = History(ledger, rule, self.books.is_superseded if rule.failed else None)
        self._delivery: Delivery = EventsAfter(self._first, link, ledger.record) if self._first else link
        self._read = 0
        self._started_at = datetime.now(UTC)
        self._clock_at_start = time.monotonic()

    def _new_pipeline(self) -> Pipeline:
        request = self._request
        return Pipeline(
            request.settings,
            request.selection,
            folds=self._first is not None or self._fold is not None,
            refers=self._is_bulk,
            decode=request.decode,
        )

    def execute(self) -> None:
        """Read, map, deliver and book until the input, or the reasons to go on, are used up."""
        with time_limit(self._request.max_duration_s, self._stop):
            if self._first is None or self._send_customers(self._first):
                self._replay()
        self.books.report.read = self._read
        self._check_law()
        self.books.save()
        self.books.close(self.exit_code, self.books.report.counts())

    def _check_law(self) -> None:
        try:
            self.books.report.check_law()
        except VoucherifySyncError as error:
            self._stop.because(error)

    def _send_customers(self, first: BulkCustomers) -> bool:
        """Walk the input for its customers, and open it once more; False: the run stopped, all records are pending."""
        first.run(self._batches(self._new_pipeline()))
        if self._stop.requested:
            self._read = first.read
            self.books.report.add(first.pending())
            return False
        self._lines_at_first = {facts.name: facts.lines for facts in self._input.facts}
        self._input = self._request.open_input(self._stop)
        return True

    def _replay(self) -> None:
        """Walk the input, and book each of its records; a ledger that fails is told to the stop."""
        try:
            for mapped in self._batches(self.pipeline):
                self._read += len(mapped)
                for outcomes in self._delivery.deliver(self._decide(mapped)):
                    self.books.add(outcomes)
        except VoucherifySyncError as error:
            self._stop.because(error)
        for outcome in self._delivery.drain():
            self.books.add((outcome,))

    def _decide(self, mapped: Sequence[Decision]) -> Sequence[Decision]:
        """De-duplicate records, and fold them where they are folded; if that fails, they are pending."""
        try:
            decided = self._history.decide(mapped)
            if self._fold is not None:
                fold_updates(self._fold, mapped, decided)
        except VoucherifySyncError as error:
            self._stop.because(error)
            return [
                Outcome(each.event, State.PENDING, operation=each) if isinstance(each, Operation) else each
                for each in mapped
            ]
        return decided

    def _is_shared(self) -> bool:
        """Tell whether several processes map the input: nothing is sent meanwhile, and all of it is read."""
        request = self._request
        is_second_walk = self._lines_at_first is not None
        sends = not isinstance(self._link, DryRun) and (self._first is None or is_second_walk)
        is_whole = request.limit is None and request.max_errors is None and request.decode is None
        return is_whole and not (sends or is_second_walk) and is_worth_processes(self._input, request.jobs)

    def _batches(self, pipeline: Pipeline) -> Iterator[Sequence[Decision]]:
        """Yield what the pipeline makes of the input, in its order, until the run stops."""
        request, left = self._request, self._request.limit
        if self._is_shared():
            yield from pipeline.shared(self._input, request.jobs, self._stop)
            return
        size = 1 if request.max_errors else MAX_BATCH  # no record is read beyond one that is too many
        for block in self._blocks():
            for mapped in pipeline.batches(block, left, size):
                yield mapped
                if left is not None:
                    left -= len(mapped)
                if self._stop.requested:
                    return
            if left == 0:
                return

    def _blocks(self) -> Iterator[Block]:
        """Yield the input; what came of one block is flushed before the next is awaited, so that pipes flow."""
        lines = self._lines_at_first
        try:
            for block in self._input if lines is None else no_more_than(lines, self._input):
                yield block
                if self._output is not None:
                    self._output.flush()
        except SourceError as error:  # a pipe turned out to hold something else; what is under way may end
            self._stop.because(error)

    def snapshot(self) -> Snapshot:
        """Tell how the run stands; any thread may ask at any time."""
        return Snapshot(
            events=self._read or (self._first.read if self._first else 0),
            bytes=sum(facts.bytes for facts in list(self._input.facts)),
            bytes_total=self._input.bytes_total,
            counts=self.books.report.counts(),
            calls=self._link.calls,
            calls_per_min=self._link.calls_per_min,
            in_flight=self._link.in_flight,
            waiting=self._link.waiting(),
            eta_s=self._link.eta_s(self._operations_left()),
        )

    def left(self) -> Left | None:
        """Estimate the requests to come, also of a run that was stopped; None where nobody can know."""
        requests = self._operations_left()
        return None if requests is None else Left(requests, self._link.calls_per_min)

    def _operations_left(self) -> float | None:
        """Estimate them from what is open, and from the requests that came of the records so far."""
        counts, taken = self.books.report.counts(), self._read
        records = records_left(self._input.facts[:], self._input.bytes_total, taken, self._request.limit)
        if records is None:
            return None
        decided = sum(counts[state] for state in (State.DELIVERED, State.FAILED, State.IN_DOUBT))
        undecided = self._link.open + counts[State.PENDING]
        return undecided + records * (min(decided, self._link.calls) + undecided) / taken

    def near_misses(self) -> list[NearMiss]:
        """Return the names of the settings' filter that no event had, and what may be meant instead."""
        return self.pipeline.filters.near_misses(self._stop)

    @property
    def exit_code(self) -> ExitCode:
        """How the run ends, once it is over."""
        damaged = any(facts.damaged for facts in self._input.facts)
        return exit_code(
            self.books.report, error=self._stop.error, signal=self._stop.signal_exit, damaged=damaged
        )

    def to_dict(self) -> Json:
        """Return the report of the run as JSON values, once it is over."""
        facts = RunFacts(
            version=version("voucherify-sync"),
            run_id=self._request.run_id,
            mode=str(self._request.mode),
            exit_code=self.exit_code,
            started_at=self._started_at,
            finished_at=datetime.now(UTC),
            duration_s=time.monotonic() - self._clock_at_start,
            settings_digest=digest(self._request.settings),
            stopped_by=str(self._stop.error) if self._stop.error else None,
            dead_letters=self.books.dead_letters,
        )
        link = self._link
        limit, period_s = (link.limit.limit, link.limit.period_s) if link.limit else (None, None)
        api = ApiFacts(link.calls, link.retries, link.throttled, limit, period_s)
        timeline = self.books.timeline.to_dict() if self.books.timeline else None
        mapping = self.pipeline.mapper.stats.to_dict()
        report = self.books.report.to_dict(facts, self._input.facts, api, mapping, timeline)
        report["older_updates"] = self.books.older.to_dict()
        return report | {"bulk": to_builtins(self._first.tally)} if self._first else report
