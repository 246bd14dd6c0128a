"""Replay, plan, explain, count coverage and check from Python, as the command line does.

A function takes typed options and returns a typed report. It writes nothing to standard output, sets no handler of
signals, and leaves no thread behind. What cannot be begun raises a `VoucherifySyncError` that says where, what and what
to do. The report of a run that has begun says how it ended. Any thread may end it by its `Stop`.

The `Prepared…` classes are the same in two steps, for callers that have to look at something before anything is read.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Literal, Self

import msgspec
from msgspec import Struct
from msgspec.structs import force_setattr

from voucherify_sync.delivery.dry_run import DryRun, discard
from voucherify_sync.errors import SettingsError, UsageProblem, VoucherifySyncError
from voucherify_sync.exit_codes import ExitCode
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
from voucherify_sync.preview.explain import EventSearch, Explanation
from voucherify_sync.preview.mapping_tests import MappingResult, run_tests
from voucherify_sync.preview.plan import Plan, Planner
from voucherify_sync.preview.watch import POLL_S, SettingsWatch, WatchedEvents
from voucherify_sync.report.run_report import RunReport
from voucherify_sync.run.options import (
    ErrorLimit,
    Input,
    Mode,
    RunOptions,
    is_worth_processes,
    new_run_id,
    parse_duration_s,
    parse_moment,
    parse_type,
)
from voucherify_sync.run.run import Run
from voucherify_sync.sandbox import Sandbox
from voucherify_sync.settings import (
    Credentials,
    MappingTest,
    Rate,
    Secret,
    Settings,
    credentials,
    default_table_notices,
    digest,
    load,
    load_with_tests,
    parse_rate,
    settings_file,
    warnings,
)
from voucherify_sync.settings.types import OnDoubt, settings_of
from voucherify_sync.sources.decode import portions
from voucherify_sync.sources.discover import Source, find_sources
from voucherify_sync.sources.reader import Reader, SourceFacts, Spool, check_gzip
from voucherify_sync.state.dead_letters import LetterSelection
from voucherify_sync.state.deduplication import NEVER, ResendPolicy
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
from voucherify_sync.state.retry_input import (
    complete_letters,
    decode_letters,
    letters_of_file,
    letters_of_ledger,
)
from voucherify_sync.stop import Stop

if TYPE_CHECKING:
    from voucherify_sync.delivery.sender import Journal, LiveDelivery

__all__ = [
    "CheckReport",
    "ComparisonReport",
    "CoverageOptions",
    "CoverageReport",
    "CustomerState",
    "ErrorLimit",
    "ExitCode",
    "ExplainOptions",
    "Explanation",
    "FinalOptions",
    "Mode",
    "Outcome",
    "Plan",
    "PreparedCoverage",
    "PreparedExplanation",
    "PreparedFinalState",
    "PreparedReplay",
    "PreparedRetry",
    "Progress",
    "Rate",
    "ReplayOptions",
    "RequestChange",
    "RetryOptions",
    "RunReport",
    "Settings",
    "Snapshot",
    "State",
    "Stop",
    "VoucherifySyncError",
    "WatchedEvents",
    "changes",
    "check",
    "compare",
    "coverage",
    "explain",
    "final_state",
    "load",
    "plan",
    "replay",
    "retry",
    "watch",
]

Progress = Callable[[Snapshot], object]
"""Takes how a run stands, about twice a second, in a thread that ends with the run."""

Watch = Callable[[Sequence[Outcome]], None]
"""Takes the outcomes of records as they come, in the thread of the run."""

_PROGRESS_S: Final = 0.5
_MAX_JOBS: Final = 8  # the first process, which decides on what the others map, keeps no more of them busy
_log = logging.getLogger(__name__)


def _texts(value: str | Path | Sequence[str | Path]) -> tuple[str, ...]:
    """Read one text or several; a lone one is not taken for its letters."""
    return (str(value),) if isinstance(value, str | Path) else tuple(map(str, value))


def _number(low: float, high: float, kind: type[float]) -> Callable[[Any], float]:
    """Return what reads a number within bounds."""

    def read(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | kind) or not low <= value <= high:
            raise ValueError
        return value

    return read


def _id(value: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError
    return value


def _types(value: str | Sequence[str]) -> tuple[str, ...]:
    return tuple(map(parse_type, _texts(value)))


def _moment(value: datetime | str) -> datetime:
    """Read a time, or how long ago it is; UTC unless it says otherwise."""
    if isinstance(value, str):
        value = parse_moment(value, datetime.now(UTC))
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _error_limit(value: Any) -> ErrorLimit:
    return value if isinstance(value, ErrorLimit) else ErrorLimit(count=int(_number(0, inf, int)(value)))


def _one_of(*allowed: str) -> Callable[[str], str]:
    """Return what reads one of a few texts."""

    def read(value: str) -> str:
        if value not in allowed:
            raise ValueError
        return value

    return read


def _of_setting(name: str) -> tuple[Callable[[Any], Any], str]:
    """Return what reads a delivery setting, within the bounds that the settings file has."""
    setting = settings_of("delivery")[name]
    if setting.choices:
        return _one_of(*setting.choices), " or ".join(map(repr, setting.choices))
    low, high = setting.bounds
    bounds = f"from {low} on" if high is None else f"from {low} to {high}"
    return _number(low or 0, high or inf, int), f"a whole number {bounds}"


_COUNT: Final = (_number(1, inf, int), "a whole number from 1 on")
_TEXTS: Final = (_texts, "a text or a list of texts")
_MOMENT: Final = (_moment, "a datetime, or such as '2025-03-01' or '30d' for 30 days ago")
_PATH: Final = (Path, "a path")
_READERS: Final[dict[str, tuple[Callable[[Any], Any], str]]] = {
    "type": (_types, "identify or track, the types that are sent"),
    **dict.fromkeys(("source", "event", "user", "message_id", "reason", "run"), _TEXTS),
    "against": (lambda value: value if isinstance(value, Settings) else Path(value), "a path, or Settings"),
    **dict.fromkeys(("config", "exclude_ids", "dead_letters", "file"), _PATH),
    **dict.fromkeys(("limit", "jobs", "line"), _COUNT),
    **dict.fromkeys(("since", "until"), _MOMENT),
    **{name: _of_setting(name) for name in ("customers", "workers", "max_calls", "on_doubt")},
    "mode": (Mode, "a Mode"),
    "customer": (_id, "the source_id of a customer, as text"),
    **dict.fromkeys(("ledger", "files_from"), (str, "a path")),
    "rate": (
        lambda value: value if isinstance(value, Rate) else parse_rate(value),
        "a Rate, or such as '90/min'",
    ),
    "max_errors": (_error_limit, "an ErrorLimit, or a number of records"),
    "max_duration": (
        lambda value: parse_duration_s(value) if isinstance(value, str) else _number(0, inf, float)(value),
        "a number of seconds, or such as '8h'",
    ),
}
"""Option -> what reads it, and what it must be."""


class InputOptions(Struct, frozen=True, kw_only=True):
    """What is read, and by which settings.

    Attributes:
        source: files, directories and globs; ``-`` is standard input, and so is an empty list.
        config: settings file; None takes ``./voucherify-sync.yaml`` if there is one, else the defaults.
        settings: taken in place of a file.
    """

    source: str | Path | Sequence[str | Path] = ()
    config: Path | None = None
    settings: Settings | None = None

    def __post_init__(self) -> None:
        """Read each option as the command line reads its text, so that nothing is found out in the middle of a run.

        Raises:
            UsageProblem: a value cannot be meant.
        """
        for name in self.__struct_fields__:
            read, demand = _READERS.get(name, (None, ""))
            value = getattr(self, name)
            if read is None or value is None:
                continue
            try:
                force_setattr(self, name, read(value))
            except (AttributeError, TypeError, ValueError):
                raise UsageProblem(f"{name}: must be {demand}, not {value!r}.") from None


class ReplayOptions(InputOptions, frozen=True, kw_only=True):
    """What a replay sends, where to, and what it keeps. None leaves a matter to the settings.

    Attributes:
        mode: ``LIVE`` sends to Voucherify, ``SANDBOX`` to a stand-in of its own, ``DRY_RUN`` makes no call.
        type: types of events to read, ``identify`` or ``track``; empty: all that the settings send.
        event: names of track events to read; empty: all.
        user: customers to read, by the id that would be their source_id; empty: all.
        exclude_ids: file of ids to leave out, one a line.
        since: leave out what happened earlier; events without a time are kept. Also taken as text: ``2025-03-01``, or
            ``30d`` for 30 days ago.
        until: leave out what happened then or later.
        limit: records to read at most.
        jobs: processes that map a large input while nothing is sent; None: one a core, at most 8.
        files_from: file with names of files, one a line, which are read after `source`, in its order; ``-`` takes the
            names from standard input.
        customers: ``each`` or ``bulk``, as the setting `delivery.customers`.
        workers: requests in flight at most.
        rate: calls at most.
        max_calls: stop cleanly after as many calls.
        max_duration: stop cleanly after as many seconds; also taken as text, such as ``8h``.
        max_errors: stop cleanly when more records are invalid or failed.
        ledger: path of the ledger, relative to the working directory.
        new_ledger: make a ledger; needed for the first run to a project that sends without asking.
        same_project: the ledger is the project's, although its key or address was another.
        ledger_is_whole: use a ledger that looks like a copy of one in use.
        again: send what was delivered or failed before, too.
        again_since: as `again`, but skip what this run or a later one delivered.
        on_doubt: as the setting `delivery.on_doubt`.
        dead_letters: file to which this run's dead letters are written, too.
    """

    mode: Mode = Mode.LIVE
    type: Sequence[str] = ()
    event: Sequence[str] = ()
    user: Sequence[str] = ()
    exclude_ids: Path | None = None
    since: datetime | None = None
    until: datetime | None = None
    limit: int | None = None
    jobs: int | None = None
    files_from: str | None = None
    customers: Literal["each", "bulk"] | None = None
    workers: int | None = None
    rate: Rate | None = None
    max_calls: int | None = None
    max_duration: float | None = None
    max_errors: ErrorLimit | None = None
    ledger: str | None = None
    new_ledger: bool = False
    same_project: bool = False
    ledger_is_whole: bool = False
    again: bool = False
    again_since: str | None = None
    on_doubt: OnDoubt | None = None
    dead_letters: Path | None = None


class RetryOptions(ReplayOptions, frozen=True, kw_only=True):
    """Which dead letters are sent again. `event` and `user` choose among those of the ledger, too.

    Attributes:
        file: a file of dead letters; None takes those of the ledger, the oldest first.
        reason: only those with one of these reasons.
        run: only those that one of these runs left.
    """

    file: Path | None = None
    reason: Sequence[str] = ()
    run: Sequence[str] = ()


class Prepared:
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
        notices: sentences on files that are not read, and of a preview on fields that are no longer filled.
    """

    reads_sources = True

    def __init__(self, options: InputOptions, stop: Stop | None) -> None:
        self.stop = stop or Stop()
        self.source_names = list(_texts(options.source))
        self.settings = options.settings or load(options.config, environment=os.environ)
        try:
            is_terminal = sys.stdin is not None and sys.stdin.isatty()
        except ValueError:  # it is closed
            is_terminal = False
        self.sources: list[Source] = []
        self.notices: list[str] = []
        if self.reads_sources:
            files_from = getattr(options, "files_from", None)
            found = find_sources(self.source_names, stdin_is_terminal=is_terminal, files_from=files_from)
            self.sources, self.notices = found.sources, found.notices


