"""The limiter answer by answer: budgets, pauses, clocks, buckets, the user's own limits."""

from __future__ import annotations

import threading
from email.utils import formatdate
from itertools import pairwise

import pytest
from support.limits import Hand
from support.waiting import HANG_S, wait_until

from voucherify_sync.errors import RunStopped
from voucherify_sync.exit_codes import ExitCode
from voucherify_sync.settings.types import Rate
from voucherify_sync.stop import Stop
from voucherify_sync.voucherify.rate_limit import Bucket, Limiter, Permit


def test_the_first_call_goes_alone() -> None:
    """Its headers teach the limit before others follow."""
    hand = Hand(reserve=0)
    assert hand.send("a")
    assert not hand.send("b")
    hand.told("a", 99)
    assert hand.burst() == 99


def test_an_unanswered_first_call_is_followed_by_another_single_one() -> None:
    """As long as nothing is learnt, calls go alone."""
    hand = Hand()
    assert hand.send("a")
    hand.lose("a")
    assert hand.send("b")
    assert not hand.send("c")


def test_an_api_without_rate_headers_has_no_limit() -> None:
    """A missing header is no 0."""
    hand = Hand()
    hand.send("a")
    hand.answer("a", Content_Type="application/json")
    assert hand.burst() == 1000
    assert hand.limiter.window.limit is None
    assert hand.limiter.calls_per_s() is None


@pytest.mark.parametrize("nonsense", ["", "many", "-1", "nan", "inf", "1e999"])
def test_headers_that_make_no_sense_say_nothing(nonsense: str) -> None:
    """They neither stop nor feed the calls: a call whose answer says nothing counts as made."""
    hand = Hand(reserve=0)
    hand.send("a")
    hand.told("a", 99)
    hand.send("a")
    headers = ["X-Rate-Limit-Limit", "X-Rate-Limit-Remaining", "X-Rate-Limit-Retry", "Date", "Retry-After"]
    hand.give("a", 200, dict.fromkeys(headers, nonsense))
    assert hand.burst() == 98


def test_headers_are_read_in_any_case() -> None:
    """HTTP header names have no case."""
    hand = Hand(reserve=0)
    hand.send("a")
    hand.answer("a", x_rate_limit_limit=50, X_RATE_LIMIT_REMAINING=49)
    assert hand.burst() == 49


def test_answers_out_of_order_do_not_raise_the_budget() -> None:
    """An answer to a call that was under way when a lower number came may be the older one."""
    hand = Hand(reserve=0)
    hand.send("a")
    hand.told("a", 50)
    hand.send("b")
    hand.send("c")
    hand.now += 1
    hand.told("c", 10)
    hand.told("b", 49)
    assert hand.burst() == 10


def test_an_answer_from_before_the_window_turned_does_not_lower_the_new_budget() -> None:
    """It speaks of the last window; but the call itself may be one of the new window."""
    hand = Hand(reserve=0)
    hand.send("a")
    hand.told("a", 50)
    hand.send("late")
    hand.now += 1
    hand.send("b")
    hand.told("b", 99)
    hand.told("late", 3)
    assert hand.burst() == 98


def test_calls_in_flight_count_against_what_remains() -> None:
    """The server may not have counted them yet when it told what remains."""
    hand = Hand(reserve=0)
    hand.send("a")
    hand.told("a", 10)
    assert [hand.send(name) for name in "bcd"] == [True] * 3
    hand.told("b", 9)
    assert hand.burst() == 7


def test_a_429_pauses_everyone_and_then_one_call_tries_alone() -> None:
    """At most one refused call a pause."""
    hand = Hand(reserve=0)
    hand.send("a")
    hand.told("a", 99)
    hand.send("a")
    hand.answer("a", 429, Retry_After=30, X_Rate_Limit_Type="api_calls")
    assert hand.wait_s() == 30
    assert hand.limiter.throttled == 1
    hand.now += 30
    assert hand.burst() == 1
    hand.told(("burst", 0), 99)
    assert hand.burst() == 99


