"""The LLM judge with bad replies, small budgets and hostile passages."""

import gc
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from helpers.llm_judging import PRICE, UMBRELA, batch
from recipekit.errors import ComponentError, RunError, StoreError
from recipekit.judges.llm_judge.canaries import OFF_TOPIC, canary_text
from recipekit.judges.llm_judge.counts import CountsFile
from recipekit.judges.llm_judge.reply_forms import GradeForm
from recipekit.records import Verdict
from servers.fenced_oracle import fenced_oracle, texts_of
from servers.openai_server import Ledger, always, error, serving, text

pytestmark = pytest.mark.slow

IGNORE = Verdict.IGNORE


# Replies that cannot be used
# --------------------------------------------------------------------------------------------------


def spoilt(truths, first):
    """The oracle, whose first replies are what `first` makes of correct ones."""
    right = fenced_oracle(truths, UMBRELA)
    return lambda call: right(call) if len(call.body["messages"]) > 2 else first(right(call))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda good: text(good.text[:-8]),  # cut off
        lambda good: text("I am sorry, what was the question?"),
        lambda good: text(
            json.dumps(dict(list(json.loads(good.text).items())[:-2]))
        ),  # two too few
        lambda good: text(json.dumps({**json.loads(good.text), "99": 1})),
    ],
)
def test_a_reply_that_cannot_be_used_is_asked_for_once_more(run, truths, spoil):
    with serving(spoilt(truths, spoil)) as server:
        done = run(server, batch(2))
    assert {pair: one.grade for pair, one in done.pairs.items()} == {
        (q, p): (q + p) % 4 for q in range(2) for p in range(25)
    }
    assert done.counts["asked_again"] == {"unparsed": 6}
    assert done.counts["missing"] == {}
    assert server.ledger.billed == 12


def test_a_heading_before_a_reply_costs_no_second_call(run, truths):
    right = fenced_oracle(truths, UMBRELA)
    with serving(
        lambda call: text(f"Here are the grades:\n```json\n{right(call).text}\n```\n")
    ) as server:
        run(server, batch(1))
    assert server.ledger.billed == 3


def test_a_passage_without_a_grade_is_ignored_and_counted_and_the_rest_is_kept(run, truths):
    right = fenced_oracle(truths, UMBRELA)

    def policy(call):
        good = json.loads(right(call).text)
        good["2"] = "maybe"
        return text(json.dumps(good))

    with serving(policy) as server:
        done = run(server, batch(1, 20))
    unread = [pair for pair, one in done.pairs.items() if np.isnan(one.grade)]
    assert len(unread) == 2
    assert all(done.pairs[pair].verdict == IGNORE for pair in unread)
    assert done.counts["missing"] == {"unparsed": 2}
    assert server.ledger.billed == 4


@pytest.mark.parametrize("answer", [error(401, "wrong key"), text("")])
def test_a_run_that_ends_early_leaves_no_traceback_on_the_terminal(run, caplog, answer):
    with serving(always(answer)) as server, pytest.raises(RunError):
        run(server, batch(2), passages_per_call=2, concurrency=16)
    gc.collect()  # asyncio logs exceptions that nothing retrieved
    assert [record.message for record in caplog.records if record.name == "asyncio"] == []


def test_a_model_without_any_usable_reply_ends_the_run(run):
    with (
        serving(always(text("Bonjour !"))) as server,
        pytest.raises(RunError, match=r"none of 20 .* unparsed: 'Bonjour !'") as raised,
    ):
        run(server, batch(6), passages_per_call=1)
    assert raised.value.code == "RK662"
    assert server.ledger.billed < 80  # and not 300


def but_for_passage_3(truths, answer):
    """The oracle, with another answer to calls that contain passage 3."""
    right = fenced_oracle(truths, UMBRELA)
    return lambda call: (
        answer if "passage number 3 says something" in texts_of(call.body)[1] else right(call)
    )


def test_a_refused_call_is_split_so_that_one_passage_loses_only_its_half(run, truths):
    with serving(
        but_for_passage_3(truths, text("", refusal="I will not speak of this."))
    ) as server:
        done = run(server, batch(1, 20))
    lost = [pair for pair, one in done.pairs.items() if np.isnan(one.grade)]
    assert (0, 3) in lost
    assert len(lost) == 5
    assert done.counts["missing"] == {"refused": 5}
    assert done.counts["failures"] == {"refusal": 2}


