"""`init`: writes a commented settings file, and never over another one; or prints its JSON Schema."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import keep_command, option
from .streams import tell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from voucherify_sync.sources.discover import FoundSources

_NEXT = """\
Wrote {file}. Next:
  1. see what would be sent, without an account:  voucherify-sync replay --dry-run{option} SOURCE
  2. change the mapping and check it:             voucherify-sync check{option}
  3. set the two keys of your project:            export VOUCHERIFY_API_KEY=…    # Application ID
                                                  export VOUCHERIFY_API_TOKEN=…  # Secret Key
  4. send:                                        voucherify-sync replay{option} SOURCE"""


@click.command("init")
@click.argument("path", type=click.Path(), required=False)
@option(
    "--from",
    "sources",
    multiple=True,
    metavar="SOURCE",
    is_deliberate=True,
    callback=keep_command,
    help="List the event names, traits and properties of SOURCE in the file, as comments.",
)
@option("--schema", is_flag=True, help="Print the JSON Schema of the settings file, for editors.")
def command(path: str | None, sources: tuple[str, ...], schema: bool) -> None:
    """Write a settings file that names and explains every setting, with three mapping tests.

    \b
    Examples:
      voucherify-sync init --from segment-logs/
      voucherify-sync init - | less
      voucherify-sync init --schema > voucherify-sync.schema.json

    PATH defaults to ./voucherify-sync.yaml, which the other commands read by default; - prints the file on
    stdout. init never overwrites a file. Only you can read the new file, because it may come
    to hold keys.

    --from reads the first 10,000 records and adds what it finds, with counts, as commented rows. Editors
    complete and check the file once the schema is in the same folder.
    """  # click reads the \b itself
    from voucherify_sync import settings
    from voucherify_sync.errors import UsageProblem

    if schema:
        if path is not None or sources:
            raise UsageProblem("--schema prints the schema and writes no file", "Leave the rest out.")
        click.echo(_schema())
        return
    _write(str(settings.DEFAULT_FILE) if path is None else path, sources)


def _write(path: str, sources: Sequence[str]) -> None:
    """Write the settings file and say what comes next; `-` is standard output."""
    from voucherify_sync import settings
    from voucherify_sync.sources.discover import find_sources
    from voucherify_sync.state.private_files import try_to_append

    from .outputs import FileWritten, source_files, try_outputs

    file = None if path == "-" else Path(path)
    if file is not None and os.path.lexists(file):
        _refuse(file)
    found = find_sources(sources, stdin_is_terminal=sys.stdin.isatty()) if sources else None
    outputs = [] if file is None else [FileWritten(path, file, try_to_append)]
    try_outputs(outputs, source_files(found.sources if found else ()))
    text = _suggested(found, " ".join(sources)) if found else settings.template()
    if file is None:
        click.echo(text, nl=False)
        return
    _write_new(file, text)
    option = "" if file == settings.DEFAULT_FILE else f" -c {shlex.quote(path)}"
    tell(_NEXT.format(file=click.format_filename(file), option=option))


def _schema() -> str:
    import json

    from voucherify_sync.settings import json_schema

    return json.dumps(json_schema(), indent=2, ensure_ascii=False)


def _suggested(found: FoundSources, named: str) -> str:
    """Return settings with what the beginning of the sources holds."""
    from voucherify_sync.preview.suggestions import suggested_settings
    from voucherify_sync.sources.reader import Reader, source_notices
    from voucherify_sync.stop import Stop

    tell(*found.notices)
    reader = Reader(found.sources, Stop())
    text = suggested_settings(reader, named)
    tell(*(f"Warning: {notice}" for notice in source_notices(reader.facts)))
    return text


def _refuse(file: Path) -> None:
    from voucherify_sync.errors import UsageProblem

    raise UsageProblem(f"{file} is there already", "Name another file: voucherify-sync init FILE")


def _write_new(file: Path, text: str) -> None:
    """Write the file for its owner only; a link that leads nowhere is refused, too."""
    from voucherify_sync.state.private_files import write_error, write_new

    try:
        write_new(file, text.encode())
    except FileExistsError:
        _refuse(file)
    except OSError as error:
        raise write_error(file, error) from None
