"""Makes sources readable more than once: pipes come in, private temporary files with the same lines go out.

Files stay where they are. The copies are removed at the end.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from msgspec.structs import replace

from voucherify_sync.errors import RunStopped
from voucherify_sync.model import Block
from voucherify_sync.reading.source import Reader, Source, SourceFacts, opened, read_pieces
from voucherify_sync.stop import Stop


class Spool:
    """Sources of which the pipes are copied to disk when they are first read.

    Args:
        sources: as `find_sources` found them.
        stdin: descriptor of standard input.

    Attributes:
        sources: the same, each with a path that can be read again and again once `fill` has been called.
    """

    def __init__(self, sources: Sequence[Source], stdin: int = 0) -> None:
        self._stdin = stdin
        self._pipes = {number: source for number, source in enumerate(sources) if source.size is None}
        self._folder = Path(tempfile.mkdtemp(prefix="voucherify-sync-")) if self._pipes else None
        self.sources = [
            replace(source, path=self._copy(number)) if number in self._pipes else source
            for number, source in enumerate(sources)
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def fill(self, stop: Stop) -> None:
        """Copy what was not copied yet, as it comes, until the pipes are at their end or the run stops.

        Raises:
            RunStopped: there is no room on disk.
        """
        while self._pipes and not stop.requested:
            number = min(self._pipes)
            source = self._pipes.pop(number)
            with suppress(InterruptedError), opened(source, self._stdin, stop) as descriptor:
                self._write(number, read_pieces(descriptor, SourceFacts(source.name), stop))

    def _write(self, number: int, texts: Iterator[bytes]) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            with os.fdopen(os.open(self._copy(number), flags, 0o600), "wb") as copy:
                copy.writelines(texts)
        except OSError as error:
            raise RunStopped(
                f"cannot copy a pipe to {self._folder}: {error.strerror or error}",
                "Make room there, or name another directory in TMPDIR, then run the same command again.",
            ) from error

    def _copy(self, number: int) -> Path:
        assert self._folder is not None  # noqa: S101  # there is a pipe
        return self._folder / str(number)


class SpooledReader(Reader):
    """A Reader of sources that may be read again: it waits for the pipes to end before its first line."""

    def __init__(self, spool: Spool, stop: Stop, distrusted: Sequence[SourceFacts] = ()) -> None:
        super().__init__(spool.sources, stop, distrusted)
        self._spool = spool

    def parts(self, max_file_bytes: int = -1) -> Iterator[Block | Source]:
        """Yield the blocks of every source, and small files as they are.

        Raises:
            SourceError: a pipe turns out to hold a wrong format.
            RunStopped: there is no room on disk.
        """
        self._spool.fill(self._stop)
        yield from super().parts(max_file_bytes)
