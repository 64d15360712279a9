"""Reservations, settlements and limits, also across processes and kills."""

import subprocess
import sys
from fractions import Fraction

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle as Reservations
from hypothesis.stateful import RuleBasedStateMachine, consumes, invariant, rule

from helpers.llm_requests import ask
from recipekit.component.context import Account, Spending
from recipekit.errors import ComponentError
from recipekit.llm.budget import Budget, require_price
from recipekit.llm.completion import Reply, Usage
from recipekit.llm.pricing import TokenPrice
from recipekit.llm.reply_cache import ReplyCache


def limited(*account, **limits):
    return Spending((Account(*account, **limits),))


def with_own_limits(**own):
    """A recipe that may spend 1 USD in 25 calls, and its stage that may spend less."""
    recipe = Account("judging", max_cost_usd=1.0, max_calls=25)
    return Spending((recipe, Account("judging/judge", **own, limits="judge.spending")))


@pytest.fixture
def cache(tmp_path):
    with ReplyCache(tmp_path / "calls.sqlite") as cache:
        yield cache


def test_a_call_is_charged_at_its_worst_case_until_it_is_settled(cache):
    budget = Budget(cache, limited("judging", max_cost_usd=1.0))
    reservation = budget.reserve(0.6)
    assert (budget.charged_usd, budget.calls, budget.in_flight) == (0.6, 1, 1)
    assert budget.reserve(0.6) is None, "0.6 + 0.6 may exceed the limit"
    reservation.settle(0.1)
    assert (budget.charged_usd, budget.calls, budget.in_flight) == (0.1, 1, 0)
    assert budget.reserve(0.6) is not None


@pytest.mark.parametrize("limits", [{"max_cost_usd": 1e9}, {"max_calls": 10**20}])
def test_a_limit_may_be_larger_than_any_amount(cache, limits):
    assert Budget(cache, limited("judging", **limits)).reserve(0.6) is not None


def test_a_limit_can_be_spent_to_the_last_cent(cache):
    """Ten times 0.1 is more than 1.0 in floats, and exactly 1.0 in integer units."""
    budget = Budget(cache, limited("judging", max_cost_usd=1.0))
    assert all(budget.reserve(0.1) for _ in range(10))
    assert budget.reserve(1e-12) is None
    assert budget.refused_usd == 1e-12


def test_a_released_call_does_not_count(cache):
    budget = Budget(cache, limited("judging", max_cost_usd=1.0, max_calls=1))
    budget.reserve(1.0).release()
    assert (budget.charged_usd, budget.calls, budget.in_flight) == (0, 0, 0)
    assert budget.reserve(1.0) is not None


def test_calls_in_flight_count_towards_max_calls(cache):
    budget = Budget(cache, limited("judging", max_calls=2))
    first, second = budget.reserve(None), budget.reserve(None)
    assert first and second
    assert budget.reserve(None) is None
    first.settle(None)
    assert budget.reserve(None) is None
    assert budget.calls == 2


def test_a_call_of_unknown_cost_stays_charged_at_its_worst_case(cache):
    budget = Budget(cache, limited("judging", max_cost_usd=1.0))
    budget.reserve(0.3).settle(None)
    assert budget.charged_usd == 0.3


def test_an_endpoint_that_bills_more_than_the_worst_case_is_charged_as_it_bills(cache):
    budget = Budget(cache, limited("judging", max_cost_usd=1.0))
    budget.reserve(0.3).settle(1.5)
    assert budget.charged_usd == 1.5
    assert budget.reserve(0.0001) is None


def test_a_reply_is_kept_and_settled_in_one_commit(cache):
    budget = Budget(cache, limited("judging", max_cost_usd=1.0))
    reservation = budget.reserve(0.3)
    with pytest.raises(KeyError), cache.transaction():
        cache.keep(ask(1), Reply("yes", "m", Usage(1, 0, 1), 0.1, 0.2))
        reservation.settle(0.1)
        raise KeyError
    assert cache.find(ask(1).key) is None
    assert budget.charged_usd == 0.3


def test_judges_of_one_artifact_share_a_ledger(tmp_path, cache):
    spending = limited("judging", max_cost_usd=1.0, max_calls=3)
    Budget(cache, spending).reserve(0.6).settle(0.6)
    with ReplyCache(tmp_path / "calls.sqlite") as again:
        second = Budget(again, spending)
        assert (second.charged_usd, second.calls) == (0.6, 1)
        assert second.reserve(0.6) is None
        assert second.reserve(0.4) is not None
    other = Budget(cache, limited("another artifact's", max_cost_usd=1.0))
    assert (other.charged_usd, other.calls) == (0, 0)


