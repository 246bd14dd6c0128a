"""Do what the public functions do in two steps, for callers that look at something before anything is read.

First the settings, the sources and the ledger are found, then `plan`, `execute`, `count` and the like read the events.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, Self

import msgspec

from voucherify_sync.api.options import (
    CoverageOptions,
    ExplainOptions,
    FinalOptions,
    InputOptions,
    PrepareOptions,
    ReplayOptions,
    RetryOptions,
    SelectionOptions,
    texts,
)
from voucherify_sync.delivery.dry_run import DryRun, discard
from voucherify_sync.errors import UsageProblem, VoucherifySyncError
from voucherify_sync.events import SENT_TYPES, Kind
from voucherify_sync.mapping.filters import Selection
from voucherify_sync.outcomes import (
    NOTHING_ACCEPTED,
    Accepted,
    Outcome,
    Snapshot,
    State,
    reading_eta_s,
    reading_share,
)
from voucherify_sync.preview.comparison import Comparison, ComparisonReport, RequestChange
from voucherify_sync.preview.coverage import Coverage, CoverageReport
from voucherify_sync.preview.customer_state import CustomerHistory, CustomerState
from voucherify_sync.preview.explain import EventSearch
from voucherify_sync.preview.plan import Plan, Planner
from voucherify_sync.report.run_report import RunReport
from voucherify_sync.run.options import (
    Input,
    Mode,
    RunOptions,
    default_jobs,
    is_worth_processes,
    new_run_id,
)
from voucherify_sync.run.run import Run
from voucherify_sync.sandbox import Sandbox
from voucherify_sync.settings import (
    Credentials,
    Secret,
    Settings,
    credentials,
    default_table_notices,
    digest,
    digest_of_all,
    load,
)
from voucherify_sync.settings.types import Api, OnDoubt
from voucherify_sync.sources.decode import portions, until_stopped
from voucherify_sync.sources.discover import Source, find_sources
from voucherify_sync.sources.object_store import is_url, without_alias
from voucherify_sync.sources.reader import Reader, SourceFacts, Spool, check_gzip
from voucherify_sync.state.dead_letters import LetterSelection
from voucherify_sync.state.deduplication import NEVER, ResendPolicy
from voucherify_sync.state.known_project import findings_of_settings
from voucherify_sync.state.ledger import Ledger, RunStart
from voucherify_sync.state.ledger_file import ProjectIdentity
from voucherify_sync.state.ledger_location import (
    LedgerChoice,
    LedgerLocation,
    check_free,
    find_ledger,
    write_ledger,
)
from voucherify_sync.state.ledger_reader import EarlierRun, LedgerReader
from voucherify_sync.state.prepared_archive import PreparedArchive, PreparedInput, decode_prepared
from voucherify_sync.state.retry_input import (
    complete_letters,
    decode_letters,
    letters_of_file,
    letters_of_ledger,
)
from voucherify_sync.state.storage import storage_at
from voucherify_sync.stop import Stop
from voucherify_sync.text import listed, size

if TYPE_CHECKING:
    from voucherify_sync.delivery.sender import Journal, LiveDelivery


MIN_NOTED_BYTES: Final = 100 << 20
"""Bytes of objects from which on people should know how often they are fetched."""

Watch = Callable[[Sequence[Outcome]], None]
"""Takes the outcomes of records as they come, in the thread of the run."""


class Opened:
    """Work of which the settings and the sources are found, and nothing is read yet.

    Args:
        options: what is read, and by which settings.
        stop: ends the work early.

    Raises:
        SettingsError: the settings have mistakes.
        SourceError: a source cannot be read, or there is none.

    Attributes:
        settings: the effective ones.
        source_names: as they are given.
        sources: what is read.
        archive: a prepared one, in place of sources.
        notices: sentences on files that are not read, and of a preview on fields that are no longer filled.
    """

    reads_sources = True
    takes_requests = False

    def __init__(self, options: InputOptions, stop: Stop | None) -> None:
        self.stop = stop or Stop()
        self.source_names = list(texts(options.source))
        self.settings = options.settings or load(options.config, environment=os.environ)
        try:
            is_terminal = sys.stdin is not None and sys.stdin.isatty()
        except ValueError:  # it is closed
            is_terminal = False
        self.sources: list[Source] = []
        self.notices: list[str] = []
        self.archive = PreparedArchive.find(self.source_names) if self.reads_sources else None
        if self.archive is not None:
            if not self.takes_requests:
                raise self.archive.no_events()
        elif self.reads_sources:
            files_from = getattr(options, "files_from", None)
            found = find_sources(self.source_names, stdin_is_terminal=is_terminal, files_from=files_from)
            self.sources, self.notices = found.sources, found.notices


class OpenedReplay(Opened):
    """A replay of which the ledger is found, too.

    Leave it as a context manager, or call `close`: the copy of a pipe is removed then.

    Args:
        options: what is replayed.
        stop: ends it early.
        plans_first: `plan` is called before `execute`, so that a pipe has to be copied.

    Raises:
        UsageProblem: the ledger cannot be looked at, or the file of ids cannot be read.

    Attributes:
        location: of the ledger, and what is wrong with it.
        run: the run of `plan` or `execute`, once that has begun.
        earlier_run: the last run that the ledger knew before.
        last_failure: how the last call failed that did.
        sandbox_held: what the sandbox held at the end, in words.
    """

    sends_again = False
    takes_requests = True

    def __init__(
        self, options: ReplayOptions, stop: Stop | None = None, *, plans_first: bool = False
    ) -> None:
        super().__init__(options, stop)
        self.options = options
        self.settings = _with_delivery_options(options, self.settings)
        if self.archive is not None:
            self.settings = _settings_for(self.archive, options, self.settings)
            self.notices += self.archive.notices()
        if options.mode is Mode.DRY_RUN:
            self.notices = [*default_table_notices(self.settings), *self.notices]
        self.run: Run | None = None
        self.earlier_run: EarlierRun | None = None
        self.last_failure: str | None = None
        self.sandbox_held: str | None = None
        self._planned_calls: int | None = None
        self._resources = ExitStack()
        self._choice = LedgerChoice.of(
            self.settings,
            options.config,
            options.ledger,
            is_new=options.new_ledger,
            same_project=options.same_project,
            is_whole=options.ledger_is_whole,
        )
        needs_ledger = options.mode is not Mode.SANDBOX
        self.location = (
            find_ledger(self.settings, self._choice, os.environ) if needs_ledger else LedgerLocation()
        )
        self._known = findings_of_settings(self.settings, self.location.path, os.environ)
        if self._known is not None:
            self.notices = [*self._known.warnings(self.settings), *self.notices]
        excluded = _read_ids(options.exclude_ids)
        self.run_options = self._run_options(excluded, self._opener(plans_first))
        if self.archive is not None:
            decode = partial(decode_prepared, excluded)
            self.run_options = msgspec.structs.replace(self.run_options, decode=decode)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove what was made for this replay alone."""
        self._resources.close()

    @property
    def goes_to_sandbox(self) -> bool:
        """Whether a sandbox made the Application ID, so that nothing reaches a project."""
        keys = credentials(self.settings, os.environ)
        return ProjectIdentity.of(keys.url, keys.app_id).is_sandbox

    def check_may_send(self, *, asks: bool = False) -> None:
        """Refuse now what a run that sends would refuse later, or should not do. Other runs may do anything.

        Args:
            asks: a person is asked before anything is sent, and sees that the ledger is new.

        Raises:
            SettingsError: a key is missing.
            UsageProblem: the ledger must not be used.
            RunStopped: another run holds it.
        """
        if self.options.mode is not Mode.LIVE:
            return
        credentials(self.settings, os.environ)
        if self.location.problem is not None:
            raise self.location.problem
        sends_events = any(
            type_.kind is Kind.EVENT
            and not getattr(self.settings, name).disabled
            and name in (self.options.type or SENT_TYPES)
            for name, type_ in SENT_TYPES.items()
        )
        sends_events = sends_events or not self.settings.orders.disabled
        is_safe = asks or self.options.new_ledger or self.goes_to_sandbox or not sends_events
        if self.location.is_first and not is_safe:
            raise UsageProblem(
                f"no ledger yet at {self.location.path}: without one that stays, the next run would send "
                "everything again.",
                "Name one that stays (delivery.ledger), or give --new-ledger for the first run.",
            )
        check_free(self.location)

    def plan(self) -> Plan:
        """Read everything as a dry run does, and tell what would be sent and what it would cost.

        Raises:
            UsageProblem: `again_since` names a run that the ledger does not know.
        """
        policy = self._policy()
        with LedgerReader(self.location.path) as ledger:
            planner = Planner(self.run_options, self.stop, ledger, policy)
            self.run = planner.run
            plan = planner.plan()
            self.run = planner.run  # a plan whose customers are refused needs a second one
        if not self.stop.requested:
            self._planned_calls = plan.cost.calls
        return plan

    def execute(self, *, output: BinaryIO | None = None, watch: Watch | None = None) -> RunReport:
        """Read, send, and return the report. The report also says what stopped the run.

        Args:
            output: takes the requests of a dry run as JSON, one a line; it is flushed after each batch.
            watch: takes the outcomes of records as they come.

        Raises:
            SettingsError: a key is missing.
            UsageProblem: the ledger must not be used or cannot be written, or `again_since` is not known to it.
            RunStopped: another run holds the ledger.
        """
        policy = self._policy()
        with ExitStack() as resources:
            delivery, ledger = self._open(output, resources)
            self.earlier_run = ledger.last_run()
            self.run = run = Run(
                self.run_options,
                self.stop,
                delivery,
                ledger,
                policy,
                output=output,
                observer=watch,
                planned_calls=self._planned_calls,
            )
            run.execute()
            self.last_failure = delivery.trouble()
            return run.report()

    @property
    def finished_run(self) -> Run:
        """The run that `plan` or `execute` has ended."""
        assert self.run is not None  # noqa: S101  # the caller has called one of them
        return self.run

    def snapshot(self) -> Snapshot:
        """Tell how the run stands; any thread may ask at any time."""
        run = self.run
        return Snapshot(events=0, bytes=0, bytes_total=None, counts={}) if run is None else run.snapshot()

    def _run_options(self, exclude_ids: frozenset[str], open_input: Callable[[Stop], Input]) -> RunOptions:
        options = self.options
        return RunOptions(
            run_id=new_run_id(),
            mode=options.mode,
            settings=self.settings,
            open_input=open_input,
            selection=_selection(options, exclude_ids),
            limit=options.limit,
            max_errors=options.max_errors,
            max_duration_s=options.max_duration,
            jobs=options.jobs or default_jobs(),
            dead_letters=None if options.mode is Mode.DRY_RUN else options.dead_letters,
            command=f"replay --{options.customers}" if options.customers else "replay",
            imports_update=self._known.imports_update if self._known else None,
        )

    def _opener(self, plans_first: bool) -> Callable[[Stop], Input]:
        """Return what opens the sources, as often as is wanted if they are read twice."""
        if self.archive is not None:
            return partial(PreparedInput, self.archive.storage, self.archive.manifest.files)
        passes = (1 + plans_first) * (1 + self.settings.has_first_pass)
        fetched = sum(source.size or 0 for source in self.sources if source.remote is not None)
        if passes > 1 and fetched >= MIN_NOTED_BYTES:
            self.notices.append(
                f"The objects are fetched {passes} times, {size(fetched)} each time; `prepare` fetches them once."
            )
        spool = self._resources.enter_context(Spool(self.sources)) if passes > 1 else None
        return _opener(self.sources, spool, sends=self.options.mode is not Mode.DRY_RUN)

    def _policy(self) -> ResendPolicy:
        """Say what is sent although it was sent before; what cannot be looked up is held in a dry run."""
        again_before: float = float("inf") if self.options.again else NEVER
        if self.options.again_since is not None:
            with LedgerReader(self.location.path) as ledger:
                again_before = ledger.run_named(self.options.again_since).number
        on_doubt = self.settings.delivery.on_doubt
        if self.options.mode is not Mode.LIVE and on_doubt != "resend":
            on_doubt = "hold"
        return ResendPolicy(again_before=again_before, retries_failed=self.sends_again, on_doubt=on_doubt)

    def _open(
        self, output: BinaryIO | None, resources: ExitStack
    ) -> tuple[LiveDelivery | DryRun, LedgerReader]:
        """Open what the run sends to, and what it knows of earlier ones; both are closed with the resources."""
        match self.options.mode:
            case Mode.DRY_RUN:
                write = discard if output is None else output.write
                return DryRun(write, self.stop), resources.enter_context(LedgerReader(self.location.path))
            case Mode.SANDBOX:
                sandbox = resources.enter_context(Sandbox())
                resources.callback(self._count, sandbox)
                keys = Credentials(app_id="sandbox", token=Secret("sandbox"), url=sandbox.url, version=None)
                delivery = self._live(keys, "hold", None, NOTHING_ACCEPTED, resources)
                return delivery, resources.enter_context(LedgerReader())
            case Mode.LIVE:
                keys = credentials(self.settings, os.environ)
                identity = ProjectIdentity.of(keys.url, keys.app_id)
                start = RunStart(
                    self.run_options.run_id, self.run_options.command, digest(self.settings), identity
                )
                ledger = resources.enter_context(self._ledger(start))
                accepted = ledger.accepted(identity, start.settings_digest)
                delivery = self._live(keys, self.settings.delivery.on_doubt, ledger, accepted, resources)
                return delivery, ledger

    @contextmanager
    def _ledger(self, start: RunStart) -> Iterator[Ledger]:
        """Open the ledger, and close it, knowing why the run ends."""
        with closing(write_ledger(self.location, self._choice, start, self.stop)) as ledger:
            try:
                yield ledger
            except VoucherifySyncError as error:
                self.stop.because(error)
                raise

    def _live(
        self,
        keys: Credentials,
        on_doubt: OnDoubt,
        journal: Journal | None,
        accepted: Accepted,
        resources: ExitStack,
    ) -> LiveDelivery:
        # It needs requests, which a dry run does not.
        from voucherify_sync.delivery.sender import LiveDelivery

        settings = self.settings.delivery
        delivery = LiveDelivery(
            keys,
            settings,
            on_doubt,
            journal,
            self.stop,
            accepted,
            retries=self.sends_again,
            known_limit=self._known.limit if self._known else None,
        )
        return resources.enter_context(closing(delivery))

    def _count(self, sandbox: Sandbox) -> None:
        self.sandbox_held = sandbox.describe_held()


