"""The tables of a ledger, and what leads from each version of them to the next.

Opens the SQLite file of a ledger, for the one connection that writes or for those that only read.

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
from typing import Final
from urllib.parse import quote

from msgspec import DecodeError, Struct, json

from voucherify_sync.errors import RunStopped, UsageProblem, VoucherifySyncError
from voucherify_sync.state.ledger_file import (
    ProjectIdentity,
    bytes_in,
    cannot_open,
    cannot_write,
    make_directory,
    origin_of,
    refuse_network,
)
from voucherify_sync.state.private_files import open_new, sync_directory

APPLICATION_ID: Final = 0x56534C47
"""Marks a SQLite file as a ledger ("VSLG")."""

PRAGMAS: Final = (
    "trusted_schema = OFF",
    "cell_size_check = ON",
    "busy_timeout = 5000",
    "fullfsync = ON",  # macOS: fsync alone leaves the data in the drive's cache
    "checkpoint_fullfsync = ON",
    "secure_delete = ON",  # an intent holds its event: a ledger must not keep those that were delivered
    "journal_mode = WAL",
    "synchronous = FULL",  # NORMAL loses committed intents in a power cut, and an intent lost is an event doubled
)
"""What the writing connection is set to, in this order."""

_VERSION_1: Final = (
    "CREATE TABLE header (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    """CREATE TABLE runs (id INTEGER PRIMARY KEY, name TEXT NOT NULL, started_at REAL NOT NULL, ended_at REAL,
        exit_code INTEGER, settings TEXT NOT NULL, counts TEXT)""",
    # SQLite stores the states 0 and 1 in no byte at all, and nearly every row has one of these two.
    """CREATE TABLE records (key BLOB PRIMARY KEY, hash BLOB NOT NULL, run INTEGER NOT NULL,
        state INTEGER NOT NULL) WITHOUT ROWID""",
    # What is sent or about to be, and has no outcome yet: as many rows as there are workers.
    """CREATE TABLE intents (key BLOB PRIMARY KEY, hash BLOB NOT NULL, run INTEGER NOT NULL, sent_at REAL NOT NULL,
        type TEXT, name TEXT, message_id TEXT, source TEXT NOT NULL) WITHOUT ROWID""",
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
)

_LETTERS: Final = """SELECT row_number() OVER (ORDER BY r.run, u.sent_at, u.source) AS id, u.key AS key, r.run AS run,
    CASE u.state WHEN 4 THEN 'in_doubt' ELSE 'failed' END AS outcome, u.reason AS reason, NULL AS status,
    NULL AS answer, u.source AS source, u.type AS type, u.name AS name, u.message_id AS message_id,
    NULL AS source_id, u.sent_at AS sent_at, NULL AS event
    FROM main.unresolved u JOIN main.records r ON r.key = u.key"""
"""Version 1 knows why a record failed or is in doubt, and not its event."""

_VERSION_2: Final = (
    # Addresses and keys by which the project was used.
    """CREATE TABLE identities (origin TEXT NOT NULL, key TEXT NOT NULL, is_sandbox INTEGER NOT NULL,
        PRIMARY KEY (origin, key)) WITHOUT ROWID""",
    # What failed, is in doubt or was invalid, in the order in which it was written. `event` is compressed; it is NULL
    # where it is not known, as in what a ledger of version 1 brought along, and where it was forgotten.
    """CREATE TABLE dead_letters (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, run INTEGER NOT NULL,
        outcome TEXT NOT NULL, reason TEXT, status INTEGER, answer BLOB, source TEXT, type TEXT, name TEXT,
        message_id TEXT, source_id TEXT, sent_at REAL, event BLOB)""",
    "CREATE INDEX dead_letters_without_event ON dead_letters (key) WHERE event IS NULL",
    "CREATE INDEX dead_letters_invalid ON dead_letters (key) WHERE outcome = 'invalid'",
    f"""INSERT INTO dead_letters (id, key, run, outcome, reason, status, answer, source, type, name, message_id,
        source_id, sent_at, event) {_LETTERS}""",
    "DROP TRIGGER settle",
    "DROP TABLE unresolved",
    """CREATE TRIGGER settle AFTER INSERT ON records BEGIN
        DELETE FROM intents WHERE key = new.key;
        DELETE FROM dead_letters WHERE key = new.key;
    END""",
    "ALTER TABLE intents ADD COLUMN source_id TEXT",
    "ALTER TABLE intents ADD COLUMN event BLOB",
    "ALTER TABLE runs ADD COLUMN command TEXT",
    # By which rule the hashes of the run's records were made: those of other rules cannot be compared with them.
    "ALTER TABLE runs ADD COLUMN hash_version INTEGER NOT NULL DEFAULT 1",
    "ALTER TABLE customers ADD COLUMN run INTEGER NOT NULL DEFAULT 0",
    # The clock of whoever made an event may be years ahead; no update is later than the run that sent it.
    """UPDATE customers SET updated_at = (SELECT max(coalesce(ended_at, started_at)) FROM runs)
        WHERE updated_at > (SELECT max(coalesce(ended_at, started_at)) FROM runs)""",
    # Which endpoints ever accepted something, under which key and settings.
    """CREATE TABLE accepted (endpoint TEXT NOT NULL, key TEXT NOT NULL, settings TEXT NOT NULL, run INTEGER NOT NULL,
        PRIMARY KEY (endpoint, key, settings)) WITHOUT ROWID""",
    """INSERT OR IGNORE INTO accepted
        SELECT CASE r.state WHEN 0 THEN '/v1/events' ELSE '/v1/customers' END,
            (SELECT value FROM header WHERE name = 'key'), runs.settings, runs.id
        FROM (SELECT DISTINCT run, state FROM records WHERE state < 2) r JOIN runs ON runs.id = r.run""",
    # The last fold of each order that was accepted.
    """CREATE TABLE orders (key BLOB PRIMARY KEY, updated_at REAL, hash BLOB NOT NULL, run INTEGER NOT NULL,
        fold BLOB NOT NULL) WITHOUT ROWID""",
    "INSERT INTO header VALUES ('dead_letter_files', 'to be read')",
    "DELETE FROM header WHERE name IN ('url', 'key', 'clean')",
)

MIGRATIONS: Final = (_VERSION_1, _VERSION_2)
"""The statements that lead from each version to the next; version 0 is an empty file."""
VERSION: Final = len(MIGRATIONS)

_VIEWS_OF_VERSION_1: Final = (
    f"CREATE TEMP VIEW dead_letters AS {_LETTERS}",
    "CREATE TEMP VIEW intents AS SELECT *, NULL AS source_id, NULL AS event FROM main.intents",
    "CREATE TEMP VIEW runs AS SELECT *, NULL AS command, 1 AS hash_version FROM main.runs",
    "CREATE TEMP VIEW customers AS SELECT *, 0 AS run FROM main.customers",
    """CREATE TEMP VIEW accepted AS SELECT '/v1/events' AS endpoint, '' AS key, '' AS settings, 0 AS run
        WHERE EXISTS (SELECT 1 FROM main.records WHERE state < 2)""",
)


def upgrade(connection: sqlite3.Connection, version: int) -> None:
    """Bring a ledger to this version, in one transaction."""
    if version == VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    identities = _identities_of(connection, version)
    for statements in MIGRATIONS[version:]:
        for statement in statements:
            connection.execute(statement)
    if version == 0:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("DELETE FROM header WHERE name = 'dead_letter_files'")
    for identity in identities:
        add_identity(connection, identity)
    connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")


def read_as_this_version(connection: sqlite3.Connection, version: int) -> None:
    """Let a connection that may only read an older ledger find the tables of this version in it."""
    if version != 1:
        return
    identities = _identities_of(connection, version)
    for statement in _VIEWS_OF_VERSION_1:
        connection.execute(statement)
    connection.execute("CREATE TEMP TABLE identities (origin TEXT, key TEXT, is_sandbox INTEGER)")
    for identity in identities:
        add_identity(connection, identity)


def add_identity(connection: sqlite3.Connection, identity: ProjectIdentity) -> None:
    """Write an identity by which the project is used from now on."""
    statement, *values = identity_row(identity)
    connection.execute(statement, values)


def identity_row(identity: ProjectIdentity) -> tuple[str, str, str, bool]:
    """Return the statement that writes an identity, and its values."""
    statement = "INSERT OR REPLACE INTO identities VALUES (?, ?, ?)"
    return statement, identity.origin, identity.key, identity.is_sandbox


def _identities_of(connection: sqlite3.Connection, version: int) -> list[ProjectIdentity]:
    """Return the identity in the header of version 1."""
    if version != 1:
        return []
    header = dict(connection.execute("SELECT name, value FROM main.header WHERE name IN ('url', 'key')"))
    return [ProjectIdentity(origin_of(header["url"]), header["key"])]


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
