"""Makes and writes files that only their owner may read: 0600, in directories of 0700, whatever the umask.

Everything that this program writes can hold names and addresses of customers. A file of the user's that exists keeps
its owner and mode.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
from pathlib import Path

from voucherify_sync.errors import RunStopped, UsageProblem, VoucherifySyncError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DRAFT = ".voucherify-sync-"  # not the target's name, to which nothing could be added where it is as long as can be


def utf8(text: str) -> str:
    """Return a text that can be encoded: the bytes of a file name that are no UTF-8 become U+FFFD."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def write_error(path: Path, error: OSError) -> VoucherifySyncError:
    """Return what a failed write means: a full disk stops the run cleanly, all else the user can correct."""
    message = f"cannot write {utf8(str(path))}: {error.strerror or error}"
    if error.errno in _FULL:
        return RunStopped(message, "Make room, then run the same command again.")
    return UsageProblem(message, "Name one in a directory that exists and that you may write to.")


def make_private_directory(path: Path) -> list[Path]:
    """Make a directory and those above it that are missing, each 0700; return those that were made, the outer first."""
    if path.is_dir():
        return []
    made = make_private_directory(path.parent)
    with contextlib.suppress(FileExistsError):  # another process of ours may have been faster
        path.mkdir(mode=0o700)
        made.append(path)
        path.chmod(0o700)  # a umask such as 0777 would lock ourselves out
        sync_directory(path.parent)
    return made


def sync_directory(path: Path) -> None:
    """Make the names in a directory survive a power cut."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError:  # one that may be written to and not read
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_new(path: Path) -> int:
    """Make a file that must not exist yet, and return its descriptor; a link in its place is not followed."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    os.fchmod(descriptor, 0o600)
    return descriptor


def open_to_append(path: Path) -> int:
    """Open a file that the user named, to add to what it holds; the mode of one that exists stays.

    A link to a file that is not there yet is followed. A named pipe without a reader is an error, not a wait.
    """
    try:
        return open_new(path)
    except FileExistsError:
        pass
    try:
        return _open_existing(path)
    except FileNotFoundError:
        return open_new(Path(os.path.realpath(path)))


def write_all(descriptor: int, data: bytes | bytearray) -> None:
    """Write every byte, however many calls it takes."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def write_new(path: Path, data: bytes) -> None:
    """Write a file that must not exist yet, whole or not at all. Raises OSError."""
    descriptor = open_new(path)
    try:
        write_all(descriptor, data)
    except BaseException:
        path.unlink()
        raise
    finally:
        os.close(descriptor)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that it holds all of the data or its content of before; owner and mode of one that exists stay.

    A device or a pipe is written in place. Raises OSError.
    """
    before = _status(path)
    if before is not None and not _is_replaceable(path, before):
        descriptor = _open_existing(path)
        try:
            write_all(descriptor, data)
        finally:
            os.close(descriptor)
        return
    target = Path(os.path.realpath(path))  # a rename would replace a link, not what it points to
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=_DRAFT)
    draft = Path(name)
    try:
        if before is not None:
            with contextlib.suppress(PermissionError):
                os.fchown(descriptor, before.st_uid, before.st_gid)
        os.fchmod(descriptor, 0o600 if before is None else stat.S_IMODE(before.st_mode))
        write_all(descriptor, data)
        os.fsync(descriptor)
        draft.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise
    finally:
        os.close(descriptor)


def try_to_append(path: Path) -> int | None:
    """Check that `open_to_append` would succeed, and change nothing. Raises OSError.

    Returns:
        The descriptor of a named pipe, else None. Keep it open until the pipe has been written to: its reader would
        take a close for the end of the data.
    """
    before = _status(path)
    if before is None:
        target = Path(os.path.realpath(path))
        os.close(open_new(target))
        target.unlink()
        return None
    if stat.S_ISCHR(before.st_mode) or stat.S_ISBLK(before.st_mode):  # opening one can have an effect: a tape
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return None
    descriptor = _open_existing(path)
    if stat.S_ISFIFO(before.st_mode):
        return descriptor
    os.close(descriptor)
    return None


def try_to_write_whole(path: Path) -> int | None:
    """Check that `write_whole` would succeed, and change nothing; it raises and returns as `try_to_append` does."""
    before = _status(path)
    if before is not None and _is_replaceable(path, before):
        folder = Path(os.path.realpath(path)).parent
        tempfile.NamedTemporaryFile(dir=folder, prefix=_DRAFT).close()
    return try_to_append(path)


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _is_replaceable(path: Path, status: os.stat_result) -> bool:
    """Tell whether a rename can replace a file: not a device, and not a file without a name, as in /dev/fd/63."""
    target = _status(Path(os.path.realpath(path)))
    return stat.S_ISREG(status.st_mode) and target is not None and os.path.samestat(status, target)


def _open_existing(path: Path) -> int:
    """Open a file that exists for writing at its end. A named pipe without a reader raises ENXIO."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    descriptor = os.open(path, flags)
    os.set_blocking(descriptor, True)
    return descriptor
