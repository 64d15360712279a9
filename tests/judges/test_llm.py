"""The LLM judge against the real test server, through litellm's real client."""

import re
from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from helpers.llm_judging import UMBRELA, batch, verdicts
from recipekit.component import Sizes
from recipekit.judges.llm import LlmJudgeSpec
from recipekit.judges.llm_judge.fences import read_fences
from recipekit.judges.llm_judge.reply_forms import GradeForm, RelevantSetForm
from recipekit.records import Verdict
from recipekit.testing import check_judge, context
from servers.fenced_oracle import fenced_oracle, pairs_of, texts_of
from servers.openai_server import Ledger, serving, text

POSITIVE, NEGATIVE, IGNORE = Verdict.POSITIVE, Verdict.NEGATIVE, Verdict.IGNORE


# Verdicts
# --------------------------------------------------------------------------------------------------


def test_grades_become_verdicts_and_every_passage_gets_its_own(run, truths):
    with serving(fenced_oracle(truths, UMBRELA)) as server:
        done = run(server, batch())
    meant = {0: NEGATIVE, 1: IGNORE, 2: POSITIVE, 3: POSITIVE}
    assert verdicts(done) == {(q, p): meant[(q + p) % 4] for q in range(6) for p in range(25)}
    assert all(one.grade == (q + p) % 4 for (q, p), one in done.pairs.items())
    assert server.ledger.billed == done.counts["calls"] == 6 * 3  # 25 passages, ten a call
    assert done.counts["pairs"] == 150
    assert done.counts["tokens"]["in"] == server.ledger.tokens_in
    assert done.counts["models"] == {"test-model": 18}
    assert done.counts["usd"] is None  # the price of test-model is unknown


def test_other_grades_cost_nothing(run, truths):
    with serving(fenced_oracle(truths, UMBRELA), ledger=Ledger(pairs=pairs_of)) as server:
        run(server, batch())
        strict = run(
            server,
            batch(),
            scratch="again",
            grades={0: "negative", 1: "negative", 2: "ignore", 3: "positive"},
        )
        assert server.ledger.billed == 18
    assert verdicts(strict)[0, 3] == POSITIVE
    assert verdicts(strict)[0, 2] == IGNORE
    assert strict.counts["calls"] == 0
    assert strict.counts["from_store"]["replies"] == 18


def test_a_cascade_that_selects_fewer_pairs_finds_its_replies(run, truths):
    before = np.array(
        [[NEGATIVE, POSITIVE, IGNORE][(q + p) % 3] for q in range(6) for p in range(25)], np.int8
    )
    both = batch(previous_verdict=before, wanted=before != NEGATIVE)
    with serving(fenced_oracle(truths, UMBRELA)) as server:
        run(server, both, previous_verdicts=("positive", "ignore"))
        billed = server.ledger.billed
        fewer = run(
            server,
            replace(both, wanted=before == POSITIVE),
            scratch="again",
            previous_verdicts=("positive",),
        )
        assert server.ledger.billed == billed
    assert len(fewer.pairs) == int((before == POSITIVE).sum())


def test_only_wanted_pairs_are_judged(run, truths):
    wanted = np.random.default_rng(1).random(150) < 0.3
    with serving(fenced_oracle(truths, UMBRELA), ledger=Ledger(pairs=pairs_of)) as server:
        done = run(server, batch(wanted=wanted))
        assert len(server.ledger.billed_pairs) == int(wanted.sum()) == len(done.pairs)


def test_source_positives_are_references_unless_they_are_control_pairs(run, data, truths):
    given = np.zeros(25, bool)
    given[[0, 5]] = True
    seen = []

    def policy(call):
        seen.append(read_fences(call.body["messages"]))
        return fenced_oracle(truths, RelevantSetForm())(call)

    pairs = batch(1, source_positive=given, wanted=~given | (np.arange(25) == 5))
    with serving(policy) as server:
        run(server, pairs, prompt="relevant_set", num_references=5)
    assert {texts.references for texts in seen} == {("passage number 0 says something",)}
    assert sum("passage number 5 says something" in texts.passages for texts in seen) == 1


