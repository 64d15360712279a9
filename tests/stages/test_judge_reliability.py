"""Control pairs measure the judges, change no label, and decide whether floors are reached."""

import json
from typing import ClassVar

import numpy as np
import pytest

from helpers.judging import (
    IGNORE,
    NEGATIVE,
    POSITIVE,
    UNJUDGED,
    ScriptedFilter,
    ScriptedReader,
    judge_inputs,
    run,
    section,
)
from recipekit.artifacts.store import Artifact
from recipekit.component import Account, Spending
from recipekit.errors import DataError, RunError
from recipekit.human_labels import weights_file
from recipekit.judges.labels import LabelsSpec
from recipekit.stages.inputs import StageInputs

ALL_LABELS = {"control_pairs": {"share": 0.999}}


@pytest.fixture
def inputs(tmp_path, make_dataset) -> StageInputs:
    """12 train queries; passage q at rank 5 is the positive, passage q+3 at rank 3 a negative."""
    passages = [(f"p{i}", "word " * (i * 10)) for i in range(36)]
    labels = {(q, q): 1.0 for q in range(12)} | {(q, q + 3): 0.0 for q in range(12)}
    dataset = make_dataset([(f"q{i}", f"text {i}", "train") for i in range(12)], passages, labels)
    return judge_inputs(tmp_path, dataset)


def reliability_of(tmp_path, folder="out"):
    return json.loads((tmp_path / folder / "reliability.json").read_text())


def oracle(query: int, passage: int) -> int:
    return POSITIVE if passage == query else NEGATIVE


def test_source_positives_are_judged_unmarked_and_stay_positive(inputs, tmp_path):
    spec = ScriptedReader(verdict=lambda q, p: NEGATIVE if q < 3 else oracle(q, p))
    rows, summary = run(inputs, tmp_path, section(ALL_LABELS, one=spec))
    assert all(
        rows[q, q]["verdict"] == POSITIVE and rows[q, q]["judge"] == "source" for q in range(12)
    )
    assert all(rows[q, q + 3]["judge"] == "one" for q in range(12)), (
        "a judged negative of the source is a candidate and a control pair"
    )
    assert summary["judges"]["one"]["pairs"] == 48
    assert summary["judges"]["one"]["control_pairs"] == 12
    assert summary["judges"]["one"]["judged"] == 48
    [batch] = spec.batches
    assert batch.wanted[batch.source_positive].all(), (
        "a source positive is wanted like any other candidate"
    )
    assert (batch.previous_verdict[batch.source_positive] == UNJUDGED).all(), (
        "the judge is not shown the label"
    )
    assert (batch.previous_verdict[batch.passage == batch.query + 3] == UNJUDGED).all()

    reliability = reliability_of(tmp_path)
    none = {"positive": 0, "negative": 0, "ignore": 0}
    assert reliability["control_pairs"] == {
        "source_labels": {"positive": 12, "negative": 12, "ignore": 0},
        "human_labels": none,
        "not_candidates": 0,
    }
    assert reliability["human_labels"] is None
    figures = reliability["source_labels"]["judges"]["one"]
    assert figures["table"] == {
        "positive": {"positive": 9, "negative": 3, "ignore": 0},
        "negative": {"positive": 0, "negative": 12, "ignore": 0},
    }
    assert figures["false_negative_rate"]["value"] == 0.25
    assert figures["kappa"]["value"] == pytest.approx(0.75)
    assert set(figures["by_rank"]) == {"1-10", "not retrieved"}
    assert figures["by_rank"]["not retrieved"]["pairs"] == 12
    assert sum(band["pairs"] for band in figures["by_length"].values()) == 24
    assert len(figures["by_length"]) == 3
    assert summary["reliability"]["one"]["kappa"] == pytest.approx(0.75)
    assert [
        (example["label"], example["verdict"], example["judge"])
        for example in reliability["examples"]
    ] == [("positive", "negative", "one")] * 3


