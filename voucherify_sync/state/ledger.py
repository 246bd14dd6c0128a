"""What a Voucherify project has been sent, as one run keeps it: durable intents, outcomes and dead letters.

It never sends, and never decides what is sent.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from shlex import quote
from typing import Final

from msgspec import Struct, json

from voucherify_sync.errors import ExitCode, UsageProblem, VoucherifySyncError
from voucherify_sync.events import (
    HASH_BYTES,
    HASH_VERSION,
    Event,
    Kind,
    Request,
    record_key,
    request_hash,
)
from voucherify_sync.outcomes import FAILED_BEFORE, NotProcessed, Outcome, State
from voucherify_sync.settings.environment import state_directory
from voucherify_sync.state.dead_letters import ANSWER_BYTES, compress, invalid_key, letter_of
from voucherify_sync.state.ledger_db import (
    close_writable,
    explain,
    identity_row,
    make,
    open_beside,
    open_writable,
    refuse_copy,
    save_copy,
)
from voucherify_sync.state.ledger_file import LedgerLock, ProjectIdentity, bytes_in, make_directory, remove
from voucherify_sync.state.ledger_reader import Known, LastUpdate, LedgerReader, customer_key
from voucherify_sync.state.ledger_writer import Changes, Intent, LedgerWriter, LetterRow, Settled
from voucherify_sync.stop import Stop

__all__ = ["LastUpdate", "Ledger", "RunStart"]

MOST_INVALID: Final = 10_000
"""Invalid records that a run keeps as dead letters; the others are counted, and named in its log."""

_CODES: Final = {
    (State.DELIVERED, Kind.EVENT): 0,
    (State.DELIVERED, Kind.CUSTOMER): 1,
    (State.FAILED, Kind.EVENT): 2,
    (State.FAILED, Kind.CUSTOMER): 3,
    (State.IN_DOUBT, Kind.EVENT): 4,
}
DISMISSED: Final = {Kind.EVENT: 5, Kind.CUSTOMER: 6}
"""Codes of records that had failed and were given up: `forget`, and updates that a newer one has superseded."""
_IN_DOUBT: Final = 4
_NO_REQUEST: Final = bytes(HASH_BYTES)
_UPDATED: Final = """INSERT INTO customers VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE
    SET updated_at = excluded.updated_at, hash = excluded.hash, run = excluded.run
    WHERE updated_at IS NULL OR excluded.updated_at >= updated_at"""
_COMPLETE: Final = """UPDATE dead_letters SET event = ?, status = coalesce(status, ?), answer = coalesce(answer, ?),
    source = ?, type = ?, name = ?, message_id = ? WHERE key = ? AND event IS NULL"""


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
        run: int,
        reading: sqlite3.Connection,
        writing: sqlite3.Connection,
        lock: LedgerLock,
        stop: Stop,
        clock: Callable[[], float],
        *,
        is_new: bool,
        made: Sequence[Path] = (),
    ) -> None:
        super().__init__(reading, path)
        self._is_new = is_new
        self._made = made
        self.run = run
        self.saved_as: Path | None = None
        self._is_closed = False
        self._start = start
        self._stop = stop
        self._writing = writing
        self._lock = lock
        self._writer = LedgerWriter(writing, path, stop, lock.problem)
        self._clock = clock
        # Of each record the sends of this run that nothing has decided.
        self._open: dict[bytes, list[Intent]] = {}
        self._noted: set[str] = set()  # endpoints that accepted something in this run
        self._invalid = {
            key for (key,) in self._ask("SELECT key FROM dead_letters WHERE outcome = 'invalid'")
        }
        self._invalid_left = MOST_INVALID
        self._lacks_events = bool(self._ask("SELECT 1 FROM dead_letters WHERE event IS NULL LIMIT 1"))

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
            stop: told when the ledger cannot be written any more.
            is_new: make it; where a file is it must be empty, or a ledger by which nothing was ever sent.
            same_project: add the identity of the run to those of the ledger.
            is_whole: the user says that what looks like a copy of a ledger in use is whole.
            clock: epoch seconds.

        Raises:
            UsageProblem: it is not there, is no ledger, is another project's, of a newer version, not whole, damaged,
                or cannot be written.
            RunStopped: another run holds it, or the disk is full.
        """
        made: list[Path] = []
        if is_new:
            made = make_directory(path)
        elif not bytes_in(path):
            raise UsageProblem(f"the ledger {path} does not exist.", "Check the path and the mount.")
        with ExitStack() as resources:
            lock = LedgerLock(path)
            resources.callback(lock.release)
            if is_new and not bytes_in(path):
                make(path, start.identity)
            if not is_whole:
                refuse_copy(path)
            with LedgerReader.read(path) as reader:
                if is_new and not reader.is_empty:
                    raise UsageProblem(f"the ledger {path} is in use.", "Leave --new-ledger out.")
                if not (is_new or same_project or reader.belongs_to(start.identity)):
                    raise UsageProblem(
                        f"the ledger {path} is that of another project.", "Name another ledger."
                    )
            writing = open_writable(path, start.run_id)
            resources.callback(close_writable, writing, path, is_sound=False)
            lock.hold()
            run = _begin_run(writing, path, start, clock(), adds_identity=same_project, is_new=is_new)
            ledger = cls(
                path, start, run, open_beside(path), writing, lock, stop, clock, is_new=is_new, made=made
            )
            resources.pop_all()
            return ledger

    def look_up(self, keys: Sequence[bytes]) -> list[Known | None]:
        """Return what is known of each key, what this run did included."""
        self.flush()
        return super().look_up(keys)

    def intend(self, request: Request) -> None:
        """Return when it is on disk that a custom event may have been sent.

        Raises:
            VoucherifySyncError: it is not, so the event must not be sent.
        """
        event = request.event
        intent = Intent(
            key=record_key(event),
            hash=request_hash(request.payload),
            run=self.run,
            sent_at=self._clock(),
            type=_text(event.type),
            name=_optional(event.name),
            message_id=_optional(event.message_id),
            source=_text(str(event.position)),
            source_id=_text(request.source_id),
            event=compress(event.raw),
        )
        self._open.setdefault(intent.key, []).append(intent)
        self._writer.now(lambda changes: changes.intend(intent))

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
            self._writer.later(lambda changes: changes.intend(earlier[-1]))

    def record(self, outcome: Outcome) -> None:
        """Keep an outcome with its dead letter; it is on disk within 50 ms, or the stop is told why not.

        Delivered, failed and invalid are kept, and in doubt where this run intended it: a doubt of an earlier run stays
        as it is. Pending leaves no trace, and takes no intent back: that needs a proof.
        """
        match outcome.state:
            case State.DELIVERED:
                self._settle(outcome, None)
            case State.FAILED if outcome.reason == FAILED_BEFORE:
                if isinstance(outcome.record, Event):
                    self.complete(outcome.record)
            case State.FAILED:
                self._settle(outcome, self._letter(outcome))
            case State.IN_DOUBT:
                self._doubt(outcome)
            case State.INVALID:
                self._keep_invalid(outcome)
            case State.SKIPPED if outcome.reason == "superseded":
                self._dismiss(outcome)
            case State.DUPLICATE:
                self._drop_invalid(outcome)

    def accepted_at(self, endpoint: str) -> None:
        """Keep that Voucherify accepted a call of this run at an endpoint."""
        if endpoint not in self._noted:
            self._noted.add(endpoint)
            row = (endpoint, self._start.identity.key, self._start.settings_digest, self.run)
            self._writer.later(
                lambda changes: changes.execute("INSERT OR IGNORE INTO accepted VALUES (?, ?, ?, ?)", *row)
            )

    def complete(self, event: Event, status: int | None = None, answer: bytes | None = None) -> None:
        """Give the dead letter of an event, if it has none, its event."""
        if self._lacks_events:
            texts = map(_optional, (str(event.position), event.type, event.name, event.message_id))
            values = (compress(event.raw), status, answer, *texts, record_key(event))
            self._writer.later(lambda changes: changes.execute(_COMPLETE, *values))

    def has_taken_over(self) -> None:
        """Note that the files of an earlier version were read."""
        self._writer.later(
            lambda changes: changes.execute("DELETE FROM header WHERE name = 'dead_letter_files'")
        )

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
        """Commit what is left, make one file of the ledger, and let the next run in; may be called twice.

        What fails is told to the stop. A ledger that this run made is removed where the run ends for a mistake of
        the user (exit code 2) and nothing was sent.
        """
        if self._is_closed:
            return
        self._is_closed = True
        self._writer.close()
        error = self._stop.error
        is_useless = (
            self._is_new and error is not None and error.exit_code is ExitCode.USAGE and self.is_empty
        )
        self._reading.close()  # it would hold up the checkpoint
        assert self.path is not None  # noqa: S101  # it was opened by its path
        try:
            if self._lock.is_lost:
                self._save()
            else:
                close_writable(self._writing, self.path, is_sound=not self._writer.has_failed)
                if is_useless:
                    remove(self.path, self._made)
        except VoucherifySyncError as error:
            self._stop.because(error)
        finally:
            self._writing.close()
            self._lock.release()

    def remember_action(self, body_hash: bytes, action_id: str) -> None:
        """Return when it is on disk that a bulk request was accepted, and as which async action."""
        accepted = "INSERT OR REPLACE INTO actions VALUES (?, ?, ?)"
        self._writer.now(lambda changes: changes.execute(accepted, body_hash, action_id, self.run))

    def action(self, body_hash: bytes) -> str | None:
        """Return the async action as which a bulk request was accepted."""
        rows = self._ask("SELECT action FROM actions WHERE hash = ?", (body_hash,))
        return rows[0][0] if rows else None

    def remember_update(self, source_id: str, update: LastUpdate) -> None:
        """Keep what a customer was sent last; an update older than the one that is kept changes nothing.

        A time later than now counts as now: the clock of whoever made the event was ahead.
        """
        at = min(update.updated_at.timestamp(), self._clock()) if update.updated_at else None
        self._writer.later(
            lambda changes: changes.execute(_UPDATED, customer_key(source_id), at, update.hash, self.run)
        )

    def forget_actions(self) -> None:
        """Forget which bulk requests were accepted, once their customers are remembered."""
        self._writer.later(lambda changes: changes.execute("DELETE FROM actions"))

    def last_updates(self, source_ids: Sequence[str]) -> list[LastUpdate | None]:
        """Return what customers were sent last, what this run sent included."""
        self.flush()
        return super().last_updates(source_ids)

    def _settle(self, outcome: Outcome, letter: LetterRow | None) -> None:
        if not isinstance(outcome.record, Event):
            return
        key = record_key(outcome.record)
        self._open.pop(key, None)
        hash_ = request_hash(outcome.request.payload) if outcome.request else _NO_REQUEST
        settled = Settled(key, hash_, self.run, _CODES[outcome.state, _kind(outcome)])
        self._writer.later(lambda changes: changes.settle(settled, letter))
        self._drop_invalid(outcome)

    def _doubt(self, outcome: Outcome) -> None:
        """Keep a doubt that arose in this run; of an older one at most the event was missing."""
        if not isinstance(outcome.record, Event):
            return
        intents = self._open.pop(record_key(outcome.record), None)
        if intents is None:
            self.complete(outcome.record)
        else:
            self._writer.later(
                lambda changes: _leave_in_doubt(
                    changes, intents[-1], outcome.reason, outcome.status, outcome.response
                )
            )
            self._drop_invalid(outcome)

    def _dismiss(self, outcome: Outcome) -> None:
        request = outcome.request
        if request is not None:
            key, hash_ = record_key(request.event), request_hash(request.payload)
            settled = Settled(key, hash_, self.run, DISMISSED[request.kind])
            self._writer.later(lambda changes: changes.settle(settled))

    def _keep_invalid(self, outcome: Outcome) -> None:
        if self._invalid_left and outcome.record.raw:
            letter = self._letter(outcome)
            self._invalid_left -= letter.key not in self._invalid
            self._invalid.add(letter.key)
            self._writer.later(lambda changes: changes.keep(letter))

    def _drop_invalid(self, outcome: Outcome) -> None:
        """Remove the dead letter of a record that was invalid in an earlier run, or before it was edited."""
        event = outcome.record
        if not self._invalid or not isinstance(event, Event):
            return
        for key in {invalid_key(event.raw), event.letter} & self._invalid:
            self._invalid.discard(key)
            self._writer.later(partial(_delete_letter, key))

    def _letter(self, outcome: Outcome) -> LetterRow:
        letter = letter_of(outcome, self._start.run_id)
        assert letter.key is not None and letter.event is not None  # noqa: S101, PT018  # of an outcome
        return LetterRow(
            key=letter.key,
            run=self.run,
            outcome=letter.outcome,
            reason=_optional(letter.reason),
            status=letter.status,
            answer=letter.answer,
            source=_text(letter.source),
            type=_optional(letter.type),
            name=_optional(letter.name),
            message_id=_optional(letter.message_id),
            source_id=_optional(letter.source_id),
            sent_at=None,
            event=compress(letter.event),
        )

    def _save(self) -> None:
        """Save what is open where it can be found again, and say where."""
        assert self.path is not None and self._writer.lost is not None  # noqa: S101, PT018  # it was opened by its path
        name = f"{self.path.name}.saved-{self._start.run_id}"
        for folder_of in (lambda path: path.parent, lambda _: state_directory()):
            try:
                place = folder_of(self.path) / name
                save_copy(self._writing, place)
            except VoucherifySyncError:
                continue
            self.saved_as = place
            made = "" if self.path.parent.exists() else f"mkdir -p {quote(str(self.path.parent))} && "
            back = f"{made}mv {quote(str(place))} {quote(str(self.path))}"
            self._writer.lost.remedy = f"All that it knew is in {place}. Put it back, then go on: {back}"
            return
        self._writer.lost.remedy = "It could not be saved either: what this run sent is in its report only."


