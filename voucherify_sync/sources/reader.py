"""Read the sources of events, one after the other, as batches of whole lines.

No other module opens event files. Line numbers are exact, and a value that is too long is never buffered. A damaged
source does not end the reading: its facts say what is wrong, and the next source follows. Pipes that are read twice are
copied to private temporary files.
"""

from __future__ import annotations

import errno
import os
import select
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from io import BytesIO, FileIO
from itertools import chain, islice
from pathlib import Path
from threading import Thread
from typing import Self

from msgspec import Struct
from msgspec.structs import replace

from voucherify_sync.errors import RunStopped, SourceError
from voucherify_sync.events import Batch
from voucherify_sync.sources.decode import KEPT_VALUE_BYTES, decode
from voucherify_sync.sources.discover import NO_SOURCE, STDIN, Source
from voucherify_sync.sources.gzip_stream import MAGIC, CorruptError, DamageError, Gunzip, is_gzip
from voucherify_sync.sources.json_text import (
    BOM,
    MAX_VALUE_BYTES,
    LongValue,
    Values,
    batch_of,
    begins_array_of_objects,
)
from voucherify_sync.sources.object_store import Downloads, RefusedError, Stream
from voucherify_sync.sources.unsupported_formats import HEAD_BYTES, ForeignFormat, recognise, recognise_line
from voucherify_sync.stop import Stop
from voucherify_sync.text import counted

PART_BYTES = 256 * 1024
"""Bytes of a line that is not at its end yet, from which on its values are handed out in parts."""

PIECE_BYTES = 128 * 1024
"""Bytes read at once. Lines of larger pieces leave the caches of the processor before they are decoded."""
_SAMPLE_LINES = 20
_MAX_NAMED = 3
_POLL_S = 0.1  # how often a reader that waits for a pipe looks whether the run stops


