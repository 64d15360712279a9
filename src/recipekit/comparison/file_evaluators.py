"""The evaluator that measures a named file, with the columns that were found in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Literal

from recipekit.component import EvaluatorSpec
from recipekit.errors import RunError
from recipekit.evaluators.cells import as_text
from recipekit.evaluators.pairs import PairsEvaluatorSpec
from recipekit.evaluators.reranking import RerankingSpec
from recipekit.evaluators.retrieval import RetrievalSpec
from recipekit.evaluators.sts import StsSpec
from recipekit.evaluators.triplets import TripletsEvaluatorSpec
from recipekit.sources.pairs import PairsSpec
from recipekit.starter.data import FoundSource

__all__ = ["DataEvaluator", "evaluator_of", "usual_evaluator"]

DataEvaluator = Literal["retrieval", "sts", "pairs", "triplets", "reranking"]
"""The evaluators that can measure a file by the columns that are found in it."""
ENTAILMENT: Final = "entailment"
"""The label of an NLI pair of equal meaning."""
POSITIVE_LABELS: Final = (ENTAILMENT, "true", "1")
"""Labels of pairs of equal meaning, the clearest first."""
WITH_METRICS: Final = ("retrieval", "reranking")
"""The evaluators that have metrics of retrieval."""


def usual_evaluator(found: FoundSource, metrics: Sequence[str]) -> DataEvaluator:
    """Return the evaluator of a kind of data: `retrieval` unless rows are scored or NLI pairs."""
    roles = found.roles
    if roles is None or metrics:
        return "retrieval"
    if roles.has_scores:
        return "sts"
    column = roles.unused_label
    if column is None or roles.negatives or ENTAILMENT not in _labels(found, column):
        return "retrieval"
    return "pairs"


def evaluator_of(
    data: Path, found: FoundSource, chosen: DataEvaluator, metrics: Sequence[str]
) -> EvaluatorSpec:
    """Return an evaluator with the columns of a file, or of retrieval over any data.

    Raises:
        RunError: The file does not have what the evaluator measures, or metrics of retrieval are
            named for another one.
    """
    if metrics and chosen not in WITH_METRICS:
        raise RunError(
            f"{metrics[0]} is a metric of retrieval, and {data} is to be measured by {chosen}",
            code="RK674",
        )
    named = {"metrics": tuple(metrics)} if metrics else {}
    if chosen == "retrieval":
        return RetrievalSpec(split=found.evaluated or "test", **named)
    keys = {"file": data.absolute(), **found.keys, **named}
    match chosen:
        case "sts":
            return StsSpec(**keys, **_scored(data, found))
        case "pairs":
            return PairsEvaluatorSpec(**keys, **_labelled(data, found))
        case "triplets":
            return TripletsEvaluatorSpec(**keys, **_triplets(data, found))
        case "reranking":
            return RerankingSpec(**keys, **_ranked(data, found))


def _scored(data: Path, found: FoundSource) -> dict[str, Any]:
    roles = found.roles
    if roles is None or roles.score is None:
        raise _refusal(data, "sts", "two texts and a score in each row", "scores such as 'score'")
    return {"first": roles.query, "second": roles.positive, "score": roles.score}


def _labelled(data: Path, found: FoundSource) -> dict[str, Any]:
    roles = found.roles
    column = None if roles is None else roles.label or roles.unused_label
    if roles is None or column is None:
        raise _refusal(data, "pairs", "two texts and a label in each row", "labels such as 'label'")
    keys = {"first": roles.query, "second": roles.positive, "label": column}
    labels = _labels(found, column)
    if roles.label is not None:
        positive = tuple(label for label in sorted(labels) if float(label) > 0)
        return {**keys, "positive_labels": positive, "negative_labels": None}
    known = next((label for label in POSITIVE_LABELS if label in labels), None)
    if known is None or roles.has_scores:
        listed = ", ".join(sorted(labels)[:5])
        raise RunError(
            f"{data}: which labels in '{column}' mean equal texts is unknown ({listed}); name them "
            "as `positive_labels` of the evaluator `pairs` in a recipe with --recipe",
            code="RK674",
        )
    return {**keys, "positive_labels": (known,), "negative_labels": None}


def _triplets(data: Path, found: FoundSource) -> dict[str, Any]:
    roles = found.roles
    if roles is not None and len(roles.negatives) == 1:
        columns = {"positive": roles.positive, "negative": roles.negatives[0]}
        return {"anchor": roles.query, **columns}
    column = None if roles is None else roles.unused_label
    if roles is None or column is None or ENTAILMENT not in _labels(found, column):
        what = "an anchor, a positive and a negative in each row, or labelled NLI pairs"
        raise _refusal(data, "triplets", what, "negatives such as 'negative'")
    texts = {"anchor": roles.query, "hypothesis": roles.positive}
    return {**texts, "positive": None, "negative": None, "label": column}


def _ranked(data: Path, found: FoundSource) -> dict[str, Any]:
    roles = found.roles
    if roles is None or (roles.label is None and len(roles.negatives) != 1):
        what = "a query with its positives and negatives, or with a graded passage, in each row"
        columns = "negatives such as 'negative', or of grades such as 'label'"
        raise _refusal(data, "reranking", what, columns)
    keys: dict[str, Any] = {"query": roles.query, "positive": roles.positive}
    if roles.label is not None:
        return {**keys, "label": roles.label}
    return {**keys, "negative": roles.negatives[0]}


def _refusal(data: Path, evaluator: str, what: str, column: str) -> RunError:
    return RunError(
        f"{data}: {evaluator} measures a file with {what}, and this has no column of {column}; "
        "name the columns in a recipe with --recipe",
        code="RK674",
    )


def _labels(found: FoundSource, column: str) -> set[str]:
    """Return the different values of a column."""
    assert isinstance(found.spec, PairsSpec), "only a table has columns"
    with TemporaryDirectory() as scratch:
        rows = found.spec.rows({column: "label"}, Path(scratch))
        return {as_text(row[column]) for _, row in rows if row.get(column) is not None}
