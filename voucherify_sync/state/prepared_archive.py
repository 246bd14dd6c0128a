"""Read and write a prepared archive: the requests of an archive, as a dry run prints them, and a manifest of them.

Each line is one of a dry run and holds, beside it, by what the ledger knows the record. So `replay` of it is that of
the archive, without its mapping. Nothing else of an event is kept.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, BinaryIO, Final, Literal, Self

import msgspec
from isal import isal_zlib
from msgspec import UNSET, Raw, Struct, UnsetType

from voucherify_sync.errors import SourceError, UsageProblem
from voucherify_sync.events import (
    PATHS,
    Batch,
    Event,
    Kind,
    Position,
    PreparedRequest,
    Request,
    order_key,
    record_key,
)
from voucherify_sync.outcomes import Outcome, State
from voucherify_sync.sources.gzip_stream import DamageError, Gunzip
from voucherify_sync.sources.object_store import is_url, is_web
from voucherify_sync.sources.reader import PIECE_BYTES, SourceFacts
from voucherify_sync.state.storage import Storage, storage_at
from voucherify_sync.stop import Stop
from voucherify_sync.text import listed

MANIFEST: Final = "manifest.json"
WORK: Final = "work"
"""Folder of what the stages of a preparation hand over."""
ORIGIN: Final = f"{WORK}/origin.json"
"""Of what is being prepared, while there is no manifest."""
_MAX_NAMED: Final = 5
FORMAT: Final = 1
"""Of the files; a later one may not be readable by this version."""
_LINE_START: Final = b'{"method":"POST","path":"/v1/'
_LEVEL: Final = 1
_GZIP: Final = 31
"""What zlib takes as `wbits` for gzip's format."""
_OPEN_FILES: Final = 16
"""Files that are read in turns, so that a customer with very many requests does not hold up all others."""
_POSITION: Final = re.compile(r"(.*):(\d+)(?:\[(\d+)\])?", re.DOTALL)
_KINDS: Final = {path: kind for kind, path in PATHS.items()}
_encode = msgspec.json.Encoder().encode
_AGAIN: Final = "Prepare the archive again."
_ELSEWHERE: Final = "Prepare the archive into another folder."


class PreparedRecord(Struct, omit_defaults=True, frozen=True):
    """What a line holds of its record, beside the request.

    Attributes:
        customer_id: as `source_id` in Request.
        type, event, former_message_id: as `type`, `name` and `former_message_id` in Event.
        key: in hexadecimal, by which the ledger knows it; empty where type and messageId make it.
        time, told_time: as in Event; the told one only where it is another.
        customer: as in Request.
        name: as in Request, where it is not the event's own.
        is_by_id, has_profile, is_anonymous, order_id: as in Request.
        as_event: as in Event.
        place: in the archive, of what is folded with requests of other customers: of an order. Later ones are larger.
    """

    customer_id: str
    type: str = "track"
    event: str | None = None
    key: str = ""
    former_message_id: str | None = None
    time: datetime | None = None
    told_time: datetime | None = None
    customer: Raw | UnsetType = UNSET
    name: str | None = None
    is_by_id: bool = False
    has_profile: bool = False
    is_anonymous: bool = False
    order_id: str | None = None
    as_event: bool = False
    place: int = 0


class PreparedLine(Struct, frozen=True):
    """One line of a prepared archive; its first fields are those of a line of a dry run."""

    path: str
    body: Raw
    source: str
    messageId: str | None  # noqa: N815  # Segment's name
    record: PreparedRecord


_decode_line = msgspec.json.Decoder(PreparedLine).decode


def encode_request(request: Request, place: int) -> bytes:
    """Return the line of a request, with its line end. Of two requests the earlier one has the smaller place."""
    event, kind = request.event, request.kind
    record = PreparedRecord(
        request.source_id,
        event.type,
        event.name,
        _own_key(event, kind),
        event.former_message_id,
        event.time,
        None if event.told_time == event.time else event.told_time,
        UNSET if request.customer is None else Raw(request.customer),
        None if request.name == event.name else request.name,
        request.is_by_id,
        request.has_profile,
        request.is_anonymous,
        request.order_id,
        event.as_event,
        place if request.order_id is not None else 0,
    )
    return b'{"method":"POST","path":"%b","body":%b,"source":%b,"messageId":%b,"record":%b}\n' % (
        PATHS[kind].encode(),
        request.payload,
        _encode(str(event.position)),
        _encode(event.message_id),
        _encode(record),
    )