class Lines:
    """Cuts the text of one source into batches of lines, at line feeds only.

    A long line of several values is handed out in parts, each of whole values, so that memory stays flat however long
    it is. Of a value that is too long only the head is kept.

    Attributes:
        count: lines handed out so far.
    """

    def __init__(
        self,
        source: str,
        *,
        max_value: int = MAX_VALUE_BYTES,
        kept_of_long: int = KEPT_VALUE_BYTES,
        part: int = PART_BYTES,
    ) -> None:
        self.count = 0
        self._source = source
        self._max_value = max_value
        self._kept_of_long = kept_of_long
        self._part_bytes = part
        self._open: list[bytes | memoryview] = []  # pieces of the line whose end has not come yet
        self._length = 0  # of that line so far, or of what was not handed out of it, in bytes
        self._next_cut = part  # length at which values are handed out
        self._first_item: int | None = None  # of the next part, if the line is handed out in parts
        self._in_array = False  # what is open is in an array of which the items are handed out
        self._head: bytes | None = None  # of the value that is passed over, since it is too long
        self._long = LongValue()

    def feed(self, piece: bytes) -> Iterator[Batch]:
        """Yield the lines that this piece completes; no piece may be longer than `part`."""
        begin, end = 0, piece.rfind(b"\n") + 1
        if end and (self._length or self._first_item is not None):
            first = piece.index(b"\n")
            is_long = self._first_item is not None or self._head is not None or self._in_array
            if is_long or self._length + first >= self._next_cut:
                yield from self._extend(piece[:first])
                yield from self._end_line()
                begin = first + 1
        if begin < end:
            self._open.append(memoryview(piece)[begin:end])  # it is copied only once
            yield self._batch()
        if end < len(piece):
            yield from self._extend(piece[end:])

    def finish(self) -> Iterator[Batch]:
        """Yield the last line, if the source did not end with a line end."""
        if self._length or self._first_item is not None:
            yield from self._end_line()

    def rescue(self) -> Iterator[Batch]:
        """Yield the values before the last one of the line that a damage has cut off."""
        if self._head is None:
            yield from self._cut()

    @property
    def is_in_parts(self) -> bool:
        """Whether values of the line whose end has not come yet were handed out."""
        return self._first_item is not None

    @property
    def unfinished(self) -> int:
        """The length in bytes of what is not handed out of the line whose end has not come yet."""
        return self._length

    def _extend(self, piece: bytes) -> Iterator[Batch]:
        """Add a piece to the open line; yield its values from time to time."""
        self._length += len(piece)
        if self._head is None:
            self._open.append(piece)
        else:
            rest = self._long.rest(piece)
            if rest is None:
                return
            yield self._part(self._head, 1, truncated=True)
            self._head, self._open, self._length = None, [rest], len(rest)
        if self._length >= self._next_cut:
            yield from self._cut()

    def _cut(self) -> Iterator[Batch]:
        """Yield the values of the open line but the last one, which may not be at its end."""
        text = b"".join(self._open)
        # The beginning of a byte order mark is no value, and its end comes with the next piece.
        mark = next((part for part in (BOM[:2], BOM[:1]) if text.endswith(part)), b"")
        text = text.removesuffix(mark)
        count = begin = end = part_end = 0
        values = Values(text, is_whole=False, in_array=self._in_array)
        in_array = self._in_array
        for next_begin, next_end in values:
            count += _count(text[begin:end], in_array=in_array)
            begin, end, part_end, in_array = next_begin, next_end, end, values.in_array
        if count:
            yield self._part(text[:part_end], count)
        self._in_array = in_array
        text = text[begin:end] + b" " * (end < len(text)) + mark
        if len(text) > self._max_value:
            if not in_array and begins_array_of_objects(text, 0, len(text)):
                self._in_array, self._open, self._length = True, [], 0
                self._next_cut = self._part_bytes
                for at in range(1, len(text), self._part_bytes):  # not all at once: a run may stop in between
                    yield from self._extend(text[at : at + self._part_bytes])
                return
            self._head, self._long = text[: self._kept_of_long], LongValue()
            self._open, self._length = [], 0
            yield from self._extend(text)
            return
        self._open, self._length = [text], len(text)
        # Twice as far each time, so that a long value is not looked through again and again.
        self._next_cut = max(self._part_bytes, min(2 * len(text), self._max_value + 1))

    def _part(self, text: bytes, count: int, *, truncated: bool = False) -> Batch:
        """Return a part of the open line that holds `count` records: the next part goes on from there."""
        first_item = self._first_item or 0
        self._first_item = first_item + count
        return Batch(self._source, self.count + 1, text + b"\n", truncated, first_item, self._in_array)

    def _end_line(self) -> Iterator[Batch]:
        """Yield what is left of the open line."""
        if self._head is None and self._first_item is None and not self._in_array:
            yield self._batch(b"\n")
            return
        text = b"".join(self._open) if self._head is None else self._head
        self.count += 1  # before the batch is handed out: who takes it may look at the count
        first_item = 0 if self._in_array and self._first_item is None else self._first_item
        is_long = self._head is not None
        batch = Batch(self._source, self.count, text + b"\n", is_long, first_item, self._in_array)
        self._open, self._length, self._next_cut = [], 0, self._part_bytes
        self._first_item = self._head = None
        self._in_array = False
        yield batch

    def _batch(self, end: bytes = b"") -> Batch:
        """Return the open line or lines with a last line end."""
        text = b"".join([*self._open, end])
        self._open, self._length, self._next_cut = [], 0, self._part_bytes
        first_line = self.count + 1
        self.count += _line_feeds(text)
        return Batch(self._source, first_line, text)


def _count(value: bytes, *, in_array: bool) -> int:
    """Count the records of a value: an object is one, unless it is an envelope or broken."""
    batch = batch_of(value)
    is_one = batch is not None and not batch.startswith(b"[")
    return 1 if is_one else sum(1 for _ in decode(Batch("", 1, value, first_item=0, in_array=in_array)))


def _line_feeds(text: bytes) -> int:
    """Count them, three times as fast as ``text.count`` where they are a kilobyte apart."""
    count, at, find = 0, -1, text.find
    while (at := find(b"\n", at + 1)) >= 0:
        count += 1
    return count


class SourceFacts(Struct):
    """What is known of one source so far; another thread may read it at any time.

    Attributes:
        name: as in Source.
        lines: handed out so far, blank ones too.
        bytes: read from disk or pipe so far, before decompression.
        damaged: why and where it could not be read further, else None.
        corrupt: bytes of it are wrong, so that no line of it can be trusted.
        gzipped: its first bytes are those of gzip.
        foreign: format of another tool, in which one of its lines is.
        foreign_line: number of that line; 0 if all of an object is of that format, so that nothing of it is read.
        is_read: nothing is left to be read of it.
        e_tag: that of the object, if it is one of a store.
    """

    name: str
    lines: int = 0
    bytes: int = 0
    damaged: str | None = None
    corrupt: bool = False
    gzipped: bool = False
    foreign: ForeignFormat | None = None
    foreign_line: int = 0
    is_read: bool = False
    e_tag: str | None = None

    def sample(self, batch: Batch) -> None:
        """Look for lines of another tool: at the first lines of the source, then at one line of each batch."""
        if self.foreign is not None:
            return
        most = 1 if self.lines else _SAMPLE_LINES
        for number, line in enumerate(islice(BytesIO(batch.text), most), batch.first_line):
            self.foreign = recognise_line(line, gzipped=self.gzipped)
            if self.foreign is not None:
                self.foreign_line = number
                return


