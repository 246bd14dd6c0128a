"""The pipeline decodes only what it needs of an event, and nothing that it tells depends on that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as tuned
from hypothesis import strategies as st
from support.odd_events import ODD_LINES, SELECTIONS, SETTINGS, events
from support.random_settings import Chance

from voucherify_sync.events import Batch, Event, Json, Position, Request
from voucherify_sync.mapping.filters import Selection
from voucherify_sync.paths import PathError
from voucherify_sync.run.pipeline import Pipeline
from voucherify_sync.settings.types import Settings
from voucherify_sync.sources.decode import decode


def told(pipeline: Pipeline, block: Batch) -> list[Any]:
    """Return all that is told of the records of a block, but for what is decoded of them."""
    found: list[Any] = []
    for batch in pipeline.batches(block):
        for decision in batch:
            is_request = isinstance(decision, Request)
            record = decision.event if is_request else decision.record
            own = (record.position, record.type, record.name, record.message_id, record.raw)
            flags = (record.repaired, record.key) if isinstance(record, Event) else ()
            if is_request:
                rest = [getattr(decision, name) for name in decision.__struct_fields__ if name != "event"]
            else:
                rest = [decision.state, decision.reason, decision.detail]
            found.append((own, flags, rest))
    return found


def compare(lines: list[bytes], settings: Settings, selection: Selection | None = None) -> list[Any]:
    """Decode what is needed, and all; fail on any difference."""
    block = Batch.of("events.ndjson", 1, lines)
    one = Pipeline(settings, selection or Selection(), folds=True)
    other = Pipeline(settings, selection or Selection(), folds=True, decode=decode)
    expected = told(other, block)
    assert told(one, block) == expected
    assert one.mapper.stats.to_dict() == other.mapper.stats.to_dict()
    assert list(one.filters.notices()) == list(other.filters.notices())
    assert one.filters.cut_met() == other.filters.cut_met()
    return expected


@pytest.mark.parametrize("name", SETTINGS)
@tuned(max_examples=40)
@given(st.lists(events(), min_size=1, max_size=6), st.sampled_from(sorted(SELECTIONS)))
def test_what_is_not_decoded_decides_nothing(name: str, records: list[Json], selection: str) -> None:
    """Requests, reasons, keys and counts are equal for every input."""
    compare([json.dumps(record).encode() for record in records], SETTINGS[name], SELECTIONS[selection])


@pytest.mark.parametrize("seed", range(6))
def test_whatever_rows_read_is_decoded(seed: int) -> None:
    """Rows of all sorts, from anywhere in the event."""
    chance = Chance(1_000 + seed, all_keys=seed % 2 == 1)
    for _ in range(30 if chance.all_keys else 60):
        settings = chance.settings()
        try:
            compare([chance.event().raw for _ in range(12)], settings)
        except PathError:
            continue


@pytest.mark.parametrize("line", ODD_LINES.values(), ids=ODD_LINES.keys())
def test_an_odd_line_ends_the_same(line: bytes) -> None:
    """What is skipped by a decoder has no say in how a record ends."""
    ordinary = b'{"type":"track","event":"E","userId":"u","messageId":"n"}'
    found = compare([ordinary, line, line, ordinary], Settings())
    assert len(found) >= 2


@pytest.mark.parametrize("name", SETTINGS)
def test_the_public_events_end_the_same(corpora: Path, name: str) -> None:
    """The oddities of the wild."""
    for file in sorted(corpora.iterdir()):
        compare(file.read_bytes().split(b"\n"), SETTINGS[name])


def test_of_an_ordinary_event_only_what_is_needed_is_decoded() -> None:
    """The context is most of an event, and nobody looks at it."""
    line = b'{"type":"track","userId":"u","messageId":"m","context":{"page":{"url":"u"},"traits":{"a":1}},"x":[1]}'
    pipeline = Pipeline(Settings(), Selection())
    (record,) = pipeline.decode(Batch.of("a", 7, [line]))
    assert isinstance(record, Event)
    assert record.position == Position("a", 7)
    assert record.fields == {
        "type": "track",
        "userId": "u",
        "messageId": "m",
        "context": {"traits": {"a": 1}},
    }


def test_a_line_that_is_too_long_is_one_record() -> None:
    """Its head is not taken for the line."""
    head = b'{"type":"identify","userId":"u","messageId":"m"}'
    block = Batch.of("events.ndjson", 5_000, [head], truncated=True)
    pipeline = Pipeline(Settings(), Selection())
    ((outcome,),) = pipeline.batches(block)
    assert not isinstance(outcome, Request)
    assert (outcome.reason, outcome.record.position) == ("too_long", Position("events.ndjson", 5_000))


def test_what_the_filters_leave_out_has_no_key() -> None:
    """An earlier run knows nothing of it; what the mapping cannot take may have been delivered before."""
    lines = [
        b'{"type":"page","userId":"u","messageId":"m"}',
        b'{"type":"track","messageId":"m"}',
    ]
    ((page, no_id),) = Pipeline(Settings(), Selection()).batches(Batch.of("a", 1, lines))
    assert not isinstance(page, Request)
    assert not isinstance(no_id, Request)
    assert isinstance(page.record, Event)
    assert isinstance(no_id.record, Event)
    assert (page.reason, page.record.key) == ("type_page", None)
    assert no_id.reason == "no_id"
    assert no_id.record.key is not None


LINE = b'{"type":"track","event":"E","userId":"u","messageId":"%d"}'


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(
            [LINE % 1, b"", LINE % 2, LINE % 3 + LINE % 4], id="a blank line and two events on one line"
        ),
        pytest.param([LINE % 1, b"  ", LINE % 2, LINE % 3 + b" " + LINE % 4], id="a line of spaces"),
        pytest.param([b'{"type":"track","a":', b'{"b":1}}' + LINE % 1, LINE % 2], id="a value on two lines"),
        pytest.param([LINE % 1 + b",", LINE % 2 + LINE % 3], id="a comma behind it"),
        pytest.param([b'{"type":"track","a":[{}', b"{}]}", LINE % 2 + LINE % 3], id="a list on two lines"),
        pytest.param([b'{"a":"}', LINE % 1 + b'"}'], id="a text on two lines"),
        pytest.param([b"{", b"}", LINE % 1 + LINE % 2], id="an object on two lines"),
    ],
)
def test_each_line_is_decoded_by_itself(lines: list[bytes]) -> None:
    """No event gets the text or the place of another one."""
    for found in (compare(lines, Settings()), compare([LINE % 7, *lines, LINE % 8], Settings())):
        for (position, _, _, message_id, raw), _, _ in found:
            assert message_id is None or b'"%b"' % message_id.encode() in raw
            assert any(raw in line and raw for line in (*lines, LINE % 7, LINE % 8)), position
