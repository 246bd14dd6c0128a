"""The files that a command writes: reports, the log, and the checks before the first call and the question.

A refused command line changes no file and leaves none behind. Files are compared by device and inode, so that a link or
another name does not hide an input. A report or a log that cannot be written later goes to the state directory, and
does not change the exit code.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

from voucherify_sync.api import OpenedReplay, RetryOptions
from voucherify_sync.api.opened import Opened
from voucherify_sync.errors import UsageProblem, VoucherifySyncError
from voucherify_sync.exit_codes import ExitCode
from voucherify_sync.outcomes import Outcome, State
from voucherify_sync.report.run_report import RunReport, encode_report, is_page, write_report
from voucherify_sync.run.options import Mode
from voucherify_sync.settings import Settings, load, settings_file, token_file
from voucherify_sync.settings.environment import state_directory
from voucherify_sync.sources.discover import STDIN, Source, is_read
from voucherify_sync.sources.reader import SourceFacts, source_notices
from voucherify_sync.state.ledger_file import ELSEWHERE, SUFFIXES
from voucherify_sync.state.ledger_location import LedgerChoice, LedgerLocation, find_ledger
from voucherify_sync.state.private_files import (
    make_private_directory,
    open_to_append,
    try_to_append,
    try_to_write_whole,
    write_all,
    write_error,
)
from voucherify_sync.text import clean, counted

from .options import Display
from .render import show, warnings_of
from .streams import StdoutLost, silence_stderr, tell

_OF_ITS_OWN = "Each output needs a file of its own, which the command does not read."

_STDERR = "standard error"

Identity = tuple[int, int] | tuple[int, int, str]
"""Device and inode of a file; of one that is not there yet, those of its folder, and its name."""

_QUIET = {State.DELIVERED, State.PLANNED}
_COUNTED = {State.SKIPPED, State.DUPLICATE, State.PENDING}
"""Nobody has to look at one of these: a log has their sums, and each of them with --verbose only."""


class FileRead(NamedTuple):
    """A file that the command must not write to.

    Attributes:
        name: its role and path, for messages.
        file: its path, or the descriptor of a standard stream.
    """

    name: str
    file: Path | int


class FileWritten(NamedTuple):
    """A file that the command will write.

    Attributes:
        name: the option and its value, for messages.
        file: its path.
        attempt: raises OSError if the file cannot be written, and changes nothing.
        remedy: the advice in that case.
    """

    name: str
    file: Path
    attempt: Callable[[Path], object]
    remedy: str = "Name a file in a folder that exists and that you may write to."


def try_outputs(
    outputs: Sequence[FileWritten], inputs: Iterable[FileRead], sources: Iterable[str] = ()
) -> None:
    """Check that all outputs can be written, and that each is a file of its own.

    Standard streams that lead from or to a file take part. A named pipe is kept open until the process ends, as
    `try_to_append` demands.

    Args:
        outputs: what is written.
        inputs: what must not be written to.
        sources: folders among them are read again by the next run, with what is written there meanwhile.

    Raises:
        UsageProblem: one sentence for each output that is refused.
    """
    if collisions := list(_collisions(outputs, inputs)):
        if any(name == _STDERR for name, _ in collisions) and os.fstat(2).st_size:
            silence_stderr()  # the message would be added to the input
        sentences = [f"{name} is the same file as {other}." for name, other in collisions]
        raise UsageProblem("\n".join(sentences), _OF_ITS_OWN)
    if inside := list(_inside(outputs, sources)):
        remedy = "Name a file elsewhere: the next run would read it with the events of the folder."
        raise UsageProblem("\n".join(inside), remedy)
    if failures := dict(_failures(outputs)):
        raise UsageProblem("\n".join(failures), "\n".join(dict.fromkeys(failures.values())))


def begin_reading(
    config: Path | None, opened: Opened, files_from: str | None = None, against: Path | None = None
) -> None:
    """Check, for a command that writes no file, that stdout and stderr are none of the files it reads.

    Then say which files of the sources are not read.
    """
    inputs = [*settings_files(config, opened.settings), *source_files(opened.sources)]
    if against is not None:
        inputs.append(FileRead(f"--against {against}", against))
    try_outputs([], [*inputs, *listed_files(files_from)])
    tell(*opened.notices)


def warn_of_sources(facts: Sequence[SourceFacts]) -> ExitCode:
    """Say what is wrong with the sources that were read; return the exit code that this asks for."""
    damaged = [
        f"{clean(each.name, 4_096)} is damaged: {clean(each.damaged, 400)}" for each in facts if each.damaged
    ]
    show(sys.stderr, [warnings_of([*source_notices(facts), *damaged])])
    return ExitCode.INCOMPLETE if damaged else ExitCode.OK


def try_outputs_of_run(opened: OpenedReplay, display: Display) -> None:
    """Check the outputs of a run or of its preview, as `try_outputs` does.

    A live run writes to the ledger; in the other modes it only must not be damaged.
    """
    options, ledger = opened.options, opened.location.path
    outputs = list(_outputs_of(display, options.dead_letters))
    inputs = [*settings_files(options.config, opened.settings), *source_files(opened.sources)]
    if isinstance(options, RetryOptions) and options.file is not None:
        inputs.append(FileRead(f"the dead letters {options.file}", options.file))
    if ledger is not None:
        itself, *beside = ledger_files(ledger)
        inputs += beside
        if options.mode is Mode.LIVE:
            outputs.append(FileWritten(itself.name, ledger, _try_ledger, ELSEWHERE))
        else:
            inputs.append(itself)
    inputs += listed_files(options.files_from)
    if options.exclude_ids is not None:
        inputs.append(FileRead(f"--exclude-ids {options.exclude_ids}", options.exclude_ids))
    try_outputs(outputs, inputs, opened.source_names)


def source_files(sources: Iterable[Source]) -> Iterator[FileRead]:
    """Yield the files that events are read from."""
    return (
        FileRead(f"the source {source.name}", source.path) for source in sources if source.path is not None
    )


def listed_files(files_from: str | None) -> Iterator[FileRead]:
    """Yield the file that names the files."""
    if files_from is not None and files_from != STDIN:
        yield FileRead(f"--files-from {files_from}", Path(files_from))


def settings_files(config: Path | None, settings: Settings) -> Iterator[FileRead]:
    """Yield the settings file and the file of the Secret Key.

    Args:
        config: the settings file that the command line names.
        settings: its content.
    """
    file = settings_file(config)
    if file is not None:
        yield FileRead(f"the settings file {file}", file)
    with suppress(UsageProblem):  # a file that cannot be found cannot be damaged
        token = token_file(settings.api)
        if token is not None:
            yield FileRead(f"api.token_file {token}", token)


def ledger_files(ledger: Path) -> Iterator[FileRead]:
    """Yield the ledger, and the files that SQLite and the lock keep beside it."""
    for suffix in SUFFIXES:
        file = ledger.with_name(ledger.name + suffix)
        yield FileRead(f"the ledger's {file}" if suffix else f"the ledger {file}", file)


def existing_ledger(config: Path | None, ledger: str | None, **said: bool) -> tuple[Path, LedgerLocation]:
    """Return the path of the ledger, and what is to be said of it.

    Args:
        config: settings file, as it was given.
        ledger: as it was given with --ledger.
        said: `same_project` and `is_whole` of a LedgerChoice.

    Raises:
        UsageProblem: there is none, or it is not known which is meant.
    """
    settings = load(config, environment=os.environ)
    location = find_ledger(settings, LedgerChoice.of(settings, config, ledger, **said), os.environ)
    try_outputs(
        [], [*settings_files(config, settings), *(ledger_files(location.path) if location.path else ())]
    )
    return location.existing(), location


def _outputs_of(display: Display, dead_letters: Path | None) -> Iterator[FileWritten]:
    for report in display.report:
        if report != "-":
            yield FileWritten(f"--report {report}", Path(report), try_to_write_whole)
    if dead_letters is not None:
        yield FileWritten(f"--dead-letters {dead_letters}", dead_letters, try_to_append)
    if display.log_file is not None:
        yield FileWritten(f"--log-file {display.log_file}", display.log_file, try_to_append)


def _inside(outputs: Sequence[FileWritten], sources: Iterable[str]) -> Iterator[str]:
    """Yield a sentence for each output in a folder that is read; what is not read there may stay."""
    folders = [(source, os.path.realpath(source)) for source in sources if os.path.isdir(source)]  # noqa: PTH112
    for output in outputs:
        file = os.path.realpath(output.file)
        for source, folder in folders:
            if file.startswith(os.path.join(folder, "")) and is_read(os.path.relpath(file, folder)):
                yield f"{output.name} is in the source {source}."


def _collisions(outputs: Sequence[FileWritten], inputs: Iterable[FileRead]) -> Iterator[tuple[str, str]]:
    """Yield the name of each output that is an input or another output, and the name of that one.

    Stdout and stderr may share a file.
    """
    streams = {_identity(number): name for number, name in ((2, _STDERR), (1, "standard output"))}
    written = [*streams.items(), *((_identity(output.file), output.name) for output in outputs)]
    if all(identity is None for identity, _ in written):
        return  # and spare the look at every source
    known = {_identity(each.file): each.name for each in (FileRead("standard input", 0), *inputs)}
    for identity, name in written:
        if identity is None:
            continue
        if identity in known:
            yield name, known[identity]
        known[identity] = name


def _identity(file: Path | int) -> Identity | None:
    """Return the identity of a file; None for devices, which many may share, and for streams that are no files.

    It opens nothing: closing a second descriptor of a ledger would drop the locks that SQLite has on it.
    """
    try:
        status = os.stat(file)
    except FileNotFoundError:
        folder, name = os.path.split(os.path.realpath(str(file)))
        with suppress(OSError):
            status = os.stat(folder)
            return status.st_dev, status.st_ino, name
        return None
    except OSError:
        return None
    is_file = stat.S_ISREG(status.st_mode)
    is_own_pipe = stat.S_ISFIFO(status.st_mode) and not isinstance(file, int)
    return (status.st_dev, status.st_ino) if is_file or is_own_pipe else None


def _failures(outputs: Sequence[FileWritten]) -> Iterator[tuple[str, str]]:
    """Yield a sentence and its remedy for each output that cannot be written."""
    for output in outputs:
        try:
            output.attempt(output.file)
        except OSError as error:
            yield f"{output.name} cannot be written: {_reason(output.file, error)}.", output.remedy


def _reason(path: Path, error: OSError) -> str:
    match error.errno:
        case errno.ENOENT if not path.parent.exists():
            return f"there is no folder {path.parent}"
        case errno.ENOTDIR:
            return f"{path.parent} is no folder"
        case errno.EISDIR:
            return "it is a folder"
        case errno.ENXIO:
            return "it is a pipe without a reader; start the reader first"
    return error.strerror or str(error)


def _try_ledger(path: Path) -> None:
    """Check that a ledger could be written or made, without opening it. Missing folders are made with it."""
    if path.exists():
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return
    folder = next(each for each in path.absolute().parents if each.exists())
    try_to_append(folder / f".voucherify-sync-{os.getpid()}")


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
                tell(f"Report: {clean(path, 4_096)}")
            continue
        try:
            file = spare_file("reports", f"{report.run_id}{'.html' if is_page(Path(path)) else '.json'}")
            write_report(file, report)
            kept = f"The report is kept in {file} instead."
        except VoucherifySyncError as no_place:
            kept = f"The report could not be kept elsewhere: {no_place.message.rstrip('.')}."
        tell(f"Warning: {error} {kept}")


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
    """Writes lines of records, on stderr, to the file of --log-file, or to both.

    Each record that needs a hand has a line: invalid, failed, in doubt. Those that are skipped, repeated or not sent
    yet are nearly all records of a run that is repeated: with `is_shown` they have lines, too, else the file ends with
    their sums. The file is made with the first line or at the end of the run, so that a refused command leaves none
    behind. Lines that it cannot take go to a spare file, and the run goes on.

    Args:
        is_shown: lines are written on stderr, too, above a bar if there is one.
        path: of the file, to which lines are added, or None.
        spare: returns the path of the spare file. Raises VoucherifySyncError if there is no place for one.
    """

    def __init__(self, path: Path | None, spare: Callable[[], Path], *, is_shown: bool = False) -> None:
        self._is_shown = is_shown
        self._has_file = path is not None
        self._path = path
        self._spare = spare
        self._descriptor: int | None = None
        self._trouble: list[str] = []
        self._missing = 0
        self._sums = Counter[tuple[State, str | None]]()

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Write the lines of records."""
        for outcome in outcomes:
            if outcome.state in _COUNTED and not self._is_shown:
                self._sums[outcome.state, outcome.reason] += 1
            elif outcome.state not in _QUIET:
                self.add_line(line_of(outcome))

    def add_line(self, line: str) -> None:
        """Write one line."""
        if self._is_shown:
            tell(line)
        if self._has_file:
            self._write(f"{line}\n".encode())

    def finish(self) -> str | None:
        """Write the sums and close the file, which is made if there was no line; say it if lines are not in it."""
        for (state, reason), count in sorted(self._sums.items(), key=lambda item: -item[1]):
            self.add_line(_line(str(state), reason, counted(count, "record")))
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
    if options.log_file is None and not options.verbose:
        yield None
        return
    spare = partial(spare_file, "logs", f"{run_id}.log")
    with closing(RecordLog(options.log_file, spare, is_shown=options.verbose)) as log:
        yield log


def line_of(outcome: Outcome) -> str:
    """Return time, state, reason, place and event of an outcome on one line."""
    record = outcome.record
    what = " ".join(clean(part, 60) for part in (record.type, record.name) if part)
    place = clean(str(record.position), 4_096)
    return _line(str(outcome.state), outcome.reason, place, what, clean(outcome.detail or ""))


def _line(state: str, reason: str | None, *more: str) -> str:
    parts = (f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", state, clean(reason or ""), *more)
    return "  ".join(part for part in parts if part)
