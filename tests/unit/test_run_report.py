"""Outcomes are folded into a report that keeps the law, names reasons by code, and stays small."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.reports import run_report

from voucherify_sync.errors import AccessRefused, RunStopped, UsageProblem, VoucherifySyncError
from voucherify_sync.events import BadRecord, Event, Kind, Position, Request
from voucherify_sync.exit_codes import ExitCode, exit_code
from voucherify_sync.outcomes import Outcome, State
from voucherify_sync.report.run_report import (
    MAX_NAMES,
    NONE,
    OTHER,
    InputReport,
    RecordCounts,
    encode_report,
    status_of,
    write_report,
)
from voucherify_sync.sources.reader import SourceFacts


def event(line: int = 1, type_: str = "track", source: str = "a.ndjson") -> Event:
    """Make an event that stands at a line."""
    return Event(Position(source, line), type_, "Order Completed", "m-1", {}, b"{}")


def outcome(state: State, reason: str | None = None, line: int = 1, **more: Any) -> Outcome:
    """End an event that stands at a line."""
    return Outcome(event(line), state, reason, **more)


def sent(state: State, kind: Kind) -> Outcome:
    """End a request."""
    request = Request(event(), kind, "usr_1", b"{}")
    return Outcome(request.event, state, request=request)


def source(name: str, damaged: str | None = None) -> SourceFacts:
    """Tell what a reader knows of one source."""
    return SourceFacts(name, 10, 100, damaged)


def counted(*outcomes: Outcome, read: int | None = None) -> RecordCounts:
    """Count these outcomes."""
    records = RecordCounts()
    for one in outcomes:
        records.add([one])
    records.read = len(outcomes) if read is None else read
    return records


def as_dict(records: RecordCounts) -> Any:
    """Return what was counted as JSON values."""
    return msgspec.to_builtins(run_report(records=records))


def test_the_report_has_the_published_fields() -> None:
    """Additive only: a field once published stays."""
    report = as_dict(counted(sent(State.DELIVERED, Kind.EVENT)))
    assert list(report) == [
        *("version", "run_id", "mode", "status", "exit_code", "started_at", "finished_at", "duration_s"),
        *("input", "events", "outcomes", "reasons", "api", "mapping", "findings", "notices"),
        *("timeline", "settings", "selection", "stopped_by", "dead_letters", "older_updates"),
    ]
    assert msgspec.to_builtins(InputReport.of([source("a.gz")])) == {
        "sources": [{"name": "a.gz", "lines": 10, "bytes": 100, "damaged": None, "e_tag": None}],
        "lines": 10,
        "bytes": 100,
    }
    assert list(report["outcomes"]) == [str(state) for state in State]
    assert list(report["reasons"]) == ["delivered", "skipped", "duplicate", "invalid", "failed", "in_doubt"]


@given(st.lists(st.tuples(st.sampled_from(State), st.sampled_from([None, "a", "b"]))))
def test_every_outcome_is_counted_once_in_every_view(ends: list[tuple[State, str | None]]) -> None:
    """States, types and reasons are views of the same outcomes."""
    records = counted(*(outcome(state, reason) for state, reason in ends))
    result = as_dict(records)
    assert records.holds_invariant
    assert sum(result["outcomes"].values()) == sum(result["events"]["by_type"].values()) == len(ends)
    delivered = sum(state is State.DELIVERED and reason is not None for state, reason in ends)
    assert sum(entry["count"] for entry in result["reasons"].pop("delivered").values()) == delivered
    for state, reasons in result["reasons"].items():
        assert sum(entry["count"] for entry in reasons.values()) == result["outcomes"][state]


def test_a_record_that_was_read_and_not_counted_breaks_the_law() -> None:
    """The law: read = delivered + planned + skipped + duplicate + invalid + failed + in_doubt + pending."""
    records = counted(outcome(State.DELIVERED), read=2)
    assert not records.holds_invariant
    with pytest.raises(VoucherifySyncError, match="2 records were read and 1 were counted"):
        records.check_invariant()
    records.add([outcome(State.PENDING)])
    records.check_invariant()


def test_a_reason_has_a_count_three_examples_and_a_detail() -> None:
    """A person finds the first lines that a reason concerns."""
    records = counted(
        *(outcome(State.FAILED, "invalid_email", line, detail=f"no. {line}") for line in range(1, 6))
    )
    assert as_dict(records)["reasons"]["failed"] == {
        "invalid_email": {
            "count": 5,
            "examples": ["a.ndjson:1", "a.ndjson:2", "a.ndjson:3"],
            "detail": "no. 1",
        }
    }


def test_reasons_of_several_types_are_added_up_the_largest_first() -> None:
    """Reasons are those of a state, whatever the type of the event."""
    page, screen = (Outcome(event(type_=name), State.SKIPPED, "type") for name in ("page", "screen"))
    reasons = as_dict(counted(outcome(State.SKIPPED, "filtered"), page, screen))["reasons"]["skipped"]
    assert [(name, entry["count"]) for name, entry in reasons.items()] == [("type", 2), ("filtered", 1)]


def test_requests_are_counted_by_endpoint_and_state() -> None:
    """A custom event and a customer go to endpoints of their own."""
    records = counted(
        sent(State.DELIVERED, Kind.EVENT),
        sent(State.FAILED, Kind.EVENT),
        sent(State.DELIVERED, Kind.CUSTOMER),
    )
    assert as_dict(records)["api"]["by_endpoint"] == {
        "POST /v1/events": {"delivered": 1, "failed": 1},
        "POST /v1/customers": {"delivered": 1},
    }


def test_what_has_no_type_or_no_reason_is_counted_as_such() -> None:
    """A broken line has no type; nothing is left uncounted for that."""
    records = counted(Outcome(BadRecord(Position("-", 1), b"x"), State.INVALID))
    result = as_dict(records)
    assert result["events"]["by_type"] == {NONE: 1}
    assert result["reasons"]["invalid"][NONE]["count"] == 1


def test_names_beyond_the_cap_are_added_up() -> None:
    """Types and reasons come from the input: their number must not grow the report for ever."""
    records = RecordCounts()
    for number in range(MAX_NAMES + 50):
        record = event(type_=f"type {number}")
        records.add([Outcome(record, State.SKIPPED, f"reason {number}")])
    records.read = MAX_NAMES + 50
    result = as_dict(records)
    by_type, reasons = result["events"]["by_type"], result["reasons"]["skipped"]
    assert len(by_type) == len(reasons) == MAX_NAMES + 1
    assert by_type[OTHER] == reasons[OTHER]["count"] == 50
    assert records.holds_invariant


def test_a_long_name_is_cut() -> None:
    """An event's type may be a megabyte."""
    result = as_dict(counted(Outcome(event(type_="t" * 1_000_000), State.SKIPPED, "type")))
    assert [len(name) for name in result["events"]["by_type"]] == [200]


