"""Results of mapping tests in, JUnit XML out, as CI servers read it. What XML cannot hold is written as an escape."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree.ElementTree import Element, SubElement, tostring

from voucherify_sync.previewing.mapping_tests.differences import Difference, text_of
from voucherify_sync.previewing.mapping_tests.running import Result

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
