"""Which passages are asked about together and in which order, and what is planted among them."""

from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipekit.judges.llm_judge.groups import Plan, QueryTexts
from recipekit.judges.language_model.texts import Shown
from recipekit.judges.llm_judge.canaries import OFF_TOPIC, canary, kinds_for
from recipekit.llm.work import work

QUERY = "question number 0"


def texts(*passages, query=QUERY, strata=None):
    n = len(passages)
    return QueryTexts(
        0,
        Shown(query, False),
        tuple(Shown(text, False) for text in passages),
        tuple(range(n)),
        strata or (0,) * n,
    )


def numbered(n):
    return [f"passage number {row} says something" for row in range(n)]


def places(plan, asked):
    return [[item.place for item in group.items] for group in plan.groups(asked)]


# Orders
# --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "orders"),
    [
        (1, [[0]]),
        (2, [[1, 0]]),
        (3, [[2, 1, 0]]),
        (5, [[2, 3, 4, 1, 0]]),
        (12, [[2, 8, 7, 5, 3, 4, 1, 9, 0, 6], [11, 10]]),
    ],
)
def test_the_first_vote_has_the_order_under_which_paid_answers_are_kept(n, orders):
    """Written down from the first release: another order asks, and pays, everything anew."""
    assert places(Plan(13, 10, votes=1, repeat=0.0, canaries=0.0), texts(*numbered(n))) == orders
    firsts = [
        group
        for group in Plan(13, 10, votes=3, repeat=0.0, canaries=1.0).groups(texts(*numbered(n)))
        if group.vote == 0
    ]
    assert [
        [item.place for item in group.items if item.place is not None] for group in firsts
    ] == orders


@given(
    n=st.integers(1, 5),
    votes=st.integers(1, 25),
    seed=st.integers(0, 1000),
    canaries=st.sampled_from([0.0, 1.0]),
)
@settings(deadline=None, max_examples=60)
def test_every_vote_has_an_order_of_its_own_as_long_as_there_are_orders(n, votes, seed, canaries):
    groups = list(Plan(seed, 10, votes, repeat=0.0, canaries=canaries).groups(texts(*numbered(n))))
    orders = [
        tuple(item.place for item in group.items if item.place is not None) for group in groups
    ]
    assert len(orders) == len(set(orders)) == min(votes, len(list(permutations(range(n)))))
    assert [group.vote for group in groups] == list(range(len(groups)))


def test_passages_of_the_same_words_have_fewer_orders():
    assert (
        len(places(Plan(13, 10, votes=5, repeat=0.0, canaries=0.0), texts("one", "one", "two")))
        == 2
    )
    assert len(places(Plan(13, 10, votes=5, repeat=1.0, canaries=0.0), texts("one", "one"))) == 1


def test_a_repeat_has_another_order_than_the_votes_or_is_none():
    plan = Plan(13, 10, votes=2, repeat=1.0, canaries=0.0)
    assert places(plan, texts(*numbered(2))) == [[1, 0], [0, 1]]
    assert [group.vote for group in plan.groups(texts(*numbered(3)))] == [0, 1, 2]


def test_where_answers_vary_orders_are_asked_again():
    plan = Plan(13, 10, votes=5, repeat=0.0, canaries=0.0, steady=False)
    assert places(plan, texts(*numbered(2))) == [[1, 0], [0, 1], [1, 0], [0, 1], [1, 0]]
    assert [group.vote for group in plan.groups(texts(*numbered(1)))] == [0, 1, 2, 3, 4]


@given(strata=st.lists(st.integers(0, 2), min_size=1, max_size=30), size=st.integers(1, 12))
def test_the_calls_that_are_foreseen_are_the_most_that_there_can_be(strata, size):
    calls = len(
        places(
            Plan(13, size, votes=1, repeat=0.0, canaries=0.0),
            texts(*numbered(len(strata)), strata=tuple(strata)),
        )
    )
    nothing = {"query_tokens": 0, "passage_tokens": 0, "overhead_tokens": 0}
    assert (
        calls
        <= work(
            queries=1, pairs_per_query=len(strata), passages_per_call=size, strata=3, **nothing
        ).calls
    )


# Canaries
# ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query", ["insulin", "heart attack", "heart - attack", "糖尿病的治疗方法有哪些", "no no no"]
)
def test_a_query_too_short_to_be_stuffed_gets_the_injected_canary(query):
    assert kinds_for(query) == ("injected",)
    groups = [
        group
        for row in range(20)
        for group in Plan(13, 1, 1, 0.0, 1.0).groups(texts(str(row), query=query))
    ]
    planted = [item for group in groups for item in group.items if item.canary]
    assert len(planted) == 20
    assert all(item.canary == "injected" and item.text.startswith(OFF_TOPIC) for item in planted)


@pytest.mark.parametrize("query", ["what causes acne", QUERY, "how to treat a cold"])
def test_a_stuffed_canary_holds_the_querys_words_and_never_the_query(query):
    assert kinds_for(query) == ("stuffed", "injected")
    stuffed = canary("stuffed", query)
    assert set(stuffed.replace(".", "").split()) == set(query.split())
    assert query not in stuffed