def _begin_run(
    connection: sqlite3.Connection,
    path: Path,
    start: RunStart,
    started_at: float,
    *,
    adds_identity: bool,
    is_new: bool,
) -> int:
    """Write a new run, once all that earlier ones left open is in doubt; return the number of the run."""
    try:
        changes = intents_in_doubt(connection)
        if is_new:
            changes.execute("DELETE FROM identities")
        if is_new or adds_identity:
            changes.execute(*identity_row(start.identity))
        (run,) = connection.execute("SELECT coalesce(max(id), 0) + 1 FROM runs").fetchone()
        changes.execute(
            "INSERT INTO runs (id, name, started_at, settings, command, hash_version) VALUES (?, ?, ?, ?, ?, ?)",
            *(run, start.run_id, started_at, start.settings_digest, start.command, HASH_VERSION),
        )
        changes.write(connection)
    except sqlite3.Error as error:
        raise explain(error, path) from error
    return int(run)


def intents_in_doubt(connection: sqlite3.Connection) -> Changes:
    """Return the changes that leave in doubt what a run that was killed had sent, or was about to send."""
    changes = Changes()
    columns = ", ".join(Intent._fields)
    for row in connection.execute(f"SELECT {columns} FROM intents"):  # noqa: S608 our own names
        _leave_in_doubt(changes, Intent(*row), "interrupted")
    return changes


