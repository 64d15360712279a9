"""How the report describes judges: agreement with known labels, disagreements, calls and cost."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from helpers.plain_text import plain_text
from recipekit.judging.agreement import FIGURES, agreement
from recipekit.pipeline.report import closing_blocks, render_report
from recipekit.records import Verdict
from recipekit.report.blocks import figures_of
from recipekit.report.markdown import render_markdown
from recipekit.report.run_folder import RunFolder
from recipekit.stages import PIPELINE
from recipekit.stages.judge.describe import describe


def figures(found: int, missed: int, alarms: int, quiet: int) -> dict[str, Any]:
    """Agreement of a judge that finds and misses positives, and raises or avoids false alarms."""
    truth = [Verdict.POSITIVE] * (found + missed) + [Verdict.NEGATIVE] * (alarms + quiet)
    verdicts = (
        [Verdict.POSITIVE] * found
        + [Verdict.NEGATIVE] * missed
        + [Verdict.POSITIVE] * alarms
        + [Verdict.NEGATIVE] * quiet
    )
    return agreement(np.array(truth, np.int8), np.array(verdicts, np.int8))


def reliability(**judges: Any) -> dict[str, Any]:
    """The content of reliability.json for some judges."""
    bands = {
        "by_rank": {"1-10": figures(3, 1, 1, 5), "not retrieved": figures(1, 1, 0, 0)},
        "by_length": {"1-250": figures(4, 2, 1, 5)},
    }
    example = {
        "query_id": "q1",
        "passage_id": "p*1",
        "query": "a *query*",
        "passage": "some text",
        "label": "positive",
        "labelled_by": "human",
        "verdict": "negative",
        "judge": "cheap",
        "reason": "says nothing of it",
        "confidence": 0.75,
        "rank": 4,
    }
    labels = {
        "judges": {name: {"control_pairs": 12, **of, **bands} for name, of in judges.items()},
        "final": {**figures(4, 2, 1, 5), **bands},
    }
    control_pairs = {
        "source_labels": {"positive": 9, "negative": 6, "ignore": 0},
        "human_labels": {"positive": 0, "negative": 0, "ignore": 0},
        "not_candidates": 0,
    }
    return {
        "format": 3,
        "control_pairs": control_pairs,
        "source_labels": labels,
        "human_labels": None,
        "examples": [example],
    }


COUNTS = {
    "pairs": 40,
    "verdicts": {"positive": 10, "negative": 28, "ignore": 2},
    "calls": 12,
    "usd": 0.0342,
    "from_store": {"replies": 9, "usd": 0.02},
    "pairs_over_budget": 3,
    "missing": {"refused": 1, "unparsed": 2},
    "asked_again": {"unparsed": 4},
    "cut": {"passages": 7, "queries": 0},
    "tokens": {"in": 6000, "cached": 0, "out": 300, "reasoning": 0},
    "models": {"test-model": 20, "test-model-2": 1},
    "canaries": {"stuffed": {"seen": 20, "passed": 1, "pass_rate": 0.05}},
    "positions": {
        "calls": 8,
        "judged": [8, 8, 4],
        "positive_share": [0.5, 0.25, 0.0],
        "p": 0.002,
    },
    "repeat": {"pairs": 10, "same": 0.9},
}
"""The counts of a judge that calls a language model."""


def write_reliability(run: Path, content: dict[str, Any]) -> None:
    (run / "stages" / "judge" / "reliability.json").write_text(json.dumps(content))


def section_of(report: str, heading: str) -> str:
    """A section's text, up to the next heading of its level or above."""
    level = heading.split()[0]
    text = report.partition(f"{heading}\n")[2]
    for other in range(2, len(level) + 1):
        text = text.partition(f"\n{'#' * other} ")[0]
    return text


def printed(run: Path) -> list[str]:
    return plain_text(closing_blocks(run)).splitlines()