def test_a_custom_prompt_is_used(run, truths, tmp_path):
    file = tmp_path / "prompt.jinja"
    file.write_text(
        "How useful, from {{ scale[0] }} to {{ scale[4] }}? {{ query }} {{ passages }}\n{{ reply }}"
    )
    grades = {1: "negative", 2: "negative", 3: "ignore", 4: "positive", 5: "positive"}
    with serving(
        fenced_oracle(
            {pair: 1 + grade for pair, grade in truths.items()}, GradeForm((1, 2, 3, 4, 5))
        )
    ) as server:
        done = run(server, batch(2), prompt="custom", prompt_file=file, grades=grades)
    assert verdicts(done)[0, 3] == POSITIVE
    assert verdicts(done)[0, 2] == IGNORE
    assert done.judge.spec.files() == {"prompt": file}


def test_reasons_are_kept_with_the_verdicts(run, truths):
    with serving(fenced_oracle(truths, GradeForm((0, 1, 2, 3), explain=True))) as server:
        done = run(server, batch(1, 3), explain=True)
    assert {one.reason for one in done.pairs.values()} == {"so it is"}


def test_the_probability_of_a_grade_is_its_confidence(run, truths):
    with serving(fenced_oracle(truths, UMBRELA)) as server:
        done = run(server, batch(1), logprobs=True)
    assert [one.confidence for one in done.pairs.values()] == pytest.approx([np.exp(-0.1)] * 25)
    assert done.counts["mean_confidence"] == pytest.approx(np.exp(-0.1), abs=1e-3)


def test_long_passages_are_cut_and_counted(run, data, truths):
    shown = []

    def policy(call):
        _, passages = texts_of(call.body)
        shown.extend(passages)
        return text(UMBRELA.write([0] * len(passages)))

    with serving(policy) as server:
        done = run(server, batch(1), max_passage_tokens=3)
    assert set(shown) <= {f"passage number {row}" for row in range(25)} | {"passage number"}
    assert done.counts["cut"] == {"passages": 25, "queries": 0}


# Order, votes, repeats
# --------------------------------------------------------------------------------------------------


def test_passages_are_shuffled_by_the_seed(run, truths):
    orders = []

    def policy(call):
        orders.append(texts_of(call.body)[1])
        return fenced_oracle(truths, UMBRELA)(call)

    with serving(policy) as server:
        for seed in (1, 2):
            run(server, batch(1, 10), seed=seed, scratch=f"seed {seed}")
    first, second = orders
    assert first != second
    assert sorted(first) == sorted(second)
    assert first != tuple(f"passage number {row} says something" for row in range(10))


def test_the_majority_of_votes_decides_and_its_share_is_the_confidence(run, truths):
    right = fenced_oracle(truths, GradeForm((0, 1)))

    def policy(call):
        """Calls passages that stand first relevant, and is right on all others."""
        grades = [
            int(place == 0 or grade > 1) for place, grade in enumerate(right.grades(call.body))
        ]
        return text(GradeForm((0, 1)).write(grades))

    with serving(policy) as server:
        done = run(server, batch(), prompt="binary", votes=5)
    wrong = [
        pair
        for pair, one in done.pairs.items()
        if one.verdict != (POSITIVE if sum(pair) % 4 > 1 else NEGATIVE)
    ]
    assert not wrong
    assert {round(one.confidence, 1) for one in done.pairs.values()} <= {0.6, 0.8, 1.0}
    assert server.ledger.billed == 5 * 18
    assert done.counts["positions"]["p"] < 1e-6  # the first place is favoured
    assert done.counts["positions"]["positive_share"][0] == 1.0


def test_the_same_prompt_is_no_second_vote_and_is_not_paid_twice(run, truths):
    """12 passages at 10 per call: the call of 2 has two orders, and so two votes of three."""
    prompts = []
    right = fenced_oracle(
        {pair: int(grade > 1) for pair, grade in truths.items()}, GradeForm((0, 1))
    )

    def policy(call):
        prompts.append(texts_of(call.body)[1])
        return right(call)

    with serving(policy) as server:
        done = run(server, batch(1, 12), prompt="binary", votes=3)
        assert server.ledger.billed == len(set(prompts)) == 3 + 2
        alone = run(
            server, batch(1, 1), prompt="binary", votes=3, repeat_share=1.0, scratch="alone"
        )
        assert alone.counts["calls"] == 1
        varied = run(
            server, batch(1, 1), prompt="binary", votes=3, temperature=1.0, scratch="varied"
        )
        assert varied.counts["calls"] == 3
    assert verdicts(done) == {(0, p): POSITIVE if p % 4 > 1 else NEGATIVE for p in range(12)}
    assert {one.confidence for one in done.pairs.values()} == {1.0}
    assert verdicts(alone) == {(0, 0): NEGATIVE}


