"""Settings made of the configuration of a destination at Segment: what is read, what is taken, what is left out."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from voucherify_sync.errors import UsageProblem
from voucherify_sync.events import Batch, Request
from voucherify_sync.expressions.conditions import parse_condition
from voucherify_sync.mapping.filters import Selection
from voucherify_sync.preview.pasted_settings import imported_text
from voucherify_sync.run.pipeline import Pipeline
from voucherify_sync.settings import Settings, json_schema
from voucherify_sync.settings.load import parsed
from voucherify_sync.settings.segment_configuration import SegmentConfiguration, read_configuration
from voucherify_sync.settings.segment_import import SegmentImport, import_settings
from voucherify_sync.settings.types import settings_of
from voucherify_sync.sources.decode import decode

SHARED = Path(__file__).resolve().parents[3] / "shared"
CANARY = "CANARY-0123456789"

CLASSIC: dict[str, Any] = {
    "apiKey": CANARY,
    "apiToken": CANARY,
    "apiUrl": "",
    "identifyMapping": {"traits.tier": "customer.metadata.tier"},
    "trackEventsFilter": ["Trip Booked"],
    "trackMapping": {},
}
ACTIONS: dict[str, Any] = {
    "apiKey": CANARY,
    "secretKey": CANARY,
    "customURL": "https://as1.segmentio.voucherify.io",
}
USER = {"@path": "$.userId"}


def subscription(
    trigger: str = 'type = "track"', name: str = "Trips", *, enabled: Any = True, **fields: Any
) -> dict[str, Any]:
    """Return a subscription of addCustomEvent with these fields beside the customer."""
    given = {"event": {"@path": "$.event"}, "customer": {"source_id": USER}, **fields}
    return {
        "name": name,
        "actionSlug": "addCustomEvent",
        "enabled": enabled,
        "trigger": trigger,
        "settings": given,
    }


def of_customers(
    trigger: str = 'type = "identify"', action: str = "upsertCustomer", **fields: Any
) -> dict[str, Any]:
    """Return a subscription for customer updates."""
    given = {"source_id": USER, **fields}
    return {"name": "People", "actionSlug": action, "enabled": True, "trigger": trigger, "settings": given}


def read(*values: Any) -> SegmentConfiguration:
    """Return the configuration that files with these values hold."""
    return read_configuration(
        [(f"{number}.json", json.dumps(each).encode()) for number, each in enumerate(values)]
    )


def imported(*values: Any) -> SegmentImport:
    """Return what becomes of files with these values."""
    return import_settings(read(*values))


def effective(*values: Any) -> Settings:
    """Return the settings of the file that is written; it has no mistakes, and nothing to warn of."""
    text = imported_text(imported(*values), ["s.json"])
    read_again, warnings = parsed(text)
    assert warnings == []
    assert CANARY not in text
    return read_again


def requests(of: Settings, *events: dict[str, Any]) -> list[Any]:
    """Return what becomes of events: the body of the request, or the reason why there is none."""
    pipeline, outcomes = Pipeline(of, Selection()), list[Any]()
    for number, event in enumerate(events, 1):
        (record,) = decode(Batch.of("e", number, [json.dumps(event).encode()]))
        decision = pipeline.decide(record)
        outcomes.append(
            msgspec.json.decode(decision.payload) if isinstance(decision, Request) else decision.reason
        )
    return outcomes


# -- what is read


def of_config_api(given: dict[str, Any]) -> dict[str, Any]:
    """Return settings as Segment's old API lists them."""
    path = "workspaces/w/sources/s/destinations/voucherify"
    return {
        "name": path,
        "config": [{"name": f"{path}/config/{name}", "value": each} for name, each in given.items()],
    }


def of_public_api(given: dict[str, Any], slug: str = "voucherify") -> dict[str, Any]:
    """Return settings as Segment's Public API wraps them."""
    return {"data": {"destination": {"id": "d", "settings": given, "metadata": {"name": "V", "slug": slug}}}}


