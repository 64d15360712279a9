"""Tested differences of every model to the reference, and the word for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from recipekit.evaluators.statistics import holm
from recipekit.report.metrics import SIGNIFICANT

__all__ = ["Tested", "Verdict", "differences_to"]

Verdict = Literal["win", "loss", "regression", "not significant", "not tested"]
"""`regression` is a loss of a model that was made from the reference."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Tested:
    """The difference of a model to the reference by one metric; positive where it is better."""

    evaluator: str
    split: str
    metric: str
    model: str
    reference: str
    value: float
    reference_value: float
    difference: float
    low: float | None
    high: float | None
    p_value: float | None
    p_adjusted: float | None
    """By Holm's method, over all tested differences of the comparison; those of single language
    pairs apart."""
    verdict: Verdict
    languages: Sequence[str] | None = None
    """The language pair of the metric, if it is that of a single one."""

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


def differences_to(
    rows: Sequence[Row], reference: str, made_from: Callable[[str], bool]
) -> list[Tested]:
    """Return the difference of every model to the reference by every metric.

    Evaluators test the reference against each model on the same bootstrap samples of the queries
    (see `recipekit.evaluators.statistics`), so the differences are paired. Their p-values are
    adjusted here for all metrics, evaluators and models together (Holm 1979, "A simple sequentially
    rejective multiple test procedure"): the chance of any false win or loss is at most
    `SIGNIFICANT`. Metrics of single language pairs are adjusted apart from all others: twelve
    languages have 132 pairs, and would leave no other difference significant.

    Args:
        rows: Rows of evaluators; those of the reference have its `differences` to the others.
        reference: The name of the reference.
        made_from: Whether a model was made from the reference.
    """
    values = {_place(row): row for row in rows}
    found = []
    for row in rows:
        if row["system"] == reference or row.get("value") is None:
            continue
        own = values.get((*_place(row)[:2], reference, row["metric"]))
        if own is not None and own.get("value") is not None:
            found.append(_difference(row, own, reference))
    main = _adjusted([each for each in found if each.languages is None])
    pairs = _adjusted([each for each in found if each.languages is not None])
    return [
        each
        if each.p_value is None
        else _judged(each, next(main if each.languages is None else pairs), made_from(each.model))
        for each in found
    ]


def _adjusted(tests: Sequence[Tested]) -> Iterator[float]:
    """Return the adjusted p-values of the differences that were tested."""
    return iter(holm([each.p_value for each in tests if each.p_value is not None]))


def _place(row: Row) -> tuple[str, str, str, str]:
    return (
        str(row.get("evaluator") or ""),
        str(row.get("split") or ""),
        row["system"],
        row["metric"],
    )


def _difference(row: Row, reference: Row, name: str) -> Tested:
    test = (reference.get("differences") or {}).get(row["system"])
    low = high = p_value = None
    if test is not None:  # reference minus model, which is turned around
        low, high, p_value = -test["high"], -test["low"], test["p_value"]
    evaluator, split, model, metric = _place(row)
    return Tested(
        evaluator,
        split,
        metric,
        model,
        name,
        value=float(row["value"]),
        reference_value=float(reference["value"]),
        difference=float(row["value"]) - float(reference["value"]),
        low=low,
        high=high,
        p_value=p_value,
        p_adjusted=None,
        verdict="not tested",
        languages=row.get("languages"),
    )


def _judged(tested: Tested, p_adjusted: float, is_made_from: bool) -> Tested:
    verdict: Verdict = "not significant"
    if p_adjusted < SIGNIFICANT:
        loss: Verdict = "regression" if is_made_from else "loss"
        verdict = "win" if tested.difference > 0 else loss
    return replace(tested, p_adjusted=p_adjusted, verdict=verdict)
