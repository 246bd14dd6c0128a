"""Errors that stop a run. Each one says where, what and what to do, and has an exit code.

A problem of one record is never an error. It is an Outcome.
"""

from __future__ import annotations

from collections.abc import Sequence

from voucherify_sync.exit_codes import ExitCode


class VoucherifySyncError(Exception):
    """Base of all errors that stop a run.

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
    """The command line asks for something that is not possible."""

    exit_code = ExitCode.USAGE


class SourceError(VoucherifySyncError):
    """A source cannot be opened, or does not hold newline-delimited events."""

    exit_code = ExitCode.USAGE


class SettingsError(VoucherifySyncError):
    """The settings file has mistakes.

    Attributes:
        problems: one line per mistake, each ``file:line:column: message``; then the warnings, which say so.
    """

    exit_code = ExitCode.USAGE

    def __init__(self, problems: Sequence[str], remedy: str = "") -> None:
        super().__init__("\n".join(problems), remedy)
        self.problems = tuple(problems)


class WrongAddress(VoucherifySyncError):
    """The server does not behave like the Voucherify API, or redirects (3xx): the URL or a setting is wrong."""

    exit_code = ExitCode.USAGE


class Unreachable(VoucherifySyncError):
    """The program never reached Voucherify: check `api.url`, the certificates, the proxy and the network."""

    exit_code = ExitCode.USAGE


class AccessRefused(VoucherifySyncError):
    """Voucherify refuses the keys, the plan or the permissions (401, 402, 403)."""

    exit_code = ExitCode.REFUSED


class RunStopped(VoucherifySyncError):
    """The run stops cleanly before its end, and the same command continues: quota, outage, a limit of the user."""

    exit_code = ExitCode.STOPPED