def of_terraform(*resources: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    """Return what `terraform show -json` prints of resources, the last one in a module of its own."""
    listed = [
        {"type": kind, "name": "x", "values": {**each, "settings": json.dumps(each["settings"])}}
        for kind, each in resources
    ]
    return {
        "format_version": "1.0",
        "values": {"root_module": {"resources": listed[:-1], "child_modules": [{"resources": listed[-1:]}]}},
    }


@pytest.mark.parametrize(
    "value",
    [
        CLASSIC,
        of_public_api(CLASSIC),
        {"data": of_public_api(CLASSIC)},
        of_public_api(CLASSIC)["data"],
        of_public_api(CLASSIC)["data"]["destination"],
        {"data": {"destinations": [of_public_api({"apiKey": "x"}, "webhooks")["data"]["destination"],
                                   of_public_api(CLASSIC)["data"]["destination"]]}},
        of_config_api(CLASSIC),
        of_terraform(("segment_source", {"settings": {"a": 1}}), ("segment_destination", {"settings": CLASSIC})),
    ],
    ids=["flat", "public", "public twice", "unwrapped", "destination", "one of several", "config API", "Terraform"],
)  # fmt: skip
def test_the_settings_of_the_classic_destination_are_read_in_every_shape(value: Any) -> None:
    """They are the same settings."""
    found = read(value)
    assert (found.classic, found.actions, found.subscriptions) == (CLASSIC, None, [])


@pytest.mark.parametrize(
    "value", [ACTIONS, of_public_api(ACTIONS, "actions-voucherify")], ids=["flat", "public"]
)
def test_the_settings_of_the_actions_destination_are_read(value: Any) -> None:
    """Whose keys are others."""
    found = read(value)
    assert (found.classic, found.actions) == (None, ACTIONS)


@pytest.mark.parametrize("slug", ["voucherify", "actions-voucherify"])
def test_a_destination_with_empty_settings_is_known_by_its_slug(slug: str) -> None:
    """Nobody filled in anything yet."""
    found = read(of_public_api({}, slug))
    assert (found.classic is None) is (slug == "actions-voucherify")
    assert (found.actions is None) is (slug == "voucherify")


@pytest.mark.parametrize(
    "value",
    [
        subscription(),
        [subscription()],
        {"subscriptions": [subscription()]},
        {"data": {"subscriptions": [subscription()]}},
        {"data": {"data": {"subscriptions": [subscription()]}}},
        {"data": {"subscription": subscription()}},
        {**subscription(), "settings": json.dumps(subscription()["settings"])},
        of_terraform(("segment_destination_subscription", subscription())),
    ],
    ids=["one", "list", "object", "public", "public twice", "public one", "settings as text", "Terraform"],
)  # fmt: skip
def test_subscriptions_are_read_in_every_shape(value: Any) -> None:
    """They are the same subscription."""
    (found,) = read(value).subscriptions
    assert (found.name, found.action, found.is_enabled) == ("Trips", "addCustomEvent", True)
    assert found.settings == subscription()["settings"]


HCL = b'resource "segment_destination_subscription" "s" {\n  settings = jsonencode({ "event" : {} })\n}\n'
EVENT = {"type": "track", "event": "A", "userId": "u"}
DEEP: Any = json.loads("[" * 200 + "]" * 200)


@pytest.mark.parametrize(
    ("content", "message", "remedy"),
    [
        (HCL, "Terraform's own language", "terraform show -json > segment.json"),
        (b"# saved\n\nidentify:\n  mapping: {}\n", "this is YAML", "`yq -o json` makes JSON of YAML"),
        (b"- trigger: x\n", "this is YAML", "GET /destinations/ID/subscriptions"),
        (b"\xef\xbb\xbf \n", "it is empty", "GET /destinations/ID"),
        (b"\xff\xfe{\x00", "it is cut off", "Save it again"),
        (b'{"apiUrl": "\xe9"}', "it is no text in UTF-8 or UTF-16", "GET /destinations/ID"),
        (b"\n<!DOCTYPE html><title>Sign in</title>", "this is a web page", "GET /destinations/ID"),
        (b'{"apiUrl": "", "trackMapping": {', "it is cut off", "Save it again"),
        (b'{"apiUrl": "",\n "trackMapping": {},}', "it is not JSON at line 2;", "GET /destinations/ID"),
        (b'"by hand"', "it is not JSON", "GET /destinations/ID"),
        (json.dumps(EVENT).encode() * 1, "these are events", "init --from s.json"),
        (json.dumps(EVENT).encode() + b"\n" + json.dumps(EVENT).encode(), "these are events", "init --from s.json"),
        (json.dumps([EVENT]).encode(), "these are events", "init --from s.json"),
        (json.dumps(of_public_api({"apiKey": "x"}, "webhooks")).encode(), "the destination 'V', not Voucherify", "GET"),
        (b"{}", "expected JSON with the settings", "GET"),
        (b"[]", "expected JSON with the settings", "GET"),
        (b"3", "expected JSON with the settings", "GET"),
        (b'{"apiKey": "x"}', "expected JSON with the settings", "GET"),
        (b'{"settings": {"a": 1}, "enabled": true}', "expected JSON with the settings", "GET"),
        (json.dumps(DEEP).encode(), "more than 100 levels", "GET"),
        (b"[" * 100_000, "more than 100 levels", "GET"),
        (b" " * (10 * 1024 * 1024 + 1), "larger than 10 MiB", "GET"),
    ],
    ids=["HCL", "YAML", "YAML list", "empty", "cut UTF-16", "Latin-1", "page", "cut", "comma", "text", "event",
         "NDJSON", "array of events", "another destination", "object", "list", "number", "one key",
         "of another program", "deep", "deeper", "large"],
)  # fmt: skip
def test_what_is_no_configuration_is_refused_with_what_to_give_instead(
    content: bytes, message: str, remedy: str
) -> None:
    """The sentence names the file."""
    with pytest.raises(UsageProblem, match=r"^no Segment destination settings in s\.json: ") as raised:
        read_configuration([("s.json", content)])
    assert message in raised.value.message
    assert remedy in raised.value.remedy


@pytest.mark.parametrize(
    "encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "twice"], ids=lambda name: name
)
def test_a_file_is_read_in_every_encoding_of_json(encoding: str) -> None:
    """Editors and shells of Windows save UTF-16; a pipe through some programs makes a text of JSON."""
    text = json.dumps(CLASSIC)
    content = json.dumps(text).encode() if encoding == "twice" else text.encode(encoding)
    assert read_configuration([("s.json", content)]).classic == CLASSIC


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('{"apiUrl": "", "apiUrl": "x"}', '"apiUrl" stands twice in the outermost object'),
        ('{"data": [{"trackMapping": {"a b": "x", "c": "y", "a b": ""}}]}',
         '"a b" stands twice in data[0].trackMapping'),
        ('{"apiUrl": {"a": 1, "a": 2}, "apiUrl": ""}', '"apiUrl" stands twice in the outermost object'),
        ('{"trigger": "t", "settings": "{\\"customer\\": {\\"name\\": 1, \\"name\\": 2}}"}',
         '"name" stands twice in settings.customer'),
        ('{"config": [{"name": "a/apiUrl", "value": 1}, {"name": "b/apiUrl", "value": 2}]}',
         '"apiUrl" stands twice in config'),
    ],
    ids=["outermost", "inside", "both", "Terraform", "config API"],
)  # fmt: skip
def test_a_key_that_stands_twice_is_refused_with_its_place(text: str, fault: str) -> None:
    """JSON parsers take the last one without a word."""
    with pytest.raises(UsageProblem) as raised:
        read_configuration([("s.json", text.encode())])
    assert raised.value.message == f"s.json: {fault}, and only one of them can hold."


