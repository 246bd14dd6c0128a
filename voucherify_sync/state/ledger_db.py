"""Opens the SQLite file of a ledger: its tables, the upgrade from earlier versions, and the mark of an open ledger.

Nothing is written before the file is known to be a ledger, whole, and of a version that is known.

While a run has a ledger open, its main file lacks what is in the -wal beside it, so a copy of the one file would have
forgotten what was sent. The main file therefore says by a mark that it is open, and the end of the run, which brings
all to the main file, removes the mark.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote

from msgspec import DecodeError, Struct, json
from msgspec.structs import astuple

from voucherify_sync.errors import RunStopped, UsageProblem, VoucherifySyncError
from voucherify_sync.state.ledger_file import (
    ProjectIdentity,
    bytes_in,
    cannot_open,
    cannot_write,
    origin_of,
    refuse_network,
)
from voucherify_sync.state.private_files import open_new, sync_directory

_APPLICATION_ID: Final = 0x56534C47  # "VSLG": marks a SQLite file as a ledger

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

_IDENTITY_OF_VERSION_1: Final = """SELECT origin_of(u.value) AS origin, k.value AS key, 0 AS is_sandbox
    FROM main.header u JOIN main.header k WHERE u.name = 'url' AND k.name = 'key'"""

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
    f"INSERT INTO dead_letters {_LETTERS}",
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
    # The clock of the device that made an event may be years ahead; no update is later than the run that sent it.
    """UPDATE customers SET updated_at = (SELECT max(coalesce(ended_at, started_at)) FROM runs)
        WHERE updated_at > (SELECT max(coalesce(ended_at, started_at)) FROM runs)""",
    # Which endpoints ever accepted something, under which key and settings.
    """CREATE TABLE accepted (endpoint TEXT NOT NULL, key TEXT NOT NULL, settings TEXT NOT NULL, run INTEGER NOT NULL,
        PRIMARY KEY (endpoint, key, settings)) WITHOUT ROWID""",
    """INSERT OR IGNORE INTO accepted
        SELECT CASE r.state WHEN 0 THEN '/v1/events' ELSE '/v1/customers' END,
            (SELECT value FROM header WHERE name = 'key'), runs.settings, runs.id
        FROM (SELECT DISTINCT run, state FROM records WHERE state < 2) r JOIN runs ON runs.id = r.run""",
    # Of each order the last fold that was accepted, and by another key the last one that failed.
    """CREATE TABLE orders (key BLOB PRIMARY KEY, hash BLOB NOT NULL, run INTEGER NOT NULL,
        fold BLOB NOT NULL) WITHOUT ROWID""",
    # As which its record failed.
    "ALTER TABLE dead_letters ADD COLUMN order_body BLOB",
    "INSERT INTO header VALUES ('dead_letter_files', 'to be read')",
    f"INSERT INTO identities {_IDENTITY_OF_VERSION_1}",
    "DELETE FROM header WHERE name IN ('url', 'key', 'clean')",
)

INTERRUPTED: Final = """(SELECT row_number() OVER (ORDER BY sent_at) AS id, key, hash, run, 'in_doubt' AS outcome,
    'interrupted' AS reason, NULL AS status, NULL AS answer, source, type, name, message_id, source_id, sent_at, event,
    NULL AS order_body FROM intents)"""
"""Dead letters of what is being sent just now, or was when its run was killed: the next run leaves it in doubt."""

_DOUBT_INTERRUPTED: Final = (
    f"CREATE TEMP TABLE interrupted AS SELECT * FROM {INTERRUPTED}",  # noqa: S608
    "INSERT OR REPLACE INTO records SELECT key, hash, run, 4 FROM temp.interrupted",  # the trigger removes the intents
    """INSERT OR REPLACE INTO dead_letters SELECT NULL, key, run, outcome, reason, status, answer, source, type, name,
        message_id, source_id, sent_at, event, NULL FROM temp.interrupted ORDER BY id""",
    "DROP TABLE temp.interrupted",
)

MIGRATIONS: Final = (_VERSION_1, _VERSION_2)
"""The statements that lead from each version to the next; version 0 is an empty file."""
VERSION: Final = len(MIGRATIONS)

_VIEWS_OF_VERSION_1: Final = (
    f"CREATE TEMP VIEW dead_letters AS SELECT *, NULL AS order_body FROM ({_LETTERS})",  # noqa: S608
    "CREATE TEMP VIEW intents AS SELECT *, NULL AS source_id, NULL AS event FROM main.intents",
    "CREATE TEMP VIEW runs AS SELECT *, NULL AS command, 1 AS hash_version FROM main.runs",
    "CREATE TEMP VIEW customers AS SELECT *, 0 AS run FROM main.customers",
    """CREATE TEMP VIEW accepted AS SELECT '/v1/events' AS endpoint, '' AS key, '' AS settings, 0 AS run
        WHERE EXISTS (SELECT 1 FROM main.records WHERE state < 2)""",
    "CREATE TEMP VIEW orders AS SELECT NULL AS key, NULL AS hash, 0 AS run, NULL AS fold WHERE 0",
    f"CREATE TEMP VIEW identities AS {_IDENTITY_OF_VERSION_1}",
    "CREATE TEMP VIEW header AS SELECT * FROM main.header UNION ALL SELECT 'dead_letter_files', 'to be read'",
)


_UPGRADE = "Upgrade: pip install --upgrade voucherify-sync."
_DAMAGED = "Put a backup of it in its place. If there is none, move it away: what was sent before would be sent again."
_NO_LEDGER = "Name the ledger of this project, or a path where no file is yet with --new-ledger."
_MAKE_ROOM = "Nothing is sent that the ledger cannot hold. Make room; then the same command continues."
_SET_MARK = "INSERT OR REPLACE INTO header VALUES ('open', ?)"
_CLEAR_MARK = "DELETE FROM header WHERE name = 'open'"


class OpenMark(Struct, frozen=True):
    """What the main file of a ledger says while a run has it open, so that it needs the -wal beside it to be whole.

    Attributes:
        run: id of the run.
        since: epoch seconds.
        inode: of the file that the run opened; a copy has another one.
        process: id of the run's process.
        host: where it runs.
    """

    run: str
    since: float
    inode: int
    process: int
    host: str


def make(path: Path, identity: ProjectIdentity) -> None:
    """Make a ledger of this version that knows nothing, for its owner only; it appears whole or not at all.

    Raises:
        UsageProblem: it cannot be made, or would be on a network file system.
        RunStopped: the disk is full.
    """
    refuse_network(path)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with suppress(FileNotFoundError):
            draft.unlink()
        os.close(open_new(draft))  # SQLite gives its other files the mode of this one
        with closing(connect(draft, "mode=rw")) as connection, explained(path):
            connection.execute("PRAGMA synchronous = FULL")
            upgrade(connection, 0)
            add_identity(connection, identity)
        draft.replace(path)
        sync_directory(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with suppress(OSError):
            draft.unlink()


def upgrade(connection: sqlite3.Connection, version: int) -> None:
    """Bring a ledger to this version, in one transaction."""
    if version == VERSION:
        return
    connection.create_function("origin_of", 1, origin_of)
    with transaction(connection):
        for statements in MIGRATIONS[version:]:
            for statement in statements:
                connection.execute(statement)
        if version == 0:
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            connection.execute("DELETE FROM header WHERE name = 'dead_letter_files'")
        connection.execute(f"PRAGMA user_version = {VERSION}")


def add_identity(connection: sqlite3.Connection, identity: ProjectIdentity) -> None:
    """Write an address and key by which the project is used from now on, unless it is known."""
    connection.execute("INSERT OR IGNORE INTO identities VALUES (?, ?, ?)", astuple(identity))


def doubt_interrupted(connection: sqlite3.Connection) -> None:
    """Leave in doubt what a run that was killed had sent, or was about to send; the caller has begun a transaction."""
    for statement in _DOUBT_INTERRUPTED:
        connection.execute(statement)


def refuse_copy(path: Path) -> None:
    """Raise UsageProblem where a ledger looks like the copy of one in use, which may lack what was sent.

    The caller has its lock, so that no run has it open.
    """
    mark = read_mark(path) if bytes_in(path) else None
    if mark is None:
        return
    opened = f"{mark.run}, {time.strftime('%Y-%m-%d %H:%M:%SZ', time.gmtime(mark.since))}"
    if not wal_of(path).exists():
        problem = f"lacks its second file, {wal_of(path).name}, and run {opened} did not close it"
    elif path.stat().st_ino != mark.inode:
        problem = f"is a copy of a ledger that run {opened} had open"
    else:
        return
    raise UsageProblem(
        f"the ledger {path} {problem}.",
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
    is_unclean = read_mark(path) is not None
    connection = connect(path, "mode=rw")
    with explained(path, connection):
        version = _check_version(connection, path)
        if version == 1:  # it said so where it was closed
            clean = connection.execute("SELECT value FROM header WHERE name = 'clean'").fetchone()
            is_unclean |= clean != ("1",)
        if is_unclean:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if found != "ok":
                raise UsageProblem(f"the ledger {path} is damaged: {found}.", _DAMAGED)
        for pragma in PRAGMAS:
            answer = connection.execute(f"PRAGMA {pragma}").fetchone()
            if pragma.startswith("journal_mode") and answer != ("wal",):
                raise UsageProblem(
                    f"the ledger {path} cannot have a write-ahead log where it is.",
                    "Keep it on a local disk.",
                )
        upgrade(connection, version)
    try:
        with explained(path):
            mark = OpenMark(run, time.time(), path.stat().st_ino, os.getpid(), socket.gethostname())
            connection.execute(_SET_MARK, (json.encode(mark).decode(),))
            if not checkpoint(connection):
                raise RunStopped(
                    f"another program has the ledger {path} open.",
                    "Close it; then the same command continues.",
                )
    except VoucherifySyncError:
        close_writable(connection, path)
        raise
    return connection


def close_writable(connection: sqlite3.Connection, path: Path, *, is_sound: bool = True) -> None:
    """Bring all to the main file, take the mark from it, and close: one file is the whole ledger then.

    Where that fails, or the ledger is not sound, the -wal and the mark stay, so that the next run looks for damage.
    """
    keeper = connect(path, "mode=ro")
    with suppress(sqlite3.Error):
        keeper.execute("SELECT count(*) FROM header").fetchone()  # from now on it has the -wal open, too
        if is_sound and clear_mark(connection):
            keeper.close()
            connection.execute("PRAGMA journal_mode = DELETE")  # so that reading it makes no file beside it
    connection.close()  # removes the -wal, unless the other connection still needs it
    keeper.close()


def clear_mark(connection: sqlite3.Connection) -> bool:
    """Bring all to the main file, and then take the mark from it; tell whether one file is the whole ledger now.

    Two checkpoints, so that a main file without a mark is complete at every moment.
    """
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
        with closing(connect(path, "mode=rw")) as copy, explained(path):
            connection.backup(copy)
            copy.execute(_CLEAR_MARK)
    except VoucherifySyncError:
        path.unlink()  # a part of a ledger must not be taken for one
        raise
    sync_directory(path.parent)


def open_readable(path: Path | None) -> sqlite3.Connection:
    """Open a ledger that a run may be writing to just now; a file that is missing or empty is an empty ledger.

    The ledger is not written to. Beside one that a run has open, or was killed with, SQLite may make a -shm.

    Raises:
        UsageProblem: it is no ledger, or one of a newer version, or cannot be read.
    """
    if path is None or not bytes_in(path):
        return open_empty()
    has_lost_wal = not wal_of(path).exists() and read_mark(path) is not None
    connection = connect(path, "immutable=1") if has_lost_wal else _connect_read_only(path)
    with explained(path, connection):
        if _check_version(connection, path) == 1:
            connection.create_function("origin_of", 1, origin_of)
            for statement in _VIEWS_OF_VERSION_1:
                connection.execute(statement)
    return connection


def open_empty() -> sqlite3.Connection:
    """Open a ledger that knows nothing and is kept nowhere."""
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    upgrade(connection, 0)
    return connection


def read_mark(path: Path) -> OpenMark | None:
    """Return the mark of a ledger, None where no run has it open, or it is no ledger.

    Without a -wal a ledger has no writer, and none must be made by reading: it would seem to belong to a ledger that
    lost its own. With one its main file alone may be torn, for example by a power cut while it is written to.

    Raises:
        UsageProblem: it cannot be read as SQLite's.
    """
    connection = _connect_read_only(path) if wal_of(path).exists() else connect(path, "immutable=1")
    with closing(connection), explained(path):
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        query = "SELECT value FROM header WHERE name = 'open'"
        mark = connection.execute(query).fetchone() if application == _APPLICATION_ID else None
    try:
        return json.decode(mark[0], type=OpenMark) if mark else None
    except DecodeError as error:
        raise UsageProblem(f"the ledger {path} is damaged: {error}.", _DAMAGED) from error


def wal_of(path: Path) -> Path:
    """Return SQLite's write-ahead log of a ledger."""
    return path.with_name(f"{path.name}-wal")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Write all or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # it may have rolled back by itself, as where the disk is full
            connection.execute("ROLLBACK")
        raise


