"""What is made from the types of the settings: the commented file, the effective settings, the schema, the digest."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from msgspec import structs
from support.segment_events import body_of, track
from support.settings_text import loaded, uncommented

from voucherify_sync.mapping.rules import default_rows
from voucherify_sync.settings import (
    Api,
    Delivery,
    Identify,
    Rate,
    Secret,
    Settings,
    Track,
    digest,
    dump,
    json_schema,
    template,
)
from voucherify_sync.settings.types import (
    DEFAULT_TABLES,
    Rows,
    RowTarget,
    TrackEntry,
    all_settings,
    destinations_of,
)

ROOT = Path(__file__).resolve().parents[2]


def test_the_template_loads_to_the_defaults(tmp_path: Path) -> None:
    """`init` changes nothing by itself."""
    assert loaded(tmp_path, template()) == Settings()


def test_the_examples_of_the_template_are_valid_where_they_stand(tmp_path: Path) -> None:
    """Taking a # away is all it needs."""
    read = loaded(tmp_path, uncommented(template()))
    assert read.identify.mapping == DEFAULT_TABLES["identify"]
    assert read.track.add == {"metadata.replayed": True}
    assert read.delivery.rate == Rate(90, 60)


@pytest.mark.parametrize(("kind", "shown"), list(DEFAULT_TABLES.items()))
def test_the_table_in_the_template_is_the_default_one(kind: str, shown: Rows) -> None:
    """Whoever takes all the #s away gets the same requests as before."""
    destinations = {source: destinations_of(target) for source, target in shown.items()}
    assert {row.source.text: [row.destination.text] for row in default_rows(kind)} == destinations


def test_the_template_names_every_setting_and_no_other() -> None:
    """A setting that is added to the types is in the template, explained."""
    named = {
        f"{section}.{name}"
        for section, names in yaml.safe_load(uncommented(template())).items()
        if section != "tests"
        for name in names
    }
    assert named == {setting.path for setting in all_settings()}
    assert all(setting.help.split()[0] in template() for setting in all_settings())


def test_no_help_is_repeated() -> None:
    """What several sections have is explained in the first of them, so that page, screen and group stay short."""
    lines = template().splitlines()
    comments = [line for line in lines if line.startswith("  # ")]
    assert len(comments) == len(set(comments))
    pages = lines[lines.index("page:") : lines.index("orders:")]
    assert len([line for line in pages if line.startswith("  # ")]) == 3  # each `disabled` is its own


def test_the_example_beside_the_readme_is_the_template() -> None:
    """config.example.yaml is what `init` writes."""
    assert (ROOT / "config.example.yaml").read_text(encoding="utf-8") == template()


def test_the_template_fits_into_a_hundred_columns() -> None:
    """It is read in editors and diffs."""
    assert max(map(len, template().splitlines())) <= 104


@pytest.mark.parametrize(
    "text", [template(), uncommented(template()), dump(Settings())], ids=["template", "examples", "dump"]
)
def test_the_schema_accepts_what_the_program_writes(text: str) -> None:
    """Editors must not underline what `init` wrote."""
    Draft202012Validator.check_schema(json_schema())
    assert list(Draft202012Validator(json_schema()).iter_errors(yaml.safe_load(text))) == []


