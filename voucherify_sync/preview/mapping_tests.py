"""Runs mapping tests: events go through the filters and the mapping of the settings; the requests are compared.

Nothing is sent. Results can be written as JUnit XML for CI servers, and into the files as the new expectations.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from xml.etree.ElementTree import Element, SubElement, tostring

import msgspec.structs
from msgspec import UNSET, Struct

from voucherify_sync.errors import SourceError, UsageProblem
from voucherify_sync.events import PATHS, Batch, Json, Request
from voucherify_sync.mapping.filters import Selection
from voucherify_sync.preview.comparison import Difference, differences
from voucherify_sync.run.pipeline import Pipeline
from voucherify_sync.settings import EventAt, Expected, MappingTest, Settings
from voucherify_sync.settings.rewriting import rewrite
from voucherify_sync.settings.yaml_nodes import Mistake, Problems, raise_all
from voucherify_sync.sources.decode import Record, decode
from voucherify_sync.sources.discover import find_sources
from voucherify_sync.sources.reader import Reader
from voucherify_sync.state.private_files import write_whole
from voucherify_sync.stop import Stop

_NOT_XML: Final = re.compile("[^\t\n\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_BOM: Final = "\ufeff"


class MappingResult(Struct, frozen=True):
    """The result of one test.

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

    @property
    def expectation(self) -> Expected | str:
        """The expectation that it fulfils; a partial one looks at the same fields as the test's."""
        expect = self.test.expect
        if self.request is None:
            return self.reason or ""
        if isinstance(expect, str) or not expect.partial:
            return Expected(self.request)
        request = narrowed(self.request, expect.request)
        return Expected(request, partial=True) if any(request.values()) else Expected(self.request)


def run_tests(settings: Settings, tests: Sequence[MappingTest]) -> list[MappingResult]:
    """Run the tests, in their order.

    Raises:
        SettingsError: an event that a test names is not where it says; all of them at once.
    """
    pipeline = Pipeline(settings, Selection())
    results = []
    for test, record in zip(tests, _records_of(tests), strict=True):
        begun = time.perf_counter()
        decision = pipeline.decide(record)
        request, reason = None, None
        if isinstance(decision, Request):
            request = {"method": "POST", "path": PATHS[decision.kind], "body": decision.body}
        else:
            reason = decision.reason
        found = list(_differences(test.expect, request, reason))
        results.append(MappingResult(test, request, reason, found, time.perf_counter() - begun))
    return results


def _records_of(tests: Sequence[MappingTest]) -> list[Record]:
    """Return one record a test: its event, decoded as in a replay."""
    lines = _named_lines(test.event for test in tests if isinstance(test.event, EventAt))
    problems = {test.file: Problems(str(test.file)) for test in tests}
    records: list[Record] = []
    for test in tests:
        try:
            records.append(_record_of(test, lines))
        except Mistake as mistake:
            problems[test.file].add(test.event_place, f"tests[{test.number}].event", str(mistake))
    raise_all(problems.values())
    return records


def _record_of(test: MappingTest, lines: Mapping[Path, dict[int, Batch] | Mistake]) -> Record:
    event, item = test.event, None
    if isinstance(event, EventAt):
        item, known = event.item, lines[event.path]
        if isinstance(known, Mistake):
            raise known
        if event.line not in known:
            raise Mistake(f"{event.path} has no line {event.line}")
        line = known[event.line]
    else:
        line = Batch.of(str(test.file), test.event_place.line, [msgspec.json.encode(event)])
    count, found = 0, None  # a line may hold too many records to keep them all
    for record in decode(line):
        if count == (item or 0):
            found = record
        count += 1
    if not count:
        raise Mistake("that line is blank")
    if item is None and count > 1:
        raise Mistake(f"that line holds {count} events; name one of them, such as FILE:12[0]")
    if found is None:
        raise Mistake(f"that line holds {count} events only; the first is [0]")
    return found


def _named_lines(events: Iterable[EventAt]) -> dict[Path, dict[int, Batch] | Mistake]:
    """Read each file once, as far as it is needed; a line is a batch by its number."""
    numbers: dict[Path, set[int]] = {}
    for event in events:
        numbers.setdefault(event.path, set()).add(event.line)
    found: dict[Path, dict[int, Batch] | Mistake] = {}
    for path, wanted in numbers.items():
        try:
            found[path] = _read_lines(path, wanted)
        except SourceError as error:
            found[path] = Mistake(error.message)
        except Mistake as mistake:
            found[path] = mistake
    return found