def _own_key(event: Event, kind: Kind) -> str:
    """Return the key of an event in hexadecimal, unless its type and messageId make it."""
    is_made = event.message_id is not None and event.type != "identify"
    return "" if is_made else (order_key(event) if kind is Kind.ORDER else record_key(event)).hex()


def is_prepared_line(raw: bytes) -> bool:
    """Tell whether the bytes of a record are a line of a prepared archive."""
    return raw.startswith(_LINE_START) and b'"record":{"customer_id":' in raw


def decode_line(raw: bytes) -> Event:
    """Return the event of a line, with its request.

    Raises:
        ValueError: it is no line of a prepared archive.
    """
    line = _decode_line(raw)
    record, kind = line.record, _KINDS[line.path]
    position = _POSITION.fullmatch(line.source)
    if position is None:
        raise ValueError("a line names no place in the archive")
    name, number, item = position.groups()
    event = Event(
        Position(name, int(number), None if item is None else int(item)),
        record.type,
        record.event,
        line.messageId,
        {},
        raw,
        key=bytes.fromhex(record.key) or None,
        former_message_id=record.former_message_id,
        time=record.time,
        told_time=record.told_time or record.time,
        as_event=record.as_event,
        prepared=PreparedRequest(
            kind,
            record.customer_id,
            bytes(line.body),
            record.name or (None if kind is Kind.CUSTOMER else record.event),
            record.is_by_id,
            record.has_profile,
            None if record.customer is UNSET else bytes(record.customer),
            record.is_anonymous,
            record.order_id,
            record.place,
        ),
    )
    if event.key is None:
        event.key = order_key(event) if kind is Kind.ORDER else record_key(event)
    return event


class RequestFile:
    """A file of requests that is being written; equal requests make equal bytes."""

    def __init__(self, name: str, file: BinaryIO) -> None:
        self._name = name
        self._file = file
        self._gzip = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, _GZIP)
        self._digest = hashlib.sha256()
        self._requests = self._bytes = 0
        self._lines = bytearray()

    def add(self, line: bytes) -> None:
        """Add a line, as `encode_request` makes it."""
        self._requests += 1
        self._lines += line
        if len(self._lines) >= PIECE_BYTES:
            self._write(self._gzip.compress(self._lines))
            self._lines.clear()

    def end(self) -> None:
        """Write what is left."""
        self._write(self._gzip.compress(self._lines) + self._gzip.flush())

    def described(self) -> PreparedFile:
        """Return what the manifest says of it, once it has ended."""
        return PreparedFile(self._name, self._requests, self._bytes, self._digest.hexdigest())

    def _write(self, data: bytes) -> None:
        self._bytes += len(data)
        self._digest.update(data)
        self._file.write(data)


@contextmanager
def writing_requests(storage: Storage, name: str) -> Iterator[RequestFile]:
    """Yield a file of requests, which appears whole at the end."""
    with storage.writing(name) as file:
        yield (requests := RequestFile(name, file))
        requests.end()


class PreparedSource(Struct, frozen=True):
    """A source of the archive that was prepared.

    Attributes:
        name: as it was read.
        size: bytes on disk.
        lines: that were read of it.
        damaged: why it could not be read further; null if it is whole.
    """

    name: str
    size: int | None
    lines: int
    damaged: str | None


class PreparedFile(Struct, frozen=True):
    """A file of requests.

    Attributes:
        name: below the manifest.
        requests: number of its lines.
        bytes: its size.
        sha256: of its bytes.
    """

    name: str
    requests: int
    bytes: int
    sha256: str


