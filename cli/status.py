"""`status`: what a Voucherify project has been sent so far, from its ledger."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import FILE, LEDGER_FILE

if TYPE_CHECKING:
    from voucherify_sync.events import Json
    from voucherify_sync.outcomes import State
    from voucherify_sync.state.ledger_reader import EarlierRun, LedgerReader

_RUNS = 10


@click.command("status")
@click.option(
    "-c",
    "--config",
    type=FILE,
    help="Settings file; default: ./voucherify-sync.yaml.",
)
@click.option("--ledger", type=LEDGER_FILE, help="Read this ledger instead of the project's own.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--failed", is_flag=True, help="Print the dead letters of failed records, one JSON object per line."
)
@click.option(
    "--doubt", is_flag=True, help="Print the dead letters of events in doubt, one JSON object per line."
)
def command(config: Path | None, ledger: str | None, as_json: bool, failed: bool, doubt: bool) -> int:
    """Show what was sent to this project: delivered, failed and in doubt, the last runs, and the next command.

    \b
    Examples:
      voucherify-sync status
      voucherify-sync status --failed | jq -r .event.messageId
    """
    import msgspec

    from voucherify_sync.errors import ExitCode, UsageProblem
    from voucherify_sync.outcomes import State

    if as_json + failed + doubt > 1:
        raise UsageProblem("--json, --failed and --doubt cannot be combined.", "Give one of them.")
    with _open(config, ledger) as reader:
        if failed or doubt:
            _print_letters(reader, State.FAILED if failed else State.IN_DOUBT)
        else:
            status = status_of(reader, _options(config, ledger))
            if as_json:
                sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(status), indent=2) + b"\n")
            else:
                click.echo("\n".join(_lines(status)))
    return ExitCode.OK


def _open(config: Path | None, ledger: str | None) -> LedgerReader:
    """Open the ledger that is meant; what a run that sends would refuse is a notice."""
    from voucherify_sync.state.ledger_location import read_ledger
    from voucherify_sync.text import clean_lines

    from .outputs import existing_ledger

    _, place = existing_ledger(config, ledger)
    if place.problem is not None:
        click.echo(clean_lines(f"Notice: {place.problem}"), err=True)
    return read_ledger(place)


def _print_letters(reader: LedgerReader, outcome: State) -> None:
    from voucherify_sync.state.dead_letters import LetterSelection

    selection = LetterSelection(outcomes=frozenset({outcome}))
    for letter in reader.dead_letters(selection):
        sys.stdout.buffer.write(letter.encode())


def status_of(reader: LedgerReader, options: str) -> Json:
    """Return what a ledger holds, as `status --json` prints it; the commands that come next have these options."""
    from voucherify_sync.outcomes import State
    from voucherify_sync.state.ledger_file import holder_of

    counts, runs = reader.counts(), reader.runs(_RUNS)
    assert reader.path is not None  # noqa: S101  # it was opened by its path
    return {
        "ledger": {
            "path": str(reader.path),
            "bytes": reader.size,
            "identities": [{"origin": own.origin, "key": own.key} for own in reader.identities],
        },
        "running": holder_of(reader.path),
        "delivered": {"customers": counts.delivered_customers, "events": counts.delivered_events},
        "failed": {
            "total": counts.failed,
            "without_event": counts.failed_without_event,
            "reasons": reader.reasons(State.FAILED),
        },
        "in_doubt": counts.in_doubt,
        "in_doubt_reasons": reader.reasons(State.IN_DOUBT),
        "invalid": counts.invalid,
        "dismissed": counts.dismissed,
        "last_run": _run(runs[0]) if runs else None,
        "runs": [_run(run) for run in runs],
        "next": list(_next(counts.failed - counts.failed_without_event, counts, options)),
    }


def _options(config: Path | None, ledger: str | None) -> str:
    """Return the options that lead another command to the same ledger, ready to be pasted."""
    words = [] if config is None else ["-c", str(config)]
    words += [] if ledger is None else ["--ledger", ledger]
    return "".join(f" {shlex.quote(word)}" for word in words)


def _next(failed: int, counts: Any, options: str) -> Iterator[dict[str, str]]:
    """Yield the commands that come next, and what each does."""
    if failed:
        yield {"command": f"voucherify-sync status{options} --failed", "does": "print the failed records"}
        yield {"command": f"voucherify-sync retry{options}", "does": "send them again"}
        yield {"command": f"voucherify-sync forget{options} --failed", "does": "give them up"}
    if counts.failed_without_event:
        does = "send the archive again: what failed before this version has no event in the ledger"
        yield {"command": f"voucherify-sync replay{options} SOURCE", "does": does}
    if counts.in_doubt:
        yield {"command": f"voucherify-sync status{options} --doubt", "does": "print the events in doubt"}
        if not failed:
            yield {"command": f"voucherify-sync retry{options}", "does": "look up whether they arrived"}


def _run(run: EarlierRun) -> Json:
    return {
        "run_id": run.name,
        "command": run.command,
        "started_at": _moment(run.started_at),
        "finished_at": _moment(run.ended_at),
        "exit_code": run.exit_code,
        "outcomes": run.counts,
    }


def _moment(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z") if moment else None


def _lines(status: Json) -> Iterator[str]:
    from voucherify_sync.text import clean, counted, size

    ledger, failed = status["ledger"], status["failed"]
    known = ", ".join(
        clean(f"{own['origin']} with the key {own['key']}", 4_096) for own in ledger["identities"]
    )
    yield f"Ledger: {clean(ledger['path'], 4_096)}, {size(ledger['bytes'])}, of {known or 'no project yet'}"
    if status["running"]:
        yield f"A run is using it: {clean(status['running'], 300)}"
    yield ""
    rows = list(_rows(status))
    width = max(len(label) for label, _, _ in rows)
    for label, count, note in rows:
        yield f"{label:<{width}}  {count:>12,}  {note}".rstrip()
    if failed["without_event"]:
        yield ""
        records = counted(failed["without_event"], "record")
        yield f"{records} failed before this version: read the archive again, then retry."
    yield ""
    yield from _history(status)
    if status["next"]:
        yield ""
        yield "Next:"
        width = max(len(each["command"]) for each in status["next"])
        yield from (f"  {clean(each['command'], 4_096):<{width}}  {each['does']}" for each in status["next"])


def _rows(status: Json) -> Iterator[tuple[str, int, str]]:
    from voucherify_sync.outcomes import State, words
    from voucherify_sync.text import clean

    yield "customer updates delivered", status["delivered"]["customers"], ""
    yield "custom events delivered", status["delivered"]["events"], ""
    yield "failed", status["failed"]["total"], ""
    for reason, count in status["failed"]["reasons"].items():
        yield f"  {clean(reason, 40)}", count, words(State.FAILED, reason)
    yield "in doubt", status["in_doubt"], ""
    for reason, count in status["in_doubt_reasons"].items():
        yield f"  {clean(reason, 40)}", count, words(State.IN_DOUBT, reason)
    if status["invalid"]:
        yield "invalid", status["invalid"], "kept as dead letters"
    if status["dismissed"]:
        yield "dismissed", status["dismissed"], "failed and given up"


def _history(status: Json) -> Iterator[str]:
    from voucherify_sync.text import clean

    if not status["runs"]:
        yield "No run has sent anything yet."
        return
    head = ("started (UTC)", "command", "ended", "delivered", "failed", "left", "run")
    rows = [head]
    for run in status["runs"]:
        counts = run["outcomes"]
        ended = "running" if status["running"] and run is status["runs"][0] else "did not end"
        if run["finished_at"]:
            ended = f"exit code {run['exit_code']}"
        numbers = (
            f"{counts.get(state, 0):,}" if counts else "" for state in ("delivered", "failed", "pending")
        )
        started = run["started_at"][:16].replace("T", " ")
        rows.append((started, clean(run["command"] or "", 40), ended, *numbers, clean(run["run_id"])))
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    yield "Last runs:"
    for row in rows:
        cells = [
            f"{cell:>{width}}" if 3 <= column <= 5 else f"{cell:<{width}}"
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield f"  {'  '.join(cells)}".rstrip()