def test_an_answer_to_a_call_from_before_the_pause_does_not_end_it() -> None:
    """Only the call that goes alone shows that the pause is over."""
    hand = Hand()
    hand.send("a")
    hand.told("a", 99)
    hand.send("b")
    hand.send("c")
    hand.answer("b", 429, Retry_After=5)
    hand.told("c", 97)
    assert hand.burst() == 0
    hand.now += 5
    assert hand.burst() == 1


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": " 2.5 "}, 2.5),
        ({"Retry-After": "0"}, 1),
        ({"Retry-After": "-5"}, 1),
        ({"Retry-After": "1e9"}, 3600),
        ({"Retry-After": "soon"}, 1),
        ({"Retry-After": formatdate(1_000_020, usegmt=True), "Date": formatdate(1_000_000, usegmt=True)}, 20),
        ({"Retry-After": formatdate(999_000, usegmt=True), "Date": formatdate(1_000_000, usegmt=True)}, 1),
        ({"X-Rate-Limit-Retry": "1000042", "Date": formatdate(1_000_000, usegmt=True)}, 42),
        ({"X-Rate-Limit-Retry": "4070908800", "Date": formatdate(1_000_000, usegmt=True)}, 3600),
        ({"X-Rate-Limit-Retry": "5000009"}, 9),
        (
            {"Retry-After": "7", "X-Rate-Limit-Retry": "1000042", "Date": formatdate(1_000_000, usegmt=True)},
            7,
        ),
        ({}, 1),
    ],
    ids=lambda v: str(v),
)
def test_a_429_says_how_long_in_many_ways(headers: dict[str, str], wait_s: float) -> None:
    """Retry-After first, then X-Rate-Limit-Retry by the server's clock; nonsense is tolerated, 1 s to 1 h."""
    hand = Hand()
    hand.send("a")
    hand.give("a", 429, headers)
    assert hand.wait_s() == pytest.approx(wait_s)


def test_a_429_that_says_nothing_backs_off_further_each_time() -> None:
    """1 s, 2 s, 4 s, up to a minute; an answer starts it over."""
    hand = Hand()
    waits = []
    for _ in range(8):
        hand.send("a")
        hand.answer("a", 429)
        waits.append(hand.wait_s())
        hand.now += waits[-1]
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    hand.send("a")
    hand.told("a", 99)
    hand.send("a")
    hand.answer("a", 429)
    assert hand.wait_s() == 1


def test_when_nothing_remains_the_server_says_when() -> None:
    """X-Rate-Limit-Retry is read by the server's clock, so a local clock that is wrong or stepped changes nothing."""
    hand = Hand(reserve=0)
    hand.send("a")
    hand.answer(
        "a",
        Date=formatdate(1_000_000, usegmt=True),
        X_Rate_Limit_Limit=100,
        X_Rate_Limit_Remaining=0,
        X_Rate_Limit_Retry=1_000_300,
    )
    hand.wall += 86_400
    assert hand.wait_s() == pytest.approx(300)
    waiting = hand.wait()
    assert waiting is not None
    assert waiting.reason == "quota"


def test_the_retry_header_counts_only_when_nothing_remains() -> None:
    """Before that it may say anything."""
    hand = Hand(reserve=0)
    hand.send("a")
    date = formatdate(1_000_000, usegmt=True)
    hand.answer(
        "a", Date=date, X_Rate_Limit_Limit=100, X_Rate_Limit_Remaining=99, X_Rate_Limit_Retry=1_003_600
    )
    assert hand.burst() == 99


def test_an_older_answer_does_not_say_when_an_exhausted_window_ends() -> None:
    """Its Retry header was written while something remained."""
    hand = Hand(reserve=0)
    hand.send("a")
    hand.told("a", 2)
    hand.send("b")
    hand.send("c")
    hand.now += 1
    date = formatdate(1_000_000, usegmt=True)
    for who, remaining, retry in (("c", 0, 1_000_300), ("b", 1, 1_000_001)):
        hand.answer(who, Date=date, X_Rate_Limit_Remaining=remaining, X_Rate_Limit_Retry=retry)
    assert hand.wait_s() == pytest.approx(300, abs=2)


