"""Says how a run ended: the summary on stderr, what stopped it, what to do next; then writes reports and log."""

from __future__ import annotations

import re
import shlex
import sys
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, TextIO

from voucherify_sync.events import PATHS, Kind
from voucherify_sync.exit_codes import ExitCode
from voucherify_sync.findings import OTHER_TYPES, FindingCount, sentences_of
from voucherify_sync.outcomes import WHY_NOT_MAPPED, State, find, label_of, words
from voucherify_sync.report.run_report import OlderUpdatesReport, RunReport, headline
from voucherify_sync.run.options import Mode, RunOptions
from voucherify_sync.run.run import Run
from voucherify_sync.settings import digest
from voucherify_sync.text import clean, clean_lines, counted, short_position, size, span, utc_text

from .progress import time_left
from .render import STATE_STYLES, Table, TableRow, TextLines, command_line, sentences, show, warnings_of
from .status import ledger_words, next_block, next_commands
from .streams import tell

if TYPE_CHECKING:
    from voucherify_sync.api import OpenedReplay

    from .options import Display
    from .outputs import RecordLog

GOES_ON = {ExitCode.STOPPED, ExitCode.INTERRUPTED, ExitCode.TERMINATED, ExitCode.HANGUP}
"""How runs end that the same command goes on with."""

_TOP = 5
_REQUESTS = {
    f"POST {PATHS[Kind.CUSTOMER]}": "customer update",
    f"POST {PATHS[Kind.EVENT]}": "custom event",
    f"POST {PATHS[Kind.ORDER]}": "order event",
}
_NEEDS_A_HAND = ("invalid", "failed", "in_doubt")
_OF_LEDGER = re.compile("voucherify-sync (?:retry|status|forget)")
_FROM_THE_START = {
    Mode.DRY_RUN: "read it again from the start",
    Mode.SANDBOX: "send it again from the start: what the sandbox held is gone",
}
"""What the command of a stopped run does where nothing remembers how far the run came."""
_REQUESTED = ("planned", "delivered", "failed", "in_doubt")


def finish(
    opened: OpenedReplay,
    display: Display,
    report: RunReport,
    log: RecordLog | None,
    told: Sequence[str] = (),
) -> None:
    """Sum up, say what stopped the run, if it was stopped, and write the reports and the end of the log.

    The notices that the user was `told` before the run are not repeated.
    """
    from .outputs import write_reports

    run, stop = opened.finished_run, opened.stop
    goes_on = run.exit_code in GOES_ON
    words = ledger_words(opened.options.config, opened.options.ledger)
    ledger_options = "".join(f" {shlex.quote(word)}" for word in words)
    why_stopped = [f"Stopped: {stop.reason}"] if stop.reason else []
    trouble = opened.last_failure
    if (
        stop.requested and trouble is not None and trouble not in str(stop.reason)
    ):  # it may be the reason of a signal
        why_stopped.append(f"The last call failed: {trouble}.")
    if display.quiet:
        headlines = [headline(report)] if run.exit_code is ExitCode.INCOMPLETE else []
        tell(*headlines, *why_stopped)
        tell(*(f"Warning: {each}" for each in (*_damaged(report), *_left_out(run)) if each not in told))
    else:
        print_summary(
            sys.stderr,
            report,
            why_stopped=why_stopped,
            next_commands=list(_next_commands(opened, report, ledger_options, goes_on=goes_on)),
            ledger_options=ledger_options,
            remaining=_remaining(run) if goes_on and opened.options.mode is Mode.LIVE else None,
            notices=[
                notice
                for notice in (*notices_of(run), *_of_earlier_runs(opened, report))
                if notice not in told
            ],
        )
        if opened.sandbox_held is not None:
            stays = "`voucherify-sync sandbox` starts one that stays, with a page to look at."
            show(sys.stderr, [sentences(f"The sandbox held {opened.sandbox_held}. {stays}")])
    write_reports(display.report, report, quiet=display.quiet)
    log_trouble = None if log is None else log.finish()
    if log_trouble is not None:
        tell(f"Warning: {log_trouble}")


