"""`plan`: tells what a replay would send, and what that would cost."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final, TextIO

import click

from voucherify_sync.outcomes import State, label_of
from voucherify_sync.run.options import Mode
from voucherify_sync.text import PERIODS, clean, clean_lines, counted, percent, short_position, size, span

from .options import COUNT, RATE, Display, GroupedCommand, options_of, plan_options
from .render import Table, TableRow, TextLines, command_line, sentences, show, warnings_of, write_harmless
from .streams import tell

if TYPE_CHECKING:
    from voucherify_sync.events import Json
    from voucherify_sync.preview.plan import Allowance
    from voucherify_sync.report.run_report import RunReport
    from voucherify_sync.settings import Settings

_HOUR_S = 3_600
_SURELY_NO_MINUTE_S = 62

_limit = options_of("Which limits")
_shown = options_of("What is shown and kept")


_TOP: Final = 10
_FEW: Final = 3
_WAYS: Final = {"each": "--each", "bulk": "--bulk"}
_NO_NAME: Final = "(blank name)"
_BAD: Final = {"invalid", "failed"}


@click.command("plan", cls=GroupedCommand)
@_limit("--rate", type=RATE, metavar="N/min", help="Calculate with this rate of calls, such as 90/min.")
@_limit("--cycle", type=COUNT, metavar="N", help="Calculate with N calls in a billing cycle, such as 100000.")
@_limit(
    "--from-api",
    is_flag=True,
    help="Also calculate with the limit of your project. This makes one call and needs the keys.",
)
@plan_options
@_shown("--brief", is_flag=True, help="Show what matters most: no tables.")
@_shown("--json", "as_json", is_flag=True, help="Print one JSON object.")
@_shown("-q", "--quiet", is_flag=True, help="Show no progress, only the plan, errors and warnings.")
def command(cycle: int | None, from_api: bool, brief: bool, as_json: bool, **values: Any) -> int:
    """Show what a replay of SOURCE would send, its calls and its duration, and whether it fits Voucherify's plans.

    \b
    Examples:
      voucherify-sync plan segment-logs/
      voucherify-sync plan --sample 1% segment-logs/
      voucherify-sync plan --rate 500/min --cycle 1000000 segment-logs/
      voucherify-sync plan --json segment-logs/ | jq .plans

    plan reads all of SOURCE, as a dry run does, and the ledger if an API key is set. It makes no call
    without --from-api. Each number comes twice: with one call per customer update (--each), and with
    customers folded into bulk requests (--bulk). Without --rate and --cycle it uses the limits of
    Voucherify's public plans, less the reserve of the settings. It also shows what page, screen and group
    events would cost that are switched off, and what order events cost as custom events and as orders.

    Exit code 0, even if the replay does not fit: see `jq '.plans[].bulk.fits'`. Exit code 3 if records
    are invalid or a source is damaged.
    """  # click reads the \b itself
    import msgspec

    from voucherify_sync.api import OpenedReplay, ReplayOptions
    from voucherify_sync.preview.plan import to_dict

    from .outputs import try_outputs_of_run
    from .progress import progress
    from .replay import tell_notices, tell_problem_of_ledger
    from .signals import leaving, stopping_cleanly
    from .summary import notices_of

    display = Display.take(values)
    options = ReplayOptions(mode=Mode.DRY_RUN, **values)
    with leaving(), OpenedReplay(options, plans_first=True) as opened:
        try_outputs_of_run(opened, display)
        tell_notices(opened, display)
        settings, stop = opened.settings, opened.stop
        has_rate = options.rate is not None
        allowances = list(_allowances(settings, cycle, from_api=from_api, has_rate=has_rate))
        tell_problem_of_ledger(opened, display)
        with (
            stopping_cleanly(stop, sends=False),
            progress(display.progress_kind, opened.snapshot, sys.stderr),
        ):
            plan = opened.plan()
    run = opened.finished_run
    if stop.requested:
        tell("Interrupted: the input was not read completely, so there is no plan.")
    else:
        facts = to_dict(plan, allowances, settings.delivery.reserve, settings.delivery.rate)
        notices = list(notices_of(run))
        if as_json:
            write_harmless(sys.stdout.buffer, msgspec.json.encode(facts | {"notices": notices}))
        else:
            show_plan(sys.stdout, facts, plan.report, notices, is_brief=brief)
    if stop.error is not None:
        tell(f"Stopped: {stop.error}")
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
    from voucherify_sync.preview.plan import Allowance
    from voucherify_sync.settings import credentials
    from voucherify_sync.voucherify.client import Client
    from voucherify_sync.voucherify.project import ask

    with closing(Client(credentials(settings, os.environ), workers=1)) as client:
        rate, _ = ask(client)
    if rate.limit is None:
        tell("The API reported no rate limit.")
        return
    ahead_s = 0.0 if rate.next_at is None or rate.date is None else rate.next_at - rate.date
    if ahead_s > _SURELY_NO_MINUTE_S:
        yield Allowance("your project", rate.limit, _HOUR_S, cycle)
    else:
        yield Allowance("your project, if by the minute", rate.limit, 60, cycle)
        yield Allowance("your project, if by the hour", rate.limit, _HOUR_S, cycle)


def show_plan(
    stream: TextIO, plan: Json, report: RunReport, notices: list[str], *, is_brief: bool = False
) -> None:
    """Show a plan.

    Args:
        stream: stdout.
        plan: as `preview.plan.to_dict` gives it.
        report: of the dry run.
        notices: more sentences that the user should see.
        is_brief: no tables.
    """
    from voucherify_sync.report.run_report import headline

    from .status import next_block
    from .summary import unmapped_table

    head = [[(headline(report, "Read {}"), "bold")]]
    if plan["period"]:
        head.append([(f"The events happened from {_minute(plan['period'])}.", "")])
    if plan["sample"] is not None:
        head.append([(_of_all(plan), "")])
    head += [[(line, "bold red" if "WILL NOT FIT" in line else "")] for line in _verdict(plan)]
    warned = [clean_lines(warning) for warning in (*_warnings(plan, report), *notices)]
    ledger = plan["ledger"]
    known = (
        f"Ledger: {clean(ledger, 4_096)}"
        if ledger
        else "No API key set: assuming that nothing has been sent yet."
    )
    blocks: list[Table | TextLines] = [TextLines(head)]
    if not is_brief:
        if 1 < len(plan["periods"]) <= _TOP:
            blocks.append(_periods(plan["periods"]))
        blocks.append(Table(list(_events(plan["events"])), "Events", ("", "read", "to send")))
        blocks.append(Table(list(_not_sent(report)), "Not sent", optional=1))
        blocks.append(_switched_off(plan))
        if plan["costs"]["each"]["calls"]:
            blocks += [_costs(plan), _limits(plan)]
        blocks.append(unmapped_table(report, _TOP, 60))
    blocks += [
        warnings_of(warned),
        TextLines(sentences(known, style="dim").lines, is_pasted=bool(ledger)),
    ]
    if plan["costs"]["each"]["calls"]:
        blocks.append(next_block(list(_next_commands(sys.argv[1:], has_ledger=bool(ledger)))))
    show(stream, blocks)


def _next_commands(words: Sequence[str], *, has_ledger: bool) -> Iterator[dict[str, str]]:
    """Yield the commands that come next: without keys, a run into a sandbox goes before the one that was planned."""
    planned, tried = _replay_command(words), _replay_command(words, "--sandbox")
    if planned is None or tried is None:
        return
    before = ""
    if not has_ledger:
        yield {"command": tried, "does": "try it on this machine; no account is needed"}
        before = "; before: export VOUCHERIFY_API_KEY=… VOUCHERIFY_API_TOKEN=…"
    yield {"command": planned, "does": f"send it; it asks first{before}"}


def _replay_command(words: Sequence[str], *options: str) -> str | None:
    """Return the command that does what was planned; None where the input was a pipe, which is read by now."""
    if words[:1] != ["plan"] or "-" in words or not any(not word.startswith("-") for word in words[1:]):
        return None
    kept, rest = ["replay", *options], iter(words[1:])
    for word in rest:
        if word == "--cycle":
            next(rest, None)
        elif word not in ("--brief", "--from-api") and not word.startswith("--cycle="):
            kept.append(word)
    return command_line(kept)


def _minute(period: Json) -> str:
    """Return a period to the minute."""
    first, last = (period[end][:16].replace("T", " ") for end in ("first", "last"))
    return f"{first} to {last} UTC"


def _periods(periods: Json) -> Table:
    """Return when the events of each source happened."""
    rows = [
        TableRow(clean(short_position(source), 60), notes=(_minute(period),))
        for source, period in periods.items()
    ]
    return Table(rows, "First and last event of each source")


def _events(events: Json) -> Iterator[TableRow]:
    """Yield records by type, and track events by name."""

    def row(label: str, counts: list[Json], depth: int) -> TableRow:
        read, sent = (sum(each[key] for each in counts) for key in ("read", "would_be_sent"))
        return TableRow(label, (f"{read:,}", f"{sent:,}"), style="" if sent else "dim", depth=depth)

    types = list(events["by_type"].items())
    for type_, counts in types[:_TOP]:
        yield row(clean(type_, 40), [counts], 0)
        if type_ == "track":
            names = sorted(events["by_name"].items(), key=lambda item: -item[1]["would_be_sent"])
            shown = ((clean(name, 60) if name.strip() else _NO_NAME, each) for name, each in names[:_TOP])
            yield from (row(label, [each], 1) for label, each in shown)
            if len(names) > _TOP:
                rest = [each for _, each in names[_TOP:]]
                yield row(counted(len(rest), "more name"), rest, 1)
    if len(types) > _TOP:
        rest = [each for _, each in types[_TOP:]]
        yield row(counted(len(rest), "more type"), rest, 0)


def _not_sent(report: RunReport) -> Iterator[TableRow]:
    from .summary import reason_rows

    for state, count in report.outcomes.items():
        if count and state not in ("planned", "delivered"):
            yield TableRow(label_of(state), (f"{count:,}",), style="red" if state in _BAD else "")
            yield from reason_rows(report, state, _TOP)


def _switched_off(plan: Json) -> Table:
    """Return what events of types that are disabled would cost."""
    rows = []
    for type_, cost in plan["switched_off"].items():
        records = cost["records"]
        notes = [f"skipped ({type_}.disabled); on: {counted(records, 'call')}"]
        fits = [each for each in cost["plans"] if each["duration_s"]]
        for fit in [each for each in fits if each["name"] == "Business"] or fits[:1]:
            notes.append(f"{span(fit['duration_s'])} on {clean(fit['name'], 60)}")
            if fit["cycles"] > 1:
                notes.append(counted(fit["cycles"], "billing cycle"))
        rows.append(TableRow(type_, (f"{records:,}",), (", ".join(notes),)))
    # These events are left out before the sample is taken.
    of_all = " (of all customers)" if plan["sample"] else ""
    return Table(rows, f"Switched off, and the calls that they would be at most{of_all}")


def _of_all(plan: Json) -> str:
    """Say what the numbers of a sample amount to."""
    sample, calls = plan["sample"], plan["costs"][plan["customers"]]["calls"]
    if not calls:
        return (
            f"The sample of {sample:g} % of the customers needs no call: take a larger one to estimate all."
        )
    of_all = counted(round(calls * 100 / sample), "call")
    return f"These are the numbers of a sample of {sample:g} % of the customers. Of all: about {of_all}."


def _costs(plan: Json) -> Table:
    """Return the calls of both ways to send customers."""
    bulk, notes, rows = plan["bulk"], [], []
    if bulk["delivered"]:
        requests = counted(bulk["requests"], "bulk request")
        notes.append(f"{counted(bulk['delivered'], 'customer')} in {requests} of {size(bulk['bytes'])}")
    if bulk["unchanged"]:
        notes.append(f"{bulk['unchanged']:,} unchanged since they were last sent")
    if bulk["failed"]:
        notes.append(f"{bulk['failed']:,} too large for a bulk request")
    kinds = {
        "customers": ("customer updates", ", ".join(notes)),
        "polls": ("polls", "estimated"),
        "orders": ("orders", _orders_note(plan)),
        "events": ("custom events", _order_events_note(plan)),
        "calls": ("all", ""),
    }
    for kind, (label, note) in kinds.items():
        numbers = tuple(f"{plan['costs'][way][kind]:,}" for way in _WAYS)
        is_of_bulk = kind == "polls" and not any(plan["costs"][way]["polls"] for way in _WAYS)
        if not is_of_bulk and (kind != "orders" or plan["orders"] is not None):
            rows.append(TableRow(label, numbers, (note,), "bold" if kind == "calls" else ""))
    title = f"Calls (this replay: {_WAYS[plan['customers']]})"
    return Table(rows, title, ("", *_WAYS.values()))


def _orders_note(plan: Json) -> str:
    """Say how many orders there are, and what their events would cost as custom events."""
    orders, records = plan["orders"], plan["order_events"]["records"]
    if orders is None or not orders["orders"]:
        return ""
    of = counted(orders["customers"], "customer")
    notes = [f"{counted(orders['delivered'], 'order')} of {of}: {counted(orders['requests'], 'request')}"]
    if orders["unchanged"]:
        notes.append(f"{orders['unchanged']:,} unchanged since they were last sent")
    if orders["failed"]:
        notes.append(f"{orders['failed']:,} that cannot be sent")
    notes.append(f"as custom events: {counted(records, 'call')}")
    return "; ".join(notes)


def _order_events_note(plan: Json) -> str:
    """Say what the events of orders would cost as orders, while these are off."""
    as_orders = plan["order_events"]
    if plan["orders"] is not None or not as_orders["records"]:
        return ""
    records = counted(as_orders["records"], "order event")
    requests = counted(as_orders["requests"], "request")
    return f"{records} among them; as orders at most {requests} (orders.disabled: false)"


def _limits(plan: Json) -> Table:
    """Return how the calls of both ways fit under each plan of Voucherify."""
    rows = []
    for each in plan["plans"]:
        limits = [] if each["limit"] is None else [f"{each['limit']:,} calls {PERIODS[each['period_s']]}"]
        limits += [] if each["cycle"] is None else [f"{each['cycle']:,} a cycle"]
        rows.append(TableRow(each["name"], notes=(", ".join(limits),)))
        for way in _WAYS:
            fit = each[way]
            seconds, share = fit["duration_s"], fit["share_of_cycle"]
            duration = "not known" if seconds is None else "< 1 s" if seconds < 1 else span(seconds)
            numbers = (f"{fit['calls']:,}", duration, "" if share is None else percent(share))
            note, style = "", ""
            if not fit["fits"]:
                note = (
                    f"WILL NOT FIT: {counted(fit['calls_over'], 'call')} too many; {fit['cycles']:,} cycles"
                )
                style = "bold red"
            rows.append(TableRow(way, numbers, (note,), style, 1))
    knows_limit = any(each["limit"] is not None for each in plan["plans"])
    used = (
        f", using {100 * (1 - plan['reserve']):.0f} % of each limit"
        if plan["reserve"] and knows_limit
        else ""
    )
    paced = f", at {plan['rate']} at most" if plan["rate"] else ""
    title = f"Duration and share of the billing cycle{used}{paced}"
    return Table(rows, title, ("", "calls", "time", "share"))


def _verdict(plan: Json) -> Iterator[str]:
    """Yield the sentences that matter most: how many calls, and whether they fit."""
    each, bulk = (plan["costs"][way]["calls"] for way in _WAYS)
    if not each:
        if plan["outcomes"]["skipped"] != plan["events"]["read"]:  # else the headline says it
            yield "There is nothing to send."
        return
    if plan["customers"] == "bulk":
        yield f"That is {counted(bulk, 'call')} with customers in bulk; one by one (--each) it would be {each:,}."
    elif bulk < each:
        yield f"That is {counted(each, 'call')}, or {bulk:,} with customers in bulk (--bulk)."
    else:
        yield f"That is {counted(each, 'call')}; --bulk would not save any."
    too_small = [allowance for allowance in plan["plans"] if not allowance[plan["customers"]]["fits"]]
    if not too_small:
        return
    for allowance in too_small:
        yield (
            f"WILL NOT FIT: {clean(allowance['name'])} allows {allowance['cycle']:,} calls a billing cycle, "
            f"and these are {allowance[plan['customers']]['calls_over']:,} more."
        )
    fits_in_bulk = [allowance["name"] for allowance in too_small if allowance["bulk"]["fits"]]
    remedies = ["leave out events that you do not need (track.events_filter)"]
    if fits_in_bulk:
        remedies.insert(0, f"give --bulk, with which it fits {' and '.join(fits_in_bulk)}")
    elif plan["customers"] == "each" and bulk < each:
        remedies.insert(0, f"give --bulk, which saves {each - bulk:,} calls")
    least = min(allowance["cycle"] for allowance in too_small)
    remedies.append(
        f"spread it over several cycles (--max-calls {least} stops cleanly, and the same command continues)"
    )
    yield f"What helps: {'; '.join(remedies)}."


def _warnings(plan: Json, report: RunReport) -> Iterator[str]:
    """Yield what is to be known before anything is sent."""
    from voucherify_sync.preview.plan import MAX_ANONYMOUS
    from voucherify_sync.report.run_report import OTHER

    events = plan["custom_events"]
    if events:
        named = [(name, count) for name, count in events.items() if name != OTHER]
        most = ", ".join(f"{clean(name, 60)} ({count:,})" for name, count in named[:_FEW])
        others = len(events) - min(len(named), _FEW)
        more = f" and {counted(others, 'other name')}" if others else ""
        yield (
            f"{counted(sum(events.values()), 'custom event')} would trigger rewards and messages now, whatever their "
            f"date, and cannot be undone: {most}{more}."
        )
    anonymous, erased = plan["anonymous"], plan["erased"]
    if anonymous["records"]:
        at_least = "at least " if anonymous["customers"] >= MAX_ANONYMOUS else ""
        yield (
            f"{at_least}{counted(anonymous['customers'], 'customer has', 'customers have')} only an anonymousId, in "
            f"{counted(anonymous['records'], 'record')}. `identity.ignore_anonymous: true` leaves them out."
        )
    if erased["fields"]:
        yield (
            f"{counted(erased['fields'], 'field')} of {counted(erased['customers'], 'customer')} would be erased, "
            "because the last word on them is null."
        )
    delivered = report.reason_count(State.DUPLICATE, "delivered")
    if delivered:
        yield f"{counted(delivered, 'record')} left out because they were delivered before; --again plans them, too."
    for source in report.input.sources:
        if source.damaged:
            yield f"{clean(source.name, 4_096)} is damaged: {clean(source.damaged, 400)}"
