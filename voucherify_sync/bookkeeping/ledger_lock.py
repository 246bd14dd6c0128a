"""One run at a time: a ledger's path in, its lock or who holds it out.

The lock is the kernel's (flock), so it ends with its process, however that ends. The file stays.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from datetime import UTC, datetime
from pathlib import Path

from voucherify_sync.bookkeeping.ledger_file import cannot_write
from voucherify_sync.bookkeeping.private import write_all
from voucherify_sync.errors import RunStopped, VoucherifySyncError

_HOLDER_BYTES = 300


class LedgerLock:
    """The right to write to a ledger, held until it is released or the process ends."""

    def __init__(self, ledger: Path) -> None:
        """Take the lock at once.

        Raises:
            RunStopped: another run holds it; the message says which.
            UsageProblem: the lock's file cannot be opened or locked.
        """
        path = ledger.with_name(f"{ledger.name}.lock")
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise cannot_write(path, error) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = self._read_holder()
            os.close(self._descriptor)
            raise _refusal(ledger, holder, error) from error
        self._write_holder()

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

    def _read_holder(self) -> str:
        text = os.pread(self._descriptor, _HOLDER_BYTES, 0).decode(errors="replace")
        return "".join(filter(str.isprintable, text))


def _refusal(ledger: Path, holder: str, error: OSError) -> VoucherifySyncError:
    if not isinstance(error, BlockingIOError):
        return cannot_write(ledger, error)
    return RunStopped(
        f"another run holds the ledger {ledger}: {holder or 'it does not say which'}.",
        "Wait until it has ended, or stop it; then the same command goes on.",
    )
