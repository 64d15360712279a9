"""Pairs of known truth are judged blind among the rest: they change no label, and tell what the
judges are worth.
"""

import json

import numpy as np
import pytest
from judge_inputs import (
    IGNORE,
    NEGATIVE,
    POSITIVE,
    UNJUDGED,
    Reads,
    Says,
    judge_inputs,
    run,
    section,
)

from recipekit.artifacts.store import Artifact
from recipekit.errors import DataError, RunError
from recipekit.judges.labels import LabelsSpec
from recipekit.judges.sample_rows import hidden
from recipekit.stages.inputs import StageInputs

ALL_KNOWN = {"control_pairs": {"share": 0.999}}


@pytest.fixture
def inputs(tmp_path, make_dataset) -> StageInputs:
    """12 train queries; q's positive is passage q at rank 5, and passage q+3 at rank 3 is a judged
    negative.
    """
    passages = [(f"p{i}", "word " * (i * 10)) for i in range(36)]
    labels = {(q, q): 1.0 for q in range(12)} | {(q, q + 3): 0.0 for q in range(12)}
    dataset = make_dataset([(f"q{i}", f"text {i}", "train") for i in range(12)], passages, labels)
    return judge_inputs(tmp_path, dataset)


def trust_of(tmp_path, folder="out"):
    return json.loads((tmp_path / folder / "reliability.json").read_text())


def oracle(query: int, passage: int) -> int:
    return POSITIVE if passage == query else NEGATIVE


def test_given_positives_are_judged_blind_and_stay_what_they_are(inputs, tmp_path):
    spec = Reads(verdict=lambda q, p: NEGATIVE if q < 3 else oracle(q, p))
    rows, summary = run(inputs, tmp_path, section(ALL_KNOWN, one=spec))
    assert all(
        rows[q, q]["verdict"] == POSITIVE and rows[q, q]["judge"] == "source" for q in range(12)
    )
    assert all(rows[q, q + 3]["judge"] == "one" for q in range(12)), (
        "a judged negative is judged anyway: it counts for both"
    )
    assert summary["judges"]["one"]["seen"] == 48
    assert summary["judges"]["one"]["blind"] == 12
    assert summary["judges"]["one"]["judged"] == 48
    [batch] = spec.asked
    assert batch.wanted[batch.source_positive].all(), (
        "wanted, and a source positive: it is treated as any other candidate"
    )
    assert (batch.previous_verdict[batch.source_positive] == UNJUDGED).all(), (
        "the judge is not shown the label"
    )
    assert (batch.previous_verdict[batch.passage == batch.query + 3] == UNJUDGED).all()

    trust = trust_of(tmp_path)
    nobody = {"positive": 0, "negative": 0, "ignore": 0}
    assert trust["blind"] == {
        "labels": {"positive": 12, "negative": 12, "ignore": 0},
        "people": nobody,
        "labels_on_other_pairs": 0,
    }
    assert trust["people"] is None
    told = trust["labels"]["judges"]["one"]
    assert told["table"] == {
        "positive": {"positive": 9, "negative": 3, "ignore": 0},
        "negative": {"positive": 0, "negative": 12, "ignore": 0},
    }
    assert told["false_negative_rate"]["value"] == 0.25
    assert told["kappa"]["value"] == pytest.approx(0.75)
    assert set(told["by_rank"]) == {"1-10", "not retrieved"}
    assert told["by_rank"]["not retrieved"]["pairs"] == 12
    assert sum(band["pairs"] for band in told["by_length"].values()) == 24
    assert len(told["by_length"]) == 3
    assert summary["reliability"]["one"]["kappa"] == pytest.approx(0.75)
    assert [
        (example["label"], example["verdict"], example["judge"]) for example in trust["examples"]
    ] == [("positive", "negative", "one")] * 3


def test_examples_have_texts_and_the_reasons_of_the_judge_that_spoke_last(inputs, tmp_path):
    first = Reads(verdict=oracle, reason="first")
    last = Reads(
        verdict=lambda q, p: NEGATIVE if q == 1 else oracle(q, p),
        reason="last",
        previous_verdicts=("positive",),
    )
    run(inputs, tmp_path, section(ALL_KNOWN, first=first, last=last))
    [example] = trust_of(tmp_path)["examples"]
    assert example["reason"] == "last 1-1"
    assert (example["judge"], example["query"], example["rank"], example["labelled_by"]) == (
        "last",
        "text 1",
        5,
        "the source",
    )


