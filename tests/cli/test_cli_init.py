"""`init --schema` and `init --from`, as one runs them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from support.cli import Cli
from support.replays import write_events
from support.segment_events import identify, track
from support.settings_text import loaded, uncommented

from voucherify_sync.paths import parse_source, path_of, read
from voucherify_sync.preview import suggestions
from voucherify_sync.preview.coverage import Coverage
from voucherify_sync.preview.pasted_settings import MAX_LINES, settings_text
from voucherify_sync.preview.suggestions import SAMPLE, SampleCounts, sample
from voucherify_sync.settings import Settings, json_schema, template
from voucherify_sync.sources.discover import find_sources
from voucherify_sync.sources.reader import Reader
from voucherify_sync.stop import Stop

HOSTILE = [
    "\x1b[31m",
    "a: b",
    "- x",
    "#",
    "'",
    '"',
    "\\",
    "a\nb",
    "a.b",
    "[0]",
    "*",
    "x.*",
    "${HOME}",
    "$$",
    "\u202e",
]
HOSTILE += [
    "<script>",
    "&a",
    "!t",
    "%",
    "@",
    "`",
    "{}",
    "null",
    "1e5",
    "no",
    "😀",
    "a b",
    "a\u2028",
    "?",
    "a]b",
    "\x85b",
]


def test_schema_prints_the_schema_that_the_file_names(run_cli: Cli) -> None:
    """The line at the top of a settings file and the command beside it belong together."""
    ended = run_cli("init", "--schema")
    assert (ended.code, ended.err) == (0, "")
    assert json.loads(ended.out) == json_schema()
    first, _, command = template().splitlines()[:3]
    assert first == "# yaml-language-server: $schema=./voucherify-sync.schema.json"
    assert command == "# voucherify-sync init --schema > voucherify-sync.schema.json"
    assert not (run_cli.folder / "voucherify-sync.yaml").exists()


def test_schema_takes_nothing_beside(run_cli: Cli) -> None:
    """A file that would not be written is not named."""
    assert run_cli("init", "--schema", "s.yaml").code == 2
    assert run_cli("init", "--schema", "--from", "x").code == 2


@pytest.mark.parametrize(
    ("tests", "good"),
    [
        ([{"name": "a", "event": {}, "expect_skipped": "x"}], True),
        ([{"name": "a", "event": "f.ndjson:3[1]", "expect": {"contains": {"method": "POST"}}}], True),
        (None, True),
        ([{"name": "a", "event": "f.ndjson", "expect_skipped": "x"}], False),
        ([{"name": "a", "event": {}}], False),
        ([{"name": "a", "event": {}, "expect": {"method": "POST"}}], False),
        ([{"name": "a", "event": {}, "expect_skipped": "x", "expect": {"contains": {"path": "/"}}}], False),
        ([{"name": "a", "event": {}, "expect_skipped": "x", "more": 1}], False),
        ({}, False),
    ],
    ids=str,
)
def test_the_schema_knows_mapping_tests(tests: object, good: bool) -> None:
    """Editors complete and check them, too."""
    assert (not list(Draft202012Validator(json_schema()).iter_errors({"tests": tests}))) is good


def test_from_writes_rows_for_what_the_events_hold(run_cli: Cli, samples: Path, tmp_path: Path) -> None:
    """With counts; what a person should decide on is a comment, and so are the names of the events."""
    ended = run_cli("init", "--from", samples)
    assert (ended.code, ended.out) == (0, "")
    text = (tmp_path / "voucherify-sync.yaml").read_text()
    assert f"# init read 87 records of {samples}: 23 identify and 58 track events.\n" in text
    assert re.search(r"^    #- Order Completed +# 13 of 58$", text, re.MULTILINE)
    assert re.search(
        r"^    traits.loyalty_tier: customer.metadata.loyalty_tier +# 7 of 23$", text, re.MULTILINE
    )
    assert re.search(r"^    properties.order_id: metadata.order_id +# 17 of 57$", text, re.MULTILINE)
    effective = loaded(tmp_path, text)
    assert effective.identify.extend_default is True
    assert effective.track.extend_default is False
    assert effective.track.mapping["properties.name"] == ["metadata.name"]
    assert effective.track.mapping["messageId"] == ["metadata.segment_message_id"]
    assert effective.track.mapping["timestamp"] == ["metadata.occurred_at"]
    assert effective.track.add == {"metadata.replayed": True}
    assert "properties.recipient_email" not in effective.track.mapping
    assert "properties.recipient_email" in loaded(tmp_path, uncommented(text)).track.mapping
    assert list(Draft202012Validator(json_schema()).iter_errors(yaml.safe_load(uncommented(text)))) == []
    assert run_cli("check").code == 0


def test_from_says_what_it_found_and_what_comes_next(run_cli: Cli, samples: Path) -> None:
    """In three lines, and with the names that the user gave."""
    told = run_cli("init", "my file.yaml", "--from", samples).err.splitlines()
    assert told[:3] == [
        f"Read 87 records of {samples}: 23 identify and 58 track events, of 34 names.",
        (
            "The default table maps 27.4 % of 321 values: 10 traits and 64 properties have no place in it. "
            "The file holds rows for them."
        ),
        "1 row waits as a comment for your decision: properties.recipient_email",
    ]
    commands = [line.split("  ")[1] for line in told if line.startswith("  voucherify-sync")]
    assert commands == [
        "voucherify-sync check -c 'my file.yaml'",
        f"voucherify-sync coverage -c 'my file.yaml' {samples}",
        f"voucherify-sync plan -c 'my file.yaml' {samples}",
        f"voucherify-sync replay -c 'my file.yaml' {samples}",
    ]


@pytest.mark.parametrize(
    ("traits", "told"),
    [
        (
            {},
            "2 traits have no place in it. The file holds no rows for what is rare, too many, or named by numbers.",
        ),
        (
            {"plan": "x"},
            "The file holds rows for them, except for 2: rare, too many, or named by numbers.",
        ),
    ],
    ids=["only-rare", "some-rare"],
)
def test_from_says_which_values_get_no_row(run_cli: Cli, traits: dict[str, str], told: str) -> None:
    """It promises no rows that are not there."""
    rare = {7: {"one": 1}, 8: {"other": 1}}
    events = [
        {"type": "identify", "userId": "u1", "traits": {"email": "a@b.pl", **traits, **rare.get(number, {})}}
        for number in range(2_500)
    ]
    ended = run_cli("init", "-", "--from", write_events(run_cli.folder, *events))
    assert told in ended.err


def test_from_reads_pipes_and_several_sources(run_cli: Cli, samples: Path) -> None:
    """As `replay` does."""
    line = '{"type":"track","event":"A","userId":"u"}\n'
    ended = run_cli("init", "--from", "-", "--from", samples, stdin=line)
    assert ended.code == 0
    assert re.search(r"    #- A +# 1 of 59\n", (run_cli.folder / "voucherify-sync.yaml").read_text())


@pytest.mark.parametrize("source", ["no.ndjson", "e.csv"])
def test_from_a_source_that_cannot_be_read_writes_nothing(run_cli: Cli, source: str) -> None:
    """The error is the one of `replay`."""
    (run_cli.folder / "e.csv").write_text("type,userId\nidentify,u1\n")
    assert run_cli("init", "--from", source).code == 2
    assert not (run_cli.folder / "voucherify-sync.yaml").exists()


def test_a_file_that_is_there_stops_it_before_anything_is_read(run_cli: Cli) -> None:
    """Nobody waits for a sample in vain."""
    (run_cli.folder / "voucherify-sync.yaml").write_text("mine")
    ended = run_cli("init", "--from", "no.ndjson")
    assert (ended.code, "is there already" in ended.err) == (2, True)
    assert "voucherify-sync init --from no.ndjson FILE" in ended.err
    assert "voucherify-sync coverage -c voucherify-sync.yaml no.ndjson" in ended.err


def counts_of(file: Path) -> SampleCounts:
    """Return what a sample of a file holds."""
    counts = SampleCounts()
    list(sample(Reader(find_sources([str(file)], stdin_is_terminal=True).sources, Stop()), counts))
    return counts


def text_of(names: list[str], named: str = "events") -> str:
    """Return the settings file for events that use these texts for everything."""
    given: dict[str, Any] = {**dict.fromkeys(names, 2), "address": dict.fromkeys(names, 1)}
    coverage = Coverage(Settings())
    coverage.add([identify(given), track(dict.fromkeys(names, 2))])
    return settings_text(coverage.report(), SampleCounts(9, 4, 5, dict.fromkeys(names, 3)), named)


def test_hostile_names_stand_safely_and_can_be_uncommented(tmp_path: Path) -> None:
    """No name leaves its line, and each row reads the very key."""
    text = text_of(HOSTILE, "\x1b[31m\nevil: yes")
    assert all(line.isprintable() for line in text.splitlines())
    effective = loaded(tmp_path, text)
    for name in HOSTILE:
        assert effective.identify.mapping[path_of("traits", name)] == [path_of("customer", "metadata", name)]
        assert effective.track.mapping[path_of("properties", name)] == [path_of("metadata", name)]
    assert set(loaded(tmp_path, uncommented(text)).track.events_filter) == set(HOSTILE)


keys = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


@given(names=st.lists(keys, max_size=5, unique=True))
@settings(max_examples=100)
def test_any_name_stands_safely(tmp_path: Path, names: list[str]) -> None:
    """Whatever events are named, both files load."""
    text = text_of(names)
    loaded(tmp_path, text)
    loaded(tmp_path, uncommented(text))


@given(names=st.lists(keys, min_size=1, max_size=3))
@example(names=["$", "0"])
def test_a_path_of_keys_reads_what_lies_at_them(names: list[str]) -> None:
    """Odd keys go into brackets."""
    value: object = "here"
    for name in reversed(names):
        value = {name: value}
    assert read(value, parse_source(path_of(*names))) == "here"


def test_of_many_names_the_most_frequent_are_written(tmp_path: Path) -> None:
    """The rest is counted; a name too long for a line is among it."""
    many = {f"n{number}": number for number in range(100_000)} | {"x" * 400: 10**6}
    text = settings_text(Coverage(Settings()).report(), SampleCounts(1, 1, 1, many), "e")
    assert len(re.findall("^    #- n", text, re.MULTILINE)) == MAX_LINES
    assert "    # … and 99,801 names more\n" in text
    assert loaded(tmp_path, text) == Settings()


def test_no_more_than_a_sample_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more distinct names only the first are kept, the others are counted."""
    file = tmp_path / "e.ndjson"
    lines = [f'{{"type":"track","event":"e{number}"}}\nbroken\n' for number in range(SAMPLE)]
    file.write_text('{"type":"identify"}\n' + "".join(lines))
    monkeypatch.setattr(suggestions, "_MAX_NAMES", 1_000)
    found = counts_of(file)
    assert (found.records, found.identifies, found.tracks) == (SAMPLE, 1, SAMPLE // 2)
    assert (len(found.names), found.uncounted) == (1_000, SAMPLE // 2 - 1_000)
