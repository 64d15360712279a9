"""A comparison in words: summary, tables, figures, and queries side by side."""

from dataclasses import replace
from typing import Any

import pytest

from helpers.compared_models import costs_of
from helpers.plain_text import plain_text
from recipekit.comparison.describe import page_blocks, terminal_blocks
from recipekit.comparison.differing import DifferingQuery, RankedPassage
from recipekit.comparison.figures import figure_names, trade_off_figures
from recipekit.comparison.result import Comparison, ModelFacts
from recipekit.comparison.verdicts import differences_to
from recipekit.component import Efficiency
from recipekit.report.blocks import Figure, ReportSection
from recipekit.report.html import render_html


def row(system: str, metric: str, value: float, **more: Any) -> dict[str, Any]:
    sample = {"queries": 50, "confidence_level": 0.95, "bootstrap_samples": 1000}
    ends = {"low": value - 0.05, "high": value + 0.05}
    shared = {"evaluator": "held_out", "split": "test"}
    return {**shared, "system": system, "metric": metric, "value": value, **ends, **sample, **more}


def minus(difference: float, p_value: float) -> dict[str, float]:
    low, high = difference - 0.01, difference + 0.01
    return {"difference": difference, "low": low, "high": high, "p_value": p_value}


def facts(name: str, dimensions: int, speed: float) -> ModelFacts:
    costs = costs_of(dimensions, speed)
    return ModelFacts(name, f"./{name}", "model", "fp32", "mit", None, None, "dot", costs)


ROWS = [
    row("base", "ndcg@10", 0.5, differences={"new": minus(-0.1, 0.001), "cut": minus(0.2, 0.001)}),
    row("base", "recall@5", 0.6, differences={"new": minus(0.1, 0.002), "cut": minus(0, 1)}),
    row("new", "ndcg@10", 0.6),
    row("new", "recall@5", 0.5),
    row("cut", "ndcg@10", 0.3),
    row("cut", "recall@5", 0.6),
]
FOUND = [RankedPassage(1, "p1", "a right passage", True)]
MISSED = [RankedPassage(1, "p2", "a wrong <b>passage</b>", False)]
QUERIES = [
    DifferingQuery("held_out", "ndcg@10", "new", "base", "q", "a query", 1, 0.5, FOUND, MISSED),
    DifferingQuery("held_out", "ndcg@10", "new", "base", "r", "another", 0.0, 1, MISSED, FOUND),
]


@pytest.fixture
def comparison() -> Comparison:
    baseline = ModelFacts("old", "old.zip", "baseline, trained")
    bm25 = ModelFacts(
        "bm25",
        "bm25",
        "retriever",
        efficiency=Efficiency(index_bytes=52_000, search_ms_per_query=1.5),
    )
    return Comparison(
        "retrieval on data",
        1000,
        "base",
        [facts("base", 384, 20.0), facts("new", 384, 30.5), facts("cut", 64, 20.0), baseline, bm25],
        ROWS,
        differences_to(ROWS, "base", lambda name: name == "cut"),
        QUERIES,
        ["A note."],
    )


def test_the_summary_has_a_verdict_for_each_model(comparison: Comparison) -> None:
    printed = plain_text(terminal_blocks(comparison))
    assert printed.startswith("Measured with retrieval on data, against base:\n")
    assert (
        "- new: win: ndcg@10 0.600 (+0.100 [+0.090, +0.110], p = 0.004); 1 loss in 1 other metric\n"
    ) in printed
    assert "- cut: regression: ndcg@10 0.300 (-0.200 [-0.210, -0.190], p = 0.004)\n" in printed
    assert "adjusted for all 4 tested differences" in printed
    assert "Speed was measured on CPU, 2 threads of 2 cores (bf16 in fp32), with" in printed
    assert printed.endswith("A note.\n")


def test_tables_have_facts_and_costs_and_dashes_for_a_baseline(comparison: Comparison) -> None:
    lines = plain_text(terminal_blocks(comparison)).splitlines()
    cells = [line.split() for line in lines]
    assert "base (reference) model 384 22.7 M none dot mit".split() in cells
    assert "new 1,536 4.00 MB 30 305 0.25".split() in cells
    assert "old baseline, trained - - - - -".split() in cells
    assert "bm25 retriever - - - - -".split() in cells
    assert "bm25 - 52.0 kB - - 1.5".split() in cells


def test_size_and_speed_of_a_baseline_are_marked_as_published(comparison: Comparison) -> None:
    costs = Efficiency(
        parameters=22_700_000,
        dimension=384,
        passages_per_second=901.0,
        device="NVIDIA H200",
        precision="bf16",
    )
    old = replace(comparison.models[3], efficiency=costs, is_published=True)
    models, rows = [*comparison.models[:3], old], [*ROWS, row("old", "ndcg@10", 0.7)]
    comparison = replace(comparison, models=models, metric_rows=rows)
    printed = plain_text(terminal_blocks(comparison))
    cells = [line.split() for line in printed.splitlines()]
    assert "old baseline, trained 384 22.7 M - - -".split() in cells
    assert "old - - 901 - -".split() in cells
    assert (
        "Size and speed of old are as published: its run measured them on NVIDIA H200 (bf16)."
        in printed
    )
    assert "Speed was measured on CPU, 2 threads of 2 cores (bf16 in fp32), with" in printed
    speed, dimensions, _ = trade_off_figures(comparison)
    assert isinstance(speed, Figure) and isinstance(dimensions, Figure)
    assert "old" in dimensions.series and "old" not in speed.series


