"""Does what `replay` was asked: options in, a run watched and summed up; data on stdout, all else on stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import click

from voucherify_sync.bookkeeping.deadletters import default_path
from voucherify_sync.bookkeeping.history import NEVER, Rule
from voucherify_sync.bookkeeping.ledger_reader import LedgerReader
from voucherify_sync.clean import clean_lines
from voucherify_sync.errors import ExitCode, UsageProblem
from voucherify_sync.mapping.filters import Selection
from voucherify_sync.reading.source import Reader, Source, SourceFacts, check_gzip, find_sources
from voucherify_sync.reading.spool import Spool, SpooledReader
from voucherify_sync.running.ledgers import check_free, read_ledger
from voucherify_sync.running.request import Input, Mode, RunRequest, new_run_id
from voucherify_sync.running.run import Run
from voucherify_sync.settings import Settings, credentials, load
from voucherify_sync.stop import Stop

from .confirm import agreed, require_yes_where_nobody_can_be_asked
from .ending import finish
from .outputs import source_files, try_outputs_of_run
from .progress import progress
from .record_log import records_shown
from .replay_options import ReplayOptions, cores
from .signals import leaving, stopping_in_order
from .target import open_target


def replay(options: ReplayOptions) -> int:
    """Do what the command line of `replay` asks; return the exit code."""
    check(options)
    settings = options.over(load(options.config, environment=os.environ))
    found = find_sources(options.source, stdin_is_terminal=sys.stdin.isatty())
    mode = mode_of(options)
    try_outputs_of_run(options, settings, mode, source_files(found.sources))
    if not options.quiet:
        for notice in found.notices:
            click.echo(clean_lines(notice), err=True)
    with leaving(), ExitStack() as resources:  # the copy of a pipe is removed, however this ends
        in_bulk = settings.delivery.customers == "bulk"
        spool = resources.enter_context(Spool(found.sources)) if in_bulk else None
        return perform(options, request_of(options, settings, mode, input_of(found.sources, mode, spool)))


def perform(options: ReplayOptions, request: RunRequest, *, retries: bool = False) -> int:
    """Ask where it must be asked, run, and say how it ended; return the exit code."""
    stop = Stop()
    shown = "none" if options.quiet else options.progress
    with stopping_in_order(stop), records_shown(options, request.run_id) as watch:
        if request.mode is Mode.LIVE and not _may_send(options, request, stop, shown, retries=retries):
            click.echo("Nothing was sent.", err=True)
            return stop.signal_exit or (stop.error.exit_code if stop.error else ExitCode.OK)
        with open_target(request, stop, new_ledger=options.new_ledger) as target:
            rule = rule_of(options, request, target.ledger, retries=retries)
            run = Run(request, stop, target.link, target.ledger, rule, output=target.output, watch=watch)
            with progress(shown, run.snapshot, sys.stderr, data_on_terminal=target.shows_data_on_terminal):
                run.execute()
            finish(options, request, run, stop, target, watch)
            return run.exit_code


def _may_send(options: ReplayOptions, request: RunRequest, stop: Stop, shown: str, *, retries: bool) -> bool:
    """Ask whether custom events may be sent, once it is sure that they could be."""
    keys = credentials(request.settings, os.environ)
    if options.yes:
        return True
    check_free(request.settings, keys)
    with read_ledger(request.settings, keys.app_id) as ledger:
        rule = rule_of(options, request, ledger, retries=retries)
        return agreed(request, ledger, rule, keys.url, stop, shown)


def check(options: ReplayOptions) -> None:
    """Refuse combinations that cannot be meant."""
    if options.dry_run and options.sandbox:
        raise UsageProblem("--dry-run makes no call, and --sandbox makes calls", "Choose one of them.")
    if options.dry_run and "-" in options.report:
        raise UsageProblem("--report - and --dry-run would both write to stdout", "Give the report a file.")
    if options.report.count("-") > 1:
        raise UsageProblem("--report - is given twice", "Give one of them, or the other a file.")
    if options.again and options.again_since:
        raise UsageProblem("--again-since says what --again leaves open", "Give one of them.")
    if not options.dry_run and not options.sandbox:
        require_yes_where_nobody_can_be_asked(options.yes)


def mode_of(options: ReplayOptions) -> Mode:
    """Tell where the requests go."""
    if options.dry_run:
        return Mode.DRY_RUN
    return Mode.SANDBOX if options.sandbox else Mode.LIVE


def input_of(sources: list[Source], mode: Mode, spool: Spool | None = None) -> Callable[[Stop], Input]:
    """Return what opens the sources, as often as is wanted if there is a spool.

    Where something is sent, each archive's checksums are looked at first.
    """
    checked: list[SourceFacts] | None = [] if mode is Mode.DRY_RUN else None

    def open_input(stop: Stop) -> Input:
        nonlocal checked
        if checked is None:
            checked = check_gzip(sources, stop)
        distrusted = [facts for facts in checked if facts.corrupt]
        return Reader(sources, stop, distrusted) if spool is None else SpooledReader(spool, stop, distrusted)

    return open_input


def request_of(
    options: ReplayOptions, settings: Settings, mode: Mode, open_input: Callable[[Stop], Input]
) -> RunRequest:
    """Translate the command line into what a run understands."""
    run_id = new_run_id()
    return RunRequest(
        run_id=run_id,
        mode=mode,
        settings=settings,
        open_input=open_input,
        selection=Selection(
            types=frozenset(options.type),
            names=frozenset(options.event),
            users=frozenset(options.user),
            exclude_ids=read_ids(options.exclude_ids),
            since=options.since,
            until=options.until,
        ),
        limit=options.limit,
        max_errors=options.max_errors,
        max_duration_s=options.max_duration,
        jobs=options.jobs or cores(),
        dead_letters=None if mode is Mode.DRY_RUN else options.dead_letters or _default_letters(run_id),
    )


def _default_letters(run_id: str) -> Path | None:
    """Return the file for dead letters where none is named; None where there is no state directory."""
    try:
        return default_path(run_id)
    except UsageProblem:
        return None


def rule_of(options: ReplayOptions, request: RunRequest, ledger: LedgerReader, *, retries: bool) -> Rule:
    """Say what is sent although it was sent before; what cannot be looked up is held in a dry run.

    Raises:
        UsageProblem: --again-since names a run that the ledger does not know.
    """
    again_before: float = float("inf") if options.again else NEVER
    if options.again_since is not None:
        run = ledger.run_named(options.again_since)
        if run is None:
            raise UsageProblem(
                f"the ledger knows no run {options.again_since!r}",
                "`voucherify-sync status` names the last one.",
            )
        again_before = run.number
    on_doubt = request.settings.delivery.on_doubt
    if request.mode is not Mode.LIVE and on_doubt != "resend":
        on_doubt = "hold"
    return Rule(again_before=again_before, failed=retries, on_doubt=on_doubt)


def read_ids(file: Path | None) -> frozenset[str]:
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
