"""A dry run on several processes tells what one process tells."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from dry_runs import DryRun

from voucherify_sync.mapping.filters import Selection
from voucherify_sync.model import Block
from voucherify_sync.running import tasks
from voucherify_sync.running.crew import Crew
from voucherify_sync.settings.types import Settings, Track

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
from events import generate

NAMES = Settings(
    track=Track(events_filter=["Order*", "Nowhere"], mapping={"properties.total": ["metadata.n"]})
)


def archive() -> list[Block]:
    """Return blocks of two files, with odd lines among the events, repeated ones, and a line that is too long."""
    lines = [line.rstrip(b"\n") for line in generate(6_000)]
    lines[1_500:1_500] = [b"", b"oops", lines[1_400], b'{"type":"page","userId":"u"}', b'{"type":"track"}']
    lines += lines[2_000:2_100]
    blocks = [Block.of("a.ndjson", first + 1, lines[first : first + 100]) for first in range(0, 3_000, 100)]
    blocks.append(Block.of("a.ndjson", 3_001, [b'{"cut'], truncated=True))
    rest = lines[3_000:]
    return [
        *blocks,
        *(Block.of("b.ndjson", first + 1, rest[first : first + 64]) for first in range(0, len(rest), 64)),
    ]


@pytest.mark.parametrize("settings", [Settings(), NAMES], ids=["default", "names"])
def test_several_processes_tell_what_one_tells(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines, counts, examples, samples: nothing depends on how the blocks are shared out."""
    monkeypatch.setattr(tasks, "TASK", 150_000)
    monkeypatch.setattr(Crew, "_answer_here", None)  # the processes do it
    here, there = (DryRun(settings, Selection()) for _ in range(2))
    told = here.fast(archive())
    assert there.fast(archive(), jobs=2) == told
    assert there.general == here.general
    assert told["mapping"]["track"]["unmapped"]


def test_tasks_hold_the_blocks_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the size of a task; the blocks of small files go together."""
    monkeypatch.setattr(tasks, "TASK", 150_000)
    found = list(tasks.tasks(archive()))
    assert len(found) < len(archive())
    assert [block for parts in found for block in tasks.blocks_of(iter(parts))] == archive()


def test_a_task_holds_so_many_blocks_at_most() -> None:
    """Thousands of small files have as many blocks."""
    small = [Block.of(f"{number}.ndjson", 1, [b"{}"]) for number in range(600)]
    assert [len(parts) - 1 for parts in tasks.tasks(small)] == [256, 256, 88]


@pytest.mark.parametrize(
    ("bytes_total", "is_worth_it"),
    [pytest.param(None, False, id="pipe"), (tasks.WORTH_IT - 1, False), (tasks.WORTH_IT, True)],
)
def test_a_pipe_and_a_small_input_are_not_worth_the_start_of_processes(
    bytes_total: int | None, is_worth_it: bool
) -> None:
    """A pipe has to flow, and a small input is read before they have started."""
    assert tasks.is_worth_it(bytes_total) is is_worth_it
