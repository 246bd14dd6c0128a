"""Mapping tests: how they are written, run, shown to CI, and brought up to date."""

# ruff: noqa: E501 - tables of mistakes and of files are read line by line

from __future__ import annotations

import gzip
import stat
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from voucherify_sync.errors import SettingsError, UsageProblem
from voucherify_sync.preview.comparison import Difference, differences
from voucherify_sync.preview.mapping_tests import (
    MappingResult,
    junit,
    narrowed,
    run_tests,
    update,
)
from voucherify_sync.settings import Expected, MappingTest, load, load_with_tests, rewriting
from voucherify_sync.settings.yaml_nodes import LineColumn, Mistake

IDENTIFY = "{type: identify, userId: u1, traits: {email: a@b.c, name: Ann}}"
CUSTOMER = {"source_id": "u1", "email": "a@b.c", "name": "Ann"}


def read(folder: Path, text: str, name: str = "s.yaml") -> list[MappingTest]:
    """Return the tests of a settings file with this text."""
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return load_with_tests(file, environment={"CITY": "Berlin"})[1]


def run(folder: Path, text: str) -> list[MappingResult]:
    """Run the tests of a settings file with this text."""
    file = folder / "s.yaml"
    file.write_text(text, encoding="utf-8")
    effective, tests, _ = load_with_tests(file, environment={"CITY": "Berlin"})
    return run_tests(effective, tests)


def updated(folder: Path, text: str) -> str:
    """Return the file after `--update`; all its tests pass then."""
    results = run(folder, text)
    (updates,) = update(results, {"CITY": "Berlin"}).values()
    assert not any(refused for _, refused in updates)
    new = (folder / "s.yaml").read_text(encoding="utf-8")
    assert all(result.passed for result in run(folder, new))
    return new


def one_test(expectation: str, event: str = IDENTIFY) -> str:
    """Return a file with one test; the expectation is a line or some, indented by four."""
    return f"tests:\n  - name: a\n    event: {event}\n    {expectation}\n"


@pytest.mark.parametrize(
    ("event", "expectation"),
    [
        (IDENTIFY, "expect: {method: POST, path: /v1/customers, body: {source_id: u1, email: a@b.c, name: Ann}}"),
        (IDENTIFY, "expect: {contains: {body: {name: Ann}}}"),
        (IDENTIFY, "expect: {contains: {method: POST}}"),
        ("{type: page, userId: u1}", "expect_skipped: type_page"),
        ("{type: track, event: A}", "expect_skipped: no_id"),
        ("{userId: a}", "expect_skipped: no_type"),
        ("{type: identify, userId: 7, traits: {name: '${CITY}'}}", "expect: {contains: {body: {name: Berlin, source_id: '7'}}}"),
        ("{type: track, userId: u, properties: {metadata: {o: {n: null}, t: true, f: 1.5, s: '1', no: no, l: [1, {a: 2}]}}}",
         "expect: {contains: {body: {customer: {metadata: {o: {n: null}, t: true, f: 1.5, s: '1', no: 'no', l: [1, {a: 2}]}}}}}"),
        ("{type: track, userId: u, event: E, properties: {metadata: {n: 12345678901234567890123}}}",
         "expect: {contains: {body: {customer: {metadata: {n: 12345678901234567890123}}}}}"),
    ],
    ids=["exact", "a part", "a part of the top", "skipped", "no id", "no event", "a variable", "values", "a long number"],
)  # fmt: skip
def test_a_test_passes_when_the_request_is_the_expected_one(
    tmp_path: Path, event: str, expectation: str
) -> None:
    """Values are read as in JSON; the event takes the way of a replay."""
    (result,) = run(tmp_path, one_test(expectation, event))
    assert result.differences == []


