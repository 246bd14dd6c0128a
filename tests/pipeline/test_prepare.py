"""A prepared archive is its archive, mapped: the same requests, under the same keys, with the same report."""

from __future__ import annotations

import errno
import gzip
import json
import os
import random
import shutil
import signal
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support.odd_events import SETTINGS
from support.prepared import NAMES, files_of, job_of, write_archive

from voucherify_sync.api import Mode, PrepareOptions, ReplayOptions, coverage, plan, prepare, replay, retry
from voucherify_sync.api.options import CoverageOptions, RetryOptions
from voucherify_sync.errors import RunStopped, SourceError, UsageProblem
from voucherify_sync.report.run_report import RunReport
from voucherify_sync.run import prepare_run, prepare_tasks
from voucherify_sync.run.prepare_run import Preparation
from voucherify_sync.run.prepare_tasks import Job, MappedSplit, Split, decide_keys, map_split, write_shard
from voucherify_sync.run.stages import LocalStages
from voucherify_sync.sandbox import Sandbox
from voucherify_sync.sandbox.faults import Fault
from voucherify_sync.sandbox.options import SandboxOptions
from voucherify_sync.settings import Settings
from voucherify_sync.settings.types import Api, Identify, Orders, Secret, Track, TrackEntry
from voucherify_sync.state.prepared_archive import MANIFEST, read_manifest
from voucherify_sync.state.storage import Folder
from voucherify_sync.stop import Stop

Line = dict[str, Any]

ORDERS = Settings(orders=Orders(disabled=False))
BOTH = Settings(orders=Orders(disabled=False, instead_of_events=False))
ENTRIES = Settings(
    identify=Identify(nulls="clear", unmapped_traits="metadata"),
    track=Track(
        events_exclude=["Seen*"],
        events={"Order Completed": TrackEntry(rename="order", where="properties.total > 20")},
        unmapped_properties="metadata",
    ),
)


def dry_run(source: Path, settings: Settings, **options: Any) -> tuple[list[Line], RunReport]:
    """Return the lines of a dry run, and its report."""
    output = BytesIO()
    report = replay(
        ReplayOptions(source=source, settings=settings, mode=Mode.DRY_RUN, jobs=1, **options), output=output
    )
    return [json.loads(line) for line in output.getvalue().splitlines()], report


def by_customer(lines: Sequence[Line]) -> dict[str, list[Line]]:
    """Return the requests of each customer in their order; what is sent in bulk has an order of its own."""
    found: dict[str, list[Line]] = {}
    for line in lines:
        body = line["body"]
        customer = body.get("customer", body) if isinstance(body, dict) else body
        key = json.dumps([customer.get("source_id"), customer.get("id")])
        found.setdefault(key, []).append(line)
    return found


def said(report: RunReport) -> Any:
    """Return all that a report says of events; not how long it took, nor what bulk requests there would be."""
    facts = msgspec.to_builtins(report)
    for name in ("run_id", "mode", "started_at", "finished_at", "duration_s", "bulk", "orders", "input"):
        facts.pop(name, None)
    facts["api"] = facts["api"]["by_endpoint"]
    facts["notices"] = [each for each in facts["notices"] if not each.startswith("With --each")]
    # Which refunds change nothing is known when all that is said of an order is: in the replay.
    for reason in ("partial_refund", "refund_unclear"):
        ignored = facts["reasons"]["skipped"].pop(reason, {"count": 0})["count"]
        facts["outcomes"]["skipped"] -= ignored
        facts["outcomes"]["planned"] += ignored
        facts["findings"].pop(reason, None)
        endpoint = facts["api"].get("POST /v1/orders/import", {})
        endpoint["planned"] = endpoint.get("planned", 0) + endpoint.pop("skipped", 0)
    facts["findings"].pop("customers_differ", None)
    return facts


def prepared(source: Path, to: Path, settings: Settings, **options: Any) -> RunReport:
    """Prepare an archive; return the report."""
    options = {"jobs": 1, "shards": 4} | options
    report = prepare(PrepareOptions(source=source, to=str(to), settings=settings, **options))
    assert report is not None
    return report


