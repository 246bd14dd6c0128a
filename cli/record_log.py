"""One line for every record that was not delivered: on stderr with --verbose, in a file with --log-file."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

import click

from voucherify_sync.errors import VoucherifySyncError
from voucherify_sync.outcomes import Outcome, State
from voucherify_sync.state.private_files import open_to_append, write_all, write_error
from voucherify_sync.text import clean, counted

from .options import Display
from .spare import spare_file

_QUIET = {State.DELIVERED, State.PLANNED}


class RecordLog:
    """Writes a line for every record that was not delivered.

    Args:
        stream: stderr as it is before a bar is drawn on it, or None.
        file: that of --log-file, or None.
    """

    def __init__(self, stream: TextIO | None, file: LogFile | None) -> None:
        self._stream = stream
        self._file = file

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Write the lines of records."""
        for outcome in outcomes:
            if outcome.state in _QUIET:
                continue
            line = line_of(outcome)
            if self._stream is not None:
                click.echo(line, file=self._stream)
            if self._file is not None:
                self._file.add(line)

    def finish(self) -> str | None:
        """Complete the file; return a sentence if lines are not in it."""
        return None if self._file is None else self._file.finish()


class LogFile:
    """The file of --log-file. Lines that it cannot take go to a spare file, and the run goes on.

    The file is made with the first line or at the end of the run, so that a refused command leaves none behind.

    Args:
        path: of the file; lines are added to one that exists.
        spare: returns the path of the spare file. Raises VoucherifySyncError if there is no place for one.
    """

    def __init__(self, path: Path, spare: Callable[[], Path]) -> None:
        self._path: Path | None = path
        self._spare = spare
        self._descriptor: int | None = None
        self._trouble: list[str] = []
        self._missing = 0

    def add(self, line: str) -> None:
        """Write a line."""
        self._write(f"{line}\n".encode())

    def finish(self) -> str | None:
        """Close the file, and make it first if there was no line; return a sentence if lines are not in it."""
        self._write(b"")
        self.close()
        if not self._trouble:
            return None
        missing = [f"{counted(self._missing, 'line')} of the log could not be kept."] if self._missing else []
        return " ".join([*self._trouble, *missing])

    def close(self) -> None:
        """Close the file."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with suppress(OSError):  # a network file system may notice only now that it is full
                os.close(descriptor)

    def _write(self, data: bytes) -> None:
        while self._path is not None:
            try:
                write_all(self._opened(self._path), data)
            except OSError as error:
                self._replace(self._path, error)
            else:
                return
        self._missing += bool(data)

    def _opened(self, path: Path) -> int:
        if self._descriptor is None:
            self._descriptor = open_to_append(path)
        return self._descriptor

    def _replace(self, path: Path, error: OSError) -> None:
        """Go on in the spare file; after that has failed, too, only count the lines."""
        self.close()
        self._path = None
        if self._trouble:
            self._trouble.append(f"That could not be written either: {error.strerror}.")
            return
        self._trouble.append(f"{write_error(path, error).message}.")
        try:
            self._path = self._spare()
            self._trouble.append(f"The log goes on in {self._path}.")
        except VoucherifySyncError as no_place:
            self._trouble.append(f"It could not go on elsewhere: {no_place.message.rstrip('.')}.")


@contextmanager
def records_shown(options: Display, run_id: str) -> Iterator[RecordLog | None]:
    """Yield the log that --verbose and --log-file ask for, or None."""
    stream = sys.stderr if options.verbose else None
    if options.log_file is None:
        yield RecordLog(stream, None) if stream is not None else None
        return
    with closing(LogFile(options.log_file, lambda: spare_file("logs", f"{run_id}.log"))) as file:
        yield RecordLog(stream, file)


def line_of(outcome: Outcome) -> str:
    """Return time, state, reason, place and event of an outcome on one line."""
    record = outcome.record
    what = " ".join(clean(part, 60) for part in (record.type, record.name) if part)
    parts = [f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", str(outcome.state)]
    parts += [clean(part) for part in (outcome.reason,) if part]
    parts += [clean(str(record.position), 4_096), what, clean(outcome.detail or "")]
    return "  ".join(part for part in parts if part)
