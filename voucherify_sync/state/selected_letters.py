"""Dead letters as an input: those of the ledger, or of a file, to be replayed again.

Removes dead letters: from the ledger, and from the files in which earlier versions kept them.
"""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec

from voucherify_sync.errors import SourceError
from voucherify_sync.events import Batch, Event, Position, earlier_key, record_key
from voucherify_sync.outcomes import Outcome, State
from voucherify_sync.sources.decode import decode
from voucherify_sync.sources.reader import SourceFacts
from voucherify_sync.state.dead_letters import DeadLetter, files_of_earlier_versions, read_dead_letters
from voucherify_sync.state.ledger import intents_in_doubt
from voucherify_sync.state.ledger_db import close_writable, explain, open_writable, refuse_copy
from voucherify_sync.state.ledger_file import LedgerLock
from voucherify_sync.state.ledger_reader import LedgerReader, LetterSelection
from voucherify_sync.state.private_files import trouble, write_whole
from voucherify_sync.stop import Stop

_LETTERS: Final = 256
"""Dead letters of a block: the ledger is asked once for all of them."""
_POSITION: Final = re.compile(r"(.*):(\d+)(?:\[(\d+)\])?", re.DOTALL)


class LetterBlock(Batch, frozen=True):
    """Dead letters instead of lines: each has a position of its own."""

    letters: tuple[tuple[Position, DeadLetter], ...] = ()


class LetterInput:
    """Dead letters, the oldest first.

    Args:
        name: of where they come from.
        letters: each with the position at which its record is reported.
        stop: looked at before every letter.
        bytes_total: on disk, None where that is not known.

    Attributes:
        facts: one entry.
    """

    def __init__(
        self,
        name: str,
        letters: Iterable[tuple[Position, DeadLetter]],
        stop: Stop,
        bytes_total: int | None = None,
    ) -> None:
        self.facts = [SourceFacts(name)]
        self.bytes_total = bytes_total
        self._letters = letters
        self._stop = stop

    def parts(self, _max_file_bytes: int) -> Iterator[Batch]:
        """Yield the letters, which are no files."""
        return iter(self)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the letters of which the event is known.

        Raises:
            SourceError: they cannot be read, or a line is no dead letter.
        """
        facts = self.facts[0]
        letters = iter(self._letters)
        while not self._stop.requested and (portion := tuple(islice(letters, _LETTERS))):
            facts.bytes += sum(len(letter.event or b"") for _, letter in portion)
            yield LetterBlock(facts.name, facts.lines + 1, b"", letters=portion)
            facts.lines += len(portion)


def letters_of_ledger(path: Path, selection: LetterSelection, stop: Stop) -> LetterInput:
    """Return the dead letters of a ledger, with the positions at which their records were read."""

    def letters() -> Iterator[tuple[Position, DeadLetter]]:
        with LedgerReader.read(path) as ledger:
            for letter in complete_letters(ledger, selection):
                if letter.event is not None:
                    yield _position(letter.source), letter

    return LetterInput(str(path), letters(), stop)


def letters_of_earlier_files() -> Iterator[tuple[Event, DeadLetter]]:
    """Yield the dead letters that earlier versions kept in files, each with its record and the key of then."""
    for file in files_of_earlier_versions():
        with suppress(SourceError):  # what it holds beyond this line cannot be read; the archive still has it
            for _, letter in read_dead_letters(file):
                for record in records_of(letter):
                    if isinstance(record, Event):
                        record.key = earlier_key(record_key(record))
                        yield record, letter


def complete_letters(ledger: LedgerReader, selection: LetterSelection) -> Iterator[DeadLetter]:
    """Yield dead letters as they will be once a run has taken over those of earlier versions' files."""
    if ledger.has_old_files:
        return filter(selection.takes, _with_earlier_files(ledger))
    return ledger.dead_letters(selection)


def _with_earlier_files(ledger: LedgerReader) -> Iterator[DeadLetter]:
    events = {record_key(record): (record, letter) for record, letter in letters_of_earlier_files()}
    for letter in ledger.dead_letters():
        if letter.event is None and letter.key in events:
            record, old = events[letter.key]
            own = {"name": record.name, "type": record.type, "message_id": record.message_id}
            yield msgspec.structs.replace(letter, event=record.raw, source=old.source, **own)
        else:
            yield letter


