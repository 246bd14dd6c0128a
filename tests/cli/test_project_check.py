"""What Voucherify itself says before a run: keys, limit, and the metadata schema against the mapping."""

# ruff: noqa: E501 - answers are read as they stand

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.cli import Cli, Ended
from support.servers import unused_port

from voucherify_sync.errors import AccessRefused, RunStopped, Unreachable, VoucherifySyncError, WrongAddress
from voucherify_sync.events import Event
from voucherify_sync.exit_codes import ExitCode
from voucherify_sync.preview.project_check import BreachKind, planned_breaches, sampled_breaches
from voucherify_sync.preview.suggestions import SampleCounts, sample
from voucherify_sync.sandbox import Fault, Sandbox, SandboxOptions
from voucherify_sync.settings import Credentials, Identify, Secret, Settings, Track
from voucherify_sync.settings.types import Orders, TrackEntry
from voucherify_sync.sources.discover import Source
from voucherify_sync.sources.reader import Reader
from voucherify_sync.stop import Stop
from voucherify_sync.voucherify.client import Client
from voucherify_sync.voucherify.project import Definition, MetadataSchema, Schemas, ask, read_schemas

SCHEMA = {
    "related_object": "customer",
    "properties": {
        "points": {"type": "number", "optional": True},
        "tier": {"type": "string", "eq": ["gold", "silver"], "optional": True},
        "old": {"type": "string", "deleted": True},
        "crm": {"type": "string", "optional": False},
    },
}
ROWS = {f"traits.{key}": [f"customer.metadata.{key}"] for key in ("points", "tier", "old", "plan")}
SETTINGS = Settings(identify=Identify(mapping=ROWS), track=Track(mapping={"properties.a": ["metadata.a"]}))


@contextmanager
def project(faults: list[str] | None = None, **options: Any) -> Iterator[tuple[Sandbox, Client]]:
    """Run a stand-in, and a client that knows its keys."""
    given = [Fault.parse(text) for text in faults or []]
    with Sandbox(SandboxOptions(app_id="app", token="CANARY", **options), given) as sandbox:
        client = Client(Credentials("app", Secret("CANARY"), sandbox.url, None), workers=1, deadline_s=5)
        try:
            yield sandbox, client
        finally:
            client.close()


def asked(faults: list[str] | None = None, **options: Any) -> tuple[Any, int]:
    """Return what a project tells, and how many calls it took."""
    with project(faults, **options) as (sandbox, client):
        told = ask(client)
        return told, sandbox.counts()[2]


def test_one_call_tells_keys_limit_and_schema() -> None:
    """It is the cheapest that tells all three."""
    (rate, schemas), calls = asked(limit="100/min", metadata_schemas=(SCHEMA,))
    schema = schemas["customer"]
    assert calls == 1
    assert (rate.limit, rate.remaining) == (100, 99)
    assert set(schema.definitions) == {"points", "tier", "crm"}
    assert not schema.defined_only


@pytest.mark.parametrize("status", [403, 404])
def test_keys_that_may_not_read_schemas_are_tried_on_customers(status: int) -> None:
    """They can still be good enough for a replay; then there is no schema to hold the mapping against."""
    (_, schema), calls = asked([f"GET /v1/metadata-schemas status {status}"])
    assert (schema, calls) == (None, 2)


