"""Mapping tests: events go through the filters and the mapping of the settings, and what comes out is compared.

What was expected and what came out go in; where they differ comes out, path by path. Knows JSON values only.

The events of mapping tests: as they stand in the test, or out of the file that it names. Decoded as in a replay.

Mapping tests in, their results out: each event takes the way of a replay, up to the request. Nothing is sent.

Results of mapping tests in, JUnit XML out, as CI servers read it. What XML cannot hold is written as an escape.

Results of mapping tests in, files with the expectations that would have passed out. Other text stays as it is.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Final
from xml.etree.ElementTree import Element, SubElement, tostring

import msgspec
from msgspec import Struct

from voucherify_sync.errors import SourceError, UsageProblem
from voucherify_sync.events import Batch, Json, Request
from voucherify_sync.mapping.filters import Selection
from voucherify_sync.run.pipeline import Pipeline
from voucherify_sync.settings import EventAt, Expected, MappingTest, Settings
from voucherify_sync.settings.rewriting import rewrite
from voucherify_sync.settings.yaml_nodes import Mistake, Problems, raise_all
from voucherify_sync.sources.decode import Record, decode
from voucherify_sync.sources.discover import find_sources
from voucherify_sync.sources.reader import Reader
from voucherify_sync.state.private_files import write_whole
from voucherify_sync.stop import Stop
from voucherify_sync.voucherify.answers import PATHS

__all__ = ["NOTHING", "Difference", "Result", "Update", "junit", "run_tests", "text_of", "update"]


_PLAIN_KEY: Final = re.compile(r"[^.\[\]\"'\s]+")


class Nothing(Enum):
    """The type of NOTHING, which is no JSON value."""

    NOTHING = "nothing"


NOTHING: Final = Nothing.NOTHING
"""Stands where there is no value at all; a null is None."""


class Difference(Struct, frozen=True):
    """One place at which something else came out than was expected.

    Attributes:
        path: such as ``body.customer.email``.
        expected: the value there, or NOTHING.
        got: the value there, or NOTHING.
    """

    path: str
    expected: Any
    got: Any


def differences(expected: Any, got: Any, *, partial: bool, path: str = "") -> Iterator[Difference]:
    """Yield where two JSON values differ, in the order of what is expected.

    Numbers are equal if they are so by value; true and false are no numbers. Lists are compared item by item.

    Args:
        expected: as the test has it.
        got: as the mapping made it.
        partial: an object may hold more than is expected, at any depth.
        path: where both stand.
    """
    if isinstance(expected, dict) and isinstance(got, dict):
        for key, value in expected.items():
            inner = _path(path, key)
            yield from differences(value, got.get(key, NOTHING), partial=partial, path=inner)
        if not partial:
            for key, value in got.items():
                if key not in expected:
                    yield Difference(_path(path, key), NOTHING, value)
    elif isinstance(expected, list) and isinstance(got, list):
        for index in range(max(len(expected), len(got))):
            one, other = (values[index] if index < len(values) else NOTHING for values in (expected, got))
            yield from differences(one, other, partial=partial, path=f"{path}[{index}]")
    elif not _equal(expected, got):
        yield Difference(path, expected, got)


def text_of(value: Any) -> str:
    """Return one side of a difference as text."""
    if value is NOTHING:
        return "nothing"
    try:
        return json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return "a value that is nested too deep to be shown"


def narrowed(value: Any, to: Any) -> Any:
    """Return what a partial expectation looks at: of objects only the keys that it names, as far as they are there."""
    if isinstance(value, dict) and isinstance(to, dict):
        return {key: narrowed(value[key], inside) for key, inside in to.items() if key in value}
    if isinstance(value, list) and isinstance(to, list) and len(value) == len(to):
        return [narrowed(*pair) for pair in zip(value, to, strict=True)]
    return value


def _equal(expected: Any, got: Any) -> bool:
    return isinstance(expected, bool) is isinstance(got, bool) and bool(expected == got)


def _path(path: str, key: str) -> str:
    if not _PLAIN_KEY.fullmatch(key):
        return f"{path}[{json.dumps(key, ensure_ascii=False)}]"
    return f"{path}.{key}" if path else key


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
    return _line_of(Batch.of(str(test.file), test.event_place.line, [text]), {0})


def _line_of(block: Batch, wanted: Container[int]) -> _Line:
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
            one = Batch.of(block.source, number, [line], truncated=block.truncated)
            found[number] = _line_of(one, items[number])
        if end > last:
            break
    return found


class Result(Struct, frozen=True):
    """What became of one test.

    Attributes:
        test: as it was written.
        request: what would be sent, `method`, `path` and `body`; None if nothing.
        reason: why nothing would be sent; None if something.
        differences: where it is not what was expected.
        seconds: how long it took.
    """

    test: MappingTest
    request: Json | None
    reason: str | None
    differences: list[Difference]
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether all is as expected."""
        return not self.differences


