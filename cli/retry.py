"""`retry`: sends dead letters again, after their cause was fixed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from voucherify_sync.run.options import Mode

from .options import FILE, Display, GroupedCommand, keep_command, retry_options, take_mode
from .streams import tell


@click.command("retry", cls=GroupedCommand)
@click.argument("file", required=False, type=FILE, callback=keep_command)
@retry_options
def command(file: Path | None, **values: Any) -> int:
    """Send failed records again, look up records in doubt, and map invalid records again.

    Without FILE, retry takes all dead letters of the ledger, the oldest first, from every run. With FILE, it takes an
    edited file of dead letters, such as `status --failed` prints. Mapping, filters and ledger apply as in a replay.
    retry does not send what was delivered since. It dismisses a customer update that is older than the last one
    delivered. It sends an event in doubt only with --on-doubt resend.

    \b
    Examples:
      voucherify-sync retry --dry-run
      voucherify-sync retry --reason invalid_payload
      voucherify-sync status --failed > letters.ndjson   # edit them
      voucherify-sync retry letters.ndjson
    """
    from voucherify_sync.api import OpenedRetry, RetryOptions
    from voucherify_sync.errors import UsageProblem
    from voucherify_sync.exit_codes import ExitCode

    from .replay import perform, tell_problem_of_ledger

    display = Display.take(values)
    options = RetryOptions(mode=take_mode(values, display), file=file, **values)
    if file is not None and (options.reason or options.event or options.user or options.run):
        raise UsageProblem(
            "--reason, --event, --user and --run choose among the dead letters of the ledger, not of FILE.",
            "Choose with jq: jq -c 'select(.reason == \"invalid_payload\")'.",
        )
    with OpenedRetry(options) as opened:
        if file is not None and not (display.yes or options.mode is Mode.DRY_RUN or file.is_file()):
            raise UsageProblem(
                f"{file} can be read only once, and a live run reads it twice: before its question, and after it.",
                "Save the dead letters to a file first, or give --yes.",
            )
        if opened.without_event:
            tell(
                f"{opened.without_event:,} failed before this version, without an event in the ledger: "
                "read the archive again, then retry."
            )
        if not opened.has_letters:
            tell_problem_of_ledger(opened, display)
            tell("Nothing to retry.")
            return ExitCode.OK
        return perform(opened, display)