class OpenedPreparation(Opened):
    """A preparation of an archive.

    Raises:
        UsageProblem: it cannot be written where it is to be.

    Attributes:
        config: settings file, as it was given.
        preparation: with the report, once it is over.
    """

    def __init__(self, options: PrepareOptions, stop: Stop | None = None) -> None:
        super().__init__(options, stop)
        if any(source.is_pipe for source in self.sources):
            raise UsageProblem(
                "prepare reads files, and one of the sources is a pipe.",
                "Write what it yields to a file first.",
            )
        # Other processes are of no use to most commands, and slow to import.
        from voucherify_sync.run.prepare_run import Preparation
        from voucherify_sync.run.prepare_tasks import Job, shards_for, splits_of
        from voucherify_sync.run.stages import LocalStages, Stages

        _refuse_nested(options.to, self.source_names)
        settings = _with_delivery_options(ReplayOptions(customers=options.customers), self.settings)
        self.settings = msgspec.structs.replace(settings, api=Api())  # the tasks need no keys
        job = Job(
            storage_at(options.to),
            self.settings,
            _selection(options, _read_ids(options.exclude_ids)),
            options.shards or shards_for(self.sources),
            options.limit,
        )
        splits = splits_of(self.sources, is_one=options.limit is not None)
        if options.cluster is None:
            stages: Stages = LocalStages(options.jobs or default_jobs(), self.stop)
        else:
            from voucherify_sync.run.cluster import RayStages

            _check_for_cluster(options, self.sources)
            stages = RayStages(options.cluster, self.stop)
        self.config = options.config
        self.preparation = Preparation(job, splits, stages, self.stop, keeps_work=options.keep_work)

    def snapshot(self) -> Snapshot:
        """Tell how far it is; any thread may ask at any time."""
        return self.preparation.snapshot()