@pytest.mark.parametrize(
    ("settings", "customers"),
    [
        pytest.param(Settings(), "each", id="defaults"),
        pytest.param(Settings(), "bulk", id="bulk"),
        pytest.param(ENTRIES, "each", id="entries"),
        pytest.param(ORDERS, "each", id="orders"),
        pytest.param(ORDERS, "bulk", id="orders in bulk"),
        pytest.param(BOTH, "bulk", id="orders and events"),
        *(pytest.param(settings, "each", id=f"odd: {name}") for name, settings in SETTINGS.items()),
    ],
)
@pytest.mark.parametrize("seed", range(2))
def test_it_sends_what_its_archive_sends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings, customers: Any, seed: int
) -> None:
    """Whatever the files, the splits, the layers and the shards are; each customer's requests in their order."""
    chance = random.Random(seed)
    names = NAMES if settings is BOTH else (*NAMES, "Order Refunded")
    archive = write_archive(tmp_path / "archive", chance, 7, names)
    monkeypatch.setattr(prepare_tasks, "_MIN_SPLIT_BYTES", chance.choice([1, 3_000, 1 << 20]))
    monkeypatch.setattr(prepare_tasks, "_LAYER_BYTES", chance.choice([1, 5_000, 1 << 20]))
    report = prepared(
        archive, tmp_path / "prepared", settings, customers=customers, shards=chance.choice([1, 2, 16])
    )
    expected, of_archive = dry_run(archive, settings, customers=customers)
    made, _ = dry_run(tmp_path / "prepared", settings)
    assert by_customer(made) == by_customer(expected)
    facts, facts_of_archive = said(report), said(of_archive)
    if settings is BOTH:  # a run finds the order and the custom event, each by itself; these are records
        del facts["findings"]["repeated_differs"], facts_of_archive["findings"]["repeated_differs"]
    assert facts == facts_of_archive


def test_the_limit_of_records_is_that_of_a_dry_run(tmp_path: Path) -> None:
    """It is one split then: the first records are the first."""
    archive = write_archive(tmp_path / "archive", random.Random(5), 5)
    report = prepared(archive, tmp_path / "prepared", Settings(), limit=50)
    expected, of_archive = dry_run(archive, Settings(), limit=50)
    assert by_customer(dry_run(tmp_path / "prepared", Settings())[0]) == by_customer(expected)
    assert said(report) == said(of_archive)


def test_its_plan_is_that_of_its_archive(tmp_path: Path) -> None:
    """Calls, customers and times."""
    archive = write_archive(tmp_path / "archive", random.Random(6), 6)
    prepared(archive, tmp_path / "prepared", Settings())
    plans = [
        plan(ReplayOptions(source=source, settings=Settings(), jobs=1))
        for source in (archive, tmp_path / "prepared")
    ]
    assert plans[0].cost == plans[1].cost
    assert plans[0].updates == plans[1].updates
    assert plans[0].event_names == plans[1].event_names
    assert min(first for first, _ in plans[0].periods.values()) == min(
        first for first, _ in plans[1].periods.values()
    )


def live(source: Path, ledger: Path, sandbox: Sandbox, settings: Settings, **options: Any) -> RunReport:
    """Send an archive to a sandbox."""
    api = Api(url=sandbox.url, key=Secret("app"), token=Secret("token"))
    return replay(
        ReplayOptions(
            source=source,
            settings=msgspec.structs.replace(settings, api=api),
            ledger=str(ledger),
            new_ledger=not ledger.exists(),
            **options,
        )
    )


def held_by(sandbox: Sandbox) -> Any:
    """Return what a sandbox holds at the end."""
    store = sandbox.store
    own = ("id", "created_at", "updated_at", "customer", "customer_id")
    everything = [json.loads(msgspec.json.encode(each)) for each in (*store.customers, *store.orders)]
    facts = [{name: value for name, value in each.items() if name not in own} for each in everything]
    return sorted(json.dumps(each, sort_keys=True) for each in facts), sorted(
        each.payload for each in store.events
    )


@pytest.mark.parametrize(
    ("settings", "customers"), [(Settings(), "each"), (ORDERS, "bulk")], ids=["each", "orders"]
)
def test_archive_and_prepared_archive_know_what_the_other_has_sent(
    tmp_path: Path, settings: Settings, customers: Any
) -> None:
    """The final state is the same, and the ledger has the same keys, whichever comes first."""
    archive = write_archive(tmp_path / "archive", random.Random(9), 6)
    prepared(archive, tmp_path / "prepared", settings, customers=customers)
    held = []
    for first, second in ((archive, tmp_path / "prepared"), (tmp_path / "prepared", archive)):
        with Sandbox(SandboxOptions(keep=None)) as sandbox:
            ledger = tmp_path / f"{first.name}.ledger"
            sent = live(first, ledger, sandbox, settings, customers=customers)
            assert sent.outcomes["delivered"]
            assert not sent.outcomes["failed"]
            again = live(second, ledger, sandbox, settings, customers=customers)
            assert not again.outcomes["delivered"], again.reasons
            held.append(held_by(sandbox))
    assert held[0] == held[1]


