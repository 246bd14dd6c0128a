"""`prepare`: maps an archive once, so that plans and replays of it read no events any more."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from voucherify_sync.errors import UsageProblem

from .options import Display, GroupedCommand, options_of, prepare_options
from .streams import tell

if TYPE_CHECKING:
    from voucherify_sync.api import OpenedPreparation

_where = options_of("Where to")
_how = options_of("How to do it")
_shown = options_of("What is shown and kept")


@click.command("prepare", cls=GroupedCommand)
@_where(
    "--to",
    metavar="FOLDER",
    type=click.Path(),
    help="Folder for the prepared archive, or a prefix such as s3://bucket/prepared/; it must be given.",
)
@prepare_options
@_how(
    "--cluster",
    metavar="ADDRESS",
    help="Have a cluster of Ray do the work (extra `cluster`): auto for that of this machine, or HOST:PORT.",
)
@_how(
    "--shared-directory",
    is_flag=True,
    help="With --cluster: all machines have SOURCE and --to under these names.",
)
@_shown("-q", "--quiet", is_flag=True, help="Show no progress and no summary, only errors and warnings.")
def command(**values: Any) -> int:
    """Map the events of SOURCE once, into a folder of requests that `plan` and `replay` take as their SOURCE.

    \b
    Examples:
      voucherify-sync prepare segment-logs/ --to prepared/ --bulk
      voucherify-sync plan prepared/
      voucherify-sync replay prepared/

    The work is shared between processes, makes no call and reads no ledger. Stopped or killed, the same
    command goes on where it ended. A replay of the result sends the same requests as one of SOURCE, under the
    same keys in the ledger: either of them skips what the other has sent.

    The folder holds personal data, as SOURCE does. Nobody but you can read it. Remove it after the replay.
    """  # click reads the \b itself
    from voucherify_sync.api import OpenedPreparation, PrepareOptions

    from .outputs import begin_reading
    from .progress import progress
    from .signals import stopping_cleanly

    display = Display.take(values)
    if not values["to"]:
        raise UsageProblem(
            "--to is missing.", "Name a folder that takes the prepared archive, such as --to prepared."
        )
    opened = OpenedPreparation(PrepareOptions(**values))
    stop, preparation = opened.stop, opened.preparation
    begin_reading(values["config"], opened, values["files_from"])
    with (
        stopping_cleanly(stop, sends=False, quits="Quit. The same command goes on.\n"),
        progress(display.progress_kind, opened.snapshot, sys.stderr),
    ):
        preparation.run()
    return _finish(opened, display, values["to"])


def _finish(opened: OpenedPreparation, display: Display, to: str) -> int:
    """Say how a preparation ended, and what comes next; return the exit code."""
    from voucherify_sync.text import counted

    from .render import command_line
    from .status import ledger_words
    from .summary import notices_of_events, print_summary

    stop, preparation = opened.stop, opened.preparation
    report = preparation.report
    if report is None:
        done, total = preparation.tasks
        tell(f"Stopped: {stop.reason}" if stop.reason else "Stopped.")
        tell(f"{done:,} of {counted(total, 'task')} of this stage are done. The same command goes on.")
        return stop.exit_code
    if preparation.is_known and not display.quiet:
        tell(f"{to} holds this archive already, prepared with the same settings and options.")
    if preparation.tried_again and not display.quiet:
        tell(f"{counted(preparation.tried_again, 'task')} ran again, as the process was killed.")
    if not display.quiet:
        words = [*ledger_words(opened.config, None), f"./{to}" if to.startswith("-") else to]
        is_incomplete = any(source.damaged for source in report.input.sources)
        following = [
            {
                "command": command_line(["plan", *words]),
                "does": "what it would send, and cost",
            },
            {
                "command": command_line(["replay", *["--incomplete"] * is_incomplete, *words]),
                "does": f"send {'what could be read' if is_incomplete else 'it'}; it asks first",
            },
        ]
        has_requests = bool(report.outcomes["planned"])
        print_summary(
            sys.stderr,
            report,
            next_commands=following if has_requests else (),
            notices=[*notices_of_events(report.findings, report.older_updates), *report.notices],
        )
    return report.exit_code