def test_what_two_files_hold_counts_once() -> None:
    """A glob gives a file twice, or an older answer beside a newer one."""
    first, second = {**subscription(), "id": "1"}, {**of_customers(), "id": "2"}
    destination = of_public_api(ACTIONS, "actions-voucherify")
    found = read([first], destination, [first, second], destination)
    assert [each.name for each in found.subscriptions] == ["Trips", "People"]
    assert found.notices == [
        '2.json: "Trips": given before, and taken once',
        "3.json: the settings of the destination: given before, and taken once",
    ]
    assert import_settings(found).left_out == found.notices
    with pytest.raises(UsageProblem, match=r'^1\.json: the subscription "Trips" was given before'):
        read([first], [{**first, "enabled": False}])


def test_a_page_of_subscriptions_without_the_next_is_named() -> None:
    """The Public API gives long lists in pages; the rest of the configuration would be missing without a word."""
    first = {"data": {"subscriptions": [subscription()], "pagination": {"current": "MA==", "next": "MQ=="}}}
    last = {"data": {"subscriptions": [of_customers()], "pagination": {"current": "MQ==", "next": None}}}
    said = import_settings(read(first)).left_out
    assert [line.rpartition(" ")[2] for line in said] == [
        "/destinations/ID/subscriptions?pagination[cursor]=MQ=="
    ]
    assert import_settings(read(last, first)).left_out == []


def test_several_files_are_one_configuration_and_a_second_destination_is_refused() -> None:
    """The answers of both calls of the Public API belong together."""
    found = read(of_public_api(ACTIONS, "actions-voucherify"), [subscription()], [of_customers()])
    assert (found.actions, [each.name for each in found.subscriptions]) == (ACTIONS, ["Trips", "People"])
    with pytest.raises(UsageProblem, match="a second destination"):
        read(CLASSIC, ACTIONS)
    with pytest.raises(UsageProblem, match="classic destination and subscriptions of Voucherify"):
        read(CLASSIC, [subscription()])


# -- the classic destination


@pytest.mark.parametrize(
    ("given", "path", "value"),
    [
        ({"identifyDisabled": True}, "identify.disabled", True),
        ({"trackDisabled": True}, "track.disabled", True),
        ({"identifyMapping": {"traits.a": "customer.email"}}, "identify.mapping", {"traits.a": ["customer.email"]}),
        ({"identifyMapping": {"traits.a": "customer.email"}}, "identify.extend_default", False),
        ({"identifyMapping": {}}, "identify.extend_default", None),
        ({"identifyMapping": ""}, "identify.mapping", {}),
        ({"identifyMapping": {"": ""}}, "identify.disabled", False),
        ({"trackMapping": {"properties.a": "metadata.a"}}, "track.mapping", {"properties.a": ["metadata.a"]}),
        ({"pageMapping": {"name": "event"}}, "page.mapping", {"name": ["event"]}),
        ({"screenMapping": {"name": "event"}}, "screen.mapping", {"name": ["event"]}),
        ({"groupMapping": {"groupId": "customer.metadata.g"}}, "group.mapping", {"groupId": ["customer.metadata.g"]}),
        ({"trackEventsFilter": ["A", "", "B"]}, "track.events_filter", ["A", "B"]),
        ({"trackEventsFilter": "A"}, "track.events_filter", ["A"]),
        ({"trackEventsFilter": []}, "track.events_filter", []),
        ({"apiUrl": "https://us1.api.voucherify.io"}, "api.url", "https://us1.api.voucherify.io"),
        ({"apiUrl": "us1.segmentio.voucherify.io/v1"}, "api.url", "https://us1.api.voucherify.io"),
        ({"apiUrl": ""}, "api.url", "https://api.voucherify.io"),
        ({"apiVersion": "v2018-08-01"}, "api.version", "v2018-08-01"),
        ({"apiVersion": "  "}, "api.version", "latest"),
        ({"ignoreAnonymous": True}, "identity.ignore_anonymous", True),
        ({"ignoreAnonymous": "true"}, "identity.ignore_anonymous", True),
        ({"pageDisabled": False}, "page.disabled", True),
        ({"groupDisabled": True}, "group.disabled", True),
    ],
    ids=str,
)  # fmt: skip
def test_a_setting_of_the_classic_destination_has_its_place(
    given: dict[str, Any], path: str, value: Any
) -> None:
    """Where nothing is given there, the default is the same here."""
    section, _, name = path.partition(".")
    assert getattr(getattr(effective({"trackDisabled": False} | given), section), name) == value