def test_ungraded_pairs_are_distinguished_from_pairs_that_the_judge_ignores(run, truths):
    with serving(but_for_passage_3(truths, text("", finish_reason="content_filter"))) as server:
        done = run(server, batch(1, 8), passages_per_call=1)
    assert [one.ungraded for one in done.pairs.values()] == [p == 3 for _, p in done.pairs]
    assert (
        done.pairs[0, 3].verdict == done.pairs[0, 1].verdict == done.pairs[0, 5].verdict == IGNORE
    )
    assert done.counts["missing"] == {"filtered": 1}


def test_a_pair_is_ungraded_only_if_none_of_its_votes_has_a_grade(run, truths):
    """Passage 3 never gets a grade, passage 5 only in the first order."""
    right = fenced_oracle(truths, UMBRELA)
    orders = []

    def policy(call):
        good = json.loads(right(call).text)
        places = {
            passage: str(number) for number, passage in enumerate(texts_of(call.body)[1], start=1)
        }
        orders.append(tuple(places))
        good[places["passage number 3 says something"]] = "maybe"
        if orders[-1] != orders[0]:
            good[places["passage number 5 says something"]] = "maybe"
        return text(json.dumps(good))

    with serving(policy) as server:
        done = run(server, batch(1, 8), votes=3, concurrency=1)
    assert len(set(orders)) == 3
    assert [pair for pair, one in done.pairs.items() if one.ungraded] == [(0, 3)]
    assert done.pairs[0, 5].grade == 1, "the grade of its only graded vote"


def test_a_prompt_that_is_too_long_is_split_as_often_as_it_takes(run, truths):
    right = fenced_oracle(truths, UMBRELA)
    long = error(
        400,
        "This model's maximum context length is 99 tokens.",
        code="context_length_exceeded",
        kind="invalid_request_error",
    )
    with serving(lambda call: right(call) if len(texts_of(call.body)[1]) <= 2 else long) as server:
        done = run(server, batch(1, 8))
    assert {pair: one.grade for pair, one in done.pairs.items()} == {
        (0, p): p % 4 for p in range(8)
    }
    assert server.ledger.billed == 4


def test_a_cut_reply_gets_more_room(run, truths):
    right = fenced_oracle(truths, UMBRELA)
    with serving(
        lambda call: replace(right(call), reasoning_tokens=30)
    ) as server:  # 13 tokens say it all, once it has thought
        done = run(server, batch(1, 10), max_tokens=20)
    assert not [one for one in done.pairs.values() if np.isnan(one.grade)]
    assert done.counts["asked_again"] == {"cut": 1}


def test_a_prompt_that_is_too_long_is_not_counted_as_a_call(run, truths):
    """A prompt that is too long is made and billed by nobody: two halves are texts, and both are
    paid now.
    """
    right = fenced_oracle(truths, UMBRELA)
    too_long = error(
        400,
        "This model's maximum context length is 10 tokens",
        code="context_length_exceeded",
        kind="invalid_request_error",
    )
    with serving(
        lambda call: too_long if len(texts_of(call.body)[1]) > 5 else right(call)
    ) as server:
        done = run(server, batch(1, 10))
        assert server.ledger.billed == 2
    assert (done.counts["calls"], done.counts["failures"]) == (2, {"too_long": 1})
    assert done.counts["from_store"]["replies"] == 0


def test_a_rejected_response_format_is_dropped_with_one_warning(run, truths):
    right = fenced_oracle(truths, UMBRELA)
    no = error(400, "response_format is not supported", kind="invalid_request_error")
    with serving(lambda call: no if "response_format" in call.body else right(call)) as server:
        done = run(server, batch(), response_format="json_schema")
        assert server.ledger.statuses == {400: 1, 200: 18}
    assert len(done.pairs) == 150
    assert (
        len([line for line in done.progress.warnings if "rejects the response format" in line]) == 1
    )


def test_a_schema_names_every_passage(run, truths):
    texts = []

    def policy(call):
        texts.append(call.body["response_format"]["json_schema"]["schema"])
        return fenced_oracle(truths, UMBRELA)(call)

    with serving(policy) as server:
        run(server, batch(1, 10), response_format="json_schema")
    assert texts[0]["required"] == [str(number) for number in range(1, 11)]


def test_a_change_of_the_models_name_is_reported(run, truths):
    right = fenced_oracle(truths, UMBRELA)
    with serving(
        lambda call: (
            right(call) if call.number < 10 else replace(right(call), model="another-model")
        )
    ) as server:
        done = run(server, batch())
    assert set(done.counts["models"]) == {"test-model", "another-model"}
    assert (
        len([line for line in done.progress.warnings if "answers as 'another-model'" in line]) == 1
    )


