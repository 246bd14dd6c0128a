"""Lines: pieces of text become blocks of whole lines with exact numbers."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voucherify_sync.events import Batch
from voucherify_sync.outcomes import Outcome
from voucherify_sync.sources.decode import decode
from voucherify_sync.sources.reader import PART_BYTES, Lines


def blocks_of(
    pieces: Iterable[bytes], *, max_value: int = 1000, kept: int = 100, part: int = 64
) -> list[Batch]:
    """Return the blocks that pieces end in."""
    lines = Lines("f", max_value=max_value, kept_of_long=kept, part=part)
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
        pytest.param(b"\xef\xbb\xbfa\n", [b"\xef\xbb\xbfa"], id="a BOM, which the decoder takes off"),
        pytest.param(b"\xef\xbb", [b"\xef\xbb"], id="half a BOM is text"),
        pytest.param(
            "a\u2028b\u0085c\x0b\n".encode(), ["a\u2028b\u0085c\x0b".encode()], id="no other line end"
        ),
    ],
)
def test_text_is_split_at_line_feeds_only(text: bytes, lines: list[bytes]) -> None:
    """Split on line feeds; CRLF and blank lines are tolerated."""
    assert [line for _, line, _ in numbered(blocks_of([text]))] == lines


UNITS = [
    b"a", b"bcd", b"\n", b"\r", b"\r\n", b"\xef\xbb\xbf", b"x" * 9, b"\x1e", b",", b" ", b"12", b'"', b"\\",
    b"}{", b"[", b"]",
    b'{"type":"track","n":1}', b'{"a":"}{"}', b'[{"type":"x"},2]', b'{"batch":[{"type":"y"},{"type":"z"}]}',
    b'{"type":"page","t":"\\"}{}"}', b'{"type":"track","n":"' + b"long" * 20 + b'"}', b'{"type":1 2}', b'{"type":"a',
    b'[{"type":"track","userId":"u"},', b'{"type":"track","userId":"v"}', b'{"type":"track" "userId":"w"}', b'{"x":"y}',
    b'{"type":"page","userId":"z",', b'[{', b',{"userId":"r","payload":{"type":"track"}}', b"oops,",
]  # fmt: skip
TEXT = st.lists(st.sampled_from(UNITS), max_size=30).map(b"".join)
CUTS = st.lists(st.integers(1, 16), min_size=1, max_size=20)


def cut_into(text: bytes, sizes: list[int]) -> list[bytes]:
    """Cut a text into pieces of these sizes, over and over."""
    pieces: list[bytes] = []
    at = 0
    while at < len(text):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(text[at : at + size])
        at += size
    return pieces


def told(blocks: Iterable[Batch]) -> list[tuple[str, str, bytes]]:
    """Return position, end and text of the records; where a value has no end, its blanks may differ."""
    found = []
    for block in blocks:
        for record in decode(block):
            own = record.record if isinstance(record, Outcome) else record
            end = str(record.reason) if isinstance(record, Outcome) else record.type
            found.append((str(own.position), end, own.raw.strip()))
    return found


@given(text=TEXT, cuts=CUTS)
@settings(max_examples=300)
def test_pieces_of_any_size_give_the_same_lines(text: bytes, cuts: list[int]) -> None:
    """Where the text is cut for reading changes neither lines nor numbers."""
    whole = numbered(blocks_of([text], part=10_000))
    assert numbered(blocks_of(cut_into(text, cuts), part=10_000)) == whole


@given(text=TEXT, cuts=CUTS, part=st.integers(1, 120))
@settings(max_examples=1_000)
def test_a_line_in_parts_has_the_records_of_the_whole_line(text: bytes, cuts: list[int], part: int) -> None:
    """At the same positions, with the same bytes: however it is read, and wherever values end."""
    whole = blocks_of([text], max_value=10_000, part=10_000)
    parts = blocks_of(cut_into(text, cuts), max_value=10_000, part=part)
    assert told(parts) == told(whole)


@given(text=TEXT, one=CUTS, other=CUTS)
@settings(max_examples=300)
def test_what_is_too_long_does_not_depend_on_the_pieces(
    text: bytes, one: list[int], other: list[int]
) -> None:
    """A value beyond the limit is one record, and what follows it is read."""
    ends = []
    for cuts in (one, other):
        found = blocks_of(cut_into(text, cuts), max_value=40, kept=5, part=20)
        assert all(len(block.text) <= 40 + 2 * max(cuts) for block in found if block.first_item is not None)
        last = found[-1] if found else Batch("f", 1, b"")
        ends.append(last.first_line + len(last.lines))
    assert ends[0] == ends[1]


def test_a_value_that_is_too_long_is_cut_and_alone_in_its_block() -> None:
    """Values over the limit are one invalid record each: only their head is kept, and the numbers go on."""
    blocks = blocks_of([b"a\n", b"x" * 900, b"x" * 900, b"x" * 900 + b"\nb\n"])
    assert blocks == [
        Batch.of("f", 1, [b"a"]),
        Batch.of("f", 2, [b"x" * 100], truncated=True),
        Batch.of("f", 3, [b"b"]),
    ]


LONG = b'{"type":"track","text":"' + b"x" * 3_000 + b'"}'
LONG_OF_OBJECTS = b'{"a":[' + rb'{"b":"},{\"[","userId":"u"},' * 200 + b"0]}"
EVENT = b'{"type":"track"}'


@pytest.mark.parametrize("cuts", [[7], [64], [1000]], ids=str)
@pytest.mark.parametrize(
    ("line", "ends"),
    [
        pytest.param(LONG, ["f:1 too_long"], id="alone"),
        pytest.param(LONG + b"\r", ["f:1 too_long"], id="before CRLF"),
        pytest.param(LONG + EVENT, ["f:1[0] too_long", "f:1[1] track"], id="before an event"),
        pytest.param(
            EVENT + LONG + b" " + EVENT, ["f:1[0] track", "f:1[1] too_long", "f:1[2] track"], id="between"
        ),
        pytest.param(
            LONG + b"\r" + EVENT, ["f:1[0] too_long", "f:1[1] track"], id="before a carriage return"
        ),
        pytest.param(
            LONG + b"\x1e" + EVENT, ["f:1[0] too_long", "f:1[1] track"], id="before a record separator"
        ),
        pytest.param(
            EVENT + b"," + LONG + b" , " + EVENT,
            ["f:1[0] track", "f:1[1] too_long", "f:1[2] track"],
            id="between commas",
        ),
        pytest.param(
            b"[%b]" % b",".join([EVENT, LONG, EVENT, LONG_OF_OBJECTS, EVENT]),
            ["f:1[0] track", "f:1[1] too_long", "f:1[2] track", "f:1[3] too_long", "f:1[4] track"],
            id="in an array",
        ),
        pytest.param(
            b"[%b]%b" % (b",".join([EVENT] * 200), EVENT),
            [f"f:1[{item}] track" for item in range(201)],
            id="an array may be of any length",
        ),
        pytest.param(b"[" + LONG + b"]", ["f:1[0] too_long"], id="alone in an array"),
        pytest.param(
            LONG_OF_OBJECTS + b"," + EVENT, ["f:1[0] too_long", "f:1[1] track"], id="objects and commas in it"
        ),
        pytest.param(b" " * 3_000 + EVENT, ["f:1 track"], id="blanks do not count"),
        pytest.param(EVENT + b" " * 3_000, ["f:1 track"], id="blanks behind do not count"),
        pytest.param(
            EVENT * 500, [f"f:1[{item}] track" for item in range(500)], id="a line may be of any length"
        ),
    ],
)
def test_only_the_length_of_a_value_matters(line: bytes, ends: list[str], cuts: list[int]) -> None:
    """What stands beside a value that is too long is read."""
    blocks = blocks_of([*cut_into(line, cuts), b"\n"])
    assert [f"{position} {end}" for position, end, _ in told(blocks)] == ends


def test_a_line_of_the_very_limit_is_whole() -> None:
    """The limit itself is allowed."""
    assert blocks_of([b"x" * 600, b"x" * 400 + b"\n"]) == [Batch.of("f", 1, [b"x" * 1000])]


def test_a_last_value_that_is_too_long_is_cut_too() -> None:
    """A file that is one endless value ends as one truncated block."""
    assert blocks_of([b"x" * 999] * 3) == [Batch.of("f", 1, [b"x" * 100], truncated=True)]


def test_a_value_that_is_too_long_is_not_buffered() -> None:
    """Past the limit nothing more is kept of a value, however long it is."""
    lines = Lines("f", max_value=1000, kept_of_long=100)
    for _ in range(1_000):
        assert list(lines.feed(b"x" * 1000)) == []
        assert sum(map(len, lines._open)) < PART_BYTES + 1_000
    assert sum(map(len, lines._open)) < 1_000


def test_of_a_damaged_line_the_values_before_the_damage_are_read() -> None:
    """All but the last one, which may be incomplete."""
    lines = Lines("f")
    assert list(lines.feed(EVENT * 3 + b'{"type":')) == []
    assert [position for position, _, _ in told(lines.rescue())] == ["f:1[0]", "f:1[1]", "f:1[2]"]
    assert lines.unfinished == len(b'{"type":')
