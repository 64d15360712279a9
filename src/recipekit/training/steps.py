"""The gradient of one optimizer step, for both shapes of loss, in the memory of one micro-batch.

Gradients are summed over micro-batches and ranks, and every term is divided by the size of the
*global* batch, so that a step is the same whatever the number of ranks and however the batch was
cut. They are summed here rather than by DistributedDataParallel, which averages, wants a forward on
every rank for every backward, and cannot backpropagate a cached gradient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch.nn.attention import SDPBackend, sdpa_kernel

from recipekit.arrays import Rows
from recipekit.encoding.tokens import TokenizedTexts
from recipekit.records import Side
from recipekit.training.batches import in_batch, micro_batches
from recipekit.training.phases import TrainingPhase

__all__ = ["Forward", "frozen_gradient", "in_batch_gradient", "sum_gradients"]


CPU_PADDING = 512
"""Padding tokens in one forward pass on a CPU, where more of them cost more than another pass does:
of 64 docstrings by MiniLM, a step took 1.26 s with 1024, 1.0 s with 512, 1.05 s with 256, 1.3 s
with 128."""


@dataclass(frozen=True)
class Forward:
    """Rows of the data set to embeddings, differentiable, in the recipe's precision."""

    encoder: Any
    tokens: Mapping[Side, TokenizedTexts]
    accelerator: Accelerator
    bf16: bool
    dropout: bool
    max_tokens_per_batch: int

    def __call__(self, rows: Rows, side: Side, seed: Sequence[int]) -> torch.Tensor:
        """Embeddings, float32 (n, dim).

        `seed` decides the dropout, so that the same call gives the same again.
        """
        device = self.accelerator.device
        if len(rows) == 0:
            return torch.zeros(0, self.encoder.dimension, device=device)
        features = self.encoder.collate(self.tokens[side].take(rows), side)
        features = {name: tensor.to(device, non_blocking=True) for name, tensor in features.items()}
        if self.dropout:
            torch.manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
        # Autocast is torch's own and not Accelerate's: the precision is the recipe's, whatever a
        # saved configuration says.
        with (
            torch.autocast(device.type, torch.bfloat16, enabled=self.bf16),
            self._attention(int(self.tokens[side].lengths[rows].max())),
        ):
            embeddings: torch.Tensor = self.encoder(features, side)
        return embeddings.float()

    def _attention(self, width: int) -> AbstractContextManager[Any]:
        """Torch's own choice of attention, but for short texts in bf16 on a CPU.

        There its fused attention is slow backwards: 0.092 s against 0.013 s for 64 texts of 16
        tokens, 0.18 s against 0.11 s for 32 of 128, on one core; beyond, it is the faster, and its
        memory does not grow with the square of the length.
        """
        slow = self.bf16 and self.accelerator.device.type == "cpu" and width <= 128
        return sdpa_kernel(SDPBackend.MATH) if slow else nullcontext()

    def count(self, rows: Rows, side: Side) -> int:
        """Tokens of these rows."""
        return int(self.tokens[side].lengths[rows].sum())

    def shares(self, rows: Rows, side: Side) -> list[list[Rows]]:
        """For every forward pass, for every rank, positions in `rows`: see `micro_batches`."""
        padding = CPU_PADDING if self.accelerator.device.type == "cpu" else None
        return micro_batches(
            rows,
            self.tokens[side].lengths[rows],
            self.max_tokens_per_batch,
            self.accelerator.num_processes,
            padding,
        )