@pytest.mark.parametrize(
    ("event", "expectation", "found"),
    [
        (IDENTIFY, "expect: {method: PUT, path: /v1/customers, body: {source_id: u1, name: Bob, x: 1}}",
         [("method", "PUT", "POST"), ("body.name", "Bob", "Ann"), ("body.x", 1, UNSET), ("body.email", UNSET, "a@b.c")]),
        (IDENTIFY, "expect: {contains: {body: {name: true}}}", [("body.name", True, "Ann")]),
        (IDENTIFY, "expect_skipped: no_id",
         [("request", UNSET, {"method": "POST", "path": "/v1/customers", "body": CUSTOMER}), ("skipped", "no_id", UNSET)]),
        ("{type: page}", "expect: {contains: {method: POST}}", [("request", {"method": "POST"}, UNSET), ("skipped", UNSET, "type_page")]),
        ("{type: page}", "expect_skipped: no_id", [("skipped", "no_id", "type_page")]),
    ],
    ids=["exact", "a part", "sent, not skipped", "skipped, not sent", "another reason"],
)  # fmt: skip
def test_a_failure_is_told_path_by_path(tmp_path: Path, event: str, expectation: str, found: Any) -> None:
    """Expected and got stand beside each other."""
    (result,) = run(tmp_path, one_test(expectation, event))
    assert [(each.path, each.expected, each.got) for each in result.differences] == found
    assert not result.passed


def test_filters_and_mapping_are_those_of_the_settings(tmp_path: Path) -> None:
    """A test sees what a replay would do with these settings."""
    text = (
        "track: {events_filter: [A], mapping: {properties.x: metadata.y}}\n"
        "tests:\n"
        "  - {name: a, event: {type: track, userId: u, event: B}, expect_skipped: name_filtered}\n"
        "  - {name: b, event: {type: track, userId: u, event: A, properties: {x: 1}}, expect: {contains: {body: {metadata: {y: 1}}}}}\n"
    )
    assert [result.passed for result in run(tmp_path, text)] == [True, True]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (1, 1.0, True), (1, True, False), (0, False, False), (None, UNSET, False), ([1], [1], True),
        ([1], [1, 2], False), ({"a": {}}, {"a": []}, False), ("1", 1, False), ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
    ],
    ids=str,
)  # fmt: skip
def test_values_are_the_same_as_in_json(one: Any, other: Any, same: bool) -> None:
    """Numbers by value; true is no number; the order of keys does not count."""
    assert (not list(differences(one, other, partial=False))) is same


def test_a_path_shows_odd_keys_in_brackets() -> None:
    """A dot inside of a key is no step."""
    (found,) = differences({"a": [{"b.c": 1}]}, {"a": [{"b.c": 2}]}, partial=False)
    assert found == Difference(("a", 0, "b.c"), 1, 2)
    assert found.path == 'a[0]["b.c"]'


@pytest.mark.parametrize(
    ("where", "reason"),
    [("e.ndjson:1", "type_page"), ("e.ndjson:3[1]", "type_group"), ("e.gz:2", "type_screen"), ("e.ndjson:4", "not_json")],
)  # fmt: skip
def test_an_event_can_be_one_of_a_file(tmp_path: Path, where: str, reason: str) -> None:
    """FILE is looked up from the folder of the file that names it; LINE counts as in reports."""
    lines = '{"type":"page"}\n{"type":"screen"}\n[{"type":"page"},{"type":"group"}]\nx\n\n'
    (tmp_path / "e.ndjson").write_text(lines)
    (tmp_path / "e.gz").write_bytes(gzip.compress(lines.encode()))
    (result,) = run(tmp_path, one_test(f"expect_skipped: {reason}", where))
    assert result.differences == []


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("no.ndjson:1", "no.ndjson: no such file"),
        (".:1", ": no such file"),
        ("e.ndjson:9", "e.ndjson has no line 9"),
        ("e.ndjson:2", "that line is blank"),
        ("e.ndjson:1", "that line holds 2 events; name one of them, such as FILE:12[0]"),
        ("e.ndjson:1[2]", "that line holds 2 events only; the first is [0]"),
        ("e.csv:1", "this is a CSV file, not newline-delimited events."),
        ("e.ndjson", "must be an event, or where one is: FILE:LINE, such as events.ndjson:12"),
        ("e.ndjson:0", "must be an event, or where one is: FILE:LINE, such as events.ndjson:12"),
        ("[a]", "must be an event, or where one is: FILE:LINE, such as events.ndjson:12"),
    ],
)
def test_an_event_that_is_not_there_is_a_mistake_in_the_settings(
    tmp_path: Path, where: str, message: str
) -> None:
    """It has its line and column like all others, and no test runs."""
    (tmp_path / "e.ndjson").write_text('[{"type":"page"},{"type":"page"}]\n\n{"type":"page"}\n')
    (tmp_path / "e.csv").write_text("type,userId\nidentify,u1\n")
    with pytest.raises(SettingsError) as caught:
        run(tmp_path, one_test("expect_skipped: type_page", where))
    (line,) = caught.value.problems
    assert line.startswith(f"{tmp_path}/s.yaml:3:12: tests[0].event: ")
    assert line.endswith(message)


