"""Does what `status` was asked: the ledger is read without a lock, so it works while a run goes on."""

from __future__ import annotations

import os
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from voucherify_sync.bookkeeping.ledger_reader import Doubt, LedgerReader, Run
from voucherify_sync.clean import clean
from voucherify_sync.errors import ExitCode, UsageProblem
from voucherify_sync.model import Json
from voucherify_sync.running.ledgers import read_ledger
from voucherify_sync.settings import Settings, application_id, load
from voucherify_sync.words import size

from .outputs import ledger_files, ledger_of, settings_files, try_outputs


def show_status(config: Path | None, ledger: str | None, *, as_json: bool) -> int:
    """Print counts, reasons and the last run on stdout."""
    with _open(config, ledger) as reader:
        status = status_of(reader)
    if as_json:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(status), indent=2) + b"\n")
    else:
        click.echo("\n".join(_lines(status)))
    return ExitCode.OK


def show_doubts(config: Path | None, ledger: str | None) -> int:
    """Print each event in doubt as a JSON object on stdout, the oldest first."""
    with _open(config, ledger) as reader:
        for doubt in reader.doubts():
            sys.stdout.buffer.write(msgspec.json.encode(_doubt(doubt)) + b"\n")
    return ExitCode.OK


def _open(config: Path | None, ledger: str | None) -> LedgerReader:
    settings = load(config, environment=os.environ)
    if ledger is not None:
        delivery = msgspec.structs.replace(settings.delivery, ledger=ledger)
        settings = msgspec.structs.replace(settings, delivery=delivery)
    path = ledger_of(settings)
    try_outputs([], [*settings_files(config, settings), *(ledger_files(path) if path else ())])
    return read_ledger(settings, _project(settings))


def _project(settings: Settings) -> str | None:
    app_id = application_id(settings, os.environ)
    if app_id is None and settings.delivery.ledger is None:
        raise UsageProblem(
            "which project? api.key is not known, and no ledger is named",
            "Set the variable of api.key, such as VOUCHERIFY_API_KEY, or give --ledger FILE.",
        )
    return app_id


def status_of(reader: LedgerReader) -> Json:
    """Return what a ledger holds, as `status --json` prints it."""
    counts, run = reader.counts(), reader.last_run()
    return {
        "ledger": {"path": str(reader.path), "bytes": reader.size},
        "delivered": {"customers": counts.delivered_customers, "events": counts.delivered_events},
        "failed": {"total": counts.failed, "reasons": reader.failed_by_reason()},
        "in_doubt": counts.in_doubt,
        "last_run": run and _run(run),
    }


def _run(run: Run) -> Json:
    return {
        "run_id": run.name,
        "started_at": _moment(run.started_at),
        "finished_at": _moment(run.ended_at),
        "exit_code": run.exit_code,
        "outcomes": run.counts,
    }


def _doubt(doubt: Doubt) -> Json:
    return {
        "messageId": doubt.message_id,
        "type": doubt.type,
        "event": doubt.name,
        "source": doubt.source,
        "sent_at": _moment(doubt.sent_at),
        "run": doubt.run,
        "reason": doubt.reason,
    }


def _moment(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z") if moment else None


def _lines(status: Json) -> list[str]:
    ledger, delivered, failed = status["ledger"], status["delivered"], status["failed"]
    rows: list[tuple[str, Any]] = [
        ("customer updates delivered", delivered["customers"]),
        ("custom events delivered", delivered["events"]),
        ("failed", failed["total"]),
        *((f"  {clean(reason, 40)}", count) for reason, count in failed["reasons"].items()),
        ("in doubt", status["in_doubt"]),
    ]
    width = max(len(label) for label, _ in rows)
    lines = [f"{label:<{width}}  {count:>12,}" for label, count in rows]
    return [
        *lines,
        "",
        _last_run(status["last_run"]),
        f"Ledger: {clean(ledger['path'], 4_096)}, {size(ledger['bytes'])}",
    ]


def _last_run(run: Json | None) -> str:
    if run is None:
        return "No run has sent anything yet."
    ended = (
        f"ended {run['finished_at']}, exit code {run['exit_code']}"
        if run["finished_at"]
        else "did not end in order"
    )
    return f"Last run: {clean(run['run_id'])}, started {run['started_at']}, {ended}"
