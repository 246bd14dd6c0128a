"""One run: puts the wings together for what was asked, replays, and tells all that can be said of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, BinaryIO

from msgspec import to_builtins

from voucherify_sync.bookkeeping.history import History, Rule
from voucherify_sync.bookkeeping.ledger_reader import LedgerReader
from voucherify_sync.bookkeeping.report import ApiFacts, RunFacts, exit_code
from voucherify_sync.delivery.dry_link import DryLink
from voucherify_sync.errors import ExitCode, SourceError, VoucherifySyncError
from voucherify_sync.mapping.by_reference import ReferringMapping
from voucherify_sync.mapping.filters import Filters
from voucherify_sync.mapping.names import NearMiss
from voucherify_sync.mapping.payload import Mapping
from voucherify_sync.model import Block, Json, State
from voucherify_sync.reading.times import event_time
from voucherify_sync.replay import Replay
from voucherify_sync.running.books import Books
from voucherify_sync.running.customers_first import CustomersFirst, customers_first
from voucherify_sync.running.dry_walk import DryWalk, Watch
from voucherify_sync.running.events_after import EventsAfter, no_more_than
from voucherify_sync.running.jobs import Jobs
from voucherify_sync.running.limits import time_limit
from voucherify_sync.running.remaining import Left, records_left
from voucherify_sync.running.request import RunRequest
from voucherify_sync.settings import digest
from voucherify_sync.snapshot import Snapshot
from voucherify_sync.stop import Stop

if TYPE_CHECKING:  # it needs requests, which is slow to import
    from voucherify_sync.delivery.link import Link


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

    Attributes:
        books: what was booked so far.
        mapping: with the tally of what it did.
    """

    def __init__(
        self,
        request: RunRequest,
        stop: Stop,
        link: Link | DryLink,
        ledger: LedgerReader,
        rule: Rule,
        *,
        output: BinaryIO | None = None,
        watch: Watch | None = None,
    ) -> None:
        self._request = request
        self._stop = stop
        self._link = link
        self._ledger = ledger
        self._output = output
        self._input = request.open_input(stop)
        self._filters = Filters(request.settings, request.selection, lambda event: event_time(event.fields))
        in_bulk = request.settings.delivery.customers == "bulk" and not rule.failed
        self._first = customers_first(request, ledger, rule, link, stop) if in_bulk else None
        self._after = EventsAfter(self._first, link.courier, ledger.record) if self._first else None
        self._lines_at_first: dict[str, int] | None = None
        self._read_in_vain = 0
        self.books = Books(request, ledger, stop, in_bulk=in_bulk, watch=watch.add if watch else None)
        compiled = ReferringMapping if in_bulk else Mapping
        self.mapping = compiled(request.settings, self._filters.reason_to_leave_out)
        history = History(ledger, rule, self.books.is_superseded if rule.failed else None)
        self._replay = Replay(
            filters=self._filters,
            history=history,
            mapping=self.mapping,
            courier=self._after or link.courier,
            books=self.books.all,
            stop=stop,
            decode=request.decode,
        )
        self._watch = watch
        self._dry_walk = self._fast_walk(history) if rule == Rule() else None
        self._started_at = datetime.now(UTC)
        self._clock_at_start = time.monotonic()

    def _fast_walk(self, history: History) -> DryWalk | None:
        """Prepare the fast walk of a dry run; None where it would not do."""
        request, link = self._request, self._link
        if not isinstance(link, DryLink) or self._first is not None or not self._ledger.is_empty:
            return None
        if request.limit is not None or request.max_errors is not None:
            return None
        return DryWalk(
            self._replay,
            seen=history.seen,
            report=self.books.report,
            older=self.books.older,
            tally=self.mapping.tally,
            filters=self._filters,
            watch=self._watch,
            write=link.write,
            stop=self._stop,
        )

    def _jobs(self) -> Jobs:
        request = self._request
        return Jobs(
            request.jobs,
            request.settings,
            request.selection,
            self._input.bytes_total,
            tells_about=self._watch is not None,
        )

    def execute(self) -> None:
        """Read, map, deliver and book until the input, or the reasons to go on, are used up."""
        with time_limit(self._request.max_duration_s, self._stop):
            if self._dry_walk is not None:
                self._dry_walk.run(self._blocks(), self._jobs().plan)
            elif self._first is None or self._send_customers(self._first):
                self._replay.run(self._blocks(), self._request.limit)
        self.books.report.read = self._read + self._read_in_vain
        self._check_law()
        self.books.save()
        self.books.close(self.exit_code, self.books.report.counts())

    def _check_law(self) -> None:
        try:
            self.books.report.check_law()
        except VoucherifySyncError as error:
            self._stop.because(error)

    def _send_customers(self, first: CustomersFirst) -> bool:
        """Walk the input for its customers, and open it once more; False: the run stopped, all records are pending."""
        first.run(self._blocks(), self._request.limit, self._jobs())
        if self._stop.requested:
            self._read_in_vain = first.read
            for outcome in first.pending():
                self.books.report.add(outcome)
            return False
        self._lines_at_first = {facts.name: facts.lines for facts in self._input.facts}
        self._input = self._request.open_input(self._stop)
        return True

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

    @property
    def _read(self) -> int:
        """Records taken up so far."""
        return self._replay.read + (self._dry_walk.read if self._dry_walk else 0)

    def snapshot(self) -> Snapshot:
        """Tell how the run stands; any thread may ask at any time."""
        return Snapshot(
            events=self._read or (self._first.read if self._first else 0),
            bytes=sum(facts.bytes for facts in list(self._input.facts)),
            bytes_total=self._input.bytes_total,
            counts=self.books.report.counts(),
            calls=self._link.calls,
            calls_per_min=self._link.calls_per_min,
            in_flight=self._link.courier.in_flight,
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
        undecided = self._link.courier.open + counts[State.PENDING]
        return undecided + records * (min(decided, self._link.calls) + undecided) / taken

    def near_misses(self) -> list[NearMiss]:
        """Return the names of the settings' filter that no event had, and what may be meant instead."""
        return self._filters.near_misses(self._stop)

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
        tally = self.mapping.tally.to_dict()
        report = self.books.report.to_dict(facts, self._input.facts, api, tally, timeline)
        report["older_updates"] = self.books.older.to_dict()
        return report | {"bulk": to_builtins(self._first.tally)} if self._first else report
