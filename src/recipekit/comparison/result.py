"""The result of a comparison, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from recipekit.comparison.differing import DifferingQuery
from recipekit.comparison.verdicts import Tested
from recipekit.component import Efficiency
from recipekit.pipeline.run_result import data_frame
from recipekit.records import Similarity

__all__ = ["Comparison", "ModelFacts"]


@dataclass(frozen=True)
class ModelFacts:
    """One of the compared models, without its quality."""

    name: str
    argument: str
    what: str
    """`model`, or such as `run, trained`, `retriever` or `baseline, before training`."""
    vectors: str | None = None
    """How an index stores them: `fp32`, or the name of a compression such as `first-128-int8`. None
    for a retriever, and for a published baseline."""
    licence: str | None = None
    base_model: str | None = None
    max_length: int | None = None
    """Tokens after which a text is cut; None without a limit, or unknown of a baseline."""
    similarity: Similarity | None = None
    """How vectors are compared; None for a retriever, or unknown of a baseline."""
    efficiency: Efficiency = field(default_factory=Efficiency)
    """What it costs, as far as it is defined and was measured here, or in a published run."""
    is_published: bool = False
    """Whether it is a published baseline, of which nothing was measured here."""

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Comparison:
    """Models, their figures, and the tested differences to one of them."""

    measured: str
    """What was measured, for people."""
    passages: int | None
    reference: str
    models: Sequence[ModelFacts]
    metric_rows: Sequence[Mapping[str, Any]]
    """Rows of evaluators, by evaluator, model and metric. `differences` to the reference have the
    p-values of `tested`."""
    tested: Sequence[Tested]
    queries: Sequence[DifferingQuery]
    notes: Sequence[str] = ()
    page: Path | None = None
    """The file of the page with all figures, if one was written."""

    @property
    def metrics(self) -> Any:
        """The rows of `metric_rows` as a pandas data frame; a list if pandas is not installed."""
        return data_frame(self.metric_rows)

    @property
    def differences(self) -> Any:
        """The tests of `tested` as a pandas data frame; a list if pandas is not installed."""
        return data_frame([test.as_json() for test in self.tested])

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "measured": self.measured,
            "reference": self.reference,
            "models": [model.as_json() for model in self.models],
            "figures": [
                {key: value for key, value in row.items() if key != "differences"}
                for row in self.metric_rows
            ],
            "differences": [tested.as_json() for tested in self.tested],
            "queries": [query.as_json() for query in self.queries],
            "notes": list(self.notes),
            "page": None if self.page is None else str(self.page),
        }
