"""Make the page of exit codes from the enumeration that the command line uses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from generating.markdown import code, member_docs, table
from generating.markdown import page as page_of
from voucherify_sync.errors import VoucherifySyncError
from voucherify_sync.exit_codes import PRECEDENCE, ExitCode
from voucherify_sync.report.run_report import status_of

_INTRODUCTION: Final = """\
Every command ends with one of these codes. The field `status` of a [report](report.md) has the same in a word.

With 4, 129, 130 and 143 nothing is lost: the same command continues, and the summary shows it.

A closed stdout (`| head`) ends a command that prints data with 0. A full disk under stdout ends it with 4. A closed
stderr does not change the exit code. Nor does a report or a log that cannot be written at the end."""

_CHECKS: Final = """\
`check` ends with 3 if a mapping test fails, if `--online` with sources finds metadata that the project will refuse, or
if `--probe` finds that the project behaves otherwise than assumed, or cannot delete its customer.
`coverage` ends with 3 if less than `--fail-under` is mapped. `plan` ends with 0 even if the replay does not fit: read
its `--json` with `jq`."""

_UNREACHED: Final = """\
A run that never got a connection ends with 2 after ten seconds of tries. If a `--max-…` of yours ends it earlier, that
is 2, too: the same command would get no further. If a signal ends it, the code is that of the signal. Once a call has
succeeded with the ledger, a missing connection is an outage: the run waits, and ends with 4."""


def page() -> str:
    """Return the page."""
    docs = member_docs(ExitCode)
    codes = [(str(int(each)), code(status_of(each)), docs[each.name]) for each in ExitCode]
    order = ", ".join(str(int(each)) for each in PRECEDENCE)
    return page_of(
        "Exit codes",
        "voucherify_sync/exit_codes.py",
        _INTRODUCTION,
        table(("code", "status", "meaning"), codes),
        _CHECKS,
        f"If several codes apply, the first of these wins: {order}.",
        _UNREACHED,
        "## What stops a run",
        table(("what", "code", "meaning"), _errors()),
    )


def _errors() -> Iterator[tuple[str, str, str]]:
    for error in VoucherifySyncError.__subclasses__():
        meaning = (error.__doc__ or "").strip().splitlines()[0]
        yield code(error.__name__), str(int(error.exit_code)), meaning
