"""The phase `coordinate_ascent`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from recipekit.component import Context, EncoderSpec, LossSpec, PhaseSpec, Slot
from recipekit.errors import RunError

if TYPE_CHECKING:
    from recipekit.component import Phase

__all__ = ["CoordinateAscentSpec"]


class CoordinateAscentSpec(PhaseSpec):
    """Freeze one side of the data as a matrix, train the other against all of it, then swap.

    A query half-phase trains queries against all passages. A passage half-phase trains blocks of
    passages against all queries. A phase has one or both, and repeats them.
    """

    freezes_corpus: ClassVar[bool] = True
    negatives_from: ClassVar[Literal["corpus", "batch"] | None] = "corpus"

    passages: Literal["all", "positives"] = "all"
    """The passages of the softmax: `all` of the corpus, or only the `positives` of the phase's
    training queries. With `all`, a passage without a label is a negative of every training query,
    even if it answers queries outside the training data. Use `positives` where few passages are
    labelled; it also costs less."""
    loss: Slot[LossSpec] = Slot(use="exact_softmax")
    """The loss; its negatives come from the corpus, as those of `exact_softmax` do."""
    query_epochs: Annotated[int, Field(ge=0)] = 3
    """Passes over the training queries in each query half-phase; 0 skips them."""
    passage_epochs: Annotated[int, Field(ge=0)] = 0
    """Passes over the passages of the softmax in each passage half-phase; 0 skips them."""
    cycles: Annotated[int, Field(ge=1)] = 1
    """How often the half-phases are repeated. Both sides are encoded again at each swap."""
    start_with: Literal["query", "passage"] = "query"
    """The side that is trained first, if both are."""
    passage_batch_size: Annotated[int, Field(ge=1)] | None = None
    """Passages per step of a passage half-phase, over all ranks together; null takes `batch_size`.
    """
    passage_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """The share of the passages that a passage half-phase trains: those whose embeddings the loss
    would move most, chosen at its start by the norm of their gradients. Passages that are far from
    every query hardly have one, and encoding them with gradients is what a passage epoch costs."""
    passage_gradient: Literal["block", "corpus"] = "block"
    """`block` makes one step per block of passages, against log-partitions that are cached for the
    rest of the corpus. `corpus` makes one exact step per passage epoch, with the gradient of all
    passages."""
    separate_towers: bool = False
    """Give each side its own copy of the encoder from this phase on. A frozen side then stays exact
    while the other is trained. With only query half-phases the passages' embeddings never change,
    so an index of them stays valid. The model is exported as a Router."""
    refresh_every_steps: Annotated[int, Field(ge=1)] | None = None
    """Steps after which frozen and cached embeddings are encoded again within a half-phase; null
    encodes at each swap only."""
    refresh_at_drift: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Encode again when the mean of 1 - cosine between stored and current embeddings, measured on a
    sample 20 times per half-phase, exceeds this; null does not."""
    measure_exact_loss: bool = True
    """Measure the exact loss of all training queries at the start and after each half-phase, with
    both sides encoded again."""

    @model_validator(mode="after")
    def _has_a_half_phase(self) -> Self:
        if not self.query_epochs and not self.passage_epochs:
            raise ValueError(
                "query_epochs and passage_epochs are both 0: there is nothing to train"
            )
        if self.passage_share < 1 and self.passage_gradient == "corpus":
            raise ValueError(
                "passage_gradient: corpus trains all passages: leave passage_share out, or set"
                " passage_gradient: block"
            )
        return self

    @property
    def reads_corpus(self) -> bool:
        """Whether it trains on passages that are not positives."""
        return self.passages == "all"

    @property
    def trains_passages(self) -> bool:
        """Whether there is a passage half-phase."""
        return self.passage_epochs > 0

    def refuses_encoder(self, encoder: EncoderSpec) -> str:
        """Return why it cannot train an encoder whose passages have stored vectors."""
        if encoder.stored_passages() is None:
            return ""
        if self.trains_passages:
            return "passages with passage_vectors are not trained: set passage_epochs: 0"
        if self.separate_towers:
            return "an encoder with passage_vectors has one tower: leave separate_towers out"
        return ""

    def total_epochs(self) -> int:
        """Return the passes over the training queries."""
        return self.query_epochs * self.cycles

    def trained_passages(self, passages: int) -> int:
        """Return how many of a number of passages a passage half-phase trains, at least one."""
        return max(1, round(self.passage_share * passages))

    def planned_steps(self, queries: int, passages: int, batch_size: int) -> int:
        """Return the optimizer steps of all half-phases."""
        block = self.passage_batch_size or batch_size
        trained = self.trained_passages(passages)
        passage_steps = 1 if self.passage_gradient == "corpus" else -(-trained // block)
        query_steps = -(-queries // batch_size)
        steps = self.query_epochs * query_steps + self.passage_epochs * passage_steps
        return self.cycles * steps

    def build(self, context: Context) -> Phase:
        """Build the phase.

        Raises:
            RunError: It has one passage.
        """
        from recipekit.training.coordinate_ascent import CoordinateAscent, Schedule

        passages = None
        if self.passages == "positives":
            passages = context.training.labels.positive_passages()
            if len(passages) < 2:
                raise RunError(
                    "coordinate_ascent with passages: positives has one passage: there is nothing "
                    "to compare it with; use passages: all",
                    code="RK638",
                )
        count = len(context.dataset.passages if passages is None else passages)
        schedule = Schedule(
            query_epochs=self.query_epochs,
            passage_epochs=self.passage_epochs,
            cycles=self.cycles,
            start_with=self.start_with,
            passage_batch_size=self.passage_batch_size or context.training.batch_size,
            trained_passages=self.trained_passages(count),
            passage_gradient=self.passage_gradient,
            refresh_every_steps=self.refresh_every_steps,
            refresh_at_drift=self.refresh_at_drift,
            separate_towers=self.separate_towers,
            measure_exact_loss=self.measure_exact_loss,
        )
        return CoordinateAscent(self.loss.build(context), schedule, context, passages)
