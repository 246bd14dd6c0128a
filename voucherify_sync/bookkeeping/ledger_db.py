"""Opens the SQLite file of a ledger, for the one connection that writes or for those that only read.

Nothing is written before the file is known to be a ledger, whole, and of a version that is known.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from msgspec import DecodeError, Struct, json

from voucherify_sync.bookkeeping.ledger_file import (
    bytes_in,
    cannot_open,
    cannot_write,
    make_directory,
    refuse_network,
)
from voucherify_sync.bookkeeping.ledger_schema import (
    APPLICATION_ID,
    PRAGMAS,
    VERSION,
    add_identity,
    read_as_this_version,
    upgrade,
)
from voucherify_sync.bookkeeping.private import open_new, sync_directory
from voucherify_sync.bookkeeping.project import ProjectIdentity
from voucherify_sync.errors import RunStopped, UsageProblem, VoucherifySyncError

_UPGRADE = "Upgrade: pip install --upgrade voucherify-sync."
_DAMAGED = "Put a backup of it in its place. If there is none, move it away: what was sent before would be sent again."
_NO_LEDGER = "Name the ledger of this project, or a path where no file is yet with --new-ledger."
_MAKE_ROOM = "Nothing is sent that the ledger cannot hold. Make room; then the same command goes on."
_SET_MARK = "INSERT OR REPLACE INTO header VALUES ('open', ?)"
_CLEAR_MARK = "DELETE FROM header WHERE name = 'open'"


class OpenMark(Struct, frozen=True):
    """What the main file of a ledger says while a run has it open, so that it needs the -wal beside it to be whole.

    Attributes:
        run: id of the run.
        since: epoch seconds.
        inode: of the file that the run opened.
        process: id of the run's process.
        host: where it runs.
    """

    run: str
    since: float
    inode: int
    process: int
    host: str

    @classmethod
    def of(cls, path: Path, run: str, now: float) -> OpenMark:
        """Return the mark of a run of this process."""
        return cls(run, now, path.stat().st_ino, os.getpid(), socket.gethostname())


def make(path: Path, identity: ProjectIdentity) -> None:
    """Make a ledger of this version that knows nothing, for its owner only; it appears whole or not at all.

    Raises:
        UsageProblem: it cannot be made, or would be on a network file system.
        RunStopped: the disk is full.
    """
    make_directory(path)
    refuse_network(path)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with suppress(FileNotFoundError):
            draft.unlink()
        os.close(open_new(draft))  # SQLite gives its other files the mode of this one
        connection = _connect(draft, "mode=rw")
        with closed_on_error(connection, path):
            connection.execute("PRAGMA synchronous = FULL")
            upgrade(connection, 0)
            add_identity(connection, identity)
        connection.close()
        draft.replace(path)
        sync_directory(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with suppress(OSError):
            draft.unlink()


def refuse_copy(path: Path) -> None:
    """Raise UsageProblem where a ledger looks like the copy of one in use, which may lack what was sent."""
    if what := why_not_whole(path):
        raise UsageProblem(
            f"the ledger {path} {what}.",
            "Copy it again, both files, after that run has ended. If it is whole (a SQLite backup, a checkpoint by "
            "another program): --ledger-is-whole; what was sent after the copy would be sent again.",
        )


def open_writable(path: Path, run: str) -> sqlite3.Connection:
    """Open a ledger for the one connection that writes to it, bring it to this version and mark it as open.

    The caller holds its lock, and has asked `refuse_copy`.

    Args:
        path: of a ledger that exists.
        run: id of the run that opens it.

    Raises:
        UsageProblem: it is no ledger, of a newer version, damaged, on a network, or not writable.
        RunStopped: the disk is full, or another program has it open.
    """
    refuse_network(path)
    mark = read_mark(path)
    connection = _connect(path, "mode=rw")
    with closed_on_error(connection, path):
        version = _check_version(connection, path)
        if mark is not None or _has_unclean_end(connection, version):
            _check_damage(connection, path)
        for pragma in PRAGMAS:
            answer = connection.execute(f"PRAGMA {pragma}").fetchone()
            if pragma.startswith("journal_mode") and answer != ("wal",):
                raise UsageProblem(
                    f"the ledger {path} cannot have a write-ahead log where it is.",
                    "Keep it on a local disk.",
                )
        upgrade(connection, version)
    try:
        connection.execute(_SET_MARK, (json.encode(OpenMark.of(path, run, time.time())).decode(),))
        if checkpoint(connection):
            return connection
        problem: VoucherifySyncError = RunStopped(
            f"another program has the ledger {path} open.", "Close it; then the same command goes on."
        )
    except sqlite3.Error as error:
        problem = explain(error, path)
    close_writable(connection, path)
    raise problem


def close_writable(connection: sqlite3.Connection, path: Path, *, is_sound: bool = True) -> None:
    """Bring all to the main file, take the mark from it, and close: one file is the whole ledger then.

    Where that fails, or the ledger is not sound, the -wal and the mark stay, so that the next run looks for damage.
    """
    keeper = _connect(path, "mode=ro")
    with suppress(sqlite3.Error):
        keeper.execute("SELECT count(*) FROM header").fetchone()  # from now on it has the -wal open, too
        if is_sound and clear_mark(connection):
            keeper.close()
            connection.execute("PRAGMA journal_mode = DELETE")  # so that reading it makes no file beside it
    connection.close()  # removes the -wal, unless the other connection still needs it
    keeper.close()


def clear_mark(connection: sqlite3.Connection) -> bool:
    """Bring all to the main file, and then take the mark from it; tell whether one file is the whole ledger now."""
    if not checkpoint(connection):
        return False
    connection.execute(_CLEAR_MARK)
    return checkpoint(connection)


def checkpoint(connection: sqlite3.Connection) -> bool:
    """Write what the -wal holds to the main file; tell whether nothing is left in it."""
    (is_busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not is_busy


def save_copy(connection: sqlite3.Connection, path: Path) -> None:
    """Write a whole copy of a ledger that is open, without its mark, to a path where no file is.

    Raises:
        VoucherifySyncError: it cannot be written.
    """
    try:
        os.close(open_new(path))
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        copy = _connect(path, "mode=rw")
        with closed_on_error(copy, path):
            connection.backup(copy)
            copy.execute(_CLEAR_MARK)
        copy.close()
    except VoucherifySyncError:
        path.unlink()  # a part of a ledger must not be taken for one
        raise
    sync_directory(path.parent)


def open_readable(path: Path) -> sqlite3.Connection:
    """Open a ledger that a run may be writing to just now; a file that is missing or empty is an empty ledger.

    The ledger is not written to. Beside one that a run has open, or was killed with, SQLite may make a -shm.

    Raises:
        UsageProblem: it is no ledger, or one of a newer version, or cannot be read.
    """
    if not bytes_in(path):
        return open_empty()
    is_alone = not _wal(path).exists() and read_mark(path) is not None
    connection = _connect_unchanged(path) if is_alone else _connect_read_only(path)
    with closed_on_error(connection, path):
        read_as_this_version(connection, _check_version(connection, path))
    return connection


def open_beside(path: Path) -> sqlite3.Connection:
    """Open a ledger to read it while this process has it open to write."""
    return _connect(path, "mode=ro")


def open_empty() -> sqlite3.Connection:
    """Open a ledger that knows nothing and is kept nowhere."""
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    upgrade(connection, 0)
    return connection


def read_mark(path: Path) -> OpenMark | None:
    """Return the mark of a ledger, None where no run has it open, or it is no ledger.

    Raises:
        UsageProblem: it cannot be read as SQLite's.
    """
    connection = _connect_unchanged(path)
    with closed_on_error(connection, path):
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        query = "SELECT value FROM header WHERE name = 'open'"
        mark = connection.execute(query).fetchone() if application == APPLICATION_ID else None
    connection.close()
    try:
        return json.decode(mark[0], type=OpenMark) if mark else None
    except DecodeError as error:
        raise UsageProblem(f"the ledger {path} is damaged: {error}.", _DAMAGED) from error


def why_not_whole(path: Path) -> str | None:
    """Tell why a ledger that nobody writes to may lack what a run wrote to it, None if it does not."""
    mark = read_mark(path) if bytes_in(path) else None
    if mark is None:
        return None
    opened = f"{mark.run}, {time.strftime('%Y-%m-%d %H:%M:%SZ', time.gmtime(mark.since))}"
    if not _wal(path).exists():
        return f"lacks its second file, {_wal(path).name}, and run {opened} did not close it"
    if path.stat().st_ino != mark.inode:
        return f"is a copy of a ledger that run {opened} had open"
    return None


def explain(error: sqlite3.Error, path: Path) -> VoucherifySyncError:
    """Return what an error of SQLite means to the person who runs the program."""
    match _name(error):
        case "FULL":
            return RunStopped(f"the disk is full: cannot write to the ledger {path}.", _MAKE_ROOM)
        case "IOERR":
            return RunStopped(f"cannot read or write the ledger {path}: {error}.", _MAKE_ROOM)
        case "NOTADB":
            return UsageProblem(f"{path} is no ledger: it is no SQLite file.", _NO_LEDGER)
        case "CORRUPT":
            return UsageProblem(f"the ledger {path} is damaged: {error}.", _DAMAGED)
        case "READONLY" | "CANTOPEN" | "PERM" | "AUTH":
            return cannot_open(path, str(error))
        case "BUSY" | "LOCKED":
            return RunStopped(
                f"another program has locked the ledger {path}.", "Close it; then the same command goes on."
            )
    return VoucherifySyncError(f"the ledger {path} failed: {error}.")


@contextmanager
def closed_on_error(connection: sqlite3.Connection, path: Path) -> Iterator[None]:
    """Close a connection when something goes wrong with it, and say what that means."""
    try:
        yield
    except sqlite3.Error as error:
        connection.close()
        raise explain(error, path) from error
    except VoucherifySyncError:
        connection.close()
        raise


def _check_version(connection: sqlite3.Connection, path: Path) -> int:
    """Return the version of a ledger."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID:
        raise UsageProblem(f"{path} is no ledger, or not a whole one.", _NO_LEDGER)
    if version > VERSION:
        raise UsageProblem(f"the ledger {path} was written by a newer voucherify-sync.", _UPGRADE)
    if version < 1:
        raise UsageProblem(f"the ledger {path} is damaged: it has no version.", _DAMAGED)
    return int(version)