def test_a_raised_limit_lets_the_next_attempt_continue(cache):
    assert Budget(cache, limited("judging", max_cost_usd=1.0)).reserve(1.0)
    assert Budget(cache, limited("judging", max_cost_usd=1.0)).reserve(0.5) is None
    assert Budget(cache, limited("judging", max_cost_usd=2.0)).reserve(0.5)


def test_a_limit_in_usd_needs_a_price(cache):
    wanted = "needs the price of hosted_vllm/x, which litellm does not know: give `price: "
    with pytest.raises(ComponentError, match=wanted):
        require_price("hosted_vllm/x", None, 1.0)
    require_price("hosted_vllm/x", TokenPrice(input=0, output=0), 1.0)
    require_price("hosted_vllm/x", None, None)
    with pytest.raises(ValueError, match="the price is not known"):
        Budget(cache, limited(max_cost_usd=1.0)).reserve(None)


# A stage's own limits
# -------------------------------------------------------------------------------------------------


def test_a_call_is_booked_to_the_recipe_and_to_its_stage(cache):
    stage = Budget(cache, with_own_limits(max_cost_usd=0.5, max_calls=3))
    recipe, own = (Budget(cache, limited(name)) for name in ("judging", "judging/judge"))
    first, second, third = (stage.reserve(0.1) for _ in range(3))
    assert [(each.charged_usd, each.calls) for each in (recipe, own)] == [(0.3, 3)] * 2
    first.settle(0.05)
    second.release()
    third.settle(None)
    assert [(each.charged_usd, each.calls) for each in (recipe, own)] == [(0.15, 2)] * 2


@pytest.mark.parametrize(
    ("own", "before", "usd", "reached"),
    [
        ({"max_cost_usd": 0.5}, 0.3, 0.3, ["judge.spending.max_cost_usd"]),
        ({"max_calls": 1}, 0.3, 0.3, ["judge.spending.max_calls"]),
        ({"max_calls": 2}, 0.3, 0.9, ["spending.max_cost_usd"]),
        ({"max_cost_usd": 0.5, "max_calls": 1}, 0.3, 0.9, [
            "spending.max_cost_usd", "judge.spending.max_cost_usd", "judge.spending.max_calls",
        ]),
    ],
)  # fmt: skip
def test_a_call_that_one_account_does_not_allow_is_booked_to_none(cache, own, before, usd, reached):
    budget = Budget(cache, with_own_limits(**own))
    assert budget.limits_reached == []
    assert budget.reserve(before)
    assert budget.reserve(usd) is None
    assert budget.limits_reached == reached
    for name in ("judging", "judging/judge"):
        assert Budget(cache, limited(name)).charged_usd == before


def test_another_stage_is_limited_by_the_recipe_alone(cache):
    assert Budget(cache, with_own_limits(max_cost_usd=0.5)).reserve(0.5)
    other = Budget(cache, limited("judging", max_cost_usd=1.0))
    assert other.reserve(0.5)
    assert other.reserve(0.1) is None


# Processes
# -------------------------------------------------------------------------------------------------

RESERVE = """
import sys
from pathlib import Path
from recipekit.component.context import Account, Spending
from recipekit.llm.budget import Budget
from recipekit.llm.reply_cache import ReplyCache

accounts = (Account("judging", 1.0), Account("judging/judge", float(sys.argv[2])))
budget = Budget(ReplyCache(Path(sys.argv[1])), Spending(accounts))
number = 0
while budget.reserve(0.001) is not None:
    number += 1
    print(number, flush=True)
"""