KEYS = "no such key, only `name`, `event`, `expect`, `expect_skipped`"
MISTAKES = {
    "no list": ("tests: {a: 1}", "1:8: tests: must be a list of tests, each `- name: …`"),
    "a text": ("tests: [a]", "1:9: tests[0]: must hold `name:`, `event:` and `expect:`"),
    "unknown": (one_test("expect_skipped: a\n    evnt: x"), f"5:5: tests[0].evnt: {KEYS}; did you mean event?"),
    "hostile": (one_test("expect_skipped: a\n    \"\\e[31m\": x"), f"5:5: tests[0].…: {KEYS}"),
    "no name": ("tests: [{event: {}, expect_skipped: a}]", "1:9: tests[0]: needs `name`"),
    "blank name": ("tests: [{name: ' ', event: {}, expect_skipped: a}]", "1:16: tests[0].name: a name is missing"),
    "no event": ("tests: [{name: a, expect_skipped: a}]", "1:9: tests[0]: needs `event`"),
    "null event": ("tests: [{name: a, event: null, expect_skipped: a}]", "1:26: tests[0].event: must be an event, or where one is: FILE:LINE, such as events.ndjson:12"),
    "nothing expected": ("tests: [{name: a, event: {}}]", "1:9: tests[0]: needs `expect` or `expect_skipped`; one is missing"),
    "both": (one_test("expect_skipped: a\n    expect: {contains: {method: a}}"), "2:5: tests[0]: needs `expect` or `expect_skipped`; both are given"),
    "half": (one_test("expect: {method: POST}"), "4:13: tests[0].expect: needs `path`", "4:13: tests[0].expect: needs `body`"),
    "unknown part": (one_test("expect: {contains: {boddy: {}}}"), "4:25: tests[0].expect.contains.boddy: no such key, only `method`, `path`, `body`; did you mean body?", "4:24: tests[0].expect.contains: must hold some of `method`, `path`, `body`"),
    "empty part": (one_test("expect: {contains: {}}"), "4:24: tests[0].expect.contains: must hold some of `method`, `path`, `body`"),
    "beside": (one_test("expect: {contains: {method: a}, path: b}"), "4:43: tests[0].expect: what is beside `contains` belongs below it"),
    "body": (one_test("expect: {contains: {body: 3}}"), "4:31: tests[0].expect.contains.body: must hold `field: value` lines"),
    "method": (one_test("expect: {contains: {method: [a]}}"), "4:33: tests[0].expect.contains.method: must be one value, not a list"),
    "no reason": (one_test("expect_skipped:"), "4:20: tests[0].expect_skipped: must be the reason why no request is made, such as no_id"),
    "infinite": (one_test("expect_skipped: a", "{a: 1e999}"), "3:16: tests[0].event: a number out of range; quote it to send it as text"),
    "unset": (one_test("expect_skipped: a", "{a: '${NO}'}"), "3:16: tests[0].event: the variable NO is not set; run `export NO=…`"),
    "twice": ("tests: []\ntests: []", "2:1: tests: given twice, in line 1 and in line 2; leave one out"),
    "alias": (one_test("expect_skipped: *a"), "4:21: tests.expect_skipped: an alias (*); quote the value, or write out what it stands for"),
    "test": ("test: []", "1:1: test: no such setting; did you mean tests?"),
}  # fmt: skip


@pytest.mark.parametrize("case", MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_in_a_test_is_named_with_its_place(tmp_path: Path, case: tuple[str, ...]) -> None:
    """`file:line:column: path: message`, all at once, as for every setting."""
    text, *lines = case
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, text)
    found = [line.removeprefix(f"{tmp_path}/s.yaml:") for line in caught.value.problems]
    assert sorted(found) == sorted(lines)


def test_files_beside_the_settings_hold_tests_too(tmp_path: Path) -> None:
    """Every `*.test.yaml` in that folder, in order of name; hidden ones are an editor's."""
    (tmp_path / "b.test.yaml").write_text(one_test("expect_skipped: b"))
    (tmp_path / "a.test.yaml").write_text("tests: null")
    (tmp_path / ".c.test.yaml").write_text("tests: 3")
    found = read(tmp_path, one_test("expect_skipped: s"))
    assert [(test.file.name, test.expect) for test in found] == [("s.yaml", "s"), ("b.test.yaml", "b")]