def test_the_terminal_shows_the_query_that_differs_most(comparison: Comparison) -> None:
    printed = plain_text(terminal_blocks(comparison))
    assert "another (ndcg@10 1.000 → 0.000, -1.000)" in printed
    assert "a query" not in printed


def test_the_page_shows_both_rankings_and_marks_positives(comparison: Comparison) -> None:
    page = render_html(page_blocks(comparison), title="t", drawings={})
    won, lost = page.index("Won most by new"), page.index("Lost most by new")
    assert won < page.index("a query (ndcg@10 0.500 → 1.000, +0.500)") < lost
    assert "<strong>positive: </strong>a right passage <code>p1</code>" in page
    assert "a wrong &lt;b&gt;passage" in page
    assert "Comparison of base, new, cut, old, bm25" in page


def test_quality_is_drawn_against_speed_dimensions_and_bytes(comparison: Comparison) -> None:
    figures = [block for block in trade_off_figures(comparison) if isinstance(block, Figure)]
    assert [figure.x for figure in figures] == [
        "passages per second",
        "dimensions",
        "bytes per vector",
    ]
    assert figures[0].series["new"] == [(30.5, 0.6, pytest.approx(0.55), pytest.approx(0.65))]
    assert [figure.series["cut"][0][0] for figure in figures[1:]] == [64, 256]
    assert all({"old", "bm25"}.isdisjoint(figure.series) for figure in figures)


def test_too_few_bootstrap_samples_are_pointed_out(comparison: Comparison) -> None:
    few = [{**each, "bootstrap_samples": 50} for each in ROWS]
    tested = comparison.tested
    models, queries = comparison.models, comparison.queries
    page = Comparison("data", 1000, "base", models, few, tested, queries)
    assert "With 50 bootstrap samples and 4 tests" in plain_text(terminal_blocks(page))
    assert "bootstrap samples and" not in plain_text(terminal_blocks(comparison))


def test_a_page_of_many_models_has_a_short_title(comparison: Comparison) -> None:
    many = [facts(f"model-with-a-long-name-{n}", 8, 1.0) for n in range(4)]
    page = Comparison("data", 10, "base", [*comparison.models, *many], ROWS, comparison.tested, [])
    (section,) = page_blocks(page)
    assert isinstance(section, ReportSection)
    assert section.title == "Comparison of 9 models with base"


def test_names_in_figures_leave_out_what_all_of_them_share() -> None:
    same = ["bge small first-64", "bge small int8", "bge small"]
    assert list(figure_names(same).values()) == ["small first-64", "small int8", "small"]
    assert figure_names(["tiny", "tiny before"]) == {"tiny": "tiny", "tiny before": "tiny before"}
    long = [f"{'x' * 40} {end}" for end in ("int8", "binary")]
    assert list(figure_names(long).values()) == ["int8", "binary"]
    different = [f"{start}{'x' * 40} int8" for start in "ab"]
    assert all(
        len(name) == 30 and name.endswith("int8") for name in figure_names(different).values()
    )


def test_language_pairs_are_squares_of_the_page_and_no_rows(comparison: Comparison) -> None:
    pairs = [("en", "de"), ("de", "en")]
    rows = [
        row("base", "accuracy", 0.5, differences={"new": minus(-0.1, 0.01)}),
        *(
            row("base", f"accuracy {a}-{b}", 0.5, languages=[a, b],
                differences={"new": minus(-0.1, 0.001)})
            for a, b in pairs
        ),
        row("new", "accuracy", 0.6),
        *(row("new", f"accuracy {a}-{b}", 0.6, languages=[a, b]) for a, b in pairs),
    ]  # fmt: skip
    tested = differences_to(rows, "base", lambda name: False)
    with_tests = [
        {**each, "differences": {"base": {"difference": t.difference, "p_adjusted": t.p_adjusted,
                                          "low": t.low, "high": t.high, "p_value": t.p_value}}}
        for each, t in zip(rows[3:], tested, strict=True)
    ]  # fmt: skip
    figures = [{k: v for k, v in each.items() if k != "differences"} for each in rows[:3]]
    found = Comparison(
        "bitext", None, "base", comparison.models[:2], [*figures, *with_tests], tested, []
    )
    page = plain_text(page_blocks(found))
    assert "accuracy of new, from row to column" in page
    assert "accuracy, new - base; significant differences are bold" in page
    assert "accuracy en-de" not in page
    assert "for all 1 tested differences by Holm's method, those of 2 single language" in page
    printed = plain_text(terminal_blocks(found))
    assert "from row to column" not in printed
    assert "en-de" not in printed
