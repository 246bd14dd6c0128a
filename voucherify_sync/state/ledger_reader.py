"""What a ledger knows: keys in, what became of their records out; and the sums that `status` shows.

It writes nothing and takes no lock, so it works while a run writes.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from msgspec import Struct, json

from voucherify_sync.events import HASH_VERSION, KEY_BYTES
from voucherify_sync.outcomes import Accepted, Outcome, State
from voucherify_sync.state.dead_letters import DeadLetter, decompress
from voucherify_sync.state.ledger_db import explain, open_empty, open_readable
from voucherify_sync.state.ledger_file import ProjectIdentity, bytes_in

STATES = (
    *(State.DELIVERED, State.DELIVERED, State.FAILED, State.FAILED, State.IN_DOUBT),
    *(State.DUPLICATE, State.DUPLICATE),
)
"""What the column `state` says, by its value. Dismissed records are those that are met as duplicates."""

_PORTION = 500
_LETTER = """l.id, l.key, runs.name, l.outcome, l.reason, l.status, l.answer, l.source, l.type, l.name, l.message_id,
    l.source_id, l.sent_at, l.event"""
_INTERRUPTED = """(SELECT row_number() OVER (ORDER BY sent_at) AS id, key, run, 'in_doubt' AS outcome,
    'interrupted' AS reason, NULL AS status, NULL AS answer, source, type, name, message_id, source_id, sent_at, event
    FROM intents)"""
"""What is being sent just now, or was when its run was killed: the next run leaves it in doubt."""


class Known(Struct, frozen=True):
    """What the ledger knows of a record.

    Attributes:
        state: delivered, failed, in doubt, or duplicate where it was dismissed; pending while this very run has it in
            flight.
        hash: request_hash of what was sent; None where it was made by another rule, and so proves nothing.
        run: number of the run that sent it; later runs have higher numbers.
        reason: why it failed or is in doubt.
    """

    state: State
    hash: bytes | None
    run: int
    reason: str | None = None


class LastUpdate(Struct, frozen=True):
    """The latest update that a customer was sent.

    Attributes:
        updated_at: time of the latest event in it; None if none of them had one.
        hash: request_hash of the payload; None where it was made by another rule, and so proves nothing.
    """

    updated_at: datetime | None
    hash: bytes | None


class LetterSelection(Struct, frozen=True):
    """Which dead letters are meant; every attribute that is set narrows the choice.

    Attributes:
        outcomes: of these only; empty: of all three.
        reasons: for one of these.
        names: of events of one of these names.
        users: of one of these customers, by the request's id or the event's own.
        runs: left by one of these runs, by id.
        before: left by a run before this one, by number.
    """

    outcomes: frozenset[State] = frozenset()
    reasons: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    users: frozenset[str] = frozenset()
    runs: frozenset[str] = frozenset()
    before: int | None = None

    def takes(self, letter: DeadLetter) -> bool:
        """Tell whether a dead letter is meant, whichever run left it."""
        wanted = ((self.outcomes, letter.outcome), (self.reasons, letter.reason), (self.names, letter.name))
        if not all(not chosen or value in chosen for chosen, value in (*wanted, (self.runs, letter.run))):
            return False
        return not self.users or any(map(letter.concerns, self.users))

    def condition(self) -> tuple[str, list[Any]]:
        """Return all but the users as a condition of SQL, with its values."""
        lists = {
            "l.outcome": self.outcomes,
            "l.reason": self.reasons,
            "l.name": self.names,
            "runs.name": self.runs,
        }
        parts = [f"{column} IN ({','.join('?' * len(chosen))})" for column, chosen in lists.items() if chosen]
        values: list[Any] = [str(value) for chosen in lists.values() for value in sorted(chosen)]
        if self.before is not None:
            parts.append("l.run < ?")
            values.append(self.before)
        return " AND ".join(parts) or "1", values


_ALL = LetterSelection()


class Counts(Struct, frozen=True):
    """How many records a project has been sent, and how they ended.

    Attributes:
        failed: with those without an event.
        failed_without_event: failed before this version, so that `retry` has nothing to send.
        in_doubt: with those of which a run has no answer yet.
        invalid: kept as dead letters.
        dismissed: failed and given up by the user.
    """

    delivered_customers: int = 0
    delivered_events: int = 0
    failed: int = 0
    failed_without_event: int = 0
    in_doubt: int = 0
    invalid: int = 0
    dismissed: int = 0


class Run(Struct, frozen=True):
    """One run that wrote to the ledger.

    Attributes:
        number: 1 for the first.
        name: its run id.
        ended_at: None if it did not end in order, or has not ended yet.
        settings_digest: what its settings came to, to be compared only.
        counts: records by state, as it left them at its end.
        command: what was run, None where an earlier version ran it.
    """

    number: int
    name: str
    started_at: datetime
    ended_at: datetime | None
    exit_code: int | None
    settings_digest: str
    counts: dict[str, int]
    command: str | None = None


class LedgerReader:
    """A ledger that is read only. What was sent without an answer so far counts as in doubt."""

    run = 0
    """Number of the run that writes; 0 where none does."""
    _intended = State.IN_DOUBT

    def __init__(self, connection: sqlite3.Connection, path: Path | None = None) -> None:
        self.path = path
        self._reading = connection
        self._hash_versions: dict[int, int] = {}

    @classmethod
    def read(cls, path: Path) -> LedgerReader:
        """Open a ledger; one that does not exist knows nothing.

        Raises:
            UsageProblem: it is no ledger, or one of a newer version, or cannot be read.
        """
        return LedgerReader(open_readable(path), path)

    @classmethod
    def empty(cls) -> LedgerReader:
        """Open a ledger that knows nothing."""
        return LedgerReader(open_empty())

    def close(self) -> None:
        """Close the file."""
        self._reading.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def record(self, outcome: Outcome) -> None:
        """Forget it: a run that only reads decides nothing that is worth keeping."""

    def look_up(self, keys: Sequence[bytes]) -> list[Known | None]:
        """Return what is known of each key, in the order of the keys; None: nothing."""
        known: dict[bytes, Known] = {}
        # Before the records: what moves from here to there in between is then seen twice, not missed.
        intents = self._ask("SELECT key, hash, run FROM intents")
        for start in range(0, len(keys), _PORTION):
            portion = keys[start : start + _PORTION]
            marks = ",".join("?" * len(portion))
            for key, hash_, run, state, reason in self._ask(
                f"""SELECT key, hash, run, state, CASE WHEN state < 2 THEN NULL ELSE
                    (SELECT reason FROM dead_letters l WHERE l.key = records.key) END
                    FROM records WHERE key IN ({marks})""",  # noqa: S608 only marks
                portion,
            ):
                known[key] = Known(STATES[state], hash_ if self._compares(run) else None, run, reason)
        known.update((key, Known(self._intended, hash_, run)) for key, hash_, run in intents)
        return list(map(known.get, keys))

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever sent."""
        tables = ("records", "intents", "actions")
        found = self._ask(f"SELECT {' OR '.join(f'EXISTS (SELECT 1 FROM {table})' for table in tables)}")  # noqa: S608
        return not found[0][0]

    @property
    def has_earlier_keys(self) -> bool:
        """Whether an earlier version wrote to it, which knew an identify by its messageId alone."""
        return bool(self._ask("SELECT 1 FROM runs WHERE hash_version < 2 LIMIT 1"))

    @property
    def has_old_files(self) -> bool:
        """Whether the dead letters of an earlier version are still to be taken over from its files."""
        of_version_1 = self._ask("PRAGMA user_version") == [(1,)]
        return of_version_1 or bool(self._ask("SELECT 1 FROM header WHERE name = 'dead_letter_files'"))

    @property
    def identities(self) -> list[ProjectIdentity]:
        """By which addresses and keys the project was used."""
        rows = self._ask("SELECT origin, key, is_sandbox FROM identities ORDER BY 1, 2")
        return [ProjectIdentity(origin, key, bool(is_sandbox)) for origin, key, is_sandbox in rows]

    def belongs_to(self, identity: ProjectIdentity) -> bool:
        """Tell whether the project was used by this address and key."""
        return any((own.origin, own.key) == (identity.origin, identity.key) for own in self.identities)

    def accepted(self, identity: ProjectIdentity, settings_digest: str) -> Accepted:
        """Return what Voucherify accepted before, by this ledger."""
        rows = self._ask("SELECT endpoint, key, settings FROM accepted")
        return Accepted(
            anything=bool(rows),
            by_settings=any(settings == settings_digest for _, _, settings in rows),
            endpoints=frozenset(endpoint for endpoint, key, _ in rows if key == identity.key),
        )

    def _compares(self, run: int) -> bool:
        """Tell whether the hashes of a run were made by the rule of this version."""
        if run not in self._hash_versions:
            self._hash_versions = dict(self._ask("SELECT id, hash_version FROM runs"))
        return self._hash_versions.get(run) == HASH_VERSION

    def last_updates(self, source_ids: Sequence[str]) -> list[LastUpdate | None]:
        """Return what customers were sent last, in the order of the ids; None: nothing."""
        keys = [customer_key(source_id) for source_id in source_ids]
        known: dict[bytes, LastUpdate] = {}
        for start in range(0, len(keys), _PORTION):
            portion = keys[start : start + _PORTION]
            marks = ",".join("?" * len(portion))
            query = f"SELECT key, updated_at, hash, run FROM customers WHERE key IN ({marks})"  # noqa: S608 only marks
            for key, at, hash_, run in self._ask(query, portion):
                hash_ = hash_ if self._compares(run) else None  # noqa: PLW2901
                known[key] = LastUpdate(None if at is None else _time(at), hash_)
        return list(map(known.get, keys))

    def last_update(self, source_id: str) -> LastUpdate | None:
        """Return what a customer was sent last."""
        return self.last_updates([source_id])[0]

    def dead_letters(self, selection: LetterSelection = _ALL) -> Iterator[DeadLetter]:
        """Yield dead letters, the oldest first; those that are written meanwhile do not come.

        Last comes what was being sent when its run was killed, or is being sent at the time of the call.
        """
        are_ours = self._intended is State.PENDING
        interrupted = [] if are_ours else list(self._letters(_INTERRUPTED, selection))
        yield from self._letters("dead_letters", selection)
        yield from interrupted

    def _letters(self, table: str, selection: LetterSelection) -> Iterator[DeadLetter]:
        condition, values = selection.condition()
        query = f"""SELECT {_LETTER} FROM {table} l JOIN runs ON runs.id = l.run
            WHERE l.id > ? AND l.id <= ? AND {condition} ORDER BY l.id LIMIT {_PORTION}"""  # noqa: S608
        ((last,),) = self._ask(f"SELECT coalesce(max(id), 0) FROM {table}")  # noqa: S608
        after = 0
        while rows := self._ask(query, (after, last, *values)):
            after = rows[-1][0]
            for letter in map(_letter, rows):
                if not selection.users or any(map(letter.concerns, selection.users)):
                    yield letter

    def count_letters(self, selection: LetterSelection = _ALL) -> dict[State, int]:
        """Count dead letters by outcome, with what was being sent when its run was killed."""
        if selection.users:
            return Counter(letter.outcome for letter in self.dead_letters(selection))
        condition, values = selection.condition()
        counts = Counter[State]()
        for table in ("dead_letters", _INTERRUPTED):
            query = f"""SELECT l.outcome, count(*) FROM {table} l JOIN runs ON runs.id = l.run
                WHERE {condition} GROUP BY 1"""  # noqa: S608
            counts.update({State(outcome): count for outcome, count in self._ask(query, values)})
        return counts

    def sent_at(self, key: bytes) -> float | None:
        """Return when a record that is in doubt was sent, in epoch seconds of this machine's clock."""
        rows = self._ask("SELECT sent_at FROM dead_letters WHERE key = ?", (key,))
        return rows[0][0] if rows else None

    def counts(self) -> Counts:
        """Count all records. It reads the whole ledger."""
        states = dict(
            self._ask(
                "SELECT state, count(*) FROM records WHERE key NOT IN (SELECT key FROM intents) GROUP BY 1"
            )
        )
        ((intents,),) = self._ask("SELECT count(*) FROM intents")
        ((invalid,),) = self._ask("SELECT count(*) FROM dead_letters WHERE outcome = 'invalid'")
        ((bare,),) = self._ask("SELECT count(*) FROM dead_letters WHERE event IS NULL AND outcome = 'failed'")
        return Counts(
            delivered_customers=states.get(1, 0),
            delivered_events=states.get(0, 0),
            failed=states.get(2, 0) + states.get(3, 0),
            failed_without_event=bare,
            in_doubt=states.get(4, 0) + (intents if self._intended is State.IN_DOUBT else 0),
            invalid=invalid,
            dismissed=states.get(5, 0) + states.get(6, 0),
        )

    def reasons(self, outcome: State) -> dict[str, int]:
        """Count dead letters of an outcome by reason, the most frequent first."""
        return dict(
            self._ask(
                f"""SELECT coalesce(reason, 'unknown'), count(*) FROM
                (SELECT reason, outcome FROM dead_letters UNION ALL SELECT reason, outcome FROM {_INTERRUPTED})
                WHERE outcome = ? GROUP BY 1 ORDER BY 2 DESC, 1""",  # noqa: S608 our own names
                (str(outcome),),
            )
        )

    def last_run(self) -> Run | None:
        """Return the latest run, other than the one that is writing."""
        return next(iter(self.runs(1)), None)

    def runs(self, count: int) -> list[Run]:
        """Return the latest runs, other than the one that is writing, the latest first."""
        return self._find_runs("id != ?", self.run, count)

    def run_named(self, run_id: str) -> Run | None:
        """Return the run of an id."""
        return next(iter(self._find_runs("name = ?", run_id, 1)), None)

    @property
    def size(self) -> int:
        """Bytes on disk."""
        if self.path is None:
            return 0
        return bytes_in(self.path) + bytes_in(self.path.with_name(f"{self.path.name}-wal"))

    def _find_runs(self, condition: str, value: int | str, count: int) -> list[Run]:
        rows = self._ask(
            f"""SELECT id, name, started_at, ended_at, exit_code, settings, counts, command FROM runs
                WHERE {condition} ORDER BY id DESC LIMIT ?""",  # noqa: S608 our own conditions
            (value, count),
        )
        return [
            Run(
                number=number,
                name=name,
                started_at=_time(started),
                ended_at=None if ended is None else _time(ended),
                exit_code=exit_code,
                settings_digest=digest,
                counts=json.decode(counts or "{}", type=dict[str, int]),
                command=command,
            )
            for number, name, started, ended, exit_code, digest, counts, command in rows
        ]

    def _ask(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        try:
            with closing(self._reading.execute(query, values)) as cursor:
                return cursor.fetchall()
        except sqlite3.Error as error:
            raise explain(error, self.path or Path(":memory:")) from error


def customer_key(source_id: str) -> bytes:
    """Return by which a customer is known; the ledger does not hold the id itself."""
    return blake2b(source_id.encode(errors="surrogatepass"), digest_size=KEY_BYTES).digest()


def _letter(row: tuple[Any, ...]) -> DeadLetter:
    (
        _,
        key,
        run,
        outcome,
        reason,
        status,
        answer,
        source,
        type_,
        name,
        message_id,
        source_id,
        sent_at,
        event,
    ) = row
    return DeadLetter(
        outcome=State(outcome),
        reason=reason,
        source=source or "",
        event=decompress(event),
        key=key,
        run=run,
        status=status,
        answer=answer,
        type=type_,
        name=name,
        message_id=message_id,
        source_id=source_id,
        sent_at=sent_at,
    )


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
