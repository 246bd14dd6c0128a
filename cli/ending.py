"""How a run ended: the summary on stderr, what stopped it, and the files that are written at the end."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator

import click

from voucherify_sync.errors import ExitCode
from voucherify_sync.events import Json
from voucherify_sync.run.options import Mode, RunOptions
from voucherify_sync.run.run import Run
from voucherify_sync.settings import digest
from voucherify_sync.state.ledger import Ledger
from voucherify_sync.stop import Stop
from voucherify_sync.text import clean_lines, counted, span

from .notices import notices_of
from .record_log import RecordLog
from .replay_options import ReplayOptions
from .report_files import write_reports
from .summary import print_summary
from .target import Target

GOES_ON = {ExitCode.STOPPED, ExitCode.INTERRUPTED, ExitCode.TERMINATED, ExitCode.HANGUP}
"""How runs end that the same command goes on with."""


def finish(
    options: ReplayOptions, request: RunOptions, run: Run, stop: Stop, target: Target, log: RecordLog | None
) -> None:
    """Sum up, say what stopped the run, if it was stopped, and write the reports and the end of the log."""
    report = run.to_dict()
    if not options.quiet:
        print_summary(
            sys.stderr,
            report,
            dead_letters=run.books.dead_letters,
            next_command=next_command(request) if run.exit_code in GOES_ON else None,
            left=_left(request, run) if run.exit_code in GOES_ON else None,
            notices=[*notices_of(run), *_of_earlier_runs(request, report, target)],
        )
        for sentence in (*target.closing(), *_of_kept(options, report, target)):
            click.echo(sentence, err=True)
    for line in _stopped_by(stop, target.link.trouble()):
        click.echo(clean_lines(line), err=True)
    write_reports(options.report, report, quiet=options.quiet)
    log_trouble = None if log is None else log.finish()
    if log_trouble is not None:
        click.echo(clean_lines(f"Warning: {log_trouble}"), err=True)


def _of_kept(options: ReplayOptions, report: Json, target: Target) -> Iterator[str]:
    """Say how to see and send again what did not arrive, or may not have arrived."""
    failed, in_doubt = report["outcomes"]["failed"], report["outcomes"]["in_doubt"]
    if not isinstance(target.ledger, Ledger):
        return
    words = [] if options.config is None else ["-c", str(options.config)]
    words += [] if options.ledger is None else ["--ledger", options.ledger]
    status, again = (shlex.join(["voucherify-sync", command, *words]) for command in ("status", "retry"))
    if failed:
        yield clean_lines(
            f"The ledger keeps {counted(failed, 'failed record')}: "
            f"`{status} --failed` prints them, `{again}` sends them again."
        )
    if in_doubt:
        yield clean_lines(
            f"The ledger keeps {counted(in_doubt, 'event')} in doubt: "
            f"`{status} --doubt` prints them, `{again} --on-doubt verify` looks them up."
        )


def _stopped_by(stop: Stop, trouble: str | None) -> Iterator[str]:
    """Say what stopped the run, unless it was a signal, and how the last call failed: that may be the reason."""
    said = "" if stop.error is None else f"Stopped: {stop.error}"
    if said:
        yield said
    if stop.requested and trouble is not None and trouble not in said:
        yield f"The last call failed: {trouble}."


def _left(request: RunOptions, run: Run) -> str | None:
    """Say what the run did not get to, and what that will cost."""
    left = None if request.mode is Mode.DRY_RUN else run.left()
    if left is None or round(left.requests) < 1:
        return None
    requests = round(left.requests)
    sentence = f"About {counted(requests, 'request is', 'requests are')} left"
    if not left.calls_per_min:
        return f"{sentence}."
    speed = f"{left.calls_per_min:,.0f} calls a minute"
    if left.calls_per_min < 10:
        speed = f"{left.calls_per_min * 60:,.0f} calls an hour"
    return f"{sentence}; at {speed} that is {span(60 * requests / left.calls_per_min)}."


def next_command(request: RunOptions) -> str:
    """Return the command that goes on: the same one, but nothing is sent a third time, and the ledger is there now."""
    instead = {"--again": ["--again-since", request.run_id], "--new-ledger": [], "--same-project": []}
    words = [part for word in sys.argv[1:] for part in instead.get(word, [word])]
    return shlex.join(["voucherify-sync", *words])


def _of_earlier_runs(request: RunOptions, report: Json, target: Target) -> Iterator[str]:
    delivered = report["reasons"]["duplicate"].get("delivered", {}).get("count", 0)
    if delivered and request.mode is Mode.DRY_RUN:
        yield f"{counted(delivered, 'record')} left out because they were delivered before; --again shows them."
    last = target.last_run
    if last is not None and last.settings_digest != digest(request.settings):
        yield f"the mapping differs from that of run {last.name}; what was delivered stays as it was delivered."
