"""With `set`, `or`, `apply`, `where`, entries, pages and groups, every command makes the same of an event."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import pytest
from msgspec import structs
from support.cli import Cli
from support.random_settings import Chance
from support.replays import assert_lawful, outcomes_of, reasons_of, report_of, settings_for, write_events
from support.settings_text import loaded

from voucherify_sync.api import CoverageOptions, Mode, ReplayOptions, coverage, replay
from voucherify_sync.errors import SettingsError
from voucherify_sync.events import Batch, Json, Kind, Request
from voucherify_sync.mapping.filters import Selection
from voucherify_sync.preview.explain import explained
from voucherify_sync.run.pipeline import Pipeline, _decode_part, _working
from voucherify_sync.sandbox import Sandbox
from voucherify_sync.sandbox.faults import Fault
from voucherify_sync.sandbox.options import SandboxOptions
from voucherify_sync.settings.template import dump
from voucherify_sync.settings.types import Secret, Settings
from voucherify_sync.sources.decode import decode
from voucherify_sync.stop import Stop


def settings_and_events(folder: Path, seed: int) -> tuple[Settings, list[bytes]]:
    """Return settings that load as they are written, and lines of events."""
    chance = Chance(70_000 + seed, all_keys=True)
    while True:
        try:
            settings = loaded(folder, dump(chance.settings()))
        except SettingsError:
            continue
        break
    events = [{**chance.event().fields, "messageId": f"m-{number}"} for number in range(14)]
    for number, event in enumerate(events):
        if number % 4:
            event["userId"] = f"user-{number % 4}"
    return settings, [json.dumps(event).encode() for event in events]


def told(decision: Any) -> Any:
    """Return how a record ends."""
    if isinstance(decision, Request):
        return decision.kind, decision.source_id, decision.customer, decision.name
    return decision.state, decision.reason, decision.detail


def test_the_settings_use_every_key(tmp_path: Path) -> None:
    """So that what follows says something."""
    used: Counter[str] = Counter()
    for seed in range(20):
        settings, _ = settings_and_events(tmp_path, seed)
        for name in ("identify", "track", "page", "screen", "group"):
            section = getattr(settings, name)
            used[f"{name}.set"] += bool(section.set)
            used["where"] += bool(section.where)
            used["or"] += any(getattr(target, "or_", None) for target in section.mapping.values())
            used["apply"] += any(getattr(target, "apply", None) for target in section.mapping.values())
        for entry in settings.track.events.values():
            for key in ("disabled", "rename", "where", "mapping", "set", "add", "unmapped_properties"):
                used[f"events.{key}"] += bool(getattr(entry, key))
    assert {key for key, count in used.items() if not count} == set()
    assert len(used) == 15


@pytest.mark.parametrize("seed", range(20))
def test_alone_among_others_in_another_process_and_explained(tmp_path: Path, seed: int) -> None:
    """The decision is the same, and coverage counts what the mapping counts."""
    settings, lines = settings_and_events(tmp_path, seed)
    batch = Batch.of("events.ndjson", 1, lines)
    among = Pipeline(settings, Selection())
    decisions = [decision for part in among.batches(batch) for decision in part]
    alone = [
        decision
        for number, line in enumerate(lines[:5], 1)
        for part in Pipeline(settings, Selection()).batches(Batch.of("events.ndjson", number, [line]))
        for decision in part
    ]
    assert list(map(told, alone)) == list(map(told, decisions[:5]))
    (part,) = _working(settings, Selection(), False, False, False)([batch], Stop())
    of_process, stats, *_ = _decode_part(part)
    assert [told(decision) for portion in of_process for decision in portion] == list(map(told, decisions))
    assert stats.to_dict() == among.mapper.stats.to_dict()
    pipeline = Pipeline(settings, Selection())
    explanations = [explained(pipeline, record) for record in decode(batch)]
    requests = [decision for decision in decisions if isinstance(decision, Request)]
    assert [each.request.payload for each in explanations if each.request] == [
        each.payload for each in requests
    ]
    (tmp_path / "events.ndjson").write_bytes(b"\n".join(lines))
    report = coverage(CoverageOptions(source=tmp_path / "events.ndjson", settings=settings))
    assert report.events.counted == len(requests)
    counted = {name: section.events for name, section in report.sections.items() if section.events}
    assert counted == {name: section.events for name, section in stats.sections.items() if section.events}


@pytest.mark.parametrize("seed", range(4))
def test_what_is_planned_is_sent(tmp_path: Path, sandbox: Sandbox, seed: int) -> None:
    """One by one: each request of the dry run arrives with the same body, in the order of its customer."""
    settings, lines = settings_and_events(tmp_path, seed)
    file = tmp_path / "events.ndjson"
    file.write_bytes(b"\n".join(lines))
    decisions = [
        decision
        for part in Pipeline(settings, Selection()).batches(Batch.of("events.ndjson", 1, lines))
        for decision in part
    ]
    planned = Counter(each.payload for each in decisions if isinstance(each, Request))
    live = structs.replace(
        settings,
        api=structs.replace(settings.api, url=sandbox.url, key=Secret("app"), token=Secret("token")),
    )
    ways: tuple[Literal["each", "bulk"], ...] = ("each", "bulk")
    for customers in ways:
        common = ReplayOptions(source=file, settings=live, customers=customers)
        dry = replay(structs.replace(common, mode=Mode.DRY_RUN))
        ledger = str(tmp_path / f"{customers}.ledger")
        sent = replay(structs.replace(common, ledger=ledger, new_ledger=True))
        assert dry.outcomes["planned"] == planned.total()
        assert sent.outcomes["delivered"] + sent.outcomes["failed"] == planned.total()
        if customers == "each":
            processed = Counter(each.payload for each in sandbox.call_log.processed)
            assert processed <= planned
            assert processed.total() == sent.outcomes["delivered"]


PAGES = "page: {disabled: false}\nscreen: {disabled: false}\ngroup: {disabled: false}\ndelivery: {ledger: a.ledger}\n"
WEB: list[Json] = [
    {"type": "page", "messageId": "p", "userId": "u", "name": "Home"},
    {"type": "page", "messageId": "p", "userId": "u", "name": "Home"},
    {"type": "screen", "messageId": "p", "userId": "u", "name": "Home"},
    {"type": "group", "messageId": "p", "userId": "u", "groupId": "g1"},
    {"type": "group", "messageId": "q", "userId": "u", "groupId": "g2"},
    {"type": "group", "messageId": "q", "userId": "u", "groupId": "g2"},
    {"type": "identify", "messageId": "i", "userId": "u", "traits": {"email": "a@example.com"}},
    {"type": "track", "messageId": "p", "userId": "u", "event": "E"},
]


@pytest.mark.parametrize(("mode", "customer_calls"), [("--each", 3), ("--bulk", 1)])
def test_pages_and_groups_are_sent_once(
    run_cli: Cli, sandbox: Sandbox, mode: str, customer_calls: int
) -> None:
    """One messageId of two types is two events; groups fold with the identify of their customer."""
    write_events(run_cli.folder, *WEB)
    settings = settings_for(run_cli, sandbox, PAGES)
    args = ["-c", settings, "--report", "report.json", mode, "events.ndjson"]
    dry = run_cli("replay", "--dry-run", *args)
    assert (dry.code, outcomes_of(run_cli)) == (0, {"planned": 6, "duplicate": 2})
    assert len(dry.lines) == 3 + customer_calls
    assert run_cli("replay", "--yes", "--new-ledger", *args).code == 0
    assert outcomes_of(run_cli) == {"delivered": 6, "duplicate": 2}
    assert_lawful(report_of(run_cli))
    assert {name: report_of(run_cli)["mapping"][name]["events"] for name in ("page", "screen", "group")} == {
        "page": 2, "screen": 1, "group": 3,
    }  # fmt: skip
    processed = sandbox.call_log.processed
    assert Counter(each.kind for each in processed) == {Kind.EVENT: 3, Kind.CUSTOMER: customer_calls}
    last = [each for each in processed if each.kind is Kind.CUSTOMER]
    assert {"group_id": "g2"} in [each.metadata for each in last]
    calls = sandbox.call_log.calls
    assert run_cli("replay", "--yes", *args).code == 0
    assert (sandbox.call_log.calls, outcomes_of(run_cli)) == (calls, {"duplicate": 8})


def test_pages_that_are_switched_on_later_are_sent_then(run_cli: Cli, sandbox: Sandbox) -> None:
    """What was skipped by type has no entry in the ledger."""
    write_events(run_cli.folder, *WEB)
    args = ["--report", "report.json", "events.ndjson"]
    off = settings_for(run_cli, sandbox, "delivery: {ledger: a.ledger}\n")
    assert run_cli("replay", "--yes", "--new-ledger", "-c", off, *args).code == 0
    assert outcomes_of(run_cli) == {"delivered": 2, "skipped": 6}
    assert reasons_of(run_cli, "skipped") == {"type_page": 2, "type_screen": 1, "type_group": 3}
    on = settings_for(run_cli, sandbox, PAGES)
    assert run_cli("replay", "--yes", "-c", on, *args).code == 0
    assert outcomes_of(run_cli) == {"delivered": 4, "duplicate": 4}


def test_refused_pages_and_groups_can_be_retried(run_cli: Cli) -> None:
    """By the settings of the day: the dead letters hold the events as they came."""
    faults = ["POST /v1/events status 400 #1", "POST /v1/customers status 400 #1"]
    with Sandbox(SandboxOptions(keep=None), list(map(Fault.parse, faults))) as sandbox:
        write_events(run_cli.folder, WEB[0], WEB[3])
        args = ["--yes", "--report", "report.json", "-c", settings_for(run_cli, sandbox, PAGES)]
        assert run_cli("replay", "--new-ledger", *args, "events.ndjson").code == 3
        assert outcomes_of(run_cli) == {"failed": 2}
        named = 'page: {set: {event: {"@template": "Viewed {{name}} Page"}}, '
        settings_for(run_cli, sandbox, PAGES.replace("page: {", named))
        assert run_cli("retry", *args).code == 0
        assert outcomes_of(run_cli) == {"delivered": 2}
        bodies = [each.body for each in sandbox.call_log.processed]
    assert {"event": "Viewed Home Page", "customer": {"source_id": "u"}} in bodies
    assert {"source_id": "u", "metadata": {"group_id": "g1"}} in bodies
