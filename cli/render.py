"""Shows tables and lines: plain where there is no terminal, in columns on a wide one, stacked on a narrow one.

All commands show their results through `show`. Texts that are given to it are clean already (`text.clean`), and are
never read as markup. JSON is written with escapes for all that does not print, so that the data stays the same.
"""

from __future__ import annotations

import codecs
import json
import os
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO, Final, TextIO

from msgspec import Struct
from msgspec.structs import replace

from voucherify_sync.text import clean

from .streams import broken_at_words

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

Segment = tuple[str, str]
"""A text and a style of rich's."""

Line = list[Segment]


def command_line(words: Iterable[str]) -> str:
    """Return a command with its words as they may be shown, to be pasted into a shell."""
    from voucherify_sync.sources.object_store import shown_word

    return shlex.join(["voucherify-sync", *map(shown_word, words)])


STATE_STYLES: Final = {
    "delivered": "green",
    "planned": "green",
    "invalid": "red",
    "failed": "red",
    "in_doubt": "yellow",
}
"""State of records -> its style; the others have none."""

_NARROW: Final = 72  # columns; below, a note finds no room beside its row
_SIDE_BY_SIDE: Final = 120
_MAX_LABEL: Final = 46
_MAX_PADDED: Final = 60
_HANG: Final = 4
_ALARMING: Final = ("red", "yellow")

_NOT_ASCII: Final = re.compile(r"[^\x20-\x7e]")
_MAX_SCALAR: Final = 160
_NOTE_COLUMN: Final = 48
"""A note behind a longer line does not move those of the others."""
_PIECE_BYTES: Final = 1 << 16
_INDENT: Final = "  "


class TableRow(Struct, frozen=True):
    """One line of a table.

    Attributes:
        label: what is counted.
        numbers: right-aligned, a column each.
        notes: left-aligned, a column each.
        style: a style of rich's, for terminals.
        depth: 1 for a part of the row above, and so on.
    """

    label: str
    numbers: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    style: str = ""
    depth: int = 0


class Table(Struct, frozen=True):
    """Rows under a title.

    Attributes:
        rows: one at least.
        title: empty for none.
        heads: of all columns; empty for none.
        optional: number of the last columns of notes that a terminal may have no room for.
    """

    rows: list[TableRow]
    title: str = ""
    heads: tuple[str, ...] = ()
    optional: int = 0

    def cells(self) -> tuple[list[list[str]], int]:
        """Return all rows, heads first, as texts of equally many columns, and how many of these are numbers."""
        numbers = max(len(row.numbers) for row in self.rows)
        notes = max(len(row.notes) for row in self.rows)
        cells = [[f"  {self.heads[0]}", *self.heads[1:]]] if self.heads else []
        for row in self.rows:
            padded = [*row.numbers, *[""] * (numbers - len(row.numbers)), *row.notes]
            cells.append([_INDENT * (row.depth + 1) + row.label, *padded])
        return [[*row, *[""] * (1 + numbers + notes - len(row))] for row in cells], numbers


class TextLines(Struct, frozen=True):
    """Lines of text.

    Attributes:
        lines: as they stand below each other.
        beside: lines that stand at their right on a terminal that is wide enough, else below them.
        is_pasted: a terminal must not break them, since they are to be copied.
        pasted_lines: numbers of single lines of which the same is true.
    """

    lines: list[Line]
    beside: list[Line] = []
    is_pasted: bool = False
    pasted_lines: frozenset[int] = frozenset()


def show(stream: TextIO, blocks: Iterable[Table | TextLines]) -> None:
    """Show blocks with an empty line between them; those without any line are left out."""
    shown = [block for block in blocks if (block.rows if isinstance(block, Table) else block.lines)]
    if not shown:
        return
    if not (stream.isatty() or os.environ.get("FORCE_COLOR")):  # rich, too, takes any text for a yes
        stream.write("\n\n".join("\n".join(_plain(block)) for block in shown) + "\n")
    else:
        out = console(stream)
        for number, block in enumerate(shown):
            if number:
                out.print()
            if isinstance(block, Table) and block.title:
                out.print(_text([(block.title, "bold")]))
            if isinstance(block, Table):
                for drawn in _drawn_table(block, out):
                    out.print(drawn)
            else:
                for drawn, is_pasted in _drawn_lines(block, out):
                    out.print(drawn, soft_wrap=is_pasted)
    stream.flush()


