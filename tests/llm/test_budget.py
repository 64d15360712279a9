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
from recipekit.component.context import Spending
from recipekit.errors import ComponentError
from recipekit.llm.budget import Budget, require_price
from recipekit.llm.completion import Reply, Usage
from recipekit.llm.pricing import TokenPrice
from recipekit.llm.reply_cache import ReplyCache


@pytest.fixture
def cache(tmp_path):
    with ReplyCache(tmp_path / "calls.sqlite") as cache:
        yield cache


def test_a_call_is_charged_at_its_worst_case_until_it_is_settled(cache):
    budget = Budget(cache, Spending("judging", max_cost_usd=1.0))
    reservation = budget.reserve(0.6)
    assert (budget.charged_usd, budget.calls, budget.in_flight) == (0.6, 1, 1)
    assert budget.reserve(0.6) is None, "0.6 + 0.6 may exceed the limit"
    reservation.settle(0.1)
    assert (budget.charged_usd, budget.calls, budget.in_flight) == (0.1, 1, 0)
    assert budget.reserve(0.6) is not None


@pytest.mark.parametrize("limits", [{"max_cost_usd": 1e9}, {"max_calls": 10**20}])
def test_a_limit_may_be_larger_than_any_amount(cache, limits):
    assert Budget(cache, Spending("judging", **limits)).reserve(0.6) is not None


def test_a_limit_can_be_spent_to_the_last_cent(cache):
    """Ten times 0.1 is more than 1.0 in floats, and exactly 1.0 in integer units."""
    budget = Budget(cache, Spending("judging", max_cost_usd=1.0))
    assert all(budget.reserve(0.1) for _ in range(10))
    assert budget.reserve(1e-12) is None
    assert budget.refused_usd == 1e-12


def test_a_released_call_does_not_count(cache):
    budget = Budget(cache, Spending("judging", max_cost_usd=1.0, max_calls=1))
    budget.reserve(1.0).release()
    assert (budget.charged_usd, budget.calls, budget.in_flight) == (0, 0, 0)
    assert budget.reserve(1.0) is not None


def test_calls_in_flight_count_towards_max_calls(cache):
    budget = Budget(cache, Spending("judging", max_calls=2))
    first, second = budget.reserve(None), budget.reserve(None)
    assert first and second
    assert budget.reserve(None) is None
    first.settle(None)
    assert budget.reserve(None) is None
    assert budget.calls == 2


def test_a_call_of_unknown_cost_stays_charged_at_its_worst_case(cache):
    budget = Budget(cache, Spending("judging", max_cost_usd=1.0))
    budget.reserve(0.3).settle(None)
    assert budget.charged_usd == 0.3


def test_an_endpoint_that_bills_more_than_the_worst_case_is_charged_as_it_bills(cache):
    budget = Budget(cache, Spending("judging", max_cost_usd=1.0))
    budget.reserve(0.3).settle(1.5)
    assert budget.charged_usd == 1.5
    assert budget.reserve(0.0001) is None


def test_a_reply_is_kept_and_settled_in_one_commit(cache):
    budget = Budget(cache, Spending("judging", max_cost_usd=1.0))
    reservation = budget.reserve(0.3)
    with pytest.raises(KeyError), cache.transaction():
        cache.keep(ask(1), Reply("yes", "m", Usage(1, 0, 1), 0.1, 0.2))
        reservation.settle(0.1)
        raise KeyError
    assert cache.find(ask(1).key) is None
    assert budget.charged_usd == 0.3


def test_judges_of_one_artifact_share_a_ledger(tmp_path, cache):
    spending = Spending("judging", max_cost_usd=1.0, max_calls=3)
    Budget(cache, spending).reserve(0.6).settle(0.6)
    with ReplyCache(tmp_path / "calls.sqlite") as again:
        second = Budget(again, spending)
        assert (second.charged_usd, second.calls) == (0.6, 1)
        assert second.reserve(0.6) is None
        assert second.reserve(0.4) is not None
    other = Budget(cache, Spending("another artifact's", max_cost_usd=1.0))
    assert (other.charged_usd, other.calls) == (0, 0)


def test_a_raised_limit_lets_the_next_attempt_continue(cache):
    assert Budget(cache, Spending("judging", max_cost_usd=1.0)).reserve(1.0)
    assert Budget(cache, Spending("judging", max_cost_usd=1.0)).reserve(0.5) is None
    assert Budget(cache, Spending("judging", max_cost_usd=2.0)).reserve(0.5)