def _leave_in_doubt(
    changes: Changes,
    intent: Intent,
    reason: str | None,
    status: int | None = None,
    answer: bytes | None = None,
) -> None:
    settled = Settled(intent.key, intent.hash, intent.run, _IN_DOUBT)
    letter = LetterRow(
        key=intent.key,
        run=intent.run,
        outcome=State.IN_DOUBT,
        reason=_optional(reason),
        status=status,
        answer=answer and answer[:ANSWER_BYTES],
        source=intent.source,
        type=intent.type,
        name=intent.name,
        message_id=intent.message_id,
        source_id=intent.source_id,
        sent_at=intent.sent_at,
        event=intent.event,
    )
    changes.settle(settled, letter)


def _delete_letter(key: bytes | None, changes: Changes) -> None:
    changes.execute("DELETE FROM dead_letters WHERE key = ?", key)


def _kind(outcome: Outcome) -> Kind:
    """Tell what a record became; one that rode in a bulk request has no request of its own, but a type."""
    if outcome.request:
        return outcome.request.kind
    return Kind.EVENT if outcome.record.type == "track" else Kind.CUSTOMER


def _text(text: str) -> str:
    """Return a text that SQLite takes: what is no Unicode, such as in a file's name, becomes a question mark."""
    return text if text.isascii() else text.encode(errors="replace").decode()


def _optional(text: str | None) -> str | None:
    return None if text is None else _text(text)
