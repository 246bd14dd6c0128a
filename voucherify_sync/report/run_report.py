"""Counts how the records of a run ended, and reports the run as one typed value.

`RunReport` is that value. The JSON report is its encoding, and docs/reference/report.md lists its fields from the
docstrings below. The summary and the HTML page render the same value.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec
from msgspec import UNSET, Struct, UnsetType

from voucherify_sync.errors import VoucherifySyncError
from voucherify_sync.events import PATHS, Kind
from voucherify_sync.exit_codes import ExitCode
from voucherify_sync.findings import OTHER_TYPES, Example, FindingCount
from voucherify_sync.outcomes import FAILED_BEFORE, OTHER_TYPE, Outcome, State, ended, words
from voucherify_sync.sources.reader import SourceFacts
from voucherify_sync.state.private_files import utf8, write_error, write_whole
from voucherify_sync.text import by_count, clean, counted, listed

MAX_NAMES = 1_000
"""Names that a map or list of the report holds at most; later ones are added up under OTHER."""
OTHER = "(other)"
NONE = "(none)"
MAX_EXAMPLES = 3

_MAX_NAME = 200
_MAX_DETAIL = 500
_MAX_REASONS = 3
_MAX_TYPES = 5
_WITH_REASONS = (State.DELIVERED, State.SKIPPED, State.DUPLICATE, State.INVALID, State.FAILED, State.IN_DOUBT)
TIMED_STATES = (State.DELIVERED, State.FAILED, State.IN_DOUBT)
"""States that the timeline counts: how requests ended. A record without a request says nothing about time."""

_MODES = {
    "live": "Replayed {}",
    "sandbox": "Replayed {} into the sandbox",
    "dry_run": "Dry run of {}",
    "prepare": "Prepared {}",
}
_STATUS = {
    ExitCode.OK: "complete",
    ExitCode.INCOMPLETE: "incomplete",
    ExitCode.STOPPED: "stopped",
    ExitCode.REFUSED: "refused",
    ExitCode.USAGE: "unusable",
    ExitCode.BUG: "broken",
}


class SourceReport(Struct, frozen=True):
    """What was read of one source.

    Attributes:
        name: the source as it was named or found; `-` is stdin.
        lines: lines read.
        bytes: bytes read (compressed size).
        damaged: what is wrong with the source, or null.
        e_tag: of an object in a store, what tells it from a later one of the same name; null for others.
    """

    name: str
    lines: int
    bytes: int
    damaged: str | None
    e_tag: str | None = None


class InputReport(Struct, frozen=True):
    """What was read.

    Attributes:
        sources: each with its own numbers.
        lines: lines read from all sources.
        bytes: bytes read from all sources (compressed size).
    """

    sources: list[SourceReport]
    lines: int
    bytes: int

    @staticmethod
    def of(facts: Sequence[SourceFacts]) -> InputReport:
        """List at most MAX_NAMES sources in their order; a damaged one is the last to be left out."""
        lines, size = sum(each.lines for each in facts), sum(each.bytes for each in facts)
        by_damage = sorted(range(len(facts)), key=lambda number: facts[number].damaged is None)
        shown = [facts[number] for number in sorted(by_damage[:MAX_NAMES])]
        listed = [
            SourceReport(utf8(each.name), each.lines, each.bytes, each.damaged, each.e_tag) for each in shown
        ]
        if len(shown) < len(facts):
            rest = lines - sum(each.lines for each in shown), size - sum(each.bytes for each in shown)
            listed.append(SourceReport(OTHER, *rest, damaged=None))
        return InputReport(listed, lines, size)


class EventCounts(Struct, frozen=True):
    """Records by type.

    Attributes:
        read: records read.
        by_type: records read, by the type of the event; `(none)` without a type.
    """

    read: int
    by_type: dict[str, int]


class ReasonCount(Struct):
    """Records that ended in one state for one reason.

    Attributes:
        count: records: see [reasons](reasons.md).
        examples: the first 3 of them, as `file:line`.
        detail: a sentence about the first of them, or null.
    """

    count: int = 0
    examples: list[str] = msgspec.field(default_factory=list)
    detail: str | None = None

    def merge(self, other: ReasonCount) -> None:
        """Add the records of another type or endpoint."""
        self.count += other.count
        self.examples = (self.examples + other.examples)[:MAX_EXAMPLES]
        self.detail = self.detail or other.detail


class ApiReport(Struct, frozen=True):
    """Calls, and the limit of the API.

    Attributes:
        calls: calls made, including retries and polls.
        retries: calls that repeated an earlier one.
        throttled: calls answered with 429.
        limit: calls that the API allows in a period, or null if it reported no limit.
        period_s: that period in seconds, or null.
        by_endpoint: records by endpoint and state.
    """

    calls: int = 0
    retries: int = 0
    throttled: int = 0
    limit: int | None = None
    period_s: float | None = None
    by_endpoint: dict[str, dict[str, int]] = msgspec.field(default_factory=dict)


class MappingReport(Struct, frozen=True):
    """What the mapping did with the events of one section of the settings: those of a type, or of some names.

    Attributes:
        events: of which a request could be made, repeated ones included.
        rows: how often the row matched.
        set: how often the entry of `set` gave a value, by its destination.
        unmapped: how often a value was not mapped because no row reads it.
        dropped: how often a row found a value that its field cannot hold.
    """

    events: int = 0
    rows: dict[str, int] = msgspec.field(default_factory=dict)
    set: dict[str, int] = msgspec.field(default_factory=dict)
    unmapped: dict[str, int] = msgspec.field(default_factory=dict)
    dropped: dict[str, dict[str, int]] = msgspec.field(default_factory=dict)


class TimelineReport(Struct, frozen=True):
    """Counts by wall time, for consecutive buckets.

    Attributes:
        bucket_s: width of a bucket in seconds; in a dry run `timeline` is null.
        delivered: records delivered, by bucket.
        failed: records failed, by bucket.
        in_doubt: records in doubt, by bucket.
    """

    bucket_s: float
    delivered: list[int]
    failed: list[int]
    in_doubt: list[int]


class SettingsReport(Struct, frozen=True):
    """Which settings the run had.

    Attributes:
        digest: hash: equal if the settings make equal requests from equal events.
    """

    digest: str


class SelectionReport(Struct, frozen=True):
    """What the command line has picked, but for ids.

    Attributes:
        types: of `--type`; empty for all.
        events: of `--event`; empty for all.
        since: of `--since`, in UTC, or null.
        until: of `--until`, in UTC, or null.
        where: of `--where`, or null.
        sample: of `--sample`: the percentage of the customers, or null for all.
    """

    types: list[str] = []
    events: list[str] = []
    since: str | None = None
    until: str | None = None
    where: str | None = None
    sample: float | None = None


class OlderUpdatesReport(Struct, frozen=True):
    """Customer updates out of order.

    Attributes:
        count: customer updates older than one sent before them.
        capped: true if there were too many customers to count all.
    """

    count: int
    capped: bool


class BulkReport(Struct):
    """What became of the customers of a run in bulk. In a dry run `delivered` and `requests` are those it would send.

    Attributes:
        updates: records with customer fields; `bulk` exists only with `--bulk`.
        delivered: customers sent.
        failed: customers refused or given up.
        unchanged: customers not sent, because nothing about them is new.
        requests: bulk requests.
        polls: calls that asked about a bulk request.
        bytes: size of all bulk requests.
    """

    updates: int = 0
    delivered: int = 0
    failed: int = 0
    unchanged: int = 0
    requests: int = 0
    polls: int = 0
    bytes: int = 0


class OrdersReport(Struct):
    """What became of the orders of a run. In a dry run `delivered` and `requests` are those it would import.

    Attributes:
        records: order events; `orders` exists only while `orders.disabled` is false.
        orders: that they make.
        delivered: orders imported.
        failed: orders refused or given up.
        unchanged: orders not sent, because nothing about them is new.
        requests: imports.
        polls: calls that asked about an import.
        bytes: size of all imports.
        partial_refunds: events that take back a part of an order, and so change nothing.
        items_dropped: items that are not sent, as they have neither an id nor a price.
        customers_differ: orders whose events name several customers; the latest one counts.
    """

    records: int = 0
    orders: int = 0
    delivered: int = 0
    failed: int = 0
    unchanged: int = 0
    requests: int = 0
    polls: int = 0
    bytes: int = 0
    partial_refunds: int = 0
    items_dropped: int = 0
    customers_differ: int = 0


class RunReport(Struct, frozen=True, kw_only=True):
    """The report of one run.

    Reasons are codes of our own and Voucherify's error keys, never its free text. Fields are only ever added.

    Attributes:
        version: of voucherify-sync.
        run_id: id of the run, as in the ledger, `--again-since` and the dead letters.
        mode: `live`, `dry_run`, `sandbox` or `prepare`.
        status: how the run ended, in a word: see [exit codes](exit-codes.md).
        exit_code: exit code of the command.
        started_at: UTC.
        finished_at: UTC.
        duration_s: seconds.
        input: what was read.
        events: records by type.
        outcomes: records by state; they add up to `events.read`.
        reasons: why they ended so.
        api: calls and endpoints.
        mapping: by type of event; ``events.NAME`` for those of an entry of `track.events`.
        findings: what a person should know of the input, by [code](reasons.md#findings).
        notices: sentences on filters and selections that meet nothing in the input, or almost something.
        timeline: when requests ended.
        settings: which settings it had.
        selection: what the command line has picked, but for ids.
        stopped_by: what ended the run early and what to do, or null.
        dead_letters: the file of dead letters, or null.
        older_updates: customer updates out of order.
        bulk: what became of the customers of a run in bulk.
        orders: what became of the orders.
    """

    version: str
    run_id: str
    mode: str
    status: str
    exit_code: int
    started_at: str  # a text: msgspec would leave the milliseconds out where they are 0
    finished_at: str
    duration_s: float
    input: InputReport
    events: EventCounts
    outcomes: dict[str, int]
    reasons: dict[str, dict[str, ReasonCount]]
    api: ApiReport
    mapping: dict[str, MappingReport]
    findings: dict[str, FindingCount]
    notices: list[str]
    timeline: TimelineReport | None
    settings: SettingsReport
    selection: SelectionReport = SelectionReport()
    stopped_by: str | None
    dead_letters: str | None
    older_updates: OlderUpdatesReport
    bulk: BulkReport | UnsetType = UNSET  # not in the JSON, rather than null, as it was published
    orders: OrdersReport | UnsetType = UNSET

    def reason_count(self, state: State, reason: str) -> int:
        """Return how many records ended in a state for a reason."""
        found = self.reasons[state].get(reason)
        return found.count if found else 0


RecordsAlike = tuple[State, str | None, str | None, Kind | None]
"""How records ended that are counted together: state, type, reason, and kind of their requests."""


class RecordCounts:
    """Counts the outcomes of a run; keeps no event.

    Attributes:
        read: records that came out of the sources, counted by their reader and not by their outcomes: the invariant
            compares two counts made in two places.
    """

    def __init__(self) -> None:
        self.read = 0
        self._counts: dict[RecordsAlike, ReasonCount] = {}
        self._types: set[str] = set()
        self._reasons: set[str] = set()

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Count records that are decided."""
        known = self._counts.get
        for outcome in outcomes:
            request = outcome.request
            key = (
                outcome.state,
                outcome.record.type,
                outcome.reason,
                request.kind if request is not None else None,
            )
            found = known(key)
            if found is None:
                found = self._count_of(key)
            found.count += 1
            if found.count <= MAX_EXAMPLES:
                found.examples.append(utf8(str(outcome.record.position)))
                if found.detail is None and outcome.detail:
                    found.detail = utf8(outcome.detail[:_MAX_DETAIL])

    def move(self, type_: str, kind: Kind, state: State, reason: str, count: int) -> None:
        """Count planned records of a type as ended otherwise, once that is known of their customer."""
        self._count_of((State.PLANNED, type_, None, kind)).count -= count
        self._count_of((state, type_, reason, kind)).count += count

    def _count_of(self, key: RecordsAlike) -> ReasonCount:
        state, type_, reason, kind = key
        bounded = (state, _within(self._types, type_), _within(self._reasons, reason), kind)
        return self._counts.setdefault(bounded, ReasonCount())

    def add_count(self, key: RecordsAlike, count: int, examples: list[str], detail: str | None) -> None:
        """Count records that ended alike, of which the first are known."""
        found = self._count_of(key)
        found.merge(
            ReasonCount(count, [utf8(each) for each in examples], detail and utf8(detail[:_MAX_DETAIL]))
        )

    def counts(self) -> dict[State, int]:
        """Return how many records ended in each state so far; a display may ask from another thread."""
        counts = dict.fromkeys(State, 0)
        for (state, *_), found in list(self._counts.items()):
            counts[state] += found.count
        return counts

    @property
    def holds_invariant(self) -> bool:
        """Whether every record that was read has ended in exactly one state."""
        return self.read == sum(self.counts().values())

    def check_invariant(self) -> None:
        """Raise VoucherifySyncError, a bug, unless every record read has ended in exactly one state."""
        if not self.holds_invariant:
            raise VoucherifySyncError(
                f"{self.read:,} records were read and {sum(self.counts().values()):,} were counted",
                "This is a bug: please report it. The ledger and the dead letters are intact.",
            )

    def by_type(self) -> dict[str, int]:
        """Return records by the type of their event, the most frequent first."""
        counts: dict[str, int] = {}
        for (_, type_, _, _), found in self._counts.items():
            counts[type_ or NONE] = counts.get(type_ or NONE, 0) + found.count
        return by_count(counts)

    def other_types(self) -> FindingCount | None:
        """Return what is found of records whose type is none of Segment's, by type, the most frequent first."""
        types = {
            type_ or NONE: found
            for (_, type_, reason, _), found in self._counts.items()
            if reason == OTHER_TYPE
        }
        if not types:
            return None
        counts = by_count({type_: found.count for type_, found in types.items()})
        examples = [Example(types[type_].examples[0], type_, count) for type_, count in counts.items()]
        return FindingCount(sum(counts.values()), examples)

    def by_endpoint(self) -> dict[str, dict[str, int]]:
        """Return records with a request, by endpoint and state."""
        endpoints: dict[str, dict[str, int]] = {}
        for (state, _, _, kind), found in self._counts.items():
            if kind is not None:
                states = endpoints.setdefault(f"POST {PATHS[kind]}", {})
                states[str(state)] = states.get(str(state), 0) + found.count
        return endpoints

    def reasons(self) -> dict[str, dict[str, ReasonCount]]:
        """Return records by state and reason, the most frequent first; most delivered records need no reason."""
        reasons: dict[str, dict[str, ReasonCount]] = {str(state): {} for state in _WITH_REASONS}
        for (state, _, reason, _), found in self._counts.items():
            if state in _WITH_REASONS and (reason is not None or state is not State.DELIVERED):
                reasons[state].setdefault(reason or NONE, ReasonCount()).merge(found)
        return {
            state: dict(sorted(named.items(), key=lambda item: (-item[1].count, item[0])))
            for state, named in reasons.items()
        }


def _within(known: set[str], name: str | None) -> str | None:
    """Return the name if it is among the first MAX_NAMES, else OTHER: names come from the input."""
    if name is None:
        return None
    name = name[:_MAX_NAME]
    if name not in known:
        if len(known) >= MAX_NAMES:
            return OTHER
        known.add(name)
    return name


class Timeline:
    """Counts records by wall time of the run, from the moment that it is made.

    Memory stays flat however long a run takes: when the buckets are used up, each two become one of twice the width.

    Args:
        clock: monotonic seconds.
    """

    MAX_BUCKETS = 120
    FIRST_WIDTH_S = 0.25

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started = clock()
        self._width_s = self.FIRST_WIDTH_S
        self._counts: dict[State, list[int]] = {state: [0] * self.MAX_BUCKETS for state in TIMED_STATES}
        self._used = 0

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Count records, now."""
        states = [outcome.state for outcome in outcomes if outcome.state in self._counts]
        if not states:
            return
        elapsed_s = self._clock() - self._started
        while elapsed_s >= self._width_s * self.MAX_BUCKETS:
            for counts in self._counts.values():
                pairs = [counts[at] + counts[at + 1] for at in range(0, self.MAX_BUCKETS, 2)]
                counts[:] = pairs + [0] * len(pairs)
            self._used = (self._used + 1) // 2
            self._width_s *= 2
        bucket = int(elapsed_s / self._width_s)
        for state in states:
            self._counts[state][bucket] += 1
        self._used = max(self._used, bucket + 1)

    def report(self) -> TimelineReport:
        """Return the counts so far."""
        return TimelineReport(self._width_s, *(self._counts[state][: self._used] for state in TIMED_STATES))


def status_of(code: ExitCode) -> str:
    """Return the report's word for an exit code."""
    return _STATUS.get(code, "interrupted")


def encode_report(report: RunReport) -> bytes:
    """Return the report as indented JSON that ends in a line feed."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"


def is_page(path: Path) -> bool:
    """Tell whether a report of this name is an HTML page."""
    return path.name.endswith((".html", ".htm"))


def write_report(path: Path, report: RunReport) -> None:
    """Write the report as JSON or as an HTML page, by its name; whole or not at all, readable by its owner only.

    Raises RunStopped when the disk is full, UsageProblem when the path cannot be written.
    """
    if is_page(path):
        from voucherify_sync.report.html import render  # jinja2 only where it is needed

        content = render(report).encode()
    else:
        content = encode_report(report)
    try:
        write_whole(path, content)
    except OSError as error:
        raise write_error(path, error) from error


def headline(report: RunReport, begun: str | None = None) -> str:
    """Return the whole run in one sentence.

    Args:
        report: of the run.
        begun: how the sentence begins, with `{}` for the records read; by default, from mode and status.
    """
    read = report.events.read
    if not read:
        return "No events were read."
    if report.status not in ("complete", "incomplete"):
        begun = "Stopped after {}"
    elif read == report.outcomes["skipped"]:
        return f"Read {counted(read, 'record')}; nothing to send{_why_skipped(report)}."
    # Nothing was sent for what failed in an earlier run, so it is no failure of this one.
    before = report.reason_count(State.FAILED, FAILED_BEFORE)
    counts = report.outcomes | {"failed": report.outcomes["failed"] - before}
    parts = [ended(state, count) for state, count in counts.items() if count]
    parts += [f"{before:,} failed earlier and were not tried again"] if before else []
    sentence = f"{(begun or _MODES[report.mode]).format(counted(read, 'record'))}: {', '.join(parts)}"
    return f"{sentence}."


def _why_skipped(report: RunReport) -> str:
    """Return how the sentence on skipped records ends; the types of others than Segment's events are named."""
    reasons, types = report.reasons["skipped"], report.findings.get(OTHER_TYPES)
    why = []
    for reason, found in list(reasons.items())[:_MAX_REASONS]:
        if reason == OTHER_TYPE and types is not None:
            named = listed(
                types.examples, lambda each: f"{clean(each.text, 40)} {each.count:,}", _MAX_TYPES, "more type"
            )
            are = f"of other types ({named})"
            if found.count == report.events.read:
                return f": all are {are}"
            why.append(f"{found.count:,} are {are}")
        else:
            why.append(f"{words(State.SKIPPED, reason)} ({found.count:,})")
    if len(reasons) > _MAX_REASONS:
        why.append(counted(len(reasons) - _MAX_REASONS, "more reason"))
    return f". Reasons: {', '.join(why)}"
