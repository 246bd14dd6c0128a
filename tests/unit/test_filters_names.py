"""Event names of the settings: what a star matches, and that no name or pattern makes it take long."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from voucherify_sync.mapping.filters import NameMatches, name_matcher
from voucherify_sync.stop import Stop
from voucherify_sync.text import MAX_CANDIDATES, MAX_LENGTH, similar


def by_definition(pattern: str, name: str) -> bool:
    """Tell whether a pattern matches, by trying every length of what a star stands for."""
    reached = {0}  # how much of the name may be matched by what was read of the pattern
    for sign in pattern:
        if sign == "*":
            reached = set(range(min(reached, default=len(name) + 1), len(name) + 1))
        else:
            reached = {at + 1 for at in reached if name[at : at + 1] == sign}
    return len(name) in reached


@given(pattern=st.text("ab*\n", max_size=10), name=st.text("ab\n", max_size=12))
@example(pattern="*", name="")
@example(pattern="a*a", name="a")
@example(pattern="*ab*ab", name="ab")
@example(pattern="**b", name="ab")
def test_a_star_stands_for_any_run_of_characters(pattern: str, name: str) -> None:
    """Also for none, and for line ends; whatever is no star stands for itself."""
    assert name_matcher([pattern])(name) is by_definition(pattern, name)


@given(patterns=st.lists(st.text("ab*", max_size=5), max_size=4), name=st.text("ab", max_size=6))
def test_of_several_patterns_one_is_enough(patterns: list[str], name: str) -> None:
    """They are alternatives."""
    assert name_matcher(patterns)(name) is any(by_definition(each, name) for each in patterns)


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        pytest.param("*a" * 9, "a" * 200 + "b", id="many stars"),
        pytest.param("*a" * 1_000 + "*b", "a" * 1_000_000, id="a thousand stars and a million characters"),
        pytest.param("*" * 10_000 + "b", "a" * 1_000_000, id="stars beside stars"),
        pytest.param("*" + "ab" * 1_000 + "*", "ab" * 900 + "a" * 1_000_000, id="a part that almost matches"),
    ],
)
def test_no_name_is_matched_by_trying_all_places(pattern: str, name: str) -> None:
    """A pattern that backtracks takes longer than anybody waits."""
    assert not name_matcher([pattern])(name)


def test_similar_names_are_the_likeliest_of_those_that_are_folded_alike() -> None:
    """The names come in the order of how likely they are."""
    names = ["order completed", "Order Completed", "Page Viewed"]
    assert similar("ORDER COMPLETE", names, fold=str.casefold, most=3, cutoff=0.8) == ["order completed"]


def test_a_search_for_similar_names_is_bounded() -> None:
    """Names that come late, and all but the end of a long one, are not looked at."""
    others = [f"name {number}" for number in range(MAX_CANDIDATES)]
    assert similar("wanted", [*others, "wante"], fold=str, most=1, cutoff=0.8) == []
    assert similar("wanted", [*others[1:], "wante"], fold=str, most=1, cutoff=0.8) == ["wante"]
    end = "x" * MAX_LENGTH
    assert similar("a" * 10_000 + end, ["b" * 9_000 + end], fold=str, most=1, cutoff=1.0) == [
        "b" * 9_000 + end
    ]


def test_the_most_frequent_names_are_compared() -> None:
    """Of very many distinct names the rare ones are not looked at."""
    names = NameMatches(["Order Completed"])
    names.rejected.add("Order Complete")
    for number in range(MAX_CANDIDATES):
        for _ in range(2):
            names.rejected.add(f"{number}")
    assert list(names.near_misses().values()) == [[]]
    names.rejected.add("Order Complete")
    names.rejected.add("Order Complete")
    assert list(names.near_misses().values()) == [["Order Complete"]]


def test_once_the_run_stops_nothing_similar_is_looked_for() -> None:
    """The names that no event had are told without."""
    names, stop = NameMatches(["Order Completed", "Cart *"]), Stop()
    names.rejected.add("Order Complete")
    assert list(names.near_misses(stop).values()) == [["Order Complete"], []]
    stop.requested = True
    assert names.near_misses(stop) == {"Order Completed": [], "Cart *": []}
