"""A trace tells the truth: what it says arrives is in the request, and what is in the request it explains."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import to_builtins
from support.random_settings import Chance
from support.segment_events import event_of, identify, track

from voucherify_sync.events import Event
from voucherify_sync.fields import NAME, CustomerBody
from voucherify_sync.mapping.mapper import Mapper
from voucherify_sync.mapping.trace import ROOTS, Trace, located, traced, values_below
from voucherify_sync.outcomes import Outcome
from voucherify_sync.paths import MISSING, PathError, check_row, parse_destination, parse_source
from voucherify_sync.settings import Identify, Settings, Track
from voucherify_sync.settings.types import RowTarget
from voucherify_sync.text import text_of


def trace(event: Event, rules: Settings | None = None) -> tuple[Trace, dict[str, Any]]:
    """Return the trace of an event, and the parts of its request."""
    rules = rules or Settings()
    made = traced(Mapper(rules), event)
    assert not isinstance(made, Outcome), made
    request, found = made
    body = to_builtins(request.body)
    return found, {"customer": body} if isinstance(request.body, CustomerBody) else body


def shown(event: Event, rules: Settings | None = None) -> dict[str, str]:
    """Return what became of each value: where it arrives, or why it does not."""
    found, _ = trace(event, rules)
    return {
        ".".join(map(str, each.keys)): " ".join(".".join(map(str, place)) for place in each.places)
        or f"({each.reason})"
        for each in found.values
    }


def identify_rules(mapping: dict[str, Any], **more: Any) -> Settings:
    """Return settings with these rows for identify events."""
    return Settings(identify=Identify(mapping=mapping, **more))


@pytest.mark.parametrize(
    ("traits", "rules", "became"),
    [
        pytest.param(
            {"email": "a@b.c", "plan": "pro"},
            Settings(),
            {"traits.email": "customer.email", "traits.plan": "(no_row)"},
            id="mapped-and-lost",
        ),
        pytest.param(
            {"firstName": "Mia", "last_name": "Berg"},
            Settings(),
            {"traits.firstName": "customer.name", "traits.last_name": "customer.name"},
            id="a-name-of-two",
        ),
        pytest.param(
            {"firstName": "Mia", "name": "Mia B."},
            Settings(),
            {"traits.firstName": "(name_given)", "traits.name": "customer.name"},
            id="the-name-is-given",
        ),
        pytest.param(
            {"phone": ["1"], "email": None, "address": "Berlin"},
            Settings(),
            {"traits.phone": "(not_text)", "traits.email": "(null)", "traits.address": "(no_row)"},
            id="wrong-types",
        ),
        pytest.param(
            {"address": {"city": "Berlin", "floor": 2}},
            Settings(),
            {"traits.address.city": "customer.address.city", "traits.address.floor": "(no_row)"},
            id="inside-an-object",
        ),
        pytest.param(
            {"email": "a@b.c", "id": "7", "plan": "pro", "metadata": {"vip": True, "tags": [1]}},
            identify_rules({"traits": ["customer"]}),
            {
                "traits.email": "customer.email",
                "traits.id": "(no_field)",
                "traits.plan": "(no_field)",
                "traits.metadata.vip": "customer.metadata.vip",
                "traits.metadata.tags": "customer.metadata.tags",
            },
            id="the-whole-object",
        ),
        pytest.param(
            {"a": "1", "b": "2"},
            identify_rules({"traits.a": ["customer.phone"], "traits.b": ["customer.phone"]}),
            {"traits.a": "(overwritten)", "traits.b": "customer.phone"},
            id="a-later-row-wins",
        ),
        pytest.param(
            {"a": "1"},
            identify_rules({"traits.a": ["customer.phone"]}, add={"customer.phone": "0"}),
            {"traits.a": "(overwritten)"},
            id="a-constant-wins",
        ),
        pytest.param(
            {"email": "a@b.c", "company": {"name": "KS"}},
            Settings(identify=Identify(unmapped_traits="metadata")),
            {"traits.email": "customer.email", "traits.company.name": "customer.metadata.company.name"},
            id="what-is-left-is-carried",
        ),
        pytest.param(
            {"skus": ["a", "b"]},
            identify_rules({"traits.skus[1]": ["customer.metadata.sku"]}),
            {"traits.skus": "customer.metadata.sku"},
            id="of-a-list",
        ),
        pytest.param(
            {"name": "  ", "id": " "},
            identify_rules({"traits.name": ["customer.name"], "traits.id": ["customer.source_id"]}),
            {"traits.name": "(blank)", "traits.id": "(blank_id)"},
            id="blank",
        ),
        pytest.param(
            {"email": None},
            Settings(identify=Identify(nulls="clear")),
            {"traits.email": "customer.email"},
            id="a-null-that-erases",
        ),
        pytest.param(
            {
                "who": {
                    "first_name": "F",
                    "address.city": "C",
                    "address": {"street": "S"},
                    "x.y": 1,
                    "plan": 2,
                }
            },
            identify_rules({"traits.none": RowTarget(["customer"], ["traits.who"])}),
            {
                "traits.who.first_name": "customer.name",
                "traits.who.address.city": "customer.address.city",
                "traits.who.address.street": "customer.address.line_1",
                "traits.who.x.y": "(no_field)",
                "traits.who.plan": "(no_field)",
            },
            id="an-object-by-or",
        ),
        pytest.param(
            {"who": {"first_name": "F", "address.city": "C", "address": {"street": "S"}}},
            Settings(identify=Identify(set={"customer": {"@path": "traits.who"}})),
            {
                "traits.who.first_name": "customer.name",
                "traits.who.address.city": "customer.address.city",
                "traits.who.address.street": "customer.address.line_1",
            },
            id="an-object-by-set",
        ),
        pytest.param(
            {"a.b": 1, "c": [{"d.e": 2}], "f.g": 3, "h": {"i.j": 4}},
            Settings(
                identify=Identify(
                    mapping={"traits.none": RowTarget(["customer.metadata.a"], ["traits.a.b"])},
                    set={
                        "customer.metadata.c": {"@template": "{{traits.c[0].d.e}} {{traits.h.i.j}}"},
                        "customer.metadata.f": {"@if": {"exists": {"@path": "traits.f.g"}, "then": 1}},
                    },
                )
            ),
            {
                "traits.a.b": "customer.metadata.a",
                "traits.c": "customer.metadata.c",
                "traits.f.g": "(not_used)",
                "traits.h.i.j": "customer.metadata.c",
            },
            id="keys-with-dots",
        ),
        pytest.param(
            {"box": {"size": 3, "lid": {"red": True}}, "tags": [{"id": 7}]},
            identify_rules(
                {
                    "traits.box": RowTarget(["customer.metadata.box"], apply="to_text"),
                    "traits.tags": RowTarget(["customer.metadata.tag"], apply="first"),
                }
            ),
            {
                "traits.box.size": "customer.metadata.box",
                "traits.box.lid.red": "customer.metadata.box",
                "traits.tags": "customer.metadata.tag.id",
            },
            id="a-text-of-an-object",
        ),
        pytest.param(
            {"a": [], "b": "2"},
            identify_rules(
                {
                    "traits.a": RowTarget(["customer.phone"], apply="strip"),
                    "traits.b": ["customer.phone"],
                }
            ),
            {"traits.a": "(apply_failed)", "traits.b": "customer.phone"},
            id="after-a-filter-that-fails",
        ),
    ],
)
def test_each_value_is_followed_to_where_it_arrives(
    traits: dict[str, Any], rules: Settings, became: dict[str, str]
) -> None:
    """A value arrives at destinations, or there is one reason why it does not."""
    assert shown(identify(traits), rules) == became


def test_traits_of_the_context_are_looked_after() -> None:
    """They are lost unless a row takes them."""
    event = track({"total": 1}, context={"traits": {"email": "a@b.c", "plan": "pro"}})
    rules = Settings(track=Track(mapping={"context.traits.email": ["customer.email"]}))
    assert shown(event, rules) == {
        "properties.total": "(no_row)",
        "context.traits.email": "customer.email",
        "context.traits.plan": "(no_row)",
    }


def test_personas_are_followed_into_metadata() -> None:
    """What no row takes of a computed trait is carried, and so is the computed trait itself."""
    event = identify(
        {"email": "a@b.c", "ltv": 7}, context={"personas": {"computation_key": "ltv"}, "traits": {"x": 1}}
    )
    assert shown(event) == {
        "traits.email": "customer.email",
        "traits.ltv": "customer.metadata.ltv",
        "context.traits.x": "(no_row)",
    }


def test_fallbacks_and_constants_are_told() -> None:
    """What no row filled names the fields that it was made of."""
    rules = Settings(track=Track(extend_default=True, add={"metadata.replayed": True}))
    found, _ = trace(track({"firstName": "Mia"}, anonymousId="a-1"), rules)
    assert [(each.place, each.value, each.sources) for each in found.fallbacks] == [
        (("customer", "source_id"), "u1", (("userId",),)),
        (("event",), "Order Completed", (("event",),)),
        (("customer", "name"), "Mia", (("properties", "firstName"),)),
    ]
    assert [(each.place, each.value) for each in found.constants] == [(("metadata", "replayed"), True)]


def test_what_no_value_of_the_event_gives_is_told() -> None:
    """A default of a row is no `set`; the parts of a name tell what the name is made of."""
    rules = Settings(
        track=Track(
            mapping={
                "properties.plan": RowTarget(["metadata.plan"], apply="default: 'free'"),
                "properties.first": RowTarget(["customer.firstName"], apply="default: 'Guest' | upcase"),
                "properties.last": ["customer.lastName"],
            },
            set={
                "metadata.kind": {"@template": "web"},
                "metadata.box": {"n": 1, "last": {"@path": "properties.last"}},
                "metadata.list": [1],
            },
            add={"metadata.replayed": True},
        )
    )
    found, _ = trace(track({"last": "Berg"}), rules)
    assert found.givers == {
        ("metadata", "plan"): ("row properties.plan",),
        NAME: ("row properties.first",),
        ("metadata", "kind"): ("set",),
        ("metadata", "list"): ("constant of the settings",),
        ("metadata", "replayed"): ("constant of the settings",),
    }
    assert found.makers == {
        ("metadata", "plan"): "default: 'free'",
        NAME: "default: 'Guest' | upcase",
        ("metadata", "kind"): "@template",
        ("metadata", "box", "n"): "in an object",
        ("metadata", "box", "last"): "in an object",
    }
    assert found.origins[NAME] == (("properties", "last"),)


def test_an_object_that_a_directive_makes_is_one_place_of_what_it_reads() -> None:
    """Its fields times the values read would be too many to be told of."""
    flat = {"@flatten": {"value": {"@path": "$.traits"}, "separator": "."}}
    event = identify({"plan": "pro", "box": {"size": 3}})
    rules = Settings(identify=Identify(set={"customer.metadata": flat}))
    assert shown(event, rules) == {
        "traits.plan": "customer.metadata",
        "traits.box.size": "customer.metadata",
    }
    assert trace(event, rules)[1]["customer"]["metadata"] == {"plan": "pro", "box.size": 3}


def test_rows_that_fired_come_with_what_became_of_their_value() -> None:
    """A row from anywhere in the event is told, sent or not, and an object row by its parts."""
    rules = Settings(
        track=Track(
            mapping={
                "timestamp": ["metadata.at"],
                "context.page": ["customer.phone"],
                "properties.a": ["customer"],
                "properties.none": ["metadata.none"],
            }
        )
    )
    event = track(
        {"a": {"email": "a@b.c", "plan": 1}}, timestamp="2024-01-01", context={"page": {"url": "/"}}
    )
    found, _ = trace(event, rules)
    assert {each.row.text: each.result for each in found.rows} == {
        "properties.a.email: customer.email": None,
        "timestamp: metadata.at": None,
        "context.page: customer.phone": "not_text",
    }


NAMES = st.sampled_from(
    [
        "email",
        "name",
        "firstName",
        "first_name",
        "lastName",
        "phone",
        "address",
        "city",
        "metadata",
        "x",
        "a.b",
    ]
)
VALUES = st.recursive(
    st.sampled_from([None, True, 0, 1.5, "", " ", "text", "2024-01-31T10:00:00Z", [], ["a"], {}]),
    lambda inner: st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=8,
)
DESTINATIONS = st.sampled_from(
    [
        "customer",
        "customer.name",
        "customer.firstName",
        "customer.email",
        "customer.source_id",
        "customer.birthdate",
        "customer.address",
        "customer.address.city",
        "customer.metadata",
        "customer.metadata.x",
        "customer.metadata.x.email",
        "customer.metadata.*",
    ]
)
SOURCES = st.sampled_from(
    ["{0}", "{0}.*", "{0}.x", "{0}.email", "{0}.name", "{0}.a.b", "{0}.address", "context.traits"]
)
ROWS = st.dictionaries(SOURCES, st.lists(DESTINATIONS, min_size=1, max_size=2), max_size=5)
CONSTANTS = st.dictionaries(
    st.sampled_from(["customer.metadata.x", "customer.email", "customer.name"]),
    st.sampled_from(["k", 7]),
    max_size=1,
)


def usable(rows: dict[str, list[str]], root: str) -> dict[str, list[str]]:
    """Return the rows that settings would take."""
    kept: dict[str, list[str]] = {}
    for text, destinations in rows.items():
        source = text.format(root)
        for destination in destinations:
            try:
                check_row(parse_source(source), parse_destination(destination))
            except PathError:
                continue
            kept.setdefault(source, []).append(destination)
    return kept


def agrees(sent: object, came: object, place: tuple[Any, ...]) -> bool:
    """Tell whether a value of the request may be that value of the event."""
    if place == ("customer", "name"):
        return isinstance(sent, str) and str(text_of(came)).strip() in sent
    if place == ("customer", "birthdate") and isinstance(came, str) and isinstance(sent, str):
        return came.startswith(sent)
    return sent == came or sent == text_of(came)


@settings(max_examples=200)
@given(
    kind=st.sampled_from(["identify", "track"]),
    given_values=st.dictionaries(NAMES, VALUES, max_size=6),
    in_context=st.dictionaries(NAMES, VALUES, max_size=2),
    rows=ROWS,
    constants=CONSTANTS,
    spare=st.sampled_from(["drop", "metadata"]),
    nulls=st.sampled_from(["omit", "clear"]),
    extend=st.booleans(),
)
def test_a_trace_and_its_request_agree(
    kind: str,
    given_values: dict[str, Any],
    in_context: dict[str, Any],
    rows: dict[str, list[str]],
    constants: dict[str, Any],
    spare: Any,
    nulls: Any,
    extend: bool,
) -> None:
    """Each value that arrives is at its place, and each value of the request comes from somewhere."""
    root = ROOTS[kind][0][0]
    mapping = usable(rows, root)
    rules = Settings(
        identify=Identify(
            mapping=mapping, unmapped_traits=spare, nulls=nulls, add=constants, extend_default=extend
        ),
        track=Track(mapping=mapping, unmapped_properties=spare, add=constants, extend_default=extend),
    )
    make = identify if kind == "identify" else track
    found, body = trace(make(given_values, context={"traits": in_context}), rules)
    explained = {filled.place for filled in (*found.fallbacks, *found.constants)}
    for landed in found.values:
        assert (landed.reason is None) == bool(landed.places)
        for place in landed.places:
            explained.add(place)
            sent = located(body, place)
            assert sent is not MISSING
            assert landed.value is None or agrees(sent, landed.value, place)
    for place, sent in values_below((), body):
        if sent is not None:
            assert place in explained


def marked(fields: Any) -> Any:
    """Return what the objects of an event hold with a text of its own in place of each text that is no date."""
    numbers = itertools.count()

    def mark(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: mark(inside) for key, inside in value.items()}
        if isinstance(value, list):
            return [mark(item) for item in value]
        is_marked = isinstance(value, str) and value.strip() and "-" not in value
        return f"mark{next(numbers)}end" if is_marked else value

    return {key: mark(value) if isinstance(value, dict) else value for key, value in fields.items()}


@pytest.mark.parametrize("seed", range(200))
def test_each_value_of_a_request_has_its_origin(seed: int) -> None:
    """Whatever settings and events hold; an object that is not walked has one as a whole."""
    chance = Chance(seed, all_keys=seed % 2 == 1)
    rules, event = chance.settings(), event_of(marked(chance.event().fields))
    made = traced(Mapper(rules), event)
    if isinstance(made, Outcome):
        return
    mapped, found = made
    root = ("customer",) if isinstance(mapped.body, CustomerBody) else ()
    texts = []
    for place, sent in values_below(root, to_builtins(mapped.body)):
        told = next((place[:end] for end in range(len(place), 0, -1) if place[:end] in found.origins), None)
        assert told is not None, place
        sources = found.origins[told]
        if len(sources) == 1 and told not in found.makers and told not in found.givers:
            came = located(event.fields, (*sources[0], *place[len(told) :]))
            assert came is not MISSING, (place, sources)
            assert sent is None or agrees(sent, came, place), (place, sources)
        texts.append(str(sent).lower())
    for value in found.values:
        is_sent = any(mark in " ".join(texts) for mark in re.findall(r"mark\d+end", str(value.value)))
        assert not (is_sent and value.reason), value
