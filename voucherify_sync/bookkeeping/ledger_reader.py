"""What a ledger knows: keys in, what became of their records out; and the sums that `status` shows.

It writes nothing and takes no lock, so it works while a run writes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from msgspec import Struct, json

from voucherify_sync.bookkeeping.ledger_file import bytes_in
from voucherify_sync.bookkeeping.ledger_schema import explain, open_empty, open_readable
from voucherify_sync.keys import KEY_BYTES
from voucherify_sync.model import Outcome, State

STATES = (State.DELIVERED, State.DELIVERED, State.FAILED, State.FAILED, State.IN_DOUBT)
"""What the column `state` says, by its value."""

_PORTION = 500
_DOUBTS = """SELECT u.key, u.message_id, u.type, u.name, u.source, u.sent_at, runs.name, u.reason
    FROM unresolved u JOIN records r ON r.key = u.key JOIN runs ON runs.id = r.run
    WHERE u.state = 4 AND u.key NOT IN (SELECT key FROM intents)"""
_OPEN = """SELECT i.key, i.message_id, i.type, i.name, i.source, i.sent_at, runs.name, 'interrupted'
    FROM intents i JOIN runs ON runs.id = i.run"""


class Known(Struct, frozen=True):
    """What the ledger knows of a record.

    Attributes:
        state: delivered, failed or in doubt; pending while this very run has it in flight.
        hash: request_hash of what was sent.
        run: number of the run that sent it; later runs have higher numbers.
        reason: why it failed or is in doubt.
    """

    state: State
    hash: bytes
    run: int
    reason: str | None = None


class LastUpdate(Struct, frozen=True):
    """The latest update that a customer was sent.

    Attributes:
        updated_at: time of the latest event in it; None if none of them had one.
        hash: request_hash of the payload.
    """

    updated_at: datetime | None
    hash: bytes


class Doubt(Struct, frozen=True):
    """A custom event that was sent and of which no answer tells whether it arrived.

    Attributes:
        key: record_key of the event.
        message_id, type, name: the event's own.
        source: ``file:line`` where it was read.
        sent_at: local time just before it was sent, UTC.
        run: id of the run that sent it.
        reason: why its answer is not known.
    """

    key: bytes
    message_id: str | None
    type: str
    name: str | None
    source: str
    sent_at: datetime
    run: str
    reason: str | None


class Counts(Struct, frozen=True):
    """How many records a project has been sent, and how they ended."""

    delivered_customers: int
    delivered_events: int
    failed: int
    in_doubt: int


class Run(Struct, frozen=True):
    """One run that wrote to the ledger.

    Attributes:
        number: 1 for the first.
        name: its run id.
        ended_at: None if it did not end in order, or has not ended yet.
        settings_digest: what its settings came to, to be compared only.
        counts: whatever it left at its end.
    """

    number: int
    name: str
    started_at: datetime
    ended_at: datetime | None
    exit_code: int | None
    settings_digest: str
    counts: dict[str, int]


class LedgerReader:
    """A ledger that is read only. What was sent without an answer so far counts as in doubt."""

    run = 0
    """Number of the run that writes; 0 where none does."""
    _intended = State.IN_DOUBT

    def __init__(self, connection: sqlite3.Connection, path: Path | None = None) -> None:
        self._reading = connection
        self.path = path

    @classmethod
    def read(cls, path: Path, url: str) -> LedgerReader:
        """Open a ledger of a URL; one that does not exist knows nothing.

        Raises:
            UsageProblem: it is no ledger, or one of another URL or of a newer version, or cannot be read.
        """
        return LedgerReader(open_readable(path, url), path)

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
                    (SELECT reason FROM unresolved WHERE unresolved.key = records.key) END
                    FROM records WHERE key IN ({marks})""",  # noqa: S608 only marks
                portion,
            ):
                known[key] = Known(STATES[state], hash_, run, reason)
        known.update((key, Known(self._intended, hash_, run)) for key, hash_, run in intents)
        return list(map(known.get, keys))

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever sent."""
        found = self._ask("SELECT EXISTS (SELECT 1 FROM records) OR EXISTS (SELECT 1 FROM intents)")
        return not found[0][0]

    def last_updates(self, source_ids: Sequence[str]) -> list[LastUpdate | None]:
        """Return what customers were sent last, in the order of the ids; None: nothing."""
        keys = [customer_key(source_id) for source_id in source_ids]
        known: dict[bytes, LastUpdate] = {}
        for start in range(0, len(keys), _PORTION):
            portion = keys[start : start + _PORTION]
            marks = ",".join("?" * len(portion))
            query = f"SELECT key, updated_at, hash FROM customers WHERE key IN ({marks})"  # noqa: S608 only marks
            for key, at, hash_ in self._ask(query, portion):
                known[key] = LastUpdate(None if at is None else _time(at), hash_)
        return list(map(known.get, keys))

    def last_update(self, source_id: str) -> LastUpdate | None:
        """Return what a customer was sent last."""
        return self.last_updates([source_id])[0]

    def doubts(self) -> Iterator[Doubt]:
        """Yield what is in doubt, the oldest first."""
        with_open = f"{_DOUBTS} UNION ALL {_OPEN}" if self._intended is State.IN_DOUBT else _DOUBTS
        for row in self._ask(f"{with_open} ORDER BY 6, 5"):
            yield _doubt(row)

    def doubt(self, key: bytes) -> Doubt | None:
        """Return what is known of a record that is in doubt."""
        rows = self._ask(f"{_DOUBTS} AND u.key = ?", (key,))
        return _doubt(rows[0]) if rows else None

    def counts(self) -> Counts:
        """Count all records. It reads the whole ledger."""
        states = dict(
            self._ask(
                "SELECT state, count(*) FROM records WHERE key NOT IN (SELECT key FROM intents) GROUP BY 1"
            )
        )
        ((intents,),) = self._ask("SELECT count(*) FROM intents")
        in_doubt = states.get(4, 0) + (intents if self._intended is State.IN_DOUBT else 0)
        return Counts(
            delivered_customers=states.get(1, 0),
            delivered_events=states.get(0, 0),
            failed=states.get(2, 0) + states.get(3, 0),
            in_doubt=in_doubt,
        )

    def failed_by_reason(self) -> dict[str, int]:
        """Count what failed by reason, the most frequent first."""
        return dict(
            self._ask(
                """SELECT coalesce(reason, 'unknown'), count(*) FROM unresolved WHERE state IN (2, 3)
                GROUP BY 1 ORDER BY 2 DESC, 1"""
            )
        )

    def last_run(self) -> Run | None:
        """Return the latest run, other than the one that is writing."""
        return self._find_run("id != ?", self.run)

    def run_named(self, run_id: str) -> Run | None:
        """Return the run of an id."""
        return self._find_run("name = ?", run_id)

    @property
    def size(self) -> int:
        """Bytes on disk."""
        if self.path is None:
            return 0
        return bytes_in(self.path) + bytes_in(self.path.with_name(f"{self.path.name}-wal"))

    def _find_run(self, condition: str, value: int | str) -> Run | None:
        rows = self._ask(
            f"""SELECT id, name, started_at, ended_at, exit_code, settings, counts FROM runs
                WHERE {condition} ORDER BY id DESC LIMIT 1""",  # noqa: S608 our own conditions
            (value,),
        )
        if not rows:
            return None
        number, name, started, ended, exit_code, digest, counts = rows[0]
        return Run(
            number=number,
            name=name,
            started_at=_time(started),
            ended_at=None if ended is None else _time(ended),
            exit_code=exit_code,
            settings_digest=digest,
            counts=json.decode(counts or "{}", type=dict[str, int]),
        )

    def _ask(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        try:
            with closing(self._reading.execute(query, values)) as cursor:
                return cursor.fetchall()
        except sqlite3.Error as error:
            raise explain(error, self.path or Path(":memory:")) from error


def customer_key(source_id: str) -> bytes:
    """Return by which a customer is known; the ledger does not hold the id itself."""
    return blake2b(source_id.encode(errors="surrogatepass"), digest_size=KEY_BYTES).digest()


def _doubt(row: tuple[Any, ...]) -> Doubt:
    key, message_id, type_, name, source, sent_at, run, reason = row
    return Doubt(key, message_id, type_, name, source, _time(sent_at), run, reason)


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
