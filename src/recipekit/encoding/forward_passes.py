"""Forward passes of an encoder over batches of tokens, without gradients."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch

from recipekit.arrays import Floats, Rows
from recipekit.component import Encoder, Progress, Ranks
from recipekit.encoding.out_of_memory import free_memory, is_out_of_memory
from recipekit.encoding.precision import computes_in_bf16
from recipekit.encoding.tokens import TokenizedTexts
from recipekit.errors import RunError
from recipekit.records import Side

__all__ = ["DividedPasses", "device_of", "encode", "encoding", "idle_passes"]


def encode(passes: DividedPasses, batches: Iterable[Rows]) -> Iterator[Floats]:
    """Yield the embeddings of each batch, float32 (n, dim), in order.

    A result is fetched only after the next batch has started, so that a GPU works while the CPU
    collates.
    """
    previous: torch.Tensor | None = None
    for rows in batches:
        vectors = passes.forward(rows)
        if previous is not None:
            yield previous.cpu().numpy()
        previous = vectors.float()
    if previous is not None:
        yield previous.cpu().numpy()


@dataclass
class DividedPasses:
    """Forward passes over batches, each divided into equal parts where memory is not enough."""

    encoder: Encoder
    tokens: TokenizedTexts
    side: Side
    device: torch.device
    ranks: Ranks
    progress: Progress | None
    parts: int = 1
    """Into how many parts a batch is divided."""

    def forward(self, rows: Rows) -> torch.Tensor:
        """Embed a batch, (n, dim).

        Raises:
            RunError: One text does not fit, or several ranks encode, which make equal numbers of
                forward passes.
        """
        while True:
            try:
                return self._in_parts(rows)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
            # Outside of `except`, whose error keeps the tensors of the failed pass.
            free_memory()
            if self.ranks.count > 1 or self.parts >= len(rows):
                raise RunError(
                    f"out of memory while encoding {self.side} texts: set a lower "
                    "max_tokens_per_batch or max_length for the encoder",
                    code="RK634",
                )
            self.parts *= 2
            if self.progress is not None:
                self.progress.warn(
                    f"out of memory while encoding {self.side} texts: each batch is encoded in "
                    f"{self.parts} parts, with the same result. A lower max_tokens_per_batch of "
                    "the encoder avoids the failed attempts"
                )

    def _in_parts(self, rows: Rows) -> torch.Tensor:
        parts = np.array_split(rows, min(self.parts, max(1, len(rows))))
        vectors = [
            _forward(self.encoder, self.tokens, part, self.side, self.device) for part in parts
        ]
        return vectors[0] if len(vectors) == 1 else torch.cat(vectors)


def _forward(
    encoder: Encoder, tokens: TokenizedTexts, rows: Rows, side: Side, device: torch.device
) -> torch.Tensor:
    features = encoder.collate(tokens.take(rows), side)
    on_device = {name: value.to(device, non_blocking=True) for name, value in features.items()}
    return encoder(on_device, side)


def idle_passes(
    count: int, encoder: Encoder, tokens: TokenizedTexts, side: Side, device: torch.device
) -> None:
    """Make forward passes whose results are discarded, so that all ranks make the same number."""
    for _ in range(count):
        _forward(encoder, tokens, tokens.shortest, side, device)


@contextmanager
def encoding(encoder: Encoder, device: torch.device, ranks: Ranks) -> Iterator[None]:
    """Switch to evaluation mode without gradients, in the encoder's precision.

    One autocast surrounds all batches, because it caches the rounded weights until it ends, unless
    each rank has only a slice of them. The previous mode is restored afterwards.
    """
    module = cast("torch.nn.Module", encoder)
    training = module.training
    module.eval()
    bf16 = computes_in_bf16(encoder.precision, device)
    try:
        cached = not ranks.shards_weights
        with (
            torch.no_grad(),
            torch.autocast(device.type, torch.bfloat16, enabled=bf16, cache_enabled=cached),
        ):
            yield
    finally:
        module.train(training)


def device_of(encoder: Encoder) -> torch.device:
    """Return the device of an encoder's parameters."""
    return next(cast("torch.nn.Module", encoder).parameters()).device
