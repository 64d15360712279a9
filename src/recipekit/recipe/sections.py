"""The sections of a recipe. They are the stages, by the same names; each holds a named map of
components and its policy.

A component stands in a `Slot`: `use` names it, the other keys are its own and are validated by its
own class, once the rest of the recipe is known to be well-formed (`recipekit.recipe.load`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from recipekit.component import (
    EncoderName,
    EncoderSpec,
    EvaluatorSpec,
    ExporterSpec,
    JudgeSpec,
    LocalPath,
    LossSpec,
    Name,
    NotIdentity,
    RetrieverSpec,
    Slot,
    SourceSpec,
)
from recipekit.recipe.metrics import MetricName

__all__ = [
    "SECTIONS",
    "TRAINED",
    "CollectSection",
    "EvaluateSection",
    "ExportSection",
    "JudgeSection",
    "MineSection",
    "Phase",
    "Recipe",
    "RecipeOrigin",
    "Section",
    "Split",
    "TrainSection",
]

Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]


S = TypeVar("S", bound="Section")


class Section(BaseModel):
    """A part of a recipe: frozen, and with no unknown keys."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True
    )


Sources = Annotated[dict[Name, Slot[SourceSpec]], Field(min_length=1)]
Retrievers = Annotated[dict[Name, Slot[RetrieverSpec]], Field(min_length=1)]
Judges = Annotated[dict[Name, Slot[JudgeSpec]], Field(min_length=1)]
Encoders = Annotated[dict[Name, Slot[EncoderSpec]], Field(min_length=1)]
Evaluators = Annotated[dict[Name, Slot[EvaluatorSpec]], Field(min_length=1)]
Exporters = Annotated[dict[Name, Slot[ExporterSpec]], Field(min_length=1)]


class Split(Section):
    """Shares of the queries that are held out, where a source does not bring a split of its own."""

    dev: Fraction = 0.05
    """Share of the queries for choosing and watching: dev evaluation, calibration."""
    test: Fraction = 0.1
    """Share of the queries for the final figures, never trained on."""

    @model_validator(mode="after")
    def _some_train(self) -> Self:
        if self.dev + self.test >= 1:
            raise ValueError(f"dev {self.dev} + test {self.test} leave no query to train on")
        return self


class HoldoutPositives(Section):
    """Studies of incomplete labels: hide source positives, as if nobody had labelled them."""

    keep: Annotated[int, Field(ge=1)] = 1
    """How many positives of each query stay."""
    by: Literal["random", "grade"] = "random"
    """Which ones: a seeded choice, or those of the highest grade (ties by a seeded choice)."""
    splits: Annotated[tuple[Literal["train", "dev", "test"], ...], Field(min_length=1)] = ("train",)
    """Whose queries lose positives."""


class ExpectedSize(Section):
    """What the collected data will be like, as far as `plan` has to know it before there is any;
    the result does not depend on it.
    """

    passages: Annotated[int, Field(ge=1)]
    """How many passages."""
    queries: dict[Literal["train", "dev", "test"], Annotated[int, Field(ge=0)]]
    """How many queries, by split."""
    passage_characters: Annotated[float, Field(gt=0)] = 500
    """Mean length of a passage, its title included."""
    query_characters: Annotated[float, Field(gt=0)] = 40
    """Mean length of a query."""
    positives_per_query: Annotated[float, Field(ge=0)] = 1
    """Given positives of a query, on average."""
    dimension: Annotated[int, Field(ge=1)] | None = None
    """Of the encoders' embeddings, where they are not at hand yet."""


class CollectSection(Section):
    """Gather queries, passages and labels from the sources, merge duplicates, and split by query."""

    sources: Sources
    """Where the data comes from, by a name of your own."""
    split: Split = Split()
    """How queries without a split of their own are divided."""
    holdout_positives: HoldoutPositives | None = None
    """For studies: positives that are taken away, to see whether judging finds them again."""
    expected_size: Annotated[ExpectedSize | None, NotIdentity] = None
    """How much data there will be, for a `plan` before it is collected."""


class MineSection(Section):
    """Per query, the passages worth judging: the best of every retriever, fused."""

    retrievers: Retrievers
    """What retrieves candidates, by a name of your own."""
    fusion: Literal["rrf", "score", "union"] = "rrf"
    """How lists are joined: `rrf` by reciprocal rank, sum of weight / (60 + rank); `score` by
    weighted scores, each retriever's brought to 0..1 per query; `union` keeps every list whole,
    ordered by best rank."""
    fusion_weights: dict[Name, Annotated[float, Field(gt=0)]] = {}
    """Weight of a retriever in the fusion; 1 where it is not named."""
    candidates_per_query: Annotated[int, Field(ge=1)] | None = 50
    """How many fused candidates to keep per query, source positives not counted; null keeps all of
    them.
    """
    splits: Annotated[tuple[Literal["train", "dev", "test"], ...], Field(min_length=1)] = ("train",)
    """Whose queries are mined."""


class ControlPairPolicy(Section):
    """How far the judges can be trusted: pairs whose truth is known, judged blind among the rest."""

    share: Fraction = 0.1
    """Share of the sources' own labels among the candidates, positives and judged negatives, that
    are judged blind. What a judge says of them is compared with the label, and changes it only
    where the judge would be asked about the pair anyway (a positive: with `rejudge_source_labels`,
    with which all of them are judged). Margin filters and label files are not asked. A judge's
    `previous_verdicts` and the like go by what was said of these pairs blind."""
    human_labels: LocalPath | None = None
    """People's labels to compare with, in a form that the `labels` judge reads (`recipekit judge
    sample` writes one to fill in).
    """
    min_positive_grade: float = 1.0
    """The least grade of the sample that is a positive, where it has no verdict."""


