"""Names of retrieval metrics, as recipes write them: `ndcg@10`."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator

from recipekit.suggestions import did_you_mean

__all__ = ["METRICS", "MetricName", "metric_name", "parse_metric"]

METRICS: Final = ("ndcg", "map", "mrr", "recall", "precision")
"""The metrics; a name in a recipe is one of these, `@`, and the cut-off."""

_NAME = re.compile(r"([a-z]+)@([1-9]\d{0,5})")


def parse_metric(name: str) -> tuple[str, int]:
    """Split a metric name: `ndcg@10` is ("ndcg", 10).

    Raises:
        ValueError: The metric is unknown, or the cut-off is missing or below 1. Rankings are cut at
            the largest cut-off of a recipe, so a metric without one would depend on the others.
    """
    match = _NAME.fullmatch(name)
    if match and match[1] in METRICS:
        return match[1], int(match[2])
    raise ValueError(f"unknown metric '{name}'.{_suggestion(name)}")


def _suggestion(name: str) -> str:
    """Return a hint with the most similar metric, and the cut-off of `name` or 10."""
    if re.fullmatch(r"[a-z]+@[1-9]\d{6,}", name):
        return " A cut-off is at most 999999."
    parts = re.fullmatch(r"([A-Za-z]*)[^A-Za-z0-9]*0*(\d*)", name.strip())
    if parts and parts[1]:
        word = {"p": "precision", "r": "recall", "rr": "mrr", "ap": "map"}.get(
            parts[1].lower(), parts[1].lower()
        )
        found = did_you_mean(word, METRICS)
        if found:
            return f"{found[:-2]}@{parts[2] or 10}'?"
    return f" A metric is one of {', '.join(f'{metric}@K' for metric in METRICS)}, with K from 1."


def metric_name(name: str) -> str:
    """Return the name if it is valid; raises `ValueError` as `parse_metric` does."""
    parse_metric(name)
    return name


MetricName = Annotated[str, AfterValidator(metric_name)]
"""The name of a metric with its cut-off, such as `ndcg@10`."""