def test_examples_have_texts_and_the_reasons_of_the_last_judge(inputs, tmp_path):
    first = ScriptedReader(verdict=oracle, reason="first")
    last = ScriptedReader(
        verdict=lambda q, p: NEGATIVE if q == 1 else oracle(q, p),
        reason="last",
        previous_verdicts=("positive",),
    )
    run(inputs, tmp_path, section(ALL_LABELS, first=first, last=last))
    [example] = reliability_of(tmp_path)["examples"]
    assert example["reason"] == "last 1-1"
    assert (example["judge"], example["query"], example["rank"], example["labelled_by"]) == (
        "last",
        "text 1",
        5,
        "source",
    )


def test_control_pairs_are_a_seeded_share_and_a_filter_gets_none(inputs, tmp_path):
    def control_queries(folder, share, seed=13):
        inputs.seed = seed
        spec = ScriptedReader(verdict=oracle)
        run(inputs, tmp_path, section({"control_pairs": {"share": share}}, one=spec), folder)
        return {
            int(q)
            for batch in spec.batches
            for q in batch.query[batch.source_positive & batch.wanted]
        }

    half = control_queries("half", 0.5)
    assert 1 < len(half) < 11
    assert control_queries("again", 0.5) == half != control_queries("other", 0.5, seed=14)
    assert half < control_queries("more", 0.9)
    assert control_queries("none", 0.0) == set()
    inputs.seed = 13
    unmeasured = ScriptedFilter(verdict=oracle)
    _, summary = run(inputs, tmp_path, section(ALL_LABELS, one=unmeasured), "unmeasured")
    assert not (unmeasured.batches[0].wanted & unmeasured.batches[0].source_positive).any()
    assert "reliability" not in summary
    assert not (tmp_path / "unmeasured" / "reliability.json").exists()


def test_cascade_conditions_on_control_pairs_use_verdicts_and_never_labels(inputs, tmp_path):
    cheap = ScriptedReader(verdict=lambda q, p: POSITIVE if (q + p) % 4 == 0 else NEGATIVE)
    strong = ScriptedReader(verdict=oracle, previous_verdicts=("positive",))
    run(inputs, tmp_path, section(ALL_LABELS, cheap=cheap, strong=strong))
    [batch] = strong.batches
    control = batch.source_positive & batch.wanted
    assert set(batch.query[control].tolist()) == {q for q in range(12) if (2 * q) % 4 == 0}
    assert (batch.previous_verdict[control] == POSITIVE).all()
    reliability = reliability_of(tmp_path)["source_labels"]
    assert reliability["judges"]["cheap"]["pairs"] == 24
    assert reliability["judges"]["strong"]["control_pairs"] == sum(
        (2 * q) % 4 == 0 for q in range(12)
    ) + sum((2 * q + 3) % 4 == 0 for q in range(12))
    assert reliability["final"]["pairs"] == 24
    assert reliability["final"]["table"]["positive"] == {"positive": 6, "negative": 6, "ignore": 0}


def test_a_judge_after_a_filter_gets_all_control_pairs_shown_like_the_others(inputs, tmp_path):
    margin = ScriptedFilter(verdict=lambda q, p: IGNORE if p % 2 else NEGATIVE)
    strong = ScriptedReader(verdict=oracle, previous_verdicts=("ignore",))
    run(inputs, tmp_path, section(ALL_LABELS, margin=margin, strong=strong))
    [batch] = strong.batches
    assert (batch.wanted & batch.source_positive).sum() == 12
    assert set(batch.previous_verdict[batch.wanted & batch.source_positive].tolist()) == {IGNORE}, (
        "they look like the pairs that the filter ignored"
    )


def test_rejudging_source_labels_replaces_them_and_measures_on_all(inputs, tmp_path):
    rows, summary = run(
        inputs,
        tmp_path,
        section(
            {"rejudge_source_labels": True},
            one=ScriptedReader(verdict=lambda q, p: NEGATIVE if q < 3 else oracle(q, p)),
        ),
    )
    assert (rows[2, 2]["verdict"], rows[2, 2]["judge"]) == (NEGATIVE, "one")
    assert (rows[5, 5]["verdict"], rows[5, 5]["judge"]) == (POSITIVE, "one")
    assert summary["judges"]["one"]["pairs"] == 60
    assert summary["judges"]["one"]["control_pairs"] == 0
    assert summary["reliability"]["one"]["pairs"] == 24