def start_reserving(file, own_limit=1.0):
    command = [sys.executable, "-c", RESERVE, str(file), str(own_limit)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_calls_in_flight_at_a_kill_stay_charged(tmp_path):
    file = tmp_path / "calls.sqlite"
    process = start_reserving(file)
    for line in process.stdout:
        if int(line) == 20:
            process.kill()
            break
    process.communicate()
    with ReplyCache(file) as cache:
        recipe, own = (Budget(cache, limited(name)) for name in ("judging", "judging/judge"))
        assert recipe.calls == own.calls >= 20
        for budget in (recipe, own):
            assert budget.charged_usd == pytest.approx(budget.calls * 0.001, abs=1e-12)


@pytest.mark.parametrize("own_limit", [1.0, 0.4])
def test_concurrent_processes_never_exceed_a_limit_together(tmp_path, own_limit):
    file = tmp_path / "calls.sqlite"
    processes = [start_reserving(file, own_limit) for _ in range(3)]
    reserved = sum(process.communicate()[0].count("\n") for process in processes)
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert reserved == 1000 * own_limit
    # After a kill or an end, the next attempt finds both accounts where they were.
    with ReplyCache(file) as cache:
        accounts = (Account("judging", 1.0), Account("judging/judge", own_limit))
        assert Budget(cache, Spending(accounts)).reserve(0.001) is None
        recipe_alone = Budget(cache, limited("judging", max_cost_usd=1.0))
        assert (recipe_alone.reserve(0.001) is None) == (own_limit == 1.0)


# Any order
# -------------------------------------------------------------------------------------------------

LIMIT, OWN_LIMIT, MAX_CALLS = Fraction(1), Fraction(3, 5), 25
USD = st.fractions(0, Fraction(2, 5), max_denominator=10**9)
SHARE = st.fractions(0, 1, max_denominator=1000)


class AnyOrder(RuleBasedStateMachine):
    """Reserve, settle and release in any order: no charge ever exceeds its limit.

    A second stage spends from the recipe's account, and has no limit of its own.
    """

    reservations = Reservations("reservations")

    def __init__(self) -> None:
        super().__init__()
        self.cache = ReplyCache(None)
        recipe = Account("judging", float(LIMIT), MAX_CALLS)
        own = Account("judging/judge", float(OWN_LIMIT))
        self.budget = Budget(self.cache, Spending((recipe,)))
        self.judge = Budget(self.cache, Spending((recipe, own)))
        self.own = Budget(self.cache, Spending((own,)))
        self.charged = {self.budget: Fraction(0), self.judge: Fraction(0)}
        self.calls = 0

    @rule(target=reservations, usd=USD, judging=st.booleans())
    def reserve(self, usd, judging):
        budget = self.judge if judging else self.budget
        total, own = sum(self.charged.values()) + usd, self.charged[self.judge] + usd
        fits = total <= LIMIT and self.calls < MAX_CALLS and not (judging and own > OWN_LIMIT)
        reservation = budget.reserve(float(usd))
        # On the limit, units of 1e-12 decide.
        on_limit = min(abs(total - LIMIT), abs(own - OWN_LIMIT)) <= Fraction(1, 10**9)
        assert on_limit or (reservation is not None) == fits
        if reservation is not None:
            self.charged[budget] += usd
            self.calls += 1
        return reservation, usd, budget

    @rule(reservation=consumes(reservations), share=SHARE)
    def settle(self, reservation, share):
        reserved, usd, budget = reservation
        if reserved is not None:
            reserved.settle(float(usd * share))
            self.charged[budget] -= usd * (1 - share)

    @rule(reservation=consumes(reservations))
    def release(self, reservation):
        reserved, usd, budget = reservation
        if reserved is not None:
            reserved.release()
            self.charged[budget] -= usd
            self.calls -= 1

    @invariant()
    def never_exceeds_a_limit(self):
        assert self.budget.charged_usd <= 1.0
        assert self.own.charged_usd <= 0.6
        assert self.budget.calls == self.calls <= MAX_CALLS
        charged = self.charged[self.judge]
        assert self.own.charged_usd == pytest.approx(float(charged), abs=1e-10)
        charged = sum(self.charged.values())
        assert self.budget.charged_usd == pytest.approx(float(charged), abs=1e-10)

    def teardown(self):
        self.cache.close()


AnyOrder.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
test_any_order = pytest.mark.slow(AnyOrder.TestCase)


def test_nothing_is_reserved_for_a_request_whose_reply_another_process_has_stored(tmp_path):
    request = ask("q")
    with ReplyCache(tmp_path / "calls.sqlite") as cache, ReplyCache(cache.path) as other:
        budget = Budget(cache, limited("judging", 1.0))
        assert budget.reserve(0.1, request.key) is not None
        other.keep(request, Reply("yes", "m", Usage(), 0.1, 0.2))
        assert budget.reserve(0.1, request.key) is None
        assert (budget.calls, budget.refused_usd) == (1, None)
        assert budget.reserve(2.0) is None
        assert budget.refused_usd == 2.0
