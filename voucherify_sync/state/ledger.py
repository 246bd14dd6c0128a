"""Keeps what one run sends to a Voucherify project: durable intents, outcomes and dead letters.

It never sends, and never decides what is sent.
"""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from shlex import quote
from typing import Any, Final

from msgspec import Struct, json
from msgspec.structs import asdict, replace

from voucherify_sync.errors import UsageProblem, VoucherifySyncError
from voucherify_sync.events import (
    HASH_BYTES,
    HASH_VERSION,
    SENT_TYPES,
    Event,
    Kind,
    Request,
    record_key,
    request_hash,
)
from voucherify_sync.exit_codes import ExitCode
from voucherify_sync.outcomes import FAILED_BEFORE, UNCHANGED, NotProcessed, Outcome, State
from voucherify_sync.settings.environment import state_directory
from voucherify_sync.state.dead_letters import DeadLetter, LetterSelection, compress, invalid_key, letter_of
from voucherify_sync.state.ledger_db import (
    add_identity,
    close_writable,
    connect,
    doubt_interrupted,
    explained,
    make,
    open_writable,
    refuse_copy,
    save_copy,
    transaction,
)
from voucherify_sync.state.ledger_file import LedgerLock, ProjectIdentity, bytes_in, make_directory, remove
from voucherify_sync.state.ledger_reader import (
    CODES,
    FAILED_CODES,
    KnownRecord,
    LastOrder,
    LastUpdate,
    LedgerReader,
    customer_key,
    orders_key,
)
from voucherify_sync.state.ledger_writer import LedgerWriter, SqlRow
from voucherify_sync.stop import Stop

_MAX_INVALID: Final = 10_000
"""Invalid records that a run keeps as dead letters; the others are counted, and named in its log."""

_NO_REQUEST: Final = bytes(HASH_BYTES)
_UPDATED: Final = """INSERT INTO customers VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE
    SET updated_at = coalesce(max(updated_at, excluded.updated_at), updated_at, excluded.updated_at),
    hash = excluded.hash, run = excluded.run"""
_ORDERED: Final = "INSERT OR REPLACE INTO orders VALUES (?, ?, ?, ?)"
_REFOLDED: Final = "UPDATE orders SET fold = ? WHERE key = ?"
_TOUCHED: Final = "UPDATE customers SET hash = NULL WHERE key = ?"
_COMPLETE: Final = """UPDATE dead_letters SET event = ?, status = coalesce(status, ?), answer = coalesce(answer, ?),
    source = ?, type = ?, name = ?, message_id = ? WHERE key = ? AND event IS NULL"""
_FORGET: Final = (
    # Codes 2 and 3 have failed; 5 and 6 are the same kinds of record, dismissed.
    f"""UPDATE records SET state = CASE state WHEN 8 THEN 9 ELSE state + 3 END
        WHERE state IN {FAILED_CODES} AND key IN (SELECT key FROM temp.chosen)""",  # noqa: S608
    """UPDATE dead_letters SET event = NULL, answer = NULL, message_id = NULL, source_id = NULL
        WHERE outcome = 'in_doubt' AND key IN (SELECT key FROM temp.chosen)""",
    "DELETE FROM dead_letters WHERE outcome <> 'in_doubt' AND key IN (SELECT key FROM temp.chosen)",
    "DELETE FROM orders WHERE key IN (SELECT key FROM temp.chosen)",
    # Their hashes stay, so that an order that was sent is still known.
    "UPDATE orders SET fold = x'789c030000000001' WHERE key IN (SELECT key FROM temp.emptied)",
)


class RunStart(Struct, frozen=True):
    """What a ledger keeps of a run from its start.

    Attributes:
        run_id: names the run.
        command: what was run, without names of people or files: ``replay --bulk``.
        settings_digest: equal for settings that make equal requests.
        identity: as which project Voucherify is asked.
    """

    run_id: str
    command: str
    settings_digest: str
    identity: ProjectIdentity


