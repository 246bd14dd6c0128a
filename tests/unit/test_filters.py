"""Filters: which rule leaves an event out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from support.segment_events import event_of, identify, track

from voucherify_sync.events import Event
from voucherify_sync.mapping.filters import Filters, Selection
from voucherify_sync.settings.types import Identify, Identity, Settings, Track, TrackEntry


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


def notices(rules: Filters, *events: Event) -> list[str]:
    """Return what is said after events were compared."""
    for event in events:
        rules.reason_to_skip(event)
    return list(rules.notices())


def test_every_list_of_names_says_what_no_event_has() -> None:
    """The names of all track events are compared with every list, whatever else skips the event."""
    settings = Settings(
        track=Track(
            disabled=True, events_filter=["Order Complete"], events_exclude=["Order Done", "Signed Up"]
        )
    )
    selecting = filters(settings, names=frozenset({"Order *"}), types=frozenset({"identify"}))
    assert notices(
        selecting, track(), track(event="Signed Up"), track(integrations={"Voucherify": False})
    ) == [
        (
            'track.events_filter: none of the 3 track events read is named "Order Complete"; '
            'did you mean "Order Completed" (2)?'
        ),
        'track.events_exclude: none of the 3 track events read is named "Order Done".',
    ]


@pytest.mark.parametrize(
    ("condition", "told"),
    [
        (
            'event = "order completed"',
            ['none of the 3 track events read is named "order completed"; did you mean'],
        ),
        (
            'event = "Order Completed" or event = "sign up"',
            ['none of the 3 track events read is named "sign up"; did you mean "Sign Up" (1)?'],
        ),
        ('event != "Order completed"', ['named "Order completed"; did you mean "Order Completed" (2)?']),
        ('match(event, "order*")', ['named "order*"; did you mean "Order Completed" (2)?']),
        ('!contains(event, "sign")', ['named "*sign*"; did you mean "Sign Up" (1)?']),
        ('event = "Order Completed" or properties.total > 3', []),
        ('type = "Track" or event != null', ['type = "Track": the types are identify, track,']),
        ('name != "Home*"', ['name != "Home*": the * stands for itself here']),
        (
            'properties.path = "/a/*"',
            [
                'properties.path = "/a/*": the * stands for itself here; did you mean match(properties.path, "/a/*")?'
            ],
        ),
        ('properties.path = "/a/*" or event != null', []),
    ],
)
def test_names_of_conditions_are_compared_with_those_of_all_track_events(
    condition: str, told: list[str]
) -> None:
    """As those of lists, whatever else skips the event: of a section, of an entry and of the command line."""
    events = [track(integrations={"Voucherify": False}), track(), track(event="Sign Up"), identify()]
    entry = TrackEntry(where=condition)
    for rules, place in (
        (filters(Settings(track=Track(where=condition))), "track.where"),
        (filters(Settings(track=Track(events={"*": entry}))), "track.events.*.where"),
        (filters(where=condition), "--where"),
    ):
        said = [line for line in notices(rules, *events) if "holds of none" not in line]
        assert len(said) == len(told)
        for line, part in zip(said, told, strict=True):
            assert line.startswith(f"{place}: ")
            assert part in line


def test_a_name_that_the_filter_leaves_out_was_met_all_the_same() -> None:
    """It is excluded twice, which is no mistake."""
    rules = filters(Settings(track=Track(events_filter=["Order *"], events_exclude=["Signed Up"])))
    assert notices(rules, track(), track(event="Signed Up")) == []


def test_an_event_selection_of_an_input_without_track_events_is_told() -> None:
    """Nothing else would show it."""
    assert notices(filters(names=frozenset({"A"})), identify()) == ["--event: no track event was read."]
    assert notices(filters(Settings(track=Track(events_filter=["A"]))), identify()) == []


@pytest.mark.parametrize(
    ("selection", "rule"),
    [
        ({"since": datetime(2034, 1, 1, tzinfo=UTC)}, "--since"),
        ({"until": datetime(2014, 1, 1, tzinfo=UTC)}, "--until"),
        (
            {"since": datetime(2014, 1, 1, tzinfo=UTC), "until": datetime(2015, 1, 1, tzinfo=UTC)},
            "--since and --until",
        ),
    ],
)
def test_a_period_without_events_is_told_with_the_period_of_the_input(
    selection: dict[str, datetime], rule: str
) -> None:
    """A year may be mistyped."""
    events = [track(timestamp=f"2024-0{month}-01T00:00:00Z") for month in (3, 1, 2)]
    sentence = (
        f"{rule}: none of 3 events is in that period: their times go from 2024-01-01T00:00:00.000Z to "
        "2024-03-01T00:00:00.000Z."
    )
    assert notices(filters(**selection), *events) == [sentence]
    assert notices(filters(**selection), *events, track()) == []  # an event without a time is kept
    parts, whole = filters(**selection), filters(**selection)
    for event in events:
        parts.reason_to_skip(event)
        whole.merge(parts.cut_met())
    assert notices(whole) == [sentence]


def test_customers_that_no_event_names_are_told() -> None:
    """Of both options."""
    rules = filters(users=frozenset({"u1", "gone"}), exclude_ids=frozenset({"U2", "away", "crm-1"}))
    assert rules.reason_to_skip(track(userId="u2")) is None
    assert [rules.reason_to_skip_customer(each) for each in ("u1", "u2", "crm-1")] == [
        None,
        "user_not_selected",
        "user_not_selected",
    ]
    assert notices(rules) == [
        '--user: "gone" is the id of no event that passes the other rules.',
        '--exclude-ids: "U2" is the id of no event that passes the other rules; did you mean "u2" (1)?',
        '--exclude-ids: "away" is the id of no event that passes the other rules.',
        '--exclude-ids: "crm-1" is the id of no event that passes the other rules.',
    ]
