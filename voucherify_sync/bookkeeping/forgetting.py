"""Removes dead letters: from the ledger, and from the files in which earlier versions kept them."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from voucherify_sync.bookkeeping.deadletters import files_of_earlier_versions, read_dead_letters
from voucherify_sync.bookkeeping.ledger import intents_in_doubt
from voucherify_sync.bookkeeping.ledger_db import close_writable, explain, open_writable, refuse_copy
from voucherify_sync.bookkeeping.ledger_lock import LedgerLock
from voucherify_sync.bookkeeping.ledger_reader import LedgerReader, LetterSelection
from voucherify_sync.bookkeeping.private import trouble, write_whole
from voucherify_sync.errors import SourceError
from voucherify_sync.model import State

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
