"""Writes a ledger in batches: one durable commit for what many threads changed (group commit).

While one commit waits for the disk, the changes of the next one gather.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, Final

from voucherify_sync.errors import RunStopped, VoucherifySyncError
from voucherify_sync.state.dead_letters import DeadLetter
from voucherify_sync.state.ledger_db import explain, transaction
from voucherify_sync.stop import Stop

_MAX_DELAY_S: Final = 0.05
_ROWS: Final = 64  # of a statement: each one lets other threads run, and then has to wait for its turn
_CHECK_INTERVAL_S: Final = 1.0  # between two checks whether the path still names the ledger
_LETTERS: Final = f"dead_letters ({', '.join(DeadLetter.__struct_fields__)})"

SqlRow = tuple[Any, ...]
"""The values of one row, in the order of the table's columns."""


class Changes:
    """What one commit writes.

    The order of writing is fixed: what is withdrawn or settled, then what is intended. So a later withdrawal or
    outcome takes the intent out of the batch, too: a withdrawal that leaves an earlier send in doubt intends it again
    without waiting for the commit.

    Attributes:
        has_writer: a thread that waits for them has taken it on itself to write them.
        written: set when they are on disk, or failed with `error`.
    """

    def __init__(self) -> None:
        self.has_writer = False
        self.written = threading.Event()
        self.error: VoucherifySyncError | None = None
        self.statements: list[tuple[str, SqlRow]] = []
        self._withdrawn: set[bytes] = set()
        self._records: dict[bytes, SqlRow] = {}
        self._letters: dict[bytes, SqlRow] = {}
        self._intents: dict[bytes, SqlRow] = {}

    def __bool__(self) -> bool:
        return bool(self._withdrawn or self._records or self._letters or self._intents or self.statements)

    def intend(self, key: bytes, row: SqlRow) -> None:
        """Note that a custom event is about to be sent."""
        self._intents[key] = row

    def withdraw(self, key: bytes) -> None:
        """Note that it was not sent, or was proved not processed."""
        self._intents.pop(key, None)
        self._withdrawn.add(key)

    def settle(self, key: bytes, row: SqlRow, letter: SqlRow | None = None) -> None:
        """Note how a record ended, whatever it was before, and its dead letter; its intent is over."""
        self._intents.pop(key, None)
        self._letters.pop(key, None)
        self._records[key] = row
        if letter is not None:
            self._letters[key] = letter

    def keep(self, key: bytes, letter: SqlRow) -> None:
        """Note a dead letter of what is no record that could be sent."""
        self._letters[key] = letter

    def execute(self, statement: str, *values: Any) -> None:
        """Note something else, of which there is little."""
        self.statements.append((statement, values))

    def write(self, connection: sqlite3.Connection) -> None:
        """Write it all in one transaction."""
        with transaction(connection):
            for keys in _portions(self._withdrawn):
                marks = ",".join("?" * len(keys))
                connection.execute(f"DELETE FROM intents WHERE key IN ({marks})", keys)  # noqa: S608 only marks
            # A record's trigger removes its intent and its dead letter of before.
            tables = {"records": self._records, _LETTERS: self._letters, "intents": self._intents}
            for table, rows in tables.items():
                for portion in _portions(rows.values()):
                    row_marks = f"({','.join('?' * len(portion[0]))})"
                    marks = ",".join([row_marks] * len(portion))
                    statement = f"INSERT OR REPLACE INTO {table} VALUES {marks}"  # noqa: S608 only marks
                    connection.execute(statement, [value for row in portion for value in row])
            for statement, values in self.statements:
                connection.execute(statement, values)


