"""Reader: files and pipes become blocks of lines; what is wrong with one source is a fact, and the next goes on."""

from __future__ import annotations

import contextlib
import gzip
import os
import threading
import time
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voucherify_sync.errors import SourceError
from voucherify_sync.events import Batch, Event
from voucherify_sync.exit_codes import ExitCode
from voucherify_sync.run.bulk_run import without_added_lines
from voucherify_sync.sources.decode import decode
from voucherify_sync.sources.discover import Source, find_sources
from voucherify_sync.sources.reader import Reader, SourceFacts, check_gzip
from voucherify_sync.stop import Stop

STDIN = Source("-", None, None)


def lines_of(blocks: list[Batch]) -> list[tuple[str, int, bytes]]:
    """Return source, number and line."""
    return [
        (block.source, number, line)
        for block in blocks
        for number, line in enumerate(block.lines, block.first_line)
    ]


def events(count: int) -> bytes:
    """Return lines of events."""
    return b"".join(b'{"type":"track","messageId":"m%d"}\n' % n for n in range(count))


def read(*files: Path) -> tuple[list[tuple[str, int, bytes]], list[SourceFacts]]:
    """Return the lines and the facts of files; their names are cut to the last part."""
    found = find_sources([str(file) for file in files], stdin_is_terminal=True)
    sources = [Source(Path(s.name).name, s.path, s.size, s.gzipped) for s in found.sources]
    reader = Reader(sources, Stop())
    return lines_of(list(reader)), reader.facts


def put(path: Path, data: bytes) -> Path:
    """Write a file."""
    path.write_bytes(data)
    return path


def test_lines_are_numbered_within_their_source(tmp_path: Path) -> None:
    """A record is found again by file:line."""
    a, b = put(tmp_path / "a", b"1\n\n3"), put(tmp_path / "b", gzip.compress(b"1\r\n2\r\n"))
    lines, facts = read(a, b)
    assert lines == [("a", 1, b"1"), ("a", 2, b""), ("a", 3, b"3"), ("b", 1, b"1"), ("b", 2, b"2")]
    assert facts == [
        SourceFacts("a", 3, 4, is_read=True),
        SourceFacts("b", 2, b.stat().st_size, gzipped=True, is_read=True),
    ]


def test_large_files_come_in_blocks_of_moderate_size(tmp_path: Path) -> None:
    """A block is some hundred KB at most, whatever the file: memory stays flat."""
    data = events(20_000)
    for name, content in (("plain", data), ("packed", gzip.compress(data))):
        blocks = list(Reader([Source(name, put(tmp_path / name, content), len(content))], Stop()))
        assert b"\n".join(line for block in blocks for line in block.lines) + b"\n" == data
        assert max(sum(map(len, block.lines)) for block in blocks) <= 300_000
        assert [b.first_line for b in blocks[1:]] == [b.first_line + len(b.lines) for b in blocks[:-1]]


