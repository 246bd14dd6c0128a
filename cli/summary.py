"""Says how a run ended: the summary on stderr, what stopped it, what to do next; then writes reports and log."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, TextIO

from voucherify_sync.events import Kind
from voucherify_sync.exit_codes import ExitCode
from voucherify_sync.findings import sentences_of
from voucherify_sync.outcomes import WHY_NOT_MAPPED, State, label_of, words
from voucherify_sync.report.run_report import RunReport, headline
from voucherify_sync.run.options import Mode, RunOptions
from voucherify_sync.run.run import Run
from voucherify_sync.settings import digest
from voucherify_sync.text import clean, clean_lines, counted, size, span, utc_text
from voucherify_sync.voucherify.answers import PATHS

from .progress import time_left
from .render import Table, TableRow, TextLines, sentences, show, warnings_of
from .status import ledger_words
from .streams import tell

if TYPE_CHECKING:
    from voucherify_sync.api import PreparedReplay

    from .options import Display
    from .outputs import RecordLog

GOES_ON = {ExitCode.STOPPED, ExitCode.INTERRUPTED, ExitCode.TERMINATED, ExitCode.HANGUP}
"""How runs end that the same command goes on with."""

_TOP = 5
_STYLES = {"delivered": "green", "planned": "green", "invalid": "red", "failed": "red", "in_doubt": "yellow"}
_REQUESTS = {
    f"POST {PATHS[Kind.CUSTOMER]}": "customer update",
    f"POST {PATHS[Kind.EVENT]}": "custom event",
}
_NEEDS_A_HAND = ("invalid", "failed", "in_doubt")
_REQUESTED = ("planned", "delivered", "failed", "in_doubt")


def finish(prepared: PreparedReplay, display: Display, report: RunReport, log: RecordLog | None) -> None:
    """Sum up, say what stopped the run, if it was stopped, and write the reports and the end of the log."""
    from .outputs import write_reports

    run, stop = prepared.finished_run, prepared.stop
    goes_on = run.exit_code in GOES_ON
    if not display.quiet:
        print_summary(
            sys.stderr,
            report,
            next_command=next_command(prepared.run_options) if goes_on else None,
            remaining=_remaining(run) if goes_on and prepared.options.mode is not Mode.DRY_RUN else None,
            notices=[*notices_of(run), *_of_earlier_runs(prepared, report)],
        )
        tell(*_of_kept(prepared, report))
    said, trouble = f"Stopped: {stop.error}" if stop.error else "", prepared.last_failure
    if said:
        tell(said)
    if stop.requested and trouble is not None and trouble not in said:  # it may be the reason of a signal
        tell(f"The last call failed: {trouble}.")
    write_reports(display.report, report, quiet=display.quiet)
    log_trouble = None if log is None else log.finish()
    if log_trouble is not None:
        tell(f"Warning: {log_trouble}")


def print_summary(
    stream: TextIO,
    report: RunReport,
    *,
    next_command: str | None = None,
    notices: Sequence[str] = (),
    remaining: str | None = None,
) -> None:
    """Print the summary.

    Args:
        stream: stderr.
        report: of the run.
        next_command: the command that goes on from here, ready to be pasted.
        notices: more sentences that the user should see.
        remaining: what is left to do, if the run stopped early.
    """
    damaged = [source for source in report.input.sources if source.damaged]
    warnings = [f"{clean(s.name, 4_096)} is damaged: {clean(s.damaged or '')}" for s in damaged[:_TOP]]
    if len(damaged) > _TOP:
        warnings.append(f"{counted(len(damaged) - _TOP, 'more source is', 'more sources are')} damaged")
    places = [f"Dead letters: {clean(report.dead_letters, 4_096)}"] if report.dead_letters else []
    next_lines = ["Next:", f"  {clean(next_command, 100_000)}"] if next_command else []
    show(
        stream,
        [
            sentences(headline(report), style="bold"),
            Table(list(_rows(report))),
            unmapped_table(report, _TOP, 40),
            warnings_of([*warnings, *map(clean_lines, notices)]),
            TextLines(
                [[(line, "")] for line in [*places, *([remaining] if remaining else [])]], is_pasted=True
            ),
            TextLines(
                [[(line, "")] for line in next_lines], is_pasted=True
            ),  # last, to be seen without scrolling
        ],
    )


def _rows(report: RunReport) -> Iterator[TableRow]:
    """Yield what was read, how it ended and why, and what it took."""
    sources = counted(len(report.input.sources), "source")
    note = f"{sources}, {size(report.input.bytes)}, {span(report.duration_s)}"
    yield TableRow("read", (f"{report.events.read:,}",), (note,))
    for state, count in report.outcomes.items():
        if not count:
            continue
        made = {
            noun: report.api.by_endpoint.get(endpoint, {}).get(state, 0)
            for endpoint, noun in _REQUESTS.items()
            if state in ("delivered", "planned")
        }
        requests = ", ".join(counted(number, noun) for noun, number in made.items() if number)
        yield TableRow(label_of(state), (f"{count:,}",), (requests,), _STYLES.get(state, ""))
        yield from reason_rows(report, state, _TOP)
    if report.bulk and report.bulk.requests:
        bulk = report.bulk
        requests = f"{counted(bulk.requests, 'request')} of {size(bulk.bytes)}"
        note = f"folded from {counted(bulk.updates, 'update')}, in {requests}, {counted(bulk.polls, 'poll')}"
        yield TableRow("customers", (f"{bulk.delivered + bulk.failed:,}",), (note,))
    api = report.api
    if api.calls:
        note = f"{counted(api.retries, 'retry', 'retries')}, {api.throttled:,} throttled"
        yield TableRow("calls", (f"{api.calls:,}",), (note,))


def reason_rows(report: RunReport, state: str, most: int) -> Iterator[TableRow]:
    """Yield a row for each of the most frequent reasons of a state, and one for all others.

    A note says what the reason means, or, where something needs a hand, names an example.
    """
    reasons = report.reasons.get(state, {})
    for reason, found in list(reasons.items())[:most]:
        meaning = words(State(state), reason)
        if state in _NEEDS_A_HAND or not meaning:
            example = clean(found.examples[0], 4_096) if found.examples else ""
            meaning = ": ".join(filter(None, (example, clean(found.detail or meaning))))
        yield TableRow(clean(reason, 40), (f"{found.count:,}",), (meaning,), "dim", 1)
    if len(reasons) > most:
        rest = sum(found.count for found in list(reasons.values())[most:])
        yield TableRow(counted(len(reasons) - most, "more reason"), (f"{rest:,}",), style="dim", depth=1)


def unmapped_table(report: RunReport, most: int, width: int) -> Table:
    """Return the fields that most often did not reach a request: not mapped, or dropped for their type.

    Where no request was made, as when all was delivered before, nothing is missing in one.
    """
    if not any(report.outcomes[state] for state in _REQUESTED):
        return Table([])
    found: list[tuple[str, int, str]] = []
    for part in report.mapping.values():
        found += [(path, count, "") for path, count in part.unmapped.items()]
        for path, reasons in part.dropped.items():
            found += [(path, count, WHY_NOT_MAPPED.get(reason, reason)) for reason, count in reasons.items()]
    found.sort(key=lambda field: (-field[1], field[0]))
    rows = [TableRow(clean(path, width), (f"{count:,}",), (why,)) for path, count, why in found[:most]]
    if len(found) > most:
        rest = sum(count for _, count, _ in found[most:])
        rows.append(TableRow(counted(len(found) - most, "more field"), (f"{rest:,}",)))
    return Table(rows, "Not mapped or dropped")


def notices_of(run: Run) -> Iterator[str]:
    """Yield what a person should know before sending, or after: findings, filters that met nothing."""
    older, sinks = run.sinks.older, run.sinks
    yield from sentences_of(run.findings())
    if older.count:
        at_least = "at least " if older.capped else ""
        yield (
            f"{at_least}{counted(older.count, 'customer update is', 'customer updates are')} older than an "
            "update of the same customer earlier in the input. Sent one by one, such an update overwrites newer "
            "values; --bulk keeps the newest."
        )
    if sinks.letters_error is not None:
        missing = counted(sinks.letters_missing, "dead letter is", "dead letters are")
        yield (
            f"{sinks.letters_error.message}: {missing} not in it. "
            "The ledger knows the records: voucherify-sync retry"
        )
    yield from run.notices()


def _of_earlier_runs(prepared: PreparedReplay, report: RunReport) -> Iterator[str]:
    delivered = report.reason_count(State.DUPLICATE, "delivered")
    if delivered and prepared.options.mode is Mode.DRY_RUN:
        yield f"{counted(delivered, 'record')} left out because they were delivered before; --again shows them."
    last = prepared.earlier_run
    if last is not None and last.settings_digest != digest(prepared.settings):
        yield f"the mapping differs from that of run {last.name}; what was delivered stays as it was delivered."


def _of_kept(prepared: PreparedReplay, report: RunReport) -> Iterator[str]:
    """Say what the sandbox held; or how to see and send again what was not delivered, or may not have been."""
    options = prepared.options
    if prepared.sandbox_counts is not None:
        customers, events = prepared.sandbox_counts
        held = f"{counted(customers, 'customer')} and {counted(events, 'custom event')}"
        yield f"The sandbox held {held}. `voucherify-sync sandbox` starts one that stays, with a page to look at."
    if options.mode is not Mode.LIVE:
        return
    failed, in_doubt = report.outcomes["failed"], report.outcomes["in_doubt"]
    own = ledger_words(options.config, options.ledger)
    status, again = (shlex.join(["voucherify-sync", command, *own]) for command in ("status", "retry"))
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


def _remaining(run: Run) -> str | None:
    """Say how many requests a run did not get to, and how long they will take."""
    left, snapshot = run.calls_left(), run.snapshot()
    if left is None or not left[0]:
        return None
    about = "About " if left[1] else ""
    takes = ", ".join(time_left(snapshot)).replace(" to go", "")
    return f"{about}{counted(left[0], 'request')} remaining{': ' if takes else ''}{takes}."


def next_command(request: RunOptions) -> str:
    """Return the command that goes on: the same one, but nothing is sent a third time, and the ledger exists now.

    A period that counts back from now is fixed: later, it would leave out what this run did not get to.
    """
    # --again would send once more what this run has sent; the other two are for a ledger that is new to the command.
    replaced = {"--again": ["--again-since", request.run_id], "--new-ledger": [], "--same-project": []}
    words = [part for word in sys.argv[1:] for part in replaced.get(word, [word])]
    selection = request.selection
    times = {"--since": selection.since, "--until": selection.until}
    return shlex.join(["voucherify-sync", *_with_fixed_times(words, times)])


def _with_fixed_times(words: list[str], times: dict[str, datetime | None]) -> Iterator[str]:
    """Yield the words of a command, with a time in place of one that counts back from now."""
    for option, word in pairwise(["", *words]):
        name, _, value = word.partition("=")
        if (time := times.get(option)) is not None and _counts_back(word):
            yield utc_text(time)
        elif (time := times.get(name)) is not None and value and _counts_back(value):
            yield f"{name}={utc_text(time)}"
        else:
            yield word


def _counts_back(text: str) -> bool:
    """Tell whether a time, which was read before, counts back from now."""
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return True
    return False