def test_reliability_on_control_pairs_has_a_section(
    write_run: Callable[..., Path], summaries: dict[str, Any]
) -> None:
    judge = {
        **summaries["judge"],
        "judges": {"cheap": {"pairs": 5, "judged": 4, "counts": COUNTS}},
        "spent": {"usd": 0.0342, "calls": 12},
        "notes": ["judge 'cheap': the budget is spent"],
        "reliability": {"cheap": {name: None for name in ("pairs", *FIGURES)}},
    }
    run = write_run({**summaries, "judge": judge})
    write_reliability(run, reliability(cheap=figures(4, 2, 1, 5), strong=figures(4, 2, 0, 0)))
    cards = describe(RunFolder(run, [stage.name for stage in PIPELINE])).on_cards
    text = render_markdown(cards)
    assert "# Reliability of the judges" in text and "# Language model calls" in text
    assert "| `cheap` | 12 | 0.500 [" in text and "$0.034" in text
    assert list(figures_of(cards)) == [] and "Disagreements" not in text
    report = render_report(run)
    section = section_of(report, "### Reliability of the judges")
    assert "9 source positives and 6 source negatives were drawn as control pairs" in section
    assert "12 of them were judged." in section
    assert "Human labels" not in section
    assert "| `cheap` | 12 | 0.500 [" in section
    assert "| all judges combined | 12 | 0.500 [" in section
    assert "| `strong` | 6 | - | 0.667 [" in section
    assert "`strong`: no kappa because no labelled negative was judged." in section
    assert "`strong`: no false positive rate because no labelled negative was judged." in section
    assert section.count("![Agreement with source labels](figures/agreement-with-source") == 1
    assert "**By rank among the candidates**" in section
    assert "| not retrieved | 2 | - | 0.500 [" in section
    assert "**By length of the passage**" not in section, "one band has no table"
    disagreement = (
        "human label positive, verdict negative by `cheap`, confidence 0.75: says nothing"
    )
    example = section_of(report, "#### Disagreements between label and judge")
    assert example.startswith(f"\n- **a \\*query\\***\n  - `p*1` some text\n  - {disagreement}")
    assert "**Note:** judge 'cheap': the budget is spent." in report
    assert "note: judge 'cheap': the budget is spent" in printed(run)


def test_reliability_on_human_labels_has_its_own_tables(
    write_run: Callable[..., Path], summaries: dict[str, Any]
) -> None:
    run = write_run(summaries)
    content = reliability(cheap=figures(4, 2, 1, 5))
    content["control_pairs"]["human_labels"] = {"positive": 3, "negative": 8, "ignore": 1}
    content["human_labels"] = {
        "judges": {"cheap": {"control_pairs": 4, **figures(0, 0, 0, 0)}},
        "final": {**figures(2, 1, 0, 8), "by_rank": {}, "by_length": {}},
    }
    write_reliability(run, content)
    section = render_report(run).partition("Human labels: ")[2].partition("\n#")[0]
    assert section.startswith("3 positives and 8 negatives (1 more labelled ignore), each weighted")
    assert "| final verdicts | 11 | 0.7" in section
    reason = "`cheap`: nothing was measured because no labelled pair was judged."
    assert reason in section
    assert section.count("because") == 1, "once, not for every measure"


def test_calls_tokens_cost_and_biases_of_language_models_have_a_section(
    write_run: Callable[..., Path], summaries: dict[str, Any]
) -> None:
    measures = {
        "kappa": None,
        "agreement": 0.9,
        "false_positive_rate": None,
        "false_negative_rate": 0.1,
    }
    judge = {
        **summaries["judge"],
        "judges": {
            "fast": {"pairs": 5, "judged": 5, "counts": {"thresholds": {"positive": 0.5}}},
            "cheap": {"pairs": 40, "judged": 37, "counts": COUNTS},
        },
        "spent": {"usd": 0.0342, "calls": 12},
        "reliability": {"cheap": {"pairs": 8, **measures}},
    }
    run = write_run({**summaries, "judge": judge})
    report = render_report(run)
    section = report.partition("### Language model calls\n")[2].partition("\n## ")[0]
    cost = "Judging took 12 paid calls and cost $0.034; the cached replies had cost $0.02."
    for line in (
        cost,
        "| `cheap` | 40 | 25.0 % | 5.0 % | 12 | 9 | 6,000 | 300 | $0.034 |",
        "- Replies came from `test-model` (20), `test-model-2` (1): verdicts of different models "
        "may not be comparable.",
        "- Unusable replies that were requested again: 4 (4 unparsed).",
        "- Ungraded pairs, which are ignored: 3 (1: the model refused, 2: the reply could not be "
        "parsed).",
        "- Pairs that the budget did not cover: 3.",
        "- Texts that were too long and shown truncated: 7 passages and 0 queries.",
        "- Asked again in another order, it gave the same verdict for 9 of 10 (90.0 %, 95 % "
        "interval 59.6 % to 98.2 %) pairs.",
        "| stuffed: repeats the query's words | 1 of 20 (5.0 %, 95 % interval 0.9 % to 23.6 %) |",
        "| position | 1 | 2 | 3 |",
        "| positive | 50.0 % | 25.0 % | 0.0 % |",
        "The position matters (Cochran's Q, p = 0.002).",
    ):
        assert line in section.splitlines(), line
    assert "### Judge fast\n\n|  |  |\n| --- | --: |\n| thresholds: positive | 0.5 |" in section
    assert "| judge | 1 min 15 s | 812 MB | 1 | CPU, bf16 in fp32 | this run | 12 | $0.034 |" in (
        report.splitlines()
    )
    line = "reliability on 8 control pairs: agreement 0.900, false negative rate 10.0 %"
    assert line in printed(run)
    assert cost in printed(run)


