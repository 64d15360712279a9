"""The softmax over the whole corpus, as a recipe declares it."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from recipekit.component import Context, Loss, LossSpec, NotIdentity

__all__ = ["ExactSoftmaxSpec"]


class ExactSoftmaxSpec(LossSpec):
    """Softmax cross-entropy over the whole corpus: every query against every passage, the passages
    frozen as a matrix.
    """

    whole_corpus: ClassVar[bool] = True

    temperature: float = Field(default=0.05, gt=0)
    """What cosine similarities are divided by. 0.05 is the common choice for unit vectors: scores
    reach from -20 to 20.
    """
    form: Literal["one_vs_negatives", "soft_label"] = "one_vs_negatives"
    """How several positives of a query share the loss. `one_vs_negatives`: each is ranked against
    the negatives alone, so that positives never compete, which suits judged data. `soft_label`: one
    distribution over all positives; they compete."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of the target that is spread evenly over the passages that are not ignored.

    Off: the judgments say what is uncertain.
    """
    weights: Literal["uniform", "grade"] = "uniform"
    """What a positive counts among the positives of its query: all the same, or in proportion to
    its grade.
    """
    tile_size: Annotated[int | None, NotIdentity, Field(ge=1)] = None
    """Passages scored at a time.

    It bounds memory and changes the result by rounding only; by default it follows the device.
    """

    def build(self, context: Context) -> Loss:
        """Make the loss."""
        from recipekit.losses.exact_softmax_math import ExactSoftmax

        return ExactSoftmax(
            temperature=self.temperature,
            form=self.form,
            label_smoothing=self.label_smoothing,
            weights=self.weights,
            tile_size=self.tile_size,
        )
