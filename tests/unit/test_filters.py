"""Filters: which rule leaves an event out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from support.segment_events import event_of, identify, track

from voucherify_sync.events import Event
from voucherify_sync.mapping.filters import Filters, Selection
from voucherify_sync.settings.types import Identify, Identity, Settings, Track


def set_time(event: Event) -> None:
    """Read the timestamp, as simply as the test events have it."""
    text = event.fields.get("timestamp")
    event.time = datetime.fromisoformat(text) if text else None


def filters(settings: Settings | None = None, **selection: Any) -> Filters:
    """Return the filters of settings and options."""
    return Filters(settings or Settings(), Selection(**selection), set_time)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("identify", None),
        ("track", None),
        ("page", "type_page"),
        ("screen", "type_screen"),
        ("group", "type_group"),
        ("alias", "type_alias"),
        ("Track", None),
        ("Page", "type_page"),
        ("RECORD", "type_other"),
        ("delete", "type_other"),
        ("", "type_other"),
    ],
)
def test_only_identify_and_track_are_mapped(kind: str, reason: str | None) -> None:
    """Other types are skipped by type; types are compared without case."""
    assert filters().reason_to_skip(event_of({"type": kind, "userId": "u"})) == reason


def test_a_disabled_type_is_skipped() -> None:
    """Each type has a switch of its own."""
    no_identify = filters(Settings(identify=Identify(disabled=True)))
    no_track = filters(Settings(track=Track(disabled=True)))
    assert no_identify.reason_to_skip(identify()) == "identify_disabled"
    assert no_identify.reason_to_skip(track()) is None
    assert no_track.reason_to_skip(track()) == "track_disabled"
    assert no_track.reason_to_skip(identify()) is None


@pytest.mark.parametrize(
    ("allowed", "excluded", "name", "reason"),
    [
        pytest.param([], [], "Order Completed", None, id="no filter"),
        pytest.param(["Order Completed"], [], "Order Completed", None, id="allowed"),
        pytest.param(["Order Completed"], [], "order completed", "name_filtered", id="case counts"),
        pytest.param(["Order Completed"], [], "Order Completed ", "name_filtered", id="not trimmed"),
        pytest.param(["Order"], [], "Order Completed", "name_filtered", id="a part is no match"),
        pytest.param(["Order *"], [], "Order Completed", None, id="a star"),
        pytest.param(["Order*"], [], "Order", None, id="a star matches nothing, too"),
        pytest.param(["*Order*"], [], "My\nOrder\nX", None, id="a star matches line ends"),
        pytest.param(["A.C*"], [], "ABC", "name_filtered", id="a dot is a dot"),
        pytest.param(["x", "A*", "B*"], [], "Bee", None, id="any of them"),
        pytest.param([], ["Test *"], "Test Event", "name_excluded", id="excluded"),
        pytest.param([], ["Test *"], "Order", None, id="not excluded"),
        pytest.param(["Order *"], ["Order Updated"], "Order Updated", "name_excluded", id="taken away"),
        pytest.param(["track"], [], None, None, id="without a name: its type"),
        pytest.param(["Order"], [], None, "name_filtered", id="without a name, filtered"),
        pytest.param(["track"], [], " ", None, id="a blank name"),
        pytest.param(["4711"], [], 4711, None, id="a number is its text"),
        pytest.param(["track"], [], True, None, id="a name that is no text"),
    ],
)
def test_track_events_are_filtered_by_name(
    allowed: list[str], excluded: list[str], name: object, reason: str | None
) -> None:
    """Exact and case-sensitive, by the event's own name, before mapping."""
    settings = Settings(
        track=Track(events_filter=allowed, events_exclude=excluded, mapping={"properties.x": ["event"]})
    )
    assert filters(settings).reason_to_skip(track({"x": "Mapped"}, event=name)) == reason


def test_names_do_not_touch_identify() -> None:
    """The filter affects track events only."""
    settings = Settings(track=Track(events_filter=["Order"], events_exclude=["*"]))
    assert filters(settings).reason_to_skip(identify()) is None


@pytest.mark.parametrize(
    ("integrations", "reason"),
    [
        pytest.param({"Voucherify": False}, "integration_off", id="classic"),
        pytest.param({"Voucherify (Actions)": False}, "integration_off", id="actions"),
        pytest.param({"All": False}, None, id="All is ignored"),
        pytest.param({"Voucherify": True}, None, id="on"),
        pytest.param({"Voucherify": {"x": 1}}, None, id="options"),
        pytest.param({"Voucherify": 0}, None, id="zero is not false"),
        pytest.param({"voucherify": False}, None, id="case counts"),
        pytest.param(["Voucherify"], None, id="a list"),
        pytest.param(None, None, id="null"),
    ],
)
def test_an_event_that_was_kept_from_voucherify_is_skipped(integrations: object, reason: str | None) -> None:
    """`All` is ignored, because archives hold it for other reasons."""
    assert filters().reason_to_skip(track(integrations=integrations)) == reason


