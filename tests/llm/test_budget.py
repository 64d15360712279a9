import subprocess
import sys
import threading
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle as Numbers
from hypothesis.stateful import RuleBasedStateMachine, consumes, invariant, precondition, rule

from recipekit.component.context import Spending
from recipekit.errors import ComponentError
from recipekit.llm.budget import Budget, require_price
from recipekit.llm.calls import Reply, Request, Usage
from recipekit.llm.prices import Price
from recipekit.llm.store import CallStore


def asking(number: int) -> Request:
    return Request("m", ({"role": "user", "content": f"passage {number}"},), {"max_tokens": 50})


@pytest.fixture
def store(tmp_path):
    with CallStore(tmp_path / "calls.sqlite") as store:
        yield store


def test_a_call_is_booked_at_its_most_and_settled_at_its_cost(store):
    budget = Budget(store, Spending("judging", max_cost_usd=1.0))
    assert budget.reserve(asking(1), 0.6)
    assert (budget.spent_usd, budget.reserved_usd, budget.calls, budget.in_flight) == (0, 0.6, 1, 1)
    assert not budget.reserve(asking(2), 0.6), "0.6 + 0.6 would pass the limit, as far as is known"
    assert not budget.exhausted, "the first may cost less than it might"
    budget.settle(asking(1), 0.1)
    assert (budget.spent_usd, budget.reserved_usd, budget.calls, budget.in_flight) == (0.1, 0, 1, 0)
    assert budget.reserve(asking(2), 0.6)


@pytest.mark.parametrize("limits", [{"max_cost_usd": 1e9}, {"max_calls": 10**20}])
def test_a_limit_too_large_to_matter_is_none(store, limits):
    assert Budget(store, Spending("judging", **limits)).reserve(asking(1), 0.6)


def test_exhausted_when_nothing_in_flight_can_make_room(store):
    budget = Budget(store, Spending("judging", max_cost_usd=1.0))
    assert budget.reserve(asking(1), 0.7)
    budget.settle(asking(1), 0.7)
    assert not budget.reserve(asking(2), 0.4)
    assert budget.exhausted


def test_a_limit_can_be_spent_to_the_last_cent(store):
    """Ten times 0.1 is more than 1.0 to floats, and exactly 1.0 to whole units."""
    budget = Budget(store, Spending("judging", max_cost_usd=1.0))
    for i in range(10):
        assert budget.reserve(asking(i), 0.1)
    assert not budget.reserve(asking(10), 1e-12)


def test_a_released_call_was_none(store):
    budget = Budget(store, Spending("judging", max_cost_usd=1.0, max_calls=1))
    assert budget.reserve(asking(1), 1.0)
    budget.release(asking(1))
    assert (budget.spent_usd, budget.reserved_usd, budget.calls) == (0, 0, 0)
    assert budget.reserve(asking(1), 1.0)


def test_calls_in_flight_count_towards_the_most_calls(store):
    budget = Budget(store, Spending("judging", max_calls=2))
    assert budget.reserve(asking(1), None)
    assert budget.reserve(asking(2), None)
    assert not budget.reserve(asking(3), None)
    budget.settle(asking(1), None)
    assert not budget.reserve(asking(3), None)
    assert budget.calls == 2


def test_the_same_question_may_be_in_flight_twice(store):
    budget = Budget(store, Spending("judging", max_cost_usd=1.0))
    assert budget.reserve(asking(1), 0.3)
    assert budget.reserve(asking(1), 0.2)
    budget.settle(asking(1), 0.1)
    budget.settle(asking(1), 0.1)
    assert (budget.spent_usd, budget.reserved_usd, budget.calls) == (0.2, 0, 2)


def test_a_cost_that_is_not_known_is_the_whole_reservation(store):
    budget = Budget(store, Spending("judging", max_cost_usd=1.0))
    assert budget.reserve(asking(1), 0.3)
    budget.settle(asking(1), None)
    assert budget.spent_usd == 0.3


def test_an_endpoint_that_bills_more_than_its_prices_is_booked_as_it_bills(store):
    budget = Budget(store, Spending("judging", max_cost_usd=1.0))
    assert budget.reserve(asking(1), 0.3)
    budget.settle(asking(1), 1.5)
    assert budget.spent_usd == 1.5
    assert not budget.reserve(asking(2), 0.0001)


