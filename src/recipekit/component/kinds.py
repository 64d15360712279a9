"""The kinds of components: for each its spec, and the Protocol of what it builds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, Protocol

from pydantic import Field

from recipekit.component.spec import Component
from recipekit.component.training import Phase
from recipekit.component.vectors import VectorSourceSpec
from recipekit.records import Similarity

if TYPE_CHECKING:
    import torch

    from recipekit.arrays import Bools, Floats, Ints, Rows
    from recipekit.component.slot import Slot
    from recipekit.dataset import Dataset
    from recipekit.records import Label, Passage, Query, Side

__all__ = [
    "KINDS",
    "Encoder",
    "EncoderSpec",
    "Evaluator",
    "EvaluatorSpec",
    "ExampleForm",
    "Exporter",
    "ExporterSpec",
    "Hits",
    "Judge",
    "JudgeSpec",
    "Loss",
    "LossSpec",
    "PairBatch",
    "PhaseSpec",
    "QueryBatch",
    "Remote",
    "RemoteIndex",
    "Retriever",
    "RetrieverSpec",
    "Source",
    "SourceSpec",
    "System",
    "Verdicts",
]

# Sources
# ----------


class Source(Protocol):
    """Reads passages, queries and labels. Subclass it for the defaults of the optional members."""

    def load(self) -> Iterator[Passage | Query | Label]:
        """Stream passages, queries and labels, in any order.

        Raises:
            DataError: The input is wrong; the message names file and line.
        """

    def located(self) -> Iterator[tuple[object, Passage | Query | Label]]:
        """Stream the records of `load()` as (location, record); optional.

        `str(location)` is something like `file:line`, which errors about the record then name.
        """
        return iter(())

    @property
    def counts(self) -> Mapping[str, int]:
        """Numbers for the stage's summary, once the source is read; optional."""
        return {}


class SourceSpec(Component[Source]):
    """A source of passages, queries and labels."""

    kind: ClassVar[str] = "source"


# Retrievers
# ----------


@dataclass(frozen=True)
class QueryBatch:
    """Queries: their rows in the data set, int64 (n,), and their texts."""

    rows: Rows
    texts: Sequence[str]

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True)
class Hits:
    """The passages retrieved for a batch of queries, best first."""

    rows: Ints
    """Passage rows, int32 (n, depth); -1 after the last hit."""
    scores: Floats
    """Scores, float32 (n, depth), higher is better; -inf where `rows` is -1."""


class Retriever(Protocol):
    """Finds passages for queries. Subclass it for the defaults of the optional members."""

    def search(self, queries: QueryBatch, depth: int) -> Hits:
        """Return the `depth` best passages of each query, without duplicates.

        The lower row comes first among equal scores.
        """

    @property
    def counts(self) -> Mapping[str, Any]:
        """JSON values for the stage's summary, such as the measured recall; optional."""
        return {}


@dataclass(frozen=True)
class RemoteIndex:
    """An index or collection that recipekit made on a server."""

    name: str
    owner: str
    """The cache that it belongs to, `Context.owner`."""
    corpus: str
    """The passages in it, `Context.corpus`."""
    rows: int
    bytes: int
    """Its size on the server's disk; 0 if the server does not report it."""


class Remote(Protocol):
    """The indices with recipekit's ownership tag on a server, for `recipekit cache ls` and `gc`."""

    @property
    def server(self) -> str:
        """The server's name, the same for every retriever that uses it."""

    def indices(self) -> Sequence[RemoteIndex]:
        """Return everything on the server that has recipekit's ownership tag."""

    def remove(self, name: str) -> None:
        """Remove one of them.

        Raises:
            ComponentError: It has no ownership tag.
        """


class RetrieverSpec(Component[Retriever]):
    """Finds candidate passages for a query."""

    kind: ClassVar[str] = "retriever"

    depth: int = Field(default=100, ge=1)
    """How many passages to retrieve per query."""

    def remote(self) -> Remote | None:
        """Return the indices on this retriever's server; None for a retriever without a server."""
        return None


# Judges
# ----------


@dataclass(frozen=True)
class PairBatch:
    """Candidate pairs to judge, all candidates of a query together, best first.

    A batch holds every candidate of its queries. `wanted` marks the pairs to judge; the others are
    context, above all source positives that can serve as references. A wanted source positive is a
    control pair: judge it like any other candidate, and do not use it as a reference for others.
    """

    query: Ints
    """Query rows, int32 (m,)."""
    passage: Ints
    """Passage rows, int32 (m,)."""
    source_positive: Bools
    """Source positives that no judge has overruled, bool (m,)."""
    previous_verdict: Any
    """The verdict of the judges before, int8 (m,); `Verdict.UNJUDGED` where there is none."""
    wanted: Bools
    """The pairs to judge, bool (m,)."""

    def __len__(self) -> int:
        return len(self.query)


