"""`coverage`: counts which values of many events reach Voucherify."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from .options import CONFIG, COUNT, EVENT, JOBS_HELP, TYPE, option

if TYPE_CHECKING:
    from voucherify_sync.events import Json
    from voucherify_sync.settings import Settings


@click.command("coverage")
@click.argument("source", nargs=-1)
@CONFIG
@TYPE
@EVENT
@option("--limit", metavar="N", type=COUNT, help="Read the first N records only.")
@option("--jobs", metavar="N", type=COUNT, help=JOBS_HELP)
@option(
    "--fail-under",
    metavar="PCT",
    type=click.FloatRange(0, 100),
    help="Exit with 3 if less than PCT percent of the values are mapped.",
)
@option("--json", "as_json", is_flag=True, help="Print all counts as one JSON object.")
def command(fail_under: float | None, as_json: bool, **values: Any) -> int:
    """Show which values of the events in SOURCE reach Voucherify, and which are not mapped.

    \b
    Examples:
      voucherify-sync coverage segment-logs/
      voucherify-sync coverage --fail-under 80 --event 'Order *' events.ndjson

    Lists every path of traits, properties and context.traits: the number and types of its events, its
    destination or `not mapped`, and an example. Then every destination: how often it is filled, and
    conflicts of types. Then the rows of the settings that never matched, and rows to paste that map the
    most frequent unmapped values. Nothing is sent.

    --fail-under counts the values of traits, properties and context.traits of all events that would be
    sent. A null is no value, a list is one value, an object counts as the values in it. A value is mapped
    if it reaches the request, by any row or rule. Without any value the share is 0.
    """  # click reads the \b itself
    from voucherify_sync.api import CoverageOptions, PreparedCoverage
    from voucherify_sync.errors import ExitCode
    from voucherify_sync.text import clean, clean_lines

    from .outputs import settings_files, source_files, try_outputs
    from .progress import progress
    from .signals import stopping_cleanly

    options = CoverageOptions(**values)
    prepared = PreparedCoverage(options)
    try_outputs([], [*settings_files(options.config, prepared.settings), *source_files(prepared.sources)])
    for notice in prepared.notices:
        click.echo(clean_lines(notice), err=True)
    with stopping_cleanly(prepared.stop):
        with progress("auto", prepared.snapshot, sys.stderr):
            report = prepared.count()
        _show(report, prepared.settings, as_json=as_json)
    code = ExitCode.OK
    for facts in prepared.reader.facts:
        if facts.damaged:
            click.echo(f"Warning: {clean(facts.name, 4_096)} is damaged: {clean(facts.damaged)}", err=True)
            code = ExitCode.INCOMPLETE
    seen, mapped, share = (report["values"][name] for name in ("seen", "mapped", "share"))
    if fail_under is not None and 100 * mapped < fail_under * max(seen, 1):
        click.echo(
            f"{100 * share:.1f} % of {seen:,} values are mapped, which is less than {fail_under:g} %",
            err=True,
        )
        code = ExitCode.INCOMPLETE
    return prepared.stop.signal_exit or code


def _show(report: Json, settings: Settings, *, as_json: bool) -> None:
    if as_json:
        import msgspec

        from .render import write_harmless

        write_harmless(sys.stdout.buffer, msgspec.json.encode(report))
        return
    from voucherify_sync.preview.coverage import proposed_yaml

    from .coverage_view import show_coverage

    rows = {kind: report[kind]["proposed_rows"] for kind in ("identify", "track")}
    show_coverage(report, proposed_yaml(rows, settings))
