"""InfoNCE over a batch with three-state masks.

Sources: van den Oord et al., arXiv 1807.03748; in-batch negatives, arXiv 1705.00652; same-side
negatives, arXiv 2308.03281 (GTE).

With s_ip = q_i·d_p / τ (or -|q_i - d_p|²/2τ if the similarity is euclidean: see
`recipekit.losses.scores`), positives P_i, negatives N_i (judged negative, or unjudged and in the
batch by chance), z_i = log Σ_{j∈N_i} e^{s_ij} and w_ip = 1 / |P_i|:

    L_i = -Σ_{p∈P_i} w_ip · log( e^{s_ip} / (e^{s_ip} + Σ_{j∈N_i} e^{s_ij}) )
        =  Σ_{p∈P_i} w_ip · log(1 + e^{z_i - s_ip})

so that no positive is in the denominator of another, and an ignored passage is in none. With one
positive per query and nothing ignored it is the cross-entropy of the batch. In both directions,
each positive pair's term is averaged with log(1 + e^{z'_p - s_ip}), where z'_p is over the queries
of which passage p is a negative.

Same-side negatives of a positive pair (i, p), under the same masks: `query` adds e^s of
queries i and k to the query's denominator for each query k of which p is a negative, and `passage`
adds e^s of passages p and j to the passage's denominator for each j ∈ N_i. A query that shares or
ignores the passage, and a passage that is another positive or ignored, are therefore in none. With
`one_softmax` all of a pair's negatives are in one denominator, as in GTE, rather than in one for
each direction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from recipekit.losses.scores import score_matrix
from recipekit.records import Side, Similarity, Verdict

__all__ = ["InfoNCE"]


@dataclass
class InfoNCE:
    """The loss that `InfoNCESpec` builds."""

    temperature: float
    directions: Literal["query", "both"] = "query"
    same_side: Sequence[Side] = ()
    one_softmax: bool = False
    similarity: Similarity = "cosine"
    """How the encoder's vectors are compared: `cosine`, `dot` or `euclidean`."""

    def __call__(self, queries: Tensor, passages: Tensor, mask: Tensor) -> Tensor:
        """Return one loss per query, `(b,)`.

        A query without a positive has zero loss and zero gradient.

        Args:
            queries: Embeddings `(b, dim)`.
            passages: Embeddings `(p, dim)`.
            mask: `Verdict` code of each pair, int8 `(b, p)`; unjudged counts as negative.
        """
        with torch.autocast(queries.device.type, enabled=False):
            exact = torch.float64 if queries.dtype == torch.float64 else torch.float32
            queries, passages = queries.to(exact), passages.to(exact)
            scores = self._scores(queries, passages)  # (b, p)
            negative = (mask == Verdict.NEGATIVE) | (mask == Verdict.UNJUDGED)
            query, passage = torch.nonzero(mask == Verdict.POSITIVE, as_tuple=True)  # (pairs,)
            of_query, of_passage = self._negatives(queries, passages, scores, negative)
            score = scores[query, passage]
            if self.one_softmax:
                z = torch.stack([part(query, passage) for part in of_query + of_passage])
                terms = _ranked_first(score, z.logsumexp(0))
            else:
                terms = _direction(score, query, passage, of_query)
                if self.directions == "both":
                    terms = (terms + _direction(score, query, passage, of_passage)) / 2
            total = scores.new_zeros(len(queries)).index_add(0, query, terms)
            return total / torch.bincount(query, minlength=len(queries)).clamp(min=1)

    def _scores(self, left: Tensor, right: Tensor) -> Tensor:
        return score_matrix(left, right, self.similarity) / self.temperature

    def _negatives(
        self, queries: Tensor, passages: Tensor, scores: Tensor, negative: Tensor
    ) -> tuple[list[_LogSums], list[_LogSums]]:
        """Return the parts of the query's and of the passage's denominator."""
        of_query = [_LogSums(scores, negative, by="query")]
        of_passage = [_LogSums(scores.T, negative.T, by="passage")]
        if self.directions == "query":
            of_passage = []
        if "query" in self.same_side:
            same = self._scores(queries, queries)
            of_query.append(_LogSums(same, negative.T, by="query", per_pair=True))
        if "passage" in self.same_side:
            same = self._scores(passages, passages)
            of_passage.append(_LogSums(same, negative, by="passage", per_pair=True))
        return of_query, of_passage


@dataclass(frozen=True)
class _LogSums:
    """Log-sum-exps of the negatives of positive pairs."""

    scores: Tensor
    """A row for each query, or each passage."""
    allowed: Tensor
    """Which entries of a row are negatives: by the same rows, or with `per_pair` a row for each
    member of the other side."""
    by: Side
    per_pair: bool = False

    def __call__(self, query: Tensor, passage: Tensor) -> Tensor:
        """Return log Σ e^s of each positive pair, `(pairs,)`."""
        own, other = (query, passage) if self.by == "query" else (passage, query)
        if self.per_pair:
            return _masked_logsumexp(self.scores[own], self.allowed[other])
        return _masked_logsumexp(self.scores, self.allowed)[own]


def _masked_logsumexp(scores: Tensor, allowed: Tensor) -> Tensor:
    # A finite fill, because a log-sum-exp over -∞ alone has no gradient.
    return scores.masked_fill(~allowed, torch.finfo(scores.dtype).min).logsumexp(1)


def _direction(score: Tensor, query: Tensor, passage: Tensor, parts: Sequence[_LogSums]) -> Tensor:
    """Compute log(1 + e^{z - s}) of each positive pair, z over all parts of one denominator."""
    return _ranked_first(score, torch.stack([part(query, passage) for part in parts]).logsumexp(0))


def _ranked_first(score: Tensor, z: Tensor) -> Tensor:
    # logaddexp, as softplus switches to the identity above 20.
    return torch.logaddexp(z - score, torch.zeros_like(score))
