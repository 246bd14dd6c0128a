"""A comparison of two settings says which requests change, where, and which rows do it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import UNSET
from support.random_settings import Chance
from support.segment_events import event_of, identify, track

from voucherify_sync.api import CoverageOptions, ExplainOptions, changes, compare, coverage, explain
from voucherify_sync.errors import UsageProblem
from voucherify_sync.events import Batch, Event, Json, Request
from voucherify_sync.mapping.trace import located
from voucherify_sync.paths import MISSING
from voucherify_sync.preview.comparison import Comparison, ComparisonReport, RequestChange
from voucherify_sync.settings import Identify, Settings, Track
from voucherify_sync.settings.types import Page, RowTarget, TrackEntry
from voucherify_sync.stop import Stop

ONE = Track(mapping={"properties.total": ["metadata.total"], "properties.id": ["metadata.id"]})


def change_of(event: Event, before: Settings, after: Settings) -> RequestChange:
    """Return what changes for one event."""
    return Comparison(before, after).change(event)


def fields_of(change: RequestChange) -> list[tuple[str, Any, Any]]:
    """Return the fields that change, with both values."""
    return [(each.path, each.expected, each.got) for each in change.fields]


def report_of(before: Settings, after: Settings, *events: Event) -> ComparisonReport:
    """Return the report on events."""
    comparison = Comparison(before, after)
    lines = [json.dumps(event.fields).encode() for event in events]
    comparison.add(comparison.decode(Batch.of("e.ndjson", 1, lines)))
    return comparison.report()


def test_fields_are_added_removed_and_changed() -> None:
    """Each with both values, by its destination; an object is told value by value."""
    after = Track(mapping={"properties.id": ["metadata.total"], "properties.o": ["metadata.o"]})
    change = change_of(
        track({"total": 1, "id": 2, "o": {"a": 1}}), Settings(track=ONE), Settings(track=after)
    )
    assert fields_of(change) == [
        ("metadata.total", 1, 2),
        ("metadata.id", 2, UNSET),
        ("metadata.o.a", UNSET, 1),
    ]
    assert change.is_changed


def test_a_field_of_a_customer_has_the_path_of_its_destination() -> None:
    """Although the body of the request is the customer itself."""
    after = Settings(identify=Identify(mapping={"traits.x": ["customer.email"]}))
    change = change_of(identify({"email": "a@b.c", "x": "d@e.f"}), Settings(), after)
    assert fields_of(change) == [("customer.email", "a@b.c", "d@e.f")]


def test_an_event_may_be_sent_by_one_version_only() -> None:
    """The other one says why not."""
    after = Settings(track=Track(events_filter=["Other"]))
    change = change_of(track(), Settings(), after)
    assert change.is_changed
    assert change.to_dict()["after"] == {"state": "skipped", "reason": "name_filtered", "request": None}
    assert change.to_dict()["before"]["request"]["event"] == "Order Completed"
    report = report_of(Settings(), after, track(), track())
    assert (report.only_before, report.only_after, report.reasons_after) == (2, 0, {"name_filtered": 2})
    back = report_of(after, Settings(), track(), track())
    assert (back.only_before, back.only_after, back.reasons_before) == (0, 2, {"name_filtered": 2})


def test_what_neither_version_sends_does_not_change() -> None:
    """Nor does a line that is no event."""
    report = report_of(Settings(), Settings(track=ONE), event_of({"type": "page", "userId": "u"}))
    assert (report.read, report.not_sent, report.changed) == (1, 1, 0)


def rows_of(report: ComparisonReport) -> list[tuple[str, str, int]]:
    """Return the rows that changed, with the requests that each changes."""
    return [(row.change, row.row, row.requests) for row in report.rows]


def test_each_row_has_the_requests_that_it_changes() -> None:
    """A row that finds nothing, or whose value a common row overwrites, changes none."""
    before = Settings(track=ONE)
    after = Settings(
        track=Track(
            mapping={
                "properties.total": ["metadata.amount"],
                "properties.nothing": ["metadata.nothing"],
                "properties.coupon": ["metadata.coupon"],
            }
        )
    )
    events = track({"total": 1, "id": 2}), track({"total": 1, "coupon": "A"}), track({})
    report = report_of(before, after, *events)
    assert rows_of(report) == [
        ("moved", "properties.total: metadata.amount", 2),
        ("added", "properties.nothing: metadata.nothing", 0),
        ("added", "properties.coupon: metadata.coupon", 1),
        ("removed", "properties.id: metadata.id", 1),
    ]
    assert report.rows[0].before == "properties.total: metadata.total"
    assert report.rows[2].examples == ["e.ndjson:2"]
    assert (report.changed, report.unchanged, report.by_other_settings) == (2, 1, 0)


@pytest.mark.parametrize(
    ("after", "event", "row"),
    [
        pytest.param(
            Identify(mapping={"traits.*": ["customer.metadata.*"]}, extend_default=True),
            identify({"plan": "pro"}),
            "traits.*: customer.metadata.*",
            id="wildcard",
        ),
        pytest.param(
            Identify(mapping={"traits.profile": ["customer"]}, extend_default=True),
            identify({"profile": {"email": "a@b.c"}}),
            "traits.profile: customer",
            id="object row",
        ),
        pytest.param(
            Identify(mapping={"traits.nick": ["customer.firstName"]}, extend_default=True),
            identify({"nick": "Bo"}),
            "traits.nick: customer.firstName",
            id="part of the name",
        ),
        pytest.param(
            Identify(mapping={"traits.plan": ["customer.metadata.plan"]}, extend_default=True),
            identify({}, context={"traits": {"plan": "pro"}}),
            "traits.plan: customer.metadata.plan",
            id="traits in the context",
        ),
        pytest.param(
            Identify(add={"customer.metadata.from": "segment"}),
            identify({}),
            'add: customer.metadata.from: "segment"',
            id="constant",
        ),
    ],
)
def test_rows_of_every_kind_are_found_as_the_cause(after: Identify, event: Event, row: str) -> None:
    """By the row as it is written."""
    report = report_of(Settings(), Settings(identify=after), event)
    assert rows_of(report) == [("added", row, 1)]
    assert report.by_other_settings == 0


PAGE = {"type": "page", "userId": "u1", "name": "Home", "properties": {"path": "/", "title": "T"}}
ORDER = track({"total": 3, "coupon": None, "code": "C"})
PATH = {"@path": "$.properties.total"}


@pytest.mark.parametrize(
    ("before", "after", "event", "rows"),
    [
        pytest.param(
            Track(set={"metadata.t": PATH}),
            Track(set={"metadata.t": {"@path": "$.properties.code"}}),
            ORDER,
            [
                (
                    "track",
                    "changed",
                    'set: metadata.t: {"@path": "$.properties.total"}, now {"@path": "$.properties.code"}',
                    1,
                ),
            ],
            id="another-directive",
        ),
        pytest.param(
            Track(set={"metadata.t": PATH}),
            Track(set={"metadata.t": PATH, "metadata.u": PATH, "metadata.v": {"@path": "$.properties.no"}}),
            ORDER,
            [
                ("track", "added", 'set: metadata.u: {"@path": "$.properties.total"}', 1),
                ("track", "added", 'set: metadata.v: {"@path": "$.properties.no"}', 0),
            ],
            id="entries-that-give-a-value-or-none",
        ),
        pytest.param(
            Track(mapping={"properties.coupon": RowTarget(["metadata.c"])}),
            Track(mapping={"properties.coupon": RowTarget(["metadata.c"], ["properties.code"], "downcase")}),
            ORDER,
            [
                (
                    "track",
                    "changed",
                    "properties.coupon: metadata.c, now or: [properties.code], apply: downcase",
                    1,
                )
            ],
            id="or-and-apply",
        ),
        pytest.param(
            Track(mapping={"properties.code": RowTarget(["metadata.a", "metadata.b"], apply="downcase")}),
            Track(mapping={"properties.code": RowTarget(["metadata.c", "metadata.a"])}),
            ORDER,
            [
                ("track", "moved", "properties.code: {to: metadata.b, apply: downcase}, now metadata.c", 1),
                ("track", "changed", "properties.code: {to: metadata.a, apply: downcase}, now no apply", 1),
            ],
            id="no-apply-at-one-of-several-places",
        ),
        pytest.param(
            Track(
                mapping={"properties.total": ["metadata.a"]},
                events={"Order *": TrackEntry(add={"metadata.z": 1})},
            ),
            Track(
                mapping={"properties.total": ["metadata.b"]},
                events={"Order *": TrackEntry(add={"metadata.z": 2})},
            ),
            ORDER,
            [
                ("track", "moved", "properties.total: metadata.a, now metadata.b", 1),
                ("events.Order *", "changed", "add: metadata.z: 1, now 2", 1),
            ],
            id="what-an-entry-takes-from-track-is-told-once",
        ),
        pytest.param(
            Track(events={"Order *": TrackEntry(mapping={"properties.total": ["metadata.a"]})}),
            Track(
                events={
                    "Order *": TrackEntry(mapping={"properties.total": ["metadata.a"]}),
                    "Order Completed": TrackEntry(mapping={"properties.total": ["metadata.b"]}),
                }
            ),
            ORDER,
            [("events.Order Completed", "moved", "properties.total: metadata.a, now metadata.b", 1)],
            id="an-entry-for-one-name-beside-a-pattern",
        ),
    ],
)
def test_set_and_rows_and_entries_are_found_as_the_cause(
    before: Track, after: Track, event: Event, rows: list[tuple[str, str, str, int]]
) -> None:
    """Each by its section and text, with the requests that it changes."""
    report = report_of(Settings(track=before), Settings(track=after), event)
    found = [
        (row.section, row.change, f"{row.before}, now {row.now}" if row.now else row.row, row.requests)
        for row in report.rows
    ]
    assert found == rows
    assert (report.changed, report.by_other_settings) == (1, 0)


@pytest.mark.parametrize(
    ("before", "after", "setting"),
    [
        pytest.param(Track(), Track(where="properties.total > 5"), "track.where", id="where"),
        pytest.param(
            Track(),
            Track(events={"Order *": TrackEntry(where="properties.total > 5")}),
            "track.events.Order *.where",
            id="where-of-an-entry",
        ),
        pytest.param(
            Track(),
            Track(events={"Order *": TrackEntry(disabled=True)}),
            "track.events.Order *.disabled",
            id="an-entry-that-is-disabled",
        ),
    ],
)
def test_what_is_no_longer_sent_is_counted_beside_the_condition(
    before: Track, after: Track, setting: str
) -> None:
    """A condition or a switch is no row: it stands among the other settings."""
    report = report_of(Settings(track=before), Settings(track=after), ORDER)
    assert (report.only_before, report.changed) == (1, 0)
    assert [each.setting for each in report.settings] == [setting]


def test_another_name_is_counted_beside_the_entry_that_gives_it() -> None:
    """No row explains it."""
    after = Track(events={"Order *": TrackEntry(rename="Order")})
    report = report_of(Settings(), Settings(track=after), ORDER)
    assert (report.changed, report.by_other_settings) == (1, 1)
    assert [str(each.setting) for each in report.settings] == ["track.events.Order *.rename"]
    assert report.rows == []


def test_pages_have_a_section_of_their_own() -> None:
    """A row of pages is told apart from the same row of track events."""
    before, after = (
        Settings(page=Page(disabled=False, mapping={"properties.path": [place]}))
        for place in ("metadata.path", "metadata.at")
    )
    report = report_of(before, after, event_of(PAGE), ORDER)
    assert [(row.section, row.row, row.requests) for row in report.rows] == [
        ("page", "properties.path: metadata.at", 1)
    ]
    assert (report.changed, report.unchanged) == (1, 1)


def test_what_no_row_explains_is_counted_beside_the_settings() -> None:
    """Which other settings have another value, and that the order of rows is another one."""
    before = Identify(mapping={"traits.a": ["customer.email"], "traits.b": ["customer.email"]})
    after = Identify(mapping={"traits.b": ["customer.email"], "traits.a": ["customer.email"]}, nulls="clear")
    report = report_of(Settings(identify=before), Settings(identify=after), identify({"a": "1", "b": "2"}))
    assert report.rows == []
    assert report.by_other_settings == 1
    assert [(each.setting, each.before, each.after) for each in report.settings] == [
        ("identify.nulls", '"omit"', '"clear"'),
        ("identify.mapping, order of rows", '["traits.a", "traits.b"]', '["traits.b", "traits.a"]'),
    ]


def test_no_setting_that_decides_nothing_about_requests_is_told() -> None:
    """Keys least of all."""
    other = msgspec.structs.replace(
        Settings(), delivery=msgspec.structs.replace(Settings().delivery, workers=3)
    )
    assert report_of(Settings(), other, track()).settings == []


def test_fields_are_counted_up_to_a_limit() -> None:
    """Any key may stand in metadata."""
    after = Settings(track=Track(mapping={"properties": ["metadata"]}))
    report = report_of(Settings(), after, track({f"k{number}": 1 for number in range(600)}))
    assert len(report.fields) == 500
    assert report.more_fields
    assert rows_of(report)[0] == ("added", "properties: metadata", 1)


@pytest.mark.parametrize("seed", range(300))
def test_a_change_is_what_the_two_requests_differ_in(seed: int) -> None:
    """Whatever settings and events hold: put together, the fields that change make one request of the other."""
    chance = Chance(seed, all_keys=seed % 2 == 1)
    before, after, event = chance.settings(), chance.settings(), chance.event()
    change = change_of(event, before, after)
    if not (isinstance(change.before, Request) and isinstance(change.after, Request)):
        assert change.is_changed is (
            isinstance(change.before, Request) is not isinstance(change.after, Request)
        )
        return
    assert change.is_changed is (change.before.body != change.after.body)
    bodies: list[Json] = [
        request.body if request.name is not None else {"customer": request.body}
        for request in (change.before, change.after)
    ]
    for each in change.fields:
        if any(isinstance(key, int) for key in each.keys):
            continue
        for body, value in zip(bodies, (each.expected, each.got), strict=True):
            found = located(body, each.keys)
            assert (UNSET if found is MISSING else found) == value
    report = report_of(before, after, event)
    assert report.changed == change.is_changed
    assert not report.changed or report.by_other_settings or any(row.requests for row in report.rows)


def test_it_is_the_same_for_any_number_of_processes(
    samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counts and examples."""
    (tmp_path / "before.yaml").write_text("track: {events_filter: [Order Completed]}\n")
    settings = Settings(identify=Identify(unmapped_traits="metadata"), track=ONE)
    options = [
        CoverageOptions(source=samples, settings=settings, against=tmp_path / "before.yaml", jobs=jobs)
        for jobs in (1, 2)
    ]
    one = compare(options[0])
    monkeypatch.setattr("voucherify_sync.run.options.MIN_SHARED_BYTES", 1)
    assert compare(options[1]) == one
    assert one.changed > 10
    assert one.only_after > 10


