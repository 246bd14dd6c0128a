"""Does what `check` was asked: settings on stdout; warnings, test results and Voucherify's answers on stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from voucherify_sync import settings
from voucherify_sync.errors import ExitCode, SettingsError, UsageProblem
from voucherify_sync.settings import EventAt, MappingTest, Settings
from voucherify_sync.sources.reader import Found, find_sources
from voucherify_sync.state.ledger_location import LedgerChoice, Place, named_ledger, place_of
from voucherify_sync.state.private_files import try_to_write_whole
from voucherify_sync.text import clean, clean_lines

from .outputs import Input, Output, settings_files, source_files, try_outputs


def check(
    source: Sequence[str], config: Path | None, *, update: bool, junit_file: Path | None, online: bool
) -> ExitCode:
    """Check all that is asked for; return the exit code of the worst that was found."""
    if source and not online:
        raise UsageProblem("SOURCE is looked at with --online only", "Add --online, or leave SOURCE out.")
    effective, tests = settings.load_with_tests(config, environment=os.environ)
    found = find_sources(source, stdin_is_terminal=sys.stdin.isatty()) if source else None
    _try_outputs(config, effective, tests, found, junit_file)
    results = None
    if tests or update or junit_file is not None:
        from voucherify_sync.preview.mapping_tests import run_tests

        results = run_tests(effective, tests)
    _show_settings(config, effective, online=online)
    code = ExitCode.OK
    if results is not None:
        from .mapping_results import tell_results

        code = tell_results(results, update=update, junit_file=junit_file)
    if online:
        from .project_answers import ask_project

        code = max(code, ask_project(effective, found))
    return code


def _try_outputs(
    config: Path | None,
    effective: Settings,
    tests: Sequence[MappingTest],
    found: Found | None,
    junit_file: Path | None,
) -> None:
    outputs = [] if junit_file is None else [Output(f"--junit {junit_file}", junit_file, try_to_write_whole)]
    inputs = [*settings_files(config, effective), *source_files(found.sources if found else ())]
    for test in tests:
        inputs.append(Input(f"the mapping tests {test.file}", test.file))
        if isinstance(test.event, EventAt):
            inputs.append(Input(f"the events {test.event.path}", test.event.path))
    try_outputs(outputs, inputs)


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
    choice = LedgerChoice(named=named_ledger(effective))
    return place_of(effective, settings.application_id(effective, os.environ), choice)


def _say_what_a_live_run_lacks(effective: Settings) -> None:
    """Name keys that cannot be found: a note, because previews and the sandbox need none."""
    try:
        settings.credentials(effective, os.environ)
    except SettingsError as error:
        for problem in error.problems:
            click.echo(clean_lines(f"Note, for live runs: {problem}"), err=True)
