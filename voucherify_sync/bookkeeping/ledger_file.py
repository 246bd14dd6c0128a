"""Where a ledger lives: a URL and an Application ID in, a path out, and a file that only its owner can read.

It never looks inside one.
"""

from __future__ import annotations

import os
import re
import stat
from hashlib import blake2b
from pathlib import Path
from urllib.parse import urlsplit

from voucherify_sync.bookkeeping.private import make_private_directory, open_new, trouble
from voucherify_sync.errors import RunStopped, UsageProblem, VoucherifySyncError
from voucherify_sync.home import state_directory

ELSEWHERE = "Give another place with --ledger FILE."
_HASH_DIGITS = 12


def key_hash(app_id: str) -> str:
    """Return 12 hexadecimal digits that name an Application ID and do not tell it."""
    return blake2b(app_id.encode(), digest_size=_HASH_DIGITS // 2).hexdigest()


def normal_url(url: str) -> str:
    """Return an API URL as ledgers compare it: lower-case host, no trailing slash."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"


def default_path(url: str, app_id: str) -> Path:
    """Return the path of the ledger for an API URL and an Application ID."""
    return state_directory() / f"{_host(url)}-{key_hash(app_id)}.ledger"


def find_others(url: str, app_id: str) -> list[Path]:
    """Return the ledgers of other keys for the same host, the latest used first: keys are rotated, projects stay."""
    pattern = f"{_host(url)}-{'[0-9a-f]' * _HASH_DIGITS}.ledger"
    own = default_path(url, app_id)
    others = [path for path in state_directory().glob(pattern) if path != own]
    return sorted(others, key=lambda path: path.stat().st_mtime, reverse=True)


def make_file(path: Path) -> None:
    """Make an empty ledger for its owner only, in a directory that exists; one that is there is left as it is.

    SQLite gives its -wal and -shm files the mode of the ledger, so it must be right before SQLite sees it.

    Raises:
        UsageProblem: it cannot be made, or what has its name is a link or no file.
        RunStopped: the disk is full.
    """
    try:
        os.close(open_new(path))
    except FileExistsError:
        bytes_in(path)
    except OSError as error:
        raise cannot_write(path, error) from error


def bytes_in(path: Path) -> int:
    """Return the size of a ledger without opening it, 0 if there is none.

    Raises:
        UsageProblem: what has its name is a link or no file, or may not be looked at.
    """
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except OSError as error:
        raise UsageProblem(f"cannot read the ledger {path}: {error.strerror}.", ELSEWHERE) from error
    if not stat.S_ISREG(status.st_mode):
        raise UsageProblem(f"the ledger {path} is no plain file.", ELSEWHERE)
    return status.st_size


def make_directory(path: Path) -> None:
    """Make the directory of a ledger and what is missing above it, for its owner only.

    Raises:
        UsageProblem: it cannot be made.
        RunStopped: the disk is full.
    """
    try:
        make_private_directory(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error


def sync_directory(path: Path) -> None:
    """Make the name of a new ledger survive a power cut, and that of its directory, which may be new, too."""
    for directory in (path.parent, path.parent.parent):
        try:
            descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
        except PermissionError:  # what we may not read we have not made
            continue
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def cannot_write(path: Path, error: OSError) -> VoucherifySyncError:
    """Return what it means that a ledger or its lock cannot be made."""
    problem = trouble(path, error)
    return problem if isinstance(problem, RunStopped) else UsageProblem(problem.message, ELSEWHERE)


def _host(url: str) -> str:
    return re.sub(r"[^a-z0-9.-]", "_", urlsplit(url).netloc.lower())
