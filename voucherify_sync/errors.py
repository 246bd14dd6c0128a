"""What stops a run. Each error says where, what and what to do, and carries the exit code that it ends in.

What concerns one record is never an error: it is an Outcome.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum


class ExitCode(IntEnum):
    """How a command ended, for scripts."""

    OK = 0
    """Every record was delivered, skipped by a rule, sent before or dismissed."""
    BUG = 1
    """The program failed in a way that nobody foresaw."""
    USAGE = 2
    """The command line, the settings, a source, an output, the address or the ledger cannot be used, or Voucherify was
    never reached."""
    INCOMPLETE = 3
    """Finished, but some records were invalid, failed (now or before) or are in doubt, a source was damaged, or a check
    failed."""
    STOPPED = 4
    """Stopped early: quota, outage, a limit of the user's, another run, a full disk. The same command goes on."""
    REFUSED = 5
    """Voucherify refuses the keys, the plan or the permission."""
    HANGUP = 129
    """Interrupted as the terminal was closed (SIGHUP); the same command goes on."""
    INTERRUPTED = 130
    """Interrupted by Ctrl-C (SIGINT); the same command goes on."""
    TERMINATED = 143
    """Interrupted by SIGTERM; the same command goes on."""


class VoucherifySyncError(Exception):
    """Base of all that stops a run.

    Attributes:
        message: where and what, in one sentence.
        remedy: what to do about it, or an empty string.
    """

    exit_code = ExitCode.BUG

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\n{self.remedy}" if self.remedy else self.message


class UsageProblem(VoucherifySyncError):
    """The command line asks for something that cannot be."""

    exit_code = ExitCode.USAGE


class SourceError(VoucherifySyncError):
    """A source of events cannot be opened, or holds something that is not newline-delimited events."""

    exit_code = ExitCode.USAGE


class SettingsError(VoucherifySyncError):
    """The settings file has mistakes.

    Attributes:
        problems: one line a mistake, each ``file:line:column: message``.
    """

    exit_code = ExitCode.USAGE

    def __init__(self, problems: Sequence[str], remedy: str = "") -> None:
        super().__init__("\n".join(problems), remedy)
        self.problems = tuple(problems)


class WrongAddress(VoucherifySyncError):
    """What answers does not behave like the Voucherify API, or redirects (3xx): URL or settings are wrong."""

    exit_code = ExitCode.USAGE


class Unreachable(VoucherifySyncError):
    """Voucherify was never reached: `api.url`, the certificates, the proxy or the network of this machine is wrong."""

    exit_code = ExitCode.USAGE


class AccessRefused(VoucherifySyncError):
    """Voucherify refuses the keys, the plan or the permission (401, 402, 403)."""

    exit_code = ExitCode.REFUSED


class RunStopped(VoucherifySyncError):
    """The run stops in order before its end, and the same command goes on: quota, outage, a limit of the user's."""

    exit_code = ExitCode.STOPPED