def _check_for_cluster(options: PrepareOptions, sources: Sequence[Source]) -> None:
    """Raise UsageProblem where other machines could not reach what is read or written, or order would matter."""
    if options.limit is not None:
        raise UsageProblem(
            "--limit takes the first records, and a cluster reads in no order.", "Leave out one of them."
        )
    is_local = not is_url(options.to) or any(source.remote is None for source in sources)
    if is_local and not options.shared_directory:
        raise UsageProblem(
            "--cluster: other machines do not reach the files of this one.",
            "Name SOURCE and --to as URLs, or give --shared-directory if all machines have them under the same names.",
        )


def _refuse_nested(to: str, sources: Sequence[str]) -> None:
    """Raise UsageProblem where a prepared archive would be a part of what it is made of, or the other way round."""
    if to in ("", "-"):
        raise UsageProblem(f"to: must name a folder, and {to!r} is none.", "Name one, such as prepared.")
    target = _as_folder(to)
    for source in sources:
        path = _as_folder(source)
        if target.startswith(path) or path.startswith(target):
            raise UsageProblem(
                f"--to {to} and the source {source} are in each other.", "Name another folder."
            )


def _as_folder(place: str) -> str:
    return os.path.join(without_alias(place).rstrip("/") if is_url(place) else os.path.realpath(place), "")


