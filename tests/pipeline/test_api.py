"""The library as a script or a scheduler calls it: typed options in, reports out, and nothing else happens."""

from __future__ import annotations

import io
import json
import re
import signal
import sys
import threading
import types
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support.replays import write_settings

from voucherify_sync.api import (
    CoverageOptions,
    ExplainOptions,
    FinalOptions,
    Mode,
    ReplayOptions,
    RetryOptions,
    Settings,
    Snapshot,
    State,
    Stop,
    changes,
    check,
    compare,
    coverage,
    explain,
    final_state,
    plan,
    replay,
    retry,
    watch,
)
from voucherify_sync.errors import RunStopped, SettingsError, SourceError, UsageProblem
from voucherify_sync.exit_codes import ExitCode
from voucherify_sync.preview.coverage import ValueTotals
from voucherify_sync.run import options as run_options
from voucherify_sync.run.pipeline import Pipeline
from voucherify_sync.run.processes import Processes
from voucherify_sync.sandbox import Sandbox
from voucherify_sync.sandbox.faults import Fault
from voucherify_sync.sandbox.options import SandboxOptions
from voucherify_sync.settings import Track

IDENTIFY = (
    '{"type":"identify","userId":"u1","messageId":"i1","traits":{"email":"ann@example.com","plan":"pro"}}\n'
)
TRACK = '{"type":"track","userId":"u1","messageId":"t1","event":"Order Completed","properties":{"total":9}}\n'
PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "python.md"
BLOCKS = {
    text[2:].partition("\n")[0]: text
    for text in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
}
"""Programs of the page, by the file name in their first line."""


@pytest.fixture(autouse=True)
def nothing_else_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[None]:
    """Hold what each call promises: no thread, no handler of signals, nothing on standard output."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    threads = set(threading.enumerate())
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    yield
    for thread in set(threading.enumerate()) - threads:
        thread.join(timeout=60)  # a sandbox may still be hanging up
        assert not thread.is_alive(), thread
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == handlers
    assert not capfd.readouterr().out


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Return a file with an identify and a track."""
    file = tmp_path / "events.ndjson"
    file.write_text(IDENTIFY + TRACK)
    return file


@pytest.fixture
def config(tmp_path: Path, sandbox: Sandbox) -> Path:
    """Return a settings file that names the sandbox."""
    return settings_for(tmp_path, sandbox)


def settings_for(folder: Path, sandbox: Sandbox) -> Path:
    """Write the settings of a project."""
    return write_settings(folder / "settings.yaml", sandbox.url, key="an-application")


def test_a_replay_sends_and_reports(archive: Path, config: Path, sandbox: Sandbox) -> None:
    """The first run makes the ledger, and the second sends nothing again."""
    first = replay(ReplayOptions(source=archive, config=config, new_ledger=True))
    assert (first.exit_code, first.outcomes["delivered"]) == (0, 2)
    assert sandbox.counts()[:2] == (1, 1)
    again = replay(ReplayOptions(source=[archive], config=config))
    assert again.outcomes["duplicate"] == 2
    assert sandbox.counts()[:2] == (1, 1)