class LedgerWriter:
    """Takes changes from any thread and commits them.

    The first who waits for a commit makes it, for all whose changes have gathered meanwhile: a thread for all commits
    would cost one more switch between threads each time. A thread of its own only commits what no thread waits for. A
    commit that fails is the last one: from then on nothing is written, and all who wait get the error.

    Attributes:
        lost: set when the path does not name the ledger any more. Outcomes are still written to the file that is open,
            and nothing new is sent.
        error: why a commit failed, so that what is on disk may be damaged; None if none did.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        path: Path,
        stop: Stop,
        check_path: Callable[[], VoucherifySyncError | None],
    ) -> None:
        """Begin.

        Args:
            connection: the one that writes.
            path: of the ledger, for messages.
            stop: gets the error when nothing more can be written.
            check_path: finds out whether the ledger is still where it was opened; called at a flush, and else at most
                once a second.
        """
        self.lost: VoucherifySyncError | None = None
        self.error: VoucherifySyncError | None = None
        self._connection = connection
        self._path = path
        self._stop = stop
        self._check_path = check_path
        self._next_check_at = time.monotonic() + _CHECK_INTERVAL_S
        self._changes_lock = threading.Lock()  # to what gathers
        self._connection_lock = threading.Lock()  # to the connection
        self._changes = Changes()
        self._is_closing = threading.Event()
        self._thread = threading.Thread(target=self._commit_regularly, name="ledger", daemon=True)
        self._thread.start()

    def later(self, change: Callable[[Changes], None]) -> None:
        """Let a change go with the next commit, at most 50 ms from now; after the end it is not kept."""
        with self._changes_lock:
            if not self._is_closing.is_set():
                change(self._changes)

    def now(self, change: Callable[[Changes], None]) -> None:
        """Return when a change is on disk.

        Raises:
            VoucherifySyncError: it is not, or the next run would not find it; RunStopped where the disk is full.
        """
        with self._changes_lock:
            if self._is_closing.is_set():
                raise RunStopped("the run has ended: nothing more is sent.")
            change(self._changes)
            changes, is_ours = self._join()
        self._commit(changes, is_ours=is_ours)
        if self.lost is not None:
            raise self.lost

    def flush(self) -> None:
        """Return when all that was changed before is on disk.

        Raises:
            VoucherifySyncError: it is not.
        """
        with self._changes_lock:
            changes, is_ours = self._join()
        self._next_check_at = 0.0
        self._commit(changes, is_ours=is_ours)

    def close(self) -> None:
        """Commit what is left and end the thread. The stop gets the error of a commit that fails."""
        with self._changes_lock:
            self._is_closing.set()
        self._thread.join()
        with suppress(VoucherifySyncError):
            self.flush()

    def _commit_regularly(self) -> None:
        while not self._is_closing.wait(_MAX_DELAY_S):
            if self._changes:
                with suppress(VoucherifySyncError):  # the stop has it
                    self.flush()

    def _join(self) -> tuple[Changes, bool]:
        """Return what gathers, and whether the caller is the first to wait for it, and so has to write it."""
        changes = self._changes
        is_first, changes.has_writer = not changes.has_writer, True
        return changes, is_first

    def _commit(self, changes: Changes, *, is_ours: bool) -> None:
        """Return when changes are on disk, by the commit of this thread or of another one."""
        if is_ours:
            with self._connection_lock:
                now = time.monotonic()
                if self.lost is None and now >= self._next_check_at:
                    self._next_check_at = now + _CHECK_INTERVAL_S
                    self.lost = self._check_path()
                    if self.lost is not None:
                        self._stop.because(self.lost)
                with self._changes_lock:
                    self._changes = Changes()
                if self.error is None and changes:
                    try:
                        changes.write(self._connection)
                    except BaseException as error:  # noqa: BLE001 all who wait must get it, whatever it is
                        self._fail(error)
                changes.error = self.error
            changes.written.set()
        else:
            changes.written.wait()
        if changes.error:
            raise changes.error

    def _fail(self, error: BaseException) -> None:
        if isinstance(error, sqlite3.Error):
            self.error = explain(error, self._path)
        else:
            self.error = VoucherifySyncError(f"the ledger {self._path} failed: {error!r}.")
        self.error.__cause__ = error
        self._stop.because(self.error)


def _portions(items: Iterable[Any]) -> Iterator[list[Any]]:
    iterator = iter(items)
    while portion := list(islice(iterator, _ROWS)):
        yield portion
