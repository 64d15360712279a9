"""The part of a loss's conformance check that trains passages with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from recipekit.component import Context, Loss, TrainingLabels
from recipekit.query_pairs import QueryPairs
from recipekit.testing.promises import call, expect, expect_methods, found, member, new_folder

if TYPE_CHECKING:
    import torch

    from recipekit.losses.passage_loss import PassageLoss

__all__ = ["check_over_passages"]

BLOCK = np.array([0, 4, 5])
"""The passages that are trained: a positive, a passage that is only a negative, and one that is
ignored by a query."""


def check_over_passages(
    name: str, loss: Loss, queries: torch.Tensor, passages: torch.Tensor, context: Context
) -> None:
    """Check a loss that passages can be trained with, as `CorpusLoss` and `PassageLoss` promise.

    The mean loss of a block is that of calling the loss with the block's new embeddings, its
    gradient agrees with finite differences, and `update`, `save` and `load` keep the block.

    Args:
        name: The spec's name, for messages.
        loss: The loss.
        queries: Embeddings of queries, float64 (n, dim). Passage i is the positive of query i.
        passages: Embeddings of all passages, float64 (N, dim), with n < 5 < N.
        context: The context that the loss was built with.
    """
    import torch

    from recipekit.losses.corpus_labels import CorpusLabels
    from recipekit.losses.frozen_matrix import FrozenMatrix
    from recipekit.losses.passage_loss import CorpusLoss

    expect_methods(name, loss, CorpusLoss, "over_passages")
    queries, labels = queries.detach(), _labels(len(queries))
    targets = CorpusLabels.of_queries(labels, np.arange(len(queries)))

    def over(passages: torch.Tensor) -> PassageLoss:
        frozen = FrozenMatrix.whole(queries), FrozenMatrix.whole(passages.clone())
        return _over_passages(name, loss, *frozen, labels)

    def direct(passages: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return loss(queries, targets, FrozenMatrix.whole(passages)).mean()

    half = over(passages)
    call(f"{name}: compute() of over_passages()", "it fills the caches", half.compute)
    generator = torch.Generator().manual_seed(1)
    moved = passages.clone()
    moved[BLOCK] = torch.nn.functional.normalize(
        torch.randn(len(BLOCK), passages.shape[1], generator=generator, dtype=torch.float64), dim=1
    )
    mean, gradient = _block(name, half, moved[BLOCK], update=False)
    _expect_same(f"{name}: block() of over_passages()", mean, direct(moved))
    step = torch.zeros_like(passages)
    step[BLOCK] = 1e-4 * torch.randn(gradient.shape, generator=generator, dtype=torch.float64)
    rise, slope = (direct(moved + step) - direct(moved - step)) / 2, (gradient * step[BLOCK]).sum()
    expect(
        bool(torch.isclose(rise, slope, rtol=0.01, atol=1e-6)),
        f"{name}: the gradient of block() is not that of the mean loss ({slope:.3g}, measured "
        f"{rise:.3g})",
    )
    _expect_rows(f"{name}: block(update=False) of over_passages()", half, passages)
    _block(name, half, moved[BLOCK], update=True)
    _expect_rows(f"{name}: block(update=True) of over_passages()", half, moved)
    _check_saved(name, half, lambda: over(torch.zeros_like(passages)), moved, direct, context)


def _check_saved(
    name: str,
    half: PassageLoss,
    blank: Callable[[], PassageLoss],
    passages: torch.Tensor,
    direct: Callable[[torch.Tensor], torch.Tensor],
    context: Context,
) -> None:
    """Check that what was saved after an update continues with the same passages."""
    folder = new_folder(context, "passages")
    call(f"{name}: save() of over_passages()", "it writes into a folder", lambda: half.save(folder))
    again = blank()
    call(
        f"{name}: load() of over_passages()",
        "it reads what save() wrote",
        lambda: again.load(folder),
    )
    _expect_rows(f"{name}: load() of over_passages()", again, passages)
    for resumed, what in ((half, "an update"), (again, "load()")):
        mean, _ = _block(name, resumed, passages[BLOCK], update=False)
        _expect_same(f"{name}: after {what}, block() of over_passages()", mean, direct(passages))


def _labels(queries: int) -> TrainingLabels:
    """Return labels in which passage i is the positive of query i, and the first ignores one."""
    rows = np.arange(queries)
    return TrainingLabels(
        queries=rows,
        positive=QueryPairs.from_pairs(rows, rows, queries),
        weight=np.ones(queries, np.float32),
        ignored=QueryPairs.from_pairs(rows[:1], np.array([BLOCK[-1]]), queries),
        negative=QueryPairs.from_pairs(rows[:0], rows[:0], queries),
        without_positive=0,
    )


def _over_passages(name: str, loss: Loss, *frozen: object) -> PassageLoss:
    from recipekit.losses.passage_loss import PassageLoss

    expected = "it must return a recipekit.losses.passage_loss.PassageLoss"
    function = member(name, loss, "over_passages", expected)
    half: PassageLoss = call(f"{name}.over_passages()", expected, lambda: function(*frozen))
    expect(half is not None, f"{name}.over_passages() returns None; {expected}")
    where = f"{name}: over_passages()"
    expect_methods(where, half, PassageLoss, "compute", "block", "save", "load")
    for matrix in ("queries", "passages"):
        member(where, half, matrix, "a FrozenMatrix is expected")
    return half


def _block(
    name: str, half: PassageLoss, embeddings: torch.Tensor, *, update: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    import torch

    expected = f"(mean loss, gradient of shape {tuple(embeddings.shape)}) is expected"
    where = f"{name}: block() of over_passages()"
    result = call(where, expected, lambda: half.block(BLOCK, embeddings, update=update))
    is_pair = isinstance(result, tuple) and len(result) == 2
    expect(is_pair, f"{where} returns {found(result)}; {expected}")
    mean, gradient = result
    for tensor, shape in ((mean, ()), (gradient, embeddings.shape)):
        is_finite = isinstance(tensor, torch.Tensor) and bool(torch.isfinite(tensor).all())
        fits = is_finite and tensor.shape == shape and not tensor.requires_grad
        expect(fits, f"{where} returns {found(tensor)}; {expected}, finite and without a graph")
    return mean, gradient


def _expect_same(where: str, mean: torch.Tensor, wanted: torch.Tensor) -> None:
    import torch

    expect(
        bool(torch.isclose(mean.to(wanted), wanted, rtol=1e-4)),
        f"{where} returns the mean loss {mean:.6g}, but calling the loss gives {wanted:.6g}",
    )


def _expect_rows(where: str, half: PassageLoss, passages: torch.Tensor) -> None:
    import torch

    rows = half.passages.rows(torch.arange(len(passages)), like=passages)
    expect(
        bool(torch.allclose(rows, passages)),
        f"{where}: the passages are not those before or after the block, as `update` says",
    )