def frozen_gradient(
    forward: Forward, phase: TrainingPhase, frozen: Any, batch: Rows, seed: Sequence[int]
) -> tuple[torch.Tensor, int]:
    """Add up the gradient of queries against a frozen side.

    A query's term does not depend on the rest of the batch, so micro-batches are independent, and
    their gradients add up to that of the whole batch exactly.

    Args:
        forward: Embeds queries.
        phase: Its loss and labels.
        frozen: What `phase.freeze` made.
        batch: Indices of the global batch's training queries, (b,).
        seed: The step's place in training.

    Returns:
        This rank's part of the mean loss, a scalar, and how many tokens the global batch has.
    """
    assert phase.rows is not None
    rank, device = forward.accelerator.process_index, forward.accelerator.device
    rows = phase.labels.queries[batch]
    total = torch.zeros((), device=device)
    for turn, shares in enumerate(forward.shares(rows, "query")):
        # The ranks score all of their queries together, each against its slice, so the labels are
        # everyone's.
        labels = phase.rows.take(torch.from_numpy(batch[np.concatenate(shares)])).to(device)
        own = shares[rank]
        queries = forward(rows[own], "query", [*seed, rank, turn])
        loss = phase.loss(queries, labels, frozen).sum() / len(batch)
        if len(own):
            loss.backward()  # type: ignore[no-untyped-call]
        total += loss.detach()
    return total, forward.count(rows, "query")


def in_batch_gradient(
    forward: Forward, phase: TrainingPhase, batch: Rows, seed: Sequence[int]
) -> tuple[torch.Tensor, int]:
    """Add up the gradient of a loss over the batch alone; takes and returns what `frozen_gradient`
    does.

    The loss needs the embeddings of the whole global batch, whatever its size. So all micro-batches
    are embedded without a graph and gathered; the loss gives the gradient with respect to each
    embedding; and every micro-batch is embedded anew to carry its share of that back into the
    encoder (GradCache, arXiv 2101.06983). Where a rank's share of the batch is one forward pass per
    side, its graph is kept and nothing is embedded twice.
    """
    rank = forward.accelerator.process_index
    drawn = in_batch(phase.labels, batch, getattr(phase.loss, "negatives", 0), seed)
    rows: dict[Side, Rows] = {"query": phase.labels.queries[batch], "passage": drawn.passages}
    work = [
        (side, shares[rank])
        for side in rows
        for shares in forward.shares(rows[side], side)
        if len(shares[rank])
    ]
    seeds = [[*seed, rank, turn] for turn in range(len(work))]
    one_pass = len({side for side, _ in work}) == len(work)
    with torch.set_grad_enabled(one_pass):
        embedded = [
            forward(rows[side][at], side, draw)
            for (side, at), draw in zip(work, seeds, strict=True)
        ]

    leaves = {
        side: torch.zeros(
            len(rows[side]), forward.encoder.dimension, device=forward.accelerator.device
        )
        for side in rows
    }
    for (side, at), embeddings in zip(work, embedded, strict=True):
        leaves[side][at] = embeddings.detach()
    # Every rank fills in its own rows, and the sum is everyone's.
    leaves = {
        side: forward.accelerator.reduce(leaf, "sum").requires_grad_()
        for side, leaf in leaves.items()
    }
    mask = torch.from_numpy(drawn.mask).to(forward.accelerator.device)
    loss = phase.loss(leaves["query"], leaves["passage"], mask).mean()
    loss.backward()  # type: ignore[no-untyped-call]

    for turn, (side, at) in enumerate(work):
        embeddings = embedded[turn] if one_pass else forward(rows[side][at], side, seeds[turn])
        embeddings.backward(leaves[side].grad[at])  # type: ignore[no-untyped-call,index]
    return loss.detach() / forward.accelerator.num_processes, sum(
        forward.count(rows[side], side) for side in rows
    )


def sum_gradients(module: torch.nn.Module, accelerator: Accelerator) -> None:
    """Sum every parameter's gradient over the ranks; one that no rank has a gradient for stays
    without.
    """
    if accelerator.num_processes == 1:
        return
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    # A rank without a query in this step has no gradient at all, yet must take part.
    has = torch.tensor(
        [float(parameter.grad is not None) for parameter in parameters], device=accelerator.device
    )
    used = [
        parameter
        for parameter, count in zip(
            parameters, accelerator.reduce(has, "sum").tolist(), strict=True
        )
        if count
    ]
    flat = torch.cat(
        [torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in used]
    )
    for parameter, gradient in zip(
        used, accelerator.reduce(flat, "sum").split([p.numel() for p in used]), strict=True
    ):
        parameter.grad = gradient.view_as(parameter)