class ArchiveOrigin(Struct, frozen=True):
    """What decides what the files of a prepared archive hold.

    Attributes:
        version: of voucherify-sync.
        settings: digest of the settings that select events or shape their requests.
        customers: ``each`` or ``bulk``: how they are to be sent.
        selection: digest of the options that select events.
        sources: digest of their names, sizes and times of change.
        splits: numbers of the sources that were read together.
        shards: number of files; all requests of a customer are in one of them.
    """

    version: str
    settings: str
    customers: Literal["each", "bulk"]
    selection: str
    sources: str
    splits: list[int]
    shards: int


class Manifest(Struct, frozen=True, kw_only=True):
    """What a prepared archive is made of. It is written last, so its files are there and whole.

    Attributes:
        format: of the files.
        origin: of what it was made.
        state: ``incomplete`` if a source could not be read to its end.
        sources: of the archive, in their order.
        files: of requests.
        report: of the preparation, as that of a dry run.
    """

    format: int
    origin: ArchiveOrigin
    state: Literal["complete", "incomplete"]
    sources: list[PreparedSource]
    files: list[PreparedFile]
    report: Raw

    def encode(self) -> bytes:
        """Return it as indented JSON."""
        return msgspec.json.format(_encode(self), indent=2) + b"\n"


def file_name(shard: int) -> str:
    """Return the name of the file with the requests of a shard."""
    return f"requests-{shard:05d}.ndjson.gz"


def is_prepared(storage: Storage) -> bool:
    """Tell whether a storage holds a prepared archive, or one that is being prepared."""
    try:
        names = storage.names("")
        if file_name(0) in names:  # whatever its manifest holds
            return True
        if MANIFEST not in names:
            return WORK in names and has_origin(storage)
    except SourceError:  # whoever reads the sources says what is wrong
        return False
    try:
        msgspec.json.decode(storage.read(MANIFEST), type=_Beginning)
    except (msgspec.MsgspecError, ValueError, OSError):  # a manifest of something else
        return False
    return True


def has_origin(storage: Storage) -> bool:
    """Tell whether a preparation has begun there."""
    return ORIGIN.removeprefix(f"{WORK}/") in storage.names(WORK)


class _Beginning(Struct):
    """What tells a manifest from those of other programs."""

    format: int
    origin: dict[str, Any]
    files: list[Any]


def read_manifest(storage: Storage) -> Manifest | None:
    """Return the manifest of a prepared archive; None where none is complete.

    Raises:
        UsageProblem: it cannot be read, or is that of a later version.
    """
    if MANIFEST not in storage.names(""):
        return None
    name = f"{storage.place}/{MANIFEST}"
    try:
        data = storage.read(MANIFEST)
        format_ = msgspec.json.decode(data, type=dict).get("format")
        if isinstance(format_, int) and format_ > FORMAT:
            raise UsageProblem(
                f"{name}: a later version of voucherify-sync has written it.",
                "Update this one, or prepare the archive into another folder.",
            )
        return msgspec.json.decode(data, type=Manifest)
    except OSError as error:
        raise UsageProblem(f"{name}: {error.strerror or error}.", "Check the permissions.") from error
    except (msgspec.MsgspecError, ValueError) as error:
        raise UsageProblem(f"{name}: this is no manifest of a prepared archive.", _ELSEWHERE) from error


class PreparedArchive(Struct, frozen=True):
    """A prepared archive that is complete enough to be read."""

    storage: Storage
    manifest: Manifest

    @classmethod
    def find(cls, sources: Sequence[str]) -> Self | None:
        """Return the prepared archive that is named as a source; None if there is none.

        Raises:
            UsageProblem: it stands beside other sources, cannot be read, or its preparation has not ended.
        """
        for source in sources:
            if source == "-":
                continue
            if is_url(source):
                may_be = len(sources) == 1 and not is_web(source) and not set("*?[") & set(source)
            else:
                may_be = os.path.isdir(source)  # noqa: PTH112
            storage = storage_at(source) if may_be else None
            if storage is None or not is_prepared(storage):
                continue
            if len(sources) > 1:
                raise UsageProblem(
                    f"{source} is a prepared archive, which is read alone.",
                    "Read the other sources in another run.",
                )
            manifest = read_manifest(storage)
            if manifest is None:
                raise UsageProblem(
                    f"{source} is not complete: it has no {MANIFEST}, so its preparation has not ended.",
                    "Run the same `prepare` again: it goes on where it ended.",
                )
            return cls(storage, manifest)
        return None

    def no_events(self) -> UsageProblem:
        """Return what is said where events are needed."""
        return UsageProblem(
            f"{self.storage.place} is a prepared archive: it holds requests, and no events.",
            "Name the archive of which it was made.",
        )

    def notices(self) -> list[str]:
        """Return what a person should know of it before it is replayed."""
        damaged = [source.name for source in self.manifest.sources if source.damaged]
        if not damaged:
            return []
        names = listed(damaged, str, _MAX_NAMED)
        return [
            f"{self.storage.place} is incomplete: when it was prepared, these could not be read: {names}."
        ]