def test_only_what_is_open_can_be_settled(store):
    budget = Budget(store, Spending("judging"))
    with pytest.raises(ValueError, match="no reservation is open"):
        budget.settle(asking(1), 0.1)


def test_a_reply_is_kept_and_settled_in_one_commit(store):
    budget = Budget(store, Spending("judging", max_cost_usd=1.0))
    assert budget.reserve(asking(1), 0.3)
    with store.together():
        store.keep(asking(1), Reply("yes", "m", Usage(1, 0, 1), 0.1, 0.2))
        budget.settle(asking(1), 0.1)
    assert (store.find(asking(1).key).text, budget.spent_usd) == ("yes", 0.1)


def test_judges_one_after_another_book_to_one_ledger(tmp_path, store):
    spending = Spending("judging", max_cost_usd=1.0, max_calls=3)
    first = Budget(store, spending)
    assert first.reserve(asking(1), 0.6)
    first.settle(asking(1), 0.6)
    with CallStore(tmp_path / "calls.sqlite") as again:
        second = Budget(again, spending)
        assert (second.spent_usd, second.calls) == (0.6, 1)
        assert not second.reserve(asking(2), 0.6)
        assert second.reserve(asking(2), 0.4)
    other = Budget(store, Spending("another artifact's", max_cost_usd=1.0))
    assert (other.spent_usd, other.calls) == (0, 0)


def test_a_raised_limit_lets_the_next_attempt_go_on(store):
    assert Budget(store, Spending("judging", max_cost_usd=1.0)).reserve(asking(1), 1.0)
    assert not Budget(store, Spending("judging", max_cost_usd=1.0)).reserve(asking(2), 0.5)
    assert Budget(store, Spending("judging", max_cost_usd=2.0)).reserve(asking(2), 0.5)


def test_a_limit_in_usd_needs_a_price(store):
    with pytest.raises(
        ComponentError,
        match="needs the price of hosted_vllm/x, which litellm's table does not have: give `price: ",
    ):
        require_price("hosted_vllm/x", None, Spending(max_cost_usd=1.0))
    require_price("hosted_vllm/x", Price(0, 0, 0, 0), Spending(max_cost_usd=1.0))
    require_price("hosted_vllm/x", None, Spending(max_calls=5))
    with pytest.raises(ValueError, match="the price of m is not known"):
        Budget(store, Spending(max_cost_usd=1.0)).reserve(asking(1), None)


# Killed, and at once
# -------------------------------------------------------------------------------------------------

RESERVING = """
import sys
from pathlib import Path
from recipekit.component.context import Spending
from recipekit.llm.budget import Budget
from recipekit.llm.calls import Request
from recipekit.llm.store import CallStore

budget = Budget(CallStore(Path(sys.argv[1])), Spending("judging", max_cost_usd=1.0))
number = 0
while budget.reserve(Request("m", ({"role": "user", "content": f"{sys.argv[2]} {number}"},)), 0.001):
    number += 1
    print(number, flush=True)
"""


def test_reservations_of_a_killed_process_are_spent(tmp_path):
    file = tmp_path / "calls.sqlite"
    process = subprocess.Popen(
        [sys.executable, "-c", RESERVING, str(file), "a"], stdout=subprocess.PIPE, text=True
    )
    for line in process.stdout:
        if int(line) == 20:
            process.kill()
            break
    process.communicate()
    with CallStore(file) as store:
        budget = Budget(store, Spending("judging", max_cost_usd=1.0))
        assert budget.calls >= 20
        assert budget.spent_usd == pytest.approx(budget.calls * 0.001, abs=1e-12)
        assert budget.reserved_usd == 0


def test_processes_at_once_never_pass_the_limit_together(tmp_path):
    file = tmp_path / "calls.sqlite"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", RESERVING, str(file), name], stdout=subprocess.PIPE, text=True
        )
        for name in ("a", "b", "c")
    ]
    reserved = sum(process.communicate()[0].count("\n") for process in processes)
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert reserved == 1000