class OpenedRetry(OpenedReplay):
    """Dead letters that are sent again: they go through mapping, filters and ledger as before.

    Raises:
        UsageProblem: there is no ledger or no such file, or a run that is named is not known.

    Attributes:
        has_letters: there is something to retry.
        without_event: failed records of an earlier version of which the ledger has no event.
    """

    reads_sources = False  # dead letters are no events of a source
    sends_again = True
    options: RetryOptions

    def __init__(self, options: RetryOptions, stop: Stop | None = None) -> None:
        self.has_letters, self.without_event = True, 0
        if options.file is not None and not os.path.exists(options.file):  # noqa: PTH110  # not Path: that raises for a name that is too long
            raise UsageProblem(f"{options.file} does not exist.", "Name a file of dead letters.")
        super().__init__(options, stop)
        self.run_options = msgspec.structs.replace(
            self.run_options,
            command="retry",
            decode=partial(decode_letters, cache(self._makes_other_orders)),
            selection=Selection(),
        )

    def _makes_other_orders(self, run: str | None) -> bool:
        """Tell whether orders that a run made are not what these settings make."""
        if self.settings.orders.disabled:
            return True
        with LedgerReader(self.location.path) as ledger:
            try:
                return run is not None and ledger.run_named(run).settings_digest != digest(self.settings)
            except UsageProblem:  # the letters are those of another ledger
                return False

    def _opener(self, plans_first: bool) -> Callable[[Stop], Input]:
        options = self.options
        if options.file is not None:
            return partial(letters_of_file, options.file)
        selection = LetterSelection(
            reasons=frozenset(options.reason),
            names=frozenset(options.event),
            users=frozenset(options.user),
            runs=frozenset(options.run),
        )
        path = self.location.existing()
        if self.location.problem is not None and options.mode is not Mode.DRY_RUN:
            raise self.location.problem
        self.has_letters = any(True for _ in letters_of_ledger(path, selection, Stop()))
        with LedgerReader(self.location.path) as ledger:
            for run in options.run:
                ledger.run_named(run)
            self.without_event = ledger.counts().failed_without_event
            if self.without_event and ledger.has_old_files:
                failed = LetterSelection(outcomes=frozenset({State.FAILED}))
                self.without_event = sum(letter.event is None for letter in complete_letters(ledger, failed))

        def letters(stop: Stop) -> Input:
            return letters_of_ledger(path, selection, stop)

        return letters


