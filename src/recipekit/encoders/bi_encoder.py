"""The `bi_encoder`: one text in, one vector out, by a sentence-transformers model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, PrivateAttr, ValidationInfo, model_validator

from recipekit.component import Context, EncoderSpec, NotIdentity
from recipekit.encoding.named_model import (
    ModelName,
    Revision,
    Sha256,
    check_revision,
    commit,
    known_dimension,
    model_files,
    model_fingerprint,
    same_name_here,
)

if TYPE_CHECKING:
    from recipekit.encoders.bi_encoder_module import BiEncoder

__all__ = ["BiEncoderSpec", "PoolingMode"]

PoolingMode = Literal["cls", "mean", "max", "weightedmean", "lasttoken"]


class BiEncoderSpec(EncoderSpec):
    """A sentence-transformers model: a transformer, its pooling, and what follows.

    What the recipe leaves out (pooling, normalization, prompts, length) is as the model's own files say.
    """

    model: ModelName
    """A Hub id (`sentence-transformers/all-MiniLM-L6-v2`), a folder (`./models/mine`, from the recipe's folder), or
    `package:NAME/FOLDER`, files inside an installed package."""
    revision: Revision = None
    """Commit, tag or branch of a model on the Hub. Without one, the cached copy is used, or the newest where there is none."""
    sha256: Sha256 | None = None
    """What the sha256 of the model's weights (`model.safetensors`) must be."""
    pooling: PoolingMode | None = None
    """How token embeddings become one vector. By default as the model was trained."""
    normalize: bool | None = None
    """Whether vectors are brought to length 1. By default as the model was trained."""
    query_prompt: str | None = None
    """What is put before a query. By default the model's own prompt; "" is none."""
    passage_prompt: str | None = None
    """What is put before a passage. By default the model's own prompt; "" is none."""
    max_length: Annotated[int, Field(ge=2)] | None = None
    """Tokens of a text, prompt and special tokens included, after which it is cut. By default as the model was trained."""
    precision: Literal["bf16", "fp32"] = "bf16"
    """Arithmetic when encoding. bf16 is twice as fast or more where the hardware has it, and moved nfcorpus' nDCG@10 by 0.0007;
    weights, pooling and what follows it stay float32."""
    tied: bool = True
    """One encoder for both sides; false trains a copy per side, each free to move."""
    tokens_per_batch: Annotated[int | None, NotIdentity, Field(ge=1)] = None
    """Padded tokens in one forward pass when encoding. By default 8192 on a CPU, where more was not faster, and 65536 elsewhere."""
    _same_name_here: bool = PrivateAttr(default=False)

    @model_validator(mode="after")
    def _only_the_hub_has_revisions(self, info: ValidationInfo) -> Self:
        check_revision(self.model, self.revision)
        self._same_name_here = same_name_here(self.model, info)
        return self

    def files(self) -> Mapping[str, Path]:
        """The model's folder, unless it comes from the Hub."""
        return model_files(self.model)

    def fingerprint(self) -> Any:
        """Id and commit of a model on the Hub; None for one whose files are here."""
        return model_fingerprint(self.model, self.revision, hint_folder=self._same_name_here)

    def commit(self) -> str:
        """The commit that is used of a model on the Hub.

        Raises:
            ModelError: It is not cached and cannot be reached.
        """
        return commit(self.model, self.revision, hint_folder=self._same_name_here)

    def known_dimension(self) -> int | None:
        """The dimension of its embeddings, read from its files without loading it; None where they are not here."""
        return known_dimension(self.model, self.revision)

    def build(self, context: Context) -> BiEncoder:
        """Load the model, on the CPU, with float32 weights."""
        from recipekit.encoders.load import load_bi_encoder

        return load_bi_encoder(self, context.progress.warn)

    def at(self, folder: Path) -> BiEncoderSpec:
        """The same encoder with the weights that `BiEncoder.save` wrote: pooling, prompts and normalization stand in them."""
        own = {"model": str(folder.absolute()), "revision": None, "sha256": None}
        saved = dict.fromkeys(("pooling", "normalize", "query_prompt", "passage_prompt"))
        return self.model_copy(update={**own, **saved})
