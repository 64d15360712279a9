"""Training losses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

from recipekit.component.spec import Component
from recipekit.errors import ComponentError

if TYPE_CHECKING:
    import torch

    from recipekit.records import Side, Similarity

__all__ = ["ExampleForm", "Loss", "LossSpec", "LossWithWeights", "SecondEncoder"]


class Loss(Protocol):
    """A training loss.

    `LossSpec.negatives_from` says what it is called with; see `recipekit.losses`.
    """

    def __call__(self, *args: Any) -> torch.Tensor:
        """Return one loss per query, (n_queries,), differentiable and not averaged."""


@runtime_checkable
class LossWithWeights(Protocol):
    """A loss of examples that can have weights of its own, such as a projection.

    `in_batch` trains them with those of the encoder. They end with the phase.
    """

    def add_weights(self, dimension: int) -> torch.nn.Module | None:
        """Create the weights that the loss uses from now on; None if it has none.

        Draw the initial values with torch's global generator, which the phase has seeded.

        Args:
            dimension: The dimension of the embeddings.
        """


@dataclass(frozen=True)
class SecondEncoder:
    """A second encoder of the recipe, which is not trained: a guide or a teacher.

    It embeds the training texts, or scores the training pairs, once before training.
    """

    name: str
    """The encoder's name in the recipe."""
    key: str
    """The key of the loss that names it, which messages call it by: `guide`."""
    sides: tuple[Side, ...] = ("query", "passage")
    """The sides whose embeddings the loss reads."""
    dimension: int | Literal["any", "trained"] = "any"
    """The dimension that its embeddings must have; `trained` is that of the trained encoder's."""
    gives: Literal["embeddings", "scores"] = "embeddings"
    """What the loss reads: embeddings of the texts, or the scores of its examples. An encoder that
    `scores_pairs` gives scores alone."""
    remedy: str = ""
    """What makes another `{dimension}` fit, for messages; empty if nothing does."""

    def refuses(self, dimension: int, trained: int) -> str:
        """Return why the loss cannot read its embeddings; empty if it can.

        Args:
            dimension: The dimension of its embeddings.
            trained: The dimension of the trained encoder's embeddings.
        """
        needed = trained if self.dimension == "trained" else self.dimension
        if needed in ("any", dimension):
            return ""
        found = f"the embeddings of the {self.key} '{self.name}' have {dimension:,} dimensions, and"
        remedy = f", or {self.remedy.format(dimension=dimension)}" if self.remedy else ""
        if self.dimension == "trained":
            found = f"{found} those of the trained encoder {trained:,}"
        else:
            found = f"{found} the loss compares them with vectors of {needed:,}"
        return f"{found}: name a {self.key} with {needed:,} dimensions{remedy}"


@dataclass(frozen=True)
class ExampleForm:
    """The training examples that a loss of `recipekit.losses.examples` is called with."""

    name: Literal["pairs", "triplets", "tuples", "labelled pairs", "scored pairs", "scored tuples"]
    """`pairs` are (query, positive), `tuples` (query, positive, negatives...). Labelled and scored
    forms have a number per passage: 1 or 0, or a score, in [0, 1] unless a teacher gives it."""
    contrasts: bool = False
    """Whether the other examples' passages are negatives of a query. Queries whose passages are not
    negatives of each other are then kept out of one batch."""
    score_from: Literal["verdict", "grade", "confidence", "teacher"] = "verdict"
    """Where scores come from. Those of a teacher, the `second_encoder`, have its own scale."""
    second_encoder: SecondEncoder | None = None
    """A second encoder, whose embeddings of the texts or scores come with the examples."""
    trains_margins_of: Literal["similarity", "cosine"] | None = None
    """The similarity whose margin, positive minus negative, the loss trains to be the margin of the
    scores: the encoder's `similarity`, or `cosine` for any encoder. None without margins."""


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
