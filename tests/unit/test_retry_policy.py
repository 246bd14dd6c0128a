"""The retry table, row by row, and the laws that hold for any answer whatever."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict

from voucherify_sync.errors import AccessRefused, RunStopped, WrongAddress
from voucherify_sync.events import Kind
from voucherify_sync.exit_codes import ExitCode
from voucherify_sync.outcomes import NotProcessed
from voucherify_sync.voucherify.answers import Answer, NoAnswer, NotSent, Reply
from voucherify_sync.voucherify.retry_policy import (
    MAX_ATTEMPTS,
    MAX_TROUBLE_S,
    Attempts,
    Failed,
    Halt,
    InDoubt,
    RetryBudget,
    RetryLater,
    Verdict,
    judge,
)

CUSTOMER, EVENT = Kind.CUSTOMER, Kind.EVENT
GOOD = {
    CUSTOMER: b'{"object":"customer","id":"cust_1"}',
    EVENT: b'{"object":"event","type":"x"}',
    Kind.ORDER: b'{"object":"order","id":"ord_1"}',
}
PAGE = b"<html><head><title>Sign in</title></head></html>"
DATE = "Tue, 06 Jan 2026 10:00:00 GMT"


def reply(status: int, body: bytes = b"", **headers: str) -> Reply:
    """Return an answer; `_` in a header's name stands for `-`."""
    return Reply(
        status, CaseInsensitiveDict({name.replace("_", "-"): text for name, text in headers.items()}), body
    )


def verdict(kind: Kind, answer: Answer, attempt: int = 1, elapsed_s: float = 0.0) -> Verdict:
    """Judge with the middle of the jitter."""
    return judge(kind, answer, Attempts(attempt - 1, elapsed_s), lambda: 0.5)


NOT_SENT = [
    pytest.param(NotSent(reason), id=reason)
    for reason in ("dns", "refused", "connect_timeout", "tls", "proxy")
]
AMBIGUOUS = [
    *(
        pytest.param(NoAnswer(reason), reason, id=reason)
        for reason in ("timeout", "reset", "cut", "too_large")
    ),
    *(
        pytest.param(reply(code), f"http_{code}", id=str(code))
        for code in (408, 500, 501, 502, 503, 504, 520, 599, 999)
    ),
    pytest.param(reply(503, Retry_After="7"), "http_503", id="503 with Retry-After"),
    pytest.param(reply(101), "http_101", id="101"),
    pytest.param(reply(200), "unexpected_answer", id="empty 200"),
    pytest.param(reply(204), "unexpected_answer", id="204"),
    pytest.param(reply(200, PAGE, Content_Type="text/html"), "unexpected_answer", id="a page"),
    pytest.param(reply(200, b'{"object":"cust'), "unexpected_answer", id="cut JSON"),
    pytest.param(reply(200, b"[]"), "unexpected_answer", id="an array"),
    pytest.param(reply(200, b"[" * 5000), "unexpected_answer", id="nested too deep"),
    pytest.param(reply(200, b'{"status":"ok"}'), "unexpected_answer", id="no object"),
    pytest.param(reply(200, b'{"object":"list"}'), "unexpected_answer", id="another object"),
    pytest.param(reply(200, b'{"object":["event","customer"]}'), "unexpected_answer", id="object is a list"),
]


@pytest.mark.parametrize("status", [200, 201, 202, 299])
@pytest.mark.parametrize("kind", list(Kind))
def test_2xx_with_the_expected_object_is_delivered(kind: Kind, status: int) -> None:
    """The status and the object together prove it."""
    answer = reply(status, GOOD[kind])
    assert verdict(kind, answer) == answer


def test_a_customer_of_the_old_api_is_delivered_too() -> None:
    """Old versions of the API answer with an unconfirmed_customer."""
    answer = reply(200, b'{"object":"unconfirmed_customer"}')
    assert verdict(CUSTOMER, answer) == answer


@pytest.mark.parametrize("answer", NOT_SENT)
@pytest.mark.parametrize("kind", list(Kind))
def test_what_was_never_sent_is_sent_again(kind: Kind, answer: NotSent) -> None:
    """It is proved that nothing left: even an event may go again."""
    assert verdict(kind, answer) == RetryLater(0.75, answer.reason, NotProcessed.NOT_CONNECTED)


@pytest.mark.parametrize(("answer", "reason"), AMBIGUOUS)
def test_an_ambiguous_answer_leaves_an_event_in_doubt(answer: Answer, reason: str) -> None:
    """It may have been processed: never sent again, never dropped."""
    result = verdict(EVENT, answer)
    assert isinstance(result, InDoubt)
    assert result.reason == reason


