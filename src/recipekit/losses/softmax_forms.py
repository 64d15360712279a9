"""The three forms of the exact softmax: a query's loss, from its scores and its log-partition.

Notation. s_ij = q_i·d_j / τ is the score of passage j for query i. P_i are the positives of the
query, with weights w_ip that sum to 1, M_i its ignored passages, and N_i = corpus - P_i - M_i its
negatives. z_i is the log-partition, over the passages that the form lets compete:

    one-vs-negatives    L_i = Σ_{p∈P_i} w_ip · log(1 + e^{z_i - s_ip})     positives never compete
                        z_i = log Σ_{j∈N_i} e^{s_ij}

    soft-label          L_i = Σ_{p∈P_i} w_ip · (z_i - s_ip)                positives compete
                        z_i = log Σ_{j∉M_i} e^{s_ij}

    log-marginal        L_i = log(1 + e^{z_i - a_i})                       one positive is enough
                        z_i = log Σ_{j∈N_i} e^{s_ij},   a_i = log Σ_{p∈P_i} e^{s_ip}

The log-marginal form is -log of the probability that all positives have together; it was proposed
for noisy positives (arXiv 2504.05220) and has no weights w_ip.

Label smoothing moves a share ε of the target to the uniform distribution over all passages of the
softmax: {p} and N_i for the term of p in one-vs-negatives, and corpus - M_i in the other two. It
equals `cross_entropy(label_smoothing=ε)` of that softmax. With n_i passages in z_i, whose scores
sum to S_i, added to L_i is

    one-vs-negatives    Σ_p w_ip · ε · (n_i · s_ip - S_i) / (n_i + 1)
    soft-label          Σ_p w_ip · ε · (s_ip - S_i / n_i)
    log-marginal        ε · (a_i - (S_i + Σ_p s_ip) / (n_i + |P_i|))

A query without a positive has no term: zero loss and zero gradient. Without a negative, z_i = -∞ in
the forms in which positives do not compete: again zero loss and zero gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor

__all__ = ["FORMS", "Form", "FormName", "Positives", "Smoothing"]

FormName = Literal["one_vs_negatives", "soft_label", "log_marginal"]


@dataclass(frozen=True)
class Positives:
    """The positive pairs of n queries, with their scores."""

    query: Tensor
    """Query of each pair, int64 (m,), ascending."""
    weight: Tensor
    """Weight of each pair, (m,); a query's weights sum to 1."""
    score: Tensor
    """s_ip of each pair, (m,)."""


@dataclass(frozen=True)
class Smoothing:
    """What label smoothing needs."""

    share: float
    """ε, greater than 0."""
    total: Tensor
    """S_i, the sum of the scores in z_i, (n,)."""
    allowed: Tensor
    """n_i, the number of passages in z_i, (n,)."""


@dataclass(frozen=True)
class Form:
    """One of the three forms."""

    name: FormName
    positives_compete: bool
    """Whether z_i is over the positives too."""

    def losses(self, z: Tensor, positives: Positives, smoothing: Smoothing | None) -> Tensor:
        """Return L_i, differentiable in z, the scores of the positives, and their sums.

        Args:
            z: Log-partitions, (n,).
            positives: The positive pairs of the n queries.
            smoothing: What label smoothing needs; None does not smooth.

        Returns:
            The losses, (n,).
        """
        if self.name == "log_marginal":
            return _log_marginal(z, positives, smoothing)
        query, s = positives.query, positives.score
        # Not softplus, which switches to the identity above 20.
        terms = z[query] - s
        if self.name == "one_vs_negatives":
            terms = torch.logaddexp(terms, torch.zeros_like(s))
        if smoothing is not None:
            total, n = smoothing.total[query], smoothing.allowed[query]
            if self.name == "one_vs_negatives":
                terms = terms + smoothing.share * (n * s - total) / (n + 1)
            else:
                terms = terms + smoothing.share * (s - total / n)
        return z.new_zeros(len(z)).index_add(0, query, positives.weight * terms)


def _log_marginal(z: Tensor, positives: Positives, smoothing: Smoothing | None) -> Tensor:
    query, s = positives.query, positives.score
    peak = s.detach().new_full((len(z),), -torch.inf).scatter_reduce(0, query, s.detach(), "amax")
    mass = s.new_zeros(len(z)).index_add(0, query, torch.exp(s - peak[query]))
    count = torch.bincount(query, minlength=len(z))
    some = count > 0
    a = peak[some] + torch.log(mass[some])
    terms = torch.logaddexp(z[some] - a, torch.zeros_like(a))
    if smoothing is not None:
        total = smoothing.total + z.new_zeros(len(z)).index_add(0, query, s)
        allowed = smoothing.allowed + count
        terms = terms + smoothing.share * (a - (total / allowed.clamp(min=1))[some])
    return z.new_zeros(len(z)).masked_scatter(some, terms)


FORMS: Final[dict[str, Form]] = {
    "one_vs_negatives": Form("one_vs_negatives", positives_compete=False),
    "soft_label": Form("soft_label", positives_compete=True),
    "log_marginal": Form("log_marginal", positives_compete=False),
}
