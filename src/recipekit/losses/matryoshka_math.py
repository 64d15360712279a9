"""The weighted sum of a loss over prefixes of the embeddings (Matryoshka, arXiv 2205.13147).

    L = Σ_m v_m · loss(q[:m] / |q[:m]|, d[:m] / |d[:m]|, ...)

for each prefix length m with weight v_m; without the scaling if the similarity is not `cosine`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch.nn.functional import normalize

from recipekit.component import Loss
from recipekit.errors import RunError
from recipekit.losses.corpus_labels import CorpusLabels
from recipekit.losses.frozen_matrix import FrozenMatrix
from recipekit.losses.passage_loss import CorpusLoss, PassageLoss
from recipekit.losses.rank_files import read_rows, write_rows

if TYPE_CHECKING:
    from recipekit.arrays import Rows
    from recipekit.component import TrainingLabels

__all__ = ["Matryoshka", "MatryoshkaOverCorpus", "MatryoshkaPassages", "Prefixes"]


@dataclass(frozen=True)
class Prefixes:
    """The prefixes of vectors that a loss is applied to."""

    dimensions: Sequence[int]
    weights: Sequence[float]
    normalized: bool

    def __iter__(self) -> Iterator[tuple[int, float]]:
        """Return the length and the weight of each prefix."""
        return zip(self.dimensions, self.weights, strict=True)

    def cut(self, vectors: Tensor, dimensions: int) -> Tensor:
        """Return prefixes of vectors, (n, dimensions).

        Raises:
            RunError: The vectors are shorter.
        """
        if dimensions > vectors.shape[1]:
            raise RunError(
                f"matryoshka reads {dimensions} dimensions, but the vectors of the trained encoder "
                f"have {vectors.shape[1]}",
                code="RK642",
            )
        prefix = vectors[:, :dimensions]
        return normalize(prefix, dim=1) if self.normalized else prefix


@dataclass(frozen=True)
class Matryoshka:
    """What `MatryoshkaSpec` builds around a loss of a batch."""

    loss: Loss
    prefixes: Prefixes

    def __call__(self, queries: Tensor, passages: Tensor, targets: Any) -> Tensor:
        """Return the weighted sum of what the inner loss returns.

        Args:
            queries: Embeddings `(b, dim)`.
            passages: Embeddings `(p, dim)`.
            targets: A mask or examples, as the inner loss takes them.
        """
        total = queries.new_zeros(())
        for dimensions, weight in self.prefixes:
            both = (self.prefixes.cut(vectors, dimensions) for vectors in (queries, passages))
            total = total + weight * self.loss(*both, targets)
        return total


@dataclass(frozen=True)
class MatryoshkaOverCorpus:
    """What `MatryoshkaSpec` builds around a loss over the corpus."""

    loss: Loss
    prefixes: Prefixes

    def __call__(self, queries: Tensor, labels: CorpusLabels, corpus: FrozenMatrix) -> Tensor:
        """Return the weighted sum of the losses, `(b,)`.

        Args:
            queries: Embeddings `(b, dim)` of this rank's queries.
            labels: Positives and ignored passages of every rank's queries.
            corpus: The frozen passages.
        """
        total = queries.new_zeros(())
        for dimensions, weight in self.prefixes:
            cut_queries = self.prefixes.cut(queries, dimensions)
            cut_corpus = corpus.prefix(dimensions, normalized=self.prefixes.normalized)
            total = total + weight * self.loss(cut_queries, labels, cut_corpus)
        return total

    def over_passages(
        self, queries: FrozenMatrix, passages: FrozenMatrix, labels: TrainingLabels
    ) -> MatryoshkaPassages:
        """Return the loss as a function of passages, with the queries frozen.

        Args:
            queries: The training queries, (n, dim), frozen.
            passages: All passages, (N, dim). Its memory is written to.
            labels: The labels of the training queries.
        """
        return MatryoshkaPassages(self, queries, passages, labels)


class MatryoshkaPassages:
    """Implements `PassageLoss`: an inner one for each prefix, which has copies of its own."""

    def __init__(
        self,
        loss: MatryoshkaOverCorpus,
        queries: FrozenMatrix,
        passages: FrozenMatrix,
        labels: TrainingLabels,
    ) -> None:
        """Cut both sides for each prefix; `compute` or `load` must follow.

        Args:
            loss: The dimensions, their weights and the inner loss.
            queries: The training queries, (n, dim).
            passages: All passages, (N, dim); `update` writes to its memory.
            labels: The labels of the training queries.
        """
        self.prefixes, self.queries, self.passages = loss.prefixes, queries, passages
        inner = cast("CorpusLoss", loss.loss)
        self.inner: list[PassageLoss] = [
            inner.over_passages(
                self._copy(queries, dimensions), self._copy(passages, dimensions), labels
            )
            for dimensions in self.prefixes.dimensions
        ]

    def _copy(self, frozen: FrozenMatrix, dimensions: int) -> FrozenMatrix:
        exact = torch.float64 if frozen.matrix.dtype == torch.float64 else torch.float32
        rows = self.prefixes.cut(frozen.matrix.to(exact), dimensions)
        matrix = rows.to(frozen.matrix.dtype).clone(memory_format=torch.contiguous_format)
        return FrozenMatrix(matrix, frozen.start, frozen.total, frozen.ranks)

    def compute(self) -> None:
        """Compute what is cached for each prefix."""
        for half in self.inner:
            half.compute()

    def block(self, rows: Rows, embeddings: Tensor, *, update: bool) -> tuple[Tensor, Tensor]:
        """Compute the mean loss and its gradient with respect to a block of passages.

        Args:
            rows: The block's passages, without duplicates, (b,).
            embeddings: Their new embeddings, (b, dim), the same on every rank.
            update: Whether the block replaces what is cached.

        Returns:
            This rank's part of the mean loss, and the gradient of the whole mean loss, (b, dim).
        """
        exact = torch.float64 if embeddings.dtype == torch.float64 else torch.float32
        leaf = embeddings.detach().to(exact).requires_grad_()
        total = leaf.new_zeros(())
        for half, (dimensions, weight) in zip(self.inner, self.prefixes, strict=True):
            with torch.enable_grad():
                cut = self.prefixes.cut(leaf, dimensions)
            loss, gradient = half.block(rows, cut.detach(), update=update)
            cut.backward(weight * gradient.to(cut))  # type: ignore[no-untyped-call]
            total = total + weight * loss
        if update:
            at = torch.from_numpy(rows).to(leaf.device)
            self.passages.replace_rows(at, leaf.detach())
        assert leaf.grad is not None, "there is at least one prefix"
        return total, leaf.grad

    def save(self, folder: Path) -> None:
        """Write this rank's passages, and what the inner losses save into folders of their own."""
        write_rows(folder, self.passages.ranks, {"passages": self.passages.matrix})
        for half, inner in zip(self.inner, self._folders(folder), strict=True):
            inner.mkdir(exist_ok=True)
            half.save(inner)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote, on the same or another number of ranks."""
        passages = self.passages
        passages.matrix.copy_(read_rows(folder, "passages", passages.start, passages.stop))
        for half, inner in zip(self.inner, self._folders(folder), strict=True):
            half.load(inner)

    def _folders(self, folder: Path) -> list[Path]:
        return [folder / f"dimensions-{dimensions}" for dimensions in self.prefixes.dimensions]
