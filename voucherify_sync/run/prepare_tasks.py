"""Prepare an archive in three stages of tasks, which any number of processes or machines can run.

1. `map_split` decodes, filters and maps some sources. It writes the keys of the requests by key, and the requests by
   customer.
2. `decide_keys` finds, of the requests with one key, all but the first in the input. It writes them by customer.
3. `write_shard` writes the requests of some customers without those, each customer's in the order of the input.

What one stage hands to the next lies in a storage, under names that depend on the input alone. A task that runs twice
writes the same again, and no task keeps anything that another one needs. Segments are read in the order of the splits,
which is that of the input, so nothing is sorted.
"""

from __future__ import annotations

import struct
import sys
from binascii import crc32
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from importlib.metadata import version
from itertools import chain
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from voucherify_sync.errors import UsageProblem
from voucherify_sync.events import Kind, Request, record_key
from voucherify_sync.mapping.filters import FiltersMet, Selection
from voucherify_sync.mapping.stats import MappingStats
from voucherify_sync.outcomes import Outcome, State
from voucherify_sync.report.run_report import MAX_EXAMPLES, RecordsAlike
from voucherify_sync.run.options import MAX_SHARDS
from voucherify_sync.run.pipeline import OlderUpdates, Pipeline
from voucherify_sync.run.stages import Stages
from voucherify_sync.settings import Settings
from voucherify_sync.sources.discover import Source
from voucherify_sync.sources.reader import Reader, SourceFacts, check_gzip
from voucherify_sync.state.deduplication import (
    SEEN_KEY_BYTES,
    Seen,
    digest_of,
    reason_of_repeated,
    seen_key,
)
from voucherify_sync.state.prepared_archive import (
    WORK,
    PreparedFile,
    decode_line,
    encode_request,
    file_name,
    writing_requests,
)
from voucherify_sync.state.segments import read_segment, write_segments
from voucherify_sync.state.storage import Storage
from voucherify_sync.stop import Stop

SPLIT_BYTES: Final = 256 << 20
"""Bytes on disk of the sources of a split, about."""
_PLACE_BITS: Final = 40
_MIN_SPLIT_BYTES: Final = 4 << 20
_SPLITS: Final = 32
_MIN_SHARDS: Final = 16
_LAYER_BYTES: Final = 32 << 20
"""Bytes of requests that are kept in memory before they are written."""
_KEY: Final = struct.Struct(f">{SEEN_KEY_BYTES}sBHII")
"""Key, digest of the request, shard of its customer, and its place: split, and number in it."""
_LOSER: Final = struct.Struct(">IIB")
"""Place of a request with a key of an earlier one, and whether the two are equal."""
_pack = msgspec.msgpack.Encoder().encode

Place = tuple[int, int]
"""Split, and number of the decision in it: the order of the input."""


class TaskStoppedError(Exception):
    """The run stops; what this task has made is not complete."""


class Job(Struct, frozen=True):
    """What all tasks have to know. It holds no keys of the API.

    Attributes:
        storage: that all of them reach.
        settings: the mapping.
        selection: what the command line picks.
        shards: groups of customers, and of keys; a power of two.
        limit: records to read at most; then there is one split.
        version: of voucherify-sync: tasks of two versions must not work together.
    """

    storage: Storage
    settings: Settings
    selection: Selection
    shards: int
    limit: int | None = None
    version: str = field(default_factory=lambda: version("voucherify-sync"))

    @property
    def is_bulk(self) -> bool:
        """Customers are to be sent in bulk."""
        return self.settings.delivery.customers == "bulk"

    def check(self) -> None:
        """Raise UsageProblem if another version runs this task."""
        own = version("voucherify-sync")
        if own != self.version:
            raise UsageProblem(
                f"a worker has version {own} of voucherify-sync, and the command that asks it has {self.version}.",
                "Install the same version everywhere.",
            )


class Split(Struct, frozen=True):
    """Consecutive sources that one task reads."""

    number: int
    sources: list[Source]


