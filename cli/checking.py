"""Does what `check` was asked: settings on stdout; warnings, test results and Voucherify's answers on stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from voucherify_sync import settings
from voucherify_sync.bookkeeping.ledger_place import LedgerChoice, Place
from voucherify_sync.clean import clean, clean_lines
from voucherify_sync.errors import ExitCode, SettingsError, UsageProblem
from voucherify_sync.running.ledgers import place_of
from voucherify_sync.settings import Settings


def check(
    source: Sequence[str], config: Path | None, *, update: bool, junit_file: Path | None, online: bool
) -> ExitCode:
    """Check all that is asked for; return the exit code of the worst that was found."""
    if source and not online:
        raise UsageProblem("SOURCE is looked at with --online only", "Add --online, or leave SOURCE out.")
    effective, tests = settings.load_with_tests(config, environment=os.environ)
    results = None
    if tests or update or junit_file is not None:
        from voucherify_sync.previewing.mapping_tests import run_tests

        results = run_tests(effective, tests)
    _show_settings(config, effective, online=online)
    code = ExitCode.OK
    if results is not None:
        from .mapping_results import tell_results

        code = tell_results(results, update=update, junit_file=junit_file)
    if online:
        from .project_answers import ask_project

        code = max(code, ask_project(effective, source))
    return code


def _show_settings(config: Path | None, effective: Settings, *, online: bool) -> None:
    file = settings.settings_file(config)
    click.echo(f"# OK: {clean(str(file)) if file else 'no settings file, so the defaults hold'}")
    place = _ledger_place(effective)
    if place.path is not None:
        click.echo(f"# Ledger of live runs: {clean(str(place.path), 4_096)}")
    click.echo(settings.dump(effective), nl=False)
    sys.stdout.flush()
    if place.problem is not None:
        click.echo(clean_lines(f"Note, for live runs: {place.problem}"), err=True)
    for warning in settings.warnings(config, effective):
        click.echo(clean_lines(f"Warning: {warning}"), err=True)
    if not online:
        _say_what_a_live_run_lacks(effective)


def _ledger_place(effective: Settings) -> Place:
    """Find the ledger of live runs, and what is wrong with it."""
    named = effective.delivery.ledger
    choice = LedgerChoice(named=None if named is None else Path(named))
    return place_of(effective, settings.application_id(effective, os.environ), choice)


def _say_what_a_live_run_lacks(effective: Settings) -> None:
    """Name keys that cannot be found: a note, because previews and the sandbox need none."""
    try:
        settings.credentials(effective, os.environ)
    except SettingsError as error:
        for problem in error.problems:
            click.echo(clean_lines(f"Note, for live runs: {problem}"), err=True)