@pytest.mark.parametrize("deaths", [(0,), (3, 7), (13,)])
def test_control_pairs_survive_a_kill(inputs, tmp_path, deaths):
    def judges(**more):
        cheap = ScriptedReader(verdict=lambda q, p: (q * 7 + p) % 3, reason="r")
        return section(
            {"control_pairs": {"share": 0.6}},
            cheap=cheap,
            strong=ScriptedReader(
                verdict=oracle, previous_verdicts=("positive", "ignore"), pairs_per_yield=2, **more
            ),
        )

    whole, counted = run(inputs, tmp_path, judges(), "whole")
    for death in deaths:
        with pytest.raises(MemoryError):
            run(inputs, tmp_path, judges(dies_after=death))
    rows, summary = run(inputs, tmp_path, judges())
    assert (rows, summary) == (whole, counted)
    assert reliability_of(tmp_path) == reliability_of(tmp_path, "whole")


# Human labels
# -------------------------------------------------------------------------------------------------


def human_labels(tmp_path, *rows: tuple[int, int, str], weights: list[float] | None = None):
    """The `control_pairs` policy of a labelled sample with its weights, by default all 1."""
    file = tmp_path / "people.csv"
    file.write_text(
        "query_id,passage_id,query,passage,verdict\n"
        + "".join(f"q{q},p{p},a text,another,{verdict}\n" for q, p, verdict in rows)
    )
    pairs = [
        {"query_id": f"q{q}", "passage_id": f"p{p}", "weight": weight}
        for (q, p, _), weight in zip(rows, weights or [1.0] * len(rows), strict=True)
    ]
    weights_file(file).write_text(json.dumps({"pairs": pairs}))
    return {"control_pairs": {"share": 0.0, "human_labels": file}}


def test_human_labels_measure_and_change_no_judgment(inputs, tmp_path):
    policy = human_labels(
        tmp_path,
        (0, 1, "positive"),
        (1, 2, "negative"),
        (2, 2, "negative"),
        (3, 4, "ignore"),
        (4, 5, ""),
    )
    rows, summary = run(
        inputs, tmp_path, section(policy, one=ScriptedReader(verdict=lambda q, p: POSITIVE))
    )
    assert rows[1, 2]["verdict"] == POSITIVE
    assert rows[2, 2]["judge"] == "source"
    reliability = reliability_of(tmp_path)
    assert reliability["control_pairs"]["human_labels"] == {
        "positive": 1,
        "negative": 2,
        "ignore": 1,
    }
    assert reliability["human_labels"]["final"]["false_positive_rate"]["value"] == 1.0
    assert reliability["human_labels"]["final"]["labelled_ignore"] == 1
    assert reliability["source_labels"]["final"]["pairs"] == 0
    assert summary["reliability"]["one"]["labels"] == "human_labels"
    assert {example["labelled_by"] for example in reliability["examples"]} == {"human"}
    assert summary["judges"]["one"]["control_pairs"] == 1, (
        "the source positive alone; the others are judged anyway"
    )


def test_max_pairs_selects_human_labelled_pairs_first(inputs, tmp_path):
    spec = ScriptedReader(verdict=oracle, max_pairs=3)
    run(
        inputs,
        tmp_path,
        section(human_labels(tmp_path, (0, 1, "positive"), (7, 9, "negative")), one=spec),
    )
    [batch] = [
        np.stack([b.query[b.wanted], b.passage[b.wanted]], axis=1).tolist() for b in spec.batches
    ]
    assert len(batch) == 3
    assert [0, 1] in batch and [7, 9] in batch


