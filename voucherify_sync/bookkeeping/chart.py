"""The timeline of a run goes in; the geometry of its bar chart comes out, for a template that only has to print it.

Across, everything is in percent, so that a chart fits any width while its text keeps its size; upright it is in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from voucherify_sync.bookkeeping.timeline import STATES
from voucherify_sync.model import Json, State
from voucherify_sync.words import span

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
            x=_percent(at * width_s, whole_s),
            width=_percent(min(width_s, whole_s - at * width_s) * _BAR, whole_s),
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
        yield Tick(_percent(at_s, whole_s), _when(at_s, started_at, whole_s))


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


def _percent(part: float, whole: float) -> float:
    return round(100 * part / whole, 3)
