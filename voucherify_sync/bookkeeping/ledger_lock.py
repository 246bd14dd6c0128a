"""One run at a time on a ledger, and always on the file that it opened.

The lock is the kernel's (flock), so it ends with its process, however that ends. The file of the lock stays.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import time
from datetime import UTC, datetime
from pathlib import Path

from voucherify_sync.bookkeeping.ledger_file import bytes_in, cannot_write
from voucherify_sync.bookkeeping.private import write_all
from voucherify_sync.errors import RunStopped, UsageProblem, VoucherifySyncError

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
