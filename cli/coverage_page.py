"""Counts of a coverage go in; the blocks of the page that people read come out. Data is cleaned here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from msgspec import Struct

from voucherify_sync.events import Json
from voucherify_sync.outcomes import WHY_LOST
from voucherify_sync.text import clean, counted

from .json_text import harmless
from .styled import Line

_RENAMING_ROW: Final = "properties.name: customer.name"
MAPPED, LOST, DIM = "green", "yellow", "dim"


class Row(Struct, frozen=True):
    """One line of a table.

    Attributes:
        name: a path, clean.
        share: of events.
        types: JSON types.
        to: where it goes, or why not.
        style: a colour, for terminals.
        example: clean.
    """

    name: str
    share: str
    types: str
    to: str
    style: str
    example: str = ""


Block = tuple[str, list[Any]]
"""A title, and rows or lines."""


class Page:
    """The blocks of the page.

    Args:
        arrow: a sign that the output can show.
    """

    def __init__(self, arrow: str) -> None:
        self.arrow = arrow

    def blocks(self, result: Json, yaml: str) -> Iterator[Block]:
        """Yield them in their order: what was counted, then the rows that are proposed."""
        yield "", list(_headline(result))
        kinds = [kind for kind in ("identify", "track") if result[kind]["events"]]
        for kind in kinds:
            yield from self._paths(kind, result[kind])
        for kind in kinds:
            yield from _destinations(kind, result[kind])
        idle = [idle for kind in ("identify", "track") for idle in result[kind]["idle_rows"]]
        if idle:
            yield "Rows that found nothing", list(map(_idle, idle))
        renames = _renames(result["track"])
        if renames:
            yield "Look at this row", renames
        if yaml:
            title = "# Rows that would keep what is lost most often, to be pasted into the settings:"
            yield title, [[(line, "")] for line in yaml.rstrip("\n").split("\n")]

    def _paths(self, kind: str, section: Json) -> Iterator[Block]:
        values = section["values"]
        title = (
            f"{kind}: {counted(section['events'], 'event')}, "
            f"{_percent(values['share'])} of {counted(values['seen'], 'value')} mapped"
        )
        rows = [self._path(path) for path in section["paths"]]
        if rows:
            yield title, rows
        else:
            yield title, [[("no traits or properties", DIM)]]
        if section["more_paths"]:
            yield (
                "",
                [
                    [
                        (
                            f"and {_at_least(section['more_paths'])} more paths, which are counted in the share only",
                            "",
                        )
                    ]
                ],
            )

    def _path(self, path: Json) -> Row:
        to, style = self._goes_to(path)
        types = ", ".join(path["types"])
        example = "" if types == "null" else harmless(path["example"] or "")
        return Row(clean(path["path"], 200), _percent(path["share"]), types, to, style, example)

    def _goes_to(self, path: Json) -> tuple[str, str]:
        lost = {reason: times for reason, times in path["lost"].items() if reason != "null"}
        reasons = ", ".join(f"{WHY_LOST.get(reason, reason)} ({times:,})" for reason, times in lost.items())
        if not path["mapped"]:
            if not lost:
                return "null only", DIM
            if len(lost) == 1:
                reasons = WHY_LOST.get(next(iter(lost)), "")
            return ("lost" if "no_row" in lost and len(lost) == 1 else f"lost: {reasons}"), LOST
        places = ", ".join(clean(place, 200) for place in path["destinations"])
        return f"{self.arrow} {places}" + (f"; lost: {reasons}" if lost else ""), LOST if lost else MAPPED


def _headline(result: Json) -> Iterator[Line]:
    events, values = result["events"], result["values"]
    if not events["read"]:
        yield [("No events were read.", "bold")]
        return
    yield [
        (f"{_percent(values['share'])} of {counted(values['seen'], 'value')} mapped", "bold"),
        (f", in {counted(events['counted'], 'event')} that would be sent", ""),
    ]
    for word in ("skipped", "invalid"):
        if events[word]:
            reasons = ", ".join(f"{times:,} {clean(reason, 40)}" for reason, times in events[word].items())
            yield [(f"not counted: {word}: {reasons}", DIM)]


def _destinations(kind: str, section: Json) -> Iterator[Block]:
    rows = []
    for place in section["destinations"]:
        refused = ", ".join(
            f"{WHY_LOST.get(why, why)} ({times:,})" for why, times in place["refused"].items()
        )
        mixed = ""
        if place["type_conflict"] and len(place["types"]) > 1:
            mixed = "types differ: " + ", ".join(
                f"{name} {times:,}" for name, times in place["types"].items()
            )
        note = "; ".join(part for part in (mixed, f"refused: {refused}" if refused else "") if part)
        style = LOST if note else ""
        rows.append(
            Row(clean(place["path"], 200), _percent(place["share"]), ", ".join(place["types"]), note, style)
        )
    if rows:
        yield f"What {kind} requests hold", rows
    if section["more_destinations"]:
        yield "", [[(f"and {_at_least(section['more_destinations'])} more destinations", "")]]


def _idle(idle: Json) -> Line:
    meant = " or ".join(clean(each, 100) for each in idle["did_you_mean"])
    return [
        (f"  {clean(idle['row'], 200)}", LOST),
        (f"  did you mean {meant}?" if meant else "", ""),
    ]


def _renames(section: Json) -> list[Line]:
    """Return a warning of the default row by which products become customers' names."""
    for row in section["rows"]:
        if row["default"] and row["fired"] and row["row"] == _RENAMING_ROW:
            yours = "track.mapping rows of your own without it"
            return [
                [
                    (f"  {_RENAMING_ROW}", LOST),
                    (
                        f"  fired in {counted(row['fired'], 'event')}; in a shop that is a product's name, and ",
                        "",
                    ),
                    (f"customers are renamed to it: give {yours}", ""),
                ]
            ]
    return []


def _percent(share: float) -> str:
    """Return a share as `62.5 %`; what is there at all is never shown as nothing."""
    if share in (0, 1):
        return f"{share:.0%}".replace("%", " %")
    return f"{100 * share:.1f} %" if share >= 0.001 else "<0.1 %"


def _at_least(count: int) -> str:
    return f"{'more than ' if count >= 100_000 else ''}{count:,}"
