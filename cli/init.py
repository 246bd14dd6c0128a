"""`init`: writes a commented settings file, and never over another one; or prints its JSON Schema."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from voucherify_sync.text import clean, counted, percent

from .options import keep_command, option
from .render import show
from .status import next_block
from .streams import tell

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from voucherify_sync.preview.coverage import CoverageReport
    from voucherify_sync.preview.suggestions import SampleCounts
    from voucherify_sync.sources.discover import FoundSources

_MAX_DOUBTFUL = 5  # rows that are named
_DOES = {
    "check": "find mistakes in it, after each change",
    "explain": "what becomes of single events, value by value",
    "coverage": "which values are mapped, and rows for the others",
    "plan": "what a replay would send and cost; no account is needed",
    "replay": "send; before: export VOUCHERIFY_API_KEY=… VOUCHERIFY_API_TOKEN=…",
}
_NEXT = ("check", "coverage", "plan", "replay")
_SEGMENT_API = (
    "Name a file with the answer of Segment's Public API: GET /destinations/ID, or …/ID/subscriptions."
)


@click.command("init")
@click.argument("path", type=click.Path(), required=False)
@option(
    "--from",
    "sources",
    multiple=True,
    metavar="SOURCE",
    is_deliberate=True,
    callback=keep_command,
    help="Add rows that map the traits and properties of SOURCE, and list its event names.",
)
@option(
    "--from-segment",
    "configuration",
    multiple=True,
    metavar="FILE",
    is_deliberate=True,
    help="Write what FILE holds: the configuration of your Voucherify destination at Segment, as JSON.",
)
@option("--schema", is_flag=True, help="Print the JSON Schema of the settings file, for editors.")
def command(path: str | None, sources: tuple[str, ...], configuration: tuple[str, ...], schema: bool) -> None:
    """Write a settings file that names and explains every setting, with three mapping tests.

    \b
    Examples:
      voucherify-sync init --from segment-logs/
      voucherify-sync init --from-segment subscriptions.json
      voucherify-sync init - | less
      voucherify-sync init --schema > voucherify-sync.schema.json

    PATH defaults to ./voucherify-sync.yaml, which the other commands read by default; - prints the file on
    stdout. init never overwrites a file. Only you can read the new file, because it may come
    to hold keys.

    --from reads the first 10,000 records and adds rows that map what it finds, with counts. What a person
    should decide on, such as secrets and ids, is a comment. The rows properties.name: customer.name and
    properties.description: customer.description, which make products of the customers of a shop, are left
    out. Editors complete and check the file once the schema is in the same folder.

    --from-segment reads what Segment's Public API gives for a destination and for its subscriptions, its
    older Config API, the settings as Segment's page has them, or `terraform show -json`; - is stdin. Several
    FILEs are one configuration. What was taken, and what was not and why, goes to stderr. Keys are never
    written.
    """  # click reads the \b itself
    from voucherify_sync import settings
    from voucherify_sync.errors import UsageProblem

    if schema:
        if path is not None or sources or configuration:
            raise UsageProblem("--schema prints the schema and writes no file", "Leave the rest out.")
        click.echo(_schema())
        return
    if sources and configuration:
        raise UsageProblem(
            "--from and --from-segment cannot be combined.",
            "Write the file with --from-segment, then see with `voucherify-sync coverage` what it does not map.",
        )
    file = str(settings.DEFAULT_FILE) if path is None else path
    if configuration:
        _write_imported(file, configuration)
    else:
        _write(file, sources)


def _write_imported(path: str, names: Sequence[str]) -> None:
    """Write the settings of a destination at Segment, and say what was taken, what was not, and what comes next."""
    from voucherify_sync.preview.pasted_settings import imported_text
    from voucherify_sync.settings.segment_configuration import read_configuration
    from voucherify_sync.settings.segment_import import import_settings
    from voucherify_sync.state.private_files import try_to_append

    from .outputs import FileWritten, try_outputs

    file = None if path == "-" else Path(path)
    options = [word for name in names for word in ("--from-segment", name)]
    if file is not None and os.path.lexists(file):
        _refuse(file, options)
    try_outputs([] if file is None else [FileWritten(path, file, try_to_append)], [])
    imported = import_settings(read_configuration([(name, _content(name, names)) for name in names]))
    text = imported_text(imported, names)
    if file is None:
        click.echo(text, nl=False)
    else:
        _write_new(file, text, options)
        tell(f"Wrote {click.format_filename(file)}.")
    for title, lines in (("Taken:", imported.taken), ("Left out:", imported.left_out)):
        tell(*[title, *(f"  {clean(line, 400)}" for line in lines)] if lines else [])
    tell(f"Keys: {imported.keys}.")
    if file is not None:
        show(sys.stderr, [next_block(list(_next_commands(file, (), ("check", "explain"))))])


def _content(name: str, names: Sequence[str]) -> bytes:
    """Return the beginning of a file, or of standard input, decompressed; more than is read of a configuration."""
    from voucherify_sync.errors import UsageProblem
    from voucherify_sync.settings.segment_configuration import MAX_CONFIGURATION_BYTES
    from voucherify_sync.sources.gzip_stream import DamageError, Gunzip, is_gzip

    if name == "-":
        if sys.stdin.isatty() or names.count("-") > 1:
            why = "it is a terminal" if sys.stdin.isatty() else "- is given twice"
            raise UsageProblem(
                f"--from-segment -: standard input holds no configuration: {why}.",
                "Name a file, or pipe one in: voucherify-sync init --from-segment - < destination.json",
            )
        content = sys.stdin.buffer.read(MAX_CONFIGURATION_BYTES + 1)
    else:
        try:
            with Path(name).open("rb") as stream:
                content = stream.read(MAX_CONFIGURATION_BYTES + 1)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "no such path"
            raise UsageProblem(f"{clean(name, 200)}: cannot be read: {reason}.", _SEGMENT_API) from None
    if not is_gzip(content):
        return content
    text = b""
    try:
        for piece in Gunzip([content]):
            text += piece
            if len(text) > MAX_CONFIGURATION_BYTES:
                break
    except DamageError as error:
        raise UsageProblem(f"{clean(name, 200)}: {error}.", "Save it again.") from None
    return text


def _write(path: str, sources: Sequence[str]) -> None:
    """Write the settings file and say what comes next; `-` is standard output."""
    from voucherify_sync import settings
    from voucherify_sync.sources.discover import find_sources
    from voucherify_sync.sources.object_store import shown_word
    from voucherify_sync.state.private_files import try_to_append

    from .outputs import FileWritten, source_files, try_outputs

    file = None if path == "-" else Path(path)
    options = [word for source in sources for word in ("--from", source)]
    if file is not None and os.path.lexists(file):
        _refuse(file, options, sources)
    found = find_sources(sources, stdin_is_terminal=sys.stdin.isatty()) if sources else None
    outputs = [] if file is None else [FileWritten(path, file, try_to_append)]
    try_outputs(outputs, source_files(found.sources if found else ()))
    text = (
        _suggested(found, " ".join("standard input" if each == "-" else shown_word(each) for each in sources))
        if found
        else settings.template()
    )
    if file is None:
        click.echo(text, nl=False)
        return
    _write_new(file, text, options, sources)
    tell(f"Wrote {click.format_filename(file)}.")
    show(sys.stderr, [next_block(list(_next_commands(file, sources, _NEXT)))])


def _next_commands(file: Path, sources: Sequence[str], names: Iterable[str]) -> Iterator[dict[str, str]]:
    from voucherify_sync.settings import DEFAULT_FILE
    from voucherify_sync.sources.object_store import shown_word

    config = [] if file == DEFAULT_FILE else ["-c", str(file)]
    named = shlex.join(map(shown_word, sources)) if sources and "-" not in sources else "SOURCE"
    for name in names:
        command = shlex.join(["voucherify-sync", name, *config])
        yield {"command": command if name == "check" else f"{command} {named}", "does": _DOES[name]}


def _schema() -> str:
    import json

    from voucherify_sync.settings import json_schema

    return json.dumps(json_schema(), indent=2, ensure_ascii=False)


def _suggested(found: FoundSources, named: str) -> str:
    """Return settings with what the beginning of the sources holds."""
    from voucherify_sync.preview.coverage import Coverage
    from voucherify_sync.preview.pasted_settings import settings_text
    from voucherify_sync.preview.suggestions import SampleCounts, sample
    from voucherify_sync.settings import Settings
    from voucherify_sync.sources.reader import Reader
    from voucherify_sync.stop import Stop

    from .outputs import warn_of_sources

    tell(*found.notices)
    reader = Reader(found.sources, Stop())
    counts, coverage = SampleCounts(), Coverage(Settings())
    coverage.add(sample(reader, counts))
    report = coverage.report()
    text = settings_text(report, counts, named)
    warn_of_sources(reader.facts)
    tell(*_found(report, counts, named))
    return text


def _found(report: CoverageReport, counts: SampleCounts, named: str) -> Iterator[str]:
    """Yield in three sentences what the sources hold, and what the file makes of it."""
    from voucherify_sync.preview.suggestions import SAMPLE

    first = "the first " if counts.records == SAMPLE else ""
    names = counted(len(counts.names), "name")
    yield (
        f"Read {first}{counted(counts.records, 'record')} of {named}: {counts.identifies:,} identify and "
        f"{counts.tracks:,} track events, of {names}."
    )
    sections = [report.sections[name] for name in ("identify", "track")]
    traits, properties = (len(section.unmapped_paths) for section in sections)
    rows = [row for section in sections for row in section.proposal.rows if row.count]
    mapped = f"{percent(report.values.share)} of {counted(report.values.seen, 'value')}"
    if not report.values.seen:
        yield "Events that would be sent hold no traits and no properties, so there is nothing to map."
    elif not traits + properties:
        yield f"The default table maps {mapped}."
    else:
        unmapped = [counted(traits, "trait")] if traits else []
        unmapped += [counted(properties, "property", "properties")] if properties else []
        verb = "has" if traits + properties == 1 else "have"
        said = f"The default table maps {mapped}: {' and '.join(unmapped)} {verb} no place in it."
        more = sum(section.proposal.more for section in sections)
        why = "rare, too many, or named by numbers"
        if rows:
            yield f"{said} The file holds rows for them{f', except for {more:,}: {why}' if more else ''}."
        else:
            yield f"{said} The file holds no rows for what is {why}."
    if doubtful := [row.source for row in rows if row.remark]:
        shown = ", ".join(doubtful[:_MAX_DOUBTFUL]) + (" …" if len(doubtful) > _MAX_DOUBTFUL else "")
        waiting = counted(len(doubtful), "row waits as a comment", "rows wait as comments")
        yield f"{waiting} for your decision: {shown}"


def _refuse(file: Path, options: Sequence[str], sources: Sequence[str] = ()) -> None:
    from voucherify_sync.errors import UsageProblem
    from voucherify_sync.sources.object_store import shown_word

    options, sources = list(map(shown_word, options)), list(map(shown_word, sources))
    given = f" {shlex.join(options)}" if options else ""
    config = f" -c {shlex.quote(str(file))}"
    if "--from-segment" in options and file.suffix.lower() == ".json":
        again = shlex.join([*options, "--from-segment", str(file)])
        raise UsageProblem(
            f"{file} is there already, and init overwrites no file",
            f"If it holds settings of Segment, too: voucherify-sync init {again}\n"
            f"To write another file: voucherify-sync init{given} FILE",
        )
    raise UsageProblem(
        f"{file} is there already, and init overwrites no file",
        f"To write another file: voucherify-sync init{given} FILE\n"
        f"To see the rows that this one lacks: voucherify-sync coverage{config} {shlex.join(sources) or 'SOURCE'}",
    )


def _write_new(file: Path, text: str, options: Sequence[str], sources: Sequence[str] = ()) -> None:
    """Write the file for its owner only; a link that leads nowhere is refused, too."""
    from voucherify_sync.state.private_files import write_error, write_new

    try:
        write_new(file, text.encode())
    except FileExistsError:
        _refuse(file, options, sources)
    except OSError as error:
        raise write_error(file, error) from None
