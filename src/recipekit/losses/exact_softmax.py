"""The softmax over the whole corpus, as a recipe declares it."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from recipekit.component import Context, Loss, LossSpec, NotIdentity
from recipekit.records import Similarity

__all__ = ["ExactSoftmaxSpec"]


class ExactSoftmaxSpec(LossSpec):
    """Softmax cross-entropy of every query against the whole corpus, frozen as a matrix."""

    similarities: ClassVar[tuple[Similarity, ...]] = ("cosine", "dot", "euclidean")

    temperature: float = Field(default=0.05, gt=0)
    """Similarities are divided by it. 0.05 is the common choice for unit vectors: scores
    range from -20 to 20. For a `euclidean` encoder it divides half the negated squared distance,
    which for unit vectors is the cosine less 1."""
    form: Literal["one_vs_negatives", "soft_label", "log_marginal"] = "one_vs_negatives"
    """How several positives of a query share the loss. `one_vs_negatives` ranks each positive
    against only the negatives, so positives never compete; it suits judged data. `soft_label` is
    one distribution over all positives, which compete. `log_marginal` asks that the positives
    together outweigh the negatives; it suits noisy positives, and takes no weights of positives."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of the target that is spread evenly over the passages that are not ignored. 0 by
    default, since judgments already mark uncertain pairs."""
    tile_size: Annotated[int | None, NotIdentity, Field(ge=1)] = None
    """Passages scored at a time. It bounds memory, and changes results only by rounding. By default
    it depends on the device."""

    @property
    def negatives_from(self) -> Literal["corpus", "batch"]:
        """The whole corpus."""
        return "corpus"

    @property
    def trains_passages(self) -> bool:
        """Every form can train passages."""
        return True

    @property
    def weighs_positives(self) -> bool:
        """The log-marginal form has no weights."""
        return self.form != "log_marginal"

    def build(self, context: Context) -> Loss:
        """Build the loss."""
        from recipekit.losses.exact_softmax_math import ExactSoftmax

        return ExactSoftmax(
            temperature=self.temperature,
            form=self.form,
            label_smoothing=self.label_smoothing,
            tile_size=self.tile_size,
            similarity=context.similarity,
        )
