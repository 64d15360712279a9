"""Components: what a recipe names with `use:`.

A component is its own configuration: one class whose fields are the YAML keys, whose attribute docstrings are the
documentation of those keys, and whose `build()` makes the thing that works. Heavy imports stand inside `build()`, so that a
recipe is validated without them.

```python
class Elasticsearch(RetrieverSpec):
    \"\"\"BM25 over an Elasticsearch index.\"\"\"

    index: str
    \"\"\"Index or alias to search.\"\"\"
    url: Annotated[str, NotIdentity] = "http://localhost:9200"
    \"\"\"Where the cluster answers.\"\"\"

    def build(self, context: Context) -> Retriever: ...
```

Each kind has one direct subclass of `Component` that fixes its kind, the keys all of its members share, and the Protocol
that `build()` returns. There is no other inheritance.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, Protocol, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo
from pydantic.fields import FieldInfo

if TYPE_CHECKING:
    import torch

    from recipekit.records import Bools, Dataset, Floats, Ints, Label, Passage, Query, Rows, Side

__all__ = [
    "KINDS",
    "Component",
    "Context",
    "Embeddings",
    "Encoder",
    "EncoderName",
    "EncoderSpec",
    "Evaluator",
    "EvaluatorSpec",
    "Exporter",
    "ExporterSpec",
    "Hits",
    "Judge",
    "JudgeSpec",
    "LocalPath",
    "Loss",
    "LossSpec",
    "NotIdentity",
    "PairBatch",
    "Progress",
    "QueryBatch",
    "Ranks",
    "Retriever",
    "RetrieverSpec",
    "Source",
    "SourceSpec",
    "System",
    "Verdicts",
    "is_encoder_name",
]


class _NotIdentity:
    """See `NotIdentity`."""

    def __repr__(self) -> str:
        return "NotIdentity"


NotIdentity: Final = _NotIdentity()
"""Marks a field that changes nothing about the result (a url, a concurrency, a path whose content counts instead): it is
left out of keys, and is the only place where `${env:NAME}` may stand. `url: Annotated[str, NotIdentity]`."""


class _EncoderName:
    """See `EncoderName`."""


EncoderName = Annotated[str, _EncoderName()]
"""A field that names one of the recipe's encoders; a recipe in which there is none of that name is wrong."""


def is_encoder_name(field: FieldInfo) -> bool:
    """Whether a pydantic field is an `EncoderName`, or `EncoderName | None`."""

    def marked(annotation: Any) -> bool:
        return any(isinstance(part, _EncoderName) or marked(part) for part in get_args(annotation))

    return any(isinstance(mark, _EncoderName) for mark in field.metadata) or marked(field.annotation)


def _from_recipe_folder(path: Path, info: ValidationInfo) -> Path:
    folder = (info.context or {}).get("folder", Path())
    return Path(os.path.abspath(folder / path.expanduser()))


LocalPath = Annotated[Path, NotIdentity, AfterValidator(_from_recipe_folder)]
"""A file or folder, absolute once validated; relative ones start at the recipe's folder (validation context `folder`).

It is no part of the identity: list it in `files()`, so that its content is."""