def test_human_labels_on_pairs_that_are_not_candidates_cause_a_warning(inputs, tmp_path):
    run(
        inputs,
        tmp_path,
        section(
            human_labels(tmp_path, (0, 1, "positive"), (0, 30, "negative")),
            one=ScriptedReader(verdict=oracle),
        ),
    )
    [warning] = inputs.progress.warnings
    assert warning.startswith("1 of the 2 pairs in ") and "are not candidates" in warning


def test_human_labels_of_other_data_are_an_error(inputs, tmp_path):
    (tmp_path / "other.csv").write_text("query_id,passage_id,verdict\nx,y,positive\n")
    with pytest.raises(DataError, match=r"unknown ids, .*; is this the right file\?$"):
        run(
            inputs,
            tmp_path,
            section(
                {"control_pairs": {"human_labels": tmp_path / "other.csv"}},
                one=ScriptedReader(verdict=oracle),
            ),
        )


class Annotators(ScriptedFilter):
    """The judge of a plugin that gives labels of people."""

    human: ClassVar[bool] = True


@pytest.mark.parametrize("kind", ["built-in", "plugin"])
def test_human_labels_of_a_judge_are_not_compared_with_themselves(inputs, tmp_path, kind):
    policy = human_labels(tmp_path, (0, 1, "positive"), (1, 2, "negative"))
    people = LabelsSpec(file=policy["control_pairs"]["human_labels"])
    if kind == "plugin":
        people = Annotators(verdict=lambda q, p: POSITIVE if (q, p) == (0, 1) else NEGATIVE)
    rows, _ = run(
        inputs,
        tmp_path,
        section(policy, one=ScriptedReader(verdict=oracle), people=people),
    )
    assert (rows[0, 1]["verdict"], rows[0, 1]["judge"]) == (POSITIVE, "people")
    reliability = reliability_of(tmp_path)["human_labels"]
    assert list(reliability["judges"]) == ["one"]
    assert reliability["judges"]["one"]["table"]["positive"] == {
        "positive": 0,
        "negative": 1,
        "ignore": 0,
    }
    assert reliability["final"]["table"] == reliability["judges"]["one"]["table"], (
        "the final verdict comes from the same people, which proves nothing"
    )


# Floors
# -------------------------------------------------------------------------------------------------


def test_judges_below_a_floor_end_the_run_after_everything_is_written(inputs, tmp_path):
    inputs.run = tmp_path
    spec = ScriptedReader(verdict=lambda q, p: NEGATIVE if q < 9 else oracle(q, p))
    policy = {**ALL_LABELS, "require": {"kappa": 0.5, "false_negative_rate": 0.1, "agreement": 0.5}}
    with pytest.raises(RunError) as caught:
        run(inputs, tmp_path, section(policy, one=spec))
    assert caught.value.code == "RK621"
    [line] = str(caught.value).splitlines()
    assert "kappa 0.250 [" in line and "at least 0.5 is required" in line
    assert "false_negative_rate 0.750 [" in line and "at most 0.1 is required" in line
    assert "agreement" not in line
    assert str(tmp_path / "reliability.json") in line
    assert json.loads((tmp_path / "reliability.json").read_text()) == reliability_of(tmp_path)
    assert (tmp_path / "out" / "judgments.arrow").exists()
    run(inputs, tmp_path, section({**policy, "require": {"kappa": 0.2}}, one=spec))
    assert len(spec.batches) == 1, "nothing is judged again for another floor"


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (
            {"control_pairs": {"share": 0.0}},
            "kappa needs 10 positives among the control pairs, and there are 0",
        ),
        (
            {"control_pairs": {"share": 0.4}},
            r"kappa needs 10 negatives among the control pairs, and there are \d\.",
        ),
    ],
)
def test_an_unmeasurable_floor_is_an_error_before_any_judge_runs(inputs, tmp_path, policy, message):
    spec = ScriptedReader(verdict=oracle)
    with pytest.raises(RunError, match=f"{message}.*label pairs") as caught:
        run(inputs, tmp_path, section({**policy, "require": {"kappa": 0.3}}, one=spec))
    assert caught.value.code == "RK622"
    assert not spec.batches


