"""Files that only their owner reads: their modes, what is written in place, and trying without a trace."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from voucherify_sync.state.private_files import (
    make_private_directory,
    open_new,
    open_to_append,
    try_to_append,
    try_to_write_whole,
    write_all,
    write_new,
    write_whole,
)

Write = Callable[[Path, bytes], None]


def added(path: Path, data: bytes) -> None:
    """Add to a file, as dead letters and logs do."""
    descriptor = open_to_append(path)
    write_all(descriptor, data)
    os.close(descriptor)


def mode(path: Path) -> int:
    """Return the permissions of a path."""
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[0o000, 0o022, 0o777], ids=["umask-000", "umask-022", "umask-777"])
def _umask(request: pytest.FixtureRequest) -> Iterator[None]:
    """Set every umask that a user or a service may have."""
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.usefixtures("_umask")
@pytest.mark.parametrize("write", [added, write_new, write_whole])
def test_what_is_new_is_for_its_owner_only(tmp_path: Path, write: Write) -> None:
    """0600 in directories 0700, whatever the umask."""
    folder = tmp_path / "one" / "two"
    make_private_directory(folder)
    write(folder / "file", b"data")
    assert mode(folder / "file") == 0o600
    assert mode(folder) == mode(folder.parent) == 0o700
    assert [each.name for each in folder.iterdir()] == ["file"]


@pytest.mark.usefixtures("_umask")
@pytest.mark.parametrize("write", [added, write_whole])
@pytest.mark.parametrize("before", [0o644, 0o640, 0o666, 0o600])
def test_a_file_of_the_users_keeps_its_mode(tmp_path: Path, write: Write, before: int) -> None:
    """A page that a web server reads stays readable for it."""
    path = tmp_path / "file"
    path.touch()
    path.chmod(before)
    write(path, b"data")
    assert path.read_bytes() == b"data"
    assert mode(path) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_of_another_user_stays_theirs(tmp_path: Path) -> None:
    """A run of root's does not take a report away from its reader."""
    path = tmp_path / "file"
    path.touch()
    os.chown(path, 1, 2)
    write_whole(path, b"data")
    assert (path.stat().st_uid, path.stat().st_gid) == (1, 2)


@pytest.mark.parametrize("write", [added, write_whole])
@pytest.mark.parametrize("there", [True, False], ids=["there", "not yet"])
def test_a_link_is_written_through(tmp_path: Path, write: Write, there: bool) -> None:
    """It may lead to a file that is not there yet."""
    target, link = tmp_path / "target", tmp_path / "link"
    if there:
        target.touch()
    link.symlink_to(target)
    write(link, b"data")
    assert link.is_symlink()
    assert target.read_bytes() == b"data"


@pytest.mark.parametrize("write", [added, write_new, write_whole])
def test_a_name_may_be_as_long_as_the_file_system_allows(tmp_path: Path, write: Write) -> None:
    """No name of ours that is derived from it is longer."""
    path = tmp_path / ("n" * 255)
    write(path, b"data")
    assert path.read_bytes() == b"data"


@pytest.mark.parametrize("write", [added, write_whole])
def test_a_pipe_is_written_to_under_its_descriptor(write: Write) -> None:
    """`>(…)` of a shell is such a path."""
    reading, writing = os.pipe()
    write(Path(f"/dev/fd/{writing}"), b"data")
    os.close(writing)
    with open(reading, "rb") as pipe:
        assert pipe.read() == b"data"


@pytest.mark.parametrize("write", [added, write_whole])
def test_a_file_without_a_name_is_written_to_under_its_descriptor(tmp_path: Path, write: Write) -> None:
    """A rename would make a file of an odd name, and leave this one as it is."""
    path = tmp_path / "file"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    path.unlink()
    write(Path(f"/dev/fd/{descriptor}"), b"data")
    assert os.pread(descriptor, 9, 0) == b"data"
    os.close(descriptor)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("use", [open_to_append, lambda path: write_whole(path, b""), try_to_append])
def test_a_named_pipe_without_a_reader_is_an_error_and_no_wait(
    tmp_path: Path, use: Callable[[Path], object]
) -> None:
    """Its reader may have gone in the hours of a run."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError) as caught:
        use(tmp_path / "pipe")
    assert caught.value.errno == errno.ENXIO


@pytest.mark.parametrize("write", [write_new, write_whole])
def test_nothing_half_written_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Write) -> None:
    """A full disk leaves no file that looks finished."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path / "file", b"data")
    assert list(tmp_path.iterdir()) == []


TRIES = [pytest.param(try_to_append, id="append"), pytest.param(try_to_write_whole, id="whole")]
Try = Callable[[Path], int | None]


def picture(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return what is in a folder: names, inodes, times and contents."""
    return {
        path.name: (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.iterdir()
        if path.is_file()
    }


@pytest.mark.parametrize("attempt", TRIES)
@pytest.mark.parametrize("name", ["new", "old", "link", "dangling", "n" * 255])
def test_an_attempt_leaves_no_trace(tmp_path: Path, attempt: Try, name: str) -> None:
    """No file, no byte, no other time of a file that is there."""
    (tmp_path / "old").write_text("what was there")
    (tmp_path / "link").symlink_to("old")
    (tmp_path / "dangling").symlink_to("nothing")
    before = picture(tmp_path)
    assert attempt(tmp_path / name) is None
    assert picture(tmp_path) == before
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("attempt", TRIES)
@pytest.mark.parametrize("device", ["/dev/full", "/dev/null"])
def test_an_attempt_at_a_device_succeeds(attempt: Try, device: str) -> None:
    """Whether it has room is seen when something is written."""
    assert attempt(Path(device)) is None


@pytest.mark.parametrize("attempt", TRIES)
@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("nowhere/file", errno.ENOENT),
        ("file/file", errno.ENOTDIR),
        ("folder", errno.EISDIR),
        ("pipe", errno.ENXIO),
        ("n" * 256, errno.ENAMETOOLONG),
    ],
)
def test_an_attempt_at_what_cannot_be_written_raises(
    tmp_path: Path, attempt: Try, name: str, number: int
) -> None:
    """Each with the error that writing would meet."""
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    before = picture(tmp_path)
    with pytest.raises(OSError) as caught:
        attempt(tmp_path / name)
    assert caught.value.errno == number
    assert picture(tmp_path) == before


@pytest.mark.parametrize("attempt", TRIES)
def test_a_reader_of_a_named_pipe_is_not_lost_by_an_attempt(tmp_path: Path, attempt: Try) -> None:
    """What it is given later is the first that it reads: the descriptor of the attempt keeps the pipe open."""
    pipe, read = tmp_path / "pipe", list[bytes]()
    os.mkfifo(pipe)
    opening = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(opening, True)
    held = attempt(pipe)
    assert held is not None
    reader = threading.Thread(target=lambda: read.append(os.read(opening, 9)))
    reader.start()
    write_whole(pipe, b"data")
    reader.join()
    os.close(held)
    os.close(opening)
    assert read == [b"data"]


def test_a_new_file_is_never_one_that_is_there(tmp_path: Path) -> None:
    """Neither a file nor a link."""
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nothing")
    for name in ("file", "link"):
        with pytest.raises(FileExistsError):
            open_new(tmp_path / name)