@pytest.mark.parametrize(("answer", "reason"), AMBIGUOUS)
def test_an_ambiguous_answer_sends_a_customer_again(answer: Answer, reason: str) -> None:
    """An upsert may be repeated."""
    result = verdict(CUSTOMER, answer)
    assert isinstance(result, RetryLater)
    assert result.reason == reason
    assert result.proof is None


def test_a_customer_waits_as_long_as_a_503_asks() -> None:
    """Retry-After counts where it is longer than the backoff."""
    assert verdict(CUSTOMER, reply(503, Retry_After="7")) == RetryLater(7.0, "http_503")


@pytest.mark.parametrize("kind", list(Kind))
def test_429_waits_however_often_it_came(kind: Kind) -> None:
    """Nothing is wrong with the record: waiting for quota is no failure."""
    assert verdict(kind, reply(429, Retry_After="12"), 999, 1e6) == RetryLater(
        12.0, "throttled", NotProcessed.THROTTLED
    )
    assert verdict(kind, reply(429, X_Rate_Limit_Type="api_calls")) == RetryLater(
        0.75, "throttled", NotProcessed.THROTTLED
    )


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(reply(400, b'{"code":400,"key":"invalid_payload"}'), "invalid_payload", id="key"),
        pytest.param(
            reply(400, b'{"code":404,"key":"not_found"}'), "not_found", id="code in the body differs"
        ),
        pytest.param(
            reply(400, b'{"statusCode":400,"error":"Bad Request"}'), "http_400", id="framework's shape"
        ),
        pytest.param(reply(400, b'{"key":"Not A Code <b>"}'), "http_400", id="key is free text"),
        pytest.param(reply(400, b'{"key":"' + b"x" * 65 + b'"}'), "http_400", id="key too long"),
        pytest.param(reply(400, b'{"key":7}'), "http_400", id="key is a number"),
        pytest.param(reply(404), "http_404", id="empty body"),
        pytest.param(reply(409, PAGE), "http_409", id="a page"),
        pytest.param(reply(413, b'{"statusCode":413}'), "http_413", id="413"),
        pytest.param(reply(422), "http_422", id="422"),
        pytest.param(reply(423), "http_423", id="423"),
        pytest.param(reply(418), "http_418", id="418"),
    ],
)
@pytest.mark.parametrize("kind", list(Kind))
def test_other_4xx_fail_the_record_by_the_apis_own_key(kind: Kind, answer: Reply, reason: str) -> None:
    """The status decides; the key names the reason if it is a plain code."""
    result = verdict(kind, answer)
    assert isinstance(result, Failed)
    assert (result.reason, result.status) == (reason, answer.status)


def test_a_refusal_says_in_its_detail_what_the_api_said() -> None:
    """People read the detail; nothing is counted by it."""
    body = b'{"key":"invalid_payload","message":"Invalid payload","details":"Property .x must be string"}'
    result = verdict(EVENT, reply(400, body))
    assert isinstance(result, Failed)
    assert result.detail == "HTTP 400: Invalid payload - Property .x must be string"


@pytest.mark.parametrize(
    ("answer", "error", "exit_code", "words"),
    [
        pytest.param(
            reply(401), AccessRefused, ExitCode.REFUSED, ["api.key", "api.token", "region"], id="401"
        ),
        pytest.param(reply(402), AccessRefused, ExitCode.REFUSED, ["plan"], id="402"),
        pytest.param(
            reply(403, b'{"key":"missing_required_permission"}'),
            AccessRefused,
            ExitCode.REFUSED,
            ["role", "missing_required_permission"],
            id="403",
        ),
        *(
            pytest.param(
                reply(code, Location="https://evil.example.net/x?secret=1"),
                WrongAddress,
                ExitCode.USAGE,
                ["evil.example.net", "api.url"],
                id=str(code),
            )
            for code in (300, 301, 302, 303, 304, 307, 308)
        ),
        pytest.param(
            reply(302, Location="http://[bad"), WrongAddress, ExitCode.USAGE, ["redirects"], id="odd 302"
        ),
        *(
            pytest.param(reply(code), WrongAddress, ExitCode.USAGE, ["api.url"], id=str(code))
            for code in (405, 406, 415)
        ),
        pytest.param(
            reply(429, X_Rate_Limit_Type="api_calls_cycle"),
            RunStopped,
            ExitCode.STOPPED,
            ["cycle", "next"],
            id="cycle",
        ),
    ],
)
@pytest.mark.parametrize("kind", list(Kind))
def test_what_concerns_the_run_stops_it_with_a_remedy(
    kind: Kind, answer: Reply, error: type, exit_code: ExitCode, words: list[str]
) -> None:
    """No record is to blame: nothing is marked failed."""
    result = verdict(kind, answer)
    assert isinstance(result, Halt)
    assert type(result.error) is error
    assert result.error.exit_code is exit_code
    assert all(word in str(result.error) for word in words)
    assert "secret" not in str(result.error)


