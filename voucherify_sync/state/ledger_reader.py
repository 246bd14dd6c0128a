"""Reads a ledger: what became of records, by their keys, and the sums that `status` shows.

It writes nothing and takes no lock, so it works while a run writes.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, Self

from msgspec import Struct, json

from voucherify_sync.errors import UsageProblem
from voucherify_sync.events import HASH_VERSION, KEY_BYTES, Kind
from voucherify_sync.outcomes import Accepted, Outcome, State
from voucherify_sync.state.dead_letters import DeadLetter, LetterSelection, decompress
from voucherify_sync.state.ledger_db import INTERRUPTED, explained, open_readable, wal_of
from voucherify_sync.state.ledger_file import ProjectIdentity, bytes_in

CODES: Final = {
    (State.DELIVERED, Kind.EVENT): 0,
    (State.DELIVERED, Kind.CUSTOMER): 1,
    (State.FAILED, Kind.EVENT): 2,
    (State.FAILED, Kind.CUSTOMER): 3,
    (State.IN_DOUBT, Kind.EVENT): 4,
    (State.DUPLICATE, Kind.EVENT): 5,
    (State.DUPLICATE, Kind.CUSTOMER): 6,
    (State.DELIVERED, Kind.ORDER): 7,
    (State.FAILED, Kind.ORDER): 8,
    (State.DUPLICATE, Kind.ORDER): 9,
}
"""What the column `state` of records says. Duplicates had failed and were dismissed: so they are, read again."""
_STATES: Final = [state for state, _ in CODES]
_DELIVERED: Final = "(0, 1, 7)"
FAILED_CODES: Final = "(2, 3, 8)"
_DISMISSED: Final = "(5, 6, 9)"

# Keys, or dead letters, of a query. No read stays open between two, which would hold up the checkpoints of a run.
_PORTION: Final = 500
_COLUMNS: Final = DeadLetter.__struct_fields__
_ALL_LETTERS: Final = f"""(SELECT run, name, outcome, reason FROM dead_letters
    UNION ALL SELECT run, name, outcome, reason FROM {INTERRUPTED})"""  # noqa: S608 our own names


class KnownRecord(Struct, frozen=True):
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


class KnownOrder(Struct, frozen=True):
    """An order as it was accepted or as it failed.

    Attributes:
        hash: request_hash of the order; None where it was made by another rule, and so proves nothing.
        run: number of the run that sent it.
        state: the fold of its events, on which a later run goes on.
        body: the order as it was sent; empty of one that was accepted.
    """

    hash: bytes | None
    run: int
    state: bytes
    body: bytes = b""


class LastOrder(Struct, frozen=True):
    """What an order was sent last.

    Attributes:
        accepted: as it was accepted last; None if it never was.
        failed: as it failed last; None if it never did, or was accepted since.
    """

    accepted: KnownOrder | None = None
    failed: KnownOrder | None = None


_EVERY: Final = LetterSelection()


class LedgerCounts(Struct, frozen=True):
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
    delivered_orders: int = 0
    failed: int = 0
    failed_without_event: int = 0
    in_doubt: int = 0
    invalid: int = 0
    dismissed: int = 0


class EarlierRun(Struct, frozen=True):
    """One run that wrote to the ledger.

    Attributes:
        number: 1 for the first.
        name: its run id.
        ended_at: None if it was killed, or has not ended yet.
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
    _intended = (
        State.IN_DOUBT
    )  # how an intent without an outcome counts; for the run that wrote it, it is pending

    def __init__(self, path: Path | None = None, connection: sqlite3.Connection | None = None) -> None:
        """Open a ledger without a lock and without a trace; one that does not exist knows nothing.

        Args:
            path: of the ledger; None: there is none.
            connection: an open one to read by.

        Raises:
            UsageProblem: it is no ledger, or one of a newer version, or cannot be read.
        """
        self.path = path
        self._reading = connection or open_readable(path)
        self._hash_versions: dict[int, int] = {}

    def close(self) -> None:
        """Close the file."""
        self._reading.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Answer all questions meanwhile from one state of the ledger, although a run writes to it.

        Keep it short: an open read holds up the checkpoints of a run.
        """
        self._ask("BEGIN")
        try:
            yield
        finally:
            self._ask("ROLLBACK")

    def count_intents(self, run: int) -> int:
        """Count what a run has sent, or was about to send, without an outcome so far."""
        ((count,),) = self._ask("SELECT count(*) FROM intents WHERE run = ?", (run,))
        return int(count)

    def record(self, outcome: Outcome) -> None:
        """Do nothing: only a run that sends keeps outcomes."""

    def look_up(self, keys: Sequence[bytes]) -> list[KnownRecord | None]:
        """Return what is known of each key, in the order of the keys; None: nothing."""
        # Before the records: what moves from here to there in between is then seen twice, not missed.
        intents = self._ask("SELECT key, hash, run FROM intents")
        query = f"""SELECT key, hash, run, state, CASE WHEN state IN {_DELIVERED} THEN NULL ELSE
            (SELECT reason FROM dead_letters l WHERE l.key = records.key) END FROM records WHERE key IN"""  # noqa: S608
        known = {
            key: KnownRecord(_STATES[state], hash_ if self._compares(run) else None, run, reason)
            for key, hash_, run, state, reason in self._ask_of(keys, query)
        }
        known.update((key, KnownRecord(self._intended, hash_, run)) for key, hash_, run in intents)
        return list(map(known.get, keys))

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever sent."""
        tables = ("records", "intents", "actions", "orders")
        found = self._ask(f"SELECT {' OR '.join(f'EXISTS (SELECT 1 FROM {table})' for table in tables)}")  # noqa: S608
        return not found[0][0]

    @property
    def has_earlier_keys(self) -> bool:
        """Whether an earlier version wrote to it, which knew an identify by its messageId alone."""
        return bool(self._ask("SELECT 1 FROM runs WHERE hash_version < 2 LIMIT 1"))

    @property
    def has_old_files(self) -> bool:
        """Whether the files of an earlier version hold dead letters that no run has taken over yet."""
        return bool(self._ask("SELECT 1 FROM header WHERE name = 'dead_letter_files'"))

    @property
    def identities(self) -> list[ProjectIdentity]:
        """By which addresses and keys the project was used."""
        rows = self._ask("SELECT origin, key, is_sandbox FROM identities ORDER BY 1, 2")
        return [ProjectIdentity(origin, key, bool(is_sandbox)) for origin, key, is_sandbox in rows]

    def accepted(self, identity: ProjectIdentity, settings_digest: str) -> Accepted:
        """Return what Voucherify accepted before, by this ledger."""
        rows = self._ask("SELECT endpoint, key, settings FROM accepted")
        return Accepted(
            anything=bool(rows),
            by_settings=any(settings == settings_digest for _, _, settings in rows),
            endpoints=frozenset(endpoint for endpoint, key, _ in rows if key == identity.key),
        )

    def last_updates(self, source_ids: Sequence[str]) -> list[LastUpdate | None]:
        """Return what customers were sent last, in the order of the ids; None: nothing."""
        keys = [customer_key(source_id) for source_id in source_ids]
        query = "SELECT key, updated_at, hash, run FROM customers WHERE key IN"
        known = {
            key: LastUpdate(None if at is None else _time(at), hash_ if self._compares(run) else None)
            for key, at, hash_, run in self._ask_of(keys, query)
        }
        return list(map(known.get, keys))

    def last_update(self, source_id: str) -> LastUpdate | None:
        """Return what a customer was sent last."""
        return self.last_updates([source_id])[0]

    def last_orders(self, source_ids: Sequence[str]) -> list[LastOrder]:
        """Return what orders were sent last, in the order of the ids."""
        keys = [(orders_key(each), orders_key(each, has_failed=True)) for each in source_ids]
        query = "SELECT key, hash, run, fold FROM orders WHERE key IN"
        known = {
            key: KnownOrder(hash_ if self._compares(run) else None, run, *_parted(decompress(fold) or b""))
            for key, hash_, run, fold in self._ask_of([each for both in keys for each in both], query)
        }
        return [LastOrder(known.get(accepted), known.get(failed)) for accepted, failed in keys]

    def failed_order(self, source_id: str) -> bytes | None:
        """Return the order of an id as it failed last; None if it is not known to have failed."""
        failed = LedgerReader.last_orders(self, [source_id])[0].failed
        return (failed.body or None) if failed is not None else None

    def orders_of(self, selection: LetterSelection) -> Iterator[bytes]:
        """Yield the keys of the orders whose folds name a selected customer.

        None unless customers are selected, with dead letters of every outcome.
        """
        if not selection.users or selection.outcomes:
            return
        names = [json.encode({"source_id": user}) for user in selection.users]
        query = f"""SELECT key, fold FROM orders WHERE key > ? AND (? IS NULL OR run < ?)
            ORDER BY key LIMIT {_PORTION}"""  # noqa: S608
        key, before = b"", selection.before
        while rows := self._ask(query, (key, before, before)):
            for key, fold in rows:
                told = decompress(fold) or b""
                if any(name in told for name in names):
                    yield key

    @property
    def remembering_run(self) -> int:
        """Number of the last run that remembered all orders which it sent, and not a part of them; 0 if none did."""
        rows = self._ask("SELECT value FROM header WHERE name = 'remembering_run'")
        return int(rows[0][0]) if rows else 0

    @property
    def has_orders(self) -> bool:
        """Whether an order was ever sent."""
        return bool(self._ask("SELECT 1 FROM orders LIMIT 1"))

    def dead_letters(self, selection: LetterSelection = _EVERY) -> Iterator[DeadLetter]:
        """Yield dead letters, the oldest first; those that are written meanwhile do not come.

        Last comes what was being sent when its run was killed, or is being sent at the time of the call.
        """
        are_ours = self._intended is State.PENDING
        interrupted = [] if are_ours else list(self._letters(INTERRUPTED, selection))
        yield from self._letters("dead_letters", selection)
        yield from interrupted

    def _letters(self, table: str, selection: LetterSelection) -> Iterator[DeadLetter]:
        condition, values = _condition(selection)
        columns = ", ".join("runs.name" if column == "run" else f"l.{column}" for column in _COLUMNS)
        query = f"""SELECT l.id, {columns} FROM {table} l JOIN runs ON runs.id = l.run
            WHERE l.id > ? AND l.id <= ? AND {condition} ORDER BY l.id LIMIT {_PORTION}"""  # noqa: S608
        ((last,),) = self._ask(f"SELECT coalesce(max(id), 0) FROM {table}")  # noqa: S608
        after = 0
        while rows := self._ask(query, (after, last, *values)):
            for after, *row in rows:  # noqa: B007
                fields = dict(zip(_COLUMNS, row, strict=True))
                fields |= {
                    "outcome": State(fields["outcome"]),
                    "source": fields["source"] or "",
                    "event": decompress(fields["event"]),
                    "order_body": decompress(fields["order_body"]),
                }
                letter = DeadLetter(**fields)
                if not selection.users or letter.is_of(selection.users):
                    yield letter

    def count_letters(self, selection: LetterSelection = _EVERY) -> dict[State, int]:
        """Count dead letters by outcome, with what was being sent when its run was killed."""
        if selection.users:
            return Counter(letter.outcome for letter in self.dead_letters(selection))
        condition, values = _condition(selection)
        query = f"""SELECT l.outcome, count(*) FROM {_ALL_LETTERS} l JOIN runs ON runs.id = l.run
            WHERE {condition} GROUP BY 1"""  # noqa: S608
        return {State(outcome): count for outcome, count in self._ask(query, values)}

    def reasons(self, outcome: State) -> dict[str, int]:
        """Count dead letters of an outcome by reason, the most frequent first."""
        query = f"""SELECT coalesce(reason, 'unknown'), count(*) FROM {_ALL_LETTERS}
            WHERE outcome = ? GROUP BY 1 ORDER BY 2 DESC, 1"""  # noqa: S608 our own names
        return dict(self._ask(query, (str(outcome),)))

    def sent_at(self, key: bytes) -> float | None:
        """Return when a record that is in doubt was sent, in epoch seconds of this machine's clock."""
        rows = self._ask("SELECT sent_at FROM dead_letters WHERE key = ?", (key,))
        return rows[0][0] if rows else None

    def counts(self) -> LedgerCounts:
        """Count all records. It reads the whole ledger."""
        # A sum of no rows would be NULL; count() leaves out what nullif() makes NULL.
        query = f"""SELECT count(nullif(state = 1, 0)), count(nullif(state = 0, 0)), count(nullif(state = 7, 0)),
            count(nullif(state IN {FAILED_CODES}, 0)),
            (SELECT count(*) FROM dead_letters WHERE event IS NULL AND outcome = 'failed'),
            count(nullif(state = 4, 0)) + ? * (SELECT count(*) FROM intents),
            (SELECT count(*) FROM dead_letters WHERE outcome = 'invalid'), count(nullif(state IN {_DISMISSED}, 0))
            FROM records WHERE key NOT IN (SELECT key FROM intents)"""  # noqa: S608
        (counts,) = self._ask(query, (self._intended is State.IN_DOUBT,))
        return LedgerCounts(*counts)

    def last_run(self) -> EarlierRun | None:
        """Return the latest run, other than the one that is writing."""
        return next(iter(self.runs(1)), None)

    def runs(self, count: int) -> list[EarlierRun]:
        """Return the latest runs, other than the one that is writing, the latest first."""
        return self._find_runs("id != ? ORDER BY id DESC LIMIT ?", self.run, count)

    def outcomes_of(self, runs: Sequence[EarlierRun]) -> dict[int, dict[str, int]]:
        """Count records by the run that last sent them and by state. It reads the whole ledger.

        Of a run that did not end, or has not ended yet, that is all that is known.
        """
        counts: dict[int, dict[str, int]] = {run.number: {} for run in runs}
        if counts:
            marks = ",".join("?" * len(counts))
            query = f"""SELECT run, CASE WHEN state IN {_DELIVERED} THEN 'delivered'
                WHEN state IN {FAILED_CODES} THEN 'failed' WHEN state = 4 THEN 'in_doubt' ELSE 'duplicate' END,
                count(*) FROM (SELECT run, state FROM records WHERE key NOT IN (SELECT key FROM intents)
                UNION ALL SELECT run, 4 FROM intents) WHERE run IN ({marks}) GROUP BY 1, 2"""  # noqa: S608
            for run, state, count in self._ask(query, list(counts)):
                counts[run][state] = count
        return counts

    def run_named(self, run_id: str) -> EarlierRun:
        """Return the run of an id.

        Raises:
            UsageProblem: the ledger does not know it.
        """
        for run in self._find_runs("name = ? ORDER BY id DESC LIMIT 1", run_id):
            return run
        raise UsageProblem(
            f"the ledger knows no run {run_id!r}", "`voucherify-sync status` lists the last runs."
        )

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return 0 if self.path is None else bytes_in(self.path) + bytes_in(wal_of(self.path))

    def _find_runs(self, condition: str, *values: int | str) -> list[EarlierRun]:
        columns = "id, name, started_at, ended_at, exit_code, settings, counts, command"
        rows = self._ask(f"SELECT {columns} FROM runs WHERE {condition}", values)  # noqa: S608 our own conditions
        return [
            EarlierRun(
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

    def _compares(self, run: int) -> bool:
        """Tell whether the hashes of a run were made by the rule of this version."""
        if run not in self._hash_versions:
            self._hash_versions = dict(self._ask("SELECT id, hash_version FROM runs"))
        return self._hash_versions.get(run) == HASH_VERSION

    def _ask_of(self, keys: Sequence[bytes], query: str) -> Iterator[Any]:
        """Yield the rows of keys; the query ends with ``IN``."""
        for start in range(0, len(keys), _PORTION):
            portion = keys[start : start + _PORTION]
            yield from self._ask(f"{query} ({','.join('?' * len(portion))})", portion)

    def _ask(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        with (
            explained(self.path or Path(":memory:")),
            closing(self._reading.execute(query, values)) as cursor,
        ):
            return cursor.fetchall()


def customer_key(source_id: str) -> bytes:
    """Return the key of a customer: a hash, so that the ledger does not hold the id itself."""
    return blake2b(source_id.encode(errors="surrogatepass"), digest_size=KEY_BYTES).digest()


def orders_key(order_id: str, *, has_failed: bool = False) -> bytes:
    """Return the key of an order as it was accepted, or as it failed: a hash, as that of a customer."""
    kind = b"failed " if has_failed else b"order "
    return blake2b(kind + order_id.encode(errors="surrogatepass"), digest_size=KEY_BYTES).digest()


def _parted(fold: bytes) -> tuple[bytes, bytes]:
    """Return the state and the body of a known order."""
    state, _, body = fold.partition(b"\n")
    return state, body


def _condition(selection: LetterSelection) -> tuple[str, list[Any]]:
    """Return a selection, all but the users, as a condition of SQL, with its values."""
    lists = {
        "l.outcome": selection.outcomes,
        "l.reason": selection.reasons,
        "l.name": selection.names,
        "runs.name": selection.runs,
    }
    parts = [f"{column} IN ({','.join('?' * len(chosen))})" for column, chosen in lists.items() if chosen]
    values: list[Any] = [str(value) for chosen in lists.values() for value in sorted(chosen)]
    if selection.before is not None:
        parts.append("l.run < ?")
        values.append(selection.before)
    return " AND ".join(parts) or "1", values


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
