"""Results of mapping tests in; what a person reads of them, the JUnit file and updated expectations out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Final

import click

from voucherify_sync.errors import ExitCode
from voucherify_sync.preview.mapping_tests import Difference, MappingResult, junit, text_of
from voucherify_sync.preview.mapping_tests import update as updated
from voucherify_sync.state.private_files import write_error, write_whole
from voucherify_sync.text import clean, counted

_MAX_DIFFERENCES: Final = 20
_WIDTH: Final = 160
_LEAD: Final = 20  # characters that are shown before the first one that differs


def tell_results(results: Sequence[MappingResult], *, update: bool, junit_file: Path | None) -> ExitCode:
    """Say on stderr how the tests went, then write what is asked for; return the exit code."""
    code = _tell(results, update=update)
    if junit_file is not None:
        _write(junit_file, junit(results))
    return code


def _tell(results: Sequence[MappingResult], *, update: bool) -> ExitCode:
    failed = [result for result in results if not result.passed]
    for result in failed:
        click.echo("\n".join(_lines(result)), err=True)
    tests = counted(len(results), "mapping test")
    if not failed:
        click.echo(f"{tests} passed" if results else "no mapping tests", err=True)
        return ExitCode.OK
    click.echo(f"{len(failed):,} of {tests} failed", err=True)
    if update:
        return _update(failed)
    click.echo(
        "If what came out is right: the same command with --update lets the tests expect it.", err=True
    )
    return ExitCode.INCOMPLETE


def _update(failed: Sequence[MappingResult]) -> ExitCode:
    code = ExitCode.OK
    for file, updates in updated(failed, os.environ).items():
        count = sum(not refused for _, refused in updates)
        if count:
            click.echo(f"{clean(str(file))}: {counted(count, 'expectation')} updated", err=True)
        for result, sentence in updates:
            if not sentence:
                continue
            code = ExitCode.INCOMPLETE
            click.echo(f"{_place(result)}: {sentence}", err=True)
    return code


def _lines(result: MappingResult) -> Iterator[str]:
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
    expected, got = (text_of(value) for value in (difference.expected, difference.got))
    start = 0
    if min(len(expected), len(got)) > _WIDTH:
        same = takewhile(lambda pair: pair[0] == pair[1], zip(expected, got, strict=False))
        start = max(0, sum(1 for _ in same) - _LEAD)
    lead = "…" if start else ""
    return lead + clean(expected[start:], _WIDTH), lead + clean(got[start:], _WIDTH)


def _write(file: Path, content: bytes) -> None:
    try:
        write_whole(file, content)
    except OSError as error:
        raise write_error(file, error) from None
