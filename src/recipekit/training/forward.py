"""The forward pass of training: rows of the data set to differentiable embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from recipekit.arrays import Ints, Rows
from recipekit.component import Encoder, MaskedTokens, Ranks
from recipekit.encoding.precision import autocast, computes_in_bf16
from recipekit.encoding.tokens import TokenizedTexts
from recipekit.errors import RunError
from recipekit.records import Side
from recipekit.training.batches import micro_batches, padded_tokens

__all__ = ["EncoderForward"]

CPU_PADDING = 512
"""Padding tokens in one forward pass on a CPU, where more of them cost more than another pass.

A step over 64 docstrings with MiniLM took 1.26 s with 1024, 1.0 s with 512, 1.05 s with 256 and
1.3 s with 128."""

MATH_ATTENTION_WIDTH = 128
"""Longest text, in tokens, for which a CPU in bf16 uses torch's plain attention.

Its fused attention is slow backwards for short texts: 0.092 s against 0.013 s for 64 texts of 16
tokens, and 0.18 s against 0.11 s for 32 texts of 128 tokens, on one core. For longer texts it is
faster, and its memory does not grow with the square of the length."""


@dataclass
class EncoderForward:
    """Implements `recipekit.component.Forward` for an encoder on this rank."""

    encoder: Encoder
    tokens_of: Mapping[Side, TokenizedTexts]
    ranks: Ranks
    precision: Literal["bf16", "fp32"]
    dropout: bool
    max_tokens_per_batch: int
    """Padded tokens in one forward pass."""
    embedded: dict[Side, list[Rows]] = field(default_factory=dict)
    """The rows that this rank has embedded since `start_step`."""
    is_finite: dict[Side, list[torch.Tensor]] = field(default_factory=dict)
    """For each pass in `embedded`, which of its rows gave finite values, bool (n,)."""
    keeps_graphs: bool = False
    """Whether graphs of several passes have been kept since `start_step`."""

    def __call__(self, rows: Rows, side: Side, seed: Sequence[int]) -> torch.Tensor:
        """Embed rows in one forward pass: float32 (n, dim), differentiable.

        The seed determines the dropout. Without rows, one short text is embedded and discarded: the
        result `(0, dim)` has a graph, so that the backward pass takes part in collectives too.
        """
        texts = self._texts(side)
        ids = texts.take(rows if len(rows) else texts.shortest)
        embeddings = self._run(ids, rows, side, seed)[: len(rows)]
        self.is_finite.setdefault(side, []).append(embeddings.detach().isfinite().all(1))
        return embeddings

    def token_ids(self, rows: Rows, side: Side) -> list[Ints]:
        """Return the token ids of rows, with prompt and special tokens; not to be changed."""
        return self._texts(side).take(rows)

    def masked(
        self,
        ids: Sequence[Ints],
        masked: MaskedTokens,
        rows: Rows,
        side: Side,
        seed: Sequence[int],
    ) -> torch.Tensor:
        """Return the cross-entropy of masked tokens in one forward pass, float32 (m,).

        Args:
            ids: The altered token ids of the rows. Without rows, one short text is read instead.
            masked: The tokens to predict.
            rows: Rows of the data set, (n,).
            side: The side that the rows are of.
            seed: Determines the dropout.
        """
        texts = ids if len(rows) else self._texts(side).take(self._texts(side).shortest)
        losses = self._run(texts, rows, side, seed, masked.to(self.ranks.device))
        of, faults = _texts_of(masked, ids).to(losses.device), ~losses.detach().isfinite()
        counts = torch.zeros(len(rows), device=losses.device).index_add(0, of, faults.float())
        self.is_finite.setdefault(side, []).append(counts == 0)
        return losses

    def _run(
        self, ids: Sequence[Ints], rows: Rows, side: Side, seed: Sequence[int], *rest: Any
    ) -> torch.Tensor:
        """Call the encoder on token ids, in the recipe's precision: float32."""
        self.embedded.setdefault(side, []).append(rows)
        device = torch.device(self.ranks.device)
        features = self.encoder.collate(ids, side)
        features = {name: value.to(device, non_blocking=True) for name, value in features.items()}
        if self.dropout:
            torch.manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
        bf16 = computes_in_bf16(self.precision, device)
        # torch's autocast rather than Accelerate's: the recipe decides the precision, not a
        # saved configuration.
        with (
            # Rounded copies of gathered weights would outlive the weights.
            autocast(self.precision, device, cache_enabled=not self.ranks.shards_weights),
            _attention(bf16, device, max(map(len, ids))),
        ):
            result: torch.Tensor = self.encoder(features, side, *rest)
        return result.float()

    def _texts(self, side: Side) -> TokenizedTexts:
        """Return the tokens of a side.

        Raises:
            RunError: Its texts have stored vectors, and are not encoded.
        """
        if side not in self.tokens_of:
            raise RunError(
                "the encoder has passage_vectors, so it embeds no passages: train it with query "
                "half-phases of coordinate_ascent",
                code="RK646",
            )
        return self.tokens_of[side]

    def start_step(self) -> None:
        """Forget which rows were embedded."""
        self.embedded.clear()
        self.is_finite.clear()
        self.keeps_graphs = False

    def halve(self) -> bool:
        """Halve the padded tokens of a forward pass, if that saves memory.

        It does unless each pass since `start_step` held one text, and its graph alone.

        Returns:
            Whether they were halved.
        """
        single = all(len(rows) <= 1 for passes in self.embedded.values() for rows in passes)
        if single and not self.keeps_graphs:
            return False
        self.max_tokens_per_batch = max(1, self.max_tokens_per_batch // 2)
        return True

    def passes(self, rows: Rows, side: Side) -> list[list[Rows]]:
        """Divide a global batch over forward passes and ranks: see `micro_batches`."""
        padding = CPU_PADDING if self.ranks.device == "cpu" else None
        lengths = self._texts(side).lengths[rows]
        return micro_batches(lengths, self.max_tokens_per_batch, self.ranks.count, padding)

    def fit_together(self, rows: Rows, side: Side, passes: Sequence[Sequence[Rows]]) -> bool:
        """Return whether all passes have no more padded tokens, on any rank, than one may have.

        `halve` takes their graphs for kept if so.
        """
        if len(passes) <= 1:
            return True
        tokens = padded_tokens(self._texts(side).lengths[rows], passes)
        self.keeps_graphs = tokens <= self.max_tokens_per_batch
        return self.keeps_graphs

    def tokens(self, rows: Rows, side: Side) -> int:
        """Count the tokens of rows, padding left out."""
        return int(self._texts(side).lengths[rows].sum())


def _texts_of(masked: MaskedTokens, ids: Sequence[Ints]) -> torch.Tensor:
    """Return the text that each masked token is of, int64 (m,)."""
    ends = torch.tensor([len(one) for one in ids], dtype=torch.int64).cumsum(0)
    return torch.searchsorted(ends, masked.positions.cpu(), right=True)


def _attention(bf16: bool, device: torch.device, width: int) -> AbstractContextManager[Any]:
    use_math = bf16 and device.type == "cpu" and width <= MATH_ATTENTION_WIDTH
    return sdpa_kernel(SDPBackend.MATH) if use_math else nullcontext()
