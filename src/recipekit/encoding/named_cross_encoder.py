"""The keys by which a component names a cross-encoder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from recipekit.component import NotIdentity
from recipekit.encoding.named_model import NamedModel
from recipekit.errors import ModelError

__all__ = ["NamedCrossEncoder"]


class NamedCrossEncoder(NamedModel):
    """The keys of a sentence-transformers CrossEncoder."""

    max_length: Annotated[int, Field(ge=8)] | None = None
    """Most tokens of query and passage together; the longer of them is truncated.

    By default the model's own limit.
    """
    precision: Literal["bf16", "fp32"] = "bf16"
    """Arithmetic of the model, bf16 where the hardware has it.

    Close scores can be ordered differently by the two.
    """
    max_tokens_per_batch: Annotated[int | None, NotIdentity, Field(ge=1)] = None
    """Padded tokens in one forward pass. By default 8192 on a CPU, else 65536."""

    def key_mistakes(self) -> Iterator[tuple[str, ModelError]]:
        """Yield that `max_length` is more than the model has positions, if its files are here."""
        yield from self.length_mistakes(self.max_length)
