"""Faults: how they are written, and which calls they strike."""

from __future__ import annotations

import pytest
from support.sandbox_client import EVENTS

from voucherify_sync.errors import UsageProblem
from voucherify_sync.sandbox import Fault, FaultScript


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        pytest.param("drop", Fault("drop"), id="an action alone"),
        pytest.param(
            "POST /v1/events drop after 10%",
            Fault("drop", "POST", "/v1/events", when="after", chance=0.1),
            id="method, path, when and chance",
        ),
        pytest.param("* /v1/* status 503", Fault("status", path="/v1/*", code=503), id="code"),
        pytest.param("hang #3", Fault("hang", first=3, last=3), id="one call"),
        pytest.param("hang #3-5", Fault("hang", first=3, last=5), id="some calls"),
        pytest.param("status 401 #50-", Fault("status", code=401, first=50), id="from a call on"),
        pytest.param("cut-body every=3", Fault("cut_body", every=3), id="every third, with a dash"),
        pytest.param(
            'throttle retry-after="Wed, 21 Oct 2099 07:28:00 GMT" type=api_calls_cycle',
            Fault("throttle", retry_after="Wed, 21 Oct 2099 07:28:00 GMT", type="api_calls_cycle"),
            id="quoted value",
        ),
        pytest.param("throttle retry_after=-5", Fault("throttle", retry_after="-5"), id="any Retry-After"),
        pytest.param("delay seconds=0.5 before", Fault("delay", when="before", seconds=0.5), id="number"),
    ],
)
def test_a_fault_has_a_short_form(text: str, fault: Fault) -> None:
    """[METHOD] [PATH] ACTION, then what to add in any order."""
    assert Fault.parse(text) == fault


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("", "no action in it", id="nothing"),
        pytest.param("POST /v1/events", "no action in it", id="no action"),
        pytest.param("POST /v1/events explode", "no action 'explode'", id="unknown action"),
        pytest.param("drop sometimes", "'sometimes' says nothing here", id="unknown word"),
        pytest.param("drop colour=red", "'colour=red' says nothing here", id="unknown name"),
        pytest.param("drop 150%", "chance", id="chance over 1"),
        pytest.param("delay seconds=soon", "seconds", id="no number"),
        pytest.param("status body=pdf", "body", id="no such body"),
        pytest.param('throttle retry-after="', "quotation", id="open quote"),
        pytest.param("drip before", "comes after processing", id="spoils an answer that is not there"),
    ],
)
def test_a_mistake_in_a_fault_is_named(text: str, says: str) -> None:
    """The message names the text, and what is wrong in it."""
    with pytest.raises(UsageProblem, match=says) as caught:
        Fault.parse(text)
    assert repr(text) in caught.value.message
    assert caught.value.remedy


def struck(fault: str, calls: int) -> list[int]:
    """Return the numbers of the calls that a fault strikes."""
    script = FaultScript([Fault.parse(fault)])
    return [n for n in range(1, calls + 1) if script.choose("POST", EVENTS) is not None]


@pytest.mark.parametrize(
    ("fault", "numbers"),
    [
        ("drop", [1, 2, 3, 4, 5, 6]),
        ("drop #2", [2]),
        ("drop #2-4", [2, 3, 4]),
        ("drop #5-", [5, 6]),
        ("drop every=3", [3, 6]),
        ("drop 0%", []),
        ("GET drop", []),
        ("/v1/customers* drop", []),
        ("/v1/* drop #1", [1]),
    ],
)
def test_a_fault_strikes_the_calls_that_it_says(fault: str, numbers: list[int]) -> None:
    """By method, path and number of the matching call."""
    assert struck(fault, 6) == numbers


def test_a_chance_is_kept_and_repeats_with_its_seed() -> None:
    """10% of many calls, the same ones in each run."""
    first, second = struck("drop 10%", 5000), struck("drop 10%", 5000)
    assert first == second
    assert 400 < len(first) < 600


def test_of_several_faults_the_first_that_strikes_decides_and_all_count() -> None:
    """Each fault counts every call that it matches."""
    script = FaultScript([Fault.parse("drop #2"), Fault.parse("hang #2-3")])
    strikes = [script.choose("POST", EVENTS) for _ in range(4)]
    assert [fault and fault.action for fault in strikes] == [None, "drop", "hang", None]
