"""Prepare an archive: run its tasks, go on where an earlier run ended, and write the manifest last."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import chain, repeat
from time import monotonic
from typing import Any, Final, Literal, TypeVar

import msgspec
from msgspec import Raw, convert

from voucherify_sync.errors import RunStopped, UsageProblem
from voucherify_sync.exit_codes import exit_code
from voucherify_sync.findings import REPEATED_DIFFERS, Example, FindingCount
from voucherify_sync.outcomes import Snapshot
from voucherify_sync.report.run_report import (
    ApiReport,
    EventCounts,
    InputReport,
    MappingReport,
    OlderUpdatesReport,
    RecordCounts,
    RunReport,
    SettingsReport,
    encode_report,
    status_of,
)
from voucherify_sync.run.options import new_run_id
from voucherify_sync.run.pipeline import Pipeline
from voucherify_sync.run.prepare_tasks import (
    Job,
    Losers,
    MappedSplit,
    Split,
    Tallies,
    TaskStoppedError,
    WrittenShard,
    decide_keys,
    map_split,
    try_stages,
    write_shard,
)
from voucherify_sync.run.processes import KILLED
from voucherify_sync.run.run import findings_of, selection_report
from voucherify_sync.run.stages import Stages
from voucherify_sync.settings import digest, digest_of_all
from voucherify_sync.sources.discover import Source
from voucherify_sync.sources.reader import SourceFacts, source_notices
from voucherify_sync.state.prepared_archive import (
    FORMAT,
    MANIFEST,
    ORIGIN,
    WORK,
    ArchiveOrigin,
    Manifest,
    PreparedSource,
    has_file,
    has_origin,
    read_manifest,
)
from voucherify_sync.state.private_files import utf8
from voucherify_sync.state.storage import Storage, unreadable_work
from voucherify_sync.stop import Stop
from voucherify_sync.text import listed, utc_text

_DONE: Final = f"{WORK}/done"
_OTHER_PLACE: Final = "Name another place with --to, or remove this one."
_Stage = Literal["map", "keys", "shards"]
_SHARES: Final[dict[_Stage, tuple[float, float]]] = {
    "map": (0.0, 0.75),
    "keys": (0.75, 0.05),
    "shards": (0.8, 0.2),
}
"""Stage -> the share of the work that comes before it, and its own; as measured."""

_Result = TypeVar("_Result")


class Preparation:
    """One preparation of an archive, which the same command goes on with, wherever it ended.

    Args:
        job: what is prepared, and where.
        splits: of its sources.
        stages: runs the tasks.
        stop: ends it early.
        keeps_work: what the stages hand over stays in the storage.

    Attributes:
        report: of the preparation, as of a dry run; None until it is over.
        is_known: the storage held the same already, whole, so nothing was done.
    """

    def __init__(
        self, job: Job, splits: Sequence[Split], stages: Stages, stop: Stop, *, keeps_work: bool = False
    ) -> None:
        self.report: RunReport | None = None
        self.is_known = False
        self._job = job
        self._splits = splits
        self._stages = stages
        self._stop = stop
        self._keeps_work = keeps_work
        self._storage = job.storage
        self._sizes = [source.size for split in splits for source in split.sources]
        self._stage: _Stage = "map"
        self._done = self._total = self._events = self._bytes = 0
        self._share_at_start = 0.0
        self._started_at, self._clock_at_start = datetime.now(UTC), monotonic()

    def run(self) -> None:
        """Prepare, or go on with it.

        Raises:
            UsageProblem: the storage holds something else.
            RunStopped: something cannot be written.
        """
        with self._storage.alone():
            self._prepare()

    def _begin(self, origin: ArchiveOrigin) -> None:
        """Look at what the storage holds; take what is whole, and have what is damaged made again."""
        storage = self._storage
        known = read_manifest(storage)
        if known is not None:
            _check_origin(storage, known.origin, origin)
            is_whole = all(has_file(storage, file) for file in known.files)
            if known.state == "complete" and is_whole:
                self.report = msgspec.json.decode(known.report, type=RunReport)
                self.is_known = True
                self._remove_work()
                return
            for number, each in self._marks("map", MappedSplit).items():
                if any(facts.damaged for facts in each.facts):  # now it may be possible to read them
                    storage.write(f"{_DONE}/map/{_mark(number)}", b"")
            if not is_whole:
                storage.remove(f"{_DONE}/shards")
        elif (begun := _begun(storage)) is not None:
            _check_origin(storage, begun, origin)
        elif storage.names(""):
            raise UsageProblem(
                f"{storage.place} holds other files, and none of an archive that is being prepared.",
                "Name a folder with --to that is empty, or not there yet.",
            )
        storage.write(ORIGIN, msgspec.json.encode(origin))

    def _prepare(self) -> None:
        job = self._job
        origin = origin_of(job, self._splits)
        self._begin(origin)
        if self.is_known:
            return
        if self._stages.is_elsewhere:
            try_stages(self._stages, job, self._splits[0].sources[0])
        mapped = self._run("map", map_split, [(split,) for split in self._splits], MappedSplit)
        if self._stop.requested:
            return
        layers = [layer for each in mapped if each is not None for layer in each.layers]
        numbers = range(job.shards)
        losers = self._whole(self._run("keys", decide_keys, [(each, layers) for each in numbers], Losers))
        if self._stop.requested:  # not all losers are known
            return
        losers_of: list[list[str]] = [[] for _ in numbers]
        for found in losers:
            for shard in found.shards:
                losers_of[shard].append(found.name)
        shards = [(each, layers, losers_of[each]) for each in numbers]
        written = self._whole(self._run("shards", write_shard, shards, WrittenShard))
        if not self._stop.requested:
            self._end(origin, mapped, written)

    @property
    def tasks(self) -> tuple[int, int]:
        """How many tasks of the stage are done, and how many there are."""
        return self._done, self._total

    @property
    def tried_again(self) -> int:
        """Tasks that ran more than once, since their process was killed."""
        return self._stages.tried_again

    def snapshot(self) -> Snapshot:
        """Tell how far it is; any thread may ask at any time."""
        before, part = _SHARES[self._stage]
        share = before + part * self._done / max(self._total, 1)
        own = share - self._share_at_start  # an earlier run may have done a part
        elapsed_s = monotonic() - self._clock_at_start
        return Snapshot(
            events=self._events,
            bytes=self._bytes,
            bytes_total=None if None in self._sizes else sum(size or 0 for size in self._sizes),
            counts={},
            share=share,
            eta_s=elapsed_s * (1 - share) / own if own > 0 else None,
        )

    def _run(
        self,
        stage: _Stage,
        task: Callable[..., _Result],
        arguments: Sequence[tuple[Any, ...]],
        type_: type[_Result],
    ) -> list[_Result | None]:
        """Run the tasks of a stage that no earlier run has done; return the results of all."""
        known = self._marks(stage, type_)
        todo = [number for number in range(len(arguments)) if number not in known]
        if todo:  # what was made of other results of them is of no use
            stages = list(_SHARES)
            for later in stages[stages.index(stage) + 1 :]:
                self._storage.remove(f"{_DONE}/{later}")
        self._stage, self._total, self._done = stage, len(arguments), 0
        for result in known.values():
            self._note(result)
        self._share_at_start = self._share_at_start or self.snapshot().share or 0.0
        results: dict[int, _Result | None] = {**known}
        tasks = [(task, f"{stage}/{_mark(number)}", self._job, *arguments[number]) for number in todo]
        with suppress(TaskStoppedError):
            results |= zip(todo, self._stages.run(run_marked, tasks, self._note), strict=False)
        return [results.get(number) for number in range(len(arguments))]

    def _marks(self, stage: _Stage, type_: type[_Result]) -> dict[int, _Result]:
        """Return the results of the tasks of a stage that are done; a mark that cannot be read counts for nothing."""
        found: dict[int, _Result] = {}
        for name in self._storage.names(f"{_DONE}/{stage}"):
            with suppress(msgspec.MsgspecError, ValueError, OSError):
                found[int(name.partition(".")[0])] = msgspec.json.decode(
                    self._storage.read(f"{_DONE}/{stage}/{name}"), type=type_
                )
        return found

    def _remove_work(self) -> None:
        if not self._keeps_work:
            self._storage.remove(WORK)

    def _note(self, result: object) -> None:
        """Count a task that is done, so that `snapshot` can tell how far the work is."""
        self._done += 1
        if isinstance(result, MappedSplit):
            self._events += result.read
            self._bytes += sum(facts.bytes for facts in result.facts)

    def _whole(self, results: Sequence[_Result | None]) -> list[_Result]:
        """Return results of which none may be missing."""
        whole = [each for each in results if each is not None]
        if len(whole) < len(results) and not self._stop.requested:
            raise RunStopped(
                f"{len(results) - len(whole)} tasks killed each process that they were given to.",
                "Give them more memory, for example by a larger --shards; then run the same command again.",
            )
        return whole

    def _end(
        self, origin: ArchiveOrigin, mapped: Sequence[MappedSplit | None], written: Sequence[WrittenShard]
    ) -> None:
        """Add up what the tasks have counted, and write the manifest."""
        job, tallies = self._job, Tallies()
        pipeline = Pipeline(job.settings, job.selection)
        facts: list[SourceFacts] = []
        read = 0
        for split, each in zip(self._splits, mapped, strict=True):
            if each is None:
                facts += [SourceFacts(source.name, damaged=KILLED) for source in split.sources]
                continue
            facts += each.facts
            read += each.read
            tallies.merge(each.tallies)
            pipeline.mapper.stats.merge(each.stats)
            pipeline.filters.merge(each.met)
        for shard in written:
            tallies.merge(shard.tallies)
        records = RecordCounts()
        records.read = read
        differing = FindingCount()
        for tally in tallies.all():
            examples = [each.position for each in tally.first]
            records.add_count(
                (tally.state, tally.type, tally.reason, tally.kind), tally.count, examples, tally.detail
            )
            if tally.reason == REPEATED_DIFFERS:
                shown = [Example(each.position, each.message_id or "") for each in tally.first]
                differing.merge(FindingCount(tally.count, shown))
        records.check_invariant()
        findings = findings_of(pipeline.mapper.stats, records, is_bulk=job.is_bulk)
        if differing.count:
            findings[REPEATED_DIFFERS] = differing
        is_damaged = any(each.damaged for each in facts)
        code = exit_code(
            records.counts(), error=None, signal=None, is_damaged=is_damaged, holds_invariant=True
        )
        self.report = RunReport(
            version=job.version,
            run_id=new_run_id(),
            mode="prepare",
            status=status_of(code),
            exit_code=int(code),
            started_at=utc_text(self._started_at),
            finished_at=utc_text(datetime.now(UTC)),
            duration_s=round(monotonic() - self._clock_at_start, 3),
            input=InputReport.of(facts),
            events=EventCounts(records.read, records.by_type()),
            outcomes={str(state): count for state, count in records.counts().items()},
            reasons=records.reasons(),
            api=ApiReport(0, 0, 0, None, None, records.by_endpoint()),
            mapping=convert(pipeline.mapper.stats.to_dict(), dict[str, MappingReport]),
            findings=findings,
            notices=[*source_notices(facts), *pipeline.filters.notices(self._stop)],
            timeline=None,
            settings=SettingsReport(digest(job.settings)),
            selection=selection_report(job.selection),
            stopped_by=None,
            dead_letters=None,
            older_updates=OlderUpdatesReport(sum(each.older_updates for each in written), capped=False),
        )
        sources = [
            PreparedSource(utf8(source.name), source.size, each.lines, each.damaged)
            for source, each in zip(
                (each for split in self._splits for each in split.sources),
                chain(facts, repeat(SourceFacts(""))),  # fewer where a limit of records ends the reading
                strict=False,
            )
        ]
        manifest = Manifest(
            format=FORMAT,
            origin=origin,
            state="incomplete" if is_damaged else "complete",
            sources=sources,
            files=[each.file for each in written],
            report=Raw(encode_report(self.report)),
        )
        self._storage.write(MANIFEST, manifest.encode())
        if not is_damaged:
            self._remove_work()


def run_marked(
    task: Callable[..., _Result], name: str, job: Job, *arguments: Any, stop: Stop | None = None
) -> _Result:
    """Run a task, and leave a mark with its result, so that no later run does it again."""
    result = task(job, *arguments, stop=stop)
    job.storage.write(f"{_DONE}/{name}", msgspec.json.encode(result))
    return result


def _mark(number: int) -> str:
    return f"{number:06d}.json"


def origin_of(job: Job, splits: Sequence[Split]) -> ArchiveOrigin:
    """Return what decides what the files of a prepared archive hold."""
    sources = [[utf8(each.name), each.size, _stamp(each)] for split in splits for each in split.sources]
    return ArchiveOrigin(
        version=job.version,
        settings=digest_of_all(job.settings),
        customers=job.settings.delivery.customers,
        selection=_digest([job.selection, job.limit]),
        sources=_digest(sources),
        splits=[len(split.sources) for split in splits],
        shards=job.shards,
    )


def _digest(value: Any) -> str:
    return hashlib.blake2b(msgspec.json.encode(value, order="deterministic"), digest_size=8).hexdigest()


def _stamp(source: Source) -> int | str | None:
    """Return what tells a file or an object from a later one of its name and size."""
    if source.remote is not None:
        return source.remote.e_tag
    return None if source.path is None else source.path.stat().st_mtime_ns


def _begun(storage: Storage) -> ArchiveOrigin | None:
    """Return the origin of a preparation that has not ended; None where there is none."""
    if not has_origin(storage):
        return None
    try:
        return msgspec.json.decode(storage.read(ORIGIN), type=ArchiveOrigin)
    except (msgspec.MsgspecError, ValueError, OSError) as error:
        raise unreadable_work(storage, ORIGIN, error) from error


def _check_origin(storage: Storage, known: ArchiveOrigin, origin: ArchiveOrigin) -> None:
    """Raise UsageProblem if a storage holds what was made of something else."""
    names = {
        "version": "another version of voucherify-sync",
        "settings": "other settings",
        "customers": f"--{known.customers}",
        "selection": "other options that select events",
        "sources": "other sources, or sources that have changed since",
        "splits": "other sources, or sources that have changed since",
        "shards": f"--shards {known.shards}",
    }
    differing = (words for name, words in names.items() if getattr(known, name) != getattr(origin, name))
    different = list(dict.fromkeys(differing))
    if different:
        raise UsageProblem(
            f"{storage.place} was made with {listed(different, str, len(different))}.", _OTHER_PLACE
        )