class FirstRecord(NamedTuple):
    """One of the first records that ended alike."""

    place: Place
    position: str
    message_id: str | None


class Tally(Struct):
    """Records that ended alike: how many, and the first of them.

    Attributes:
        state, type, reason, kind: how they ended, and what they are.
        count: records.
        first: the first of them, in the order of the input.
        detail: of the first of them that has one.
    """

    state: State
    type: str | None
    reason: str | None
    kind: Kind | None
    count: int = 0
    first: list[FirstRecord] = []
    detail: str | None = None


class Tallies:
    """Counts records by how they end."""

    def __init__(self) -> None:
        self._by_end: dict[RecordsAlike, Tally] = {}

    def add(self, end: RecordsAlike, line: _Line) -> None:
        """Count a record with a request; within a task they come in the order of the input."""
        tally = self._of(end)
        tally.count += 1
        if len(tally.first) < MAX_EXAMPLES:
            tally.first.append(line.as_first())

    def add_outcome(self, outcome: Outcome, place: Place) -> None:
        """Count a record without a request."""
        record = outcome.record
        tally = self._of((outcome.state, record.type, outcome.reason, None))
        tally.count += 1
        if len(tally.first) < MAX_EXAMPLES:
            tally.first.append(FirstRecord(place, str(record.position), record.message_id))
            tally.detail = tally.detail or outcome.detail

    def merge(self, others: Iterable[Tally]) -> None:
        """Add what a later task has counted."""
        for other in others:
            tally = self._of((other.state, other.type, other.reason, other.kind))
            tally.count += other.count
            tally.first = sorted([*tally.first, *other.first])[:MAX_EXAMPLES]
            tally.detail = tally.detail or other.detail

    def all(self) -> list[Tally]:
        """Return the counts, by the places of their first records."""
        return sorted(self._by_end.values(), key=lambda tally: tally.first[0])

    def _of(self, end: RecordsAlike) -> Tally:
        found = self._by_end.get(end)
        if found is None:
            found = self._by_end[end] = Tally(*end)
        return found


class MappedSplit(Struct):
    """What came of a split.

    Attributes:
        number: of the split.
        layers: files with its keys and requests, in the order of the input.
        read: records.
        facts: of its sources.
        tallies: of the records of which no request is made.
        stats, met: what the mapping and the filters counted.
    """

    number: int
    layers: list[str]
    read: int
    facts: list[SourceFacts]
    tallies: list[Tally]
    stats: MappingStats
    met: FiltersMet


class Losers(Struct):
    """Requests of a shard of keys that are repeated.

    Attributes:
        name: of the file with their places.
        shards: of customers that have some.
    """

    name: str
    shards: list[int]


class WrittenShard(Struct):
    """What came of a shard of customers.

    Attributes:
        file: of its requests.
        tallies: of the records of its requests.
        older_updates: customer updates that come after a newer one.
    """

    file: PreparedFile
    tallies: list[Tally]
    older_updates: int


class _Line(Struct, array_like=True, gc=False):
    """A request on its way to its shard.

    Attributes:
        split, number: its place.
        type: of its event.
        kind: of the request.
        is_second: it is the custom event that is sent beside an order.
        customer_id: whose it is.
        time, told_time: of what it says of the customer, where customers are sent one by one; None if it says nothing.
        request: as it is written.
    """

    split: int
    number: int
    type: str
    kind: Kind
    is_second: bool
    customer_id: str
    time: datetime | None
    told_time: datetime | None
    request: bytes

    def is_next_to(self, other: _Line) -> bool:
        """Tell whether it is what follows another one in the input."""
        return self.split == other.split and self.number == other.number + 1

    def as_first(self) -> FirstRecord:
        """Return what is kept of it where it is one of the first that ended alike."""
        event = decode_line(self.request)
        return FirstRecord((self.split, self.number), str(event.position), event.message_id)


