"""A disk in memory under a ledger: each write, sync and promise goes on a tape, so that the power can fail anywhere.

Comes in: what SQLite does through a VFS of apsw. Goes out: the files that a power cut leaves, where all that was not
synced is kept, lost or torn by chance; or the error of a disk that is full or broken from some write on.
"""

from __future__ import annotations

import itertools
import random
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import apsw

from support.ledger_parts import IDENTITY
from voucherify_sync.state.ledger import Ledger, RunStart
from voucherify_sync.state.ledger_db import PRAGMAS, checkpoint, clear_mark, open_empty, upgrade
from voucherify_sync.stop import Stop

NAME = "project.ledger"
MARK = '{"run":"cut-off","since":1700000000,"inode":1,"process":1,"host":"here"}'
SECTOR = 512
_numbers = itertools.count()


class Step(NamedTuple):
    """One entry of the tape; what `data` is depends on `what`."""

    what: Literal["write", "truncate", "sync", "delete", "promise"]
    file: str = ""
    data: Any = None
    offset: int = 0


class Disk(apsw.VFS):
    """All files of one machine.

    Attributes:
        tape: all that happened, in order.
        files: the files as running programs see them.
        refuses: what the disk says from the `refuses_from`-th write (or sync) on, counted from 1.
    """

    def __init__(self) -> None:
        self.vfs = f"taped-{next(_numbers)}"
        self.tape: list[Step] = []
        self.files: dict[str, bytearray] = {}
        self.refuses: Exception | None = None
        self.refuses_from = 0
        self._asked = 0
        super().__init__(self.vfs, "")

    def refuse(self, error: Exception, number: int) -> None:
        """Be full or broken from the n-th write from now on."""
        self.refuses, self.refuses_from, self._asked = error, number, 0

    def change(self, step: Step) -> None:
        """Let a program write, unless the disk refuses."""
        self._asked += 1
        if self.refuses is not None and self._asked >= self.refuses_from:
            raise self.refuses
        apply(self.files, step)
        self.tape.append(step)

    def promise(self, what: str, key: object) -> None:
        """Note that from here on somebody relies on something."""
        self.tape.append(Step("promise", what, key))

    def xOpen(self, name: Any, flags: list[int]) -> Any:  # noqa: N802
        """Open a file; made here, it exists from now on."""
        label = (
            name.filename() if isinstance(name, apsw.URIFilename) else name or f"temporary-{next(_numbers)}"
        )
        if label not in self.files:
            self.change(Step("write", label, b""))
        return _File(self, label)

    def xDelete(self, name: str, syncdir: bool) -> None:  # noqa: N802
        """Delete a file."""
        self.change(Step("delete", name))

    def xAccess(self, name: str, flags: int) -> bool:  # noqa: N802
        """Tell whether there is a file."""
        return name in self.files

    def xFullPathname(self, name: str) -> str:  # noqa: N802
        """Return the name as it is: there are no folders."""
        return name


class _File:
    """What SQLite holds open."""

    def __init__(self, disk: Disk, label: str) -> None:
        self._disk = disk
        self._label = label

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802
        return bytes(self._disk.files[self._label][offset : offset + amount])

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self._disk.change(Step("write", self._label, bytes(data), offset))

    def xTruncate(self, size: int) -> None:  # noqa: N802
        self._disk.change(Step("truncate", self._label, None, size))

    def xSync(self, flags: int) -> None:  # noqa: N802
        self._disk.change(Step("sync", self._label))

    def xFileSize(self) -> int:  # noqa: N802
        return len(self._disk.files[self._label])

    def xSectorSize(self) -> int:  # noqa: N802
        return SECTOR

    def xDeviceCharacteristics(self) -> int:  # noqa: N802
        return apsw.SQLITE_IOCAP_POWERSAFE_OVERWRITE  # what SQLite takes every disk of this kind for

    def xFileControl(self, request: int, pointer: int) -> bool:  # noqa: N802
        return False

    def xCheckReservedLock(self) -> bool:  # noqa: N802
        return False

    def xLock(self, level: int) -> None:  # noqa: N802
        """Grant it: there is one program."""

    def xUnlock(self, level: int) -> None:  # noqa: N802
        """Take it back."""

    def xClose(self) -> None:  # noqa: N802
        """Keep everything."""