@contextmanager
def explained(path: Path, connection: sqlite3.Connection | None = None) -> Iterator[None]:
    """Say what an error of SQLite means; a connection that is given is closed where anything goes wrong."""
    try:
        yield
    except (sqlite3.Error, VoucherifySyncError) as error:
        if connection is not None:
            connection.close()
        if isinstance(error, sqlite3.Error):
            raise explain(error, path) from error
        raise


def explain(error: sqlite3.Error, path: Path) -> VoucherifySyncError:
    """Return what an error of SQLite means to the person who runs the program."""
    match _code(error):
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
                f"another program has locked the ledger {path}.", "Close it; then the same command continues."
            )
    return VoucherifySyncError(f"the ledger {path} failed: {error}.")


def _code(error: sqlite3.Error) -> str:
    """Return the primary name of an error code, such as FULL or IOERR."""
    return f"{getattr(error, 'sqlite_errorname', '')}__".split("_")[1]


def _check_version(connection: sqlite3.Connection, path: Path) -> int:
    """Return the version of a ledger. Raises UsageProblem where it is no ledger, or of no version that is known."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != _APPLICATION_ID:
        raise UsageProblem(f"{path} is no ledger, or not a whole one.", _NO_LEDGER)
    if version > VERSION:
        raise UsageProblem(f"the ledger {path} was written by a newer voucherify-sync.", _UPGRADE)
    if version < 1:
        raise UsageProblem(f"the ledger {path} is damaged: it has no version.", _DAMAGED)
    return int(version)


def _connect_read_only(path: Path) -> sqlite3.Connection:
    connection = connect(path, "mode=ro")
    try:
        connection.execute("PRAGMA user_version").fetchone()
    except sqlite3.Error as error:
        if _code(error) not in {"CANTOPEN", "READONLY"} or bytes_in(wal_of(path)):
            return connection  # the first question meets the error again
        # In a directory that we may not write to SQLite cannot make its -shm; no run of ours can write there either.
        connection.close()
        connection = connect(path, "immutable=1")
    return connection


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """Open a file of SQLite, with a mode such as ``mode=ro``."""
    uri = f"file:{quote(os.fsencode(path.absolute()))}?{mode}"
    with explained(path):
        return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