def source_facts(source: Source) -> SourceFacts:
    """Return the facts of a source of which nothing was read yet."""
    return SourceFacts(source.name, e_tag=source.remote.e_tag if source.remote else None)


def source_notices(facts: Sequence[SourceFacts]) -> list[str]:
    """Return what is to be said of the sources that were read.

    That is a sentence and a remedy for each one with lines of another tool, of which only the first are named, and one
    for standard input that was empty.
    """
    found = [each for each in facts if each.foreign is not None]
    notices = [
        "standard input was empty: the command in front of the pipe has printed nothing."
        for each in facts
        if each.name == STDIN and not each.bytes and each.is_read
    ]
    for each in found[:_MAX_NAMED]:
        assert each.foreign is not None  # noqa: S101  # chosen by that
        name, file = ("standard input", None) if each.name == STDIN else (each.name, each.name)
        where = f"{name}:{each.foreign_line} is" if each.foreign_line else f"{name}: skipped, this is"
        notices.append(f"{where} {each.foreign.name}. {each.foreign.remedy(file)}")
    if len(found) > _MAX_NAMED:
        more = counted(len(found) - _MAX_NAMED, "more source holds", "more sources hold")
        notices.append(f"{more} lines of another tool.")
    return notices


class Reader:
    """The lines of all sources, in order, as batches.

    Args:
        sources: as `find_sources` found them.
        stop: looked at between pieces of at most PIECE_BYTES bytes, and ten times a second while a pipe is silent.
        distrusted: sources that `check_gzip` found corrupt: they are named as damaged, and nothing of them is read.
        stdin: descriptor of standard input.
        verifies: objects are fetched whole, and their gzip checksums verified, before a line of them is handed out, as
            `check_gzip` does with files.
        spool: is filled before the first line, and its copies are read in place of the pipes.

    Attributes:
        facts: one entry for each source begun, in order.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        stop: Stop,
        distrusted: Sequence[SourceFacts] = (),
        stdin: int = 0,
        spool: Spool | None = None,
        *,
        verifies: bool = False,
    ) -> None:
        self._distrusted = {facts.name: facts for facts in distrusted}
        self.facts: list[SourceFacts] = []
        self._sources = sources if spool is None else spool.sources
        self._spool = spool
        self._stop = stop
        self._stdin = stdin
        self._verifies = verifies

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of every source.

        Raises:
            SourceError: a pipe turns out to hold a wrong format.
        """
        for part in self.parts():
            if isinstance(part, Batch):
                yield part

    def parts(self, max_file_bytes: int = -1) -> Iterator[Batch | Source]:
        """Yield the batches of every source, but a file of at most `max_file_bytes` as it is, with its facts left open.

        Raises:
            SourceError: a pipe turns out to hold a wrong format.
            RunStopped: a pipe is spooled, and there is no room on disk.
        """
        if self._spool is not None:
            self._spool.fill(self._stop)
        objects = [source.remote for source in self._sources if source.remote is not None]
        with closing(Downloads(objects, self._stop, is_whole=self._verifies)) as downloads:
            for source in self._sources:
                if self._stop.requested:
                    return
                if source.name in self._distrusted:
                    self.facts.append(self._distrusted[source.name])
                    continue
                facts = source_facts(source)
                self.facts.append(facts)
                if source.path is not None and source.size is not None and source.size <= max_file_bytes:
                    yield source
                else:
                    yield from self._source(source, facts, downloads)

    @property
    def bytes_total(self) -> int | None:
        """Bytes on disk of all sources; None if one of them is a pipe, or an object of the web."""
        sizes = [source.size for source in self._sources]
        return None if None in sizes else sum(size for size in sizes if size is not None)

    def _source(self, source: Source, facts: SourceFacts, downloads: Downloads) -> Iterator[Batch]:
        lines = Lines(source.name)
        try:
            with self._opened(source, downloads) as stream:
                for text in self._texts(source, stream, facts):
                    for batch in lines.feed(text):
                        facts.sample(batch)
                        facts.lines = max(lines.count, batch.first_line)
                        yield batch
                    if self._stop.requested:
                        return
        except RefusedError as error:
            self._refuse(facts, error)
        except (DamageError, OSError) as error:
            if not self._stop.requested:
                for batch in lines.rescue():
                    facts.lines = batch.first_line  # a line that gave values is one that was read
                    yield batch
                facts.damaged = _damage(error, facts, lines)
        else:
            if not self._stop.requested:
                yield from _finish(lines, facts)

    def _refuse(self, facts: SourceFacts, error: RefusedError) -> None:
        """Pass an object over of which nothing can be read.

        Raises:
            SourceError: it is the last one, and nothing was read of those before.
        """
        if len(self.facts) == len(self._sources) and not any(each.lines for each in self.facts):
            raise SourceError(f"{facts.name}: {error}.", error.remedy) from None
        facts.foreign = error.foreign
        facts.damaged = None if error.foreign else str(error)

    def _texts(self, source: Source, stream: Stream, facts: SourceFacts) -> Iterator[bytes]:
        """Yield the text of a source; nothing of an object that is corrupt, if objects are verified."""
        if source.remote is not None and self._verifies:
            checked = _checked(source, stream, self._stop)
            if checked.corrupt:
                self.facts[-1] = checked
                return
            stream.seek(0)
        texts = _unpacked(stream, facts, self._stop)
        if source.size is None or source.remote is not None:
            texts = _recognised(source, texts, gzipped=facts.gzipped)
        yield from texts

    def _opened(self, source: Source, downloads: Downloads) -> AbstractContextManager[Stream]:
        if source.remote is not None:
            return downloads.open(source.remote)
        return opened(source, self._stdin, self._stop)


