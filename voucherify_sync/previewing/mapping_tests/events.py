"""The events of mapping tests: as they stand in the test, or out of the file that it names. Decoded as in a replay."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from voucherify_sync.errors import SourceError
from voucherify_sync.model import Block, Json
from voucherify_sync.reading.decode import Record, decode
from voucherify_sync.reading.source import Reader, find_sources
from voucherify_sync.settings import EventAt, MappingTest
from voucherify_sync.settings.problems import Mistake, Problems, raise_all
from voucherify_sync.stop import Stop


class _Line(Struct, frozen=True):
    """What tests need of a line.

    Attributes:
        count: records that it holds, which may be too many to be kept.
        records: those that tests name, by 0-based index.
    """

    count: int
    records: dict[int, Record]


_Lines = dict[int, _Line]
"""Line number -> the line."""


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
    line = found.get(test.event.line)
    if line is None:
        raise Mistake(f"{test.event.path} has no line {test.event.line}")
    return _only(line, test.event.item)


def _only(line: _Line, item: int | None) -> Record:
    """Return the one record that is meant."""
    if not line.count:
        raise Mistake("that line is blank")
    if item is None and line.count > 1:
        raise Mistake(f"{line.count} events, but a test is of one; name it, such as FILE:12[0]")
    if item is not None and item >= line.count:
        raise Mistake(f"only {line.count} events are in that line, of which the first is [0]")
    return line.records[item or 0]


def _inline(test: MappingTest, fields: Json) -> _Line:
    text = msgspec.json.encode(fields)
    return _line_of(Block.of(str(test.file), test.event_place.line, [text]), {0})


def _line_of(block: Block, wanted: Container[int]) -> _Line:
    """Decode a block of one line; `wanted` are indexes of records."""
    count = 0
    records: dict[int, Record] = {}
    for index, record in enumerate(decode(block)):
        count += 1
        if index in wanted:
            records[index] = record
    return _Line(count, records)


def _named_lines(events: Iterable[EventAt]) -> dict[Path, _Lines | Mistake]:
    """Read each file once, as far as it is needed."""
    wanted: dict[Path, dict[int, set[int]]] = {}
    for event in events:
        wanted.setdefault(event.path, {}).setdefault(event.line, set()).add(event.item or 0)
    return {path: _lines_of(path, items) for path, items in wanted.items()}


def _lines_of(path: Path, items: dict[int, set[int]]) -> _Lines | Mistake:
    """Return the lines of a file that are named; `items` are the indexes of the records by the number of the line."""
    if not path.is_file():
        return Mistake(f"{path}: no such file")
    try:
        sources = find_sources([str(path)], stdin_is_terminal=True).sources
        return _read(Reader(sources, Stop()), items)
    except SourceError as error:
        return Mistake(error.message)


def _read(reader: Reader, items: dict[int, set[int]]) -> _Lines:
    found: _Lines = {}
    last = max(items)
    for block in reader:
        lines = block.lines
        end = block.first_line + len(lines)
        for number in (each for each in items if block.first_line <= each < end):
            line = lines[number - block.first_line]
            one = Block.of(block.source, number, [line], truncated=block.truncated)
            found[number] = _line_of(one, items[number])
        if end > last:
            break
    return found
