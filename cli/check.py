"""`check`: names mistakes of the settings, runs their mapping tests, and compares them with the Voucherify project."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from voucherify_sync.exit_codes import PRECEDENCE, ExitCode
from voucherify_sync.text import clean, counted

from .options import CONFIG, FILE, SOURCE, option
from .streams import tell

if TYPE_CHECKING:
    from voucherify_sync.api import CheckReport
    from voucherify_sync.preview.comparison import Difference
    from voucherify_sync.preview.mapping_tests import MappingResult
    from voucherify_sync.preview.project_check import SchemaBreach
    from voucherify_sync.settings import MappingTest, Settings
    from voucherify_sync.sources.discover import FoundSources


_MAX_DIFFERENCES: Final = 20
_MAX_VALUE: Final = 160
_LEAD: Final = 20  # characters that are shown before the first one that differs
_MAX_BREACHES: Final = 50


@click.command("check")
@SOURCE
@CONFIG
@option("--update", is_flag=True, is_deliberate=True, help="Update the expectations of failed tests.")
@option(
    "--junit",
    type=FILE,
    help="Write the test results to FILE, as JUnit XML.",
)
@option("--show", is_flag=True, help="Print the effective settings as YAML, without the keys.")
@option(
    "--online",
    is_flag=True,
    help="Make one call to Voucherify: check the keys, the limit and the metadata schemas.",
)
@option(
    "--probe",
    is_flag=True,
    is_deliberate=True,
    help="Find out how the project behaves, by a test customer that is deleted again. Implies --online.",
)
@option(
    "--probe-order",
    is_flag=True,
    is_deliberate=True,
    help="Import an order of amount 0, too, which stays. Implies --probe.",
)
@option("--yes", is_flag=True, is_deliberate=True, help="Probe without being asked.")
@option("--json", "as_json", is_flag=True, help="Print the findings of --probe as one JSON object.")
def command(
    source: tuple[str, ...],
    config: Path | None,
    update: bool,
    junit: Path | None,
    show: bool,
    online: bool,
    probe: bool,
    probe_order: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Check the settings file and run its mapping tests.

    \b
    Examples:
      voucherify-sync check -c production.yaml --junit mapping-tests.xml
      voucherify-sync check --online segment-logs/
      voucherify-sync check --probe --json > project.json

    Every mistake comes with its line and what to write instead (exit code 2). A setting that works, but
    is probably not meant so, is a warning. Mapping tests stand under `tests:` and in *.test.yaml files
    beside the settings file. A failed test is shown path by path (exit code 3). With --show, stdout gets
    the effective settings, with the default rows where they apply. A settings file may hold them.

    Nothing is sent without --online and --probe. --online makes one call, which changes nothing at
    Voucherify. With SOURCE, it also counts how many of the first 10,000 records break the project's
    metadata schemas (exit code 3 if Voucherify would refuse requests, 5 if the keys do not work).

    --probe finds out what no document of Voucherify settles: it creates a test customer, updates it, sends
    one custom event and deletes the customer. An order of amount 0 is made with --probe-order only, and
    stays. It asks first. Exit code 3 if the project behaves otherwise
    than assumed, or if something could not be deleted; 4 if fewer than 40 calls are left.
    """  # click reads the \b itself
    from voucherify_sync import settings as library
    from voucherify_sync.api import checked
    from voucherify_sync.sources.discover import find_sources

    probe, online = probe or probe_order, online or probe or probe_order
    _refuse(
        {
            "check reads SOURCE only with --online.\nAdd --online, or leave SOURCE out.": source
            and not online,
            "--yes is for --probe.\nAdd --probe, or leave it out.": yes and not probe,
            "--json is for --probe.\nAdd --probe, or leave it out.": as_json and not probe,
            "--show and --json would both write to stdout.\nGive one of them.": show and as_json,
        }
    )
    effective, tests, doubts = library.load_with_tests(config, environment=os.environ)
    found = find_sources(source, stdin_is_terminal=sys.stdin.isatty()) if source else None
    _try_outputs(config, effective, tests, found, junit)
    report = checked(effective, tests, doubts, config)
    if show:
        _show(report)
    notes = [] if report.ledger.problem is None else [f"Before a live run: {report.ledger.problem}"]
    notes += [f"Warning: {warning}" for warning in report.warnings]
    if not online:  # previews and the sandbox need no keys
        notes += [f"Before a live run: {problem}" for problem in report.missing]
    tell(*notes)
    verdict = "No settings file: the defaults apply" if report.file is None else f"{report.file}: no mistakes"
    if report.warnings:
        verdict += f", {counted(len(report.warnings), 'warning')}"
    if report.tests or update or junit is not None:
        code = tell_results(report.tests, verdict, update=update, junit_file=junit)
    else:
        code = ExitCode.OK
        tell(verdict)
    if probe:
        from .probe import probe_project

        probed, is_whole = probe_project(
            effective, report.ledger, with_order=probe_order, yes=yes, as_json=as_json
        )
        code = min(code, probed, key=PRECEDENCE.index)
        if not is_whole:
            return code
    if online:
        code = min(code, ask_project(effective, found), key=PRECEDENCE.index)
    return code


