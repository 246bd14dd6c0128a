"""The file of a ledger, seen from outside: whose it is, where it is, whether it can be used, and who uses it.

It never looks inside a ledger. While one is open, nothing here opens its file: closing another descriptor of it would
drop SQLite's locks.

One run at a time uses a ledger. The lock is the kernel's (flock) on a file beside the ledger, so it ends with its
process, however that ends. The file of the lock stays.
"""

from __future__ import annotations

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
from voucherify_sync.state.private_files import make_private_directory, write_all, write_error

ELSEWHERE: Final = "Another ledger is no help: it would know nothing of what was sent."
SUFFIXES: Final = ("", "-wal", "-shm", ".lock")
"""What is added to the name of a ledger: of the ledger itself, of SQLite's two files, and of the lock."""

_SANDBOX_KEY: Final = "sandbox-"
_HASH_DIGITS: Final = 12
_DEFAULT_PORTS: Final = {"https": 443, "http": 80}
_THIS_MACHINE: Final = {"localhost", "127.0.0.1", "::1"}
_NETWORK: Final = re.compile(
    r"nfs4?|cifs|smb[23]|smbfs|afs|ceph|glusterfs|lustre|gpfs|beegfs|9p|davfs|"
    r"fuse\.(davfs2|sshfs|s3fs|gcsfuse|goofys|rclone|glusterfs|ceph|mount-s3|blobfuse2)"
)
"""File systems on which SQLite's write-ahead log does not work, or that several machines can mount."""
_MOUNTS: Final = Path("/proc/self/mountinfo")
_HOLDER_BYTES: Final = 300
_LOCK_TIMEOUT_S: Final = 0.5


