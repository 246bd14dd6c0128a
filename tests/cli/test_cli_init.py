"""`init --schema` and `init --from`, as one runs them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from support.cli import Cli
from support.settings_text import loaded, uncommented

from voucherify_sync.paths import parse_source, path_of, read
from voucherify_sync.preview.suggestions import MAX_LINES, SAMPLE, SampleCounts, sample, settings_text
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


def test_from_writes_what_the_events_hold(run_cli: Cli, samples: Path, tmp_path: Path) -> None:
    """With counts, and commented out: the file changes nothing by itself."""
    ended = run_cli("init", "--from", samples)
    assert (ended.code, ended.out) == (0, "")
    text = (tmp_path / "voucherify-sync.yaml").read_text()
    assert f"records of {samples}: 23 identify and 58 track events." in text
    assert "    #- Order Completed  # 13 of 58\n" in text
    assert "    #traits.email: customer.email  # 16 of 23\n" in text
    assert "    #traits.loyalty_tier: customer.metadata.loyalty_tier  # 7 of 23\n" in text
    assert "    #properties.order_id: metadata.order_id  # 18 of 58\n" in text
    assert loaded(tmp_path, text) == Settings()
    assert "loyalty_tier" in str(loaded(tmp_path, uncommented(text)).identify.mapping)
    assert list(Draft202012Validator(json_schema()).iter_errors(yaml.safe_load(uncommented(text)))) == []
    assert run_cli("check").code == 0


def test_from_reads_pipes_and_several_sources(run_cli: Cli, samples: Path) -> None:
    """As `replay` does."""
    line = '{"type":"track","event":"A","userId":"u"}\n'
    ended = run_cli("init", "--from", "-", "--from", samples, stdin=line)
    assert ended.code == 0
    assert "    #- A  # 1 of 59\n" in (run_cli.folder / "voucherify-sync.yaml").read_text()


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


def counts_of(file: Path) -> SampleCounts:
    """Return what a sample of a file holds."""
    counts = SampleCounts()
    list(sample(Reader(find_sources([str(file)], stdin_is_terminal=True).sources, Stop()), counts))
    return counts


def found_of(names: list[str]) -> SampleCounts:
    """Return what events hold that use these texts for everything."""
    keys = {(name,): 2 for name in names}
    addresses = {("address", name): 1 for name in names}
    return SampleCounts(9, 4, 5, dict.fromkeys(names, 3), keys | addresses, keys)


def test_hostile_names_stand_safely_and_can_be_uncommented(tmp_path: Path) -> None:
    """No name leaves its line, and each row reads the very key."""
    text = settings_text(found_of(HOSTILE), "\x1b[31m\nevil: yes")
    assert all(line.isprintable() for line in text.splitlines())
    assert loaded(tmp_path, text) == Settings()
    effective = loaded(tmp_path, uncommented(text))
    assert set(effective.track.events_filter) == set(HOSTILE)
    for name in HOSTILE:
        assert effective.identify.mapping[path_of("traits", name)] == [path_of("customer", "metadata", name)]
        assert effective.track.mapping[path_of("properties", name)] == [path_of("metadata", name)]


keys = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


@given(names=st.lists(keys, max_size=5, unique=True))
@settings(max_examples=100)
def test_any_name_stands_safely(tmp_path: Path, names: list[str]) -> None:
    """Whatever events are named, both files load."""
    text = settings_text(found_of(names), "events")
    assert loaded(tmp_path, text) == Settings()
    loaded(tmp_path, uncommented(text))


@given(names=st.lists(keys, min_size=1, max_size=3))
def test_a_path_of_keys_reads_what_lies_at_them(names: list[str]) -> None:
    """Odd keys go into brackets."""
    value: object = "here"
    for name in reversed(names):
        value = {name: value}
    assert read(value, parse_source(path_of(*names))) == "here"


def test_of_many_names_the_most_frequent_are_written(tmp_path: Path) -> None:
    """The rest is counted; a name too long for a line is among it."""
    many = {f"n{number}": number for number in range(100_000)} | {"x" * 400: 10**6}
    found = SampleCounts(1, 1, 1, many, {(name,): count for name, count in many.items()}, {})
    text = settings_text(found, "e")
    assert text.count("    #- n") == MAX_LINES
    assert "    # … and 99,801 names more\n" in text
    assert "    # … and 99,801 traits more\n" in text
    assert loaded(tmp_path, text) == Settings()


def test_no_more_than_a_sample_is_read(tmp_path: Path) -> None:
    """Of 100,000 distinct traits only so many are kept, the others are counted."""
    file = tmp_path / "e.ndjson"
    traits = json.dumps({"type": "identify", "traits": {f"t{number}": 1 for number in range(30_000)}})
    file.write_text(traits + "\n" + '{"type":"track","event":"A"}\nbroken\n' * SAMPLE)
    found = counts_of(file)
    assert (found.records, found.identifies, found.tracks) == (SAMPLE, 1, SAMPLE // 2)
    assert (len(found.traits), found.uncounted) == (20_000, 10_000)


def test_nulls_and_odd_traits_count_for_nothing(tmp_path: Path) -> None:
    """A null is as if it were not there; an address is taken apart."""
    file = tmp_path / "e.ndjson"
    lines = [
        '{"type":"identify","traits":{"a":null,"address":{"city":1},"b":{"c":1}}}',
        '{"type":"identify","traits":[1]}',
    ]
    file.write_text("\n".join(lines))
    found = counts_of(file)
    assert found.traits == {("address", "city"): 1, ("b",): 1}