def _refuse(mistakes: Mapping[str, object]) -> None:
    """Raise a UsageProblem for the first mistake that was made; the second line of each is the remedy."""
    from voucherify_sync.errors import UsageProblem

    for mistake, is_made in mistakes.items():
        if is_made:
            raise UsageProblem(*mistake.split("\n"))


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


def _show(report: CheckReport) -> None:
    """Print the effective settings on stdout."""
    from voucherify_sync.settings import dump

    click.echo(
        f"# Effective settings: {clean(str(report.file)) if report.file else 'no file, so the defaults apply'}"
    )
    if report.ledger.path is not None:
        click.echo(f"# Ledger of live runs: {clean(str(report.ledger.path), 4_096)}")
    click.echo(dump(report.settings), nl=False)
    sys.stdout.flush()


def tell_results(
    results: Sequence[MappingResult], verdict: str, *, update: bool, junit_file: Path | None
) -> ExitCode:
    """Say how the mapping tests went, then write what is asked for; return the exit code.

    Args:
        results: of the tests.
        verdict: the words on the settings that stand before those on tests that passed.
        update: the expectations of failed tests are updated.
        junit_file: where the results are written as well.
    """
    from voucherify_sync.preview.mapping_tests import junit
    from voucherify_sync.state.private_files import write_error, write_whole

    code = ExitCode.OK
    failed = [result for result in results if not result.passed]
    for result in failed:
        tell("\n".join(_lines_of(result)))
    tests = counted(len(results), "mapping test")
    if not failed:
        tell(f"{verdict}, {tests} passed" if results else f"{verdict}, no mapping tests")
    else:
        tell(f"{len(failed):,} of {tests} failed")
        code = _updated(failed) if update else ExitCode.INCOMPLETE
        if not update:
            advice = "If these results are right: the same command with --update makes the tests expect them."
            tell(advice)
    if junit_file is not None:
        try:
            write_whole(junit_file, junit(results))
        except OSError as error:
            raise write_error(junit_file, error) from None
    return code


def _updated(failed: Sequence[MappingResult]) -> ExitCode:
    """Update the expectations of failed tests; return the exit code."""
    from voucherify_sync.preview.mapping_tests import update

    code = ExitCode.OK
    for file, updates in update(failed, os.environ).items():
        count = sum(not refused for _, refused in updates)
        if count:
            tell(f"{clean(str(file))}: {counted(count, 'expectation')} updated")
        for result, refused in updates:
            if refused:
                code = ExitCode.INCOMPLETE
                tell(f"{_place(result)}: {refused}")
    return code


def _lines_of(result: MappingResult) -> Iterator[str]:
    yield f"{_place(result)}: failed: {clean(result.test.name)}"
    for difference in result.differences[:_MAX_DIFFERENCES]:
        expected, got = _pair(difference)
        yield f"  {clean(difference.path)}"
        yield f"    expected  {expected}"
        yield f"    got       {got}"
    more = len(result.differences) - _MAX_DIFFERENCES
    if more > 0:
        yield f"  and {counted(more, 'difference')} more"


def _place(result: MappingResult) -> str:
    place = result.test.place
    return f"{clean(str(result.test.file))}:{place.line}:{place.column}"


def _pair(difference: Difference) -> tuple[str, str]:
    """Return both values, each on a line; of long ones the part where they begin to differ."""
    from voucherify_sync.preview.comparison import side_text

    expected, got = side_text(difference.expected), side_text(difference.got)
    start = 0
    if min(len(expected), len(got)) > _MAX_VALUE:
        same = takewhile(lambda pair: pair[0] == pair[1], zip(expected, got, strict=False))
        start = max(0, sum(1 for _ in same) - _LEAD)
    lead = "…" if start else ""
    return lead + clean(expected[start:], _MAX_VALUE), lead + clean(got[start:], _MAX_VALUE)


