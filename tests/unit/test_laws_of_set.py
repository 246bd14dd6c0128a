"""Laws of `set`, rows with `or` and `apply`, and entries of `track.events`, for settings and events of all sorts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as tuned
from hypothesis import strategies as st
from msgspec import structs
from support.random_settings import FILTERS, KEYS, OF_CUSTOMER, OF_EVENT, Chance
from support.segment_events import event_of
from support.settings_text import loaded

from voucherify_sync.errors import SettingsError
from voucherify_sync.events import Batch, Event, Json, Request
from voucherify_sync.expressions.row_filters import APPLY_FAILED, parse_filters
from voucherify_sync.mapping.filters import Selection
from voucherify_sync.mapping.mapper import Mapper
from voucherify_sync.mapping.rules import _TWINS
from voucherify_sync.outcomes import Outcome
from voucherify_sync.paths import HOLDERS, MISSING, parse_destination, parse_source, path_of, read
from voucherify_sync.run.pipeline import Pipeline
from voucherify_sync.settings.template import dump, escaped, to_yaml
from voucherify_sync.settings.types import (
    Group,
    Identify,
    Page,
    Personas,
    RowTarget,
    Settings,
    Track,
    TrackEntry,
)

ROOTS = {"identify": "traits", "group": "traits", "track": "properties", "page": "properties"}


def end_of(settings: Settings, event: Event) -> Any:
    """Return the request of an event, as JSON, or the reason why there is none."""
    made = Mapper(settings).request(event)
    return (made.reason, made.detail) if isinstance(made, Outcome) else (made.body, made.source_id, made.name)


def section_of(kind: str, **given: Any) -> Settings:
    """Return settings of which one section is given; nothing else fills a customer."""
    types: dict[str, Any] = {"identify": Identify, "group": Group, "track": Track, "page": Page}
    own = structs.replace(types[kind](), disabled=False)
    return Settings(personas=Personas(disabled=True), **{kind: structs.replace(own, **given)})


@pytest.mark.parametrize("seed", range(4))
def test_a_path_in_set_is_a_row(seed: int) -> None:
    """For every event, but for twins of keys, which are those of rows."""
    chance = Chance(20_000 + seed, all_keys=True)
    for _ in range(60):
        kind = chance.choice(sorted(ROOTS))
        root = ROOTS[kind]
        places = OF_CUSTOMER if root == "traits" else OF_CUSTOMER + OF_EVENT
        source, place = chance.source(root), chance.choice(places)
        if (parse_source(source).keys[-1], parse_destination(place).keys) in _TWINS:
            continue
        more: Json = {}
        if root == "traits":
            more["nulls"] = chance.choice(["omit", "clear"])
        more["unmapped_" + root] = chance.choice(["drop", "metadata"])
        by_row = section_of(kind, mapping={source: [place]}, **more)
        by_set = section_of(kind, set={place: {"@path": f"$.{source}"}}, **more)
        for _ in range(6):
            event = event_of({**chance.event().fields, "type": kind})
            assert end_of(by_set, event) == end_of(by_row, event), (source, place, more, event.fields)


def nested(entries: Json) -> Json:
    """Return entries of `set` with their fields in braces, as deep as there are places that hold fields."""
    found: Json = {}
    for text, value in entries.items():
        holder, keys = found, parse_destination(text).keys
        depth = max([length for length in range(len(keys)) if keys[:length] in HOLDERS], default=0)
        for key in keys[:depth]:
            holder = holder.setdefault(str(key), {})
        holder[".".join(map(str, keys[depth:])) if depth == 0 else str(keys[depth])] = value
    return found


@pytest.mark.parametrize("seed", range(2))
def test_fields_in_braces_are_fields_with_dots(seed: int) -> None:
    """At all places that hold fields."""
    chance = Chance(30_000 + seed, all_keys=True)
    deepest = (
        "customer.metadata.x.y",
        "metadata.a.b",
    )  # in braces, an object that holds nothing would be left
    places = [
        place
        for place in OF_CUSTOMER + OF_EVENT
        if (*place.split("."),) not in HOLDERS and place not in deepest
    ]
    for _ in range(25):
        entries = {place: chance.directive("properties") for place in chance.sample(places, 4)}
        dotted, braces = section_of("track", set=entries), section_of("track", set=nested(entries))
        for _ in range(8):
            event = event_of({**chance.event().fields, "type": "track"})
            assert end_of(braces, event) == end_of(dotted, event), entries


@pytest.mark.parametrize("filters", [None, *FILTERS])
def test_a_row_takes_the_first_value_and_filters_it(filters: str | None) -> None:
    """As it is written: the first one that is there and not null, then the filters from left to right."""
    chance = Chance(40_000)
    for _ in range(60):
        sources = [f"properties.{chance.choice(KEYS[:-2])}" for _ in range(3)]
        settings = section_of("track", mapping={sources[0]: RowTarget(["metadata.v"], sources[1:], filters)})
        fields = {**chance.event().fields, "type": "track", "userId": "u"}
        found = [read(fields, parse_source(source)) for source in sources]
        value = next((each for each in found if each is not MISSING and each is not None), MISSING)
        if filters is not None:
            value = parse_filters(filters).apply(value)
        is_sent = value not in (MISSING, None, APPLY_FAILED) if type(value) not in (dict, list) else True
        body, *_ = end_of(settings, event_of(fields))
        assert body.get("metadata", {}) == (
            {"v": value} if is_sent and value != {} else {"v": {}} if value == {} else {}
        ), (sources, fields)


@pytest.mark.parametrize(
    "place", ["customer.email", "metadata.v", "event", "customer.source_id", "loyalty.code"]
)
@pytest.mark.parametrize("given", range(8))
def test_constants_win_over_set_and_set_over_rows(place: str, given: int) -> None:
    """What gives nothing leaves the place as it was; a fallback fills what is left."""
    row, entry, constant = given & 1, given & 2, given & 4
    settings = section_of(
        "track",
        mapping={"properties.r": [place]} if row else {"properties.other": ["metadata.other"]},
        set={place: {"@path": "properties.s"}} if entry else {},
        add={place: "constant"} if constant else {},
    )
    for properties in ({"r": "row", "s": "set"}, {"r": "row"}, {"r": "row", "s": None}, {"s": "set"}, {}):
        event = event_of({"type": "track", "event": "E", "userId": "u", "properties": properties})
        fallback = {"event": "E", "customer.source_id": "u"}.get(place)
        expected: Any = (
            "constant"
            if constant
            else (entry and properties.get("s")) or (row and properties.get("r")) or fallback
        )
        body, *_ = end_of(settings, event)
        assert read(body, parse_source(place)) == (expected or MISSING), (properties, body)


def inherited(track: Track, entry: TrackEntry) -> Track:
    """Return what the reference says of an entry, written out as settings of all track events."""

    def own(name: str) -> Any:
        return getattr(track if getattr(entry, name) is None else entry, name)

    return Track(
        mapping=own("mapping"),
        set=own("set"),
        extend_default=own("extend_default"),
        unmapped_properties=own("unmapped_properties"),
        name_from_parts=own("name_from_parts"),
        add={**track.add, **entry.add},
    )


@pytest.mark.parametrize("seed", range(3))
def test_an_entry_takes_what_it_does_not_give_from_track(seed: int) -> None:
    """Its request is that of settings in which all is written out; conditions of both must hold."""
    chance = Chance(50_000 + seed, all_keys=True)
    reasons = set()
    for _ in range(30):
        settings = chance.settings()
        entries = settings.track.events
        pipeline = Pipeline(settings, Selection())
        for _ in range(6):
            event = event_of({**chance.event().fields, "type": "track"})
            name = (
                "Order" if event.name == "Order" and "Order" in entries else "*" if "*" in entries else None
            )
            entry = entries.get(
                name or ""
            )  # "*" holds for events without a name, too: they are sent as "track"
            own = settings.track if entry is None else inherited(settings.track, entry)
            decision = pipeline.decide(event)
            if isinstance(decision, Outcome) and decision.reason in ("where", "event_disabled"):
                reasons.add(decision.reason)
                is_disabled = entry is not None and entry.disabled
                assert (decision.reason == "event_disabled") == is_disabled
                assert is_disabled or any(each and each.where for each in (settings.track, entry))
                continue
            plain = Settings(track=structs.replace(own, events={}, where=None))
            body, source_id, *_ = end_of(plain, event)
            if isinstance(decision, Request):
                renamed = entry is not None and entry.rename
                is_own = body["event"] in (str(event.fields.get("event")), "track")
                body = {**body, "event": entry.rename} if renamed and is_own else body
                assert (decision.body, decision.source_id) == (body, source_id), (own, event.fields)
            else:
                assert decision.reason == body
    assert reasons == {"where", "event_disabled"}


@pytest.mark.parametrize("seed", range(2))
def test_settings_as_they_are_shown_make_the_same_requests(tmp_path: Path, seed: int) -> None:
    """What `check --show` prints is a settings file of the same meaning, entries with what they inherit included."""
    chance = Chance(60_000 + seed, all_keys=True)
    count = 0
    while count < 12:
        settings = chance.settings()
        try:
            shown = loaded(tmp_path, dump(settings))
        except SettingsError:
            continue  # such as a null among the constants
        count += 1
        one, other = Pipeline(settings, Selection()), Pipeline(shown, Selection())
        for _ in range(10):
            fields = chance.event().fields
            ends = [each.decide(event_of(fields)) for each in (one, other)]
            assert told(ends[0]) == told(ends[1]), (settings, fields)


def told(decision: Any) -> Any:
    """Return the body of a request, or the reason why there is none."""
    return decision.body if isinstance(decision, Request) else decision.reason


TEXT_FIELDS = ("event", "customer.name", "customer.source_id")
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | texts,
    lambda inside: st.lists(inside, max_size=2) | st.dictionaries(texts, inside, max_size=2),
    max_leaves=4,
)


@st.composite
def odd_settings(draw: st.DrawFn) -> tuple[Json, list[str]]:
    """Return settings, as their file holds them, with keys of all of Unicode; and these keys."""
    one, other = draw(texts), draw(texts)
    source = path_of("properties", one, other)
    place = escaped(path_of("metadata", other, one))
    directive = draw(
        st.sampled_from(
            [
                {"@path": source},
                {"@path": f"$.{path_of('properties', one)}"},
                {"@case": {"operator": "upper", "value": {"@path": source}}},
                {"@replace": {"pattern": "a", "replacement": "$&", "value": {"@path": source}}},
                {"@arrayPath": [source, {"v": {"@path": path_of(one)}}]},
                {"@merge": {"objects": [{"@path": "properties"}, {"@path": source}], "direction": "right"}},
                {"@flatten": {"value": {"@path": "properties"}, "separator": "/"}},
                {"@json": {"mode": draw(st.sampled_from(["encode", "decode"])), "value": {"@path": source}}},
                {"@excludeWhenNull": {"@path": ""}},
                {"@template": "{{" + source + "}} {{event}}" if not set("{}") & set(source) else "x"},
                {"@path": {"@template": "properties.{{event}}"}},
            ]
        )
    )
    gives_object = next(iter(directive)) in ("@merge", "@flatten")  # which a text field refuses at load
    filters = draw(st.sampled_from([*FILTERS, None]))
    target: Json = {"to": place, "or": [path_of("properties", other)]}
    name = draw(texts)
    track = {
        "mapping": {source: target if filters is None else {**target, "apply": filters}},
        "set": {draw(st.sampled_from(["metadata.made", *(() if gives_object else TEXT_FIELDS)])): directive},
        "unmapped_properties": draw(st.sampled_from(["drop", "metadata"])),
        "where": draw(
            st.sampled_from(
                [None, 'userId != "x"', f"properties.{json.dumps(one, ensure_ascii=False)} != null"]
            )
        ),
    }
    if name.strip():
        track["events"] = {name: {"add": {"metadata.entry": True}}}
    return {"track": {key: value for key, value in track.items() if value is not None}}, [one, other, name]


@tuned(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(odd_settings(), st.lists(values, min_size=3, max_size=3), st.sampled_from(["u", 7, " ", None]))
def test_settings_that_load_map_every_event(
    tmp_path: Path, given_settings: tuple[Json, list[str]], found: list[Any], user_id: Any
) -> None:
    """No exception, whatever keys, texts and values; explain and the run make the same of it."""
    sections, (one, other, name) = given_settings
    settings = loaded(tmp_path, to_yaml(escaped_texts(sections)))
    for properties in ({one: {other: found[0]}, other: found[1]}, {one: found[1]}, found[2]):
        fields = {"type": "track", "event": name, "userId": user_id, "properties": properties}
        line = json.dumps(fields).encode()
        pipeline = Pipeline(settings, Selection())
        (decisions,) = pipeline.batches(Batch.of("f", 1, [line]))
        assert len(decisions) == 1
        for decision in decisions:
            if isinstance(decision, Request):
                assert json.loads(decision.payload) == decision.body
            else:
                assert decision.reason is not None


def escaped_texts(value: Any) -> Any:
    """Return settings with each dollar doubled, as a file must hold it where none is a reference."""
    if isinstance(value, dict):
        return {key: escaped_texts(inside) for key, inside in value.items()}
    if isinstance(value, list):
        return [escaped_texts(inside) for inside in value]
    return escaped(value) if isinstance(value, str) else value
