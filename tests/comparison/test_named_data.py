"""What `--on FILE` measures: by the kind of data, or by the evaluator that is named."""

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recipekit.comparison.api import compare
from recipekit.comparison.file_evaluators import DataEvaluator, evaluator_of
from recipekit.errors import RunError
from recipekit.evaluators.evaluation_file import EvaluationFile
from recipekit.starter.data import find_source

Compared = Callable[..., dict[str, Any]]
Refused = Callable[..., str]


def write_rows(file: Path, labels: Sequence[object], column: str = "score") -> None:
    rows = [
        {"sentence1": f"river {n} moon", "sentence2": f"moon {n} cloud", column: label}
        for n, label in enumerate(labels)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def models(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two models to compare, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return [f"{tiny_model}:precision=fp32", f"{tiny_model}:precision=fp32,dimensions=8"]


@pytest.mark.slow
def test_scored_pairs_are_correlated_with_their_scores(
    models: list[str], tmp_path: Path, compared: Compared
) -> None:
    from scipy.stats import spearmanr
    from sentence_transformers import SentenceTransformer

    scores = np.random.default_rng(1).random(20).tolist()
    write_rows(tmp_path / "scored.jsonl", scores)
    found = compared(*models, "--on", "scored.jsonl")
    assert found["measured"] == "sts on scored.jsonl"
    assert found["notes"][0] == (
        "scored.jsonl has pairs with a score ('score'), so similarities are correlated with the "
        "scores. `--evaluator retrieval` searches instead."
    )
    rows = [json.loads(line) for line in (tmp_path / "scored.jsonl").read_text().splitlines()]
    model = SentenceTransformer(models[0].partition(":")[0], device="cpu")
    first, second = (model.encode([row[f"sentence{n}"] for row in rows]) for n in (1, 2))
    similarities = model.similarity_pairwise(first, second)
    (figure,) = [
        row["value"]
        for row in found["figures"]
        if row["system"] == found["reference"] and row["metric"] == "spearman_cosine"
    ]
    assert figure == pytest.approx(spearmanr(similarities, scores).statistic, abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("option", [("--evaluator", "retrieval"), ("--metric", "mrr@10")])
def test_scored_pairs_can_be_searched(
    option: tuple[str, str], models: list[str], tmp_path: Path, compared: Compared
) -> None:
    write_rows(tmp_path / "scored.jsonl", [0.5, 0.25, 0.75])
    found = compared(*models, "--on", "scored.jsonl", *option)
    assert found["measured"] == "retrieval on scored.jsonl"
    assert found["notes"][0] == (
        "Every row of scored.jsonl counts as a positive: the column 'score' does not hold whole "
        "grades from 0 to 10. `--evaluator sts` correlates similarities with them instead."
    )


@pytest.mark.slow
def test_grades_are_labels_or_scores(models: list[str], tmp_path: Path, compared: Compared) -> None:
    write_rows(tmp_path / "graded.jsonl", [0, 3, 5, 1, 0, 2])
    found = compared(*models, "--on", "graded.jsonl")
    assert {row["queries"] for row in found["figures"]} == {4}
    assert found["notes"][0] == (
        "Positives are the rows with a grade above 0 in the column 'score' of graded.jsonl. "
        "`--evaluator sts` correlates similarities with them instead."
    )
    found = compared(*models, "--on", "graded.jsonl", "--evaluator", "sts")
    assert {(row["queries"], row["item"]) for row in found["figures"]} == {(6, "pair")}


@pytest.mark.slow
def test_labels_that_are_no_numbers_are_mentioned(
    models: list[str], tmp_path: Path, compared: Compared
) -> None:
    write_rows(tmp_path / "same.jsonl", ["true", "false", "true"], "label")
    found = compared(*models, "--on", "same.jsonl")
    assert found["notes"][0] == (
        "Every row of same.jsonl counts as a positive: the column 'label' does not hold whole "
        "grades from 0 to 10. `--evaluator pairs` separates labels such as true and false."
    )


@pytest.mark.slow
def test_pairs_of_inference_are_separated_by_similarity(
    models: list[str], tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    draw = random.Random(3)
    rows = ["premise,hypothesis,label"]
    for number in range(20):
        first, second = (" ".join(draw.sample(words, 3)) for _ in range(2))
        label = ("entailment", "neutral", "contradiction")[number % 3]
        rows.append(f"{first},{second},{label}")
    (tmp_path / "nli.csv").write_text("\n".join(rows) + "\n")
    found = compare(models, on="nli.csv", cpu=True)
    assert found.measured == "pairs on nli.csv"
    assert {(row["metric"], row["queries"]) for row in found.metric_rows} == {
        (f"{name}_cosine", 20) for name in ("ap", "f1", "accuracy")
    }
    note = found.notes[0]
    assert note.startswith("nli.csv has labelled pairs ('label'), so similarity has to separate")
    printed = capsys.readouterr().err
    assert printed.index(note) < printed.index("collect nli.csv"), "it comes before the work"
    assert {part for query in found.queries for part, _ in query.parts} >= {"first", "label"}


def test_an_evaluator_must_fit_the_data(
    models: list[str], tmp_path: Path, refused: Refused
) -> None:
    write_rows(tmp_path / "equal.jsonl", [0.5, 0.5, 0.5])
    write_rows(tmp_path / "scored.jsonl", [0.5, 0.25, 0.75])
    assert refused(*models, "--on", "equal.jsonl", "--evaluator", "sts") == (
        "equal.jsonl: sts measures a file with two texts and a score in each row, and this has no "
        "column of scores such as 'score'; name the columns in a recipe with --recipe [RK674]"
    )
    both = ("--metric", "mrr@10", "--evaluator", "sts")
    assert refused(*models, "--on", "scored.jsonl", *both) == (
        "mrr@10 is a metric of retrieval, and scored.jsonl is to be measured by sts [RK674]"
    )
    assert "needs --on" in refused(*models, "--evaluator", "sts")
    with pytest.raises(RunError, match=r"evaluator is one of .*, found 'bitext'"):
        compare(models, on="scored.jsonl", evaluator="bitext")  # type: ignore[arg-type]


def test_columns_become_those_of_the_evaluator(tmp_path: Path) -> None:
    def made(rows: list[dict[str, Any]], evaluator: DataEvaluator) -> dict[str, Any]:
        file = tmp_path / "rows.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        spec = evaluator_of(file, find_source(file), evaluator, ())
        assert isinstance(spec, EvaluationFile)
        assert spec.read(tmp_path) is not None
        return spec.model_dump(exclude_defaults=True, exclude={"file"})

    texts = {"query": "a", "positive": "b"}
    triplet = {**texts, "negative": "c"}
    assert made([triplet] * 2, "triplets") == {"anchor": "query"}
    assert made([triplet] * 2, "reranking") == {}
    graded = [{**texts, "label": 2}, {"query": "a", "positive": "c", "label": 0}]
    assert made(graded, "reranking") == {"label": "label"}
    pairs = {"first": "query", "second": "positive", "negative_labels": None}
    assert made(graded, "pairs") == {**pairs, "positive_labels": ("2",)}
    inferred = [
        {"premise": "a", "hypothesis": text, "label": label}
        for text, label in (("b", "entailment"), ("c", "contradiction"))
    ]
    assert made(inferred, "triplets") == {
        "anchor": "premise",
        "hypothesis": "hypothesis",
        "positive": None,
        "negative": None,
    }
    named = [{**texts, "label": "same"}, {**texts, "label": "other"}]
    for rows, evaluator, message in (
        (named, "pairs", r"which labels in 'label' mean equal texts is unknown \(other, same\)"),
        (named, "triplets", "no column of negatives such as 'negative'"),
        (named, "reranking", "no column of negatives such as 'negative', or of grades"),
        ([texts], "pairs", "no column of labels such as 'label'"),
    ):
        with pytest.raises(RunError, match=message):
            made(rows, evaluator)


def test_a_retriever_has_no_scores_of_pairs(
    models: list[str], tmp_path: Path, refused: Refused
) -> None:
    write_rows(tmp_path / "scored.jsonl", [0.5, 0.25, 0.75])
    assert refused(models[0], "bm25", "--on", "scored.jsonl").startswith(
        "bm25: no evaluator searches"
    )
