"""Forward passes of an encoder over batches of tokens, without gradients."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch

from recipekit.arrays import Floats, Rows
from recipekit.component import Encoder, Progress, Ranks
from recipekit.encoding.out_of_memory import free_memory, is_out_of_memory
from recipekit.encoding.precision import autocast
from recipekit.encoding.tokens import TokenizedTexts
from recipekit.errors import RanksOutOfMemory, RunError
from recipekit.records import Side

__all__ = ["DividedPasses", "device_of", "encode", "encoding"]


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
    """Forward passes over batches, each divided into equal parts where memory is not enough.

    Ranks that shard weights pass through each layer together, so they divide all batches into the
    same number of parts: one that runs out of memory cannot divide its own.
    """

    encoder: Encoder
    tokens: TokenizedTexts
    side: Side
    device: torch.device
    ranks: Ranks
    progress: Progress | None
    parts: int = field(init=False)
    """Into how many parts a batch is divided."""

    def __post_init__(self) -> None:
        self.parts = self.ranks.pass_divisor if self.ranks.shards_weights else 1

    def forward(self, rows: Rows) -> torch.Tensor:
        """Embed a batch, (n, dim).

        Raises:
            RanksOutOfMemory: The batch does not fit on a rank that shards weights with others.
            RunError: One text does not fit.
        """
        while True:
            try:
                return self._in_parts(rows)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
            # Outside of `except`, whose error keeps the tensors of the failed pass.
            free_memory()
            if self.parts >= len(rows):
                raise RunError(
                    f"out of memory with one of the {self.side} texts in a forward pass: set a "
                    "shorter max_length for the encoder",
                    code="RK634",
                )
            if self.ranks.shards_weights:
                raise RanksOutOfMemory(
                    f"out of memory on rank {self.ranks.rank} while encoding {self.side} texts",
                    remedy="set a lower max_tokens_per_batch for the encoder",
                )
            self.parts *= 2
            if self.progress is not None:
                self.progress.warn(
                    f"out of memory while encoding {self.side} texts: each batch is encoded in "
                    f"{self.parts} parts, with the same result. A lower max_tokens_per_batch of "
                    "the encoder avoids the failed attempts"
                )

    def idle(self, batches: int) -> None:
        """Make the forward passes of batches that other ranks have and this one has not.

        Their results are discarded: all ranks make the same number of passes.
        """
        for _ in range(batches):
            self._in_parts(np.empty(0, np.int64))

    def report_other_ranks(self) -> None:
        """Report the largest number of parts on any rank; all ranks call this together.

        The main rank reports its own at once.
        """
        if self.ranks.count == 1 or self.ranks.shards_weights:
            return
        parts = int(self.ranks.max(torch.tensor(self.parts, device=self.device)))
        if parts > self.parts and self.progress is not None:
            self.progress.warn(
                f"out of memory while encoding {self.side} texts: some ranks encode each batch in "
                f"{parts} parts, with the same result. A lower max_tokens_per_batch of the encoder "
                "avoids the failed attempts"
            )

    def _in_parts(self, rows: Rows) -> torch.Tensor:
        count = self.parts if self.ranks.shards_weights else min(self.parts, max(1, len(rows)))
        vectors = [self._forward(part) for part in np.array_split(rows, count)]
        return vectors[0] if len(vectors) == 1 else torch.cat(vectors)

    def _forward(self, rows: Rows) -> torch.Tensor:
        """Embed rows in one forward pass; without any, one short text that is discarded."""
        texts = self.tokens.take(rows if len(rows) else self.tokens.shortest)
        features = self.encoder.collate(texts, self.side)
        on_device = {
            name: value.to(self.device, non_blocking=True) for name, value in features.items()
        }
        return self.encoder(on_device, self.side)[: len(rows)]


@contextmanager
def encoding(encoder: Encoder, device: torch.device, ranks: Ranks) -> Iterator[None]:
    """Switch to evaluation mode without gradients, in the encoder's precision.

    One autocast surrounds all batches, because it caches the rounded weights until it ends, unless
    each rank has only a slice of them. The previous mode is restored afterwards.
    """
    module = cast("torch.nn.Module", encoder)
    training = module.training
    module.eval()
    cached = not ranks.shards_weights
    try:
        with torch.no_grad(), autocast(encoder.precision, device, cache_enabled=cached):
            yield
    finally:
        module.train(training)


def device_of(encoder: Encoder) -> torch.device:
    """Return the device of an encoder's parameters."""
    return next(cast("torch.nn.Module", encoder).parameters()).device
