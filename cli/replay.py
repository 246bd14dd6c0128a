"""`replay`: sends the events of archives, or shows what would be sent."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from voucherify_sync.run.options import Mode

from .options import Display, GroupedCommand, replay_options, take_mode
from .streams import tell

if TYPE_CHECKING:
    from voucherify_sync.api import OpenedReplay


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
    from voucherify_sync.api import OpenedReplay, ReplayOptions  # `--help` has no need of the pipeline

    from .signals import leaving

    display = Display.take(values)
    options = ReplayOptions(mode=take_mode(values, display), **values)
    asks = options.mode is Mode.LIVE and not display.yes  # the question reads all of the input, too
    with leaving(), OpenedReplay(options, plans_first=asks) as opened:
        return perform(opened, display)


def perform(opened: OpenedReplay, display: Display) -> int:
    """Ask where it must be asked, run, and say how it ended; return the exit code.

    Raises:
        VoucherifySyncError: the run cannot begin.
    """
    from .confirm import agreed, require_yes_where_nobody_can_be_asked
    from .outputs import records_shown, try_outputs_of_run
    from .progress import progress
    from .signals import stopping_cleanly
    from .summary import finish

    mode, stop = opened.options.mode, opened.stop
    told: list[str] = []
    try_outputs_of_run(opened, display)
    tell_notices(opened, display)
    output = sys.stdout.buffer if mode is Mode.DRY_RUN else None
    sends = mode is not Mode.DRY_RUN
    with stopping_cleanly(stop, sends=sends), records_shown(display, opened.run_options.run_id) as log:
        tell_problem_of_ledger(opened, display)
        opened.check_may_send(asks=not display.yes)
        if mode is Mode.LIVE and not display.yes and not opened.goes_to_sandbox:
            require_yes_where_nobody_can_be_asked()
            if not agreed(opened, display.progress_kind, told):
                tell("Nothing was sent.")
                return stop.exit_code
        with progress(
            display.progress_kind,
            opened.snapshot,
            sys.stderr,
            data_on_terminal=output is not None and output.isatty(),
        ):
            report = opened.execute(output=output, watch=log.add if log else None)
        finish(opened, display, report, log, told)
    return opened.finished_run.exit_code


def tell_notices(opened: OpenedReplay, display: Display) -> None:
    """Say which files are not read; and, unless the command is quiet, which fields are no longer filled."""
    from voucherify_sync.settings import default_table_notices

    hidden = default_table_notices(opened.settings) if display.quiet else []
    tell(*(notice for notice in opened.notices if notice not in hidden))


def tell_problem_of_ledger(opened: OpenedReplay, display: Display) -> None:
    """Say as a notice of a dry run what a run that sends must refuse."""
    problem = opened.location.problem
    if opened.options.mode is Mode.DRY_RUN and problem is not None and not display.quiet:
        tell(f"Notice: {problem}")