class OpenedPreview(Opened):
    """A look at the events of the sources, of which nothing is sent.

    Attributes:
        reader: of the events; it knows which sources are damaged, and which hold lines of another tool.
    """

    def __init__(self, options: InputOptions, stop: Stop | None) -> None:
        super().__init__(options, stop)
        self.reader = Reader(self.sources, self.stop)
        self._started_at = time.monotonic()

    @property
    def _can_read_again(self) -> bool:
        return all(source.size is not None for source in self.sources)

    def _snapshot(self, records: int, limit: int | None = None) -> Snapshot:
        """Tell how far it has read, by the records that were, of `limit` at most."""
        read, total = sum(facts.bytes for facts in self.reader.facts[:]), self.reader.bytes_total
        share = reading_share(read, total, records, limit)
        eta_s = reading_eta_s(share, time.monotonic() - self._started_at)
        return Snapshot(records, bytes=read, bytes_total=total, counts={}, share=share, eta_s=eta_s)


class OpenedExplanation(OpenedPreview):
    """A search for events to be explained.

    Raises:
        UsageProblem: a line is named, and there are several sources.

    Attributes:
        search: yields the explanations.
    """

    def __init__(self, options: ExplainOptions, stop: Stop | None = None) -> None:
        super().__init__(options, stop)
        if options.line is not None and len(self.sources) != 1:
            raise UsageProblem(
                f"--line is a line of one file, and there are {len(self.sources)} sources", "Name that file."
            )
        self.search = EventSearch(
            self.settings,
            self.reader,
            types=options.type,
            names=options.event,
            users=options.user,
            message_ids=options.message_id,
            line=options.line,
            where=options.where,
            read_again=partial(Reader, self.sources, self.stop) if self._can_read_again else None,
        )
        self._before = None if options.against is None else _earlier_settings(options.against)

    def changes(self) -> Iterator[RequestChange]:
        """Yield what changes for the events against the earlier settings, where something does.

        Raises:
            UsageProblem: there are none.
        """
        if self._before is None:
            raise _nothing_to_compare()
        return self.search.changes(Comparison(self._before, self.settings))


