"""Several processes make of an input what one makes of it, in its order, and leave nothing behind."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from multiprocessing import active_children
from multiprocessing.popen_forkserver import Popen
from pathlib import Path
from textwrap import dedent
from typing import Any

import msgspec
import pytest
from support.odd_events import ODD_LINES, SETTINGS
from support.waiting import HANG_S

from voucherify_sync.events import Batch, Request
from voucherify_sync.exit_codes import ExitCode
from voucherify_sync.findings import FROM_VOUCHERIFY, NAMED_BY_TYPE, NO_OBJECT, SLIP_IDS
from voucherify_sync.mapping.filters import Selection
from voucherify_sync.preview import coverage
from voucherify_sync.preview.coverage import Coverage
from voucherify_sync.run import options, workers
from voucherify_sync.run.pipeline import Pipeline
from voucherify_sync.settings.types import Settings, Track
from voucherify_sync.sources.discover import find_sources
from voucherify_sync.sources.reader import Reader
from voucherify_sync.stop import Stop

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
from events import generate
from support.batches import Lines, asleep, doomed, echo, half_answered, mortal, numbered

NAMES = Settings(
    track=Track(events_filter=["Order*", "Nowhere"], mapping={"properties.total": ["metadata.n"]})
)


def results(source: Any, jobs: int, prepare: Any, *arguments: Any) -> list[bytes]:
    """Return what processes make of an input."""
    return list(workers.results(source, jobs, Stop(), prepare, *arguments))


def test_answers_come_in_the_order_of_the_input() -> None:
    """Two processes do the work, and none of it is done here."""
    answers = [answer.split() for answer in results(Lines(numbered(60)), 2, echo, " x")]
    assert [int(number) for number, _, _ in answers] == list(range(60))
    assert {suffix for _, suffix, _ in answers} == {b"x"}
    assert os.getpid() not in {int(process) for _, _, process in answers}
    assert not active_children()


def test_only_so_many_tasks_are_taken_ahead() -> None:
    """Memory stays flat, and what is read is soon settled."""
    taken = []

    def batches() -> Iterator[Batch]:
        for batch in numbered(30):
            taken.append(batch)
            yield batch

    for answered, _ in enumerate(workers.results(Lines(batches()), 2, Stop(), echo, ""), 1):
        assert len(taken) - answered <= 2 * workers.TASKS_PER_PROCESS + 2


def test_a_long_block_is_looked_at_here() -> None:
    """Its records may need too much memory at once."""
    long = Batch("a", 1, b"1\n" + b" " * workers.MAX_BLOCK_BYTES)
    ((_, process),) = (answer.split() for answer in results(Lines([long]), 2, echo, ""))
    assert int(process) == os.getpid()


@pytest.mark.parametrize("error", [EOFError, BlockingIOError], ids=lambda error: error.__name__)
@pytest.mark.parametrize("started", [0, 1])
def test_where_processes_cannot_be_started_the_work_is_done_here(
    error: type[Exception], started: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A system has room for so many processes only; the work is done nevertheless."""
    launch, left = Popen._launch, [None] * started

    def refuse(*arguments: Any) -> None:
        if not left:
            raise error
        left.pop()
        launch(*arguments)

    monkeypatch.setattr(Popen, "_launch", refuse)
    answers = results(Lines(numbered(20)), 2, echo, "")
    assert [int(answer.split()[0]) for answer in answers] == list(range(20))


def test_a_task_that_kills_each_process_is_done_here() -> None:
    """The system may kill one for want of memory; the run goes on."""
    assert [int(answer) for answer in results(Lines(numbered(3)), 2, doomed, os.getpid())] == [0, 1, 2]


def test_a_file_that_kills_each_process_is_named(tmp_path: Path) -> None:
    """It is not read here, since it may be what kills; it is not passed over in silence, and the others are read."""
    for name in "abcd":
        (tmp_path / f"{name}.ndjson").write_text("die\n" if name == "b" else f"{name}\n")
    reader = Reader(find_sources([str(tmp_path)], stdin_is_terminal=True).sources, Stop())
    assert results(reader, 2, mortal) == [b"a", b"c", b"d"]
    assert [(facts.lines, facts.damaged and facts.damaged[:11]) for facts in reader.facts] == [
        (1, None),
        (0, "the process"),
        (1, None),
        (1, None),
    ]


