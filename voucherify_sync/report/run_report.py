"""What a report tells of a run besides its outcomes. Plain values, taken from those who know them.

Outcomes come in as they are booked; how many arrived and how many did not, by time of the run, goes out.

Memory stays flat however long a run takes: when the buckets are used up, each two become one of twice the width.

Outcomes come in, one a record; counts, reasons and the JSON report of the run go out.

What other wings know (sources, calls, coverage) is taken as plain values. It never keeps an event.

The report of a run goes in; the whole run in one sentence comes out. Every report for people starts with it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from voucherify_sync.errors import ExitCode, VoucherifySyncError
from voucherify_sync.events import Json, Kind
from voucherify_sync.outcomes import FAILED_BEFORE, Outcome, State
from voucherify_sync.state.private_files import utf8, write_error, write_whole
from voucherify_sync.text import counted


class RunFacts(Struct, frozen=True):
    """What a run was.

    Attributes:
        version: of this program.
        run_id: as in the ledger and the name of the dead letters.
        mode: ``live``, ``dry_run`` or ``sandbox``.
        exit_code: what the process ends with.
        started_at: aware.
        finished_at: aware.
        duration_s: by a clock that nobody sets.
        settings_digest: equal for settings that make equal requests; None where nobody asked.
        stopped_by: what ended the run early, for people, with what to do about it.
        dead_letters: the file that keeps what did not arrive, if there is one.
    """

    version: str
    run_id: str
    mode: str
    exit_code: ExitCode
    started_at: datetime
    finished_at: datetime
    duration_s: float
    settings_digest: str | None = None
    stopped_by: str | None = None
    dead_letters: str | None = None


class SourceFacts(Protocol):
    """What was read of one source: lines, bytes on disk, and what is wrong with it if it is damaged."""

    @property
    def name(self) -> str:
        """As the user named it, or as it was found."""

    @property
    def lines(self) -> int:
        """Lines read."""

    @property
    def bytes(self) -> int:
        """Bytes read, as they lie on disk."""

    @property
    def damaged(self) -> str | None:
        """What is wrong with it, or None."""


class ApiFacts(Struct, frozen=True):
    """What the calls of a run came to.

    Attributes:
        calls: that went out.
        retries: those among them that repeated an earlier one.
        throttled: those that were answered by 429.
        limit: calls that the API allows a period, None where it did not say.
        period_s: that period, None until it is learnt.
    """

    calls: int = 0
    retries: int = 0
    throttled: int = 0
    limit: int | None = None
    period_s: float | None = None


MAX_BUCKETS = 120
FIRST_WIDTH_S = 0.25
STATES = (State.DELIVERED, State.FAILED, State.IN_DOUBT)
"""What is counted: how requests ended. What no request was made for says nothing about time."""


class Timeline:
    """Counts by wall time of the run, from the moment that it is made.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started = clock()
        self._width_s = FIRST_WIDTH_S
        self._counts: dict[State, list[int]] = {state: [0] * MAX_BUCKETS for state in STATES}
        self._used = 0

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Count records, now."""
        counted = [outcome.state for outcome in outcomes if outcome.state in self._counts]
        if not counted:
            return
        elapsed_s = self._clock() - self._started
        while elapsed_s >= self._width_s * MAX_BUCKETS:
            self._double()
        bucket = int(elapsed_s / self._width_s)
        for state in counted:
            self._counts[state][bucket] += 1
        self._used = max(self._used, bucket + 1)

    def to_dict(self) -> Json:
        """Return the report's ``timeline``: counts by state for consecutive buckets of ``bucket_s`` seconds."""
        counts = {str(state): self._counts[state][: self._used] for state in STATES}
        return {"bucket_s": self._width_s, **counts}

    def _double(self) -> None:
        for counts in self._counts.values():
            pairs = [counts[at] + counts[at + 1] for at in range(0, MAX_BUCKETS, 2)]
            counts[:] = pairs + [0] * (MAX_BUCKETS - len(pairs))
        self._used = (self._used + 1) // 2
        self._width_s *= 2


__all__ = [
    "PRECEDENCE",
    "ApiFacts",
    "Report",
    "RunFacts",
    "SourceFacts",
    "encode_report",
    "exit_code",
    "status_of",
    "write_report",
]

CAP = 1_000
"""Most names that a map or list of the report holds; what comes later is added up under OTHER."""
OTHER = "(other)"
NONE = "(none)"
EXAMPLES = 3

