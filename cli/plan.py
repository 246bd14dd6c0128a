"""`plan`: tells what a replay would send, and what that would cost."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from voucherify_sync.run.options import Mode

from .options import COUNT, RATE, Display, GroupedCommand, options_of, plan_options

if TYPE_CHECKING:
    from voucherify_sync.preview.plan import Allowance
    from voucherify_sync.settings import Settings

_HOUR_S = 3_600
_SURELY_NO_MINUTE_S = 62

_limits = options_of("Which limits")
_shown = options_of("What is shown and kept")


@click.command("plan", cls=GroupedCommand)
@_limits("--rate", type=RATE, metavar="N/min", help="Highest rate of calls, such as 90/min.")
@_limits("--cycle", type=COUNT, metavar="N", help="Calls in a billing cycle, such as 100000.")
@_limits(
    "--from-api",
    is_flag=True,
    help="Also use the limit of the project itself: makes one call and needs keys.",
)
@plan_options
@_shown("--json", "as_json", is_flag=True, help="Print one JSON object.")
@_shown("-q", "--quiet", is_flag=True, help="No progress and no notices; errors only.")
def command(cycle: int | None, from_api: bool, as_json: bool, **values: Any) -> int:
    """Show what a replay of SOURCE would send, its calls and its duration, and whether it fits a plan.

    \b
    Examples:
      voucherify-sync plan segment-logs/
      voucherify-sync plan --rate 500/min --cycle 1000000 --json segment-logs/ | jq .plans

    plan reads all of SOURCE, as a dry run does, and the ledger if an API key is set. It makes no call
    without --from-api. Each number comes twice: with one call per customer update (--each), and with
    customers folded into bulk requests (--bulk). Without --rate and --cycle it uses the limits of
    Voucherify's public plans, less the reserve of the settings.

    Exit code 0, even if the replay does not fit: see `jq '.plans[].bulk.fits'`. Exit code 3 if records
    are invalid or a source is damaged.
    """  # click reads the \b itself
    import msgspec

    from voucherify_sync.api import PreparedReplay, ReplayOptions
    from voucherify_sync.preview.plan import to_dict
    from voucherify_sync.text import clean_lines

    from .outputs import try_outputs_of_run
    from .progress import progress
    from .replay import tell_problem_of_ledger
    from .signals import stopping_cleanly
    from .summary import notices_of

    display = Display.take(values)
    prepared = PreparedReplay(ReplayOptions(mode=Mode.DRY_RUN, **values), plans_first=True)
    try_outputs_of_run(prepared, display)
    if not display.quiet:
        for notice in prepared.notices:
            click.echo(clean_lines(notice), err=True)
    settings, stop = prepared.settings, prepared.stop
    allowances = list(_allowances(settings, cycle, from_api=from_api, has_rate=values["rate"] is not None))
    tell_problem_of_ledger(prepared, display)
    with prepared, stopping_cleanly(stop):
        with progress(display.progress_kind, prepared.snapshot, sys.stderr):
            plan = prepared.plan()
        run = prepared.run
        assert run is not None  # noqa: S101  # it is over
        if stop.requested:
            click.echo("Interrupted: the input was not read completely, so there is no plan.", err=True)
        else:
            facts = to_dict(plan, allowances, settings.delivery.reserve, settings.delivery.rate)
            notices = list(notices_of(run))
            if as_json:
                from .render import write_harmless

                write_harmless(sys.stdout.buffer, msgspec.json.encode(facts | {"notices": notices}))
            else:
                from .plan_view import show_plan

                show_plan(sys.stdout, facts, plan.report, notices)
    if stop.error is not None:
        click.echo(clean_lines(f"Stopped: {stop.error}"), err=True)
    return run.exit_code


def _allowances(
    settings: Settings, cycle: int | None, *, from_api: bool, has_rate: bool
) -> Iterator[Allowance]:
    """Yield the limits that the plan is held against."""
    from voucherify_sync.preview.plan import PUBLIC_PLANS, Allowance

    if from_api:
        yield from _of_project(settings, cycle)
    elif cycle is not None or has_rate:
        yield Allowance("your plan", cycle=cycle)
        return
    yield from PUBLIC_PLANS


def _of_project(settings: Settings, cycle: int | None) -> Iterator[Allowance]:
    """Ask the project. It never tells the period of its limit; where the answer does not show it, both may be."""
    import os

    from voucherify_sync.preview.plan import Allowance
    from voucherify_sync.preview.project_check import ask
    from voucherify_sync.settings import credentials
    from voucherify_sync.voucherify.client import Client

    client = Client(credentials(settings, os.environ), workers=1)
    try:
        rate = ask(client).rate
    finally:
        client.close()
    if rate.limit is None:
        click.echo("The API reported no rate limit.", err=True)
        return
    ahead_s = 0.0 if rate.next_at is None or rate.date is None else rate.next_at - rate.date
    if ahead_s > _SURELY_NO_MINUTE_S:
        yield Allowance("your project", rate.limit, _HOUR_S, cycle)
    else:
        yield Allowance("your project, if by the minute", rate.limit, 60, cycle)
        yield Allowance("your project, if by the hour", rate.limit, _HOUR_S, cycle)
