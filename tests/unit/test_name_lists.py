"""Lists of names and ids: what a star matches, what is almost in a list, and that none of it takes long."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from voucherify_sync.mapping.name_lists import MAX_SHOWN, NameList, NamesMet, name_matcher
from voucherify_sync.mapping.stats import MAX_KEYS
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


def compared(wanted: list[str], *names: str, rule: str = "--event", are_ids: bool = False) -> NameList:
    """Return a list that names were compared with."""
    compared_list = NameList(rule, wanted, are_ids=are_ids)
    for name in names:
        compared_list.sees(name)
    return compared_list


def test_the_most_frequent_names_are_compared() -> None:
    """Of very many distinct names the rare ones are not looked at."""
    others = [f"{number}" for number in range(MAX_CANDIDATES)]
    names = compared(["Order Completed"], "Order Complete", *others, *others)
    assert names.near_misses() == {}
    names.sees("Order Complete")
    names.sees("Order Complete")
    assert names.near_misses() == {"Order Completed": ["Order Complete"]}


def test_once_the_run_stops_nothing_is_said_to_be_missing() -> None:
    """The rest of the input was not looked at, and a search takes time."""
    names, stop = compared(["Order Completed", "Cart *"], "Order Complete"), Stop()
    assert list(names.notices(stop)) == [
        '--event: none of the 1 track event read is named "Order Completed"; did you mean "Order Complete" (1)?',
        '--event: none of the 1 track event read is named "Cart *".',
    ]
    stop.requested = True
    assert list(names.notices(stop)) == []


@pytest.mark.parametrize(
    "near",
    [
        *(
            "order completed",
            "ORDER COMPLETED",
            "Order Completed ",
            "Order  Completed",
            "Order\u00a0Completed",
        ),
        *("order_completed", "order-completed", "orderCompleted", "OrderCompleted", "Completed Order"),
        *("Orders Completed", "Order: Completed", "\uff2frder Completed"),
    ],
    ids=ascii,
)
@pytest.mark.parametrize("is_met", [True, False])
def test_what_people_write_differently_is_a_near_miss(near: str, is_met: bool) -> None:
    """Whether the name itself was met or not."""
    names = compared(["Order Completed"], *["Order Completed"] * is_met, near, near, "Order Cancelled")
    assert names.near_misses() == {"Order Completed": [near]}
    (notice,) = names.notices()
    assert "(2)" in notice
    assert "Cancelled" not in notice


@pytest.mark.parametrize("other", ["Order Complete", "Order Completed Twice", "Order", "", "*", "é"])
def test_another_name_is_no_near_miss_of_one_that_was_met(other: str) -> None:
    """There is no mistake to be seen."""
    assert list(compared(["Order Completed"], "Order Completed", other).notices()) == []


def test_the_order_of_numbers_counts() -> None:
    """They are no words that people swap."""
    names = compared(
        ["Level 1 Step 2"], "Level 1 Step 2", "Level 2 Step 1", "level_1_step_2", "Levels 1 Step 2"
    )
    assert names.near_misses() == {"Level 1 Step 2": ["Levels 1 Step 2", "level_1_step_2"]}


@pytest.mark.parametrize("near", ["order viewed", "ORDER_VIEWED", "orderViewed", "order-"])
def test_a_name_that_a_star_would_match_in_other_letters_is_a_near_miss(near: str) -> None:
    """Case, blanks, underscores and hyphens of the fixed parts."""
    assert compared(["Order*"], "Order Completed", near, "Cart Viewed").near_misses() == {"Order*": [near]}


def test_a_name_of_signs_is_near_to_itself_only() -> None:
    """Without a letter there is nothing that could be meant."""
    assert compared(["***", "-", "?"], "?", "!").near_misses() == {}


def test_near_misses_are_told_in_one_sentence_with_counts() -> None:
    """The most frequent ones by name; what does not print is shown escaped."""
    others = ["order completed"] * 3 + ["Order\u00a0Completed", "orderCompleted", "Order_Completed"]
    (notice,) = compared(
        ["Order Completed"], "Order Completed", *others, rule="track.events_filter"
    ).notices()
    assert notice == (
        'track.events_filter: 6 events have almost the name "Order Completed": "order completed" (3), '
        '"Order_Completed" (1), "Order\\xa0Completed" (1), "orderCompleted" (1). Case, blanks and signs count: add '
        "these, too, if meant."
    )


def test_ids_differ_in_case_and_signs_but_no_word_in_them_means_anything() -> None:
    """A star is a star, and the order of parts counts."""
    ids = compared(["U-1", "a b", "*"], "u_1", "b a", "x", rule="--user", are_ids=True)
    assert list(ids.notices()) == [
        '--user: "U-1" is the id of no event that passes the other rules; did you mean "u_1" (1)?',
        '--user: "a b" is the id of no event that passes the other rules.',
        '--user: "*" is the id of no event that passes the other rules.',
    ]


def test_of_many_ids_that_met_nothing_the_number_is_told() -> None:
    """A file of ids may hold thousands; those that are almost met are named."""
    ids = compared(
        [f"gone-{n}" for n in range(100_000)], "gone-7", "GONE-8", rule="--exclude-ids", are_ids=True
    )
    assert list(ids.notices()) == [
        (
            '--exclude-ids: 99,999 of 100,000 ids are those of no event that passes the other rules: "gone-0", '
            '"gone-1", "gone-2", "gone-3", "gone-4", …'
        ),
        '--exclude-ids: "gone-8" is the id of no event that passes the other rules; did you mean "GONE-8" (1)?',
    ]


def test_many_names_that_were_not_met_are_not_all_named() -> None:
    """The first ones are enough to see what is wrong."""
    notices = list(compared([f"Name {n}" for n in range(1_000)], "Plain").notices())
    assert len(notices) == MAX_SHOWN + 1
    assert notices[-1] == "--event: 995 more names are met by no event."


def test_nothing_is_said_of_a_list_that_nothing_was_compared_with() -> None:
    """An input without track events has no names."""
    assert list(compared(["A"]).notices()) == []


@given(
    names=st.lists(st.sampled_from(["A", "a", "B x", "b_x", "C1", "zz"]), max_size=12),
    cut=st.integers(0, 12),
)
def test_what_parts_met_is_what_the_whole_meets(names: list[str], cut: int) -> None:
    """Several processes tell what one tells."""
    wanted = ["A", "B x", "C*", "zz*", "none"]
    whole, working, total = compared(wanted, *names), NameList("--event", wanted), NameList("--event", wanted)
    for part in (names[:cut], names[cut:]):
        for name in part:
            working.sees(name)
        total.met.merge(working.cut())
    assert total.met == whole.met
    assert list(total.notices()) == list(whole.notices())
    assert working.cut() == NamesMet(others=working.met.others)


def test_memory_is_bounded_whatever_names_events_have() -> None:
    """Further names are counted together."""
    names = compared(["A"], *[f"{n}" for n in range(2 * MAX_KEYS)])
    assert len(names.met.others.by_name) == MAX_KEYS
    assert names.met.seen == 2 * MAX_KEYS
