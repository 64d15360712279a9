"""The report of a run, from a folder on disk."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recipekit.errors import StoreError
from recipekit.recipe.sections import SECTIONS
from recipekit.report.examples import false_negatives
from recipekit.report.folder import RunFolder
from recipekit.report.render import render, terminal_summary, write_report


def test_a_whole_run_is_told(write_run: Callable[..., Path]):
    run = write_run()
    (run / "log.jsonl").write_text(
        json.dumps(
            {"stage": "train", "event": "warning", "message": "37 % of the passages are cut"}
        )
        + '\n{"half'
    )
    report = render(run)

    assert report.startswith("# tiny\n\nFinds \\*tiny\\* things.\n")
    assert (
        "1. Collected 36 passages and 24 queries (12 train, 6 dev, 6 test) with 24 positives from `mine` (pairs)."
        in report
    )
    assert (
        "Of the unlabelled candidates: false negatives found: 2; likely false negatives, ignored: 1."
        in report
    )
    assert "1 phase: `contrastive` (exact\\_softmax, 2 cycles of 3 epochs)" in report
    assert "### held\\_out, test split, 6 queries" in report
    assert "| trained | **0.600** [0.580, 0.620] | 0.850 [0.830, 0.870] |" in report
    assert "| bm25 | 0.400 [0.380, 0.420] | **0.900** [0.880, 0.920] |" in report
    assert (
        "| trained - untrained | ndcg@10 | +0.100 | [+0.090, +0.110] | p = 0.006 | p = 0.012 | yes, better |"
        in report
    )
    assert (
        "| trained - bm25 | recall@100 | -0.050 | [-0.060, -0.040] | p = 0.015 | p = 0.030 | yes, worse |"
        in report
    )
    assert "95 % percentile bootstrap intervals over the queries, 1,000 resamples" in report
    assert "Note: the exact loss read the whole corpus." in report
    assert "| candidates | 120,000 |" in report
    assert "**Recall of the source positives by depth**\n\n|  | 10 | 50 |\n" in report
    assert "| lexical | 0.5123 | 0.75 |\n| fused | 0.6 | 0.8 |" in report
    assert "| cautious | 5 | 4 | 1 | 2 | 1 |" in report
    assert "**Verdicts of cautious by rank of the candidate**" in report
    assert "| 11-50 | 1 | 0 | 0 |" in report
    assert "| truncated: passage texts | 99.4 % |" in report
    assert "| **8** | **1.3500** | **5e-05** | **0.5800** |" in report
    assert "| judge | 1 min 15 s | 812 MB | 1 | CPU, bf16 in fp32 | this run |" in report
    assert "| mine | 1 min 15 s | 812 MB | 1 | CPU, bf16 in fp32 | cached, created " in report
    assert "| collect | 1 min 15 s | 812 MB | 1 |  | cached, created " in report
    assert "- train: 37 % of the passages are cut" in report
    assert "recipekit run tiny.yaml --set seed=13" in report
    assert "python 3." in report


def test_examples_are_unlabelled_pairs_that_were_judged_to_be_no_negatives(
    write_run: Callable[..., Path],
):
    run = write_run()
    found = false_negatives(RunFolder(run))
    assert {(example.query, example.passage, example.verdict) for example in found} == {
        (0, 6, "positive"),
        (2, 9, "positive"),
        (1, 7, "ignore"),
    }
    assert [example.verdict for example in found] == ["positive", "positive", "ignore"]
    first = next(example for example in found if example.query == 0)
    assert (first.rank, first.ranks, first.judge, first.reason) == (
        3,
        {"lexical": 3},
        "cautious",
        "scores *above* the positive",
    )
    assert found == false_negatives(RunFolder(run))
    assert len(false_negatives(RunFolder(run), count=2)) == 2
    assert "positive, by `cautious`, confidence 0.75: scores \\*above\\* the positive" in render(
        run
    )
    assert "rank 3 among the candidates, lexical 3" in render(run)


@pytest.mark.parametrize("until", ["collect", "mine", "judge", "train", "evaluate"])
def test_a_run_that_stopped_is_told_as_far_as_it_came(
    write_run: Callable[..., Path], summaries: dict[str, Any], until: str
):
    stages = SECTIONS[: SECTIONS.index(until) + 1]
    run = write_run(
        {stage: summaries[stage] for stage in stages}, status="failed", reason="judge: it is *down*"
    )
    write_report(run)
    report = (run / "report.md").read_text()
    assert (
        f"**This run failed.** judge: it is \\*down\\*\n\nFinished stages: {', '.join(stages)}."
        in report
    )
    assert ("## Metrics" in report) == (until == "evaluate") == (run / "metrics.json").exists()
    assert ("## False negatives" in report) == (until in ("judge", "train", "evaluate"))
    assert terminal_summary(run)


def test_it_is_told_where_training_changed_nothing(
    write_run: Callable[..., Path], summaries: dict[str, Any]
):
    dev = {"metric": "mrr@10", "best_step": 0, "queries": 12}
    run = write_run(summaries | {"train": summaries["train"] | {"dev": dev}})
    told = "no step of training was better on mrr@10 (12 dev queries) than the start: the weights kept are the untrained ones"
    assert f"note: {told}" in terminal_summary(run).splitlines()
    assert told in render(run)


def test_pairs_without_an_answer_are_told(
    write_run: Callable[..., Path], summaries: dict[str, Any]
):
    told = {
        "seen": 40,
        "blind": 2,
        "judged": 40,
        "verdicts": {},
        "counts": {"missing": {"unparsed": 7, "refused": 0}},
    }
    run = write_run(summaries | {"judge": {"judges": {"strict": told}}})
    note = "note: judge 'strict' gave no answer that could be used on 7 of 42 pairs (7 unparsed)"
    assert (
        f"{note}; `recipekit run --from judge` asks for these anew"
        in terminal_summary(run).splitlines()
    )


def test_metrics_for_programs_are_the_reports_figures(write_run: Callable[..., Path]):
    run = write_run()
    write_report(run)
    rows = json.loads((run / "metrics.json").read_text())
    assert len(rows) == 6
    for row in rows:
        assert {"evaluator", "split", "system", "metric", "value", "low", "high", "queries"} <= set(
            row
        )
        assert f"{row['value']:.3f}" in (run / "report.md").read_text()


def test_the_terminal_gets_metrics_differences_and_places(write_run: Callable[..., Path]):
    run = write_run()
    write_report(run)
    assert terminal_summary(run).splitlines() == [
        "",
        "held_out, test split, 6 queries",
        "                          ndcg@10            recall@100",
        "  bm25       0.400 [0.380, 0.420]  0.900 [0.880, 0.920]",
        "  untrained  0.500 [0.480, 0.520]  0.800 [0.780, 0.820]",
        "  trained    0.600 [0.580, 0.620]  0.850 [0.830, 0.870]",
        "  ndcg@10, trained - bm25: +0.200 [+0.190, +0.210], adjusted p < 0.001 (significant)",
        "  ndcg@10, trained - untrained: +0.100 [+0.090, +0.110], adjusted p = 0.012 (significant)",
        "",
        "false negatives found: 2; likely false negatives, ignored: 1",
        f"report: {run / 'report.md'}",
        f"model: {run / 'stages' / 'export' / 'model'}",
    ]
    assert terminal_summary(run).isascii()
    assert "no step of training" not in render(run)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path):
    with pytest.raises(StoreError, match="no run is here"):
        render(tmp_path)
