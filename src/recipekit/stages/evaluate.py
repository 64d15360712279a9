"""The evaluate stage: the trained encoder beside the untrained one and the baselines, by every evaluator of the recipe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from recipekit.artifacts.store import write_json
from recipekit.component import EvaluatorSpec, RetrieverSpec, System
from recipekit.errors import RunError
from recipekit.recipe.models import EvaluateSection
from recipekit.retrievers.exact import Exact
from recipekit.stages.inputs import TRAINED, Inputs

__all__ = ["UNTRAINED", "evaluate"]

UNTRAINED = "untrained"
"""The name in tables of the encoder as it was before training."""

T = TypeVar("T")


def evaluate(inputs: Inputs, section: EvaluateSection, out: Path) -> dict[str, Any]:
    """Measure every system by every evaluator.

    Writes `metrics.json`, the rows `{evaluator, split, system, metric, value, low, high, queries, ...}`, and `rankings/NAME/`,
    what the evaluator of that name keeps (per-query values and the first passages, for `retrieval`).

    All ranks make the systems, since they encode together; the main rank alone measures.

    Raises:
        RunError: There is no system to measure.
        DataError: An evaluator finds nothing to measure on.
    """
    systems = list(_systems(inputs, section, out))
    if not systems:
        raise RunError("evaluate has no system to measure: name a baseline, or an encoder and `untrained: true`", code="RK640")
    if not inputs.ranks.is_main:
        return {}
    rows = []
    for name, slot in section.evaluators.items():
        assert isinstance(slot.spec, EvaluatorSpec)
        measured = slot.spec.build(inputs.context(out / "rankings" / name)).evaluate(systems)
        rows += [{"evaluator": name, **row} for row in measured]
    write_json(out / "metrics.json", rows)
    return {"systems": [system.name for system in systems], "evaluators": list(section.evaluators), "figures": len(rows)}


def _systems(inputs: Inputs, section: EvaluateSection, out: Path) -> Iterator[System]:
    """The systems in the order of the tables; what is trained comes last, to be compared with all before it."""
    for name, slot in section.baselines.items():
        assert isinstance(slot.spec, RetrieverSpec)
        yield System(name, _known(slot.spec.build(inputs.context(out / "scratch" / name))))
    if section.untrained and section.encoder in inputs.encoders:
        yield _dense(inputs, UNTRAINED, section.encoder, out)
    if inputs.trained and "train" in inputs.artifacts:
        yield _dense(inputs, TRAINED, TRAINED, out)


def _dense(inputs: Inputs, name: str, encoder: str, out: Path) -> System:
    """Exact search over an encoder's embeddings of the corpus."""
    retriever = Exact(encoder=encoder).build(inputs.context(out / "scratch" / name))
    return System(name, _known(retriever), lambda: inputs.encoder(encoder))


def _known(thing: T) -> Callable[[], T]:
    return lambda: thing
