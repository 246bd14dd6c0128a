"""What is inside a ledger file: a path in, a connection to a checked ledger of this version out.

Nothing is written before the file is known to be a ledger, of this URL, and whole.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from voucherify_sync.bookkeeping.ledger_file import ELSEWHERE, bytes_in, normal_url
from voucherify_sync.errors import RunStopped, UsageProblem, VoucherifySyncError

APPLICATION_ID = 0x56534C47
"""Marks a SQLite file as a ledger ("VSLG")."""

PRAGMAS = (
    "trusted_schema = OFF",
    "cell_size_check = ON",
    "busy_timeout = 5000",
    "fullfsync = ON",  # macOS: fsync alone leaves the data in the drive's cache
    "checkpoint_fullfsync = ON",
    "journal_mode = WAL",
    "synchronous = FULL",  # NORMAL loses committed intents in a power cut, and an intent lost is an event doubled
)
"""What the writing connection is set to, in this order."""

MIGRATIONS = (
    (
        "CREATE TABLE header (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
        """CREATE TABLE runs (id INTEGER PRIMARY KEY, name TEXT NOT NULL, started_at REAL NOT NULL, ended_at REAL,
            exit_code INTEGER, settings TEXT NOT NULL, counts TEXT)""",
        # state: 0 event delivered, 1 customer delivered, 2 event failed, 3 customer failed, 4 event in doubt.
        # SQLite stores 0 and 1 in no byte at all, and nearly every row is one of these two.
        """CREATE TABLE records (key BLOB PRIMARY KEY, hash BLOB NOT NULL, run INTEGER NOT NULL,
            state INTEGER NOT NULL) WITHOUT ROWID""",
        # What is sent or about to be, and has no outcome yet: as many rows as there are workers.
        """CREATE TABLE intents (key BLOB PRIMARY KEY, hash BLOB NOT NULL, run INTEGER NOT NULL, sent_at REAL NOT NULL,
            type TEXT, name TEXT, message_id TEXT, source TEXT NOT NULL) WITHOUT ROWID""",
        # What more is to be said about a record that failed (its reason) or is in doubt (all).
        """CREATE TABLE unresolved (key BLOB PRIMARY KEY, state INTEGER NOT NULL, reason TEXT, sent_at REAL,
            type TEXT, name TEXT, message_id TEXT, source TEXT) WITHOUT ROWID""",
        """CREATE TRIGGER settle AFTER INSERT ON records BEGIN
            DELETE FROM intents WHERE key = new.key;
            DELETE FROM unresolved WHERE key = new.key;
        END""",
        # The latest update delivered to a customer: its event time, and the hash of the folded payload.
        "CREATE TABLE customers (key BLOB PRIMARY KEY, updated_at REAL, hash BLOB) WITHOUT ROWID",
        # Bulk requests that were accepted, by the hash of their bodies.
        "CREATE TABLE actions (hash BLOB PRIMARY KEY, action TEXT NOT NULL, run INTEGER NOT NULL) WITHOUT ROWID",
    ),
)
"""The statements that lead from each version to the next; version 0 is an empty file."""

_UPGRADE = "Upgrade: pip install --upgrade voucherify-sync."
_DAMAGED = (
    "Put a copy of it in its place. If there is none, move it away: what was sent before is then sent again."
)
_MAKE_ROOM = "Nothing is sent that the ledger cannot hold. Make room; then the same command goes on."


def open_writable(path: Path, url: str, key: str) -> sqlite3.Connection:
    """Open a ledger for the one connection that writes to it; an empty file becomes a ledger.

    Raises:
        UsageProblem: it is no ledger, or one of another URL or of a newer version, or damaged, or not writable.
        RunStopped: the disk is full.
    """
    connection = _connect(path, "mode=rw")
    with _closed_on_error(connection, path):
        version = _check_version(connection, path)
        if version:
            _check_url(connection, path, url)
            _check_damage(connection, path)
        for pragma in PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        upgrade(connection, version, {"url": normal_url(url), "key": key, "clean": "1"})
    return connection


def open_readable(path: Path, url: str) -> sqlite3.Connection:
    """Open a ledger that a run may be writing to just now; a file that is missing or empty is an empty ledger.

    The ledger itself is never written to. SQLite may leave an empty -wal and a -shm beside it.

    Raises:
        UsageProblem: it is no ledger, or one of another URL or of a newer version, or cannot be read.
    """
    if bytes_in(path):
        connection = _connect_read_only(path)
        with _closed_on_error(connection, path):
            if _check_version(connection, path):
                _check_url(connection, path, url)
                return connection
        connection.close()
    return open_empty()


def open_empty() -> sqlite3.Connection:
    """Open a ledger that knows nothing and is kept nowhere."""
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    upgrade(connection, 0, {})
    return connection


def upgrade(connection: sqlite3.Connection, version: int, header: dict[str, str]) -> None:
    """Bring a ledger to this version, in one transaction; a new one gets its header."""
    if version == len(MIGRATIONS):
        return
    connection.execute("BEGIN IMMEDIATE")
    for statements in MIGRATIONS[version:]:
        for statement in statements:
            connection.execute(statement)
    if version == 0:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.executemany("INSERT INTO header VALUES (?, ?)", header.items())
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    connection.execute("COMMIT")


def explain(error: sqlite3.Error, path: Path) -> VoucherifySyncError:
    """Return what an error of SQLite means to the person who runs the program."""
    match _name(error):
        case "FULL":
            return RunStopped(f"the disk is full: cannot write to the ledger {path}.", _MAKE_ROOM)
        case "IOERR":
            return RunStopped(f"cannot read or write the ledger {path}: {error}.", _MAKE_ROOM)
        case "NOTADB":
            return UsageProblem(f"{path} is no ledger: it is no SQLite file.", ELSEWHERE)
        case "CORRUPT":
            return UsageProblem(f"the ledger {path} is damaged: {error}.", _DAMAGED)
        case "READONLY" | "CANTOPEN" | "PERM" | "AUTH":
            return UsageProblem(f"cannot open the ledger {path}: {error}.", ELSEWHERE)
        case "BUSY" | "LOCKED":
            return RunStopped(
                f"another program has locked the ledger {path}.", "Close it; then the same command goes on."
            )
    return VoucherifySyncError(f"the ledger {path} failed: {error}.")


def _check_version(connection: sqlite3.Connection, path: Path) -> int:
    """Return the version of a ledger, 0 for a file that is still empty."""
    (mark,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if mark == version == tables == 0:
        return 0
    if mark != APPLICATION_ID:
        raise UsageProblem(f"{path} is no ledger: it is a SQLite file of another program.", ELSEWHERE)
    if version > len(MIGRATIONS):
        raise UsageProblem(f"the ledger {path} was written by a newer voucherify-sync.", _UPGRADE)
    return int(version)


def _check_url(connection: sqlite3.Connection, path: Path, url: str) -> None:
    own = _header(connection, path, "url")
    if own != normal_url(url):
        raise UsageProblem(f"the ledger {path} belongs to {own}, not to {normal_url(url)}.", ELSEWHERE)


def _check_damage(connection: sqlite3.Connection, path: Path) -> None:
    """Read every page after a run that did not end in order."""
    if _header(connection, path, "clean") == "1":
        return
    (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise UsageProblem(f"the ledger {path} is damaged: {found}.", _DAMAGED)


def _header(connection: sqlite3.Connection, path: Path, name: str) -> str:
    row = connection.execute("SELECT value FROM header WHERE name = ?", (name,)).fetchone()
    if row is None:
        raise UsageProblem(f"the ledger {path} is damaged: its header has no {name}.", _DAMAGED)
    return str(row[0])


def _connect_read_only(path: Path) -> sqlite3.Connection:
    connection = _connect(path, "mode=ro")
    try:
        connection.execute("PRAGMA user_version").fetchone()
    except sqlite3.Error as error:
        wal = path.with_name(f"{path.name}-wal")
        if _name(error) not in {"CANTOPEN", "READONLY"} or bytes_in(wal):
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


def _name(error: sqlite3.Error) -> str:
    """Return the primary name of an error code, such as FULL or IOERR."""
    return f"{getattr(error, 'sqlite_errorname', '')}__".split("_")[1]


@contextmanager
def _closed_on_error(connection: sqlite3.Connection, path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        connection.close()
        raise explain(error, path) from error
    except VoucherifySyncError:
        connection.close()
        raise
