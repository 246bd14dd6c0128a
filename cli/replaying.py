"""Does what `replay` was asked: options in, a run watched and summed up; data on stdout, all else on stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import click

from voucherify_sync.errors import ExitCode, UsageProblem
from voucherify_sync.mapping.filters import Selection
from voucherify_sync.run.options import Input, Mode, RunOptions, new_run_id
from voucherify_sync.run.run import Run
from voucherify_sync.settings import Settings, application_id, credentials, load
from voucherify_sync.sources.reader import (
    Reader,
    Source,
    SourceFacts,
    Spool,
    SpooledReader,
    check_gzip,
    find_sources,
)
from voucherify_sync.state.deduplication import NEVER, Rule
from voucherify_sync.state.ledger_file import ProjectIdentity
from voucherify_sync.state.ledger_location import Place, check_free, place_of, read_ledger
from voucherify_sync.state.ledger_reader import LedgerReader
from voucherify_sync.stop import Stop
from voucherify_sync.text import clean_lines

from .confirm import agreed, agreed_to_identity, require_yes_where_nobody_can_be_asked
from .ending import finish
from .outputs import source_files, try_outputs_of_run
from .progress import progress
from .project_ledger import known_run
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
    place = find_ledger(options, settings)
    try_outputs_of_run(options, settings, mode, place.path, source_files(found.sources))
    if not options.quiet:
        for notice in found.notices:
            click.echo(clean_lines(notice), err=True)
    with leaving(), ExitStack() as resources:  # the copy of a pipe is removed, however this ends
        asks = mode is Mode.LIVE and not options.yes  # the question reads all of the input, too
        reads_twice = asks or settings.delivery.customers == "bulk"
        spool = resources.enter_context(Spool(found.sources)) if reads_twice else None
        request = request_of(options, settings, mode, input_of(found.sources, mode, spool))
        return perform(options, request, place)


def perform(options: ReplayOptions, request: RunOptions, place: Place, *, retries: bool = False) -> int:
    """Ask where it must be asked, run, and say how it ended; return the exit code.

    Args:
        options: of the command.
        request: what is run.
        place: of the project's ledger, as `find_ledger` found it.
        retries: the input is dead letters.
    """
    stop = Stop()
    shown = "none" if options.quiet else options.progress
    choice = options.ledger_choice(request.settings)
    with stopping_in_order(stop), records_shown(options, request.run_id) as watch:
        place = _checked(options, request, place)
        with read_ledger(place) as known:
            rule = rule_of(options, request, known, retries=retries)
            if request.mode is Mode.LIVE and not _may_send(options, request, place, known, rule, stop, shown):
                click.echo("Nothing was sent.", err=True)
                return stop.signal_exit or (stop.error.exit_code if stop.error else ExitCode.INTERRUPTED)
        with open_target(request, stop, place, choice, retries=retries) as target:
            run = Run(
                request,
                stop,
                target.link,
                target.ledger,
                rule,
                output=target.output,
                watch=watch.add if watch else None,
            )
            with progress(shown, run.snapshot, sys.stderr, data_on_terminal=target.shows_data_on_terminal):
                run.execute()
            finish(options, request, run, stop, target, watch)
            return run.exit_code


def find_ledger(options: ReplayOptions, settings: Settings) -> Place:
    """Find the ledger of the project; whether a run may use it is for `_checked` to say. A sandbox run has none."""
    if options.sandbox:
        return Place()
    return place_of(settings, application_id(settings, os.environ), options.ledger_choice(settings))


def tell_problem(options: ReplayOptions, place: Place) -> None:
    """Say as a notice what a run that sends must refuse."""
    if place.problem is not None and not options.quiet:
        click.echo(clean_lines(f"Notice: {place.problem}"), err=True)


def _checked(options: ReplayOptions, request: RunOptions, place: Place) -> Place:
    """Return the ledger that the run uses.

    Raises:
        UsageProblem: it must not be used, or nobody can be asked.
        SettingsError: a key is missing.
        RunStopped: another run holds it.
    """
    if request.mode is Mode.SANDBOX:
        return place
    if request.mode is Mode.DRY_RUN:
        tell_problem(options, place)
        return place
    keys = credentials(request.settings, os.environ)
    if place.problem is not None:
        raise place.problem
    is_sandbox = ProjectIdentity.of(keys.url, keys.app_id).is_sandbox
    if (
        place.is_first
        and options.yes
        and not options.new_ledger
        and not is_sandbox
        and _sends_events(request)
    ):
        raise UsageProblem(
            f"no ledger yet at {place.path}: without one that stays, the next run would send everything again.",
            "Name one that stays (delivery.ledger), or give --new-ledger for the first run.",
        )
    require_yes_where_nobody_can_be_asked(options.yes)
    check_free(place)
    return place


def _sends_events(request: RunOptions) -> bool:
    """Tell whether the run could send custom events."""
    types = request.selection.types
    return not request.settings.track.disabled and (not types or "track" in types)


def _may_send(
    options: ReplayOptions,
    request: RunOptions,
    place: Place,
    ledger: LedgerReader,
    rule: Rule,
    stop: Stop,
    shown: str,
) -> bool:
    """Ask whether custom events may be sent, once it is sure that they could be."""
    if options.yes:
        return True
    if place.adds_identity and not agreed_to_identity(ledger):
        return False
    return agreed(request, place, ledger, rule, credentials(request.settings, os.environ), stop, shown)


def check(options: ReplayOptions) -> None:
    """Refuse combinations that cannot be meant."""
    if options.dry_run and options.sandbox:
        raise UsageProblem("--dry-run makes no call, and --sandbox makes calls", "Choose one of them.")
    if options.sandbox and (
        options.ledger or options.new_ledger or options.same_project or options.again_since
    ):
        raise UsageProblem(
            "--sandbox begins with an empty project each time and keeps no ledger",
            "Leave the options of the ledger out, or send to a sandbox that stays: `voucherify-sync sandbox`.",
        )
    if options.dry_run and "-" in options.report:
        raise UsageProblem("--report - and --dry-run would both write to stdout", "Give the report a file.")
    if options.report.count("-") > 1:
        raise UsageProblem("--report - is given twice", "Give one of them, or the other a file.")
    if options.again and options.again_since:
        raise UsageProblem("--again and --again-since cannot be combined.", "Give one of them.")
    if options.new_ledger and options.same_project:
        raise UsageProblem("--new-ledger and --same-project cannot be combined.", "Give one of them.")


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
) -> RunOptions:
    """Translate the command line into what a run understands."""
    return RunOptions(
        run_id=new_run_id(),
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
        dead_letters=None if mode is Mode.DRY_RUN else options.dead_letters,
        command=options.command,
    )


def rule_of(options: ReplayOptions, request: RunOptions, ledger: LedgerReader, *, retries: bool) -> Rule:
    """Say what is sent although it was sent before; what cannot be looked up is held in a dry run.

    Raises:
        UsageProblem: --again-since names a run that the ledger does not know.
    """
    again_before: float = float("inf") if options.again else NEVER
    if options.again_since is not None:
        again_before = known_run(ledger, options.again_since).number
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
