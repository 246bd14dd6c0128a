"""Refuses outputs that cannot be written, or that would spoil what the command reads, before anything is sent or asked.

A refused command line leaves every file as it is, and none behind. Files are compared by device and inode, so no other
name and no link hides that two are one.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from voucherify_sync.bookkeeping.ledger_file import ELSEWHERE
from voucherify_sync.bookkeeping.private import try_to_append, try_to_write_whole
from voucherify_sync.errors import UsageProblem
from voucherify_sync.reading.source import Source
from voucherify_sync.running.ledgers import ledger_path
from voucherify_sync.running.request import Mode
from voucherify_sync.settings import Settings, application_id, settings_file, token_file

from .replay_options import ReplayOptions
from .streams import silence_stderr

_BESIDE_LEDGER = ("-wal", "-shm", ".lock")
_OF_ITS_OWN = "Each output needs a file of its own, which the command does not read."

_STDERR = "standard error"

Identity = tuple[int, int] | tuple[int, int, str]
"""Device and inode of a file; of one that is not there yet, those of its folder, and its name."""


class Input(NamedTuple):
    """A file that is not to be written to.

    Attributes:
        name: what it is, for a sentence.
        file: its path, or the descriptor of a standard stream.
    """

    name: str
    file: Path | int


class Output(NamedTuple):
    """A file that a command will write.

    Attributes:
        name: the option and its value, for a sentence.
        file: its path.
        attempt: raises OSError if it cannot be written, and leaves it as it is.
        remedy: what to do then.
    """

    name: str
    file: Path
    attempt: Callable[[Path], object]
    remedy: str = "Name a file in a folder that exists and that you may write to."


def try_outputs(outputs: Sequence[Output], inputs: Iterable[Input]) -> None:
    """Find out whether all outputs can be written, and whether each is a file of its own.

    The standard streams are looked at, too, where they lead from or to a file. A named pipe stays open from now on, so
    that its reader waits until it has been written to.

    Raises:
        UsageProblem: all that is wrong.
    """
    if collisions := list(_collisions(outputs, inputs)):
        if any(name == _STDERR for name, _ in collisions) and os.fstat(2).st_size:
            silence_stderr()  # what is said would get into what the file holds
        sentences = [f"{name} is the same file as {other}." for name, other in collisions]
        raise UsageProblem("\n".join(sentences), _OF_ITS_OWN)
    if failures := dict(_failures(outputs)):
        raise UsageProblem("\n".join(failures), "\n".join(dict.fromkeys(failures.values())))


def try_outputs_of_run(
    options: ReplayOptions, settings: Settings, mode: Mode, sources: Iterable[Input]
) -> None:
    """Do it for a run, or the preview of one.

    Args:
        options: name the outputs, and some of the inputs.
        settings: with the options laid over; the ledger is an output of a live run, and must not be one of others.
        mode: of the run.
        sources: where the events are read.
    """
    outputs = list(_outputs_of(options))
    ledger = list(ledger_files(settings))
    if mode is Mode.LIVE and ledger:
        name, path = ledger.pop(0)
        assert isinstance(path, Path)  # noqa: S101  # `ledger_files` gives nothing else
        outputs.append(Output(name, path, _try_ledger, ELSEWHERE))
    inputs = [*settings_files(options.config, settings), *ledger, *sources]
    if options.exclude_ids is not None:
        inputs.append(Input(f"--exclude-ids {options.exclude_ids}", options.exclude_ids))
    try_outputs(outputs, inputs)


def source_files(sources: Iterable[Source]) -> Iterator[Input]:
    """Yield the files that events are read from."""
    return (Input(f"the source {source.name}", source.path) for source in sources if source.path is not None)


def settings_files(config: Path | None, settings: Settings) -> Iterator[Input]:
    """Yield the settings file and that of the Secret Key.

    Args:
        config: the file that the command line names.
        settings: what it holds.
    """
    file = settings_file(config)
    if file is not None:
        yield Input(f"the settings file {file}", file)
    with suppress(UsageProblem):  # where it is cannot be told, so nothing can be written there
        token = token_file(settings.api)
        if token is not None:
            yield Input(f"api.token_file {token}", token)


def ledger_files(settings: Settings) -> Iterator[Input]:
    """Yield the ledger of the project, and what SQLite and the lock keep beside it; nothing where none is known."""
    with suppress(UsageProblem):  # a command that needs it says so
        path = ledger_path(settings, application_id(settings, os.environ))
        if path is not None:
            yield Input(f"the ledger {path}", path)
            for suffix in _BESIDE_LEDGER:
                beside = path.with_name(path.name + suffix)
                yield Input(f"the ledger's {beside}", beside)


def _outputs_of(options: ReplayOptions) -> Iterator[Output]:
    for report in options.report:
        if report != "-":
            yield Output(f"--report {report}", Path(report), try_to_write_whole)
    if options.dead_letters is not None:
        yield Output(f"--dead-letters {options.dead_letters}", options.dead_letters, try_to_append)
    if options.log_file is not None:
        yield Output(f"--log-file {options.log_file}", options.log_file, try_to_append)


def _collisions(outputs: Sequence[Output], inputs: Iterable[Input]) -> Iterator[tuple[str, str]]:
    """Yield the names of each output and the input or other output that it is; stdout and stderr may share a file."""
    streams = {_identity(number): name for number, name in ((2, _STDERR), (1, "standard output"))}
    written = [*streams.items(), *((_identity(output.file), output.name) for output in outputs)]
    if all(identity is None for identity, _ in written):
        return  # there may be many inputs
    known = {_identity(each.file): each.name for each in (Input("standard input", 0), *inputs)}
    for identity, name in written:
        if identity is None:
            continue
        if identity in known:
            yield name, known[identity]
        known[identity] = name


def _identity(file: Path | int) -> Identity | None:
    """Return what all names of a file have in common; None for what many may share: devices, streams that are no files.

    It opens nothing: to close a second descriptor of a ledger would drop the locks that SQLite has on it.
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


def _failures(outputs: Sequence[Output]) -> Iterator[tuple[str, str]]:
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
            return "it is a pipe that nobody reads; start its reader first"
    return error.strerror or str(error)


def _try_ledger(path: Path) -> None:
    """Find out whether a ledger could be written or made; its folders are made with it."""
    if path.exists():
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return
    folder = next(each for each in path.absolute().parents if each.exists())
    try_to_append(folder / f".voucherify-sync-{os.getpid()}")