def test_a_first_run_without_a_ledger_is_refused(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is asked, so a missing ledger must be meant."""
    monkeypatch.setenv("VOUCHERIFY_API_KEY", "key")
    monkeypatch.setenv("VOUCHERIFY_API_TOKEN", "token")
    with pytest.raises(UsageProblem, match="no ledger yet"):
        replay(ReplayOptions(source=archive))


def test_a_dry_run_writes_its_requests(archive: Path) -> None:
    """To whatever takes bytes; without one they are counted only."""
    output = io.BytesIO()
    report = replay(ReplayOptions(source=archive, mode=Mode.DRY_RUN), output=output)
    assert [json.loads(line)["path"] for line in output.getvalue().splitlines()] == [
        "/v1/customers",
        "/v1/events",
    ]
    silent = replay(ReplayOptions(source=archive, mode=Mode.DRY_RUN))
    differing = {
        name: getattr(report, name) for name in ("run_id", "started_at", "finished_at", "duration_s")
    }
    assert report == msgspec.structs.replace(silent, **differing)


def test_the_sandbox_needs_no_account(archive: Path) -> None:
    """It is started for the run, and gone after it."""
    report = replay(ReplayOptions(source=archive, mode=Mode.SANDBOX, customers="bulk"))
    assert report.outcomes["delivered"] == 2


def test_outcomes_and_progress_are_told(archive: Path) -> None:
    """Outcomes in the thread of the run, progress at its end at the latest."""
    told: list[Snapshot] = []
    seen: list[str] = []
    replay(
        ReplayOptions(source=archive, mode=Mode.DRY_RUN),
        progress=told.append,
        watch=lambda outcomes: seen.extend(str(outcome.state) for outcome in outcomes),
    )
    assert seen == ["planned", "planned"]
    assert told[-1].events == 2


def test_an_error_of_the_progress_callback_does_not_end_the_run(
    archive: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, and progress is not told any more."""

    def fail(_: Snapshot) -> None:
        raise ValueError("a mistake of the caller")

    report = replay(ReplayOptions(source=archive, mode=Mode.DRY_RUN), progress=fail)
    assert report.outcomes["planned"] == 2
    assert "a mistake of the caller" in caplog.text


def planned(source: str, stop: Stop, **more: Any) -> int:
    """Return how many records a dry run has read; that each has one state is checked when it ends."""
    report = replay(ReplayOptions(source=source, mode=Mode.DRY_RUN, **more), stop=stop)
    assert isinstance(stop.error, RunStopped)
    return sum(report.outcomes.values())


@pytest.mark.parametrize(
    "read",
    [
        pytest.param(planned, id="dry-run"),
        pytest.param(lambda source, stop: planned(source, stop, customers="bulk"), id="bulk"),
        pytest.param(
            lambda source, stop: sum(plan(ReplayOptions(source=source), stop=stop).report.outcomes.values()),
            id="plan",
        ),
        pytest.param(
            lambda source, stop: coverage(CoverageOptions(source=source), stop=stop).events.read,
            id="coverage",
        ),
        pytest.param(  # each record is decided twice
            lambda source, stop: (
                compare(CoverageOptions(source=source, against=Settings()), stop=stop).read * 2
            ),
            id="compare",
        ),
        pytest.param(
            lambda source, stop: final_state(FinalOptions(source=source, customer="u1"), stop=stop).read,
            id="final",
        ),
    ],
)
@pytest.mark.parametrize("is_shared", [False, True], ids=["alone", "shared"])
def test_a_stop_is_noticed_within_a_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[str, Stop], int], is_shared: bool
) -> None:
    """A record may take long; those that were mapped before are counted, and no others."""
    (tmp_path / "events.ndjson").write_text(TRACK * 900)
    stop, admitted, admit = Stop(), 0, Pipeline.admitted

    def admit_and_stop(pipeline: Pipeline, record: Any) -> Any:
        nonlocal admitted
        admitted += 1
        if admitted == 101:
            stop.request()
        return admit(pipeline, record)

    monkeypatch.setattr(Pipeline, "admitted", admit_and_stop)
    if is_shared:  # and no process can be had, so that the work of one is done here
        monkeypatch.setattr(run_options, "MIN_SHARED_BYTES", 0)
        monkeypatch.setattr(Processes, "submit", lambda *_: None)
    assert read("events.ndjson", stop) == admitted
    assert 101 <= admitted < 140


def test_a_stop_ends_the_run_and_the_next_one_goes_on(archive: Path, config: Path, sandbox: Sandbox) -> None:
    """What was not sent is pending."""
    stop = Stop()
    stop.request("the maintenance window ends")
    options = ReplayOptions(source=archive, config=config, new_ledger=True)
    report = replay(options, stop=stop)
    assert report.exit_code == ExitCode.STOPPED
    assert "the maintenance window ends" in report.stopped_by
    assert sandbox.counts()[:2] == (0, 0)
    assert replay(ReplayOptions(source=archive, config=config)).outcomes["delivered"] == 2


def test_what_failed_is_retried(archive: Path, tmp_path: Path) -> None:
    """From the ledger."""
    faults = [Fault.parse("POST /v1/events status 400 #1")]
    with Sandbox(SandboxOptions(keep=None), faults) as server:
        config = settings_for(tmp_path, server)
        first = replay(ReplayOptions(source=archive, config=config, new_ledger=True))
        assert (first.exit_code, first.outcomes["failed"]) == (ExitCode.INCOMPLETE, 1)
        again = retry(RetryOptions(config=config))
        assert (again.exit_code, again.outcomes["delivered"]) == (0, 1)


def test_a_ledger_that_is_held_is_an_error(archive: Path, config: Path) -> None:
    """A second task of a scheduler ends at once, and the first goes on."""
    held: list[BaseException] = []

    def begin_another(_: object) -> None:
        with pytest.raises(RunStopped) as error:
            replay(ReplayOptions(source=archive, config=config))
        held.append(error.value)

    report = replay(ReplayOptions(source=archive, config=config, new_ledger=True), watch=begin_another)
    assert held
    assert report.outcomes["delivered"] == 2


def test_a_plan_counts_calls_and_sends_nothing(archive: Path, config: Path, sandbox: Sandbox) -> None:
    """Whatever the mode says."""
    cost = plan(ReplayOptions(source=archive, config=config))
    assert (cost.each.calls, cost.bulk.events) == (2, 1)
    assert sandbox.counts() == (0, 0, 0)