@pytest.mark.parametrize(
    "data",
    [
        {"tracks": {}},
        {"track": {"event_filter": []}},
        {"track": {"disabled": "yes"}},
        {"track": {"mapping": {"a": []}}},
        {"track": {"events": {"A": {"rename": "B *"}}}},
        {"delivery": {"workers": 0}},
        {"delivery": {"reserve": 10}},
        {"delivery": {"rate": "90/day"}},
        {"delivery": {"on_doubt": "ask"}},
    ],
    ids=str,
)
def test_the_schema_refuses_what_the_loader_refuses(tmp_path: Path, data: dict[str, Any]) -> None:
    """Both follow from the same types."""
    assert list(Draft202012Validator(json_schema()).iter_errors(data))
    with pytest.raises(Exception, match=r"s\.yaml:1:"):
        loaded(tmp_path, str(data))


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(
    [
        "no",
        "1e5",
        "null",
        "${A}",
        "$$",
        "$${",
        "- a",
        "a: b",
        "#",
        "",
        " ",
        "1.0",
        "0x1",
        "=",
        "<<",
        "~",
        "\x85",
        "\u202e\x1b[31m",
        "'",
    ]
)
paths = texts.map(lambda text: str(Path("/", text)))  # the loader makes them absolute
names = st.lists(texts.filter(lambda text: text.strip() != ""), max_size=3)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(texts.filter(lambda t: t != "<<"), inner, max_size=3)
    ),
    max_leaves=6,
)
versions = texts.filter(lambda text: text.strip() != "" and text.lower() != "latest")
any_settings = st.builds(
    Settings,
    api=st.builds(Api, key=st.just(Secret("${KEY}")), version=versions, token_file=st.none() | paths),
    identify=st.builds(Identify, nulls=st.sampled_from(["omit", "clear"]), disabled=st.booleans()),
    track=st.builds(
        Track,
        events_filter=names,
        extend_default=st.sampled_from([None, False, True]),
        mapping=st.just({"properties": ["customer", "metadata"], 'traits["a:b"]': ["metadata.$$x"]}),
        add=st.dictionaries(
            st.sampled_from(["metadata.a", "customer.metadata.b"]),
            json_values.filter(lambda value: value is not None),
            max_size=2,
        ),
    ),
    delivery=st.builds(
        Delivery,
        workers=st.integers(1, 256),
        rate=st.none() | st.builds(Rate, st.integers(1, 10**6), st.sampled_from([1, 60, 3600])),
        reserve=st.integers(0, 99).map(lambda percent: percent / 100),
        ledger=st.none() | paths,
    ),
)


@given(effective=any_settings)
@settings(max_examples=150)
def test_what_is_dumped_loads_to_the_same_settings(tmp_path: Path, effective: Settings) -> None:
    """`check --show > file` makes a settings file of the effective settings; the default rows stand there as rows."""
    shown = {}
    for kind in ("identify", "page", "screen", "group"):
        rows = DEFAULT_TABLES[kind]
        shown[kind] = structs.replace(getattr(effective, kind), mapping=rows, extend_default=False)
    track = structs.replace(effective.track, extend_default=bool(effective.track.extend_default))
    orders = structs.replace(effective.orders, extend_default=bool(effective.orders.extend_default))
    expected = structs.replace(effective, track=track, orders=orders, **shown)
    assert loaded(tmp_path, dump(effective)) == expected
    assert dump(expected) == dump(effective)
    assert all(line.isprintable() for line in dump(effective).splitlines())


def test_the_digest_follows_what_shapes_requests_and_nothing_else() -> None:
    """Equal digests make equal requests: the order of rows counts, workers and keys do not."""
    one = Settings(identify=Identify(mapping={"traits": ["customer"], "traits.a": ["customer.name"]}))
    other = Settings(identify=Identify(mapping={"traits.a": ["customer.name"], "traits": ["customer"]}))
    assert len({digest(one), digest(other), digest(Settings())}) == 3
    assert digest(Settings(identify=Identify(extend_default=False))) == digest(Settings())
    changed = structs.replace(one, delivery=Delivery(workers=2), api=Api(key=Secret("x")))
    assert digest(changed) == digest(one)
    assert re.fullmatch("[0-9a-f]{12}", digest(one))


ENTRY = {"metadata.a": {"@path": "$.properties.x"}}


@pytest.mark.parametrize(
    "own",
    [
        Track(events={"Order *": TrackEntry(set=ENTRY)}),
        Track(events={"Order *": TrackEntry(set=ENTRY)}, extend_default=True),
        Track(events={"Order *": TrackEntry(set=ENTRY, extend_default=False)}, extend_default=True),
        Track(events={"Order *": TrackEntry(set=ENTRY, extend_default=True)}),
        Track(
            events={"Order *": TrackEntry(rename="Order", where="properties.x > 0", add={"metadata.k": 1})}
        ),
        Track(set=ENTRY, events={"Order *": TrackEntry(set={})}),
        Track(set=ENTRY, events={"Order *": TrackEntry(extend_default=True)}),
        Track(
            mapping={"properties.x": RowTarget(["metadata.x"], ["properties.y"], "plus: 1 | append: '$${'")}
        ),
        Track(mapping={"properties.x": ["metadata.x"]}, events={"Order *": TrackEntry(mapping={})}),
    ],
    ids=repr,
)
def test_what_is_dumped_of_entries_makes_the_same_requests(tmp_path: Path, own: Track) -> None:
    """The default table stands there as rows of track, and entries take over rows of track, but not the table."""
    effective = Settings(track=own)
    event = track({"email": "a@b.c", "x": 1})
    assert body_of(event, loaded(tmp_path, dump(effective))) == body_of(event, effective)
    again = loaded(tmp_path, dump(effective))
    assert dump(again) == dump(effective)