def sentences(*texts: str, style: str = "") -> TextLines:
    """Return a block of sentences, one a line."""
    return TextLines([[(text, style)] for text in texts])


def first_rows(table: Table, most: int) -> Iterator[Table | TextLines]:
    """Yield a table cut to its first rows, and how many more there are."""
    yield replace(table, rows=table.rows[:most])
    if len(table.rows) > most:
        yield sentences(f"  and {len(table.rows) - most:,} more, which --json lists", style="dim")


def warnings_of(texts: Sequence[str]) -> TextLines:
    """Return a block of warnings; a command in one has a line of its own, which a terminal must not break."""
    lines: list[Line] = []
    pasted: set[int] = set()
    for text in texts:
        first, *commands = text.split("\n")
        lines.append([("Warning: ", "bold yellow"), (first, "")])
        pasted.update(range(len(lines), len(lines) + len(commands)))
        lines += [[(command, "")] for command in commands]
    return TextLines(lines, pasted_lines=frozenset(pasted))


def console(stream: TextIO, *, width: int | None = None) -> Console:
    """Return a console of rich's that shows text as it is: no markup, no emoji codes, no highlighting."""
    from rich.console import Console

    class MutedConsole(Console):
        """Mutes itself when its reader has gone; rich would close stdout, where other data goes."""

        def on_broken_pipe(self) -> None:
            """Mute the output."""
            self.quiet = True

    return MutedConsole(
        file=stream,
        width=width,
        markup=False,
        emoji=False,
        highlight=False,
        soft_wrap=False,
        legacy_windows=False,
    )


