"""The `bi_encoder`: one text in, one vector out, by a sentence-transformers model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from recipekit.component import Context, EncoderSpec, NotIdentity
from recipekit.encoding.named_model import NamedModel, known_dimension

if TYPE_CHECKING:
    from recipekit.encoders.bi_encoder_module import BiEncoder

__all__ = ["BiEncoderSpec", "PoolingMode"]

PoolingMode = Literal["cls", "mean", "max", "weightedmean", "lasttoken"]


class BiEncoderSpec(NamedModel, EncoderSpec):
    """A sentence-transformers model: a transformer, its pooling, and what follows.

    What the recipe leaves out (pooling, normalization, prompts, length) is as the model's own files
    say.
    """

    pooling: PoolingMode | None = None
    """How token embeddings become one vector. By default as the model was trained."""
    normalize: bool | None = None
    """Whether vectors are brought to length 1. By default as the model was trained."""
    query_prompt: str | None = None
    """What is put before a query. By default the model's own prompt; "" is none."""
    passage_prompt: str | None = None
    """What is put before a passage. By default the model's own prompt; "" is none."""
    max_length: Annotated[int, Field(ge=2)] | None = None
    """Tokens of a text, prompt and special tokens included, after which it is cut.

    By default as the model was trained.
    """
    precision: Literal["bf16", "fp32"] = "bf16"
    """Arithmetic when encoding. bf16 is twice as fast or more where the hardware has it, and moved
    nfcorpus' nDCG@10 by 0.0007; where it has not, it is computed in fp32. Weights, pooling and what
    follows it stay float32."""
    tied: bool = True
    """One encoder for both sides; false trains a copy per side, each free to move."""
    max_tokens_per_batch: Annotated[int | None, NotIdentity, Field(ge=1)] = None
    """Padded tokens in one forward pass when encoding.

    By default 8192 on a CPU, where more was not faster, and 65536 elsewhere.
    """

    @property
    def base_model(self) -> str:
        """The model that it starts from, for model cards."""
        return self.model

    def known_dimension(self) -> int | None:
        """The dimension of its embeddings, read from its files without loading it.

        None where they are not here.
        """
        return known_dimension(self.model, self.revision)

    def build(self, context: Context) -> BiEncoder:
        """Load the model, on the CPU, with float32 weights."""
        from recipekit.encoders.load import load_bi_encoder

        return load_bi_encoder(self, context.progress.warn)

    def at(self, folder: Path) -> BiEncoderSpec:
        """The same encoder with the weights that `BiEncoder.save` wrote: pooling, prompts and
        normalization stand in them.
        """
        own = {"model": str(folder.absolute()), "revision": None, "sha256": None}
        saved = dict.fromkeys(("pooling", "normalize", "query_prompt", "passage_prompt"))
        return self.model_copy(update={**own, **saved})
