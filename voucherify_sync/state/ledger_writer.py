"""The one thread that writes to a ledger: changes of many threads in, one durable commit for all of them out.

It writes in batches as they come: while one commit waits for the disk, the next one gathers.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from voucherify_sync.errors import RunStopped, VoucherifySyncError
from voucherify_sync.state.ledger_db import explain
from voucherify_sync.stop import Stop

_LATEST_S = 0.05
_ROWS = 64
_LOOK_S = 1.0
"""Seconds between two looks at whether the path still names the ledger."""


class Intent(NamedTuple):
    """A row of the table intents: a custom event that may be sent from now on."""

    key: bytes
    hash: bytes
    run: int
    sent_at: float
    type: str
    name: str | None
    message_id: str | None
    source: str
    source_id: str | None
    event: bytes | None


class Settled(NamedTuple):
    """A row of the table records: how a record ended."""

    key: bytes
    hash: bytes
    run: int
    state: int


class LetterRow(NamedTuple):
    """A row of the table dead_letters, without the number that it gets."""

    key: bytes
    run: int
    outcome: str
    reason: str | None
    status: int | None
    answer: bytes | None
    source: str
    type: str | None
    name: str | None
    message_id: str | None
    source_id: str | None
    sent_at: float | None
    event: bytes | None


_LETTERS = f"dead_letters ({', '.join(LetterRow._fields)})"


class Changes:
    """What one commit writes.

    The order of writing is fixed: what is withdrawn or settled, then what is intended. So a later withdrawal or
    outcome takes the intent out of the batch, too: a withdrawal that leaves an earlier send in doubt intends it again
    without waiting for the commit.
    """

    def __init__(self) -> None:
        self.withdrawn: set[bytes] = set()
        self.settled: dict[bytes, Settled] = {}
        self.letters: dict[bytes, LetterRow] = {}
        self.intents: dict[bytes, Intent] = {}
        self.statements: list[tuple[str, tuple[Any, ...]]] = []
        self._has_writer = False
        self.written = threading.Event()
        self.error: VoucherifySyncError | None = None

    def __bool__(self) -> bool:
        return bool(self.withdrawn or self.settled or self.letters or self.intents or self.statements)

    def take_charge(self) -> bool:
        """Tell the first who asks that it is to write them."""
        is_first, self._has_writer = not self._has_writer, True
        return is_first

    def intend(self, intent: Intent) -> None:
        """Note that a custom event is about to be sent."""
        self.intents[intent.key] = intent

    def withdraw(self, key: bytes) -> None:
        """Note that it was not sent, or was proved not processed."""
        self.intents.pop(key, None)
        self.withdrawn.add(key)

    def settle(self, settled: Settled, letter: LetterRow | None = None) -> None:
        """Note how a record ended, whatever it was before, and its dead letter; its intent is over."""
        self.intents.pop(settled.key, None)
        self.settled[settled.key] = settled
        if letter is None:
            self.letters.pop(settled.key, None)
        else:
            self.letters[letter.key] = letter

    def keep(self, letter: LetterRow) -> None:
        """Note a dead letter of what is no record that could be sent."""
        self.letters[letter.key] = letter

    def execute(self, statement: str, *values: Any) -> None:
        """Write something of which there is little."""
        self.statements.append((statement, values))

    def write(self, connection: sqlite3.Connection) -> None:
        """Write it all in one transaction."""
        connection.execute("BEGIN IMMEDIATE")
        for keys in _portions(self.withdrawn):
            connection.execute(f"DELETE FROM intents WHERE key IN ({_marks(len(keys))})", keys)  # noqa: S608 only marks
        _insert(connection, "records", self.settled.values())
        _insert(connection, _LETTERS, self.letters.values())
        _insert(connection, "intents", self.intents.values())
        for statement, values in self.statements:
            connection.execute(statement, values)
        connection.execute("COMMIT")


class LedgerWriter:
    """Takes changes from any thread and commits them.

    The first who waits for a commit makes it, for all whose changes have gathered meanwhile: a thread for all commits
    would cost one more switch between threads each time. A thread of its own only commits what nobody waits for. A
    commit that fails is the last one: from then on nothing is written, and whoever waits is told.

    Attributes:
        lost: set when the path does not name the ledger any more. Outcomes are still written to the file that is open,
            and nothing new is sent.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        path: Path,
        stop: Stop,
        look: Callable[[], VoucherifySyncError | None] = lambda: None,
    ) -> None:
        """Begin.

        Args:
            connection: the one that writes.
            path: of the ledger, for messages.
            stop: told when nothing more can be written.
            look: asked whether the ledger is still where it was opened: at a flush, and else at most once a second.
        """
        self.lost: VoucherifySyncError | None = None
        self._connection = connection
        self._path = path
        self._stop = stop
        self._look = look
        self._look_at = time.monotonic() + _LOOK_S  # when to look next
        self._gate = threading.Lock()  # to what gathers
        self._turn = threading.Lock()  # to the connection
        self._gathering = Changes()
        self._waiting = threading.Event()
        self._over = threading.Event()
        self._closing = False
        self._error: VoucherifySyncError | None = None
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self._thread.start()

    def later(self, apply: Callable[[Changes], None]) -> None:
        """Let a change ride in the next commit, at most 50 ms from now; after the end it is not kept."""
        with self._gate:
            if self._closing:
                return
            apply(self._gathering)
        if not self._waiting.is_set():
            self._waiting.set()

    def now(self, apply: Callable[[Changes], None]) -> None:
        """Return when a change is on disk.

        Raises:
            VoucherifySyncError: it is not, or nobody would find it there; RunStopped where the disk is full.
        """
        with self._gate:
            if self._closing:
                raise RunStopped("the run has ended: nothing more is sent.")
            changes = self._gathering
            apply(changes)
            is_ours = changes.take_charge()
        self._commit(changes, is_ours=is_ours)
        if self.lost is not None:
            raise self.lost

    def flush(self) -> None:
        """Return when all that was changed before is on disk.

        Raises:
            VoucherifySyncError: it is not.
        """
        with self._gate:
            changes = self._gathering
            is_ours = changes.take_charge()
        self._look_at = 0.0
        self._commit(changes, is_ours=is_ours)

    def close(self) -> None:
        """Commit what is left and end the thread. A commit that fails is told to the stop."""
        with self._gate:
            self._closing = True
        self._over.set()
        self._waiting.set()
        self._thread.join()
        with contextlib.suppress(VoucherifySyncError):
            self.flush()

    def _run(self) -> None:
        while not self._closing:
            self._waiting.wait()
            self._waiting.clear()
            self._over.wait(_LATEST_S)
            with contextlib.suppress(VoucherifySyncError):  # the stop knows
                self.flush()

    def _commit(self, changes: Changes, *, is_ours: bool) -> None:
        """Return when changes are on disk, be it by somebody else's commit."""
        if is_ours:
            self._write(changes)
        else:
            changes.written.wait()
        if changes.error:
            raise changes.error

    def _write(self, changes: Changes) -> None:
        with self._turn:
            self._look_at_file()
            with self._gate:
                self._gathering = Changes()
            if self._error is None and changes:
                try:
                    changes.write(self._connection)
                except BaseException as error:  # noqa: BLE001 whoever waits must be told, whatever it is
                    self._fail(error)
            changes.error = self._error
        changes.written.set()

    @property
    def has_failed(self) -> bool:
        """Whether a commit failed, so that what is on disk may be damaged."""
        return self._error is not None

    def _look_at_file(self) -> None:
        now = time.monotonic()
        if self.lost is None and now >= self._look_at:
            self._look_at = now + _LOOK_S
            self.lost = self._look()
            if self.lost is not None:
                self._stop.because(self.lost)

    def _fail(self, error: BaseException) -> None:
        with contextlib.suppress(sqlite3.Error):
            self._connection.execute("ROLLBACK")
        if isinstance(error, sqlite3.Error):
            self._error = explain(error, self._path)
        else:
            self._error = VoucherifySyncError(f"the ledger {self._path} failed: {error!r}.")
        self._error.__cause__ = error
        self._stop.because(self._error)


def _insert(connection: sqlite3.Connection, table: str, rows: Iterable[tuple[Any, ...]]) -> None:
    """Insert with few statements: each one lets other threads run, and then has to wait for its turn."""
    for portion in _portions(rows):
        marks = ",".join([f"({_marks(len(portion[0]))})"] * len(portion))
        statement = f"INSERT OR REPLACE INTO {table} VALUES {marks}"  # noqa: S608 only marks
        connection.execute(statement, [value for row in portion for value in row])


def _portions(items: Iterable[Any]) -> Iterator[list[Any]]:
    iterator = iter(items)
    while portion := list(islice(iterator, _ROWS)):
        yield portion


def _marks(count: int) -> str:
    return ",".join("?" * count)