def run_tests(settings: Settings, tests: Sequence[MappingTest]) -> list[Result]:
    """Run the tests, in their order.

    Raises:
        SettingsError: an event that a test names is not where it says.
    """
    records = records_of(tests)
    pipeline = Pipeline(settings, Selection())
    return [_result(test, record, pipeline) for test, record in zip(tests, records, strict=True)]


def _result(test: MappingTest, record: Record, pipeline: Pipeline) -> Result:
    begun = time.perf_counter()
    step = pipeline.decide(record)
    request, reason = None, None
    if isinstance(step, Request):
        request = {"method": "POST", "path": PATHS[step.kind], "body": step.body}
    else:
        reason = step.reason
    found = list(_differences(test.expect, request, reason))
    return Result(test, request, reason, found, time.perf_counter() - begun)


def _differences(expect: Expected | str, request: Json | None, reason: str | None) -> Iterable[Difference]:
    wanted = None if isinstance(expect, str) else expect
    if wanted is not None and request is not None:
        return differences(wanted.request, request, partial=wanted.partial)
    if wanted is None and request is None:
        return differences(expect, reason, partial=False, path="skipped")
    expected = NOTHING if wanted is None else wanted.request
    skipped = Difference("skipped", NOTHING if wanted else expect, NOTHING if request else reason)
    return [Difference("request", expected, NOTHING if request is None else request), skipped]


_NOT_XML = re.compile("[^\t\n\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(results: Sequence[Result]) -> bytes:
    """Return one test suite a file, in the order of the tests."""
    root = Element("testsuites", _totals(results))
    by_file: dict[str, list[Result]] = {}
    for result in results:
        by_file.setdefault(str(result.test.file), []).append(result)
    for file, own in by_file.items():
        suite = SubElement(root, "testsuite", {"name": _shown(file), **_totals(own)})
        for result in own:
            _add_case(suite, result)
    document: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def _totals(results: Sequence[Result]) -> dict[str, str]:
    failed = sum(not result.passed for result in results)
    seconds = sum(result.seconds for result in results)
    return {
        "tests": str(len(results)),
        "failures": str(failed),
        "errors": "0",
        "skipped": "0",
        "time": f"{seconds:.6f}",
    }


def _add_case(suite: Element, result: Result) -> None:
    test = result.test
    case = SubElement(
        suite,
        "testcase",
        {
            "name": _shown(test.name),
            "classname": _shown(test.file.name),
            "file": _shown(str(test.file)),
            "line": str(test.place.line),
            "time": f"{result.seconds:.6f}",
        },
    )
    if not result.passed:
        lines = [_line(difference) for difference in result.differences]
        failure = SubElement(case, "failure", {"message": _shown(lines[0]), "type": "difference"})
        failure.text = _shown("\n".join(lines))


def _line(difference: Difference) -> str:
    return f"{difference.path}: expected {text_of(difference.expected)}, got {text_of(difference.got)}"


def _shown(text: str) -> str:
    return _NOT_XML.sub(lambda sign: f"\\u{ord(sign[0]):04x}", text)


_BOM = "\ufeff"


class Update(Struct, frozen=True):
    """What became of one file with tests that failed.

    Attributes:
        file: which one.
        count: expectations written anew.
        refused: tests whose expectation stays as it is, each with a sentence why.
    """

    file: Path
    count: int
    refused: list[tuple[Result, str]]


def update(results: Sequence[Result], environment: Mapping[str, str]) -> list[Update]:
    """Write what is in place of what the failed tests expect.

    Raises:
        UsageProblem: a file cannot be read or written.
    """
    by_file: dict[Path, list[Result]] = {}
    for result in results:
        if not result.passed:
            by_file.setdefault(result.test.file, []).append(result)
    return [_update_file(file, failed, environment) for file, failed in by_file.items()]


def what_is(result: Result) -> Expected | str:
    """Return the expectation that a result fulfils; a partial one looks at the same fields as before."""
    expect = result.test.expect
    if result.request is None:
        return result.reason or ""
    if isinstance(expect, str) or not expect.partial:
        return Expected(result.request)
    request = narrowed(result.request, expect.request)
    return Expected(request, partial=True) if any(request.values()) else Expected(result.request)


def _update_file(file: Path, failed: list[Result], environment: Mapping[str, str]) -> Update:
    """Write the expectations one by one, so that one that cannot be written does not hold up the others."""
    written, refused = 0, list[tuple[Result, str]]()
    try:
        before = file.read_bytes().decode()
        text = before.replace("\r\n", "\n").removeprefix(_BOM)
        for result in failed:
            try:
                text = rewrite(text, file, result.test.number, what_is(result), environment)
                written += 1
            except Mistake as mistake:
                refused.append((result, str(mistake)))
            except RecursionError:
                refused.append((result, "what came out is nested too deep to be written"))
        if written:
            ends = "\r\n" if "\r\n" in before else "\n"
            bom = _BOM if before.startswith(_BOM) else ""
            write_whole(file, (bom + text.replace("\n", ends)).encode())
    except OSError as error:
        raise UsageProblem(f"{file} cannot be written: {error.strerror}") from None
    return Update(file, written, refused)
