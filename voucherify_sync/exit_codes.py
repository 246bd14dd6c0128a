"""The exit codes of the commands, and which of them a run ends with."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from voucherify_sync.outcomes import State


class ExitCode(IntEnum):
    """How a command ended, for scripts."""

    OK = 0
    """Every record was delivered, skipped, sent before or dismissed."""
    BUG = 1
    """The program has a bug."""
    USAGE = 2
    """The command line, the settings, a source, an output, the address or the ledger cannot be used, or the program
    never reached Voucherify."""
    INCOMPLETE = 3
    """Finished, but some records were invalid, failed (now or before) or are in doubt, a source was damaged, or a check
    failed."""
    STOPPED = 4
    """Stopped early: quota used up, outage, a limit that you set, another run, a full disk. The same command
    continues."""
    REFUSED = 5
    """Voucherify refuses the keys, the plan or the permissions."""
    HANGUP = 129
    """Interrupted because the terminal was closed (SIGHUP). The same command continues."""
    INTERRUPTED = 130
    """Interrupted by Ctrl-C (SIGINT). The same command continues."""
    TERMINATED = 143
    """Interrupted by SIGTERM. The same command continues."""


PRECEDENCE: Final = (
    ExitCode.BUG,
    ExitCode.USAGE,
    ExitCode.REFUSED,
    ExitCode.HANGUP,
    ExitCode.INTERRUPTED,
    ExitCode.TERMINATED,
    ExitCode.STOPPED,
    ExitCode.INCOMPLETE,
    ExitCode.OK,
)
"""Where several exit codes apply, the first of these wins."""


def exit_code(
    counts: Mapping[State, int],
    *,
    error: ExitCode | None,
    signal: ExitCode | None,
    is_damaged: bool,
    holds_invariant: bool,
) -> ExitCode:
    """Return how a run ends: the first in PRECEDENCE of all codes that apply.

    Args:
        counts: records by state.
        error: code of the error that stopped it.
        signal: code of the signal that stopped it.
        is_damaged: a source could not be read to its end.
        holds_invariant: every record that was read is in one state.
    """
    from voucherify_sync.outcomes import State  # errors need the codes alone

    found = {ExitCode.OK}
    if is_damaged or any(counts[state] for state in (State.INVALID, State.FAILED, State.IN_DOUBT)):
        found.add(ExitCode.INCOMPLETE)
    if counts[State.PENDING]:
        found.add(ExitCode.STOPPED)
    found |= {code for code in (signal, error) if code is not None}
    if not holds_invariant:
        found.add(ExitCode.BUG)
    return min(found, key=PRECEDENCE.index)
