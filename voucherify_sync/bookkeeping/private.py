"""Files that only their owner reads: made 0600, in directories made 0700, whatever the umask.

Comes in: a path. Goes out: an open descriptor or a finished file, or an error that says what to do about it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
from pathlib import Path

from voucherify_sync.errors import RunStopped, UsageProblem, VoucherifySyncError

_FULL = {errno.ENOSPC, errno.EDQUOT}


def utf8(text: str) -> str:
    """Return a text that can be encoded: the bytes of a file name that are no UTF-8 become U+FFFD."""
    return (
        text.encode("utf-8", "surrogateescape").decode("utf-8", "replace") if _has_surrogates(text) else text
    )


def _has_surrogates(text: str) -> bool:
    return not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)


def trouble(path: Path, error: OSError) -> VoucherifySyncError:
    """Return what a failed write means: a full disk stops the run in order, all else the user can mend."""
    message = f"cannot write {utf8(str(path))}: {error.strerror or error}"
    if error.errno in _FULL:
        return RunStopped(message, "Make room, then run the same command again.")
    return UsageProblem(message, "Name a file in a directory that exists and that you may write to.")


def make_private_directory(path: Path) -> None:
    """Make a directory and those above it that are missing, each 0700; one that exists is left as it is."""
    if path.is_dir():
        return
    make_private_directory(path.parent)
    with contextlib.suppress(FileExistsError):  # another process of ours may have been faster
        path.mkdir(mode=0o700)
        path.chmod(0o700)  # a umask such as 0777 would lock ourselves out


def open_new(path: Path) -> int:
    """Make a file that must not exist yet, and return its descriptor; a link in its place is not followed."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    os.fchmod(descriptor, 0o600)
    return descriptor


def open_to_append(path: Path) -> int:
    """Open a file that the user named, to add to what it holds; the mode of one that exists stays."""
    try:
        return open_new(path)
    except FileExistsError:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)


def write_all(descriptor: int, data: bytes | bytearray) -> None:
    """Write every byte, however many calls it takes."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that it holds all of the data or what it held before; a device is written in place.

    Raises OSError.
    """
    path = Path(os.path.realpath(path))  # a rename would replace a link, not what it points to
    if path.exists() and not path.is_file():
        _write_in_place(path, data)
        return
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        os.fchmod(descriptor, 0o600)
        write_all(descriptor, data)
        os.fsync(descriptor)
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
    finally:
        os.close(descriptor)


def _write_in_place(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        write_all(descriptor, data)
    finally:
        os.close(descriptor)


def sync(descriptor: int) -> None:
    """Make what was written survive a power cut, where the descriptor is a file."""
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.fsync(descriptor)
