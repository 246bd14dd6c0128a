"""The tables of a ledger, and what leads from each version of them to the next."""

from __future__ import annotations

import sqlite3
from typing import Final

from voucherify_sync.bookkeeping.project import ProjectIdentity, origin_of

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
