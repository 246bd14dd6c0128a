"""Asks before custom events are sent for real: they trigger rewards and messages now, and cannot be undone."""

from __future__ import annotations

import os
import select
import sys
import termios
from contextlib import suppress
from heapq import nlargest
from typing import TYPE_CHECKING

import click

from voucherify_sync.errors import UsageProblem
from voucherify_sync.text import clean, counted, size

from .signals import leaving
from .streams import tell

if TYPE_CHECKING:
    from voucherify_sync.api import OpenedReplay
    from voucherify_sync.preview.plan import Plan
    from voucherify_sync.settings import Credentials
    from voucherify_sync.state.ledger_reader import LedgerReader

_NAMES_SHOWN = 3
_KEY_SHOWN = 4
_LOOK_S = 0.1
_OF_ORDERS = (
    "Rules, distributions and webhooks for orders do not run; customers who enter an active segment by it can\n"
    "still get messages or points. Orders cannot be deleted by the API."
)


def ask(question: str) -> bool:
    """Ask on stderr and wait for a line on stdin; return whether the answer is yes. Everything else is a no.

    It does not wait in `input()`: Python hears a signal that comes just before a read only after it, that is, after the
    next line.

    Raises:
        SystemExit: a signal came.
        click.Abort: stdin has ended.
    """
    with leaving():
        try:
            with suppress(termios.error):  # no terminal
                termios.tcflush(
                    sys.stdin, termios.TCIFLUSH
                )  # what was typed before the question is no answer
            click.echo(f"{question} [y/N]: ", nl=False, err=True)
            while not select.select([sys.stdin], [], [], _LOOK_S)[0]:
                pass
            answer = sys.stdin.readline()
        except SystemExit:
            click.echo(err=True)  # the prompt of the shell gets a line of its own
            raise
    if not answer:
        click.echo(err=True)
        raise click.Abort
    return answer.strip().lower() in {"y", "yes"}


def require_yes_where_nobody_can_be_asked() -> None:
    """Refuse a live run that would have to ask and cannot.

    Raises:
        UsageProblem: stdin is no terminal.
    """
    if not sys.stdin.isatty():
        raise UsageProblem(
            "custom events trigger rewards and messages when they arrive, orders cannot be deleted, and there is no "
            "terminal to ask on",
            "Look at it with --dry-run; give --yes to send without being asked.",
        )


def agreed(opened: OpenedReplay, progress_kind: str, told: list[str]) -> bool:
    """Plan the run and ask whether to send; True at once when neither custom events nor orders would be sent.

    The notices that were `told` with the question are added to the list.
    """
    from voucherify_sync.settings import credentials
    from voucherify_sync.state.ledger_reader import LedgerReader

    from .progress import progress
    from .summary import notices_of

    location, stop = opened.location, opened.stop
    with LedgerReader(location.path) as ledger:
        if location.adds_identity and not _agreed_to_identity(ledger, opened):
            return False
        bytes_of_ledger = ledger.size
    with progress(progress_kind, opened.snapshot, sys.stderr):
        plan = opened.plan()
    if stop.requested:
        return False
    if not plan.tracked and not (plan.orders and plan.orders.delivered):
        return True
    tell(_question(plan, credentials(opened.settings, os.environ)))
    path = clean(str(location.path), 4_096)
    if location.is_new:
        tell(f"A new ledger will be made: {path}")
    else:
        tell(f"The ledger is {path} ({size(bytes_of_ledger)}).")
    told += notices_of(opened.finished_run)
    tell(*(f"Warning: {notice}" for notice in told))
    return ask("Send them?")


def _agreed_to_identity(ledger: LedgerReader, opened: OpenedReplay) -> bool:
    """Ask whether a ledger that was used under another address or key is that of this project."""
    from voucherify_sync.settings import credentials
    from voucherify_sync.state.ledger_file import ProjectIdentity, describe

    keys = credentials(opened.settings, os.environ)
    counts, last = ledger.counts(), ledger.last_run()
    delivered = counts.delivered_customers + counts.delivered_events + counts.delivered_orders
    run = f", last by run {last.name} on {last.started_at:%Y-%m-%d}" if last else ""
    known = describe(ledger.identities, ProjectIdentity.of(keys.url, keys.app_id))
    tell(
        f"The ledger {clean(str(ledger.path), 4_096)} is that of {clean(known, 4_096)}:\n"
        f"  {counted(delivered, 'record')} delivered, {counts.failed:,} failed, {counts.in_doubt:,} in doubt{run}."
    )
    return ask("Is it the ledger of the project that you are about to send to?")


def _question(plan: Plan, keys: Credentials) -> str:
    by_name = plan.event_names.by_name
    most = nlargest(_NAMES_SHOWN, by_name.items(), key=lambda item: item[1])
    names = ", ".join(f"{clean(name, 60)} ({count:,})" for name, count in most)
    others = len(by_name) - len(most)
    at_least = "at least " if plan.event_names.other else ""
    more = f" and {at_least}{counted(others, 'other name')}" if others else ""
    sent = [counted(plan.updates_sent, "customer update")]
    if plan.tracked or plan.orders is None:
        sent.append(counted(plan.tracked, "custom event"))
    if plan.orders is not None:
        sent.append(
            f"{counted(plan.orders.delivered, 'order')} of {counted(len(plan.order_customers), 'customer')} "
            f"in {counted(plan.orders.requests, 'request')}"
        )
    look_ups = counted(plan.look_ups, "event in doubt is", "events in doubt are")
    doubts = f"\n{look_ups} looked up and not sent." if plan.look_ups else ""
    *first, last = sent
    project = f"{clean(keys.url)} (Application ID {clean(keys.app_id[:_KEY_SHOWN])}…)"
    lines = [
        f"{', '.join(first)} and {last} would go to {project}"
        + (f":\n  {names}{more}." if plan.tracked else ".")
    ]
    if plan.tracked:
        lines.append(
            "Custom events trigger rewards and messages now, whatever their date, and cannot be undone."
        )
    if plan.orders is not None and plan.orders.delivered:
        lines.append(_OF_ORDERS)
    return "\n".join(lines) + doubts