def test_a_process_that_is_killed_is_replaced() -> None:
    """Nothing is lost, and nothing comes twice."""

    def batches() -> Iterator[Batch]:
        for number, batch in enumerate(numbered(40)):
            if number == 20:
                for process in active_children():
                    process.kill()
            yield batch

    answers = results(Lines(batches()), 2, echo, "")
    assert [int(answer.split()[0]) for answer in answers] == list(range(40))


def test_a_run_that_stops_waits_for_no_more_than_what_is_worked_on() -> None:
    """The rest is given up."""
    stop = Stop()
    found = workers.results(Lines(numbered(1_000_000)), 1, stop, echo, "")
    assert next(found).startswith(b"0 ")
    found.close()
    assert not active_children()


def test_half_an_answer_is_not_waited_for() -> None:
    """A process may be killed at any time."""
    found = results(Lines(numbered(8)), 2, half_answered, os.getpid())
    assert [int(answer) for answer in found] == list(range(8))


def test_a_run_that_stops_while_it_waits_for_an_answer_ends_at_once() -> None:
    """Whatever the processes do."""
    stop = Stop()
    threading.Timer(0.7, stop.by_signal, (ExitCode.TERMINATED,)).start()
    begun = time.monotonic()
    assert list(workers.results(Lines(numbered(2)), 2, stop, asleep)) == []
    assert time.monotonic() - begun < HANG_S
    assert not active_children()


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGTERM], ids=lambda kill: kill.name)
def test_the_processes_end_with_the_first_one(kill: signal.Signals, tmp_path: Path) -> None:
    """Whatever ends it, none is left, since its output, which all of them have open, ends."""
    script = """
        from support.batches import Lines, echo, numbered
        from voucherify_sync.run import workers
        from voucherify_sync.stop import Stop
        if __name__ == "__main__":
            blocks = Lines(numbered(1_000_000))
            for answer in workers.results(blocks, 2, Stop(), echo, ""):
                print(answer.decode(), flush=True)
    """
    with subprocess.Popen(
        [sys.executable, "-c", dedent(script)],
        env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.send_signal(kill)
        process.communicate(timeout=HANG_S)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def archive(folder: Path) -> Reader:
    """Return an archive of many sorts: small files, a large one, one that unpacks to very much, a damaged one."""
    lines = list(generate(6_000))
    lines[1_500:1_500] = [
        b"\n",
        b"oops\n",
        lines[1_400],
        b'{"type":"page","userId":"u"}\n',
        b'{"type":"track"}\n',
        b'{"type":"Track","userId":"null","messageId":"s1","anonymousId":"a","event":["x"]}\n',
    ]
    lines += [b'{"type":"page","userId":"u","messageId":"n","timestamp":%d}\n' % 2**70]
    lines += [
        b'{"type":"identify","userId":"null","messageId":"s2","anonymousId":"b","traits":"x"}\n',
        b'{"type":"track","userId":"nil","messageId":"s3","event":"Customer Rewarded"}\n',
    ]
    lines += [*lines[2_000:2_100], *(line + b"\n" for line in ODD_LINES.values())]
    folder.mkdir()
    for number in range(0, len(lines), 400):
        (folder / f"{number:05}.ndjson").write_bytes(b"".join(lines[number : number + 400]))
    (folder / "b-large.ndjson").write_bytes(b"".join(generate(1_500, seed=3)))
    (folder / "c-packed.gz").write_bytes(gzip.compress(b"".join(lines[:900]) + b" " * 300_000 + b"\n"))
    (folder / "d-cut.gz").write_bytes(gzip.compress(b"".join(lines[900:1_500]))[:-5_000])
    return Reader(find_sources([str(folder)], stdin_is_terminal=True).sources, Stop())


def shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tasks be small enough for a small archive."""
    for name, size in {"TASK_BYTES": 150_000, "MAX_FILE_BYTES": 800_000, "MAX_TEXT_BYTES": 400_000}.items():
        monkeypatch.setattr(workers, name, size)


@pytest.mark.parametrize("settings", [Settings(), NAMES, SETTINGS["rows"]], ids=["default", "names", "rows"])
@pytest.mark.parametrize("jobs", [2, 3])
def test_several_processes_decide_what_one_decides(
    settings: Settings, jobs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests, reasons, keys, counts and facts do not depend on how the input is shared out."""
    shared_out(monkeypatch)
    here, there = (Pipeline(settings, Selection(), folds=True) for _ in range(2))
    alone = archive(tmp_path / "a")
    expected = [decision for batch in alone for batch in here.batches(batch) for decision in batch]
    together = Reader(find_sources([str(tmp_path / "a")], stdin_is_terminal=True).sources, Stop())
    found = [decision for batch in there.shared(together, jobs, Stop()) for decision in batch]
    assert list(map(known, found)) == list(map(known, expected))
    assert there.mapper.stats.to_dict() == here.mapper.stats.to_dict()
    assert there.mapper.stats.findings == here.mapper.stats.findings
    if settings is not NAMES:
        assert here.mapper.stats.findings.keys() >= {SLIP_IDS, NAMED_BY_TYPE, NO_OBJECT, FROM_VOUCHERIFY}
    assert list(there.filters.notices()) == list(here.filters.notices())
    assert there.filters.cut_met() == here.filters.cut_met()
    assert together.facts == alone.facts


def known(decision: Any) -> list[Any]:
    """Return what is known of a record where nothing is sent."""
    record = decision.event if isinstance(decision, Request) else decision.record
    own = [str(record.position), record.type, record.name, record.message_id, getattr(record, "key", None)]
    rest = [getattr(decision, name) for name in decision.__struct_fields__ if name not in ("event", "record")]
    return own + rest


def test_coverage_on_several_processes_counts_what_one_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of it: counts, order, examples, and which paths find no room."""
    shared_out(monkeypatch)
    monkeypatch.setattr(coverage, "MAX_PATHS", 300)
    little: list[Any] = [None, "", 0, [], 0.0]
    shapes = [{f"k{number % 700}": little[number % 5], "a": number % 3} for number in range(3_000)]
    full = [dict.fromkeys(traits, "x") for traits in shapes[::7]]
    reader = archive(tmp_path / "a")
    events = [{"userId": "u", "type": "identify", "traits": traits} for traits in (*shapes, *full)]
    (tmp_path / "a" / "e.ndjson").write_text("\n".join(map(json.dumps, events)))
    sources = find_sources([str(tmp_path / "a")], stdin_is_terminal=True).sources
    settings = msgspec.structs.replace(SETTINGS["spare"], track=NAMES.track)
    alone, together = Coverage(settings), Coverage(settings)
    for batch in Reader(sources, Stop()):
        alone.add(alone.decode(batch))
    together.add_shared(Reader(sources, Stop()), 2, Stop())
    assert together.report() == alone.report()
    assert alone.report().sections["identify"].more_paths > 100
    assert reader.facts == []


@pytest.mark.parametrize(
    ("bytes_total", "jobs", "is_worth_it"),
    [
        pytest.param(None, 2, False, id="pipe"),
        (options.MIN_SHARED_BYTES - 1, 2, False),
        (options.MIN_SHARED_BYTES, 2, True),
        pytest.param(options.MIN_SHARED_BYTES, 1, False, id="one"),
    ],
)
def test_a_pipe_and_a_small_input_are_not_worth_the_start_of_processes(
    bytes_total: int | None, jobs: int, is_worth_it: bool
) -> None:
    """A pipe has to flow, and a small input is read before they have started."""
    source = Lines([])
    source.bytes_total = bytes_total  # type: ignore[assignment]
    assert options.is_worth_processes(source, jobs) is is_worth_it
