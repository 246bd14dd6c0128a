"""Tables and lines are shown plain, in columns or stacked, as the stream has room for them."""

from __future__ import annotations

import io
import sys

import pytest
from support.cli_modules import cli_module
from support.terminal import Terminal, colourless, terminal_of

render = cli_module("render")
Table, TableRow, TextLines, show = render.Table, render.TableRow, render.TextLines, render.show

TABLE = Table(
    [
        TableRow("delivered", ("1,204", "9"), ("23 customer updates", "identify", "an example"), "green"),
        TableRow("invalid_payload", ("1", ""), ("a.ndjson:17",), "red", 1),
        TableRow("no numbers"),
    ],
    "Outcomes",
    ("state", "each", "bulk", "note"),
    optional=2,
)


def drawn(monkeypatch: pytest.MonkeyPatch, columns: int, *blocks: object) -> list[str]:
    """Return the lines that a terminal of a width shows."""
    show(stream := terminal_of(monkeypatch, columns), blocks)
    lines = [line.rstrip() for line in colourless(stream.getvalue()).splitlines()]
    assert max(map(len, lines)) <= columns
    return lines


def test_without_a_terminal_columns_are_aligned_whatever_their_width() -> None:
    """Numbers to the right, all else to the left, and nothing is cut."""
    show(stream := io.StringIO(), [TABLE])
    assert stream.getvalue().splitlines() == [
        "Outcomes",
        "  state               each  bulk  note",
        "  delivered          1,204     9  23 customer updates  identify  an example",
        "    invalid_payload      1        a.ndjson:17",
        "  no numbers",
    ]


def test_a_wide_terminal_shows_all_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """As without one."""
    assert drawn(monkeypatch, 100, TABLE)[2] == (
        "  delivered          1,204     9  23 customer updates  identify  an example"
    )


def test_optional_columns_give_way_from_the_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """What says least is shown where there is room."""
    assert (
        drawn(monkeypatch, 66, TABLE)[2] == "  delivered          1,204     9  23 customer updates  identify"
    )
    assert drawn(monkeypatch, 54, TABLE)[2] == "  delivered          1,204     9  23 customer updates"


def test_a_narrow_terminal_shows_notes_below_their_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them, since there is room again."""
    assert drawn(monkeypatch, 40, TABLE) == [
        "Outcomes",
        "  state               each  bulk",
        "    note",
        "  delivered          1,204     9",
        "    23 customer updates  identify  an",
        "    example",
        "    invalid_payload      1",
        "      a.ndjson:17",
        "  no numbers",
    ]


def test_blocks_without_content_leave_no_gap() -> None:
    """An empty line stands between two blocks, and nowhere else."""
    show(
        stream := io.StringIO(), [TextLines([[("a", "bold")]]), Table([], "empty"), TextLines([[("b", "")]])]
    )
    assert stream.getvalue() == "a\n\nb\n"


@pytest.mark.parametrize(("columns", "is_beside"), [(119, False), (120, True)])
def test_lines_stand_side_by_side_where_there_is_room(
    monkeypatch: pytest.MonkeyPatch, columns: int, is_beside: bool
) -> None:
    """From 120 columns on."""
    lines = drawn(monkeypatch, columns, TextLines([[("left", "")]], [[("right", "")]]))
    assert (len(lines) == 1) == is_beside


def test_what_is_pasted_is_not_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The terminal wraps it, and copies it whole."""
    monkeypatch.setenv("COLUMNS", "20")
    show(stream := Terminal(), [TextLines([[("x" * 50, "")]], is_pasted=True)])
    assert colourless(stream.getvalue()) == "x" * 50 + "\n"


def test_a_comment_that_is_pasted_is_broken_into_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows stay whole, also where a comment stands behind them."""
    monkeypatch.setenv("COLUMNS", "24")
    lines = [
        "# Line 2 of settings.yaml, below `mapping:` of track",
        "    traits.plan: customer.metadata.plan  # 3",
    ]
    show(stream := Terminal(), [TextLines([[(line, "bold")] for line in lines], is_pasted=True)])
    assert colourless(stream.getvalue()).splitlines() == [
        "# Line 2 of",
        "# settings.yaml, below",
        "# `mapping:` of track",
        lines[1],
    ]


@pytest.mark.parametrize(
    ("sentence", "lines"),
    [
        ("all of it fits", ["all of it fits"]),
        ("bad.yaml:4:9: no filter downcse", ["bad.yaml:4:9: no", "    filter downcse"]),
        ("  and 3 more of these keys", ["  and 3 more of these", "      keys"]),
        ("first line\nmany words in the second", ["first line", "many words in the", "    second"]),
        ("set it by `export KEY=of mine to-day`.", ["set it by", "    `export KEY=of mine to-day`."]),
        ("Run this: voucherify-sync check -c a.yaml", ["Run this:", "    voucherify-sync check -c a.yaml"]),
        ("x" * 30, ["x" * 30]),
    ],
    ids=["short", "long", "indented", "lines", "quoted", "command", "word"],
)
def test_sentences_are_broken_at_words_on_a_terminal_alone(
    monkeypatch: pytest.MonkeyPatch, sentence: str, lines: list[str]
) -> None:
    """What may be copied is left to the terminal, which knows that it is one line."""
    for stream, expected in ((terminal_of(monkeypatch, 22), lines), (io.StringIO(), sentence.split("\n"))):
        monkeypatch.setattr(sys, "stderr", stream)
        cli_module("streams").tell(sentence)
        assert stream.getvalue().splitlines() == expected


def test_a_line_that_is_too_long_goes_on_further_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that it can be told from the next one."""
    assert drawn(monkeypatch, 20, TextLines([[("  one two three four five", "")]])) == [
        "  one two three",
        "      four five",
    ]


@pytest.mark.parametrize(("no_color", "has_colour"), [("", True), ("1", False)])
def test_force_color_colours_what_goes_into_a_pipe(
    monkeypatch: pytest.MonkeyPatch, no_color: str, *, has_colour: bool
) -> None:
    """As in other tools; NO_COLOR wins over it."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setenv("TERM", "xterm-256color")
    stream = io.StringIO()
    show(stream, [render.sentences("All is well.", style="green")])
    assert ("\x1b[32m" in stream.getvalue()) == has_colour
    assert "All is well." in colourless(stream.getvalue())