def test_positions_of_long_calls_are_shown_in_bands(
    write_run: Callable[..., Path], summaries: dict[str, Any]
) -> None:
    positions = {"calls": 5, "judged": [5] * 20, "positive_share": [0.6, 0.2] * 10, "p": 0.5}
    counts = {"pairs": 5, "calls": 1, "positions": positions}
    judges = {"long": {"pairs": 5, "judged": 5, "counts": counts}}
    run = write_run({**summaries, "judge": {**summaries["judge"], "judges": judges}})
    report = render_report(run)
    bands = "1-2 | 3-4 | 5-6 | 7-8 | 9-10 | 11-12 | 13-14 | 15-16 | 17-18 | 19-20"
    assert f"| position | {bands} |" in report
    assert f"| positive |{' 40.0 % |' * 10}" in report
    assert "No effect of the position was found (Cochran's Q, p = 0.500)." in report


def test_a_run_without_language_models_mentions_neither_calls_nor_cost(
    write_run: Callable[..., Path],
) -> None:
    run = write_run()
    assert "Language model calls" not in render_report(run)
    assert not any("control pair" in line or "Judging" in line for line in printed(run))


def test_a_run_that_missed_its_reliability_floors_shows_the_figures(
    write_run: Callable[..., Path], summaries: dict[str, Any]
) -> None:
    run = write_run({stage: summaries[stage] for stage in ("collect", "mine")}, status="failed")
    assert "### Reliability" not in render_report(run)
    content = reliability(cheap=figures(4, 2, 1, 5))
    (run / "reliability.json").write_text(json.dumps(content))
    assert "| `cheap` | 12 | 0.500 [" in render_report(run)
    assert "all judges combined" not in render_report(run), "a single judge needs no second row"


def test_ignored_candidates_are_not_counted_as_false_negatives_found(
    write_run: Callable[..., Path], summaries: dict[str, Any]
) -> None:
    found = {"positive": 7, "ignore": 5, "undecided": 2}
    run = write_run({**summaries, "judge": {**summaries["judge"], "false_negatives": found}})
    line = "false negatives found: 7; likely false negatives, ignored: 3; undecided, ignored: 2"
    assert line in printed(run)
    assert f"Of the unlabelled candidates: {line}." in render_report(run)


def test_a_finished_run_prints_whose_labels_its_reliability_rests_on(
    write_run: Callable[..., Path], summaries: dict[str, Any]
) -> None:
    measures = {
        "labels": "human_labels",
        "pairs": 8,
        "kappa": 0.5,
        "agreement": 0.9,
        "false_positive_rate": None,
        "false_negative_rate": 0.1,
    }
    judge = {**summaries["judge"], "reliability": {"cheap": measures}}
    lines = printed(write_run({**summaries, "judge": judge}))
    on = "reliability on 8 human-labelled pairs"
    assert f"{on}: kappa 0.500, agreement 0.900, false negative rate 10.0 %" in lines
