"""The exact softmax: every query against the whole corpus.

`recipekit.losses.softmax_forms` has the notation and the three forms of the loss. Of the corpus,
each needs only the log-partition z_i over the passages that the form lets compete, which
`recipekit.losses.log_partition` computes with its gradient (1/τ) · o / l; the scores of the
positives are few. The rest is the chain rule over vectors (B,) and (positives,), which autograd
applies:

    ∂L_i/∂q_i = (1/τ) (∂L_i/∂z_i · o / l + Σ_p ∂L_i/∂s_ip · d_p)

An ignored passage occurs in no term. Label smoothing needs one more value, the sum c_i = Σ d_j of
the passages in z_i, whose scores sum to S_i = q_i·c_i / τ.

Euclidean. `recipekit.losses.scores` has the score; it adds -|d_j|²/2τ to s_ij. This does not depend
on q_i, so nothing else changes, apart from S_i.

Half precision. On a GPU, the operands of the two products have the half precision in which the
passages are stored, and all sums are float32, as in flash-attention. The queries, divided by τ, are
rounded to it first, so z and the scores of the positives are exact for the rounded queries, whose
gradient is passed on as that of the queries. Only the weights e^{s - m} of the moment are rounded
once more, and in a passage half-phase those of the gradient of a passage, relative to the largest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from recipekit.losses.corpus_labels import CorpusLabels
from recipekit.losses.frozen_matrix import FrozenMatrix
from recipekit.losses.log_partition import MaskedPairs, default_tile_size, log_partition
from recipekit.losses.scores import PassageScores
from recipekit.losses.softmax_forms import FORMS, FormName, Positives, Smoothing
from recipekit.records import Similarity

if TYPE_CHECKING:
    from recipekit.component import TrainingLabels
    from recipekit.losses.passage_softmax import PassageSoftmax

__all__ = ["ExactSoftmax", "operand_dtype"]


@dataclass
class ExactSoftmax:
    """The loss that `ExactSoftmaxSpec` builds."""

    temperature: float
    form: FormName = "one_vs_negatives"
    label_smoothing: float = 0.0
    tile_size: int | None = None
    similarity: Similarity = "cosine"
    """How the encoder's vectors are compared: `cosine`, `dot` or `euclidean`."""

    @property
    def scores(self) -> PassageScores:
        """How queries divided by the temperature score passages."""
        return PassageScores(self.temperature, self.similarity)

    def __call__(self, queries: Tensor, labels: CorpusLabels, corpus: FrozenMatrix) -> Tensor:
        """Return the losses `(b,)` of this rank's queries, not averaged.

        They are float32, or float64 for float64 queries.

        Args:
            queries: Embeddings `(b, dim)` of this rank's queries.
            labels: Positives and ignored passages of every rank's queries, in rank order, on the
                queries' device.
            corpus: The frozen passages.

        Raises:
            ValueError: The labels are not those of as many queries.
        """
        # In bfloat16 a score near 20 is rounded to multiples of 1/8.
        with torch.autocast(queries.device.type, enabled=False):
            all_queries, own = corpus.gather(queries)
            if len(labels) != len(all_queries):
                raise ValueError(f"labels of {len(labels)} queries for {len(all_queries)} queries")
            return self._losses(all_queries, labels, corpus)[own]

    def _losses(self, queries: Tensor, labels: CorpusLabels, corpus: FrozenMatrix) -> Tensor:
        """Return L_i of all queries, `(n,)`."""
        z, positives, smoothing = self.partition(queries, labels, corpus)
        return FORMS[self.form].losses(z, positives, smoothing)

    def partition(
        self, queries: Tensor, labels: CorpusLabels, corpus: FrozenMatrix
    ) -> tuple[Tensor, Positives, Smoothing | None]:
        """Compute what the loss needs of the corpus, differentiable in the queries.

        Args:
            queries: Embeddings `(n, dim)`, the same on every rank.
            labels: Their positives and ignored passages.
            corpus: The passages.

        Returns:
            The log-partitions `(n,)`, the positives with their scores, and what label smoothing
            needs, or None without it.
        """
        exact = torch.float64 if queries.dtype == torch.float64 else torch.float32
        scores = self.scores
        queries = self.scaled(queries.to(exact), corpus)
        operands = operand_dtype(queries, corpus)
        masked = _masked_pairs(labels, with_positives=not FORMS[self.form].positives_compete)
        tile_size = self.tile_size or default_tile_size(queries.device)
        smooths = self.label_smoothing > 0
        z, c = log_partition(queries, corpus, masked, scores, tile_size, operands, sums=smooths)

        query = labels.positive_queries
        passages = corpus.rows(labels.positive_rows, like=queries)
        score = scores.pairs(queries[query], passages)
        positives = Positives(query, labels.positive_weights.to(exact), score)
        if c is None:
            return z, positives, None
        allowed = corpus.total - torch.bincount(masked[0], minlength=len(queries))
        return z, positives, Smoothing(self.label_smoothing, scores.total(queries, c), allowed)

    def scaled(self, queries: Tensor, corpus: FrozenMatrix) -> Tensor:
        """Return queries as `scores` takes them, in their dtype.

        They are divided by the temperature, and rounded if products take half-precision operands,
        with the gradient of the queries before.
        """
        queries = queries / self.temperature
        operands = operand_dtype(queries, corpus)
        if operands == queries.dtype:
            return queries
        return queries + (queries.to(operands).to(queries.dtype) - queries).detach()

    def over_passages(
        self, queries: FrozenMatrix, passages: FrozenMatrix, labels: TrainingLabels
    ) -> PassageSoftmax:
        """Return the loss as a function of passages, with the queries frozen.

        Args:
            queries: The training queries, (n, dim), frozen.
            passages: All passages, (N, dim). Its memory is written to: it must be this phase's own.
            labels: The labels of the training queries.
        """
        from recipekit.losses.passage_softmax import PassageSoftmax

        return PassageSoftmax(self, queries, passages, labels)


def _masked_pairs(labels: CorpusLabels, *, with_positives: bool) -> MaskedPairs:
    query, passage = labels.ignored_queries, labels.ignored_rows
    if with_positives:
        query = torch.cat([query, labels.positive_queries])
        passage = torch.cat([passage, labels.positive_rows])
    order = passage.argsort()
    return query[order], passage[order]


HAS_MIXED_PRODUCT = hasattr(torch.ops.aten.mm, "dtype")
"""Whether torch multiplies half-precision matrices on a GPU with a float32 result (from 2.8)."""


def operand_dtype(queries: Tensor, corpus: FrozenMatrix) -> torch.dtype:
    """Return the dtype of the operands of products: half precision on a GPU that stores it.

    It is that of the queries where passages are scaled after they are read.
    """
    stored = corpus.matrix.dtype
    is_half = stored in (torch.float16, torch.bfloat16) and queries.dtype == torch.float32
    if is_half and queries.is_cuda and HAS_MIXED_PRODUCT and not corpus.normalized:
        return stored
    return queries.dtype