def test_only_a_seeded_share_is_blind_and_who_does_not_read_is_not_asked(inputs, tmp_path):
    def blind(folder, share, seed=13):
        inputs.seed = seed
        spec = Reads(verdict=oracle)
        run(inputs, tmp_path, section({"control_pairs": {"share": share}}, one=spec), folder)
        return {
            int(q)
            for batch in spec.asked
            for q in batch.query[batch.source_positive & batch.wanted]
        }

    half = blind("half", 0.5)
    assert 1 < len(half) < 11
    assert blind("again", 0.5) == half != blind("other", 0.5, seed=14)
    assert half < blind("more", 0.9)
    assert blind("none", 0.0) == set()
    inputs.seed = 13
    silent = Says(verdict=oracle)
    _, summary = run(inputs, tmp_path, section(ALL_KNOWN, one=silent), "silent")
    assert not (silent.asked[0].wanted & silent.asked[0].source_positive).any()
    assert "reliability" not in summary
    assert not (tmp_path / "silent" / "reliability.json").exists()


def test_a_cascade_goes_by_what_was_said_blind_and_never_by_the_labels(inputs, tmp_path):
    cheap = Reads(verdict=lambda q, p: POSITIVE if (q + p) % 4 == 0 else NEGATIVE)
    strong = Reads(verdict=oracle, previous_verdicts=("positive",))
    run(inputs, tmp_path, section(ALL_KNOWN, cheap=cheap, strong=strong))
    [batch] = strong.asked
    given = batch.source_positive & batch.wanted
    assert set(batch.query[given].tolist()) == {q for q in range(12) if (2 * q) % 4 == 0}
    assert (batch.previous_verdict[given] == POSITIVE).all()
    trust = trust_of(tmp_path)["labels"]
    assert trust["judges"]["cheap"]["pairs"] == 24
    assert trust["judges"]["strong"]["asked"] == sum((2 * q) % 4 == 0 for q in range(12)) + sum(
        (2 * q + 3) % 4 == 0 for q in range(12)
    )
    assert trust["cascade"]["pairs"] == 24
    assert trust["cascade"]["table"]["positive"] == {"positive": 6, "negative": 6, "ignore": 0}


def test_behind_a_filter_that_is_not_measured_every_blind_pair_is_asked_about_among_the_others(
    inputs, tmp_path
):
    margin = Says(verdict=lambda q, p: IGNORE if p % 2 else NEGATIVE)
    strong = Reads(verdict=oracle, previous_verdicts=("ignore",))
    run(inputs, tmp_path, section(ALL_KNOWN, margin=margin, strong=strong))
    [batch] = strong.asked
    assert (batch.wanted & batch.source_positive).sum() == 12
    assert set(batch.previous_verdict[batch.wanted & batch.source_positive].tolist()) == {IGNORE}, (
        "they stand among the pairs that the filter ignored"
    )


def test_an_audit_replaces_given_labels_and_measures_by_all_of_them(inputs, tmp_path):
    rows, summary = run(
        inputs,
        tmp_path,
        section(
            {"rejudge_source_labels": True},
            one=Reads(verdict=lambda q, p: NEGATIVE if q < 3 else oracle(q, p)),
        ),
    )
    assert (rows[2, 2]["verdict"], rows[2, 2]["judge"]) == (NEGATIVE, "one")
    assert (rows[5, 5]["verdict"], rows[5, 5]["judge"]) == (POSITIVE, "one")
    assert summary["judges"]["one"]["seen"] == 60
    assert summary["judges"]["one"]["blind"] == 0
    assert summary["reliability"]["one"]["pairs"] == 24


