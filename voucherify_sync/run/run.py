"""Execute one run: read, map, de-duplicate and deliver, pass every outcome on, and report the run.

Outcomes go to the report, the timeline, the dead letters, the ledger and the limit on errors. If one of them cannot
be written, the run stops, because a record would be lost. At the end the remaining requests are estimated.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, BinaryIO, Final

from msgspec import UNSET, UnsetType, convert
from msgspec.structs import replace

from voucherify_sync.delivery.dry_run import DryRun
from voucherify_sync.errors import RunStopped, SourceError, VoucherifySyncError
from voucherify_sync.events import ORDERS, Batch, Kind, Position, Request, request_hash
from voucherify_sync.exit_codes import ExitCode, exit_code
from voucherify_sync.findings import HALF_NAME, OTHER_TYPES, REPEATED_DIFFERS, SENT_AS_EVENT, FindingCount
from voucherify_sync.mapping.filters import Selection
from voucherify_sync.mapping.orders import ITEM_UNUSABLE
from voucherify_sync.mapping.stats import MappingStats
from voucherify_sync.outcomes import (
    FAILED_BEFORE,
    Decision,
    Outcome,
    Phase,
    Snapshot,
    State,
    reading_eta_s,
    reading_share,
)
from voucherify_sync.report.run_report import (
    ApiReport,
    EventCounts,
    InputReport,
    MappingReport,
    OlderUpdatesReport,
    OrdersReport,
    RecordCounts,
    RunReport,
    SelectionReport,
    SettingsReport,
    Timeline,
    status_of,
)
from voucherify_sync.run.bulk_run import FirstPass, Folds, fold_updates, without_added_lines
from voucherify_sync.run.options import Mode, RunOptions, is_worth_processes
from voucherify_sync.run.pipeline import OlderUpdates, Pipeline, is_second, record_of, worse_of
from voucherify_sync.run.retried_names import RetriedNames
from voucherify_sync.settings import digest
from voucherify_sync.sources.decode import MAX_BATCH_RECORDS
from voucherify_sync.sources.reader import SourceFacts, source_notices
from voucherify_sync.state.dead_letters import DEAD_LETTER_STATES, DeadLetterFile
from voucherify_sync.state.deduplication import Deduplicator, ResendPolicy
from voucherify_sync.state.ledger import Ledger
from voucherify_sync.state.ledger_reader import LastUpdate, LedgerReader
from voucherify_sync.state.private_files import utf8
from voucherify_sync.stop import Stop
from voucherify_sync.text import listed, utc_text

if TYPE_CHECKING:
    from voucherify_sync.delivery.sender import LiveDelivery


_NEARLY_ALL: Final = 0.99
SHARE_COUNTS_AFTER: Final = 100
"""Records before a limit given as a share is looked at: one bad record of the first two is not half an archive."""

OutcomeSink = Callable[[Sequence[Outcome]], None]
"""Takes outcomes, as soon as they are known."""


def records_left(
    facts: Sequence[SourceFacts], bytes_total: int | None, taken: int, limit: int | None
) -> float | None:
    """Estimate the records that are not read yet, from the lines and bytes of what was read.

    Args:
        facts: of the sources opened so far.
        bytes_total: of all sources; None if that is not known.
        taken: records read so far.
        limit: records to read at most.
    """
    read = sum(each.bytes for each in facts)
    if not bytes_total or not read or not taken:
        return None
    records = max(sum(each.lines for each in facts), taken)  # a line may hold several
    left = max(records * bytes_total / read - taken, 0.0)
    return left if limit is None else min(left, limit - taken)


@contextmanager
def _time_limit(seconds: float | None, stop: Stop) -> Iterator[None]:
    """Stop the run cleanly when its time is over."""
    if seconds is None:
        yield
        return
    error = RunStopped(f"{seconds:,.0f} s have passed, as --max-duration asks.")
    timer = threading.Timer(seconds, stop.because, [error])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class OutcomeSinks:
    """Consumers of the outcomes of one run: counts, timeline, dead letters, ledger, and the limit on errors.

    A sink that cannot be written stops the run, since a record would be lost.

    Args:
        options: what the run was asked.
        ledger: kept if it can be written, and closed at the end.
        stop: gets the error of a sink that cannot be written, and is set on too many errors.
        in_bulk: customers are delivered and remembered by a pass of their own.
        observer: sees every outcome, too.

    Attributes:
        report: the counts.
        older: customer updates that came after a newer one; bulk has none.
        timeline: when outcomes came; None in a dry run.
        letters_error: why the file of dead letters could not be written; nothing is added to it from then on.
        letters_missing: number of dead letters that are not in it.
    """

    def __init__(
        self,
        options: RunOptions,
        ledger: LedgerReader,
        stop: Stop,
        *,
        in_bulk: bool,
        observer: OutcomeSink | None,
    ) -> None:
        self.report = RecordCounts()
        self.older = OlderUpdates()
        self.timeline = None if options.mode is Mode.DRY_RUN else Timeline()
        self._letters = DeadLetterFile(options.dead_letters, options.run_id) if options.dead_letters else None
        self.letters_error: VoucherifySyncError | None = None
        self.letters_missing = 0
        self._ledger = ledger if isinstance(ledger, Ledger) else None
        self._in_bulk = in_bulk
        self._stop = stop
        self._max_errors = options.max_errors
        self._seen_count = 0
        self._error_count = 0
        counting: list[OutcomeSink | None] = [
            self.report.add,
            self.timeline.add if self.timeline else None,
            observer,
            self._limit_errors if self._max_errors else None,
        ]
        keeping: list[OutcomeSink | None] = [
            None if in_bulk else self.older.add,
            self._keep if self._letters else None,
            self._record if self._ledger else None,
        ]
        self._counting = [sink for sink in counting if sink is not None]
        self._keeping = [sink for sink in keeping if sink is not None]
        self._firsts: dict[Position, Outcome | None] = {}

    def expect_two(self, positions: Iterable[Position]) -> None:
        """Await two outcomes of records that are sent as an order and as a custom event: they count as the worse one.

        Each is kept for itself: what failed of a record can be sent again alone.
        """
        self._firsts.update(dict.fromkeys(positions))

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """Pass outcomes to every sink."""
        for sink in self._keeping:
            sink(outcomes)
        ended = self._joined(outcomes) if self._firsts else outcomes
        for sink in self._counting:
            sink(ended)

    def _joined(self, outcomes: Iterable[Outcome]) -> list[Outcome]:
        """Return one outcome of each record of which all is known."""
        joined, firsts = [], self._firsts
        for outcome in outcomes:
            position = outcome.record.position
            if position not in firsts:
                joined.append(outcome)
            elif (first := firsts[position]) is None:
                firsts[position] = outcome
            else:
                del firsts[position]
                joined.append(worse_of(first, outcome))
        return joined

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
            if self.letters_error is not None and outcome.state in DEAD_LETTER_STATES:
                self.letters_missing += 1

    def _lose_letters(self, error: VoucherifySyncError) -> None:
        """Go on without the file of dead letters if there is a ledger, which keeps them, too; else stop."""
        if self._ledger is None:
            self._stop.because(error)
        else:
            self.letters_error = error

    def _record(self, outcomes: Sequence[Outcome]) -> None:
        """Record what the delivery has not: what was decided without a call, or cut off by a stop."""
        assert self._ledger is not None  # noqa: S101  # chosen only then
        for outcome in outcomes:
            request, state = outcome.request, outcome.state
            has_called = state is State.DELIVERED or (
                state is State.FAILED and outcome.reason != FAILED_BEFORE
            )
            if request is None or not has_called:
                self._ledger.record(outcome)
            elif state is State.DELIVERED and request.has_profile and not self._in_bulk:
                if request.kind is Kind.CUSTOMER:
                    update = LastUpdate(request.event.time, request_hash(request.payload))
                    self._ledger.remember_update(request.source_id, update)
                else:
                    self._ledger.touch_customer(request.source_id)

    def _limit_errors(self, outcomes: Sequence[Outcome]) -> None:
        """Stop the run when too many records end invalid or failed."""
        limit = self._max_errors
        assert limit is not None  # noqa: S101  # chosen only then
        for outcome in outcomes:
            self._seen_count += 1
            if outcome.state not in {State.INVALID, State.FAILED} or outcome.reason == FAILED_BEFORE:
                continue
            self._error_count += 1
            is_over = limit.count is not None and self._error_count > limit.count
            if limit.share is not None and self._seen_count >= SHARE_COUNTS_AFTER:
                is_over = is_over or self._error_count > limit.share * self._seen_count
            if is_over:
                share = f"{self._error_count:,} of {self._seen_count:,} records"
                sentence = f"stopped: {share} were invalid or failed"
                self._stop.because(RunStopped(sentence, "Look at the dead letters, then run it again."))

    def is_superseded(self, request: Request) -> bool:
        """Tell whether the customer was sent an update that is newer than what a request says of it."""
        if not request.has_profile or self._ledger is None:
            return False
        last, time = self._ledger.last_update(request.source_id), request.event.time
        if last is None or last.updated_at is None:
            return False
        if time is None:  # older than all others, but an update is better sent than lost
            return request.kind is Kind.EVENT
        return time < last.updated_at

    @property
    def dead_letters(self) -> str | None:
        """Where the dead letters are, if there are any."""
        return str(self._letters.path) if self._letters is not None and self._letters.count else None

    def save(self) -> None:
        """Bring everything to disk before the report says how the run ended."""
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

    def close(self, exit_code: ExitCode) -> None:
        """Write to the ledger how the run ended, and release it for the next run."""
        if self._ledger is not None:
            counts = self.report.counts()
            self._ledger.end_run(exit_code, {str(state): count for state, count in counts.items()})
            self._ledger.close()


class Run:
    """One replay of the requested input.

    Args:
        options: what the user asked for.
        stop: the flag that ends it early.
        delivery: sends the requests, or prints them in a dry run.
        ledger: what was sent before; a Ledger is written, and closed when the run is over.
        policy: what is sent although it was sent before.
        output: flushed after each batch, so that pipes flow.
        observer: sees every outcome, too.
        folds: take the customers and the orders of the input along, for a plan; other runs have folds of their own.
        first_pass: is over, and tells how records end; None: the run makes one where it needs it.
        planned_calls: calls that a plan of the same input expects; None without a plan.

    Attributes:
        sinks: with the counts of the outcomes so far.
        pipeline: with the counts of what the mapping did.
    """

    def __init__(
        self,
        options: RunOptions,
        stop: Stop,
        delivery: LiveDelivery | DryRun,
        ledger: LedgerReader,
        policy: ResendPolicy,
        *,
        output: BinaryIO | None = None,
        observer: OutcomeSink | None = None,
        folds: Folds | None = None,
        first_pass: FirstPass | None = None,
        planned_calls: int | None = None,
    ) -> None:
        self._options = options
        self._stop = stop
        self._delivery = delivery
        self._ledger = ledger
        self._output = output
        self._folds = folds
        self._input = options.open_input(stop)
        self._retried_names = RetriedNames() if policy.retries_failed else None
        self._is_bulk = options.settings.delivery.customers == "bulk" and not policy.retries_failed
        self._first_pass = first_pass
        self._lines_of_first_pass: dict[str, int] | None = None if first_pass is None else {}
        orders = options.settings.orders
        self._is_single = orders.disabled or orders.instead_of_events
        needs_first_pass = not orders.disabled or self._is_bulk
        if needs_first_pass and folds is None and first_pass is None:
            self._first_pass = FirstPass(options, ledger, policy, delivery, stop)
        self.sinks = OutcomeSinks(options, ledger, stop, in_bulk=self._is_bulk, observer=observer)
        self.pipeline = self._new_pipeline()
        self._deduplicator = Deduplicator(
            ledger, policy, self.sinks.is_superseded if policy.retries_failed else None
        )
        self._planned_calls = planned_calls
        self._read = 0
        self._is_read = False
        self._started_at = datetime.now(UTC)
        self._clock_at_start = time.monotonic()

    def _new_pipeline(self) -> Pipeline:
        options = self._options
        return Pipeline(
            options.settings,
            options.selection,
            folds=self._is_bulk or self._folds is not None or self._retried_names is not None,
            refers=self._is_bulk,
            folds_orders=True,
            retries=self._retried_names is not None,
            decode=options.decode,
        )

    def execute(self) -> None:
        """Read, map, deliver and record to the end of the input, or until the run stops."""
        with _time_limit(self._options.max_duration_s, self._stop):
            if self._first_pass is None or self._is_second_pass or self._run_first_pass(self._first_pass):
                self._replay()
        self._blame_the_address()
        self.sinks.report.read = self._read
        try:
            self.sinks.report.check_invariant()
        except VoucherifySyncError as error:
            self._stop.because(error)
        self.sinks.save()
        self.sinks.close(self.exit_code)

    def _blame_the_address(self) -> None:
        """Say that nothing was ever reached, where a limit of the user ended the run before that was certain.

        The same command would go on as it began. A signal says that somebody watches, and its exit code stays.
        """
        error, delivery = self._stop.error, self._delivery
        if isinstance(delivery, DryRun) or self._stop.signal_exit or not isinstance(error, RunStopped):
            return
        if (unreached := delivery.unreached) is not None:
            unreached.message += f" ({error.message.rstrip('.')})"
            self._stop.error = unreached

    def _run_first_pass(self, first_pass: FirstPass) -> bool:
        """Deliver what the first pass makes, and open the input again; False: it stopped, all records are pending."""
        first_pass.run(self._batches(self._new_pipeline()))
        if self._stop.requested:
            self._read = first_pass.read
            self.sinks.report.add(first_pass.pending())
            return False
        # No letter is added meanwhile.
        facts = self._input.facts if self._retried_names is None else ()
        self._lines_of_first_pass = {each.name: each.lines for each in facts}
        self._input = self._options.open_input(self._stop)
        return True

    def _replay(self) -> None:
        """Read the input and record the outcome of each record; a ledger that fails stops the run."""
        try:
            for mapped in self._batches(self.pipeline):
                self._read += self._count(mapped)
                if not self._is_single:
                    self.sinks.expect_two(record_of(each).position for each in mapped if is_second(each))
                decisions: Iterable[Decision] = self._decide(mapped)
                if self._first_pass is not None:
                    decisions = map(self._first_pass.decide, decisions)
                for outcomes in self._delivery.deliver(decisions):
                    self.sinks.add(outcomes)
            self._is_read = not self._stop.requested
        except VoucherifySyncError as error:
            self._stop.because(error)
        for outcome in self._delivery.drain():
            self.sinks.add((outcome,))
        if self._output is not None:
            self._output.flush()  # the last batch, before anything is said of the run

    def _decide(self, mapped: Sequence[Decision]) -> Sequence[Decision]:
        """De-duplicate records, and fold them where they are folded; if that fails, they are pending."""
        try:
            decided = self._deduplicator.decide(mapped)
            for each in decided if decided is not mapped else ():
                if isinstance(each, Outcome) and each.reason == REPEATED_DIFFERS:
                    event = each.record
                    self.pipeline.mapper.find(REPEATED_DIFFERS, event.position, event.message_id or "")
            if self._folds is not None:
                fold_updates(self._folds.customers, mapped, decided)
                self._folds.orders.add_records(mapped, decided)
            if (names := self._retried_names) is not None:
                decided = [names.join(each) if isinstance(each, Request) else each for each in decided]
        except VoucherifySyncError as error:
            self._stop.because(error)
            return [
                Outcome(each.event, State.PENDING, request=each) if isinstance(each, Request) else each
                for each in mapped
            ]
        return decided

    def _count(self, mapped: Sequence[Decision]) -> int:
        """Count the records; what is sent as an order and as a custom event is one."""
        return len(mapped) - (0 if self._is_single else sum(map(is_second, mapped)))

    def _is_shared(self) -> bool:
        """Tell whether several processes map the input: nothing is sent meanwhile, and all of it is read."""
        options = self._options
        sends = not isinstance(self._delivery, DryRun) and (self._first_pass is None or self._is_second_pass)
        is_whole = options.limit is None and options.max_errors is None and options.decode is None
        return (
            is_whole and not (sends or self._is_second_pass) and is_worth_processes(self._input, options.jobs)
        )

    def _batches(self, pipeline: Pipeline) -> Iterator[Sequence[Decision]]:
        """Yield what the pipeline makes of the input, in its order, until the run stops."""
        options, left = self._options, self._options.limit
        if self._is_shared():
            yield from pipeline.shared(self._input, options.jobs, self._stop)
            return
        size = 1 if options.max_errors else MAX_BATCH_RECORDS  # no record is read beyond one that is too many
        for batch in self._input_batches():
            for mapped in pipeline.batches(batch, self._stop, left, size):
                yield mapped
                if left is not None:
                    left -= self._count(mapped)
                if self._stop.requested:
                    return
            if left == 0:
                return

    def _input_batches(self) -> Iterator[Batch]:
        """Yield the input; what came of one batch is flushed before the next is awaited, so that pipes flow."""
        lines = self._lines_of_first_pass
        try:
            for batch in without_added_lines(lines, self._input) if lines else self._input:
                yield batch
                if self._output is not None:
                    self._output.flush()
        except SourceError as error:  # a pipe turned out to hold something else; what is under way may end
            self._stop.because(error)

    def snapshot(self) -> Snapshot:
        """Return the state of the run; any thread may ask at any time."""
        delivery, first_pass = self._delivery, self._first_pass
        requests, left = self._requests(), self.calls_left()
        share = eta = calls_total = None
        if isinstance(delivery, DryRun):
            share = self._share_read()
            eta_s = reading_eta_s(share, time.monotonic() - self._clock_at_start)
            eta = None if eta_s is None else (eta_s, eta_s)
        elif requests is not None and left is not None:
            calls_total = requests[0] + (first_pass.calls if first_pass and self._is_second_pass else 0)
            is_done = self._is_read and not left[0]
            share = 1.0 if is_done else min(1 - left[0] / max(calls_total, left[0], 1), _NEARLY_ALL)
            eta = delivery.eta_s(left[0])
        customers = {}
        tally = None if first_pass is None else first_pass.tally
        if tally is not None:
            customers = {State.DELIVERED: tally.delivered, State.FAILED: tally.failed}
        return Snapshot(
            events=self._read if first_pass is None or self._is_second_pass else first_pass.read,
            bytes=self._bytes_read(),
            bytes_total=self._input.bytes_total,
            counts=self.sinks.report.counts(),
            phase=self._phase(),
            share=share,
            customers=customers,
            calls=delivery.calls,
            calls_total=calls_total,
            calls_left=None if left is None else left[0],
            is_total_estimated=left is not None and left[1],
            calls_per_min=delivery.calls_per_min,
            in_flight=delivery.in_flight,
            waiting=delivery.waiting(),
            eta_s=None if eta is None else eta[0],
            eta_hourly_s=None if eta is None or eta[1] == eta[0] else eta[1],
        )

    @property
    def _is_second_pass(self) -> bool:
        return self._lines_of_first_pass is not None

    def _phase(self) -> Phase:
        if isinstance(self._delivery, DryRun):
            return Phase.READING
        if self._first_pass is None or self._is_second_pass:
            return Phase.EVENTS
        return self._first_pass.phase

    def _bytes_read(self) -> int:
        return sum(facts.bytes for facts in self._input.facts[:])

    def _share_read(self) -> float | None:
        """Return how much of the input is read; a dry run in bulk reads it twice. None if its size is not known."""
        if self._is_read:
            return 1.0
        first_pass = self._first_pass
        read = self._read if first_pass is None or self._is_second_pass else first_pass.read
        share = reading_share(self._bytes_read(), self._input.bytes_total, read, self._options.limit)
        if share is None:
            return None
        share = min(share, _NEARLY_ALL)  # reading is ahead of what is done
        return share if first_pass is None else (share + self._is_second_pass) / 2

    def calls_left(self) -> tuple[int, bool] | None:
        """Count the calls to come, also of a run that was stopped, and tell whether that is an estimate.

        What the ledger knows takes no call. A call that has to be repeated is not foreseen. None if it is not known:
        in a dry run, while a pipe is read, and before the first request.
        """
        requests, delivery, first_pass = self._requests(), self._delivery, self._first_pass
        if requests is None:
            return None
        if first_pass is not None and not self._is_second_pass:
            return max(requests[0] - first_pass.calls, 0), True
        undecided = delivery.open + self.sinks.report.counts()[State.PENDING]
        return undecided + max(requests[0] - delivery.submitted, 0), requests[1]

    def _requests(self) -> tuple[int, bool] | None:
        """Count the requests of this pass, or all calls in the first one; tell whether that is an estimate."""
        delivery, planned = self._delivery, self._planned_calls
        if isinstance(delivery, DryRun):
            return None
        if self._is_read:
            return delivery.submitted, False
        if self._first_pass is not None:
            if not self._is_second_pass:  # how many bulk requests there are, and polls, only a plan can tell
                return None if planned is None else (planned, True)
            planned = self._first_pass.alone
        if planned is not None:
            return max(planned, delivery.submitted), False
        counts = self.sinks.report.counts()
        processed = min(self._read, sum(counts.values()) + delivery.open)
        unread = records_left(self._input.facts[:], self._input.bytes_total, processed, self._options.limit)
        # After a run that was stopped the duplicates come first: they tell nothing of what follows.
        new = processed - counts[State.DUPLICATE]
        if unread is None or new <= 0 or not delivery.submitted:
            return None
        return delivery.submitted + round(unread * min(delivery.submitted / new, 1.0)), True

    def foreign_sources(self) -> set[str]:
        """Return the names of the sources with lines of another tool, whose notices say what to do."""
        return {facts.name for facts in self._input.facts if facts.foreign is not None}

    def findings(self) -> dict[str, FindingCount]:
        """Return what a person should know of the records read so far, by code."""
        findings = findings_of(self.pipeline.mapper.stats, self.sinks.report, is_bulk=self._is_bulk)
        if self._retried_names is not None and HALF_NAME in findings:
            del findings[HALF_NAME]
            if (halves := self._retried_names.halves()).count:
                findings[HALF_NAME] = halves
        if (first_pass := self._first_pass) is not None and first_pass.orders is not None:
            findings |= first_pass.orders.findings
        if (sent := self._deduplicator.sent_as_events).count and self._is_single:
            findings[SENT_AS_EVENT] = sent
        return findings

    def notices(self) -> list[str]:
        """Return sentences on lines of other tools, and on filters and selections that met nothing or nearly something.

        A retry reads a few records of its own, of which no filter has to meet any.
        """
        if self._retried_names is not None:
            return []
        return [
            *source_notices(self._input.facts),
            *self.pipeline.filters.notices(self._stop),
            *self._notices_of_orders(),
        ]

    def _notices_of_orders(self) -> Iterator[str]:
        """Yield what may be missing in the orders, and before anything is sent, what they make of customers."""
        orders, options = self._first_pass.orders if self._first_pass else None, self._options
        if orders is None or not orders.tally.orders:
            return
        selection = options.selection
        given = {
            "--since": selection.since,
            "--until": selection.until,
            "--event": selection.names,
            "--where": selection.where,
            "--limit": options.limit,
        }
        if narrowing := [name for name, value in given.items() if value]:
            yield (
                f"{listed(narrowing, str, len(narrowing))}: events that are left out may belong to these orders, so an "
                "order may be incomplete, and replace a fuller one at Voucherify."
            )
        if not self._is_bulk and options.mode is Mode.DRY_RUN:
            yield (
                "With --each, an order of a customer who is not at Voucherify yet makes the customer, with an id and "
                "nothing else. --bulk sends the customers first."
            )

    @property
    def exit_code(self) -> ExitCode:
        """How the run ends, once it is over."""
        records, error = self.sinks.report, self._stop.error
        return exit_code(
            records.counts(),
            error=None if error is None else error.exit_code,
            signal=self._stop.signal_exit,
            is_damaged=any(facts.damaged for facts in self._input.facts),
            holds_invariant=records.holds_invariant,
        )

    def _orders_report(self) -> OrdersReport | UnsetType:
        orders = self._first_pass.orders if self._first_pass else None
        if orders is None:
            return UNSET
        section = self.pipeline.mapper.stats.sections.get(ORDERS.name)
        dropped = {} if section is None else section.dropped.get("items", {})
        return replace(orders.tally, items_dropped=dropped.get(ITEM_UNUSABLE, 0))

    def report(self) -> RunReport:
        """Return the report of the run, once it is over."""
        code, delivery, records = self.exit_code, self._delivery, self.sinks.report
        limit, first_pass = delivery.limit, self._first_pass
        return RunReport(
            version=version("voucherify-sync"),
            run_id=self._options.run_id,
            mode=str(self._options.mode),
            status=status_of(code),
            exit_code=int(code),
            started_at=utc_text(self._started_at),
            finished_at=utc_text(datetime.now(UTC)),
            duration_s=round(time.monotonic() - self._clock_at_start, 3),
            input=InputReport.of(self._input.facts),
            events=EventCounts(records.read, records.by_type()),
            outcomes={str(state): count for state, count in records.counts().items()},
            reasons=records.reasons(),
            api=ApiReport(
                delivery.calls,
                delivery.retries,
                delivery.throttled,
                limit.limit if limit else None,
                limit.period_s if limit else None,
                records.by_endpoint(),
            ),
            mapping=convert(self.pipeline.mapper.stats.to_dict(), dict[str, MappingReport]),
            findings=self.findings(),
            notices=self.notices(),
            timeline=self.sinks.timeline.report() if self.sinks.timeline else None,
            settings=SettingsReport(digest(self._options.settings)),
            selection=selection_report(self._options.selection),
            stopped_by=utf8(self._stop.reason) if self._stop.reason else None,
            dead_letters=utf8(self.sinks.dead_letters) if self.sinks.dead_letters else None,
            older_updates=OlderUpdatesReport(self.sinks.older.count, self.sinks.older.capped),
            bulk=first_pass.customers.tally if first_pass and first_pass.customers else UNSET,
            orders=self._orders_report(),
        )


def findings_of(stats: MappingStats, records: RecordCounts, *, is_bulk: bool) -> dict[str, FindingCount]:
    """Return what a person should know of records, by code; in bulk the halves of names are joined."""
    findings, other_types = dict(stats.findings), records.other_types()
    if other_types is not None:
        findings[OTHER_TYPES] = other_types
    if is_bulk:
        findings.pop(HALF_NAME, None)
    return findings


def selection_report(selection: Selection) -> SelectionReport:
    """Return what the report says of what the command line picks."""
    return SelectionReport(
        types=sorted(selection.types),
        events=sorted(selection.names),
        since=None if selection.since is None else utc_text(selection.since),
        until=None if selection.until is None else utc_text(selection.until),
        where=selection.where,
        sample=selection.sample,
    )
