"""The file of a ledger, seen from outside: where it is, and whether it can be used. It never looks inside one.

While a ledger is open, nothing here opens its file: closing another descriptor of it would drop SQLite's locks.
"""

from __future__ import annotations

import os
import pwd
import re
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from voucherify_sync.bookkeeping.private import make_private_directory, trouble
from voucherify_sync.bookkeeping.project import ProjectIdentity
from voucherify_sync.errors import RunStopped, UsageProblem, VoucherifySyncError
from voucherify_sync.home import state_directory

ELSEWHERE: Final = "Another ledger is no help: it would know nothing of what was sent."
SUFFIXES: Final = ("", "-wal", "-shm", ".lock")
"""What is added to the name of a ledger: of the ledger itself, of SQLite's two files, and of the lock."""

_NETWORK: Final = {
    *(
        "nfs",
        "nfs4",
        "cifs",
        "smb2",
        "smb3",
        "smbfs",
        "afs",
        "ceph",
        "glusterfs",
        "lustre",
        "gpfs",
        "beegfs",
        "9p",
    ),
    *("davfs", "fuse.davfs2", "fuse.sshfs", "fuse.s3fs", "fuse.gcsfuse", "fuse.goofys", "fuse.rclone"),
    *("fuse.glusterfs", "fuse.ceph", "fuse.mount-s3", "fuse.blobfuse2"),
}
"""File systems on which SQLite's write-ahead log does not work, or that several machines can mount."""
_MOUNTS: Final = Path("/proc/self/mountinfo")


def default_path(identity: ProjectIdentity) -> Path:
    """Return a path in the state directory that no ledger has yet."""
    host = re.sub(r"[^a-z0-9.-]", "_", urlsplit(identity.origin).netloc)
    path = state_directory() / f"{host}-{identity.key}.ledger"
    number = 2
    while bytes_in(path):
        path = path.with_name(f"{host}-{identity.key}-{number}.ledger")
        number += 1
    return path


def bytes_in(path: Path) -> int:
    """Return the size of a ledger without opening it, 0 if there is none.

    Raises:
        UsageProblem: what has its name is a link or no file, has a second name, or may not be looked at.
    """
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except OSError as error:
        raise cannot_open(path, error.strerror or str(error)) from error
    if stat.S_ISLNK(status.st_mode):
        target = os.path.realpath(path)
        raise UsageProblem(f"the ledger {path} is a symbolic link.", f"Name the file itself: {target}")
    if not stat.S_ISREG(status.st_mode):
        raise UsageProblem(f"the ledger {path} is no regular file.", "Name a file.")
    if status.st_nlink > 1:
        raise UsageProblem(
            f"the ledger {path} has a second name (a hard link), so that two runs could use it at once.",
            f"Find it with `find / -samefile {path}` and remove one of the names.",
        )
    return status.st_size


def cannot_open(path: Path, reason: str) -> UsageProblem:
    """Say why a ledger that exists cannot be opened, as far as owner, mode and file system tell it."""
    remedy = f"Make {path} and its directory readable and writable for this user. {ELSEWHERE}"
    try:
        status = path.lstat()
    except OSError:
        return UsageProblem(f"cannot open the ledger {path}: {reason}.", remedy)
    if os.geteuid() not in (0, status.st_uid):
        remedy = f"Run as {_user(status.st_uid)}, to whom it belongs, or change its owner. {ELSEWHERE}"
    elif not _may(path, os.R_OK | os.W_OK):
        reason = "read-only file system" if _is_read_only(path) else reason
        remedy = f"Its mode is {stat.S_IMODE(status.st_mode):04o}: `chmod 600 {path}`. {ELSEWHERE}"
        if _is_read_only(path):
            remedy = f"Mount the file system so that it can be written to. {ELSEWHERE}"
    elif not _may(path.parent, os.W_OK):
        remedy = f"SQLite writes beside it: make {path.parent} writable for this user. {ELSEWHERE}"
    return UsageProblem(f"cannot open the ledger {path}: {reason}.", remedy)


def refuse_network(path: Path) -> None:
    """Raise UsageProblem where the ledger would be on a network file system, as far as Linux tells it."""
    kind = _file_system(path)
    if kind in _NETWORK:
        raise UsageProblem(
            f"the ledger {path} is on a network file system ({kind}), where it could be damaged.",
            "Keep it on a local disk: move it there if it exists, and name it with --ledger or delivery.ledger.",
        )


def make_directory(path: Path) -> list[Path]:
    """Make the directory of a ledger and what is missing above it, for its owner only; return what was made.

    Raises:
        UsageProblem: it cannot be made.
        RunStopped: the disk is full.
    """
    try:
        return make_private_directory(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error


def remove(path: Path, made: Sequence[Path]) -> None:
    """Remove a ledger that is closed, what lies beside it, and the directories made for it; the caller has its lock."""
    for suffix in SUFFIXES:
        with suppress(OSError):
            path.with_name(f"{path.name}{suffix}").unlink()
    for directory in reversed(made):
        with suppress(OSError):  # there is something else in it by now
            directory.rmdir()


def cannot_write(path: Path, error: OSError) -> VoucherifySyncError:
    """Return what it means that a ledger or its lock cannot be made."""
    problem = trouble(path, error)
    if isinstance(problem, RunStopped):
        return problem
    return UsageProblem(
        problem.message,
        f"Make its directory writable for this user, or name another with --ledger. {ELSEWHERE}",
    )


def _may(path: Path, mode: int) -> bool:
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def _user(uid: int) -> str:
    try:
        return f"the user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"the user {uid}"


def _is_read_only(path: Path) -> bool:
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def _file_system(path: Path) -> str | None:
    """Return the type of the file system that a path is on, None where the system does not tell it."""
    try:
        mounts = _MOUNTS.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return None
    place, found = os.path.realpath(path), ("", "")
    for line in mounts:
        left, _, right = line.partition(" - ")
        point = left.split(" ")[4].encode().decode("unicode_escape")
        if (place == point or place.startswith(point.rstrip("/") + "/")) and len(point) >= len(found[0]):
            found = (point, right.split(" ")[0])
    return found[1] or None
