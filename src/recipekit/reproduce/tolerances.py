"""Tolerances of published figures, from the measured spread over seeds and devices."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from recipekit.recipe.sections import TRAINED, Recipe
from recipekit.recipe.slots import encoders_in
from recipekit.stages.evaluate.section import EvaluateSection

__all__ = ["NOT_MEASURED", "ROUNDING", "place", "trained_systems", "with_tolerances"]

FLOOR: Final = 0.001
"""Differences of this size come from rounding: bf16 changed nDCG@10 on nfcorpus by 0.0007."""
UNMEASURED: Final = 0.005
"""The tolerance of a trained system whose spread was not measured."""
LEVEL: Final = 0.975
NOT_MEASURED: Final = "not measured"
"""The basis of `UNMEASURED`."""
ROUNDING: Final = "rounding alone"
"""The basis of `FLOOR`: without training, the same recipe and data give the same figures."""

Row = Mapping[str, Any]


def place(row: Row) -> tuple[str, str, str, str]:
    """Return what identifies a figure: evaluator, split, system and metric."""
    names = ("evaluator", "split", "system", "metric")
    evaluator, split, system, metric = (str(row.get(name) or "") for name in names)
    return evaluator, split, system, metric


def trained_systems(recipe: Recipe) -> set[str]:
    """Return the systems of an evaluation that use the trained encoder, which seeds change.

    A baseline can search with it, too, also in a retriever inside it.
    """
    section = recipe.section(EvaluateSection)
    baselines = section.baselines if section is not None else {}
    return {
        TRAINED,
        *(name for name, slot in baselines.items() if TRAINED in encoders_in(slot.spec)),
    }


def with_tolerances(
    rows: Iterable[Row],
    repeated: Sequence[Sequence[Row]],
    trained: Collection[str],
    stated: float | None = None,
) -> list[dict[str, Any]]:
    r"""Return rows of metrics with `tolerance`, `tolerance_basis` and `repeated`.

    The tolerance is `t * sqrt(2) * s`, where `s` is the standard deviation over all n runs and `t`
    the 97.5 % quantile of Student's distribution with n - 1 degrees of freedom: 95 % of the
    differences between two runs are inside. It is at least 0.001. Figures of systems that training
    does not change repeat without further runs, apart from rounding.

    Args:
        rows: The published rows.
        repeated: Rows of further runs of the same recipe, with other seeds or devices.
        trained: The systems whose figures training changes, from `trained_systems`.
        stated: A tolerance that the author gives for every figure.
    """
    from scipy.stats import t

    others: dict[tuple[str, ...], list[float]] = {}
    for run in repeated:
        for row in run:
            if row.get("value") is not None:
                others.setdefault(place(row), []).append(float(row["value"]))
    found = []
    for row in rows:
        values = others.get(place(row), [])
        if stated is not None:
            tolerance, basis = stated, "stated by the author"
        elif values and row.get("value") is not None:
            spread = statistics.stdev([float(row["value"]), *values])
            tolerance = max(FLOOR, float(t.ppf(LEVEL, len(values))) * 2**0.5 * spread)
            basis = f"spread over {len(values) + 1} runs"
        else:
            is_trained = row.get("variant_of") in trained or row.get("system") in trained
            tolerance = UNMEASURED if is_trained else FLOOR
            basis = NOT_MEASURED if is_trained else ROUNDING
        found.append({**row, "tolerance": tolerance, "tolerance_basis": basis, "repeated": values})
    return found