@pytest.mark.parametrize("deaths", [(0,), (3, 7), (13,)])
def test_blind_pairs_survive_a_kill(inputs, tmp_path, deaths):
    def judges(**more):
        cheap = Reads(verdict=lambda q, p: (q * 7 + p) % 3, reason="r")
        return section(
            {"control_pairs": {"share": 0.6}},
            cheap=cheap,
            strong=Reads(verdict=oracle, previous_verdicts=("positive", "ignore"), piece=2, **more),
        )

    whole, counted = run(inputs, tmp_path, judges(), "whole")
    for death in deaths:
        with pytest.raises(MemoryError):
            run(inputs, tmp_path, judges(dies_after=death))
    rows, summary = run(inputs, tmp_path, judges())
    assert (rows, summary) == (whole, counted)
    assert trust_of(tmp_path) == trust_of(tmp_path, "whole")


# People's labels
# ----------------------------------------------------------------------------------------------------------


def people(tmp_path, *rows: tuple[int, int, str]):
    file = tmp_path / "people.csv"
    file.write_text(
        "query_id,passage_id,query,passage,verdict\n"
        + "".join(f"q{q},p{p},a text,another,{verdict}\n" for q, p, verdict in rows)
    )
    return {"control_pairs": {"share": 0.0, "human_labels": file}}


def test_peoples_labels_are_truth_and_change_no_judgment(inputs, tmp_path):
    policy = people(
        tmp_path,
        (0, 1, "positive"),
        (1, 2, "negative"),
        (2, 2, "negative"),
        (3, 4, "ignore"),
        (4, 5, ""),
    )
    rows, summary = run(inputs, tmp_path, section(policy, one=Reads(verdict=lambda q, p: POSITIVE)))
    assert rows[1, 2]["verdict"] == POSITIVE
    assert rows[2, 2]["judge"] == "source"
    trust = trust_of(tmp_path)
    assert trust["blind"]["people"] == {"positive": 1, "negative": 2, "ignore": 1}
    assert trust["people"]["cascade"]["false_positive_rate"]["value"] == 1.0
    assert trust["people"]["cascade"]["ignored_by_people"] == 1
    assert trust["labels"]["cascade"]["pairs"] == 0
    assert summary["reliability"]["one"]["by"] == "people"
    assert {example["labelled_by"] for example in trust["examples"]} == {"people"}
    assert summary["judges"]["one"]["blind"] == 1, (
        "the source positive alone; the others are judged anyway"
    )


def test_a_sample_of_pairs_comes_first_to_what_people_labelled(inputs, tmp_path):
    spec = Reads(verdict=oracle, max_pairs=3)
    run(
        inputs,
        tmp_path,
        section(people(tmp_path, (0, 1, "positive"), (7, 9, "negative")), one=spec),
    )
    [batch] = [
        np.stack([b.query[b.wanted], b.passage[b.wanted]], axis=1).tolist() for b in spec.asked
    ]
    assert len(batch) == 3
    assert [0, 1] in batch and [7, 9] in batch


def test_labels_on_pairs_that_are_no_candidates_are_told_of(inputs, tmp_path):
    run(
        inputs,
        tmp_path,
        section(
            people(tmp_path, (0, 1, "positive"), (0, 30, "negative")), one=Reads(verdict=oracle)
        ),
    )
    [warning] = inputs.progress.warnings
    assert warning.startswith("1 of the 2 pairs in ") and "are no candidates" in warning


def test_a_sample_of_other_data_is_refused(inputs, tmp_path):
    (tmp_path / "other.csv").write_text("query_id,passage_id,verdict\nx,y,positive\n")
    with pytest.raises(DataError, match="unknown ids"):
        run(
            inputs,
            tmp_path,
            section(
                {"control_pairs": {"human_labels": tmp_path / "other.csv"}},
                one=Reads(verdict=oracle),
            ),
        )


def test_labels_of_people_override_and_are_not_measured_by_themselves(inputs, tmp_path):
    policy = people(tmp_path, (0, 1, "positive"), (1, 2, "negative"))
    file = policy["control_pairs"]["human_labels"]
    rows, _ = run(
        inputs, tmp_path, section(policy, one=Reads(verdict=oracle), people=LabelsSpec(file=file))
    )
    assert (rows[0, 1]["verdict"], rows[0, 1]["judge"]) == (POSITIVE, "people")
    trust = trust_of(tmp_path)["people"]
    assert list(trust["judges"]) == ["one"]
    assert trust["judges"]["one"]["table"]["positive"] == {
        "positive": 0,
        "negative": 1,
        "ignore": 0,
    }
    assert trust["cascade"]["table"] == trust["judges"]["one"]["table"], (
        "what stands is people's own word, which proves nothing"
    )