def test_explanations_come_one_by_one(archive: Path) -> None:
    """Only what is picked."""
    explained = list(explain(ExplainOptions(source=archive, event=["Order *"])))
    assert [each.request.body["event"] for each in explained if each.request] == ["Order Completed"]
    assert not list(explain(ExplainOptions(source=archive, user=["nobody"])))


def test_coverage_counts_values(archive: Path) -> None:
    """The plan and the total have no row."""
    assert coverage(CoverageOptions(source=archive)).values == ValueTotals(3, 1, 0.3333)


def test_a_comparison_and_a_final_state_are_told(archive: Path) -> None:
    """With settings as values, as with files."""
    after = Settings(track=Track(mapping={"properties.total": ["metadata.total"]}))
    report = compare(CoverageOptions(source=archive, settings=after, against=Settings()))
    assert (report.read, report.changed, report.unchanged) == (2, 1, 1)
    (change,) = changes(ExplainOptions(source=archive, settings=after, against=Settings()))
    assert [each.path for each in change.fields] == ["metadata.total"]
    state = final_state(FinalOptions(source=archive, settings=after, customer="u1"))
    assert [each.path for each in state.fields] == ["email"]
    assert [(each.name, each.count) for each in state.events] == [("Order Completed", 1)]


def test_a_watch_yields_the_same_events_again_and_mistakes(archive: Path, tmp_path: Path) -> None:
    """Until the stop; settings given as a value cannot be saved again."""
    file, stop = tmp_path / "watched.yaml", Stop()
    file.write_text("{}\n")
    texts = iter(["track: {events_exclude: [Order Completed]}\n", "trak: {}\n", "{}\n"])
    found = []
    for shown in watch(ExplainOptions(source=archive, config=file, event="Order Completed"), stop=stop):
        found.append(shown)
        if (text := next(texts, None)) is None:
            stop.request()
        else:
            file.write_text(text)
    assert [[each.outcome.state for each in shown.explanations] for shown in found] == [
        [State.PLANNED],
        [State.SKIPPED],
        [],
        [State.PLANNED],
    ]
    assert [shown.before is None for shown in found] == [True, False, True, False]
    assert [shown.error is None for shown in found] == [True, True, False, True]
    with pytest.raises(UsageProblem, match="a file of settings"):
        next(watch(ExplainOptions(source=archive, settings=Settings())))


def test_check_runs_the_mapping_tests(tmp_path: Path) -> None:
    """Mistakes are an error; a test that fails is a result."""
    file = tmp_path / "settings.yaml"
    file.write_text(
        "tests:\n- name: email\n"
        "  event: {type: identify, userId: u1, traits: {email: a@b.c}}\n"
        "  expect: {method: POST, path: /v1/customers, body: {source_id: u1, email: other@b.c}}\n"
    )
    report = check(file)
    assert not report.is_passed
    assert report.missing
    file.write_text("trak: {}\n")
    with pytest.raises(SettingsError, match="trak"):
        check(file)


def test_what_cannot_begin_raises(tmp_path: Path) -> None:
    """With the remedy of the command line."""
    with pytest.raises(SourceError) as error:
        replay(ReplayOptions(source=tmp_path / "missing.ndjson", mode=Mode.DRY_RUN))
    assert error.value.exit_code is ExitCode.USAGE


def run_block(name: str, capfd: pytest.CaptureFixture[str]) -> tuple[dict[str, Any], str]:
    """Run a program of the page; return its names, and what it printed."""
    names: dict[str, Any] = {"__name__": name}
    exec(compile(BLOCKS[name], name, "exec"), names)
    return names, capfd.readouterr().out


def test_the_airflow_task_of_the_docs_runs(
    archive: Path,
    config: Path,
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """With a stand-in for the decorator: it sends a folder, and a second try sends nothing again."""
    airflow = types.ModuleType("airflow.sdk")
    airflow.task = lambda function: function  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "airflow", types.ModuleType("airflow"))
    monkeypatch.setitem(sys.modules, "airflow.sdk", airflow)
    replay(ReplayOptions(source=archive, config=config, new_ledger=True, limit=1))
    names, _ = run_block("dags/voucherify_backfill.py", capfd)
    assert names["send_day"](str(archive), str(config))["delivered"] == 1
    assert names["send_day"](str(archive), str(config))["duplicate"] == 2
    assert sandbox.counts()[1] == 1