def test_mistakes_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    """A test file holds nothing but tests."""
    (tmp_path / "b.test.yaml").write_text("track: {}\n")
    (tmp_path / "c.test.yaml").write_text("tests: [}")
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, "trak: {}")
    lines = [line.removeprefix(f"{tmp_path}/").split(": ", 1)[0] for line in caught.value.problems]
    assert lines == ["s.yaml:1:1", "b.test.yaml:1:1", "c.test.yaml:1:9"]
    assert "track: no such key, only `tests`" in caught.value.problems[1]


def test_without_a_settings_file_the_working_directory_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default mapping can be tested, too."""
    monkeypatch.chdir(tmp_path)
    Path("a.test.yaml").write_text(one_test("expect_skipped: a"))
    assert len(load_with_tests(None, environment={})[1]) == 1


def test_tests_do_not_hold_up_a_replay(tmp_path: Path) -> None:
    """What shapes no request is no mistake there."""
    file = tmp_path / "s.yaml"
    file.write_text("track: {disabled: true}\ntests: [nonsense]\n")
    assert load(file, environment={}).track.disabled


UPDATES = {
    "a value, with comments around": (
        "expect:  # why\n      method: POST\n      path: /v1/customers\n      body:\n        # the id\n        source_id: u1\n        email: a@b.c\n        name: 'Bob'  # who\n",
        "expect:  # why\n      method: POST\n      path: /v1/customers\n      body:\n        # the id\n        source_id: u1\n        email: a@b.c\n        name: Ann  # who\n",
    ),
    "a key more and a key less": (
        "expect:\n      method: POST\n      path: /v1/customers\n      body:  # what\n        gone: 1  # old\n        source_id: u1  # id\n        email: a@b.c\n\n  # next\n",
        "expect:\n      method: POST\n      path: /v1/customers\n      body:  # what\n        source_id: u1  # id\n        email: a@b.c\n        name: Ann\n\n  # next\n",
    ),
    "braces": (
        "expect: {method: POST, path: /v1/customers, body: {source_id: u1}}  # all",
        "expect: {method: POST, path: /v1/customers, body: {source_id: u1, name: Ann, email: a@b.c}}  # all",
    ),
    "a part stays a part": (
        "expect:\n      contains:\n        body: {name: Bob, gone: 1}  # who",
        "expect:\n      contains:\n        body: {name: Ann}  # who",
    ),
    "a request where none was": (
        "expect_skipped: no_id  # odd",
        "expect:  # odd\n      method: POST\n      path: /v1/customers\n      body:\n        source_id: u1\n        name: Ann\n        email: a@b.c",
    ),
    "a text becomes an object": ("expect:\n      contains:\n        body:\n          source_id: {a: 1}", "expect:\n      contains:\n        body:\n          source_id: u1"),
    "nothing is left of a part": ("expect: {contains: {body: {gone: 1}}}", None),
    "a block text": ("expect:\n      contains:\n        path: |\n          /x\n        body:\n          name: >-\n            Bob\n            B\n          email: a@b.c", None),
    "lines that begin like the key": ("expect:\n      contains:\n        body:\n          name:\n          - Bob\n          email: a@b.c", None),
    "alignment and the quotes of another value": (
        "expect:\n      contains:\n        body:\n          name:       'Bob'  # who\n          source_id:  \"u1\"",
        "expect:\n      contains:\n        body:\n          name:       Ann  # who\n          source_id:  \"u1\"",
    ),
    "a comment below a key that goes": (
        "expect:\n      contains:\n        body:\n          gone: 1  # old\n          # the id\n          source_id: u1\n          name: Bob",
        "expect:\n      contains:\n        body:\n          # the id\n          source_id: u1\n          name: Ann",
    ),
    "a comment below an object that goes": (
        "expect:\n      contains:\n        body:\n          gone:\n            a:\n              - 1\n          # the id\n          source_id: u1\n          name: Ann",
        "expect:\n      contains:\n        body:\n          # the id\n          source_id: u1\n          name: Ann",
    ),
    "indentation by four and a long line": (
        f"expect:\n        method: POST\n        path: /v1/customers\n        body:\n            source_id: u1\n            phone: {'long ' * 40}x",
        "expect:\n        method: POST\n        path: /v1/customers\n        body:\n            source_id: u1\n            name: Ann\n            email: a@b.c",
    ),
    "braces over two lines": (
        "expect: {method: POST,   # how\n      path:  /v1/customers, body: {source_id: u1,\n      email: 'a@b.c', name: Bob}}",
        "expect: {method: POST,   # how\n      path:  /v1/customers, body: {source_id: u1,\n      email: 'a@b.c', name: Ann}}",
    ),
    "an empty value": ("expect:\n      contains:\n        body:\n          name:\n          email:", None),
}  # fmt: skip


@pytest.mark.parametrize(("before", "after"), UPDATES.values(), ids=UPDATES.keys())
def test_an_update_touches_the_expectation_only(tmp_path: Path, before: str, after: str | None) -> None:
    """Comments, order and style stay, and the test passes then."""
    head, tail = "# mine\ntrack:\n    disabled:   false\n\n", "\n# the end"
    new = updated(tmp_path, head + one_test(before) + tail)
    assert new.startswith(head + one_test("", IDENTIFY).rstrip())
    assert new.endswith(tail)
    if after is not None:
        assert new == head + one_test(after) + tail


@pytest.mark.parametrize(
    "text", ["2024-01-01", "yes", "on", "0x1F", "1:30", "~", "1_000", "<<", "=", "true", "1e3"]
)
def test_a_text_that_other_programs_read_otherwise_is_quoted(tmp_path: Path, text: str) -> None:
    """YAML 1.1 reads dates, numbers and booleans in more spellings than the settings do."""
    event = f"{{type: identify, userId: u1, traits: {{name: '{text}'}}}}"
    new = updated(tmp_path, one_test("expect: {contains: {body: {name: x}}}", event))
    assert f"name: '{text}'}}}}}}" in new
    assert yaml.safe_load(new)["tests"][0]["expect"]["contains"]["body"]["name"] == text


def test_an_update_keeps_line_ends_mark_and_permissions(tmp_path: Path) -> None:
    """The file is replaced in one step, also behind a link."""
    file, link = tmp_path / "real.yaml", tmp_path / "s.yaml"
    text = one_test("expect: {contains: {body: {name: Bob}}}").replace("\n", "\r\n")
    file.write_bytes(b"\xef\xbb\xbf" + text.encode())
    file.chmod(0o640)
    link.symlink_to("real.yaml")
    update(run_tests(*load_with_tests(link, environment={})[:2]), {})
    assert file.read_bytes() == b"\xef\xbb\xbf" + text.replace("Bob", "Ann").encode()
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert link.is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["real.yaml", "s.yaml"]


def test_only_failing_tests_are_written_anew(tmp_path: Path) -> None:
    """One that passes stays as it is, however it is written."""
    passing = '  - "name": "b"\n    event: {"type": "page"}\n    "expect_skipped": "type_page"\n'
    new = updated(tmp_path, one_test("expect_skipped: x") + passing)
    assert new.endswith(passing)


def test_what_cannot_be_written_safely_is_refused_and_the_rest_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text is read again before the file is touched; if it says anything else, nothing is written."""
    text = one_test("expect: {contains: {body: {name: Bob}}}")
    monkeypatch.setattr(rewriting, "_in_braces", lambda _value: "broken: [")
    results = run(tmp_path, text)
    (updates,) = update(results, {}).values()
    assert [refused for _, refused in updates] == [
        "cannot be updated in the style that it has; write `expect:` as indented lines"
    ]
    assert (tmp_path / "s.yaml").read_text() == text


