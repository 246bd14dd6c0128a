"""Keep the files of a prepared archive, in a folder or elsewhere: each is written whole or not at all.

What several processes or machines work on together is handed over through a storage, so that any of them may be lost.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from msgspec import Struct

from voucherify_sync.errors import RunStopped, SourceError, UsageProblem
from voucherify_sync.sources.object_store import (
    get,
    is_url,
    is_web,
    names_in,
    open_object,
    put,
    remove_below,
    shown_url,
    without_alias,
)
from voucherify_sync.state.private_files import make_private_directory, write_error

_DRAFT = ".draft-"


class Storage(Protocol):
    """Files by name; a name may have folders in it, with slashes.

    It is handed to other processes, so it must be possible to pickle it. Each function raises VoucherifySyncError where
    something cannot be written, and OSError where something cannot be read.
    """

    @property
    def place(self) -> str:
        """Where it is, as people name it."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Write a file, whole or not at all; one that exists is replaced."""
        ...

    def writing(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Return a file to write to, which appears whole at the end, and not at all after an error."""
        ...

    def reading(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Return a file to read from its beginning."""
        ...

    def read(self, name: str, begin: int = 0, end: int | None = None) -> bytes:
        """Return a part of a file, or all of it."""
        ...

    def names(self, folder: str) -> list[str]:
        """Return the names of what is in a folder, sorted; none where there is no such folder.

        Raises:
            SourceError: it cannot be listed.
        """
        ...

    def remove(self, folder: str) -> None:
        """Remove a folder with all that is in it."""
        ...

    def alone(self) -> AbstractContextManager[None]:
        """Keep others of this machine from preparing into the same place meanwhile.

        Raises:
            RunStopped: somebody does.
        """
        ...


def storage_at(place: str) -> Storage:
    """Return the storage at a place: a folder, or a prefix of an object store.

    Raises:
        UsageProblem: nothing can be written there.
    """
    if not is_url(place):
        return Folder(place)
    if is_web(place):
        raise UsageProblem(
            f"{shown_url(place)}: nothing can be written to a web server.",
            "Name a folder, or s3://, gs:// or az://.",
        )
    return Prefix(without_alias(place).rstrip("/"))


def unreadable_work(storage: Storage, name: str, error: Exception) -> RunStopped:
    """Return what is said where something that a preparation has handed over is damaged, or not there."""
    return RunStopped(
        f"{storage.place}/{name} cannot be read: {getattr(error, 'strerror', None) or error}.",
        f"Remove {storage.place}, then run the same command again: it begins from the start.",
    )


class Prefix(Struct, frozen=True):
    """A storage in an object store: all objects below a prefix."""

    place: str

    def write(self, name: str, data: bytes) -> None:
        """Write an object."""
        put(f"{self.place}/{name}", data)

    @contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        """Yield a file that is sent at the end."""
        with tempfile.TemporaryFile(prefix="voucherify-sync-") as file:
            try:
                yield file
            except OSError as error:
                raise write_error(Path(tempfile.gettempdir()), error) from error
            file.seek(0)
            put(f"{self.place}/{name}", file)

    @contextmanager
    def reading(self, name: str) -> Iterator[BinaryIO]:
        """Yield a copy of an object."""
        with open_object(f"{self.place}/{name}") as file:
            yield cast("BinaryIO", file)

    def read(self, name: str, begin: int = 0, end: int | None = None) -> bytes:
        """Return a part of an object."""
        return get(f"{self.place}/{name}", begin, end)

    def names(self, folder: str) -> list[str]:
        """Return the names of what is directly below a folder."""
        return names_in(f"{self.place}/{folder}")

    def remove(self, folder: str) -> None:
        """Delete all objects below a folder."""
        remove_below(f"{self.place}/{folder}")

    def alone(self) -> AbstractContextManager[None]:
        """Hold no lock: there is none. Tasks that run twice write the same."""
        return nullcontext()


class Folder(Struct, frozen=True):
    """A storage on disk, for the eyes of its owner only: 0700 and 0600."""

    place: str

    def write(self, name: str, data: bytes) -> None:
        """Write a file, whole or not at all."""
        with self.writing(name) as file:
            file.write(data)

    @contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        """Yield a file that gets its name at the end."""
        target = self._path(name)
        try:
            make_private_directory(target.parent)
            descriptor, draft = tempfile.mkstemp(dir=target.parent, prefix=_DRAFT)
        except OSError as error:
            raise write_error(target, error) from error
        try:
            with open(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(descriptor)
            os.replace(draft, target)  # noqa: PTH105
        except OSError as error:
            raise write_error(target, error) from error
        finally:
            with suppress(FileNotFoundError):
                os.unlink(draft)  # noqa: PTH108

    @contextmanager
    def reading(self, name: str) -> Iterator[BinaryIO]:
        """Yield a file to read."""
        with self._path(name).open("rb") as file:
            yield file

    def read(self, name: str, begin: int = 0, end: int | None = None) -> bytes:
        """Return a part of a file."""
        with self.reading(name) as file:
            file.seek(begin)
            return file.read(-1 if end is None else end - begin)

    def names(self, folder: str) -> list[str]:
        """Return the names of what is in a folder, without what is being written."""
        path = self._path(folder)
        try:
            found = os.listdir(path)  # noqa: PTH208
        except FileNotFoundError:
            return []
        except OSError as error:
            raise SourceError(f"{path}: {error.strerror}.", "Check the permissions.") from error
        return sorted(name for name in found if not name.startswith(_DRAFT))

    def remove(self, folder: str) -> None:
        """Remove a folder; what of it cannot be removed stays."""
        shutil.rmtree(self._path(folder), ignore_errors=True)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold a lock on the folder itself, which ends with this process, however it ends.

        What processes that were killed were writing into the folder itself is removed, before and after. What they left
        in folders below it goes with those.
        """
        path = self._path("")
        try:
            make_private_directory(path)
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise write_error(path, error) from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RunStopped(
                    f"another process is preparing an archive in {self.place}.", "Wait until it has ended."
                ) from None
            except OSError:  # a file system without locks: tasks that run twice do no harm
                yield
                return
            self._remove_drafts()
            try:
                yield
            finally:
                self._remove_drafts()
        finally:
            os.close(descriptor)

    def _remove_drafts(self) -> None:
        for draft in self._path("").glob(f"{_DRAFT}*"):
            with suppress(OSError):
                draft.unlink()

    def _path(self, name: str) -> Path:
        return Path(self.place, name)
