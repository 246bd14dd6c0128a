"""Shows what a coverage has counted, and the rows that it proposes, on stdout. Data is cleaned here."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Final

from voucherify_sync.events import Json
from voucherify_sync.outcomes import WHY_LOST
from voucherify_sync.text import clean, counted, percent

from .render import Table, TableRow, TextLines, harmless, sentences, show
from .streams import arrow

_MAX_ROWS: Final = 40
_MAX_EXAMPLE: Final = 16
# The row of the default table that gives a customer the name of a product, in the events of a shop.
_RENAMING_ROW: Final = "properties.name: customer.name"
_TYPES: Final = ("identify", "track")


def show_coverage(result: Json, yaml: str) -> None:
    """Print what was counted, and the rows that are proposed.

    Args:
        result: as `preview.coverage.to_dict` gives it.
        yaml: settings with the proposed rows, or nothing.
    """
    stream = sys.stdout
    blocks = [*_blocks(result, arrow(stream))]
    if stream.isatty():
        blocks = [short for block in blocks for short in _shortened(block)]
    if yaml:
        title = "# Rows that would map what is missing most often, to be pasted into the settings:"
        lines = [(title, "bold"), *((line, "") for line in yaml.rstrip("\n").split("\n"))]
        blocks.append(TextLines([[line] for line in lines], is_pasted=True))
    show(stream, blocks)


def _shortened(block: Table | TextLines) -> Iterator[Table | TextLines]:
    """Yield the first rows of a table, with short examples."""
    if isinstance(block, TextLines):
        yield block
        return
    rows = []
    for row in block.rows[:_MAX_ROWS]:
        *notes, example = row.notes
        cut = example if len(example) <= _MAX_EXAMPLE else example[: _MAX_EXAMPLE - 1] + "…"
        rows.append(TableRow(row.label, row.numbers, (*notes, cut), row.style))
    yield Table(rows, block.title, optional=block.optional)
    if len(block.rows) > _MAX_ROWS:
        yield sentences(f"  and {len(block.rows) - _MAX_ROWS:,} more, which --json lists", style="dim")


def _blocks(result: Json, sign: str) -> Iterator[Table | TextLines]:
    """Yield what was counted; `sign` is an arrow that the output can show."""
    events, values = result["events"], result["values"]
    if not events["read"]:
        yield sentences("No events were read.", style="bold")
        return
    share = f"{percent(values['share'])} of {counted(values['seen'], 'value')} mapped"
    head = [[(share, "bold"), (f", in {counted(events['counted'], 'event')} that would be sent", "")]]
    for state in ("skipped", "invalid"):
        if events[state]:
            reasons = ", ".join(f"{times:,} {clean(reason, 40)}" for reason, times in events[state].items())
            head.append([(f"not counted: {state}: {reasons}", "dim")])
    yield TextLines(head)
    types = [type_ for type_ in _TYPES if result[type_]["events"]]
    for type_ in types:
        yield from _paths(type_, result[type_], sign)
    for type_ in types:
        section = result[type_]
        yield Table([_destination(each) for each in section["destinations"]], f"What {type_} requests hold")
        if section["more_destinations"]:
            yield sentences(f"and {_at_least(section['more_destinations'])} more destinations")
    yield from _hints(result)


def _hints(result: Json) -> Iterator[TextLines]:
    """Yield the rows of the mapping to look at: those that match nothing, and the one that renames customers."""
    idle = [[("Rows that matched nothing", "bold")]]
    for row in (each for type_ in _TYPES for each in result[type_]["idle_rows"]):
        suggestions = " or ".join(clean(each, 100) for each in row["did_you_mean"])
        hint = f"  did you mean {suggestions}?" if suggestions else ""
        idle.append([(f"  {clean(row['row'], 200)}", "yellow"), (hint, "")])
    if len(idle) > 1:
        yield TextLines(idle)
    for row in result["track"]["rows"]:
        if row["default"] and row["fired"] and row["row"] == _RENAMING_ROW:
            warning = (
                f"  matched in {counted(row['fired'], 'event')}; in a shop that is a product's name, and customers are "
                "renamed to it: give track.mapping rows of your own without it"
            )
            yield TextLines(
                [[("Look at this row", "bold")], [(f"  {_RENAMING_ROW}", "yellow"), (warning, "")]]
            )


def _paths(type_: str, section: Json, sign: str) -> Iterator[Table | TextLines]:
    """Yield the values of the events of a type by path: how often each was given, and where it goes."""
    values = section["values"]
    title = (
        f"{type_}: {counted(section['events'], 'event')}, "
        f"{percent(values['share'])} of {counted(values['seen'], 'value')} mapped"
    )
    rows = []
    for path in section["paths"]:
        destination, style = _destination_of(path, sign)
        types = ", ".join(path["types"])
        example = "" if types == "null" else harmless(path["example"] or "")
        notes = (destination, types, example)
        rows.append(TableRow(clean(path["path"], 200), (percent(path["share"]),), notes, style))
    if rows:
        yield Table(rows, title, optional=2)
    else:
        yield TextLines([[(title, "bold")], [("no traits or properties", "dim")]])
    if section["more_paths"]:
        yield sentences(
            f"and {_at_least(section['more_paths'])} more paths, which are counted in the share only"
        )


def _destination_of(path: Json, sign: str) -> tuple[str, str]:
    """Return where the values of a path go, or why they do not, and the style of that."""
    missing = {reason: times for reason, times in path["lost"].items() if reason != "null"}
    reasons = _counted_reasons(missing)
    if path["mapped"]:
        places = ", ".join(clean(place, 200) for place in path["destinations"])
        return f"{sign} {places}" + (
            f"; not mapped: {reasons}" if missing else ""
        ), "yellow" if missing else "green"
    if not missing:
        return "null only", "dim"
    if len(missing) == 1:
        (reason,) = missing
        reasons = "" if reason == "no_row" else WHY_LOST.get(reason, "")
    return f"not mapped: {reasons}".removesuffix(": "), "yellow"


def _counted_reasons(reasons: dict[str, int]) -> str:
    return ", ".join(f"{WHY_LOST.get(reason, reason)} ({times:,})" for reason, times in reasons.items())


def _destination(place: Json) -> TableRow:
    """Return the row of a destination, with what is odd about its values."""
    notes = []
    if place["type_conflict"] and len(place["types"]) > 1:
        notes.append(
            "types differ: " + ", ".join(f"{name} {times:,}" for name, times in place["types"].items())
        )
    if place["refused"]:
        notes.append(f"dropped: {_counted_reasons(place['refused'])}")
    style = "yellow" if notes else ""
    types = ", ".join(place["types"])
    return TableRow(clean(place["path"], 200), (percent(place["share"]),), (types, "; ".join(notes)), style)


def _at_least(count: int) -> str:
    return f"{'more than ' if count >= 100_000 else ''}{count:,}"