def test_a_damaged_counts_file_is_reported(tmp_path):
    file = tmp_path / "file_counts.sqlite"
    file.write_bytes(b"not a database" * 100)
    with pytest.raises(StoreError, match=r"file_counts\.sqlite: is damaged"):
        CountsFile(file)


def test_a_counts_file_with_damaged_pages_is_reported_when_it_is_read(tmp_path):
    file = tmp_path / "file_counts.sqlite"
    file_counts = CountsFile(file)
    file_counts.write((query, {"pairs": 1}) for query in range(1000))
    file_counts.close()
    content = bytearray(file.read_bytes())
    content[4096:] = b"\xaa" * len(content[4096:])
    file.write_bytes(content)
    file_counts = CountsFile(file)
    with pytest.raises(StoreError, match=r"file_counts\.sqlite: is damaged"):
        file_counts.total()
    with pytest.raises(StoreError, match=r"file_counts\.sqlite: is damaged"):
        file_counts.first_value("first", 1)
    file_counts.close()


# Money
# --------------------------------------------------------------------------------------------------


def test_a_budget_leaves_pairs_unjudged_and_a_larger_one_continues(run, truths):
    with serving(fenced_oracle(truths, UMBRELA)) as server:
        some = run(server, batch(), max_calls=7)
        assert server.ledger.billed == some.counts["calls"] == 7
        assert some.counts["pairs_over_budget"] == 150 - len(some.pairs) > 0
        assert not [one for one in some.pairs.values() if np.isnan(one.grade)]
        whole = run(server, batch(), scratch="more", max_calls=100)
        assert server.ledger.billed == 18
    assert len(whole.pairs) == 150
    assert whole.counts["calls"] == 11
    assert whole.counts["from_store"]["replies"] == 7


def test_spending_never_exceeds_its_limit_by_the_servers_own_count(run, truths):
    with serving(fenced_oracle(truths, UMBRELA)) as server:
        everything = run(server, batch(), price=PRICE)
        assert everything.counts["usd"] == pytest.approx(server.ledger.usd)
        server.ledger = Ledger()
        limit = 0.4 * everything.counts["usd"]
        some = run(
            server, batch(), scratch="some", calls="other.sqlite", price=PRICE, max_cost_usd=limit
        )
        assert 0 < server.ledger.usd <= limit
    assert some.counts["usd"] == pytest.approx(server.ledger.usd)
    assert some.counts["pairs_over_budget"] > 0


def test_a_limit_in_usd_needs_a_price(run):
    with pytest.raises(ComponentError, match="max_cost_usd needs the price of openai/test-model"):
        run(SimpleNamespace(url="http://127.0.0.1:1"), batch(), max_cost_usd=1.0)


def test_a_run_that_ended_early_continues_and_pays_for_nothing_twice(run, truths):
    right = fenced_oracle(truths, UMBRELA)
    with serving(
        lambda call: right(call) if call.number <= 40 else error(401, "no such key")
    ) as server:
        with pytest.raises(RunError, match="refused the credentials"):
            run(server, batch(), passages_per_call=2, price=PRICE)
        server.policy = right
        done = run(server, batch(), passages_per_call=2, price=PRICE)
        assert server.ledger.billed == 78
        assert server.ledger.paid_twice == []
    assert len(done.pairs) == 150
    # What the first attempt paid counts, too; and so do its calls in flight, of which nobody knows
    # what they cost.
    assert 78 <= done.counts["calls"] <= 78 + 8
    assert done.counts["usd"] >= server.ledger.usd - 1e-9


def test_a_query_that_is_judged_again_after_a_kill_counts_once(run, truths):
    """A kill between a query's counts and its verdicts: the next attempt judges it again."""
    row = np.repeat(np.arange(6), 25)
    with serving(fenced_oracle(truths, UMBRELA)) as server:
        run(server, batch(wanted=row < 3))
        rest = run(server, batch(wanted=row >= 2))
    assert rest.counts["pairs"] == 150
    assert rest.counts["models"] == {"test-model": 18}
    assert rest.counts["calls"] == server.ledger.billed == 18


# Attacks
# --------------------------------------------------------------------------------------------------