def print_summary(
    stream: TextIO,
    report: RunReport,
    *,
    why_stopped: Sequence[str] = (),
    next_commands: Sequence[dict[str, str]] = (),
    ledger_options: str = "",
    notices: Sequence[str] = (),
    remaining: str | None = None,
) -> None:
    """Print the summary.

    Args:
        stream: stderr.
        report: of the run.
        why_stopped: sentences on the end of a run that ended early.
        next_commands: what comes next, as `next_commands` of status gives it.
        ledger_options: of the commands that look at the ledger, each after a blank.
        notices: more sentences that the user should see.
        remaining: what is left to do, if the run stopped early.
    """
    places = [f"Dead letters: {clean(report.dead_letters, 4_096)}"] if report.dead_letters else []
    show(
        stream,
        [
            TextLines(
                [[(headline(report), "bold")], *([(clean_lines(why), "")] for why in why_stopped)],
            ),
            Table(list(_rows(report)), optional=1),
            _remedies(report, ledger_options),
            unmapped_table(report, _TOP, 40),
            warnings_of([*_damaged(report), *map(clean_lines, notices)]),
            TextLines(
                [[(line, "")] for line in [*places, *([remaining] if remaining else [])]], is_pasted=True
            ),
            next_block(next_commands),  # last, to be seen without scrolling
        ],
    )


def _damaged(report: RunReport) -> Iterator[str]:
    """Yield a sentence for each of the first sources that are damaged."""
    damaged = [source for source in report.input.sources if source.damaged]
    for source in damaged[:_TOP]:
        yield f"{clean(source.name, 4_096)} is damaged: {clean(source.damaged or '', 400)}"
    if len(damaged) > _TOP:
        yield f"{counted(len(damaged) - _TOP, 'more source is', 'more sources are')} damaged"


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
        yield TableRow(label_of(state), (f"{count:,}",), (requests,), STATE_STYLES.get(state, ""))
        yield from reason_rows(report, state, _TOP)
    if report.bulk and report.bulk.requests:
        bulk = report.bulk
        requests = f"{counted(bulk.requests, 'request')} of {size(bulk.bytes)}"
        updates = f"{counted(bulk.updates, 'record')} with fields of a customer"
        note = f"folded from {updates}, in {requests}, {counted(bulk.polls, 'poll')}"
        yield TableRow("customers", (f"{bulk.delivered + bulk.failed:,}",), (note,))
    if report.orders and report.orders.orders:
        orders = report.orders
        requests = f"{counted(orders.requests, 'request')} of {size(orders.bytes)}"
        notes = [
            f"folded from {counted(orders.records, 'event')}, in {requests}, {counted(orders.polls, 'poll')}"
        ]
        if orders.unchanged:
            notes.append(f"{orders.unchanged:,} of them unchanged and not sent")
        yield TableRow("orders", (f"{orders.orders:,}",), ("; ".join(notes),))
    api = report.api
    if api.calls:
        note = f"{counted(api.retries, 'retry', 'retries')}, {api.throttled:,} throttled"
        yield TableRow("calls", (f"{api.calls:,}",), (note,))


def reason_rows(report: RunReport, state: str, most: int) -> Iterator[TableRow]:
    """Yield a row for each of the most frequent reasons of a state, and one for all others.

    Where something needs a hand, it names an example.
    """
    reasons = report.reasons.get(state, {})
    for code, found in list(reasons.items())[:most]:
        detail = example = ""
        if state in _NEEDS_A_HAND:
            example = found.examples[0] if found.examples else ""
            # Of what is invalid our own words say more, but for how many events one record may stand.
            detail = found.detail or "" if state != State.INVALID or code == "batch_not_json" else ""
        yield reason_row(State(state), code, found.count, detail, example)
    if len(reasons) > most:
        rest = sum(found.count for found in list(reasons.values())[most:])
        yield TableRow("", (f"{rest:,}",), (counted(len(reasons) - most, "more reason"),), "dim", 1)


def reason_row(state: State, code: str, count: int, detail: str = "", example: str = "") -> TableRow:
    """Return a row that says why records ended in a state: a sentence, and the code of the report in grey.

    Args:
        state: of the records.
        code: our own, or a key of Voucherify.
        count: of the records.
        detail: a sentence about one of them, which says more than the code.
        example: where one of them stands.
    """
    code, sentence = clean(code, 40), clean(detail or words(state, code))
    notes = (sentence, code) if sentence else (code, "")
    if example:
        notes = (f"{notes[0]}: {clean(short_position(example), 4_096)}", notes[1])
    return TableRow("", (f"{count:,}",), notes, "dim", 1)


