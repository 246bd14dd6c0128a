"""Define what a run is asked to do: its mode, its limits, its input, and which inputs are worth several processes."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from msgspec import Struct

from voucherify_sync.text import did_you_mean, either, similar

if TYPE_CHECKING:  # help shows these options, and must not wait for what a run needs
    from voucherify_sync.events import Batch
    from voucherify_sync.mapping.filters import Selection
    from voucherify_sync.settings import Settings
    from voucherify_sync.sources.decode import Decode
    from voucherify_sync.sources.discover import Source
    from voucherify_sync.sources.reader import SourceFacts
    from voucherify_sync.stop import Stop


MAX_SHARDS: Final = 4_096
"""Files of a prepared archive."""
_MIN_MOMENT_LENGTH: Final = len("20250301")
_MAX_JOBS: Final = 8  # the first process, which decides on what the others map, keeps no more of them busy
_UNITS_S: Final = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}


class ErrorLimit(Struct, frozen=True):
    """How many records may end invalid or failed before the run stops: a count, or a share of what was read."""

    count: int | None = None
    share: float | None = None


class Mode(StrEnum):
    """What a run does with its requests."""

    DRY_RUN = "dry_run"
    LIVE = "live"
    SANDBOX = "sandbox"


MIN_SHARED_BYTES: Final = 16 << 20
"""Bytes of input from which on other processes save more time than their start takes."""


class Input(Protocol):
    """The batches of one pass over the input: of sources, or of dead letters."""

    facts: list[SourceFacts]

    @property
    def bytes_total(self) -> int | None:
        """Bytes on disk; None if that is not known, as of a pipe."""
        ...

    def __iter__(self) -> Iterator[Batch]:
        """Yield the lines."""
        ...

    def parts(self, max_file_bytes: int) -> Iterator[Batch | Source]:
        """Yield batches, but files of at most `max_file_bytes` as they are, without facts."""
        ...


class RunOptions(Struct, frozen=True):
    """What the user asked for.

    Attributes:
        run_id: names the run in the report, the ledger and the dead letters.
        mode: where requests go.
        settings: mapping, filters and delivery, with the options of the command line applied.
        open_input: opens the input; called once for each pass over it.
        selection: which events the command line picks.
        limit: records to read at most.
        max_errors: when to stop for invalid and failed records.
        max_duration_s: seconds until the run stops.
        jobs: processes that map a large input, where nothing is sent meanwhile.
        dead_letters: file to which the dead letters of the run are written besides the ledger; None: no file.
        command: what is run, for the ledger: ``replay --bulk``.
        decode: makes records of what the input yields; None: what lines of events need.
        imports_update: whether an import changes an order that exists, as a probe found; None: not known.
    """

    run_id: str
    mode: Mode
    settings: Settings
    open_input: Callable[[Stop], Input]
    selection: Selection
    limit: int | None = None
    max_errors: ErrorLimit | None = None
    max_duration_s: float | None = None
    jobs: int = 1
    dead_letters: Path | None = None
    command: str = "replay"
    decode: Decode | None = None
    imports_update: bool | None = None


def parse_type(text: str) -> str:
    """Read a type of events that can be sent, as it is read in an event.

    Raises:
        ValueError: there is no such type, or its events are never sent.
    """
    from voucherify_sync.events import EVENT_TYPES, SENT_TYPES, event_type

    name = event_type(text)
    if name in SENT_TYPES:
        return name
    sent = either(SENT_TYPES)
    if name in EVENT_TYPES:
        raise ValueError(f"{name} events are not sent to Voucherify; write {sent}")
    meant = did_you_mean(similar(text, SENT_TYPES, fold=str.lower, most=1, cutoff=0.6))
    raise ValueError(f"{text!r} is no type of event{meant or f'; write {sent}'}")


def parse_shards(text: str) -> int:
    """Read a number of shards.

    Raises:
        ValueError: a sentence that says what to write.
    """
    number = int(text) if text.isdecimal() else 0
    if not 1 <= number <= MAX_SHARDS or number & (number - 1):
        raise ValueError(f"{text!r} is no power of two up to {MAX_SHARDS:,}; write such as 16 or 64")
    return number


_LONGEST_S = 100 * 365 * 86_400


def parse_duration_s(text: str) -> float:
    """Read a length of time: 90s, 30min (or 30m), 8h, 1h30m, 30d, 2w. Return seconds.

    Raises:
        ValueError: a sentence that says what to write.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)(min|[smhdw])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text.replace(" ", ""):
        raise ValueError(f"{text!r} is no duration; write 90s, 30min, 8h or 1h30m")
    seconds = sum(float(number) * _UNITS_S[unit] for number, unit in parts)
    if seconds > _LONGEST_S:
        raise ValueError(f"{text!r} is longer than a hundred years")
    return seconds


def parse_moment(text: str, now: datetime) -> datetime:
    """Read a time as those of events are read, in UTC, or how long before `now` it is, such as 30d.

    A short number is more likely a slip than seconds since 1970. A month is no unit, because its length is not fixed.
    `m` is a minute, as it is to other command lines.

    Raises:
        ValueError: a sentence that says what to write.
    """
    from voucherify_sync.timestamps import parse_time

    time = None if len(text) < _MIN_MOMENT_LENGTH else parse_time(text)
    if time is not None:
        return time
    try:
        return now - timedelta(seconds=parse_duration_s(text))
    except (ValueError, OverflowError):
        raise ValueError(
            f"{text!r} is no time; write 2025-03-01, 2025-03-01T12:00:00Z, or 30d for 30 days ago"
        ) from None


def new_run_id() -> str:
    """Return a name for a run that sorts by time, such as 20250301-120000-1f9c."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def default_jobs() -> int:
    """Return how many processes are worth while: one for each processor that this one may use, within limits."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(count, _MAX_JOBS)


def is_worth_processes(source: Input, jobs: int) -> bool:
    """Tell whether several processes map an input faster. Not a pipe: its size is not known, and it has to flow."""
    return jobs > 1 and source.bytes_total is not None and source.bytes_total >= MIN_SHARED_BYTES
