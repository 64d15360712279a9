"""Evaluators, and the systems that they measure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from recipekit.component.spec import Component

if TYPE_CHECKING:
    from recipekit.arrays import Floats, Rows
    from recipekit.component.context import Embeddings
    from recipekit.component.encoders import Encoder, EncoderSpec
    from recipekit.component.retrievers import Retriever
    from recipekit.dataset import Dataset
    from recipekit.records import Side, Similarity

__all__ = ["Efficiency", "Embed", "Evaluator", "EvaluatorSpec", "System"]


class Embed(Protocol):
    """Embeds texts with an encoder. All ranks call it together."""

    def __call__(self, texts: Sequence[str], side: Side, prompt: str | None = None) -> Floats:
        """Return the embeddings, float32 (n, dim).

        Args:
            texts: The texts.
            side: The side that they belong to.
            prompt: The text that is prepended to each, "" for none; by default the side's prompt.

        Raises:
            ComponentError: The encoder embeds no text after another prompt than its side's.
        """


@dataclass(frozen=True)
class Efficiency:
    """What a system costs, as measured; None is unknown or does not apply."""

    parameters: int | None = None
    """The encoder's parameters."""
    dimension: int | None = None
    """The dimensions of its vectors."""
    bytes_per_vector: int | None = None
    """Bytes of one passage's vector in an index: 4 for each number, 1 for int8, 1/8 for binary."""
    index_bytes: int | None = None
    """Bytes of the vectors of all passages, or of a lexical index on disk."""
    passages_per_second: float | None = None
    """Passages embedded per second, from tokens to vectors on disk, by all ranks together."""
    queries_per_second: float | None = None
    """Queries embedded per second, in batches as passages are."""
    device: str | None = None
    """Where the texts were embedded: `NVIDIA H200`, or `2 x NVIDIA H200` for two ranks."""
    precision: str | None = None
    """The arithmetic of the forward passes: `bf16`, `fp32`, or `bf16 in fp32` on a device without
    bf16."""
    search_ms_per_query: float | None = None
    """Milliseconds of search per query, in batches, without embedding the query."""

    def known(self) -> dict[str, Any]:
        """Return the figures that are known, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class System:
    """A system to evaluate: its name in tables (`untrained`, `bm25`) and how it retrieves."""

    name: str
    retriever: Callable[[], Retriever]
    encoder: Callable[[], Encoder] | None = None
    """None for a system without an encoder, such as BM25."""
    similarity: Similarity | None = None
    """How the encoder's vectors are compared; None without an encoder."""
    embed: Embed | None = None
    """Embeds texts of the evaluator's own; None without an encoder."""
    key: str = ""
    """Identifies the encoder with its weights; empty without one."""
    vectors: Mapping[Side, Embeddings] | None = None
    """The embeddings of queries and passages that are searched; None without an encoder, or where
    no evaluator searches."""
    efficiency: Efficiency = Efficiency()
    """What the stage knows of its cost; evaluators add what they measure."""


class Evaluator(Protocol):
    """Measures systems."""

    def evaluate(self, systems: Sequence[System]) -> Sequence[Mapping[str, Any]]:
        """Return rows `{split, system, metric, value, low, high, queries}`.

        `low` and `high` are null without an interval. `split` is empty for data of the evaluator's
        own, and `item` names what `queries` counts (`pair`; by default `query`). Further keys, such
        as `differences`, are kept for the report. A row with `variant_of` measures a variant of
        that system under a name of its own, such as its compressed vectors, and `variant` says
        which kind.
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

    def measures_vectors(self) -> str | None:
        """Return the key that measures the vectors of an encoder; None without such a key.

        A recipe without an encoder that embeds texts cannot have it. An evaluator that
        `reads_texts` needs an encoder anyway.
        """
        return None

    def refuses_encoder(self, encoder: EncoderSpec) -> tuple[str, str] | None:
        """Return why it cannot measure an encoder, from the files that are here; None if it can.

        The first part is the key that does not fit, the second part the reason.
        """
        return None

    def measured_queries(self, dataset: Dataset) -> Rows | None:
        """Return the rows of the queries that it searches with; None for all.

        The evaluate stage encodes only these. It is not called for an evaluator that `reads_texts`.
        """
        return None
