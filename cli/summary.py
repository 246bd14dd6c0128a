"""The report of a run goes in; what a person wants to know of it comes out, on stderr.

A table on a terminal, stacked lines on a narrow one, plain lines elsewhere. Data is shown cleaned only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TextIO

from msgspec import Struct

from voucherify_sync.events import Json
from voucherify_sync.report.run_report import headline
from voucherify_sync.text import clean, clean_lines, counted, size, span

from .lost_fields import lost_fields

_TOP = 5
_NARROW = 72
_TABLE_LABEL = 44
_LABELS = {
    "planned": "would be sent",
    "duplicate": "duplicates",
    "in_doubt": "in doubt",
    "pending": "still to do",
}
_STYLES = {"delivered": "green", "planned": "green", "invalid": "red", "failed": "red", "in_doubt": "yellow"}
_ENDPOINTS = {
    "POST /v1/customers": ("customer", "customers"),
    "POST /v1/events": ("custom event", "custom events"),
}


class Row(Struct, frozen=True):
    """One line of the table.

    Attributes:
        label: what is counted, clean.
        count: how often.
        note: an example or a word of explanation, clean.
        style: a colour, for terminals.
        depth: 1 for a part of the row above.
    """

    label: str
    count: int
    note: str = ""
    style: str = ""
    depth: int = 0

    @property
    def shown_label(self) -> str:
        """The label with its indentation."""
        return "  " * (self.depth + 1) + self.label

    @property
    def shown_count(self) -> str:
        """The count, grouped by thousands."""
        return f"{self.count:,}"


def print_summary(
    stream: TextIO,
    report: Json,
    *,
    dead_letters: str | None = None,
    next_command: str | None = None,
    notices: Sequence[str] = (),
    left: str | None = None,
) -> None:
    """Print the summary.

    Args:
        stream: stderr.
        report: as Report.to_dict gives it.
        dead_letters: where they are, if there are any.
        next_command: the command that goes on from here, ready to be pasted.
        notices: more sentences that the user should see.
        left: what is still to be done, if the run stopped early.
    """
    tables = [
        ("", [*_outcomes(report), *_in_bulk(report), *_calls(report)]),
        ("Left out of the requests", list(_lost(report))),
    ]
    warnings = [*_damage(report["input"]["sources"]), *map(clean_lines, notices)]
    places = [] if dead_letters is None else [f"Dead letters: {clean(dead_letters, 4_096)}"]
    if left is not None:
        places.append(left)
    command = None if next_command is None else clean(next_command, 100_000)
    draw = _draw_on_terminal if stream.isatty() else _write_plainly
    draw(stream, headline(report), [table for table in tables if table[1]], warnings, places, command)


def _outcomes(report: Json) -> Iterator[Row]:
    facts = report["input"]
    files = counted(len(facts["sources"]), "source")
    yield Row(
        "read", report["events"]["read"], f"{files}, {size(facts['bytes'])}, {span(report['duration_s'])}"
    )
    for state, count in report["outcomes"].items():
        if count:
            yield Row(_LABELS.get(state, state), count, _requests(report, state), _STYLES.get(state, ""))
            yield from _reasons(report["reasons"].get(state, {}))


def _requests(report: Json, state: str) -> str:
    """Return what the accepted or planned records became."""
    if state not in ("delivered", "planned"):
        return ""
    by_endpoint = report["api"]["by_endpoint"]
    made = {names: by_endpoint.get(endpoint, {}).get(state, 0) for endpoint, names in _ENDPOINTS.items()}
    return ", ".join(counted(count, *names) for names, count in made.items() if count)


def _reasons(reasons: Json) -> Iterator[Row]:
    for reason, facts in list(reasons.items())[:_TOP]:
        parts = [clean(facts["examples"][0], 4_096)] if facts["examples"] else []
        if facts["detail"]:
            parts.append(clean(facts["detail"]))
        yield Row(clean(reason, 40), facts["count"], ": ".join(parts), depth=1)
    if len(reasons) > _TOP:
        rest = sum(facts["count"] for facts in list(reasons.values())[_TOP:])
        yield Row(counted(len(reasons) - _TOP, "more reason"), rest, depth=1)


def _in_bulk(report: Json) -> Iterator[Row]:
    """Return what the bulk requests carried, if there were any."""
    bulk = report.get("bulk")
    if bulk and bulk["requests"]:
        requests = counted(bulk["requests"], "request")
        note = f"of {counted(bulk['updates'], 'update')}, in {requests} of {size(bulk['bytes'])}"
        yield Row(
            "customers", bulk["delivered"] + bulk["failed"], f"{note}, {counted(bulk['polls'], 'poll')}"
        )


def _calls(report: Json) -> Iterator[Row]:
    api = report["api"]
    if api["calls"]:
        yield Row(
            "calls",
            api["calls"],
            f"{counted(api['retries'], 'retry', 'retries')}, {api['throttled']:,} throttled",
        )


def _lost(report: Json) -> Iterator[Row]:
    for path, count, why in lost_fields(report, _TOP, 40):
        yield Row(path, count, why)


def _damage(sources: list[Json]) -> Iterator[str]:
    damaged = [source for source in sources if source["damaged"]]
    for source in damaged[:_TOP]:
        yield f"{clean(source['name'], 4_096)} is damaged: {clean(source['damaged'])}"
    if len(damaged) > _TOP:
        yield f"{counted(len(damaged) - _TOP, 'more source is', 'more sources are')} damaged"


_Tables = list[tuple[str, list[Row]]]


def _write_plainly(
    stream: TextIO, head: str, tables: _Tables, warnings: list[str], places: list[str], command: str | None
) -> None:
    """Write lines of any length: who reads a log can scroll."""
    lines = [head]
    for title, rows in tables:
        lines += ["", *([title] if title else []), *_aligned(rows)]
    lines += ["", *(f"Warning: {warning}" for warning in warnings)] if warnings else []
    lines += ["", *places] if places else []
    lines += ["", "Go on with:", f"  {command}"] if command else []
    stream.write("\n".join(lines) + "\n")
    stream.flush()


def _aligned(rows: list[Row]) -> Iterator[str]:
    label_width = max(len(row.shown_label) for row in rows)
    count_width = max(len(row.shown_count) for row in rows)
    for row in rows:
        yield f"{row.shown_label:<{label_width}}  {row.shown_count:>{count_width}}  {row.note}".rstrip()


def _draw_on_terminal(
    stream: TextIO, head: str, tables: _Tables, warnings: list[str], places: list[str], command: str | None
) -> None:
    from rich.text import Text

    from .console import console

    out = console(stream)
    out.print(Text(head, style="bold"))
    for title, rows in tables:
        out.print()
        if title:
            out.print(Text(title, style="bold"))
        out.print(_stack(rows, out.width) if out.width < _NARROW else _table(rows))
    for number, warning in enumerate(warnings):
        out.print(Text("\n" if number == 0 else "").append("Warning: ", style="bold yellow").append(warning))
    if places:
        out.print()
    for place in places:
        out.print(Text(place), soft_wrap=True)  # a path that is broken into lines cannot be pasted
    if command:
        out.print(Text("\nGo on with:", style="bold"))
        out.print(Text(f"  {command}"), soft_wrap=True)


def _table(rows: list[Row]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(max_width=_TABLE_LABEL, overflow="fold")
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    for row in rows:
        style = row.style or ("dim" if row.depth else "")
        table.add_row(
            Text(row.shown_label, style=style),
            Text(row.shown_count, style=style),
            Text(row.note, style="dim"),
        )
    return table


def _stack(rows: list[Row], width: int) -> Any:
    """Return the rows with each note below its row, for a terminal that has no room beside it."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    count_width = max(len(row.shown_count) for row in rows)
    label_width = max(min(max(len(row.shown_label) for row in rows), width - count_width - 2), 10)
    parts: list[Any] = []
    for row in rows:
        line = f"{clean(row.shown_label, label_width):<{label_width}}  {row.shown_count:>{count_width}}"
        parts.append(Text(line, style=row.style))
        if row.note:
            parts.append(Padding(Text(row.note, style="dim", overflow="fold"), (0, 0, 0, 2 * row.depth + 4)))
    return Group(*parts)
