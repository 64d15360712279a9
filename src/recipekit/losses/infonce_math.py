"""InfoNCE over a batch with three-state masks.

Sources: van den Oord et al., arXiv 1807.03748; in-batch negatives, arXiv 1705.00652.

With s_ip = q_i·d_p / τ, positives P_i, negatives N_i (judged negative, or unjudged and in the batch
by chance), z_i = log Σ_{j∈N_i} e^{s_ij} and w_ip = 1 / |P_i|:

    L_i = -Σ_{p∈P_i} w_ip · log( e^{s_ip} / (e^{s_ip} + Σ_{j∈N_i} e^{s_ij}) )
        =  Σ_{p∈P_i} w_ip · log(1 + e^{z_i - s_ip})

so that no positive is in the denominator of another, and an ignored passage is in none. With one
positive per query and nothing ignored it is the cross-entropy of the batch. In both directions,
each positive pair's term is averaged with log(1 + e^{z'_p - s_ip}), where z'_p is over the queries
of which passage p is a negative.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from recipekit.records import Verdict

__all__ = ["InfoNCE"]


@dataclass
class InfoNCE:
    """The loss that `InfoNCESpec` builds."""

    temperature: float
    directions: Literal["query", "both"] = "query"

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
            scores = queries.to(exact) @ passages.to(exact).T / self.temperature  # (b, p)
            negative = (mask == Verdict.NEGATIVE) | (mask == Verdict.UNJUDGED)
            positive = (mask == Verdict.POSITIVE).to(exact)
            terms = _one_vs_negatives(scores, negative, dim=1)
            if self.directions == "both":
                terms = (terms + _one_vs_negatives(scores, negative, dim=0)) / 2
            return (positive * terms).sum(1) / positive.sum(1).clamp(min=1)


def _one_vs_negatives(scores: Tensor, negative: Tensor, dim: int) -> Tensor:
    """Compute log(1 + e^{z - s}) of every pair, as if each pair were a positive.

    z is the log-sum-exp of the negatives along `dim`.
    """
    # A finite fill, because a log-sum-exp over -∞ alone has no gradient.
    z = scores.masked_fill(~negative, torch.finfo(scores.dtype).min).logsumexp(dim, keepdim=True)
    # logaddexp, as softplus switches to the identity above 20.
    return torch.logaddexp(z - scores, torch.zeros_like(scores))