def test_a_retry_takes_the_dead_letters_of_a_prepared_archive(tmp_path: Path) -> None:
    """They hold the prepared line, and the events are not needed."""
    archive = write_archive(tmp_path / "archive", random.Random(10), 3)
    prepared(archive, tmp_path / "prepared", Settings())
    ledger = tmp_path / "a.ledger"
    with Sandbox(SandboxOptions(keep=None), [Fault.parse("POST /v1/events status 400 #1-5")]) as sandbox:
        failed = live(tmp_path / "prepared", ledger, sandbox, Settings()).outcomes["failed"]
        assert failed == 5
        api = Api(url=sandbox.url, key=Secret("app"), token=Secret("token"))
        report = retry(RetryOptions(settings=Settings(api=api), ledger=str(ledger)))
        assert report.outcomes["delivered"] == 5
        assert not live(archive, ledger, sandbox, Settings()).outcomes["delivered"]


class Breaking(LocalStages):
    """Ends after some tasks, as if this process were killed."""

    def __init__(self, tasks: int) -> None:
        super().__init__(1, Stop())
        self.left = tasks

    def run(self, task: Any, arguments: Any, on_done: Any) -> Any:
        """Run the tasks that are left."""
        for each in arguments:
            if not self.left:
                raise KeyboardInterrupt
            self.left -= 1
            super().run(task, [each], on_done)
        return super().run(task, arguments, on_done)


def test_it_goes_on_wherever_it_was_killed_and_makes_the_same_files(tmp_path: Path) -> None:
    """No task that is done is done again."""
    archive = write_archive(tmp_path / "archive", random.Random(11), 4)
    job, splits = job_of(archive, tmp_path / "whole")
    Preparation(job, splits, LocalStages(1, Stop()), Stop()).run()
    expected = files_of(tmp_path / "whole")
    for tasks in range(len(splits) + 8):
        to = tmp_path / f"after-{tasks}"
        job, splits = job_of(archive, to)
        with pytest.raises(KeyboardInterrupt):
            Preparation(job, splits, Breaking(tasks), Stop()).run()
        marks = {file: file.stat().st_mtime_ns for file in (to / "work" / "done").rglob("*.json")}
        kept = Preparation(job, splits, LocalStages(1, Stop()), Stop(), keeps_work=True)
        kept.run()
        assert files_of(to) == expected
        assert {file: file.stat().st_mtime_ns for file in marks} == marks


def test_a_task_that_runs_twice_makes_the_same(tmp_path: Path) -> None:
    """An engine may run it twice, even at the same time."""
    archive = write_archive(tmp_path / "archive", random.Random(12), 3)
    job, splits = job_of(archive, tmp_path / "prepared")
    results = [[map_split(job, split) for split in splits] for _ in range(2)]
    assert msgspec.json.encode(results[0]) == msgspec.json.encode(results[1])
    layers = [layer for each in results[0] for layer in each.layers]
    shards = []
    for _ in range(2):
        losers = [decide_keys(job, number, layers) for number in range(job.shards)]
        names = [each.name for each in losers]
        written = [write_shard(job, number, layers, names) for number in range(job.shards)]
        shards.append((files_of(tmp_path / "prepared"), [each.file for each in written]))
    assert shards[0] == shards[1]


def kill_once(job: Job, split: Split, *, stop: Stop | None = None) -> MappedSplit:
    """Kill the process at the first try of the second split, and at each one of the third."""
    mark = Path(job.storage.place) / f"tried-{split.number}"
    if split.number in (1, 2) and not (split.number == 1 and mark.exists()):
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return map_split(job, split, stop=stop)