_LONGEST_NAME = 200
_LONGEST_DETAIL = 500
_WITH_REASONS = (State.DELIVERED, State.SKIPPED, State.DUPLICATE, State.INVALID, State.FAILED, State.IN_DOUBT)
_ENDPOINTS = {Kind.CUSTOMER: "POST /v1/customers", Kind.EVENT: "POST /v1/events"}
PRECEDENCE = (
    ExitCode.BUG,
    ExitCode.USAGE,
    ExitCode.REFUSED,
    ExitCode.HANGUP,
    ExitCode.INTERRUPTED,
    ExitCode.TERMINATED,
    ExitCode.STOPPED,
    ExitCode.INCOMPLETE,
    ExitCode.OK,
)
"""Where several exit codes apply, the first of these wins."""
_STATUS = {
    ExitCode.OK: "complete",
    ExitCode.INCOMPLETE: "incomplete",
    ExitCode.STOPPED: "stopped",
    ExitCode.REFUSED: "refused",
    ExitCode.USAGE: "unusable",
    ExitCode.BUG: "broken",
}
_Key = tuple[State, str | None, str | None, Kind | None]


class _Tally(Struct):
    """How many records ended alike, with the first few of them."""

    count: int = 0
    examples: list[str] = msgspec.field(default_factory=list)
    detail: str | None = None

    def note(self, outcome: Outcome) -> None:
        self.examples.append(utf8(str(outcome.record.position)))
        if self.detail is None and outcome.detail:
            self.detail = utf8(outcome.detail[:_LONGEST_DETAIL])

    def take(self, other: _Tally) -> None:
        self.count += other.count
        self.examples = (self.examples + other.examples)[:EXAMPLES]
        self.detail = self.detail or other.detail


