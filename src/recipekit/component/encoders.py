"""Text encoders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

from recipekit.component.spec import Component
from recipekit.errors import ComponentError

if TYPE_CHECKING:
    import torch

    from recipekit.arrays import Floats, Ints
    from recipekit.component.slot import Slot
    from recipekit.component.vectors import VectorSourceSpec
    from recipekit.records import Side, Similarity

__all__ = ["CrossEncoder", "Encoder", "EncoderSpec", "ShardedAsOne", "TakesPrompts"]


class Encoder(Protocol):
    """Texts to vectors.

    It is a `torch.nn.Module`, whose parameters are float32, also if the checkpoint's are not. A
    class that names `Encoder` as its second base inherits the members with a default. It can also
    define the members of `PredictsTokens` and of `TakesPrompts`.
    """

    dimension: int
    max_length: int
    similarity: Similarity
    """How its vectors are compared. It is part of the embeddings, so search, the margin judge,
    training and evaluation follow it. Rows have length 1 if it is `cosine`."""
    precision: Literal["bf16", "fp32"]
    tied: bool
    """Whether the sides share a weight, so that a step for one changes the embeddings of both."""
    has_untrained_dense: bool = False
    """Whether a layer has random weights until it is trained, so that the initial weights are
    neither searched with nor evaluated."""

    @property
    def max_tokens_per_batch(self) -> int:
        """Padded tokens in one forward pass when encoding."""

    def set_dropout(self, enabled: bool) -> None:
        """Whether `train()` switches the model's dropout on."""

    def set_tied(self, tied: bool) -> None:
        """Give each side its own copy of the weights that both share, or let them share them again.

        They share the query side's. Parameters keep their names. It changes nothing if the encoder
        is already as asked for.
        """

    def weights_of(self, side: Side) -> Mapping[str, torch.Tensor] | None:
        """Return all weights that encode a side, by name.

        A side whose weights training left unchanged is not encoded again. None encodes it again
        always.
        """
        return None

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


@runtime_checkable
class TakesPrompts(Protocol):
    """An encoder that embeds texts after other prompts than those of their sides, for `mteb`."""

    @property
    def named_prompts(self) -> Mapping[str, str]:
        """The prompts of the model's files, by name: `query`, `STS`, `Classification`."""

    def prompted(self, side: Side, prompt: str) -> AbstractContextManager[None]:
        """Prepend a prompt to a side's texts, instead of its own, while the context is open.

        What `tokenizer_identity` returns changes with it.
        """


@runtime_checkable
class ShardedAsOne(Protocol):
    """A module of an encoder whose weights are sharded together, if ranks share weights out.

    Other modules, apart from transformers, are sharded layer by layer. All ranks must then call
    each layer equally often.
    """

    is_sharded_as_one: Literal[True]


class CrossEncoder(Protocol):
    """Reads a query and a passage together, and scores their relevance.

    What an encoder with `scores_pairs` builds. It is on its device, and works alone on each rank.
    """

    @property
    def parameters(self) -> int:
        """The number of its parameters."""

    @property
    def device_name(self) -> str:
        """Where it computes, for the report."""

    @property
    def arithmetic(self) -> str:
        """The arithmetic of its forward passes, for the report: `bf16`."""

    def score(
        self, queries: Sequence[str], passages: Sequence[str], *, logits: bool = False
    ) -> Floats:
        """Return the score of each pair, float32 (n,), finite and higher for more relevance.

        Args:
            queries: The query of each pair.
            passages: The passage of each pair.
            logits: Whether to leave out the activation that maps scores to an interval, such as a
                sigmoid. The order of pairs is the same.

        Raises:
            ModelError: A score is not finite.
            RunError: One pair does not fit into memory.
        """


class EncoderSpec(Component[Any]):
    """A text encoder: what it builds is an `Encoder`, or a `CrossEncoder` if it `scores_pairs`."""

    kind: ClassVar[str] = "encoder"
    scores_pairs: ClassVar[bool] = False
    """Whether it scores pairs of texts and makes no vectors. Fields of the type `CrossEncoderName`
    name such an encoder, those of the type `EncoderName` the others, and those of the type
    `AnyEncoderName` both."""
    embeds_texts: ClassVar[bool] = True
    """Whether it embeds any text. If not, it has only vectors of collected texts, by
    `stored_queries` and `stored_passages`: it is not built, and `evaluate.encoder` and `search`
    cannot use it."""

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

    def known_max_length(self) -> int | None:
        """The tokens after which a text is cut, read from its files without loading it.

        None where they are not here, or do not state it.
        """
        return None

    def known_licence(self) -> str | None:
        """The licence that the card of its model states.

        None where the card is not here, or states none.
        """
        return None

    def stored_passages(self) -> Slot[VectorSourceSpec] | None:
        """The vectors that its passages have already, so that it embeds only queries.

        None for an encoder that embeds passages.
        """
        return None

    def stored_queries(self) -> Slot[VectorSourceSpec] | None:
        """The vectors that queries have already, by query id; None if it embeds queries.

        They are compared as those of `stored_passages`, which the encoder has, too.
        """
        return None

    def at(self, folder: Path) -> EncoderSpec:
        """The same encoder with the weights that training saved into `folder`."""
        raise TypeError(f"{type(self).__name__} cannot be trained: it does not define at()")

    def check_built(self, built: object) -> None:
        """Check that what it built has the members that an `Encoder` inherits.

        Raises:
            ComponentError: It lacks one.
        """
        optional = ("has_untrained_dense", "weights_of")
        missing = [name for name in optional if not hasattr(built, name)]
        if missing and not self.scores_pairs:
            raise ComponentError(
                f"{type(self).__name__} builds a {type(built).__name__} without "
                f"{', '.join(missing)}: make it a subclass of torch.nn.Module and "
                "recipekit.component.Encoder, which has defaults",
                code="RK206",
            )
