"""The question before custom events are sent for real: they fire rewards and messages now, and cannot be undone."""

from __future__ import annotations

import sys
from heapq import nlargest

import click

from voucherify_sync.errors import UsageProblem
from voucherify_sync.preview.plan import Plan, Planner
from voucherify_sync.run.options import RunOptions
from voucherify_sync.settings import Credentials
from voucherify_sync.state.deduplication import Rule
from voucherify_sync.state.ledger_location import Place
from voucherify_sync.state.ledger_reader import LedgerReader
from voucherify_sync.stop import Stop
from voucherify_sync.text import clean, clean_lines, counted, size

from .notices import notices_of
from .progress import progress
from .question import ask

_NAMES_SHOWN = 3
_KEY_SHOWN = 4


def require_yes_where_nobody_can_be_asked(yes: bool) -> None:
    """Refuse a live run that would have to ask and cannot.

    Raises:
        UsageProblem: stdin is no terminal, and --yes was not given.
    """
    if not yes and not sys.stdin.isatty():
        raise UsageProblem(
            "custom events fire rewards and messages when they arrive, and there is no terminal to ask on",
            "Look at it with --dry-run; give --yes to send without being asked.",
        )


def agreed_to_identity(ledger: LedgerReader) -> bool:
    """Ask whether a ledger that was used under another address or key is that of this project."""
    counts, last = ledger.counts(), ledger.last_run()
    delivered = counts.delivered_customers + counts.delivered_events
    run = f", last by run {last.name} on {last.started_at:%Y-%m-%d}" if last else ""
    known = " and ".join(map(str, ledger.identities))
    click.echo(
        f"The ledger {clean(str(ledger.path), 4_096)} is that of {clean(known, 4_096)}:\n"
        f"  {counted(delivered, 'record')} delivered, {counts.failed:,} failed, {counts.in_doubt:,} in doubt{run}.",
        err=True,
    )
    return ask("Is it that of the project you are about to send to?")


def agreed(
    request: RunOptions,
    place: Place,
    ledger: LedgerReader,
    rule: Rule,
    keys: Credentials,
    stop: Stop,
    progress_kind: str,
) -> bool:
    """Plan the run and ask whether to send; True at once when no custom event would be sent."""
    planner = Planner(request, stop, ledger, rule)
    with progress(progress_kind, planner.snapshot, sys.stderr):
        plan = planner.plan()
    if stop.requested:
        return False
    if not plan.walked.tracked:
        return True
    click.echo(_question(plan, keys), err=True)
    path = clean(str(place.path), 4_096)
    if place.is_new:
        click.echo(f"A new ledger will be made: {path}", err=True)
    else:
        click.echo(f"The ledger is {path} ({size(ledger.size)}).", err=True)
    for notice in notices_of(planner.run):
        click.echo(clean_lines(f"Warning: {notice}"), err=True)
    return ask("Send them?")


def _question(plan: Plan, keys: Credentials) -> str:
    walked = plan.walked
    by_name = walked.events.by_name
    most = nlargest(_NAMES_SHOWN, by_name.items(), key=lambda item: item[1])
    names = ", ".join(f"{clean(name, 60)} ({count:,})" for name, count in most)
    others = len(by_name) - len(most)
    at_least = "at least " if walked.events.other else ""
    more = f" and {at_least}{counted(others, 'other name')}" if others else ""
    customers = counted(walked.updates_sent, "customer update")
    events = counted(walked.tracked, "custom event")
    look_ups = counted(walked.look_ups, "event in doubt is", "events in doubt are")
    doubts = f"\n{look_ups} looked up and not sent." if walked.look_ups else ""
    return (
        f"{customers} and {events} would go to {clean(keys.url)} "
        f"(Application ID {clean(keys.app_id[:_KEY_SHOWN])}…):\n  {names}{more}.\n"
        "Custom events fire rewards and messages now, whatever their date, and cannot be undone."
        f"{doubts}"
    )
