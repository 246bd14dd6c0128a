"""Lines of styled text go in; plain lines come out, or what rich draws: text in colours, blocks side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

Segment = tuple[str, str]
"""A text, clean already, and a style of rich's."""

Line = list[Segment]

_HANG = 4


def plain(line: Line) -> str:
    """Return the text of a line."""
    return "".join(text for text, _ in line).rstrip()


def text_of(lines: Iterable[Line]) -> Any:
    """Return lines as rich's text."""
    from rich.text import Text

    return Text("\n", overflow="fold").join(map(_text, lines))


def wrapped(lines: Iterable[Line], out: Any, width: int) -> Any:
    """Return lines as rich's text, of which what does not fit is continued further right than it began."""
    from rich.text import Text

    shown = []
    for line in lines:
        text = _text(line)
        indent = len(text.plain) - len(text.plain.lstrip(" "))
        further = min(indent + _HANG, width // 2)
        if text.cell_len <= width:
            shown.append(text)
            continue
        text = text[indent:]
        first, *rest = text.wrap(out, width - further, overflow="fold")
        shown.append(Text(" " * indent) + first)
        shown += [Text(" " * further) + each for each in rest]
    return Text("\n").join(shown)


def beside(left: Sequence[Line], right: Sequence[Line], out: Any) -> Any:
    """Return two blocks of lines side by side, of equal width."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 2, 0, 0))
    width = (out.width - 4) // 2
    for _ in range(2):
        grid.add_column(width=width, no_wrap=True)
    grid.add_row(wrapped(left, out, width), wrapped(right, out, width))
    return grid


def _text(line: Line) -> Any:
    from rich.text import Text

    text = Text(overflow="fold")
    for part, style in line:
        text.append(part, style=style or None)
    return text