# The gate
# -----------------------------------------------------------------------------------------------------------------


def test_judges_below_the_floor_end_the_run_once_all_is_written(inputs, tmp_path):
    inputs.run = tmp_path
    spec = Reads(verdict=lambda q, p: NEGATIVE if q < 9 else oracle(q, p))
    policy = {**ALL_KNOWN, "require": {"kappa": 0.5, "false_negative_rate": 0.1, "agreement": 0.5}}
    with pytest.raises(RunError) as caught:
        run(inputs, tmp_path, section(policy, one=spec))
    assert caught.value.code == "RK621"
    [line] = str(caught.value).splitlines()
    assert "kappa 0.250 [" in line and "at least 0.5 is required" in line
    assert "false_negative_rate 0.750 [" in line and "at most 0.1 is required" in line
    assert "agreement" not in line
    assert str(tmp_path / "reliability.json") in line
    assert json.loads((tmp_path / "reliability.json").read_text()) == trust_of(tmp_path)
    assert (tmp_path / "out" / "judgments.arrow").exists()
    run(inputs, tmp_path, section({**policy, "require": {"kappa": 0.2}}, one=spec))
    assert len(spec.asked) == 1, "nothing is judged again for another floor"


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        (
            {"control_pairs": {"share": 0.0}},
            "kappa needs 10 known positives among the candidates that are judged blind, and there are 0",
        ),
        (
            {"control_pairs": {"share": 0.4}},
            r"kappa needs 10 known negatives among the candidates that are judged blind, and there are \d\.",
        ),
    ],
)
def test_what_cannot_be_measured_is_told_with_the_way_out_before_anybody_is_asked(
    inputs, tmp_path, policy, told
):
    spec = Reads(verdict=oracle)
    with pytest.raises(RunError, match=f"{told}.*label some") as caught:
        run(inputs, tmp_path, section({**policy, "require": {"kappa": 0.3}}, one=spec))
    assert caught.value.code == "RK622"
    assert not spec.asked


def test_pairs_that_no_judge_looks_at_are_no_labels_for_floors(inputs, tmp_path):
    spec = Reads(verdict=oracle, max_rank=2)
    with pytest.raises(
        RunError,
        match="agreement needs 10 known pairs among the candidates that are judged blind, and there are 0",
    ):
        run(inputs, tmp_path, section({**ALL_KNOWN, "require": {"agreement": 0.1}}, one=spec))
    assert not spec.asked


@pytest.mark.parametrize(
    ("known", "sample", "advice"),
    [
        (0.999, 12, "raise the `max_pairs` of judge 'one', or label some"),
        (
            0.5,
            1000,
            "raise judge.control_pairs.share and the `max_pairs` of judge 'one', or label some",
        ),
        (0.5, None, "raise judge.control_pairs.share, or label some"),
    ],
)
def test_too_few_blind_pairs_for_floors_are_told_before_anybody_is_asked(
    inputs, tmp_path, known, sample, advice
):
    spec = Reads(verdict=oracle, max_pairs=sample)
    with pytest.raises(RunError, match=f"kappa needs 10 .*To go on, {advice}") as caught:
        run(
            inputs,
            tmp_path,
            section({"control_pairs": {"share": known}, "require": {"kappa": 0.3}}, one=spec),
        )
    assert caught.value.code == "RK622"
    assert not spec.asked


def test_a_sample_that_has_enough_blind_pairs_for_floors_is_judged(inputs, tmp_path):
    enough = Reads(verdict=oracle, max_pairs=59)
    run(inputs, tmp_path, section({**ALL_KNOWN, "require": {"kappa": 0.3}}, one=enough))
    assert sum(batch.wanted.sum() for batch in enough.asked) == 59


def test_what_no_setting_could_mend_is_to_be_labelled(inputs, tmp_path):
    spec = Reads(verdict=oracle, max_rank=2, max_pairs=12)
    with pytest.raises(RunError, match=r"agreement needs 10 .*To go on, label some"):
        run(inputs, tmp_path, section({**ALL_KNOWN, "require": {"agreement": 0.1}}, one=spec))