def letters_of_file(path: Path, stop: Stop) -> LetterInput:
    """Return the dead letters of a file; a position is the line of the file."""
    size = path.stat().st_size if path.is_file() else None
    letters = ((Position(str(path), line), letter) for line, letter in read_dead_letters(path))
    return LetterInput(str(path), letters, stop, size)


def decode_letters(block: Batch) -> Iterator[Event | Outcome]:
    """Yield the records of dead letters."""
    assert isinstance(block, LetterBlock)  # noqa: S101  # a LetterInput yields nothing else
    for position, letter in block.letters:
        yield from records_of(letter, position)


def records_of(letter: DeadLetter, position: Position | None = None) -> Iterator[Event | Outcome]:
    """Yield the record of a dead letter, which may have been edited: the ledger knows it by the letter's key."""
    if letter.event is None:
        return
    position = position or _position(letter.source)
    records = list(decode(Batch.of(position.source, position.line, [letter.event])))
    is_settled = letter.outcome is not State.INVALID and len(records) == 1
    for record in records:
        if isinstance(record, Event):
            key = letter.key if is_settled else None
            yield msgspec.structs.replace(record, position=position, key=key, letter=letter.key)
        else:
            bad = msgspec.structs.replace(record.record, position=position)
            yield msgspec.structs.replace(record, record=bad)


def _position(source: str) -> Position:
    match = _POSITION.fullmatch(source)
    if match is None:
        return Position(source, 0)
    return Position(match[1], int(match[2]), None if match[3] is None else int(match[3]))


_FORGET = (
    # Codes 2 and 3 have failed; 5 and 6 are the same kinds of record, dismissed.
    "UPDATE records SET state = state + 3 WHERE state IN (2, 3) AND key IN (SELECT key FROM temp.chosen)",
    """UPDATE dead_letters SET event = NULL, answer = NULL, message_id = NULL, source_id = NULL
        WHERE outcome = 'in_doubt' AND key IN (SELECT key FROM temp.chosen)""",
    "DELETE FROM dead_letters WHERE outcome <> 'in_doubt' AND key IN (SELECT key FROM temp.chosen)",
)


def forget(path: Path, selection: LetterSelection, *, is_whole: bool = False) -> Mapping[State, int]:
    """Remove dead letters from a ledger: what had failed is dismissed, what is in doubt stays so without its event.

    What is removed cannot be read from the file any more.

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
    with ExitStack() as resources:
        resources.callback(LedgerLock(path).release)
        if not is_whole:
            refuse_copy(path)
        connection = open_writable(path, "forget")
        is_sound = False
        resources.callback(lambda: close_writable(connection, path, is_sound=is_sound))
        try:
            intents_in_doubt(connection).write(connection)
            connection.execute("CREATE TEMP TABLE chosen (key BLOB PRIMARY KEY) WITHOUT ROWID")
            counts = Counter[State]()
            with LedgerReader.read(path) as reader:
                for letter in reader.dead_letters(selection):
                    counts[letter.outcome] += 1
                    connection.execute("INSERT INTO temp.chosen VALUES (?)", (letter.key,))
            connection.execute("BEGIN IMMEDIATE")
            for statement in _FORGET:
                connection.execute(statement)
            connection.execute("COMMIT")
            is_sound = True
        except sqlite3.Error as error:
            raise explain(error, path) from error
    return counts


def letters_in_files(selection: LetterSelection, before: str | None, *, removes: bool = False) -> int:
    """Count the dead letters in the files of earlier versions that are meant, and remove them if that is asked for.

    Args:
        selection: of dead letters.
        before: those only that runs before this one, by its id, left; ids of runs sort by time.
        removes: write the files anew without them.

    Raises:
        UsageProblem: a file cannot be written.
        RunStopped: the disk is full.
    """
    found = 0
    for file in files_of_earlier_versions():
        if before is not None and file.stem >= before:
            continue
        try:
            letters = [letter for _, letter in read_dead_letters(file)]
        except SourceError:
            continue
        kept = [letter for letter in letters if not selection.takes(letter)]
        found += len(letters) - len(kept)
        if removes and len(kept) < len(letters):
            try:
                write_whole(file, b"".join(letter.encode() for letter in kept))
            except OSError as error:
                raise trouble(file, error) from error
    return found