def test_pairs_that_no_judge_gets_do_not_count_for_floors(inputs, tmp_path):
    spec = ScriptedReader(verdict=oracle, max_rank=2)
    with pytest.raises(
        RunError,
        match="agreement needs 10 labelled pairs among the control pairs, and there are 0",
    ):
        run(inputs, tmp_path, section({**ALL_LABELS, "require": {"agreement": 0.1}}, one=spec))
    assert not spec.batches


@pytest.mark.parametrize(("share", "max_pairs"), [(0.999, 12), (0.5, 1000), (0.5, None)])
def test_too_few_control_pairs_are_an_error_that_names_the_settings(
    inputs, tmp_path, share, max_pairs
):
    spec = ScriptedReader(verdict=oracle, max_pairs=max_pairs)
    policy = {"control_pairs": {"share": share}, "require": {"kappa": 0.3}}
    advice = "raise judge.control_pairs.share or the judges' `max_pairs` .*, or label pairs"
    with pytest.raises(RunError, match=f"kappa needs 10 .*To continue, {advice}") as caught:
        run(inputs, tmp_path, section(policy, one=spec))
    assert caught.value.code == "RK622"
    assert not spec.batches


def test_max_pairs_with_enough_control_pairs_runs(inputs, tmp_path):
    enough = ScriptedReader(verdict=oracle, max_pairs=59)
    run(inputs, tmp_path, section({**ALL_LABELS, "require": {"kappa": 0.3}}, one=enough))
    assert sum(batch.wanted.sum() for batch in enough.batches) == 59


@pytest.mark.parametrize("first", [True, False])
def test_too_small_max_pairs_is_an_error_before_a_conditional_judge_runs(inputs, tmp_path, first):
    before = (
        {}
        if first
        else {"margin": ScriptedFilter(verdict=lambda q, p: IGNORE if p % 2 else NEGATIVE)}
    )
    spec = ScriptedReader(
        verdict=oracle,
        max_pairs=12,
        previous_verdicts=("unjudged", "negative") if first else ("ignore",),
    )
    with pytest.raises(RunError, match=r"kappa needs 10 .*raise .*the judges' `max_pairs`"):
        run(
            inputs, tmp_path, section({**ALL_LABELS, "require": {"kappa": 0.3}}, **before, one=spec)
        )
    assert not spec.batches


def test_a_budget_that_left_control_pairs_unjudged_is_the_remedy(inputs, tmp_path):
    spec = ScriptedReader(verdict=lambda q, p: IGNORE, counts={"pairs_over_budget": 40})
    advice = "To continue, raise the budget, which left 40 pairs of judge 'one' unjudged"
    with pytest.raises(RunError, match=advice):
        run(inputs, tmp_path, section({**ALL_LABELS, "require": {"kappa": 0.3}}, one=spec))


def test_floors_use_human_labels_where_there_are_any(inputs, tmp_path):
    wrong = ScriptedReader(verdict=lambda q, p: POSITIVE)
    right = [(q, q + 1, "positive") for q in range(12)]
    policy = human_labels(tmp_path, *right)
    policy["control_pairs"]["share"] = 0.999
    run(inputs, tmp_path, section({**policy, "require": {"false_negative_rate": 0.1}}, one=wrong))
    reliability = reliability_of(tmp_path)
    assert reliability["source_labels"]["final"]["false_positive_rate"]["value"] == 1.0, (
        "source labels are measured separately"
    )
    assert reliability["human_labels"]["final"]["pairs"] == 12
    with pytest.raises(
        RunError, match="kappa needs 10 negatives among the human labels, and there are 0"
    ):
        run(inputs, tmp_path, section({**policy, "require": {"kappa": 0.1}}, one=wrong), "kappa")


