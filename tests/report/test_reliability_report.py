"""What the report tells of the judges: figures beside known labels, by rank and length,
disagreements, and what asking took.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from recipekit.judging.agreement import FIGURES, agreement
from recipekit.records import Verdict
from recipekit.report.render import render, terminal_summary


def figures(found: int, missed: int, alarms: int, quiet: int, **more: Any) -> dict[str, Any]:
    truth = [Verdict.POSITIVE] * (found + missed) + [Verdict.NEGATIVE] * (alarms + quiet)
    said = (
        [Verdict.POSITIVE] * found
        + [Verdict.NEGATIVE] * missed
        + [Verdict.POSITIVE] * alarms
        + [Verdict.NEGATIVE] * quiet
    )
    return {**agreement(np.array(truth, np.int8), np.array(said, np.int8)), **more}


def trust(**judges: Any) -> dict[str, Any]:
    bands = {
        "by_rank": {"1-10": figures(3, 1, 1, 5), "not retrieved": figures(1, 1, 0, 0)},
        "by_length": {"1-250": figures(4, 2, 1, 5)},
    }
    example = {
        "query_id": "q1", "passage_id": "p*1", "query": "a *query*", "passage": "some text", "label": "positive", "labelled_by": "people",
        "verdict": "negative", "judge": "cheap", "reason": "says nothing of it", "confidence": 0.75, "rank": 4,
    }  # fmt: skip
    told = {
        "judges": {name: {"asked": 12, **of, **bands} for name, of in judges.items()},
        "cascade": {**figures(4, 2, 1, 5), **bands},
    }
    nobody = {"positive": 0, "negative": 0, "ignore": 0}
    blind = {
        "labels": {"positive": 9, "negative": 6, "ignore": 0},
        "people": nobody,
        "labels_on_other_pairs": 0,
    }
    return {"format": 2, "blind": blind, "labels": told, "people": None, "examples": [example]}


COUNTS = {
    "pairs": 40, "verdicts": {"positive": 10, "negative": 28, "ignore": 2}, "calls": 12, "usd": 0.0342,
    "from_store": {"replies": 9, "usd": 0.02}, "pairs_over_budget": 3, "missing": {"refused": 1, "unparsed": 2}, "asked_again": {"unparsed": 4},
    "cut": {"passages": 7, "queries": 0}, "tokens": {"in": 6000, "cached": 0, "out": 300, "reasoning": 0},
    "models": {"test-model": 20, "test-model-2": 1}, "canaries": {"stuffed": {"seen": 20, "passed": 1, "pass_rate": 0.05}},
    "positions": {"calls": 8, "judged": [8, 8, 4], "positive_share": [0.5, 0.25, 0.0], "p": 0.002}, "repeat": {"pairs": 10, "same": 0.9},
}  # fmt: skip
"""Of a judge that asks a language model."""


def test_trust_has_a_section(write_run: Callable[..., Path], summaries: dict[str, Any]) -> None:
    judge = {
        **summaries["judge"],
        "judges": {"cheap": {"seen": 5, "judged": 4, "counts": COUNTS}},
        "spent": {"usd": 0.0342, "calls": 12},
        "notes": ["judge 'cheap': the budget is spent"],
        "reliability": {"cheap": {name: None for name in ("pairs", *FIGURES)}},
    }
    run = write_run({**summaries, "judge": judge})
    told = trust(cheap=figures(4, 2, 1, 5), strong=figures(4, 2, 0, 0))
    (run / "stages" / "judge" / "reliability.json").write_text(json.dumps(told))
    section = (
        render(run).partition("## How far the judges can be trusted\n")[2].partition("\n## ")[0]
    )
    assert (
        "9 known positives and 6 known negatives of the sources were drawn to be judged blind among the rest, and 12 were:"
        in section
    )
    assert "By people's labels" not in section
    assert "| `cheap` | 12 | 0.500 [" in section
    assert "| all together | 12 | 0.500 [" in section
    assert "| `strong` | 6 | - | 0.667 [" in section
    assert "`strong`: no kappa, since no known negative was judged." in section
    assert "`strong`: no false-positive rate, since no known negative was judged." in section
    assert (
        "**By rank among the candidates**" in section
        and "| not retrieved | 2 | - | 0.500 [" in section
    )
    assert "**By characters of the passage**" not in section, "one band tells nothing"
    assert (
        "- **a \\*query\\***\n  - `p*1` some text\n  - positive by people, negative by `cheap`, confidence 0.75: says nothing of it"
        in section
    )
    assert (
        "Judging took 12 calls to paid endpoints and cost $0.034; what came from the store had cost $0.02 before."
        in section
    )
    assert "Note: judge 'cheap': the budget is spent." in section
    assert "| `cheap` | 40 | 25.0% | 5.0% | 12 | 9 | 6,000 | 300 | $0.034 |" in section
    assert "| stuffed: repeats the query's words | 1 of 20 (5.0% [0.9%, 23.6%]) |" in section
    counts = render(run).partition("## Counts at each stage")[2].partition("\n## ")[0]
    assert "kappa" not in counts and "stuffed" not in counts
    assert "note: judge 'cheap': the budget is spent" in terminal_summary(run).splitlines()


def test_peoples_labels_stand_apart(
    write_run: Callable[..., Path], summaries: dict[str, Any]
) -> None:
    run = write_run(summaries)
    told = trust(cheap=figures(4, 2, 1, 5))
    told["blind"]["people"] = {"positive": 3, "negative": 8, "ignore": 1}
    told["people"] = {
        "judges": {"cheap": {"asked": 4, **figures(0, 0, 0, 0)}},
        "cascade": {**figures(2, 1, 0, 8), "by_rank": {}, "by_length": {}},
    }
    (run / "stages" / "judge" / "reliability.json").write_text(json.dumps(told))
    section = render(run).partition("**By people's labels.**")[2].partition("\n## ")[0]
    assert section.startswith(
        " 3 positives and 8 negatives (1 more they left open), weighted by how many candidates each was drawn from."
    )
    assert "| what stands in the end | 11 | 0.7" in section
    assert "`cheap`: nothing was measured, since no pair with a known label was judged." in section
    assert section.count("since") == 1, "once, not for every figure"


def test_what_a_language_model_was_asked(
    write_run: Callable[..., Path], summaries: dict[str, Any]
) -> None:
    fast = {"seen": 5, "judged": 5, "counts": {"thresholds": {"positive_threshold": 0.5}}}
    told = {
        "kappa": None,
        "agreement": 0.9,
        "false_positive_rate": None,
        "false_negative_rate": 0.1,
    }
    judge = {
        **summaries["judge"],
        "judges": {"fast": fast, "cheap": {"seen": 40, "judged": 37, "counts": COUNTS}},
        "spent": {"usd": 0.0342, "calls": 12},
        "reliability": {"cheap": {"pairs": 8, **told}, "all together": {"pairs": 8, **told}},
    }
    run = write_run({**summaries, "judge": judge})
    section = render(run).partition("### What was asked\n")[2].partition("\n## ")[0]
    for line in (
        "- Answers came from `test-model` (20), `test-model-2` (1): verdicts of different models may not be comparable.",
        "- 4 answers could not be used and were asked for again (4 unparsed).",
        "- 3 pairs got no grade and were ignored, by what became of the answer: 1 the model refused, 2 could not be read.",
        "- 3 pairs were not paid for.",
        "- 7 passages and 0 queries were too long and were shown cut.",
        "- Asked once more, in another order, it gave the same verdict on 9 of 10 (90.0% [59.6%, 98.2%]) pairs.",
        "| place | 1 | 2 | 3 |",
        "| positive | 50.0% | 25.0% | 0.0% |",
        "That places make no difference: p = 0.002 (Cochran's Q, so they do).",
    ):
        assert line in section.splitlines(), line
    assert section.count("### ") == 1 and "### `fast`" in section, (
        "what a judge that asks nobody counted stands apart"
    )
    printed = terminal_summary(run).splitlines()
    assert "on 8 known pairs, judged blind: agreement 0.900, false negatives 10.0%" in printed
    assert (
        "Judging took 12 calls to paid endpoints and cost $0.034; what came from the store had cost $0.02 before."
        in printed
    )


def test_long_calls_are_shown_in_bands_of_places(
    write_run: Callable[..., Path], summaries: dict[str, Any]
) -> None:
    positions = {"calls": 5, "judged": [5] * 20, "positive_share": [0.6, 0.2] * 10, "p": 0.5}
    judges = {
        "long": {"seen": 5, "judged": 5, "counts": {"pairs": 5, "calls": 1, "positions": positions}}
    }
    report = render(write_run({**summaries, "judge": {**summaries["judge"], "judges": judges}}))
    assert (
        "| place | 1-2 | 3-4 | 5-6 | 7-8 | 9-10 | 11-12 | 13-14 | 15-16 | 17-18 | 19-20 |" in report
    )
    assert f"| positive |{' 40.0% |' * 10}" in report


def test_without_a_language_model_nothing_is_said_of_asking(write_run: Callable[..., Path]) -> None:
    run = write_run()
    assert "What was asked" not in render(run)
    assert not any(
        "judged blind" in line or "Judging took" in line
        for line in terminal_summary(run).splitlines()
    )


def test_a_run_that_its_floors_ended_has_the_figures_too(
    write_run: Callable[..., Path], summaries: dict[str, Any]
) -> None:
    run = write_run({stage: summaries[stage] for stage in ("collect", "mine")}, status="failed")
    assert "## How far" not in render(run)
    (run / "reliability.json").write_text(json.dumps(trust(cheap=figures(4, 2, 1, 5))))
    assert "| `cheap` | 12 | 0.500 [" in render(run)
    assert "all together" not in render(run), "one judge alone is all of them"


def test_only_what_a_judge_calls_positive_is_found(
    write_run: Callable[..., Path], summaries: dict[str, Any]
) -> None:
    found = {"positive": 7, "ignore": 5, "undecided": 2}
    run = write_run({**summaries, "judge": {**summaries["judge"], "false_negatives": found}})
    line = "false negatives found: 7; likely false negatives, ignored: 3; undecided, ignored: 2"
    assert line in terminal_summary(run).splitlines()
    assert f"Of the unlabelled candidates: {line}." in render(run)


def test_the_terminal_says_whose_labels_they_are(
    write_run: Callable[..., Path], summaries: dict[str, Any]
) -> None:
    told = {
        "by": "people",
        "pairs": 8,
        "kappa": 0.5,
        "agreement": 0.9,
        "false_positive_rate": None,
        "false_negative_rate": 0.1,
    }
    run = write_run({**summaries, "judge": {**summaries["judge"], "reliability": {"cheap": told}}})
    assert (
        "on 8 pairs labelled by people: kappa 0.500, agreement 0.900, false negatives 10.0%"
        in terminal_summary(run).splitlines()
    )
