"""A loss over several prefixes of the embeddings, as a recipe declares it."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self, get_args

from pydantic import Field, model_validator

from recipekit.component import Context, ExampleForm, Loss, LossSpec, Slot
from recipekit.records import Similarity

__all__ = ["MatryoshkaSpec"]

Dimensions = Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)]
Weights = tuple[Annotated[float, Field(gt=0)], ...]


class MatryoshkaSpec(LossSpec):
    """The sum of any loss over prefixes of the embeddings, so that vectors can be truncated.

    Prefixes are scaled to length 1 if the encoder's similarity is `cosine`. Losses over the corpus
    read prefixes of the frozen matrices, too (Matryoshka, arXiv 2205.13147).
    """

    # The loss inside is checked on its own.
    similarities: ClassVar[tuple[Similarity, ...]] = get_args(Similarity)

    loss: Slot[LossSpec]
    """The loss of each prefix, of any kind."""
    dimensions: Dimensions
    """Lengths of the prefixes, such as [384, 128, 64]. Include the full dimension to train the
    whole vectors as well."""
    weights: Weights | None = None
    """Weight of each prefix's loss; null weighs each 1."""

    @model_validator(mode="after")
    def _has_a_weight_for_each_dimension(self) -> Self:
        if len(set(self.dimensions)) < len(self.dimensions):
            raise ValueError("a dimension is listed twice")
        if self.weights is not None and len(self.weights) != len(self.dimensions):
            raise ValueError(
                f"there are {len(self.dimensions)} dimensions and {len(self.weights)} weights"
            )
        return self

    @property
    def negatives_from(self) -> Literal["corpus", "batch"]:
        """Where the inner loss takes them from."""
        return self.loss.spec.negatives_from

    @property
    def trains_passages(self) -> bool:
        """Whether the inner loss does."""
        return self.loss.spec.trains_passages

    @property
    def examples(self) -> ExampleForm | None:
        """What the inner loss reads."""
        return self.loss.spec.examples

    @property
    def weighs_positives(self) -> bool:
        """Whether the inner loss does."""
        return self.loss.spec.weighs_positives

    @property
    def least_dimension(self) -> int:
        """The longest prefix."""
        return max(self.dimensions)

    def build(self, context: Context) -> Loss:
        """Build the loss and the one inside it."""
        from recipekit.losses.matryoshka_math import Matryoshka, MatryoshkaOverCorpus, Prefixes

        weights = self.weights or (1.0,) * len(self.dimensions)
        prefixes = Prefixes(self.dimensions, weights, normalized=context.similarity == "cosine")
        inner = self.loss.build(context)
        if self.negatives_from == "corpus":
            return MatryoshkaOverCorpus(inner, prefixes)
        return Matryoshka(inner, prefixes)