def _read_lines(path: Path, wanted: set[int]) -> dict[int, Batch]:
    if not path.is_file():
        raise Mistake(f"{path}: no such file")
    found: dict[int, Batch] = {}
    for batch in Reader(find_sources([str(path)], stdin_is_terminal=True).sources, Stop()):
        for number in wanted.intersection(range(batch.first_line, batch.first_line + len(batch.lines))):
            line = batch.lines[number - batch.first_line]
            found.setdefault(number, msgspec.structs.replace(batch, first_line=number, text=line + b"\n"))
        if batch.first_line + len(batch.lines) > max(wanted):
            break
    return found


def _differences(expect: Expected | str, request: Json | None, reason: str | None) -> Iterable[Difference]:
    if isinstance(expect, str):
        if request is None:
            return differences(expect, reason, partial=False, keys=("skipped",))
        return [Difference(("request",), UNSET, request), Difference(("skipped",), expect, UNSET)]
    if request is None:
        return [Difference(("request",), expect.request, UNSET), Difference(("skipped",), UNSET, reason)]
    return differences(expect.request, request, partial=expect.partial)


def narrowed(value: Any, to: Any) -> Any:
    """Return what a partial expectation looks at: of objects only the keys that it names and that are there."""
    if isinstance(value, dict) and isinstance(to, dict):
        return {key: narrowed(value[key], inside) for key, inside in to.items() if key in value}
    if isinstance(value, list) and isinstance(to, list) and len(value) == len(to):
        return [narrowed(*pair) for pair in zip(value, to, strict=True)]
    return value


def junit(results: Sequence[MappingResult]) -> bytes:
    """Return JUnit XML, one test suite a file, in the order of the tests. What XML cannot hold becomes an escape."""

    def shown(text: object) -> str:
        return _NOT_XML.sub(lambda sign: f"\\u{ord(sign[0]):04x}", str(text))

    root = Element("testsuites", _totals(results))
    for file, own in _by_file(results).items():
        suite = SubElement(root, "testsuite", {"name": shown(file), **_totals(own)})
        for result in own:
            test = result.test
            attributes = {
                "name": shown(test.name),
                "classname": shown(file.name),
                "file": shown(file),
                "line": str(test.place.line),
                "time": f"{result.seconds:.6f}",
            }
            case = SubElement(suite, "testcase", attributes)
            if not result.passed:
                lines = list(map(shown, result.differences))
                failure = SubElement(case, "failure", {"message": lines[0], "type": "difference"})
                failure.text = "\n".join(lines)
    document: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def _totals(results: Sequence[MappingResult]) -> dict[str, str]:
    failed = sum(not result.passed for result in results)
    seconds = sum(result.seconds for result in results)
    counts = {"tests": len(results), "failures": failed, "errors": 0, "skipped": 0}
    return {name: str(count) for name, count in counts.items()} | {"time": f"{seconds:.6f}"}


def _by_file(results: Iterable[MappingResult]) -> dict[Path, list[MappingResult]]:
    by_file: dict[Path, list[MappingResult]] = {}
    for result in results:
        by_file.setdefault(result.test.file, []).append(result)
    return by_file


def update(
    results: Sequence[MappingResult], environment: Mapping[str, str]
) -> dict[Path, list[tuple[MappingResult, str]]]:
    """Write what came out in place of what the failed tests expect.

    Returns:
        By file, the failed tests, each with a sentence why its expectation stays as it is; empty if it was updated.

    Raises:
        UsageProblem: a file cannot be read or written.
    """
    failed = _by_file(result for result in results if not result.passed)
    return {file: _update_file(file, own, environment) for file, own in failed.items()}


def _update_file(
    file: Path, failed: list[MappingResult], environment: Mapping[str, str]
) -> list[tuple[MappingResult, str]]:
    """Write the expectations one by one, so that one that cannot be written does not hold up the others."""
    updates: list[tuple[MappingResult, str]] = []
    try:
        before = file.read_bytes().decode()
        text = before.replace("\r\n", "\n").removeprefix(_BOM)
        for result in failed:
            refused = ""
            try:
                text = rewrite(text, file, result.test.number, result.expectation, environment)
            except Mistake as mistake:
                refused = str(mistake)
            except RecursionError:
                refused = "what came out is nested too deep to be written"
            updates.append((result, refused))
        if not all(refused for _, refused in updates):
            bom = _BOM if before.startswith(_BOM) else ""
            ends = "\r\n" if "\r\n" in before else "\n"
            write_whole(file, (bom + text.replace("\n", ends)).encode())
    except OSError as error:
        raise UsageProblem(f"{file} cannot be written: {error.strerror}") from None
    return updates
