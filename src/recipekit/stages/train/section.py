"""The `train` section of a recipe."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from recipekit.component import EncoderName, LossSpec, Name, Slot
from recipekit.recipe.metrics import MetricName
from recipekit.recipe.sections import Fraction, Section

__all__ = ["Phase", "TrainSection"]


class Phase(Section):
    """One phase of training."""

    loss: Slot[LossSpec]
    """What is minimised."""
    query_epochs: Annotated[int, Field(ge=1)] = 3
    """Passes over the training queries per cycle, against the passages frozen at its start where
    the loss wants that.
    """
    cycles: Annotated[int, Field(ge=1)] = 1
    """How often the phase is repeated; frozen matrices are encoded anew at the start of each cycle.
    """


class TrainSection(Section):
    """Train an encoder on the judged data."""

    encoder: EncoderName = "student"
    """Which of the recipe's encoders is trained."""
    phases: Annotated[dict[Name, Phase], Field(min_length=1)]
    """What is done, in order, by a name of your own."""
    batch_size: Annotated[int, Field(ge=1)] = 64
    """Queries per optimizer step, over all ranks together."""
    learning_rate: Annotated[float, Field(gt=0)] = 5e-5
    """Peak learning rate of AdamW."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """AdamW's weight decay; biases and normalization weights are left out."""
    warmup_ratio: Fraction = 0.1
    """Share of the steps over which the learning rate rises from 0."""
    lr_scheduler: Literal["linear", "cosine", "constant"] = "linear"
    """How the learning rate falls after the warm-up, to 0 at the last step."""
    max_grad_norm: Annotated[float, Field(gt=0)] | None = 1.0
    """Largest gradient norm; null never clips."""
    dropout: bool = False
    """Keep the model's dropout on while training.

    Off by default: a frozen matrix is encoded without it.
    """
    precision: Literal["bf16", "fp32"] = "bf16"
    """Arithmetic of the forward pass, bf16 where the hardware has it; weights and optimizer state
    are float32 either way.
    """
    unjudged: Literal["ignore", "negative"] = "ignore"
    """What a pair is that was retrieved but not judged.

    Such pairs are the likeliest false negatives.
    """
    max_tokens_per_batch: Annotated[int, Field(ge=1)] = 16384
    """Padded tokens in one forward pass on one rank; a step of more is accumulated from several."""
    eval_every_epochs: Annotated[float, Field(gt=0)] | None = 1.0
    """Epochs between two evaluations on dev; null evaluates never, and keeps the last weights."""
    dev_metric: MetricName = "ndcg@10"
    """The metric on dev by which the best weights are kept."""
    dev_corpus_size: Annotated[int, Field(ge=1)] | None = 2000
    """Passages that a dev evaluation ranks: the dev queries' own and a seeded sample up to this
    many; null ranks all.
    """