def test_page_events_that_are_on_at_segment_stay_off_and_are_named() -> None:
    """In a classic configuration they are on by default, and a web archive is full of them."""
    result = imported(CLASSIC | {"screenDisabled": True})
    text = imported_text(result, ["s.json"])
    assert text.count("disabled: true  # on at Segment; each event is one call") == 2
    (line,) = result.left_out
    assert line.startswith("page, group: on at Segment")


@pytest.mark.parametrize(
    ("given", "left_out"),
    [
        ({"trackOnlyExistingCustomers": True}, "Track Only Existing Customers: no such setting"),
        ({"identifyMapping": {"traits.a": "metadata.a", "traits.b": "customer.email"}}, "customer.metadata.a?"),
        ({"identifyMapping": {"trait.a": "customer.email", "traits.b": "customer.email"}}, "did you mean traits.a?"),
        ({"trackMapping": {"properties.a": "metadata.a", "properties.b": "customer.b"}}, "customer.metadata.b"),
        ({"trackEventsFilter": ["A*"]}, "a * stands for any characters here"),
        ({"apiVersion": "2018"}, "Voucherify knows v2018-08-01"),
        ({"trackEventsFilter": [None, "", "A*"]}, "a * stands for any characters here"),
        ({"apiUrl": f"https://u:{CANARY}@api.voucherify.io"}, "must not hold a user or password"),
        ({"more": CANARY}, "no such setting here: more"),
        ({"trackMapping": [1]}, "track.mapping: it must hold rows"),
        ({"identifyDisabled": 1}, "identify.disabled: must be true or false"),
        ({"ignoreAnonymous": "yes"}, "identity.ignore_anonymous: must be true or false"),
        ({"apiUrl": 5}, "api.url: must begin with https://"),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_left_out_of_the_classic_destination_is_named(given: dict[str, Any], left_out: str) -> None:
    """With the reason; no value of a key is shown."""
    found = CLASSIC | {"pageDisabled": True, "screenDisabled": True, "groupDisabled": True} | given
    result = imported(found)
    assert any(left_out in line for line in result.left_out)
    assert CANARY not in repr(result)
    text = imported_text(result, ["s.json"])
    assert parsed(text)[1] == []
    assert f"# - {result.left_out[0]}" in text


@pytest.mark.parametrize(
    ("given", "section"),
    [({"identifyMapping": {"traits.a": "metadata.a"}}, "identify"), ({"trackMapping": [1]}, "track"),
     ({"trackEventsFilter": [["A"]]}, "track")],
    ids=str,
)  # fmt: skip
def test_a_section_of_which_nothing_can_be_taken_is_off(given: dict[str, Any], section: str) -> None:
    """The default table, or all events, would be something else than what was asked for."""
    assert getattr(effective(CLASSIC | {"trackEventsFilter": []} | given), section).disabled is True


# -- Voucherify (Actions): fields


@pytest.mark.parametrize(
    ("fields", "name", "place", "value"),
    [
        ({"first_name": {"@path": "$.traits.first_name"}}, "mapping", "traits.first_name", ["customer.firstName"]),
        ({"last_name": {"@path": "traits.last_name"}}, "mapping", "traits.last_name", ["customer.lastName"]),
        ({"address": {"street": {"@path": "$.traits.s"}}}, "mapping", "traits.s", ["customer.address.line_1"]),
        ({"address": {"@path": "$.traits.address"}}, "mapping", "traits.address", ["customer.address"]),
        ({"metadata": {"@path": "$.traits.m"}}, "mapping", "traits.m", ["customer.metadata"]),
        ({"metadata": {"tier": {"@path": "$.traits.t"}}}, "mapping", "traits.t", ["customer.metadata.tier"]),
        ({"email": {"@path": "$.traits.a"}, "metadata": {"b": {"@path": "$.traits.a"}}}, "mapping", "traits.a",
         ["customer.email", "customer.metadata.b"]),
        ({"email": {"@path": "$.traits.list.0.a"}}, "mapping", "traits.list[0].a", ["customer.email"]),
        ({"email": {"@path": "$.traits['a.0.b']"}}, "mapping", "traits['a.0.b']", ["customer.email"]),
        ({"email": {"@path": "$.traits.a", "_metadata": {"x": 1}}}, "mapping", "traits.a", ["customer.email"]),
        ({"name": {"@template": "{{traits.list.0}} {{ traits.b }}"}}, "set", "customer.name",
         {"@template": "{{traits.list[0]}} {{traits.b}}"}),
        ({"email": {"@case": {"operator": "lower", "value": {"@path": "$.traits.l.1"}}}}, "set", "customer.email",
         {"@case": {"operator": "lower", "value": {"@path": "$.traits.l[1]"}}}),
        ({"metadata": {"tier": "gold"}}, "set", "customer.metadata.tier", "gold"),
        ({"metadata": {"price": "${HOME}"}}, "set", "customer.metadata.price", "${HOME}"),
        ({"metadata": {"n": 3}}, "set", "customer.metadata.n", 3),
        ({"metadata": {"@path": "$."}}, "set", "customer.metadata", {"@path": "$."}),
    ],
    ids=str,
)  # fmt: skip
def test_a_field_of_a_customer_is_a_row_or_an_entry_of_set(
    fields: dict[str, Any], name: str, place: str, value: Any
) -> None:
    """A bare path is a row, all else is an entry."""
    identify = effective([of_customers(**fields)]).identify
    assert getattr(identify, name)[place] == value
    assert (identify.disabled, identify.extend_default, identify.name_from_parts) == (False, False, False)


def exists(path: str, otherwise: Any) -> dict[str, Any]:
    """Return what takes a path if something is there, and else another value."""
    return {"@if": {"exists": {"@path": path}, "then": {"@path": path}, "else": otherwise}}


@pytest.mark.parametrize(
    ("value", "others"),
    [
        (exists("$.properties.a", {"@path": "$.context.traits.a"}), ["context.traits.a"]),
        (exists("$.properties.a", exists("$.properties.b", USER)), ["properties.b", "userId"]),
        (exists("$.properties.a", "none"), None),
        (exists("$.properties.a", {"@template": "x"}), None),
        ({"@if": {"exists": {"@path": "$.properties.b"}, "then": {"@path": "$.properties.a"}, "else": USER}}, None),
        ({"@if": {"blank": {"@path": "$.properties.a"}, "then": {"@path": "$.properties.a"}, "else": USER}}, None),
    ],
    ids=["else", "chain", "constant", "template", "another path", "blank"],
)  # fmt: skip
def test_if_exists_is_a_row_with_or(value: Any, others: list[str] | None) -> None:
    """What is not exactly that stays a directive."""
    track = effective([subscription(metadata={"a": value})]).track
    if others is None:
        assert track.set == {"metadata.a": value}
    else:
        assert msgspec.to_builtins(track.mapping["properties.a"]) == {
            "to": ["metadata.a"],
            "or_": others,
            "apply": None,
        }


def test_a_source_that_two_rows_would_read_in_two_ways_is_in_set_once() -> None:
    """A source stands in a mapping once."""
    both = exists("$.properties.a", {"@path": "$.properties.b"})
    track = effective([subscription(metadata={"a": {"@path": "$.properties.a"}, "b": both})]).track
    assert track.mapping["properties.a"] == ["metadata.a"]
    assert track.set == {"metadata.b": both}


@pytest.mark.parametrize(
    ("fields", "left_out"),
    [
        ({"shoe_size": {"@path": "$.traits.s"}}, "customer.shoe_size"),
        ({"email": {"@liquid": "{{ x }}"}}, "Liquid is not read yet"),
        ({"email": {"@path": "$.traits.*"}}, "'.*' is for rows"),
        ({"email": {"@unknown": 1}}, "@unknown is no directive"),
        ({"address": "x"}, "takes an object"),
        ({"email": {"@path": "$.email"}}, "customer.email: "),
        ({"email": {"@path": "$.email"}}, "no event has a key 'email' at its top level"),
        ({"metadata": {"all": {"@path": "$.traits.*"}}}, "customer.metadata.all: @path: '.*' is for rows"),
    ],
    ids=str,
)  # fmt: skip
def test_a_field_that_cannot_be_taken_is_named(fields: dict[str, Any], left_out: str) -> None:
    """The others are taken."""
    result = imported([of_customers(**fields)])
    (line,) = result.left_out
    assert line.startswith('"People": ')
    assert left_out in line
    assert result.values["identify.mapping"] == {"userId": "customer.source_id"}


def test_a_custom_url_that_is_no_text_is_named() -> None:
    """As any value that is not taken."""
    result = imported({**ACTIONS, "customURL": 3}, [subscription()])
    assert result.left_out == ["api.url: must begin with https://"]


def test_keys_of_segments_own_are_no_fields() -> None:
    """They say how Segment sends, and are not named."""
    own = {
        "type": {"@path": "$.type"},
        "__segment_internal_sync_mode": "upsert",
        "batch_size": 9,
        "enable_batching": True,
    }
    result = imported([of_customers(**own, email=None, phone="")])
    assert result.left_out == []
    assert result.values["identify.mapping"] == {"userId": "customer.source_id"}


def test_a_group_keeps_its_id_and_says_what_becomes_of_its_traits() -> None:
    """Which are those of a company."""
    fields = {
        "customer": {"source_id": USER},
        "group_id": {"@path": "$.groupId"},
        "traits": {"@path": "$.traits"},
    }
    group = {**of_customers('type = "group"', "assignCustomerToGroup"), "settings": fields}
    result = imported([group])
    assert result.values["group.mapping"] == {
        "userId": "customer.source_id",
        "groupId": "customer.metadata.group_id",
    }
    assert result.left_out[0].startswith('"People": traits: no field of a customer')
    event = {"type": "group", "userId": "u", "groupId": 7, "traits": {"name": "Acme"}}
    assert requests(effective([group]), event) == [{"source_id": "u", "metadata": {"group_id": "7"}}]


# -- Voucherify (Actions): triggers


@pytest.mark.parametrize(
    ("given", "left_out"),
    [
        (subscription(enabled=False), "off at Segment"),
        (subscription("properties.total > 20"), "names no type of events"),
        (subscription('type = "track" and length(userId) > 3'), "its trigger is not taken, column 20"),
        (subscription(""), "its trigger is not taken, column 1: the condition is empty"),
        (subscription('type = "identify"'), "addCustomEvent of identify events; here these become customer updates"),
        (subscription('type = "alias"'), "addCustomEvent of alias events; here these make no request"),
        (of_customers('type = "track"'), "upsertCustomer of track events; here these become custom events"),
        (of_customers(action="postToChannel"), "'postToChannel' is not one of Voucherify (Actions)"),
        (subscription('type = "track" and properties.list.0 = "a"'), "conditions read no items of lists"),
        (subscription('event = "Sale *"'), "a * stands for any characters here"),
        (subscription('event = " "'), "a blank name"),
        (subscription(enabled="false"), "off at Segment"),
        ({**subscription(), "settings": {}}, "nothing of it is sent, as it does not fill event and customer.source_id"),
        ({**subscription(), "settings": "{broken"}, "nothing of it is sent, as it does not fill event and"),
        (subscription(event={"@liquid": "{{event}}"}), "nothing of it is sent, as it does not fill event"),
        (subscription(event=""), "nothing of it is sent, as it does not fill event"),
        (subscription(customer={"@path": "$.properties.c"}), "an object as a whole never fills the ids of a customer"),
        (subscription(customer={"source_id": None}), "nothing of it is sent, as it does not fill customer.source_id"),
        (of_customers(source_id={"@unknown": 1}), "customer.source_id: @unknown is no directive"),
        (of_customers(source_id="", email=USER), "nothing of it is sent, as it does not fill customer.source_id"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_subscription_that_cannot_be_taken_is_named_and_its_section_is_off(
    given: Any, left_out: str
) -> None:
    """No event goes where nobody said that it should."""
    result = imported([given])
    assert left_out in "\n".join(result.left_out)
    assert result.taken == []
    own = effective([given])
    assert all(getattr(own, kind).disabled for kind in ("identify", "track", "page", "screen", "group"))


def test_without_subscriptions_nothing_is_sent_and_the_file_says_what_is_missing() -> None:
    """The settings of Voucherify (Actions) hold no mapping."""
    own = effective(ACTIONS)
    assert (own.api.url, own.identify.disabled, own.track.disabled) == (
        "https://as1.api.voucherify.io",
        True,
        True,
    )
    for value in (ACTIONS, {"data": {"subscriptions": []}}):
        assert "it is in the subscriptions, and there is none" in imported(value).left_out[0]


def test_what_is_always_so_with_actions() -> None:
    """It has no default table, makes no names of parts, and does not know computed traits."""
    own = effective([subscription(), of_customers()])
    assert (own.personas.disabled, own.identity.ignore_anonymous) == (True, True)
    assert (own.track.extend_default, own.track.name_from_parts, own.page.disabled) == (False, False, True)


def test_the_action_of_terraform_is_told_by_its_trigger() -> None:
    """It names an action by an id only."""
    group = of_customers('type = "group"', customer={"source_id": USER})
    own = effective([{**each, "actionSlug": None} for each in (subscription(), of_customers(), group)])
    assert (own.identify.disabled, own.track.disabled, own.group.disabled) == (False, False, False)
    assert (own.page.disabled, own.screen.disabled) == (True, True)


def test_a_trigger_for_several_types_fills_several_sections() -> None:
    """The condition holds for each of them."""
    trigger = '(type = "page" or type = "screen") and properties.x = "y"'
    own = effective([subscription(trigger)])
    assert own.page.where == own.screen.where == 'properties.x = "y"'
    assert (own.track.disabled, own.page.disabled, own.screen.disabled) == (True, False, False)


def track(event: str | None = None, **fields: Any) -> dict[str, Any]:
    """Return a track event of user u."""
    return {"type": "track", "userId": "u", **({} if event is None else {"event": event}), **fields}


def by(name: str, trigger: str, **more: Any) -> dict[str, Any]:
    """Return a subscription whose requests tell its name."""
    return subscription(trigger, name, metadata={"by": name}, **more)


def senders(subscriptions: Iterable[dict[str, Any]], *events: dict[str, Any]) -> list[str]:
    """Return which subscription each event is sent by; for others the reason why it is not."""
    outcomes = requests(effective(list(subscriptions)), *events)
    return [each if isinstance(each, str) else each["metadata"]["by"] for each in outcomes]


def test_a_name_in_a_trigger_is_an_entry_and_other_names_are_not_sent() -> None:
    """`events_filter` lists them all, and each has the condition of its own trigger."""
    given = [
        by("sales", '(event = "Sale" or event = "Gift") and properties.total > 20'),
        by("visits", 'event = "Visit"'),
    ]
    own = effective(given)
    assert own.track.events_filter == ["Sale", "Gift", "Visit"]
    assert {name: entry.where for name, entry in own.track.events.items()} == {
        "Sale": "properties.total > 20", "Gift": "properties.total > 20", "Visit": None,
    }  # fmt: skip
    events = [track("Sale", properties={"total": 21}), track("Gift"), track("Visit"), track("Other"), track()]
    assert senders(given, *events) == ["sales", "where", "visits", "name_filtered", "name_filtered"]


def test_a_subscription_for_all_track_events_takes_those_without_an_entry() -> None:
    """Its condition is not asked of the entries, though `track.where` is."""
    given = [
        by("sales", 'event = "Sale"'),
        by("rest", 'type = "track" and event != "Sale" and properties.x = "y"'),
    ]
    own = effective(given)
    assert (own.track.where, own.track.events_filter) == ('event = "Sale" or properties.x = "y"', [])
    events = [track("Sale"), track("Visit", properties={"x": "y"}), track("Visit")]
    assert senders(given, *events) == ["sales", "rest", "where"]
    assert imported(given).left_out == []
    assert senders(reversed(given), *events) == ["sales", "rest", "where"]


def test_a_condition_that_only_leaves_the_entries_out_is_none() -> None:
    """A usual pair at Segment: one event, and all others."""
    own = effective([by("sales", 'event = "Sale"'), by("rest", 'type = "track" and event != "Sale"')])
    assert own.track.where is None


@pytest.mark.parametrize(
    ("given", "left_out", "sent"),
    [
        ([by("a", 'event = "Sale"'), by("b", 'event = "Sale" or event = "Visit"')],
         ['"b": "a" takes "Sale" already: one event makes one request here'], ["a", "b", "name_filtered"]),
        ([by("a", 'type = "track"'), by("b", 'event = "Sale"')],
         ['"b": "a" takes "Sale" already: one event makes one request here'], ["a", "a", "a"]),
        ([by("a", 'event = "Sale"'), by("b", 'type = "track"')],
         ['"b": other subscriptions take "Sale": one event makes one request here'], ["a", "b", "b"]),
        ([by("a", 'type = "track" and properties.x = "y"'), by("b", 'type = "track"')],
         ['"b": "a" takes track events already: one event makes one request here'], ["where", "where", "where"]),
        ([by("a", 'event = "Sale"', enabled=False), by("b", 'event = "Sale"')], ['"a": off at Segment'],
         ["b", "name_filtered", "name_filtered"]),
    ],
    ids=["two names", "name after all", "all after name", "two for all", "the first is off"],
)  # fmt: skip
def test_of_two_subscriptions_for_one_event_the_second_is_left_out_by_name(
    given: list[dict[str, Any]], left_out: list[str], sent: list[str]
) -> None:
    """It is taken for the events that are left to it."""
    assert imported(given).left_out == left_out
    assert senders(given, track("Sale"), track("Visit"), track("Other")) == sent


def test_rows_of_an_entry_are_its_own() -> None:
    """An entry without `set` does not take that of track, nor the other way round."""
    given = [by("rest", 'type = "track" and event != "Sale"'), subscription('event = "Sale"', "sales")]
    assert requests(effective(given), track("Sale")) == [{"event": "Sale", "customer": {"source_id": "u"}}]


def test_anonymous_events_are_left_out_only_where_a_subscription_needs_a_user() -> None:
    """`ignore_anonymous` is for all events, so one subscription that takes anonymousId has it off."""
    either = exists("$.userId", {"@path": "$.anonymousId"})
    given = [of_customers(), subscription(customer={"source_id": either})]
    own = effective(given)
    assert (own.identity.ignore_anonymous, own.identify.where, own.track.where) == (
        False,
        "userId != null",
        None,
    )
    events = [{"type": "identify", "anonymousId": "a"}, {"type": "track", "event": "E", "anonymousId": "a"}]
    assert requests(own, *events) == ["where", {"event": "E", "customer": {"source_id": "a"}}]


TRIGGERS = [
    'type = "track"', 'event = "A"', 'event = "B"', 'event = "A" or event = "B"', 'type = "track" and event != "A"',
    'type = "track" and event != "A" and event != "B"', 'event = "A" and properties.x > 1',
    'type = "track" and properties.x > 1', 'type = "track" and (event != "A" or properties.x > 1)',
    'type = "track" and match(event, "A*")', 'type = "page"', 'type = "page" or type = "track"',
]  # fmt: skip
EVENTS = [
    {"type": kind, "userId": "u", "properties": properties, **name}
    for kind in ("track", "page")
    for properties in ({}, {"x": 1}, {"x": 2})
    for name in ({}, {"event": "A"}, {"event": "B"}, {"event": "AB"}, {"event": "C"})
    if kind == "track" or not name
]


@given(picked=st.lists(st.tuples(st.sampled_from(TRIGGERS), st.booleans()), min_size=1, max_size=4))
@settings(max_examples=100)
def test_an_event_is_sent_by_a_subscription_that_takes_it_at_segment(picked: list[tuple[str, bool]]) -> None:
    """Nothing else is sent; and where nothing but what is off is left out, every event that one takes is sent."""
    given = [by(str(number), trigger, enabled=is_on) for number, (trigger, is_on) in enumerate(picked)]
    takes = {
        str(number): parse_condition(trigger).holds for number, (trigger, is_on) in enumerate(picked) if is_on
    }
    is_whole = all(line.endswith("off at Segment") for line in imported(given).left_out)
    for event, sender in zip(EVENTS, senders(given, *EVENTS), strict=True):
        holders = [name for name, holds in takes.items() if holds(event)]
        if sender.isdecimal():
            assert sender in holders
        elif is_whole:
            assert holders == []


# -- the presets, and any JSON


@pytest.mark.skipif(not SHARED.exists(), reason="the recorded outputs are not beside this checkout")
def test_the_presets_give_what_segments_own_code_gives() -> None:
    """For each event with a userId and a name. Equal but for what is named here.

    At Segment `type` is a field, objects may be empty, and null and blank values are sent. A group has its id and its
    traits beside the customer; a street is line_1 of the address, and the name is made of its parts.
    """
    folder = SHARED / "cases" / "segment"
    own = effective(json.loads((folder / "voucherify-actions-presets.json").read_text()))
    lines = (SHARED / "corpora" / "segment-docs.ndjson").read_text().splitlines()
    compared = 0
    for record in map(json.loads, (folder / "actions-outputs.ndjson").read_text().splitlines()):
        event = json.loads(lines[int(record["at"].rpartition(":")[2]) - 1])
        if not event.get("userId") or not (
            event["type"] != "track" or event.get("event") or event.get("name")
        ):
            continue
        (body,) = requests(own, event)
        expected = _without_nothing({name: value for name, value in record["p"].items() if name != "type"})
        if event["type"] in ("identify", "group"):
            expected = _as_customer(expected)
        assert (record["at"], body) == (record["at"], expected)
        compared += 1
    assert compared > 90


def _without_nothing(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    inside = {key: _without_nothing(each) for key, each in value.items()}
    return {key: each for key, each in inside.items() if each not in (None, "", {})}


def _as_customer(payload: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a customer or a group at their places here."""
    body = {**payload.pop("customer", {}), **payload}
    body.pop("traits", None)
    parts = [body.pop(key) for key in ("first_name", "last_name") if key in body]
    if parts and "name" not in body:
        body["name"] = " ".join(parts)
    if "group_id" in body:
        body["metadata"] = {"group_id": body.pop("group_id")}
    if "street" in body.get("address", {}):
        body["address"]["line_1"] = body["address"].pop("street")
    return body


NAMES = sorted(
    {
        *CLASSIC,
        *ACTIONS,
        *subscription(),
        "pageMapping",
        "apiVersion",
        "customer",
        "address",
        "metadata",
        "event",
        "first_name",
        "source_id",
        "group_id",
        "traits",
        "@path",
        "@if",
        "@template",
        "@case",
        "@arrayPath",
        "exists",
        "then",
        "else",
        "value",
        "operator",
        "data",
        "destination",
        "subscriptions",
        "config",
        "values",
        "resources",
        "name",
        "type",
        "slug",
    }
)
TEXTS = [
    "$.traits.email",
    "traits.*",
    "$.",
    "properties.a.0",
    "{{name}}",
    "${A}",
    "customer.email",
    "metadata.a b",
    "on",
    "1",
    "",
    "lower",
    "identify",
    "voucherify",
    "actions-voucherify",
    "A*",
    "\x85\u202e",
    "upsertCustomer",
    "a\nb",
]
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.sampled_from(TEXTS)
)
any_json = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)
objects = st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=4), any_json, max_size=4)
actions = objects | st.fixed_dictionaries({"customer": objects, "metadata": any_json, "event": any_json})
triggers = st.sampled_from([*TRIGGERS, 'type = "identify"', 'type = "group"']) | st.text(max_size=9)
rows = st.dictionaries(st.sampled_from(TEXTS), st.sampled_from(TEXTS))
any_subscription = st.fixed_dictionaries(
    {"trigger": triggers, "settings": actions},
    optional={"name": any_json, "enabled": any_json, "actionSlug": any_json},
)
any_classic = st.fixed_dictionaries(
    {"trackMapping": any_json | objects, "identifyMapping": rows},
    optional={
        "trackEventsFilter": any_json,
        "apiUrl": any_json,
        "apiVersion": any_json,
        "pageDisabled": any_json,
    },
)


@given(value=any_json | st.lists(any_subscription, max_size=3) | any_classic)
@settings(max_examples=150)
def test_any_json_is_a_file_that_loads_or_an_error_that_says_why(value: Any) -> None:
    """Whatever is given, in any shape; nothing of it can break the file."""
    try:
        text = imported_text(imported(value), ["s\n.json"])
    except UsageProblem as problem:
        assert problem.remedy  # noqa: PT017 - it may be raised, and need not
        return
    assert parsed(text)[1] == []
    assert all(line.isprintable() for line in text.splitlines())


@pytest.mark.parametrize(
    "value", [[subscription(), by("a", 'event = "A"'), of_customers()], CLASSIC], ids=["A", "C"]
)
def test_the_schema_accepts_the_file(value: Any) -> None:
    """Editors must not underline what `init` wrote."""
    text = imported_text(imported(value), ["s.json"])
    assert list(Draft202012Validator(json_schema()).iter_errors(yaml.safe_load(text))) == []


def test_every_path_that_is_written_is_a_setting() -> None:
    """A setting that gets another name is missed here."""
    for value in ([subscription(), of_customers()], CLASSIC):
        for path in imported(value).values:
            section, _, name = path.partition(".")
            assert name in settings_of(section)
