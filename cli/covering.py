"""Does what `coverage` was asked: options in, counts on stdout; progress and warnings on stderr. Nothing is sent."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click
import msgspec
from msgspec import Struct

from voucherify_sync.errors import ExitCode
from voucherify_sync.events import Json
from voucherify_sync.mapping.filters import Selection
from voucherify_sync.outcomes import Snapshot
from voucherify_sync.preview.coverage import Coverage, proposed_yaml, to_dict
from voucherify_sync.run.options import is_worth_processes
from voucherify_sync.settings import Settings, load
from voucherify_sync.sources.reader import Reader, find_sources
from voucherify_sync.stop import Stop
from voucherify_sync.text import clean, clean_lines

from .outputs import settings_files, source_files, try_outputs
from .progress import progress
from .replay_options import cores
from .signals import stopping_in_order


class CoverageOptions(Struct, frozen=True):
    """What the command line of `coverage` says; the names are those of the options."""

    source: tuple[str, ...]
    config: Path | None
    type: tuple[str, ...]
    event: tuple[str, ...]
    limit: int | None
    jobs: int | None
    fail_under: float | None
    as_json: bool


def cover(options: CoverageOptions) -> ExitCode:
    """Read, count, show; return the exit code."""
    settings = load(options.config, environment=os.environ)
    found = find_sources(options.source, stdin_is_terminal=sys.stdin.isatty())
    try_outputs([], [*settings_files(options.config, settings), *source_files(found.sources)])
    for notice in found.notices:
        click.echo(clean_lines(notice), err=True)
    stop = Stop()
    reader = Reader(found.sources, stop)
    coverage = Coverage(settings, Selection(types=frozenset(options.type), names=frozenset(options.event)))
    with stopping_in_order(stop):
        with progress("auto", lambda: _snapshot(coverage, reader), sys.stderr):
            _count(options, reader, coverage, stop)
        result = to_dict(coverage, stop)
        _show(result, settings, as_json=options.as_json)
    code = _verdict(options, result, reader)
    return stop.signal_exit or code


def _count(options: CoverageOptions, reader: Reader, coverage: Coverage, stop: Stop) -> None:
    """Count what is read, by several processes where that is worth while."""
    jobs = options.jobs or cores()
    if options.limit is None and is_worth_processes(reader, jobs):
        coverage.add_shared(reader, jobs, stop)
        return
    for block in reader:
        coverage.add_block(block, stop, None if options.limit is None else options.limit - coverage.read)
        if coverage.read == options.limit:
            return


def _show(result: Json, settings: Settings, *, as_json: bool) -> None:
    if as_json:
        from .json_text import write_harmless

        write_harmless(sys.stdout.buffer, msgspec.json.encode(result))
        return
    from .coverage_view import show

    rows = {kind: result[kind]["proposed_rows"] for kind in ("identify", "track")}
    show(result, proposed_yaml(rows, settings))


def _verdict(options: CoverageOptions, result: Json, reader: Reader) -> ExitCode:
    """Say on stderr what is not as it should be; return the exit code."""
    code = ExitCode.OK
    for facts in reader.facts:
        if facts.damaged:
            click.echo(f"Warning: {clean(facts.name, 4_096)} is damaged: {clean(facts.damaged)}", err=True)
            code = ExitCode.INCOMPLETE
    values = result["values"]
    if options.fail_under is not None and 100 * values["mapped"] < options.fail_under * max(
        values["seen"], 1
    ):
        share = f"{100 * values['share']:.1f} % of {values['seen']:,} values are mapped"
        click.echo(f"{share}, which is less than {options.fail_under:g} %", err=True)
        code = ExitCode.INCOMPLETE
    return code


def _snapshot(coverage: Coverage, reader: Reader) -> Snapshot:
    return Snapshot(
        events=coverage.read,
        bytes=sum(facts.bytes for facts in list(reader.facts)),
        bytes_total=reader.bytes_total,
        counts={},
    )
