"""Findings: what a person should know of an input is counted, and said in words that lead on."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest
from support.segment_events import event_of, identify, track

from voucherify_sync.events import Event
from voucherify_sync.findings import (
    EVENTS_OF_VOUCHERIFY,
    FINDINGS,
    FROM_VOUCHERIFY,
    NAMED_BY_TYPE,
    NO_OBJECT,
    SLIP_IDS,
    Example,
    FindingCount,
    sentences_of,
)
from voucherify_sync.mapping.mapper import Mapper
from voucherify_sync.mapping.name_lists import name_matcher
from voucherify_sync.mapping.slips import looks_like_a_slip
from voucherify_sync.settings.types import Settings, Track


def found(*events: Event) -> dict[str, FindingCount]:
    """Return what is found in events."""
    mapping = Mapper(Settings())
    for event in events:
        mapping.request(event)
    return mapping.stats.findings


@pytest.mark.parametrize(
    ("fields", "example"),
    [
        pytest.param({}, "", id="absent"),
        pytest.param({"event": None}, "", id="null"),
        pytest.param({"event": " "}, " ", id="blank"),
        pytest.param({"event": True}, "true", id="true"),
        pytest.param({"event": ["A"]}, "[…]", id="a list"),
        pytest.param({"event": {"a": 1}}, "{…}", id="an object"),
    ],
)
def test_an_event_that_is_named_by_its_type_is_found(fields: dict[str, object], example: str) -> None:
    """Nobody means an event to be called track."""
    event = event_of({"type": "track", "userId": "u", **fields})
    assert found(event) == {NAMED_BY_TYPE: FindingCount(1, [Example("events.ndjson:1", example)])}


@pytest.mark.parametrize("name", ["Order", 4711, 0, "track", " Order "])
def test_an_event_with_a_name_of_its_own_is_as_it_is_meant(name: object) -> None:
    """Also one that is called track."""
    assert not found(track(event=name))


@pytest.mark.parametrize("given", ['{"email": "a@example.com"}', ["a"], 5, True, [], "", 0, False], ids=repr)
@pytest.mark.parametrize("kind", ["identify", "track"])
def test_traits_or_properties_that_are_no_object_are_found_and_count_as_not_mapped(
    kind: str, given: object
) -> None:
    """The same path is what coverage shows."""
    mapping = Mapper(Settings())
    mapping.request(identify(given) if kind == "identify" else track(given))
    assert mapping.stats.findings[NO_OBJECT].count == 1
    root = "traits" if kind == "identify" else "properties"
    assert mapping.stats.to_dict()[kind]["unmapped"] == {root: 1}


def test_what_is_not_sent_is_not_found() -> None:
    """A finding is about requests; why a record makes none is told as its reason."""
    events = [
        identify("text", userId=None),
        track(event=None, userId=None),
        track(event="Customer Rewarded", userId=" "),
    ]
    assert not found(*events)


@pytest.mark.parametrize("told", ["x", [], 0, False], ids=repr)
def test_context_traits_that_are_no_object_are_found_in_an_identify(told: object) -> None:
    """Of a track they are not read."""
    mapping = Mapper(Settings())
    mapping.request(identify({"email": "a@example.com"}, context={"traits": told}))
    mapping.request(track({}, context={"traits": told}))
    assert mapping.stats.findings[NO_OBJECT].count == 1
    assert mapping.stats.to_dict()["identify"]["unmapped"] == {"context.traits": 1}


def test_a_text_that_a_row_sends_as_it_is_is_not_found() -> None:
    """The row of an object that drops it does not send it."""
    mapping = Mapper(Settings(track=Track(mapping={"properties": ["customer.description", "metadata"]})))
    mapping.request(track("text"))
    assert mapping.stats.findings[NO_OBJECT].count == 1
    assert mapping.stats.to_dict()["track"]["unmapped"] == {}
    mapping = Mapper(Settings(track=Track(mapping={"properties": ["customer.description"]})))
    mapping.request(track("text"))
    assert not mapping.stats.findings


@pytest.mark.parametrize("given", [None, {}], ids=str)
def test_nothing_is_lost_where_there_is_nothing(given: object) -> None:
    """Absent, null and empty say the same."""
    assert not found(identify(given), track(given))


def test_the_remedy_for_traits_as_text_works() -> None:
    """What is no text stays as it is."""
    jq = shutil.which("jq")
    if jq is None:
        pytest.skip("jq is not installed")
    program = FINDINGS[NO_OBJECT].remedy.split("'")[1]
    events = [{"traits": '{"a":1}'}, {"properties": {"b": [2]}}, {"traits": "word"}]
    lines = "".join(json.dumps(event) + "\n" for event in events)
    done = subprocess.run([jq, "-c", program], input=lines, capture_output=True, text=True, check=True)
    cleaned = [
        {key: value for key, value in json.loads(line).items() if value is not None}
        for line in done.stdout.splitlines()
    ]
    assert cleaned == [{"traits": {"a": 1}}, {"properties": {"b": [2]}}, {"traits": "word"}]


@pytest.mark.parametrize("name", sorted(EVENTS_OF_VOUCHERIFY))
def test_events_that_came_from_voucherify_are_found_and_the_line_to_paste_excludes_them(name: str) -> None:
    """They would go back to it."""
    assert found(track(event=name))[FROM_VOUCHERIFY].count == 1
    names = FINDINGS[FROM_VOUCHERIFY].remedy.split("[")[1].split("]")[0].split(", ")
    assert name_matcher(names)(name)
    assert not name_matcher(names)("Customer Created")


@pytest.mark.parametrize(
    "text",
    [
        *(
            "undefined",
            "UNDEFINED",
            "null",
            "Null",
            "(null)",
            "<nil>",
            "NaN",
            "nan",
            "None",
            "[object Object]",
        ),
        *(
            "anonymous",
            "unknown",
            "Guest",
            "0",
            "000",
            "-1",
            "true",
            "False",
            "\\N",
            "N/A",
            "#N/A",
            "not set",
        ),
        *("00000000-0000-0000-0000-000000000000", '""', "''", "[]", "{}", "-", "?", '"undefined"', " null "),
        *(
            "{{user.id}}",
            "{{ user.id }}",
            "${id}",
            "<%= id %>",
            "%USER_ID%",
            "*|EMAIL|*",
            "{userId}",
            "[[id]]",
        ),
        *("<user_id>", "%%id%%"),
    ],
)
def test_an_id_that_is_a_slip_looks_like_one(text: str) -> None:
    """Words for nothing, zeros, signs and templates."""
    assert looks_like_a_slip(text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "u-1",
            "507f1f77bcf86cd799439011",
            "97980cfe-a0af-4e84-9d5d-1a2b3c4d5e6f",
            "1",
            "007",
            "-12",
            "a@b.io",
        ),
        *("{97980cfe-a0af-4e84-9d5d-1a2b3c4d5e6f}", "{507f1f77bcf86cd799439011507f1f77}", "nullify", "Nona"),
        *("$device:18b", "auth0|5f", "0x1f", "user1", "_anna", "#42", "é"),
    ],
)
def test_an_id_of_a_person_looks_like_none(text: str) -> None:
    """Also one with signs in it."""
    assert not looks_like_a_slip(text)


def named(source_id: object, number: int, **fields: object) -> Event:
    """Return an identify of somebody with an id."""
    traits = {"email": f"{number}@example.com"}
    return event_of({"type": "identify", "userId": source_id, "traits": traits, **fields}, line=number)


def test_ids_that_look_like_a_slip_and_are_shared_are_found() -> None:
    """Counted by id, with the first place; a number is its text."""
    events = [named("undefined", 1), named("u", 2), named("undefined", 3), named(0, 4)]
    assert found(*events) == {
        SLIP_IDS: FindingCount(
            3, [Example("events.ndjson:1", "undefined", 2), Example("events.ndjson:1", "0", 1)]
        )
    }


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param([{"traits": {"name": "Ann"}}, {"traits": {"name": "Bob"}}], id="names"),
        pytest.param(
            [{"anonymousId": "a", "traits": {}}, {"anonymousId": 7, "traits": {}}], id="anonymousIds"
        ),
    ],
)
def test_other_names_and_anonymous_ids_show_that_an_id_is_shared(fields: list[dict[str, object]]) -> None:
    """Not only mails."""
    assert SLIP_IDS in found(*(named("guest", 1, **each) for each in fields))


@pytest.mark.parametrize(("times", "is_found"), [(9, False), (10, True)])
def test_an_id_that_one_person_may_bear_is_no_slip_until_it_is_frequent(times: int, is_found: bool) -> None:
    """A customer may well be called 0."""
    assert (SLIP_IDS in found(*[named("0", 1)] * times)) is is_found


def test_what_parts_of_an_input_hold_is_added_up() -> None:
    """Processes see one person each, and both together share the id."""
    whole, first, later = (Mapper(Settings()) for _ in range(3))
    for part, events in ((first, [named("null", 1)]), (later, [named("null", 2), named("nil", 3)])):
        for event in events:
            whole.request(event)
            part.request(event)
    one, other = first.cut_stats(), later.cut_stats()
    assert not one.findings
    one.merge(other)
    assert one.findings == whole.stats.findings
    assert one.findings[SLIP_IDS].count == 3


def test_the_sentence_on_slips_says_how_to_leave_them_out() -> None:
    """The command can be pasted, whatever the ids hold."""
    (sentence,) = sentences_of(
        found(named("${id}", 1), named("it's null", 2), named("null", 3), named("null", 4))
    )
    assert sentence.startswith(
        '3 events have an id that looks like a slip of a program: "null" 2, "${id}" 1 (such as events.ndjson:1).'
    )
    assert sentence.endswith("\n  printf '%s\\n' null '${id}' > ids.txt")
    assert "`--exclude-ids ids.txt`" in sentence


def test_the_line_to_paste_holds_all_slips() -> None:
    """It leaves out what the sentence counts, of which only the first are shown."""
    (sentence,) = sentences_of(found(*(named(f"${{id{number}}}", 1) for number in range(25))))
    shown, pasted = sentence.split("\n")
    assert shown.count("${id") == 20
    assert " and 5 more" in shown
    assert pasted.count("'${id") == 25
