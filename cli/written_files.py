"""Writes the files that the user named for reports and for the log, or keeps them in the state directory.

A report or a log that cannot be written does not change the exit code.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

import click

from voucherify_sync.errors import VoucherifySyncError
from voucherify_sync.outcomes import Outcome, State
from voucherify_sync.report.run_report import RunReport, encode_report, is_page, write_report
from voucherify_sync.settings.environment import state_directory
from voucherify_sync.state.private_files import make_private_directory, open_to_append, write_all, write_error
from voucherify_sync.text import clean, clean_lines, counted

from .options import Display
from .streams import StdoutLost

_QUIET = {State.DELIVERED, State.PLANNED}


def write_reports(paths: Sequence[str], report: RunReport, *, quiet: bool) -> None:
    """Write a report to each path; keep one that cannot be written in the state directory, and say where.

    Args:
        paths: files, or `-` for JSON on stdout.
        report: of the run.
        quiet: name only the reports that could not be written.
    """
    for path in paths:
        error = _write_error(path, report)
        if error is None:
            if path != "-" and not quiet:
                click.echo(f"Report: {clean(path, 4_096)}", err=True)
            continue
        try:
            file = spare_file("reports", f"{report.run_id}{'.html' if is_page(Path(path)) else '.json'}")
            write_report(file, report)
            kept = f"The report is kept in {file} instead."
        except VoucherifySyncError as no_place:
            kept = f"The report could not be kept elsewhere: {no_place.message.rstrip('.')}."
        click.echo(clean_lines(f"Warning: {error} {kept}"), err=True)


def _write_error(path: str, report: RunReport) -> str | None:
    """Write a report; return a sentence if that is not possible."""
    try:
        if path == "-":
            sys.stdout.buffer.write(encode_report(report))
            sys.stdout.flush()
        else:
            write_report(Path(path), report)
    except StdoutLost as lost:
        return None if lost.has_no_reader else f"cannot write the report to standard output: {lost.reason}."
    except VoucherifySyncError as error:
        return f"{error.message}."
    return None


def spare_file(folder: str, name: str) -> Path:
    """Make a folder of the state directory; return the path of a file in it.

    Raises:
        VoucherifySyncError: there is no state directory, or the folder cannot be made.
    """
    path = state_directory() / folder / name
    try:
        make_private_directory(path.parent)
    except OSError as error:
        raise write_error(path, error) from error
    return path


class RecordLog:
    """Writes a line for every record that was not delivered, on stderr, to the file of --log-file, or to both.

    The file is made with the first line or at the end of the run, so that a refused command leaves none behind. Lines
    that it cannot take go to a spare file, and the run goes on.

    Args:
        stream: stderr as it is before a bar is drawn on it, or None.
        path: of the file, to which lines are added, or None.
        spare: returns the path of the spare file. Raises VoucherifySyncError if there is no place for one.
    """

    def __init__(self, stream: TextIO | None, path: Path | None, spare: Callable[[], Path]) -> None:
        self._stream = stream
        self._has_file = path is not None
        self._path = path
        self._spare = spare
        self._descriptor: int | None = None
        self._trouble: list[str] = []
        self._missing = 0

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Write the lines of records."""
        for outcome in outcomes:
            if outcome.state not in _QUIET:
                self.add_line(line_of(outcome))

    def add_line(self, line: str) -> None:
        """Write one line."""
        if self._stream is not None:
            click.echo(line, file=self._stream)
        if self._has_file:
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
                if self._descriptor is None:
                    self._descriptor = open_to_append(self._path)
                write_all(self._descriptor, data)
            except OSError as error:
                self._replace(self._path, error)
            else:
                return
        self._missing += bool(data)

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
    if options.log_file is None and stream is None:
        yield None
        return
    with closing(RecordLog(stream, options.log_file, lambda: spare_file("logs", f"{run_id}.log"))) as log:
        yield log


def line_of(outcome: Outcome) -> str:
    """Return time, state, reason, place and event of an outcome on one line."""
    record = outcome.record
    what = " ".join(clean(part, 60) for part in (record.type, record.name) if part)
    parts = [f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", str(outcome.state)]
    parts += [clean(part) for part in (outcome.reason,) if part]
    parts += [clean(str(record.position), 4_096), what, clean(outcome.detail or "")]
    return "  ".join(part for part in parts if part)
