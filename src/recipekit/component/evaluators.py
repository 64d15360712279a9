"""Evaluators, and the systems that they measure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from recipekit.component.spec import Component

if TYPE_CHECKING:
    from recipekit.arrays import Floats, Rows
    from recipekit.component.encoders import Encoder
    from recipekit.component.retrievers import Retriever
    from recipekit.dataset import Dataset
    from recipekit.records import Side, Similarity

__all__ = ["Evaluator", "EvaluatorSpec", "System"]


@dataclass(frozen=True)
class System:
    """A system to evaluate: its name in tables (`untrained`, `bm25`) and how it retrieves."""

    name: str
    retriever: Callable[[], Retriever]
    encoder: Callable[[], Encoder] | None = None
    """None for a system without an encoder, such as BM25."""
    similarity: Similarity | None = None
    """How the encoder's vectors are compared; None without an encoder."""
    embed: Callable[[Sequence[str], Side], Floats] | None = None
    """Embeds texts of a side with their prompt, float32 (n, dim); None without an encoder.

    All ranks call it together."""
    key: str = ""
    """Identifies the encoder with its weights; empty without one."""


class Evaluator(Protocol):
    """Measures systems."""

    def evaluate(self, systems: Sequence[System]) -> Sequence[Mapping[str, Any]]:
        """Return rows `{split, system, metric, value, low, high, queries}`.

        `low` and `high` are null without an interval. `split` is empty for data of the evaluator's
        own, and `item` names what `queries` counts (`pair`; by default `query`). Further keys, such
        as `differences`, are kept for the report.
        """


class EvaluatorSpec(Component[Evaluator]):
    """Measures the trained encoder and baselines."""

    kind: ClassVar[str] = "evaluator"
    reads_texts: ClassVar[bool] = False
    """Whether it embeds texts of its own (`System.embed`) instead of searching the data set.

    All ranks then call `evaluate`, and only the main rank's rows count. Systems without an encoder
    have no rows."""

    @property
    def data_name(self) -> str | None:
        """The data set of `evaluate.sources` that it measures; None for the recipe's own."""
        return None

    def measured_queries(self, dataset: Dataset) -> Rows | None:
        """Return the rows of the queries that it searches with; None for all.

        The evaluate stage encodes only these. It is not called for an evaluator that `reads_texts`.
        """
        return None