def _nothing_to_compare() -> UsageProblem:
    return UsageProblem("against: must name the settings to compare with.", "Give a path, or Settings.")


def _earlier_settings(against: Path | Settings) -> Settings:
    """Return settings to compare with.

    Raises:
        UsageProblem: there is no such file.
        SettingsError: the settings have mistakes.
    """
    if isinstance(against, Settings):
        return against
    if not os.path.exists(against):  # noqa: PTH110  # not Path: that raises for a name that is too long
        raise UsageProblem(
            f"{against}: no such file to compare with.",
            "Name an earlier settings file, such as one of `git show HEAD:voucherify-sync.yaml > before.yaml`.",
        )
    return load(against, environment=os.environ)


class OpenedFinalState(OpenedPreview):
    """A look at one customer."""

    def __init__(self, options: FinalOptions, stop: Stop | None = None) -> None:
        super().__init__(options, stop)
        self._jobs = options.jobs or default_jobs()
        self._history = CustomerHistory(self.settings, options.customer)

    def read(self) -> CustomerState:
        """Read all, and return what it amounts to."""
        return self._history.read_all(self.reader, self._jobs, self.stop)

    def snapshot(self) -> Snapshot:
        """Tell how far it has read; any thread may ask at any time."""
        return self._snapshot(self._history.read)


class OpenedCoverage(OpenedPreview):
    """A count of values, or of the requests that change against other settings."""

    def __init__(self, options: CoverageOptions, stop: Stop | None = None) -> None:
        super().__init__(options, stop)
        self._options = options
        selection = Selection(
            types=frozenset(options.type),
            names=frozenset(options.event),
            where=options.where,
            sample=options.sample,
        )
        self._counts: Coverage | Comparison = (
            Coverage(self.settings, selection)
            if options.against is None
            else Comparison(_earlier_settings(options.against), self.settings, selection)
        )

    def count(self) -> CoverageReport:
        """Read, count, and return the report; only where no settings are named to compare with."""
        assert isinstance(self._counts, Coverage)  # noqa: S101  # the caller knows its options
        self._read_all()
        return self._counts.report(self.stop)

    def compare(self) -> ComparisonReport:
        """Read, compare, and return the report.

        Raises:
            UsageProblem: no settings are named to compare with.
        """
        if not isinstance(self._counts, Comparison):
            raise _nothing_to_compare()
        self._read_all()
        return self._counts.report(self.stop)

    def _read_all(self) -> None:
        jobs, limit, counts = self._options.jobs or default_jobs(), self._options.limit, self._counts
        if limit is None and is_worth_processes(self.reader, jobs):
            counts.add_shared(self.reader, jobs, self.stop)
        else:
            for batch in self.reader:
                left = None if limit is None else limit - counts.read
                for records in portions(islice(counts.decode(batch), left)):
                    counts.add(until_stopped(records, self.stop))
                    if self.stop.requested:
                        return
                if counts.read == limit:
                    return

    def snapshot(self) -> Snapshot:
        """Tell how far it has read; any thread may ask at any time."""
        return self._snapshot(self._counts.read, self._options.limit)