def test_the_notebook_cell_of_the_docs_runs(samples: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """It prints a line for each of its questions."""
    Path("sample_events").symlink_to(samples)
    _, printed = run_block("notebook.py", capfd)
    assert re.fullmatch(r"\d+ calls .*\n\d+ calls .*\n\d+ of \d+ values .*\n.*Order Completed\n", printed)


def test_the_review_of_the_docs_runs(samples: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """It names each row that changes something, and each field of a customer."""
    Path("sample_events").symlink_to(samples)
    Path("voucherify-sync.yaml").write_text("track: {mapping: {properties.total: metadata.total}}\n")
    _, printed = run_block("review.py", capfd)
    assert re.match(r"\d+ requests change, 0 are no longer sent\n", printed)
    assert re.search(r"^added properties.total: metadata.total \d+$", printed, re.MULTILINE)
    assert re.search(r"^email mia.hk@example.com \S+:13$", printed, re.MULTILINE)


def test_the_service_of_the_docs_runs(
    samples: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its timer is cancelled here: it would wait for an hour."""
    Path("sample_events").symlink_to(samples)
    monkeypatch.setattr(threading.Timer, "start", lambda _: None)
    _, printed = run_block("service.py", capfd)
    assert re.search(r"\w+: \d+ calls.*\n\d+ delivered\n$", printed)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"event": "Order Completed"}, id="event"),
        pytest.param({"user": "u1", "type": "track"}, id="user-and-type"),
        pytest.param({"source": "events.ndjson", "type": "track"}, id="source"),
        pytest.param({"mode": "dry_run", "type": ["track"], "rate": "90/min", "max_errors": 5}, id="texts"),
        pytest.param({"since": "2024-11-01", "until": "12h", "type": "Track"}, id="times-as-texts"),
        pytest.param({"since": "3649d", "type": ["track"], "max_duration": "8h"}, id="durations-as-texts"),
        pytest.param({"since": datetime(2024, 11, 1), "type": ["track"]}, id="without-a-time-zone"),  # noqa: DTZ001
    ],
)
def test_a_lone_value_means_what_it_says(archive: Path, options: dict[str, Any]) -> None:
    """A text is not taken for its letters, and what the command line reads as text can be one."""
    report = replay(ReplayOptions(**{"source": archive, "mode": Mode.DRY_RUN, **options}))
    assert report.outcomes["planned"] == 1


@pytest.mark.parametrize(
    "options",
    [
        *({"workers": count} for count in (0, -1, 257, True, 2.5)),
        *({"limit": count} for count in (0, -1, "3", 2.5)),
        {"jobs": 0},
        {"max_errors": "5"},
        {"max_errors": -1},
        {"max_duration": "soon"},
        {"rate": "fast"},
        {"since": "yesterday"},
        {"until": 5},
        {"type": "identfy"},
        {"type": ["track", "alias"]},
        {"customers": "BULK"},
        {"on_doubt": "forget"},
        {"mode": "dry-run"},
        {"exclude_ids": 5},
        {"event": 5},
    ],
    ids=str,
)
def test_an_option_that_cannot_be_meant_is_refused_at_once(options: dict[str, Any]) -> None:
    """Not in the middle of a run, and with the name of the option."""
    with pytest.raises(UsageProblem, match=f"^{next(iter(options))}: must be "):
        ReplayOptions(**options)


def test_live_as_a_text_is_checked_as_live(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is asked, so a missing ledger must be meant."""
    monkeypatch.setenv("VOUCHERIFY_API_KEY", "key")
    monkeypatch.setenv("VOUCHERIFY_API_TOKEN", "token")
    with pytest.raises(UsageProblem, match="no ledger yet"):
        replay(ReplayOptions(source=archive, mode="live"))  # type: ignore[arg-type]


def test_an_unbuffered_output_gets_every_byte(archive: Path) -> None:
    """It may take a part of what it is given."""

    class Slow(io.RawIOBase):
        data = b""

        def write(self, data: Any, /) -> int:
            self.data += bytes(data[:10])
            return min(len(data), 10)

    output, whole = Slow(), io.BytesIO()
    for each in (output, whole):
        replay(ReplayOptions(source=archive, mode=Mode.DRY_RUN), output=each)  # type: ignore[arg-type]
    assert output.data == whole.getvalue()


def test_fewer_threads_do_the_same_work(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system allows no more of them; without any the run ends, and those that began end with it."""
    start, begun = threading.Thread.start, 0

    def refused(thread: threading.Thread) -> None:
        nonlocal begun
        if thread.name == "delivery":
            begun += 1
            if begun > allowed:
                raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refused)
    allowed = 2
    assert replay(ReplayOptions(source=archive, mode=Mode.SANDBOX)).outcomes["delivered"] == 2
    allowed, begun = 1, 0
    with pytest.raises(RunStopped, match="no more threads"):
        replay(ReplayOptions(source=archive, mode=Mode.SANDBOX))