class Ledger(LedgerReader):
    """A ledger that one run reads and writes. It is a Journal for the delivery: an intent is on disk before a send.

    Attributes:
        saved_as: where the ledger was saved at the end, as its path named another file, or none, by then.
    """

    _intended = State.PENDING

    def __init__(
        self,
        path: Path,
        start: RunStart,
        reading: sqlite3.Connection,
        writing: sqlite3.Connection,
        lock: LedgerLock,
        stop: Stop,
        clock: Callable[[], float],
        *,
        made: Sequence[Path] | None = None,
    ) -> None:
        """Begin a run on an open ledger; `made`: the ledger is new, and so are these directories."""
        super().__init__(path, reading)
        self.run = _begin_run(writing, path, start, clock(), is_new=made is not None)
        self.saved_as: Path | None = None
        self._made = made
        self._start = start
        self._stop = stop
        self._writing = writing
        self._lock = lock
        self._clock = clock
        self._is_closed = False
        # Of each record the intents of the sends of this run that nothing has decided.
        self._open: dict[bytes, list[SqlRow]] = {}
        self._continued: set[bytes] = set()  # bodies that an earlier run had accepted
        self._accepting: set[str] = set()  # endpoints that accepted something in this run
        self._invalid = {
            key for (key,) in self._ask("SELECT key FROM dead_letters WHERE outcome = 'invalid'")
        }
        self._invalid_left = _MAX_INVALID
        self._lacks_events = bool(self._ask("SELECT 1 FROM dead_letters WHERE event IS NULL LIMIT 1"))
        self._writer = LedgerWriter(writing, path, stop, lock.check_path)

    @classmethod
    def open(
        cls,
        path: Path,
        start: RunStart,
        *,
        stop: Stop,
        is_new: bool = False,
        same_project: bool = False,
        is_whole: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> Ledger:
        """Open a ledger and begin a run. What earlier runs sent without an outcome is in doubt from now on.

        Args:
            path: of the ledger.
            start: the run.
            stop: gets the error when the ledger cannot be written any more.
            is_new: make it; where a file is it must be empty, or a ledger by which nothing was ever sent.
            same_project: add the identity of the run to those of the ledger.
            is_whole: the user says that what looks like a copy of a ledger in use is whole.
            clock: epoch seconds.

        Raises:
            UsageProblem: it is not there, is no ledger, is another project's, of a newer version, not whole, damaged,
                or cannot be written.
            RunStopped: another run holds it, or the disk is full.
        """
        if not is_new and not bytes_in(path):
            raise UsageProblem(f"the ledger {path} does not exist.", "Check the path and the mount.")
        made = make_directory(path) if is_new else None
        with ExitStack() as resources:
            lock = LedgerLock(path)
            resources.callback(lock.release)
            if is_new and not bytes_in(path):
                make(path, start.identity)
            if not is_whole:
                refuse_copy(path)
            # What was found before the lock was taken may have changed since.
            with LedgerReader(path) as reader:
                if is_new and not reader.is_empty:
                    raise UsageProblem(f"the ledger {path} is in use.", "Leave --new-ledger out.")
                if not (is_new or same_project or start.identity.is_among(reader.identities)):
                    raise UsageProblem(
                        f"the ledger {path} is that of another project.", "Name another ledger."
                    )
            writing = open_writable(path, start.run_id)
            resources.callback(close_writable, writing, path, is_sound=False)
            lock.remember_file()
            ledger = cls(path, start, connect(path, "mode=ro"), writing, lock, stop, clock, made=made)
            resources.pop_all()
            return ledger

    def look_up(self, keys: Sequence[bytes]) -> list[KnownRecord | None]:
        """Return what is known of each key, what this run did included."""
        self.flush()
        return super().look_up(keys)

    def last_orders(self, source_ids: Sequence[str]) -> list[LastOrder]:
        """Return what orders were sent last, what this run sent included."""
        self.flush()
        return super().last_orders(source_ids)

    def last_updates(self, source_ids: Sequence[str]) -> list[LastUpdate | None]:
        """Return what customers were sent last, what this run sent included."""
        self.flush()
        return super().last_updates(source_ids)

    def intend(self, request: Request) -> None:
        """Return when it is on disk that a custom event may have been sent.

        Raises:
            VoucherifySyncError: it is not, so the event must not be sent.
        """
        event, key = request.event, record_key(request.event)
        texts = (event.type, event.name, event.message_id, str(event.position), request.source_id)
        hash_, sent_at = request_hash(request.payload), self._clock()
        row = (key, hash_, self.run, sent_at, *map(_storable, texts), compress(event.raw))
        self._open.setdefault(key, []).append(row)
        self._writer.now(lambda changes: changes.intend(key, row))

    def withdraw(self, request: Request, proof: NotProcessed) -> None:
        """Take the last intent back, for a proof that this send was not processed.

        The intent of an earlier send in this run, which is in doubt, takes its place again. What an earlier run left in
        doubt is so all the time.
        """
        key = record_key(request.event)
        earlier = self._open.pop(key, [])[:-1]
        if not earlier:
            self._writer.later(lambda changes: changes.withdraw(key))
        else:
            self._open[key] = earlier
            self._writer.later(lambda changes: changes.intend(key, earlier[-1]))

    def record(self, outcome: Outcome) -> None:
        """Keep an outcome with its dead letter; it is on disk within 50 ms, or the stop gets the error.

        Delivered, failed and invalid are kept, and in doubt where this run intended it: a doubt of an earlier run stays
        as it is. An update whose customer was sent with the same values is kept as delivered: a run that was stopped
        sent it, and did not come to its record. A failed update that a newer one has superseded is dismissed. Pending
        leaves no trace, and takes no intent back: that needs a proof.
        """
        event, state = outcome.record, outcome.state
        is_dismissed = state is State.SKIPPED and outcome.reason == "superseded"
        if state is State.INVALID:
            self._keep_invalid(outcome)
        elif not isinstance(event, Event):
            return
        elif state is State.DUPLICATE and outcome.reason == UNCHANGED:
            self._settle(event, replace(outcome, state=State.DELIVERED))
        elif state is State.DUPLICATE:
            self._drop_invalid(event)
        elif state is State.IN_DOUBT:
            self._doubt(event, outcome)
        elif state is State.FAILED and outcome.reason == FAILED_BEFORE:
            self.complete(event)
        elif is_dismissed or state in {State.DELIVERED, State.FAILED}:
            self._settle(event, outcome)

    def accepted_at(self, endpoint: str) -> None:
        """Keep that Voucherify accepted a call of this run at an endpoint."""
        if endpoint not in self._accepting:
            self._accepting.add(endpoint)
            row = (endpoint, self._start.identity.key, self._start.settings_digest, self.run)
            self._execute("INSERT OR IGNORE INTO accepted VALUES (?, ?, ?, ?)", *row)

    def complete(self, event: Event, status: int | None = None, answer: bytes | None = None) -> None:
        """Give the dead letter of an event, if it has none, its event."""
        if self._lacks_events:
            texts = map(_storable, (str(event.position), event.type, event.name, event.message_id))
            self._execute(_COMPLETE, compress(event.raw), status, answer, *texts, record_key(event))

    def forget_old_files(self) -> None:
        """Note that the dead letters in files of an earlier version were taken over."""
        self._execute("DELETE FROM header WHERE name = 'dead_letter_files'")

    def remember_action(self, body_hash: bytes, action_id: str) -> None:
        """Return when it is on disk that a bulk request was accepted, and as which async action."""
        accepted = "INSERT OR REPLACE INTO actions VALUES (?, ?, ?)"
        self._writer.now(lambda changes: changes.execute(accepted, body_hash, action_id, self.run))

    def action(self, body_hash: bytes, first_run: int = 0) -> str | None:
        """Return the async action as which a bulk request was accepted by a run, or by an earlier one since that."""
        rows = self._ask("SELECT action FROM actions WHERE hash = ? AND run >= ?", (body_hash, first_run))
        if rows:
            self._continued.add(body_hash)
        return rows[0][0] if rows else None

    def forget_actions(self) -> None:
        """Forget which bulk requests of this run were accepted, once all that they held is remembered.

        Those of a run that was stopped stay, until one over the same input goes on with them.
        """
        self._execute("DELETE FROM actions WHERE run = ?", self.run)
        for body_hash in self._continued:
            self._execute("DELETE FROM actions WHERE hash = ?", body_hash)
        self._execute("INSERT OR REPLACE INTO header VALUES ('remembering_run', ?)", str(self.run))

    def was_posted(self, source_id: str) -> bool:
        """Tell whether an order was accepted by an import before."""
        ((count,),) = self._ask("SELECT count(*) FROM orders WHERE key = ?", (orders_key(source_id),))
        return bool(count)

    def remember_order(self, order_id: str, payload: bytes, state: bytes) -> None:
        """Keep what an order was sent last, and the fold of its events."""
        self._execute(_ORDERED, orders_key(order_id), request_hash(payload), self.run, compress(state))
        self._execute("DELETE FROM orders WHERE key = ?", orders_key(order_id, has_failed=True))

    def remember_unchanged_order(self, order_id: str, state: bytes) -> None:
        """Keep the fold of the events of an order, of which an earlier run sent just these values."""
        self._execute(_REFOLDED, compress(state), orders_key(order_id))

    def remember_refused_order(self, order_id: str, payload: bytes, state: bytes) -> None:
        """Keep an order that was refused or not sent, and the fold of its events, for when `retry` sends it."""
        key, fold = orders_key(order_id, has_failed=True), compress(state + b"\n" + payload)
        self._execute(_ORDERED, key, request_hash(payload), self.run, fold)

    def remember_update(self, source_id: str, update: LastUpdate) -> None:
        """Keep what a customer was sent last, and the time of the newest update of all.

        A time later than now counts as now: the clock of the device that made the event was ahead.
        """
        at = min(update.updated_at.timestamp(), self._clock()) if update.updated_at else None
        self._execute(_UPDATED, customer_key(source_id), at, update.hash, self.run)

    def touch_customer(self, source_id: str) -> None:
        """Note that a customer was sent fields with a custom event: what it was sent last is not known any more."""
        self._execute(_TOUCHED, customer_key(source_id))

    def flush(self) -> None:
        """Return when all that was recorded is on disk.

        Raises:
            VoucherifySyncError: it is not.
        """
        self._writer.flush()

    def end_run(self, exit_code: int, counts: Mapping[str, int]) -> None:
        """Keep how the run ended."""
        ended = "UPDATE runs SET ended_at = ?, exit_code = ?, counts = ? WHERE id = ?"
        self._execute(ended, self._clock(), int(exit_code), json.encode(dict(counts)).decode(), self.run)

    def close(self) -> None:
        """Commit what is left, make one file of the ledger, and let the next run in; may be called twice.

        The stop gets the error of what fails. A ledger that this run made is removed where the run ends for a mistake
        of the user (exit code 2) and nothing was sent.
        """
        if self._is_closed:
            return
        self._is_closed = True
        self._writer.close()
        error = self._stop.error
        is_mistake = error is not None and error.exit_code is ExitCode.USAGE
        is_useless = self._made is not None and is_mistake and self.is_empty
        self._reading.close()  # it would hold up the checkpoint
        assert self.path is not None  # noqa: S101  # it was opened by its path
        try:
            if self._lock.is_lost:
                self._save(self.path)
            else:
                close_writable(self._writing, self.path, is_sound=self._writer.error is None)
                if is_useless:
                    remove(self.path, self._made or ())
        except VoucherifySyncError as error:
            self._stop.because(error)
        finally:
            self._writing.close()
            self._lock.release()

    def _execute(self, statement: str, *values: Any) -> None:
        self._writer.later(lambda changes: changes.execute(statement, *values))

    def _settle(self, event: Event, outcome: Outcome) -> None:
        """Keep how a record ended for good."""
        key, request, hash_ = record_key(event), outcome.request, _NO_REQUEST
        if request is not None:
            kind, hash_ = request.kind, request_hash(request.payload)
        else:  # it was part of a bulk request
            type_ = SENT_TYPES.get(event.type)
            kind = Kind.EVENT if type_ is None else type_.kind
        state = outcome.state if outcome.state is not State.SKIPPED else State.DUPLICATE  # dismissed
        row = (key, hash_, self.run, CODES[state, kind])
        letter = self._row(letter_of(outcome, "")) if outcome.state is State.FAILED else None
        self._open.pop(key, None)
        self._writer.later(lambda changes: changes.settle(key, row, letter))
        self._drop_invalid(event)

    def _doubt(self, event: Event, outcome: Outcome) -> None:
        """Keep a doubt that arose in this run; of an older one at most the event was missing."""
        intents = self._open.pop(record_key(event), None)
        if intents is None:
            self.complete(event)
            return
        key, hash_, run, sent_at, *_, source_id, _ = intents[-1]
        row = (key, hash_, run, CODES[State.IN_DOUBT, Kind.EVENT])
        letter = self._row(replace(letter_of(outcome, "", sent_at), source_id=source_id))
        self._writer.later(lambda changes: changes.settle(key, row, letter))
        self._drop_invalid(event)

    def _keep_invalid(self, outcome: Outcome) -> None:
        if self._invalid_left and outcome.record.raw:
            letter = letter_of(outcome, "")
            key, row = letter.key or b"", self._row(letter)
            self._invalid_left -= key not in self._invalid
            self._invalid.add(key)
            self._writer.later(lambda changes: changes.keep(key, row))

    def _drop_invalid(self, event: Event) -> None:
        """Remove the dead letter of a record that was invalid in an earlier run, or before it was edited."""
        if self._invalid:
            for key in {invalid_key(event.raw), event.letter} & self._invalid:
                self._invalid.discard(key)
                self._execute("DELETE FROM dead_letters WHERE key = ?", key)

    def _row(self, letter: DeadLetter) -> SqlRow:
        """Return a dead letter of this run as a row of the table."""
        fields = asdict(letter) | {"run": self.run, "event": compress(letter.event or b"")}
        fields["order_body"] = letter.order_body and compress(letter.order_body)
        return tuple(_storable(value) if isinstance(value, str) else value for value in fields.values())

    def _save(self, path: Path) -> None:
        """Save what is open where it can be found again, and say where."""
        lost = self._writer.lost
        assert lost is not None  # noqa: S101  # it says that the file was lost
        folders: tuple[Callable[[], Path], ...] = (lambda: path.parent, state_directory)
        for folder_of in folders:
            try:
                copy = folder_of() / f"{path.name}.saved-{self._start.run_id}"
                save_copy(self._writing, copy)
            except VoucherifySyncError:
                continue
            self.saved_as = copy
            made = "" if path.parent.exists() else f"mkdir -p {quote(str(path.parent))} && "
            back = f"{made}mv {quote(str(copy))} {quote(str(path))}"
            lost.remedy = f"All that it knew is in {copy}. Put it back, then go on: {back}"
            return
        lost.remedy = "It could not be saved either: what this run sent is in its report only."


def _begin_run(
    connection: sqlite3.Connection, path: Path, start: RunStart, started_at: float, *, is_new: bool
) -> int:
    """Write a new run, once all that earlier ones left open is in doubt; return the number of the run."""
    with explained(path), transaction(connection):
        doubt_interrupted(connection)
        if is_new:  # a ledger by which nothing was sent may have been made for another project
            connection.execute("DELETE FROM identities")
        add_identity(connection, start.identity)
        (run,) = connection.execute("SELECT coalesce(max(id), 0) + 1 FROM runs").fetchone()
        connection.execute(
            "INSERT INTO runs (id, name, started_at, settings, command, hash_version) VALUES (?, ?, ?, ?, ?, ?)",
            (run, start.run_id, started_at, start.settings_digest, start.command, HASH_VERSION),
        )
    return int(run)


def forget(path: Path, selection: LetterSelection, *, is_whole: bool = False) -> Mapping[State, int]:
    """Remove dead letters from a ledger: what had failed is dismissed, what is in doubt stays so without its event.

    What is removed cannot be read from the file any more. Of the orders of selected customers the folds go, too.

    Args:
        path: of the ledger.
        selection: of dead letters.
        is_whole: the user says that what looks like a copy of a ledger in use is whole.

    Returns:
        How many dead letters of each outcome were removed, or lost their event.

    Raises:
        UsageProblem: the ledger cannot be used.
        RunStopped: a run holds it, or the disk is full.
    """
    counts = Counter[State]()
    is_sound = False
    with ExitStack() as resources:
        resources.callback(LedgerLock(path).release)
        if not is_whole:
            refuse_copy(path)
        connection = open_writable(path, "forget")
        resources.callback(lambda: close_writable(connection, path, is_sound=is_sound))
        with explained(path):
            with transaction(connection):
                doubt_interrupted(connection)
            connection.execute("CREATE TEMP TABLE chosen (key BLOB PRIMARY KEY) WITHOUT ROWID")
            connection.execute("CREATE TEMP TABLE emptied (key BLOB PRIMARY KEY) WITHOUT ROWID")
            with LedgerReader(path) as reader:
                for key in reader.orders_of(selection):
                    connection.execute("INSERT INTO temp.emptied VALUES (?)", (key,))
                for letter in reader.dead_letters(selection):
                    counts[letter.outcome] += 1
                    connection.execute("INSERT INTO temp.chosen VALUES (?)", (letter.key,))
                    if letter.order_body is not None:
                        order_id = json.decode(letter.order_body)["source_id"]
                        failed = orders_key(order_id, has_failed=True)
                        connection.execute("INSERT OR IGNORE INTO temp.chosen VALUES (?)", (failed,))
            with transaction(connection):
                for statement in _FORGET:
                    connection.execute(statement)
        is_sound = True
    return counts


def _storable(text: str | None) -> str | None:
    """Return a text that SQLite takes: what is no Unicode, such as in a file's name, becomes a question mark."""
    return text if text is None or text.isascii() else text.encode(errors="replace").decode()