def _finish(lines: Lines, facts: SourceFacts) -> Iterator[Batch]:
    for batch in lines.finish():
        facts.sample(batch)
        facts.lines = lines.count
        yield batch
    facts.is_read = True


def check_gzip(sources: Sequence[Source], stop: Stop) -> list[SourceFacts]:
    """Read every gzip file through to verify its checksums, since a flipped bit can yield plausible events.

    Returns:
        The facts of the gzip files, in order; where `damaged` is None, the file is sound and `lines` is exact. A file
        that is only cut off is damaged and not corrupt: what precedes the cut can be trusted.
        Pipes cannot be read twice and are left out. The list is incomplete if the run stops meanwhile.
    """
    checked: list[SourceFacts] = []
    for source in sources:
        if source.gzipped and not stop.requested:
            try:
                with opened(source, -1, stop) as stream:
                    checked.append(_checked(source, stream, stop))
            except OSError as error:
                checked.append(facts := SourceFacts(source.name))
                facts.damaged = _damage(error, facts)
    return checked


def _checked(source: Source, stream: Stream, stop: Stop) -> SourceFacts:
    """Read a stream through to verify its checksums; what is not gzip has none."""
    facts = source_facts(source)
    last = b"\n"
    try:
        for last in _unpacked(stream, facts, stop):
            facts.lines += last.count(b"\n")
            if stop.requested:  # a piece may hold a thousand times as much text
                break
    except (DamageError, OSError) as error:
        if not stop.requested:
            facts.damaged = _damage(error, facts)
            facts.corrupt = isinstance(error, CorruptError)
    facts.lines += not last.endswith(b"\n")
    return facts


def _damage(error: DamageError | OSError, facts: SourceFacts, lines: Lines | None = None) -> str:
    """Say where and why a source ended early, and what became of the line that it ended in."""
    sentence = str(error)
    if isinstance(error, OSError):
        sentence = f"cannot be read at byte {facts.bytes}: {error.strerror}"
    if isinstance(error, CorruptError) and facts.name != STDIN:
        # Without `check_gzip`, as in a preview, lines are counted that a run that sends does not read.
        sentence += (
            "; a run that sends leaves out the whole file" if lines else "; the whole file was left out"
        )
    elif lines and lines.unfinished:
        what = "the end of line" if lines.is_in_parts else "line"
        sentence += f"; {what} {lines.count + 1} is incomplete and was left out ({lines.unfinished} bytes)"
    return sentence


@contextmanager
def opened(source: Source, stdin: int, stop: Stop) -> Iterator[Stream]:
    """Open a source for reading; standard input is left open.

    Raises:
        InterruptedError: it is a named pipe, and the run stopped before anything was going to write to it.
    """
    if source.path is None:
        descriptor = stdin
    else:
        is_pipe = stat.S_ISFIFO(os.stat(source.path).st_mode)
        descriptor = _open_pipe(source.path, stop) if is_pipe else os.open(source.path, os.O_RDONLY)
    with FileIO(descriptor, closefd=source.path is not None) as stream:
        yield stream


