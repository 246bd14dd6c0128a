"""How a run ended: the summary on stderr, what stopped it, and the files that are written at the end."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator

import click

from voucherify_sync.api import PreparedReplay
from voucherify_sync.errors import ExitCode
from voucherify_sync.events import Json
from voucherify_sync.run.options import Mode, RunOptions
from voucherify_sync.run.run import Run
from voucherify_sync.settings import digest
from voucherify_sync.stop import Stop
from voucherify_sync.text import clean_lines, counted, span

from .notices import notices_of
from .options import Display
from .record_log import RecordLog
from .report_files import write_reports
from .summary import print_summary

GOES_ON = {ExitCode.STOPPED, ExitCode.INTERRUPTED, ExitCode.TERMINATED, ExitCode.HANGUP}
"""How runs end that the same command goes on with."""


def finish(prepared: PreparedReplay, display: Display, report: Json, log: RecordLog | None) -> None:
    """Sum up, say what stopped the run, if it was stopped, and write the reports and the end of the log."""
    run, request = prepared.run, prepared.run_options
    assert run is not None  # noqa: S101  # it is over
    if not display.quiet:
        print_summary(
            sys.stderr,
            report,
            dead_letters=run.books.dead_letters,
            next_command=next_command(request) if run.exit_code in GOES_ON else None,
            left=_left(request, run) if run.exit_code in GOES_ON else None,
            notices=[*notices_of(run), *_of_earlier_runs(prepared, report)],
        )
        for sentence in (*_of_sandbox(prepared), *_of_kept(prepared, report)):
            click.echo(sentence, err=True)
    for line in _stopped_by(prepared.stop, prepared.last_failure):
        click.echo(clean_lines(line), err=True)
    write_reports(display.report, report, quiet=display.quiet)
    log_trouble = None if log is None else log.finish()
    if log_trouble is not None:
        click.echo(clean_lines(f"Warning: {log_trouble}"), err=True)


def _of_sandbox(prepared: PreparedReplay) -> Iterator[str]:
    if prepared.sandbox_counts is not None:
        customers, events = prepared.sandbox_counts
        held = f"{counted(customers, 'customer')} and {counted(events, 'custom event')}"
        yield f"The sandbox held {held}."


def _of_kept(prepared: PreparedReplay, report: Json) -> Iterator[str]:
    """Say how to see and send again what did not arrive, or may not have arrived."""
    failed, in_doubt = report["outcomes"]["failed"], report["outcomes"]["in_doubt"]
    options = prepared.options
    if options.mode is not Mode.LIVE:
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


def _of_earlier_runs(prepared: PreparedReplay, report: Json) -> Iterator[str]:
    delivered = report["reasons"]["duplicate"].get("delivered", {}).get("count", 0)
    if delivered and prepared.options.mode is Mode.DRY_RUN:
        yield f"{counted(delivered, 'record')} left out because they were delivered before; --again shows them."
    last = prepared.earlier_run
    if last is not None and last.settings_digest != digest(prepared.settings):
        yield f"the mapping differs from that of run {last.name}; what was delivered stays as it was delivered."
