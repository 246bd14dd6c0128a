"""`check`: names mistakes of the settings, runs their mapping tests, and asks Voucherify what it says to them."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import FILE, option

if TYPE_CHECKING:
    from voucherify_sync.api import CheckReport
    from voucherify_sync.settings import MappingTest, Settings
    from voucherify_sync.sources.discover import FoundSources


@click.command("check")
@click.argument("source", nargs=-1, type=click.Path())
@option(
    "-c",
    "--config",
    type=FILE,
    help="Settings file; default: ./voucherify-sync.yaml, and without one the defaults.",
)
@option("--update", is_flag=True, is_deliberate=True, help="Update the expectations of failed tests.")
@option(
    "--junit",
    type=FILE,
    help="Write the test results to FILE, as JUnit XML.",
)
@option(
    "--online",
    is_flag=True,
    help="Make one call to Voucherify: check the keys, the limit and the metadata schema.",
)
def command(
    source: tuple[str, ...], config: Path | None, update: bool, junit: Path | None, online: bool
) -> int:
    """Check the settings file, run its mapping tests, and show the effective settings.

    \b
    Examples:
      voucherify-sync check -c production.yaml --junit mapping-tests.xml
      voucherify-sync check --online segment-logs/

    Every mistake comes with its line and what to write instead (exit code 2). Without mistakes, stdout
    gets the effective settings as YAML, with secrets masked. Mapping tests stand under `tests:` and in
    *.test.yaml files beside the settings file. A failed test is shown path by path (exit code 3).

    Nothing is sent. Only --online makes a call, and it changes nothing at Voucherify. With SOURCE, it
    also counts how many of the first 10,000 records break the project's metadata schema (exit code 3 if
    Voucherify would refuse requests, 5 if the keys do not work).
    """  # click reads the \b itself
    from voucherify_sync import settings as library
    from voucherify_sync.api import checked
    from voucherify_sync.errors import ExitCode, UsageProblem
    from voucherify_sync.sources.discover import find_sources

    if source and not online:
        raise UsageProblem("SOURCE is looked at with --online only", "Add --online, or leave SOURCE out.")
    effective, tests = library.load_with_tests(config, environment=os.environ)
    found = find_sources(source, stdin_is_terminal=sys.stdin.isatty()) if source else None
    _try_outputs(config, effective, tests, found, junit)
    report = checked(effective, tests, config)
    _show(report, online=online)
    code = ExitCode.OK
    if tests or update or junit is not None:
        from .check_view import tell_results

        code = tell_results(report.tests, update=update, junit_file=junit)
    if online:
        from .check_view import ask_project

        code = max(code, ask_project(effective, found))
    return code


def _try_outputs(
    config: Path | None,
    effective: Settings,
    tests: Sequence[MappingTest],
    found: FoundSources | None,
    junit_file: Path | None,
) -> None:
    from voucherify_sync.settings import EventAt
    from voucherify_sync.state.private_files import try_to_write_whole

    from .outputs import FileRead, FileWritten, settings_files, source_files, try_outputs

    outputs = (
        [] if junit_file is None else [FileWritten(f"--junit {junit_file}", junit_file, try_to_write_whole)]
    )
    inputs = [*settings_files(config, effective), *source_files(found.sources if found else ())]
    for test in tests:
        inputs.append(FileRead(f"the mapping tests {test.file}", test.file))
        if isinstance(test.event, EventAt):
            inputs.append(FileRead(f"the events {test.event.path}", test.event.path))
    try_outputs(outputs, inputs)


def _show(report: CheckReport, *, online: bool) -> None:
    """Print the effective settings on stdout, and what is to be known of them on stderr."""
    from voucherify_sync.settings import dump
    from voucherify_sync.text import clean, clean_lines

    click.echo(
        f"# OK: {clean(str(report.file)) if report.file else 'no settings file, so the defaults apply'}"
    )
    if report.ledger.path is not None:
        click.echo(f"# Ledger of live runs: {clean(str(report.ledger.path), 4_096)}")
    click.echo(dump(report.settings), nl=False)
    sys.stdout.flush()
    notes = [] if report.ledger.problem is None else [f"Before a live run: {report.ledger.problem}"]
    notes += [f"Warning: {warning}" for warning in report.warnings]
    if not online:  # previews and the sandbox need no keys
        notes += [f"Before a live run: {problem}" for problem in report.missing]
    for note in notes:
        click.echo(clean_lines(note), err=True)
