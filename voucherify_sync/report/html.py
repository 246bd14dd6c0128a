"""The timeline of a run goes in; the geometry of its bar chart comes out, for a template that only has to print it.

Across, everything is in percent, so that a chart fits any width while its text keeps its size; upright it is in pixels.

The values that the page of a run is made of, in the order in which it shows them. Data only, no logic.

The report of a run goes in; what its page shows comes out: lists in order, shares and sentences.

Nothing is escaped yet, and no HTML is written here: that is the template's.

The report of a run goes in; one HTML file for people comes out: no network, no script, nothing to load.

Whatever stands in the report is data: each text is cleaned and escaped at the one door to the page.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib import resources
from itertools import takewhile
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from msgspec import Struct

from voucherify_sync.events import Json
from voucherify_sync.outcomes import State
from voucherify_sync.report.run_report import ENDINGS, NONE, OTHER, STATES, headline
from voucherify_sync.state.private_files import write_error, write_whole
from voucherify_sync.text import clean, counted, size, span

HEIGHT = 180.0
"""Pixels that all bars share, above and below the line."""

_FEWEST_BUCKETS = 4
_LEAST = 2.0  # pixels: one failure among thousands must be seen
_BAR = 0.84  # of a bucket; the rest is air
_MOST_TIMES = 6
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3_600, 86_400
_CLOCK_FROM_S = 10 * _MINUTE_S  # a longer run is compared with other logs: it is labelled by the clock
_STEPS_S = (
    *(0.2, 0.5, 1, 2, 5, 10, 15, 30),
    *(_MINUTE_S * minutes for minutes in (1, 2, 5, 10, 15, 30)),
    *(_HOUR_S * hours for hours in (1, 2, 3, 6, 12)),
    *(_DAY_S * days for days in (1, 2, 7, 30)),
)


class Bar(Struct, frozen=True):
    """One rectangle: the state that it counts, and where it begins and ends upright, in pixels."""

    state: str
    y: float
    height: float


class Slot(Struct, frozen=True):
    """The bars of one bucket.

    Attributes:
        x: percent.
        width: percent.
        bars: delivered above the line, all else below.
        label: when, and how many of what.
    """

    x: float
    width: float
    bars: list[Bar]
    label: str


class Tick(Struct, frozen=True):
    """A mark on an axis: percent across, or pixels upright."""

    at: float
    label: str


class Chart(Struct, frozen=True):
    """What there is to draw.

    Attributes:
        base: pixels from the top to the line that the bars stand on and hang from.
        slots: buckets in which something ended.
        levels: marks upright, events per `unit`.
        times: marks across.
        unit: ``a second`` or ``a minute``.
        summary: what it shows, for who cannot see it.
        states: that occur.
    """

    base: float
    slots: list[Slot]
    levels: list[Tick]
    times: list[Tick]
    unit: str
    summary: str
    states: list[str]


def chart(timeline: Json | None, started_at: datetime, duration_s: float) -> Chart | None:
    """Lay out the chart; None when the run was too short, or had too little to tell, for one."""
    buckets = _buckets(timeline) if timeline else []
    if timeline is None or len(buckets) < _FEWEST_BUCKETS or not any(map(any, buckets)):
        return None
    width_s = float(timeline["bucket_s"])
    whole_s = max(duration_s, width_s * (len(buckets) - 1), width_s)
    rates = [_rate(counts, at * width_s, width_s, whole_s) for at, counts in enumerate(buckets)]
    up, down = max(rate[0] for rate in rates), max(sum(rate[1:]) for rate in rates)
    unit_s, unit = (1, "a second") if max(up, down) >= 10 else (_MINUTE_S, "a minute")
    base, scale = _scale(up, down)
    totals = [sum(counts[number] for counts in buckets) for number in range(len(STATES))]
    slots = [
        Slot(
            x=_percent_of(at * width_s, whole_s),
            width=_percent_of(min(width_s, whole_s - at * width_s) * _BAR, whole_s),
            bars=list(_bars(rates[at], base, scale)),
            label=f"{_when(at * width_s, started_at, whole_s, exact=True)}: {_told(counts)}",
        )
        for at, counts in enumerate(buckets)
        if any(counts)
    ]
    return Chart(
        base=round(base, 1),
        slots=slots,
        levels=list(_levels(up * unit_s, down * unit_s, base, scale / unit_s)),
        times=list(_times(started_at, whole_s)),
        unit=unit,
        summary=f"{_told(totals)} in {span(whole_s)}; at most {_amount(up * unit_s)} delivered {unit}",
        states=[str(state) for state, total in zip(STATES, totals, strict=True) if total],
    )


def _buckets(timeline: Json) -> list[tuple[int, ...]]:
    return list(zip(*(timeline[str(state)] for state in STATES), strict=True))


def _rate(counts: tuple[int, ...], start_s: float, width_s: float, whole_s: float) -> list[float]:
    """Return counts a second. The last bucket was cut off by the end of the run, and must not look like a slump."""
    seconds = max(min(width_s, whole_s - start_s), width_s / 2)
    return [count / seconds for count in counts]


def _scale(up: float, down: float) -> tuple[float, float]:
    """Return where the line is, and pixels for one event a second; both sides have the same scale."""
    below = max(HEIGHT * down / (up + down), 2 * _LEAST) if down else 0.0
    base = max(HEIGHT - below, _LEAST) if up else HEIGHT - below
    return base, min(base / up if up else math.inf, below / down if down else math.inf)


def _bars(rate: list[float], base: float, scale: float) -> Iterator[Bar]:
    below = base
    for state, per_s in zip(STATES, rate, strict=True):
        if per_s:
            height = max(per_s * scale, _LEAST)
            y = base - height if state is State.DELIVERED else below
            below += 0 if state is State.DELIVERED else height
            yield Bar(str(state), round(y, 1), round(height, 1))


def _levels(up: float, down: float, base: float, scale: float) -> Iterator[Tick]:
    """Yield two to four marks at round numbers; those below the line count down from it."""
    rough = max(up, down) / 3
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    for number in range(-int(down / step), int(up / step) + 1):
        yield Tick(round(base - number * step * scale, 1), _amount(abs(number * step)))


def _times(started_at: datetime, whole_s: float) -> Iterator[Tick]:
    """Yield marks at round times: of the clock for a long run, since the start for a short one."""
    step = next((step for step in _STEPS_S if whole_s / step <= _MOST_TIMES), whole_s / _MOST_TIMES)
    first = -started_at.timestamp() % step if whole_s >= _CLOCK_FROM_S else 0.0
    for number in range(int((whole_s - first) / step) + 1):
        at_s = first + number * step
        yield Tick(_percent_of(at_s, whole_s), _when(at_s, started_at, whole_s))


def _when(at_s: float, started_at: datetime, whole_s: float, *, exact: bool = False) -> str:
    if whole_s >= _CLOCK_FROM_S:
        moment = started_at.astimezone(UTC) + timedelta(seconds=at_s + 0.001)
        if exact:
            return f"{moment:%d %b %H:%M:%S}"
        return f"{moment:%H:%M}" if moment.hour or moment.minute else f"{moment:%d %b}"
    if whole_s > _MINUTE_S:
        return f"{int(at_s) // 60}:{int(at_s) % 60:02}"
    return f"{round(at_s, 2):g} s"


def _told(counts: tuple[int, ...] | list[int]) -> str:
    words = [
        f"{count:,} {state.replace('_', ' ')}" for state, count in zip(STATES, counts, strict=True) if count
    ]
    return ", ".join(words)


def _amount(number: float) -> str:
    return f"{number:,.0f}" if number >= 10 or number == int(number) else f"{number:.2g}"


def _percent_of(part: float, whole: float) -> float:
    return round(100 * part / whole, 3)


class Part(Struct, frozen=True):
    """So many records that left the way at one step."""

    state: str
    text: str


class Step(Struct, frozen=True):
    """One step of the funnel.

    Attributes:
        label: what was done.
        count: records that came so far.
        share: percent of what was read.
        lost: where those went that came no further.
    """

    label: str
    count: int
    share: float
    lost: list[Part]


class Reason(Struct, frozen=True):
    """Why so many records ended as they did."""

    code: str
    count: int
    detail: str | None
    examples: list[str]


class Group(Struct, frozen=True):
    """All reasons of one state."""

    state: str
    label: str
    count: int
    reasons: list[Reason]


class Row(Struct, frozen=True):
    """A row of the mapping that found a value in so many requests, as percent, too."""

    source: str
    destination: str
    count: int
    share: float


class Lost(Struct, frozen=True):
    """A field that was not sent for so many events; `why` is None where simply no row maps it."""

    path: str
    count: int
    why: str | None = None


class Coverage(Struct, frozen=True):
    """What the mapping did to the events of one type.

    Attributes:
        type: ``identify`` or ``track``.
        requests: made of such events.
        fired: rows that found a value.
        silent: rows that never did.
        unmapped: fields that no row maps, most frequent first.
        dropped: fields whose values could not be sent, most frequent first.
    """

    type: str
    requests: int
    fired: list[Row]
    silent: list[Row]
    unmapped: list[Lost]
    dropped: list[Lost]


class Calls(Struct, frozen=True):
    """Calls against the limit.

    Attributes:
        made: calls.
        retries: those that repeated an earlier one.
        throttled: answers that said to wait.
        limit: such as ``100 in 1 min``, None where the API told none.
        share: percent of what the limit allows in the time of the run, None where that is not known.
        states: columns of the table of requests.
        by_endpoint: endpoint -> one count for each of these states.
    """

    made: int
    retries: int
    throttled: int
    limit: str | None
    share: float | None
    states: list[str]
    by_endpoint: list[tuple[str, list[int]]]


class View(Struct, frozen=True):
    """All that the page shows, in its order."""

    title: str
    mode: str
    dry: bool
    status: str
    status_text: str
    when: str
    facts: list[tuple[str, str]]
    stopped_by: list[str]
    damaged: int
    funnel: list[Step]
    groups: list[Group]
    chart: Chart | None
    calls: Calls
    coverage: list[Coverage]
    folder: str
    sources: list[Json]
    input: str
    types: list[tuple[str, int]]
    dead_letters: str | None


_MODES = {"live": "Live run", "sandbox": "Run against the sandbox", "dry_run": "Dry run"}
_STATUS = {
    "complete": "Complete",
    "incomplete": "Not everything arrived",
    "stopped": "Stopped early",
    "refused": "Refused",
    "interrupted": "Interrupted",
    "unusable": "Could not run",
    "broken": "Program error",
}
_REASONS = {
    "failed": "Failed",
    "in_doubt": "In doubt",
    "invalid": "Invalid",
    "duplicate": "Not sent again",
    "skipped": "Skipped by a rule",
}
_ENDPOINTS = {"identify": "POST /v1/customers", "track": "POST /v1/events"}
"""Type of event -> what the endpoints begin with that take its requests, one by one or in bulk."""


def view(report: Json) -> View:
    """Choose what the page shows of a report, as Report.to_dict gives it."""
    started, finished = _moment(report["started_at"]), _moment(report["finished_at"])
    sources, status = report["input"]["sources"], str(report["status"])
    folder = _common_folder([source["name"] for source in sources])
    return View(
        title=headline(report),
        mode=_MODES.get(report["mode"], str(report["mode"])),
        dry=report["mode"] == "dry_run",
        status=status if status in _STATUS else "unknown",
        status_text=_STATUS.get(status, status),
        when=_period(started, finished, report["duration_s"]),
        facts=list(_facts(report)),
        stopped_by=report["stopped_by"].split("\n") if report.get("stopped_by") else [],
        damaged=sum(source["damaged"] is not None for source in sources),
        funnel=list(_funnel(report)),
        groups=list(_groups(report, folder)),
        chart=chart(report.get("timeline"), started, report["duration_s"]),
        calls=_calls(report),
        coverage=[_coverage(type_, report) for type_ in _ENDPOINTS],
        folder=folder,
        sources=[{**source, "name": source["name"].removeprefix(folder)} for source in _by_damage(sources)],
        input=f"{counted(report['input']['lines'], 'line')}, {size(report['input']['bytes'])} on disk",
        types=[
            ("no type" if type_ == NONE else type_, n) for type_, n in report["events"]["by_type"].items()
        ],
        dead_letters=report.get("dead_letters"),
    )


def share(part: float, whole: float) -> float:
    """Return percent with one decimal, rounded so that only nothing is 0 and only all is 100."""
    if not whole or not part:
        return 0.0
    exact = 100 * part / whole
    return min(max(round(exact, 1), 0.1), 99.9) if part < whole else 100.0


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _period(started: datetime, finished: datetime, duration_s: float) -> str:
    text = f"{started:%-d %B %Y, %H:%M:%S}"
    if started.date() != finished.date():
        text += f" to {finished:%-d %B %Y, %H:%M:%S}"
    elif f"{started:%T}" != f"{finished:%T}":
        text += f" to {finished:%H:%M:%S}"
    return f"{text} UTC ({span(duration_s)})"


def _facts(report: Json) -> Iterator[tuple[str, str]]:
    yield "Run", report["run_id"]
    yield "Exit code", str(report["exit_code"])
    if digest := (report.get("settings") or {}).get("digest"):
        yield "Settings digest", digest
    yield "Version", f"voucherify-sync {report['version']}"


def _funnel(report: Json) -> Iterator[Step]:
    counts: dict[str, int] = report["outcomes"]
    read = report["events"]["read"]

    def step(label: str, *lost: str) -> Step:
        parts = [Part(state, ENDINGS[state].format(f"{counts[state]:,}")) for state in lost if counts[state]]
        return Step(label, left, share(left, read), parts)

    left = read
    yield step("Read", "skipped", "duplicate", "invalid", "pending")
    if report["mode"] == "dry_run":
        left = counts["planned"]
        yield step("Would be sent")
        return
    left = counts["delivered"] + counts["failed"] + counts["in_doubt"]
    yield step("Sent", "failed", "in_doubt")
    left = counts["delivered"]
    yield step("Delivered")


def _groups(report: Json, folder: str) -> Iterator[Group]:
    for state, label in _REASONS.items():
        found: dict[str, Any] = report["reasons"].get(state, {})
        if found:
            reasons = [
                Reason(
                    code=code,
                    count=facts["count"],
                    detail=facts["detail"],
                    examples=[example.removeprefix(folder) for example in facts["examples"]],
                )
                for code, facts in found.items()
            ]
            yield Group(state, label, report["outcomes"][state], reasons)


def _calls(report: Json) -> Calls:
    api = report["api"]
    limit, period_s = api.get("limit"), api.get("period_s")
    used = None
    if limit and period_s:
        periods = max(math.ceil(report["duration_s"] / period_s), 1)
        used = share(min(api["calls"], limit * periods), limit * periods)
    told = None
    if limit:
        told = f"{limit:,} in {span(period_s)}" if period_s else f"{limit:,} in a time not yet learnt"
    endpoints: dict[str, dict[str, int]] = api["by_endpoint"]
    states = [state for state in report["outcomes"] if any(state in counts for counts in endpoints.values())]
    return Calls(
        made=api["calls"],
        retries=api["retries"],
        throttled=api["throttled"],
        limit=told,
        share=used,
        states=states,
        by_endpoint=[
            (name, [counts.get(state, 0) for state in states]) for name, counts in endpoints.items()
        ],
    )


def _coverage(type_: str, report: Json) -> Coverage:
    facts = report["mapping"].get(type_, {})
    endpoints: dict[str, dict[str, int]] = report["api"]["by_endpoint"]
    requests = sum(sum(n.values()) for name, n in endpoints.items() if name.startswith(_ENDPOINTS[type_]))
    rows = []
    for name, count in facts.get("rows", {}).items():
        source, _, destination = name.rpartition(": ")
        rows.append(Row(source, destination, count, share(min(count, requests), requests)))
    unmapped = [Lost(path, count) for path, count in facts.get("unmapped", {}).items()]
    dropped = [
        Lost(path, count, why)
        for path, reasons in facts.get("dropped", {}).items()
        for why, count in reasons.items()
    ]
    return Coverage(
        type=type_,
        requests=requests,
        fired=[row for row in rows if row.count],
        silent=[row for row in rows if not row.count],
        unmapped=sorted(unmapped, key=_most_frequent_first),
        dropped=sorted(dropped, key=_most_frequent_first),
    )


def _most_frequent_first(field: Lost) -> tuple[int, str]:
    return -field.count, field.path


def _common_folder(names: list[str]) -> str:
    """Return the path that all sources begin with, slash included, or nothing: it is said once, not in each row."""
    folders = [name.split("/")[:-1] for name in names if name != OTHER]
    common = [
        parts[0] for parts in takewhile(lambda parts: len(set(parts)) == 1, zip(*folders, strict=False))
    ]
    return "/".join([*common, ""]) if any(common) else ""


def _by_damage(sources: list[Json]) -> list[Json]:
    return sorted(sources, key=lambda source: source["damaged"] is None)


_LONGEST_TEXT = 4_096
_FIRST_ROWS = 15
_MOST_ROWS = 200


def write_html_report(path: Path, report: Json) -> None:
    """Write the report as one HTML file, whole or not at all, readable by its owner only.

    Raises RunStopped when the disk is full, UsageProblem when the path cannot be written.
    """
    try:
        write_whole(path, render(report).encode())
    except OSError as error:
        raise write_error(path, error) from error


def render(report: Json) -> str:
    """Return the page for a report as Report.to_dict gives it."""
    style = _resource("report.css")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    template = _environment().from_string(_resource("report.html.j2"))
    return template.render(
        page=view(report),
        style=Markup(style),  # noqa: S704 - our own file, no data in it
        policy=f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'",
        first_rows=_FIRST_ROWS,
        most_rows=_MOST_ROWS,
    )


def _resource(name: str) -> str:
    return (resources.files(__package__) / name).read_text("utf-8")


def _environment() -> Environment:
    environment = Environment(
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = "{:,}".format
    environment.filters["size"] = size
    environment.filters["percent"] = _percent
    return environment


def _shown(value: Any) -> Any:
    """Clean a text on its way to the page; only what the template made itself passes as it is."""
    return clean(value, _LONGEST_TEXT) if isinstance(value, str) and not isinstance(value, Markup) else value


def _percent(share: float) -> str:
    return "100%" if share == 100 else f"{share:.1f}%"