class PreparedInput:
    """The lines of a prepared archive, as an input of a run.

    Each file is compared with its checksum before its first line is handed out: one that differs is damaged, and
    nothing of it is sent.

    Args:
        storage: of the files.
        files: as the manifest names them.
        stop: looked at between batches.

    Attributes:
        facts: one entry for each file begun.
    """

    def __init__(self, storage: Storage, files: list[PreparedFile], stop: Stop) -> None:
        self.facts: list[SourceFacts] = []
        self.bytes_total: int | None = sum(file.bytes for file in files)
        self._storage = storage
        self._files = files
        self._stop = stop

    def __iter__(self) -> Iterator[Batch]:
        """Yield batches, of several files in turns."""
        waiting = deque(self._files)
        turns: deque[Iterator[Batch]] = deque()
        while waiting or turns:
            while waiting and len(turns) < _OPEN_FILES:
                turns.append(self._batches(waiting.popleft()))
            if self._stop.requested:
                return
            batch = next(turns[0], None)
            if batch is None:
                turns.popleft()
                continue
            turns.rotate(-1)
            yield batch

    def parts(self, _max_file_bytes: int) -> Iterator[Batch]:
        """Yield the batches: only one process reads them."""
        return iter(self)

    def _batches(self, file: PreparedFile) -> Iterator[Batch]:
        name = f"{self._storage.place}/{file.name}"
        self.facts.append(facts := SourceFacts(name, gzipped=True))
        try:
            with self._storage.reading(file.name) as packed:
                if _sha256(packed) != file.sha256:
                    facts.damaged = f"its checksum is not that of the manifest. {_AGAIN}"
                    return
                packed.seek(0)
                rest = b""
                for text in Gunzip(_pieces(packed, facts)):
                    end = text.rfind(b"\n") + 1
                    if not end:
                        rest += text
                        continue
                    lines, rest = rest + text[:end], text[end:]
                    yield Batch(name, facts.lines + 1, lines)
                    facts.lines += lines.count(b"\n")
                    if self._stop.requested:
                        return
            facts.is_read = True
        except (OSError, DamageError, SourceError) as error:
            facts.damaged = f"it cannot be read: {error}"


def has_file(storage: Storage, file: PreparedFile) -> bool:
    """Tell whether a file of requests is there, and is what the manifest says."""
    try:
        with storage.reading(file.name) as packed:
            return _sha256(packed) == file.sha256
    except OSError:
        return False


def _sha256(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    for piece in _pieces(file):
        digest.update(piece)
    return digest.hexdigest()


def _pieces(file: BinaryIO, facts: SourceFacts | None = None) -> Iterator[bytes]:
    while piece := file.read(PIECE_BYTES):
        if facts is not None:
            facts.bytes += len(piece)
        yield piece


def decode_prepared(leave_out: frozenset[str], batch: Batch) -> Iterator[Event | Outcome]:
    """Yield the events of the lines of a prepared archive.

    Args:
        leave_out: ids of customers of whom nothing is sent.
        batch: lines.
    """
    for raw in batch.lines:
        event = decode_line(raw)
        if event.prepared is not None and event.prepared.source_id in leave_out:
            event.key = None  # as of all that is left out: what became of it does not matter to this run
            yield Outcome(event, State.SKIPPED, "excluded_id")
        else:
            yield event