@pytest.mark.parametrize("first", [True, False])
def test_conditions_do_not_put_a_sample_that_is_too_small_off_until_it_is_paid(
    inputs, tmp_path, first
):
    before = {} if first else {"margin": Says(verdict=lambda q, p: IGNORE if p % 2 else NEGATIVE)}
    spec = Reads(
        verdict=oracle,
        max_pairs=12,
        previous_verdicts=("unjudged", "negative") if first else ("ignore",),
    )
    with pytest.raises(RunError, match=r"kappa needs 10 .*raise the `max_pairs` of judge 'one'"):
        run(inputs, tmp_path, section({**ALL_KNOWN, "require": {"kappa": 0.3}}, **before, one=spec))
    assert not spec.asked


def test_where_the_budget_ended_before_enough_was_judged_the_gate_says_so(inputs, tmp_path):
    spec = Reads(verdict=lambda q, p: IGNORE, counts={"pairs_over_budget": 40})
    with pytest.raises(
        RunError,
        match="To go on, raise the budget, which left 40 pairs of judge 'one' unjudged, or label some",
    ):
        run(inputs, tmp_path, section({**ALL_KNOWN, "require": {"kappa": 0.3}}, one=spec))
    few = Reads(verdict=lambda q, p: IGNORE, counts={"pairs_over_budget": 3})
    with pytest.raises(RunError, match="To go on, label some"):
        run(inputs, tmp_path, section({**ALL_KNOWN, "require": {"kappa": 0.3}}, one=few), "few")


def test_floors_are_held_by_people_where_there_are_their_labels(inputs, tmp_path):
    wrong = Reads(verdict=lambda q, p: POSITIVE)
    right_of_people = [(q, q + 1, "positive") for q in range(12)]
    policy = people(tmp_path, *right_of_people)
    policy["control_pairs"]["share"] = 0.999
    run(inputs, tmp_path, section({**policy, "require": {"false_negative_rate": 0.1}}, one=wrong))
    trust = trust_of(tmp_path)
    assert trust["labels"]["cascade"]["false_positive_rate"]["value"] == 1.0, (
        "the source's labels stand apart"
    )
    assert trust["people"]["cascade"]["pairs"] == 12
    with pytest.raises(
        RunError, match="kappa needs 10 known negatives in people's sample, and there are 0"
    ):
        run(inputs, tmp_path, section({**policy, "require": {"kappa": 0.1}}, one=wrong), "kappa")


def test_who_ignores_everything_does_not_pass(inputs, tmp_path):
    policy = {**ALL_KNOWN, "require": {"false_positive_rate": 0.05, "false_negative_rate": 0.05}}
    with pytest.raises(
        RunError,
        match=r"false_positive_rate \(0 known negatives were called positive or negative, and 10 are needed\)",
    ):
        run(inputs, tmp_path, section(policy, one=Reads(verdict=lambda q, p: IGNORE)))
    with pytest.raises(RunError, match=r"decided_share 0.000 \[.*at least 0.5 is required"):
        run(
            inputs,
            tmp_path,
            section(
                {**ALL_KNOWN, "require": {"decided_share": 0.5}},
                one=Reads(verdict=lambda q, p: IGNORE),
            ),
            "decided_share",
        )


def test_pairs_of_a_sample_count_for_those_that_they_were_drawn_from(inputs, tmp_path):
    rows = [(q, q + 1, "positive") for q in range(6)] + [(q, q + 2, "positive") for q in range(6)]
    policy = people(tmp_path, *rows)
    file = policy["control_pairs"]["human_labels"]
    lines = file.read_text().splitlines()
    weights = [1.0] * 6 + [9.0] * 6
    drawn = [
        f"{line},{hidden(w, f'q{q}', f'p{p}')}"
        for line, w, (q, p, _) in zip(lines[1:], weights, rows, strict=True)
    ]
    file.write_text("\n".join([f"{lines[0]},draw", *drawn]) + "\n")
    run(
        inputs,
        tmp_path,
        section(policy, one=Reads(verdict=lambda q, p: POSITIVE if p == q + 1 else NEGATIVE)),
    )
    told = trust_of(tmp_path)["people"]["cascade"]
    assert told["table"]["positive"] == {"positive": 6, "negative": 6, "ignore": 0}
    assert told["false_negative_rate"]["value"] == pytest.approx(0.9)