def test_a_tie_is_an_ignore(run):
    vote = {}

    def policy(call):
        query, passages = texts_of(call.body)
        grade = vote.setdefault(query, 0)
        vote[query] = 1
        return text(GradeForm((0, 1)).write([grade] * len(passages)))

    with serving(policy) as server:
        done = run(server, batch(1, 5), prompt="binary", votes=2, concurrency=1)
    assert set(verdicts(done).values()) == {IGNORE}


def test_repeats_measure_consistency(run, truths):
    right = fenced_oracle(truths, UMBRELA)

    def policy(call):
        return text(
            UMBRELA.write([place % 2 * 3 for place, _ in enumerate(right.grades(call.body))])
        )

    with serving(right) as server:
        assert run(server, batch(), repeat_share=1.0).counts["repeat"] == {
            "pairs": 150,
            "same": 1.0,
        }
    with serving(policy) as server:
        unsure = run(server, batch(), repeat_share=1.0, scratch="unsure", calls="other.sqlite")
    assert 0.3 < unsure.counts["repeat"]["same"] < 0.7
    assert unsure.counts["calls"] == 36


# The spec
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"grades": {0: "negative", 1: "ignore", 3: "positive"}},
            "the verdict of grade 2 is missing; prompt 'umbrela' gives 0, 1, 2, 3",
        ),
        (
            {"prompt": "binary", "grades": {0: "negative", 1: "positive", 2: "positive"}},
            "there is no grade 2; prompt 'binary' gives 0, 1",
        ),
        ({"grades": {0: "no"}}, "Input should be 'positive', 'negative' or 'ignore'"),
        ({"prompt": "custom"}, "prompt: custom needs either prompt_template or prompt_file"),
        (
            {"prompt": "custom", "prompt_template": "{{ query }}{{ passages }}"},
            "a custom prompt needs the verdict of each of its grades",
        ),
        (
            {"prompt": "custom", "prompt_template": "{{ query }}", "grades": {0: "negative"}},
            "prompt_template: the template does not show the passages",
        ),
        (
            {"prompt_template": "{{ query }}{{ passages }}"},
            "prompt_template is for `prompt: custom`, and prompt is 'umbrela'",
        ),
        ({"litellm_params": {"temperature": 1}}, "'temperature' is not allowed here"),
        (
            {"litellm_params": {"extra_body": {"n": 4}}},
            "litellm_params: 'n' is not allowed here; if the judge has a key of that name, use it",
        ),
        (
            {"litellm_params": {"extra_body": {"max_completion_tokens": 50_000}}},
            "'max_completion_tokens' is not allowed here",
        ),
        ({"litellm_params": {"fallbacks": ["openai/gpt-5"]}}, "'fallbacks' is not allowed here"),
        (
            {"litellm_params": {"extra_body": {"models": ["openai/gpt-5"]}}},
            "'models' is not allowed here",
        ),
        (
            {"litellm_params": {"context_window_fallback_dict": {"m": "gpt-5"}}},
            "'context_window_fallback_dict' is not allowed here",
        ),
        ({"litellm_params": {"extra_body": {"routes": [{"n": 4}]}}}, "'n' is not allowed here"),
        (
            {"votes": 3, "passages_per_call": 1},
            "votes: asks in another order, and one passage has only one",
        ),
        (
            {"repeat_share": 0.1, "passages_per_call": 1},
            "repeat_share: asks in another order, and one passage has only one",
        ),
        ({"prompt": "relevant_set", "logprobs": True}, "relevant_set gives passages no grade"),
        (
            {"api_base": "localhost:8000/v1"},
            "not a URL: write http://HOST:PORT or https://HOST:PORT",
        ),
        (
            {"litellm_params": {"aws_secret_access_key": "abc"}},
            "set the variable that litellm reads instead (AWS_SECRET_ACCESS_KEY)",
        ),
        (
            {"litellm_params": {"extra_body": {"azure_ad_token": "abc"}}},
            "'azure_ad_token' is a credential",
        ),
        (
            {"litellm_params": {"extra_body": {"hosts": [{"access_key": "abc"}]}}},
            "'access_key' is a credential",
        ),
        (
            {"litellm_params": {"extra_body": {"api_key": "sk-123456"}}},
            "'api_key' is not allowed here; if the judge has a key of that name, use it",
        ),
    ],
)
def test_a_wrong_spec_is_reported(fields, message):
    with pytest.raises(ValidationError, match=re.escape(message)):
        LlmJudgeSpec(model="openai/test-model", **fields)


