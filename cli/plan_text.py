"""A plan goes in, as its JSON; the sentences and rows that people read come out. It knows no terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from voucherify_sync.events import Json
from voucherify_sync.report.run_report import OTHER
from voucherify_sync.text import clean, counted, size, span

from .lost_fields import lost_fields

_TOP: Final = 10
_FEW: Final = 3
_WAYS: Final = {"each": "--each", "bulk": "--bulk"}
_AN: Final = {1: "a second", 60: "a minute", 3_600: "an hour"}
_BAD: Final = {"invalid", "failed"}
_LABELS: Final = {"duplicate": "duplicates", "in_doubt": "in doubt", "pending": "still to do"}


class Row(Struct, frozen=True):
    """One line.

    Attributes:
        label: what is counted, clean.
        numbers: as they are shown, a column each.
        note: a word of explanation, clean.
        style: a colour, for terminals.
        depth: 1 for a part of the row above, and so on.
    """

    label: str
    numbers: tuple[str, ...] = ()
    note: str = ""
    style: str = ""
    depth: int = 0

    @property
    def shown_label(self) -> str:
        """The label with its indentation."""
        return "  " * (self.depth + 1) + self.label


class Section(Struct, frozen=True):
    """Rows under a title, with heads for the columns of numbers."""

    title: str
    rows: list[Row]
    heads: tuple[str, ...] = ()


def sections(plan: Json) -> Iterator[Section]:
    """Yield the tables of a plan; none is empty."""
    made = [
        Section("Events", list(_events(plan["events"])), ("read", "to send")),
        Section("Not sent", list(_not_sent(plan))),
    ]
    if plan["costs"]["each"]["calls"]:
        title, ways = f"Calls (as it is set: {_WAYS[plan['customers']]})", tuple(_WAYS.values())
        made.append(Section(title, list(_costs(plan)), ways))
        made.append(Section(_limits_title(plan), list(_limits(plan)), ("calls", "time", "share")))
    made.append(Section("Fields left out most", list(_lost(plan))))
    yield from (section for section in made if section.rows)


def _events(events: Json) -> Iterator[Row]:
    for type_, counts in _first(events["by_type"]):
        yield _both(clean(type_, 40), counts, 0)
        if type_ == "track":
            names = events["by_name"]
            ordered = sorted(names.items(), key=lambda item: -item[1]["would_be_sent"])
            yield from (_both(clean(name, 60), each, 1) for name, each in ordered[:_TOP])
            rest = [each for _, each in ordered[_TOP:]]
            if rest:
                yield _both(counted(len(rest), "more name"), _added(rest), 1)
    rest = list(events["by_type"].values())[_TOP:]
    if rest:
        yield _both(counted(len(rest), "more type"), _added(rest), 0)


def _both(label: str, counts: Json, depth: int) -> Row:
    sent = counts["would_be_sent"]
    style = "" if sent else "dim"
    return Row(label, (f"{counts['read']:,}", f"{sent:,}"), style=style, depth=depth)


def _added(rest: list[Json]) -> Json:
    return {key: sum(each[key] for each in rest) for key in ("read", "would_be_sent")}


def _first(named: Json) -> list[tuple[str, Json]]:
    return list(named.items())[:_TOP]


def _not_sent(plan: Json) -> Iterator[Row]:
    for state, count in plan["outcomes"].items():
        if not count or state in ("planned", "delivered"):
            continue
        style = "red" if state in _BAD else ""
        yield Row(_LABELS.get(state, state), (f"{count:,}",), style=style)
        reasons = plan["reasons"].get(state, {})
        for reason, facts in _first(reasons):
            note = _example(facts) if state in _BAD else ""
            yield Row(clean(reason, 40), (f"{facts['count']:,}",), note, depth=1)
        rest = [facts["count"] for facts in list(reasons.values())[_TOP:]]
        if rest:
            yield Row(counted(len(rest), "more reason"), (f"{sum(rest):,}",), depth=1)


def _example(facts: Json) -> str:
    place = clean(facts["examples"][0], 4_096) if facts["examples"] else ""
    return ": ".join(part for part in (place, clean(facts["detail"] or "")) if part)


def _costs(plan: Json) -> Iterator[Row]:
    costs, requests = plan["costs"], plan["bulk"]["requests"]
    kinds = {
        "customers": ("customers", _of_customers(plan)),
        "polls": ("polls", f"by estimate, until {'it is' if requests == 1 else 'they are'} carried out"),
        "events": ("custom events", ""),
        "calls": ("all", ""),
    }
    for kind, (label, note) in kinds.items():
        numbers = tuple(f"{costs[way][kind]:,}" for way in _WAYS)
        if kind != "polls" or requests:
            yield Row(label, numbers, note, "bold" if kind == "calls" else "")


def _of_customers(plan: Json) -> str:
    """Say how many customers there are, and what carries them in bulk."""
    bulk = plan["bulk"]
    parts = []
    if bulk["delivered"]:
        requests = counted(bulk["requests"], "bulk request")
        parts.append(f"{counted(bulk['delivered'], 'customer')} in {requests} of {size(bulk['bytes'])}")
    if bulk["unchanged"]:
        parts.append(f"{bulk['unchanged']:,} unchanged since they were last sent")
    if bulk["failed"]:
        parts.append(f"{bulk['failed']:,} too large for a bulk request")
    return ", ".join(parts)


def _limits_title(plan: Json) -> str:
    reserve, rate = plan["reserve"], plan["rate"]
    kept = f", {reserve:.0%} of each limit left to others" if reserve else ""
    paced = f", at {rate} at most" if rate else ""
    return f"Time, and share of a billing cycle{kept if _knows_limit(plan) else ''}{paced}"


def _knows_limit(plan: Json) -> bool:
    return any(each["limit"] is not None for each in plan["plans"])


def _limits(plan: Json) -> Iterator[Row]:
    for each in plan["plans"]:
        limits = [] if each["limit"] is None else [f"{each['limit']:,} calls {_AN[each['period_s']]}"]
        limits += [] if each["cycle"] is None else [f"{each['cycle']:,} a cycle"]
        yield Row(each["name"], note=", ".join(limits))
        for way in _WAYS:
            yield _fit(way, each[way])


def _fit(way: str, fit: Json) -> Row:
    share = fit["share_of_cycle"]
    numbers = (f"{fit['calls']:,}", _time(fit["duration_s"]), "" if share is None else _percent(share))
    if fit["fits"]:
        return Row(way, numbers, depth=1)
    note = f"WILL NOT FIT: {counted(fit['calls_over'], 'call')} too many; {fit['cycles']:,} cycles"
    return Row(way, numbers, note, "bold red", 1)


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "not known"
    return "at once" if seconds < 1 else span(seconds)


def _percent(share: float) -> str:
    percent = 100 * share
    if percent and percent < 0.1:
        return "<0.1%"
    return f"{percent:,.1f}%" if percent < 100 else f"{percent:,.0f}%"


def _lost(plan: Json) -> Iterator[Row]:
    for path, count, why in lost_fields(plan, _TOP, 60):
        yield Row(path, (f"{count:,}",), why)


def verdict(plan: Json) -> Iterator[str]:
    """Yield the sentences that matter most: how many calls, and whether they fit."""
    each, bulk = (plan["costs"][way]["calls"] for way in _WAYS)
    if not each:
        yield "There is nothing to send."
        return
    if plan["customers"] == "bulk":
        yield f"That is {counted(bulk, 'call')} with customers in bulk; one by one (--each) it would be {each:,}."
    elif bulk < each:
        yield f"That is {counted(each, 'call')}, or {bulk:,} with customers in bulk (--bulk)."
    else:
        yield f"That is {counted(each, 'call')}; --bulk would not save any."
    too_small = [allowance for allowance in plan["plans"] if not allowance[plan["customers"]]["fits"]]
    if too_small:
        yield from _too_small(plan, too_small)


def _too_small(plan: Json, too_small: list[Json]) -> Iterator[str]:
    for each in too_small:
        fit = each[plan["customers"]]
        yield (
            f"WILL NOT FIT: {clean(each['name'])} allows {each['cycle']:,} calls a billing cycle, "
            f"and these are {fit['calls_over']:,} more."
        )
    fits_in_bulk = [each["name"] for each in too_small if each["bulk"]["fits"]]
    remedies = ["leave out events nobody needs (track.events_filter)"]
    if fits_in_bulk:
        remedies.insert(0, f"give --bulk, with which it fits {' and '.join(fits_in_bulk)}")
    elif plan["customers"] == "each" and plan["costs"]["bulk"]["calls"] < plan["costs"]["each"]["calls"]:
        remedies.insert(0, f"give --bulk, which saves {_saved(plan):,} calls")
    least = min(each["cycle"] for each in too_small)
    remedies.append(
        f"spread it over several cycles (--max-calls {least} stops in order, and the same command goes on)"
    )
    yield f"What helps: {'; '.join(remedies)}."


def _saved(plan: Json) -> int:
    return int(plan["costs"]["each"]["calls"] - plan["costs"]["bulk"]["calls"])


def warnings(plan: Json, notices: list[str]) -> Iterator[str]:
    """Yield what is to be known before anything is sent."""
    events = plan["custom_events"]
    if events:
        named = [(name, count) for name, count in events.items() if name != OTHER]
        most = ", ".join(f"{clean(name, 60)} ({count:,})" for name, count in named[:_FEW])
        others = len(events) - min(len(named), _FEW)
        more = f" and {counted(others, 'other name')}" if others else ""
        yield (
            f"{counted(sum(events.values()), 'custom event')} would fire rewards and messages now, whatever their "
            f"date, and cannot be undone: {most}{more}."
        )
    delivered = plan["reasons"]["duplicate"].get("delivered", {}).get("count", 0)
    if delivered:
        yield f"{counted(delivered, 'record')} left out because they were delivered before; --again plans them, too."
    for source in plan["input"]["sources"]:
        if source["damaged"]:
            yield f"{clean(source['name'], 4_096)} is damaged: {clean(source['damaged'])}"
    yield from notices
