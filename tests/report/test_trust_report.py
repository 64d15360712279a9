"""What the report tells of the judges: figures beside known labels, by rank and length, disagreements, and what asking took."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from recipekit.records import Verdict
from recipekit.report.render import render, terminal_summary
from recipekit.stages.agreement import agreement


def figures(found: int, missed: int, alarms: int, quiet: int, **more: Any) -> dict[str, Any]:
    truth = [Verdict.POSITIVE] * (found + missed) + [Verdict.NEGATIVE] * (alarms + quiet)
    said = [Verdict.POSITIVE] * found + [Verdict.NEGATIVE] * missed + [Verdict.POSITIVE] * alarms + [Verdict.NEGATIVE] * quiet
    return {**agreement(np.array(truth, np.int8), np.array(said, np.int8)), **more}


def trust(**judges: Any) -> dict[str, Any]:
    bands = {"by_rank": {"1-10": figures(3, 1, 1, 5), "not retrieved": figures(1, 1, 0, 0)}, "by_length": {"1-250": figures(4, 2, 1, 5)}}
    example = {
        "query_id": "q1", "passage_id": "p*1", "query": "a *query*", "passage": "some text", "label": "positive", "labelled_by": "people",
        "verdict": "negative", "judge": "cheap", "reason": "says nothing of it", "confidence": 0.75, "rank": 4,
    }  # fmt: skip
    return {
        "format": 1,
        "blind": {"positive": 6, "negative": 6, "ignore": 0, "labelled_by_people": 2, "labels_on_other_pairs": 0},
        "judges": {name: {"asked": 12, **of, **bands} for name, of in judges.items()},
        "cascade": {**figures(4, 2, 1, 5), **bands},
        "examples": [example],
    }


COUNTS = {"calls": 12, "usd": 0.0342, "unpaid": 3, "canaries": {"stuffed": {"seen": 20, "passed": 1, "pass_rate": 0.05}}}


def test_trust_has_a_section(write_run: Callable[..., Path], summaries: dict[str, Any]) -> None:
    judge = {
        **summaries["judge"],
        "judges": {"cheap": {"seen": 5, "judged": 4, "counts": COUNTS}},
        "spent": {"usd": 0.0342, "calls": 12},
        "notes": ["judge 'cheap': the budget is spent"],
        "trust": {"cheap": {"kappa": 0.5}},
    }
    run = write_run({**summaries, "judge": judge})
    told = trust(cheap=figures(4, 2, 1, 5), strong=figures(4, 2, 0, 0))
    (run / "stages" / "judge" / "trust.json").write_text(json.dumps(told))
    section = render(run).partition("## How far the judges can be trusted\n")[2].partition("\n## ")[0]
    assert "6 known positives and 6 known negatives, 2 of them labelled by people, were judged blind among the rest" in section
    assert "| `cheap` | 12 | 0.500 [" in section
    assert "| all together | 12 | 0.500 [" in section
    assert "| `strong` | 6 | - | 0.667 [" in section
    assert "`strong`: no kappa, since no known negative was judged." in section
    assert "`strong`: no false-positive rate, since no known negative was judged." in section
    assert "**By rank among the candidates**" in section and "| not retrieved | 2 | - | 0.500 [" in section
    assert "**By characters of the passage**" not in section, "one band tells nothing"
    assert (
        "- **a \\*query\\***\n  - `p*1` some text\n  - positive by people, negative by `cheap`, confidence 0.75: says nothing of it"
        in section
    )
    assert "Judging took 12 calls to paid endpoints and cost $0.034." in section
    assert "Note: judge 'cheap': the budget is spent." in section
    assert "### `cheap`" in section and "| stuffed | 20 | 1 | 0.05 |" in section
    counts = render(run).partition("## Counts at each stage")[2].partition("\n## ")[0]
    assert "kappa" not in counts and "stuffed" not in counts
    assert "note: judge 'cheap': the budget is spent" in terminal_summary(run).splitlines()


def test_a_run_that_its_floors_ended_has_the_figures_too(write_run: Callable[..., Path], summaries: dict[str, Any]) -> None:
    run = write_run({stage: summaries[stage] for stage in ("collect", "mine")}, status="failed")
    assert "## How far" not in render(run)
    (run / "trust.json").write_text(json.dumps(trust(cheap=figures(4, 2, 1, 5))))
    assert "| `cheap` | 12 | 0.500 [" in render(run)
    assert "all together" not in render(run), "one judge alone is all of them"


def test_only_what_a_judge_calls_positive_is_found(write_run: Callable[..., Path], summaries: dict[str, Any]) -> None:
    found = {"positive": 7, "ignore": 5, "undecided": 2}
    run = write_run({**summaries, "judge": {**summaries["judge"], "false_negatives": found}})
    line = "false negatives found: 7; likely false negatives, ignored: 3; undecided, ignored: 2"
    assert line in terminal_summary(run).splitlines()
    assert f"Of the unlabelled candidates: {line}." in render(run)
