"""Does what `explain` was asked: options in, explanations on stdout; notices on stderr. Nothing is sent."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import click
from msgspec import Struct

from voucherify_sync.errors import ExitCode, UsageProblem
from voucherify_sync.events import Event
from voucherify_sync.mapping.filters import MetNames
from voucherify_sync.preview.explain import Explainer, Explanation, Picker, Wanted, to_json
from voucherify_sync.settings import Settings, load
from voucherify_sync.sources.decode import decode
from voucherify_sync.sources.reader import Reader, Source, find_sources
from voucherify_sync.stop import Stop
from voucherify_sync.text import clean, clean_lines
from voucherify_sync.voucherify.answers import PATHS

from .outputs import settings_files, source_files, try_outputs

Show = Callable[[Explanation], None]


class ExplainOptions(Struct, frozen=True):
    """What the command line of `explain` says; the names are those of the options."""

    source: tuple[str, ...]
    config: Path | None
    event: tuple[str, ...]
    user: tuple[str, ...]
    line: int | None
    message_id: tuple[str, ...]
    limit: int
    as_json: bool
    as_curl: bool


def explain(options: ExplainOptions) -> ExitCode:
    """Explain the wanted events one by one, as they are found."""
    if options.as_json and options.as_curl:
        raise UsageProblem("--json and --curl would both write to stdout", "Choose one of them.")
    settings = load(options.config, environment=os.environ)
    found = find_sources(options.source, stdin_is_terminal=sys.stdin.isatty())
    try_outputs([], [*settings_files(options.config, settings), *source_files(found.sources)])
    for notice in found.notices:
        click.echo(clean_lines(notice), err=True)
    if options.line is not None and len(found.sources) != 1:
        raise UsageProblem(
            f"--line is a line of one file, and there are {len(found.sources)} sources", "Name that file."
        )
    search = _Search(options, found.sources)
    show, shown = _show(options, settings), 0
    for explanation in search.explanations(Explainer(settings)):
        show(explanation)
        shown += 1
        if shown == options.limit:
            break
    if not shown:
        search.tell_that_nothing_was_found()
    return ExitCode.OK


class _Search:
    """Looks for the wanted events in the sources."""

    def __init__(self, options: ExplainOptions, sources: list[Source]) -> None:
        self._options = options
        self._reader = Reader(sources, Stop())
        self._wanted = Wanted(
            frozenset(options.event), frozenset(options.user), frozenset(options.message_id), options.line
        )
        self._names = MetNames(options.event)
        self._read = 0

    def explanations(self, explainer: Explainer) -> Iterator[Explanation]:
        picker, last_line = Picker(self._wanted), self._options.line
        for block in self._reader:
            if last_line is not None and block.first_line > last_line:
                return
            for record in decode(block):
                self._read += 1
                if picker.may_want(record):
                    explanation = explainer.explain(record)
                    if picker.wants(explanation):
                        yield explanation
                elif self._wanted.names and isinstance(record, Event) and record.name:
                    self._names.leave(record.name)

    def tell_that_nothing_was_found(self) -> None:
        """Say what was looked through, and what may be meant."""
        if not self._read:
            click.echo("No events were read.", err=True)
            return
        remedy = ""
        for miss in self._names.near_misses():
            meant = " or ".join(f'"{clean(name, 60)}"' for name in miss.met)
            remedy += f'No event is named "{clean(miss.wanted, 60)}"' + (
                f"; did you mean {meant}?" if meant else "."
            )
        lines = sum(facts.lines for facts in self._reader.facts)
        raise UsageProblem(f"none of {self._read:,} events on {lines:,} lines is wanted", remedy)


def _show(options: ExplainOptions, settings: Settings) -> Show:
    """Return what shows an explanation in the wanted way."""
    if options.as_json:
        return _json_writer(sys.stdout.buffer)
    if options.as_curl:
        return _curl_writer(sys.stdout.buffer, settings)
    from .explanation_view import Viewer

    return Viewer().show


def _json_writer(stream: BinaryIO) -> Show:
    from .json_text import write_harmless

    def show(explanation: Explanation) -> None:
        write_harmless(stream, to_json(explanation, _path(explanation)))

    return show


def _curl_writer(stream: BinaryIO, settings: Settings) -> Show:
    from .curl import curl

    def show(explanation: Explanation) -> None:
        stream.write(curl(explanation, _path(explanation), settings.api).encode())
        stream.flush()

    return show


def _path(explanation: Explanation) -> str | None:
    return PATHS[explanation.request.kind] if explanation.request is not None else None