def ask_project(effective: Settings, found: FoundSources | None) -> ExitCode:
    """Ask the project for its limit and its metadata schemas, and compare the mapping with them.

    Args:
        effective: settings.
        found: sources whose values are compared, too, or None.

    Raises:
        SettingsError: a key is missing.
        AccessRefused: the keys do not work.
        Unreachable, WrongAddress, RunStopped: as `voucherify_sync.voucherify.project.ask` does.
    """
    from voucherify_sync import settings as library
    from voucherify_sync.preview.project_check import planned_breaches, sampled_breaches
    from voucherify_sync.preview.suggestions import SampleCounts, sample
    from voucherify_sync.sources.reader import Reader
    from voucherify_sync.stop import Stop
    from voucherify_sync.voucherify.client import Client
    from voucherify_sync.voucherify.project import ask

    from .outputs import warn_of_sources

    keys = library.credentials(effective, os.environ)
    with closing(Client(keys, workers=1)) as client:
        rate, schemas = ask(client)
    limit = "The API reported no rate limit."
    if rate.limit is not None:
        left = "" if rate.remaining is None else f", {rate.remaining:,} left"
        limit = f"Limit: {counted(rate.limit, 'call')} a period{left}."
    tell(f"{clean(keys.url)}: keys accepted. {limit}")
    if schemas is None:
        tell("These keys cannot read the metadata schemas, so the mapping was not compared.")
        return ExitCode.OK
    if found is None:
        code = _tell_breaches(planned_breaches(effective, schemas), "metadata that the settings name")
        tell("To compare values, too, name sources: voucherify-sync check --online SOURCE")
        return code
    tell(*found.notices)
    counts = SampleCounts()
    reader = Reader(found.sources, Stop())
    requests, breaches = sampled_breaches(effective, schemas, sample(reader, counts))
    code = warn_of_sources(reader.facts)
    compared = f"{counted(requests, 'request')} of {counted(counts.records, 'record')}"
    return max(code, _tell_breaches(breaches, f"metadata in {compared}"))


def _tell_breaches(breaches: Sequence[SchemaBreach], of_what: str) -> ExitCode:
    """Say what does not fit, customers first; of orders only where something is to be said."""
    from voucherify_sync.preview.project_check import CUSTOMER, ORDER

    code = ExitCode.OK
    for resource in (CUSTOMER, ORDER):
        own = [breach for breach in breaches if breach.resource == resource]
        if own or resource == CUSTOMER:
            code = max(code, _tell_breaches_of_one(own, f"{resource.capitalize()} {of_what}"))
    return code


def _tell_breaches_of_one(breaches: Sequence[SchemaBreach], title: str) -> ExitCode:
    if not breaches:
        tell(f"{title}: fits the project's schema.")
        return ExitCode.OK
    tell(f"{title}:")
    ordered = sorted(breaches, key=lambda each: (not each.kind.refused, -each.count))
    for breach in ordered[:_MAX_BREACHES]:
        evidence = clean(breach.where, 200)
        if breach.value is not None:
            evidence = f"{clean(json.dumps(breach.value, ensure_ascii=False), 40)} at {evidence}"
        if breach.count:
            evidence = f"{counted(breach.count, 'request')}, first {evidence}"
        tell(f"  {_sentence(breach)}\n      {evidence}")
    if len(ordered) > _MAX_BREACHES:
        tell(f"  and {counted(len(ordered) - _MAX_BREACHES, 'key')} more")
    refused = any(breach.kind.refused for breach in breaches)
    return ExitCode.INCOMPLETE if refused else ExitCode.OK


def _sentence(breach: SchemaBreach) -> str:
    from voucherify_sync.paths import path_of
    from voucherify_sync.preview.project_check import BreachKind

    key = clean(path_of(breach.resource, "metadata", *breach.keys))
    match breach.kind:
        case BreachKind.UNDEFINED:
            fact = "not defined in the project, so it is stored as text"
        case BreachKind.NOT_ALLOWED:
            fact = "refused: not defined, and the project allows defined metadata only"
        case BreachKind.MISFIT:
            fact = f"refused: must be {breach.demand}"
        case BreachKind.NESTED:
            fact = "refused: an object inside an object"
        case BreachKind.MISSING:
            fact = f"missing: the project requires it ({breach.demand}) of every new {breach.resource}"
    return f"{key}: {clean(fact, 300)}"