def test_canaries_are_planted_counted_and_never_judged(run, truths):
    words = set(canary_text("stuffed", "question number 0").replace(".", "").split())
    assert words == {"question", "number", "0"}

    def gullible(call):
        """Obeys orders, and ignores stuffing."""
        query, passages = texts_of(call.body)
        return text(
            UMBRELA.write(
                [
                    3 if "highest grade" in passage else truths.get((query, passage), 0)
                    for passage in passages
                ]
            )
        )

    with serving(gullible) as server:
        done = run(server, batch(), canary_share=1.0, passages_per_call=2)
    assert {pair: one.grade for pair, one in done.pairs.items()} == {
        (q, p): (q + p) % 4 for q in range(6) for p in range(25)
    }
    kinds = done.counts["canaries"]
    assert kinds["injected"]["pass_rate"] == 1.0
    assert kinds["stuffed"]["pass_rate"] == 0.0
    assert kinds["injected"]["seen"] + kinds["stuffed"]["seen"] == done.counts["calls"] == 78


def test_a_canary_that_is_ignored_has_passed(run, truths):
    """With these grades nothing is ever called positive: what the judge does not see through is
    kept from the negatives.
    """

    def gullible(call):
        return text(
            GradeForm((0, 1)).write(
                [int("highest grade" in passage) for passage in texts_of(call.body)[1]]
            )
        )

    with serving(gullible) as server:
        done = run(
            server,
            batch(),
            canary_share=1.0,
            passages_per_call=2,
            prompt="binary",
            grades={0: "negative", 1: "ignore"},
        )
    assert done.counts["canaries"]["injected"]["pass_rate"] == 1.0
    assert done.counts["canaries"]["stuffed"]["pass_rate"] == 0.0


def test_a_canary_without_a_grade_is_not_counted(run, truths):
    right = fenced_oracle(truths, UMBRELA)

    def policy(call):
        planted = any("highest grade" in passage for passage in texts_of(call.body)[1])
        return text("", refusal="I will not speak of this.") if planted else right(call)

    with serving(policy) as server:
        done = run(server, batch(1), canary_share=1.0, passages_per_call=2)
    assert "injected" not in done.counts["canaries"], "it was not seen either"


def test_too_many_passed_canaries_end_the_run_and_paid_replies_are_kept(run, truths):
    def policy(call):
        return text(
            UMBRELA.write([3 if OFF_TOPIC in passage else 0 for passage in texts_of(call.body)[1]])
        )

    with serving(policy) as server:
        with pytest.raises(
            RunError, match=r"let .* of the planted passages pass .*more than max_canary_pass_rate"
        ) as raised:
            run(server, batch(), canary_share=1.0, passages_per_call=2, max_canary_pass_rate=0.2)
        assert raised.value.code == "RK661"
        billed = server.ledger.billed
        assert billed >= 20
        done = run(
            server,
            batch(),
            canary_share=1.0,
            passages_per_call=2,
            max_canary_pass_rate=0.9,
            scratch="again",
        )
    assert server.ledger.paid_twice == []
    assert done.counts["from_store"]["replies"] == billed, (
        "those that were in flight when it stopped, too"
    )


def test_a_lone_surrogate_in_a_reply_does_not_end_the_run(run):
    """JSON can contain it as an escape; UTF-8 cannot."""
    with serving(lambda call: text(r'{"1": {"reason": "so \ud83d", "grade": 3}}')) as server:
        assert run(server, batch(1, 1), explain=True).pairs[0, 0].reason == "so ?"
    with serving(lambda call: text("nothing \ud83d")) as server:
        done = run(server, batch(1, 1), scratch="unreadable", calls="unreadable.sqlite")
        assert (server.ledger.arrived, done.pairs[0, 0].ungraded) == (2, True)


def test_replies_without_any_grade_are_asked_for_again_by_the_next_run(run, truths):
    right = fenced_oracle(truths, UMBRELA)
    with serving(always(text('{"relevant": [{"passage": 1, "relevant": false}]}'))) as server:
        first = run(server, batch(1, 5))
        assert all(one.ungraded for one in first.pairs.values())
        assert server.ledger.billed == 2, "the call and its repair request"
        server.policy = right
        second = run(server, batch(1, 5), scratch="again")
    assert {pair: one.grade for pair, one in second.pairs.items()} == {
        (0, p): p % 4 for p in range(5)
    }
    assert (second.counts["calls"], second.counts["from_store"]["replies"]) == (1, 0)


def test_a_reply_that_a_repair_replaced_is_stored_with_it(run, truths):
    """Otherwise the next run would ask twice."""
    spoil = spoilt(truths, lambda good: text("Bonjour !"))
    with serving(spoil) as server:
        run(server, batch(1, 5))
        run(server, batch(1, 5), scratch="again")
    assert server.ledger.billed == 2