def test_a_task_whose_process_is_killed_runs_again_and_one_that_kills_each_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the others make is whole, and the manifest says that it is not all. The same command makes it whole."""
    archive = write_archive(tmp_path / "archive", random.Random(13), 4)
    to = tmp_path / "prepared"
    job, splits = job_of(archive, to)
    monkeypatch.setattr(prepare_run, "map_split", kill_once)
    stages = LocalStages(2, Stop())
    preparation = Preparation(job, splits, stages, Stop())
    preparation.run()
    assert preparation.report is not None
    assert preparation.report.exit_code == 3
    assert [bool(source.damaged) for source in preparation.report.input.sources] == [
        False,
        False,
        True,
        False,
    ]
    assert stages.tried_again >= 2
    manifest = read_manifest(Folder(str(to)))
    assert manifest is not None
    assert manifest.state == "incomplete"
    options = ReplayOptions(
        source=to, settings=Settings(), new_ledger=True, ledger=str(tmp_path / "a.ledger")
    )
    with pytest.raises(UsageProblem, match="is incomplete"):
        replay(options)
    monkeypatch.setattr(prepare_run, "map_split", map_split)
    (to / ".draft-1").touch()  # as of a process that was killed while it wrote
    preparation = Preparation(job, splits, LocalStages(1, Stop()), Stop())
    preparation.run()
    assert not [*to.glob(".draft-*"), *to.glob("work")]
    assert by_customer(dry_run(to, Settings())[0]) == by_customer(dry_run(archive, Settings())[0])


def flipped(file: Path) -> None:
    """Change one bit in the middle of a file."""
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def test_nothing_of_a_file_that_has_changed_is_sent(tmp_path: Path) -> None:
    """The other files go on, and the run is incomplete. The same preparation makes the file again."""
    archive = write_archive(tmp_path / "archive", random.Random(14), 5)
    to = tmp_path / "prepared"
    prepared(archive, to, Settings())
    whole, _ = dry_run(to, Settings())
    largest = max(to.glob("*.gz"), key=lambda file: file.stat().st_size)
    of_file = len(gzip.decompress(largest.read_bytes()).splitlines())
    flipped(largest)
    rest, report = dry_run(to, Settings())
    assert len(rest) == len(whole) - of_file
    assert report.exit_code == 3
    assert [source.name for source in report.input.sources if source.damaged] == [str(largest)]
    prepared(archive, to, Settings())
    assert dry_run(to, Settings())[0] == whole


@pytest.mark.parametrize(
    ("damaged", "words"),
    [
        ("done/map/000001.json", None),
        ("done/keys/000001.json", None),
        ("done/shards/000001.json", None),
        ("origin.json", "cannot be read"),
        ("map/000001-0000", "cannot be read"),
        ("losers/00001", "cannot be read"),
    ],
)
@pytest.mark.parametrize("is_gone", [True, False], ids=["gone", "cut"])
def test_a_task_without_a_mark_runs_again_and_what_it_needs_is_named_if_it_is_damaged(
    tmp_path: Path, damaged: str, words: str | None, *, is_gone: bool
) -> None:
    """Nothing that is wrong is made of it."""
    archive, to = write_archive(tmp_path / "archive", random.Random(20), 4), tmp_path / "prepared"
    job, splits = job_of(archive, to)
    Preparation(job, splits, LocalStages(1, Stop()), Stop(), keeps_work=True).run()
    expected = files_of(to)
    (to / MANIFEST).unlink()
    (to / "work" / "done" / "shards" / "000002.json").unlink()  # and there is something to do
    file = to / "work" / damaged
    file.unlink() if is_gone else os.truncate(file, file.stat().st_size // 2)
    again = Preparation(job, splits, LocalStages(1, Stop()), Stop())
    if words is None:
        again.run()
        assert files_of(to) == expected
    elif is_gone and damaged == "origin.json":
        with pytest.raises(UsageProblem, match="holds other files"):
            again.run()
    else:
        with pytest.raises(RunStopped, match=words):
            again.run()


def change_settings(_archive: Path, _to: Path) -> dict[str, Any]:
    """Return other settings."""
    return {"settings": ENTRIES}


def change_a_source(archive: Path, _to: Path) -> dict[str, Any]:
    """Add a line to a file."""
    with next(archive.glob("*.ndjson")).open("a") as file:
        file.write("\n")
    return {}


def add_a_source(archive: Path, _to: Path) -> dict[str, Any]:
    """Add a file."""
    (archive / "z.ndjson").write_text("{}\n")
    return {}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (change_settings, "other settings"),
        (lambda *_: {"customers": "bulk"}, "--each"),
        (lambda *_: {"event": ["Seen"]}, "other options that select events"),
        (lambda *_: {"shards": 8}, "--shards 4"),
        (change_a_source, "other sources, or sources that have changed since"),
        (add_a_source, "other sources"),
    ],
    ids=["settings", "bulk", "event", "shards", "changed", "added"],
)
@pytest.mark.parametrize("is_whole", [True, False], ids=["whole", "begun"])
def test_a_place_with_something_else_is_refused(
    tmp_path: Path, change: Callable[[Path, Path], dict[str, Any]], words: str, is_whole: bool
) -> None:
    """It says what is another; the same command goes on, or finds that nothing is to be done."""
    archive, to = write_archive(tmp_path / "archive", random.Random(15), 3), tmp_path / "prepared"
    prepared(archive, to, Settings(), keep_work=True)
    if not is_whole:
        (to / MANIFEST).unlink()
    assert prepared(archive, to, Settings(), keep_work=True).exit_code == 3
    options = {"settings": Settings(), "shards": 4, "source": archive, "to": str(to)} | change(archive, to)
    with pytest.raises(UsageProblem) as caught:
        prepare(PrepareOptions(**options))
    assert words in str(caught.value)
    assert str(caught.value).count("other sources") <= 1


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"settings": ENTRIES}, "other settings"),
        ({"customers": "bulk"}, "was prepared for --each"),
        ({"event": ["Seen"]}, "--event"),
        ({"where": "userId = 1", "since": "2024-01-01"}, "--since, --where"),
    ],
    ids=["settings", "bulk", "event", "where"],
)
def test_a_replay_cannot_change_what_was_prepared(tmp_path: Path, given: dict[str, Any], words: str) -> None:
    """Settings and options that shape or choose requests are those of the preparation."""
    archive, to = write_archive(tmp_path / "archive", random.Random(16), 2), tmp_path / "prepared"
    prepared(archive, to, Settings())
    with pytest.raises(UsageProblem, match=words):
        dry_run(to, **({"settings": Settings()} | given))


def test_ids_can_still_be_left_out_of_a_prepared_archive(tmp_path: Path) -> None:
    """A person may have asked for it since."""
    archive, to = write_archive(tmp_path / "archive", random.Random(17), 3), tmp_path / "prepared"
    prepared(archive, to, Settings())
    ids = tmp_path / "ids.txt"
    ids.write_text("u1\n")
    lines, report = dry_run(to, Settings(), exclude_ids=ids)
    expected, _ = dry_run(archive, Settings(), exclude_ids=ids)
    assert by_customer(lines) == by_customer(expected)
    assert report.reasons["skipped"]["excluded_id"].count


def test_what_needs_events_asks_for_the_archive(tmp_path: Path) -> None:
    """A prepared archive has requests only; one that is being prepared has not even those."""
    archive, to = write_archive(tmp_path / "archive", random.Random(18), 2), tmp_path / "prepared"
    prepared(archive, to, Settings(), keep_work=True)
    with pytest.raises(UsageProblem, match="no events"):
        coverage(CoverageOptions(source=to, settings=Settings()))
    with pytest.raises(UsageProblem, match="read alone"):
        replay(ReplayOptions(source=[to, archive], settings=Settings(), mode=Mode.DRY_RUN))
    with pytest.raises(UsageProblem, match="must name a folder"):
        prepared(archive, Path("-"), Settings())
    os.truncate(to / MANIFEST, 100)
    with pytest.raises(UsageProblem, match="no manifest"):
        dry_run(to, Settings())
    (to / MANIFEST).unlink()
    with pytest.raises(UsageProblem, match="not complete"):
        dry_run(to, Settings())
    shutil.rmtree(to / "work")
    with pytest.raises(UsageProblem, match="not complete"):
        dry_run(to, Settings())


def test_a_folder_with_the_manifest_of_something_else_is_an_archive(tmp_path: Path) -> None:
    """Other tools write a manifest.json, too."""
    archive = write_archive(tmp_path / "archive", random.Random(19), 2)
    expected, _ = dry_run(archive, Settings())
    (archive / ".manifest").write_text("{}")
    (archive / MANIFEST).write_text('{"name": "export"}\n')
    lines, _ = dry_run(archive, Settings())
    assert by_customer(lines) == by_customer(expected)


def test_a_folder_that_cannot_be_listed_is_named_as_a_source_and_not_as_a_prepared_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is to be written there."""

    def refuse(path: Path) -> list[str]:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(os, "listdir", refuse)
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(SourceError, match=f"^{tmp_path}: Permission denied"):
        dry_run(tmp_path, Settings())