def test_changes_are_those_of_the_events_that_are_picked(tmp_path: Path) -> None:
    """Unchanged ones are left out; the earlier settings may be a value."""
    file = tmp_path / "e.ndjson"
    events = [track({"total": 1}, userId=f"u{number}").fields for number in range(3)]
    file.write_text(
        "".join(f"{json.dumps(event)}\n" for event in [*events, identify({}, userId="u1").fields])
    )
    after = Settings(track=ONE)
    found = list(changes(ExplainOptions(source=file, settings=after, against=Settings(), user="u1")))
    assert [str(each.record.position) for each in found] == [f"{file}:2"]


def test_the_settings_to_compare_with_must_be_there(samples: Path, tmp_path: Path) -> None:
    """They are never taken for the defaults."""
    with pytest.raises(UsageProblem, match="no such file"):
        compare(CoverageOptions(source=samples, against=tmp_path / "nothere.yaml"))
    with pytest.raises(UsageProblem, match="must name the settings"):
        compare(CoverageOptions(source=samples))
    with pytest.raises(UsageProblem, match="must name the settings"):
        changes(ExplainOptions(source=samples))


def test_settings_to_compare_with_are_for_a_comparison(samples: Path) -> None:
    """What compares nothing names the function that does."""
    with pytest.raises(UsageProblem) as of_coverage:
        coverage(CoverageOptions(source=samples, against=Settings()))
    assert of_coverage.value.remedy == "Call compare()."
    with pytest.raises(UsageProblem) as of_explain:
        explain(ExplainOptions(source=samples, against=Settings()))
    assert of_explain.value.remedy == "Call changes()."


def test_a_stop_leaves_no_name_unmet(samples: Path) -> None:
    """The rest of the input may hold it."""
    options = CoverageOptions(source=samples, settings=Settings(), against=Settings(), event=["Other"])
    stop = Stop()
    assert compare(options, stop=stop).notices
    stop.request()
    assert not compare(options, stop=stop).notices
