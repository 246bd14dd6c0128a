"""One line for every record that was not delivered: on stderr with --verbose, in a file with --log-file."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

import click

from voucherify_sync.bookkeeping.private import open_to_append
from voucherify_sync.clean import clean
from voucherify_sync.errors import UsageProblem
from voucherify_sync.model import Outcome, State
from voucherify_sync.running.planned import About

from .replay_options import ReplayOptions

_QUIET = {State.DELIVERED, State.PLANNED}


class RecordLog:
    """Writes a line for every record that was not delivered to streams."""

    def __init__(self, streams: list[TextIO]) -> None:
        self._streams = streams

    def add(self, outcome: Outcome) -> None:
        """Write the line of a record."""
        if outcome.state in _QUIET:
            return
        line = line_of(outcome)
        for stream in self._streams:
            click.echo(line, file=stream)

    def add_planned(self, _type: str, _about: About, _count: int) -> None:
        """Write nothing of what is as it should be."""


@contextmanager
def records_shown(options: ReplayOptions) -> Iterator[RecordLog | None]:
    """Open what --verbose and --log-file ask for; yield who takes note of outcomes, or None."""
    with ExitStack() as stack:
        streams = [sys.stderr] if options.verbose else []
        if options.log_file is not None:
            streams.append(stack.enter_context(_private(options.log_file)))
        if not streams:
            yield None
            return

        yield RecordLog(streams)


def line_of(outcome: Outcome) -> str:
    """Return time, state, reason, place and event of an outcome on one line."""
    record = outcome.record
    what = " ".join(clean(part, 60) for part in (record.type, record.name) if part)
    parts = [f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", str(outcome.state)]
    parts += [clean(part) for part in (outcome.reason,) if part]
    parts += [clean(str(record.position), 4_096), what, clean(outcome.detail or "")]
    return "  ".join(part for part in parts if part)


def _private(path: Path) -> TextIO:
    try:
        return os.fdopen(open_to_append(path), "a", encoding="utf-8")
    except OSError as error:
        raise UsageProblem(
            f"{path}: cannot be written: {error.strerror}", "Give --log-file another path."
        ) from None