@pytest.mark.parametrize(
    ("user_id", "reason"),
    [
        ("u1", None),
        (0, None),
        (None, "anonymous"),
        ("", "anonymous"),
        (" ", "anonymous"),
        (True, "anonymous"),
    ],
)
def test_anonymous_events_can_be_left_out(user_id: object, reason: str | None) -> None:
    """`ignore_anonymous` skips events without a userId; by default they are kept."""
    settings = Settings(identity=Identity(ignore_anonymous=True))
    for event in (identify(userId=user_id, anonymousId="a"), track(userId=user_id, anonymousId="a")):
        assert filters(settings).reason_to_skip(event) == reason
        assert filters().reason_to_skip(event) is None


@pytest.mark.parametrize(
    ("selection", "event", "reason"),
    [
        pytest.param({"types": frozenset({"track"})}, track(), None, id="type"),
        pytest.param({"types": frozenset({"track"})}, identify(), "not_selected", id="another type"),
        pytest.param({"names": frozenset({"Order Completed"})}, track(), None, id="name"),
        pytest.param({"names": frozenset({"Order*"})}, track(), None, id="name with a star"),
        pytest.param({"names": frozenset({"Other"})}, track(), "not_selected", id="another name"),
        pytest.param({"names": frozenset({"Order*"})}, identify(), "not_selected", id="an identify has none"),
        pytest.param({"names": frozenset({"identify"})}, identify(), "not_selected", id="not even its type"),
    ],
)
def test_the_command_line_selects_types_and_names(selection: Any, event: Event, reason: str | None) -> None:
    """--type and --event."""
    assert filters(**selection).reason_to_skip(event) == reason


@pytest.mark.parametrize(
    ("timestamp", "reason"),
    [
        pytest.param("2023-12-31T23:59:59+00:00", "out_of_period", id="before"),
        pytest.param("2024-01-01T00:00:00+00:00", None, id="since is included"),
        pytest.param("2024-01-31T23:59:59.999+00:00", None, id="within"),
        pytest.param("2024-02-01T00:00:00+00:00", "out_of_period", id="until is not included"),
        pytest.param("2024-02-01T00:30:00+02:00", None, id="compared as instants"),
        pytest.param(None, None, id="an event without a time is kept"),
    ],
)
def test_the_command_line_selects_a_period(timestamp: str | None, reason: str | None) -> None:
    """--since and --until."""
    period = {"since": datetime(2024, 1, 1, tzinfo=UTC), "until": datetime(2024, 2, 1, tzinfo=UTC)}
    assert filters(**period).reason_to_skip(track(timestamp=timestamp)) == reason


def test_a_period_may_be_open() -> None:
    """Either end alone is a period, too."""
    january = track(timestamp="2024-01-15T00:00:00+00:00")
    february = datetime(2024, 2, 1, tzinfo=UTC)
    assert filters(since=february).reason_to_skip(january) == "out_of_period"
    assert filters(until=february).reason_to_skip(january) is None


def test_users_are_selected_by_the_id_that_is_sent() -> None:
    """--user is the id that would become source_id, also a mapped one."""
    chosen = filters(users=frozenset({"crm-7"}))
    assert chosen.reason_to_skip_customer("crm-7") is None
    assert chosen.reason_to_skip_customer("other") == "user_not_selected"
    assert filters().reason_to_skip_customer("u1") is None


@pytest.mark.parametrize(
    ("event", "source_id"),
    [
        pytest.param(track(userId="gone"), "crm-7", id="userId"),
        pytest.param(track(anonymousId="gone"), "u1", id="anonymousId beside a userId"),
        pytest.param(track(), "gone", id="source_id"),
    ],
)
def test_nobody_who_must_be_forgotten_is_sent(event: Event, source_id: str) -> None:
    """--exclude-ids takes any of the ids by which somebody may be known."""
    excluding = filters(exclude_ids=frozenset({"gone", "5"}))
    reason = excluding.reason_to_skip(event) or excluding.reason_to_skip_customer(source_id)
    assert reason == "excluded_id"
    assert excluding.reason_to_skip(track(userId=5)) == "excluded_id"
    assert excluding.reason_to_skip(track(userId="u1")) is None
    assert excluding.reason_to_skip_customer("u1") is None


def test_an_allowed_name_that_no_event_has_is_told_with_what_may_be_meant() -> None:
    """Did you mean 'Order Completed' when you wrote 'Order Complete'."""
    wanted = ["Order Complete", "signed up", "Refunded", "Cart *", "Nothing like it"]
    names = filters(Settings(track=Track(events_filter=wanted)))
    met = ["Order Completed", "Order Completed", "Signed Up", "Refunded", "Cart Viewed", "Page Viewed"]
    reasons = [names.reason_to_skip(track(event=name)) for name in met]
    assert reasons == ["name_filtered"] * 3 + [None] * 2 + ["name_filtered"]
    assert names.names.near_misses() == {
        "Order Complete": ["Order Completed"],
        "signed up": ["Signed Up"],
        "Nothing like it": [],
    }
    assert names.names.rejected.to_dict() == {"Order Completed": 2, "Page Viewed": 1, "Signed Up": 1}


def test_a_star_that_no_event_matched_is_told_as_well() -> None:
    """Near misses of a pattern are names near to its fixed part."""
    names = filters(Settings(track=Track(events_filter=["Order Complete*x"])))
    names.reason_to_skip(track())
    assert names.names.near_misses() == {"Order Complete*x": ["Order Completed"]}
