"""Dead letters as an input of `retry`: those of the ledger, or of a file that may have been edited."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from voucherify_sync.errors import SourceError
from voucherify_sync.events import Batch, Event, Position, earlier_keys, record_key
from voucherify_sync.outcomes import Outcome, State
from voucherify_sync.sources.decode import decode
from voucherify_sync.sources.reader import SourceFacts
from voucherify_sync.state.dead_letters import (
    DeadLetter,
    LetterSelection,
    files_of_earlier_versions,
    read_dead_letters,
)
from voucherify_sync.state.ledger_reader import LedgerReader
from voucherify_sync.state.prepared_archive import decode_line, is_prepared_line
from voucherify_sync.stop import Stop

_BATCH_LETTERS: Final = 256  # the ledger is asked once for all of them
_POSITION: Final = re.compile(r"(.*):(\d+)(?:\[(\d+)\])?", re.DOTALL)


class LetterBatch(Batch, frozen=True):
    """Dead letters instead of lines: each has a position of its own."""

    letters: tuple[tuple[Position, DeadLetter], ...] = ()


class LetterInput:
    """Dead letters, the oldest first.

    Args:
        name: of where they come from.
        letters: each with the position at which its record is reported.
        stop: looked at before every batch.
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
        while not self._stop.requested and (portion := tuple(islice(letters, _BATCH_LETTERS))):
            facts.bytes += sum(len(letter.event or b"") for _, letter in portion)
            yield LetterBatch(facts.name, facts.lines + 1, b"", letters=portion)
            facts.lines += len(portion)


def letters_of_ledger(path: Path, selection: LetterSelection, stop: Stop) -> LetterInput:
    """Return the dead letters of a ledger, with the positions at which their records were read."""

    def letters() -> Iterator[tuple[Position, DeadLetter]]:
        with LedgerReader(path) as ledger:
            for letter in complete_letters(ledger, selection):
                if letter.event is not None:
                    yield _position(letter.source), letter

    return LetterInput(str(path), letters(), stop)


def letters_of_file(path: Path, stop: Stop) -> LetterInput:
    """Return the dead letters of a file; a position is the line of the file."""
    size = path.stat().st_size if path.is_file() else None
    letters = ((Position(str(path), line), letter) for line, letter in read_dead_letters(path))
    return LetterInput(str(path), letters, stop, size)


def complete_letters(ledger: LedgerReader, selection: LetterSelection) -> Iterator[DeadLetter]:
    """Yield dead letters as they will be once a run has taken over those of earlier versions' files."""
    if not ledger.has_old_files:
        yield from ledger.dead_letters(selection)
        return
    events = {record_key(record): (record, letter) for record, letter in letters_of_earlier_files()}
    for letter in ledger.dead_letters(replace(selection, users=frozenset())):  # the event says whose it is
        if letter.event is None and letter.key in events:
            record, old = events[letter.key]
            own = {"name": record.name, "type": record.type, "message_id": record.message_id}
            letter = replace(letter, event=record.raw, source=old.source, **own)  # noqa: PLW2901
        if not selection.users or letter.is_of(selection.users):
            yield letter


def letters_of_earlier_files() -> Iterator[tuple[Event, DeadLetter]]:
    """Yield the dead letters that earlier versions kept in files, each with its record and the key of then."""
    for file in files_of_earlier_versions():
        with suppress(SourceError):  # what it holds beyond this line cannot be read; the archive still has it
            for _, letter in read_dead_letters(file):
                for record in _records_of(letter, _position(letter.source)):
                    if isinstance(record, Event):
                        record.key = earlier_keys(record)[-1]
                        yield record, letter


def decode_letters(is_outdated: Callable[[str | None], bool], batch: Batch) -> Iterator[Event | Outcome]:
    """Yield the records of dead letters.

    Args:
        is_outdated: tells whether the run of an id made orders by other settings.
        batch: of letters.
    """
    assert isinstance(batch, LetterBatch)  # noqa: S101  # a LetterInput yields nothing else
    for position, letter in batch.letters:
        for record in _records_of(letter, position):
            if isinstance(record, Event) and letter.order_body is not None:
                record.order_body = b"" if is_outdated(letter.run) else letter.order_body
            yield record


def _records_of(letter: DeadLetter, position: Position) -> Iterator[Event | Outcome]:
    """Yield the record of a dead letter, which may have been edited: the ledger knows it by the letter's key."""
    if letter.event is None:
        return
    if is_prepared_line(letter.event):
        records: list[Event | Outcome] = [decode_line(letter.event)]
    else:
        records = list(decode(Batch.of(position.source, position.line, [letter.event])))
    has_own_key = letter.outcome is not State.INVALID and len(records) == 1
    for record in records:
        if isinstance(record, Event):
            key = letter.key if has_own_key else None
            yield replace(record, position=position, key=key, letter=letter.key)
        else:
            yield replace(record, record=replace(record.record, position=position))


def _position(source: str) -> Position:
    match = _POSITION.fullmatch(source)
    if match is None:
        return Position(source, 0)
    return Position(match[1], int(match[2]), None if match[3] is None else int(match[3]))
