"""Writes settings as YAML: the files of `init`, and the parts that `coverage` shows to be pasted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from voucherify_sync.preview.mapping_tests import run_tests
from voucherify_sync.preview.suggestions import MAX_NAME_LENGTH, RENAMING_ROW, SAMPLE, Proposal, SampleCounts
from voucherify_sync.settings import BlockPlace, Expected, MappingTest, Settings, template
from voucherify_sync.settings.load import parsed
from voucherify_sync.settings.segment_import import SegmentImport
from voucherify_sync.settings.template import TESTS_HEADING, escaped, lines_of, to_yaml
from voucherify_sync.settings.yaml_nodes import LineColumn
from voucherify_sync.text import by_count, counted, on_one_line

if TYPE_CHECKING:
    from voucherify_sync.preview.coverage import CoverageReport

MAX_LINES: Final = 200
"""Names of events that `init` writes, at most."""

_NOTE_COLUMN: Final = 76
"""Notes stand in one column; that of a longer line stands behind it."""

_ROWS_HELP: Final = (
    "Rows of source: destination, with the number of events that hold the value; skipped ones do not count."
)
_MAPPING_HELPS: Final = {
    "identify": f"{_ROWS_HELP} They are added to the default table, which fills name, email, phone, description and "
    "address of the customer.",
    "track": f"{_ROWS_HELP} They stand in place of the default table, which has two rows more: "
    f"{RENAMING_ROW} would rename the customers of a shop to products, and properties.description: "
    "customer.description would give them the descriptions.",
}
_EXTEND_HELPS: Final = {
    True: "true: the rows above and the default table apply. false: only the rows above.",
    False: "false: only the rows above apply. true: the default table, too.",
}
"""What a file with rows says in place of the help of the settings."""


def pasted_yaml(proposals: Mapping[str, Proposal], places: Mapping[str, BlockPlace], file: str) -> str:
    """Return what is proposed as text for a settings file; empty if there is nothing.

    Without a file it is a whole file. Else it comes in parts, each below a comment that says where it belongs: the last
    part of the file first, so that the numbers of the lines above stay true while one pastes.

    Args:
        proposals: by type of event.
        places: of the keys that stand in the file.
        file: its name.
    """
    parts: list[tuple[float, str]] = []
    for kind, proposed in proposals.items():
        if proposed.row_texts or proposed.extend_default is not None:
            parts += _parts(kind, proposed, places)
    if not places:
        return "".join(text for _, text in parts)
    return "".join(text.replace("{file}", on_one_line(file), 1) for _, text in sorted(parts, reverse=True))


def _parts(kind: str, proposed: Proposal, places: Mapping[str, BlockPlace]) -> Iterator[tuple[float, str]]:
    """Yield the parts of a section, each with the line of the file below which it belongs."""
    blocks = _blocks(proposed)
    section = places.get(kind)
    if section is None or not section.is_block:
        lines = [f"{kind}:", *_indented(_below(blocks), 2)]
        heading = "At the end of {file}:" if places else ""
        if section is not None:
            heading = f"Line {section.line} of {{file}}: write `{kind}:` as lines, such as these:"
        yield (float("inf") if section is None else section.line), _part(heading, lines)
        return
    indent = section.inner_indent or section.indent + 2
    missing = {name: lines for name, lines in blocks.items() if f"{kind}.{name}" not in places}
    for name in blocks.keys() - missing.keys():
        place = places[f"{kind}.{name}"]
        if name == "mapping" and place.is_block and place.inner_indent is None:
            # There is no row yet that would be cut off, so that all of it makes one part.
            yield place.line, _part_below(kind, name, place, blocks[name], _indented(_below(missing), indent))
            missing = {}
        else:
            yield place.line, _part_below(kind, name, place, blocks[name], [])
    if missing:
        heading = f"Line {section.line} of {{file}}, below `{kind}:`"
        yield section.line, _part(heading, _indented(_below(missing), indent))


def _part_below(kind: str, name: str, place: BlockPlace, lines: list[str], behind: list[str]) -> str:
    """Return the lines of a setting that stands in the file already, and those that follow them."""
    line = f"Line {place.line} of {{file}}"
    if name == "extend_default":
        return _part(f"{line}: write", _indented(lines, place.indent))
    if not place.is_block:
        heading = f"{line}: write `{name}:` as lines, and add these"
        return _part(heading, _indented([f"{name}:", *_indented(lines, 2)], place.indent))
    inner = place.indent + 2 if place.inner_indent is None else place.inner_indent
    return _part(f"{line}, below `{name}:` of {kind}", [*_indented(lines, inner), *behind])


def _below(blocks: Mapping[str, list[str]]) -> Iterator[str]:
    """Yield the settings of a section with their lines."""
    for name, lines in blocks.items():
        if name == "extend_default":
            yield from lines
        else:
            yield f"{name}:"
            yield from _indented(lines, 2)


def _indented(lines: Iterable[str], indent: int) -> list[str]:
    return [" " * indent + line for line in lines]


def _part(heading: str, lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in ([f"# {heading}"] if heading else []) + list(lines))


def settings_text(report: CoverageReport, counts: SampleCounts, named: str) -> str:
    """Return the text of a settings file whose rows map what a sample holds.

    Args:
        report: coverage of the sample with the default settings.
        counts: of the sample.
        named: the sources as the user named them.
    """
    first = (
        f"the first {counts.records:,} records"
        if counts.records == SAMPLE
        else counted(counts.records, "record")
    )
    introduction = (
        f"#\n# init read {first} of {on_one_line(named)}: {counts.identifies:,} identify and {counts.tracks:,} track "
        "events.\n"
        "# The rows below map what it found: delete what you do not need.\n"
    )
    if counts.uncounted:
        introduction += (
            f"# Names beyond the limit of init are not counted; they occurred {counts.uncounted:,} times.\n"
        )
    examples: dict[str, Iterable[str]] = {}
    helps: dict[str, str] = {}
    for kind, section in report.sections.items():
        proposed = section.proposal
        if not proposed.row_texts:
            continue
        examples |= {f"{kind}.{name}": lines for name, lines in _blocks(proposed).items()}
        helps[f"{kind}.mapping"] = _MAPPING_HELPS[kind]
        if proposed.extend_default is not None:
            helps[f"{kind}.extend_default"] = _EXTEND_HELPS[proposed.extend_default]
    if counts.names:
        examples["track.events_filter"] = _name_lines(counts.names, counts.tracks)
    return template(introduction, examples, helps)


_IMPORTED_ROWS: Final = "Rows of source: destination, as at Segment. The default table does not apply."
_ROWS_BESIDE_ENTRIES: Final = (
    "Rows of source: destination for events without an entry above; events_filter sends none of them."
)
_PERSON: Final = {
    "name": "Mia Hoffmann",
    "first_name": "Mia",
    "last_name": "Hoffmann",
    "firstName": "Mia",
    "lastName": "Hoffmann",
    "email": "mia@example.com",
    "phone": "+49 30 1234567",
    "address": {"city": "Berlin", "postal_code": "10115", "postalCode": "10115"},
}
_SAMPLES: Final[dict[str, dict[str, Any]]] = {
    "identify": {"traits": _PERSON},
    "track": {
        "event": "Order Completed",
        "properties": {"order_id": "o-1001", "total": 49.9, "email": "mia@example.com"},
    },
    "page": {"name": "Pricing", "properties": {"path": "/pricing", "title": "Pricing"}},
    "screen": {"name": "Checkout", "properties": {"email": "mia@example.com"}},
    "group": {"groupId": "g-1001", "traits": {"name": "Example Ltd", "plan": "pro"}},
}
"""Type of event -> what a mapping test of an imported file has as its event."""


def imported_text(imported: SegmentImport, files: Iterable[str]) -> str:
    """Return the text of a settings file with what was taken of a configuration at Segment.

    Its mapping tests expect what its own mapping makes of an event of each type that is sent.

    Args:
        imported: what was taken.
        files: of the configuration, as the user named them.
    """
    named = ", ".join("standard input" if file == "-" else on_one_line(file) for file in files)
    introduction = f"#\n# init wrote the values of a destination at Segment into it, from {named}.\n"
    if imported.left_out:
        introduction += "# Left out:\n" + "".join(f"# - {on_one_line(line)}\n" for line in imported.left_out)
    values = {path: value for path, value in imported.values.items() if value not in ({}, [])}
    lines = {path: lines_of(path, value, imported.remarks.get(path, "")) for path, value in values.items()}
    helps = dict.fromkeys((path for path in values if path.endswith(".mapping")), _IMPORTED_ROWS)
    if "track.events" in values and "track.mapping" not in values:
        helps["track.mapping"] = _ROWS_BESIDE_ENTRIES
    settings, _ = parsed(template(introduction, lines, helps, tests=""))
    return template(introduction, lines, helps, TESTS_HEADING + to_yaml({"tests": list(_samples(settings))}))


def _samples(settings: Settings) -> Iterator[dict[str, Any]]:
    """Yield a mapping test for each type of event that is sent, with what becomes of it as its expectation."""
    tests: list[MappingTest] = []
    for kind, fields in _SAMPLES.items():
        if getattr(settings, kind).disabled:
            continue
        event = {"type": kind, "userId": "u-1001", **fields}
        if kind == "track" and settings.track.events_filter:
            event["event"] = settings.track.events_filter[0]
        name, place = f"{kind} events", LineColumn(1, 1)
        tests.append(MappingTest(name, event, "", Path(), len(tests), place, place))
    for result in run_tests(settings, tests):
        expected = result.expectation
        outcome = (
            {"expect": expected.request} if isinstance(expected, Expected) else {"expect_skipped": expected}
        )
        yield escaped({"name": result.test.name, "event": result.test.event, **outcome})


def _name_lines(names: dict[str, int], total: int) -> list[str]:
    """Return a list item for each event name, the most frequent first, with its count."""
    written = [name for name in by_count(names) if name.strip() and len(name) < MAX_NAME_LENGTH][:MAX_LINES]
    lines = _with_notes((f"#- {_scalar(escaped(name))}", f"{names[name]:,} of {total:,}") for name in written)
    if len(names) > len(written):
        lines.append(f"# … and {counted(len(names) - len(written), 'name')} more")
    return lines


def _blocks(proposed: Proposal) -> dict[str, list[str]]:
    """Return the lines of each setting by its name: of a list or a mapping those that stand below the name."""
    blocks: dict[str, list[str]] = {}
    if proposed.extend_default is not None:
        blocks["extend_default"] = [f"extend_default: {str(proposed.extend_default).lower()}"]
    if lines := _row_lines(proposed):
        blocks["mapping"] = lines
    if proposed.add:
        blocks["add"] = to_yaml(proposed.add).splitlines()
    return blocks


def _row_lines(proposed: Proposal) -> list[str]:
    """Return the rows with counts and remarks; no name leaves its line."""
    pairs = []
    for row in proposed.rows:
        notes = [f"{row.count:,} of {proposed.events:,}"] if row.count else []
        notes += [row.remark] if row.remark else []
        sign = "#" if row.remark else ""
        pairs.append((f"{sign}{_scalar(row.source)}: {_scalar(escaped(row.destination))}", "; ".join(notes)))
    lines = _with_notes(pairs)
    if proposed.more:
        more = counted(proposed.more, "path of values", "paths of values")
        lines.append(f"# No row for {more}: they are rare, too many, or their names hold a number.")
    return lines


def _with_notes(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """Return texts with their notes as comments in one column; an empty note is none."""
    pairs = list(pairs)
    column = max((len(text) for text, _ in pairs if len(text) < _NOTE_COLUMN), default=0)
    return [f"{text:<{column}}  # {note}" if note else text for text, note in pairs]


def _scalar(text: str) -> str:
    """Return a text on one line; PyYAML's own pairs may take several, where the key has line breaks."""
    return to_yaml([text]).removeprefix("- ").rstrip("\n")