def test_a_budget_taken_for_dead_still_settles_right(tmp_path):
    """A second process opens the ledger while a first has a call in flight: that is counted once,
    whatever happens then.
    """
    file, spending = tmp_path / "calls.sqlite", Spending("judging", max_cost_usd=1.0)
    with CallStore(file) as one, CallStore(file) as two:
        first = Budget(one, spending)
        for number in (1, 2):
            assert first.reserve(asking(number), 0.3)
        second = Budget(two, spending)
        assert (second.spent_usd, second.reserved_usd) == (0.6, 0)
        first.settle(asking(1), 0.1)
        first.release(asking(2))
        assert (second.spent_usd, second.reserved_usd, second.calls) == (0.1, 0, 1)


def test_threads_share_a_budget(store):
    budget = Budget(store, Spending("judging", max_calls=100))
    won: list[int] = []
    threads = [
        threading.Thread(
            target=lambda t=t: won.extend(
                i for i in range(50) if budget.reserve(asking(100 * t + i), None)
            )
        )
        for t in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == budget.calls == budget.in_flight == 100


# Whatever the order
# --------------------------------------------------------------------------------------------------

LIMIT, MOST_CALLS = Fraction(1), 25
USD = st.fractions(0, Fraction(2, 5), max_denominator=10**9)
SHARE = st.fractions(0, 1, max_denominator=1000)


class AnyOrder(RuleBasedStateMachine):
    """Reserve, settle, release and be killed, in any order: spent + reserved never passes the
    limit.
    """

    flying = Numbers("flying")

    def __init__(self) -> None:
        super().__init__()
        self.store = CallStore(None)
        self.number = 0
        self.open: dict[int, Fraction] = {}
        self.spent = Fraction(0)
        self.made = 0
        self.reopened()

    def reopened(self) -> None:
        self.budget = Budget(
            self.store, Spending("judging", max_cost_usd=float(LIMIT), max_calls=MOST_CALLS)
        )

    @rule(target=flying, usd=USD)
    def reserve(self, usd):
        self.number += 1
        fits = (
            self.spent + sum(self.open.values()) + usd <= LIMIT
            and self.made + len(self.open) < MOST_CALLS
        )
        granted = self.budget.reserve(asking(self.number), float(usd))
        if self.clear(usd):
            assert granted == fits
        if granted:
            self.open[self.number] = usd
        return self.number

    def clear(self, usd: Fraction) -> bool:
        """Whether the limit is not so near that units of 1e-12 decide."""
        return abs(self.spent + sum(self.open.values()) + usd - LIMIT) > Fraction(1, 10**9)

    @rule(number=consumes(flying), share=SHARE)
    def settle(self, number, share):
        if number in self.open:
            cost = self.open.pop(number) * share
            self.budget.settle(asking(number), float(cost))
            self.spent += cost
            self.made += 1

    @rule(number=consumes(flying))
    def release(self, number):
        if number in self.open:
            del self.open[number]
            self.budget.release(asking(number))

    @precondition(lambda self: self.number)
    @rule()
    def killed(self):
        """A new process opens the ledger; what was in flight is spent in full."""
        self.reopened()
        self.spent += sum(self.open.values())
        self.made += len(self.open)
        self.open.clear()
        assert (self.budget.reserved_usd, self.budget.in_flight) == (0, 0)

    @invariant()
    def never_past_the_limit(self):
        spent, reserved, _ = self.budget._ledger_row()
        assert spent + reserved <= 10**12
        assert self.budget.calls == self.made + len(self.open) <= MOST_CALLS
        assert self.budget.spent_usd == pytest.approx(float(self.spent), abs=1e-10)
        assert self.budget.reserved_usd == pytest.approx(float(sum(self.open.values())), abs=1e-10)

    def teardown(self):
        self.store.close()


AnyOrder.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
test_any_order = AnyOrder.TestCase


@settings(deadline=None, max_examples=50)
@given(costs=st.lists(st.floats(0, 0.3), max_size=20))
def test_what_is_settled_adds_up(costs):
    with CallStore(None) as store:
        budget = Budget(store, Spending("judging"))
        for number, cost in enumerate(costs):
            assert budget.reserve(asking(number), 0.3)
            budget.settle(asking(number), cost)
        assert budget.spent_usd == pytest.approx(sum(costs), abs=1e-10)
        assert budget.spent_usd >= sum(map(Fraction, costs)) - Fraction(1, 10**12)
