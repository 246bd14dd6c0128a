"""Entry point: makes signals, file modes and streams safe, runs a command, and gives every ending its exit code."""

from __future__ import annotations

import os
import sys

from .signals import end_at_once

# Until `main` has begun, Ctrl-C shows a traceback of Python's: as little as possible is imported before it.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from voucherify_sync.errors import RunStopped, VoucherifySyncError
    from voucherify_sync.exit_codes import ExitCode

    from .streams import StdoutLost

_OWNER_ONLY = 0o077
"""The umask. It also covers what libraries make, such as temporary files and SQLite's; private.py sets modes itself."""


def main(args: list[str] | None = None) -> NoReturn:
    """Run the command line and leave the process with its exit code."""
    end_at_once()
    os.umask(_OWNER_ONLY)
    from .streams import prepare_streams, write_the_rest

    prepare_streams()
    try:
        code = _run(args) if _has_working_directory() else 2
    finally:
        write_the_rest()
    sys.exit(code)


def _has_working_directory() -> bool:
    """Tell whether paths mean anything: the directory may have been removed under the shell."""
    try:
        os.getcwd()  # noqa: PTH109 pathlib is not imported yet
    except FileNotFoundError:
        sys.stderr.write("Error: the working directory does not exist any more.\nChange to one that does.\n")
        return False
    return True


def _run(args: list[str] | None) -> int:
    """Run a command; return its exit code."""
    import click

    from voucherify_sync.errors import VoucherifySyncError
    from voucherify_sync.exit_codes import ExitCode

    from .group import COMPLETION_VARIABLE, cli
    from .streams import StdoutLost

    if COMPLETION_VARIABLE in os.environ:
        from .completion import register

        register()
    try:
        code = cli.main(args=args, prog_name="voucherify-sync", standalone_mode=False)
        sys.stdout.flush()
    except StdoutLost as lost:
        return ExitCode.OK if lost.has_no_reader else say_error(_cannot_write(lost))
    except VoucherifySyncError as error:
        return say_error(error)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return ExitCode.INTERRUPTED
    return code or ExitCode.OK


def _cannot_write(lost: StdoutLost) -> RunStopped:
    from voucherify_sync.errors import RunStopped

    return RunStopped(
        f"cannot write to standard output: {lost.reason}.",
        "Make room, or send it elsewhere; then run the same command again.",
    )


def say_error(error: VoucherifySyncError) -> ExitCode:
    """Show where, what and what to do on stderr."""
    from voucherify_sync.errors import SettingsError

    from .streams import tell

    prefix = (
        "" if isinstance(error, SettingsError) else "Error: "
    )  # file:line:column comes first, for editors
    tell(prefix + error.message)
    if error.remedy:
        tell(error.remedy)
    return error.exit_code