# Cascades
# -----------------------------------------------------------------------------------------------------------------


def test_of_peoples_pairs_what_stands_is_measured_whoever_said_it_and_nobody_is_asked_for_them_alone(
    inputs, tmp_path
):
    policy = people(tmp_path, *[(q, q + 1, "positive") for q in range(12)])
    margin = Says(verdict=lambda q, p: NEGATIVE if p == q + 1 else IGNORE)
    strong = Reads(verdict=lambda q, p: POSITIVE, previous_verdicts=("ignore",))
    run(inputs, tmp_path, section(policy, margin=margin, strong=strong))
    assert not any(
        (batch.wanted & (batch.passage == batch.query + 1)).any() for batch in strong.asked
    )
    trust = trust_of(tmp_path)["people"]
    assert trust["judges"]["strong"]["pairs"] == 0
    assert trust["cascade"]["false_negative_rate"]["value"] == 1.0


def test_judges_that_wait_for_a_filter_are_not_measured_together_by_labels(inputs, tmp_path):
    judges = {
        "margin": Says(verdict=lambda q, p: IGNORE),
        "cheap": Reads(verdict=lambda q, p: NEGATIVE),
        "strong": Reads(verdict=oracle, disagreeing_with="margin"),
    }
    run(inputs, tmp_path, section(ALL_KNOWN, **judges))
    trust = trust_of(tmp_path)["labels"]
    assert trust["judges"]["strong"]["kappa"]["value"] == 1.0
    assert trust["cascade"]["kappa"] is None
    told = "what 'strong' is asked goes by 'margin', which does not speak of labelled pairs"
    assert trust["cascade"]["unmeasured"]["kappa"] == told
    with pytest.raises(RunError, match=told):
        run(
            inputs,
            tmp_path,
            section({**ALL_KNOWN, "require": {"agreement": 0.1}}, **judges),
            "floors",
        )


def test_a_filter_between_two_models_leaves_the_second_undecided(inputs, tmp_path):
    judges = {
        "cheap": Reads(verdict=oracle),
        "margin": Says(verdict=lambda q, p: IGNORE),
        "strong": Reads(verdict=oracle, previous_verdicts=("ignore",)),
    }
    run(inputs, tmp_path, section(ALL_KNOWN, **judges))
    assert "goes by 'margin'" in trust_of(tmp_path)["labels"]["cascade"]["unmeasured"]["kappa"]


def test_an_overruled_positive_is_no_reference_for_the_next_judge(inputs, tmp_path):
    cheap = Reads(verdict=lambda q, p: NEGATIVE if q < 6 else oracle(q, p))
    strong = Reads(verdict=oracle, previous_verdicts=("positive", "ignore"))
    _, summary = run(
        inputs, tmp_path, section({"rejudge_source_labels": True}, cheap=cheap, strong=strong)
    )
    given = {int(q) for batch in strong.asked for q in batch.query[batch.source_positive]}
    assert given == set(range(6, 12))
    assert summary["overruled"] == {"positive": 6, "negative": 0}


def test_an_answer_that_could_not_be_had_overrules_nobody(inputs, tmp_path):
    cheap = Reads(verdict=lambda q, p: POSITIVE)
    strong = Reads(verdict=lambda q, p: IGNORE, ungraded=True, previous_verdicts=("positive",))
    rows, summary = run(
        inputs, tmp_path, section({"rejudge_source_labels": True}, cheap=cheap, strong=strong)
    )
    assert {row["judge"] for row in rows.values() if row["query"] < 3} == {"cheap"}
    assert summary["judges"]["strong"]["judged"] == 0
    trust = trust_of(tmp_path)["labels"]
    assert trust["judges"]["strong"]["table"]["positive"]["ignore"] == 12, (
        "of itself it is undecided"
    )
    assert trust["cascade"]["table"]["positive"] == {"positive": 12, "negative": 0, "ignore": 0}, (
        "the other's word stands here, too"
    )
    alone, _ = run(
        inputs, tmp_path, section(one=Reads(verdict=lambda q, p: IGNORE, ungraded=True)), "alone"
    )
    assert alone[0, 1]["verdict"] == IGNORE, "where nobody spoke it is ignored"


