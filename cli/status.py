"""`status`: what a Voucherify project has been sent so far, from its ledger."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import CONFIG, LEDGER_FILE, option
from .streams import tell

if TYPE_CHECKING:
    from voucherify_sync.events import Json
    from voucherify_sync.state.ledger_reader import EarlierRun, LedgerReader

    from .render import Line, Table, TableRow, TextLines

_RUNS = 10


@click.command("status")
@CONFIG
@option(
    "--ledger",
    type=LEDGER_FILE,
    show_default="the project's own, in the state directory",
    help="Read this ledger.",
)
@option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@option("--failed", is_flag=True, help="Print the dead letters of failed records, one JSON object per line.")
@option("--doubt", is_flag=True, help="Print the dead letters of events in doubt, one JSON object per line.")
def command(config: Path | None, ledger: str | None, as_json: bool, failed: bool, doubt: bool) -> int:
    """Show what was sent to this project: delivered, failed and in doubt, the last runs, and the next command.

    \b
    Examples:
      voucherify-sync status
      voucherify-sync status --failed | jq -r .event.messageId
    """
    import msgspec

    from voucherify_sync.errors import UsageProblem
    from voucherify_sync.exit_codes import ExitCode
    from voucherify_sync.outcomes import State
    from voucherify_sync.state.dead_letters import LetterSelection
    from voucherify_sync.state.ledger_reader import LedgerReader

    from .outputs import existing_ledger

    if as_json + failed + doubt > 1:
        raise UsageProblem("--json, --failed and --doubt cannot be combined.", "Give one of them.")
    _, location = existing_ledger(config, ledger)
    if location.problem is not None:  # a run that sends would refuse the ledger
        tell(f"Notice: {location.problem}")
    with LedgerReader(location.path) as reader:
        if failed or doubt:
            selection = LetterSelection(outcomes=frozenset({State.FAILED if failed else State.IN_DOUBT}))
            for letter in reader.dead_letters(selection):
                sys.stdout.buffer.write(letter.encode())
            return ExitCode.OK
        status = status_of(reader, "".join(f" {shlex.quote(word)}" for word in ledger_words(config, ledger)))
    if as_json:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(status), indent=2) + b"\n")
    else:
        _show(status)
    return ExitCode.OK


def ledger_words(config: Path | None, ledger: Path | str | None) -> list[str]:
    """Return the options that lead another command to the same ledger."""
    words = [] if config is None else ["-c", str(config)]
    return words if ledger is None else [*words, "--ledger", str(ledger)]


def status_of(reader: LedgerReader, options: str) -> Json:
    """Return what a ledger holds, as `status --json` prints it; the commands that come next have these options."""
    from voucherify_sync.outcomes import State
    from voucherify_sync.state.ledger_file import holder_of

    assert reader.path is not None  # noqa: S101  # it was opened by its path
    running = holder_of(reader.path)
    with reader.snapshot():
        counts, runs = reader.counts(), reader.runs(_RUNS)
        left = reader.outcomes_of([run for run in runs if run.ended_at is None])  # those did not sum up
        failed_reasons, doubt_reasons = reader.reasons(State.FAILED), reader.reasons(State.IN_DOUBT)
        is_going_on = running and runs and runs[0].ended_at is None
        in_flight = reader.count_intents(runs[0].number) if is_going_on else 0
    in_doubt = counts.in_doubt - in_flight
    if in_flight:  # what has no answer yet is in doubt only once its run has ended
        doubt_reasons["interrupted"] -= in_flight
        left[runs[0].number][State.IN_DOUBT] -= in_flight
    return {
        "ledger": {
            "path": str(reader.path),
            "bytes": reader.size,
            "identities": [{"origin": own.origin, "key": own.key} for own in reader.identities],
        },
        "probe": _probe(reader),
        "running": running,
        "in_flight": in_flight,
        "delivered": {
            "customers": counts.delivered_customers,
            "events": counts.delivered_events,
            "orders": counts.delivered_orders,
        },
        "failed": {
            "total": counts.failed,
            "without_event": counts.failed_without_event,
            "reasons": failed_reasons,
        },
        "in_doubt": in_doubt,
        "in_doubt_reasons": {reason: count for reason, count in doubt_reasons.items() if count},
        "invalid": counts.invalid,
        "dismissed": counts.dismissed,
        "last_run": _run(runs[0], left) if runs else None,
        "runs": [_run(run, left) for run in runs],
        "next": next_commands(
            options,
            failed=counts.failed - counts.failed_without_event,
            failed_without_event=counts.failed_without_event,
            in_doubt=in_doubt,
        )
        if not running
        else [],  # they would find that the run holds the ledger
    }


def next_commands(
    options: str, *, failed: int, in_doubt: int, failed_without_event: int = 0
) -> list[dict[str, str]]:
    """Return the commands that come next, each with what it `does`; the options lead to the ledger."""
    commands = []
    if failed:
        commands += [
            (f"status{options} --failed", "print the failed records"),
            (f"retry{options}", "send them again"),
            (f"forget{options} --failed", "give them up"),
        ]
    if failed_without_event:
        does = "send the archive again: what failed before this version has no event in the ledger"
        commands.append((f"replay{options} SOURCE", does))
    if in_doubt:
        commands.append((f"status{options} --doubt", "print the events in doubt"))
        if not failed:
            commands.append((f"retry{options}", "look up whether they arrived"))
    return [{"command": f"voucherify-sync {command}", "does": does} for command, does in commands]


def next_block(commands: Sequence[dict[str, str]]) -> TextLines:
    """Return the commands that come next, ready to be pasted; no lines if there are none."""
    from voucherify_sync.text import clean

    from .render import TextLines

    lines: list[Line] = [[("Next:", "")]] if commands else []
    pasted = set()
    for each in commands:  # a command has a line of its own, to be copied as it stands
        pasted.add(len(lines))
        lines.append([(f"  {clean(each['command'], 100_000)}", "")])
        lines += [[(f"    {each['does']}", "dim")]] if each["does"] else []
    return TextLines(lines, pasted_lines=frozenset(pasted))


def _probe(reader: LedgerReader) -> Json | None:
    """Return what `check --probe` found out of the project, None where nothing is known."""
    from voucherify_sync.state.known_project import read_findings
    from voucherify_sync.text import utc_text

    known = read_findings(reader.path, reader.identities)
    if known is None:
        return None
    return {"found_at": utc_text(known.found_at), "differing": known.differing, "found": known.found}


def _run(run: EarlierRun, left: Mapping[int, dict[str, int]]) -> Json:
    from voucherify_sync.text import utc_text

    return {
        "run_id": run.name,
        "command": run.command,
        "started_at": utc_text(run.started_at),
        "finished_at": utc_text(run.ended_at) if run.ended_at else None,
        "exit_code": run.exit_code,
        "outcomes": run.counts or left.get(run.number, {}),
    }


def _show(status: Json) -> None:
    """Print what a ledger holds, for people."""
    from voucherify_sync.text import clean, counted, size

    from .render import Table, TextLines, sentences, show

    ledger, failed = status["ledger"], status["failed"]
    # An Application ID is kept as a hash, which says nothing to people.
    known = " and ".join(dict.fromkeys(clean(own["origin"], 4_096) for own in ledger["identities"]))
    if len({own["key"] for own in ledger["identities"]}) > 1:
        known += f", under {len({own['key'] for own in ledger['identities']})} Application IDs"
    head = [
        f"Ledger: {clean(ledger['path'], 4_096)}, {size(ledger['bytes'])}, of {known or 'no project yet'}"
    ]
    if probe := status["probe"]:
        differing = ", ".join(
            f"{clean(id_, 60)} {clean(str(probe['found'].get(id_)), 60)}" for id_ in probe["differing"]
        )
        found = f"differs: {differing}" if differing else "all as assumed"
        head.append(f"Found by check --probe on {probe['found_at'][:10]}: {found}")
    if status["running"]:
        head.append(f"A run is using it: {clean(status['running'], 300)}")
    without_event = counted(failed["without_event"], "record")
    show(
        sys.stdout,
        [
            TextLines([[(line, "")] for line in head], is_pasted=True),
            Table(list(_rows(status)), optional=1),
            sentences(f"{without_event} failed before this version: read the archive again, then retry.")
            if failed["without_event"]
            else sentences(),
            _history(status),
            next_block(status["next"]),
        ],
    )


def _rows(status: Json) -> Iterator[TableRow]:
    from voucherify_sync.outcomes import State

    from .render import TableRow
    from .summary import reason_row

    def row(label: str, count: int, note: str = "") -> TableRow:
        return TableRow(label, (f"{count:,}",), (note,))

    yield row("customer updates delivered", status["delivered"]["customers"])
    yield row("custom events delivered", status["delivered"]["events"])
    if status["delivered"]["orders"]:
        yield row("order events delivered", status["delivered"]["orders"])
    for state, label, total, reasons in (
        (State.FAILED, "failed", status["failed"]["total"], status["failed"]["reasons"]),
        (State.IN_DOUBT, "in doubt", status["in_doubt"], status["in_doubt_reasons"]),
    ):
        yield row(label, total)
        for reason, count in reasons.items():
            yield reason_row(state, reason, count)
    if status["running"]:
        yield row("in flight", status["in_flight"])
    if status["invalid"]:
        yield row("invalid", status["invalid"], "kept as dead letters")
    if status["dismissed"]:
        yield row("dismissed", status["dismissed"], "failed and given up")


def _history(status: Json) -> Table | TextLines:
    from voucherify_sync.text import clean

    from .render import Table, TableRow, sentences

    if not status["runs"]:
        return sentences("No run has sent anything yet.")
    rows = []
    for run in status["runs"]:
        counts = run["outcomes"]
        ended = "running" if status["running"] and run is status["runs"][0] else "did not end"
        if run["finished_at"]:
            ended = f"exit code {run['exit_code']}"
        # What was read and not sent leaves no trace in the ledger: a run sums it up at its end.
        pending = f"{counts.get('pending', 0):,}" if run["finished_at"] else "unknown"
        sent = (f"{counts.get(state, 0):,}" for state in ("delivered", "failed", "in_doubt"))
        numbers = (*sent, pending)
        started = run["started_at"][:16].replace("T", " ")
        rows.append(
            TableRow(started, numbers, (ended, clean(run["run_id"]), clean(run["command"] or "", 40)))
        )
    heads = ("started (UTC)", "delivered", "failed", "in doubt", "pending", "ended", "run", "command")
    return Table(rows, "Last runs:", heads, optional=1)