def test_the_latest_date_seen_sets_the_server_clock() -> None:
    """Date is cut to seconds and takes its time: the largest offset is the nearest to the truth."""
    hand = Hand(reserve=0)
    hand.send("a")
    hand.answer("a", Date=formatdate(1_000_010, usegmt=True), X_Rate_Limit_Limit=9, X_Rate_Limit_Remaining=8)
    hand.send("a")
    hand.now += 5
    stale = formatdate(1_000_010, usegmt=True)
    hand.answer("a", Date=stale, X_Rate_Limit_Limit=9, X_Rate_Limit_Remaining=0, X_Rate_Limit_Retry=1_000_075)
    assert hand.wait_s() == pytest.approx(60)


DATE = formatdate(1_000_000, usegmt=True)
IN_2099 = formatdate(4_070_908_800, usegmt=True)
SPENT = {"X-Rate-Limit-Limit": "100", "X-Rate-Limit-Remaining": "0"}


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (429, {"Retry-After": "86400"}),
        (429, {"Retry-After": IN_2099}),
        (429, {"X-Rate-Limit-Retry": "4070908800"}),
        (429, {"X-Rate-Limit-Retry": "1000005000000"}),
        (200, SPENT | {"X-Rate-Limit-Retry": "4070908800"}),
        (200, SPENT | {"X-Rate-Limit-Retry": "1000005000000"}),
        (200, SPENT | {"Retry-After": "86400"}),
        (400, SPENT | {"X-Rate-Limit-Retry": "4070908800"}),
        (500, {"Retry-After": "86400"}),
        (503, {"Retry-After": "86400"}),
        (503, {"Retry-After": IN_2099}),
        (503, SPENT | {"X-Rate-Limit-Retry": "4070908800"}),
    ],
    ids=lambda value: str(value).replace("X-Rate-Limit-", ""),
)
@pytest.mark.parametrize("reserve", [0, 0.1])
def test_every_wait_that_the_server_asks_for_ends_after_an_hour(
    status: int, headers: dict[str, str], reserve: float
) -> None:
    """By whichever header and with whatever status; then one call tries again, and the same holds for its answer."""
    hand = Hand(reserve=reserve)
    hand.send(("burst", 0))
    for _ in range(3):
        hand.give(("burst", 0), status, {"Date": DATE} | headers)
        assert hand.wait_s() == pytest.approx(3600, abs=0.001)
        hand.now += 3599
        assert hand.burst() == 0
        hand.now += 1.001
        assert hand.burst() == 1
    hand.told(("burst", 0), 99)
    assert hand.burst() > 80


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_failing_server_that_names_a_time_pauses_all_calls(status: int) -> None:
    """Whatever limit they count against; it is no 429, and what waits says what for."""
    hand = Hand()
    hand.send("a", Bucket.BULK)
    hand.answer("a", status, Retry_After=30)
    assert hand.wait_s() == hand.wait_s(Bucket.BULK) == 30
    waiting = hand.wait()
    assert waiting is not None
    assert (waiting.reason, waiting.detail) == ("asked", f"HTTP {status}")
    assert hand.limiter.throttled == 0


def test_a_failing_server_that_names_no_time_pauses_nothing() -> None:
    """The pause is then the record's own, and the circuit's."""
    hand = Hand(reserve=0)
    hand.send("a")
    hand.told("a", 99)
    hand.send("a")
    hand.answer("a", 503)
    assert hand.burst() == 98


def test_a_wait_that_was_cut_teaches_no_period() -> None:
    """A header in milliseconds says nothing about the window."""
    hand = Hand(reserve=0)
    hand.send("a")
    hand.give("a", 200, SPENT | {"Date": DATE, "X-Rate-Limit-Retry": "1000005000000"})
    hand.now += 3600
    hand.send("a")
    hand.told("a", 99)
    assert hand.burst() == 99
    for number in range(99):
        hand.answer(("burst", number), X_Rate_Limit_Limit=100, X_Rate_Limit_Remaining=98 - number)
    assert hand.wait_s() == pytest.approx(60, rel=0.01)