def test_sources_beyond_the_cap_are_added_up_and_damage_stays_named() -> None:
    """The totals hold for all sources, and no damage is hidden by the cap."""
    sources = [source(f"{number}.gz") for number in range(MAX_NAMES + 5)]
    sources[-1] = source("last.gz", damaged="cut short")
    found = InputReport.of(sources)
    assert found.lines == (MAX_NAMES + 5) * 10
    assert sum(each.lines for each in found.sources) == found.lines
    assert [each.name for each in found.sources[-2:]] == ["last.gz", OTHER]


def test_a_file_name_that_is_no_utf8_can_be_reported() -> None:
    """File names are bytes; what is no UTF-8 shows as U+FFFD."""
    name = os.fsdecode(b"caf\xe9.gz")
    records = counted(Outcome(event(source=name), State.SKIPPED, "type"))
    full = run_report(records=records, input=InputReport.of([source(name)]))
    encoded = encode_report(full).decode("utf-8")
    assert json.loads(encoded)["input"]["sources"][0]["name"] == "caf\ufffd.gz"
    assert "caf\ufffd.gz:1" in encoded


PENDING = outcome(State.PENDING)
DONE = outcome(State.DELIVERED)
BAD = outcome(State.INVALID, "not_json")


@pytest.mark.parametrize(
    ("outcomes", "error", "signal", "damaged", "expected"),
    [
        pytest.param([DONE, outcome(State.SKIPPED, "type")], None, None, False, ExitCode.OK, id="all-well"),
        pytest.param([outcome(State.DUPLICATE, "repeated")], None, None, False, ExitCode.OK, id="duplicate"),
        pytest.param([DONE, BAD], None, None, False, ExitCode.INCOMPLETE, id="invalid"),
        pytest.param([outcome(State.FAILED, "x")], None, None, False, ExitCode.INCOMPLETE, id="failed"),
        pytest.param([outcome(State.IN_DOUBT, "x")], None, None, False, ExitCode.INCOMPLETE, id="in-doubt"),
        pytest.param([DONE], None, None, True, ExitCode.INCOMPLETE, id="damaged"),
        pytest.param([PENDING], None, None, False, ExitCode.STOPPED, id="pending"),
        pytest.param([BAD], RunStopped("quota"), None, False, ExitCode.STOPPED, id="stop-over-incomplete"),
        pytest.param(
            [PENDING],
            RunStopped("quota"),
            ExitCode.INTERRUPTED,
            True,
            ExitCode.INTERRUPTED,
            id="signal-over-stop",
        ),
        pytest.param(
            [PENDING],
            AccessRefused("keys"),
            ExitCode.TERMINATED,
            False,
            ExitCode.REFUSED,
            id="refused-over-signal",
        ),
        pytest.param(
            [BAD], UsageProblem("url"), ExitCode.HANGUP, True, ExitCode.USAGE, id="usage-over-signal"
        ),
    ],
)
def test_the_exit_code_follows_the_precedence(
    outcomes: list[Outcome],
    error: VoucherifySyncError | None,
    signal: ExitCode | None,
    damaged: bool,
    expected: ExitCode,
) -> None:
    """1, 2, 5, a signal, 4, 3, 0: the first that applies."""
    code = None if error is None else error.exit_code
    counts = counted(*outcomes).counts()
    found = exit_code(counts, error=code, signal=signal, is_damaged=damaged, holds_invariant=True)
    assert found is expected