def test_a_damaged_file_yields_what_precedes_and_the_next_goes_on(tmp_path: Path) -> None:
    """A cut .gz gives every line before the cut; the line that is cut itself is named, not yielded."""
    packed = gzip.compress(events(3000))
    cut = put(tmp_path / "cut.gz", packed[: len(packed) // 2])
    lines, facts = read(cut, put(tmp_path / "b", b"fine\n"))
    assert lines[-1] == ("b", 1, b"fine")
    assert all(line.endswith(b'"}') for _, _, line in lines[:-1])
    assert facts[0].lines == len(lines) - 1 > 1000
    assert facts[0].damaged
    assert f"cut off at byte {len(packed) // 2}" in facts[0].damaged
    assert f"line {len(lines)} is incomplete and was left out" in facts[0].damaged
    assert facts[1].damaged is None


def test_a_cut_at_any_byte_yields_only_whole_lines(tmp_path: Path) -> None:
    """Every complete line before the cut, and between members the last line even without its line end."""
    members = [
        gzip.compress(b"".join(b'{"a":%d}\n' % n for n in range(5)), mtime=0),
        gzip.compress(b'{"b":1}'),
    ]
    data, whole = b"".join(members), [b'{"a":%d}' % n for n in range(5)] + [b'{"b":1}']
    for cut in range(3, len(data) + 1):
        lines, facts = read(put(tmp_path / "x", data[:cut]))
        texts = [line for _, _, line in lines]
        assert texts == whole[: len(texts)], cut
        assert len(texts) == (6 if cut == len(data) else min(len(texts), 5)), cut
        assert (facts[0].damaged is None) == (cut in (len(members[0]), len(data))), cut


def test_an_error_while_reading_damages_only_that_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk error ends one file, not the run."""
    a, b = put(tmp_path / "a", events(20_000)), put(tmp_path / "b", b"fine\n")
    calls = []

    class Failing(FileIO):
        def read(self, size: int | None = -1, /) -> bytes:
            calls.append(size)
            if len(calls) == 3:
                raise OSError(5, "Input/output error")
            return super().read(size) or b""

    monkeypatch.setattr("voucherify_sync.sources.reader.FileIO", Failing)
    lines, facts = read(a, b)
    assert lines[-1] == ("b", 1, b"fine")
    assert str(facts[0].damaged).startswith(
        f"cannot be read at byte {facts[0].bytes}: Input/output error; line "
    )


def test_a_file_that_is_gone_when_its_turn_comes_is_damaged(tmp_path: Path) -> None:
    """Archives are tidied while long runs read them."""
    reader = Reader([Source("gone", tmp_path / "gone", 5)], Stop())
    assert list(reader) == []
    assert reader.facts == [SourceFacts("gone", 0, 0, "cannot be read at byte 0: No such file or directory")]


def test_an_overlong_line_is_one_truncated_block(tmp_path: Path) -> None:
    """Lines over 10 MiB are one invalid record each, and the numbers go on."""
    long = put(tmp_path / "a", b"1\n" + b"x" * (10 * 2**20 + 1) + b"\n3\n")
    blocks = list(Reader([Source("a", long, None)], Stop()))
    assert [(b.first_line, len(b.lines[0]), b.truncated) for b in blocks] == [
        (1, 1, False),
        (2, 64 * 1024, True),
        (3, 1, False),
    ]


def test_a_gzip_bomb_of_one_line_is_one_truncated_block(tmp_path: Path) -> None:
    """50 MB in 50 KB stay small in memory and end as one record."""
    bomb = put(tmp_path / "bomb.gz", gzip.compress(b"x" * 50_000_000, 1))
    (block,) = Reader([Source("bomb.gz", bomb, None)], Stop())
    assert (len(block.lines[0]), block.truncated) == (64 * 1024, True)


@pytest.mark.parametrize("end", [b"", b"\n", b"\n1\n"], ids=["no line end", "a line end", "another line"])
def test_a_line_in_parts_is_one_line(tmp_path: Path, end: bytes) -> None:
    """Its values are numbered through, and its number is that of each part: a second pass reads up to it."""
    text = b'{"type":"track","event":"%b"}' % (b"x" * 1_000) * 2_000
    reader = Reader([Source("a", put(tmp_path / "a", text + end), len(text))], Stop())
    blocks = [(block, reader.facts[0].lines) for block in reader]
    parts = [block for block, _ in blocks if block.first_item is not None]
    assert len(parts) > 3
    assert {block.first_line for block in parts} == {1}
    places = [str(r.position) for block in parts for r in decode(block) if isinstance(r, Event)]
    assert places == [f"a:1[{item}]" for item in range(2_000)]
    lines = 2 if end.endswith(b"1\n") else 1
    assert (blocks[-1][1], reader.facts[0].lines) == (lines, lines)
    again = list(without_added_lines({"a": lines}, iter(block for block, _ in blocks)))
    assert again == [block for block, _ in blocks]


def test_a_stop_ends_the_reading_between_blocks(tmp_path: Path) -> None:
    """No block is read once a stop is requested, and a file that was left early is not damaged."""
    stop = Stop()
    packed = put(tmp_path / "a.gz", gzip.compress(events(50_000)))
    reader = Reader([Source("a.gz", packed, None), Source("b", packed, None)], stop)
    blocks = iter(reader)
    next(blocks)
    stop.by_signal(ExitCode.INTERRUPTED)
    assert list(blocks) == []
    assert [(facts.name, facts.damaged) for facts in reader.facts] == [("a.gz", None)]


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Return the reading and the writing end of a pipe."""
    ends = os.pipe()
    yield ends
    for end in ends:
        with contextlib.suppress(OSError):
            os.close(end)


def test_lines_of_a_pipe_are_handed_on_as_they_come(pipe: tuple[int, int]) -> None:
    """`tail -f | voucherify-sync replay -` delivers a line when it is there, not when a buffer is full."""
    blocks = iter(Reader([STDIN], Stop(), stdin=pipe[0]))
    for number in (1, 2):
        os.write(pipe[1], b'{"type":"track"}\n{"half')
        block = next(blocks)
        assert (block.source, block.first_line) == ("-", number)
        assert block.lines[0].endswith(b'{"type":"track"}')
    os.close(pipe[1])
    assert [block.lines for block in blocks] == [[b'{"half']]


def test_a_stop_is_seen_while_a_pipe_is_silent(pipe: tuple[int, int]) -> None:
    """Ctrl-C does not wait for the next line of a pipe, which never comes here."""
    stop = Stop()
    threading.Timer(0.05, stop.by_signal, [ExitCode.INTERRUPTED]).start()
    assert list(Reader([STDIN], stop, stdin=pipe[0])) == []


def test_gzip_on_a_pipe_is_told_by_its_first_bytes_even_one_by_one(pipe: tuple[int, int]) -> None:
    """A pipe may deliver the two magic bytes apart."""
    reader = Reader([STDIN], Stop(), stdin=pipe[0])
    data = gzip.compress(b"1\n2\n")

    def feed() -> None:
        for at in range(3):
            os.write(pipe[1], data[at : at + 1])
            time.sleep(0.01)
        os.write(pipe[1], data[3:-1])
        os.close(pipe[1])

    threading.Thread(target=feed).start()
    assert lines_of(list(reader)) == [("-", 1, b"1"), ("-", 2, b"2")]
    assert reader.facts == [
        SourceFacts(
            "-",
            2,
            len(data) - 1,
            f"cut off at byte {len(data) - 1}, inside the compressed data",
            gzipped=True,
        )
    ]


@pytest.mark.parametrize(
    ("data", "remedy"),
    [(b"PAR1....", "newline-delimited"), (b'{\n  "type": "track"\n}\n', "jq -c . ")],
    ids=["Parquet", "pretty JSON"],
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_a_wrong_format_on_stdin_is_refused(
    pipe: tuple[int, int], data: bytes, remedy: str, pack: type[bytes]
) -> None:
    """What is certainly no stream of events stops the run before its first record."""
    os.write(pipe[1], pack(data))
    os.close(pipe[1])
    with pytest.raises(SourceError, match="standard input: this is") as caught:
        list(Reader([STDIN], Stop(), stdin=pipe[0]))
    assert remedy in caught.value.remedy


def test_stdin_may_be_a_file_read_in_part(tmp_path: Path) -> None:
    """`{ read first; voucherify-sync replay; } < file` goes on where the other stopped; a damage is rescued there."""
    packed = bytearray(gzip.compress(events(500)))
    packed[-7] ^= 4  # in the checksum: isal then drops what the last step produced
    with put(tmp_path / "a", b"head\n" + packed).open("rb", buffering=0) as file:
        file.seek(5)
        reader = Reader([STDIN], Stop(), stdin=file.fileno())
        assert len(lines_of(list(reader))) == 500
        assert reader.facts[0].damaged
        assert not file.closed


def test_checking_finds_flipped_bits_before_a_run(tmp_path: Path) -> None:
    """A flipped bit can yield plausible wrong events: the checksums are verified first."""
    packed = bytearray(gzip.compress(events(1000)))
    sound = put(tmp_path / "sound.gz", bytes(packed) + gzip.compress(b"last line"))
    packed[-7] ^= 4
    flipped, plain = put(tmp_path / "flipped.gz", bytes(packed)), put(tmp_path / "plain.json", events(1))
    found = find_sources([str(sound), str(flipped), str(plain)], stdin_is_terminal=True)
    facts = check_gzip([*found.sources, STDIN], Stop())
    assert [(Path(f.name).name, f.damaged is None) for f in facts] == [
        ("sound.gz", True),
        ("flipped.gz", False),
    ]
    assert (facts[0].lines, facts[0].bytes) == (1001, sound.stat().st_size)


def test_checking_stops_when_the_run_stops(tmp_path: Path) -> None:
    """The check of a large archive can be interrupted, too."""
    stop = Stop()
    stop.by_signal(ExitCode.INTERRUPTED)
    packed = put(tmp_path / "a.gz", gzip.compress(b"x"))
    assert check_gzip([Source("a.gz", packed, 1, gzipped=True)], stop) == []


@given(data=st.binary(max_size=300), packed=st.booleans(), cut=st.integers(0, 20))
@settings(max_examples=150)
def test_no_bytes_raise_out_of_reading_and_decoding(
    tmp_path: Path, data: bytes, packed: bool, cut: int
) -> None:
    """Arbitrary bytes become records, invalid ones or damages, never an exception."""
    content = gzip.compress(data)[: -cut or None] if packed else data
    path = put(tmp_path / "any", content)
    for block in Reader([Source("any", path, len(content))], Stop()):
        for record in decode(block):
            assert record is not None
