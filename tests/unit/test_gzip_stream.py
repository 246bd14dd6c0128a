"""Gunzip: everything before a damage comes out, in bounded pieces."""

from __future__ import annotations

import gzip
import random
import zlib
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voucherify_sync.sources.gzip_stream import STEP_BYTES, DamageError, Gunzip, first_bytes


def pieces_of(data: bytes, size: int = 1000) -> Iterator[bytes]:
    """Cut data as a reader does."""
    return (data[at : at + size] for at in range(0, len(data), size))


def read(data: bytes, *, size: int = 1000, seekable: bool = True) -> tuple[bytes, str | None]:
    """Return all text that comes out, and the damage."""
    out = []
    try:
        for text in Gunzip(pieces_of(data, size), (lambda at: pieces_of(data[at:])) if seekable else None):
            out.append(text)
    except DamageError as damage:
        return b"".join(out), str(damage)
    return b"".join(out), None


def zlib_reads(data: bytes) -> bytes:
    """Return what the standard library gets out of a stream, member by member, before it ends or fails."""
    out = b""
    while data:
        member = zlib.decompressobj(31)
        for at in range(len(data)):
            try:
                out += member.decompress(data[at : at + 1])
            except zlib.error:
                return out
            if member.eof:
                data = data[at + 1 :]
                break
        else:
            return out
    return out


def words(count: int, seed: int = 1) -> bytes:
    """Return lines that compress moderately."""
    rng = random.Random(seed)
    return b"\n".join(b'{"n":%d}' % rng.getrandbits(40) for _ in range(count)) + b"\n"


THREE = b"".join(gzip.compress(words(12, seed), mtime=0) for seed in range(3))


def test_members_are_read_one_after_the_other() -> None:
    """A file may be several gzip members glued together."""
    assert read(THREE) == (words(12, 0) + words(12, 1) + words(12, 2), None)


def test_a_cut_at_any_byte_yields_what_zlib_yields() -> None:
    """Every byte that the standard library gets out before the cut comes out; the cut is named but between members."""
    ends = [0, *(len(b"".join(gzip.compress(words(12, s), mtime=0) for s in range(n))) for n in (1, 2, 3))]
    for cut in range(len(THREE) + 1):
        text, damage = read(THREE[:cut], size=7)
        assert text == zlib_reads(THREE[:cut]), cut
        assert (damage is None) == (cut in ends), cut
        assert damage is None or "cut off" in damage


def test_a_pipe_that_is_cut_loses_only_the_last_symbols() -> None:
    """Without a way to read again, what isal holds back is lost, and no more."""
    data = gzip.compress(words(5000))
    text, damage = read(data[: len(data) // 2], seekable=False)
    whole = zlib_reads(data[: len(data) // 2])
    assert damage
    assert whole.startswith(text)
    assert len(whole) - len(text) < 100


@given(size=st.integers(1, 400), cut=st.integers(0, len(THREE)))
@settings(max_examples=60)
def test_pieces_of_any_size_give_the_same_text(size: int, cut: int) -> None:
    """Where the stream is cut for reading changes nothing."""
    assert read(THREE[:cut], size=size) == read(THREE[:cut])


def test_a_wrong_checksum_is_named_and_all_text_comes_out() -> None:
    """The checksum comes after the text: a flipped bit in it loses nothing."""
    data = bytearray(gzip.compress(words(3000)))
    data[-6] ^= 1
    text, damage = read(bytes(data))
    assert text == words(3000)
    assert damage
    assert "wrong bytes near byte" in damage


@pytest.mark.parametrize("place", [0.1, 0.5, 0.9])
def test_all_text_before_a_broken_place_comes_out(place: float) -> None:
    """Isal drops what the failing step produced; it is got out again."""
    data = bytearray(gzip.compress(words(3000)))
    at = int(len(data) * place)
    data[at : at + 40] = bytes(40)
    text, damage = read(bytes(data))
    assert damage
    assert text == zlib_reads(bytes(data)) or text.startswith(zlib_reads(bytes(data)))
    assert len(text) > 0.8 * place * len(words(3000))


@pytest.mark.parametrize(
    ("tail", "damage"),
    [
        pytest.param(b"", None, id="nothing"),
        pytest.param(bytes(3000), None, id="zeros"),
        pytest.param(b"garbage", "not gzip", id="garbage"),
        pytest.param(bytes(2000) + b"garbage", "not gzip", id="garbage after zeros"),
        pytest.param(b"\x1f", "cut off", id="half a magic number"),
        pytest.param(b"\x1f\x8b", "cut off", id="a magic number alone"),
        pytest.param(b"\x1f\x8bgarbage and more of it", "wrong bytes", id="a header that is none"),
    ],
)
@pytest.mark.parametrize("size", [1, 1000])
def test_what_follows_the_last_member_loses_nothing(tail: bytes, damage: str | None, size: int) -> None:
    """Zeros are padding, anything else is a damage; the text before it is whole."""
    text, found = read(gzip.compress(words(10)) + tail, size=size)
    assert text == words(10)
    assert (found is None) if damage is None else (found is not None and damage in found)


def test_a_member_after_padding_is_read() -> None:
    """Zeros between members are padding, too."""
    assert read(gzip.compress(b"a\n") + bytes(50) + gzip.compress(b"b\n")) == (b"a\nb\n", None)


def test_a_bomb_comes_out_in_bounded_steps() -> None:
    """20 MB of zeros in 20 KB: no piece is larger than a step."""
    bomb = gzip.compress(bytes(20_000_000))
    sizes = [len(text) for text in Gunzip(iter([bomb]))]
    assert sum(sizes) == 20_000_000
    assert max(sizes) <= STEP_BYTES


@given(data=st.binary(max_size=200))
@settings(max_examples=200)
def test_no_bytes_raise_anything_but_a_damage(data: bytes) -> None:
    """Any bytes after a magic number either decompress or are a damage."""
    read(b"\x1f\x8b" + data, size=16)
    read(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03" + data, size=16)


def test_first_bytes_of_a_head_are_bounded_and_never_raise() -> None:
    """Recognising a format needs the first text bytes only, of whatever is there."""
    data = gzip.compress(words(3000))
    assert first_bytes(data[:2000], 100) == words(3000)[:100]
    assert first_bytes(b"\x1f\x8bgarbage", 100) == b""
