"""The `bi_encoder`: one text in, one vector out, by a sentence-transformers model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from recipekit.component import Context, EncoderSpec, NotIdentity, Slot, VectorSourceSpec
from recipekit.encoding.known_length import stated_length
from recipekit.encoding.model_card import licence_of
from recipekit.encoding.named_model import (
    NamedModel,
    declared_similarity,
    files_here,
    has_mask_token,
    known_dimension,
)
from recipekit.errors import ModelError
from recipekit.records import Similarity

if TYPE_CHECKING:
    from recipekit.encoders.bi_encoder_module import BiEncoder

__all__ = ["BiEncoderSpec", "PoolingMode"]

PoolingMode = Literal["cls", "mean", "max", "weightedmean", "lasttoken"]


class BiEncoderSpec(NamedModel, EncoderSpec):
    """A sentence-transformers model: a transformer with a pooling, or a StaticEmbedding.

    Dense, Normalize and similar modules may follow. Pooling, similarity, prompts and length are by
    default those of the model's own files. A model that brings Python code needs
    `--trust-remote-code`.
    """

    version: ClassVar[int] = 2

    pooling: PoolingMode | None = None
    """How token embeddings become one vector. By default as in the model's files."""
    similarity: Similarity | None = None
    """How vectors are compared, everywhere: in search, judges, training, evaluation and exports. By
    default as in the model's files, and `cosine` if they do not state it, as in
    sentence-transformers. `cosine` scales all vectors to length 1. `exact_softmax` and
    `infonce` train all but `manhattan`, which is for search and evaluation."""
    query_prompt: str | None = None
    """Text that is prepended to a query. By default the model's own prompt; "" is none."""
    passage_prompt: str | None = None
    """Text that is prepended to a passage. By default the model's own prompt; "" is none."""
    max_length: Annotated[int, Field(ge=2)] | None = None
    """Number of tokens, with prompt and special tokens, after which a text is cut. By default as in
    the model's files."""
    precision: Literal["bf16", "fp32"] = "bf16"
    """Arithmetic when encoding. bf16 is at least twice as fast where the hardware has it, and
    changed nDCG@10 on nfcorpus by 0.0007; elsewhere it is computed in fp32. Weights, pooling and
    later modules stay float32."""
    tied: bool = True
    """Use one encoder for both sides; false trains a separate copy for each side."""
    passage_vectors: Slot[VectorSourceSpec] | None = None
    """Vectors that the passages have already, by any model. The encoder then embeds only queries,
    is compared as the vectors are, and gets a Dense layer if its dimension differs."""
    max_tokens_per_batch: Annotated[int | None, NotIdentity, Field(ge=1)] = None
    """Padded tokens in one forward pass when encoding.

    By default 8192 on a CPU, where more was not faster, and 65536 elsewhere.
    """

    @model_validator(mode="after")
    def _embeds_queries_alone(self) -> Self:
        if self.passage_vectors is None:
            return self
        if not self.tied:
            raise ValueError("tied: false trains a passage tower, and passage_vectors has none")
        if self.passage_prompt is not None:
            raise ValueError("passage_prompt: with passage_vectors no passage is encoded")
        return self

    @property
    def base_model(self) -> str:
        """The model that it starts from, for model cards."""
        return self.model

    def key_mistakes(self) -> Iterator[tuple[str, ModelError]]:
        """Yield that `max_length` is more than the model has positions, if its files are here."""
        yield from self.length_mistakes(self.max_length)

    def known_dimension(self) -> int | None:
        """Read the dimension of its embeddings from its files; None if they are not here."""
        if self.passage_vectors is not None:
            return self.passage_vectors.spec.known_dimension()
        return known_dimension(self.model, self.revision)

    def known_similarity(self) -> Similarity | None:
        """Read how its vectors are compared from its files; None if they are not here."""
        if self.passage_vectors is not None:
            return self.passage_vectors.spec.known_similarity()
        return self.similarity or declared_similarity(self.model, self.revision)

    def known_max_length(self) -> int | None:
        """Return `max_length`, or what its files state; None if they are not here."""
        folder = files_here(self.model, self.revision)
        return self.max_length if folder is None else stated_length(folder, self.max_length)

    def known_licence(self) -> str | None:
        """Read the licence from the model's card; None if it is not here, or states none."""
        folder = files_here(self.model, self.revision)
        return None if folder is None else licence_of(folder)

    def known_mask_token(self) -> bool | None:
        """Read whether its tokenizer has a mask token; None if its files do not state it."""
        return has_mask_token(self.model, self.revision)

    def build(self, context: Context) -> BiEncoder:
        """Load the model on the CPU, with float32 weights."""
        from recipekit.encoders.load import load_bi_encoder

        vectors = self.passage_vectors.build(context) if self.passage_vectors else None
        return load_bi_encoder(
            self, context.progress, vectors, trust_remote_code=context.trust_remote_code
        )

    def stored_passages(self) -> Slot[VectorSourceSpec] | None:
        """Return the vectors that its passages have already."""
        return self.passage_vectors

    def at(self, folder: Path) -> BiEncoderSpec:
        """Return the same encoder with the files that `BiEncoder.save` wrote.

        They include pooling, prompts and similarity.
        """
        own = {"model": str(folder.absolute()), "revision": None, "sha256": None}
        saved = dict.fromkeys(("pooling", "similarity", "query_prompt", "passage_prompt"))
        return self.model_copy(update={**own, **saved})