@pytest.mark.parametrize(
    ("faults", "error", "code"),
    [
        (["GET status 401"], AccessRefused, ExitCode.REFUSED),
        (["GET status 402"], AccessRefused, ExitCode.REFUSED),
        (["GET status 403"], AccessRefused, ExitCode.REFUSED),
        (["GET status 404"], WrongAddress, ExitCode.USAGE),
        (["GET status 405"], WrongAddress, ExitCode.USAGE),
        (["GET status 429"], RunStopped, ExitCode.STOPPED),
        (["GET status 503"], RunStopped, ExitCode.STOPPED),
        (["GET drop"], RunStopped, ExitCode.STOPPED),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_what_is_no_yes_ends_in_its_own_exit_code(
    faults: list[str], error: type[VoucherifySyncError], code: ExitCode
) -> None:
    """Refused keys, a wrong address, and an outage are not the same."""
    with pytest.raises(error) as caught:
        asked(faults)
    assert caught.value.exit_code is code
    assert "CANARY" not in str(caught.value)


def test_a_project_that_cannot_be_reached_is_a_mistake() -> None:
    """Exit 2, with what to check."""
    port = unused_port()
    client = Client(Credentials("app", Secret("CANARY"), f"http://127.0.0.1:{port}", None), workers=1)
    with pytest.raises(Unreachable, match=f"no connection to 127.0.0.1:{port} could be made") as caught:
        ask(client)
    client.close()
    assert caught.value.exit_code is ExitCode.USAGE
    assert "api.url" in caught.value.remedy


@pytest.mark.parametrize(
    ("answer", "schemas"),
    [
        ({"schemas": []}, {}),
        ({"data": [SCHEMA | {"allow_defined_only": True, "properties": None}]}, {"customer": MetadataSchema({}, defined_only=True)}),
        ({"schemas": [3, {"related_object": "order"}, {"related_object": []}]}, {"order": MetadataSchema({})}),
        ({"schemas": [{"related_object": "customer", "properties": {"a": 3, "b": {}, "c": {"type": "new", "array": 1}}}]},
         {"customer": MetadataSchema({"b": Definition("any"), "c": Definition("new")})}),
        ({"schemas": [{"related_object": "customer", "properties": {
            "a": {"type": "number", "gte": 1, "lt": "9", "ne": [3]}, "b": {"type": "object", "objectType": "home"}}},
            {"related_object": "home", "properties": {"zip": {"type": "string", "maxLength": 5}}}]},
         {"customer": MetadataSchema({
             "a": Definition("number", refused=(3,), bounds={"gte": 1}),
             "b": Definition("object", nested=MetadataSchema({"zip": Definition("string", bounds={"maxLength": 5})}))}),
          "home": MetadataSchema({"zip": Definition("string", bounds={"maxLength": 5})})}),
        ({"schemas": {}}, None),
        ({}, None),
    ],
    ids=["none", "data", "of others", "odd", "bounds", "no list", "nothing"],
)  # fmt: skip
def test_schemas_are_read_leniently(answer: Any, schemas: Schemas | None) -> None:
    """The published specification contradicts itself; what is not understood forbids nothing."""
    assert read_schemas(answer) == schemas


@pytest.mark.parametrize(
    ("definition", "good", "bad"),
    [
        (Definition("string"), ["", "a", None], [1, True, [], {}]),
        (Definition("number"), [1, 1.5, 0], ["1", True]),
        (Definition("boolean"), [True, False], ["true", 0]),
        (Definition("date"), ["2025-01-31"], ["31.1.2025", 20250131, "2025-01-31T00:00:00Z"]),
        (Definition("datetime"), ["2025-01-31T10:00:00Z"], ["soon", 1]),
        (Definition("object"), [{}], [[], "a"]),
        (Definition("number", array=True), [[], [1, 2]], [1, [1, "2"]]),
        (Definition("string", allowed=("a", "b")), ["a"], ["c", ""]),
        (Definition("string", refused=("a",)), ["b", ""], ["a"]),
        (Definition("number", bounds={"gt": 0, "lte": 9}), [1, 9, 0.5], [0, 9.5, -1, "1"]),
        (Definition("number", bounds={"gte": 1, "lt": 3}, array=True), [[], [1, 2]], [[1, 3], [0]]),
        (Definition("string", bounds={"minLength": 1, "maxLength": 3}), ["a", "abc"], ["", "abcd", 2]),
        (Definition("string", bounds={"exactLength": 2}), ["ab", None], ["a", "abc"]),
        (Definition("brand new"), [1, "a", []], []),
    ],
    ids=lambda value: value.type if isinstance(value, Definition) else None,
)
def test_values_are_judged_by_the_type_of_their_key(
    definition: Definition, good: list[Any], bad: list[Any]
) -> None:
    """A null erases, so it passes; a type that is not known takes anything."""
    assert [value for value in good if not definition.takes(value)] == []
    assert [value for value in bad if definition.takes(value)] == []


def test_the_rows_alone_tell_which_keys_are_not_defined() -> None:
    """Without events there are no values; constants are judged, for they are known."""
    schemas = read_schemas({"schemas": [SCHEMA]})
    assert schemas is not None
    effective = Settings(identify=Identify(mapping=ROWS, add={"customer.metadata.points": "many"}))
    found = [(each.keys[-1], each.kind, each.where) for each in planned_breaches(effective, schemas)]
    assert found == [
        ("old", BreachKind.UNDEFINED, "identify.mapping: traits.old: customer.metadata.old"),
        ("plan", BreachKind.UNDEFINED, "identify.mapping: traits.plan: customer.metadata.plan"),
        ("points", BreachKind.MISFIT, "identify.add: customer.metadata.points"),
    ]


def test_what_set_and_entries_fill_is_held_against_the_schema() -> None:
    """A value of an event is known by its key only, a constant by its value, too."""
    schemas = read_schemas({"schemas": [SCHEMA]})
    assert schemas is not None
    effective = Settings(
        identify=Identify(
            set={"customer": {"metadata": {"plan": {"@path": "$.traits.plan"}, "tier": "wood"}}}
        ),
        track=Track(
            set={"customer.metadata.points": {"@path": "$.properties.points"}},
            events={"Order *": TrackEntry(set={"customer.metadata.seen": {"@template": "{{event}}"}})},
        ),
    )
    found = [(each.keys[-1], each.kind, each.where) for each in planned_breaches(effective, schemas)]
    assert found == [
        ("plan", BreachKind.UNDEFINED, "identify.set: customer.metadata.plan"),
        ("tier", BreachKind.MISFIT, "identify.set: customer.metadata.tier"),
        ("seen", BreachKind.UNDEFINED, "track.events.Order *.set: customer.metadata.seen"),
    ]


def events(folder: Path, *traits: Any) -> Iterator[Event]:
    """Yield identify events with these traits, each out of a line of its own."""
    file = folder / "e.ndjson"
    lines = [json.dumps({"type": "identify", "userId": "u", "traits": each}) for each in traits]
    file.write_text("\n".join([*lines, "no event", '{"type":"page"}']))
    return sample(Reader([Source(str(file), file, None)], Stop()), SampleCounts())


@pytest.mark.parametrize("defined_only", [False, True])
def test_a_sample_tells_how_often_the_schema_is_not_met(tmp_path: Path, defined_only: bool) -> None:
    """By key, with the first value and where it stands."""
    schemas = read_schemas({"schemas": [SCHEMA | {"allow_defined_only": defined_only}]})
    assert schemas is not None
    traits = [{"points": 1, "plan": "a"}, {"points": "2"}, {"points": "3", "tier": "wood"}, {"plan": "b"}]
    requests, breaches = sampled_breaches(SETTINGS, schemas, events(tmp_path, *traits))
    assert requests == 4
    found = {(each.keys[-1], each.kind): (each.count, each.where[-1], each.value) for each in breaches}
    assert found == {
        ("plan", BreachKind.NOT_ALLOWED if defined_only else BreachKind.UNDEFINED): (2, "1", "a"),
        ("points", BreachKind.MISFIT): (2, "2", "2"),
        ("tier", BreachKind.MISFIT): (1, "3", "wood"),
        ("crm", BreachKind.MISSING): (4, "1", None),
    }


HOME = {
    "related_object": "home",
    "properties": {
        "zip": {"type": "string", "exactLength": 5},
        "floor": {"type": "number", "optional": False},
    },
    "allow_defined_only": True,
}
NESTED = {
    "related_object": "customer",
    "properties": {
        "home": {"type": "object", "objectType": "home"},
        "homes": {"type": "object", "objectType": "home", "array": True},
        "free": {"type": "object"},
        "size": {"type": "number", "gte": 30, "lt": 60},
    },
}


@pytest.mark.parametrize(
    ("traits", "expected"),
    [
        ({"home": {"zip": "12345", "floor": 1}, "size": 30, "free": {"a": 1}}, []),
        ({"home": {"zip": "1234", "floor": 1}}, [("home.zip", "misfit")]),
        ({"home": {"zip": "12345"}}, [("home.floor", "missing")]),
        ({"home": {"floor": 1, "door": 2}}, [("home.door", "not_allowed")]),
        ({"free": {"a": {"b": 1}}}, [("free.a", "nested")]),
        ({"homes": [{"floor": 1}, {"floor": "2"}, {"floor": "3"}]}, [("homes.floor", "misfit")]),
        ({"homes": [{"floor": 1}, 3]}, [("homes", "misfit")]),
        ({"size": 60}, [("size", "misfit")]),
        ({"size": 29.5}, [("size", "misfit")]),
    ],
    ids=str,
)
def test_bounds_and_objects_are_judged_as_the_stand_in_judges_them(
    tmp_path: Path, traits: Any, expected: list[tuple[str, str]]
) -> None:
    """What is told beforehand is what would be refused."""
    schemas = read_schemas({"schemas": [NESTED, HOME]})
    assert schemas is not None
    rows = Settings(identify=Identify(mapping={"traits.*": ["customer.metadata.*"]}, extend_default=False))
    _, breaches = sampled_breaches(rows, schemas, events(tmp_path, traits))
    assert [(".".join(each.keys), str(each.kind)) for each in breaches] == expected
    with project(metadata_schemas=(NESTED, HOME)) as (_, client):
        body = json.dumps({"source_id": "u", "metadata": traits}).encode()
        assert client.call("POST", "/v1/customers", body).status == (400 if expected else 200)


ORDER_SCHEMA = {
    "related_object": "order",
    "properties": {
        "currency": {"type": "string", "eq": ["EUR"]},
        "coupon": {"type": "string"},
        "shop": {"type": "number", "optional": False},
    },
    "allow_defined_only": True,
}


def test_the_metadata_of_orders_is_judged_by_their_own_schema(tmp_path: Path) -> None:
    """The time of the first event is among it; that of a customer is judged by the schema of customers."""
    schemas = read_schemas({"schemas": [ORDER_SCHEMA, SCHEMA]})
    assert schemas is not None
    effective = Settings(orders=Orders(disabled=False, add={"metadata.replayed": True}))
    planned = [(each.resource, each.keys, each.kind) for each in planned_breaches(effective, schemas)]
    assert planned == [
        ("order", ("replayed",), BreachKind.NOT_ALLOWED),
        ("order", ("occurred_at",), BreachKind.NOT_ALLOWED),
    ]
    line = {
        "type": "track",
        "event": "Order Completed",
        "userId": "u",
        "timestamp": "2025-01-31T10:00:00Z",
        "properties": {"order_id": "1", "currency": "USD", "total": 3},
    }
    file = tmp_path / "e.ndjson"
    file.write_text(json.dumps(line))
    read = sample(Reader([Source(str(file), file, None)], Stop()), SampleCounts())
    _, breaches = sampled_breaches(effective, schemas, read)
    assert {(each.resource, each.keys[0], str(each.kind), each.value) for each in breaches} == {
        ("order", "currency", "misfit", "USD"),
        ("order", "occurred_at", "not_allowed", "2025-01-31T10:00:00Z"),
        ("order", "replayed", "not_allowed", True),
        ("order", "shop", "missing", None),
    }


def run(cli: Cli, url: str, *arguments: str | Path, settings: str = "") -> Ended:
    """Run `check --online` with good keys."""
    (cli.folder / "voucherify-sync.yaml").write_text(f"api: {{url: '{url}'}}\n{settings}")
    keys = {"VOUCHERIFY_API_KEY": "app", "VOUCHERIFY_API_TOKEN": "CANARY"}
    return cli("check", "--online", *arguments, env=keys)


def test_check_online_says_that_all_is_well(run_cli: Cli) -> None:
    """On stderr; stdout stays empty."""
    with project(limit="100/min") as (sandbox, _):
        ended = run(run_cli, sandbox.url)
    assert ended.code == 0
    assert ended.out == ""
    assert ended.err.splitlines() == [
        "voucherify-sync.yaml: no mistakes",
        f"{sandbox.url}: keys accepted. Limit: 100 calls a period, 99 left.",
        "Customer metadata that the settings name: fits the project's schema.",
        "To compare values, too, name sources: voucherify-sync check --online SOURCE",
    ]


def test_check_online_with_a_source_tells_what_will_be_refused(run_cli: Cli) -> None:
    """Ends in 3: requests of this mapping would fail."""
    rows = "identify: {mapping: {traits.*: customer.metadata.*}, extend_default: false}\n"
    line = {"type": "identify", "userId": "u", "traits": {"points": "m\u202eany", "a.b\x1b": 1}}
    (run_cli.folder / "e.ndjson").write_text(json.dumps(line) + "\n")
    with project(metadata_schemas=(SCHEMA,)) as (sandbox, _):
        ended = run(run_cli, sandbox.url, "e.ndjson", settings=rows)
        assert sandbox.counts() == (0, 0, 1)
    assert ended.code == 3
    assert ended.err.splitlines() == [
        "voucherify-sync.yaml: no mistakes",
        f"{sandbox.url}: keys accepted. The API reported no rate limit.",
        "Customer metadata in 1 request of 1 record:",
        "  customer.metadata.points: refused: must be a number",
        '      1 request, first "m\\u202eany" at e.ndjson:1',
        '  customer.metadata["a.b\\x1b"]: not defined in the project, so it is stored as text',
        "      1 request, first 1 at e.ndjson:1",
        "  customer.metadata.crm: missing: the project requires it (a text) of every new customer",
        "      1 request, first e.ndjson:1",
    ]


def test_check_online_tells_of_orders_where_something_is_wrong_with_them(run_cli: Cli) -> None:
    """Beside the customers, whose mapping fits."""
    with project(metadata_schemas=(ORDER_SCHEMA,)) as (sandbox, _):
        ended = run(run_cli, sandbox.url, settings="orders: {disabled: false}\n")
    assert ended.code == 3
    assert ended.err.splitlines()[2:] == [
        "Customer metadata that the settings name: fits the project's schema.",
        "Order metadata that the settings name:",
        "  order.metadata.occurred_at: refused: not defined, and the project allows defined metadata only",
        "      orders: the time of the order's first event",
        "To compare values, too, name sources: voucherify-sync check --online SOURCE",
    ]


def test_check_online_refused_ends_in_5(run_cli: Cli) -> None:
    """The remedy names the two settings, and no key is shown."""
    with project(["GET status 401"]) as (sandbox, _):
        ended = run(run_cli, sandbox.url)
    assert ended.code == 5
    assert "Check api.key (Application ID) and api.token (Secret Key)" in ended.err
    assert "CANARY" not in ended.err


def test_check_online_without_a_schema_says_so(run_cli: Cli) -> None:
    """The keys work all the same."""
    with project(["GET /v1/metadata-schemas status 403"]) as (sandbox, _):
        ended = run(run_cli, sandbox.url)
    assert ended.code == 0
    assert "These keys cannot read the metadata schemas" in ended.err


def test_check_online_needs_keys(run_cli: Cli) -> None:
    """What is missing is an error here, not a note; nothing is called."""
    ended = run_cli("check", "--online")
    assert ended.code == 2
    assert "api.key: the variable VOUCHERIFY_API_KEY is not set" in ended.err
    assert "Note" not in ended.err


def test_a_missing_source_is_told_before_anybody_is_asked(run_cli: Cli) -> None:
    """A call that helps nobody is not spent."""
    with project() as (sandbox, _):
        ended = run(run_cli, sandbox.url, "nowhere.ndjson")
        assert sandbox.counts()[2] == 0
    assert (ended.code, "nowhere.ndjson: no such file" in ended.err) == (2, True)
