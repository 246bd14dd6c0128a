"""Counts of a coverage go in; tables for people come out, on stdout: drawn on a terminal, aligned elsewhere.

A terminal that is not wide enough gets fewer columns, a narrow one lines for each path.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, Final

from voucherify_sync.events import Json
from voucherify_sync.text import clean

from .coverage_page import DIM, Block, Page, Row
from .streams import arrow
from .styled import Line, Segment, plain, text_of, wrapped

_MOST_ROWS: Final = 40
_EXAMPLE: Final = 16
_HEAD: Final = "bold"
_COLUMNS: Final = ((0, 1, 2, 3, 4), (0, 1, 2, 3), (0, 1, 3))
"""Which columns are shown, from the widest table to the narrowest."""


def show(result: Json, yaml: str) -> None:
    """Print what was counted, and the rows that are proposed."""
    stream = sys.stdout
    page = Page(arrow(stream))
    blocks = list(page.blocks(result, yaml))
    if stream.isatty():
        _draw(stream, blocks)
        return
    for number, (title, content) in enumerate(blocks):
        lines = [
            *([title] if title else []),
            *(_aligned(content) if _is_table(content) else map(plain, content)),
        ]
        stream.write("\n" * (number > 0) + "\n".join(lines) + "\n")
    stream.flush()


def _is_table(content: list[Any]) -> bool:
    return bool(content) and isinstance(content[0], Row)


def _aligned(rows: list[Row]) -> Iterator[str]:
    cells = [(f"  {row.name}", row.share, row.types, row.to, row.example) for row in rows]
    widths = [min(max(len(line[column]) for line in cells), 60) for column in range(4)]
    for name, share, types, to, example in cells:
        line = (
            f"{name:<{widths[0]}}  {share:>{widths[1]}}  {types:<{widths[2]}}  {to:<{widths[3]}}  {example}"
        )
        yield line.rstrip()


def _draw(stream: Any, blocks: list[Block]) -> None:
    from .console import console

    out = console(stream)
    for number, (title, content) in enumerate(blocks):
        if number:
            out.print()
        is_yaml = title.startswith("#")  # which cannot be pasted once it is wrapped
        if title:
            out.print(text_of([[(title, _HEAD)]]), soft_wrap=is_yaml)
        if not _is_table(content):
            out.print(text_of(content) if is_yaml else wrapped(content, out, out.width), soft_wrap=is_yaml)
            continue
        rows = content[:_MOST_ROWS]
        table = _table(rows, out.width)
        out.print(wrapped(_stacked(rows, out.width), out, out.width) if table is None else table)
        if len(content) > len(rows):
            out.print(text_of([[(f"  and {len(content) - len(rows):,} more, which --json lists", DIM)]]))


def _table(rows: list[Row], width: int) -> Any:
    """Return as many columns as fit, each row on one line; None if not even paths and destinations do."""
    from rich.cells import cell_len
    from rich.table import Table

    cells = [_cells(row) for row in rows]
    lengths = [max(cell_len(line[column][0]) + 2 for line in cells) for column in range(5)]
    lengths[4] = min(lengths[4], _EXAMPLE)
    for columns in _COLUMNS:
        if sum(lengths[column] for column in columns) <= width:
            break
    else:
        return None
    table = Table.grid(padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(justify="right" if column == 1 else "left", no_wrap=True, overflow="ellipsis")
    for line in cells:
        table.add_row(*(text_of([[line[column]]]) for column in columns))
    return table


def _cells(row: Row) -> list[Segment]:
    return [
        (f"  {row.name}", row.style),
        (row.share, ""),
        (row.types, DIM),
        (row.to, row.style),
        (row.example, DIM),
    ]


def _stacked(rows: list[Row], width: int) -> Iterator[Line]:
    """Yield the rows on lines of their own, for a terminal that has no room for columns."""
    for row in rows:
        name = clean(row.name, max(width - 10, 10))
        yield [(f"{name:<{max(width - 10, 10)}}", row.style), (f" {row.share:>7}", "")]
        if row.to:
            yield [(f"  {row.to}", row.style)]
        if row.types:
            yield [(f"  {row.types}  {row.example}".rstrip(), DIM)]