def test_a_judge_that_ignores_everything_reaches_no_floor(inputs, tmp_path):
    policy = {**ALL_LABELS, "require": {"false_positive_rate": 0.05, "false_negative_rate": 0.05}}
    with pytest.raises(
        RunError,
        match=r"false_positive_rate \(0 negatives have a verdict that counts, and 10 are needed\)",
    ):
        run(inputs, tmp_path, section(policy, one=ScriptedReader(verdict=lambda q, p: IGNORE)))
    with pytest.raises(RunError, match=r"decided_share 0.000 \[.*at least 0.5 is required"):
        run(
            inputs,
            tmp_path,
            section(
                {**ALL_LABELS, "require": {"decided_share": 0.5}},
                one=ScriptedReader(verdict=lambda q, p: IGNORE),
            ),
            "decided_share",
        )


def test_weights_of_a_sample_count_in_the_figures(inputs, tmp_path):
    rows = [(q, q + 1, "positive") for q in range(6)] + [(q, q + 2, "positive") for q in range(6)]
    policy = human_labels(tmp_path, *rows, weights=[1.0] * 6 + [9.0] * 6)
    first_only = ScriptedReader(verdict=lambda q, p: POSITIVE if p == q + 1 else NEGATIVE)
    run(inputs, tmp_path, section(policy, one=first_only))
    figures = reliability_of(tmp_path)["human_labels"]["final"]
    assert figures["table"]["positive"] == {"positive": 6, "negative": 6, "ignore": 0}
    assert figures["false_negative_rate"]["value"] == pytest.approx(0.9)
    assert inputs.progress.warnings == []


def test_a_sample_without_its_weights_counts_equally_with_a_warning(inputs, tmp_path):
    rows = [(q, q + 1, "positive") for q in range(6)] + [(q, q + 2, "positive") for q in range(6)]
    policy = human_labels(tmp_path, *rows, weights=[1.0] * 6 + [9.0] * 6)
    weights = weights_file(policy["control_pairs"]["human_labels"])
    weights.unlink()
    first_only = ScriptedReader(verdict=lambda q, p: POSITIVE if p == q + 1 else NEGATIVE)
    run(inputs, tmp_path, section(policy, one=first_only))
    figures = reliability_of(tmp_path)["human_labels"]["final"]
    assert figures["false_negative_rate"]["value"] == 0.5
    assert inputs.progress.warnings == [
        f"{weights}: no such file, so all pairs in people.csv count equally; "
        "`recipekit judge sample` writes both files"
    ]


# Cascades
# -------------------------------------------------------------------------------------------------


def test_on_human_labels_the_final_verdict_is_measured_even_if_a_filter_gave_it(inputs, tmp_path):
    policy = human_labels(tmp_path, *[(q, q + 1, "positive") for q in range(12)])
    margin = ScriptedFilter(verdict=lambda q, p: NEGATIVE if p == q + 1 else IGNORE)
    strong = ScriptedReader(verdict=lambda q, p: POSITIVE, previous_verdicts=("ignore",))
    run(inputs, tmp_path, section(policy, margin=margin, strong=strong))
    assert not any(
        (batch.wanted & (batch.passage == batch.query + 1)).any() for batch in strong.batches
    )
    reliability = reliability_of(tmp_path)["human_labels"]
    assert reliability["judges"]["strong"]["pairs"] == 0
    assert reliability["final"]["false_negative_rate"]["value"] == 1.0


def test_a_judge_that_depends_on_a_filter_makes_the_final_verdict_unmeasured(inputs, tmp_path):
    judges = {
        "margin": ScriptedFilter(verdict=lambda q, p: IGNORE),
        "cheap": ScriptedReader(verdict=lambda q, p: NEGATIVE),
        "strong": ScriptedReader(verdict=oracle, disagreeing_with="margin"),
    }
    run(inputs, tmp_path, section(ALL_LABELS, **judges))
    reliability = reliability_of(tmp_path)["source_labels"]
    assert reliability["judges"]["strong"]["kappa"]["value"] == 1.0
    assert reliability["final"]["kappa"] is None
    reason = "judge 'strong' depends on 'margin', which does not judge control pairs"
    assert reliability["final"]["unmeasured"]["kappa"] == reason
    with pytest.raises(RunError, match=reason):
        run(
            inputs,
            tmp_path,
            section({**ALL_LABELS, "require": {"agreement": 0.1}}, **judges),
            "floors",
        )