@dataclass(frozen=True)
class Verdicts:
    """A judge's verdicts, in any order."""

    query: Ints
    """Query rows, int32 (m,)."""
    passage: Ints
    """Passage rows, int32 (m,)."""
    verdict: Any
    """`Verdict` codes, int8 (m,)."""
    grade: Floats | None = None
    """float32 (m,), NaN where a pair has none."""
    confidence: Floats | None = None
    """float32 (m,), NaN where a pair has none."""
    reason: Sequence[str | None] | None = None
    """One text per pair, or None."""
    ungraded: Any = None
    """Pairs without a usable answer, bool (m,).

    Their verdict, an `ignore`, counts only where no judge before gave one.
    """


class Judge(Protocol):
    """Decides whether (query, passage) pairs are relevant.

    Subclass it for the defaults of the optional members.
    """

    def judge(self, batches: Iterable[PairBatch]) -> Iterator[Verdicts]:
        """Stream verdicts on the wanted pairs; a pair without one keeps its previous verdict.

        Verdicts are on disk when the next ones are requested, and a resumed attempt does not ask
        for them again. A judge that reads several pairs of a query together should therefore yield
        whole queries.
        """

    @property
    def figures(self) -> Mapping[str, float | str]:
        """Values to show live next to the stage's own counts, such as `usd`; optional.

        `usd_a_pair` is not shown, but used to forecast the cost.
        """
        return {}

    @property
    def counts(self) -> Mapping[str, Any]:
        """JSON values for the stage's summary, once the judge has finished; optional."""
        return {}


class JudgeSpec(Component[Judge]):
    """Gives three-state verdicts on candidate pairs."""

    kind: ClassVar[str] = "judge"
    measured: ClassVar[bool] = False
    """Whether the judge also gets control pairs, which measure its reliability.

    True for a judge that reads the texts. False for a filter that cannot judge a source positive,
    and for a file, which would be compared with itself.
    """

    previous_verdicts: tuple[Literal["positive", "negative", "ignore", "unjudged"], ...] | None = (
        None
    )
    """Judge only pairs whose verdict so far is one of these. Default: all pairs."""
    below_confidence: float | None = None
    """Judge only pairs whose last verdict came from a judge, with a confidence below this or none.
    """
    disagreeing_with: str | None = None
    """Judge only pairs on which this judge (its name in the recipe) and the last verdict differ."""
    max_rank: Annotated[int, Field(ge=1)] | None = None
    """Judge only candidates up to this rank."""
    ranks_below_positive: Annotated[int, Field(ge=0)] | None = None
    """Judge only candidates ranked above the query's best source positive, or at most this many
    ranks below it. A query without a source positive is skipped."""
    max_pairs: Annotated[int, Field(ge=1)] | None = None
    """Judge at most this many pairs: a seeded sample of those that the other conditions admit.

    At most the share `control_pairs.share` of them are control pairs with source labels.
    """


# Encoders
# ----------


class Encoder(Protocol):
    """Texts to vectors.

    It is a `torch.nn.Module`, whose parameters are float32 whatever the checkpoint's dtype.
    """

    dimension: int
    max_length: int
    similarity: Similarity
    """How its vectors are compared. It is part of the embeddings, so search, the margin judge,
    training and evaluation follow it. Rows have length 1 if it is `cosine`."""
    precision: Literal["bf16", "fp32"]
    tied: bool

    @property
    def max_tokens_per_batch(self) -> int:
        """Padded tokens in one forward pass when encoding."""

    def set_dropout(self, enabled: bool) -> None:
        """Whether `train()` switches the model's dropout on."""

    def set_tied(self, tied: bool) -> None:
        """Give each side its own copy of the weights, or use the query side's for both.

        The query side's parameters keep their names. It changes nothing if the encoder is already
        as asked for.
        """

    def tokenizer_identity(self, side: Side) -> Any:
        """Return a JSON value that identifies what `tokenize` does with a text of this side.

        Cached tokens are shared by encoders of equal identity, such as an encoder before and after
        training: include the tokenizer's content, the prompt and `max_length`.
        """

    def tokenize(self, texts: Sequence[str], side: Side) -> tuple[list[Ints], int]:
        """Tokenize texts with their side's prompt and the special tokens, cut at `max_length`.

        Returns:
            The token ids of each text, and how many texts were cut.
        """

    def collate(self, ids: Sequence[Ints], side: Side) -> dict[str, torch.Tensor]:
        """Pad tokenized texts into one batch of features, on the CPU."""

    def __call__(self, features: Mapping[str, torch.Tensor], side: Side) -> torch.Tensor:
        """Embeddings (n, dim) of a collated batch, differentiable.

        Rows have length 1 if `similarity` is `cosine`.
        """

    def save(self, folder: Path) -> None:
        """Write a folder that `sentence_transformers.SentenceTransformer(folder)` loads."""


