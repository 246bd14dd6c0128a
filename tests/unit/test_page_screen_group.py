"""Pages and screens become custom events, groups become customer updates, where the settings switch them on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.mapped import ends_of, event_body
from support.segment_events import event_of

from voucherify_sync.events import Json
from voucherify_sync.findings import NAMED_BY_PROPERTIES, NAMED_BY_TYPE
from voucherify_sync.mapping.mapper import Mapper
from voucherify_sync.settings.types import Page, Settings, Track

ON = "page: {disabled: false}\nscreen: {disabled: false}\ngroup: {disabled: false}\n"
TITLE = {"name": "Pricing", "email": "ann@example.com", "path": "/pricing"}
PAGE: Json = {"type": "page", "name": "Pricing", "properties": TITLE}
SCREEN: Json = {"type": "screen", "name": "Basket"}
GROUP: Json = {
    "type": "group",
    "groupId": "g-7",
    "traits": {"name": "Bean Ltd", "email": "office@example.com"},
}


def test_they_are_off_by_default(tmp_path: Path) -> None:
    """Each has a reason of its own; an alias never makes a request."""
    reasons = ["type_page", "type_screen", "type_group", "type_alias"]
    assert ends_of(tmp_path, "", PAGE, SCREEN, GROUP, {"type": "alias", "previousId": "x"}) == reasons
    assert ends_of(tmp_path, ON, {"type": "alias", "previousId": "x"}) == ["type_alias"]


CASES: list[Any] = [
    pytest.param(ON, PAGE, event_body("page", email="ann@example.com"), id="a page is named by its type"),
    pytest.param(ON, SCREEN, event_body("screen"), id="a screen is named by its type"),
    pytest.param(
        ON, {**PAGE, "event": "Seen", "properties": {}}, event_body("Seen"), id="its own event wins"
    ),
    pytest.param(
        'page: {disabled: false, set: {event: {"@template": "Viewed {{name}} Page"}}}',
        PAGE,
        event_body("Viewed Pricing Page"),
        id="a template",
    ),
    pytest.param(
        'page: {disabled: false, set: {event: {"@template": "Viewed {{name}} Page"}}}',
        {"type": "page"},
        event_body("Viewed  Page"),
        id="a page without a name",
    ),
    pytest.param(
        "page:\n  disabled: false\n  mapping: {properties.path: metadata.path, name: metadata.name}",
        {**PAGE, "properties": {"path": "/a", "metadata": {"k": 1}}},
        event_body("page", {"path": "/a", "name": "Pricing"}),
        id="rows in place of the default table",
    ),
    pytest.param(
        "page:\n  disabled: false\n  extend_default: true\n  mapping: {name: metadata.name}",
        {**PAGE, "properties": {"metadata": {"k": 1}}},
        event_body("page", {"k": 1, "name": "Pricing"}),
        id="rows beside the default table",
    ),
    pytest.param(
        ON,
        {"type": "page", "context": {"traits": {"email": "c@example.com"}}},
        event_body("page", email="c@example.com"),
        id="the address of the context",
    ),
    pytest.param(
        ON,
        {**PAGE, "context": {"traits": {"email": "c@example.com"}}},
        event_body("page", email="ann@example.com"),
        id="the address of the properties wins",
    ),
    pytest.param(
        ON,
        {
            "type": "screen",
            "properties": {
                "metadata": {"k": 1},
                "referral": {"code": "R", "referrer_id": "r"},
                "loyalty": {"code": "L"},
            },
        },
        event_body("screen", {"k": 1})
        | {"referral": {"code": "R", "referrer_id": "r"}, "loyalty": {"code": "L"}},
        id="the default table",
    ),
    pytest.param(
        "page: {disabled: false, unmapped_properties: metadata}",
        {"type": "page", "properties": {"path": "/a", "email": "e@example.com"}},
        event_body("page", {"path": "/a"}, email="e@example.com"),
        id="what no row reads",
    ),
    pytest.param(
        ON, GROUP, {"source_id": "u", "metadata": {"group_id": "g-7"}}, id="a group brings its id and no name"
    ),
    pytest.param(
        ON,
        {"type": "group", "groupId": 42},
        {"source_id": "u", "metadata": {"group_id": "42"}},
        id="a number as the id of a group is text",
    ),
    pytest.param(
        "group: {disabled: false, mapping: {traits.name: customer.metadata.company}}",
        GROUP,
        {"source_id": "u", "metadata": {"company": "Bean Ltd"}},
        id="rows of a group",
    ),
    pytest.param(
        'group: {disabled: false, set: {customer.metadata.company: {"@path": $.traits.name}}}',
        {"type": "group", "traits": {"name": "Bean Ltd"}},
        {"source_id": "u", "metadata": {"company": "Bean Ltd"}},
        id="a value of set makes up for the id",
    ),
    pytest.param(
        "group: {disabled: false, unmapped_traits: metadata}",
        GROUP,
        {
            "source_id": "u",
            "metadata": {"group_id": "g-7", "name": "Bean Ltd", "email": "office@example.com"},
        },
        id="what no row of a group reads",
    ),
]


@pytest.mark.parametrize(("text", "event", "body"), CASES)
def test_the_request(tmp_path: Path, text: str, event: Json, body: Json) -> None:
    """As the reference has it."""
    assert ends_of(tmp_path, text, event) == [body]


@pytest.mark.parametrize("group_id", [None, "", " ", True, []], ids=repr)
@pytest.mark.parametrize("nulls", ["omit", "clear"])
def test_a_group_that_says_nothing_is_skipped(tmp_path: Path, group_id: object, nulls: str) -> None:
    """Constants do not count, and an id that is none erases nothing."""
    text = f"group: {{disabled: false, nulls: {nulls}, extend_default: true, add: {{customer.metadata.from: s}}}}"
    events = [{"type": "group", "groupId": group_id}, {"type": "group"}]
    assert ends_of(tmp_path, text, *events) == ["no_group_id", "no_group_id"]


@pytest.mark.parametrize(
    ("selection", "ends"),
    [
        ({"types": frozenset({"page"})}, [event_body("page"), "not_selected", "not_selected"]),
        ({"names": frozenset({"page"})}, ["not_selected", "not_selected", "not_selected"]),
        ({"exclude_ids": frozenset({"u"})}, ["excluded_id", "excluded_id", "excluded_id"]),
        ({"users": frozenset({"v"})}, ["user_not_selected", "user_not_selected", "user_not_selected"]),
        ({"where": 'type = "screen"'}, ["not_selected", event_body("screen"), "not_selected"]),
    ],
)
def test_the_command_line_selects_them(tmp_path: Path, selection: dict[str, Any], ends: list[Any]) -> None:
    """By type, ids and conditions; names are those of track events."""
    events = [{"type": "page"}, {"type": "screen"}, {"type": "group", "groupId": "g"}]
    assert ends_of(tmp_path, ON, *events, **selection) == ends


def test_integrations_and_anonymous_customers(tmp_path: Path) -> None:
    """Both rules hold for all types; names of the settings are those of track events alone."""
    off = {"integrations": {"Voucherify": False}}
    ends = ends_of(tmp_path, ON, PAGE | off, SCREEN | off, GROUP | off)
    assert ends == ["integration_off"] * 3
    text = (
        ON
        + "identity: {ignore_anonymous: true}\ntrack: {events_filter: [Order], events: {page: {disabled: true}}}"
    )
    anonymous = {"userId": None, "anonymousId": "a"}
    ends = ends_of(tmp_path, text, SCREEN | anonymous, GROUP | anonymous, {"type": "page"})
    assert ends == ["anonymous", "anonymous", event_body("page")]


def test_a_page_that_is_named_by_its_type_is_no_finding() -> None:
    """So it is meant; a track event of which that is so is counted, and titles of pages name nobody."""
    mapper = Mapper(Settings(page=Page(disabled=False), track=Track()))
    mapper.request(event_of({"userId": "u", **PAGE}))
    assert not {NAMED_BY_TYPE, NAMED_BY_PROPERTIES} & set(mapper.stats.findings)
    mapper.request(event_of({"userId": "u", "type": "track"}))
    assert NAMED_BY_TYPE in mapper.stats.findings
