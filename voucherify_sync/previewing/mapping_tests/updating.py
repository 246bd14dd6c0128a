"""Results of mapping tests in, files with the expectations that would have passed out. Other text stays as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from voucherify_sync.bookkeeping.private import write_whole
from voucherify_sync.errors import UsageProblem
from voucherify_sync.previewing.mapping_tests.differences import narrowed
from voucherify_sync.previewing.mapping_tests.running import Result
from voucherify_sync.settings import Expected
from voucherify_sync.settings.problems import Mistake
from voucherify_sync.settings.rewriting import rewrite

_BOM = "\ufeff"


class Update(Struct, frozen=True):
    """What became of one file with tests that failed.

    Attributes:
        file: which one.
        count: expectations written anew.
        refused: tests whose expectation stays as it is, each with a sentence why.
    """

    file: Path
    count: int
    refused: list[tuple[Result, str]]


def update(results: Sequence[Result], environment: Mapping[str, str]) -> list[Update]:
    """Write what is in place of what the failed tests expect.

    Raises:
        UsageProblem: a file cannot be read or written.
    """
    by_file: dict[Path, list[Result]] = {}
    for result in results:
        if not result.passed:
            by_file.setdefault(result.test.file, []).append(result)
    return [_update_file(file, failed, environment) for file, failed in by_file.items()]


def what_is(result: Result) -> Expected | str:
    """Return the expectation that a result fulfils; a partial one looks at the same fields as before."""
    expect = result.test.expect
    if result.request is None:
        return result.reason or ""
    if isinstance(expect, str) or not expect.partial:
        return Expected(result.request)
    request = narrowed(result.request, expect.request)
    return Expected(request, partial=True) if any(request.values()) else Expected(result.request)


def _update_file(file: Path, failed: list[Result], environment: Mapping[str, str]) -> Update:
    """Write the expectations one by one, so that one that cannot be written does not hold up the others."""
    written, refused = 0, list[tuple[Result, str]]()
    try:
        before = file.read_bytes().decode()
        text = before.replace("\r\n", "\n").removeprefix(_BOM)
        for result in failed:
            try:
                text = rewrite(text, file, {result.test.number: what_is(result)}, environment)
                written += 1
            except Mistake as mistake:
                refused.append((result, str(mistake)))
            except RecursionError:
                refused.append((result, "what came out is nested too deep to be written"))
        if written:
            ends = "\r\n" if "\r\n" in before else "\n"
            bom = _BOM if before.startswith(_BOM) else ""
            write_whole(file, (bom + text.replace("\n", ends)).encode())
    except OSError as error:
        raise UsageProblem(f"{file} cannot be written: {error.strerror}") from None
    return Update(file, written, refused)