class ReliabilityFloors(Section):
    """The least that judges must reach on pairs of known truth; a run that stays below ends with an
    error.

    Where people labelled a sample (`control_pairs.human_labels`), what stands of it in the end is
    measured; else the measured judges' last word on the sources' labels. Fewer than ten pairs of a
    label that a figure needs are not enough, which is told before anybody is paid.
    """

    kappa: Annotated[float, Field(ge=-1, le=1)] | None = None
    """Cohen's kappa. People agree with strong models at 0.3 to 0.4 on mined pairs."""
    agreement: Fraction | None = None
    """Share of the pairs on which judge and label agree."""
    false_positive_rate: Fraction | None = None
    """Largest share of known negatives that may be called positive."""
    false_negative_rate: Fraction | None = None
    """Largest share of known positives that may be called negative."""
    decided_share: Fraction | None = None
    """Least share of known pairs that must be called positive or negative: who ignores everything
    errs on nothing.
    """


class JudgeSection(Section):
    """Decide of every candidate pair: positive, negative or ignore.

    Judges run in the order they are written.
    """

    judges: Judges
    """What judges, by a name of your own.

    Each sees the pairs that its `previous_verdicts` selects; a later verdict replaces an earlier.
    """
    rejudge_source_labels: bool = False
    """Let judges overrule the sources' own positives; by default a source positive stays one."""
    control_pairs: ControlPairPolicy = ControlPairPolicy()
    """Which pairs of known truth are judged blind, to measure the judges."""
    require: Annotated[ReliabilityFloors, NotIdentity] = ReliabilityFloors()
    """What the measured trust must reach for the run to go on.

    It is looked at anew at every run, and changing it judges nothing again.
    """
    max_cost_usd: Annotated[float, Field(gt=0)] | None = None
    """The most that this recipe's judging may cost, calls in flight included; when it is reached
    the rest stays unjudged.
    """
    max_calls: Annotated[int, Field(ge=1)] | None = None
    """The most calls to paid endpoints that judging may make."""


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


class EvaluateSection(Section):
    """Measure the trained encoder beside the untrained one and lexical search."""

    evaluators: Evaluators
    """What measures, by a name of your own."""
    encoder: EncoderName = "student"
    """The encoder that is measured untrained (and trained, where the recipe trains)."""
    untrained: bool = True
    """Measure the encoder as it was before training, too."""
    baselines: dict[Name, Slot[RetrieverSpec]] = {"bm25": Slot(use="bm25")}
    """Retrievers to measure beside it, by the names that they have in the table."""

    @model_validator(mode="after")
    def _names_are_free(self) -> Self:
        for name in ("untrained", "trained"):
            if name in self.baselines:
                raise ValueError(
                    f"baselines: '{name}' is the encoder's own name in the table; give the retriever another"
                )
        return self


class ExportSection(Section):
    """Write the model and the data in forms that others use."""

    exporters: Exporters
    """What is written, by a name of your own, which is also the folder's name."""


TRAINED: Final = "trained"
"""By this name sections after train speak of the trained encoder; no encoder of a recipe is called
so.
"""

SECTIONS: Final = ("collect", "mine", "judge", "train", "evaluate", "export")
"""The sections that are stages, in the order in which they run."""


@dataclass(frozen=True, eq=False)
class RecipeOrigin:
    """Where a recipe came from."""

    path: Path
    folder: Path
    """Where its relative paths start."""
    text: str
    """The file as it was read."""
    overrides: tuple[str, ...]
    allow_local_code: bool

    def __eq__(self, other: object) -> bool:
        """Always: where a recipe came from is no part of what it says."""
        return isinstance(other, RecipeOrigin)

    __hash__ = None  # type: ignore[assignment]


class Recipe(Section):
    """A whole recipe."""

    recipe: Literal[1] = Field(description="The version of the recipe format.")
    name: Name
    """What the recipe is called; its runs stand under `runs/<name>/`."""
    description: str = ""
    """A sentence or two for people: what it trains, on what, why."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 13
    """Decides every random choice: splits, samples, shuffles, resampling."""
    encoders: Encoders | None = None
    """The encoders that the recipe speaks of, by a name of your own; the one called `student` is
    trained.
    """
    collect: CollectSection
    mine: MineSection | None = None
    judge: JudgeSection | None = None
    train: TrainSection | None = None
    evaluate: EvaluateSection | None = None
    export: ExportSection | None = None
    _origin: RecipeOrigin | None = PrivateAttr(default=None)

    @property
    def origin(self) -> RecipeOrigin:
        """Where it came from."""
        assert self._origin is not None, "a recipe has an origin when load_recipe made it"
        return self._origin

    def section(self, model: type[S]) -> S | None:
        """Return the recipe's section of a model; None where the recipe lacks it."""
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, model):
                return value
        return None

    def stages(self) -> Iterator[tuple[str, Section]]:
        """The sections that are there, with their names, in order."""
        for name in SECTIONS:
            section = getattr(self, name)
            if section is not None:
                yield name, section