def test_a_limit_in_usd_needs_a_price(cache):
    wanted = "needs the price of hosted_vllm/x, which litellm does not know: give `price: "
    with pytest.raises(ComponentError, match=wanted):
        require_price("hosted_vllm/x", None, 1.0)
    require_price("hosted_vllm/x", TokenPrice(input=0, output=0), 1.0)
    require_price("hosted_vllm/x", None, None)
    with pytest.raises(ValueError, match="the price is not known"):
        Budget(cache, Spending(max_cost_usd=1.0)).reserve(None)


# Processes
# -------------------------------------------------------------------------------------------------

RESERVE = """
import sys
from pathlib import Path
from recipekit.component.context import Spending
from recipekit.llm.budget import Budget
from recipekit.llm.reply_cache import ReplyCache

budget = Budget(ReplyCache(Path(sys.argv[1])), Spending("judging", max_cost_usd=1.0))
number = 0
while budget.reserve(0.001) is not None:
    number += 1
    print(number, flush=True)
"""


def start_reserving(file):
    command = [sys.executable, "-c", RESERVE, str(file)]
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
        budget = Budget(cache, Spending("judging", max_cost_usd=1.0))
        assert budget.calls >= 20
        assert budget.charged_usd == pytest.approx(budget.calls * 0.001, abs=1e-12)


def test_concurrent_processes_never_exceed_the_limit_together(tmp_path):
    file = tmp_path / "calls.sqlite"
    processes = [start_reserving(file) for _ in range(3)]
    reserved = sum(process.communicate()[0].count("\n") for process in processes)
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert reserved == 1000


# Any order
# -------------------------------------------------------------------------------------------------

LIMIT, MAX_CALLS = Fraction(1), 25
USD = st.fractions(0, Fraction(2, 5), max_denominator=10**9)
SHARE = st.fractions(0, 1, max_denominator=1000)


class AnyOrder(RuleBasedStateMachine):
    """Reserve, settle and release in any order: the charge never exceeds the limit."""

    reservations = Reservations("reservations")

    def __init__(self) -> None:
        super().__init__()
        self.cache = ReplyCache(None)
        spending = Spending("judging", max_cost_usd=float(LIMIT), max_calls=MAX_CALLS)
        self.budget = Budget(self.cache, spending)
        self.charged = Fraction(0)
        self.calls = 0

    @rule(target=reservations, usd=USD)
    def reserve(self, usd):
        fits = self.charged + usd <= LIMIT and self.calls < MAX_CALLS
        reservation = self.budget.reserve(float(usd))
        if abs(self.charged + usd - LIMIT) > Fraction(1, 10**9):  # else units of 1e-12 decide
            assert (reservation is not None) == fits
        if reservation is not None:
            self.charged += usd
            self.calls += 1
        return reservation, usd

    @rule(reservation=consumes(reservations), share=SHARE)
    def settle(self, reservation, share):
        reserved, usd = reservation
        if reserved is not None:
            reserved.settle(float(usd * share))
            self.charged -= usd * (1 - share)

    @rule(reservation=consumes(reservations))
    def release(self, reservation):
        reserved, usd = reservation
        if reserved is not None:
            reserved.release()
            self.charged -= usd
            self.calls -= 1

    @invariant()
    def never_exceeds_the_limit(self):
        assert self.budget.charged_usd <= 1.0
        assert self.budget.calls == self.calls <= MAX_CALLS
        assert self.budget.charged_usd == pytest.approx(float(self.charged), abs=1e-10)

    def teardown(self):
        self.cache.close()


AnyOrder.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
test_any_order = AnyOrder.TestCase


def test_nothing_is_reserved_for_a_request_whose_reply_another_process_has_stored(tmp_path):
    request = ask("q")
    with ReplyCache(tmp_path / "calls.sqlite") as cache, ReplyCache(cache.path) as other:
        budget = Budget(cache, Spending("judging", 1.0))
        assert budget.reserve(0.1, request.key) is not None
        other.keep(request, Reply("yes", "m", Usage(), 0.1, 0.2))
        assert budget.reserve(0.1, request.key) is None
        assert (budget.calls, budget.refused_usd) == (1, None)
        assert budget.reserve(2.0) is None
        assert budget.refused_usd == 2.0
