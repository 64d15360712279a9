"""The gradient of one optimizer step in the memory of one micro-batch, for both kinds of loss.

Gradients add up over micro-batches and ranks, and every term is divided by the size of the *global*
batch. A step is therefore the same for any number of ranks and any division of the batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from recipekit.arrays import Rows
from recipekit.component import Forward, Loss, Ranks, StepResult, TrainingLabels
from recipekit.losses.corpus_labels import CorpusLabels
from recipekit.losses.frozen_matrix import FrozenMatrix
from recipekit.records import Side
from recipekit.training.batches import labelled_batch

__all__ = ["batch_gradient", "corpus_gradient"]


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
        positive, at = labels.positive.take(queries), labels.positive.of(queries)[1]
        ignored = labels.ignored.take(queries)
        targets = CorpusLabels.of(positive, labels.weight[at], ignored, ranks.device)
        own = shares[ranks.rank]
        embeddings = forward(rows[own], "query", [*seed, ranks.rank, turn])
        mean_loss = loss(embeddings, targets, corpus).sum() / len(batch)
        mean_loss.backward()  # type: ignore[no-untyped-call]
        total += mean_loss.detach()
    return StepResult(total, forward.tokens(rows, "query"))


def batch_gradient(
    forward: Forward,
    loss: Loss,
    labels: TrainingLabels,
    num_hard_negatives: int,
    batch: Rows,
    seed: Sequence[int],
    ranks: Ranks,
) -> StepResult:
    """Add the gradient of a loss over the batch, with cached gradients (GradCache).

    The loss needs the embeddings of the whole global batch, however large. All micro-batches are
    embedded without a graph and gathered; the loss gives the gradient with respect to each
    embedding; each micro-batch is then embedded again to carry its part of that gradient into the
    encoder (arXiv 2101.06983). If one forward pass per side is enough, its graph is kept, and
    nothing is embedded twice.

    Args:
        forward: Embeds both sides.
        loss: A loss whose negatives come from the batch.
        labels: The phase's labels.
        num_hard_negatives: Hard negatives that each query adds to the batch.
        batch: Training queries of the global batch, (b,).
        seed: The step's seed, of the draw and of the dropout.
        ranks: The ranks that train together.
    """
    drawn = labelled_batch(labels, batch, num_hard_negatives, seed)
    rows: dict[Side, Rows] = {"query": labels.queries[batch], "passage": drawn.passages}
    passes = [
        (side, shares[ranks.rank]) for side in rows for shares in forward.passes(rows[side], side)
    ]
    seeds = [[*seed, ranks.rank, turn] for turn in range(len(passes))]
    keep_graph = len(passes) == len(rows)
    with torch.set_grad_enabled(keep_graph):
        embedded = [
            forward(rows[side][own], side, pass_seed)
            for (side, own), pass_seed in zip(passes, seeds, strict=True)
        ]

    leaves = {}
    for side in rows:
        own_rows = [
            (own, vectors.detach())
            for (of, own), vectors in zip(passes, embedded, strict=True)
            if of == side
        ]
        leaf = torch.zeros(len(rows[side]), own_rows[0][1].shape[1], device=ranks.device)
        for own, vectors in own_rows:
            leaf[own] = vectors
        # Each rank fills in its own rows, so the sum holds those of all ranks.
        leaves[side] = ranks.sum(leaf).requires_grad_()
    mask = torch.from_numpy(drawn.mask).to(ranks.device)
    mean_loss = loss(leaves["query"], leaves["passage"], mask).mean()
    mean_loss.backward()  # type: ignore[no-untyped-call]

    for turn, (side, own) in enumerate(passes):
        embeddings = embedded[turn] if keep_graph else forward(rows[side][own], side, seeds[turn])
        gradient = leaves[side].grad
        assert gradient is not None
        embeddings.backward(gradient[own])  # type: ignore[no-untyped-call]
    # Every rank computes the whole loss, and the loop sums over the ranks.
    tokens = sum(forward.tokens(rows[side], side) for side in rows)
    return StepResult(mean_loss.detach() / ranks.count, tokens)