@pytest.mark.parametrize(
    "parameters",
    [
        {"prompt_cache_key": "a", "extra_body": {"stop_token_ids": [2], "pad_token_id": 0}},
        {
            "top_p": 0.9,
            "seed": 1,
            "extra_body": {
                "chat_template_kwargs": {"enable_thinking": False, "reasoning_effort": "low"}
            },
        },
        {
            "extra_body": {
                "provider": {
                    "order": ["a", "b"],
                    "allow_fallbacks": False,
                    "max_price": {"prompt": 1},
                }
            }
        },
    ],
)
def test_other_litellm_parameters_are_allowed(parameters):
    assert (
        LlmJudgeSpec(model="hosted_vllm/m", litellm_params=parameters).litellm_params == parameters
    )


def test_votes_on_one_passage_are_for_models_whose_replies_vary():
    assert (
        LlmJudgeSpec(
            model="openai/test-model", votes=3, passages_per_call=1, temperature=0.7
        ).effective_temperature
        == 0.7
    )
    assert (
        LlmJudgeSpec(
            model="openai/test-model", votes=3, passages_per_call=1, reasoning_effort="low"
        ).effective_temperature
        is None
    )


def test_the_text_of_a_prompt_is_part_of_the_fingerprint():
    ways = [
        {"prompt": "umbrela"},
        {"prompt": "umbrela", "explain": True},
        {"prompt": "binary"},
        {"prompt": "relevant_set"},
    ]
    prints = [
        LlmJudgeSpec(model="openai/test-model", **way).fingerprint()["prompt"] for way in ways
    ]
    assert len(set(prints)) == len(prints)


def test_an_estimate_equals_what_the_run_takes(run, data, truths):
    with serving(fenced_oracle(truths, UMBRELA)) as server:
        spec = LlmJudgeSpec(
            model="openai/gpt-4o-mini",
            api_base=f"{server.url}/v1",
            canary_share=0.0,
            response_format="text",
            requests_per_minute=600,
        )
        estimated = spec.estimate(Sizes.of(data), 150)
        done = run(server, batch(), model="openai/gpt-4o-mini", response_format="text")
    assert estimated["calls"] == done.counts["calls"] == 18
    assert estimated["hours"] == pytest.approx(18 / 600 / 60, abs=1e-3)
    # The server counts four bytes a token; English has more characters a token than fences have.
    assert estimated["tokens in"] == pytest.approx(done.counts["tokens"]["in"], rel=0.25)
    assert estimated["usd"] == pytest.approx(
        estimated["tokens in"] * 0.15e-6 + estimated["tokens out"] * 0.6e-6
    )
    assert "tokens" not in estimated  # counted by the model's own tokenizer


def test_an_estimate_counts_the_calls_that_strata_leave_partly_empty(run, data, truths):
    """20 pairs per query, 10 per call: 1 positive and 19 others are three calls, not two."""
    before = np.tile(np.array([POSITIVE] + [IGNORE] * 19, np.int8), 6)
    with serving(fenced_oracle(truths, UMBRELA)) as server:
        done = run(
            server, batch(6, 20, previous_verdict=before), previous_verdicts=("positive", "ignore")
        )
    assert (
        done.counts["calls"]
        == LlmJudgeSpec(
            model="openai/test-model", previous_verdicts=("positive", "ignore")
        ).estimate(Sizes.of(data), 120)["calls"]
        == 18
    )
    assert LlmJudgeSpec(model="openai/test-model").estimate(Sizes.of(data), 120)["calls"] == 12