# What judges cost
# ---------------------------------------------------------------------------------------------------------


def test_judges_of_a_stage_share_one_account_that_stays_the_same_over_attempts(inputs, tmp_path):
    first, second = Reads(verdict=oracle), Reads(verdict=oracle)
    judges = section({"max_cost_usd": 2.5, "max_calls": 7}, first=first, second=second)
    run(inputs, tmp_path, judges, "attempt")
    run(inputs, tmp_path, judges, "another")
    accounts = [spec.given[attempt].spending for attempt in (0, 1) for spec in (first, second)]
    assert accounts == [accounts[0]] * 4
    assert (accounts[0].max_cost_usd, accounts[0].max_calls) == (2.5, 7)
    assert accounts[0].calls == inputs.store.root / "calls.sqlite"


def test_what_the_budget_left_is_told_with_the_way_on(inputs, tmp_path):
    spec = Reads(
        verdict=oracle, silent=True, counts={"calls": 3, "usd": 0.4, "pairs_over_budget": 12}
    )
    _, summary = run(
        inputs, tmp_path, section({"max_cost_usd": 0.4, "control_pairs": {"share": 0.0}}, one=spec)
    )
    assert summary["spent"] == {"usd": 0.4, "calls": 3}
    [note] = summary["notes"]
    assert note == (
        "judge 'one': the budget is spent, 12 of 48 pairs stay without its verdict. To go on, raise judge.max_cost_usd (0.4): "
        "about $0.13 more would do for this judge; what is paid for is kept and is not paid again"
    )
    assert inputs.progress.warnings == [note]


def test_what_a_limit_of_calls_left_is_told_in_calls(inputs, tmp_path):
    spec = Reads(
        verdict=oracle, silent=True, counts={"calls": 3, "usd": None, "pairs_over_budget": 12}
    )
    _, summary = run(
        inputs, tmp_path, section({"max_calls": 3, "control_pairs": {"share": 0.0}}, one=spec)
    )
    [note] = summary["notes"]
    assert (
        "raise judge.max_calls (3): about 1 call more would do for this judge; what is paid" in note
    )


def test_a_limit_that_allows_no_call_says_what_one_may_cost(inputs, tmp_path):
    spec = Reads(
        verdict=oracle,
        silent=True,
        counts={"calls": 0, "usd": 0.0, "pairs_over_budget": 48, "refused_usd": 0.0034},
    )
    _, summary = run(
        inputs,
        tmp_path,
        section({"max_cost_usd": 0.003, "control_pairs": {"share": 0.0}}, one=spec),
    )
    [note] = summary["notes"]
    assert (
        "raise judge.max_cost_usd (0.003) (the next call could cost $0.0034, for which there was no room); what is paid"
        in note
    )


def test_counts_of_a_judge_that_is_done_survive_the_death_of_the_next(inputs, tmp_path):
    first = Reads(verdict=oracle, counts={"calls": 5, "usd": 0.25})
    with pytest.raises(MemoryError):
        run(inputs, tmp_path, section(first=first, second=Reads(verdict=oracle, dies_after=1)))
    _, summary = run(
        inputs,
        tmp_path,
        section(
            first=Reads(verdict=oracle),
            second=Reads(verdict=oracle, counts={"calls": 1, "usd": None}),
        ),
    )
    assert summary["judges"]["first"]["counts"] == {"calls": 5, "usd": 0.25}
    assert summary["spent"] == {"usd": None, "calls": 6}, (
        "a price that is not known makes the sum unknown"
    )


def test_a_sample_that_is_also_known_is_taken_at_peoples_word(inputs, tmp_path):
    policy = people(tmp_path, (2, 2, "negative"))
    policy["control_pairs"]["share"] = 0.999
    inputs.artifacts = {
        **inputs.artifacts,
        "collect": Artifact("collect", "same", inputs.dataset.path),
    }
    run(inputs, tmp_path, section(policy, one=Reads(verdict=oracle)))
    trust = trust_of(tmp_path)
    assert trust["people"]["judges"]["one"]["table"]["negative"]["positive"] == 1
    assert trust["labels"]["cascade"]["pairs"] == 23
