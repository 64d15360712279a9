"""How many calls and tokens judging takes, and what it costs."""

from dataclasses import replace

import pytest

from recipekit.judges.llm_judge.workload import CallTokens, Workload, workload
from recipekit.llm.pricing import TokenPrice, price_of

CHEAP = TokenPrice(input=0.15, output=0.60)
CALL = CallTokens(query=10, passage=120, overhead=650, in_per_passage=6, out_per_passage=6)


def test_half_a_million_queries_with_a_hundred_passages_each():
    """7.62 B tokens in and 0.30 B out cost $1,323."""
    work = workload(CALL, queries=500_000, pairs_per_query=100, passages_per_call=25, price=CHEAP)
    assert work.pairs == 50_000_000
    assert work.calls == 2_000_000
    assert work.tokens_in == pytest.approx(7.62e9, rel=0.02)
    assert work.tokens_out == pytest.approx(0.30e9, rel=0.02)
    assert work.usd == pytest.approx(1323, rel=0.02)


def test_the_last_call_of_a_query_may_be_partial():
    """10 passages at 4 per call are calls of 4, 4 and 2."""
    work = workload(CALL, queries=2, pairs_per_query=10, passages_per_call=4)
    assert (work.pairs, work.calls) == (20, 6)
    assert work.tokens_in == 6 * (10 + 650) + 20 * (120 + 6)
    assert work.tokens_out == 20 * 6


@pytest.mark.parametrize(
    ("pairs", "size", "strata", "calls"),
    [
        (20, 10, 1, 2),
        (20, 10, 2, 3),  # 1 and 19
        (20, 10, 3, 4),  # 1, 1 and 18
        (2, 10, 3, 2),  # no more calls than pairs
        (20, 1, 3, 20),
    ],
)
def test_each_stratum_may_leave_a_call_partly_empty(pairs, size, strata, calls):
    work = workload(CALL, queries=5, pairs_per_query=pairs, passages_per_call=size, strata=strata)
    assert work.calls == 5 * calls


def test_votes_multiply_everything_but_the_pairs():
    once, thrice = (
        workload(
            CALL,
            queries=7,
            pairs_per_query=9,
            passages_per_call=4,
            price=CHEAP,
            requests_per_minute=60,
            votes=votes,
        )
        for votes in (1, 3)
    )
    assert thrice.pairs == once.pairs
    for name in ("calls", "tokens_in", "tokens_out", "usd", "hours"):
        assert getattr(thrice, name) == pytest.approx(3 * getattr(once, name))


def test_a_share_of_the_queries_may_be_repeated():
    work = workload(CALL, queries=100, pairs_per_query=10, passages_per_call=10, votes=1.05)
    assert (work.pairs, work.calls) == (1000, 105)
    assert work.tokens_out == 1050 * 6


def test_references_cached_and_reasoning_tokens_are_paid_for():
    price = TokenPrice(input=1e6, cached_input=0.5e6, output=1e6)
    tokens = CallTokens(
        query=10, reference=30, overhead=60, passage=20, out_per_call=7, reasoning=40, cached=50
    )
    work = workload(tokens, queries=2, pairs_per_query=5, passages_per_call=5, price=price)
    assert (work.tokens_in, work.tokens_cached, work.tokens_out) == (2 * 200, 2 * 50, 2 * 47)
    assert work.usd == pytest.approx(2 * (150 * 1.0 + 50 * 0.5 + 47 * 1.0))


def test_the_price_of_long_prompts_depends_on_the_call_not_on_the_sum():
    price = price_of("gemini/gemini-2.5-pro")  # dearer above 200,000 tokens
    short, long = (
        workload(
            CallTokens(query=0, passage=passage, overhead=0),
            queries=10,
            pairs_per_query=1,
            passages_per_call=1,
            price=price,
        )
        for passage in (190_000, 380_000)
    )
    assert long.usd == pytest.approx(4 * short.usd)


def test_the_tighter_rate_limit_sets_the_hours():
    tokens = CallTokens(query=0, passage=90, overhead=0, out_per_call=10)
    job = {"queries": 600, "pairs_per_query": 1, "passages_per_call": 1}
    assert workload(tokens, **job).hours is None
    assert workload(tokens, **job, requests_per_minute=10).hours == 1.0
    both = workload(tokens, **job, requests_per_minute=10, tokens_per_minute=500)
    assert both.hours == 2.0


def test_no_queries_cost_nothing_and_no_price_gives_no_cost():
    nothing = workload(CALL, queries=0, pairs_per_query=100, passages_per_call=25, price=CHEAP)
    assert nothing == Workload(0, 0, 0, 0, 0, 0.0, None)
    cheaper = replace(CALL, cached=10)
    assert workload(cheaper, queries=5, pairs_per_query=1, passages_per_call=1).usd is None
