"""Pipes that are read more than once."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from voucherify_sync.errors import RunStopped, SourceError
from voucherify_sync.sources.discover import STDIN, Source
from voucherify_sync.sources.reader import Reader, Spool
from voucherify_sync.stop import Stop


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where copies are made."""
    spools = tmp_path / "spools"
    spools.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(spools))
    return spools


def piped(data: bytes) -> int:
    """Return the reading end of a pipe that holds these bytes and is closed."""
    reading, writing = os.pipe()
    os.write(writing, data)
    os.close(writing)
    return reading


def read(spool: Spool, stop: Stop | None = None) -> list[tuple[str, int, list[bytes]]]:
    """Read all sources once."""
    return [
        (block.source, block.first_line, block.lines) for block in Reader([], stop or Stop(), spool=spool)
    ]


def test_a_pipe_gives_the_same_lines_each_time(folder: Path) -> None:
    """Under its own name; files beside it are read where they are."""
    file = folder.parent / "a.ndjson"
    file.write_bytes(b"1\n")
    sources = [Source(STDIN, None, None), Source("a.ndjson", file, 2)]
    with Spool(sources, piped(b"x\ny\n")) as spool:
        expected = [("-", 1, [b"x", b"y"]), ("a.ndjson", 1, [b"1"])]
        assert read(spool) == read(spool) == expected
        assert [path.name for path in folder.glob("*/*")] == ["0"]
    assert list(folder.iterdir()) == []


def test_without_a_pipe_nothing_is_copied(folder: Path) -> None:
    """Files can be read again as they are."""
    file = folder.parent / "a.ndjson"
    file.write_bytes(b"1\n")
    with Spool([Source("a.ndjson", file, 2)]) as spool:
        assert read(spool) == [("a.ndjson", 1, [b"1"])]
        assert list(folder.iterdir()) == []


def test_the_copy_is_gone_after_an_error(folder: Path) -> None:
    """A wrong format is told as it is without a copy."""
    with (
        pytest.raises(SourceError, match="standard input"),
        Spool([Source(STDIN, None, None)], piped(b"PAR1" + bytes(100))) as spool,
    ):
        read(spool)
    assert list(folder.iterdir()) == []


def test_a_stop_ends_the_copying(folder: Path) -> None:
    """A pipe that is silent holds nobody up."""
    reading, writing = os.pipe()
    stop = Stop()
    stop.requested = True
    with Spool([Source(STDIN, None, None)], reading) as spool:
        assert read(spool, stop) == []
    os.close(writing)
    os.close(reading)


def test_a_full_disk_stops_the_run_in_order(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the directory and the way out."""
    with Spool([Source(STDIN, None, None)], piped(b"x\n")) as spool:
        folder.chmod(0o700)
        assert spool._folder is not None
        (spool._folder / "0").mkdir()
        with pytest.raises(RunStopped, match="cannot copy") as stopped:
            read(spool)
    assert "TMPDIR" in stopped.value.remedy