def test_a_filter_between_two_judges_makes_the_final_verdict_unmeasured(inputs, tmp_path):
    judges = {
        "cheap": ScriptedReader(verdict=oracle),
        "margin": ScriptedFilter(verdict=lambda q, p: IGNORE),
        "strong": ScriptedReader(verdict=oracle, previous_verdicts=("ignore",)),
    }
    run(inputs, tmp_path, section(ALL_LABELS, **judges))
    assert (
        "depends on 'margin'"
        in reliability_of(tmp_path)["source_labels"]["final"]["unmeasured"]["kappa"]
    )


def test_an_overruled_positive_is_not_a_source_positive_for_the_next_judge(inputs, tmp_path):
    cheap = ScriptedReader(verdict=lambda q, p: NEGATIVE if q < 6 else oracle(q, p))
    strong = ScriptedReader(verdict=oracle, previous_verdicts=("positive", "ignore"))
    _, summary = run(
        inputs, tmp_path, section({"rejudge_source_labels": True}, cheap=cheap, strong=strong)
    )
    positives = {int(q) for batch in strong.batches for q in batch.query[batch.source_positive]}
    assert positives == set(range(6, 12))
    assert summary["overruled"] == {"positive": 6, "negative": 0}


def test_an_ungraded_pair_keeps_its_previous_verdict(inputs, tmp_path):
    cheap = ScriptedReader(verdict=lambda q, p: POSITIVE)
    strong = ScriptedReader(
        verdict=lambda q, p: IGNORE, ungraded=True, previous_verdicts=("positive",)
    )
    rows, summary = run(
        inputs, tmp_path, section({"rejudge_source_labels": True}, cheap=cheap, strong=strong)
    )
    assert {row["judge"] for row in rows.values() if row["query"] < 3} == {"cheap"}
    assert summary["judges"]["strong"]["judged"] == 0
    reliability = reliability_of(tmp_path)["source_labels"]
    assert reliability["judges"]["strong"]["table"]["positive"]["ignore"] == 12, (
        "the judge's own figures count it as ignored"
    )
    assert reliability["final"]["table"]["positive"] == {
        "positive": 12,
        "negative": 0,
        "ignore": 0,
    }, "the earlier verdict stays here, too"
    alone, _ = run(
        inputs,
        tmp_path,
        section(one=ScriptedReader(verdict=lambda q, p: IGNORE, ungraded=True)),
        "alone",
    )
    assert alone[0, 1]["verdict"] == IGNORE, "without an earlier verdict it is ignored"


# Spending
# -------------------------------------------------------------------------------------------------


def test_the_judges_of_a_stage_spend_from_one_account(inputs, tmp_path):
    inputs.spending = Spending((Account("account", 2.5, 7),))
    first, second = ScriptedReader(verdict=oracle), ScriptedReader(verdict=oracle)
    run(inputs, tmp_path, section(first=first, second=second))
    calls = inputs.store.root / "calls.sqlite"
    spending = [spec.contexts[0].spending for spec in (first, second)]
    assert spending == [Spending((Account("account", 2.5, 7),), calls)] * 2


def test_a_note_says_what_the_budget_left_and_how_to_continue(inputs, tmp_path):
    spec = ScriptedReader(
        verdict=oracle, silent=True, counts={"calls": 3, "usd": 0.4, "pairs_over_budget": 12}
    )
    inputs.spending = Spending((Account(max_cost_usd=0.4),))
    _, summary = run(inputs, tmp_path, section({"control_pairs": {"share": 0.0}}, one=spec))
    assert summary["spent"] == {"usd": 0.4, "calls": 3, "limit_reached": True}
    [note] = summary["notes"]
    assert note == (
        "judge 'one': the budget is spent, and 12 of 48 pairs have no verdict from it. "
        "To judge them, raise spending.max_cost_usd (0.4) by about $0.13; "
        "replies that are paid for are kept and not paid again"
    )
    assert inputs.progress.warnings == [note]