def test_a_429_that_says_that_calls_remain_is_a_pause_like_any_other() -> None:
    """It may be about something else; the call after it tells what remains."""
    hand = Hand(reserve=0)
    hand.send("a")
    hand.told("a", 99)
    hand.send("a")
    hand.answer("a", 429, Retry_After=5, X_Rate_Limit_Limit=100, X_Rate_Limit_Remaining=40)
    hand.now += 5
    assert hand.burst() == 1
    hand.told(("burst", 0), 39)
    assert hand.burst() == 39


def test_an_api_that_tells_its_limit_by_429_only_is_not_held_up_after_it() -> None:
    """The 0 of the 429 is over when a call is accepted, even if its answer does not say so."""
    hand = Hand()
    hand.send("a")
    hand.answer("a")
    hand.send("a")
    hand.answer("a", 429, Retry_After=5, X_Rate_Limit_Remaining=0)
    hand.now += 5
    assert hand.burst() == 1
    hand.answer(("burst", 0))
    assert hand.burst() == 1
    hand.answer(("burst", 0))
    assert hand.burst() == 1000


def test_more_than_the_limit_never_remains() -> None:
    """A header that says so is cut to the limit."""
    hand = Hand(reserve=0)
    hand.send("a")
    hand.told("a", 1_000_000)
    assert hand.burst() == 100


@pytest.mark.parametrize("brings", ["no answer", "no word"])
def test_a_call_that_brings_no_word_of_what_remains_counts_as_made(brings: str) -> None:
    """Until a later call brings word: the server may have counted it."""
    hand = Hand(reserve=0)
    hand.send("a")
    hand.told("a", 50)
    for name in range(20):
        hand.send(name)
    for name in range(20):
        if brings == "no answer":
            hand.lose(name)
        else:
            hand.answer(name, 502)
    assert hand.burst() == 30
    hand.now += 1
    hand.told(("burst", 0), 49)
    assert hand.send("later")
    hand.told("later", 44)
    assert hand.burst() == 44 - 29


def chances(hand: Hand, remaining: int, until_s: float) -> list[float]:
    """Return when single calls go out that find that the window has not turned, in seconds from now."""
    began, sent = hand.now, []
    while hand.now - began < until_s:
        wait_s = hand.wait_s()
        if wait_s > 0:
            hand.now += wait_s
            continue
        remaining -= 1
        sent.append(hand.now - began)
        hand.told("asks", remaining)
    return sent


def test_what_an_earlier_run_used_of_the_window_counts_for_the_reserve() -> None:
    """85 calls were used before this run, so it makes five; then it waits for the longer window to end."""
    hand = Hand()
    hand.send("a")
    hand.told("a", 14)
    assert chances(hand, 14, 3500) == pytest.approx([0, 60, 120, 180], rel=0.02)
    assert hand.now - 1000 == pytest.approx(3600, rel=0.02)


def test_a_window_that_others_have_used_up_is_tried_after_a_minute() -> None:
    """It may be a window of a minute; two calls that find it is not are all that it costs the reserve."""
    hand = Hand()
    hand.send("a")
    hand.told("a", 3)
    assert chances(hand, 3, 3500) == pytest.approx([60, 120], rel=0.02)
    assert hand.now - 1000 == pytest.approx(3600, rel=0.02)


def test_the_bulk_limit_is_a_window_of_its_own() -> None:
    """A 429 of bulk_api_calls pauses bulk calls only."""
    hand = Hand(reserve=0)
    hand.send("a")
    hand.told("a", 99)
    hand.send("b", Bucket.BULK)
    hand.answer("b", 429, Retry_After=60, X_Rate_Limit_Type="bulk_api_calls")
    assert hand.wait_s(Bucket.BULK) == 60
    assert hand.burst() == 99


def test_a_bulk_call_that_hits_the_ordinary_limit_pauses_both() -> None:
    """The limit that was hit holds for ordinary calls, too."""
    hand = Hand()
    hand.send("a")
    hand.told("a", 99)
    hand.send("b", Bucket.BULK)
    hand.answer("b", 429, Retry_After=60, X_Rate_Limit_Type="api_calls")
    assert hand.wait_s(Bucket.BULK) == hand.wait_s() == 60