class Connection:
    """A connection of apsw with the few manners of sqlite3 that a ledger relies on."""

    def __init__(self, disk: Disk) -> None:
        self._inner = apsw.Connection(NAME, vfs=disk.vfs)

    def execute(self, statement: str, values: Sequence[Any] = ()) -> Any:
        """Run one statement."""
        with _errors_of_sqlite3():
            return self._inner.execute(statement, values)

    def create_function(self, name: str, arguments: int, function: Any) -> None:
        """Let statements call a function."""
        self._inner.create_scalar_function(name, function, arguments)

    def executemany(self, statement: str, values: Any) -> Any:
        """Run one statement for each of many values."""
        with _errors_of_sqlite3():
            return self._inner.executemany(statement, values)


@contextmanager
def _errors_of_sqlite3() -> Iterator[None]:
    try:
        yield
    except apsw.Error as error:
        told = sqlite3.OperationalError(str(error))
        told.sqlite_errorname = {
            apsw.FullError: "SQLITE_FULL",
            apsw.IOError: "SQLITE_IOERR_WRITE",
        }.get(type(error), "SQLITE_ERROR")
        raise told from error


def open_on(disk: Disk, stop: Stop, *, synchronous: str = "FULL", checkpoint_pages: int = 40) -> Ledger:
    """Begin a run on a ledger of this disk, with the statements and the writer of the real one.

    What cannot be had through such a VFS is the memory that connections share, hence the exclusive lock. Checkpoints
    come often, since they are where the most can go wrong.
    """
    connection: Any = Connection(disk)
    pragmas = ["locking_mode = EXCLUSIVE", *PRAGMAS, f"wal_autocheckpoint = {checkpoint_pages}"]
    for pragma in [*pragmas, f"synchronous = {synchronous}"]:
        connection.execute(f"PRAGMA {pragma}")
    upgrade(connection, 0)
    connection.execute("INSERT INTO header VALUES ('open', ?)", (MARK,))
    assert checkpoint(connection)
    path, start = Path(NAME), RunStart("cut-off", "replay", "digest", IDENTITY)
    lock: Any = Unlocked()
    clock = lambda: 1_700_000_000.0  # noqa: E731
    return TapedLedger(path, start, open_empty(), connection, lock, stop, clock)


class TapedLedger(Ledger):
    """A ledger that no other connection can open meanwhile."""

    def close(self) -> None:
        """Close it with the statements of the real one."""
        self._writer.close()
        if self._writer.error is None:
            assert clear_mark(self._writing)


class Unlocked:
    """The lock of a disk that nobody else has."""

    is_lost = False

    def check_path(self) -> None:
        """Find nothing wrong."""


def apply(files: dict[str, bytearray], step: Step) -> None:
    """Do to files what a step did."""
    if step.what == "write":
        content = files.setdefault(step.file, bytearray())
        content.extend(bytes(max(0, step.offset - len(content))))
        content[step.offset : step.offset + len(step.data)] = step.data
    elif step.what == "truncate":
        del files[step.file][step.offset :]
    elif step.what == "delete":
        files.pop(step.file, None)


def after_power_cut(tape: Sequence[Step], chance: random.Random) -> dict[str, bytearray]:
    """Return the files as they are found after the power failed at the end of a tape.

    What was synced is there. Of the rest each sector is there or not, by a chance that is drawn anew each time, so
    that all, nothing and every mixture come up.
    """
    files: dict[str, bytearray] = {}
    unsynced: list[Step] = []
    for step in tape:
        if step.what == "sync":
            for written in unsynced:
                if written.file == step.file:
                    apply(files, written)
            unsynced = [written for written in unsynced if written.file != step.file]
        elif step.what == "delete":
            unsynced = [written for written in unsynced if written.file != step.file]
            apply(files, step)
        elif step.what != "promise":
            unsynced.append(step)
    kept = chance.choice((0.0, 0.5, 0.9, 1.0))
    for written in unsynced:
        for piece in _sectors(written):
            if chance.random() < kept:
                apply(files, piece)
    return files


def _sectors(step: Step) -> Iterator[Step]:
    if step.what != "write":
        yield step
        return
    for start in range(0, len(step.data), SECTOR):
        yield step._replace(data=step.data[start : start + SECTOR], offset=step.offset + start)


def save(files: dict[str, bytearray], folder: Path) -> Path:
    """Write what a disk holds into a real folder; return where the ledger is."""
    for name, content in files.items():
        (folder / Path(name).name).write_bytes(content)
    return folder / NAME
