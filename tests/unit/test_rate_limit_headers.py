"""What the rate headers of an answer say."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voucherify_sync.stop import Stop
from voucherify_sync.voucherify.rate_limit import Limiter, http_date, read_rate_headers

DATE = "Tue, 06 Jan 2026 10:00:00 GMT"
RETRY_AFTER = [
    ("7", 7.0),
    (" 3.5 ", 3.5),
    ("0", 1.0),
    ("-5", 1.0),
    ("1e9", 3600.0),
    ("inf", 3600.0),
    ("9" * 400, 3600.0),
    ("nan", None),
    ("", None),
    ("soon", None),
    ("Tue, 06 Jan 2026 10:00:30 GMT", 30.0),
    ("Tuesday, 06-Jan-26 10:00:30 GMT", 30.0),
    ("Tue Jan  6 10:00:30 2026", 30.0),
    ("Tue, 06 Jan 2026 11:00:30 +0100", 30.0),
    ("Mon, 05 Jan 2026 10:00:00 GMT", 1.0),
    ("Thu, 01 Jan 2099 00:00:00 GMT", 3600.0),
    ("Tue, 99 Jan 2026 10:00:30 GMT", None),
    ("Tue, 06 Jan 99999 10:00:30 GMT", None),
]


@pytest.mark.parametrize(
    ("text", "expected"), RETRY_AFTER, ids=[text[:40] or "empty" for text, _ in RETRY_AFTER]
)
def test_retry_after_is_read_leniently(text: str, expected: float | None) -> None:
    """Dates are held against the answer's own Date, never against the local clock; nonsense counts as absent."""
    assert read_rate_headers({"retry-after": text, "DATE": DATE}).retry_after_s == expected


def test_a_date_in_retry_after_means_nothing_without_a_date_to_hold_it_against() -> None:
    """The local clock may be wrong by days."""
    assert read_rate_headers({"Retry-After": DATE}).retry_after_s is None
    assert read_rate_headers({}).retry_after_s is None


@given(st.text(max_size=40))
def test_no_text_whatever_makes_a_header_raise(text: str) -> None:
    """A wait is within 1 s and 1 h, and a count is not negative."""
    names = ["Retry-After", "Date", "X-Rate-Limit-Limit", "X-Rate-Limit-Remaining", "X-Rate-Limit-Retry"]
    said = read_rate_headers(dict.fromkeys(names, text))
    assert said.retry_after_s is None or 1 <= said.retry_after_s <= 3600
    assert (said.limit or 1) >= 1
    assert (said.remaining or 0) >= 0


def test_a_date_without_a_zone_is_in_gmt() -> None:
    """HTTP knows no other, whatever zone this machine is in."""
    assert http_date("Tue, 06 Jan 2026 10:00:00") == http_date(DATE) == 1767693600.0


@pytest.mark.parametrize(
    ("dates", "wait_s"),
    [
        ([1000], 60),
        ([1000, 995], 60),
        ([1000, 1001], 59),
        ([1000, 1000 - 86_400], 60 + 86_400),
        ([1000 + 86_400, 1000], 60),
    ],
    ids=[
        "one answer",
        "a slow answer",
        "a nearer one",
        "set back by a day",
        "a server that is a day ahead, once",
    ],
)
def test_the_servers_clock_follows_its_dates(dates: list[int], wait_s: float) -> None:
    """The latest Date is the nearest to the truth, unless it is older than any answer can be."""
    limiter = Limiter(stop=Stop(), clock=lambda: 50.0, wall=lambda: 0.0)
    for date in dates:
        permit = limiter.acquire()
        assert permit
        limiter.answered(permit, 200, {"Date": formatdate(date, usegmt=True)})
    assert 1060 - limiter.server_now() == wait_s


@pytest.mark.parametrize(
    ("date", "is_servers"),
    [(DATE, True), ("soon", False), ("", False)],
    ids=["a date", "nonsense", "none"],
)
def test_the_servers_time_comes_from_its_date_header(date: str, is_servers: bool) -> None:
    """The local clock may be wrong by days."""
    limiter = Limiter(stop=Stop(), wall=lambda: 5.0)
    permit = limiter.acquire()
    assert permit
    limiter.answered(permit, 200, {"Date": date})
    assert abs(limiter.server_now() - (1767693600.0 if is_servers else 5.0)) < 5