def test_an_estimate_has_no_more_votes_than_a_call_has_orders(run, data, truths):
    fields = {"passages_per_call": 2, "votes": 5, "repeat_share": 1.0}
    with serving(fenced_oracle(truths, UMBRELA)) as server:
        done = run(server, batch(), **fields)
    estimates = [
        LlmJudgeSpec(model="openai/test-model", temperature=t, **fields).estimate(
            Sizes.of(data), 150
        )["calls"]
        for t in (0.0, 1.0)
    ]
    assert done.counts["calls"] == 6 * (12 * 2 + 1), (
        "of 25 passages, one stands alone and has one order"
    )
    assert estimates == [6 * 13 * 2, 6 * 13 * 6]


def test_an_estimate_states_what_is_unknown(data):
    estimated = LlmJudgeSpec(model="hosted_vllm/my-model").estimate(Sizes.of(data), 150)
    assert estimated["usd"].startswith("unknown: no price known for hosted_vllm/my-model")
    assert estimated["tokens"].startswith("an estimate")
    assert (
        "assumed"
        in LlmJudgeSpec(model="openai/gpt-5-nano").estimate(Sizes.of(data), 150)["reasoning"]
    )


def test_reasoning_is_estimated_and_has_room_if_the_model_reasons(data):
    def most_out(**fields):
        spec = LlmJudgeSpec(**fields)
        estimated = spec.estimate(Sizes.of(data), 150)
        assert ("reasoning" in estimated) == (estimated["tokens out"] > 15 * 100), fields
        return spec.request_builder(0).reply_tokens(10)

    unasked, texts = (
        most_out(model="anthropic/claude-haiku-4-5"),
        most_out(model="anthropic/claude-haiku-4-5", reasoning_effort="low"),
    )
    assert texts == unasked + 2048
    assert most_out(model="hosted_vllm/my-model", reasoning_effort="low") == texts
    assert most_out(model="openai/gpt-5-nano") == unasked + 8192
    assert most_out(model="openai/gpt-5-nano", reasoning_effort="none") == unasked


@pytest.mark.parametrize(
    ("model", "parameters", "room"),
    [
        (
            "anthropic/claude-sonnet-4-5",
            {"thinking": {"type": "enabled", "budget_tokens": 4000}},
            8192,
        ),
        (
            "anthropic/claude-sonnet-4-5",
            {"thinking": {"type": "enabled", "budget_tokens": 20000}},
            20000,
        ),
        ("anthropic/claude-sonnet-4-5", {"thinking": {"type": "disabled"}}, 0),
        ("openai/gpt-5.1", {"extra_body": {"reasoning": {"effort": "high"}}}, 8192),
        ("openai/gpt-5-nano", {"extra_body": {"reasoning": {"effort": "none"}}}, 0),
        (
            "hosted_vllm/qwen",
            {"extra_body": {"chat_template_kwargs": {"enable_thinking": True}}},
            8192,
        ),
        (
            "hosted_vllm/qwen",
            {"extra_body": {"chat_template_kwargs": {"enable_thinking": False}}},
            0,
        ),
        (
            "gemini/gemini-2.5-flash-lite",
            {"extra_body": {"generationConfig": {"thinkingConfig": {"thinkingBudget": 9000}}}},
            9000,
        ),
        (
            "gemini/gemini-2.5-flash",
            {"extra_body": {"generationConfig": {"thinkingConfig": {"thinkingBudget": 0}}}},
            0,
        ),
        ("hosted_vllm/qwen", {"top_p": 0.9}, 0),
    ],
)
def test_reasoning_requested_by_litellm_parameters_has_room(model, parameters, room):
    spec = LlmJudgeSpec(model=model, litellm_params=parameters)
    assert spec.request_builder(0).reply_tokens(10) == 288 + room
    assert spec.effective_temperature == (None if room else 0.0)


def test_the_judge_passes_the_check_of_its_kind(tmp_path, data, truths):
    with serving(fenced_oracle(truths, UMBRELA)) as server:
        check_judge(
            LlmJudgeSpec(
                model="openai/test-model", api_base=f"{server.url}/v1", canary_share=0.2, votes=2
            ),
            context(tmp_path, dataset=data),
        )