def test_a_broken_law_is_a_bug_whatever_else_happened() -> None:
    """A run that lost count must not look like one that went well."""
    records = counted(DONE, read=5)
    assert not records.holds_invariant
    found = exit_code(
        records.counts(),
        error=AccessRefused.exit_code,
        signal=ExitCode.INTERRUPTED,
        is_damaged=True,
        holds_invariant=False,
    )
    assert found is ExitCode.BUG


@pytest.mark.parametrize(
    ("code", "status"),
    [(ExitCode.OK, "complete"), (ExitCode.INCOMPLETE, "incomplete"), (ExitCode.HANGUP, "interrupted")],
    ids=str,
)
def test_the_status_says_the_exit_code_in_a_word(code: ExitCode, status: str) -> None:
    """A signal of any kind is an interruption."""
    assert status_of(code) == status


@pytest.fixture
def no_umask() -> Any:
    """Let every permission through that the program asks for."""
    before = os.umask(0)
    yield
    os.umask(before)


def test_a_report_is_for_its_owner_only(tmp_path: Path, no_umask: None) -> None:
    """0600, and the older one that is replaced was so, too."""
    path = tmp_path / "run.json"
    write_report(path, run_report())
    write_report(path, run_report(records=counted(DONE)))
    assert json.loads(path.read_text())["outcomes"]["delivered"] == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_to_a_report_stays_a_link(tmp_path: Path) -> None:
    """What the user arranged is written through, not replaced."""
    (tmp_path / "real.json").touch()
    (tmp_path / "latest.json").symlink_to("real.json")
    write_report(tmp_path / "latest.json", run_report())
    assert (tmp_path / "latest.json").is_symlink()
    assert json.loads((tmp_path / "real.json").read_text())["version"] == "0.1.0"


def test_a_full_disk_is_a_stop_with_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The report that was there stays, and nothing half-written is left behind."""
    path = tmp_path / "run.json"
    path.write_text("before")

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(RunStopped, match="No space left") as caught:
        write_report(path, run_report())
    assert caught.value.remedy
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_device_is_written_in_place_and_complained_of() -> None:
    """A rename onto /dev/full would replace the device."""
    with pytest.raises(RunStopped, match="/dev/full"):
        write_report(Path("/dev/full"), run_report())
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)


def test_a_missing_directory_is_named_with_a_remedy(tmp_path: Path) -> None:
    """The user's own path is the user's to fix."""
    with pytest.raises(UsageProblem, match=r"nowhere/run\.json"):
        write_report(tmp_path / "nowhere" / "run.json", run_report())