@pytest.mark.parametrize(
    ("type_", "waits"),
    [
        ("bulk_api_calls", {Bucket.IMPORT, Bucket.BULK}),
        ("api_calls", {Bucket.IMPORT, Bucket.API}),
        (None, {Bucket.IMPORT, Bucket.API}),
    ],
    ids=["bulk", "ordinary", "not said"],
)
def test_an_import_waits_with_the_calls_of_the_limit_that_it_hit(
    type_: str | None, waits: set[Bucket]
) -> None:
    """No document tells in which one it counts."""
    hand = Hand(reserve=0)
    hand.send("a", Bucket.IMPORT)
    hand.answer("a", 429, Retry_After=60, **({"X_Rate_Limit_Type": type_} if type_ else {}))
    assert {bucket for bucket in Bucket if hand.wait_s(bucket) == 60} == waits


def test_an_import_goes_by_what_its_own_answers_leave() -> None:
    """A limit that ordinary calls or customers in bulk have used up may be another one."""
    hand = Hand(reserve=0)
    for bucket in (Bucket.API, Bucket.BULK):
        hand.send(bucket, bucket)
        hand.told(bucket, 0)
    assert hand.send("a", Bucket.IMPORT)
    hand.told("a", 0)
    assert not hand.send("b", Bucket.IMPORT)


def test_a_limit_of_one_call_is_used_in_spite_of_the_reserve() -> None:
    """Small bulk limits leave no whole call to others."""
    hand = Hand(reserve=0.5)
    hand.send("a", Bucket.BULK)
    hand.answer("a", 200, X_Rate_Limit_Limit=1, X_Rate_Limit_Remaining=1)
    assert hand.send("a", Bucket.BULK)
    assert not hand.send("b", Bucket.BULK)


def test_a_rate_of_the_user_spreads_calls_evenly() -> None:
    """90/min is one call each two thirds of a second."""
    hand = Hand(rate=Rate(90, 60))
    sent = []
    while hand.now < 1060:
        if hand.send("a"):
            hand.answer("a")
            sent.append(hand.now)
        else:
            hand.now += hand.wait_s() or pytest.fail("it could have been sent")
    assert len(sent) == pytest.approx(90, abs=1)
    assert min(b - a for a, b in pairwise(sent)) > 0.66
    assert hand.limiter.calls_per_s() == pytest.approx(1.5)


def test_the_call_after_the_last_permitted_one_stops_the_run() -> None:
    """max_calls ends the run in order: exit 4, and the same command goes on."""
    hand = Hand(max_calls=2)
    assert hand.send("a")
    hand.told("a", 99)
    assert hand.limiter.acquire()
    assert not hand.stop.requested
    assert not hand.limiter.acquire()
    assert isinstance(hand.stop.error, RunStopped)
    assert hand.stop.error.exit_code == ExitCode.STOPPED
    assert hand.stop.error.message == "2 calls made, as --max-calls asks."
    assert hand.limiter.calls == 2


def test_a_stop_frees_every_waiting_call_at_once() -> None:
    """Long before the minute is over, and without a permit."""
    stop = Stop()
    limiter = Limiter(stop=stop)
    first = limiter.acquire()
    assert first
    limiter.answered(first, 429, {"Retry-After": "60"})
    results: list[Permit | None] = []
    threads = [threading.Thread(target=lambda: results.append(limiter.acquire())) for _ in range(16)]
    for thread in threads:
        thread.start()
    wait_until(lambda: limiter.waiting() is not None)
    waiting = limiter.waiting()
    assert waiting is not None
    assert (waiting.reason, waiting.detail) == ("asked", "HTTP 429")
    stop.by_signal(ExitCode.INTERRUPTED)
    for thread in threads:
        thread.join(HANG_S)
    assert results == [None] * 16
    assert limiter.calls == 1
    assert limiter.waiting() is None


def test_a_permit_without_a_call_is_not_counted_as_one() -> None:
    """Neither in the report nor against --max-calls."""
    hand = Hand(max_calls=1)
    permit = hand.limiter.acquire()
    assert permit
    hand.limiter.unused(permit)
    assert hand.limiter.calls == 0
    assert hand.limiter.acquire()
    assert hand.stop.error is None
