"""`coverage`: counts which values of many events reach Voucherify."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import click

from voucherify_sync.outcomes import WHY_NOT_MAPPED, State, words
from voucherify_sync.text import clean, clean_lines, counted, listed, percent, section_title

from .options import (
    AGAINST,
    CONFIG,
    EVENT,
    FILES_FROM,
    JOBS,
    LIMIT,
    SAMPLE,
    SOURCE,
    TYPE,
    WHERE,
    ParsedType,
    option,
)
from .render import (
    Line,
    Table,
    TableRow,
    TextLines,
    command_line,
    first_rows,
    harmless,
    sentences,
    show,
    warnings_of,
    write_harmless,
)
from .status import next_block
from .streams import arrow, tell

if TYPE_CHECKING:
    from pathlib import Path

    from voucherify_sync.api import CoverageOptions
    from voucherify_sync.preview.comparison import ComparisonReport
    from voucherify_sync.preview.coverage import (
        CoverageReport,
        DestinationCoverage,
        PathCoverage,
        SectionReport,
    )


_MAX_ROWS: Final = 40
_MAX_EXAMPLE: Final = 16
_MAX_TYPES: Final = 5
_ALWAYS: Final = ("identify", "track")
"""Sections that need no name beside their rows."""
_MAX_UNMAPPED: Final = 3
"""Paths that the first line names."""


def _share(text: str) -> float:
    """Read a percentage, with or without its sign."""
    number = float(text.removesuffix("%")) if re.fullmatch(r"[0-9]+(\.[0-9]+)?%?", text) else -1.0
    if not 0 <= number <= 100:
        raise ValueError(f"{text!r} is no percentage from 0 to 100; write it such as 80 or 99.5")
    return number


@click.command("coverage")
@SOURCE
@CONFIG
@TYPE
@EVENT
@WHERE
@SAMPLE
@LIMIT
@JOBS
@FILES_FROM
@option(
    "--fail-under",
    metavar="PCT",
    type=ParsedType("PCT", _share),
    help="Exit with 3 if less than PCT percent of the values are mapped, such as 80.",
)
@AGAINST
@option("--json", "as_json", is_flag=True, help="Print all counts as one JSON object.")
def command(fail_under: float | None, as_json: bool, **values: Any) -> int:
    """Show which values of the events in SOURCE reach Voucherify, and which are not mapped.

    \b
    Examples:
      voucherify-sync coverage segment-logs/
      voucherify-sync coverage --fail-under 80 --event 'Order *' events.ndjson

    Lists every path of traits, properties and context.traits: how many values it has, what part of them is
    mapped, its destination or `not mapped`, the types, and an example; what is most often not mapped comes first.
    Then every destination: how often it is filled, and conflicts of types. Then the rows of the settings
    that never matched, and rows to paste into the settings that map what is missing. Nothing is sent.

    Events are counted as they stand in SOURCE: one that a dry run would leave out, since its messageId is
    repeated, counts again. Warnings say what a person should know of the events that would be sent.

    --fail-under counts the values of traits, properties and context.traits of all events that would be
    sent. A null is no value, a list is one value, an object counts as the values in it. A value is mapped
    if it reaches the request, by any row or rule. Without any value the share is 0.

    With --against it counts the requests that change instead, by the rows that only one of the two settings files
    has, with examples. The exit code is 0, whatever changes.
    """  # click reads the \b itself
    from voucherify_sync.api import CoverageOptions, CoverageReport, OpenedCoverage
    from voucherify_sync.errors import UsageProblem
    from voucherify_sync.exit_codes import ExitCode
    from voucherify_sync.findings import sentences_of

    from .outputs import begin_reading, warn_of_sources
    from .progress import progress
    from .signals import stopping_cleanly

    against = values["against"]
    if against is not None and fail_under is not None:
        raise UsageProblem(
            "--fail-under is about the values of one settings file, --against compares two",
            "Choose one of them.",
        )
    options = CoverageOptions(**values)
    opened = OpenedCoverage(options)
    begin_reading(options.config, opened, options.files_from, against)
    with stopping_cleanly(opened.stop, sends=False):
        with progress("auto", opened.snapshot, sys.stderr):
            report = opened.count() if against is None else opened.compare()
        if isinstance(report, CoverageReport):
            has_rows = _show(report, options, as_json=as_json)
        else:
            _show_comparison(report, against, options.config, as_json=as_json)
    if opened.stop.signal_exit is not None:
        tell("Interrupted: only what was read until then is counted.")
    found = sentences_of(report.findings) if isinstance(report, CoverageReport) else []
    notices = [*found, *report.notices]
    show(sys.stderr, [warnings_of([clean_lines(notice) for notice in notices])])
    code = warn_of_sources(opened.reader.facts)
    if not isinstance(report, CoverageReport):
        return opened.stop.signal_exit or code
    total = report.values
    if fail_under is not None and 100 * total.mapped < fail_under * max(total.seen, 1):
        tell(
            f"{100 * total.share:.1f} % of {total.seen:,} values are mapped, which is less than {fail_under:g} %"
        )
        code = ExitCode.INCOMPLETE
    is_over = as_json or opened.stop.signal_exit is not None
    is_piped = any(facts.name == "-" for facts in opened.reader.facts)
    commands = [] if is_over else list(_next_commands(report, options, has_rows=has_rows, is_piped=is_piped))
    if commands:
        tell("")
        show(sys.stderr, [next_block(commands)])
    return opened.stop.signal_exit or code


def _show(report: CoverageReport, options: CoverageOptions, *, as_json: bool) -> bool:
    """Print what was counted; tell whether rows are proposed."""
    if as_json:
        import msgspec

        write_harmless(sys.stdout.buffer, msgspec.json.encode(report.to_dict()))
        return False
    from voucherify_sync.preview.pasted_settings import pasted_yaml
    from voucherify_sync.settings import DEFAULT_FILE, block_places

    proposals = {name: section.proposal for name, section in report.sections.items()}
    places = block_places(options.config)
    file = str(options.config or DEFAULT_FILE)
    yaml = pasted_yaml(proposals, places, file)
    show_coverage(report, yaml, file, is_new=not places)
    return bool(yaml)


def _show_comparison(report: ComparisonReport, against: Path, config: Path | None, *, as_json: bool) -> None:
    if as_json:
        import msgspec

        write_harmless(sys.stdout.buffer, msgspec.json.encode(report))
        return
    from .comparison import comparison_blocks, heading

    show(sys.stdout, [heading(against, config), *comparison_blocks(report)])


def _next_commands(
    report: CoverageReport, options: CoverageOptions, *, has_rows: bool, is_piped: bool
) -> Iterator[dict[str, str]]:
    """Yield what comes next: look at a value that is not mapped, paste the rows, check them, look again."""
    from voucherify_sync.settings import DEFAULT_FILE, settings_file

    file = str(options.config or DEFAULT_FILE)
    config = f" -c {shlex.quote(file)}" if options.config else ""
    wholly_unmapped = next((path for path in _most_unmapped(report) if not path.mapped), None)
    source, _, line = (
        wholly_unmapped.example_at.partition("[")[0].rpartition(":") if wholly_unmapped else ("", "", "")
    )
    if wholly_unmapped and not is_piped:
        is_watched = has_rows and settings_file(options.config) is not None
        does = f"an event whose {clean(wholly_unmapped.path, 40)} is not mapped"
        yield {
            "command": f"voucherify-sync explain{' --watch' * is_watched}{config} --line {line} {shlex.quote(source)}",
            "does": f"{does}, each time you save {file}" if is_watched else does,
        }
    if has_rows:
        yield {
            "command": f"voucherify-sync check{config}",
            "does": f"after you have pasted the rows into {file}",
        }
        if not is_piped:
            yield {"command": command_line(sys.argv[1:]), "does": "look again"}


def _most_unmapped(report: CoverageReport) -> list[PathCoverage]:
    """Return the paths of which values are not mapped, the most frequent first."""
    unmapped = chain.from_iterable(section.unmapped_paths for section in report.sections.values())
    return sorted(unmapped, key=lambda path: (-path.unmapped_count, path.path))


def show_coverage(report: CoverageReport, yaml: str, file: str, *, is_new: bool) -> None:
    """Print what was counted, and the rows that are proposed.

    Args:
        report: what was counted.
        yaml: settings with the proposed rows, or nothing.
        file: the settings file that they are for.
        is_new: it is not there yet.
    """
    stream = sys.stdout
    blocks = [*_blocks(report, arrow(stream))]
    if stream.isatty():
        blocks = [short for block in blocks for short in _shortened(block)]
    if yaml:
        name = clean(file, 200)
        title = f"# Rows that map what is missing: paste them into {name}"
        title += ", a new file." if is_new else ", each part below the line that it names,"
        lines = [(title, "bold")]
        lines += (
            [] if is_new else [("# the first part first: then the numbers of the lines stay true.", "bold")]
        )
        lines += [(line, "bold" if line.startswith("#") else "") for line in yaml.rstrip("\n").split("\n")]
        blocks.append(TextLines([[line] for line in lines], is_pasted=True))
    show(stream, blocks)


def _shortened(block: Table | TextLines) -> Iterator[Table | TextLines]:
    """Yield the first rows of a table, with short examples."""
    if isinstance(block, TextLines):
        yield block
        return
    rows = []
    for row in block.rows:
        *notes, example = row.notes
        cut = example if len(example) <= _MAX_EXAMPLE else example[: _MAX_EXAMPLE - 1] + "…"
        rows.append(TableRow(row.label, row.numbers, (*notes, cut), row.style))
    yield from first_rows(Table(rows, block.title, block.heads, block.optional), _MAX_ROWS)


def _blocks(report: CoverageReport, sign: str) -> Iterator[Table | TextLines]:
    """Yield what was counted; `sign` is an arrow that the output can show."""
    events, values = report.events, report.values
    if not events.read:
        yield sentences("No events were read.", style="bold")
        return
    first = "No values of traits or properties"
    if values.seen:
        first = f"{percent(values.share)} of {counted(values.seen, 'value')} mapped"
    section_of = {id(path): name for name, each in report.sections.items() for path in each.unmapped_paths}
    unmapped = [
        f"{clean(path.path, 40)} {path.unmapped_count:,}"
        # What a context holds is known by its type of event only.
        + (f" ({clean(section_title(section_of[id(path)]), 80)})" if path.path.startswith("context.") else "")
        for path in _most_unmapped(report)[:_MAX_UNMAPPED]
    ]
    head: list[Line] = [
        [(first, "bold"), (f"; most often not: {', '.join(unmapped)}" if unmapped else "", "")]
    ]
    requests = counted(events.counted, "makes a request", "make a request")
    requests += ", repeated ones included" if events.counted > 1 else ""
    requests = f"{counted(events.read, 'record')} read: {requests}"
    ends = [(State.SKIPPED, events.skipped), (State.INVALID, events.invalid)]
    totals = [f"{sum(by_reason.values()):,} {state}" for state, by_reason in ends if by_reason]
    head.append([(", ".join([requests, *totals]), "")])
    for state, by_reason in ends:
        head += [
            [(f"  {times:,}  {words(state, reason)} [{clean(reason, 40)}]", "dim")]
            for reason, times in by_reason.items()
        ]
    if events.other_types:
        types = [*events.other_types.items()]
        named = listed(types, lambda each: f"{clean(each[0], 40)} {each[1]:,}", _MAX_TYPES)
        head.append([(f"other types: {named}", "yellow")])
    yield TextLines(head)
    sections = report.sections
    sections = {type_: section for type_, section in sections.items() if section.events}
    for type_, section in sections.items():
        yield from _paths(type_, section, sign)
    for type_, section in sections.items():
        title = f"What {clean(section_title(type_), 80)} requests hold"
        yield Table([_destination(each) for each in section.destinations], title)
        if section.more_destinations:
            yield sentences(f"and {_at_least(section.more_destinations)} more destinations")
    yield from _hints(report)


def _hints(report: CoverageReport) -> Iterator[TextLines]:
    """Yield the rows of the mapping to look at: those that match nothing, and the one that renames customers."""
    from voucherify_sync.preview.coverage import OF_DEFAULT_TABLE
    from voucherify_sync.preview.suggestions import RENAMING_ROW

    idle = [[("Rows that matched nothing", "bold")]]
    kept = 0
    for name, section in report.sections.items():
        for row in section.idle_rows:
            if row.row in OF_DEFAULT_TABLE and not row.did_you_mean:
                kept += 1
                continue
            suggestions = " or ".join(clean(each, 100) for each in row.did_you_mean)
            hint = f"  did you mean {suggestions}?" if suggestions else "  no event that is sent holds it"
            of_section = "" if name in _ALWAYS else f"  ({clean(section_title(name), 80)})"
            idle.append([(f"  {clean(row.row, 200)}", "yellow"), (f"{of_section}{hint}", "")])
    if kept:
        said = counted(kept, "row that the default table has, too", "rows that the default table has, too")
        idle.append([(f"  {said}", "dim")])
    if len(idle) > 1:
        yield TextLines(idle)
    for each in report.sections["track"].rows:
        if each.default and each.matched and each.row == RENAMING_ROW:
            warning = (
                f"  matched in {counted(each.matched, 'event')}; in a shop that is a product's name, and customers are "
                "renamed to it: the rows below leave it out"
            )
            yield TextLines(
                [[("Look at this row", "bold")], [(f"  {RENAMING_ROW}", "yellow"), (warning, "")]]
            )


def _paths(type_: str, section: SectionReport, sign: str) -> Iterator[Table | TextLines]:
    """Yield the values of the events of a type by path, what is most often not mapped first, with where they go."""
    from voucherify_sync.preview.coverage import share

    values = section.values
    title = f"{clean(section_title(type_), 80)}: {counted(section.events, 'event')}"
    if values.seen:
        title = (
            f"{clean(section_title(type_), 80)}: {percent(values.share)} of {counted(values.seen, 'value')} mapped, "
            f"in {counted(section.events, 'event')}"
        )
    rows = []
    for path in sorted(section.paths, key=lambda path: (-path.unmapped_count, -path.seen, path.path)):
        destination, style = _destination_of(path, sign)
        types = ", ".join(each for each in path.types if each != "null") or "null"
        example = "" if types == "null" else harmless(path.example or "")
        numbers = (f"{path.seen:,}", percent(share(path.mapped, path.seen)) if path.seen else "")
        rows.append(TableRow(clean(path.path, 200), numbers, (destination, types, example), style))
    if rows:
        yield Table(rows, title, ("", "values", "mapped"), optional=2)
    else:
        yield TextLines([[(title, "bold")], [("no traits or properties", "dim")]])
    yield from _unsent_of_products(section)
    if section.more_paths:
        yield sentences(
            f"and {_at_least(section.more_paths)} more paths, which are counted in the share only"
        )


def _unsent_of_products(section: SectionReport) -> Iterator[Table | TextLines]:
    """Yield what products of orders hold that is not sent, and what can take it."""
    unsent = section.unsent_of_products
    if not unsent:
        return
    rows = [TableRow(clean(path, 200), (f"{count:,}",), ("",), "yellow") for path, count in unsent.items()]
    yield Table(rows, "Not mapped, inside of the products", ("", "values"))
    products, _, name = next(iter(unsent)).partition("[].")
    lines = ["An item of an order has an id, a quantity, a price, an amount and the name of its product."]
    if name.isidentifier() and re.fullmatch(r"[\w.]+", products):
        lines[0] += " The metadata of the order can hold the rest; below orders:"
        lines.append(f'  set: {{metadata.{name}: {{"@arrayPath": [$.{products}, {{"@path": $.{name}}}]}}}}')
    yield sentences(*lines)


def _destination_of(path: PathCoverage, sign: str) -> tuple[str, str]:
    """Return where the values of a path go, or why they do not, and the style of that."""
    missing = {reason: times for reason, times in path.lost.items() if reason != "null"}
    reasons = _counted_reasons(missing)
    if path.mapped:
        places = ", ".join(clean(place, 200) for place in path.destinations)
        return f"{sign} {places}" + (
            f"; not mapped: {reasons}" if missing else ""
        ), "yellow" if missing else "green"
    if not missing:
        return "null only", "dim"
    if len(missing) == 1:
        (reason,) = missing
        reasons = "" if reason == "no_row" else WHY_NOT_MAPPED.get(reason, "")
    return f"not mapped: {reasons}".removesuffix(": "), "yellow"


def _counted_reasons(reasons: dict[str, int]) -> str:
    return ", ".join(f"{WHY_NOT_MAPPED.get(reason, reason)} ({times:,})" for reason, times in reasons.items())


def _destination(place: DestinationCoverage) -> TableRow:
    """Return the row of a destination, with what is odd about its values."""
    notes = []
    if place.type_conflict and len(place.types) > 1:
        notes.append("types differ: " + ", ".join(f"{name} {times:,}" for name, times in place.types.items()))
    if place.refused:
        notes.append(f"dropped: {_counted_reasons(place.refused)}")
    style = "yellow" if notes else ""
    types = ", ".join(place.types)
    return TableRow(clean(place.path, 200), (percent(place.share),), (types, "; ".join(notes)), style)


def _at_least(count: int) -> str:
    return f"{'more than ' if count >= 100_000 else ''}{count:,}"