def _opener(sources: list[Source], spool: Spool | None, *, sends: bool) -> Callable[[Stop], Input]:
    """Return what opens the sources. If something is sent, gzip checksums are verified before the first pass."""
    checked: list[SourceFacts] | None = None if sends else []

    def open_input(stop: Stop) -> Input:
        nonlocal checked
        if checked is None:
            checked = check_gzip(sources, stop)
        distrusted = [facts for facts in checked if facts.corrupt]
        return Reader(sources, stop, distrusted, spool=spool, verifies=sends)

    return open_input


def _selection(options: SelectionOptions, exclude_ids: frozenset[str]) -> Selection:
    return Selection(
        types=frozenset(options.type),
        names=frozenset(options.event),
        users=frozenset(options.user),
        exclude_ids=exclude_ids,
        since=options.since,
        until=options.until,
        where=options.where,
        sample=options.sample,
    )


_OF_PREPARE: Final = ("type", "event", "user", "since", "until", "where", "sample")
"""Options that choose among events, of which a prepared archive has none."""


def _settings_for(archive: PreparedArchive, options: ReplayOptions, settings: Settings) -> Settings:
    """Return the settings with which a prepared archive is replayed.

    Raises:
        UsageProblem: they, or the options, are not those with which it was prepared.
    """
    place, origin = archive.storage.place, archive.manifest.origin
    if origin.settings != digest_of_all(settings):
        raise UsageProblem(
            f"{place} was prepared with other settings: another mapping, filter or switch.",
            "Prepare the archive again, or name the settings of then with --config.",
        )
    if given := [f"--{name}" for name in _OF_PREPARE if getattr(options, name)]:
        raise UsageProblem(
            f"{listed(given, str, len(given))}: a prepared archive holds requests, and no events to choose from.",
            "Give such options to `prepare`.",
        )
    if options.customers not in (None, origin.customers):
        raise UsageProblem(
            f"{place} was prepared for --{origin.customers}, not for --{options.customers}.",
            f"Leave the option out, or prepare the archive with --{options.customers}.",
        )
    sends = options.mode is Mode.LIVE
    if archive.manifest.state == "incomplete" and sends and not options.incomplete:
        raise UsageProblem(
            f"{place} is incomplete: not every source could be read when it was prepared.",
            "Prepare the archive again once they can be read, or give --incomplete to send what is there.",
        )
    delivery = msgspec.structs.replace(settings.delivery, customers=origin.customers)
    return msgspec.structs.replace(settings, delivery=delivery)


def _with_delivery_options(options: ReplayOptions, settings: Settings) -> Settings:
    """Override the delivery settings with the options given."""
    given = {
        "customers": options.customers,
        "workers": options.workers,
        "rate": options.rate,
        "max_calls": options.max_calls,
        "on_doubt": options.on_doubt,
    }
    given = {name: value for name, value in given.items() if value is not None}
    return msgspec.structs.replace(settings, delivery=msgspec.structs.replace(settings.delivery, **given))


def _read_ids(file: Path | None) -> frozenset[str]:
    """Read ids, one a line; blank lines do not count, and nothing is trimmed but the line's end."""
    if file is None:
        return frozenset()
    try:
        lines = file.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageProblem(
            f"{file}: cannot be read: {error}", "--exclude-ids takes a text file, one id a line."
        ) from None
    return frozenset(line.removesuffix("\r") for line in lines if line.strip())