class Component(BaseModel):
    """A frozen spec that builds what it describes.

    A default that is written out means what it means unwritten (`recipekit fill` writes all of them, and every run loads such
    a recipe): validators compare values, and never ask which keys were written (`model_fields_set`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True)

    kind: ClassVar[str]
    version: ClassVar[int] = 1
    """Raise it when the same spec would now produce another artifact."""
    needs: ClassVar[tuple[str, ...]] = ()
    """Sections of the recipe without which it has nothing to work on (`("train",)`); a recipe that lacks one is wrong."""

    def build(self, context: Context) -> Any:
        """Make the working object. Heavy imports belong here."""
        raise TypeError(f"{type(self).__name__} does not define build()")

    def files(self) -> Mapping[str, Path]:
        """Local files and folders whose content decides the result; their hashes enter the key.

        The names enter the key too, so they should not depend on where the files are: `{"corpus": folder}`. A path that is
        listed here belongs in a field marked `NotIdentity`.
        """
        return {}

    def fingerprint(self) -> Any:
        """A JSON value that identifies what is used but can change under us (a hub revision, an index), or None.

        It is called by `plan`, so it must be quick, must not import torch, and raises `ComponentError` where what it asks
        for cannot be reached (the plan then says "unknown").
        """
        return None

    def estimate(self, dataset: Dataset, pairs: int) -> Mapping[str, float]:
        """Expected work or money for `pairs` (query, passage) pairs, by unit (`{"usd": 1.2}`), for `plan`; {} if trivial."""
        return {}


# What the stages hand to components ----------------------------------------------------------------------------------


class Progress(Protocol):
    """Where work reports what it does: a live line on a terminal, plain lines elsewhere, `log.jsonl` always."""

    def track(self, name: str, total: int | None = None, unit: str = "") -> Tracker:
        """Start a counted piece of work; a context manager."""

    def log(self, event: str, **fields: Any) -> None:
        """Record an event with its figures (JSON values)."""

    def warn(self, message: str) -> None:
        """Tell the user something that is not an error."""


class Tracker(Protocol):
    """One counted piece of work."""

    def __enter__(self) -> Tracker: ...
    def __exit__(self, *exc: object) -> None: ...
    def advance(self, n: int = 1, **figures: float | str) -> None:
        """Count `n` more done, and show `figures` (`loss=0.3`) beside the rate and the time left."""


@dataclass(frozen=True)
class Ranks:
    """The processes that work together. One alone is rank 0 of 1."""

    rank: int = 0
    count: int = 1
    device: str = "cpu"
    """This process's torch device, as text."""
    barrier: Callable[[], None] = lambda: None
    """Returns when every rank has called it."""

    @property
    def is_main(self) -> bool:
        """Whether this process writes what is written once."""
        return self.rank == 0


@dataclass(frozen=True)
class Embeddings:
    """One side's embeddings, by row: a memory-mapped matrix (n, dim) of float32 or float16, unit rows if normalized."""

    path: Path
    matrix: Any
    normalized: bool

    def __len__(self) -> int:
        return int(self.matrix.shape[0])


@dataclass(frozen=True)
class Context:
    """What a component may use when it is built. Everything comes through here; nothing is global."""

    seed: int
    scratch: Path
    """A folder of this component alone, inside the stage's partial artifact: it survives a crash, for resuming."""
    progress: Progress
    ranks: Ranks = field(default_factory=Ranks)
    _dataset: Dataset | None = None
    encoder: Callable[[str], Encoder] = field(default=lambda name: _absent("encoder", name))
    """Build (once) an encoder that the recipe names."""
    embeddings: Callable[[str, Side], Embeddings] = field(default=lambda name, side: _absent("embeddings", name))
    """Embeddings of all queries or passages by a named encoder; encoded at the first call, by all ranks together."""
    artifact: Callable[[str, Any, Callable[[Path], None]], Path] = field(default=lambda name, identity, build: _absent("artifact", name))
    """`artifact(name, identity, build)`: the folder of a cached by-product of the data set (a BM25 index). `build(folder)`
    writes it where the cache has none; `identity` is a JSON value, the data set's key is added to it."""

    @property
    def dataset(self) -> Dataset:
        """The collected data."""
        if self._dataset is None:
            raise RuntimeError("nothing is collected yet: a source has no data set")
        return self._dataset


def _absent(what: str, name: str) -> Any:
    raise RuntimeError(f"this context has no {what} {name!r}")


# Sources -------------------------------------------------------------------------------------------------------------