def _remedies(report: RunReport, ledger_options: str) -> Table:
    """Return what to do about the most frequent reasons that need a hand; its commands lead to the ledger."""
    rows: dict[str, TableRow] = {}
    for state in _NEEDS_A_HAND:
        for code in list(report.reasons.get(state, {}))[:_TOP]:
            reason = find(State(state), code)
            if reason is not None and reason.needs_action:
                remedy = _OF_LEDGER.sub(
                    lambda command: command[0] + clean(ledger_options, 4_096), reason.remedy
                )
                rows.setdefault(remedy, TableRow(clean(code, 40), notes=(remedy,)))
    return Table(list(rows.values()), "What to do")


def unmapped_table(report: RunReport, most: int, width: int) -> Table:
    """Return the fields that most often did not reach a request: not mapped, or dropped for their type.

    Where no request was made, as when all was delivered before, nothing is missing in one.
    """
    if not any(report.outcomes[state] for state in _REQUESTED):
        return Table([])
    counts: Counter[tuple[str, str]] = Counter()
    for part in report.mapping.values():
        for path, count in part.unmapped.items():
            counts[path, ""] += count
        for path, reasons in part.dropped.items():
            for reason, count in reasons.items():
                counts[path, WHY_NOT_MAPPED.get(reason, reason)] += count
    found = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    rows = [TableRow(clean(path, width), (f"{count:,}",), (why,)) for (path, why), count in found[:most]]
    if len(found) > most:
        rest = sum(count for _, count in found[most:])
        rows.append(TableRow(counted(len(found) - most, "more field"), (f"{rest:,}",)))
    return Table(rows, "Not mapped or dropped")


def notices_of(run: Run) -> Iterator[str]:
    """Yield what a person should know before sending, or after: findings, filters that met nothing."""
    older = OlderUpdatesReport(run.sinks.older.count, run.sinks.older.capped)
    yield from notices_of_events(run.findings(), older, run.foreign_sources())
    yield from _left_out(run)


def notices_of_events(
    findings: dict[str, FindingCount], older: OlderUpdatesReport, foreign: Container[str] = ()
) -> Iterator[str]:
    """Yield what a person should know of the events that were read.

    Args:
        findings: by code.
        older: customer updates out of order.
        foreign: sources with lines of another tool.
    """
    types = findings.get(OTHER_TYPES)
    if types and all(each.position.rpartition(":")[0] in foreign for each in types.examples):
        findings = {
            code: each for code, each in findings.items() if code != OTHER_TYPES
        }  # a notice says more
    yield from sentences_of(findings)
    if older.count:
        at_least = "at least " if older.capped else ""
        yield (
            f"{at_least}{counted(older.count, 'customer update is', 'customer updates are')} older than an "
            "update of the same customer earlier in the input. Sent one by one, such an update overwrites newer "
            "values; --bulk keeps the newest."
        )


def _left_out(run: Run) -> Iterator[str]:
    """Yield what makes a run read, select or write nothing where something was asked for; --quiet does not hide it."""
    sinks = run.sinks
    if sinks.letters_error is not None:
        missing = counted(sinks.letters_missing, "dead letter is", "dead letters are")
        yield (
            f"{sinks.letters_error.message}: {missing} not in it. "
            "The ledger knows the records: voucherify-sync retry"
        )
    yield from run.notices()


def _of_earlier_runs(opened: OpenedReplay, report: RunReport) -> Iterator[str]:
    delivered = report.reason_count(State.DUPLICATE, "delivered")
    if delivered and opened.options.mode is Mode.DRY_RUN:
        yield f"{counted(delivered, 'record')} left out because they were delivered before; --again shows them."
    last = opened.earlier_run
    if last is not None and last.settings_digest != digest(opened.settings):
        yield f"the mapping differs from that of run {last.name}; what was delivered stays as it was delivered."


def _next_commands(
    opened: OpenedReplay, report: RunReport, ledger_options: str, *, goes_on: bool
) -> Iterator[dict[str, str]]:
    """Yield the commands that come next, and what each does."""
    options, counts = opened.options, report.outcomes
    if goes_on:
        yield {"command": next_command(opened.run_options), "does": _FROM_THE_START.get(options.mode, "")}
    if options.mode is Mode.LIVE:
        failed, in_doubt = counts[State.FAILED], counts[State.IN_DOUBT]
        yield from next_commands(ledger_options, failed=failed, in_doubt=in_doubt)
    elif options.mode is Mode.DRY_RUN and counts[State.PLANNED] and not goes_on:
        live = [word for word in sys.argv[1:] if word not in ("--dry-run", "-n")]
        if len(live) < len(sys.argv) - 1 and sys.stdin.isatty():
            yield {"command": command_line(live), "does": "send them; it asks first"}


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
    return command_line(_with_fixed_times(words, times))


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
