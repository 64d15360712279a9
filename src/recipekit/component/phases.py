"""The keys and properties of every phase of training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from recipekit.component.spec import Component

if TYPE_CHECKING:
    from recipekit.component.encoders import EncoderSpec
    from recipekit.component.losses import LossSpec
    from recipekit.component.training import Phase  # noqa: F401 - in quotes below

__all__ = ["PhaseSpec"]


class PhaseSpec(Component["Phase"]):
    """A phase of training.

    Each phase has its own batch size, learning rate, schedule and data selection. A key that is
    null takes the value of the same name in the recipe's `train` section.
    """

    kind: ClassVar[str] = "phase"
    freezes_corpus: ClassVar[bool] = False
    """Whether it embeds passages as a frozen matrix, which `plan` mentions."""
    reads_labels: ClassVar[bool] = True
    """Whether it trains on labelled queries. Without, `TrainingContext.labels` is empty."""
    negatives_from: ClassVar[Literal["corpus", "batch"] | None] = None
    """The losses that it takes, by their `negatives_from`; None takes any."""
    min_batch_size: ClassVar[int] = 1
    """Fewest queries in a batch that it can learn from; `validate` refuses a smaller batch_size."""

    @property
    def reads_corpus(self) -> bool:
        """Whether it trains on every passage, labelled or not, which the report mentions."""
        return self.freezes_corpus

    @property
    def trains_passages(self) -> bool:
        """Whether it needs a loss that passages can be trained with."""
        return False

    def refuses_encoder(self, encoder: EncoderSpec) -> str:
        """Return why it cannot train an encoder, from the files that are here; empty if it can.

        Args:
            encoder: The encoder that the recipe trains.
        """
        return ""

    def refuses(self, loss: LossSpec) -> str:
        """Return why it cannot train with a loss that takes the right negatives; empty if it can.

        Args:
            loss: The loss in its `loss` field.
        """
        return ""

    batch_size: Annotated[int, Field(ge=1)] | None = None
    """Queries per optimizer step, over all ranks together; null inherits from `train`."""
    learning_rate: Annotated[float, Field(gt=0)] | None = None
    """Peak learning rate of AdamW; null inherits from `train`."""
    lr_scheduler: Literal["linear", "cosine", "constant"] | None = None
    """How the learning rate falls after the warm-up, over this phase's steps; null inherits from
    `train`."""
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Share of this phase's steps over which the learning rate rises from 0; null inherits from
    `train`."""
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    """AdamW's weight decay; null inherits from `train`."""
    max_grad_norm: Annotated[float, Field(ge=0)] | None = None
    """Largest gradient norm, 0 for no clipping; null inherits from `train`."""
    splits: Annotated[tuple[Literal["train", "dev"], ...], Field(min_length=1)] = ("train",)
    """Splits whose queries are trained on. Training on `dev` makes the dev evaluation
    meaningless: set `train.eval_every_epochs: null` with it."""
    sources: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Train only on the queries of these sources, by their names in `collect.sources`; null uses
    all."""
    labels: Literal["judged", "source"] = "judged"
    """`judged` trains on judgments, and on source labels of pairs that no judge decided. `source`
    trains only on source labels, as before judging."""
    unjudged: Literal["ignore", "negative"] | None = None
    """What a pair counts as that was retrieved but not judged; null inherits from `train`."""
    positive_weights: Literal["uniform", "grade"] = "uniform"
    """Whether the positives of a query count the same, or in proportion to their grades."""

    def total_epochs(self) -> int:
        """Return the passes over the training queries."""
        raise TypeError(f"{type(self).__name__} does not define total_epochs()")

    def planned_steps(self, queries: int, passages: int, batch_size: int) -> int:
        """Return the optimizer steps that `plan` shows.

        Args:
            queries: Training queries.
            passages: Passages that it trains on, at most.
            batch_size: Queries per step.
        """
        return -(-queries // batch_size) * self.total_epochs()
