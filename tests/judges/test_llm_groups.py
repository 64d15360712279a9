"""Which passages share a call, in which order, and which canaries are planted."""

from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipekit.judges.llm_judge.canaries import OFF_TOPIC, canary_kinds, canary_text
from recipekit.judges.llm_judge.groups import GroupPlan
from recipekit.judges.llm_judge.texts import PromptText, QueryTexts
from recipekit.judges.llm_judge.workload import CallTokens, workload

QUERY = "question number 0"


def texts(*passages, query=QUERY, strata=None):
    n = len(passages)
    return QueryTexts(
        0,
        PromptText(query, False),
        tuple(PromptText(text, False) for text in passages),
        tuple(range(n)),
        strata or (0,) * n,
    )


def numbered(n):
    return [f"passage number {row} says something" for row in range(n)]


def indices(plan, texts):
    return [[item.index for item in group.items] for group in plan.groups(texts)]


# Orders
# --------------------------------------------------------------------------------------------------


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
def test_the_order_of_the_first_vote_never_changes(n, orders):
    """With another order, every earlier reply would be paid for again."""
    assert (
        indices(GroupPlan(13, 10, votes=1, repeat_share=0.0, canary_share=0.0), texts(*numbered(n)))
        == orders
    )
    firsts = [
        group
        for group in GroupPlan(13, 10, votes=3, repeat_share=0.0, canary_share=1.0).groups(
            texts(*numbered(n))
        )
        if group.vote == 0
    ]
    assert [
        [item.index for item in group.items if item.index is not None] for group in firsts
    ] == orders


@given(
    n=st.integers(1, 5),
    votes=st.integers(1, 25),
    seed=st.integers(0, 1000),
    canary_share=st.sampled_from([0.0, 1.0]),
)
@settings(deadline=None, max_examples=60)
def test_every_vote_has_its_own_order_while_there_are_orders(n, votes, seed, canary_share):
    groups = list(
        GroupPlan(seed, 10, votes, repeat_share=0.0, canary_share=canary_share).groups(
            texts(*numbered(n))
        )
    )
    orders = [
        tuple(item.index for item in group.items if item.index is not None) for group in groups
    ]
    assert len(orders) == len(set(orders)) == min(votes, len(list(permutations(range(n)))))
    assert [group.vote for group in groups] == list(range(len(groups)))


def test_equal_passages_have_fewer_orders():
    assert (
        len(
            indices(
                GroupPlan(13, 10, votes=5, repeat_share=0.0, canary_share=0.0),
                texts("one", "one", "two"),
            )
        )
        == 2
    )
    assert (
        len(
            indices(
                GroupPlan(13, 10, votes=5, repeat_share=1.0, canary_share=0.0), texts("one", "one")
            )
        )
        == 1
    )


def test_a_repeat_has_another_order_than_the_votes():
    plan = GroupPlan(13, 10, votes=2, repeat_share=1.0, canary_share=0.0)
    assert indices(plan, texts(*numbered(2))) == [[1, 0], [0, 1]]
    assert [group.vote for group in plan.groups(texts(*numbered(3)))] == [0, 1, 2]


def test_orders_repeat_if_replies_vary():
    plan = GroupPlan(13, 10, votes=5, repeat_share=0.0, canary_share=0.0, deterministic=False)
    assert indices(plan, texts(*numbered(2))) == [[1, 0], [0, 1], [1, 0], [0, 1], [1, 0]]
    assert [group.vote for group in plan.groups(texts(*numbered(1)))] == [0, 1, 2, 3, 4]


@given(strata=st.lists(st.integers(0, 2), min_size=1, max_size=30), size=st.integers(1, 12))
def test_the_estimated_calls_are_an_upper_bound(strata, size):
    calls = len(
        indices(
            GroupPlan(13, size, votes=1, repeat_share=0.0, canary_share=0.0),
            texts(*numbered(len(strata)), strata=tuple(strata)),
        )
    )
    nothing = CallTokens(0, 0, 0)
    assert (
        calls
        <= workload(
            nothing, queries=1, pairs_per_query=len(strata), passages_per_call=size, strata=3
        ).calls
    )


# Canaries
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query", ["insulin", "heart attack", "heart - attack", "糖尿病的治疗方法有哪些", "no no no"]
)
def test_a_query_too_short_to_be_stuffed_gets_the_injected_canary(query):
    assert canary_kinds(query) == ("injected",)
    groups = [
        group
        for row in range(20)
        for group in GroupPlan(13, 1, 1, 0.0, 1.0).groups(texts(str(row), query=query))
    ]
    planted = [item for group in groups for item in group.items if item.canary]
    assert len(planted) == 20
    assert all(item.canary == "injected" and item.text.startswith(OFF_TOPIC) for item in planted)


@pytest.mark.parametrize("query", ["what causes acne", QUERY, "how to treat a cold"])
def test_a_stuffed_canary_has_the_querys_words_but_not_the_query(query):
    assert canary_kinds(query) == ("stuffed", "injected")
    stuffed = canary_text("stuffed", query)
    assert set(stuffed.replace(".", "").split()) == set(query.split())
    assert query not in stuffed