def _open_pipe(path: Path, stop: Stop) -> int:
    """Open a named pipe: that waits for a writer, and does not end for a signal, hence the thread.

    Raises:
        InterruptedError: the run stopped before there was a writer.
    """
    opening: Future[int] = Future()

    def wait_for_a_writer() -> None:
        try:
            opening.set_result(os.open(path, os.O_RDONLY))
        except OSError as error:
            opening.set_exception(error)

    thread = Thread(target=wait_for_a_writer, name="open a pipe", daemon=True)
    thread.start()
    try:
        while thread.is_alive() and not stop.requested:
            thread.join(_POLL_S)
    finally:
        if thread.is_alive():
            # Be the writer, so that no thread is left; if that fails, it ends with the process.
            with suppress(OSError):
                os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
            thread.join(_POLL_S)
            if opening.done() and opening.exception() is None:
                os.close(opening.result())
            opening = Future()
    if not opening.done():
        raise InterruptedError(errno.EINTR, os.strerror(errno.EINTR))
    return opening.result()


def _unpacked(stream: Stream, facts: SourceFacts, stop: Stop) -> Iterator[bytes]:
    """Yield the text of a stream, decompressed where its first bytes are gzip's."""
    can_seek = not _is_pipe(stream) and stream.seekable()
    base = stream.tell() if can_seek else 0

    def reread(offset: int) -> Iterator[bytes]:
        """Yield the bytes of a file from an offset on; nothing is read after them."""
        stream.seek(base + offset)
        while not stop.requested and (piece := stream.read(PIECE_BYTES)):
            yield piece

    pieces = read_pieces(stream, facts, stop)
    head = b""
    while len(head) < len(MAGIC) and (piece := next(pieces, b"")):
        head += piece
    texts: Iterator[bytes] = chain([head], pieces)
    gzipped = facts.gzipped = is_gzip(head)
    if gzipped:
        texts = iter(Gunzip(texts, reread if can_seek else None))
    return texts


def _recognised(source: Source, texts: Iterator[bytes], *, gzipped: bool) -> Iterator[bytes]:
    """Pass the text of a pipe or object on, unless it begins as a wrong format, or nobody meant it to be read."""
    head = next(texts, b"")
    if not head and source.is_implied:
        raise SourceError("No source of events is given, and standard input is empty.", NO_SOURCE)
    if wrong := recognise(head[:HEAD_BYTES], gzipped=gzipped):
        if source.remote is not None:
            raise RefusedError(wrong.refusal, wrong.remedy(source.name), wrong)
        name = "standard input" if source.name == STDIN else source.name
        remedy = wrong.remedy(None if source.name == STDIN else source.name)
        raise SourceError(f"{name}: {wrong.refusal}.", remedy)
    yield head
    yield from texts


def _is_pipe(stream: Stream) -> bool:
    """Tell whether a stream is no regular file, and no object, either."""
    return isinstance(stream, FileIO) and not stat.S_ISREG(os.fstat(stream.fileno()).st_mode)


def read_pieces(stream: Stream, facts: SourceFacts, stop: Stop) -> Iterator[bytes]:
    """Yield the bytes of a stream as they come; a pipe that is silent does not hold up a stop."""
    waits = _is_pipe(stream)
    while not stop.requested:
        if waits and not select.select([stream], [], [], _POLL_S)[0]:
            continue
        piece = stream.read(PIECE_BYTES)
        if not piece:
            return
        facts.bytes += len(piece)
        yield piece


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
        self._pipes = {number: source for number, source in enumerate(sources) if source.is_pipe}
        self._folder = Path(tempfile.mkdtemp(prefix="voucherify-sync-")) if self._pipes else None
        self.sources = [
            replace(source, path=self._copy(number)) if number in self._pipes else source
            for number, source in enumerate(sources)
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
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
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            with suppress(InterruptedError), opened(source, self._stdin, stop) as stream:
                try:
                    with os.fdopen(os.open(self._copy(number), flags, 0o600), "wb") as copy:
                        copy.writelines(read_pieces(stream, SourceFacts(source.name), stop))
                except OSError as error:
                    raise RunStopped(
                        f"cannot copy a pipe to {self._folder}: {error.strerror or error}",
                        "Make room there, or name another directory in TMPDIR, then run the same command again.",
                    ) from error

    def _copy(self, number: int) -> Path:
        assert self._folder is not None  # noqa: S101  # there is a pipe
        return self._folder / str(number)
