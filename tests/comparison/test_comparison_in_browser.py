"""The page of a comparison in headless Chromium: console, layout, light and dark, and print.

`RECIPEKIT_SCREENSHOTS=FOLDER` keeps the screenshots and the print.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from helpers.browser import BACKGROUNDS, browse, needs_chromium, probed
from helpers.compared_models import costs_of
from recipekit.comparison.differing import DifferingQuery, RankedPassage
from recipekit.comparison.page import write_page
from recipekit.comparison.result import Comparison, ModelFacts
from recipekit.comparison.verdicts import differences_to

pytestmark = [pytest.mark.slow, needs_chromium, pytest.mark.usefixtures("drawn_figures")]
REFERENCE = "sentence-transformers/all-MiniLM-L6-v2"
NEW = "runs/help-center/20260301T081500Z-0bde0b9a, trained"
SMALL = f"{NEW}, first-128-int8"


def row(system: str, metric: str, value: float, **more: Any) -> dict[str, Any]:
    sample = {"queries": 300, "confidence_level": 0.95, "bootstrap_samples": 1000}
    ends = {"low": value - 0.03, "high": value + 0.03}
    shared = {"evaluator": "held_out", "split": "test"}
    return {**shared, "system": system, "metric": metric, "value": value, **ends, **sample, **more}


def minus(difference: float) -> dict[str, float]:
    ends = {"low": difference - 0.02, "high": difference + 0.02}
    return {"difference": difference, "p_value": 0.001, **ends}


def facts(name: str, dimensions: int, speed: float) -> ModelFacts:
    costs = costs_of(dimensions, speed)
    return ModelFacts(name, name, "model", "fp32", "apache-2.0", REFERENCE, 256, "cosine", costs)


def differing(number: int, value: float) -> DifferingQuery:
    long = "how do I reset the two-factor authentication of a colleague who lost the phone " * 3
    right = RankedPassage(1, "articles/accounts/two-factor-authentication-reset", long, True)
    wrong = RankedPassage(1, "p" * 60, "https://help.example/" + "a" * 90, False)
    texts = {"id": f"q{number}", "query": f"question {number}: {long}"}
    ranked = {"passages": [right, wrong], "reference_passages": [wrong]}
    return DifferingQuery(
        "held_out", "ndcg@10", NEW, REFERENCE, value=value, reference_value=0.5, **texts, **ranked
    )


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A page with long names, texts and ids."""
    tests = {NEW: minus(-0.08), SMALL: minus(0.05)}
    metrics = ("ndcg@10", "mrr@10", "recall@100")
    rows = [row(REFERENCE, metric, 0.5, differences=tests) for metric in metrics]
    rows += [row(NEW, metric, 0.58) for metric in metrics]
    rows += [row(SMALL, metric, 0.45) for metric in metrics]
    models = [facts(REFERENCE, 384, 20.0), facts(NEW, 384, 21.0), facts(SMALL, 128, 21.0)]
    queries = [differing(number, number / 10) for number in range(10)]
    tested = differences_to(rows, REFERENCE, lambda name: name == SMALL)
    notes = ["Speed was measured on an idle machine."]
    comparison = Comparison(
        "retrieval on help-center", 10_000, REFERENCE, models, rows, tested, queries, notes
    )
    write_page(comparison, tmp_path / "compare.html")
    return tmp_path / "compare.html"


def kept(folder: Path) -> Path:
    """Where screenshots go."""
    named = os.environ.get("RECIPEKIT_SCREENSHOTS")
    return Path(named) if named else folder


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (400, "dark")])
def test_the_page_fits_and_logs_nothing(page: Path, tmp_path: Path, width: int, theme: str) -> None:
    shot = kept(tmp_path) / f"compare-{width}-{theme}.png"
    logged = browse(page, width, theme, tmp_path, f"--screenshot={shot}")
    assert "CONSOLE" not in logged
    assert shot.stat().st_size > 20_000
    drawn = 'figures: document.querySelectorAll("figure svg").length,'
    found = probed(page, width, theme, tmp_path, values=drawn)
    assert found.pop("figures") >= 3
    assert found == {"page": 0, "wide": 0, "background": BACKGROUNDS[theme]}


def test_the_page_prints_without_errors(page: Path, tmp_path: Path) -> None:
    printed = kept(tmp_path) / "compare.pdf"
    logged = browse(page, 1280, "dark", tmp_path, f"--print-to-pdf={printed}")
    assert "CONSOLE" not in logged
    content = printed.read_bytes()
    assert content.startswith(b"%PDF") and content.count(b"/Type /Page\n") >= 2