def _plain(block: Table | TextLines) -> Iterator[str]:
    """Yield lines of any length: the reader of a log can scroll."""
    if isinstance(block, TextLines):
        beside = [[], *block.beside] if block.beside else []
        yield from ("".join(text for text, _ in line).rstrip() for line in [*block.lines, *beside])
        return
    if block.title:
        yield block.title
    cells, numbers = block.cells()
    widths = [min(max(map(len, column)), _MAX_PADDED) for column in zip(*cells, strict=True)]
    for row in cells:
        yield "  ".join(
            f"{cell:>{width}}" if 0 < column <= numbers else f"{cell:<{width}}"
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()


def _drawn_lines(block: TextLines, out: Console) -> Iterator[tuple[RenderableType, bool]]:
    """Yield what is drawn, and whether the terminal alone may break it."""
    if block.is_pasted or block.pasted_lines:
        for number, line in enumerate(block.lines):
            is_pasted = block.is_pasted or number in block.pasted_lines
            comment = "".join(text for text, _ in line)
            if is_pasted and comment.startswith("# "):  # each part of a comment is one
                parts = broken_at_words(comment, out.width, "# ")
                yield _text([("\n".join(parts), line[0][1])]), True
                continue
            yield (_text(line) if is_pasted else _wrapped([line], out, out.width)), is_pasted
    elif block.beside and out.width >= _SIDE_BY_SIDE:
        from rich.table import Table as Grid

        grid, width = Grid.grid(padding=(0, 2, 0, 0)), (out.width - 4) // 2
        for _ in range(2):
            grid.add_column(width=width, no_wrap=True)
        grid.add_row(_wrapped(block.lines, out, width), _wrapped(block.beside, out, width))
        yield grid, False
    else:
        yield _wrapped([*block.lines, *([[], *block.beside] if block.beside else [])], out, out.width), False


def _drawn_table(table: Table, out: Console) -> Iterator[RenderableType]:
    """Draw as many columns as the terminal has room for, and all of them stacked where it is narrow."""
    from rich.cells import cell_len
    from rich.table import Table as Grid

    cells, numbers = table.cells()
    widths = [max(map(cell_len, column)) + 2 for column in zip(*cells, strict=True)]
    widths[0] = min(widths[0], _MAX_LABEL + 2)
    columns = len(widths)
    # A table keeps its columns as long as it can: they are compared down, not read along.
    while sum(widths[:columns]) - 2 > out.width and columns > len(widths) - table.optional:
        columns -= 1
    if sum(widths[:columns]) - 2 > out.width < _NARROW:
        yield from _stacked(table, cells, numbers, out.width)
        return
    grid = Grid.grid(padding=(0, 2, 0, 0))
    grid.add_column(max_width=_MAX_LABEL, overflow="fold")
    for column in range(1, columns):
        is_number = column <= numbers
        grid.add_column(justify="right" if is_number else "left", no_wrap=is_number, overflow="fold")
    if table.heads:
        grid.add_row(*(_text([(cell, "dim")]) for cell in cells.pop(0)[:columns]))
    for row, texts in zip(table.rows, cells, strict=True):
        styles = [row.style] * (1 + numbers) + [_note_style(row), *["dim"] * columns]
        grid.add_row(*(_text([each]) for each in zip(texts[:columns], styles, strict=False)))
    yield grid


def _stacked(table: Table, cells: list[list[str]], numbers: int, width: int) -> Iterator[RenderableType]:
    """Yield the rows with their notes below them."""
    from rich.padding import Padding

    widths = [max(map(len, column)) for column in list(zip(*cells, strict=True))[: 1 + numbers]]
    widths[0] = max(min(widths[0], width - sum(widths[1:]) - 2 * numbers), 10)
    rows: Sequence[TableRow] = [*([TableRow("", style="dim")] if table.heads else []), *table.rows]
    for row, texts in zip(rows, cells, strict=True):
        label, *counts = texts[: 1 + numbers]
        if any(counts):
            label = f"{clean(label, widths[0]):<{widths[0]}}"
        line = [label, *(f"{cell:>{each}}" for cell, each in zip(counts, widths[1:], strict=True))]
        if (
            not row.label and row.depth
        ):  # a part that is all note: what it says, without what there is no room for
            notes = _INDENT.join(filter(None, [*counts, *texts[1 + numbers : len(texts) - table.optional]]))
            yield Padding(_text([(notes, _note_style(row))]), (0, 0, 0, 2 + 2 * row.depth))
            continue
        notes = _INDENT.join(filter(None, texts[1 + numbers :]))
        yield _text([("  ".join(line).rstrip(), row.style)])
        if notes:
            yield Padding(_text([(notes, _note_style(row))]), (0, 0, 0, 4 + 2 * row.depth))


def _note_style(row: TableRow) -> str:
    return row.style if any(colour in row.style for colour in _ALARMING) else "dim"


def _wrapped(lines: Iterable[Line], out: Console, width: int) -> Text:
    """Return lines of which what does not fit is continued further right than it began."""
    from rich.text import Text

    shown = []
    for line in lines:
        text = _text(line)
        indent = len(text.plain) - len(text.plain.lstrip(" "))
        further = min(indent + _HANG, width // 2)
        if text.cell_len <= width:
            shown.append(text)
            continue
        first, *rest = text[indent:].wrap(out, width - further, overflow="fold")
        shown.append(Text(" " * indent) + first)
        shown += [Text(" " * further) + each for each in rest]
    return Text("\n").join(shown)


def _text(line: Line) -> Text:
    from rich.text import Text

    text = Text(overflow="fold")
    for part, style in line:
        text.append(part, style=style or None)
    return text


def write_harmless(stream: BinaryIO, encoded: bytes) -> None:
    """Write encoded JSON as a line that does no harm, piece by piece: a copy of the whole may be very large."""
    with memoryview(encoded) as view:
        pieces = (view[at : at + _PIECE_BYTES].tobytes() for at in range(0, len(view), _PIECE_BYTES))
        stream.writelines(harmless(text).encode() for text in codecs.iterdecode(pieces, "utf-8"))
    stream.write(b"\n")
    stream.flush()


def harmless(encoded: str) -> str:
    r"""Return encoded JSON on one line with `\u` escapes for all that does not print; it decodes to the same."""
    return encoded if encoded.isprintable() else _NOT_ASCII.sub(lambda sign: _escape(sign[0]), encoded)


@lru_cache(maxsize=4_096)  # a text may hold millions of one sign
def _escape(sign: str) -> str:
    if sign.isprintable():
        return sign
    encoded = sign.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{encoded[at]:02x}{encoded[at + 1]:02x}" for at in range(0, len(encoded), 2))


def compact(value: Any, limit: int) -> str:
    """Return a value as harmless JSON text, cut where it gets too long."""
    if isinstance(value, str):
        value = value[: limit + 1]
    text = ""
    for piece in json.JSONEncoder(ensure_ascii=False).iterencode(value):
        text += harmless(piece[: limit + 2])
        if len(text) > limit:
            return text[: limit - 1] + "…"
    return text


def json_lines(value: Any, style_of: Callable[[tuple[str, ...]], str], most: int) -> list[Line]:
    """Return a JSON value indented, at most `most` lines; long texts are cut.

    Args:
        value: of any depth.
        style_of: gives the style of the line of a value, by its keys.
        most: lines.
    """
    return [line for _, line in _first(_json_lines(value, (), "", [], style_of), most)]


def annotated_json_lines(
    value: Any, note_of: Callable[[tuple[str, ...]], Line], most: int, *, aligns: bool
) -> list[Line]:
    """Return a JSON value as `json_lines` does, with a note behind the line of a value.

    Args:
        value: of any depth.
        note_of: gives the note of a value, by its keys; an empty one where there is none.
        most: lines.
        aligns: the notes stand below each other; else each begins behind its line.
    """
    lines = list(_first(_json_lines(value, (), "", [], lambda _: ""), most))
    notes = [note_of(keys) if keys is not None else [] for keys, _ in lines]
    lengths = [sum(len(text) for text, _ in line) for _, line in lines]
    noted = [length for length, note in zip(lengths, notes, strict=True) if note]
    column = max((length for length in noted if length <= _NOTE_COLUMN), default=0) if aligns else 0
    return [
        [*line, (" " * max(2, column + 2 - length), ""), *note] if note else line
        for (_, line), note, length in zip(lines, notes, lengths, strict=True)
    ]


_KeyedLine = tuple[tuple[str, ...] | None, Line]
"""A line, and the keys of the value that begins there; None where one ends."""


def _first(lines: Iterator[_KeyedLine], most: int) -> Iterator[_KeyedLine]:
    """Yield the first lines, and a sign if there are more."""
    yield from islice(lines, most)
    if next(lines, None) is not None:
        yield None, [("…", "dim")]


def _json_lines(
    value: Any, keys: tuple[str, ...], lead: str, tail: Line, style_of: Callable[[tuple[str, ...]], str]
) -> Iterator[_KeyedLine]:
    """Yield the lines of a value; `lead` is its key, if it has one, and `tail` the comma behind it, if there is one.

    Each line is yielded before the next is made, so that of a value nested very deep only what is shown is looked at.
    """
    indent = _INDENT * len(keys)
    if not isinstance(value, dict | list) or not value:
        yield keys, [(indent + lead + compact(value, _MAX_SCALAR), style_of(keys)), *tail]
        return
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    yield keys, [(indent + lead + opening, style_of(keys))]
    inside: Iterator[tuple[str, Any, str]]
    if isinstance(value, dict):
        inside = ((key, each, f"{compact(key, _MAX_SCALAR)}: ") for key, each in value.items())
    else:
        inside = ((str(number), each, "") for number, each in enumerate(value))
    left = len(value)
    for key, each, start in inside:
        left -= 1
        yield from _json_lines(each, (*keys, key), start, [(",", "")] if left else [], style_of)
    yield None, [(indent + closing, style_of(keys)), *tail]