def test_an_update_says_when_a_file_cannot_be_written(tmp_path: Path) -> None:
    """The file may have gone meanwhile."""
    results = run(tmp_path, one_test("expect_skipped: x"))
    (tmp_path / "s.yaml").unlink()
    with pytest.raises(UsageProblem, match="cannot be written"):
        update(results, {})


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    [
        "no",
        "1",
        "null",
        "${A}",
        "$$",
        "- a",
        "a: b",
        "#",
        "",
        " ",
        "a, b",
        "{",
        "'",
        '"',
        "\x85",
        "\x1b[1m",
        "<<",
        "~",
    ]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts.filter(lambda text: text != "<<"), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip
bodies = st.dictionaries(texts.filter(lambda text: text != "<<"), values, max_size=4)


@given(old=bodies, new=bodies, flow=st.sampled_from([None, True, False]), partial=st.booleans())
@settings(max_examples=150)
def test_any_body_can_become_any_other(
    tmp_path: Path, old: Any, new: Any, flow: bool | None, partial: bool
) -> None:
    """However it is written: either the file says exactly what is wanted, or it is refused; all else stays."""
    before, wanted = ({"method": "POST", "path": "/", "body": body} for body in (old, new))
    expect = {"contains": before} if partial else before
    test = {"name": "a", "event": {"type": "page"}, "expect": rewriting.escaped(expect)}
    text = (
        f"# kept\n{yaml.safe_dump({'tests': [test, test]}, default_flow_style=flow, sort_keys=False)}# kept\n"
    )
    file = tmp_path / "s.yaml"
    try:
        tests = read(tmp_path, text)
    except SettingsError:
        return  # PyYAML writes some texts in a way that our reader takes for numbers or nulls
    changed = rewriting.rewrite(text, file, 1, Expected(wanted, partial), {})
    after = read(tmp_path, changed)
    assert after[0] == tests[0]
    assert isinstance(after[1].expect, Expected)
    assert not list(differences(wanted, after[1].expect.request, partial=False))
    assert changed.startswith("# kept\n")
    assert changed.endswith("# kept\n")


