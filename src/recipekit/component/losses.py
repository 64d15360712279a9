"""Training losses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from recipekit.component.spec import Component
from recipekit.errors import ComponentError

if TYPE_CHECKING:
    import torch

    from recipekit.records import Similarity

__all__ = ["ExampleForm", "Loss", "LossSpec"]


class Loss(Protocol):
    """A training loss.

    `LossSpec.negatives_from` says what it is called with; see `recipekit.losses`.
    """

    def __call__(self, *args: Any) -> torch.Tensor:
        """Return one loss per query, (n_queries,), differentiable and not averaged."""


@dataclass(frozen=True)
class ExampleForm:
    """The training examples that a loss of `recipekit.losses.examples` is called with."""

    name: Literal["pairs", "triplets", "tuples", "labelled pairs", "scored pairs", "scored tuples"]
    """`pairs` are (query, positive), `tuples` (query, positive, negatives...). Labelled and scored
    forms have a number per passage: 1 or 0, or a score in [0, 1]."""
    contrasts: bool = False
    """Whether the other examples' passages are negatives of a query. Queries whose passages are not
    negatives of each other are then kept out of one batch."""
    score_from: Literal["verdict", "grade", "confidence"] = "verdict"
    """Where scores come from."""


class LossSpec(Component[Loss]):
    """A training loss."""

    kind: ClassVar[str] = "loss"
    similarities: ClassVar[tuple[Similarity, ...]] = ("cosine", "dot")
    """The similarities of encoders that it can train. By default those that are an inner product,
    so that the loss is computed from `queries @ passages.T`. A loss that wraps another one lists
    all, since the inner loss is checked on its own."""

    @property
    def negatives_from(self) -> Literal["corpus", "batch"]:
        """The passages that a query competes with.

        `corpus`: all passages, frozen as a matrix. `batch`: the passages of the batch. A loss that
        wraps another one can return that of the wrapped loss.
        """
        return "batch"

    @property
    def trains_passages(self) -> bool:
        """Whether what it builds is a `recipekit.losses.passage_loss.CorpusLoss`.

        A passage half-phase needs one.
        """
        return False

    @property
    def examples(self) -> ExampleForm | None:
        """The examples that it reads; None if it reads the mask of the batch, or the corpus."""
        return None

    @property
    def least_dimension(self) -> int:
        """The fewest dimensions that vectors must have."""
        return 1

    @property
    def weighs_positives(self) -> bool:
        """Whether it uses the weights of positives, so that `positive_weights: grade` matters."""
        return True

    def check_built(self, built: object) -> None:
        """Check that passages can be trained with the loss, if `trains_passages` says so.

        Raises:
            ComponentError: It has no `over_passages`.
        """
        if self.trains_passages and not callable(getattr(built, "over_passages", None)):
            raise ComponentError(
                f"{type(self).__name__}.trains_passages is true, but what it builds, of type "
                f"{type(built).__name__}, has no over_passages(): see "
                "recipekit.losses.passage_loss.CorpusLoss",
                code="RK206",
            )
