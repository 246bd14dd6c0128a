"""Which Voucherify project a ledger belongs to: the pairs of address and Application ID by which it was used.

The file of a ledger, seen from outside: where it is, and whether it can be used. It never looks inside one.

While a ledger is open, nothing here opens its file: closing another descriptor of it would drop SQLite's locks.

One run at a time on a ledger, and always on the file that it opened.

The lock is the kernel's (flock), so it ends with its process, however that ends. The file of the lock stays.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import re
import socket
import stat
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

from msgspec import Struct

from voucherify_sync.errors import RunStopped, UsageProblem, VoucherifySyncError
from voucherify_sync.settings.environment import state_directory
from voucherify_sync.state.private_files import make_private_directory, trouble, write_all

SANDBOX_KEY: Final = "sandbox-"
"""Application IDs that a sandbox made begin so: what it is sent says nothing about any project."""

_HASH_DIGITS: Final = 12
_DEFAULT_PORTS: Final = {"https": 443, "http": 80}
_THIS_MACHINE: Final = {"localhost", "127.0.0.1", "::1"}


class ProjectIdentity(Struct, frozen=True):
    """One address and Application ID by which a project is known.

    Attributes:
        origin: scheme, host and port of the API, as `origin_of` returns them.
        key: hexadecimal digits that stand for the Application ID and do not tell it.
        is_sandbox: a sandbox made the Application ID.
    """

    origin: str
    key: str
    is_sandbox: bool = False

    @classmethod
    def of(cls, url: str, app_id: str) -> Self:
        """Return the identity of an API URL and an Application ID."""
        key = blake2b(app_id.encode(), digest_size=_HASH_DIGITS // 2).hexdigest()
        return cls(origin_of(url), key, app_id.startswith(SANDBOX_KEY))

    def __str__(self) -> str:
        return f"{self.origin} with the key {self.key}"


def origin_of(url: str) -> str:
    """Return scheme, lower-case host and port of a URL, the port only where it is not the scheme's own.

    ``localhost``, ``127.0.0.1`` and ``[::1]`` are one host. The path does not count.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in _THIS_MACHINE:
        host = "localhost"
    elif ":" in host:
        host = f"[{host}]"
    port = "" if parts.port in (None, _DEFAULT_PORTS.get(parts.scheme)) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"


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


_HOLDER_BYTES = 300
_PATIENCE_S = 0.5


class LedgerLock:
    """The right to write to a ledger, held until it is released or the process ends.

    Attributes:
        is_lost: the path names another file, or none, by now.
    """

    def __init__(self, ledger: Path) -> None:
        """Take the lock. `status` may hold it for a moment, so it is tried for half a second.

        Raises:
            RunStopped: another run holds it; the message says which.
            UsageProblem: the lock's file cannot be opened or locked.
        """
        self.is_lost = False
        self._ledger = ledger
        self._file: tuple[int, int] | None = None
        self._descriptor = _lock(ledger)
        self._write_holder()

    def hold(self) -> None:
        """Note which file the ledger is, now that it is open."""
        self._file = _identity(self._ledger)

    def problem(self) -> VoucherifySyncError | None:
        """Tell what is wrong with the place of the ledger by now, None if nothing is.

        The lock is taken again if its file was removed, since the next run would make another one.
        """
        try:
            if _identity(self._ledger) != self._file:
                self.is_lost = True
            else:
                bytes_in(self._ledger)  # it has not got a second name
            if _identity(_path_for(self._ledger)) != _status(os.fstat(self._descriptor)):
                gone, self._descriptor = self._descriptor, _lock(self._ledger)
                os.close(gone)
                self._write_holder()
        except VoucherifySyncError as error:
            return error
        except OSError:  # it cannot be looked at just now, which says nothing
            return None
        if self.is_lost:
            return UsageProblem(f"the ledger {self._ledger} was removed or replaced while the run used it.")
        return None

    def release(self) -> None:
        """Let the next run in."""
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)

    def _write_holder(self) -> None:
        since = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        with contextlib.suppress(OSError):  # a help for people; the lock holds without it
            os.fchmod(self._descriptor, 0o600)
            os.ftruncate(self._descriptor, 0)
            write_all(
                self._descriptor, f"process {os.getpid()} on {socket.gethostname()} since {since}".encode()
            )


def holder_of(ledger: Path) -> str | None:
    """Say who holds the lock of a ledger, None if nobody does."""
    try:
        descriptor = os.open(_path_for(ledger), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read_holder(descriptor) or "another process"
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return None


def _lock(ledger: Path) -> int:
    """Open the file of the lock and lock it; return its descriptor."""
    path = _path_for(ledger)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise cannot_write(path, error) from error
    last_try = time.monotonic() + _PATIENCE_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if isinstance(error, BlockingIOError) and time.monotonic() < last_try:
                time.sleep(0.02)
                continue
            holder = _read_holder(descriptor)
            os.close(descriptor)
            raise _refusal(ledger, holder, error) from error
        return descriptor


def _identity(path: Path) -> tuple[int, int] | None:
    """Return by what a file is known whatever its name, None if there is none."""
    try:
        return _status(path.lstat())
    except (FileNotFoundError, NotADirectoryError):
        return None


def _status(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _path_for(ledger: Path) -> Path:
    return ledger.with_name(f"{ledger.name}.lock")


def _read_holder(descriptor: int) -> str:
    text = os.pread(descriptor, _HOLDER_BYTES, 0).decode(errors="replace")
    return "".join(filter(str.isprintable, text))


def _refusal(ledger: Path, holder: str, error: OSError) -> VoucherifySyncError:
    if not isinstance(error, BlockingIOError):
        return cannot_write(ledger, error)
    return RunStopped(
        f"another run holds the ledger {ledger}: {holder or 'it does not say which'}.",
        "Wait until it has ended, or stop it; then the same command goes on.",
    )