class Source(Protocol):
    """Reads data from where it is.

    It may also have `located()`, which yields (place, record) for each record that `load()` yields, where `str(place)` is
    something like `file:line`: errors that collect finds then name the place. And it may have `counts`, a mapping of names
    to numbers that collect shows beside its own once the source is read.
    """

    def load(self) -> Iterator[Passage | Query | Label]:
        """Stream passages, queries and labels, in any order (a label may come before the texts it joins).

        Raises `DataError` with file and line where the input is wrong.
        """


class SourceSpec(Component):
    """A source of passages, queries and labels."""

    kind: ClassVar[str] = "source"

    def build(self, context: Context) -> Source:
        """Make the source."""
        return super().build(context)  # type: ignore[no-any-return]


# Retrievers ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class QueryBatch:
    """Some queries: their rows in the data set, int64 (n,), and their texts."""

    rows: Rows
    texts: Sequence[str]

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True)
class Hits:
    """What was retrieved for a batch of queries, best first.

    rows: passage rows, int32 (n, depth), -1 where there are fewer hits. scores: float32 (n, depth), higher is better,
    -inf where rows is -1.
    """

    rows: Ints
    scores: Floats


class Retriever(Protocol):
    """Finds passages for queries."""

    def search(self, queries: QueryBatch, depth: int) -> Hits:
        """The `depth` best passages of each query, without duplicates, ties broken by the lower row."""


class RetrieverSpec(Component):
    """Finds candidate passages for a query."""

    kind: ClassVar[str] = "retriever"

    depth: int = Field(default=100, ge=1)
    """How many passages to retrieve per query."""

    def build(self, context: Context) -> Retriever:
        """Make the retriever over `context.dataset.passages`."""
        return super().build(context)  # type: ignore[no-any-return]


# Judges --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PairBatch:
    """Candidate pairs to judge. All pairs of a query stand in one batch, together.

    query, passage: rows, int32 (m,). given: the source's positives, bool (m,). before: the verdict of the judge before,
    int8 (m,), `Verdict.UNJUDGED` where there was none. Every candidate of a query is here; `wanted`, bool (m,), marks those
    to judge, the rest are context (their given positives, above all).
    """

    query: Ints
    passage: Ints
    given: Bools
    before: Any
    wanted: Bools

    def __len__(self) -> int:
        return len(self.query)


@dataclass(frozen=True)
class Verdicts:
    """What a judge said, in any order: rows of the pair and `Verdict` codes, int8 (m,).

    grade and confidence: float32 (m,) or None, NaN where there is none. reason: one text a pair (or None), or None.
    """

    query: Ints
    passage: Ints
    verdict: Any
    grade: Floats | None = None
    confidence: Floats | None = None
    reason: Sequence[str | None] | None = None


class Judge(Protocol):
    """Decides of (query, passage) pairs whether they are relevant."""

    def judge(self, batches: Iterable[PairBatch]) -> Iterator[Verdicts]:
        """Stream verdicts on the wanted pairs; a pair left out stays as the judge before left it."""


class JudgeSpec(Component):
    """Gives three-state verdicts on candidate pairs."""

    kind: ClassVar[str] = "judge"

    when: tuple[Literal["positive", "negative", "ignore", "unjudged"], ...] | None = None
    """Judge only the pairs on which the judges before gave one of these verdicts; by default, all pairs."""

    def build(self, context: Context) -> Judge:
        """Make the judge."""
        return super().build(context)  # type: ignore[no-any-return]


# Encoders ------------------------------------------------------------------------------------------------------------


