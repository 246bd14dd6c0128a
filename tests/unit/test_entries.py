"""Entries of `track.events`: settings for events of one name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.mapped import ends_of, event_body
from support.segment_events import event_of
from support.settings_text import loaded

from voucherify_sync.errors import SettingsError
from voucherify_sync.events import Json
from voucherify_sync.mapping.filters import Filters, Selection

SHOP = """
track:
  where: properties.test != "yes"
  add: {metadata.replayed: true}
  mapping: {properties.sku: metadata.sku}
  events:
    Bought:
      mapping: {properties.order: metadata.order}
      add: {metadata.kind: order}
    "Bought *": {disabled: true}
    Sold: {rename: Bought}
    "So*": {add: {metadata.pattern: 1}}
    "S*": {add: {metadata.pattern: 2}}
    Large: {where: properties.total > 20}
    Made: {set: {event: {"@template": "Made {{properties.sku}}"}}, rename: Other}
    Named: {rename: Other, add: {event: Constant}}
    Table: {extend_default: true, mapping: {}}
    Rest: {unmapped_properties: metadata}
"""
PROPERTIES = {"sku": "s", "order": "o", "email": "a@example.com"}
REPLAYED: Json = {"replayed": True}

CASES: list[Any] = [
    ("Bought", event_body("Bought", {"order": "o", "kind": "order", **REPLAYED})),
    ("Bought again", "event_disabled"),
    ("Sold", event_body("Bought", {"sku": "s", **REPLAYED})),
    ("Sought", event_body("Sought", {"sku": "s", "pattern": 1, **REPLAYED})),
    ("Seen", event_body("Seen", {"sku": "s", "pattern": 2, **REPLAYED})),
    ("Large", "where"),
    ("Made", event_body("Made s", {"sku": "s", **REPLAYED})),
    ("Named", event_body("Constant", {"sku": "s", **REPLAYED})),
    ("Table", event_body("Table", REPLAYED, email="a@example.com")),
    ("Rest", event_body("Rest", {"sku": "s", "order": "o", "email": "a@example.com", **REPLAYED})),
    ("bought", event_body("bought", {"sku": "s", **REPLAYED})),
    (None, event_body("track", {"sku": "s", **REPLAYED})),
]


@pytest.mark.parametrize(("name", "end"), CASES)
def test_an_event_goes_by_its_entry(tmp_path: Path, name: str | None, end: Any) -> None:
    """An exact name beats a pattern, patterns hold in their order, and other names go by track."""
    assert ends_of(tmp_path, SHOP, {"type": "track", "event": name, "properties": PROPERTIES}) == [end]


@pytest.mark.parametrize("name", [None, "", "  "])
@pytest.mark.parametrize("entry", ["track", "tr*"])
def test_an_event_without_a_name_goes_by_the_name_that_is_sent(
    tmp_path: Path, entry: str, name: str | None
) -> None:
    """That is its type; `events_filter` takes the same name."""
    text = f"track: {{events_filter: [{entry}], events: {{'{entry}': {{add: {{metadata.kind: 1}}}}}}}}"
    (end,) = ends_of(tmp_path, text, {"type": "track", "event": name})
    assert end == event_body("track", {"kind": 1})
    disabled = f"track: {{events: {{'{entry}': {{disabled: true}}}}}}"
    assert ends_of(tmp_path, disabled, {"type": "track", "event": name}) == ["event_disabled"]


def test_both_conditions_must_hold(tmp_path: Path) -> None:
    """That of track, and that of the entry."""
    events = [
        {"type": "track", "event": "Large", "properties": properties}
        for properties in ({"total": 30}, {"total": 30, "test": "yes"}, {"total": 3})
    ]
    assert ends_of(tmp_path, SHOP, *events) == [event_body("Large", REPLAYED), "where", "where"]


@pytest.mark.parametrize(
    ("text", "metadata", "customer"),
    [
        ("track: {set: {metadata.t: 1}, events: {E: {set: {metadata.e: 2}}}}", {"e": 2}, {}),
        ("track: {set: {metadata.t: 1}, events: {E: {add: {metadata.e: 2}}}}", {"t": 1, "e": 2}, {}),
        ("track: {set: {metadata.t: 1}, events: {E: {set: {}}}}", None, {"email": "a@example.com"}),
        ("track: {events: {E: {set: {metadata.e: 2}}}}", {"e": 2}, {}),
        (
            "track: {events: {E: {set: {metadata.e: 2}, extend_default: true}}}",
            {"e": 2},
            {"email": "a@example.com"},
        ),
        (
            "track: {mapping: {properties.sku: metadata.sku}, events: {E: {set: {metadata.e: 2}}}}",
            {"sku": "s", "e": 2},
            {},
        ),
        (
            (
                "track: {mapping: {properties.sku: metadata.sku}, extend_default: true, events: "
                "{E: {extend_default: false}}}"
            ),
            {"sku": "s"},
            {},
        ),
        (
            "track: {add: {metadata.a: 1}, events: {E: {add: {metadata.a: 2}}}}",
            {"a": 2},
            {"email": "a@example.com"},
        ),
    ],
)
def test_what_an_entry_does_not_give_comes_from_track(
    tmp_path: Path, text: str, metadata: Json | None, customer: Json
) -> None:
    """Rows and `set` are replaced, constants are merged; the default table stands in for both."""
    event = {"type": "track", "event": "E", "properties": PROPERTIES}
    assert ends_of(tmp_path, text, event) == [event_body("E", metadata, **customer)]


def test_entries_are_for_track_events_only(tmp_path: Path) -> None:
    """A page may bear an event's name."""
    for entry, reason in (("disabled: true", "event_disabled"), ("where: userId = null", "where")):
        text = f"page: {{disabled: false}}\ntrack: {{events: {{E: {{{entry}}}}}}}"
        ends = ends_of(tmp_path, text, {"type": "page", "event": "E"}, {"type": "track", "event": "E"})
        assert ends == [event_body("E"), reason]


def test_a_name_that_no_event_had_is_told_with_what_may_be_meant(tmp_path: Path) -> None:
    """Also where other names matched."""
    settings = loaded(tmp_path, "track: {events: {Bought: {rename: B}, Orderd: {rename: O}}}")
    filters = Filters(settings, Selection(), lambda event: None)
    for name in ("Bought", "Ordered"):
        filters.reason_to_skip(event_of({"type": "track", "userId": "u", "event": name}))
    (notice,) = filters.notices()
    assert "track.events" in notice
    assert "Orderd" in notice
    assert "Ordered" in notice


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (f"{{rename: {'x' * 301}}}", "300"),
        ("{disbled: true}", "disabled"),
        ("{where: 'event'}", "operator"),
        ("{mapping: {properties.a: custmer.email}}", "customer"),
        ("{set: {event: {'@pth': x}}}", "@path"),
        ("{events: {}}", "events"),
        ("[]", "track.events"),
    ],
)
def test_a_mistake_has_its_place(tmp_path: Path, entry: str, says: str) -> None:
    """Its line and column, and what is meant."""
    with pytest.raises(SettingsError, match=r"s\.yaml:1:\d+: track\.events") as caught:
        loaded(tmp_path, f"track: {{events: {{E: {entry}}}}}")
    assert says in str(caught.value)
