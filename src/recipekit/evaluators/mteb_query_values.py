"""The value of every query that mteb measures, which it computes and does not keep.

mteb gives the scores of every query of a retrieval or reranking task to the task's own
`task_specific_scores`, a method that tasks may define. Other types of tasks have no
per-item values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from mteb.abstasks.retrieval import AbsTaskRetrieval

from recipekit.evaluators.mteb_values_file import EntryValues

__all__ = ["has_query_values", "query_values"]

TREC_NAMES: Final = {"ndcg": "ndcg_cut", "map": "map_cut", "recall": "recall", "precision": "P"}
"""What trec_eval calls the metrics of mteb."""


def has_query_values(task: Any) -> bool:
    """Return whether a task measures single queries."""
    return isinstance(task, AbsTaskRetrieval) and _trec_name(task) is not None


def _trec_name(task: Any) -> str | None:
    metric, _, cut = str(task.metadata.main_score).partition("_at_")
    return f"{TREC_NAMES[metric]}_{cut}" if metric in TREC_NAMES else None


@contextmanager
def query_values(task: Any) -> Iterator[EntryValues]:
    """Collect the main score of every query while mteb runs a task."""
    found: EntryValues = {}
    metric = _trec_name(task)
    if metric is None or not has_query_values(task):
        yield found
        return
    own = task.task_specific_scores

    def collect(
        scores: Mapping[str, Mapping[str, float]],
        *args: Any,
        hf_split: str,
        hf_subset: str,
        **kwargs: Any,
    ) -> Any:
        values = {query: each[metric] for query, each in scores.items() if metric in each}
        found[hf_split, hf_subset] = values
        return own(scores, *args, hf_split=hf_split, hf_subset=hf_subset, **kwargs)

    task.task_specific_scores = collect
    try:
        yield found
    finally:
        del task.task_specific_scores