def test_a_page_is_named_by_its_type_and_its_first_characters() -> None:
    """A captive portal is recognised at a glance."""
    result = verdict(EVENT, reply(200, PAGE + b"\x1b" * 200, Content_Type="text/html"))
    assert isinstance(result, InDoubt)
    assert "text/html" in result.detail
    assert "Sign in" in result.detail
    assert len(result.detail) < 400
    assert "\x1b" not in result.detail


@pytest.mark.parametrize(
    ("attempt", "elapsed_s"), [(MAX_ATTEMPTS, 0.0), (2, MAX_TROUBLE_S)], ids=["attempts", "time"]
)
@pytest.mark.parametrize(
    "answer", [NotSent("dns"), NoAnswer("reset"), reply(502)], ids=["unsent", "reset", "502"]
)
def test_after_ten_attempts_or_fifteen_minutes_it_is_given_up(
    answer: Answer, attempt: int, elapsed_s: float
) -> None:
    """One bad record must not hold its customer's lane for ever."""
    result = verdict(CUSTOMER, answer, attempt, elapsed_s)
    assert isinstance(result, Failed)
    assert result.reason == "gave_up"
    assert isinstance(verdict(CUSTOMER, answer, MAX_ATTEMPTS - 1, MAX_TROUBLE_S - 1), RetryLater)


def test_the_pause_grows_with_full_jitter_up_to_a_minute() -> None:
    """0.5 s to 60 s."""
    assert [Attempts(failures).backoff_s(lambda: 1.0) for failures in (0, 1, 2, 6, 7, 499)] == [
        1.0,
        2.0,
        4.0,
        60.0,
        60.0,
        60.0,
    ]
    assert {Attempts(failures).backoff_s(lambda: 0.0) for failures in range(20)} == {0.5}


def test_the_retry_budget_empties_and_fills_again() -> None:
    """500 tokens: a retry costs 5, a timeout 10, a success brings 1."""
    budget = RetryBudget()
    assert all(budget.spend("timeout") for _ in range(50))
    assert not budget.spend("http_502")
    for _ in range(5):
        budget.earn()
    assert budget.spend("http_502")
    assert not budget.spend("http_502")


HEADERS = st.dictionaries(
    st.sampled_from(["Retry-After", "Date", "Location", "Content-Type", "X-Rate-Limit-Type"]),
    st.one_of(
        st.text(max_size=30), st.sampled_from([DATE, "1", "api_calls_cycle", "http://x/", "//[", "0" * 20])
    ),
).map(CaseInsensitiveDict)
BODIES = st.one_of(
    st.binary(max_size=60),
    st.sampled_from([*GOOD.values(), PAGE, b"{}", b'{"key":{}}', b'{"message":1,"details":[]}', b"9" * 5000]),
)
ANSWERS = st.one_of(
    st.builds(Reply, st.integers(0, 1200), HEADERS, BODIES),
    st.builds(NotSent, st.sampled_from(["dns", "tls"])),
    st.builds(NoAnswer, st.sampled_from(["reset", "cut"])),
)


@given(st.sampled_from(Kind), ANSWERS, st.integers(1, 10_000), st.floats(0, 1e9), st.floats(0, 1))
def test_every_answer_whatever_has_a_verdict_and_pauses_are_bounded(
    kind: Kind, answer: Answer, attempt: int, elapsed_s: float, chance: float
) -> None:
    """Judging never raises."""
    result = judge(kind, answer, Attempts(attempt - 1, elapsed_s), lambda: chance)
    if isinstance(result, RetryLater):
        assert 0.5 <= result.after_s <= 3600


@given(ANSWERS, st.integers(1, 20))
def test_an_event_goes_again_only_after_proof_that_it_was_not_processed(answer: Answer, attempt: int) -> None:
    """Proof is a request that never left, or 429."""
    result = judge(EVENT, answer, Attempts(attempt - 1), lambda: 0.5)
    proved = isinstance(answer, NotSent) or (isinstance(answer, Reply) and answer.status == 429)
    if isinstance(result, RetryLater):
        assert proved
        assert result.proof is not None
    elif proved:
        assert isinstance(result, (Failed, Halt))
    if isinstance(result, Reply):
        assert isinstance(answer, Reply)
        assert answer.body == GOOD[EVENT]
