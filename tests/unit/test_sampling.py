"""A sample keeps whole customers, the same ones everywhere, and a larger one keeps those of each smaller one."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voucherify_sync.mapping.sampling import MAX_DRAWS, SampleMet, parse_percent


def is_sampled(source_id: str, percent: float) -> bool:
    """Tell whether a customer belongs to a sample."""
    return SampleMet().keeps(source_id, percent)


PERCENTS = st.floats(min_value=0, max_value=100, exclude_min=True)


@pytest.mark.parametrize(
    ("source_id", "percent"),
    [
        ("u-1001", 10.9109),
        ("u-1002", 57.0846),
        ("u-1112", 0.4528),
        ("usr_1001", 58.1944),
        ("42", 45.0308),
        ("José", 14.3595),
    ],
)
def test_a_customer_has_a_place_that_never_changes(source_id: str, percent: float) -> None:
    """Other programs and later versions find the same customers."""
    assert not is_sampled(source_id, percent - 0.0001)
    assert is_sampled(source_id, percent + 0.0001)


@given(st.text(), PERCENTS, PERCENTS)
def test_a_larger_sample_keeps_the_customers_of_a_smaller_one(
    source_id: str, one: float, other: float
) -> None:
    """So a trial with 1 % goes on with 5 %."""
    smaller, larger = sorted((one, other))
    assert is_sampled(source_id, smaller) <= is_sampled(source_id, larger)


@given(st.text(st.characters()))
def test_the_whole_is_all_customers(source_id: str) -> None:
    """100 % leaves nobody out, whatever the characters of an id."""
    assert is_sampled(source_id, 100)


def test_the_last_place_of_all_is_within_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounding never makes the greatest hash equal to the whole."""

    class Greatest:
        def __init__(self, data: bytes) -> None:
            pass

        def digest(self) -> bytes:
            return b"\xff" * 32

    monkeypatch.setattr("voucherify_sync.mapping.sampling.sha256", Greatest)
    assert is_sampled("u", 100)
    assert not is_sampled("u", 99.9999999)


@pytest.mark.parametrize("percent", [0.5, 1, 5, 10, 50, 99])
@pytest.mark.parametrize("form", ["u-{}", "{}", "{}@example.com"])
def test_a_sample_has_its_share_of_the_customers(percent: float, form: str) -> None:
    """Within four standard deviations, for ids that differ in their number only."""
    count, share = 20_000, percent / 100
    kept = sum(is_sampled(form.format(number), percent) for number in range(count))
    assert abs(kept / count - share) <= 4 * math.sqrt(share * (1 - share) / count)


@pytest.mark.parametrize(
    ("parts", "percent", "said"),
    [
        pytest.param(
            [["u-1002", "42", "u-1002"], ["José", "42"]],
            0.1,
            "--sample 0.1%: none of 3 customers is in the sample. Take a larger one: --sample 20% keeps 1 of them.",
            id="none",
        ),
        pytest.param([["42", "José"], ["u-1112"]], 0.5, None, id="a-later-one"),
        pytest.param([["u-1112"], ["42", "José"]], 0.5, None, id="an-earlier-one"),
        pytest.param([[], []], 0.5, None, id="nobody"),
        pytest.param(
            [[str(number) for number in range(MAX_DRAWS)], ["more"]],
            0.001,
            f"--sample 0.001%: none of at least {MAX_DRAWS:,} customers is in the sample. Take a larger one: "
            "--sample 0.01% keeps at least 2 of them.",
            id="many",
        ),
    ],
)
def test_a_sample_without_a_customer_says_how_large_it_must_be(
    parts: list[list[str]], percent: float, said: str | None
) -> None:
    """A small archive has less than one customer in a small share; any process may read any part of the input."""
    met = SampleMet()
    for part in parts:
        of_part = SampleMet()
        for source_id in part:
            of_part.keeps(source_id, percent)
        met.merge(of_part)
    assert met.notice(percent) == said


@pytest.mark.parametrize(
    ("text", "percent"),
    [
        ("5%", 5),
        ("5 %", 5),
        ("5", 5),
        ("0.5 %", 0.5),
        ("0.5", 0.5),
        ("100%", 100),
        ("100.0", 100),
        ("0.0001%", 0.0001),
    ],
)
def test_a_percentage_is_read(text: str, percent: float) -> None:
    """With or without its sign."""
    assert parse_percent(text) == percent


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("", ""),
        ("0", ""),
        ("0%", ""),
        ("0.0 %", ""),
        ("100.1%", ""),
        ("101", ""),
        ("-5%", ""),
        ("1e1", ""),
        ("nan", ""),
        ("inf", ""),
        ("1/20", ""),
        ("five", ""),
        ("%", ""),
        ("\u0665%", ""),
        ("5%%", ""),
        ("9" * 400, ""),
        ("0,5%", "; did you mean 0.5%?"),
        ("200,5%", ""),
        (".5%", "; did you mean 0.5%?"),
        ("5.", "; did you mean 5%?"),
        ("5 percent", "; did you mean 5%?"),
        ("5  %", "; did you mean 5%?"),
        (" 5% ", "; did you mean 5%?"),
        ("0 percent", ""),
    ],
)
def test_what_is_no_percentage_is_refused_with_what_to_write(text: str, meant: str) -> None:
    """The sentence names the bounds, and what is likely meant."""
    with pytest.raises(ValueError) as refusal:
        parse_percent(text)
    bounds = "is no share of the customers; write a percentage above 0 and up to 100, such as 5% or 0.5%"
    assert str(refusal.value) == f"{text!r} {bounds}{meant}"


@given(st.text(st.sampled_from("0123456789.,% epct-")))
def test_any_text_is_a_percentage_or_refused(text: str) -> None:
    """Nothing but a share within the bounds comes out."""
    try:
        assert 0 < parse_percent(text) <= 100
    except ValueError as error:
        sentence = str(error)
        assert "write a percentage" in sentence