class Report:
    """Folds the outcomes of a run.

    Attributes:
        read: records that came out of the sources, counted by whoever reads them and not by their outcomes:
            the law compares two counts made in two places.
    """

    def __init__(self) -> None:
        self.read = 0
        self._tallies: dict[_Key, _Tally] = {}
        self._types: set[str] = set()
        self._reasons: set[str] = set()

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Count records that are decided."""
        known = self._tallies.get
        for outcome in outcomes:
            request = outcome.request
            key = (
                outcome.state,
                outcome.record.type,
                outcome.reason,
                request.kind if request is not None else None,
            )
            tally = known(key)
            if tally is None:
                tally = self._tally_of(key)
            tally.count += 1
            if tally.count <= EXAMPLES:
                tally.note(outcome)

    def move(self, type_: str, kind: Kind, state: State, reason: str, count: int) -> None:
        """Count planned records of a type as ended otherwise, once that is known of their customer."""
        self._tally_of((State.PLANNED, type_, None, kind)).count -= count
        self._tally_of((state, type_, reason, kind)).count += count

    def _tally_of(self, key: _Key) -> _Tally:
        state, type_, reason, kind = key
        bounded = (state, _within(self._types, type_), _within(self._reasons, reason), kind)
        return self._tallies.setdefault(bounded, _Tally())

    def counts(self) -> dict[State, int]:
        """Return how many records ended in each state so far; a display may ask from another thread."""
        counts = dict.fromkeys(State, 0)
        for (state, *_), tally in list(self._tallies.items()):
            counts[state] += tally.count
        return counts

    @property
    def lawful(self) -> bool:
        """Whether every record that was read has ended in exactly one state."""
        return self.read == sum(self.counts().values())

    def check_law(self) -> None:
        """Raise VoucherifySyncError, a bug, unless every record read has ended in exactly one state."""
        if not self.lawful:
            raise VoucherifySyncError(
                f"{self.read:,} records were read and {sum(self.counts().values()):,} were booked",
                "This is a bug: please report it. The ledger and the dead letters are intact.",
            )

    def to_dict(
        self,
        run: RunFacts,
        sources: Sequence[SourceFacts],
        api: ApiFacts,
        mapping: Json,
        timeline: Json | None = None,
    ) -> Json:
        """Return the report as JSON values; reasons are our own codes and the API's keys, never its text."""
        return {
            "version": run.version,
            "run_id": run.run_id,
            "mode": run.mode,
            "status": status_of(run.exit_code),
            "exit_code": int(run.exit_code),
            "started_at": _utc(run.started_at),
            "finished_at": _utc(run.finished_at),
            "duration_s": round(run.duration_s, 3),
            "input": _input(sources),
            "events": {"read": self.read, "by_type": self._by_type()},
            "outcomes": {str(state): count for state, count in self.counts().items()},
            "reasons": {str(state): self._reasons_of(state) for state in _WITH_REASONS},
            "api": {**msgspec.to_builtins(api), "by_endpoint": self._by_endpoint()},
            "mapping": mapping,
            "timeline": timeline,
            "settings": {"digest": run.settings_digest},
            "stopped_by": _text(run.stopped_by),
            "dead_letters": _text(run.dead_letters),
        }

    def _by_type(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for (_, type_, _, _), tally in self._tallies.items():
            counts[type_ or NONE] = counts.get(type_ or NONE, 0) + tally.count
        return dict(_largest_first(counts.items(), lambda count: count))

    def _by_endpoint(self) -> dict[str, dict[str, int]]:
        endpoints: dict[str, dict[str, int]] = {}
        for (state, _, _, kind), tally in self._tallies.items():
            if kind is not None:
                states = endpoints.setdefault(_ENDPOINTS[kind], {})
                states[str(state)] = states.get(str(state), 0) + tally.count
        return endpoints

    def _reasons_of(self, wanted: State) -> dict[str, Json]:
        found: dict[str, _Tally] = {}
        for (state, _, reason, _), tally in self._tallies.items():
            if state is wanted and (reason is not None or state is not State.DELIVERED):
                found.setdefault(reason or NONE, _Tally()).take(tally)
        ordered = _largest_first(found.items(), lambda tally: tally.count)
        return {reason: msgspec.to_builtins(tally) for reason, tally in ordered}


def exit_code(
    report: Report, *, error: VoucherifySyncError | None, signal: ExitCode | None, damaged: bool
) -> ExitCode:
    """Return how the run ends. Where several codes apply: 1, 2, 5, a signal, 4, 3, 0, in this order."""
    counts = report.counts()
    found = {ExitCode.OK}
    if damaged or counts[State.INVALID] or counts[State.FAILED] or counts[State.IN_DOUBT]:
        found.add(ExitCode.INCOMPLETE)
    if counts[State.PENDING]:
        found.add(ExitCode.STOPPED)
    if signal is not None:
        found.add(signal)
    if error is not None:
        found.add(error.exit_code)
    if not report.lawful:
        found.add(ExitCode.BUG)
    return min(found, key=PRECEDENCE.index)


def status_of(code: ExitCode) -> str:
    """Return the report's word for an exit code."""
    return _STATUS.get(code, "interrupted")


def encode_report(report: Json) -> bytes:
    """Return the report as indented JSON that ends in a line feed."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"


def write_report(path: Path, report: Json) -> None:
    """Write the JSON report, whole or not at all, readable by its owner only.

    Raises RunStopped when the disk is full, UsageProblem when the path cannot be written.
    """
    try:
        write_whole(path, encode_report(report))
    except OSError as error:
        raise write_error(path, error) from error


def _within(known: set[str], name: str | None) -> str | None:
    """Return the name if it is among the first CAP different ones, else OTHER: names come from the input."""
    if name is None:
        return None
    name = name[:_LONGEST_NAME]
    if name not in known:
        if len(known) >= CAP:
            return OTHER
        known.add(name)
    return name


def _input(sources: Sequence[SourceFacts]) -> Json:
    lines, size = sum(s.lines for s in sources), sum(s.bytes for s in sources)
    shown = _shown(sources)
    listed = [_source(utf8(s.name), s.lines, s.bytes, s.damaged) for s in shown]
    if len(shown) < len(sources):
        rest = lines - sum(s.lines for s in shown), size - sum(s.bytes for s in shown)
        listed.append(_source(OTHER, *rest, damaged=None))
    return {"sources": listed, "lines": lines, "bytes": size}


def _source(name: str, lines: int, size: int, damaged: str | None) -> Json:
    return {"name": name, "lines": lines, "bytes": size, "damaged": damaged}


def _shown(sources: Sequence[SourceFacts]) -> list[SourceFacts]:
    """Return at most CAP sources in their order; a damaged one is the last to be left out."""
    if len(sources) <= CAP:
        return list(sources)
    chosen = sorted(range(len(sources)), key=lambda number: sources[number].damaged is None)[:CAP]
    return [sources[number] for number in sorted(chosen)]


def _largest_first(items: Iterable[tuple[str, Any]], size: Any) -> list[tuple[str, Any]]:
    return sorted(items, key=lambda item: (-size(item[1]), item[0]))


def _text(text: str | None) -> str | None:
    return None if text is None else utf8(text)


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


ENDINGS = {
    "delivered": "{} delivered",
    "planned": "{} would be sent",
    "skipped": "{} skipped by a rule",
    "duplicate": "{} not sent again",
    "invalid": "{} invalid",
    "failed": "{} failed",
    "in_doubt": "{} in doubt",
    "pending": "{} still to do",
}
"""State -> how so many records ended."""

_VERBS = {
    "live": "Replayed {}",
    "sandbox": "Replayed {} into the sandbox",
    "dry_run": "Dry run of {}",
}


def headline(report: Json) -> str:
    """Return the whole run in one sentence."""
    read = report["events"]["read"]
    if not read:
        return "No events were read."
    begun = _VERBS.get(report["mode"], "Read {}").format(counted(read, "event"))
    if report["status"] not in ("complete", "incomplete"):
        begun = f"Stopped after {counted(read, 'event')}"
    before = report["reasons"]["failed"].get(FAILED_BEFORE, {}).get("count", 0)
    counts = report["outcomes"] | {"failed": report["outcomes"]["failed"] - before}
    ended = [ENDINGS[state].format(f"{count:,}") for state, count in counts.items() if count]
    if not before:
        return f"{begun}: {', '.join(ended)}."
    ended.append(f"{before:,} failed earlier and were not tried again")
    return f"{begun}: {', '.join(ended)}: voucherify-sync retry"