def _has_unclean_end(connection: sqlite3.Connection, version: int) -> bool:
    """Tell whether a ledger of version 1 was not closed by its last run."""
    return version == 1 and connection.execute(
        "SELECT value FROM header WHERE name = 'clean'"
    ).fetchone() != ("1",)


def _check_damage(connection: sqlite3.Connection, path: Path) -> None:
    """Read every page after a run that did not close the ledger."""
    (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise UsageProblem(f"the ledger {path} is damaged: {found}.", _DAMAGED)


def _connect_unchanged(path: Path) -> sqlite3.Connection:
    """Open a ledger without making a -wal where none is: it would seem to belong to a ledger that lost its own.

    Without a -wal a ledger has no writer. With one its main file alone may be torn, as by a power cut while it is
    written to.
    """
    return _connect_read_only(path) if _wal(path).exists() else _connect(path, "immutable=1")


def _connect_read_only(path: Path) -> sqlite3.Connection:
    connection = _connect(path, "mode=ro")
    try:
        connection.execute("PRAGMA user_version").fetchone()
    except sqlite3.Error as error:
        if _name(error) not in {"CANTOPEN", "READONLY"} or bytes_in(_wal(path)):
            return connection  # the first question meets the error again
        # In a directory that we may not write to SQLite cannot make its -shm; no run of ours can write there either.
        connection.close()
        connection = _connect(path, "immutable=1")
    return connection


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    uri = f"file:{quote(os.fsencode(path.absolute()))}?{mode}"
    try:
        return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    except sqlite3.Error as error:
        raise explain(error, path) from error


def _wal(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def _name(error: sqlite3.Error) -> str:
    """Return the primary name of an error code, such as FULL or IOERR."""
    return f"{getattr(error, 'sqlite_errorname', '')}__".split("_")[1]
