"""`replay`: sends the events of archives, or shows what would be sent."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from voucherify_sync.run.options import Mode

from .options import Display, GroupedCommand, replay_options, take_mode
from .streams import tell

if TYPE_CHECKING:
    from voucherify_sync.api import PreparedReplay


@click.command("replay", cls=GroupedCommand)
@replay_options
def command(**values: Any) -> int:
    """Send the events of SOURCE to Voucherify: a file, a directory, a glob, a URL as s3://…, or - for stdin.

    \b
    Examples:
      voucherify-sync replay --dry-run segment-logs/ | jq .body
      voucherify-sync replay --sample 1% segment-logs/
      zcat part-*.gz | jq -c 'select(.userId)' | voucherify-sync replay -n -

    An option wins over its environment variable, and both win over the settings file. The defaults below
    apply where the settings file says nothing.
    """  # click reads the \b itself
    from voucherify_sync.api import PreparedReplay, ReplayOptions  # `--help` has no need of the pipeline

    from .signals import leaving

    display = Display.take(values)
    options = ReplayOptions(mode=take_mode(values, display), **values)
    asks = options.mode is Mode.LIVE and not display.yes  # the question reads all of the input, too
    with leaving(), PreparedReplay(options, plans_first=asks) as prepared:
        return perform(prepared, display)


def perform(prepared: PreparedReplay, display: Display) -> int:
    """Ask where it must be asked, run, and say how it ended; return the exit code.

    Raises:
        VoucherifySyncError: the run cannot begin.
    """
    from voucherify_sync.exit_codes import ExitCode

    from .confirm import agreed, require_yes_where_nobody_can_be_asked
    from .outputs import records_shown, try_outputs_of_run
    from .progress import progress
    from .signals import stopping_cleanly
    from .summary import finish

    mode, stop = prepared.options.mode, prepared.stop
    told: list[str] = []
    try_outputs_of_run(prepared, display)
    tell_notices(prepared, display)
    output = sys.stdout.buffer if mode is Mode.DRY_RUN else None
    sends = mode is not Mode.DRY_RUN
    with stopping_cleanly(stop, sends=sends), records_shown(display, prepared.run_options.run_id) as log:
        tell_problem_of_ledger(prepared, display)
        prepared.check_may_send(asks=not display.yes)
        if mode is Mode.LIVE and not display.yes and not prepared.goes_to_sandbox:
            require_yes_where_nobody_can_be_asked()
            if not agreed(prepared, display.progress_kind, told):
                tell("Nothing was sent.")
                return stop.signal_exit or (stop.error.exit_code if stop.error else ExitCode.INTERRUPTED)
        with progress(
            display.progress_kind,
            prepared.snapshot,
            sys.stderr,
            data_on_terminal=output is not None and output.isatty(),
        ):
            report = prepared.execute(output=output, watch=log.add if log else None)
        finish(prepared, display, report, log, told)
    return prepared.finished_run.exit_code


def tell_notices(prepared: PreparedReplay, display: Display) -> None:
    """Say which files are not read; and, unless the command is quiet, which fields are no longer filled."""
    from voucherify_sync.settings import default_table_notices

    hidden = default_table_notices(prepared.settings) if display.quiet else []
    tell(*(notice for notice in prepared.notices if notice not in hidden))


def tell_problem_of_ledger(prepared: PreparedReplay, display: Display) -> None:
    """Say as a notice of a dry run what a run that sends must refuse."""
    problem = prepared.location.problem
    if prepared.options.mode is Mode.DRY_RUN and problem is not None and not display.quiet:
        tell(f"Notice: {problem}")