def test_a_part_looks_at_the_same_fields_after_an_update() -> None:
    """Keys that are gone leave it; others do not come in."""
    made = {"a": {"x": 1, "y": 2}, "b": [{"c": 1, "d": 2}], "e": 3}
    assert narrowed(made, {"a": {"y": 0, "z": 0}, "b": [{"d": 0}], "f": 0}) == {
        "a": {"y": 2},
        "b": [{"d": 2}],
    }


def test_junit_tells_ci_what_failed(tmp_path: Path) -> None:
    """One suite a file, a case a test, the differences as the failure."""
    (tmp_path / "b.test.yaml").write_text(one_test("expect_skipped: x", "{type: page}"))
    root = ET.fromstring(junit(run(tmp_path, one_test("expect: {contains: {method: POST}}"))))
    assert root.attrib.items() >= {"tests": "2", "failures": "1"}.items()
    assert [suite.get("failures") for suite in root] == ["0", "1"]
    case = root[1][0]
    assert (case.get("name"), case.get("classname"), case.get("line")) == ("a", "b.test.yaml", "2")
    (failure,) = case
    assert failure.text == 'skipped: expected "x", got "type_page"'


def test_hostile_names_and_values_leave_xml_well_formed() -> None:
    """Control signs become escapes, markup is escaped."""
    name = "\x1b[31m</testcase>]]>\u202e\ud800\x00"
    test = MappingTest(name, {}, "x", Path("a\x01.yaml"), 0, LineColumn(1, 1), LineColumn(1, 1))
    text = junit([MappingResult(test, None, "y", [Difference((name,), {name: 1}, UNSET)], 0.0)])
    case = ET.fromstring(text)[0][0]
    assert case.get("name") == "\\u001b[31m</testcase>]]>\u202e\\ud800\\u0000"
    assert case[0].get("message", "").endswith("got nothing")


def test_a_rewrite_of_an_unreadable_text_is_no_update(tmp_path: Path) -> None:
    """Someone else may have changed the file since it was read."""
    with pytest.raises((SettingsError, Mistake)):
        rewriting.rewrite("tests: [", tmp_path / "s.yaml", 0, "x", {})


def test_an_order_is_expected_and_brought_up_to_date_as_its_event_alone_makes_it(tmp_path: Path) -> None:
    """Its path is that of the import, its body one order."""
    text = (
        "orders: {disabled: false, add: {metadata.shop: x}}\ntests:\n- name: order\n"
        "  event: {type: track, event: Order Refunded, userId: u1, properties: {order_id: o, total: 3}}\n"
        "  expect: {method: POST, path: /v1/orders/import, body: {source_id: o}}\n"
    )
    assert [result.passed for result in run(tmp_path, text)] == [False]
    (test,) = yaml.safe_load(updated(tmp_path, text))["tests"]
    assert test["expect"]["body"] == {
        "source_id": "o",
        "status": "CANCELED",
        "amount": 300,
        "customer": {"source_id": "u1"},
        "metadata": {"shop": "x"},
    }
