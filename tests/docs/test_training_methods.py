"""The tables of docs/training-methods.md are those of the published trials."""

from types import ModuleType

import pytest

from helpers.markdown import ROOT
from helpers.module_from_file import module_from_file

BENCHMARKS = ROOT / "tests" / "benchmarks"


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    """The module `study_methods_tables`."""
    return module_from_file(BENCHMARKS / "study_methods_tables.py")


def row(method: str, number: int, dev: float, test: float) -> dict[str, object]:
    conditions = {"data": "fairytaleqa-1000", "max_length": 64, "precision": "bf16"}
    figures = {"dev": dev, "test": test, "also": 0.5, "tflop": 10.4}
    return {"method": method, "number": number, "seed": 13, **conditions, **figures}


def test_the_trial_that_dev_chooses_stands_for_its_method(tables: ModuleType) -> None:
    rows = [row("mnrl", 0, 0.3, 0.9), row("mnrl", 2, 0.4, 0.2), row("gist", 0, 0.1, 0.1)]
    rows.append(row("mnrl", 1, 0.9, 0.9))  # not one of the two
    rows.append({**row("untrained", 0, 0.1, 0.05), "tflop": 0})
    place = "<!-- test: one positive -->\n\n| old |\n|---|\n\n<!-- end -->\n"
    assert tables.page(place, rows) == (
        "<!-- test: one positive -->\n\n"
        "| | FairytaleQA |\n|---|--:|\n"
        "| untrained | 0.050 |\n| MNRL | 0.200 (10) |\n| GIST | 0.100 (10) |\n\n"
        "<!-- end -->\n"
    )
    assert "| MNRL | 0.500 |\n" in tables.page(place.replace("test:", "also:"), rows)


def test_the_page_has_the_published_trials(tables: ModuleType) -> None:
    text = tables.PAGE.read_text(encoding="utf-8")
    assert tables.page(text, tables.finished(BENCHMARKS)) == text, (
        "run `python tests/benchmarks/study_methods_tables.py page`"
    )
    for name, _ in tables.figures(tables.published(tables.finished(BENCHMARKS))):
        assert f"figures/{name}.svg" in text
        assert (ROOT / "docs" / "figures" / f"{name}.svg").is_file()
