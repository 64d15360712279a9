"""How tables and charts name metrics: `spearman_cosine` becomes "Spearman (cosine)".

`metrics.json` and recipes keep the keys, and names that users write, such as `ndcg@10`, are shown
as they are.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["metric_label"]

STATISTICS: Final = {
    "accuracy": "accuracy",
    "ap": "average precision",
    "f1": "F1",
    "pearson": "Pearson",
    "spearman": "Spearman",
}
SIMILARITIES: Final = ("cosine", "dot", "euclidean", "manhattan")
PARAPHRASED: Final = {"max_ap": "average precision (best similarity)", "v_measure": "V-measure"}

_STATISTIC: Final = "|".join(STATISTICS)
_SIMILARITY: Final = "|".join(SIMILARITIES)
_OF_SIMILARITY: Final = re.compile(
    rf"\b(?:(?P<s>{_STATISTIC})_(?P<by>{_SIMILARITY})"
    rf"|(?P<by_mteb>{_SIMILARITY})_(?P<s_mteb>{_STATISTIC}))\b"
)
"""A statistic of similarities: ours, and as mteb has it (`cosine_spearman`)."""
_AT_K: Final = re.compile(r"\b(ndcg|map|mrr|recall|precision)_at_(\d+)\b")


def metric_label(metric: str) -> str:
    """Return the label of a metric's key; other parts of the key, such as a task, are kept."""
    label = _OF_SIMILARITY.sub(_statistic, _AT_K.sub(r"\1@\2", metric))
    for key, text in PARAPHRASED.items():
        label = re.sub(rf"\b{key}\b", text, label)
    return label


def _statistic(found: re.Match[str]) -> str:
    statistic, similarity = found["s"] or found["s_mteb"], found["by"] or found["by_mteb"]
    return f"{STATISTICS[statistic]} ({similarity})"
