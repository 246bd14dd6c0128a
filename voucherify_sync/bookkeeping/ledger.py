"""What a Voucherify project has been sent: intents and outcomes in, durable; what is known of a record out.

It never sends, and never decides what is sent.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from msgspec import json

from voucherify_sync.bookkeeping.ledger_file import make_directory, make_file, sync_directory
from voucherify_sync.bookkeeping.ledger_lock import LedgerLock
from voucherify_sync.bookkeeping.ledger_reader import Known, LastUpdate, LedgerReader, customer_key
from voucherify_sync.bookkeeping.ledger_schema import explain, open_readable, open_writable
from voucherify_sync.bookkeeping.ledger_writer import Changes, Intent, LedgerWriter, Settled, Unresolved
from voucherify_sync.keys import HASH_BYTES, record_key, request_hash
from voucherify_sync.model import Kind, Operation, Outcome, SegmentEvent, State
from voucherify_sync.stop import Stop

__all__ = ["LastUpdate", "Ledger"]

_CODES = {
    (State.DELIVERED, Kind.EVENT): 0,
    (State.DELIVERED, Kind.CUSTOMER): 1,
    (State.FAILED, Kind.EVENT): 2,
    (State.FAILED, Kind.CUSTOMER): 3,
    (State.IN_DOUBT, Kind.EVENT): 4,
}
_IN_DOUBT = 4
_NO_REQUEST = bytes(HASH_BYTES)
_SET_CLEAN = "UPDATE header SET value = ? WHERE name = 'clean'"
_UPDATED = """INSERT INTO customers VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE
    SET updated_at = excluded.updated_at, hash = excluded.hash
    WHERE updated_at IS NULL OR excluded.updated_at >= updated_at"""


class Ledger(LedgerReader):
    """A ledger that one run reads and writes. It is a Journal for the delivery: an intent is on disk before a send."""

    _intended = State.PENDING

    def __init__(
        self,
        path: Path,
        run: int,
        reading: sqlite3.Connection,
        writer: LedgerWriter,
        resources: ExitStack,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(reading, path)
        self.run = run
        self._writer = writer
        self._resources = resources
        self._clock = clock
        self._open: dict[bytes, Intent] = {}

    @classmethod
    def open(
        cls,
        path: Path,
        url: str,
        key_hash: str,
        *,
        run_id: str,
        settings_digest: str,
        stop: Stop,
        clock: Callable[[], float] = time.time,
    ) -> Ledger:
        """Open or make a ledger and begin a run. What earlier runs sent without an outcome is in doubt from now on.

        Raises:
            UsageProblem: it is no ledger, or one of another URL or of a newer version, or damaged, or not writable.
            RunStopped: another run holds it, or the disk is full.
        """
        make_directory(path)
        with ExitStack() as resources:
            resources.callback(LedgerLock(path).release)
            make_file(path)
            writing = open_writable(path, url, key_hash)
            resources.callback(writing.close)
            run = _begin_run(writing, path, run_id, settings_digest, clock())
            sync_directory(path)
            reading = open_readable(path, url)
            resources.callback(reading.close)
            return cls(path, run, reading, LedgerWriter(writing, path, stop), resources.pop_all(), clock)

    def look_up(self, keys: Sequence[bytes]) -> list[Known | None]:
        """Return what is known of each key, what this run did included."""
        self.flush()
        return super().look_up(keys)

    def intend(self, operation: Operation) -> None:
        """Return when it is on disk that a custom event may have been sent.

        Raises:
            VoucherifySyncError: it is not, so the event must not be sent.
        """
        event = operation.event
        intent = Intent(
            key=record_key(event),
            hash=request_hash(operation.payload),
            run=self.run,
            sent_at=self._clock(),
            type=_text(event.type),
            name=event.name and _text(event.name),
            message_id=event.message_id and _text(event.message_id),
            source=_text(str(event.position)),
        )
        self._open[intent.key] = intent
        self._writer.now(lambda changes: changes.intend(intent))

    def withdraw(self, operation: Operation) -> None:
        """Take an intent back: the event was not sent, or was proved not processed."""
        self._withdraw(record_key(operation.event))

    def record(self, outcome: Outcome) -> None:
        """Keep an outcome; it is on disk within 50 ms, or the stop is told why not.

        Delivered and failed are kept. In doubt is what this run intended: a doubt of an earlier run stays as it is.
        Pending means unsent, so its intent is withdrawn. The other states leave no trace.
        """
        event = outcome.record
        if not isinstance(event, SegmentEvent):
            return
        if outcome.state in {State.DELIVERED, State.FAILED}:
            self._settle(record_key(event), outcome)
        elif outcome.state in {State.IN_DOUBT, State.PENDING} and self._open:
            key = record_key(event)
            if key not in self._open:
                return
            if outcome.state is State.PENDING:
                self._withdraw(key)
            else:
                self._doubt(self._open.pop(key), outcome.reason)

    def flush(self) -> None:
        """Return when all that was recorded is on disk.

        Raises:
            VoucherifySyncError: it is not.
        """
        self._writer.flush()

    def end_run(self, exit_code: int, counts: Mapping[str, int]) -> None:
        """Keep how the run ended."""
        text = json.encode(dict(counts)).decode()
        ended = "UPDATE runs SET ended_at = ?, exit_code = ?, counts = ? WHERE id = ?"
        self._writer.later(
            lambda changes: changes.execute(ended, self._clock(), int(exit_code), text, self.run)
        )

    def close(self) -> None:
        """Commit what is left, close the file and let the next run in. What fails is told to the stop."""
        self._writer.later(lambda changes: changes.execute(_SET_CLEAN, "1"))
        self._writer.close()
        self._resources.close()

    def remember_action(self, body_hash: bytes, action_id: str) -> None:
        """Return when it is on disk that a bulk request was accepted, and as which async action."""
        accepted = "INSERT OR REPLACE INTO actions VALUES (?, ?, ?)"
        self._writer.now(lambda changes: changes.execute(accepted, body_hash, action_id, self.run))

    def action(self, body_hash: bytes) -> str | None:
        """Return the async action as which a bulk request was accepted."""
        rows = self._ask("SELECT action FROM actions WHERE hash = ?", (body_hash,))
        return rows[0][0] if rows else None

    def remember_update(self, source_id: str, update: LastUpdate) -> None:
        """Keep what a customer was sent last; an update older than the one that is kept changes nothing."""
        at = update.updated_at.timestamp() if update.updated_at else None
        self._writer.later(
            lambda changes: changes.execute(_UPDATED, customer_key(source_id), at, update.hash)
        )

    def forget_actions(self) -> None:
        """Forget which bulk requests were accepted, once their customers are remembered."""
        self._writer.later(lambda changes: changes.execute("DELETE FROM actions"))

    def last_updates(self, source_ids: Sequence[str]) -> list[LastUpdate | None]:
        """Return what customers were sent last, what this run sent included."""
        self.flush()
        return super().last_updates(source_ids)

    def _withdraw(self, key: bytes) -> None:
        self._open.pop(key, None)
        self._writer.later(lambda changes: changes.withdraw(key))

    def _settle(self, key: bytes, outcome: Outcome) -> None:
        self._open.pop(key, None)
        code = _CODES[outcome.state, _kind(outcome)]
        hash_ = request_hash(outcome.operation.payload) if outcome.operation else _NO_REQUEST
        settled = Settled(key, hash_, self.run, code)
        reason = outcome.reason and _text(outcome.reason)
        why = Unresolved(key, code, reason) if outcome.state is State.FAILED else None
        self._writer.later(lambda changes: changes.settle(settled, why))

    def _doubt(self, intent: Intent, reason: str | None) -> None:
        self._writer.later(lambda changes: _leave_in_doubt(changes, intent, reason))


def _begin_run(
    connection: sqlite3.Connection, path: Path, run_id: str, settings_digest: str, started_at: float
) -> int:
    """Write a new run and make doubts of the intents that are left; return the number of the run."""
    changes = Changes()
    try:
        (run,) = connection.execute("SELECT coalesce(max(id), 0) + 1 FROM runs").fetchone()
        for row in connection.execute("SELECT * FROM intents"):
            _leave_in_doubt(changes, Intent(*row), "interrupted")
        changes.execute(
            "INSERT INTO runs (id, name, started_at, settings) VALUES (?, ?, ?, ?)",
            *(run, run_id, started_at, settings_digest),
        )
        changes.execute(_SET_CLEAN, "0")
        changes.write(connection)
    except sqlite3.Error as error:
        raise explain(error, path) from error
    return int(run)


def _leave_in_doubt(changes: Changes, intent: Intent, reason: str | None) -> None:
    settled = Settled(intent.key, intent.hash, intent.run, _IN_DOUBT)
    details = (intent.sent_at, intent.type, intent.name, intent.message_id, intent.source)
    changes.settle(settled, Unresolved(intent.key, _IN_DOUBT, reason and _text(reason), *details))


def _kind(outcome: Outcome) -> Kind:
    """Tell what a record became; one that rode in a bulk request has no request of its own, but a type."""
    if outcome.operation:
        return outcome.operation.kind
    return Kind.EVENT if outcome.record.type == "track" else Kind.CUSTOMER


def _text(text: str) -> str:
    """Return a text that SQLite takes: what is no Unicode, such as in a file's name, becomes a question mark."""
    return text if text.isascii() else text.encode(errors="replace").decode()
