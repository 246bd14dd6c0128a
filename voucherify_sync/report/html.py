"""Renders the report of a run as one HTML file for people: no network, no script, nothing to load.

The template reads the report itself. Each text in it is data, and is cleaned and escaped on its way to the page.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from importlib import resources
from itertools import takewhile
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from voucherify_sync.events import Json
from voucherify_sync.findings import sentences_of
from voucherify_sync.outcomes import State, ended, label_of, words
from voucherify_sync.paths import row_parts
from voucherify_sync.report.run_report import (
    OTHER,
    TIMED_STATES,
    RunReport,
    TimelineReport,
    headline,
)
from voucherify_sync.text import clean, counted, section_title, size, span

_MAX_TEXT = 4_096
"""Type of event -> what the endpoints begin with that take its requests, one by one or in bulk."""

HEIGHT = 180.0
"""Pixels that all bars of the chart share, above and below the line."""

_MIN_BUCKETS = 4
_MIN_BAR = 2.0  # pixels: one failure among thousands must be seen
_BAR_RATIO = 0.84  # of a bucket; the rest is air
_MAX_TIMES = 6
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3_600, 86_400
_CLOCK_FROM_S = 10 * _MINUTE_S  # a longer run is compared with other logs: it is labelled by the clock
_STEPS_S = (
    *(0.2, 0.5, 1, 2, 5, 10, 15, 30),
    *(_MINUTE_S * minutes for minutes in (1, 2, 5, 10, 15, 30)),
    *(_HOUR_S * hours for hours in (1, 2, 3, 6, 12)),
    *(_DAY_S * days for days in (1, 2, 7, 30)),
)


def render(report: RunReport) -> str:
    """Return the page of a report."""
    style, template = (
        (resources.files(__package__) / name).read_text("utf-8") for name in ("report.css", "report.html.j2")
    )
    environment = Environment(
        autoescape=True, finalize=_shown, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "number": "{:,}".format,
        "size": size,
        "percent": lambda percent: "100%" if percent == 100 else f"{percent:.1f}%",
        "label": label_of,
    }
    started, finished = map(datetime.fromisoformat, (report.started_at, report.finished_at))
    when = f"{started:%-d %B %Y, %H:%M:%S}"
    if started.date() != finished.date():
        when += f" to {finished:%-d %B %Y, %H:%M:%S}"
    elif f"{started:%T}" != f"{finished:%T}":
        when += f" to {finished:%H:%M:%S}"
    api, used = report.api, None
    if api.limit and api.period_s:  # windows are whole, so a run of a second has used one
        allowed = api.limit * max(math.ceil(report.duration_s / api.period_s), 1)
        used = percent_of(min(api.calls, allowed), allowed)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return environment.from_string(template).render(
        report=report,
        title=headline(report),
        when=f"{when} UTC ({span(report.duration_s)})",
        funnel=list(_funnel(report)),
        reasons={
            state: [(code, words(State(state), code), found) for code, found in named.items()]
            for state, named in report.reasons.items()
        },
        chart=chart(report.timeline, started, report.duration_s),
        folder=common_folder([source.name for source in report.input.sources]),
        mapping=list(_mapping(report)),
        findings=[*sentences_of(report.findings), *report.notices],
        states=[s for s in report.outcomes if any(s in counts for counts in api.by_endpoint.values())],
        used=used,
        counted=counted,
        ended=ended,
        percent_of=percent_of,
        span=span,
        style=Markup(style),  # noqa: S704 - our own file, no data in it
        policy=f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'",
    )


def _shown(value: Any) -> Any:
    """Clean a text on its way to the page; only what the template made itself passes as it is."""
    return clean(value, _MAX_TEXT) if isinstance(value, str) and not isinstance(value, Markup) else value


def percent_of(part: float, whole: float) -> float:
    """Return percent with one decimal, rounded so that only nothing is 0 and only all is 100."""
    if not whole or not part:
        return 0.0
    exact = 100 * part / whole
    return min(max(round(exact, 1), 0.1), 99.9) if part < whole else 100.0


def _funnel(report: RunReport) -> Iterator[tuple[str, int, list[str]]]:
    """Yield each step with the records that came so far, and the states in which the others ended before the next."""
    counts = report.outcomes
    yield "Read", report.events.read, [s for s in ("skipped", "duplicate", "invalid", "pending") if counts[s]]
    if report.mode == "dry_run":
        yield "Would be sent", counts["planned"], []
        return
    sent = counts["delivered"] + counts["failed"] + counts["in_doubt"]
    yield "Sent", sent, [state for state in ("failed", "in_doubt") if counts[state]]
    yield "Delivered", counts["delivered"], []


def common_folder(names: Sequence[str]) -> str:
    """Return the path that all sources begin with, slash included, or nothing: the page names it once."""
    folders = [name.split("/")[:-1] for name in names if name != OTHER]
    common = [
        parts[0] for parts in takewhile(lambda parts: len(set(parts)) == 1, zip(*folders, strict=False))
    ]
    return "/".join([*common, ""]) if any(common) else ""


def _mapping(report: RunReport) -> Iterator[Json]:
    """Yield what the mapping did by section; shares of rows are of the events of which it made requests."""
    for name, part in report.mapping.items():
        dropped = [(path, why, n) for path, reasons in part.dropped.items() for why, n in reasons.items()]
        rows = [(*row_parts(text), count) for text, count in part.rows.items()]
        rows += [(f"set.{destination}", destination, count) for destination, count in part.set.items()]
        unmapped = [(path, "", count) for path, count in part.unmapped.items()]
        if part.events or unmapped:
            yield {
                "type": section_title(name),
                "events": part.events,
                "matched": [
                    (source, target, count, percent_of(count, part.events))
                    for source, target, count in rows
                    if count
                ],
                "unmatched": [source for source, _, count in rows if not count],
                "dropped": sorted(dropped, key=lambda field: (-field[2], field[0])),
                "unmapped": sorted(unmapped, key=lambda field: (-field[2], field[0])),
            }


def chart(timeline: TimelineReport | None, started_at: datetime, duration_s: float) -> Json | None:
    """Lay out the chart of a run, for a template that only has to print it.

    Across, everything is in percent, so that a chart fits any width while its text keeps its size; upright it is in
    pixels. Delivered records stand on a line, all others hang from it.

    Returns:
        None when the run was too short, or had too little to tell. Else `base` (pixels from the top to the line),
        `slots` (one for each bucket in which something ended: `x`, `width`, `label` and `bars` of `state`, `y` and
        `height`), `levels` and `times` (marks upright and across: `at`, `label`), `unit` (`a second` or `a minute`),
        `summary` (what it shows, for those who cannot see it) and the `states` that occur.
    """
    if timeline is None:
        return None
    buckets = list(zip(timeline.delivered, timeline.failed, timeline.in_doubt, strict=True))
    if len(buckets) < _MIN_BUCKETS or not any(map(any, buckets)):
        return None
    width_s = float(timeline.bucket_s)
    whole_s = max(duration_s, width_s * (len(buckets) - 1), width_s)
    # The last bucket was cut off by the end of the run, and must not look like a slump.
    lengths_s = [max(min(width_s, whole_s - at * width_s), width_s / 2) for at in range(len(buckets))]
    rates = [
        [count / length_s for count in counts] for counts, length_s in zip(buckets, lengths_s, strict=True)
    ]
    up, down = max(rate[0] for rate in rates), max(sum(rate[1:]) for rate in rates)
    below = max(HEIGHT * down / (up + down), 2 * _MIN_BAR) if down else 0.0
    base = max(HEIGHT - below, _MIN_BAR) if up else HEIGHT - below
    scale = min(base / up if up else math.inf, below / down if down else math.inf)  # one for both sides
    unit_s, unit = (1, "a second") if max(up, down) >= 10 else (_MINUTE_S, "a minute")
    slots = [
        {
            "x": _percent_of(at * width_s, whole_s),
            "width": _percent_of(min(width_s, whole_s - at * width_s) * _BAR_RATIO, whole_s),
            "bars": list(_bars(rates[at], base, scale)),
            "label": f"{_when(at * width_s, started_at, whole_s, exact=True)}: {_counts_text(counts)}",
        }
        for at, counts in enumerate(buckets)
        if any(counts)
    ]
    totals = [sum(column) for column in zip(*buckets, strict=True)]
    return {
        "base": round(base, 1),
        "slots": slots,
        "levels": list(_levels(up * unit_s, down * unit_s, base, scale / unit_s)),
        "times": list(_times(started_at, whole_s)),
        "unit": unit,
        "summary": f"{_counts_text(totals)} in {span(whole_s)}; at most {_amount(up * unit_s)} delivered {unit}",
        "states": [str(state) for state, total in zip(TIMED_STATES, totals, strict=True) if total],
    }


def _bars(rate: list[float], base: float, scale: float) -> Iterator[Json]:
    below = base
    for number, (state, per_s) in enumerate(zip(TIMED_STATES, rate, strict=True)):
        if per_s:
            height = max(per_s * scale, _MIN_BAR)
            yield {
                "state": str(state),
                "y": round(below if number else base - height, 1),
                "height": round(height, 1),
            }
            below += height if number else 0


def _levels(up: float, down: float, base: float, scale: float) -> Iterator[Json]:
    """Yield two to four marks at round numbers; those below the line count down from it."""
    rough = max(up, down) / 3
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    for number in range(-int(down / step), int(up / step) + 1):
        yield {"at": round(base - number * step * scale, 1), "label": _amount(abs(number * step))}


def _times(started_at: datetime, whole_s: float) -> Iterator[Json]:
    """Yield marks at round times: of the clock for a long run, since the start for a short one."""
    step = next((step for step in _STEPS_S if whole_s / step <= _MAX_TIMES), whole_s / _MAX_TIMES)
    first = -started_at.timestamp() % step if whole_s >= _CLOCK_FROM_S else 0.0
    for number in range(int((whole_s - first) / step) + 1):
        at_s = first + number * step
        yield {"at": _percent_of(at_s, whole_s), "label": _when(at_s, started_at, whole_s)}


def _when(at_s: float, started_at: datetime, whole_s: float, *, exact: bool = False) -> str:
    if whole_s >= _CLOCK_FROM_S:
        moment = started_at.astimezone(UTC) + timedelta(seconds=at_s + 0.001)
        if exact:
            return f"{moment:%d %b %H:%M:%S}"
        return f"{moment:%H:%M}" if moment.hour or moment.minute else f"{moment:%d %b}"
    if whole_s > _MINUTE_S:
        return f"{int(at_s) // 60}:{int(at_s) % 60:02}"
    return f"{round(at_s, 2):g} s"


def _counts_text(counts: Sequence[int]) -> str:
    return ", ".join(ended(state, count) for state, count in zip(TIMED_STATES, counts, strict=True) if count)


def _amount(number: float) -> str:
    return f"{number:,.0f}" if number >= 10 or number == int(number) else f"{number:.2g}"


def _percent_of(part: float, whole: float) -> float:
    return round(100 * part / whole, 3)