class PreparedReplay(Prepared):
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
        sandbox_counts: customers and custom events that the sandbox held at the end.
    """

    sends_again = False

    def __init__(
        self, options: ReplayOptions, stop: Stop | None = None, *, plans_first: bool = False
    ) -> None:
        super().__init__(options, stop)
        self.options = options
        self.settings = _with_delivery_options(options, self.settings)
        if options.mode is Mode.DRY_RUN:
            self.notices = [*default_table_notices(self.settings), *self.notices]
        self.run: Run | None = None
        self.earlier_run: EarlierRun | None = None
        self.last_failure: str | None = None
        self.sandbox_counts: tuple[int, int] | None = None
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
        self.run_options = self._run_options(_read_ids(options.exclude_ids), self._opener(plans_first))

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
        is_safe = asks or self.options.new_ledger or self.goes_to_sandbox or not self._may_send_events()
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

    def _may_send_events(self) -> bool:
        types = self.options.type
        return not self.settings.track.disabled and (not types or "track" in types)

    def _run_options(self, exclude_ids: frozenset[str], open_input: Callable[[Stop], Input]) -> RunOptions:
        options = self.options
        return RunOptions(
            run_id=new_run_id(),
            mode=options.mode,
            settings=self.settings,
            open_input=open_input,
            selection=Selection(
                types=frozenset(options.type),
                names=frozenset(options.event),
                users=frozenset(options.user),
                exclude_ids=exclude_ids,
                since=options.since,
                until=options.until,
            ),
            limit=options.limit,
            max_errors=options.max_errors,
            max_duration_s=options.max_duration,
            jobs=options.jobs or default_jobs(),
            dead_letters=None if options.mode is Mode.DRY_RUN else options.dead_letters,
            command=f"replay --{options.customers}" if options.customers else "replay",
        )

    def _opener(self, plans_first: bool) -> Callable[[Stop], Input]:
        """Return what opens the sources, as often as is wanted if they are read twice."""
        reads_twice = plans_first or self.settings.delivery.customers == "bulk"
        spool = self._resources.enter_context(Spool(self.sources)) if reads_twice else None
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
            keys, settings, on_doubt, journal, self.stop, accepted, retries=self.sends_again
        )
        return resources.enter_context(closing(delivery))

    def _count(self, sandbox: Sandbox) -> None:
        customers, events, _ = sandbox.counts()
        self.sandbox_counts = customers, events


class PreparedRetry(PreparedReplay):
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
            self.run_options, command="retry", decode=decode_letters, selection=Selection()
        )

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


def replay(
    options: ReplayOptions,
    *,
    stop: Stop | None = None,
    progress: Progress | None = None,
    output: BinaryIO | None = None,
    watch: Watch | None = None,
) -> RunReport:
    """Send the events of the sources to Voucherify, and return the report of the run.

    A live run sends without asking: look at `plan` before. The first one to a project needs ``new_ledger=True``.

    Args:
        options: what is sent, and where to.
        stop: ends the run early; what is in flight is waited for, and the same call goes on later.
        progress: takes how the run stands.
        output: takes the requests of a dry run, as JSON lines.
        watch: takes the outcomes of records as they come.

    Raises:
        VoucherifySyncError: the run cannot begin. What stops it later is in the report.
    """
    with PreparedReplay(options, stop) as prepared:
        return _executed(prepared, progress, output, watch)


def retry(
    options: RetryOptions,
    *,
    stop: Stop | None = None,
    progress: Progress | None = None,
    output: BinaryIO | None = None,
    watch: Watch | None = None,
) -> RunReport:
    """Send dead letters again, and return the report of the run; arguments and errors are those of `replay`."""
    with PreparedRetry(options, stop) as prepared:
        return _executed(prepared, progress, output, watch)


def plan(options: ReplayOptions, *, stop: Stop | None = None, progress: Progress | None = None) -> Plan:
    """Tell what a replay would send and cost; nothing is sent, whatever the mode. See `Plan`.

    Raises:
        VoucherifySyncError: it cannot begin.
    """
    options = msgspec.structs.replace(options, mode=Mode.DRY_RUN)
    with (
        PreparedReplay(options, stop, plans_first=True) as prepared,
        _reporting_progress(progress, prepared.snapshot),
    ):
        return prepared.plan()


def _executed(
    prepared: PreparedReplay, progress: Progress | None, output: BinaryIO | None, watch: Watch | None
) -> RunReport:
    prepared.check_may_send()
    with _reporting_progress(progress, prepared.snapshot):
        return prepared.execute(output=output, watch=watch)


class ExplainOptions(InputOptions, frozen=True, kw_only=True):
    """Which events are explained; what is empty or None takes all.

    Attributes:
        event: track events of these names; a ``*`` matches any characters.
        user: events of these customers, by userId, anonymousId or source_id.
        message_id: events with these.
        line: events on this line; there may be one source only.
        against: earlier settings, or their file, for `changes`.
    """

    event: Sequence[str] = ()
    user: Sequence[str] = ()
    message_id: Sequence[str] = ()
    line: int | None = None
    against: Path | Settings | None = None


class PreparedExplanation(Prepared):
    """A search for events to be explained.

    Raises:
        UsageProblem: a line is named, and there are several sources.

    Attributes:
        search: yields the explanations.
        reader: of the events; it knows which sources hold lines of another tool.
    """

    def __init__(self, options: ExplainOptions, stop: Stop | None = None) -> None:
        super().__init__(options, stop)
        if options.line is not None and len(self.sources) != 1:
            raise UsageProblem(
                f"--line is a line of one file, and there are {len(self.sources)} sources", "Name that file."
            )
        self.reader = Reader(self.sources, self.stop)
        self.search = EventSearch(
            self.settings,
            self.reader,
            names=options.event,
            users=options.user,
            message_ids=options.message_id,
            line=options.line,
        )
        self._before = None if options.against is None else _earlier_settings(options.against)

    def changes(self) -> Iterator[RequestChange]:
        """Yield what changes for the events against the earlier settings, where something does.

        Raises:
            UsageProblem: there are none.
        """
        if self._before is None:
            raise _NOTHING_TO_COMPARE
        return self.search.changes(Comparison(self._before, self.settings))


_NOTHING_TO_COMPARE: Final = UsageProblem(
    "against: must name the settings to compare with.", "Give a path, or Settings."
)


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


def _refuse_against(against: Path | Settings | None, meant: str) -> None:
    if against is not None:
        raise UsageProblem("against: compares two versions of the settings.", f"Call {meant}().")


def changes(options: ExplainOptions, *, stop: Stop | None = None) -> Iterator[RequestChange]:
    """Yield what changes in the requests of the picked events between the settings `against` and those in use.

    Events of which nothing changes are left out. Nothing is sent.

    Raises:
        VoucherifySyncError: it cannot begin.
    """
    return PreparedExplanation(options, stop).changes()


def explain(options: ExplainOptions, *, stop: Stop | None = None) -> Iterator[Explanation]:
    """Yield what happens to each event that is picked: its request, or why there is none. Nothing is sent.

    Raises:
        VoucherifySyncError: it cannot begin.
    """
    _refuse_against(options.against, "changes")
    return iter(PreparedExplanation(options, stop).search)


def watch(options: ExplainOptions, *, limit: int = 3, stop: Stop | None = None) -> Iterator[WatchedEvents]:
    """Yield the explanations of the first events that are picked, and again each time the settings file is saved.

    Mistakes of the settings are yielded, too, and the watch goes on until the stop.

    Raises:
        UsageProblem: the settings are no file.
        VoucherifySyncError: the sources cannot be read.
    """
    if options.settings is not None:
        raise UsageProblem("watch needs a file of settings, and they are given as a value.", "Give `config`.")
    stop = stop or Stop()
    watched = SettingsWatch(options.config, lambda: islice(PreparedExplanation(options, stop).search, limit))
    while not stop.requested:
        if (shown := watched.poll()) is not None:
            yield shown
        stop.wait(POLL_S)


class FinalOptions(InputOptions, frozen=True, kw_only=True):
    """Which customer is looked at.

    Attributes:
        customer: by the source_id: the userId, else the anonymousId, unless a row fills another.
        jobs: as in ReplayOptions.
    """

    customer: str
    jobs: int | None = None


class PreparedFinalState(Prepared):
    """A look at one customer.

    Attributes:
        reader: of the events; it knows which sources are damaged.
    """

    def __init__(self, options: FinalOptions, stop: Stop | None = None) -> None:
        super().__init__(options, stop)
        self.reader = Reader(self.sources, self.stop)
        self._jobs = options.jobs or default_jobs()
        self._started = time.monotonic()
        self._history = CustomerHistory(self.settings, options.customer)

    def read(self) -> CustomerState:
        """Read all, and return what it amounts to."""
        return self._history.read_all(self.reader, self._jobs, self.stop)

    def snapshot(self) -> Snapshot:
        """Tell how far it has read; any thread may ask at any time."""
        return _reading_snapshot(self.reader, self._history.read, None, self._started)


def final_state(
    options: FinalOptions, *, stop: Stop | None = None, progress: Progress | None = None
) -> CustomerState:
    """Tell what Voucherify would hold of one customer after all events, as a run in bulk leaves it. Nothing is sent.

    Raises:
        VoucherifySyncError: it cannot begin.
    """
    prepared = PreparedFinalState(options, stop)
    with _reporting_progress(progress, prepared.snapshot):
        return prepared.read()


class CoverageOptions(InputOptions, frozen=True, kw_only=True):
    """Which events are counted; the attributes are those of ReplayOptions.

    Attributes:
        against: earlier settings, or their file, for `compare`.
    """

    type: Sequence[str] = ()
    event: Sequence[str] = ()
    limit: int | None = None
    jobs: int | None = None
    files_from: str | None = None
    against: Path | Settings | None = None


class PreparedCoverage(Prepared):
    """A count of values, or of the requests that change against other settings.

    Attributes:
        reader: of the events; it knows which sources are damaged.
    """

    def __init__(self, options: CoverageOptions, stop: Stop | None = None) -> None:
        super().__init__(options, stop)
        self.reader = Reader(self.sources, self.stop)
        self._options = options
        self._started = time.monotonic()
        selection = Selection(types=frozenset(options.type), names=frozenset(options.event))
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
        """Read, compare, and return the report; only where settings are named to compare with."""
        assert isinstance(self._counts, Comparison)  # noqa: S101  # the caller knows its options
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
                    if self.stop.requested:
                        return
                    counts.add(records)
                if counts.read == limit:
                    return

    def snapshot(self) -> Snapshot:
        """Tell how far it has read; any thread may ask at any time."""
        return _reading_snapshot(self.reader, self._counts.read, self._options.limit, self._started)


def _reading_snapshot(reader: Reader, records: int, limit: int | None, started: float) -> Snapshot:
    read, total = sum(facts.bytes for facts in reader.facts[:]), reader.bytes_total
    share = reading_share(read, total, records, limit)
    eta_s = reading_eta_s(share, time.monotonic() - started)
    return Snapshot(records, bytes=read, bytes_total=total, counts={}, share=share, eta_s=eta_s)


def coverage(
    options: CoverageOptions, *, stop: Stop | None = None, progress: Progress | None = None
) -> CoverageReport:
    """Count which values of the events reach Voucherify, and which do not. Nothing is sent.

    Raises:
        VoucherifySyncError: it cannot begin.
    """
    _refuse_against(options.against, "compare")
    prepared = PreparedCoverage(options, stop)
    with _reporting_progress(progress, prepared.snapshot):
        return prepared.count()


def compare(
    options: CoverageOptions, *, stop: Stop | None = None, progress: Progress | None = None
) -> ComparisonReport:
    """Count the requests that change between the settings `against` and those in use, and by which rows.

    Raises:
        VoucherifySyncError: it cannot begin.
    """
    if options.against is None:
        raise _NOTHING_TO_COMPARE
    prepared = PreparedCoverage(options, stop)
    with _reporting_progress(progress, prepared.snapshot):
        return prepared.compare()


class CheckReport(Struct, frozen=True, kw_only=True):
    """What a check of the settings found. Mistakes of the settings are a SettingsError instead.

    Attributes:
        settings: the effective ones.
        file: from which they were read; None: the defaults.
        ledger: of live runs, and what is wrong with it.
        warnings: sentences on settings that are likely to be meant otherwise.
        missing: sentences on what a live run would need besides.
        tests: results of the mapping tests.
    """

    settings: Settings
    file: Path | None
    ledger: LedgerLocation
    warnings: list[str]
    missing: list[str]
    tests: list[MappingResult]

    @property
    def is_passed(self) -> bool:
        """Whether every mapping test passed."""
        return all(result.passed for result in self.tests)


def check(config: str | Path | None = None) -> CheckReport:
    """Check a settings file and run its mapping tests; no call is made.

    Raises:
        SettingsError: the file has mistakes; all of them are named.
    """
    config = None if config is None else Path(config)
    return checked(*load_with_tests(config, environment=os.environ), config)


def checked(
    settings: Settings, tests: Sequence[MappingTest], doubts: Sequence[str], config: Path | None
) -> CheckReport:
    """Run the mapping tests of settings that are loaded, and look at what a live run would need.

    Args:
        settings: as `load_with_tests` returns them, as are the next two.
        tests: to run.
        doubts: what in the file is likely to be meant otherwise.
        config: the settings file, as it was given.
    """
    return CheckReport(
        settings=settings,
        file=settings_file(config),
        ledger=find_ledger(settings, LedgerChoice.of(settings, config, None), os.environ),
        warnings=[*doubts, *default_table_notices(settings), *warnings(config, settings)],
        missing=_missing_keys(settings),
        tests=run_tests(settings, tests) if tests else [],
    )


def _missing_keys(settings: Settings) -> list[str]:
    try:
        credentials(settings, os.environ)
    except SettingsError as error:
        return list(error.problems)
    return []


def default_jobs() -> int:
    """Return how many processes are worth while: one for each processor that this one may use, within limits."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(count, _MAX_JOBS)


def _opener(sources: list[Source], spool: Spool | None, *, sends: bool) -> Callable[[Stop], Input]:
    """Return what opens the sources. If something is sent, gzip checksums are verified before the first pass."""
    checked: list[SourceFacts] | None = None if sends else []

    def open_input(stop: Stop) -> Input:
        nonlocal checked
        if checked is None:
            checked = check_gzip(sources, stop)
        distrusted = [facts for facts in checked if facts.corrupt]
        return Reader(sources, stop, distrusted, spool=spool)

    return open_input


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


@contextmanager
def _reporting_progress(progress: Progress | None, snapshot: Callable[[], Snapshot]) -> Iterator[None]:
    """Call `progress` twice a second within this block. An error that it raises is logged and ends only that."""
    if progress is None:
        yield
        return
    over = threading.Event()

    def tell() -> None:
        try:
            while not over.wait(_PROGRESS_S):
                progress(snapshot())
            progress(snapshot())
        except Exception:  # noqa: BLE001  # whatever the caller's own code raises
            _log.exception("the progress callback failed; the run goes on")

    thread = threading.Thread(target=tell, name="progress")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