def test_a_note_on_a_limit_of_calls_counts_calls(inputs, tmp_path):
    spec = ScriptedReader(
        verdict=oracle, silent=True, counts={"calls": 3, "usd": None, "pairs_over_budget": 12}
    )
    inputs.spending = Spending((Account(max_calls=3),))
    _, summary = run(inputs, tmp_path, section({"control_pairs": {"share": 0.0}}, one=spec))
    [note] = summary["notes"]
    assert "raise spending.max_calls (3) by about 1 call; replies that are paid for" in note


def test_a_note_names_the_limits_that_were_reached(inputs, tmp_path):
    counts = {"calls": 3, "usd": 0.4, "pairs_over_budget": 12}
    reached = {**counts, "limits_reached": ["judge.spending.max_calls"]}
    inputs.spending = Spending(
        (Account("account", 2.5), Account("own", 0.5, 3, limits="judge.spending"))
    )
    for own, advice in (
        (reached, "raise judge.spending.max_calls (3) by about 1 call; replies"),
        (
            counts,
            "raise spending.max_cost_usd (2.5) or judge.spending.max_cost_usd (0.5) or "
            "judge.spending.max_calls (3) by about $0.13 and 1 call; replies",
        ),
    ):
        spec = ScriptedReader(verdict=oracle, silent=True, counts=own)
        of = section({"control_pairs": {"share": 0.0}}, one=spec)
        _, summary = run(inputs, tmp_path, of, str(len(own)))
        assert advice in summary["notes"][0]


def test_a_note_on_a_limit_too_small_for_one_call_says_what_it_costs(inputs, tmp_path):
    spec = ScriptedReader(
        verdict=oracle,
        silent=True,
        counts={"calls": 0, "usd": 0.0, "pairs_over_budget": 48, "refused_usd": 0.0034},
    )
    inputs.spending = Spending((Account(max_cost_usd=0.003),))
    _, summary = run(inputs, tmp_path, section({"control_pairs": {"share": 0.0}}, one=spec))
    [note] = summary["notes"]
    assert (
        "raise spending.max_cost_usd (0.003) "
        "(the next call could cost $0.0034, more than was left); replies" in note
    )


def test_counts_of_a_finished_judge_survive_the_death_of_the_next(inputs, tmp_path):
    first = ScriptedReader(verdict=oracle, counts={"calls": 5, "usd": 0.25})
    with pytest.raises(MemoryError):
        run(
            inputs,
            tmp_path,
            section(first=first, second=ScriptedReader(verdict=oracle, dies_after=1)),
        )
    _, summary = run(
        inputs,
        tmp_path,
        section(
            first=ScriptedReader(verdict=oracle),
            second=ScriptedReader(verdict=oracle, counts={"calls": 1, "usd": None}),
        ),
    )
    assert summary["judges"]["first"]["counts"] == {"calls": 5, "usd": 0.25}
    assert summary["spent"] == {"usd": None, "calls": 6, "limit_reached": False}, (
        "one unknown price makes the sum unknown"
    )


def test_a_pair_with_both_labels_counts_as_human_labelled(inputs, tmp_path):
    policy = human_labels(tmp_path, (2, 2, "negative"))
    policy["control_pairs"]["share"] = 0.999
    inputs.artifacts = {
        **inputs.artifacts,
        "collect": Artifact("collect", "same", inputs.dataset.path),
    }
    run(inputs, tmp_path, section(policy, one=ScriptedReader(verdict=oracle)))
    reliability = reliability_of(tmp_path)
    assert reliability["human_labels"]["judges"]["one"]["table"]["negative"]["positive"] == 1
    assert reliability["source_labels"]["final"]["pairs"] == 23