class EncoderSpec(Component[Encoder]):
    """A text encoder."""

    kind: ClassVar[str] = "encoder"

    @property
    def base_model(self) -> str | None:
        """The model that it starts from, for model cards; None if it has no name."""
        return None

    def known_dimension(self) -> int | None:
        """The dimension of its embeddings, read from its files without loading it.

        None where they are not here.
        """
        return None

    def known_similarity(self) -> Similarity | None:
        """How its vectors are compared, read from its files without loading it.

        None where they are not here.
        """
        return None

    def known_mask_token(self) -> bool | None:
        """Whether its transformer has a mask token, read from its files without loading it.

        None where they are not here, or do not state it.
        """
        return None

    def stored_passages(self) -> Slot[VectorSourceSpec] | None:
        """The vectors that its passages have already, so that it embeds queries alone.

        None for an encoder that embeds passages.
        """
        return None

    def at(self, folder: Path) -> EncoderSpec:
        """The same encoder with the weights that training saved into `folder`."""
        raise TypeError(f"{type(self).__name__} cannot be trained: it does not define at()")


# Losses
# ----------


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
    so that the loss is computed from `queries @ passages.T`."""

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


# Phases
# -------------------------------------------------------------------------------------------------


class PhaseSpec(Component[Phase]):
    """A phase of training.

    Each phase has its own batch size, learning rate, schedule and data selection. A key that is
    null takes the value of the same name in the recipe's `train` section.
    """

    kind: ClassVar[str] = "phase"
    freezes_corpus: ClassVar[bool] = False
    """Whether it embeds all passages as a matrix, which `plan` mentions."""
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
    """Train on the queries of these sources alone, by their names in `collect.sources`; null uses
    all."""
    labels: Literal["judged", "source"] = "judged"
    """`judged` trains on judgments, and on source labels of pairs that no judge decided. `source`
    trains on source labels alone, as before judging."""
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
            passages: Passages of the corpus.
            batch_size: Queries per step.
        """
        return -(-queries // batch_size) * self.total_epochs()


# Evaluators
# ----------


@dataclass(frozen=True)
class System:
    """A system to evaluate: its name in tables (`untrained`, `bm25`) and how it retrieves."""

    name: str
    retriever: Callable[[], Retriever]
    encoder: Callable[[], Encoder] | None = None
    """None for a system without an encoder, such as BM25."""
    similarity: Similarity | None = None
    """How the encoder's vectors are compared; None without an encoder."""
    embed: Callable[[Sequence[str], Side], Floats] | None = None
    """Embeds texts of a side with their prompt, float32 (n, dim); None without an encoder.

    All ranks call it together."""
    key: str = ""
    """Identifies the encoder with its weights; empty without one."""


class Evaluator(Protocol):
    """Measures systems."""

    def evaluate(self, systems: Sequence[System]) -> Sequence[Mapping[str, Any]]:
        """Return rows `{split, system, metric, value, low, high, queries}`.

        `low` and `high` are null without an interval. `split` is empty for data of the evaluator's
        own, and `item` names what `queries` counts (`pair`; by default `query`). Further keys, such
        as `differences`, are kept for the report.
        """


class EvaluatorSpec(Component[Evaluator]):
    """Measures the trained encoder and baselines."""

    kind: ClassVar[str] = "evaluator"
    reads_texts: ClassVar[bool] = False
    """Whether it embeds texts of its own (`System.embed`) instead of searching the data set.

    All ranks then call `evaluate`, and only the main rank's rows count. Systems without an encoder
    have no rows."""

    @property
    def data_name(self) -> str | None:
        """The data set of `evaluate.sources` that it measures; None for the recipe's own."""
        return None

    def measured_queries(self, dataset: Dataset) -> Rows | None:
        """Return the rows of the queries that it searches with; None for all.

        The evaluate stage encodes only these. It is not called for an evaluator that `reads_texts`.
        """
        return None


# Exporters
# ----------


class Exporter(Protocol):
    """Writes a model or data in a form that other tools read."""

    def export(
        self, files: Mapping[str, Path], card: Mapping[str, Any], folder: Path
    ) -> Mapping[str, Any]:
        """Write the export.

        Args:
            files: What finished stages wrote, by name, such as `judgments` (a table) and `encoder`
                (the folder of the trained encoder). What no stage wrote is missing.
            card: Content for a model or data card; every key is optional. `name` and
                `description` of the recipe, `recipe` (its text), `command` (repeats the run),
                `base_model` (the trained encoder as the recipe names it), `passage_vectors`
                (where the vectors are that it embeds queries for), `metrics` (the rows of
                `metrics.json`), `counts` (of earlier stages, by label), `judging` (the summary
                of the judge stage), `versions`.
            folder: The folder to write into; it exists and is empty.

        Returns:
            What was written, as counts for the report.
        """


class ExporterSpec(Component[Exporter]):
    """Writes the model or the data in a form that other tools read."""

    kind: ClassVar[str] = "exporter"


KINDS: Final[Mapping[str, type[Component[Any]]]] = {
    spec.kind: spec
    for spec in (
        SourceSpec,
        RetrieverSpec,
        JudgeSpec,
        EncoderSpec,
        VectorSourceSpec,
        LossSpec,
        PhaseSpec,
        EvaluatorSpec,
        ExporterSpec,
    )
}
"""Every kind of component; the entry-point group of a kind is its plural.

`recipekit.sources`, `recipekit.losses`.
"""
