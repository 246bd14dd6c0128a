"""Does what `plan` was asked: options in, the plan on stdout; progress and notices on stderr. Nothing is sent."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import click
import msgspec
from msgspec import Struct

from voucherify_sync.preview.plan import PUBLIC_PLANS, Allowance, Plan, Planner, to_dict
from voucherify_sync.run.options import Mode
from voucherify_sync.settings import Settings, credentials, load
from voucherify_sync.sources.reader import Spool, find_sources
from voucherify_sync.state.ledger_location import read_ledger
from voucherify_sync.stop import Stop
from voucherify_sync.text import clean_lines

from .notices import notices_of
from .outputs import source_files, try_outputs_of_run
from .progress import progress
from .replay_options import ReplayOptions
from .replaying import find_ledger, input_of, request_of, rule_of, tell_problem
from .signals import stopping_in_order

_HOUR_S = 3_600
_SURELY_NO_MINUTE_S = 62


class PlanOptions(Struct, frozen=True):
    """What the command line of `plan` says.

    Attributes:
        replay: what it says of the replay that is planned.
        cycle: calls in a billing cycle.
        from_api: ask the project for its limit.
        as_json: for programs.
    """

    replay: ReplayOptions
    cycle: int | None
    from_api: bool
    as_json: bool


def tell_plan(options: PlanOptions) -> int:
    """Read, count, show; return the exit code."""
    replay = options.replay
    settings = replay.over(load(replay.config, environment=os.environ))
    found = find_sources(replay.source, stdin_is_terminal=sys.stdin.isatty())
    place = find_ledger(replay, settings)
    try_outputs_of_run(replay, settings, Mode.DRY_RUN, place.path, source_files(found.sources))
    if not replay.quiet:
        for notice in found.notices:
            click.echo(clean_lines(notice), err=True)
    allowances = list(_allowances(options, settings))
    stop, shown = Stop(), "none" if replay.quiet else replay.progress
    tell_problem(replay, place)
    with stopping_in_order(stop), Spool(found.sources) as spool, read_ledger(place) as ledger:
        request = request_of(replay, settings, Mode.DRY_RUN, input_of(found.sources, Mode.DRY_RUN, spool))
        planner = Planner(request, stop, ledger, rule_of(replay, request, ledger, retries=False))
        with progress(shown, planner.snapshot, sys.stderr):
            plan = planner.plan()
        if stop.requested:
            click.echo("There is no plan: not everything was read.", err=True)
        else:
            _show(plan, settings, allowances, list(notices_of(planner.run)), as_json=options.as_json)
    if stop.error is not None:
        click.echo(clean_lines(f"Stopped: {stop.error}"), err=True)
    return planner.run.exit_code


def _show(
    plan: Plan, settings: Settings, allowances: list[Allowance], notices: list[str], *, as_json: bool
) -> None:
    delivery = settings.delivery
    facts = to_dict(plan, allowances, delivery.reserve, delivery.rate)
    if as_json:
        from .json_text import write_harmless

        write_harmless(sys.stdout.buffer, msgspec.json.encode(facts | {"notices": notices}))
    else:
        from .plan_view import show_plan

        show_plan(sys.stdout, facts, plan.report, notices)


def _allowances(options: PlanOptions, settings: Settings) -> Iterator[Allowance]:
    """Yield the limits that the plan is held against."""
    if options.from_api:
        yield from _of_project(settings, options.cycle)
    elif options.cycle is not None or options.replay.rate is not None:
        yield Allowance("your plan", cycle=options.cycle)
        return
    yield from PUBLIC_PLANS


def _of_project(settings: Settings, cycle: int | None) -> Iterator[Allowance]:
    """Ask the project. It never tells the period of its limit; where the answer does not show it, both may be."""
    from voucherify_sync.preview.project_check import ask
    from voucherify_sync.voucherify.client import Client

    client = Client(credentials(settings, os.environ), workers=1)
    try:
        rate = ask(client).rate
    finally:
        client.close()
    if rate.limit is None:
        click.echo("The project tells no limit.", err=True)
        return
    ahead_s = 0.0 if rate.next_at is None or rate.date is None else rate.next_at - rate.date
    if ahead_s > _SURELY_NO_MINUTE_S:
        yield Allowance("your project", rate.limit, _HOUR_S, cycle)
    else:
        yield Allowance("your project, if by the minute", rate.limit, 60, cycle)
        yield Allowance("your project, if by the hour", rate.limit, _HOUR_S, cycle)
