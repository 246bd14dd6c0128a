"""What a run tells of itself while it goes on: the calls to come, the phase, and 100 % only when all is done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.replays import identify, track, write_settings

from voucherify_sync.api import Mode, OpenedReplay, ReplayOptions, Snapshot
from voucherify_sync.outcomes import Phase, State
from voucherify_sync.sandbox.faults import Fault
from voucherify_sync.sandbox.options import SandboxOptions
from voucherify_sync.sandbox.server import Sandbox
from voucherify_sync.voucherify.bulk import BulkDelivery

CUSTOMERS, EVENTS = 20, 30
Watch = Callable[..., list[Snapshot]]


@pytest.fixture
def watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox) -> Watch:
    """Return what replays an archive to a sandbox, and returns how the run stood at each outcome and at its end."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    lines = [*(identify(n) for n in range(CUSTOMERS)), *(track(n) for n in range(EVENTS))]
    (tmp_path / "events.ndjson").write_text("".join(lines))
    config = write_settings(tmp_path / "settings.yaml", sandbox.url)

    def run(*, plans: bool = False, **options: Any) -> list[Snapshot]:
        asked = ReplayOptions(source="events.ndjson", config=config, **options)
        with OpenedReplay(asked, plans_first=plans) as prepared:
            if plans:
                prepared.plan()
            seen: list[Snapshot] = []
            prepared.execute(watch=lambda _: seen.append(prepared.snapshot()))
            return [*seen, prepared.snapshot()]

    return run


def shares(seen: Sequence[Snapshot]) -> list[float]:
    """Return the shares that are known."""
    return [snapshot.share for snapshot in seen if snapshot.share is not None]


def test_a_planned_run_counts_calls_of_the_calls_planned(watch: Watch) -> None:
    """From its first outcome on, and without going back."""
    seen = watch(plans=True, new_ledger=True)
    assert {snapshot.calls_total for snapshot in seen} == {CUSTOMERS + EVENTS}
    assert not any(snapshot.is_total_estimated for snapshot in seen)
    assert shares(seen) == sorted(shares(seen))
    assert seen[-1].share == 1.0
    assert seen[-1].phase is Phase.EVENTS
    assert seen[-1].in_flight == 0


def test_without_a_plan_the_total_is_known_once_all_is_read(watch: Watch) -> None:
    """Until then it is an estimate, or unknown."""
    seen = watch(new_ledger=True)
    known = [snapshot for snapshot in seen if snapshot.calls_total and not snapshot.is_total_estimated]
    assert {snapshot.calls_total for snapshot in known} == {CUSTOMERS + EVENTS}
    assert seen[-1].share == 1.0


@pytest.mark.parametrize("plans", [False, True], ids=["unplanned", "planned"])
def test_a_resumed_run_counts_only_what_is_left(watch: Watch, *, plans: bool) -> None:
    """What the ledger knows takes no call, and moves no bar; a run that was stopped has not done all."""
    stopped = watch(plans=plans, new_ledger=True, max_calls=15)[-1]
    assert (stopped.calls, stopped.calls_total) == (15, CUSTOMERS + EVENTS)
    assert stopped.share == pytest.approx(0.3)
    resumed = watch(plans=plans)[-1]
    assert (resumed.calls, resumed.calls_total, resumed.share) == (35, 35, 1.0)
    nothing = watch(plans=plans)[-1]
    assert (nothing.calls, nothing.calls_total, nothing.share) == (0, 0, 1.0)


@pytest.mark.parametrize("plans", [False, True], ids=["unplanned", "planned"])
def test_a_run_in_bulk_has_one_total_over_all_phases(
    watch: Watch, monkeypatch: pytest.MonkeyPatch, *, plans: bool
) -> None:
    """Customers first, whose calls are known from a plan only; then the events, which are counted by then."""
    seen: list[Snapshot] = []
    follow, prepare = BulkDelivery._follow, OpenedReplay.__init__
    prepared: list[OpenedReplay] = []

    def keep(self: OpenedReplay, *args: Any, **options: Any) -> None:
        prepared.append(self)
        prepare(self, *args, **options)

    def look(self: BulkDelivery, *args: Any) -> Any:
        seen.append(prepared[0].snapshot())
        return follow(self, *args)

    monkeypatch.setattr(OpenedReplay, "__init__", keep)
    monkeypatch.setattr(BulkDelivery, "_follow", look)
    seen += watch(plans=plans, customers="bulk", new_ledger=True)
    assert [snapshot.phase for snapshot in seen] == [Phase.CUSTOMERS] + [Phase.EVENTS] * (len(seen) - 1)
    assert (seen[0].share is not None, seen[0].is_total_estimated) == (plans, plans)
    assert {snapshot.calls_total for snapshot in seen[1:]} == {seen[-1].calls}
    assert seen[-1].calls_left == 0
    assert seen[-1].customers == {State.DELIVERED: CUSTOMERS, State.FAILED: 0}
    assert shares(seen) == sorted(shares(seen))
    assert seen[-1].share == 1.0


def test_calls_that_are_repeated_do_not_move_the_bar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that failed is made twice; the work is the same."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "events.ndjson").write_text("".join(identify(n) for n in range(4)))
    with Sandbox(SandboxOptions(), [Fault.parse("POST /v1/customers status 503 #2")]) as sandbox:
        config = write_settings(tmp_path / "settings.yaml", sandbox.url)
        with OpenedReplay(ReplayOptions(source="events.ndjson", config=config, new_ledger=True)) as prepared:
            prepared.plan()
            prepared.execute()
            end = prepared.snapshot()
    assert (end.calls, end.calls_total, end.calls_left, end.share) == (5, 4, 0, 1.0)


def test_an_outage_does_not_move_the_bar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Probes are calls, and no work."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "events.ndjson").write_text("".join(identify(n) for n in range(4)))
    config = write_settings(tmp_path / "settings.yaml", "http://127.0.0.1:9")
    with OpenedReplay(
        ReplayOptions(source="events.ndjson", config=config, max_calls=2, new_ledger=True)
    ) as prepared:
        prepared.execute()
        end = prepared.snapshot()
    assert end.calls == 2
    assert (end.calls_total, end.calls_left, end.share) == (4, 4, 0.0)


@pytest.mark.parametrize("customers", ["each", "bulk"])
@pytest.mark.parametrize("limit", [None, 10])
def test_a_dry_run_counts_what_is_read(watch: Watch, customers: str, limit: int | None) -> None:
    """One bar over both readings of a run in bulk; all is done only at the end."""
    seen = watch(mode=Mode.DRY_RUN, customers=customers, limit=limit)
    assert all(snapshot.phase is Phase.READING and snapshot.calls_total is None for snapshot in seen)
    assert shares(seen) == sorted(shares(seen))
    assert max(shares(seen[:-1])) < 1.0 == seen[-1].share
