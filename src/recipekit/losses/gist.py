"""GISTEmbedLoss of sentence-transformers on embeddings that a guide has computed before.

The library's class decides which negatives to leave out by the guide's similarities, all of which
it takes from `sim_matrix`. `GuidedLoss` calls the library's own `calculate_loss` with row numbers
in place of the guide's embeddings, and returns from `sim_matrix` the guide's similarities after the
labels: a judged negative is never left out, and a text is never its own negative.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from sentence_transformers.sentence_transformer.losses import CachedGISTEmbedLoss
from sentence_transformers.util import cos_sim
from torch import Tensor, nn
from torch.nn.functional import normalize

from recipekit.losses.examples import BatchExamples

__all__ = ["GuidedLoss"]


class GuidedLoss(CachedGISTEmbedLoss):  # type: ignore[misc]
    """The library's loss without its models.

    It is also GISTEmbedLoss, which is the same function of a query, a positive and at most one
    negative. Similarities are matrix products: with the library's `CosineSimilarity`, which holds
    the products of all dimensions, 512 examples with one negative took 60 s instead of 0.5 s, and
    3.5 GB more, on one CPU core.
    """

    def __init__(
        self,
        *,
        temperature: float = 0.01,
        margin_strategy: str = "absolute",
        margin: float = 0.0,
        contrast_anchors: bool = True,
        contrast_positives: bool = True,
    ) -> None:
        """Set what `calculate_loss` reads; the library's constructor needs two models.

        Args:
            temperature: Divides the similarities.
            margin_strategy: `absolute` or `relative`: what `margin` is subtracted from.
            margin: How far below the positive's similarity negatives are left out.
            contrast_anchors: Whether the batch's other queries are negatives.
            contrast_positives: Whether other positives are negatives of a positive.
        """
        nn.Module.__init__(self)
        self.temperature, self.margin_strategy, self.margin = temperature, margin_strategy, margin
        self.contrast_anchors, self.contrast_positives = contrast_anchors, contrast_positives
        self.cross_entropy_loss = nn.CrossEntropyLoss()
        self.gather_across_devices = False  # every rank has the whole batch
        self.mini_batch_size, self.show_progress_bar = 2**31, False  # all rows at once
        self._guide: _GuideSimilarities | None = None

    def of_batch(self, columns: Sequence[Tensor], examples: BatchExamples) -> Tensor:
        """Return the mean loss of the examples, a scalar.

        Args:
            columns: Embeddings of each example's query, its positive and its negatives, (m, dim)
                each.
            examples: The examples, with the guide's embeddings.
        """
        self._guide = _GuideSimilarities.of(examples, columns[0].dtype)
        rows = [examples.query, *(examples.passage.T + self._guide.n_queries)]
        loss: Tensor = self.calculate_loss([[column] for column in columns], [[r] for r in rows])
        return loss

    def sim_matrix(self, embed1: Tensor, embed2: Tensor) -> Tensor:
        """Return the cosine similarities of embeddings, or the guide's of rows, (n1, n2)."""
        if embed1.is_floating_point():
            similarity: Tensor = cos_sim(embed1, embed2)
            return similarity
        assert self._guide is not None, "rows belong to a batch"
        return self._guide.between(embed1, embed2)


class _GuideSimilarities:
    """The guide's similarities of a batch's texts: rows are the queries, then the passages."""

    def __init__(self, vectors: Tensor, n_queries: int, decided_negatives: Tensor) -> None:
        self.vectors, self.n_queries = vectors, n_queries
        self.decided_negatives = decided_negatives

    @classmethod
    def of(cls, examples: BatchExamples, dtype: torch.dtype) -> _GuideSimilarities:
        """Collect what the guide embedded, with length 1."""
        guide = examples.second_encoder
        assert guide is not None, "the form names the guide"
        assert guide.queries is not None and guide.passages is not None, "it embeds both sides"
        vectors = torch.cat([guide.queries, guide.passages]).to(dtype)
        return cls(normalize(vectors, dim=1), len(guide.queries), guide.decided_negatives)

    def between(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the similarities of rows `first` (n1,) with rows `second` (n2,), (n1, n2).

        A decided negative has none above any threshold, -inf, and a text with itself one above all.
        """
        similarity = self.vectors[first] @ self.vectors[second].T
        query = first.clamp(max=self.n_queries - 1)
        passage = (second - self.n_queries).clamp(min=0)
        is_pair = (first < self.n_queries)[:, None] & (second >= self.n_queries)
        decided = self.decided_negatives[query][:, passage] & is_pair
        similarity = similarity.masked_fill(decided, -torch.inf)
        return similarity.masked_fill(first[:, None] == second, torch.inf)
