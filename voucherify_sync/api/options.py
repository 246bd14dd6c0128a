"""Define the options of the public functions, which read each value as the command line reads its text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import Any, Final, Literal

from msgspec import Struct
from msgspec.structs import force_setattr

from voucherify_sync.errors import UsageProblem
from voucherify_sync.expressions.conditions import parse_condition
from voucherify_sync.mapping.sampling import parse_percent
from voucherify_sync.run.options import (
    MAX_SHARDS,
    ErrorLimit,
    Mode,
    parse_duration_s,
    parse_moment,
    parse_shards,
    parse_type,
)
from voucherify_sync.settings import (
    Rate,
    Settings,
    parse_rate,
)
from voucherify_sync.settings.types import OnDoubt, settings_of


def texts(value: str | Path | Sequence[str | Path]) -> tuple[str, ...]:
    """Read one text or several; a lone one is not taken for its letters."""
    return (str(value),) if isinstance(value, str | Path) else tuple(map(str, value))


def _number(low: float, high: float, kind: type[float]) -> Callable[[Any], float]:
    """Return what reads a number within bounds."""

    def read(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | kind) or not low <= value <= high:
            raise ValueError
        return value

    return read


def _id(value: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError
    return value


def _condition(text: str) -> str:
    """Check a condition; a ConditionError is a ValueError."""
    return parse_condition(text).text


def _percentage(value: float | str) -> float:
    if isinstance(value, str):
        return parse_percent(value)
    if not value:
        raise ValueError
    return _number(0, 100, float)(value)


def _moment(value: datetime | str) -> datetime:
    """Read a time, or how long ago it is; UTC unless it says otherwise."""
    if isinstance(value, str):
        value = parse_moment(value, datetime.now(UTC))
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _one_of(*allowed: str) -> Callable[[str], str]:
    """Return what reads one of a few texts."""

    def read(value: str) -> str:
        if value not in allowed:
            raise ValueError
        return value

    return read


def _of_setting(name: str) -> tuple[Callable[[Any], Any], str]:
    """Return what reads a delivery setting, within the bounds that the settings file has."""
    setting = settings_of("delivery")[name]
    if setting.choices:
        return _one_of(*setting.choices), " or ".join(map(repr, setting.choices))
    low, high = setting.bounds
    bounds = f"from {low} on" if high is None else f"from {low} to {high}"
    return _number(low or 0, high or inf, int), f"a whole number {bounds}"


_COUNT: Final = (_number(1, inf, int), "a whole number from 1 on")
_TEXTS: Final = (texts, "a text or a list of texts")
_MOMENT: Final = (_moment, "a datetime, or such as '2025-03-01' or '30d' for 30 days ago")
_PATH: Final = (Path, "a path")
_READERS: Final[dict[str, tuple[Callable[[Any], Any], str]]] = {
    "type": (
        lambda value: tuple(map(parse_type, texts(value))),
        "identify, track, page, screen or group, the types that can be sent",
    ),
    **dict.fromkeys(("source", "event", "user", "message_id", "reason", "run"), _TEXTS),
    "against": (lambda value: value if isinstance(value, Settings) else Path(value), "a path, or Settings"),
    **dict.fromkeys(("config", "exclude_ids", "dead_letters", "file"), _PATH),
    **dict.fromkeys(("limit", "jobs", "line"), _COUNT),
    "shards": (lambda value: parse_shards(str(value)), f"a power of two from 1 to {MAX_SHARDS}"),
    "to": (str, "a path or a URL"),
    "cluster": (str, "auto, or host and port"),
    **dict.fromkeys(("since", "until"), _MOMENT),
    "where": (_condition, "a condition in Segment's trigger language, such as 'properties.total > 20'"),
    "sample": (_percentage, "a percentage above 0 and up to 100, such as '5%'"),
    **{name: _of_setting(name) for name in ("customers", "workers", "max_calls", "on_doubt")},
    "mode": (Mode, "a Mode"),
    "customer": (_id, "the source_id of a customer, as text"),
    **dict.fromkeys(("ledger", "files_from"), (str, "a path")),
    "rate": (
        lambda value: value if isinstance(value, Rate) else parse_rate(value),
        "a Rate, or such as '90/min'",
    ),
    "max_errors": (
        lambda value: (
            value if isinstance(value, ErrorLimit) else ErrorLimit(int(_number(0, inf, int)(value)))
        ),
        "an ErrorLimit, or a number of records",
    ),
    "max_duration": (
        lambda value: parse_duration_s(value) if isinstance(value, str) else _number(0, inf, float)(value),
        "a number of seconds, or such as '8h'",
    ),
}
"""Option -> what reads it, and what it must be."""


class InputOptions(Struct, frozen=True, kw_only=True):
    """What is read, and by which settings.

    Attributes:
        source: files, directories and globs; ``-`` is standard input, and so is an empty list.
        config: settings file; None takes ``./voucherify-sync.yaml`` if there is one, else the defaults.
        settings: taken in place of a file.
    """

    source: str | Path | Sequence[str | Path] = ()
    config: Path | None = None
    settings: Settings | None = None

    def __post_init__(self) -> None:
        """Read each option as the command line reads its text, so that nothing is found out in the middle of a run.

        Raises:
            UsageProblem: a value cannot be meant.
        """
        for name in self.__struct_fields__:
            read, demand = _READERS.get(name, (None, ""))
            value = getattr(self, name)
            if read is None or value is None:
                continue
            try:
                force_setattr(self, name, read(value))
            except (AttributeError, TypeError, ValueError):
                raise UsageProblem(f"{name}: must be {demand}, not {value!r}.") from None


class SelectionOptions(InputOptions, frozen=True, kw_only=True):
    """Which events are read, and how their customers are sent. None leaves a matter to the settings.

    Attributes:
        type: types of events to read, such as ``identify``; empty: all that the settings send.
        event: names of track events to read; empty: all.
        user: customers to read, by the id that would be their source_id; empty: all.
        exclude_ids: file of ids to leave out, one a line.
        since: leave out what happened earlier; events without a time are kept. Also taken as text: ``2025-03-01``, or
            ``30d`` for 30 days ago.
        until: leave out what happened then or later.
        where: read only the events for which this condition holds, in Segment's trigger language.
        sample: percentage of the customers to read, with all their events; None: all.
        limit: records to read at most.
        jobs: processes that map a large input while nothing is sent; None: one a core, at most 8.
        files_from: file with names of files, one a line, which are read after `source`, in its order; ``-`` takes the
            names from standard input.
        customers: ``each`` or ``bulk``, as the setting `delivery.customers`.
    """

    type: Sequence[str] = ()
    event: Sequence[str] = ()
    user: Sequence[str] = ()
    exclude_ids: Path | None = None
    since: datetime | None = None
    until: datetime | None = None
    where: str | None = None
    sample: float | None = None
    limit: int | None = None
    jobs: int | None = None
    files_from: str | None = None
    customers: Literal["each", "bulk"] | None = None


class ReplayOptions(SelectionOptions, frozen=True, kw_only=True):
    """What a replay sends, where to, and what it keeps. None leaves a matter to the settings.

    Attributes:
        mode: ``LIVE`` sends to Voucherify, ``SANDBOX`` to a stand-in of its own, ``DRY_RUN`` makes no call.
        workers: requests in flight at most.
        rate: calls at most.
        max_calls: stop cleanly after as many calls.
        max_duration: stop cleanly after as many seconds; also taken as text, such as ``8h``.
        max_errors: stop cleanly when more records are invalid or failed.
        ledger: path of the ledger, relative to the working directory.
        new_ledger: make a ledger; needed for the first run to a project that sends without asking.
        same_project: the ledger is the project's, although its key or address was another.
        ledger_is_whole: use a ledger that looks like a copy of one in use.
        again: send what was delivered or failed before, too.
        again_since: as `again`, but skip what this run or a later one delivered.
        on_doubt: as the setting `delivery.on_doubt`.
        dead_letters: file to which this run's dead letters are written, too.
        incomplete: also send a prepared archive of which a source could not be read.
    """

    mode: Mode = Mode.LIVE
    workers: int | None = None
    rate: Rate | None = None
    max_calls: int | None = None
    max_duration: float | None = None
    max_errors: ErrorLimit | None = None
    ledger: str | None = None
    new_ledger: bool = False
    same_project: bool = False
    ledger_is_whole: bool = False
    again: bool = False
    again_since: str | None = None
    on_doubt: OnDoubt | None = None
    dead_letters: Path | None = None
    incomplete: bool = False


class PrepareOptions(SelectionOptions, frozen=True, kw_only=True):
    """What is prepared, and where.

    Attributes:
        to: folder, or prefix of an object store, that takes the prepared archive.
        shards: files of requests, a power of two; None: one for each 256 MB, from 16 to 4,096.
        keep_work: keep what the tasks have handed over to each other.
        cluster: address of a cluster of Ray that runs the tasks: ``auto``, or host and port; None: this machine.
        shared_directory: all machines of the cluster reach the folder `to`, and files among the sources, under these
            names.
    """

    to: str
    shards: int | None = None
    keep_work: bool = False
    cluster: str | None = None
    shared_directory: bool = False


class RetryOptions(ReplayOptions, frozen=True, kw_only=True):
    """Which dead letters are sent again. `event` and `user` choose among those of the ledger, too.

    Attributes:
        file: a file of dead letters; None takes those of the ledger, the oldest first.
        reason: only those with one of these reasons.
        run: only those that one of these runs left.
    """

    file: Path | None = None
    reason: Sequence[str] = ()
    run: Sequence[str] = ()


class ExplainOptions(InputOptions, frozen=True, kw_only=True):
    """Which events are explained; what is empty or None takes all.

    Attributes:
        type: events of these types, skipped ones, too.
        event: track events of these names; a ``*`` matches any characters.
        user: events of these customers, by userId, anonymousId or source_id.
        message_id: events with these.
        line: events on this line; there may be one source only.
        where: events for which this condition holds.
        against: earlier settings, or their file, for `changes`.
    """

    type: Sequence[str] = ()
    event: Sequence[str] = ()
    user: Sequence[str] = ()
    message_id: Sequence[str] = ()
    line: int | None = None
    where: str | None = None
    against: Path | Settings | None = None


class FinalOptions(InputOptions, frozen=True, kw_only=True):
    """Which customer is looked at.

    Attributes:
        customer: by the source_id: the userId, else the anonymousId, unless a row fills another.
        jobs: as in ReplayOptions.
    """

    customer: str
    jobs: int | None = None


class CoverageOptions(InputOptions, frozen=True, kw_only=True):
    """Which events are counted; the attributes are those of ReplayOptions.

    Attributes:
        against: earlier settings, or their file, for `compare`.
    """

    type: Sequence[str] = ()
    event: Sequence[str] = ()
    where: str | None = None
    sample: float | None = None
    limit: int | None = None
    jobs: int | None = None
    files_from: str | None = None
    against: Path | Settings | None = None
