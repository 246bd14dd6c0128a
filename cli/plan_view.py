"""A plan goes in; what one would forward to a colleague comes out.

Columns on a terminal, notes below their rows on a narrow one, the same numbers as aligned lines elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, TextIO

from voucherify_sync.events import Json
from voucherify_sync.report.run_report import headline
from voucherify_sync.text import clean, clean_lines

from .plan_text import Row, Section, sections, verdict, warnings

_NARROW: Final = 72
_LABEL: Final = 46


def show_plan(stream: TextIO, plan: Json, report: Json, notices: list[str]) -> None:
    """Print a plan.

    Args:
        stream: stdout.
        plan: as `planning.to_dict` gives it.
        report: of the dry run.
        notices: more sentences that the user should see.
    """
    head = [headline({**report, "mode": "plan"}), *verdict(plan)]
    warned = [clean_lines(warning) for warning in warnings(plan, notices)]
    ledger = plan["ledger"]
    known = f"Ledger: {clean(ledger, 4_096)}" if ledger else "No ledger was read: the project is not known."
    draw = _draw if stream.isatty() else _write
    draw(stream, head, list(sections(plan)), warned, known)
    stream.flush()


def _write(stream: TextIO, head: list[str], tables: list[Section], warned: list[str], known: str) -> None:
    lines = list(head)
    for table in tables:
        lines += ["", *_aligned(table)]
    lines += ["", *(f"Warning: {warning}" for warning in warned)] if warned else []
    stream.write("\n".join([*lines, "", known]) + "\n")


def _widths(table: Section) -> list[int]:
    """Return how wide the columns of numbers are."""
    columns = max(len(row.numbers) for row in table.rows)
    shown = [*(row.numbers for row in table.rows), table.heads]
    return [max(len(cells[n]) for cells in shown if n < len(cells)) for n in range(columns)]


def _numbers(cells: tuple[str, ...], widths: list[int]) -> str:
    padded = [*cells, *[""] * (len(widths) - len(cells))]
    return "  ".join(f"{cell:>{width}}" for cell, width in zip(padded, widths, strict=True))


def _aligned(table: Section) -> Iterator[str]:
    widths = _widths(table)
    width = max(len(row.shown_label) for row in table.rows)
    yield table.title
    if table.heads:
        yield f"{'':<{width}}  {_numbers(table.heads, widths)}"
    for row in table.rows:
        yield f"{row.shown_label:<{width}}  {_numbers(row.numbers, widths)}  {row.note}".rstrip()


def _draw(stream: TextIO, head: list[str], tables: list[Section], warned: list[str], known: str) -> None:
    from rich.text import Text

    from .console import console

    out = console(stream)
    for number, sentence in enumerate(head):
        bad = sentence.startswith("WILL NOT FIT")
        out.print(Text(sentence, style="bold red" if bad else "bold" if number == 0 else ""))
    for table in tables:
        out.print()
        out.print(Text(table.title, style="bold"))
        out.print(_stack(table, out.width) if out.width < _NARROW else _grid(table))
    for number, warning in enumerate(warned):
        out.print(Text("\n" if number == 0 else "").append("Warning: ", style="bold yellow").append(warning))
    out.print()
    out.print(
        Text(known, style="dim"), soft_wrap=known.startswith("Ledger: ")
    )  # a path that is broken cannot be pasted


def _grid(table: Section) -> Any:
    from rich.table import Table
    from rich.text import Text

    widths = _widths(table)
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(max_width=_LABEL, overflow="fold")
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    if table.heads:
        grid.add_row("", Text(_numbers(table.heads, widths), style="dim"), "")
    for row in table.rows:
        note_style = row.style if "red" in row.style else "dim"
        grid.add_row(
            Text(row.shown_label, style=row.style),
            Text(_numbers(row.numbers, widths), style=row.style),
            Text(row.note, style=note_style),
        )
    return grid


def _stack(table: Section, width: int) -> Any:
    """Return the rows with what finds no room beside it below, for a narrow terminal."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    widths = _widths(table)
    room = max(width - len(_numbers((), widths)) - 2, 10)
    label_width = min(max(len(row.shown_label) for row in table.rows if row.numbers), room)
    parts: list[Any] = []
    if table.heads:
        parts.append(Text(f"{'':<{label_width}}  {_numbers(table.heads, widths)}", style="dim"))
    for row in table.rows:
        parts.append(_line(row, label_width, widths))
        if row.note:
            parts.append(
                Padding(
                    Text(row.note, style=row.style or "dim", overflow="fold"), (0, 0, 0, 4 + 2 * row.depth)
                )
            )
    return Group(*parts)


def _line(row: Row, label_width: int, widths: list[int]) -> Any:
    from rich.text import Text

    if not row.numbers:
        return Text(row.shown_label, style=row.style, overflow="fold")
    label = clean(row.shown_label, label_width)
    return Text(f"{label:<{label_width}}  {_numbers(row.numbers, widths)}", style=row.style)
