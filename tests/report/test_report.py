"""The report of a run, read from its folder on disk."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from helpers.plain_text import plain_text
from recipekit.errors import StoreError
from recipekit.pipeline.report import closing_blocks, render_report, write_report
from recipekit.report.recall_by_depth import recall_figure
from recipekit.report.run_folder import RunFolder
from recipekit.stages import PIPELINE
from recipekit.stages.judge.false_negatives import false_negatives
from recipekit.stages.judge.score_distributions import score_figures
from recipekit.tables import write_table

SECTIONS = [stage.name for stage in PIPELINE]


def test_the_report_of_a_finished_run_describes_every_stage(write_run: Callable[..., Path]):
    run = write_run()
    warning = {"stage": "train", "event": "warning", "message": "37 % of the passages are cut"}
    (run / "log.jsonl").write_text(json.dumps(warning) + '\n{"half')
    report = render_report(run)

    assert report.startswith("# tiny\n\nFinds \\*tiny\\* things.\n")
    for line in (
        "**ndcg@10 rises from 0.500 (untrained) to 0.600 (trained): +0.100 [+0.090, +0.110], "
        "adjusted p = 0.012 (held_out, test split, 6 queries).**",
        "1. Collected 36 passages and 24 queries (12 train, 6 dev, 6 test) with 24 positives from "
        "`mine` (pairs).",
        "3. Judged them with `cautious` (margin). Of the unlabelled candidates: false negatives "
        "found: 2; likely false negatives, ignored: 1.",
        "### held_out, test split, 6 queries",
        "| trained | **0.600** [0.580, 0.620] | 0.850 [0.830, 0.870] |",
        "| bm25 | 0.400 [0.380, 0.420] | **0.900** [0.880, 0.920] |",
        "| trained - untrained | ndcg@10 | +0.100 | [+0.090, +0.110] | p = 0.006 | p = 0.012 "
        "| yes, better |",
        "| trained - bm25 | recall@100 | -0.050 | [-0.060, -0.040] | p = 0.015 | p = 0.030 "
        "| yes, worse |",
        "**Note:** the exact loss read the whole corpus.",
        "| source positives | 24 |",
        "| queries without a positive dropped | 2 |",
        "| candidates | 120,000 |",
        "| lexical | 0.512 | 0.750 |",
        "| fused | 0.600 | 0.800 |",
        "| cautious | 5 | 4 | 1 | 2 | 1 |",
        "**Verdicts of cautious by rank of the candidate**",
        "| 11-50 | 1 | 0 | 0 |",
        "Truncated to the encoder's maximum length: 0.0 % of the query texts and 99.4 % of the "
        "passage texts.",
        "| **8** | **1.3500** | **5e-05** | **0.5800** |",
        "| judge | 1 min 15 s | 812 MB | 1 | CPU, bf16 in fp32 | this run |",
        "- train: 37 % of the passages are cut",
        "recipekit run tiny.yaml --set seed=13",
    ):
        assert line in report.splitlines(), line
    assert (
        "1 phase: `contrastive` (coordinate_ascent, exact_softmax, 2 cycles of 3 query epochs)"
        in report
    )
    assert "95 % percentile bootstrap intervals over the queries, from 1,000 samples" in report
    assert "**Recall of the source positives by depth**\n\n| retriever | 10 | 50 |\n" in report
    assert "| mine | 1 min 15 s | 812 MB | 1 | CPU, bf16 in fp32 | an earlier run, " in report
    assert "| collect | 1 min 15 s | 812 MB | 1 |  | an earlier run, " in report
    assert "python 3." in report


def test_results_come_before_details_and_notes_follow_the_tables(write_run: Callable[..., Path]):
    report = render_report(write_run())
    places = [
        report.index(heading)
        for heading in (
            "## What was done",
            "## Results",
            "**Note:** the exact loss",
            "## Collect",
            "## Mine",
            "## Judge",
            "## Train",
            "## Time, memory and cost",
            "## How to repeat this run",
        )
    ]
    assert places == sorted(places)


def test_examples_are_unlabelled_pairs_that_judges_did_not_call_negative(
    write_run: Callable[..., Path],
):
    path = write_run()
    run = RunFolder(path, SECTIONS)
    found = false_negatives(run)
    assert {(example.query, example.passage, example.verdict) for example in found} == {
        (0, 6, "positive"),
        (2, 9, "positive"),
        (1, 7, "ignore"),
    }
    assert [example.verdict for example in found] == ["positive", "positive", "ignore"]
    first = next(example for example in found if example.query == 0)
    assert (first.rank, first.ranks) == (3, {"lexical": 3})
    assert (first.judge, first.reason) == ("cautious", "scores *above* the positive")
    assert found == false_negatives(RunFolder(path, SECTIONS))
    assert len(false_negatives(run, count=2)) == 2
    report = render_report(path)
    assert "positive by `cautious`, confidence 0.75: scores \\*above\\* the positive" in report
    assert "rank 3 among the candidates, lexical 3" in report
    assert "ignored by `cautious`" in report


@pytest.mark.parametrize("until", ["collect", "mine", "judge", "train", "evaluate"])
def test_the_report_of_a_run_that_stopped_describes_the_finished_stages(
    write_run: Callable[..., Path], summaries: dict[str, Any], until: str
):
    stages = SECTIONS[: SECTIONS.index(until) + 1]
    finished = {stage: summaries[stage] for stage in stages}
    run = write_run(finished, status="failed", reason="judge: it is *down*")
    write_report(run)
    report = (run / "report.md").read_text()
    assert "**This run failed.** judge: it is \\*down\\*\n\nFinished stages: " in report
    assert f"Finished stages: {', '.join(stages)}." in report
    assert (
        "<strong>This run failed.</strong> judge: it is *down*" in (run / "report.html").read_text()
    )
    linked = re.findall(r"!\[.*\]\((figures/.*)\)", report)
    assert sorted(linked) == sorted(f"figures/{file.name}" for file in run.glob("figures/*"))
    assert ("figures/learning-curve.svg" in linked) == (until in ("train", "evaluate"))
    assert ("### held_out" in report) == (until == "evaluate") == (run / "metrics.json").exists()
    assert ("### False negatives" in report) == (until in ("judge", "train", "evaluate"))
    assert len([line for line in report.splitlines() if line[:2] in ("1.", "2.", "3.")]) == min(
        3, len(stages)
    )
    assert closing_blocks(run)


def test_the_report_draws_the_recall_of_evaluated_systems_by_depth(
    write_run: Callable[..., Path], summaries: dict[str, Any]
):
    run = write_run(summaries)
    write_report(run)
    title = "Recall by depth (held_out, test)"
    report = (run / "report.md").read_text()
    assert f"![{title}](figures/recall-by-depth-held-out-test.svg)" in report
    [table] = [part for part in report.split("\n\n") if part.startswith("| system | 1 |")]
    cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in table.splitlines()]
    assert cells[0] == ["system", "1", "10", "100"]
    assert ["trained", "0.500", "0.800", "0.850"] in cells
    assert title in (run / "report.html").read_text()


def test_recall_at_a_single_depth_is_not_drawn():
    assert recall_figure("recall", {"trained": {"1": 0.5}}) is None
    assert recall_figure("recall", {}) is None


def test_training_that_changed_nothing_is_noted(
    write_run: Callable[..., Path], summaries: dict[str, Any]
):
    dev = {"metric": "mrr@10", "kept_step": 0, "queries": 12}
    run = write_run(summaries | {"train": summaries["train"] | {"dev": dev}})
    note = "training did not improve mrr@10 (12 dev queries), so the untrained weights were kept"
    assert f"note: {note}" in plain_text(closing_blocks(run)).splitlines()
    assert note in render_report(run)


def test_interruptions_and_smaller_forward_passes_are_noted(write_run: Callable[..., Path]):
    folder = write_run()
    file = folder / "stages" / "train" / "training.json"
    training = json.loads(file.read_text())
    assert "interrupted" not in render_report(folder)
    assert "running out of memory" not in render_report(folder)
    file.write_text(json.dumps({**training, "resumed_from": [1200]}))
    assert "Training was interrupted and resumed 1 time, from step 1,200.\n" in render_report(
        folder
    )
    planned = 16_384  # the default
    smaller = {"resumed_from": [4, 12], "max_tokens_per_batch": planned // 2}
    file.write_text(json.dumps({**training, **smaller}))
    assert (
        "Training was interrupted and resumed 2 times, from steps 4, 12. After running out of "
        f"memory, a forward pass had at most {planned // 2:,} tokens instead of {planned:,}, with "
        "the same result."
    ) in render_report(folder)


def test_a_phase_that_stopped_early_is_noted(write_run: Callable[..., Path]):
    folder = write_run()
    file = folder / "stages" / "train" / "training.json"
    stopped = [{"phase": "adapt", "step": 3, "skipped": 15}]
    file.write_text(json.dumps({**json.loads(file.read_text()), "stopped": stopped}))
    assert "Phase `adapt` stopped early; 15 steps did not run." in render_report(folder)


def test_ungraded_pairs_are_noted(write_run: Callable[..., Path], summaries: dict[str, Any]):
    counts = {
        "pairs": 40,
        "control_pairs": 2,
        "judged": 40,
        "verdicts": {},
        "counts": {"missing": {"unparsed": 7, "refused": 0}},
    }
    run = write_run(summaries | {"judge": {"judges": {"strict": counts}}})
    note = "note: judge 'strict' gave no usable answer for 7 of 42 pairs (7 unparsed)"
    advice = "`recipekit run --from judge` asks again"
    assert f"{note}; {advice}" in plain_text(closing_blocks(run)).splitlines()


def test_metrics_json_has_the_figures_of_the_report(write_run: Callable[..., Path]):
    run = write_run()
    write_report(run)
    rows = json.loads((run / "metrics.json").read_text())
    assert len(rows) == 6
    keys = {"evaluator", "split", "system", "metric", "value", "low", "high", "queries"}
    for row in rows:
        assert keys <= set(row)
        assert f"{row['value']:.3f}" in (run / "report.md").read_text()


def test_a_finished_run_prints_metrics_differences_and_paths(write_run: Callable[..., Path]):
    run = write_run()
    write_report(run)
    printed = plain_text(closing_blocks(run))
    assert printed.splitlines() == [
        "held_out, test split, 6 queries",
        "system                  ndcg@10            recall@100",
        "bm25       0.400 [0.380, 0.420]  0.900 [0.880, 0.920]",
        "untrained  0.500 [0.480, 0.520]  0.800 [0.780, 0.820]",
        "trained    0.600 [0.580, 0.620]  0.850 [0.830, 0.870]",
        "",
        "difference           metric     mean          interval  unadjusted   adjusted  "
        "significant",
        "trained - bm25       ndcg@10  +0.200  [+0.190, +0.210]   p < 0.001  p < 0.001  "
        "yes, better",
        "trained - untrained  ndcg@10  +0.100  [+0.090, +0.110]   p = 0.006  p = 0.012  "
        "yes, better",
        "",
        "false negatives found: 2; likely false negatives, ignored: 1",
        f"model: {run / 'stages' / 'export' / 'model'}",
        f"report: {run / 'report.html'}",
    ]
    assert printed.isascii()
    assert "untrained weights" not in render_report(run)


def test_a_folder_that_is_not_a_run_is_refused(tmp_path: Path):
    with pytest.raises(StoreError, match="not a run; the folder of a run contains"):
        render_report(tmp_path)


def test_the_queries_won_and_lost_most_are_shown_with_what_each_system_found(
    write_run: Callable[..., Path],
):
    report = render_report(write_run())
    section = report[report.index("### Queries that changed most: held_out") :]
    assert (
        "By ndcg@10, trained wins 1 query against untrained, loses 2, and equals it on 1."
        in section
    )
    won, lost = section.partition("#### Won most")[2].split("#### Lost most")
    assert "ndcg@10 from 0.000 (untrained) to 1.000 (trained): +1.000" in won
    assert "`p18`" in won
    assert "positive: trained rank 1, untrained not among its first 2" in won
    assert "untrained ranks first: `p5` " in won
    assert lost.index("-0.750") < lost.index("-0.100"), "the largest loss is first"
    assert "positive: untrained rank 1, trained rank 2" in lost
    assert "trained ranks first: `p8` " in lost
    assert "not labelled positive: untrained rank 1, trained rank 1" in lost


@pytest.mark.parametrize(
    ("loss", "named"),
    [
        ("{use: exact_softmax}", "exact_softmax"),
        (
            "{use: sentence_transformers, loss: GISTEmbedLoss, guide: large, teacher: null}",
            "GISTEmbedLoss with the guide large",
        ),
        (
            "{use: matryoshka, loss: {use: sentence_transformers, loss: GISTEmbedLoss, "
            "guide: large}}",
            "matryoshka of GISTEmbedLoss with the guide large",
        ),
    ],
)
def test_the_report_names_a_loss_and_the_encoder_that_it_learns_from(
    write_run: Callable[..., Path], loss: str, named: str
):
    run = write_run()
    recipe = run / "recipe.resolved.yaml"
    recipe.write_text(recipe.read_text().replace("{use: exact_softmax}", loss))
    expected = f"in 1 phase: `contrastive` (coordinate_ascent, {named}, 2 cycles of 3 query epochs)"
    assert expected in render_report(run).replace("\\", "")


def test_queries_of_another_data_set_are_not_shown_with_texts_of_this_one(
    write_run: Callable[..., Path],
):
    run = write_run()
    recipe = run / "recipe.resolved.yaml"
    other = recipe.read_text().replace("{use: retrieval}", "{use: retrieval, source: elsewhere}")
    recipe.write_text(other)
    assert "Queries that changed most" not in render_report(run)


def test_queries_of_a_further_data_set_are_shown_from_its_own_data(
    write_run: Callable[..., Path], tmp_path: Path
):
    run = write_run()
    recipe = run / "recipe.resolved.yaml"
    other = recipe.read_text().replace("{use: retrieval}", "{use: retrieval, source: elsewhere}")
    recipe.write_text(other)
    further = tmp_path / "evaluation_data" / "k"
    shutil.copytree(run / "stages/collect", further)
    (run / "stages/collect/queries.arrow").unlink()
    made = {"key": "k", "identity": {"name": "elsewhere"}}
    (further / "manifest.json").write_text(json.dumps(made))
    file = run / "stages/evaluate/manifest.json"
    by_products = {"by_products": [["evaluation_data", "k"]]}
    file.write_text(json.dumps({**json.loads(file.read_text()), **by_products}))

    assert "### Queries that changed most: held_out" in render_report(run)


def test_scores_of_each_retriever_are_shown_by_verdict(write_run: Callable[..., Path]):
    path = write_run()
    scores = pa.ipc.open_file(path / "stages/mine/candidates.arrow").read_all()
    spread = pa.array([float(row) for row in range(len(scores))], pa.float32())
    place = scores.schema.get_field_index("score.lexical")
    write_table(
        path / "stages/mine/candidates.arrow",
        scores.schema,
        [scores.set_column(place, scores.schema.field(place), spread)],
    )
    assert "by source label" not in render_report(path), "judges tell more than source labels"
    (drawn,) = score_figures(RunFolder(path, SECTIONS))
    assert drawn.title == "Scores of lexical by verdict"
    assert {row[0]: row[1] for row in drawn.table.rows} == {
        "positive": "4",
        "negative": "1",
        "ignored": "1",
    }
    assert {row[0]: row[3] for row in drawn.table.rows}["negative"] == "0"
    for points in drawn.series.values():
        assert sum(share for _, share, *_ in points) == pytest.approx(1)
        assert (points[0][0], points[-1][0]) == (0, 6)


def test_scores_of_an_unjudged_run_are_shown_by_source_label(
    write_run: Callable[..., Path], summaries: dict[str, Any]
):
    path = write_run({stage: summaries[stage] for stage in ("collect", "mine")})
    file = path / "stages/mine/candidates.arrow"
    table = pa.ipc.open_file(file).read_all()
    positive = table["source_positive"].to_pylist()
    scores = [float(row) if row % 3 else None for row in range(len(table))]
    place = table.schema.get_field_index("score.lexical")
    field = table.schema.field(place)
    column = pa.array(scores, pa.float32())
    write_table(file, table.schema, [table.set_column(place, field, column)])
    report = render_report(path)
    section = report[report.index("Scores of the retrievers") :]
    assert "![Scores of lexical by source label]" in section
    for name, wanted in (("source positive", True), ("other candidate", False)):
        own = [s for s, p in zip(scores, positive, strict=True) if s is not None and p is wanted]
        assert f"| {name} | {len(own)} |" in section


def test_scores_that_are_all_the_same_are_not_drawn(write_run: Callable[..., Path]):
    path = write_run()
    assert list(score_figures(RunFolder(path, SECTIONS))) == []
    assert "Scores of the retrievers" not in render_report(path)


@pytest.mark.usefixtures("drawn_figures")
def test_time_and_cost_of_the_stages_are_drawn(
    write_run: Callable[..., Path], summaries: dict[str, Any]
):
    spent = {"spent": {"calls": 3, "usd": 0.25}}
    run = write_run({stage: {**summary, **spent} for stage, summary in summaries.items()})
    write_report(run)
    assert "1 min 15 s" in (run / "figures/time-by-stage.svg").read_text()
    assert "$0.25" in (run / "figures/cost-by-stage.svg").read_text()


@pytest.mark.usefixtures("drawn_figures")
def test_the_page_shows_the_change_and_its_interval_first(write_run: Callable[..., Path]):
    run = write_run()
    write_report(run)
    page = (run / "report.html").read_text()
    head = page[page.index("<main>") : page.index("</header>")]
    for value in ("0.500", "[0.480, 0.520]", "0.600", "+0.100", "[+0.090, +0.110]"):
        assert f"<dd>{value}</dd>" in head
    for drawing in run.glob("figures/*.svg"):
        assert drawing.read_text().strip() in page
    write_report(run)
    assert (run / "report.html").read_text() == page
    assert len(page) < 100_000


def test_a_report_without_matplotlib_has_the_tables_of_its_figures(
    write_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
):
    run = write_run()
    monkeypatch.setattr("recipekit.report.svg.find_spec", lambda name: None)
    write_report(run)
    assert not (run / "figures").exists()
    assert "![" not in (run / "report.md").read_text()
    assert "| **8** | **1.3500**" in (run / "report.md").read_text()
    assert "<svg" not in (run / "report.html").read_text()
