"""The gradient of one optimizer step in the memory of one micro-batch, for every kind of loss.

Gradients add up over micro-batches and ranks, and every term is divided by the size of the *global*
batch. A step is therefore the same for any number of ranks and any division of the batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch

from recipekit.arrays import Rows
from recipekit.component import Forward, Loss, Ranks, StepResult, TrainingLabels
from recipekit.encoding.out_of_memory import needs_memory
from recipekit.losses.corpus_labels import CorpusLabels
from recipekit.losses.frozen_matrix import FrozenMatrix
from recipekit.losses.passage_loss import PassageLoss
from recipekit.records import Side

__all__ = [
    "batch_gradient",
    "corpus_gradient",
    "corpus_passages_gradient",
    "most_moved_passages",
    "passage_block_gradient",
]

NORM_BLOCK = 1024
"""Passages whose gradients are computed at a time to choose those that are trained."""
SCORES_OF_BATCH = (
    "the scores of {:,} queries and {:,} passages, which smaller forward passes do not make fewer: "
    "set a lower `batch_size` or `num_hard_negatives` for the phase"
)
SCORES_OF_BLOCK = (
    "the scores of a tile of queries and {:,} passages, which smaller forward passes do not make "
    "fewer: set a lower `passage_batch_size` for the phase, or a lower `tile_size` of exact_softmax"
)
SCORES_OF_TILE = "the scores of one text: set a lower `tile_size` of exact_softmax"


def corpus_gradient(
    forward: Forward,
    loss: Loss,
    labels: TrainingLabels,
    corpus: FrozenMatrix,
    batch: Rows,
    seed: Sequence[int],
) -> StepResult:
    """Add the gradient of queries against a frozen corpus.

    A query's loss does not depend on the rest of the batch. Micro-batches are therefore
    independent, and their gradients add up to that of the whole batch exactly.

    Args:
        forward: Embeds queries.
        loss: A loss whose negatives come from the corpus.
        labels: The phase's labels.
        corpus: All passages, frozen.
        batch: Training queries of the global batch, (b,).
        seed: The step's seed.
    """
    ranks = corpus.ranks
    rows = labels.queries[batch]
    total = torch.zeros((), device=ranks.device)
    for turn, shares in enumerate(forward.passes(rows, "query")):
        # The ranks score all of their queries together, each against its slice of the corpus, so
        # every rank needs the labels of all queries.
        queries = batch[np.concatenate(shares)]
        targets = CorpusLabels.of_queries(labels, queries, ranks.device)
        own = shares[ranks.rank]
        embeddings = forward(rows[own], "query", [*seed, ranks.rank, turn])
        with _needs_memory(SCORES_OF_TILE, smaller_passes_help=_has_several(shares)):
            mean_loss = loss(embeddings, targets, corpus).sum() / len(batch)
        mean_loss.backward()  # type: ignore[no-untyped-call]
        total += mean_loss.detach()
    return StepResult(total, forward.tokens(rows, "query"))


def batch_gradient(
    forward: Forward,
    loss: Loss,
    rows: Mapping[Side, Rows],
    targets: Any,
    seed: Sequence[int],
    ranks: Ranks,
) -> StepResult:
    """Add the gradient of a loss over the batch, with cached gradients (GradCache).

    The loss needs the embeddings of the whole global batch, however large. All micro-batches are
    embedded without a graph and gathered; the loss gives the gradient with respect to each
    embedding; each micro-batch is then embedded again to carry its part of that gradient into the
    encoder (arXiv 2101.06983). If the passes over each side have no more tokens than one pass may
    have, their graphs are kept, and nothing is embedded twice.

    Args:
        forward: Embeds both sides.
        loss: A loss whose negatives come from the batch. The mean of what it returns is minimized.
        rows: The queries and the passages of the global batch, as rows of the data set.
        targets: What the loss is called with besides their embeddings: a mask, or `BatchExamples`.
        seed: The step's seed, of the dropout.
        ranks: The ranks that train together.
    """
    passes = {side: forward.passes(rows[side], side) for side in rows}
    keep_graphs = all(forward.fit_together(rows[side], side, passes[side]) for side in rows)
    sides: dict[Side, _CachedEmbeddings] = {}
    for side in rows:
        first = len(passes["query"]) if side == "passage" else 0
        sides[side] = _CachedEmbeddings(
            forward, rows[side], side, passes[side], [*seed, ranks.rank], first, ranks, keep_graphs
        )
    leaves = {side: embedded.vectors.requires_grad_() for side, embedded in sides.items()}
    counts = (len(rows["query"]), len(rows["passage"]))
    with _needs_memory(SCORES_OF_BATCH.format(*counts), smaller_passes_help=keep_graphs):
        mean_loss = loss(leaves["query"], leaves["passage"], targets.to(ranks.device)).mean()
        mean_loss.backward()  # type: ignore[no-untyped-call]

    for side, embedded in sides.items():
        gradient = leaves[side].grad
        assert gradient is not None
        embedded.backward(gradient)
    # Every rank computes the whole loss, and the loop sums over the ranks.
    tokens = sum(forward.tokens(rows[side], side) for side in rows)
    return StepResult(mean_loss.detach() / ranks.count, tokens)


def passage_block_gradient(
    forward: Forward,
    half: PassageLoss,
    block: Rows,
    seed: Sequence[int],
    ranks: Ranks,
    trained: int,
) -> StepResult:
    """Add the gradient of a block of passages against all frozen queries.

    The block's embeddings replace the cached ones, so that the cached log-partitions are those of
    the matrix. The gradient is scaled by m / |b|, where m passages are trained, so that a step does
    not depend on the size of the block. On average over blocks it equals the gradient of the whole
    mean loss with respect to these m.

    Args:
        forward: Embeds passages.
        half: The loss over all queries, as a function of passages.
        block: Passages, (b,).
        seed: The step's seed.
        ranks: The ranks that train together.
        trained: The number of passages that the half-phase trains, m.
    """
    passes = forward.passes(block, "passage")
    keep_graphs = forward.fit_together(block, "passage", passes)
    embedded = _CachedEmbeddings(
        forward, block, "passage", passes, [*seed, ranks.rank], 0, ranks, keep_graphs
    )
    with _needs_memory(SCORES_OF_BLOCK.format(len(block)), smaller_passes_help=keep_graphs):
        mean_loss, gradient = half.block(block, embedded.vectors, update=True)
    embedded.backward(gradient * (trained / len(block)))
    return StepResult(mean_loss, forward.tokens(block, "passage"))


def most_moved_passages(half: PassageLoss, count: int) -> Rows:
    """Return the passages with the largest gradient norms, ascending.

    The gradient of the mean loss with respect to each embedding, at the cached embeddings, is
    computed in blocks. Nothing is encoded; the cost is 6·n·N·d operations for n queries and N
    passages of d dimensions. All ranks return the same passages.

    Args:
        half: The loss over all queries, as a function of passages, with current embeddings.
        count: How many to return.
    """
    total, device = half.passages.total, half.passages.matrix.device
    norms = []
    for first in range(0, total, NORM_BLOCK):
        rows = np.arange(first, min(first + NORM_BLOCK, total))
        like = torch.empty(0, device=device)
        embeddings = half.passages.rows(torch.from_numpy(rows).to(device), like)
        _, gradient = half.block(rows, embeddings, update=False)
        norms.append(gradient.norm(dim=1).cpu().numpy())
    largest = np.argsort(-np.concatenate(norms), kind="stable")[:count]
    # The main rank's choice counts: the norms of others may differ in the last bit.
    chosen: Rows = half.passages.ranks.broadcast(np.sort(largest))
    return chosen


def corpus_passages_gradient(
    forward: Forward, half: PassageLoss, seed: Sequence[int], ranks: Ranks
) -> StepResult:
    """Add the gradient of all passages against all frozen queries: one exact step.

    The matrix must hold the passages as the encoder embeds them now. Each forward pass embeds some
    passages again, and carries their part of the gradient into the encoder.

    Args:
        forward: Embeds passages.
        half: The loss over all queries, as a function of passages.
        seed: The step's seed.
        ranks: The ranks that train together.
    """
    everything = np.arange(half.passages.total)
    total = torch.zeros((), device=ranks.device)
    for turn, shares in enumerate(forward.passes(everything, "passage")):
        rows = np.concatenate(shares)
        cached = half.passages.rows(torch.from_numpy(rows).to(ranks.device), like=total)
        with _needs_memory(SCORES_OF_TILE, smaller_passes_help=_has_several(shares)):
            mean_loss, gradient = half.block(rows, cached, update=False)
        own = shares[ranks.rank]
        start = sum(len(share) for share in shares[: ranks.rank])
        embeddings = forward(own, "passage", [*seed, ranks.rank, turn])
        embeddings.backward(gradient[start : start + len(own)])  # type: ignore[no-untyped-call]
        total = mean_loss
    return StepResult(total, forward.tokens(everything, "passage"))


def _needs_memory(message: str, *, smaller_passes_help: bool) -> AbstractContextManager[None]:
    """Report that scores do not fit, unless a repetition with smaller passes may need less memory.

    It may where the graphs of the passes are kept meanwhile, or where a pass decides the scores.
    """
    return nullcontext() if smaller_passes_help else needs_memory(message)


def _has_several(shares: Sequence[Rows]) -> bool:
    """Return whether any rank embeds more than one text in a forward pass."""
    return any(len(share) > 1 for share in shares)


class _CachedEmbeddings:
    """Rows that are embedded once for the loss, and again to carry its gradient (GradCache)."""

    def __init__(
        self,
        forward: Forward,
        rows: Rows,
        side: Side,
        passes: Sequence[Sequence[Rows]],
        seed: Sequence[int],
        first_turn: int,
        ranks: Ranks,
        keep_graphs: bool,
    ) -> None:
        """Embed the rows; each rank makes its own share of every pass.

        Args:
            forward: Embeds rows.
            rows: The rows, the same on every rank, (n,).
            side: Their side.
            passes: For every forward pass, for every rank, positions in `rows`.
            seed: The rank's seed, to which the number of the pass is added.
            first_turn: The number of the first pass.
            ranks: The ranks that embed together.
            keep_graphs: Keep the graphs of all passes rather than embed again.
        """
        self.forward, self.rows, self.side = forward, rows, side
        self.shares = [shares[ranks.rank] for shares in passes]
        self.seeds = [[*seed, first_turn + turn] for turn in range(len(passes))]
        with torch.set_grad_enabled(keep_graphs):
            embedded = [self._embed(turn) for turn in range(len(passes))]
        self._graphs = embedded if keep_graphs else None
        own = torch.zeros(len(rows), embedded[0].shape[1], device=ranks.device)
        for share, vectors in zip(self.shares, embedded, strict=True):
            own[share] = vectors.detach()
        # Each rank fills in its own rows, so the sum holds those of all ranks.
        self.vectors = ranks.sum(own)
        """The embeddings of all rows, (n, dim), without a graph."""

    def backward(self, gradient: torch.Tensor) -> None:
        """Carry a gradient with respect to `vectors` into the encoder."""
        for turn, share in enumerate(self.shares):
            embeddings = self._graphs[turn] if self._graphs else self._embed(turn)
            embeddings.backward(gradient[share])  # type: ignore[no-untyped-call]

    def _embed(self, turn: int) -> torch.Tensor:
        return self.forward(self.rows[self.shares[turn]], self.side, self.seeds[turn])