class ProjectIdentity(Struct, frozen=True):
    """One address and Application ID by which a project is known.

    Attributes:
        origin: scheme, host and port of the API, as `origin_of` returns them.
        key: hexadecimal digits that stand for the Application ID and do not tell it.
        is_sandbox: a sandbox made the Application ID: what it is sent says nothing about any project.
    """

    origin: str
    key: str
    is_sandbox: bool = False

    @classmethod
    def of(cls, url: str, app_id: str) -> Self:
        """Return the identity of an API URL and an Application ID."""
        key = blake2b(app_id.encode(), digest_size=_HASH_DIGITS // 2).hexdigest()
        origin = origin_of(url)
        is_sandbox = app_id.startswith(_SANDBOX_KEY) and not origin.endswith("voucherify.io")
        return cls(origin, key, is_sandbox)

    def is_among(self, identities: Sequence[ProjectIdentity]) -> bool:
        """Tell whether it is one of those by which a ledger was used."""
        return any((self.origin, self.key) == (each.origin, each.key) for each in identities)

    def __str__(self) -> str:
        return f"{self.origin} with this Application ID"


def describe(known: Sequence[ProjectIdentity], own: ProjectIdentity | None) -> str:
    """Name the identities of a ledger as seen from a command: digits that stand for an Application ID say nothing.

    Args:
        known: by which the ledger was used.
        own: of the command; None where its Application ID is not known.
    """
    if own is None:
        names = [each.origin for each in known]
    else:
        names = [
            str(each) if each.key == own.key else f"{each.origin} with another Application ID"
            for each in known
        ]
    return " and ".join(dict.fromkeys(names))


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
    remedy = f"Make {path} and its directory readable and writable for this user."
    try:
        status = path.lstat()
    except OSError:
        return UsageProblem(f"cannot open the ledger {path}: {reason}.", f"{remedy} {ELSEWHERE}")
    if os.geteuid() not in (0, status.st_uid):
        try:
            owner = f"the user {pwd.getpwuid(status.st_uid).pw_name}"
        except KeyError:
            owner = f"the user {status.st_uid}"
        remedy = f"Run as {owner}, to whom it belongs, or change its owner."
    elif not _may(path, os.R_OK | os.W_OK):
        remedy = f"Its mode is {stat.S_IMODE(status.st_mode):04o}: `chmod 600 {path}`."
        if os.statvfs(path).f_flag & os.ST_RDONLY:
            reason = "read-only file system"
            remedy = "Mount the file system so that it can be written to."
    elif not _may(path.parent, os.W_OK):
        remedy = f"SQLite writes beside it: make {path.parent} writable for this user."
    return UsageProblem(f"cannot open the ledger {path}: {reason}.", f"{remedy} {ELSEWHERE}")


def _may(path: Path, mode: int) -> bool:
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def refuse_network(path: Path) -> None:
    """Raise UsageProblem where the ledger would be on a network file system, as far as Linux tells it."""
    try:
        mounts = _MOUNTS.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return
    real_path, best_point, kind = os.path.realpath(path), "", ""
    for line in mounts:
        left, _, right = line.partition(" - ")
        point = left.split(" ")[4].encode().decode("unicode_escape")  # a space in it is \040
        is_above = real_path == point or real_path.startswith(point.rstrip("/") + "/")
        if is_above and len(point) >= len(best_point):  # the innermost mount counts, and the last one there
            best_point, kind = point, right.split(" ")[0]
    if _NETWORK.fullmatch(kind):
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
    problem = write_error(path, error)
    if isinstance(problem, UsageProblem):
        problem.remedy = (
            f"Make its directory writable for this user, or name another with --ledger. {ELSEWHERE}"
        )
    return problem


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

    def remember_file(self) -> None:
        """Remember which file the ledger is, now that it is open, for `check_path`."""
        self._file = _device_and_inode(self._ledger)

    def check_path(self) -> VoucherifySyncError | None:
        """Return what is wrong if the path no longer names the ledger that was opened; None if all is well.

        The lock is taken again if its file was removed, since the next run would make another one.
        """
        try:
            if _device_and_inode(self._ledger) != self._file:
                self.is_lost = True
            else:
                bytes_in(self._ledger)  # it has not got a second name
            status = os.fstat(self._descriptor)
            if _device_and_inode(_lock_file(self._ledger)) != (status.st_dev, status.st_ino):
                gone, self._descriptor = self._descriptor, _lock(self._ledger)
                os.close(gone)
        except VoucherifySyncError as error:
            return error
        except OSError:  # it cannot be looked at just now, which says nothing
            return None
        if self.is_lost:
            return UsageProblem(f"the ledger {self._ledger} was removed or replaced while the run used it.")
        return None

    def release(self) -> None:
        """Let the next run in."""
        with suppress(OSError):
            os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)


def holder_of(ledger: Path) -> str | None:
    """Say who holds the lock of a ledger, None if no process does."""
    try:
        descriptor = os.open(_lock_file(ledger), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
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
    """Open the file of the lock, lock it and write into it who holds it; return its descriptor."""
    path = _lock_file(ledger)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise cannot_write(path, error) from error
    last_try = time.monotonic() + _LOCK_TIMEOUT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError as error:
            if isinstance(error, BlockingIOError) and time.monotonic() < last_try:
                time.sleep(0.02)
                continue
            holder = _read_holder(descriptor)
            os.close(descriptor)
            if not isinstance(error, BlockingIOError):
                raise cannot_write(ledger, error) from error
            raise RunStopped(
                f"another run holds the ledger {ledger}: {holder or 'it does not say which'}.",
                "Wait until it has ended, or stop it; then the same command continues.",
            ) from error
    since = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    with suppress(OSError):  # a help for people; the lock holds without it
        os.fchmod(descriptor, 0o600)
        os.ftruncate(descriptor, 0)
        write_all(descriptor, f"process {os.getpid()} on {socket.gethostname()} since {since}".encode())
    return descriptor


def _lock_file(ledger: Path) -> Path:
    return ledger.with_name(f"{ledger.name}.lock")


def _read_holder(descriptor: int) -> str:
    text = os.pread(descriptor, _HOLDER_BYTES, 0).decode(errors="replace")
    return "".join(filter(str.isprintable, text))


def _device_and_inode(path: Path) -> tuple[int, int] | None:
    """Return by what a file is known whatever its name, None if there is none."""
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino
