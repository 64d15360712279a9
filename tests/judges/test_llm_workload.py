import pytest

from recipekit.llm.pricing import GivenPrice, Price, price_of
from recipekit.llm.work import Work, work

CHEAP = price_of("any", GivenPrice(input=0.15, output=0.60))
CALL = {
    "query_tokens": 10,
    "passage_tokens": 120,
    "overhead_tokens": 650,
    "in_per_passage": 6,
    "out_per_passage": 6,
}


def test_half_a_million_queries_with_a_hundred_passages_each():
    """METHODS §4: 7.62 B tokens in, 0.30 B out, $1,323."""
    job = work(queries=500_000, pairs_per_query=100, passages_per_call=25, **CALL, price=CHEAP)
    assert job.pairs == 50_000_000
    assert job.calls == 2_000_000
    assert job.tokens_in == pytest.approx(7.62e9, rel=0.02)
    assert job.tokens_out == pytest.approx(0.30e9, rel=0.02)
    assert job.usd == pytest.approx(1323, rel=0.02)


def test_the_last_call_of_a_query_may_be_partial():
    """10 passages at 4 a call are calls of 4, 4 and 2: three times the overhead, ten passages."""
    job = work(queries=2, pairs_per_query=10, passages_per_call=4, **CALL)
    assert (job.pairs, job.calls) == (20, 6)
    assert job.tokens_in == 6 * (10 + 650) + 20 * (120 + 6)
    assert job.tokens_out == 20 * 6


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
def test_pairs_that_share_no_call_may_leave_calls_partly_empty(pairs, size, strata, calls):
    assert (
        work(queries=5, pairs_per_query=pairs, passages_per_call=size, strata=strata, **CALL).calls
        == 5 * calls
    )


def test_votes_ask_everything_again():
    once = work(
        queries=7,
        pairs_per_query=9,
        passages_per_call=4,
        **CALL,
        price=CHEAP,
        requests_per_minute=60,
    )
    thrice = work(
        queries=7,
        pairs_per_query=9,
        passages_per_call=4,
        **CALL,
        price=CHEAP,
        requests_per_minute=60,
        votes=3,
    )
    assert thrice.pairs == once.pairs
    assert (thrice.calls, thrice.tokens_in, thrice.tokens_out) == (
        3 * once.calls,
        3 * once.tokens_in,
        3 * once.tokens_out,
    )
    assert (thrice.usd, thrice.hours) == (
        pytest.approx(3 * once.usd),
        pytest.approx(3 * once.hours),
    )


def test_a_share_may_be_asked_again():
    job = work(queries=100, pairs_per_query=10, passages_per_call=10, **CALL, votes=1.05)
    assert (job.pairs, job.calls) == (1000, 105)
    assert job.tokens_out == 1050 * 6


def test_the_reference_the_cache_and_reasoning_have_their_price():
    price = Price(input=1.0, cached=0.5, output=10.0, reasoning=20.0)
    job = work(
        queries=2,
        pairs_per_query=5,
        passages_per_call=5,
        query_tokens=10,
        reference_tokens=30,
        overhead_tokens=60,
        passage_tokens=20,
        out_per_call=7,
        reasoning_per_call=40,
        cached_per_call=50,
        price=price,
    )
    assert (job.tokens_in, job.tokens_cached, job.tokens_out) == (2 * 200, 2 * 50, 2 * 47)
    assert job.usd == 2 * (150 * 1.0 + 50 * 0.5 + 7 * 10.0 + 40 * 20.0)


def test_the_price_of_long_prompts_is_chosen_by_the_call_not_by_the_sum():
    price = Price(1.0, 1.0, 1.0, 1.0, above=((1000, Price(2.0, 2.0, 2.0, 2.0)),))
    short = work(
        queries=10,
        pairs_per_query=1,
        passages_per_call=1,
        query_tokens=0,
        passage_tokens=900,
        overhead_tokens=0,
        price=price,
    )
    long = work(
        queries=10,
        pairs_per_query=1,
        passages_per_call=1,
        query_tokens=0,
        passage_tokens=1100,
        overhead_tokens=0,
        price=price,
    )
    assert (short.usd, long.usd) == (9000, 22_000)


def test_the_tighter_limit_sets_the_time():
    job = {
        "queries": 600,
        "pairs_per_query": 1,
        "passages_per_call": 1,
        "query_tokens": 0,
        "passage_tokens": 90,
        "overhead_tokens": 0,
    }
    assert work(**job, out_per_call=10).hours is None
    assert work(**job, out_per_call=10, requests_per_minute=10).hours == 1.0
    assert work(**job, out_per_call=10, requests_per_minute=10, tokens_per_minute=500).hours == 2.0


def test_nothing_to_do_costs_nothing():
    assert work(queries=0, pairs_per_query=100, passages_per_call=25, **CALL, price=CHEAP) == Work(
        0, 0, 0, 0, 0, 0.0, None
    )
    assert work(queries=5, pairs_per_query=1, passages_per_call=1, **CALL).usd is None
