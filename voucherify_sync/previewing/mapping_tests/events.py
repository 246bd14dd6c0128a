"""The events of mapping tests: as they stand in the test, or out of the file that it names. Decoded as in a replay."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from voucherify_sync.errors import SourceError
from voucherify_sync.model import Block, Json, Outcome, SegmentEvent
from voucherify_sync.reading.decode import decode
from voucherify_sync.reading.source import Reader, find_sources
from voucherify_sync.settings import EventAt, MappingTest
from voucherify_sync.settings.problems import Mistake, Problems, raise_all
from voucherify_sync.stop import Stop

Record = SegmentEvent | Outcome
"""An event, or what came of a line that is none."""

_Lines = dict[int, list[Record]]
"""Line number -> the records of the line."""


def records_of(tests: Sequence[MappingTest]) -> list[Record]:
    """Return one record a test.

    Raises:
        SettingsError: an event is not where a test says; all of them at once, each with the place of its test.
    """
    lines = _named_lines(test.event for test in tests if isinstance(test.event, EventAt))
    problems = {test.file: Problems(str(test.file)) for test in tests}
    records: list[Record] = []
    for test in tests:
        try:
            records.append(_record(test, lines))
        except Mistake as mistake:
            problems[test.file].add(test.event_place, f"tests[{test.number}].event", str(mistake))
    raise_all(problems.values())
    return records


def _record(test: MappingTest, lines: dict[Path, _Lines | Mistake]) -> Record:
    if not isinstance(test.event, EventAt):
        return _only(_inline(test, test.event), None)
    found = lines[test.event.path]
    if isinstance(found, Mistake):
        raise found
    records = found.get(test.event.line)
    if records is None:
        raise Mistake(f"{test.event.path} has no line {test.event.line}")
    return _only(records, test.event.item)


def _only(records: list[Record], item: int | None) -> Record:
    """Return the one record that is meant."""
    if not records:
        raise Mistake("that line is blank")
    if item is None and len(records) > 1:
        raise Mistake(f"{len(records)} events, but a test is of one; name it, such as FILE:12[0]")
    if item is not None and item >= len(records):
        raise Mistake(f"only {len(records)} events are in that line, of which the first is [0]")
    return records[item or 0]


def _inline(test: MappingTest, fields: Json) -> list[Record]:
    line = msgspec.json.encode(fields)
    return list(decode(Block.of(str(test.file), test.event_place.line, [line])))


def _named_lines(events: Iterable[EventAt]) -> dict[Path, _Lines | Mistake]:
    """Read each file once, as far as it is needed."""
    wanted: dict[Path, set[int]] = {}
    for event in events:
        wanted.setdefault(event.path, set()).add(event.line)
    return {path: _lines_of(path, numbers) for path, numbers in wanted.items()}


def _lines_of(path: Path, numbers: set[int]) -> _Lines | Mistake:
    if not path.is_file():
        return Mistake(f"{path}: no such file")
    try:
        sources = find_sources([str(path)], stdin_is_terminal=True).sources
        return _read(Reader(sources, Stop()), numbers)
    except SourceError as error:
        return Mistake(error.message)


def _read(reader: Reader, numbers: set[int]) -> _Lines:
    found: _Lines = {}
    last = max(numbers)
    for block in reader:
        lines = block.lines
        end = block.first_line + len(lines)
        for number in numbers.intersection(range(block.first_line, end)):
            line = lines[number - block.first_line]
            found[number] = list(decode(Block.of(block.source, number, [line], truncated=block.truncated)))
        if end > last:
            break
    return found
