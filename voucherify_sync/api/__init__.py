"""Replay, plan, explain, count coverage and check from Python, as the command line does.

A function takes typed options and returns a typed report. It writes nothing to standard output, sets no handler of
signals, and leaves no thread behind. What cannot be begun raises a `VoucherifySyncError` that says where, what and what
to do. The report of a run that has begun says how it ended. Any thread may end it by its `Stop`.

The `Opened…` classes do the same in two steps, for callers that have to look at something before anything is read.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
from msgspec import Struct

from voucherify_sync.api.opened import (
    OpenedCoverage,
    OpenedExplanation,
    OpenedFinalState,
    OpenedPreparation,
    OpenedReplay,
    OpenedRetry,
    Watch,
)
from voucherify_sync.api.options import (
    CoverageOptions,
    ExplainOptions,
    FinalOptions,
    PrepareOptions,
    ReplayOptions,
    RetryOptions,
)
from voucherify_sync.errors import SettingsError, UsageProblem, VoucherifySyncError
from voucherify_sync.exit_codes import ExitCode
from voucherify_sync.outcomes import Outcome, Snapshot, State
from voucherify_sync.preview.comparison import ComparisonReport, RequestChange
from voucherify_sync.preview.coverage import CoverageReport
from voucherify_sync.preview.customer_state import CustomerState
from voucherify_sync.preview.explain import Explanation
from voucherify_sync.preview.mapping_tests import MappingResult, run_tests
from voucherify_sync.preview.plan import Plan
from voucherify_sync.preview.watch import POLL_S, SettingsWatch, WatchedEvents
from voucherify_sync.report.run_report import RunReport
from voucherify_sync.run.options import ErrorLimit, Mode
from voucherify_sync.settings import (
    MappingTest,
    Rate,
    Settings,
    credentials,
    default_table_notices,
    load,
    load_with_tests,
    settings_file,
    warnings,
)
from voucherify_sync.state.known_project import findings_of_settings
from voucherify_sync.state.ledger_location import LedgerChoice, LedgerLocation, find_ledger
from voucherify_sync.stop import Stop

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
    "OpenedCoverage",
    "OpenedExplanation",
    "OpenedFinalState",
    "OpenedPreparation",
    "OpenedReplay",
    "OpenedRetry",
    "Outcome",
    "Plan",
    "PrepareOptions",
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
    "prepare",
    "replay",
    "retry",
    "watch",
]

Progress = Callable[[Snapshot], object]
"""Takes how a run stands, about twice a second, in a thread that ends with the run."""

_PROGRESS_S: Final = 0.5
_log = logging.getLogger(__name__)


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
    with OpenedReplay(options, stop) as opened:
        return _executed(opened, progress, output, watch)


def retry(
    options: RetryOptions,
    *,
    stop: Stop | None = None,
    progress: Progress | None = None,
    output: BinaryIO | None = None,
    watch: Watch | None = None,
) -> RunReport:
    """Send dead letters again, and return the report of the run; arguments and errors are those of `replay`."""
    with OpenedRetry(options, stop) as opened:
        return _executed(opened, progress, output, watch)


def plan(options: ReplayOptions, *, stop: Stop | None = None, progress: Progress | None = None) -> Plan:
    """Tell what a replay would send and cost; nothing is sent, whatever the mode. See `Plan`.

    Raises:
        VoucherifySyncError: it cannot begin.
    """
    options = msgspec.structs.replace(options, mode=Mode.DRY_RUN)
    with (
        OpenedReplay(options, stop, plans_first=True) as opened,
        _reporting_progress(progress, opened.snapshot),
    ):
        return opened.plan()


def prepare(
    options: PrepareOptions, *, stop: Stop | None = None, progress: Progress | None = None
) -> RunReport | None:
    """Map an archive into a folder of requests, which `plan` and `replay` take as their source; nothing is sent.

    The same call goes on with what was stopped or killed, wherever it ended.

    Returns:
        The report, as of a dry run; None if it was stopped.

    Raises:
        VoucherifySyncError: it cannot begin, or something cannot be written.
    """
    session = OpenedPreparation(options, stop)
    with _reporting_progress(progress, session.snapshot):
        session.preparation.run()
    return session.preparation.report


def _executed(
    opened: OpenedReplay, progress: Progress | None, output: BinaryIO | None, watch: Watch | None
) -> RunReport:
    opened.check_may_send()
    with _reporting_progress(progress, opened.snapshot):
        return opened.execute(output=output, watch=watch)


def changes(options: ExplainOptions, *, stop: Stop | None = None) -> Iterator[RequestChange]:
    """Yield what changes in the requests of the picked events between the settings `against` and those in use.

    Events of which nothing changes are left out. Nothing is sent.

    Raises:
        VoucherifySyncError: it cannot begin.
    """
    return OpenedExplanation(options, stop).changes()


def explain(options: ExplainOptions, *, stop: Stop | None = None) -> Iterator[Explanation]:
    """Yield what happens to each event that is picked: its request, or why there is none. Nothing is sent.

    Raises:
        VoucherifySyncError: it cannot begin.
    """
    _refuse_against(options.against, "changes")
    return iter(OpenedExplanation(options, stop).search)


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
    watched = SettingsWatch(options.config, lambda: islice(OpenedExplanation(options, stop).search, limit))
    while not stop.requested:
        if (shown := watched.poll()) is not None:
            yield shown
        stop.wait(POLL_S)


def final_state(
    options: FinalOptions, *, stop: Stop | None = None, progress: Progress | None = None
) -> CustomerState:
    """Tell what Voucherify would hold of one customer after all events, as a run in bulk leaves it. Nothing is sent.

    Raises:
        VoucherifySyncError: it cannot begin.
    """
    opened = OpenedFinalState(options, stop)
    with _reporting_progress(progress, opened.snapshot):
        return opened.read()


def coverage(
    options: CoverageOptions, *, stop: Stop | None = None, progress: Progress | None = None
) -> CoverageReport:
    """Count which values of the events reach Voucherify, and which do not. Nothing is sent.

    Raises:
        VoucherifySyncError: it cannot begin.
    """
    _refuse_against(options.against, "compare")
    opened = OpenedCoverage(options, stop)
    with _reporting_progress(progress, opened.snapshot):
        return opened.count()


def compare(
    options: CoverageOptions, *, stop: Stop | None = None, progress: Progress | None = None
) -> ComparisonReport:
    """Count the requests that change between the settings `against` and those in use, and by which rows.

    Raises:
        VoucherifySyncError: it cannot begin.
    """
    opened = OpenedCoverage(options, stop)
    with _reporting_progress(progress, opened.snapshot):
        return opened.compare()


def _refuse_against(against: Path | Settings | None, meant: str) -> None:
    if against is not None:
        raise UsageProblem("against: compares two versions of the settings.", f"Call {meant}().")


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
    location = find_ledger(settings, LedgerChoice.of(settings, config, None), os.environ)
    known = findings_of_settings(settings, location.path, os.environ)
    return CheckReport(
        settings=settings,
        file=settings_file(config),
        ledger=location,
        warnings=[
            *doubts,
            *default_table_notices(settings),
            *warnings(config, settings),
            *(known.warnings(settings) if known else ()),
        ],
        missing=_missing_keys(settings),
        tests=run_tests(settings, tests) if tests else [],
    )


def _missing_keys(settings: Settings) -> list[str]:
    try:
        credentials(settings, os.environ)
    except SettingsError as error:
        return list(error.problems)
    return []


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