def splits_of(sources: Sequence[Source], *, is_one: bool = False) -> list[Split]:
    """Return consecutive sources together: 256 MB of them, or fewer, so that there are splits for several processes."""
    total = sum(source.size or 0 for source in sources)
    size = total + len(sources) + 1.0 if is_one else min(max(total // _SPLITS, _MIN_SPLIT_BYTES), SPLIT_BYTES)
    splits: list[list[Source]] = []
    room = 0.0
    for source in sources:
        if room <= 0:
            splits.append([])
            room = size
        splits[-1].append(source)
        room -= max(source.size or 0, 1)
    return [Split(number, each) for number, each in enumerate(splits)]


def shards_for(sources: Sequence[Source]) -> int:
    """Return a number of shards for an archive: one for each 256 MB, from 16 to 4,096, a power of two."""
    wanted = sum(source.size or 0 for source in sources) // SPLIT_BYTES
    return min(max(_MIN_SHARDS, 1 << max(wanted - 1, 0).bit_length()), MAX_SHARDS)


def try_stages(stages: Stages, job: Job, source: Source) -> None:
    """Have a task look whether other machines can do the work.

    Raises:
        UsageProblem: one has another version, or does not reach the storage or this source.
    """
    if stages.run(_try, [(job, source)], lambda _: None) == [None]:
        raise UsageProblem(
            "the cluster has lost the first task.", "Check that its machines have memory and are up."
        )


def _try(job: Job, source: Source, *, stop: Stop | None = None) -> bool:
    """Write and read something, as all tasks do, and begin to read a source."""
    job.check()
    name = f"{WORK}/try"
    job.storage.write(name, b"1")
    if job.storage.read(name) != b"1":
        raise UsageProblem(
            f"{job.storage.place} does not keep what is written to it.", "Name another place with --to."
        )
    reader = Reader([source], stop or Stop())
    for _ in reader:
        break
    if reader.facts and reader.facts[0].damaged and not reader.facts[0].lines:
        raise UsageProblem(
            f"a machine of the cluster cannot read {source.name}: {reader.facts[0].damaged}.",
            "Give each machine the rights, or with --shared-directory the folder.",
        )
    return True


def map_split(job: Job, split: Split, *, stop: Stop | None = None) -> MappedSplit:
    """Map the sources of a split. Nothing of a source with wrong bytes is taken."""
    job.check()
    stop = stop or Stop()
    storage, shards = job.storage, job.shards
    selection = replace(job.selection, needs_times=True)  # a plan tells when events happened
    pipeline = Pipeline(job.settings, selection, folds=True, refers=job.is_bulk, folds_orders=True)
    distrusted = [facts for facts in check_gzip(split.sources, stop) if facts.corrupt]
    reader = Reader(split.sources, stop, distrusted, verifies=True)
    tallies, layers = Tallies(), list[str]()
    keys, requests = _empty(shards), _empty(shards)
    number = size = read = 0

    def write_layer() -> None:
        name = f"{WORK}/map/{split.number:06d}-{len(layers):04d}"
        write_segments(storage, name, [*keys, *requests])
        layers.append(name)
        for each in (*keys, *requests):
            each.clear()

    for batch in reader:
        left = None if job.limit is None else job.limit - read
        if left == 0:
            break
        for decision in chain.from_iterable(pipeline.batches(batch, stop, left)):
            number += 1
            if not isinstance(decision, Request):
                read += 1
                tallies.add_outcome(decision, (split.number, number))
                continue
            event, customer_id = decision.event, decision.source_id
            read += not event.is_counted
            shard = crc32(customer_id.encode(errors="surrogatepass")) % shards
            key = seen_key(record_key(event))
            customer = decision.customer if job.is_bulk else None  # else it is there for plans only
            keys[int.from_bytes(key[:4]) % shards] += _KEY.pack(
                key, digest_of(decision.payload, customer), shard, split.number, number
            )
            is_update = decision.has_profile and not job.is_bulk
            line = _pack(
                _Line(
                    split.number,
                    number,
                    event.type,
                    decision.kind,
                    event.is_counted,
                    customer_id,
                    event.time if is_update else None,
                    event.told_time if is_update else None,
                    encode_request(decision, split.number << _PLACE_BITS | number),
                )
            )
            requests[shard] += len(line).to_bytes(4) + line
            size += len(line) + _KEY.size
        if size > _LAYER_BYTES:
            write_layer()
            size = 0
    _raise_if_stopped(stop)
    if size:
        write_layer()
    met = pipeline.filters.cut_met()
    return MappedSplit(
        split.number, layers, read, reader.facts, tallies.all(), pipeline.mapper.cut_stats(), met
    )


def decide_keys(job: Job, number: int, layers: Sequence[str], *, stop: Stop | None = None) -> Losers:
    """Find the requests whose key an earlier request has, among the keys of a shard.

    Args:
        job: of which it is.
        number: of the shard.
        layers: all of them, in the order of the input.
        stop: ends it early.
    """
    job.check()
    seen, losers = Seen(), _empty(job.shards)
    for layer in layers:
        records = list(_KEY.iter_unpack(read_segment(job.storage, layer, number)))
        repeated = seen.add_many([each[0] for each in records], [each[1] for each in records])
        for (_, _, shard, *place), is_equal in zip(records, repeated or (), strict=False):
            if is_equal is not None:
                losers[shard] += _LOSER.pack(*place, is_equal)
        _raise_if_stopped(stop)
    name = f"{WORK}/losers/{number:05d}"
    write_segments(job.storage, name, losers)
    return Losers(name, [shard for shard, each in enumerate(losers) if each])


def write_shard(
    job: Job, number: int, layers: Sequence[str], losers: Sequence[str], *, stop: Stop | None = None
) -> WrittenShard:
    """Write the requests of a shard of customers, without those whose key an earlier request has.

    Args:
        job: of which it is.
        number: of the shard.
        layers: all of them, in the order of the input.
        losers: the files of those shards of keys that have some of them.
        stop: ends it early.
    """
    job.check()
    storage, tallies, older = job.storage, Tallies(), OlderUpdates(max_customers=sys.maxsize)
    lost: dict[Place, int] = {}
    for name in losers:
        for split, place, is_equal in _LOSER.iter_unpack(read_segment(storage, name, number)):
            lost[split, place] = is_equal
    first: tuple[RecordsAlike, _Line] | None = None  # of a record that may have a second request
    with writing_requests(storage, file_name(number)) as file:
        for line in _lines(storage, layers, job.shards + number, stop):
            is_equal = lost.get((line.split, line.number)) if lost else None
            if is_equal is None:
                file.add(line.request)
                end: RecordsAlike = State.PLANNED, line.type, None, line.kind
                if line.time is not None and line.told_time is not None:
                    older.note(line.customer_id, (line.time, line.told_time))
            else:
                reason = reason_of_repeated(decode_line(line.request), is_equal=bool(is_equal))
                end = State.DUPLICATE, line.type, reason, None
            if first is not None and line.is_second and line.is_next_to(first[1]):
                if end[0] is State.PLANNED or first[0][0] is not State.PLANNED:
                    first = end, line  # the custom event counts, unless only the order is sent
                continue
            if first is not None:
                tallies.add(*first)
            first = None if line.is_second else (end, line)
        if first is not None:
            tallies.add(*first)
    return WrittenShard(file.described(), tallies.all(), older.count)


def _lines(storage: Storage, layers: Sequence[str], segment: int, stop: Stop | None) -> Iterator[_Line]:
    """Yield the requests of a segment of each layer, in the order of the input."""
    decode = msgspec.msgpack.Decoder(_Line).decode
    for layer in layers:
        _raise_if_stopped(stop)
        data = memoryview(read_segment(storage, layer, segment))
        at = 0
        while at < len(data):
            size = int.from_bytes(data[at : at + 4])
            yield decode(data[at + 4 : at + 4 + size])
            at += 4 + size


def _empty(count: int) -> list[bytearray]:
    return [bytearray() for _ in range(count)]


def _raise_if_stopped(stop: Stop | None) -> None:
    """End a task early: what it has done so far is done again by the same command."""
    if stop is not None and stop.requested:
        raise TaskStoppedError
