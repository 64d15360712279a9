"""The `train` section of a recipe."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from recipekit.component import EncoderName, Name, NotIdentity, PhaseSpec, Slot
from recipekit.recipe.metrics import MetricName
from recipekit.recipe.sections import Fraction, Section

__all__ = ["FreezeSection", "LoraSection", "TrainSection"]


class LoraSection(Section):
    """Train low-rank adapters instead of the transformer's weights, and merge them at the end."""

    r: Annotated[int, Field(ge=1)] = 16
    """Rank of the adapters."""
    alpha: Annotated[float, Field(gt=0)] = 32.0
    """The adapters' weights are scaled by `alpha / r`."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout before the adapters; it needs `train.dropout: true`."""
    target_modules: Annotated[list[str], Field(min_length=1)] | None = None
    """Names of the linear layers that get an adapter, such as `query`. By default all linear layers
    of the transformer's layers."""


class FreezeSection(Section):
    """Leave the lower part of the transformer as it is."""

    embeddings: bool = False
    """Do not train the embeddings of tokens and positions."""
    layers: Annotated[int, Field(ge=0)] = 0
    """Do not train this many layers, counted from the first."""


class TrainSection(Section):
    """Train an encoder on the judged data."""

    encoder: EncoderName = "student"
    """The recipe's encoder that is trained."""
    phases: Annotated[dict[Name, Slot[PhaseSpec]], Field(min_length=1)]
    """The phases of training, in order, each by a name of your own."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    """Decides only the random choices of training: the order of queries, dropout, new weights. By
    default the recipe's seed, which also decides splits and samples."""
    batch_size: Annotated[int, Field(ge=1)] = 64
    """Queries per optimizer step, over all ranks together, unless a phase has its own."""
    learning_rate: Annotated[float, Field(gt=0)] = 5e-5
    """Peak learning rate of AdamW, unless a phase has its own."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """AdamW's weight decay, unless a phase has its own. Biases and normalization weights have none.
    """
    warmup_ratio: Fraction = 0.1
    """Share of a phase's steps over which the learning rate rises from 0, unless a phase has its
    own."""
    lr_scheduler: Literal["linear", "cosine", "constant"] = "linear"
    """How the learning rate falls after the warm-up, to 0 after a phase's last step, unless a phase
    has its own."""
    max_grad_norm: Annotated[float, Field(ge=0)] = 1.0
    """Largest gradient norm, unless a phase has its own; 0 does not clip."""
    lora: LoraSection | None = None
    """Train low-rank adapters (LoRA) with peft. By default all weights are trained."""
    freeze: FreezeSection | None = None
    """Parts of the transformer that are not trained."""
    gradient_checkpointing: Annotated[bool, NotIdentity] = False
    """Compute the activations inside each transformer layer again in the backward pass: a third
    more time, and much less memory for long texts and large models."""
    dropout: bool = False
    """Keep the model's dropout on while training. Off by default, since a frozen matrix is encoded
    without it. It is drawn for each forward pass, so `max_tokens_per_batch` is part of the cache
    key if it is on."""
    precision: Literal["bf16", "fp32"] = "bf16"
    """Arithmetic of the forward pass. bf16 is used where the hardware has it, and fp32 elsewhere.
    Weights and optimizer state are always float32."""
    unjudged: Literal["ignore", "negative"] = "ignore"
    """What a pair counts as that was retrieved but not judged, unless a phase has its own. Such
    pairs are the likeliest false negatives."""
    max_tokens_per_batch: Annotated[int, NotIdentity, Field(ge=1)] = 16384
    """Padded tokens in one forward pass on one rank; a larger step is accumulated over several."""
    eval_every_epochs: Annotated[float, Field(gt=0)] | None = 1.0
    """Epochs between two evaluations on dev, counted in each phase; a phase's last step is always
    evaluated. null never evaluates, and keeps the last weights."""
    dev_metric: MetricName = "ndcg@10"
    """The metric on dev that chooses weights, over all phases."""
    keep_weights: Literal["near_best", "best", "last"] = "near_best"
    """The weights that are the result. `near_best`: the latest whose dev metric is at most one
    standard error, of the paired difference by query, below the best. `best`: those with the best
    dev metric. `last`: the last ones."""
    patience: Annotated[int, Field(ge=1)] | None = None
    """Dev evaluations in a row without a new best of the phase, after which it stops; null never
    stops it."""
    average_weights: Annotated[int, Field(ge=1)] = 1
    """Each dev evaluation measures, and keeps, the mean of the weights at this many evaluations of
    the phase."""
    dev_corpus_size: Annotated[int, Field(ge=1)] | None = 2000
    """Passages that a dev evaluation ranks: all that are labelled for the dev queries, and up to
    this many in all, those judged for them and a seeded sample of others; null ranks all."""

    def further_identity(self) -> dict[str, Any]:
        """Return the size of passes with dropout, which is drawn for each pass."""
        return {"max_tokens_per_batch": self.max_tokens_per_batch} if self.dropout else {}

    @model_validator(mode="after")
    def _adapters_fit(self) -> Self:
        if self.lora is not None and self.lora.dropout and not self.dropout:
            raise ValueError(
                "lora.dropout has no effect without `dropout: true`, which switches all dropout on"
            )
        if self.lora is not None and self.freeze is not None:
            raise ValueError(
                "lora freezes all weights of the transformer already: leave out `freeze`"
            )
        return self
