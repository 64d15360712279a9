"""The result of a comparison, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from recipekit.comparison.differing import DifferingQuery
from recipekit.comparison.efficiency import Size, Speed
from recipekit.comparison.verdicts import Tested

__all__ = ["Comparison", "ModelFacts"]


@dataclass(frozen=True)
class ModelFacts:
    """One of the compared models, without its quality."""

    name: str
    argument: str
    what: str
    """`model`, or such as `run, trained` or `baseline, before training`."""
    vectors: str
    """How an index stores them: `fp32`, or the name of a compression such as `first-128-int8`."""
    licence: str | None
    base_model: str | None
    size: Size | None
    """None for a published baseline."""
    speed: Speed | None

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        own = {key: value for key, value in vars(self).items() if key not in ("size", "speed")}
        size = asdict(self.size) if self.size else {}
        return {**own, **size, "speed": asdict(self.speed) if self.speed else None}


@dataclass(frozen=True)
class Comparison:
    """Models, their figures, and the tested differences to one of them."""

    measured: str
    """What was measured, for people."""
    passages: int | None
    reference: str
    models: Sequence[ModelFacts]
    rows: Sequence[Mapping[str, Any]]
    """Rows of evaluators, by evaluator, model and metric. `differences` to the reference have the
    p-values of `tested`."""
    tested: Sequence[Tested]
    queries: Sequence[DifferingQuery]
    notes: Sequence[str] = ()

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "measured": self.measured,
            "reference": self.reference,
            "models": [model.as_json() for model in self.models],
            "figures": [
                {key: value for key, value in row.items() if key != "differences"}
                for row in self.rows
            ],
            "differences": [tested.as_json() for tested in self.tested],
            "queries": [query.as_json() for query in self.queries],
            "notes": list(self.notes),
        }