class Encoder(Protocol):
    """Texts to vectors. It is a `torch.nn.Module`, whose parameters are float32 whatever the checkpoint's dtype."""

    dimension: int
    max_length: int
    normalized: bool
    precision: Literal["bf16", "fp32"]
    tied: bool

    @property
    def tokens_per_batch(self) -> int:
        """Padded tokens in one forward pass when encoding."""

    def set_dropout(self, enabled: bool) -> None:
        """Whether `train()` switches the model's dropout on."""

    def tokenize(self, texts: Sequence[str], side: Side) -> tuple[list[Ints], int]:
        """Token ids of each text with its side's prompt and the special tokens, cut at `max_length`; how many were cut."""

    def collate(self, ids: Sequence[Ints], side: Side) -> dict[str, torch.Tensor]:
        """Pad tokenized texts into one batch of features, on the CPU."""

    def __call__(self, features: Mapping[str, torch.Tensor], side: Side) -> torch.Tensor:
        """Embeddings (n, dim) of a collated batch, differentiable, unit rows if `normalized`."""

    def save(self, folder: Path) -> None:
        """Write a folder that `sentence_transformers.SentenceTransformer(folder)` loads."""


class EncoderSpec(Component):
    """A text encoder."""

    kind: ClassVar[str] = "encoder"

    def build(self, context: Context) -> Encoder:
        """Load the encoder."""
        return super().build(context)  # type: ignore[no-any-return]

    def at(self, folder: Path) -> EncoderSpec:
        """The same encoder with the weights that training saved into `folder`."""
        raise TypeError(f"{type(self).__name__} cannot be trained: it does not define at()")


# Losses --------------------------------------------------------------------------------------------------------------


class Loss(Protocol):
    """A training objective. See `recipekit.losses` for the two shapes of call, told apart by `frozen`."""

    frozen: Side | None
    """The side it scores against whole, as a frozen matrix; None for a loss over the batch alone."""

    def __call__(self, *args: Any) -> torch.Tensor:
        """Per-query losses (n_queries,), differentiable."""


class LossSpec(Component):
    """A training objective."""

    kind: ClassVar[str] = "loss"

    def build(self, context: Context) -> Loss:
        """Make the loss."""
        return super().build(context)  # type: ignore[no-any-return]


# Evaluators ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class System:
    """Something to evaluate: a name for the table (`untrained`, `bm25`, `trained`) and how it retrieves."""

    name: str
    retriever: Callable[[], Retriever]
    encoder: Callable[[], Encoder] | None = None
    """None for a system that has none, such as BM25."""


class Evaluator(Protocol):
    """Measures systems."""

    def evaluate(self, systems: Sequence[System]) -> Sequence[Mapping[str, Any]]:
        """Rows `{split, system, metric, value, low, high, queries}`, low and high null where there is no interval.

        Further keys (`difference`, `p_value` and `against`, for example) are kept and reach the report.
        """


class EvaluatorSpec(Component):
    """Measures what was trained, beside baselines."""

    kind: ClassVar[str] = "evaluator"

    def build(self, context: Context) -> Evaluator:
        """Make the evaluator over `context.dataset`.

        What it writes into `context.scratch` stays in the artifact, as `rankings/NAME/`, by its name in the recipe.
        """
        return super().build(context)  # type: ignore[no-any-return]


# Exporters -----------------------------------------------------------------------------------------------------------


class Exporter(Protocol):
    """Writes what others use."""

    def export(self, inputs: Mapping[str, Path], card: Mapping[str, Any], folder: Path) -> Mapping[str, Any]:
        """Write into `folder` from the finished artifacts (`inputs`: stage name to folder) and say what was written.

        `card` holds what a model or data card tells: recipe name and text, data counts, metrics, how to repeat.
        """


class ExporterSpec(Component):
    """Writes the model or the data in a form that others use."""

    kind: ClassVar[str] = "exporter"

    def build(self, context: Context) -> Exporter:
        """Make the exporter."""
        return super().build(context)  # type: ignore[no-any-return]


KINDS: Final[Mapping[str, type[Component]]] = {
    spec.kind: spec for spec in (SourceSpec, RetrieverSpec, JudgeSpec, EncoderSpec, LossSpec, EvaluatorSpec, ExporterSpec)
}
"""Every kind of component; the entry-point group of a kind is its plural: `recipekit.sources`, `recipekit.losses`."""
