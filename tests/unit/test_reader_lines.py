"""Lines: pieces of text become blocks of whole lines with exact numbers."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voucherify_sync.events import Batch
from voucherify_sync.sources.reader import Lines


def blocks_of(pieces: Iterable[bytes], *, max_line: int = 1000, kept: int = 100) -> list[Batch]:
    """Return the blocks that pieces end in."""
    lines = Lines("f", max_line=max_line, kept_of_long=kept)
    found = [block for piece in pieces for block in lines.feed(piece)]
    return [*found, *lines.finish()]


def numbered(blocks: list[Batch]) -> list[tuple[int, bytes, bool]]:
    """Return number, line and whether it is truncated."""
    return [
        (number, line, block.truncated)
        for block in blocks
        for number, line in enumerate(block.lines, block.first_line)
    ]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        pytest.param(b"", [], id="nothing"),
        pytest.param(b"a\nb\n", [b"a", b"b"], id="line feeds"),
        pytest.param(b"a\nb", [b"a", b"b"], id="no line feed at the end"),
        pytest.param(b"a\r\nb\r\n", [b"a", b"b"], id="CRLF"),
        pytest.param(b"a\r\r\n", [b"a\r"], id="only one CR is taken off"),
        pytest.param(b"a\rb\n", [b"a\rb"], id="a CR inside stays"),
        pytest.param(b"\n\na\n", [b"", b"", b"a"], id="blank lines count"),
        pytest.param(b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n", [b"a", b"\xef\xbb\xbfb"], id="BOM at the start only"),
        pytest.param(b"\xef\xbb", [b"\xef\xbb"], id="half a BOM is text"),
        pytest.param(
            "a\u2028b\u0085c\x0b\n".encode(), ["a\u2028b\u0085c\x0b".encode()], id="no other line end"
        ),
    ],
)
def test_text_is_split_at_line_feeds_only(text: bytes, lines: list[bytes]) -> None:
    """DESIGN 5: split on line feeds, BOM at the start, CRLF and blank lines tolerated."""
    assert [line for _, line, _ in numbered(blocks_of([text]))] == lines


TEXT = st.lists(
    st.sampled_from([b"a", b"bcd", b"\n", b"\r", b"\r\n", b"\xef\xbb\xbf", b"x" * 9]), max_size=30
)


@given(text=TEXT.map(b"".join), cuts=st.lists(st.integers(1, 16), min_size=1, max_size=20))
@settings(max_examples=300)
def test_pieces_of_any_size_give_the_same_lines(text: bytes, cuts: list[int]) -> None:
    """Where the text is cut for reading changes neither lines, nor numbers, nor what is too long."""
    pieces: list[bytes] = []
    at = 0
    while at < len(text):
        size = cuts[len(pieces) % len(cuts)]
        pieces.append(text[at : at + size])
        at += size
    bytewise = [text[i : i + 1] for i in range(len(text))]
    assert numbered(blocks_of(pieces, max_line=16, kept=5)) == numbered(
        blocks_of(bytewise, max_line=16, kept=5)
    )


def test_a_line_that_is_too_long_is_cut_and_alone_in_its_block() -> None:
    """Lines over the limit are one invalid record each: only their head is kept, and the numbers go on."""
    blocks = blocks_of([b"a\n", b"x" * 900, b"x" * 900, b"x" * 900 + b"\nb\n"])
    assert blocks == [
        Batch.of("f", 1, [b"a"]),
        Batch.of("f", 2, [b"x" * 100], truncated=True),
        Batch.of("f", 3, [b"b"]),
    ]


def test_a_line_of_the_very_limit_is_whole() -> None:
    """The limit itself is allowed."""
    assert blocks_of([b"x" * 600, b"x" * 400 + b"\n"]) == [Batch.of("f", 1, [b"x" * 1000])]


def test_a_last_line_that_is_too_long_is_cut_too() -> None:
    """A file that is one endless line ends as one truncated block."""
    assert blocks_of([b"x" * 999] * 3) == [Batch.of("f", 1, [b"x" * 100], truncated=True)]


def test_a_line_that_is_too_long_is_not_buffered() -> None:
    """Past the limit nothing more is kept of a line, however long it is."""
    lines = Lines("f", max_line=1000, kept_of_long=100)
    for _ in range(100):
        assert list(lines.feed(b"x" * 1000)) == []
    assert sum(map(len, lines._open)) == 100
    assert lines.unfinished == 100_000
