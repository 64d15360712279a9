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
from recipekit.encoding.out_of_memory import BatchParts, repeat_until_it_fits
from recipekit.encoding.precision import autocast
from recipekit.encoding.tokens import TokenizedTexts
from recipekit.errors import RanksOutOfMemory
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
    parts: BatchParts = field(init=False)

    def __post_init__(self) -> None:
        action, item = f"encoding {self.side} texts", f"one of the {self.side} texts"
        self.parts = BatchParts(action, item, "encoder", self.progress)
        if self.ranks.shards_weights:
            self.parts.count = self.ranks.pass_divisor

    def forward(self, rows: Rows) -> torch.Tensor:
        """Embed a batch, (n, dim).

        Raises:
            RanksOutOfMemory: The batch does not fit on a rank that shards weights with others.
            RunError: One text does not fit.
        """
        return repeat_until_it_fits(lambda: self._in_parts(rows), lambda: self._divide(rows))

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
        most = int(self.ranks.max(torch.tensor(self.parts.count, device=self.device)))
        if most > self.parts.count:
            self.parts.warn(f"some ranks divide each batch into {most} parts")

    def _divide(self, rows: Rows) -> None:
        if self.ranks.shards_weights and self.parts.count < len(rows):
            raise RanksOutOfMemory(
                f"out of memory on rank {self.ranks.rank} while {self.parts.action}",
                remedy="set a lower max_tokens_per_batch for the encoder",
            )
        self.parts.double(rows)

    def _in_parts(self, rows: Rows) -> torch.Tensor:
        # Ranks that shard weights make the same number of passes, if need be without rows.
        divides_alike = self.ranks.shards_weights
        parts = np.array_split(rows, self.parts.count) if divides_alike else self.parts.of(rows)
        vectors = [self._forward(part) for part in parts]
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
