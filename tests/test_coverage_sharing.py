"""Coverage is the same whoever examined the events, and however many did."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as tuned
from hypothesis import strategies as st
from odd_events import ODD_LINES, SETTINGS, events
from segment_events import track

from voucherify_sync.mapping.filters import Selection
from voucherify_sync.model import Block, Json
from voucherify_sync.previewing.coverage import Coverage, examiner, section, sharing, to_dict
from voucherify_sync.previewing.coverage.examined import Examined
from voucherify_sync.previewing.coverage.examiner import Examiner
from voucherify_sync.previewing.coverage.facts import mark
from voucherify_sync.reading.decode import decode
from voucherify_sync.running import tasks
from voucherify_sync.settings import Settings
from voucherify_sync.stop import Stop

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
from events import generate


def alone(rules: Settings, blocks: Iterable[Block]) -> Json:
    """Return what one process counts."""
    coverage = Coverage(rules)
    for block in blocks:
        coverage.add(decode(block))
    return to_dict(coverage)


def by_two(rules: Settings, blocks: Iterable[Block]) -> Json:
    """Return what is counted where two processes examine."""
    coverage = Coverage(rules)
    sharing.count_shared(coverage, blocks, 2, Stop())
    return to_dict(coverage)


def archive() -> list[Block]:
    """Return blocks of three files: ordinary events, odd lines, very many shapes, and examples that give way."""
    ordinary = [line.rstrip(b"\n") for line in generate(1_500)]
    little: list[Any] = [None, "", 0, [], 0.0]
    shapes = [
        {
            "userId": "u",
            "type": "identify",
            "traits": {f"k{number % 700}": little[number % 5], "a": number % 3},
        }
        for number in range(3_000)
    ]
    full = [{**event, "traits": dict.fromkeys(event["traits"], "x")} for event in shapes[::7]]
    long = {
        "userId": "u",
        "type": "track",
        "event": "E",
        "properties": {"x" * 300: {"y": 1}, "b": "z" * 20_000},
    }
    many = [json.dumps(event).encode() for event in (*shapes, long, *full, long)]
    files = {"a": ordinary, "b": [*ODD_LINES.values(), *many], "c": ordinary[:300]}
    return [
        Block.of(source, first + 1, lines[first : first + 40])
        for source, lines in files.items()
        for first in range(0, len(lines), 40)
    ]


def test_two_processes_count_what_one_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it: counts, order, examples, and which paths find no room."""
    monkeypatch.setattr(tasks, "TASK", 20_000)
    monkeypatch.setattr(section, "MAX_PATHS", 500)
    rules = SETTINGS["spare"]
    told = alone(rules, archive())
    assert by_two(rules, archive()) == told
    assert told["identify"]["more_paths"] > 100
    assert told["track"]["more_paths"] == 1
    assert told["events"]["invalid"]


def test_a_process_that_dies_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it has not answered is examined here, by an examiner that knows nothing yet."""
    monkeypatch.setattr(tasks, "TASK", 20_000)

    def deadly(blocks: list[Block]) -> Iterator[Block]:
        for number, block in enumerate(blocks):
            if number == len(blocks) // 2:
                processes = active_children()
                assert len(processes) == 2
                for process in processes:
                    process.kill()
            yield block

    assert by_two(Settings(), deadly(archive())) == alone(Settings(), archive())


@pytest.mark.parametrize("name", SETTINGS)
@tuned(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    records=st.lists(events(), min_size=1, max_size=12),
    examiners=st.lists(st.integers(0, 2), min_size=12, max_size=12),
    remembered=st.sampled_from([0, 500, 10_000]),
    max_paths=st.sampled_from([2, 100]),
)
def test_whoever_examines_an_event_the_counts_are_the_same(
    name: str,
    records: list[Json],
    examiners: list[int],
    remembered: int,
    max_paths: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However the events are shared out, and however soon their shapes are forgotten."""
    rules = SETTINGS[name]
    blocks = [Block.of("a", number, [json.dumps(record).encode()]) for number, record in enumerate(records)]
    monkeypatch.setattr(section, "MAX_PATHS", max_paths)
    told = alone(rules, blocks)
    monkeypatch.setattr(examiner, "_MAX_REMEMBERED", remembered)
    several = [Examiner(rules, Selection(), 1 + (number << 32)) for number in range(3)]
    coverage = Coverage(rules)
    for number, block in zip(examiners, blocks, strict=False):
        answer = msgspec.msgpack.encode(several[number].examine(decode(block)))
        coverage.take(msgspec.msgpack.decode(answer, type=Examined))
    assert to_dict(coverage) == told


def test_long_paths_are_told_apart_in_any_process() -> None:
    """By a hash that does not depend on the process; what is not short enough to be kept is not sent either."""
    long = "x" * 300
    marks = {mark((*keys,)) for keys in ([long], [long, "a"], [long, 1], [long + "x"], ["y" + long[1:]])}
    assert len(marks) == 5
    assert mark(("properties", long)) == 8_965_930_688_621_488_592
    found = Examiner(Settings(), Selection()).examine([track({long: 1})])
    assert len(msgspec.msgpack.encode(found)) < 300
